/* SPDX-License-Identifier: BSD-2-Clause */
#include "plugins/lib/rpfilter.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <arpa/inet.h>
#include <linux/if_addr.h>
#include <linux/netconf.h>
#include <linux/rtnetlink.h>
#include "plugins/lib/tunnel_lock.h"

/* Values of net.ipv4.conf.*.rp_filter. */
#define FILTER_OFF   0
#define FILTER_LOOSE 2

static int set_filter(struct kat_nl *nl, int index, int value, int64_t deadline_ns)
{
	union kat_nl_message m;

	kat_msg_link_netconf(&m.header, index, -1, value);
	return kat_nl_talk(nl, &m.header, NULL, NULL, deadline_ns);
}

static int set_address(struct kat_nl *nl, uint16_t type, int index, int64_t deadline_ns)
{
	union kat_nl_message m;

	kat_msg_dummy_address(&m.header, type, index);
	return kat_nl_talk(nl, &m.header, NULL, NULL, deadline_ns);
}

int kat_rpfilter_relax(struct kat_nl *nl, int index, struct kat_rpfilter *saved,
		       int64_t deadline_ns)
{
	struct kat_netconf all, device;
	bool has;
	int want;

	saved->index = index;
	if (kat_netconf_get(nl, NETCONFA_IFINDEX_ALL, &all, deadline_ns) < 0 ||
	    kat_netconf_get(nl, index, &device, deadline_ns) < 0)
		return -1;
	want = all.rp_filter == FILTER_OFF ? FILTER_OFF : FILTER_LOOSE;
	if (want != device.rp_filter) {
		if (set_filter(nl, index, want, deadline_ns) < 0)
			return -1;
		saved->before = device.rp_filter;
		saved->changed = true;
	}
	if (want == FILTER_OFF)
		return 0;
	if (kat_link_has_ipv4(nl, index, &has, deadline_ns) < 0)
		return -1;
	if (has)
		return 0;
	if (set_address(nl, RTM_NEWADDR, index, deadline_ns) < 0)
		return -1;
	saved->address = true;
	return 0;
}

/* Takes over what another migration found: 1 if there is such a one. */
static int inherit(struct kat_nl *nl, int index, struct kat_rpfilter *saved,
		   int64_t deadline_ns)
{
	char prefix[32], name[128];
	int before, address;

	snprintf(prefix, sizeof(prefix), "kat-rpf-%d-", index);
	if (kat_link_altname_find(nl, index, prefix, name, deadline_ns) < 0)
		return -1;
	if (sscanf(name + strlen(prefix) * !!name[0], "%*[a-z0-9]-%d-%d", &before,
		   &address) != 2)
		return 0;
	saved->before = before;
	saved->changed = before >= 0;
	saved->address = address != 0;
	return 1;
}

/* The lock is held. */
static int share(struct kat_nl *nl, int index, const char *id, struct kat_rpfilter *saved,
		 int64_t deadline_ns)
{
	struct kat_rpfilter own = {0};
	char mine[64], name[128];
	union kat_nl_message m;
	int ret;

	snprintf(mine, sizeof(mine), "kat-rpf-%d-%s-", index, id);
	if (kat_link_altname_find(nl, index, mine, name, deadline_ns) < 0)
		return -1;
	if (name[0])
		return 0;
	ret = inherit(nl, index, saved, deadline_ns);
	if (ret < 0 || kat_rpfilter_relax(nl, index, ret ? &own : saved, deadline_ns) < 0)
		return -1;
	saved->index = index;
	if (!saved->changed && !saved->address)
		return 0;
	snprintf(saved->name, sizeof(saved->name), "%s%d-%d", mine,
		 saved->changed ? saved->before : -1, saved->address);
	kat_msg_altname(&m.header, RTM_NEWLINKPROP, index, saved->name);
	if (kat_nl_talk(nl, &m.header, NULL, NULL, deadline_ns) == 0)
		return 0;
	saved->name[0] = 0;
	return -1;
}

int kat_rpfilter_share(struct kat_nl *nl, int index, const char *id,
		       struct kat_rpfilter *saved, int64_t deadline_ns)
{
	/* Without the lock the worst is a filter that stays relaxed. */
	kat_cleanup_close int lock = kat_lock_take("kat-rpfilter", deadline_ns);

	(void)lock;
	return share(nl, index, id, saved, deadline_ns);
}

/* What the second name of the migration says: 1; 0 if it has none there. */
static int read_share(struct kat_nl *nl, int index, const char *id,
		      struct kat_rpfilter *saved, int64_t deadline_ns)
{
	char prefix[64];
	int address;

	snprintf(prefix, sizeof(prefix), "kat-rpf-%d-%s-", index, id);
	if (kat_link_altname_find(nl, index, prefix, saved->name, deadline_ns) < 0)
		return -1;
	if (sscanf(saved->name + strlen(prefix) * !!saved->name[0], "%d-%d",
		   &saved->before, &address) != 2)
		return 0;
	saved->changed = saved->before >= 0;
	saved->address = address != 0;
	return 1;
}

