/* SPDX-License-Identifier: BSD-2-Clause */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <json-c/json.h>

#include "journal.h"
#include "past.h"
#include "settings.h"
#include "util.h"

/* Longer ones are not written by us. */
#define JOURNAL_MAX (64 << 20)
/* Somebody who only looks holds the lock for no longer. */
#define CLAIM_MS 500

/* ---- the first line ---- */

static void put_string(struct json_object *object, const char *member, const char *text)
{
	if (text)
		json_object_object_add(object, member, json_object_new_string(text));
}

static void put_int(struct json_object *object, const char *member, int64_t number)
{
	json_object_object_add(object, member, json_object_new_int64(number));
}

static struct json_object *strings(char *const *items, size_t n)
{
	struct json_object *array = json_object_new_array();

	for (size_t i = 0; i < n; i++)
		json_object_array_add(array, json_object_new_string(items[i]));
	return array;
}

static struct json_object *nic_of(const struct kat_nic *nic)
{
	struct json_object *object = json_object_new_object();
	char mac[18];

	put_string(object, "tap", nic->config->tap);
	put_string(object, "netns", nic->config->netns);
	if (nic->has_mac) {
		snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", nic->mac[0],
			 nic->mac[1], nic->mac[2], nic->mac[3], nic->mac[4], nic->mac[5]);
		put_string(object, "mac", mac);
	}
	json_object_object_add(object, "ips",
			       strings(nic->config->ips, nic->config->n_ips));
	return object;
}

static struct json_object *setting_of(const struct kat_setting *setting)
{
	struct json_object *object = json_object_new_object();

	put_string(object, "name", setting->name);
	put_int(object, "type", setting->type);
	put_string(object, "string", setting->string);
	put_int(object, "integer", setting->integer);
	json_object_object_add(object, "items",
			       strings(setting->items, setting->n_items));
	return object;
}

static struct json_object *plugin_of(const struct kat_plugin_config *plugin)
{
	struct json_object *object = json_object_new_object();
	struct json_object *settings = json_object_new_array();

	put_int(object, "kind", plugin->kind);
	put_string(object, "plugin", plugin->plugin);
	for (size_t i = 0; i < plugin->n_settings; i++)
		json_object_array_add(settings, setting_of(&plugin->settings[i]));
	json_object_object_add(object, "settings", settings);
	return object;
}

static void put_config(struct json_object *line, const struct kat_migration *m)
{
	const struct kat_config *config = m->config;
	struct json_object *nics = json_object_new_array();
	struct json_object *plugins = json_object_new_array();

	put_string(line, "role", config->role == KATAMARAN_SOURCE ? "source" : "dest");
	put_string(line, "qmp", config->qmp);
	put_string(line, "dest_ip", config->dest_ip);
	put_int(line, "port", config->port);
	put_string(line, "plugin_dir", config->plugin_dir);
	if (config->peer_command)
		json_object_object_add(
			line, "peer",
			strings(config->peer_command, config->n_peer_words));
	for (size_t i = 0; i < config->n_nics; i++)
		json_object_array_add(nics, nic_of(&m->nics[i]));
	for (size_t i = 0; i < config->n_plugins; i++)
		json_object_array_add(plugins, plugin_of(&config->plugins[i]));
	json_object_object_add(line, "nics", nics);
	json_object_object_add(line, "plugins", plugins);
}

struct json_object *kat_past_first_line(const struct kat_migration *m)
{
	struct json_object *line = json_object_new_object();

	put_int(line, "katamaran", KAT_JOURNAL_FORMAT);
	put_string(line, "version", PACKAGE_VERSION);
	put_string(line, "id", m->id);
	put_int(line, "pid", getpid());
	put_int(line, "start", (int64_t)kat_process_start(getpid()));
	put_int(line, "pid_namespace", (int64_t)kat_pid_namespace());
	put_int(line, "began", time(NULL));
	put_string(line, "vm_name", m->vm_name);
	put_string(line, "vm_uuid", m->vm_uuid);
	put_int(line, "qemu_pid", m->qemu_pid);
	put_int(line, "qemu_told", m->config->qemu_pid);
	put_int(line, "qemu_start", (int64_t)kat_process_start(m->qemu_pid));
	put_config(line, m);
	return line;
}

