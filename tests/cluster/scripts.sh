#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# The cluster scripts against stand-ins for what they call: each comes to its verdict, and to
# the other one where something is wrong; nothing is left; a dry run prints what a run runs.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
testenv=$here/../../testenv
work=$(mktemp -d "${TMPDIR:-/tmp}/kat-cluster-XXXXXX")
trap 'rm -rf "$work"' EXIT
# shellcheck source=run.sh
. "$here/run.sh"
stage
passed=0 failed=0

# verdict WHAT COMMAND...
verdict() {
	local what=$1
	shift
	if "$@"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "FAILED: $what (exit code $rc)"
		tail -n 15 "$work/out" | sed 's/^/	/'
		tail -n 3 "$work/state/calls" | sed 's/^/	called: /'
	fi
}

says() { grep -qe "$1" "$work/out"; }
ended() { ((rc == $1)); }
gone() { [[ ! -e $work/state/cluster ]]; }
untouched() { ! grep -qE '(start|create|delete)( |$)' "$work/state/calls"; }

all='minikube-test minikube-e2e minikube-ovn-e2e minikube-nfs-e2e kind-e2e'

for script in $all; do
	play "$script"
	verdict "$script is verified" verified "$script"
	# What was run, with what is known only then put back to its placeholder.
	sed -E "s#$work/tmp/tmp\.[^ /]+#WORK#g" "$work/state/calls" |
		grep -vE ' profile list | get clusters|^podman info' | sort >"$work/ran"
	play "$script" --dry-run
	verdict "$script --dry-run ends well" ended 0
	verdict "$script --dry-run runs nothing" test ! -s "$work/state/calls"
	sed -n 's/^+ //p' "$work/out" | grep -v '^sleep ' |
		sed -E "s#$work/tmp/tmp\.[^ /]+#WORK#g; s/POD_IP/10.244.0.5/; s/CHASSIS/4f1c0e2a/
			s/GATEWAY/ee:ee:ee:ee:ee:ee/; s/IP-[a-z0-9-]+-(m02|worker)/192.168.39.12/
			s/IP-[A-Za-z0-9-]+/192.168.39.11/; s/PORT/default_katamaran-source/
			s/VERSION/2c7e9d10-4b5a-4f3e-9a61-7d0c8e5f1a2b/
			s/katamaran-nfs-migration-[0-9-]*/DATA/" | sort >"$work/dry"
	sed -i -E 's/katamaran-nfs-migration-[0-9-]*/DATA/' "$work/ran"
	# A word that a shell there reads is quoted twice.
	sed -i 's/\\//g' "$work/ran" "$work/dry"
	verdict "$script --dry-run prints what a run runs" diff "$work/ran" "$work/dry"

	play "$script" teardown
	verdict "$script teardown without a cluster" ended 0
	play "$script" --keep
	verdict "$script --keep" ended 0
	verdict "$script --keep leaves the cluster" test -e "$work/state/cluster"
	KEEP_STATE=1 play "$script"
	verdict "$script refuses a cluster that is there" ended 3
	verdict "$script does not delete what it did not create" test -e "$work/state/cluster"
	KEEP_STATE=1 play "$script" teardown
	verdict "$script teardown" gone
	play "$script" --bogus
	verdict "$script with an unknown option" ended 2

	FAULT=start play "$script"
	verdict "$script when the cluster does not start" ended 1
	verdict "$script deletes a cluster that came up halfway" gone
	STAND_IN_DISK=3G play "$script"
	verdict "$script without room" ended 3
	verdict "$script without room says so" says 'MISSING: disk: 3 GB'
	verdict "$script without room creates nothing" untouched
	verdict "$script says what to look at where Kata does not start" explains "$script"
done

for script in $all; do
	mv "$work/host/dev/kvm" "$work/kvm"
	play "$script"
	verdict "$script without /dev/kvm" ended 3
	verdict "$script without /dev/kvm creates nothing" untouched
	mv "$work/kvm" "$work/host/dev/kvm"
	rm "$work/bin/helm"
	if ! type -P helm >/dev/null; then
		play "$script"
		verdict "$script without helm" says 'MISSING: the program helm'
	fi
	ln -s "$STAND_INS/stand-in" "$work/bin/helm"
	sed -i 's/33554432/1048576/' "$work/host/proc/meminfo"
	play "$script"
	verdict "$script without memory" says 'MISSING: memory: 1 GB'
	sed -i 's/1048576/33554432/' "$work/host/proc/meminfo"
done
echo N >"$work/host/sys/module/kvm_intel/parameters/nested"
play minikube-e2e
verdict "minikube without nested virtualization" says 'MISSING: nested virtualization'
play kind-e2e
verdict "kind does not need it" verified kind-e2e
echo Y >"$work/host/sys/module/kvm_intel/parameters/nested"
FAULT=kvm play kind-e2e
verdict "kind without /dev/kvm in the nodes" says 'has no /dev/kvm'
STAND_IN_ROOTLESS=true play kind-e2e
verdict "kind with podman of a user" says 'MISSING: podman as root'

for script in minikube-e2e minikube-ovn-e2e minikube-nfs-e2e kind-e2e; do
	FAULT=lost play "$script"
	verdict "$script with one packet lost" ended 1
	verdict "$script counts it" says 'FAIL: 1 packets were lost'
	verdict "$script and is not verified" says 'NOT VERIFIED'
	FAULT="cut" play "$script"
	verdict "$script with a log that was cut off" says 'FAIL: the ping log proves nothing'
	FAULT=empty play "$script"
	verdict "$script with an empty log" ended 1
	FAULT=source play "$script"
	verdict "$script with a migration that fails" ended 1
	verdict "$script says how both ended" says 'the source ended with 1, the destination with 1'
	verdict "$script deletes the cluster all the same" gone
done
FAULT=data play minikube-nfs-e2e
verdict "other data on the NFS server" ended 1
verdict "other data on the NFS server are seen" says 'NFS data intact: *false'

# A signal while the source is under way, to the whole group, as a terminal does it.
for signal in INT TERM; do
	rm -rf "$work/state"
	mkdir "$work/state"
	rc=0
	FAULT=hang STAND_IN=$work/state TMPDIR=$work/tmp HOME=$work KATAMARAN_HOST=$work/host \
		KATAMARAN_BUNDLE=$work/bundle KATAMARAN_ARTIFACTS=$work/artifacts \
		PATH=$work/bin:$PATH perl -e '$SIG{$_} = "DEFAULT" for qw(INT TERM); setpgrp;
			exec @ARGV' "$BASH" "$testenv/kind-e2e.sh" >"$work/out" 2>&1 </dev/null &
	child=$!
	for _ in {1..500}; do
		[[ ! -e $work/state/hangs ]] || break
		sleep 0.02
	done
	kill -s $signal -- -$child
	wait $child || rc=$?
	case $signal in
	INT) verdict "SIGINT ends the run" ended 130 ;;
	TERM) verdict "SIGTERM ends the run" ended 143 ;;
	esac
	verdict "SIG$signal deletes the cluster" gone
done

echo "$passed passed, $failed failed"
((failed == 0))
