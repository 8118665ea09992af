# shellcheck shell=bash disable=SC2034,SC2154
# SPDX-License-Identifier: BSD-2-Clause
# each step of both ends meets each fault in turn: one guest runs, nothing is left (FAULTS=all: every pair)
#
# A build with fault injection stops at the step; then the fault happens, and it goes on.  The
# guest writes its disk, which is copied over NBD; the cutover is nftables.  Whoever was killed
# is followed by katamaran --recover on its node.  By default each step meets one fault and
# each fault several steps, so that a run is short; FAULTS=all runs the whole table, and
# FAULTS="STEP/FAULT ..." some of it.

needs=$NFTABLES wants=katamaran places=host
limit=600
[[ ${FAULTS-} != all ]] || limit=7200
storage='plugin = "nbd"; '
# shellcheck source=testenv/disks.sh
. "$HERE/disks.sh"

STEPS=(source.open source.peer-ready source.pre-copy source.copying source.hold
	source.cutover-on-stop source.redirected source.stopped source.storage-on-stop
	source.drained source.handed-over source.continued source.moved source.on-resume
	source.cleanup source.cleaned
	dest.open dest.pre-copy dest.listening dest.ready dest.arriving dest.cutover-on-stop
	dest.storage-on-stop dest.closed dest.running dest.on-resume dest.cleanup dest.cleaned)
COLUMNS_=(kill-source kill-dest kill-dest-qemu kill-source-qemu cut-link interrupt fail overrun)

FAULTY=${KATAMARAN_FAULTY:-$LAB/faulty}

# The program with faults in it is made beside the other one, of the same copy of the tree, if
# nobody has built one already.
fetch() {
	[[ ! ${KATAMARAN_FAULTY-} ]] || return 0
	[[ $LAB/faulty/made -nt $LAB/built ]] && return
	note "building katamaran with fault injection (log: $LAB/faulty.log)"
	rm -rf "$FAULTY"
	mkdir -p "$FAULTY"
	(cd "$FAULTY" && "$LAB/src/configure" --enable-fault-injection --prefix="$FAULTY/prefix" &&
		make -j"$(nproc)" && make install && touch made) >"$LAB/faulty.log" 2>&1 ||
		die "katamaran does not build, see $LAB/faulty.log"
}

# Whether this pair can be: a step that cannot fail, a QEMU that is not to be killed any more.
applies() {
	case $2.$1 in
	fail.*.open | fail.*.pre-copy | fail.*-on-stop | fail.source.drained) ;;
	overrun.*on-stop | overrun.*.on-resume | overrun.*.pre-copy) ;;
	fail.* | overrun.*) return 1 ;;
	# From here on the guest runs on the destination, or may: its death is its own.
	kill-source-qemu.source.continued | kill-source-qemu.source.moved) return 1 ;;
	kill-source-qemu.*on-resume | kill-source-qemu.*clean*) return 1 ;;
	kill-source-qemu.dest.running) return 1 ;;
	# The other end has gone by then, or not yet come.
	kill-dest.source.open | interrupt.dest.cleaned) return 1 ;;
	kill-dest.*.cleaned | kill-source.dest.cleaned) return 1 ;;
	esac
}

# pid_of END: of katamaran there; false if it does not run.
pid_of() {
	local role=source
	[[ $1 = source ]] || role=dest
	on node1 pgrep -f -- "^$FAULTY/prefix/sbin/katamaran .*-mode $role"
}

stands() {
	local stat
	stat=$(on node1 eval "read -r _ _ state _ </proc/$1/stat && echo \$state")
	[[ $stat = T ]]
}

# at_step END: it has come to its step, or has ended before.
at_step() {
	local pid
	pid=$(pid_of "$1") || { on "$from" ended kata-source; return; }
	stands "$pid"
}

happen() {
	local pid
	case $1 in
	kill-source) pid=$(pid_of source) && on node1 kill -KILL "$pid" ;;
	kill-dest) pid=$(pid_of dest) && on node1 kill -KILL "$pid" ;;
	kill-dest-qemu) on "$to" sign KILL "${QEMU[$to]}" ;;
	kill-source-qemu) on "$from" sign KILL "${QEMU[$from]}" ;;
	cut-link) on fabric ip link set node2 down ;;
	interrupt) pid=$(pid_of source) && on node1 kill -INT "$pid" ;;
	esac
}

