/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define KATAMARAN_API_VERSION 1
#include "fault.h"
#include "hooks.h"
#include "katamaran-plugin.h"
#include "log.h"
#include "util.h"

int kat_hooks_init(struct kat_hooks *hooks, const struct kat_plan *plan,
		   struct kat_migration *migration)
{
	hooks->config = migration->config;
	hooks->ctxs = calloc(plan->n_steps + 1, sizeof(*hooks->ctxs));
	if (!hooks->ctxs)
		return -1;
	hooks->n = plan->n_steps;
	for (size_t i = 0; i < hooks->n; i++) {
		hooks->ctxs[i].migration = migration;
		hooks->ctxs[i].step = &plan->steps[i];
		hooks->ctxs[i].index = i;
	}
	return 0;
}

void kat_hooks_free(struct kat_hooks *hooks)
{
	static struct katamaran_ctx *left; /* their handles are not forgotten */

	if (hooks->left) {
		left = hooks->ctxs;
		hooks->n = 0;
	}
	for (size_t i = 0; i < hooks->n; i++) {
		json_object_put(hooks->ctxs[i].reply);
		kat_qmp_event_free(&hooks->ctxs[i].event);
	}
	if (hooks->ctxs != left)
		free(hooks->ctxs);
	memset(hooks, 0, sizeof(*hooks));
}

static void begin(struct katamaran_ctx *ctx, int64_t deadline_ns)
{
	ctx->deadline_ns = deadline_ns;
	ctx->error[0] = '\0';
	ctx->error_is_qmps = false;
	errno = 0;
}

/* An overrun in the blackout is somebody's fault: it gets a name. */
static void tell_time(const struct katamaran_ctx *ctx, const char *hook, int64_t start_ns)
{
	int64_t now = kat_now_ns();

	kat_log(KAT_DEBUG, "%s: %s took %.3f ms", ctx->step->name, hook,
		(double)(now - start_ns) / KAT_NS_PER_MS);
	if (now > ctx->deadline_ns)
		kat_log(KAT_WARNING, "%s: %s took %.1f ms, %.1f more than it had",
			ctx->step->name, hook, (double)(now - start_ns) / KAT_NS_PER_MS,
			(double)(now - ctx->deadline_ns) / KAT_NS_PER_MS);
}

static int hook_failed(const struct katamaran_ctx *ctx, const char *hook,
		       struct kat_error **err)
{
	return kat_error_set(err, errno == EINTR ? KAT_EXIT_SIGNAL : KAT_EXIT_FAILED,
			     "%s: %s", ctx->step->name,
			     ctx->error[0] ? ctx->error : hook);
}

__attribute__((__format__(__printf__, 2, 3))) static void add_failure(
	struct katamaran_ctx *ctx, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	kat_finding_add(ctx->migration, KATAMARAN_FAILURE, ctx->step->name, fmt, ap);
	va_end(ap);
}

/* "cutover-on-stop", ...: a step at which tests make it fail. */
static int fault_at(const struct kat_hooks *hooks, uint32_t kind, const char *hook,
		    struct kat_error **err)
{
	char step[32];

	if (!hooks->n)
		return 0;
	snprintf(step, sizeof(step), "%s%s%s", kind ? kat_loader_kind_name(kind) : "",
		 kind ? "-" : "", hook);
	return kat_fault(hooks->ctxs[0].migration, step, err);
}

int kat_hooks_open(struct kat_hooks *hooks, struct kat_error **err)
{
	for (size_t i = 0; i < hooks->n; i++) {
		struct katamaran_ctx *ctx = &hooks->ctxs[i];

		katamaran_alive(ctx); /* the one before may have blocked */
		begin(ctx, kat_deadline_ms(KAT_OPEN_BUDGET_MS));
		ctx->opened = !ctx->step->plugin->open ||
			      ctx->step->plugin->open(ctx, &ctx->handle) >= 0;
		if (ctx->opened)
			continue;
		if (!hooks->config->check || errno == EINTR)
			return hook_failed(ctx, "open failed", err);
		add_failure(ctx, "%s", ctx->error[0] ? ctx->error : "open failed");
	}
	return fault_at(hooks, 0, "open", err);
}

void kat_hooks_check(struct kat_hooks *hooks, bool again)
{
	for (size_t i = 0; i < hooks->n; i++) {
		struct katamaran_ctx *ctx = &hooks->ctxs[i];
		const struct katamaran_plugin *plugin = ctx->step->plugin;
		int64_t start = kat_now_ns();
		int r;

		if (!ctx->opened || !plugin->check || (again && !ctx->check_again))
			continue;
		begin(ctx, kat_deadline_ms(KAT_OPEN_BUDGET_MS));
		r = plugin->check(ctx, ctx->handle);
		if (r < 0)
			add_failure(ctx, "%s",
				    ctx->error[0] ? ctx->error : "check failed");
		ctx->check_again = r > 0;
		tell_time(ctx, "check", start);
	}
}

