/* SPDX-License-Identifier: BSD-2-Clause */
/* What is written into a journal is what is read out of it; and what is broken in one. */
#include <errno.h>
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

#include "journal.h"
#include "past.h"
#include "settings.h"
#include "util.h"

static char folder[64], run[80], path[128];
static struct kat_config config;
static struct kat_nic nics[1];
static struct kat_migration migration;
static struct kat_journal journal;

static int set_up(void **state)
{
	struct kat_plugin_config *plugin;
	struct kat_setting *setting;

	(void)state;
	strcpy(folder, "/tmp/kat-journal-XXXXXX");
	assert_non_null(mkdtemp(folder));
	snprintf(run, sizeof(run), "%s/run", folder);
	snprintf(path, sizeof(path), "%s/abc.journal", run);
	config = (struct kat_config){.role = KATAMARAN_SOURCE, .port = 4445};
	config.qmp = kat_strdup("/run/q \"x\"");
	config.dest_ip = kat_strdup("192.0.2.1");
	kat_config_add_nic(&config);
	config.nics[0].tap = kat_strdup("tap0");
	kat_key_set(kat_key_find("nics.ips"), &config.nics[0], "10.0.0.5", true, NULL);
	plugin = kat_config_add_plugin(&config, KATAMARAN_CUTOVER, "ipip",
				       kat_strdup("k.conf:1"));
	setting = kat_plugin_add_setting(plugin, "hold_s", kat_strdup("k.conf:2"));
	setting->type = KATAMARAN_INT;
	setting->integer = 7;
	setting = kat_plugin_add_setting(plugin, "devices", kat_strdup("k.conf:3"));
	setting->type = KATAMARAN_LIST;
	kat_setting_add_item(setting, "eth0");
	kat_setting_add_item(setting, "eth1");
	nics[0] = (struct kat_nic){.config = &config.nics[0],
				   .has_mac = true,
				   .mac = {0x52, 0x54, 0, 0x12, 0x34, 0x56}};
	migration = (struct kat_migration){.config = &config,
					   .nics = nics,
					   .id = "abc",
					   .qemu_pid = getpid(),
					   .vm_uuid = (char *)"1234",
					   .journal = &journal};
	return kat_journal_start(&journal, run, "abc", kat_past_first_line(&migration),
				 NULL);
}

static int tear_down(void **state)
{
	char command[128];

	(void)state;
	kat_journal_end(&journal, true);
	kat_config_free(&config);
	unlink(path);
	snprintf(command, sizeof(command), "%s/.abc.new", run);
	unlink(command);
	return rmdir(run) || rmdir(folder);
}

static int read_it(struct kat_past *past, struct kat_error **err)
{
	static int dir = -1;

	if (dir >= 0)
		close(dir);
	dir = kat_journal_folder(run, false);
	assert_true(dir >= 0);
	return kat_past_read(past, dir, "abc.journal", err);
}

