/* SPDX-License-Identifier: BSD-2-Clause */
#define _GNU_SOURCE
#include "stream.h"

#include "flow.h"

#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WORDS	  4092
#define CONNECT_S 10
#define TICK_MS	  10 /* how often TCP is asked how it goes: much less than a time-out */

enum kind {
	HELLO = 0x6b617430,
	DATA,
	END,
	REPORT
};

struct report { /* of the far end */
	uint64_t bytes;
	uint32_t corrupt, retransmitted, timeouts;
};

struct chunk {
	uint32_t kind, number, check, spare;
	uint32_t words[WORDS];
};

struct hello {
	uint64_t rate;
	uint32_t sends, spoil; /* sends: the far end does */
};

struct half { /* one direction */
	struct chunk c;
	size_t at;
	uint32_t number;
};

struct stream {
	int fd;
	bool client, sends, closing, last_made, done, broken;
	unsigned spoil;
	struct half out, in;
	uint64_t bytes; /* received and found good */
	uint32_t corrupt, timeouts_at_start;
	struct report far;
	uint64_t progress; /* bytes received, or acknowledged by the far end */
	int64_t since, stall;
	uint32_t rto_ms;
};

static uint32_t sum_of(const struct chunk *c)
{
	uint32_t a = c->kind, b = c->number;

	for (size_t i = 0; i < WORDS; i++) {
		a += c->words[i];
		b += a;
	}
	return a ^ b << 16 ^ b >> 16;
}

/*
 * How often TCP's retransmission timer ran out in this network namespace.  TCP_INFO tells
 * only of time-outs that last, not of those that the next acknowledgement takes back.
 */
static uint32_t timeouts(void)
{
	char names[8192], values[8192], *n, *v, *n_at, *v_at;
	FILE *file = fopen("/proc/net/netstat", "re");
	uint32_t result = 0;

	if (!file)
		return 0;
	if (fgets(names, sizeof(names), file) && fgets(values, sizeof(values), file)) {
		n = strtok_r(names, " \n", &n_at);
		v = strtok_r(values, " \n", &v_at);
		while (n && v) {
			if (!strcmp(n, "TCPTimeouts"))
				result = (uint32_t)strtoul(v, NULL, 10);
			n = strtok_r(NULL, " \n", &n_at);
			v = strtok_r(NULL, " \n", &v_at);
		}
	}
	fclose(file);
	return result;
}

static struct tcp_info tcp_info(int fd)
{
	struct tcp_info info = {0};
	socklen_t len = sizeof(info);

	getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len);
	return info;
}

static void limit_rate(int fd, uint64_t rate)
{
	if (rate &&
	    setsockopt(fd, SOL_SOCKET, SO_MAX_PACING_RATE, &rate, sizeof(rate)) < 0)
		warn("no limit of %" PRIu64 " bytes a second", rate);
}

static void make(struct stream *s, enum kind kind)
{
	struct chunk *c = &s->out.c;
	struct report report = {s->bytes, s->corrupt, tcp_info(s->fd).tcpi_total_retrans,
				0};

	c->kind = kind;
	c->number = s->out.number++;
	for (uint32_t i = 0; i < WORDS; i++)
		c->words[i] = (c->number + 1) * 2654435761U + i * 40503U;
	if (kind == REPORT) {
		report.timeouts = timeouts() - s->timeouts_at_start;
		memcpy(c->words, &report, sizeof(report));
	}
	c->check = sum_of(c);
	if (kind == DATA && s->spoil && c->number % s->spoil == 0)
		c->words[c->number % WORDS] ^= 0x100;
	s->out.at = 0;
}

static bool has_to_send(const struct stream *s)
{
	return s->out.at < sizeof(s->out.c) || (s->closing ? !s->last_made : s->sends);
}

static void push(struct stream *s)
{
	while (has_to_send(s)) {
		ssize_t n;

		if (s->out.at == sizeof(s->out.c)) {
			s->last_made = s->closing;
			make(s, !s->closing ? DATA : s->client ? END : REPORT);
		}
		n = send(s->fd, (char *)&s->out.c + s->out.at,
			 sizeof(s->out.c) - s->out.at, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0) {
			s->broken = errno != EAGAIN && errno != EINTR;
			return;
		}
		s->out.at += (size_t)n;
		if (s->sends && !s->closing)
			return; /* one chunk: others have their turn */
	}
}

