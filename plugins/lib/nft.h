/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * nft.h - a table of family netdev that sends packets on to a neighbour, built
 * by libnftnl in batches that the kernel carries out as a whole or not at all.
 *
 * A batch is kat_nft_begin(), any of the kat_nft_add_ functions, which cannot
 * fail but mark the batch, and kat_nft_end(), which tells.  Building allocates;
 * sending does not.  The table belongs to the socket that made it
 * (NFT_TABLE_F_OWNER, Linux 5.12): nobody else can change or flush it, and the
 * kernel removes it when the socket is closed, however that comes to pass.
 */
#ifndef KAT_NFT_H
#define KAT_NFT_H

#include "plugins/lib/rtnl.h"
#include <linux/netfilter.h>

/* Room of a batch: rules for 50 addresses of IPv6, and what goes with them. */
#define KAT_NFT_BATCH_BYTES 49152

/* As NFT_NETDEVICE_MAX of the kernel's nf_tables_api.c. */
#define KAT_NFT_DEVICES 256

/* A socket to nf_tables; opaque. */
struct kat_nft;

/* Starts zeroed; may be built anew, and sent twice. */
struct kat_nft_batch {
	size_t used;	    /* bytes */
	size_t end;	    /* where its last message starts, which commits it */
	unsigned int count; /* messages */
	int error;	    /* errno of what could not be added, 0: nothing */
	char room[KAT_NFT_BATCH_BYTES] __attribute__((__aligned__(NLMSG_ALIGNTO)));
};

/* What becomes of the packets for one address. */
struct kat_nft_redirect {
	struct kat_addr guest;
	const char *counter; /* the table's object that counts them */
	int oif;	     /* the Ethernet device that they leave through */
	uint8_t to[6];	     /* the neighbour's MAC there; packets that have it pass */
	uint8_t from[6];     /* the device's own */
};

/* NULL with errno; to be closed by kat_nft_close(), which takes NULL too. */
struct kat_nft *kat_nft_open(void);
void kat_nft_close(struct kat_nft *nft);

/*
 * What the last failed call said, for people: "NFT_MSG_NEWCHAIN: Operation not
 * supported", and the NFT_MSG_ number of the message that failed, -1: of none.
 */
const char *kat_nft_error(const struct kat_nft *nft);
int kat_nft_failed(const struct kat_nft *nft);

void kat_nft_begin(struct kat_nft_batch *batch);
/* 0, or -1 with errno: ENOSPC if the batch is too small, ENOMEM. */
int kat_nft_end(struct kat_nft_batch *batch);

/* Fails with EEXIST if a table of this name is there. */
void kat_nft_add_table(struct kat_nft_batch *batch, const char *table);
void kat_nft_add_counter(struct kat_nft_batch *batch, const char *table,
			 const char *counter);
/* A chain that packets come to from other chains only. */
void kat_nft_add_chain(struct kat_nft_batch *batch, const char *table, const char *chain);
/*
 * A chain that all packets pass at `hook` of the devices (names, at least one
 * and NULL after the last): NF_NETDEV_INGRESS, or NF_NETDEV_EGRESS (Linux 5.16).
 * A lower priority comes first.
 */
void kat_nft_add_hook(struct kat_nft_batch *batch, const char *table, const char *chain,
		      uint32_t hook, int32_t priority, const char *const *devices);
/*
 * A rule for untagged frames of the address's family: counts those for the
 * guest, gives them their new MACs and sends them out of the device (nft's
 * "fwd"); the chain sees no more of them.
 */
void kat_nft_add_redirect(struct kat_nft_batch *batch, const char *table,
			  const char *chain, const struct kat_nft_redirect *redirect);
/*
 * A rule that counts untagged frames of the address's family that `from` sends to
 * the guest, and lets them pass; `to` and `oif` are not looked at.
 */
void kat_nft_add_arrival(struct kat_nft_batch *batch, const char *table,
			 const char *chain, const struct kat_nft_redirect *redirect);
/* A rule that lets all packets of one chain go through another. */
void kat_nft_add_jump(struct kat_nft_batch *batch, const char *table, const char *from,
		      const char *to);
/* Deletes all rules of the chain. */
void kat_nft_add_flush(struct kat_nft_batch *batch, const char *table, const char *chain);
/* Deletes the table and all that is in it. */
void kat_nft_add_delete(struct kat_nft_batch *batch, const char *table);

/*
 * Sends a batch in one call and waits for what became of it.  0, or -1 with
 * errno, and then nothing of it was done: that of the kernel's first failure.
 * ETIMEDOUT: `deadline_ns` passed, and it may have been done.
 */
int kat_nft_send(struct kat_nft *nft, struct kat_nft_batch *batch, int64_t deadline_ns);

/* Has the kernel examine a batch as if it were sent; nothing of it is done. */
int kat_nft_check(struct kat_nft *nft, struct kat_nft_batch *batch, int64_t deadline_ns);

/*
 * Calls `see` for every table of the family; `owner` is the port of the socket that it
 * goes with, 0: of none.  0, or -1 with errno.
 */
int kat_nft_tables(struct kat_nft *nft,
		   void (*see)(const char *name, uint32_t owner, void *data), void *data,
		   int64_t deadline_ns);

/* Reads the packets of a counter.  0, or -1 with errno: ENOENT. */
int kat_nft_counter(struct kat_nft *nft, const char *table, const char *counter,
		    uint64_t *packets, int64_t deadline_ns);

#endif /* KAT_NFT_H */
