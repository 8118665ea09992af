/* SPDX-License-Identifier: BSD-2-Clause */
#define KATAMARAN_API_VERSION 1
#include "katamaran-plugin.h"
#include "plugins/lib/nbd.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <json-c/json.h>
#include "plugins/lib/drives.h"

static void put_json(struct json_object **json)
{
	json_object_put(*json);
}
#define cleanup_json __attribute__((__cleanup__(put_json)))

void kat_nbd_free_text(char **text)
{
	free(*text);
	*text = NULL;
}

static char *copy(const char *text)
{
	char *new = strdup(text);

	if (!new)
		abort(); /* a name, while nothing is at stake */
	return new;
}

/* ---- which drives ---- */

/* What the callback fills: a slot for each name, or the next one. */
struct search {
	struct kat_nbd *nbd;
	const char *const *names;
	size_t n_names;
	char known[400]; /* for the message about a name that is not there */
};

static void note(struct search *search, const struct kat_drive *drive)
{
	size_t used = strlen(search->known);

	snprintf(search->known + used, sizeof(search->known) - used, "%s%s%s",
		 used ? ", " : "", drive->name, drive->read_only ? " (read-only)" : "");
}

static void fill(struct katamaran_ctx *ctx, struct kat_nbd *nbd, size_t slot,
		 const struct kat_drive *drive, const char *name)
{
	struct kat_nbd_drive *to = &nbd->drives[slot];

	to->name = copy(name);
	to->device = copy(*drive->device ? drive->device : drive->node);
	to->node = copy(drive->node);
	to->size = drive->size;
	snprintf(to->id, sizeof(to->id), "kat-nbd-%.8s-%zu", katamaran_migration_id(ctx),
		 slot);
	katamaran_log(ctx, LOG_INFO, "drive %s: node %s, %s, %" PRIu64 " bytes, %s",
		      to->name, to->node, drive->driver, to->size, drive->file);
}

static int fill_named(struct katamaran_ctx *ctx, struct search *search, size_t slot,
		      const struct kat_drive *drive)
{
	const char *name = search->names[slot];

	if (search->nbd->drives[slot].name) {
		katamaran_error(ctx,
				"the name %s means two drives of this guest; QEMU "
				"has: %s",
				name, search->known);
		return -1;
	}
	for (size_t i = 0; i < search->n_names; i++)
		if (search->nbd->drives[i].node &&
		    !strcmp(search->nbd->drives[i].node, drive->node)) {
			katamaran_error(ctx, "%s and %s are the same drive",
					search->nbd->drives[i].name, name);
			return -1;
		}
	if (drive->read_only) {
		katamaran_error(ctx,
				"drive %s is read-only: nothing in it changes, and the "
				"destination must have its contents already",
				name);
		return -1;
	}
	fill(ctx, search->nbd, slot, drive, name);
	return 0;
}

static int see_drive(struct katamaran_ctx *ctx, const struct kat_drive *drive, void *data)
{
	struct search *search = data;
	struct kat_nbd *nbd = search->nbd;

	note(search, drive);
	for (size_t i = 0; i < search->n_names; i++)
		if (kat_drive_is(drive, search->names[i]) &&
		    fill_named(ctx, search, i, drive) < 0)
			return -1;
	if (search->n_names || drive->read_only || drive->firmware)
		return 0;
	nbd->drives = reallocarray(nbd->drives, nbd->n + 1, sizeof(*nbd->drives));
	if (!nbd->drives)
		abort();
	memset(&nbd->drives[nbd->n], 0, sizeof(*nbd->drives));
	fill(ctx, nbd, nbd->n++, drive, drive->name);
	return 0;
}

int kat_nbd_find(struct katamaran_ctx *ctx, struct kat_nbd *nbd)
{
	struct search search = {.nbd = nbd};

	search.n_names = katamaran_conf_list(ctx, "drives", &search.names);
	if (search.n_names) {
		nbd->drives = calloc(search.n_names, sizeof(*nbd->drives));
		if (!nbd->drives)
			abort();
		nbd->n = search.n_names;
	}
	if (kat_drives_each(ctx, see_drive, &search) < 0)
		return -1;
	for (size_t i = 0; i < nbd->n; i++) {
		if (nbd->drives[i].name)
			continue;
		katamaran_error(ctx,
				"this QEMU has no drive %s with a medium; it has: %s",
				search.names[i], *search.known ? search.known : "none");
		return -1;
	}
	return 0;
}

void kat_nbd_free(struct kat_nbd *nbd)
{
	for (size_t i = 0; i < nbd->n; i++) {
		free(nbd->drives[i].name);
		free(nbd->drives[i].device);
		free(nbd->drives[i].node);
	}
	free(nbd->drives);
	free(nbd->host);
	memset(nbd, 0, sizeof(*nbd));
}

