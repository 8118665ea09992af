/* SPDX-License-Identifier: BSD-2-Clause */
#define KATAMARAN_API_VERSION 1
#include "plugins/lib/arrivals.h"

#include <errno.h>
#include <string.h>
#include "plugins/lib/buffer.h"
#include "plugins/lib/redirect_check.h"
#include "plugins/lib/relay.h"

#define CHAIN "arrivals"
/* Before whatever this node filters: what it drops is none of the segment's losses. */
#define PRIORITY (-500)

struct arrivals {
	struct kat_redirect *r;
	struct kat_nft *nft; /* NULL: nobody counts */
	char table[KAT_RELAY_NAME];
	uint64_t *counted; /* per NIC */
	size_t nics;
	bool counts; /* since on_stop() what arrives is of this migration */
	struct kat_nft_batch setup;
};

void kat_arrivals_tell(struct katamaran_ctx *ctx, const struct kat_segment *segment)
{
	char text[INET6_ADDRSTRLEN];

	katamaran_publish(ctx, "to", kat_addr_text(&segment->peer, text));
	katamaran_publish(ctx, "from", kat_mac_text(segment->mac, text));
}

int kat_arrivals_open(struct katamaran_ctx *ctx, struct kat_redirect *r, void **handle)
{
	struct arrivals *a = calloc(1, sizeof(*a));

	if (a) {
		a->nics = katamaran_nic_count(ctx);
		a->counted = calloc(a->nics + 1, sizeof(*a->counted));
	}
	if (!a || !a->counted) {
		katamaran_error(ctx, "cutover: %m");
		free(a);
		kat_redirect_cleanup(ctx, r, KATAMARAN_FAILED);
		return -1;
	}
	a->r = r;
	kat_relay_table(ctx, a->table);
	*handle = a;
	return 0;
}

static void give_up(struct katamaran_ctx *ctx, struct arrivals *a, const char *why)
{
	katamaran_doubt(ctx, "cannot count what comes out of the redirect: %s", why);
	kat_nft_close(a->nft);
	a->nft = NULL;
}

static void build(struct arrivals *a, const char *device, const uint8_t from[6])
{
	const char *const devices[] = {device, NULL};
	struct kat_nft_redirect redirect = {.oif = 0};
	char counter[KAT_RELAY_NAME];

	memcpy(redirect.from, from, sizeof(redirect.from));
	redirect.counter = counter;
	kat_relay_begin(&a->setup, a->table, a->nics);
	kat_nft_add_hook(&a->setup, a->table, CHAIN, NF_NETDEV_INGRESS, PRIORITY,
			 devices);
	for (size_t i = 0; i < a->r->count; i++) {
		kat_relay_counter(counter, a->r->ips[i].nic);
		redirect.guest = a->r->ips[i].addr;
		kat_nft_add_arrival(&a->setup, a->table, CHAIN, &redirect);
	}
}

/* Where each end runs alone nobody compares, and nothing is known of the source. */
static void watch(struct katamaran_ctx *ctx, struct arrivals *a)
{
	const char *from = katamaran_learn(ctx, "from"), *to = katamaran_learn(ctx, "to");
	int64_t deadline = katamaran_deadline_ns(ctx);
	struct kat_link device;
	struct kat_addr addr;
	uint8_t mac[6];
	int index;

	if (!katamaran_connected(ctx))
		return;
	if (!from || !to || kat_addr_parse(to, &addr) < 0 || !kat_mac_parse(from, mac)) {
		give_up(ctx, a, "the source does not tell what it is known by");
		return;
	}
	index = kat_buffer_owner(a->r->nl, &addr, deadline);
	if (!index || kat_link_get(a->r->nl, NULL, index, &device, deadline) < 0) {
		give_up(ctx, a, "no device has the address that the source sends to");
		return;
	}
	a->nft = kat_nft_open();
	build(a, device.name, mac);
	if (!a->nft || kat_nft_end(&a->setup) < 0)
		give_up(ctx, a, strerror(errno));
	else if (kat_nft_send(a->nft, &a->setup, deadline) < 0)
		give_up(ctx, a, kat_nft_error(a->nft));
}

int kat_arrivals_pre_copy(struct katamaran_ctx *ctx, void *handle)
{
	struct arrivals *a = handle;

	watch(ctx, a);
	return kat_redirect_pre_copy(ctx, a->r);
}

/* What has come since the last look; the first ones were not of this migration. */
static void count(struct katamaran_ctx *ctx, struct arrivals *a)
{
	char counter[KAT_RELAY_NAME];
	uint64_t now;

	for (size_t nic = 0; a->nft && nic < a->nics; nic++) {
		kat_relay_counter(counter, nic);
		if (kat_nft_counter(a->nft, a->table, counter, &now,
				    katamaran_deadline_ns(ctx)) < 0) {
			give_up(ctx, a, kat_nft_error(a->nft));
			return;
		}
		if (a->counts)
			katamaran_count(ctx, nic, KATAMARAN_ARRIVED,
					now - a->counted[nic]);
		a->counted[nic] = now;
	}
}

int kat_arrivals_on_stop(struct katamaran_ctx *ctx, void *handle)
{
	struct arrivals *a = handle;

	count(ctx, a);
	a->counts = true;
	return kat_redirect_on_stop(ctx, a->r);
}

int kat_arrivals_on_resume(struct katamaran_ctx *ctx, void *handle, unsigned int round)
{
	struct arrivals *a = handle;

	return kat_redirect_on_resume(ctx, a->r, round);
}

void kat_arrivals_cleanup(struct katamaran_ctx *ctx, void *handle, int outcome)
{
	struct arrivals *a = handle;

	/* The source has ended the redirect by now, and told so. */
	if (a->counts)
		count(ctx, a);
	kat_nft_close(a->nft); /* and the table with it */
	kat_redirect_cleanup(ctx, a->r, outcome);
	free(a->counted);
	free(a);
}

int kat_arrivals_check(struct katamaran_ctx *ctx, void *handle)
{
	struct arrivals *a = handle;

	return kat_redirect_check(ctx, a->r);
}
