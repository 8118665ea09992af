/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "ram.h"

int kat_ram_set(struct kat_end *end, const char *parameter, int64_t value,
		struct kat_error **err)
{
	struct json_object *args = json_object_new_object();

	json_object_object_add(args, parameter, json_object_new_int64(value));
	return kat_end_qmp(end, "migrate-set-parameters", args, NULL, err);
}

int kat_ram_save(struct kat_end *end, struct kat_error **err)
{
	static const char *const names[] = {"max-bandwidth", "downtime-limit",
					    "multifd-channels"};
	size_t n = KAT_ARRAY_SIZE(names) - !end->config->multifd;
	size_t first = end->config->role == KATAMARAN_SOURCE ? 0 : 2;
	cleanup_json struct json_object *reply = NULL;

	if (first == n)
		return 0;
	if (kat_end_qmp(end, "query-migrate-parameters", NULL, &reply, err) < 0)
		return -1;
	json_object_put(end->parameters);
	end->parameters = json_object_new_object();
	for (size_t i = first; i < n; i++)
		if (kat_json_member(reply, names[i]))
			json_object_object_add(
				end->parameters, names[i],
				json_object_get(kat_json_member(reply, names[i])));
	if (kat_journal_line(&end->journal, "{\"qemu\":\"parameters\",\"before\":%s}",
			     json_object_to_json_string_ext(end->parameters,
							    JSON_C_TO_STRING_PLAIN)) < 0)
		return kat_end_journal_full(err);
	return 0;
}

static int restore_capabilities(struct kat_end *end, struct kat_error **err)
{
	struct json_object *list = json_object_new_array();
	struct json_object *args = json_object_new_object();

	json_object_object_foreach (end->capabilities, name, state) {
		struct json_object *entry = json_object_new_object();

		json_object_object_add(entry, "capability", json_object_new_string(name));
		json_object_object_add(entry, "state", json_object_get(state));
		json_object_array_add(list, entry);
	}
	json_object_object_add(args, "capabilities", list);
	return kat_end_qmp(end, "migrate-set-capabilities", args, NULL, err);
}

void kat_ram_restore(struct kat_end *end)
{
	cleanup_error struct kat_error *why = NULL;
	int r = 0;

	if (!end->migration.qmp)
		return;
	if (end->parameters && json_object_object_length(end->parameters))
		r = kat_end_qmp(end, "migrate-set-parameters",
				json_object_get(end->parameters), NULL, &why);
	if (end->capabilities && json_object_object_length(end->capabilities))
		r |= restore_capabilities(end, why ? NULL : &why);
	if (r < 0)
		kat_log(KAT_WARNING, "cannot put back QEMU's migration settings: %s",
			why->message);
}

char *kat_ram_uri(const char *ip, int port)
{
	bool v6 = ip && strchr(ip, ':');

	return kat_format("tcp:%s%s%s:%d", v6 ? "[" : "", ip ? ip : "", v6 ? "]" : "",
			  port);
}

int kat_ram_start(struct kat_end *end, struct kat_error **err)
{
	cleanup_free char *uri = kat_ram_uri(end->config->dest_ip, end->port);
	bool gated = end->config->order == KAT_ORDER_REDIRECT_FIRST;
	int64_t full = end->config->bandwidth ? end->config->bandwidth : KAT_GATE_FULL;
	int64_t downtime = gated ? KAT_GATE_DOWNTIME_MS : end->config->downtime_ms;
	struct json_object *args;

	kat_log(KAT_INFO, "Configuring RAM migration...");
	if (kat_ram_save(end, err) < 0 || kat_end_set_capabilities(end, err) < 0)
		return -1;
	args = json_object_new_object();
	json_object_object_add(args, "max-bandwidth",
			       json_object_new_int64(gated ? KAT_GATE_CROSS : full));
	json_object_object_add(args, "downtime-limit", json_object_new_int64(downtime));
	if (kat_end_qmp(end, "migrate-set-parameters", args, NULL, err) < 0)
		return -1;
	if (kat_journal_line(&end->journal, "{\"qemu\":\"migrate\"}") < 0)
		return kat_end_journal_full(err);
	args = json_object_new_object();
	json_object_object_add(args, "uri", json_object_new_string(uri));
	if (kat_end_qmp(end, "migrate", args, NULL, err) < 0) {
		/* No answer, or a signal: it may have been heard. */
		end->begun = !*err || (*err)->sys_errno != EREMOTEIO;
		return kat_error_wrap(err, "cannot start the migration to %s", uri);
	}
	end->begun = true;
	kat_log(KAT_INFO, "RAM migration started to %s, in the order %s.", uri,
		gated ? "redirect-first" : "salvage");
	return 0;
}

int kat_ram_sample(struct kat_end *end, struct kat_sample *sample, struct kat_error **err)
{
	cleanup_json struct json_object *reply = NULL;
	struct json_object *ram;

	sample->asked_ns = kat_now_ns();
	if (kat_end_qmp(end, "query-migrate", NULL, &reply, err) < 0)
		return -1;
	sample->answered_ns = kat_now_ns();
	ram = kat_json_member(reply, "ram");
	if (!ram)
		return 0;
	sample->remaining = kat_json_int(ram, "remaining", 0);
	sample->total = kat_json_int(ram, "total", 0);
	sample->transferred = kat_json_int(ram, "transferred", 0);
	sample->passes = kat_json_int(ram, "dirty-sync-count", 0);
	sample->dirty_bytes_s = kat_json_int(ram, "dirty-pages-rate", 0) *
				kat_json_int(ram, "page-size", 4096);
	return 1;
}

char *kat_ram_status(struct kat_end *end, struct kat_error **err)
{
	cleanup_json struct json_object *reply = NULL;
	const char *status;

	if (kat_end_qmp(end, "query-migrate", NULL, &reply, err) < 0)
		return NULL;
	status = kat_json_string(reply, "status");
	return strdup(status ? status : "none"); /* no migration yet: an empty answer */
}

char *kat_ram_error(struct kat_end *end)
{
	cleanup_json struct json_object *reply = NULL;
	const char *text;

	if (kat_end_qmp(end, "query-migrate", NULL, &reply, NULL) < 0)
		return NULL;
	text = kat_json_string(reply, "error-desc");
	return text ? strdup(text) : NULL;
}

int64_t kat_ram_downtime_ms(struct kat_end *end, int64_t fallback)
{
	cleanup_json struct json_object *reply = NULL;

	if (!end->migration.qmp ||
	    kat_end_qmp(end, "query-migrate", NULL, &reply, NULL) < 0)
		return fallback;
	return kat_json_int(reply, "downtime", fallback);
}
