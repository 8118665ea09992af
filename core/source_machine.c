/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The source's state machine.
 *
 *   COPYING ──go──> REDIRECTED ──STOP──> STOPPED ──completed──> MOVED ──> (end)
 *      │  │              │                  │
 *      │  └─STOP, redirect now──────────────┤
 *      │                 │                  │
 *      └─failed, signal, deadline──> CANCELLING ──> ENDED ──> (end)
 *
 * Until STOP everything can be taken back: migrate_cancel, and the guest goes
 * on here.  From STOP on only QEMU decides, and tells by completed or failed;
 * a signal then no longer stops the migration.  When a storage plugin has work
 * at STOP, QEMU waits in pre-switchover for migrate-continue, and that is the
 * point of no return.  In the order `salvage` it does so too, and STOP comes
 * straight from COPYING; in the order `redirect-first` that is an accident.
 *
 * With a link to the other end `completed` is not enough for MOVED: that one has
 * to say that the guest runs.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "back.h"
#include "fault.h"
#include "source.h"

/* migrate_cancel is a matter of milliseconds, unless QEMU hangs. */
#define CANCEL_MS 5000

/* Where QEMU has no words on why the migration failed, the other QEMU has them. */
void kat_source_qemu_failed(struct source *s)
{
	cleanup_free char *text = kat_ram_error(s->end);
	struct kat_error *why = NULL;

	kat_error_set(&why, KAT_EXIT_FAILED, "QEMU reported migration failed%s%s",
		      text ? ": " : "",
		      text ? text : " (see the messages of QEMU on the destination)");
	kat_end_fail(s->end, &why);
}

enum source_state kat_source_lost(struct source *s, struct kat_error **why)
{
	kat_end_fail(s->end, why);
	return LOST;
}

/*
 * QEMU cannot switch over by itself, since it waits in pre-switchover for us: so
 * the network is put back before the guest goes on.  The disks come when QEMU has
 * let go of the migration: taking mirrors back holds the guest for a moment, which
 * is nothing to do while QEMU may stop it, too.
 */
static void put_back_first(struct source *s)
{
	if (!s->waits)
		return;
	s->no_redirect = true;
	kat_hooks_cleanup(&s->end->hooks, KATAMARAN_CUTOVER,
			  s->cancelled ? KATAMARAN_CANCELLED : KATAMARAN_FAILED);
}

/* `why` may be empty if end->reason is set already. */
enum source_state kat_source_cancel(struct source *s, struct kat_error **why)
{
	cleanup_error struct kat_error *refused = NULL;
	bool deaf = s->end->loop.deaf;
	int ret;

	kat_end_fail(s->end, why);
	if (kat_qmp_closed(s->end->migration.qmp))
		return kat_source_gone(s);
	put_back_first(s);
	s->deadline_ns = kat_deadline_ms(CANCEL_MS);
	/* A second signal must keep neither the command nor its answer from coming. */
	s->end->loop.deaf = true;
	ret = kat_end_qmp(s->end, "migrate_cancel", NULL, NULL, &refused);
	s->end->loop.deaf = deaf;
	if (ret == 0)
		return CANCELLING;
	if (kat_qmp_closed(s->end->migration.qmp))
		return kat_source_gone(s);
	return kat_source_lost(s, &refused);
}

static bool is_shutdown(const struct kat_qmp_event *event, void *data)
{
	(void)data;
	return !strcmp(event->name, "SHUTDOWN");
}

void kat_source_shut_down(struct source *s, const struct kat_qmp_event *event)
{
	const char *reason = kat_json_string(event->data, "reason");

	s->shut_down = true;
	snprintf(s->shut_down_by, sizeof(s->shut_down_by), "%s (%.32s)",
		 kat_json_bool(event->data, "guest", true)
			 ? "the guest has shut itself down"
			 : "QEMU was told to end, and the guest with it",
		 reason ? reason : "QEMU does not say why");
}

/* Whether QEMU has said so, also where that came while an answer was waited for. */
static bool was_shut_down(struct source *s)
{
	cleanup_event struct kat_qmp_event *event =
		kat_qmp_take_match(s->end->migration.qmp, is_shutdown, NULL);

	if (event)
		kat_source_shut_down(s, event);
	return s->shut_down;
}

/*
 * QEMU's monitor has gone before the guest was stopped for the switchover: with
 * its process the guest has gone, too.
 */
enum source_state kat_source_gone(struct source *s)
{
	struct kat_error *why = NULL;
	int pid = (int)s->end->migration.qemu_pid;

