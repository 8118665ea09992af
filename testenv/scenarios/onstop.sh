# shellcheck shell=bash disable=SC2034,SC2154
# SPDX-License-Identifier: BSD-2-Clause
# redirect upon STOP with shell commands and a plug of 32768 bytes, as is usual: must lose packets

# shellcheck source=testenv/loads.sh
. "$HERE/loads.sh"
column onstop
alone=2 guest_may_drop=1

judged() {
	local lost=$((R[lost_there] - R[drops_there]))
	((lost > 0)) || fail "nothing was lost on the way there"
	fact note "${R[note]-}${R[note]:+, }$1: lost $lost there, ${R[lost_back]} back"
}

scenario() {
	guest_answers
	legs large
}
