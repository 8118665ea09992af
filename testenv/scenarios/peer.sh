# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: BSD-2-Clause
# one command proves that nothing was lost; killed, it asks the other end for the guest

needs=$NFTABLES wants=katamaran places=host
settings=(cutover=nftables)

scenario() {
	two_guests
	# shellcheck disable=SC2016	# the agent's own, of whose namespaces node2 is
	amid_traffic one_command node1 node2 \
		nsenter -t "$(on node2 eval 'echo $$')" -n -m --
	nothing_lost
	# What the destination counted has come over, and the network has learned 3 s after.
	[[ $(summed redirected) -gt 0 && $(summed redirected) = "$(summed arrived)" &&
		$(summed convergence_ms) -gt 1000 ]] || fail "the summary is $SUMMARY"
	asks_the_other_end
}

# Back again.  The source is killed when the guest has moved, in the moment before its journal
# says so, and its QEMU too: only the other end knows.
asks_the_other_end() {
	turn_round
	# shellcheck disable=SC2016	# as above
	begin_by_command node2 node1 nsenter -t "$(on node1 eval 'echo $$')" -n -m --
	wait_for 60 on node2 logged kata-source 'The guest runs on' ||
		fail "the guest does not move back: $(last_word node2 source)"
	killed node2 source
	on node2 eval "sed -i '/\"phase\":\"moved\"/d' /run/katamaran/*.journal"
	guest_quit node2
	fabric_learns node1
	recovered node2 'It is on the destination: the guest '
	unchanged node2 "$ROUTE_TO_TAP"
	runs_on node1
}
