/* SPDX-License-Identifier: BSD-2-Clause */
#include "plugins/lib/offload.h"

#include <endian.h>
#include <string.h>
#include <net/ethernet.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <linux/virtio_net.h>

/* Since Linux 6.2's headers. */
#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

/* Of TCP's flags byte; the third is RFC 3168's. */
#define FIN 0x01
#define PSH 0x08
#define CWR 0x80

static uint16_t get16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static void put16(uint8_t *at, size_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

/* The sum of 16 bit words, RFC 1071, of up to 64 KiB: it cannot overflow. */
static uint32_t add_words(uint32_t sum, const uint8_t *at, size_t size)
{
	for (; size > 1; size -= 2, at += 2)
		sum += get16(at);
	return size ? sum + (uint32_t)(at[0] << 8) : sum;
}

static uint16_t fold(uint32_t sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)((sum & 0xffff) + (sum >> 16));
}

/* As csum_fold() and CSUM_MANGLED_0 of the kernel: for UDP, 0 means "none". */
static void put_checksum(uint8_t *at, uint32_t sum)
{
	uint16_t checksum = (uint16_t)~fold(sum);

	put16(at, checksum ? checksum : 0xffff);
}

static void put_ipv4_checksum(uint8_t *packet)
{
	size_t size = (size_t)(packet[0] & 15) * 4;

	put16(packet + 10, 0);
	put16(packet + 10, (uint16_t)~fold(add_words(0, packet, size)));
}

/* What the virtio header says, in the machine's order. */
struct hints {
	bool checksum;
	uint8_t gso;
	size_t gso_size;
	size_t start, offset; /* of the checksum; start is counted in the packet */
};

static bool read_hints(struct hints *h, const uint8_t *bytes, size_t header, bool little)
{
	struct virtio_net_hdr v = {0};
	size_t start;

	memset(h, 0, sizeof(*h));
	if (!header)
		return true;
	if (header < sizeof(v))
		return false;
	memcpy(&v, bytes, sizeof(v));
	h->checksum = v.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM;
	h->gso = v.gso_type & (uint8_t)~VIRTIO_NET_HDR_GSO_ECN;
	h->gso_size = little ? le16toh(v.gso_size) : v.gso_size;
	h->offset = little ? le16toh(v.csum_offset) : v.csum_offset;
	start = little ? le16toh(v.csum_start) : v.csum_start;
	if (!h->checksum)
		return true;
	h->start = start - ETHER_HDR_LEN;
	return start >= ETHER_HDR_LEN + sizeof(struct ip);
}

/* Family and length of the packet, which may be followed by padding. */
static bool read_ip(struct kat_offload *o, uint16_t type, size_t left, bool whole)
{
	const uint8_t *p = o->packet;
	size_t least;

	if (type == ETHERTYPE_IP) {
		o->family = AF_INET;
		if (left < sizeof(struct ip) || p[0] >> 4 != 4)
			return false;
		least = (size_t)(p[0] & 15) * 4;
		o->length = get16(p + 2);
		if (least < sizeof(struct ip))
			return false;
	} else {
		o->family = AF_INET6;
		least = sizeof(struct ip6_hdr);
		if (left < least || p[0] >> 4 != 6)
			return false;
		o->length = least + get16(p + 4);
	}
	/* One that is to be cut may be larger than the field can say. */
	if (whole)
		o->length = left;
	return o->length >= least && o->length <= left;
}

/* Whether the packet can be cut, and where. */
static bool read_gso(struct kat_offload *o, const struct hints *h)
{
	bool tcp =
		h->gso == VIRTIO_NET_HDR_GSO_TCPV4 || h->gso == VIRTIO_NET_HDR_GSO_TCPV6;
	size_t least = tcp ? sizeof(struct tcphdr) : sizeof(struct udphdr);
	size_t sum =
		tcp ? offsetof(struct tcphdr, th_sum) : offsetof(struct udphdr, uh_sum);

	if ((h->gso == VIRTIO_NET_HDR_GSO_TCPV4 && o->family != AF_INET) ||
	    (h->gso == VIRTIO_NET_HDR_GSO_TCPV6 && o->family != AF_INET6) ||
	    (!tcp && h->gso != VIRTIO_NET_HDR_GSO_UDP_L4))
		return false;
	if (!h->checksum || !h->gso_size || h->offset != sum ||
	    h->start + least > o->length)
		return false;
	if (tcp)
		least = (size_t)(o->packet[h->start + 12] >> 4) * 4;
	if (tcp && least < sizeof(struct tcphdr))
		return false;
	o->transport = h->start;
	o->headers = h->start + least;
	o->size = h->gso_size;
	return o->headers < o->length && o->headers + o->size < KAT_OFFLOAD_PACKET;
}

