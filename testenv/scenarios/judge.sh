# shellcheck shell=bash disable=SC2034,SC2154
# SPDX-License-Identifier: BSD-2-Clause
# no guest, a bad line: probe sees each fault, alone, and in which direction it happened

needs="sch_netem" alone=1
KINDS="lost duplicated reordered corrupt"

# judged WHAT WANTED: of all that probe counts WANTED happened, and nothing else; no more than
# a few words, "lost_back" or "lost", the direction if probe can tell.
judged() {
	local kind way
	for kind in $KINDS; do
		if [[ ${2%_*} != "$kind" ]]; then
			[[ ${R[$kind]} = 0 ]] || fail "$1: $kind ${R[$kind]}"
		elif [[ ${R[$kind]} = 0 ]]; then
			fail "$1: nothing $kind"
		fi
		[[ $2 = *_* ]] || continue
		for way in "${kind}_there" "${kind}_back"; do
			if [[ $way = "$2" ]]; then
				[[ ${R[$way]} -gt 0 ]] || fail "$1: $way 0"
			else
				[[ ${R[$way]} = 0 ]] || fail "$1: $way ${R[$way]}"
			fi
		done
	done
	text+="${text:+, }${2:-clean}${2:+ ${R[${2%_*}]}}"
}

# netem PORT: in its place before the traffic, since a queue that replaces another loses packets.
netem() {
	on fabric tc qdisc replace dev "$1" root netem limit 10000
}

# bad_line WANTED PORT NETEM...: faults on what the fabric sends out of PORT.
bad_line() {
	local wanted=$1 port=$2 options=(-r 500)
	shift 2
	[[ $wanted != *_* ]] || options=(-p udp -r 1000 -f 4)
	no_traffic
	netem "$port"
	more_traffic probe0 "${options[@]}" "${TARGETS[@]}"
	sleep 0.3
	on fabric tc qdisc change dev "$port" root netem limit 10000 "$@"
	sleep 1
	traffic_ends
	on fabric tc qdisc del dev "$port" root		# not before: that drops what it holds
	judged "netem $* at $port" "$wanted"
}

spoilt() {
	no_traffic
	more_traffic probe0 "$@" "${TARGETS[@]}"
	sleep 1
	traffic_ends
}

# What is late is told by its phase, and what stays away makes a gap.
late() {
	local before during
	no_traffic
	netem client
	more_traffic probe0 -p udp -r 500 "${TARGETS[@]}"
	sleep 0.5
	on fabric tc qdisc change dev client root netem limit 10000 delay 100ms
	phase
	sleep 1
	phase
	on fabric tc qdisc change dev client root netem limit 10000 delay 0 loss 100%
	sleep 1
	on fabric tc qdisc del dev client root
	sleep 0.3
	traffic_ends
	before=${R[delay_before_p50_ms]%.*} during=${R[delay_during_p50_ms]%.*}
	((before < 100 && during >= 100)) || fail "delays: $before ms before, $during ms during"
	((${R[gap_ms]%.*} >= 800)) || fail "a gap of ${R[gap_ms]} ms only"
	text+=", ${during} ms late, a gap of ${R[gap_ms]} ms"
}

scenario() {
	local text='' port way
	TARGETS=("${NODE_IP[node1]}")
	spawn node1 serve "$PROBE" --serve
	wait_for 60 answers
	bad_line '' client delay 4s
	bad_line lost client loss 5%
	bad_line duplicated client duplicate 5%
	bad_line reordered client delay 20ms reorder 90%
	for port in client:back node1:there; do
		way=${port#*:} port=${port%:*}
		bad_line "lost_$way" "$port" loss 5%
		bad_line "duplicated_$way" "$port" duplicate 5%
		bad_line "reordered_$way" "$port" delay 20ms reorder 90%
	done
	spoilt -p udp -r 1000 -f 4 --spoil 20
	judged "spoilt" corrupt_there
	spoilt -p udp -r 1000 -s 1472 -D
	judged "nothing done" ''
	late

	# Streams: what was changed is seen in both directions, and what was lost makes no gap in
	# the content, but a time-out when nothing at all comes through.
	spoilt -p tcp -r 4096
	nothing_corrupt
	# Any machine may stand still for the 200 ms of a time-out, but not every time.
	((R[tcp_timeouts] == 0)) || spoilt -p tcp -r 4096
	[[ ${R[tcp_timeouts]} = 0 ]] || fail "tcp: ${R[tcp_timeouts]} time-outs of a good line"
	spoilt -p tcp -r 4096 --spoil 7
	((R[tcp_corrupt] > 0)) || fail "tcp: nothing corrupt"
	no_traffic
	more_traffic tcp -p tcp -r 1024 "${TARGETS[@]}"
	sleep 0.5
	on fabric tc qdisc replace dev node1 root netem loss 100%
	sleep 1
	on fabric tc qdisc del dev node1 root
	sleep 1
	traffic_ends
	((R[tcp_timeouts] > 0 && R[tcp_retransmitted] > 0)) || fail "tcp: no time-out"
	nothing_corrupt
	((${R[tcp_stall_ms]%.*} > 800)) || fail "tcp: stood still for ${R[tcp_stall_ms]} ms only"
	text+=", tcp: ${R[tcp_timeouts]} time-outs, ${R[tcp_stall_ms]} ms without progress"
	fact note "$text"
}
