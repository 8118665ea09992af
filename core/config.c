/* SPDX-License-Identifier: BSD-2-Clause */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <libconfig.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "options.h"
#include "settings.h"
#include "util.h"

#define KATAMARAN_API_VERSION 1
#include "katamaran-plugin.h"

#define FILE_MAX_BYTES (1u << 20) /* a file that needs more was named by mistake */

/* The file that is being read, and what it is read into. */
struct reader {
	const char *file;
	struct kat_config *config;
	unsigned int listed; /* bit mask of the kinds of plugins that it names */
};

static int fail_at(const struct reader *r, unsigned int line, struct kat_error **err,
		   const char *fmt, ...) __attribute__((__format__(__printf__, 4, 5)));

/* "FILE:LINE: message" */
static int fail_at(const struct reader *r, unsigned int line, struct kat_error **err,
		   const char *fmt, ...)
{
	cleanup_free char *message = NULL;
	va_list ap;

	va_start(ap, fmt);
	message = kat_vformat(fmt, ap);
	va_end(ap);
	errno = 0;
	return kat_error_set(err, KAT_EXIT_USAGE, "%s:%u: %s", r->file, line, message);
}

/*
 * The text of the file
 */

static char *slurp(const char *path, struct kat_error **err)
{
	cleanup_fclose FILE *f = fopen(path, "re");
	cleanup_free char *text = NULL;
	char *whole;
	size_t len;

	if (!f) {
		kat_error_set(err, KAT_EXIT_USAGE, "cannot read %s: %m", path);
		return NULL;
	}
	text = kat_grow(NULL, FILE_MAX_BYTES + 1, 1);
	len = fread(text, 1, FILE_MAX_BYTES, f);
	if (len == FILE_MAX_BYTES)
		errno = EFBIG;
	if (ferror(f) || len == FILE_MAX_BYTES) {
		kat_error_set(err, KAT_EXIT_USAGE, "cannot read %s: %m", path);
		return NULL;
	}
	text[len] = '\0';
	if (strlen(text) != len) {
		errno = EILSEQ;
		kat_error_set(err, KAT_EXIT_USAGE, "cannot read %s: a NUL byte is in it",
			      path);
		return NULL;
	}
	whole = text;
	text = NULL;
	return whole;
}

/* Where the string or comment that begins at `c` ends; `c` itself if none does. */
static const char *skip_quoted(const char *c)
{
	const char *end;

	if (*c == '"') {
		for (c++; *c && *c != '"'; c++)
			c += *c == '\\' && c[1];
		return *c ? c + 1 : c;
	}
	if (*c == '#' || (c[0] == '/' && c[1] == '/'))
		return c + strcspn(c, "\n");
	if (c[0] != '/' || c[1] != '*')
		return c;
	end = strstr(c + 2, "*/");
	return end ? end + 2 : c + strlen(c);
}

/* Where the name, number, string, comment or other character at `c` ends. */
static const char *skip_token(const char *c)
{
	static const char letters[] = "-_*abcdefghijklmnopqrstuvwxyz"
				      "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.";
	const char *end = skip_quoted(c);

	if (end == c && isdigit((unsigned char)*c))
		end += strspn(c, letters + 1); /* a-2 is a name, 1-2 no number */
	else if (end == c && (isalpha((unsigned char)*c) || *c == '*'))
		end += strspn(c, letters);
	return end == c ? c + 1 : end;
}

/*
 * libconfig 1.5 takes 5000000000 for 705032704: only an L behind it makes 64
 * bits of it.  Puts that L behind each number that needs one.
 */
static int widen_numbers(const struct reader *r, const char *text, FILE *out,
			 struct kat_error **err)
{
	unsigned int line = 1;

	for (const char *c = text, *end; *c; c = end) {
		bool hex = c[0] == '0' && (c[1] == 'x' || c[1] == 'X');
		unsigned long long number = 0;
		char *stop = NULL;

		end = skip_token(c);
		errno = 0;
		if (isdigit((unsigned char)*c))
			number = strtoull(c, &stop, hex ? 16 : 10);
		if (errno || number > INT64_MAX)
			return fail_at(r, line, err, "%.*s does not fit 64 bits",
				       (int)(end - c), c);
		if (*c == '@')
			return fail_at(r, line, err,
				       "@include is not supported: one file says all");
		fwrite(c, 1, (size_t)(end - c), out);
		if (stop == end && number > INT_MAX)
			fputc('L', out);
		for (; c < end; c++)
			line += *c == '\n';
	}
	return 0;
}

