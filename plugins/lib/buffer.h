/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * buffer.h - how much has to be held for a guest that does not run yet, by the
 * options plug_bytes, plug_ms and ring, or by what can arrive meanwhile.
 */
#ifndef KAT_BUFFER_H
#define KAT_BUFFER_H

#include "katamaran-plugin.h"
#include "plugins/lib/rtnl.h"

struct kat_buffer {
	uint32_t plug; /* bytes */
	uint32_t ring; /* packets, 0: as it is */
	char why[256]; /* for the log: "eth0 carries 10000 Mbit/s, ..." */
};

/* The largest txqueuelen of a tap: pointers in 4 MiB (__ptr_ring_init_queue_alloc()). */
#define KAT_RING_MOST 524288u
/* A small packet in the plug; most are larger. */
#define KAT_SMALL_BYTES 128

/*
 * Sizes both.  `nl` is in the namespace of the program, where the packets come
 * in.  0, or -1 after katamaran_error() for options that contradict each other.
 */
int kat_buffer_size(struct katamaran_ctx *ctx, struct kat_nl *nl,
		    struct kat_buffer *buffer);

/* The index of the device that has the address, 0: none, or nobody can tell. */
int kat_buffer_owner(struct kat_nl *nl, const struct kat_addr *addr, int64_t deadline);

/* What arrives in `ms` at so many Mbit/s, at most `most` bytes but at least `least`. */
static inline uint32_t kat_buffer_bytes(uint64_t mbit_s, uint64_t ms, uint32_t least,
					uint64_t most)
{
	uint64_t bytes = mbit_s * 125 * ms; /* 10^6 / 8 bytes, 10^-3 s */

	if (bytes > most)
		bytes = most;
	if (bytes > UINT32_MAX)
		bytes = UINT32_MAX;
	return bytes < least ? least : (uint32_t)bytes;
}

/* The ring that takes a full plug of small packets. */
static inline uint32_t kat_buffer_ring(uint32_t plug)
{
	uint32_t ring = plug / KAT_SMALL_BYTES;

	return ring < KAT_RING_MOST ? ring : KAT_RING_MOST;
}

#endif /* KAT_BUFFER_H */
