/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The script plugin with real executables: exit codes, deadlines, environment,
 * what it refuses to run, and the coprocess.  The program's side is played here.
 */
#define KATAMARAN_API_VERSION 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "plugins/lib/script.h"

#define MS   1000000LL
#define MANY 100 /* addresses of one NIC */

/* ---- the program ---- */

struct katamaran_ctx {
	const char *path, *args[3], *settings[3], *roles[3];
	bool coprocess, source, many;
	int64_t timeout_ms, on_stop_ms;
	const char *peer;
	size_t nics;
	int64_t deadline;
	char error[512], log[16384];
};

static struct katamaran_ctx ctx;
static void *handle;
static char folder[] = "/tmp/katamaran-test-XXXXXX";
static char script_path[64];

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

void katamaran_error(struct katamaran_ctx *c, const char *fmt, ...)
{
	int saved = errno;
	va_list args;

	va_start(args, fmt);
	if (!c->error[0])
		vsnprintf(c->error, sizeof(c->error), fmt, args);
	va_end(args);
	errno = saved;
}

void katamaran_log(struct katamaran_ctx *c, int level, const char *fmt, ...)
{
	size_t used = strlen(c->log);
	va_list args;

	used += (size_t)snprintf(c->log + used, sizeof(c->log) - used, "%d ", level);
	if (used >= sizeof(c->log) - 2)
		return;
	va_start(args, fmt);
	used += (size_t)vsnprintf(c->log + used, sizeof(c->log) - used, fmt, args);
	va_end(args);
	if (used < sizeof(c->log) - 2)
		strcpy(c->log + used, "\n");
}

uint32_t katamaran_role(struct katamaran_ctx *c)
{
	return c->source ? KATAMARAN_SOURCE : KATAMARAN_DESTINATION;
}

static char journal[64];

int katamaran_journal(struct katamaran_ctx *c, const char *fmt, ...)
{
	va_list args;

	(void)c;
	va_start(args, fmt);
	vsnprintf(journal, sizeof(journal), fmt, args);
	va_end(args);
	return 0;
}

const char *katamaran_migration_id(struct katamaran_ctx *c)
{
	(void)c;
	return "a1b2";
}

const char *katamaran_vm_name(struct katamaran_ctx *c)
{
	(void)c;
	return "my guest";
}

const char *katamaran_vm_uuid(struct katamaran_ctx *c)
{
	(void)c;
	return "";
}

const char *katamaran_peer(struct katamaran_ctx *c)
{
	return c->peer;
}

size_t katamaran_nic_count(struct katamaran_ctx *c)
{
	return c->nics;
}

const char *katamaran_nic_tap(struct katamaran_ctx *c, size_t nic)
{
	(void)c;
	return nic ? NULL : "tap0";
}

const char *katamaran_nic_netns(struct katamaran_ctx *c, size_t nic)
{
	(void)c;
	return nic ? NULL : "/run/netns/pod";
}

const uint8_t *katamaran_nic_mac(struct katamaran_ctx *c, size_t nic)
{
	static const uint8_t mac[6] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};

	(void)c;
	return nic ? NULL : mac;
}

size_t katamaran_nic_ips(struct katamaran_ctx *c, size_t nic, const char *const **ips)
{
	static const char *const both[] = {"10.244.1.5", "2001:db8::5"};
	static const char *many[MANY];

	for (size_t i = 0; i < MANY; i++)
		many[i] = "2001:db8::1111:2222:3333:4444";
	*ips = c->many ? many : both;
	if (nic)
		return 0;
	return c->many ? MANY : 2;
}

const char *katamaran_conf_string(struct katamaran_ctx *c, const char *name)
{
	assert_string_equal(name, "path");
	return c->path;
}

int64_t katamaran_conf_int(struct katamaran_ctx *c, const char *name)
{
	if (!strcmp(name, "timeout_ms"))
		return c->timeout_ms;
	assert_string_equal(name, "on_stop_ms");
	return c->on_stop_ms;
}

int katamaran_conf_bool(struct katamaran_ctx *c, const char *name)
{
	assert_string_equal(name, "coprocess");
	return c->coprocess;
}

