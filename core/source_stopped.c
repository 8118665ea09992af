/* SPDX-License-Identifier: BSD-2-Clause */
/* The source's states from the guest's STOP on: STOPPED, CANCELLING and MOVED. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json_object.h>

#include "fault.h"
#include "source.h"

/* The other end closes its exports; the guest is stopped meanwhile. */
#define DRAIN_MS 5000
/* The other end lets the guest run, or says within 10 s that it cannot. */
#define RESUMED_MS 30000

enum source_state kat_source_stop_second(struct source *s)
{
	struct kat_error *why = NULL;

	kat_end_qmp(s->end, "stop", NULL, NULL, NULL);
	s->plain = true;
	kat_error_set(
		&why, KAT_EXIT_HUMAN,
		"the guest runs on the destination although the migration did not"
		" complete here; it was stopped here, so that it does not run twice: end"
		" this QEMU (send {\"execute\": \"quit\"} to %s)",
		s->end->config->qmp);
	kat_error_free(&s->end->reason); /* this is worse */
	return kat_source_lost(s, &why);
}

/* ---- STOPPED ---- */

/* The disks are in step: the other end gives its own free for the guest. */
static int hand_over_disks(struct source *s, struct kat_error **err)
{
	if (!s->end->peer || !kat_hooks_has_on_stop(&s->end->hooks, KATAMARAN_STORAGE))
		return 0;
	if (kat_fault(&s->end->migration, "drained", err) < 0)
		return -1;
	kat_peer_send(s->end->peer, "drained", NULL);
	return kat_peer_wait(s->end->peer, "closed", kat_deadline_ms(DRAIN_MS), NULL,
			     err);
}

/*
 * QEMU waits with the guest stopped, for what the disks still need.  The packets
 * have been cared for when STOP was heard, which comes before this.
 */
static enum source_state finish_storage(struct source *s)
{
	cleanup_error struct kat_error *why = NULL;
	int64_t deadline = kat_deadline_ms(s->end->config->stop_ms);
	struct json_object *args;

	if (s->end->reason || /* a plugin saw something break */
	    kat_hooks_on_stop(&s->end->hooks, KATAMARAN_STORAGE, deadline, &why) < 0 ||
	    hand_over_disks(s, &why) < 0)
		return kat_source_cancel(s, &why);
	kat_fault(&s->end->migration, "handed-over", NULL);
	args = json_object_new_object();
	json_object_object_add(args, "state", json_object_new_string("pre-switchover"));
	/*
	 * The point of no return.  A signal does not come in between, and no answer
	 * means that it may have been heard.
	 */
	s->end->loop.deaf = true;
	if (kat_end_qmp(s->end, "migrate-continue", args, NULL, &why) < 0 &&
	    why->sys_errno == EREMOTEIO) {
		s->end->loop.deaf = false;
		return kat_source_cancel(s, &why);
	}
	s->end->loop.deaf = false;
	s->waits = false;
	kat_fault(&s->end->migration, "continued", NULL);
	return STOPPED;
}

/* ---- what becomes of the guest on the other end ---- */

/* For who has to look: all of the guest is there, and `why` it may not run. */
static void doubt_there(struct source *s, const char *why)
{
	const char *id = s->end->migration.id;

	kat_error_free(&s->there);
	errno = 0;
	kat_error_set(
		&s->there, KAT_EXIT_HUMAN,
		"all of the guest is on %s, and %s. Ask query-status of its QEMU there:"
		" if it is \"paused\", send {\"execute\": \"cont\"}; when it is"
		" \"running\", run katamaran --recover %s here. If that QEMU has ended"
		" before the guest ran, katamaran --recover %s --confirm-other-stopped"
		" lets it go on here",
		s->end->config->dest_ip, why, id, id);
}

void kat_source_failed_there(struct source *s, struct json_object *message)
{
	const char *reason = kat_json_string(message, "reason");
	cleanup_free char *why = NULL;

	if (!reason)
		reason = "it does not say why";
	kat_log(KAT_WARNING, "the destination failed: %s", reason);
	why = kat_format("that end failed before the guest ran: %s", reason);
	doubt_there(s, why);
	if (!s->resumed)
		return;
	kat_error_free(&s->there);
	kat_error_set(&s->there, KAT_EXIT_HUMAN,
		      "the guest ran on %s, and that end failed then: %s. If its QEMU"
		      " has ended there, the guest runs nowhere: start it anew there",
		      s->end->config->dest_ip, reason);
}

/* The redirect does its work until the network has learned. */
static enum source_state go_moved(struct source *s)
{
	if (!s->resumed_ns)
		s->resumed_ns = kat_now_ns();
	s->deadline_ns = kat_now_ns();
	return MOVED;
}

