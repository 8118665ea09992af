/* SPDX-License-Identifier: BSD-2-Clause */
/* addr.h - addresses of IPv4, IPv6 and Ethernet, and bytes in general, as texts. */
#ifndef KAT_ADDR_H
#define KAT_ADDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <netinet/in.h>
#include <sys/types.h>

/* An IPv4 or IPv6 address. */
struct kat_addr {
	int family; /* AF_INET, AF_INET6 */
	unsigned char bytes[16];
};

/* A numeric address; -1 with errno EINVAL for any other text. */
int kat_addr_parse(const char *text, struct kat_addr *addr);
/* Its length in bytes and in bits, 4 and 32 or 16 and 128. */
size_t kat_addr_bytes(const struct kat_addr *addr);
unsigned int kat_addr_bits(const struct kat_addr *addr);
bool kat_addr_equal(const struct kat_addr *a, const struct kat_addr *b);
/* Text form into `text`, which has INET6_ADDRSTRLEN bytes; returns it. */
const char *kat_addr_text(const struct kat_addr *addr, char *text);

/* "52:54:00:12:34:56", and its end. */
#define KAT_MAC_TEXT 18

/* False if the text does not begin with one. */
bool kat_mac_parse(const char *text, uint8_t mac[6]);
/* Text form into `text`, which it returns. */
const char *kat_mac_text(const uint8_t mac[6], char text[KAT_MAC_TEXT]);

/* Two digits a byte into `text`, which has 2 * n + 1 bytes. */
void kat_hex_text(const void *bytes, size_t n, char *text);
/* How many bytes the text is of; -1 if of more than `size`, or not of such digits. */
ssize_t kat_hex_parse(const char *text, void *bytes, size_t size);

#endif /* KAT_ADDR_H */
