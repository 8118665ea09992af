/* SPDX-License-Identifier: BSD-2-Clause */
/* Runs one hook over the plan: order, budget, roll-back. */
#ifndef KAT_HOOKS_H
#define KAT_HOOKS_H

#include <stdint.h>

#include "api.h"
#include "error.h"
#include "past.h"
#include "plan.h"

/* The first round of on_resume is still in the blackout as the clients see it. */
#define KAT_RESUME_BUDGET_MS 50
/* Of the others: the guest has its packets, and a busy QEMU may be slow. */
#define KAT_TELL_BUDGET_MS 2000
/* Files, connections, names; also for pre_copy of a cutover or announce plugin. */
#define KAT_OPEN_BUDGET_MS 30000

struct kat_hooks {
	struct katamaran_ctx *ctxs; /* one for each step of the plan */
	size_t n;
	const struct kat_config *config;
	bool unclean; /* a cleanup could not undo all */
	bool left;    /* kat_hooks_leave() was called */
};

int kat_hooks_init(struct kat_hooks *hooks, const struct kat_plan *plan,
		   struct kat_migration *migration);
void kat_hooks_free(struct kat_hooks *hooks);

/*
 * In configuration order; what was opened stays so, for kat_hooks_cleanup().
 * With -check a plugin that cannot be opened is a finding, and the next follows.
 */
int kat_hooks_open(struct kat_hooks *hooks, struct kat_error **err);

/* check() of every open plugin, or only of those that asked to be called again. */
void kat_hooks_check(struct kat_hooks *hooks, bool again);

int kat_hooks_pre_copy(struct kat_hooks *hooks, struct kat_error **err);

/* True where a plugin of this kind has something to do at the switchover. */
bool kat_hooks_has_on_stop(const struct kat_hooks *hooks, uint32_t kind);

/*
 * on_stop of all plugins of one kind, until `deadline_ns`.  0: done; > 0: call
 * again in that many ms, a plugin is not done; -1: error.  A plugin that
 * overran is named in a warning.
 */
int kat_hooks_on_stop(struct kat_hooks *hooks, uint32_t kind, int64_t deadline_ns,
		      struct kat_error **err);

/*
 * The guest has stopped since on_stop of the cutover plugins was called: those
 * that asked for it, or were not done, are called once more.  A failure is a
 * doubt in the ledger and a warning.
 */
void kat_hooks_when_stopped(struct kat_hooks *hooks, int64_t deadline_ns);

/*
 * on_resume of every plugin whose next round is due, the cutover's first. CLOCK_MONOTONIC
 * time of the earliest next round, or 0 when none wants another.  A failure is a warning:
 * the guest has moved, and nothing is undone for it.
 */
int64_t kat_hooks_on_resume(struct kat_hooks *hooks);

/* Hands an event of QEMU to every open plugin that wants them. */
int kat_hooks_event(struct kat_hooks *hooks, const struct kat_qmp_event *event,
		    struct kat_error **err);

/* Reverse order, each opened plugin of the kind (0: all) once. */
void kat_hooks_cleanup(struct kat_hooks *hooks, uint32_t kind, int outcome);

/*
 * Leaves what plugins of the kind have done as it is, where they can undo it from the
 * journal: they are not called any more, and what they hold goes with the process.
 */
void kat_hooks_leave(struct kat_hooks *hooks, uint32_t kind);

/*
 * Undoes what the plugins of the kind (0: all) announced in a dead migration's
 * journal, the newest first.  All are tried; -1 with the first that failed.
 */
int kat_hooks_recover(struct kat_hooks *hooks, const struct kat_past *past, uint32_t kind,
		      int outcome, struct kat_error **err);

#endif /* KAT_HOOKS_H */
