# shellcheck shell=bash disable=SC2034,SC2154
# SPDX-License-Identifier: BSD-2-Clause
# an ipip tunnel under load: 64 and 1472 bytes, both families, 1000 a second if the guest can; TCP

# results.sh runs it with other columns, and wants numbers instead of a judgement.
# shellcheck source=testenv/loads.sh
. "$HERE/loads.sh"
column "${COLUMN:-ipip}"
alone=2

judged() {
	[[ ! ${COLUMN-} ]] || return 0
	if [[ $1 = tcp ]]; then
		nothing_corrupt
		fact note "${R[note]-}, $(((R[tcp_bytes_there] + R[tcp_bytes_back]) / 1000000)) MB by TCP with ${R[tcp_timeouts]} time-outs"
	else
		nothing_lost
		# When the fabric has learned, what goes straight overtakes what is on the detour.
		((R[reordered] == R[reordered_after])) ||
			fail "${R[reordered]} packets reordered under the load $1, ${R[reordered_after]} of them after it"
		fact note "${R[note]-}${R[note]:+, }$1 ${R[sent]} of ${R[sent]}"
	fi
}

scenario() {
	guest_answers
	[[ ${COLUMN-} ]] || affordable
	# shellcheck disable=SC2086	# words
	legs ${LEGS:-small large dual tcp}
}