/* Parses the text of r->file; `file` is initialised. */
static int parse_text(const struct reader *r, const char *text, config_t *file,
		      struct kat_error **err)
{
	cleanup_free char *wide = NULL;
	size_t size;
	FILE *out = open_memstream(&wide, &size);
	int ret;

	if (!out)
		return kat_error_set(err, KAT_EXIT_USAGE, "cannot read %s: %m", r->file);
	ret = widen_numbers(r, text, out, err);
	if (fclose(out) && ret == 0)
		ret = kat_error_set(err, KAT_EXIT_USAGE, "cannot read %s: %m", r->file);
	if (ret == 0 && !config_read_string(file, wide))
		ret = fail_at(r, (unsigned int)config_error_line(file), err, "%s",
			      config_error_text(file));
	return ret;
}

/*
 * From libconfig's tree into struct kat_config
 */

static const config_setting_t *element(const config_setting_t *s, int i)
{
	return config_setting_get_elem(s, (unsigned int)i);
}

static const char *type_name(const config_setting_t *s)
{
	switch (config_setting_type(s)) {
	case CONFIG_TYPE_INT:
	case CONFIG_TYPE_INT64:
		return "a whole number";
	case CONFIG_TYPE_FLOAT:
		return "a floating-point number";
	case CONFIG_TYPE_STRING:
		return "a string";
	case CONFIG_TYPE_BOOL:
		return "true or false";
	case CONFIG_TYPE_GROUP:
		return "a group";
	default:
		return "a list";
	}
}

static bool is_list(const config_setting_t *s)
{
	return config_setting_is_list(s) || config_setting_is_array(s);
}

static int64_t integer_of(const config_setting_t *s)
{
	return config_setting_type(s) == CONFIG_TYPE_INT ? config_setting_get_int(s)
							 : config_setting_get_int64(s);
}

static int wrong_type(const struct reader *r, const char *name, const config_setting_t *s,
		      const char *wanted, struct kat_error **err)
{
	return fail_at(r, s->line, err, "%s needs %s, but this is %s", name, wanted,
		       type_name(s));
}

/* A scalar as a flag would spell it; NULL if it has not the type that `key` needs. */
static char *scalar_text(const struct kat_key *key, const config_setting_t *s,
			 const char **wanted)
{
	int type = config_setting_type(s);

	switch (key->type) {
	case KAT_KEY_INT:
	case KAT_KEY_INT64:
		*wanted = "a whole number";
		if (type != CONFIG_TYPE_INT && type != CONFIG_TYPE_INT64)
			return NULL;
		return kat_format("%" PRId64, integer_of(s));
	case KAT_KEY_BOOL:
		*wanted = "true or false";
		if (type != CONFIG_TYPE_BOOL)
			return NULL;
		return kat_strdup(config_setting_get_bool(s) ? "true" : "false");
	default:
		*wanted = "a string";
		if (type != CONFIG_TYPE_STRING)
			return NULL;
		return kat_strdup(config_setting_get_string(s));
	}
}

static int read_scalar(const struct reader *r, const struct kat_key *key, void *base,
		       const config_setting_t *s, struct kat_error **err)
{
	const char *wanted;
	cleanup_free char *text = scalar_text(key, s, &wanted);

	if (!text)
		return wrong_type(r, key->path, s, wanted, err);
	if (kat_key_set(key, base, text, true, err) < 0)
		return kat_error_wrap(err, "%s:%u", r->file, s->line);
	return 0;
}

static int read_key(const struct reader *r, const struct kat_key *key, void *base,
		    const config_setting_t *s, struct kat_error **err)
{
	if (key->type != KAT_KEY_IPS && key->type != KAT_KEY_WORDS)
		return read_scalar(r, key, base, s, err);
	if (!is_list(s))
		return wrong_type(r, key->path, s, "a list of strings", err);
	for (int i = 0; i < config_setting_length(s); i++) {
		if (read_scalar(r, key, base, element(s, i), err) < 0)
			return -1;
	}
	return 0;
}

static int unknown_key(const struct reader *r, const char *prefix,
		       const config_setting_t *s, struct kat_error **err)
{
	cleanup_free char *allowed = kat_key_names(prefix);

	return fail_at(r, s->line, err, "unknown key \"%s%s\": allowed are %s", prefix,
		       config_setting_name(s), allowed);
}

