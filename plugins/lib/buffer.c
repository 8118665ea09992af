/* SPDX-License-Identifier: BSD-2-Clause */
#define KATAMARAN_API_VERSION 1
#include "plugins/lib/buffer.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <linux/ethtool.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>

#define MIB 1048576u

/* What a plug holds at least, and its smallest value by option. */
#define LEAST_BYTES  (64u * MIB)
#define OPTION_BYTES 65536
/* A link whose rate nobody tells: the fastest that is common. */
#define ASSUMED_MBIT 10000
/* The redirect stands up to one of QEMU's windows before the guest stops. */
#define WINDOW_MS 100
/* A blackout that is longer than it was aimed at by so much is still held. */
#define FACTOR 4
/* A plug takes no more than this part of the node's memory. */
#define MEMORY_PART 8

/* ETHTOOL_GSET's successor, ETHTOOL_GLINKSETTINGS; 0: the device does not tell. */
static uint64_t rate_of(const char *device)
{
	/* Up to three masks follow; the first answer is how many words, negated. */
	union {
		struct ethtool_link_settings head;
		uint32_t room[sizeof(struct ethtool_link_settings) / 4 + 3 * 127];
	} ask = {.head = {.cmd = ETHTOOL_GLINKSETTINGS}};
	kat_cleanup_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq request = {.ifr_data = (void *)&ask};

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", device);
	if (fd < 0 || ioctl(fd, SIOCETHTOOL, &request) < 0 ||
	    ask.head.link_mode_masks_nwords >= 0)
		return 0;
	ask.head.cmd = ETHTOOL_GLINKSETTINGS;
	ask.head.link_mode_masks_nwords = (int8_t)-ask.head.link_mode_masks_nwords;
	if (ioctl(fd, SIOCETHTOOL, &request) < 0 ||
	    ask.head.speed == (uint32_t)SPEED_UNKNOWN)
		return 0;
	return ask.head.speed;
}

struct owner {
	struct kat_addr addr;
	int index;
};

static int see_owner(const struct nlmsghdr *nlh, void *data)
{
	const struct ifaddrmsg *ifa = mnl_nlmsg_get_payload(nlh);
	struct owner *owner = data;
	const struct nlattr *own;

	if (nlh->nlmsg_type != RTM_NEWADDR || ifa->ifa_family != owner->addr.family)
		return MNL_CB_OK;
	own = kat_attr(nlh, sizeof(*ifa), IFA_LOCAL, kat_addr_bytes(&owner->addr));
	if (!own)
		own = kat_attr(nlh, sizeof(*ifa), IFA_ADDRESS,
			       kat_addr_bytes(&owner->addr));
	if (own && !memcmp(mnl_attr_get_payload(own), owner->addr.bytes,
			   kat_addr_bytes(&owner->addr)))
		owner->index = (int)ifa->ifa_index;
	return MNL_CB_OK;
}

int kat_buffer_owner(struct kat_nl *nl, const struct kat_addr *addr, int64_t deadline)
{
	struct owner owner = {.addr = *addr};
	union kat_nl_message m;
	struct ifaddrmsg *ifa;

	ifa = kat_msg_start(&m.header, RTM_GETADDR, 0, sizeof(*ifa));
	ifa->ifa_family = (uint8_t)addr->family;
	return kat_nl_dump(nl, &m.header, see_owner, &owner, deadline) < 0 ? 0
									   : owner.index;
}

/*
 * The device by which the other node reaches this one: that with the address on
 * which QEMU listens, or that of the default route.  Index 0: none is known.
 */
static void find_uplink(struct katamaran_ctx *ctx, struct kat_nl *nl,
			struct kat_link *link)
{
	static const int families[] = {AF_INET, AF_INET6};
	int64_t deadline = katamaran_deadline_ns(ctx);
	const char *listen = katamaran_listen_ip(ctx);
	struct kat_addr addr;
	struct kat_way way;
	int index = 0;

	if (listen && kat_addr_parse(listen, &addr) == 0)
		index = kat_buffer_owner(nl, &addr, deadline);
	for (size_t i = 0; !index && i < 2; i++)
		if (kat_way_out(nl, families[i], &way, deadline) == 0 &&
		    way.type == RTN_UNICAST)
			index = way.oif;
	if (!index || kat_link_get(nl, NULL, index, link, deadline) < 0)
		link->index = 0;
}

/* An eighth of what the node has. */
static uint64_t most_bytes(void)
{
	long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);

	if (pages <= 0 || size <= 0)
		return UINT32_MAX;
	return (uint64_t)pages * (uint64_t)size / MEMORY_PART;
}

/* `ms` 0: as long as the guest may be expected to be away, and then some. */
static void size_by_link(struct katamaran_ctx *ctx, struct kat_nl *nl,
			 struct kat_buffer *buffer, int64_t ms)
{
	uint64_t rate = 0, time = (uint64_t)ms;
	struct kat_link uplink = {.index = 0};
	char text[96];

	find_uplink(ctx, nl, &uplink);
	if (uplink.index)
		rate = rate_of(uplink.name);
	snprintf(text, sizeof(text), "plug_ms = %lld", (long long)ms);
	if (!ms) {
		time = (uint64_t)katamaran_downtime_ms(ctx) + WINDOW_MS;
		snprintf(text, sizeof(text), "%llu ms of blackout are expected, times %d",
			 (unsigned long long)time, FACTOR);
		time *= FACTOR;
	}
	buffer->plug = kat_buffer_bytes(rate ? rate : ASSUMED_MBIT, time,
					ms ? OPTION_BYTES : LEAST_BYTES, most_bytes());
	snprintf(buffer->why, sizeof(buffer->why),
		 "%s %s %llu Mbit/s, %s; %sat most an eighth of the memory",
		 uplink.index ? uplink.name : "the uplink",
		 rate ? "carries" : "does not tell its rate, assumed are",
		 (unsigned long long)(rate ? rate : ASSUMED_MBIT), text,
		 ms ? "" : "at least 64 MiB, ");
}

int kat_buffer_size(struct katamaran_ctx *ctx, struct kat_nl *nl,
		    struct kat_buffer *buffer)
{
	int64_t bytes = katamaran_conf_int(ctx, "plug_bytes");
	int64_t ms = katamaran_conf_int(ctx, "plug_ms");
	int64_t ring = katamaran_conf_int(ctx, "ring");

	if (bytes && ms) {
		katamaran_error(ctx, "options plug_bytes and plug_ms: give one of the "
				     "two, they say the same");
		return -1;
	}
	if (bytes && bytes < OPTION_BYTES) {
		katamaran_error(ctx,
				"option plug_bytes = %lld: allowed are 0 (by the rate of "
				"the link) and %d to 4294967295",
				(long long)bytes, OPTION_BYTES);
		return -1;
	}
	if (bytes) {
		buffer->plug = (uint32_t)bytes;
		snprintf(buffer->why, sizeof(buffer->why), "plug_bytes");
	} else {
		size_by_link(ctx, nl, buffer, ms);
	}
	buffer->ring = ring < 0 ? kat_buffer_ring(buffer->plug) : (uint32_t)ring;
	return 0;
}
