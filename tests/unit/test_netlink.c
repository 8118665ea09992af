/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The messages that plugins/lib builds, decoded again attribute by attribute,
 * the texts made of the kernel's answers, and one talk with the kernel that
 * needs no privilege.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "plugins/lib/netlink.h"
#include "plugins/lib/pin.h"
#include "plugins/lib/qdisc.h"
#include "plugins/lib/rtnl.h"
#include "plugins/lib/tunnel_kind.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/gen_stats.h>
#include <linux/if_link.h>
#include <linux/if_tunnel.h>
#include <linux/ip.h>
#include <linux/lwtunnel.h>
#include <linux/neighbour.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>

#define SECOND_NS 1000000000

static const uint8_t mac[6] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};

static struct kat_addr address(const char *text)
{
	struct kat_addr addr;

	assert_int_equal(kat_addr_parse(text, &addr), 0);
	return addr;
}

static const struct nlattr *attr(const union kat_nl_message *m, size_t header,
				 uint16_t type)
{
	const struct nlattr *found = kat_attr(&m->header, header, type, 0);

	assert_non_null(found);
	return found;
}

static const struct nlattr *inner(const struct nlattr *nest, uint16_t type)
{
	const struct nlattr *found = kat_attr_in(nest, type, 0);

	assert_non_null(found);
	return found;
}

static void assert_ip(const struct nlattr *found, const char *text)
{
	struct kat_addr addr = address(text);

	assert_int_equal(mnl_attr_get_payload_len(found), kat_addr_bytes(&addr));
	assert_memory_equal(mnl_attr_get_payload(found), addr.bytes,
			    kat_addr_bytes(&addr));
}

