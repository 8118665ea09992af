/* SPDX-License-Identifier: BSD-2-Clause */
/* Refuses what QEMU would refuse, by the file that tests/make-qmp-schema made. */
#include <err.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_qmp.h"
#include "util.h"

struct entry {
	char *kind, *name;
	char **words; /* NULL after the last */
	struct entry *next;
};

static struct entry *entries;
static struct json_object *greeting, *returns;
static char complaint[512];

static bool check_type(const char *type, struct json_object *value, const char *path);
static bool check_members(const struct entry *entry, struct json_object *object,
			  const char *path);

static struct json_object *parse_or_die(const char *path, const char *text)
{
	struct json_object *json = json_tokener_parse(text);

	if (!json)
		errx(2, "%s: not JSON: %.60s", path, text);
	return json;
}

static void add_entry(char *line)
{
	struct entry *entry = calloc(1, sizeof(*entry));
	size_t n = 0;

	if (!entry)
		abort();
	entry->kind = strdup(strtok(line, " "));
	entry->name = strdup(strtok(NULL, " "));
	for (char *word = strtok(NULL, " ");; word = strtok(NULL, " ")) {
		entry->words = reallocarray(entry->words, n + 1, sizeof(char *));
		if (!entry->words)
			abort();
		entry->words[n++] = word ? strdup(word) : NULL;
		if (!word)
			break;
	}
	entry->next = entries;
	entries = entry;
}

void schema_load(const char *path)
{
	cleanup_fclose FILE *file = fopen(path, "re");
	cleanup_free char *line = NULL;
	size_t size = 0;

	if (!file)
		err(2, "cannot open schema %s", path);
	returns = json_object_new_object();
	while (getline(&line, &size, file) > 0) {
		line[strcspn(line, "\n")] = '\0';
		if (!strncmp(line, "greeting ", 9)) {
			greeting = parse_or_die(path, line + 9);
		} else if (!strncmp(line, "return ", 7)) {
			char *command = line + 7, *json = strchr(command, ' ');

			*json++ = '\0';
			json_object_object_add(returns, command,
					       parse_or_die(path, json));
		} else if (*line && *line != '#') {
			add_entry(line);
		}
	}
	if (!greeting || !entries)
		errx(2, "%s is not made by tests/make-qmp-schema", path);
}

/* `kind` NULL: one of the types, whose names are numbers. */
static const struct entry *find(const char *kind, const char *name)
{
	for (struct entry *entry = entries; entry; entry = entry->next) {
		bool top =
			!strcmp(entry->kind, "command") || !strcmp(entry->kind, "event");

		if (!strcmp(entry->name, name) &&
		    (kind ? !strcmp(entry->kind, kind) : !top))
			return entry;
	}
	return NULL;
}

bool schema_knows(const char *kind, const char *name)
{
	return find(kind, name);
}

__attribute__((__format__(__printf__, 1, 2))) static bool complain(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(complaint, sizeof(complaint), fmt, ap);
	va_end(ap);
	return false;
}

static bool wrong_type(const char *path, const char *expected)
{
	return complain("Invalid parameter type for '%s', expected: %s", path, expected);
}

static const char *base_name(const char *path)
{
	const char *dot = strrchr(path, '.');

	return dot ? dot + 1 : path;
}

static bool check_array(const char *type, struct json_object *value, const char *path)
{
	char element[64], place[256];

	if (!json_object_is_type(value, json_type_array))
		return wrong_type(path, "array");
	snprintf(element, sizeof(element), "%.*s", (int)strlen(type) - 2, type + 1);
	for (size_t i = 0; i < json_object_array_length(value); i++) {
		snprintf(place, sizeof(place), "%s[%zu]", path, i);
		if (!check_type(element, json_object_array_get_idx(value, i), place))
			return false;
	}
	return true;
}

static bool check_builtin(const char *type, struct json_object *value, const char *path,
			  bool *is_builtin)
{
	static const struct {
		const char *name;
		enum json_type type;
		const char *called;
	} builtins[] = {
		{"str", json_type_string, "string"},	{"int", json_type_int, "integer"},
		{"bool", json_type_boolean, "boolean"}, {"null", json_type_null, "null"},
		{"number", json_type_double, "number"},
	};

	*is_builtin = true;
	if (!strcmp(type, "any"))
		return true;
	if (!strcmp(type, "number") && json_object_is_type(value, json_type_int))
		return true;
	for (size_t i = 0; i < KAT_ARRAY_SIZE(builtins); i++)
		if (!strcmp(type, builtins[i].name))
			return json_object_is_type(value, builtins[i].type) ||
			       wrong_type(path, builtins[i].called);
	*is_builtin = false;
	return true;
}

