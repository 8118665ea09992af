/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cutover-nftables: packets that still reach the source follow the guest as
 * they were sent, through the Ethernet segment that both nodes are on.
 *
 * A table of family netdev gives them the MAC of the destination node and puts
 * them back on the wire.  It does so at two hooks, since neither sees all:
 *
 * ingress of the devices where clients' packets arrive.  This is before
 *	connection tracking, filters, the reverse path check and routing.  Those
 *	see no more than half of a conversation once the guest has moved, and a
 *	filter that drops what is "invalid" would drop a client's TCP segments.
 * egress of the device that leads to the guest.  What gets there is what this
 *	node would have given to the guest: from its own processes, from other
 *	devices, and with an address that was translated.
 *
 * A mark and a routing rule would see all of that in one place, but behind the
 * connection tracking, and would need the forwarding filters, send_redirects
 * and rp_filter of the node to be so.  Here nothing is routed: no ICMP redirect
 * comes about, no hop is counted, and no route, rule or sysctl is touched.
 */
#define KATAMARAN_API_VERSION 1
#include "plugins/lib/arrivals.h"
#include "plugins/lib/leaving.h"
#include "plugins/lib/redirect_check.h"
#include "plugins/lib/relay.h"
#include "plugins/lib/undo.h"

#include <errno.h>
#include <string.h>
#include <syslog.h>
#include <time.h>

/*
 * Between the two hooks while the guest runs.  The kernel takes packets through
 * ingress in lists: one that has passed must not meet the egress hook and so
 * come after its successors, but reach the guest, who still reads.
 */
#define SETTLE_NS 1000000

struct source {
	struct kat_redirect *r; /* addresses, hold, netlink */
	struct kat_leaving leaving;
	struct kat_segment segment;
	struct kat_relay relay;
	char egress[KAT_NFT_DEVICES][IFNAMSIZ];
	size_t egress_count;
	bool sent;
};

/* Nobody makes fragments here: what reaches the guest must fit on the segment. */
static void tell_path(struct katamaran_ctx *ctx, const struct source *s,
		      const struct kat_guest_ip *ip, uint32_t mtu)
{
	const struct kat_link *segment = &s->segment.link;

	katamaran_log(ctx, mtu > segment->mtu ? LOG_WARNING : LOG_INFO,
		      "guest address %s: packets of up to %u bytes reach it, %s to the "
		      "destination carries %u%s",
		      ip->text, mtu, segment->name, segment->mtu,
		      mtu > segment->mtu ? ": larger ones are lost; raise its mtu" : "");
	if (mtu > segment->mtu)
		katamaran_doubt(
			ctx, "packets for %s of more than %u bytes cannot be redirected",
			ip->text, segment->mtu);
}

/* The device at whose egress the packets for the address are met. */
static int find_guest(struct katamaran_ctx *ctx, struct source *s, size_t i)
{
	const struct kat_guest_ip *ip = &s->r->ips[i];
	int64_t deadline = katamaran_deadline_ns(ctx);
	struct kat_link device, tap;
	struct kat_way way;
	const char *name;
	uint8_t mac[6];

	if (kat_addr_equal(&ip->addr, &s->segment.peer)) {
		katamaran_error(ctx,
				"guest address %s: is that of the destination node too",
				ip->text);
		return -1;
	}
	if (kat_way_get(s->r->nl, &ip->addr, &way, deadline) < 0)
		return kat_redirect_fail(ctx, s->r->nl, ip->text,
					 "find the route to the guest");
	if (kat_link_get(s->r->nl, NULL, way.oif, &device, deadline) < 0)
		return kat_redirect_fail(ctx, s->r->nl, ip->text,
					 "read the device of its route");
	if (kat_leaving_look(ctx, &s->leaving, s->r->nl, ip, &device, &tap) < 0)
		return -1;
	/* A bridge gives the tap more than what is routed to it. */
	if (kat_segment_ethernet(ctx, s->r->nl, tap.index ? &tap : &device, mac) < 0)
		return -1;
	tell_path(ctx, s, ip, tap.index && tap.mtu < device.mtu ? tap.mtu : device.mtu);
	name = tap.index ? tap.name : device.name;
	for (size_t d = 0; d < s->egress_count; d++)
		if (!strcmp(s->egress[d], name))
			return 0;
	if (s->egress_count == KAT_NFT_DEVICES) {
		katamaran_error(ctx, "nftables: the guest has too many devices");
		return -1;
	}
	strcpy(s->egress[s->egress_count++], name);
	return 0;
}

