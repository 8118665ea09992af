#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# What the cluster scripts have a node do, with real namespaces, a real tap, the real katamaran-qemu
# and a program that has QEMU's arguments; and the judge of the ping.  Needs root; skipped (77) with the reason
# otherwise.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
testenv=$here/../../testenv
program=${KATAMARAN:-$PWD/katamaran}
built=${KATAMARAN_PLUGIN_DIR:-$PWD/.libs}
work=${2-}
passed=0 failed=0 rc=0

skip() { echo "skipped: $*"; exit 77; }

# verdict WHAT [WANTED_CODE [TEXT...]]: of the last command, whose output is in $work/out.
verdict() {
	local what=$1 text bad=''
	[[ $rc = "${2:-0}" ]] || bad="exit code $rc, not ${2:-0}"
	for text in "${@:3}"; do
		grep -qF -- "$text" "$work/out" || bad="no \"$text\""
	done
	if [[ $bad ]]; then
		failed=$((failed + 1))
		echo "FAILED: $what: $bad"
		sed 's/^/	/' "$work/out"
	else
		passed=$((passed + 1))
	fi
}

run() {
	rc=0
	"$@" >"$work/out" 2>&1 || rc=$?
}

# ---- the judge of the ping: needs nothing ------------------------------------------------

# pings TRANSMITTED RECEIVED SEQ...: a log with these replies.
pings() {
	local transmitted=$1 received=$2 seq
	shift 2
	echo 'PING 10.244.0.5 (10.244.0.5) 56(84) bytes of data.'
	for seq; do
		echo "[1708886400.0] 64 bytes from 10.244.0.5: icmp_seq=$seq ttl=64 time=${ms:-0.4} ms"
	done
	printf '\n--- 10.244.0.5 ping statistics ---\n'
	echo "$transmitted packets transmitted, $received received, 0% packet loss, time 9ms"
	echo 'rtt min/avg/max/mdev = 0.3/0.8/48.7/2.4 ms'
}

judge() { run awk -f "$testenv/ping-report.awk" "$work/log"; }

of_ping() {
	pings 4 4 1 2 3 4 >"$work/log"; judge
	verdict 'nothing lost' 0 lost=0 transmitted=4 'rtt=rtt min'
	pings 4 3 1 2 4 >"$work/log"; judge
	verdict 'one lost in between' 1 lost=1
	pings 4 3 1 2 3 >"$work/log"; judge
	verdict 'the last one on its way' 0 lost=0 in_flight=1
	pings 4 2 1 2 >"$work/log"; judge
	verdict 'two missing at the end' 1 lost=2
	pings 4 4 1 2 3 4 | sed -n 1,4p >"$work/log"; judge
	verdict 'a log that was cut off' 2 "before ping's summary"
	: >"$work/log"; judge
	verdict 'an empty log' 2 'the log is empty'
	pings 4 4 1 2 4 >"$work/log"; judge
	verdict 'a summary that says more than the log' 2 'ping counts 4 replies'
	pings 0 0 >"$work/log"; judge
	verdict 'nothing sent' 2 'no packet was sent'
	pings 9 0 >"$work/log"; judge
	verdict 'nothing answered' 2 'no packet was answered'
	pings 4 4 1 3 2 4 >"$work/log"; judge
	verdict 'another order' 0 reordered=1
	ms=48.712 pings 2 2 1 2 >"$work/log"; judge
	verdict 'slow ones are listed' 0 'slow=[1708886400.0] 64 bytes from 10.244.0.5: icmp_seq=2'
	{ pings 2 2 1 2 | sed '3a[1.0] 64 bytes from 10.244.0.5: icmp_seq=2 ttl=64 time=1 ms (DUP!)'; } >"$work/log"
	judge
	verdict 'duplicates' 0 duplicates=1 lost=0
}

# ---- a node ------------------------------------------------------------------------------

