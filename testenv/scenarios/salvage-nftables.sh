# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: BSD-2-Clause
# the order "salvage" without a tunnel, and back with a QEMU that is faster; two queues a tap

needs=$NFTABLES wants=katamaran places=host
queues=2

scenario() {
	two_guests
	conf node2 cutover=nftables
	one_migration -order salvage -- -r 500
	two_per_queue_lost node1 0 2
	turn_round
	conf node1 cutover=nftables
	traffic
	sleep 1
	outrun node2 node1
	sleep 1
	traffic_ends
	two_per_queue_lost node2 20 2
	fact note "$(salvage_note)"
}
