/* SPDX-License-Identifier: BSD-2-Clause */
#include "plugins/lib/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

int kat_addr_parse(const char *text, struct kat_addr *addr)
{
	memset(addr, 0, sizeof(*addr));
	if (inet_pton(AF_INET, text, addr->bytes) == 1)
		addr->family = AF_INET;
	else if (inet_pton(AF_INET6, text, addr->bytes) == 1)
		addr->family = AF_INET6;
	else {
		errno = EINVAL;
		return -1;
	}
	return 0;
}

size_t kat_addr_bytes(const struct kat_addr *addr)
{
	return addr->family == AF_INET6 ? 16 : 4;
}

unsigned int kat_addr_bits(const struct kat_addr *addr)
{
	return (unsigned int)kat_addr_bytes(addr) * 8;
}

bool kat_addr_equal(const struct kat_addr *a, const struct kat_addr *b)
{
	return a->family == b->family && !memcmp(a->bytes, b->bytes, kat_addr_bytes(a));
}

const char *kat_addr_text(const struct kat_addr *addr, char *text)
{
	if (!inet_ntop(addr->family, addr->bytes, text, INET6_ADDRSTRLEN))
		strcpy(text, "?");
	return text;
}

bool kat_mac_parse(const char *text, uint8_t mac[6])
{
	return sscanf(text, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx", &mac[0], &mac[1],
		      &mac[2], &mac[3], &mac[4], &mac[5]) == 6;
}

const char *kat_mac_text(const uint8_t mac[6], char text[KAT_MAC_TEXT])
{
	snprintf(text, KAT_MAC_TEXT, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1],
		 mac[2], mac[3], mac[4], mac[5]);
	return text;
}

void kat_hex_text(const void *bytes, size_t n, char *text)
{
	const uint8_t *from = bytes;

	*text = '\0';
	for (size_t i = 0; i < n; i++)
		sprintf(text + 2 * i, "%02x", from[i]);
}

ssize_t kat_hex_parse(const char *text, void *bytes, size_t size)
{
	size_t n = strlen(text) / 2;
	uint8_t *to = bytes;

	if (strspn(text, "0123456789abcdef") != 2 * n || text[2 * n] || n > size)
		return -1;
	for (size_t i = 0; i < n; i++)
		sscanf(text + 2 * i, "%2hhx", &to[i]);
	return (ssize_t)n;
}
