/* SPDX-License-Identifier: BSD-2-Clause */
#define KATAMARAN_API_VERSION 1
#include "plugins/lib/redirect_check.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <linux/capability.h>
#include <linux/netconf.h>
#include <linux/rtnetlink.h>
#include "plugins/lib/guest_check.h"
#include "plugins/lib/kernel.h"
#include "plugins/lib/redirect_probe.h"
#include "plugins/lib/tunnel_check.h"

/* Of a full-size packet on most networks; the guest's tap may have more. */
#define MTU_LEAST 1500
/* rp_filter: who is not reached through this very device is dropped. */
#define STRICT 1

static bool is_source(struct katamaran_ctx *ctx)
{
	return katamaran_role(ctx) == KATAMARAN_SOURCE;
}

static void check_privileges(struct katamaran_ctx *ctx)
{
	if (kat_kernel_may(CAP_NET_ADMIN))
		katamaran_finding(ctx, KATAMARAN_OK, "privileges",
				  "the network may be changed");
	else
		katamaran_finding(
			ctx, KATAMARAN_FAILURE, "privileges",
			"CAP_NET_ADMIN is missing, without which neither routes nor "
			"queues can be changed: run katamaran as root");
}

/* ---- the way to the other node ---- */

static void check_mtu(struct katamaran_ctx *ctx, int family, uint32_t carries,
		      uint32_t wanted, uint32_t overhead)
{
	if (family == AF_INET6 && carries < wanted + overhead)
		katamaran_finding(
			ctx, KATAMARAN_WARNING, "mtu",
			"packets of more than %u bytes do not fit through a tunnel "
			"over IPv6, and the way to the guest carries %u: give the "
			"network between the nodes an mtu of %u, or the "
			"destination's IPv4 address",
			carries - overhead, wanted, wanted + overhead);
	else if (carries < wanted)
		katamaran_finding(
			ctx, KATAMARAN_WARNING, "mtu",
			"the way to the destination carries packets of %u bytes, "
			"the one to the guest %u: large ones will be cut into "
			"fragments; give the network between the nodes at least as "
			"much",
			carries, wanted);
	else
		katamaran_finding(ctx, KATAMARAN_OK, "mtu",
				  "%u to the destination, %u to the guest%s", carries,
				  wanted,
				  overhead && carries < wanted + overhead
					  ? "; the largest go as two fragments"
					  : "");
}

/* What arrives on this device is to be forwarded. */
static void check_forwarding(struct katamaran_ctx *ctx, struct kat_redirect *r,
			     const struct kat_link *device)
{
	struct kat_netconf conf;

	if (!kat_redirect_has(r, AF_INET) ||
	    kat_netconf_get(r->nl, device->index, &conf, katamaran_deadline_ns(ctx)) < 0)
		return;
	if (conf.forwarding)
		katamaran_finding(ctx, KATAMARAN_OK, "forwarding", "on, also on %s",
				  device->name);
	else
		katamaran_finding(
			ctx, KATAMARAN_FAILURE, "forwarding",
			"net.ipv4.conf.%s.forwarding is 0: what arrives there is not "
			"sent on; set it to 1",
			device->name);
}

static void send_probe(struct katamaran_ctx *ctx, struct kat_redirect *r,
		       const struct kat_tunnel *const *tunnels, size_t count,
		       const struct kat_addr *peer, uint32_t mtu)
{
	if (!count)
		return;
	if (!katamaran_connected(ctx) || !katamaran_learn(ctx, "probe"))
		katamaran_finding(ctx, KATAMARAN_WARNING, "way of the redirect",
				  "not checked: %s",
				  katamaran_connected(ctx)
					  ? "the destination does not listen"
					  : "nobody tells whether the packets arrive");
	else if (kat_redirect_probe_send(ctx, r, tunnels, count, peer, mtu) < 0)
		katamaran_finding(ctx,
				  kat_kernel_may(CAP_NET_RAW) ? KATAMARAN_FAILURE
							      : KATAMARAN_WARNING,
				  "way of the redirect",
				  "cannot send packets of the tunnel to %s: %m",
				  katamaran_peer(ctx));
}

/* Whether the other end has said that it takes this kind. */
static bool takes(const char *list, const char *kind)
{
	size_t length = strlen(kind);

	for (const char *at = list; (at = strstr(at, kind)); at += length)
		if ((at == list || at[-1] == ' ') && (!at[length] || at[length] == ' '))
			return true;
	return false;
}

/* The kinds of tunnel that the guest's addresses need, each once; how many. */
static size_t check_tunnels(struct katamaran_ctx *ctx, struct kat_redirect *r, int family,
			    const struct kat_tunnel **tunnels, uint32_t *overhead)
{
	const char *list = katamaran_learn(ctx, "receives");

	for (size_t i = 0; i < r->count; i++) {
		const struct kat_tunnel *t =
			kat_tunnel_find(r->tunnels, r->ips[i].addr.family, family);
		size_t j = 0;

		tunnels[i] = t;
		if (!t)
			return 0; /* open() has refused that */
		if (t->overhead > *overhead)
			*overhead = t->overhead;
		while (j < i && tunnels[j] != t)
			j++;
		if (j < i)
			continue;
		if (!kat_tunnel_check(ctx, r->nl, t, KATAMARAN_FAILURE))
			return 0;
		if (list && !takes(list, t->kind))
			katamaran_finding(
				ctx, KATAMARAN_FAILURE, "redirect",
				"the destination takes no %s packets (but: %s): "
				"load the module %s there, or give another address "
				"of it",
				t->kind, *list ? list : "none", t->module);
	}
	return r->count;
}

