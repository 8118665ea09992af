/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * qdisc.h - sch_plug as the root queue of a tap, and what was there before.
 *
 * A plug that is closed keeps what is sent to the device, up to a number of
 * bytes (link-layer header included); what comes then is dropped and counted.
 */
#ifndef KAT_QDISC_H
#define KAT_QDISC_H

#include <stdbool.h>
#include <net/if.h>
#include "plugins/lib/netlink.h"

/* Our plug's handle, "6b61:"; a queue with it is one of ours. */
#define KAT_PLUG_HANDLE 0x6b610000u

/* The root queue of a device. */
struct kat_qdisc {
	bool custom; /* not the kernel's default, which comes back by itself */
	bool plug;   /* it is one of our plugs */
	bool parent; /* it has queues below it */
	uint32_t handle;
	char kind[IFNAMSIZ];
	uint16_t options_length;
	uint8_t options[2048]; /* TCA_OPTIONS as the kernel dumped them */
};

/* The counters of a queue. */
struct kat_qdisc_stats {
	bool seen;
	uint32_t packets; /* now waiting */
	uint32_t bytes;	  /* now waiting */
	uint32_t drops;	  /* since it was made */
	uint64_t sent;	  /* packets handed to the device */
};

/* A plug with room for `limit` bytes, closed, in place of the root queue. */
void kat_msg_plug_add(struct nlmsghdr *nlh, int index, uint32_t limit);
/* From now on everything is held. */
void kat_msg_plug_block(struct nlmsghdr *nlh, int index);
/* Everything held goes out, and so does what follows. */
void kat_msg_plug_release(struct nlmsghdr *nlh, int index);
/* Another limit in bytes; what is held stays. */
void kat_msg_plug_limit(struct nlmsghdr *nlh, int index, uint32_t limit);
/* Asks for the plug's counters; the answer is read by kat_qdisc_read_stats(). */
void kat_msg_plug_get(struct nlmsghdr *nlh, int index);
/* Removes the root queue, and drops what it holds. */
void kat_msg_qdisc_delete(struct nlmsghdr *nlh, int index);
/* Makes a custom root queue again. */
void kat_msg_qdisc_restore(struct nlmsghdr *nlh, int index,
			   const struct kat_qdisc *qdisc);

/* Fills struct kat_qdisc_stats from an RTM_NEWQDISC; a mnl_cb_t. */
int kat_qdisc_read_stats(const struct nlmsghdr *nlh, void *stats);

/*
 * What the root queue of the device is, or -1 with errno: E2BIG if its options
 * are too long to be kept.
 */
int kat_qdisc_root(struct kat_nl *nl, int index, struct kat_qdisc *qdisc,
		   int64_t deadline_ns);
/*
 * Whether kat_msg_qdisc_restore() can make it again: the kernel's default, or
 * one without queues and classes below it, of a kind whose dumped options are
 * what its creation takes.
 */
bool kat_qdisc_restorable(const struct kat_qdisc *qdisc);

#endif /* KAT_QDISC_H */
