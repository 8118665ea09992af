# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: BSD-2-Clause
# a guest with IPv4 and IPv6 between nodes that have IPv6: ip6tnl, announced twice, and back ip6gre

needs="ip6_tunnel ip6_gre sch_plug" wants=katamaran places='host uml2 uml'
underlay=6
cards=("tap0 $GUEST_MAC $GUEST_IP $GUEST_IP6")

scenario() {
	two_guests
	conf node2 announce='{ plugin = "announce-self"; }, { plugin = "garp"; }'
	one_migration
	nothing_lost
	fact note "ip6tnl: lost 0 of ${R[sent]}, gap ${R[gap_ms]} ms"
	turn_round
	conf node1 cutover=gre
	one_leg node2 node1
}
