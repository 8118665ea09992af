/* SPDX-License-Identifier: BSD-2-Clause */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#define KATAMARAN_API_VERSION 1
#include "check.h"
#include "check_qemu.h"
#include "guest.h"
#include "katamaran-plugin.h"

#define MIB 1048576
/* The link's lines are bounded; no machine has nearly as much. */
#define DEVICES_BYTES 40000

/* A query that not every QEMU knows, or has an answer to. */
static struct json_object *ask(struct kat_end *end, const char *command,
			       struct json_object *args)
{
	cleanup_error struct kat_error *why = NULL;
	struct json_object *reply = NULL;

	if (kat_end_qmp(end, command, args, &reply, &why) < 0)
		kat_log(KAT_DEBUG, "%s: %s", command, why->message);
	return reply;
}

static struct json_object *ask_human(struct kat_end *end, const char *line)
{
	struct json_object *args = json_object_new_object();

	json_object_object_add(args, "command-line", json_object_new_string(line));
	return ask(end, "human-monitor-command", args);
}

static struct json_object *ask_type(struct kat_end *end, const char *path)
{
	struct json_object *args = json_object_new_object();

	json_object_object_add(args, "path", json_object_new_string(path));
	json_object_object_add(args, "property", json_object_new_string("type"));
	return ask(end, "qom-get", args);
}

/* ---- this end's QEMU ---- */

static bool is_over(const char *status)
{
	static const char *const over[] = {"none", "completed", "failed", "cancelled"};

	for (size_t i = 0; i < KAT_ARRAY_SIZE(over); i++)
		if (!strcmp(status, over[i]))
			return true;
	return false;
}

static void check_migration(struct kat_end *end)
{
	cleanup_json struct json_object *reply = ask(end, "query-migrate", NULL);
	struct json_object *reasons = kat_json_member(reply, "blocked-reasons");
	bool source = end->config->role == KATAMARAN_SOURCE;
	const char *status = kat_json_string(reply, "status");
	size_t n = json_object_is_type(reasons, json_type_array)
			   ? json_object_array_length(reasons)
			   : 0;

	if (source && status && !is_over(status))
		kat_check_add(end, KATAMARAN_FAILURE, "migration",
			      "one is under way already (%s); wait for its end, or send "
			      "{\"execute\": \"migrate_cancel\"} to %s",
			      status, end->config->qmp);
	for (size_t i = 0; i < n; i++)
		kat_check_add(
			end, source ? KATAMARAN_FAILURE : KATAMARAN_WARNING, "migration",
			"QEMU refuses it: %s; take away what it names",
			json_object_get_string(json_object_array_get_idx(reasons, i)));
	if (!n && (!source || !status || is_over(status)))
		kat_check_add(end, KATAMARAN_OK, "migration",
			      "QEMU names nothing that forbids it");
}

/* What we set ourselves, and whether we can do without it. */
struct wanted {
	const char *name;
	bool used;
	int level; /* where it is missing */
};

static bool has_capability(struct json_object *known, const char *name)
{
	for (size_t i = 0; i < json_object_array_length(known); i++) {
		const char *c = kat_json_string(json_object_array_get_idx(known, i),
						"capability");

		if (c && !strcmp(c, name))
			return true;
	}
	return false;
}

static void check_capabilities(struct kat_end *end)
{
	const bool salvages = end->config->role == KATAMARAN_SOURCE &&
			      end->config->order == KAT_ORDER_SALVAGE;
	const struct wanted wanted[] = {
		{"return-path", true, KATAMARAN_FAILURE},
		{"events", true, KATAMARAN_FAILURE},
		{"pause-before-switchover",
		 kat_hooks_has_on_stop(&end->hooks, KATAMARAN_STORAGE) || salvages,
		 KATAMARAN_WARNING},
		{"multifd", end->config->multifd > 0, KATAMARAN_FAILURE},
		{"auto-converge", end->config->auto_converge, KATAMARAN_WARNING},
	};
	cleanup_json struct json_object *known =
		ask(end, "query-migrate-capabilities", NULL);
	bool missing = false;

	if (!json_object_is_type(known, json_type_array))
		return;
	for (size_t i = 0; i < KAT_ARRAY_SIZE(wanted); i++) {
		if (!wanted[i].used || has_capability(known, wanted[i].name))
			continue;
		missing = true;
		kat_check_add(end, wanted[i].level, "capabilities",
			      "this QEMU lacks the migration capability %s; take a newer "
			      "one",
			      wanted[i].name);
	}
	if (!missing)
		kat_check_add(end, KATAMARAN_OK, "capabilities",
			      "this QEMU has all that are needed");
}

