/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * netlink.h - rtnetlink requests with a deadline, and batches made beforehand.
 *
 * Nothing here prints, spawns or starts a thread.  Deadlines are points of
 * CLOCK_MONOTONIC in nanoseconds; a function that has one never waits longer.
 */
#ifndef KAT_NETLINK_H
#define KAT_NETLINK_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>
#include <libmnl/libmnl.h>
#include <linux/netlink.h>

/* Room that one message of ours may take; the largest, a queue restored, has 2 KiB. */
#define KAT_NL_MESSAGE_BYTES 4096
/* Room of a batch: more than 100 routes. */
#define KAT_NL_BATCH_BYTES 16384

#define kat_cleanup_free   __attribute__((__cleanup__(kat_free_pointer)))
#define kat_cleanup_close  __attribute__((__cleanup__(kat_close_pointer)))

/* For kat_cleanup_free. */
static inline void kat_free_pointer(void *pointer)
{
	free(*(void **)pointer);
}

/* For kat_cleanup_close; -1 is no descriptor. */
static inline void kat_close_pointer(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

/* A socket and its buffers; opaque. */
struct kat_nl;

/* A buffer for one message that is built by the kat_msg_ functions. */
union kat_nl_message {
	struct nlmsghdr header;
	char room[KAT_NL_MESSAGE_BYTES];
};

/*
 * Messages that are built at leisure and sent at once; starts zeroed.  Sending
 * allocates nothing and numbers the messages anew, so a batch may be sent twice.
 */
struct kat_nl_batch {
	size_t used;	    /* bytes */
	unsigned int count; /* messages */
	char room[KAT_NL_BATCH_BYTES] __attribute__((__aligned__(NLMSG_ALIGNTO)));
};

/* Now, CLOCK_MONOTONIC, in nanoseconds. */
int64_t kat_now_ns(void);

/*
 * Opens an rtnetlink socket in the network namespace that the file `netns`
 * stands for, or in the calling thread's for NULL.  The thread is back in its
 * own namespace upon return; where it could not get back (which the kernel
 * allows to nobody to cause), the process is aborted.  NULL with errno; to be
 * closed by kat_nl_close().
 */
struct kat_nl *kat_nl_open(const char *netns);

/* Closes and frees; NULL is allowed. */
void kat_nl_close(struct kat_nl *nl);

/*
 * What the last failed call said, for people: "RTM_NEWLINK: Operation not
 * supported (Unknown device type)".  Belongs to the socket.
 */
const char *kat_nl_error(const struct kat_nl *nl);

/*
 * Sends a request and waits for its acknowledgement.  Flags NLM_F_REQUEST and
 * NLM_F_ACK, sequence number and port are set here.  Messages that answer it
 * go to `cb` (or nowhere, NULL); MNL_CB_ERROR there ends the wait with its
 * errno.  0, or -1 with errno: that of the kernel, or ETIMEDOUT.
 */
int kat_nl_talk(struct kat_nl *nl, struct nlmsghdr *nlh, mnl_cb_t cb, void *data,
		int64_t deadline_ns);

/*
 * Sends a dump request.  `cb` is called once per object, when the whole dump
 * has arrived undisturbed; one that changed under way (NLM_F_DUMP_INTR) is
 * repeated.  Allocates.  0, or -1 with errno.
 */
int kat_nl_dump(struct kat_nl *nl, struct nlmsghdr *nlh, mnl_cb_t cb, void *data,
		int64_t deadline_ns);

/*
 * Where the next message of the batch may be built, with KAT_NL_MESSAGE_BYTES
 * of room, or NULL with errno ENOSPC.  It becomes part of the batch with
 * kat_nl_batch_add().
 */
struct nlmsghdr *kat_nl_batch_next(struct kat_nl_batch *batch);
void kat_nl_batch_add(struct kat_nl_batch *batch);

/*
 * Sends all messages in one call, so that the kernel handles them back to
 * back, and reads every acknowledgement.  `cb` as in kat_nl_talk().  The first
 * failure is the one reported; the messages after it were carried out all the
 * same.  An empty batch is 0 at once.  0, or -1 with errno.
 */
int kat_nl_batch_send(struct kat_nl *nl, struct kat_nl_batch *batch, mnl_cb_t cb,
		      void *data, int64_t deadline_ns);

/*
 * Sends to a non-blocking socket of any netlink family, or reads from it what
 * fits into `room`.  0 and the number of bytes, or -1 with errno: ETIMEDOUT.
 */
int kat_nl_send(struct mnl_socket *socket, const void *bytes, size_t size,
		int64_t deadline_ns);
ssize_t kat_nl_receive(struct mnl_socket *socket, void *room, size_t size,
		       int64_t deadline_ns);

/*
 * Puts what an acknowledgement says into `text`, at most `size` bytes, in the
 * form of kat_nl_error().  `type` is that of the request.  Returns the errno
 * that it carries, 0 for success, EPROTO if it is none.
 */
int kat_nl_read_ack(const struct nlmsghdr *ack, uint16_t type, char *text, size_t size);

#endif /* KAT_NETLINK_H */
