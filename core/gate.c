/* SPDX-License-Identifier: BSD-2-Clause */
#include <string.h>

#include "gate.h"
#include "util.h"

/*
 * QEMU's threshold is (bytes sent in the last window / 100 ms) x downtime-limit,
 * and a pass that ends with fewer dirty bytes than that is the last.  With
 * downtime-limit 1 and KAT_GATE_CROSS it is about 250 bytes, less than any
 * page.  While a pass may end, a window sends no more than TAPER_WINDOW, which
 * is a threshold of 10 pages: any guest that runs has written more by then.
 *
 * What makes a pass end unexpectedly is memory full of zeros, which costs nine
 * bytes a page: a window that sends a part of what remains may well scan all.
 */
#define PAGE_BYTES   4096
#define TAPER_WINDOW (4LL << 20)
#define PAGE_WINDOW  400000LL /* a threshold of one page */

/* Memory is scanned as fast as this, zero pages included, or as was seen: bytes/s. */
#define SCAN_RATE 8000000000LL
/* More than that is not kept for the taper, however slow the answers come. */
#define MARK_MAX (256LL << 20)
/* At full speed the taper begins at least so long before the end. */
#define MARK_NS (15 * KAT_NS_PER_MS)
/* Two windows and a half: then a whole one was braked. */
#define COOL_NS (250 * KAT_NS_PER_MS)
/* Less memory than that says nothing about the rest. */
#define MIN_SCAN (64 * PAGE_BYTES)
/* For a guest whose throughput nobody has seen yet: bytes/s. */
#define RATE_GUESS 100000000LL
/* Of memory that nobody has seen: most of a guest's is empty. */
#define DENSITY_GUESS 0.25
/* The hold, until the guest is stopped: it goes on dirtying meanwhile. */
#define HOLD_NS (500 * KAT_NS_PER_MS)
/* The windows did not show in that time: begin out of phase. */
#define PHASE_NS KAT_NS_PER_S
/* So little remains that QEMU might end the pass by itself. */
#define REMAINING_MIN (4 * PAGE_BYTES)

#define LEAD_MIN_NS   (5 * KAT_NS_PER_MS)
#define LEAD_MAX_NS   (60 * KAT_NS_PER_MS)
#define LEAD_ADD_NS   (3 * KAT_NS_PER_MS)

