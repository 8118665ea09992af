/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/config.h"
#include "error.h"
#include "util.h"

#define KATAMARAN_API_VERSION 1
#include "katamaran-plugin.h"

#define SOURCE "-mode source -qmp /q -dest-ip 192.0.2.1 -vm-ip 10.0.0.5"
#define DEST   "-mode dest -qmp /q"
#define ENDS   "mode = \"dest\"; qmp = \"/q\";\n" /* a line that is enough for one end */

struct loaded {
	struct kat_config config;
	enum kat_action action;
	char *name;
	struct kat_error *err;
	int ret;
};

/* `words` are separated by spaces; '' is an empty one.  `file` is what -c reads. */
static struct loaded load(const char *file, const char *words)
{
	char *copy = strdup(words), *save = NULL;
	char *argv[64] = {(char *)(uintptr_t) "katamaran"};
	struct loaded l = {.err = NULL};
	int argc = 1;

	if (file) {
		FILE *f = fopen("FILE", "w");

		assert_non_null(f);
		fputs(file, f);
		fclose(f);
		argv[argc++] = (char *)(uintptr_t) "-c";
		argv[argc++] = (char *)(uintptr_t) "FILE";
	}
	for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
		assert_in_range(argc, 1, 62);
		if (strcmp(w, "''") == 0)
			*w = '\0';
		argv[argc++] = w;
	}
	argv[argc] = NULL;
	l.ret = kat_config_load(argc, argv, &l.config, &l.action, &l.name, &l.err);
	free(copy);
	return l;
}

static void unload(struct loaded *l)
{
	kat_config_free(&l->config);
	kat_error_free(&l->err);
	free(l->name);
	l->name = NULL;
}

static struct loaded load_well(const char *file, const char *words)
{
	struct loaded l = load(file, words);

	if (l.ret < 0)
		fail_msg("\"%s\" was refused: %s", words, l.err->message);
	assert_null(l.err);
	return l;
}

struct refusal {
	const char *file, *words;
	const char *message[3]; /* its parts */
};

static void refuse(const struct refusal *r)
{
	struct loaded l = load(r->file, r->words);

	if (l.ret == 0)
		fail_msg("\"%s\" and \"%s\" were accepted", r->words,
			 r->file ? r->file : "");
	assert_int_equal(l.err->exit_code, KAT_EXIT_USAGE);
	assert_int_equal(l.config.n_plugins, 0); /* nothing is left in it */
	assert_null(strchr(l.err->message, '\n'));
	for (size_t i = 0; i < KAT_ARRAY_SIZE(r->message); i++) {
		if (r->message[i] && !strstr(l.err->message, r->message[i]))
			fail_msg("\"%s\" does not say \"%s\"", l.err->message,
				 r->message[i]);
	}
	unload(&l);
}

#define REFUSE(rows)                                                                     \
	do {                                                                             \
		for (size_t row_ = 0; row_ < KAT_ARRAY_SIZE(rows); row_++)               \
			refuse(&(rows)[row_]);                                           \
	} while (0)

/*
 * The command line
 */

static void test_defaults(void **state)
{
	struct loaded l = load_well(NULL, DEST);
	const struct kat_config *c = &l.config;

	(void)state;
	assert_int_equal(l.action, KAT_ACTION_MIGRATE);
	assert_int_equal(c->role, KATAMARAN_DESTINATION);
	assert_string_equal(c->qmp, "/q");
	assert_null(c->dest_ip);
	assert_int_equal(c->port, 4444);
	assert_int_equal(c->order, KAT_ORDER_REDIRECT_FIRST);
	assert_int_equal(c->n_nics, 0);
	assert_int_equal(c->downtime_ms, 50);
	assert_int_equal(c->bandwidth, 0);
	assert_int_equal(c->multifd, 0);
	assert_true(c->auto_converge);
	assert_int_equal(c->storage_sync_s, 7200);
	assert_int_equal(c->migration_s, 3600);
	assert_int_equal(c->event_s, 7200 + 3600);
	assert_int_equal(c->cleanup_s, 10);
	assert_int_equal(c->stop_ms, 50);
	assert_int_equal(c->verbose, 0);
	assert_non_null(strstr(c->plugin_dir, "katamaran"));
	assert_int_equal(c->n_plugins, 3);
	assert_string_equal(c->plugins[0].plugin, "none");
	assert_string_equal(c->plugins[1].plugin, "ipip");
	assert_string_equal(c->plugins[2].plugin, "announce-self");
	unload(&l);
}

