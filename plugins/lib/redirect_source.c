/* SPDX-License-Identifier: BSD-2-Clause */
#define KATAMARAN_API_VERSION 1
#include "plugins/lib/redirect_source.h"

#include <errno.h>
#include <string.h>
#include <syslog.h>
#include <linux/rtnetlink.h>
#include "plugins/lib/leaving.h"
#include "plugins/lib/tunnel_plug.h"
#include "plugins/lib/undo.h"

/* Of the outer header: what the kernel gives to its own packets. */
#define OUTER_TTL 64
/* TUNNEL_KEY of linux/if_tunnel.h, which is in network order there. */
#define FLAG_KEY 0x0004
/* Of the GRE header, RFC 2890. */
#define KEY_BYTES 4
/* A plug that stays closed would stop every migration of the node. */
#define OPEN_PLUG_NS 1000000000
/* What the tunnel carries at least: an Ethernet frame's worth, bytes. */
#define MTU_LEAST 1500

/* What one address has of its own, and what cleanup() has to take away. */
struct way {
	const struct kat_tunnel *tunnel;
	size_t use;	   /* place in the handle's list */
	uint32_t mtu;	   /* of the way to the guest as it was, bytes */
	uint32_t narrowed; /* what the tunnel carries where that is less, else 0 */
	bool rule;
	struct kat_rpfilter rpfilter;
};

struct kat_redirect_source {
	struct kat_encap encap;
	uint32_t table, priority;
	struct way *ways; /* one per address */
	struct kat_leaving leaving;
	struct kat_tunnel_plug plug;
	struct kat_nl_batch batch;
	bool sent;
};

static int check_peer(struct katamaran_ctx *ctx, struct kat_redirect *r, const char *peer)
{
	struct kat_redirect_source *s = r->source;
	int family = s->encap.to.family;

	if (family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL((void *)s->encap.to.bytes)) {
		katamaran_error(ctx,
				"destination %s: is link-local; a tunnel needs a global "
				"or unique local address of that node, or an IPv4 one",
				peer);
		return -1;
	}
	if (r->local.family && r->local.family != family) {
		katamaran_error(ctx,
				"option local = \"%s\": is an %s address, and the "
				"destination %s an %s one; both ends of a tunnel are of "
				"one family",
				katamaran_conf_string(ctx, "local"),
				kat_family_name(r->local.family), peer,
				kat_family_name(family));
		return -1;
	}
	s->encap.from = r->local;
	return 0;
}

static int read_peer(struct katamaran_ctx *ctx, struct kat_redirect *r)
{
	struct kat_redirect_source *s = r->source;
	const char *peer = katamaran_peer(ctx);

	if (!peer || kat_addr_parse(peer, &s->encap.to) < 0) {
		katamaran_error(ctx, "destination %s: is not a numeric address",
				peer ? peer : "(none)");
		return -1;
	}
	if (check_peer(ctx, r, peer) < 0)
		return -1;
	for (size_t i = 0; i < r->count; i++) {
		struct kat_guest_ip *ip = &r->ips[i];

		if (kat_addr_equal(&ip->addr, &s->encap.to)) {
			katamaran_error(ctx,
					"guest address %s: is that of the destination "
					"node too",
					ip->text);
			return -1;
		}
		s->ways[i].tunnel =
			kat_tunnel_find(r->tunnels, ip->addr.family, s->encap.to.family);
		if (s->ways[i].tunnel)
			continue;
		katamaran_error(ctx,
				"guest address %s: this plugin has no tunnel that "
				"carries %s to the %s address %s; give another address "
				"of the destination, or take the plugin gre",
				ip->text, kat_family_name(ip->addr.family),
				kat_family_name(s->encap.to.family), peer);
		return -1;
	}
	return 0;
}

int kat_redirect_source_open(struct katamaran_ctx *ctx, struct kat_redirect *r)
{
	struct kat_redirect_source *s = calloc(1, sizeof(*s));

	r->source = s;
	if (s)
		s->ways = calloc(r->count, sizeof(*s->ways));
	if (!s || !s->ways || kat_leaving_open(ctx, &s->leaving, r) < 0) {
		katamaran_error(ctx, "cutover: %m");
		return -1;
	}
	s->table = (uint32_t)katamaran_conf_int(ctx, "table");
	s->priority = (uint32_t)katamaran_conf_int(ctx, "rule_priority");
	s->encap.ttl = OUTER_TTL;
	if (r->tunnels->keyed)
		s->encap.id = (uint64_t)katamaran_conf_int(ctx, "key");
	if (s->encap.id)
		s->encap.flags = FLAG_KEY;
	return read_peer(ctx, r);
}

