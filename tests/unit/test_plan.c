/* SPDX-License-Identifier: BSD-2-Clause */
/* Plugins' options against their tables: every error names place, key and what is
 * allowed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "plan.h"

static const struct katamaran_option options[] = {
	{.name = "path",
	 .type = KATAMARAN_STRING,
	 .flags = KATAMARAN_REQUIRED,
	 .help = "where"},
	{.name = "rounds", .type = KATAMARAN_INT, .dflt = "5", .min = 1, .max = 10},
	{.name = "loud", .type = KATAMARAN_BOOL, .dflt = "true"},
	{.name = "drives", .type = KATAMARAN_LIST, .dflt = "a,b"},
	{.name = NULL},
};

static struct katamaran_plugin storage = {
	.name = "disk", .kind = KATAMARAN_STORAGE, .roles = 3, .options = options};
static struct katamaran_plugin announce = {
	.name = "tell", .kind = KATAMARAN_ANNOUNCE, .roles = KATAMARAN_DESTINATION};

static const struct katamaran_plugin *load(const char *dir, uint32_t kind,
					   const char *name, char **path,
					   struct kat_error **err)
{
	(void)dir;
	(void)path;
	if (!strcmp(name, "absent")) {
		kat_error_set(err, KAT_EXIT_USAGE, "no plugin \"%s\"", name);
		return NULL;
	}
	return kind == KATAMARAN_STORAGE ? &storage : &announce;
}

static struct kat_setting path_setting = {.name = (char *)"path",
					  .where = (char *)"f.conf:3",
					  .type = KATAMARAN_STRING,
					  .string = (char *)"/x"};

/* Makes a plan of one storage plugin with "path" and, if given, another setting. */
static int make(struct kat_plan *plan, struct kat_setting *more, struct kat_error **err)
{
	static struct kat_setting settings[2];
	static struct kat_plugin_config entry;
	struct kat_config config = {
		.role = KATAMARAN_SOURCE, .plugins = &entry, .n_plugins = 1};

	settings[0] = path_setting;
	if (more)
		settings[1] = *more;
	entry = (struct kat_plugin_config){.kind = KATAMARAN_STORAGE,
					   .plugin = (char *)"disk",
					   .where = (char *)"f.conf:2",
					   .settings = settings,
					   .n_settings = more ? 2 : 1};
	return kat_plan_make(plan, &config, load, err);
}

static void fails_with(struct kat_setting *more, const char *const *parts)
{
	struct kat_error *err = NULL;
	struct kat_plan plan;

	assert_int_equal(make(&plan, more, &err), -1);
	assert_int_equal(err->exit_code, KAT_EXIT_USAGE);
	for (; *parts; parts++)
		if (!strstr(err->message, *parts))
			fail_msg("\"%s\" lacks \"%s\"", err->message, *parts);
	kat_error_free(&err);
	kat_plan_free(&plan);
}

static void test_defaults(void **state)
{
	struct kat_error *err = NULL;
	const struct kat_value *drives;
	struct kat_plan plan;

	(void)state;
	assert_int_equal(make(&plan, NULL, &err), 0);
	assert_int_equal(plan.n_steps, 1);
	assert_string_equal(plan.steps[0].name, "storage-disk");
	assert_string_equal(
		kat_plan_value(&plan.steps[0], "path", KATAMARAN_STRING)->string, "/x");
	assert_int_equal(kat_plan_value(&plan.steps[0], "rounds", KATAMARAN_INT)->integer,
			 5);
	assert_int_equal(kat_plan_value(&plan.steps[0], "loud", KATAMARAN_BOOL)->integer,
			 1);
	drives = kat_plan_value(&plan.steps[0], "drives", KATAMARAN_LIST);
	assert_int_equal(drives->n_items, 2);
	assert_string_equal(drives->items[0], "a");
	assert_string_equal(drives->items[1], "b");
	assert_null(drives->items[2]);
	/* Asked for with another type, or unknown: nothing. */
	assert_null(kat_plan_value(&plan.steps[0], "rounds", KATAMARAN_STRING));
	assert_null(kat_plan_value(&plan.steps[0], "nothing", KATAMARAN_INT));
	kat_plan_free(&plan);
}

