/* SPDX-License-Identifier: BSD-2-Clause */
/* The source's states until the guest is stopped: COPYING and REDIRECTED. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json_object.h>

#include "fault.h"
#include "source.h"

/* After the gate has been opened QEMU needs a window; it gets three. */
#define GATE_MS 350
/* And then, with the brake off as well, this long. */
#define STOP_MS 3000
/* How often a cutover plugin may say "not done yet" while the guest runs. */
#define STOP_TRIES 50
/* The other end closes its plug, also while the guest is stopped. */
#define HOLD_MS 2000
/* And while the guest runs, and QEMU is braked. */
#define HOLDING_MS 10000
/* How often the copy is looked at when nothing has to be done about it. */
#define LOOK_MS 50
/* To see an empty tap stay empty takes a millisecond. */
#define TAP_NS (3 * KAT_NS_PER_MS)

/* ---- leaving a state for another one ---- */

static enum source_state go_signalled(struct source *s)
{
	int number = kat_loop_take_signal(&s->end->loop);
	struct kat_error *why = NULL;

	kat_log(KAT_INFO, "%s: taking the migration back.", strsignal(number));
	kat_error_set(&why, KAT_EXIT_SIGNAL, "stopped by a signal (%s)",
		      strsignal(number));
	s->cancelled = true;
	return kat_source_cancel(s, &why);
}

/* A QMP command of ours did not go through: by its cause. */
static enum source_state go_after(struct source *s, struct kat_error **why,
				  enum source_state here)
{
	if ((*why)->sys_errno == EINTR) {
		kat_error_free(why); /* the signal is still there: next turn */
		return here;
	}
	return kat_source_cancel(s, why);
}

static enum source_state go_stopped(struct source *s)
{
	if (!s->stop_ns)
		s->stop_ns = kat_now_ns();
	s->end->migration.guest_running = false;
	s->deadline_ns = s->stop_ns + COMPLETE_S * KAT_NS_PER_S;
	return STOPPED;
}

/* Whether query-status after a STOP tells that QEMU stopped the guest to hand it over. */
static bool is_switchover(const char *state)
{
	return !strcmp(state, "finish-migrate") || !strcmp(state, "postmigrate");
}

/* An I/O error, a panic, or somebody who wants it to stand still. */
static enum source_state go_otherwise(struct source *s, const char *state)
{
	struct kat_error *why = NULL;

	kat_error_set(&why, KAT_EXIT_FAILED,
		      "the guest has stopped for a reason of its own (%s)", state);
	s->stopped_itself = true;
	return kat_source_cancel(s, &why);
}

/* Redirects; > 0: the cutover wants to be called again in that many ms. */
static int redirect(struct source *s, struct kat_error **err)
{
	int64_t budget = s->end->config->stop_ms * KAT_NS_PER_MS;
	int ret;

	if (!s->redirect_ns)
		s->redirect_ns = kat_now_ns();
	if (s->end->migration.guest_running) /* what the gate's command leaves of it */
		budget = kat_gate_lead_ns(&s->gate) - 2 * s->gate.rtt_ns;
	if (budget < TAP_NS)
		budget = TAP_NS;
	ret = kat_hooks_on_stop(&s->end->hooks, KATAMARAN_CUTOVER, kat_now_ns() + budget,
				err);
	s->no_redirect = ret < 0;
	return ret;
}

/*
 * The switchover begins: from here until the guest runs again nothing is
 * written to the log.  Packets first, then the gate: QEMU stops the guest at
 * the end of its window, and by then nothing is left in its tap.
 */
static enum source_state go_redirected(struct source *s)
{
	struct kat_error *why = NULL;
	int again = 0;

	kat_log_hold();
	for (int tries = 0; tries < STOP_TRIES; tries++) {
		again = redirect(s, &why);
		if (again <= 0)
			break;
		if (kat_loop_wait(&s->end->loop, -1, 0, kat_deadline_ms(again)) ==
		    KAT_WAKE_SIGNAL)
			return REDIRECTED; /* which will take it */
	}
	if (again < 0)
		return kat_source_cancel(s, &why);
	kat_log(KAT_INFO,
		"Traffic redirected to the destination; the guest still runs and"
		" empties its tap.");
	if (again > 0) /* a guest that takes no packets: it would never move */
		kat_log(KAT_WARNING,
			"the guest's tap does not become empty while it runs");
	if (kat_ram_set(s->end, "downtime-limit", KAT_GATE_OPEN_MS, &why) < 0)
		return go_after(s, &why, REDIRECTED);
	s->deadline_ns = kat_deadline_ms(GATE_MS);
	return REDIRECTED;
}