void kat_redirect_source_free(struct kat_redirect_source *s)
{
	if (!s)
		return;
	kat_leaving_free(&s->leaving);
	free(s->ways);
	free(s);
}

static int see_route(const struct nlmsghdr *nlh, void *seen)
{
	(void)nlh;
	*(bool *)seen = true;
	return MNL_CB_OK;
}

static int refuse_taken(struct katamaran_ctx *ctx, struct kat_redirect *r,
			const struct kat_guest_ip *ip)
{
	katamaran_error(
		ctx,
		"guest address %s: is being redirected already, by another migration "
		"of the same guest or one that was killed (then: ip route flush table "
		"%u to %s; ip rule delete to %s table %u)",
		ip->text, r->source->table, ip->text, ip->text, r->source->table);
	return -1;
}

/* The rule: it changes nothing while its table has no route for the address. */
static int add_rule(struct katamaran_ctx *ctx, struct kat_redirect *r, size_t i)
{
	struct kat_redirect_source *s = r->source;
	int64_t deadline = katamaran_deadline_ns(ctx);
	struct kat_guest_ip *ip = &r->ips[i];
	union kat_nl_message m;
	bool taken = false;

	if (kat_route_hosts(r->nl, &ip->addr, s->table, see_route, &taken, deadline) < 0)
		return kat_redirect_fail(ctx, r->nl, ip->text, "read its redirects");
	if (taken)
		return refuse_taken(ctx, r, ip);
	/* The route that on_stop adds is announced, too. */
	if (katamaran_journal(ctx, "redirect %s %u %u", ip->text, s->table, s->priority) <
	    0)
		return -1;
	kat_msg_rule(&m.header, RTM_NEWRULE, &ip->addr, s->priority, s->table);
	if (kat_nl_talk(r->nl, &m.header, NULL, NULL, deadline) == 0) {
		s->ways[i].rule = true;
		return 0;
	}
	if (errno == EEXIST)
		return refuse_taken(ctx, r, ip);
	return kat_redirect_fail(ctx, r->nl, ip->text, "add a routing rule for it");
}

/* What depends on the way to the guest as it is now; raises *mtu to that way's. */
static int look_at_way(struct katamaran_ctx *ctx, struct kat_redirect *r, size_t i,
		       uint32_t *mtu)
{
	int64_t deadline = katamaran_deadline_ns(ctx);
	struct way *own = &r->source->ways[i];
	struct kat_guest_ip *ip = &r->ips[i];
	struct kat_link tap, device;
	struct kat_way way;

	if (kat_way_get(r->nl, &ip->addr, &way, deadline) < 0)
		return kat_redirect_fail(ctx, r->nl, ip->text,
					 "find the route to the guest");
	if (kat_link_get(r->nl, NULL, way.oif, &device, deadline) < 0)
		return kat_redirect_fail(ctx, r->nl, ip->text,
					 "read the device of its route");
	if (ip->addr.family == AF_INET && kat_announce_rpfilter(ctx, r->nl, &device) < 0)
		return -1;
	if (ip->addr.family == AF_INET &&
	    kat_rpfilter_share(r->nl, way.oif, katamaran_migration_id(ctx),
			       &own->rpfilter, deadline) < 0)
		return kat_redirect_fail(ctx, r->nl, device.name,
					 "relax the reverse path filter");
	if (kat_leaving_look(ctx, &r->source->leaving, r->nl, ip, &device, &tap) < 0)
		return -1;
	own->mtu = tap.mtu && tap.mtu < device.mtu ? tap.mtu : device.mtu;
	if (device.mtu > *mtu)
		*mtu = device.mtu;
	if (tap.mtu > *mtu)
		*mtu = tap.mtu;
	return 0;
}

