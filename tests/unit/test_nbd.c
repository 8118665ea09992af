/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What storage-nbd tells QEMU, and what it makes of QEMU's answers.  The program
 * is not here: its functions are played by this file, its QEMU by canned replies.
 */
#define KATAMARAN_API_VERSION 1
#include "katamaran-plugin.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <json-c/json_object.h>

#include "plugins/lib/drives.h"
#include "plugins/lib/nbd.h"
#include "plugins/lib/nbd_probe.h"
#include "plugins/lib/nbd_socket.h"
#include "plugins/lib/nbd_source.h"

/* ---- the program, as far as the plugin asks it ---- */

static const char *query_block;
static const char *const *drives_option;
static size_t n_drives_option;
static char error[512], logged[2048];

void katamaran_error(struct katamaran_ctx *ctx, const char *fmt, ...)
{
	va_list ap;

	(void)ctx;
	va_start(ap, fmt);
	vsnprintf(error, sizeof(error), fmt, ap);
	va_end(ap);
}

void katamaran_log(struct katamaran_ctx *ctx, int level, const char *fmt, ...)
{
	size_t used = strlen(logged);
	va_list ap;

	(void)ctx;
	(void)level;
	va_start(ap, fmt);
	vsnprintf(logged + used, sizeof(logged) - used, fmt, ap);
	va_end(ap);
}

const char *katamaran_migration_id(struct katamaran_ctx *ctx)
{
	(void)ctx;
	return "abcd1234";
}

int katamaran_qemu_pidfd(struct katamaran_ctx *ctx)
{
	(void)ctx;
	return -1;
}

size_t katamaran_conf_list(struct katamaran_ctx *ctx, const char *name,
			   const char *const **items)
{
	(void)ctx;
	assert_string_equal(name, "drives");
	*items = drives_option;
	return n_drives_option;
}

/* A copy that does not end, of a QEMU that takes its time; -1 when that is over. */
static bool copying;
static int ms_left, ms_node, ms_look; /* left; for the node, for a look at the job */

static int answer_copy(const char *command, const char **reply)
{
	if (!strcmp(command, "blockdev-add"))
		ms_left -= ms_node;
	if (!strcmp(command, "query-block-jobs"))
		ms_left -= ms_look;
	if (ms_left <= 0) {
		ms_left = 0;
		errno = ETIMEDOUT;
		return -1;
	}
	if (!reply)
		return 0;
	*reply = "[]";
	if (!strcmp(command, "query-named-block-nodes"))
		*reply = "[{\"node-name\": \"kat-nbd-x-0\", \"image\": "
			 "{\"virtual-size\": 8}}]";
	if (!strcmp(command, "query-block-jobs"))
		*reply = "[{\"device\": \"kat-nbd-x-0\", \"status\": \"running\", "
			 "\"ready\": false, \"offset\": 4, \"len\": 8}]";
	return 0;
}

int katamaran_qmp(struct katamaran_ctx *ctx, const char *command, const char *arguments,
		  const char **reply)
{
	(void)ctx;
	(void)arguments;
	if (copying)
		return answer_copy(command, reply);
	assert_string_equal(command, "query-block");
	*reply = query_block;
	return 0;
}

int katamaran_qmp_event(struct katamaran_ctx *ctx, const char *event, const char *member,
			const char *value, const char **json)
{
	(void)ctx;
	(void)event;
	(void)member;
	(void)value;
	(void)json;
	return -1;
}

int katamaran_ms_left(struct katamaran_ctx *ctx)
{
	(void)ctx;
	return ms_left;
}

int64_t katamaran_conf_int(struct katamaran_ctx *ctx, const char *name)
{
	(void)ctx;
	if (!strcmp(name, "port"))
		return 10809;
	return !strcmp(name, "job_appear_s") ? 30 : 0;
}

const char *katamaran_conf_string(struct katamaran_ctx *ctx, const char *name)
{
	(void)ctx;
	(void)name;
	return "";
}

const char *katamaran_learn(struct katamaran_ctx *ctx, const char *key)
{
	(void)ctx;
	(void)key;
	return NULL;
}

const char *katamaran_peer(struct katamaran_ctx *ctx)
{
	(void)ctx;
	return "192.0.2.2";
}