/* The option `devices`, or the one device that leads to the other node. */
static int ingress_devices(struct katamaran_ctx *ctx, struct source *s,
			   kat_relay_devices names)
{
	const char *const *items;
	size_t count = katamaran_conf_list(ctx, "devices", &items);
	struct kat_link link;
	uint8_t mac[6];

	if (count > KAT_NFT_DEVICES) {
		katamaran_error(ctx, "option devices: names more than %d",
				KAT_NFT_DEVICES);
		return -1;
	}
	names[0] = s->segment.link.name;
	names[count ? count : 1] = NULL;
	for (size_t i = 0; i < count; i++) {
		if (kat_link_get(s->r->nl, items[i], 0, &link,
				 katamaran_deadline_ns(ctx)) < 0)
			return kat_redirect_fail(ctx, s->r->nl, items[i],
						 "find the device");
		if (kat_segment_ethernet(ctx, s->r->nl, &link, mac) < 0)
			return -1;
		names[i] = items[i];
	}
	return 0;
}

static int build(struct katamaran_ctx *ctx, struct source *s)
{
	kat_relay_devices ingress, egress = {NULL};

	for (size_t d = 0; d < s->egress_count; d++)
		egress[d] = s->egress[d];
	if (kat_segment_resolve(ctx, s->r->nl, &s->segment) < 0 ||
	    ingress_devices(ctx, s, ingress) < 0)
		return -1;
	return kat_relay_build(ctx, &s->relay, s->r, &s->segment, ingress, egress);
}

static void free_source(struct source *s)
{
	kat_leaving_free(&s->leaving);
	kat_relay_close(&s->relay);
	free(s);
}

static int open_source(struct katamaran_ctx *ctx, struct source *s)
{
	if (kat_leaving_open(ctx, &s->leaving, s->r) < 0) {
		katamaran_error(ctx, "cutover: %m");
		return -1;
	}
	if (kat_relay_open(ctx, &s->relay) < 0 ||
	    kat_segment_find(ctx, s->r->nl, katamaran_peer(ctx), &s->segment) < 0)
		return -1;
	for (size_t i = 0; i < s->r->count; i++)
		if (find_guest(ctx, s, i) < 0)
			return -1;
	kat_arrivals_tell(ctx, &s->segment);
	return build(ctx, s);
}

static int nftables_open(struct katamaran_ctx *ctx, void **handle)
{
	struct source *s;
	void *redirect;

	if (kat_redirect_open(ctx, NULL, &redirect) < 0)
		return -1;
	if (katamaran_role(ctx) == KATAMARAN_DESTINATION)
		return kat_arrivals_open(ctx, redirect, handle);
	s = calloc(1, sizeof(*s));
	if (s)
		s->r = redirect;
	else
		katamaran_error(ctx, "cutover: %m");
	*handle = s;
	if (s && open_source(ctx, s) == 0)
		return 0;
	if (s)
		free_source(s);
	kat_redirect_cleanup(ctx, redirect, KATAMARAN_FAILED);
	return -1;
}

/* A net for the case that QEMU is faster than the redirect: what is missing is told. */
static void prepare_salvage(struct katamaran_ctx *ctx, struct source *s)
{
	struct kat_salvage *salvage = &s->leaving.salvage;

	if (!katamaran_conf_bool(ctx, "salvage"))
		return;
	salvage->ready = kat_salvage_by_segment(salvage, &s->segment) == 0;
	if (!salvage->ready)
		katamaran_log(
			ctx, LOG_WARNING,
			"device %s: what may be left in the tap when the guest stops "
			"could not be sent on: cannot open a packet socket: %m%s",
			s->segment.link.name,
			errno == EPERM ? " (CAP_NET_RAW is needed)" : "");
}

static int nftables_pre_copy(struct katamaran_ctx *ctx, void *handle)
{
	struct source *s = handle;

	if (katamaran_role(ctx) == KATAMARAN_DESTINATION)
		return kat_arrivals_pre_copy(ctx, handle);
	/* Much time may have passed since open(). */
	if (build(ctx, s) < 0)
		return -1;
	/* The egress hook comes after the neighbour entry. */
	if (kat_leaving_pin(ctx, &s->leaving, s->r) < 0)
		return -1;
	if (kat_relay_make(ctx, &s->relay) < 0)
		return -1;
	kat_leaving_watch(ctx, &s->leaving);
	prepare_salvage(ctx, s);
	return 0;
}

