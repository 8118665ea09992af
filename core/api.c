/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json_tokener.h>

#include "api.h"
#include "back.h"
#include "log.h"
#include "util.h"

void katamaran_error(struct katamaran_ctx *ctx, const char *fmt, ...)
{
	char text[2 * sizeof(ctx->error)];
	int saved = errno;
	va_list ap;

	if (ctx->error[0] && !ctx->error_is_qmps)
		return; /* the first reason is the reason */
	va_start(ap, fmt);
	vsnprintf(text, sizeof(ctx->error) - 2, fmt, ap);
	va_end(ap);
	if (ctx->error_is_qmps) {
		strcat(text, ": ");
		strcat(text, ctx->error); /* each is less than half of the room */
	}
	memcpy(ctx->error, text, sizeof(ctx->error) - 1); /* cut, but ended */
	ctx->error_is_qmps = false;
	errno = saved;
}

void katamaran_log(struct katamaran_ctx *ctx, int level, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (ctx->migration->config->check && level <= KAT_WARNING)
		kat_finding_add(ctx->migration, KATAMARAN_WARNING, ctx->step->name, fmt,
				ap);
	else
		kat_vlog((enum kat_level)level, ctx->step->name, fmt, ap);
	va_end(ap);
}

void kat_finding_add(struct kat_migration *migration, int level, const char *what,
		     const char *fmt, va_list ap)
{
	bool source = migration->config->role == KATAMARAN_SOURCE;

	kat_findings_add(&migration->findings, level, source ? "source" : "destination",
			 what, kat_vformat(fmt, ap));
}

void katamaran_finding(struct katamaran_ctx *ctx, int level, const char *what,
		       const char *fmt, ...)
{
	char named[128];
	va_list ap;

	snprintf(named, sizeof(named), "%s: %s", ctx->step->name, what);
	va_start(ap, fmt);
	kat_finding_add(ctx->migration, level, named, fmt, ap);
	va_end(ap);
}

uint32_t katamaran_role(struct katamaran_ctx *ctx)
{
	return ctx->migration->config->role;
}

const char *katamaran_migration_id(struct katamaran_ctx *ctx)
{
	return ctx->migration->id;
}

const char *katamaran_vm_name(struct katamaran_ctx *ctx)
{
	return ctx->migration->vm_name ? ctx->migration->vm_name : "";
}

const char *katamaran_vm_uuid(struct katamaran_ctx *ctx)
{
	return ctx->migration->vm_uuid ? ctx->migration->vm_uuid : "";
}

const char *katamaran_peer(struct katamaran_ctx *ctx)
{
	if (ctx->migration->config->role == KATAMARAN_SOURCE)
		return ctx->migration->config->dest_ip;
	return NULL; /* nobody told: each end runs alone */
}

const char *katamaran_listen_ip(struct katamaran_ctx *ctx)
{
	if (ctx->migration->config->role == KATAMARAN_DESTINATION)
		return ctx->migration->config->dest_ip;
	return NULL;
}

int katamaran_qemu_pid(struct katamaran_ctx *ctx)
{
	return ctx->migration->qemu_pid;
}

int katamaran_qemu_pidfd(struct katamaran_ctx *ctx)
{
	return ctx->migration->qemu_pidfd;
}

int katamaran_guest_running(struct katamaran_ctx *ctx)
{
	return ctx->migration->guest_running;
}

size_t katamaran_nic_count(struct katamaran_ctx *ctx)
{
	return ctx->migration->config->n_nics;
}

static const struct kat_nic *get_nic(struct katamaran_ctx *ctx, size_t nic)
{
	return nic < ctx->migration->config->n_nics ? &ctx->migration->nics[nic] : NULL;
}

const char *katamaran_nic_tap(struct katamaran_ctx *ctx, size_t nic)
{
	const struct kat_nic *n = get_nic(ctx, nic);

	return n ? n->config->tap : NULL;
}

const char *katamaran_nic_netns(struct katamaran_ctx *ctx, size_t nic)
{
	const struct kat_nic *n = get_nic(ctx, nic);

	return n ? n->config->netns : NULL;
}

const uint8_t *katamaran_nic_mac(struct katamaran_ctx *ctx, size_t nic)
{
	const struct kat_nic *n = get_nic(ctx, nic);

	return n && n->has_mac ? n->mac : NULL;
}

size_t katamaran_nic_ips(struct katamaran_ctx *ctx, size_t nic, const char *const **ips)
{
	const struct kat_nic *n = get_nic(ctx, nic);

	*ips = n ? (const char *const *)n->config->ips : NULL;
	return n ? n->config->n_ips : 0;
}

