# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: BSD-2-Clause
# through ipip loses nothing, between nodes with a /32 route; back without redirect and plug does

needs="ipip sch_plug" wants=katamaran

scenario() {
	two_guests
	conf node2
	one_migration
	nothing_lost
	turn_round
	conf node1
	before
	twin migrate node2 node1 -tunnel-mode none
	moved node2 node1
}
