/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "settings.h"
#include "util.h"

#define KATAMARAN_API_VERSION 1
#include "katamaran-plugin.h"

struct kat_nic_config *kat_config_add_nic(struct kat_config *config)
{
	config->nics = kat_grow(config->nics, config->n_nics + 1, sizeof(*config->nics));
	return &config->nics[config->n_nics++];
}

struct kat_plugin_config *kat_config_add_plugin(struct kat_config *config, uint32_t kind,
						const char *plugin, char *where)
{
	struct kat_plugin_config *entry;
	size_t at = 0;

	while (at < config->n_plugins && config->plugins[at].kind <= kind)
		at++;
	config->plugins = kat_grow(config->plugins, config->n_plugins + 1,
				   sizeof(*config->plugins));
	entry = &config->plugins[at];
	memmove(entry + 1, entry, (config->n_plugins - at) * sizeof(*entry));
	config->n_plugins++;
	*entry = (struct kat_plugin_config){
		.kind = kind,
		.plugin = kat_strdup(plugin),
		.where = where,
	};
	return entry;
}

struct kat_setting *kat_plugin_add_setting(struct kat_plugin_config *entry,
					   const char *name, char *where)
{
	struct kat_setting *setting;

	entry->settings = kat_grow(entry->settings, entry->n_settings + 1,
				   sizeof(*entry->settings));
	setting = &entry->settings[entry->n_settings++];
	setting->name = kat_strdup(name);
	setting->where = where;
	return setting;
}

void kat_setting_add_item(struct kat_setting *setting, const char *item)
{
	setting->items =
		kat_grow(setting->items, setting->n_items + 2, sizeof(*setting->items));
	setting->items[setting->n_items++] = kat_strdup(item);
}

size_t kat_config_count(const struct kat_config *config, uint32_t kind)
{
	size_t count = 0;

	for (size_t i = 0; i < config->n_plugins; i++)
		count += config->plugins[i].kind == kind;
	return count;
}

bool kat_plugin_is(const struct kat_plugin_config *entry, const char *plugin)
{
	static const char *const prefixes[] = {
		[KATAMARAN_STORAGE] = "storage-",
		[KATAMARAN_CUTOVER] = "cutover-",
		[KATAMARAN_ANNOUNCE] = "announce-",
	};
	const char *prefix = prefixes[entry->kind];
	size_t len = strlen(prefix);

	if (strncmp(entry->plugin, prefix, len) == 0)
		return strcmp(entry->plugin + len, plugin) == 0;
	return strcmp(entry->plugin, plugin) == 0;
}

static void free_items(char ***items, size_t *n)
{
	for (size_t i = 0; i < *n; i++)
		free((*items)[i]);
	free(*items);
	*items = NULL;
	*n = 0;
}

static void free_plugin(struct kat_plugin_config *entry)
{
	for (size_t i = 0; i < entry->n_settings; i++) {
		struct kat_setting *setting = &entry->settings[i];

		free_items(&setting->items, &setting->n_items);
		free(setting->name);
		free(setting->where);
		free(setting->string);
	}
	free(entry->settings);
	free(entry->plugin);
	free(entry->where);
}

void kat_config_keep(struct kat_config *config, uint32_t kind, const char *plugin)
{
	size_t kept = 0;

	for (size_t i = 0; i < config->n_plugins; i++) {
		struct kat_plugin_config *entry = &config->plugins[i];

		if (entry->kind == kind && !(plugin && kat_plugin_is(entry, plugin)))
			free_plugin(entry);
		else
			config->plugins[kept++] = *entry;
	}
	config->n_plugins = kept;
}

void kat_config_free(struct kat_config *config)
{
	for (size_t i = 0; i < config->n_plugins; i++)
		free_plugin(&config->plugins[i]);
	for (size_t i = 0; i < config->n_nics; i++) {
		struct kat_nic_config *nic = &config->nics[i];

		free_items(&nic->ips, &nic->n_ips);
		free(nic->tap);
		free(nic->netns);
	}
	free(config->plugins);
	free(config->nics);
	free(config->qmp);
	free(config->sandbox);
	free(config->pod_ip);
	free(config->sandbox_dir);
	free(config->dest_ip);
	free(config->summary);
	free(config->plugin_dir);
	free(config->run_dir);
	free_items(&config->peer_command, &config->n_peer_words);
	*config = (struct kat_config){.role = 0};
}

