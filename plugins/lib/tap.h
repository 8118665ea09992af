/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tap.h - QEMU's own descriptors of a tap device, duplicated: to see without
 * reading whether packets for the guest still wait in the device, and to take
 * those that a stopped guest has left there.
 */
#ifndef KAT_TAP_H
#define KAT_TAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* As MAX_TAP_QUEUES of the kernel's tap.c; a guest has one a vCPU at most. */
#define KAT_TAP_QUEUES 256

/* The queues of one tap, one descriptor each; starts zeroed. */
struct kat_tap {
	size_t count;
	int fds[KAT_TAP_QUEUES];
	int numbers[KAT_TAP_QUEUES];  /* of the descriptors in their process */
	bool watched[KAT_TAP_QUEUES]; /* see kat_tap_watch() */
};

/*
 * Duplicates all descriptors that the process has of the tap `name`.  A name
 * may exist in several network namespaces: those of taps that are not in
 * `netns` (a path; NULL: the caller's) are left out, where the kernel can tell
 * (TUNGETDEVNETNS, Linux 5.2).  `pidfd` is borrowed, -1: none at hand.  Needs
 * the right to ptrace the process.  0, or -1 with errno: ENOENT if it has no
 * such tap.  To be closed by kat_tap_close().
 */
int kat_tap_duplicate(struct kat_tap *tap, pid_t pid, int pidfd, const char *name,
		      const char *netns);

/* Closes the descriptors; may be called twice. */
void kat_tap_close(struct kat_tap *tap);

/*
 * 1 if no queue had a packet during `quiet_ns` nanoseconds, 0 as soon as one
 * has, -1 with errno.  Reads nothing: the packets stay QEMU's.
 */
int kat_tap_empty(const struct kat_tap *tap, int64_t quiet_ns);

/*
 * What QEMU has read and the guest has no room for, QEMU keeps, and waits for no
 * more packets of that queue (tap_read_poll()).  Its main thread is looked at from
 * outside while it sleeps in poll(2), with the right to ptrace it.
 *
 * kat_tap_watch() notes the queues that the process waits for as it is now, since
 * not all QEMUs poll them; kat_tap_kept() tells how many of these it does not wait
 * for, -1: the process does something else, or nobody can tell.
 */
void kat_tap_watch(struct kat_tap *tap, pid_t pid);
int kat_tap_kept(const struct kat_tap *tap, pid_t pid);

/* What stands before each frame: both are 0 unless the device was made so. */
struct kat_tap_header {
	size_t before;	    /* bytes of struct tun_pi */
	size_t virtio;	    /* bytes of struct virtio_net_hdr, which follows */
	bool little_endian; /* its numbers; else they are in the machine's order */
};

/* No header, both parts together, is longer. */
#define KAT_TAP_HEADER 128

/*
 * How it is now: QEMU makes it longer when it has the guest's state.  0, or -1
 * with errno: EPROTOTYPE where it is no tap but a tun.
 */
int kat_tap_header(int fd, struct kat_tap_header *header);

/*
 * Whether the kernel feeds the guest (vhost-net), for every queue of every tap
 * that the process has: it has as many descriptors of /dev/vhost-net.  QEMU then
 * reads no packet itself.  On doubt, no.
 */
bool kat_tap_all_vhost(pid_t pid);

#endif /* KAT_TAP_H */