/* ---- COPYING ---- */

/*
 * The other end closes its plug late, so that what arrives anyway (ARP, mDNS)
 * does not fill it; and before a packet of the guest can be sent there.
 */
static void ask_hold(struct source *s)
{
	if (!s->end->peer || s->hold_asked)
		return;
	s->hold_asked = true;
	s->holding_by_ns = kat_deadline_ms(HOLDING_MS);
	kat_fault(&s->end->migration, "hold", NULL);
	kat_peer_send(s->end->peer, "hold", NULL);
}

static bool holds(const struct source *s)
{
	return !s->end->peer || s->holding;
}

static enum source_state await_holding(struct source *s)
{
	struct kat_error *why = NULL;

	if (kat_now_ns() > s->holding_by_ns) {
		kat_error_set(&why, KAT_EXIT_FAILED,
			      "the destination does not say that it holds packets");
		return kat_source_cancel(s, &why);
	}
	s->deadline_ns = kat_deadline_ms(2);
	return COPYING;
}

static void tell_pass(const struct source *s, const struct kat_sample *sample)
{
	kat_log(KAT_INFO,
		"Pass %" PRId64
		" over the RAM: %.1f MiB to send, the guest dirties %.1f MiB/s;"
		" a switchover now would take about %" PRId64 " ms (%" PRId64
		" are allowed).",
		sample->passes, (double)sample->remaining / (1 << 20),
		(double)sample->dirty_bytes_s / (1 << 20), s->gate.blackout_ms,
		s->gate.downtime_ms);
}

static enum source_state copying_time(struct source *s)
{
	cleanup_error struct kat_error *why = NULL;
	struct kat_sample sample = {0};
	struct kat_gate_order order;
	int r;

	if (s->go)
		return holds(s) ? go_redirected(s) : await_holding(s);
	if (kat_now_ns() > s->give_up_ns) {
		kat_error_set(
			&why, KAT_EXIT_FAILED,
			"migration did not complete within %" PRId64
			" s: the guest dirties its memory faster than it can be sent"
			" (%" PRId64 " ms of blackout would be needed, %" PRId64
			" are allowed)",
			s->end->config->migration_s, s->gate.blackout_ms,
			s->gate.downtime_ms);
		return kat_source_cancel(s, &why);
	}
	r = kat_ram_sample(s->end, &sample, &why);
	if (r < 0)
		return go_after(s, &why, COPYING);
	if (r == 0) {
		s->deadline_ns = kat_deadline_ms(2);
		return COPYING;
	}
	order = kat_gate_step(&s->gate, &sample);
	if (order.new_pass)
		tell_pass(s, &sample);
	kat_journal_progress(&s->end->journal,
			     (uint64_t)(sample.total - sample.remaining),
			     (uint64_t)sample.total, "bytes", sample.passes);
	if (s->gate.phase == KAT_GATE_HOLD)
		ask_hold(s);
	if (s->end->config->order == KAT_ORDER_SALVAGE) {
		s->deadline_ns = kat_deadline_ms(LOOK_MS); /* QEMU does what it likes */
		return COPYING;
	}
	if (order.bandwidth &&
	    kat_ram_set(s->end, "max-bandwidth", order.bandwidth, &why) < 0)
		return go_after(s, &why, COPYING);
	s->go = order.go;
	s->deadline_ns = order.next_ns;
	if (s->go && !holds(s)) {
		s->go = order.at_once; /* else QEMU is held; the next window will do */
		return await_holding(s);
	}
	return COPYING;
}

/*
 * The guest is stopped and QEMU waits.  The other end may not have been told yet
 * that it comes: QEMU has chosen the moment.
 */
static int wait_for_hold(struct source *s, struct kat_error **err)
{
	ask_hold(s);
	if (holds(s) || s->end->config->order == KAT_ORDER_REDIRECT_FIRST)
		return 0;
	return kat_peer_wait(s->end->peer, "holding", kat_deadline_ms(HOLD_MS), NULL,
			     err);
}

/* Without a plugin that has looked into the taps, nobody knows. */
static void tell_outrun(struct source *s)
{
	struct kat_ledger *ledger = &s->end->migration.ledger;

	if (s->end->config->order == KAT_ORDER_REDIRECT_FIRST) {
		s->outrun = true;
		kat_log(KAT_WARNING, "QEMU stopped the guest before its traffic was"
				     " redirected");
	}
	if (!(ledger->told & 1u << KATAMARAN_SALVAGED))
		kat_ledger_doubt(ledger,
				 strdup("QEMU stopped the guest before the redirect, and"
					" nobody has salvaged what its taps held"));
}

