/* SPDX-License-Identifier: BSD-2-Clause */
#include "plugins/lib/rtnl.h"

#include <errno.h>
#include <string.h>
#include <linux/fib_rules.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/if_tunnel.h>
#include <linux/ip.h>
#include <linux/lwtunnel.h>
#include <linux/netconf.h>
#include <linux/rtnetlink.h>

/* ALTIFNAMSIZ of the kernel. */
#define ALTNAME_BYTES 128

static void put_addr(struct nlmsghdr *nlh, uint16_t type, const struct kat_addr *addr)
{
	mnl_attr_put(nlh, type, kat_addr_bytes(addr), addr->bytes);
}

void *kat_msg_start(struct nlmsghdr *nlh, uint16_t type, uint16_t flags, size_t size)
{
	mnl_nlmsg_put_header(nlh);
	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = NLM_F_REQUEST | flags;
	return mnl_nlmsg_put_extra_header(nlh, size);
}

static struct ifinfomsg *start_link(struct nlmsghdr *nlh, uint16_t type, uint16_t flags,
				    int index)
{
	struct ifinfomsg *ifi = kat_msg_start(nlh, type, flags, sizeof(*ifi));

	ifi->ifi_index = index;
	return ifi;
}

void kat_msg_tunnel_add(struct nlmsghdr *nlh, const char *kind, const char *name,
			uint16_t metadata)
{
	struct nlattr *info, *data;

	start_link(nlh, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, 0);
	mnl_attr_put_strz(nlh, IFLA_IFNAME, name);
	info = mnl_attr_nest_start(nlh, IFLA_LINKINFO);
	mnl_attr_put_strz(nlh, IFLA_INFO_KIND, kind);
	data = mnl_attr_nest_start(nlh, IFLA_INFO_DATA);
	mnl_attr_put(nlh, metadata, 0, NULL);
	mnl_attr_nest_end(nlh, data);
	mnl_attr_nest_end(nlh, info);
}

void kat_msg_link_up(struct nlmsghdr *nlh, int index, uint32_t mtu)
{
	struct ifinfomsg *ifi = start_link(nlh, RTM_NEWLINK, 0, index);

	ifi->ifi_flags = ifi->ifi_change = IFF_UP;
	if (mtu)
		mnl_attr_put_u32(nlh, IFLA_MTU, mtu);
}

void kat_msg_link_txqlen(struct nlmsghdr *nlh, int index, uint32_t packets)
{
	start_link(nlh, RTM_NEWLINK, 0, index);
	mnl_attr_put_u32(nlh, IFLA_TXQLEN, packets);
}

void kat_msg_link_netconf(struct nlmsghdr *nlh, int index, int forwarding, int rp_filter)
{
	struct nlattr *spec, *inet, *conf;

	start_link(nlh, RTM_SETLINK, 0, index);
	spec = mnl_attr_nest_start(nlh, IFLA_AF_SPEC);
	inet = mnl_attr_nest_start(nlh, AF_INET);
	conf = mnl_attr_nest_start(nlh, IFLA_INET_CONF);
	if (forwarding >= 0)
		mnl_attr_put_u32(nlh, IPV4_DEVCONF_FORWARDING, (uint32_t)forwarding);
	if (rp_filter >= 0)
		mnl_attr_put_u32(nlh, IPV4_DEVCONF_RP_FILTER, (uint32_t)rp_filter);
	mnl_attr_nest_end(nlh, conf);
	mnl_attr_nest_end(nlh, inet);
	mnl_attr_nest_end(nlh, spec);
}

void kat_msg_link_delete(struct nlmsghdr *nlh, int index)
{
	start_link(nlh, RTM_DELLINK, 0, index);
}

void kat_msg_link_get(struct nlmsghdr *nlh, int index)
{
	start_link(nlh, RTM_GETLINK, 0, index);
}

