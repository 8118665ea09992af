#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# What a guest that is stopped has left in its tap, in network namespaces of its own: a reader
# that never reads stands for QEMU, and the packets are put into the tap by another socket.
# With the salvage of the cutover plugins they arrive at the other node, in order and whole,
# and without it they do not.  And what is held for a guest that does not come goes back.
# Needs root; skipped (77) with the reason otherwise.  Run from the build folder.
set -euo pipefail

. "$(dirname "$0")/namespaces.sh" ip tcpdump perl

driver=$PWD/tests/unit/hook_driver
plugins=$PWD/.libs
MAC=52:54:00:12:34:56 OTHER_MAC=02:00:00:00:00:07 IP4=10.244.1.5 IP6=fd00:244:1::5
mount -t sysfs sysfs /sys # of this network namespace
cd /run/work
fail=0

complain() {
	echo "FAIL: $*"
	fail=1
}

# QEMU's part: has QUEUES queues of the tap NAME, offers to finish checksums and to cut large
# packets, and reads nothing.  NAME.there exists once the tap does.
cat >qemu.pl <<-'END'
	use strict;
	my ($name, $queues, $vhosts) = @ARGV;
	my ($size, $offload, @fds) = (pack("i", 12), 0x07);
	for (1 .. $queues) {
		open my $tap, "+<", "/dev/net/tun" or die;
		# TUNSETIFF: IFF_TAP | IFF_NO_PI | IFF_VNET_HDR, IFF_MULTI_QUEUE
		my $ifr = pack("a16 S x22", $name, 0x5002 | ($queues > 1 ? 0x100 : 0));
		ioctl $tap, 0x400454ca, $ifr or die "$name: $!";
		ioctl $tap, 0x400454d8, $size or die;		# TUNSETVNETHDRSZ
		ioctl $tap, 0x400454d0, $offload or die;	# TUNSETOFFLOAD: CSUM, TSO4, TSO6
		fcntl $tap, 4, 0x802 or die;			# F_SETFL, O_RDWR | O_NONBLOCK
		push @fds, $tap;
	}
	for (1 .. $vhosts) {
		open my $vhost, "<", "/dev/vhost-net" or die;
		push @fds, $vhost;
	}
	system("ip link set $name up") == 0 or die;
	open my $there, ">", "$name.there" or die;
	sleep 1000;
END
# Sends frames to the tap, each with the header that says what is left to be done; see
# VIRTIO 5.1.6 and packet(7).
cat >frames.pl <<-'END'
	use strict;
	use Socket qw(:DEFAULT inet_pton);
	my ($name, $what) = @ARGV;
	my $eth = pack("H24", "525400123456eeeeeeeeeeee");
	my ($to4, $from4) = (inet_aton("10.244.1.5"), inet_aton("10.244.1.9"));
	my ($to6, $from6) = map { inet_pton(AF_INET6, $_) } "fd00:244:1::5", "fd00:244:1::9";
	socket(my $s, 17, SOCK_RAW, 0) or die "socket: $!";
	setsockopt($s, 263, 15, 1) or die "PACKET_VNET_HDR: $!";
	sub sum { my $s = 0; $s += $_ for unpack "n*", $_[0] . (length($_[0]) % 2 ? "\0" : "");
		$s = ($s & 0xffff) + ($s >> 16) while $s >> 16; $s }
	sub ip4 { my ($proto, $id, $load, $to) = @_;
		my $h = pack("CCnnnCCn", 0x45, 0, 20 + length $load, $id, 0x4000, 63, $proto, 0) .
			$from4 . ($to || $to4);
		substr($h, 10, 2) = pack "n", 0xffff ^ sum($h);
		"\x08\x00$h$load" }
	sub ip6 { my ($proto, $load) = @_;
		"\x86\xdd" . pack("NnCC", 0x60000000, length $load, $proto, 63) . $from6 . $to6 . $load }
	sub pseudo { my ($proto, $size, $six) = @_;
		sum(($six ? $from6 . $to6 : $from4 . $to4) . pack "NN", $size, $proto) }
	sub udp { my ($port, $size, $six) = @_;
		my $load = pack("n", $port) . "x" x ($size - 2);
		pack("nnnn", 40000, $port, 8 + $size, pseudo(17, 8 + $size, $six)) . $load }
	sub tcp { my ($port, $size, $six) = @_;
		pack("nnNNCCnnn", 40000, $port, 1000, 1, 0x50, 0x18, 1000,
			pseudo(6, 20 + $size, $six), 0) . "y" x $size }
	my $index = do { local @ARGV = "/sys/class/net/$name/ifindex"; <> };
	sub put { my ($flags, $gso, $size, $start, $offset, $frame) = @_;
		my $ll = pack("S a2 i S C C x8", 17, $frame, $index, 0, 0, 6);
		my $sent = send $s, pack("CCSSSS", $flags, $gso, $start + 20, $size, $start, $offset) .
			$eth . $frame, 0, $ll;
		defined $sent or die "send: $!" }
	my $port = 1001;		# tcpdump has more to say of known ones
	for (1 .. 20) {
		put(1, 0, 0, 34, 6, ip4(17, 1, udp($port++, 20)));	# a checksum to be made
		put(1, 0, 0, 34, 6, ip4(17, 1, udp($port++, 1472)));	# as large as they come, DF
		put(1, 1, 1460, 34, 16, ip4(6, 7, tcp($port++, 4000)));	# to be cut in three
		put(1, 0, 0, 54, 6, ip6(17, udp($port++, 20, 1)));
		put(1, 4, 1440, 54, 16, ip6(6, tcp($port++, 3000, 1)));
	}
	exit if $what eq "own";
	put(0, 0, 0, 0, 0, "\x08\x06" . "\0" x 46);			# ARP, and a broadcast
	substr($eth, 0, 6) = "\xff" x 6;
	put(0, 0, 0, 0, 0, ip4(17, 1, udp(9999, 20), inet_aton("10.244.1.255")));
