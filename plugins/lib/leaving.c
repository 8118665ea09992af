/* SPDX-License-Identifier: BSD-2-Clause */
#define KATAMARAN_API_VERSION 1
#include "plugins/lib/leaving.h"

#include <errno.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <linux/rtnetlink.h>

/* How long a tap must have been empty to be called so. */
#define QUIET_NS 1000000
/* How long one call looks before it asks to be called again. */
#define LOOK_NS 5000000
/* What is late comes within microseconds, unless its CPU is busy with others. */
#define SETTLE_NS    1000000
#define SETTLE_TRIES 5
/* How often QEMU is looked at, to see whether it can be seen waiting for packets. */
#define WATCH_TRIES 5
/* How often, every 10 ms, it is seen whether somebody has answered for the guest. */
#define ASK_TRIES 25
/* Whatever the budget: packets that could be saved are not given up for it. */
#define RESCUE_NS 2000000000

struct kat_ring {
	struct kat_nl *nl; /* in the tap's namespace; NULL: not to be seen */
	uint64_t dropped;  /* when the watch began */
};

struct kat_kept_route {
	struct kat_kept_route *next;
	char text[INET6_ADDRSTRLEN];
	struct nlmsghdr header;
};

/* Passes a NIC's device to the callback that keeps its routes. */
struct keeper {
	struct kat_leaving *leaving;
	const char *text;
	int oif;
};

int kat_leaving_open(struct katamaran_ctx *ctx, struct kat_leaving *l,
		     const struct kat_redirect *r)
{
	l->nics = katamaran_nic_count(ctx);
	l->taps = calloc(l->nics, sizeof(*l->taps));
	l->rings = calloc(l->nics, sizeof(*l->rings));
	l->addresses = r->count;
	l->pins = calloc(l->addresses, sizeof(*l->pins));
	if (!l->taps || !l->rings || !l->pins)
		return -1;
	return kat_salvage_open(&l->salvage, r);
}

void kat_leaving_free(struct kat_leaving *l)
{
	struct kat_kept_route *kept;

	for (size_t i = 0; l->taps && i < l->nics; i++)
		kat_tap_close(&l->taps[i]);
	for (size_t i = 0; l->rings && i < l->nics; i++)
		kat_nl_close(l->rings[i].nl);
	free(l->rings);
	l->rings = NULL;
	free(l->pins);
	l->pins = NULL;
	free(l->taps);
	l->taps = NULL;
	kat_salvage_close(&l->salvage);
	while ((kept = l->kept)) {
		l->kept = kept->next;
		free(kept);
	}
}

/* A kat_route_hosts() callback: copies the route if it leads to the device. */
static int keep_route(const struct nlmsghdr *nlh, void *data)
{
	const struct keeper *keeper = data;
	const struct nlattr *oif;
	struct kat_kept_route *kept;

	oif = kat_attr(nlh, sizeof(struct rtmsg), RTA_OIF, sizeof(uint32_t));
	if (!oif || (int)mnl_attr_get_u32(oif) != keeper->oif ||
	    nlh->nlmsg_len > KAT_KEPT_BYTES)
		return MNL_CB_OK;
	kept = malloc(sizeof(*kept) + nlh->nlmsg_len);
	if (!kept)
		return MNL_CB_ERROR;
	strcpy(kept->text, keeper->text);
	memcpy(&kept->header, nlh, nlh->nlmsg_len);
	kept->next = keeper->leaving->kept;
	keeper->leaving->kept = kept;
	return MNL_CB_OK;
}

/* As the kernel told them: a guest that comes back needs what was deleted by then. */
static int announce_routes(struct katamaran_ctx *ctx, const struct kat_leaving *l,
			   const struct kat_guest_ip *ip, const struct kat_link *tap)
{
	for (const struct kat_kept_route *kept = l->kept; kept; kept = kept->next) {
		char hex[2 * KAT_KEPT_BYTES + 1];

		if (strcmp(kept->text, ip->text) != 0)
			continue;
		kat_hex_text(&kept->header, kept->header.nlmsg_len, hex);
		if (katamaran_journal(ctx, "kept %s %d %s %s", ip->text, tap->index,
				      tap->name, hex) < 0)
			return -1;
	}
	return 0;
}

