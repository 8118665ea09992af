/* SPDX-License-Identifier: BSD-2-Clause */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <string.h>
#include <sys/socket.h>

#include <json-c/json.h>

#include "back.h"
#include "json.h"
#include "log.h"
#include "util.h"

/* A tap's ring has room for a thousand packets, and its guest needs time to read them. */
#define BURST	 32
#define PAUSE_US 1000

static const char digits[] = "0123456789abcdef";

int kat_back_send(struct kat_peer *peer, const void *packet, size_t length)
{
	char text[2 * KAT_BACK_BYTES + 1];
	const uint8_t *bytes = packet;
	struct json_object *members;

	errno = EMSGSIZE;
	if (length > KAT_BACK_BYTES)
		return -1;
	errno = ENOTCONN;
	if (!peer)
		return -1;
	for (size_t i = 0; i < length; i++) {
		text[2 * i] = digits[bytes[i] >> 4];
		text[2 * i + 1] = digits[bytes[i] & 15];
	}
	members = json_object_new_object();
	json_object_object_add(members, "packet",
			       json_object_new_string_len(text, (int)(2 * length)));
	if (kat_peer_send(peer, "back", members))
		return 0;
	errno = ENOTCONN;
	return -1;
}

void kat_back_keep(struct json_object **kept, struct json_object *message)
{
	if (!*kept)
		*kept = json_object_new_array();
	json_object_array_add(*kept, message);
}

/* The length, or 0 where it is no packet as kat_back_send() writes them. */
static size_t read_packet(struct json_object *message, uint8_t bytes[KAT_BACK_BYTES])
{
	const char *text = kat_json_string(message, "packet");
	size_t n = text ? strlen(text) : 0;

	if (n % 2 || n > 2 * KAT_BACK_BYTES || (n && strspn(text, digits) != n))
		return 0;
	for (size_t i = 0; i < n; i += 2)
		bytes[i / 2] = (uint8_t)((strchr(digits, text[i]) - digits) << 4 |
					 (strchr(digits, text[i + 1]) - digits));
	return n / 2;
}

/* The address that it goes to, inside of it; NULL where that is not to be seen. */
static const uint8_t *destination(const uint8_t *packet, size_t length, int *family)
{
	int version = length ? packet[0] >> 4 : 0;

	*family = version == 6 ? AF_INET6 : AF_INET;
	if (version == 4 && length >= sizeof(struct iphdr))
		return packet + offsetof(struct iphdr, daddr);
	if (version == 6 && length >= sizeof(struct ip6_hdr))
		return packet + offsetof(struct ip6_hdr, ip6_dst);
	return NULL;
}

/* The NIC that has the address; the number of NICs where none has. */
static size_t nic_of(const struct kat_config *config, int family, const uint8_t *to)
{
	char text[INET6_ADDRSTRLEN];
	size_t nic;

	inet_ntop(family, to, text, sizeof(text));
	for (nic = 0; nic < config->n_nics; nic++)
		for (size_t i = 0; i < config->nics[nic].n_ips; i++)
			if (!strcmp(config->nics[nic].ips[i], text))
				return nic;
	return nic;
}

/* With the header that it has (IP_HDRINCL is what IPPROTO_RAW means, raw(7)). */
static bool give(int fds[2], const uint8_t *packet, size_t length, int family,
		 const uint8_t *to)
{
	struct sockaddr_in6 six = {.sin6_family = AF_INET6};
	struct sockaddr_in four = {.sin_family = AF_INET};
	bool is_six = family == AF_INET6;
	int *fd = &fds[is_six];

	if (is_six)
		memcpy(&six.sin6_addr, to, sizeof(six.sin6_addr));
	else
		memcpy(&four.sin_addr, to, sizeof(four.sin_addr));
	if (*fd < 0)
		*fd = socket(family, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK,
			     IPPROTO_RAW);
	return *fd >= 0 && sendto(*fd, packet, length, 0,
				  is_six ? (const void *)&six : (const void *)&four,
				  is_six ? sizeof(six) : sizeof(four)) == (ssize_t)length;
}

/* True where it was for the guest and went. */
static bool give_message(struct kat_migration *migration, int fds[2],
			 struct json_object *message)
{
	const struct kat_config *config = migration->config;
	uint8_t packet[KAT_BACK_BYTES];
	size_t length = read_packet(message, packet), nic;
	const uint8_t *to;
	int family;

	to = destination(packet, length, &family);
	if (!to)
		return false;
	nic = nic_of(config, family, to);
	if (nic == config->n_nics || !give(fds, packet, length, family, to))
		return false;
	kat_ledger_add(&migration->ledger, nic, KATAMARAN_RETURNED, 1);
	return true;
}

void kat_back_give(struct kat_migration *migration, struct json_object *messages)
{
	size_t n = messages ? json_object_array_length(messages) : 0, given = 0;
	int fds[2] = {-1, -1}, error = 0;

	for (size_t i = 0; i < n; i++) {
		errno = 0;
		if (give_message(migration, fds, json_object_array_get_idx(messages, i)))
			given++;
		else if (errno)
			error = errno;
		if (i % BURST == BURST - 1)
			usleep(PAUSE_US);
	}
	for (size_t i = 0; i < 2; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	if (given < n)
		kat_log(KAT_WARNING,
			"%zu packet(s) that came back could not be given to the guest: "
			"%s",
			n - given, error ? strerror(error) : "they are not for it");
	if (!given)
		return;
	kat_log(KAT_INFO,
		"%zu packet(s) that the destination had held came back, and were given to"
		" the guest.",
		given);
	kat_ledger_doubt(&migration->ledger,
			 kat_format("%zu packet(s) came back to the guest after newer "
				    "ones",
				    given));
}
