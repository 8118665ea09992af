/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The one place that sleeps: poll(2) over a descriptor, the signals that end
 * a migration, and a deadline.
 */
#ifndef KAT_LOOP_H
#define KAT_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

/*
 * Blocks SIGINT, SIGTERM, SIGHUP and SIGQUIT for the process and reads them
 * through a signalfd from now on; ignores SIGPIPE.  The signals stay blocked
 * when the loop is closed.
 */
#define KAT_LOOP_WATCHES 2

struct kat_watch {
	int fd;
	void (*ready)(void *data);
	void *data;
};

struct kat_loop {
	int signal_fd;		    /* -1: closed */
	int last_signal;	    /* of the newest that arrived; 0: none yet */
	unsigned int signals;	    /* how many arrived */
	unsigned int signals_taken; /* how many somebody acted on */
	bool deaf; /* signals wait until somebody listens again: what must be finished */
	bool in_vain; /* what is waited for is of no use any more, and waits end */
	struct kat_watch watches[KAT_LOOP_WATCHES];
	size_t n_watches;
	void (*tick)(void *data); /* NULL: none */
	void *tick_data;
	int64_t tick_ns, next_tick_ns;
};

int kat_loop_open(struct kat_loop *loop, struct kat_error **err);
void kat_loop_close(struct kat_loop *loop);

enum kat_wake {
	KAT_WAKE_READY,	   /* the descriptor has something for `events` */
	KAT_WAKE_DEADLINE, /* the deadline has passed */
	KAT_WAKE_SIGNAL,   /* a signal waits that nobody has taken yet; or in_vain */
};

/*
 * Waits for `events` (POLLIN, POLLOUT) on `fd` (-1: none), the deadline
 * (CLOCK_MONOTONIC ns), or a signal.  A signal that was seen before, but not
 * taken, wakes at once, before all else.  Does not allocate.
 */
enum kat_wake kat_loop_wait(struct kat_loop *loop, int fd, short events,
			    int64_t deadline_ns);

/*
 * As kat_loop_wait(), but a watched descriptor that was ready wakes it, too:
 * KAT_WAKE_READY, and the caller looks at both.
 */
enum kat_wake kat_loop_wait_any(struct kat_loop *loop, int fd, short events,
				int64_t deadline_ns);

/* As kat_loop_wait() for input, but deaf to signals: for what must be finished. */
void kat_loop_wait_quiet(struct kat_loop *loop, int fd, int64_t deadline_ns);

/*
 * From now on, `ready` is called within every wait when `fd` can be read or
 * has been closed.  KAT_LOOP_WATCHES at most.  It must not wait.
 */
void kat_loop_watch(struct kat_loop *loop, int fd, void (*ready)(void *data), void *data);
void kat_loop_unwatch(struct kat_loop *loop, int fd);

/*
 * Calls `tick` within waits, about every `ns`, after what is watched; NULL ends
 * that.  It must not wait.
 */
void kat_loop_tick(struct kat_loop *loop, int64_t ns, void (*tick)(void *data),
		   void *data);

/* Takes one signal: the number of the newest, or 0 if all are taken.  Does not sleep. */
int kat_loop_take_signal(struct kat_loop *loop);

#endif /* KAT_LOOP_H */