/*
 * Defaults and flags
 */

void kat_config_defaults(struct kat_config *config)
{
	for (const struct kat_key *key = kat_keys; kat_key_exists(key); key++) {
		if (key->dflt && kat_key_set(key, config, key->dflt, true, NULL) < 0)
			abort(); /* the table contradicts itself */
	}
}

/* Calls `each` for the parts of "a,b,c", empty ones included. */
static int split(const char *list, int (*each)(void *data, const char *part), void *data)
{
	cleanup_free char *copy = kat_strdup(list);
	char *rest = copy, *part;

	while ((part = strsep(&rest, ",")) != NULL) {
		if (each(data, part) < 0)
			return -1;
	}
	return 0;
}

/* Where a flag's value goes. */
struct target {
	const struct kat_key *key;
	void *base;
	struct kat_error **err;
};

static int set_part(void *data, const char *part)
{
	const struct target *t = data;

	return kat_key_set(t->key, t->base, part, false, t->err);
}

/* Flags of a NIC change the first one. */
static int apply_value(struct kat_config *config, const struct kat_key *key,
		       const char *value, struct kat_error **err)
{
	struct target t = {key, config, err};
	struct kat_nic_config *nic;

	if (!kat_key_is_nic(key))
		return kat_key_set(key, config, value, false, err);
	nic = config->n_nics ? config->nics : kat_config_add_nic(config);
	if (key->type != KAT_KEY_IPS)
		return kat_key_set(key, nic, value, false, err);
	free_items(&nic->ips, &nic->n_ips);
	t.base = nic;
	return split(value, set_part, &t);
}

static int apply_values(struct kat_config *config, const struct kat_options *options,
			struct kat_error **err)
{
	for (size_t row = 0; kat_key_exists(&kat_keys[row]); row++) {
		const char *value = options->values[row];

		if (value && kat_keys[row].path &&
		    apply_value(config, &kat_keys[row], value, err) < 0)
			return -1;
	}
	return 0;
}

static int add_part(void *data, const char *part)
{
	if (!*part)
		return -1;
	kat_setting_add_item(data, part);
	return 0;
}

static int apply_drives(struct kat_config *config, const char *drives,
			struct kat_error **err)
{
	struct kat_plugin_config *storage;
	struct kat_setting *setting = NULL;

	if (!kat_config_count(config, KATAMARAN_STORAGE))
		kat_config_add_plugin(config, KATAMARAN_STORAGE, "nbd",
				      kat_strdup("-drive-id"));
	storage = &config->plugins[0]; /* storage comes first */
	for (size_t i = 0; i < storage->n_settings; i++) {
		if (strcmp(storage->settings[i].name, "drives") == 0)
			setting = &storage->settings[i];
	}
	if (!setting)
		setting = kat_plugin_add_setting(storage, "drives", NULL);
	free_items(&setting->items, &setting->n_items);
	free(setting->string);
	free(setting->where);
	setting->string = NULL;
	setting->where = kat_strdup("-drive-id");
	setting->type = KATAMARAN_LIST;
	errno = 0;
	if (split(drives, add_part, setting) < 0)
		return kat_error_set(
			err, KAT_EXIT_USAGE,
			"invalid -drive-id \"%s\": allowed are block devices of QEMU, "
			"with a comma between two",
			drives);
	return 0;
}

static void choose_plugin(struct kat_config *config, uint32_t kind, const char *plugin,
			  const char *where)
{
	kat_config_keep(config, kind, plugin);
	if (!kat_config_count(config, kind))
		kat_config_add_plugin(config, kind, plugin, kat_strdup(where));
}

static int apply_tunnel_mode(struct kat_config *config, const char *mode,
			     struct kat_error **err)
{
	static const char *const modes[] = {"ipip", "gre", "nftables"};

