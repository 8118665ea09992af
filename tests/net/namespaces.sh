# shellcheck shell=bash
# SPDX-License-Identifier: BSD-2-Clause
# Sourced first by the tests of this folder, with the programs that they need: the rest of the
# test runs in namespaces of its own, with a /run of its own.  Needs root and /dev/net/tun;
# skipped (77) with the reason otherwise.

skip() {
	echo "skipped: $*"
	exit 77
}

if [[ ! ${INSIDE-} ]]; then
	((EUID == 0)) || skip "namespaces need root"
	for tool in unshare "$@"; do
		command -v "$tool" >/dev/null || skip "there is no $tool"
	done
	[[ -c /dev/net/tun ]] || skip "there is no /dev/net/tun"
	unshare -m -n -p -f --mount-proc true 2>/dev/null || skip "no namespaces to be had"
	INSIDE=1 exec unshare -m -n -p -f --mount-proc --kill-child "$BASH" "$0"
fi
mount -t tmpfs tmpfs /run # where ip(8) keeps its namespaces
mkdir -p /run/netns /run/work