int kat_hooks_pre_copy(struct kat_hooks *hooks, struct kat_error **err)
{
	for (size_t i = 0; i < hooks->n; i++) {
		struct katamaran_ctx *ctx = &hooks->ctxs[i];
		const struct katamaran_plugin *plugin = ctx->step->plugin;
		int64_t start = kat_now_ns();
		int64_t budget = KAT_OPEN_BUDGET_MS;

		if (plugin->kind == KATAMARAN_STORAGE)
			budget = hooks->config->storage_sync_s * 1000;
		katamaran_alive(ctx); /* the one before may have blocked */
		begin(ctx, kat_deadline_ms(budget));
		if (plugin->pre_copy && plugin->pre_copy(ctx, ctx->handle) < 0)
			return hook_failed(ctx, "pre_copy failed", err);
		tell_time(ctx, "pre_copy", start);
	}
	return fault_at(hooks, 0, "pre-copy", err);
}

bool kat_hooks_has_on_stop(const struct kat_hooks *hooks, uint32_t kind)
{
	for (size_t i = 0; i < hooks->n; i++)
		if (hooks->ctxs[i].step->plugin->kind == kind &&
		    hooks->ctxs[i].step->plugin->on_stop)
			return true;
	return false;
}

int kat_hooks_on_stop(struct kat_hooks *hooks, uint32_t kind, int64_t deadline_ns,
		      struct kat_error **err)
{
	int again = 0;

	for (size_t i = 0; i < hooks->n; i++) {
		struct katamaran_ctx *ctx = &hooks->ctxs[i];
		const struct katamaran_plugin *plugin = ctx->step->plugin;
		int64_t start = kat_now_ns();
		int r;

		if (plugin->kind != kind || !plugin->on_stop)
			continue;
		begin(ctx, deadline_ns);
		r = plugin->on_stop(ctx, ctx->handle);
		if (r < 0)
			return hook_failed(ctx, "on_stop failed", err);
		tell_time(ctx, "on_stop", start);
		ctx->when_stopped = r > 0;
		if (r > again && r != KATAMARAN_WHEN_STOPPED)
			again = r;
	}
	if (fault_at(hooks, kind, "on-stop", err) < 0)
		return -1;
	return again;
}

void kat_hooks_when_stopped(struct kat_hooks *hooks, int64_t deadline_ns)
{
	for (size_t i = 0; i < hooks->n; i++) {
		struct katamaran_ctx *ctx = &hooks->ctxs[i];
		const struct katamaran_plugin *plugin = ctx->step->plugin;
		int64_t start = kat_now_ns();

		if (plugin->kind != KATAMARAN_CUTOVER || !ctx->when_stopped)
			continue;
		ctx->when_stopped = false;
		begin(ctx, deadline_ns);
		if (plugin->on_stop(ctx, ctx->handle) < 0) {
			kat_log(KAT_WARNING, "%s: %s", ctx->step->name,
				ctx->error[0] ? ctx->error : "on_stop failed");
			kat_ledger_doubt(
				&ctx->migration->ledger,
				kat_format("%s failed when the guest had stopped",
					   ctx->step->name));
		}
		tell_time(ctx, "on_stop after STOP", start);
	}
}

static void resume_round(struct katamaran_ctx *ctx)
{
	const struct katamaran_plugin *plugin = ctx->step->plugin;
	int64_t start = kat_now_ns();
	int r = 0;

	begin(ctx, start + (plugin->kind == KATAMARAN_CUTOVER ? KAT_RESUME_BUDGET_MS
							      : KAT_TELL_BUDGET_MS) *
				   KAT_NS_PER_MS);
	if (plugin->on_resume)
		r = plugin->on_resume(ctx, ctx->handle, ctx->round);
	if (r < 0)
		kat_log(KAT_WARNING, "%s: %s", ctx->step->name,
			ctx->error[0] ? ctx->error : "on_resume failed");
	if (ctx->round == 0 && plugin->on_resume)
		tell_time(ctx, "on_resume", start);
	ctx->round++;
	ctx->resume_done = r <= 0;
	ctx->next_round_ns = kat_now_ns() + r * KAT_NS_PER_MS;
}

int64_t kat_hooks_on_resume(struct kat_hooks *hooks)
{
	/* The guest's packets wait: they come before its disks and its name. */
	static const uint32_t kinds[] = {KATAMARAN_CUTOVER, KATAMARAN_STORAGE,
					 KATAMARAN_ANNOUNCE};
	int64_t next = 0;

	fault_at(hooks, 0, "on-resume", NULL);
	for (size_t i = 0; i < KAT_ARRAY_SIZE(kinds) * hooks->n; i++) {
		struct katamaran_ctx *ctx = &hooks->ctxs[i % hooks->n];

		if (ctx->step->plugin->kind != kinds[i / hooks->n])
			continue;
		if (!ctx->opened || ctx->resume_done)
			continue;
		if (ctx->round == 0 || ctx->next_round_ns <= kat_now_ns())
			resume_round(ctx);
		if (!ctx->resume_done && (!next || ctx->next_round_ns < next))
			next = ctx->next_round_ns;
	}
	return next;
}