END

# A /dev of our own, in which vhost-net is a file: all that is asked is who has it open.
mkdir dev
touch dev/vhost-net
mkdir dev/net
for device in null zero urandom net/tun; do
	touch "dev/$device"
	mount --bind "/dev/$device" "dev/$device"
done
mount --rbind dev /dev

# begin_qemu QUEUES: the reader that never reads, and the way to its guest.
begin_qemu() {
	rm -f tap0.there
	perl qemu.pl tap0 "$1" "${VHOSTS-0}" &
	qemu=$!
	for _ in {1..200}; do
		[[ ! -e tap0.there ]] || break
		sleep 0.02
	done
	[[ -e tap0.there ]] || skip "no tap can be made"
	ip addr replace 169.254.1.1/32 dev tap0
	ip route replace $IP4 dev tap0
	ip -6 route replace $IP6 dev tap0
}

end_qemu() {
	kill $qemu
	wait $qemu 2>/dev/null || true
}

# begin_hooks ROLE PLUGIN SETTING...: the driver, whose input is descriptor 3 and output log.
begin_hooks() {
	local role=$1 plugin=$2
	shift 2
	mkfifo hooks
	"$driver" "$plugins/cutover-$plugin.so" "role=$role" peer=10.0.0.2 "pid=$qemu" \
		"nic=tap0,,$MAC,$IP4,$IP6" opt.hold_s=0 opt.hold_quiet_s=0 "$@" <hooks >log 2>&1 &
	driver_pid=$!
	exec 3>hooks
}

# await_hook NAME: that one has run, or the driver has ended.
await_hook() {
	for _ in {1..500}; do
		! grep -q "^$1:" log || break
		kill -0 $driver_pid 2>/dev/null || break
		sleep 0.02
	done
}

end_hooks() {
	exec 3>&-
	wait $driver_pid || true
	rm hooks
}

# stopped PLUGIN QUEUES WHAT ARGUMENT...: a tap with frames in it, and a whole round of hooks of
# a source whose guest stops before anything was redirected.  What the other node hears is
# in heard, one packet a line.
stopped() {
	local plugin=$1 queues=$2 what=$3 dump
	shift 3
	begin_qemu "$queues"
	if [[ ${NEIGHBOUR-} ]]; then
		ip neigh replace $IP4 lladdr "$NEIGHBOUR" dev tap0 nud stale
		ip neigh replace $IP6 lladdr "$NEIGHBOUR" dev tap0 nud stale
	fi
	: >tcpdump.err
	ip netns exec node2 tcpdump -s 2000 -B 16384 --immediate-mode -U -n -p -i eth0 \
		-w pcap 2>tcpdump.err &
	dump=$!
	for _ in {1..200}; do
		! grep -q 'listening on' tcpdump.err || break
		sleep 0.02
	done
	begin_hooks source "$plugin" "$@"
	printf 'running 1\nopen\npre_copy\n' >&3
	await_hook pre_copy
	ip neigh show dev tap0 >entries
	perl frames.pl tap0 "$what"
	printf 'running 0\non_stop\non_resume 0\ncleanup done\n' >&3
	end_hooks
	ip neigh show dev tap0 nud permanent >entries-left
	# What tcpdump has not written when it is told to end is gone.
	size=-1
	until [[ $(stat -c %s pcap) = "$size" ]]; do
		size=$(stat -c %s pcap)
		sleep 0.3
	done
	kill -INT $dump
	wait $dump || true
	end_qemu
	tcpdump -nn -vv -t -r pcap "src 10.0.0.1 and (ip proto 4 or ip proto 41 or ip proto 47) or
		dst $IP4 or dst $IP6" 2>/dev/null | sed ':a;N;$!ba;s/\n[[:space:]]\+/ /g' >heard
}

# held QUEUES HOOKS [SETTING...]: the same frames reach the tap of a destination where they are
# held, and these hooks follow; "dies" among them is the end of QEMU.  What is given back is
# in back, how many packets of each length.
held() {
	local hook queues=$1 hooks=$2
	shift 2
	begin_qemu "$queues"
	begin_hooks destination nftables "$@"
	printf 'running 0\nopen\npre_copy\non_stop\n' >&3
	await_hook on_stop
	perl frames.pl tap0 all
	for hook in $hooks; do
		case $hook in
		dies) end_qemu ;;
		on_resume) echo "on_resume 0" >&3 ;;
		*) echo "cleanup $hook" >&3 ;;
		esac
	done
	end_hooks
	[[ $hooks = *dies* ]] || end_qemu
	sed -n 's/^back: //p' log | sort | uniq -c | sed 's/^ *//' >back
}

