#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Writes WALKTHROUGH.md anew: runs one migration in the lab and lets its logs, captures and
# counters speak.  Nothing in it is written by hand but the words between the blocks.
#
#	walkthrough.sh [FILE]		standard output by default
set -euo pipefail

HERE=$(dirname "$(realpath "$0")")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$HERE/lab.sh" --capture --place uml --logs "$work" walkthrough >"$work/out" 2>&1 ||
	{ cat "$work/out" >&2; exit 1; }
logs=$work/walkthrough
[[ ! ${1-} ]] || exec >"$1"

block() { printf '\n```\n'; cut -c1-160; printf '```\n'; }

# log FILE: an end's own lines, without QEMU's, which -v adds.
log() { grep -E '^[0-9]{4}/' "$logs/$1" | grep -vE ' (QEMU|QMP): [{]' | cut -d' ' -f2-; }

# captured NODE FILTER
captured() { tcpdump -nr "$logs/$1/capture.pcap" "$2" 2>/dev/null; }

fact() { sed -n "s/^$1=//p" "$logs/facts"; }

captured node1 'ip proto 4' >"$work/tunnel"
[[ -s $work/tunnel ]] || { echo "walkthrough.sh: nothing went through the tunnel" >&2; exit 1; }

cat <<END
<!-- SPDX-License-Identifier: BSD-2-Clause -->
<!-- Made by testenv/walkthrough.sh: do not edit. -->
# One migration, step by step

A guest with the address 10.244.1.5 moves from node1 (192.168.50.11) to node2 (192.168.50.12)
while client (192.168.50.1) sends it $(fact rate) packets a second. All three are in one User-Mode
Linux, and the guest is emulated: times are far longer than on real nodes. Whatever stands in a
block was recorded by \`testenv/walkthrough.sh\`, which runs this migration again and writes this file.

## The destination waits

Started first, with \`-mode dest\`. The plug is on the tap, open, and QEMU listens:
END
block <"$logs/qdisc-open"
cat <<'END'

## What the source says

It builds the redirect, copies the RAM, sends packets the other way while the guest still runs,
and keeps the redirect until the network has learned:
END
log node1/kata-source.err | block
printf '\n## What the destination says\n'
log node2/kata-dest.err | block
cat <<END

## What went through the tunnel

\`tcpdump\` on node1 has $(wc -l <"$work/tunnel") packets of protocol 4 (IP in IP); the first ones:
END
head -n 6 "$work/tunnel" | block
printf '\n## The plug, after the guest has arrived\n\nIt must have dropped nothing, and hold nothing:\n'
block <"$logs/qdisc-moved"
printf '\n## The source, while the redirect stands\n'
block <"$logs/rule-moved"
cat <<END

## The proof

| | |
|-|-|
| sent | $(fact sent) |
| received | $(fact received) |
| lost | **$(fact lost)** |
| duplicated | $(fact duplicated) |
| reordered | $(fact reordered) |
| downtime, as QEMU reports it | $(fact downtime) ms |
| longest gap between two answers | $(fact gap_ms) ms |

## Clean again

The rules of the source, its tunnels (tunl0 alone, which the kernel makes with the module) and the
destination's queue:
END
cat "$logs/rule-after" "$logs/tunnel-after" "$logs/qdisc-after" | block
