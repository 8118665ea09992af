#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# The troubles that katamaran(8) lists under DIAGNOSTICS, brought about one by one: each is told by
# the words that stand there, before anything is harmed.
set -euo pipefail

katamaran=$(realpath "${KATAMARAN:-./katamaran}")
built=$(realpath "${KATAMARAN_PLUGIN_DIR:-./.libs}")
fake=$(realpath "${FAKE_QMP:-tests/fake_qmp}")
manual=$(cd "$(dirname "$0")" && pwd)/../../man/katamaran.8.pod
work=$(mktemp -d "${TMPDIR:-/tmp}/kat-trouble-XXXXXX")
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT
passed=0 failed=0

# A build tree may be writable by a group, and the loader refuses that: a copy is not.
umask 022
plugins=$work/plugins
mkdir "$plugins"
for so in "$built"/{storage,cutover,announce}-*.so; do
	install -m 644 "$so" "$plugins"
done

RUNNING='default query-status {"status":"running","singlestep":false,"running":true}'
INCOMING='default query-status {"status":"inmigrate","singlestep":false,"running":false}
default query-migrate {}'
DISK='default query-block [{"io-status":"ok","device":"drive0","locked":false,"removable":false,"inserted":{"iops_rd":0,"detect_zeroes":"off","image":{"virtual-size":8388608,"filename":"/d","format":"raw","dirty-flag":false},"iops_wr":0,"ro":false,"node-name":"d0","backing_file_depth":0,"drv":"raw","iops":0,"bps_wr":0,"write_threshold":0,"encrypted":false,"bps":0,"bps_rd":0,"cache":{"no-flush":false,"direct":false,"writeback":true},"file":"/d"},"qdev":"x","type":"unknown"}]'

# play SCRIPT: a monitor at $work/q that follows it.
play() {
	rm -f "$work/q"
	printf '%s\nserve\n' "$1" >"$work/script"
	"$fake" -t 60 "$work/q" "$work/script" 2>"$work/fake.err" &
	while [[ ! -S $work/q ]]; do sleep 0.01; done
}

# trouble CODE TEXT ROW MODE [ARGUMENT...]: katamaran ends with CODE, and its last line has TEXT;
# ROW is the beginning of the manual's item for it.
trouble() {
	local code=$1 text=$2 row=$3 mode=$4 rc=0
	shift 4
	[[ $mode = dest ]] || set -- -vm-ip 10.0.0.5 "$@"
	timeout -k 20 40 "$katamaran" -mode "$mode" -qmp "$work/q" -dest-ip 127.0.0.1 \
		-tunnel-mode none --plugin-dir "$plugins" -run-dir "$work/state" "$@" \
		>"$work/out" 2>&1 || rc=$?
	if [[ $rc != "$code" ]]; then
		echo "FAILED: $text: exit code $rc, not $code"
	elif ! tail -n 1 "$work/out" | grep -qF -- "$text"; then
		echo "FAILED: not said: $text"
	elif ! grep -q -- "^=item $row" "$manual"; then
		echo "FAILED: the manual has no item $row"
	else
		passed=$((passed + 1))
		return
	fi
	failed=$((failed + 1))
	tail -n 5 "$work/out" | sed 's/^/	/'
}

rm -f "$work/q"
trouble 1 "cannot connect to QMP socket $work/q: No such file" 'cannot connect to QMP socket' dest

play "$INCOMING
$DISK
on nbd-server-start error GenericError Failed to find an available port: Address already in use"
trouble 1 'NBD server start failed' 'NBD server start failed' dest -drive-id d0

play "$RUNNING
$DISK"
echo 'storage: { plugin = "nbd"; drives = [ "d0" ]; port = 1; };' >"$work/k.conf"
trouble 1 'drive-mirror failed: no NBD server answers at 127.0.0.1:1' 'drive-mirror failed: no NBD' \
	source -c "$work/k.conf"

# A server that greets as NBD's does; what is wrong with the export, QEMU has to say.
# shellcheck disable=SC2016	# perl's own
perl -MIO::Socket::INET -e '
	my $s = IO::Socket::INET->new(LocalAddr => "127.0.0.1", Listen => 5) or die;
	open(my $f, ">", "$ARGV[0].new") or die; print $f $s->sockport; close $f;
	rename("$ARGV[0].new", $ARGV[0]);
	while (my $c = $s->accept) { syswrite($c, "NBDMAGICIHAVEOPT\0\3"); sysread($c, my $x, 99) }' \
	"$work/port" &
