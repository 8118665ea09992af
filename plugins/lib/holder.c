/* SPDX-License-Identifier: BSD-2-Clause */
#define KATAMARAN_API_VERSION 1
#include "plugins/lib/holder.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <linux/rtnetlink.h>
#include "plugins/lib/pin.h"
#include "plugins/lib/tap.h"
#include "plugins/lib/tunnel.h"
#include "plugins/lib/undo.h"

/* How long an opened plug may take to empty itself: 1 s, looked at every 10 ms. */
#define DRAIN_PAUSE_NS 10000000
#define DRAIN_TRIES    100
/* A ring of so many packets any kernel can make. */
#define RING_PLENTY 16384
/*
 * The default queue of a device has three rings as long for each of its queues
 * (pfifo_fast, net/sched/sch_generic.c), of which a tap that may have several
 * has 256 (MAX_TAP_QUEUES in drivers/net/tun.c): no more than that, in bytes.
 */
#define RINGS_MOST (64u << 20)

static int fail(struct katamaran_ctx *ctx, const struct kat_holder *h, const char *act)
{
	int error = errno;

	katamaran_error(ctx, "tap %s: cannot %s: %s%s", h->tap, act, kat_nl_error(h->nl),
			kat_hint(error));
	return -1;
}

int kat_holder_open(struct katamaran_ctx *ctx, struct kat_holder *h, struct kat_nl *nl,
		    size_t nic)
{
	const char *netns = katamaran_nic_netns(ctx, nic);
	int64_t deadline = katamaran_deadline_ns(ctx);

	h->nl = nl;
	h->nic = nic;
	h->tap = katamaran_nic_tap(ctx, nic);
	if (!h->tap) {
		katamaran_error(ctx, "network card %zu of the guest: set nics.tap", nic);
		return -1;
	}
	if (kat_link_get(nl, h->tap, 0, &h->link, deadline) < 0) {
		if (errno != ENODEV)
			return fail(ctx, h, "find it");
		katamaran_error(ctx, "tap %s: does not exist in %s", h->tap,
				netns ? netns : "this network namespace");
		return -1;
	}
	if (!(h->link.flags & IFF_UP)) {
		katamaran_error(ctx,
				"tap %s: is down and would drop everything; set it up",
				h->tap);
		return -1;
	}
	if (kat_qdisc_root(nl, h->link.index, &h->before, deadline) < 0)
		return fail(ctx, h, "read its root queue");
	if (h->before.plug) {
		katamaran_error(
			ctx,
			"tap %s: has a plug already, of another migration or of one "
			"that was killed (then: tc qdisc del dev %s root)",
			h->tap, h->tap);
		return -1;
	}
	return 0;
}

/*
 * After the plug, in whose place the kernel would make many rings longer.  One that
 * is short of memory, or an old one, may have room for less.
 */
static int set_ring(struct katamaran_ctx *ctx, struct kat_holder *h, uint32_t ring)
{
	int64_t deadline = katamaran_deadline_ns(ctx);
	union kat_nl_message m;

	if (!h->plugged && h->link.queues > 1) {
		uint32_t most = RINGS_MOST / sizeof(void *) / 3 / h->link.queues;

		ring = ring < most ? ring : most;
	}
	h->packets = h->link.txqlen;
	for (; ring > h->link.txqlen; ring /= 2) {
		kat_msg_link_txqlen(&m.header, h->link.index, ring);
		if (kat_nl_talk(h->nl, &m.header, NULL, NULL, deadline) == 0) {
			h->ring = true;
			h->packets = ring;
			return 0;
		}
		if (errno == ETIMEDOUT || ring < RING_PLENTY)
			return fail(ctx, h, "make its ring larger");
	}
	return 0;
}