static void test_flags_with_one_dash_or_two(void **state)
{
	struct loaded l = load_well(
		NULL,
		"--mode=source -qmp=/q --dest-ip 192.0.2.1 -vm-ip 10.0.0.5,10.0.0.6 "
		"-tap tap0 -netns /run/netns/a -mac 52:54:00:AB:cd:01 -port 5 -v "
		"-downtime-ms 2000000 -bandwidth 5000000000 -multifd 255 "
		"-auto-converge=false -storage-sync-timeout-s 1 -order salvage "
		"-migration-timeout-s 2 -event-timeout-s 3 -cleanup-timeout-s 4 "
		"-stop-budget-ms 6 --plugin-dir /p");
	static const uint8_t mac[6] = {0x52, 0x54, 0, 0xab, 0xcd, 1};
	const struct kat_config *c = &l.config;

	(void)state;
	assert_int_equal(c->role, KATAMARAN_SOURCE);
	assert_int_equal(c->order, KAT_ORDER_SALVAGE);
	assert_string_equal(c->dest_ip, "192.0.2.1");
	assert_int_equal(c->n_nics, 1);
	assert_string_equal(c->nics[0].tap, "tap0");
	assert_string_equal(c->nics[0].netns, "/run/netns/a");
	assert_true(c->nics[0].has_mac);
	assert_memory_equal(c->nics[0].mac, mac, 6);
	assert_int_equal(c->nics[0].n_ips, 2);
	assert_string_equal(c->nics[0].ips[0], "10.0.0.5");
	assert_string_equal(c->nics[0].ips[1], "10.0.0.6");
	assert_null(c->nics[0].ips[2]);
	assert_int_equal(c->port, 5);
	assert_int_equal(c->downtime_ms, 2000000);
	assert_true(c->bandwidth == 5000000000);
	assert_int_equal(c->multifd, 255);
	assert_false(c->auto_converge);
	assert_int_equal(c->storage_sync_s, 1);
	assert_int_equal(c->migration_s, 2);
	assert_int_equal(c->event_s, 3);
	assert_int_equal(c->cleanup_s, 4);
	assert_int_equal(c->stop_ms, 6);
	assert_int_equal(c->verbose, 1);
	assert_string_equal(c->plugin_dir, "/p");
	unload(&l);
}

static void test_the_last_flag_counts(void **state)
{
	struct loaded l = load_well(NULL, DEST " -port 1 -port 2 -vm-ip 10.0.0.1 "
					       "-vm-ip 10.0.0.2 -tap a -tap b");

	(void)state;
	assert_int_equal(l.config.port, 2);
	assert_string_equal(l.config.nics[0].tap, "b");
	assert_int_equal(l.config.nics[0].n_ips, 1);
	assert_string_equal(l.config.nics[0].ips[0], "10.0.0.2");
	unload(&l);
}

static void test_no_mode_wants_the_usage_text(void **state)
{
	static const char *const lines[] = {"", "-mode ''", "-qmp /q", "-tap t -mode="};

	(void)state;
	for (size_t i = 0; i < KAT_ARRAY_SIZE(lines); i++) {
		struct loaded l = load(NULL, lines[i]);

		assert_int_equal(l.ret, -1);
		assert_int_equal(l.action, KAT_ACTION_HELP);
		assert_int_equal(l.err->exit_code, KAT_EXIT_USAGE);
		assert_non_null(strstr(l.err->message, "-mode source or -mode dest"));
		unload(&l);
	}
}

static void test_an_error_alone_needs_no_usage_text(void **state)
{
	struct loaded l = load(NULL, "-mode bogus");

	(void)state;
	assert_int_equal(l.ret, -1);
	assert_int_equal(l.action, KAT_ACTION_MIGRATE);
	unload(&l);
}

static void test_command_line_refusals(void **state)
{
	static const struct refusal rows[] = {
		{NULL,
		 "-mode bogus",
		 {"invalid mode \"bogus\": ", "\"source\" or \"dest\""}},
		{NULL, "-bogus", {"unknown option \"-bogus\""}},
		{NULL, DEST " --bogus=1", {"unknown option \"--bogus\""}},
		{NULL, DEST " -dest 192.0.2.1", {"unknown option \"-dest\""}},
		{NULL, DEST " -x", {"unknown option \"-x\""}},
		{NULL, DEST " -qmp", {"-qmp needs a value: SOCKET"}},
		{NULL, DEST " -shared-storage=1", {"-shared-storage takes no value"}},
		{NULL, "one " DEST " two", {"unexpected arguments: \"one\" \"two\""}},
		{NULL, DEST " -- -tap", {"unexpected arguments: \"-tap\""}},
		{NULL, DEST " -", {"unexpected arguments: \"-\""}},
		{NULL, "-mode source -qmp ''", {"invalid -qmp \"\": ", "1 to 107 bytes"}},
		{NULL, DEST " -port 0", {"invalid -port \"0\": ", "from 1 to 65535"}},
		{NULL, DEST " -port 65536", {"invalid -port \"65536\": "}},
		{NULL, DEST " -port 1x", {"invalid -port \"1x\": "}},
		{NULL, DEST " -port ''", {"invalid -port \"\": "}},
		{NULL, DEST " -port 99999999999999999999", {"invalid -port"}},
		{NULL, DEST " -downtime-ms 0", {"invalid -downtime-ms", "1 to 2000000"}},
		{NULL, DEST " -downtime-ms 2000001", {"invalid -downtime-ms"}},
		{NULL,
		 DEST " -bandwidth -1",
		 {"invalid -bandwidth \"-1\": ", "from 0 on"}},
		{NULL, DEST " -multifd 256", {"invalid -multifd \"256\": ", "0 to 255"}},
		{NULL,
		 DEST " -auto-converge on",
		 {"-auto-converge \"on\"", "true or false"}},
		{NULL,
		 DEST " -order any",
		 {"-order \"any\"", "\"redirect-first\" or \"salvage\""}},
		{NULL,
		 DEST " -stop-budget-ms 0",
		 {"invalid -stop-budget-ms", "1 to 60000"}},
		{NULL, DEST " -plugin-dir ''", {"invalid -plugin-dir \"\": "}},
		{NULL,
		 DEST " -tunnel-mode vxlan",
		 {"invalid -tunnel-mode \"vxlan\": ", "ipip, gre, nftables or none"}},
		{NULL, DEST " -drive-id a,,b", {"invalid -drive-id \"a,,b\": "}},
		{NULL, DEST " -drive-id ''", {"invalid -drive-id \"\": "}},
		{NULL,
		 DEST " -drive-id a -shared-storage",
		 {"-drive-id and -shared-storage exclude each other"}},
		{NULL,
		 DEST " -netns pod/1",
		 {"invalid -netns \"pod/1\": ", "a name below /run/netns, a pid"}},
		{NULL,
		 DEST " -c /nonexistent/k.conf",
		 {"cannot read /nonexistent/k.conf: No such file"}},
		{NULL, DEST " -c /", {"cannot read /: Is a directory"}},
	};

	(void)state;
	REFUSE(rows);
}

