# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: BSD-2-Clause
# the same between nodes that have the guest on a bridge with its /24

needs="ipip sch_plug" wants=katamaran
form=bridge

scenario() {
	two_guests
	conf node2
	one_migration
	nothing_lost
}
