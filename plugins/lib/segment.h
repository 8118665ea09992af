/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * segment.h - the Ethernet segment that this node and the other one are on.
 */
#ifndef KAT_SEGMENT_H
#define KAT_SEGMENT_H

#include "katamaran-plugin.h"
#include "plugins/lib/rtnl.h"

/* How one node reaches another that is its neighbour. */
struct kat_segment {
	struct kat_link link; /* the device */
	uint8_t mac[6];	      /* its own */
	struct kat_addr peer;
	uint8_t peer_mac[6];
};

/* A device's own MAC.  0, or -1 after katamaran_error(): it is none of Ethernet. */
int kat_segment_ethernet(struct katamaran_ctx *ctx, struct kat_nl *nl,
			 const struct kat_link *link, uint8_t mac[6]);

/*
 * Fills all but peer_mac from the address in `peer`.  0, or -1 after
 * katamaran_error(): it is no address, or no neighbour's.
 */
int kat_segment_find(struct katamaran_ctx *ctx, struct kat_nl *nl, const char *peer,
		     struct kat_segment *segment);

/*
 * Fills peer_mac with what the peer answers now: an entry of the neighbour
 * table that was not confirmed lately is not believed.  May block for four
 * seconds.  0, or -1 after katamaran_error().
 */
int kat_segment_resolve(struct katamaran_ctx *ctx, struct kat_nl *nl,
			struct kat_segment *segment);

#endif /* KAT_SEGMENT_H */
