#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# -sandbox and -pod-ip on a node that is made up: folders as Kata Containers has them, pods
# with a tap in network namespaces, processes that hold them from outside, monitors that
# somebody else listens at, and a virtiofsd that has the sandbox's id in its arguments.
# Needs root; skipped (77) with the reason otherwise.  Run from the build folder.
set -euo pipefail

. "$(dirname "$0")/namespaces.sh" ip perl

katamaran=${KATAMARAN:-$PWD/katamaran}
built=${KATAMARAN_PLUGIN_DIR:-$PWD/.libs}
fake=${FAKE_QMP:-$PWD/tests/fake_qmp}
mkdir -p /run/work/plugins
cd /run/work
vm=/run/vc/vm
umask 022
install -m 644 "$built"/storage-none.so "$built"/announce-self.so plugins
passed=0 failed=0

ONE=7f3a9c01d5e2 TWO=7f3b00aa11bb THREE=c0ffee00c0ff

# pod NAME ADDRESS...: what a CNI has made, and the tap that Kata Containers adds.
pod() {
	local ip name=$1
	shift
	ip netns add "$name"
	ip -n "$name" link add eth0 type veth peer name node
	ip -n "$name" link set eth0 up
	for ip; do
		ip -n "$name" addr add "$ip" dev eth0
	done
}

# qemu POD TAP ARGUMENT...: holds the pod's tap as two queues, and is itself outside.
qemu() {
	perl -e '
		use strict; $^F = 99;
		my ($pod, $tap) = splice @ARGV, 0, 2;
		my ($SYS_setns, $CLONE_NEWNET, $TUNSETIFF) = (308, 0x40000000, 0x400454ca);
		open my $here, "<", "/proc/self/ns/net" or exit 1;
		open my $there, "<", "/run/netns/$pod" or exit 1;
		syscall($SYS_setns, fileno $there, $CLONE_NEWNET) == 0 or exit 1;
		my @queues;
		for (1, 2) {	# IFF_TAP, IFF_NO_PI, IFF_VNET_HDR, IFF_MULTI_QUEUE
			open my $tun, "+<", "/dev/net/tun" or exit 1;
			ioctl $tun, $TUNSETIFF, pack("a16 S x22", $tap, 0x5102) or exit 1;
			push @queues, $tun;
		}
		syscall($SYS_setns, fileno $here, $CLONE_NEWNET) == 0 or exit 1;
		close $here; close $there;
		open my $up, ">", "$pod.up" or exit 1; close $up;
		sleep 600' "$@" &
	qemu=$!
	wait_until test -e "$1.up"
}

# monitor SANDBOX NAME: a process that is not QEMU listens there, as the shim does.
monitor() {
	mkdir -p "$vm/$1"
	printf '%s\n' 'default query-status {"status":"paused","singlestep":false,"running":false}' \
		'serve forever' >script
	"$fake" -t 60 "$vm/$1/$2" script &
	wait_until test -S "$vm/$1/$2"
}

wait_until() {
	for _ in {1..250}; do
		! "$@" || return 0
		sleep 0.02
	done
	echo "never came true: $*"
	exit 1
}

# run CODE [FLAG...] -- TEXT...: a destination (or what FLAG says), which goes no further than
# to find that its QEMU is of no use; TEXT must be in what it says.
run() {
	local want=$1 text rc=0 bad=0 args=()
	shift
	while [[ $1 != -- ]]; do
		args+=("$1")
		shift
	done
	shift
	timeout -k 20 20 "$katamaran" -mode dest -plugin-dir plugins -tunnel-mode none "${args[@]}" \
		>out 2>err || rc=$?
	((rc == want)) || { echo "FAILED: exit code $rc, not $want"; bad=1; }
	for text; do
		grep -qF -- "$text" err || { echo "FAILED: does not say \"$text\""; bad=1; }
	done
	[[ $want != 2 || $(wc -l <err) = 1 ]] || { echo "FAILED: not one line"; bad=1; }
	if ((bad)); then
		echo "	with ${args[*]}:"
		sed 's/^/	/' err
		failed=$((failed + 1))
	else
		passed=$((passed + 1))
	fi
}

run 2 -sandbox 7f3a -- "cannot look for sandboxes in $vm: No such file or directory"
mkdir -p $vm
run 2 -sandbox 7f3a -- "no sandbox \"7f3a\" in $vm; there are: none"

pod cni-one 10.244.1.5/24 fd00:244:1::5/64
pod cni-two 10.244.1.6/24
monitor $ONE extra-monitor.sock
monitor $ONE qmp.sock
# The virtiofsd of the sandbox, and a wrapper of the next one, are older than QEMU.
perl -e 'sleep 600' -- --socket-path=$vm/$ONE/vhost-fs.sock \
	--shared-dir=/run/kata-containers/shared/sandboxes/$ONE/shared &
perl -e 'sleep 600' -- -id $ONE &
qemu cni-one tap0_kata -name sandbox-$ONE,debug-threads=on
one=$qemu
run 1 -sandbox $ONE -- \
	"Sandbox $ONE: QEMU is process $one, its monitor $vm/$ONE/extra-monitor.sock, its tap" \
	"tap0_kata in /run/netns/cni-one (addresses: 10.244.1.5, fd00:244:1::5)" \
	"process $one," 'does not wait for a guest'