void kat_msg_altname(struct nlmsghdr *nlh, uint16_t type, int index, const char *altname)
{
	uint16_t flags =
		type == RTM_NEWLINKPROP ? NLM_F_CREATE | NLM_F_EXCL | NLM_F_APPEND : 0;
	struct nlattr *list;

	start_link(nlh, type, flags, index);
	list = mnl_attr_nest_start(nlh, IFLA_PROP_LIST);
	mnl_attr_put_strz(nlh, IFLA_ALT_IFNAME, altname);
	mnl_attr_nest_end(nlh, list);
}

void kat_msg_dummy_address(struct nlmsghdr *nlh, uint16_t type, int index)
{
	struct ifaddrmsg *ifa;

	ifa = kat_msg_start(nlh, type,
			    type == RTM_NEWADDR ? NLM_F_CREATE | NLM_F_EXCL : 0,
			    sizeof(*ifa));
	ifa->ifa_family = AF_INET;
	ifa->ifa_prefixlen = 32;
	ifa->ifa_scope = RT_SCOPE_HOST;
	ifa->ifa_index = (uint32_t)index;
	mnl_attr_put_u32(nlh, IFA_LOCAL, htonl(KAT_DUMMY_IPV4));
	mnl_attr_put_u32(nlh, IFA_ADDRESS, htonl(KAT_DUMMY_IPV4));
}

void kat_msg_rule(struct nlmsghdr *nlh, uint16_t type, const struct kat_addr *to,
		  uint32_t priority, uint32_t table)
{
	struct fib_rule_hdr *rule;

	rule = kat_msg_start(nlh, type,
			     type == RTM_NEWRULE ? NLM_F_CREATE | NLM_F_EXCL : 0,
			     sizeof(*rule));
	rule->family = (uint8_t)to->family;
	rule->dst_len = (uint8_t)kat_addr_bits(to);
	rule->table = table < 256 ? (uint8_t)table : RT_TABLE_UNSPEC;
	rule->action = FR_ACT_TO_TBL;
	put_addr(nlh, FRA_DST, to);
	mnl_attr_put_u32(nlh, FRA_PRIORITY, priority);
	mnl_attr_put_u32(nlh, FRA_TABLE, table);
	mnl_attr_put_u8(nlh, FRA_PROTOCOL, KAT_RTPROT);
}

static void put_encap(struct nlmsghdr *nlh, const struct kat_encap *encap)
{
	bool six = encap->to.family == AF_INET6;
	struct nlattr *nest;

	mnl_attr_put_u16(nlh, RTA_ENCAP_TYPE,
			 six ? LWTUNNEL_ENCAP_IP6 : LWTUNNEL_ENCAP_IP);
	nest = mnl_attr_nest_start(nlh, RTA_ENCAP);
	mnl_attr_put_u64(nlh, LWTUNNEL_IP_ID, htobe64(encap->id));
	put_addr(nlh, LWTUNNEL_IP_DST, &encap->to);
	if (encap->from.family)
		put_addr(nlh, LWTUNNEL_IP_SRC, &encap->from);
	/* Numbers 1 to 6 mean the same in enum lwtunnel_ip6_t. */
	mnl_attr_put_u8(nlh, LWTUNNEL_IP_TTL, encap->ttl);
	if (encap->flags)
		mnl_attr_put_u16(nlh, LWTUNNEL_IP_FLAGS, htons(encap->flags));
	mnl_attr_nest_end(nlh, nest);
}

