/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The decisions, by the role and what QEMU says (query-status, query-migrate):
 *
 *   source       none, failed, cancelled        the guest stays: undo
 *                active, pre-switchover ...     network, migrate_cancel, the rest
 *                  and the guest is stopped     QEMU decides: wait for its word
 *                completed                      the guest has moved: clean up
 *                QEMU has ended                 undo what is left
 *   destination  inmigrate                      no guest came: undo
 *                running                        it came: give it its packets
 *                paused, completed              it came and nobody started it: ask
 *                QEMU has ended                 undo what is left
 *
 * Two guests never run: a source that may have handed its guest over, and a
 * destination that has it, are continued only where somebody says that the
 * other does not run.  A source asks the other end, where it has a peer command.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <json-c/json.h>

#include "ask.h"
#include "gate.h"
#include "guest.h"
#include "ram.h"
#include "recovery.h"
#include "util.h"

#define GREETING_MS 5000
#define POLL_US	    20000
/* QEMU cancels, or lets the guest go on, in milliseconds; a busy machine in more. */
#define CANCEL_MS  10000
#define RUNNING_MS 5000
/* A stopped guest is handed over within the blackout, unless the link is down. */
#define HAND_OVER_MS 30000

static bool is(const char *word, const char *const *words)
{
	for (; *words; words++)
		if (!strcmp(word, *words))
			return true;
	return false;
}

/* ---- QEMU ---- */

static int look(struct recovery *r, struct kat_error **err)
{
	free(r->state);
	free(r->status);
	r->state = r->status = NULL;
	if (!r->end.migration.qmp) {
		r->state = kat_format("gone");
		r->status = kat_format("none");
		return 0;
	}
	r->state = kat_end_run_state(&r->end, err);
	if (r->state)
		r->status = kat_ram_status(&r->end, err);
	if (!r->status)
		return kat_error_wrap(err, "QEMU cannot be asked what it does");
	kat_log(KAT_INFO, "QEMU says: the guest is \"%s\", the migration is \"%s\".",
		r->state, r->status);
	return 0;
}

/* Until query-migrate or query-status has one of the words.  False: it has not. */
static bool await(struct recovery *r, int64_t ms, bool of_guest, const char *const *words)
{
	int64_t deadline = kat_deadline_ms(ms);

	do {
		cleanup_free char *now = of_guest ? kat_end_run_state(&r->end, NULL)
						  : kat_ram_status(&r->end, NULL);

		if (!now)
			return false;
		if (is(now, words))
			return true;
		usleep(POLL_US);
	} while (kat_now_ns() < deadline);
	return false;
}

static const char *const over[] = {"none", "cancelled", "failed", "completed", NULL};
static const char *const running[] = {"running", NULL};

/* ---- undoing ---- */

static int undo(struct recovery *r, uint32_t kind, int outcome, struct kat_error **err)
{
	cleanup_error struct kat_error *why = NULL;

	if (kat_hooks_recover(&r->end.hooks, &r->past, kind, outcome, &why) == 0)
		return 0;
	if (!*err)
		kat_error_set(err, KAT_EXIT_FAILED,
			      "not everything could be put back (%s); the journal stays, "
			      "for katamaran --recover %s",
			      why->message, r->past.id);
	return -1;
}

static void put_back_qemu(struct recovery *r)
{
	if (!r->end.migration.qmp)
		return;
	r->end.parameters = json_object_get(r->past.parameters);
	r->end.capabilities = json_object_get(r->past.capabilities);
	kat_ram_restore(&r->end);
}

/* "send {…} to the socket": what a human is to type. */
static const char *how_to(const struct recovery *r, const char *command)
{
	static char text[512];

	snprintf(text, sizeof(text), "{\"execute\": \"%s\"} on %s", command,
		 r->past.config.qmp);
	return text;
}

static int continue_guest(struct recovery *r, struct kat_error **err)
{
	if (kat_end_qmp(&r->end, "cont", NULL, NULL, err) == 0 &&
	    await(r, RUNNING_MS, true, running))
		return 0;
	if (!*err)
		kat_error_set(err, KAT_EXIT_FAILED, "QEMU does not let it run");
	(*err)->exit_code = KAT_EXIT_HUMAN;
	return kat_error_wrap(err, "the guest cannot be continued here, it runs nowhere");
}

/* ---- the source ---- */

static enum kat_other ask_other(struct recovery *r, char **told)
{
	return kat_ask(&r->end, r->past.other_qemu, r->past.vm_uuid, is(r->status, over),
		       told);
}

