/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A QMP client: one monitor socket, one command at a time, events kept.
 *
 * Every command carries an "id" and its reply is matched by it, so that the
 * late reply to a command whose deadline has passed is dropped and never taken
 * for another's.  Events that arrive while a reply is awaited are queued in
 * order.  Lines and the queue are bounded.  (QEMU, docs/interop/qmp-spec.)
 */
#ifndef KAT_QMP_H
#define KAT_QMP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <json-c/json_object.h>

#include "error.h"
#include "json.h"
#include "loop.h"

struct kat_qmp;

/* A line longer than this, or more unread events, is an error (broken peer). */
#define KAT_QMP_LINE_MAX   (16u << 20) /* query-qmp-schema is about 200 KiB */
#define KAT_QMP_EVENTS_MAX 4096u

struct kat_qmp_event {
	char *name;		  /* "STOP" */
	struct json_object *json; /* the whole event; owned */
	struct json_object *data; /* its "data" member, or NULL; borrowed */
	int64_t received_ns;	  /* CLOCK_MONOTONIC */
	struct kat_qmp_event *next;
};

/*
 * Connects to the UNIX socket `path`, waits for the greeting, and negotiates
 * capabilities.  Errors name the path: no such socket, refused, no greeting
 * until the deadline (a monitor that serves one client already is busy with
 * another), something that is no QMP.  EINTR where a signal came.
 */
int kat_qmp_open(struct kat_qmp **qmp, struct kat_loop *loop, const char *path,
		 int64_t deadline_ns, struct kat_error **err);
void kat_qmp_close(struct kat_qmp **qmp);
#define cleanup_qmp __attribute__((__cleanup__(kat_qmp_close)))

/* The process at the other end (SO_PEERCRED); 0 where the kernel does not tell. */
pid_t kat_qmp_pid(const struct kat_qmp *qmp);

/* QEMU's version from the greeting, as major * 10000 + minor * 100 + micro. */
int kat_qmp_version(const struct kat_qmp *qmp);

/* The socket, to be waited for together with others; kat_qmp_wait() reads it. */
int kat_qmp_fd(const struct kat_qmp *qmp);

/* True once the peer has closed the socket or broken the protocol. */
bool kat_qmp_closed(const struct kat_qmp *qmp);

/*
 * Runs `command` with `args` (an object, of which this call takes the
 * reference, or NULL) and waits for its reply.  "return" is stored through
 * `reply` (the caller's reference; `reply` may be NULL).  Errors have in
 * sys_errno: EREMOTEIO, QEMU refused (the message has its description);
 * ETIMEDOUT; EINTR, a signal came that nobody had taken; ECONNRESET, QEMU has
 * gone; EPROTO, what it sent is no QMP.  After the second and third the reply is
 * dropped when it comes; a signal that waits already, or a connection that is
 * over, keeps the command from being sent at all.
 */
int kat_qmp_execute(struct kat_qmp *qmp, const char *command, struct json_object *args,
		    int64_t deadline_ns, struct json_object **reply,
		    struct kat_error **err);

/*
 * Waits until an event is queued.  1: yes; 0: the deadline has passed; -1 with
 * an error as above (EINTR, ECONNRESET, EPROTO).  Events that arrived before
 * the peer went are given first.
 */
int kat_qmp_wait(struct kat_qmp *qmp, int64_t deadline_ns, struct kat_error **err);

/* Takes the oldest event, or NULL.  The caller frees it. */
struct kat_qmp_event *kat_qmp_take(struct kat_qmp *qmp);

/*
 * Takes the oldest event for which `match` is true, and leaves the others in
 * their order.  NULL: none yet.
 */
struct kat_qmp_event *kat_qmp_take_match(struct kat_qmp *qmp,
					 bool (*match)(const struct kat_qmp_event *event,
						       void *data),
					 void *data);

/*
 * As kat_qmp_wait(), but for such an event.  1 with it in `event`.
 */
int kat_qmp_wait_match(struct kat_qmp *qmp,
		       bool (*match)(const struct kat_qmp_event *event, void *data),
		       void *data, int64_t deadline_ns, struct kat_qmp_event **event,
		       struct kat_error **err);

void kat_qmp_event_free(struct kat_qmp_event **event);
#define cleanup_event __attribute__((__cleanup__(kat_qmp_event_free)))

#endif /* KAT_QMP_H */