# What is to arrive of one turn of frames.pl, by its ports: in this order.
wanted() {
	local port=1001
	for _ in {1..20}; do
		echo "UDP $port 20"
		echo "UDP $((port + 1)) 1472"
		printf "TCP $((port + 2)) %s\n" 1460 1460 1080
		echo "UDP $((port + 3)) 20"
		printf "TCP $((port + 4)) %s\n" 1440 1440 120
		port=$((port + 5))
	done
}

# The inner packets, by their kind, port and payload; a wrong checksum is a word more.
summary() {
	sed -nE 's/.*\.40000 > [^ ]*\.([0-9]+): \[(bad )?udp (sum ok|cksum [^]]*)\] UDP, length ([0-9]+).*/UDP \1 \4 \2/p
		s/.*\.40000 > [^ ]*\.([0-9]+): Flags [^,]*, cksum [^ ]* \((correct|incorrect)[^)]*\).*, length ([0-9]+).*/TCP \1 \3 \2/p' heard |
		sed -E 's/ +$//; s/ correct$//'
}

# check NAME [FILTER]: several queues keep their flows in order, but not all of them together.
check() {
	wanted | ${2-cat} >expected
	summary | ${2-cat} >got
	diff expected got >difference ||
		complain "$1: not what was in the tap: $(head -n 10 difference) $(cat log)"
	grep -q 'log: salvaged 180 packet' log || complain "$1: $(cat log)"
	grep -q '^doubt: 1 packet(s) for an address that is not' log &&
		complain "$1: a broadcast is missed"
	return 0
}

# pinned PLUGIN MAC: the guest, which answers nobody, was given that one while the hooks ran.
pinned() {
	local ip
	for ip in $IP4 $IP6; do
		grep -q "^$ip lladdr $2 .*PERMANENT" entries || complain "$1: $ip: $(cat entries)"
	done
	[[ ! -s entries-left ]] || complain "$1: left behind: $(cat entries-left)"
}

ip link add eth0 type veth peer name eth1
ip netns add node2
ip link set eth1 netns node2 name eth0
ip addr add 10.0.0.1/24 dev eth0
ip link set eth0 up
ip link set lo up
ip -n node2 addr add 10.0.0.2/24 dev eth0
ip -n node2 link set eth0 up
echo 1 >/proc/sys/net/ipv4/ip_forward
echo 1 >/proc/sys/net/ipv6/conf/all/forwarding

for plugin in nftables ipip gre; do
	stopped $plugin 1 all
	if ! grep -q '^pre_copy: 0' log; then
		echo "left out: $plugin: $(grep -m 1 '^error:' log)"
		continue
	fi
	check $plugin
	pinned $plugin $MAC
	grep -q '^doubt: at most 2 packet(s) lost: QEMU' log || complain "$plugin: no doubt about QEMU"
	stopped $plugin 4 all opt.neighbours=false
	check "$plugin, four queues" sort
	! grep PERMANENT entries || complain "$plugin: touches what it was told to leave"
	grep -q '^doubt: at most 8 packet(s) lost: QEMU' log || complain "$plugin: no doubt about QEMU"
	NEIGHBOUR=$OTHER_MAC stopped $plugin 1 own opt.salvage=false
	pinned "$plugin, which others answer for" $OTHER_MAC
	[[ ! -s got || -z $(summary) ]] || complain "$plugin: arrives without salvage: $(summary)"
	grep -q '^doubt: what was in the source.s taps when the guest stopped is lost' log ||
		complain "$plugin: no doubt without salvage: $(cat log)"
	tried="${tried-} $plugin"
done
# The kernel feeds the guest, if it has all queues.
for VHOSTS in 4 3; do
	[[ ${tried-} = *nftables* ]] || break
	stopped nftables 4 all
	check "nftables, $VHOSTS queues with vhost" sort
	case $VHOSTS.$(grep -c '^doubt:' log) in
	4.0 | 3.1) ;;
	*) complain "$VHOSTS queues with vhost: $(cat log)" ;;
	esac
done
printf '%s\n' '20 4 1120' '60 4 1500' '20 4 48' '40 6 1500' '20 6 180' '20 6 68' >expected
for hooks in failed "dies failed"; do
	for queues in 1 4; do
		held $queues "$hooks" learn.connected=1
		diff expected back >difference ||
			complain "$hooks, $queues queue(s): $(cat difference log)"
	done
done
held 1 cancelled learn.connected=1
[[ ! -s back ]] || complain "taken from a guest that may come: $(cat back)"
held 1 failed
[[ ! -s back ]] || complain "back to nobody: $(cat back)"
held 1 "on_resume failed" learn.connected=1
[[ ! -s back ]] || complain "taken from a guest that runs: $(cat back)"
[[ ${tried-} ]] || skip "this kernel has none of the redirects"
exit $fail
