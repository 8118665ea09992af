# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: BSD-2-Clause
# both ends are killed, in the copy and after it: --recover leaves one guest, and nothing else

needs="ipip sch_plug" wants=katamaran

scenario() {
	two_guests
	conf node2 bandwidth=$((4 << 20))
	# The source has connected: without a link to it, packets are held from then on.
	killed_in_copy
	recovered_source
	recovered node2 'The guest does not run here\|No guest has come'
	unchanged node2

	# The guest moves, and nobody is there to give it its packets, nor to end the redirect.
	on node2 ended "${QEMU[node2]}" >/dev/null || guest_quit node2
	guest node2 -incoming defer
	wait_for 60 qmp node2 '{"execute":"query-status"}'
	conf node2 bandwidth=$((8 << 20)) hold_s=10	# until it is killed
	destination node2
	source_end node1 node2
	wait_for 30 under_way node1 || fail "no copy to disturb: $(last_word node1 source)"
	killed node2 dest
	wait_for 60 migrated node1 || fail "the guest does not move: $(last_word node1 source)"
	killed node1 source
	fabric_learns node2
	wait_for 10 status_is node2 running
	! answers || fail "the guest answers though its packets are held"
	changed node1
	changed node2
	recovered node2 'has the packets that were held for it'
	runs_on node2
	recovered node1 'The migration is complete'
	status_is node1 postmigrate
	unchanged node1 "$ROUTE_TO_TAP"
	unchanged node2
}
