#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# The two state machines against a monitor that follows a script: what the real QEMU cannot be
# made to do at will.  The monitor refuses what the real one would refuse, and then exits 1.
set -euo pipefail

katamaran=${KATAMARAN:-./katamaran}
built=${KATAMARAN_PLUGIN_DIR:-$PWD/.libs}
fake=${FAKE_QMP:-tests/fake_qmp}
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT
passed=0 failed=0

# A build tree may be writable by a group, and the loader refuses that: a copy is not.
umask 022
plugins=$work/plugins
mkdir "$plugins"
install -m 644 "$built"/storage-{none,script}.so "$built"/announce-self.so "$plugins"

RUNNING='default query-status {"status":"running","singlestep":false,"running":true}'
# The first question comes before the migration, from the checks.
COPYING='once query-migrate reply {}
default query-migrate {"status":"active","ram":{"remaining":50000000,"total":100000000,"transferred":1,"dirty-sync-count":1,"page-size":4096,"dirty-pages-rate":10}}'
INCOMING='default query-status {"status":"inmigrate","singlestep":false,"running":false}'

# play SCRIPT: a monitor at $work/q, gone by the next play.
play() {
	rm -rf "$work/q" "$work/run"
	printf '%s\n' "$1" >"$work/script"
	"$fake" -t $((${patience:-20} + 10)) -l "$work/transcript" "$work/q" "$work/script" 2>"$work/fake.err" &
	monitor=$!
	while [[ ! -S $work/q ]]; do sleep 0.01; done
}

source_end() {
	code=0
	timeout -k 20 "${patience:-20}" "$katamaran" -mode source -qmp "$work/q" -dest-ip 192.0.2.1 \
		-vm-ip 10.0.0.5 -tunnel-mode none --plugin-dir "$plugins" --run-dir "$work/run" -v "$@" \
		>"$work/out" 2>"$work/err" || code=$?
}

dest_end() {
	code=0
	timeout -k 20 20 "$katamaran" -mode dest -qmp "$work/q" -dest-ip 127.0.0.1 -tunnel-mode none \
		--plugin-dir "$plugins" --run-dir "$work/run" -v "$@" >"$work/out" 2>"$work/err" || code=$?
}

# signal_end SIGNAL: to the end that runs, once.  `timeout` would pass it on a second time, and
# the child by which a sanitizer looks for leaks would die of it: its parent waits for ever.
signal_end() {
	pkill "-$1" -o -f -- "^$katamaran .*-qmp $work/q -dest-ip" || true
}

# signal_after FILE [SIGNAL [SECONDS]]: to the next end, so long after its monitor has made the
# file; SIGINT.
signal_after() {
	(
		while [[ ! -e $1 ]]; do sleep 0.01; done
		sleep "${3-0}"
		signal_end "${2-INT}"
	) &
}

complain() {
	echo "FAILED: $name: $1"
	sed 's/^/	/' "$work/err" | tail -n 12
	tail -n 8 "$work/transcript" 2>/dev/null | cut -c1-200 | sed 's/^/	/'
	bad=1
}

# verdict NAME EXIT [TEXT...]: what the run gave; a TEXT with ! in front must not be there.
# Texts in "<" must have been received by the monitor.
verdict() {
	local text rc=0
	name=$1 bad=0
	((code == $2)) || complain "exit code $code, not $2"
	shift 2
	for text; do
		case $text in
		'<'*) grep -qF -- "\"${text#<}\"" "$work/transcript" || complain "QEMU never got ${text#<}" ;;
		'!<'*) ! grep -qE -- "\"execute\": ?\"${text#!<}\"" "$work/transcript" ||
			complain "QEMU got ${text#!<}" ;;
		'!'*) ! grep -qF -- "${text#!}" "$work/err" || complain "says \"${text#!}\"" ;;
		*) grep -qF -- "$text" "$work/err" || complain "does not say \"$text\"" ;;
		esac
	done
	kill "$monitor" 2>/dev/null || true
	wait "$monitor" 2>/dev/null || rc=$?
	((rc == 0)) || { complain "the monitor: $(cat "$work/fake.err")"; }
	if ((bad)); then failed=$((failed + 1)); else passed=$((passed + 1)); fi
}

# says NAME MEMBER...: the summary at $work/summary, without its blanks, has each of them.
says() {
	local text all
	name=$1 bad=0
	shift
	all=$(tr -d ' \n' <"$work/summary")
	for text; do
		[[ $all = *"$text"* ]] || complain "the summary has no $text: $all"
	done
	[[ $(echo "$work"/summary*) = "$work/summary" ]] || complain "leaves $(echo "$work"/summary*)"
	rm -f "$work/summary"
	if ((bad)); then failed=$((failed + 1)); else passed=$((passed + 1)); fi
}

play 'default query-status {"status":"paused","singlestep":false,"running":false}
serve'
source_end
verdict "a paused guest is not moved" 1 'not running but "paused"' '!<migrate'

