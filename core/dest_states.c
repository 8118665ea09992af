/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The destination's state machine.
 *
 *   WAITING ──source connects──> ARRIVING ──RESUME──> RUNNING ──> (end)
 *      │                            │
 *      └──failed, signal, deadline, QEMU gone──> ENDED ──> (end)
 *
 * The source says when packets may be redirected here ("hold"), and they are
 * held from then on.  Without a link to it, the arrival of its connection is
 * the first that this end hears of the migration, and they are held from then
 * on.  Success is a guest that runs here.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "dest.h"
#include "fault.h"
#include "ram.h"

/* The source holds its redirect for hold_max_s, a day at most, and cleans up. */
#define OVER_S (86400 + 3600)
/* From the guest's arrival, or from `cont`, to its RESUME. */
#define RUNS_MS 10000

enum dest_state {
	WAITING,  /* QEMU listens, nobody has connected */
	ARRIVING, /* RAM arrives; packets for the guest are held */
	RUNNING,  /* the guest runs here */
	ENDED,	  /* it does not, and will not */
	FINISHED,
};

/* ---- the deadlines ---- */

static bool source_lives(const struct dest *d)
{
	return d->end->peer && !kat_peer_gone(d->end->peer);
}

/* From the beginning, and once more when the source connects or can no longer tell. */
static void wait_anew(struct dest *d)
{
	d->deadline_ns = kat_deadline_ms(d->end->config->event_s * 1000);
}

/* ---- leaving a state for another one ---- */

static enum dest_state go_ended(struct dest *d, struct kat_error **why)
{
	kat_end_fail(d->end, why);
	return ENDED;
}

/* From here on packets for the guest wait. */
static int hold_packets(struct dest *d, struct kat_error **err)
{
	int64_t deadline = kat_deadline_ms(d->end->config->stop_ms);

	if (d->held)
		return 0;
	if (kat_hooks_on_stop(&d->end->hooks, KATAMARAN_CUTOVER, deadline, err) < 0)
		return -1;
	d->held = true;
	d->end->times.redirect = kat_now_ns();
	return 0;
}

static enum dest_state go_arriving(struct dest *d)
{
	cleanup_error struct kat_error *why = NULL;

	wait_anew(d);
	if (source_lives(d)) {
		kat_log(KAT_INFO, "The source has connected; RAM arrives.");
		return ARRIVING;
	}
	if (hold_packets(d, &why) < 0)
		return go_ended(d, &why);
	kat_log(KAT_INFO,
		"The source has connected: packets for the guest are held from now"
		" on. Waiting for QEMU RESUME event...");
	return ARRIVING;
}

/*
 * The guest runs: the packets that were held are its own now.  Nothing comes
 * before that, not even a line in the log.
 */
static enum dest_state next_round(struct dest *d)
{
	d->deadline_ns = kat_hooks_on_resume(&d->end->hooks);
	if (d->deadline_ns)
		return RUNNING;
	if (!source_lives(d) || d->over)
		return FINISHED;
	/* Only the source knows when its redirect has gone. */
	d->deadline_ns = d->resumed_ns + OVER_S * KAT_NS_PER_S;
	return kat_now_ns() < d->deadline_ns ? RUNNING : FINISHED;
}

static enum dest_state go_running(struct dest *d)
{
	enum dest_state next;

	kat_log_hold();
	d->resumed_ns = d->end->times.resumed = kat_now_ns();
	next = next_round(d);
	kat_log(KAT_INFO,
		"VM resumed; its packets delivered and its place announced %.3f ms "
		"later.",
		(double)(kat_now_ns() - d->resumed_ns) / KAT_NS_PER_MS);
	kat_log_release();
	if (d->end->peer)
		kat_peer_send(d->end->peer, "resumed", NULL);
	return next;
}

/* ---- WAITING and ARRIVING ---- */

static enum dest_state qemu_gone(struct dest *d)
{
	int pid = (int)d->end->migration.qemu_pid;
	struct kat_error *why = NULL;

