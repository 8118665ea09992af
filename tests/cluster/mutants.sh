#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Proves the tests of the cluster scripts: takes one step after the other out of them, and
# each time something must be noticed.  Prints what nobody misses, and fails then.
#
# A step is a line of a script's sequence, or one in a function that runs a command.  Not the
# sleeps, which only give the ping a while before and after.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
original=$here/../../testenv
work=$(mktemp -d "${TMPDIR:-/tmp}/kat-mutants-XXXXXX")
trap 'rm -rf "$work"' EXIT
# shellcheck source=run.sh
. "$here/run.sh"
stage
testenv=$work/testenv
all='minikube-test minikube-e2e minikube-ovn-e2e minikube-nfs-e2e kind-e2e'
noticed=0 missed=0

fresh() {
	rm -rf "$testenv"
	mkdir "$testenv"
	cp "$original"/{cluster,cluster-node,bundle,minikube-test,minikube-e2e,minikube-ovn-e2e,minikube-nfs-e2e,kind-e2e}.sh \
		"$original/ping-report.awk" "$testenv"
}

# sound SCRIPT: as far as scripts.sh would find.
sound() {
	play "$1"
	verified "$1" || return 1
	STAND_IN_DISK=3G play "$1"
	((rc == 3)) || return 1
	[[ $1 != kind-e2e ]] || {
		FAULT=kvm play "$1"
		grep -q 'has no /dev/kvm' "$work/out" && explains "$1"
	}
}

# without FILE LINE: FILE without the statement that begins there.
without() {
	local last=$2
	while [[ $(sed -n "${last}p" "$original/$1") = *\\ ]]; do
		last=$((last + 1))
	done
	# A colon, so that a function is not left empty.
	sed "$2,${last}d" "$original/$1" | sed "$(($2 - 1))a\\:" >"$testenv/$1"
}

# try FILE LINE SCRIPT...: the statement is missed by one of these.
try() {
	local file=$1 line=$2 script
	shift 2
	without "$file" "$line"
	for script; do
		if ! sound "$script"; then
			noticed=$((noticed + 1))
			cp "$original/$file" "$testenv/$file"
			return
		fi
	done
	missed=$((missed + 1))
	echo "nobody misses $file:$line: $(sed -n "${line}s/^[[:space:]]*//p" "$original/$file")"
	cp "$original/$file" "$testenv/$file"
}

fresh
for script in $all; do
	sound "$script" || { echo "$script is not sound to begin with"; cat "$work/out"; exit 1; }
done
steps='^[[:space:]]+(run|feed|keep|copy_in|cluster_down|show|[A-Za-z0-9_]+=\$\((ask|node_ip)) '
for script in $all; do
	while IFS=: read -r line _; do
		try "$script.sh" "$line" "$script"
	done < <(grep -nE "^[a-z_]+( [^()]*)?$|$steps" "$original/$script.sh" |
		grep -vE ':(set|use|begin|title) |run sleep')
done
while IFS=: read -r line _; do
	# shellcheck disable=SC2086	# words
	try cluster.sh "$line" $all
done < <(grep -nE "$steps" "$original/cluster.sh" | grep -v 'run sleep')

echo "$noticed steps are missed when they are taken out, $missed are not"
((missed == 0 && noticed > 60))
