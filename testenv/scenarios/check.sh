# shellcheck shell=bash disable=SC2034,SC2154
# SPDX-License-Identifier: BSD-2-Clause
# -check finds what was planted on either node, changes nothing, and lets a sound migration begin

needs="ipip sch_plug" wants=katamaran places='host uml' limit=420
storage='plugin = "nbd"; address = "192.168.50.12";'
stop_ms=500
# shellcheck source=testenv/disks.sh
. "$HERE/disks.sh"

# other_end WORD...: how the source runs katamaran on node2.
other_end() {
	local word command=''
	for word in nsenter -t "$PID2" -n -m -- "$PREFIX/sbin/katamaran" -mode dest "$@"; do
		command+="${command:+, }\"$word\""
	done
	conf node2 peer="$command"
}

# look [FLAG...]: katamaran -check on the source; what it prints is in SAID.
look() {
	spawn node1 kata-check "$PREFIX/sbin/katamaran" -check -c "${CONF[x]}" -mode source \
		-qmp "$(socket_of node1)" -dest-ip "${NODE_IP[node2]}" "$@"
	wait_for 60 on node1 ended kata-check || fail "-check does not end"
	CODE=$(on node1 ended kata-check)
	SAID=$(on node1 cat /run/lab/kata-check.out)
	[[ $CODE != [013] || $SAID ]] || fail "-check says nothing: $(on node1 cat /run/lab/kata-check.err)"
}

# shows FAULT LEVEL TEXT: the last look has a line of that level with the text.
shows() {
	grep -q "^$2 .*$3" <<<"$SAID" || fail "not found: $1; but $(grep -v '^ok' <<<"$SAID" | tr '\n' ';')"
	FOUND=$((FOUND + 1)) NAMES+="$1, "
	[[ $2 != failure || $CODE != 0 ]] || fail "$1: exit code $CODE"
}

# clean: a look finds nothing.
clean() {
	look
	[[ $CODE = 0 && $SAID = *"0 failures, 0 warnings"* ]] ||
		fail "$1: exit code $CODE: $(grep -v '^ok' <<<"$SAID" | tr '\n' ';')"
}

# listener NODE ADDRESS PORT: somebody else has it.
listener() {
	# shellcheck disable=SC2016
	spawn "$1" listener perl -e 'use Socket; socket(my $s, PF_INET, SOCK_STREAM, 0) or die;
		setsockopt($s, SOL_SOCKET, SO_REUSEADDR, 1);
		bind($s, sockaddr_in($ARGV[1], inet_aton($ARGV[0]))) && listen($s, 1) or die "$!";
		print "listens\n"; close STDOUT; sleep 300' "$2" "$3"
	wait_for 20 on "$1" logged listener listens
}

listener_ends() {
	on "$1" sign KILL listener
	wait_for 20 on "$1" ended listener
}

# What is wrong with the network of the source.
source_network() {
	ip_batch node1 <<<"route del $GUEST_IP dev tap0"
	look
	ip_batch node1 <<<"route add $GUEST_IP dev tap0"
	shows "no route to the guest" failure 'has no route to it'
	ip_batch node1 <<-END
		rule add to $GUEST_IP lookup 27489 priority 10
		link set eth0 mtu 1400
		neigh replace $GUEST_IP lladdr 52:54:00:99:99:99 dev tap0 nud permanent
	END
	on node1 write /proc/sys/net/ipv4/conf/eth0/forwarding 0
	look
	ip_batch node1 <<-END
		rule del to $GUEST_IP lookup 27489 priority 10
		link set eth0 mtu 1500
		neigh del $GUEST_IP dev tap0
	END
	on node1 write /proc/sys/net/ipv4/conf/eth0/forwarding 1
	shows "stale rule" failure 'is being redirected already'
	shows "mtu too small" warning 'carries packets of 1400 bytes'
	shows "another's MAC in the neighbour table" warning 'has its MAC as 52:54:00:99:99:99'
	shows "a device that does not forward" failure 'conf.eth0.forwarding is 0'
}

# What is wrong with that of the destination.
destination_network() {
	on node2 write /proc/sys/net/ipv4/ip_forward 0
	look
	on node2 write /proc/sys/net/ipv4/ip_forward 1
	shows "ip_forward off" failure 'net.ipv4.ip_forward is 0'
	on node2 eval "tc qdisc add dev tap0 root handle 6b61: plug limit 65536"
	look
	on node2 eval "tc qdisc del dev tap0 root"
	shows "stale plug" failure 'has a plug already'
	ip_batch node2 <<<"link set tap0 down"
	look
	ip_batch node2 <<-END
		link set tap0 up
		route add $GUEST_IP dev tap0
	END
	shows "tap down" failure 'tap0: is down'
	ip_batch node2 <<<"link add stranger type ipip external"
	listener node2 192.168.50.12 4444
	look
	listener_ends node2
	ip_batch node2 <<<"link del stranger"
	shows "another ipip device in external mode" failure 'stranger is an ipip device'
	shows "RAM port taken" failure '4444 is taken'
	ip_batch node2 <<<"link add kat-ipip type ipip external"
	listener node2 192.168.50.12 10809
	look
	listener_ends node2
	ip_batch node2 <<<"link del kat-ipip"
	shows "device left by an earlier run" warning 'the device kat-ipip is there'
	shows "NBD port taken" failure '192.168.50.12:10809 is taken'
}