/* The members of a group whose keys begin with `prefix`. */
static int read_group(const struct reader *r, const char *prefix, void *base,
		      const config_setting_t *group, struct kat_error **err)
{
	for (int i = 0; i < config_setting_length(group); i++) {
		const config_setting_t *s = element(group, i);
		cleanup_free char *path =
			kat_format("%s%s", prefix, config_setting_name(s));
		const struct kat_key *key = kat_key_find(path);

		if (!key)
			return unknown_key(r, prefix, s, err);
		if (read_key(r, key, base, s, err) < 0)
			return -1;
	}
	return 0;
}

static int read_nic(const struct reader *r, const struct kat_key *key,
		    const config_setting_t *s, struct kat_error **err)
{
	(void)key;
	return read_group(r, "nics.", kat_config_add_nic(r->config), s, err);
}

static int read_strings(const struct reader *r, struct kat_setting *setting,
			const config_setting_t *s, struct kat_error **err)
{
	for (int i = 0; i < config_setting_length(s); i++) {
		if (config_setting_type(element(s, i)) != CONFIG_TYPE_STRING)
			return wrong_type(r, setting->name, element(s, i),
					  "a list of strings", err);
		kat_setting_add_item(setting, config_setting_get_string(element(s, i)));
	}
	return 0;
}

/* A member of a plugin's group; the plan knows whether the plugin wants it. */
static int read_setting(const struct reader *r, struct kat_plugin_config *entry,
			const config_setting_t *s, struct kat_error **err)
{
	struct kat_setting *setting = kat_plugin_add_setting(
		entry, config_setting_name(s), kat_format("%s:%u", r->file, s->line));

	switch (config_setting_type(s)) {
	case CONFIG_TYPE_STRING:
		setting->type = KATAMARAN_STRING;
		setting->string = kat_strdup(config_setting_get_string(s));
		return 0;
	case CONFIG_TYPE_INT:
	case CONFIG_TYPE_INT64:
		setting->type = KATAMARAN_INT;
		setting->integer = integer_of(s);
		return 0;
	case CONFIG_TYPE_BOOL:
		setting->type = KATAMARAN_BOOL;
		setting->integer = config_setting_get_bool(s) != 0;
		return 0;
	case CONFIG_TYPE_ARRAY:
	case CONFIG_TYPE_LIST:
		setting->type = KATAMARAN_LIST;
		return read_strings(r, setting, s, err);
	default:
		return wrong_type(r, setting->name, s,
				  "a string, a whole number, true or false, or a list of "
				  "strings",
				  err);
	}
}

static int read_plugin(const struct reader *r, const struct kat_key *key,
		       const config_setting_t *group, struct kat_error **err)
{
	const config_setting_t *name = config_setting_get_member(group, "plugin");
	struct kat_plugin_config *entry;

	if (!name)
		return fail_at(r, group->line, err, "%s names no plugin: plugin = \"…\";",
			       key->path);
	if (config_setting_type(name) != CONFIG_TYPE_STRING)
		return wrong_type(r, "plugin", name, "a string", err);
	if (!*config_setting_get_string(name))
		return fail_at(r, name->line, err,
			       "invalid %s.plugin \"\": allowed is a plugin's name, or "
			       "a path with a slash",
			       key->path);
	entry = kat_config_add_plugin(r->config, (uint32_t)key->min,
				      config_setting_get_string(name),
				      kat_format("%s:%u", r->file, name->line));
	for (int i = 0; i < config_setting_length(group); i++) {
		const config_setting_t *s = element(group, i);

		if (s != name && read_setting(r, entry, s, err) < 0)
			return -1;
	}
	return 0;
}

/* One group, or a list of groups. */
static int read_groups(const struct reader *r, const struct kat_key *key,
		       const config_setting_t *s,
		       int (*read_one)(const struct reader *, const struct kat_key *,
				       const config_setting_t *, struct kat_error **),
		       struct kat_error **err)
{
	static const char wanted[] = "a group, or a list of groups";
	const char *name = config_setting_name(s);

	if (config_setting_is_group(s))
		return read_one(r, key, s, err);
	if (!is_list(s))
		return wrong_type(r, name, s, wanted, err);
	for (int i = 0; i < config_setting_length(s); i++) {
		if (!config_setting_is_group(element(s, i)))
			return wrong_type(r, name, element(s, i), wanted, err);
		if (read_one(r, key, element(s, i), err) < 0)
			return -1;
	}
	return 0;
}

