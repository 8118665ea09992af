/* SPDX-License-Identifier: BSD-2-Clause */
#define KATAMARAN_API_VERSION 1
#include "plugins/lib/undo.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include "plugins/lib/leaving.h"
#include "plugins/lib/pin.h"
#include "plugins/lib/rpfilter.h"
#include "plugins/lib/tunnel.h"

/* How long an opened plug may take to empty itself: 2 s, looked at every 10 ms. */
#define DRAIN_PAUSE_NS 10000000
#define DRAIN_TRIES    200
#define ROUTES	       16 /* to one address in one table; there is one */
#define WORD_BYTES     128

/* ---- writing ---- */

int kat_announce_rpfilter(struct katamaran_ctx *ctx, struct kat_nl *nl,
			  const struct kat_link *device)
{
	int64_t deadline = katamaran_deadline_ns(ctx);
	struct kat_netconf conf;
	bool has;

	if (kat_netconf_get(nl, device->index, &conf, deadline) < 0 ||
	    kat_link_has_ipv4(nl, device->index, &has, deadline) < 0)
		return kat_redirect_fail(ctx, nl, device->name,
					 "read its reverse path filter");
	return katamaran_journal(ctx, "rpfilter %d %s %d %d", device->index, device->name,
				 conf.rp_filter, has);
}

int kat_announce_hold(struct katamaran_ctx *ctx, const struct kat_holder *h,
		      uint32_t ring)
{
	const struct kat_qdisc *before = &h->before;
	const uint8_t *known = katamaran_nic_mac(ctx, h->nic);
	const char *netns = katamaran_nic_netns(ctx, h->nic);
	char queue[2 * sizeof(before->options) + 64] = "-";
	char mac[KAT_MAC_TEXT] = "-";

	if (before->custom) {
		int used = snprintf(queue, sizeof(queue), "%x,%s,", before->handle,
				    before->kind);

		kat_hex_text(before->options, before->options_length, queue + used);
	}
	if (h->link.master && known)
		kat_mac_text(known, mac);
	return katamaran_journal(ctx, "hold %d %s %u %u %s %s %s", h->link.index, h->tap,
				 h->link.txqlen, ring, mac, queue, netns ? netns : "-");
}

int kat_announce_pin(struct katamaran_ctx *ctx, struct kat_nl *nl, const char *netns,
		     int index, const struct kat_addr *addr, const uint8_t mac[6])
{
	char address[INET6_ADDRSTRLEN], own[KAT_MAC_TEXT], before[KAT_MAC_TEXT] = "-";
	int64_t deadline = katamaran_deadline_ns(ctx);
	struct kat_neigh neigh;
	struct kat_link link;
	uint32_t bytes;

	kat_addr_text(addr, address);
	if (kat_neigh_get(nl, index, addr, &neigh, deadline) < 0 ||
	    kat_neigh_queue_get(nl, addr->family, index, &bytes, deadline) < 0 ||
	    kat_link_get(nl, NULL, index, &link, deadline) < 0)
		return kat_redirect_fail(ctx, nl, address, "read its neighbour entry");
	kat_mac_text(mac, own);
	if (neigh.has_mac)
		kat_mac_text(neigh.mac, before);
	return katamaran_journal(ctx, "pin %d %s %s %s %d %u %s %u %s", index, link.name,
				 address, own, neigh.exists, neigh.state, before, bytes,
				 netns ? netns : "-");
}

/* ---- undoing ---- */

/* A record under way. */
struct undo {
	struct katamaran_ctx *ctx;
	int outcome;
	const char *record;
	struct kat_nl *nl;
};

static int broken(const struct undo *u)
{
	katamaran_error(u->ctx, "a record of the journal is not to be understood: %.100s",
			u->record);
	return -1;
}

static int fail(const struct undo *u, const char *object, const char *act)
{
	return kat_redirect_fail(u->ctx, u->nl, object, act);
}

/* Nothing is left of what was on a device that has gone. */
static bool is_gone(int error)
{
	return error == ENOENT || error == ENODEV || error == ESRCH ||
	       error == EADDRNOTAVAIL;
}

static int talk(const struct undo *u, union kat_nl_message *m, const char *object,
		const char *act)
{
	if (kat_nl_talk(u->nl, &m->header, NULL, NULL, katamaran_deadline_ns(u->ctx)) ==
		    0 ||
	    is_gone(errno))
		return 0;
	return fail(u, object, act);
}