static void test_interface_names(void **state)
{
	static const char *const bad[] = {
		"''", "a/b", "a:b", "a\tb", ".", "..", "sixteenbyteslong"};
	struct loaded l = load_well(NULL, DEST " -tap fifteen-bytes_x");

	(void)state;
	assert_string_equal(l.config.nics[0].tap, "fifteen-bytes_x");
	unload(&l);
	for (size_t i = 0; i < KAT_ARRAY_SIZE(bad); i++) {
		char words[64];
		struct refusal r = {NULL, words, {"invalid -tap \"", "1 to 15 bytes"}};

		snprintf(words, sizeof(words), DEST " -tap %s", bad[i]);
		refuse(&r);
	}
}

static void test_mac_addresses(void **state)
{
	static const char *const bad[] = {
		"''",
		"52:54:00:12:34",
		"52:54:00:12:34:56:78",
		"52-54-00-12-34-56",
		"52:54:00:12:34:5g",
		"01:00:5e:00:00:01",
		"00:00:00:00:00:00",
		"ff:ff:ff:ff:ff:ff",
		"5:54:00:12:34:567",
	};

	(void)state;
	for (size_t i = 0; i < KAT_ARRAY_SIZE(bad); i++) {
		char words[64];
		struct refusal r = {NULL, words, {"invalid -mac \"", "six bytes"}};

		snprintf(words, sizeof(words), DEST " -mac %s", bad[i]);
		refuse(&r);
	}
}

static void test_a_socket_path_fits(void **state)
{
	char path[109], words[160];
	struct refusal r = {NULL, words, {"invalid -qmp \"/aaa", "1 to 107 bytes"}};
	struct loaded l;

	(void)state;
	memset(path, 'a', sizeof(path));
	path[0] = '/';
	path[107] = '\0';
	snprintf(words, sizeof(words), "-mode dest -qmp %s", path);
	l = load_well(NULL, words);
	unload(&l);
	path[107] = 'a';
	path[108] = '\0';
	snprintf(words, sizeof(words), "-mode dest -qmp %s", path);
	refuse(&r);
}

static void test_actions(void **state)
{
	static const struct {
		const char *words;
		enum kat_action action;
	} rows[] = {
		{"-help", KAT_ACTION_HELP},
		{"--help", KAT_ACTION_HELP},
		{"-h", KAT_ACTION_HELP},
		{"-mode bogus -help -whatever", KAT_ACTION_HELP},
		{"-version", KAT_ACTION_VERSION},
		{"--list-plugins", KAT_ACTION_LIST_PLUGINS},
		{"-list-plugins -plugin-dir /p", KAT_ACTION_LIST_PLUGINS},
		{"--dump-plugin ipip --plugin-dir /p", KAT_ACTION_DUMP_PLUGIN},
	};

	(void)state;
	for (size_t i = 0; i < KAT_ARRAY_SIZE(rows); i++) {
		struct loaded l = load_well(NULL, rows[i].words);

		assert_int_equal(l.action, rows[i].action);
		if (strstr(rows[i].words, "/p"))
			assert_string_equal(l.config.plugin_dir, "/p");
		if (l.action == KAT_ACTION_DUMP_PLUGIN)
			assert_string_equal(l.name, "ipip");
		else
			assert_null(l.name);
		unload(&l);
	}
}

static void test_an_action_takes_plugin_dir_from_the_file(void **state)
{
	struct loaded l = load_well("plugin_dir = \"/site\";", "--dump-plugin x");

	(void)state;
	assert_string_equal(l.config.plugin_dir, "/site");
	assert_string_equal(l.name, "x");
	unload(&l);
}

static void test_usage_describes_every_flag(void **state)
{
	static const char *const flags[] = {
		"mode",
		"qmp",
		"tap",
		"dest-ip",
		"vm-ip",
		"drive-id",
		"shared-storage",
		"tunnel-mode",
		"help",
		"version",
		"c",
		"v",
		"port",
		"order",
		"downtime-ms",
		"bandwidth",
		"multifd",
		"auto-converge",
		"netns",
		"mac",
		"storage-sync-timeout-s",
		"migration-timeout-s",
		"event-timeout-s",
		"cleanup-timeout-s",
		"stop-budget-ms",
		"plugin-dir",
		"dump-plugin",
		"list-plugins",
	};
	const char *usage = kat_config_usage();
	size_t len = strlen(usage);

	(void)state;
	assert_memory_equal(usage, "Usage: ", 7);
	assert_int_equal(usage[len - 1], '\n'); /* it was not cut */
	for (size_t i = 0; i < KAT_ARRAY_SIZE(flags); i++) {
		char line[64];
		const char *at;

		snprintf(line, sizeof(line), "\n  -%s", flags[i]);
		at = strstr(usage, line);
		if (!at)
			fail_msg("-help does not have -%s", flags[i]);
		at = strchr(at + 1, '\n');
		assert_memory_equal(at, "\n        ", 9); /* and says what it does */
	}
	assert_ptr_equal(kat_config_usage(), usage);
	assert_int_equal(strlen(usage), len); /* the second time as well */
}