/* It runs there, most likely: the redirect stays as long as it would. */
static enum source_state go_unheard(struct source *s)
{
	doubt_there(s, "the link to that end was over before it said that the guest"
		       " runs");
	return go_moved(s);
}

/* The other end has said that it failed: there is nothing to redirect to. */
static enum source_state go_failed_there(struct source *s)
{
	if (s->resumed)
		return FINISHED;
	s->plain = true;
	kat_error_free(&s->end->reason);
	return kat_source_lost(s, &s->there);
}

/*
 * QEMU has given all of the guest away.  Whether it runs is for the other end to
 * tell, where there is a link; it may have told already.
 */
static enum source_state go_completed(struct source *s)
{
	s->completed = true;
	s->resumed_ns = kat_now_ns();
	if (s->there)
		return go_failed_there(s);
	if (!s->end->peer || s->resumed)
		return go_moved(s);
	if (s->end->peer_lost)
		return go_unheard(s);
	s->deadline_ns = kat_deadline_ms(RESUMED_MS);
	return STOPPED;
}

/* ---- STOPPED, on ---- */

static enum source_state stopped_event(struct source *s,
				       const struct kat_qmp_event *event)
{
	const char *status = kat_end_migration_status(event);

	if (!status)
		return STOPPED;
	if (!strcmp(status, "pre-switchover") && s->waits)
		return finish_storage(s);
	if (!strcmp(status, "completed"))
		return go_completed(s);
	if (strcmp(status, "failed") && strcmp(status, "cancelled"))
		return STOPPED;
	/* It did not hear that all has arrived, and lets the guest go on here. */
	if (s->resumed)
		return kat_source_stop_second(s);
	kat_source_qemu_failed(s);
	return ENDED;
}

static enum source_state stopped_time(struct source *s)
{
	struct kat_error *why = NULL;

	if (s->completed) {
		doubt_there(s, "that end does not say that it runs");
		return go_moved(s);
	}
	if (!s->end->migration.qmp)
		kat_error_set(
			&why, KAT_EXIT_HUMAN,
			"QEMU (process %d) has ended while it handed the guest over, and"
			" the destination does not say that it runs there",
			(int)s->end->migration.qemu_pid);
	else
		kat_error_set(&why, KAT_EXIT_HUMAN,
			      "the guest has been stopped for %d s and QEMU says neither"
			      " completed nor failed",
			      COMPLETE_S);
	return kat_source_lost(s, &why);
}

/* What was not sent is lost, and all of it may have been: the other end knows. */
static enum source_state stopped_gone(struct source *s)
{
	struct kat_error *why = NULL;

	if (s->completed || s->resumed) { /* it has no part left */
		kat_qmp_close(&s->end->migration.qmp);
		return s->resumed ? go_moved(s) : STOPPED;
	}
	if (s->waits) /* for us: the rest was not sent */
		return kat_source_gone(s);
	if (s->end->peer && !kat_peer_gone(s->end->peer) &&
	    kat_end_qemu_ended(s->end, KAT_DIES_MS)) {
		kat_qmp_close(&s->end->migration.qmp);
		s->deadline_ns = kat_deadline_ms(TOLD_MS);
		return STOPPED;
	}
	kat_error_set(
		&why, KAT_EXIT_HUMAN,
		"QEMU (process %d) has closed the QMP connection while it handed the"
		" guest over",
		(int)s->end->migration.qemu_pid);
	return kat_source_lost(s, &why);
}

static enum source_state stopped_signal(struct source *s)
{
	int number = kat_loop_take_signal(&s->end->loop);

	kat_log(KAT_WARNING,
		"%s comes too late: the guest is being handed over; finishing",
		strsignal(number));
	return STOPPED;
}

/*
 * QEMU decides whether the guest is handed over, whatever becomes of the link; but
 * where it has ended, the other end's word is all there is.
 */
static enum source_state stopped_peer(struct source *s, struct json_object *message)
{
	const char *type = kat_json_string(message, "type");
	bool alone = !s->end->migration.qmp;
	struct kat_error *why = NULL;

	if (!strcmp(type, "resumed")) {
		s->resumed = true;
		return alone || s->completed ? go_moved(s) : STOPPED;
	}
	if (strcmp(type, "failed"))
		return STOPPED;
	kat_source_failed_there(s, message);
	if (s->completed)
		return go_failed_there(s);
	if (!alone)
		return STOPPED;
	s->plain = true;
	kat_error_set(
		&why, KAT_EXIT_HUMAN,
		"QEMU (process %d) has ended while it handed the guest over, and it"
		" did not arrive: it runs nowhere. Start it anew where its disks are",
		(int)s->end->migration.qemu_pid);
	kat_end_fail(s->end, &why);
	return ENDED;
}