static int source_gone(struct recovery *r, struct kat_error **err)
{
	bool moved = r->past.phase && !strcmp(r->past.phase, "moved");
	enum kat_other other = KAT_OTHER_UNKNOWN;
	cleanup_free char *told = NULL;

	if (r->past.migrate && !moved)
		other = ask_other(r, &told);
	if (undo(r, 0,
		 moved || other == KAT_OTHER_HAS_IT ? KATAMARAN_DONE : KATAMARAN_FAILED,
		 err) < 0)
		return -1;
	kat_log(KAT_WARNING,
		"QEMU (process %d) has ended; what the migration had changed on this "
		"node "
		"is put back. %s%s%s",
		(int)r->past.qemu_pid,
		moved			     ? "The guest had moved before."
		: !told			     ? "The guest had not begun to move."
		: other == KAT_OTHER_HAS_IT  ? "It is on the destination: "
		: other == KAT_OTHER_HAS_NOT ? "The guest runs nowhere, for on the "
					       "destination "
					     : "The guest runs on the destination if it "
					       "had moved, else nowhere: ask "
					       "query-status there. The destination: ",
		told ? told : "", told ? "." : "");
	return 0;
}

static int source_done(struct recovery *r, struct kat_error **err)
{
	if (undo(r, 0, KATAMARAN_DONE, err) < 0)
		return -1;
	kat_log(KAT_INFO,
		"The migration is complete: the guest is on the destination%s%s. Nothing "
		"of the migration is left here; this QEMU may be ended.",
		r->past.config.dest_ip ? ", " : "",
		r->past.config.dest_ip ? r->past.config.dest_ip : "");
	return 0;
}

/* After all that could be undone is: it runs, or somebody has to look. */
static int source_stays(struct recovery *r, struct kat_error **err)
{
	cleanup_free char *how = NULL;

	put_back_qemu(r);
	if (undo(r, KATAMARAN_ANNOUNCE, KATAMARAN_FAILED, err) < 0 ||
	    undo(r, KATAMARAN_STORAGE, KATAMARAN_FAILED, err) < 0)
		return -1;
	if (await(r, RUNNING_MS, true, running)) {
		kat_log(KAT_INFO, "The guest runs here, on the source, as before. "
				  "Nothing of the migration is left.");
		return 0;
	}
	look(r, NULL);
	how = kat_guest_to_run(r->state ? r->state : "", r->past.config.qmp);
	errno = 0;
	return kat_error_set(
		err, KAT_EXIT_HUMAN,
		"nothing of the migration is left here, but the guest is \"%s\" on the "
		"source. If it does not run on the destination either: %s",
		r->state ? r->state : "not to be asked about", how);
}

static int source_doubtful(struct recovery *r, const char *why, const char *told,
			   struct kat_error **err)
{
	errno = 0;
	return kat_error_set(
		err, KAT_EXIT_HUMAN,
		"%s (guest \"%s\", migration \"%s\"): the guest may run on the "
		"destination%s%s. Nothing was changed. Ask query-status there: if it "
		"runs, "
		"end this QEMU (%s) and run katamaran --recover %s again; if it does not "
		"and will not (its QEMU is ended), run katamaran --recover %s "
		"--confirm-other-stopped, which lets it go on here",
		why, r->state, r->status, told ? "; the destination: " : "",
		told ? told : "", how_to(r, "quit"), r->past.id, r->past.id);
}

/* Somebody has seen that the destination does not run, or it says so itself. */
static int source_confirmed(struct recovery *r, struct kat_error **err)
{
	if (undo(r, KATAMARAN_CUTOVER, KATAMARAN_FAILED, err) < 0)
		return -1;
	if (!is(r->status, over)) {
		if (kat_end_qmp(&r->end, "migrate_cancel", NULL, NULL, err) < 0)
			return -1;
		await(r, CANCEL_MS, false, over);
	}
	free(r->state);
	r->state = kat_end_run_state(&r->end, err);
	if (!r->state)
		return -1;
	if (strcmp(r->state, "running") && continue_guest(r, err) < 0)
		return -1;
	return source_stays(r, err);
}

/*
 * The guest may have moved.  While this QEMU still has a migration it can let its
 * guest go on by itself, whatever runs there: then it has to be ended first.
 */
static int source_ask(struct recovery *r, const char *why, struct kat_error **err)
{
	cleanup_free char *told = NULL;
	enum kat_other other = ask_other(r, &told);

	kat_log(KAT_INFO, "The destination: %s.", told);
	if (other == KAT_OTHER_HAS_NOT)
		return source_confirmed(r, err);
	if (other == KAT_OTHER_HAS_IT && is(r->status, over) &&
	    !strcmp(r->state, "postmigrate"))
		return source_done(r, err);
	return source_doubtful(r, why, told, err);
}

