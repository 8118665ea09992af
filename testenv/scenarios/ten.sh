# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: BSD-2-Clause
# ten migrations to and fro, through ipip and GRE, QEMU listens or is told to: nothing lost in any

needs="ipip ip_gre sch_plug" wants=katamaran
limit=900

# By pairs, so that each of them goes both ways.
CUTOVERS=(ipip gre ipip gre ipip)

scenario() {
	local from=node1 to=node2 leg cutover incoming total=0 gaps=''
	guest node1
	guest_up node1
	for leg in 0 1 2 3 4 5 6 7 8 9; do
		cutover=${CUTOVERS[leg / 2]}
		# Every third QEMU listens already; each cutover meets both kinds.
		incoming=defer
		((leg % 3 != 2)) || incoming=tcp:${NODE_IP[$to]}:4444
		awaits_guest "$to" "$incoming"
		conf "$to" cutover="$cutover"
		fact note "$leg legs of 10 without loss, the next from $from, $cutover, $incoming"
		one_leg "$from" "$to"
		total=$((total + R["sent"])) gaps+=" ${R[gap_ms]%.*}"
		guest_quit "$from"
		read -r from to <<<"$to $from"
	done
	fact note "ten migrations, $total packets; the gaps:$gaps ms"
}
