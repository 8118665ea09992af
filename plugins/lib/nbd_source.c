/* SPDX-License-Identifier: BSD-2-Clause */
#define KATAMARAN_API_VERSION 1
#include "katamaran-plugin.h"
#include "plugins/lib/nbd_source.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <json-c/json_object.h>
#include "plugins/lib/nbd.h"
#include "plugins/lib/nbd_probe.h"
#include "plugins/lib/nbd_socket.h"

#define NS_PER_S INT64_C(1000000000)
#define POLL_MS	 200 /* between two looks at the jobs while they copy */
#define MIB	 1048576.0

/* How the copy goes on, for the log and for patience. */
struct watch {
	int64_t start_ns, told_ns, moved_ns;
	uint64_t done, total; /* of all drives */
	uint64_t told_done;
	int budget_s; /* storage_sync_s */
};

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

/* ---- where the exports are ---- */

static int find_server(struct katamaran_ctx *ctx, struct kat_nbd *nbd)
{
	const char *host = katamaran_learn(ctx, "host");
	const char *port = katamaran_learn(ctx, "port");

	if (!host && !kat_nbd_is_wildcard(katamaran_conf_string(ctx, "address")))
		host = katamaran_conf_string(ctx, "address");
	if (!host)
		host = katamaran_peer(ctx);
	nbd->port = port ? atoi(port) : (int)katamaran_conf_int(ctx, "port");
	if (!host || !*host) {
		katamaran_error(ctx, "the destination's address is not known");
		return -1;
	}
	if (!nbd->port) {
		katamaran_error(ctx,
				"port = 0: the destination chooses a port, and there "
				"is no connection over which it could tell it; set "
				"the same port on both ends");
		return -1;
	}
	free(nbd->host);
	nbd->host = strdup(host);
	if (!nbd->host)
		abort();
	return kat_nbd_probe(ctx, nbd->host, nbd->port);
}

int kat_nbd_check_offer(struct katamaran_ctx *ctx, const struct kat_nbd_drive *drive)
{
	const char *drives = katamaran_learn(ctx, "drives");
	kat_cleanup_text char *key = NULL;
	const char *size;

	if (!drives)
		return 0; /* each end runs alone */
	if (asprintf(&key, "size.%s", drive->name) < 0)
		abort();
	size = katamaran_learn(ctx, key);
	if (!size) {
		katamaran_error(ctx, "the destination has no drive %s; it offers: %s",
				drive->name, drives);
		return -1;
	}
	return kat_nbd_check_size(ctx, drive, strtoull(size, NULL, 10));
}

static int add_node(struct katamaran_ctx *ctx, struct kat_nbd *nbd,
		    struct kat_nbd_drive *drive)
{
	kat_cleanup_text char *where = kat_nbd_where(nbd->host, nbd->port);
	const char *reply;
	uint64_t there;

	if (katamaran_journal(ctx, "mirror %d %s %s %s", nbd->port, drive->id, nbd->host,
			      drive->name) < 0)
		return -1;
	if (kat_nbd_qmp(ctx, "blockdev-add",
			kat_nbd_args_node(nbd, drive,
					  katamaran_conf_string(ctx, "tls_creds")),
			NULL) < 0) {
		drive->has_node = errno != EREMOTEIO; /* or it comes yet, unawaited */
		if (!drive->has_node)
			katamaran_error(ctx,
					"drive-mirror failed: cannot open the export %s "
					"at %s (does the destination's configuration "
					"have this drive?)",
					drive->name, where);
		return -1;
	}
	drive->has_node = true;
	if (katamaran_qmp(ctx, "query-named-block-nodes", "{\"flat\": true}", &reply) < 0)
		return -1;
	if (!kat_nbd_node_size(reply, drive->id, &there)) {
		katamaran_error(ctx, "drive %s: QEMU does not tell the size of %s at %s",
				drive->name, drive->id, where);
		return -1;
	}
	return kat_nbd_check_size(ctx, drive, there);
}