/* ---- addresses ---- */

char *kat_nbd_where(const char *host, int port)
{
	char *text;

	if (asprintf(&text, strchr(host, ':') ? "[%s]:%d" : "%s:%d", host, port) < 0)
		abort();
	return text;
}

bool kat_nbd_is_wildcard(const char *address)
{
	return !*address || !strcmp(address, "::") || !strcmp(address, "0.0.0.0");
}

/* ---- commands ---- */

int kat_nbd_qmp(struct katamaran_ctx *ctx, const char *command, struct json_object *args,
		const char **reply)
{
	cleanup_json struct json_object *mine = args;

	return katamaran_qmp(
		ctx, command,
		mine ? json_object_to_json_string_ext(mine, JSON_C_TO_STRING_PLAIN)
		     : NULL,
		reply);
}

bool kat_nbd_qemu_gone(struct katamaran_ctx *ctx)
{
	struct pollfd fd = {.fd = katamaran_qemu_pidfd(ctx), .events = POLLIN};

	return fd.fd >= 0 && poll(&fd, 1, 0) > 0;
}

static void add(struct json_object *to, const char *key, const char *value)
{
	json_object_object_add(to, key, json_object_new_string(value));
}

static void add_truth(struct json_object *to, const char *key, bool value)
{
	json_object_object_add(to, key, json_object_new_boolean(value));
}

struct json_object *kat_nbd_args(const char *key, const char *value)
{
	struct json_object *args = json_object_new_object();

	add(args, key, value);
	return args;
}

/* A port is text to QEMU, and an IPv6 address has no brackets here. */
static void add_address(struct json_object *to, const char *host, int port)
{
	char number[16];

	snprintf(number, sizeof(number), "%d", port);
	add(to, "host", host);
	add(to, "port", number);
}

struct json_object *kat_nbd_args_server(const char *host, int port, const char *tls)
{
	struct json_object *args = json_object_new_object();
	struct json_object *addr = kat_nbd_args("type", "inet");
	struct json_object *data = json_object_new_object();

	add_address(data, host, port);
	json_object_object_add(addr, "data", data);
	json_object_object_add(args, "addr", addr);
	if (tls && *tls)
		add(args, "tls-creds", tls);
	return args;
}

struct json_object *kat_nbd_args_export(const struct kat_nbd_drive *drive)
{
	struct json_object *args = kat_nbd_args("type", "nbd");

	add(args, "id", drive->id);
	add(args, "node-name", drive->node);
	add(args, "name", drive->name);
	add_truth(args, "writable", true);
	return args;
}

/*
 * No reconnect-delay: a guest must not wait for a destination that is gone.
 */
struct json_object *kat_nbd_args_node(const struct kat_nbd *nbd,
				      const struct kat_nbd_drive *drive, const char *tls)
{
	struct json_object *args = kat_nbd_args("driver", "nbd");
	struct json_object *server = kat_nbd_args("type", "inet");

	add_address(server, nbd->host, nbd->port);
	json_object_object_add(args, "server", server);
	add(args, "export", drive->name);
	add(args, "node-name", drive->id);
	json_object_object_add(args, "reconnect-delay", json_object_new_int(0));
	if (tls && *tls)
		add(args, "tls-creds", tls);
	return args;
}

/*
 * An error of either side stops the job, never the guest, and says so.  It must
 * not end the job while the guest writes, see nbd_undo.c.  It stays until it is
 * dismissed, so that its reason can be read.
 */
struct json_object *kat_nbd_args_mirror(const struct kat_nbd_drive *drive)
{
	struct json_object *args = kat_nbd_args("job-id", drive->id);

	add(args, "device", drive->device);
	add(args, "target", drive->id);
	add(args, "sync", "full");
	add(args, "copy-mode", drive->background ? "background" : "write-blocking");
	add(args, "on-source-error", "stop");
	add(args, "on-target-error", "stop");
	add_truth(args, "auto-finalize", true);
	add_truth(args, "auto-dismiss", false);
	return args;
}

struct json_object *kat_nbd_args_blocking(const struct kat_nbd_drive *drive)
{
	struct json_object *args = kat_nbd_args("id", drive->id);

	add(args, "type", "mirror");
	add(args, "copy-mode", "write-blocking");
	return args;
}

struct json_object *kat_nbd_args_yank(const struct kat_nbd_drive *drive)
{
	struct json_object *args = json_object_new_object();
	struct json_object *instances = json_object_new_array();
	struct json_object *node = kat_nbd_args("type", "block-node");

	add(node, "node-name", drive->id);
	json_object_array_add(instances, node);
	json_object_object_add(args, "instances", instances);
	return args;
}

/* ---- answers ---- */

static struct json_object *member(struct json_object *object, const char *name)
{
	struct json_object *value;

