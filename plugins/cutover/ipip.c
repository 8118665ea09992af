/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cutover-ipip: packets that still reach the source follow the guest through
 * an IP-in-IP tunnel, of either version of IP in either.
 *
 * All of it is plugins/lib/redirect.c; what is of this kind stands here.  In
 * metadata mode the kernel does not copy the inner DF bit outward
 * (ip_md_tunnel_xmit()), nor does sit without pmtudisc (ipip6_tunnel_xmit()),
 * so packets as large as the underlay's MTU pass, as outer fragments.  Over
 * IPv6 none can be made (ip6_tnl_xmit()).
 */
#define KATAMARAN_API_VERSION 1
#include "plugins/lib/redirect_check.h"
#include "plugins/lib/undo.h"

#include <linux/if_tunnel.h>

static const struct kat_tunnel tunnels[] = {
	{
		.guest = AF_INET,
		.underlay = AF_INET,
		.kind = "ipip",
		.module = "ipip",
		.device = "kat-ipip",
		.metadata = IFLA_IPTUN_COLLECT_METADATA,
		.overhead = 20,
	},
	{
		.guest = AF_INET6,
		.underlay = AF_INET,
		.kind = "sit",
		.module = "sit",
		.device = "kat-sit",
		.overhead = 20,
	},
	{
		.guest = AF_UNSPEC,
		.underlay = AF_INET6,
		.kind = "ip6tnl",
		.module = "ip6_tunnel",
		.device = "kat-ip6tnl",
		.metadata = IFLA_IPTUN_COLLECT_METADATA,
		.overhead = 40,
	},
	{.kind = NULL},
};

static const struct katamaran_option options[] = {
	KAT_REDIRECT_OPTIONS,
	{.name = NULL},
};

static int ipip_open(struct katamaran_ctx *ctx, void **handle)
{
	return kat_redirect_open(ctx, tunnels, handle);
}

static struct katamaran_plugin plugin = {
	.name = "ipip",
	.kind = KATAMARAN_CUTOVER,
	.roles = KATAMARAN_SOURCE | KATAMARAN_DESTINATION,
	.version = "1",
	.description = "redirect packets through an IP-in-IP tunnel",
	.options = options,
	.open = ipip_open,
	.pre_copy = kat_redirect_pre_copy,
	.on_stop = kat_redirect_on_stop,
	.on_resume = kat_redirect_on_resume,
	.cleanup = kat_redirect_cleanup,
	.recover = kat_redirect_recover,
	.check = kat_redirect_check,
};
KATAMARAN_REGISTER_PLUGIN(plugin)