/*
 * What is enough, and what contradicts itself
 */

static void test_what_is_missing(void **state)
{
	static const struct refusal rows[] = {
		{NULL,
		 "-mode source",
		 {"needs -qmp (in a file: qmp), -dest-ip (in a file: destination.ip), "
		  "-vm-ip (in a file: nics.ips)"}},
		{NULL,
		 "-mode source -qmp /q",
		 {"-mode source needs -dest-ip (in a file: destination.ip), -vm-ip (in "
		  "a"}},
		{NULL,
		 "-mode source -qmp /q -vm-ip 10.0.0.5",
		 {"-mode source needs -dest-ip (in a file: destination.ip)"}},
		{NULL,
		 "-mode source -qmp /q -dest-ip 192.0.2.1",
		 {"-mode source needs -vm-ip (in a file: nics.ips)"}},
		{NULL,
		 "-mode source -qmp /q -dest-ip 192.0.2.1 -tap t",
		 {"needs -vm-ip"}},
		{NULL, "-mode dest", {"-mode dest needs -qmp (in a file: qmp)"}},
		{"mode = \"source\";", "", {"-mode source needs -qmp"}},
	};
	struct loaded l = load(NULL, "-mode source -qmp /q -dest-ip 192.0.2.1");

	(void)state;
	assert_null(strstr(l.err->message, "-dest-ip"));
	assert_null(strstr(l.err->message, "-qmp"));
	unload(&l);
	REFUSE(rows);
}

static void test_without_a_cutover_no_address_is_needed(void **state)
{
	struct loaded l = load_well(
		NULL, "-mode source -qmp /q -dest-ip 192.0.2.1 -tunnel-mode none");

	(void)state;
	assert_int_equal(l.config.n_plugins, 2);
	unload(&l);
}

static void test_a_destination_needs_neither_tap_nor_address(void **state)
{
	struct loaded l = load_well(NULL, DEST " -tap tap0_kata -shared-storage");

	(void)state;
	assert_int_equal(l.config.nics[0].n_ips, 0);
	unload(&l);
	l = load_well(NULL, DEST " -vm-ip 10.0.0.5");
	assert_null(l.config.nics[0].tap);
	unload(&l);
}

static void test_addresses_that_are_none(void **state)
{
	static const char *const bad[] = {
		"''",	       "not-an-ip",	  "10.0.0",	  "10.0.0.256",
		"010.0.0.1",   "10.0.0.1/24",	  "fe80::1%eth0", "[2001:db8::1]",
		"2001:db8::g", "0.0.0.0",	  "::",		  "::ffff:0.0.0.0",
		"224.0.0.1",   "255.255.255.255", "ff02::1",	  "::ffff:239.1.1.1",
		"node2",
	};

	(void)state;
	for (size_t i = 0; i < KAT_ARRAY_SIZE(bad); i++) {
		char words[160], dest[80], vm[80];
		const char *text = strcmp(bad[i], "''") ? bad[i] : "";
		struct refusal r = {NULL, words, {dest, "address", "allowed is"}};

		snprintf(words, sizeof(words), SOURCE " -dest-ip %s", bad[i]);
		snprintf(dest, sizeof(dest), "invalid -dest-ip \"%s\": ", text);
		refuse(&r);
		snprintf(words, sizeof(words), SOURCE " -vm-ip %s", bad[i]);
		snprintf(vm, sizeof(vm), "invalid -vm-ip \"%s\": ", text);
		r.message[0] = vm;
		refuse(&r);
	}
}

static void test_addresses_take_one_form(void **state)
{
	static const struct {
		const char *given, *kept, *vm;
	} rows[] = {
		{"192.0.2.1", "192.0.2.1", "10.0.0.5"},
		{"::ffff:192.0.2.1", "192.0.2.1", "::ffff:10.0.0.5"},
		{"::FFFF:C000:0201", "192.0.2.1", "10.0.0.5"},
		{"2001:DB8:0::0001", "2001:db8::1", "2001:db8::5"},
		{"127.0.0.1", "127.0.0.1", "10.0.0.5"},
	};

	(void)state;
	for (size_t i = 0; i < KAT_ARRAY_SIZE(rows); i++) {
		struct loaded l;
		char words[160];

		snprintf(words, sizeof(words),
			 "-mode source -qmp /q -dest-ip %s -vm-ip %s", rows[i].given,
			 rows[i].vm);
		l = load_well(NULL, words);
		assert_string_equal(l.config.dest_ip, rows[i].kept);
		assert_null(strstr(l.config.nics[0].ips[0], "ffff"));
		unload(&l);
	}
}

