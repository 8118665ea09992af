/* SPDX-License-Identifier: BSD-2-Clause */
/* A stranger's plugin: built against a frozen copy of the header, every function used. */
#define KATAMARAN_API_VERSION 1
#include "katamaran-plugin-1.0.h"

#include <stdio.h>
#include <stdlib.h>

static int good_open(struct katamaran_ctx *ctx, void **handle)
{
	const char *const *list;

	*handle = malloc(1);
	if (!*handle) {
		katamaran_error(ctx, "no memory: %m");
		return -1;
	}
	katamaran_log(ctx, 7, "%s %lld %d %zu", katamaran_conf_string(ctx, "text"),
		      (long long)katamaran_conf_int(ctx, "number"),
		      katamaran_conf_bool(ctx, "flag"),
		      katamaran_conf_list(ctx, "list", &list));
	katamaran_log(ctx, 7, "%u %s %s %s %s %d %d %d", katamaran_role(ctx),
		      katamaran_migration_id(ctx), katamaran_vm_name(ctx),
		      katamaran_vm_uuid(ctx),
		      katamaran_peer(ctx) ? katamaran_peer(ctx) : "",
		      katamaran_qemu_pid(ctx), katamaran_qemu_pidfd(ctx),
		      katamaran_guest_running(ctx));
	for (size_t i = 0; i < katamaran_nic_count(ctx); i++)
		katamaran_log(ctx, 7, "%s %s %p %zu", katamaran_nic_tap(ctx, i),
			      katamaran_nic_netns(ctx, i),
			      (const void *)katamaran_nic_mac(ctx, i),
			      katamaran_nic_ips(ctx, i, &list));
	return 0;
}

static int good_check(struct katamaran_ctx *ctx, void *handle)
{
	(void)handle;
	katamaran_finding(ctx, KATAMARAN_OK, "luck", "%s", "good");
	return 0;
}

static int good_pre_copy(struct katamaran_ctx *ctx, void *handle)
{
	const char *reply;

	(void)handle;
	katamaran_progress(ctx, 1, 2, "steps");
	if (katamaran_qmp(ctx, "query-status", NULL, &reply) < 0)
		return -1;
	return katamaran_qmp_event(ctx, "STOP", NULL, NULL, &reply);
}

static int good_on_stop(struct katamaran_ctx *ctx, void *handle)
{
	(void)handle;
	katamaran_count(ctx, 0, KATAMARAN_REDIRECTED, 1);
	return katamaran_deadline_ns(ctx) && katamaran_ms_left(ctx) ? 0 : -1;
}

static int good_on_resume(struct katamaran_ctx *ctx, void *handle, unsigned int round)
{
	(void)handle;
	katamaran_doubt(ctx, "round %u", round);
	return round < 1 ? 1 : 0;
}

static void good_cleanup(struct katamaran_ctx *ctx, void *handle, int outcome)
{
	katamaran_log(ctx, 7, "outcome %d", outcome);
	free(handle);
}

static void good_dump(void)
{
	puts("good.extra=1");
}

static const struct katamaran_option options[] = {
	{.name = "text",
	 .type = KATAMARAN_STRING,
	 .flags = KATAMARAN_REQUIRED,
	 .help = "a text"},
	{.name = "number", .type = KATAMARAN_INT, .dflt = "7", .min = 1, .max = 9},
	{.name = "flag", .type = KATAMARAN_BOOL},
	{.name = "list", .type = KATAMARAN_LIST},
	{.name = NULL},
};

static struct katamaran_plugin plugin = {
	.name = "good",
	.kind = KATAMARAN_CUTOVER,
	.roles = KATAMARAN_SOURCE | KATAMARAN_DESTINATION,
	.version = "1",
	.description = "built against the header of 1.0",
	.options = options,
	.open = good_open,
	.pre_copy = good_pre_copy,
	.on_stop = good_on_stop,
	.on_resume = good_on_resume,
	.cleanup = good_cleanup,
	.dump = good_dump,
	.check = good_check,
};
KATAMARAN_REGISTER_PLUGIN(plugin)
