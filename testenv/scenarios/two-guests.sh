# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: BSD-2-Clause
# two guests move at the same time between the same nodes: one tunnel device for both

needs="ipip sch_plug" wants=katamaran places='host uml2 uml'
cards2=("tap1 52:54:00:12:34:57 10.244.2.5")

scenario() {
	guest node1
	guest node1/2
	guest node2 -incoming defer
	guest node2/2 -incoming defer
	guest_up node1
	guest_up node1/2
	wait_for 20 qmp node2 '{"execute":"query-status"}'
	wait_for 20 qmp node2/2 '{"execute":"query-status"}'
	before
	# shellcheck disable=SC2119
	traffic
	sleep 1
	conf node2
	conf node2/2
	destination node2
	destination node2/2
	source_end node1 node2
	source_end node1/2 node2/2
	wait_for 90 arrived_or_failed node1/2 node2/2 || fail "the second guest does not arrive"
	arrives node1 node2
	ended_with node1/2 source 0 60
	ended_with node2 dest 0 60
	ended_with node2/2 dest 0 60
	sleep 1
	traffic_ends
	runs_on node2
	runs_on node2/2
	status_is node1 postmigrate
	status_is node1/2 postmigrate
	unchanged node1 "$ROUTE_TO_TAP"
	unchanged node2
	nothing_lost
}