void kat_source_follow(struct source *s)
{
	struct kat_migration *m = &s->end->migration;
	int64_t stop_ns = s->stop_ns ? s->stop_ns : kat_now_ns();
	cleanup_error struct kat_error *why = NULL;
	bool deaf = s->end->loop.deaf;
	char *doubt;

	m->guest_running = false;
	if (s->redirect_ns && !s->no_redirect) {
		kat_hooks_when_stopped(&s->end->hooks,
				       kat_deadline_ms(s->end->config->stop_ms));
		return;
	}
	s->end->loop.deaf = true; /* the signal that was too late is none against this */
	if (s->no_redirect || redirect(s, &why) < 0) {
		s->no_redirect = true;
		if (why)
			kat_log(KAT_WARNING, "%s", why->message);
		doubt = strdup("the migration was complete before it could be cancelled,"
			       " and there is no redirect: what the guest had not taken"
			       " when it was stopped, and what came to the source since,"
			       " is lost");
	} else {
		tell_outrun(s);
		doubt = kat_format(
			"the migration was complete before it could be cancelled:"
			" the guest had been stopped for %.1f ms when its traffic"
			" was redirected",
			(double)(s->redirect_ns - stop_ns) / KAT_NS_PER_MS);
	}
	s->end->loop.deaf = deaf;
	kat_log(KAT_WARNING, "%s", doubt);
	kat_ledger_doubt(&m->ledger, doubt);
}

/*
 * STOP before the redirect: in the order `salvage` as it should be, else QEMU was
 * faster; or the guest stopped for itself.
 */
static enum source_state copying_stop(struct source *s)
{
	cleanup_error struct kat_error *why = NULL;
	int64_t stop_ns = kat_now_ns();
	cleanup_free char *state = kat_end_run_state(s->end, &why);

	if (!state) {
		s->stop_ns = stop_ns; /* should it be complete before it is cancelled */
		return go_after(s, &why, COPYING);
	}
	if (!strcmp(state, "running")) { /* stopped and continued, while we were busy */
		s->end->migration.guest_running = true;
		return COPYING;
	}
	if (!is_switchover(state))
		return go_otherwise(s, state);
	s->stop_ns = stop_ns;
	kat_log_hold();
	if (wait_for_hold(s, &why) < 0 || redirect(s, &why) < 0) {
		/* The network is put back before the guest is let go. */
		kat_hooks_cleanup(&s->end->hooks, KATAMARAN_CUTOVER, KATAMARAN_FAILED);
		s->no_redirect = true;
		return kat_source_cancel(s, &why);
	}
	tell_outrun(s);
	return go_stopped(s);
}

static enum source_state copying_event(struct source *s,
				       const struct kat_qmp_event *event)
{
	const char *status = kat_end_migration_status(event);
	struct kat_error *why = NULL;

	if (s->end->reason)
		return kat_source_cancel(s, &why); /* a plugin saw something break */
	if (!strcmp(event->name, "STOP"))
		return copying_stop(s);
	if (!strcmp(event->name, "RESET"))
		kat_log(KAT_INFO, "The guest starts anew; the migration goes on.");
	if (!strcmp(event->name, "SHUTDOWN")) {
		kat_source_shut_down(s, event);
		s->stopped_itself = true;
		errno = 0;
		kat_error_set(&why, KAT_EXIT_FAILED, "%s", s->shut_down_by);
		return kat_source_cancel(s, &why);
	}
	if (status && !strcmp(status, "failed")) {
		kat_source_qemu_failed(s);
		return ENDED;
	}
	if (status && !strcmp(status, "cancelled")) {
		kat_error_set(&why, KAT_EXIT_FAILED,
			      "somebody else cancelled the migration");
		kat_end_fail(s->end, &why);
		return ENDED;
	}
	return COPYING;
}

/* Before the point of no return the migration does not go on without the other end. */
static enum source_state copying_peer(struct source *s, struct json_object *message)
{
	const char *type = kat_json_string(message, "type");
	const char *reason = kat_json_string(message, "reason");
	struct kat_error *why = NULL;

	if (!strcmp(type, "holding"))
		s->holding = true;
	if (strcmp(type, "failed"))
		return COPYING;
	kat_error_set(&why, KAT_EXIT_FAILED, "the destination failed: %s",
		      reason ? reason : "it does not say why");
	return kat_source_cancel(s, &why);
}