	if (strcmp(mode, "none") == 0) {
		kat_config_keep(config, KATAMARAN_CUTOVER, NULL);
		return 0;
	}
	for (size_t i = 0; i < KAT_ARRAY_SIZE(modes); i++) {
		if (strcmp(mode, modes[i]) != 0)
			continue;
		choose_plugin(config, KATAMARAN_CUTOVER, mode, "-tunnel-mode");
		return 0;
	}
	errno = 0;
	return kat_error_set(
		err, KAT_EXIT_USAGE,
		"invalid -tunnel-mode \"%s\": allowed is ipip, gre, nftables or none",
		mode);
}

static bool is_ipv6(const char *address)
{
	return strchr(address, ':') != NULL;
}

/*
 * Two flags of which none fits the other are a slip more often than a wish.
 * Who means it, an IPv6 guest between IPv4 nodes, writes the addresses into the
 * file; what carries the one in the other is then the cutover's to know.
 */
static int check_families(const struct kat_config *config, struct kat_error **err)
{
	const struct kat_nic_config *nic = &config->nics[0];

	if (!kat_config_count(config, KATAMARAN_CUTOVER))
		return 0;
	for (size_t n = 0; n < nic->n_ips; n++)
		if (is_ipv6(nic->ips[n]) == is_ipv6(config->dest_ip))
			return 0;
	errno = 0;
	return kat_error_set(
		err, KAT_EXIT_USAGE,
		"-dest-ip \"%s\" is IPv%d, but -vm-ip \"%s\" is IPv%d: the address "
		"families differ (if that is meant: nics.ips in a file)",
		config->dest_ip, is_ipv6(config->dest_ip) ? 6 : 4, nic->ips[0],
		is_ipv6(nic->ips[0]) ? 6 : 4);
}

/* Flags that say how an action is done mean nothing without it. */
static int check_actions(const struct kat_options *options, struct kat_error **err)
{
	static const struct {
		const char *flag, *action;
		enum kat_action of;
	} rows[] = {
		{"json", "status", KAT_ACTION_STATUS},
		{"confirm-other-stopped", "recover", KAT_ACTION_RECOVER},
	};

	for (size_t i = 0; i < KAT_ARRAY_SIZE(rows); i++) {
		if (!kat_options_value(options, rows[i].flag) ||
		    options->action == rows[i].of)
			continue;
		errno = 0;
		return kat_error_set(err, KAT_EXIT_USAGE, "-%s goes with -%s only",
				     rows[i].flag, rows[i].action);
	}
	return 0;
}

int kat_config_apply(struct kat_config *config, const struct kat_options *options,
		     unsigned int listed, struct kat_error **err)
{
	const char *drives = kat_options_value(options, "drive-id");
	const char *mode = kat_options_value(options, "tunnel-mode");
	bool shared = kat_options_value(options, "shared-storage") != NULL;

	if (check_actions(options, err) < 0 || apply_values(config, options, err) < 0)
		return -1;
	errno = 0;
	if (drives && shared)
		return kat_error_set(err, KAT_EXIT_USAGE,
				     "-drive-id and -shared-storage exclude each other: "
				     "disks are copied or shared");
	if (drives && apply_drives(config, drives, err) < 0)
		return -1;
	if (shared)
		choose_plugin(config, KATAMARAN_STORAGE, "shared", "-shared-storage");
	if (mode && apply_tunnel_mode(config, mode, err) < 0)
		return -1;
	if (!kat_config_count(config, KATAMARAN_STORAGE))
		choose_plugin(config, KATAMARAN_STORAGE, "none", "default");
	if (!mode && !(listed & 1u << KATAMARAN_CUTOVER))
		choose_plugin(config, KATAMARAN_CUTOVER, "ipip", "default");
	if (!(listed & 1u << KATAMARAN_ANNOUNCE))
		choose_plugin(config, KATAMARAN_ANNOUNCE, "announce-self", "default");
	config->verbose = kat_options_value(options, "v") != NULL;
	config->peer_stdio = kat_options_value(options, "peer-stdio") != NULL;
	config->guest_state = kat_options_value(options, "guest-state") != NULL;
	config->check = kat_options_value(options, "check") != NULL;
	config->json = kat_options_value(options, "json") != NULL;
	config->other_stopped =
		kat_options_value(options, "confirm-other-stopped") != NULL;
	if (kat_options_value(options, "dest-ip") && kat_options_value(options, "vm-ip"))
		return check_families(config, err);
	return 0;
}

