/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * probe: numbered traffic from a client to guests, and an exact account of what came
 * back.
 *
 *   probe [OPTION...] ADDRESS...            ICMP echo
 *   probe -p udp [OPTION...] ADDRESS...     UDP, to `probe --serve` in the guest
 *   probe -p tcp [OPTION...] ADDRESS...     checksummed streams, to and from there
 *   probe --serve                           the far end
 *
 * ping(8) cannot be the judge of a migration: it slows itself while answers are missing,
 * numbers with 16 bits only, and its summary does not tell lost from late, duplicated or
 * reordered.  Here packet N is due at start + N / rate by CLOCK_MONOTONIC whatever comes
 * back; when the CPU was away, what is overdue is sent at once.
 */
#define _GNU_SOURCE
#include "echo.h"
#include "flow.h"
#include "stream.h"

#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <linux/icmp.h>
#include <linux/icmpv6.h>
#include <linux/sock_diag.h>
#include <netinet/ip.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PORT	   7007
#define MAX_PACKET 65536
#define MAX_FLOWS  32
#define ICMP_HEAD  sizeof(struct icmphdr) /* that of ICMPv6 is of the same size */
#define IP6_LONGER 20			  /* than the header of IPv4 */
#define TRIES	   30			  /* questions for the far end's tally */
#define TRY_NS	   100000000LL

/*
 * What a kind of traffic has to bring: a socket, a packet around the payload, and the way
 * back from what was read to the payload (NULL: not an answer to us).
 */
struct proto {
	const char *name;
	size_t head, least; /* bytes before the payload that pack fills; of payload */
	int (*open)(struct flow *f);
	void (*pack)(struct flow *f, uint8_t *packet, uint32_t seq);
	const uint8_t *(*unpack)(struct flow *f, const uint8_t *packet, size_t *len);
	bool asks; /* the far end counts, too */
};

struct probe {
	const struct proto *proto;
	struct flow flows[MAX_FLOWS];
	struct pollfd pfds[MAX_FLOWS];
	size_t n;
	double rate;
	uint64_t sent, count, spoil;
	int64_t start, grace;
	FILE *log;
};

static volatile sig_atomic_t stopped, phase;

static void on_signal(int sig)
{
	if (sig != SIGUSR1)
		stopped = 1;
	else if (phase < AFTER)
		phase++;
}

