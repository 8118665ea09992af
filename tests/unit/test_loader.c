/* SPDX-License-Identifier: BSD-2-Clause */
/* The loader with real shared objects: those of tests/abi, found under KAT_TEST_PLUGINS.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "api.h"
#include "loader.h"
#include "util.h"

/* The layout that plugins were built against: on LP64 it never changes. */
#if defined __LP64__
_Static_assert(offsetof(struct katamaran_plugin, name) == 8, "name");
_Static_assert(offsetof(struct katamaran_plugin, kind) == 16, "kind");
_Static_assert(offsetof(struct katamaran_plugin, roles) == 20, "roles");
_Static_assert(offsetof(struct katamaran_plugin, version) == 24, "version");
_Static_assert(offsetof(struct katamaran_plugin, description) == 32, "description");
_Static_assert(offsetof(struct katamaran_plugin, options) == 40, "options");
_Static_assert(offsetof(struct katamaran_plugin, open) == 48, "open");
_Static_assert(offsetof(struct katamaran_plugin, pre_copy) == 56, "pre_copy");
_Static_assert(offsetof(struct katamaran_plugin, on_stop) == 64, "on_stop");
_Static_assert(offsetof(struct katamaran_plugin, on_resume) == 72, "on_resume");
_Static_assert(offsetof(struct katamaran_plugin, cleanup) == 80, "cleanup");
_Static_assert(offsetof(struct katamaran_plugin, dump) == 88, "dump");
_Static_assert(offsetof(struct katamaran_plugin, on_event) == 96, "on_event");
_Static_assert(sizeof(struct katamaran_option) == 48, "option");
#endif

static char dir[] = "/tmp/kat-loader-XXXXXX";

static void copy_plugin(const char *name)
{
	char command[512];

	/* install(1) gives the mode, whatever the umask of the build. */
	snprintf(command, sizeof(command), "install -m 644 '%s/cutover-%s.so' %s",
		 KAT_TEST_PLUGINS, name, dir);
	assert_int_equal(system(command), 0);
}

static int set_up(void **state)
{
	(void)state;
	if (!mkdtemp(dir))
		return -1;
	copy_plugin("good");
	copy_plugin("future");
	copy_plugin("short");
	copy_plugin("long");
	copy_plugin("stranger");
	return 0;
}

static int tear_down(void **state)
{
	char command[64];

	(void)state;
	snprintf(command, sizeof(command), "rm -r %s", dir);
	return system(command);
}

static void refused(uint32_t kind, const char *name, const char *part)
{
	struct kat_error *err = NULL;

	assert_null(kat_loader_load(dir, kind, name, NULL, &err));
	assert_non_null(err);
	assert_int_equal(err->exit_code, KAT_EXIT_USAGE);
	if (!strstr(err->message, part))
		fail_msg("\"%s\" lacks \"%s\"", err->message, part);
	kat_error_free(&err);
}

static void test_names(void **state)
{
	const char *const names[] = {"good", "cutover-good"};
	struct kat_error *err = NULL;
	char path[128];

	(void)state;
	for (size_t i = 0; i < KAT_ARRAY_SIZE(names); i++) {
		const struct katamaran_plugin *plugin =
			kat_loader_load(dir, KATAMARAN_CUTOVER, names[i], NULL, &err);

		assert_non_null(plugin);
		assert_string_equal(plugin->name, "good");
		/* No kind told: found under any. */
		assert_non_null(kat_loader_load(dir, 0, names[i], NULL, &err));
	}
	snprintf(path, sizeof(path), "%s/cutover-good.so", dir);
	assert_non_null(kat_loader_load("/nowhere", KATAMARAN_CUTOVER, path, NULL, &err));
}

static void test_refusals(void **state)
{
	char path[128];

	(void)state;
	refused(KATAMARAN_CUTOVER, "absent", "cutover-absent.so does not exist");
	refused(KATAMARAN_CUTOVER, "future", "API version 2");
	refused(KATAMARAN_CUTOVER, "short", "24 bytes");
	refused(KATAMARAN_CUTOVER, "stranger", "KATAMARAN_REGISTER_PLUGIN");
	snprintf(path, sizeof(path), "%s/cutover-good.so", dir);
	refused(KATAMARAN_STORAGE, path, "is of kind cutover, not storage");
}

static void test_grown_struct_loads(void **state)
{
	struct kat_error *err = NULL;
	const struct katamaran_plugin *plugin;

	(void)state;
	plugin = kat_loader_load(dir, KATAMARAN_CUTOVER, "long", NULL, &err);
	assert_non_null(plugin);
	assert_true(plugin->_struct_size > sizeof(*plugin));
	assert_null(plugin->on_event);
}

/* Who may write the file or its folder may run code as us. */
static void test_others_may_not_write(void **state)
{
	char path[128];
	struct kat_error *err = NULL;

	(void)state;
	snprintf(path, sizeof(path), "%s/cutover-good.so", dir);
	chmod(path, 0666);
	refused(KATAMARAN_CUTOVER, "good", "others may write it (mode 0666");
	chmod(path, 0644);
	chmod(dir, 0777);
	refused(KATAMARAN_CUTOVER, "good", "others may write it (mode 0777");
	chmod(dir, 0755);
	assert_non_null(kat_loader_load(dir, KATAMARAN_CUTOVER, "good", NULL, &err));
}

/* The frozen plugin through its hooks: the symbols that it uses are all there. */
static void test_frozen_plugin_runs(void **state)
{
	struct kat_value values[4] = {{.string = "x"}, {.integer = 7}, {0}, {0}};
	struct kat_config config = {.role = KATAMARAN_SOURCE};
	struct kat_migration migration = {.config = &config, .qemu_pidfd = -1};
	struct kat_step step = {.name = "cutover-good", .values = values, .n_values = 4};
	struct katamaran_ctx ctx = {.migration = &migration, .step = &step};
	void *handle = NULL;

	(void)state;
	step.plugin = kat_loader_load(dir, KATAMARAN_CUTOVER, "good", NULL, NULL);
	assert_non_null(step.plugin);
	for (size_t i = 0; i < 4; i++)
		values[i].option = &step.plugin->options[i];
	kat_ledger_init(&migration.ledger, 1);
	ctx.deadline_ns = kat_deadline_ms(1000);
	assert_int_equal(step.plugin->open(&ctx, &handle), 0);
	assert_int_equal(step.plugin->pre_copy(&ctx, handle), -1); /* there is no QEMU */
	assert_non_null(strstr(ctx.error, "QMP connection has gone"));
	assert_int_equal(step.plugin->on_stop(&ctx, handle), 0);
	assert_int_equal(step.plugin->on_resume(&ctx, handle, 0), 1);
	step.plugin->cleanup(&ctx, handle, KATAMARAN_DONE);
	assert_int_equal(migration.ledger.counts[0][KATAMARAN_REDIRECTED], 1);
	assert_int_equal(migration.ledger.n_doubts, 1);
	kat_ledger_free(&migration.ledger);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_grown_struct_loads),
		cmocka_unit_test(test_others_may_not_write),
		cmocka_unit_test(test_frozen_plugin_runs),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
