/* SPDX-License-Identifier: BSD-2-Clause */
/* What the source does before and after its state machine runs. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "ask.h"
#include "back.h"
#include "check.h"
#include "fault.h"
#include "guest.h"
#include "source.h"
#include "util.h"

/* The other end starts; its plugins open and prepare; at the end it cleans up. */
#define READY_MS  120000
#define RESULT_MS 30000
/* A link that is over has nothing left to do. */
#define LINK_END_MS 2000
/* QEMU lets the guest go on at once, unless it hangs. */
#define RUNNING_MS 5000

static int check_guest_runs(struct source *s, struct kat_error **err)
{
	cleanup_free char *state = kat_end_run_state(s->end, err);

	if (!state)
		return -1;
	s->end->migration.guest_running = !strcmp(state, "running");
	if (s->end->migration.guest_running)
		return 0;
	return kat_error_set(
		err, KAT_EXIT_FAILED,
		"the guest is not running but \"%s\": there is nothing to move"
		" without loss",
		state);
}

/* It is here and stands still, with the network as it was: how it gets to run. */
static void say_stopped(struct source *s, const char *state, struct kat_error **why)
{
	const char *socket = s->end->config->qmp;
	cleanup_free char *how = kat_guest_to_run(state ? state : "", socket);

	errno = 0;
	kat_error_set(why, KAT_EXIT_HUMAN,
		      "%s; and the guest does not run on the source, it is \"%s\". %s%s",
		      (*why)->message, state ? state : "not answering",
		      s->stop_ns ? "If it does not run on the destination either: "
				 : "To let it run: ",
		      how);
	s->end->settled = state && !s->stop_ns; /* it was never on its way */
}

/* The same where QEMU was not told to migrate: somebody else may have stopped it. */
static void see_still_runs(struct source *s, struct kat_error **why)
{
	cleanup_free char *state = NULL;

	if (!kat_qmp_closed(s->end->migration.qmp))
		state = kat_end_run_state(s->end, NULL);
	if (state && strcmp(state, "running") && strcmp(state, "shutdown"))
		say_stopped(s, state, why);
}

/* QEMU has still to let it go, after a switchover that did not come about. */
static bool is_on_its_way(const struct source *s, const char *state)
{
	return !s->stopped_itself || !state || !strcmp(state, "finish-migrate");
}

/* Whether the guest runs here, as far as that is not its own affair; else a human has to
 * look.  QEMU needs a moment to let it go. */
static bool see_guest_run(struct source *s)
{
	int64_t deadline = kat_deadline_ms(RUNNING_MS);
	cleanup_free char *state = NULL;
	struct kat_error *why = NULL;

	if (s->shut_down)
		return true;
	do {
		free(state);
		kat_error_free(&why);
		state = kat_end_run_state(s->end, &why);
		if (state && !strcmp(state, "running")) {
			kat_log(KAT_INFO, "The guest runs on the source, as before.");
			return true;
		}
		if (!is_on_its_way(s, state))
			break;
		if (!state && why->sys_errno == EINTR)
			kat_loop_take_signal(&s->end->loop);
		usleep(10000);
	} while (kat_now_ns() < deadline && !kat_qmp_closed(s->end->migration.qmp));
	kat_error_free(&why);
	say_stopped(s, state, &s->end->reason);
	return false;
}

/* The guest has stayed: what was sent after it comes back to it, or is lost. */
static void settle_packets(struct source *s)
{
	const struct kat_ledger *ledger = &s->end->migration.ledger;
	struct json_object *message;
	uint64_t lost;

	while (s->end->peer && (message = kat_peer_take_type(s->end->peer, "back")))
		kat_back_keep(&s->back, message);
	kat_back_give(&s->end->migration, s->back);
	lost = kat_ledger_lost(ledger);
	if (lost)
		kat_log(KAT_WARNING,
			"%" PRIu64 " packet(s) lost: they were sent to the destination"
			" before the migration failed (redirected %" PRIu64
			", salvaged %" PRIu64 ", returned %" PRIu64 ")",
			lost, kat_ledger_sum(ledger, KATAMARAN_REDIRECTED),
			kat_ledger_sum(ledger, KATAMARAN_SALVAGED),
			kat_ledger_sum(ledger, KATAMARAN_RETURNED));
}