int kat_leaving_look(struct katamaran_ctx *ctx, struct kat_leaving *l, struct kat_nl *nl,
		     const struct kat_guest_ip *ip, const struct kat_link *device,
		     struct kat_link *tap)
{
	const char *name = katamaran_nic_tap(ctx, ip->nic);
	int64_t deadline = katamaran_deadline_ns(ctx);
	struct keeper keeper = {.leaving = l, .text = ip->text};

	memset(tap, 0, sizeof(*tap));
	if (!name || katamaran_nic_netns(ctx, ip->nic))
		return 0;
	if (kat_link_get(nl, name, 0, tap, deadline) < 0)
		return kat_redirect_fail(ctx, nl, name, "find the tap");
	/* The tap itself, or the bridge that the tap is a port of. */
	if (tap->index != device->index && tap->master != device->index) {
		katamaran_log(
			ctx, LOG_WARNING,
			"guest address %s: this node reaches it through %s, not through "
			"%s or its bridge",
			ip->text, device->name, name);
		katamaran_doubt(ctx,
				"packets to %s may not pass the redirect on the source",
				ip->text);
	}
	keeper.oif = tap->index;
	if (katamaran_journal(ctx, "leave %s %d %s", ip->text, tap->index, tap->name) < 0)
		return -1;
	if (kat_route_hosts(nl, &ip->addr, RT_TABLE_MAIN, keep_route, &keeper, deadline) <
	    0)
		return kat_redirect_fail(ctx, nl, ip->text,
					 "read the routes to the guest");
	return announce_routes(ctx, l, ip, tap);
}

/* The entry as it is when somebody has had the time to answer.  0, or -1 with errno. */
static int ask_for_guest(struct katamaran_ctx *ctx, struct kat_nl *nl, int index,
			 const struct kat_addr *addr, struct kat_neigh *now)
{
	const struct timespec pause = {.tv_nsec = 10000000};
	int64_t deadline = katamaran_deadline_ns(ctx);
	union kat_nl_message m;

	if (kat_neigh_get(nl, index, addr, now, deadline) < 0)
		return -1;
	if (now->has_mac)
		return 0;
	kat_msg_neigh_use(&m.header, index, addr);
	if (kat_nl_talk(nl, &m.header, NULL, NULL, deadline) < 0)
		return -1;
	for (int tries = 0; tries < ASK_TRIES && !now->has_mac; tries++) {
		nanosleep(&pause, NULL);
		if (kat_neigh_get(nl, index, addr, now, deadline) < 0)
			return -1;
	}
	return 0;
}

int kat_leaving_pin(struct katamaran_ctx *ctx, struct kat_leaving *l,
		    const struct kat_redirect *r)
{
	for (size_t i = 0; katamaran_conf_bool(ctx, "neighbours") && i < r->count; i++) {
		const struct kat_guest_ip *ip = &r->ips[i];
		const uint8_t *mac = katamaran_nic_mac(ctx, ip->nic);
		struct kat_neigh now;
		struct kat_way way;

		if (kat_way_get(r->nl, &ip->addr, &way, katamaran_deadline_ns(ctx)) < 0)
			return kat_redirect_fail(ctx, r->nl, ip->text,
						 "find the route to the guest");
		if (way.gateway)
			continue;
		if (ask_for_guest(ctx, r->nl, way.oif, &ip->addr, &now) < 0)
			return kat_redirect_fail(ctx, r->nl, ip->text,
						 "read its neighbour entry");
		if (now.has_mac)
			mac = now.mac;
		if (kat_redirect_pin(ctx, &l->pins[i], r->nl, NULL, way.oif, ip, mac) < 0)
			return -1;
	}
	return 0;
}

