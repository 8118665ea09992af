/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * redirect_probe.h - packets as the redirect will send them, from one node to
 * the other, before there is a redirect.
 *
 * They have the outer protocol of the tunnel, so that every filter and router
 * on the way treats them as it will treat the guest's.  Inside is a packet from
 * the loopback address to itself: should a tunnel of another migration take it
 * out, the kernel drops it.  The other end hears them by raw sockets.
 */
#ifndef KAT_REDIRECT_PROBE_H
#define KAT_REDIRECT_PROBE_H

#include "plugins/lib/redirect.h"

/* The sockets of the end that listens; opaque. */
struct kat_redirect_probe;

/*
 * Listens for packets of all tunnels of the table, and publishes the number by
 * which they are known.  0, or -1 with errno.
 */
int kat_redirect_probe_listen(struct katamaran_ctx *ctx, struct kat_redirect *r);

/*
 * Sends packets through each of the `count` kinds to `to`, small ones and,
 * where the tunnel may cut its packets, some with `mtu` bytes inside.  0, or -1
 * with errno.
 */
int kat_redirect_probe_send(struct katamaran_ctx *ctx, const struct kat_redirect *r,
			    const struct kat_tunnel *const *tunnels, size_t count,
			    const struct kat_addr *to, uint32_t mtu);

/* Waits for them, a second at most, and reports what came. */
void kat_redirect_probe_report(struct katamaran_ctx *ctx, struct kat_redirect *r);

/* Closes and frees; NULL is allowed. */
void kat_redirect_probe_free(struct kat_redirect_probe *probe);

#endif /* KAT_REDIRECT_PROBE_H */
