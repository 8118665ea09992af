/* SPDX-License-Identifier: BSD-2-Clause */
/* The frames, byte by byte as the RFCs lay them out, written down by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "plugins/lib/frames.h"

#define ZERO18 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0

static const uint8_t mac[6] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
static const uint8_t ip4[4] = {10, 244, 1, 5};
/* 2001:db8::5 */
static const uint8_t ip6[16] = {0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0,
				0,    0,    0,	  0,	0, 0, 0, 5};

static void assert_frame(const struct kat_frame *frame, const uint8_t *bytes, size_t size)
{
	assert_int_equal(frame->length, size);
	assert_memory_equal(frame->bytes, bytes, size);
}

/* clang-format off */
/* RFC 5227 2.3: an ARP request with the address as sender and as target. */
static const uint8_t request[] = {
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0x00, 0x12, 0x34, 0x56, 0x08, 0x06,
	0x00, 0x01, /* hardware: Ethernet */
	0x08, 0x00, /* protocol: IPv4 */
	6, 4,
	0x00, 0x01, /* request */
	0x52, 0x54, 0x00, 0x12, 0x34, 0x56, 10, 244, 1, 5,
	0, 0, 0, 0, 0, 0, 10, 244, 1, 5,
	ZERO18,
};

static const uint8_t reply[] = {
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0x00, 0x12, 0x34, 0x56, 0x08, 0x06,
	0x00, 0x01, 0x08, 0x00, 6, 4,
	0x00, 0x02, /* reply */
	0x52, 0x54, 0x00, 0x12, 0x34, 0x56, 10, 244, 1, 5,
	0x52, 0x54, 0x00, 0x12, 0x34, 0x56, 10, 244, 1, 5,
	ZERO18,
};

/* RFC 903; QEMU's announce_self_create() fills it in the same way. */
static const uint8_t rarp[] = {
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0x00, 0x12, 0x34, 0x56, 0x80, 0x35,
	0x00, 0x01, 0x08, 0x00, 6, 4,
	0x00, 0x03, /* request reverse */
	0x52, 0x54, 0x00, 0x12, 0x34, 0x56, 0, 0, 0, 0,
	0x52, 0x54, 0x00, 0x12, 0x34, 0x56, 0, 0, 0, 0,
	ZERO18,
};

static const uint8_t advert[] = {
	0x33, 0x33, 0x00, 0x00, 0x00, 0x01, 0x52, 0x54, 0x00, 0x12, 0x34, 0x56, 0x86, 0xdd,
	0x60, 0, 0, 0, /* version, class, flow */
	0, 32,	       /* payload */
	58, 255,       /* ICMPv6, hop limit */
	0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5,
	0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
	136, 0,	    /* neighbour advertisement */
	0x74, 0x67, /* added up by hand: 28b96 folds to 8b98 */
	0x20, 0, 0, 0, /* override, neither router nor solicited */
	0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5,
	2, 1, 0x52, 0x54, 0x00, 0x12, 0x34, 0x56, /* target link-layer address */
};
/* clang-format on */

static void test_arp(void **state)
{
	struct kat_frame frame;

	(void)state;
	memset(&frame, 0xaa, sizeof(frame));
	kat_frame_arp(&frame, mac, ip4, false);
	assert_frame(&frame, request, sizeof(request));
	assert_int_equal(kat_frame_type(&frame), 0x0806);
	memset(&frame, 0xaa, sizeof(frame));
	kat_frame_arp(&frame, mac, ip4, true);
	assert_frame(&frame, reply, sizeof(reply));
}

static void test_rarp(void **state)
{
	struct kat_frame frame;

	(void)state;
	memset(&frame, 0xaa, sizeof(frame));
	kat_frame_rarp(&frame, mac);
	assert_frame(&frame, rarp, sizeof(rarp));
	assert_int_equal(frame.length, KAT_FRAME_LEAST);
	assert_int_equal(kat_frame_type(&frame), 0x8035);
}

static void test_advert(void **state)
{
	struct kat_frame frame;

	(void)state;
	memset(&frame, 0xaa, sizeof(frame));
	kat_frame_na(&frame, mac, ip6);
	assert_frame(&frame, advert, sizeof(advert));
	assert_int_equal(frame.length, KAT_FRAME_BYTES);
	assert_int_equal(kat_frame_type(&frame), 0x86dd);
}

/* What a receiver does: pseudo header, message and checksum add up to ffff. */
static void test_checksum(void **state)
{
	struct kat_frame frame;
	uint8_t ip[16], from[6];

	(void)state;
	for (unsigned int seed = 0; seed < 256; seed++) {
		uint32_t sum = 32 + 58;

		memset(ip, (int)seed, sizeof(ip));
		ip[15] = (uint8_t)(seed * 7);
		memset(from, (int)(255 - seed), sizeof(from));
		kat_frame_na(&frame, from, ip);
		for (size_t i = 14 + 8; i < frame.length; i += 2)
			sum += (uint32_t)(frame.bytes[i] << 8 | frame.bytes[i + 1]);
		while (sum >> 16)
			sum = (sum & 0xffff) + (sum >> 16);
		assert_int_equal(sum, 0xffff);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_arp),
		cmocka_unit_test(test_rarp),
		cmocka_unit_test(test_advert),
		cmocka_unit_test(test_checksum),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