void kat_msg_route(struct nlmsghdr *nlh, uint16_t type, const struct kat_route *route,
		   const struct kat_encap *encap)
{
	struct rtmsg *rtm;

	rtm = kat_msg_start(nlh, type,
			    type == RTM_NEWROUTE ? NLM_F_CREATE | NLM_F_REPLACE : 0,
			    sizeof(*rtm));
	rtm->rtm_family = (uint8_t)route->to.family;
	rtm->rtm_dst_len = (uint8_t)kat_addr_bits(&route->to);
	rtm->rtm_table = route->table < 256 ? (uint8_t)route->table : RT_TABLE_UNSPEC;
	rtm->rtm_protocol = KAT_RTPROT;
	rtm->rtm_scope = route->to.family == AF_INET ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
	rtm->rtm_type = RTN_UNICAST;
	put_addr(nlh, RTA_DST, &route->to);
	mnl_attr_put_u32(nlh, RTA_TABLE, route->table);
	if (route->oif)
		mnl_attr_put_u32(nlh, RTA_OIF, (uint32_t)route->oif);
	if (route->mtu) {
		struct nlattr *metrics = mnl_attr_nest_start(nlh, RTA_METRICS);

		mnl_attr_put_u32(nlh, RTAX_MTU, route->mtu);
		mnl_attr_nest_end(nlh, metrics);
	}
	if (encap)
		put_encap(nlh, encap);
}

const struct nlattr *kat_attr_in(const struct nlattr *nest, uint16_t type, size_t least)
{
	const struct nlattr *attr;

	mnl_attr_for_each_nested (attr, nest)
		if (mnl_attr_get_type(attr) == type)
			return mnl_attr_get_payload_len(attr) >= least ? attr : NULL;
	return NULL;
}

const struct nlattr *kat_attr(const struct nlmsghdr *nlh, size_t header, uint16_t type,
			      size_t least)
{
	const struct nlattr *attr;

	mnl_attr_for_each (attr, nlh, header)
		if (mnl_attr_get_type(attr) == type)
			return mnl_attr_get_payload_len(attr) >= least ? attr : NULL;
	return NULL;
}

static uint32_t find_u32(const struct nlmsghdr *nlh, size_t header, uint16_t type)
{
	const struct nlattr *attr = kat_attr(nlh, header, type, sizeof(uint32_t));

	return attr ? mnl_attr_get_u32(attr) : 0;
}

static void copy_name(char name[IFNAMSIZ], const struct nlattr *attr)
{
	size_t length = attr ? mnl_attr_get_payload_len(attr) : 0;

	if (length >= IFNAMSIZ)
		length = IFNAMSIZ - 1;
	memset(name, 0, IFNAMSIZ);
	if (length)
		memcpy(name, mnl_attr_get_payload(attr), length);
}

static void read_linkinfo(struct kat_link *link, const struct nlattr *info)
{
	const struct nlattr *data;
	uint16_t metadata;

	copy_name(link->kind, kat_attr_in(info, IFLA_INFO_KIND, 1));
	data = kat_attr_in(info, IFLA_INFO_DATA, 0);
	if (!data)
		return;
	if (!strcmp(link->kind, "ipip") || !strcmp(link->kind, "sit") ||
	    !strcmp(link->kind, "ip6tnl"))
		metadata = IFLA_IPTUN_COLLECT_METADATA;
	else if (!strncmp(link->kind, "gre", 3) || !strncmp(link->kind, "ip6gre", 6))
		metadata = IFLA_GRE_COLLECT_METADATA;
	else
		return;
	link->external = kat_attr_in(data, metadata, 0) != NULL;
}

int kat_link_read(const struct nlmsghdr *nlh, void *data)
{
	const struct ifinfomsg *ifi = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *attr;
	struct kat_link *link = data;

	if (nlh->nlmsg_type != RTM_NEWLINK)
		return MNL_CB_OK;
	memset(link, 0, sizeof(*link));
	link->index = ifi->ifi_index;
	link->flags = ifi->ifi_flags;
	copy_name(link->name, kat_attr(nlh, sizeof(*ifi), IFLA_IFNAME, 1));
	link->mtu = find_u32(nlh, sizeof(*ifi), IFLA_MTU);
	link->txqlen = find_u32(nlh, sizeof(*ifi), IFLA_TXQLEN);
	link->queues = find_u32(nlh, sizeof(*ifi), IFLA_NUM_TX_QUEUES);
	link->master = (int)find_u32(nlh, sizeof(*ifi), IFLA_MASTER);
	attr = kat_attr(nlh, sizeof(*ifi), IFLA_LINKINFO, 0);
	if (attr)
		read_linkinfo(link, attr);
	/* The first eight members are as old as the structure. */
	attr = kat_attr(nlh, sizeof(*ifi), IFLA_STATS64, 8 * sizeof(uint64_t));
	if (attr) {
		struct rtnl_link_stats64 stats = {0};

		memcpy(&stats, mnl_attr_get_payload(attr), 8 * sizeof(uint64_t));
		link->rx_packets = stats.rx_packets;
		link->rx_dropped = stats.rx_dropped;
		link->tx_packets = stats.tx_packets;
		link->tx_errors = stats.tx_errors;
		link->tx_dropped = stats.tx_dropped;
	}
	return MNL_CB_OK;
}