int katamaran_journal(struct katamaran_ctx *ctx, const char *fmt, ...)
{
	(void)ctx;
	(void)fmt;
	return 0;
}

void katamaran_progress(struct katamaran_ctx *ctx, uint64_t done, uint64_t total,
			const char *unit)
{
	(void)ctx;
	(void)done;
	(void)total;
	(void)unit;
}

int kat_nbd_probe(struct katamaran_ctx *ctx, const char *host, int port)
{
	(void)ctx;
	(void)host;
	(void)port;
	return 0;
}

int kat_nbd_limit_silence(struct katamaran_ctx *ctx, const char *host, int port,
			  int seconds)
{
	(void)ctx;
	(void)host;
	(void)port;
	(void)seconds;
	return 0;
}

/* ---- which drives ---- */

/* As QEMU 7.2 answers, shortened: -drive, pflash, -blockdev, an empty CD, an image. */
static const char guest[] =
	"[{\"device\": \"drive-virtio-disk0\", \"qdev\": "
	"\"/machine/peripheral/virtio-disk0/virtio-backend\", \"inserted\": {\"ro\": "
	"false, "
	"\"node-name\": \"#block286\", \"drv\": \"raw\", \"file\": \"a.img\", \"image\": "
	"{\"virtual-size\": 16777216}, \"cache\": {\"direct\": true}}},"
	"{\"device\": \"pflash0\", \"qdev\": \"/machine/system.flash0\", \"inserted\": "
	"{\"ro\": false, \"node-name\": \"#block454\", \"drv\": \"raw\", \"file\": "
	"\"flash.fd\", \"image\": {\"virtual-size\": 4194304}}},"
	"{\"device\": \"\", \"qdev\": \"/machine/peripheral/data/virtio-backend\", "
	"\"inserted\": {\"ro\": false, \"node-name\": \"n1\", \"drv\": \"qcow2\", "
	"\"file\": "
	"\"b.img\", \"image\": {\"virtual-size\": 33554432}}},"
	"{\"device\": \"cd0\", \"qdev\": \"cd0\", \"removable\": true},"
	"{\"device\": \"rootfs\", \"inserted\": {\"ro\": true, \"node-name\": \"n2\", "
	"\"drv\": \"raw\", \"file\": \"/usr/share/kata.img\", \"image\": "
	"{\"virtual-size\": "
	"8}}}]";

static int find(struct kat_nbd *nbd, size_t n, const char *const *names)
{
	memset(nbd, 0, sizeof(*nbd));
	error[0] = logged[0] = '\0';
	query_block = guest;
	drives_option = names;
	n_drives_option = n;
	return kat_nbd_find(NULL, nbd);
}

static void test_finds_all_writable(void **state)
{
	struct kat_nbd nbd;

	(void)state;
	assert_int_equal(find(&nbd, 0, NULL), 0);
	assert_int_equal(nbd.n, 2);
	assert_string_equal(nbd.drives[0].name, "drive-virtio-disk0");
	assert_string_equal(nbd.drives[0].device, "drive-virtio-disk0");
	assert_string_equal(nbd.drives[0].node, "#block286");
	assert_string_equal(nbd.drives[0].id, "kat-nbd-abcd1234-0");
	assert_int_equal(nbd.drives[0].size, 16777216);
	assert_string_equal(nbd.drives[1].name, "data");
	assert_string_equal(nbd.drives[1].device, "n1");
	kat_nbd_free(&nbd);
}

static void test_finds_by_every_name(void **state)
{
	static const char *const names[] = {"drive-virtio-disk0",
					    "virtio-disk0",
					    "#block286",
					    "data",
					    "n1",
					    "/machine/peripheral/data/virtio-backend",
					    "pflash0"};
	struct kat_nbd nbd;

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		assert_int_equal(find(&nbd, 1, &names[i]), 0);
		assert_int_equal(nbd.n, 1);
		assert_string_equal(nbd.drives[0].name, names[i]);
		kat_nbd_free(&nbd);
	}
}

