/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fabric.h - the way on which a frame leaves as if the guest had sent it.
 *
 * What is sent to a tap by a packet socket goes to the guest.  What is written
 * to the descriptor by which QEMU has the tap comes from the guest: a bridge
 * learns from it and floods it, Open vSwitch sends it through its flows, a tc
 * filter redirects it, in whatever namespace the tap is.  Where that descriptor
 * cannot be had, or other interfaces are asked for, a packet socket sends on
 * the interfaces behind the tap.
 */
#ifndef KAT_FABRIC_H
#define KAT_FABRIC_H

#include "katamaran-plugin.h"
#include "plugins/lib/frames.h"
#include "plugins/lib/netlink.h"
#include "plugins/lib/tap.h"

#include <net/if.h>

/* Interfaces that one guest's NIC may be announced on. */
#define KAT_FABRIC_DEVICES 64

/* The way of one NIC; starts zeroed, with -1 as `sock`. */
struct kat_fabric {
	struct kat_tap tap; /* QEMU's descriptors; none: by packet socket */
	int sock;	    /* of AF_PACKET, -1: by the tap */
	size_t count;
	struct kat_fabric_device {
		int index;
		char name[IFNAMSIZ];
	} devices[KAT_FABRIC_DEVICES];
	struct kat_nl *nl; /* in the tap's namespace */
	bool learn;	   /* the bridge does not see our frames: tell it */
	union kat_nl_message fdb;
};

/*
 * Finds the way of `nic`: the interfaces `names`, in the tap's namespace, or
 * for a `count` of 0 QEMU's descriptor of the tap, or else what is behind the
 * tap: the other ports of its bridge, where its tc filters redirect to, or for
 * a macvtap itself.  Says which in the log; changes nothing.  May block.  0, or
 * -1 after katamaran_error().  To be closed by kat_fabric_close() either way.
 */
int kat_fabric_open(struct katamaran_ctx *ctx, struct kat_fabric *fabric, size_t nic,
		    const char *const *names, size_t count);

/*
 * Before the first frame: where the frames go out behind a bridge, its table
 * is told that `mac` is at the tap.  One acknowledgement of the kernel, nothing
 * if not needed.  0, or -1 with errno and kat_nl_error(fabric->nl).
 */
int kat_fabric_learn(struct kat_fabric *fabric, int64_t deadline_ns);

/*
 * Sends the frame on every interface.  Does not wait.  0, or -1 with errno and
 * the name of the first interface that failed in `failed`, NULL for the tap.
 */
int kat_fabric_send(const struct kat_fabric *fabric, const struct kat_frame *frame,
		    const char **failed);

/* Closes everything; may be called twice. */
void kat_fabric_close(struct kat_fabric *fabric);

#endif /* KAT_FABRIC_H */