monitor $TWO some-monitor.sock
qemu cni-two tap0_kata -qmp unix:path=$vm/$TWO/some-monitor.sock,server=on,wait=off
two=$qemu
run 1 -sandbox 7f3b -- "Sandbox $TWO: QEMU is process $two, its monitor $vm/$TWO/some-monitor.sock" \
	'tap0_kata in /run/netns/cni-two (addresses: 10.244.1.6)'
run 1 -sandbox ${ONE:0:4} -- "Sandbox $ONE:"
run 2 -sandbox 7f3 -- "-sandbox \"7f3\" fits more than one sandbox in $vm: $ONE, $TWO"
run 2 -sandbox b -- "no sandbox \"b\" in $vm; there are: $ONE, $TWO"
run 2 -sandbox ../vm -- 'invalid -sandbox "../vm": allowed is the id of a sandbox'
run 2 -sandbox '' -- 'invalid -sandbox ""'

# An id that is whole is meant, also where another one goes on.
mkdir -p $vm/${ONE}00
run 1 -sandbox $ONE -- "Sandbox $ONE:"
run 2 -sandbox ${ONE}0 -- "$vm/${ONE}00 has no monitor's socket (sockets: none)"
rmdir $vm/${ONE}00

# By an address of the pod.
run 1 -pod-ip 10.244.1.6 -- "Sandbox $TWO: QEMU is process $two"
run 1 -pod-ip fd00:244:1:0::5 -- "Sandbox $ONE: QEMU is process $one"
run 2 -pod-ip 10.244.1.7 -- \
	"no sandbox in $vm has a pod with the address 10.244.1.7; there are: $ONE (10.244.1.5), $TWO (10.244.1.6)"
run 2 -pod-ip 10.244.1.5 -sandbox $ONE -- 'exclude each other'

# What is said wins over what is found.
run 1 -sandbox $ONE -vm-ip 10.9.9.9 -- 'tap0_kata in /run/netns/cni-one (addresses: 10.9.9.9)'
run 1 -sandbox $ONE -tap tap7 -netns cni-two -- 'tap7 in /run/netns/cni-two (addresses: none)'
run 1 -sandbox $ONE -tap tap0_kata -- 'tap0_kata in /run/netns/cni-one'
run 1 -sandbox $ONE -qmp $vm/$ONE/qmp.sock -- "its monitor $vm/$ONE/qmp.sock"
mv $vm elsewhere
run 1 -sandbox $ONE -sandbox-dir elsewhere -qmp elsewhere/$ONE/qmp.sock -- "QEMU is process $one"
mv elsewhere $vm

# From the file, and for the source, whose addresses are then known.
printf '%s\n' "sandbox = \"$ONE\"; mode = \"source\"; destination: { ip = \"10.0.0.2\"; };" >conf
run 1 -c conf -mode source -- "Sandbox $ONE: QEMU is process $one" 'not running but "paused"'
run 2 -c conf -mode source -dest-ip 10.244.1.5 -- 'invalid -dest-ip "10.244.1.5": -vm-ip is the same'

# A second monitor of no known name, a QEMU without a tap, none at all.
monitor $TWO another-monitor.sock
run 2 -sandbox $TWO -- "$vm/$TWO has more than one monitor (another-monitor.sock, some-monitor.sock)"
monitor $THREE extra-monitor.sock
perl -e 'sleep 600' -- -name sandbox-$THREE &
three=$!
wait_until grep -q "sandbox-$THREE" "/proc/$three/cmdline" # it is perl by now
run 2 -sandbox $THREE -- "sandbox $THREE: its QEMU, process $three, has no tap"
run 1 -sandbox $THREE -tap tapx -- "QEMU is process $three"
perl -e 'sleep 600' -- -name sandbox-$THREE &
wait_until grep -q "sandbox-$THREE" "/proc/$!/cmdline"
run 2 -sandbox $THREE -- "cannot tell which process its QEMU is (candidates: "
kill %% $three

# One address in two pods.
pod cni-three 10.244.1.5/24
rm -r ${vm:?}/$TWO ${vm:?}/$THREE
monitor c0 extra-monitor.sock
qemu cni-three tap0_kata -name sandbox-c0
run 2 -pod-ip 10.244.1.5 -- "more than one sandbox in $vm has a pod with the address 10.244.1.5: $ONE, c0"

# A namespace without a name: QEMU is in it, or nobody is.
kill $qemu
rm -r $vm/c0
unnamed() {
	mkdir -p $vm/d0
	qemu "$@" -name sandbox-d0
	monitor d0 extra-monitor.sock
	umount /run/netns/"$1"
	rm /run/netns/"$1"
}
pod cni-four 10.244.1.8/24
unnamed cni-four tap0_kata
run 1 -sandbox d0 -- "tap0_kata in /proc/" '(addresses: 10.244.1.8)'

echo "$passed passed, $failed failed"
((failed == 0 && passed > 0))
