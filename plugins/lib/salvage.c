/* SPDX-License-Identifier: BSD-2-Clause */
#define KATAMARAN_API_VERSION 1
#include "plugins/lib/salvage.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <time.h>
#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include "plugins/lib/offload.h"

/* A tap's ring of full packets, with what the kernel needs for each. */
#define SEND_BUFFER (16 << 20)
/* Of the GRE header, RFC 2784 and 2890. */
#define GRE_KEY 0x2000
/* When the line cannot take more, or somebody on the way has complained. */
#define PAUSE_NS   100000
#define COMPLAINTS 3

int kat_salvage_open(struct kat_salvage *s, const struct kat_redirect *r)
{
	s->exits[0].fd = s->exits[1].fd = -1;
	s->ips = r->ips;
	s->count = r->count;
	s->frame = malloc(KAT_OFFLOAD_FRAME);
	s->segment = malloc(KAT_OFFLOAD_PACKET);
	return s->frame && s->segment ? 0 : -1;
}

void kat_salvage_close(struct kat_salvage *s)
{
	for (size_t i = 0; s->frame && i < 2; i++)
		if (s->exits[i].fd >= 0)
			close(s->exits[i].fd);
	free(s->frame);
	free(s->segment);
	s->frame = s->segment = NULL;
	s->ready = false;
}

static struct kat_exit *exit_of(struct kat_salvage *s, int family)
{
	return &s->exits[family == AF_INET6];
}

static socklen_t make_sockaddr(struct sockaddr_storage *to, const struct kat_addr *addr)
{
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)to;
	struct sockaddr_in *four = (struct sockaddr_in *)to;

	memset(to, 0, sizeof(*to));
	to->ss_family = (sa_family_t)addr->family;
	if (addr->family == AF_INET6) {
		memcpy(&six->sin6_addr, addr->bytes, sizeof(six->sin6_addr));
		return sizeof(*six);
	}
	memcpy(&four->sin_addr, addr->bytes, sizeof(four->sin_addr));
	return sizeof(*four);
}

/*
 * Outer packets may be cut, as the tunnel's are; a queue that drops them shall
 * say so (raw_sendmsg() tells ENOBUFS only with RECVERR); and what the other
 * node sends by this protocol is none of ours.
 */
static int set_options(int fd, int family)
{
	struct sock_filter none = BPF_STMT(BPF_RET | BPF_K, 0);
	struct sock_fprog filter = {.len = 1, .filter = &none};
	int level = family == AF_INET6 ? IPPROTO_IPV6 : IPPROTO_IP;
	int discover = family == AF_INET6 ? IPV6_PMTUDISC_DONT : IP_PMTUDISC_DONT;
	int on = 1, room = SEND_BUFFER;

	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room)) < 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)) < 0)
		return -1;
	if (family == AF_PACKET)
		return 0;
	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter)) < 0 ||
	    setsockopt(fd, level, family == AF_INET6 ? IPV6_RECVERR : IP_RECVERR, &on,
		       sizeof(on)) < 0)
		return -1;
	return setsockopt(fd, level,
			  family == AF_INET6 ? IPV6_MTU_DISCOVER : IP_MTU_DISCOVER,
			  &discover, sizeof(discover));
}

static void put_gre(struct kat_exit *e, int family, const struct kat_encap *encap)
{
	uint16_t flags = htons(encap->flags ? GRE_KEY : 0);
	uint16_t protocol = htons(family == AF_INET6 ? ETH_P_IPV6 : ETH_P_IP);
	uint32_t key = htonl((uint32_t)encap->id);

	memcpy(e->front, &flags, 2);
	memcpy(e->front + 2, &protocol, 2);
	memcpy(e->front + 4, &key, 4);
	e->front_length = encap->flags ? 8 : 4;
}

int kat_salvage_by_tunnel(struct kat_salvage *s, int family,
			  const struct kat_tunnel *tunnel, const struct kat_encap *encap)
{
	int protocol = family == AF_INET6 ? IPPROTO_IPV6 : IPPROTO_IPIP;
	struct kat_exit *e = exit_of(s, family);
	struct sockaddr_storage at;
	socklen_t size;

	if (e->fd >= 0)
		return 0;
	if (tunnel->keyed) {
		protocol = IPPROTO_GRE;
		put_gre(e, family, encap);
	}
	e->fd = socket(encap->to.family, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK,
		       protocol);
	if (e->fd < 0 || set_options(e->fd, encap->to.family) < 0)
		return -1;
	if (encap->from.family) {
		size = make_sockaddr(&at, &encap->from);
		if (bind(e->fd, (struct sockaddr *)&at, size) < 0)
			return -1;
	}
	size = make_sockaddr(&at, &encap->to);
	return connect(e->fd, (struct sockaddr *)&at, size);
}

