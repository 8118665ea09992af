/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * announce-garp: frames made here tell the network where the guest is now.
 *
 * QEMU's own announcement moves MAC tables only, and asks the guest for the
 * rest, if its card and driver know how.  These frames move ARP and neighbour
 * tables too, whatever the guest is.  They are made before the RAM arrives;
 * plugins/lib/fabric.h says on which way they leave.
 */
#define KATAMARAN_API_VERSION 1
#include "katamaran-plugin.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include "plugins/lib/fabric.h"
#include "plugins/lib/frames.h"
#include "plugins/lib/rtnl.h"

/* One NIC of the guest. */
struct voice {
	struct kat_fabric fabric;
	struct kat_frame *frames;
	size_t count;
	bool complained; /* once is enough */
};

struct garp {
	struct voice *voices;
	size_t count;
};

static const struct katamaran_option options[] = {
	{"interface", KATAMARAN_LIST, 0, NULL,
	 "interfaces to announce on; none: through the guest's own tap", 0, 0},
	{"rounds", KATAMARAN_INT, 0, "5", "how many announcements", 1, 1000},
	{"initial_ms", KATAMARAN_INT, 0, "50", "pause after the first, ms", 1, 100000},
	{"step_ms", KATAMARAN_INT, 0, "100",
	 "by how much a pause is longer than the last, ms", 0, 10000},
	{"max_ms", KATAMARAN_INT, 0, "550", "longest pause, ms", 1, 100000},
	{"arp", KATAMARAN_BOOL, 0, "true", "gratuitous ARP for IPv4 addresses", 0, 0},
	{"na", KATAMARAN_BOOL, 0, "true",
	 "unsolicited neighbour advertisements for IPv6 addresses", 0, 0},
	{"rarp", KATAMARAN_BOOL, 0, "true", "RARP for the MAC", 0, 0},
	{.name = NULL},
};

static void free_garp(struct garp *g)
{
	for (size_t i = 0; i < g->count; i++) {
		kat_fabric_close(&g->voices[i].fabric);
		free(g->voices[i].frames);
	}
	free(g->voices);
	free(g);
}

static struct garp *new_garp(size_t count)
{
	struct garp *g = calloc(1, sizeof(*g));

	if (!g)
		return NULL;
	g->voices = calloc(count, sizeof(*g->voices));
	if (!g->voices) {
		free(g);
		return NULL;
	}
	g->count = count;
	for (size_t i = 0; i < count; i++)
		g->voices[i].fabric.sock = -1;
	return g;
}

static const char *name_of(struct katamaran_ctx *ctx, size_t nic)
{
	const char *tap = katamaran_nic_tap(ctx, nic);

	return tap ? tap : "no tap";
}

static int garp_open(struct katamaran_ctx *ctx, void **handle)
{
	size_t count = katamaran_nic_count(ctx), n_names;
	const char *const *names;
	struct garp *g;

	if (!count) {
		katamaran_error(ctx, "no NIC of the guest is known: set nics");
		return -1;
	}
	g = new_garp(count);
	if (!g) {
		katamaran_error(ctx, "%zu NICs: %m", count);
		return -1;
	}
	for (size_t i = 0; i < count; i++) {
		if (!katamaran_nic_mac(ctx, i)) {
			katamaran_error(ctx,
					"NIC %zu (%s): its MAC is not known: set mac", i,
					name_of(ctx, i));
			goto undo;
		}
		n_names = katamaran_conf_list(ctx, "interface", &names);
		if (kat_fabric_open(ctx, &g->voices[i].fabric, i, names, n_names) < 0)
			goto undo;
	}
	*handle = g;
	return 0;
undo:
	free_garp(g);
	return -1;
}

/* The frames of one address; at most two. */
static size_t add_address(struct katamaran_ctx *ctx, struct kat_frame *frames,
			  const uint8_t *mac, const struct kat_addr *addr)
{
	if (addr->family == AF_INET && katamaran_conf_bool(ctx, "arp")) {
		kat_frame_arp(&frames[0], mac, addr->bytes, false);
		kat_frame_arp(&frames[1], mac, addr->bytes, true);
		return 2;
	}
	if (addr->family == AF_INET6 && katamaran_conf_bool(ctx, "na")) {
		kat_frame_na(&frames[0], mac, addr->bytes);
		return 1;
	}
	return 0;
}

