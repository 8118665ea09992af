/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A mirror whose job ends by force, or by an error, while a write of the guest is
 * under way, frees what that write still needs: block/mirror.c of QEMU 7.2 frees
 * its bitmap of requests before it drains the disk.  Measured, with a guest that
 * writes all the time: 4 of 25 jobs that were ended by force, and 5 of 16 that
 * lost their connection, took QEMU with them or hung it.  So no job ends by an
 * error (kat_nbd_args_mirror()), and where one is to end by force
 *
 *	the connections are cut, so that no write waits for the destination,
 *	the guest is stopped, which ends all writes under way,
 *	the jobs end, and the guest goes on.
 */
#define KATAMARAN_API_VERSION 1
#include "katamaran-plugin.h"
#include "plugins/lib/nbd_undo.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <json-c/json_object.h>
#include "plugins/lib/nbd.h"
#include "plugins/lib/nbd_socket.h"

#define POLL_MS 2

static bool has_anything(const struct kat_nbd *nbd)
{
	for (size_t i = 0; i < nbd->n; i++)
		if (nbd->drives[i].has_job || nbd->drives[i].has_node)
			return true;
	return false;
}

/* ---- the guest, held ---- */

/* The text of the member "status" that a command answers, as "\"running\"". */
static bool status_is(const char *reply, const char *const *words)
{
	char quoted[64];

	for (; *words; words++) {
		snprintf(quoted, sizeof(quoted), "\"status\":\"%s\"", *words);
		if (strstr(reply, quoted))
			return true;
	}
	return false;
}

static const char *const running[] = {"running", NULL};
static const char *const paused[] = {"paused", NULL};
static const char *const under_way[] = {
	"setup", "active", "pre-switchover", "device", "cancelling", "wait-unplug", NULL};

/* 1: QEMU may yet hand the guest over, and its run state is not ours to change. */
static int may_move(struct katamaran_ctx *ctx)
{
	const char *reply;

	if (katamaran_qmp(ctx, "query-migrate", NULL, &reply) < 0)
		return -1;
	return status_is(reply, under_way);
}

/* From here until let_go() the guest's disk has no write under way.  0 or -1. */
static int hold(struct katamaran_ctx *ctx, bool *held)
{
	const char *reply;
	int moves;

	*held = false;
	if (katamaran_qmp(ctx, "query-status", NULL, &reply) < 0)
		return -1;
	if (!status_is(reply, running))
		return 0;
	moves = may_move(ctx);
	if (moves) {
		if (moves > 0)
			katamaran_error(ctx, "QEMU still migrates the guest");
		return -1;
	}
	if (katamaran_journal(ctx, "held") < 0)
		return -1;
	*held = true;
	return katamaran_qmp(ctx, "stop", NULL, NULL);
}

static int let_go(struct katamaran_ctx *ctx)
{
	if (katamaran_qmp(ctx, "cont", NULL, NULL) == 0)
		return 0;
	katamaran_error(ctx,
			"the guest was paused for its mirrors to end and does not go "
			"on: send {\"execute\": \"cont\"} to QEMU");
	return -1;
}

int kat_nbd_let_go(struct katamaran_ctx *ctx)
{
	const char *reply;
	int moves;

	if (katamaran_qmp(ctx, "query-status", NULL, &reply) < 0)
		return -1;
	if (!status_is(reply, paused))
		return 0;
	moves = may_move(ctx);
	return moves ? moves : let_go(ctx);
}

/* ---- the jobs ---- */

static bool runs(const struct kat_nbd_drive *drive)
{
	return drive->has_job && drive->job.found &&
	       strcmp(drive->job.status, "concluded") != 0;
}

static bool any_runs(const struct kat_nbd *nbd)
{
	for (size_t i = 0; i < nbd->n; i++)
		if (runs(&nbd->drives[i]))
			return true;
	return false;
}

/* From outside; or by QEMU, if its descriptors are out of reach and it listens. */
static void cut_connections(struct katamaran_ctx *ctx, const struct kat_nbd *nbd)
{
	if (kat_nbd_cut(ctx, nbd->host, nbd->port))
		return;
	for (size_t i = 0; i < nbd->n; i++)
		if (nbd->drives[i].has_job && nbd->drives[i].has_node)
			kat_nbd_qmp(ctx, "yank", kat_nbd_args_yank(&nbd->drives[i]),
				    NULL);
}

