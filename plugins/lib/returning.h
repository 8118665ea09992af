/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * returning.h - on the destination, what was held for a guest that has not come: it is
 * taken out of the guest's taps, and goes back to the other end.
 *
 * QEMU may have ended by then, and a tap's ring goes with the last of its descriptors: so
 * they are duplicated before the guest arrives.
 */
#ifndef KAT_RETURNING_H
#define KAT_RETURNING_H

#include "plugins/lib/holder.h"
#include "plugins/lib/salvage.h"
#include "plugins/lib/tap.h"

/* Starts zeroed; to be freed by kat_returning_free(). */
struct kat_returning {
	size_t nics;
	struct kat_tap *taps; /* one per NIC */
	struct kat_salvage salvage;
};

/* Allocates; `r` must outlive it.  0, or -1 with errno ENOMEM. */
int kat_returning_open(struct katamaran_ctx *ctx, struct kat_returning *back,
		       const struct kat_redirect *r);

/* Closes and frees; may be called twice. */
void kat_returning_free(struct kat_returning *back);

/*
 * In pre_copy(): duplicates QEMU's descriptors of the taps, where there is another end to
 * give anything back to.  One that cannot be had is told in the log.
 */
void kat_returning_watch(struct katamaran_ctx *ctx, struct kat_returning *back);

/* The guest runs here: its packets are its own. */
void kat_returning_forget(struct kat_returning *back);

/*
 * In cleanup() after a failure: opens the plug, reads what the tap of the NIC has for a
 * fifth of a second at most, and gives it back (katamaran_give_back()).  One packet of a
 * queue may be in QEMU's hands already, and is lost.  Nothing where the switchover had
 * not begun, or the descriptors could not be had.
 */
void kat_returning_give(struct katamaran_ctx *ctx, struct kat_returning *back,
			struct kat_holder *holder);

#endif /* KAT_RETURNING_H */
