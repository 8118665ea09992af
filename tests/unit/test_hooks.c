/* SPDX-License-Identifier: BSD-2-Clause */
/* Order, roll-back, rounds and budgets of the hooks, with plugins that write a diary. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hooks.h"
#include "log.h"
#include "util.h"

static char diary[1024];

/* What the plugins return, by hook; set by each test. */
static int open_returns, stop_returns, resume_returns, event_returns, check_returns;

static void note(struct katamaran_ctx *ctx, const char *what)
{
	size_t len = strlen(diary);

	snprintf(diary + len, sizeof(diary) - len, "%s.%s ", ctx->step->plugin->name,
		 what);
}

static int d_open(struct katamaran_ctx *ctx, void **handle)
{
	note(ctx, "open");
	*handle = ctx;
	if (open_returns < 0 && !strcmp(ctx->step->plugin->name, "b"))
		katamaran_error(ctx, "no %s", "luck");
	return strcmp(ctx->step->plugin->name, "b") ? 0 : open_returns;
}

static int d_check(struct katamaran_ctx *ctx, void *handle)
{
	assert_ptr_equal(handle, ctx);
	note(ctx, "check");
	katamaran_finding(ctx, KATAMARAN_OK, "luck", "%d", 7);
	if (check_returns < 0)
		katamaran_error(ctx, "no %s", "luck");
	return strcmp(ctx->step->plugin->name, "b") ? 0 : check_returns;
}

static int d_pre_copy(struct katamaran_ctx *ctx, void *handle)
{
	assert_ptr_equal(handle, ctx);
	assert_true(katamaran_ms_left(ctx) > 1000);
	note(ctx, "pre_copy");
	return 0;
}

static int d_on_stop(struct katamaran_ctx *ctx, void *handle)
{
	(void)handle;
	assert_in_range(katamaran_ms_left(ctx), 0, 50);
	note(ctx, "on_stop");
	return stop_returns;
}

static int d_on_resume(struct katamaran_ctx *ctx, void *handle, unsigned int round)
{
	char text[32];

	(void)handle;
	snprintf(text, sizeof(text), "resume%u", round);
	note(ctx, text);
	return round < 2 ? resume_returns : 0;
}

static void d_cleanup(struct katamaran_ctx *ctx, void *handle, int outcome)
{
	char text[32];

	(void)handle;
	snprintf(text, sizeof(text), "cleanup%d", outcome);
	note(ctx, text);
}

static int d_on_event(struct katamaran_ctx *ctx, void *handle, const char *event,
		      const char *json)
{
	(void)handle;
	assert_non_null(strstr(json, event));
	note(ctx, event);
	return event_returns;
}

static int d_recover(struct katamaran_ctx *ctx, const char *record, int outcome)
{
	char text[32];

	snprintf(text, sizeof(text), "%s%d", record, outcome);
	note(ctx, text);
	if (!strcmp(record, "bad"))
		katamaran_error(ctx, "no %s", "luck");
	return strcmp(record, "bad") ? 0 : -1;
}

#define DIARIST(letter, its_kind)                                                        \
	{                                                                                \
		.name = letter, .kind = its_kind, .roles = 3, .open = d_open,            \
		.pre_copy = d_pre_copy, .on_stop = d_on_stop, .on_resume = d_on_resume,  \
		.cleanup = d_cleanup, .on_event = d_on_event, .check = d_check,          \
		.recover = d_recover                                                     \
	}

static struct katamaran_plugin plugins[] = {
	DIARIST("a", KATAMARAN_STORAGE),
	DIARIST("b", KATAMARAN_CUTOVER),
	DIARIST("c", KATAMARAN_ANNOUNCE),
};

static struct kat_step steps[] = {
	{.plugin = &plugins[0], .name = "storage-a"},
	{.plugin = &plugins[1], .name = "cutover-b"},
	{.plugin = &plugins[2], .name = "announce-c"},
};
static struct kat_plan plan = {.steps = steps, .n_steps = 3};
static struct kat_config config = {
	.role = KATAMARAN_SOURCE, .cleanup_s = 10, .storage_sync_s = 10};
