/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What offload.c makes of frames against what the kernel makes of the same ones:
 * each was sent by an AF_PACKET socket with PACKET_VNET_HDR into a tap whose
 * reader has offered nothing, so that Linux 6.18 did the work.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>

#include "plugins/lib/offload.h"

/* struct virtio_net_hdr without num_buffers. */
#define HEADER	 10
#define ETHERNET 14

/* In hexadecimal: as read from a tap, and the packets without Ethernet's header. */
static const struct sample {
	const char *what, *frame, *packets[4];
} samples[] = {
	{
		.what = "a checksum of UDP over IPv4",
		.frame = "01000000000022000600525400123456eeeeeeeeeeee0800450000351233"
			 "40003f1111900af401090af401059c400009002118280102030405060708"
			 "090a0b0c0d0e0f10111213141516171819",
		.packets =
			{
				"45000035123340003f1111900af401090af401059c4000090021a1d0"
				"0102"
				"030405060708090a0b0c0d0e0f10111213141516171819",
			},
	},
	{
		.what = "a checksum of TCP over IPv4",
		.frame = "01000000000022001000525400123456eeeeeeeeeeee08004500004d1233"
			 "40003f0611830af401090af401059c400050fffffff000000005809903e8"
			 "183500000101080a00000001000000020102030405060708090a0b0c0d0e"
			 "0f10111213141516171819",
		.packets =
			{
				"4500004d123340003f0611830af401090af401059c400050fffffff0"
				"0000"
				"0005809903e8141800000101080a0000000100000002010203040506"
				"0708"
				"090a0b0c0d0e0f10111213141516171819",
			},
	},
	{
		.what = "a checksum of UDP over IPv6",
		.frame = "01000000000036000600525400123456eeeeeeeeeeee86dd600000000021"
			 "113ffd000244000100000000000000000009fd0002440001000000000000"
			 "000000059c4000090021fecb0102030405060708090a0b0c0d0e0f101112"
			 "13141516171819",
		.packets =
			{
				"600000000021113ffd000244000100000000000000000009fd000244"
				"0001"
				"000000000000000000059c4000090021bb2c0102030405060708090a"
				"0b0c"
				"0d0e0f10111213141516171819",
			},
	},
	{
		.what = "segments of TCP over IPv4, with CWR",
		.frame = "018142000a0022001000525400123456eeeeeeeeeeee08004500004d1233"
			 "40003f0611830af401090af401059c400050fffffff000000005809903e8"
			 "183500000101080a00000001000000020102030405060708090a0b0c0d0e"
			 "0f10111213141516171819",
		.packets =
			{
				"4500003e123340003f0611920af401090af401059c400050fffffff0"
				"0000"
				"0005809003e8a4ae00000101080a0000000100000002010203040506"
				"0708"
				"090a",
				"4500003e123440003f0611910af401090af401059c400050fffffffa"
				"0000"
				"0005801003e872f200000101080a00000001000000020b0c0d0e0f10"
				"1112"
				"1314",
				"45000039123540003f0611950af401090af401059c40005000000004"
				"0000"
				"0005801903e8790700000101080a00000001000000021516171819",
			},
	},
	{
		.what = "segments of TCP over IPv6",
		.frame = "010456000a0036001000525400123456eeeeeeeeeeee86dd600000000039"
			 "063ffd000244000100000000000000000009fd0002440001000000000000"
			 "000000059c400050fffffff000000005809903e8fed800000101080a0000"
			 "0001000000020102030405060708090a0b0c0d0e0f101112131415161718"
			 "19",
		.packets =
			{
				"60000000002a063ffd000244000100000000000000000009fd000244"
				"0001"
				"000000000000000000059c400050fffffff000000005809003e8be0a"
				"0000"
				"0101080a00000001000000020102030405060708090a",
				"60000000002a063ffd000244000100000000000000000009fd000244"
				"0001"
				"000000000000000000059c400050fffffffa00000005801003e88c4e"
				"0000"
				"0101080a00000001000000020b0c0d0e0f1011121314",
				"600000000025063ffd000244000100000000000000000009fd000244"
				"0001"
				"000000000000000000059c4000500000000400000005801903e89263"
				"0000"
				"0101080a00000001000000021516171819",
			},
	},
	{
		.what = "segments of UDP over IPv4",
		.frame = "01052a000a0022000600525400123456eeeeeeeeeeee0800450000351233"
			 "40003f1111900af401090af401059c400009002118280102030405060708"
			 "090a0b0c0d0e0f10111213141516171819",
		.packets =
			{
				"45000026123340003f11119f0af401090af401059c4000090012326d"
				"0102"
				"030405060708090a",
				"45000026123440003f11119e0af401090af401059c4000090012003b"
				"0b0c"
				"0d0e0f1011121314",
				"45000021123540003f1111a20af401090af401059c400009000d0667"
				"1516"
				"171819",
			},
	},
	{
		.what = "segments of UDP over IPv6",
		.frame = "01053e000a0036000600525400123456eeeeeeeeeeee86dd600000000021"
			 "113ffd000244000100000000000000000009fd0002440001000000000000"
			 "000000059c4000090021fecb0102030405060708090a0b0c0d0e0f101112"
			 "13141516171819",
		.packets =
			{
				"600000000012113ffd000244000100000000000000000009fd000244"
				"0001"
				"000000000000000000059c40000900124bc90102030405060708090"
				"a",
				"600000000012113ffd000244000100000000000000000009fd000244"
				"0001"
				"000000000000000000059c400009001219970b0c0d0e0f101112131"
				"4",
				"60000000000d113ffd000244000100000000000000000009fd000244"
				"0001"
				"000000000000000000059c400009000d1fc31516171819",
			},
	},
};