/* The JSON type chooses: at most one of the types is an object, one a string. */
static bool check_alternate(const struct entry *entry, struct json_object *value,
			    const char *path)
{
	bool is_object = json_object_is_type(value, json_type_object);

	for (char **word = entry->words; *word; word++) {
		const struct entry *type = find(NULL, *word);

		if (is_object && type && !strcmp(type->kind, "object"))
			return check_members(type, value, path);
		if (!is_object && check_type(*word, value, path))
			return true;
	}
	return wrong_type(path, "another");
}

static bool check_enum(const struct entry *entry, struct json_object *value,
		       const char *path)
{
	const char *text = json_object_get_string(value);

	if (!json_object_is_type(value, json_type_string))
		return wrong_type(path, "string");
	for (char **word = entry->words; *word; word++)
		if (!strcmp(*word, text))
			return true;
	return complain("Parameter '%s' does not accept value '%s'", base_name(path),
			text);
}

static bool check_type(const char *type, struct json_object *value, const char *path)
{
	const struct entry *entry;
	bool is_builtin, good;

	if (*type == '[')
		return check_array(type, value, path);
	good = check_builtin(type, value, path, &is_builtin);
	if (is_builtin)
		return good;
	entry = find(NULL, type);
	if (!entry)
		errx(2, "the schema lacks type %s", type);
	if (!strcmp(entry->kind, "enum"))
		return check_enum(entry, value, path);
	if (!strcmp(entry->kind, "alternate"))
		return check_alternate(entry, value, path);
	if (!json_object_is_type(value, json_type_object))
		return wrong_type(path, "object");
	return check_members(entry, value, path);
}

/* The object type that the value of the tag adds to `entry`, or NULL. */
static const struct entry *variant(const struct entry *entry, struct json_object *object)
{
	struct json_object *tag = NULL;
	const char *text = "";

	for (char **word = entry->words; *word; word++) {
		if (**word == '@') {
			json_object_object_get_ex(object, *word + 1, &tag);
			text = tag ? json_object_get_string(tag) : "";
		} else if (tag && strchr(*word, '=') &&
			   strcspn(*word, "=") == strlen(text) &&
			   !strncmp(*word, text, strlen(text))) {
			return find(NULL, strchr(*word, '=') + 1);
		}
	}
	return NULL;
}

static bool has_member(const struct entry *entry, struct json_object *object,
		       const char *name)
{
	const struct entry *more = variant(entry, object);

	for (char **word = entry->words; *word && **word != '@'; word++) {
		size_t len = strcspn(*word, "?:");

		if (len == strlen(name) && !strncmp(*word, name, len))
			return true;
	}
	return more && has_member(more, object, name);
}

static bool check_known_members(const struct entry *entry, struct json_object *object,
				const char *path)
{
	const struct entry *more = variant(entry, object);

	for (char **word = entry->words; *word && **word != '@'; word++) {
		size_t len = strcspn(*word, "?:");
		struct json_object *value;
		char name[64], place[256];

		snprintf(name, sizeof(name), "%.*s", (int)len, *word);
		snprintf(place, sizeof(place), "%s%s%s", path, *path ? "." : "", name);
		if (json_object_object_get_ex(object, name, &value)) {
			if (!check_type(strchr(*word, ':') + 1, value, place))
				return false;
		} else if ((*word)[len] != '?') {
			return complain("Parameter '%s' is missing", place);
		}
	}
	return !more || check_known_members(more, object, path);
}

static bool check_members(const struct entry *entry, struct json_object *object,
			  const char *path)
{
	if (!check_known_members(entry, object, path))
		return false;
	if (!strcmp(entry->name, "device_add")) /* a device's properties are not here */
		return true;
	json_object_object_foreach (object, name, value) {
		(void)value;
		if (!has_member(entry, object, name))
			return complain("Parameter '%s%s%s' is unexpected", path,
					*path ? "." : "", name);
	}
	return true;
}

const char *schema_check(const char *kind, const char *name,
			 struct json_object *arguments)
{
	const struct entry *entry = find(kind, name);
	struct json_object *none = json_object_new_object();
	bool good;

	if (!entry)
		good = complain("The %s %s has not been found", kind, name);
	else
		good = check_members(entry, arguments ? arguments : none, "");
	json_object_put(none);
	return good ? NULL : complaint;
}

struct json_object *schema_return(const char *command)
{
	struct json_object *value;

	if (!json_object_object_get_ex(returns, command, &value)) {
		value = json_object_new_object();
		json_object_object_add(returns, command, value);
	}
	return value;
}

struct json_object *schema_greeting(void)
{
	return greeting;
}

struct json_object *schema_commands(void)
{
	struct json_object *list = json_object_new_array();

	for (struct entry *entry = entries; entry; entry = entry->next) {
		struct json_object *item;

		if (strcmp(entry->kind, "command") != 0)
			continue;
		item = json_object_new_object();
		json_object_object_add(item, "name", json_object_new_string(entry->name));
		json_object_array_add(list, item);
	}
	return list;
}
