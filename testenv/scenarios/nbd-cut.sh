# shellcheck shell=bash disable=SC2034,SC2154
# SPDX-License-Identifier: BSD-2-Clause
# the destination's QEMU is killed when half of the disk is copied: nobody has noticed
#
# Before that the disks are to be in step earlier than the destination can write them.

needs=$NFTABLES wants=katamaran places=host
storage='plugin = "nbd"; address = "192.168.50.12";'
# shellcheck source=testenv/disks.sh
. "$HERE/disks.sh"

half_copied() {
	local job offset
	job=$(qmp node1 '{"execute":"query-block-jobs"}')
	offset=$(field offset "$job")
	((${offset:-0} > 16 << 20))
}

scenario() {
	local_disks 1 32
	# Eight seconds for half of the disk.  The limit has to be a node of its own: those of a
	# drive are for its guest, not for what comes over NBD.
	disks=()
	guest node1 -drive "if=none,id=drive0,format=raw,file=$(image 0)" \
		-device virtio-blk-device,drive=drive0
	guest node2 -incoming defer -object throttle-group,id=slow,x-bps-write=$((2 << 20)) \
		-drive "if=none,id=drive0,driver=throttle,throttle-group=slow,file.driver=raw,\
file.file.driver=file,file.file.filename=$(image 0)" -device virtio-blk-device,drive=drive0
	guest_up node1
	wait_for 60 qmp node2 '{"execute":"query-status"}'
	disk_guests_up
	conf node2 cutover=nftables
	before
	LIMITS=$(limits node1)
	traffic
	sleep 1
	destination node2
	source_end node1 node2 -storage-sync-timeout-s 8
	ended_with node1 source 1 30
	last_word node1 source | grep -qE \
		'storage sync for job kat-nbd-.* \(drive drive0\) did not complete within 8 s' ||
		fail "no word of a copy that is too slow: $(last_word node1 source)"
	no_more_blocks node1
	source_end node1 node2
	wait_for 30 half_copied || fail "no copy to disturb: $(last_word node1 source)"
	on node2 sign KILL "${QEMU[node2]}"
	ended_with node1 source 1 5
	ended_with node2 dest 1 5
	last_word node1 source | grep -q 'drive-mirror failed: drive drive0[:,] ' ||
		fail "no word of the mirror: $(last_word node1 source)"
	stayed
	no_more_blocks node1
	last_write node1
	holds node1 "$(image 0)"
}
