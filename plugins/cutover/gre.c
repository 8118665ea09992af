/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cutover-gre: packets that still reach the source follow the guest through a
 * GRE tunnel.
 *
 * All of it is plugins/lib/redirect.c; what is of this kind stands here.  The
 * key is for filters on the way: a device in metadata mode takes every key
 * (ip_tunnel_lookup()), so the ends need not agree about it.
 */
#define KATAMARAN_API_VERSION 1
#include "plugins/lib/redirect_check.h"
#include "plugins/lib/undo.h"

#include <linux/if_tunnel.h>

static const struct kat_tunnel tunnels[] = {
	{
		.guest = AF_UNSPEC,
		.underlay = AF_INET,
		.kind = "gre",
		.module = "ip_gre",
		.device = "kat-gre",
		.metadata = IFLA_GRE_COLLECT_METADATA,
		.overhead = 20 + 4,
		.keyed = true,
	},
	{
		.guest = AF_UNSPEC,
		.underlay = AF_INET6,
		.kind = "ip6gre",
		.module = "ip6_gre",
		.device = "kat-gre6",
		.metadata = IFLA_GRE_COLLECT_METADATA,
		.overhead = 40 + 4,
		.keyed = true,
	},
	{.kind = NULL},
};

static const struct katamaran_option options[] = {
	{"key", KATAMARAN_INT, 0, "0", "source: key of the GRE header; 0: it has none", 0,
	 4294967295},
	KAT_REDIRECT_OPTIONS,
	{.name = NULL},
};

static int gre_open(struct katamaran_ctx *ctx, void **handle)
{
	return kat_redirect_open(ctx, tunnels, handle);
}

static struct katamaran_plugin plugin = {
	.name = "gre",
	.kind = KATAMARAN_CUTOVER,
	.roles = KATAMARAN_SOURCE | KATAMARAN_DESTINATION,
	.version = "1",
	.description = "redirect packets through a GRE tunnel",
	.options = options,
	.open = gre_open,
	.pre_copy = kat_redirect_pre_copy,
	.on_stop = kat_redirect_on_stop,
	.on_resume = kat_redirect_on_resume,
	.cleanup = kat_redirect_cleanup,
	.recover = kat_redirect_recover,
	.check = kat_redirect_check,
};
KATAMARAN_REGISTER_PLUGIN(plugin)
