/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The link to the other end: JSON lines over the standard streams of a command
 * of the user's choice (ssh, kubectl exec, podman exec, nsenter).  Reaching,
 * authenticating and encrypting are that command's; no port of ours is open.
 *
 *	source                        destination
 *	hello {protocol, version}     hello {protocol, version}
 *	                              facts {facts, qemu}
 *	checked                       findings {findings}
 *	prepare                       ready {port, facts, qemu}   changes begin
 *	hold                          holding        packets wait at the guest's tap
 *	drained                       closed         the disks are the guest's own
 *	                              resumed        the guest runs here
 *	over                          result {...}   the redirect has gone; counters
 *	                              back {packet}  held for a guest that has stayed
 *	failed {reason}               result {...}, failed {reason}
 *	alive                         alive          every few seconds
 *
 * and, where a source recovers from a kill, after hello
 *
 *	ask {qemu}                    state {...}    see ask.h
 *
 * A member that an end does not know is ignored; a type that it does not know,
 * too.  What breaks an older end gets a new protocol number.
 */
#ifndef KAT_PEER_H
#define KAT_PEER_H

#include <stdbool.h>
#include <stdint.h>

#include <json-c/json_object.h>

#include "error.h"
#include "loop.h"

#define KAT_PEER_PROTOCOL 1

struct kat_peer;

/*
 * Runs `command` (NULL after the last word; no shell) with "-peer-stdio" as
 * its last argument, and logs what it writes to its standard error.  It has a
 * session of its own, without a terminal: Ctrl-C reaches the other end through
 * us only, and nobody is asked for a password.
 */
int kat_peer_start(struct kat_peer **peer, struct kat_loop *loop, char *const *command,
		   struct kat_error **err);

/* The other side of that: our own standard input and output. */
int kat_peer_stdio(struct kat_peer **peer, struct kat_loop *loop, struct kat_error **err);

/*
 * Sends a message of this type; takes the reference on `members` (an object,
 * or NULL).  A peer that does not read for a second counts as gone.  False
 * where it has gone.
 */
bool kat_peer_send(struct kat_peer *peer, const char *type, struct json_object *members);

/*
 * While it is needed, that the other end fails or goes ends every wait of the loop as
 * a signal does: what takes long is not finished for nobody.
 */
void kat_peer_needed(struct kat_peer *peer, bool needed);

/* True once the other end has gone; why, in words.  Messages may still be queued. */
bool kat_peer_gone(const struct kat_peer *peer);
const char *kat_peer_why_gone(const struct kat_peer *peer);

/*
 * Takes the oldest message, or the oldest of a type (the caller's reference), or NULL.
 * Does not wait.
 */
struct json_object *kat_peer_take(struct kat_peer *peer);
struct json_object *kat_peer_take_type(struct kat_peer *peer, const char *type);

/*
 * Waits for a message of this type, which is stored through `message` (may be
 * NULL); others stay queued.  -1 with an error: ETIMEDOUT, EINTR, EPIPE where
 * it has gone, ECANCELED with the other end's words where it says "failed".
 */
int kat_peer_wait(struct kat_peer *peer, const char *type, int64_t deadline_ns,
		  struct json_object **message, struct kat_error **err);

/* Ends the link; a command that has not ended by the deadline is killed. */
void kat_peer_close(struct kat_peer **peer, int64_t deadline_ns);

/* The same, but that a command is neither waited for nor ended: it has work left. */
void kat_peer_leave(struct kat_peer **peer);

#endif /* KAT_PEER_H */
