/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads the script of fake_qmp, see fake_qmp.c for its language. */
#include <ctype.h>
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_qmp.h"
#include "util.h"

static const struct verb *verbs;
static const char *script_name;
static unsigned int line_number;

#define die(fmt, ...) errx(2, "%s:%u: " fmt, script_name, line_number, __VA_ARGS__)

static char *skip_blanks(char *text)
{
	return text + strspn(text, " \t");
}

/* Cuts one word off; "" at the end. */
static char *take_word(char **text)
{
	char *word = skip_blanks(*text);
	size_t len = strcspn(word, " \t");

	*text = word + len;
	if (**text)
		*(*text)++ = '\0';
	return word;
}

/* Cuts one JSON value off. */
static struct json_object *take_json(char **text)
{
	struct json_tokener *tokener = json_tokener_new();
	/* the NUL ends a number that stands last */
	struct json_object *json =
		json_tokener_parse_ex(tokener, *text, (int)strlen(*text) + 1);

	if (json_tokener_get_error(tokener) != json_tokener_success)
		die("not JSON: %s", *text);
	*text += json_tokener_get_parse_end(tokener);
	json_tokener_free(tokener);
	return json;
}

static void take_argument(struct step *step, char type, char **text,
			  unsigned int *numbers)
{
	char *end;

	switch (type) {
	case 'w':
		step->word = strdup(take_word(text));
		break;
	case 't':
		step->text = strdup(*text);
		*text += strlen(*text);
		break;
	case 'j':
		step->json = take_json(text);
		break;
	default:
		step->number[*numbers] = strtol(*text, &end, 10);
		if (end == *text)
			die("%s: not a number: %s", step->verb->name, *text);
		(*numbers)++;
		*text = end;
	}
}

static struct step *read_step(char *text)
{
	struct step *step = calloc(1, sizeof(*step));
	char *name = take_word(&text);
	unsigned int numbers = 0;

	if (!step)
		abort();
	step->line = line_number;
	for (step->verb = verbs; step->verb->name; step->verb++)
		if (!strcmp(step->verb->name, name))
			break;
	if (!step->verb->name)
		die("no such step: %s", name);
	for (const char *type = step->verb->arguments; *type; type++) {
		text = skip_blanks(text);
		if (*text)
			take_argument(step, (char)tolower(*type), &text, &numbers);
		else if (islower(*type))
			die("%s lacks an argument", name);
	}
	if (*skip_blanks(text))
		die("%s: too much: %s", name, text);
	return step;
}

/* Ends at the first `;` that is not within a JSON string. */
static char *step_end(char *text)
{
	bool quoted = false;

	for (; *text; text++) {
		if (*text == '"')
			quoted = !quoted;
		else if (*text == '\\' && quoted && text[1])
			text++;
		else if (*text == ';' && !quoted)
			break;
	}
	return text;
}

static void read_steps(struct step ***tail, char *text)
{
	while (*(text = skip_blanks(text))) {
		char *end = step_end(text);
		bool more = *end == ';';

		*end = '\0';
		if (*text)
			*tail = &(**tail = read_step(text))->next;
		text = end + more;
	}
}

static struct reaction *read_reaction(bool once, char *text)
{
	struct reaction *reaction = calloc(1, sizeof(*reaction));
	struct step **tail;

	if (!reaction)
		abort();
	reaction->once = once;
	reaction->command = strdup(take_word(&text));
	if (!schema_knows("command", reaction->command))
		die("QEMU has no command %s", reaction->command);
	text = skip_blanks(text);
	if (*text == '{')
		reaction->subset = take_json(&text);
	tail = &reaction->steps;
	read_steps(&tail, text);
	return reaction;
}

static void read_line(char *line, struct reaction ***reactions, struct step ***main_tail,
		      struct step ***block_tail)
{
	bool indented = *line == ' ' || *line == '\t';
	char *text = skip_blanks(line);
	bool once = !strncmp(text, "once ", 5);

	if (!*text || *text == '#')
		return;
	if (indented && *block_tail) {
		read_steps(block_tail, text);
		return;
	}
	*block_tail = NULL;
	if (once || !strncmp(text, "on ", 3)) {
		**reactions = read_reaction(once, text + (once ? 5 : 3));
		*block_tail = &(**reactions)->steps;
		while (**block_tail)
			*block_tail = &(**block_tail)->next;
		*reactions = &(**reactions)->next;
		return;
	}
	read_steps(main_tail, text);
}

void script_load(struct script *script, const char *path, const struct verb *all_verbs)
{
	FILE *file = path ? fopen(path, "re") : stdin;
	struct reaction **reactions = &script->reactions;
	struct step **main_tail = &script->steps, **block_tail = NULL;
	cleanup_free char *line = NULL;
	size_t size = 0;

	verbs = all_verbs;
	script_name = script->name = path ? path : "script";
	if (!file)
		err(2, "cannot open script %s", path);
	for (line_number = 1; getline(&line, &size, file) > 0; line_number++) {
		line[strcspn(line, "\n")] = '\0';
		read_line(line, &reactions, &main_tail, &block_tail);
	}
	if (path)
		fclose(file);
}

static bool array_includes(struct json_object *value, struct json_object *wanted)
{
	for (size_t i = 0; i < json_object_array_length(value); i++)
		if (json_includes(json_object_array_get_idx(value, i), wanted))
			return true;
	return false;
}

bool json_includes(struct json_object *value, struct json_object *subset)
{
	struct json_object *member;

	if (json_object_get_type(value) != json_object_get_type(subset))
		return false;
	if (json_object_is_type(subset, json_type_object)) {
		json_object_object_foreach (subset, name, wanted) {
			if (!json_object_object_get_ex(value, name, &member) ||
			    !json_includes(member, wanted))
				return false;
		}
		return true;
	}
	if (json_object_is_type(subset, json_type_array)) {
		for (size_t i = 0; i < json_object_array_length(subset); i++)
			if (!array_includes(value, json_object_array_get_idx(subset, i)))
				return false;
		return true;
	}
	return json_object_equal(value, subset);
}
