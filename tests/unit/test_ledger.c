/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include <json-c/json.h>

#include "ledger.h"
#include "loader.h"

struct ends {
	struct kat_ledger source, dest;
};

static int two_ends(void **state)
{
	static struct ends ends;

	*state = &ends;
	kat_ledger_init(&ends.source, 2);
	kat_ledger_init(&ends.dest, 2);
	kat_ledger_add(&ends.source, 1, KATAMARAN_REDIRECTED, 10);
	kat_ledger_add(&ends.source, 1, KATAMARAN_SALVAGED, 2);
	kat_ledger_add(&ends.dest, 1, KATAMARAN_ARRIVED, 12);
	kat_ledger_add(&ends.dest, 1, KATAMARAN_HELD, 5);
	kat_ledger_add(&ends.dest, 1, KATAMARAN_RELEASED, 5);
	return 0;
}

static int free_ends(void **state)
{
	struct ends *ends = *state;

	kat_ledger_free(&ends->source);
	kat_ledger_free(&ends->dest);
	return 0;
}

/* What the destination tells arrives at the source, as text in between. */
static void join(struct ends *ends)
{
	cleanup_json struct json_object *told = kat_ledger_tell(&ends->dest);
	cleanup_json struct json_object *heard =
		json_tokener_parse(json_object_to_json_string(told));

	kat_ledger_join(&ends->source, heard);
}

static bool doubts(const struct kat_ledger *ledger, const char *text)
{
	for (size_t i = 0; i < ledger->n_doubts; i++)
		if (strstr(ledger->doubts[i], text))
			return true;
	return false;
}

static void test_both_ends_prove_it(void **state)
{
	struct ends *ends = *state;

	assert_int_equal(kat_ledger_verdict(&ends->source), KAT_VERDICT_UNKNOWN);
	join(ends);
	assert_int_equal(ends->source.counts[1][KATAMARAN_HELD], 5);
	assert_int_equal(ends->source.counts[1][KATAMARAN_ARRIVED], 12);
	assert_int_equal(ends->source.counts[0][KATAMARAN_ARRIVED], 0);
	assert_int_equal(kat_ledger_verdict(&ends->source), KAT_VERDICT_PROVEN_ZERO);
}

static void test_fewer_arrive(void **state)
{
	struct ends *ends = *state;

	kat_ledger_add(&ends->source, 0, KATAMARAN_REDIRECTED, 3);
	join(ends);
	assert_int_equal(kat_ledger_verdict(&ends->source), KAT_VERDICT_UNKNOWN);
	assert_true(doubts(&ends->source, "3 of 15 redirected packets did not come"));
}

static void test_more_arrive(void **state)
{
	struct ends *ends = *state;

	kat_ledger_add(&ends->dest, 0, KATAMARAN_ARRIVED, 1);
	join(ends);
	assert_int_equal(kat_ledger_verdict(&ends->source), KAT_VERDICT_UNKNOWN);
	assert_true(doubts(&ends->source, "more packets came out of the redirect (13)"));
}

/* A redirect without a counter at its end: what became of it is not known. */
static void test_nobody_counts_arrivals(void **state)
{
	struct ends *ends = *state;

	kat_ledger_free(&ends->dest);
	kat_ledger_init(&ends->dest, 2);
	kat_ledger_add(&ends->dest, 1, KATAMARAN_HELD, 5);
	join(ends);
	assert_int_equal(kat_ledger_verdict(&ends->source), KAT_VERDICT_UNKNOWN);
	assert_true(doubts(&ends->source, "into which 12 packets went"));
}

/* And where nothing went in, nothing has to come out. */
static void test_nothing_redirected(void **state)
{
	struct ends *ends = *state;

	kat_ledger_free(&ends->source);
	kat_ledger_init(&ends->source, 2);
	kat_ledger_add(&ends->source, 1, KATAMARAN_REDIRECTED, 0);
	kat_ledger_free(&ends->dest);
	kat_ledger_init(&ends->dest, 2);
	kat_ledger_add(&ends->dest, 1, KATAMARAN_HELD, 5);
	join(ends);
	assert_int_equal(kat_ledger_verdict(&ends->source), KAT_VERDICT_PROVEN_ZERO);
}

