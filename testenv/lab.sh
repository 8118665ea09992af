#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Real migrations of a real guest between two nodes, on any machine: QEMU emulates, and the
# kernels that it needs are namespaces here or User-Mode Linux.  Nothing outlives a run.
set -euo pipefail
. "$(dirname "$(realpath "$0")")/lib.sh"

usage() {
	cat <<-'END'
		usage: lab.sh [OPTION...] SCENARIO... | --all | --core | --list
		  --core                  all but those of which others see as much, for a test that
		                          somebody waits for
		  --place host|uml|uml2   where: namespaces on this kernel, the same inside one
		                          User-Mode Linux, or two of these as two nodes; otherwise
		                          the first that has what the scenario needs
		  --jobs N                so many scenarios side by side (1), but those under load and
		                          those whose nodes are two kernels
		  --logs DIR              where the logs go
		  --capture               with a capture from each node (NODE/capture.pcap)
		  --keep                  the lab stays up at the end, with a prompt
		Everything is kept below KATAMARAN_LAB (/var/tmp/katamaran-lab); KATAMARAN=PREFIX takes
		an installed katamaran instead of building this one, KATAMARAN_FAULTY=DIR what was built
		with --enable-fault-injection and installed in DIR/prefix, and LAB_QEMU=DIR the
		qemu-system-x86_64 that is in DIR for the guests.  With --all and --core nothing
		is begun after ENOUGH_S (3600) seconds, and all has ended 18 minutes later.
	END
}

list() {
	local name
	for name in $(scenarios); do
		printf '%-18s %s\n' "$name" "$(sed -n '3s/^# //p' "$HERE/scenarios/$name.sh")"
	done
}

names=() wanted_place='' logs='' jobs=1 all='' core='' spares=() KEEP=${KEEP-} CAPTURE=${CAPTURE-}
while (($#)); do
	case $1 in
	--inside) shift; inside "$@"; exit ;;
	--list) list; exit ;;
	--all) all=1; mapfile -t names < <(scenarios) ;;
	--core) all=1 core=1; mapfile -t names < <(scenarios) ;;
	--place) wanted_place=${2:?--place wants host, uml or uml2}; shift ;;
	--jobs) jobs=${2:?--jobs wants a number}; shift ;;
	--logs) logs=${2:?--logs wants a directory}; shift ;;
	--capture) CAPTURE=1 ;;
	--keep) KEEP=1 ;;
	-h | --help) usage; exit ;;
	-*) usage >&2; exit 2 ;;
	*) names+=("$1") ;;
	esac
	shift
