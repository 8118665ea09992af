/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define KATAMARAN_API_VERSION 1
#include "check.h"
#include "check_node.h"
#include "check_qemu.h"
#include "katamaran-plugin.h"

/* The other end starts, opens its plugins, and looks around. */
#define CHECK_MS 120000

void kat_check_add(struct kat_end *end, int level, const char *what, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	kat_finding_add(&end->migration, level, what, fmt, ap);
	va_end(ap);
}

void kat_check_failed(struct kat_end *end, const char *what, struct kat_error **why)
{
	kat_check_add(end, KATAMARAN_FAILURE, what, "%s", (*why)->message);
	kat_error_free(why);
}

/* The guest on the source, and the QEMU that waits for it on the destination. */
static void check_state(struct kat_end *end)
{
	bool source = end->config->role == KATAMARAN_SOURCE;
	const char *wanted = source ? "running" : "inmigrate";
	cleanup_error struct kat_error *why = NULL;
	cleanup_free char *state = kat_end_run_state(end, &why);

	if (!state)
		kat_check_failed(end, "guest", &why);
	else if (strcmp(state, wanted) != 0)
		kat_check_add(end, KATAMARAN_FAILURE, "guest",
			      source ? "is not running but \"%s\": continue it first"
				     : "this QEMU does not wait for one (it is \"%s\"): "
				       "start it with -incoming defer",
			      state);
	else
		kat_check_add(end, KATAMARAN_OK, "guest",
			      source ? "runs" : "this QEMU waits for one");
}

static void check_this_end(struct kat_end *end)
{
	if (end->config->check && end->migration.qmp)
		check_state(end); /* a migration has done so already */
	if (end->migration.qmp)
		kat_check_qemu(end);
	kat_check_node(end);
}

/*
 * What a migration makes of the findings.  The other end has its own in its
 * own log.
 */
static int judge(struct kat_end *end, struct kat_error **err)
{
	const struct kat_findings *list = &end->migration.findings;
	const struct kat_finding *failure = kat_findings_failure(list);

	if (end->config->check)
		return 0;
	kat_findings_log(list, end->config->role == KATAMARAN_SOURCE ? "destination"
								     : "source");
	if (!failure)
		return 0;
	errno = 0;
	return kat_error_set(err, KAT_EXIT_FAILED, "%s: %s: %s", failure->end,
			     failure->what, failure->text);
}

/* What the other end is like, against this one. */
static int hear_facts(struct kat_end *end, struct kat_error **err)
{
	cleanup_json struct json_object *message = NULL;
	cleanup_json struct json_object *here = NULL;

	if (kat_peer_wait(end->peer, "facts", kat_deadline_ms(CHECK_MS), &message, err) <
	    0)
		return -1;
	kat_end_learn(end, kat_json_member(message, "facts"));
	if (!end->migration.qmp || !kat_json_member(message, "qemu"))
		return 0; /* a failure that is told already */
	here = kat_check_facts(end);
	kat_check_compare(&end->migration.findings, here,
			  kat_json_member(message, "qemu"));
	return 0;
}

static int hear_findings(struct kat_end *end, struct kat_error **err)
{
	cleanup_json struct json_object *message = NULL;

	kat_peer_send(end->peer, "checked", NULL);
	if (kat_peer_wait(end->peer, "findings", kat_deadline_ms(CHECK_MS), &message,
			  err) < 0)
		return -1;
	kat_findings_read(&end->migration.findings, "destination",
			  kat_json_member(message, "findings"));
	return 0;
}

/* The end of the link is the end of a migration, and with -check a finding. */
static int lost_peer(struct kat_end *end, struct kat_error **err)
{
	if (!end->config->check || (*err)->sys_errno == EINTR)
		return -1;
	kat_check_failed(end, "other end", err);
	return 0;
}

int kat_check_source(struct kat_end *end, struct kat_error **err)
{
	bool heard = false;

	check_this_end(end);
	if (end->peer && kat_peer_gone(end->peer) && end->config->check)
		; /* a finding already */
	else if (end->peer) {
		heard = hear_facts(end, err) == 0;
		if (!heard && lost_peer(end, err) < 0)
			return -1;
	} else {
		kat_check_add(end, end->config->check ? KATAMARAN_WARNING : KATAMARAN_OK,
			      "other end",
			      "not checked, nor compared: there is no peer command; run "
			      "katamaran -check there too");
	}
	kat_hooks_check(&end->hooks, false);
	if (heard && hear_findings(end, err) < 0 && lost_peer(end, err) < 0)
		return -1;
	return judge(end, err);
}

static void tell_facts(struct kat_end *end)
{
	struct json_object *message = json_object_new_object();

	json_object_object_add(message, "facts", kat_end_facts(end));
	if (end->migration.qmp)
		json_object_object_add(message, "qemu", kat_check_facts(end));
	kat_peer_send(end->peer, "facts", message);
}

static void tell_findings(struct kat_end *end)
{
	struct json_object *message = json_object_new_object();

	json_object_object_add(message, "findings",
			       kat_findings_json(&end->migration.findings));
	kat_peer_send(end->peer, "findings", message);
}

int kat_check_dest(struct kat_end *end, struct kat_error **err)
{
	check_this_end(end);
	kat_hooks_check(&end->hooks, false);
	if (!end->peer)
		return judge(end, err);
	tell_facts(end);
	if (kat_peer_wait(end->peer, "checked", kat_deadline_ms(CHECK_MS), NULL, err) < 0)
		return -1;
	kat_hooks_check(&end->hooks, true);
	tell_findings(end);
	return judge(end, err);
}

/* The other end, or a finding in its place. */
static int meet(struct kat_end *end, struct kat_error **err)
{
	if (end->config->role == KATAMARAN_DESTINATION || !end->config->peer_command)
		return 0;
	if (kat_source_meet(end, err) == 0)
		return 0;
	return lost_peer(end, err);
}

int kat_check_run(struct kat_end *end, bool usage, struct kat_error **err)
{
	const struct kat_findings *list = &end->migration.findings;
	bool source = end->config->role == KATAMARAN_SOURCE;
	int r;

	/* Without QEMU they would complain of nothing else. */
	r = end->migration.qmp ? kat_hooks_open(&end->hooks, err) : 0;
	if (r == 0)
		r = meet(end, err);
	if (r == 0)
		r = source ? kat_check_source(end, err) : kat_check_dest(end, err);
	end->loop.deaf = true;
	kat_hooks_cleanup(&end->hooks, 0, KATAMARAN_CANCELLED);
	if (r < 0)
		return -1;
	if (!end->config->peer_stdio)
		kat_findings_print(list);
	errno = 0;
	if (usage)
		return kat_error_set(err, KAT_EXIT_USAGE,
				     "the configuration cannot be used, see above");
	if (list->failures)
		return kat_error_set(err, KAT_EXIT_FAILED,
				     "the migration would fail, see above");
	return 0;
}
