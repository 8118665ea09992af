/* SPDX-License-Identifier: BSD-2-Clause */
#include "plugins/lib/kernel.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>

static void close_file(FILE **file)
{
	if (*file)
		fclose(*file);
}

#define cleanup_file __attribute__((__cleanup__(close_file)))

static bool exists(const char *root, const char *path)
{
	char whole[PATH_MAX];
	struct stat st;

	snprintf(whole, sizeof(whole), "%s%s", root, path);
	return stat(whole, &st) == 0;
}

/* Whether a line of the file has the word, as `match` sees it. */
static bool any_line(const char *root, const char *path, const char *word,
		     bool (*match)(char *line, const char *word))
{
	cleanup_file FILE *file = NULL;
	char whole[PATH_MAX], line[1024];

	snprintf(whole, sizeof(whole), "%s%s", root, path);
	file = fopen(whole, "re");
	while (file && fgets(line, sizeof(line), file))
		if (match(line, word))
			return true;
	return false;
}

/* "ipip 16384 0 - Live 0x0" */
static bool is_first_word(char *line, const char *word)
{
	size_t length = strlen(word);

	return !strncmp(line, word, length) && line[length] == ' ';
}

/* "kernel/net/ipv4/ip-gre.ko.xz: kernel/...": a hyphen is an underscore. */
static bool is_module_file(char *line, const char *word)
{
	char *end = line + strcspn(line, ":\n"), *name;

	*end = '\0';
	name = strrchr(line, '/');
	name = name ? name + 1 : line;
	end = strstr(name, ".ko");
	if (!end)
		return false;
	*end = '\0';
	for (char *c = name; *c; c++)
		if (*c == '-')
			*c = '_';
	return !strcmp(name, word);
}

/* "0000000000000000 t plug_enqueue	[sch_plug]"; a compiler may add ".cold". */
static bool is_symbol(char *line, const char *word)
{
	char *name = strchr(line, ' ');
	size_t length = strlen(word);

	name = name ? strchr(name + 1, ' ') : NULL;
	if (!name || strncmp(name + 1, word, length) != 0)
		return false;
	return strchr("\t\n .", name[1 + length]) != NULL;
}

enum kat_kernel kat_kernel_module_in(const char *root, const char *release,
				     const char *module, const char *symbol)
{
	char path[512];

	snprintf(path, sizeof(path), "/sys/module/%s", module);
	if (exists(root, path) || any_line(root, "/proc/modules", module, is_first_word))
		return KAT_KERNEL_HAS;
	snprintf(path, sizeof(path), "/lib/modules/%s/modules.builtin", release);
	if (any_line(root, path, module, is_module_file))
		return KAT_KERNEL_HAS;
	snprintf(path, sizeof(path), "/lib/modules/%s/modules.dep", release);
	if (any_line(root, path, module, is_module_file))
		return KAT_KERNEL_LOADS;
	/* A long file: only where the kernel's own list of what it has is not there. */
	if (!exists(root, path) && any_line(root, "/proc/kallsyms", symbol, is_symbol))
		return KAT_KERNEL_HAS;
	/* A kernel without modules has no such file, and nothing to load. */
	if (exists(root, "/proc/modules") && !exists(root, path))
		return KAT_KERNEL_UNKNOWN;
	return KAT_KERNEL_LACKS;
}

enum kat_kernel kat_kernel_module(const char *module, const char *symbol)
{
	struct utsname name;

	if (uname(&name) < 0)
		return KAT_KERNEL_UNKNOWN;
	return kat_kernel_module_in("", name.release, module, symbol);
}

bool kat_kernel_may(int capability)
{
	cleanup_file FILE *file = fopen("/proc/self/status", "re");
	uint64_t effective;
	char line[128];

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "CapEff: %" SCNx64, &effective) == 1)
			return effective & (UINT64_C(1) << capability);
	return true;
}
