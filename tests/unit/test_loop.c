/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "loop.h"
#include "util.h"

static struct kat_loop loop;
static int pipe_fds[2];

static int setup(void **state)
{
	(void)state;
	return kat_loop_open(&loop, NULL) < 0 || pipe(pipe_fds) < 0;
}

static int teardown(void **state)
{
	(void)state;
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	kat_loop_close(&loop);
	return 0;
}

static enum kat_wake wait_ms(int fd, short events, int64_t ms)
{
	return kat_loop_wait(&loop, fd, events, kat_deadline_ms(ms));
}

static void test_deadline_sleeps_its_time(void **state)
{
	int64_t start = kat_now_ns();

	(void)state;
	assert_int_equal(wait_ms(pipe_fds[0], POLLIN, 50), KAT_WAKE_DEADLINE);
	assert_in_range(kat_now_ns() - start, 50 * KAT_NS_PER_MS, KAT_NS_PER_S);
	start = kat_now_ns();
	assert_int_equal(wait_ms(-1, 0, 30), KAT_WAKE_DEADLINE);
	assert_in_range(kat_now_ns() - start, 30 * KAT_NS_PER_MS, KAT_NS_PER_S);
}

static void test_a_deadline_that_has_passed_does_not_sleep(void **state)
{
	int64_t start = kat_now_ns();

	(void)state;
	assert_int_equal(kat_loop_wait(&loop, pipe_fds[0], POLLIN, 0), KAT_WAKE_DEADLINE);
	assert_true(kat_now_ns() - start < KAT_NS_PER_S);
	assert_int_equal(write(pipe_fds[1], "x", 1), 1);
	assert_int_equal(kat_loop_wait(&loop, pipe_fds[0], POLLIN, 0), KAT_WAKE_READY);
}

static void test_data_and_hangup_wake(void **state)
{
	int64_t start = kat_now_ns();
	char c;

	(void)state;
	assert_int_equal(wait_ms(pipe_fds[1], POLLOUT, 5000), KAT_WAKE_READY);
	assert_int_equal(write(pipe_fds[1], "x", 1), 1);
	assert_int_equal(wait_ms(pipe_fds[0], POLLIN, 5000), KAT_WAKE_READY);
	assert_int_equal(read(pipe_fds[0], &c, 1), 1);
	close(pipe_fds[1]);
	assert_int_equal(wait_ms(pipe_fds[0], POLLIN, 5000), KAT_WAKE_READY);
	pipe_fds[1] = -1;
	assert_true(kat_now_ns() - start < KAT_NS_PER_S);
}

static void test_a_signal_comes_before_data_until_it_is_taken(void **state)
{
	(void)state;
	assert_int_equal(write(pipe_fds[1], "x", 1), 1);
	kill(getpid(), SIGTERM);
	for (int i = 0; i < 3; i++)
		assert_int_equal(wait_ms(pipe_fds[0], POLLIN, 5000), KAT_WAKE_SIGNAL);
	assert_int_equal(kat_loop_take_signal(&loop), SIGTERM);
	assert_int_equal(wait_ms(pipe_fds[0], POLLIN, 5000), KAT_WAKE_READY);
	assert_int_equal(kat_loop_take_signal(&loop), 0);
}

static void test_each_of_the_four_signals_is_read(void **state)
{
	static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};

	(void)state;
	for (size_t i = 0; i < KAT_ARRAY_SIZE(numbers); i++) {
		kill(getpid(), numbers[i]);
		assert_int_equal(wait_ms(-1, 0, 5000), KAT_WAKE_SIGNAL);
		assert_int_equal(kat_loop_take_signal(&loop), numbers[i]);
	}
	assert_int_equal(wait_ms(-1, 0, 0), KAT_WAKE_DEADLINE);
}

/* The second ^C of an impatient user is a signal of its own. */
static void test_a_second_signal_waits_for_its_turn(void **state)
{
	(void)state;
	kill(getpid(), SIGINT);
	assert_int_equal(wait_ms(-1, 0, 5000), KAT_WAKE_SIGNAL);
	kill(getpid(), SIGINT);
	assert_int_equal(kat_loop_take_signal(&loop), SIGINT);
	assert_int_equal(wait_ms(-1, 0, 5000), KAT_WAKE_SIGNAL);
	assert_int_equal(kat_loop_take_signal(&loop), SIGINT);
	assert_int_equal(kat_loop_take_signal(&loop), 0);
}

static void test_a_signal_ends_a_sleep(void **state)
{
	int64_t start = kat_now_ns();
	pid_t pid = fork();

	(void)state;
	if (!pid) {
		usleep(50000);
		kill(getppid(), SIGTERM);
		_exit(0);
	}
	assert_int_equal(wait_ms(pipe_fds[0], POLLIN, 5000), KAT_WAKE_SIGNAL);
	assert_in_range(kat_now_ns() - start, 40 * KAT_NS_PER_MS, 2 * KAT_NS_PER_S);
	assert_int_equal(kat_loop_take_signal(&loop), SIGTERM);
	waitpid(pid, NULL, 0);
}

static char happened[8];

static void when_ready(void *data)
{
	char c;

	(void)data;
	assert_int_equal(read(pipe_fds[0], &c, 1), 1);
	strcat(happened, "w");
}

static void when_ticking(void *data)
{
	(void)data;
	strcat(happened, "t");
}

/* Or who was busy would call the other end silent, whose words it has not read. */
static void test_watches_come_before_the_tick(void **state)
{
	(void)state;
	kat_loop_watch(&loop, pipe_fds[0], when_ready, NULL);
	kat_loop_tick(&loop, KAT_NS_PER_S, when_ticking, NULL);
	loop.next_tick_ns = 0;
	assert_int_equal(write(pipe_fds[1], "x", 1), 1);
	kat_loop_wait_quiet(&loop, -1, 0);
	assert_string_equal(happened, "wt");
}

static void test_others_do_not_inherit_the_signalfd(void **state)
{
	(void)state;
	assert_true(fcntl(loop.signal_fd, F_GETFD) & FD_CLOEXEC);
}

static void test_a_broken_pipe_does_not_kill(void **state)
{
	(void)state;
	close(pipe_fds[0]);
	assert_int_equal(write(pipe_fds[1], "x", 1), -1);
	assert_int_equal(errno, EPIPE);
	pipe_fds[0] = -1;
}

static void test_close_twice(void **state)
{
	(void)state;
	kat_loop_close(&loop);
	assert_int_equal(loop.signal_fd, -1);
	kat_loop_close(&loop);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_deadline_sleeps_its_time),
		TEST(test_a_deadline_that_has_passed_does_not_sleep),
		TEST(test_data_and_hangup_wake),
		TEST(test_a_signal_comes_before_data_until_it_is_taken),
		TEST(test_each_of_the_four_signals_is_read),
		TEST(test_a_second_signal_waits_for_its_turn),
		TEST(test_a_signal_ends_a_sleep),
		TEST(test_watches_come_before_the_tick),
		TEST(test_others_do_not_inherit_the_signalfd),
		TEST(test_a_broken_pipe_does_not_kill),
		TEST(test_close_twice),
	};

	return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