/* What becomes of full-size packets while the redirect stands. */
static void tell_path(struct katamaran_ctx *ctx, const struct kat_guest_ip *ip,
		      const struct way *own, const char *underlay, uint32_t mtu,
		      uint32_t room)
{
	const char *what = "they fit with the tunnel's header";

	if (room < own->mtu && own->tunnel->underlay == AF_INET)
		what = "larger ones than fit travel in fragments and arrive whole";
	else if (room < own->mtu)
		what = "larger ones than fit are refused";
	katamaran_log(ctx, LOG_INFO,
		      "guest address %s: packets of up to %u bytes reach it, %s to the "
		      "destination carries %u, %u of them inside of %s: %s",
		      ip->text, own->mtu, underlay, mtu, room, own->tunnel->kind, what);
}

/*
 * IPv4 tunnels fragment their own packets, IPv6 ones cannot (ip6_tnl_xmit()):
 * what does not fit is refused as by any narrower way, unless the guest's IPv4
 * packets may be cut themselves.
 */
static int narrow_ways(struct katamaran_ctx *ctx, struct kat_redirect *r)
{
	struct kat_redirect_source *s = r->source;
	int64_t deadline = katamaran_deadline_ns(ctx);
	const char *peer = katamaran_peer(ctx);
	struct kat_link device;
	struct kat_way way;
	uint32_t mtu, room;

	if (kat_way_get(r->nl, &s->encap.to, &way, deadline) < 0)
		return kat_redirect_fail(ctx, r->nl, peer,
					 "find the route to the destination");
	if (kat_link_get(r->nl, NULL, way.oif, &device, deadline) < 0)
		return kat_redirect_fail(ctx, r->nl, peer,
					 "read the device of its route");
	mtu = way.mtu && way.mtu < device.mtu ? way.mtu : device.mtu;
	for (size_t i = 0; i < r->count; i++) {
		room = mtu - s->ways[i].tunnel->overhead - (s->encap.id ? KEY_BYTES : 0);
		tell_path(ctx, &r->ips[i], &s->ways[i], device.name, mtu, room);
		if (room >= s->ways[i].mtu || s->encap.to.family != AF_INET6)
			continue;
		s->ways[i].narrowed = room;
		katamaran_log(ctx, LOG_WARNING,
			      "guest address %s: packets of more than %u bytes, as the "
			      "way to the guest carries them (%u), do not fit through %s "
			      "over IPv6; give the underlay an mtu of %u bytes, or the "
			      "destination's IPv4 address",
			      r->ips[i].text, room, s->ways[i].mtu,
			      s->ways[i].tunnel->kind, s->ways[i].mtu + (mtu - room));
		katamaran_doubt(ctx,
				"packets for %s of more than %u bytes are refused while "
				"the redirect stands",
				r->ips[i].text, room);
	}
	return 0;
}

static struct nlmsghdr *next_message(struct katamaran_ctx *ctx,
				     struct kat_nl_batch *batch)
{
	struct nlmsghdr *nlh = kat_nl_batch_next(batch);

	if (!nlh)
		katamaran_error(ctx, "the guest has too many addresses for one batch");
	return nlh;
}

static struct kat_route route_of(const struct kat_redirect *r, size_t i)
{
	struct kat_redirect_source *s = r->source;

	return (struct kat_route){
		.to = r->ips[i].addr,
		.table = s->table,
		.oif = r->use[s->ways[i].use].index,
		.mtu = s->ways[i].narrowed,
	};
}

static int build_batch(struct katamaran_ctx *ctx, struct kat_redirect *r)
{
	struct kat_redirect_source *s = r->source;
	struct nlmsghdr *nlh;

	/* The counters first, so that what they show then was not ours. */
	for (size_t i = 0; i < r->uses; i++) {
		nlh = next_message(ctx, &s->batch);
		if (!nlh)
			return -1;
		kat_msg_link_get(nlh, r->use[i].index);
		kat_nl_batch_add(&s->batch);
	}
	for (size_t i = 0; i < r->count; i++) {
		struct kat_route route = route_of(r, i);

		nlh = next_message(ctx, &s->batch);
		if (!nlh)
			return -1;
		kat_msg_route(nlh, RTM_NEWROUTE, &route,
			      s->ways[i].tunnel->metadata ? &s->encap : NULL);
		kat_nl_batch_add(&s->batch);
	}
	return 0;
}

