/* SPDX-License-Identifier: BSD-2-Clause */
#define KATAMARAN_API_VERSION 1
#include "plugins/lib/redirect_dest.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <linux/rtnetlink.h>
#include "plugins/lib/holder.h"
#include "plugins/lib/pin.h"
#include "plugins/lib/returning.h"
#include "plugins/lib/undo.h"

/* What the tunnel carries at least: an Ethernet frame's worth, bytes. */
#define MTU_LEAST 1500

struct nic {
	struct kat_nl *nl;  /* in the tap's namespace */
	struct kat_nl *own; /* the same, if it is not that of the tunnel; to be closed */
	struct kat_holder holder;
};

struct kat_redirect_dest {
	struct kat_buffer buffer;
	struct kat_returning back;
	bool counts; /* since on_stop() what arrives is of this migration */
	size_t nics;
	struct nic *nic;
	size_t pins;
	struct kat_pin *pin; /* room for two an address */
	size_t *pin_nic;     /* whose they are */
};

static bool known_plug_word(const char *word)
{
	return !strcmp(word, "auto") || !strcmp(word, "require") || !strcmp(word, "off");
}

static int open_nic(struct katamaran_ctx *ctx, struct kat_redirect *r, size_t i)
{
	const char *netns = katamaran_nic_netns(ctx, i);
	struct nic *nic = &r->dest->nic[i];

	nic->nl = r->nl;
	if (netns) {
		nic->nl = nic->own = kat_nl_open(netns);
		if (!nic->own) {
			katamaran_error(ctx,
					"%s: cannot open a netlink socket inside: %m",
					netns);
			return -1;
		}
	}
	return kat_holder_open(ctx, &nic->holder, nic->nl, i);
}

int kat_redirect_dest_open(struct katamaran_ctx *ctx, struct kat_redirect *r)
{
	struct kat_redirect_dest *d = calloc(1, sizeof(*d));
	const char *plug = katamaran_conf_string(ctx, "plug");

	r->dest = d;
	if (d) {
		d->nics = katamaran_nic_count(ctx);
		d->nic = calloc(d->nics, sizeof(*d->nic));
		d->pin = calloc(2 * r->count + 1, sizeof(*d->pin));
		d->pin_nic = calloc(2 * r->count + 1, sizeof(*d->pin_nic));
	}
	if (!d || !d->nic || !d->pin || !d->pin_nic ||
	    kat_returning_open(ctx, &d->back, r) < 0) {
		katamaran_error(ctx, "cutover: %m");
		return -1;
	}
	if (!known_plug_word(plug)) {
		katamaran_error(ctx, "option plug = \"%s\": is not auto, require or off",
				plug);
		return -1;
	}
	if (kat_buffer_size(ctx, r->nl, &d->buffer) < 0)
		return -1;
	for (size_t i = 0; i < d->nics; i++)
		if (open_nic(ctx, r, i) < 0)
			return -1;
	return 0;
}

void kat_redirect_dest_free(struct kat_redirect_dest *d)
{
	if (!d)
		return;
	for (size_t i = 0; d->nic && i < d->nics; i++)
		kat_nl_close(d->nic[i].own);
	kat_returning_free(&d->back);
	free(d->nic);
	free(d->pin);
	free(d->pin_nic);
	free(d);
}

/* So that nobody has to ask a guest that cannot answer yet. */
static int pin_neighbour(struct katamaran_ctx *ctx, struct kat_redirect *r,
			 struct kat_nl *nl, int index, size_t ip)
{
	const char *netns = katamaran_nic_netns(ctx, r->ips[ip].nic);
	const uint8_t *mac = katamaran_nic_mac(ctx, r->ips[ip].nic);
	struct kat_redirect_dest *d = r->dest;

	if (kat_redirect_pin(ctx, &d->pin[d->pins], nl, nl == r->nl ? NULL : netns, index,
			     &r->ips[ip], mac) < 0)
		return -1;
	d->pin_nic[d->pins++] = r->ips[ip].nic;
	return 0;
}

/*
 * The guest's first answers leave through this node's routers: their neighbour
 * entries are made now, so that no answer has to wait for one.  What cannot be
 * asked for now is asked for then.
 */
static void meet_routers(struct katamaran_ctx *ctx, struct kat_redirect *r)
{
	static const int families[] = {AF_INET, AF_INET6};
	int64_t deadline = katamaran_deadline_ns(ctx);

	for (size_t i = 0; i < 2; i++) {
		union kat_nl_message m;
		struct kat_way way;

		if (!kat_redirect_has(r, families[i]) ||
		    kat_way_out(r->nl, families[i], &way, deadline) < 0 ||
		    !way.via.family)
			continue;
		kat_msg_neigh_use(&m.header, way.oif, &way.via);
		if (kat_nl_talk(r->nl, &m.header, NULL, NULL, deadline) < 0)
			katamaran_log(ctx, LOG_DEBUG, "neighbours: %s",
				      kat_nl_error(r->nl));
	}
}

