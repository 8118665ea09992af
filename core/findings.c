/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KATAMARAN_API_VERSION 1
#include "findings.h"
#include "json.h"
#include "katamaran-plugin.h"
#include "log.h"

static const char *const level_names[] = {
	[KATAMARAN_OK] = "ok",
	[KATAMARAN_WARNING] = "warning",
	[KATAMARAN_FAILURE] = "failure",
};

void kat_findings_add(struct kat_findings *list, int level, const char *end,
		      const char *what, char *text)
{
	struct kat_finding *finding = calloc(1, sizeof(*finding));

	if (!finding || !text)
		abort();
	finding->level = level;
	finding->end = end;
	finding->text = text;
	finding->what = strdup(what);
	if (!finding->what)
		abort();
	/* One line each, whatever QEMU or a name has put into it. */
	for (char *c = text; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = ' ';
	if (list->last)
		list->last->next = finding;
	else
		list->first = finding;
	list->last = finding;
	list->failures += level == KATAMARAN_FAILURE;
	list->warnings += level == KATAMARAN_WARNING;
}

void kat_findings_free(struct kat_findings *list)
{
	while (list->first) {
		struct kat_finding *finding = list->first;

		list->first = finding->next;
		free(finding->what);
		free(finding->text);
		free(finding);
	}
	memset(list, 0, sizeof(*list));
}

void kat_findings_print(const struct kat_findings *list)
{
	for (const struct kat_finding *f = list->first; f; f = f->next)
		printf("%-8s %-12s %s: %s\n", level_names[f->level], f->end, f->what,
		       f->text);
	printf("%zu failure%s, %zu warning%s\n", list->failures,
	       list->failures == 1 ? "" : "s", list->warnings,
	       list->warnings == 1 ? "" : "s");
}

void kat_findings_log(const struct kat_findings *list, const char *except)
{
	static const enum kat_level levels[] = {
		[KATAMARAN_OK] = KAT_DEBUG,
		[KATAMARAN_WARNING] = KAT_WARNING,
		[KATAMARAN_FAILURE] = KAT_ERROR,
	};

	for (const struct kat_finding *f = list->first; f; f = f->next)
		if (strcmp(f->end, except) != 0)
			kat_log(levels[f->level], "%s: %s: %s", f->end, f->what, f->text);
}

const struct kat_finding *kat_findings_failure(const struct kat_findings *list)
{
	const struct kat_finding *f = list->first;

	while (f && f->level != KATAMARAN_FAILURE)
		f = f->next;
	return f;
}

struct json_object *kat_findings_json(const struct kat_findings *list)
{
	struct json_object *array = json_object_new_array();

	for (const struct kat_finding *f = list->first; f; f = f->next) {
		struct json_object *entry = json_object_new_object();

		json_object_object_add(entry, "level", json_object_new_int(f->level));
		json_object_object_add(entry, "what", json_object_new_string(f->what));
		json_object_object_add(entry, "text", json_object_new_string(f->text));
		json_object_array_add(array, entry);
	}
	return array;
}

void kat_findings_read(struct kat_findings *list, const char *end,
		       struct json_object *array)
{
	if (!json_object_is_type(array, json_type_array))
		return;
	for (size_t i = 0; i < json_object_array_length(array); i++) {
		struct json_object *entry = json_object_array_get_idx(array, i);
		int64_t level = kat_json_int(entry, "level", -1);
		const char *what = kat_json_string(entry, "what");
		const char *text = kat_json_string(entry, "text");

		if (level >= KATAMARAN_OK && level <= KATAMARAN_FAILURE && what && text)
			kat_findings_add(list, (int)level, end, what, strdup(text));
	}
}
