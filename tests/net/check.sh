#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# The checks of a cutover plugin find what is planted, no longer find it when it is gone, and
# change nothing.  In network namespaces of its own; what needs a tunnel of the kernel is the
# lab's.  Needs root; skipped (77) with the reason otherwise.
set -euo pipefail

. "$(dirname "$0")/namespaces.sh" ip perl setpriv

driver=$PWD/tests/unit/hook_driver
plugin=$PWD/.libs/cutover-ipip.so
MAC=52:54:00:12:34:56
cd /run/work
passed=0 failed=0 without=()

complain() {
	echo "FAIL: $*"
	sed 's/^/	/' said
	failed=$((failed + 1))
}

snapshot() {
	ip -o link show | sed 's/<[^>]*>//; s/ state [A-Z]*//'
	ip -o addr show
	ip -o neigh show nud permanent
	for family in -4 -6; do ip $family -o route show table all && ip $family -o rule show; done
	for file in /proc/sys/net/ipv4/conf/*/rp_filter; do echo "$file $(<"$file")"; done
}

# look ROLE [SETTING...]: what that end's check says, in the file `said`.
look() {
	printf 'open\ncheck\ncleanup cancelled\n' | "${without[@]}" "$driver" "$plugin" "role=$1" id=test \
		"pid=$holder" peer=192.0.2.2 "nic=tap0,,$MAC,10.0.0.5" "${@:2}" >said 2>&1 || true
}

# planted WHAT ROLE TEXT PLANT UNDO: TEXT (which begins with the level) is said while it is there.
planted() {
	eval "$4"
	snapshot >before
	look "$2"
	snapshot >after
	grep -q "$3" said || complain "$1 is not found"
	diff before after >difference || complain "$1: the check has changed: $(<difference)"
	eval "$5"
	look "$2"
	! grep -q "$3" said || complain "$1 is found without being there"
	passed=$((passed + 1))
}

for file in /proc/sys/net/ipv6/conf/default/{accept_dad,dad_transmits}; do
	[[ ! -e $file ]] || echo 0 >"$file"	# no address that changes by itself
done
ip netns add other
ip link add eth0 type veth peer name eth0 netns other
ip addr add 192.0.2.1/24 dev eth0
ip -n other addr add 192.0.2.2/24 dev eth0
ip link set lo up
ip link set eth0 up
ip -n other link set eth0 up
ip tuntap add tap0 mode tap
ip link set tap0 up
ip addr add 169.254.1.1/32 dev tap0
ip route add 10.0.0.5 dev tap0
echo 1 >/proc/sys/net/ipv4/ip_forward
# In the place of QEMU: who has the tap open.
perl -e '$^F = 99; open(my $t, "+<", "/dev/net/tun") or die "tun: $!";
	my $request = pack("a16 s x22", "tap0", 0x1002);	# IFF_TAP, IFF_NO_PI
	ioctl($t, 0x400454ca, $request) or die "tap0: $!";	# TUNSETIFF
	$| = 1; print "open\n"; sleep 600' >held &
holder=$!
until [[ -s held ]]; do kill -0 $holder; sleep 0.02; done

for role in source destination; do
	look $role
	for text in 'finding 0 tap tap0: is up' 'finding 0 guest address 10.0.0.5: is reached'; do
		grep -q "$text" said || complain "$role, as it should be: no \"$text\""
	done
done

restore='ip link set tap0 up; ip route replace 10.0.0.5 dev tap0'
planted "a tap that is down" source 'finding 2 tap tap0: is down' 'ip link set tap0 down' "$restore"
planted "no route to the guest" source 'finding 2 guest address .*no route' \
	'ip route del 10.0.0.5 dev tap0' "$restore"
planted "no route on the destination" destination 'finding 2 guest address .*no route' \
	'ip route del 10.0.0.5 dev tap0' "$restore"
planted "a route elsewhere" source 'finding 1 guest address .*leads through eth0' \
	'ip route replace 10.0.0.5 dev eth0' "$restore"
planted "a strict rp_filter" destination 'finding 2 guest address .*rp_filter of tap0 is 1' \
	'ip route replace 10.0.0.5 dev eth0; echo 1 >/proc/sys/net/ipv4/conf/tap0/rp_filter' \
	"$restore; echo 0 >/proc/sys/net/ipv4/conf/tap0/rp_filter"
planted "another's MAC" source 'finding 1 guest address .*has its MAC as 02:00:00:00:00:01' \
	'ip neigh replace 10.0.0.5 lladdr 02:00:00:00:00:01 dev tap0 nud permanent' \
	'ip neigh del 10.0.0.5 dev tap0'
planted "an old redirect" source 'finding 2 guest address .*is being redirected already' \
	'ip rule add to 10.0.0.5 lookup 27489' 'ip rule del to 10.0.0.5 lookup 27489'
ip rule add to 10.0.0.6 lookup 27489
ip rule add to 10.0.0.5 lookup 9
look source
! grep -q 'redirected already' said || complain "another guest's redirect is taken for this one's"
ip rule del to 10.0.0.6 lookup 27489
ip rule del to 10.0.0.5 lookup 9
planted "a small mtu" source 'finding 1 mtu: .*carries packets of 1400' \
	'ip link set eth0 mtu 1400' 'ip link set eth0 mtu 1500'
planted "a device that does not forward" source 'finding 2 forwarding: .*conf.eth0.forwarding' \
	'echo 0 >/proc/sys/net/ipv4/conf/eth0/forwarding' \
	'echo 1 >/proc/sys/net/ipv4/conf/eth0/forwarding'
planted "a tap that does not forward" destination \
	'finding 1 guest address .*net.ipv4.conf.tap0.forwarding is 0' \
	'echo 0 >/proc/sys/net/ipv4/conf/tap0/forwarding' \
	'echo 1 >/proc/sys/net/ipv4/conf/tap0/forwarding'
for role in source destination; do
	planted "no right to change the network, $role" $role 'finding 2 privileges: CAP_NET_ADMIN is missing' \
		'without=(setpriv --bounding-set -net_admin)' 'without=()'
done
planted "no way to the destination" source 'finding 2 destination: .*no route to 192.0.2.2' \
	'ip link set eth0 down' 'ip link set eth0 up'
planted "an own address as the destination" source 'finding 2 destination: .*address of this node' \
	'ip addr add 192.0.2.2/32 dev lo' 'ip addr del 192.0.2.2/32 dev lo'
# shellcheck disable=SC2016
planted "a tap that nobody has opened" destination 'finding 2 tap tap0: .*has not opened it' \
	'kept=$holder; holder=$$' 'holder=$kept'

# probe SIZE...: the destination listens; packets of these sizes come from the other node.
# shellcheck disable=SC2094	# what is waited for is written meanwhile
probe() {
	local number='' size
	: >said
	{
		printf 'open\ncheck\n'
		until number=$(sed -n 's/publish: probe=//p' said) && [[ $number ]]; do sleep 0.02; done
		for size; do
			# shellcheck disable=SC2016
			ip netns exec other perl -e 'use Socket; my ($size, $number) = @ARGV;
				socket(my $s, AF_INET, SOCK_RAW, 4) or die "socket: $!";
				send($s, "\0" x ($size - 8) . "kata" . pack("nCC", $number, 1, $size > 1000), 0,
					sockaddr_in(0, inet_aton("192.0.2.1"))) or die "send: $!"' \
				"$size" "$number"
		done
		printf 'check\ncleanup cancelled\n'
	} | "$driver" "$plugin" role=destination id=test "pid=$holder" learn.connected=1 \
		"nic=tap0,,$MAC,10.0.0.5" >said 2>&1 || true
}

# heard WHAT TEXT
heard() {
	if grep -q "$2" said; then passed=$((passed + 1)); else complain "$1: no \"$2\""; fi
}

probe
heard "nothing comes" 'finding 2 way of the redirect: .*did not arrive'
probe 64
heard "fragments do not come" 'finding 1 way of the redirect: small packets arrive'
probe 64 1500
heard "all come" 'finding 0 way of the redirect: packets from the source arrive: IP in IP'

# A table that nobody owns, of family netdev, as only an older program could have left it.
table() {
	perl -e 'use Socket; my ($type, $name) = @ARGV;
		sub message { my ($type, $flags, $body) = @_;
			pack("LSSLL", 16 + length $body, $type, $flags, 1, 0) . $body }
		my $attribute = pack("SSZ*", 5 + length $name, 1, $name);	# NFTA_TABLE_NAME
		$attribute .= "\0" while length($attribute) % 4;
		socket(my $s, 16, SOCK_RAW, 12) or die "socket: $!";	# AF_NETLINK, NETLINK_NETFILTER
		syswrite($s, message(16, 1, pack("CCn", 0, 0, 10)) .	# NFNL_MSG_BATCH_BEGIN
			message(10 << 8 | $type, 0x405, pack("CCn", 5, 0, 0) . $attribute) .
			message(17, 1, pack("CCn", 0, 0, 10))) or die "send: $!";
		sysread($s, my $answer, 4096);
		my $error = unpack("l", substr($answer, 16, 4)); $! = -$error;
		die "table $name: $!\n" if $error' "$1" "$2"
}

plugin=${plugin%ipip.so}nftables.so
look source
if grep -q 'this kernel' said; then
	echo "skipped, nftables: $(grep -m 1 'this kernel' said)"
else
	for role in source destination; do
		planted "a table that nobody owns, $role" $role \
			'finding 1 leftovers: table netdev katamaran_old is of an earlier' \
			'table 0 katamaran_old' 'table 2 katamaran_old'
	done
	table 0 katamara
	look source
	! grep -q leftovers said || complain "a stranger's table is taken for ours"
	table 2 katamara
fi

echo "$passed passed, $failed failed"
((failed == 0))
