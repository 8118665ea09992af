/* SPDX-License-Identifier: BSD-2-Clause */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "ledger.h"
#include "loader.h"
#include "log.h"
#include "util.h"

static const char *const names[KAT_LEDGER_COUNTERS] = {
	[KATAMARAN_REDIRECTED] = "redirected",
	[KATAMARAN_SALVAGED] = "salvaged",
	[KATAMARAN_HELD] = "held",
	[KATAMARAN_RELEASED] = "released",
	[KATAMARAN_DROPPED_PLUG] = "dropped_plug",
	[KATAMARAN_DROPPED_RING] = "dropped_ring",
	[KATAMARAN_DROPPED_TUNNEL] = "dropped_tunnel",
	[KATAMARAN_ARRIVED] = "arrived",
	[KATAMARAN_RETURNED] = "returned",
};

const char *kat_ledger_name(size_t what)
{
	return names[what];
}

int kat_ledger_init(struct kat_ledger *ledger, size_t n_nics)
{
	memset(ledger, 0, sizeof(*ledger));
	ledger->counts = calloc(n_nics + 1, sizeof(*ledger->counts));
	ledger->learned_ms = calloc(n_nics + 1, sizeof(*ledger->learned_ms));
	ledger->n_nics = n_nics;
	for (size_t i = 0; ledger->learned_ms && i < n_nics; i++)
		ledger->learned_ms[i] = -1;
	return ledger->counts && ledger->learned_ms ? 0 : -1;
}

void kat_ledger_free(struct kat_ledger *ledger)
{
	for (size_t i = 0; i < ledger->n_doubts; i++)
		free(ledger->doubts[i]);
	free(ledger->counts);
	free(ledger->learned_ms);
	memset(ledger, 0, sizeof(*ledger));
}

void kat_ledger_add(struct kat_ledger *ledger, size_t nic, int what, uint64_t packets)
{
	if (nic >= ledger->n_nics || what < 0 || what >= KAT_LEDGER_COUNTERS)
		return;
	ledger->counts[nic][what] += packets;
	ledger->told |= 1u << what;
}

void kat_ledger_learned(struct kat_ledger *ledger, size_t nic, int64_t ms)
{
	if (nic < ledger->n_nics)
		ledger->learned_ms[nic] = ms;
}

void kat_ledger_doubt(struct kat_ledger *ledger, char *reason)
{
	if (ledger->n_doubts < KAT_LEDGER_DOUBTS)
		ledger->doubts[ledger->n_doubts++] = reason;
	else
		free(reason); /* eight reasons are enough to be unsure */
}

static void doubt(struct kat_ledger *ledger, const char *fmt, ...)
	__attribute__((__format__(__printf__, 2, 3)));

static void doubt(struct kat_ledger *ledger, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	kat_ledger_doubt(ledger, kat_vformat(fmt, ap));
	va_end(ap);
}

struct json_object *kat_ledger_tell(const struct kat_ledger *ledger)
{
	struct json_object *result = json_object_new_object();
	struct json_object *nics = json_object_new_array();
	struct json_object *reasons = json_object_new_array();

	for (size_t i = 0; i < ledger->n_nics; i++) {
		struct json_object *nic = json_object_new_object();

		for (size_t what = 0; what < KAT_LEDGER_COUNTERS; what++)
			if (ledger->told & 1u << what)
				json_object_object_add(
					nic, names[what],
					json_object_new_int64(
						(int64_t)ledger->counts[i][what]));
		json_object_array_add(nics, nic);
	}
	for (size_t i = 0; i < ledger->n_doubts; i++)
		json_object_array_add(reasons, json_object_new_string(ledger->doubts[i]));
	json_object_object_add(result, "nics", nics);
	json_object_object_add(result, "doubts", reasons);
	return result;
}

/* One NIC of the other end; the sum of what only that end knows counts, too. */
static void join_nic(struct kat_ledger *ledger, size_t i, struct json_object *nic)
{
	for (size_t what = 0; what < KAT_LEDGER_COUNTERS; what++) {
		int64_t n = kat_json_int(nic, names[what], -1);

		if (n < 0)
			continue;
		ledger->told |= 1u << what;
		if (what == KATAMARAN_DROPPED_TUNNEL && i < ledger->n_nics)
			ledger->other_tunnel += (uint64_t)n;
		if (i < ledger->n_nics)
			ledger->counts[i][what] += (uint64_t)n;
		else if (what >= KATAMARAN_DROPPED_PLUG &&
			 what <= KATAMARAN_DROPPED_TUNNEL)
			ledger->other_lost += (uint64_t)n;
	}
}

uint64_t kat_ledger_sum(const struct kat_ledger *ledger, size_t what)
{
	uint64_t total = 0;

	for (size_t i = 0; i < ledger->n_nics; i++)
		total += ledger->counts[i][what];
	return total;
}

static bool was_told(const struct kat_ledger *ledger, unsigned int what)
{
	return ledger->told & 1u << what;
}