/* ---- and back ---- */

static char *take_string(struct json_object *object, const char *member)
{
	const char *text = kat_json_string(object, member);

	return text ? kat_strdup(text) : NULL;
}

static struct json_object *element(struct json_object *array, size_t i)
{
	return json_object_array_get_idx(array, i);
}

static size_t elements(struct json_object *array)
{
	return json_object_is_type(array, json_type_array)
		       ? json_object_array_length(array)
		       : 0;
}

static const char *text_of(struct json_object *array, size_t i)
{
	struct json_object *text = element(array, i);

	return json_object_is_type(text, json_type_string) ? json_object_get_string(text)
							   : "";
}

static void take_nic(struct kat_config *config, struct json_object *object)
{
	struct kat_nic_config *nic = kat_config_add_nic(config);
	struct json_object *ips = kat_json_member(object, "ips");
	const char *mac = kat_json_string(object, "mac");

	nic->tap = take_string(object, "tap");
	nic->netns = take_string(object, "netns");
	nic->has_mac =
		mac && kat_key_set(kat_key_find("nics.mac"), nic, mac, true, NULL) == 0;
	for (size_t i = 0; i < elements(ips); i++)
		kat_key_set(kat_key_find("nics.ips"), nic, text_of(ips, i), true, NULL);
}

static void take_plugin(struct kat_config *config, struct json_object *object,
			const char *where)
{
	struct json_object *settings = kat_json_member(object, "settings");
	int64_t kind = kat_json_int(object, "kind", 0);
	const char *name = kat_json_string(object, "plugin");
	struct kat_plugin_config *plugin;

	if (kind < KATAMARAN_STORAGE || kind > KATAMARAN_ANNOUNCE || !name)
		return;
	plugin = kat_config_add_plugin(config, (uint32_t)kind, name, kat_strdup(where));
	for (size_t i = 0; i < elements(settings); i++) {
		struct json_object *from = element(settings, i);
		struct json_object *items = kat_json_member(from, "items");
		const char *key = kat_json_string(from, "name");
		struct kat_setting *setting;

		if (!key)
			continue;
		setting = kat_plugin_add_setting(plugin, key, kat_strdup(where));
		setting->type = (uint32_t)kat_json_int(from, "type", 0);
		setting->string = take_string(from, "string");
		setting->integer = kat_json_int(from, "integer", 0);
		for (size_t n = 0; n < elements(items); n++)
			kat_setting_add_item(setting, text_of(items, n));
	}
}

static void take_config(struct kat_config *config, struct json_object *line,
			const char *where)
{
	struct json_object *nics = kat_json_member(line, "nics");
	struct json_object *plugins = kat_json_member(line, "plugins");
	struct json_object *peer = kat_json_member(line, "peer");
	const char *role = kat_json_string(line, "role");

	kat_config_defaults(config);
	config->role = role && !strcmp(role, "source") ? KATAMARAN_SOURCE
						       : KATAMARAN_DESTINATION;
	config->qmp = take_string(line, "qmp");
	config->dest_ip = take_string(line, "dest_ip");
	config->port = (int)kat_json_int(line, "port", config->port);
	free(config->plugin_dir);
	config->plugin_dir = take_string(line, "plugin_dir");
	for (size_t i = 0; i < elements(peer); i++)
		kat_key_set(kat_key_find("peer.command"), config, text_of(peer, i), true,
			    NULL);
	for (size_t i = 0; i < elements(nics); i++)
		take_nic(config, element(nics, i));
	for (size_t i = 0; i < elements(plugins); i++)
		take_plugin(config, element(plugins, i), where);
}