/* 0 installed, 1 this kernel has none, -1 after katamaran_error(). */
static int add_plug(struct katamaran_ctx *ctx, struct kat_holder *h, uint32_t limit)
{
	struct kat_nl_batch batch = {0};

	if (!kat_qdisc_restorable(&h->before)) {
		katamaran_error(
			ctx,
			"tap %s: its root queue \"%s\" could not be put back as it is; "
			"remove it or set plug = \"off\"",
			h->tap, h->before.kind);
		return -1;
	}
	/* A new plug is closed: it opens with the next message of the same send. */
	kat_msg_plug_add(kat_nl_batch_next(&batch), h->link.index, limit);
	kat_nl_batch_add(&batch);
	kat_msg_plug_release(kat_nl_batch_next(&batch), h->link.index);
	kat_nl_batch_add(&batch);
	if (kat_nl_batch_send(h->nl, &batch, NULL, NULL, katamaran_deadline_ns(ctx)) ==
	    0) {
		h->plugged = true;
		return 0;
	}
	if (errno == ENOENT || errno == EOPNOTSUPP)
		return 1;
	/* The first of the two may have been done. */
	h->plugged = errno != EPERM;
	return fail(ctx, h, "put a plug on it");
}

static int see_bridge(struct katamaran_ctx *ctx, struct kat_holder *h)
{
	const uint8_t *mac = katamaran_nic_mac(ctx, h->nic);
	struct kat_link bridge;

	if (!h->link.master || !mac)
		return 0;
	memcpy(h->mac, mac, sizeof(h->mac));
	if (kat_link_get(h->nl, NULL, h->link.master, &bridge,
			 katamaran_deadline_ns(ctx)) < 0)
		return fail(ctx, h, "read the bridge that it is a port of");
	h->bridged = !strcmp(bridge.kind, "bridge");
	return 0;
}

/* The plug opens, and says before what it has held. */
static void add_opening(struct kat_nl_batch *batch, int index)
{
	kat_msg_plug_get(kat_nl_batch_next(batch), index);
	kat_nl_batch_add(batch);
	kat_msg_plug_release(kat_nl_batch_next(batch), index);
	kat_nl_batch_add(batch);
}

/* What block and release send, ready. */
static void build_batches(struct kat_holder *h)
{
	int index = h->link.index;

	kat_msg_link_get(kat_nl_batch_next(&h->block), index);
	kat_nl_batch_add(&h->block);
	if (h->plugged) {
		kat_msg_plug_block(kat_nl_batch_next(&h->block), index);
		kat_nl_batch_add(&h->block);
		add_opening(&h->release, index);
	}
	if (h->bridged) {
		kat_msg_fdb(kat_nl_batch_next(&h->block), RTM_NEWNEIGH, index, h->mac,
			    true);
		kat_nl_batch_add(&h->block);
		kat_msg_fdb(kat_nl_batch_next(&h->release), RTM_NEWNEIGH, index, h->mac,
			    false);
		kat_nl_batch_add(&h->release);
	}
}

/* What holds the packets, and why it is so large. */
static void tell_size(struct katamaran_ctx *ctx, const struct kat_holder *h,
		      const struct kat_buffer *buffer)
{
	bool overflows = h->packets < kat_buffer_ring(buffer->plug);

	if (h->plugged)
		katamaran_log(ctx, overflows ? LOG_WARNING : LOG_INFO,
			      "tap %s: the plug holds %.1f MiB, and the ring takes %u "
			      "packets of it%s (%s)",
			      h->tap, (double)buffer->plug / (1 << 20), h->packets,
			      overflows ? ", of small ones not all" : "", buffer->why);
	else
		katamaran_log(ctx, LOG_WARNING,
			      "tap %s: no plug; what arrives before the guest runs waits "
			      "in the tap's ring, which holds %u packets",
			      h->tap, h->packets);
}