# QEMU as far as it matters: a tap held open, a socket, and arguments.
# shellcheck disable=SC2016	# perl's own
qemu='
	use IO::Socket::UNIX;
	open(my $tun, "+<", "/dev/net/tun") or die "tun: $!";
	my $request = pack("a16 s x22", $ENV{TAP}, 0x1002);
	ioctl($tun, 0x400454ca, $request) or die "tap: $!";
	my $s = IO::Socket::UNIX->new(Local => "$ENV{VM}/extra-monitor.sock", Listen => 1) or die;
	open(my $pid, ">", "$ENV{VM}/pid") or die; print $pid $$; close $pid;
	sleep 300'
UUID=6fa0b3f4-0000-4000-8000-0123456789ab

node_up() {
	mount -t tmpfs tmpfs /run
	mount -t sysfs sysfs /sys	# of this namespace
	mkdir -p /run/netns /run/vc/vm /run/kata/bin /run/kata/share/defaults/kata
	export KATAMARAN_VC=/run/vc/vm KATAMARAN_KATA=/run/kata KATAMARAN_RUN=/run/e2e
	export KATAMARAN_QEMU=/run/etc/qemu KATAMARAN_TOOLS=/run/tools
	# As bundle.sh lays it out.
	mkdir -p /run/opt/bin
	cp "$testenv/cluster-node.sh" /run/opt/node.sh
	printf '#!/bin/sh\nexec %s-qemu "$@"\n' "$program" >/run/opt/bin/katamaran-qemu
	chmod +x /run/opt/bin/katamaran-qemu
	: >/run/kata/share/defaults/kata/configuration-qemu.toml
	cat >/run/kata/bin/qemu-system-x86_64 <<-'END'
		#!/bin/sh
		for word; do echo "<$word>"; done
	END
	chmod +x /run/kata/bin/qemu-system-x86_64
	ip netns add pod
	ip link add cali0 address ee:ee:ee:ee:ee:01 type veth peer name eth0 netns pod
	ip link set cali0 up
	ip -n pod link set eth0 up
	ip -n pod link set lo up
	ip link set lo up
}

sandbox_up() {
	mkdir -p "/run/vc/vm/$1"
	TAP=${2:-tap0_kata} VM=/run/vc/vm/$1 ip netns exec pod perl -e "$qemu" -- -name "sandbox-$1" -uuid $UUID \
		-chardev socket,id=char-0123abc,path=/run/vc/vm/v/vhost-fs.sock \
		-device vhost-user-fs-pci,chardev=char-0123abc,tag=kataShared \
		-device vhost-vsock-pci,disable-modern=false,vhostfd=3,id=vsock-18,guest-cid=1806 &
	for _ in {1..200}; do
		[[ ! -s /run/vc/vm/$1/pid ]] || return 0
		sleep 0.02
	done
}

node() { run "$BASH" /run/opt/node.sh "$@"; }

of_node() {
	node bogus
	verdict 'an unknown verb' 2 'prepare'
	node facts 0
	verdict 'no sandbox' 1 'no extra-monitor.sock below /run/vc/vm'
	sandbox_up abc123
	node facts 5
	verdict 'one sandbox' 0 id=abc123 "qmp=/run/vc/vm/abc123/extra-monitor.sock" \
		"pid=$(cat /run/vc/vm/abc123/pid)" tap=tap0_kata veth=cali0 gateway=ee:ee:ee:ee:ee:01
	node state
	verdict 'its state' 0 $UUID '"guest-cid":"1806"' '"id":"vsock-18"' '"id":"char-0123abc"'
	cp "$work/out" "$work/state"
	next_sandbox

	node join 10.244.0.5 ee:ee:ee:ee:ee:99
	verdict 'the way into the sandbox' 0 joined=cali0
	run ip route get 10.244.0.5
	verdict 'leads there' 0 'dev cali0'
	run cat /sys/class/net/cali0/address /proc/sys/net/ipv4/conf/cali0/proxy_arp
	verdict 'with the MAC that the guest knows' 0 ee:ee:ee:ee:ee:99 1

	with_ovn
	way
	ip link add up0 type veth peer name up1
	ip addr add 192.0.2.1/24 dev up0
	ip link set up0 up
	node learn 10.244.0.9 192.0.2.2
	run ip route show 10.244.0.9
	verdict 'a guest that is elsewhere' 0 'via 192.0.2.2'
	sandbox_up def456 tap1_kata
	node facts 1
	verdict 'two sandboxes' 1 'several sandboxes' abc123 def456
}