static void check_mac(struct kat_end *end, const struct kat_nic_config *config,
		      const struct kat_nic *qemus)
{
	const uint8_t *c = config->mac, *q = qemus->mac;

	if (!qemus->has_mac)
		kat_check_add(
			end, KATAMARAN_WARNING, "network card",
			"QEMU does not tell of one on the tap %s: see that nics.tap "
			"is right",
			config->tap);
	else if (config->has_mac && memcmp(c, q, sizeof(config->mac)) != 0)
		kat_check_add(
			end, KATAMARAN_FAILURE, "network card",
			"the one on the tap %s has the MAC "
			"%02x:%02x:%02x:%02x:%02x:%02x in QEMU, and "
			"%02x:%02x:%02x:%02x:%02x:%02x in the configuration: correct "
			"nics.mac, or leave it out",
			config->tap, q[0], q[1], q[2], q[3], q[4], q[5], c[0], c[1], c[2],
			c[3], c[4], c[5]);
	else
		kat_check_add(end, KATAMARAN_OK, "network card",
			      "%02x:%02x:%02x:%02x:%02x:%02x on the tap %s", q[0], q[1],
			      q[2], q[3], q[4], q[5], config->tap);
}

/* The configuration's MACs against QEMU's own. */
static void check_macs(struct kat_end *end)
{
	size_t n = end->config->n_nics;
	cleanup_json struct json_object *reply = NULL;
	cleanup_free struct kat_nic *nics = NULL;

	if (!n)
		return;
	reply = ask_human(end, "info network");
	nics = calloc(n, sizeof(*nics));
	if (!nics || !json_object_is_type(reply, json_type_string))
		return;
	for (size_t i = 0; i < n; i++)
		nics[i].config = &end->config->nics[i];
	kat_guest_read_network(json_object_get_string(reply), end->migration.qemu_pid,
			       nics, n);
	for (size_t i = 0; i < n; i++)
		if (nics[i].config->tap)
			check_mac(end, nics[i].config, &nics[i]);
}

void kat_check_qemu(struct kat_end *end)
{
	check_migration(end);
	check_capabilities(end);
	check_macs(end);
}

/* ---- what has to be alike ---- */

static int by_text(const void *a, const void *b)
{
	struct json_object *const *left = a, *const *right = b;

	return strcmp(json_object_get_string(*left), json_object_get_string(*right));
}

/* A device and those that it is in, as the text goes on. */
struct level {
	size_t indent;
	size_t length; /* of the path up to and with it */
	bool mapped;   /* its address in memory is part of what it is */
};

struct tree {
	struct json_object *devices;
	char path[512];
	struct level levels[32];
	size_t depth;
	bool open; /* the last device's properties are still to come */
	size_t bytes;
};

static void append(struct tree *tree, const char *separator, const char *text,
		   size_t length)
{
	size_t used = strlen(tree->path);

	snprintf(tree->path + used, sizeof(tree->path) - used, "%s%.*s", separator,
		 (int)length, text);
	tree->levels[tree->depth - 1].length = strlen(tree->path);
}

static void finish_device(struct tree *tree)
{
	if (tree->open && tree->bytes < DEVICES_BYTES) {
		json_object_array_add(tree->devices, json_object_new_string(tree->path));
		tree->bytes += strlen(tree->path) + 4;
	}
	tree->open = false;
}

/* "dev: TYPE, id "ID"": a device in the last one whose line stands further left. */
static void begin_device(struct tree *tree, size_t indent, const char *type)
{
	size_t length = strcspn(type, ",");

	finish_device(tree);
	while (tree->depth && tree->levels[tree->depth - 1].indent >= indent)
		tree->depth--;
	tree->path[tree->depth ? tree->levels[tree->depth - 1].length : 0] = '\0';
	if (tree->depth == KAT_ARRAY_SIZE(tree->levels))
		return;
	tree->levels[tree->depth++] = (struct level){
		.indent = indent, .mapped = !strncmp(type, "virtio-mmio,", 12)};
	append(tree, "/", type, length);
	tree->open = true;
}

