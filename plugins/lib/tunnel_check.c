/* SPDX-License-Identifier: BSD-2-Clause */
#define KATAMARAN_API_VERSION 1
#include "katamaran-plugin.h"
#include "plugins/lib/tunnel_check.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "plugins/lib/kernel.h"

/* What the code of a module is known by in a kernel that has it built in. */
static const char *symbol_of(const char *module)
{
	static const struct {
		const char *module, *symbol;
	} symbols[] = {
		{"ipip", "ipip_newlink"},	   {"sit", "ipip6_newlink"},
		{"ip6_tunnel", "ip6_tnl_newlink"}, {"ip_gre", "ipgre_newlink"},
		{"ip6_gre", "ip6gre_newlink"},
	};

	for (size_t i = 0; i < sizeof(symbols) / sizeof(symbols[0]); i++)
		if (!strcmp(module, symbols[i].module))
			return symbols[i].symbol;
	return module;
}

/* The device is there: it is of another migration, of a dead one, or a stranger's. */
static bool check_device(struct katamaran_ctx *ctx, struct kat_nl *nl,
			 const struct kat_tunnel *tunnel, const struct kat_link *link,
			 const char *what)
{
	unsigned int shares = 0;
	bool own;

	if (strcmp(link->kind, tunnel->kind) != 0 ||
	    (tunnel->metadata && !link->external)) {
		katamaran_finding(
			ctx, KATAMARAN_FAILURE, what,
			"a device %s exists and is not an %s tunnel%s; rename or "
			"delete it",
			tunnel->device, tunnel->kind,
			tunnel->metadata ? " in external mode" : "");
		return false;
	}
	if (kat_link_altnames(nl, link->index, tunnel->device, "", &own, &shares,
			      katamaran_deadline_ns(ctx)) < 0)
		shares = 0;
	katamaran_finding(ctx, KATAMARAN_WARNING, what,
			  "the device %s is there, with %u migration(s) that use it: if "
			  "none is running, it was left by one that was killed (then: ip "
			  "link delete %s)",
			  tunnel->device, shares, tunnel->device);
	return true;
}

static bool check_devices(struct katamaran_ctx *ctx, struct kat_nl *nl,
			  const struct kat_tunnel *tunnel, const char *what)
{
	int64_t deadline = katamaran_deadline_ns(ctx);
	struct kat_link link;

	if (kat_link_get(nl, tunnel->device, 0, &link, deadline) == 0)
		return check_device(ctx, nl, tunnel, &link, what);
	if (tunnel->metadata &&
	    kat_link_external(nl, tunnel->kind, &link, deadline) == 0 && link.index) {
		katamaran_finding(
			ctx, KATAMARAN_FAILURE, what,
			"%s is an %s device in external mode already, and a "
			"namespace can have only one: delete it, or take another "
			"cutover plugin",
			link.name, tunnel->kind);
		return false;
	}
	katamaran_finding(ctx, KATAMARAN_OK, what,
			  "the kernel has them, and the name %s is free", tunnel->device);
	return true;
}

bool kat_tunnel_check(struct katamaran_ctx *ctx, struct kat_nl *nl,
		      const struct kat_tunnel *tunnel, int missing)
{
	char what[64];

	snprintf(what, sizeof(what), "%s tunnels", tunnel->kind);
	switch (kat_kernel_module(tunnel->module, symbol_of(tunnel->module))) {
	case KAT_KERNEL_LACKS:
		katamaran_finding(ctx, missing, what,
				  "this kernel has none; install or load its module "
				  "(modprobe %s), which carries %s packets over %s",
				  tunnel->module,
				  tunnel->guest == AF_UNSPEC
					  ? "IPv4 and IPv6"
					  : kat_family_name(tunnel->guest),
				  kat_family_name(tunnel->underlay));
		return false;
	case KAT_KERNEL_UNKNOWN:
		katamaran_finding(
			ctx, KATAMARAN_WARNING, what,
			"not loaded, and whether the kernel could load the module "
			"%s cannot be seen from here: modprobe %s on this node",
			tunnel->module, tunnel->module);
		return true;
	case KAT_KERNEL_HAS:
	case KAT_KERNEL_LOADS:
		break;
	}
	return check_devices(ctx, nl, tunnel, what);
}
