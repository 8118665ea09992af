/* SPDX-License-Identifier: BSD-2-Clause */
#define KATAMARAN_API_VERSION 1
#include "plugins/lib/returning.h"

#include <stdlib.h>
#include <syslog.h>
#include <time.h>

/* A source whose redirect still stands sends more all the time. */
#define MOST_NS 200000000
/* What a plug has let go is in the tap's ring within microseconds. */
#define PAUSE_NS    1000000
#define QUIET_TRIES 10

int kat_returning_open(struct katamaran_ctx *ctx, struct kat_returning *back,
		       const struct kat_redirect *r)
{
	back->nics = katamaran_nic_count(ctx);
	back->taps = calloc(back->nics, sizeof(*back->taps));
	back->salvage.give = katamaran_give_back;
	back->salvage.ctx = ctx;
	return back->taps ? kat_salvage_open(&back->salvage, r) : -1;
}

void kat_returning_forget(struct kat_returning *back)
{
	for (size_t i = 0; back->taps && i < back->nics; i++)
		kat_tap_close(&back->taps[i]);
}

void kat_returning_free(struct kat_returning *back)
{
	kat_returning_forget(back);
	free(back->taps);
	back->taps = NULL;
	kat_salvage_close(&back->salvage);
}

void kat_returning_watch(struct katamaran_ctx *ctx, struct kat_returning *back)
{
	for (size_t i = 0; katamaran_connected(ctx) && i < back->nics; i++) {
		const char *name = katamaran_nic_tap(ctx, i);

		if (kat_tap_duplicate(&back->taps[i], katamaran_qemu_pid(ctx),
				      katamaran_qemu_pidfd(ctx), name,
				      katamaran_nic_netns(ctx, i)) < 0)
			katamaran_log(ctx, LOG_INFO,
				      "tap %s: cannot duplicate QEMU's descriptor (%m): "
				      "should the guest not come, what is held for it is "
				      "lost",
				      name);
	}
}

/* One look at every queue; false when nothing more can be taken. */
static bool read_queues(struct katamaran_ctx *ctx, struct kat_returning *back,
			const struct kat_holder *h, int64_t until_ns,
			struct kat_salvaged *found)
{
	const struct kat_tap *tap = &back->taps[h->nic];

	for (size_t i = 0; i < tap->count; i++) {
		int ret = kat_salvage_queue(&back->salvage, tap->fds[i], until_ns, found);

		if (ret < 0)
			katamaran_log(ctx, LOG_WARNING,
				      "tap %s: cannot read what was held in it: %m",
				      h->tap);
		if (ret != 0)
			return false;
	}
	return true;
}

void kat_returning_give(struct katamaran_ctx *ctx, struct kat_returning *back,
			struct kat_holder *h)
{
	const struct timespec pause = {.tv_nsec = PAUSE_NS};
	int64_t until_ns = kat_now_ns() + MOST_NS;
	struct kat_salvaged found = {0};
	uint64_t before = 0;

	if (!h->blocked || !back->taps[h->nic].count || kat_holder_let_out(ctx, h) < 0)
		return;
	for (int quiet = 0; quiet < QUIET_TRIES; quiet++) {
		if (!read_queues(ctx, back, h, until_ns, &found))
			break;
		if (found.sent + found.lost != before)
			quiet = 0;
		before = found.sent + found.lost;
		nanosleep(&pause, NULL);
	}
	kat_tap_close(&back->taps[h->nic]);
	if (found.sent)
		katamaran_log(ctx, LOG_INFO,
			      "tap %s: %llu packet(s) that were held for the guest go "
			      "back to the source",
			      h->tap, (unsigned long long)found.sent);
	if (found.lost)
		katamaran_log(ctx, LOG_WARNING,
			      "tap %s: %llu packet(s) that were held for the guest are "
			      "lost: they could not be given back",
			      h->tap, (unsigned long long)found.lost);
}