size_t katamaran_conf_list(struct katamaran_ctx *c, const char *name,
			   const char *const **items)
{
	const char *const *list = c->args;
	size_t n = 0;

	if (!strcmp(name, "roles"))
		list = c->roles;
	else if (!strcmp(name, "settings"))
		list = c->settings;
	else
		assert_string_equal(name, "args");
	while (list[n])
		n++;
	*items = list;
	return n;
}

int katamaran_ms_left(struct katamaran_ctx *c)
{
	int64_t left = (c->deadline - now_ns() + MS - 1) / MS;

	return left > 0 ? (int)left : 0;
}

static unsigned int alive; /* how often it was said */

/* A signal waits where it is blocked. */
int katamaran_alive(struct katamaran_ctx *c)
{
	sigset_t set;

	(void)c;
	alive++;
	sigpending(&set);
	if (sigismember(&set, SIGTERM) != 1)
		return 0;
	errno = EINTR;
	return -1;
}

/* ---- a test's own ---- */

static int set_up(void **state)
{
	(void)state;
	ctx = (struct katamaran_ctx){
		.path = script_path,
		.roles = {"source", "destination"},
		.timeout_ms = 30000,
		.source = true,
		.peer = "192.0.2.2",
		.nics = 1,
	};
	handle = NULL;
	return 0;
}

/* An executable of these lines, run by the shell. */
static void write_script(const char *lines)
{
	FILE *file;

	unlink(script_path);
	file = fopen(script_path, "w");
	assert_non_null(file);
	fprintf(file, "#!/bin/sh\n%s\n", lines);
	fclose(file);
	assert_int_equal(chmod(script_path, 0755), 0);
}

static void set_budget(int ms)
{
	ctx.error[0] = '\0';
	ctx.deadline = now_ns() + ms * MS;
	errno = 0;
}

static void open_script(const char *lines)
{
	write_script(lines);
	set_budget(30000);
	assert_int_equal(kat_script_open(&ctx, &handle), 0);
}

static int pre_copy(void)
{
	set_budget(10000);
	return kat_script_pre_copy(&ctx, handle);
}

static int on_stop(int ms)
{
	set_budget(ms);
	return kat_script_on_stop(&ctx, handle);
}

/* All calls that one round takes; its pause. */
static int on_resume(void)
{
	int64_t end = now_ns() + 10000 * MS;
	int r;

	do {
		int64_t begun = now_ns();

		set_budget(50);
		r = kat_script_on_resume(&ctx, handle, 0);
		/* The plugins that come later are not kept waiting. */
		assert_true(now_ns() - begun < 1000 * MS);
		if (r > 0 && r <= 50)
			usleep((useconds_t)r * 1000);
	} while (r > 0 && r <= 50 && now_ns() < end);
	return r;
}

static void cleanup(int outcome)
{
	set_budget(10000);
	kat_script_cleanup(&ctx, handle, outcome);
	handle = NULL;
	/* No child is left, neither running nor as a zombie. */
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
}

static void assert_file(const char *name, const char *content)
{
	char path[128], text[4096];
	size_t n;
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "r");
	assert_non_null(file);
	n = fread(text, 1, sizeof(text) - 1, file);
	text[n] = '\0';
	fclose(file);
	unlink(path);
	assert_string_equal(text, content);
}

static void assert_error(const char *tail)
{
	char whole[512];

	snprintf(whole, sizeof(whole), "%s %s", script_path, tail);
	assert_string_equal(ctx.error, whole);
	assert_int_not_equal(errno, EINTR); /* the program would take it for a signal */
}

/* ---- hooks and exit codes ---- */

static void test_sequence(void **state)
{
	(void)state;
	ctx.args[0] = "one";
	ctx.args[1] = "two words";
	open_script("echo \"$#: $1 $2 $3\" >>${0%/*}/diary\n"
		    "read line && echo read >>${0%/*}/diary\n"
		    "pwd >>${0%/*}/diary");
	assert_int_equal(pre_copy(), 0);
	assert_int_equal(on_stop(1000), 0);
	assert_int_equal(on_stop(1000), 0); /* some other plugin was not done */
	assert_int_equal(on_resume(), 0);
	cleanup(KATAMARAN_DONE);
	assert_file("diary",
		    "3: pre_copy one two words\n/\n3: on_stop one two words\n/\n"
		    "3: on_resume one two words\n/\n3: cleanup one two words\n/\n");
}

