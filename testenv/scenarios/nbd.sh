# shellcheck shell=bash disable=SC2034,SC2154
# SPDX-License-Identifier: BSD-2-Clause
# a disk that the guest writes all the time is copied over NBD: no write is missing

needs=$NFTABLES wants=katamaran places=host
settings=(cutover=nftables)
storage='plugin = "nbd"; address = "192.168.50.12";'
# A word with QEMU takes 200 ms on a starved machine, and each disk takes three.
stop_ms=2000
# shellcheck source=testenv/disks.sh
. "$HERE/disks.sh"

scenario() {
	local_disks 1 32
	disk_guests
	one_migration_of_disks
	last_write node2
	holds node2 "$(image 0)"
}
