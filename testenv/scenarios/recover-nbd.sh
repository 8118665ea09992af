# shellcheck shell=bash disable=SC2034,SC2154
# SPDX-License-Identifier: BSD-2-Clause
# both ends are killed while a disk is mirrored, with nftables: --recover leaves the guest its disk

needs=$NFTABLES wants=katamaran places=host
storage='plugin = "nbd"; address = "192.168.50.12";'
# A word with QEMU takes 200 ms on a starved machine, and a disk takes three.
stop_ms=2000
# shellcheck source=testenv/disks.sh
. "$HERE/disks.sh"

scenario() {
	local_disks 1 32
	disk_guests
	conf node2 bandwidth=$((4 << 20)) cutover=nftables
	killed_in_copy
	[[ $(blocks node1) != "$BLOCKS" ]] || fail "the kill left no mirror"
	[[ $(qmp node2 '{"execute":"query-block-exports"}') = *kat-nbd* ]] ||
		fail "the kill left no export"
	# The mirror breaks with its export; the guest here must not notice.
	recovered node2 'A migration still arrives'
	unchanged node2
	[[ $(qmp node2 '{"execute":"query-block-exports"}') = '{"return": []}' ]] ||
		fail "QEMU on node2 still exports the disk"
	! qmp node2 '{"execute":"nbd-server-stop"}' 2>/dev/null ||
		fail "QEMU on node2 still had its NBD server"
	recovered_source
	goes_on_writing node1
	no_more_blocks node1
	last_write node1
	holds node1 "$(image 0)"
}