static enum source_state copying_peer_gone(struct source *s)
{
	struct kat_error *why = NULL;

	kat_error_set(&why, KAT_EXIT_FAILED, "the destination's katamaran has gone: %s",
		      kat_peer_why_gone(s->end->peer));
	return kat_source_cancel(s, &why);
}

/* ---- REDIRECTED ---- */

/*
 * The gate is open: QEMU may stop the guest at any moment, and then it is too
 * late.  Shuts it again; false where the guest has been stopped.
 */
static bool shut_gate(struct source *s)
{
	bool deaf = s->end->loop.deaf;
	char *state = NULL;

	s->end->loop.deaf = true;
	if (kat_ram_set(s->end, "downtime-limit", KAT_GATE_DOWNTIME_MS, NULL) == 0)
		state = kat_end_run_state(s->end, NULL);
	s->end->loop.deaf = deaf;
	s->end->migration.guest_running = state && !strcmp(state, "running");
	free(state);
	return s->end->migration.guest_running || kat_qmp_closed(s->end->migration.qmp);
}

static enum source_state redirected_signal(struct source *s)
{
	if (shut_gate(s))
		return go_signalled(s);
	kat_log(KAT_WARNING,
		"%s comes too late: the guest is being handed over; finishing",
		strsignal(kat_loop_take_signal(&s->end->loop)));
	return REDIRECTED; /* its STOP has come */
}

static enum source_state redirected_peer_gone(struct source *s)
{
	if (shut_gate(s))
		return copying_peer_gone(s);
	kat_log(KAT_WARNING, "the link to the destination is over (%s)",
		kat_peer_why_gone(s->end->peer));
	return REDIRECTED;
}

static enum source_state redirected_peer(struct source *s, struct json_object *message)
{
	enum source_state next;

	if (!strcmp(kat_json_string(message, "type"), "failed") && !shut_gate(s)) {
		kat_source_failed_there(s, message);
		return REDIRECTED; /* QEMU will tell how that ends */
	}
	next = copying_peer(s, message);
	return next == COPYING ? REDIRECTED : next;
}

/*
 * The packets first: QEMU hands the guest over meanwhile.  Where it does not, what
 * was salvaged has gone to the destination, and counts as lost.
 */
static enum source_state redirected_stop(struct source *s)
{
	cleanup_error struct kat_error *why = NULL;
	cleanup_free char *state = NULL;
	int64_t stop_ns = kat_now_ns();
	bool deaf = s->end->loop.deaf;

	kat_hooks_when_stopped(&s->end->hooks, kat_deadline_ms(s->end->config->stop_ms));
	s->end->loop.deaf = true;
	state = kat_end_run_state(s->end, NULL);
	s->end->loop.deaf = deaf;
	if (state && !strcmp(state, "running")) { /* stopped and continued by somebody */
		s->end->migration.guest_running = true;
		if (redirect(s, &why) < 0) /* its tap is to be looked at once more */
			return kat_source_cancel(s, &why);
		return REDIRECTED;
	}
	if (state && !is_switchover(state))
		return go_otherwise(s, state);
	s->stop_ns = stop_ns;
	return go_stopped(s); /* also where QEMU gives no answer: it is busy with that */
}

static enum source_state redirected_event(struct source *s,
					  const struct kat_qmp_event *event)
{
	enum source_state next;

	if (!strcmp(event->name, "STOP"))
		return redirected_stop(s);
	next = copying_event(s, event);
	return next == COPYING ? REDIRECTED : next;
}

/* QEMU did not stop the guest: more is dirty than even the open gate lets pass. */
static enum source_state redirected_time(struct source *s)
{
	struct kat_error *why = NULL;

	if (s->brake_off) {
		kat_error_set(&why, KAT_EXIT_FAILED,
			      "QEMU does not stop the guest although it may");
		return kat_source_cancel(s, &why);
	}
	s->brake_off = true;
	s->deadline_ns = kat_deadline_ms(STOP_MS);
	if (kat_ram_set(s->end, "max-bandwidth", KAT_GATE_FULL, &why) < 0)
		return go_after(s, &why, REDIRECTED);
	return REDIRECTED;
}

const struct kat_source_row kat_source_copying = {
	"copying",	 copying_event, copying_time,	   go_signalled,
	kat_source_gone, copying_peer,	copying_peer_gone,
};

const struct kat_source_row kat_source_redirected = {
	"redirected",	 redirected_event, redirected_time,	 redirected_signal,
	kat_source_gone, redirected_peer,  redirected_peer_gone,
};
