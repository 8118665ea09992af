/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "util.h"

#define STAMP_LEN strlen("2026/01/02 03:04:05.123456 ")

static int stderr_copy, file_fd;
static char text[1 << 20];

/* Standard error is a file for the time of a test. */
static int setup(void **state)
{
	FILE *file = tmpfile();

	(void)state;
	stderr_copy = dup(STDERR_FILENO);
	file_fd = dup(fileno(file));
	fclose(file);
	dup2(file_fd, STDERR_FILENO);
	kat_log_level(KAT_INFO);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	dup2(stderr_copy, STDERR_FILENO);
	close(stderr_copy);
	close(file_fd);
	return 0;
}

static const char *written(void)
{
	ssize_t n = pread(file_fd, text, sizeof(text) - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

/* The line without its time, after a look at the time. */
static const char *after_stamp(const char *line)
{
	static const char form[] = "dddd/dd/dd dd:dd:dd.dddddd ";

	for (size_t i = 0; form[i]; i++) {
		if (form[i] == 'd')
			assert_in_range(line[i], '0', '9');
		else
			assert_int_equal(line[i], form[i]);
	}
	return line + STAMP_LEN;
}

static size_t count_lines(const char *lines)
{
	size_t n = 0;

	while ((lines = strchr(lines, '\n'))) {
		lines++;
		n++;
	}
	return n;
}

static void test_lines_have_time_and_level(void **state)
{
	const char *line;

	(void)state;
	kat_log(KAT_INFO, "guest %s stopped", "vm1");
	kat_log(KAT_WARNING, "careful");
	kat_log(KAT_ERROR, "broken");
	line = written();
	assert_int_equal(count_lines(line), 3);
	assert_memory_equal(after_stamp(line), "guest vm1 stopped\n", 18);
	line = strchr(line, '\n') + 1;
	assert_memory_equal(after_stamp(line), "warning: careful\n", 17);
	line = strchr(line, '\n') + 1;
	assert_string_equal(after_stamp(line), "error: broken\n");
}

static void test_levels_above_the_threshold_are_dropped(void **state)
{
	(void)state;
	kat_log(KAT_DEBUG, "unseen");
	assert_string_equal(written(), "");
	kat_log_level(KAT_DEBUG);
	kat_log(KAT_DEBUG, "seen");
	kat_log_level(KAT_WARNING);
	kat_log(KAT_INFO, "unseen");
	assert_string_equal(after_stamp(written()), "seen\n");
}

static void test_errno_is_shown_and_kept(void **state)
{
	(void)state;
	errno = EACCES;
	kat_log(KAT_INFO, "tap0: %m");
	assert_int_equal(errno, EACCES);
	assert_string_equal(after_stamp(written()), "tap0: Permission denied\n");
}

__attribute__((__format__(__printf__, 2, 3))) static void log_as(const char *prefix,
								 const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	kat_vlog(KAT_INFO, prefix, fmt, ap);
	va_end(ap);
}

static void test_prefix_names_the_plugin(void **state)
{
	(void)state;
	log_as("cutover-ipip", "%d routes", 2);
	assert_string_equal(after_stamp(written()), "cutover-ipip: 2 routes\n");
}

static void test_a_long_line_is_cut_and_stays_one_line(void **state)
{
	cleanup_free char *word = malloc(5001);
	cleanup_free char *prefix = malloc(5001);

	(void)state;
	memset(word, 'x', 5000);
	memset(prefix, 'p', 5000);
	word[5000] = prefix[5000] = '\0';
	kat_log(KAT_ERROR, "%s", word);
	log_as(prefix, "%s", word);
	assert_int_equal(count_lines(written()), 2);
	assert_in_range(strlen(text), 1000, 2048);
	assert_int_equal(text[strlen(text) - 1], '\n');
}

static void test_held_lines_come_later_with_their_own_time(void **state)
{
	char before[32], *line;

	(void)state;
	kat_log(KAT_INFO, "zero");
	kat_log_hold();
	kat_log(KAT_INFO, "one");
	kat_log(KAT_WARNING, "two");
	assert_int_equal(count_lines(written()), 1); /* nothing was written */
	usleep(50000);
	kat_log(KAT_INFO, "three");
	kat_log_release();
	assert_int_equal(count_lines(written()), 4);
	line = strchr(text, '\n') + 1;
	memcpy(before, line, STAMP_LEN);
	assert_memory_equal(after_stamp(line), "one\n", 4);
	line = strchr(strchr(line, '\n') + 1, '\n') + 1;
	assert_string_equal(after_stamp(line), "three\n");
	assert_true(memcmp(before, line, STAMP_LEN) < 0);
}

static void test_nothing_is_held_after_release(void **state)
{
	(void)state;
	kat_log_hold();
	kat_log(KAT_INFO, "held");
	kat_log_release();
	kat_log(KAT_INFO, "free");
	assert_int_equal(count_lines(written()), 2);
	kat_log_release(); /* and not a second time */
	assert_int_equal(count_lines(written()), 2);
}

static void test_what_did_not_fit_is_counted(void **state)
{
	char word[501];
	size_t kept = 0;
	const char *line;

	(void)state;
	memset(word, 'x', 500);
	word[500] = '\0';
	kat_log_hold();
	for (int i = 0; i < 1000; i++)
		kat_log(KAT_INFO, "%s", word);
	kat_log_release();
	for (line = written(); (line = strstr(line, word)); line += 500)
		kept++;
	assert_in_range(kept, 50, 999);
	line = strstr(text, "warning: ");
	assert_non_null(line);
	assert_int_equal(atoi(line + strlen("warning: ")), 1000 - kept);
	kat_log_hold();
	kat_log_release();
	assert_null(strstr(strstr(written(), "warning: ") + 1, "warning: "));
}

static void test_a_reader_that_went_does_not_hurt(void **state)
{
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	signal(SIGPIPE, SIG_IGN);
	dup2(fds[1], STDERR_FILENO);
	close(fds[0]);
	close(fds[1]);
	kat_log(KAT_INFO, "lost");
	dup2(file_fd, STDERR_FILENO);
	kat_log(KAT_INFO, "here");
	assert_string_equal(after_stamp(written()), "here\n");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_lines_have_time_and_level),
		TEST(test_levels_above_the_threshold_are_dropped),
		TEST(test_errno_is_shown_and_kept),
		TEST(test_prefix_names_the_plugin),
		TEST(test_a_long_line_is_cut_and_stays_one_line),
		TEST(test_held_lines_come_later_with_their_own_time),
		TEST(test_nothing_is_held_after_release),
		TEST(test_what_did_not_fit_is_counted),
		TEST(test_a_reader_that_went_does_not_hurt),
	};

	return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