static struct kat_migration migration = {.config = &config};
static struct kat_hooks hooks;

static int set_up(void **state)
{
	(void)state;
	diary[0] = '\0';
	open_returns = stop_returns = resume_returns = event_returns = check_returns = 0;
	return kat_hooks_init(&hooks, &plan, &migration);
}

static int tear_down(void **state)
{
	(void)state;
	kat_hooks_free(&hooks);
	kat_findings_free(&migration.findings);
	config.check = false;
	return 0;
}

static void test_sequence(void **state)
{
	(void)state;
	assert_int_equal(kat_hooks_open(&hooks, NULL), 0);
	assert_int_equal(kat_hooks_pre_copy(&hooks, NULL), 0);
	assert_int_equal(
		kat_hooks_on_stop(&hooks, KATAMARAN_CUTOVER, kat_deadline_ms(50), NULL),
		0);
	assert_int_equal(
		kat_hooks_on_stop(&hooks, KATAMARAN_STORAGE, kat_deadline_ms(50), NULL),
		0);
	assert_int_equal(kat_hooks_on_resume(&hooks), 0);
	kat_hooks_cleanup(&hooks, 0, KATAMARAN_DONE);
	assert_string_equal(diary,
			    "a.open b.open c.open a.pre_copy b.pre_copy c.pre_copy "
			    "b.on_stop a.on_stop b.resume0 a.resume0 c.resume0 "
			    "c.cleanup0 b.cleanup0 a.cleanup0 ");
}

/* What was opened is cleaned up, once, in reverse; what was not is left alone. */
static void test_failed_open_rolls_back(void **state)
{
	struct kat_error *err = NULL;

	(void)state;
	open_returns = -1;
	assert_int_equal(kat_hooks_open(&hooks, &err), -1);
	assert_string_equal(err->message, "cutover-b: no luck");
	assert_int_equal(err->exit_code, KAT_EXIT_FAILED);
	kat_error_free(&err);
	kat_hooks_cleanup(&hooks, 0, KATAMARAN_FAILED);
	kat_hooks_cleanup(&hooks, 0, KATAMARAN_FAILED);
	assert_string_equal(diary, "a.open b.open a.cleanup1 ");
}

/* With -check one that cannot be opened does not keep the others from being looked at. */
static void test_check_goes_on_after_a_failed_open(void **state)
{
	const struct kat_finding *failure;

	(void)state;
	config.check = true;
	open_returns = -1;
	assert_int_equal(kat_hooks_open(&hooks, NULL), 0);
	kat_hooks_check(&hooks, false);
	kat_hooks_cleanup(&hooks, 0, KATAMARAN_CANCELLED);
	assert_string_equal(
		diary, "a.open b.open c.open a.check c.check c.cleanup2 a.cleanup2 ");
	failure = kat_findings_failure(&migration.findings);
	assert_string_equal(failure->what, "cutover-b");
	assert_string_equal(failure->text, "no luck");
	assert_string_equal(failure->end, "source");
	assert_string_equal(failure->next->what, "storage-a: luck");
	assert_string_equal(failure->next->text, "7");
	assert_int_equal(migration.findings.failures, 1);
}

/* Only who asked for it is called again, and a check that fails is a failure. */
static void test_check_again(void **state)
{
	(void)state;
	assert_int_equal(kat_hooks_open(&hooks, NULL), 0);
	diary[0] = '\0';
	check_returns = 1;
	kat_hooks_check(&hooks, false);
	check_returns = -1;
	kat_hooks_check(&hooks, true);
	kat_hooks_check(&hooks, true);
	assert_string_equal(diary, "a.check b.check c.check b.check ");
	assert_int_equal(migration.findings.failures, 1);
	assert_string_equal(kat_findings_failure(&migration.findings)->text, "no luck");
	kat_hooks_cleanup(&hooks, 0, KATAMARAN_FAILED);
}

