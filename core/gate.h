/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Holds QEMU just short of the switchover, and says when to begin it.
 *
 * QEMU stops the guest by itself as soon as what remains to be sent is less
 * than (measured bandwidth x downtime-limit); it looks at the end of a pass
 * over the RAM, and measures once per window of 100 ms (BUFFER_DELAY in QEMU's
 * migration/migration.h).  To redirect the guest's packets *before* that, the
 * bandwidth is the brake: taken back towards the end of each pass, so that
 * QEMU's own threshold is less than one page when the pass ends.  How much the
 * guest has dirtied is known then.  If sending it fits the blackout that is
 * wished for, QEMU is held there at a page per window, and the switchover
 * begins a few milliseconds before one of its windows ends.
 *
 * A QEMU that answers after half a window is not to be had in phase, and would be at
 * the end of several passes before it is asked again: there the switchover begins at
 * once, also amid a pass, as soon as it fits the blackout.  That costs no packet, only
 * that they wait for a window longer.
 *
 * Pure: samples in, orders out.  No clock, no QMP.
 */
#ifndef KAT_GATE_H
#define KAT_GATE_H

#include <stdbool.h>
#include <stdint.h>

/* QEMU's window, BUFFER_DELAY. */
#define KAT_GATE_WINDOW_NS 100000000LL
/* "No limit" for max-bandwidth, in bytes/s: beyond any link, far from overflow. */
#define KAT_GATE_FULL	     100000000000LL
#define KAT_GATE_CROSS	     250000LL /* bytes/s at which a pass may end: 6 pages a window */
#define KAT_GATE_BRAKE	     10240LL /* bytes/s, less than a page per window */
#define KAT_GATE_DOWNTIME_MS 1	     /* downtime-limit while the gate is shut */
/* QEMU's greatest downtime-limit (MAX_MIGRATE_DOWNTIME): the gate is open. */
#define KAT_GATE_OPEN_MS 2000000

enum kat_gate_phase {
	KAT_GATE_START, /* nothing sampled yet; QEMU was told KAT_GATE_CROSS */
	KAT_GATE_BULK,	/* as fast as allowed */
	KAT_GATE_COOL,	/* a pass nears its end: braked until QEMU has forgotten that rate
			 */
	KAT_GATE_TAPER, /* the rest of the pass: slower and slower */
	KAT_GATE_HOLD,	/* little enough remains: braked, looking for the windows */
};

/* What query-migrate said, and when it was asked and answered (monotonic ns). */
struct kat_sample {
	int64_t asked_ns, answered_ns;
	int64_t remaining,
		total;	       /* bytes; remaining as known since the last pass began */
	int64_t transferred;   /* bytes */
	int64_t passes;	       /* dirty-sync-count */
	int64_t dirty_bytes_s; /* what the guest dirties per second, as of the last pass
				*/
};

struct kat_gate {
	enum kat_gate_phase phase;
	int64_t full;	     /* bytes/s that the configuration allows */
	int64_t downtime_ms; /* the blackout wished for */
	struct kat_sample last;
	int64_t ordered;     /* the bandwidth now in force */
	int64_t drop_rate;   /* bytes/s by which `remaining` falls, decaying maximum */
	int64_t full_rate;   /* bytes/s on the wire at full speed; 0: not yet seen */
	double density;	     /* bytes on the wire per byte of memory; 0: not yet seen */
	int64_t gap_ns;	     /* between two looks in the taper, decaying maximum */
	int64_t rtt_ns;	     /* of a QMP command, decaying mean */
	int64_t pass_ns;     /* when the pass began */
	int64_t blackout_ms; /* what the switchover would take now */
	int64_t phase_ns;    /* when the phase began */
	int64_t edge_ns;     /* start of the last window that was seen; 0: none */
	unsigned int edges;  /* in this hold, a window apart from each other */
};

struct kat_gate_order {
	int64_t bandwidth; /* bytes/s to set as max-bandwidth now; 0: leave it */
	int64_t next_ns;   /* sample again then; with `go`: begin the switchover then */
	bool go;
	bool at_once;  /* with go: nothing more is to be asked of QEMU before it */
	bool new_pass; /* this sample is the first of a pass: worth a line in the log */
};

/* `bandwidth` in bytes/s, 0: no limit. */
void kat_gate_init(struct kat_gate *gate, int64_t bandwidth, int64_t downtime_ms);

struct kat_gate_order kat_gate_step(struct kat_gate *gate,
				    const struct kat_sample *sample);

/* How long before the end of QEMU's window the switchover has to begin, ns. */
int64_t kat_gate_lead_ns(const struct kat_gate *gate);

#endif /* KAT_GATE_H */