static void test_losses_of_the_other_end(void **state)
{
	struct ends *ends = *state;

	kat_ledger_add(&ends->source, 0, KATAMARAN_DROPPED_TUNNEL, 1);
	kat_ledger_add(&ends->dest, 0, KATAMARAN_DROPPED_PLUG, 20);
	kat_ledger_add(&ends->dest, 1, KATAMARAN_DROPPED_RING, 300);
	kat_ledger_doubt(&ends->dest, strdup("its ring is odd"));
	join(ends);
	assert_int_equal(kat_ledger_lost(&ends->source), 321);
	assert_int_equal(kat_ledger_verdict(&ends->source), KAT_VERDICT_LOST);
	assert_true(doubts(&ends->source, "destination: its ring is odd"));
}

/* It may have been told of more network cards than this end. */
static void test_a_card_that_only_the_other_end_has(void **state)
{
	struct ends *ends = *state;

	kat_ledger_free(&ends->dest);
	kat_ledger_init(&ends->dest, 3);
	kat_ledger_add(&ends->dest, 2, KATAMARAN_HELD, 100);
	kat_ledger_add(&ends->dest, 2, KATAMARAN_DROPPED_RING, 4);
	join(ends);
	assert_int_equal(kat_ledger_lost(&ends->source), 4);
}

static void test_a_doubt_of_the_other_end(void **state)
{
	struct ends *ends = *state;

	kat_ledger_doubt(&ends->dest, strdup("no neighbour"));
	join(ends);
	assert_int_equal(kat_ledger_verdict(&ends->source), KAT_VERDICT_UNKNOWN);
	assert_true(doubts(&ends->source, "destination: no neighbour"));
}

static void test_a_silent_other_end(void **state)
{
	static const char *const rubbish[] = {"{}", "[]", "{\"nics\": 1, \"doubts\": []}",
					      "{\"nics\": []}"};
	struct ends *ends = *state;

	kat_ledger_join(&ends->source, NULL);
	assert_true(doubts(&ends->source, "did not tell its counters"));
	for (size_t i = 0; i < sizeof(rubbish) / sizeof(rubbish[0]); i++) {
		cleanup_json struct json_object *heard = json_tokener_parse(rubbish[i]);

		kat_ledger_join(&ends->source, heard);
		assert_int_equal(ends->source.n_doubts, i + 2);
	}
	assert_false(ends->source.joined);
	assert_int_equal(kat_ledger_verdict(&ends->source), KAT_VERDICT_UNKNOWN);
}

static void test_nobody_counted(void **state)
{
	struct ends *ends = *state;

	free_ends(state);
	kat_ledger_init(&ends->source, 1);
	kat_ledger_init(&ends->dest, 1);
	join(ends);
	assert_int_equal(kat_ledger_verdict(&ends->source), KAT_VERDICT_UNKNOWN);
}

/* Nothing was held that could be counted: the plug had gone with the QEMU there. */
static void test_a_guest_that_stayed_never_got_them(void **state)
{
	struct ends *ends = *state;

	ends->dest.counts[1][KATAMARAN_HELD] = 0;
	ends->dest.counts[1][KATAMARAN_RELEASED] = 0;
	join(ends);
	assert_int_equal(kat_ledger_verdict(&ends->source), KAT_VERDICT_PROVEN_ZERO);
	ends->source.stayed = true;
	assert_int_equal(kat_ledger_verdict(&ends->source), KAT_VERDICT_LOST);
	assert_int_equal(kat_ledger_lost(&ends->source), 12);
}

static void test_what_has_come_back_is_not_lost(void **state)
{
	struct ends *ends = *state;

	/* That had been redirected, and is counted once. */
	kat_ledger_add(&ends->dest, 1, KATAMARAN_DROPPED_TUNNEL, 1);
	join(ends);
	ends->source.stayed = true;
	assert_int_equal(kat_ledger_lost(&ends->source), 12);
	kat_ledger_add(&ends->source, 1, KATAMARAN_RETURNED, 11);
	assert_int_equal(kat_ledger_lost(&ends->source), 1);
	/* And what others had sent straight to the destination. */
	kat_ledger_add(&ends->source, 1, KATAMARAN_RETURNED, 5);
	assert_int_equal(kat_ledger_lost(&ends->source), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, two_ends, free_ends)
	const struct CMUnitTest tests[] = {
		TEST(test_a_guest_that_stayed_never_got_them),
		TEST(test_what_has_come_back_is_not_lost),
		TEST(test_both_ends_prove_it),
		TEST(test_fewer_arrive),
		TEST(test_more_arrive),
		TEST(test_nobody_counts_arrivals),
		TEST(test_nothing_redirected),
		TEST(test_losses_of_the_other_end),
		TEST(test_a_card_that_only_the_other_end_has),
		TEST(test_a_doubt_of_the_other_end),
		TEST(test_a_silent_other_end),
		TEST(test_nobody_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