/* Looks where packets for the address go here, and fixes the last step. */
static int prepare_ip(struct katamaran_ctx *ctx, struct kat_redirect *r, size_t i)
{
	int64_t deadline = katamaran_deadline_ns(ctx);
	struct kat_guest_ip *ip = &r->ips[i];
	struct nic *nic = &r->dest->nic[ip->nic];
	const struct kat_link *tap = &nic->holder.link;
	struct kat_way way;

	if (kat_way_get(r->nl, &ip->addr, &way, deadline) < 0)
		return kat_redirect_fail(ctx, r->nl, ip->text,
					 "find the route to the guest");
	if (way.type != RTN_UNICAST) {
		katamaran_error(
			ctx, "guest address %s: this node does not forward packets to it",
			ip->text);
		return -1;
	}
	if (!nic->own && way.oif != tap->index && way.oif != tap->master) {
		katamaran_log(ctx, LOG_WARNING,
			      "guest address %s: its route does not lead through the tap "
			      "%s nor "
			      "a bridge that has it",
			      ip->text, nic->holder.tap);
		katamaran_doubt(ctx, "redirected packets for %s may not reach the tap %s",
				ip->text, nic->holder.tap);
		return 0;
	}
	if (!way.gateway && pin_neighbour(ctx, r, r->nl, way.oif, i) < 0)
		return -1;
	if (!nic->own)
		return 0;
	/* A namespace of its own may route once more, or only have bridges. */
	if (kat_way_get(nic->nl, &ip->addr, &way, deadline) < 0 ||
	    way.type != RTN_UNICAST || way.gateway ||
	    (way.oif != tap->index && way.oif != tap->master))
		return 0;
	return pin_neighbour(ctx, r, nic->nl, way.oif, i);
}

/* Whether packets of the guest may come through this kind of tunnel. */
static int may_come(struct katamaran_ctx *ctx, struct kat_redirect *r,
		    const struct kat_tunnel *tunnel, bool *may)
{
	int64_t deadline = katamaran_deadline_ns(ctx);

	*may = tunnel->guest == AF_UNSPEC || kat_redirect_has(r, tunnel->guest);
	/* Where no address was told: what this node forwards at all. */
	if (!r->count && tunnel->guest != AF_UNSPEC &&
	    kat_forwarding_get(r->nl, tunnel->guest, may, deadline) < 0)
		*may = false;
	if (*may && r->local.family)
		*may = r->local.family == tunnel->underlay;
	else if (*may)
		return kat_address_global(r->nl, tunnel->underlay, may, deadline);
	return 0;
}

/* Whether one of our devices takes what is sent to the guest's family. */
static bool covered(const struct kat_redirect *r, int family)
{
	for (size_t i = 0; i < r->uses; i++)
		if (r->use[i].tunnel->guest == AF_UNSPEC ||
		    r->use[i].tunnel->guest == family)
			return true;
	return false;
}

static int check_covered(struct katamaran_ctx *ctx, struct kat_redirect *r,
			 const struct kat_tunnel *missing, int family)
{
	if (!kat_redirect_has(r, family) || covered(r, family))
		return 0;
	if (missing)
		return kat_tunnel_missing(ctx, missing);
	katamaran_error(ctx,
			"the guest has an %s address, and this node none of its own that "
			"a tunnel could end at; give it one, or set local",
			kat_family_name(family));
	return -1;
}

/*
 * Nobody has told from where the redirect will come: a device for each underlay
 * that this node is part of.  One that the kernel has not is missed only where
 * no other is left.
 */
static int acquire_tunnels(struct katamaran_ctx *ctx, struct kat_redirect *r,
			   uint32_t mtu)
{
	const struct kat_tunnel *missing = NULL;
	char list[128] = "";
	size_t used = 0;

	for (const struct kat_tunnel *t = r->tunnels; t->kind; t++) {
		bool may;
		int ret;

		if (may_come(ctx, r, t, &may) < 0)
			return kat_redirect_fail(ctx, r->nl, "this node",
						 "read its addresses");
		if (!may)
			continue;
		ret = kat_redirect_acquire(ctx, r, t, NULL, mtu, NULL);
		if (ret < 0)
			return -1;
		if (ret == 0) {
			used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s",
						 used ? " " : "", t->kind);
			continue;
		}
		if (!missing)
			missing = t;
		katamaran_log(ctx, r->count ? LOG_WARNING : LOG_INFO,
			      "this kernel has no %s tunnels (module %s): packets are "
			      "lost that a source redirects to this node's %s address%s",
			      t->kind, t->module, kat_family_name(t->underlay),
			      t->guest == AF_INET6 ? ", if they are IPv6 ones" : "");
	}
	if (check_covered(ctx, r, missing, AF_INET) < 0 ||
	    check_covered(ctx, r, missing, AF_INET6) < 0)
		return -1;
	katamaran_publish(ctx, "receives", list);
	return 0;
}

