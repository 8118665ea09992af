/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * leaving.h - the guest's side of the node that it leaves: its taps, until
 * nothing is left in them, and the routes that lead to them.
 *
 * Shared by every redirect, whatever it sends the packets through.  Before the
 * guest is stopped the taps are watched; after it, what is left is salvaged.
 */
#ifndef KAT_LEAVING_H
#define KAT_LEAVING_H

#include "plugins/lib/pin.h"
#include "plugins/lib/salvage.h"

/* The longest message of a route that is kept, the kernel's are of 60 to 120 bytes. */
#define KAT_KEPT_BYTES 512

/* What the ring of a tap has dropped; opaque. */
struct kat_ring;

/* A route as the kernel told it, in a list; opaque. */
struct kat_kept_route;

/* Starts zeroed; to be freed by kat_leaving_free(). */
struct kat_leaving {
	size_t nics;
	struct kat_tap *taps;	     /* one per NIC */
	struct kat_kept_route *kept; /* host routes that led to the taps */
	struct kat_salvage salvage;
	bool vhost;   /* the kernel feeds the guest: QEMU keeps no packet for itself */
	bool empty;   /* the taps were seen so while the guest ran, and the redirect stood
		       */
	bool watched; /* QEMU was seen waiting for packets of some queue */
	int with_qemu; /* queues of which QEMU still had a packet for the guest then */
	struct kat_salvaged found; /* all NICs together */
	struct kat_ring *rings;	   /* one per NIC */
	size_t addresses;
	struct kat_pin *pins; /* one per address */
};

/* Allocates; `r` must outlive it.  0, or -1 with errno ENOMEM. */
int kat_leaving_open(struct katamaran_ctx *ctx, struct kat_leaving *l,
		     const struct kat_redirect *r);

/* Closes and frees; may be called twice. */
void kat_leaving_free(struct kat_leaving *l);

/*
 * Finds the tap of the guest's address `ip`, and keeps the routes of the main
 * table that lead to exactly this address through it.  `device` is the one
 * through which this node reaches the address; a tap that it does not lead to
 * is a doubt.  `tap` is zeroed where the NIC's tap is not told or not in the
 * namespace of `nl`.  0, or -1 after katamaran_error().
 */
int kat_leaving_look(struct katamaran_ctx *ctx, struct kat_leaving *l, struct kat_nl *nl,
		     const struct kat_guest_ip *ip, const struct kat_link *device,
		     struct kat_link *tap);

/*
 * Fixes the neighbour entry of each address of the guest that this node reaches without a
 * gateway, so that no packet waits for one while the guest stands still, and comes when
 * it has gone.  An entry that nobody has made yet is asked for first, for a quarter of a
 * second at most: whoever answers for the guest may have another MAC.  Before the
 * redirect; nothing where the option "neighbours" is off.  0, or -1 after
 * katamaran_error().
 */
int kat_leaving_pin(struct katamaran_ctx *ctx, struct kat_leaving *l,
		    const struct kat_redirect *r);

/* Puts them back; `stays`: the guest runs here. */
void kat_leaving_unpin(struct katamaran_ctx *ctx, struct kat_leaving *l, bool stays);

/* Duplicates QEMU's descriptors of the taps; one that cannot be had is a doubt. */
void kat_leaving_watch(struct katamaran_ctx *ctx, struct kat_leaving *l);

/*
 * Looks for some milliseconds whether the taps are empty, and, as far as that can be
 * seen, whether the guest had room for all of it; nothing must go into them any more.  Of
 * on_stop() while the guest runs, whose result this is: a number of milliseconds, or
 * KATAMARAN_WHEN_STOPPED.
 */
int kat_leaving_wait(struct katamaran_ctx *ctx, struct kat_leaving *l);

/*
 * The guest is stopped: sends what is left in its taps after it, if the salvage
 * is ready.  `settle`: and what still comes in, for a few milliseconds, from
 * CPUs on which packets had passed the redirect before it stood.
 */
void kat_leaving_rescue(struct katamaran_ctx *ctx, struct kat_leaving *l, bool settle);

/* Once, when all was done: counts, and says what cannot be known. */
void kat_leaving_judge(struct katamaran_ctx *ctx, const struct kat_leaving *l);

/*
 * What the taps' rings have dropped since kat_leaving_watch() is a doubt: there
 * the packets of a guest that is stopped for long end.  Once the guest runs on
 * the destination; only the first call does anything.
 */
void kat_leaving_drops(struct katamaran_ctx *ctx, struct kat_leaving *l);

/* The guest has gone: the routes to its tap here lead to nobody.  Deletes them. */
void kat_leaving_forget(struct katamaran_ctx *ctx, struct kat_leaving *l,
			struct kat_nl *nl);

/* The same after a kill: those that lead through the device `index`.  0 or -1. */
int kat_leaving_recover(struct katamaran_ctx *ctx, struct kat_nl *nl,
			const struct kat_guest_ip *ip, int index);

#endif /* KAT_LEAVING_H */