static void take(struct stream *s)
{
	const struct chunk *c = &s->in.c;
	struct hello hello;

	if (c->check != sum_of(c) || c->number != s->in.number) {
		s->corrupt++;
		s->in.number++;
		return;
	}
	s->in.number++;
	switch (c->kind) {
	case HELLO:
		memcpy(&hello, c->words, sizeof(hello));
		s->sends = hello.sends;
		s->spoil = hello.spoil;
		limit_rate(s->fd, hello.rate);
		break;
	case DATA:
		s->bytes += sizeof(*c);
		break;
	case END:
		s->closing = true;
		break;
	case REPORT:
		memcpy(&s->far, c->words, sizeof(s->far));
		s->done = true;
		break;
	default:
		s->corrupt++;
	}
}

static void pull(struct stream *s)
{
	for (int i = 0; i < 16 && !s->done; i++) {
		ssize_t n = recv(s->fd, (char *)&s->in.c + s->in.at,
				 sizeof(s->in.c) - s->in.at, MSG_DONTWAIT);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			s->broken = true;
			return;
		}
		s->in.at += (size_t)n;
		if (s->in.at < sizeof(s->in.c))
			continue;
		s->in.at = 0;
		take(s);
	}
}

static void serve(int fd)
{
	static struct stream s;

	s.fd = fd;
	s.out.at = sizeof(s.out.c);
	s.timeouts_at_start = timeouts();
	while (!s.broken) {
		struct pollfd pfd = {
			fd, (short)(POLLIN | (has_to_send(&s) ? POLLOUT : 0)), 0};

		if (poll(&pfd, 1, -1) < 0)
			err(1, "poll");
		if (pfd.revents & ~POLLOUT)
			pull(&s);
		if (pfd.revents & POLLOUT)
			push(&s);
	}
	exit(0); /* the client has closed */
}

void streams_serve(uint16_t port)
{
	struct sockaddr_in6 at = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1, c;

	signal(SIGCHLD, SIG_IGN);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 ||
	    listen(fd, 64) < 0)
		err(1, "TCP port %u", port);
	for (;;) {
		c = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
		if (c < 0)
			continue;
		if (fork() == 0)
			serve(c);
		close(c);
	}
}