static void test_addresses_that_contradict(void **state)
{
	static const struct refusal rows[] = {
		{NULL,
		 SOURCE " -vm-ip 2001:db8::5",
		 {"-dest-ip \"192.0.2.1\" is IPv4", "-vm-ip \"2001:db8::5\" is IPv6",
		  "families differ"}},
		{NULL,
		 SOURCE " -dest-ip 2001:db8::5",
		 {"-dest-ip \"2001:db8::5\" is IPv6", "-vm-ip \"10.0.0.5\" is IPv4"}},
		{NULL, SOURCE " -vm-ip 192.0.2.1", {"invalid -dest-ip \"192.0.2.1\": "}},
		{NULL,
		 SOURCE " -dest-ip ::ffff:10.0.0.5",
		 {"invalid -dest-ip \"10.0.0.5\""}},
		{NULL,
		 SOURCE " -vm-ip 10.0.0.5,::ffff:10.0.0.5",
		 {"invalid -vm-ip \"10.0.0.5\": ", "twice"}},
		{NULL, SOURCE " -vm-ip 10.0.0.5,", {"invalid -vm-ip \"\": "}},
		{"nics: ( { ips = [ \"10.0.0.5\" ]; }, { ips = [ \"10.0.0.5\" ]; } );",
		 DEST,
		 {"invalid -vm-ip \"10.0.0.5\": "}},
		{"nics: ( { tap = \"t\"; }, { tap = \"t\"; } );",
		 DEST,
		 {"invalid -tap \"t\": two NICs"}},
	};
	struct loaded l;

	(void)state;
	REFUSE(rows);
	/* Without a cutover nothing has to carry the one in the other. */
	l = load_well(NULL, SOURCE " -vm-ip 2001:db8::5 -tunnel-mode none");
	unload(&l);
	/* A guest of both families may follow through a tunnel of one. */
	l = load_well(NULL, SOURCE " -vm-ip 10.0.0.5,2001:db8::5");
	unload(&l);
	/* In a file it is meant, and what can carry it is the cutover's to know. */
	l = load_well("nics: ( { ips = [ \"2001:db8::5\" ]; } );",
		      "-mode source -qmp /q -dest-ip 192.0.2.1");
	unload(&l);
	/* A namespace by its name, and by somebody inside. */
	l = load_well(NULL, DEST " -netns pod-1");
	assert_string_equal(l.config.nics[0].netns, "/run/netns/pod-1");
	unload(&l);
	l = load_well(NULL, DEST " -netns 4711");
	assert_string_equal(l.config.nics[0].netns, "/proc/4711/ns/net");
	unload(&l);
	/* One name in two namespaces is two taps. */
	l = load_well("nics: ( { tap = \"t\"; }, { tap = \"t\"; netns = \"/n\"; } );",
		      DEST);
	assert_int_equal(l.config.n_nics, 2);
	unload(&l);
}

/*
 * The file
 */

static const char everything[] =
	"# comments /* of every */ kind, 99999999999999999999\n"
	"mode = \"source\";\n"
	"qmp = \"/run/q \\\" 5000000000\";  // 5000000000\n"
	"order = \"redirect-first\"; /* @include\n 99999999999999999999 */\n"
	"destination: { ip = \"192.168.1.20\"; port = 4445; };\n"
	"nics: ( { tap = \"tap0\"; netns = \"\"; mac = \"52:54:00:12:34:56\";\n"
	"          ips = [ \"10.244.1.5\", \"::ffff:10.244.1.6\" ]; },\n"
	"        { tap = \"tap1\"; netns = \"/run/netns/p\"; ips = ( \"10.244.1.7\" ); "
	"},\n"
	"        { ips = []; } );\n"
	"ram: { downtime_ms = 60; bandwidth = 5000000000; multifd = 2;\n"
	"       auto_converge = false; };\n"
	"announce: ( { plugin = \"announce-self\"; rounds = 7; }, { plugin = \"garp\"; } "
	");\n"
	"cutover: { plugin = \"cutover-ipip\"; hold_s = 5; };\n"
	"storage: { hot = true; plugin = \"/site/disk.so\"; drives = [ \"a\", \"b\" ];\n"
	"           none = []; big = -5000000000; hex = 0xFFFFFFFF; text = \"x\"; };\n"
	"timeouts: { storage_sync_s = 1; migration_s = 2; event_s = 3; cleanup_s = 4;\n"
	"            stop_ms = 5; };\n"
	"plugin_dir = \"/p\";\n";

static void test_a_file_that_says_everything(void **state)
{
	struct loaded l = load_well(everything, "");
	const struct kat_config *c = &l.config;

	(void)state;
	assert_int_equal(c->role, KATAMARAN_SOURCE);
	assert_string_equal(c->qmp, "/run/q \" 5000000000");
	assert_string_equal(c->dest_ip, "192.168.1.20");
	assert_int_equal(c->port, 4445);
	assert_int_equal(c->n_nics, 3);
	assert_string_equal(c->nics[0].tap, "tap0");
	assert_null(c->nics[0].netns);
	assert_true(c->nics[0].has_mac);
	assert_int_equal(c->nics[0].n_ips, 2);
	assert_string_equal(c->nics[0].ips[1], "10.244.1.6");
	assert_string_equal(c->nics[1].netns, "/run/netns/p");
	assert_false(c->nics[1].has_mac);
	assert_string_equal(c->nics[1].ips[0], "10.244.1.7");
	assert_null(c->nics[2].tap);
	assert_int_equal(c->nics[2].n_ips, 0);
	assert_int_equal(c->downtime_ms, 60);
	assert_true(c->bandwidth == 5000000000); /* libconfig alone: 705032704 */
	assert_int_equal(c->multifd, 2);
	assert_false(c->auto_converge);
	assert_int_equal(c->stop_ms, 5);
	assert_string_equal(c->plugin_dir, "/p");
	unload(&l);
}

