/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * salvage.h - sends on what a stopped guest has left in its tap.
 *
 * Those packets have passed the place where the redirect would have taken them.
 * They get what it would have given them, the outer header of its tunnel or
 * another MAC, by a socket of our own: so they need no device of the redirect,
 * and can go out while it is still held.  Everything is made in pre_copy();
 * nothing is allocated later.
 */
#ifndef KAT_SALVAGE_H
#define KAT_SALVAGE_H

#include <linux/if_packet.h>
#include "plugins/lib/redirect.h"
#include "plugins/lib/segment.h"

/* By which packets of one family leave. */
struct kat_exit {
	int fd;		       /* -1: closed */
	struct sockaddr_ll to; /* of a packet socket; a raw one is connected */
	bool addressed;	       /* `to` is to be given */
	uint8_t front[14]; /* what stands before each packet: GRE's header, Ethernet's */
	size_t front_length;
};

struct kat_salvage {
	bool ready; /* all exits that the guest needs are open */
	/* Whose packets are sent on; where there are none: what is for one host. */
	const struct kat_guest_ip *ips;
	size_t count;
	struct kat_exit exits[2]; /* IPv4, IPv6 */
	uint8_t *frame, *segment;
	/* Set: takes the packets instead of the exits.  0, or -1 with errno. */
	int (*give)(struct katamaran_ctx *ctx, const void *packet, size_t length);
	struct katamaran_ctx *ctx; /* for that */
};

/* What was found; adds up. */
struct kat_salvaged {
	uint64_t sent;	  /* packets, after large ones were cut */
	uint64_t lost;	  /* for the guest, but could not be sent */
	uint64_t strange; /* to one host, but to none of the guest's addresses */
};

/* Allocates; `r` must outlive it.  0, or -1 with errno ENOMEM. */
int kat_salvage_open(struct kat_salvage *s, const struct kat_redirect *r);

/* Closes and frees; may be called twice. */
void kat_salvage_close(struct kat_salvage *s);

/*
 * Opens the exit of the family (AF_), if it is not open, by a tunnel of this kind and
 * with this outer header.  Needs CAP_NET_RAW.  0, or -1 with errno.
 */
int kat_salvage_by_tunnel(struct kat_salvage *s, int family,
			  const struct kat_tunnel *tunnel, const struct kat_encap *encap);

/* The same by the Ethernet segment that the destination is on, for both families. */
int kat_salvage_by_segment(struct kat_salvage *s, const struct kat_segment *segment);

/*
 * Takes all that is left out of one queue of a tap, whose guest is stopped, and
 * sends what is for the guest.  What is not IP stays behind, as do broadcasts and
 * what is of the link alone: the guest hears those anew where it is.  Stops at
 * `until_ns` (CLOCK_MONOTONIC) and returns 1 then, 0 when the queue was seen
 * empty, or -1 with errno.
 */
int kat_salvage_queue(struct kat_salvage *s, int fd, int64_t until_ns,
		      struct kat_salvaged *found);

#endif /* KAT_SALVAGE_H */
