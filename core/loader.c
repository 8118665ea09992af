/* SPDX-License-Identifier: BSD-2-Clause */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "loader.h"
#include "util.h"

static const char *const kind_names[] = {
	[KATAMARAN_STORAGE] = "storage",
	[KATAMARAN_CUTOVER] = "cutover",
	[KATAMARAN_ANNOUNCE] = "announce",
};

const char *kat_loader_kind_name(uint32_t kind)
{
	return kind < KAT_ARRAY_SIZE(kind_names) ? kind_names[kind] : NULL;
}

/* Whoever may write the file may run code as us. */
static int refuse_if_others_write(const char *path, bool folder, struct kat_error **err)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return kat_error_set(err, KAT_EXIT_USAGE, "cannot look at plugin %s: %m",
				     path);
	if (folder ? !S_ISDIR(st.st_mode) : !S_ISREG(st.st_mode))
		return kat_error_set(err, KAT_EXIT_USAGE,
				     "plugin %s is not a regular file", path);
	if (st.st_uid != 0 && st.st_uid != geteuid())
		return kat_error_set(
			err, KAT_EXIT_USAGE,
			"refusing plugin %s: it belongs to user %u, not to root or"
			" to the user who runs katamaran",
			path, (unsigned int)st.st_uid);
	if (st.st_mode & (S_IWGRP | S_IWOTH))
		return kat_error_set(
			err, KAT_EXIT_USAGE,
			"refusing plugin %s: others may write it (mode %04o, at"
			" most 0755 is allowed)",
			path, (unsigned int)(st.st_mode & 07777));
	return 0;
}

static int check_file(const char *path, struct kat_error **err)
{
	cleanup_free char *copy = strdup(path);

	if (refuse_if_others_write(path, false, err) < 0)
		return -1;
	return refuse_if_others_write(dirname(copy), true, err);
}

static bool file_exists(const char *path)
{
	return access(path, F_OK) == 0;
}

/*
 * "ipip" of kind cutover is cutover-ipip.so; so is "cutover-ipip".  A name
 * whose kind nobody told is looked for under every kind.
 */
static char *find_file(const char *dir, uint32_t kind, const char *name)
{
	char *path = NULL;

	if (strchr(name, '/'))
		return strdup(name);
	for (uint32_t k = KATAMARAN_STORAGE; k <= KATAMARAN_ANNOUNCE; k++) {
		size_t len = strlen(kind_names[k]);

		if (kind && k != kind)
			continue;
		if (!strncmp(name, kind_names[k], len) && name[len] == '-') {
			if (asprintf(&path, "%s/%s.so", dir, name) < 0)
				return NULL;
			return path;
		}
		if (asprintf(&path, "%s/%s-%s.so", dir, kind_names[k], name) < 0)
			return NULL;
		if (kind || file_exists(path))
			return path;
		free(path);
		path = NULL;
	}
	return NULL;
}

/* Every copy that was handed out, reachable for as long as the program runs. */
static struct loaded {
	struct katamaran_plugin plugin;
	struct loaded *next;
} * loaded;

static bool good_name(const char *name)
{
	if (!name || *name < 'a' || *name > 'z' || strlen(name) > 40)
		return false;
	return strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == strlen(name);
}

/* What the plugin registered, copied over a zeroed struct of our own size. */
static const struct katamaran_plugin *take_plugin(const char *path,
						  const struct katamaran_plugin *theirs,
						  uint32_t kind, struct kat_error **err)
{
	struct loaded *entry;
	size_t size;

	if (!theirs || theirs->_api_version != KATAMARAN_API_VERSION) {
		kat_error_set(err, KAT_EXIT_USAGE,
			      "plugin %s was built for API version %" PRIu32
			      ", this katamaran offers version %d",
			      path, theirs ? theirs->_api_version : 0,
			      KATAMARAN_API_VERSION);
		return NULL;
	}
	size = theirs->_struct_size;
	if (size < offsetof(struct katamaran_plugin, dump)) {
		kat_error_set(
			err, KAT_EXIT_USAGE,
			"plugin %s registers a struct of %zu bytes, too short for API"
			" version %d",
			path, size, KATAMARAN_API_VERSION);
		return NULL;
	}
	if (!good_name(theirs->name) || !kat_loader_kind_name(theirs->kind) ||
	    !(theirs->roles & (KATAMARAN_SOURCE | KATAMARAN_DESTINATION))) {
		kat_error_set(err, KAT_EXIT_USAGE,
			      "plugin %s registers no proper name, kind and roles", path);
		return NULL;
	}
	if (kind && theirs->kind != kind) {
		kat_error_set(err, KAT_EXIT_USAGE, "plugin %s is of kind %s, not %s",
			      path, kat_loader_kind_name(theirs->kind),
			      kat_loader_kind_name(kind));
		return NULL;
	}
	entry = calloc(1, sizeof(*entry));
	if (!entry)
		abort();
	memcpy(&entry->plugin, theirs,
	       size < sizeof(entry->plugin) ? size : sizeof(entry->plugin));
	entry->next = loaded;
	loaded = entry;
	return &entry->plugin;
}