/* 1: it is there; 0: it has gone, or another one has its name; -1 error. */
static int find_device(const struct undo *u, int index, const char *name,
		       struct kat_link *link)
{
	if (kat_link_get(u->nl, NULL, index, link, katamaran_deadline_ns(u->ctx)) == 0)
		return !strcmp(link->name, name);
	return is_gone(errno) ? 0 : fail(u, name, "look for it");
}

/* 1: u->nl is in it; 0: it has gone. */
static int enter(struct undo *u, const char *netns)
{
	u->nl = kat_nl_open(!strcmp(netns, "-") ? NULL : netns);
	if (u->nl)
		return 1;
	if (errno == ENOENT || errno == EINVAL)
		return 0; /* a path that stands for no namespace any more */
	katamaran_error(u->ctx, "%s: cannot open a netlink socket inside: %m", netns);
	return -1;
}

static int undo_tunnel(struct undo *u)
{
	char device[WORD_BYTES];

	if (sscanf(u->record, "tunnel %127s", device) != 1)
		return broken(u);
	return kat_tunnel_recover(u->ctx, u->nl, device);
}

static int undo_rpfilter(struct undo *u)
{
	int64_t deadline = katamaran_deadline_ns(u->ctx);
	char name[WORD_BYTES];
	struct kat_link link;
	int index, before, has, r;

	if (sscanf(u->record, "rpfilter %d %127s %d %d", &index, name, &before, &has) !=
	    4)
		return broken(u);
	r = find_device(u, index, name, &link);
	if (r <= 0)
		return r;
	if (kat_rpfilter_recover(u->nl, index, katamaran_migration_id(u->ctx), before,
				 has, deadline) < 0)
		return fail(u, name, "restore its reverse path filter");
	return 0;
}

/* Keeps up to ROUTES of them; a mnl_cb_t. */
struct routes {
	size_t count;
	int oif[ROUTES];
};

static int see_route(const struct nlmsghdr *nlh, void *data)
{
	struct routes *routes = data;
	const struct nlattr *oif;

	oif = kat_attr(nlh, sizeof(struct rtmsg), RTA_OIF, sizeof(uint32_t));
	if (oif && routes->count < ROUTES)
		routes->oif[routes->count++] = (int)mnl_attr_get_u32(oif);
	return MNL_CB_OK;
}

/* Packets come back to the guest with the route; the rule alone does nothing. */
static int undo_redirect(struct undo *u)
{
	int64_t deadline = katamaran_deadline_ns(u->ctx);
	struct routes routes = {0};
	char address[WORD_BYTES];
	struct kat_route route = {0};
	uint32_t priority;
	union kat_nl_message m;

	if (sscanf(u->record, "redirect %127s %u %u", address, &route.table, &priority) !=
		    3 ||
	    kat_addr_parse(address, &route.to) < 0)
		return broken(u);
	if (kat_route_hosts(u->nl, &route.to, route.table, see_route, &routes, deadline) <
	    0)
		return fail(u, address, "read its redirect");
	for (size_t i = 0; i < routes.count; i++) {
		route.oif = routes.oif[i];
		kat_msg_route(&m.header, RTM_DELROUTE, &route, NULL);
		if (talk(u, &m, address, "end its redirect") < 0)
			return -1;
	}
	kat_msg_rule(&m.header, RTM_DELRULE, &route.to, priority, route.table);
	return talk(u, &m, address, "delete its routing rule");
}

static int undo_leave(struct undo *u)
{
	char address[WORD_BYTES], name[WORD_BYTES];
	struct kat_guest_ip ip = {0};
	struct kat_link link;
	int index, r;

	if (sscanf(u->record, "leave %127s %d %127s", address, &index, name) != 3 ||
	    kat_addr_parse(address, &ip.addr) < 0)
		return broken(u);
	if (u->outcome != KATAMARAN_DONE)
		return 0;
	r = find_device(u, index, name, &link);
	if (r <= 0)
		return r;
	kat_addr_text(&ip.addr, ip.text);
	return kat_leaving_recover(u->ctx, u->nl, &ip, index);
}

static bool parse_message(const char *hex, union kat_nl_message *m)
{
	ssize_t n = kat_hex_parse(hex, m, KAT_KEPT_BYTES);

	return n >= (ssize_t)NLMSG_LENGTH(sizeof(struct rtmsg)) &&
	       m->header.nlmsg_len == (size_t)n && m->header.nlmsg_type == RTM_NEWROUTE;
}

