#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# katamaran is killed, and --recover decides by what the monitor says: each decision, and what
# was sent to QEMU for it.  --status and --cancel on the way.
set -euo pipefail

katamaran=${KATAMARAN:-./katamaran}
built=${KATAMARAN_PLUGIN_DIR:-$PWD/.libs}
fake=${FAKE_QMP:-tests/fake_qmp}
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT
passed=0 failed=0 flags=()

# A build tree may be writable by a group, and the loader refuses that: a copy is not.
umask 022
plugins=$work/plugins run=$work/run
mkdir "$plugins"
install -m 644 "$built"/storage-none.so "$built"/announce-self.so "$plugins"

# The states of a guest and of a migration, as QEMU answers.
guest() {
	printf 'default query-status {"status":"%s","singlestep":false,"running":%s}\n' "$1" \
		"$([[ $1 = running ]] && echo true || echo false)"
}

migration() {
	printf 'default query-migrate {"status":"%s","ram":{"remaining":50000000,"total":100000000,' "$1"
	printf '"transferred":1,"dirty-sync-count":1,"page-size":4096,"dirty-pages-rate":10}}\n'
}

# play SCRIPT: a monitor at $work/q that is there from the start to the verdict.
play() {
	rm -rf "$work/q" "$work/active" "$work/killed" "$run"
	printf '%s\n' "$1" >"$work/script"
	"$fake" -t 60 -l "$work/transcript" "$work/q" "$work/script" 2>"$work/fake.err" &
	monitor=$!
	until_there "$work/q"
}

until_there() {
	local tries=0
	until [[ -e $1 ]]; do
		((tries++ < 1500)) || { echo "no $1: $(tail -n 3 "$work/err")"; exit 1; }
		sleep 0.01
	done
}

