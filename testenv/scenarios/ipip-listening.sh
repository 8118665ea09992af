# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: BSD-2-Clause
# the same to a QEMU that listens already (-incoming tcp:...)

needs="ipip sch_plug" wants=katamaran

scenario() {
	two_guests "tcp:${NODE_IP[node2]}:4444"
	conf node2
	one_migration
	nothing_lost
}
