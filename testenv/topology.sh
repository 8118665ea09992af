# shellcheck shell=bash disable=SC2034,SC2154
# SPDX-License-Identifier: BSD-2-Clause
# The network between client, nodes and guests.  A scenario says before scenario() what it
# wants of it:
#
#   cards     the guest's cards, each one a line "TAP MAC ADDRESS..."; cards2: a second guest's
#   underlay  4 or 6: how the nodes reach each other
#   form      route   a host route to the tap, as Calico has it
#             bridge  the guest's prefix on a bridge
#             lan     the tap and eth0 on one bridge: the guest is the client's neighbour
#             pod     the tap in a namespace "pod", which routes between it and a veth
#             kata    the same, but there tc joins the tap to the veth's end
#   cni       with kata: route, a host route to the veth, or bridge, where the veth is a port
#   queues    of each tap with a host route, and processors of the guest, which uses as many
#   machine   microvm or q35, as which the guest's card is virtio-net-device or -pci

GUEST_IP=10.244.1.5 GUEST_IP6=fd00:244:1::5 GUEST_MAC=52:54:00:12:34:56
GATEWAY_MAC=ee:ee:ee:ee:ee:ee
declare -A NODE_IP=([node1]=192.168.50.11 [node2]=192.168.50.12)
declare -A NODE_IP4=([node1]=192.168.50.11 [node2]=192.168.50.12)
declare -A NODE_IP6=([node1]=fd00:50::11 [node2]=fd00:50::12)
RING=10000		# packets: a tap has room while a starved guest takes its time
TARGETS=()		# the addresses that the client talks to

# Both nodes have the guests' gateway, with the same MAC, so that their ARP stays right.
network() {
	local node card
	for card in "${cards[@]}" "${cards2[@]}"; do
		read -r _ _ card <<<"$card"
		# shellcheck disable=SC2206	# words
		TARGETS+=($card)
	done
	[[ $underlay = 4 ]] || NODE_IP=([node1]=${NODE_IP6[node1]} [node2]=${NODE_IP6[node2]})
	[[ "${TARGETS[*]} ${NODE_IP[*]}" != *:* ]] || six
	for node in node1 node2; do
		node_network "$node"
		for card in "${cards[@]}" "${cards2[@]}"; do
			# shellcheck disable=SC2086	# words
			card_network "$node" $card
		done
		on "$node" quiet_redirects
	done
	[[ $form = lan ]] || fabric_learns node1
}

six() {
	ip_batch client <<<"addr add fd00:50::1/64 dev eth0 nodad"
	ip_batch node1 <<<"addr add fd00:50::11/64 dev eth0 nodad"
	ip_batch node2 <<<"addr add fd00:50::12/64 dev eth0 nodad"
}

# node_network NODE: what the cards there share.
node_network() {
	[[ $(shape) != bridge ]] || ip_batch "$1" <<-END
		link add cni0 address $GATEWAY_MAC type bridge
		addr add 10.244.1.1/24 dev cni0
		addr add fd00:244:1::1/64 dev cni0 nodad
		link set cni0 up
	END
	case $form in
	lan)
		ip_batch "$1" <<-END
			link add cni0 address 02:00:00:00:00:${NODE_IP4[$1]##*.} type bridge
			addr flush dev eth0
			link set eth0 master cni0
			addr add ${NODE_IP4[$1]}/24 dev cni0
			addr add ${NODE_IP6[$1]}/64 dev cni0 nodad
			link set cni0 up
		END
		;;
	pod | kata)
		on "$1" pod_up
		{
			echo "link add cali0 type veth peer name eth0 netns pod"
			if [[ $(shape) = bridge ]]; then
				echo "link set cali0 master cni0"
			else
				echo "link set cali0 address $GATEWAY_MAC"
			fi
			echo "link set cali0 up"
		} | ip_batch "$1"
		;;
	esac
}