static void check_underlay(struct katamaran_ctx *ctx, struct kat_redirect *r,
			   uint32_t mtu)
{
	const struct kat_tunnel **tunnels = calloc(r->count, sizeof(*tunnels));
	int64_t deadline = katamaran_deadline_ns(ctx);
	const char *text = katamaran_peer(ctx);
	struct kat_link device = {0};
	uint32_t overhead = 0;
	struct kat_addr peer;
	struct kat_way way;
	size_t count = 0;

	if (!tunnels || !text || kat_addr_parse(text, &peer) < 0) {
		free(tunnels);
		return;
	}
	if (r->tunnels)
		count = check_tunnels(ctx, r, peer.family, tunnels, &overhead);
	if (kat_way_get(r->nl, &peer, &way, deadline) < 0 ||
	    kat_link_get(r->nl, NULL, way.oif, &device, deadline) < 0) {
		katamaran_finding(
			ctx, KATAMARAN_FAILURE, "destination",
			"this node has no route to %s: correct destination.ip, or "
			"add one",
			text);
	} else if (way.type != RTN_UNICAST) {
		katamaran_finding(ctx, KATAMARAN_FAILURE, "destination",
				  "%s is an address of this node: correct destination.ip",
				  text);
	} else {
		if (r->tunnels)
			check_forwarding(ctx, r, &device);
		check_mtu(ctx, peer.family,
			  way.mtu && way.mtu < device.mtu ? way.mtu : device.mtu, mtu,
			  overhead);
		send_probe(ctx, r, tunnels, count, &peer, mtu);
	}
	free(tunnels);
}

/* ---- the destination ---- */

/* Which of the kinds is wanted the source knows: what matters is that one is there. */
static void check_covered(struct katamaran_ctx *ctx, const struct kat_redirect *r,
			  int family, bool covered)
{
	if (kat_redirect_has(r, family) && !covered)
		katamaran_finding(
			ctx, KATAMARAN_FAILURE, "redirect",
			"nothing on this node takes the guest's %s packets out of a "
			"tunnel: load a module that was missed above, and see that "
			"the node has a global address",
			kat_family_name(family));
}

/* The kinds that this end can take, for the source to compare. */
static void check_receives(struct katamaran_ctx *ctx, struct kat_redirect *r)
{
	int64_t deadline = katamaran_deadline_ns(ctx);
	bool four = false, six = false;
	char list[128] = "";
	size_t used = 0;

	for (const struct kat_tunnel *t = r->tunnels; t->kind; t++) {
		bool has = r->local.family == t->underlay;

		if (t->guest != AF_UNSPEC && !kat_redirect_has(r, t->guest))
			continue;
		if (!r->local.family &&
		    kat_address_global(r->nl, t->underlay, &has, deadline) < 0)
			has = true;
		if (!has || !kat_tunnel_check(ctx, r->nl, t, KATAMARAN_WARNING))
			continue;
		used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s",
					 used ? " " : "", t->kind);
		four = four || t->guest != AF_INET6;
		six = six || t->guest != AF_INET;
	}
	check_covered(ctx, r, AF_INET, four);
	check_covered(ctx, r, AF_INET6, six);
	katamaran_publish(ctx, "receives", list);
}

/*
 * Without a tunnel clients' packets come from the other node as they are, on a
 * device through which the way back to the client need not lead.
 */
static void check_strict(struct katamaran_ctx *ctx, struct kat_redirect *r)
{
	struct kat_netconf all;

	if (kat_redirect_has(r, AF_INET) &&
	    kat_netconf_get(r->nl, NETCONFA_IFINDEX_ALL, &all,
			    katamaran_deadline_ns(ctx)) == 0 &&
	    all.rp_filter == STRICT)
		katamaran_finding(
			ctx, KATAMARAN_WARNING, "rp_filter",
			"net.ipv4.conf.all.rp_filter is 1 (strict): redirected "
			"packets of clients that this node reaches through another "
			"device are dropped; set it to 2");
}

static int check_dest(struct katamaran_ctx *ctx, struct kat_redirect *r)
{
	if (!r->tunnels) {
		check_strict(ctx, r);
		return 0;
	}
	check_receives(ctx, r);
	if (!katamaran_connected(ctx))
		return 0;
	if (kat_redirect_probe_listen(ctx, r) == 0)
		return 1;
	katamaran_finding(ctx, KATAMARAN_WARNING, "way of the redirect",
			  "not checked: cannot listen for packets of the tunnel: %m");
	return 0;
}

int kat_redirect_check(struct katamaran_ctx *ctx, void *handle)
{
	struct kat_redirect *r = handle;
	uint32_t mtu = MTU_LEAST;

	if (r->probe) {
		kat_redirect_probe_report(ctx, r);
		kat_redirect_probe_free(r->probe);
		r->probe = NULL;
		return 0;
	}
	check_privileges(ctx);
	kat_guest_check(ctx, r, &mtu);
	if (!is_source(ctx))
		return check_dest(ctx, r);
	check_underlay(ctx, r, mtu);
	return 0;
}