static const struct kat_setting *setting(const struct kat_plugin_config *entry,
					 const char *name)
{
	for (size_t i = 0; i < entry->n_settings; i++) {
		if (strcmp(entry->settings[i].name, name) == 0)
			return &entry->settings[i];
	}
	fail_msg("no setting %s", name);
	return NULL;
}

static void test_plugins_keep_their_settings(void **state)
{
	struct loaded l = load_well(everything, "");
	const struct kat_plugin_config *p = l.config.plugins;

	(void)state;
	assert_int_equal(l.config.n_plugins, 4); /* in the order of the kinds */
	assert_int_equal(p[0].kind, KATAMARAN_STORAGE);
	assert_string_equal(p[0].plugin, "/site/disk.so");
	assert_string_equal(p[0].where, "FILE:15");
	assert_int_equal(p[1].kind, KATAMARAN_CUTOVER);
	assert_string_equal(p[2].plugin, "announce-self");
	assert_string_equal(p[3].plugin, "garp");
	assert_int_equal(p[3].n_settings, 0);
	assert_int_equal(p[0].n_settings, 6);
	assert_int_equal(setting(p, "hot")->type, KATAMARAN_BOOL);
	assert_int_equal(setting(p, "hot")->integer, 1);
	assert_int_equal(setting(p, "drives")->type, KATAMARAN_LIST);
	assert_int_equal(setting(p, "drives")->n_items, 2);
	assert_string_equal(setting(p, "drives")->items[1], "b");
	assert_null(setting(p, "drives")->items[2]);
	assert_int_equal(setting(p, "none")->type, KATAMARAN_LIST);
	assert_int_equal(setting(p, "none")->n_items, 0);
	assert_int_equal(setting(p, "big")->type, KATAMARAN_INT);
	assert_true(setting(p, "big")->integer == -5000000000);
	assert_true(setting(p, "hex")->integer == 4294967295);
	assert_string_equal(setting(p, "text")->string, "x");
	assert_string_equal(setting(p, "text")->where, "FILE:16");
	assert_int_equal(setting(&p[1], "hold_s")->integer, 5);
	unload(&l);
}

static void test_flags_win_over_the_file(void **state)
{
	struct loaded l =
		load_well(everything, "-mode dest -qmp /other -dest-ip 192.0.2.9 "
				      "-port 1 -tap t9 -vm-ip 10.9.9.9 "
				      "-auto-converge true -downtime-ms 1");
	const struct kat_config *c = &l.config;

	(void)state;
	assert_int_equal(c->role, KATAMARAN_DESTINATION);
	assert_string_equal(c->qmp, "/other");
	assert_string_equal(c->dest_ip, "192.0.2.9");
	assert_int_equal(c->port, 1);
	assert_true(c->auto_converge);
	assert_int_equal(c->downtime_ms, 1);
	assert_int_equal(c->n_nics, 3); /* the first one is changed */
	assert_string_equal(c->nics[0].tap, "t9");
	assert_true(c->nics[0].has_mac);
	assert_int_equal(c->nics[0].n_ips, 1);
	assert_string_equal(c->nics[0].ips[0], "10.9.9.9");
	assert_string_equal(c->nics[1].tap, "tap1");
	unload(&l);
}

static void test_syntax_refusals(void **state)
{
	static const struct refusal rows[] = {
		{"mode = \"dest\";\nqmp = = 1;\n", "", {"FILE:2: syntax error"}},
		{"ram: {\n  multifd = 1;\n  multifd = 2;\n};\n",
		 "",
		 {"FILE:3: duplicate"}},
		{"ram: {\n", "", {"FILE:2: syntax error"}},
		{"\n@include \"other\"\n", DEST, {"FILE:2: @include is not supported"}},
		{"\n\nport = 9223372036854775808;\n",
		 DEST,
		 {"FILE:3: 9223372036854775808 does not fit 64 bits"}},
		{"cutover: { plugin = \"x\";\n x = 0xFFFFFFFFFFFFFFFF; };\n",
		 DEST,
		 {"FILE:2: 0xFFFFFFFFFFFFFFFF does not fit"}},
	};

	(void)state;
	REFUSE(rows);
}

static void test_unknown_keys(void **state)
{
	static const struct refusal rows[] = {
		{ENDS "downtime_ms = 5;\n",
		 "",
		 {"FILE:2: unknown key \"downtime_ms\": allowed are mode, qmp, "
		  "sandbox, pod_ip, sandbox_dir, destination, "
		  "nics, storage, cutover, announce, order, ram, timeouts, "
		  "peer, summary, plugin_dir"}},
		{ENDS "ram: {\n\n  downtme_ms = 5;\n};",
		 "",
		 {"FILE:4: unknown key \"ram.downtme_ms\": allowed are downtime_ms, "
		  "bandwidth, "
		  "multifd, auto_converge"}},
		{ENDS "destination: { ip_ = \"192.0.2.1\"; };",
		 "",
		 {"FILE:2: unknown key \"destination.ip_\": allowed are ip, port"}},
		{ENDS "nics: ( { tap = \"a\"; },\n { ip = \"10.0.0.1\"; } );",
		 "",
		 {"FILE:3: unknown key \"nics.ip\": allowed are tap, netns, mac, ips"}},
		{ENDS "timeouts: { stop_s = 1; };",
		 "",
		 {"\"timeouts.stop_s\"", "stop_ms"}},
		{ENDS "journal: { };", "", {"FILE:2: unknown key \"journal\""}},
	};

	(void)state;
	REFUSE(rows);
}