int kat_link_get(struct kat_nl *nl, const char *name, int index, struct kat_link *link,
		 int64_t deadline_ns)
{
	union kat_nl_message m;

	kat_msg_link_get(&m.header, name ? 0 : index);
	if (name)
		mnl_attr_put_strz(&m.header,
				  strlen(name) < IFNAMSIZ ? IFLA_IFNAME : IFLA_ALT_IFNAME,
				  name);
	memset(link, 0, sizeof(*link));
	return kat_nl_talk(nl, &m.header, kat_link_read, link, deadline_ns);
}

struct altnames {
	const char *prefix, *except;
	char *found;
	bool own;
	unsigned int count;
};

static int count_altnames(const struct nlmsghdr *nlh, void *data)
{
	struct altnames *names = data;
	const struct nlattr *list, *attr;

	if (nlh->nlmsg_type != RTM_NEWLINK)
		return MNL_CB_OK;
	list = kat_attr(nlh, sizeof(struct ifinfomsg), IFLA_PROP_LIST, 0);
	if (!list)
		return MNL_CB_OK;
	mnl_attr_for_each_nested (attr, list) {
		if (mnl_attr_get_type(attr) != IFLA_ALT_IFNAME ||
		    mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) < 0)
			continue;
		if (!strcmp(mnl_attr_get_str(attr), names->except))
			names->own = true;
		else if (!strncmp(mnl_attr_get_str(attr), names->prefix,
				  strlen(names->prefix)))
			names->count++;
	}
	return MNL_CB_OK;
}

int kat_link_altnames(struct kat_nl *nl, int index, const char *prefix,
		      const char *except, bool *own, unsigned int *count,
		      int64_t deadline_ns)
{
	struct altnames names = {.prefix = prefix, .except = except};
	union kat_nl_message m;
	int ret;

	kat_msg_link_get(&m.header, index);
	ret = kat_nl_talk(nl, &m.header, count_altnames, &names, deadline_ns);
	*own = names.own;
	*count = names.count;
	return ret;
}

static int find_altname(const struct nlmsghdr *nlh, void *data)
{
	const struct nlattr *list, *attr;
	struct altnames *names = data;

	list = kat_attr(nlh, sizeof(struct ifinfomsg), IFLA_PROP_LIST, 0);
	if (nlh->nlmsg_type != RTM_NEWLINK || !list)
		return MNL_CB_OK;
	mnl_attr_for_each_nested (attr, list)
		if (!names->found[0] && mnl_attr_get_type(attr) == IFLA_ALT_IFNAME &&
		    mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) == 0 &&
		    mnl_attr_get_payload_len(attr) <= ALTNAME_BYTES &&
		    !strncmp(mnl_attr_get_str(attr), names->prefix,
			     strlen(names->prefix)))
			strcpy(names->found, mnl_attr_get_str(attr));
	return MNL_CB_OK;
}

int kat_link_altname_find(struct kat_nl *nl, int index, const char *prefix, char *name,
			  int64_t deadline_ns)
{
	struct altnames names = {.prefix = prefix, .found = name};
	union kat_nl_message m;

	name[0] = 0;
	kat_msg_link_get(&m.header, index);
	return kat_nl_talk(nl, &m.header, find_altname, &names, deadline_ns);
}

