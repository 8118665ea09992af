/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the two ends of a migration share: the room between engine.c and the
 * state machines in source.c and dest.c.
 */
#ifndef KAT_END_H
#define KAT_END_H

#include "api.h"
#include "config.h"
#include "hooks.h"
#include "log.h"
#include "peer.h"
#include "loop.h"
#include "plan.h"
#include "qmp.h"
#include "util.h"

/*
 * A QMP command that QEMU does not answer for so long is a failure.  On a starved machine
 * its main loop comes round after seconds only, and what cannot be asked cannot be taken
 * back.
 */
#define KAT_QMP_MS 15000

/*
 * Where either end has failed: for the other to take back what it has done, and to tell
 * what it has counted.
 */
#define KAT_FAILURE_MS 10000

/* When what happened, CLOCK_MONOTONIC ns; 0: not, or not seen on this end. */
struct kat_times {
	int64_t start;	     /* of the program's work */
	int64_t copy;	     /* of the guest's RAM */
	int64_t redirect;    /* source: packets sent on; destination: held */
	int64_t stop;	     /* the guest has stopped on the source */
	int64_t resumed;     /* and runs on the destination */
	int64_t downtime_ms; /* as QEMU has it, -1: not told */
};

struct kat_end {
	const struct kat_config *config;
	struct kat_loop loop;
	struct kat_plan plan;
	struct kat_migration migration;
	struct kat_journal journal;
	struct kat_hooks hooks;
	struct kat_peer *peer; /* NULL: each end runs alone */
	bool peer_lost;	       /* its end was told to the state machine */
	bool begun;	       /* QEMU may be migrating */
	bool settled;	       /* nothing is left to be put back, whatever the error */
	bool undecided;	       /* the guest may run on either end: each stays as it is */
	int port;	       /* of the RAM migration: the other end may choose */
	struct kat_times times;
	struct kat_error *reason; /* why it is being undone; the first one counts */
	struct json_object
		*parameters; /* QEMU's before we changed them; NULL: as they are */
	struct json_object *capabilities; /* likewise, by name */
};

/* An end with nothing in it yet. */
#define KAT_END_EMPTY(its_config)                                                        \
	((struct kat_end){.config = (its_config),                                        \
			  .loop.signal_fd = -1,                                          \
			  .journal = KAT_JOURNAL_NONE,                                   \
			  .migration.qemu_pidfd = -1})

/* The plan, and what its plugins share; `id` NULL: a new one.  The loop is open. */
int kat_end_prepare(struct kat_end *end, const char *id, struct kat_error **err);

/* To QEMU, which is asked for what plugins want to know of the guest. */
int kat_end_connect(struct kat_end *end, struct kat_error **err);

/* Frees all of it; with `clean` the journal goes, too. */
void kat_end_release(struct kat_end *end, bool clean);

/* What can happen to a state machine. */
enum kat_happening {
	KAT_HAPPENED_EVENT,	/* QEMU sent an event */
	KAT_HAPPENED_PEER,	/* the other end said something */
	KAT_HAPPENED_PEER_GONE, /* the link to the other end is over; told once */
	KAT_HAPPENED_TIME,	/* the deadline given to kat_end_next() */
	KAT_HAPPENED_SIGNAL,	/* somebody wants us to stop */
	KAT_HAPPENED_QMP_GONE,	/* QEMU closed the connection, or broke the protocol */
};

/*
 * Waits for the next happening.  Events go through the plugins' on_event
 * first; the failure of one is stored in end->reason and told as
 * KAT_HAPPENED_EVENT with `event`, for the state to decide.  Both `event` and
 * `message` are the caller's to free.
 */
enum kat_happening kat_end_next(struct kat_end *end, int64_t deadline_ns,
				struct kat_qmp_event **event,
				struct json_object **message);

/* The error of a line that could not be written; what it announces is not done. */
int kat_end_journal_full(struct kat_error **err);

/* Waits for the other end's first word; an error where it speaks another protocol. */
int kat_end_meet(struct kat_end *end, struct kat_error **err);

/* What the plugins of this end published, as an array; and the other way. */
struct json_object *kat_end_facts(const struct kat_end *end);
void kat_end_learn(struct kat_end *end, struct json_object *facts);

/* Tells the other end, where there is one, that this one has failed. */
void kat_end_tell_failure(struct kat_end *end, const struct kat_error *why);

/* Runs a QMP command with the usual deadline; `args` as for kat_qmp_execute(). */
int kat_end_qmp(struct kat_end *end, const char *command, struct json_object *args,
		struct json_object **reply, struct kat_error **err);

/*
 * Capabilities that both ends set alike: those that QEMU has of them.  An
 * error if it lacks one that losslessness or safety needs.
 */
int kat_end_set_capabilities(struct kat_end *end, struct kat_error **err);

/* "running", "inmigrate", ...: query-status, malloc'ed; NULL with an error. */
char *kat_end_run_state(struct kat_end *end, struct kat_error **err);

/*
 * Whether QEMU's process has ended, or does within `ms`; false where nobody can
 * tell.  From the end of its monitor that takes less than KAT_DIES_MS.
 */
#define KAT_DIES_MS 1000
bool kat_end_qemu_ended(struct kat_end *end, int64_t ms);

/* The "status" of a MIGRATION event, or NULL for any other event. */
const char *kat_end_migration_status(const struct kat_qmp_event *event);

/* Keeps the first reason; frees later ones. */
void kat_end_fail(struct kat_end *end, struct kat_error **why);

/* The ledger's report, with the taps' names. */
void kat_end_report(struct kat_end *end);

/* Starts the other end, where there is a peer command, and waits for its first word. */
int kat_source_meet(struct kat_end *end, struct kat_error **err);

/* The two machines: from prepared plugins to their cleanup.  0 or -1. */
int kat_source_run(struct kat_end *end, struct kat_error **err);
int kat_dest_run(struct kat_end *end, struct kat_error **err);

#endif /* KAT_END_H */
