# shellcheck shell=bash disable=SC2034,SC2154
# SPDX-License-Identifier: BSD-2-Clause
# a destination that differs as two sandboxes of Kata Containers do, made to match
#
# What differs: UUID, MAC, names of devices, chardevs and memories, sockets, and how many CPUs the
# node has.  The guest's root is an image that QEMU maps read-only: as it is, QEMU dies of a guest
# that arrives in it.
# First without katamaran-qemu: QEMU does not wait for a guest; and where it is told to, QEMU itself
# refuses a guest with another UUID (validate-uuid).

needs="$NFTABLES sch_ingress cls_u32 act_mirred" wants=katamaran
places=host
form=kata machine=q35 cards=("tap0_kata $GUEST_MAC $GUEST_IP")
GIVEN[node1]="-sandbox $(sandbox_of node1)" GIVEN[node2]="-sandbox $(sandbox_of node2)"
UUID=9c8f0d5e-1c2d-4e3f-8a9b-0c1d2e3f4a5b

# sandbox NODE UUID HASH CPUS MAC [ARGUMENT...]: a guest with the arguments of a sandbox.
# shellcheck disable=SC2054	# the commas are QEMU's
sandbox() {
	local node=$1 uuid=$2 hash=$3 cpus=$4 folder cards=("tap0_kata $5 $GUEST_IP")
	folder=/run/vc/vm/$(sandbox_of "$node")
	head -c 4M /dev/zero | tr '\0' k >"$LOGS/root-$node.image"
	guest "$node" -uuid "$uuid" -smp "1,cores=1,threads=1,sockets=$cpus,maxcpus=$cpus" \
		-device virtio-serial-pci,disable-modern=false,id=serial0 \
		-device virtconsole,chardev=charconsole0,id=console0 \
		-chardev "socket,id=charconsole0,path=$folder/console.sock,server=on,wait=off" \
		-chardev "socket,id=char-$hash,path=$folder/kata.sock,server=on,wait=off" \
		-device "virtserialport,chardev=char-$hash,id=channel-$hash,name=agent.channel.0" \
		-machine nvdimm=on -m slots=2,maxmem=512M \
		-device "nvdimm,id=nv-$hash,memdev=mem-$hash,unarmed=on" \
		-object "memory-backend-file,id=mem-$hash,mem-path=$LOGS/root-$node.image,size=4M,readonly=on" \
		-object rng-random,id=rng0,filename=/dev/urandom -device virtio-rng-pci,rng=rng0 \
		-pidfile "$folder/pid" "${@:6}"
	wait_for 60 qmp "$node" '{"execute":"query-status"}'
	qmp "$node" '{"execute":"migrate-set-capabilities","arguments":{"capabilities":[{"capability":"validate-uuid","state":true}]}}' >/dev/null
}

destination_sandbox() {
	sandbox node2 11111111-2222-4333-8444-555555555555 0000aaaa 16 02:00:00:00:00:02 "$@"
}

scenario() {
	sandbox node1 $UUID 9a2d7f0e 8 "$GUEST_MAC"
	guest_up node1
	conf node2 cutover=nftables nics=

	destination_sandbox
	spawn node2 kata-dest "$PREFIX/sbin/katamaran" -c "${CONF[x]}" -mode dest \
		-sandbox "$(sandbox_of node2)" -vm-ip "$GUEST_IP"
	ended_with node2 dest 1 30
	on node2 logged kata-dest 'this QEMU does not wait for a guest' || fail "a QEMU with a guest is taken"
	guest_quit node2

	destination_sandbox -incoming defer
	destination node2
	source_end node1 node2
	ended_with node1 source 1 60
	ended_with node2 dest 1 60
	on node2 logged "${QEMU[node2]}" 'UUID received is' || fail "QEMU took a guest with another UUID"
	wait_for 30 on node2 ended "${QEMU[node2]}"

	on node2 mkdir -p /run/katamaran/qemu
	on node2 write /run/katamaran/qemu/next.json "$(on node1 "$PREFIX/sbin/katamaran-qemu" \
		--describe "/run/vc/vm/$(sandbox_of node1)/pid")"
	program=(env "KATAMARAN_QEMU=$(type -P qemu-system-x86_64)" "$PREFIX/sbin/katamaran-qemu")
	destination_sandbox
	one_migration
	nothing_lost
	[[ $(field UUID "$(qmp node2 '{"execute":"query-uuid"}')") = "$UUID" ]] ||
		fail "the guest has another UUID"
	[[ $(qmp node2 '{"execute":"query-chardev"}') = *'"label": "char-9a2d7f0e"'* ]] ||
		fail "the chardev has another name"
	[[ $(qmp node2 '{"execute":"query-memory-devices"}') = *'"id": "nv-9a2d7f0e"'* ]] ||
		fail "the memory has another name"
	cmp "$LOGS"/root-node[12].image || fail "what has arrived is in the node's image"
}
