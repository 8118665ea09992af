#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# The command line as a user meets it: what is printed, where, and the exit code.
# Needs no privilege and no guest.  KATAMARAN is the program (./katamaran), and
# KATAMARAN_PLUGIN_DIR where its plugins were built (./.libs).
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
katamaran=$(realpath "${KATAMARAN:-./katamaran}")
built=$(realpath "${KATAMARAN_PLUGIN_DIR:-./.libs}")
include=$here/../../core

work=$(mktemp -d "${TMPDIR:-/tmp}/kat-cli-XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"
umask 022

# A build tree may be writable by a group, and the loader refuses that: a copy is not.
plugins=$work/plugins
mkdir "$plugins"
for so in "$built"/{storage,cutover,announce}-*.so; do
	[[ ! -f $so ]] || install -m 644 "$so" "$plugins"
done

passed=0 failed=0 rc=0
out='' err=''

run() {
	rc=0
	"$katamaran" --plugin-dir "$plugins" "$@" >out 2>err </dev/null || rc=$?
	out=$(<out) err=$(<err)
}

# verdict WHAT [COMPLAINT]
verdict() {
	if [[ -z ${2-} ]]; then
		passed=$((passed + 1))
		return
	fi
	failed=$((failed + 1))
	printf 'FAILED: %s: %s\n  exit code: %s\n  stdout: %.300s\n  stderr: %.600s\n' \
		"$1" "$2" "$rc" "$out" "$err"
}

# lacks TEXT PART...: the first part that the text lacks
lacks() {
	local text=$1 part
	shift
	for part; do
		[[ $text == *"$part"* ]] || { printf 'no "%s"' "$part"; return; }
	done
}

# refused PART... -- ARGUMENT...: one line on standard error, and exit code 2
refused() {
	local parts=() complaint
	while [[ $1 != -- ]]; do parts+=("$1"); shift; done
	shift
	run "$@"
	complaint=$(lacks "$err" "${parts[@]}")
	[[ $rc == 2 ]] || complaint='exit code is not 2'
	[[ -z $out ]] || complaint='standard output is not empty'
	[[ $err == 'katamaran: '* && $err != *$'\n'* ]] || complaint='not one line'
	verdict "$*" "$complaint"
}

# fails CODE PART... -- ARGUMENT...: it got past the checks; the last line says why it failed
fails() {
	local code=$1 parts=() complaint
	shift
	while [[ $1 != -- ]]; do parts+=("$1"); shift; done
	shift
	run "$@"
	complaint=$(lacks "${err##*$'\n'}" 'katamaran: ' "${parts[@]}")
	[[ $rc == "$code" ]] || complaint="exit code is not $code"
	[[ -z $out ]] || complaint='standard output is not empty'
	[[ $err != *invalid* ]] || complaint='something valid is called invalid'
	verdict "$*" "$complaint"
}

# prints PART... -- ARGUMENT...: on standard output, and exit code 0
prints() {
	local parts=() complaint
	while [[ $1 != -- ]]; do parts+=("$1"); shift; done
	shift
	run "$@"
	complaint=$(lacks "$out" "${parts[@]}")
	[[ $rc == 0 ]] || complaint='exit code is not 0'
	[[ -z $err ]] || complaint='standard error is not empty'
	verdict "$*" "$complaint"
}

dest=(-mode dest -qmp "$work/none.sock" -tap tap0_kata)
source=(-mode source -qmp "$work/none.sock" -dest-ip 192.0.2.1 -vm-ip 10.0.0.5)

echo '# what the testing guide lists'

for args in '' '-mode=' '-qmp /q'; do
	# shellcheck disable=SC2086 # words on purpose
	run $args
	complaint=$(lacks "$err" 'katamaran: no mode' $'\nUsage: ' '-mode source|dest')
	[[ $rc == 2 && -z $out ]] || complaint='exit code is not 2, or something on stdout'
	verdict "no mode: $args" "$complaint"
done
refused 'invalid mode "bogus": ' '"source" or "dest"' -- -mode bogus -qmp /q
refused 'unexpected arguments: "stray" "more"' -- "${dest[@]}" stray more
refused 'unexpected arguments: "stray"' -- stray "${dest[@]}"
refused 'unknown option "-bogus"' -- -bogus "${dest[@]}"
refused '-qmp needs a value' -- -mode dest -qmp
refused 'needs -qmp' -- -mode dest -tap t
refused 'needs -qmp' '-dest-ip' '-vm-ip' -- -mode source
refused 'needs -dest-ip' '-vm-ip' -- -mode source -qmp /q
refused 'needs -vm-ip' -- -mode source -qmp /q -dest-ip 192.0.2.1
refused 'needs -dest-ip' -- -mode source -qmp /q -vm-ip 10.0.0.5
refused 'needs -dest-ip' -- -mode source -qmp /q -vm-ip 10.0.0.5 -shared-storage
refused 'needs -dest-ip' '-vm-ip' -- -mode source -qmp /q -drive-id drive0

prints 'Usage: ' $'\n  -mode ' $'\n  -qmp ' $'\n  -tap ' $'\n  -dest-ip ' $'\n  -vm-ip ' \
	$'\n  -drive-id ' $'\n  -shared-storage\n' $'\n  -tunnel-mode ' $'\n  -help\n' -- -help
prints 'Usage: ' -- --help
prints 'Usage: ' -- -h
prints 'katamaran 0.' -- -version

for ip in not-an-ip 10.0.0.256 10.0.0 10.0.0.0/24 ::g 0.0.0.0 :: 224.0.0.1 ff02::1 ''; do
	refused "invalid -dest-ip \"$ip\": " -- "${source[@]}" -dest-ip "$ip"
	refused "invalid -vm-ip \"$ip\": " -- "${source[@]}" -vm-ip "$ip"
done
refused '"192.0.2.1" is IPv4' '"2001:db8::5" is IPv6' 'families differ' -- "${source[@]}" -vm-ip 2001:db8::5
refused 'invalid -dest-ip "10.0.0.5": ' -- "${source[@]}" -dest-ip 10.0.0.5

fails 1 "$work/none.sock" 'No such file' -- "${dest[@]}"
fails 1 "$work/none.sock" -- "${dest[@]}" -shared-storage
fails 1 "$work/none.sock" -- "${dest[@]}" -vm-ip 10.0.0.5 -dest-ip 192.0.2.1
fails 1 "$work/none.sock" -- "${source[@]}"
fails 1 "$work/none.sock" -- "${source[@]}" -shared-storage
fails 1 "$work/none.sock" -- "${source[@]}" -shared-storage -tunnel-mode none
fails 1 "$work/none.sock" -- "${source[@]}" -dest-ip ::ffff:192.0.2.1 -vm-ip ::ffff:10.0.0.5
fails 1 "$work/none.sock" -- "${source[@]}" -dest-ip 2001:db8::1 -vm-ip 2001:db8::5
refused '-drive-id and -shared-storage exclude each other' -- \
	"${source[@]}" -drive-id drive0 -shared-storage

echo '# values of flags'

refused 'invalid -tap "a/b": ' '1 to 15 bytes' -- "${dest[@]}" -tap a/b
refused 'invalid -tap "": ' -- "${dest[@]}" -tap ''
refused 'invalid -netns "pod/1": ' -- "${dest[@]}" -netns pod/1
refused 'invalid -mac "52:54": ' -- "${dest[@]}" -mac 52:54
refused 'invalid -port "0": ' '1 to 65535' -- "${dest[@]}" -port 0
refused 'invalid -downtime-ms "0": ' '1 to 2000000' -- "${dest[@]}" -downtime-ms 0
refused 'invalid -multifd "256": ' '0 to 255' -- "${dest[@]}" -multifd 256
refused 'invalid -auto-converge "on": ' -- "${dest[@]}" -auto-converge on
refused 'invalid -tunnel-mode "vxlan": ' 'nftables' -- "${dest[@]}" -tunnel-mode vxlan
refused 'invalid -order "salvaged": allowed is "redirect-first" or "salvage"' -- "${dest[@]}" -order salvaged
refused 'invalid -drive-id "a,": ' -- "${dest[@]}" -drive-id a,
refused 'unknown option "-mod"' -- -mod dest
refused '-json goes with -status only' -- "${dest[@]}" --json
refused '-json goes with -status only' -- --list-plugins --json
refused '-confirm-other-stopped goes with -recover only' -- "${source[@]}" -confirm-other-stopped
refused '-confirm-other-stopped goes with -recover only' -- --status --confirm-other-stopped
prints '' -- --json --run-dir "$work" --status
# A newline in a value does not make a second line.
refused 'invalid -tap "a?b": ' -- "${dest[@]}" -tap $'a\nb'

echo '# files'

refused 'invalid -c "": allowed is a path that is not empty' -- -c '' "${dest[@]}"
refused 'cannot read /nonexistent/k.conf: No such file' -- -c /nonexistent/k.conf "${dest[@]}"
refused "cannot read $work: Is a directory" -- -c "$work" "${dest[@]}"
if [[ $(id -u) != 0 ]]; then
	install -m 000 /dev/null secret.conf
	refused 'cannot read secret.conf: Permission denied' -- -c secret.conf "${dest[@]}"
fi
printf 'mode = "dest";\0\n' >nul.conf
refused 'cannot read nul.conf: a NUL byte is in it' -- -c nul.conf "${dest[@]}"
head -c 1100000 /dev/zero | tr '\0' '#' >large.conf
refused 'cannot read large.conf: File too large' -- -c large.conf "${dest[@]}"

# in_file TEXT PART... : the file is refused
in_file() {
	printf '%s\n' "$1" >k.conf
	shift
	refused "$@" -- -c k.conf "${dest[@]}"
}
in_file $'\nram: {\n  multifd = ; };' 'k.conf:3: syntax error'
in_file $'\nrma: { };' 'k.conf:2: unknown key "rma"' 'ram, timeouts'
in_file $'ram: {\n  downtme_ms = 5; };' 'k.conf:2: unknown key "ram.downtme_ms"' 'downtime_ms'
in_file $'\n\nram: { downtime_ms = 0; };' 'k.conf:3: invalid ram.downtime_ms "0"'
in_file 'ram: { downtime_ms = "50"; };' 'k.conf:1: ram.downtime_ms needs a whole number'
in_file 'nics: ( { ips = [ "10.0.0" ]; } );' 'k.conf:1: invalid nics.ips "10.0.0"'
in_file 'cutover: { hold_s = 5; };' 'k.conf:1: cutover names no plugin'
in_file $'cutover: {\n plugin = "ipip"; x = 1.5; };' 'k.conf:2: x needs '
printf 'mode = "dest"; qmp = "%s";\n' "$work/none.sock" >whole.conf
fails 1 "$work/none.sock" -- -c whole.conf
: >empty.conf
fails 1 "$work/none.sock" -- -c empty.conf "${dest[@]}"

echo '# plugins'

in_file 'cutover: { plugin = "gone"; };' 'k.conf:1: no plugin "gone" of kind cutover' \
	"$plugins/cutover-gone.so"
refused 'no plugin "nothing"' -- --dump-plugin nothing
prints 'cutover-ipip ' 'announce-self ' 'storage-none ' 'storage-shared ' -- --list-plugins
prints $'name=ipip\n' $'kind=cutover\n' $'has_check=1\n' $'has_recover=1\n' 'option.hold_s=int' \
	-- --dump-plugin ipip
prints $'name=ipip\n' -- --dump-plugin cutover-ipip
prints $'name=ipip\n' -- --dump-plugin "$plugins/cutover-ipip.so"
rc=0
"$katamaran" --plugin-dir "$work/nowhere" --list-plugins >out 2>err || rc=$?
out=$(<out) err=$(<err)
verdict 'a plugin folder that is not there' "$(lacks "$rc $err" "2 katamaran: " "$work/nowhere")"

in_file $'cutover: { plugin = "ipip";\n holds = 5; };' 'k.conf:2: ' 'cutover-ipip' '"holds"' hold_s
in_file $'cutover: { plugin = "ipip";\n hold_s = "5"; };' 'k.conf:2: ' hold_s 'an integer'
in_file $'cutover: { plugin = "ipip";\n hold_s = -1; };' 'k.conf:2: ' 'hold_s = -1' '0 to'
in_file "cutover: { plugin = \"$plugins/announce-self.so\"; };" \
	'k.conf:1: ' 'is of kind announce, not cutover'
echo 'storage: { plugin = "none"; };' >k.conf
refused '-drive-id: ' '"drives"' -- -c k.conf "${dest[@]}" -drive-id drive0

# a_plugin NAME: compiles standard input
a_plugin() {
	${CC:-cc} -x c -std=gnu11 -fPIC -shared -I"$include" -o "$plugins/$1.so" - 2>/dev/null
}
echo 'no object file' >"$plugins/cutover-text.so"
refused 'cannot load plugin' cutover-text.so -- --dump-plugin cutover-text
rm "$plugins/cutover-text.so"
if a_plugin cutover-empty <<<'int nothing;'; then
	refused 'is no katamaran plugin' -- --dump-plugin cutover-empty
	rm "$plugins/cutover-empty.so"
	a_plugin cutover-next <<-'END'
		#define KATAMARAN_API_VERSION 1
		#include "katamaran-plugin.h"
		static struct katamaran_plugin plugin = {
			._struct_size = sizeof(plugin), ._api_version = 2, .name = "next",
			.kind = KATAMARAN_CUTOVER, .roles = KATAMARAN_SOURCE,
		};
		KATAMARAN_PUBLIC const struct katamaran_plugin *katamaran_plugin_init(void)
		{
			return &plugin;
		}
	END
	refused 'API version 2' 'version 1' cutover-next.so -- --dump-plugin cutover-next
	in_file 'cutover: { plugin = "next"; };' 'k.conf:1: ' 'API version 2'
	prints 'cutover-next ' 'API version 2' 'cutover-ipip ' -- --list-plugins
	rm "$plugins/cutover-next.so"
	manual=$here/../../man/katamaran-plugin.3.pod
	sed -n '/^=head1 EXAMPLE/,/^Built/s/^    //p' "$manual" | a_plugin storage-fence || true
	prints $'name=fence\n' $'kind=storage\n' 'option.path=string,required' -- --dump-plugin fence
	rm -f "$plugins/storage-fence.so"
	in_file $'\nstorage: { plugin = "fence"; };' 'no plugin "fence"'
else
	echo '# no compiler: plugins of other versions are not tried'
fi
chmod g+w "$plugins/cutover-ipip.so"
refused 'others may write' cutover-ipip.so -- "${source[@]}"
chmod g-w "$plugins/cutover-ipip.so"
chmod o+w "$plugins"
refused 'others may write' "$plugins" -- "${source[@]}"
chmod o-w "$plugins"

echo '# sockets'

# listen SOCKET PERL-CODE: a server, in the background, for one connection $c
listen() {
	: >ready # or the word of the one before would be taken for this one's
	perl -MIO::Socket::UNIX -e '
		my $s = IO::Socket::UNIX->new(Local => $ARGV[0], Listen => 5) or die $!;
		$SIG{ALRM} = sub { exit };
		alarm 30;
		print "ready\n";
		close STDOUT;
		eval $ARGV[1] or die $@;
	' "$1" "$2" >>ready &
	server=$!
	for _ in {1..500}; do
		[[ ! -s ready ]] || return 0
		sleep 0.01
	done
}
unlisten() {
	kill "$server" 2>/dev/null || true
	wait "$server" 2>/dev/null || true
	rm -f "$work"/*.sock
}
# shellcheck disable=SC2016 # perl's variables
silent='while (my $c = $s->accept) { push @all, $c; open my $f, ">>", "accepted"; close $f } 1'
# shellcheck disable=SC2016
chatty='my $c = $s->accept; print $c "SSH-2.0-OpenSSH_9.2\r\n"; $c->flush; sleep 30; 1'
# shellcheck disable=SC2016
hasty='my $c = $s->accept; close $c; sleep 30; 1'

: >plain.sock
fails 1 "$work/plain.sock" -- -mode dest -qmp "$work/plain.sock"
rm plain.sock
listen "$work/left.sock" 'exit'
wait "$server"
fails 1 "$work/left.sock" 'refused' -- -mode dest -qmp "$work/left.sock"
unlisten
listen "$work/ssh.sock" "$chatty"
fails 1 "$work/ssh.sock" -- -mode dest -qmp "$work/ssh.sock"
unlisten
listen "$work/hasty.sock" "$hasty"
fails 1 "$work/hasty.sock" -- -mode source -qmp "$work/hasty.sock" -dest-ip 192.0.2.1 -vm-ip 10.0.0.5
unlisten
listen "$work/busy.sock" "$silent"
fails 1 "$work/busy.sock" 'busy with another client' -- -mode dest -qmp "$work/busy.sock"
for signal in INT TERM HUP; do
	rc=0
	rm -f accepted
	# In a pipeline's subshell the signals would be ignored: start with the defaults.
	perl -e '$SIG{$_} = "DEFAULT" for qw(INT TERM HUP QUIT); exec @ARGV' \
		"$katamaran" --plugin-dir "$plugins" -mode dest -qmp "$work/busy.sock" >out 2>err &
	child=$!
	for _ in {1..500}; do # signals are dealt with before it connects
		[[ ! -e accepted ]] || break
		sleep 0.01
	done
	kill -s "$signal" "$child" 2>/dev/null || true
	wait "$child" || rc=$?
	out=$(<out) err=$(<err)
	verdict "SIG$signal before anything is begun" \
		"$(lacks "$rc $err" "130 " 'katamaran: ' 'signal')"
done
unlisten

echo '# standard streams'

if [[ -c /dev/full ]]; then
	rc=0 out=''
	"$katamaran" -help >/dev/full 2>err || rc=$?
	err=$(<err)
	verdict '-help on a full device' "$(lacks "$rc $err" '1 katamaran: standard output: No space')"
fi
rc=0
"$katamaran" -help >&- 2>err || rc=$?
err=$(<err)
verdict '-help without standard output' "$(lacks "$rc $err" '1 katamaran: standard output: ')"
rc=0
"$katamaran" -mode bogus >/dev/null 2>&- <&- || rc=$?
err=''
verdict 'an error without standard error' "$(lacks "$rc" 2)"

echo "$passed passed, $failed failed"
((failed == 0))