static void test_exit_codes(void **state)
{
	(void)state;
	open_script("echo first >&2; printf 'second\\033[1m  ' >&2; exit 1");
	assert_int_equal(pre_copy(), -1);
	assert_error("pre_copy: second?[1m");
	assert_non_null(strstr(ctx.log, ": first\n"));
	assert_non_null(strstr(ctx.log, ": second?[1m\n"));
	assert_int_equal(on_stop(1000), -1);
	assert_error("on_stop: second?[1m");
	cleanup(KATAMARAN_FAILED);
	open_script("exit 1");
	assert_int_equal(pre_copy(), -1);
	assert_error("pre_copy: exit status 1");
	cleanup(KATAMARAN_FAILED);
	open_script("echo why >&2; exit 77");
	assert_int_equal(pre_copy(), -1);
	assert_error("pre_copy: exit status 77: why");
	cleanup(KATAMARAN_FAILED);
	open_script("kill -9 $$");
	assert_int_equal(pre_copy(), -1);
	assert_error("pre_copy: was killed by signal 9");
	assert_int_equal(on_resume(), -1);
	assert_error("on_resume: was killed by signal 9");
	cleanup(KATAMARAN_FAILED);
}

static void test_unwanted(void **state)
{
	(void)state;
	open_script("echo $1 >>${0%/*}/diary; [ $1 = cleanup ] || exit 2");
	for (int i = 0; i < 3; i++) {
		assert_int_equal(pre_copy(), 0);
		assert_int_equal(on_resume(), 0);
	}
	cleanup(KATAMARAN_CANCELLED);
	assert_file("diary", "pre_copy\non_resume\ncleanup\n");
}