static int icmp_open(struct flow *f)
{
	bool v6 = f->family == AF_INET6;
	int fd = socket(f->family, SOCK_RAW | SOCK_CLOEXEC,
			v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
	struct icmp_filter four = {~(1U << ICMP_ECHOREPLY | 1U << ICMP_DEST_UNREACH |
				     1U << ICMP_TIME_EXCEEDED)};
	struct icmp6_filter six;

	if (fd < 0)
		return -1;
	if (v6) {
		memset(&six, 0xff, sizeof(six)); /* a set bit blocks the type */
		six.data[0] &= ~(1U << ICMPV6_DEST_UNREACH | 1U << ICMPV6_PKT_TOOBIG |
				 1U << ICMPV6_TIME_EXCEED);
		six.data[ICMPV6_ECHO_REPLY >> 5] &= ~(1U << (ICMPV6_ECHO_REPLY & 31));
		setsockopt(fd, IPPROTO_ICMPV6, ICMPV6_FILTER, &six, sizeof(six));
	} else {
		setsockopt(fd, SOL_RAW, ICMP_FILTER, &four, sizeof(four));
	}
	return fd;
}

static void icmp_pack(struct flow *f, uint8_t *packet, uint32_t seq)
{
	struct icmphdr head = {.type = ICMP_ECHO};
	size_t len = ICMP_HEAD + f->size;
	uint32_t sum = 0;

	if (f->family == AF_INET6)
		head.type = ICMPV6_ECHO_REQUEST; /* the kernel adds the checksum */
	head.un.echo.id = htons((uint16_t)f->run);
	head.un.echo.sequence = htons((uint16_t)seq);
	memcpy(packet, &head, ICMP_HEAD);
	if (f->family == AF_INET) {
		for (size_t i = 0; i < len; i++)
			sum += i & 1 ? packet[i] : (uint32_t)packet[i] << 8;
		while (sum >> 16)
			sum = (sum & 0xffff) + (sum >> 16);
		head.checksum = htons((uint16_t)~sum);
		memcpy(packet, &head, ICMP_HEAD);
	}
}

static const uint8_t *icmp_unpack(struct flow *f, const uint8_t *packet, size_t *len)
{
	bool v6 = f->family == AF_INET6;
	size_t skip = v6 ? 0 : (packet[0] & 15U) * 4U; /* IPv4 comes with its header */
	struct icmphdr head;

	if (*len < skip + ICMP_HEAD)
		return NULL;
	memcpy(&head, packet + skip, ICMP_HEAD);
	if (head.type != (v6 ? ICMPV6_ECHO_REPLY : ICMP_ECHOREPLY)) {
		f->icmp_errors++;
		return NULL;
	}
	if (head.un.echo.id != htons((uint16_t)f->run))
		return NULL;
	*len -= skip + ICMP_HEAD;
	return packet + skip + ICMP_HEAD;
}

/* Each flow has a port of its own. */
static int udp_open(struct flow *f)
{
	int fd = socket(f->family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && connect(fd, (struct sockaddr *)&f->to, f->to_len) < 0)
		err(1, "UDP");
	f->to_len = 0; /* for sendto(): it is connected, so that errors reach it */
	if (f->family == AF_INET6)
		f->size -= IP6_LONGER;
	return fd;
}

static void udp_pack(struct flow *f, uint8_t *packet, uint32_t seq)
{
	(void)f, (void)packet, (void)seq;
}

static const uint8_t *udp_unpack(struct flow *f, const uint8_t *packet, size_t *len)
{
	struct mark mark;

	if (!payload_good(packet, *len, &mark) || mark.seq != QUERY)
		return packet;
	if (mark.run == f->run && *len >= sizeof(mark) + sizeof(f->there)) {
		memcpy(&f->there, packet + sizeof(mark), sizeof(f->there));
		f->answered = true;
	}
	return NULL;
}

static const struct proto protos[] = {
	{"icmp", ICMP_HEAD, sizeof(struct mark), icmp_open, icmp_pack, icmp_unpack,
	 false},
	{"udp", 0, sizeof(struct mark) + sizeof(struct tally) + IP6_LONGER, udp_open,
	 udp_pack, udp_unpack, true},
	{"tcp", 0, 0, NULL, NULL, NULL, false},
};

/* The first refusal may be an ICMP error that came for an earlier packet. */
static bool send_packet(struct flow *f, const uint8_t *packet, size_t len)
{
	const struct sockaddr *to = f->to_len ? (const struct sockaddr *)&f->to : NULL;

	for (int i = 0; i < 2; i++) {
		if (sendto(f->fd, packet, len, 0, to, f->to_len) >= 0)
			return true;
		f->icmp_errors += !i && !f->to_len;
	}
	return false;
}

static void send_one(struct probe *p, uint8_t *packet)
{
	struct flow *f = &p->flows[p->sent++ % p->n];
	uint8_t *payload = packet + p->proto->head;
	uint32_t seq = (uint32_t)f->sent;

	flow_next(f, payload, (enum phase)phase);
	if (p->spoil && p->sent % p->spoil == 0)
		payload[f->size - 1] ^= 1;
	p->proto->pack(f, packet, seq);
	/* A packet the kernel refuses is one the client misses: sent, and lost. */
	if (!send_packet(f, packet, p->proto->head + f->size) && !f->refused++)
		warn("packet %" PRIu32 " not sent", seq);
}

static void receive(struct probe *p, struct flow *f, uint8_t *packet)
{
	const uint8_t *payload;
	struct mark mark;
	const char *what;
	ssize_t n;
	size_t len;
	int64_t at;

	for (;;) {
		n = recv(f->fd, packet, MAX_PACKET, MSG_DONTWAIT);
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0) {
			f->icmp_errors++;
			continue;
		}
		len = (size_t)n;
		payload = p->proto->unpack(f, packet, &len);
		if (!payload)
			continue;
		at = now();
		what = flow_account(f, payload, len, at, &mark);
		if (what && p->log)
			fprintf(p->log, "%" PRIu32 " %.3f %.3f %td%s\n", mark.seq,
				(double)(at - p->start) / 1e6,
				(double)(at - mark.sent) / 1e6, f - p->flows, what);
	}
}