static void test_keeps_the_order_of_names(void **state)
{
	static const char *const names[] = {"n1", "drive-virtio-disk0"};
	struct kat_nbd nbd;

	(void)state;
	assert_int_equal(find(&nbd, 2, names), 0);
	assert_string_equal(nbd.drives[0].node, "n1");
	assert_string_equal(nbd.drives[0].id, "kat-nbd-abcd1234-0");
	assert_string_equal(nbd.drives[1].node, "#block286");
	kat_nbd_free(&nbd);
}

static void refuses(const char *first, const char *second, const char *why)
{
	const char *const names[] = {first, second};
	struct kat_nbd nbd;

	assert_int_equal(find(&nbd, second ? 2 : 1, names), -1);
	assert_string_equal(error, why);
	kat_nbd_free(&nbd);
}

static void test_refuses_names(void **state)
{
	(void)state;
	refuses("disk7", NULL,
		"this QEMU has no drive disk7 with a medium; it has: drive-virtio-disk0, "
		"pflash0, data, rootfs (read-only)");
	refuses("cd0", NULL,
		"this QEMU has no drive cd0 with a medium; it has: drive-virtio-disk0, "
		"pflash0, data, rootfs (read-only)");
	refuses("virtio-dis", NULL,
		"this QEMU has no drive virtio-dis with a medium; it has: "
		"drive-virtio-disk0, pflash0, data, rootfs (read-only)");
	refuses("rootfs", NULL,
		"drive rootfs is read-only: nothing in it changes, and the destination "
		"must "
		"have its contents already");
	refuses("data", "n1", "data and n1 are the same drive");
	refuses("data", "data", "data and data are the same drive");
}

static void test_refuses_what_is_no_list(void **state)
{
	struct kat_nbd nbd = {0};

	(void)state;
	query_block = "{}";
	n_drives_option = 0;
	assert_int_equal(kat_nbd_find(NULL, &nbd), -1);
	assert_string_equal(error, "query-block: QEMU's answer is not a list");
	kat_nbd_free(&nbd);
}

/* ---- what QEMU is told ---- */

static void is_json(struct json_object *args, const char *expected)
{
	assert_string_equal(
		json_object_to_json_string_ext(
			args, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE),
		expected);
	json_object_put(args);
}

static void test_arguments(void **state)
{
	char name[] = "disk0", node[] = "#block1", host[] = "2001:db8::1";
	struct kat_nbd_drive drive = {
		.name = name, .device = name, .node = node, .id = "kat-nbd-x-0"};
	struct kat_nbd nbd = {.n = 1, .drives = &drive, .host = host, .port = 10809};
	struct json_object *args;

	(void)state;
	is_json(kat_nbd_args_server("", 10809, ""),
		"{\"addr\":{\"type\":\"inet\",\"data\":{\"host\":\"\",\"port\":"
		"\"10809\"}}}");
	is_json(kat_nbd_args_server("192.0.2.1", 1, "tls0"),
		"{\"addr\":{\"type\":\"inet\",\"data\":{\"host\":\"192.0.2.1\",\"port\":"
		"\"1\"}},"
		"\"tls-creds\":\"tls0\"}");
	is_json(kat_nbd_args_export(&drive),
		"{\"type\":\"nbd\",\"id\":\"kat-nbd-x-0\",\"node-name\":\"#block1\","
		"\"name\":\"disk0\",\"writable\":true}");
	is_json(kat_nbd_args_node(&nbd, &drive, NULL),
		"{\"driver\":\"nbd\",\"server\":{\"type\":\"inet\",\"host\":\"2001:db8::"
		"1\","
		"\"port\":\"10809\"},\"export\":\"disk0\",\"node-name\":\"kat-nbd-x-0\","
		"\"reconnect-delay\":0}");
	is_json(kat_nbd_args_mirror(&drive),
		"{\"job-id\":\"kat-nbd-x-0\",\"device\":\"disk0\",\"target\":\"kat-nbd-x-"
		"0\","
		"\"sync\":\"full\",\"copy-mode\":\"write-blocking\","
		"\"on-source-error\":\"stop\",\"on-target-error\":\"stop\","
		"\"auto-finalize\":true,\"auto-dismiss\":false}");
	is_json(kat_nbd_args_blocking(&drive),
		"{\"id\":\"kat-nbd-x-0\",\"type\":\"mirror\",\"copy-mode\":\"write-"
		"blocking\"}");
	is_json(kat_nbd_args_yank(&drive), "{\"instances\":[{\"type\":\"block-node\","
					   "\"node-name\":\"kat-nbd-x-0\"}]}");
	drive.background = true;
	args = kat_nbd_args_mirror(&drive);
	assert_non_null(strstr(json_object_to_json_string(args), "\"background\""));
	json_object_put(args);
}