# card_network NODE TAP MAC ADDRESS...: a tap for the guest, and the way to it.
card_network() {
	local node=$1 tap=$2 mac=$3 ip
	shift 3
	case $form in
	bridge | lan)
		ip_batch "$node" <<-END
			tuntap add $tap mode tap
			link set $tap master cni0 $(room) up
		END
		;;
	route)
		{
			echo "tuntap add $tap mode tap$( ((queues == 1)) || echo " multi_queue")"
			echo "link set $tap address $GATEWAY_MAC $(room) up"
			for ip; do
				echo "addr add $(gateway "$ip")/$(bits "$ip") dev $tap$(nodad "$ip")"
				echo "route add $ip dev $tap"
			done
		} | ip_batch "$node"
		;;
	pod)
		pod_batch "$node" <<-END
			tuntap add $tap mode tap
			link set $tap address $GATEWAY_MAC $(room) up
			addr add 169.254.1.1/32 dev $tap
			route add $1 dev $tap
			addr add 169.254.1.3/32 dev eth0
			link set eth0 up
			route add 169.254.1.2 dev eth0
			route add default via 169.254.1.2 dev eth0
		END
		ip_batch "$node" <<-END
			addr add 169.254.1.2/32 dev cali0
			route add 169.254.1.3 dev cali0
			route add $1 via 169.254.1.3 dev cali0
		END
		;;
	kata)
		pod_batch "$node" <<-END
			tuntap add $tap mode tap
			link set $tap $(room) up
			link set eth0 address $mac up
			addr add $1/32 dev eth0
		END
		on "$node" pod_joins eth0 "$tap"
		on "$node" pod_joins "$tap" eth0
		[[ $(shape) != bridge ]] || return 0
		ip_batch "$node" <<-END
			addr add 169.254.1.1/32 dev cali0
			route add $1 dev cali0
		END
		;;
	esac
}

# way_to_guest NODE: once more; a node that the guest has left is without it.
way_to_guest() {
	local tap ip
	while read -r tap _ ip; do
		for ip in $ip; do
			case $form in
			route) echo "route replace $ip dev $tap" ;;
			pod) echo "route replace $ip via 169.254.1.3 dev cali0" ;;
			kata) [[ $(shape) = bridge ]] || echo "route replace $ip dev cali0" ;;
			esac
		done
	done <<<"$(cards_of "$1")" | ip_batch "$1"
}

pod_batch() {
	on "$1" pod_batch "$(cat)"
}

# What the guest and the node's routes see of it.
shape() { [[ $form.$cni = kata.bridge ]] && echo bridge || echo "$form"; }

gateway() {
	case $(shape).$1 in
	bridge.*:*) echo fd00:244:1::1 ;;
	bridge.*) echo 10.244.1.1 ;;
	lan.*:*) echo fd00:50::1 ;;
	lan.*) echo 192.168.50.1 ;;
	*:*) echo fd00:169::1 ;;
	*) echo 169.254.1.1 ;;
	esac
}

# The guest's prefix.
prefix() {
	case $(shape).$1 in
	bridge.*:* | lan.*:*) echo 64 ;;
	bridge.* | lan.*) echo 24 ;;
	*) bits "$1" ;;
	esac
}

# Each of 256 queues has a ring of that length, in use or not: too much for User-Mode Linux.
room() { [[ $queues -gt 1 && $PLACE != host ]] || echo "txqueuelen $RING"; }
bits() { [[ $1 = *:* ]] && echo 128 || echo 32; }
nodad() { [[ $1 != *:* ]] || echo " nodad"; }

# The fabric sends the guests' packets to NODE from now on.
fabric_learns() {
	local ip
	for ip in "${TARGETS[@]}"; do
		if [[ $ip = *:* ]]; then
			echo "route replace $ip via ${NODE_IP6[$1]}"
		else
			echo "route replace $ip via ${NODE_IP4[$1]}"
		fi
	done | ip_batch client
}

# cards_of GUEST: its cards, one a line.
cards_of() {
	if [[ $1 = */2 ]]; then
		printf '%s\n' "${cards2[@]}"
	else
		printf '%s\n' "${cards[@]}"
	fi
}