done
((${#names[@]})) || { usage >&2; exit 2; }
case $wanted_place in
'' | host | uml | uml2) ;;
*) die "--place: host, uml or uml2, not '$wanted_place'" ;;
esac
[[ $jobs =~ ^[1-9][0-9]?$ ]] || die "--jobs: a number from 1 to 99, not '$jobs'"
[[ ! $KEEP || $jobs = 1 ]] || die "--keep has one prompt: not with --jobs"
for i in "${!names[@]}"; do
	load "${names[i]}"
	[[ ! $core || ! $spare ]] || { spares+=("${names[i]}"); unset "names[i]"; }
done
((!${#spares[@]})) || echo "Not of the core, since others see as much: ${spares[*]}"
export KEEP CAPTURE
trap leave EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
prepare "${names[@]}"
[[ ! $CAPTURE ]] || need tcpdump
logs=$(realpath -m "${logs:-$LAB/logs/$(date +%Y%m%d-%H%M%S)-$$}")
passed=0 failed=0 skipped=0

# What failed before katamaran had a part in it, or by the lab's own lines: a guest that did not
# boot, a monitor or a User-Mode Linux that hangs, a packet that the fabric dropped, a probe that
# got no processor.  Never a packet lost on katamaran's watch, nor a guest that does not answer
# after its move.
labs_fault() {
	[[ $verdict = FAIL && $text =~ ^(the lab itself dropped|[a-z0-9]+ did not come up|not within [0-9]+ s: (answers|qmp|heartbeat)|node[12]? does not answer|client does not answer|probe (itself|in the guest) was too slow) ]]
}

# On a machine that gives katamaran no processor for long enough QEMU outruns the brake: one or
# two packets may be lost, the verdict says "unknown" and why.  Not twice running.
outran() {
	[[ $verdict = FAIL ]] && grep -qs "QEMU was faster than the redirect" "$1"/*/kata-source.err
}

TRIES=2
# Who runs the lab waits for its end: after so long nothing is tried again, and with --all
# or --core nothing else is begun.  What has failed is given ten minutes more, and what is
# under way then another eight.
ENOUGH_S=${ENOUGH_S:-3600} AGAIN_S=600
LATEST_S=$((ENOUGH_S + AGAIN_S + 480))

# one NAME: runs it, says how it went, and leaves its verdict for the sum.  A fault of the lab
# is no result: it is run again while there is time, and left out with the reason if it stays.
one() {
	local start=$EPOCHSECONDS why try=1 dir=$logs/$1
	if [[ $all ]] && ((SECONDS >= ENOUGH_S)); then
		mkdir -p "$dir"
		echo SKIP >"$dir/verdict"
		printf 'SKIP  %-16s not begun: the lab had run for %d s, and is to end after %d\n' \
			"$1" "$SECONDS" "$ENOUGH_S"
		return 0
	fi
	while :; do
		processors_before
		run_scenario "$1" "$wanted_place" "$dir" ${all:+$((LATEST_S - SECONDS))}
		why=''
		if labs_fault; then
			why="the lab is at fault"
		elif outran "$dir"; then
			why="QEMU was faster than the redirect"
		fi
		[[ $verdict != FAIL ]] || text+=" ($(processors_since))"
		[[ $why && $try -lt $TRIES && $SECONDS -lt $ENOUGH_S ]] || break
		printf 'AGAIN %-16s %s: %s\n' "$1" "$why" "$text"
		try=$((try + 1)) dir=$logs/$1-try$try
	done
	if labs_fault && ((try == TRIES)); then
		verdict=SKIP text="$why, $try times: $text"
	fi
	printf '%s  %-16s %-4s %3d s  %s\n' "$verdict" "$1" "${place:--}" \
		$((EPOCHSECONDS - start)) "$text"
	echo "$verdict" >"$logs/$1/verdict"
	[[ $verdict != FAIL ]] || last_words "$dir"
}

# Where the time of the machine's processors goes, from one to the other.
processors_before() {
	read -r -a CPU_BEFORE </proc/stat
}

processors_since() {
	local now i spent all=0
	read -r -a now </proc/stat
	for i in {1..8}; do
		spent[i]=$((now[i] - CPU_BEFORE[i]))
		all=$((all + spent[i]))
	done
	echo "of the processors' time $((100 * spent[8] / all)) % was taken by other machines, $((100 * spent[4] / all)) % was left"
}

# verdict_of NAME: as one() has left it; nothing where that was ended.
verdict_of() {
	cat "$logs/$1/verdict" 2>/dev/null || true
}

# last_words LOGS: what the ends and their QEMUs said last, for who sees only this output.
last_words() {
	local file
	for file in "$1"/*/*.err; do
		[[ ! -s $file ]] || tail -n 3 "$file" | cut -c 1-200 | sed "s|^|      ${file#"$1"/}: |"
	done
}

# What failed beside another scenario is run once more, alone, and both tries are said.  It
# passes only if it does so then; should more than one in eight fail, it is not the machine's
# mood.
second_tries() {
	local name dir failures=() ENOUGH_S=$((ENOUGH_S + AGAIN_S))
	for name in "${names[@]}"; do
		[[ $(verdict_of "$name") != FAIL ]] || failures+=("$name")
	done
	((${#failures[@]} && ${#failures[@]} <= 1 + ${#names[@]} / 8)) || return 0
	mkdir -p "$logs/first"
	for name in "${failures[@]}"; do
		((SECONDS < ENOUGH_S)) || return 0
		echo "Once more, alone: $name"
		# Out of the way with all of them: one() reads what its own tries have left.
		for dir in "$logs/$name" "$logs/$name"-try*; do
			[[ ! -d $dir ]] || mv "$dir" "$logs/first"
		done
		one "$name" </dev/null
	done
}

# beside NAME: the same in a shell of its own; what is told to end ends its scenario.
beside() (
	trap end_scenario EXIT
	trap 'exit 143' TERM
	one "$1"
)

# Those that want the machine for themselves come last.  Of the others those that may take longest
# come first, so that none of them is left to run at the end; of those the shortest do, since the
# last are not begun when there is no time left, and those with alone=2 are to be the last.  Two
# kernels keep two processors busy: beside another scenario they take more than twice as long, and
# QEMU answers too late.
queue() {
	local name
	for name in "${names[@]}"; do
		load "$name"
		choose_place "$wanted_place" || place=''
		[[ $place != uml2 ]] || alone=${alone:-1}
		if ((alone)); then
			echo "$alone $limit $name"
		else
			echo "0 -$limit $name"
		fi
	done | sort -s -k 1,1n -k 2,2n
}

side_by_side() {
	local name alone queue
	queue=$(queue)
	while read -r alone _ name; do
		if ((alone)); then
			reap_all
			one "$name" </dev/null
			continue
		fi
		((${#JOBS[@]} < jobs)) || reap
		beside "$name" </dev/null &
		JOBS[$!]=$name
	done <<<"$queue"
	reap_all
	second_tries
}

reap_all() {
	while ((${#JOBS[@]})); do
		reap
	done
}

reap() {
	local pid
	wait -n -p pid "${!JOBS[@]}" || true
	unset "JOBS[$pid]"
}

if ((jobs == 1)); then
	for name in "${names[@]}"; do
		one "$name"
	done
else
	side_by_side
fi
for name in "${names[@]}"; do
	case $(verdict_of "$name") in
	PASS) passed=$((passed + 1)) ;;
	SKIP) skipped=$((skipped + 1)) ;;
	*) failed=$((failed + 1)) ;;
	esac
done
echo "$passed passed, $failed failed, $skipped skipped; logs: $logs"
((failed == 0 && skipped == 0))
