/* SPDX-License-Identifier: BSD-2-Clause */
#include "plugins/lib/pin.h"

#include <errno.h>
#include <string.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>

/* The tables' names in the kernel, net/ipv4/arp.c and net/ipv6/ndisc.c. */
static const char *table_name(int family)
{
	return family == AF_INET6 ? "ndisc_cache" : "arp_cache";
}

void kat_msg_neigh(struct nlmsghdr *nlh, uint16_t type, int index,
		   const struct kat_addr *addr, const uint8_t mac[6], uint16_t state)
{
	struct ndmsg *ndm;

	ndm = kat_msg_start(nlh, type,
			    type == RTM_NEWNEIGH ? NLM_F_CREATE | NLM_F_REPLACE : 0,
			    sizeof(*ndm));
	ndm->ndm_family = (uint8_t)addr->family;
	ndm->ndm_ifindex = index;
	ndm->ndm_state = state;
	mnl_attr_put(nlh, NDA_DST, kat_addr_bytes(addr), addr->bytes);
	if (mac)
		mnl_attr_put(nlh, NDA_LLADDR, 6, mac);
}

void kat_msg_neigh_use(struct nlmsghdr *nlh, int index, const struct kat_addr *addr)
{
	struct ndmsg *ndm = kat_msg_start(nlh, RTM_NEWNEIGH, NLM_F_CREATE, sizeof(*ndm));

	ndm->ndm_family = (uint8_t)addr->family;
	ndm->ndm_ifindex = index;
	ndm->ndm_flags = NTF_USE;
	mnl_attr_put(nlh, NDA_DST, kat_addr_bytes(addr), addr->bytes);
}

void kat_msg_fdb(struct nlmsghdr *nlh, uint16_t type, int port, const uint8_t mac[6],
		 bool fixed)
{
	struct ndmsg *ndm;

	ndm = kat_msg_start(nlh, type,
			    type == RTM_NEWNEIGH ? NLM_F_CREATE | NLM_F_REPLACE : 0,
			    sizeof(*ndm));
	ndm->ndm_family = AF_BRIDGE;
	ndm->ndm_ifindex = port;
	ndm->ndm_flags = fixed ? NTF_MASTER | NTF_STICKY : NTF_MASTER;
	ndm->ndm_state = fixed ? NUD_NOARP : NUD_REACHABLE;
	mnl_attr_put(nlh, NDA_LLADDR, 6, mac);
}

void kat_msg_neigh_queue(struct nlmsghdr *nlh, int family, int index, uint32_t bytes)
{
	struct nlattr *nest;
	struct ndtmsg *ndt;

	ndt = kat_msg_start(nlh, RTM_SETNEIGHTBL, NLM_F_REPLACE, sizeof(*ndt));
	ndt->ndtm_family = (uint8_t)family;
	mnl_attr_put_strz(nlh, NDTA_NAME, table_name(family));
	nest = mnl_attr_nest_start(nlh, NDTA_PARMS);
	mnl_attr_put_u32(nlh, NDTPA_IFINDEX, (uint32_t)index);
	mnl_attr_put_u32(nlh, NDTPA_QUEUE_LENBYTES, bytes);
	mnl_attr_nest_end(nlh, nest);
}

static int read_neigh(const struct nlmsghdr *nlh, void *data)
{
	const struct ndmsg *ndm = mnl_nlmsg_get_payload(nlh);
	struct kat_neigh *neigh = data;
	const struct nlattr *mac;

	if (nlh->nlmsg_type != RTM_NEWNEIGH)
		return MNL_CB_OK;
	neigh->exists = true;
	neigh->state = ndm->ndm_state;
	mac = kat_attr(nlh, sizeof(*ndm), NDA_LLADDR, sizeof(neigh->mac));
	if (mac) {
		neigh->has_mac = true;
		memcpy(neigh->mac, mnl_attr_get_payload(mac), sizeof(neigh->mac));
	}
	return MNL_CB_OK;
}

int kat_neigh_get(struct kat_nl *nl, int index, const struct kat_addr *addr,
		  struct kat_neigh *neigh, int64_t deadline_ns)
{
	union kat_nl_message m;
	struct ndmsg *ndm = kat_msg_start(&m.header, RTM_GETNEIGH, 0, sizeof(*ndm));

	ndm->ndm_family = (uint8_t)addr->family;
	ndm->ndm_ifindex = index;
	mnl_attr_put(&m.header, NDA_DST, kat_addr_bytes(addr), addr->bytes);
	memset(neigh, 0, sizeof(*neigh));
	if (kat_nl_talk(nl, &m.header, read_neigh, neigh, deadline_ns) < 0 &&
	    errno != ENOENT)
		return -1;
	return 0;
}

struct queue_search {
	const char *table;
	uint32_t index, bytes;
	bool found;
};

