/* SPDX-License-Identifier: BSD-2-Clause */
/* The link to the other end, with shell scripts as the other end. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define KATAMARAN_API_VERSION 1
#include "api.h"
#include "katamaran-plugin.h"
#include "log.h"
#include "peer.h"
#include "qmp.h"
#include "util.h"

static struct kat_loop loop;
static struct kat_peer *peer;

/* Instead of the C library's: the clock can be ahead of the time. */
static int64_t ahead_s;
int clock_gettime(clockid_t id, struct timespec *ts)
{
	int ret = (int)syscall(SYS_clock_gettime, id, ts);

	ts->tv_sec += ahead_s;
	return ret;
}

static void start(const char *script)
{
	char *command[] = {(char *)"/bin/sh", (char *)"-c", (char *)script, NULL};
	struct kat_error *err = NULL;

	if (kat_peer_start(&peer, &loop, command, &err) < 0)
		fail_msg("%s", err->message);
}

static int set_up(void **state)
{
	(void)state;
	return kat_loop_open(&loop, NULL);
}

static int tear_down(void **state)
{
	(void)state;
	ahead_s = 0;
	kat_peer_close(&peer, kat_deadline_ms(100));
	kat_loop_close(&loop);
	return 0;
}

static struct json_object *await(const char *type)
{
	struct json_object *message = NULL;
	struct kat_error *err = NULL;

	if (kat_peer_wait(peer, type, kat_deadline_ms(5000), &message, &err) < 0)
		fail_msg("%s", err->message);
	return message;
}

static void await_error(const char *type, int64_t ms, int sys_errno, const char *part)
{
	struct kat_error *err = NULL;

	assert_int_equal(kat_peer_wait(peer, type, kat_deadline_ms(ms), NULL, &err), -1);
	assert_int_equal(err->sys_errno, sys_errno);
	if (!strstr(err->message, part))
		fail_msg("\"%s\" lacks \"%s\"", err->message, part);
	kat_error_free(&err);
}

/* The flag is the last word, and what we say first is a hello. */
static void test_greeting(void **state)
{
	struct json_object *message;

	(void)state;
	start("read -r line; echo "
	      "\"{\\\"type\\\":\\\"flag\\\",\\\"value\\\":\\\"$0\\\"}\";"
	      "echo \"$line\" | sed s/hello/echo/");
	message = await("flag");
	assert_string_equal(kat_json_string(message, "value"), "-peer-stdio");
	json_object_put(message);
	message = await("echo");
	assert_int_equal(kat_json_int(message, "protocol", 0), KAT_PEER_PROTOCOL);
	assert_string_equal(kat_json_string(message, "version"), PACKAGE_VERSION);
	json_object_put(message);
}

/* Others stay queued in their order; what is no message is passed over. */
static void test_order_is_kept(void **state)
{
	struct json_object *message;

	(void)state;
	start("echo 'Last login: today'; echo '[1,2]'; echo '{\"no\":\"type\"}';"
	      "echo '{\"type\":\"alive\"}';"
	      "echo '{\"type\":\"one\"}'; echo '{\"type\":\"two\"}'; printf '{\"type\":';"
	      "sleep 0.1; echo '\"three\"}'");
	json_object_put(await("three"));
	message = kat_peer_take(peer);
	assert_string_equal(kat_json_string(message, "type"), "one");
	json_object_put(message);
	json_object_put(await("two"));
	assert_null(kat_peer_take(peer));
}

static void test_failure_has_words(void **state)
{
	(void)state;
	start("echo '{\"type\":\"failed\",\"reason\":\"no tap\"}'; sleep 5");
	await_error("ready", 5000, ECANCELED, "the other end failed: no tap");
}

static void test_an_end_is_seen(void **state)
{
	(void)state;
	start("exit 3");
	await_error("hello", 5000, EPIPE, "closed the link");
	assert_true(kat_peer_gone(peer));
	assert_false(kat_peer_send(peer, "hold", NULL));
}

/* What was said before the end is still there. */
static void test_last_words(void **state)
{
	(void)state;
	start("echo '{\"type\":\"result\"}'");
	usleep(100000);
	json_object_put(await("result"));
	await_error("more", 5000, EPIPE, "closed the link");
}

static void test_silence_has_a_deadline(void **state)
{
	int64_t before = kat_now_ns();

	(void)state;
	start("sleep 10");
	await_error("ready", 100, ETIMEDOUT, "\"ready\" in time");
	assert_true(kat_now_ns() - before < 3 * KAT_NS_PER_S);
}

/* Nor is one waited for that has been silent for too long; a word is enough. */
static void test_a_silent_end_is_given_up(void **state)
{
	(void)state;
	start("while read -r line; do case $line in *alive*) break ;; esac; done;"
	      "echo '{\"type\":\"alive\"}'; sleep 10");
	ahead_s = 44;
	await_error("ready", 300, ETIMEDOUT, "in time");
	ahead_s = 60;
	await_error("ready", 300, ETIMEDOUT, "in time");
	ahead_s = 44 + 47;
	await_error("ready", 5000, EPIPE,
		    "nothing was heard from the other end for 45 s");
}

