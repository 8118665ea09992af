# shellcheck shell=bash disable=SC2034,SC2154
# SPDX-License-Identifier: BSD-2-Clause
# the other end as a plain process of this node, and by `ip netns exec` on the way back
#
# A process that nobody has put elsewhere reaches the other node's QEMU by the path of its
# socket, and the tap by `netns`.  A tunnel would end in the namespace in which it began, so the
# redirect is a route here, as in the scenario `script`: nothing counts, and nothing is proven.

needs=$NFTABLES wants=katamaran places=host

site_script() {
	cat <<-'END'
		#!/bin/sh
		ip=$KATAMARAN_NIC0_IPS tap=$KATAMARAN_NIC0_TAP
		there() { nsenter --net="$KATAMARAN_NIC0_NETNS" ip neigh replace "$ip" dev "$tap" "$@"; }
		case $1.$KATAMARAN_ROLE.${KATAMARAN_OUTCOME-} in
		pre_copy.destination.*) there lladdr "$KATAMARAN_NIC0_MAC" nud permanent ;;
		cleanup.destination.*) there lladdr "$KATAMARAN_NIC0_MAC" nud stale ;;
		on_stop.source.*) ip route replace "$ip" via "$KATAMARAN_PEER" && sleep 0.3 ;;
		on_resume.source.*) [ "$KATAMARAN_ROUND" -ge 10 ] || echo 500 ;;
		cleanup.source.done) ip route del "$ip" via "$KATAMARAN_PEER" ;;
		cleanup.source.*) ip route replace "$ip" dev "$tap" ;;
		*) exit 2 ;;
		esac
	END
}

# proc_of NODE: by which another node's process reaches what is in that node.
proc_of() {
	# shellcheck disable=SC2016	# the agent's own, of whose namespaces the node is
	echo "/proc/$(on "$1" eval 'echo $$')"
}

# plain: the child is katamaran itself, without a command around it.
plain() {
	begin_by_command node1 node2
	# shellcheck disable=SC2016	# the agent's
	wait_for 20 on node1 eval 'pgrep -x katamaran -P ${PID[kata-source]}' ||
		fail "katamaran is no child of the other: $(last_word node1 source)"
	arrives node1 node2
	sum_up node1
}

scenario() {
	local there
	site_script >"$LOGS/site-script"
	chmod 755 "$LOGS/site-script"
	two_guests
	there=$(proc_of node2)
	GIVEN[node2]="-qmp $there/root$(socket_of node2) -netns $there/ns/net"
	settings=(cutover=script more="path = \"$LOGS/site-script\"; on_stop_ms = 1000;")
	amid_traffic plain
	nothing_lost
	[[ ${R[verdict]} = unknown && ${R[note]} = *"no plugin counted"* ]] ||
		fail "a proof of what nobody has counted: ${R[note]}"
	back
}

# Its files are still those of the node where the source is.
back() {
	local there
	turn_round
	there=$(proc_of node1)
	GIVEN[node1]="-qmp $there/root$(socket_of node1)"
	on node2 ip netns attach node1 "${there#/proc/}"
	settings=(cutover=nftables hold_s=1)
	before
	traffic
	sleep 1
	phase
	SLOW=1 one_command node2 node1 ip netns exec node1
	sleep 1
	traffic_ends
	nothing_lost
	runs_on node1
	unchanged node1
	unchanged node2 "$ROUTE_TO_TAP"
}
