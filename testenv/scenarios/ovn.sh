# shellcheck shell=bash disable=SC2034,SC2154
# SPDX-License-Identifier: BSD-2-Clause
# the guest is a port of OVN, which the example conf/examples/ovn-script moves: loses nothing
#
# Three chassis with OVS in user space, the client is the third and has OVN's databases.  To
# node2 with katamaran, at once and with activation-strategy=rarp, back each time by what QEMU
# and OVN do alone.  The overlay has a bridge of its own: OVS in user space reads packets from
# a socket whose buffer a few milliseconds of a migration overflow, and the guest's with them.
# On one bridge a node answers for the address of its eth0 by the switch's port, too (ARP), and
# the memory comes that way.

wants=katamaran places=host
form=bridge		# for the guest; there is none
kind=icmp		# OVS in user space sends UDP on without the checksum that a card would add
DB=192.168.50.1 UNPACKED=$LAB/ovn
OVN=(ovn-central ovn-host ovn-common openvswitch-switch openvswitch-common libxdp1 libbpf1
	libunbound8)

# Unpacked and not installed: the packages would start servers on this machine.
fetch() {
	need nftables libcap-ng0 libevent-2.1-7 libnuma1 libnettle8 libelf1 libssl3
	[[ -x $UNPACKED/usr/bin/ovn-northd ]] || unpack "$UNPACKED" "${OVN[@]}"
}

