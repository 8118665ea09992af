/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The gate against a model of QEMU's migration loop (migration_iteration_run,
 * migration_update_counters and ram_save_pending of QEMU 7.2): windows of
 * 100 ms, a threshold measured per window, passes that end with a bitmap sync.
 * What must never happen is that the model stops the guest by itself.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "gate.h"
#include "util.h"

#define PAGE	   4096
#define ZERO_BYTES 9 /* a zero page on the wire */
#define TICK_NS	   KAT_NS_PER_MS

struct guest {
	const char *name;
	int64_t pages;	     /* of RAM */
	int zero_percent;    /* of them, in the first pass */
	int64_t dirty_per_s; /* pages that the guest writes per second */
	int64_t link;	     /* bytes/s */
	int64_t rtt_ms;	     /* of a QMP command */
	int64_t bandwidth;   /* of the configuration; 0: no limit */
	int64_t downtime_ms;
	bool holds; /* the guest can be held at all */
};

struct model {
	const struct guest *g;
	int64_t now_ns, window_ns;
	int64_t bandwidth, downtime_limit;
	int64_t known, unknown_milli; /* dirty pages; in thousandths */
	int64_t sent, window_sent, threshold, passes, dirty_rate, synced_ns;
	int64_t stall_ns; /* when nobody looks for a quarter of a second; 0: never */
	bool stopped;
};

#define STALL_NS (250 * KAT_NS_PER_MS)

static void model_start(struct model *m, const struct guest *g)
{
	memset(m, 0, sizeof(*m));
	m->g = g;
	m->bandwidth = KAT_GATE_CROSS;
	m->downtime_limit = KAT_GATE_DOWNTIME_MS;
	m->known = g->pages;
	m->passes = 1;
}

static void model_sync(struct model *m)
{
	int64_t found = m->unknown_milli / 1000;

	if (m->now_ns > m->synced_ns)
		m->dirty_rate = found * KAT_NS_PER_S / (m->now_ns - m->synced_ns);
	m->known += found;
	m->unknown_milli %= 1000;
	m->passes++;
	m->synced_ns = m->now_ns;
}

/* One millisecond of the migration thread. */
static void model_tick(struct model *m)
{
	int64_t line = m->g->link / 1000;

	m->now_ns += TICK_NS;
	m->unknown_milli += m->g->dirty_per_s;
	if (m->now_ns - m->window_ns >= KAT_GATE_WINDOW_NS) {
		int64_t ms = (m->now_ns - m->window_ns) / KAT_NS_PER_MS;

		m->threshold = m->window_sent / ms * m->downtime_limit;
		m->window_sent = 0;
		m->window_ns = m->now_ns;
	}
	while (!m->stopped && line > 0 && m->window_sent <= m->bandwidth / 10) {
		bool zero = m->passes == 1 && m->known % 100 < m->g->zero_percent;
		int64_t bytes = zero ? ZERO_BYTES : PAGE;

		if (m->known * PAGE < m->threshold || !m->known) {
			model_sync(m);
			if (m->known * PAGE < m->threshold || !m->known)
				m->stopped = true;
			continue;
		}
		m->known--;
		m->sent += bytes;
		m->window_sent += bytes;
		line -= zero ? 400 : PAGE; /* scanned at about 10 GB/s */
	}
}

static void model_run_until(struct model *m, int64_t ns)
{
	while (m->now_ns < ns && !m->stopped)
		model_tick(m);
}

/* Drives the gate until it says go, the model stops the guest, or a minute passes. */
static bool drive(struct model *m, struct kat_gate *gate)
{
	int64_t half = m->g->rtt_ms * KAT_NS_PER_MS / 2;

	kat_gate_init(gate, m->g->bandwidth, m->g->downtime_ms);
	while (!m->stopped && m->now_ns < 60 * KAT_NS_PER_S) {
		if (m->stall_ns && m->now_ns >= m->stall_ns) {
			m->stall_ns = 0;
			model_run_until(m, m->now_ns + STALL_NS);
		}
		struct kat_sample s = {.asked_ns = m->now_ns,
				       .total = m->g->pages * PAGE};
		struct kat_gate_order order;

		model_run_until(m, m->now_ns + half);
		s.remaining = m->known * PAGE;
		s.transferred = m->sent;
		s.passes = m->passes;
		s.dirty_bytes_s = m->dirty_rate * PAGE;
		model_run_until(m, m->now_ns + half);
		s.answered_ns = m->now_ns;
		order = kat_gate_step(gate, &s);
		assert_true(order.next_ns >= s.answered_ns);
		if (order.bandwidth) {
			model_run_until(m, m->now_ns + half);
			m->bandwidth = order.bandwidth;
			model_run_until(m, m->now_ns + half);
		}
		model_run_until(m, order.next_ns);
		if (order.go)
			return !m->stopped;
	}
	return false;
}

