/* SPDX-License-Identifier: BSD-2-Clause */
#include "plugins/lib/netlink.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <linux/rtnetlink.h>

/* As large as the kernel ever makes one message of a dump: NLMSG_GOODSIZE of 32 KiB. */
#define RECEIVE_BYTES 32768
/* How often a dump is asked for again because something changed meanwhile. */
#define DUMP_TRIES 8
/* A dump of more than this is not that of a network: 64 MiB. */
#define DUMP_MAX_BYTES (64u << 20)

struct kat_nl {
	struct mnl_socket *socket;
	uint32_t seq;
	unsigned int portid;
	char error[256];
	char room[RECEIVE_BYTES] __attribute__((__aligned__(NLMSG_ALIGNTO)));
};

/* The requests that are still to be acknowledged, and what became of them. */
struct wait {
	uint32_t first, count; /* sequence numbers first .. first + count - 1 */
	uint32_t acks;
	int failed; /* errno of the first failure */
	const struct kat_nl_batch *batch;
	uint16_t type;
	mnl_cb_t cb;
	void *data;
};

/* A dump as it comes in. */
struct gathered {
	char *bytes;
	size_t used, size;
	bool disturbed;
};

int64_t kat_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static const char *request_name(uint16_t type)
{
	static const struct {
		uint16_t type;
		const char *name;
	} names[] = {
		{RTM_NEWLINK, "RTM_NEWLINK"},
		{RTM_DELLINK, "RTM_DELLINK"},
		{RTM_GETLINK, "RTM_GETLINK"},
		{RTM_SETLINK, "RTM_SETLINK"},
		{RTM_NEWADDR, "RTM_NEWADDR"},
		{RTM_DELADDR, "RTM_DELADDR"},
		{RTM_GETADDR, "RTM_GETADDR"},
		{RTM_NEWROUTE, "RTM_NEWROUTE"},
		{RTM_DELROUTE, "RTM_DELROUTE"},
		{RTM_GETROUTE, "RTM_GETROUTE"},
		{RTM_NEWNEIGH, "RTM_NEWNEIGH"},
		{RTM_DELNEIGH, "RTM_DELNEIGH"},
		{RTM_GETNEIGH, "RTM_GETNEIGH"},
		{RTM_NEWRULE, "RTM_NEWRULE"},
		{RTM_DELRULE, "RTM_DELRULE"},
		{RTM_GETRULE, "RTM_GETRULE"},
		{RTM_NEWQDISC, "RTM_NEWQDISC"},
		{RTM_DELQDISC, "RTM_DELQDISC"},
		{RTM_GETQDISC, "RTM_GETQDISC"},
		{RTM_GETNETCONF, "RTM_GETNETCONF"},
		{RTM_NEWLINKPROP, "RTM_NEWLINKPROP"},
		{RTM_DELLINKPROP, "RTM_DELLINKPROP"},
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (names[i].type == type)
			return names[i].name;
	return "netlink request";
}

/* Says it in nl->error, sets errno and returns -1. */
static int fail(struct kat_nl *nl, uint16_t type, int error)
{
	snprintf(nl->error, sizeof(nl->error), "%s: %s", request_name(type),
		 strerror(error));
	errno = error;
	return -1;
}

/*
 * Runs socket(2) inside another namespace.  The thread must not stay there:
 * everything that the program opened later would be in the wrong place.
 */
static struct mnl_socket *open_inside(const char *netns)
{
	kat_cleanup_close int there = -1, here = -1;
	struct mnl_socket *sock;
	int error;

	there = open(netns, O_RDONLY | O_CLOEXEC);
	if (there < 0)
		return NULL;
	here = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (here < 0 || setns(there, CLONE_NEWNET) < 0)
		return NULL;
	sock = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
	error = errno;
	if (setns(here, CLONE_NEWNET) < 0)
		abort();
	errno = error;
	return sock;
}

struct kat_nl *kat_nl_open(const char *netns)
{
	struct kat_nl *nl = calloc(1, sizeof(*nl));
	int on = 1, error;

	if (!nl)
		return NULL;
	nl->socket =
		netns ? open_inside(netns)
		      : mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (!nl->socket)
		goto undo;
	if (mnl_socket_bind(nl->socket, 0, MNL_SOCKET_AUTOPID) < 0)
		goto undo;
	nl->portid = mnl_socket_get_portid(nl->socket);
	nl->seq = (uint32_t)kat_now_ns();
	/* Older kernels do without these, and only the texts get poorer. */
	(void)mnl_socket_setsockopt(nl->socket, NETLINK_EXT_ACK, &on, sizeof(on));
	(void)mnl_socket_setsockopt(nl->socket, NETLINK_CAP_ACK, &on, sizeof(on));
	(void)mnl_socket_setsockopt(nl->socket, NETLINK_GET_STRICT_CHK, &on, sizeof(on));
	return nl;
undo:
	error = errno;
	kat_nl_close(nl);
	errno = error;
	return NULL;
}

void kat_nl_close(struct kat_nl *nl)
{
	if (!nl)
		return;
	if (nl->socket)
		mnl_socket_close(nl->socket);
	free(nl);
}

const char *kat_nl_error(const struct kat_nl *nl)
{
	return nl->error;
}

/* The text that the kernel added to an acknowledgement, or NULL. */
static const char *extended_text(const struct nlmsghdr *ack)
{
	const struct nlmsgerr *err = mnl_nlmsg_get_payload(ack);
	size_t offset = sizeof(*err), left;
	const struct nlattr *attr;

	if (!(ack->nlmsg_flags & NLM_F_ACK_TLVS))
		return NULL;
	if (!(ack->nlmsg_flags & NLM_F_CAPPED) && err->msg.nlmsg_len >= sizeof(err->msg))
		offset += MNL_ALIGN(err->msg.nlmsg_len - sizeof(err->msg));
	if (offset >= mnl_nlmsg_get_payload_len(ack))
		return NULL;
	left = mnl_nlmsg_get_payload_len(ack) - offset;
	attr = (const struct nlattr *)((const char *)err + offset);
	for (; mnl_attr_ok(attr, (int)left); attr = mnl_attr_next(attr)) {
		if (mnl_attr_get_type(attr) == NLMSGERR_ATTR_MSG &&
		    mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) == 0)
			return mnl_attr_get_str(attr);
		if ((size_t)MNL_ALIGN(attr->nla_len) >= left)
			break;
		left -= (size_t)MNL_ALIGN(attr->nla_len);
	}
	return NULL;
}

