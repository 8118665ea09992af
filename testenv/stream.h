/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * TCP streams of numbered, checksummed chunks.
 *
 * The client says in the first chunk who sends.  At the end it sends END; the far end,
 * which then has all that was sent to it, closes with a REPORT of what it had.
 */
#ifndef STREAM_H
#define STREAM_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

/* The far end: serves each connection in a process of its own. */
_Noreturn void streams_serve(uint16_t port);

struct streams {
	const struct sockaddr_storage *to; /* each is an address with its port */
	const socklen_t *to_len;
	size_t addresses;
	unsigned pairs; /* for each address so many streams in each direction */
	uint64_t rate;	/* bytes a second for each, 0 without limit */
	unsigned spoil; /* spoil every so manyth chunk, 0 none: that must be seen */
	int64_t grace;	/* ns that the far end has for its reports */
};

/*
 * Runs them until *stopped, through the phases that *phase tells, and prints the account
 * as key=value lines; false if a byte was wrong or a stream broke.
 */
bool streams_run(const struct streams *s, const volatile sig_atomic_t *stopped,
		 const volatile sig_atomic_t *phase);

#endif
