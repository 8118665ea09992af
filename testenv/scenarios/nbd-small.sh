# shellcheck shell=bash disable=SC2034,SC2154
# SPDX-License-Identifier: BSD-2-Clause
# the destination's disk is too small: exit 1 before anything is copied

needs="ipip sch_plug" wants=katamaran places='host uml'
storage='plugin = "nbd"; address = "192.168.50.12";'
# shellcheck source=testenv/disks.sh
. "$HERE/disks.sh"

scenario() {
	local_disks 1 16 8
	disk_guests
	conf node2
	before
	LIMITS=$(limits node1)
	traffic
	sleep 1
	destination node2
	source_end node1 node2
	ended_with node1 source 1 5
	# Nothing connects the two ends: this one would wait for another source.
	on node2 sign INT kata-dest
	ended_with node2 dest 130 5
	stayed
	no_more_blocks node1
	[[ $(on node2 stat -c %b "$(image 0)") = 0 ]] || fail "something was copied"
	last_write node1
	holds node1 "$(image 0)"
}