/* A plugin that asks for an option which it did not declare is broken. */
static const struct kat_value *get_value(struct katamaran_ctx *ctx, const char *name,
					 uint32_t type)
{
	const struct kat_value *value = kat_plan_value(ctx->step, name, type);

	if (value)
		return value;
	kat_log(KAT_ERROR, "%s asks for an option that it has not declared: \"%s\"",
		ctx->step->name, name);
	abort();
}

const char *katamaran_conf_string(struct katamaran_ctx *ctx, const char *name)
{
	return get_value(ctx, name, KATAMARAN_STRING)->string;
}

int64_t katamaran_conf_int(struct katamaran_ctx *ctx, const char *name)
{
	return get_value(ctx, name, KATAMARAN_INT)->integer;
}

int katamaran_conf_bool(struct katamaran_ctx *ctx, const char *name)
{
	return get_value(ctx, name, KATAMARAN_BOOL)->integer != 0;
}

size_t katamaran_conf_list(struct katamaran_ctx *ctx, const char *name,
			   const char *const **items)
{
	const struct kat_value *value = get_value(ctx, name, KATAMARAN_LIST);

	*items = value->items;
	return value->n_items;
}

int64_t katamaran_downtime_ms(struct katamaran_ctx *ctx)
{
	return ctx->migration->config->downtime_ms;
}

int64_t katamaran_deadline_ns(struct katamaran_ctx *ctx)
{
	return ctx->deadline_ns;
}

int katamaran_ms_left(struct katamaran_ctx *ctx)
{
	int64_t left = ctx->deadline_ns - kat_now_ns();

	if (left <= 0)
		return 0;
	left = (left + KAT_NS_PER_MS - 1) / KAT_NS_PER_MS;
	return left > INT32_MAX ? INT32_MAX : (int)left;
}

int katamaran_alive(struct katamaran_ctx *ctx)
{
	struct kat_loop *loop = ctx->migration->loop;

	if (!loop)
		return 0;
	kat_loop_wait_quiet(loop, -1, 0);
	if (kat_loop_wait(loop, -1, 0, 0) != KAT_WAKE_SIGNAL)
		return 0;
	errno = EINTR;
	return -1;
}

/* A QMP error becomes the plugin's; errno tells the kinds apart. */
static int pass_error(struct katamaran_ctx *ctx, struct kat_error *why)
{
	bool first = !ctx->error[0];

	katamaran_error(ctx, "%s", why->message);
	ctx->error_is_qmps = first;
	errno = why->sys_errno;
	return -1;
}

static int need_qmp(struct katamaran_ctx *ctx)
{
	if (ctx->migration->qmp)
		return 0;
	katamaran_error(ctx, "the QMP connection has gone");
	errno = ECONNRESET;
	return -1;
}

int katamaran_qmp(struct katamaran_ctx *ctx, const char *command, const char *arguments,
		  const char **reply)
{
	cleanup_error struct kat_error *why = NULL;
	struct json_object *args = NULL;
	struct json_object *answer = NULL;

	if (need_qmp(ctx) < 0)
		return -1;
	if (arguments) {
		args = json_tokener_parse(arguments);
		if (!json_object_is_type(args, json_type_object)) {
			json_object_put(args);
			katamaran_error(ctx, "QMP %s: arguments are no JSON object: %s",
					command, arguments);
			errno = EINVAL;
			return -1;
		}
	}
	if (kat_qmp_execute(ctx->migration->qmp, command, args, ctx->deadline_ns, &answer,
			    &why) < 0)
		return pass_error(ctx, why);
	if (ctx->error_is_qmps) /* the plugin did without what was refused before */
		ctx->error[0] = '\0';
	ctx->error_is_qmps = false;
	json_object_put(ctx->reply);
	ctx->reply = answer;
	if (reply)
		*reply = json_object_to_json_string_ext(answer, JSON_C_TO_STRING_PLAIN);
	return 0;
}

struct wanted {
	const char *event, *member, *value;
};

static bool is_wanted(const struct kat_qmp_event *event, void *data)
{
	const struct wanted *want = data;
	const char *text;

	if (strcmp(event->name, want->event))
		return false;
	if (!want->member)
		return true;
	text = kat_json_string(event->data, want->member);
	return text && !strcmp(text, want->value);
}