struct external {
	const char *kind;
	struct kat_link *link;
};

static int pick_external(const struct nlmsghdr *nlh, void *data)
{
	struct external *want = data;
	struct kat_link link = {0};

	kat_link_read(nlh, &link);
	if (!want->link->index && link.external && !strcmp(link.kind, want->kind))
		*want->link = link;
	return MNL_CB_OK;
}

int kat_link_external(struct kat_nl *nl, const char *kind, struct kat_link *link,
		      int64_t deadline_ns)
{
	struct external want = {.kind = kind, .link = link};
	union kat_nl_message m;

	memset(link, 0, sizeof(*link));
	kat_msg_link_get(&m.header, 0);
	return kat_nl_dump(nl, &m.header, pick_external, &want, deadline_ns);
}

static int see_address(const struct nlmsghdr *nlh, void *has)
{
	*(bool *)has |= nlh->nlmsg_type == RTM_NEWADDR;
	return MNL_CB_OK;
}

int kat_link_has_ipv4(struct kat_nl *nl, int index, bool *has, int64_t deadline_ns)
{
	union kat_nl_message m;
	struct ifaddrmsg *ifa = kat_msg_start(&m.header, RTM_GETADDR, 0, sizeof(*ifa));

	ifa->ifa_family = AF_INET;
	ifa->ifa_index = (uint32_t)index;
	*has = false;
	return kat_nl_dump(nl, &m.header, see_address, has, deadline_ns);
}

static int see_global(const struct nlmsghdr *nlh, void *has)
{
	const struct ifaddrmsg *ifa = mnl_nlmsg_get_payload(nlh);

	*(bool *)has |=
		nlh->nlmsg_type == RTM_NEWADDR && ifa->ifa_scope == RT_SCOPE_UNIVERSE;
	return MNL_CB_OK;
}

int kat_address_global(struct kat_nl *nl, int family, bool *has, int64_t deadline_ns)
{
	union kat_nl_message m;
	struct ifaddrmsg *ifa = kat_msg_start(&m.header, RTM_GETADDR, 0, sizeof(*ifa));

	ifa->ifa_family = (uint8_t)family;
	*has = false;
	return kat_nl_dump(nl, &m.header, see_global, has, deadline_ns);
}

static int read_netconf(const struct nlmsghdr *nlh, void *data)
{
	struct kat_netconf *conf = data;

	if (nlh->nlmsg_type != RTM_NEWNETCONF)
		return MNL_CB_OK;
	conf->forwarding =
		(int)find_u32(nlh, sizeof(struct netconfmsg), NETCONFA_FORWARDING);
	conf->rp_filter =
		(int)find_u32(nlh, sizeof(struct netconfmsg), NETCONFA_RP_FILTER);
	return MNL_CB_OK;
}

static int get_netconf(struct kat_nl *nl, int family, int index, struct kat_netconf *conf,
		       int64_t deadline_ns)
{
	union kat_nl_message m;
	struct netconfmsg *ncm =
		kat_msg_start(&m.header, RTM_GETNETCONF, 0, sizeof(*ncm));

	ncm->ncm_family = (uint8_t)family;
	mnl_attr_put_u32(&m.header, NETCONFA_IFINDEX, (uint32_t)index);
	memset(conf, 0, sizeof(*conf));
	return kat_nl_talk(nl, &m.header, read_netconf, conf, deadline_ns);
}

int kat_netconf_get(struct kat_nl *nl, int index, struct kat_netconf *conf,
		    int64_t deadline_ns)
{
	return get_netconf(nl, AF_INET, index, conf, deadline_ns);
}

int kat_forwarding_get(struct kat_nl *nl, int family, bool *on, int64_t deadline_ns)
{
	struct kat_netconf conf;

	*on = false;
	if (get_netconf(nl, family, NETCONFA_IFINDEX_ALL, &conf, deadline_ns) < 0)
		return -1;
	*on = conf.forwarding != 0;
	return 0;
}

