/* SPDX-License-Identifier: BSD-2-Clause */
#define KATAMARAN_API_VERSION 1
#include "plugins/lib/script.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <syslog.h>
#include <unistd.h>
#include "plugins/lib/script_setup.h"

/* From SIGTERM to SIGKILL, ms; in the switchover every one is a client's. */
#define GRACE_MS      500
#define STOP_GRACE_MS 5
/* How long on_resume waits for a coprocess that is at work, ms. */
#define ANSWER_MS 1
/* And the longest pause after which it looks again, ms. */
#define LOOK_MS 50
/* The longest pause between two rounds that an executable may ask for, ms. */
#define PAUSE_MAX_MS 3600000

static const char *const hook_names[KAT_SCRIPT_HOOKS] = {"pre_copy", "on_stop",
							 "on_resume", "cleanup"};

static int fail(struct katamaran_ctx *ctx, const struct kat_script *s, const char *what,
		const char *fmt, ...) KATAMARAN_PRINTF(4, 5);

/* The reason of the -1 that is returned; errno must not look like a signal's. */
static int fail(struct katamaran_ctx *ctx, const struct kat_script *s, const char *what,
		const char *fmt, ...)
{
	char text[400];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	katamaran_error(ctx, "%s %s: %s", s->path, what, text);
	errno = EPROTO;
	return -1;
}

/* ---- its beginning ---- */

/* Our end of a pipe does not block; the other one is the executable's. */
static int make_pipe(int *ours, int *theirs)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -1;
	*ours = ends[0];
	*theirs = ends[1];
	return fcntl(*ours, F_SETFL, O_NONBLOCK);
}

/* A socket, since writing to it when the other end has gone raises no SIGPIPE. */
static int make_input(bool coprocess, int *ours, int *theirs)
{
	int ends[2];

	if (!coprocess) {
		*theirs = open("/dev/null", O_RDONLY | O_CLOEXEC);
		return *theirs < 0 ? -1 : 0;
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return -1;
	*ours = ends[0];
	*theirs = ends[1];
	return 0;
}

/* Its own group, no signal blocked or ignored, and only its own descriptors. */
static int spawn(const struct kat_script *s, pid_t *pid, const int streams[3])
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int error;

	sigemptyset(&none);
	sigfillset(&all);
	error = posix_spawn_file_actions_init(&actions);
	if (error)
		return error;
	error = posix_spawnattr_init(&attr);
	if (error) {
		posix_spawn_file_actions_destroy(&actions);
		return error;
	}
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
						POSIX_SPAWN_SETSIGDEF);
	posix_spawnattr_setpgroup(&attr, 0);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	for (int i = 0; i < 3 && !error; i++)
		error = posix_spawn_file_actions_adddup2(&actions, streams[i], i);
	if (!error)
		error = posix_spawn_file_actions_addchdir_np(&actions, "/");
#if defined __GLIBC__ && __GLIBC_PREREQ(2, 34)
	if (!error)
		error = posix_spawn_file_actions_addclosefrom_np(&actions, 3);
#endif
	if (!error)
		error = posix_spawn(pid, s->path, &actions, &attr, s->argv, s->env);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	return error;
}

/* 0, or -1 after katamaran_error(). */
static int start(struct katamaran_ctx *ctx, struct kat_script *s, const char *what)
{
	struct kat_job *job = &s->job;
	int streams[3] = {-1, -1, -1};
	int error = 0;

	*job = (struct kat_job){
		.path = s->path,
		.answers = s->coprocess,
		.pidfd = -1,
		.in = -1,
		.out = -1,
		.err = -1,
	};
	s->argv[1] = (char *)(uintptr_t)what;
	if (make_input(s->coprocess, &job->in, &streams[0]) < 0 ||
	    make_pipe(&job->out, &streams[1]) < 0 ||
	    make_pipe(&job->err, &streams[2]) < 0)
		error = errno;
	if (!error)
		error = spawn(s, &job->pid, streams);
	for (int i = 0; i < 3; i++)
		if (streams[i] >= 0)
			close(streams[i]);
	if (!error) {
		job->pidfd = (int)syscall(SYS_pidfd_open, job->pid, 0);
		return 0;
	}
	kat_job_forget(job);
	return fail(ctx, s, what, "cannot be started: %s", strerror(error));
}

