/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The journal of one migration on one end: a line of JSON for each change of
 * the kernel's or QEMU's state, written before the change.  The process that
 * writes it holds a lock on it (flock(2)), so that a journal without a lock is
 * that of a migration which was killed.  It is removed when nothing is left.
 *
 *	{"katamaran": 1, ...}        the first line: what the migration is
 *	{"other_qemu": "..."}        which process the destination's is, see ask.h
 *	{"phase": "copying"}         where it is, for --status
 *	{"progress": [done, total]}  and how far
 *	{"plugin": "cutover-ipip", "step": 1, "record": "..."}  for its recover()
 *	{"qemu": "parameters", ...}  what QEMU had before
 *	{"qemu": "migrate"}          from here on QEMU may be migrating
 *
 * No function here allocates after kat_journal_start(), and the folder is a
 * tmpfs where sites leave it at /run: lines may be written in the blackout.
 */
#ifndef KAT_JOURNAL_H
#define KAT_JOURNAL_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <json-c/json_object.h>

#include "error.h"

/* The number in the first line; another one is another program's. */
#define KAT_JOURNAL_FORMAT 1
#define KAT_JOURNAL_SUFFIX ".journal"
/* A line is no longer, its newline included. */
#define KAT_JOURNAL_LINE 8192

struct kat_journal {
	int dir, fd; /* -1: none */
	char name[32];
	int64_t progress_ns; /* when it was last written */
};

/* One that is not kept; functions that write do nothing then, as with NULL. */
#define KAT_JOURNAL_NONE ((struct kat_journal){.dir = -1, .fd = -1})

/*
 * Makes DIR/ID.journal, locked and with `first` as its first line; takes the
 * reference.  DIR is made with mode 0700 if it is not there, and refused if
 * others may write to it.
 */
int kat_journal_start(struct kat_journal *journal, const char *dir, const char *id,
		      struct json_object *first, struct kat_error **err);

/* Each is one line and one write(2).  -1 with errno: the disk is full, E2BIG. */
int kat_journal_phase(struct kat_journal *journal, const char *phase);
int kat_journal_record(struct kat_journal *journal, const char *plugin, size_t step,
		       const char *text);
/* A line as it is, without the newline: what is not for plugins. */
int kat_journal_line(struct kat_journal *journal, const char *fmt, ...)
	__attribute__((__format__(__printf__, 2, 3)));

/* Not more often than once a second; nobody is told if it cannot be written. */
void kat_journal_progress(struct kat_journal *journal, uint64_t done, uint64_t total,
			  const char *unit, int64_t pass);

/* Closes it; `clean`: nothing is left to be undone, so it is removed. */
void kat_journal_end(struct kat_journal *journal, bool clean);

/* The folder, to find journals in.  -1 with errno; EPERM if others may write there. */
int kat_journal_folder(const char *dir, bool make);

/*
 * When the process began, in the kernel's ticks since boot (/proc/PID/stat):
 * together with its pid it is the process and no later one.  0: there is none.
 */
uint64_t kat_process_start(pid_t pid);

/* Whether that process is known to have ended; no where it cannot be looked up. */
bool kat_process_ended(pid_t pid, uint64_t start);

#endif /* KAT_JOURNAL_H */