const struct katamaran_plugin *kat_loader_load(const char *dir, uint32_t kind,
					       const char *name, char **path,
					       struct kat_error **err)
{
	cleanup_free char *file = find_file(dir, kind, name);
	const struct katamaran_plugin *(*init)(void);
	const struct katamaran_plugin *plugin;
	void *so;

	if (!file || !file_exists(file)) {
		kat_error_set(err, KAT_EXIT_USAGE,
			      "no plugin \"%s\"%s%s: %s does not exist", name,
			      kind ? " of kind " : "",
			      kind ? kat_loader_kind_name(kind) : "",
			      file ? file : "a file of that name");
		return NULL;
	}
	if (check_file(file, err) < 0)
		return NULL;
	/* NODELETE, and never dlclose(): code of it may be on any stack. */
	so = dlopen(file, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
	if (!so) {
		kat_error_set(err, KAT_EXIT_USAGE, "cannot load plugin %s: %s", file,
			      dlerror());
		return NULL;
	}
	*(void **)&init = dlsym(so, "katamaran_plugin_init");
	if (!init) {
		kat_error_set(
			err, KAT_EXIT_USAGE,
			"%s is no katamaran plugin: it lacks KATAMARAN_REGISTER_PLUGIN",
			file);
		return NULL;
	}
	plugin = take_plugin(file, init(), kind, err);
	if (plugin && path)
		*path = strdup(file);
	return plugin;
}

static void dump_options(const struct katamaran_option *option)
{
	static const char *const types[] = {
		[KATAMARAN_STRING] = "string",
		[KATAMARAN_INT] = "int",
		[KATAMARAN_BOOL] = "bool",
		[KATAMARAN_LIST] = "list",
	};

	for (; option && option->name; option++) {
		printf("option.%s=%s", option->name,
		       option->type < KAT_ARRAY_SIZE(types) && types[option->type]
			       ? types[option->type]
			       : "?");
		if (option->flags & KATAMARAN_REQUIRED)
			printf(",required");
		if (option->dflt)
			printf(",default=%s", option->dflt);
		if (option->min || option->max)
			printf(",range=%" PRId64 "..%" PRId64, option->min, option->max);
		printf("\noption.%s.help=%s\n", option->name,
		       option->help ? option->help : "");
	}
}

int kat_loader_dump(const char *dir, const char *name, struct kat_error **err)
{
	cleanup_free char *path = NULL;
	const struct katamaran_plugin *p = kat_loader_load(dir, 0, name, &path, err);

	if (!p)
		return -1;
	printf("path=%s\nname=%s\nkind=%s\n", path, p->name,
	       kat_loader_kind_name(p->kind));
	printf("roles=%s%s%s\n", p->roles & KATAMARAN_SOURCE ? "source" : "",
	       (p->roles & 3u) == 3u ? "," : "",
	       p->roles & KATAMARAN_DESTINATION ? "destination" : "");
	printf("version=%s\ndescription=%s\n", p->version ? p->version : "",
	       p->description ? p->description : "");
	printf("api_version=%" PRIu32 "\nstruct_size=%" PRIu32 "\n", p->_api_version,
	       p->_struct_size);
	printf("has_open=%d\nhas_pre_copy=%d\nhas_on_stop=%d\nhas_on_resume=%d\n",
	       !!p->open, !!p->pre_copy, !!p->on_stop, !!p->on_resume);
	printf("has_cleanup=%d\nhas_on_event=%d\nhas_check=%d\nhas_recover=%d\n",
	       !!p->cleanup, !!p->on_event, !!p->check, !!p->recover);
	dump_options(p->options);
	if (p->dump)
		p->dump();
	return 0;
}

static int is_plugin_file(const struct dirent *entry)
{
	size_t len = strlen(entry->d_name);

	if (len < 4 || strcmp(entry->d_name + len - 3, ".so"))
		return 0;
	for (uint32_t k = KATAMARAN_STORAGE; k <= KATAMARAN_ANNOUNCE; k++)
		if (!strncmp(entry->d_name, kind_names[k], strlen(kind_names[k])))
			return 1;
	return 0;
}

int kat_loader_list(const char *dir, struct kat_error **err)
{
	struct dirent **entries;
	int n = scandir(dir, &entries, is_plugin_file, alphasort);

	if (n < 0)
		return kat_error_set(err, KAT_EXIT_USAGE,
				     "cannot read plugin folder %s: %m", dir);
	for (int i = 0; i < n; i++) {
		cleanup_error struct kat_error *why = NULL;
		const struct katamaran_plugin *p;
		char *name = entries[i]->d_name;

		name[strlen(name) - 3] = '\0';
		p = kat_loader_load(dir, 0, name, NULL, &why);
		if (p)
			printf("%-24s %s\n", name, p->description ? p->description : "");
		else
			printf("%-24s cannot be used: %s\n", name, why->message);
		free(entries[i]);
	}
	free(entries);
	return 0;
}
