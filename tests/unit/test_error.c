/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>

#include "error.h"
#include "util.h"

static void test_set_says_all(void **state)
{
	cleanup_error struct kat_error *err = NULL;

	(void)state;
	errno = ENOENT;
	assert_int_equal(kat_error_set(&err, KAT_EXIT_HUMAN, "tap %s: %m", "tap0"), -1);
	assert_int_equal(errno, ENOENT); /* the caller may still look at it */
	assert_non_null(err);
	assert_int_equal(err->exit_code, KAT_EXIT_HUMAN);
	assert_int_equal(err->sys_errno, ENOENT);
	assert_string_equal(err->message, "tap tap0: No such file or directory");
}

static void test_wrap_puts_context_in_front(void **state)
{
	cleanup_error struct kat_error *err = NULL;

	(void)state;
	errno = EPERM;
	kat_error_set(&err, KAT_EXIT_FAILED, "%m");
	assert_int_equal(kat_error_wrap(&err, "hook %d", 1), -1);
	assert_int_equal(kat_error_wrap(&err, "plugin %s", "ipip"), -1);
	assert_string_equal(err->message, "plugin ipip: hook 1: Operation not permitted");
	assert_int_equal(err->sys_errno, EPERM);
	assert_int_equal(err->exit_code, KAT_EXIT_FAILED);
}

static void test_percent_in_a_message_is_text(void **state)
{
	cleanup_error struct kat_error *err = NULL;

	(void)state;
	kat_error_set(&err, KAT_EXIT_FAILED, "%s", "100%s%n");
	kat_error_wrap(&err, "%s", "%d");
	assert_string_equal(err->message, "%d: 100%s%n");
}

static void test_nobody_wants_to_know(void **state)
{
	(void)state;
	assert_int_equal(kat_error_set(NULL, KAT_EXIT_FAILED, "lost"), -1);
	assert_int_equal(kat_error_wrap(NULL, "lost"), -1);
	kat_error_free(NULL);
}

static void test_wrap_without_an_error_makes_none(void **state)
{
	struct kat_error *err = NULL;

	(void)state;
	assert_int_equal(kat_error_wrap(&err, "context"), -1);
	assert_null(err);
}

static void test_the_newer_error_wins(void **state)
{
	cleanup_error struct kat_error *err = NULL;

	(void)state;
	kat_error_set(&err, KAT_EXIT_FAILED, "first");
	kat_error_set(&err, KAT_EXIT_USAGE, "second");
	assert_string_equal(err->message, "second");
	assert_int_equal(err->exit_code, KAT_EXIT_USAGE);
	kat_error_free(&err);
	assert_null(err);
	kat_error_free(&err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_set_says_all),
		cmocka_unit_test(test_wrap_puts_context_in_front),
		cmocka_unit_test(test_percent_in_a_message_is_text),
		cmocka_unit_test(test_nobody_wants_to_know),
		cmocka_unit_test(test_wrap_without_an_error_makes_none),
		cmocka_unit_test(test_the_newer_error_wins),
	};

	return cmocka_run_group_tests_name("error", tests, NULL, NULL);
}