int kat_holder_install(struct katamaran_ctx *ctx, struct kat_holder *h,
		       const struct kat_buffer *buffer)
{
	const char *plug = katamaran_conf_string(ctx, "plug");
	int ret = 1;

	if (kat_announce_hold(ctx, h, buffer->ring) < 0)
		return -1;
	if (strcmp(plug, "off") != 0)
		ret = add_plug(ctx, h, buffer->plug);
	if (ret < 0)
		return -1;
	if (ret > 0 && !strcmp(plug, "require")) {
		katamaran_error(ctx,
				"tap %s: this kernel has no sch_plug; load it (modprobe "
				"sch_plug), or set plug = \"auto\"",
				h->tap);
		return -1;
	}
	if (set_ring(ctx, h, buffer->ring) < 0)
		return -1;
	tell_size(ctx, h, buffer);
	if (see_bridge(ctx, h) < 0)
		return -1;
	build_batches(h);
	return 0;
}

int kat_holder_block(struct katamaran_ctx *ctx, struct kat_holder *h)
{
	struct kat_link link = {0};

	h->blocked = true;
	h->closed = h->plugged;
	h->fixed = h->bridged;
	if (kat_nl_batch_send(h->nl, &h->block, kat_link_read, &link,
			      katamaran_deadline_ns(ctx)) < 0)
		return fail(ctx, h, "close the plug");
	h->dropped = link.tx_dropped;
	return 0;
}

static void count_held(struct katamaran_ctx *ctx, struct kat_holder *h,
		       const struct kat_qdisc_stats *stats)
{
	h->closed = false;
	if (!stats->seen) {
		katamaran_doubt(ctx, "tap %s: the plug's counters could not be read",
				h->tap);
		return;
	}
	h->held = stats->packets;
	katamaran_count(ctx, h->nic, KATAMARAN_HELD, stats->packets);
	katamaran_count(ctx, h->nic, KATAMARAN_DROPPED_PLUG, stats->drops);
	katamaran_log(ctx, LOG_INFO, "tap %s: plug opened, held %u packets, dropped %u",
		      h->tap, stats->packets, stats->drops);
}

int kat_holder_let_out(struct katamaran_ctx *ctx, struct kat_holder *h)
{
	struct kat_qdisc_stats stats = {0};
	struct kat_nl_batch batch = {0};

	if (!h->closed)
		return 0;
	add_opening(&batch, h->link.index);
	if (kat_nl_batch_send(h->nl, &batch, kat_qdisc_read_stats, &stats,
			      katamaran_deadline_ns(ctx)) < 0)
		return -1;
	count_held(ctx, h, &stats);
	return 0;
}

int kat_holder_release(struct katamaran_ctx *ctx, struct kat_holder *h)
{
	struct kat_qdisc_stats stats = {0};

	if (!h->closed && !h->fixed)
		return 0;
	if (kat_nl_batch_send(h->nl, &h->release, kat_qdisc_read_stats, &stats,
			      katamaran_deadline_ns(ctx)) < 0)
		return fail(ctx, h, "open the plug");
	h->fixed = false;
	if (h->closed)
		count_held(ctx, h, &stats);
	return 0;
}

static void count_released(struct katamaran_ctx *ctx, struct kat_holder *h)
{
	struct kat_qdisc_stats stats = {0};
	union kat_nl_message m;

	if (!h->held || h->closed)
		return;
	kat_msg_plug_get(&m.header, h->link.index);
	if (kat_nl_talk(h->nl, &m.header, kat_qdisc_read_stats, &stats,
			katamaran_deadline_ns(ctx)) < 0)
		return;
	if (!stats.seen || stats.packets)
		return;
	katamaran_count(ctx, h->nic, KATAMARAN_RELEASED, h->held);
	h->held = 0;
}

void kat_holder_count(struct katamaran_ctx *ctx, struct kat_holder *h)
{
	struct kat_link link;

	count_released(ctx, h);
	if (kat_link_get(h->nl, NULL, h->link.index, &link, katamaran_deadline_ns(ctx)) <
	    0) {
		katamaran_doubt(ctx, "tap %s: its counters could not be read: %s", h->tap,
				kat_nl_error(h->nl));
		return;
	}
	katamaran_count(ctx, h->nic, KATAMARAN_DROPPED_RING,
			link.tx_dropped - h->dropped);
	h->dropped = link.tx_dropped;
}

