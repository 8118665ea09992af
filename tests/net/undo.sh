#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# What a killed migration has announced is undone by other processes, whether it was done, was
# not, or was undone already.  In network namespaces of its own; what needs sch_plug or a
# tunnel of the kernel is the lab's.  Needs root; skipped (77) with the reason otherwise.
set -euo pipefail

. "$(dirname "$0")/namespaces.sh" ip bridge perl

driver=$PWD/tests/unit/hook_driver
plugin=$PWD/.libs/cutover-ipip.so
MAC=52:54:00:12:34:56
cd /run/work
passed=0 failed=0

# All of the network that is touched here.
snapshot() {
	ip -o link show | sed 's/<[^>]*>//; s/ state [A-Z]*//'
	ip -o addr show
	ip -o neigh show nud permanent
	for family in -4 -6; do ip $family -o route show table all && ip $family -o rule show; done
	for file in /proc/sys/net/ipv4/conf/*/rp_filter; do echo "$file $(<"$file")"; done
	bridge fdb show br br0 | grep $MAC | grep -v permanent || true
	for file in /proc/sys/net/ipv4/neigh/*/unres_qlen_bytes; do echo "$file $(<"$file")"; done
}

# recover ROLE OUTCOME RECORD: the plugin's, in a process of its own.
recover() {
	echo "recover $2 $3" | "$driver" "$plugin" "role=$1" id=test \
		"nic=tap0,,$MAC,10.0.0.5" >said 2>&1
}

# undone WHAT ROLE OUTCOME RECORD: the network is as in the file `before` then, now and again.
undone() {
	local what=$1 times
	shift
	for times in once twice; do
		recover "$@" || { complain "$what ($times): $(tail -n 2 said | tr "\n" " ")"; return; }
		snapshot >after
		diff before after >difference || { complain "$what ($times): $(<difference)"; return; }
	done
	passed=$((passed + 1))
}

complain() {
	echo "FAIL: $*"
	failed=$((failed + 1))
}

# changed: the network differs from `before`, or there would be nothing to undo.
changed() {
	snapshot >after
	! diff -q before after >/dev/null || complain "the test itself has changed nothing"
}

index() {
	cat "/sys/class/net/$1/ifindex"
}

mount -t sysfs sysfs /sys
ip link set lo up
ip link add br0 type bridge
ip link set br0 up
ip tuntap add tap0 mode tap
ip link set tap0 master br0 up
ip tuntap add tap1 mode tap
ip link set tap1 up
ip addr add 10.0.0.1/24 dev tap1
ip link add eth0 type bridge
ip link set eth0 up
ip addr add 192.0.2.1/24 dev eth0
sleep 0.2 # until IPv6 has made its addresses
for file in /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 1 >"$file"; done

echo '# redirects'
snapshot >before
record="redirect 10.0.0.5 27489 10"
undone "a redirect that was not begun" source failed "$record"
ip rule add to 10.0.0.5 lookup 27489 priority 10 protocol 107
changed
undone "a rule" source failed "$record"
ip rule add to 10.0.0.5 lookup 27489 priority 10 protocol 107
ip route add 10.0.0.5 dev eth0 table 27489 protocol 107
undone "a rule and its route" source "done" "$record"
ip rule add to 10.0.0.6 lookup 27489 priority 10 protocol 107
snapshot >before
undone "not that of another guest" source failed "$record"
ip rule del to 10.0.0.6 lookup 27489 priority 10

echo '# the tunnel'
snapshot >before
undone "no device" source failed "tunnel kat-ipip"
ip link add kat-ipip type bridge
undone "a device that nobody shares yet" source failed "tunnel kat-ipip"
ip link add kat-ipip type bridge
ip link property add dev kat-ipip altname kat-ipip-test
changed
undone "our share, which was the last" source failed "tunnel kat-ipip"
ip link add kat-ipip type bridge
ip link property add dev kat-ipip altname kat-ipip-other
snapshot >before
ip link property add dev kat-ipip altname kat-ipip-test
changed
undone "not that of another migration" source failed "tunnel kat-ipip"
ip link del kat-ipip

echo '# the reverse path filter'
echo 1 >/proc/sys/net/ipv4/conf/eth0/rp_filter
snapshot >before
record="rpfilter $(index eth0) eth0 1 1"
undone "a filter that was not relaxed" source failed "$record"
echo 0 >/proc/sys/net/ipv4/conf/eth0/rp_filter
changed
undone "one that has not its name yet" source failed "$record"
echo 0 >/proc/sys/net/ipv4/conf/eth0/rp_filter
ip link property add dev eth0 altname "kat-rpf-$(index eth0)-test-1-0"
undone "one that has it" source failed "$record"
echo 0 >/proc/sys/net/ipv4/conf/eth0/rp_filter
ip link property add dev eth0 altname "kat-rpf-$(index eth0)-other-1-0"
snapshot >before
ip link property add dev eth0 altname "kat-rpf-$(index eth0)-test-1-0"
undone "not while another migration needs it" source failed "$record"
ip link property del dev eth0 altname "kat-rpf-$(index eth0)-other-1-0"
echo 0 >/proc/sys/net/ipv4/conf/eth0/rp_filter

