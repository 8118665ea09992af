# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: BSD-2-Clause
# a guest with IPv4 and IPv6, traffic on both at once

needs="ipip sit sch_plug" wants=katamaran places='host uml uml2'
cards=("tap0 $GUEST_MAC $GUEST_IP $GUEST_IP6")

scenario() {
	two_guests
	conf node2
	one_migration
	nothing_lost
}
