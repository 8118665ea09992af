#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# What runs inside the lab.  Three ways in:
#
#   init=node.sh lab=CONF   pid 1 of a User-Mode Linux: modules, then as "kernel"
#   node.sh kernel CONF     one kernel's share of the network: a namespace and an agent a node
#   node.sh agent NODE OUT  executes what lib.sh sends, one line at a time
#
# A fork and exec costs 20 to 100 ms in User-Mode Linux, so the agents stay, and whatever is
# asked of them often (QMP, logs, exit codes, the guest's console) is done by bash itself.
set -uo pipefail
export PATH=${LAB_QEMU:+$LAB_QEMU:}/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C

SELF=$(realpath "$0")
L=/run/lab		# every node has a /run of its own

# ---- pid 1 of User-Mode Linux ------------------------------------------------------------

# The root file system is the host's, mounted read-only: only tmpfs and OUT can be written.
uml_init() {
	mount -t proc proc /proc
	mount -t sysfs sysfs /sys
	mount -t tmpfs run /run
	read -r line </proc/cmdline
	[[ $line =~ lab=([^ ]+) ]] || power_off "no lab= on the command line"
	# shellcheck source=/dev/null
	. "${BASH_REMATCH[1]}"
	mount -t hostfs none /mnt -o "$OUT" || power_off "no hostfs for the logs"
	OUT=/mnt
	# No modprobe: that wants the modules below /lib, where the host's would be.
	for module in "${MODULES[@]}"; do
		busybox insmod "$module" || power_off "insmod $module"
	done
	kernel
	power_off "every agent has ended"
}

power_off() {
	echo "node.sh: $*"
	sync
	echo o >/proc/sysrq-trigger
	sleep 60
}

# ---- one kernel --------------------------------------------------------------------------

address() {
	case $1 in
	client) echo 192.168.50.1 ;;
	node1) echo 192.168.50.11 ;;
	node2) echo 192.168.50.12 ;;
	esac
}

# CONF sets NODES (those in this kernel), OUT (logs), WIRE (the node that gets vec0, the line
# to the other kernel, or nothing) and TTY (agents on consoles) or FIFOS (agents on pipes).
kernel() {
	local node batch='' console=0
	mkdir -p /run/netns
	# shellcheck disable=SC2153	# NODES comes with CONF
	for node in "${NODES[@]}"; do
		ip netns add "$node"
		[[ $node = fabric || $node = "$WIRE" ]] ||
			batch+="link add eth0 netns $node type veth peer name $node netns fabric"$'\n'
	done
	if [[ $WIRE ]]; then
		local name=eth0
		[[ $WIRE = fabric ]] && name=wire
		batch+="link set vec0 netns $WIRE name $name"$'\n'
	fi
	ip -batch - <<<"$batch" || echo "node.sh: the links failed"
	for node in "${NODES[@]}"; do
		local in out
		if [[ ${TTY-} ]]; then
			console=$((console + 1)) in=/dev/tty$console out=/dev/tty$console
			stty raw -echo <"$in"
		else
			in=$FIFOS/$node.in out=$FIFOS/$node.out
		fi
		enter "$node" bash "$SELF" agent "$node" "$OUT" \
			<"$in" >"$out" 2>"/run/agent-$node.err" &
	done
	wait
}

# enter NODE COMMAND...: CONF may have one of its own.
enter() { enter_namespaces "$@"; }

enter_namespaces() {
	exec setsid nsenter --net="/run/netns/$1" unshare -m --propagation private "${@:2}"
}

# ---- the agent of one node ---------------------------------------------------------------