int kat_hooks_event(struct kat_hooks *hooks, const struct kat_qmp_event *event,
		    struct kat_error **err)
{
	for (size_t i = 0; i < hooks->n; i++) {
		struct katamaran_ctx *ctx = &hooks->ctxs[i];

		if (!ctx->opened || !ctx->step->plugin->on_event)
			continue;
		begin(ctx, kat_deadline_ms(KAT_RESUME_BUDGET_MS));
		if (ctx->step->plugin->on_event(
			    ctx, ctx->handle, event->name,
			    json_object_to_json_string_ext(event->json,
							   JSON_C_TO_STRING_PLAIN)) < 0)
			return hook_failed(ctx, "on_event failed", err);
	}
	return 0;
}

static struct kat_loop *loop_of(const struct kat_hooks *hooks)
{
	return hooks->n ? hooks->ctxs[0].migration->loop : NULL;
}

static bool qemu_has_gone(const struct kat_migration *migration)
{
	return !migration->qmp || kat_qmp_closed(migration->qmp);
}

void kat_hooks_cleanup(struct kat_hooks *hooks, uint32_t kind, int outcome)
{
	bool deaf = loop_of(hooks) && loop_of(hooks)->deaf;

	/* A signal, the first or another, does not keep anything from being undone. */
	if (loop_of(hooks))
		loop_of(hooks)->deaf = true;
	fault_at(hooks, kind, "cleanup", NULL);
	for (size_t i = hooks->n; i-- > 0;) {
		struct katamaran_ctx *ctx = &hooks->ctxs[i];
		const struct katamaran_plugin *plugin = ctx->step->plugin;

		if (!ctx->opened || (kind && plugin->kind != kind))
			continue;
		katamaran_alive(ctx); /* the one before may have blocked */
		begin(ctx, kat_deadline_ms(hooks->config->cleanup_s * 1000));
		if (plugin->cleanup)
			plugin->cleanup(ctx, ctx->handle, outcome);
		if (ctx->error[0])
			kat_log(KAT_WARNING, "%s: cleanup: %s", ctx->step->name,
				ctx->error);
		/* What a QEMU had that has ended is not left behind. */
		hooks->unclean = hooks->unclean ||
				 (ctx->error[0] && (plugin->kind == KATAMARAN_CUTOVER ||
						    !qemu_has_gone(ctx->migration)));
		ctx->opened = false;
	}
	fault_at(hooks, kind, "cleaned", NULL);
	if (loop_of(hooks))
		loop_of(hooks)->deaf = deaf;
}

void kat_hooks_leave(struct kat_hooks *hooks, uint32_t kind)
{
	for (size_t i = 0; i < hooks->n; i++) {
		struct katamaran_ctx *ctx = &hooks->ctxs[i];
		const struct katamaran_plugin *plugin = ctx->step->plugin;

		if (!ctx->opened || plugin->kind != kind || !plugin->recover)
			continue;
		ctx->opened = false;
		hooks->left = true;
	}
}

static int recover_failed(struct kat_error **err, const char *plugin, const char *what)
{
	if (*err) /* the first counts; the others are in the log */
		return -1;
	return kat_error_set(err, KAT_EXIT_FAILED, "%s: %s", plugin, what);
}

static int recover_one(struct kat_hooks *hooks, const struct kat_record *record,
		       int outcome, struct kat_error **err)
{
	struct katamaran_ctx *ctx = &hooks->ctxs[record->step];

	begin(ctx, kat_deadline_ms(hooks->config->cleanup_s * 1000));
	kat_log(KAT_DEBUG, "%s: undoing: %s", record->plugin, record->text);
	if (ctx->step->plugin->recover(ctx, record->text, outcome) == 0)
		return 0;
	kat_log(KAT_WARNING, "%s: cannot undo \"%s\": %s", record->plugin, record->text,
		ctx->error[0] ? ctx->error : "recover failed");
	return recover_failed(err, record->plugin,
			      ctx->error[0] ? ctx->error : "recover failed");
}

int kat_hooks_recover(struct kat_hooks *hooks, const struct kat_past *past, uint32_t kind,
		      int outcome, struct kat_error **err)
{
	int ret = 0;

	for (size_t i = past->n_records; i-- > 0;) {
		const struct kat_record *record = &past->records[i];
		const struct kat_step *step =
			record->step < hooks->n ? hooks->ctxs[record->step].step : NULL;

		if (!step || strcmp(step->name, record->plugin) ||
		    !step->plugin->recover) {
			/* Once, with the last ones. */
			if (!kind || kind == KATAMARAN_STORAGE)
				ret = recover_failed(err, record->plugin,
						     "this plugin has left something and "
						     "cannot undo it after a kill");
			continue;
		}
		if (!kind || step->plugin->kind == kind)
			ret |= recover_one(hooks, record, outcome, err);
	}
	return ret;
}