	if (!json_object_is_type(object, json_type_object) ||
	    !json_object_object_get_ex(object, name, &value))
		return NULL;
	return value;
}

static const char *text_of(struct json_object *object, const char *name)
{
	struct json_object *value = member(object, name);

	return json_object_is_type(value, json_type_string)
		       ? json_object_get_string(value)
		       : "";
}

static uint64_t number_of(struct json_object *object, const char *name)
{
	int64_t value = json_object_get_int64(member(object, name));

	return value > 0 ? (uint64_t)value : 0;
}

/* The object of a list whose member `key` is `value`. */
static struct json_object *find(struct json_object *list, const char *key,
				const char *value)
{
	if (!json_object_is_type(list, json_type_array))
		return NULL;
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct json_object *item = json_object_array_get_idx(list, i);

		if (!strcmp(text_of(item, key), value))
			return item;
	}
	return NULL;
}

bool kat_nbd_node_size(const char *reply, const char *name, uint64_t *size)
{
	cleanup_json struct json_object *list = json_tokener_parse(reply);
	struct json_object *image = member(find(list, "node-name", name), "image");

	if (!member(image, "virtual-size"))
		return false;
	*size = number_of(image, "virtual-size");
	return true;
}

void kat_nbd_read_job(const char *reply, const char *id, struct kat_nbd_job *job)
{
	cleanup_json struct json_object *list = json_tokener_parse(reply);
	struct json_object *it = find(list, "device", id);
	const char *io = text_of(it, "io-status");

	memset(job, 0, sizeof(*job));
	if (!it)
		return;
	job->found = true;
	job->ready = json_object_get_boolean(member(it, "ready"));
	job->synced = json_object_get_boolean(member(it, "actively-synced"));
	job->done = number_of(it, "offset");
	job->total = number_of(it, "len");
	snprintf(job->status, sizeof(job->status), "%s", text_of(it, "status"));
	snprintf(job->error, sizeof(job->error), "%s", text_of(it, "error"));
	if (!*io || !strcmp(io, "ok"))
		return;
	job->failed = true;
	if (!*job->error) /* which it has when it ends, and it does not */
		snprintf(job->error, sizeof(job->error), "%s",
			 strerror(strcmp(io, "nospace") ? EIO : ENOSPC));
}

int kat_nbd_read_jobs(struct katamaran_ctx *ctx, struct kat_nbd *nbd)
{
	const char *reply;

	if (katamaran_qmp(ctx, "query-block-jobs", NULL, &reply) < 0)
		return -1;
	for (size_t i = 0; i < nbd->n; i++)
		kat_nbd_read_job(reply, nbd->drives[i].id, &nbd->drives[i].job);
	return 0;
}

/* Any end that we did not ask for is a failure: later writes are not copied. */
int kat_nbd_judge_event(struct katamaran_ctx *ctx, const struct kat_nbd *nbd,
			const char *event, const char *json)
{
	bool broken = !strcmp(event, "BLOCK_JOB_ERROR");
	cleanup_json struct json_object *all = NULL;
	const char *job, *error;

	if (!broken && strcmp(event, "BLOCK_JOB_COMPLETED") != 0 &&
	    strcmp(event, "BLOCK_JOB_CANCELLED") != 0)
		return 0;
	all = json_tokener_parse(json);
	job = text_of(member(all, "data"), "device");
	error = text_of(member(all, "data"), broken ? "operation" : "error");
	for (size_t i = 0; i < nbd->n; i++) {
		const struct kat_nbd_drive *drive = &nbd->drives[i];

		if (!drive->mirrors || strcmp(job, drive->id) != 0)
			continue;
		if (broken)
			katamaran_error(ctx,
					"drive-mirror failed: drive %s: %s error: %s",
					drive->name, error,
					strcmp(error, "read")
						? "the connection to the destination was "
						  "lost, or its disk has failed"
						: "this node's disk has failed");
		else
			katamaran_error(ctx,
					"drive-mirror failed: the mirror of drive %s has "
					"ended: %s",
					drive->name,
					*error ? error : "somebody cancelled it");
		return -1;
	}
	return 0;
}

int kat_nbd_check_size(struct katamaran_ctx *ctx, const struct kat_nbd_drive *drive,
		       uint64_t there)
{
	if (there < drive->size) {
		katamaran_error(ctx,
				"drive %s has %" PRIu64
				" bytes, and the destination's only %" PRIu64
				": make that one at least as large",
				drive->name, drive->size, there);
		return -1;
	}
	if (there > drive->size)
		katamaran_log(ctx, LOG_WARNING,
			      "drive %s has %" PRIu64
			      " bytes, and the destination's %" PRIu64
			      ": the guest may see it grow",
			      drive->name, drive->size, there);
	return 0;
}
