# shellcheck shell=bash disable=SC2034,SC2154
# SPDX-License-Identifier: BSD-2-Clause
# Kata's shape, over nftables: katamaran finds everything by the sandbox's id, or by the pod's address

needs="$NFTABLES sch_ingress cls_u32 act_mirred" wants=katamaran
places=host
form=kata
GIVEN[node1]="-sandbox 7f3a" GIVEN[node2]="-pod-ip $GUEST_IP"

# told NODE END TEXT: what katamaran there has found.
told() {
	on "$1" logged "kata-$2" "$3" || fail "$1 did not find: $3"
}

scenario() {
	local node found
	for node in node1 node2; do
		found="/run/vc/vm/$(sandbox_of $node)"
		on $node mkdir -p "$found" /run/vc/vm/7e00
		# Older than QEMU, and with the sandbox in its arguments, too.
		spawn $node virtiofsd perl -e 'sleep 600' -- "--socket-path=$found/vhost-fs.sock"
	done
	two_guests
	conf node2 nics= cutover=nftables
	one_migration
	nothing_lost
	told node1 source "its tap tap0 in /run/netns/pod (addresses: $GUEST_IP)"
	told node1 source "Sandbox $(sandbox_of node1): QEMU is process $(on node1 eval "echo \${PID[${QEMU[node1]}]}"),"
	told node2 dest "its monitor /run/vc/vm/$(sandbox_of node2)/extra-monitor.sock"
	status_is node1 postmigrate
}
