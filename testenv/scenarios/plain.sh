# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: BSD-2-Clause
# QEMU's own migration, nothing of ours: must lose packets (the twin of all that lose none)

scenario() {
	two_guests
	traffic
	sleep 2
	qmp_migrate node1 node2
	sleep "${SLOW:-3}"
	fabric_learns node2
	sleep 2
	traffic_ends
	runs_on node2
	status_is node1 postmigrate
	downtime node1
	something_lost
}