/* A route to the tap, which may have been deleted when the guest had gone. */
static int undo_kept(struct undo *u)
{
	char address[WORD_BYTES], name[WORD_BYTES], hex[2 * KAT_KEPT_BYTES + 2];
	union kat_nl_message m;
	struct rtmsg *route;
	struct kat_link link;
	int index, r;

	if (sscanf(u->record, "kept %127s %d %127s %1025s", address, &index, name, hex) !=
		    4 ||
	    !parse_message(hex, &m))
		return broken(u);
	if (u->outcome == KATAMARAN_DONE)
		return 0;
	r = find_device(u, index, name, &link);
	if (r <= 0)
		return r;
	/* Not beside one that somebody has made since. */
	m.header.nlmsg_flags = NLM_F_CREATE | NLM_F_EXCL;
	route = mnl_nlmsg_get_payload(&m.header);
	/* Not what the kernel alone may say of it: that the device is down. */
	route->rtm_flags &= RTNH_F_ONLINK;
	if (kat_nl_talk(u->nl, &m.header, NULL, NULL, katamaran_deadline_ns(u->ctx)) <
		    0 &&
	    errno != EEXIST)
		return fail(u, address, "put the route to its tap back");
	return 0;
}

/* ---- what holds packets ---- */

static bool parse_queue(const char *text, struct kat_qdisc *queue)
{
	ssize_t n;
	int at = 0;

	if (!strcmp(text, "-"))
		return true;
	if (sscanf(text, "%x,%15[^,],%n", &queue->handle, queue->kind, &at) != 2 || !at)
		return false;
	n = kat_hex_parse(text + at, queue->options, sizeof(queue->options));
	if (n < 0)
		return false;
	queue->options_length = (uint16_t)n;
	queue->custom = true;
	return true;
}

/* What is held goes to the guest, before the queue is taken away. */
static int deliver(const struct undo *u, int index, const char *tap)
{
	const struct timespec pause = {.tv_nsec = DRAIN_PAUSE_NS};
	struct kat_qdisc_stats stats = {0};
	union kat_nl_message m;

	kat_msg_plug_get(&m.header, index);
	kat_nl_talk(u->nl, &m.header, kat_qdisc_read_stats, &stats,
		    katamaran_deadline_ns(u->ctx));
	kat_msg_plug_release(&m.header, index);
	if (talk(u, &m, tap, "open its plug") < 0)
		return -1;
	katamaran_log(u->ctx, LOG_INFO,
		      "tap %s: plug opened, held %u packets, dropped %u", tap,
		      stats.packets, stats.drops);
	for (int i = 0; stats.packets && i < DRAIN_TRIES; i++) {
		nanosleep(&pause, NULL);
		memset(&stats, 0, sizeof(stats));
		kat_msg_plug_get(&m.header, index);
		if (kat_nl_talk(u->nl, &m.header, kat_qdisc_read_stats, &stats,
				katamaran_deadline_ns(u->ctx)) < 0)
			break;
	}
	return 0;
}

/* 1: there is our plug, and nothing more in it; 0: there is none. */
static int open_queue(const struct undo *u, int index, const char *tap)
{
	struct kat_qdisc now;

	if (kat_qdisc_root(u->nl, index, &now, katamaran_deadline_ns(u->ctx)) < 0)
		return is_gone(errno) ? 0 : fail(u, tap, "read its root queue");
	if (!now.plug)
		return 0;
	if (u->outcome == KATAMARAN_DONE && deliver(u, index, tap) < 0)
		return -1;
	return 1;
}

static int undo_queue(const struct undo *u, int index, const char *tap,
		      const struct kat_qdisc *before)
{
	union kat_nl_message m;

	if (before->custom)
		kat_msg_qdisc_restore(&m.header, index, before);
	else
		kat_msg_qdisc_delete(&m.header, index);
	return talk(u, &m, tap, "put its queue back");
}

/* The guest's MAC in the bridge: learned anew, with the next frame it sends. */
static int undo_fdb(const struct undo *u, const struct kat_link *link, const char *mac)
{
	union kat_nl_message m;
	uint8_t bytes[6];

	if (!link->master || !kat_mac_parse(mac, bytes))
		return 0;
	if (u->outcome == KATAMARAN_DONE)
		kat_msg_fdb(&m.header, RTM_NEWNEIGH, link->index, bytes, false);
	else
		kat_msg_fdb(&m.header, RTM_DELNEIGH, link->index, bytes, false);
	if (kat_nl_talk(u->nl, &m.header, NULL, NULL, katamaran_deadline_ns(u->ctx)) ==
		    0 ||
	    is_gone(errno) || errno == EOPNOTSUPP)
		return 0;
	return fail(u, link->name, "put the guest's MAC in its bridge back");
}

