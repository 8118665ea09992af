#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# katamaran against the QMP monitor of a real Kata Containers pod, on one minikube node: finds
# its socket and tap, and talks to QEMU.  Nothing is migrated.
set -euo pipefail
. "$(dirname "$(realpath "$0")")/cluster.sh"

CLUSTER=katamaran-test SHORT=test TITLE=MINIKUBE
use minikube
begin "$@"

# A guest that runs is no destination: katamaran has talked to QEMU by the time it says so.
handshake() {
	title "Running katamaran against the pod's QEMU..."
	keep handshake on "$NODE1" try || true
	[[ ! $DRY ]] || return 0
	if grep -q 'does not wait for a guest' "$(artifact handshake)" &&
		[[ $(exit_of handshake) = 1 ]]; then
		pass "QMP handshake with a real Kata guest"
	else
		fail "QMP handshake: exit code $(exit_of handshake)"
	fi
}

# cli WHAT CODE TEXT ARGUMENT...: katamaran in the node, with these arguments.
cli() {
	local code
	keep cli on "$NODE1" katamaran "${@:4}" >"$WORK/cli" || true
	[[ ! $DRY ]] || return 0
	code=$(exit_of cli)
	if [[ $code = "$2" && $(<"$WORK/cli") = *"$3"* ]]; then
		pass "$1"
	else
		fail "$1: exit code $code, $(<"$WORK/cli")"
	fi
}

host_has 20 16 minikube kubectl helm
minikube_up 1
kata_up
katamaran_up "$NODE1"
source_pod
handshake
title "Trying the command line in the node..."
cli 'an invalid mode is refused' 2 'invalid mode "bogus"' -mode bogus -qmp /q
cli 'no mode prints the usage' 2 'Usage: ' -qmp /q
cli 'the help has the options' 0 '-shared-storage' -help
[[ $DRY ]] || heading SUMMARY
[[ ! $FAILED ]] || { fail "$TITLE SMOKE TEST"; exit 1; }
[[ $DRY ]] || pass "$TITLE SMOKE TEST"
