/* SPDX-License-Identifier: BSD-2-Clause */
/* The two QEMUs against each other; pure, on what each has told. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#define KATAMARAN_API_VERSION 1
#include "check_qemu.h"
#include "katamaran-plugin.h"
#include "util.h"

/* Devices or capabilities that are named in a line; of more the number is told. */
#define NAMED 4

__attribute__((__format__(__printf__, 4, 5))) static void add(struct kat_findings *list,
							      int level, const char *what,
							      const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	kat_findings_add(list, level, "both", what, kat_vformat(fmt, ap));
	va_end(ap);
}

static void compare_versions(struct kat_findings *list, int64_t source,
			     int64_t destination)
{
	int s = (int)source, d = (int)destination;

	if (d / 100 < s / 100)
		add(list, KATAMARAN_WARNING, "QEMU versions",
		    "%d.%d.%d on the source, %d.%d.%d on the destination: QEMU promises "
		    "to "
		    "take a guest from an older version, not from a newer one; give the "
		    "destination %d.%d or later",
		    s / 10000, s / 100 % 100, s % 100, d / 10000, d / 100 % 100, d % 100,
		    s / 10000, s / 100 % 100);
	else
		add(list, KATAMARAN_OK, "QEMU versions",
		    "%d.%d.%d on the source, %d.%d.%d on the destination", s / 10000,
		    s / 100 % 100, s % 100, d / 10000, d / 100 % 100, d % 100);
}

/* "pc-q35-7.2" of "pc-q35-7.2-machine". */
static int type_length(const char *type)
{
	const char *end = strstr(type, "-machine");

	return (int)(end ? (size_t)(end - type) : strlen(type));
}

static void compare_machines(struct kat_findings *list, struct json_object *source,
			     struct json_object *destination)
{
	const char *s = json_object_get_string(source);
	const char *d = json_object_get_string(destination);

	if (!strcmp(s, d))
		add(list, KATAMARAN_OK, "machine types", "%.*s on both", type_length(s),
		    s);
	else
		add(list, KATAMARAN_FAILURE, "machine types",
		    "%.*s on the source, %.*s on the destination: start the "
		    "destination's "
		    "QEMU with -machine %.*s",
		    type_length(s), s, type_length(d), d, type_length(s), s);
}

static void compare_memory(struct kat_findings *list, int64_t source, int64_t destination)
{
	if (source == destination)
		add(list, KATAMARAN_OK, "memory", "%" PRId64 " KiB on both",
		    source / 1024);
	else
		add(list, KATAMARAN_FAILURE, "memory",
		    "%" PRId64 " KiB on the source, %" PRId64
		    " KiB on the destination: start the destination's QEMU with the same "
		    "-m, and what was plugged in since",
		    source / 1024, destination / 1024);
}

static void compare_processors(struct kat_findings *list, struct json_object *source,
			       struct json_object *destination)
{
	int64_t s = kat_json_int(source, "processors", 0);
	int64_t d = kat_json_int(destination, "processors", 0);
	const char *model_s = kat_json_string(source, "processor");
	const char *model_d = kat_json_string(destination, "processor");
	bool alike = !model_s || !model_d || !strcmp(model_s, model_d);

	if (s != d)
		add(list, KATAMARAN_FAILURE, "processors",
		    "%" PRId64 " on the source, %" PRId64
		    " on the destination: start the destination's QEMU with the same "
		    "-smp",
		    s, d);
	else if (!alike)
		add(list, KATAMARAN_FAILURE, "processors",
		    "%s on the source, %s on the destination: start the destination's "
		    "QEMU "
		    "with the same -cpu",
		    model_s, model_d);
	else
		add(list, KATAMARAN_OK, "processors", "%" PRId64 " on both", s);
}

/* What a sorted array has that another one has not. */
struct difference {
	size_t count;
	char names[640];
};

static void note(struct difference *difference, const char *name)
{
	size_t used = strlen(difference->names);

	if (difference->count++ < NAMED)
		snprintf(difference->names + used, sizeof(difference->names) - used,
			 "%s%s", used ? ", " : "", name);
	else if (difference->count == NAMED + 1)
		snprintf(difference->names + used, sizeof(difference->names) - used,
			 " and more");
}