int kat_redirect_dest_pre_copy(struct katamaran_ctx *ctx, struct kat_redirect *r)
{
	struct kat_redirect_dest *d = r->dest;
	uint32_t mtu = MTU_LEAST;

	for (size_t i = 0; i < d->nics; i++) {
		if (d->nic[i].holder.link.mtu > mtu)
			mtu = d->nic[i].holder.link.mtu;
		if (kat_holder_install(ctx, &d->nic[i].holder, &d->buffer) < 0)
			return -1;
	}
	kat_returning_watch(ctx, &d->back);
	if (!katamaran_conf_bool(ctx, "neighbours"))
		katamaran_doubt(ctx, "packets may have waited for the guest's neighbour "
				     "entry (neighbours = false)");
	else
		for (size_t i = 0; i < r->count; i++)
			if (prepare_ip(ctx, r, i) < 0)
				return -1;
	return r->tunnels ? acquire_tunnels(ctx, r, mtu) : 0;
}

/*
 * The NIC that the packets of a device are counted for: the first that has an
 * address which comes through it.
 */
static size_t nic_of(const struct kat_redirect *r, size_t use)
{
	int family = r->use[use].tunnel->guest;

	for (size_t i = 0; i < r->count; i++)
		if (family == AF_UNSPEC || r->ips[i].addr.family == family)
			return r->ips[i].nic;
	return 0;
}

/*
 * What came out of the device since the last look; another's may be among it.  The
 * kernel counts a packet there before it drops it, where more than netdev_max_backlog
 * of them wait (gro_cells_receive()).
 */
static void count_arrived(struct katamaran_ctx *ctx, struct kat_redirect *r, size_t i,
			  const struct kat_link *link)
{
	struct kat_tunnel_use *use = &r->use[i];

	if (!kat_tunnel_shared(ctx, r->nl, use)) {
		katamaran_count(ctx, nic_of(r, i), KATAMARAN_ARRIVED,
				link->rx_packets - use->packets);
		katamaran_count(ctx, nic_of(r, i), KATAMARAN_DROPPED_TUNNEL,
				link->rx_dropped - use->dropped);
	} else if (!use->doubted) {
		use->doubted = true;
		katamaran_doubt(ctx,
				"%s served another migration too: whose packets it "
				"counted cannot be told",
				use->device);
	}
}

/* Looks at the devices: what came out of them since they were made. */
static int look_at_devices(struct katamaran_ctx *ctx, struct kat_redirect *r, bool count,
			   uint64_t *packets)
{
	*packets = 0;
	for (size_t i = 0; i < r->uses; i++) {
		struct kat_link link;

		if (kat_link_get(r->nl, NULL, r->use[i].index, &link,
				 katamaran_deadline_ns(ctx)) < 0)
			return kat_redirect_fail(ctx, r->nl, r->use[i].device,
						 "read its counters");
		if (count)
			count_arrived(ctx, r, i, &link);
		r->use[i].packets = link.rx_packets;
		r->use[i].dropped = link.rx_dropped;
		*packets += link.rx_packets;
	}
	return 0;
}

int kat_redirect_dest_on_stop(struct katamaran_ctx *ctx, struct kat_redirect *r)
{
	uint64_t packets;

	if (look_at_devices(ctx, r, false, &packets) < 0)
		return -1;
	r->dest->counts = true;
	meet_routers(ctx, r);
	for (size_t i = 0; i < r->dest->nics; i++)
		if (kat_holder_block(ctx, &r->dest->nic[i].holder) < 0)
			return -1;
	return 0;
}