static const struct guest guests[] = {
	{"idle, 112 MiB, fast host", 28674, 60, 300, 1000000000, 1, 0, 50, true},
	{"idle, 112 MiB, slow lab", 28674, 60, 300, 30000000, 20, 0, 300, true},
	{"zero-filled, 16 GiB", 4194304, 99, 200, 3000000000, 1, 0, 50, true},
	{"full, 4 GiB, 25 Gbit/s", 1048576, 0, 500, 3000000000, 1, 0, 50, true},
	{"busy, 1 GiB, 10 Gbit/s", 262144, 10, 10000, 1200000000, 1, 0, 300, true},
	{"limited to 32 MiB/s", 65536, 30, 200, 1200000000, 1, 33554432, 300, true},
	{"hardly dirties anything", 28674, 60, 20, 1000000000, 1, 0, 50, true},
	{"a loaded machine", 65536, 50, 500, 500000000, 40, 0, 300, true},
	{"idle, and we get no CPU for 200 ms", 28674, 60, 100, 100000000, 200, 0, 300,
	 true},
	{"idle, and QEMU answers after 320 ms", 28674, 60, 25, 30000000, 320, 0, 50,
	 true},
	{"the same, and somewhat busy", 28674, 60, 250, 30000000, 320, 0, 300, true},
	{"dirties faster than the link", 65536, 0, 400000, 1000000000, 1, 0, 50, false},
};

static void test_qemu_is_held_until_go(void **state)
{
	(void)state;
	for (size_t i = 0; i < KAT_ARRAY_SIZE(guests); i++) {
		struct kat_gate gate;
		struct model m;
		bool go;

		model_start(&m, &guests[i]);
		go = drive(&m, &gate);
		print_message("%s: %s after %lld ms, pass %lld, %lld pages left\n",
			      guests[i].name,
			      go	  ? "go"
			      : m.stopped ? "QEMU was faster"
					  : "no go",
			      (long long)(m.now_ns / KAT_NS_PER_MS), (long long)m.passes,
			      (long long)m.known);
		assert_false(m.stopped);
		assert_int_equal(go, guests[i].holds);
	}
}

/* After go the open gate lets the model stop at its next window, not much later. */
static void test_open_gate_stops_at_the_window(void **state)
{
	(void)state;
	for (size_t i = 0; i < KAT_ARRAY_SIZE(guests); i++) {
		struct kat_gate gate;
		struct model m;
		int64_t go_ns;

		if (!guests[i].holds)
			continue;
		model_start(&m, &guests[i]);
		assert_true(drive(&m, &gate));
		go_ns = m.now_ns;
		m.downtime_limit = KAT_GATE_OPEN_MS;
		model_run_until(&m, go_ns + KAT_NS_PER_S);
		assert_true(m.stopped);
		assert_true(m.now_ns - go_ns <=
			    KAT_GATE_WINDOW_NS + kat_gate_lead_ns(&gate));
		/* What is left fits the blackout that was asked for. */
		assert_true(m.known * PAGE / (guests[i].link / 1000) <=
			    guests[i].downtime_ms);
	}
}

/* We get no CPU for a quarter of a second, at whatever moment: QEMU is held still. */
static void test_a_stall_is_survived(void **state)
{
	const struct guest idle = {"idle", 28674, 60, 300, 1000000000, 1, 0, 50, true};
	unsigned int outrun = 0, runs = 0;

	(void)state;
	for (int64_t at = 0; at < 3500; at += 7) {
		struct kat_gate gate;
		struct model m;

		model_start(&m, &idle);
		m.stall_ns = at * KAT_NS_PER_MS + 1;
		outrun += !drive(&m, &gate);
		runs++;
	}
	print_message("%u of %u runs outrun\n", outrun, runs);
	assert_int_equal(outrun, 0);
}

/*
 * A starved machine: QEMU answers after seconds, and the guest, which gets no processor
 * either, dirties next to nothing.  The pass in which it might be held is the last.
 */
static void test_late_answers_are_not_waited_for(void **state)
{
	const struct guest starved = {"starved", 28674, 60,  20,  30000000,
				      400,	 0,	300, true};
	struct kat_gate gate;
	struct model m;

	(void)state;
	model_start(&m, &starved);
	assert_true(drive(&m, &gate));
	assert_int_equal(gate.phase, KAT_GATE_HOLD);
	/* Not even the brake was put on: that is an answer to wait for. */
	assert_int_not_equal(gate.ordered, KAT_GATE_BRAKE);
}

/* In phase: on a quick host the window begins within the lead and a few ms. */
static void test_phase_is_locked(void **state)
{
	struct kat_gate gate;
	struct model m;
	int64_t next;

	(void)state;
	model_start(&m, &guests[0]);
	assert_true(drive(&m, &gate));
	next = m.window_ns + KAT_GATE_WINDOW_NS - m.now_ns;
	print_message("the next window begins %.1f ms after go\n",
		      (double)next / KAT_NS_PER_MS);
	assert_in_range(next, KAT_NS_PER_MS, kat_gate_lead_ns(&gate) + 5 * KAT_NS_PER_MS);
}

/* Without the brake the same model does stop by itself: the test can fail. */
static void test_without_brake_qemu_is_faster(void **state)
{
	struct model m;

	(void)state;
	model_start(&m, &guests[0]);
	m.bandwidth = KAT_GATE_FULL;
	model_run_until(&m, 10 * KAT_NS_PER_S);
	assert_true(m.stopped);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_qemu_is_held_until_go),
		cmocka_unit_test(test_open_gate_stops_at_the_window),
		cmocka_unit_test(test_a_stall_is_survived),
		cmocka_unit_test(test_late_answers_are_not_waited_for),
		cmocka_unit_test(test_phase_is_locked),
		cmocka_unit_test(test_without_brake_qemu_is_faster),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
