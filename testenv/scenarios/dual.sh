# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: BSD-2-Clause
# a guest with IPv4 and IPv6, traffic on both: through ipip and sit, and back through one GRE

needs="ipip sit ip_gre sch_plug" wants=katamaran places='host uml2 uml'
cards=("tap0 $GUEST_MAC $GUEST_IP $GUEST_IP6")

scenario() {
	two_guests
	conf node2
	one_migration
	nothing_lost
	fact note "ipip and sit: lost 0 of ${R[sent]}, gap ${R[gap_ms]} ms"
	turn_round
	conf node1 cutover=gre
	one_leg node2 node1
}
