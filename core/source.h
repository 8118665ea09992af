/* SPDX-License-Identifier: BSD-2-Clause */
/* The source's state machine: between source.c, which runs it, and its parts. */
#ifndef KAT_SOURCE_H
#define KAT_SOURCE_H

#include "ask.h"
#include "end.h"
#include "ram.h"

/* From STOP to the end of the migration.  Nobody can take it back: be patient. */
#define COMPLETE_S 300

/*
 * Our QEMU has failed or ended when it had handed the guest over: the other end tells
 * at once whether it runs there, or after the 10 s that it allows itself (RUNS_MS).
 */
#define TOLD_MS 12000

enum source_state {
	COPYING,    /* RAM is copied, the gate is shut */
	REDIRECTED, /* packets go to the destination, the gate is open */
	STOPPED,    /* the guest is stopped; QEMU sends the rest */
	CANCELLING, /* migrate_cancel was sent */
	MOVED,	    /* the guest runs on the destination */
	ENDED,	    /* the migration has failed or was cancelled */
	LOST,	    /* nobody can tell where the guest is */
	FINISHED,
};

struct source {
	struct kat_end *end;
	struct kat_gate gate;
	int64_t deadline_ns; /* of the state that we are in */
	int64_t give_up_ns;  /* of the RAM copy */
	bool go;	     /* the next deadline begins the switchover */
	bool brake_off;
	int64_t holding_by_ns;	  /* the other end has to say so */
	bool hold_asked, holding; /* the other end was told to hold packets, and does */
	bool waits;	  /* QEMU stops in pre-switchover, for plugins to finish */
	bool outrun;	  /* it stopped the guest before the redirect */
	bool no_redirect; /* it could not be made, or was taken back */
	bool cancelled;
	bool stopped_itself;   /* the guest, or somebody else stopped it */
	bool shut_down;	       /* the guest was, and its QEMU may end */
	char shut_down_by[96]; /* who did that, in words */
	bool plain;	/* end->reason says where the guest is: there is nothing to ask */
	bool completed; /* the other QEMU has all of the guest, as ours says */
	bool resumed;	/* and lets it run, as the other end says */
	bool not_there; /* nor will it, as that end has said after the migration's end */
	struct kat_error *there;	     /* why it is not known to run there */
	char other_qemu[KAT_IDENTITY_BYTES]; /* that is to take the guest; or "" */
	struct json_object *back; /* packets that came back, an array; NULL: none */
	int64_t redirect_ns, stop_ns, resumed_ns;
};

/* What a state answers to whatever can happen, see enum kat_happening. */
struct kat_source_row {
	const char *name;
	enum source_state (*event)(struct source *s, const struct kat_qmp_event *event);
	enum source_state (*time)(struct source *s);
	enum source_state (*signal)(struct source *s);
	enum source_state (*gone)(struct source *s);
	enum source_state (*peer)(struct source *s, struct json_object *message);
	enum source_state (*peer_gone)(struct source *s);
};

/* source_states.c, until the guest is stopped; source_stopped.c, from then on. */
extern const struct kat_source_row kat_source_copying, kat_source_redirected;
extern const struct kat_source_row kat_source_stopped, kat_source_cancelling,
	kat_source_moved;

/*
 * From COPYING to ENDED, LOST or FINISHED; from CANCELLING with `why`, which it
 * takes.  Releases the log.
 */
enum source_state kat_source_machine(struct source *s, struct kat_error **why);

/*
 * Ways that several states take: to LOST; by migrate_cancel to CANCELLING, or
 * LOST where QEMU does not hear it (`why` may be empty if end->reason is set);
 * where QEMU's monitor has gone before the guest was stopped.
 */
enum source_state kat_source_lost(struct source *s, struct kat_error **why);
enum source_state kat_source_cancel(struct source *s, struct kat_error **why);
enum source_state kat_source_gone(struct source *s);

/* QEMU tells by the event SHUTDOWN that its guest ends, and who wanted that. */
void kat_source_shut_down(struct source *s, const struct kat_qmp_event *event);

/*
 * Keeps the other end's last word, which counts if the guest is handed over
 * nevertheless.
 */
void kat_source_failed_there(struct source *s, struct json_object *message);

/*
 * The migration was complete before it could be cancelled: has the guest's packets
 * follow it as well as can still be done, and keeps what that leaves in doubt.
 */
void kat_source_follow(struct source *s);
/* Never two guests: it runs on the destination, so this one is stopped.  LOST. */
enum source_state kat_source_stop_second(struct source *s);

/* Keeps QEMU's own words on why the migration failed as the reason. */
void kat_source_qemu_failed(struct source *s);

#endif /* KAT_SOURCE_H */
