/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tunnel_kind.h - the kinds of tunnel that plugins choose from, and the messages
 * that only their devices need.  Talks to nobody.
 */
#ifndef KAT_TUNNEL_KIND_H
#define KAT_TUNNEL_KIND_H

#include "plugins/lib/rtnl.h"

/* A kind of tunnel; plugins have tables of these that end with .kind = NULL. */
struct kat_tunnel {
	int guest;	    /* AF_ of the packets that it carries, AF_UNSPEC: both */
	int underlay;	    /* AF_INET, AF_INET6: between the nodes */
	const char *kind;   /* IFLA_INFO_KIND */
	const char *module; /* of the kernel */
	const char *device; /* at most 15 bytes, 7 without metadata mode */
	uint16_t metadata;  /* IFLA_..._COLLECT_METADATA, 0: it has no such mode */
	uint16_t overhead;  /* bytes of the outer headers, without GRE's key */
	bool keyed;	    /* the plugin has the option "key": struct kat_encap's id */
};

/* The first of the table that carries `guest` over `underlay` (AF_), or NULL. */
const struct kat_tunnel *kat_tunnel_find(const struct kat_tunnel *table, int guest,
					 int underlay);

/* "IPv4", "IPv6". */
const char *kat_family_name(int family);

/*
 * A sit device.  With `to` it sends there, from `from` if that has a family;
 * without, it receives what no other takes.  Outer packets may be fragmented.
 */
void kat_msg_sit_add(struct nlmsghdr *nlh, const char *name, const struct kat_addr *from,
		     const struct kat_addr *to);
/* IN6_ADDR_GEN_MODE_ of the device: it makes no address of its own, for NONE. */
void kat_msg_link_addrgen(struct nlmsghdr *nlh, int index, uint8_t mode);
/*
 * Segments that the kernel keeps together (GSO) go through the device one by one,
 * so that as many are counted at its far end.
 */
void kat_msg_link_segments(struct nlmsghdr *nlh, int index);

/* What an operator can do about this errno, " (…)", or "". */
const char *kat_hint(int error);

#endif /* KAT_TUNNEL_KIND_H */
