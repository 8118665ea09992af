/* SPDX-License-Identifier: BSD-2-Clause */
/* What a source makes of the other end's word, and how a QEMU is told from another one.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <json-c/json.h>

#include "ask.h"
#include "journal.h"

#define UUID "5c3e0c0e-0000-4000-8000-000000000001"

static const struct {
	const char *answer;
	enum kat_other over,
		going_on; /* where no migration goes on here; and where one does */
} table[] = {
#define ALWAYS(other) other, other
	{"{}", ALWAYS(KAT_OTHER_UNKNOWN)},
	{"{'qemu':'unknown','reason':'no socket'}", ALWAYS(KAT_OTHER_UNKNOWN)},
	{"{'guest':'running'}", ALWAYS(KAT_OTHER_UNKNOWN)},
	{"{'qemu':7,'guest':'running'}", ALWAYS(KAT_OTHER_UNKNOWN)},
	{"{'qemu':'same','guest':'running','migration':'completed'}",
	 ALWAYS(KAT_OTHER_HAS_IT)},
	{"{'qemu':'same','guest':'running','uuid':'" UUID "'}", ALWAYS(KAT_OTHER_HAS_IT)},
	{"{'qemu':'same','guest':'running','uuid':'another'}", ALWAYS(KAT_OTHER_UNKNOWN)},
	{"{'qemu':'unknown','guest':'io-error'}", ALWAYS(KAT_OTHER_HAS_IT)},
	{"{'qemu':'same','guest':'paused','migration':'completed'}",
	 ALWAYS(KAT_OTHER_UNKNOWN)},
	{"{'qemu':'same','guest':'inmigrate','migration':'active'}",
	 ALWAYS(KAT_OTHER_UNKNOWN)},
	{"{'qemu':'same','guest':'inmigrate'}", ALWAYS(KAT_OTHER_UNKNOWN)},
	{"{'qemu':'same','guest':'inmigrate','migration':'failed'}", KAT_OTHER_HAS_NOT,
	 KAT_OTHER_UNKNOWN},
	{"{'qemu':'ended'}", ALWAYS(KAT_OTHER_HAS_NOT)},
	{"{'qemu':'ended','ran':'abc'}", ALWAYS(KAT_OTHER_UNKNOWN)},
	{"{'qemu':'ended','guest':'inmigrate','migration':'none'}",
	 ALWAYS(KAT_OTHER_HAS_NOT)},
	{"{'qemu':'ended','guest':'running'}", ALWAYS(KAT_OTHER_UNKNOWN)},
	{"{'qemu':'ended','phase':'waiting'}", ALWAYS(KAT_OTHER_UNKNOWN)},
	{"{'qemu':'another','guest':'running'}", ALWAYS(KAT_OTHER_UNKNOWN)},
	{"{'qemu':'another','guest':'inmigrate'}", ALWAYS(KAT_OTHER_UNKNOWN)},
	{"{'qemu':'unknown','phase':'arriving','id':'abc'}", ALWAYS(KAT_OTHER_UNKNOWN)},
	{"{'qemu':'unknown','phase':'running','id':'abc'}", ALWAYS(KAT_OTHER_HAS_IT)},
};

static void judge(const char *text, bool over, enum kat_other wanted)
{
	struct json_object *answer = json_tokener_parse(text);
	enum kat_other other;
	char *told = NULL;

	assert_non_null(answer);
	other = kat_ask_judge(answer, UUID, over, &told);
	if (other != wanted)
		fail_msg("%s: %d, not %d: %s", text, (int)other, (int)wanted, told);
	assert_non_null(told);
	free(told);
	json_object_put(answer);
}

static void test_judgement(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		judge(table[i].answer, true, table[i].over);
		judge(table[i].answer, false, table[i].going_on);
	}
}

static void test_identity(void **state)
{
	char one[KAT_IDENTITY_BYTES], again[KAT_IDENTITY_BYTES];

	(void)state;
	kat_ask_identity(getpid(), one);
	kat_ask_identity(getpid(), again);
	assert_true(kat_ask_is_identity(one));
	assert_string_equal(one, again);
	kat_ask_identity(1, again);
	assert_string_not_equal(one, again);
	kat_ask_identity(0, again);
	assert_string_equal(again, "");
	assert_false(kat_ask_is_identity(""));
	assert_false(kat_ask_is_identity(NULL));
	assert_false(kat_ask_is_identity("1\",\"x\":\"2"));
}

/* One that nobody has reaped yet has ended, too; and who has its pid is another one. */
static void test_the_end_of_a_process(void **state)
{
	uint64_t start;
	siginfo_t info;
	pid_t pid;

	(void)state;
	pid = fork();
	if (pid == 0) {
		pause();
		_exit(0);
	}
	start = kat_process_start(pid);
	assert_true(start > 0);
	assert_false(kat_process_ended(pid, start));
	assert_true(kat_process_ended(pid, start + 1));
	kill(pid, SIGKILL);
	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	assert_true(kat_process_ended(pid, start));
	waitpid(pid, NULL, 0);
	assert_true(kat_process_ended(pid, start));
	assert_false(kat_process_ended(0, start));
	assert_false(kat_process_ended(getpid(), 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_judgement),
		cmocka_unit_test(test_identity),
		cmocka_unit_test(test_the_end_of_a_process),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
