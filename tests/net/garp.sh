#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# announce-garp in network namespaces of its own: what another node hears, which
# neighbour entries and which bridge's table move, on each way that frames can take.
# Needs root; skipped (77) with the reason otherwise.  Run from the build folder.
set -euo pipefail

. "$(dirname "$0")/namespaces.sh" ip bridge tc tcpdump perl setpriv

driver=$PWD/tests/unit/hook_driver
plugin=$PWD/.libs/announce-garp.so
MAC=52:54:00:12:34:56
IP4=10.0.0.5 IP6=2001:db8::5
cd /run/work
fail=0

complain() {
	echo "FAIL: $*"
	fail=1
}

# expect FILE WHAT PATTERN
expect() {
	grep -qE "$3" "$1" || {
		complain "$2: no line \"$3\" in:"
		sed 's/^/	/' "$1"
	}
}

# QEMU's part: has the tap NAME with a header before each frame, and notes the senders of
# what comes to the guest in NAME.heard.
guest() {
	perl -e '
		use strict;
		open my $tap, "+<", "/dev/net/tun" or exit 1;
		# TUNSETIFF: IFF_TAP | IFF_NO_PI | IFF_VNET_HDR; TUNSETVNETHDRSZ
		my ($name, $size) = (pack("a16 S x22", $ARGV[0], 0x5002), pack("i", 12));
		ioctl $tap, 0x400454ca, $name or exit 1;
		ioctl $tap, 0x400454d8, $size or exit 1;
		open my $heard, ">", "$ARGV[0].heard" or exit 1;
		$heard->autoflush(1);
		while (sysread $tap, my $frame, 65536) {
			print $heard join(":", unpack "(H2)6", substr $frame, 18, 6), "\n";
		}' "$1" &
	guest=$!
	for _ in {1..100}; do
		[[ ! -e $1.heard ]] || break
		sleep 0.02
	done
	[[ -e $1.heard ]] || skip "no tap can be made"
	ip link set "$1" up
}

# announce NAME ARGUMENTS...: one whole round of hooks; what segment's wire hears is
# decoded into NAME.text.
announce() {
	local name=$1 dump
	shift
	: >"$name.tcpdump"
	ip netns exec segment tcpdump --immediate-mode -U -n -i wire -w "$name.pcap" \
		2>"$name.tcpdump" &
	dump=$!
	for _ in {1..100}; do
		! grep -q 'listening on' "$name.tcpdump" || break
		sleep 0.02
	done
	printf '%s\n' "${HOOKS[@]}" |
		"${DROP[@]}" "$driver" "$plugin" role=destination opt.rounds=3 opt.initial_ms=20 \
			opt.step_ms=30 opt.max_ms=40 "$@" >"$name.log" 2>&1 || true
	sleep 0.1
	kill -INT $dump
	wait $dump || true
	tcpdump -nn -e -vv -t -r "$name.pcap" "ether src $MAC" >"$name.text" 2>/dev/null
	# One line for each frame.
	sed -i ':a;N;$!ba;s/\n[[:space:]]\+/ /g' "$name.text"
}

# Three rounds of four frames, as the RFCs want them.
check_frames() {
	local text=$1.text
	[[ $(wc -l <"$text") = 12 ]] || complain "$1: not 12 frames: $(cat "$text" "$1.log")"
	expect "$text" "$1" "^$MAC > ff:ff:ff:ff:ff:ff, ethertype ARP \(0x0806\), length 60: .*Request who-has $IP4 tell $IP4"
	expect "$text" "$1" "^$MAC > ff:ff:ff:ff:ff:ff, ethertype ARP \(0x0806\), length 60: .*Reply $IP4 is-at $MAC"
	expect "$text" "$1" "^$MAC > ff:ff:ff:ff:ff:ff, ethertype Reverse ARP \(0x8035\), length 60: .*who-is $MAC tell $MAC"
	expect "$text" "$1" "^$MAC > 33:33:00:00:00:01, ethertype IPv6 .*hlim 255,.* $IP6 > ff02::1: \[icmp6 sum ok\] ICMP6, neighbor advertisement, length 32, tgt is $IP6, Flags \[override\].*destination link-address option \(2\), length 8 \(1\): $MAC"
	! grep -q router "$text" || complain "$1: the router flag is set"
}

# What a network believes that knows the guest elsewhere: a proxy's MAC, another port.
stale() {
	ip -n segment neigh replace $IP4 lladdr 02:00:00:00:00:99 dev wire nud stale
	ip -n segment neigh replace $IP6 lladdr 02:00:00:00:00:99 dev wire nud stale
	bridge fdb replace $MAC dev up0 master dynamic
}

# knows MAC: the other node has it for both addresses.
check_neighbours() {
	for ip in $IP4 $IP6; do
		ip -n segment neigh show to "$ip" dev wire >neighbour
		expect neighbour "$1: the neighbour entry" "lladdr $2 "
	done
}

check_fdb() {
	bridge fdb show br br0 | grep "^$MAC" >table || true
	expect table "$1: the bridge's table" "^$MAC dev $2 "
}