play "$RUNNING
on migrate reply; event MIGRATION {\"status\":\"setup\"}; default query-migrate {\"status\":\"failed\",\"error-desc\":\"no_route\"}; event MIGRATION {\"status\":\"failed\"}
serve"
source_end -summary "$work/summary"
verdict "a failure is told at once, with QEMU's reason" 1 \
	'QEMU reported migration failed: no_route' 'The guest runs on the source, as before.' \
	'<migrate-set-parameters'
says "and stands in the summary" '"role":"source"' '"outcome":"failed"' '"exit_code":1' '"downtime":null' \
	'"error":"QEMUreportedmigrationfailed:no_route"' '"verdict":"unknown"' '"pre_copy":null'

play "$RUNNING
$COPYING
on migrate reply; event MIGRATION {\"status\":\"active\"}; sleep 100; default query-status {\"status\":\"io-error\",\"singlestep\":false,\"running\":false}; event STOP
on migrate_cancel reply; event MIGRATION {\"status\":\"cancelled\"}
serve"
source_end
verdict "STOP for another reason is no switchover" 3 'stopped for a reason of its own (io-error)' \
	'the guest does not run on the source, it is "io-error"' 'mend its disk' \
	"send {\"execute\": \"cont\"} to $work/q" '<migrate_cancel' '!<cont' '!redirected'
[[ ! $(ls "$work/run") ]] || { echo "FAILED: a journal is left of nothing"; failed=$((failed + 1)); }

play "$RUNNING
$COPYING
on migrate reply; event MIGRATION {\"status\":\"active\"}; sleep 100; default query-status {\"status\":\"paused\",\"singlestep\":false,\"running\":false}; event STOP
on migrate_cancel reply; default query-status {\"status\":\"running\",\"singlestep\":false,\"running\":true}; event RESUME; event MIGRATION {\"status\":\"cancelled\"}
serve"
source_end
verdict "unless somebody has it run again" 1 'stopped for a reason of its own (paused)' \
	'The guest runs on the source, as before.'

play "$RUNNING
$COPYING
on migrate reply; event MIGRATION {\"status\":\"active\"}; sleep 100; event SHUTDOWN {\"guest\":true,\"reason\":\"guest-shutdown\"}
on migrate_cancel reply; event MIGRATION {\"status\":\"cancelled\"}
serve"
source_end
verdict "a guest that shuts down is not moved" 1 '<migrate_cancel' \
	'the guest has shut itself down (guest-shutdown)'

play "$RUNNING
$COPYING
on migrate reply; event MIGRATION {\"status\":\"active\"}; sleep 100; close
serve"
source_end
verdict "a QEMU that has ended takes its guest with it" 3 'has ended, and the guest with it' \
	'runs nowhere' '!query-status on'

play "$RUNNING
$COPYING
on migrate reply; event MIGRATION {\"status\":\"active\"}; sleep 100; close
serve forever"
source_end
verdict "a QEMU that lives without its monitor is not called dead" 3 \
	'lives and has closed the QMP connection' 'cannot tell whether the guest runs here'

play "$RUNNING
$COPYING
on migrate reply; event MIGRATION {\"status\":\"active\"}; sleep 100; event SHUTDOWN {\"guest\":true,\"reason\":\"guest-shutdown\"}
on migrate_cancel reply; close
serve"
source_end
verdict "a guest that shuts down, and its QEMU with it" 1 'the guest has shut itself down' '!cont' \
	'!runs nowhere'

play "$RUNNING
$COPYING
on migrate reply; event MIGRATION {\"status\":\"active\"}; sleep 100; event RESET {\"guest\":true,\"reason\":\"guest-reset\"}; event STOP; event RESUME; sleep 100; default query-migrate {\"status\":\"failed\"}; event MIGRATION {\"status\":\"failed\"}
serve"
source_end
verdict "a guest that starts anew, or was stopped for a moment, goes on" 1 'The guest starts anew' \
	'QEMU reported migration failed (see the messages of QEMU on the destination)' \
	'!<migrate_cancel' '!reason of its own'

play "$RUNNING
$COPYING
on migrate touch $work/told; hold
on migrate_cancel reply; event MIGRATION {\"status\":\"cancelled\"}
serve"
signal_after "$work/told" INT 0.1
source_end
verdict "a signal before QEMU has answered to migrate" 130 '<migrate_cancel' \
	'The guest runs on the source, as before.'

# The other end, as a program that says what this one is to hear: peer SECONDS|FILE WORD.
cat >"$work/peer" <<'END'
#!/bin/bash
cd "${0%/*}" # nothing is left where the test was started
say() { printf '{"type":"%s"%s}\n' "$1" "${2-}"; }
# "bye": without a word.
tell() { if [[ $1 = bye ]]; then kill $$; else say "$1"; fi; }
# Seconds, or a file that will be there.
until_now() {
	[[ $1 = /* ]] || { sleep "$1"; return; }
	until [[ -e $1 ]]; do sleep 0.01; done
}
say hello ',"protocol":1,"version":"0"'
say facts ",\"facts\":$(cat "$0.facts" 2>/dev/null || echo '[]'),\"qemu\":{}"
while read -r line; do
	case $line in
	*'"checked"'*) say findings ',"findings":[]' ;;
	*'"prepare"'*)
		say ready ',"port":4444,"facts":[]'
		[[ ! -e $0.early ]] || { read -r file word <"$0.early" && until_now "$file" && tell "$word"; } &
		;;
	*'"hold"'*)
		[[ -e $0.mute ]] || say holding
		[[ ${1-} != /* ]] || touch "$1.held"
		while (($# > 1)); do
			until_now "$1"
			tell "$2"
			[[ $1 != /* ]] || touch "$1.said"
			shift 2
		done &
		;;
	*'"ask"'*) say state ",$(<"$0.state")" ;;
	*'"over"'*) say result && exit ;;
	*'"failed"'*)
		[[ ! -e $0.last ]] || while read -r line; do echo "$line"; sleep 0.2; done <"$0.last"
		exit
		;;
	esac
done
END
chmod +x "$work/peer"

# STOP comes early, and QEMU ends while it hands the guest over.
HANDS_OVER='on migrate reply; event MIGRATION {"status":"active"}; sleep 100; default query-status {"status":"finish-migrate","singlestep":false,"running":false}; event STOP; sleep 100; close'

peer_says() {
	local words
	words=$(printf ', "%s"' "$@")
	echo "peer: { command = [ \"$work/peer\"$words ]; };" >"$work/peer.conf"
	source_end -c "$work/peer.conf" -summary "$work/summary"
}

# ---- what is waited for, and for how long: beside all that follows ----

# beside COMMAND: in a folder of its own.
waits=()
beside() {
	apart "$1" &
	waits+=("$1:$!")
}

apart() {
	trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
	mkdir "$work/$1"
	cp "$work/peer" "$work/$1"
	work=$work/$1 patience=60 passed=0 failed=0
	"$1"
	echo "$passed $failed" >"$work/verdicts"
}

# between LEAST MOST: so many seconds passed since `began`.
between() {
	local took=$(((${EPOCHREALTIME/./} - began) / 1000000))
	((took >= $1 && took <= $2)) || { echo "FAILED: $name: took $took s"; failed=$((failed + 1)); }
}

guest_that_does_not_run() {
	local began=${EPOCHREALTIME/./}
	play "$INCOMING
default query-migrate {}
on migrate-incoming reply; event MIGRATION {\"status\":\"active\"}; sleep 50; event MIGRATION {\"status\":\"completed\"}
serve"
	dest_end
	verdict "a guest that has arrived and does not run" 3 'QEMU has not let it run for 10 s' \
		'it runs nowhere' '!<cont'
	between 10 18
}

destination_that_does_not_say() {
	local began=${EPOCHREALTIME/./}
	play "$RUNNING
$COPYING
on migrate reply; event MIGRATION {\"status\":\"active\"}; sleep 100; default query-status {\"status\":\"finish-migrate\",\"singlestep\":false,\"running\":false}; event STOP; sleep 100; event MIGRATION {\"status\":\"completed\"}
serve"
	peer_says 0.1 nothing
	verdict "a destination that does not say that the guest runs" 3 \
		'that end does not say that it runs' '--confirm-other-stopped' '!succeeded' '!<cont'
	between 30 42
}

destination_alone_could_tell() {
	local began=${EPOCHREALTIME/./}
	play "$RUNNING
$COPYING
$HANDS_OVER
serve"
	peer_says 0.1 nothing
	verdict "and our QEMU has ended" 3 'does not say that it runs there' '!succeeded'
	between 10 18
}

play "$RUNNING
$COPYING
on migrate reply; event MIGRATION {\"status\":\"active\"}; touch $work/told3
once migrate_cancel touch $work/cancelled3; sleep 300; reply; event MIGRATION {\"status\":\"cancelled\"}
on migrate_cancel error GenericError once_is_enough
serve"
signal_after "$work/told3"
signal_after "$work/cancelled3"
source_end
verdict "a second signal while the cancel is on its way" 130 \
	'The guest runs on the source, as before.' '!once_is_enough'

# QEMU says nothing of the cancel, is asked after 5 s, and answers 2 s later.
second_signal() {
	play "$RUNNING
$COPYING
on migrate reply; event MIGRATION {\"status\":\"active\"}; touch $work/told
on migrate_cancel touch $work/cancelled; reply; default query-migrate {\"status\":\"cancelled\"}; deaf 7000
serve"
	signal_after "$work/told"
	signal_after "$work/cancelled" INT 6
	source_end
	verdict "a second signal while QEMU is asked how the cancel ended" 130 \
		'The guest runs on the source, as before.'
}

# A disk's script would take a minute.
other_end_goes_early() {
	local word
	printf '%s\n' '#!/bin/sh' "[ \$1 != pre_copy ] || { touch $work/prepares; sleep 60; }" >"$work/hook"
	chmod 755 "$work/hook"
	printf 'peer: { command = [ "%s" ]; };\nstorage: { plugin = "script"; path = "%s"; };\n' \
		"$work/peer" "$work/hook" >"$work/early.conf"
	for word in failed bye; do
		rm -f "$work/prepares"
		echo "$work/prepares $word" >"$work/peer.early"
		play "$RUNNING
serve"
		began=${EPOCHREALTIME/./}
		source_end -c "$work/early.conf"
		if [[ $word = failed ]]; then
			verdict "the other end fails while a disk is copied" 1 '!<migrate' \
				'katamaran: the other end failed: it does not say why'
		else
			verdict "the other end goes while a disk is copied" 1 '!<migrate' \
				'katamaran: the other end has closed the link'
		fi
		between 0 30
	done
}

beside guest_that_does_not_run
beside other_end_goes_early
beside second_signal
beside destination_that_does_not_say
beside destination_alone_could_tell

play "$RUNNING
$COPYING
$HANDS_OVER
serve"
peer_says 0.6 resumed
verdict "the source's QEMU ends, and the destination says that the guest runs" 0 \
	'Migration succeeded'

play "$RUNNING
$COPYING
$HANDS_OVER
serve"
peer_says 0.6 failed
verdict "the source's QEMU ends, and nothing has arrived" 3 'it did not arrive: it runs nowhere'

play "$RUNNING
$COPYING
$HANDS_OVER
serve"
source_end
verdict "the source's QEMU ends, and nobody can tell" 3 'while it handed the guest over' \
	'cannot tell whether the guest runs here'

# ---- nobody knows where the guest is, or the two ends disagree ----

# A cutover whose hooks are noted in $work/hooks.
cat >"$work/noted" <<END
#!/bin/sh
echo "\$1 \${KATAMARAN_OUTCOME-}" >>$work/hooks
touch $work/hooked.\$1
END
chmod 755 "$work/noted"
install -m 644 "$built"/cutover-script.so "$plugins"
echo "cutover: { plugin = \"script\"; path = \"$work/noted\"; };" >"$work/noted.conf"

# noted NAME HOOKS: those that were called, with their outcomes.
noted() {
	local all
	all=$(tr '\n' ',' <"$work/hooks")
	[[ $all = "$2" ]] || { echo "FAILED: $1: the hooks were $all"; failed=$((failed + 1)); }
}

# source_end with that; the flag -tunnel-mode would win over it.
noted_end() {
	rm -f "$work"/hooks "$work"/hooked.*
	code=0
	timeout -k 20 20 "$katamaran" -mode source -qmp "$work/q" -dest-ip 192.0.2.1 -vm-ip 10.0.0.5 \
		--plugin-dir "$plugins" --run-dir "$work/run" -v -c "$work/noted.conf" \
		-stop-budget-ms 20000 \
		>"$work/out" 2>"$work/err" || code=$?
}

play "$RUNNING
$COPYING
$HANDS_OVER
serve"
noted_end
verdict "a source that does not know leaves the redirect" 3 'cannot tell whether the guest runs here' \
	'the redirect to the destination stays until' '--recover'
noted "a source that does not know" 'pre_copy ,on_stop ,'
code=0
"$katamaran" --run-dir "$work/run" --recover all >"$work/out" 2>"$work/err" || code=$?
verdict "which --recover takes back" 0 'has ended'
noted "--recover" 'pre_copy ,on_stop ,cleanup failed,'

play "$RUNNING
$COPYING
${HANDS_OVER%; sleep*}; await $work/hooked.on_stop; default query-status {\"status\":\"running\",\"singlestep\":false,\"running\":true}; event MIGRATION {\"status\":\"failed\"}
serve"
noted_end
verdict "a source that knows takes it back at once" 1 'The guest runs on the source, as before.' \
	'!stays until'
noted "a source that knows" 'pre_copy ,on_stop ,cleanup failed,'

play "$RUNNING
$COPYING
on migrate reply; event MIGRATION {\"status\":\"active\"}; sleep 100; close
serve forever"
noted_end
verdict "where no packet was redirected nothing has to stay" 3 'cannot tell whether' '!stays until'
noted "no packet was redirected" 'pre_copy ,cleanup failed,'

# It is neither told of a failure, for the guest may still come to it, nor waited for.
cat >"$work/patient" <<END
#!/bin/bash
echo \$\$ >$work/patient.pid
trap '' TERM
"$work/peer" 0.1 nothing > >(cat) < <(tee $work/told)
exec sleep 60 >/dev/null 2>&1
END
chmod +x "$work/patient"
echo "peer: { command = [ \"$work/patient\" ]; };" >>"$work/noted.conf"
play "$RUNNING
$COPYING
$HANDS_OVER
serve forever"
noted_end
verdict "a source that does not know lets the destination wait" 3 'cannot tell whether' \
	'the redirect to the destination stays until'
! grep -q failed "$work/told" || { echo "FAILED: the destination was told of a failure"; failed=$((failed + 1)); }
kill -KILL "$(<"$work/patient.pid")" 2>/dev/null || true

# QEMU did not hear that all has arrived, and lets the guest go on here.
FAILS='on migrate reply; event MIGRATION {"status":"active"}; sleep 100; default query-status {"status":"finish-migrate","singlestep":false,"running":false}; event STOP; await '$work'/open.held'
GOES_ON='default query-status {"status":"running","singlestep":false,"running":true}; event MIGRATION {"status":"failed"}'
rm -f "$work"/open*
play "$RUNNING
$COPYING
$FAILS; touch $work/open; await $work/open.said; sleep 50; $GOES_ON
serve"
peer_says "$work/open" resumed
verdict "a guest that runs there, and then here" 3 'was stopped here, so that it does not run twice' \
	'<stop' '!The guest runs on the source'

rm -f "$work"/open*
play "$RUNNING
$COPYING
$FAILS; $GOES_ON; touch $work/open
serve"
peer_says "$work/open" resumed
verdict "a guest that runs here, and then there" 3 'was stopped here, so that it does not run twice' \
	'<stop' '!The guest runs on the source'

# The other end goes without a word, and is asked anew.
unheard() {
	rm -f "$work"/open*
	play "$RUNNING
$COPYING
$FAILS; touch $work/open; await $work/open.said; sleep 50; $GOES_ON
serve"
	if [[ ${1-} ]]; then echo "$1" >"$work/peer.state"; else rm -f "$work/peer.state"; fi
	peer_says "$work/open" bye
	rm -f "$work/peer.state"
}

unheard '"qemu":"same","guest":"running","migration":"completed"'
verdict "nobody says that the guest runs there, but it does" 3 \
	'was stopped here, so that it does not run twice' 'the guest is "running" there' '<stop' \
	'!The guest runs on the source'
unheard '"qemu":"ended"'
verdict "nor that it does not" 1 'its QEMU has ended' 'The guest runs on the source, as before.' \
	'!<stop' '!query-status of its QEMU there'
unheard
verdict "nor can anybody be asked" 3 'it goes on here, and may run on 192.0.2.1, too' \
	'The guest runs on the source, as before.' '!<stop'

# ---- packets are redirected, the guest still runs, and the gate is open ----

# The pass ends with little to send, so that the switchover begins; but only when katamaran has seen
# the one before, and with much sent, on whatever machine.  QEMU answers to the opening of the gate
# when $work/open.said is there, and stops the guest only where `switches` says so.
AT_THE_END='once query-migrate reply {}
once query-migrate reply {"status":"active","ram":{"remaining":50000000,"total":100000000,"transferred":1,"dirty-sync-count":1,"page-size":4096,"dirty-pages-rate":10}}
default query-migrate {"status":"active","ram":{"remaining":4096,"total":100000000,"transferred":50000000,"dirty-sync-count":2,"page-size":4096,"dirty-pages-rate":1}}'
at_the_gate() {
	rm -f "$work"/open*
	play "$RUNNING
$AT_THE_END
on migrate reply; event MIGRATION {\"status\":\"active\"}
on migrate-set-parameters {\"downtime-limit\":2000000} touch $work/open; await $work/open.said; reply
once migrate-set-parameters {\"downtime-limit\":1} reply
${1-}
on migrate_cancel reply; event MIGRATION {\"status\":\"cancelled\"}
serve"
}
switches='once migrate-set-parameters {"downtime-limit":1} default query-status {"status":"finish-migrate","singlestep":false,"running":false}; reply; sleep 50; event STOP; event MIGRATION {"status":"completed"}'

signal_at_the_gate() {
	(
		while [[ ! -e $work/open ]]; do sleep 0.01; done
		signal_end TERM
		touch "$work/open.said"
	) &
	source_end
}

# shut_first: QEMU was told to keep the guest before it was told to cancel.
shut_first() {
	awk '/"downtime-limit": ?2000000/ { open = 1 }
		open && /"downtime-limit": ?1[,} ]/ { shut = 1 }
		/migrate_cancel/ { exit !shut }' "$work/transcript" && return
	echo "FAILED: the gate is open while the migration is cancelled"
	failed=$((failed + 1))
}

at_the_gate
signal_at_the_gate
verdict "a signal when packets are redirected" 130 'source: copying -> redirected' \
	'source: redirected -> cancelling' 'The guest runs on the source, as before.' '<migrate_cancel'
shut_first

# It neither stops the guest nor hears the cancel.
sed -i '/^peer/d' "$work/noted.conf"
at_the_gate 'on migrate_cancel reply; default query-migrate {"status":"cancelling"}'
touch "$work/open.said"
noted_end
verdict "a cancel that does not end, with the guest here" 3 'cannot tell whether' \
	'does not end the migration' '!stays until' '<migrate_cancel'
[[ $(tail -n 1 "$work/hooks") = 'cleanup failed' ]] ||
	{ echo "FAILED: the redirect stays though the guest runs here"; failed=$((failed + 1)); }

at_the_gate "$switches"
signal_at_the_gate
verdict "a signal when QEMU is stopping the guest" 0 'source: redirected -> stopped' \
	'Terminated comes too late' 'Migration succeeded' '!<migrate_cancel'

at_the_gate
peer_says "$work/open" failed
verdict "the destination fails when packets are redirected" 1 'the destination failed' \
	'source: redirected -> cancelling' 'The guest runs on the source, as before.' '<migrate_cancel'
shut_first

at_the_gate "$switches"
peer_says "$work/open" failed
verdict "the destination fails when QEMU is stopping the guest" 3 'source: redirected -> stopped' \
	'that end failed before the guest ran' '!The guest runs on' '!succeeded' '!<migrate_cancel'

# Both fail, each for a reason of its own; what the other end has counted comes after that.
at_the_gate
printf '%s\n' '{"type":"failed","reason":"too"}' '{"type":"back","packet":"45"}' \
	'{"type":"result","nics":[],"doubts":["told"]}' >"$work/peer.last"
signal_after "$work/open.said" TERM
peer_says "$work/open" nothing
verdict "the destination's result comes after its failure" 130 'The guest runs on the source' \
	'1 packet(s) that came back could not be given to the guest: they are not for it' \
	'destination: told' '!result is unknown'
rm "$work/peer.last"

at_the_gate
peer_says "$work/open" bye
verdict "the link breaks when packets are redirected" 1 "the destination's katamaran has gone" \
	'source: redirected -> cancelling' 'The guest runs on the source, as before.' '<migrate_cancel'
shut_first

touch "$work/peer.mute"
at_the_gate
peer_says 0.1 nothing
verdict "the destination does not hold packets" 1 'does not say that it holds' \
	'The guest runs on the source, as before.' '<migrate_cancel'
rm "$work/peer.mute"

at_the_gate "$switches"
peer_says "$work/open" bye
verdict "the link breaks when QEMU is stopping the guest" 3 'source: redirected -> stopped' \
	'the link to that end was over before' '!The guest runs on' '!succeeded' '!<migrate_cancel'

# It hands the guest over: that the guest runs there is the other end's to say, while it is heard.
COMPLETES='on migrate reply; event MIGRATION {"status":"active"}; sleep 100; default query-status {"status":"finish-migrate","singlestep":false,"running":false}; event STOP; sleep 500; event MIGRATION {"status":"completed"}'

completes() {
	play "$RUNNING
$COPYING
$COMPLETES
serve"
}

# keeps NAME: so does the end before it, for --recover.
keeps() {
	name=$1 bad=0
	compgen -G "$work/run/*.journal" >/dev/null || complain "no journal is left"
	if ((bad)); then failed=$((failed + 1)); else passed=$((passed + 1)); fi
}

completes
peer_says 1 resumed
verdict "the destination lets the guest run after QEMU has handed it over" 0 \
	'The guest runs on 192.0.2.1' 'Migration succeeded'

completes
peer_says 0.1 resumed
verdict "and before that" 0 'The guest runs on 192.0.2.1' 'Migration succeeded'

completes
peer_says 1 failed 0.1 bye
verdict "it cannot let the guest run" 3 'that end failed before the guest ran' \
	'{"execute": "cont"}' '--confirm-other-stopped' '!The guest runs on' '!succeeded' '!<cont'
keeps "and --recover goes on from there"
says "and the summary is not sure" '"outcome":"unclear"' '"exit_code":3'

completes
peer_says 0.1 failed
verdict "it has failed before QEMU handed the guest over" 3 'that end failed before the guest ran' \
	'!The guest runs on' '!succeeded'

completes
peer_says 1 bye
verdict "it is not heard any more" 3 'the link to that end was over before' \
	'All of the guest is on 192.0.2.1' '--confirm-other-stopped' '!The guest runs on' '!succeeded'
keeps "and --recover goes on from there, too"

completes
peer_says 0.1 resumed 0 failed
verdict "the guest ran there, and its QEMU ends" 3 'the guest ran on 192.0.2.1, and that end failed' \
	'!--confirm-other-stopped' '!succeeded'

play "$RUNNING
$COPYING
$COMPLETES; close
serve forever"
peer_says 1.5 resumed
verdict "our QEMU has no part left" 0 'The guest runs on 192.0.2.1' 'Migration succeeded'

play "$RUNNING
$COPYING
${COMPLETES%event*} $RUNNING; event MIGRATION {\"status\":\"failed\"}
serve"
peer_says 0.1 failed
verdict "it has failed, and QEMU does not hand the guest over" 1 'QEMU reported migration failed' \
	'The guest runs on the source, as before.'

play "$RUNNING
$COPYING
on migrate reply; event MIGRATION {\"status\":\"active\"}; sleep 100; default query-status {\"status\":\"io-error\",\"singlestep\":false,\"running\":false}; event STOP
serve"
echo "peer: { command = [ \"$work/peer\" ]; };" >"$work/peer.conf"
sed -i 's/^while read/(sleep 0.8 \&\& say resumed) \&\nwhile read/' "$work/peer"
source_end -c "$work/peer.conf"
verdict "a destination that runs although the source cancels" 3 \
	'was stopped here, so that it does not run twice' '<stop' '<migrate_cancel'

# The network is put back, however often somebody wants us to stop.
cat >"$work/hook" <<END
#!/bin/sh
[ "\$1" = cleanup ] || exit 0
touch $work/undoing
sleep 1
touch $work/undone
END
chmod 755 "$work/hook"
install -m 644 "$built"/cutover-script.so "$plugins"
echo "cutover: { plugin = \"script\"; path = \"$work/hook\"; };" >"$work/script.conf"
play "$RUNNING
$COPYING
on migrate reply; event MIGRATION {\"status\":\"active\"}; touch $work/active3
on migrate_cancel reply; event MIGRATION {\"status\":\"cancelled\"}
serve"
code=0
"$katamaran" -mode source -qmp "$work/q" -dest-ip 192.0.2.1 -vm-ip 10.0.0.5 \
	--plugin-dir "$plugins" --run-dir "$work/run" -c "$work/script.conf" -v \
	>"$work/out" 2>"$work/err" &
pid=$!
while [[ ! -e $work/active3 ]]; do sleep 0.01; done
kill -INT $pid
while [[ ! -e $work/undoing ]]; do sleep 0.01; done
# By its number: a name would find its child, too, before that is the hook.
for signal in INT TERM INT HUP; do
	kill -$signal $pid
	sleep 0.1
done
wait $pid || code=$?
[[ -e $work/undone ]] || { echo "FAILED: a second signal ends the cleanup"; failed=$((failed + 1)); }
verdict "a second signal does not skip the cleanup" 130 'The guest runs on the source, as before.'

play "$RUNNING
$COPYING
on migrate reply; event MIGRATION {\"status\":\"active\"}; touch $work/active
on migrate_cancel reply; event MIGRATION {\"status\":\"cancelling\"}; sleep 50; event MIGRATION {\"status\":\"cancelled\"}
serve"
signal_after "$work/active" INT 0.2
source_end
verdict "a signal cancels, and the guest is seen running" 130 'stopped by a signal (Interrupt)' \
	'The guest runs on the source, as before.' '<migrate_cancel'

play "$RUNNING
$COPYING
on migrate reply; event MIGRATION {\"status\":\"active\"}; touch $work/active2
on migrate_cancel reply; default query-migrate {\"status\":\"cancelling\"}
serve"
signal_after "$work/active2" TERM 0.2
source_end
verdict "a cancel that does not end needs a human" 3 'does not end the migration'

play "$RUNNING
$COPYING
default query-migrate-capabilities [{\"capability\":\"events\",\"state\":false}]
serve"
source_end
verdict "a QEMU without return-path is refused" 1 'lacks the migration capability return-path' \
	'!<migrate'

play "$RUNNING
$COPYING
on migrate reply; event MIGRATION {\"status\":\"active\"}; sleep 100; default query-status {\"status\":\"finish-migrate\",\"singlestep\":false,\"running\":false}; event STOP; sleep 20; event MIGRATION {\"status\":\"completed\"}
serve"
source_end -summary "$work/summary"
verdict "a QEMU that is faster is followed, and doubted" 0 \
	'stopped the guest before its traffic was redirected' 'Migration succeeded'
says "and the summary has its times" '"outcome":"moved"' '"prepare":' '"stop_to_resume":' \
	'"verdict":"unknown"' 'QEMUstoppedtheguestbeforetheredirect'

# The cancel comes too late: the guest has moved, and its packets follow it as well as they can.
play "$RUNNING
$COPYING
on migrate reply; event MIGRATION {\"status\":\"active\"}; touch $work/late1
on migrate_cancel reply; event STOP; sleep 20; event MIGRATION {\"status\":\"completed\"}
serve"
signal_after "$work/late1"
source_end -summary "$work/summary"
verdict "a migration that is complete before it is cancelled" 0 'complete before it could be cancelled' \
	'ms when its traffic was redirected' 'Switchover: STOP to redirect' 'STOP to completed' \
	'QEMU was faster than the redirect' '!QEMU was not faster'
says "and that is in doubt" '"outcome":"moved"' '"verdict":"unknown"' '"redirect_to_stop":-' \
	'hadbeenstoppedfor'

play "$RUNNING
$COPYING
on migrate reply; event MIGRATION {\"status\":\"active\"}; touch $work/late2
on migrate_cancel reply; event MIGRATION {\"status\":\"completed\"}
serve"
signal_after "$work/late2"
source_end
verdict "and nobody has seen its STOP" 0 'complete before it could be cancelled' 'STOP not seen'

cat >"$work/hook" <<-'END'
	#!/bin/sh
	[ "$1" != on_stop ]
END
play "$RUNNING
$COPYING
on migrate reply; event MIGRATION {\"status\":\"active\"}; sleep 100; default query-status {\"status\":\"finish-migrate\",\"singlestep\":false,\"running\":false}; event STOP
on migrate_cancel reply; event MIGRATION {\"status\":\"completed\"}
serve"
code=0
timeout -k 20 20 "$katamaran" -mode source -qmp "$work/q" -dest-ip 192.0.2.1 -vm-ip 10.0.0.5 \
	--plugin-dir "$plugins" --run-dir "$work/run" -c "$work/script.conf" -v \
	-summary "$work/summary" >"$work/out" 2>"$work/err" || code=$?
verdict "nor is there a redirect" 0 'there is no redirect: what' 'Switchover: no redirect, STOP to' \
	'There was no redirect; 0 packet(s) salvaged' '!Keeping the redirect' '!QEMU was not faster'
says "which the summary tells" '"outcome":"moved"' '"redirect_to_stop":null' '"verdict":"unknown"' \
	'thereisnoredirect:what'

REDIRECTED='on migrate reply; event MIGRATION {"status":"active"}
once migrate-set-parameters {"downtime-limit":2000000} reply; default query-status'

play "$RUNNING
$AT_THE_END
$REDIRECTED {\"status\":\"io-error\",\"singlestep\":false,\"running\":false}; event STOP
on migrate_cancel reply; event MIGRATION {\"status\":\"cancelled\"}
serve"
source_end
verdict "STOP for another reason, with the packets redirected" 3 'the guest still runs and empties' \
	'the guest does not run on the source' \
	'stopped for a reason of its own (io-error)' '<migrate_cancel' '!Migration status: completed'

play "$RUNNING
$AT_THE_END
$REDIRECTED {\"status\":\"running\",\"singlestep\":false,\"running\":true}; event STOP; event RESUME; sleep 50; default query-status {\"status\":\"postmigrate\",\"singlestep\":false,\"running\":false}; event STOP; event MIGRATION {\"status\":\"completed\"}
serve"
source_end
verdict "stopped and continued, with the packets redirected" 0 'Migration succeeded' \
	'Switchover: redirect to STOP' '!<migrate_cancel'

# The guest's end is told while an answer is waited for, and then QEMU ends.
play "$RUNNING
once query-migrate reply {}
on migrate reply; event MIGRATION {\"status\":\"active\"}
on query-migrate event SHUTDOWN {\"guest\":true,\"reason\":\"guest-shutdown\"}; close
serve"
source_end
verdict "a guest that shuts down while QEMU is asked" 1 'katamaran: the guest has shut itself down' \
	'!runs nowhere'

play "$RUNNING
$COPYING
on migrate reply; event MIGRATION {\"status\":\"active\"}; sleep 100; default query-status {\"status\":\"io-error\",\"singlestep\":false,\"running\":false}; event STOP
on migrate_cancel close
serve"
source_end
verdict "a QEMU that ends with a guest that had stopped" 3 'runs nowhere' '!reason of its own'

play "$RUNNING
$COPYING
on migrate reply; event MIGRATION {\"status\":\"active\"}; touch $work/late3
on migrate_cancel reply; event SHUTDOWN {\"guest\":false,\"reason\":\"host-qmp-quit\"}; close
serve"
signal_after "$work/late3"
source_end
verdict "a guest that is ended while it is cancelled" 1 \
	'katamaran: QEMU was told to end, and the guest with it (host-qmp-quit)' \
	'!runs nowhere'

# The whole order `salvage`: no brake, QEMU stops when it likes, and goes on when it is told.
play "$RUNNING
$COPYING
on migrate reply; event MIGRATION {\"status\":\"active\"}; sleep 100; default query-status {\"status\":\"finish-migrate\",\"singlestep\":false,\"running\":false}; event STOP; event MIGRATION {\"status\":\"pre-switchover\"}
on migrate-continue reply; event MIGRATION {\"status\":\"completed\"}
serve"
source_end -order salvage
verdict "in the order salvage QEMU chooses the moment" 0 'Order salvage: QEMU chooses' \
	'Migration succeeded' '<migrate-continue' '!before its traffic was redirected' \
	'{"capability":"pause-before-switchover","state":true}' '"downtime-limit":50}'

play "$RUNNING
$COPYING
on migrate error GenericError no_such_thing
serve"
source_end
verdict "a refused migrate leaves the guest alone" 1 'no_such_thing' '!<migrate_cancel'

play "$RUNNING
$COPYING
on migrate default query-status {\"status\":\"io-error\",\"singlestep\":false,\"running\":false}; error GenericError no_such_thing
serve"
source_end
verdict "but says that it has stopped meanwhile" 3 'no_such_thing; and the guest does not run' \
	'mend its disk' '!<migrate_cancel' '!<cont'

play 'default query-status {"status":"running","singlestep":false,"running":true}
serve'
dest_end
verdict "a destination whose guest runs is refused" 1 'does not wait for a guest (it is "running")'

play "$INCOMING
default query-migrate {}
on migrate-incoming reply; event MIGRATION {\"status\":\"setup\"}; sleep 50; event MIGRATION {\"status\":\"active\"}; sleep 50; close
serve"
dest_end
verdict "a QEMU that dies before the guest runs" 1 'has gone before the guest ran here'

play "$INCOMING
default query-migrate {}
on migrate-incoming reply; event MIGRATION {\"status\":\"active\"}; sleep 50; default query-migrate {\"status\":\"failed\",\"error-desc\":\"bad_section\"}; event MIGRATION {\"status\":\"failed\"}
serve"
dest_end
verdict "an incoming migration that fails" 1 'incoming migration failed: bad_section' \
	'{"capability":"return-path","state":false}'

play "$INCOMING
default query-migrate {}
on migrate-incoming reply; event MIGRATION {\"status\":\"active\"}; sleep 50; default query-migrate {\"status\":\"failed\"}; event MIGRATION {\"status\":\"failed\"}
serve"
dest_end
verdict "one of which QEMU has no words for us" 1 "incoming migration failed (see QEMU's own messages)"

play "$INCOMING
default query-migrate {\"socket-address\":[{\"port\":\"4444\",\"ipv4\":true,\"host\":\"192.0.2.1\",\"type\":\"inet\"}]}
once migrate-set-capabilities reply; sleep 100; event MIGRATION {\"status\":\"active\"}; sleep 20; default query-status {\"status\":\"running\",\"singlestep\":false,\"running\":true}; event RESUME; event MIGRATION {\"status\":\"completed\"}
serve"
dest_end
verdict "a QEMU that listens already is not asked to" 0 'QEMU listens on 192.0.2.1 port 4444' \
	'VM resumed' '!<migrate-incoming'

play "$INCOMING
default query-migrate {\"socket-address\":[{\"host\":\"192.0.2.1\",\"type\":\"inet\"}]}
once migrate-set-capabilities reply; sleep 100; event MIGRATION {\"status\":\"active\"}; sleep 20; event RESUME
serve"
dest_end -multifd 4
verdict "a QEMU that does not tell its port, and gets its settings back" 0 'not TCP' '!(null)' \
	'"multifd-channels":4' '"multifd-channels":2' '{"capability":"multifd","state":false}'

play "$INCOMING
default query-migrate {}
on migrate-incoming reply; event MIGRATION {\"status\":\"active\"}; sleep 50; default query-status {\"status\":\"paused\",\"singlestep\":false,\"running\":false}; event MIGRATION {\"status\":\"completed\"}
on cont reply; event RESUME
serve"
dest_end -summary "$work/summary"
verdict "a guest that arrives paused is continued" 0 'arrived paused' 'VM resumed' '<cont' \
	'{"capability":"return-path","state":false}'
says "and the summary says that it has moved" '"role":"dest"' '"outcome":"moved"' \
	'"exit_code":0' '"error":null' '"destination":"127.0.0.1"' '"lost":0' \
	'"reasons":["theotherend' '"hold_to_resume":'

play serve
dest_end -summary "$work/no/summary"
verdict "a summary that could not be written" 2 "summary $work/no/summary: cannot write it there"

play "$INCOMING
default query-migrate {}
on migrate-incoming reply; event MIGRATION {\"status\":\"active\"}; sleep 50; default query-status {\"status\":\"paused\",\"singlestep\":false,\"running\":false}; event MIGRATION {\"status\":\"completed\"}
on cont error GenericError no_lock
serve"
dest_end
verdict "a guest that runs nowhere needs a human" 3 'it runs nowhere' 'no_lock'

# PAUSED: it comes so, and the rest of the script is what happens then.
PAUSED="$INCOMING
default query-migrate {}
on migrate-incoming reply; event MIGRATION {\"status\":\"active\"}; sleep 50; default query-status {\"status\":\"paused\",\"singlestep\":false,\"running\":false}; event MIGRATION {\"status\":\"completed\"}"

play "$PAUSED
on cont touch $work/continued; await $work/signalled; reply; event RESUME
serve"
(
	while [[ ! -e $work/continued ]]; do sleep 0.01; done
	signal_end INT
	sleep 0.2
	touch "$work/signalled"
) &
dest_end
verdict "a signal does not come between the guest and its RESUME" 0 '<cont' 'VM resumed' \
	'!runs nowhere'

play "$PAUSED
on cont close
serve"
dest_end
verdict "a QEMU that dies when it is to let the guest run" 3 'before it ran: it runs nowhere' \
	'--confirm-other-stopped' '!"cont"} to'

play "$PAUSED
on cont close
serve forever"
dest_end
verdict "a QEMU that is taken away then" 3 'before anything is continued' '!runs nowhere'

play "$INCOMING
default query-migrate {}
serve"
dest_end -event-timeout-s 1
verdict "a guest that never comes" 1 'no guest has arrived within 1 s' \
	'{"capability":"return-path","state":false}'

play "$INCOMING
default query-migrate {}
on migrate-incoming reply; event MIGRATION {\"status\":\"active\"}; default query-migrate {\"status\":\"active\"}
serve"
dest_end -event-timeout-s 1
verdict "a guest that begins to come and does not arrive" 1 'no guest has arrived within 1 s' \
	'settings are not put back' '!{"capability":"return-path","state":false}'

# The source takes its time for the disks, and for the RAM, and is there all the while.
play "$INCOMING
default query-migrate {}
on migrate-incoming reply; sleep 1500; event MIGRATION {\"status\":\"active\"}; sleep 1500; event RESUME; touch $work/there
serve"
dest_end -peer-stdio -event-timeout-s 1 < <(
	printf '{"type":"%s","protocol":1}\n' hello checked prepare
	while [[ ! -e $work/there ]]; do sleep 0.05; done
	echo '{"type":"over"}'
)
verdict "a source that is heard has deadlines of its own" 0 'VM resumed' '!no guest has arrived'

# ---- -check: what is found, by one end or by both, and nothing is done ----

# checked NAME EXIT [TEXT...]: as verdict, but of what is printed, and QEMU was only asked.
checked() {
	cat "$work/out" >>"$work/err"
	verdict "$@" '!<migrate' '!<cont' '!<stop'
}

play "$RUNNING
serve"
source_end -check
checked "a guest that can be moved" 0 'ok       source       guest: runs' \
	'warning  source       other end: not checked' '0 failures, 1 warning'

play "$RUNNING
default query-migrate {\"blocked\":true,\"blocked-reasons\":[\"no_way\"]}
default query-migrate-capabilities [{\"capability\":\"events\",\"state\":false}]
default query-block [{\"device\":\"d0\",\"locked\":false,\"removable\":false,\"type\":\"unknown\",\"inserted\":{\"ro\":false,\"file\":\"d0.img\",\"drv\":\"raw\",\"node-name\":\"n0\"}}]
serve"
source_end -check
checked "all that is wrong is told at once" 1 'failure  source       migration: QEMU refuses it: no_way' \
	'capabilities: this QEMU lacks the migration capability return-path' \
	'failure  source       storage-none: the guest has writable disks: d0' 'ok       source       guest: runs'

play "$RUNNING
default query-migrate {\"blocked\":true,\"blocked-reasons\":[\"no_way\"]}
serve"
source_end
verdict "a migration that QEMU would refuse is not begun" 1 'QEMU refuses it: no_way' '!<migrate' \
	'!<migrate-set-capabilities'

# ---- the disks of the two ends, which the other one tells of ----

install -m 644 "$built"/storage-shared.so "$built"/storage-nbd.so "$plugins"
# of_disk PLUGIN SIZE FORMAT FILE: what the other end has published of its only disk.
of_disk() {
	local key facts=''
	for key in drives=d0 "size.d0=$2" "format.d0=$3" "file.d0=$4"; do
		facts+="${facts:+,}{\"plugin\":\"storage-$1\",\"key\":\"${key%%=*}\",\"value\":\"${key#*=}\"}"
	done
	echo "[$facts]" >"$work/peer.facts"
}

# disks FLAG [DRIVER]: -check on a source with a disk of 1 MiB.
disks() {
	play "$RUNNING
default query-block [{\"device\":\"d0\",\"locked\":false,\"removable\":false,\"type\":\"unknown\",\"inserted\":{\"ro\":false,\"file\":\"/nowhere/d0.img\",\"drv\":\"${2-raw}\",\"node-name\":\"n0\",\"image\":{\"filename\":\"d0.img\",\"format\":\"${2-raw}\",\"virtual-size\":1048576}}}]
serve"
	echo "peer: { command = [ \"$work/peer\" ]; };" >"$work/peer.conf"
	# shellcheck disable=SC2086	# a flag and its value
	source_end -c "$work/peer.conf" -check $1
}

of_disk shared 1048576 raw /nowhere/d0.img
disks -shared-storage
checked "the same disk" 0 'ok       source       storage-shared: drive: d0: the destination has the same name'
disks -shared-storage host_device
checked "the same disk, as a device" 0 'the destination has the same name open'
disks -shared-storage qcow2
checked "one disk, read in two ways" 1 'drive d0 is qcow2 here and raw on the destination'
of_disk shared 2097152 raw /nowhere/d0.img
disks -shared-storage
checked "a disk of another size" 1 'drive d0 has 1048576 bytes here and 2097152 on the destination'
of_disk shared 1048576 raw /nowhere/other.img
disks -shared-storage
checked "another disk" 1 'drive d0 is /nowhere/d0.img here and /nowhere/other.img on the destination'
of_disk nbd 1048576 raw ''
disks '-drive-id d0'
checked "a disk that can be copied" 0 'd0, 1048576 bytes: the destination has it' '!copied all the same'
disks '-drive-id d0' qcow2
checked "a disk of another format can be, too" 0 'warning  source       storage-nbd: drive: d0 is qcow2 here and raw'
of_disk nbd 1048575 raw ''
disks '-drive-id d0'
checked "a smaller disk" 1 "the destination's only 1048575"
rm -f "$work/peer.facts"

# left COMMAND JSON: QEMU on the source has that of an earlier run.
left() {
	play "$RUNNING
default query-block []
default $1 $2
serve"
	install -m 644 "$built"/storage-nbd.so "$plugins"
	echo 'storage: { plugin = "nbd"; };' >"$work/nbd.conf"
	source_end -c "$work/nbd.conf" -check
}

left query-block-jobs '[{"device":"kat-nbd-abcdefgh-0","type":"mirror","len":1,"offset":0,"busy":false,"paused":false,"speed":0,"io-status":"ok","ready":true,"status":"ready","auto-finalize":true,"auto-dismiss":false}]'
checked "a job of an earlier run" 0 'leftovers: QEMU has kat-nbd-abcdefgh-0 of an earlier run' 'block-job-cancel'
left query-named-block-nodes '[{"node-name":"kat-nbd-abcdefgh-0"}]'
checked "a node of an earlier run" 0 'leftovers: QEMU has kat-nbd-abcdefgh-0 of an earlier run' 'blockdev-del'

play "$INCOMING
default query-block [{\"device\":\"d0\",\"locked\":false,\"removable\":false,\"type\":\"unknown\",\"inserted\":{\"ro\":false,\"file\":\"d0.img\",\"drv\":\"raw\",\"node-name\":\"n0\"}}]
default query-block-exports [{\"id\":\"kat-nbd-abcdefgh-0\",\"type\":\"nbd\",\"node-name\":\"n0\",\"shutting-down\":false}]
serve"
dest_end -check -drive-id d0
checked "an export of an earlier run" 0 'leftovers: QEMU has kat-nbd-abcdefgh-0 of an earlier run' \
	'block-export-del'

play "$RUNNING
default query-migrate-capabilities [{\"capability\":\"events\",\"state\":false},{\"capability\":\"return-path\",\"state\":false},{\"capability\":\"auto-converge\",\"state\":false}]
serve"
source_end -check -order salvage
checked "a QEMU that does not wait for what is salvaged" 0 \
	'lacks the migration capability pause-before-switchover'

# With what root lacks in a container, say.
if ((EUID == 0)) && setpriv --bounding-set -sys_ptrace true 2>/dev/null; then
	play "$RUNNING
serve"
	code=0
	setpriv --bounding-set -sys_ptrace "$katamaran" -mode source -qmp "$work/q" -dest-ip 192.0.2.1 \
		-vm-ip 10.0.0.5 -tunnel-mode none --plugin-dir "$plugins" --run-dir "$work/run" -check \
		>"$work/out" 2>"$work/err" || code=$?
	checked "a QEMU whose descriptors are out of reach" 0 "QEMU's descriptors are out of reach"
else
	echo "# not root: a QEMU whose descriptors are out of reach is not tried"
fi

play 'busy'
source_end -check
checked "a monitor that is busy" 1 'failure  source       QEMU: no greeting'

play 'busy'
dest_end -check
checked "and on the destination" 1 'failure  destination  QEMU: no greeting' 'destination  migration port:'

play "$INCOMING
default query-migrate {}
serve"
dest_end -check -dest-ip 192.0.2.1
checked "an address of somebody else" 1 '192.0.2.1 is no address of this node' 'this QEMU waits for one'

play "$INCOMING
serve"
dest_end -check -tunnel-mode gone
checked "a configuration that cannot be used" 2 '-tunnel-mode'

# both_ends [FLAG...]: the source starts the other end, whose monitor is a second one.
both_ends() {
	code=0
	timeout -k 20 30 "$katamaran" -c "$work/both.conf" -mode source -qmp "$work/q" -vm-ip 10.0.0.5 \
		--plugin-dir "$plugins" -v "$@" >"$work/out" 2>"$work/err" || code=$?
}

cat >"$work/both.conf" <<-END
	destination: { ip = "127.0.0.1"; };
	cutover = ();
	peer: { command = [ "$katamaran", "-mode", "dest", "-qmp", "$work/q2", "-tunnel-mode", "none",
		"-dest-ip", "127.0.0.1", "--plugin-dir", "$plugins", "-v" ]; };
END

# play_two SOURCE DEST: two monitors.
play_two() {
	rm -f "$work/q2"
	printf '%s\n' "$2" >"$work/script2"
	"$fake" -t 30 -l "$work/transcript2" "$work/q2" "$work/script2" 2>"$work/fake2.err" &
	while [[ ! -S $work/q2 ]]; do sleep 0.01; done
	play "$1"
}

SAME='default qom-get "microvm-machine"
default query-memory-size-summary {"base-memory":67108864,"plugged-memory":0}
default human-monitor-command "dev: kvmvapic, id \"\"\n"'

play_two "$RUNNING
$SAME
serve" "$INCOMING
$SAME
serve"
both_ends -check
checked "two ends that fit" 0 'ok       both         machine types: microvm on both' \
	'ok       both         memory: 65536 KiB on both' 'ok       both         devices: the same 1 on both' \
	'ok       destination  guest: this QEMU waits for one' '0 failures, 0 warnings'

play_two "$RUNNING
$SAME
serve" 'default qom-get "none-machine"
default query-memory-size-summary {"base-memory":33554432,"plugged-memory":0}
default human-monitor-command ""
serve'
both_ends -check
checked "two ends that do not fit" 1 'failure  both         machine types: microvm on the source, none' \
	'failure  both         memory: 65536 KiB on the source, 32768 KiB' \
	'failure  both         devices: 1 of the source' \
	'failure  destination  guest: this QEMU does not wait for one (it is "running")'

play_two "$RUNNING
$SAME
serve" "$INCOMING
default qom-get \"none-machine\"
serve"
both_ends
verdict "no migration to another machine" 1 'katamaran: both: machine types: microvm on the source' \
	'!<migrate' '!<migrate-set-capabilities'
! grep -q '"migrate-' "$work/transcript2" || { echo "FAILED: the destination was changed"; failed=$((failed + 1)); }

# Ctrl-C on the terminal of the source: it takes the migration back, once, and tells the other end.
name="Ctrl-C" bad=0
play_two "$RUNNING
$COPYING
$SAME
on migrate reply; event MIGRATION {\"status\":\"active\"}; touch $work/typed
on migrate_cancel reply; event MIGRATION {\"status\":\"cancelled\"}
serve" "$INCOMING
$SAME
default query-migrate {}
on migrate-incoming reply; event MIGRATION {\"status\":\"setup\"}
serve"
code=0
{
	while [[ ! -e $work/typed ]]; do sleep 0.01; done
	sleep 0.3
	printf '\003'
	sleep 3
} | timeout 30 script -qec "exec $katamaran -c $work/both.conf -mode source -qmp $work/q \
	-vm-ip 10.0.0.5 --plugin-dir $plugins --run-dir $work/run -v >$work/out 2>$work/err" \
	/dev/null >/dev/null || code=$?
(($(grep -c '^katamaran: stopped by a signal (Interrupt)$' "$work/err") == 1)) || complain "not stopped once"
! pgrep -f -- "-qmp $work/q2 " >/dev/null || complain "the other end has stayed"
if ((bad)); then failed=$((failed + 1)); fi
verdict "Ctrl-C" 130 'The guest runs on the source, as before.' \
	'destination| katamaran: the source gave up: stopped by a signal' '!Already taking' \
	'!does not end: sending' '<migrate_cancel'

for one in "${waits[@]}"; do
	wait "${one#*:}" || true
	read -r p f <"$work/${one%:*}/verdicts" || { p=0 f=1; echo "FAILED: ${one%:*}: no verdict"; }
	passed=$((passed + p)) failed=$((failed + f))
done

echo "$passed passed, $failed failed"
((failed == 0))