agent() {
	NODE=$1 OUT=$2
	mount -t sysfs sysfs /sys	# /sys/class/net is that of the namespace it was mounted in
	mount -t tmpfs run /run
	mkdir -p $L /run/tmp
	export TMPDIR=/run/tmp
	exec 2>$L/agent.err
	trap : PIPE			# a QEMU that died must not take us with it
	declare -gA PID CODE MONITOR
	network
	echo ready
	local line rc said
	while IFS= read -r line; do
		: >$L/stderr
		eval "$line" </dev/null 2>$L/stderr
		rc=$?
		if [[ -s $L/stderr ]]; then
			mapfile -t said <$L/stderr
			printf '\002%s\n' "${said[@]}"
		fi
		printf '\001%d\n' $rc
	done
}

network() {
	local port
	# No duplicate address detection, which ends a second or two later: an address that is
	# still tentative would make a before and an after differ.  The devices that are here
	# already took their settings from the default as it was.
	[[ -d /proc/sys/net/ipv6 ]] && for port in /proc/sys/net/ipv6/conf/*; do
		echo 0 >"$port/accept_dad"
		echo 0 >"$port/dad_transmits"
	done
	# A guest that gets no processor for eight seconds does not answer ARP, either, and the kernel
	# drops what it has for it.  Who has answered once is there, in the lab, for an hour.
	for port in /proc/sys/net/ipv[46]/neigh/*/base_reachable_time_ms; do
		echo 3600000 >"$port"
	done
	# As a card does it that hashes flows to its queues: what came first is forwarded first, also
	# where its sender moves from one CPU to the other between two packets.
	for port in /sys/class/net/*/queues/rx-*/rps_cpus; do
		[[ ! -w $port ]] || printf '%x\n' $(((1 << $(nproc)) - 1)) >"$port"
	done
	ip link set lo up
	if [[ $NODE = fabric ]]; then
		ip link add br0 type bridge
		# Some modules put a device of their own into every namespace: no ports, those.
		for port in client node1 node2 wire; do
			[[ ! -e /sys/class/net/$port ]] ||
				printf 'link set %s master br0 up\n' "$port"
		done >$L/batch
		echo "link set br0 up" >>$L/batch
		ip -batch $L/batch
		return
	fi
	printf '%s\n' "addr add $(address "$NODE")/24 dev eth0" "link set eth0 up" >$L/batch
	ip -batch $L/batch
	[[ $NODE = client ]] && return
	echo 1 >/proc/sys/net/ipv4/ip_forward
	[[ -d /proc/sys/net/ipv6 ]] && echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
	quiet_redirects
}

