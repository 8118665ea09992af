/* SPDX-License-Identifier: BSD-2-Clause */
/* Which migrations are recovered, and what each of them needs for it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "recover.h"
#include "recovery.h"

/* ---- QEMU ---- */

/* Its process has ended, and perhaps another one has its socket. */
static bool qemu_has_ended(const struct recovery *r)
{
	return kat_process_ended(r->past.qemu_pid, r->past.qemu_start);
}

/*
 * Who answers at the socket: the QEMU of then, or another one.  Its process may be
 * in another namespace, where it cannot be looked up.
 */
static bool is_same_qemu(const struct recovery *r)
{
	const struct kat_migration *m = &r->end.migration;
	const struct kat_past *past = &r->past;

	if (m->qemu_pid > 0 && past->qemu_pid > 0)
		return m->qemu_pid == past->qemu_pid && !qemu_has_ended(r);
	return !m->vm_uuid || !past->vm_uuid || !strcmp(m->vm_uuid, past->vm_uuid);
}

/* 0: connected, or it has ended and that is known. */
static int reach_qemu(struct recovery *r, struct kat_error **err)
{
	cleanup_error struct kat_error *why = NULL;
	bool answers = kat_end_connect(&r->end, &why) == 0;

	if (answers && is_same_qemu(r))
		return 0;
	if (answers)
		kat_qmp_close(&r->end.migration.qmp);
	/* Whoever cannot see its process has nothing but the socket. */
	if (qemu_has_ended(r) ||
	    (!r->past.qemu_pid && why &&
	     (why->sys_errno == ENOENT || why->sys_errno == ECONNREFUSED)))
		return 0;
	errno = 0;
	return kat_error_set(err, KAT_EXIT_FAILED,
			     "QEMU (process %d) lives, but cannot be asked: %s",
			     (int)r->past.qemu_pid,
			     answers ? "another one has its socket" : why->message);
}

/* ---- one migration ---- */

static void free_recovery(struct recovery *r)
{
	kat_end_release(&r->end, false);
	kat_past_free(&r->past);
	free(r->state);
	free(r->status);
}

static void announce(const struct kat_past *past)
{
	const char *guest = past->vm_name ? past->vm_name : past->vm_uuid;

	kat_log(KAT_INFO, "Recovering migration %s: %s of guest %s, killed while \"%s\".",
		past->id,
		past->config.role == KATAMARAN_SOURCE ? "source" : "destination",
		guest ? guest : "without a name", past->phase ? past->phase : "starting");
	if (past->skipped)
		kat_log(KAT_WARNING,
			"%u lines of its journal are damaged, or of a newer katamaran: "
			"what they announce is not put back",
			past->skipped);
}

/* `r` has the journal, with its lock. */
static int recover(struct recovery *r, struct kat_error **err)
{
	struct kat_past *past = &r->past;
	int ret;

	announce(past);
	past->config.guest_state = true; /* should the other end have to be asked */
	r->end = KAT_END_EMPTY(&past->config);
	if (kat_loop_open(&r->end.loop, err) < 0)
		return -1;
	/* What is begun is finished: every wait in it has its deadline. */
	r->end.loop.deaf = true;
	if (kat_end_prepare(&r->end, past->id, err) < 0) {
		(*err)->exit_code = KAT_EXIT_FAILED;
		return -1;
	}
	if (reach_qemu(r, err) < 0)
		return -1;
	ret = past->config.role == KATAMARAN_SOURCE ? kat_recover_source(r, err)
						    : kat_recover_dest(r, err);
	if (ret == 0)
		unlinkat(past->dir, past->name, 0);
	return ret;
}

/* ---- which ---- */

struct search {
	const struct kat_config *config;
	const char *id;			/* NULL: those of the same guest */
	const struct kat_config *guest; /* that one */
	bool found;
	void (*tell)(const struct kat_past *past, void *data); /* NULL: recover it */
	void *data;
	struct kat_error **err;
	struct kat_error *worst; /* with "all": the others are done all the same */
};

static bool same(const char *a, const char *b)
{
	return a && b && !strcmp(a, b);
}

static bool nics_meet(const struct kat_nic_config *a, const struct kat_nic_config *b,
		      bool same_end)
{
	bool one_netns = a->netns == b->netns || same(a->netns, b->netns);

	if (same(a->tap, b->tap) && one_netns)
		return true;
	for (size_t i = 0; same_end && i < a->n_ips; i++)
		for (size_t j = 0; j < b->n_ips; j++)
			if (same(a->ips[i], b->ips[j]))
				return true;
	return false;
}

