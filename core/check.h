/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The checks before a migration, which change nothing: of -check, where they
 * are all there is to do, and of every migration, which a failure ends before
 * it has begun.  check_qemu.h has those of QEMU, check_node.h those of the
 * node, the plugins their own.
 */
#ifndef KAT_CHECK_H
#define KAT_CHECK_H

#include "end.h"

/* Adds a finding of this end. */
void kat_check_add(struct kat_end *end, int level, const char *what, const char *fmt, ...)
	__attribute__((__format__(__printf__, 4, 5)));

/* An error becomes a finding of this end, and is freed. */
void kat_check_failed(struct kat_end *end, const char *what, struct kat_error **why);

/*
 * The checks of either end, over the link where there is one; the plugins are
 * open.  In a migration -1 with the first failure, the others being in the log;
 * with -check a failure is a finding, and -1 a signal.
 */
int kat_check_source(struct kat_end *end, struct kat_error **err);
int kat_check_dest(struct kat_end *end, struct kat_error **err);

/*
 * What is left of -check: opens the plugins, has everything checked, and
 * prints what was found (on the other end's standard output where there is
 * one).  `usage`: the configuration was found to be wrong before.
 */
int kat_check_run(struct kat_end *end, bool usage, struct kat_error **err);

#endif /* KAT_CHECK_H */