static int read_way(const struct nlmsghdr *nlh, void *data)
{
	const struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *metrics, *via;
	struct kat_way *way = data;

	if (nlh->nlmsg_type != RTM_NEWROUTE)
		return MNL_CB_OK;
	way->type = rtm->rtm_type;
	way->oif = (int)find_u32(nlh, sizeof(*rtm), RTA_OIF);
	way->via.family = rtm->rtm_family;
	via = kat_attr(nlh, sizeof(*rtm), RTA_GATEWAY, kat_addr_bytes(&way->via));
	if (via)
		memcpy(way->via.bytes, mnl_attr_get_payload(via),
		       kat_addr_bytes(&way->via));
	else
		way->via.family = 0;
	way->gateway = via || kat_attr(nlh, sizeof(*rtm), RTA_VIA, 0);
	metrics = kat_attr(nlh, sizeof(*rtm), RTA_METRICS, 0);
	if (metrics) {
		const struct nlattr *mtu =
			kat_attr_in(metrics, RTAX_MTU, sizeof(uint32_t));

		way->mtu = mtu ? mnl_attr_get_u32(mtu) : 0;
	}
	return MNL_CB_OK;
}

int kat_way_get(struct kat_nl *nl, const struct kat_addr *to, struct kat_way *way,
		int64_t deadline_ns)
{
	union kat_nl_message m;
	struct rtmsg *rtm = kat_msg_start(&m.header, RTM_GETROUTE, 0, sizeof(*rtm));

	rtm->rtm_family = (uint8_t)to->family;
	rtm->rtm_dst_len = (uint8_t)kat_addr_bits(to);
	put_addr(&m.header, RTA_DST, to);
	memset(way, 0, sizeof(*way));
	return kat_nl_talk(nl, &m.header, read_way, way, deadline_ns);
}

int kat_way_out(struct kat_nl *nl, int family, struct kat_way *way, int64_t deadline_ns)
{
	struct kat_addr far;

	kat_addr_parse(family == AF_INET6 ? "2001:db8::1" : "192.0.2.1", &far);
	return kat_way_get(nl, &far, way, deadline_ns);
}

struct hosts {
	const struct kat_addr *to;
	uint32_t table;
	mnl_cb_t cb;
	void *data;
};

static int pick_host(const struct nlmsghdr *nlh, void *data)
{
	const struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);
	const struct hosts *hosts = data;
	const struct nlattr *dst;
	uint32_t table;

	if (nlh->nlmsg_type != RTM_NEWROUTE || rtm->rtm_family != hosts->to->family ||
	    rtm->rtm_dst_len != kat_addr_bits(hosts->to))
		return MNL_CB_OK;
	table = find_u32(nlh, sizeof(*rtm), RTA_TABLE);
	if ((table ? table : rtm->rtm_table) != hosts->table)
		return MNL_CB_OK;
	dst = kat_attr(nlh, sizeof(*rtm), RTA_DST, kat_addr_bytes(hosts->to));
	if (!dst || memcmp(mnl_attr_get_payload(dst), hosts->to->bytes,
			   kat_addr_bytes(hosts->to)) != 0)
		return MNL_CB_OK;
	return hosts->cb(nlh, hosts->data);
}

int kat_route_hosts(struct kat_nl *nl, const struct kat_addr *to, uint32_t table,
		    mnl_cb_t cb, void *data, int64_t deadline_ns)
{
	struct hosts hosts = {.to = to, .table = table, .cb = cb, .data = data};
	union kat_nl_message m;
	struct rtmsg *rtm = kat_msg_start(&m.header, RTM_GETROUTE, 0, sizeof(*rtm));

	rtm->rtm_family = (uint8_t)to->family;
	mnl_attr_put_u32(&m.header, RTA_TABLE, table);
	/* A table that nobody has used yet does not exist: ENOENT. */
	if (kat_nl_dump(nl, &m.header, pick_host, &hosts, deadline_ns) < 0 &&
	    errno != ENOENT)
		return -1;
	return 0;
}
