# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: BSD-2-Clause
# katamaran with a GRE tunnel: loses nothing

needs="ip_gre sch_plug" wants=katamaran places='host uml uml2'

scenario() {
	two_guests
	conf node2 cutover=gre
	one_migration
	nothing_lost
}