/* cutover "none" and announce "none" are no plugins, but the lack of one. */
static int read_plugins(struct reader *r, const struct kat_key *key,
			const config_setting_t *s, struct kat_error **err)
{
	uint32_t kind = (uint32_t)key->min;
	size_t count;

	r->listed |= 1u << kind;
	if (read_groups(r, key, s, read_plugin, err) < 0)
		return -1;
	count = kat_config_count(r->config, kind);
	if (kind == KATAMARAN_STORAGE && !count)
		return fail_at(r, s->line, err,
			       "storage is empty: allowed is a plugin, \"none\" for a "
			       "guest without a disk to move");
	for (size_t i = 0; kind != KATAMARAN_STORAGE && i < r->config->n_plugins; i++) {
		const struct kat_plugin_config *entry = &r->config->plugins[i];

		if (entry->kind != kind || !kat_plugin_is(entry, "none"))
			continue;
		if (count > 1 || entry->n_settings)
			return fail_at(
				r, s->line, err,
				"%s \"none\" stands alone: no setting and no plugin "
				"goes with it",
				key->path);
		kat_config_keep(r->config, kind, NULL);
		break;
	}
	return 0;
}

static int read_member(struct reader *r, const config_setting_t *s,
		       struct kat_error **err)
{
	const char *name = config_setting_name(s);
	const struct kat_key *key = kat_key_find(name);
	cleanup_free char *prefix = kat_format("%s.", name);
	cleanup_free char *members = kat_key_names(prefix);

	if (key && key->type == KAT_KEY_PLUGINS)
		return read_plugins(r, key, s, err);
	if (key)
		return read_key(r, key, r->config, s, err);
	if (!*members)
		return unknown_key(r, "", s, err);
	if (strcmp(name, "nics") == 0)
		return read_groups(r, NULL, s, read_nic, err);
	if (!config_setting_is_group(s))
		return wrong_type(r, name, s, "a group", err);
	return read_group(r, prefix, r->config, s, err);
}

static void cleanup_libconfig(config_t *file)
{
	config_destroy(file);
}

static int read_file(struct reader *r, struct kat_error **err)
{
	__attribute__((__cleanup__(cleanup_libconfig))) config_t file;
	cleanup_free char *text = NULL;
	const config_setting_t *root;

	config_init(&file);
	text = slurp(r->file, err);
	if (!text || parse_text(r, text, &file, err) < 0)
		return -1;
	root = config_root_setting(&file);
	for (int i = 0; i < config_setting_length(root); i++) {
		if (read_member(r, element(root, i), err) < 0)
			return -1;
	}
	return 0;
}

static int fill(struct kat_config *config, const struct kat_options *options,
		enum kat_action *action, struct kat_error **err)
{
	struct reader r = {.config = config, .file = kat_options_value(options, "c")};
	const char *mode = kat_options_value(options, "mode");
	bool migrate = options->action == KAT_ACTION_MIGRATE;

	kat_config_defaults(config);
	errno = 0;
	if (r.file && !*r.file)
		return kat_error_set(
			err, KAT_EXIT_USAGE,
			"invalid -c \"\": allowed is a path that is not empty");
	if (r.file && read_file(&r, err) < 0)
		return -1;
	if (migrate && (mode ? !*mode : !config->role)) {
		*action = KAT_ACTION_HELP;
		errno = 0;
		return kat_error_set(err, KAT_EXIT_USAGE,
				     "no mode: -mode source or -mode dest says which end "
				     "this is");
	}
	if (kat_config_apply(config, options, r.listed, err) < 0)
		return -1;
	if (!config->event_s) /* whatever the source may take for it */
		config->event_s = config->storage_sync_s + config->migration_s;
	return migrate ? kat_config_check(config, err) : 0;
}

int kat_config_load(int argc, char **argv, struct kat_config *config,
		    enum kat_action *action, char **name, struct kat_error **err)
{
	struct kat_options options;
	int ret;

	*config = (struct kat_config){.role = 0};
	*action = KAT_ACTION_MIGRATE;
	*name = NULL;
	if (kat_options_parse(argc, argv, &options, err) < 0)
		return -1;
	*action = options.action;
	if (*action == KAT_ACTION_HELP || *action == KAT_ACTION_VERSION)
		return 0;
	ret = fill(config, &options, action, err);
	if (ret < 0) {
		kat_config_free(config);
		return ret;
	}
	if (options.id)
		*name = kat_strdup(options.id);
	return 0;
}