/*
 * Waits for answers until then, and reads them.  Not for longer than a tenth of a second:
 * a signal may have come just before.
 */
static void wait_until(struct probe *p, int64_t then, uint8_t *packet)
{
	int64_t left = then - now();
	struct timespec wait = {0};

	if (left > NS / 10)
		left = NS / 10;
	if (left > 0)
		wait.tv_nsec = left;
	if (ppoll(p->pfds, (nfds_t)p->n, &wait, NULL) < 0) {
		if (errno != EINTR)
			err(1, "ppoll");
		return;
	}
	for (size_t i = 0; i < p->n; i++)
		if (p->pfds[i].revents)
			receive(p, &p->flows[i], packet);
}

static bool all_back(const struct probe *p)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->flows[i].got.good != p->flows[i].sent)
			return false;
	return true;
}

/* What a loaded machine may take from one answer to the next, and to the last. */
#define SILENCE (5 * NS)
#define LONGEST (30 * NS)

/*
 * Until when to listen for what is still out: an answer that comes late is no loss.  An
 * uncounted run waits for grace at least, so that it hears what comes twice.
 */
static int64_t listen_until(const struct probe *p, int64_t stop)
{
	int64_t last = stop, least = stop + p->grace;

	if (all_back(p))
		return least;
	for (size_t i = 0; i < p->n; i++)
		if (p->flows[i].last_reply > last)
			last = p->flows[i].last_reply;
	if (last > stop + LONGEST - SILENCE)
		last = stop + LONGEST - SILENCE;
	return last + SILENCE > least ? last + SILENCE : least;
}

/* Sends until told to stop or count is reached, then only listens. */
static void run(struct probe *p)
{
	static uint8_t packet[MAX_PACKET];
	int64_t due, stop = 0, end = 0;

	p->start = now();
	for (size_t i = 0; i < p->n; i++)
		p->flows[i].last_reply = p->start;
	for (;;) {
		if (!stop && (stopped || (p->count && p->sent >= p->count)))
			stop = now();
		if (stop)
			end = p->count ? stop + p->grace : listen_until(p, stop);
		due = end ? end : p->start + (int64_t)((double)p->sent * 1e9 / p->rate);
		wait_until(p, due, packet);
		if (end && (now() >= end || (p->count && all_back(p))))
			break; /* a counted run is over with its last answer */
		if (!end && !stopped && now() >= due)
			send_one(p, packet);
	}
}

/* What the far end has got, so that each loss has its direction. */
static void ask(struct probe *p)
{
	static uint8_t packet[MAX_PACKET];
	size_t unanswered = p->n;
	int64_t then;

	for (int i = 0; i < TRIES && unanswered; i++) {
		unanswered = 0;
		for (struct flow *f = p->flows; f < p->flows + p->n; f++) {
			struct mark mark = {.run = f->run, .seq = QUERY, .sent = now()};

			if (f->answered)
				continue;
			unanswered++;
			payload_make(packet, f->size, &mark);
			send_packet(f, packet, f->size);
		}
		then = now() + TRY_NS;
		while (unanswered && now() < then) {
			wait_until(p, then, packet);
			unanswered = 0;
			for (size_t k = 0; k < p->n; k++)
				unanswered += !p->flows[k].answered;
		}
	}
	if (unanswered)
		warnx("the far end does not say what it has got of %zu flows",
		      unanswered);
}

/* What the kernel dropped because we read too slowly is no fault of the path. */
static uint64_t own_drops(const struct probe *p)
{
	uint64_t drops = 0;

	for (size_t i = 0; i < p->n; i++) {
		uint32_t mem[SK_MEMINFO_VARS] = {0};
		socklen_t len = sizeof(mem);

		getsockopt(p->flows[i].fd, SOL_SOCKET, SO_MEMINFO, mem, &len);
		drops += mem[SK_MEMINFO_DROPS];
	}
	return drops;
}

