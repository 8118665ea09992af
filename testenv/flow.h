/* SPDX-License-Identifier: BSD-2-Clause */
/* Numbered packets of one flow, and the exact account of what became of them. */
#ifndef FLOW_H
#define FLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>

#define NS    1000000000LL
#define QUERY UINT32_MAX /* instead of a number: the far end is asked for its tally */

/* Opens every payload; a pattern made of seq fills the rest. */
struct mark {
	uint32_t run, seq;
	int64_t sent; /* CLOCK_MONOTONIC, ns */
	uint32_t
		turn; /* the far end's: how many of the flow it had got before this one */
	uint32_t check; /* over all of the above */
};

/* What one end has got of a flow. */
struct tally {
	uint32_t good, duplicated, reordered, corrupt;
	uint32_t own_drops; /* by the kernel, since this end was too slow to read */
};

enum phase {
	BEFORE,
	DURING,
	AFTER,
	PHASES
};

struct flow {
	struct sockaddr_storage to;
	socklen_t to_len;
	int family, fd;
	size_t size; /* of the payload */
	uint32_t run;
	uint8_t *seen; /* one byte a packet sent: how often it came back, and its phase */
	uint32_t *delay; /* us, of the first time */
	size_t room;
	uint64_t sent, refused; /* refused by our own kernel: such count as lost */
	uint64_t icmp_errors, delay_sum;
	struct tally got;
	uint32_t highest, highest_turn, reordered_back;
	uint32_t reordered[PHASES]; /* by when they were sent */
	int64_t last_send, last_reply, gap, gap_at;
	struct tally there; /* what the far end says it has got */
	bool answered;
};

int64_t now(void);

/* Writes payload number seq of a flow, size bytes. */
void payload_make(uint8_t *payload, size_t size, struct mark *mark);

/*
 * False if the payload is not as it was made.  In *mark what stands there, which may then
 * be wrong.  The far end's turn may be in it.
 */
bool payload_good(const uint8_t *payload, size_t len, struct mark *mark);

/* The check of what stands in the mark now. */
uint32_t mark_check(const struct mark *mark);

/* The next packet's payload; the caller sends it. */
void flow_next(struct flow *f, uint8_t *payload, enum phase phase);

/* A payload has come back.  What it was is told by a word for the log, NULL: not ours. */
const char *flow_account(struct flow *f, const uint8_t *payload, size_t len, int64_t at,
			 struct mark *mark);

/* Nothing more will come: the gap at the end. */
void flow_end(struct flow *f);

/* The account of all flows, as key=value lines; asked: with what the far ends say. */
void flows_report(const struct flow *flows, size_t n, int64_t start, bool asked);

/* Neither lost, duplicated nor corrupt. */
bool flow_clean(const struct flow *f);

#endif