# A node that sends a packet out where it came in would tell the client to go around it.
quiet_redirects() {
	local f
	for f in /proc/sys/net/ipv4/conf/*/send_redirects; do
		echo 0 >"$f"
	done
}

# spawn NAME COMMAND...: in the background, output in NAME.out and NAME.err.  Job control
# gives it a process group and, above all, leaves SIGINT to the command.
spawn() {
	local name=$1
	shift
	: >"$L/$name.out" 2>"$L/$name.err"	# now: the child might do it after the first look
	set -m
	"$@" </dev/null >"$L/$name.out" 2>"$L/$name.err" &
	PID[$name]=$!
	set +m
	unset "CODE[$name]"
}

# The exit code of what was spawned, on stdout; false while it runs.
ended() {
	if [[ -z ${CODE[$1]-} ]]; then
		kill -0 "${PID[$1]}" 2>/dev/null && return 1
		wait "${PID[$1]}"
		CODE[$1]=$?
	fi
	echo "${CODE[$1]}"
}

ip_batch() {
	ip -batch - <<<"$1"
}

# The pod's namespace of this node, see topology.sh.
pod_up() {
	ip netns add pod
	# shellcheck disable=SC2016
	ip netns exec pod bash -c 'ip link set lo up; echo 1 >/proc/sys/net/ipv4/ip_forward
		for f in /proc/sys/net/ipv6/conf/*/{accept_dad,dad_transmits}; do echo 0 >"$f"; done
		for f in /proc/sys/net/ipv4/conf/*/send_redirects; do echo 0 >"$f"; done'
}

pod_batch() {
	ip -n pod -batch - <<<"$1"
}

# pod_joins FROM TO: what comes in by FROM goes out by TO.
pod_joins() {
	tc -n pod -batch - <<-END
		qdisc add dev $1 ingress
		filter add dev $1 parent ffff: protocol all u32 match u8 0 0 action mirred egress redirect dev $2
	END
}

# in_pods_tap TAP FD COMMAND...: with the pod's TAP open as FD, and otherwise where we are:
# QEMU has to reach the other node.  perl-base is on every Debian, and has ioctl and syscall.
# shellcheck disable=SC2016
in_pods_tap() {
	exec perl -e 'use strict; $^F = 99; my ($tap, $fd) = splice(@ARGV, 0, 2);
		my ($SYS_setns, $CLONE_NEWNET, $TUNSETIFF) = (308, 0x40000000, 0x400454ca);
		my $flags = 0x0002 | 0x1000 | 0x4000;	# IFF_TAP, IFF_NO_PI, IFF_VNET_HDR
		open(my $here, "<", "/proc/self/ns/net") or die; open(my $pod, "<", "/run/netns/pod") or die;
		syscall($SYS_setns, fileno($pod), $CLONE_NEWNET) == 0 or die "setns: $!";
		open(my $tun, "+<", "/dev/net/tun") or die "tun: $!";
		ioctl($tun, $TUNSETIFF, pack("a16 s x22", $tap, $flags)) or die "$tap: $!";
		syscall($SYS_setns, fileno($here), $CLONE_NEWNET) == 0 or die "setns: $!";
		require POSIX; POSIX::dup2(fileno($tun), $fd); close($_) for ($here, $pod, $tun);
		exec @ARGV' "$@"
}

# sshd_up DIR: the sshd that is unpacked in DIR, for root, by a key, and for this node alone.
sshd_up() {
	mkdir -p /run/sshd
	# It wants a user of its own, and no root whose password is locked.
	{
		grep -v '^sshd:' /etc/passwd
		echo 'sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin'
	} >$L/passwd
	echo 'root:*:19000:0:99999:7:::' >$L/shadow
	mount --bind $L/passwd /etc/passwd
	mount --bind $L/shadow /etc/shadow
	ssh-keygen -q -t ed25519 -N '' -f $L/host_key
	printf '%s\n' "HostKey $L/host_key" "AuthorizedKeysFile $L/authorized_keys" \
		'PermitRootLogin prohibit-password' 'StrictModes no' 'UsePAM no' >$L/sshd_config
	spawn sshd env LD_LIBRARY_PATH="$(echo "$1"/usr/lib/*-linux-gnu)" \
		"$1/usr/sbin/sshd" -D -e -r -f $L/sshd_config
}

# reassembles BYTES: so many of them may wait for the rest of their packet.
reassembles() {
	local f=/proc/sys/net/ipv4/ipfrag
	echo 0 >${f}_low_thresh
	echo "$1" >${f}_high_thresh
	(($1 == 0)) || echo $(($1 * 3 / 4)) >${f}_low_thresh
}

write() {		# write FILE TEXT
	printf '%s\n' "$2" >"$1"
}

sign() {		# sign SIGNAL NAME
	kill "-$1" "${PID[$2]}"
}

logged() {		# logged NAME TEXT: TEXT stands in what NAME wrote
	local all
	all=$(<"$L/$1.err")$(<"$L/$1.out")
	[[ $all = *"$2"* ]]
}

# qmp PORT JSON: one command, its reply on stdout, false if that is an error.  The lab has a
# monitor of its own in every QEMU, since a monitor serves one client and katamaran is that.
qmp() {
	local port=$1 json=$2 fd reply
	fd=${MONITOR[$port]-}
	if [[ -z $fd ]]; then
		exec {fd}<>"/dev/tcp/127.0.0.1/$port" || return 1
		read -r -t 30 reply <&"$fd" || return 1
		MONITOR[$port]=$fd
		qmp "$port" '{"execute":"qmp_capabilities"}' >/dev/null || return 1
	fi
	printf '%s\n' "$json" >&"$fd" || return 1
	while read -r -t 60 reply <&"$fd"; do
		case $reply in
		'{"return"'*) echo "${reply%$'\r'}"; return 0 ;;
		'{"error"'*) echo "${reply%$'\r'}" >&2; return 1 ;;
		*) echo "${reply%$'\r'}" >>"$L/qmp-events-$port" ;;
		esac
	done
	echo "no answer from the monitor on port $port" >&2
	return 1
}

# "FIRST LAST BOOT LINES" of the guest's heartbeat on the console SERIAL; false if none.
heartbeat() {
	local line first='' last='' boot='' n=0 lines
	[[ -e $1 ]] || return 1
	mapfile -t lines <"$1"
	for line in "${lines[@]}"; do
		[[ $line =~ ^alive\ ([0-9]+)\.[0-9]+\ ([0-9a-f-]{36}) ]] || continue
		first=${first:-${BASH_REMATCH[1]}} last=${BASH_REMATCH[1]} boot=${BASH_REMATCH[2]}
		n=$((n + 1))
	done
	[[ $first ]] && echo "$first $last $boot $n"
}

# All of this node's network that a migration could leave something in, one thing a line.
# What says only whether some QEMU holds the tap open, and how many queues of it, is cut out.
snapshot() {
	snapshot_here
	[[ -e /run/netns/pod ]] || return 0
	export -f snapshot_here
	ip netns exec pod bash -c snapshot_here | sed 's/^/pod: /'
}

snapshot_here() {
	local dev='' f what
	{
		ip -o -d -batch - <<<$'link show\naddr show\nneigh show nud permanent'
		for what in -4 -6; do
			ip $what -o -d -batch - <<<$'route show table all\nrule show'
		done
		for f in /sys/class/net/*; do
			dev+="filter show dev ${f##*/}"$'\n'
		done
		tc -batch - <<<"qdisc show"$'\n'"$dev"
		for f in /proc/sys/net/ipv[46]/{ip_forward,conf/*/{rp_filter,forwarding,accept_local}}; do
			[[ -r $f ]] && echo "$f $(<"$f")"
		done
	} 2>&1 | sed -E 's/<([^>]*,)?(UP)?(,[^>]*)?>/<\2>/; s/ state [A-Z]+//; s/ linkdown//
		s/ numqueues [0-9]+ numdisabled [0-9]+//
		s/^[0-9]+: //; s/ (valid|preferred)_lft .*//; s/(bridge_id|designated_root) .*//' |
		grep -Ev '^ +(hello|topology_change|gc)_timer|RTNETLINK|^$|^qdisc .* parent :[0-9a-f]+ ' |
		sort
}

# What the lab's own lines have dropped: no migration can be judged by that.
drops() {
	local f sum=0
	for f in /sys/class/net/{eth0,wire,client,node1,node2}/statistics/tx_dropped; do
		[[ ! -e $f ]] || sum=$((sum + $(<"$f")))
	done
	echo $sum
}

collect() {
	mkdir -p "$OUT/$NODE"
	cp -r $L/. "$OUT/$NODE/"
	cat /proc/net/dev /proc/net/softnet_stat >"$OUT/$NODE/counters"
	[[ $OUT != /mnt ]] || dmesg >"$OUT/$NODE/dmesg"
}

# ------------------------------------------------------------------------------------------

case $$ in
1) uml_init ;;
*)
	case ${1-} in
	kernel)
		# shellcheck source=/dev/null
		. "$2"
		kernel
		;;
	agent) agent "$2" "$3" ;;
	*) echo "usage: node.sh kernel CONF | agent NODE OUT (see lab.sh)" >&2; exit 2 ;;
	esac
	;;
esac