	if (!d->arrived)
		kat_error_set(&why, KAT_EXIT_FAILED,
			      "QEMU (process %d) has gone before the guest ran here: the"
			      " source cancelled, or the guest could not be loaded (see"
			      " QEMU's own messages)",
			      pid);
	else if (kat_end_qemu_ended(d->end, KAT_DIES_MS))
		kat_error_set(
			&why, KAT_EXIT_HUMAN,
			"QEMU (process %d) has ended when all of the guest had"
			" arrived, before it ran: it runs nowhere. On the source,"
			" katamaran --recover all --confirm-other-stopped lets it go"
			" on",
			pid);
	else
		kat_error_set(&why, KAT_EXIT_HUMAN,
			      "QEMU (process %d) lives and has closed the QMP connection"
			      " when all of the guest had arrived: ask query-status on %s"
			      " whether it runs, before anything is continued",
			      pid, d->end->config->qmp);
	return go_ended(d, &why);
}

static enum dest_state not_continued(struct dest *d, struct kat_error **why)
{
	if (kat_qmp_closed(d->end->migration.qmp)) {
		kat_error_free(why);
		return qemu_gone(d);
	}
	(*why)->exit_code = KAT_EXIT_HUMAN;
	kat_error_wrap(why,
		       "the guest has arrived here and cannot be continued; it runs"
		       " nowhere. Find out why and send {\"execute\": \"cont\"} to %s",
		       d->end->config->qmp);
	return go_ended(d, why);
}

/*
 * All of the guest has arrived, and it is paused: the destination was started
 * with -S, or QEMU would not start it.  The source was running when it began.
 */
static enum dest_state continue_guest(struct dest *d)
{
	struct kat_error *why = NULL;
	cleanup_free char *state = kat_end_run_state(d->end, &why);

	d->arrived = true;
	d->deadline_ns = kat_deadline_ms(RUNS_MS);
	if (!state)
		return not_continued(d, &why);
	if (!strcmp(state, "running"))
		return go_running(d); /* its RESUME was overheard */
	if (strcmp(state, "paused") && strcmp(state, "prelaunch"))
		return ARRIVING; /* not yet: RESUME follows */
	kat_log(KAT_INFO, "The guest has arrived paused; continuing it.");
	if (kat_end_qmp(d->end, "cont", NULL, NULL, &why) < 0)
		return not_continued(d, &why);
	return ARRIVING;
}

/* It is nobody else's any more: no signal comes in between. */
static enum dest_state go_arrived(struct dest *d)
{
	enum dest_state next;

	d->end->loop.deaf = true;
	next = continue_guest(d);
	d->end->loop.deaf = false;
	return next;
}

static enum dest_state incoming_failed(struct dest *d)
{
	cleanup_free char *text = kat_ram_error(d->end);
	struct kat_error *why = NULL;

	d->unloaded = true;
	kat_error_set(&why, KAT_EXIT_FAILED,
		      "QEMU reported incoming migration failed%s%s", text ? ": " : "",
		      text ? text : " (see QEMU's own messages)");
	return go_ended(d, &why);
}

static enum dest_state waiting_event(struct dest *d, const struct kat_qmp_event *event)
{
	const char *status = kat_end_migration_status(event);
	struct kat_error *why = NULL;

	if (d->end->reason)
		return go_ended(d, &why);
	if (!strcmp(event->name, "RESUME"))
		return go_running(d);
	if (!status)
		return WAITING;
	if (!strcmp(status, "active"))
		return go_arriving(d);
	if (!strcmp(status, "failed"))
		return incoming_failed(d);
	return WAITING;
}

static enum dest_state arriving_event(struct dest *d, const struct kat_qmp_event *event)
{
	const char *status = kat_end_migration_status(event);
	struct kat_error *why = NULL;

	if (!strcmp(event->name, "RESUME"))
		return go_running(d);
	if (d->end->reason)
		return go_ended(d, &why);
	if (status && !strcmp(status, "failed"))
		return incoming_failed(d);
	if (status && !strcmp(status, "completed"))
		return go_arrived(d);
	return ARRIVING;
}

/*
 * The source has deadlines of its own, for the disks and for the RAM: as long as
 * it is heard, its heartbeat is ours.
 */
