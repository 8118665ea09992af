/* SPDX-License-Identifier: BSD-2-Clause */
/* What the journals of a node tell of its migrations, living and dead. */
#ifndef KAT_PAST_H
#define KAT_PAST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <json-c/json_object.h>

#include "api.h"
#include "config.h"
#include "error.h"

/* What a plugin's katamaran_journal() wrote. */
struct kat_record {
	size_t step;  /* its place in the plan */
	char *plugin; /* "cutover-ipip" */
	char *text;
};

/* A migration out of its journal. */
struct kat_past {
	int dir, fd; /* of the folder, borrowed; of the journal */
	char name[64];
	bool alive; /* its process holds the lock */
	char id[9];
	char *version;		    /* of the program that wrote it */
	struct kat_config config;   /* as far as its recovery needs it */
	char *vm_name, *vm_uuid;    /* NULL: none */
	pid_t pid, qemu_pid;	    /* 0: not known */
	uint64_t start, qemu_start; /* of these, kat_process_start() */
	int64_t began_s;	    /* CLOCK_REALTIME */
	char *phase;
	int64_t done, total, pass; /* of the newest progress line; total 0: none */
	char *unit;
	struct kat_record *records; /* in the order in which they were written */
	size_t n_records;
	char *other_qemu; /* which one the destination had, see ask.h; NULL: not told */
	bool migrate;	  /* QEMU may have been told to */
	struct json_object *parameters;	  /* of QEMU before the migration, or NULL */
	struct json_object *capabilities; /* that were changed, or NULL */
	unsigned int skipped;		  /* lines that nobody understands */
};

/* The first line of a journal: the caller's reference. */
struct json_object *kat_past_first_line(const struct kat_migration *migration);

/*
 * Reads the journal `name` in the folder.  1: `past` is filled; 0: it has gone
 * meanwhile.  -1 with an error, KAT_EXIT_HUMAN where another version of the
 * program wrote it.  A last line without its end was never finished, and what
 * it would have announced was not done: it is left out.
 */
int kat_past_read(struct kat_past *past, int dir, const char *name,
		  struct kat_error **err);
void kat_past_free(struct kat_past *past);

/*
 * Takes the lock of a dead migration's journal, to be the one that recovers it.
 * False where its process lives, or another recovery is at it.
 */
bool kat_past_claim(struct kat_past *past);

/*
 * Calls `each` with the name of every journal in the folder, in alphabetical
 * order, until it returns other than 0, which is returned then.
 */
int kat_past_each(int dir, int (*each)(int dir, const char *name, void *data),
		  void *data);

#endif /* KAT_PAST_H */
