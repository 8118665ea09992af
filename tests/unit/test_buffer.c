/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#define KATAMARAN_API_VERSION 1
#include "plugins/lib/buffer.h"

#define MIB 1048576u

static void test_what_arrives_in_a_time(void **state)
{
	(void)state;
	/* 10 Gbit/s for 600 ms are 750 MB. */
	assert_int_equal(kat_buffer_bytes(10000, 600, MIB, UINT64_MAX), 750000000);
	/* A slow link gets the least all the same. */
	assert_int_equal(kat_buffer_bytes(100, 600, 64 * MIB, UINT64_MAX), 64 * MIB);
	/* A node with little memory gives no more than it has. */
	assert_int_equal(kat_buffer_bytes(10000, 600, 64 * MIB, 200 * MIB), 200 * MIB);
	assert_int_equal(kat_buffer_bytes(10000, 600, 64 * MIB, 8 * MIB), 64 * MIB);
	/* The kernel's limit has 32 bits; a minute at 400 Gbit/s has more. */
	assert_true(kat_buffer_bytes(400000, 60000, MIB, UINT64_MAX) == UINT32_MAX);
}

static void test_the_ring_takes_a_plug_of_small_packets(void **state)
{
	(void)state;
	assert_int_equal(kat_buffer_ring(64 * MIB), 524288);
	assert_int_equal(kat_buffer_ring(MIB), 8192);
	assert_int_equal(kat_buffer_ring(UINT32_MAX), KAT_RING_MOST);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_arrives_in_a_time),
		cmocka_unit_test(test_the_ring_takes_a_plug_of_small_packets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
