# shellcheck shell=bash disable=SC2034,SC2154
# SPDX-License-Identifier: BSD-2-Clause
# 1500 bytes with DF, fragments of UDP and bulk TCP, through ipip and back through GRE: proven

needs="ipip ip_gre sch_plug" wants=katamaran places='host uml' alone=1

scenario() {
	two_guests
	leg node1 node2 ipip
	turn_round
	leg node2 node1 gre
}

leg() {
	settings=(cutover="$3" hold_s=1)
	before
	no_traffic
	# With the header of ICMP and IP that is 1500.
	more_traffic full -r 50 -s 1472 -D "$GUEST_IP"
	more_traffic fragments -p udp -r 20 -s 4000 "$GUEST_IP"
	# Segments that the kernel keeps together on its way, until they meet the tunnel.
	more_traffic bulk -p tcp -r 250 "$GUEST_IP"
	sleep 1
	# shellcheck disable=SC2016	# the agent's own, of whose namespaces the node is
	one_command "$1" "$2" nsenter -t "$(on "$2" eval 'echo $$')" -n -m --
	sleep 1
	traffic_ends
	nothing_lost
	nothing_corrupt
	[[ ${R[icmp_errors]} = 0 ]] || fail "${R[icmp_errors]} ICMP errors"
	# What the destination counted has come over.
	[[ $(summed held) -gt 0 && $(summed redirected) -gt 0 &&
		$(summed redirected) = "$(summed arrived)" ]] || fail "the summary is $SUMMARY"
	runs_on "$2"
	status_is "$1" postmigrate
	unchanged "$1" "$ROUTE_TO_TAP"
	unchanged "$2"
	said+="${said:+, }$3: ${R[sent]} packets and $(((R[tcp_bytes_there] + R[tcp_bytes_back]) / 1000)) kB of TCP"
	fact note "proven_zero, $said"
}
said=''