static int take_first_line(struct kat_past *past, struct json_object *line,
			   struct kat_error **err)
{
	int64_t format = kat_json_int(line, "katamaran", 0);
	uint64_t namespace;
	const char *id = kat_json_string(line, "id");

	errno = 0;
	past->version = take_string(line, "version");
	if (format != KAT_JOURNAL_FORMAT)
		return kat_error_set(
			err, KAT_EXIT_HUMAN,
			"journal %s is in format %" PRId64 ", of katamaran %s; this is "
			"%s and knows format %d: recover it by the program that wrote it",
			past->name, format, past->version ? past->version : "?",
			PACKAGE_VERSION, KAT_JOURNAL_FORMAT);
	if (!id || strlen(id) >= sizeof(past->id) || !kat_json_string(line, "qmp"))
		return kat_error_set(err, KAT_EXIT_HUMAN,
				     "journal %s does not say whose it is", past->name);
	strcpy(past->id, id);
	past->pid = (pid_t)kat_json_int(line, "pid", 0);
	past->start = (uint64_t)kat_json_int(line, "start", 0);
	past->qemu_pid = (pid_t)kat_json_int(line, "qemu_pid", 0);
	past->qemu_start = (uint64_t)kat_json_int(line, "qemu_start", 0);
	namespace = (uint64_t)kat_json_int(line, "pid_namespace", 0);
	/* By that number there is another process here, or none.  Our own's lock tells.
	 */
	if (namespace && namespace != kat_pid_namespace())
		past->qemu_pid = 0;
	past->began_s = kat_json_int(line, "began", 0);
	past->vm_name = take_string(line, "vm_name");
	past->vm_uuid = take_string(line, "vm_uuid");
	take_config(&past->config, line, past->name);
	if (past->qemu_pid)
		past->config.qemu_pid = (pid_t)kat_json_int(line, "qemu_told", 0);
	return 0;
}

/* ---- the other lines ---- */

static void replace(char **text, const char *by)
{
	free(*text);
	*text = kat_strdup(by);
}

static bool take_qemu(struct kat_past *past, struct json_object *line)
{
	const char *what = kat_json_string(line, "qemu");

	if (!strcmp(what, "migrate"))
		past->migrate = true;
	else if (!strcmp(what, "parameters") && !past->parameters)
		past->parameters = json_object_get(kat_json_member(line, "before"));
	else if (!strcmp(what, "capabilities") && !past->capabilities)
		past->capabilities = json_object_get(kat_json_member(line, "before"));
	else
		return false;
	return true;
}

static bool take_record(struct kat_past *past, struct json_object *line)
{
	struct kat_record *record;

	if (!kat_json_string(line, "record"))
		return false;
	past->records =
		kat_grow(past->records, past->n_records + 1, sizeof(*past->records));
	record = &past->records[past->n_records++];
	record->step = (size_t)kat_json_int(line, "step", 0);
	record->plugin = take_string(line, "plugin");
	record->text = take_string(line, "record");
	return true;
}

static bool take_progress(struct kat_past *past, struct json_object *line)
{
	struct json_object *progress = kat_json_member(line, "progress");

	if (elements(progress) != 2)
		return false;
	past->done = json_object_get_int64(element(progress, 0));
	past->total = json_object_get_int64(element(progress, 1));
	past->pass = kat_json_int(line, "pass", 0);
	if (kat_json_string(line, "unit"))
		replace(&past->unit, kat_json_string(line, "unit"));
	return true;
}

static bool take_line(struct kat_past *past, struct json_object *line)
{
	if (kat_json_string(line, "plugin"))
		return take_record(past, line);
	if (kat_json_string(line, "qemu"))
		return take_qemu(past, line);
	if (kat_json_member(line, "progress"))
		return take_progress(past, line);
	if (kat_json_string(line, "other_qemu")) {
		replace(&past->other_qemu, kat_json_string(line, "other_qemu"));
		return true;
	}
	if (!kat_json_string(line, "phase"))
		return false;
	replace(&past->phase, kat_json_string(line, "phase"));
	return true;
}

