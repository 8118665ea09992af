# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: BSD-2-Clause
# nftables for a guest with IPv4 and IPv6, whose memory goes through several connections

needs=$NFTABLES wants=katamaran places=host
cards=("tap0 $GUEST_MAC $GUEST_IP $GUEST_IP6")

scenario() {
	two_guests
	conf node2 cutover=nftables multifd=2
	one_migration
	nothing_lost
	[[ $(qmp node1 '{"execute":"query-migrate"}') =~ \"multifd-bytes\":\ ([0-9]+) ]] &&
		((BASH_REMATCH[1] > 0)) || fail "QEMU has sent nothing through multifd's connections"
}
