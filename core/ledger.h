/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What became of the packets: counted per NIC by the plugins of both ends, put
 * together and judged here.
 */
#ifndef KAT_LEDGER_H
#define KAT_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "json.h"

#define KAT_LEDGER_COUNTERS 9
#define KAT_LEDGER_DOUBTS   8

struct kat_ledger {
	size_t n_nics;
	uint64_t (*counts)[KAT_LEDGER_COUNTERS]; /* by NIC, then KATAMARAN_REDIRECTED.. */
	int64_t *learned_ms; /* by NIC: when the network had learned; -1: not told */
	uint32_t told;	     /* a bit for each counter that was told at all */
	char *doubts[KAT_LEDGER_DOUBTS]; /* why the verdict can be but "unknown" */
	size_t n_doubts;
	bool joined;	       /* the other end's counters are in here, too */
	bool stayed;	       /* the guest has: what did not come back is lost */
	uint64_t other_lost;   /* of NICs that only the other end knows */
	uint64_t other_tunnel; /* DROPPED_TUNNEL of the other end, which had left here */
};

enum kat_verdict {
	KAT_VERDICT_PROVEN_ZERO,
	KAT_VERDICT_LOST, /* kat_ledger_lost() of them */
	KAT_VERDICT_UNKNOWN,
};

int kat_ledger_init(struct kat_ledger *ledger, size_t n_nics);
void kat_ledger_free(struct kat_ledger *ledger);

/* Does not allocate: may be called during the blackout. */
void kat_ledger_add(struct kat_ledger *ledger, size_t nic, int what, uint64_t packets);

/* The last packet for the NIC needed the redirect so long after the guest's resume. */
void kat_ledger_learned(struct kat_ledger *ledger, size_t nic, int64_t ms);

/* Takes the reason, which was malloc'ed. */
void kat_ledger_doubt(struct kat_ledger *ledger, char *reason);

/*
 * What the other end is told: its counters per NIC and its doubts.  The caller's
 * to put; kat_ledger_join() is the other end of it.
 */
struct json_object *kat_ledger_tell(const struct kat_ledger *ledger);

/*
 * Adds what the destination told, NULL: it did not, and compares: as many
 * packets must have come out of the redirect as went into it.
 */
void kat_ledger_join(struct kat_ledger *ledger, struct json_object *result);

/* What a counter (KATAMARAN_REDIRECTED..) has of all NICs together. */
uint64_t kat_ledger_sum(const struct kat_ledger *ledger, size_t what);

/* Packets known to be lost. */
uint64_t kat_ledger_lost(const struct kat_ledger *ledger);

/* Proven is only what both ends have counted. */
enum kat_verdict kat_ledger_verdict(const struct kat_ledger *ledger);

/* "redirected", ...: the counter's name in messages of the program. */
const char *kat_ledger_name(size_t what);

/* Logs a line per NIC and the verdict of this end.  `nic_names` has n_nics names. */
void kat_ledger_report(const struct kat_ledger *ledger, const char *const *nic_names);

#endif /* KAT_LEDGER_H */