/* Waits for what the other end has counted, which it tells also when it has failed. */
static void ask_result(struct kat_end *end, int ms)
{
	cleanup_json struct json_object *result = NULL;
	cleanup_error struct kat_error *why = NULL;
	int64_t deadline = kat_deadline_ms(ms);

	while (kat_peer_wait(end->peer, "result", deadline, &result, &why) < 0 &&
	       why->sys_errno == ECANCELED)
		kat_error_free(&why);
	if (!result)
		kat_log(KAT_WARNING, "the destination's result is unknown: %s",
			why->message);
	kat_ledger_join(&end->migration.ledger, result);
}

/* Packets have been sent on: only the other end knows what it held, and lost. */
static void settle_failure(struct source *s)
{
	struct kat_end *end = s->end;

	if (s->redirect_ns && end->peer && !end->undecided &&
	    !end->migration.ledger.joined) {
		kat_end_tell_failure(end, end->reason);
		ask_result(end, KAT_FAILURE_MS);
	}
	if (end->migration.ledger.stayed)
		settle_packets(s);
	json_object_put(s->back);
	if (s->redirect_ns)
		kat_end_report(end);
}

/*
 * QEMU has let the guest go on here, since it did not hear that all of it arrived.
 * The other end may know better.
 */
static enum kat_other hear_there(struct source *s, int ms)
{
	cleanup_error struct kat_error *why = NULL;
	struct kat_peer *peer = s->end->peer;

	if (s->resumed)
		return KAT_OTHER_HAS_IT;
	if (!s->stop_ns || s->waits || !peer || s->there || s->not_there)
		return KAT_OTHER_HAS_NOT; /* as far as this end can know */
	if (kat_peer_wait(peer, "resumed", kat_deadline_ms(ms), NULL, &why) == 0)
		return KAT_OTHER_HAS_IT;
	s->not_there = why->sys_errno == ECANCELED;
	return s->not_there ? KAT_OTHER_HAS_NOT : KAT_OTHER_UNKNOWN;
}

/*
 * Never two guests: an end that has gone without a word is asked anew.  Takes up to a
 * minute; the guest's packets are its own here meanwhile.
 */
static enum kat_other ask_there(struct source *s, char **told)
{
	struct kat_end *end = s->end;

	if (!kat_peer_gone(end->peer)) {
		*told = kat_format("that end does not say");
		return KAT_OTHER_UNKNOWN;
	}
	kat_peer_close(&end->peer, kat_deadline_ms(LINK_END_MS));
	return kat_ask(end, *s->other_qemu ? s->other_qemu : NULL, end->migration.vm_uuid,
		       true, told);
}

/* It goes on here, where it is known to run. */
static void say_doubtful(struct source *s, const char *told)
{
	struct kat_end *end = s->end;
	struct kat_error *why = NULL;

	errno = 0;
	kat_error_set(&why, KAT_EXIT_HUMAN,
		      "%s; all of the guest had been sent, it goes on here, and may run"
		      " on %s, too (%s). Ask query-status of its QEMU there: if it is"
		      " \"running\", end one of the two",
		      end->reason->message, end->config->dest_ip, told);
	kat_error_free(&end->reason);
	end->reason = why;
}

/* Whatever the migration does: where the guest runs its packets go. */
static bool runs_here(struct kat_end *end)
{
	cleanup_free char *state = NULL;

	if (end->migration.qmp && !kat_qmp_closed(end->migration.qmp))
		state = kat_end_run_state(end, NULL);
	return state && !strcmp(state, "running");
}

/*
 * The guest may run on the other end.  What is right for the network there is wrong
 * here, and the other way round: it stays as it is until somebody knows (--recover),
 * and the other end goes on holding packets for a guest that may still come.
 */
static void leave(struct source *s)
{
	struct kat_end *end = s->end;

	end->undecided = true;
	if (s->redirect_ns && !runs_here(end))
		kat_hooks_leave(&end->hooks, KATAMARAN_CUTOVER);
	if (end->hooks.left)
		kat_log(KAT_WARNING,
			"the redirect to the destination stays until katamaran"
			" --recover %s",
			end->migration.id);
	kat_hooks_cleanup(&end->hooks, 0, KATAMARAN_FAILED);
}

static void say_lost(struct source *s)
{
	s->end->reason->exit_code = KAT_EXIT_HUMAN;
	kat_error_wrap(&s->end->reason,
		       "cannot tell whether the guest runs here (ask query-status on"
		       " %s, and on the destination before anything is continued)",
		       s->end->config->qmp);
}

