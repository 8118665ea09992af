# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: BSD-2-Clause
# nobody listens at the destination: exit 1 within 5 s, the guest stays as it was

needs="ipip sch_plug" wants=katamaran

scenario() {
	guest node1
	guest_up node1
	conf node2
	before
	LIMITS=$(limits node1)
	traffic
	sleep 1
	source_end node1 node2
	ended_with node1 source 1 5
	stayed
}