/* The record is there before pre_copy has done anything; another process reads it. */
static void test_recover(void **state)
{
	(void)state;
	open_script("echo $1 $KATAMARAN_OUTCOME >>${0%/*}/diary; [ $1 = cleanup ]");
	assert_int_equal(pre_copy(), -1);
	assert_string_not_equal(journal, "");
	cleanup(KATAMARAN_FAILED);
	set_budget(10000);
	assert_int_equal(kat_script_recover(&ctx, journal, KATAMARAN_DONE), 0);
	assert_file("diary", "pre_copy\ncleanup failed\ncleanup done\n");
	write_script("exit 1");
	assert_int_equal(kat_script_recover(&ctx, journal, KATAMARAN_FAILED), -1);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void test_rounds(void **state)
{
	(void)state;
	open_script("[ $1 = cleanup ] || echo $KATAMARAN_ROUND >>${0%/*}/diary\n"
		    "case $KATAMARAN_ROUND in 0) echo 250;; 1) echo soon;; esac");
	assert_int_equal(on_resume(), 250);
	assert_int_equal(on_resume(), 0);
	assert_non_null(strstr(ctx.log, "\"soon\n\" is no pause in milliseconds"));
	cleanup(KATAMARAN_DONE);
	assert_file("diary", "0\n1\n");
}

/* It takes longer than a round's budget, and nobody waits for it. */
static void test_slow_round(void **state)
{
	(void)state;
	open_script("[ $1 = cleanup ] || sleep 0.3; echo 7000");
	assert_int_equal(on_resume(), 7000);
	cleanup(KATAMARAN_DONE);
	ctx.timeout_ms = 100;
	open_script("[ $1 = cleanup ] || exec sleep 20");
	assert_int_equal(on_resume(), -1);
	assert_error("on_resume: took longer than 100 ms and has been killed");
	cleanup(KATAMARAN_DONE);
	ctx.timeout_ms = 30000;
	open_script("[ $1 = cleanup ] || exec sleep 20");
	set_budget(50);
	assert_true(kat_script_on_resume(&ctx, handle, 0) > 0);
	cleanup(KATAMARAN_DONE); /* while it is at work */
	assert_error("on_resume: took longer than 500 ms and has been killed");
}

static void test_role(void **state)
{
	(void)state;
	ctx.roles[0] = "destination";
	ctx.roles[1] = NULL;
	ctx.path = "/nonexistent"; /* is not looked at on the other end */
	assert_int_equal(kat_script_open(&ctx, &handle), 0);
	assert_int_equal(pre_copy(), 0);
	assert_int_equal(on_stop(1000), 0);
	assert_int_equal(on_resume(), 0);
	cleanup(KATAMARAN_DONE);
	ctx.roles[0] = "sauce";
	assert_int_equal(kat_script_open(&ctx, &handle), -1);
	assert_string_equal(ctx.error,
			    "roles: \"sauce\" is neither source nor destination");
}

/* ---- environment ---- */

static void test_many_addresses(void **state)
{
	char wanted[16];

	(void)state;
	ctx.nics = 1;
	ctx.many = true;
	open_script("[ $1 = cleanup ] || { set -- $KATAMARAN_NIC0_IPS; echo $# "
		    ">${0%/*}/env; }");
	assert_int_equal(pre_copy(), 0);
	snprintf(wanted, sizeof(wanted), "%d\n", MANY);
	assert_file("env", wanted);
	cleanup(KATAMARAN_DONE);
}

static void test_environment(void **state)
{
	static const char fixed[] =
		"KATAMARAN_API=1\nKATAMARAN_DEADLINE_MS=%d\nKATAMARAN_HOOK=%s\n"
		"KATAMARAN_ID=a1b2\n"
		"KATAMARAN_NIC0_IPS=10.244.1.5 2001:db8::5\n"
		"KATAMARAN_NIC0_MAC=52:54:00:12:34:56\n"
		"KATAMARAN_NIC0_NETNS=/run/netns/pod\nKATAMARAN_NIC0_TAP=tap0\n"
		"KATAMARAN_NIC1_IPS=\nKATAMARAN_NIC1_MAC=\nKATAMARAN_NIC1_NETNS=\n"
		"KATAMARAN_NIC1_TAP=\nKATAMARAN_NICS=2\n"
		"KATAMARAN_OPT_BGP_AS=65000\nKATAMARAN_OPT_EMPTY=\n%s"
		"KATAMARAN_PEER=%s\nKATAMARAN_ROLE=%s\n%s"
		"KATAMARAN_VM_NAME=my guest\nKATAMARAN_VM_UUID=\n"
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n";
	char wanted[2048];

	(void)state;
	ctx.settings[0] = "bgp-as=65000";
	ctx.settings[1] = "Empty=";
	ctx.nics = 2;
	ctx.timeout_ms = 4000;
	setenv("KATAMARAN_STRANGER", "1", 1);
	open_script("tr '\\0' '\\n' </proc/$$/environ | LC_ALL=C sort >${0%/*}/env");
	assert_int_equal(pre_copy(), 0);
	snprintf(wanted, sizeof(wanted), fixed, 4000, "pre_copy", "", "192.0.2.2",
		 "source", "");
	assert_file("env", wanted);
	ctx.on_stop_ms = 3000;
	assert_int_equal(on_stop(10), 0);
	snprintf(wanted, sizeof(wanted), fixed, 3000, "on_stop", "", "192.0.2.2",
		 "source", "");
	assert_file("env", wanted);
	assert_int_equal(on_resume(), 0);
	snprintf(wanted, sizeof(wanted), fixed, 4000, "on_resume", "", "192.0.2.2",
		 "source", "KATAMARAN_ROUND=0\n");
	assert_file("env", wanted);
	cleanup(KATAMARAN_CANCELLED);
	snprintf(wanted, sizeof(wanted), fixed, 4000, "cleanup",
		 "KATAMARAN_OUTCOME=cancelled\n", "192.0.2.2", "source", "");
	assert_file("env", wanted);
	ctx.source = false;
	ctx.peer = NULL;
	open_script("[ $1 = cleanup ] || tr '\\0' '\\n' </proc/$$/environ | LC_ALL=C "
		    "sort >${0%/*}/env");
	assert_int_equal(pre_copy(), 0);
	snprintf(wanted, sizeof(wanted), fixed, 4000, "pre_copy", "", "", "destination",
		 "");
	assert_file("env", wanted);
	cleanup(KATAMARAN_DONE);
}

static void test_bad_settings(void **state)
{
	static const char *const bad[] = {"name", "=value", "na me=value", "n$=1"};
	char wanted[64];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		ctx.settings[0] = bad[i];
		write_script("exit 0");
		set_budget(1000);
		assert_int_equal(kat_script_open(&ctx, &handle), -1);
		snprintf(wanted, sizeof(wanted), "settings: \"%s\" is not NAME=VALUE",
			 bad[i]);
		assert_string_equal(ctx.error, wanted);
	}
}