int kat_nl_read_ack(const struct nlmsghdr *ack, uint16_t type, char *text, size_t size)
{
	const struct nlmsgerr *err = mnl_nlmsg_get_payload(ack);
	const char *more;

	if (ack->nlmsg_type != NLMSG_ERROR ||
	    mnl_nlmsg_get_payload_len(ack) < sizeof(*err)) {
		snprintf(text, size, "%s: an answer that is none", request_name(type));
		return EPROTO;
	}
	if (!err->error)
		return 0;
	more = extended_text(ack);
	snprintf(text, size, "%s: %s%s%s%s", request_name(type), strerror(-err->error),
		 more ? " (" : "", more ? more : "", more ? ")" : "");
	return -err->error;
}

/* Waits until there is something to read or write; -1 with errno ETIMEDOUT. */
static int await(const struct mnl_socket *socket, short events, int64_t deadline_ns)
{
	struct pollfd pfd = {.fd = mnl_socket_get_fd(socket), .events = events};

	for (;;) {
		int64_t left = deadline_ns - kat_now_ns();
		struct timespec ts = {0};
		int n;

		if (left > 0) {
			ts.tv_sec = left / 1000000000;
			ts.tv_nsec = left % 1000000000;
		}
		n = ppoll(&pfd, 1, &ts, NULL);
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -1;
		if (left <= 0) {
			errno = ETIMEDOUT;
			return -1;
		}
	}
}

int kat_nl_send(struct mnl_socket *socket, const void *bytes, size_t size,
		int64_t deadline_ns)
{
	while (mnl_socket_sendto(socket, bytes, size) < 0) {
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN || await(socket, POLLOUT, deadline_ns) < 0)
			return -1;
	}
	return 0;
}

