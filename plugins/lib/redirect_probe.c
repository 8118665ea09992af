/* SPDX-License-Identifier: BSD-2-Clause */
#define KATAMARAN_API_VERSION 1
#include "plugins/lib/redirect_probe.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <sys/random.h>
#include <sys/socket.h>

/* So many of each size: one alone may be lost on any network. */
#define COPIES 3
/* For what was sent before this end was told. */
#define WAIT_NS	      1000000000
#define WAIT_LARGE_NS 300000000
/* As large as any packet inside a tunnel that we make. */
#define INNER_BYTES 9000
#define INNER_SMALL 64
/* The last bytes of the packet: MARK, the listener's number, kinds, size. */
#define MARK	      0x6b617461u
#define TRAILER_BYTES 8
#define GRE_BYTES     4
/* For experiments, RFC 3692. */
#define INNER_PROTOCOL 253

struct ear {
	int fd;
	int underlay;
	int protocol;
	bool small, large; /* have come */
};

struct kat_redirect_probe {
	uint16_t number;
	unsigned int kinds; /* that the source says it sends, 0: nothing came */
	size_t count;
	struct ear ears[2 * KAT_REDIRECT_TUNNELS];
};

struct trailer {
	uint32_t mark;	 /* network order */
	uint16_t number; /* network order */
	uint8_t kinds;
	uint8_t large;
};

/* Of the outer header, for packets of the guest's family. */
static int protocol_of(const struct kat_tunnel *tunnel, int family)
{
	if (strstr(tunnel->kind, "gre"))
		return IPPROTO_GRE;
	return family == AF_INET6 ? IPPROTO_IPV6 : IPPROTO_IPIP;
}

static const char *protocol_name(int protocol)
{
	return protocol == IPPROTO_GRE	  ? "GRE (47)"
	       : protocol == IPPROTO_IPIP ? "IP in IP (4)"
					  : "IPv6 in IP (41)";
}

/* ---- the end that listens ---- */

/* Only ours: a tunnel that is in use would fill the socket. */
static int listen_to(int underlay, int protocol)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0),
		BPF_STMT(BPF_ALU | BPF_SUB | BPF_K, TRAILER_BYTES),
		BPF_STMT(BPF_MISC | BPF_TAX, 0),
		BPF_STMT(BPF_LD | BPF_W | BPF_IND, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MARK, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	struct sock_fprog filter = {sizeof(code) / sizeof(code[0]), code};
	int fd = socket(underlay, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);

	if (fd >= 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter)) < 0) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static int add_ear(struct kat_redirect_probe *p, int underlay, int protocol)
{
	struct ear *ear = &p->ears[p->count];

	for (size_t i = 0; i < p->count; i++)
		if (p->ears[i].underlay == underlay && p->ears[i].protocol == protocol)
			return 0;
	if (p->count == sizeof(p->ears) / sizeof(p->ears[0]))
		return 0;
	*ear = (struct ear){.fd = listen_to(underlay, protocol),
			    .underlay = underlay,
			    .protocol = protocol};
	/* A node without IPv6 hears none. */
	if (ear->fd < 0 && errno == EAFNOSUPPORT)
		return 0;
	p->count += ear->fd >= 0;
	return ear->fd < 0 ? -1 : 0;
}

int kat_redirect_probe_listen(struct katamaran_ctx *ctx, struct kat_redirect *r)
{
	struct kat_redirect_probe *p = calloc(1, sizeof(*p));
	char number[16];

	r->probe = p;
	if (!p)
		return -1;
	if (getrandom(&p->number, sizeof(p->number), 0) < 0)
		p->number = (uint16_t)getpid();
	for (const struct kat_tunnel *t = r->tunnels; t->kind; t++)
		if ((t->guest != AF_INET6 &&
		     add_ear(p, t->underlay, protocol_of(t, AF_INET)) < 0) ||
		    (t->guest != AF_INET &&
		     add_ear(p, t->underlay, protocol_of(t, AF_INET6)) < 0))
			return -1;
	snprintf(number, sizeof(number), "%u", p->number);
	katamaran_publish(ctx, "probe", number);
	return 0;
}

