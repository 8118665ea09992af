# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: BSD-2-Clause
# order = "salvage": what two taps hold, of IPv4 and IPv6, follows through ipip, sit and gre

needs="ipip sit ip_gre sch_plug" wants=katamaran places='host uml uml2'
cards=("tap0 $GUEST_MAC $GUEST_IP $GUEST_IP6" "tap1 52:54:00:12:34:57 10.244.2.5")

# leg FROM TO LEAST COMMAND...: QEMU chooses the moment, and the stopped guest's packets follow it.
leg() {
	local from=$1 to=$2 least=$3
	before
	traffic
	sleep 1
	"${@:4}"
	sleep 1
	traffic_ends
	two_per_queue_lost "$from" "$least" 2
	in_order
	runs_on "$to"
	status_is "$from" postmigrate
	unchanged "$from" "$ROUTE_TO_TAP"
}

scenario() {
	two_guests
	conf node2 cutover=ipip bandwidth=$((8 << 20))
	leg node1 node2 60 outrun node1 node2 -order salvage
	turn_round
	# One command, so that the other end is told to hold while QEMU waits.
	settings=(cutover=gre "order=salvage")
	# shellcheck disable=SC2016	# the agent's own, of whose namespaces node1 is
	leg node2 node1 0 by_command node2 node1 nsenter -t "$(on node1 eval 'echo $$')" -n -m --
	[[ ${R[verdict]} = unknown ]] || fail "the verdict on both ends is ${R[verdict]}"
	fact note "$(salvage_note)"
}
