# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: BSD-2-Clause
# The lossless order with ip, tc and QMP alone: shows that the lab itself loses nothing
#
# The guest is held just short of the switchover by a brake on max-bandwidth, so that it does
# not matter how long the commands take: plug, redirect while the guest still runs and empties
# its tap, stop it, let go.

needs="ipip sch_plug" spare=1

parameters() {
	qmp "$1" '{"execute":"migrate-set-parameters","arguments":{'"$2"'}}' >/dev/null
}

nearly_sent() {
	local left
	left=$(field remaining "$(qmp node1 '{"execute":"query-migrate"}')")
	((left > 0 && left < 24 << 20))
}

plug() {
	on node2 tc qdisc "$1" dev tap0 root plug "${@:2}"
}

scenario() {
	local node
	two_guests
	before
	for node in node1 node2; do
		ip_batch $node <<-'END'
			link add mig0 type ipip external
			link set mig0 mtu 1500 up
		END
	done
	ip_batch node2 <<-END
		neigh replace $GUEST_IP lladdr $GUEST_MAC dev tap0 nud permanent
	END
	traffic
	sleep 1
	qmp_prepare node1 node2
	parameters node1 '"downtime-limit":1,"max-bandwidth":16777216'
	qmp node1 '{"execute":"migrate","arguments":{"uri":"tcp:192.168.50.12:4444"}}' >/dev/null
	wait_for 60 nearly_sent
	parameters node1 '"max-bandwidth":10240'
	status_is node1 running || fail "the brake came too late: $WHY"

	plug add limit 10485760
	ip_batch node1 <<-END
		route replace $GUEST_IP/32 encap ip id 0 dst 192.168.50.12 src 192.168.50.11 ttl 64 dev mig0
	END
	sleep 0.2
	qmp node1 '{"execute":"stop"}' >/dev/null
	parameters node1 '"downtime-limit":2000,"max-bandwidth":1073741824'
	wait_for 60 migrated node2
	qmp node2 '{"execute":"cont"}' >/dev/null
	plug change release_indefinite
	fact note "$(on node2 tc -s qdisc show dev tap0 | sed -n 's/.*\(dropped [0-9]*\).*/plug: \1/p')"
	qmp node2 '{"execute":"announce-self","arguments":{"initial":50,"max":550,"rounds":5,"step":100}}' >/dev/null
	sleep "${SLOW:-3}"
	fabric_learns node2
	sleep 1
	traffic_ends
	runs_on node2
	status_is node1 postmigrate

	plug del
	for node in node1 node2; do
		ip_batch $node <<<"link del mig0"
	done
	ip_batch node2 <<<"neigh del $GUEST_IP dev tap0"
	unchanged node1 "^< .*$GUEST_IP dev tap0"
	unchanged node2
	nothing_lost
}
