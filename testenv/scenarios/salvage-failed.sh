# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: BSD-2-Clause
# the destination dies when the packets were salvaged: the guest goes on, and they are counted

needs=$NFTABLES wants=katamaran places=host

scenario() {
	local line
	two_guests
	conf node2 cutover=nftables bandwidth=$((8 << 20))
	before
	LIMITS=$(limits node1)
	traffic
	sleep 1
	destination node2
	source_end node1 node2 -order salvage
	wait_for 60 under_way node1 || fail "no copy to disturb: $(last_word node1 source)"
	on node1 sign STOP kata-source
	open_gate node1
	wait_for 60 stopped_by_qemu node1
	sleep 0.3
	on node2 sign KILL "${QEMU[node2]}"
	on node1 sign CONT kata-source
	ended_with node1 source 1 20
	ended_with node2 dest 1 5
	sleep 1
	traffic_ends
	runs_on node1
	unchanged node1
	unchanged node2
	[[ $(limits node1) = "$LIMITS" ]] ||
		fail "QEMU's max-bandwidth and downtime-limit are $(limits node1), were $LIMITS"
	# What QEMU had taken out of the tap it gives to the guest now.
	# One more may have been in its hands when the guest stopped, and is seen by nobody.
	line=$(on node1 grep 'packet(s) lost: they were sent' /run/lab/kata-source.err)
	[[ $line =~ warning:\ ([0-9]+)\ packet\(s\)\ lost ]] || fail "katamaran counts nothing: $line"
	((R[lost] - BASH_REMATCH[1] >= 0 && R[lost] - BASH_REMATCH[1] <= 1)) ||
		fail "${R[lost]} packets lost, but katamaran says: $line"
	((R[lost] >= 20)) || fail "only ${R[lost]} packets were salvaged"
}
