/* SPDX-License-Identifier: BSD-2-Clause */
#include "flow.h"

#include <err.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define TIMES	    0x3f /* in flow.seen; above it the phase */
#define PHASE_SHIFT 6

int64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * NS + ts.tv_nsec;
}

static uint8_t pattern(uint32_t seq, size_t i)
{
	return (uint8_t)(seq * 31 + i);
}

uint32_t mark_check(const struct mark *mark)
{
	const uint8_t *bytes = (const uint8_t *)mark;
	uint32_t sum = 2166136261U;

	for (size_t i = 0; i < offsetof(struct mark, check); i++)
		sum = (sum ^ bytes[i]) * 16777619U;
	return sum;
}

void payload_make(uint8_t *payload, size_t size, struct mark *mark)
{
	mark->check = mark_check(mark);
	memcpy(payload, mark, sizeof(*mark));
	for (size_t i = sizeof(*mark); i < size; i++)
		payload[i] = pattern(mark->seq, i);
}

bool payload_good(const uint8_t *payload, size_t len, struct mark *mark)
{
	size_t i = sizeof(*mark);

	if (len < sizeof(*mark))
		return false;
	memcpy(mark, payload, sizeof(*mark));
	if (mark->check != mark_check(mark))
		return false;
	if (mark->seq == QUERY)
		return true;
	while (i < len && payload[i] == pattern(mark->seq, i))
		i++;
	return i == len;
}

static void grow(struct flow *f)
{
	size_t room = f->room ? f->room * 2 : 4096;

	f->seen = realloc(f->seen, room);
	f->delay = realloc(f->delay, room * sizeof(*f->delay));
	if (!f->seen || !f->delay)
		err(1, "memory for %zu packets", room);
	memset(f->seen + f->room, 0, room - f->room);
	f->room = room;
}

void flow_next(struct flow *f, uint8_t *payload, enum phase phase)
{
	struct mark mark = {.run = f->run, .seq = (uint32_t)f->sent, .sent = now()};

	if (f->sent >= f->room)
		grow(f);
	f->seen[f->sent] = (uint8_t)(phase << PHASE_SHIFT);
	payload_make(payload, f->size, &mark);
	f->last_send = mark.sent;
	f->sent++;
}

const char *flow_account(struct flow *f, const uint8_t *payload, size_t len, int64_t at,
			 struct mark *mark)
{
	const char *what = "";
	bool late;

	if (!payload_good(payload, len, mark) || len != f->size) {
		f->got.corrupt++;
		return " corrupt";
	}
	if (mark->run != f->run || mark->seq >= f->sent)
		return NULL;
	if (f->seen[mark->seq] & TIMES) {
		if ((f->seen[mark->seq] & TIMES) < TIMES)
			f->seen[mark->seq]++;
		f->got.duplicated++;
		return " duplicate";
	}
	f->seen[mark->seq]++;
	f->delay[mark->seq] = (uint32_t)((at - mark->sent) / 1000);
	f->delay_sum += f->delay[mark->seq];
	late = f->got.good && mark->seq < f->highest;
	if (late) {
		f->got.reordered++;
		f->reordered[f->seen[mark->seq] >> PHASE_SHIFT]++;
		what = " reordered";
	} else {
		f->highest = mark->seq;
	}
	/* In the order of the far end, and yet behind: that was on the way back. */
	if (f->got.good && mark->turn < f->highest_turn)
		f->reordered_back++;
	else
		f->highest_turn = mark->turn;
	if (at - f->last_reply > f->gap) {
		f->gap = at - f->last_reply;
		f->gap_at = f->last_reply;
	}
	f->last_reply = at;
	f->got.good++;
	return what;
}

void flow_end(struct flow *f)
{
	if (f->last_send - f->last_reply > f->gap) {
		f->gap = f->last_send - f->last_reply;
		f->gap_at = f->last_reply;
	}
}

/* What came back damaged did come back. */
static uint64_t flow_lost(const struct flow *f)
{
	uint64_t came = (uint64_t)f->got.good + f->got.corrupt;

	return f->sent > came ? f->sent - came : 0;
}

bool flow_clean(const struct flow *f)
{
	return f->got.good == f->sent && !f->got.duplicated && !f->got.corrupt;
}