/* Neither descriptors nor blocked or ignored signals of ours. */
static void test_inheritance(void **state)
{
	sigset_t term;
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0); /* not close-on-exec */
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_BLOCK, &term, NULL);
	signal(SIGPIPE, SIG_IGN);
	/* Of what is ignored the lowest 28: the C library keeps 32 for itself. */
	open_script("[ $1 != cleanup ] || exit 0\n"
		    "grep SigBlk /proc/self/status >${0%/*}/diary\n"
		    "sed -n 's/SigIgn:.*\\(.......\\)/ignored \\1/p' /proc/self/status"
		    " >>${0%/*}/diary\n"
		    "readlink /proc/self/fd/0 >>${0%/*}/diary\n"
		    "read -r _ _ _ _ group _ </proc/$$/stat\n"
		    "[ $group = $$ ] && echo own group >>${0%/*}/diary\n"
		    "exec ls /proc/self/fd >&2");
	assert_int_equal(pre_copy(), 0);
	cleanup(KATAMARAN_DONE);
	sigprocmask(SIG_UNBLOCK, &term, NULL);
	signal(SIGPIPE, SIG_DFL);
	close(fds[0]);
	close(fds[1]);
	assert_file("diary", "SigBlk:\t0000000000000000\nignored 0000000\n/dev/null\n"
			     "own group\n");
	assert_non_null(strstr(ctx.log, ": 2\n"));
	assert_null(strstr(ctx.log, ": 4\n")); /* 3 is the folder that is listed */
}

/* ---- what is refused ---- */

static void assert_refused(const char *path, const char *pattern)
{
	ctx.path = path;
	set_budget(1000);
	assert_int_equal(kat_script_open(&ctx, &handle), -1);
	if (!strstr(ctx.error, pattern))
		fail_msg("\"%s\" does not tell \"%s\"", ctx.error, pattern);
}

static void test_refusals(void **state)
{
	char path[128], link[128];

	(void)state;
	write_script("exit 0");
	assert_refused("script", "path script: must be absolute");
	assert_refused("/nonexistent/script", "No such file or directory");
	assert_refused(folder, "is not a regular file");
	chmod(script_path, 0775);
	assert_refused(script_path, "others may write it (mode 0775)");
	chmod(script_path, 0757);
	assert_refused(script_path, "others may write it (mode 0757)");
	chmod(script_path, 0644);
	assert_refused(script_path, "cannot be executed");
	chmod(script_path, 0755);
	chmod(folder, 0770);
	assert_refused(script_path, "others may write it (mode 0770)");
	chmod(folder, 01777); /* as /tmp is: nobody can replace the file */
	ctx.path = script_path;
	assert_int_equal(kat_script_open(&ctx, &handle), 0);
	cleanup(KATAMARAN_DONE);
	chmod(folder, 0700);
	/* A folder further up, and a link from a good place to a bad one. */
	snprintf(path, sizeof(path), "%s/bad", folder);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(chmod(path, 0777), 0);
	strcat(path, "/good");
	assert_int_equal(mkdir(path, 0755), 0);
	strcat(path, "/script");
	assert_int_equal(rename(script_path, path), 0);
	assert_refused(path, "others may write it (mode 0777)");
	snprintf(link, sizeof(link), "%s/link", folder);
	assert_int_equal(symlink(path, link), 0);
	assert_refused(link, "others may write it (mode 0777)");
	unlink(link);
	if (geteuid() == 0) {
		assert_int_equal(rename(path, script_path), 0);
		assert_int_equal(chown(script_path, 65534, 65534), 0);
		assert_refused(script_path, "it belongs to user 65534");
	}
	unlink(path);
	*strrchr(path, '/') = '\0';
	rmdir(path);
	*strrchr(path, '/') = '\0';
	rmdir(path);
}

