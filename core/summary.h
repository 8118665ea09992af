/* SPDX-License-Identifier: BSD-2-Clause */
/* What became of the migration on this end, as one JSON object in a file. */
#ifndef KAT_SUMMARY_H
#define KAT_SUMMARY_H

#include "end.h"

/* Whether the file can be written; before anything is begun.  `path` NULL: 0. */
int kat_summary_check(const char *path, struct kat_error **err);

/*
 * Writes it, whole or not at all, to config->summary if there is one.  `why` is
 * the error with which this end fails, NULL: none.  A failure is a warning.
 */
void kat_summary_write(const struct kat_end *end, const struct kat_error *why);

#endif /* KAT_SUMMARY_H */