void kat_leaving_unpin(struct katamaran_ctx *ctx, struct kat_leaving *l, bool stays)
{
	int64_t deadline = katamaran_deadline_ns(ctx);

	for (size_t i = 0; i < l->addresses; i++) {
		struct kat_pin *pin = &l->pins[i];
		union kat_nl_message m;

		if (!pin->nl)
			continue;
		kat_msg_pin_end(&m.header, pin, stays);
		/* The tap may have gone with its QEMU. */
		if ((kat_nl_talk(pin->nl, &m.header, NULL, NULL, deadline) < 0 ||
		     kat_pin_restore_queue(pin, deadline) < 0) &&
		    errno != ENODEV && errno != ENOENT)
			katamaran_log(ctx, LOG_WARNING,
				      "neighbours: cannot put the guest's entry back: %s",
				      kat_nl_error(pin->nl));
	}
}

/* 0, or -1 with errno. */
static int read_ring(struct katamaran_ctx *ctx, const struct kat_ring *ring, size_t nic,
		     uint64_t *dropped)
{
	struct kat_link link;

	if (kat_link_get(ring->nl, katamaran_nic_tap(ctx, nic), 0, &link,
			 katamaran_deadline_ns(ctx)) < 0)
		return -1;
	*dropped = link.tx_dropped;
	return 0;
}

static void watch_ring(struct katamaran_ctx *ctx, struct kat_ring *ring, size_t nic)
{
	ring->nl = kat_nl_open(katamaran_nic_netns(ctx, nic));
	if (ring->nl && read_ring(ctx, ring, nic, &ring->dropped) == 0)
		return;
	katamaran_doubt(ctx, "tap %s: cannot see what its ring drops: %m",
			katamaran_nic_tap(ctx, nic));
	kat_nl_close(ring->nl);
	ring->nl = NULL;
}

void kat_leaving_drops(struct katamaran_ctx *ctx, struct kat_leaving *l)
{
	uint64_t now;

	for (size_t nic = 0; nic < l->nics; nic++) {
		struct kat_ring *ring = &l->rings[nic];

		if (!ring->nl)
			continue;
		if (read_ring(ctx, ring, nic, &now) < 0)
			katamaran_doubt(
				ctx, "tap %s: cannot see what its ring dropped: %s",
				katamaran_nic_tap(ctx, nic), kat_nl_error(ring->nl));
		else if (now != ring->dropped)
			katamaran_doubt(
				ctx,
				"%llu packet(s) were dropped by the full ring of the "
				"source's tap %s since the copy began",
				(unsigned long long)(now - ring->dropped),
				katamaran_nic_tap(ctx, nic));
		kat_nl_close(ring->nl);
		ring->nl = NULL;
	}
}

/* Which queues QEMU waits for, while the guest has room for what it reads. */
static void watch_queues(struct katamaran_ctx *ctx, struct kat_leaving *l)
{
	const struct timespec pause = {.tv_nsec = SETTLE_NS};
	size_t queues = 0, watched = 0;

	for (int tries = 0; tries < WATCH_TRIES; tries++) {
		for (size_t nic = 0; nic < l->nics; nic++)
			kat_tap_watch(&l->taps[nic], katamaran_qemu_pid(ctx));
		nanosleep(&pause, NULL);
	}
	for (size_t nic = 0; nic < l->nics; nic++)
		for (size_t i = 0; i < l->taps[nic].count; i++, queues++)
			watched += l->taps[nic].watched[i];
	l->watched = watched > 0;
	katamaran_log(ctx, LOG_DEBUG,
		      "QEMU is seen waiting for packets of %zu of %zu queue(s)", watched,
		      queues);
}