static void usage(FILE *out)
{
	fputs("usage: probe [-p icmp|udp|tcp] [OPTION...] ADDRESS... | probe --serve\n"
	      "  -r RATE   packets a second (100); TCP: KiB a second for each stream, no "
	      "limit\n"
	      "  -c COUNT  packets           -s BYTES  payload (56, 64); UDP over IPv6: "
	      "20 less\n"
	      "  -f FLOWS  for each address (1); TCP: as many streams there, and back\n"
	      "  -D        do not fragment   -w SECONDS  to wait for the last answers, "
	      "at least (1.5)\n"
	      "  -e        fail unless every packet was answered once\n"
	      "  --log FILE  a line an answer: number, ms since start, delay, flow\n"
	      "  --spoil N  change a byte of every Nth: that must be seen\n"
	      "SIGINT, SIGTERM and COUNT end it.  SIGUSR1 twice: from there to there is "
	      "the\n"
	      "\"during\" of the delays.\n",
	      out);
}

static double number(const char *flag, const char *text, double least, double most)
{
	char *end;
	double value = strtod(text, &end);

	if (end == text || *end || !(value >= least && value <= most))
		errx(2, "%s: '%s' is no number from %g to %g", flag, text, least, most);
	return value;
}

static void target(struct flow *f, const char *text)
{
	struct sockaddr_in *four = (struct sockaddr_in *)&f->to;
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)&f->to;

	if (inet_pton(AF_INET, text, &four->sin_addr) == 1) {
		f->family = four->sin_family = AF_INET;
		f->to_len = sizeof(*four);
	} else if (inet_pton(AF_INET6, text, &six->sin6_addr) == 1) {
		f->family = six->sin6_family = AF_INET6;
		f->to_len = sizeof(*six);
	} else {
		errx(2, "'%s' is not an IPv4 or IPv6 address", text);
	}
}

static void open_flow(struct probe *p, struct flow *f, size_t size, bool df)
{
	bool v6 = f->family == AF_INET6;
	int pmtu = df ? IP_PMTUDISC_DO : IP_PMTUDISC_DONT, big = 4 << 20;

	f->run = ((uint32_t)now() ^ (uint32_t)getpid() << 16) + (uint32_t)(f - p->flows);
	f->size = size;
	if (p->proto->asks) /* the port of TCP and UDP is at the same place in both */
		((struct sockaddr_in *)&f->to)->sin_port = htons(PORT);
	f->fd = p->proto->open(f);
	if (f->fd < 0)
		err(1, "%s socket", p->proto->name);
	p->pfds[f - p->flows] = (struct pollfd){.fd = f->fd, .events = POLLIN};
	/* The values of IPV6_PMTUDISC_* are the same. */
	if (setsockopt(f->fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP,
		       v6 ? IPV6_MTU_DISCOVER : IP_MTU_DISCOVER, &pmtu, sizeof(pmtu)) < 0)
		err(1, "path MTU discovery");
	if (setsockopt(f->fd, SOL_SOCKET, SO_RCVBUFFORCE, &big, sizeof(big)) < 0)
		setsockopt(f->fd, SOL_SOCKET, SO_RCVBUF, &big, sizeof(big));
}

static void signals(void)
{
	static const int ours[] = {SIGINT, SIGTERM, SIGUSR1};
	struct sigaction sa = {.sa_handler = on_signal};

	for (size_t i = 0; i < sizeof(ours) / sizeof(*ours); i++)
		sigaction(ours[i], &sa, NULL);
}

static _Noreturn void serve(void)
{
	if (fork() == 0)
		streams_serve(PORT);
	echo_serve(PORT);
}

static bool tcp(const struct probe *p, unsigned pairs)
{
	struct sockaddr_storage to[MAX_FLOWS];
	socklen_t to_len[MAX_FLOWS];
	struct streams s = {.to = to,
			    .to_len = to_len,
			    .addresses = p->n / pairs,
			    .pairs = pairs,
			    .rate = (uint64_t)(p->rate * 1024),
			    .spoil = (unsigned)p->spoil,
			    .grace = p->grace > 10 * NS ? p->grace : 10 * NS};

	for (size_t i = 0; i < s.addresses; i++) {
		to[i] = p->flows[i].to;
		((struct sockaddr_in *)&to[i])->sin_port = htons(PORT);
		to_len[i] = p->flows[i].to_len;
	}
	return streams_run(&s, &stopped, &phase);
}

