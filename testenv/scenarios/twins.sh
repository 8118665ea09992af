# shellcheck shell=bash disable=SC2034,SC2154
# SPDX-License-Identifier: BSD-2-Clause
# one protection off at a time, to and fro: the verdict is no proof, and says what probe counts

needs="ipip sch_plug sch_fq_codel" wants=katamaran places='host uml' alone=2
limit=600 stop_ms=3000

scenario() {
	long_blackout '[ ! -e /run/lab/fails ]'
	guest node1
	guest_up node1
	# The proof, first, with all of them.  Each tap has another queue to be put back.
	on node2 tc qdisc replace dev tap0 root fq_codel limit 777
	leg node1 node2 proven_zero
	agrees

	on node1 tc qdisc replace dev tap0 root noqueue
	leg node2 node1 lost plug_bytes=65536
	agrees "the plug is too small"

	# What is not in the plug is in the ring, and the site has made that one short.
	on node2 ip link set tap0 txqueuelen 20
	leg node1 node2 lost 'plug="off"' ring=0
	agrees "the ring is too small"
	on node2 ip link set tap0 txqueuelen "$RING"

	on node1 tc qdisc replace dev tap0 root pfifo_fast
	leg node2 node1 unknown neighbours=false
	[[ $SUMMARY = *"neighbour entry"* && ${R[lost_there]} -gt 0 ]] ||
		fail "no neighbour: lost ${R[lost_there]}, $SUMMARY"

	# Larger packets than fit come in fragments, and these are dropped.
	on node2 reassembles 0
	leg node1 node2 unknown plug_ms=500
	on node2 reassembles 4194304
	[[ $SUMMARY = *"${R[lost_there]} of "*" redirected packets did not come out"* && ${R[lost_there]} -gt 0 ]] ||
		fail "the tunnel is too narrow: lost ${R[lost_there]}, $SUMMARY"

	# Somebody makes the tunnel narrow while it is in use.
	spawn node2 squeeze bash -c 'while sleep 0.2; do
			! ip -o link show up dev kat-ipip | grep -q . || ip link set kat-ipip mtu 1400
		done'
	leg node2 node1 unknown
	on node2 sign KILL squeeze
	[[ $SUMMARY = *"its mtu was lowered"* && ${R[icmp_errors]} -gt 0 ]] ||
		fail "the tunnel was made narrow: $SUMMARY"
	fails node1 node2
	fact note "proven_zero with all protections; each twin is seen:$seen"
}

# leg FROM TO VERDICT [OPTION...]: moves the guest under full-size packets, with options of
# the cutover.
leg() {
	local from=$1 to=$2 verdict=$3 option more='' tries=0
	shift 3
	for option; do
		more+="$option; "
	done
	settings=(more="$more" hold_s=1)
	moves "$from" "$to"
	# Where QEMU was faster than the redirect, what is lost is not what the leg is about.
	while ((tries++ < 2)) && on "$from" logged kata-source "QEMU was faster than the redirect"; do
		guest_quit "$from"
		SLOW=0 back_by_qemu "$to" "$from"
		guest_quit "$to"
		moves "$from" "$to"
	done
	[[ ${R[lost_back]} = 0 ]] || fail "$from to $to: ${R[lost_back]} answers lost"
	[[ ${R[verdict]} = "$verdict" ]] ||
		fail "$from to $to $more: ${R[verdict]}, not $verdict (${R[lost_there]} lost): ${R[note]}"
	runs_on "$to"
	unchanged "$from" "$ROUTE_TO_TAP"
	unchanged "$to"
	guest_quit "$from"
	seen+=" ${R[lost_there]}"
}
seen=''

moves() {
	prepared "$2"
	# shellcheck disable=SC2016	# the agent's own, of whose namespaces the node is
	SLOW=1 by_command "$1" "$2" nsenter -t "$(on "$2" eval 'echo $$')" -n -m --
	traffic_ends
}

# fails FROM TO: after the redirect, and what was held for the guest there comes back to it.
fails() {
	settings=(hold_s=1)
	on "$1" write /run/lab/fails yes
	prepared "$2"
	# shellcheck disable=SC2016	# as above
	begin_by_command "$1" "$2" nsenter -t "$(on "$2" eval 'echo $$')" -n -m --
	ended_with "$1" source 1 90
	sum_up "$1"
	traffic_ends
	[[ $(summed outcome) = failed && $(summed exit_code) = 1 ]] || fail "it failed, and: $SUMMARY"
	agrees
	(($(summed returned) >= 20)) || fail "it failed, and what was held does not come back: $SUMMARY"
	runs_on "$1"
	unchanged "$1"
	unchanged "$2"
	seen+=" ${R[lost_there]}"
}

# prepared NODE: for the guest to come, with traffic under way.
prepared() {
	awaits_guest "$1"
	before
	traffic -p udp -r 100 -s 1472 -D
	sleep 1
}

# agrees [WHY]: katamaran has counted as many losses as probe; with WHY, there were some.
agrees() {
	[[ $(summed lost) = "${R[lost_there]}" ]] ||
		fail "${1-all is on}: katamaran counts $(summed lost) lost, probe ${R[lost_there]}: $SUMMARY"
	[[ ! ${1-} || ${R[lost_there]} -gt 0 ]] || fail "$1, and nothing was lost"
}
