# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: BSD-2-Clause
# a guest that has only IPv6, between nodes that have IPv4 (a sit tunnel)

needs="sit sch_plug" spare=1 wants=katamaran places='host uml2 uml'
cards=("tap0 $GUEST_MAC $GUEST_IP6")

scenario() {
	two_guests
	conf node2
	one_migration
	nothing_lost
}