int kat_rpfilter_recover(struct kat_nl *nl, int index, const char *id, int before,
			 bool has, int64_t deadline_ns)
{
	struct kat_rpfilter saved = {.index = index};
	struct kat_netconf now;
	char other[128];
	bool any;
	int r = read_share(nl, index, id, &saved, deadline_ns);

	if (r < 0)
		return -1;
	if (r > 0)
		return kat_rpfilter_restore(nl, &saved, deadline_ns) < 0 ? -1 : 0;
	/* Killed between the change and the name, or before or after both. */
	saved.name[0] = 0;
	if (kat_link_altname_find(nl, index, "kat-rpf-", other, deadline_ns) < 0 ||
	    kat_netconf_get(nl, index, &now, deadline_ns) < 0 ||
	    kat_link_has_ipv4(nl, index, &any, deadline_ns) < 0)
		return -1;
	if (other[0])
		return 0;
	saved.before = before;
	saved.changed = now.rp_filter != before;
	saved.address = any && !has;
	return kat_rpfilter_restore(nl, &saved, deadline_ns) < 0 ? -1 : 0;
}

/* Gives up our share: 1 if others remain. */
static int leave(struct kat_nl *nl, struct kat_rpfilter *saved, int64_t deadline_ns)
{
	char prefix[32], name[128];
	union kat_nl_message m;

	kat_msg_altname(&m.header, RTM_DELLINKPROP, saved->index, saved->name);
	saved->name[0] = 0;
	if (kat_nl_talk(nl, &m.header, NULL, NULL, deadline_ns) < 0)
		return -1;
	snprintf(prefix, sizeof(prefix), "kat-rpf-%d-", saved->index);
	if (kat_link_altname_find(nl, saved->index, prefix, name, deadline_ns) < 0)
		return -1;
	return name[0] != 0;
}

/* Any address but the dummy one; a mnl_cb_t. */
static int see_other(const struct nlmsghdr *nlh, void *other)
{
	const struct nlattr *local;

	local = kat_attr(nlh, sizeof(struct ifaddrmsg), IFA_LOCAL, sizeof(uint32_t));
	if (nlh->nlmsg_type == RTM_NEWADDR && local)
		*(bool *)other |= mnl_attr_get_u32(local) != htonl(KAT_DUMMY_IPV4);
	return MNL_CB_OK;
}

/* Any route but those of the kernel to the device's own addresses; a mnl_cb_t. */
static int see_route(const struct nlmsghdr *nlh, void *seen)
{
	const struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);

	*(bool *)seen |=
		nlh->nlmsg_type == RTM_NEWROUTE && rtm->rtm_table != RT_TABLE_LOCAL;
	return MNL_CB_OK;
}

/*
 * With its last address a device loses all routes and neighbours
 * (fib_inetaddr_event()), those of other guests too.
 */
static int needs_address(struct kat_nl *nl, int index, bool *needs, int64_t deadline_ns)
{
	bool other = false;
	union kat_nl_message m;
	struct ifaddrmsg *ifa;
	struct rtmsg *rtm;

	*needs = false;
	ifa = kat_msg_start(&m.header, RTM_GETADDR, 0, sizeof(*ifa));
	ifa->ifa_family = AF_INET;
	ifa->ifa_index = (uint32_t)index;
	if (kat_nl_dump(nl, &m.header, see_other, &other, deadline_ns) < 0)
		return -1;
	if (other)
		return 0;
	rtm = kat_msg_start(&m.header, RTM_GETROUTE, 0, sizeof(*rtm));
	rtm->rtm_family = AF_INET;
	mnl_attr_put_u32(&m.header, RTA_OIF, (uint32_t)index);
	return kat_nl_dump(nl, &m.header, see_route, needs, deadline_ns);
}

int kat_rpfilter_restore(struct kat_nl *nl, struct kat_rpfilter *saved,
			 int64_t deadline_ns)
{
	kat_cleanup_close int lock = -1;
	bool needs = false;
	int ret = 0;

	if (saved->name[0]) {
		lock = kat_lock_take("kat-rpfilter", deadline_ns);
		ret = leave(nl, saved, deadline_ns);
		if (ret)
			saved->changed = saved->address = false;
	}
	if (saved->changed)
		ret |= set_filter(nl, saved->index, saved->before, deadline_ns);
	if (saved->address && needs_address(nl, saved->index, &needs, deadline_ns) < 0)
		ret = -1;
	else if (saved->address && !needs)
		ret |= set_address(nl, RTM_DELADDR, saved->index, deadline_ns);
	saved->changed = saved->address = false;
	if (ret < 0)
		return -1;
	return needs ? 1 : 0;
}