void kat_leaving_watch(struct katamaran_ctx *ctx, struct kat_leaving *l)
{
	l->vhost = kat_tap_all_vhost(katamaran_qemu_pid(ctx));
	for (size_t nic = 0; nic < l->nics; nic++) {
		const char *name = katamaran_nic_tap(ctx, nic);

		if (name)
			watch_ring(ctx, &l->rings[nic], nic);
		if (name && kat_tap_duplicate(&l->taps[nic], katamaran_qemu_pid(ctx),
					      katamaran_qemu_pidfd(ctx), name,
					      katamaran_nic_netns(ctx, nic)) == 0)
			continue;
		if (name)
			katamaran_log(ctx, LOG_WARNING,
				      "tap %s: cannot duplicate QEMU's descriptor: %m",
				      name);
		katamaran_doubt(ctx, "cannot see whether the tap %s is empty",
				name ? name : "(none given)");
	}
	if (!l->vhost)
		watch_queues(ctx, l);
}

/* How many queues QEMU keeps a packet of; -1: cannot be seen just now. */
static int queues_kept(struct katamaran_ctx *ctx, const struct kat_leaving *l)
{
	int kept = 0;

	for (size_t nic = 0; l->watched && nic < l->nics; nic++) {
		int n = kat_tap_kept(&l->taps[nic], katamaran_qemu_pid(ctx));

		if (n < 0)
			return -1;
		kept += n;
	}
	return kept;
}

/* 1: all taps were empty for a moment, 0: not yet, -1: cannot be seen. */
static int taps_empty(struct katamaran_ctx *ctx, const struct kat_leaving *l)
{
	for (size_t nic = 0; nic < l->nics; nic++) {
		int ret;

		if (!l->taps[nic].count)
			continue;
		ret = kat_tap_empty(&l->taps[nic], QUIET_NS);
		if (ret > 0)
			continue;
		if (ret < 0)
			katamaran_doubt(ctx, "tap %s: cannot see whether it is empty: %m",
					katamaran_nic_tap(ctx, nic));
		return ret;
	}
	return 1;
}

int kat_leaving_wait(struct katamaran_ctx *ctx, struct kat_leaving *l)
{
	const struct timespec pause = {.tv_nsec = 200000};
	int64_t end = kat_now_ns() + LOOK_NS;
	int empty, kept = 0;

	for (;;) {
		empty = taps_empty(ctx, l);
		if (empty > 0)
			kept = queues_kept(ctx, l);
		if (empty < 0 || (empty > 0 && !kept) || kat_now_ns() > end ||
		    !katamaran_ms_left(ctx))
			break;
		nanosleep(&pause, NULL);
	}
	l->empty = empty > 0;
	l->with_qemu = l->empty && kept > 0 ? kept : 0;
	/* However short the budget was: a guest that runs goes on emptying it. */
	return empty && !l->with_qemu ? KATAMARAN_WHEN_STOPPED : 1;
}

/* False when the time is over. */
static bool rescue_nic(struct katamaran_ctx *ctx, struct kat_leaving *l, size_t nic,
		       int64_t until_ns)
{
	struct kat_salvaged found = {0};
	bool late = false;

	for (size_t i = 0; i < l->taps[nic].count; i++) {
		int ret = kat_salvage_queue(&l->salvage, l->taps[nic].fds[i], until_ns,
					    &found);

		if (ret < 0)
			katamaran_doubt(ctx,
					"tap %s: cannot read what was left in it: %m",
					katamaran_nic_tap(ctx, nic));
		late |= ret > 0;
		if (ret > 0)
			katamaran_doubt(ctx,
					"tap %s: more was left in it than could be sent "
					"after the guest",
					katamaran_nic_tap(ctx, nic));
	}
	if (!l->taps[nic].count)
		return true;
	/* Nothing is a result, too: somebody has looked. */
	katamaran_count(ctx, nic, KATAMARAN_SALVAGED, found.sent);
	katamaran_count(ctx, nic, KATAMARAN_DROPPED_TUNNEL, found.lost);
	l->found.sent += found.sent;
	l->found.lost += found.lost;
	l->found.strange += found.strange;
	return !late;
}

