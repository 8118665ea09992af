/* SPDX-License-Identifier: BSD-2-Clause */
/* MACs out of QEMU's "info network", as QEMU 7.2 prints it. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "guest.h"

#define TWO_NICS                                                                         \
	"nic0: index=0,type=nic,model=virtio-net-pci,macaddr=52:54:00:12:34:56\r\n"      \
	" \\ n0: index=0,type=tap,ifname=tapx,script=no,downscript=no\r\n"               \
	"nic0: index=1,type=nic,\r\n"                                                    \
	" \\ n0: index=1,type=tap,ifname=tapx,script=no,downscript=no\r\n"               \
	"virtio-net-pci.2: index=0,type=nic,model=virtio-net-pci,"                       \
	"macaddr=52:54:00:12:34:57\r\n"                                                  \
	" \\ n1: index=0,type=tap,ifname=tapy,script=no,downscript=no\r\n"

static struct kat_nic_config configs[3] = {
	{.tap = (char *)"tapy"},
	{.tap = (char *)"tapx"},
	{.tap = (char *)"other"},
};
static struct kat_nic nics[3];

static int set_up(void **state)
{
	(void)state;
	memset(nics, 0, sizeof(nics));
	for (size_t i = 0; i < 3; i++)
		nics[i].config = &configs[i];
	return 0;
}

static void test_by_name(void **state)
{
	(void)state;
	kat_guest_read_network(TWO_NICS, 0, nics, 3);
	assert_true(nics[0].has_mac);
	assert_int_equal(nics[0].mac[5], 0x57);
	assert_true(nics[1].has_mac);
	assert_memory_equal(nics[1].mac, ((uint8_t[]){0x52, 0x54, 0, 0x12, 0x34, 0x56}),
			    6);
	assert_false(nics[2].has_mac);
}

static void test_the_configurations_stays(void **state)
{
	(void)state;
	nics[0].has_mac = true;
	nics[0].mac[5] = 1;
	kat_guest_read_network(TWO_NICS, 0, nics, 3);
	assert_int_equal(nics[0].mac[5], 1);
}

/* Two NICs of QEMU's and a NIC without a tap: nobody knows which is meant. */
static void test_without_a_tap(void **state)
{
	struct kat_nic_config none = {.tap = NULL};

	(void)state;
	nics[0].config = &none;
	kat_guest_read_network(TWO_NICS, 0, nics, 1);
	assert_false(nics[0].has_mac);
	kat_guest_read_network(
		"a: index=0,type=nic,model=e1000,macaddr=52:54:00:00:00:01\n"
		" \\ b: index=0,type=user,net=10.0.2.0\n",
		0, nics, 1);
	assert_true(nics[0].has_mac);
	assert_int_equal(nics[0].mac[5], 1);
}

/* A descriptor that is no tap, and one that is not open: no MAC, no fault. */
static void test_descriptors_that_are_no_taps(void **state)
{
	(void)state;
	kat_guest_read_network("a: index=0,type=nic,model=x,macaddr=52:54:00:00:00:01\r\n"
			       " \\ b: index=0,type=tap,fd=0\r\n"
			       " \\ b: index=0,type=tap,fd=99999\r\n",
			       getpid(), nics, 3);
	assert_false(nics[0].has_mac);
}

static void test_nonsense(void **state)
{
	(void)state;
	kat_guest_read_network("", 0, nics, 3);
	kat_guest_read_network("type=tap,ifname=tapx\n", 0, nics, 3);
	kat_guest_read_network("macaddr=zz:zz,type=nic\n \\ type=tap,ifname=tapx\n", 0,
			       nics, 3);
	kat_guest_read_network("macaddr=52:54:00:12:34:56\n \\ type=tap,"
			       "ifname=much-longer-than-a-name-may-be,\n",
			       0, nics, 3);
	assert_false(nics[0].has_mac || nics[1].has_mac || nics[2].has_mac);
}

/* Each is what QEMU takes in that state. */
static void test_what_to_type(void **state)
{
	static const char *const ways[][2] = {
		{"paused",
		 "unless somebody wants that, send {\"execute\": \"cont\"} to /q"},
		{"guest-panicked", "send {\"execute\": \"system_reset\"} and"
				   " {\"execute\": \"cont\"} to /q"},
		{"prelaunch", "send {\"execute\": \"cont\"} to /q"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
		char *text = kat_guest_to_run(ways[i][0], "/q");

		assert_string_equal(text, ways[i][1]);
		free(text);
	}
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup(test, set_up)
	const struct CMUnitTest tests[] = {
		TEST(test_by_name),	  TEST(test_the_configurations_stays),
		TEST(test_without_a_tap), TEST(test_descriptors_that_are_no_taps),
		TEST(test_nonsense),	  TEST(test_what_to_type),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
