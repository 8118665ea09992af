#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# One live migration, for those who have never seen katamaran: builds it, moves a running
# guest from one node to another under 100 packets a second, and says what happened; then back
# without protection, to see what that is good for.  Everything is emulated, nothing on this
# machine changes but for packages that are missing.
set -euo pipefail
. "$(dirname "$(realpath "$0")")/lib.sh"

usage() {
	cat <<-'END'
		usage: demo.sh [--place host|uml|uml2]
		Exit code 0: the guest ran on node2 and no packet was lost, and packets were lost on
		its way back to node1 without redirect and plug.  The work folder is KATAMARAN_LAB
		(/var/tmp/katamaran-lab).
	END
}

# Both ends' lines in the order of their time, with seconds since the first.
story() {
	local logs=$1
	{
		sed 's/^/node1 /' "$logs"/node1/kata-source.err
		sed 's/^/node2 /' "$logs"/node2/kata-dest.err
	} 2>/dev/null | grep -E '^node. [0-9]{4}/' | sort -k 2,3 | awk '
		{
			split($3, t, ":")
			now = t[1] * 3600 + t[2] * 60 + t[3]
			if (NR == 1)
				first = now
			if (now < first)	# midnight
				now += 86400
			end = $1
			sub(/^[^ ]+ [^ ]+ [^ ]+ /, "")
			printf "  %9.3f s  %s  %s\n", now - first, end, $0
		}'
}

wanted_place=''
while (($#)); do
	case $1 in
	--place) wanted_place=${2:?--place wants host, uml or uml2}; shift ;;
	-h | --help) usage; exit ;;
	*) usage >&2; exit 2 ;;
	esac
	shift
done
trap leave EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
prepare ipip
logs=$LAB/logs/demo-$(date +%Y%m%d-%H%M%S)-$$
echo "A guest (Linux $(kernel_of_guest), emulated) runs on node1 and answers 100 packets a second."
echo "katamaran now moves it to node2; 2 s later the fabric learns where it is.  Then it goes"
echo "back with redirect and plug off (-tunnel-mode none): that will lose packets."
echo "This takes a minute or two..."
# Not -v: what it says by itself is the story.
VERBOSE='' run_scenario ipip "$wanted_place" "$logs"
echo
story "$logs" || true # a run that failed early has none
echo
declare -A R=()
while IFS='=' read -r key value; do
	R[$key]=$value
done < <(cat "$logs/facts" 2>/dev/null)
if [[ ${R[sent]-} ]]; then
	cat <<-END
		Downtime as QEMU reports it      ${R[downtime]-unknown} ms
		Packets sent                     ${R[sent]}
		        received                 ${R[received]}
		        lost                     ${R[lost]}
		        duplicated               ${R[duplicated]}
		        reordered                ${R[reordered]}
		Longest gap between two answers  ${R[gap_ms]} ms (round trips: ${R[rtt_avg_ms]} ms)
	END
fi
[[ ! ${R[uptime_node2]-} ]] ||
	echo "The guest's uptime on node2      ${R[uptime_node2]/-/ s to } s: it was not restarted"
echo
echo "Logs: $logs"
if [[ $verdict != PASS ]]; then
	echo "FAILED: $text"
	exit 1
fi
echo "The guest ran on node2, and not one packet was lost.  On its way back, without redirect"
echo "and plug, ${R[note]##*lost } were."
