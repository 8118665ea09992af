# shellcheck shell=bash disable=SC2034,SC2154
# SPDX-License-Identifier: BSD-2-Clause
# the destination's disk is full in the midst of the copy: exit 1, the guest stays as it was

needs="ipip sch_plug" wants=katamaran places='host uml'
storage='plugin = "nbd"; address = "192.168.50.12";'
# shellcheck source=testenv/disks.sh
. "$HERE/disks.sh"

scenario() {
	local_disks 1 16
	# As large as it has to be, on a file system that is not.
	on node2 mkdir /run/small
	on node2 mount -t tmpfs -o size=6M small /run/small
	on node2 mv "$(image 0)" /run/small/disk
	on node2 ln -s /run/small/disk "$(image 0)"
	disk_guests
	conf node2
	before
	LIMITS=$(limits node1)
	traffic
	sleep 1
	destination node2
	source_end node1 node2
	ended_with node1 source 1 30
	on node2 sign INT kata-dest
	ended_with node2 dest 130 5
	stayed
	no_more_blocks node1
	(($(on node2 stat -c %b /run/small/disk) > 0)) || fail "nothing was copied"
	last_write node1
	holds node1 "$(image 0)"
}
