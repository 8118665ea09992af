/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * arrivals.h - the destination of a redirect through an Ethernet segment, which
 * counts what comes out of it.
 *
 * No device of the redirect's own tells.  But what the source sends on has the
 * MAC of the source's device as its sender, as nothing else for the guest has,
 * unless that node has packets of its own for it.  A table of family netdev,
 * katamaran_ID, counts them where this node receives them.
 */
#ifndef KAT_ARRIVALS_H
#define KAT_ARRIVALS_H

#include "plugins/lib/redirect.h"
#include "plugins/lib/segment.h"

/* Of the source: tells the other end what its packets can be known by. */
void kat_arrivals_tell(struct katamaran_ctx *ctx, const struct kat_segment *segment);

/*
 * The functions of struct katamaran_plugin on the destination.  They do what
 * those of redirect.h do, of which they own a handle without tunnels, also where
 * open() fails; should the kernel not count, that is a doubt and no failure.
 */
int kat_arrivals_open(struct katamaran_ctx *ctx, struct kat_redirect *r, void **handle);
int kat_arrivals_pre_copy(struct katamaran_ctx *ctx, void *handle);
int kat_arrivals_on_stop(struct katamaran_ctx *ctx, void *handle);
int kat_arrivals_on_resume(struct katamaran_ctx *ctx, void *handle, unsigned int round);
void kat_arrivals_cleanup(struct katamaran_ctx *ctx, void *handle, int outcome);
int kat_arrivals_check(struct katamaran_ctx *ctx, void *handle);

#endif /* KAT_ARRIVALS_H */
