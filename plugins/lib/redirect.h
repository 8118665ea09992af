/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * redirect.h - the cutover by a tunnel: all of it but the tunnel's kind.
 *
 * On the source a rule of its own sends lookups for the guest's address to a
 * table of its own, which is empty until the switchover; then one batch puts a
 * route with an encapsulation there.  No route of anybody else is touched, and
 * deleting route and rule undoes it.  On the destination the packets come out
 * of the same device, and wait in a plug on the guest's tap.
 */
#ifndef KAT_REDIRECT_H
#define KAT_REDIRECT_H

#include "katamaran-plugin.h"
#include "plugins/lib/qdisc.h"
#include "plugins/lib/rpfilter.h"
#include "plugins/lib/rtnl.h"
#include "plugins/lib/tap.h"
#include "plugins/lib/tunnel.h"

/* Milliseconds between two looks at the counters after the guest's resume. */
#define KAT_REDIRECT_ROUND_MS 250

/* Tunnel devices that one migration may use: as many as an end has kinds. */
#define KAT_REDIRECT_TUNNELS 4

/* The options of every plugin that is built on this: how long, and what waits. */
/* clang-format off */
#define KAT_REDIRECT_HOLD_OPTIONS                                                          \
	{ "hold_s", KATAMARAN_INT, 0, "5",                                                 \
	  "how long the redirect stays at least, seconds", 0, 86400 },                     \
	{ "hold_quiet_s", KATAMARAN_INT, 0, "2",                                           \
	  "and until no packet has needed it for so long, seconds", 0, 3600 },             \
	{ "hold_max_s", KATAMARAN_INT, 0, "60",                                            \
	  "but no longer than this, seconds", 0, 86400 },                                  \
	{ "salvage", KATAMARAN_BOOL, 0, "true",                                            \
	  "source: send on what the stopped guest has left in its taps", 0, 0 }

#define KAT_REDIRECT_DEST_OPTIONS                                                          \
	{ "plug", KATAMARAN_STRING, 0, "auto",                                             \
	  "destination: sch_plug on the tap: auto, require, off", 0, 0 },                  \
	{ "plug_bytes", KATAMARAN_INT, 0, "0",                                             \
	  "destination: how much the plug holds, bytes; 0: by the link's rate", 0,         \
	  4294967295 },                                                                    \
	{ "plug_ms", KATAMARAN_INT, 0, "0",                                                \
	  "destination: the same in milliseconds at the link's rate", 0, 60000 },          \
	{ "ring", KATAMARAN_INT, 0, "-1",                                                  \
	  "destination: txqueuelen of the tap, packets; 0 leaves it, -1 fits it to the "   \
	  "plug", -1, 524288 },                                                            \
	{ "neighbours", KATAMARAN_BOOL, 0, "true",                                         \
	  "fix the guest's neighbour entry while it cannot answer for itself", 0, 0 }

/* And of those that have a tunnel. */
#define KAT_REDIRECT_OPTIONS                                                               \
	KAT_REDIRECT_HOLD_OPTIONS,                                                         \
	{ "local", KATAMARAN_STRING, 0, NULL,                                              \
	  "this node's end of the tunnel, an address; the kernel chooses", 0, 0 },         \
	{ "rule_priority", KATAMARAN_INT, 0, "10",                                         \
	  "source: priority of the routing rule of the guest", 1, 32765 },                 \
	{ "table", KATAMARAN_INT, 0, "27489",                                              \
	  "source: routing table for the redirect", 1, 4294967295 },                       \
	KAT_REDIRECT_DEST_OPTIONS
/* clang-format on */

/* How long the redirect is held, from the options, in nanoseconds. */
struct kat_hold {
	int64_t least, quiet, most;
	int64_t start;	 /* when the guest resumed, 0: not yet */
	int64_t changed; /* when the counter moved last */
	uint64_t seen;	 /* the counter then */
	size_t nics;
	int64_t *needed; /* per NIC: when a packet needed the redirect last */
};

/* One address of the guest. */
struct kat_guest_ip {
	struct kat_addr addr;
	size_t nic;
	char text[INET6_ADDRSTRLEN];
};

struct kat_pin;
struct kat_redirect_source;
struct kat_redirect_dest;
struct kat_redirect_probe;

/* The handle of the plugin on either end. */
struct kat_redirect {
	const struct kat_tunnel *tunnels; /* NULL: packets arrive as they were sent */
	struct kat_nl *nl; /* in the program's namespace, where the tunnels are */
	size_t uses;	   /* of use */
	struct kat_tunnel_use use[KAT_REDIRECT_TUNNELS];
	struct kat_addr local; /* the option; family 0: not given */
	struct kat_hold hold;
	size_t count; /* of ips */
	struct kat_guest_ip *ips;
	struct kat_redirect_source *source;
	struct kat_redirect_dest *dest;
	struct kat_redirect_probe *probe; /* of check(), see redirect_probe.h */
};

/*
 * The functions of struct katamaran_plugin; `tunnels` is a table that ends with
 * .kind = NULL and must outlive the handle.  Without tunnels (NULL) they are the
 * destination's alone, and a source may use open() and cleanup(), which then do nothing
 * but make and free the handle.
 */
int kat_redirect_open(struct katamaran_ctx *ctx, const struct kat_tunnel *tunnels,
		      void **handle);
int kat_redirect_pre_copy(struct katamaran_ctx *ctx, void *handle);
int kat_redirect_on_stop(struct katamaran_ctx *ctx, void *handle);
int kat_redirect_on_resume(struct katamaran_ctx *ctx, void *handle, unsigned int round);
void kat_redirect_cleanup(struct katamaran_ctx *ctx, void *handle, int outcome);

/*
 * Tells the hold that the counter stands at `packets` now.  True while the
 * redirect has to stay.
 */
bool kat_hold_on(struct kat_hold *hold, uint64_t packets, int64_t now_ns);

/* A packet for the NIC has needed the redirect since the last look. */
void kat_hold_needed(struct kat_hold *hold, size_t nic);

/*
 * kat_hold_on() on the source, where it is told per NIC when the network had
 * learned, and a hold that was cut short is a doubt.  Of on_resume(), whose
 * result this is.
 */
int kat_redirect_held(struct katamaran_ctx *ctx, struct kat_hold *hold, uint64_t packets);

/* Whether an address of the guest is of the family (AF_). */
bool kat_redirect_has(const struct kat_redirect *r, int family);

/*
 * Announces and sets a pin (pin.h) of the guest's address on the device `index` of the
 * namespace of `nl`; `netns` names that, NULL is the program's own.  `mac` NULL is an
 * error: nobody knows it.  0, or -1 after katamaran_error().
 */
int kat_redirect_pin(struct katamaran_ctx *ctx, struct kat_pin *pin, struct kat_nl *nl,
		     const char *netns, int index, const struct kat_guest_ip *ip,
		     const uint8_t *mac);

/*
 * A share of the device for this kind of tunnel, once for all that ask; `to` is
 * the far end, NULL: the device only receives.  Its place in r->use goes to
 * `use` (may be NULL).  0, -1 or 1 as kat_tunnel_acquire().
 */
int kat_redirect_acquire(struct katamaran_ctx *ctx, struct kat_redirect *r,
			 const struct kat_tunnel *tunnel, const struct kat_addr *to,
			 uint32_t mtu, size_t *use);

/* katamaran_error() with what the socket says and a hint; returns -1. */
int kat_redirect_fail(struct katamaran_ctx *ctx, const struct kat_nl *nl,
		      const char *object, const char *act);

#endif /* KAT_REDIRECT_H */
