/* SPDX-License-Identifier: BSD-2-Clause */
/* A process that waits for a descriptor, seen from outside, and one that does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "plugins/lib/tap.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define TRIES 1000 /* of 10 ms: until the process sleeps */

static int ends[2][2]; /* pipes */

/* Sleeps in poll(2) for the first `n` pipes, or elsewhere. */
static pid_t sleeper(nfds_t n)
{
	struct pollfd set[] = {{.fd = ends[0][0], .events = POLLIN},
			       {.fd = ends[1][0], .events = POLLIN}};
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		if (n)
			poll(set, n, -1);
		else
			pause();
	}
}

static struct kat_tap tap_of(void)
{
	return (struct kat_tap){
		.count = 2,
		.numbers = {ends[0][0], ends[1][0]},
		.watched = {true, true},
	};
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* How many it keeps, once it sleeps in poll(2); -1 if it never does. */
static int kept(pid_t pid)
{
	struct kat_tap tap = tap_of();
	int n = -1;

	for (int i = 0; n < 0 && i < TRIES; i++) {
		n = kat_tap_kept(&tap, pid);
		usleep(10000);
	}
	return n;
}

static void test_kept(void **state)
{
	pid_t both = sleeper(2), one = sleeper(1);
	char path[64];

	(void)state;
	snprintf(path, sizeof(path), "/proc/%d/syscall", (int)both);
	if (access(path, R_OK) < 0) {
		end(both);
		end(one);
		print_message("this kernel does not tell what a process waits in\n");
		skip();
	}
	assert_int_equal(kept(both), 0);
	assert_int_equal(kept(one), 1);
	end(both);
	end(one);
}

/* A queue that was never waited for is not missed. */
static void test_watch(void **state)
{
	struct kat_tap tap = tap_of();
	pid_t one = sleeper(1);

	(void)state;
	if (kept(one) < 0) {
		end(one);
		skip();
	}
	tap.watched[0] = tap.watched[1] = false;
	kat_tap_watch(&tap, one);
	assert_true(tap.watched[0]);
	assert_false(tap.watched[1]);
	assert_int_equal(kat_tap_kept(&tap, one), 0);
	end(one);
}

static void test_elsewhere(void **state)
{
	struct kat_tap tap = tap_of();
	pid_t pid = sleeper(0);

	(void)state;
	for (int i = 0; i < 10; i++) {
		assert_int_equal(kat_tap_kept(&tap, pid), -1);
		usleep(10000);
	}
	assert_int_equal(kat_tap_kept(&tap, 0), -1);
	end(pid);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kept),
		cmocka_unit_test(test_watch),
		cmocka_unit_test(test_elsewhere),
	};

	if (pipe(ends[0]) < 0 || pipe(ends[1]) < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