/* Where the ends are connected, the other one has said what it takes. */
static int check_other_end(struct katamaran_ctx *ctx, const struct kat_redirect *r)
{
	const char *list = katamaran_learn(ctx, "receives");

	for (size_t i = 0; list && i < r->uses; i++) {
		const char *kind = r->use[i].tunnel->kind, *word = list;
		size_t length = strlen(kind);

		while ((word = strstr(word, kind)) &&
		       ((word != list && word[-1] != ' ') ||
			(word[length] && word[length] != ' ')))
			word += length;
		if (word)
			continue;
		katamaran_error(ctx,
				"destination %s: takes no %s packets there (but: %s); "
				"load the module %s there, or give another address of "
				"it",
				katamaran_peer(ctx), kind, *list ? list : "none",
				r->use[i].tunnel->module);
		return -1;
	}
	return 0;
}

/* A net for the case that QEMU is faster than the redirect: what is missing is told. */
static void prepare_salvage(struct katamaran_ctx *ctx, struct kat_redirect *r)
{
	struct kat_redirect_source *s = r->source;
	int64_t deadline = katamaran_deadline_ns(ctx);

	if (!katamaran_conf_bool(ctx, "salvage"))
		return;
	for (size_t i = 0; i < r->count; i++) {
		if (kat_salvage_by_tunnel(&s->leaving.salvage, r->ips[i].addr.family,
					  s->ways[i].tunnel, &s->encap) == 0)
			continue;
		katamaran_log(ctx, LOG_WARNING,
			      "guest address %s: what may be left in the tap when the "
			      "guest stops could not be sent on: cannot open a raw "
			      "socket: %m%s",
			      r->ips[i].text,
			      errno == EPERM ? " (CAP_NET_RAW is needed)" : "");
		return;
	}
	s->leaving.salvage.ready = true;
	for (size_t i = 0; i < r->uses; i++)
		if (kat_tunnel_plug_add(&s->plug, r->nl, &r->use[i], deadline) < 0)
			katamaran_log(
				ctx, LOG_NOTICE,
				"device %s: cannot have a plug (%m): should packets "
				"be left in the tap when the guest stops, newer ones "
				"may overtake them",
				r->use[i].device);
}

int kat_redirect_source_pre_copy(struct katamaran_ctx *ctx, struct kat_redirect *r)
{
	struct kat_redirect_source *s = r->source;
	uint32_t mtu = MTU_LEAST;

	for (size_t i = 0; i < r->count; i++)
		if (look_at_way(ctx, r, i, &mtu) < 0)
			return -1;
	if (narrow_ways(ctx, r) < 0)
		return -1;
	for (size_t i = 0; i < r->count; i++) {
		int ret = kat_redirect_acquire(ctx, r, s->ways[i].tunnel, &s->encap.to,
					       mtu, &s->ways[i].use);

		if (ret > 0)
			ret = kat_tunnel_missing(ctx, s->ways[i].tunnel);
		if (ret < 0)
			return -1;
	}
	if (check_other_end(ctx, r) < 0)
		return -1;
	for (size_t i = 0; i < r->count; i++)
		if (add_rule(ctx, r, i) < 0)
			return -1;
	if (kat_leaving_pin(ctx, &s->leaving, r) < 0)
		return -1;
	kat_leaving_watch(ctx, &s->leaving);
	prepare_salvage(ctx, r);
	return build_batch(ctx, r);
}

/* The counters of our devices, out of the answers to the batch; a mnl_cb_t. */
static int take_counters(const struct nlmsghdr *nlh, void *data)
{
	struct kat_redirect *r = data;
	struct kat_link link = {0};

	kat_link_read(nlh, &link);
	for (size_t i = 0; i < r->uses; i++) {
		if (!link.index || r->use[i].index != link.index)
			continue;
		r->use[i].packets = link.tx_packets;
		r->use[i].failed = link.tx_errors + link.tx_dropped;
	}
	return MNL_CB_OK;
}