ip netns add segment
ip link add up0 type veth peer name wire netns segment
ip -n segment addr add 10.0.0.9/24 dev wire
ip -n segment addr add 2001:db8::9/64 dev wire nodad
ip -n segment link set wire up
ip link add br0 type bridge mcast_snooping 0
ip link set up0 master br0 up
ip link set br0 up
ip link add idle type veth peer name idle0
ip link set idle master br0 # a port that is down
DROP=()
ALL=(open pre_copy hold 'cleanup done')
HOOKS=("${ALL[@]}")
guest tap0
ip link set tap0 master br0
for _ in {1..100}; do # a port learns only then
	[[ $(bridge link show dev up0) != *"state forwarding"* ||
		$(bridge link show dev tap0) != *"state forwarding"* ]] || break
	sleep 0.02
done
nic="nic=tap0,,$MAC,$IP4,$IP6"

# The control: without the plugin nothing moves.
stale
HOOKS=(open)
announce nothing "pid=$guest" "nic=tap0,,,$IP4"
HOOKS=("${ALL[@]}")
expect nothing.log nothing 'error: NIC 0 \(tap0\): its MAC is not known'
[[ ! -s nothing.text ]] || complain "nothing: somebody announced"
check_neighbours nothing 02:00:00:00:00:99
check_fdb nothing up0

# Through the guest's own tap.
announce tap "pid=$guest" "$nic"
expect tap.log tap 'log: the guest is announced through its own tap tap0, a port of br0'
expect tap.log tap '^hold: 0'
check_frames tap
check_neighbours tap $MAC
check_fdb tap tap0
! grep -q "^$MAC" tap0.heard || complain "tap: the guest hears itself"

# Without QEMU's descriptor: on the bridge's other ports.
stale
announce ports pid=0 "$nic"
expect ports.log ports '^4 log: tap tap0: cannot have QEMU.s descriptor'
expect ports.log ports 'log: the guest at tap0 is announced on: up0$'
check_frames ports
check_neighbours ports $MAC
check_fdb ports tap0
! grep -q "^$MAC" tap0.heard || complain "ports: the guest hears itself"

# Without the right to have it, and without the other right, too.
stale
DROP=(setpriv --bounding-set=-sys_ptrace)
announce unprivileged "pid=$guest" "$nic"
expect unprivileged.log unprivileged 'descriptor of it .*(Permission denied|Operation not permitted)'
check_frames unprivileged
DROP=(setpriv "--bounding-set=-sys_ptrace,-net_raw")
HOOKS=(open)
announce nothing "pid=$guest" "$nic"
HOOKS=("${ALL[@]}")
expect nothing.log unprivileged 'error: .*CAP_NET_RAW.*: Operation not permitted'
DROP=()

# On interfaces that somebody names.
stale
announce named "pid=$guest" "$nic" opt.interface=up0 opt.na=false opt.rarp=false
[[ $(wc -l <named.text) = 6 ]] || complain "named: not 6 frames: $(cat named.text)"
check_fdb named tap0
HOOKS=(open)
announce nothing "$nic" opt.interface=up0,none
expect nothing.log named 'error: interface none: .*No such device'
HOOKS=(open pre_copy 'cleanup failed')
announce nothing "$nic" opt.arp=false opt.na=false opt.rarp=false
HOOKS=("${ALL[@]}")
expect nothing.log off 'error: NIC 0 \(tap0\): there is nothing to announce'

# A port that goes down meanwhile is a warning, once, and the rounds go on.
ip link set tap0 down
announce down "pid=$guest" "$nic"
[[ $(grep -c 'log: tap0: cannot send an announcement: ' down.log) = 1 ]] ||
	complain "down: $(cat down.log)"
expect down.log down '^hold: 0'
kill "$guest"

# A tap of which nothing leads anywhere.
guest tap1
announce routed "pid=$guest" "nic=tap1,,$MAC,$IP4"
expect routed.log routed '^4 log: tap tap1: is in no bridge'
kill "$guest"

# Kata Containers: the tap is in the pod's namespace, and filters join it to eth0.
ip netns add pod
ip link set up0 nomaster netns pod name eth0
ip -n pod link set eth0 up
cat >pod.sh <<-END
	$(declare -f guest skip)
	guest tap2
	echo \$guest >pod.guest
	sleep 1000
END
ip netns exec pod "$BASH" pod.sh &
for _ in {1..100}; do
	[[ ! -s pod.guest ]] || break
	sleep 0.02
done
if tc -n pod qdisc add dev tap2 ingress && tc -n pod filter add dev tap2 parent ffff: protocol all \
	u32 match u8 0 0 action mirred egress redirect dev eth0; then
	nic="nic=tap2,/run/netns/pod,$MAC,$IP4,$IP6"
	for way in "pid=$(cat pod.guest)" pid=0; do
		ip -n segment neigh replace $IP4 lladdr 02:00:00:00:00:99 dev wire nud stale
		ip -n segment neigh replace $IP6 lladdr 02:00:00:00:00:99 dev wire nud stale
		announce pod "$way" "$nic"
		check_frames pod
		check_neighbours pod $MAC
	done
	expect pod.log pod 'log: the guest at tap2 is announced on: eth0$'
else
	echo "left out: this kernel has no u32 filter with mirred"
fi
exit $fail