static void test_not_startable(void **state)
{
	FILE *file;

	(void)state;
	unlink(script_path);
	file = fopen(script_path, "w");
	assert_non_null(file);
	fputs("#!/nonexistent/shell\n", file);
	fclose(file);
	chmod(script_path, 0755);
	set_budget(1000);
	assert_int_equal(kat_script_open(&ctx, &handle), 0);
	assert_int_equal(pre_copy(), -1);
	assert_error("pre_copy: cannot be started: No such file or directory");
	cleanup(KATAMARAN_FAILED);
}

/* ---- deadlines ---- */

static void assert_no_process(const char *pid_file)
{
	char path[128];
	int pid = 0;
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", folder, pid_file);
	file = fopen(path, "r");
	assert_non_null(file);
	assert_int_equal(fscanf(file, "%d", &pid), 1);
	fclose(file);
	unlink(path);
	/* It is not our child: whoever reaps it may need a moment. */
	for (int i = 0; i < 100; i++) {
		char state = 'Z';

		snprintf(path, sizeof(path), "/proc/%d/stat", pid);
		file = fopen(path, "r");
		if (!file)
			return;
		if (fscanf(file, "%*d %*[^)]) %c", &state) != 1)
			state = 'Z';
		fclose(file);
		if (state == 'Z' || state == 'X')
			return;
		usleep(10000);
	}
	fail_msg("process %d of %s is still there", pid, pid_file);
}

/* Neither it nor its child cares about SIGTERM. */
static const char stubborn[] = "[ $1 != cleanup ] || exit 0\n"
			       "trap '' TERM\n"
			       "(echo $$ >${0%/*}/parent; while :; do sleep 1; done) &\n"
			       "echo $! >${0%/*}/child\n"
			       "echo waiting >&2\n"
			       "while :; do sleep 1; done";

static void test_deadline(void **state)
{
	int64_t begun;

	(void)state;
	ctx.timeout_ms = 200;
	open_script(stubborn);
	begun = now_ns();
	assert_int_equal(pre_copy(), -1);
	assert_in_range((now_ns() - begun) / MS, 200, 1500);
	assert_error("pre_copy: took longer than 200 ms and has been killed");
	assert_no_process("parent");
	assert_no_process("child");
	begun = now_ns();
	assert_int_equal(on_stop(100), -1);
	assert_in_range((now_ns() - begun) / MS, 100, 450); /* no half second of grace */
	assert_error("on_stop: took longer than 100 ms and has been killed");
	assert_no_process("parent");
	assert_no_process("child");
	ctx.timeout_ms = 30000;
	cleanup(KATAMARAN_FAILED);
}

/* One that does care gets the time to put its things away. */
static void test_grace(void **state)
{
	(void)state;
	ctx.timeout_ms = 200;
	open_script("[ $1 != cleanup ] || exit 0\n"
		    "trap 'echo tidy >${0%/*}/diary; exit' TERM\n"
		    "while :; do sleep 0.05; done");
	assert_int_equal(pre_copy(), -1);
	assert_file("diary", "tidy\n");
	cleanup(KATAMARAN_FAILED);
}

/* A child in the background that keeps the pipes open holds nobody up. */
static void test_background(void **state)
{
	int64_t begun = now_ns();

	(void)state;
	open_script("[ $1 = cleanup ] || sleep 2 &\necho done >&2");
	assert_int_equal(pre_copy(), 0);
	cleanup(KATAMARAN_DONE);
	assert_true(now_ns() - begun < 1500 * MS);
}

static void test_flood(void **state)
{
	(void)state;
	open_script(
		"i=0; while [ $i -lt 3000 ]; do echo line $i >&2; echo $i; i=$((i+1)); "
		"done\nhead -c 100000 /dev/zero >&2; exit 1");
	assert_int_equal(pre_copy(), -1);
	assert_non_null(strstr(ctx.log, ": line 99\n"));
	assert_null(strstr(ctx.log, ": line 100\n"));
	assert_non_null(strstr(ctx.log, "says more than 100 lines"));
	cleanup(KATAMARAN_FAILED);
}