static int send_redirect(struct katamaran_ctx *ctx, struct kat_redirect *r)
{
	int64_t before = kat_now_ns();

	/* Even a failed batch may have set a route. */
	r->source->sent = true;
	if (kat_nl_batch_send(r->nl, &r->source->batch, take_counters, r,
			      katamaran_deadline_ns(ctx)) < 0)
		return kat_redirect_fail(ctx, r->nl, r->use[0].device,
					 "redirect the guest's packets into it");
	katamaran_log(ctx, LOG_INFO,
		      "redirected %zu guest address(es) through %s%s in %lld us",
		      r->count, r->use[0].device, r->uses > 1 ? " and others" : "",
		      (long long)(kat_now_ns() - before) / 1000);
	return 0;
}

/*
 * QEMU was faster, or was to choose the moment: what is in the taps left its
 * senders before what is redirected from now on, and goes first.
 */
static int redirect_stopped(struct katamaran_ctx *ctx, struct kat_redirect *r)
{
	struct kat_redirect_source *s = r->source;
	int64_t deadline = katamaran_deadline_ns(ctx);
	bool held;
	int ret;

	kat_leaving_rescue(ctx, &s->leaving, false);
	held = kat_tunnel_plug_shut(&s->plug, r->nl, deadline) == 0;
	if (!held)
		katamaran_log(ctx, LOG_NOTICE,
			      "device %s: cannot close its plug (%m): newer packets may "
			      "overtake those that were left in the tap",
			      r->use[0].device);
	ret = send_redirect(ctx, r);
	if (ret == 0)
		kat_leaving_rescue(ctx, &s->leaving, true);
	if (held &&
	    kat_tunnel_plug_open(&s->plug, r->nl, kat_now_ns() + OPEN_PLUG_NS) < 0)
		return kat_redirect_fail(ctx, r->nl, r->use[0].device, "open its plug");
	return ret;
}

int kat_redirect_source_on_stop(struct katamaran_ctx *ctx, struct kat_redirect *r)
{
	struct kat_redirect_source *s = r->source;

	if (katamaran_guest_running(ctx)) {
		if (!s->sent && send_redirect(ctx, r) < 0)
			return -1;
		return kat_leaving_wait(ctx, &s->leaving);
	}
	if (s->sent)
		kat_leaving_rescue(ctx, &s->leaving, false);
	else if (redirect_stopped(ctx, r) < 0)
		return -1;
	kat_leaving_judge(ctx, &s->leaving);
	return 0;
}

/*
 * The NIC that the packets of a device are counted for.  The kernel counts them
 * by device: where several NICs share one, the sum stands at the first.
 */
static size_t nic_of(const struct kat_redirect *r, size_t use)
{
	size_t i = 0;

	while (i + 1 < r->count && r->source->ways[i].use != use)
		i++;
	return r->ips[i].nic;
}

/* Adds what happened since the last look to the ledger. */
static void count_packets(struct katamaran_ctx *ctx, struct kat_redirect *r, size_t i,
			  const struct kat_link *link)
{
	uint64_t failed = link->tx_errors + link->tx_dropped;
	struct kat_tunnel_use *use = &r->use[i];

	/* Whose packets they were cannot be told on a shared device. */
	if (!kat_tunnel_shared(ctx, r->nl, use)) {
		katamaran_count(ctx, nic_of(r, i), KATAMARAN_REDIRECTED,
				link->tx_packets - use->packets);
		katamaran_count(ctx, nic_of(r, i), KATAMARAN_DROPPED_TUNNEL,
				failed - use->failed);
	} else if (!use->doubted) {
		use->doubted = true;
		katamaran_doubt(ctx,
				"%s served another migration too: whose packets it "
				"counted cannot be told",
				use->device);
	}
	use->packets = link->tx_packets;
	use->failed = failed;
}

/* Whoever has an address that is reached through the device. */
static void needed(struct kat_redirect *r, size_t use)
{
	for (size_t i = 0; i < r->count; i++)
		if (r->source->ways[i].use == use)
			kat_hold_needed(&r->hold, r->ips[i].nic);
}

/* What does not fit any more was refused in front of the device, uncounted. */
static void check_mtu(struct katamaran_ctx *ctx, struct kat_tunnel_use *use,
		      const struct kat_link *link)
{
	if (link->mtu >= use->mtu)
		return;
	katamaran_doubt(ctx, "%s: its mtu was lowered by somebody, from %u to %u bytes",
			use->device, use->mtu, link->mtu);
	use->mtu = link->mtu;
}