static void link_over(struct source *s)
{
	kat_log(KAT_WARNING, "the link to the destination is over (%s)",
		kat_peer_why_gone(s->end->peer));
	kat_ledger_doubt(&s->end->migration.ledger,
			 strdup("the destination's counters were not told"));
}

static enum source_state stopped_peer_gone(struct source *s)
{
	link_over(s);
	if (s->completed)
		return go_unheard(s);
	return s->end->migration.qmp ? STOPPED : stopped_time(s);
}

/* ---- CANCELLING ---- */

static enum source_state cancelling_peer(struct source *s, struct json_object *message)
{
	if (strcmp(kat_json_string(message, "type"), "resumed"))
		return CANCELLING;
	return kat_source_stop_second(s);
}

static enum source_state cancelling_peer_gone(struct source *s)
{
	(void)s;
	return CANCELLING;
}

static enum source_state cancelling_event(struct source *s,
					  const struct kat_qmp_event *event)
{
	const char *status = kat_end_migration_status(event);

	if (!strcmp(event->name, "STOP") && !s->stop_ns)
		s->stop_ns = kat_now_ns();
	if (!strcmp(event->name, "SHUTDOWN")) {
		kat_source_shut_down(s, event);
		s->stopped_itself = true;
	}
	if (!status)
		return CANCELLING;
	if (!strcmp(status, "cancelled") || !strcmp(status, "failed"))
		return ENDED;
	if (strcmp(status, "completed"))
		return CANCELLING;
	kat_log(KAT_WARNING, "the migration was complete before it could be cancelled");
	kat_error_free(&s->end->reason);
	kat_source_follow(s);
	return go_completed(s);
}

/* No event, for instance because the migration had not begun: ask. */
static enum source_state cancelling_time(struct source *s)
{
	struct kat_error *why = NULL;
	cleanup_free char *status = NULL;

	s->end->loop.deaf = true; /* a second signal is no reason not to know */
	status = kat_ram_status(s->end, &why);
	s->end->loop.deaf = false;
	if (!status && kat_qmp_closed(s->end->migration.qmp)) {
		kat_error_free(&why);
		return kat_source_gone(s);
	}
	if (!status)
		return kat_source_lost(s, &why);
	if (!strcmp(status, "none") || !strcmp(status, "cancelled") ||
	    !strcmp(status, "failed"))
		return ENDED;
	kat_error_set(&why, KAT_EXIT_HUMAN,
		      "QEMU does not end the migration: it is \"%s\"", status);
	kat_error_free(&s->end->reason); /* this is worse */
	return kat_source_lost(s, &why);
}

static enum source_state cancelling_signal(struct source *s)
{
	kat_loop_take_signal(&s->end->loop);
	kat_log(KAT_INFO, "Already taking the migration back.");
	return CANCELLING;
}

/* ---- MOVED ---- */

static enum source_state moved_time(struct source *s)
{
	s->deadline_ns = kat_hooks_on_resume(&s->end->hooks);
	return s->deadline_ns ? MOVED : FINISHED;
}

static enum source_state moved_signal(struct source *s)
{
	int number = kat_loop_take_signal(&s->end->loop);

	kat_log(KAT_WARNING,
		"%s: the guest has moved already; ending the redirect early, whether the"
		" network has learned or not",
		strsignal(number));
	return FINISHED;
}

static enum source_state moved_peer(struct source *s, struct json_object *message)
{
	const char *type = kat_json_string(message, "type");

	if (!strcmp(type, "resumed")) { /* late */
		s->resumed = true;
		kat_error_free(&s->there);
	}
	if (strcmp(type, "failed"))
		return MOVED;
	kat_source_failed_there(s, message);
	return go_failed_there(s);
}

static enum source_state moved_peer_gone(struct source *s)
{
	link_over(s);
	return MOVED;
}

/* After completed the source's QEMU has no part left: its end is no failure. */
static enum source_state moved_gone(struct source *s)
{
	kat_qmp_close(&s->end->migration.qmp);
	return MOVED;
}

static enum source_state moved_event(struct source *s, const struct kat_qmp_event *event)
{
	(void)s;
	(void)event;
	return MOVED;
}

const struct kat_source_row kat_source_stopped = {
	"stopped",    stopped_event, stopped_time,	stopped_signal,
	stopped_gone, stopped_peer,  stopped_peer_gone,
};

const struct kat_source_row kat_source_cancelling = {
	"cancelling",	 cancelling_event, cancelling_time,	 cancelling_signal,
	kat_source_gone, cancelling_peer,  cancelling_peer_gone,
};

const struct kat_source_row kat_source_moved = {
	"moved",    moved_event, moved_time,	  moved_signal,
	moved_gone, moved_peer,	 moved_peer_gone,
};