/* It may take an hour: the other end hears of us all the while. */
static void test_alive(void **state)
{
	unsigned int before = alive;

	(void)state;
	open_script("sleep 0.4");
	assert_int_equal(pre_copy(), 0);
	assert_true(alive > before);
	before = alive;
	cleanup(KATAMARAN_DONE);
	assert_true(alive > before);
}

/* As the program has it: blocked, and taken when the hook has returned. */
static void test_interrupt(void **state)
{
	int64_t begun = now_ns();
	sigset_t term;
	int number;

	(void)state;
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_BLOCK, &term, NULL);
	open_script("[ $1 = cleanup ] || exec sleep 20");
	kill(getpid(), SIGTERM);
	assert_int_equal(pre_copy(), -1);
	assert_int_equal(errno, EINTR);
	assert_true(now_ns() - begun < 2000 * MS);
	sigwait(&term, &number);
	sigprocmask(SIG_UNBLOCK, &term, NULL);
	cleanup(KATAMARAN_CANCELLED);
}

/* ---- the coprocess ---- */

static const char answering[] =
	"echo \"start $* $KATAMARAN_ROLE\" >>${0%/*}/diary\n"
	"while read -r hook rest; do\n"
	"echo \"$hook $rest\" >>${0%/*}/diary\n"
	"case $hook in pre_copy) echo unwanted;; on_stop) echo ok;;\n"
	"on_resume) case $rest in *=0) echo ok 250;; *=1) echo ok;;\n"
	"*) echo error no third round;; esac;; *) echo ok;; esac\n"
	"done\necho end >>${0%/*}/diary";

static void test_coprocess(void **state)
{
	(void)state;
	ctx.coprocess = true;
	ctx.timeout_ms = 4000;
	ctx.on_stop_ms = 2000;
	ctx.args[0] = "x";
	open_script(answering);
	assert_int_equal(pre_copy(), 0);
	assert_int_equal(pre_copy(), 0);
	assert_int_equal(on_stop(10), 0);
	assert_int_equal(on_resume(), 250);
	assert_int_equal(on_resume(), 0);
	assert_int_equal(on_resume(), -1);
	assert_error("on_resume: no third round");
	cleanup(KATAMARAN_DONE);
	assert_string_equal(ctx.error, "");
	assert_file("diary",
		    "start coprocess x source\npre_copy deadline_ms=4000\n"
		    "on_stop deadline_ms=2000\non_resume deadline_ms=4000 round=0\n"
		    "on_resume deadline_ms=4000 round=1\n"
		    "on_resume deadline_ms=4000 round=2\n"
		    "cleanup deadline_ms=4000 outcome=done\nend\n");
}

static void test_coprocess_death(void **state)
{
	(void)state;
	ctx.coprocess = true;
	open_script("read -r line; echo ok; echo bye >&2; exit 3");
	assert_int_equal(pre_copy(), 0);
	usleep(100000);
	assert_int_equal(on_stop(1000), -1);
	assert_error("on_stop: the coprocess has ended: exit status 3");
	assert_non_null(strstr(ctx.log, ": bye\n"));
	assert_int_equal(on_resume(), -1);
	assert_error("on_resume: the coprocess has gone");
	cleanup(KATAMARAN_FAILED);
	assert_error("cleanup: the coprocess has gone");
	open_script("kill -11 $$");
	assert_int_equal(pre_copy(), -1);
	assert_error("pre_copy: the coprocess was killed by signal 11");
	cleanup(KATAMARAN_FAILED);
}

