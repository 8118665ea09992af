/* SPDX-License-Identifier: BSD-2-Clause */
#define KATAMARAN_API_VERSION 1
#include "plugins/lib/relay.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <linux/netfilter/nf_tables.h>

#define TABLE	 "katamaran_" /* and the migration's id */
#define REDIRECT "redirect"
#define INGRESS	 "ingress"
#define EGRESS	 "egress"
/* Before other chains at ingress, and flow tables, which would take packets away. */
#define INGRESS_PRIORITY (-500)
/* After what the site filters on the way to the guest. */
#define EGRESS_PRIORITY 500

/* What the kernel has to have, by the message that failed. */
static const char *needs(int type, int error)
{
	if (error == EPERM)
		return " (CAP_NET_ADMIN is needed)";
	if (error == EEXIST)
		return " (of another migration with the same id)";
	if (error != EOPNOTSUPP && error != EAFNOSUPPORT && error != ENOENT &&
	    error != EINVAL && error != EPROTONOSUPPORT)
		return "";
	if (type == NFT_MSG_NEWTABLE)
		return " (this kernel's nf_tables has no family netdev, "
		       "CONFIG_NF_TABLES_NETDEV, or is older than Linux 5.12; use ipip "
		       "or gre)";
	if (type == NFT_MSG_NEWCHAIN)
		return " (this kernel's nf_tables has no ingress or egress hook, "
		       "CONFIG_NETFILTER_EGRESS, Linux 5.16; use ipip or gre)";
	if (type == NFT_MSG_NEWRULE)
		return " (this kernel has no nft_fwd_netdev, CONFIG_NFT_FWD_NETDEV; use "
		       "ipip or gre)";
	return " (this kernel has no nf_tables, CONFIG_NF_TABLES; use ipip or gre)";
}

static int fail(struct katamaran_ctx *ctx, const struct kat_relay *relay, const char *act)
{
	int error = errno;

	katamaran_error(ctx, "nftables: cannot %s table netdev %s: %s%s", act,
			relay->table, kat_nft_error(relay->nft),
			needs(kat_nft_failed(relay->nft), error));
	return -1;
}

static int build_fail(struct katamaran_ctx *ctx, const struct kat_relay *relay)
{
	katamaran_error(ctx, "nftables: cannot build table netdev %s: %m", relay->table);
	return -1;
}

void kat_relay_table(struct katamaran_ctx *ctx, char name[KAT_RELAY_NAME])
{
	snprintf(name, KAT_RELAY_NAME, TABLE "%s", katamaran_migration_id(ctx));
}

void kat_relay_counter(char name[KAT_RELAY_NAME], size_t nic)
{
	snprintf(name, KAT_RELAY_NAME, "nic%zu", nic);
}

void kat_relay_begin(struct kat_nft_batch *batch, const char *table, size_t nics)
{
	char counter[KAT_RELAY_NAME];

	kat_nft_begin(batch);
	kat_nft_add_table(batch, table);
	for (size_t nic = 0; nic < nics; nic++) {
		kat_relay_counter(counter, nic);
		kat_nft_add_counter(batch, table, counter);
	}
}

int kat_relay_open(struct katamaran_ctx *ctx, struct kat_relay *relay)
{
	const char *table = relay->table;

	kat_relay_table(ctx, relay->table);
	relay->nics = katamaran_nic_count(ctx);
	relay->counted = calloc(relay->nics + 1, sizeof(*relay->counted));
	relay->nft = kat_nft_open();
	if (!relay->counted || !relay->nft) {
		katamaran_error(ctx, "nftables: cannot open a netlink socket: %m%s",
				needs(-1, errno));
		return -1;
	}
	kat_nft_begin(&relay->at_ingress);
	kat_nft_add_jump(&relay->at_ingress, table, INGRESS, REDIRECT);
	kat_nft_begin(&relay->at_egress);
	kat_nft_add_jump(&relay->at_egress, table, EGRESS, REDIRECT);
	kat_nft_begin(&relay->off);
	kat_nft_add_flush(&relay->off, table, INGRESS);
	kat_nft_add_flush(&relay->off, table, EGRESS);
	kat_nft_begin(&relay->remove);
	kat_nft_add_delete(&relay->remove, table);
	if (kat_nft_end(&relay->at_ingress) < 0 || kat_nft_end(&relay->at_egress) < 0 ||
	    kat_nft_end(&relay->off) < 0 || kat_nft_end(&relay->remove) < 0)
		return build_fail(ctx, relay);
	return 0;
}

