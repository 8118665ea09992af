# shellcheck shell=bash disable=SC2034,SC2154
# SPDX-License-Identifier: BSD-2-Clause
# the nodes are podman's containers, as with Kind: by hand, and by `podman exec` as peer command
#
# What a node runs it got by `podman cp`, and every command by `podman exec`.

needs="overlay $NFTABLES" wants=katamaran places=host
settings=(cutover=nftables hold_s=1)
UNPACKED=$LAB/podman PODMAN=/run/podman/podman

# Unpacked and not installed: the packages would start and configure things on this machine.
fetch() {
	need libassuan0 libdevmapper1.02.1 libseccomp2 libsystemd0 libglib2.0-0
	[[ -x $UNPACKED/usr/bin/podman ]] || unpack "$UNPACKED" podman conmon crun libyajl2 \
		libsubid4 libgpgme11 golang-github-containers-image
}

# All that podman writes is on the lab's own /run.  It is without cgroups, which would outlive
# the lab, and crun takes no hybrid of both kinds of them.
node_conf() {
	local library
	library=$(echo "$UNPACKED"/usr/lib/*-linux-gnu)
	mkdir -p /run/podman/api
	umount /sys/fs/cgroup/unified 2>/dev/null || true
	cat >/run/podman/containers.conf <<-END
		[engine]
		cgroup_manager = "cgroupfs"
		events_logger = "none"
		lock_type = "file"
		tmp_dir = "/run/podman/tmp"
		conmon_path = [ "$UNPACKED/usr/bin/conmon" ]
		runtime = "crun"
		[engine.runtimes]
		crun = [ "/run/podman/crun" ]
	END
	cat >$PODMAN <<-END
		#!/bin/sh
		export CONTAINERS_CONF=/run/podman/containers.conf LD_LIBRARY_PATH=$library
		exec $UNPACKED/usr/bin/podman --root /run/podman/root --runroot /run/podman/run \\
			--storage-driver overlay "\$@"
	END
	cat >/run/podman/crun <<-END
		#!/bin/sh
		LD_LIBRARY_PATH=$library exec $UNPACKED/usr/bin/crun "\$@"
	END
	chmod 755 $PODMAN /run/podman/crun
	declare -p LAB RUN PREFIX PODMAN UNPACKED
	declare -f enter
}

# In node.sh: instead of entering namespaces.  A node has this machine's files, copied when
# written to, and nothing of the work folder but the logs.
enter() {
	local node=$1
	shift
	[[ $node = node? ]] || enter_namespaces "$node" "$@"
	$PODMAN run -d --name "$node" --hostname "$node" --privileged --cgroups=disabled \
		--network "ns:/run/netns/$node" --tmpfs "$LAB:notmpcopyup,mode=755" \
		-v "$OUT:$OUT" -v /run/podman/api:/podman --rootfs /:O sleep infinity >&2 || exit
	$PODMAN cp "$RUN" "$node:$LAB"
	[[ ! -d $RUN/prefix ]] || $PODMAN cp "$RUN/prefix" "$node:$PREFIX"
	[[ $node = node2 ]] || $PODMAN cp "$UNPACKED" "$node:$UNPACKED"
	exec $PODMAN exec -i "$node" "$@"
}

scenario() {
	local note
	[[ $(on node1 hostname) = node1 && $(on node2 eval "ls $LAB") != *podman* ]] ||
		fail "the nodes are no containers"
	two_guests
	conf node2 "${settings[@]}"
	one_migration
	nothing_lost
	fact note "by hand lost ${R[lost]} of ${R[sent]}"
	guest_quit node1
	twin back_by_qemu
	note=${R[note]}
	guest_quit node2
	guest node2 -incoming defer
	wait_for 60 qmp node2 '{"execute":"query-status"}'
	# Node1 has a way to podman itself, as a machine that administers both has.
	$PODMAN system service -t 0 unix:///run/podman/api/socket &
	amid_traffic one_command node1 node2 env \
		"LD_LIBRARY_PATH=$(echo "$UNPACKED"/usr/lib/*-linux-gnu)" \
		"$UNPACKED/usr/bin/podman" --url unix:///podman/socket exec -i node2
	nothing_lost
	fact note "$note; by one command: ${R[note]}"
}