/*
 * The whole
 */

static bool has_address(const struct kat_config *config)
{
	for (size_t i = 0; i < config->n_nics; i++) {
		if (config->nics[i].n_ips)
			return true;
	}
	return false;
}

static int check_missing(const struct kat_config *config, struct kat_error **err)
{
	bool source = config->role == KATAMARAN_SOURCE;
	bool cutover = kat_config_count(config, KATAMARAN_CUTOVER) != 0;
	bool given = !(config->sandbox || config->pod_ip) || config->qemu_pid;
	const struct {
		bool missing;
		const char *path;
	} rows[] = {
		{given && !config->qmp, "qmp"},
		{source && !config->dest_ip, "destination.ip"},
		{source && cutover && given && !has_address(config), "nics.ips"},
	};
	cleanup_free char *names = NULL;

	for (size_t i = 0; i < KAT_ARRAY_SIZE(rows); i++) {
		char *longer;

		if (!rows[i].missing)
			continue;
		longer = kat_format("%s%s-%s (in a file: %s)", names ? names : "",
				    names ? ", " : "", kat_key_find(rows[i].path)->flag,
				    rows[i].path);
		free(names);
		names = longer;
	}
	if (!names)
		return 0;
	errno = 0;
	return kat_error_set(err, KAT_EXIT_USAGE, "-mode %s needs %s",
			     source ? "source" : "dest", names);
}

static int check_address(const struct kat_config *config, const char *ip,
			 struct kat_error **err)
{
	errno = 0;
	if (!config->dest_ip)
		return 0;
	if (strcmp(ip, config->dest_ip) == 0)
		return kat_error_set(err, KAT_EXIT_USAGE,
				     "invalid -dest-ip \"%s\": -vm-ip is the same, but "
				     "allowed is the address of a node, not of the guest",
				     ip);
	return 0;
}

static bool same_text(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

/* An address or a tap that the guest has twice. */
static int check_twice(const struct kat_config *config, size_t i, size_t j,
		       struct kat_error **err)
{
	const struct kat_nic_config *a = &config->nics[i], *b = &config->nics[j];

	errno = 0;
	if (i != j && a->tap && same_text(a->tap, b->tap) &&
	    same_text(a->netns, b->netns))
		return kat_error_set(err, KAT_EXIT_USAGE,
				     "invalid -tap \"%s\": two NICs (nics.tap) have it, "
				     "but allowed is one tap for each",
				     a->tap);
	for (size_t n = 0; n < a->n_ips; n++) {
		for (size_t m = i == j ? n + 1 : 0; m < b->n_ips; m++) {
			if (strcmp(a->ips[n], b->ips[m]) == 0)
				return kat_error_set(err, KAT_EXIT_USAGE,
						     "invalid -vm-ip \"%s\": it is there "
						     "twice (nics.ips)",
						     a->ips[n]);
		}
	}
	return 0;
}

int kat_config_check(const struct kat_config *config, struct kat_error **err)
{
	errno = 0;
	if (config->sandbox && config->pod_ip)
		return kat_error_set(err, KAT_EXIT_USAGE,
				     "-sandbox (in a file: sandbox) and -pod-ip (pod_ip) "
				     "exclude each other: both say which guest");
	if (check_missing(config, err) < 0)
		return -1;
	for (size_t i = 0; i < config->n_nics; i++) {
		const struct kat_nic_config *nic = &config->nics[i];

		for (size_t n = 0; n < nic->n_ips; n++) {
			if (check_address(config, nic->ips[n], err) < 0)
				return -1;
		}
		for (size_t j = i; j < config->n_nics; j++) {
			if (check_twice(config, i, j, err) < 0)
				return -1;
		}
	}
	return 0;
}
