# shellcheck shell=bash disable=SC2034,SC2154
# SPDX-License-Identifier: BSD-2-Clause
# a qcow2 that both nodes see, written all the time: no write is missing, the image is whole

needs=$NFTABLES wants=katamaran places=host
settings=(cutover=nftables)
storage='plugin = "shared";'
# shellcheck source=testenv/disks.sh
. "$HERE/disks.sh"

fetch() { need qemu-utils; }

# Both nodes are in one kernel, and have the folder of the logs in common.  With a backing
# file, every first write to a cluster of the image changes its tables.
scenario() {
	local dir
	# shellcheck disable=SC2016	# the agent's own
	dir=$(on node1 eval 'echo "$OUT"')
	on node1 "$DISK" fill "$dir/base.img" 0 32
	on node1 qemu-img create -q -f qcow2 -F raw -b "$dir/base.img" "$dir/shared.qcow2"
	a_disk 0 "format=qcow2,file=$dir/shared.qcow2"
	disk_guests
	one_migration_of_disks
	guest_quit node1
	last_write node2
	on node2 qemu-img check -q "$dir/shared.qcow2" || fail "the image is damaged"
	on node2 qemu-img convert -O raw "$dir/shared.qcow2" "$(image 0)"
	holds node2 "$(image 0)"
	on node2 rm "$dir/base.img" "$dir/shared.qcow2"
}
