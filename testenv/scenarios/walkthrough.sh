# shellcheck shell=bash disable=SC2034,SC2154
# SPDX-License-Identifier: BSD-2-Clause
# the migration of WALKTHROUGH.md: as ipip, and what both nodes look like meanwhile

needs="ipip sch_plug" spare=1 wants=katamaran kind=icmp

# record FILE NODE COMMAND...: what it prints there, for walkthrough.sh.
record() {
	on "${@:2}" >"$LOGS/$1"
}

watched() {
	destination node2
	record qdisc-open node2 tc -s qdisc show dev tap0
	source_end node1 node2
	wait_for 90 arrived_or_failed node1 node2 || fail "the guest does not arrive on node2"
	record qdisc-moved node2 tc -s qdisc show dev tap0
	record rule-moved node1 ip rule show
	[[ $(on node1 ip neigh show to "$GUEST_IP" dev tap0) = *PERMANENT* ]] ||
		fail "node1 would ask the guest for its MAC, which has gone"
	sleep 3
	fabric_learns node2
	ended_with node1 source 0 60
	ended_with node2 dest 0 60
	downtime node1
}

scenario() {
	two_guests
	conf node2
	amid_traffic watched
	nothing_lost
	record qdisc-after node2 tc -s qdisc show dev tap0
	record rule-after node1 ip rule show
	record tunnel-after node1 ip -d link show type ipip
}