static void hear(struct kat_redirect_probe *p, struct ear *ear)
{
	uint8_t packet[INNER_BYTES + 256];
	struct trailer trailer;
	ssize_t n;

	while ((n = recv(ear->fd, packet, sizeof(packet), 0)) >= 0) {
		if (n < TRAILER_BYTES)
			continue;
		memcpy(&trailer, packet + n - TRAILER_BYTES, TRAILER_BYTES);
		if (ntohs(trailer.number) != p->number)
			continue;
		p->kinds = trailer.kinds;
		if (trailer.large)
			ear->large = true;
		else
			ear->small = true;
	}
}

/* How many kinds have come; `large` false: at least small ones. */
static unsigned int heard(const struct kat_redirect_probe *p, bool large)
{
	unsigned int count = 0;

	for (size_t i = 0; i < p->count; i++) {
		const struct ear *ear = &p->ears[i];

		/* Over IPv6 no large ones are sent. */
		if (large && ear->underlay == AF_INET)
			count += ear->small && ear->large;
		else
			count += ear->small || ear->large;
	}
	return count;
}

static void wait_until(struct kat_redirect_probe *p, bool large, int64_t deadline_ns)
{
	struct pollfd pfds[2 * KAT_REDIRECT_TUNNELS];
	int64_t left;

	do {
		for (size_t i = 0; i < p->count; i++) {
			hear(p, &p->ears[i]);
			pfds[i] = (struct pollfd){.fd = p->ears[i].fd, .events = POLLIN};
		}
		left = (deadline_ns - kat_now_ns()) / 1000000;
	} while ((!p->kinds || heard(p, large) < p->kinds) && left > 0 &&
		 poll(pfds, p->count, (int)left) >= 0);
}

void kat_redirect_probe_report(struct katamaran_ctx *ctx, struct kat_redirect *r)
{
	struct kat_redirect_probe *p = r->probe;
	char kinds[128] = "";
	size_t used = 0;

	wait_until(p, false, kat_now_ns() + WAIT_NS);
	wait_until(p, true, kat_now_ns() + WAIT_LARGE_NS);
	for (size_t i = 0; i < p->count && used < sizeof(kinds); i++)
		if (p->ears[i].small || p->ears[i].large)
			used += (size_t)snprintf(kinds + used, sizeof(kinds) - used,
						 "%s%s", used ? ", " : "",
						 protocol_name(p->ears[i].protocol));
	if (!p->kinds || heard(p, false) < p->kinds)
		katamaran_finding(
			ctx, KATAMARAN_FAILURE, "way of the redirect",
			"packets of the tunnel that the source has sent did not "
			"arrive here (but: %s): let these protocols through the "
			"filters on the way, and check that destination.ip is this "
			"node",
			used ? kinds : "none");
	else if (heard(p, true) < p->kinds)
		katamaran_finding(
			ctx, KATAMARAN_WARNING, "way of the redirect",
			"small packets arrive (%s), but large ones, which go in "
			"fragments, do not: let fragments through, or give the "
			"network between the nodes a larger mtu",
			kinds);
	else
		katamaran_finding(ctx, KATAMARAN_OK, "way of the redirect",
				  "packets from the source arrive: %s", kinds);
}

void kat_redirect_probe_free(struct kat_redirect_probe *probe)
{
	for (size_t i = 0; probe && i < probe->count; i++)
		close(probe->ears[i].fd);
	free(probe);
}

/* ---- the end that sends ---- */

