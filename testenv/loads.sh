# shellcheck shell=bash disable=SC2034,SC2086,SC2154
# SPDX-License-Identifier: BSD-2-Clause
# What load, onstop and results.sh have in common: kinds of traffic, called loads, each of one
# or more rows of the table; and ways to move the guest, which are its columns.

LOADS="small large dual fast tcp"
COLUMNS_ALL="plain onstop ipip gre nftables ipip-salvage gre-salvage nftables-salvage"
ADDRESSES="$GUEST_IP $GUEST_IP6"

# column NAME: before scenario(), what that way to move the guest needs.
column() {
	column=$1 limit=900
	cards=("tap0 $GUEST_MAC $ADDRESSES")
	case $1 in
	plain) places='uml2 uml host' ;;
	onstop) needs="ipip sit sch_plug" ;;
	ipip*) needs="ipip sit sch_plug" wants=katamaran places='host uml2 uml' ;;
	gre*) needs="ip_gre sch_plug" wants=katamaran places='host uml2 uml' ;;
	nftables*) needs=$NFTABLES wants=katamaran places=host ;;
	*) die "COLUMN: one of $COLUMNS_ALL, not '$1'" ;;
	esac
}

# row NAME OPTION... ADDRESS: a probe that is named after the row that it measures.
row() {
	more_traffic "$1" --log "/run/lab/$1.log" "${@:2}"
}

# starts LOAD: its rows.
starts() {
	no_traffic
	case $1 in
	small)
		row ping -r 100 $GUEST_IP
		row udp64 -p udp -r $RATE -s 64 -D $GUEST_IP
		;;
	large) row udp1472 -p udp -r $RATE -s 1472 -D -f 4 $GUEST_IP ;;
	dual)
		row ipv4 -p udp -r $((RATE / 2)) -f 2 -s 64 $GUEST_IP
		row ipv6 -p udp -r $((RATE / 2)) -f 2 -s 84 $GUEST_IP6
		;;
	fast)
		[[ ${R[sustained]-} ]] || sustained
		row fast -p udp -r $((R[sustained] / 2)) -s 64 $GUEST_IP
		;;
	tcp) row tcp -p tcp $GUEST_IP ;;
	*) fail "no load '$1'" ;;
	esac
}

# highest SIZE MOST WAIT: the highest rate that comes back whole while nothing migrates, WAIT
# seconds after the last was sent, in `best`.
highest() {
	local rate out
	best=0
	for rate in 100 200 500 1000 1500 2000 3000 4000 6000 8000 12000 16000 24000; do
		((rate <= $2)) || break
		out=$(on client "$PROBE" -p udp -e -s $1 -r $rate -c $rate -w $3 $GUEST_IP) || break
		[[ $out =~ rate=([0-9]+) ]] || break
		((BASH_REMATCH[1] >= rate * 9 / 10)) || break
		best=$rate
	done
}

sustained() {
	local best
	highest 64 24000 0.5
	((best >= 500)) || fail "not even 500 packets a second come back whole"
	fact sustained $best
}

# Where it is judged and not measured how a guest moves: the lab's guest is emulated, and takes
# half of what it takes otherwise while its memory is copied.  What it does not come to read
# is no packet that was lost on the way.
RATE=1000
affordable() {
	local best
	highest 1472 $((2 * RATE)) 2
	((best)) || fail "not even 100 packets a second come back whole"
	((best < 2 * RATE)) || return 0
	RATE=$((best / 2))
	fact note "this guest reads no more than $best packets a second: $RATE"
}