static uint8_t frame[KAT_OFFLOAD_FRAME], room[KAT_OFFLOAD_PACKET];

static size_t from_hex(uint8_t *to, const char *text)
{
	size_t n = strlen(text) / 2;
	unsigned int byte;

	for (size_t i = 0; i < n; i++) {
		assert_int_equal(sscanf(text + 2 * i, "%2x", &byte), 1);
		to[i] = (uint8_t)byte;
	}
	return n;
}

/* The sample's frame is in `frame`, whose header becomes longer by `more` bytes. */
static size_t load(const struct sample *s, size_t more)
{
	size_t n = from_hex(frame, s->frame);

	memmove(frame + HEADER + more, frame + HEADER, n - HEADER);
	memset(frame + HEADER, 0xff, more);
	return n + more;
}

static void check(const struct sample *s, size_t length, size_t header)
{
	uint8_t wanted[512];
	struct kat_offload o;
	const uint8_t *packet;
	size_t n, got;

	if (kat_offload_begin(&o, frame, length, header, false) != 1)
		fail_msg("%s: not taken", s->what);
	for (const char *const *p = s->packets; *p; p++) {
		n = from_hex(wanted, *p);
		packet = kat_offload_next(&o, room, &got);
		if (!packet || got != n || memcmp(packet, wanted, n) != 0)
			fail_msg("%s: packet %td differs", s->what, p - s->packets);
	}
	assert_null(kat_offload_next(&o, room, &got));
}

static void test_as_the_kernel(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
		check(&samples[i], load(&samples[i], 0), HEADER);
		/* QEMU asks for twelve bytes, for mergeable buffers. */
		check(&samples[i], load(&samples[i], 2), HEADER + 2);
	}
}

/* Ethernet pads what is short, and padding is no part of the packet. */
static void test_padding(void **state)
{
	size_t n = load(&samples[0], 0);

	(void)state;
	memset(frame + n, 0xaa, 20);
	check(&samples[0], n + 20, HEADER);
}