/* What a plugin warns of while it is looked at is a finding, else a line of the log. */
static void test_warnings_are_findings(void **state)
{
	(void)state;
	katamaran_log(&hooks.ctxs[0], KAT_WARNING, "of %s", "old");
	assert_int_equal(migration.findings.warnings, 0);
	config.check = true;
	katamaran_log(&hooks.ctxs[0], KAT_INFO, "it is %s", "late");
	katamaran_log(&hooks.ctxs[0], KAT_WARNING, "of %s", "age");
	assert_int_equal(migration.findings.warnings, 1);
	assert_string_equal(migration.findings.first->text, "of age");
	assert_string_equal(migration.findings.first->what, "storage-a");
}

/* The network first: a kind cleaned up alone is not cleaned up again. */
static void test_cleanup_by_kind(void **state)
{
	(void)state;
	kat_hooks_open(&hooks, NULL);
	diary[0] = '\0';
	kat_hooks_cleanup(&hooks, KATAMARAN_CUTOVER, KATAMARAN_FAILED);
	kat_hooks_cleanup(&hooks, 0, KATAMARAN_FAILED);
	assert_string_equal(diary, "b.cleanup1 c.cleanup1 a.cleanup1 ");
}

static void test_on_stop_wants_more_time(void **state)
{
	struct kat_error *err = NULL;

	(void)state;
	kat_hooks_open(&hooks, NULL);
	stop_returns = 7;
	assert_int_equal(
		kat_hooks_on_stop(&hooks, KATAMARAN_CUTOVER, kat_deadline_ms(50), &err),
		7);
	stop_returns = -1;
	errno = 0;
	assert_int_equal(
		kat_hooks_on_stop(&hooks, KATAMARAN_CUTOVER, kat_deadline_ms(50), &err),
		-1);
	assert_string_equal(err->message, "cutover-b: on_stop failed");
	kat_error_free(&err);
	kat_hooks_cleanup(&hooks, 0, KATAMARAN_FAILED);
}

/* Once the guest has stopped those are called that wanted it, once. */
static void test_on_stop_comes_again(void **state)
{
	(void)state;
	kat_hooks_open(&hooks, NULL);
	diary[0] = '\0';
	stop_returns = KATAMARAN_WHEN_STOPPED;
	assert_int_equal(
		kat_hooks_on_stop(&hooks, KATAMARAN_CUTOVER, kat_deadline_ms(50), NULL),
		0);
	stop_returns = 0;
	kat_hooks_when_stopped(&hooks, kat_deadline_ms(50));
	kat_hooks_when_stopped(&hooks, kat_deadline_ms(50));
	assert_string_equal(diary, "b.on_stop b.on_stop ");
	/* One that was never done is told as well. */
	stop_returns = 7;
	kat_hooks_on_stop(&hooks, KATAMARAN_CUTOVER, kat_deadline_ms(50), NULL);
	assert_int_equal(migration.ledger.n_doubts, 0);
	stop_returns = -1;
	kat_hooks_when_stopped(&hooks, kat_deadline_ms(50));
	assert_string_equal(diary, "b.on_stop b.on_stop b.on_stop b.on_stop ");
	assert_int_equal(migration.ledger.n_doubts, 1);
	/* And one that is done is left alone. */
	stop_returns = 0;
	kat_hooks_on_stop(&hooks, KATAMARAN_CUTOVER, kat_deadline_ms(50), NULL);
	diary[0] = '\0';
	kat_hooks_when_stopped(&hooks, kat_deadline_ms(50));
	assert_string_equal(diary, "");
	kat_hooks_cleanup(&hooks, 0, KATAMARAN_FAILED);
}