# leg LOAD FROM TO: the guest moves amid that load.  What the probes say goes to the file legs,
# what came in the wrong order and what katamaran says to the file said.
leg() {
	local name out drops
	awaits_guest "$3"
	before
	starts "$1"
	sleep 2
	drops=$(tap_drops)
	phase
	"by_${column%%-*}" "$2" "$3"
	sleep 1
	traffic_ends
	drops=$(($(tap_drops) - drops))
	for name in "${ENDED[@]}"; do
		out=$(on client cat "/run/lab/$name.out")
		echo "$1 $name place=$PLACE tap_drops=$drops asked=${R[sustained]-} ${out//$'\n'/ }" \
			>>"$LOGS/legs"
		on client eval "grep -E '[a-z]' /run/lab/$name.log | head -n 50 | sed 's/^/$name /'" \
			>>"$LOGS/said" || true
	done
	for name in "$2" "$3"; do
		on "$name" eval "grep -hsE 'packets of|verdict|opened|faster' /run/lab/kata-*.err | sed 's/^/$1 $name /'" \
			>>"$LOGS/said" || true
	done
	runs_on "$3"
	guest_quit "$2"
}

# What the taps were too full for, wherever the guest is.
tap_drops() {
	local node sum=0
	for node in node1 node2; do
		sum=$((sum + $(on "$node" eval "echo \$(</sys/class/net/tap0/statistics/tx_dropped)")))
	done
	echo $sum
}

# The guest is on node1, and answers.
guest_answers() {
	guest node1
	guest_up node1
	wait_for 60 serves
}

# legs LOAD...: to and fro, beginning on node1.
legs() {
	local from=node1 to=node2 load
	for load; do
		leg "$load" $from $to
		judged "$load"
		read -r from to <<<"$to $from"
	done
}

serves() {
	on client "$PROBE" -p udp -e -c 2 -f 1 -w 0.5 $ADDRESSES
}

# ---- the ways to move --------------------------------------------------------------------

by_plain() {
	qmp_migrate "$1" "$2"
	phase
	sleep "${SLOW:-3}"
	fabric_learns "$2"
}

# The way it was done with shell commands: the plug with its usual 32768 bytes is closed before
# the migration, and the redirect is built when the guest is seen to have stopped.
by_onstop() {
	local to4=${NODE_IP4[$2]} from4=${NODE_IP4[$1]}
	on "$2" eval "ip link set tunl0 up; ip link set sit0 up
		tc qdisc add dev tap0 root plug limit 32768
		tc qdisc change dev tap0 root plug release_indefinite
		tc qdisc change dev tap0 root plug block"
	qmp_prepare "$1" "$2"
	qmp "$1" '{"execute":"migrate","arguments":{"uri":"tcp:'"${NODE_IP[$2]}"':4444"}}' >/dev/null
	on "$1" eval "while [[ \$(qmp ${PORT[$1]} '{\"execute\":\"query-status\"}') = *'\"running\": true'* ]]; do :; done
		ip tunnel add mig-tun mode ipip remote $to4 local $from4
		ip link set mig-tun up
		ip route replace $GUEST_IP dev mig-tun
		ip tunnel add mig-tun6 mode sit remote $to4 local $from4
		ip link set mig-tun6 up
		ip -6 route replace $GUEST_IP6 dev mig-tun6"
	on "$2" eval "until [[ \$(qmp ${PORT[$2]} '{\"execute\":\"query-status\"}') = *'\"running\": true'* ]]; do :; done
		tc qdisc change dev tap0 root plug release_indefinite"
	phase
	sleep "${SLOW:-3}"
	fabric_learns "$2"
	sleep 1
	on "$1" eval "ip tunnel del mig-tun; ip tunnel del mig-tun6"
	on "$2" eval "tc qdisc del dev tap0 root; ip link set tunl0 down; ip link set sit0 down"
}

by_katamaran() {
	local order=redirect-first
	[[ $column != *-salvage ]] || order=salvage
	conf "$2" "cutover=${column%-*}" hold_s=2
	migrate "$1" "$2" -order "$order"
	status_is "$1" postmigrate
	unchanged "$1" "$ROUTE_TO_TAP"
	unchanged "$2"
}
by_ipip() { by_katamaran "$@"; }
by_gre() { by_katamaran "$@"; }
by_nftables() { by_katamaran "$@"; }