# killed_source SCRIPT: a source that is killed while QEMU copies; then QEMU is as SCRIPT says.
killed_source() {
	play "$(guest running)
once migrate reply; $(migration active); event MIGRATION {\"status\":\"active\"}; touch $work/active
serve
$1
greet
serve forever"
	start_source
	until_there "$work/active"
	until grep -q '"phase":"copying"' "$run"/*.journal; do sleep 0.01; done
	kill_it
}

start_source() {
	"$katamaran" -mode source -qmp "$work/q" -dest-ip 192.0.2.1 -vm-ip 10.0.0.5 \
		-tunnel-mode none --plugin-dir "$plugins" --run-dir "$run" "${flags[@]}" \
		>"$work/out" 2>"$work/err" &
	pid=$!
}

# killed_dest SCRIPT: a destination that is killed while it waits; then QEMU is as SCRIPT says.
killed_dest() {
	play "$(guest inmigrate)
default query-migrate {}
on migrate-incoming reply; touch $work/active
serve
$1
greet
serve"
	"$katamaran" -mode dest -qmp "$work/q" -dest-ip 127.0.0.1 -tunnel-mode none \
		--plugin-dir "$plugins" --run-dir "$run" >"$work/out" 2>"$work/err" &
	pid=$!
	until_there "$work/active"
	until grep -q '"phase":"waiting"' "$run"/*.journal; do sleep 0.01; done
	kill_it
}

kill_it() {
	kill -KILL "$pid"
	wait "$pid" 2>/dev/null || true
	touch "$work/killed"
	id=$(basename "$run"/*.journal .journal)
	at=$(wc -l <"$work/transcript")
}

# do_it ARGUMENT...: its exit code in $code, what QEMU got meanwhile in $work/since.
do_it() {
	code=0
	timeout -k 20 60 "$katamaran" --run-dir "$run" "$@" >"$work/out" 2>"$work/err" || code=$?
	sed "1,${at}d" "$work/transcript" >"$work/since"
}

complain() {
	echo "FAILED: $name: $1"
	sed 's/^/	/' "$work/err" | tail -n 12
	tail -n 8 "$work/since" 2>/dev/null | cut -c1-200 | sed 's/^/	/'
	bad=1
}

# see NAME EXIT [TEXT...]: what it gave; a TEXT with ! in front must not be there.  "<X": QEMU got
# the command X since katamaran was killed.  "journal" and "!journal": whether one is there.
see() {
	local text
	name=$1 bad=0
	((code == $2)) || complain "exit code $code, not $2"
	shift 2
	for text; do
		case $text in
		'<'*) grep -qE "\"execute\": ?\"${text#<}\"" "$work/since" ||
			complain "QEMU never got ${text#<}" ;;
		'!<'*) ! grep -qE "\"execute\": ?\"${text#!<}\"" "$work/since" ||
			complain "QEMU got ${text#!<}" ;;
		journal) [[ -e $run/$id.journal ]] || complain "the journal has gone" ;;
		'!journal') [[ ! -e $run/$id.journal ]] || complain "the journal is still there" ;;
		*) grep -qF -- "$text" "$work/err" "$work/out" || complain "does not say \"$text\"" ;;
		esac
	done
	if ((bad)); then failed=$((failed + 1)); else passed=$((passed + 1)); fi
}

# verdict: as see, and it was the last of this monitor, which has nothing to complain of.
verdict() {
	local rc=0
	see "$@"
	kill "$monitor" 2>/dev/null || true
	wait "$monitor" 2>/dev/null || rc=$?
	((rc == 0)) || { complain "the monitor: $(cat "$work/fake.err")"; failed=$((failed + 1)); }
}

echo '# the source'

killed_source "on migrate_cancel reply; $(migration cancelled)"
do_it --status
see "a dead one is listed" 0 "$id" source DEAD copying 192.0.2.1
do_it --status "$id" --json
see "and for programs" 0 "\"id\":\"$id\"" '"alive":false' '"phase":"copying"' '"role":"source"'
do_it --cancel "$id"
see "nobody is there to be asked to stop" 1 "--recover $id" journal
do_it --recover nosuchid
see "another one is not recovered" 2 'no migration "nosuchid"' journal
do_it --recover "$id"
verdict "a copy under way is cancelled" 0 'The guest runs here, on the source' '<migrate_cancel' \
	'<migrate-set-capabilities' '!<cont' '!journal'
grep -qF '"max-bandwidth": 134217728' "$work/since" ||
	{ complain "max-bandwidth was not put back"; failed=$((failed + 1)); }

killed_source "$(guest postmigrate)
$(migration completed)"
do_it --recover all
verdict "a guest that has moved is left there" 0 'The migration is complete' '!<migrate_cancel' \
	'!<cont' '!journal'

killed_source "$(guest finish-migrate)
$(migration pre-switchover)
on migrate_cancel reply; $(guest running); $(migration cancelled)"
do_it --recover "$id"
verdict "QEMU waits for us before the switchover: cancelled" 0 '<migrate_cancel' \
	'The guest runs here' '!<cont' '!journal'

killed_source "$(guest finish-migrate)
$(migration active)
once human-monitor-command reply \"\"; await $work/waits; $(guest postmigrate); $(migration completed)"
{ until grep -q 'waiting for how that ends' "$work/err"; do sleep 0.01; done; touch "$work/waits"; } &
do_it --recover "$id"
verdict "a guest that is being handed over is not cancelled" 0 'The migration is complete' \
	'waiting for how that ends' '!<migrate_cancel' '!<cont' '!journal'

killed_source "$(guest postmigrate)
$(migration failed)
on cont reply; $(guest running)"
do_it --recover "$id"
see "a doubtful end is for a human" 3 'may run on the destination' "--recover $id" \
	'--confirm-other-stopped' '"quit"' '!<cont' '!<migrate-set-parameters' journal
verdict "and stays so" 3

killed_source "$(guest postmigrate)
$(migration failed)
on cont reply; $(guest running)"
do_it --recover "$id" --confirm-other-stopped
verdict "who knows that the other has stopped continues it" 0 '<cont' 'The guest runs here' \
	'<migrate-set-parameters' '!journal'

killed_source "$(guest paused)
$(migration cancelled)"
do_it --recover "$id"
verdict "a guest that somebody paused is not continued" 3 'is "paused" on the source' \
	'unless somebody wants that, send {"execute": "cont"} to' '!<cont' journal

killed_source "$(guest running)
$(migration completed)"
do_it --recover "$id"
verdict "a source that runs on after the end" 3 'may run on the destination' '!<migrate_cancel' journal

killed_source "$(guest running)"
kill "$monitor"
wait "$monitor" 2>/dev/null || true
do_it --recover "$id"
see "QEMU has ended" 0 "QEMU (process $monitor) has ended" 'ask query-status there' '!journal'

killed_source "$(guest running)"
mv "$work/q" "$work/elsewhere"
do_it --recover "$id"
see "a QEMU that cannot be asked" 1 'lives, but cannot be asked' journal

killed_source "$(guest postmigrate)
$(migration failed)"
# In front of it stands one that fails for a lesser reason.
sed '1s#/q"#/none"#; 1s/"id":"[^"]*"/"id":"0"/' "$run/$id.journal" >"$run/0.journal"
do_it --recover all
verdict "of all the worst counts" 3 'cannot be asked' 'may run on the destination' journal

echo '# the source, with the other end to be asked'

# The peer command: a destination at a monitor of its own, until it is replaced.
other() {
	printf '#!/bin/bash\n%s\n' "$1" >"$work/other"
	chmod +x "$work/other"
}
echo "peer: { command = [ \"$work/other\" ]; };" >"$work/peer.conf"

# killed_pair SCRIPT THERE: a source that is killed when the guest may have moved, for then its
# QEMU is as SCRIPT says, and the destination's, once its katamaran has gone, as THERE.
killed_pair() {
	rm -rf "$work/q2" "$work/run2"
	printf '%s\n' "$(guest inmigrate)
default query-migrate {}
on migrate-incoming reply; event MIGRATION {\"status\":\"active\"}; await $work/killed; default query-migrate {\"status\":\"active\"}
serve
$2
greet
serve forever" >"$work/script2"
	rm -f "$work/killed"
	"$fake" -t 60 "$work/q2" "$work/script2" 2>"$work/fake2.err" &
	monitor2=$!
	until_there "$work/q2"
	other "exec '$katamaran' -mode dest -qmp '$work/q2' -dest-ip 127.0.0.1 -tunnel-mode none \
		--plugin-dir '$plugins' --run-dir '$work/run2' \"\$@\""
	flags=(-c "$work/peer.conf")
	killed_source "$1"
	flags=()
	until grep -q '"phase":"arriving"' "$work"/run2/*.journal; do sleep 0.01; done
}

# The other end's katamaran, which holds packets in case the guest still comes, ends.
end_other() {
	local there
	there=$(basename "$work"/run2/*.journal .journal)
	"$katamaran" --run-dir "$work/run2" --cancel "$there" >"$work/cancelled" 2>&1
	until [[ -z $(ls "$work/run2") ]]; do sleep 0.01; done
}

other_ends() {
	kill -KILL "$monitor2" 2>/dev/null || true
	wait "$monitor2" 2>/dev/null || true
}

killed_pair "$(guest postmigrate)
$(migration failed)" "$(guest running)
$(migration completed)"
grep -q '"other_qemu":"[^"]*:'"$monitor2"':' "$run/$id.journal" ||
	{ echo "FAILED: the journal does not say which QEMU is the other one"; failed=$((failed + 1)); }
do_it --recover "$id"
see "a katamaran that waits there is for a human" 3 'may run on the destination' \
	'a katamaran still waits for the guest there' '--cancel' '!<cont' journal
end_other
kept=$(<"$work/other")
other 'echo "unknown option" >&2; exit 2'
do_it --recover "$id"
see "an older one that refuses to be asked" 3 'it cannot be asked' 'may run on the destination' \
	'--confirm-other-stopped' '!<cont' '!<migrate_cancel' journal
other "echo '{\"type\":\"hello\",\"protocol\":1}'; echo '{\"type\":\"state\"}'; cat >/dev/null"
do_it --recover "$id"
see "one that says nothing of it" 3 'its QEMU does not answer' '!<cont' journal
printf '%s\n' "$kept" >"$work/other"
code=0
"$katamaran" -mode dest -qmp "$work/q2" -guest-state >"$work/out" 2>"$work/err" || code=$?
see "which is not for people" 2 '-guest-state is for a destination'
do_it --recover "$id"
verdict "the destination says that the guest runs there" 0 'the guest is "running" there' \
	'the guest is on the destination' '!<cont' '!<migrate_cancel' '!journal'
other_ends

killed_pair "$(guest postmigrate)
$(migration failed)
on cont reply; $(guest running)" ""
end_other
do_it --recover "$id"
see "a destination that may still get it" 3 'its QEMU still waits for the guest' '!<cont' journal
mv "$work/q2" "$work/elsewhere"
do_it --recover "$id"
see "its QEMU lives, and cannot be asked" 3 'its QEMU does not answer' '!<cont' journal
other_ends
do_it --recover "$id"
verdict "its QEMU has ended, so the guest goes on here" 0 'its QEMU has ended' '<cont' \
	'The guest runs here' '!journal'

killed_pair "$(guest running)
$(migration failed)
on stop reply; $(guest paused)" "$(guest running)
$(migration completed)"
echo '{"phase":"stopped"}' >>"$run/$id.journal"
end_other
do_it --recover "$id"
see "a guest that QEMU let go on here, too" 3 'it is stopped here, so that it does not run twice' \
	'<stop' '"quit"' '!<migrate-set-parameters' journal
do_it --recover "$id"
verdict "which is not forgotten" 3 'it is stopped here' journal
do_it --recover "$id"
see "until its QEMU is ended" 0 'It is on the destination' '!journal'
other_ends

killed_pair "$(guest running)
$(migration failed)" ""
echo '{"phase":"stopped"}' >>"$run/$id.journal"
end_other
do_it --recover "$id"
see "a guest that QEMU let go on here, and perhaps there" 3 'The guest runs here' \
	'may run on 192.0.2.1, too' 'its QEMU still waits for the guest' '!<stop' journal
do_it --recover "$id" --confirm-other-stopped
see "until somebody has seen that it does not" 0 'The guest runs here' '!<stop' '!journal'
other_ends

killed_pair "$(guest running)
$(migration failed)" ""
echo '{"phase":"stopped"}' >>"$run/$id.journal"
other_ends
do_it --recover "$id"
verdict "a guest that QEMU let go on here alone" 0 'its QEMU has ended' 'The guest runs here' '!<stop' \
	'!journal'

killed_pair "$(guest running)
$(migration completed)" "$(guest running)
$(migration completed)"
end_other
do_it --recover "$id"
verdict "one that runs here and there is for a human" 3 'and yet the guest is here' \
	'the guest is "running" there' '!<migrate_cancel' journal
kill "$monitor" 2>/dev/null || true
do_it --recover "$id"
see "no QEMU here, and the guest there" 0 'It is on the destination' '!journal'
other_ends

echo '# the destination'

killed_dest "$(guest inmigrate)"
do_it --recover "$id"
verdict "no guest has come" 0 'No guest has come' '"quit"' '!<cont' '!journal' \
	'<migrate-set-capabilities'
grep -qF '"announce-rounds": 5' "$work/since" ||
	{ complain "announce-rounds was not put back"; failed=$((failed + 1)); }

killed_dest "$(guest running)
$(migration completed)"
do_it --recover "$id"
verdict "the guest runs" 0 'has the packets that were held' '!<cont' '!journal' \
	'<migrate-set-capabilities'

killed_dest "$(guest paused)
$(migration completed)
on cont reply; $(guest running)"
do_it --recover "$id"
verdict "a guest that nobody started is for a human" 3 'all of the guest has arrived' \
	'--confirm-other-stopped' '!<cont' journal

killed_dest "$(guest paused)
$(migration completed)
on cont reply; $(guest running)"
do_it --recover "$id" --confirm-other-stopped
verdict "who knows that the source has stopped starts it" 0 '<cont' 'has the packets' '!journal'

killed_dest "$(guest inmigrate)"
kill "$monitor"
wait "$monitor" 2>/dev/null || true
do_it --recover "$id"
see "its QEMU has ended" 0 'The guest does not run here' '!journal'

echo '# journals'

killed_source "on migrate_cancel reply; $(migration cancelled)"
printf '{"plugin":"cutover-ipip","step":0,"rec' >>"$run/$id.journal"
do_it --recover "$id"
verdict "a torn last line is left out" 0 'The guest runs here' '!journal'

killed_source "on migrate_cancel reply; $(migration cancelled)"
echo '{"plugin":"cutover-nosuch","step":7,"record":"x"}' >>"$run/$id.journal"
do_it --recover "$id"
verdict "what no plugin can undo keeps the journal" 1 'cutover-nosuch' journal

# By its number QEMU seems to have ended, but numbers of elsewhere mean nothing here.
killed_source "on migrate_cancel reply; $(migration cancelled)"
sed -Ei '1s/"(pid_namespace|qemu_start)":[0-9]+/"\1":7/g' "$run/$id.journal"
do_it --recover "$id"
verdict "one of another pid namespace" 0 'The guest runs here' '<migrate_cancel' '!journal'

killed_source "$(guest running)"
sed -i '1s/"katamaran":1,/"katamaran":99,/' "$run/$id.journal"
do_it --recover "$id"
see "another version's journal" 3 'is in format 99' '!<migrate_cancel' journal

echo '# the next start'

killed_source ""
do_it -check -mode source -qmp "$work/q" -dest-ip 192.0.2.1 -vm-ip 10.0.0.5 -tunnel-mode none \
	--plugin-dir "$plugins"
see "-check tells of it, and leaves it alone" 1 "migration $id of this guest was killed here" \
	'while "copying"' "--recover $id" '!<migrate_cancel' journal

killed_source "on migrate_cancel reply; $(migration cancelled)
greet
serve
once migrate error GenericError not_again"
before=$id
do_it -mode source -qmp "$work/q" -dest-ip 192.0.2.1 -vm-ip 10.0.0.5 -tunnel-mode none \
	--plugin-dir "$plugins"
id=$before
verdict "recovers a dead migration of the same guest" 1 "Recovering migration $before" \
	'The guest runs here' not_again '!journal'

echo '# a living one'

play "$(guest running)
once migrate reply; $(migration active); event MIGRATION {\"status\":\"active\"}; touch $work/active
on migrate_cancel reply; event MIGRATION {\"status\":\"cancelled\"}
serve"
start_source
until_there "$work/active"
until grep -q '"phase":"copying"' "$run"/*.journal; do sleep 0.01; done
id=$(basename "$run"/*.journal .journal) at=0
cp "$work/err" "$work/err.source"
code=0
"$katamaran" --run-dir "$run" --status >"$work/out" 2>"$work/err" || code=$?
see "a living one is listed" 0 "$id" alive copying journal
code=0
"$katamaran" --run-dir "$run" --recover "$id" >"$work/out" 2>"$work/err" || code=$?
see "and not recovered" 1 'is running' "--cancel $id" journal
code=0
"$katamaran" --run-dir "$run" --recover all >"$work/out" 2>"$work/err" || code=$?
see "nor with all" 0 'Nothing to recover' journal
code=0
"$katamaran" --run-dir "$run" --cancel "$id" >"$work/out" 2>"$work/err" || code=$?
see "but asked to stop" 0 'Asked migration'
code=0
wait "$pid" || code=$?
verdict "which it does, and cleans up" 130 '!journal'

echo "$passed passed, $failed failed"
((failed == 0))