static void test_addresses(void **state)
{
	char text[INET6_ADDRSTRLEN];
	struct kat_addr a, b;

	(void)state;
	a = address("10.244.1.5");
	assert_int_equal(a.family, AF_INET);
	assert_int_equal(kat_addr_bits(&a), 32);
	assert_string_equal(kat_addr_text(&a, text), "10.244.1.5");
	b = address("fd00::5");
	assert_int_equal(kat_addr_bits(&b), 128);
	assert_string_equal(kat_addr_text(&b, text), "fd00::5");
	assert_false(kat_addr_equal(&a, &b));
	assert_int_equal(kat_addr_parse("node2", &a), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(kat_addr_parse("10.244.1.5/32", &a), -1);
	assert_int_equal(kat_addr_parse("", &a), -1);
}

static void test_rule(void **state)
{
	struct kat_addr to = address("10.244.1.5");
	const struct fib_rule_hdr *rule;
	union kat_nl_message m;

	(void)state;
	kat_msg_rule(&m.header, RTM_NEWRULE, &to, 10, 27489);
	rule = mnl_nlmsg_get_payload(&m.header);
	assert_int_equal(m.header.nlmsg_type, RTM_NEWRULE);
	assert_int_equal(m.header.nlmsg_flags, NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL);
	assert_int_equal(rule->family, AF_INET);
	assert_int_equal(rule->dst_len, 32);
	assert_int_equal(rule->table, RT_TABLE_UNSPEC);
	assert_int_equal(rule->action, FR_ACT_TO_TBL);
	assert_ip(attr(&m, sizeof(*rule), FRA_DST), "10.244.1.5");
	assert_int_equal(mnl_attr_get_u32(attr(&m, sizeof(*rule), FRA_PRIORITY)), 10);
	assert_int_equal(mnl_attr_get_u32(attr(&m, sizeof(*rule), FRA_TABLE)), 27489);
	assert_int_equal(mnl_attr_get_u8(attr(&m, sizeof(*rule), FRA_PROTOCOL)),
			 KAT_RTPROT);
	kat_msg_rule(&m.header, RTM_DELRULE, &to, 10, 200);
	assert_int_equal(m.header.nlmsg_flags, NLM_F_REQUEST);
	assert_int_equal(rule->table, 200);
}

static void test_route(void **state)
{
	struct kat_route route = {.to = address("10.244.1.5"), .table = 27489, .oif = 7};
	struct kat_encap encap = {.to = address("192.0.2.2"), .ttl = 64};
	const struct nlattr *nest;
	const struct rtmsg *rtm;
	union kat_nl_message m;

	(void)state;
	kat_msg_route(&m.header, RTM_NEWROUTE, &route, &encap);
	rtm = mnl_nlmsg_get_payload(&m.header);
	assert_int_equal(m.header.nlmsg_flags,
			 NLM_F_REQUEST | NLM_F_CREATE | NLM_F_REPLACE);
	assert_int_equal(rtm->rtm_dst_len, 32);
	assert_int_equal(rtm->rtm_protocol, KAT_RTPROT);
	assert_int_equal(rtm->rtm_scope, RT_SCOPE_LINK);
	assert_int_equal(rtm->rtm_type, RTN_UNICAST);
	assert_ip(attr(&m, sizeof(*rtm), RTA_DST), "10.244.1.5");
	assert_int_equal(mnl_attr_get_u32(attr(&m, sizeof(*rtm), RTA_TABLE)), 27489);
	assert_int_equal(mnl_attr_get_u32(attr(&m, sizeof(*rtm), RTA_OIF)), 7);
	assert_int_equal(mnl_attr_get_u16(attr(&m, sizeof(*rtm), RTA_ENCAP_TYPE)),
			 LWTUNNEL_ENCAP_IP);
	nest = attr(&m, sizeof(*rtm), RTA_ENCAP);
	assert_ip(inner(nest, LWTUNNEL_IP_DST), "192.0.2.2");
	assert_int_equal(mnl_attr_get_u8(inner(nest, LWTUNNEL_IP_TTL)), 64);
	assert_int_equal(mnl_attr_get_u64(inner(nest, LWTUNNEL_IP_ID)), 0);
	assert_null(kat_attr_in(nest, LWTUNNEL_IP_SRC, 0));
	assert_null(kat_attr_in(nest, LWTUNNEL_IP_FLAGS, 0));
}

static void test_route_with_a_key(void **state)
{
	struct kat_route route = {.to = address("10.244.1.5"), .table = 200};
	struct kat_encap encap = {
		.to = address("192.0.2.2"),
		.from = address("192.0.2.1"),
		.ttl = 64,
		.flags = 0x0004,
		.id = 0x6b61,
	};
	const struct nlattr *nest;
	const struct rtmsg *rtm;
	union kat_nl_message m;

	(void)state;
	kat_msg_route(&m.header, RTM_NEWROUTE, &route, &encap);
	rtm = mnl_nlmsg_get_payload(&m.header);
	assert_int_equal(rtm->rtm_table, 200);
	nest = attr(&m, sizeof(*rtm), RTA_ENCAP);
	assert_ip(inner(nest, LWTUNNEL_IP_SRC), "192.0.2.1");
	assert_int_equal(mnl_attr_get_u16(inner(nest, LWTUNNEL_IP_FLAGS)), htons(4));
	assert_int_equal(mnl_attr_get_u64(inner(nest, LWTUNNEL_IP_ID)), htobe64(0x6b61));
	kat_msg_route(&m.header, RTM_DELROUTE, &route, NULL);
	assert_int_equal(m.header.nlmsg_flags, NLM_F_REQUEST);
	assert_null(kat_attr(&m.header, sizeof(*rtm), RTA_ENCAP, 0));
	assert_null(kat_attr(&m.header, sizeof(*rtm), RTA_OIF, 0));
}

/* Guest and underlay may be of either family, each on its own. */
static void test_route_of_ipv6(void **state)
{
	struct kat_route route = {
		.to = address("fd00::5"),
		.table = 27489,
		.oif = 7,
		.mtu = 1456,
	};
	struct kat_encap encap = {.to = address("fd50::12"), .ttl = 64};
	const struct nlattr *nest;
	const struct rtmsg *rtm;
	union kat_nl_message m;

	(void)state;
	kat_msg_route(&m.header, RTM_NEWROUTE, &route, &encap);
	rtm = mnl_nlmsg_get_payload(&m.header);
	assert_int_equal(rtm->rtm_family, AF_INET6);
	assert_int_equal(rtm->rtm_dst_len, 128);
	assert_int_equal(rtm->rtm_scope, RT_SCOPE_UNIVERSE);
	assert_ip(attr(&m, sizeof(*rtm), RTA_DST), "fd00::5");
	nest = attr(&m, sizeof(*rtm), RTA_METRICS);
	assert_int_equal(mnl_attr_get_u32(inner(nest, RTAX_MTU)), 1456);
	assert_int_equal(mnl_attr_get_u16(attr(&m, sizeof(*rtm), RTA_ENCAP_TYPE)),
			 LWTUNNEL_ENCAP_IP6);
	nest = attr(&m, sizeof(*rtm), RTA_ENCAP);
	assert_ip(inner(nest, LWTUNNEL_IP6_DST), "fd50::12");
	assert_int_equal(mnl_attr_get_u8(inner(nest, LWTUNNEL_IP6_HOPLIMIT)), 64);
	assert_null(kat_attr_in(nest, LWTUNNEL_IP6_SRC, 0));
	assert_null(kat_attr_in(nest, LWTUNNEL_IP6_FLAGS, 0));
	encap = (struct kat_encap){.to = address("192.0.2.2"), .ttl = 64};
	route.mtu = 0;
	kat_msg_route(&m.header, RTM_NEWROUTE, &route, &encap);
	assert_int_equal(mnl_attr_get_u16(attr(&m, sizeof(*rtm), RTA_ENCAP_TYPE)),
			 LWTUNNEL_ENCAP_IP);
	assert_null(kat_attr(&m.header, sizeof(*rtm), RTA_METRICS, 0));
	/* A device that knows its far end itself. */
	kat_msg_route(&m.header, RTM_NEWROUTE, &route, NULL);
	assert_null(kat_attr(&m.header, sizeof(*rtm), RTA_ENCAP_TYPE, 0));
	kat_msg_rule(&m.header, RTM_NEWRULE, &route.to, 10, 27489);
	assert_ip(attr(&m, sizeof(struct fib_rule_hdr), FRA_DST), "fd00::5");
}

static const struct nlattr *info_data(const union kat_nl_message *m, const char *kind)
{
	const struct nlattr *info = attr(m, sizeof(struct ifinfomsg), IFLA_LINKINFO);

	assert_string_equal(mnl_attr_get_str(inner(info, IFLA_INFO_KIND)), kind);
	return inner(info, IFLA_INFO_DATA);
}

/* Which end of sit a device is shows in its attributes. */
static void test_sit(void **state)
{
	struct kat_addr from = address("192.0.2.1"), to = address("192.0.2.2");
	const struct nlattr *data;
	union kat_nl_message m;

	(void)state;
	kat_msg_sit_add(&m.header, "kat-sitc0000202", &from, &to);
	assert_int_equal(m.header.nlmsg_flags, NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL);
	data = info_data(&m, "sit");
	assert_ip(inner(data, IFLA_IPTUN_REMOTE), "192.0.2.2");
	assert_ip(inner(data, IFLA_IPTUN_LOCAL), "192.0.2.1");
	assert_int_equal(mnl_attr_get_u8(inner(data, IFLA_IPTUN_PMTUDISC)), 0);
	assert_null(kat_attr_in(data, IFLA_IPTUN_TTL, 0));
	assert_null(kat_attr_in(data, IFLA_IPTUN_LINK, 0));
	from.family = 0;
	kat_msg_sit_add(&m.header, "kat-sitc0000202", &from, &to);
	assert_null(kat_attr_in(info_data(&m, "sit"), IFLA_IPTUN_LOCAL, 0));
	kat_msg_sit_add(&m.header, "kat-sit", &from, NULL);
	data = info_data(&m, "sit");
	assert_null(kat_attr_in(data, IFLA_IPTUN_REMOTE, 0));
	assert_int_equal(mnl_attr_get_u32(inner(data, IFLA_IPTUN_LINK)), 1);
	assert_int_equal(mnl_attr_get_u8(inner(data, IFLA_IPTUN_PMTUDISC)), 0);
}

static void test_address_generation(void **state)
{
	size_t header = sizeof(struct ifinfomsg);
	const struct nlattr *inet6;
	union kat_nl_message m;

	(void)state;
	kat_msg_link_addrgen(&m.header, 7, IN6_ADDR_GEN_MODE_NONE);
	assert_int_equal(m.header.nlmsg_type, RTM_SETLINK);
	inet6 = inner(attr(&m, header, IFLA_AF_SPEC), AF_INET6);
	assert_int_equal(mnl_attr_get_u8(inner(inet6, IFLA_INET6_ADDR_GEN_MODE)),
			 IN6_ADDR_GEN_MODE_NONE);
}

static void test_choice_of_tunnel(void **state)
{
	static const struct kat_tunnel table[] = {
		{.guest = AF_INET, .underlay = AF_INET, .kind = "ipip"},
		{.guest = AF_INET6, .underlay = AF_INET, .kind = "sit"},
		{.guest = AF_UNSPEC, .underlay = AF_INET6, .kind = "ip6tnl"},
		{.kind = NULL},
	};

	(void)state;
	assert_string_equal(kat_tunnel_find(table, AF_INET, AF_INET)->kind, "ipip");
	assert_string_equal(kat_tunnel_find(table, AF_INET6, AF_INET)->kind, "sit");
	assert_string_equal(kat_tunnel_find(table, AF_INET, AF_INET6)->kind, "ip6tnl");
	assert_string_equal(kat_tunnel_find(table, AF_INET6, AF_INET6)->kind, "ip6tnl");
	assert_null(kat_tunnel_find(table + 2, AF_INET6, AF_INET));
}

static void test_tunnel(void **state)
{
	const struct nlattr *info, *data;
	union kat_nl_message m;
	struct kat_link link;

	(void)state;
	kat_msg_tunnel_add(&m.header, "ipip", "kat-ipip", IFLA_IPTUN_COLLECT_METADATA);
	assert_int_equal(m.header.nlmsg_type, RTM_NEWLINK);
	assert_int_equal(m.header.nlmsg_flags, NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL);
	assert_string_equal(
		mnl_attr_get_str(attr(&m, sizeof(struct ifinfomsg), IFLA_IFNAME)),
		"kat-ipip");
	info = attr(&m, sizeof(struct ifinfomsg), IFLA_LINKINFO);
	assert_string_equal(mnl_attr_get_str(inner(info, IFLA_INFO_KIND)), "ipip");
	data = inner(info, IFLA_INFO_DATA);
	assert_int_equal(
		mnl_attr_get_payload_len(inner(data, IFLA_IPTUN_COLLECT_METADATA)), 0);
	/* What the kernel tells about a link has the same form. */
	assert_int_equal(kat_link_read(&m.header, &link), MNL_CB_OK);
	assert_string_equal(link.name, "kat-ipip");
	assert_string_equal(link.kind, "ipip");
	assert_true(link.external);
}

static void test_link(void **state)
{
	size_t header = sizeof(struct ifinfomsg);
	const struct nlattr *conf;
	const struct ifinfomsg *ifi;
	union kat_nl_message m;

	(void)state;
	kat_msg_link_up(&m.header, 7, 1500);
	ifi = mnl_nlmsg_get_payload(&m.header);
	assert_int_equal(ifi->ifi_index, 7);
	assert_int_equal(ifi->ifi_flags, IFF_UP);
	assert_int_equal(ifi->ifi_change, IFF_UP);
	assert_int_equal(mnl_attr_get_u32(attr(&m, header, IFLA_MTU)), 1500);
	kat_msg_link_txqlen(&m.header, 7, 16384);
	assert_int_equal(ifi->ifi_change, 0);
	assert_int_equal(mnl_attr_get_u32(attr(&m, header, IFLA_TXQLEN)), 16384);
	kat_msg_link_netconf(&m.header, 7, 1, 2);
	conf = inner(inner(attr(&m, header, IFLA_AF_SPEC), AF_INET), IFLA_INET_CONF);
	assert_int_equal(mnl_attr_get_u32(inner(conf, IPV4_DEVCONF_FORWARDING)), 1);
	assert_int_equal(mnl_attr_get_u32(inner(conf, IPV4_DEVCONF_RP_FILTER)), 2);
	kat_msg_link_netconf(&m.header, 7, -1, 0);
	conf = inner(inner(attr(&m, header, IFLA_AF_SPEC), AF_INET), IFLA_INET_CONF);
	assert_null(kat_attr_in(conf, IPV4_DEVCONF_FORWARDING, 0));
	assert_int_equal(mnl_attr_get_u32(inner(conf, IPV4_DEVCONF_RP_FILTER)), 0);
}

static void test_altname(void **state)
{
	const struct nlattr *list;
	union kat_nl_message m;

	(void)state;
	kat_msg_altname(&m.header, RTM_NEWLINKPROP, 7, "kat-ipip-a1");
	assert_int_equal(m.header.nlmsg_type, RTM_NEWLINKPROP);
	list = attr(&m, sizeof(struct ifinfomsg), IFLA_PROP_LIST);
	assert_true(list->nla_type & NLA_F_NESTED);
	assert_string_equal(mnl_attr_get_str(inner(list, IFLA_ALT_IFNAME)),
			    "kat-ipip-a1");
	kat_msg_altname(&m.header, RTM_DELLINKPROP, 7, "kat-ipip-a1");
	assert_int_equal(m.header.nlmsg_type, RTM_DELLINKPROP);
}

static void test_dummy_address(void **state)
{
	const struct ifaddrmsg *ifa;
	union kat_nl_message m;

	(void)state;
	kat_msg_dummy_address(&m.header, RTM_NEWADDR, 7);
	ifa = mnl_nlmsg_get_payload(&m.header);
	assert_int_equal(ifa->ifa_prefixlen, 32);
	assert_int_equal(ifa->ifa_scope, RT_SCOPE_HOST);
	assert_ip(attr(&m, sizeof(*ifa), IFA_LOCAL), "192.0.0.8");
}

static void test_neighbour(void **state)
{
	struct kat_pin pin = {.index = 7, .addr = address("10.244.1.5")};
	const struct ndmsg *ndm;
	const struct nlattr *nest;
	union kat_nl_message m;

	(void)state;
	kat_msg_neigh(&m.header, RTM_NEWNEIGH, 7, &pin.addr, mac, NUD_PERMANENT);
	ndm = mnl_nlmsg_get_payload(&m.header);
	assert_int_equal(m.header.nlmsg_flags,
			 NLM_F_REQUEST | NLM_F_CREATE | NLM_F_REPLACE);
	assert_int_equal(ndm->ndm_family, AF_INET);
	assert_int_equal(ndm->ndm_ifindex, 7);
	assert_int_equal(ndm->ndm_state, NUD_PERMANENT);
	assert_ip(attr(&m, sizeof(*ndm), NDA_DST), "10.244.1.5");
	assert_memory_equal(mnl_attr_get_payload(attr(&m, sizeof(*ndm), NDA_LLADDR)), mac,
			    6);
	kat_msg_pin_wait(&m.header, &pin);
	assert_int_equal(ndm->ndm_state, NUD_INCOMPLETE);
	assert_null(kat_attr(&m.header, sizeof(*ndm), NDA_LLADDR, 0));
	kat_msg_neigh_queue(&m.header, AF_INET, 7, 1000000);
	assert_int_equal(m.header.nlmsg_type, RTM_SETNEIGHTBL);
	nest = attr(&m, sizeof(struct ndtmsg), NDTA_PARMS);
	assert_int_equal(mnl_attr_get_u32(inner(nest, NDTPA_IFINDEX)), 7);
	assert_int_equal(mnl_attr_get_u32(inner(nest, NDTPA_QUEUE_LENBYTES)), 1000000);
	assert_string_equal(mnl_attr_get_str(attr(&m, sizeof(struct ndtmsg), NDTA_NAME)),
			    "arp_cache");
}

static void test_neighbour_of_ipv6(void **state)
{
	struct kat_pin pin = {.index = 7, .addr = address("fd00::5")};
	const struct ndtmsg *ndt;
	const struct ndmsg *ndm;
	union kat_nl_message m;

	(void)state;
	kat_msg_neigh(&m.header, RTM_NEWNEIGH, 7, &pin.addr, mac, NUD_PERMANENT);
	ndm = mnl_nlmsg_get_payload(&m.header);
	assert_int_equal(ndm->ndm_family, AF_INET6);
	assert_ip(attr(&m, sizeof(*ndm), NDA_DST), "fd00::5");
	kat_msg_pin_wait(&m.header, &pin);
	assert_int_equal(ndm->ndm_state, NUD_INCOMPLETE);
	assert_ip(attr(&m, sizeof(*ndm), NDA_DST), "fd00::5");
	kat_msg_neigh_queue(&m.header, AF_INET6, 7, 1000000);
	ndt = mnl_nlmsg_get_payload(&m.header);
	assert_int_equal(ndt->ndtm_family, AF_INET6);
	assert_string_equal(mnl_attr_get_str(attr(&m, sizeof(*ndt), NDTA_NAME)),
			    "ndisc_cache");
}

static void test_bridge_entry(void **state)
{
	const struct ndmsg *ndm;
	union kat_nl_message m;

	(void)state;
	kat_msg_fdb(&m.header, RTM_NEWNEIGH, 7, mac, true);
	ndm = mnl_nlmsg_get_payload(&m.header);
	assert_int_equal(m.header.nlmsg_flags,
			 NLM_F_REQUEST | NLM_F_CREATE | NLM_F_REPLACE);
	assert_int_equal(ndm->ndm_family, AF_BRIDGE);
	assert_int_equal(ndm->ndm_ifindex, 7);
	assert_int_equal(ndm->ndm_flags, NTF_MASTER | NTF_STICKY);
	assert_int_equal(ndm->ndm_state, NUD_NOARP);
	assert_memory_equal(mnl_attr_get_payload(attr(&m, sizeof(*ndm), NDA_LLADDR)), mac,
			    6);
	kat_msg_fdb(&m.header, RTM_NEWNEIGH, 7, mac, false);
	assert_int_equal(ndm->ndm_flags, NTF_MASTER);
	assert_int_equal(ndm->ndm_state, NUD_REACHABLE);
	kat_msg_fdb(&m.header, RTM_DELNEIGH, 7, mac, false);
	assert_int_equal(m.header.nlmsg_flags, NLM_F_REQUEST);
}

/* How an entry is left, by what it was and where the guest is. */
static void test_neighbour_end(void **state)
{
	struct kat_pin pin = {.index = 7, .addr = address("10.244.1.5")};
	const struct ndmsg *ndm;
	union kat_nl_message m;

	(void)state;
	ndm = mnl_nlmsg_get_payload(&m.header);
	kat_msg_pin_end(&m.header, &pin, true);
	assert_int_equal(m.header.nlmsg_type, RTM_NEWNEIGH);
	assert_int_equal(ndm->ndm_state, NUD_STALE);
	kat_msg_pin_end(&m.header, &pin, false);
	assert_int_equal(m.header.nlmsg_type, RTM_DELNEIGH);
	pin.before = (struct kat_neigh){.exists = true, .state = NUD_PERMANENT};
	pin.before.has_mac = true;
	kat_msg_pin_end(&m.header, &pin, true);
	assert_int_equal(ndm->ndm_state, NUD_PERMANENT);
	pin.before.state = NUD_REACHABLE;
	kat_msg_pin_end(&m.header, &pin, false);
	assert_int_equal(m.header.nlmsg_type, RTM_NEWNEIGH);
	assert_int_equal(ndm->ndm_state, NUD_STALE);
}

static void assert_plug(const union kat_nl_message *m, int action, uint32_t limit)
{
	const struct tcmsg *tcm = mnl_nlmsg_get_payload(&m->header);
	struct tc_plug_qopt opt;

	assert_int_equal(m->header.nlmsg_type, RTM_NEWQDISC);
	assert_int_equal(tcm->tcm_ifindex, 7);
	assert_int_equal(tcm->tcm_parent, TC_H_ROOT);
	assert_int_equal(tcm->tcm_handle, KAT_PLUG_HANDLE);
	assert_string_equal(mnl_attr_get_str(attr(m, sizeof(*tcm), TCA_KIND)), "plug");
	assert_int_equal(mnl_attr_get_payload_len(attr(m, sizeof(*tcm), TCA_OPTIONS)),
			 sizeof(opt));
	memcpy(&opt, mnl_attr_get_payload(attr(m, sizeof(*tcm), TCA_OPTIONS)),
	       sizeof(opt));
	assert_int_equal(opt.action, action);
	assert_int_equal(opt.limit, limit);
}

static void test_plug(void **state)
{
	union kat_nl_message m;

	(void)state;
	kat_msg_plug_add(&m.header, 7, 4294967295u);
	assert_plug(&m, TCQ_PLUG_BUFFER, 4294967295u);
	assert_int_equal(m.header.nlmsg_flags,
			 NLM_F_REQUEST | NLM_F_CREATE | NLM_F_REPLACE);
	kat_msg_plug_block(&m.header, 7);
	assert_plug(&m, TCQ_PLUG_BUFFER, 0);
	assert_int_equal(m.header.nlmsg_flags, NLM_F_REQUEST);
	kat_msg_plug_release(&m.header, 7);
	assert_plug(&m, TCQ_PLUG_RELEASE_INDEFINITE, 0);
	kat_msg_plug_limit(&m.header, 7, 65536);
	assert_plug(&m, TCQ_PLUG_LIMIT, 65536);
}

static void test_qdisc_statistics(void **state)
{
	struct gnet_stats_queue queue = {.qlen = 35, .backlog = 2230, .drops = 4};
	struct kat_qdisc_stats stats = {0};
	struct tcmsg *tcm;
	struct nlattr *nest;
	union kat_nl_message m;

	(void)state;
	tcm = kat_msg_start(&m.header, RTM_NEWQDISC, 0, sizeof(*tcm));
	tcm->tcm_handle = KAT_PLUG_HANDLE;
	nest = mnl_attr_nest_start(&m.header, TCA_STATS2);
	mnl_attr_put(&m.header, TCA_STATS_QUEUE, sizeof(queue), &queue);
	mnl_attr_put_u64(&m.header, TCA_STATS_PKT64, 5000000000ull);
	mnl_attr_nest_end(&m.header, nest);
	kat_qdisc_read_stats(&m.header, &stats);
	assert_true(stats.seen);
	assert_int_equal(stats.packets, 35);
	assert_int_equal(stats.bytes, 2230);
	assert_int_equal(stats.drops, 4);
	assert_int_equal(stats.sent, 5000000000ull);
	tcm->tcm_handle = 0x70000;
	stats.seen = false;
	kat_qdisc_read_stats(&m.header, &stats);
	assert_false(stats.seen);
}

static void test_qdisc_restore(void **state)
{
	struct kat_qdisc q = {.custom = true, .handle = 0x70000, .kind = "sfq"};
	const struct tcmsg *tcm;
	union kat_nl_message m;

	(void)state;
	q.options_length = 5;
	memcpy(q.options, "abcde", 5);
	assert_true(kat_qdisc_restorable(&q));
	kat_msg_qdisc_restore(&m.header, 7, &q);
	tcm = mnl_nlmsg_get_payload(&m.header);
	assert_int_equal(tcm->tcm_handle, 0x70000);
	assert_string_equal(mnl_attr_get_str(attr(&m, sizeof(*tcm), TCA_KIND)), "sfq");
	assert_memory_equal(mnl_attr_get_payload(attr(&m, sizeof(*tcm), TCA_OPTIONS)),
			    "abcde", 5);
	q.parent = true;
	assert_false(kat_qdisc_restorable(&q));
	q.parent = false;
	strcpy(q.kind, "htb");
	assert_false(kat_qdisc_restorable(&q));
	q.custom = false; /* the kernel's default, whatever it is */
	assert_true(kat_qdisc_restorable(&q));
}

/* An acknowledgement as the kernel makes it; `capped` leaves the request out. */
static void make_ack(union kat_nl_message *m, int error, const char *text, bool capped)
{
	struct nlmsgerr *err = kat_msg_start(&m->header, NLMSG_ERROR, 0, sizeof(*err));

	m->header.nlmsg_flags = text ? NLM_F_ACK_TLVS : 0;
	if (capped)
		m->header.nlmsg_flags |= NLM_F_CAPPED;
	err->error = -error;
	err->msg.nlmsg_len = sizeof(err->msg) + 20;
	if (!capped)
		mnl_nlmsg_put_extra_header(&m->header, 20);
	if (text)
		mnl_attr_put_strz(&m->header, NLMSGERR_ATTR_MSG, text);
}

static void test_error_texts(void **state)
{
	union kat_nl_message m;
	char text[256] = "";

	(void)state;
	make_ack(&m, 0, NULL, true);
	assert_int_equal(kat_nl_read_ack(&m.header, RTM_NEWLINK, text, sizeof(text)), 0);
	make_ack(&m, EOPNOTSUPP, "Unknown device type", true);
	assert_int_equal(kat_nl_read_ack(&m.header, RTM_NEWLINK, text, sizeof(text)),
			 EOPNOTSUPP);
	assert_string_equal(text,
			    "RTM_NEWLINK: Operation not supported (Unknown device type)");
	make_ack(&m, EOPNOTSUPP, "Unknown device type", false);
	assert_int_equal(kat_nl_read_ack(&m.header, RTM_NEWLINK, text, sizeof(text)),
			 EOPNOTSUPP);
	assert_string_equal(text,
			    "RTM_NEWLINK: Operation not supported (Unknown device type)");
	make_ack(&m, EPERM, NULL, true);
	assert_int_equal(kat_nl_read_ack(&m.header, RTM_NEWQDISC, text, sizeof(text)),
			 EPERM);
	assert_string_equal(text, "RTM_NEWQDISC: Operation not permitted");
	m.header.nlmsg_len = sizeof(m.header) + 2;
	assert_int_equal(kat_nl_read_ack(&m.header, RTM_NEWQDISC, text, sizeof(text)),
			 EPROTO);
}

static void test_batch_room(void **state)
{
	struct kat_nl_batch *batch = calloc(1, sizeof(*batch));
	struct kat_addr to = address("10.244.1.5");
	struct nlmsghdr *nlh;

	(void)state;
	assert_non_null(batch);
	while ((nlh = kat_nl_batch_next(batch))) {
		kat_msg_rule(nlh, RTM_NEWRULE, &to, 10, 27489);
		kat_nl_batch_add(batch);
	}
	assert_int_equal(errno, ENOSPC);
	assert_true(batch->count > 100);
	assert_true(batch->used <= sizeof(batch->room));
	free(batch);
}

/* The loopback device is everywhere, and may be asked for by everybody. */
static void test_talk(void **state)
{
	int64_t deadline = kat_now_ns() + SECOND_NS;
	struct kat_nl *nl = kat_nl_open(NULL);
	struct kat_link link;

	(void)state;
	if (!nl)
		skip();
	assert_int_equal(kat_link_get(nl, "lo", 0, &link, deadline), 0);
	assert_int_equal(link.index, 1);
	assert_true(link.flags & IFF_LOOPBACK);
	assert_int_equal(kat_link_get(nl, NULL, 1, &link, deadline), 0);
	assert_string_equal(link.name, "lo");
	assert_int_equal(kat_link_get(nl, "kat-none", 0, &link, deadline), -1);
	assert_int_equal(errno, ENODEV);
	assert_string_equal(kat_nl_error(nl), "RTM_GETLINK: No such device");
	kat_nl_close(nl);
}

static int count_links(const struct nlmsghdr *nlh, void *data)
{
	*(int *)data += nlh->nlmsg_type == RTM_NEWLINK;
	return MNL_CB_OK;
}

/* One failure in the middle: it is told, and the rest is carried out. */
static void test_batch_answers(void **state)
{
	int64_t deadline = kat_now_ns() + SECOND_NS;
	struct kat_nl *nl = kat_nl_open(NULL);
	struct kat_nl_batch *batch = calloc(1, sizeof(*batch));
	const int indices[] = {1, 0x7ffffff0, 1};
	int links = 0;

	(void)state;
	assert_non_null(batch);
	if (!nl)
		skip();
	assert_int_equal(kat_nl_batch_send(nl, batch, NULL, NULL, deadline), 0);
	for (int i = 0; i < 3; i++) {
		kat_msg_link_get(kat_nl_batch_next(batch), indices[i]);
		kat_nl_batch_add(batch);
	}
	for (int again = 0; again < 2; again++) {
		links = 0;
		assert_int_equal(
			kat_nl_batch_send(nl, batch, count_links, &links, deadline), -1);
		assert_int_equal(errno, ENODEV);
		assert_int_equal(links, 2);
		assert_string_equal(kat_nl_error(nl), "RTM_GETLINK: No such device");
	}
	kat_nl_close(nl);
	free(batch);
}

static void test_dump(void **state)
{
	struct kat_nl *nl = kat_nl_open(NULL);
	union kat_nl_message m;
	int links = 0;

	(void)state;
	if (!nl)
		skip();
	kat_msg_link_get(&m.header, 0);
	assert_int_equal(
		kat_nl_dump(nl, &m.header, count_links, &links, kat_now_ns() + SECOND_NS),
		0);
	assert_true(links >= 1);
	kat_nl_close(nl);
}

static void test_open_elsewhere(void **state)
{
	(void)state;
	assert_null(kat_nl_open("/nonexistent/netns"));
	assert_int_equal(errno, ENOENT);
	kat_nl_close(NULL);
}

static void test_segments_go_one_by_one(void **state)
{
	const struct ifinfomsg *ifi;
	union kat_nl_message m;

	(void)state;
	kat_msg_link_segments(&m.header, 7);
	ifi = mnl_nlmsg_get_payload(&m.header);
	assert_int_equal(m.header.nlmsg_type, RTM_NEWLINK);
	assert_int_equal(ifi->ifi_index, 7);
	assert_int_equal(ifi->ifi_change, 0);
	assert_int_equal(mnl_attr_get_u32(attr(&m, sizeof(*ifi), IFLA_GSO_MAX_SEGS)), 1);
}

static void test_asking_for_a_neighbour(void **state)
{
	struct kat_addr router = address("192.168.50.1");
	const struct ndmsg *ndm;
	union kat_nl_message m;

	(void)state;
	kat_msg_neigh_use(&m.header, 7, &router);
	ndm = mnl_nlmsg_get_payload(&m.header);
	assert_int_equal(m.header.nlmsg_type, RTM_NEWNEIGH);
	assert_true(m.header.nlmsg_flags & NLM_F_CREATE);
	/* An entry that is there keeps its address and its state. */
	assert_false(m.header.nlmsg_flags & NLM_F_REPLACE);
	assert_int_equal(ndm->ndm_ifindex, 7);
	assert_int_equal(ndm->ndm_flags, NTF_USE);
	assert_memory_equal(mnl_attr_get_payload(attr(&m, sizeof(*ndm), NDA_DST)),
			    router.bytes, 4);
	assert_null(kat_attr(&m.header, sizeof(*ndm), NDA_LLADDR, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_rule),
		cmocka_unit_test(test_route),
		cmocka_unit_test(test_route_with_a_key),
		cmocka_unit_test(test_route_of_ipv6),
		cmocka_unit_test(test_choice_of_tunnel),
		cmocka_unit_test(test_tunnel),
		cmocka_unit_test(test_sit),
		cmocka_unit_test(test_address_generation),
		cmocka_unit_test(test_link),
		cmocka_unit_test(test_altname),
		cmocka_unit_test(test_dummy_address),
		cmocka_unit_test(test_neighbour),
		cmocka_unit_test(test_neighbour_end),
		cmocka_unit_test(test_bridge_entry),
		cmocka_unit_test(test_neighbour_of_ipv6),
		cmocka_unit_test(test_plug),
		cmocka_unit_test(test_qdisc_statistics),
		cmocka_unit_test(test_qdisc_restore),
		cmocka_unit_test(test_error_texts),
		cmocka_unit_test(test_batch_room),
		cmocka_unit_test(test_talk),
		cmocka_unit_test(test_batch_answers),
		cmocka_unit_test(test_dump),
		cmocka_unit_test(test_open_elsewhere),
		cmocka_unit_test(test_asking_for_a_neighbour),
		cmocka_unit_test(test_segments_go_one_by_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
