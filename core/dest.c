/* SPDX-License-Identifier: BSD-2-Clause */
/* What the destination does before and after its state machine runs. */
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "ask.h"
#include "check.h"
#include "dest.h"
#include "fault.h"
#include "ram.h"

/* For the source to judge what it was told. */
#define PREPARE_MS 30000

static int check_incoming(struct dest *d, struct kat_error **err)
{
	cleanup_free char *state = kat_end_run_state(d->end, err);

	if (!state)
		return -1;
	if (!strcmp(state, "inmigrate"))
		return 0;
	return kat_error_set(
		err, KAT_EXIT_FAILED,
		"this QEMU does not wait for a guest (it is \"%s\"): start it with"
		" -incoming defer",
		state);
}

/*
 * "192.0.2.1 port 4444", where QEMU listens, or NULL when it does not.  Sets
 * the port that the other end is told, if it is a TCP one.
 */
static char *listening_on(struct dest *d)
{
	cleanup_json struct json_object *reply = NULL;
	struct json_object *sockets, *first;
	const char *port;

	if (kat_end_qmp(d->end, "query-migrate", NULL, &reply, NULL) < 0)
		return NULL;
	sockets = kat_json_member(reply, "socket-address");
	if (!json_object_is_type(sockets, json_type_array) ||
	    !json_object_array_length(sockets))
		return NULL;
	first = json_object_array_get_idx(sockets, 0);
	port = kat_json_string(first, "port");
	if (!kat_json_string(first, "host") || !port)
		return strdup("a socket that is not TCP");
	d->end->port = atoi(port);
	return kat_format("%s port %s", kat_json_string(first, "host"), port);
}

/* With -incoming defer the port is ours to open; with -incoming tcp: it is open. */
static int listen_for_source(struct dest *d, struct kat_error **err)
{
	const struct kat_config *config = d->end->config;
	cleanup_free char *uri = kat_ram_uri(config->dest_ip, config->port);
	cleanup_free char *before = listening_on(d);
	cleanup_free char *now = NULL;
	struct json_object *args;

	if (kat_ram_save(d->end, err) < 0 || kat_end_set_capabilities(d->end, err) < 0)
		return -1;
	if (!before) {
		if (!config->dest_ip)
			kat_log(KAT_WARNING,
				"no -dest-ip: the migration port %d opens on every "
				"address of"
				" this node",
				config->port);
		args = json_object_new_object();
		json_object_object_add(args, "uri", json_object_new_string(uri));
		if (kat_end_qmp(d->end, "migrate-incoming", args, NULL, err) < 0)
			return kat_error_wrap(err, "cannot listen on %s", uri);
		now = listening_on(d);
	}
	kat_log(KAT_INFO, "QEMU listens on %s: ready for the incoming migration.",
		before ? before
		: now  ? now
		       : uri);
	return 0;
}

static void say_result(struct kat_end *end)
{
	if (end->peer)
		kat_peer_send(end->peer, "result",
			      kat_ledger_tell(&end->migration.ledger));
}

/* They belong to the stream while RAM arrives, and to the next one afterwards. */
static void put_back_qemu(struct kat_end *end)
{
	cleanup_free char *status = NULL;

	if (!end->capabilities || !end->migration.qmp)
		return;
	status = kat_ram_status(end, NULL);
	if (status && !strcmp(status, "active"))
		kat_log(KAT_WARNING, "a guest still arrives: QEMU's migration settings"
				     " are not put back");
	else if (status)
		kat_ram_restore(end);
}

/* Its QEMU has ended, or says so. */
static bool is_guest_lost(struct dest *d)
{
	struct kat_qmp *qmp = d->end->migration.qmp;

	if (d->unloaded)
		return true;
	return (!qmp || kat_qmp_closed(qmp)) && kat_end_qemu_ended(d->end, KAT_DIES_MS);
}

/*
 * The source sends packets here until it hears of the failure and has taken its redirect
 * back: held until then, they can be given back.  Not for a guest that may still come.
 */
static void await_end_of_redirect(struct dest *d)
{
	cleanup_error struct kat_error *why = NULL;

	if (!d->held || d->resumed_ns || d->over || !d->end->peer ||
	    kat_peer_gone(d->end->peer) || !is_guest_lost(d))
		return;
	kat_end_tell_failure(d->end, d->end->reason);
	kat_peer_wait(d->end->peer, "over", kat_deadline_ms(KAT_FAILURE_MS), NULL, &why);
}

static int fail(struct dest *d, struct kat_error **err)
{
	d->end->loop.deaf = true;
	await_end_of_redirect(d);
	kat_hooks_cleanup(&d->end->hooks, 0,
			  d->end->reason->exit_code == KAT_EXIT_SIGNAL
				  ? KATAMARAN_CANCELLED
				  : KATAMARAN_FAILED);
	say_result(d->end);
	put_back_qemu(d->end);
	*err = d->end->reason;
	d->end->reason = NULL;
	return -1;
}

static void say_ready(struct dest *d)
{
	char qemu[KAT_IDENTITY_BYTES];
	struct json_object *ready;

	if (!d->end->peer)
		return;
	ready = json_object_new_object();
	json_object_object_add(ready, "port", json_object_new_int(d->end->port));
	json_object_object_add(ready, "facts", kat_end_facts(d->end));
	kat_ask_identity(d->end->migration.qemu_pid, qemu);
	if (*qemu)
		json_object_object_add(ready, "qemu", json_object_new_string(qemu));
	kat_peer_send(d->end->peer, "ready", ready);
}

/* The source has looked at both ends, and found nothing against it. */
static int await_source(struct kat_end *end, struct kat_error **err)
{
	cleanup_json struct json_object *prepare = NULL;

	if (!end->peer)
		return 0;
	if (kat_peer_wait(end->peer, "prepare", kat_deadline_ms(PREPARE_MS), &prepare,
			  err) < 0)
		return -1;
	kat_end_learn(end, kat_json_member(prepare, "facts"));
	return 0;
}

static int prepare(struct dest *d, struct kat_error **err)
{
	struct kat_end *end = d->end;

	end->port = end->config->port;
	if (check_incoming(d, err) < 0)
		return -1;
	if (kat_hooks_open(&end->hooks, err) < 0 || kat_check_dest(end, err) < 0 ||
	    await_source(end, err) < 0 || kat_hooks_pre_copy(&end->hooks, err) < 0 ||
	    listen_for_source(d, err) < 0) {
		end->loop.deaf = true;
		kat_hooks_cleanup(&end->hooks, 0, KATAMARAN_FAILED);
		put_back_qemu(end);
		return -1;
	}
	kat_fault(&end->migration, "listening", NULL);
	say_ready(d);
	kat_fault(&end->migration, "ready", NULL);
	return 0;
}

int kat_dest_run(struct kat_end *end, struct kat_error **err)
{
	struct dest d = {.end = end};

	kat_log(KAT_INFO, "Preparing this node for the guest...");
	kat_journal_phase(&end->journal, "preparing");
	if (prepare(&d, err) < 0)
		return -1;
	if (!kat_dest_machine(&d))
		return fail(&d, err);
	end->loop.deaf = true; /* nothing is left to be interrupted */
	kat_hooks_cleanup(&end->hooks, 0, KATAMARAN_DONE);
	say_result(end);
	put_back_qemu(end);
	kat_end_report(end);
	kat_log(KAT_INFO, "Destination setup complete. The guest runs here.");
	return 0;
}