static void start(struct stream *s, const struct streams *all, size_t address, bool up)
{
	struct hello hello = {all->rate, !up, up ? 0 : all->spoil};
	const struct sockaddr_storage *to = &all->to[address];
	struct timeval patience = {CONNECT_S, 0};

	s->fd = socket(to->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(s->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (s->fd < 0 ||
	    connect(s->fd, (const struct sockaddr *)to, all->to_len[address]) < 0)
		err(1, "TCP connection");
	limit_rate(s->fd, all->rate);
	s->client = true;
	s->sends = up;
	s->spoil = up ? all->spoil : 0;
	make(s, HELLO);
	memcpy(s->out.c.words, &hello, sizeof(hello));
	s->out.c.check = sum_of(&s->out.c);
	s->since = now();
}

/* How far it got, and for how long it has stood still. */
static void watch(struct stream *s)
{
	struct tcp_info info = tcp_info(s->fd);
	uint64_t progress = s->sends ? info.tcpi_bytes_acked : info.tcpi_bytes_received;
	int64_t at = now();

	if (info.tcpi_rto / 1000 > s->rto_ms)
		s->rto_ms = info.tcpi_rto / 1000;
	if (at - s->since > s->stall)
		s->stall = at - s->since;
	if (progress == s->progress)
		return;
	s->progress = progress;
	s->since = at;
}

/* What this end has had to send again, and how often its timers ran out, in each phase.
 */
struct pains {
	uint32_t again[PHASES], timeouts[PHASES], again_before, timeouts_before;
};

static void note_pains(struct pains *p, const struct stream *s, size_t n, int phase)
{
	uint32_t again = 0, timed_out = timeouts();

	for (size_t i = 0; i < n; i++)
		again += tcp_info(s[i].fd).tcpi_total_retrans;
	p->again[phase] += again - p->again_before;
	p->timeouts[phase] += timed_out - p->timeouts_before;
	p->again_before = again;
	p->timeouts_before = timed_out;
}

static bool report(const struct stream *s, size_t n, const struct pains *pains)
{
	static const char *const names[PHASES] = {"before", "during", "after"};
	uint64_t there = 0, back = 0, corrupt = 0, again = 0, broken = 0;
	uint32_t far_timeouts = 0, timed_out = 0, rto = 0;
	int64_t stall = 0;

	for (size_t i = 0; i < n; i++) {
		there += s[i].far.bytes;
		back += s[i].bytes;
		corrupt += s[i].corrupt + s[i].far.corrupt;
		again += s[i].far.retransmitted;
		broken += !s[i].done;
		/* Each saw those of all, if it lived as long. */
		if (s[i].far.timeouts > far_timeouts)
			far_timeouts = s[i].far.timeouts;
		rto = s[i].rto_ms > rto ? s[i].rto_ms : rto;
		stall = s[i].stall > stall ? s[i].stall : stall;
	}
	for (int i = BEFORE; i < PHASES; i++) {
		again += pains->again[i];
		timed_out += pains->timeouts[i];
		printf("tcp_retransmitted_%s=%" PRIu32 "\ntcp_timeouts_%s=%" PRIu32 "\n",
		       names[i], pains->again[i], names[i], pains->timeouts[i]);
	}
	printf("tcp_streams=%zu\ntcp_broken=%" PRIu64 "\ntcp_bytes_there=%" PRIu64 "\n"
	       "tcp_bytes_back=%" PRIu64 "\ntcp_corrupt=%" PRIu64 "\n"
	       "tcp_retransmitted=%" PRIu64 "\ntcp_timeouts=%" PRIu32 "\n"
	       "tcp_timeouts_far=%" PRIu32 "\ntcp_rto_ms=%" PRIu32
	       "\ntcp_stall_ms=%.1f\n",
	       n, broken, there, back, corrupt, again, timed_out, far_timeouts, rto,
	       (double)stall / 1e6);
	return !corrupt && !broken;
}

/* One round of poll; how many have not ended yet. */
static size_t round_of(struct stream *s, struct pollfd *pfd, size_t n)
{
	size_t left = 0;

	for (size_t i = 0; i < n; i++) {
		bool over = s[i].done || s[i].broken;

		pfd[i] = (struct pollfd){over ? -1 : s[i].fd, POLLIN, 0};
		if (has_to_send(&s[i]))
			pfd[i].events |= POLLOUT;
		left += !over;
	}
	if (poll(pfd, (nfds_t)n, TICK_MS) < 0)
		return left; /* a signal: *stopped tells */
	for (size_t i = 0; i < n; i++) {
		if (pfd[i].revents & ~POLLOUT)
			pull(&s[i]);
		if (pfd[i].revents & POLLOUT)
			push(&s[i]);
	}
	return left;
}

bool streams_run(const struct streams *all, const volatile sig_atomic_t *stopped,
		 const volatile sig_atomic_t *phase)
{
	size_t n = all->addresses * all->pairs * 2, left;
	struct stream *s = calloc(n, sizeof(*s));
	struct pollfd *pfd = calloc(n, sizeof(*pfd));
	struct pains pains = {.timeouts_before = timeouts()};
	int in = *phase;
	int64_t next = 0, end = 0;

	if (!s || !pfd)
		err(1, "memory for %zu streams", n);
	for (size_t i = 0; i < n; i++)
		start(&s[i], all, i / 2 % all->addresses, i % 2 == 0);
	do {
		left = round_of(s, pfd, n);
		if (*phase != in) {
			note_pains(&pains, s, n, in);
			in = *phase;
		}
		if (!end && now() >= next) {
			for (size_t i = 0; i < n; i++)
				watch(&s[i]);
			next = now() + TICK_MS * 1000000;
		}
		if (*stopped && !end) {
			end = now() + all->grace;
			for (size_t i = 0; i < n; i++)
				s[i].closing = true;
		}
	} while (left && (!end || now() < end));
	note_pains(&pains, s, n, in);
	return report(s, n, &pains);
}