/*
 * QEMU lets its guest go on where it did not hear that all of it has arrived: it may
 * run there, too.  -1 where it does, and then it was stopped here.  `doubt`,
 * malloc'ed, is what the other end says where that does not tell.
 */
static int source_alone(struct recovery *r, char **doubt, struct kat_error **err)
{
	static const char *const late[] = {"redirected", "stopped", "cancelling", NULL};
	static const char *const here[] = {"running", "paused", NULL};
	cleanup_free char *told = NULL;
	enum kat_other other;

	if (strcmp(r->status, "failed") || !is(r->state, here) || !r->past.phase ||
	    !is(r->past.phase, late) || r->other_stopped || !r->past.config.peer_command)
		return 0;
	other = ask_other(r, &told);
	kat_log(KAT_INFO, "The destination: %s.", told);
	if (other == KAT_OTHER_UNKNOWN) {
		*doubt = told;
		told = NULL;
	}
	if (other != KAT_OTHER_HAS_IT)
		return 0;
	if (!strcmp(r->state, "running") &&
	    kat_end_qmp(&r->end, "stop", NULL, NULL, err) < 0)
		return kat_error_wrap(err, "the guest runs here and on the destination");
	errno = 0;
	return kat_error_set(
		err, KAT_EXIT_HUMAN,
		"the guest has moved (the destination: %s), and QEMU had let it go on "
		"here; it is stopped here, so that it does not run twice: end this QEMU "
		"(%s) and run katamaran --recover %s again",
		told, how_to(r, "quit"), r->past.id);
}

/* It runs here, and nothing is left here to be put back: where it runs it stays. */
static int source_stays_alone(struct recovery *r, struct kat_error **err)
{
	cleanup_free char *doubt = NULL;

	if (source_alone(r, &doubt, err) < 0 ||
	    undo(r, KATAMARAN_CUTOVER, KATAMARAN_FAILED, err) < 0 ||
	    source_stays(r, err) < 0)
		return -1;
	if (!doubt)
		return 0;
	errno = 0;
	return kat_error_set(
		err, KAT_EXIT_HUMAN,
		"all of the guest may have been sent: it runs here, and may run on %s, "
		"too (%s). Ask query-status of its QEMU there: if it is \"running\", end "
		"one of the two; then run katamaran --recover %s --confirm-other-stopped",
		r->past.config.dest_ip ? r->past.config.dest_ip : "the destination",
		doubt, r->past.id);
}

static int source_cancel(struct recovery *r, struct kat_error **err)
{
	static const char *const cancelled[] = {"none", "cancelled", "failed", NULL};
	static const char *const finishing[] = {"finish-migrate", "postmigrate", NULL};

	if (undo(r, KATAMARAN_CUTOVER, KATAMARAN_FAILED, err) < 0)
		return -1;
	/* So that it does not switch over while it is cancelled. */
	if (strcmp(r->status, "pre-switchover")) {
		kat_ram_set(&r->end, "max-bandwidth", KAT_GATE_BRAKE, NULL);
		kat_ram_set(&r->end, "downtime-limit", KAT_GATE_DOWNTIME_MS, NULL);
		if (look(r, err) < 0)
			return -1;
		if (is(r->state, finishing) && strcmp(r->status, "pre-switchover"))
			return 1; /* too late: decide again */
	}
	if (!is(r->status, over) &&
	    kat_end_qmp(&r->end, "migrate_cancel", NULL, NULL, err) < 0)
		return -1;
	if (await(r, CANCEL_MS, false, cancelled))
		return source_stays(r, err);
	return 1;
}

/* The guest is stopped and QEMU sends the rest: it alone knows how that ends. */
static int source_finishing(struct recovery *r, struct kat_error **err)
{
	kat_log(KAT_INFO, "QEMU is handing the guest over: waiting for how that ends...");
	if (await(r, HAND_OVER_MS, false, over))
		return 1;
	if (look(r, err) < 0)
		return -1;
	return source_ask(r, "QEMU does not end the migration", err);
}

/* 1: QEMU was faster, look again. */
static int source_once(struct recovery *r, struct kat_error **err)
{
	static const char *const stopped[] = {"finish-migrate", "postmigrate", NULL};
	bool held = is(r->state, stopped);

	if (!r->end.migration.qmp)
		return source_gone(r, err);
	if (r->other_stopped)
		return source_confirmed(r, err);
	if (!strncmp(r->status, "postcopy", 8))
		return source_doubtful(r, "the migration is in post-copy", NULL, err);
	if (!strcmp(r->status, "completed") && held)
		return source_done(r, err);
	/* Somebody has continued it here; or it was another migration, before. */
	if (!strcmp(r->status, "completed") && r->past.migrate)
		return source_ask(
			r, "the migration is complete, and yet the guest is here", err);
	if (is(r->status, over)) {
		if (!strcmp(r->state, "postmigrate"))
			return source_ask(r, "the migration has failed at its end", err);
		return source_stays_alone(r, err);
	}
	if (held && strcmp(r->status, "pre-switchover"))
		return source_finishing(r, err);
	return source_cancel(r, err);
}