static int switch_over(struct katamaran_ctx *ctx, struct source *s)
{
	const struct timespec settle = {.tv_nsec = SETTLE_NS};
	int64_t before = kat_now_ns(), took;

	s->sent = true;
	if (kat_relay_switch_ingress(ctx, &s->relay) < 0)
		return -1;
	took = kat_now_ns() - before;
	if (katamaran_guest_running(ctx))
		nanosleep(&settle, NULL);
	before = kat_now_ns();
	if (kat_relay_switch_egress(ctx, &s->relay) < 0)
		return -1;
	katamaran_log(ctx, LOG_INFO,
		      "redirected %zu guest address(es) through %s in %lld and %lld us",
		      s->r->count, s->segment.link.name, (long long)took / 1000,
		      (long long)(kat_now_ns() - before) / 1000);
	return 0;
}

static int nftables_on_stop(struct katamaran_ctx *ctx, void *handle)
{
	struct source *s = handle;
	bool settle;

	if (katamaran_role(ctx) == KATAMARAN_DESTINATION)
		return kat_arrivals_on_stop(ctx, handle);
	if (katamaran_guest_running(ctx)) {
		if (!s->sent && switch_over(ctx, s) < 0)
			return -1;
		return kat_leaving_wait(ctx, &s->leaving);
	}
	/* Of the packets in the tap, as many as can be go before those redirected. */
	settle = !s->sent;
	if (settle) {
		kat_leaving_rescue(ctx, &s->leaving, false);
		if (switch_over(ctx, s) < 0)
			return -1;
	}
	kat_leaving_rescue(ctx, &s->leaving, settle);
	kat_leaving_judge(ctx, &s->leaving);
	return 0;
}

static int nftables_on_resume(struct katamaran_ctx *ctx, void *handle, unsigned int round)
{
	struct source *s = handle;
	uint64_t packets;

	if (katamaran_role(ctx) == KATAMARAN_DESTINATION)
		return kat_arrivals_on_resume(ctx, handle, round);
	kat_leaving_drops(ctx, &s->leaving);
	if (kat_relay_count(ctx, &s->relay, &s->r->hold, &packets) < 0)
		return -1;
	return kat_redirect_held(ctx, &s->r->hold, packets);
}

static void nftables_cleanup(struct katamaran_ctx *ctx, void *handle, int outcome)
{
	struct source *s = handle;
	struct kat_redirect *r;

	if (katamaran_role(ctx) == KATAMARAN_DESTINATION) {
		kat_arrivals_cleanup(ctx, handle, outcome);
		return;
	}
	r = s->r;
	if (outcome == KATAMARAN_DONE)
		kat_leaving_forget(ctx, &s->leaving, r->nl);
	kat_relay_remove(ctx, &s->relay);
	kat_leaving_unpin(ctx, &s->leaving, outcome != KATAMARAN_DONE);
	free_source(s);
	kat_redirect_cleanup(ctx, r, outcome);
}

/* What the segment and the kernel's tables lack, open() has refused. */
static int nftables_check(struct katamaran_ctx *ctx, void *handle)
{
	struct source *s = handle;

	kat_relay_leftovers(ctx);
	if (katamaran_role(ctx) == KATAMARAN_DESTINATION)
		return kat_arrivals_check(ctx, handle);
	return kat_redirect_check(ctx, s->r);
}

static const struct katamaran_option options[] = {
	KAT_REDIRECT_HOLD_OPTIONS,
	{"devices", KATAMARAN_LIST, 0, NULL,
	 "source: Ethernet devices where the guest's packets arrive; none: the one that "
	 "leads to the destination",
	 0, 0},
	KAT_REDIRECT_DEST_OPTIONS,
	{.name = NULL},
};

static struct katamaran_plugin plugin = {
	.name = "nftables",
	.kind = KATAMARAN_CUTOVER,
	.roles = KATAMARAN_SOURCE | KATAMARAN_DESTINATION,
	.version = "1",
	.description = "redirect packets on one Ethernet segment, without a tunnel",
	.options = options,
	.open = nftables_open,
	.pre_copy = nftables_pre_copy,
	.on_stop = nftables_on_stop,
	.on_resume = nftables_on_resume,
	.cleanup = nftables_cleanup,
	.recover = kat_redirect_recover, /* the table goes with its socket */
	.check = nftables_check,
};
KATAMARAN_REGISTER_PLUGIN(plugin)
