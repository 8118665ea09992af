# shellcheck shell=bash disable=SC2154
# SPDX-License-Identifier: BSD-2-Clause
# One run of a cluster script against the stand-ins: what cluster.sh and mutants.sh share.
# $work is the folder of a test and $testenv where the scripts are.

STAND_INS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# stage: the stand-ins as programs, and a host that has all.
stage() {
	local tool
	mkdir -p "$work/bin" "$work/host/dev" "$work/host/proc" "$work/tmp" \
		"$work/host/sys/module/kvm_intel/parameters"
	for tool in minikube kubectl helm kind podman git df sleep; do
		ln -sf "$STAND_INS/stand-in" "$work/bin/$tool"
	done
	printf '#!/bin/sh\n' >"$work/bin/ping"
	chmod +x "$work/bin/ping"
	: >"$work/host/dev/kvm"
	echo Y >"$work/host/sys/module/kvm_intel/parameters/nested"
	echo 'MemAvailable:   33554432 kB' >"$work/host/proc/meminfo"
	echo bundle >"$work/bundle"
}

# play SCRIPT [ARGUMENT...]: sets rc, and leaves $work/out, $work/state (with calls) and
# $work/artifacts.  KEEP_STATE: with what an earlier run left of the cluster.
play() {
	[[ ${KEEP_STATE-} ]] || rm -rf "$work/state"
	rm -rf "$work/artifacts"
	mkdir -p "$work/state" "$work/artifacts"
	: >"$work/state/calls"
	rc=0
	env -i PATH="$work/bin:$PATH" HOME="$work" TMPDIR="$work/tmp" STAND_IN="$work/state" \
		FAULT="${FAULT-}" STAND_IN_DISK="${STAND_IN_DISK-}" \
		STAND_IN_ROOTLESS="${STAND_IN_ROOTLESS-}" KATAMARAN_HOST="$work/host" \
		KATAMARAN_BUNDLE="$work/bundle" KATAMARAN_ARTIFACTS="$work/artifacts" \
		"$BASH" "$testenv/$1.sh" "${@:2}" >"$work/out" 2>&1 </dev/null || rc=$?
}

# verified SCRIPT: the last run says so, has left its proof, and nothing else.
verified() {
	local file
	((rc == 0)) || return 1
	[[ ! -e $work/state/cluster ]] || return 1
	[[ -z $(ls "$work/tmp") ]] || return 1
	if [[ $1 = minikube-test ]]; then
		grep -q 'PASS: MINIKUBE SMOKE TEST' "$work/out" || return 1
		[[ $(grep -c '^  PASS: ' "$work/out") = 6 ]] || return 1
		return
	fi
	grep -q ' ZERO-DROP MIGRATION: VERIFIED' "$work/out" || return 1
	for file in source ping dest; do
		[[ -s $(echo "$work"/artifacts/katamaran-*-$file.log) ]] || return 1
	done
	grep -q 'PASS: ZERO PACKET LOSS: 40 transmitted, 40 received, 0% loss' "$work/out" &&
		grep -q 'PASS: Live migration completed' "$work/out" &&
		grep -q 'icmp_seq=30 ttl=63 time=48.712 ms' "$work/out" &&
		grep -q 'Destination setup complete' "$work/out" &&
		grep -q 'Pod IP: *10.244.0.5' "$work/out" &&
		grep -q '^  rtt min' "$work/out" || return 1
	case $1 in
	minikube-nfs-e2e) grep -q 'NFS data intact: *true' "$work/out" ;;
	minikube-ovn-e2e)
		[[ -e $work/state/ovn-seen && -e $work/state/coredns ]] && grep -q 'PASS: the logical port .* is bound' "$work/out"
		;;
	kind-e2e) grep -q 'Provider: *Kind + Podman' "$work/out" ;;
	esac
}

# explains SCRIPT: what it says where Kata Containers does not come up, is what there is to look at.
explains() {
	local fault
	for fault in kata label; do
		FAULT=$fault play "$1"
		((rc == 1)) && [[ ! -e $work/state/cluster ]] || return 1
		grep -q 'Failed to pull image' "$work/out" || return 1
		grep -q 'ERROR: kata-deploy has not started: see the events' "$work/out" || return 1
	done
	[[ $1 != minikube-test ]] || return 0
	FAULT=sandbox play "$1"
	((rc == 1)) && grep -q 'no extra-monitor.sock below' "$work/out" || return 1
	grep -q 'FailedCreatePodSandBox' "$work/out" || return 1
	grep -q "ERROR: the destination's sandbox has not started: .*journalctl -t kata" "$work/out"
}