while [[ ! -s $work/port ]]; do sleep 0.01; done
echo "storage: { plugin = \"nbd\"; drives = [ \"d0\" ]; port = $(<"$work/port"); };" >"$work/k.conf"
play "$RUNNING
$DISK
on blockdev-add error GenericError Requested export not available"
trouble 1 "drive-mirror failed: cannot open the export d0 at 127.0.0.1:$(<"$work/port") (does the \
destination's configuration have this drive?): QMP blockdev-add: Requested export not available" 'drive-mirror failed: \.\.\.' \
	source -c "$work/k.conf"
play "$RUNNING
on migrate reply; default query-migrate {\"status\":\"failed\",\"error-desc\":\"no_route\"}; event MIGRATION {\"status\":\"failed\"}"
trouble 1 'QEMU reported migration failed: no_route' 'QEMU reported migration failed' source

play "$RUNNING
on migrate reply; default query-migrate {\"status\":\"active\",\"ram\":{\"remaining\":50000000,\"total\":100000000,\"transferred\":1,\"dirty-sync-count\":1,\"page-size\":4096,\"dirty-pages-rate\":10}}; event MIGRATION {\"status\":\"active\"}
on migrate_cancel reply; default query-migrate {\"status\":\"cancelled\"}; event MIGRATION {\"status\":\"cancelled\"}"
trouble 1 'migration did not complete within 1 s' 'migration did not complete within' source \
	-migration-timeout-s 1

play "on query-status hold"
trouble 1 'no reply after' 'QMP ...: no reply after' source

play "$RUNNING
on query-migrate close"
trouble 1 'QEMU closed the QMP connection' 'QEMU closed the QMP connection' source

mkdir "$work/vm"
rc=0
"$katamaran" -mode dest -sandbox abc -sandbox-dir "$work/vm" --plugin-dir "$plugins" \
	>"$work/out" 2>&1 || rc=$?
if [[ $rc = 2 ]] && grep -q 'no sandbox "abc"' "$work/out"; then
	passed=$((passed + 1))
else
	failed=$((failed + 1))
	echo "FAILED: no sandbox: $rc, $(<"$work/out")"
fi

# A kernel without sch_plug refuses it; where there is one, it cannot be made to.
if ((EUID == 0)) && [[ -c /dev/net/tun ]] && unshare -n true 2>/dev/null; then
	play "$INCOMING"
	cat >"$work/k.conf" <<-END
		mode = "dest"; qmp = "$work/q"; destination: { ip = "127.0.0.1"; };
		nics: ( { tap = "tap0"; mac = "52:54:00:12:34:56"; ips = [ "10.0.0.5" ]; } );
		cutover: { plugin = "nftables"; plug = "require"; };
		announce: ();
	END
	# shellcheck disable=SC2016	# its own words
	unshare -n bash -c 'ip link set lo up; ip tuntap add tap0 mode tap; ip link set tap0 up
		ip route add 10.0.0.5 dev tap0; sysctl -q -w net.ipv4.ip_forward=1
		tc qdisc add dev tap0 root plug limit 9999 2>/dev/null && touch "$1/plug" &&
			tc qdisc del dev tap0 root
		timeout -k 20 20 "${@:2}"' - "$work" "$katamaran" -c "$work/k.conf" --plugin-dir "$plugins" \
		-run-dir "$work/state" >"$work/out" 2>&1 &
	child=$!
	if [[ ! -e $work/plug ]]; then
		rc=0
		wait $child || rc=$?
		if [[ -e $work/plug ]]; then
			echo "# this kernel has sch_plug: its lack is not tried"
		elif [[ $rc = 1 ]] && grep -q 'error: .*this kernel has no sch_plug' "$work/out" &&
			grep -q '^=item tap ...: this kernel has no sch_plug' "$manual"; then
			passed=$((passed + 1))
		else
			failed=$((failed + 1))
			echo "FAILED: no sch_plug: exit code $rc"
			tail -n 5 "$work/out" | sed 's/^/	/'
		fi
	fi
else
	echo "# namespaces need root: the lack of sch_plug is not tried"
fi

echo "$passed passed, $failed failed"
((failed == 0))