static int64_t max64(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static int64_t min64(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

void kat_gate_init(struct kat_gate *gate, int64_t bandwidth, int64_t downtime_ms)
{
	memset(gate, 0, sizeof(*gate));
	gate->full = bandwidth ? bandwidth : KAT_GATE_FULL;
	gate->downtime_ms = downtime_ms;
	gate->ordered = KAT_GATE_CROSS;
}

/* bytes x ns/s without overflow for anything below 9 EB. */
static int64_t per_second(int64_t bytes, int64_t ns)
{
	return ns > 0 ? (int64_t)((double)bytes * 1e9 / (double)ns) : 0;
}

static int64_t in_time(int64_t bytes_s, int64_t ns)
{
	return (int64_t)((double)bytes_s * (double)ns / 1e9);
}

/*
 * Bytes on the wire per byte of memory, from about 0.002 (zeros) to 1: falls at
 * once and rises slowly, since memory that costs nothing is what surprises.
 */
static void see_density(struct kat_gate *gate, const struct kat_sample *s)
{
	const struct kat_sample *last = &gate->last;
	int64_t scanned = last->remaining - s->remaining;
	double density;

	if (s->passes != last->passes || scanned < MIN_SCAN)
		return;
	density = (double)(s->transferred - last->transferred) / (double)scanned;
	if (density > 1)
		density = 1;
	if (!gate->density || density < gate->density)
		gate->density = density;
	else
		gate->density = gate->density * 7 / 8 + density / 8;
}

static void measure(struct kat_gate *gate, const struct kat_sample *s)
{
	const struct kat_sample *last = &gate->last;
	int64_t dt = s->answered_ns - last->answered_ns;
	int64_t rtt = s->answered_ns - s->asked_ns;

	gate->rtt_ns = gate->rtt_ns ? (3 * gate->rtt_ns + rtt) / 4 : rtt;
	if (gate->phase == KAT_GATE_START || dt <= 0)
		return;
	if (gate->phase == KAT_GATE_COOL || gate->phase == KAT_GATE_TAPER)
		gate->gap_ns = max64(dt, gate->gap_ns * 7 / 8);
	if (s->passes == last->passes && s->remaining < last->remaining) {
		int64_t rate = per_second(last->remaining - s->remaining, dt);

		gate->drop_rate = max64(rate, gate->drop_rate * 3 / 4);
	}
	see_density(gate, s);
	if (gate->phase != KAT_GATE_HOLD && dt >= 5 * KAT_NS_PER_MS)
		gate->full_rate =
			max64(gate->full_rate,
			      per_second(s->transferred - last->transferred, dt));
}

/*
 * Milliseconds to send what is known, and what was dirtied since the pass began and will
 * be until then.
 */
static int64_t blackout_ms(const struct kat_gate *gate, const struct kat_sample *s)
{
	int64_t rate = gate->full_rate ? gate->full_rate : RATE_GUESS;
	int64_t unknown_ns = s->answered_ns - gate->pass_ns + HOLD_NS;
	int64_t bytes = s->remaining + in_time(s->dirty_bytes_s, unknown_ns);

	return bytes / max64(min64(rate, gate->full) / 1000, 1);
}

/* So little remains that the pass could end before we have looked again. */
static int64_t mark(const struct kat_gate *gate)
{
	int64_t blind = 2 * gate->rtt_ns + KAT_NS_PER_MS;
	int64_t scan = max64(SCAN_RATE, 2 * gate->drop_rate);
	int64_t zeros = min64(in_time(scan, blind), MARK_MAX);

	return max64(zeros, in_time(gate->full_rate, MARK_NS + blind));
}

static bool answers_late(const struct kat_gate *gate)
{
	return gate->rtt_ns > KAT_GATE_WINDOW_NS / 2;
}

/*
 * The rate at which this pass may end: its threshold is an eighth of what the
 * guest is expected to have dirtied since the pass began.  Where QEMU answers late
 * that holds for this pass and not for those which follow unseen.
 */
static int64_t cross_rate(const struct kat_gate *gate, const struct kat_sample *s)
{
	int64_t expected = in_time(s->dirty_bytes_s, s->answered_ns - gate->pass_ns);

	return answers_late(gate) ? KAT_GATE_CROSS
				  : max64(KAT_GATE_CROSS, expected / 8 * 1000);
}

static void enter(struct kat_gate *gate, const struct kat_sample *s,
		  enum kat_gate_phase phase)
{
	gate->phase = phase;
	gate->phase_ns = s->answered_ns;
}

static void set_bandwidth(struct kat_gate *gate, struct kat_gate_order *order,
			  int64_t want)
{
	want = min64(want, gate->full);
	if (want == gate->ordered)
		return;
	gate->ordered = want;
	order->bandwidth = want;
}

static void enter_hold(struct kat_gate *gate, const struct kat_sample *s,
		       struct kat_gate_order *order)
{
	enter(gate, s, KAT_GATE_HOLD);
	gate->edge_ns = 0;
	gate->edges = 0;
	if (answers_late(gate)) {
		order->go = order->at_once = true;
		order->next_ns = s->answered_ns;
		return;
	}
	/* Much that remains may flow a little: it would last for minutes. */
	set_bandwidth(gate, order, max64(KAT_GATE_BRAKE, s->remaining / 20));
}

/*
 * A quarter of the rest a window: the link of a small guest could otherwise end
 * the pass while we get no CPU.  A large one does not notice until near its end.
 */
static int64_t bulk_rate(const struct kat_gate *gate, const struct kat_sample *s)
{
	double density = gate->density > 0 ? gate->density : DENSITY_GUESS;
	int64_t window = (int64_t)((double)s->remaining * density / 4);

	return max64(window * 10, max64(KAT_GATE_CROSS, cross_rate(gate, s)));
}

/* Not for every few bytes a command. */
static void steer(struct kat_gate *gate, struct kat_gate_order *order, int64_t rate)
{
	if (rate > gate->ordered || rate < gate->ordered * 7 / 8)
		set_bandwidth(gate, order, rate);
}

/* Whether sending the rest fits the blackout that is wished for: then QEMU is held. */
static bool try_hold(struct kat_gate *gate, const struct kat_sample *s,
		     struct kat_gate_order *order)
{
	gate->blackout_ms = blackout_ms(gate, s);
	if (gate->blackout_ms > gate->downtime_ms)
		return false;
	enter_hold(gate, s, order);
	return true;
}

static void step_taper(struct kat_gate *gate, const struct kat_sample *s,
		       struct kat_gate_order *order)
{
	/* What the rest costs on the wire, if it is like what came before. */
	int64_t wire = (int64_t)((double)s->remaining * gate->density);
	/* So many windows may pass before we look again, and one more. */
	int64_t windows = 2 + gate->gap_ns / KAT_GATE_WINDOW_NS;
	int64_t window = max64(min64(wire / (3 * windows), TAPER_WINDOW),
			       min64(s->remaining / (6 * windows), PAGE_WINDOW));
	int64_t rate = max64(cross_rate(gate, s), window * 10);

	/* By the next answer this pass may be over, and one that finds nothing dirty. */
	if (answers_late(gate) && s->passes > 1 && try_hold(gate, s, order))
		return;
	steer(gate, order, rate);
	order->next_ns = s->answered_ns + 10 * KAT_NS_PER_MS;
}

/* A pass has just begun, so what the guest dirtied in the last one is known. */
static void begin_pass(struct kat_gate *gate, const struct kat_sample *s,
		       struct kat_gate_order *order)
{
	order->new_pass = true;
	gate->pass_ns = s->answered_ns;
	if (try_hold(gate, s, order))
		return;
	if (answers_late(gate)) {
		enter(gate, s, KAT_GATE_TAPER);
		step_taper(gate, s, order);
		return;
	}
	enter(gate, s, KAT_GATE_BULK);
	set_bandwidth(gate, order, bulk_rate(gate, s));
}

static void step_bulk(struct kat_gate *gate, const struct kat_sample *s,
		      struct kat_gate_order *order)
{
	int64_t left = s->remaining - mark(gate);
	int64_t wait;

	if (left <= 0 && cross_rate(gate, s) < gate->ordered) {
		/* At the start nothing has been sent fast yet: nothing to cool. */
		enter(gate, s, gate->full_rate ? KAT_GATE_COOL : KAT_GATE_TAPER);
		return;
	}
	steer(gate, order, bulk_rate(gate, s));
	wait = max64(left, 0) * 1000 /
	       (2 * max64(4 * gate->drop_rate, SCAN_RATE) / 1000000);
	order->next_ns =
		s->answered_ns + min64(max64(wait, KAT_NS_PER_MS), KAT_GATE_WINDOW_NS);
}

static void step_cool(struct kat_gate *gate, const struct kat_sample *s,
		      struct kat_gate_order *order)
{
	set_bandwidth(gate, order, KAT_GATE_BRAKE);
	order->next_ns = s->answered_ns + 10 * KAT_NS_PER_MS;
	if (s->answered_ns - gate->phase_ns > COOL_NS)
		enter(gate, s, KAT_GATE_TAPER);
}

/* While braked, `remaining` steps down when a window begins, and only then. */
static void see_edge(struct kat_gate *gate, const struct kat_sample *s)
{
	int64_t edge = gate->last.asked_ns;
	int64_t apart = edge - gate->edge_ns;

	if (s->remaining >= gate->last.remaining)
		return;
	/* Not before a whole braked window: the one before may have ended anyhow. */
	if (gate->edge_ns && apart > KAT_GATE_WINDOW_NS * 6 / 10 &&
	    apart < KAT_GATE_WINDOW_NS * 14 / 10)
		gate->edges++;
	gate->edge_ns = edge;
}

static void step_hold(struct kat_gate *gate, const struct kat_sample *s,
		      struct kat_gate_order *order)
{
	int64_t start;

	see_edge(gate, s);
	order->next_ns = s->answered_ns + 2 * KAT_NS_PER_MS;
	if (s->remaining <= REMAINING_MIN || s->answered_ns - gate->phase_ns > PHASE_NS) {
		order->go = true;
		order->next_ns = s->answered_ns;
		return;
	}
	if (!gate->edges)
		return;
	/* The earliest moment at which a coming window may begin, less the lead. */
	start = gate->edge_ns + KAT_GATE_WINDOW_NS - kat_gate_lead_ns(gate);
	while (start < s->answered_ns)
		start += KAT_GATE_WINDOW_NS;
	order->go = true;
	order->next_ns = start;
}

int64_t kat_gate_lead_ns(const struct kat_gate *gate)
{
	int64_t lead = 2 * gate->rtt_ns + LEAD_ADD_NS;

	return min64(max64(lead, LEAD_MIN_NS), LEAD_MAX_NS);
}

struct kat_gate_order kat_gate_step(struct kat_gate *gate, const struct kat_sample *s)
{
	struct kat_gate_order order = {.next_ns = s->answered_ns + KAT_NS_PER_MS};

	measure(gate, s);
	if (gate->phase != KAT_GATE_START && s->passes > gate->last.passes) {
		begin_pass(gate, s, &order);
		gate->last = *s;
		return order;
	}
	switch (gate->phase) {
	case KAT_GATE_START:
		gate->pass_ns = s->answered_ns;
		enter(gate, s,
		      s->remaining > mark(gate) ? KAT_GATE_BULK : KAT_GATE_TAPER);
		if (gate->phase == KAT_GATE_BULK)
			set_bandwidth(gate, &order, bulk_rate(gate, s));
		break;
	case KAT_GATE_BULK:
		step_bulk(gate, s, &order);
		break;
	case KAT_GATE_COOL:
		step_cool(gate, s, &order);
		break;
	case KAT_GATE_TAPER:
		step_taper(gate, s, &order);
		break;
	case KAT_GATE_HOLD:
		step_hold(gate, s, &order);
		break;
	}
	gate->last = *s;
	return order;
}
