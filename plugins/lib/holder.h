/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * holder.h - holds packets at a guest's tap until the guest runs: a ring that
 * is large enough and, where the kernel has sch_plug, a plug in front of it.
 *
 * A bridge that the tap is a port of may have learned that the guest is behind
 * another port, where it still is.  It would send back what is redirected here,
 * again and again: while packets are held, the guest's MAC stands fixed.
 */
#ifndef KAT_HOLDER_H
#define KAT_HOLDER_H

#include "katamaran-plugin.h"
#include "plugins/lib/buffer.h"
#include "plugins/lib/qdisc.h"

/* One tap; starts zeroed. */
struct kat_holder {
	struct kat_nl *nl; /* in the tap's namespace, borrowed */
	size_t nic;
	const char *tap;
	struct kat_link link; /* as it was found */
	struct kat_qdisc before;
	bool ring;    /* txqueuelen was changed */
	bool plugged; /* our plug is there */
	bool closed;  /* and holds */
	bool bridged; /* the tap is a port of a bridge, and the MAC is known */
	bool fixed;   /* the guest's MAC in that bridge */
	uint8_t mac[6];
	bool blocked;	  /* the switchover began: counters count */
	uint32_t packets; /* that the ring takes */
	uint64_t held;	  /* packets when it opened, not yet seen to have left */
	uint64_t dropped; /* tx_dropped of the tap when it was last read */
	struct kat_nl_batch block, release;
};

/*
 * Finds the tap `nic`, and says what of its queues cannot be put back.
 * Changes nothing.  0, or -1 after katamaran_error().
 */
int kat_holder_open(struct katamaran_ctx *ctx, struct kat_holder *h, struct kat_nl *nl,
		    size_t nic);

/*
 * Sizes the ring and installs the plug, open, by the option plug and as `buffer`
 * says.  What was done when it fails is undone by kat_holder_put_back().
 */
int kat_holder_install(struct katamaran_ctx *ctx, struct kat_holder *h,
		       const struct kat_buffer *buffer);

/* Closes the plug with one prepared message.  0, or -1 after katamaran_error(). */
int kat_holder_block(struct katamaran_ctx *ctx, struct kat_holder *h);

/*
 * The guest will not come: lets what is held into the tap's ring, for whoever reads it.
 * 0, or -1 with errno and kat_nl_error().
 */
int kat_holder_let_out(struct katamaran_ctx *ctx, struct kat_holder *h);

/*
 * Opens it with one prepared message, and counts what it held and dropped.  A
 * plug that does not open is an error; counters that cannot be read, a doubt.
 */
int kat_holder_release(struct katamaran_ctx *ctx, struct kat_holder *h);

/* Counts what has left the plug and what the ring has dropped since last time. */
void kat_holder_count(struct katamaran_ctx *ctx, struct kat_holder *h);

/*
 * Empties the plug and counts what is left to count: with `guest`, which runs
 * here, it is opened if it still is closed, and what it held gets a second to
 * leave and another to be read out of the ring, which is about to become
 * shorter; without, what it holds is lost with the guest, and counted so.
 */
void kat_holder_finish(struct katamaran_ctx *ctx, struct kat_holder *h, bool guest);

/*
 * Adds the messages to the batch that put queue and ring back as they were
 * found, none if nothing was changed.  May be called twice.  0, or -1 with
 * errno ENOSPC.
 */
int kat_holder_put_back(struct kat_holder *h, struct kat_nl_batch *batch);

#endif /* KAT_HOLDER_H */
