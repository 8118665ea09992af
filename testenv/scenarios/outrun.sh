# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: BSD-2-Clause
# QEMU is faster than katamaran: what the tap holds is salvaged, over IPv6, or is lost

needs="ip6_tunnel sch_plug" wants=katamaran places='host uml2 uml' underlay=6 alone=2

leg() {
	conf "$2" "more=${3-}"
	traffic
	sleep 1
	outrun "$1" "$2"
	on "$1" logged kata-source "QEMU was faster than the redirect" ||
		fail "katamaran was not outrun"
	sleep 1
	traffic_ends
}

scenario() {
	two_guests
	before
	leg node1 node2
	two_per_queue_lost node1 20
	in_order
	runs_on node2
	unchanged node1 "$ROUTE_TO_TAP"
	unchanged node2
	turn_round
	leg node2 node1 'salvage = false;'
	something_lost
	on node2 logged kata-source "what was in the source's taps when the guest stopped is lost" ||
		fail "katamaran does not say that packets are lost"
	fact note "without salvage ${R[lost]} of ${R[sent]} lost; $(salvage_note)"
}