static void test_rounds_come_when_due(void **state)
{
	int64_t next;

	(void)state;
	kat_hooks_open(&hooks, NULL);
	diary[0] = '\0';
	resume_returns = 20;
	next = kat_hooks_on_resume(&hooks);
	assert_true(next > kat_now_ns());
	assert_true(next <= kat_deadline_ms(20));
	/* Too early: nobody is called. */
	assert_int_equal(kat_hooks_on_resume(&hooks), next);
	assert_string_equal(diary, "b.resume0 a.resume0 c.resume0 ");
	while ((next = kat_hooks_on_resume(&hooks)))
		while (kat_now_ns() < next)
			;
	assert_non_null(strstr(diary, "c.resume2"));
	assert_null(strstr(diary, "resume3"));
	kat_hooks_cleanup(&hooks, 0, KATAMARAN_DONE);
}

static void test_events_reach_open_plugins(void **state)
{
	struct kat_qmp_event event = {.name = (char *)"STOP"};
	struct kat_error *err = NULL;

	(void)state;
	event.json = json_object_new_object();
	json_object_object_add(event.json, "event", json_object_new_string("STOP"));
	assert_int_equal(kat_hooks_event(&hooks, &event, &err), 0);
	assert_string_equal(diary, ""); /* none is open */
	kat_hooks_open(&hooks, NULL);
	diary[0] = '\0';
	assert_int_equal(kat_hooks_event(&hooks, &event, &err), 0);
	assert_string_equal(diary, "a.STOP b.STOP c.STOP ");
	event_returns = -1;
	assert_int_equal(kat_hooks_event(&hooks, &event, &err), -1);
	kat_error_free(&err);
	json_object_put(event.json);
	kat_hooks_cleanup(&hooks, 0, KATAMARAN_FAILED);
}

static void test_has_on_stop(void **state)
{
	(void)state;
	assert_true(kat_hooks_has_on_stop(&hooks, KATAMARAN_STORAGE));
	plugins[0].on_stop = NULL;
	assert_false(kat_hooks_has_on_stop(&hooks, KATAMARAN_STORAGE));
	plugins[0].on_stop = d_on_stop;
}

/* The newest first, also after one that fails; and what no plugin can undo. */
static void test_recover(void **state)
{
	struct kat_record records[] = {
		{0, (char *)"storage-a", (char *)"1"},
		{1, (char *)"cutover-b", (char *)"2"},
		{1, (char *)"cutover-b", (char *)"bad"},
		{1, (char *)"cutover-b", (char *)"4"},
	};
	struct kat_past past = {.records = records, .n_records = 4};
	struct kat_error *err = NULL;

	(void)state;
	assert_int_equal(kat_hooks_recover(&hooks, &past, KATAMARAN_CUTOVER, 1, &err),
			 -1);
	assert_string_equal(diary, "b.41 b.bad1 b.21 ");
	assert_string_equal(err->message, "cutover-b: no luck");
	kat_error_free(&err);
	diary[0] = '\0';
	records[2].text = (char *)"3";
	assert_int_equal(kat_hooks_recover(&hooks, &past, 0, 0, &err), 0);
	assert_string_equal(diary, "b.40 b.30 b.20 a.10 ");
	records[3].plugin = (char *)"cutover-other";
	assert_int_equal(kat_hooks_recover(&hooks, &past, 0, 0, &err), -1);
	assert_non_null(strstr(err->message, "cutover-other"));
	kat_error_free(&err);
}

int main(void)
{
#define WITH_HOOKS(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		WITH_HOOKS(test_sequence),
		WITH_HOOKS(test_failed_open_rolls_back),
		WITH_HOOKS(test_check_goes_on_after_a_failed_open),
		WITH_HOOKS(test_check_again),
		WITH_HOOKS(test_warnings_are_findings),
		WITH_HOOKS(test_cleanup_by_kind),
		WITH_HOOKS(test_on_stop_wants_more_time),
		WITH_HOOKS(test_on_stop_comes_again),
		WITH_HOOKS(test_rounds_come_when_due),
		WITH_HOOKS(test_events_reach_open_plugins),
		WITH_HOOKS(test_has_on_stop),
		WITH_HOOKS(test_recover),
	};

	kat_log_level(KAT_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
