# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: BSD-2-Clause
# For scenarios whose guest has disks, and writes them all the time: see disk.c.

DISK=${RUN-}/disk

# The node's own: in its /run, which is a tmpfs and no part of the logs.
image() { echo "/run/disk$1.img"; }

# local_disks NUMBER MIB [MIB_ON_NODE2]: as many disks, on node1 full, on node2 empty.
local_disks() {
	local n
	for ((n = 0; n < $1; n++)); do
		on node1 "$DISK" fill "$(image $n)" $n "$2"
		on node2 truncate -s "${3:-$2}M" "$(image $n)"
		a_disk "$n" "format=raw,file=$(image $n)"
	done
}

# a_disk NUMBER OPTIONS: one more for every QEMU from now on.
a_disk() {
	disks+=(-drive "if=none,id=drive$1,$2" -device "virtio-blk-device,drive=drive$1")
}

# disk_guests: as two_guests, on these disks.
disk_guests() {
	two_guests
	disk_guests_up
}

# When they are: the guest writes, and BLOCKS is what its QEMU has before the migration.
disk_guests_up() {
	goes_on_writing node1
	BLOCKS=$(blocks node1)
}

# acked NODE: the number of the last write that the guest there has told of.
acked() {
	on "$1" sed -n 's/^acked \([0-9]*\).*/\1/p' "${SERIAL[$1]}" | tail -n 1
}

goes_on_writing() {
	local was
	was=$(acked "$1")
	wait_for 20 acked_after "$1" "${was:-0}" || fail "the guest on $1 writes no more"
}

acked_after() {
	local now
	now=$(acked "$1")
	((${now:-0} > $2))
}

# last_write NODE: the guest there still writes, and is ended then: what its QEMU has given to
# the kernel is in the files.
last_write() {
	goes_on_writing "$1"
	guest_quit "$1"
}

# holds NODE IMAGE...: every write that the guest there was told of is on its disks.
holds() {
	local node=$1 n=0 all='' file
	shift
	for file; do
		all=$(on "$node" "$DISK" check "$file" $n "${SERIAL[$node]}") ||
			fail "disk $n on $node: $all"
		fact note "${R[note]-}${R[note]:+; }disk $n: $all"
		n=$((n + 1))
	done
}

# The names of the jobs and block nodes of the QEMU there, one a line.
blocks() {
	local command
	for command in query-jobs query-block-jobs query-named-block-nodes query-block-exports; do
		qmp "$1" '{"execute":"'$command'"}'
	done | grep -oE '"(node-name|id|device|shutting-down)": ("[^"]*"|[a-z]+)' | sort -u
}

# no_more_blocks NODE: than before the migration.
no_more_blocks() {
	local now
	now=$(blocks "$1")
	[[ $now = "$BLOCKS" ]] ||
		fail "QEMU on $1 has, unlike before: $(diff <(echo "$BLOCKS") <(echo "$now") |
			grep '^[<>]' | tr '\n' ' ')"
}

# one_migration_of_disks [WORD...]: from node1 to node2, by one command, which reaches node2 by
# WORD...; by default both are in one kernel.  QEMU has closed the way to the disks before the
# guest wrote to them on node2, and has nothing left of it.
one_migration_of_disks() {
	# shellcheck disable=SC2016	# the agent's own, of whose namespaces node2 is
	(($#)) || set -- nsenter -t "$(on node2 eval 'echo $$')" -n -m --
	local capabilities='{"execute":"query-migrate-capabilities"}' before
	before=$(qmp node2 "$capabilities")
	amid_traffic one_command node1 node2 "$@"
	nothing_lost
	no_more_blocks node1
	[[ $(qmp node2 '{"execute":"query-block-exports"}') = '{"return": []}' ]] ||
		fail "QEMU on node2 still exports the disks"
	[[ $(qmp node2 "$capabilities") = "$before" ]] ||
		fail "QEMU on node2 has kept the capabilities of the migration"
	! qmp node2 '{"execute":"nbd-server-stop"}' 2>/dev/null ||
		fail "QEMU on node2 still had its NBD server"
	! on node2 logged "${QEMU[node2]}" "Permission conflict" ||
		fail "the guest wrote on node2 while the disks were open to the network"
}
