/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * storage-nbd: copies the guest's disks while it runs.  The destination's QEMU
 * exports its disks by NBD, the source's mirrors to them.  plugins/lib/nbd*.c
 * do the work; here is when.
 */
#define KATAMARAN_API_VERSION 1
#include "katamaran-plugin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include "plugins/lib/drives.h"
#include "plugins/lib/nbd.h"
#include "plugins/lib/nbd_check.h"
#include "plugins/lib/nbd_dest.h"
#include "plugins/lib/nbd_recover.h"
#include "plugins/lib/nbd_source.h"
#include "plugins/lib/nbd_undo.h"

static const struct katamaran_option options[] = {
	{"drives", KATAMARAN_LIST, 0, NULL,
	 "the drives to copy, as QEMU names them on both ends; none: all writable ones",
	 0, 0},
	{"port", KATAMARAN_INT, 0, "10809",
	 "TCP port of the destination's NBD server; 0: one that is free, told to the "
	 "source",
	 0, 65535},
	{"address", KATAMARAN_STRING, 0, "",
	 "address of the destination that the NBD server listens on", 0, 0},
	{"tls_creds", KATAMARAN_STRING, 0, "",
	 "id of this QEMU's tls-creds object for the NBD connection", 0, 0},
	{"progress_s", KATAMARAN_INT, 0, "5",
	 "seconds between two lines on how far the copy is; 0: none", 0, 3600},
	{"job_appear_s", KATAMARAN_INT, 0, "30",
	 "seconds until QEMU must show the mirror's job", 1, 3600},
	{"stall_s", KATAMARAN_INT, 0, "30",
	 "seconds that a silent destination may hold up the guest; 0: as TCP has it", 0,
	 86400},
	{.name = NULL},
};

static int nbd_open(struct katamaran_ctx *ctx, void **handle)
{
	struct kat_nbd *nbd = calloc(1, sizeof(*nbd));

	if (!nbd) {
		katamaran_error(ctx, "no memory: %m");
		return -1;
	}
	if (kat_nbd_find(ctx, nbd) < 0) {
		kat_nbd_free(nbd);
		free(nbd);
		return -1;
	}
	*handle = nbd;
	return 0;
}

/* The contents are copied, whatever the file around them; but it may not be meant. */
static void compare_format(struct katamaran_ctx *ctx, const char *name, const char *key,
			   const char *here)
{
	const char *there = katamaran_learn(ctx, key);

	if (there && strcmp(there, here) != 0)
		katamaran_finding(ctx, KATAMARAN_WARNING, "drive",
				  "%s is %s here and %s on the destination: its contents "
				  "are copied all the same; if that is not meant, start "
				  "the destination's QEMU with format=%s",
				  name, here, there, here);
}

static int see_format(struct katamaran_ctx *ctx, const struct kat_drive *drive,
		      void *data)
{
	const char *format = kat_drive_format(drive);
	const struct kat_nbd *nbd = data;
	char key[512];

	for (size_t i = 0; format && i < nbd->n; i++) {
		if (strcmp(nbd->drives[i].node, drive->node) != 0)
			continue;
		snprintf(key, sizeof(key), "format.%s", nbd->drives[i].name);
		if (katamaran_role(ctx) == KATAMARAN_DESTINATION)
			katamaran_publish(ctx, key, format);
		else
			compare_format(ctx, nbd->drives[i].name, key, format);
	}
	return 0;
}

static int nbd_check(struct katamaran_ctx *ctx, void *handle)
{
	if (kat_drives_each(ctx, see_format, handle) < 0)
		return -1;
	return kat_nbd_check(ctx, handle);
}

static int nbd_pre_copy(struct katamaran_ctx *ctx, void *handle)
{
	struct kat_nbd *nbd = handle;

	if (katamaran_role(ctx) == KATAMARAN_DESTINATION)
		return kat_nbd_serve(ctx, nbd);
	if (nbd->n)
		return kat_nbd_start(ctx, nbd);
	katamaran_log(ctx, LOG_INFO, "the guest has no writable drive");
	return 0;
}

static int nbd_on_stop(struct katamaran_ctx *ctx, void *handle)
{
	if (katamaran_role(ctx) == KATAMARAN_DESTINATION)
		return kat_nbd_close(ctx, handle, false);
	if (kat_nbd_finish(ctx, handle) < 0)
		return -1;
	katamaran_log(ctx, LOG_INFO, "Storage mirror drained and closed.");
	return 0;
}

/*
 * Not connected, the destination learns only now that the source has finished.
 * That is too late for the guest's blackout: the packets that it waits for go
 * first, and the server is closed a millisecond later.
 */
static int nbd_on_resume(struct katamaran_ctx *ctx, void *handle, unsigned int round)
{
	struct kat_nbd *nbd = handle;

	if (katamaran_role(ctx) == KATAMARAN_SOURCE || !nbd->serving)
		return 0;
	if (round == 0)
		return 1;
	if (kat_nbd_close(ctx, nbd, false) < 0)
		return -1;
	katamaran_log(ctx, LOG_INFO, "NBD server stopped.");
	return 0;
}

static void nbd_cleanup(struct katamaran_ctx *ctx, void *handle, int outcome)
{
	struct kat_nbd *nbd = handle;

	if (katamaran_role(ctx) == KATAMARAN_SOURCE)
		kat_nbd_undo(ctx, nbd);
	else if (nbd->serving && !kat_nbd_qemu_gone(ctx))
		kat_nbd_close(ctx, nbd, outcome != KATAMARAN_DONE);
	kat_nbd_free(nbd);
	free(nbd);
}

static int nbd_on_event(struct katamaran_ctx *ctx, void *handle, const char *event,
			const char *json)
{
	if (katamaran_role(ctx) == KATAMARAN_DESTINATION)
		return 0;
	if (!strcmp(event, "MIGRATION") &&
	    (strstr(json, "\"cancelling\"") || strstr(json, "\"failed\"")))
		kat_nbd_cancelled(ctx, handle);
	return kat_nbd_judge_event(ctx, handle, event, json);
}

static struct katamaran_plugin plugin = {
	.name = "nbd",
	.kind = KATAMARAN_STORAGE,
	.roles = KATAMARAN_SOURCE | KATAMARAN_DESTINATION,
	.version = "1",
	.description = "the disks are copied over NBD while the guest runs",
	.options = options,
	.open = nbd_open,
	.pre_copy = nbd_pre_copy,
	.on_stop = nbd_on_stop,
	.on_resume = nbd_on_resume,
	.cleanup = nbd_cleanup,
	.on_event = nbd_on_event,
	.recover = kat_nbd_recover,
	.check = nbd_check,
};
KATAMARAN_REGISTER_PLUGIN(plugin)
