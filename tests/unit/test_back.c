/* SPDX-License-Identifier: BSD-2-Clause */
/* The loopback device is the guest here; raw sockets need CAP_NET_RAW. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <json-c/json.h>

#include "back.h"
#include "loader.h"

#define IPV4_UDP "4500001e00004000401100007f0000017f000001" /* 30 bytes to 127.0.0.1 */
#define IPV6_UDP                                                                         \
	"60000000000a1140"                                                               \
	"0000000000000000000000000000000100000000000000000000000000000001" /* to ::1 */

static char text4[] = "127.0.0.1", text6[] = "::1";
static char *ips4[] = {text4, NULL}, *ips6[] = {text6, NULL};
static struct kat_nic_config nics[] = {{.ips = ips4, .n_ips = 1},
				       {.ips = ips6, .n_ips = 1}};
static struct kat_config config = {.nics = nics, .n_nics = 2};

/* A datagram socket of the family on any port of the loopback. */
static int guest(int family, uint16_t *port)
{
	struct sockaddr_in6 six = {.sin6_family = AF_INET6,
				   .sin6_addr = in6addr_loopback};
	struct sockaddr_in four = {.sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct timeval second = {.tv_sec = 1};
	int fd = socket(family, SOCK_DGRAM, 0);
	socklen_t size = family == AF_INET6 ? sizeof(six) : sizeof(four);
	void *at = family == AF_INET6 ? (void *)&six : (void *)&four;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof(second));
	if (fd < 0 || bind(fd, at, size) < 0 || getsockname(fd, at, &size) < 0)
		return -1;
	*port = ntohs(family == AF_INET6 ? six.sin6_port : four.sin_port);
	return fd;
}

static bool may_send_raw(void)
{
	int fd = socket(AF_INET, SOCK_RAW, IPPROTO_RAW);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

/* The message with this packet. */
static void keep(struct json_object **kept, const char *packet)
{
	struct json_object *message = json_object_new_object();

	json_object_object_add(message, "packet", json_object_new_string(packet));
	kat_back_keep(kept, message);
}

/* A datagram of "ab" to the port, behind the header `ip`. */
static void keep_udp(struct json_object **kept, const char *ip, uint16_t port,
		     const char *checksum)
{
	char packet[256];

	snprintf(packet, sizeof(packet), "%s0400%04x000a%s6162", ip, port, checksum);
	keep(kept, packet);
}

static void begin(struct kat_migration *migration)
{
	memset(migration, 0, sizeof(*migration));
	migration->config = &config;
	assert_int_equal(kat_ledger_init(&migration->ledger, 2), 0);
}

static void test_packets_reach_the_guest(void **state)
{
	struct json_object *kept = NULL;
	struct kat_migration migration;
	uint16_t port4 = 0, port6 = 0;
	int four, six;
	char got[8];

	(void)state;
	four = guest(AF_INET, &port4);
	six = guest(AF_INET6, &port6);
	if (!may_send_raw() || four < 0) {
		print_message("skipped: no raw socket, or no loopback\n");
		skip();
	}
	begin(&migration);
	/* Without a checksum, which only IPv4's UDP can be. */
	keep_udp(&kept, IPV4_UDP, port4, "0000");
	if (six >= 0)
		keep_udp(&kept, IPV6_UDP, port6, "ffff");
	kat_back_give(&migration, kept);
	assert_int_equal(recv(four, got, sizeof(got), 0), 2);
	assert_memory_equal(got, "ab", 2);
	assert_int_equal(migration.ledger.counts[0][KATAMARAN_RETURNED], 1);
	if (six >= 0)
		assert_int_equal(migration.ledger.counts[1][KATAMARAN_RETURNED], 1);
	assert_int_equal(migration.ledger.n_doubts, 1);
	kat_ledger_free(&migration.ledger);
	json_object_put(kept);
	close(four);
	if (six >= 0)
		close(six);
}

static void test_what_is_not_for_the_guest(void **state)
{
	static const char *const wrong[] = {
		"4500001e00004000401100007f0000017f000002040004d2000a00006162",
		"4500001e00004000401100007f0000017f0000", /* cut off */
		"60000000000a1140",
		"7500001e00004000401100007f0000017f000001",
		"450",
		"45zz",
		"",
	};
	struct json_object *kept = NULL;
	struct kat_migration migration;

	(void)state;
	begin(&migration);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		keep(&kept, wrong[i]);
	kat_back_keep(&kept, json_object_new_object());
	kat_back_give(&migration, kept);
	kat_back_give(&migration, NULL);
	assert_int_equal(kat_ledger_sum(&migration.ledger, KATAMARAN_RETURNED), 0);
	assert_int_equal(migration.ledger.told, 0);
	assert_int_equal(migration.ledger.n_doubts, 0);
	kat_ledger_free(&migration.ledger);
	json_object_put(kept);
}

static void test_what_cannot_be_sent(void **state)
{
	static const uint8_t packet[KAT_BACK_BYTES + 1];

	(void)state;
	assert_int_equal(kat_back_send(NULL, packet, KAT_BACK_BYTES), -1);
	assert_int_equal(errno, ENOTCONN);
	assert_int_equal(kat_back_send(NULL, packet, KAT_BACK_BYTES + 1), -1);
	assert_int_equal(errno, EMSGSIZE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_packets_reach_the_guest),
		cmocka_unit_test(test_what_is_not_for_the_guest),
		cmocka_unit_test(test_what_cannot_be_sent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
