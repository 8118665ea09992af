# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: BSD-2-Clause
# a guest with two cards of two queues each, traffic on both

needs="ipip sch_plug" wants=katamaran places='host uml2 uml'
queues=2 cards=("tap0 $GUEST_MAC $GUEST_IP" "tap1 52:54:00:12:34:57 10.244.2.5")

scenario() {
	two_guests
	conf node2
	one_migration
	nothing_lost
}