static enum dest_state no_resume(struct dest *d, enum dest_state here)
{
	struct kat_error *why = NULL;

	if (source_lives(d)) {
		wait_anew(d);
		return here;
	}
	kat_error_set(&why, KAT_EXIT_FAILED,
		      "no guest has arrived within %" PRId64
		      " s (timeouts.event_s); QEMU still waits for it",
		      d->end->config->event_s);
	return go_ended(d, &why);
}

static enum dest_state waiting_time(struct dest *d)
{
	return no_resume(d, WAITING);
}

static enum dest_state arriving_time(struct dest *d)
{
	struct kat_error *why = NULL;

	if (!d->arrived)
		return no_resume(d, ARRIVING);
	kat_error_set(&why, KAT_EXIT_HUMAN, "QEMU has not let it run for %d s",
		      RUNS_MS / 1000);
	return not_continued(d, &why);
}

static enum dest_state stop_waiting(struct dest *d)
{
	int number = kat_loop_take_signal(&d->end->loop);
	struct kat_error *why = NULL;

	kat_error_set(&why, KAT_EXIT_SIGNAL, "stopped by a signal (%s)",
		      strsignal(number));
	return go_ended(d, &why);
}

/*
 * This end cannot take a migration back, the source can.  Held packets are let
 * go by the cleanup, so a guest that does arrive is not cut off.
 */
static enum dest_state stop_arriving(struct dest *d)
{
	if (d->arrived) {
		kat_log(KAT_WARNING,
			"%s comes too late: the guest has arrived; finishing",
			strsignal(kat_loop_take_signal(&d->end->loop)));
		return ARRIVING;
	}
	kat_log(KAT_WARNING, "a migration is under way that only the source can cancel;"
			     " leaving it without the protection of this end");
	return stop_waiting(d);
}

/* ---- what the source says ---- */

static enum dest_state give_up(struct dest *d, struct json_object *message)
{
	const char *reason = kat_json_string(message, "reason");
	struct kat_error *why = NULL;

	d->over = true;
	kat_error_set(&why, KAT_EXIT_FAILED, "the source gave up: %s",
		      reason ? reason : "");
	return go_ended(d, &why);
}

static enum dest_state obey(struct dest *d, struct json_object *message,
			    enum dest_state here)
{
	const char *type = kat_json_string(message, "type");
	int64_t deadline = kat_deadline_ms(d->end->config->cleanup_s * 1000);
	cleanup_error struct kat_error *why = NULL;

	if (!strcmp(type, "failed"))
		return d->arrived ? here : give_up(d, message);
	if (!strcmp(type, "hold")) {
		if (hold_packets(d, &why) < 0)
			return go_ended(d, &why);
		kat_peer_send(d->end->peer, "holding", NULL);
		kat_log(KAT_INFO,
			"Packets for the guest are held from now on. Waiting for"
			" QEMU RESUME event...");
	}
	if (!strcmp(type, "drained")) {
		if (kat_hooks_on_stop(&d->end->hooks, KATAMARAN_STORAGE, deadline, &why) <
		    0)
			return go_ended(d, &why);
		kat_peer_send(d->end->peer, "closed", NULL);
		kat_fault(&d->end->migration, "closed", NULL);
	}
	return here;
}

static enum dest_state waiting_peer(struct dest *d, struct json_object *message)
{
	return obey(d, message, WAITING);
}

static enum dest_state arriving_peer(struct dest *d, struct json_object *message)
{
	return obey(d, message, ARRIVING);
}

/* Nobody has begun anything: there is nothing to wait for. */
static enum dest_state waiting_peer_gone(struct dest *d)
{
	struct kat_error *why = NULL;

	kat_error_set(&why, KAT_EXIT_FAILED, "the source's katamaran has gone: %s",
		      kat_peer_why_gone(d->end->peer));
	return go_ended(d, &why);
}

/* The two QEMUs may still finish it between them: be ready for the guest. */
static enum dest_state arriving_peer_gone(struct dest *d)
{
	cleanup_error struct kat_error *why = NULL;