static uint64_t over(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

/* Which direction did it: what the far end had of each flow, and what we had less. */
static void report_ways(const struct flow *flows, size_t n)
{
	uint64_t lost = 0, dup = 0, late = 0, late_back = 0, corrupt = 0, drops = 0;
	uint64_t lost_back = 0, dup_back = 0, corrupt_back = 0, answered = 0;

	for (size_t i = 0; i < n; i++) {
		const struct flow *f = &flows[i];
		const struct tally *t = &f->there;
		uint64_t there = over(f->sent, (uint64_t)t->good + t->corrupt);

		if (!f->answered)
			continue;
		answered++;
		lost += there;
		lost_back += over(flow_lost(f), there);
		dup += t->duplicated;
		dup_back += over(f->got.duplicated, t->duplicated);
		late += t->reordered;
		late_back += f->reordered_back;
		corrupt += t->corrupt;
		corrupt_back += over(f->got.corrupt, t->corrupt);
		if (t->own_drops > drops) /* each flow counts those of the socket */
			drops = t->own_drops;
	}
	printf("unanswered=%" PRIu64 "\nlost_there=%" PRIu64 "\nlost_back=%" PRIu64 "\n"
	       "duplicated_there=%" PRIu64 "\nduplicated_back=%" PRIu64 "\n"
	       "reordered_there=%" PRIu64 "\nreordered_back=%" PRIu64 "\n"
	       "corrupt_there=%" PRIu64 "\ncorrupt_back=%" PRIu64 "\n"
	       "drops_there=%" PRIu64 "\n",
	       n - answered, lost, lost_back, dup, dup_back, late, late_back, corrupt,
	       corrupt_back, drops);
}

static int by_size(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* Of what was sent in that phase: what was reordered; the delays' median, 99 of 100,
 * greatest. */
static void report_delays(const struct flow *flows, size_t n, enum phase phase)
{
	static const char *const names[PHASES] = {"before", "during", "after"};
	uint64_t count = 0, all = 0, reordered = 0;
	uint32_t *delays;

	for (size_t i = 0; i < n; i++) {
		all += flows[i].got.good;
		reordered += flows[i].reordered[phase];
	}
	delays = calloc(all ? all : 1, sizeof(*delays));
	if (!delays)
		err(1, "memory for %" PRIu64 " delays", all);
	for (size_t i = 0; i < n; i++)
		for (uint64_t k = 0; k < flows[i].sent; k++)
			if (flows[i].seen[k] & TIMES &&
			    flows[i].seen[k] >> PHASE_SHIFT == phase)
				delays[count++] = flows[i].delay[k];
	qsort(delays, count, sizeof(*delays), by_size);
	printf("reordered_%s=%" PRIu64 "\n", names[phase], reordered);
	if (count)
		printf("delay_%s_p50_ms=%.3f\ndelay_%s_p99_ms=%.3f\ndelay_%s_max_ms=%."
		       "3f\n",
		       names[phase], delays[count / 2] / 1e3, names[phase],
		       delays[count * 99 / 100] / 1e3, names[phase],
		       delays[count - 1] / 1e3);
	free(delays);
}

void flows_report(const struct flow *flows, size_t n, int64_t start, bool asked)
{
	uint64_t sent = 0, lost = 0, refused = 0, errors = 0, delay = 0, i;
	uint64_t first = UINT64_MAX, last = 0;
	const struct flow *longest = flows;
	struct tally got = {0};
	int64_t end = start;

	for (const struct flow *f = flows; f < flows + n; f++) {
		sent += f->sent;
		lost += flow_lost(f);
		refused += f->refused;
		errors += f->icmp_errors;
		delay += f->delay_sum;
		got.good += f->got.good;
		got.duplicated += f->got.duplicated;
		got.reordered += f->got.reordered;
		got.corrupt += f->got.corrupt;
		if (f->gap > longest->gap)
			longest = f;
		if (f->last_send > end)
			end = f->last_send;
		for (i = 0; f->sent != f->got.good && i < f->sent; i++)
			if (!(f->seen[i] & TIMES)) {
				first = i < first ? i : first;
				last = i > last ? i : last;
			}
	}
	printf("sent=%" PRIu64 "\nreceived=%" PRIu32 "\nlost=%" PRIu64 "\n"
	       "duplicated=%" PRIu32 "\nreordered=%" PRIu32 "\ncorrupt=%" PRIu32 "\n"
	       "send_errors=%" PRIu64 "\nicmp_errors=%" PRIu64 "\n",
	       sent, got.good, lost, got.duplicated, got.reordered, got.corrupt, refused,
	       errors);
	printf("lost_first=%" PRId64 "\nlost_last=%" PRId64 "\n"
	       "gap_ms=%.1f\ngap_at_s=%.3f\nrtt_avg_ms=%.3f\nrate=%.0f\n",
	       first == UINT64_MAX ? -1 : (int64_t)first,
	       first == UINT64_MAX ? -1 : (int64_t)last, (double)longest->gap / 1e6,
	       (double)(longest->gap_at - start) / 1e9,
	       (double)delay / 1e3 / (got.good ? got.good : 1),
	       end > start ? (double)sent * 1e9 / (double)(end - start) : 0);
	for (i = BEFORE; i < PHASES; i++)
		report_delays(flows, n, (enum phase)i);
	if (asked)
		report_ways(flows, n);
}
