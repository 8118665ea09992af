/* SPDX-License-Identifier: BSD-2-Clause */
#define KATAMARAN_API_VERSION 1
#include "plugins/lib/script_setup.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* Whoever may write it, or put another in its place, may run programs as us. */
static int check_one(struct katamaran_ctx *ctx, const char *path, bool folder)
{
	bool writable;
	struct stat st;

	if (stat(path, &st) < 0) {
		katamaran_error(ctx, "%s: cannot be looked at: %m", path);
		return -1;
	}
	/* In a sticky folder others cannot replace what is not theirs. */
	writable =
		(st.st_mode & (S_IWGRP | S_IWOTH)) && !(folder && st.st_mode & S_ISVTX);
	if (st.st_uid != 0 && st.st_uid != geteuid())
		katamaran_error(
			ctx,
			"refusing %s: it belongs to user %u, not to root or to the "
			"user who runs katamaran",
			path, (unsigned int)st.st_uid);
	else if (writable)
		katamaran_error(ctx, "refusing %s: others may write it (mode %04o)", path,
				(unsigned int)(st.st_mode & 07777));
	else if (!folder && !S_ISREG(st.st_mode))
		katamaran_error(ctx, "%s: is not a regular file", path);
	else if (!folder && faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) < 0)
		katamaran_error(ctx, "%s: cannot be executed: %m", path);
	else
		return 0;
	return -1;
}

static int check_path(struct katamaran_ctx *ctx, struct kat_script *s)
{
	const char *path = katamaran_conf_string(ctx, "path");
	char *folder;
	int ret;

	if (*path != '/') {
		katamaran_error(ctx, "path %s: must be absolute", path);
		return -1;
	}
	s->path = realpath(path, NULL);
	if (!s->path) {
		katamaran_error(ctx, "%s: %m", path);
		return -1;
	}
	if (check_one(ctx, s->path, false) < 0)
		return -1;
	folder = strdup(s->path);
	ret = folder ? 0 : -1;
	while (ret == 0 && strcmp(folder, "/") != 0)
		ret = check_one(ctx, dirname(folder), true);
	free(folder);
	return ret;
}

static int read_roles(struct katamaran_ctx *ctx, struct kat_script *s)
{
	const char *const *names;
	size_t n = katamaran_conf_list(ctx, "roles", &names);
	uint32_t roles = 0;

	for (size_t i = 0; i < n; i++) {
		if (!strcmp(names[i], "source"))
			roles |= KATAMARAN_SOURCE;
		else if (!strcmp(names[i], "destination"))
			roles |= KATAMARAN_DESTINATION;
		else {
			katamaran_error(ctx,
					"roles: \"%s\" is neither source nor destination",
					names[i]);
			return -1;
		}
	}
	s->here = (roles & katamaran_role(ctx)) != 0;
	return 0;
}

static int add_env(struct kat_script *s, const char *fmt, ...) KATAMARAN_PRINTF(2, 3);

static int add_env(struct kat_script *s, const char *fmt, ...)
{
	va_list args;
	int n;

	va_start(args, fmt);
	n = vasprintf(&s->env[s->n_env], fmt, args);
	va_end(args);
	if (n < 0)
		return -1;
	s->n_env++;
	return 0;
}

/* All of them with blanks between; NULL without memory. */
static char *join(const char *const *words, size_t n)
{
	size_t size = 1;
	char *text, *end;

	for (size_t i = 0; i < n; i++)
		size += strlen(words[i]) + 1;
	text = end = calloc(1, size);
	for (size_t i = 0; text && i < n; i++)
		end = stpcpy(stpcpy(end, i ? " " : ""), words[i]);
	return text;
}

static int add_nic(struct katamaran_ctx *ctx, struct kat_script *s, size_t nic)
{
	const char *tap = katamaran_nic_tap(ctx, nic);
	const char *netns = katamaran_nic_netns(ctx, nic);
	const uint8_t *m = katamaran_nic_mac(ctx, nic);
	const char *const *ips;
	size_t n = katamaran_nic_ips(ctx, nic, &ips);
	char *all = join(ips, n), mac[18] = "";
	int ret = -1;

	if (m)
		snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1],
			 m[2], m[3], m[4], m[5]);
	if (all && add_env(s, "KATAMARAN_NIC%zu_TAP=%s", nic, tap ? tap : "") == 0 &&
	    add_env(s, "KATAMARAN_NIC%zu_NETNS=%s", nic, netns ? netns : "") == 0 &&
	    add_env(s, "KATAMARAN_NIC%zu_MAC=%s", nic, mac) == 0)
		ret = add_env(s, "KATAMARAN_NIC%zu_IPS=%s", nic, all);
	free(all);
	return ret;
}