/* On a terminal, of whose foreground we are: in a process of its own. */
static int on_a_terminal(void)
{
	int terminal = posix_openpt(O_RDWR | O_NOCTTY), fd;
	struct kat_error *err = NULL;

	if (terminal < 0 || grantpt(terminal) < 0 || unlockpt(terminal) < 0)
		return 2;
	setsid();
	fd = open(ptsname(terminal), O_RDWR);
	if (fd < 0 || ioctl(fd, TIOCSCTTY, 0) < 0 || tcgetpgrp(fd) != getpid())
		return 3;
	start("(read -r password </dev/tty) 2>/dev/null || echo '{\"type\":\"refused\"}';"
	      "read -r line; read -r line; echo '{\"type\":\"interrupted\"}'");
	if (kat_peer_wait(peer, "refused", kat_deadline_ms(3000), NULL, &err) < 0)
		return 4;
	if (write(terminal, "\003", 1) != 1)
		return 5;
	if (kat_peer_wait(peer, "interrupted", kat_deadline_ms(3000), NULL, &err) == 0 ||
	    err->sys_errno != EINTR || kat_loop_take_signal(&loop) != SIGINT)
		return 6;
	kat_peer_send(peer, "failed", NULL);
	return kat_peer_wait(peer, "interrupted", kat_deadline_ms(3000), NULL, &err) < 0;
}

/* Ctrl-C is for us, and nobody waits for an answer that cannot be given. */
static void test_a_terminal_is_ours(void **state)
{
	pid_t child = fork();
	int status;

	(void)state;
	if (!child)
		_exit(on_a_terminal());
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void test_a_signal_wakes(void **state)
{
	(void)state;
	start("sleep 10");
	raise(SIGTERM);
	await_error("ready", 5000, EINTR, "signal");
	assert_int_equal(kat_loop_take_signal(&loop), SIGTERM);
	await_error("ready", 50, ETIMEDOUT, "in time");
}

/* A hook that waits by itself, for hours. */
static void test_a_blocked_hook_is_heard(void **state)
{
	struct kat_migration migration = {.loop = &loop};
	struct katamaran_ctx ctx = {.migration = &migration};

	(void)state;
	start("read -r hello; read -r line; echo \"$line\" | sed s/alive/heard/; sleep "
	      "9");
	loop.next_tick_ns = 0;
	assert_int_equal(katamaran_alive(&ctx), 0);
	kat_loop_tick(&loop, 0, NULL, NULL); /* it was said then, or never */
	json_object_put(await("heard"));
	raise(SIGTERM);
	assert_int_equal(katamaran_alive(&ctx), -1);
	assert_int_equal(errno, EINTR);
	loop.deaf = true;
	assert_int_equal(katamaran_alive(&ctx), 0);
	loop.deaf = false;
	assert_int_equal(kat_loop_take_signal(&loop), SIGTERM);
}

/* A line without an end is dropped, not kept for ever; the next one is read. */
static void test_endless_line(void **state)
{
	(void)state;
	start("head -c 300000 /dev/zero | tr '\\0' x; echo; echo '{\"type\":\"after\"}'");
	json_object_put(await("after"));
}

/* Somebody who does not read does not hold us up for more than a second. */
static void test_a_deaf_end_is_given_up(void **state)
{
	int64_t before = kat_now_ns();

	(void)state;
	start("sleep 20");
	for (int i = 0; i < 100000 && kat_peer_send(peer, "hold", NULL); i++)
		;
	assert_true(kat_peer_gone(peer));
	assert_non_null(strstr(kat_peer_why_gone(peer), "does not read"));
	assert_true(kat_now_ns() - before < 5 * KAT_NS_PER_S);
}

static void test_close_ends_the_command(void **state)
{
	int64_t before = kat_now_ns();

	(void)state;
	start("trap '' TERM; while :; do sleep 1; done");
	usleep(100000);
	kat_peer_close(&peer, kat_deadline_ms(100));
	assert_null(peer);
	assert_true(kat_now_ns() - before < 5 * KAT_NS_PER_S);
}

static void test_no_such_command(void **state)
{
	char *command[] = {(char *)"/nonexistent/katamaran", NULL};
	struct kat_error *err = NULL;

	(void)state;
	assert_int_equal(kat_peer_start(&peer, &loop, command, &err), -1);
	assert_non_null(strstr(err->message, "\"/nonexistent/katamaran\": No such file"));
	kat_error_free(&err);
}

int main(void)
{
#define WITH_LOOP(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		WITH_LOOP(test_greeting),
		WITH_LOOP(test_order_is_kept),
		WITH_LOOP(test_failure_has_words),
		WITH_LOOP(test_an_end_is_seen),
		WITH_LOOP(test_last_words),
		WITH_LOOP(test_silence_has_a_deadline),
		WITH_LOOP(test_a_silent_end_is_given_up),
		WITH_LOOP(test_a_terminal_is_ours),
		WITH_LOOP(test_a_signal_wakes),
		WITH_LOOP(test_a_blocked_hook_is_heard),
		WITH_LOOP(test_endless_line),
		WITH_LOOP(test_a_deaf_end_is_given_up),
		WITH_LOOP(test_close_ends_the_command),
		WITH_LOOP(test_no_such_command),
	};

	kat_log_level(KAT_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