/* A destination that has lost its power says nothing: TCP must. */
static void limit_silence(struct katamaran_ctx *ctx, const struct kat_nbd *nbd)
{
	int stall_s = (int)katamaran_conf_int(ctx, "stall_s");

	if (stall_s && !kat_nbd_limit_silence(ctx, nbd->host, nbd->port, stall_s))
		katamaran_log(ctx, LOG_WARNING,
			      "QEMU's NBD connections are out of reach (pidfd_getfd): "
			      "should the destination fall silent while the RAM is "
			      "copied, the guest's writes wait until TCP gives up");
}

/* ---- the copy ---- */

/*
 * A copy in the background leaves the guest its speed, but must end with its
 * writes waiting for the copy: QEMU 8.2 and later can change over.
 */
static int can_change(struct katamaran_ctx *ctx, bool *can)
{
	const char *reply;

	if (katamaran_qmp(ctx, "query-commands", NULL, &reply) < 0)
		return -1;
	*can = strstr(reply, "\"block-job-change\"");
	return 0;
}

static int add_mirrors(struct katamaran_ctx *ctx, struct kat_nbd *nbd)
{
	bool background;

	if (can_change(ctx, &background) < 0)
		return -1;
	for (size_t i = 0; i < nbd->n; i++) {
		struct kat_nbd_drive *drive = &nbd->drives[i];

		drive->background = background;
		if (kat_nbd_qmp(ctx, "blockdev-mirror", kat_nbd_args_mirror(drive),
				NULL) < 0) {
			drive->has_job = errno != EREMOTEIO;
			katamaran_error(
				ctx, "drive-mirror failed: QEMU does not copy drive %s",
				drive->name);
			return -1;
		}
		drive->has_job = true;
		drive->mirrors = true;
	}
	return 0;
}

/*
 * One whole pass is enough of the background: a guest that writes faster than
 * the link would never let it end.
 */
static int stop_background(struct katamaran_ctx *ctx, struct kat_nbd_drive *drive)
{
	if (!drive->background || (!drive->job.ready && drive->job.done < drive->size))
		return 0;
	drive->background = false;
	drive->changed = true;
	drive->job.synced = false;
	return kat_nbd_qmp(ctx, "block-job-change", kat_nbd_args_blocking(drive), NULL);
}

static bool is_in_step(const struct kat_nbd_drive *drive)
{
	return drive->job.ready && !drive->background &&
	       (drive->job.synced || !drive->changed);
}

static int judge_job(struct katamaran_ctx *ctx, struct kat_nbd_drive *drive,
		     const struct watch *watch)
{
	int64_t appear_s = katamaran_conf_int(ctx, "job_appear_s");
	const struct kat_nbd_job *job = &drive->job;

	if (!job->found && now_ns() - watch->start_ns > appear_s * NS_PER_S) {
		katamaran_error(ctx,
				"drive-mirror failed: job %s of drive %s did not appear "
				"within %" PRId64 " s",
				drive->id, drive->name, appear_s);
		return -1;
	}
	if (job->failed || !strcmp(job->status, "aborting") ||
	    !strcmp(job->status, "concluded")) {
		katamaran_error(
			ctx,
			"drive-mirror failed: drive %s, after %.1f of %.1f MiB: %s%s",
			drive->name, (double)job->done / MIB, (double)job->total / MIB,
			*job->error ? job->error : "somebody cancelled it",
			strcmp(job->error, "Input/output error") != 0
				? ""
				: " (the connection was lost, or a disk has failed)");
		return -1;
	}
	return stop_background(ctx, drive);
}

/* ---- how it goes on ---- */

static void sum_up(const struct kat_nbd *nbd, struct watch *watch)
{
	uint64_t before = watch->done;
	bool copying = false;

	watch->done = watch->total = 0;
	for (size_t i = 0; i < nbd->n; i++) {
		const struct kat_nbd_job *job = &nbd->drives[i].job;

		watch->done += job->done;
		watch->total += job->total;
		/* Not while QEMU looks at the image, or the destination flushes. */
		copying = copying || job->done < job->total;
	}
	if (watch->done != before || !copying)
		watch->moved_ns = now_ns();
}