	kat_log(KAT_WARNING,
		"the source's katamaran has gone (%s); packets are held in case"
		" the guest still comes",
		kat_peer_why_gone(d->end->peer));
	if (!d->arrived)
		wait_anew(d);
	if (hold_packets(d, &why) < 0)
		return go_ended(d, &why);
	return ARRIVING;
}

/* ---- RUNNING ---- */

/* "over": the redirect has gone, so nothing comes through the tunnel any more. */
static enum dest_state running_peer(struct dest *d, struct json_object *message)
{
	if (strcmp(kat_json_string(message, "type"), "over"))
		return RUNNING;
	d->over = true;
	return FINISHED;
}

static enum dest_state running_peer_gone(struct dest *d)
{
	kat_log(KAT_WARNING, "the source's katamaran has gone (%s)",
		kat_peer_why_gone(d->end->peer));
	return next_round(d);
}

/* It is here: what it does now is its own business. */
static enum dest_state running_event(struct dest *d, const struct kat_qmp_event *event)
{
	if (!strcmp(event->name, "SHUTDOWN")) {
		d->shut_down = true;
		kat_log(KAT_INFO, "The guest, which has arrived, shuts down.");
	}
	return RUNNING;
}

static enum dest_state running_time(struct dest *d)
{
	return next_round(d);
}

static enum dest_state running_signal(struct dest *d)
{
	int number = kat_loop_take_signal(&d->end->loop);

	kat_log(KAT_WARNING,
		"%s: the guest runs here already; no longer waiting for packets that the"
		" source may still redirect",
		strsignal(number));
	return FINISHED;
}

static enum dest_state running_gone(struct dest *d)
{
	struct kat_error *why = NULL;

	if (d->shut_down) {
		kat_qmp_close(&d->end->migration.qmp);
		return RUNNING;
	}
	kat_error_set(
		&why, KAT_EXIT_HUMAN,
		"QEMU (process %d) has gone after the guest had started to run here",
		(int)d->end->migration.qemu_pid);
	return go_ended(d, &why);
}

static const struct row {
	const char *name;
	enum dest_state (*event)(struct dest *d, const struct kat_qmp_event *event);
	enum dest_state (*time)(struct dest *d);
	enum dest_state (*signal)(struct dest *d);
	enum dest_state (*gone)(struct dest *d);
	enum dest_state (*peer)(struct dest *d, struct json_object *message);
	enum dest_state (*peer_gone)(struct dest *d);
} table[] = {
	[WAITING] = {"waiting", waiting_event, waiting_time, stop_waiting, qemu_gone,
		     waiting_peer, waiting_peer_gone},
	[ARRIVING] = {"arriving", arriving_event, arriving_time, stop_arriving, qemu_gone,
		      arriving_peer, arriving_peer_gone},
	[RUNNING] = {"running", running_event, running_time, running_signal, running_gone,
		     running_peer, running_peer_gone},
};

static enum dest_state step(struct dest *d, enum dest_state state)
{
	cleanup_event struct kat_qmp_event *event = NULL;
	cleanup_json struct json_object *message = NULL;

	switch (kat_end_next(d->end, d->deadline_ns, &event, &message)) {
	case KAT_HAPPENED_EVENT:
		return table[state].event(d, event);
	case KAT_HAPPENED_TIME:
		return table[state].time(d);
	case KAT_HAPPENED_SIGNAL:
		return table[state].signal(d);
	case KAT_HAPPENED_QMP_GONE:
		return table[state].gone(d);
	case KAT_HAPPENED_PEER:
		return table[state].peer(d, message);
	case KAT_HAPPENED_PEER_GONE:
		return table[state].peer_gone(d);
	}
	return ENDED;
}

bool kat_dest_machine(struct dest *d)
{
	enum dest_state state = WAITING;

	wait_anew(d);
	kat_journal_phase(&d->end->journal, table[state].name);
	while (state < ENDED) {
		enum dest_state next = step(d, state);

		if (next != state && next < ENDED) {
			kat_log(KAT_DEBUG, "destination: %s -> %s", table[state].name,
				table[next].name);
			kat_journal_phase(&d->end->journal, table[next].name);
			kat_fault(&d->end->migration, table[next].name, NULL);
		}
		state = next;
	}
	return state == FINISHED;
}