dest_ended() { ! pid_of dest; }

running() {
	local status
	status=$(qmp "$1" '{"execute":"query-status"}' 2>/dev/null) && [[ $(field status "$status") = running ]]
}

# The QEMU there, if it has not ended itself.
quits() {
	[[ ! ${QEMU[$1]-} ]] || on "$1" ended "${QEMU[$1]}" >/dev/null || guest_quit "$1"
}

# A QEMU that waits for a guest on NODE, with an empty disk.
waits_on() {
	quits "$1"
	on "$1" rm -f "$(image 0)"
	on "$1" truncate -s 4M "$(image 0)"
	guest "$1" -incoming defer
	wait_for 30 qmp "$1" '{"execute":"query-status"}'
	ip_batch "$1" <<<"route replace $GUEST_IP/32 dev tap0"
}

# A guest that runs on node1, with a new disk.
starts_anew() {
	local node
	for node in node1 node2; do
		quits "$node"
	done
	from=node1 to=node2
	on node1 "$DISK" fill "$(image 0)" 0 4
	guest node1
	ip_batch node1 <<<"route replace $GUEST_IP/32 dev tap0"
	fabric_learns node1
	guest_up node1
}

# one STEP FAULT: sets said to how it ended; returns false with WHY.
one_fault() {
	local step=$1 fault=$2 end=${1%%.*} what=pause
	waits_on "$to"
	goes_on_writing "$from"
	remember "$from"
	BLOCKS=$(blocks "$from")
	before
	storage="plugin = \"nbd\"; address = \"${NODE_IP[$to]}\";"
	conf_peer
	case $fault in fail | overrun) what=$fault ;; esac
	spawn "$from" kata-source env KATAMARAN_FAULT="$step=$what" "$FAULTY/prefix/sbin/katamaran" \
		-c "${CONF[x]}" -mode source -qmp "$(socket_of "$from")" -dest-ip "${NODE_IP[$to]}" -v
	if [[ $what = pause ]]; then
		wait_for 60 at_step "$end" || return 1
		! on "$from" ended kata-source >/dev/null || { WHY="never came to $step"; return 1; }
		happen "$fault"
		on node1 pkill -CONT -f "^$FAULTY/prefix/sbin/katamaran" || true
		[[ $fault != cut-link ]] || { sleep 4; on fabric ip link set node2 up; }
	fi
	wait_for 90 on "$from" ended kata-source || return 1
	said=$(on "$from" ended kata-source)
	# What the source left decides for the other end, too: that one waits for the guest.
	[[ $said != 137 ]] || recovered "$from" || return 1
	wait_for 60 dest_ended || return 1
	recovered "$from" && recovered "$to" && judged "$fault"
}

# recovered NODE: what a process that was killed left there is put back; with no journal, all
# is.  A QEMU that is busy with what the dead one had asked of it is asked again.
recovered() {
	local code try
	on "$1" eval 'ls /run/katamaran/*.journal >/dev/null 2>&1' || return 0
	for try in 1 2 3; do
		code=0
		on "$1" eval "$FAULTY/prefix/sbin/katamaran --recover all 2>/run/lab/recover.last" || code=$?
		on "$1" eval 'cat /run/lab/recover.last >>/run/lab/recover.err'
		said+="+recover"
		((code)) || break
		on "$1" grep -q 'cannot be asked' /run/lab/recover.last || break
	done
	((code == 0)) || { WHY="--recover on $1 exited $code: $(on "$1" tail -n 1 /run/lab/recover.last)"; return 1; }
}