# In the folder where the script plugin looks first.
tools() {
	local tool
	on "$1" mount -t tmpfs tools /usr/local/sbin
	for tool in "$UNPACKED"/usr/{bin,sbin}/{ovn,ovs,ovsdb}-* \
		"$UNPACKED"/usr/lib/openvswitch-switch/ovs-vswitchd; do
		[[ ! -x $tool ]] || printf '%s\n' "$tool"
	done >"$LOGS/tools"
	# shellcheck disable=SC2016	# the agent's own
	on "$1" eval 'while read -r tool; do
			printf "#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s \"\$@\"\n" \
				'"$(echo "$UNPACKED"/usr/lib/*-linux-gnu)"' "$tool" >/usr/local/sbin/${tool##*/}
		done <'"$LOGS/tools"'
		chmod 755 /usr/local/sbin/*
		export PATH=/usr/local/sbin:$PATH
		mkdir -p /run/ovn /run/openvswitch'
}

# database NODE SCHEMA NAME REMOTE...
database() {
	local node=$1 schema=$UNPACKED/usr/share/$2 name=$3 remote remotes=()
	shift 3
	for remote; do
		remotes+=("--remote=$remote")
	done
	on "$node" ovsdb-tool create "/run/lab/$name.db" "$schema"
	spawn "$node" "$name" ovsdb-server "/run/lab/$name.db" "${remotes[@]}" \
		--unixctl="/run/lab/$name.ctl" -vconsole:warn
}

central() {
	database client ovn/ovn-nb.ovsschema nb punix:/run/ovn/ovnnb_db.sock "ptcp:6641:$DB"
	database client ovn/ovn-sb.ovsschema sb punix:/run/ovn/ovnsb_db.sock "ptcp:6642:$DB"
	wait_for 20 on client ovn-nbctl init
	wait_for 20 on client ovn-sbctl init
	spawn client northd ovn-northd --unixctl=/run/lab/northd.ctl -vconsole:warn
}

# chassis NODE ADDRESS: that of the tunnel's end, which has to be a port of the switch, too.
chassis() {
	local node=$1 address=$2
	on "$node" ip link add eth1 type veth peer name "ovn-$node" netns "$(on fabric eval 'echo $$')"
	on fabric ip link set "ovn-$node" master overlay up
	database "$node" openvswitch/vswitch.ovsschema switch punix:/run/openvswitch/db.sock
	wait_for 20 on "$node" ovs-vsctl --no-wait init
	on "$node" ovs-vsctl --no-wait set open_vswitch . "external_ids:system-id=$node" \
		"external_ids:ovn-remote=tcp:$DB:6642" external_ids:ovn-encap-type=geneve \
		"external_ids:ovn-encap-ip=$address" external_ids:ovn-bridge-datapath-type=netdev
	spawn "$node" vswitchd ovs-vswitchd --unixctl=/run/lab/vswitchd.ctl -vconsole:warn
	on "$node" ovs-vsctl add-br br-ex -- set bridge br-ex datapath_type=netdev \
		fail_mode=standalone "other_config:hwaddr=06:00:00:00:00:${address##*.}" -- \
		add-port br-ex eth1
	ip_batch "$node" <<-END
		addr add $address/24 dev br-ex
		link set eth1 up
		link set br-ex up
	END
	spawn "$node" controller ovn-controller -vconsole:warn
	wait_for 30 on "$node" ovs-vsctl br-exists br-int
}

port() {
	on "$1" ovs-vsctl add-port br-int "$2" -- set interface "$2" "external_ids:iface-id=$3" "${@:4}"
}

# Instead of the lab's own.
network() {
	local node
	TARGETS=("$GUEST_IP")
	for node in client node1 node2; do
		tools $node
	done
	central
	ip_batch fabric <<-END
		link add overlay type bridge
		link set overlay up
	END
	chassis client 192.168.60.1
	chassis node1 192.168.60.11
	chassis node2 192.168.60.12
	on client ovn-nbctl ls-add net -- lsp-add net vm -- \
		lsp-set-addresses vm "$GUEST_MAC $GUEST_IP" -- lsp-add net client -- \
		lsp-set-addresses client "02:00:00:00:00:20 $(gateway "$GUEST_IP")"
	for node in node1 node2; do
		ip_batch $node <<-END
			tuntap add tap0 mode tap
			link set tap0 up
		END
		port $node tap0 vm
	done
	port client client client type=internal 'mac="02:00:00:00:00:20"'
	ip_batch client <<-END
		addr add $(gateway "$GUEST_IP")/24 dev client
		link set client up
	END
	fabric_learns node1
}

# OVN does, once and for all; in a migration by katamaran it is the script that says so.
fabric_learns() {
	if [[ ${SCRIPTED-} ]]; then
		wait_for 20 bound_to "$1"
		return
	fi
	on client ovn-nbctl --wait=hv --timeout=20 set logical_switch_port vm \
		"options:requested-chassis=$1" -- \
		remove logical_switch_port vm options activation-strategy
}

bound_to() {
	[[ $(on client ovn-nbctl get logical_switch_port vm options) = "{requested-chassis=$1}" ]]
}

# The twins.  QEMU itself announces the guest by RARPs when it runs.
at_once() {
	guest_back
	fabric_learns node1
	sleep 1
}

by_rarp() {
	on client ovn-nbctl --wait=hv --timeout=20 set logical_switch_port vm \
		'options:requested-chassis="node2,node1"' options:activation-strategy=rarp
	guest_back
	sleep 2
	fabric_learns node1
}

guest_back() {
	qmp_migrate node2 node1
	wait_for 60 heartbeat node1
}

# What came to the switches' sockets while OVS was too slow to read, and the kernel dropped.
# A packet that dies anywhere else is in no such counter.
switch_drops() {
	local node sum=0 line
	for node in client node1 node2; do
		while read -r line; do
			[[ ! $line =~ \"ovs-vswitchd\".*,d([0-9]+)\) ]] || sum=$((sum + BASH_REMATCH[1]))
		done <<<"$(on "$node" ss -0 -p -m -n -H -O)"
	done
	echo $sum
}

# leg NAME TWIN SETTING...: to node2 and back.
leg() {
	local name=$1 twin=$2 more dropped
	shift 2
	printf -v more ', "%s"' "nb=tcp:$DB:6641" "sb=tcp:$DB:6642" "$@"
	settings=(cutover=script "more=path = \"$LOGS/ovn-script\"; on_stop_ms = 5000;
		settings = [ ${more#, } ];")
	dropped=$(switch_drops)
	# shellcheck disable=SC2016	# the agent's own, of whose namespaces node2 is
	SCRIPTED=1 amid_traffic by_command node1 node2 nsenter -t "$(on node2 eval 'echo $$')" -n -m --
	dropped=$(($(switch_drops) - dropped))
	# More lost than dropped there: some died elsewhere, and that is no fault of the lab.
	((R[lost] == 0 || R[corrupt] > 0 || R[lost] > dropped)) ||
		fail "the lab itself dropped $dropped packets at OVS's sockets ($name)"
	[[ ${R[lost]} = 0 && ${R[corrupt]} = 0 ]] || fail "$name: ${R[lost]} of ${R[sent]} packets lost"
	fact note "$name lost 0 of ${R[sent]}, twice ${R[duplicated]}, OVS dropped $dropped"
	guest_quit node1
	guest node1 -incoming defer
	wait_for 60 qmp node1 '{"execute":"query-status"}'
	twin "$twin" -- -r 500
	runs_on node1
	text+="${text:+; }${R[note]}"
}

scenario() {
	local text=''
	install -m 755 "$PREFIX/share/doc/katamaran/examples/ovn-script" "$LOGS/ovn-script"
	two_guests
	leg "at once" at_once
	guest_quit node2
	guest node2 -incoming defer
	wait_for 60 qmp node2 '{"execute":"query-status"}'
	leg "by RARP" by_rarp strategy=rarp
	fact note "$text"
}