	if (!kat_end_qemu_ended(s->end, KAT_DIES_MS)) {
		kat_error_set(&why, KAT_EXIT_HUMAN,
			      "QEMU (process %d) lives and has closed the QMP connection:"
			      " somebody took the socket",
			      pid);
		kat_error_free(&s->end->reason); /* this is worse */
		return kat_source_lost(s, &why);
	}
	s->plain = true;
	if (was_shut_down(s)) { /* and QEMU with it: nobody has to look for the guest */
		errno = 0;
		kat_error_set(&why, KAT_EXIT_FAILED, "%s", s->shut_down_by);
		kat_error_free(&s->end->reason);
		kat_end_fail(s->end, &why);
		return ENDED;
	}
	kat_error_set(&why, KAT_EXIT_HUMAN,
		      "QEMU (process %d) has ended, and the guest with it: it had not"
		      " moved, and runs nowhere. Start it anew where its disks are",
		      pid);
	kat_error_free(&s->end->reason); /* this is worse */
	kat_end_fail(s->end, &why);
	return ENDED;
}

/* The rows, from left to right: what can happen, in the order of the header. */
static const struct kat_source_row *const table[] = {
	[COPYING] = &kat_source_copying, [REDIRECTED] = &kat_source_redirected,
	[STOPPED] = &kat_source_stopped, [CANCELLING] = &kat_source_cancelling,
	[MOVED] = &kat_source_moved,
};

/*
 * The other end has failed, and tells first what became of the packets; those that it
 * still has come with that.
 */
static bool take_result(struct source *s, struct json_object *message)
{
	const char *type = kat_json_string(message, "type");

	if (!strcmp(type, "back")) {
		kat_back_keep(&s->back, json_object_get(message));
		return true;
	}
	if (strcmp(type, "result"))
		return false;
	kat_ledger_join(&s->end->migration.ledger, message);
	return true;
}

static enum source_state step(struct source *s, enum source_state state)
{
	cleanup_event struct kat_qmp_event *event = NULL;
	cleanup_json struct json_object *message = NULL;

	switch (kat_end_next(s->end, s->deadline_ns, &event, &message)) {
	case KAT_HAPPENED_EVENT:
		return table[state]->event(s, event);
	case KAT_HAPPENED_TIME:
		return table[state]->time(s);
	case KAT_HAPPENED_SIGNAL:
		return table[state]->signal(s);
	case KAT_HAPPENED_QMP_GONE:
		return table[state]->gone(s);
	case KAT_HAPPENED_PEER:
		if (take_result(s, message))
			return state;
		return table[state]->peer(s, message);
	case KAT_HAPPENED_PEER_GONE:
		return table[state]->peer_gone(s);
	}
	return LOST;
}

static void tell_times(const struct source *s)
{
	char redirect[64] = "no redirect", stop[64] = "STOP not seen";

	if (s->stop_ns && !s->no_redirect)
		snprintf(redirect, sizeof(redirect), "%s %.1f ms",
			 s->redirect_ns < s->stop_ns ? "redirect to STOP"
						     : "STOP to redirect",
			 (double)llabs(s->stop_ns - s->redirect_ns) / KAT_NS_PER_MS);
	else if (!s->no_redirect)
		strcpy(redirect, "redirected");
	if (s->stop_ns)
		snprintf(stop, sizeof(stop), "STOP to completed %.1f ms",
			 (double)(s->resumed_ns - s->stop_ns) / KAT_NS_PER_MS);
	kat_log(KAT_INFO,
		"Switchover: %s, %s, downtime as QEMU reports it %" PRId64 " ms.",
		redirect, stop, s->end->times.downtime_ms);
}

static void tell_moved(struct source *s)
{
	s->end->times.downtime_ms = kat_ram_downtime_ms(s->end, -1);
	kat_log_release();
	if (s->resumed)
		kat_log(KAT_INFO, "Migration status: completed. The guest runs on %s.",
			s->end->config->dest_ip);
	else
		kat_log(s->there ? KAT_WARNING : KAT_INFO,
			"Migration status: completed. All of the guest is on %s; that"
			" end knows whether it runs.",
			s->end->config->dest_ip);
	tell_times(s);
	if (s->no_redirect)
		return;
	kat_log(KAT_INFO,
		"Keeping the redirect until the network has learned the new place.");
}

enum source_state kat_source_machine(struct source *s, struct kat_error **why)
{
	enum source_state state = *why ? kat_source_cancel(s, why) : COPYING;

	if (state < ENDED)
		kat_journal_phase(&s->end->journal, table[state]->name);
	while (state < ENDED) {
		enum source_state next = step(s, state);

		if (next == state)
			continue;
		if (next < ENDED) {
			kat_log(KAT_DEBUG, "source: %s -> %s", table[state]->name,
				table[next]->name);
			kat_journal_phase(&s->end->journal, table[next]->name);
			kat_fault(&s->end->migration, table[next]->name, NULL);
		}
		if (next == STOPPED && state != CANCELLING)
			kat_log(KAT_INFO, "VM paused by QEMU for the switchover.");
		if (next == MOVED)
			tell_moved(s);
		state = next;
	}
	kat_log_release();
	return state;
}
