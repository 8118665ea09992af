/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tunnel.h - the one tunnel device of its kind on a node, and its sharing.
 *
 * A device in metadata mode takes the tunnel's far end from the route that
 * leads into it, so that one serves all migrations, and the kernel has room for
 * one such device a kind and namespace.  Kind "sit" has no such mode (Linux
 * 6.1, net/ipv6/sit.c): its sources have a device for each destination node,
 * its destinations one that takes packets from everywhere.
 *
 * Every migration that uses a device adds a second name to it, DEVICE-ID, and
 * the last one to take its own away removes the device.
 */
#ifndef KAT_TUNNEL_H
#define KAT_TUNNEL_H

#include "plugins/lib/tunnel_kind.h"

struct katamaran_ctx;

/* What a migration wants of a device. */
struct kat_tunnel_need {
	uint32_t mtu;		     /* at least, bytes */
	const struct kat_addr *from; /* of the node's own end, family 0: any */
	const struct kat_addr *to;   /* of the far end, NULL: the device only receives */
	bool ipv6;		     /* IPv6 packets will pass */
};

/* One migration's share of a device; starts zeroed. */
struct kat_tunnel_use {
	const struct kat_tunnel *tunnel;
	int index; /* of the device, 0: we have no share */
	char device[IFNAMSIZ];
	char altname[128];		   /* ALTIFNAMSIZ of the kernel */
	uint32_t mtu;			   /* that it was given, bytes */
	uint64_t packets, dropped, failed; /* counters when they were last read */
	bool doubted;			   /* that they are of this migration alone */
};

/*
 * Makes sure that the device is there, up, carries packets of at least the mtu,
 * has no IPv6 address of its own making, and that packets which come out of it
 * are forwarded, and adds our share.  May block for the lock until the deadline
 * of the call.  0, or -1 after katamaran_error(), or 1 where the kernel has no
 * such tunnels: nothing is said then, and nothing done.
 */
int kat_tunnel_acquire(struct katamaran_ctx *ctx, struct kat_nl *nl,
		       const struct kat_tunnel *tunnel,
		       const struct kat_tunnel_need *need, struct kat_tunnel_use *use);

/* katamaran_error() for what kat_tunnel_acquire() returned 1 for; returns -1. */
int kat_tunnel_missing(struct katamaran_ctx *ctx, const struct kat_tunnel *tunnel);

/* Takes our share away, and the device if it was the last.  May be called twice. */
void kat_tunnel_release(struct katamaran_ctx *ctx, struct kat_nl *nl,
			struct kat_tunnel_use *use);

/*
 * The same for the share of a migration whose process was killed; the device
 * may have gone, or not have been shared yet.  0, or -1 after katamaran_error().
 */
int kat_tunnel_recover(struct katamaran_ctx *ctx, struct kat_nl *nl, const char *device);

/* Whether other migrations use the device too; on doubt, yes. */
bool kat_tunnel_shared(struct katamaran_ctx *ctx, struct kat_nl *nl,
		       const struct kat_tunnel_use *use);

#endif /* KAT_TUNNEL_H */