# What Kata starts on the other node, once the description is there.
next_sandbox() {
	# shellcheck disable=SC2054	# the commas are QEMU's
	local other=(-name sandbox-other -uuid 11111111-2222-3333-4444-555555555555
		-chardev socket,id=char-77,path=/run/vc/vm/w/vhost-fs.sock
		-device vhost-user-fs-pci,chardev=char-77,tag=kataShared
		-device vhost-vsock-pci,disable-modern=false,vhostfd=3,id=vsock-9,guest-cid=42 -m 1G)
	node match <"$work/state"
	verdict 'a node that was not prepared' 1 'no config.d below /run/kata'
	node prepare
	run cat /run/kata/share/defaults/kata/config.d/60-katamaran.toml
	verdict 'the monitor is turned on' 0 'enable_debug = true' 'extra_monitor_socket = "qmp"'
	node match </dev/null
	verdict 'no state at all' 1 'no description came'
	run cat /run/kata/share/defaults/kata/config.d/70-katamaran.toml
	verdict 'and Kata goes on with its own QEMU' 1
	node match <"$work/state"
	verdict 'a description waits' 0 next=/run/katamaran/qemu/next.json
	run cat /run/kata/share/defaults/kata/config.d/70-katamaran.toml
	verdict 'Kata starts katamaran-qemu' 0 'path = "/run/opt/bin/katamaran-qemu"' \
		'valid_hypervisor_paths = ["/run/opt/bin/katamaran-qemu"]'
	run /run/opt/bin/katamaran-qemu --version
	verdict 'which is the real one' 0 '<--version>'
	run grep -c incoming "$work/out"
	verdict 'where no guest is started' 1
	run /run/opt/bin/katamaran-qemu "${other[@]}"
	verdict 'and makes the next sandbox match' 0 "<$UUID>" \
		'<socket,id=char-0123abc,path=/run/vc/vm/w/vhost-fs.sock>' \
		'<vhost-user-fs-pci,chardev=char-0123abc,tag=kataShared>' \
		'<vhost-vsock-pci,disable-modern=false,vhostfd=3,id=vsock-18,guest-cid=1806>' '<1G>' \
		'<-incoming>' '<defer>'
	run /run/opt/bin/katamaran-qemu "${other[@]/sandbox-other/sandbox-third}"
	run grep -c incoming "$work/out"
	verdict 'but not the one after it' 1
}

# A switch in a container that has the programs of OVN, and the node has not.
switch_up() {
	mkdir -p /run/container /run/tools /run/none
	export PATH=$PATH:/usr/local/bin
	cat >/run/container/ovs-vsctl <<-'END'
		#!/bin/sh
		echo "$*" >>/run/asked
		case $* in
		*'get interface cali0 external_ids:iface-id') echo '"default_katamaran-source"' ;;
		*'get interface cali0 external_ids:iface-id-ver') echo '"uid-7"' ;;
		*'get open_vswitch . external_ids:system-id') echo '"chassis-1"' ;;
		esac
	END
	chmod 755 /run/container/ovs-vsctl
	cp "$(type -P sleep)" /run/ovs-vswitchd
	unshare -m "$BASH" -c 'mount --bind /run/container /usr/local/bin
		mount --bind /run/none /run/tools
		exec /run/ovs-vswitchd 300' &
	for _ in {1..200}; do
		[[ ! $(pidof ovs-vswitchd) ]] || return 0
		sleep 0.02
	done
}