/* What tells devices of one type apart, whatever the guest has done to them. */
static void see_property(struct tree *tree, const char *line)
{
	static const char *const keys[] = {"addr = ", "scsi-id = ", "lun = "};

	if (!tree->open)
		return;
	for (size_t i = 0; i < KAT_ARRAY_SIZE(keys); i++) {
		const char *value = line + strlen(keys[i]);

		if (!strncmp(line, keys[i], strlen(keys[i])))
			append(tree, "@", value, strcspn(value, " \r"));
	}
	if (tree->levels[tree->depth - 1].mapped && !strncmp(line, "mmio ", 5))
		append(tree, "@", line + 5, strcspn(line + 5, "/"));
}

struct json_object *kat_check_devices(const char *qtree)
{
	struct tree tree = {.devices = json_object_new_array()};
	cleanup_free char *copy = strdup(qtree);
	char *rest = copy, *line;

	while (copy && (line = strsep(&rest, "\n"))) {
		size_t indent = strspn(line, " ");

		line += indent;
		if (!strncmp(line, "dev: ", 5))
			begin_device(&tree, indent, line + 5);
		else if (!strncmp(line, "bus: ", 5))
			finish_device(&tree);
		else
			see_property(&tree, line);
	}
	finish_device(&tree);
	json_object_array_sort(tree.devices, by_text);
	return tree.devices;
}

/* Capabilities that somebody else has switched on. */
static struct json_object *foreign_capabilities(struct kat_end *end)
{
	static const char *const ours[] = {"return-path", "events", "multifd",
					   "pause-before-switchover", "auto-converge"};
	cleanup_json struct json_object *known =
		ask(end, "query-migrate-capabilities", NULL);
	struct json_object *on = json_object_new_array();

	for (size_t i = 0; json_object_is_type(known, json_type_array) &&
			   i < json_object_array_length(known);
	     i++) {
		struct json_object *entry = json_object_array_get_idx(known, i);
		const char *name = kat_json_string(entry, "capability");
		size_t j = 0;

		while (name && j < KAT_ARRAY_SIZE(ours) && strcmp(name, ours[j]) != 0)
			j++;
		if (j == KAT_ARRAY_SIZE(ours) && kat_json_bool(entry, "state", false))
			json_object_array_add(on, json_object_new_string(name));
	}
	json_object_array_sort(on, by_text);
	return on;
}

static void add_processors(struct kat_end *end, struct json_object *facts)
{
	cleanup_json struct json_object *cpus = ask(end, "query-cpus-fast", NULL);
	const char *path;

	if (!json_object_is_type(cpus, json_type_array))
		return;
	json_object_object_add(
		facts, "processors",
		json_object_new_int64((int64_t)json_object_array_length(cpus)));
	path = kat_json_string(json_object_array_get_idx(cpus, 0), "qom-path");
	if (path)
		json_object_object_add(facts, "processor", ask_type(end, path));
}

struct json_object *kat_check_facts(struct kat_end *end)
{
	cleanup_json struct json_object *memory =
		ask(end, "query-memory-size-summary", NULL);
	cleanup_json struct json_object *tree = ask_human(end, "info qtree");
	struct json_object *facts = json_object_new_object();

	json_object_object_add(facts, "version",
			       json_object_new_int(kat_qmp_version(end->migration.qmp)));
	json_object_object_add(facts, "machine", ask_type(end, "/machine"));
	if (memory)
		json_object_object_add(
			facts, "memory",
			json_object_new_int64(kat_json_int(memory, "base-memory", 0) +
					      kat_json_int(memory, "plugged-memory", 0)));
	add_processors(end, facts);
	json_object_object_add(facts, "capabilities", foreign_capabilities(end));
	if (json_object_is_type(tree, json_type_string))
		json_object_object_add(facts, "devices",
				       kat_check_devices(json_object_get_string(tree)));
	return facts;
}