static const struct proto *proto_of(const char *name)
{
	for (size_t i = 0; i < sizeof(protos) / sizeof(*protos); i++)
		if (!strcmp(name, protos[i].name))
			return &protos[i];
	errx(2, "-p: no traffic of the kind '%s'", name);
}

struct settings {
	size_t size;
	unsigned flows; /* for each address */
	bool df, strict, serve;
};

static void option(struct probe *p, struct settings *set, int c)
{
	switch (c) {
	case 'p':
		p->proto = proto_of(optarg);
		break;
	case 'r':
		p->rate = number("-r", optarg, 0.01, 1e6);
		break;
	case 'c':
		p->count = (uint64_t)number("-c", optarg, 1, 4e9);
		break;
	case 's':
		set->size = (size_t)number("-s", optarg, sizeof(struct mark), 65000);
		break;
	case 'f':
		set->flows = (unsigned)number("-f", optarg, 1, MAX_FLOWS);
		break;
	case 'D':
		set->df = true;
		break;
	case 'w':
		p->grace = (int64_t)(number("-w", optarg, 0, 3600) * 1e9);
		break;
	case 'e':
		set->strict = true;
		break;
	case 'l':
		p->log = fopen(optarg, "we");
		if (!p->log)
			err(1, "%s", optarg);
		break;
	case 'x':
		p->spoil = (uint64_t)number("--spoil", optarg, 1, 1e9);
		break;
	case 'S':
		set->serve = true;
		break;
	case 'h':
		usage(stdout);
		exit(0);
	default:
		usage(stderr);
		exit(2);
	}
}

static void targets(struct probe *p, const struct settings *set, int n, char **addresses)
{
	if ((size_t)n * set->flows > MAX_FLOWS)
		errx(2, "more than %d flows", MAX_FLOWS);
	for (unsigned k = 0; k < set->flows; k++)
		for (int i = 0; i < n; i++)
			target(&p->flows[p->n++], addresses[i]);
}

static bool packets(struct probe *p, const struct settings *set)
{
	size_t size = set->size ? set->size : p->proto->asks ? 64 : 56;
	bool clean = true;

	if (size < p->proto->least)
		errx(2, "-s: at least %zu bytes for %s", p->proto->least, p->proto->name);
	for (size_t i = 0; i < p->n; i++)
		open_flow(p, &p->flows[i], size, set->df);
	signals();
	run(p);
	for (size_t i = 0; i < p->n; i++)
		flow_end(&p->flows[i]);
	if (p->proto->asks)
		ask(p);
	flows_report(p->flows, p->n, p->start, p->proto->asks);
	printf("own_drops=%" PRIu64 "\n", own_drops(p));
	if (p->log && fclose(p->log) != 0)
		err(1, "log");
	if (!p->sent)
		errx(1, "no packet was sent");
	for (size_t i = 0; i < p->n; i++)
		clean = clean && flow_clean(&p->flows[i]);
	return clean;
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{"log", required_argument, NULL, 'l'},
		{"spoil", required_argument, NULL, 'x'},
		{"serve", no_argument, NULL, 'S'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	static struct probe p = {.proto = protos, .grace = 3 * NS / 2};
	struct settings set = {.flows = 1};
	bool clean;
	int c;

	while ((c = getopt_long(argc, argv, "p:r:c:s:f:Dw:eh", longs, NULL)) != -1)
		option(&p, &set, c);
	if (set.serve)
		serve();
	if (optind == argc) {
		usage(stderr);
		return 2;
	}
	targets(&p, &set, argc - optind, argv + optind);
	if (!p.proto->open) {
		signals();
		clean = tcp(&p, set.flows);
		return set.strict && !clean;
	}
	if (p.rate == 0)
		p.rate = 100;
	clean = packets(&p, &set);
	return set.strict && !clean;
}
