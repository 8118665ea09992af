/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * relay.h - one migration's table of family netdev, katamaran_ID:
 *
 *	counter nic0, nic1, ...
 *	chain redirect	a rule for each address of the guest
 *	chain ingress	of the devices where packets come from; empty
 *	chain egress	of the devices that lead to the guest; empty
 *
 * Switching adds a jump to `redirect` to one of the others, which is one rule
 * that refers to nothing new: the kernel has examined all there is before.
 */
#ifndef KAT_RELAY_H
#define KAT_RELAY_H

#include "plugins/lib/nft.h"
#include "plugins/lib/redirect.h"
#include "plugins/lib/segment.h"

/* Names of devices, NULL after the last. */
typedef const char *kat_relay_devices[KAT_NFT_DEVICES + 1];

/* A name of a table or a counter, and its end. */
#define KAT_RELAY_NAME 32

/* Starts zeroed. */
struct kat_relay {
	struct kat_nft *nft;
	char table[KAT_RELAY_NAME];
	size_t nics;
	uint64_t *counted; /* per NIC */
	bool made;
	struct kat_nft_batch setup, at_ingress, at_egress, off, remove;
};

/* The name of a migration's table, on either node, and of a card's counter in it. */
void kat_relay_table(struct katamaran_ctx *ctx, char name[KAT_RELAY_NAME]);
void kat_relay_counter(char name[KAT_RELAY_NAME], size_t nic);
/* Begins a batch that makes the table, and a counter for each of the cards. */
void kat_relay_begin(struct kat_nft_batch *batch, const char *table, size_t nics);

/* The others return 0, or -1 after katamaran_error(). */

/* Opens the socket and builds what needs to know no more than the names. */
int kat_relay_open(struct katamaran_ctx *ctx, struct kat_relay *relay);

/*
 * Builds the table that sends packets for r->ips to the other node of the
 * segment, and has the kernel examine it.  Changes nothing.
 */
int kat_relay_build(struct katamaran_ctx *ctx, struct kat_relay *relay,
		    const struct kat_redirect *r, const struct kat_segment *segment,
		    const kat_relay_devices ingress, const kat_relay_devices egress);

/*
 * Reports tables of other migrations, by katamaran_finding(): the kernel removes them
 * with the process that made them, so that one which nobody owns is an old one.
 */
void kat_relay_leftovers(struct katamaran_ctx *ctx);

/* Makes the table that was built last; no packet is redirected by that. */
int kat_relay_make(struct katamaran_ctx *ctx, struct kat_relay *relay);

/* Each adds one rule, by one message that is ready; the next packet obeys it. */
int kat_relay_switch_ingress(struct katamaran_ctx *ctx, struct kat_relay *relay);
int kat_relay_switch_egress(struct katamaran_ctx *ctx, struct kat_relay *relay);

/*
 * Adds what happened since the last look to the ledger, and tells the hold (NULL:
 * nobody) for which NIC; the sum goes to `packets`.
 */
int kat_relay_count(struct katamaran_ctx *ctx, struct kat_relay *relay,
		    struct kat_hold *hold, uint64_t *packets);

/*
 * Ends the redirect, counts, and removes the table if it was made.  What fails
 * is logged, and done by the kernel in kat_relay_close().
 */
void kat_relay_remove(struct katamaran_ctx *ctx, struct kat_relay *relay);

/* Closes and frees; may be called twice. */
void kat_relay_close(struct kat_relay *relay);

#endif /* KAT_RELAY_H */