static void cancel_jobs(struct katamaran_ctx *ctx, struct kat_nbd *nbd)
{
	for (size_t i = 0; i < nbd->n; i++) {
		struct kat_nbd_drive *drive = &nbd->drives[i];
		struct json_object *args;

		if (!runs(drive))
			continue;
		drive->mirrors = false;
		args = kat_nbd_args("device", drive->id);
		json_object_object_add(args, "force", json_object_new_boolean(true));
		kat_nbd_qmp(ctx, "block-job-cancel", args, NULL);
	}
}

/* Takes away the jobs that have ended; true when none is left. */
static bool dismiss_jobs(struct katamaran_ctx *ctx, struct kat_nbd *nbd)
{
	bool left = false;

	for (size_t i = 0; i < nbd->n; i++) {
		struct kat_nbd_drive *drive = &nbd->drives[i];

		if (!drive->has_job)
			continue;
		if (runs(drive)) {
			left = true;
			continue;
		}
		if (drive->job.found)
			kat_nbd_qmp(ctx, "job-dismiss", kat_nbd_args("id", drive->id),
				    NULL);
		drive->has_job = false;
	}
	return !left;
}

void kat_nbd_cancelled(struct katamaran_ctx *ctx, struct kat_nbd *nbd)
{
	bool any = false;

	for (size_t i = 0; i < nbd->n; i++) {
		any = any || nbd->drives[i].mirrors;
		nbd->drives[i].mirrors = false;
	}
	if (any)
		kat_nbd_cut(ctx, nbd->host, nbd->port);
}

/* Whether they end now; `held`: the guest is to be let go then. */
static bool break_jobs(struct katamaran_ctx *ctx, struct kat_nbd *nbd, bool *held)
{
	*held = false;
	if (!any_runs(nbd))
		return true;
	cut_connections(ctx, nbd);
	if (hold(ctx, held) < 0)
		return false;
	cancel_jobs(ctx, nbd);
	return kat_nbd_read_jobs(ctx, nbd) == 0;
}

/* Half of the time is for the guest to be let go in. */
static void end_jobs(struct katamaran_ctx *ctx, struct kat_nbd *nbd)
{
	int before_ms, reserve_ms = katamaran_ms_left(ctx) / 2;
	bool end, held;

	if (kat_nbd_read_jobs(ctx, nbd) < 0)
		return;
	before_ms = katamaran_ms_left(ctx);
	end = break_jobs(ctx, nbd, &held);
	while (end && !dismiss_jobs(ctx, nbd) && katamaran_ms_left(ctx) > reserve_ms) {
		poll(NULL, 0, POLL_MS);
		end = kat_nbd_read_jobs(ctx, nbd) == 0;
	}
	if (held && let_go(ctx) == 0)
		katamaran_log(ctx, LOG_INFO,
			      "the guest was paused for %d ms, for its mirrors to end "
			      "(without vhost QEMU may have dropped two packets of each "
			      "queue of its taps)",
			      before_ms - katamaran_ms_left(ctx));
}

/* A command that was interrupted has been heard, or has failed: QEMU knows. */
static void look_for_nodes(struct katamaran_ctx *ctx, struct kat_nbd *nbd)
{
	const char *reply;
	uint64_t size;

	if (katamaran_qmp(ctx, "query-named-block-nodes", "{\"flat\": true}", &reply) < 0)
		return;
	for (size_t i = 0; i < nbd->n; i++)
		nbd->drives[i].has_node =
			nbd->drives[i].has_node &&
			kat_nbd_node_size(reply, nbd->drives[i].id, &size);
}

void kat_nbd_undo(struct katamaran_ctx *ctx, struct kat_nbd *nbd)
{
	if (!has_anything(nbd) || kat_nbd_qemu_gone(ctx))
		return;
	end_jobs(ctx, nbd);
	look_for_nodes(ctx, nbd);
	for (size_t i = 0; i < nbd->n; i++) {
		struct kat_nbd_drive *drive = &nbd->drives[i];

		if (drive->has_job)
			katamaran_error(ctx,
					"drive %s: its mirror %s does not end (by hand: "
					"QMP stop, block-job-cancel with force, cont, "
					"blockdev-del)",
					drive->name, drive->id);
		else if (drive->has_node &&
			 kat_nbd_qmp(ctx, "blockdev-del",
				     kat_nbd_args("node-name", drive->id), NULL) == 0)
			drive->has_node = false;
	}
}