static void append(const char *text)
{
	int fd = open(path, O_WRONLY | O_APPEND);

	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static void test_first_line(void **state)
{
	struct kat_past past;

	(void)state;
	assert_int_equal(read_it(&past, NULL), 1);
	assert_true(past.alive);
	assert_string_equal(past.id, "abc");
	assert_int_equal(past.pid, getpid());
	assert_int_equal(past.start, kat_process_start(getpid()));
	assert_true(past.start > 0);
	assert_int_equal(past.qemu_pid, getpid());
	assert_string_equal(past.vm_uuid, "1234");
	assert_null(past.vm_name);
	assert_int_equal(past.config.role, KATAMARAN_SOURCE);
	assert_string_equal(past.config.qmp, "/run/q \"x\"");
	assert_string_equal(past.config.dest_ip, "192.0.2.1");
	assert_int_equal(past.config.port, 4445);
	assert_int_equal(past.config.n_nics, 1);
	assert_string_equal(past.config.nics[0].tap, "tap0");
	assert_null(past.config.nics[0].netns);
	assert_true(past.config.nics[0].has_mac);
	assert_memory_equal(past.config.nics[0].mac, nics[0].mac, 6);
	assert_int_equal(past.config.nics[0].n_ips, 1);
	assert_string_equal(past.config.nics[0].ips[0], "10.0.0.5");
	assert_int_equal(past.config.n_plugins, 1);
	assert_string_equal(past.config.plugins[0].plugin, "ipip");
	assert_int_equal(past.config.plugins[0].settings[0].integer, 7);
	assert_string_equal(past.config.plugins[0].settings[1].items[1], "eth1");
	assert_false(past.migrate);
	kat_past_free(&past);
}

static void test_lines(void **state)
{
	static const char odd[] = "rule \"a\\b\" \t 10\nend";
	struct kat_past past;

	(void)state;
	assert_int_equal(kat_journal_phase(&journal, "preparing"), 0);
	assert_int_equal(kat_journal_record(&journal, "cutover-ipip", 3, "first"), 0);
	assert_int_equal(kat_journal_record(&journal, "cutover-ipip", 3, odd), 0);
	assert_int_equal(kat_journal_line(&journal,
					  "{\"qemu\":\"parameters\",\"before\":"
					  "{\"max-bandwidth\":%d}}",
					  5),
			 0);
	assert_int_equal(kat_journal_line(&journal, "{\"qemu\":\"migrate\"}"), 0);
	kat_journal_progress(&journal, 10, 40, "bytes", 2);
	kat_journal_progress(&journal, 20, 40, "bytes", 2); /* too soon */
	assert_int_equal(kat_journal_phase(&journal, "copying"), 0);
	assert_int_equal(read_it(&past, NULL), 1);
	assert_int_equal(past.n_records, 2);
	assert_string_equal(past.records[0].text, "first");
	assert_string_equal(past.records[1].text, odd);
	assert_string_equal(past.records[1].plugin, "cutover-ipip");
	assert_int_equal(past.records[1].step, 3);
	assert_int_equal(kat_json_int(past.parameters, "max-bandwidth", 0), 5);
	assert_true(past.migrate);
	assert_string_equal(past.phase, "copying");
	assert_int_equal(past.done, 10);
	assert_int_equal(past.total, 40);
	assert_int_equal(past.skipped, 0);
	kat_past_free(&past);
}

/* A kill in the midst of a line: it was not yet written, so nothing was done. */
static void test_torn(void **state)
{
	struct kat_past past;

	(void)state;
	kat_journal_record(&journal, "cutover-ipip", 0, "whole");
	append("{\"plugin\":\"cutover-ipip\",\"step\":0,\"record\":\"to");
	assert_int_equal(read_it(&past, NULL), 1);
	assert_int_equal(past.n_records, 1);
	assert_string_equal(past.records[0].text, "whole");
	assert_int_equal(past.skipped, 0);
	kat_past_free(&past);
}

static void test_unknown(void **state)
{
	struct kat_past past;

	(void)state;
	append("{\"from\":\"the future\"}\n{\"qemu\":\"something\"}\nno JSON\n");
	kat_journal_record(&journal, "cutover-ipip", 0, "after");
	assert_int_equal(read_it(&past, NULL), 1);
	assert_int_equal(past.skipped, 3);
	assert_int_equal(past.n_records, 1);
	kat_past_free(&past);
}

static void test_foreign(void **state)
{
	struct kat_error *err = NULL;
	struct kat_past past;
	int fd = open(path, O_WRONLY | O_TRUNC);

	(void)state;
	close(fd);
	append("{\"katamaran\":99,\"version\":\"9.9\",\"id\":\"abc\",\"qmp\":\"/q\"}\n");
	assert_int_equal(read_it(&past, &err), -1);
	assert_int_equal(err->exit_code, KAT_EXIT_HUMAN);
	assert_non_null(strstr(err->message, "9.9"));
	kat_error_free(&err);
}

/* The lock tells the living from the dead, and only one recovers. */
static void test_lock(void **state)
{
	struct kat_past past, other;

	(void)state;
	assert_int_equal(read_it(&past, NULL), 1);
	assert_false(kat_past_claim(&past));
	kat_past_free(&past);
	kat_journal_end(&journal, false); /* as a kill would */
	assert_int_equal(read_it(&past, NULL), 1);
	assert_false(past.alive);
	assert_true(kat_past_claim(&past));
	assert_int_equal(read_it(&other, NULL), 1);
	assert_true(other.alive);
	assert_false(kat_past_claim(&other));
	kat_past_free(&other);
	unlink(path);
	kat_past_free(&past);
	assert_int_equal(read_it(&past, NULL), 0);
}

static int count(int dir, const char *name, void *data)
{
	(void)dir;
	assert_string_equal(name, "abc.journal");
	++*(int *)data;
	return 0;
}

static void test_folder(void **state)
{
	struct kat_error *err = NULL;
	struct kat_journal more;
	struct stat st;
	int n = 0, dir;

	(void)state;
	assert_int_equal(stat(run, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	dir = kat_journal_folder(run, false);
	close(openat(dir, "kat-ipip.lock", O_CREAT | O_WRONLY, 0600));
	close(openat(dir, ".xyz.journal", O_CREAT | O_WRONLY, 0600));
	assert_int_equal(kat_past_each(dir, count, &n), 0);
	assert_int_equal(n, 1);
	unlinkat(dir, "kat-ipip.lock", 0);
	unlinkat(dir, ".xyz.journal", 0);
	close(dir);
	chmod(run, 0777);
	assert_int_equal(kat_journal_start(&more, run, "xyz",
					   kat_past_first_line(&migration), &err),
			 -1);
	assert_non_null(strstr(err->message, "others must not write"));
	kat_error_free(&err);
	assert_int_equal(kat_journal_phase(&more, "nothing is kept"), 0);
	chmod(run, 0700);
	kat_journal_end(&journal, true);
	assert_int_equal(access(path, F_OK), -1);
}

static void test_too_long(void **state)
{
	char text[KAT_JOURNAL_LINE];
	struct kat_past past;

	(void)state;
	memset(text, '"', sizeof(text)); /* two bytes each */
	text[KAT_JOURNAL_LINE / 2] = '\0';
	assert_int_equal(kat_journal_record(&journal, "p", 0, text), -1);
	assert_int_equal(errno, E2BIG);
	text[KAT_JOURNAL_LINE / 2 - 64] = '\0';
	assert_int_equal(kat_journal_record(&journal, "p", 0, text), 0);
	assert_int_equal(read_it(&past, NULL), 1);
	assert_int_equal(past.n_records, 1);
	assert_string_equal(past.records[0].text, text);
	kat_past_free(&past);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_first_line, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_lines, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_torn, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_unknown, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_foreign, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_lock, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_folder, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_too_long, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