/* "bgp-as=65000" becomes KATAMARAN_OPT_BGP_AS=65000. */
static int add_setting(struct katamaran_ctx *ctx, struct kat_script *s,
		       const char *setting)
{
	size_t length = strcspn(setting, "=");
	char *env;

	if (!length || !setting[length] ||
	    strspn(setting, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
			    "0123456789_-") != length) {
		katamaran_error(ctx, "settings: \"%s\" is not NAME=VALUE", setting);
		return -1;
	}
	if (add_env(s, "KATAMARAN_OPT_%s", setting) < 0)
		return -1;
	env = s->env[s->n_env - 1] + strlen("KATAMARAN_OPT_");
	for (size_t i = 0; i < length; i++)
		env[i] = env[i] == '-' ? '_' : (char)toupper((unsigned char)env[i]);
	return 0;
}

static int make_env(struct katamaran_ctx *ctx, struct kat_script *s)
{
	const char *const *settings;
	size_t n_settings = katamaran_conf_list(ctx, "settings", &settings);
	size_t n_nics = katamaran_nic_count(ctx);
	const char *peer = katamaran_peer(ctx);

	s->env = calloc(8 + 4 * n_nics + n_settings + KAT_SCRIPT_CALL_ENV + 1,
			sizeof(*s->env));
	if (!s->env || add_env(s, "%s", PATH) < 0 || add_env(s, "KATAMARAN_API=1") < 0 ||
	    add_env(s, "KATAMARAN_ROLE=%s",
		    katamaran_role(ctx) == KATAMARAN_SOURCE ? "source" : "destination") <
		    0 ||
	    add_env(s, "KATAMARAN_ID=%s", katamaran_migration_id(ctx)) < 0 ||
	    add_env(s, "KATAMARAN_VM_NAME=%s", katamaran_vm_name(ctx)) < 0 ||
	    add_env(s, "KATAMARAN_VM_UUID=%s", katamaran_vm_uuid(ctx)) < 0 ||
	    add_env(s, "KATAMARAN_PEER=%s", peer ? peer : "") < 0 ||
	    add_env(s, "KATAMARAN_NICS=%zu", n_nics) < 0)
		return -1;
	for (size_t i = 0; i < n_nics; i++)
		if (add_nic(ctx, s, i) < 0)
			return -1;
	for (size_t i = 0; i < n_settings; i++)
		if (add_setting(ctx, s, settings[i]) < 0)
			return -1;
	return 0;
}

static int make_argv(struct katamaran_ctx *ctx, struct kat_script *s)
{
	const char *const *args;
	size_t n = katamaran_conf_list(ctx, "args", &args);

	s->argv = calloc(n + 3, sizeof(*s->argv));
	if (!s->argv)
		return -1;
	s->argv[0] = s->path;
	/* In memory that may be written, as their type wants it. */
	for (size_t i = 0; i < n; i++) {
		s->argv[i + 2] = strdup(args[i]);
		if (!s->argv[i + 2])
			return -1;
	}
	return 0;
}

void kat_script_free(struct kat_script *s)
{
	for (size_t i = 0; i < s->n_env; i++)
		free(s->env[i]);
	for (size_t i = 2; s->argv && s->argv[i]; i++)
		free(s->argv[i]);
	free(s->env);
	free(s->argv);
	free(s->path);
	free(s);
}

int kat_script_check(struct katamaran_ctx *ctx, struct kat_script *s)
{
	if (read_roles(ctx, s) < 0)
		return -1;
	return s->here ? check_path(ctx, s) : 0;
}

int kat_script_prepare(struct katamaran_ctx *ctx, struct kat_script *s)
{
	return make_argv(ctx, s) < 0 || make_env(ctx, s) < 0 ? -1 : 0;
}
