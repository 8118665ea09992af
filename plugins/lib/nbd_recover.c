/* SPDX-License-Identifier: BSD-2-Clause */
#define KATAMARAN_API_VERSION 1
#include "katamaran-plugin.h"
#include "plugins/lib/nbd_recover.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <json-c/json_object.h>
#include "plugins/lib/nbd.h"
#include "plugins/lib/nbd_dest.h"
#include "plugins/lib/nbd_undo.h"

#define POLL_MS	   20
#define WORD_BYTES 256

/* With its QEMU all of it has gone. */
static int unless_gone(void)
{
	return errno == ECONNRESET ? 0 : -1;
}

static int broken(struct katamaran_ctx *ctx, const char *record)
{
	katamaran_error(ctx, "a record of the journal is not to be understood: %.100s",
			record);
	return -1;
}

static int recover_mirror(struct katamaran_ctx *ctx, const char *record)
{
	char host[WORD_BYTES], name[WORD_BYTES];
	struct kat_nbd_drive drive = {.name = name, .has_job = true, .has_node = true};
	struct kat_nbd nbd = {.n = 1, .drives = &drive, .host = host};

	if (sscanf(record, "mirror %d %31s %255s %255[^\n]", &nbd.port, drive.id, host,
		   name) != 4)
		return broken(ctx, record);
	if (katamaran_qmp(ctx, "query-status", NULL, NULL) < 0)
		return unless_gone();
	kat_nbd_undo(ctx, &nbd);
	if (!drive.has_job && !drive.has_node)
		return 0;
	katamaran_error(ctx, "drive %s: its mirror or its node %s does not go", name,
			drive.id);
	return -1;
}

/* 1: QEMU has the export; 0: not. */
static int has_export(struct katamaran_ctx *ctx, const char *id)
{
	char quoted[WORD_BYTES + 2];
	const char *reply;

	if (katamaran_qmp(ctx, "query-block-exports", NULL, &reply) < 0)
		return unless_gone();
	snprintf(quoted, sizeof(quoted), "\"%s\"", id);
	return strstr(reply, quoted) != NULL;
}

static int recover_export(struct katamaran_ctx *ctx, const char *record)
{
	char id[WORD_BYTES];
	struct json_object *args;
	int has;

	if (sscanf(record, "export %255s", id) != 1)
		return broken(ctx, record);
	has = has_export(ctx, id);
	if (has <= 0)
		return has;
	args = kat_nbd_args("id", id);
	json_object_object_add(args, "mode", json_object_new_string("hard"));
	if (kat_nbd_qmp(ctx, "block-export-del", args, NULL) < 0)
		return unless_gone();
	while ((has = has_export(ctx, id)) > 0 && katamaran_ms_left(ctx))
		poll(NULL, 0, POLL_MS);
	if (has > 0)
		katamaran_error(ctx, "export %s: does not go", id);
	return has ? -1 : 0;
}

/* QEMU does not say whether it serves: it refuses to stop where it does not. */
static int recover_server(struct katamaran_ctx *ctx, const char *record)
{
	int port;

	if (sscanf(record, "server %d", &port) != 1)
		return broken(ctx, record);
	if (kat_nbd_stop_server(ctx, port) < 0 && errno != EREMOTEIO)
		return unless_gone();
	return 0;
}

/* While QEMU migrates it may hand the guest over: that is ended first. */
static int recover_held(struct katamaran_ctx *ctx, int outcome)
{
	int moves = outcome == KATAMARAN_DONE ? 0 : kat_nbd_let_go(ctx);

	if (moves > 0)
		katamaran_error(ctx, "the guest is paused, and QEMU still migrates it");
	return moves < 0 ? unless_gone() : -moves;
}

int kat_nbd_recover(struct katamaran_ctx *ctx, const char *record, int outcome)
{
	/* What the guest wrote is in the disks, wherever it runs now. */
	if (!strncmp(record, "mirror ", 7))
		return recover_mirror(ctx, record);
	if (!strncmp(record, "export ", 7))
		return recover_export(ctx, record);
	if (!strncmp(record, "server ", 7))
		return recover_server(ctx, record);
	if (!strcmp(record, "held"))
		return recover_held(ctx, outcome);
	return broken(ctx, record);
}