/* What went into the redirect here and came out of it there. */
static void compare(struct kat_ledger *ledger)
{
	uint64_t sent = kat_ledger_sum(ledger, KATAMARAN_REDIRECTED) +
			kat_ledger_sum(ledger, KATAMARAN_SALVAGED);
	uint64_t arrived = kat_ledger_sum(ledger, KATAMARAN_ARRIVED);

	if (!was_told(ledger, KATAMARAN_REDIRECTED) || sent == arrived)
		return;
	if (!was_told(ledger, KATAMARAN_ARRIVED))
		doubt(ledger,
		      "nobody has counted on the destination what came out of the"
		      " redirect, into which %" PRIu64 " packets went",
		      sent);
	else if (arrived < sent)
		doubt(ledger,
		      "%" PRIu64 " of %" PRIu64 " redirected packets did not come out of"
		      " the redirect on the destination",
		      sent - arrived, sent);
	else
		doubt(ledger,
		      "more packets came out of the redirect (%" PRIu64
		      ") than went into it (%" PRIu64
		      "): what of that was lost in between cannot be told",
		      arrived, sent);
}

void kat_ledger_join(struct kat_ledger *ledger, struct json_object *result)
{
	struct json_object *nics = kat_json_member(result, "nics");
	struct json_object *doubts = kat_json_member(result, "doubts");

	if (!json_object_is_type(nics, json_type_array) ||
	    !json_object_is_type(doubts, json_type_array)) {
		doubt(ledger, "the destination did not tell its counters");
		return;
	}
	ledger->joined = true;
	for (size_t i = 0; i < json_object_array_length(nics); i++)
		join_nic(ledger, i, json_object_array_get_idx(nics, i));
	for (size_t i = 0; i < json_object_array_length(doubts); i++)
		doubt(ledger, "destination: %s",
		      json_object_get_string(json_object_array_get_idx(doubts, i)));
	compare(ledger);
}

/* The plug may have gone, with its counters, when the destination's QEMU did. */
static uint64_t not_returned(const struct kat_ledger *ledger)
{
	uint64_t sent = kat_ledger_sum(ledger, KATAMARAN_REDIRECTED) +
			kat_ledger_sum(ledger, KATAMARAN_SALVAGED) +
			kat_ledger_sum(ledger, KATAMARAN_DROPPED_TUNNEL) -
			ledger->other_tunnel;
	uint64_t returned = kat_ledger_sum(ledger, KATAMARAN_RETURNED);

	/* More, where others sent to the destination, too. */
	return sent > returned ? sent - returned : 0;
}

uint64_t kat_ledger_lost(const struct kat_ledger *ledger)
{
	if (ledger->stayed)
		return not_returned(ledger);
	return ledger->other_lost + kat_ledger_sum(ledger, KATAMARAN_DROPPED_PLUG) +
	       kat_ledger_sum(ledger, KATAMARAN_DROPPED_RING) +
	       kat_ledger_sum(ledger, KATAMARAN_DROPPED_TUNNEL);
}

enum kat_verdict kat_ledger_verdict(const struct kat_ledger *ledger)
{
	if (kat_ledger_lost(ledger))
		return KAT_VERDICT_LOST;
	if (!ledger->joined || !ledger->told || ledger->n_doubts)
		return KAT_VERDICT_UNKNOWN;
	return KAT_VERDICT_PROVEN_ZERO;
}

static void report_nic(const struct kat_ledger *ledger, size_t i, const char *name)
{
	const uint64_t *c = ledger->counts[i];
	char arrived[64] = "", returned[64] = "";

	if (was_told(ledger, KATAMARAN_ARRIVED))
		snprintf(arrived, sizeof(arrived), ", arrived %" PRIu64,
			 c[KATAMARAN_ARRIVED]);
	if (was_told(ledger, KATAMARAN_RETURNED))
		snprintf(returned, sizeof(returned), ", returned %" PRIu64,
			 c[KATAMARAN_RETURNED]);
	kat_log(KAT_INFO,
		"packets of %s: redirected %" PRIu64 ", salvaged %" PRIu64
		"%s, held %" PRIu64 ", released %" PRIu64 ", dropped by the hold %" PRIu64
		", by the tap's ring %" PRIu64 ", by the tunnel %" PRIu64 "%s",
		name, c[KATAMARAN_REDIRECTED], c[KATAMARAN_SALVAGED], arrived,
		c[KATAMARAN_HELD], c[KATAMARAN_RELEASED], c[KATAMARAN_DROPPED_PLUG],
		c[KATAMARAN_DROPPED_RING], c[KATAMARAN_DROPPED_TUNNEL], returned);
}

void kat_ledger_report(const struct kat_ledger *ledger, const char *const *nic_names)
{
	const char *whose = ledger->joined ? "verdict" : "verdict of this end";
	size_t shown = 1;

	for (size_t i = 0; ledger->told && i < ledger->n_nics; i++)
		report_nic(ledger, i, nic_names[i]);
	switch (kat_ledger_verdict(ledger)) {
	case KAT_VERDICT_LOST:
		kat_log(KAT_WARNING, "%s: %" PRIu64 " packets lost", whose,
			kat_ledger_lost(ledger));
		shown = 0;
		break;
	case KAT_VERDICT_PROVEN_ZERO:
		kat_log(KAT_INFO,
			"%s: proven_zero: the counters of both ends show no packet"
			" lost",
			whose);
		break;
	case KAT_VERDICT_UNKNOWN:
		if (!ledger->told)
			kat_log(KAT_INFO, "%s: unknown: no plugin counted packets",
				whose);
		else if (ledger->n_doubts)
			kat_log(KAT_INFO, "%s: unknown: %s", whose, ledger->doubts[0]);
		else
			kat_log(KAT_INFO, "verdict of this end: its counters show no"
					  " packet lost; the other end reports its own");
		shown = ledger->told != 0;
		break;
	}
	for (size_t i = shown; i < ledger->n_doubts; i++)
		kat_log(KAT_INFO, "also unknown: %s", ledger->doubts[i]);
}
