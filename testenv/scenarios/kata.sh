# shellcheck shell=bash disable=SC2034,SC2154
# SPDX-License-Identifier: BSD-2-Clause
# nftables to a node as Kata Containers has it, clients elsewhere and on the node itself
#
# A q35 with a PCI card, tap0_kata in the pod's namespace, which tc joins to a veth, the node's
# route to the pod, and /run/vc/vm.  The node learns as late as the client where the pod went.

needs="$NFTABLES sch_ingress cls_u32 act_mirred" wants=katamaran
places=host
form=kata machine=q35 cards=("tap0_kata $GUEST_MAC $GUEST_IP")

# The node's own packets have its own address.
fabric_learns() {
	ip_batch client <<<"route replace $GUEST_IP via ${NODE_IP[$1]}"
	case $1 in
	node1) ip_batch node1 <<<"route replace $GUEST_IP dev cali0 src ${NODE_IP[node1]}" ;;
	node2) ip_batch node1 <<<"route replace $GUEST_IP via ${NODE_IP[node2]}" ;;
	esac
}

scenario() {
	LEARNED="^> .*$GUEST_IP via ${NODE_IP[node2]} dev eth0"
	two_guests
	conf node2 cutover=nftables
	local_client
	one_migration
	nothing_lost
	local_client_ends
	[[ $LOCAL = "lost 0 of "* ]] || fail "from the node itself: $LOCAL"
	fact note "from the node itself $LOCAL"
	guest_quit node1
	twin back_by_qemu
}

local_client() {
	spawn node1 local "$PROBE" "$GUEST_IP"
}

local_client_ends() {
	on node1 sign INT local
	wait_for 60 on node1 ended local
	LOCAL=$(on node1 sed -n 's/^sent=//p; s/^lost=/lost /p' /run/lab/local.out)
	LOCAL="${LOCAL#*$'\n'} of ${LOCAL%%$'\n'*}"
}