# A filter on the way: strict, and the way back leads elsewhere.
reverse_path() {
	on node2 write /proc/sys/net/ipv4/conf/all/rp_filter 1
	ip_batch node2 <<<"route add 192.168.50.11 dev tap0"
	look
	ip_batch node2 <<-END
		route del 192.168.50.11 dev tap0
		route replace $GUEST_IP via 192.168.50.1 dev eth0
	END
	shows "redirect does not get through" failure 'did not arrive here'
	look
	ip_batch node2 <<-END
		route del $GUEST_IP
		route add $GUEST_IP dev tap0
	END
	on node2 write /proc/sys/net/ipv4/conf/all/rp_filter 0
	shows "rp_filter strict" failure 'rp_filter of tap0 is 1'
}

# QEMUs that do not fit: node2/2 has another machine, less RAM, no card and a small disk.
qemus() {
	local main=("${disks[@]}") wanted=${CONF[x]}
	qmp node1 '{"execute":"blockdev-add","arguments":{"driver":"vvfat","node-name":"v0","dir":"/run/lab","rw":true}}' >/dev/null
	qmp node1 '{"execute":"migrate-set-capabilities","arguments":{"capabilities":[{"capability":"xbzrle","state":true}]}}' >/dev/null
	look
	qmp node1 '{"execute":"blockdev-del","arguments":{"node-name":"v0"}}' >/dev/null
	qmp node1 '{"execute":"migrate-set-capabilities","arguments":{"capabilities":[{"capability":"xbzrle","state":false}]}}' >/dev/null
	shows "migration blocked" failure 'QEMU refuses it: .*vvfat'
	shows "capabilities unlike" warning 'switched on at the source only: xbzrle'
	on node2 truncate -s 1M /run/small.img
	disks=(-drive "if=none,id=drive0,format=raw,file=/run/small.img"
		-device "virtio-blk-pci,drive=drive0,romfile=")
	guest node2/2 -M pc -m 98304K -S
	disks=("${main[@]}")
	wait_for 60 qmp node2/2 '{"execute":"query-status"}'
	other_end -c "$wanted" -qmp "$(socket_of node2/2)"
	look
	guest_quit node2/2
	shows "other machine type" failure 'machine types: microvm on the source, pc'
	shows "other RAM size" failure 'memory: 114696 KiB on the source, 98304 KiB'
	shows "missing devices" failure 'devices: .* of the source that'
	shows "QEMU does not wait" failure 'does not wait for one'
	shows "smaller disk" failure 'drive0 has .* the destination.s only 1048576'
	shows "tap is not QEMU's" failure 'has not opened it'
	CONF[x]=$wanted
}

# Configurations that do not fit.
settings() {
	local wanted=${CONF[x]}
	look -mac 52:54:00:00:00:99
	shows "wrong MAC" failure 'correct nics.mac'
	look -vm-ip 192.168.50.1
	shows "wrong address" warning 'its route leads through eth0'
	look -dest-ip 192.168.50.11
	shows "wrong destination" failure '192.168.50.11 is an address of this node'
	other_end -c "$wanted" -qmp "$(socket_of node2)" -tap tap9
	look
	shows "missing tap" failure 'tap tap9: does not exist'
	other_end -c "$wanted" -qmp "$(socket_of node2)" -tunnel-mode none -plugin-dir /nowhere
	look
	shows "missing plugins" failure 'destination .*plugins: '
	# shellcheck disable=SC2016
	spawn node2 busy perl -e 'use Socket; socket(my $s, PF_UNIX, SOCK_STREAM, 0) or die;
		connect($s, sockaddr_un($ARGV[0])) or die; print "connected\n"; close STDOUT;
		sleep 300' "$(socket_of node2)"
	wait_for 20 on node2 logged busy connected
	CONF[x]=$wanted
	look
	on node2 sign KILL busy
	wait_for 20 on node2 ended busy
	shows "QMP busy" failure 'destination .*QEMU: no greeting'
}

scenario() {
	local alone
	FOUND=0 NAMES=''
	local_disks 1 16
	disk_guests
	# shellcheck disable=SC2016	# the agent's own, of whose namespaces node2 is
	PID2=$(on node2 eval 'echo $$')
	conf node2
	alone=${CONF[x]}
	other_end -c "$alone" -qmp "$(socket_of node2)"
	before
	clean "before anything is planted"
	source_network
	destination_network
	reverse_path
	qemus
	settings
	clean "after all was taken away"
	unchanged node1
	unchanged node2
	no_more_blocks node1
	((FOUND >= 15)) || fail "only $FOUND faults were planted"
	one_migration_of_disks
	fact note "found $FOUND of $FOUND: ${NAMES%, }"
}