ssize_t kat_nl_receive(struct mnl_socket *socket, void *room, size_t size,
		       int64_t deadline_ns)
{
	for (;;) {
		ssize_t n = mnl_socket_recvfrom(socket, room, size);

		if (n >= 0)
			return n;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN || await(socket, POLLIN, deadline_ns) < 0)
			return -1;
	}
}

/* The type of the request with this sequence number. */
static uint16_t type_of(const struct wait *w, uint32_t seq)
{
	int left;

	if (!w->batch)
		return w->type;
	left = (int)w->batch->used;
	for (const struct nlmsghdr *nlh = (const void *)w->batch->room;
	     mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left))
		if (nlh->nlmsg_seq == seq)
			return nlh->nlmsg_type;
	return 0;
}

static int take_message(struct kat_nl *nl, struct wait *w, const struct nlmsghdr *nlh)
{
	int error;

	/* Late answers to a request that ran out of time end here. */
	if (nlh->nlmsg_pid != nl->portid || nlh->nlmsg_seq - w->first >= w->count)
		return 0;
	if (nlh->nlmsg_type != NLMSG_ERROR) {
		if (nlh->nlmsg_type >= NLMSG_MIN_TYPE && w->cb &&
		    w->cb(nlh, w->data) == MNL_CB_ERROR)
			return fail(nl, type_of(w, nlh->nlmsg_seq), errno);
		return 0;
	}
	w->acks++;
	if (w->failed) /* the text in nl->error is that of the first */
		return 0;
	error = kat_nl_read_ack(nlh, type_of(w, nlh->nlmsg_seq), nl->error,
				sizeof(nl->error));
	w->failed = error;
	return 0;
}

static int await_acks(struct kat_nl *nl, struct wait *w, int64_t deadline_ns)
{
	while (w->acks < w->count) {
		ssize_t n = kat_nl_receive(nl->socket, nl->room, sizeof(nl->room),
					   deadline_ns);
		int left = (int)n;

		if (n < 0)
			return fail(nl, type_of(w, w->first + w->acks), errno);
		for (const struct nlmsghdr *nlh = (const void *)nl->room;
		     mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left))
			if (take_message(nl, w, nlh) < 0)
				return -1;
	}
	if (w->failed) {
		errno = w->failed;
		return -1;
	}
	return 0;
}

int kat_nl_talk(struct kat_nl *nl, struct nlmsghdr *nlh, mnl_cb_t cb, void *data,
		int64_t deadline_ns)
{
	struct wait w = {.count = 1, .type = nlh->nlmsg_type, .cb = cb, .data = data};

	nlh->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
	nlh->nlmsg_pid = nl->portid;
	nlh->nlmsg_seq = w.first = ++nl->seq;
	if (kat_nl_send(nl->socket, nlh, nlh->nlmsg_len, deadline_ns) < 0)
		return fail(nl, nlh->nlmsg_type, errno);
	return await_acks(nl, &w, deadline_ns);
}

static int keep(struct gathered *g, const struct nlmsghdr *nlh)
{
	size_t length = NLMSG_ALIGN(nlh->nlmsg_len);

	if (g->used + length > g->size) {
		size_t size = g->size ? g->size * 2 : 65536;
		char *bytes;

		if (size > DUMP_MAX_BYTES) {
			errno = EMSGSIZE;
			return -1;
		}
		bytes = realloc(g->bytes, size);
		if (!bytes)
			return -1;
		g->bytes = bytes;
		g->size = size;
	}
	memcpy(g->bytes + g->used, nlh, nlh->nlmsg_len);
	g->used += length;
	return 0;
}