/* ---- one hook ---- */

/* What the hook adds to the environment, and for a coprocess to the line. */
static void set_call(struct kat_script *s, enum kat_script_hook hook, int64_t budget_ms,
		     const char *name, const char *value)
{
	size_t n = s->n_env;

	snprintf(s->env_hook, sizeof(s->env_hook), "KATAMARAN_HOOK=%s", hook_names[hook]);
	snprintf(s->env_deadline, sizeof(s->env_deadline), "KATAMARAN_DEADLINE_MS=%lld",
		 (long long)budget_ms);
	s->env[n++] = s->env_hook;
	s->env[n++] = s->env_deadline;
	if (name) {
		snprintf(s->env_more, sizeof(s->env_more), "KATAMARAN_%s=%s", name,
			 value);
		s->env[n++] = s->env_more;
	}
	s->env[n] = NULL;
}

static int ask(struct katamaran_ctx *ctx, struct kat_script *s, enum kat_script_hook hook,
	       int64_t budget_ms, const char *name, const char *value)
{
	char line[128], key[16] = "";
	int length;

	if (!s->job.pid)
		return fail(ctx, s, hook_names[hook], "the coprocess has gone");
	kat_job_take(ctx, &s->job);
	if (s->job.out_used)
		katamaran_log(ctx, LOG_WARNING,
			      "%s: the coprocess spoke without being asked", s->path);
	s->job.out_used = 0;
	s->job.lines = 0;
	s->job.last[0] = '\0';
	for (size_t i = 0; name && name[i] && i < sizeof(key) - 1; i++)
		key[i] = (char)tolower((unsigned char)name[i]);
	length = snprintf(line, sizeof(line), "%s deadline_ms=%lld%s%s%s%s\n",
			  hook_names[hook], (long long)budget_ms, name ? " " : "", key,
			  name ? "=" : "", name ? value : "");
	/* That it has gone is told by what it leaves: see conclude(). */
	if (send(s->job.in, line, (size_t)length, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 &&
	    errno != EPIPE && errno != ECONNRESET)
		return fail(ctx, s, hook_names[hook], "cannot ask the coprocess: %s",
			    strerror(errno));
	return 0;
}

static int begin(struct katamaran_ctx *ctx, struct kat_script *s,
		 enum kat_script_hook hook, int64_t budget_ms, const char *name,
		 const char *value)
{
	if (s->coprocess)
		return ask(ctx, s, hook, budget_ms, name, value);
	set_call(s, hook, budget_ms, name, value);
	return start(ctx, s, hook_names[hook]);
}

/* Milliseconds, alone on the first line; nothing is 0. */
static int read_pause(struct katamaran_ctx *ctx, const struct kat_script *s,
		      const char *text)
{
	char *end;
	long pause = strtol(text, &end, 10);

	if (pause >= 0 && pause <= PAUSE_MAX_MS && (!*end || *end == '\n'))
		return (int)pause;
	katamaran_log(ctx, LOG_WARNING, "%s: \"%.40s\" is no pause in milliseconds",
		      s->path, text);
	return 0;
}

static int conclude_exit(struct katamaran_ctx *ctx, struct kat_script *s,
			 enum kat_script_hook hook)
{
	struct kat_job *job = &s->job;
	const char *what = hook_names[hook];
	siginfo_t info;

	kat_job_take(ctx, job); /* it may have gone between two reads */
	kat_job_reap(ctx, job, &info);
	if (info.si_code != CLD_EXITED)
		return fail(ctx, s, what, "%swas killed by signal %d",
			    s->coprocess ? "the coprocess " : "", info.si_status);
	if (s->coprocess)
		return fail(ctx, s, what, "the coprocess has ended: exit status %d",
			    info.si_status);
	job->out_text[job->out_used] = '\0';
	switch (info.si_status) {
	case 0:
		return hook == KAT_SCRIPT_ON_RESUME ? read_pause(ctx, s, job->out_text)
						    : 0;
	case 2:
		s->unwanted[hook] = true;
		return 0;
	case 1:
		if (job->last[0])
			return fail(ctx, s, what, "%s", job->last);
	}
	return fail(ctx, s, what, "exit status %d%s%s", info.si_status,
		    job->last[0] ? ": " : "", job->last);
}

static int conclude_answer(struct katamaran_ctx *ctx, struct kat_script *s,
			   enum kat_script_hook hook)
{
	struct kat_job *job = &s->job;
	char line[sizeof(job->out_text)];
	size_t length = (size_t)kat_job_answer(job);

	memcpy(line, job->out_text, length);
	line[length] = '\0';
	job->out_used -= length + 1;
	memmove(job->out_text, job->out_text + length + 1, job->out_used);
	if (!strcmp(line, "ok"))
		return 0;
	if (!strncmp(line, "ok ", 3))
		return hook == KAT_SCRIPT_ON_RESUME ? read_pause(ctx, s, line + 3) : 0;
	if (!strcmp(line, "unwanted")) {
		s->unwanted[hook] = true;
		return 0;
	}
	if (!strncmp(line, "error ", 6))
		return fail(ctx, s, hook_names[hook], "%.300s", line + 6);
	return fail(ctx, s, hook_names[hook], "the coprocess answered \"%.80s\"", line);
}

/* The result of a hook that is done: 0 or a pause, or -1 after katamaran_error(). */
static int conclude(struct katamaran_ctx *ctx, struct kat_script *s,
		    enum kat_script_hook hook)
{
	if (s->coprocess && kat_job_answer(&s->job) >= 0)
		return conclude_answer(ctx, s, hook);
	return conclude_exit(ctx, s, hook);
}

/* A coprocess, too: its late answer would be taken for that of the next question. */
static int too_slow(struct katamaran_ctx *ctx, struct kat_script *s,
		    enum kat_script_hook hook, int64_t budget_ms)
{
	kat_job_stop(ctx, &s->job, hook == KAT_SCRIPT_ON_STOP ? STOP_GRACE_MS : GRACE_MS);
	return fail(ctx, s, hook_names[hook],
		    "took longer than %lld ms and has been killed", (long long)budget_ms);
}

static int run(struct katamaran_ctx *ctx, struct kat_script *s, enum kat_script_hook hook,
	       int64_t budget_ms, const char *name, const char *value)
{
	int64_t deadline = kat_job_in(budget_ms);
	int r;

	if (s->unwanted[hook])
		return 0;
	if (begin(ctx, s, hook, budget_ms, name, value) < 0)
		return -1;
	r = kat_job_await(ctx, &s->job, deadline, hook == KAT_SCRIPT_PRE_COPY);
	if (r > 0)
		return conclude(ctx, s, hook);
	if (r == 0)
		return too_slow(ctx, s, hook, budget_ms);
	kat_job_stop(ctx, &s->job, GRACE_MS);
	katamaran_error(ctx, "%s %s: interrupted", s->path, hook_names[hook]);
	errno = EINTR;
	return -1;
}

/* What may be taken outside of the switchover. */
static int64_t budget(struct katamaran_ctx *ctx)
{
	int64_t left = katamaran_ms_left(ctx);
	int64_t timeout = katamaran_conf_int(ctx, "timeout_ms");

	return left < timeout ? left : timeout;
}

/* ---- what the program calls ---- */

int kat_script_open(struct katamaran_ctx *ctx, void **handle)
{
	struct kat_script *s = calloc(1, sizeof(*s));

	if (!s)
		goto no_memory;
	if (kat_script_check(ctx, s) < 0)
		goto undo;
	*handle = s;
	if (!s->here)
		return 0;
	s->coprocess = katamaran_conf_bool(ctx, "coprocess");
	errno = 0;
	if (kat_script_prepare(ctx, s) < 0) {
		if (errno == ENOMEM)
			goto no_memory;
		goto undo;
	}
	if (!s->coprocess || start(ctx, s, "coprocess") == 0)
		return 0;
undo:
	kat_script_free(s);
	return -1;
no_memory:
	katamaran_error(ctx, "no memory for a script");
	if (s)
		kat_script_free(s);
	return -1;
}

int kat_script_pre_copy(struct katamaran_ctx *ctx, void *handle)
{
	struct kat_script *s = handle;

	if (!s->here)
		return 0;
	if (katamaran_journal(ctx, "cleanup") < 0)
		return -1;
	return run(ctx, s, KAT_SCRIPT_PRE_COPY, budget(ctx), NULL, NULL);
}

int kat_script_on_stop(struct katamaran_ctx *ctx, void *handle)
{
	int64_t budget_ms = katamaran_conf_int(ctx, "on_stop_ms");
	struct kat_script *s = handle;

	/* Another plugin that is not done has all of them called again. */
	if (!s->here || s->stopped)
		return 0;
	s->stopped = true;
	if (!budget_ms)
		budget_ms = katamaran_ms_left(ctx);
	return run(ctx, s, KAT_SCRIPT_ON_STOP, budget_ms, NULL, NULL);
}

int kat_script_on_resume(struct katamaran_ctx *ctx, void *handle, unsigned int round)
{
	int64_t timeout = katamaran_conf_int(ctx, "timeout_ms");
	struct kat_script *s = handle;
	char number[16];

	(void)round; /* ours are those in which it is asked */
	if (!s->here || s->unwanted[KAT_SCRIPT_ON_RESUME])
		return 0;
	if (!s->pending) {
		snprintf(number, sizeof(number), "%u", s->rounds++);
		if (begin(ctx, s, KAT_SCRIPT_ON_RESUME, timeout, "ROUND", number) < 0)
			return -1;
		s->pending = true;
		s->deadline_ns = kat_job_in(timeout);
		s->look_ms = 1;
	}
	if (kat_job_await(ctx, &s->job, s->coprocess ? kat_job_in(ANSWER_MS) : 0, false) >
	    0) {
		s->pending = false;
		return conclude(ctx, s, KAT_SCRIPT_ON_RESUME);
	}
	if (kat_job_now() >= s->deadline_ns) {
		s->pending = false;
		return too_slow(ctx, s, KAT_SCRIPT_ON_RESUME, timeout);
	}
	s->look_ms = s->look_ms < LOOK_MS / 2 ? s->look_ms * 2 : LOOK_MS;
	return s->look_ms;
}

/* The last round is still at work, since somebody ended the migration. */
static void end_round(struct katamaran_ctx *ctx, struct kat_script *s)
{
	if (!s->pending)
		return;
	s->pending = false;
	if (kat_job_await(ctx, &s->job, kat_job_in(GRACE_MS), false) > 0)
		(void)conclude(ctx, s, KAT_SCRIPT_ON_RESUME);
	else
		(void)too_slow(ctx, s, KAT_SCRIPT_ON_RESUME, GRACE_MS);
}

/* Runs its cleanup and frees the handle. */
static int finish(struct katamaran_ctx *ctx, struct kat_script *s, int outcome)
{
	static const char *const outcomes[] = {
		[KATAMARAN_DONE] = "done",
		[KATAMARAN_FAILED] = "failed",
		[KATAMARAN_CANCELLED] = "cancelled",
	};
	int ret = 0;

	if (s->here) {
		end_round(ctx, s);
		ret = run(ctx, s, KAT_SCRIPT_CLEANUP, budget(ctx), "OUTCOME",
			  outcomes[outcome]);
	}
	/* A coprocess ends by itself when nobody can ask any more. */
	if (s->job.pid) {
		close(s->job.in);
		s->job.in = -1;
		s->job.answers = false;
		(void)kat_job_await(ctx, &s->job, kat_job_in(GRACE_MS), false);
		kat_job_stop(ctx, &s->job, GRACE_MS);
	}
	kat_script_free(s);
	return ret;
}

void kat_script_cleanup(struct katamaran_ctx *ctx, void *handle, int outcome)
{
	(void)finish(ctx, handle, outcome);
}

int kat_script_recover(struct katamaran_ctx *ctx, const char *record, int outcome)
{
	void *handle;

	(void)record; /* there is one kind */
	if (kat_script_open(ctx, &handle) < 0)
		return -1;
	return finish(ctx, handle, outcome) < 0 ? -1 : 0;
}