int kat_salvage_by_segment(struct kat_salvage *s, const struct kat_segment *segment)
{
	static const uint16_t protocols[] = {ETH_P_IP, ETH_P_IPV6};

	for (size_t i = 0; i < 2; i++) {
		struct kat_exit *e = &s->exits[i];
		uint16_t protocol = htons(protocols[i]);

		memcpy(e->front, segment->peer_mac, ETH_ALEN);
		memcpy(e->front + ETH_ALEN, segment->mac, ETH_ALEN);
		memcpy(e->front + 2 * ETH_ALEN, &protocol, sizeof(protocol));
		e->front_length = ETH_HLEN;
		e->addressed = true;
		e->to.sll_family = AF_PACKET;
		e->to.sll_protocol = protocol;
		e->to.sll_ifindex = segment->link.index;
		/* Without a protocol it receives nothing. */
		if (e->fd < 0)
			e->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK,
				       0);
		if (e->fd < 0 || set_options(e->fd, AF_PACKET) < 0)
			return -1;
	}
	return 0;
}

/* Waits for as long as it is worth while; false: this packet will not go. */
static bool worth_waiting(const struct kat_exit *e, int64_t until_ns, int *complaints)
{
	const struct timespec pause = {.tv_nsec = PAUSE_NS};
	struct pollfd pfd = {.fd = e->fd, .events = POLLOUT};

	if (errno == EMSGSIZE || kat_now_ns() > until_ns)
		return false;
	if (errno == EAGAIN)
		return poll(&pfd, 1, 1) >= 0 || errno == EINTR;
	/* Others are of an earlier packet: an ICMP error.  Each is told once. */
	if (errno != ENOBUFS && errno != EINTR && ++*complaints > COMPLAINTS)
		return false;
	nanosleep(&pause, NULL);
	return true;
}

static bool send_packet(struct kat_exit *e, const uint8_t *packet, size_t length,
			int64_t until_ns)
{
	struct iovec parts[] = {
		{.iov_base = e->front, .iov_len = e->front_length},
		{.iov_base = (void *)(uintptr_t)packet, .iov_len = length},
	};
	struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
	int complaints = 0;

	if (e->addressed) {
		message.msg_name = &e->to;
		message.msg_namelen = sizeof(e->to);
	}
	while (sendmsg(e->fd, &message, 0) < 0)
		if (!worth_waiting(e, until_ns, &complaints))
			return false;
	return true;
}

static bool pass_on(struct kat_salvage *s, int family, const uint8_t *packet,
		    size_t length, int64_t until_ns)
{
	if (s->give)
		return s->give(s->ctx, packet, length) == 0;
	return send_packet(exit_of(s, family), packet, length, until_ns);
}

static bool is_guests(const struct kat_salvage *s, const struct kat_offload *o)
{
	const uint8_t *to = kat_offload_destination(o);

	for (size_t i = 0; i < s->count; i++)
		if (s->ips[i].addr.family == o->family &&
		    !memcmp(s->ips[i].addr.bytes, to, kat_addr_bytes(&s->ips[i].addr)))
			return true;
	return false;
}

/* Whether the packet was for one host alone, and not by a link-local address. */
static bool is_unicast(const uint8_t *frame, const struct kat_offload *o)
{
	struct in6_addr to; /* which is at no even place in a frame */

	if (frame[0] & 1)
		return false;
	if (o->family == AF_INET)
		return true;
	memcpy(&to, kat_offload_destination(o), sizeof(to));
	return !IN6_IS_ADDR_LINKLOCAL(&to);
}

static void take_frame(struct kat_salvage *s, size_t length,
		       const struct kat_tap_header *h, int64_t until_ns,
		       struct kat_salvaged *found)
{
	size_t before = h->before + h->virtio;
	const uint8_t *packet;
	struct kat_offload o;
	bool unicast;
	size_t size;
	int ret;

	if (length < before)
		return;
	ret = kat_offload_begin(&o, s->frame + h->before, length - h->before, h->virtio,
				h->little_endian);
	if (ret < 0)
		found->lost++;
	if (ret <= 0)
		return;
	unicast = is_unicast(s->frame + before, &o);
	if (s->count ? !is_guests(s, &o) : !unicast) {
		found->strange += unicast;
		return;
	}
	while ((packet = kat_offload_next(&o, s->segment, &size))) {
		if (pass_on(s, o.family, packet, size, until_ns))
			found->sent++;
		else
			found->lost++;
	}
}

int kat_salvage_queue(struct kat_salvage *s, int fd, int64_t until_ns,
		      struct kat_salvaged *found)
{
	struct kat_tap_header header;
	ssize_t n;

	if (kat_tap_header(fd, &header) < 0)
		return -1;
	/* QEMU has it so; were it otherwise, nobody but a packet could wake us. */
	if (!(fcntl(fd, F_GETFL) & O_NONBLOCK)) {
		errno = ENOTSUP;
		return -1;
	}
	for (;;) {
		n = read(fd, s->frame, KAT_OFFLOAD_FRAME);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			/* The guest has switched this queue off: nothing is in it. */
			return errno == EAGAIN || errno == EBADFD ? 0 : -1;
		take_frame(s, (size_t)n, &header, until_ns, found);
		if (kat_now_ns() > until_ns)
			return 1;
	}
}
