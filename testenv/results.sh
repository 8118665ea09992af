#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Measures what each way to move a guest does to each kind of traffic, and writes the table
# RESULTS.md from that.
set -euo pipefail
HERE=$(dirname "$(realpath "$0")")
LAB=${KATAMARAN_LAB:-/var/tmp/katamaran-lab}
. "$HERE/lib.sh"
. "$HERE/loads.sh"

usage() {
	cat <<-END
		usage: results.sh [--runs N] [--raw DIR] [--table] [COLUMN...]
		  --runs N   so many runs of each cell (10); what DIR has already is not run again
		  --raw DIR  where the measurements are kept (KATAMARAN_LAB/results)
		  --table    only write the table
		COLUMNs are $COLUMNS_ALL.
	END
}

runs=10 raw=$LAB/results table=''
while (($#)); do
	case $1 in
	--runs) runs=${2:?--runs wants a number}; shift ;;
	--raw) raw=${2:?--raw wants a directory}; shift ;;
	--table) table=only ;;
	-h | --help) usage; exit ;;
	-*) usage >&2; exit 2 ;;
	*) break ;;
	esac
	shift
done
[[ $runs =~ ^[1-9][0-9]*$ ]] || die "--runs: a number, not '$runs'"
export SLOW=${SLOW-1}
read -r -a columns <<<"${*:-$COLUMNS_ALL}"
mkdir -p "$raw"

# missing COLUMN RUNS: the loads that have been run there less than RUNS times.
missing() {
	local load
	for load in $LOADS; do
		(($(times "$1" "$load") >= $2)) || echo "$load"
	done
}

# A load of two rows has two lines a run.
times() {
	awk -v load="$2" '$1 == load { n[$2]++ } END { for (row in n) most = n[row]; print most + 0 }' \
		"$raw/$1" 2>/dev/null || echo 0
}

# Round by round, so that what was interrupted has as many runs of each column; then again what
# has failed.
measure() {
	local run column legs logs faults=0
	for ((run = 1; run <= runs + (faults > 0 ? 5 : 0); run++)); do
		for column in "${columns[@]}"; do
			mapfile -t legs < <(missing "$column" $((run < runs ? run : runs)))
			((${#legs[@]})) || continue
			note "$column, run $run of $runs: ${legs[*]}"
			logs=$raw/logs/$column-$run
			rm -rf "$logs"
			COLUMN=$column LEGS=${legs[*]} "$HERE/lab.sh" --logs "$logs" load >&2 ||
				faults=$((faults + 1))
			((faults < 15)) || die "too many runs have failed, see $raw/logs"
			cat "$logs"/load*/legs >>"$raw/$column" 2>/dev/null || true
			sed -n "s/^FAIL /$column: /p" "$logs"/load*/result >>"$raw/failed"
		done
	done
}

# ---- the table ---------------------------------------------------------------------------

heads() {
	case $1 in
	plain) echo 'plain QEMU migration' ;;
	onstop) echo 'redirect upon STOP, plug of 32768 bytes' ;;
	*-salvage) echo "katamaran ${1%-*}, salvage" ;;
	*) echo "katamaran $1, redirect-first" ;;
	esac
}

rows() {
	case $1 in
	ping) echo 'ping, 100/s' ;;
	udp64) echo 'UDP 1,000/s, 64 bytes with DF, one flow, beside that ping' ;;
	udp1472) echo 'UDP 1,000/s, 1472 bytes with DF, 4 flows' ;;
	dual) echo 'dual stack: UDP 1,000/s, 4 flows, half of them IPv6' ;;
	ipv6) echo 'the half of that which is IPv6' ;;
	fast) echo 'UDP, 64 bytes, half of the highest rate that comes back whole without migration' ;;
	tcp) echo 'TCP, bulk both ways' ;;
	esac
}

# cell COLUMN ROW: all runs of it together.
cell() {
	awk -v row="$2" '
	function most(name) { if (v[name] > max[name]) max[name] = v[name] }
	$2 != row && !(row == "dual" && ($2 == "ipv4" || $2 == "ipv6")) { next }
	{
		delete v
		for (i = 3; i <= NF; i++) {
			split($i, pair, "=")
			v[pair[1]] = pair[2]
			if (pair[1] !~ /_ms$/)
				sum[pair[1]] += pair[2]
		}
		v["extra"] = v["delay_during_max_ms"] - v["delay_before_p50_ms"]
		most("gap_ms"); most("extra"); most("tcp_stall_ms")
		if (!least || v["rate"] < least)
			least = v["rate"]
		most("rate")
		n += row != "dual" || $2 == "ipv4"
	}
	END {
		if (!n)
			print "–"
		else if (row == "tcp")
			printf "%d corrupt, %d time-outs; sent again %d before, %d during, %d after; " \
				"%.0f MB; stood still for %.2f s; runs: %d\n",
				sum["tcp_corrupt"] + sum["tcp_broken"],
				sum["tcp_timeouts"] + sum["tcp_timeouts_far"],
				sum["tcp_retransmitted_before"], sum["tcp_retransmitted_during"],
				sum["tcp_retransmitted_after"],
				(sum["tcp_bytes_there"] + sum["tcp_bytes_back"]) / 1e6,
				max["tcp_stall_ms"] / 1e3, n
		else {
			printf "%d / %d / %d", sum["lost"], sum["duplicated"], sum["reordered"]
			if (sum["reordered_after"])
				printf " (%d after the arrival)", sum["reordered_after"]
			if (sum["lost"] && row != "ping")
				printf " (%d there, %d back)", sum["lost_there"], sum["lost_back"]
			printf " of %d; gap %.2f s; +%.2f s; ", sum["sent"], max["gap_ms"] / 1e3,
				max["extra"] / 1e3
			if (row == "fast")
				printf "%d to %d/s; ", least, max["rate"]
			printf "runs: %d\n", n
		}
	}' "$raw/$1" 2>/dev/null || echo –
}