static int take_text(struct kat_past *past, char *text, struct kat_error **err)
{
	bool first = true;
	char *end;

	for (; (end = strchr(text, '\n')); text = end + 1) {
		cleanup_json struct json_object *line = NULL;

		*end = '\0';
		line = json_tokener_parse(text);
		if (first && take_first_line(past, line, err) < 0)
			return -1;
		if (!first && !take_line(past, line))
			past->skipped++;
		first = false;
	}
	if (!first)
		return 0;
	errno = 0;
	return kat_error_set(err, KAT_EXIT_HUMAN, "journal %s has no first line",
			     past->name);
}

static char *read_all(int fd, struct kat_error **err, const char *name)
{
	struct stat st;
	char *text = NULL;
	ssize_t n = -1;

	if (fstat(fd, &st) == 0 && st.st_size < JOURNAL_MAX)
		text = calloc(1, (size_t)st.st_size + 1);
	if (text)
		n = pread(fd, text, (size_t)st.st_size, 0);
	if (n >= 0)
		return text; /* what a living one adds meanwhile is not of interest */
	kat_error_set(err, KAT_EXIT_FAILED, "cannot read journal %s: %m", name);
	free(text);
	return NULL;
}

static bool is_locked(int fd)
{
	if (flock(fd, LOCK_SH | LOCK_NB) < 0)
		return true;
	flock(fd, LOCK_UN);
	return false;
}

int kat_past_read(struct kat_past *past, int dir, const char *name,
		  struct kat_error **err)
{
	cleanup_free char *text = NULL;

	*past = (struct kat_past){.dir = dir, .fd = -1};
	snprintf(past->name, sizeof(past->name), "%s", name);
	past->fd = openat(dir, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	if (past->fd < 0 && errno == ENOENT)
		return 0;
	if (past->fd < 0)
		return kat_error_set(err, KAT_EXIT_FAILED, "cannot open journal %s: %m",
				     name);
	past->alive = is_locked(past->fd);
	text = read_all(past->fd, err, name);
	if (text && take_text(past, text, err) == 0)
		return 1;
	kat_past_free(past);
	return -1;
}

void kat_past_free(struct kat_past *past)
{
	for (size_t i = 0; i < past->n_records; i++) {
		free(past->records[i].plugin);
		free(past->records[i].text);
	}
	free(past->records);
	free(past->version);
	free(past->vm_name);
	free(past->vm_uuid);
	free(past->other_qemu);
	free(past->phase);
	free(past->unit);
	json_object_put(past->parameters);
	json_object_put(past->capabilities);
	kat_config_free(&past->config);
	if (past->fd >= 0)
		close(past->fd);
	*past = (struct kat_past){.dir = -1, .fd = -1};
}

bool kat_past_claim(struct kat_past *past)
{
	int64_t deadline = kat_deadline_ms(CLAIM_MS);
	struct stat st;

	while (flock(past->fd, LOCK_EX | LOCK_NB) < 0) {
		if (kat_now_ns() > deadline)
			return false;
		usleep(5000);
	}
	past->alive = false;
	/* Another recovery may have ended it meanwhile. */
	return fstat(past->fd, &st) == 0 && st.st_nlink > 0;
}

static int is_journal(const struct dirent *entry)
{
	size_t len = strlen(entry->d_name), suffix = strlen(KAT_JOURNAL_SUFFIX);

	return entry->d_name[0] != '.' && len > suffix && len < 64 &&
	       !strcmp(entry->d_name + len - suffix, KAT_JOURNAL_SUFFIX);
}

int kat_past_each(int dir, int (*each)(int dir, const char *name, void *data), void *data)
{
	struct dirent **names;
	int n = scandirat(dir, ".", &names, is_journal, alphasort);
	int ret = 0;

	for (int i = 0; i < n; i++) {
		if (!ret)
			ret = each(dir, names[i]->d_name, data);
		free(names[i]);
	}
	if (n >= 0)
		free(names);
	return ret;
}