static void test_where(void **state)
{
	char *text;

	(void)state;
	text = kat_nbd_where("192.0.2.1", 10809);
	assert_string_equal(text, "192.0.2.1:10809");
	kat_nbd_free_text(&text);
	text = kat_nbd_where("2001:db8::1", 1);
	assert_string_equal(text, "[2001:db8::1]:1");
	kat_nbd_free_text(&text);
	assert_null(text);
	assert_true(kat_nbd_is_wildcard("") && kat_nbd_is_wildcard("::") &&
		    kat_nbd_is_wildcard("0.0.0.0"));
	assert_false(kat_nbd_is_wildcard("::1"));
}

/* ---- what QEMU answers ---- */

static void test_node_size(void **state)
{
	uint64_t size = 0;

	(void)state;
	assert_true(
		kat_nbd_node_size("[{\"node-name\": \"a\", \"image\": {\"virtual-size\": "
				  "1}}, {\"node-name\": \"b\", \"image\": "
				  "{\"virtual-size\": 5497558138880}}]",
				  "b", &size));
	assert_true(size == 5497558138880);
	assert_false(kat_nbd_node_size("[{\"node-name\": \"a\"}]", "a", &size));
	assert_false(kat_nbd_node_size("[]", "a", &size));
	assert_false(kat_nbd_node_size("{", "a", &size));
}

static void test_check_size(void **state)
{
	char name[] = "disk0";
	struct kat_nbd_drive drive = {.name = name, .size = 1024};

	(void)state;
	error[0] = logged[0] = '\0';
	assert_int_equal(kat_nbd_check_size(NULL, &drive, 1024), 0);
	assert_string_equal(logged, "");
	assert_int_equal(kat_nbd_check_size(NULL, &drive, 2048), 0);
	assert_string_equal(logged,
			    "drive disk0 has 1024 bytes, and the destination's 2048: "
			    "the guest may see it grow");
	assert_int_equal(kat_nbd_check_size(NULL, &drive, 1023), -1);
	assert_string_equal(
		error, "drive disk0 has 1024 bytes, and the destination's only 1023: "
		       "make that one at least as large");
}

static void test_reads_jobs(void **state)
{
	static const char reply[] =
		"[{\"device\": \"other\", \"len\": 1, \"offset\": 1, \"ready\": true, "
		"\"status\": \"ready\"}, {\"device\": \"kat-nbd-x-0\", \"len\": "
		"67108864, "
		"\"offset\": 1048576, \"ready\": false, \"status\": \"running\", "
		"\"auto-dismiss\": false}, {\"device\": \"kat-nbd-x-1\", \"len\": 2, "
		"\"offset\": 1, \"ready\": false, \"status\": \"concluded\", \"error\": "
		"\"No "
		"space left on device\"}, {\"device\": \"kat-nbd-x-2\", \"len\": 2, "
		"\"offset\": 2, \"ready\": true, \"status\": \"ready\", "
		"\"actively-synced\": true, \"io-status\": \"ok\"}, {\"device\": "
		"\"kat-nbd-x-4\", \"status\": \"paused\", \"io-status\": \"failed\"}, "
		"{\"device\": \"kat-nbd-x-5\", \"status\": \"paused\", \"io-status\": "
		"\"nospace\"}]";
	struct kat_nbd_job job;

	(void)state;
	kat_nbd_read_job(reply, "kat-nbd-x-0", &job);
	assert_true(job.found && !job.ready && !job.synced);
	assert_true(job.done == 1048576 && job.total == 67108864);
	assert_string_equal(job.status, "running");
	assert_string_equal(job.error, "");
	kat_nbd_read_job(reply, "kat-nbd-x-1", &job);
	assert_string_equal(job.status, "concluded");
	assert_string_equal(job.error, "No space left on device");
	kat_nbd_read_job(reply, "kat-nbd-x-2", &job);
	assert_true(job.ready && job.synced && !job.failed);
	kat_nbd_read_job(reply, "kat-nbd-x-4", &job);
	assert_true(job.failed);
	assert_string_equal(job.error, "Input/output error");
	kat_nbd_read_job(reply, "kat-nbd-x-5", &job);
	assert_true(job.failed);
	assert_string_equal(job.error, "No space left on device");
	kat_nbd_read_job(reply, "kat-nbd-x-3", &job);
	assert_false(job.found);
	kat_nbd_read_job("[]", "kat-nbd-x-0", &job);
	assert_false(job.found);
}

