# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: BSD-2-Clause
# the guest on the client's own segment, where garp's frames tell its new place: nobody moves a route
#
# What comes to the old port of the switch meanwhile is redirected by nftables.

needs=$NFTABLES wants=katamaran places=host
form=lan
cards=("tap0 $GUEST_MAC 192.168.50.5 fd00:50::5")

fetch() {
	need tcpdump
}

# The port of the fabric's switch at which the guest's MAC was seen last.
guests_port() {
	on fabric bridge fdb show br br0 | sed -n "s/^$GUEST_MAC dev \([a-z0-9]*\) .*/\1/p"
}

# heard TEXT NAME: how often the client's capture has it, with the guest's MAC as the sender,
# to all.
heard() {
	local n
	n=$(on client grep -c "$GUEST_MAC > \(ff:ff:ff:ff:ff:ff\|33:33:00:00:00:01\).*$1" /run/lab/tcpdump.out) ||
		fail "the client heard no frame of the kind: $1"
	fact note "${R[note]-}${R[note]:+, }$n $2"
}

scenario() {
	two_guests
	[[ $(guests_port) = node1 ]] || fail "the guest is at the fabric's port $(guests_port)"
	# QEMU's own announcement, and what it makes the guest send, would do the same.
	qmp node2 '{"execute":"migrate-set-parameters","arguments":{"announce-rounds":0}}'
	spawn client tcpdump tcpdump -Z root -lnei eth0 "arp or rarp or icmp6"
	# A bridge sends to the tap whatever its neighbour entry is, and to put its ring back stops
	# its queue for a moment: so leave it as it is.
	conf node2 cutover=nftables more='devices = [ "eth0" ]; plug = "off"; ring = 0;' \
		announce='{ plugin = "garp"; }'
	one_migration
	[[ $(guests_port) = node2 ]] || fail "the fabric has the guest at $(guests_port)"
	on client sign INT tcpdump
	wait_for 10 on client ended tcpdump
	heard 'who-has 192.168.50.5 tell 192.168.50.5' requests
	heard '192.168.50.5 is-at' replies
	heard 'Reverse Request' RARP
	heard 'neighbor advertisement.* fd00:50::5' advertisements
	nothing_lost
}