int kat_offload_begin(struct kat_offload *o, uint8_t *bytes, size_t length, size_t header,
		      bool little_endian)
{
	size_t front = header + ETHER_HDR_LEN;
	struct hints h;
	uint16_t type;
	uint8_t *p;

	memset(o, 0, sizeof(*o));
	if (length < front || !read_hints(&h, bytes, header, little_endian))
		return -1;
	type = get16(bytes + header + 12);
	if (type != ETHERTYPE_IP && type != ETHERTYPE_IPV6)
		return 0;
	o->packet = p = bytes + front;
	if (!read_ip(o, type, length - front, h.gso != VIRTIO_NET_HDR_GSO_NONE))
		return -1;
	if (h.gso != VIRTIO_NET_HDR_GSO_NONE)
		return read_gso(o, &h) ? 1 : -1;
	if (!h.checksum)
		return 1;
	if (h.start + h.offset + 2 > o->length)
		return -1;
	/* The field has the sum of the pseudo header already. */
	put_checksum(p + h.start + h.offset,
		     add_words(0, p + h.start, o->length - h.start));
	return 1;
}

const uint8_t *kat_offload_destination(const struct kat_offload *o)
{
	return o->packet + (o->family == AF_INET ? offsetof(struct ip, ip_dst)
						 : offsetof(struct ip6_hdr, ip6_dst));
}

/* TCP has a checksum at another place than UDP, and longer headers. */
static bool is_tcp(const struct kat_offload *o)
{
	return o->headers - o->transport >= sizeof(struct tcphdr);
}

/* As tcp_gso_segment() of the kernel. */
static void finish_tcp(const struct kat_offload *o, uint8_t *tcp, bool last)
{
	uint32_t sequence;

	memcpy(&sequence, tcp + 4, sizeof(sequence));
	sequence = htobe32(be32toh(sequence) + (uint32_t)o->done);
	memcpy(tcp + 4, &sequence, sizeof(sequence));
	if (!last)
		tcp[13] &= (uint8_t) ~(FIN | PSH);
	if (o->made)
		tcp[13] &= (uint8_t)~CWR;
}

/*
 * The checksum of a segment.  The field has the pseudo header's sum with the
 * length of the whole, for which that of the segment is put.
 */
static void finish_checksum(const struct kat_offload *o, uint8_t *room, size_t length)
{
	uint8_t *at = room + o->transport +
		      (is_tcp(o) ? offsetof(struct tcphdr, th_sum)
				 : offsetof(struct udphdr, uh_sum));
	size_t whole = o->length - o->transport, part = length - o->transport;
	uint32_t sum = get16(at);

	sum += (uint16_t)~fold((uint32_t)whole) + (uint32_t)part;
	put16(at, 0);
	put_checksum(at, add_words(sum, room + o->transport, part));
}

const uint8_t *kat_offload_next(struct kat_offload *o, uint8_t *room, size_t *length)
{
	size_t left = o->length - o->headers - o->done;
	size_t take = left < o->size ? left : o->size;
	uint8_t *transport = room + o->transport;

	if (!o->size) {
		*length = o->length;
		return o->made++ ? NULL : o->packet;
	}
	if (!left)
		return NULL;
	*length = o->headers + take;
	memcpy(room, o->packet, o->headers);
	memcpy(room + o->headers, o->packet + o->headers + o->done, take);
	if (o->family == AF_INET) {
		put16(room + 2, *length);
		put16(room + 4, get16(room + 4) + o->made);
		put_ipv4_checksum(room);
	} else {
		put16(room + 4, *length - sizeof(struct ip6_hdr));
	}
	if (is_tcp(o))
		finish_tcp(o, transport, take == left);
	else
		put16(transport + 4, *length - o->transport);
	finish_checksum(o, room, *length);
	o->done += take;
	o->made++;
	return room;
}