int kat_redirect_dest_on_resume(struct katamaran_ctx *ctx, struct kat_redirect *r,
				unsigned int round)
{
	struct kat_redirect_dest *d = r->dest;
	uint64_t packets;
	int ret = 0;

	for (size_t i = 0; round == 0 && i < d->nics; i++)
		ret |= kat_holder_release(ctx, &d->nic[i].holder);
	if (ret < 0)
		return -1;
	if (round == 0) {
		kat_returning_forget(&d->back);
		return KAT_REDIRECT_ROUND_MS;
	}
	for (size_t i = 0; i < d->nics; i++)
		kat_holder_count(ctx, &d->nic[i].holder);
	if (!r->tunnels)
		return 0;
	if (look_at_devices(ctx, r, true, &packets) < 0)
		return -1;
	return kat_hold_on(&r->hold, packets, kat_now_ns()) ? KAT_REDIRECT_ROUND_MS : 0;
}

static void send_or_warn(struct katamaran_ctx *ctx, struct kat_nl *nl,
			 struct kat_nl_batch *batch, const struct nic *nic)
{
	if (kat_nl_batch_send(nl, batch, NULL, NULL, katamaran_deadline_ns(ctx)) < 0)
		katamaran_log(ctx, LOG_WARNING,
			      "tap %s: cannot put its queue and its neighbours back: %s",
			      nic->holder.tap, kat_nl_error(nl));
}

/* Adds one message for each pin of the NIC that is in this namespace. */
static int add_pins(struct kat_redirect_dest *d, size_t i, const struct kat_nl *nl,
		    bool end, bool guest, struct kat_nl_batch *batch)
{
	for (size_t p = 0; p < d->pins; p++) {
		struct nlmsghdr *nlh;

		if (d->pin_nic[p] != i || d->pin[p].nl != nl)
			continue;
		nlh = kat_nl_batch_next(batch);
		if (!nlh)
			return -1;
		if (end)
			kat_msg_pin_end(nlh, &d->pin[p], guest);
		else
			kat_msg_pin_wait(nlh, &d->pin[p]);
		kat_nl_batch_add(batch);
	}
	return 0;
}

/*
 * Exchanges the queue under a guest that may be running, while its packets
 * wait at the neighbour entry.  One send a namespace: nothing that happens to
 * this process can leave an entry waiting that is in the tap's namespace.
 */
static void put_back_nic(struct katamaran_ctx *ctx, struct kat_redirect *r, size_t i,
			 bool guest)
{
	struct kat_nl_batch batch = {0}, outside = {0};
	struct kat_redirect_dest *d = r->dest;
	struct nic *nic = &d->nic[i];
	bool wait = guest && (nic->holder.plugged || nic->holder.ring);

	if (wait && nic->holder.link.master)
		katamaran_doubt(
			ctx,
			"tap %s: what other ports of its bridge sent to it while its "
			"queue was put back may be lost",
			nic->holder.tap);
	if (wait && nic->own && add_pins(d, i, r->nl, false, guest, &outside) == 0)
		send_or_warn(ctx, r->nl, &outside, nic);
	if ((wait && add_pins(d, i, nic->nl, false, guest, &batch) < 0) ||
	    kat_holder_put_back(&nic->holder, &batch) < 0 ||
	    add_pins(d, i, nic->nl, true, guest, &batch) < 0)
		katamaran_log(ctx, LOG_WARNING,
			      "tap %s: has too many addresses to put all back",
			      nic->holder.tap);
	send_or_warn(ctx, nic->nl, &batch, nic);
	memset(&outside, 0, sizeof(outside));
	if (nic->own && add_pins(d, i, r->nl, true, guest, &outside) == 0)
		send_or_warn(ctx, r->nl, &outside, nic);
}

void kat_redirect_dest_cleanup(struct katamaran_ctx *ctx, struct kat_redirect *r,
			       int outcome)
{
	struct kat_redirect_dest *d = r->dest;
	bool guest = outcome == KATAMARAN_DONE;
	uint64_t packets;

	if (d->counts && look_at_devices(ctx, r, true, &packets) < 0)
		katamaran_doubt(ctx, "what arrived last could not be counted");
	for (size_t i = d->nics; i-- > 0;) {
		/* A guest may still come where somebody has ended this end alone. */
		if (outcome == KATAMARAN_FAILED)
			kat_returning_give(ctx, &d->back, &d->nic[i].holder);
		kat_holder_finish(ctx, &d->nic[i].holder, guest);
		put_back_nic(ctx, r, i, guest);
		if (guest)
			/* Newer kernels count here what noop_qdisc dropped. */
			kat_holder_count(ctx, &d->nic[i].holder);
	}
	while (d->pins) {
		struct kat_pin *pin = &d->pin[--d->pins];

		if (kat_pin_restore_queue(pin, katamaran_deadline_ns(ctx)) < 0)
			katamaran_log(
				ctx, LOG_WARNING,
				"neighbours: cannot restore their queue's length: %s",
				kat_nl_error(pin->nl));
	}
}
