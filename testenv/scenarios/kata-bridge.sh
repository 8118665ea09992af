# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: BSD-2-Clause
# nftables, and the pods of Kata Containers are on a bridge of the node with their /24

needs="$NFTABLES sch_ingress cls_u32 act_mirred" wants=katamaran
places=host
form=kata cni=bridge

scenario() {
	two_guests
	conf node2 cutover=nftables
	one_migration
	nothing_lost
	guest_quit node1
	twin back_by_qemu
}
