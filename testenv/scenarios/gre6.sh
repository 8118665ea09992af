# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: BSD-2-Clause
# a guest that has only IPv6 through GRE between nodes that have IPv6

needs="ip6_gre sch_plug" wants=katamaran places='host uml uml2'
underlay=6
cards=("tap0 $GUEST_MAC $GUEST_IP6")

scenario() {
	two_guests
	conf node2 cutover=gre
	one_migration
	nothing_lost
}
