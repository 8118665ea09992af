/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * offload.h - finishes what the kernel left to the reader of a tap.
 *
 * A reader that has offered to do so gets packets without a checksum, and
 * packets that are too large and still to be cut (struct virtio_net_hdr of the
 * VIRTIO specification, 5.1.6).  Whoever sends them on by a socket of another
 * kind must do both.  Bytes in, bytes out: nothing here talks to the kernel.
 */
#ifndef KAT_OFFLOAD_H
#define KAT_OFFLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The largest frame that QEMU reads from a tap, with its header (NET_BUFSIZE). */
#define KAT_OFFLOAD_FRAME (4096 + 65536)
/* Room for the largest packet of IP. */
#define KAT_OFFLOAD_PACKET 65536

/* A frame in work; filled by kat_offload_begin(), whose buffer it refers to. */
struct kat_offload {
	int family; /* AF_INET, AF_INET6 */
	const uint8_t *packet;
	size_t length;	   /* of the packet, bytes */
	size_t transport;  /* offset of the header of TCP or UDP, if it is to be cut */
	size_t headers;	   /* bytes that each segment repeats */
	size_t size;	   /* payload of a segment; 0: nothing is to be cut */
	size_t done;	   /* payload that went into segments */
	unsigned int made; /* segments */
};

/*
 * Looks at what was read from a tap: `header` bytes of struct virtio_net_hdr
 * (0: there is none; its numbers are little-endian or the machine's own), then
 * an Ethernet frame.  Finishes the checksum of a packet that is not to be cut,
 * in place.  1: the frame holds a packet of IP; 0: it holds something else;
 * -1: it is malformed, or of a kind that cannot be finished here.
 */
int kat_offload_begin(struct kat_offload *o, uint8_t *bytes, size_t length, size_t header,
		      bool little_endian);

/* Where the packet goes: 4 or 16 bytes inside of it. */
const uint8_t *kat_offload_destination(const struct kat_offload *o);

/*
 * The next packet to send and its length; NULL: there are no more.  Segments are
 * made in `room`, of KAT_OFFLOAD_PACKET bytes.
 */
const uint8_t *kat_offload_next(struct kat_offload *o, uint8_t *room, size_t *length);

#endif /* KAT_OFFLOAD_H */
