# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: BSD-2-Clause
# katamaran with an ipip tunnel between nodes with a /32 route: loses nothing

needs="ipip sch_plug" wants=katamaran

scenario() {
	two_guests
	conf node2
	one_migration
	nothing_lost
}
