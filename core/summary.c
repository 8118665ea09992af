/* SPDX-License-Identifier: BSD-2-Clause */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <json-c/json.h>

#include "summary.h"

/* A file beside it, which takes its name when it is complete. */
static int open_new(const char *path, char **name)
{
	*name = kat_format("%s.XXXXXX", path);
	return mkostemp(*name, O_CLOEXEC);
}

int kat_summary_check(const char *path, struct kat_error **err)
{
	cleanup_free char *name = NULL;
	cleanup_close int fd = -1;

	if (!path)
		return 0;
	fd = open_new(path, &name);
	if (fd < 0)
		return kat_error_set(err, KAT_EXIT_USAGE,
				     "summary %s: cannot write it there: %m", path);
	unlink(name);
	return 0;
}

static void add_string(struct json_object *object, const char *key, const char *text)
{
	json_object_object_add(object, key, text ? json_object_new_string(text) : NULL);
}

/* Milliseconds with a fraction; null where one of the two has not happened. */
static void add_span(struct json_object *object, const char *key, int64_t from,
		     int64_t to)
{
	char text[32];

	if (!from || !to) {
		json_object_object_add(object, key, NULL);
		return;
	}
	snprintf(text, sizeof(text), "%.3f", (double)(to - from) / KAT_NS_PER_MS);
	json_object_object_add(
		object, key,
		json_object_new_double_s((double)(to - from) / KAT_NS_PER_MS, text));
}

/* Of the guest's own life: the three parts and how QEMU counts the blackout. */
static struct json_object *times(const struct kat_end *end)
{
	struct json_object *object = json_object_new_object();
	const struct kat_times *t = &end->times;
	bool source = end->config->role == KATAMARAN_SOURCE;

	add_span(object, "total", t->start, kat_now_ns());
	if (!source) {
		add_span(object, "hold_to_resume", t->redirect, t->resumed);
		return object;
	}
	add_span(object, "prepare", t->start, t->copy);
	add_span(object, "pre_copy", t->copy, t->redirect);
	add_span(object, "redirect_to_stop", t->redirect, t->stop);
	add_span(object, "stop_to_resume", t->stop, t->resumed);
	json_object_object_add(
		object, "downtime",
		t->downtime_ms < 0 ? NULL : json_object_new_int64(t->downtime_ms));
	return object;
}

static struct json_object *nic(const struct kat_end *end, size_t i)
{
	const struct kat_ledger *ledger = &end->migration.ledger;
	struct json_object *object = json_object_new_object();
	int64_t learned = ledger->learned_ms[i];

	add_string(object, "tap", end->config->nics[i].tap);
	for (size_t what = 0; what < KAT_LEDGER_COUNTERS; what++)
		json_object_object_add(
			object, kat_ledger_name(what),
			ledger->told & 1u << what
				? json_object_new_int64((int64_t)ledger->counts[i][what])
				: NULL);
	json_object_object_add(object, "convergence_ms",
			       learned < 0 ? NULL : json_object_new_int64(learned));
	return object;
}

static void add_ledger(struct json_object *object, const struct kat_end *end)
{
	static const char *const words[] = {"proven_zero", "lost", "unknown"};
	const struct kat_ledger *ledger = &end->migration.ledger;
	struct json_object *nics = json_object_new_array();
	struct json_object *reasons = json_object_new_array();

	for (size_t i = 0; i < ledger->n_nics; i++)
		json_object_array_add(nics, nic(end, i));
	for (size_t i = 0; i < ledger->n_doubts; i++)
		json_object_array_add(reasons, json_object_new_string(ledger->doubts[i]));
	if (!ledger->joined)
		json_object_array_add(
			reasons, json_object_new_string(
					 "the other end's counters are not in here"));
	if (!ledger->told)
		json_object_array_add(
			reasons, json_object_new_string("no plugin counted packets"));
	json_object_object_add(object, "nics", nics);
	add_string(object, "verdict", words[kat_ledger_verdict(ledger)]);
	json_object_object_add(object, "lost",
			       json_object_new_int64((int64_t)kat_ledger_lost(ledger)));
	json_object_object_add(object, "reasons", reasons);
}

static const char *outcome(int code)
{
	switch (code) {
	case KAT_EXIT_OK:
		return "moved";
	case KAT_EXIT_USAGE:
		return "refused";
	case KAT_EXIT_HUMAN:
		return "unclear";
	case KAT_EXIT_SIGNAL:
		return "cancelled";
	}
	return "failed";
}

static struct json_object *summary(const struct kat_end *end, const struct kat_error *why)
{
	int code = !why		    ? KAT_EXIT_OK
		   : why->exit_code ? (int)why->exit_code
				    : KAT_EXIT_FAILED;
	struct json_object *object = json_object_new_object();
	struct json_object *guest = json_object_new_object();
	const struct kat_migration *m = &end->migration;

	add_string(object, "id", *m->id ? m->id : NULL);
	add_string(object, "role",
		   end->config->role == KATAMARAN_SOURCE ? "source" : "dest");
	add_string(object, "outcome", outcome(code));
	json_object_object_add(object, "exit_code", json_object_new_int(code));
	add_string(object, "error", why ? why->message : NULL);
	add_string(guest, "name", m->vm_name);
	add_string(guest, "uuid", m->vm_uuid);
	json_object_object_add(object, "guest", guest);
	add_string(object, "destination", end->config->dest_ip);
	json_object_object_add(object, "times_ms", times(end));
	add_ledger(object, end);
	return object;
}

void kat_summary_write(const struct kat_end *end, const struct kat_error *why)
{
	const char *path = end->config->summary;
	cleanup_json struct json_object *object = NULL;
	cleanup_free char *name = NULL;
	cleanup_close int fd = -1;

	if (!path)
		return;
	object = summary(end, why);
	fd = open_new(path, &name);
	if (fd >= 0 && fchmod(fd, 0644) == 0 &&
	    dprintf(fd, "%s\n",
		    json_object_to_json_string_ext(
			    object, JSON_C_TO_STRING_PRETTY |
					    JSON_C_TO_STRING_NOSLASHESCAPE)) > 0 &&
	    fsync(fd) == 0 && rename(name, path) == 0)
		return;
	kat_log(KAT_WARNING, "summary %s: cannot write it: %m", path);
	if (fd >= 0)
		unlink(name);
}