static int make_frames(struct katamaran_ctx *ctx, struct voice *voice, size_t nic)
{
	const uint8_t *mac = katamaran_nic_mac(ctx, nic);
	const char *const *ips;
	size_t count = katamaran_nic_ips(ctx, nic, &ips);
	struct kat_addr addr;

	voice->frames = calloc(2 * count + 1, sizeof(*voice->frames));
	if (!voice->frames) {
		katamaran_error(ctx, "%zu addresses: %m", count);
		return -1;
	}
	/* First what moves MAC tables: it is what the others travel by. */
	if (katamaran_conf_bool(ctx, "rarp"))
		kat_frame_rarp(&voice->frames[voice->count++], mac);
	for (size_t i = 0; i < count; i++) {
		if (kat_addr_parse(ips[i], &addr) < 0) {
			katamaran_error(ctx, "NIC %zu: %s is no address", nic, ips[i]);
			return -1;
		}
		voice->count +=
			add_address(ctx, &voice->frames[voice->count], mac, &addr);
	}
	if (voice->count)
		return 0;
	katamaran_error(ctx,
			"NIC %zu (%s): there is nothing to announce: it has no address "
			"of a kind that is switched on, and rarp is off",
			nic, name_of(ctx, nic));
	return -1;
}

static int garp_pre_copy(struct katamaran_ctx *ctx, void *handle)
{
	struct garp *g = handle;

	for (size_t i = 0; i < g->count; i++)
		if (make_frames(ctx, &g->voices[i], i) < 0)
			return -1;
	return 0;
}

/* The guest runs and is reachable: nothing here is a reason to stop trying. */
static void speak(struct katamaran_ctx *ctx, struct voice *voice, size_t nic)
{
	const char *device = NULL;
	int failed = 0;

	if (kat_fabric_learn(&voice->fabric, katamaran_deadline_ns(ctx)) < 0)
		katamaran_log(ctx, LOG_WARNING,
			      "tap %s: its bridge does not take the guest's MAC: %s",
			      name_of(ctx, nic), kat_nl_error(voice->fabric.nl));
	for (size_t i = 0; i < voice->count; i++)
		if (kat_fabric_send(&voice->fabric, &voice->frames[i], &device) < 0 &&
		    !failed++ && !voice->complained)
			katamaran_log(ctx, LOG_WARNING,
				      "%s: cannot send an announcement: %m",
				      device ? device : name_of(ctx, nic));
	voice->complained = voice->complained || failed;
}

static int garp_on_resume(struct katamaran_ctx *ctx, void *handle, unsigned int round)
{
	int64_t pause = katamaran_conf_int(ctx, "initial_ms") +
			katamaran_conf_int(ctx, "step_ms") * round;
	int64_t longest = katamaran_conf_int(ctx, "max_ms");
	struct garp *g = handle;

	for (size_t i = 0; i < g->count; i++)
		speak(ctx, &g->voices[i], i);
	if (round + 1 >= katamaran_conf_int(ctx, "rounds"))
		return 0;
	return (int)(pause < longest ? pause : longest);
}

static void garp_cleanup(struct katamaran_ctx *ctx, void *handle, int outcome)
{
	(void)ctx;
	(void)outcome;
	free_garp(handle);
}

static struct katamaran_plugin plugin = {
	.name = "garp",
	.kind = KATAMARAN_ANNOUNCE,
	.roles = KATAMARAN_DESTINATION,
	.version = "1",
	.description = "gratuitous ARP, neighbour advertisements and RARP",
	.options = options,
	.open = garp_open,
	.pre_copy = garp_pre_copy,
	.on_resume = garp_on_resume,
	.cleanup = garp_cleanup,
};
KATAMARAN_REGISTER_PLUGIN(plugin)
