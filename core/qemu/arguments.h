/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The arguments of a QEMU as it takes them: options with a value, and in that
 * "first,name=value,...", where two commas are one that belongs to a value.
 */
#ifndef KAT_ARGUMENTS_H
#define KAT_ARGUMENTS_H

#include <stdbool.h>
#include <stddef.h>

/* Words, the last followed by NULL; all owned. */
struct kat_arguments {
	char **word;
	size_t n;
};

void kat_arguments_add(struct kat_arguments *a, const char *word);
void kat_arguments_free(struct kat_arguments *a);
#define cleanup_arguments __attribute__((__cleanup__(kat_arguments_free)))

/*
 * The place of the value of option `name` ("device" for -device and --device,
 * "machine" also for -M) at or after `from`, or 0 if there is none: the first
 * word is the program.
 */
size_t kat_arguments_find(const struct kat_arguments *a, const char *name, size_t from);

/* Replaces a word. */
void kat_arguments_set(struct kat_arguments *a, size_t at, const char *word);

/* A value, cut at its commas; "a,,b" stays one piece, as it is. */
struct kat_pieces {
	char **piece;
	size_t n;
};

void kat_pieces_cut(struct kat_pieces *p, const char *text);
char *kat_pieces_join(const struct kat_pieces *p); /* owned by the caller */
void kat_pieces_free(struct kat_pieces *p);
#define cleanup_pieces __attribute__((__cleanup__(kat_pieces_free)))

/* The value of "name=value", or NULL. */
const char *kat_pieces_get(const struct kat_pieces *p, const char *name);

/* The same for the one whose name may be left out, if it stands first. */
const char *kat_pieces_first(const struct kat_pieces *p, const char *name);

/* Sets or appends "name=value"; NULL: takes it away. */
void kat_pieces_set(struct kat_pieces *p, const char *name, const char *value);
void kat_pieces_set_first(struct kat_pieces *p, const char *name, const char *value);

/* Adds those of a later option: of two with one name the later one stays. */
void kat_pieces_merge(struct kat_pieces *p, const char *text, const char *first);

#endif /* KAT_ARGUMENTS_H */
