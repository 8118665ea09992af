#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# One live migration, for those who have never seen katamaran: builds it, moves a running
# guest from one node to another under 100 pings a second, and says what happened.  Everything
# is emulated, nothing on this machine changes but for packages that are missing.
set -euo pipefail
. "$(dirname "$(realpath "$0")")/lib.sh"

usage() {
	cat <<-'END'
		usage: demo.sh [--unprotected] [--place host|uml|uml2]
		  --unprotected  the same without redirect and plug, to see what they are good for
		Exit code 0: the guest runs on node2 and no packet was lost; with --unprotected: the
		guest runs on node2 and packets were lost.  The work folder is KATAMARAN_LAB
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

scenario=ipip wanted_place=''
while (($#)); do
	case $1 in
	--unprotected) scenario=ipip-unprotected ;;
	--place) wanted_place=${2:?--place wants host, uml or uml2}; shift ;;
	-h | --help) usage; exit ;;
	*) usage >&2; exit 2 ;;
	esac
	shift
done
trap leave EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
prepare "$scenario"
logs=$LAB/logs/demo-$(date +%Y%m%d-%H%M%S)-$$
echo "A guest (Linux $(kernel_of_guest), emulated) runs on node1 and answers 100 pings a second."
echo "katamaran now moves it to node2; 3 s later the fabric learns where it is."
[[ $scenario = ipip ]] ||
	echo "Redirect and plug are off (-tunnel-mode none): packets will be lost."
echo "This takes less than a minute..."
# Not -v: what it says by itself is the story.
VERBOSE='' run_scenario "$scenario" "$wanted_place" "$logs"
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
elif [[ $scenario = ipip ]]; then
	echo "The guest runs on node2, and not one packet was lost."
else
	echo "The guest runs on node2, and ${R[lost]} packets were lost, as expected without protection."
fi