/* 1 when the dump is complete, 0 when there is more, -1 with errno. */
static int gather(struct kat_nl *nl, struct gathered *g, const struct nlmsghdr *nlh,
		  const struct nlmsghdr *request)
{
	int error;

	if (nlh->nlmsg_pid != nl->portid || nlh->nlmsg_seq != request->nlmsg_seq)
		return 0;
	if (nlh->nlmsg_flags & NLM_F_DUMP_INTR)
		g->disturbed = true;
	if (nlh->nlmsg_type == NLMSG_ERROR) {
		error = kat_nl_read_ack(nlh, request->nlmsg_type, nl->error,
					sizeof(nl->error));
		errno = error;
		return error ? -1 : 1;
	}
	if (nlh->nlmsg_type == NLMSG_DONE) {
		/* A failure in mid-dump: the end carries it as a number. */
		if (mnl_nlmsg_get_payload_len(nlh) >= sizeof(error)) {
			memcpy(&error, mnl_nlmsg_get_payload(nlh), sizeof(error));
			if (error < 0)
				return fail(nl, request->nlmsg_type, -error);
		}
		return 1;
	}
	if (nlh->nlmsg_type < NLMSG_MIN_TYPE || keep(g, nlh) == 0)
		return 0;
	return fail(nl, request->nlmsg_type, errno);
}

static int dump_once(struct kat_nl *nl, struct nlmsghdr *request, struct gathered *g,
		     int64_t deadline_ns)
{
	request->nlmsg_seq = ++nl->seq;
	if (kat_nl_send(nl->socket, request, request->nlmsg_len, deadline_ns) < 0)
		return fail(nl, request->nlmsg_type, errno);
	for (;;) {
		ssize_t n = kat_nl_receive(nl->socket, nl->room, sizeof(nl->room),
					   deadline_ns);
		int left = (int)n, ret;

		if (n < 0)
			return fail(nl, request->nlmsg_type, errno);
		for (const struct nlmsghdr *nlh = (const void *)nl->room;
		     mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left)) {
			ret = gather(nl, g, nlh, request);
			if (ret)
				return ret < 0 ? -1 : 0;
		}
	}
}

int kat_nl_dump(struct kat_nl *nl, struct nlmsghdr *nlh, mnl_cb_t cb, void *data,
		int64_t deadline_ns)
{
	struct gathered g = {0};
	int ret = -1, left;

	nlh->nlmsg_flags |= NLM_F_REQUEST | NLM_F_DUMP;
	nlh->nlmsg_pid = nl->portid;
	for (int tries = 0; tries < DUMP_TRIES; tries++) {
		g.used = 0;
		g.disturbed = false;
		ret = dump_once(nl, nlh, &g, deadline_ns);
		if (ret < 0 || !g.disturbed)
			break;
		ret = fail(nl, nlh->nlmsg_type, EBUSY);
	}
	if (ret == 0) {
		left = (int)g.used;
		for (const struct nlmsghdr *one = (const void *)g.bytes;
		     mnl_nlmsg_ok(one, left); one = mnl_nlmsg_next(one, &left)) {
			if (cb(one, data) == MNL_CB_ERROR) {
				ret = fail(nl, nlh->nlmsg_type, errno);
				break;
			}
		}
	}
	kat_free_pointer(&g.bytes);
	return ret;
}

struct nlmsghdr *kat_nl_batch_next(struct kat_nl_batch *batch)
{
	if (batch->used + KAT_NL_MESSAGE_BYTES > sizeof(batch->room)) {
		errno = ENOSPC;
		return NULL;
	}
	return (struct nlmsghdr *)(batch->room + batch->used);
}

void kat_nl_batch_add(struct kat_nl_batch *batch)
{
	const struct nlmsghdr *nlh = (const void *)(batch->room + batch->used);

	batch->used += NLMSG_ALIGN(nlh->nlmsg_len);
	batch->count++;
}

int kat_nl_batch_send(struct kat_nl *nl, struct kat_nl_batch *batch, mnl_cb_t cb,
		      void *data, int64_t deadline_ns)
{
	struct wait w = {
		.first = nl->seq + 1,
		.count = batch->count,
		.batch = batch,
		.cb = cb,
		.data = data,
	};
	int left = (int)batch->used;

	if (!batch->count)
		return 0;
	for (struct nlmsghdr *nlh = (void *)batch->room; mnl_nlmsg_ok(nlh, left);
	     nlh = mnl_nlmsg_next(nlh, &left)) {
		nlh->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
		nlh->nlmsg_pid = nl->portid;
		nlh->nlmsg_seq = ++nl->seq;
	}
	if (kat_nl_send(nl->socket, batch->room, batch->used, deadline_ns) < 0)
		return fail(nl, type_of(&w, w.first), errno);
	return await_acks(nl, &w, deadline_ns);
}
