# shellcheck shell=bash disable=SC2034,SC2154
# SPDX-License-Identifier: BSD-2-Clause
# the destination's kernel drops what has come through the tunnel: the verdict is their number

needs="ipip sch_plug" wants=katamaran places='uml2' alone=2

fetch() { fetch_sshd; }

scenario() {
	two_guests
	sshd_and_keys
	# So that one packet may wait behind the tunnel, and node2 is given several at once.
	on node2 nsenter -t 1 -n bash -c 'echo 0 >/proc/sys/net/core/netdev_max_backlog'
	amid_traffic by_command node1 node2 "${SSH[@]}" -- -p udp -r 400
	[[ ${R[lost_there]} -gt 0 && ${R[lost_back]} = 0 ]] ||
		fail "${R[lost_there]} packets lost there, ${R[lost_back]} back"
	[[ ${R[verdict]} = lost && $(summed lost) = "${R[lost_there]}" ]] ||
		fail "the verdict is ${R[verdict]}: ${R[note]}"
}