static double rate(const struct watch *watch, int64_t since_ns, uint64_t since_done)
{
	double seconds = (double)(now_ns() - since_ns) / (double)NS_PER_S;

	return seconds > 0 ? (double)(watch->done - since_done) / seconds : 0;
}

static void tell(struct katamaran_ctx *ctx, struct watch *watch)
{
	int64_t every_ns = katamaran_conf_int(ctx, "progress_s") * NS_PER_S;
	double speed = rate(watch, watch->told_ns, watch->told_done);

	if (!every_ns || now_ns() - watch->told_ns < every_ns)
		return;
	katamaran_progress(ctx, watch->done, watch->total, "bytes");
	if (speed > 0)
		katamaran_log(ctx, LOG_INFO,
			      "storage sync: %.1f MiB/s, about %.0f s are left",
			      speed / MIB, (double)(watch->total - watch->done) / speed);
	else
		katamaran_log(ctx, LOG_INFO, "storage sync: nothing was copied in %.0f s",
			      (double)(now_ns() - watch->moved_ns) / (double)NS_PER_S);
	watch->told_ns = now_ns();
	watch->told_done = watch->done;
}

static double percent_of(const struct kat_nbd_drive *drive)
{
	return drive->job.total
		       ? 100.0 * (double)drive->job.done / (double)drive->job.total
		       : 0;
}

static const struct kat_nbd_drive *first_late(const struct kat_nbd *nbd)
{
	for (size_t i = 0; i < nbd->n; i++)
		if (!is_in_step(&nbd->drives[i]))
			return &nbd->drives[i];
	return NULL;
}

static int too_late(struct katamaran_ctx *ctx, const struct kat_nbd *nbd,
		    const struct watch *watch)
{
	const struct kat_nbd_drive *drive = first_late(nbd);

	katamaran_error(ctx,
			"storage sync for job %s (drive %s) did not complete within %d s "
			"(storage_sync_s): %.1f%% at %.1f MiB/s; the network or the "
			"destination's disk is too slow for the size of the disk, or "
			"for what the guest writes",
			drive->id, drive->name, watch->budget_s, percent_of(drive),
			rate(watch, watch->start_ns, 0) / MIB);
	return -1;
}

/* Both ends of patience: no time left, or nothing moves. */
static int check_time(struct katamaran_ctx *ctx, const struct kat_nbd *nbd,
		      const struct watch *watch)
{
	int64_t stall_s = katamaran_conf_int(ctx, "stall_s");
	const struct kat_nbd_drive *drive = first_late(nbd);

	if (stall_s && now_ns() - watch->moved_ns > stall_s * NS_PER_S) {
		katamaran_error(ctx,
				"storage sync for job %s (drive %s) has stood still at "
				"%.1f%% for %" PRId64
				" s (stall_s): the destination's QEMU "
				"or its disk hangs, or the network is cut",
				drive->id, drive->name, percent_of(drive), stall_s);
		return -1;
	}
	/* A poll and the commands after it must still fit. */
	return katamaran_ms_left(ctx) > 2 * POLL_MS ? 0 : too_late(ctx, nbd, watch);
}

