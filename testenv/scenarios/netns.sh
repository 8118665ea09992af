# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: BSD-2-Clause
# GRE to a tap in a namespace of its own on both nodes, which routes between it and a veth

needs="ip_gre sch_plug" spare=1 wants=katamaran places='host uml2 uml'
form=pod

scenario() {
	two_guests
	conf node2 cutover=gre
	one_migration
	nothing_lost
}