static bool same_guest(const struct kat_config *a, const struct kat_config *b)
{
	if (same(a->qmp, b->qmp))
		return true;
	for (size_t i = 0; i < a->n_nics; i++)
		for (size_t j = 0; j < b->n_nics; j++)
			if (nics_meet(&a->nics[i], &b->nics[j], a->role == b->role))
				return true;
	return false;
}

static bool wanted(const struct search *search, const struct kat_past *past)
{
	if (search->guest)
		return !past->alive && same_guest(search->guest, &past->config);
	if (!strcmp(search->id, "all"))
		return !past->alive;
	return !strcmp(search->id, past->id);
}

static int found(struct search *search, struct recovery *r, struct kat_error **err)
{
	search->found = true;
	if (search->tell) {
		search->tell(&r->past, search->data);
		return 0;
	}
	if (!kat_past_claim(&r->past)) {
		errno = 0;
		return kat_error_set(
			err, KAT_EXIT_FAILED,
			"migration %s is running (process %d), or somebody else recovers "
			"it; katamaran --cancel %s asks it to stop",
			r->past.id, (int)r->past.pid, r->past.id);
	}
	r->other_stopped = search->config->other_stopped;
	return recover(r, err);
}

static int try_one(int dir, const char *name, void *data)
{
	struct recovery r = {.end = KAT_END_EMPTY(NULL)};
	struct kat_error *why = NULL;
	struct search *search = data;
	int ret = kat_past_read(&r.past, dir, name, &why);

	/* Another version's journal is nobody's business but its own's. */
	if (ret < 0 && (search->guest || strncmp(search->id, name, strlen(search->id))) &&
	    (search->guest || strcmp(search->id, "all"))) {
		kat_log(KAT_WARNING, "%s", why->message);
		kat_error_free(&why);
		return 0;
	}
	if (ret > 0)
		ret = wanted(search, &r.past) ? found(search, &r, &why) : 0;
	else if (ret < 0)
		search->found = true;
	free_recovery(&r);
	if (ret == 0)
		return 0;
	if (search->guest || strcmp(search->id, "all")) {
		*search->err = why;
		return -1;
	}
	kat_log(KAT_ERROR, "%s", why->message);
	if (search->worst && search->worst->exit_code >= why->exit_code) {
		kat_error_free(&why);
	} else {
		kat_error_free(&search->worst);
		search->worst = why;
	}
	return 0;
}

int kat_recover(const struct kat_config *config, const char *id, struct kat_error **err)
{
	struct search search = {.config = config, .id = id, .err = err};
	cleanup_close int dir = kat_journal_folder(config->run_dir, false);

	if (dir < 0 && errno != ENOENT)
		return kat_error_set(err, KAT_EXIT_FAILED, "cannot look into %s: %m",
				     config->run_dir);
	if (dir >= 0 && kat_past_each(dir, try_one, &search) < 0)
		return -1;
	if (search.worst) {
		*err = search.worst;
		return -1;
	}
	if (search.found)
		return 0;
	if (!strcmp(id, "all")) {
		kat_log(KAT_INFO, "Nothing to recover: %s has no dead migration.",
			config->run_dir);
		return 0;
	}
	errno = 0;
	return kat_error_set(
		err, KAT_EXIT_USAGE,
		"no migration \"%s\" has a journal in %s (katamaran --status "
		"lists those that have)",
		id, config->run_dir);
}

int kat_recover_before(struct kat_end *end, struct kat_error **err)
{
	struct search search = {.config = end->config, .guest = end->config, .err = err};
	cleanup_close int dir = kat_journal_folder(end->config->run_dir, false);

	if (dir < 0 || kat_past_each(dir, try_one, &search) == 0)
		return 0;
	return kat_error_wrap(err, "an earlier migration of this guest was killed");
}

void kat_recover_look(const struct kat_config *config,
		      void (*tell)(const struct kat_past *past, void *data), void *data)
{
	struct search search = {
		.config = config, .guest = config, .tell = tell, .data = data};
	cleanup_close int dir = kat_journal_folder(config->run_dir, false);

	if (dir >= 0)
		kat_past_each(dir, try_one, &search);
}
