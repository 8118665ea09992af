#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# What is installed for Kubernetes, systemd and bash, and the pods of the cluster scripts, before
# the programs that read them.  There is no cluster here: kubectl talks to a server that knows the
# kinds of a real one and has no objects.  That proves that each document is read, and that its
# kind exists in that version; that no field is unknown or in the wrong place is proven for what
# has a pod template, by having kubectl read it into its own types and nothing getting lost.
#
# Skipped (77) where neither kubectl (KUBECTL) nor systemd-analyze is there.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
conf=$here/../../conf
testenv=$here/../../testenv
katamaran=$(realpath "${KATAMARAN:-./katamaran}")
unit=$(realpath "${KATAMARAN_UNIT:-conf/systemd/katamaran@.service}")
work=$(mktemp -d "${TMPDIR:-/tmp}/kat-conf-XXXXXX")
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT
passed=0 failed=0 tried=0

# verdict WHAT COMMAND...
verdict() {
	local what=$1
	shift
	if "$@" >"$work/out" 2>&1; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "FAILED: $what"
		tail -n 12 "$work/out" | sed 's/^/	/'
	fi
}

# ---- Kubernetes --------------------------------------------------------------------------

# An API server's discovery, and no object.
# shellcheck disable=SC2016	# perl's own
server='
	use strict; use IO::Socket::INET;
	my %kinds = (
		"v1" => [ [qw(namespaces Namespace 0)], [qw(serviceaccounts ServiceAccount 1)],
			[qw(pods Pod 1)], [qw(persistentvolumes PersistentVolume 0)],
			[qw(persistentvolumeclaims PersistentVolumeClaim 1)] ],
		"apps/v1" => [ [qw(daemonsets DaemonSet 1)] ],
		"batch/v1" => [ [qw(jobs Job 1)] ],
		"rbac.authorization.k8s.io/v1" => [ [qw(roles Role 1)], [qw(rolebindings RoleBinding 1)] ],
	);
	my $s = IO::Socket::INET->new(LocalAddr => "127.0.0.1", Listen => 20) or die $!;
	open(my $port, ">", "$ARGV[0].new") or die; print $port $s->sockport; close $port;
	rename("$ARGV[0].new", $ARGV[0]);
	$SIG{ALRM} = sub { exit }; alarm 120;
	sub version { my ($v) = @_; return qq({"groupVersion":"$v","version":"v1"}) }
	while (my $c = $s->accept) {
		my $v;
		my $line = <$c>; my ($path) = $line =~ m{^GET ([^ ?]*)};
		while (my $h = <$c>) { last if $h =~ /^\r?$/ }
		my ($code, $body) = (404, q({"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}));
		if ($path eq "/api") {
			($code, $body) = (200, q({"kind":"APIVersions","versions":["v1"]}));
		} elsif ($path eq "/apis") {
			my @g = map { my ($n) = split m{/}; my $v = version($_);
				qq({"name":"$n","versions":[$v],"preferredVersion":$v}) } grep { m{/} } sort keys %kinds;
			($code, $body) = (200, q({"kind":"APIGroupList","apiVersion":"v1","groups":[) . join(",", @g) . "]}");
		} elsif ($path =~ m{^/apis?/(.*)} and exists $kinds{$v = $1}) {
			my @r = map { my ($r, $k, $n) = @$_; $n = $n ? "true" : "false";
				qq({"name":"$r","singularName":"","namespaced":$n,"kind":"$k","verbs":["get","create","patch"]}) } @{$kinds{$v}};
			($code, $body) = (200, qq({"kind":"APIResourceList","apiVersion":"v1","groupVersion":"$v","resources":[) . join(",", @r) . "]}");
		}
		printf $c "HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
			$code, length $body, $body;
		close $c;
	}'

# Every value of the first file is in the second one.
# shellcheck disable=SC2016	# perl's own
inside='
	use strict; use JSON::PP;
	sub read_json { local $/; open(my $f, "<", $_[0]) or die; return decode_json(<$f>) }
	sub inside {
		my ($a, $b, $at) = @_;
		if (ref $a eq "HASH") {
			exists $b->{$_} ? inside($a->{$_}, $b->{$_}, "$at.$_") : die "$at.$_ is no field\n" for keys %$a;
		} elsif (ref $a eq "ARRAY") {
			inside($a->[$_], $b->[$_], "$at\[$_]") for 0 .. $#$a;
		} elsif ("$a" ne "$b") { die "$at: $a became $b\n" }
	}
	inside(read_json($ARGV[0]), read_json($ARGV[1]), "")'

dry_run() {
	"$kubectl" --server "http://127.0.0.1:$(<"$work/port")" "$1" --dry-run=client --validate=false -f "$2" &&
		[[ $("$kubectl" --server "http://127.0.0.1:$(<"$work/port")" "$1" --dry-run=client \
			--validate=false -f "$2" | grep -c 'dry run') = "$(grep -c '^kind: ' "$2")" ]]
}

# typed FILE: a document of its own; nothing gets lost in kubectl's types.
typed() {
	"$kubectl" annotate --local -f "$1" -o json tried=yes >"$work/plain.json" &&
		"$kubectl" set image --local -f "$work/plain.json" -o json '*=other:1' >"$work/typed.json" &&
		sed -i 's/"image": "[^"]*"/"image": "other:1"/' "$work/plain.json" &&
		perl -e "$inside" "$work/plain.json" "$work/typed.json"
}

of_kubernetes() {
	local file script
	export HOME=$work KUBECONFIG=/dev/null
	perl -e "$server" "$work/port" &
	for _ in {1..200}; do
		[[ ! -s $work/port ]] || break
		sleep 0.02
	done
	verdict 'install.yaml' dry_run apply "$conf/kubernetes/install.yaml"
	for file in source destination; do
		verdict "$file.yaml" dry_run create "$conf/kubernetes/$file.yaml"
	done
	for script in minikube-nfs-e2e kind-e2e; do
		"$testenv/$script.sh" --dry-run |
			awk -v out="$work/$script" '
				/^\+ / { on = / apply -f -$/; n += on }
				/^  \| / && on { sub(/^  \| /, ""); print >(out n ".yaml") }'
		for file in "$work/$script"*.yaml; do
			verdict "a manifest of $script" dry_run apply "$file"
			! grep -q 'kind: Pod' "$file" || verdict "the fields of a pod of $script" typed "$file"
		done
	done
	awk -v out="$work/doc" '/^---$/ { n++; next } { print >(out n + 0 ".yaml") }' \
		"$conf/kubernetes/install.yaml"
	for file in "$conf"/kubernetes/{source,destination}.yaml "$work"/doc*.yaml; do
		grep -qE '^kind: (Job|DaemonSet)' "$file" || continue
		verdict "the fields of ${file##*/}" typed "$file"
		# And that the check can fail:
		sed 's/hostPID/hostPids/; s/tolerations/tolerates/' "$file" >"$work/bad.yaml"
		! cmp -s "$file" "$work/bad.yaml" || continue
		if typed "$work/bad.yaml" >"$work/out" 2>&1; then
			failed=$((failed + 1))
			echo "FAILED: an unknown field in ${file##*/} is not noticed"
		fi
	done
	sed 's/kind: Job/kind: Jobb/' "$conf/kubernetes/source.yaml" >"$work/bad.yaml"
	if dry_run create "$work/bad.yaml" >"$work/out" 2>&1; then
		failed=$((failed + 1))
		echo "FAILED: an unknown kind is not noticed"
	fi
	# What the jobs give to katamaran it takes: the failure is that there is no such sandbox.
	for file in source destination; do
		mapfile -t words < <(sed -n 's/^        - \(-[a-z].*\)/\1/p' "$conf/kubernetes/$file.yaml")
		"$katamaran" --plugin-dir "$work" -sandbox-dir "$work" "${words[@]}" \
			>"$work/said" 2>&1 || true
		verdict "the arguments of $file.yaml" grep -q ': no sandbox' "$work/said"
		verdict "the arguments of $file.yaml are all known" test -z \
			"$(grep -E 'unknown|unexpected|invalid' "$work/said")"
	done
}

# ---- systemd -----------------------------------------------------------------------------

of_systemd() {
	local root=$work/root program
	program=$(sed -n 's/^ExecStart=\([^ ]*\).*/\1/p' "$unit")
	mkdir -p "$root/etc/systemd/system" "$root$(dirname "$program")"
	# The program is not installed while this is tested.
	sed "s#^ExecStart=[^ ]*#ExecStart=$katamaran#" "$unit" >"$root/etc/systemd/system/katamaran@.service"
	cp "$root/etc/systemd/system/katamaran@.service" "$work/katamaran@a.service"
	verdict 'systemd takes the unit' unit_verified
	sed -i 's/^KillMode=.*/KilMode=mixed/' "$work/katamaran@a.service"
	if unit_verified; then
		failed=$((failed + 1))
		echo "FAILED: an unknown key in the unit is not noticed"
	fi
	verdict 'the unit names the program where it goes' grep -q '^ExecStart=/.*/sbin/katamaran -c /.*/katamaran/%i.conf$' "$unit"
}

unit_verified() {
	# It may not find the man page, which is not installed, and says so.
	systemd-analyze verify --man=no --recursive-errors=no "$work/katamaran@a.service" >"$work/out" 2>&1 &&
		! grep katamaran "$work/out"
}

# ---- bash --------------------------------------------------------------------------------

# completes WORD...: what comes up for the last one.
completes() {
	COMP_WORDS=("$katamaran" "$@") COMP_CWORD=$#
	COMPREPLY=()
	_katamaran
	printf '%s\n' "${COMPREPLY[@]}"
}

of_bash() {
	# shellcheck source=../../conf/katamaran.bash
	. "$conf/katamaran.bash"
	verdict 'bash completes an option' grep -qx -e -tunnel-mode <(completes -tun)
	verdict 'bash completes a mode' grep -qx dest <(completes -mode d)
	verdict 'bash completes behind an equals sign' grep -qx source <(completes -mode = s)
	verdict 'bash completes a file' grep -qx "$conf/katamaran.conf" <(completes -c "$conf/katamaran.c")
	verdict 'bash completes a folder' grep -qx "$conf/examples" <(completes --run-dir "$conf/ex")
}

kubectl=${KUBECTL:-$(type -P kubectl || true)}
of_bash
if [[ $kubectl ]] && perl -MJSON::PP -e 1 2>/dev/null; then
	tried=1
	of_kubernetes
else
	echo "# no kubectl here: the manifests are not tried"
fi
if type -P systemd-analyze >/dev/null; then
	tried=1
	of_systemd
else
	echo "# no systemd-analyze here: the unit is not tried"
fi
echo "$passed passed, $failed failed"
((failed == 0)) || exit 1
((tried)) || { echo "skipped: neither kubectl nor systemd-analyze is here"; exit 77; }
