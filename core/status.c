/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <json-c/json.h>

#include "journal.h"
#include "log.h"
#include "past.h"
#include "status.h"
#include "util.h"

struct query {
	const struct kat_config *config;
	const char *id; /* NULL: all */
	bool cancel;
	bool found;
	struct kat_error **err;
};

static const char *role_of(const struct kat_past *past)
{
	return past->config.role == KATAMARAN_SOURCE ? "source" : "dest";
}

static const char *guest_of(const struct kat_past *past)
{
	if (past->vm_name)
		return past->vm_name;
	return past->vm_uuid ? past->vm_uuid : "-";
}

/* "412.0 of 512.0 MiB (80 %), pass 2", or "-". */
static void put_progress(const struct kat_past *past, char *text, size_t size)
{
	int64_t percent = past->total > 0 ? past->done * 100 / past->total : 0;
	int n;

	if (past->total <= 0)
		snprintf(text, size, "-");
	else if (past->unit && !strcmp(past->unit, "bytes"))
		snprintf(text, size, "%.1f of %.1f MiB (%" PRId64 " %%)",
			 (double)past->done / (1 << 20), (double)past->total / (1 << 20),
			 percent);
	else
		snprintf(text, size, "%" PRId64 " of %" PRId64 " %s (%" PRId64 " %%)",
			 past->done, past->total, past->unit ? past->unit : "", percent);
	n = (int)strlen(text);
	if (past->pass)
		snprintf(text + n, size - (size_t)n, ", pass %" PRId64, past->pass);
}

static void print_line(const struct kat_past *past)
{
	int64_t age = time(NULL) - past->began_s;
	char progress[128];

	put_progress(past, progress, sizeof(progress));
	printf("%-8s  %-6s  %-5s  %-10s  %-36s  %-15s  %3" PRId64 ":%02" PRId64
	       ":%02" PRId64 "  %s\n",
	       past->id, role_of(past), past->alive ? "alive" : "DEAD",
	       past->phase ? past->phase : "-", guest_of(past),
	       past->config.dest_ip ? past->config.dest_ip : "-", age / 3600,
	       age / 60 % 60, age % 60, progress);
}

static void add_string(struct json_object *object, const char *member, const char *text)
{
	json_object_object_add(object, member,
			       text ? json_object_new_string(text) : NULL);
}

static void print_json(const struct kat_past *past)
{
	struct json_object *object = json_object_new_object();

	add_string(object, "id", past->id);
	add_string(object, "role", role_of(past));
	json_object_object_add(object, "alive", json_object_new_boolean(past->alive));
	json_object_object_add(object, "pid", json_object_new_int(past->pid));
	add_string(object, "phase", past->phase);
	add_string(object, "vm_name", past->vm_name);
	add_string(object, "vm_uuid", past->vm_uuid);
	add_string(object, "qmp", past->config.qmp);
	add_string(object, "dest_ip", past->config.dest_ip);
	json_object_object_add(object, "began", json_object_new_int64(past->began_s));
	json_object_object_add(object, "done", json_object_new_int64(past->done));
	json_object_object_add(object, "total", json_object_new_int64(past->total));
	add_string(object, "unit", past->unit);
	json_object_object_add(object, "pass", json_object_new_int64(past->pass));
	puts(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN));
	json_object_put(object);
}

/* The pid may be another process's by now: its start and the lock say whether. */
static int stop(const struct kat_past *past, struct kat_error **err)
{
	cleanup_close int pidfd = -1;

	errno = 0;
	if (!past->alive)
		return kat_error_set(
			err, KAT_EXIT_FAILED,
			"migration %s is not running, its process was "
			"killed: katamaran --recover %s puts back what it left",
			past->id, past->id);
	pidfd = (int)syscall(SYS_pidfd_open, past->pid, 0);
	if (pidfd < 0 || !past->start || kat_process_start(past->pid) != past->start)
		return kat_error_set(err, KAT_EXIT_FAILED,
				     "migration %s is running, but its process %d is not "
				     "to be found: it may be in another pid namespace",
				     past->id, (int)past->pid);
	if (syscall(SYS_pidfd_send_signal, pidfd, SIGTERM, NULL, 0) < 0)
		return kat_error_set(err, KAT_EXIT_FAILED,
				     "cannot send SIGTERM to process %d of migration %s: "
				     "%m",
				     (int)past->pid, past->id);
	printf("Asked migration %s (process %d) to stop; katamaran --status %s tells "
	       "whether it has.\n",
	       past->id, (int)past->pid, past->id);
	return 0;
}

static int each(int dir, const char *name, void *data)
{
	cleanup_error struct kat_error *why = NULL;
	struct query *query = data;
	struct kat_past past;
	int ret = kat_past_read(&past, dir, name, &why);

	if (ret < 0)
		kat_log(KAT_WARNING, "%s", why->message);
	if (ret <= 0)
		return 0;
	ret = 0;
	if (!query->id || !strcmp(query->id, past.id)) {
		query->found = true;
		if (query->cancel)
			ret = stop(&past, query->err);
		else if (query->config->json)
			print_json(&past);
		else
			print_line(&past);
	}
	kat_past_free(&past);
	return ret;
}

static int ask(struct query *query)
{
	cleanup_close int dir = kat_journal_folder(query->config->run_dir, false);

	if (dir < 0 && errno != ENOENT)
		return kat_error_set(query->err, KAT_EXIT_FAILED,
				     "cannot look into %s: %m", query->config->run_dir);
	if (dir >= 0 && kat_past_each(dir, each, query) < 0)
		return -1;
	errno = 0;
	if (query->id && !query->found)
		return kat_error_set(query->err, KAT_EXIT_USAGE,
				     "no migration \"%s\" has a journal in %s", query->id,
				     query->config->run_dir);
	return 0;
}

int kat_status(const struct kat_config *config, const char *id, struct kat_error **err)
{
	struct query query = {.config = config, .id = id, .err = err};

	if (!config->json)
		puts("ID        ROLE    STATE  PHASE       GUEST"
		     "                                 DESTINATION            AGE  "
		     "PROGRESS");
	return ask(&query);
}

int kat_cancel(const struct kat_config *config, const char *id, struct kat_error **err)
{
	struct query query = {.config = config, .id = id, .cancel = true, .err = err};

	return ask(&query);
}