echo '# the routes to the tap'
snapshot >before
ip route add 10.0.0.5 dev tap1
record="leave 10.0.0.5 $(index tap1) tap1"
undone "routes to a tap that the guest has left" source "done" "$record"
ip route add 10.0.0.5 dev tap1
snapshot >before
undone "not where it stays" source failed "$record"
ip route del 10.0.0.5 dev tap1

# kept ADDRESS: the record of the one route to it, as the kernel tells it.
kept() {
	local family=-4
	[[ $1 != *:* ]] || family=-6
	printf 'kept %s %s tap1 ' "$1" "$(index tap1)"
	# Behind the four bytes by which ip knows its own.
	ip "$family" route save exact "$1" dev tap1 | tail -c +5 | od -An -v -tx1 | tr -d ' \n'
}

echo 1 >/proc/sys/net/ipv6/conf/tap1/addr_gen_mode # none
echo 0 >/proc/sys/net/ipv6/conf/tap1/disable_ipv6
for address in 10.0.0.5 fd00:1::5; do
	ip route add $address dev tap1 metric 7
	snapshot >before
	record=$(kept $address)
	ip route del $address dev tap1
	changed
	undone "a route to the tap of a guest that comes back" source failed "$record"
	ip route del $address dev tap1
	snapshot >before
	undone "not of one that has left" source "done" "$record"
done
recover source failed "${record%????}" && complain "a torn route is taken"

echo '# neighbours'
queue=$(</proc/sys/net/ipv4/neigh/tap1/unres_qlen_bytes)
snapshot >before
pin="pin $(index tap1) tap1 10.0.0.5 $MAC 0 0 - $queue -"
undone "an entry that was not fixed" dest failed "$pin"
ip neigh replace 10.0.0.5 lladdr $MAC dev tap1 nud permanent
echo $((64 << 20)) >/proc/sys/net/ipv4/neigh/tap1/unres_qlen_bytes
changed
undone "an entry, and the queue of its device" dest failed "$pin"
ip neigh replace 10.0.0.5 lladdr 02:00:00:00:00:09 dev tap1 nud permanent
snapshot >before
undone "not that of somebody else" dest failed "$pin"
pin="pin $(index tap1) tap1 10.0.0.5 $MAC 1 128 02:00:00:00:00:09 $queue -"
ip neigh replace 10.0.0.5 lladdr $MAC dev tap1 nud permanent
changed
undone "the site's own is put back" dest failed "$pin"
ip neigh del 10.0.0.5 dev tap1
pin="pin $(index tap1) tap1 10.0.0.5 $MAC 0 0 - $queue /run/netns/gone"
snapshot >before
undone "one in a namespace that has gone" dest failed "$pin"
pin="pin $(index tap1) tap9 10.0.0.5 $MAC 0 0 - $queue -"
ip neigh replace 10.0.0.5 lladdr $MAC dev tap1 nud permanent
snapshot >before
undone "one on a device that is another now" dest failed "$pin"
ip neigh del 10.0.0.5 dev tap1

echo '# what holds packets'
snapshot >before
hold="hold $(index tap0) tap0 1000 16384 $MAC - -"
undone "a tap that was not touched" dest failed "$hold"
ip link set tap0 txqueuelen 16384
changed
undone "a longer ring" dest failed "$hold"
bridge fdb add $MAC dev tap0 master static sticky 2>/dev/null || bridge fdb add $MAC dev tap0 master static
changed
undone "the guest's MAC, fixed in the bridge" dest failed "$hold"
ip netns add pod
ip -n pod tuntap add tap7 mode tap
ip -n pod link set tap7 txqueuelen 16384
hold="hold $(ip -n pod -o link show tap7 | cut -d: -f1) tap7 1000 16384 - - /run/netns/pod"
recover dest failed "$hold" || complain "a ring in a namespace: $(tail -n 2 said | tr "\n" " ")"
[[ $(ip -n pod link show tap7) = *"qlen 1000"* ]] || complain "the ring in the namespace stays"

echo '# what nobody understands'
if recover dest failed "hold nonsense"; then
	complain "nonsense is taken for a record"
fi

echo "$passed passed, $failed failed"
((failed == 0))
