/* SPDX-License-Identifier: BSD-2-Clause */
/* The three rooms of fake_qmp: what QEMU would accept, the script, the server. */
#ifndef FAKE_QMP_H
#define FAKE_QMP_H

#include <stdbool.h>
#include <stdint.h>

#include <json-c/json.h>

/* --- fake_qmp_schema.c: what the real QEMU accepts --- */

/* Ends the program where the file cannot be read. */
void schema_load(const char *path);
bool schema_knows(const char *kind, const char *name);
/* NULL, or QEMU's words for what is wrong; valid until the next call. */
const char *schema_check(const char *kind, const char *name,
			 struct json_object *arguments);
/* What the recorded QEMU answered; {} where nothing was recorded.  Borrowed. */
struct json_object *schema_return(const char *command);
struct json_object *schema_greeting(void);
/* The answer to query-commands.  The caller's reference. */
struct json_object *schema_commands(void);

/* --- fake_qmp_script.c: the script, read --- */

struct verb;

struct step {
	const struct verb *verb;
	char *word;
	char *text;
	struct json_object *json;
	long number[2];
	unsigned int line;
	struct step *next;
};

/* A place in a list of steps: the script's own, or a reaction's. */
struct flow {
	struct step *at;
	unsigned int phase; /* of a step that takes more than one turn */
	int64_t wake_ns;
	char *command; /* the one that reply and error answer */
	struct json_object *id;
	struct flow *next;
};

struct verb {
	const char *name;
	/* w a word, t the rest as text, j JSON, n a number; capitals: optional */
	const char *arguments;
	bool (*run)(struct flow *flow, const struct step *step); /* false: not yet */
};

struct reaction {
	char *command;
	struct json_object *subset;
	struct step *steps;
	bool once, used;
	struct reaction *next;
};

struct script {
	const char *name;
	struct step *steps;
	struct reaction *reactions;
};

/* Ends the program where the script is wrong.  `verbs` ends with a NULL name. */
void script_load(struct script *script, const char *path, const struct verb *verbs);
/* Every member of `subset` is in `value`, and every element of its arrays. */
bool json_includes(struct json_object *value, struct json_object *subset);

#endif /* FAKE_QMP_H */
