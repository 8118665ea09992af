/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The description of a guest's machine that one node gives to another: what a
 * QEMU must have in common with the one that its guest comes from, as JSON.
 *
 * It is data, whoever wrote it.  Each member has a shape that is checked, in
 * which there is neither a comma that would begin another setting, where one
 * is not meant, nor a slash: there is no way to name a file or a program.
 */
#ifndef KAT_MACHINE_H
#define KAT_MACHINE_H

#include <json-c/json_object.h>

#include "arguments.h"
#include "error.h"

#define KAT_MACHINE_VERSION 1
#define KAT_MACHINE_BYTES   (256u << 10) /* of a description, as text */
#define KAT_MACHINE_MEMBERS 256u	 /* of a list in it */
#define KAT_MACHINE_LETTERS 1024u	 /* of a value */

/* A list of the description, and the option of QEMU that it is made of. */
struct kat_machine_list {
	const char *member; /* "devices" */
	const char *option; /* "device" */
	const char *kind;   /* what the first piece of the option is called: "driver" */
};

enum kat_machine_lists {
	KAT_MACHINE_DEVICES,
	KAT_MACHINE_CHARDEVS,
	KAT_MACHINE_MEMORIES,
	KAT_MACHINE_LISTS,
};
extern const struct kat_machine_list kat_machine_lists[KAT_MACHINE_LISTS];

/* A setting that is taken over as a whole, and the option that it is made of. */
struct kat_machine_whole {
	const char *member; /* "memory" */
	const char *option; /* "m" */
	const char *first;  /* "size"; NULL: of several options the last one counts */
};
extern const struct kat_machine_whole kat_machine_wholes[]; /* ends with a NULL */

/*
 * Whether the option with these pieces belongs into the list; -object is also
 * used for what is no memory.
 */
bool kat_machine_belongs(enum kat_machine_lists list, const struct kat_pieces *pieces);

/* Whether the list's members may have this property; `kind` is one of them. */
bool kat_machine_takes(enum kat_machine_lists list, const char *property);

/* The end of a path; a chardev's tells its use.  Borrowed. */
const char *kat_machine_file(const struct kat_pieces *pieces);

/* What QEMU with these arguments is.  NULL with an error if one is not understood. */
struct json_object *kat_machine_describe(const struct kat_arguments *a,
					 struct kat_error **err);

/* A description out of its text, every part of it checked.  NULL with an error. */
struct json_object *kat_machine_parse(const char *text, struct kat_error **err);

#endif /* KAT_MACHINE_H */
