/* SPDX-License-Identifier: BSD-2-Clause */
#define KATAMARAN_API_VERSION 1
#include "plugins/lib/job.h"

#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

/* A killed process that does not go within this hangs in the kernel, ms. */
#define REAP_MS 1000
/* How often the other end may hear of us, and a signal is looked for, ms. */
#define LOOK_MS 100
/* Lines of its standard error that one hook may put into the log. */
#define LINES_MAX 100
/* Reads of a pipe in a row: who writes faster does not hold us up. */
#define READS_MAX 16
/* How often a process is looked at where there are no pidfds, ms. */
#define NO_PIDFD_MS 1
#define NS_PER_MS   1000000LL

int64_t kat_job_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t kat_job_in(int64_t ms)
{
	return kat_job_now() + ms * NS_PER_MS;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void log_line(struct katamaran_ctx *ctx, struct kat_job *job)
{
	size_t length = job->err_used;

	job->err_used = 0;
	while (length && isspace((unsigned char)job->err_text[length - 1]))
		length--;
	if (!length)
		return;
	if (length >= sizeof(job->last))
		length = sizeof(job->last) - 1;
	for (size_t i = 0; i < length; i++)
		job->last[i] =
			iscntrl((unsigned char)job->err_text[i]) ? '?' : job->err_text[i];
	job->last[length] = '\0';
	if (job->lines < LINES_MAX)
		katamaran_log(ctx, LOG_INFO, "%s: %s", job->path, job->last);
	else if (job->lines == LINES_MAX)
		katamaran_log(ctx, LOG_WARNING,
			      "%s: says more than %d lines: no more of it", job->path,
			      LINES_MAX);
	job->lines++;
}

/* Standard error becomes lines of the log. */
static void take_err(struct katamaran_ctx *ctx, struct kat_job *job)
{
	char bytes[512];
	ssize_t n = 0;

	for (int i = 0; i < READS_MAX && job->err >= 0; i++) {
		n = read(job->err, bytes, sizeof(bytes));
		if (n <= 0)
			break;
		for (ssize_t b = 0; b < n; b++) {
			if (bytes[b] == '\n' || job->err_used == sizeof(job->err_text))
				log_line(ctx, job);
			if (bytes[b] != '\n')
				job->err_text[job->err_used++] = bytes[b];
		}
	}
	if (n == 0)
		close_fd(&job->err);
}

/* Of standard output only the beginning counts. */
static void take_out(struct kat_job *job)
{
	char bytes[512];
	ssize_t n = 0;

	for (int i = 0; i < READS_MAX && job->out >= 0; i++) {
		size_t room = sizeof(job->out_text) - 1 - job->out_used;

		n = read(job->out, bytes, sizeof(bytes));
		if (n <= 0)
			break;
		if (room > (size_t)n)
			room = (size_t)n;
		memcpy(job->out_text + job->out_used, bytes, room);
		job->out_used += room;
	}
	if (n == 0)
		close_fd(&job->out);
}

void kat_job_take(struct katamaran_ctx *ctx, struct kat_job *job)
{
	take_out(job);
	take_err(ctx, job);
}

/* It stays to be reaped. */
static bool has_ended(pid_t pid)
{
	siginfo_t info = {0};

	return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0 ||
	       info.si_pid;
}

static void pump(struct katamaran_ctx *ctx, struct kat_job *job, int64_t until_ns)
{
	struct pollfd fds[3] = {
		{.fd = job->pidfd, .events = POLLIN},
		{.fd = job->out, .events = POLLIN},
		{.fd = job->err, .events = POLLIN},
	};
	int64_t left = until_ns - kat_job_now();
	struct timespec ts = {0};

	if (left > 0) {
		ts.tv_sec = left / 1000000000;
		ts.tv_nsec = left % 1000000000;
	}
	/* Without a pidfd there is nothing to be woken by. */
	if (job->pidfd < 0 && left > NO_PIDFD_MS * NS_PER_MS)
		ts = (struct timespec){.tv_nsec = NO_PIDFD_MS * NS_PER_MS};
	ppoll(fds, 3, &ts, NULL);
	/* In this order: what a process has written before it ended is there. */
	if (job->pidfd < 0 ? has_ended(job->pid) : fds[0].revents)
		job->exited = true;
	kat_job_take(ctx, job);
}

ssize_t kat_job_answer(const struct kat_job *job)
{
	const char *end = memchr(job->out_text, '\n', job->out_used);

	return end ? end - job->out_text : -1;
}

static bool is_done(const struct kat_job *job)
{
	return job->exited || (job->answers && kat_job_answer(job) >= 0);
}

int kat_job_await(struct katamaran_ctx *ctx, struct kat_job *job, int64_t deadline_ns,
		  bool interruptible)
{
	for (;;) {
		int64_t now, until;

		if (is_done(job))
			return 1;
		now = kat_job_now();
		if (now >= deadline_ns) {
			pump(ctx, job, 0);
			return is_done(job);
		}
		until = now + LOOK_MS * NS_PER_MS;
		pump(ctx, job, until < deadline_ns ? until : deadline_ns);
		if (katamaran_alive(ctx) < 0 && interruptible)
			return -1;
	}
}

void kat_job_forget(struct kat_job *job)
{
	close_fd(&job->pidfd);
	close_fd(&job->in);
	close_fd(&job->out);
	close_fd(&job->err);
	job->pid = 0;
}

/* One that was killed just now may need a moment. */
void kat_job_reap(struct katamaran_ctx *ctx, struct kat_job *job, siginfo_t *info)
{
	int64_t deadline = kat_job_in(REAP_MS);

	memset(info, 0, sizeof(*info));
	while (!job->exited && kat_job_now() < deadline)
		pump(ctx, job, deadline);
	if (waitid(P_PID, (id_t)job->pid, info, WEXITED | WNOHANG) < 0 || !info->si_pid)
		katamaran_log(ctx, LOG_WARNING,
			      "%s: process %d was killed and does not go", job->path,
			      (int)job->pid);
	if (job->err_used)
		log_line(ctx, job);
	kat_job_forget(job);
}

/*
 * The number of the group cannot be taken by others while its first process
 * has not been reaped.
 */
void kat_job_stop(struct katamaran_ctx *ctx, struct kat_job *job, int grace_ms)
{
	int64_t deadline = kat_job_in(grace_ms);
	siginfo_t info;

	if (!job->pid)
		return;
	kill(-job->pid, SIGTERM);
	while (!job->exited && kat_job_now() < deadline)
		pump(ctx, job, deadline);
	kill(-job->pid, SIGKILL);
	kat_job_reap(ctx, job, &info);
}