/* The guest is QEMU's to let go on here, unless it runs there. */
static void stay(struct source *s)
{
	enum kat_other other = hear_there(s, TOLD_MS);
	cleanup_free char *told = NULL;
	struct kat_end *end = s->end;

	if (other == KAT_OTHER_UNKNOWN)
		other = ask_there(s, &told);
	if (told)
		kat_log(KAT_INFO, "The destination: %s.", told);
	if (other == KAT_OTHER_HAS_IT) {
		kat_source_stop_second(s);
		return;
	}
	kat_ram_restore(end);
	if (see_guest_run(s) && other == KAT_OTHER_UNKNOWN)
		say_doubtful(s, told);
	end->migration.ledger.stayed = true;
}

static int fail(struct source *s, enum source_state state, struct kat_error **err)
{
	struct kat_end *end = s->end;

	end->loop.deaf = true; /* the way back is not to be interrupted */
	if (state == ENDED && !s->plain && hear_there(s, 0) == KAT_OTHER_HAS_IT)
		state = kat_source_stop_second(s);
	/* Where all of it was given away, that end's word counts. */
	if (state == LOST && !s->completed)
		leave(s);
	else
		kat_hooks_cleanup(&end->hooks, 0,
				  s->cancelled ? KATAMARAN_CANCELLED : KATAMARAN_FAILED);
	if (s->plain) {
		/* There is no guest here to be looked after, but perhaps one there. */
		end->settled = state != LOST;
	} else if (state == LOST) {
		say_lost(s);
	} else {
		stay(s);
	}
	settle_failure(s);
	kat_error_free(&s->there);
	*err = end->reason;
	end->reason = NULL;
	return -1;
}

/* With -check, or to be asked, the other end has to know it before it does anything. */
static int start_peer(struct kat_end *end, struct kat_error **err)
{
	size_t n = end->config->n_peer_words;
	cleanup_free const char **words = calloc(n + 2, sizeof(*words));

	if (!words)
		abort();
	memcpy(words, end->config->peer_command, n * sizeof(*words));
	if (end->config->check)
		words[n] = "-check";
	else if (end->config->guest_state)
		words[n] = "-guest-state";
	return kat_peer_start(&end->peer, &end->loop, (char *const *)words, err);
}

int kat_source_meet(struct kat_end *end, struct kat_error **err)
{
	if (!end->config->peer_command) {
		kat_log(KAT_DEBUG, "No peer command: this end runs alone.");
		return 0;
	}
	if (start_peer(end, err) < 0)
		return -1;
	if (kat_end_meet(end, err) < 0)
		return kat_error_wrap(err, "peer command \"%s\"",
				      end->config->peer_command[0]);
	return 0;
}

/* Starts the other end and waits until it can take the guest. */
static int prepare_peer(struct source *s, struct kat_error **err)
{
	cleanup_json struct json_object *ready = NULL;
	struct kat_end *end = s->end;
	struct json_object *facts;
	const char *qemu;

	if (kat_source_meet(end, err) < 0 || kat_check_source(end, err) < 0)
		return -1;
	if (!end->peer)
		return 0;
	facts = json_object_new_object();
	json_object_object_add(facts, "facts", kat_end_facts(end));
	kat_peer_send(end->peer, "prepare", facts);
	if (kat_peer_wait(end->peer, "ready", kat_deadline_ms(READY_MS), &ready, err) < 0)
		return -1;
	kat_fault(&end->migration, "peer-ready", NULL);
	kat_end_learn(end, kat_json_member(ready, "facts"));
	qemu = kat_json_string(ready, "qemu");
	if (kat_ask_is_identity(qemu)) {
		strcpy(s->other_qemu, qemu);
		if (kat_journal_line(&end->journal, "{\"other_qemu\":\"%s\"}", qemu) < 0)
			return kat_end_journal_full(err);
	}
	end->port = (int)kat_json_int(ready, "port", end->config->port);
	kat_log(KAT_INFO, "The destination is ready (port %d).", end->port);
	return 0;
}

