# shellcheck shell=bash disable=SC2034,SC2154
# SPDX-License-Identifier: BSD-2-Clause
# two disks are copied over NBD at the same time, the guest writes both

needs=$NFTABLES wants=katamaran places=host
settings=(cutover=nftables)
storage='plugin = "nbd"; address = "192.168.50.12"; drives = [ "drive0", "drive1" ];'
# A word with QEMU takes 200 ms on a starved machine, and each disk takes three.
stop_ms=2000
# shellcheck source=testenv/disks.sh
. "$HERE/disks.sh"

scenario() {
	local_disks 2 16
	disk_guests
	one_migration_of_disks
	last_write node2
	holds node2 "$(image 0)" "$(image 1)"
}
