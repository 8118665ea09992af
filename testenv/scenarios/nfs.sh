# shellcheck shell=bash disable=SC2034,SC2154
# SPDX-License-Identifier: BSD-2-Clause
# a qcow2 on a real NFS server, written all the time: no packet and no write is missing
#
# The kernel's own server on the fabric, and NFS 4.2 clients of the nodes.  The locks of the
# image go with the guest.  Back again by QEMU alone, which loses packets.

needs="ipip sch_plug nfsd nfs nfsv4" wants=katamaran places='uml2 uml'
storage='plugin = "shared";'
SERVER=192.168.50.3 DISK_IMAGE=/run/nfs/disk.qcow2
# shellcheck source=testenv/disks.sh
. "$HERE/disks.sh"

# The server is unpacked, too, and not installed: it would be started on this machine.
fetch() {
	fetch_sshd
	need qemu-utils libtirpc3 libevent-core-2.1-7
	[[ -x $LAB/nfs/usr/sbin/rpc.nfsd ]] || unpack "$LAB/nfs" nfs-kernel-server libwrap0
}

# A new server waits for clients of its former life, 90 seconds by default.  The root file
# system cannot be exported, and cannot be written to: a tmpfs can.
server_up() {
	ip_batch fabric <<<"addr add $SERVER/24 dev br0"
	# shellcheck disable=SC2016	# the agent's own
	on fabric eval 'export LD_LIBRARY_PATH='"$(echo "$LAB"/nfs/usr/lib/*-linux-gnu)"'
		export PATH=$PATH:'"$LAB"'/nfs/usr/sbin
		mount -t tmpfs lib /var/lib && mkdir /var/lib/nfs /run/export && : >/var/lib/nfs/etab &&
		mount -t tmpfs -o size=128M export /run/export &&
		mount -t nfsd nfsd /proc/fs/nfsd &&
		echo 10 >/proc/fs/nfsd/nfsv4leasetime && echo 10 >/proc/fs/nfsd/nfsv4gracetime &&
		exportfs -i -o rw,no_root_squash,no_subtree_check,fsid=0,insecure 192.168.50.0/24:/run/export'
	spawn fabric mountd rpc.mountd --no-nfs-version 3 --foreground
	on fabric rpc.nfsd -V 4.2 -N 3 --no-udp --tcp 4
}

# Without names of their own, both nodes would be the same client to the server.
client_up() {
	on "$1" write /sys/fs/nfs/net/nfs_client/identifier "$1"
	on "$1" mkdir /run/nfs
	on "$1" mount -i -t nfs4 "$SERVER:/" /run/nfs \
		-o "vers=4.2,hard,proto=tcp,addr=$SERVER,clientaddr=${NODE_IP4[$1]}"
}

# locked_for NODE: another QEMU has the image; NODE may look at it, and not write.
locked_for() {
	local said
	on "$1" qemu-io -r -U -f qcow2 -c 'read 0 512' $DISK_IMAGE >/dev/null
	said=$(on "$1" eval "qemu-io -f qcow2 -c quit $DISK_IMAGE 2>&1 && echo opened; true")
	[[ $said = *'Failed to get "write" lock'* ]] || fail "no lock keeps $1 from the image: $said"
}

scenario() {
	server_up
	client_up node1
	client_up node2
	on node1 "$DISK" fill /run/raw.img 0 32
	on node1 qemu-img convert -O qcow2 /run/raw.img $DISK_IMAGE
	a_disk 0 "format=qcow2,cache=none,file=$DISK_IMAGE"
	disk_guests
	locked_for node2
	sshd_and_keys
	one_migration_of_disks "${SSH[@]}"
	guest_quit node1
	locked_for node1
	goes_on_writing node2
	twin back_by_qemu	# which must keep the disk whole, too
	guest_quit node2
	locked_for node2
	last_write node1
	on node1 qemu-img check -q $DISK_IMAGE || fail "the image is damaged"
	on node1 qemu-img convert -O raw $DISK_IMAGE "$(image 0)"
	holds node1 "$(image 0)"
}