static int await_step(struct katamaran_ctx *ctx, struct kat_nbd *nbd, int budget_s)
{
	struct watch watch = {.start_ns = now_ns(), .budget_s = budget_s};

	watch.told_ns = watch.moved_ns = watch.start_ns;
	for (;;) {
		/* No answer in what was left of the time: the copy is late all the same.
		 */
		if (kat_nbd_read_jobs(ctx, nbd) < 0)
			return katamaran_ms_left(ctx) > 0 ? -1
							  : too_late(ctx, nbd, &watch);
		for (size_t i = 0; i < nbd->n; i++)
			if (judge_job(ctx, &nbd->drives[i], &watch) < 0)
				return -1;
		if (!first_late(nbd))
			break;
		sum_up(nbd, &watch);
		tell(ctx, &watch);
		if (check_time(ctx, nbd, &watch) < 0)
			return -1;
		poll(NULL, 0, POLL_MS);
	}
	sum_up(nbd, &watch);
	katamaran_log(
		ctx, LOG_INFO,
		"Storage mirror synchronized (BLOCK_JOB_READY): %.1f MiB in %.1f s, "
		"%.1f MiB/s. From now on each write of the guest waits for its copy.",
		(double)watch.done / MIB,
		(double)(now_ns() - watch.start_ns) / (double)NS_PER_S,
		rate(&watch, watch.start_ns, 0) / MIB);
	return 0;
}

int kat_nbd_start(struct katamaran_ctx *ctx, struct kat_nbd *nbd)
{
	/* All of it is left yet; what comes before the copy may take of it. */
	int budget_s = (katamaran_ms_left(ctx) + 999) / 1000;
	kat_cleanup_text char *where = NULL;

	if (find_server(ctx, nbd) < 0)
		return -1;
	where = kat_nbd_where(nbd->host, nbd->port);
	for (size_t i = 0; i < nbd->n; i++)
		if (kat_nbd_check_offer(ctx, &nbd->drives[i]) < 0)
			return -1;
	for (size_t i = 0; i < nbd->n; i++)
		if (add_node(ctx, nbd, &nbd->drives[i]) < 0)
			return -1;
	limit_silence(ctx, nbd);
	katamaran_log(ctx, LOG_INFO, "Initiating storage mirror of %zu drive%s to %s...",
		      nbd->n, nbd->n == 1 ? "" : "s", where);
	if (add_mirrors(ctx, nbd) < 0)
		return -1;
	katamaran_log(ctx, LOG_INFO, "Waiting for storage mirror to synchronize...");
	return await_step(ctx, nbd, budget_s);
}

/* ---- the end ---- */

/* The mirror has sent all, or it says why not. */
static int await_end(struct katamaran_ctx *ctx, struct kat_nbd *nbd,
		     struct kat_nbd_drive *drive)
{
	const char *event;

	if (katamaran_qmp_event(ctx, "BLOCK_JOB_COMPLETED", "device", drive->id, &event) <
	    0) {
		int error = errno;

		/* One that fails stands, see kat_nbd_args_mirror(). */
		if (katamaran_qmp_event(ctx, "BLOCK_JOB_ERROR", "device", drive->id,
					&event) == 0)
			kat_nbd_judge_event(ctx, nbd, "BLOCK_JOB_ERROR", event);
		errno = error;
		return -1;
	}
	if (strstr(event, "\"error\""))
		return kat_nbd_judge_event(ctx, nbd, "BLOCK_JOB_COMPLETED", event);
	drive->mirrors = false;
	return 0;
}

int kat_nbd_finish(struct katamaran_ctx *ctx, struct kat_nbd *nbd)
{
	for (size_t i = 0; i < nbd->n; i++)
		if (kat_nbd_qmp(ctx, "block-job-cancel",
				kat_nbd_args("device", nbd->drives[i].id), NULL) < 0)
			return -1;
	for (size_t i = 0; i < nbd->n; i++)
		if (await_end(ctx, nbd, &nbd->drives[i]) < 0)
			return -1;
	for (size_t i = 0; i < nbd->n; i++) {
		struct kat_nbd_drive *drive = &nbd->drives[i];

		if (kat_nbd_qmp(ctx, "blockdev-del", kat_nbd_args("node-name", drive->id),
				NULL) == 0) {
			drive->has_node = false;
			continue;
		}
		if (errno != ETIMEDOUT)
			return -1;
		/* The disks are in step: a slow QEMU is no reason to take that back. */
		katamaran_log(ctx, LOG_INFO, "drive %s: its NBD node is removed later",
			      drive->name);
	}
	return 0;
}