static uint16_t checksum(const uint8_t *bytes, size_t count)
{
	uint32_t sum = 0;

	for (size_t i = 0; i + 1 < count; i += 2)
		sum += (uint32_t)(bytes[i] << 8 | bytes[i + 1]);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static void put_16(uint8_t *at, size_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

/* A packet of `size` bytes from loopback to loopback; `at` is zeroed. */
static void build_inner(uint8_t *at, int family, size_t size)
{
	if (family == AF_INET6) {
		at[0] = 0x60;
		put_16(at + 4, size - 40);
		at[6] = INNER_PROTOCOL;
		at[7] = 1;
		at[23] = at[39] = 1; /* ::1 */
		return;
	}
	at[0] = 0x45;
	put_16(at + 2, size);
	at[8] = 1;
	at[9] = INNER_PROTOCOL;
	at[12] = at[16] = 127;
	at[15] = at[19] = 1;
	put_16(at + 10, checksum(at, 20));
}

static int send_one(int fd, int protocol, int family, size_t inner,
		    const struct trailer *trailer, const struct sockaddr *to,
		    socklen_t to_length)
{
	size_t header = protocol == IPPROTO_GRE ? GRE_BYTES : 0;
	uint8_t packet[GRE_BYTES + INNER_BYTES] = {0};

	if (header)
		put_16(packet + 2, family == AF_INET6 ? ETH_P_IPV6 : ETH_P_IP);
	build_inner(packet + header, family, inner);
	memcpy(packet + header + inner - TRAILER_BYTES, trailer, TRAILER_BYTES);
	for (int i = 0; i < COPIES; i++)
		if (sendto(fd, packet, header + inner, MSG_NOSIGNAL | MSG_DONTWAIT, to,
			   to_length) < 0)
			return -1;
	return 0;
}

static socklen_t socket_address(const struct kat_addr *addr, struct sockaddr_storage *to)
{
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)to;
	struct sockaddr_in *four = (struct sockaddr_in *)to;

	memset(to, 0, sizeof(*to));
	to->ss_family = (sa_family_t)addr->family;
	if (addr->family == AF_INET6)
		memcpy(&six->sin6_addr, addr->bytes, 16);
	else
		memcpy(&four->sin_addr, addr->bytes, 4);
	return addr->family == AF_INET6 ? sizeof(*six) : sizeof(*four);
}

static int send_kind(const struct kat_redirect *r, int protocol, int family,
		     struct trailer *trailer, const struct kat_addr *to, uint32_t mtu)
{
	kat_cleanup_close int fd =
		socket(to->family, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
	struct sockaddr_storage there, here;
	socklen_t length = socket_address(to, &there);
	int cut = IP_PMTUDISC_DONT;

	if (fd < 0)
		return -1;
	if (r->local.family &&
	    bind(fd, (struct sockaddr *)&here, socket_address(&r->local, &here)) < 0)
		return -1;
	trailer->large = 0;
	if (send_one(fd, protocol, family, INNER_SMALL, trailer,
		     (struct sockaddr *)&there, length) < 0)
		return -1;
	if (to->family == AF_INET6)
		return 0;
	trailer->large = 1;
	setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &cut, sizeof(cut));
	return send_one(fd, protocol, family, mtu < INNER_BYTES ? mtu : INNER_BYTES,
			trailer, (struct sockaddr *)&there, length);
}

int kat_redirect_probe_send(struct katamaran_ctx *ctx, const struct kat_redirect *r,
			    const struct kat_tunnel *const *tunnels, size_t count,
			    const struct kat_addr *to, uint32_t mtu)
{
	const char *number = katamaran_learn(ctx, "probe");
	int protocols[2 * KAT_REDIRECT_TUNNELS], families[2 * KAT_REDIRECT_TUNNELS];
	struct trailer trailer = {.mark = htonl(MARK)};
	size_t kinds = 0;

	/* A kind is what the other end can tell apart: the protocol. */
	for (size_t i = 0; i < count && i < r->count; i++) {
		int protocol = protocol_of(tunnels[i], r->ips[i].addr.family);
		size_t k = 0;

		while (k < kinds && protocols[k] != protocol)
			k++;
		if (k < kinds || k == 2 * KAT_REDIRECT_TUNNELS)
			continue;
		families[kinds] = r->ips[i].addr.family;
		protocols[kinds++] = protocol;
	}
	trailer.number = htons((uint16_t)atoi(number ? number : "0"));
	trailer.kinds = (uint8_t)kinds;
	for (size_t k = 0; k < kinds; k++)
		if (send_kind(r, protocols[k], families[k], &trailer, to, mtu) < 0)
			return -1;
	return 0;
}