static void test_values_in_the_file(void **state)
{
	static const struct refusal rows[] = {
		{"mode = \"both\";", "", {"FILE:1: invalid mode \"both\": "}},
		{"mode = 1;",
		 "",
		 {"FILE:1: mode needs a string, but this is a whole number"}},
		{ENDS "\nram: { downtime_ms = 0; };",
		 "",
		 {"FILE:3: invalid ram.downtime_ms \"0\": ", "from 1 to 2000000"}},
		{ENDS "ram: { downtime_ms = \"50\"; };",
		 "",
		 {"FILE:2: ram.downtime_ms needs a whole number, but this is a string"}},
		{ENDS "ram: { downtime_ms = 1.5; };",
		 "",
		 {"this is a floating-point number"}},
		{ENDS "ram: { multifd = 4294967297; };",
		 "",
		 {"invalid ram.multifd \"4294967297\": ", "0 to 255"}},
		{ENDS "ram: { auto_converge = 1; };",
		 "",
		 {"ram.auto_converge needs true or false, but this is a whole number"}},
		{ENDS "ram = 5;",
		 "",
		 {"FILE:2: ram needs a group, but this is a whole number"}},
		{ENDS "ram: ( { multifd = 1; } );",
		 "",
		 {"ram needs a group", "is a list"}},
		{ENDS "destination: { ip = \"::\"; };",
		 "",
		 {"FILE:2: invalid destination.ip \"::\": "}},
		{ENDS "nics: ( { ips = [ \"10.0.0.1\",\n \"10.0.0\" ]; } );",
		 "",
		 {"FILE:3: invalid nics.ips \"10.0.0\": "}},
		{ENDS "nics: ( { ips = \"10.0.0.1\"; } );",
		 "",
		 {"FILE:2: nics.ips needs a list of strings, but this is a string"}},
		{ENDS "nics: ( { ips = [ 1 ]; } );", "", {"nics.ips needs a string"}},
		{ENDS "nics: ( \"tap0\" );",
		 "",
		 {"FILE:2: nics needs a group, or a list"}},
		{ENDS "nics = \"tap0\";", "", {"FILE:2: nics needs a group, or a list"}},
		{ENDS "nics: ( { tap = \"\"; } );",
		 "",
		 {"FILE:2: invalid nics.tap \"\": "}},
		{ENDS "plugin_dir = \"\";", "", {"FILE:2: invalid plugin_dir \"\": "}},
	};

	(void)state;
	REFUSE(rows);
}

static void test_plugin_groups(void **state)
{
	static const struct refusal rows[] = {
		{ENDS "storage: { drives = [ \"a\" ]; };",
		 "",
		 {"FILE:2: storage names no plu"}},
		{ENDS "cutover: { plugin = 5; };", "", {"FILE:2: plugin needs a string"}},
		{ENDS "cutover: {\n plugin = \"\"; };",
		 "",
		 {"FILE:3: invalid cutover.plugin \"\": "}},
		{ENDS "cutover = \"ipip\";",
		 "",
		 {"FILE:2: cutover needs a group, or a list of groups, but this is a "
		  "string"}},
		{ENDS "cutover: ( \"ipip\" );", "", {"FILE:2: cutover needs a group"}},
		{ENDS "cutover: { plugin = \"ipip\";\n hold_s = 1.5; };",
		 "",
		 {"FILE:3: hold_s needs a string, a whole number",
		  "floating-point number"}},
		{ENDS "cutover: { plugin = \"ipip\";\n sub: { a = 1; }; };",
		 "",
		 {"FILE:3: sub needs a string", "this is a group"}},
		{ENDS "cutover: { plugin = \"ipip\"; l = [ 1, 2 ]; };",
		 "",
		 {"FILE:2: l needs a list of strings, but this is a whole number"}},
		{ENDS "cutover: { plugin = \"ipip\"; l = ( \"a\", ( \"b\" ) ); };",
		 "",
		 {"FILE:2: l needs a list of strings, but this is a list"}},
		{ENDS "storage: ( );", "", {"FILE:2: storage is empty"}},
		{ENDS "cutover: { plugin = \"none\"; hold_s = 5; };",
		 "",
		 {"FILE:2: cutover \"none\" stands alone"}},
		{ENDS "announce: ( { plugin = \"none\"; }, { plugin = \"garp\"; } );",
		 "",
		 {"FILE:2: announce \"none\" stands alone"}},
	};

	(void)state;
	REFUSE(rows);
}

/*
 * Which plugins it comes to
 */

/* "none(where) ipip(where)" */
static void expect_plugins(const char *file, const char *words, const char *expected)
{
	struct loaded l = load_well(file, words);
	char text[256] = "";
	size_t len = 0;

	for (size_t i = 0; i < l.config.n_plugins; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s(%s)",
					i ? " " : "", l.config.plugins[i].plugin,
					l.config.plugins[i].where);
	assert_string_equal(text, expected);
	unload(&l);
}

static void test_plugins_that_nobody_chose(void **state)
{
	(void)state;
	expect_plugins(NULL, DEST, "none(default) ipip(default) announce-self(default)");
	expect_plugins("announce: ( );", DEST, "none(default) ipip(default)");
	expect_plugins("announce: [ ];", DEST, "none(default) ipip(default)");
	expect_plugins("announce: { plugin = \"none\"; };", DEST,
		       "none(default) ipip(default)");
	expect_plugins("cutover: { plugin = \"none\"; };", DEST,
		       "none(default) announce-self(default)");
	expect_plugins("cutover: ( );", DEST, "none(default) announce-self(default)");
	expect_plugins("storage: { plugin = \"none\"; };", DEST,
		       "none(FILE:1) ipip(default) announce-self(default)");
}

