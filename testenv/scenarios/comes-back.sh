# shellcheck shell=bash disable=SC2034,SC2154
# SPDX-License-Identifier: BSD-2-Clause
# the site's script fails, then the other QEMU dies, in the blackout: what was held comes back

needs=$NFTABLES wants=katamaran places=host
stop_ms=5000

# fails [COMMAND...]: a migration that does, at the switchover, with the command amid it.
fails() {
	awaits_guest node2
	before
	traffic -p udp -r 100 -s 1472 -D
	sleep 1
	settings=(cutover=nftables hold_s=1)
	# shellcheck disable=SC2016	# the agent's own, of whose namespaces node2 is
	begin_by_command node1 node2 nsenter -t "$(on node2 eval 'echo $$')" -n -m --
	(($# == 0)) || "$@"
	ended_with node1 source 1 90
	sum_up node1
	traffic_ends
	runs_on node1
	unchanged node1
	unchanged node2
	on node2 ended "${QEMU[node2]}" || guest_quit node2
	[[ $(summed outcome) = failed && $(summed lost) = "${R[lost_there]}" ]] ||
		fail "probe counts ${R[lost_there]} lost, katamaran: $SUMMARY"
	(($(summed returned) >= 20 && R[lost_there] <= 1 && R[lost_back] == 0)) ||
		fail "lost ${R[lost_there]} on the way there, ${R[lost_back]} back: $SUMMARY"
	[[ $(summed verdict) != proven_zero ]] || fail "packets that came back late prove nothing"
	came+=" $(summed returned)"
}
came=''

qemu_dies() {
	wait_for 90 stopped_by_qemu node1
	on node2 sign KILL "${QEMU[node2]}"
}

scenario() {
	long_blackout '[ -e /run/lab/holds ]'
	guest node1
	guest_up node1
	fails
	on node1 write /run/lab/holds yes
	fails qemu_dies
	fact note "came back:$came"
}