/* What needs nothing is passed on as it is, with a virtio header and without. */
static void test_plain(void **state)
{
	const uint8_t *packet, *to;
	struct kat_offload o;
	uint8_t before[512];
	size_t n = load(&samples[0], 0), got;

	(void)state;
	frame[0] = 0;
	memcpy(before, frame, n);
	for (size_t header = 0; header <= HEADER; header += HEADER) {
		uint8_t *at = frame + HEADER - header;

		assert_int_equal(
			kat_offload_begin(&o, at, n - HEADER + header, header, false), 1);
		assert_int_equal(o.family, AF_INET);
		to = kat_offload_destination(&o);
		assert_int_equal(to[0] << 24 | to[1] << 16 | to[2] << 8 | to[3],
				 0x0af40105);
		packet = kat_offload_next(&o, room, &got);
		assert_int_equal(got, n - HEADER - ETHERNET);
		assert_memory_equal(packet, before + HEADER + ETHERNET, got);
		assert_null(kat_offload_next(&o, room, &got));
	}
	load(&samples[2], 0);
	assert_int_equal(kat_offload_begin(&o, frame, n + 20, HEADER, false), 1);
	assert_int_equal(o.family, AF_INET6);
	assert_memory_equal(kat_offload_destination(&o), "\xfd\x00\x02\x44", 4);
}

static void test_other_protocols(void **state)
{
	struct kat_offload o;
	size_t n = load(&samples[0], 0);

	(void)state;
	frame[HEADER + 13] = 0x06; /* ARP */
	assert_int_equal(kat_offload_begin(&o, frame, n, HEADER, false), 0);
	frame[HEADER + 12] = 0x81; /* a VLAN's tag: not the redirect's either */
	frame[HEADER + 13] = 0x00;
	assert_int_equal(kat_offload_begin(&o, frame, n, HEADER, false), 0);
}

/* No length that a frame claims is believed. */
static void refuse(size_t sample, size_t at, uint8_t value)
{
	struct kat_offload o;
	size_t n = load(&samples[sample], 0);

	frame[at] = value;
	if (kat_offload_begin(&o, frame, n, HEADER, false) != -1)
		fail_msg("sample %zu with %u at %zu is taken", sample, value, at);
}

static void test_malformed(void **state)
{
	struct kat_offload o;
	size_t n;

	(void)state;
	for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
		n = load(&samples[i], 0);
		for (size_t cut = 0; cut < HEADER + ETHERNET + 20; cut++)
			assert_int_equal(kat_offload_begin(&o, frame, cut, HEADER, false),
					 -1);
		if (frame[1])
			continue; /* what is to be cut has the frame's own length */
		assert_int_equal(kat_offload_begin(&o, frame, n - 1, HEADER, false), -1);
	}
	refuse(0, 7, 0xff); /* checksum far behind the end */
	refuse(0, 6, 4);    /* and before the packet */
	refuse(0, 24, 0x65);
	refuse(0, 24, 0x44);
	refuse(3, 0, 0); /* to be cut, and no checksum wanted */
	refuse(3, 1, 3); /* UDP fragments: no kernel makes them any more */
	refuse(3, 1, 4); /* TCP over IPv6, says the header */
	refuse(4, 1, 1);
	refuse(3, 4, 0);     /* segments of nothing */
	refuse(3, 8, 6);     /* another checksum's place */
	refuse(3, 56, 0xf0); /* TCP's header longer than its packet */
	refuse(3, 56, 0x30);
	n = load(&samples[3], 0);
	frame[4] = frame[5] = 0xff; /* a segment that fits no packet */
	assert_int_equal(kat_offload_begin(&o, frame, n, HEADER, false), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_as_the_kernel),
		cmocka_unit_test(test_padding),
		cmocka_unit_test(test_plain),
		cmocka_unit_test(test_other_protocols),
		cmocka_unit_test(test_malformed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