static int undo_hold(struct undo *u)
{
	char tap[WORD_BYTES], mac[WORD_BYTES], queue[5000], netns[4096];
	struct kat_qdisc before = {0};
	uint32_t txqlen, ring;
	union kat_nl_message m;
	struct kat_link link;
	int index, r, plugged;

	if (sscanf(u->record, "hold %d %127s %u %u %127s %4999s %4095[^\n]", &index, tap,
		   &txqlen, &ring, mac, queue, netns) != 7 ||
	    !parse_queue(queue, &before))
		return broken(u);
	r = enter(u, netns);
	if (r > 0)
		r = find_device(u, index, tap, &link);
	if (r <= 0)
		return r;
	plugged = open_queue(u, index, tap);
	if (plugged < 0)
		return -1;
	/*
	 * One that the kernel could not make so long has got less.  While the plug is
	 * there, in whose place the kernel would make many rings as long.
	 */
	if (link.txqlen <= ring && link.txqlen > txqlen) {
		kat_msg_link_txqlen(&m.header, index, txqlen);
		if (talk(u, &m, tap, "put the length of its ring back") < 0)
			return -1;
	}
	if (plugged && undo_queue(u, index, tap, &before) < 0)
		return -1;
	return undo_fdb(u, &link, mac);
}

/* ---- neighbours ---- */

static int end_pin(const struct undo *u, struct kat_pin *pin, const char *address)
{
	int64_t deadline = katamaran_deadline_ns(u->ctx);
	bool here = (katamaran_role(u->ctx) == KATAMARAN_DESTINATION) ==
		    (u->outcome == KATAMARAN_DONE);
	union kat_nl_message m;
	struct kat_neigh now;
	uint32_t bytes;

	if (kat_neigh_get(u->nl, pin->index, &pin->addr, &now, deadline) < 0)
		return fail(u, address, "read its neighbour entry");
	if (now.exists && (now.state & NUD_PERMANENT) && now.has_mac &&
	    !memcmp(now.mac, pin->mac, sizeof(now.mac))) {
		kat_msg_pin_end(&m.header, pin, here);
		if (talk(u, &m, address, "put its neighbour entry back") < 0)
			return -1;
	}
	if (kat_neigh_queue_get(u->nl, pin->addr.family, pin->index, &bytes, deadline) <
		    0 ||
	    bytes != KAT_PIN_QUEUE_BYTES)
		return 0;
	pin->queue_set = true;
	if (kat_pin_restore_queue(pin, deadline) < 0 && !is_gone(errno))
		return fail(u, address, "put the queue of its neighbours back");
	return 0;
}

static int undo_pin(struct undo *u)
{
	char device[WORD_BYTES], address[WORD_BYTES], mac[WORD_BYTES], before[WORD_BYTES];
	struct kat_pin pin = {0};
	struct kat_link link;
	char netns[4096];
	unsigned int state;
	int exists, r;

	if (sscanf(u->record, "pin %d %127s %127s %127s %d %u %127s %u %4095[^\n]",
		   &pin.index, device, address, mac, &exists, &state, before,
		   &pin.queue_before, netns) != 9 ||
	    kat_addr_parse(address, &pin.addr) < 0 || !kat_mac_parse(mac, pin.mac))
		return broken(u);
	pin.before.exists = exists;
	pin.before.state = (uint16_t)state;
	pin.before.has_mac = kat_mac_parse(before, pin.before.mac);
	r = enter(u, netns);
	if (r > 0)
		r = find_device(u, pin.index, device, &link);
	if (r <= 0)
		return r;
	pin.nl = u->nl;
	return end_pin(u, &pin, address);
}

int kat_redirect_recover(struct katamaran_ctx *ctx, const char *record, int outcome)
{
	static const struct {
		const char *word;
		bool own; /* it is in the program's namespace */
		int (*undo)(struct undo *u);
	} kinds[] = {
		{"tunnel ", true, undo_tunnel},	    {"rpfilter ", true, undo_rpfilter},
		{"redirect ", true, undo_redirect}, {"leave ", true, undo_leave},
		{"kept ", true, undo_kept},	    {"hold ", false, undo_hold},
		{"pin ", false, undo_pin},
	};
	struct undo u = {.ctx = ctx, .outcome = outcome, .record = record};
	int ret = -1;

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (strncmp(record, kinds[i].word, strlen(kinds[i].word)) != 0)
			continue;
		if (!kinds[i].own || enter(&u, "-") > 0)
			ret = kinds[i].undo(&u);
		kat_nl_close(u.nl);
		return ret;
	}
	return broken(&u);
}
