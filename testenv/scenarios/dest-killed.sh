# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: BSD-2-Clause
# the destination's QEMU is killed during the copy: both ends exit 1

needs="ipip sch_plug" wants=katamaran

scenario() {
	two_guests
	conf node2 bandwidth=$((4 << 20))
	before
	LIMITS=$(limits node1)
	traffic
	sleep 1
	destination node2
	source_end node1 node2
	wait_for 30 under_way node1 || fail "no copy to disturb: $(last_word node1 source)"
	on node2 sign KILL "${QEMU[node2]}"
	ended_with node1 source 1 5
	ended_with node2 dest 1 5
	stayed
}