/* What is held for a guest that did not come. */
static void lose_held(struct katamaran_ctx *ctx, struct kat_holder *h)
{
	struct kat_qdisc_stats stats = {0};
	union kat_nl_message m;

	kat_msg_plug_get(&m.header, h->link.index);
	if (kat_nl_talk(h->nl, &m.header, kat_qdisc_read_stats, &stats,
			katamaran_deadline_ns(ctx)) < 0 ||
	    !(stats.packets + stats.drops))
		return;
	katamaran_count(ctx, h->nic, KATAMARAN_DROPPED_PLUG, stats.packets + stats.drops);
	katamaran_log(ctx, LOG_WARNING,
		      "tap %s: %u packets are lost that were held for the guest", h->tap,
		      stats.packets + stats.drops);
}

/* A ring that is made shorter drops what it has too much, and does not count it. */
static void await_empty_ring(struct katamaran_ctx *ctx, const struct kat_holder *h)
{
	const struct timespec pause = {.tv_nsec = DRAIN_PAUSE_NS / 10};
	struct kat_tap tap = {.count = 0};
	int empty = -1;

	if (kat_tap_duplicate(&tap, katamaran_qemu_pid(ctx), katamaran_qemu_pidfd(ctx),
			      h->tap, katamaran_nic_netns(ctx, h->nic)) < 0) {
		katamaran_log(ctx, LOG_INFO,
			      "tap %s: cannot see whether its ring is empty: %m", h->tap);
		return;
	}
	for (int i = 0; i < 10 * DRAIN_TRIES && empty <= 0; i++) {
		empty = kat_tap_empty(&tap, 0);
		if (empty <= 0)
			nanosleep(&pause, NULL);
	}
	kat_tap_close(&tap);
	if (empty <= 0)
		katamaran_doubt(ctx,
				"tap %s: its ring was made shorter while packets were in "
				"it",
				h->tap);
}

void kat_holder_finish(struct katamaran_ctx *ctx, struct kat_holder *h, bool guest)
{
	const struct timespec pause = {.tv_nsec = DRAIN_PAUSE_NS};

	if (!h->blocked)
		return;
	if (!guest) {
		if (h->closed)
			lose_held(ctx, h);
		return;
	}
	if (kat_holder_release(ctx, h) < 0)
		return;
	kat_holder_count(ctx, h);
	for (int i = 0; h->held && i < DRAIN_TRIES; i++) {
		nanosleep(&pause, NULL);
		kat_holder_count(ctx, h);
	}
	if (h->held)
		katamaran_doubt(ctx, "tap %s: the plug was not seen empty", h->tap);
	if (h->ring)
		await_empty_ring(ctx, h);
}

int kat_holder_put_back(struct kat_holder *h, struct kat_nl_batch *batch)
{
	struct nlmsghdr *nlh;

	if (h->fixed) {
		nlh = kat_nl_batch_next(batch);
		if (!nlh)
			return -1;
		kat_msg_fdb(nlh, RTM_DELNEIGH, h->link.index, h->mac, false);
		kat_nl_batch_add(batch);
		h->fixed = false;
	}
	/* While the plug is there, see set_ring(). */
	if (h->ring) {
		nlh = kat_nl_batch_next(batch);
		if (!nlh)
			return -1;
		kat_msg_link_txqlen(nlh, h->link.index, h->link.txqlen);
		kat_nl_batch_add(batch);
		h->ring = false;
	}
	if (h->plugged) {
		nlh = kat_nl_batch_next(batch);
		if (!nlh)
			return -1;
		if (h->before.custom)
			kat_msg_qdisc_restore(nlh, h->link.index, &h->before);
		else
			kat_msg_qdisc_delete(nlh, h->link.index);
		kat_nl_batch_add(batch);
		h->plugged = h->closed = false;
	}
	return 0;
}