void kat_leaving_rescue(struct katamaran_ctx *ctx, struct kat_leaving *l, bool settle)
{
	const struct timespec pause = {.tv_nsec = SETTLE_NS};
	int64_t until = kat_now_ns() + RESCUE_NS;
	struct kat_salvaged before;

	if (!l->salvage.ready)
		return;
	for (int tries = 0; tries < SETTLE_TRIES; tries++) {
		before = l->found;
		for (size_t nic = 0; nic < l->nics; nic++)
			if (!rescue_nic(ctx, l, nic, until))
				return;
		if (!settle || (tries && !memcmp(&before, &l->found, sizeof(before))))
			return;
		nanosleep(&pause, NULL);
	}
}

void kat_leaving_judge(struct katamaran_ctx *ctx, const struct kat_leaving *l)
{
	size_t queues = 0;

	for (size_t nic = 0; nic < l->nics; nic++)
		queues += l->taps[nic].count;
	if (l->found.sent || l->found.lost)
		katamaran_log(
			ctx, LOG_INFO,
			"salvaged %llu packet(s) that the stopped guest had left in "
			"its taps",
			(unsigned long long)l->found.sent);
	if (l->found.strange)
		katamaran_doubt(
			ctx,
			"%llu packet(s) for an address that is not among nics.ips "
			"were left in the source's taps",
			(unsigned long long)l->found.strange);
	if (!l->salvage.ready && !l->empty)
		katamaran_doubt(ctx, "what was in the source's taps when the guest "
				     "stopped is lost");
	if (!l->salvage.ready || !queues || l->vhost)
		return;
	/*
	 * What a stopped guest does not take QEMU queues, and reads no more
	 * (tap_send()).  One packet may have been queued before, since a busy guest
	 * had no room for it: STOP drops it (net_vm_change_state_handler()).
	 */
	if (!l->empty || l->found.sent || l->found.lost)
		katamaran_doubt(ctx,
				"at most %zu packet(s) lost: QEMU may have taken two out "
				"of each queue of the taps, the one before and the other "
				"after it had stopped the guest, which nobody sees",
				2 * queues);
	else if (l->with_qemu)
		katamaran_doubt(
			ctx,
			"at most %d packet(s) lost: QEMU still had one of so many "
			"queues of the taps that the guest had no room for when it "
			"was looked at last",
			l->with_qemu);
}

void kat_leaving_forget(struct katamaran_ctx *ctx, struct kat_leaving *l,
			struct kat_nl *nl)
{
	for (struct kat_kept_route *kept = l->kept; kept; kept = kept->next) {
		kept->header.nlmsg_type = RTM_DELROUTE;
		kept->header.nlmsg_flags = 0;
		if (kat_nl_talk(nl, &kept->header, NULL, NULL,
				katamaran_deadline_ns(ctx)) < 0 &&
		    errno != ESRCH)
			katamaran_log(ctx, LOG_WARNING,
				      "guest address %s: cannot delete the route to the "
				      "source's tap: %s",
				      kept->text, kat_nl_error(nl));
	}
}

int kat_leaving_recover(struct katamaran_ctx *ctx, struct kat_nl *nl,
			const struct kat_guest_ip *ip, int index)
{
	struct kat_leaving l = {0};
	struct keeper keeper = {.leaving = &l, .text = ip->text, .oif = index};
	int ret = 0;

	if (kat_route_hosts(nl, &ip->addr, RT_TABLE_MAIN, keep_route, &keeper,
			    katamaran_deadline_ns(ctx)) < 0)
		ret = kat_redirect_fail(ctx, nl, ip->text,
					"read the routes to the guest");
	kat_leaving_forget(ctx, &l, nl);
	kat_leaving_free(&l);
	return ret;
}