with_ovn() {
	# A build tree may be writable by a group, and the loader refuses that: a copy is not.
	mkdir /run/plugins
	install -m 644 "$built"/{storage,cutover,announce}-*.so /run/plugins
	node ovn 192.0.2.3
	verdict 'no switch, no OVN' 1 'no ovs-vswitchd runs on this node'
	switch_up
	node ovn 192.0.2.3
	verdict 'the port of the sandbox' 0 port=default_katamaran-source version=uid-7 conf=/run/e2e/ovn.conf
	# As katamaran reads it; there is no QEMU, but by then all of the file is checked.
	run "$program" -c /run/e2e/ovn.conf -mode dest -qmp /run/none -vm-ip 10.244.0.5 \
		-plugin-dir /run/plugins -run-dir /run/state
	verdict 'the settings are sound' 1 'cannot connect to QMP socket /run/none'
	install -m 755 -D "$here/../../conf/examples/ovn-script" /run/opt/share/ovn-script
	: >/run/asked
	run env PATH="/run/tools:$PATH" KATAMARAN_NIC0_TAP=tap0_kata KATAMARAN_OPT_INTERFACE=cali0 \
		KATAMARAN_ROLE=source KATAMARAN_ID=a1 /run/opt/ovn-hooks pre_copy
	verdict 'the example is asked, and wants nothing yet' 2
	run cat /run/asked
	verdict 'it asks the switch for the veth, not for the tap' 0 \
		'get interface cali0 external_ids:iface-id'
	: >/run/asked
	node second default_katamaran-source uid-7
	verdict 'the other node has the port, too' 0 second=cali0
	run cat /run/asked
	verdict 'and says so to its switch' 0 'set interface cali0 external_ids:iface-id=default_katamaran-source' \
		'set interface cali0 external_ids:iface-id-ver=uid-7'
	: >/run/asked
	node second default_katamaran-source none
	run cat /run/asked
	verdict 'a port without a version' 0 'remove interface cali0 external_ids iface-id-ver'
}

# QEMU's own connection: out of the pod to the other node, and in from there; both are cut off
# before.
# shellcheck disable=SC2016	# perl's own
way() {
	local listen='use IO::Socket::INET; my $s = IO::Socket::INET->new(LocalPort => 4444,
		Listen => 1, ReuseAddr => 1) or die; alarm 20; my $c = $s->accept; print $c "hello\n"'
	local connect='use IO::Socket::INET; my $c = IO::Socket::INET->new(PeerAddr => $ARGV[0],
		PeerPort => 4444, Timeout => 3) or die "no: $!"; print scalar <$c>'
	if ! type -P iptables >/dev/null || ! iptables -w -t nat -L >/dev/null 2>&1; then
		echo "# no iptables with nat here: QEMU's own way is not tried"
		return
	fi
	ip netns add other
	ip link add wire address 02:00:00:00:00:01 type veth peer name eth0 netns other
	ip addr add 192.168.39.11/24 dev wire
	ip link set wire up
	ip -n other addr add 192.168.39.12/24 dev eth0
	ip -n other link set eth0 up
	sysctl -q -w net.ipv4.ip_forward=1
	ip netns exec other perl -e "$listen" &
	sleep 0.3
	run ip netns exec pod perl -e "$connect" 192.168.39.12
	verdict 'the pod does not reach the other node by itself' 101
	node way 192.168.39.12 4444
	verdict 'a way for QEMU' 0 way=kat-way
	node way 192.168.39.12 4444
	verdict 'once is enough' 0 way=kat-way
	run ip netns exec pod perl -e "$connect" 192.168.39.12
	verdict 'QEMU reaches the other node' 0 hello
	ip netns exec pod perl -e "$listen" &
	sleep 0.3
	run ip netns exec other perl -e "$connect" 192.168.39.11
	verdict 'and is reached from there' 0 hello
}

if [[ ${1-} != inside ]]; then
	work=$(mktemp -d "${TMPDIR:-/tmp}/kat-node-XXXXXX")
	trap 'rm -rf "$work"' EXIT
	of_ping
	((failed == 0)) || exit 1
	((EUID == 0)) || skip "namespaces need root ($passed passed before)"
	for tool in ip nsenter perl unshare sysctl; do
		type -P $tool >/dev/null || skip "there is no $tool ($passed passed before)"
	done
	[[ -c /dev/net/tun ]] || skip "there is no /dev/net/tun ($passed passed before)"
	unshare -m -n -p -f --mount-proc true 2>/dev/null || skip "no namespaces to be had"
	unshare -m -n -p -f --mount-proc --kill-child "$BASH" "$0" inside "$work"
	exit
fi
node_up
of_node
echo "$passed passed, $failed failed"
((failed == 0))