static int judge(struct kat_nbd *nbd, const char *event, const char *data)
{
	char json[256];

	error[0] = '\0';
	snprintf(json, sizeof(json), "{\"event\": \"%s\", \"data\": %s}", event, data);
	return kat_nbd_judge_event(NULL, nbd, event, json);
}

static void test_judges_events(void **state)
{
	char name[] = "disk0";
	struct kat_nbd_drive drive = {.name = name, .id = "kat-nbd-x-0", .mirrors = true};
	struct kat_nbd nbd = {.n = 1, .drives = &drive};
	static const char ours[] = "{\"device\": \"kat-nbd-x-0\"}";

	(void)state;
	assert_int_equal(judge(&nbd, "STOP", "{}"), 0);
	assert_int_equal(judge(&nbd, "BLOCK_JOB_READY", ours), 0);
	assert_int_equal(judge(&nbd, "BLOCK_JOB_COMPLETED", "{\"device\": \"other\"}"),
			 0);
	assert_int_equal(judge(&nbd, "BLOCK_JOB_CANCELLED", ours), -1);
	assert_string_equal(error,
			    "drive-mirror failed: the mirror of drive disk0 has ended: "
			    "somebody cancelled it");
	assert_int_equal(
		judge(&nbd, "BLOCK_JOB_COMPLETED",
		      "{\"device\": \"kat-nbd-x-0\", \"error\": \"No space left on "
		      "device\"}"),
		-1);
	assert_string_equal(error,
			    "drive-mirror failed: the mirror of drive disk0 has ended: "
			    "No space left on device");
	assert_int_equal(judge(&nbd, "BLOCK_JOB_ERROR",
			       "{\"device\": \"kat-nbd-x-0\", \"operation\": \"write\"}"),
			 -1);
	assert_non_null(strstr(error, "drive disk0: write error: the connection"));
	drive.mirrors = false; /* its end was asked for */
	assert_int_equal(judge(&nbd, "BLOCK_JOB_COMPLETED", ours), 0);
}

/* ---- a copy that takes too long ---- */

static void runs_out(int node, int look)
{
	char name[] = "disk0";
	struct kat_nbd_drive drive = {.name = name,
				      .device = name,
				      .node = name,
				      .id = "kat-nbd-x-0",
				      .size = 8};
	struct kat_nbd nbd = {.n = 1, .drives = &drive};

	copying = true;
	ms_left = 3000;
	ms_node = node;
	ms_look = look;
	assert_int_equal(kat_nbd_start(NULL, &nbd), -1);
	copying = false;
	free(nbd.host);
}

/* Not what was left of it when the copy began. */
static void test_names_the_limit_that_is_set(void **state)
{
	static const char text[] = "storage sync for job kat-nbd-x-0 (drive disk0) did "
				   "not complete within 3 s (storage_sync_s): ";

	(void)state;
	runs_out(1500, 1200); /* no time for another look */
	assert_non_null(strstr(error, text));
	assert_non_null(strstr(error, "50.0%"));
	runs_out(1500, 1500); /* QEMU did not answer in what was left */
	assert_non_null(strstr(error, text));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_finds_all_writable),
		cmocka_unit_test(test_finds_by_every_name),
		cmocka_unit_test(test_keeps_the_order_of_names),
		cmocka_unit_test(test_refuses_names),
		cmocka_unit_test(test_refuses_what_is_no_list),
		cmocka_unit_test(test_arguments),
		cmocka_unit_test(test_where),
		cmocka_unit_test(test_node_size),
		cmocka_unit_test(test_check_size),
		cmocka_unit_test(test_reads_jobs),
		cmocka_unit_test(test_judges_events),
		cmocka_unit_test(test_names_the_limit_that_is_set),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
