# shellcheck shell=bash disable=SC2034,SC2154
# SPDX-License-Identifier: BSD-2-Clause
# nftables, packets of 1500 bytes with DF; and a segment that loses what is redirected

needs=$NFTABLES wants=katamaran places=host

# There is no proof where what is redirected does not arrive, and the verdict says how much did not.
lossy() {
	local from
	from=$(on node2 cat /sys/class/net/eth0/address)
	on node1 nft "table netdev lossy {
		chain in {
			type filter hook ingress device \"eth0\" priority -600;
			ether saddr $from ip daddr $GUEST_IP drop
		}
	}"
	settings=(cutover=nftables hold_s=1)
	traffic -p udp -r 200
	sleep 1
	# shellcheck disable=SC2016	# as below
	SLOW=1 by_command node2 node1 nsenter -t "$(on node1 eval 'echo $$')" -n -m
	sleep 1
	traffic_ends
	[[ ${R[verdict]} = unknown && $(summed arrived) = 0 && ${R[lost_there]} -gt 0 &&
		$SUMMARY = *"${R[lost_there]} of ${R[lost_there]} redirected packets did not come out"* ]] ||
		fail "the segment lost ${R[lost_there]}: $SUMMARY"
}

scenario() {
	two_guests
	settings=(cutover=nftables)
	# shellcheck disable=SC2016	# the agent's own, of whose namespaces node2 is
	amid_traffic one_command node1 node2 nsenter -t "$(on node2 eval 'echo $$')" -n -m \
		-- -s 1472 -D
	nothing_lost
	[[ ${R[icmp_errors]} = 0 ]] || fail "${R[icmp_errors]} ICMP errors"
	[[ $(summed redirected) -gt 0 && $(summed redirected) = "$(summed arrived)" ]] ||
		fail "the summary is $SUMMARY"
	turn_round
	lossy
}
