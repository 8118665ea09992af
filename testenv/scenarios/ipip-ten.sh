# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: BSD-2-Clause
# ten migrations in a row, to and fro: nothing lost in any of them

needs="ipip sch_plug" wants=katamaran
limit=900

scenario() {
	local from=node1 to=node2 leg total=0 gaps=''
	guest node1
	guest_up node1
	for leg in 1 2 3 4 5 6 7 8 9 10; do
		guest "$to" -incoming defer
		wait_for 60 qmp "$to" '{"execute":"query-status"}'
		# What the CNI does for a new sandbox: a migration may have taken the route away.
		ip_batch "$to" <<<"route replace $GUEST_IP/32 dev tap0"
		conf "$to"
		before
		traffic
		sleep 1
		migrate "$from" "$to"
		sleep 1
		traffic_ends
		total=$((total + R["sent"])) gaps+=" ${R[gap_ms]%.*}"
		fact note "$((leg - 1)) legs of 10 without loss"
		nothing_lost
		runs_on "$to"
		status_is "$from" postmigrate
		unchanged "$from" "$ROUTE_TO_TAP"
		unchanged "$to"
		guest_quit "$from"
		read -r from to <<<"$to $from"
	done
	fact note "ten migrations, $total packets; the gaps:$gaps ms"
}