/* The table; `switched` as it will be when both switches are on. */
static int build(struct katamaran_ctx *ctx, struct kat_relay *relay,
		 const struct kat_redirect *r, const struct kat_segment *segment,
		 const kat_relay_devices ingress, const kat_relay_devices egress,
		 bool switched)
{
	struct kat_nft_redirect redirect = {.oif = segment->link.index};
	struct kat_nft_batch *batch = &relay->setup;
	const char *table = relay->table;
	char counter[KAT_RELAY_NAME];

	memcpy(redirect.to, segment->peer_mac, sizeof(redirect.to));
	memcpy(redirect.from, segment->mac, sizeof(redirect.from));
	redirect.counter = counter;
	kat_relay_begin(batch, table, relay->nics);
	kat_nft_add_chain(batch, table, REDIRECT);
	for (size_t i = 0; i < r->count; i++) {
		kat_relay_counter(counter, r->ips[i].nic);
		redirect.guest = r->ips[i].addr;
		kat_nft_add_redirect(batch, table, REDIRECT, &redirect);
	}
	kat_nft_add_hook(batch, table, INGRESS, NF_NETDEV_INGRESS, INGRESS_PRIORITY,
			 ingress);
	kat_nft_add_hook(batch, table, EGRESS, NF_NETDEV_EGRESS, EGRESS_PRIORITY, egress);
	if (switched) {
		kat_nft_add_jump(batch, table, INGRESS, REDIRECT);
		kat_nft_add_jump(batch, table, EGRESS, REDIRECT);
	}
	return kat_nft_end(batch) < 0 ? build_fail(ctx, relay) : 0;
}

int kat_relay_build(struct katamaran_ctx *ctx, struct kat_relay *relay,
		    const struct kat_redirect *r, const struct kat_segment *segment,
		    const kat_relay_devices ingress, const kat_relay_devices egress)
{
	if (build(ctx, relay, r, segment, ingress, egress, true) < 0)
		return -1;
	if (kat_nft_check(relay->nft, &relay->setup, katamaran_deadline_ns(ctx)) < 0)
		return fail(ctx, relay, "make");
	return build(ctx, relay, r, segment, ingress, egress, false);
}

static void see_table(const char *name, uint32_t owner, void *data)
{
	struct katamaran_ctx *ctx = data;

	if (strncmp(name, TABLE, strlen(TABLE)) != 0)
		return;
	if (owner)
		katamaran_finding(ctx, KATAMARAN_OK, "leftovers",
				  "table netdev %s is of a migration that is running",
				  name);
	else
		katamaran_finding(
			ctx, KATAMARAN_WARNING, "leftovers",
			"table netdev %s is of an earlier migration, and may "
			"redirect a guest's packets: nft delete table netdev %s",
			name, name);
}

void kat_relay_leftovers(struct katamaran_ctx *ctx)
{
	struct kat_nft *nft = kat_nft_open();

	if (!nft)
		return; /* without nf_tables there are none */
	if (kat_nft_tables(nft, see_table, ctx, katamaran_deadline_ns(ctx)) < 0)
		katamaran_log(ctx, LOG_DEBUG, "nftables: cannot list the tables: %s",
			      kat_nft_error(nft));
	kat_nft_close(nft);
}

int kat_relay_make(struct katamaran_ctx *ctx, struct kat_relay *relay)
{
	int ret = kat_nft_send(relay->nft, &relay->setup, katamaran_deadline_ns(ctx));

	relay->made = ret == 0 || errno == ETIMEDOUT;
	return ret < 0 ? fail(ctx, relay, "make") : 0;
}

static int switch_on(struct katamaran_ctx *ctx, struct kat_relay *relay,
		     struct kat_nft_batch *batch)
{
	if (kat_nft_send(relay->nft, batch, katamaran_deadline_ns(ctx)) < 0)
		return fail(ctx, relay, "redirect the guest's packets by");
	return 0;
}

int kat_relay_switch_ingress(struct katamaran_ctx *ctx, struct kat_relay *relay)
{
	return switch_on(ctx, relay, &relay->at_ingress);
}

int kat_relay_switch_egress(struct katamaran_ctx *ctx, struct kat_relay *relay)
{
	return switch_on(ctx, relay, &relay->at_egress);
}

int kat_relay_count(struct katamaran_ctx *ctx, struct kat_relay *relay,
		    struct kat_hold *hold, uint64_t *packets)
{
	char counter[KAT_RELAY_NAME];
	uint64_t now;

	*packets = 0;
	for (size_t nic = 0; nic < relay->nics; nic++) {
		kat_relay_counter(counter, nic);
		if (kat_nft_counter(relay->nft, relay->table, counter, &now,
				    katamaran_deadline_ns(ctx)) < 0)
			return fail(ctx, relay, "read the counters of");
		katamaran_count(ctx, nic, KATAMARAN_REDIRECTED,
				now - relay->counted[nic]);
		if (hold && now != relay->counted[nic])
			kat_hold_needed(hold, nic);
		relay->counted[nic] = now;
		*packets += now;
	}
	return 0;
}

void kat_relay_remove(struct katamaran_ctx *ctx, struct kat_relay *relay)
{
	int64_t deadline = katamaran_deadline_ns(ctx);
	uint64_t packets;

	if (!relay->made)
		return;
	relay->made = false;
	/* Counted when it is off already, so that nothing is missed. */
	if (kat_nft_send(relay->nft, &relay->off, deadline) == 0 &&
	    kat_relay_count(ctx, relay, NULL, &packets) == 0 &&
	    kat_nft_send(relay->nft, &relay->remove, deadline) == 0)
		return;
	katamaran_log(ctx, LOG_WARNING,
		      "nftables: table netdev %s: cannot remove it in order: %s",
		      relay->table, kat_nft_error(relay->nft));
}

void kat_relay_close(struct kat_relay *relay)
{
	kat_nft_close(relay->nft);
	relay->nft = NULL;
	free(relay->counted);
	relay->counted = NULL;
}