/* Looks at the devices; their packets since they were made go to `packets`. */
static int look_at_devices(struct katamaran_ctx *ctx, struct kat_redirect *r,
			   uint64_t *packets)
{
	*packets = 0;
	for (size_t i = 0; i < r->uses; i++) {
		struct kat_link link;

		if (kat_link_get(r->nl, NULL, r->use[i].index, &link,
				 katamaran_deadline_ns(ctx)) < 0)
			return kat_redirect_fail(ctx, r->nl, r->use[i].device,
						 "read its counters");
		if (link.tx_packets != r->use[i].packets)
			needed(r, i);
		count_packets(ctx, r, i, &link);
		check_mtu(ctx, &r->use[i], &link);
		*packets += link.tx_packets;
	}
	return 0;
}

int kat_redirect_source_on_resume(struct katamaran_ctx *ctx, struct kat_redirect *r)
{
	uint64_t packets;

	kat_leaving_drops(ctx, &r->source->leaving);
	if (look_at_devices(ctx, r, &packets) < 0)
		return -1;
	return kat_redirect_held(ctx, &r->hold, packets);
}

static void remove_route(struct katamaran_ctx *ctx, struct kat_redirect *r, size_t i)
{
	struct kat_route route = route_of(r, i);
	union kat_nl_message m;

	route.mtu = 0;
	kat_msg_route(&m.header, RTM_DELROUTE, &route, NULL);
	if (kat_nl_talk(r->nl, &m.header, NULL, NULL, katamaran_deadline_ns(ctx)) < 0 &&
	    errno != ESRCH)
		katamaran_log(ctx, LOG_WARNING,
			      "guest address %s: cannot end its redirect: %s",
			      r->ips[i].text, kat_nl_error(r->nl));
}

static void remove_rule(struct katamaran_ctx *ctx, struct kat_redirect *r, size_t i)
{
	struct kat_redirect_source *s = r->source;
	union kat_nl_message m;

	kat_msg_rule(&m.header, RTM_DELRULE, &r->ips[i].addr, s->priority, s->table);
	if (kat_nl_talk(r->nl, &m.header, NULL, NULL, katamaran_deadline_ns(ctx)) < 0)
		katamaran_log(ctx, LOG_WARNING,
			      "guest address %s: cannot delete its routing rule: %s",
			      r->ips[i].text, kat_nl_error(r->nl));
	s->ways[i].rule = false;
}

static void restore_filter(struct katamaran_ctx *ctx, struct kat_redirect *r, size_t i)
{
	int ret = kat_rpfilter_restore(r->nl, &r->source->ways[i].rpfilter,
				       katamaran_deadline_ns(ctx));

	if (ret < 0)
		katamaran_log(ctx, LOG_WARNING,
			      "guest address %s: cannot restore the reverse path filter "
			      "of its device: %s",
			      r->ips[i].text, kat_nl_error(r->nl));
	else if (ret > 0)
		katamaran_log(ctx, LOG_NOTICE,
			      "guest address %s: its device keeps the address 192.0.0.8, "
			      "without which it would lose its routes",
			      r->ips[i].text);
}

void kat_redirect_source_cleanup(struct katamaran_ctx *ctx, struct kat_redirect *r,
				 int outcome)
{
	struct kat_redirect_source *s = r->source;
	uint64_t packets;

	if (outcome == KATAMARAN_DONE)
		kat_leaving_forget(ctx, &s->leaving, r->nl);
	for (size_t i = 0; s->sent && i < r->count; i++)
		remove_route(ctx, r, i);
	/* Counted when nothing goes in any more, so that nothing is missed. */
	if (s->sent && look_at_devices(ctx, r, &packets) < 0)
		katamaran_doubt(ctx, "what was redirected last could not be counted");
	for (size_t i = 0; i < r->count; i++)
		if (s->ways[i].rule)
			remove_rule(ctx, r, i);
	kat_leaving_unpin(ctx, &s->leaving, outcome != KATAMARAN_DONE);
	for (size_t i = r->count; i-- > 0;)
		restore_filter(ctx, r, i);
}
