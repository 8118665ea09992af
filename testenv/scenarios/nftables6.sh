# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: BSD-2-Clause
# nftables for a guest with IPv4 and IPv6

needs=$NFTABLES wants=katamaran places=host
cards=("tap0 $GUEST_MAC $GUEST_IP $GUEST_IP6")

scenario() {
	two_guests
	conf node2 cutover=nftables
	one_migration
	nothing_lost
}
