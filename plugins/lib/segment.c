/* SPDX-License-Identifier: BSD-2-Clause */
#define KATAMARAN_API_VERSION 1
#include "plugins/lib/segment.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <linux/if_arp.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include "plugins/lib/pin.h"
#include "plugins/lib/redirect.h"

/* How long the peer may take to answer: three requests, a second apart. */
#define RESOLVE_NS 4000000000
#define PAUSE_NS   5000000

struct ether {
	bool is;
	uint8_t mac[6];
};

static int read_ether(const struct nlmsghdr *nlh, void *data)
{
	const struct ifinfomsg *ifi = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *mac = kat_attr(nlh, sizeof(*ifi), IFLA_ADDRESS, 6);
	struct ether *ether = data;

	if (nlh->nlmsg_type != RTM_NEWLINK || ifi->ifi_type != ARPHRD_ETHER || !mac)
		return MNL_CB_OK;
	ether->is = true;
	memcpy(ether->mac, mnl_attr_get_payload(mac), sizeof(ether->mac));
	return MNL_CB_OK;
}

int kat_segment_ethernet(struct katamaran_ctx *ctx, struct kat_nl *nl,
			 const struct kat_link *link, uint8_t mac[6])
{
	struct ether ether = {0};
	union kat_nl_message m;

	kat_msg_link_get(&m.header, link->index);
	if (kat_nl_talk(nl, &m.header, read_ether, &ether, katamaran_deadline_ns(ctx)) <
	    0)
		return kat_redirect_fail(ctx, nl, link->name, "read its address");
	if (!ether.is) {
		katamaran_error(ctx,
				"device %s: is not an Ethernet device; use ipip or gre",
				link->name);
		return -1;
	}
	memcpy(mac, ether.mac, sizeof(ether.mac));
	return 0;
}

static int read_gateway(const struct nlmsghdr *nlh, void *data)
{
	struct kat_addr *gateway = data;
	const struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *attr = kat_attr(nlh, sizeof(*rtm), RTA_GATEWAY, 4);

	if (nlh->nlmsg_type != RTM_NEWROUTE || !attr)
		return MNL_CB_OK;
	gateway->family = rtm->rtm_family;
	if (mnl_attr_get_payload_len(attr) >= kat_addr_bytes(gateway))
		memcpy(gateway->bytes, mnl_attr_get_payload(attr),
		       kat_addr_bytes(gateway));
	return MNL_CB_OK;
}

static int refuse_gateway(struct katamaran_ctx *ctx, struct kat_nl *nl,
			  const struct kat_segment *s)
{
	char peer[INET6_ADDRSTRLEN], text[INET6_ADDRSTRLEN] = "of another family";
	struct kat_addr gateway = {0};
	union kat_nl_message m;
	struct rtmsg *rtm;

	rtm = kat_msg_start(&m.header, RTM_GETROUTE, 0, sizeof(*rtm));
	rtm->rtm_family = (uint8_t)s->peer.family;
	rtm->rtm_dst_len = (uint8_t)kat_addr_bits(&s->peer);
	mnl_attr_put(&m.header, RTA_DST, kat_addr_bytes(&s->peer), s->peer.bytes);
	if (kat_nl_talk(nl, &m.header, read_gateway, &gateway,
			katamaran_deadline_ns(ctx)) == 0 &&
	    gateway.family)
		kat_addr_text(&gateway, text);
	katamaran_error(
		ctx,
		"nftables needs both nodes on one L2 segment: %s is reached through "
		"the gateway %s, use ipip or gre",
		kat_addr_text(&s->peer, peer), text);
	return -1;
}

int kat_segment_find(struct katamaran_ctx *ctx, struct kat_nl *nl, const char *peer,
		     struct kat_segment *s)
{
	int64_t deadline = katamaran_deadline_ns(ctx);
	struct kat_way way;

	if (!peer || kat_addr_parse(peer, &s->peer) < 0) {
		katamaran_error(ctx, "destination %s: is not a numeric address",
				peer ? peer : "(none)");
		return -1;
	}
	if (kat_way_get(nl, &s->peer, &way, deadline) < 0)
		return kat_redirect_fail(ctx, nl, peer,
					 "find the route to the destination");
	if (way.type != RTN_UNICAST) {
		katamaran_error(ctx, "destination %s: is not another node", peer);
		return -1;
	}
	if (way.gateway)
		return refuse_gateway(ctx, nl, s);
	if (kat_link_get(nl, NULL, way.oif, &s->link, deadline) < 0)
		return kat_redirect_fail(ctx, nl, peer, "read the device of its route");
	return kat_segment_ethernet(ctx, nl, &s->link, s->mac);
}

/* Has the kernel ask the peer, which it may know from before. */
static int ask(struct kat_nl *nl, const struct kat_segment *s,
	       const struct kat_neigh *known, int64_t deadline)
{
	bool again = known->has_mac && (known->state & (NUD_STALE | NUD_DELAY));
	union kat_nl_message m;
	struct ndmsg *ndm;

	kat_msg_neigh(&m.header, RTM_NEWNEIGH, s->link.index, &s->peer,
		      again ? known->mac : NULL, again ? NUD_PROBE : NUD_NONE);
	ndm = mnl_nlmsg_get_payload(&m.header);
	if (!again)
		ndm->ndm_flags = NTF_USE;
	return kat_nl_talk(nl, &m.header, NULL, NULL, deadline);
}

int kat_segment_resolve(struct katamaran_ctx *ctx, struct kat_nl *nl,
			struct kat_segment *s)
{
	const uint16_t known = NUD_REACHABLE | NUD_PERMANENT | NUD_NOARP;
	const uint16_t asking = NUD_PROBE | NUD_INCOMPLETE;
	const struct timespec pause = {.tv_nsec = PAUSE_NS};
	int64_t deadline = katamaran_deadline_ns(ctx), end = kat_now_ns() + RESOLVE_NS;
	char text[INET6_ADDRSTRLEN];
	struct kat_neigh neigh;

	kat_addr_text(&s->peer, text);
	do {
		if (kat_neigh_get(nl, s->link.index, &s->peer, &neigh, deadline) < 0)
			return kat_redirect_fail(ctx, nl, text,
						 "read its neighbour entry");
		if (neigh.has_mac && (neigh.state & known)) {
			memcpy(s->peer_mac, neigh.mac, sizeof(s->peer_mac));
			return 0;
		}
		if (!(neigh.state & asking) && ask(nl, s, &neigh, deadline) < 0)
			return kat_redirect_fail(ctx, nl, text, "ask for its MAC");
		nanosleep(&pause, NULL);
	} while (kat_now_ns() < end && katamaran_ms_left(ctx) > 0);
	katamaran_error(ctx, "destination %s: nobody on %s answers for it", text,
			s->link.name);
	return -1;
}