int katamaran_qmp_event(struct katamaran_ctx *ctx, const char *event, const char *member,
			const char *value, const char **json)
{
	cleanup_error struct kat_error *why = NULL;
	struct wanted want = {event, member, value};
	struct kat_qmp_event *found = NULL;
	int r;

	if (need_qmp(ctx) < 0)
		return -1;
	r = kat_qmp_wait_match(ctx->migration->qmp, is_wanted, &want, ctx->deadline_ns,
			       &found, &why);
	if (r < 0)
		return pass_error(ctx, why);
	if (r == 0 && !ctx->error[0]) { /* the plugin may know why: that goes in front */
		katamaran_error(ctx, "QEMU did not send the event %s in time", event);
		ctx->error_is_qmps = true;
	}
	if (r == 0) {
		errno = ETIMEDOUT;
		return -1;
	}
	kat_qmp_event_free(&ctx->event);
	ctx->event = found;
	if (json)
		*json = json_object_to_json_string_ext(found->json,
						       JSON_C_TO_STRING_PLAIN);
	return 0;
}

void kat_fact_add(struct kat_fact **list, const char *plugin, const char *key,
		  const char *value)
{
	struct kat_fact *fact = calloc(1, sizeof(*fact));

	if (fact) {
		fact->plugin = strdup(plugin);
		fact->key = strdup(key);
		fact->value = strdup(value);
	}
	if (!fact || !fact->plugin || !fact->key || !fact->value)
		abort();    /* small allocations, while nothing is at stake */
	fact->next = *list; /* the newest is found first */
	*list = fact;
}

void kat_fact_free(struct kat_fact **list)
{
	while (*list) {
		struct kat_fact *fact = *list;

		*list = fact->next;
		free(fact->plugin);
		free(fact->key);
		free(fact->value);
		free(fact);
	}
}

void katamaran_publish(struct katamaran_ctx *ctx, const char *key, const char *value)
{
	kat_fact_add(&ctx->migration->published, ctx->step->name, key, value);
}

const char *katamaran_learn(struct katamaran_ctx *ctx, const char *key)
{
	for (struct kat_fact *f = ctx->migration->learned; f; f = f->next)
		if (!strcmp(f->plugin, ctx->step->name) && !strcmp(f->key, key))
			return f->value;
	return NULL;
}

int katamaran_connected(struct katamaran_ctx *ctx)
{
	return ctx->migration->peer != NULL;
}

int katamaran_give_back(struct katamaran_ctx *ctx, const void *packet, size_t length)
{
	struct kat_peer **peer = ctx->migration->peer;

	if (ctx->migration->gave_back == KAT_BACK_PACKETS) {
		errno = ENOBUFS;
		return -1;
	}
	if (kat_back_send(peer ? *peer : NULL, packet, length) < 0)
		return -1;
	ctx->migration->gave_back++;
	return 0;
}

int katamaran_journal(struct katamaran_ctx *ctx, const char *fmt, ...)
{
	char text[KAT_JOURNAL_LINE];
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	errno = E2BIG;
	if (len >= 0 && (size_t)len < sizeof(text) &&
	    kat_journal_record(ctx->migration->journal, ctx->step->name, ctx->index,
			       text) == 0)
		return 0;
	katamaran_error(ctx, "the migration's journal: cannot write to it: %m");
	return -1;
}

void katamaran_progress(struct katamaran_ctx *ctx, uint64_t done, uint64_t total,
			const char *unit)
{
	kat_journal_progress(ctx->migration->journal, done, total, unit, 0);
	if (total)
		kat_log(KAT_INFO, "%s: %.1f%% (%" PRIu64 " of %" PRIu64 " %s)",
			ctx->step->name, 100.0 * (double)done / (double)total, done,
			total, unit);
	else
		kat_log(KAT_INFO, "%s: %" PRIu64 " %s", ctx->step->name, done, unit);
}

void katamaran_count(struct katamaran_ctx *ctx, size_t nic, int what, uint64_t packets)
{
	kat_ledger_add(&ctx->migration->ledger, nic, what, packets);
}

void katamaran_learned(struct katamaran_ctx *ctx, size_t nic, int64_t ms)
{
	kat_ledger_learned(&ctx->migration->ledger, nic, ms);
}

void katamaran_doubt(struct katamaran_ctx *ctx, const char *fmt, ...)
{
	char *reason;
	va_list ap;

	va_start(ap, fmt);
	reason = kat_vformat(fmt, ap);
	va_end(ap);
	kat_log(KAT_DEBUG, "%s: in doubt: %s", ctx->step->name, reason);
	kat_ledger_doubt(&ctx->migration->ledger, reason);
}
