# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: BSD-2-Clause
# the tap in a namespace of its own, joined to a veth by tc as Kata Containers does it

needs="ipip sch_plug sch_ingress cls_u32 act_mirred" spare=1 wants=katamaran
places='host uml2 uml'
form=kata

scenario() {
	two_guests
	conf node2
	one_migration
	nothing_lost
}
