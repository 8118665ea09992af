/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * announce-self: QEMU tells the network where the guest is now.
 *
 * QEMU's migration does that too, by the announce- parameters of the
 * destination, when the guest starts.  Its first round comes without a round
 * trip of ours, so it stays; the others would be sent between those asked for
 * here, and are turned off until cleanup().
 */
#define KATAMARAN_API_VERSION 1
#include "katamaran-plugin.h"

#include <json-c/json.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <syslog.h>

/* Rounds that QEMU sends by itself meanwhile. */
#define OWN_ROUNDS 1

struct announce {
	int64_t rounds_before; /* QEMU's announce-rounds, -1: not changed */
};

static const struct katamaran_option options[] = {
	{"rounds", KATAMARAN_INT, 0, "5", "how many announcements", 1, 1000},
	{"initial", KATAMARAN_INT, 0, "50", "pause after the first, ms", 1, 100000},
	{"max", KATAMARAN_INT, 0, "550", "longest pause, ms", 1, 100000},
	{"step", KATAMARAN_INT, 0, "100",
	 "by how much a pause is longer than the last, ms", 0, 10000},
	{.name = NULL},
};

static int self_open(struct katamaran_ctx *ctx, void **handle)
{
	struct announce *a = calloc(1, sizeof(*a));

	if (!a) {
		katamaran_error(ctx, "announce-self: %m");
		return -1;
	}
	a->rounds_before = -1;
	*handle = a;
	return 0;
}

/* QEMU's announce-rounds, or -1. */
static int64_t read_rounds(const char *reply)
{
	struct json_object *json = json_tokener_parse(reply), *value;
	int64_t rounds = -1;

	if (json_object_is_type(json, json_type_object) &&
	    json_object_object_get_ex(json, "announce-rounds", &value))
		rounds = json_object_get_int64(value);
	json_object_put(json);
	return rounds;
}

static int set_rounds(struct katamaran_ctx *ctx, int64_t rounds)
{
	char arguments[64];

	snprintf(arguments, sizeof(arguments), "{\"announce-rounds\": %lld}",
		 (long long)rounds);
	return katamaran_qmp(ctx, "migrate-set-parameters", arguments, NULL);
}

static int self_pre_copy(struct katamaran_ctx *ctx, void *handle)
{
	struct announce *a = handle;
	const char *reply;
	int64_t rounds;

	if (katamaran_qmp(ctx, "query-migrate-parameters", NULL, &reply) < 0)
		return -1;
	rounds = read_rounds(reply);
	/* 0 is somebody's wish for silence; before 4.0 there is no such parameter. */
	if (rounds <= OWN_ROUNDS)
		return 0;
	if (katamaran_journal(ctx, "announce-rounds %lld", (long long)rounds) < 0 ||
	    set_rounds(ctx, OWN_ROUNDS) < 0)
		return -1;
	a->rounds_before = rounds;
	return 0;
}

static int self_on_resume(struct katamaran_ctx *ctx, void *handle, unsigned int round)
{
	char arguments[192];

	(void)handle;
	if (round > 0)
		return 0;
	snprintf(arguments, sizeof(arguments),
		 "{\"initial\": %lld, \"max\": %lld, \"rounds\": %lld, \"step\": %lld, "
		 "\"id\": \"katamaran\"}",
		 (long long)katamaran_conf_int(ctx, "initial"),
		 (long long)katamaran_conf_int(ctx, "max"),
		 (long long)katamaran_conf_int(ctx, "rounds"),
		 (long long)katamaran_conf_int(ctx, "step"));
	/* The guest runs and is reachable: no reason to fail. */
	if (katamaran_qmp(ctx, "announce-self", arguments, NULL) < 0)
		katamaran_log(
			ctx, LOG_WARNING,
			"QEMU did not announce the guest: the network may take longer to "
			"learn its place");
	return 0;
}

static void self_cleanup(struct katamaran_ctx *ctx, void *handle, int outcome)
{
	struct announce *a = handle;

	/* After a failure this QEMU may be gone, and that is no fault. */
	if (a->rounds_before >= 0 && set_rounds(ctx, a->rounds_before) < 0)
		katamaran_log(ctx, outcome == KATAMARAN_DONE ? LOG_WARNING : LOG_DEBUG,
			      "announce-rounds of QEMU stays at %d, it was %lld",
			      OWN_ROUNDS, (long long)a->rounds_before);
	free(a);
}

static int self_recover(struct katamaran_ctx *ctx, const char *record, int outcome)
{
	long long rounds;

	(void)outcome;
	if (sscanf(record, "announce-rounds %lld", &rounds) != 1) {
		katamaran_error(ctx,
				"a record of the journal is not to be understood: %.100s",
				record);
		return -1;
	}
	/* With its QEMU the setting has gone. */
	return set_rounds(ctx, rounds) < 0 && errno != ECONNRESET ? -1 : 0;
}

static struct katamaran_plugin plugin = {
	.name = "self",
	.kind = KATAMARAN_ANNOUNCE,
	.roles = KATAMARAN_DESTINATION,
	.version = "1",
	.description = "QEMU announces the guest by itself",
	.options = options,
	.open = self_open,
	.pre_copy = self_pre_copy,
	.on_resume = self_on_resume,
	.cleanup = self_cleanup,
	.recover = self_recover,
};
KATAMARAN_REGISTER_PLUGIN(plugin)
