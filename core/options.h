/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The table of settings, from which the command line, the file's keys, the
 * defaults, the checks of form and the text of -help are made; and the command
 * line itself.  Nothing here reads a file.
 */
#ifndef KAT_OPTIONS_H
#define KAT_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "error.h"

enum kat_key_type {
	KAT_KEY_ACTION,	 /* flag only: .min is the enum kat_action */
	KAT_KEY_SPECIAL, /* flag only: config.c knows what it means */
	KAT_KEY_PLUGINS, /* file only: .min is the kind of plugin */
	KAT_KEY_MODE,
	KAT_KEY_ORDER,
	KAT_KEY_SOCKET,
	KAT_KEY_SANDBOX,
	KAT_KEY_PATH,
	KAT_KEY_NETNS,
	KAT_KEY_TAP,
	KAT_KEY_IP,
	KAT_KEY_INT,
	KAT_KEY_INT64,
	KAT_KEY_BOOL,
	KAT_KEY_MAC, /* these two: .offset is 0, for they fill two members */
	KAT_KEY_IPS,
	KAT_KEY_WORDS, /* file only: a list of strings, as they are */
};

/*
 * A row of the table.  Keys "nics.…" belong to each group of that list, and
 * their offsets into struct kat_nic_config; all others into struct kat_config.
 */
struct kat_key {
	const char *path; /* in the file; NULL: flag only */
	const char *flag; /* NULL: file only */
	enum kat_key_type type;
	size_t offset;
	int64_t min, max;
	const char *dflt; /* as a flag would spell it; NULL: none */
	const char *arg;  /* what -help calls the flag's value; NULL: it takes none */
	const char *help;
};

#define KAT_KEYS_MAX 64

/* The table; ends with a row that has neither path nor flag. */
extern const struct kat_key kat_keys[];

/* The command line as it was given. */
struct kat_options {
	enum kat_action action;
	const char *id; /* that the action is about, or a plugin's name; NULL: none */
	const char *values[KAT_KEYS_MAX]; /* by row; "" for a flag without a value */
};

int kat_options_parse(int argc, char **argv, struct kat_options *options,
		      struct kat_error **err);

/* The value of a flag, or NULL if it was not given. */
const char *kat_options_value(const struct kat_options *options, const char *flag);

const struct kat_key *kat_key_find(const char *path);

/* "ip, port" for "destination."; the keys of the top level for "".  Owned by the caller.
 */
char *kat_key_names(const char *prefix);

static inline bool kat_key_exists(const struct kat_key *key)
{
	return key->path || key->flag;
}

static inline bool kat_key_is_nic(const struct kat_key *key)
{
	return key->path && __builtin_strncmp(key->path, "nics.", 5) == 0;
}

/*
 * Checks `text` and stores it at the key's place in `base`; KAT_KEY_IPS adds
 * one address.  Errors call the key by its path if `in_file`, else by its flag.
 */
int kat_key_set(const struct kat_key *key, void *base, const char *text, bool in_file,
		struct kat_error **err);

#endif /* KAT_OPTIONS_H */