# One guest runs, and answers; its disk is whole; nothing is left.
judged() {
	local node at='' n=0
	for node in "$from" "$to"; do
		! running "$node" || { at=$node n=$((n + 1)); }
	done
	case $n.$1 in
	1.*) ;;
	0.kill-source-qemu | 0.kill-dest-qemu) said+=' -' ;;
	*) WHY="$n guests run"; return 1 ;;
	esac
	if [[ $at ]]; then
		said+=" $at"
		fabric_learns "$at"
		wait_for 20 answers || return 1
		goes_on_writing "$at"
		on "$at" "$DISK" check "$(image 0)" 0 "${SERIAL[$at]}" >/dev/null || { WHY="the disk on $at"; return 1; }
		[[ $at != "$from" || $(blocks "$at") = "$BLOCKS" ]] || { WHY="jobs or nodes are left in QEMU"; return 1; }
	fi
	for node in "$from" "$to"; do
		nothing_left "$node" || return 1
	done
	[[ ! $at ]] || from=$at
}

nothing_left() {
	local left
	on "$1" snapshot >"$LOGS/$1.after"
	left=$(diff "$LOGS/$1.before" "$LOGS/$1.after" | grep '^[<>]' | grep -Ev -- "$ROUTE_TO_TAP" || true)
	left+=$(on "$1" eval 'nft list tables 2>/dev/null | grep katamaran; ls /run/katamaran | grep -v lock$ 2>/dev/null; :')
	[[ ! $left ]] || { WHY="left on $1: $(tr '\n' ' ' <<<"$left" | cut -c 1-200)"; return 1; }
}

conf_peer() {
	local word command=''
	for word in nsenter -t "$(on "$to" eval 'echo $$')" -n -m -- "$FAULTY/prefix/sbin/katamaran" \
		-c "$LOGS/katamaran-$((${CONFS:-0} + 1)).conf" -mode dest -qmp "$(socket_of "$to")" -v; do
		command+="${command:+, }\"$word\""
	done
	conf "$to" cutover=nftables hold_s=0 more='hold_quiet_s = 0;'
	conf "$to" cutover=nftables hold_s=0 more='hold_quiet_s = 0;' peer="$command"
}

# crashed: a QEMU has ended by an assertion or a segmentation fault of its own.
crashed() {
	local node code
	for node in node1 node2; do
		code=$(on "$node" ended "${QEMU[$node]}") || continue
		[[ $code != 134 && $code != 139 ]] || return 0
	done
	return 1
}

# The pairs that this run is of.
pairs() {
	local i j step fault n=${#COLUMNS_[@]}
	case ${FAULTS-} in
	'' | all) ;;
	*) tr ' ' '\n' <<<"$FAULTS"; return ;;
	esac
	for i in "${!STEPS[@]}"; do
		for ((j = 0; j < n; j++)); do
			step=${STEPS[i]} fault=${COLUMNS_[(i + j) % n]}
			applies "$step" "$fault" || continue
			echo "$step/$fault"
			[[ ${FAULTS-} = all ]] || break
		done
	done
	# In the midst of the copy, and the mirror is nobody's: half of these took a QEMU along.
	[[ ${FAULTS-} = all ]] || echo dest.ready/kill-source
}

scenario() {
	local from to said pair word bad=0 n=0
	a_disk 0 "format=raw,file=$(image 0)"
	starts_anew
	for pair in $(pairs); do
		n=$((n + 1)) said='' WHY=''
		[[ $from = node1 ]] && to=node2 || to=node1
		if one_fault "${pair%/*}" "${pair#*/}"; then
			printf '%-24s %-16s ok    %s\n' "${pair%/*}" "${pair#*/}" "$said"
		else
			word=FAIL
			bad=$((bad + 1))
			! crashed || word=CRASH
			printf '%-24s %-16s %-5s %s: %s\n' "${pair%/*}" "${pair#*/}" "$word" "$said" "$WHY"
			on "$from" cp /run/lab/kata-source.err "/run/lab/$n-${pair%/*}-${pair#*/}.err"
			on node1 pkill -KILL -f "^$FAULTY/prefix/sbin/katamaran" || true
			for node in node1 node2; do
				on "$node" eval "$FAULTY/prefix/sbin/katamaran --recover all" >/dev/null 2>&1 || true
			done
			starts_anew
			continue
		fi
		running "$from" || starts_anew
	done >"$LOGS/table"
	cat "$LOGS/table" >&3
	fact note "$((n - bad)) of $n faults"
	((!bad)) || fail "$bad of $n faults: $(grep -E 'FAIL|CRASH' "$LOGS/table" | head -n 1)"
}
