/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * frames.h - the Ethernet frames by which a guest tells where it is.
 *
 * Builders only: each fills a whole frame, with the guest's MAC as its source,
 * and cannot fail.
 */
#ifndef KAT_FRAMES_H
#define KAT_FRAMES_H

#include <stdbool.h>
#include <stdint.h>

/* The least length of an Ethernet frame without its checksum; shorter ones are padded. */
#define KAT_FRAME_LEAST 60
/* The longest that is built here: a neighbour advertisement. */
#define KAT_FRAME_BYTES 86

struct kat_frame {
	uint16_t length; /* bytes, Ethernet header included, checksum not */
	uint8_t bytes[KAT_FRAME_BYTES];
};

/*
 * Gratuitous ARP, to everybody (RFC 5227): the request form, which is an ARP
 * announcement, or the reply form.  Some listen to the one, some to the other.
 */
void kat_frame_arp(struct kat_frame *frame, const uint8_t mac[6], const uint8_t ip[4],
		   bool reply);

/*
 * An unsolicited neighbour advertisement to all nodes (RFC 4861, 4.4 and 7.2.6)
 * with the override flag, and without the router flag.
 */
void kat_frame_na(struct kat_frame *frame, const uint8_t mac[6], const uint8_t ip[16]);

/* RARP's "who am I", to everybody, as QEMU's announce-self sends it. */
void kat_frame_rarp(struct kat_frame *frame, const uint8_t mac[6]);

/* The Ethernet type, host order. */
uint16_t kat_frame_type(const struct kat_frame *frame);

#endif /* KAT_FRAMES_H */