table() {
	local column row shown=()
	for column in $COLUMNS_ALL; do
		[[ -s $raw/$column ]] && shown+=("$column")
	done
	cat <<-END
		# Results

		Written by \`testenv/results.sh\` on $(date -u +%Y-%m-%d), never by hand.

		Each cell: packets lost / duplicated / reordered within a flow, of all that were sent in
		all runs; the longest gap between two answers of a flow; by how much the slowest answer
		during the migration was later than the median before it; the number of runs.  Which
		direction lost a packet is told by the far end in the guest, which counts for itself.
		"After the arrival" packets are reordered when the fabric learns the new place: what goes
		straight there overtakes what still makes the detour.

		Of TCP: chunks whose checksum or number was wrong, retransmission time-outs (both ends),
		segments that the client sent again before, during and after the migration, bytes, and the
		longest time without progress.  Nothing limits its rate but the queue in front of the
		guest.  Its shortest time-out is 200 ms, and in User-Mode Linux a blackout is longer.

		What "redirect-first" promises is 0 / 0 / 0; "salvage" may lose two packets a migration of
		a guest whose tap has one queue and no vhost, as this one's.  Where QEMU was faster than
		the brake, "redirect-first" salvages, too, and says "unknown: at most 2 packet(s) lost".

		The fabric learns the new place $SLOW s after the guest has arrived.  The taps hold 10,000
		packets: an emulated guest may stand still for longer than a thousand, migration or not.
		Nodes, fabric and client are on one machine, and the delays are those of an emulated guest
		on it, which had other things to do: the counts are what to read.

		- $(machine)
		- guests: $(qemu-system-x86_64 --version | head -n 1), accelerator $(cut -d, -f1 "$LAB/guest/accel"), Linux $(kernel_of_guest)
		$(places_of "${shown[@]}")

	END
	printf '| |'
	for column in "${shown[@]}"; do
		printf ' %s |' "$(heads "$column")"
	done
	printf '\n|-|'
	printf -- '-|%.0s' "${shown[@]}"
	printf '\n'
	for row in ping udp64 udp1472 fast dual ipv6 tcp; do
		printf '| %s |' "$(rows $row)"
		for column in "${shown[@]}"; do
			printf ' %s |' "$(cell "$column" $row)"
		done
		printf '\n'
	done
	unmeasured
	[[ ! -s $raw/failed ]] || printf '\nRuns that failed, and why:\n\n%s\n' \
		"$(sort "$raw/failed" | uniq -c | sed -E 's/^ +([0-9]+) /- \1 x /')"
}

unmeasured() {
	local column all=''
	for column in $COLUMNS_ALL; do
		[[ -s $raw/$column ]] || all+="${all:+; }$(heads "$column")"
	done
	[[ ! $all ]] || printf '\nNot measured yet: %s.\n' "$all"
}

machine() {
	printf '%s, %d CPUs, Linux %s' "$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)" \
		"$(nproc)" "$(uname -r)"
}

# Which columns were measured in which place.
places_of() {
	local column place
	declare -A columns_in=()
	for column; do
		while read -r place; do
			columns_in[$place]+="${columns_in[$place]:+, }$column"
		done < <(sed 's/.* place=\([^ ]*\).*/\1/' "$raw/$column" | sort -u)
	done
	for place in "${!columns_in[@]}"; do
		case $place in
		host) echo "- in namespaces of that kernel: ${columns_in[$place]}." ;;
		uml2) echo "- in two User-Mode Linuxes ($(uml_version)) as two nodes: ${columns_in[$place]}." ;;
		uml) echo "- in one User-Mode Linux ($(uml_version)): ${columns_in[$place]}." ;;
		esac
	done
}

uml_version() {
	linux.uml --version 2>/dev/null | head -n 1
}

[[ $table ]] || measure
table >"$raw/RESULTS.md"
[[ -w $HERE/.. ]] && cp "$raw/RESULTS.md" "$HERE/RESULTS.md"
note "the table is in $HERE/RESULTS.md"
