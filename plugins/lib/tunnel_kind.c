/* SPDX-License-Identifier: BSD-2-Clause */
#include "plugins/lib/tunnel_kind.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/if_tunnel.h>
#include <linux/rtnetlink.h>

/* LOOPBACK_IFINDEX of the kernel. */
#define LOOPBACK_INDEX 1

const char *kat_hint(int error)
{
	if (error == EPERM)
		return " (CAP_NET_ADMIN is needed)";
	return "";
}

const char *kat_family_name(int family)
{
	return family == AF_INET6 ? "IPv6" : "IPv4";
}

const struct kat_tunnel *kat_tunnel_find(const struct kat_tunnel *table, int guest,
					 int underlay)
{
	for (; table->kind; table++)
		if (table->underlay == underlay &&
		    (table->guest == AF_UNSPEC || table->guest == guest))
			return table;
	return NULL;
}

void kat_msg_sit_add(struct nlmsghdr *nlh, const char *name, const struct kat_addr *from,
		     const struct kat_addr *to)
{
	struct ifinfomsg *ifi;
	struct nlattr *info, *data;

	ifi = kat_msg_start(nlh, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, sizeof(*ifi));
	mnl_attr_put_strz(nlh, IFLA_IFNAME, name);
	info = mnl_attr_nest_start(nlh, IFLA_LINKINFO);
	mnl_attr_put_strz(nlh, IFLA_INFO_KIND, "sit");
	data = mnl_attr_nest_start(nlh, IFLA_INFO_DATA);
	/* No TTL, which would bring pmtudisc back: that of the packet is taken. */
	mnl_attr_put_u8(nlh, IFLA_IPTUN_PMTUDISC, 0);
	if (to) {
		mnl_attr_put(nlh, IFLA_IPTUN_REMOTE, 4, to->bytes);
		if (from && from->family == AF_INET)
			mnl_attr_put(nlh, IFLA_IPTUN_LOCAL, 4, from->bytes);
	} else {
		/*
		 * sit0 has no ends either and may be there; bound to any device
		 * this one differs, and takes packets first.
		 */
		mnl_attr_put_u32(nlh, IFLA_IPTUN_LINK, LOOPBACK_INDEX);
	}
	mnl_attr_nest_end(nlh, data);
	mnl_attr_nest_end(nlh, info);
}

void kat_msg_link_segments(struct nlmsghdr *nlh, int index)
{
	struct ifinfomsg *ifi = kat_msg_start(nlh, RTM_NEWLINK, 0, sizeof(*ifi));

	ifi->ifi_index = index;
	mnl_attr_put_u32(nlh, IFLA_GSO_MAX_SEGS, 1);
}

void kat_msg_link_addrgen(struct nlmsghdr *nlh, int index, uint8_t mode)
{
	struct nlattr *spec, *inet6;
	struct ifinfomsg *ifi = kat_msg_start(nlh, RTM_SETLINK, 0, sizeof(*ifi));

	ifi->ifi_index = index;
	spec = mnl_attr_nest_start(nlh, IFLA_AF_SPEC);
	inet6 = mnl_attr_nest_start(nlh, AF_INET6);
	mnl_attr_put_u8(nlh, IFLA_INET6_ADDR_GEN_MODE, mode);
	mnl_attr_nest_end(nlh, inet6);
	mnl_attr_nest_end(nlh, spec);
}
