#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# What the cluster scripts have a node do, as root; bundle.sh packs it beside katamaran, and
# cluster.sh calls it.  One verb, words, key=value lines on standard output.
#
#	prepare			Kata's extra monitor and longer patience; kernel modules; sysctls
#	facts SECONDS		the one Kata sandbox of this node, once it has a monitor and a tap
#	state			what its QEMU is, as katamaran-qemu --describe tells
#	match			takes such a description: the next QEMU started here matches it and waits
#	join ADDRESS MAC	the node's way to the guest's ADDRESS leads into the sandbox here
#	way PEER PORT		QEMU, in its pod's namespace, reaches PEER and is reached on PORT
#	learn ADDRESS NODE	ADDRESS is on NODE from now on
#	ovn ADDRESS		OVN_CONF: katamaran moves the sandbox's port of OVN by its hooks; the
#				databases are at ADDRESS; prints the port
#	second PORT VERSION	the sandbox here has that port as well, as soon as OVN says so
#	dest WORD...		katamaran -mode dest in the background, until it is ready
#	arrived SECONDS		waits until the guest runs here
#	dest-result SECONDS	waits for its end: its log, and "exit=CODE"
#	source WORD...		katamaran -mode source: its log, and "exit=CODE" as the last line
#	ping ADDRESS		20 a second in the background
#	ping-end		its whole log
#	try			katamaran as destination of a guest that runs: it must refuse
#	katamaran WORD...	just that: its output, and "exit=CODE"
set -euo pipefail

HOME_DIR=$(dirname "$(realpath "$0")")
VC=${KATAMARAN_VC:-/run/vc/vm}		# where Kata Containers keeps its sandboxes
KATA=${KATAMARAN_KATA:-/opt/kata}
REAL_QEMU=${KATAMARAN_QEMU:-/etc/katamaran/qemu}		# as katamaran-qemu(8) has them
DESCRIPTIONS=${KATAMARAN_QEMU_DIR:-/run/katamaran/qemu}
RUN=${KATAMARAN_RUN:-/run/katamaran-e2e}
OVN_CONF=$RUN/ovn.conf
TOOLS=${KATAMARAN_TOOLS:-/usr/local/sbin}	# where katamaran-script(7) looks first
LINK=kat-way			# the pair of veths of `way`
NEAR=169.254.77.1 FAR=169.254.77.2

die() { echo "cluster-node.sh: $*" >&2; exit 1; }

# ---- Kata Containers ---------------------------------------------------------------------

# A drop-in beside the configuration: nothing that the package owns is edited.
monitor_on() {
	local file dir found=''
	while read -r file; do
		dir=$(dirname "$(readlink -f "$file")")/config.d
		mkdir -p "$dir"
		cat >"$dir/60-katamaran.toml" <<-'END'
			[hypervisor.qemu]
			enable_debug = true
			extra_monitor_socket = "qmp"

			[agent.kata]
			dial_timeout = 900

			[runtime]
			create_container_timeout = 900
		END
		echo "monitor=$dir/60-katamaran.toml"
		found=1
	done < <(find -L "$KATA/share/defaults" -name configuration-qemu.toml 2>/dev/null)
	[[ $found ]] || die "no configuration-qemu.toml below $KATA: is Kata Containers installed?"
}

# The tunnels are needed; without sch_plug the tap's own ring holds the packets.
modules() {
	local module
	for module in ipip ip6_tunnel ip_gre sch_plug; do
		if modprobe "$module" 2>/dev/null || [[ -d /sys/module/$module ]]; then
			echo "module=$module"
		elif [[ $module = ipip ]]; then
			die "this kernel has no module ipip"
		else
			echo "missing=$module"
		fi
	done
}

# Replies come back by another way than the requests went, while the redirect stands.
prepare() {
	monitor_on
	modules
	sysctl -q -w net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=2
}

