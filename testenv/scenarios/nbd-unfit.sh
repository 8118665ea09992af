# shellcheck shell=bash disable=SC2034,SC2154
# SPDX-License-Identifier: BSD-2-Clause
# the destination's disk is too small, then full amid the copy: exit 1, the guest stays as it was

needs=$NFTABLES wants=katamaran places=host
storage='plugin = "nbd"; address = "192.168.50.12";'
# shellcheck source=testenv/disks.sh
. "$HERE/disks.sh"

scenario() {
	local_disks 1 16 8
	disk_guests
	LIMITS=$(limits node1)
	conf node2 cutover=nftables
	fails_within 5
	[[ $(on node2 stat -c %b "$(image 0)") = 0 ]] || fail "something was copied"
	# While the guest stands still: the second copy is not to hide what the first has lost.
	goes_on_writing node1
	qmp node1 '{"execute":"stop"}' >/dev/null
	holds node1 "$(image 0)"
	qmp node1 '{"execute":"cont"}' >/dev/null

	# As large as it has to be, on a file system that is not.
	guest_quit node2
	on node2 mkdir /run/small
	on node2 mount -t tmpfs -o size=6M small /run/small
	on node2 truncate -s 16M /run/small/disk
	on node2 ln -sf /run/small/disk "$(image 0)"
	awaits_guest node2
	fails_within 30
	(($(on node2 stat -c %b /run/small/disk) > 0)) || fail "nothing was copied"
	last_write node1
	holds node1 "$(image 0)"
}

fails_within() {
	before
	traffic
	sleep 1
	destination node2
	source_end node1 node2
	ended_with node1 source 1 "$1"
	# Nothing connects the two ends: this one would wait for another source.
	on node2 sign INT kata-dest
	ended_with node2 dest 130 5
	stayed
	no_more_blocks node1
}