static void subtract(struct json_object *a, struct json_object *b,
		     struct difference *only_a, struct difference *only_b)
{
	size_t n = json_object_array_length(a), m = json_object_array_length(b);
	size_t i = 0, j = 0;

	while (i < n || j < m) {
		const char *x =
			i < n ? json_object_get_string(json_object_array_get_idx(a, i))
			      : NULL;
		const char *y =
			j < m ? json_object_get_string(json_object_array_get_idx(b, j))
			      : NULL;
		int order = !x ? 1 : !y ? -1 : strcmp(x, y);

		if (order < 0)
			note(only_a, x);
		if (order > 0)
			note(only_b, y);
		i += order <= 0;
		j += order >= 0;
	}
}

/*
 * The state of a device that the destination lacks cannot be loaded; one that
 * only it has appears to the guest out of nowhere.
 */
static void compare_devices(struct kat_findings *list, struct json_object *source,
			    struct json_object *destination)
{
	struct difference only_source = {0}, only_destination = {0};

	subtract(source, destination, &only_source, &only_destination);
	if (only_source.count)
		add(list, KATAMARAN_FAILURE, "devices",
		    "%zu of the source that the destination has not, or at another "
		    "address: %s; start the destination's QEMU with the same -device",
		    only_source.count, only_source.names);
	if (only_destination.count)
		add(list, only_source.count ? KATAMARAN_FAILURE : KATAMARAN_WARNING,
		    "devices",
		    "%zu of the destination that the source has not: %s; the guest would "
		    "see them appear",
		    only_destination.count, only_destination.names);
	if (!only_source.count && !only_destination.count)
		add(list, KATAMARAN_OK, "devices", "the same %zu on both",
		    json_object_array_length(source));
}

static void compare_capabilities(struct kat_findings *list, struct json_object *source,
				 struct json_object *destination)
{
	struct difference only_source = {0}, only_destination = {0};

	subtract(source, destination, &only_source, &only_destination);
	if (only_source.count)
		add(list, KATAMARAN_WARNING, "capabilities",
		    "switched on at the source only: %s; set them alike by "
		    "migrate-set-capabilities",
		    only_source.names);
	if (only_destination.count)
		add(list, KATAMARAN_WARNING, "capabilities",
		    "switched on at the destination only: %s; set them alike by "
		    "migrate-set-capabilities",
		    only_destination.names);
}

/* A member that both have, of this type; says so where one has not told. */
static bool both_told(struct kat_findings *list, const char *what, enum json_type type,
		      struct json_object *source, struct json_object *destination)
{
	if (json_object_is_type(source, type) && json_object_is_type(destination, type))
		return true;
	add(list, KATAMARAN_WARNING, what,
	    "not compared: the %s's QEMU does not tell; see to it that they are alike",
	    json_object_is_type(source, type) ? "destination" : "source");
	return false;
}

void kat_check_compare(struct kat_findings *list, struct json_object *source,
		       struct json_object *destination)
{
#define MEMBERS(name) kat_json_member(source, name), kat_json_member(destination, name)
#define NUMBERS(name) kat_json_int(source, name, 0), kat_json_int(destination, name, 0)
	if (both_told(list, "QEMU versions", json_type_int, MEMBERS("version")))
		compare_versions(list, NUMBERS("version"));
	if (both_told(list, "machine types", json_type_string, MEMBERS("machine")))
		compare_machines(list, MEMBERS("machine"));
	if (both_told(list, "memory", json_type_int, MEMBERS("memory")))
		compare_memory(list, NUMBERS("memory"));
	if (both_told(list, "processors", json_type_int, MEMBERS("processors")))
		compare_processors(list, source, destination);
	if (both_told(list, "devices", json_type_array, MEMBERS("devices")))
		compare_devices(list, MEMBERS("devices"));
	if (both_told(list, "capabilities", json_type_array, MEMBERS("capabilities")))
		compare_capabilities(list, MEMBERS("capabilities"));
#undef MEMBERS
#undef NUMBERS
}