# Sets id, qmp, pid, tap: those of the one sandbox here.  More than one is an error: these
# clusters have one guest a node.
sandbox() {
	local sockets=("$VC"/*/extra-monitor.sock)
	[[ -S ${sockets[0]} ]] || { why="no extra-monitor.sock below $VC"; return 1; }
	((${#sockets[@]} == 1)) || die "several sandboxes below $VC: ${sockets[*]}"
	qmp=${sockets[0]} id=${sockets[0]%/*}
	id=${id##*/}
	pid=$(cat "$VC/$id/pid" 2>/dev/null || true)
	[[ $pid && -e /proc/$pid/fdinfo ]] ||
		{ why="$VC/$id/pid names no process"; return 1; }
	# The kernel tells which taps a descriptor of QEMU belongs to.
	tap=$(sed -n 's/^iff:[[:space:]]*//p' /proc/"$pid"/fdinfo/* 2>/dev/null | sort -u)
	[[ $tap ]] || { why="QEMU $pid has no tap open"; return 1; }
	[[ $tap != *$'\n'* ]] || die "QEMU $pid has several taps: ${tap//$'\n'/ }"
}

in_pod() { nsenter -t "$pid" -n "$@"; }

# The node's end of the pod's eth0.
veth() {
	local index
	index=$(in_pod ip -o link show dev eth0 | sed -n 's/.* eth0@if\([0-9]*\):.*/\1/p')
	[[ $index ]] || die "the pod's eth0 is no veth"
	ip -o link | sed -n "s/^$index: \([^@:]*\).*/\1/p"
}

facts() {
	local tries why='' dev
	for ((tries = 0; tries <= $1 * 2; tries++)); do
		! sandbox || break
		sleep 0.5
	done
	sandbox || die "not within $1 s: $why"
	dev=$(veth)
	[[ $dev ]] || die "this node has no other end of the pod's eth0"
	printf '%s\n' "id=$id" "qmp=$qmp" "pid=$pid" "tap=$tap" "veth=$dev" \
		"gateway=$(cat "/sys/class/net/$dev/address")"
}

state() {
	sandbox || die "$why"
	"$HOME_DIR/bin/katamaran-qemu" --describe "$VC/$id/pid"
}

# Kata starts katamaran-qemu, which becomes the real one: with the description's arguments for the
# next sandbox, and as it is for all others.
match() {
	local dir qemu=$KATA/bin/qemu-system-x86_64 program=$HOME_DIR/bin/katamaran-qemu found=''
	[[ -x $qemu ]] || die "$qemu is not there"
	mkdir -p "$DESCRIPTIONS" "$(dirname "$REAL_QEMU")"
	cat >"$DESCRIPTIONS/new"
	[[ -s $DESCRIPTIONS/new ]] || die "match: no description came"
	ln -sfn "$qemu" "$REAL_QEMU"
	while read -r dir; do
		printf '%s\n' '[hypervisor.qemu]' "path = \"$program\"" \
			"valid_hypervisor_paths = [\"$program\"]" >"$dir/70-katamaran.toml"
		found=1
	done < <(find -L "$KATA/share/defaults" -name config.d)
	[[ $found ]] || die "match: no config.d below $KATA: prepare comes first"
	mv "$DESCRIPTIONS/new" "$DESCRIPTIONS/next.json"
	echo "next=$DESCRIPTIONS/next.json"
}

# ---- the network of the node -------------------------------------------------------------

# The guest goes on using the MAC of the gateway that it had.
join() {
	local dev
	sandbox || die "$why"
	dev=$(veth)
	ip link set dev "$dev" address "$2"
	sysctl -q -w "net.ipv4.conf.${dev/./\/}.proxy_arp=1"
	ip route replace "$1/32" dev "$dev"
	echo "joined=$dev"
}

# Kata runs QEMU inside the pod's namespace, where tc takes whatever comes in by eth0 for the
# guest.  So QEMU's own connection gets a pair of veths beside it.
way() {
	sandbox || die "$why"
	ip link show dev $LINK >/dev/null 2>&1 ||
		ip link add $LINK type veth peer name ${LINK}0 netns "$pid"
	ip addr replace $NEAR/30 dev $LINK
	ip link set dev $LINK up
	in_pod ip addr replace $FAR/30 dev ${LINK}0
	in_pod ip link set dev ${LINK}0 up
	in_pod ip route replace "$1/32" via $NEAR dev ${LINK}0
	rule nat POSTROUTING -s $FAR -d "$1" -j MASQUERADE
	rule nat PREROUTING -s "$1" -p tcp --dport "$2" -j DNAT --to-destination $FAR
	rule filter FORWARD -i $LINK -j ACCEPT
	rule filter FORWARD -o $LINK -j ACCEPT
	echo "way=$LINK"
}

# rule TABLE CHAIN WORD...: at the top, once.
rule() {
	local table=$1 chain=$2
	shift 2
	iptables -w -t "$table" -C "$chain" "$@" 2>/dev/null || iptables -w -t "$table" -I "$chain" "$@"
}

learn() {
	ip route replace "$1/32" via "$2"
	echo "learned=$1"
}

# ---- the network that is OVN's --------------------------------------------------------------

# OVN's programs, out of the container of the node's switch.
ovn_tools() {
	local tool
	pidof ovs-vswitchd >/dev/null || die "no ovs-vswitchd runs on this node"
	mkdir -p "$TOOLS"
	for tool in ovs-vsctl ovs-ofctl ovn-nbctl ovn-sbctl; do
		cat >"$TOOLS/$tool" <<-END
			#!/bin/sh
			exec nsenter -t "\$(pidof ovs-vswitchd | cut -d ' ' -f 1)" -m -- $tool "\$@"
		END
		chmod 755 "$TOOLS/$tool"
	done
}

# ids KEY: of the interface that the switch knows the sandbox by.
ids() {
	"$TOOLS/ovs-vsctl" --if-exists get interface "$dev" "external_ids:$1" | tr -d '"'
}

# The switch has the pod's veth, and not the tap behind it.
ovn() {
	local dev port version
	sandbox || die "$why"
	dev=$(veth)
	ovn_tools
	port=$(ids iface-id) version=$(ids iface-id-ver)
	[[ $port ]] || die "$dev is no port of OVN"
	mkdir -p "$RUN"
	cat >"$HOME_DIR/ovn-hooks" <<-END
		#!/bin/sh
		KATAMARAN_NIC0_TAP=\$KATAMARAN_OPT_INTERFACE
		export KATAMARAN_NIC0_TAP
		exec $HOME_DIR/share/ovn-script "\$@"
	END
	chmod 755 "$HOME_DIR/ovn-hooks"
	cat >"$OVN_CONF" <<-END
		cutover: {
			plugin = "script"; path = "$HOME_DIR/ovn-hooks"; on_stop_ms = 5000;
			settings = [ "interface=$dev", "nb=tcp:$1:6641", "sb=tcp:$1:6642",
			             "strategy=rarp" ];
		};
	END
	printf '%s\n' "conf=$OVN_CONF" "port=$port" "version=${version:-none}"
}

# Which of the two OVN gives the packets to, the port's requested-chassis says.
second() {
	local dev
	sandbox || die "$why"
	dev=$(veth)
	"$TOOLS/ovs-vsctl" --if-exists remove interface "$dev" external_ids iface-id-ver -- \
		set interface "$dev" "external_ids:iface-id=$1"
	[[ $2 = none ]] || "$TOOLS/ovs-vsctl" set interface "$dev" "external_ids:iface-id-ver=$2"
	echo "second=$dev"
}

# ---- katamaran and ping ------------------------------------------------------------------

unit() {
	systemctl reset-failed "$1.service" 2>/dev/null || true
	systemctl stop "$1.service" 2>/dev/null || true
	systemd-run --quiet --unit "$1" -p RemainAfterExit=yes -p KillSignal=SIGINT "${@:2}"
}

log_of() { journalctl --no-pager -o cat -u "$1.service"; }

dest() {
	local tries
	sandbox || die "$why"
	unit katamaran-dest "$HOME_DIR/bin/katamaran" -mode dest -sandbox "$id" "$@"
	for ((tries = 0; tries < 60; tries++)); do
		if log_of katamaran-dest | grep -q 'ready for the incoming migration'; then
			echo "ready=katamaran-dest"
			return
		fi
		running katamaran-dest || break
		sleep 0.5
	done
	log_of katamaran-dest >&2
	die "katamaran -mode dest is not ready"
}

running() { [[ $(systemctl show -p SubState --value "$1.service") = running ]]; }

arrived() {
	local tries
	for ((tries = 0; tries < $1 * 5; tries++)); do
		if log_of katamaran-dest | grep -q 'VM resumed'; then
			echo "arrived=$(hostname)"
			return
		fi
		running katamaran-dest || die "katamaran -mode dest has ended before the guest ran"
		sleep 0.2
	done
	die "no guest has arrived within $1 s"
}

dest_result() {
	local tries
	for ((tries = 0; tries < $1 * 2; tries++)); do
		running katamaran-dest || break
		sleep 0.5
	done
	log_of katamaran-dest
	if running katamaran-dest; then
		die "katamaran -mode dest still runs after $1 s"
	fi
	echo "exit=$(systemctl show -p ExecMainStatus --value katamaran-dest.service)"
}

# The exit code as text: not every ssh in between hands it on.
katamaran() {
	local code=0
	"$HOME_DIR/bin/katamaran" "$@" 2>&1 || code=$?
	echo "exit=$code"
}

source_end() {
	sandbox || die "$why"
	katamaran -mode source -sandbox "$id" "$@"
}

try() {
	sandbox || die "$why"
	katamaran -mode dest -sandbox "$id" -shared-storage
}

ping_begin() {
	mkdir -p "$RUN"
	unit katamaran-ping -p "StandardOutput=truncate:$RUN/ping.log" "$HOME_DIR/bin/ping" -D \
		-i 0.05 "$1"
	echo "pinging=$1"
}

# By SIGINT, or ping prints no summary; stop waits for its end.
ping_end() {
	systemctl kill -s INT --kill-who=main katamaran-ping.service
	systemctl stop katamaran-ping.service
	cat "$RUN/ping.log"
}

case ${1-} in
prepare | state | match | ping-end | try) (($# == 1)) ;;
facts | ping | arrived | dest-result | ovn) (($# == 2)) ;;
join | way | learn | second) (($# == 3)) ;;
dest | source | katamaran) (($# >= 2)) ;;
*) false ;;
esac || { sed -n '6,24s/^#	//p' "$0" >&2; exit 2; }
verb=$1
shift
case $verb in
dest-result) dest_result "$@" ;;
source) source_end "$@" ;;
ping) ping_begin "$@" ;;
ping-end) ping_end ;;
*) "$verb" "$@" ;;
esac
