# shellcheck shell=bash disable=SC2034,SC2154
# SPDX-License-Identifier: BSD-2-Clause
# the guest's /32 is announced by BGP, as in Calico, at once and late: loses nothing
#
# A full mesh of bird on both nodes and on the client, which is the router.  The node that has
# the guest announces it; the other one learns it from there, like everybody.

needs=$NFTABLES wants=katamaran places=host
LATE=3		# seconds until BGP tells where the guest is, as with Calico

# Unpacked and not installed: the package would start a router on this machine.
fetch() {
	need libreadline8 libgcrypt20 libgssapi-krb5-2
	[[ -x $LAB/bird/usr/sbin/bird ]] || unpack "$LAB/bird" bird2 libssh-gcrypt-4
}

declare -gA ROUTER=([client]=192.168.50.1)

bird_up() {
	local node=$1 other
	{
		cat <<-END
			router id ${ROUTER[$node]};
			protocol device { }
			protocol kernel { ipv4 { import none; export where source = RTS_BGP; }; }
			template bgp mesh {
				local as 64512;
				direct;
				ipv4 { gateway direct; next hop self; import all;
				       export where source = RTS_STATIC; };
				connect delay time 1;
				error wait time 1, 2;
			}
		END
		[[ $node = client ]] ||
			echo "protocol static guest { disabled; ipv4; route $GUEST_IP/32 via \"tap0\"; }"
		for other in "${!ROUTER[@]}"; do
			[[ $other = "$node" ]] ||
				echo "protocol bgp to_$other from mesh { neighbor ${ROUTER[$other]} as 64512; }"
		done
	} >"$LOGS/bird-$node.conf"
	on "$node" eval "export PATH=\$PATH:$LAB/bird/usr/sbin
		export LD_LIBRARY_PATH=$(echo "$LAB"/bird/usr/lib/*-linux-gnu)"
	spawn "$node" bird bird -f -c "$LOGS/bird-$node.conf" -s /run/lab/bird.ctl -P /run/lab/bird.pid
}

# Instead of the lab's own: by BGP, and to its end.
fabric_learns() {
	local node other=node1
	[[ $1 = node2 ]] || other=node2
	if [[ ! ${ROUTER[node1]-} ]]; then
		ROUTER+=([node1]=${NODE_IP[node1]} [node2]=${NODE_IP[node2]})
		for node in "${!ROUTER[@]}"; do
			bird_up "$node"
		done
		wait_for 30 sessions client
		wait_for 30 sessions node1
	fi
	on "$1" birdc -s /run/lab/bird.ctl enable guest >/dev/null
	on "$other" birdc -s /run/lab/bird.ctl disable guest >/dev/null
	for node in client "$other"; do
		wait_for 10 routes_by "$node" "${NODE_IP[$1]}" ||
			fail "BGP does not tell $node that the guest is on $1"
	done
}

sessions() {
	[[ $(on "$1" birdc -s /run/lab/bird.ctl show protocols | grep -c Established) = 2 ]]
}

routes_by() {
	[[ $(on "$1" ip route show proto bird) = *"$GUEST_IP via $2 dev eth0"* ]]
}

scenario() {
	local delayed
	# Both nodes follow BGP as everybody does.
	LEARNED="^[<>] .*$GUEST_IP via .* proto bird"
	two_guests
	conf node2 cutover=nftables hold_s=1
	SLOW=$LATE one_migration
	nothing_lost
	delayed="route $LATE s late: lost ${R[lost]} of ${R[sent]}; at once:"
	guest_quit node1
	SLOW=$LATE twin back_by_qemu
	guest_quit node2
	guest node2 -incoming defer
	wait_for 60 qmp node2 '{"execute":"query-status"}'
	SLOW=0 one_migration
	nothing_lost
	fact note "$delayed ${R[lost]} of ${R[sent]}; ${R[note]}"
}