static void test_tunnel_mode(void **state)
{
	static const char two[] = "cutover: ( { plugin = \"gre\"; key = 5; },\n"
				  "{ plugin = \"cutover-ipip\"; hold_s = 7; } );";
	struct loaded l;

	(void)state;
	expect_plugins(NULL, DEST " -tunnel-mode gre",
		       "none(default) gre(-tunnel-mode) announce-self(default)");
	expect_plugins(NULL, DEST " -tunnel-mode none",
		       "none(default) announce-self(default)");
	expect_plugins(two, DEST " -tunnel-mode none",
		       "none(default) announce-self(default)");
	expect_plugins(two, DEST " -tunnel-mode nftables",
		       "none(default) nftables(-tunnel-mode) announce-self(default)");
	expect_plugins("cutover: { plugin = \"none\"; };", DEST " -tunnel-mode ipip",
		       "none(default) ipip(-tunnel-mode) announce-self(default)");
	/* The file's group of the same plugin stays, under either name. */
	l = load_well(two, DEST " -tunnel-mode ipip");
	assert_int_equal(l.config.n_plugins, 3);
	assert_string_equal(l.config.plugins[1].plugin, "cutover-ipip");
	assert_int_equal(setting(&l.config.plugins[1], "hold_s")->integer, 7);
	unload(&l);
}

static void test_shared_storage(void **state)
{
	(void)state;
	expect_plugins(NULL, DEST " -shared-storage",
		       "shared(-shared-storage) ipip(default) announce-self(default)");
	expect_plugins("storage: ( { plugin = \"nbd\"; }, { plugin = \"none\"; } );",
		       DEST " -shared-storage",
		       "shared(-shared-storage) ipip(default) announce-self(default)");
	expect_plugins("storage: { plugin = \"storage-shared\"; };",
		       DEST " -shared-storage",
		       "storage-shared(FILE:1) ipip(default) announce-self(default)");
}

static void test_drive_id(void **state)
{
	struct loaded l = load_well(NULL, DEST " -drive-id drive0,drive1");
	const struct kat_setting *drives;

	(void)state;
	assert_string_equal(l.config.plugins[0].plugin, "nbd");
	drives = setting(&l.config.plugins[0], "drives");
	assert_int_equal(drives->type, KATAMARAN_LIST);
	assert_string_equal(drives->where, "-drive-id");
	assert_int_equal(drives->n_items, 2);
	assert_string_equal(drives->items[1], "drive1");
	assert_null(drives->items[2]);
	unload(&l);
	/* The plugin that the file names stays, with its other settings. */
	l = load_well("storage: { plugin = \"site\"; drives = \"x\"; port = 5; };",
		      DEST " -drive-id a");
	assert_string_equal(l.config.plugins[0].plugin, "site");
	assert_int_equal(l.config.plugins[0].n_settings, 2);
	drives = setting(&l.config.plugins[0], "drives");
	assert_int_equal(drives->type, KATAMARAN_LIST);
	assert_int_equal(drives->n_items, 1);
	assert_null(drives->string);
	unload(&l);
}

static char folder[] = "/tmp/kat-config-XXXXXX";

static int setup(void **state)
{
	(void)state;
	return mkdtemp(folder) && chdir(folder) == 0 ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	unlink("FILE");
	return chdir("/") == 0 ? rmdir(folder) : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_flags_with_one_dash_or_two),
		cmocka_unit_test(test_the_last_flag_counts),
		cmocka_unit_test(test_no_mode_wants_the_usage_text),
		cmocka_unit_test(test_an_error_alone_needs_no_usage_text),
		cmocka_unit_test(test_command_line_refusals),
		cmocka_unit_test(test_interface_names),
		cmocka_unit_test(test_mac_addresses),
		cmocka_unit_test(test_a_socket_path_fits),
		cmocka_unit_test(test_actions),
		cmocka_unit_test(test_an_action_takes_plugin_dir_from_the_file),
		cmocka_unit_test(test_usage_describes_every_flag),
		cmocka_unit_test(test_what_is_missing),
		cmocka_unit_test(test_without_a_cutover_no_address_is_needed),
		cmocka_unit_test(test_a_destination_needs_neither_tap_nor_address),
		cmocka_unit_test(test_addresses_that_are_none),
		cmocka_unit_test(test_addresses_take_one_form),
		cmocka_unit_test(test_addresses_that_contradict),
		cmocka_unit_test(test_a_file_that_says_everything),
		cmocka_unit_test(test_plugins_keep_their_settings),
		cmocka_unit_test(test_flags_win_over_the_file),
		cmocka_unit_test(test_syntax_refusals),
		cmocka_unit_test(test_unknown_keys),
		cmocka_unit_test(test_values_in_the_file),
		cmocka_unit_test(test_plugin_groups),
		cmocka_unit_test(test_plugins_that_nobody_chose),
		cmocka_unit_test(test_tunnel_mode),
		cmocka_unit_test(test_shared_storage),
		cmocka_unit_test(test_drive_id),
	};

	return cmocka_run_group_tests_name("config", tests, setup, teardown);
}