/* Disks may take hours, and the other end may fail or go meanwhile. */
static int pre_copy(struct kat_end *end, struct kat_error **err)
{
	int ret;

	if (!end->peer)
		return kat_hooks_pre_copy(&end->hooks, err);
	kat_peer_needed(end->peer, true);
	ret = kat_hooks_pre_copy(&end->hooks, err);
	kat_peer_needed(end->peer, false);
	if (ret == 0 || (*err)->exit_code != KAT_EXIT_SIGNAL ||
	    end->loop.signals != end->loop.signals_taken)
		return ret;
	/* No signal: it has said why, or is not there any more to say so. */
	kat_error_free(err);
	return kat_peer_wait(end->peer, "resumed", 0, NULL, err);
}

/* The redirect has gone: the other end may clean up, and tells what it counted. */
static void end_peer(struct source *s)
{
	if (!s->end->peer)
		return;
	kat_peer_send(s->end->peer, "over", NULL);
	if (!s->end->migration.ledger.joined)
		ask_result(s->end, RESULT_MS);
}

static void tell_order(const struct kat_config *config)
{
	if (config->order == KAT_ORDER_REDIRECT_FIRST)
		kat_log(KAT_INFO,
			"Order redirect-first: packets go the other way before the guest"
			" is stopped, and it has taken all that it still got: none is"
			" lost. Should QEMU be faster, what is left in the taps is"
			" salvaged.");
	else
		kat_log(KAT_INFO,
			"Order salvage: QEMU chooses when to stop the guest; what is left"
			" in its taps then is sent after it. None is lost where the"
			" kernel feeds the guest (vhost), otherwise at most two packets"
			" for each queue of a tap.");
}

/* How often QEMU was faster, and what that took. */
static void tell_salvage(const struct source *s)
{
	uint64_t packets = kat_ledger_sum(&s->end->migration.ledger, KATAMARAN_SALVAGED);

	if (s->no_redirect)
		kat_log(KAT_INFO,
			"There was no redirect; %" PRIu64 " packet(s) salvaged.",
			packets);
	else if (s->end->config->order == KAT_ORDER_SALVAGE)
		kat_log(KAT_INFO, "Order salvage: %" PRIu64 " packet(s) salvaged.",
			packets);
	else
		kat_log(KAT_INFO,
			"Order redirect-first: QEMU was %s than the redirect; %" PRIu64
			" packet(s) salvaged.",
			s->outrun ? "faster" : "not faster", packets);
}

int kat_source_run(struct kat_end *end, struct kat_error **err)
{
	struct source s = {.end = end};
	enum source_state state;

	kat_gate_init(&s.gate, end->config->bandwidth, end->config->downtime_ms);
	s.waits = kat_hooks_has_on_stop(&end->hooks, KATAMARAN_STORAGE) ||
		  end->config->order == KAT_ORDER_SALVAGE;
	kat_log(KAT_INFO, "Starting live migration to %s...", end->config->dest_ip);
	tell_order(end->config);
	kat_journal_phase(&end->journal, "preparing");
	if (check_guest_runs(&s, err) < 0)
		return -1;
	end->port = end->config->port;
	if (kat_hooks_open(&end->hooks, err) < 0 || prepare_peer(&s, err) < 0 ||
	    pre_copy(end, err) < 0 || (kat_ram_start(end, err) < 0 && !end->begun)) {
		/* Nothing was begun that QEMU would have to take back. */
		end->loop.deaf = true;
		kat_hooks_cleanup(&end->hooks, 0, KATAMARAN_FAILED);
		kat_ram_restore(end);
		see_still_runs(&s, err);
		return -1;
	}
	kat_fault(&end->migration, "copying", NULL);
	s.give_up_ns = kat_deadline_ms(end->config->migration_s * 1000);
	s.deadline_ns = kat_deadline_ms(1);
	end->times.copy = kat_now_ns();
	/* An error now: QEMU may copy, but we do not know. */
	state = kat_source_machine(&s, err);
	end->times.redirect = s.redirect_ns;
	end->times.stop = s.stop_ns;
	end->times.resumed = s.resumed_ns;
	if (state != FINISHED)
		return fail(&s, state, err);
	if (s.no_redirect)
		end->times.redirect = 0;
	kat_hooks_cleanup(&end->hooks, 0, KATAMARAN_DONE);
	end_peer(&s);
	tell_salvage(&s);
	kat_end_report(end);
	if (s.there) {
		end->settled = s.resumed; /* else --recover goes by what was seen there */
		*err = s.there;
		return -1;
	}
	kat_log(KAT_INFO, "Source cleanup complete. Migration succeeded.");
	return 0;
}
