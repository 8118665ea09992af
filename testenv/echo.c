/* SPDX-License-Identifier: BSD-2-Clause */
#define _GNU_SOURCE
#include "echo.h"

#include "flow.h"

#include <err.h>
#include <errno.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#define MAX_FLOWS  64
#define MAX_NUMBER (1U << 26)
#define MAX_PACKET 65536

struct peer { /* one flow as it is seen from here */
	struct sockaddr_in6 from;
	uint32_t run, highest, turn;
	struct tally got;
	uint32_t drops_before;
	uint8_t *seen; /* one bit a packet */
	size_t room;   /* in bytes */
	uint64_t used; /* when */
};

static struct peer peers[MAX_FLOWS];

/* Of the whole socket: what this process was too slow to read. */
static uint32_t own_drops(int fd)
{
	uint32_t mem[SK_MEMINFO_VARS] = {0};
	socklen_t len = sizeof(mem);

	getsockopt(fd, SOL_SOCKET, SO_MEMINFO, mem, &len);
	return mem[SK_MEMINFO_DROPS];
}

/* The flow of that run from that port; the one that was silent longest makes room. */
static struct peer *peer_of(int fd, const struct sockaddr_in6 *from, uint32_t run,
			    bool sure)
{
	static uint64_t clock;
	struct peer *oldest = peers;

	for (struct peer *p = peers; p < peers + MAX_FLOWS; p++) {
		if (p->used < oldest->used)
			oldest = p;
		if (!p->used || p->from.sin6_port != from->sin6_port ||
		    memcmp(&p->from.sin6_addr, &from->sin6_addr, sizeof(from->sin6_addr)))
			continue;
		if (p->run == run || !sure) {
			p->used = ++clock;
			return p;
		}
		oldest = p; /* an earlier run from the same port */
		break;
	}
	if (!sure)
		return NULL;
	free(oldest->seen);
	*oldest = (struct peer){.from = *from,
				.run = run,
				.used = ++clock,
				.drops_before = own_drops(fd)};
	return oldest;
}

static void count(struct peer *p, uint32_t seq)
{
	size_t room = p->room;

	if (seq >= MAX_NUMBER)
		return;
	while (seq / 8 >= room)
		room = room ? room * 2 : 1024;
	if (room > p->room) {
		p->seen = realloc(p->seen, room);
		if (!p->seen)
			err(1, "memory for %zu packets", room * 8);
		memset(p->seen + p->room, 0, room - p->room);
		p->room = room;
	}
	p->turn++;
	if (p->seen[seq / 8] & 1U << seq % 8) {
		p->got.duplicated++;
		return;
	}
	p->seen[seq / 8] |= (uint8_t)(1U << seq % 8);
	if (p->got.good++ && seq < p->highest)
		p->got.reordered++;
	else
		p->highest = seq;
}

/* Damaged packets go back as they came: the other end counts them, too. */
static size_t answer(int fd, const struct sockaddr_in6 *from, uint8_t *packet, size_t len)
{
	struct mark mark;
	bool good = payload_good(packet, len, &mark);
	struct peer *p = peer_of(fd, from, mark.run, good);

	if (!good) {
		if (p)
			p->got.corrupt++;
		return len;
	}
	if (mark.seq == QUERY) {
		p->got.own_drops = own_drops(fd) - p->drops_before;
		memcpy(packet + sizeof(mark), &p->got, sizeof(p->got));
		return sizeof(mark) + sizeof(p->got);
	}
	count(p, mark.seq);
	mark.turn = p->turn;
	mark.check = mark_check(&mark);
	memcpy(packet, &mark, sizeof(mark));
	return len;
}

void echo_serve(uint16_t port)
{
	static uint8_t packet[MAX_PACKET];
	struct sockaddr_in6 at = {.sin6_family = AF_INET6, .sin6_port = htons(port)},
			    from;
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0), on = 1, big = 32 << 20;
	union {
		char bytes[CMSG_SPACE(sizeof(struct in6_pktinfo))];
		struct cmsghdr align;
	} control;
	struct iovec iov;
	ssize_t n;

	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0)
		err(1, "UDP port %u", port);
	/* So that the answer comes from the address that was asked. */
	if (setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on)) < 0)
		err(1, "the packets' addresses");
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &big, sizeof(big));
	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &big, sizeof(big));
	for (;;) {
		struct msghdr msg = {&from,    sizeof(from),	&iov, 1,
				     &control, sizeof(control), 0};

		iov = (struct iovec){packet, sizeof(packet)};
		n = recvmsg(fd, &msg, 0);
		if (n < 0) {
			if (errno != EINTR && errno != ECONNREFUSED &&
			    errno != EHOSTUNREACH)
				warn("receive");
			continue;
		}
		if ((size_t)n < sizeof(struct mark))
			continue;
		iov.iov_len = answer(fd, &from, packet, (size_t)n);
		msg.msg_flags = 0;
		/* What cannot be sent is lost on the way back, and counted as that. */
		if (sendmsg(fd, &msg, 0) < 0)
			warn("send");
	}
}
