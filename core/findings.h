/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the checks before a migration have found: a list that is printed, or
 * sent to the other end and printed there.
 */
#ifndef KAT_FINDINGS_H
#define KAT_FINDINGS_H

#include <stdbool.h>
#include <stddef.h>

#include <json-c/json_object.h>

struct kat_finding {
	int level;	 /* KATAMARAN_OK, _WARNING, _FAILURE */
	const char *end; /* "source", "destination", "both"; static */
	char *what;	 /* what was looked at, a few words */
	char *text;	 /* how it is, and what to do about it */
	struct kat_finding *next;
};

/* Starts zeroed. */
struct kat_findings {
	struct kat_finding *first, *last;
	size_t failures, warnings;
};

/* Takes the ownership of `text`; aborts without memory, nothing is at stake yet. */
void kat_findings_add(struct kat_findings *list, int level, const char *end,
		      const char *what, char *text);
void kat_findings_free(struct kat_findings *list);

/* One line each on standard output, and then the sum of them. */
void kat_findings_print(const struct kat_findings *list);

/*
 * To the log, but for those of the end `except`: failures and warnings as such,
 * the others among the debug lines.
 */
void kat_findings_log(const struct kat_findings *list, const char *except);

/* The first failure, or NULL. */
const struct kat_finding *kat_findings_failure(const struct kat_findings *list);

/* As an array for the other end; and the other way, where what is none is left out. */
struct json_object *kat_findings_json(const struct kat_findings *list);
void kat_findings_read(struct kat_findings *list, const char *end,
		       struct json_object *array);

#endif /* KAT_FINDINGS_H */