static void test_coprocess_deadline(void **state)
{
	(void)state;
	ctx.coprocess = true;
	open_script(
		"trap '' TERM; echo $$ >${0%/*}/parent\n"
		"(echo; while :; do sleep 1; done) >/dev/null & echo $! >${0%/*}/child\n"
		"while read -r hook rest; do [ $hook = pre_copy ] && echo ok; done\n"
		"while :; do sleep 1; done");
	assert_int_equal(pre_copy(), 0);
	assert_int_equal(on_stop(50), -1);
	assert_error("on_stop: took longer than 50 ms and has been killed");
	assert_no_process("parent");
	assert_no_process("child");
	cleanup(KATAMARAN_FAILED);
	/* One that does not end when its input does. */
	open_script(
		"trap '' TERM; echo $$ >${0%/*}/parent\n"
		"while read -r hook rest; do echo ok; done\nwhile :; do sleep 1; done");
	assert_int_equal(pre_copy(), 0);
	cleanup(KATAMARAN_DONE);
	assert_no_process("parent");
}

static void test_coprocess_babble(void **state)
{
	(void)state;
	ctx.coprocess = true;
	open_script("while read -r hook rest; do echo what; done");
	assert_int_equal(pre_copy(), -1);
	assert_error("pre_copy: the coprocess answered \"what\"");
	cleanup(KATAMARAN_FAILED);
	open_script("while read -r hook rest; do echo ok; echo ok; done");
	assert_int_equal(pre_copy(), 0);
	usleep(50000);
	assert_int_equal(on_stop(1000), 0);
	assert_non_null(strstr(ctx.log, "spoke without being asked"));
	usleep(50000);
	cleanup(KATAMARAN_DONE);
}

/* ---- what a coprocess is for ---- */

static int compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return x < y ? -1 : x > y;
}

#define RUNS 101

/* A hook's time where nobody took the processor from it, ns: the fastest tenth. */
static int64_t measure(void)
{
	static int64_t times[RUNS];

	for (int i = 0; i < RUNS; i++) {
		int64_t begun = now_ns();

		assert_int_equal(pre_copy(), 0);
		times[i] = now_ns() - begun;
	}
	qsort(times, RUNS, sizeof(times[0]), compare);
	return times[RUNS / 10];
}

static void test_ratio(void **state)
{
	int64_t spawned, answered;

	(void)state;
	open_script("exit 0");
	spawned = measure();
	cleanup(KATAMARAN_DONE);
	ctx.coprocess = true;
	open_script("while read -r hook rest; do echo ok; done");
	answered = measure();
	cleanup(KATAMARAN_DONE);
	print_message("a spawned shell %lld us, a coprocess %lld us: 1 : %lld\n",
		      (long long)spawned / 1000, (long long)answered / 1000,
		      (long long)(spawned / answered));
	assert_true(spawned >= 4 * answered);
}

static int make_folder(void **state)
{
	(void)state;
	umask(022);
	if (!mkdtemp(folder))
		return -1;
	snprintf(script_path, sizeof(script_path), "%s/script", folder);
	return 0;
}

static int remove_folder(void **state)
{
	(void)state;
	unlink(script_path);
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_sequence, set_up),
		cmocka_unit_test_setup(test_exit_codes, set_up),
		cmocka_unit_test_setup(test_unwanted, set_up),
		cmocka_unit_test_setup(test_recover, set_up),
		cmocka_unit_test_setup(test_rounds, set_up),
		cmocka_unit_test_setup(test_slow_round, set_up),
		cmocka_unit_test_setup(test_role, set_up),
		cmocka_unit_test_setup(test_environment, set_up),
		cmocka_unit_test_setup(test_many_addresses, set_up),
		cmocka_unit_test_setup(test_bad_settings, set_up),
		cmocka_unit_test_setup(test_inheritance, set_up),
		cmocka_unit_test_setup(test_refusals, set_up),
		cmocka_unit_test_setup(test_not_startable, set_up),
		cmocka_unit_test_setup(test_deadline, set_up),
		cmocka_unit_test_setup(test_grace, set_up),
		cmocka_unit_test_setup(test_background, set_up),
		cmocka_unit_test_setup(test_flood, set_up),
		cmocka_unit_test_setup(test_interrupt, set_up),
		cmocka_unit_test_setup(test_alive, set_up),
		cmocka_unit_test_setup(test_coprocess, set_up),
		cmocka_unit_test_setup(test_coprocess_death, set_up),
		cmocka_unit_test_setup(test_coprocess_deadline, set_up),
		cmocka_unit_test_setup(test_coprocess_babble, set_up),
		cmocka_unit_test_setup(test_ratio, set_up),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
