/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * job.h - a running executable of the site's: what it says, and its end.
 *
 * It is the first of a process group of its own, and its output comes through
 * pipes that are read without blocking.  Who starts it fills struct kat_job.
 */
#ifndef KAT_JOB_H
#define KAT_JOB_H

#include "katamaran-plugin.h"

#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

struct kat_job {
	const char *path; /* for messages */
	bool answers;	  /* a line on standard output is what it is waited for */
	pid_t pid;	  /* 0: none */
	int pidfd;	  /* -1: the kernel has none */
	int in, out, err; /* our ends, -1: none */
	bool exited;	  /* and not yet reaped */
	char out_text[512], err_text[512];
	size_t out_used, err_used;
	char last[256];	    /* line of standard error, "": none */
	unsigned int lines; /* of standard error that were logged */
};

/* CLOCK_MONOTONIC in nanoseconds, and `ms` milliseconds from now. */
int64_t kat_job_now(void);
int64_t kat_job_in(int64_t ms);

/* Takes what it has said until now; each line of standard error goes to the log. */
void kat_job_take(struct katamaran_ctx *ctx, struct kat_job *job);

/*
 * Waits until it has exited or answered: 1; 0 if it has not at the deadline
 * (CLOCK_MONOTONIC, nanoseconds; one that has passed: only looks).  If
 * `interruptible`, -1 with errno EINTR as soon as the program is to stop.
 */
int kat_job_await(struct katamaran_ctx *ctx, struct kat_job *job, int64_t deadline_ns,
		  bool interruptible);

/* The length of its answer without the newline, or -1 if there is none. */
ssize_t kat_job_answer(const struct kat_job *job);

/* Reaps one that has exited, closes its pipes, and tells how it went. */
void kat_job_reap(struct katamaran_ctx *ctx, struct kat_job *job, siginfo_t *info);

/*
 * Ends it: SIGTERM to its group, after `grace_ms` milliseconds or when it has
 * exited SIGKILL for what is left of the group, and reaps it.  Nothing if
 * there is none.
 */
void kat_job_stop(struct katamaran_ctx *ctx, struct kat_job *job, int grace_ms);

/* Closes pidfd and pipes; there is none from now on. */
void kat_job_forget(struct kat_job *job);

#endif /* KAT_JOB_H */
