/* SPDX-License-Identifier: BSD-2-Clause */
#include "plugins/lib/frames.h"

#include <string.h>
#include <arpa/inet.h>
#include <net/ethernet.h>
#include <net/if_arp.h>
#include <netinet/icmp6.h>
#include <netinet/if_ether.h>
#include <netinet/ip6.h>

/* A neighbour advertisement and its one option, RFC 4861 4.4 and 4.6.1. */
struct advert {
	struct nd_neighbor_advert na;
	struct nd_opt_hdr option;
	uint8_t mac[6];
} __attribute__((__packed__));

/* The sum of 16 bit words in network order, RFC 1071; `size` is even. */
static uint32_t add_words(uint32_t sum, const void *bytes, size_t size)
{
	const uint8_t *b = bytes;

	for (size_t i = 0; i < size; i += 2)
		sum += (uint32_t)b[i] << 8 | b[i + 1];
	return sum;
}

/* Returns where the payload goes. */
static uint8_t *start(struct kat_frame *frame, const uint8_t to[6], const uint8_t from[6],
		      uint16_t type, size_t payload)
{
	struct ether_header *eth = (struct ether_header *)frame->bytes;

	memset(frame, 0, sizeof(*frame));
	memcpy(eth->ether_dhost, to, 6);
	memcpy(eth->ether_shost, from, 6);
	eth->ether_type = htons(type);
	frame->length = (uint16_t)(sizeof(*eth) + payload);
	if (frame->length < KAT_FRAME_LEAST)
		frame->length = KAT_FRAME_LEAST;
	return frame->bytes + sizeof(*eth);
}

/* ARP and RARP look alike, RFC 826 and RFC 903. */
static struct ether_arp *start_arp(struct kat_frame *frame, const uint8_t mac[6],
				   uint16_t type, uint16_t operation)
{
	static const uint8_t everybody[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	struct ether_arp *arp;

	arp = (struct ether_arp *)start(frame, everybody, mac, type, sizeof(*arp));
	arp->ea_hdr.ar_hrd = htons(ARPHRD_ETHER);
	arp->ea_hdr.ar_pro = htons(ETHERTYPE_IP);
	arp->ea_hdr.ar_hln = 6;
	arp->ea_hdr.ar_pln = 4;
	arp->ea_hdr.ar_op = htons(operation);
	memcpy(arp->arp_sha, mac, 6);
	return arp;
}

void kat_frame_arp(struct kat_frame *frame, const uint8_t mac[6], const uint8_t ip[4],
		   bool reply)
{
	struct ether_arp *arp =
		start_arp(frame, mac, ETHERTYPE_ARP, reply ? ARPOP_REPLY : ARPOP_REQUEST);

	memcpy(arp->arp_spa, ip, 4);
	memcpy(arp->arp_tpa, ip, 4);
	/* In a request nobody looks at it; in a reply it is the address to store. */
	if (reply)
		memcpy(arp->arp_tha, mac, 6);
}

void kat_frame_rarp(struct kat_frame *frame, const uint8_t mac[6])
{
	struct ether_arp *arp = start_arp(frame, mac, ETHERTYPE_REVARP, ARPOP_RREQUEST);

	memcpy(arp->arp_tha, mac, 6);
}

void kat_frame_na(struct kat_frame *frame, const uint8_t mac[6], const uint8_t ip[16])
{
	static const uint8_t all_nodes_mac[6] = {0x33, 0x33, 0, 0, 0, 1};
	static const uint8_t all_nodes[16] = {0xff, 0x02, [15] = 1};
	struct ip6_hdr ip6 = {0};
	struct advert advert = {0};
	uint8_t *at;
	uint32_t sum;

	ip6.ip6_flow = htonl(6u << 28);
	ip6.ip6_plen = htons(sizeof(advert));
	ip6.ip6_nxt = IPPROTO_ICMPV6;
	ip6.ip6_hlim = 255; /* any other would be ignored, 7.1.2 */
	memcpy(&ip6.ip6_src, ip, 16);
	memcpy(&ip6.ip6_dst, all_nodes, 16);
	advert.na.nd_na_type = ND_NEIGHBOR_ADVERT;
	advert.na.nd_na_flags_reserved = ND_NA_FLAG_OVERRIDE;
	memcpy(&advert.na.nd_na_target, ip, 16);
	advert.option.nd_opt_type = ND_OPT_TARGET_LINKADDR;
	advert.option.nd_opt_len = 1; /* of eight bytes */
	memcpy(advert.mac, mac, 6);
	/* The pseudo header of RFC 8200 8.1, then the message. */
	sum = add_words(sizeof(advert) + IPPROTO_ICMPV6, &ip6.ip6_src, 32);
	sum = add_words(sum, &advert, sizeof(advert));
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	advert.na.nd_na_cksum = htons((uint16_t)~sum);
	at = start(frame, all_nodes_mac, mac, ETHERTYPE_IPV6,
		   sizeof(ip6) + sizeof(advert));
	memcpy(at, &ip6, sizeof(ip6));
	memcpy(at + sizeof(ip6), &advert, sizeof(advert));
}

uint16_t kat_frame_type(const struct kat_frame *frame)
{
	return (uint16_t)(frame->bytes[12] << 8 | frame->bytes[13]);
}
