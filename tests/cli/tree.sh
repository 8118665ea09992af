#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# The tree itself: what a project has to have is there, each shell script is one, and -help says
# something of each option.
set -euo pipefail

cd "$(dirname "$0")/../.."
katamaran=${KATAMARAN:-./katamaran}
failed=0

for file in README.md NEWS LICENSE configure.ac Makefile.am core/main.c core/katamaran-plugin.h \
	conf/katamaran.conf conf/examples/source.conf conf/examples/destination.conf \
	conf/kubernetes/install.yaml man/katamaran.8.pod man/katamaran.conf.5.pod \
	man/katamaran-plugin.3.pod testenv/{test,lab,demo,bundle,cluster-node}.sh \
	testenv/{minikube-test,minikube-e2e,minikube-ovn-e2e,minikube-nfs-e2e,kind-e2e}.sh; do
	[[ -s $file ]] || { echo "FAILED: there is no $file"; failed=1; }
done
scripts=0
while read -r file; do
	bash -n "$file" || { echo "FAILED: $file is no shell script"; failed=1; }
	[[ -x $file || $(head -c 2 "$file") != '#!' ]] ||
		{ echo "FAILED: $file cannot be executed"; failed=1; }
	scripts=$((scripts + 1))
done < <(find testenv tests conf -name '*.sh')
((scripts > 60)) || { echo "FAILED: only $scripts scripts"; failed=1; }

help=$("$katamaran" -help)
for flag in mode qmp tap dest-ip vm-ip drive-id shared-storage tunnel-mode; do
	grep -A1 -E "^  -$flag( |\$)" <<<"$help" | grep -qE '^  -[^ ]+( [^ ]+)*  +[^ ]|^ {6,}[^ ]' ||
		{ echo "FAILED: -help says nothing of -$flag"; failed=1; }
done
exit $failed
