/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>

#include "loop.h"
#include "util.h"

int kat_loop_open(struct kat_loop *loop, struct kat_error **err)
{
	sigset_t set;

	memset(loop, 0, sizeof(*loop));
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGQUIT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	loop->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (loop->signal_fd < 0)
		return kat_error_set(err, KAT_EXIT_FAILED, "cannot make a signalfd: %m");
	return 0;
}

void kat_loop_close(struct kat_loop *loop)
{
	if (loop->signal_fd >= 0)
		close(loop->signal_fd);
	loop->signal_fd = -1;
}

static void read_signals(struct kat_loop *loop)
{
	struct signalfd_siginfo info;

	while (read(loop->signal_fd, &info, sizeof(info)) == sizeof(info)) {
		loop->last_signal = (int)info.ssi_signo;
		loop->signals++;
	}
}

static bool run_tick(struct kat_loop *loop)
{
	if (!loop->tick || kat_now_ns() < loop->next_tick_ns)
		return false;
	loop->next_tick_ns = kat_now_ns() + loop->tick_ns;
	loop->tick(loop->tick_data);
	return true;
}

/* Calls those that were ready; one that unwatches itself does no harm. */
static bool run_watches(struct kat_loop *loop, const struct pollfd *fds, size_t n)
{
	bool any = false;

	for (size_t i = 0; i < n; i++) {
		if (!fds[i].revents)
			continue;
		for (size_t j = 0; j < loop->n_watches; j++) {
			if (loop->watches[j].fd != fds[i].fd)
				continue;
			loop->watches[j].ready(loop->watches[j].data);
			any = true;
			break;
		}
	}
	return any;
}

/* One sleep; the number of descriptors that are ready. */
static int sleep_once(struct kat_loop *loop, struct pollfd *fds, size_t n,
		      int64_t deadline_ns)
{
	struct timespec ts = {0, 0};
	int64_t left;

	if (loop->tick && loop->next_tick_ns < deadline_ns)
		deadline_ns = loop->next_tick_ns;
	left = deadline_ns - kat_now_ns();
	if (left > 0) {
		ts.tv_sec = left / KAT_NS_PER_S;
		ts.tv_nsec = left % KAT_NS_PER_S;
	}
	return ppoll(fds, n, &ts, NULL);
}

static enum kat_wake wait_for(struct kat_loop *loop, int fd, short events,
			      int64_t deadline_ns, bool any, bool deaf)
{
	deaf = deaf || loop->deaf;
	for (;;) {
		struct pollfd fds[2 + KAT_LOOP_WATCHES] = {
			{.fd = deaf ? -1 : loop->signal_fd, .events = POLLIN},
			{.fd = fd, .events = events},
		};
		size_t watches = loop->n_watches;
		bool late = kat_now_ns() >= deadline_ns;
		bool ready;
		int n;

		for (size_t i = 0; i < watches; i++)
			fds[2 + i] = (struct pollfd){.fd = loop->watches[i].fd,
						     .events = POLLIN};
		if (!deaf && (loop->signals != loop->signals_taken || loop->in_vain))
			return KAT_WAKE_SIGNAL;
		n = sleep_once(loop, fds, 2 + watches, deadline_ns);
		/* What was said while we were busy, before silence is looked for. */
		ready = n > 0 && run_watches(loop, fds + 2, watches);
		/* It may have found that nothing comes any more. */
		ready = run_tick(loop) || ready;
		if (n > 0 && fds[0].revents) {
			read_signals(loop);
			continue;
		}
		if (ready && any)
			return KAT_WAKE_READY;
		if (n > 0 &&
		    fds[1].revents) /* also POLLHUP and POLLERR: the reader will see */
			return KAT_WAKE_READY;
		if (late)
			return KAT_WAKE_DEADLINE;
	}
}

enum kat_wake kat_loop_wait(struct kat_loop *loop, int fd, short events,
			    int64_t deadline_ns)
{
	return wait_for(loop, fd, events, deadline_ns, false, false);
}

enum kat_wake kat_loop_wait_any(struct kat_loop *loop, int fd, short events,
				int64_t deadline_ns)
{
	return wait_for(loop, fd, events, deadline_ns, true, false);
}

void kat_loop_wait_quiet(struct kat_loop *loop, int fd, int64_t deadline_ns)
{
	wait_for(loop, fd, POLLIN, deadline_ns, true, true);
}

void kat_loop_watch(struct kat_loop *loop, int fd, void (*ready)(void *data), void *data)
{
	if (loop->n_watches == KAT_LOOP_WATCHES)
		abort();
	loop->watches[loop->n_watches++] = (struct kat_watch){fd, ready, data};
}

void kat_loop_unwatch(struct kat_loop *loop, int fd)
{
	for (size_t i = 0; i < loop->n_watches; i++)
		if (loop->watches[i].fd == fd)
			loop->watches[i--] = loop->watches[--loop->n_watches];
}

void kat_loop_tick(struct kat_loop *loop, int64_t ns, void (*tick)(void *data),
		   void *data)
{
	loop->tick = tick;
	loop->tick_data = data;
	loop->tick_ns = ns;
	loop->next_tick_ns = kat_now_ns() + ns;
}

int kat_loop_take_signal(struct kat_loop *loop)
{
	read_signals(loop);
	if (loop->signals == loop->signals_taken)
		return 0;
	loop->signals_taken++;
	return loop->last_signal;
}