static void test_settings_win(void **state)
{
	char *items[] = {(char *)"vda", NULL};
	struct kat_setting rounds = {.name = (char *)"rounds",
				     .where = (char *)"f.conf:4",
				     .type = KATAMARAN_INT,
				     .integer = 10};
	struct kat_setting drives = {.name = (char *)"drives",
				     .where = (char *)"f.conf:5",
				     .type = KATAMARAN_LIST,
				     .items = items,
				     .n_items = 1};
	struct kat_error *err = NULL;
	struct kat_plan plan;

	(void)state;
	assert_int_equal(make(&plan, &rounds, &err), 0);
	assert_int_equal(kat_plan_value(&plan.steps[0], "rounds", KATAMARAN_INT)->integer,
			 10);
	kat_plan_free(&plan);
	assert_int_equal(make(&plan, &drives, &err), 0);
	assert_int_equal(
		kat_plan_value(&plan.steps[0], "drives", KATAMARAN_LIST)->n_items, 1);
	kat_plan_free(&plan);
}

static void test_bad_settings(void **state)
{
	struct kat_setting range = {.name = (char *)"rounds",
				    .where = (char *)"f.conf:4",
				    .type = KATAMARAN_INT,
				    .integer = 11};
	struct kat_setting type = {.name = (char *)"loud",
				   .where = (char *)"f.conf:5",
				   .type = KATAMARAN_STRING,
				   .string = (char *)"yes"};
	struct kat_setting unknown = {.name = (char *)"round",
				      .where = (char *)"f.conf:6",
				      .type = KATAMARAN_INT,
				      .integer = 1};

	(void)state;
	fails_with(&range, (const char *[]){"f.conf:4", "rounds = 11", "1 to 10", NULL});
	fails_with(&type, (const char *[]){"f.conf:5", "loud", "true or false", NULL});
	fails_with(&unknown, (const char *[]){"f.conf:6", "\"round\"",
					      "path, rounds, loud, drives", NULL});
}

static void test_required(void **state)
{
	struct kat_setting saved = path_setting;

	(void)state;
	path_setting = (struct kat_setting){.name = (char *)"loud",
					    .where = (char *)"f.conf:3",
					    .type = KATAMARAN_BOOL};
	fails_with(NULL,
		   (const char *[]){"f.conf:2", "needs", "\"path\"", "where", NULL});
	path_setting = saved;
}

/* Order by kind whatever the file's order; a plugin without a part here is left out. */
static void test_order_and_roles(void **state)
{
	struct kat_plugin_config entries[] = {
		{.kind = KATAMARAN_ANNOUNCE,
		 .plugin = (char *)"tell",
		 .where = (char *)"f:1"},
		{.kind = KATAMARAN_STORAGE,
		 .plugin = (char *)"disk",
		 .where = (char *)"f:2",
		 .settings = &path_setting,
		 .n_settings = 1},
	};
	struct kat_config config = {
		.role = KATAMARAN_DESTINATION, .plugins = entries, .n_plugins = 2};
	struct kat_error *err = NULL;
	struct kat_plan plan;

	(void)state;
	assert_int_equal(kat_plan_make(&plan, &config, load, &err), 0);
	assert_int_equal(plan.n_steps, 2);
	assert_string_equal(plan.steps[0].name, "storage-disk");
	assert_string_equal(plan.steps[1].name, "announce-tell");
	kat_plan_free(&plan);
	config.role = KATAMARAN_SOURCE;
	assert_int_equal(kat_plan_make(&plan, &config, load, &err), 0);
	assert_int_equal(plan.n_steps, 1);
	kat_plan_free(&plan);
	entries[0].plugin = (char *)"absent";
	assert_int_equal(kat_plan_make(&plan, &config, load, &err), -1);
	assert_non_null(strstr(err->message, "f:1"));
	kat_error_free(&err);
	kat_plan_free(&plan);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_settings_win),
		cmocka_unit_test(test_bad_settings),
		cmocka_unit_test(test_required),
		cmocka_unit_test(test_order_and_roles),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
