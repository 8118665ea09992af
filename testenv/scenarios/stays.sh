# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: BSD-2-Clause
# nobody listens, SIGINT and a killed QEMU amid the copy: exit 1, 130, 1, the guest stays as it was

needs="ipip sch_plug" wants=katamaran

scenario() {
	guest node1
	guest_up node1
	LIMITS=$(limits node1)
	conf node2
	begins
	source_end node1 node2
	ended_with node1 source 1 5
	stayed

	conf node2 bandwidth=$((4 << 20))
	amid_copy
	on node1 sign INT kata-source
	ended_with node1 source 130 5
	ended_with node2 dest 1 5
	stayed

	amid_copy
	on node2 sign KILL "${QEMU[node2]}"
	ended_with node1 source 1 5
	ended_with node2 dest 1 5
	stayed
}

begins() {
	before
	traffic
	sleep 1
}

# amid_copy: to a new QEMU on node2; what a migration has failed for is lost, or has ended itself.
amid_copy() {
	[[ ! ${QEMU[node2]-} ]] || on node2 ended "${QEMU[node2]}" || guest_quit node2
	awaits_guest node2
	begins
	destination node2
	source_end node1 node2
	wait_for 30 under_way node1 || fail "no copy to disturb: $(last_word node1 source)"
}
