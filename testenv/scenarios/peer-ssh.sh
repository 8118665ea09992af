# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: BSD-2-Clause
# one command, the other end through a real sshd of node2

needs="ipip sch_plug" wants=katamaran places='host uml2 uml'

fetch() { fetch_sshd; }

scenario() {
	two_guests
	sshd_and_keys
	amid_traffic one_command node1 node2 "${SSH[@]}"
	nothing_lost
}