int kat_recover_source(struct recovery *r, struct kat_error **err)
{
	for (int tries = 0; tries < 5; tries++) {
		int ret;

		if (look(r, err) < 0)
			return -1;
		ret = source_once(r, err);
		if (ret <= 0)
			return ret;
	}
	return source_ask(r, "QEMU does not come to rest", err);
}

/* ---- the destination ---- */

static int dest_gone(struct recovery *r, struct kat_error **err)
{
	if (undo(r, 0, KATAMARAN_FAILED, err) < 0)
		return -1;
	kat_log(KAT_WARNING,
		"QEMU (process %d) has ended; what the migration had changed on this "
		"node "
		"is put back. The guest does not run here.",
		(int)r->past.qemu_pid);
	return 0;
}

static int dest_runs(struct recovery *r, struct kat_error **err)
{
	/* Its packets first. */
	if (undo(r, KATAMARAN_CUTOVER, KATAMARAN_DONE, err) < 0)
		return -1;
	if (undo(r, KATAMARAN_STORAGE, KATAMARAN_DONE, err) < 0 ||
	    undo(r, KATAMARAN_ANNOUNCE, KATAMARAN_DONE, err) < 0)
		return -1;
	put_back_qemu(r);
	kat_log(KAT_INFO,
		"The guest is here (\"%s\"), and has the packets that were held for it. "
		"Nothing of the migration is left.",
		r->state);
	return 0;
}

static int dest_waits(struct recovery *r, struct kat_error **err)
{
	if (undo(r, 0, KATAMARAN_FAILED, err) < 0)
		return -1;
	if (look(r, err) < 0)
		return -1;
	if (strcmp(r->state, "inmigrate"))
		return 1; /* it came meanwhile */
	if (strcmp(r->status, "active"))
		put_back_qemu(r); /* they belong to the stream, while one arrives */
	if (!strcmp(r->status, "active"))
		kat_log(KAT_WARNING,
			"A migration still arrives, which only the source can take back: "
			"run katamaran --recover there. It goes on without packets being "
			"held here.");
	else
		kat_log(KAT_INFO,
			"No guest has come. Nothing of the migration is left; this QEMU "
			"still waits for a guest: begin the migration again, or end it "
			"(%s).",
			how_to(r, "quit"));
	return 0;
}

static int dest_paused(struct recovery *r, struct kat_error **err)
{
	errno = 0;
	if (!r->other_stopped)
		return kat_error_set(
			err, KAT_EXIT_HUMAN,
			"all of the guest has arrived here, and nobody has started it. "
			"Nothing was changed, packets for it are still held. Ask "
			"query-status on the source: if it is \"postmigrate\" or its "
			"QEMU "
			"is ended, run katamaran --recover %s --confirm-other-stopped, "
			"which lets the guest run here; if it runs there, end this QEMU "
			"(%s) and run katamaran --recover %s again",
			r->past.id, how_to(r, "quit"), r->past.id);
	/* It shall have its disks for itself. */
	if (undo(r, KATAMARAN_STORAGE, KATAMARAN_DONE, err) < 0 ||
	    continue_guest(r, err) < 0)
		return -1;
	return 1;
}

static int dest_once(struct recovery *r, struct kat_error **err)
{
	static const char *const not_started[] = {"paused", "prelaunch", NULL};

	if (!r->end.migration.qmp)
		return dest_gone(r, err);
	if (!strcmp(r->state, "inmigrate"))
		return dest_waits(r, err);
	if (is(r->state, not_started) && strcmp(r->status, "completed")) {
		kat_log(KAT_WARNING, "No guest has come, and this QEMU waits for none.");
		put_back_qemu(r);
		return undo(r, 0, KATAMARAN_FAILED, err);
	}
	/* One that ran here before was paused by somebody, who knows why. */
	if (is(r->state, not_started) &&
	    !(r->past.phase && !strcmp(r->past.phase, "running")))
		return dest_paused(r, err);
	return dest_runs(r, err);
}

int kat_recover_dest(struct recovery *r, struct kat_error **err)
{
	int ret = 1;

	for (int tries = 0; ret > 0 && tries < 5; tries++) {
		if (look(r, err) < 0)
			return -1;
		ret = dest_once(r, err);
	}
	return ret > 0 ? kat_error_set(err, KAT_EXIT_FAILED, "QEMU does not come to rest")
		       : ret;
}