static int pick_queue(const struct nlmsghdr *nlh, void *data)
{
	const struct nlattr *parms, *name, *index, *bytes;
	struct queue_search *search = data;
	size_t header = sizeof(struct ndtmsg);

	name = kat_attr(nlh, header, NDTA_NAME, strlen(search->table) + 1);
	parms = kat_attr(nlh, header, NDTA_PARMS, 0);
	if (!parms || !name ||
	    memcmp(mnl_attr_get_payload(name), search->table,
		   strlen(search->table) + 1) != 0)
		return MNL_CB_OK;
	index = kat_attr_in(parms, NDTPA_IFINDEX, sizeof(uint32_t));
	bytes = kat_attr_in(parms, NDTPA_QUEUE_LENBYTES, sizeof(uint32_t));
	if (!index || !bytes || mnl_attr_get_u32(index) != search->index)
		return MNL_CB_OK;
	search->bytes = mnl_attr_get_u32(bytes);
	search->found = true;
	return MNL_CB_OK;
}

int kat_neigh_queue_get(struct kat_nl *nl, int family, int index, uint32_t *bytes,
			int64_t deadline_ns)
{
	struct queue_search search = {
		.table = table_name(family),
		.index = (uint32_t)index,
	};
	union kat_nl_message m;
	struct ndtmsg *ndt = kat_msg_start(&m.header, RTM_GETNEIGHTBL, 0, sizeof(*ndt));

	ndt->ndtm_family = (uint8_t)family;
	if (kat_nl_dump(nl, &m.header, pick_queue, &search, deadline_ns) < 0)
		return -1;
	*bytes = search.bytes;
	if (search.found)
		return 0;
	errno = ENODEV;
	return -1;
}

static int set_queue(struct kat_pin *pin, int64_t deadline_ns)
{
	union kat_nl_message m;
	uint32_t before;

	if (kat_neigh_queue_get(pin->nl, pin->addr.family, pin->index, &before,
				deadline_ns) < 0)
		return -1;
	if (before >= KAT_PIN_QUEUE_BYTES)
		return 0;
	kat_msg_neigh_queue(&m.header, pin->addr.family, pin->index, KAT_PIN_QUEUE_BYTES);
	if (kat_nl_talk(pin->nl, &m.header, NULL, NULL, deadline_ns) < 0)
		return -1;
	pin->queue_before = before;
	pin->queue_set = true;
	return 0;
}

int kat_pin_set(struct kat_pin *pin, struct kat_nl *nl, int index,
		const struct kat_addr *addr, const uint8_t mac[6], int64_t deadline_ns)
{
	union kat_nl_message m;
	int error;

	pin->nl = nl;
	pin->index = index;
	pin->addr = *addr;
	memcpy(pin->mac, mac, sizeof(pin->mac));
	if (kat_neigh_get(nl, index, addr, &pin->before, deadline_ns) < 0 ||
	    set_queue(pin, deadline_ns) < 0)
		goto undo;
	kat_msg_neigh(&m.header, RTM_NEWNEIGH, index, addr, mac, NUD_PERMANENT);
	if (kat_nl_talk(nl, &m.header, NULL, NULL, deadline_ns) < 0)
		goto undo;
	return 0;
undo:
	error = errno;
	if (pin->queue_set)
		kat_pin_restore_queue(pin, deadline_ns);
	pin->nl = NULL;
	errno = error;
	return -1;
}

void kat_msg_pin_wait(struct nlmsghdr *nlh, const struct kat_pin *pin)
{
	kat_msg_neigh(nlh, RTM_NEWNEIGH, pin->index, &pin->addr, NULL, NUD_INCOMPLETE);
}

void kat_msg_pin_end(struct nlmsghdr *nlh, const struct kat_pin *pin, bool stays)
{
	const struct kat_neigh *before = &pin->before;

	if (before->exists && (before->state & (NUD_PERMANENT | NUD_NOARP)))
		kat_msg_neigh(nlh, RTM_NEWNEIGH, pin->index, &pin->addr,
			      before->has_mac ? before->mac : NULL, before->state);
	else if (stays)
		kat_msg_neigh(nlh, RTM_NEWNEIGH, pin->index, &pin->addr, pin->mac,
			      NUD_STALE);
	else if (before->exists && before->has_mac)
		kat_msg_neigh(nlh, RTM_NEWNEIGH, pin->index, &pin->addr, before->mac,
			      NUD_STALE);
	else
		kat_msg_neigh(nlh, RTM_DELNEIGH, pin->index, &pin->addr, NULL, 0);
}

int kat_pin_restore_queue(struct kat_pin *pin, int64_t deadline_ns)
{
	union kat_nl_message m;

	if (!pin->queue_set)
		return 0;
	pin->queue_set = false;
	kat_msg_neigh_queue(&m.header, pin->addr.family, pin->index, pin->queue_before);
	return kat_nl_talk(pin->nl, &m.header, NULL, NULL, deadline_ns);
}
