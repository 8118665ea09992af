/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tunnel_plug.h - holds what is redirected, for the moment in which older packets
 * are sent past it.
 *
 * A plug on each tunnel device, open but for that moment.  The devices are shared:
 * packets of other migrations wait as well then, and only one migration of the
 * node may hold a device at a time.  The plug goes with its device.
 */
#ifndef KAT_TUNNEL_PLUG_H
#define KAT_TUNNEL_PLUG_H

#include "plugins/lib/redirect.h"

/* Starts zeroed. */
struct kat_tunnel_plug {
	size_t count; /* devices that have one */
	const struct kat_tunnel_use *use[KAT_REDIRECT_TUNNELS];
	int locks[KAT_REDIRECT_TUNNELS];
	size_t locked;
	struct kat_nl_batch shut, open;
};

/*
 * Puts a plug on the device, unless another migration has, and opens it.  May
 * block for the device's lock.  0, or -1 with errno: ENOENT where the kernel has
 * no sch_plug.
 */
int kat_tunnel_plug_add(struct kat_tunnel_plug *plug, struct kat_nl *nl,
			const struct kat_tunnel_use *use, int64_t deadline_ns);

/*
 * Closes the plugs of all devices that were added.  Waits for some milliseconds
 * at most for another migration that holds one.  0, or -1 with errno: none is
 * closed then.
 */
int kat_tunnel_plug_shut(struct kat_tunnel_plug *plug, struct kat_nl *nl,
			 int64_t deadline_ns);

/* Opens what was closed: what was held goes out, in its order.  0, or -1 with errno. */
int kat_tunnel_plug_open(struct kat_tunnel_plug *plug, struct kat_nl *nl,
			 int64_t deadline_ns);

#endif /* KAT_TUNNEL_PLUG_H */
