# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: BSD-2-Clause
# the same without redirect and plug: must lose packets

needs="ipip sch_plug" wants=katamaran

scenario() {
	two_guests
	conf node2
	one_migration -tunnel-mode none
	something_lost
}
