/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arguments.h"
#include "util.h"

/* Both lists of this file are words with NULL behind the last. */
static char **append(char **words, size_t n, char *word)
{
	words = kat_grow(words, n + 2, sizeof(*words));
	words[n] = word;
	words[n + 1] = NULL;
	return words;
}

static void replace(char **word, char *with)
{
	free(*word);
	*word = with;
}

void kat_arguments_add(struct kat_arguments *a, const char *word)
{
	a->word = append(a->word, a->n++, kat_strdup(word));
}

void kat_arguments_free(struct kat_arguments *a)
{
	for (size_t i = 0; i < a->n; i++)
		free(a->word[i]);
	free(a->word);
	*a = (struct kat_arguments){.n = 0};
}

size_t kat_arguments_find(const struct kat_arguments *a, const char *name, size_t from)
{
	for (size_t i = from ? from : 1; i + 1 < a->n; i++) {
		const char *word = a->word[i];

		if (*word != '-')
			continue;
		word += 1 + (word[1] == '-');
		if (strcmp(strcmp(word, "M") == 0 ? "machine" : word, name) == 0)
			return i + 1;
	}
	return 0;
}

void kat_arguments_set(struct kat_arguments *a, size_t at, const char *word)
{
	replace(&a->word[at], kat_strdup(word));
}

/* Where the piece at `c` ends: at a comma that is not one of two, or at the end. */
static const char *end_of(const char *c)
{
	while (*c && (*c != ',' || c[1] == ','))
		c += *c == ',' ? 2 : 1;
	return c;
}

void kat_pieces_cut(struct kat_pieces *p, const char *text)
{
	for (const char *end;; text = end + 1) {
		end = end_of(text);
		p->piece = append(p->piece, p->n++,
				  kat_format("%.*s", (int)(end - text), text));
		if (!*end)
			return;
	}
}

char *kat_pieces_join(const struct kat_pieces *p)
{
	char *text = kat_strdup("");

	for (size_t i = 0; i < p->n; i++)
		replace(&text, kat_format("%s%s%s", text, i ? "," : "", p->piece[i]));
	return text;
}

void kat_pieces_free(struct kat_pieces *p)
{
	for (size_t i = 0; i < p->n; i++)
		free(p->piece[i]);
	free(p->piece);
	*p = (struct kat_pieces){.n = 0};
}

/* The place of the last "name=...", which is the one that counts; p->n: none. */
static size_t place_of(const struct kat_pieces *p, const char *name)
{
	size_t len = strlen(name), at = p->n;

	for (size_t i = 0; i < p->n; i++) {
		if (strncmp(p->piece[i], name, len) == 0 && p->piece[i][len] == '=')
			at = i;
	}
	return at;
}

const char *kat_pieces_get(const struct kat_pieces *p, const char *name)
{
	size_t at = place_of(p, name);

	return at < p->n ? p->piece[at] + strlen(name) + 1 : NULL;
}

const char *kat_pieces_first(const struct kat_pieces *p, const char *name)
{
	if (p->n && *p->piece[0] && !strchr(p->piece[0], '='))
		return p->piece[0];
	return kat_pieces_get(p, name);
}

void kat_pieces_set(struct kat_pieces *p, const char *name, const char *value)
{
	size_t at = place_of(p, name);

	if (value && at < p->n) {
		replace(&p->piece[at], kat_format("%s=%s", name, value));
	} else if (value) {
		p->piece = append(p->piece, p->n++, kat_format("%s=%s", name, value));
	} else if (at < p->n) {
		free(p->piece[at]);
		memmove(&p->piece[at], &p->piece[at + 1],
			(p->n-- - at) * sizeof(*p->piece));
	}
}

void kat_pieces_set_first(struct kat_pieces *p, const char *name, const char *value)
{
	if (p->n && *p->piece[0] && !strchr(p->piece[0], '='))
		replace(&p->piece[0], kat_strdup(value));
	else
		kat_pieces_set(p, name, value);
}

void kat_pieces_merge(struct kat_pieces *p, const char *text, const char *first)
{
	cleanup_pieces struct kat_pieces later = {.n = 0};

	if (!p->n) {
		kat_pieces_cut(p, text);
		return;
	}
	kat_pieces_cut(&later, text);
	for (size_t i = 0; i < later.n; i++) {
		char *piece = later.piece[i], *value = strchr(piece, '=');

		if (value)
			*value++ = '\0';
		if (value && strcmp(piece, first) != 0)
			kat_pieces_set(p, piece, value);
		else if (value || i == 0)
			kat_pieces_set_first(p, first, value ? value : piece);
		else
			p->piece = append(p->piece, p->n++, kat_strdup(piece));
	}
}
