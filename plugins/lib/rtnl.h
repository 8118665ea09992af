/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rtnl.h - links, routes and rules; neighbours are in pin.h.
 *
 * kat_msg_ functions build one message at `nlh`, which has room for
 * KAT_NL_MESSAGE_BYTES, and cannot fail; they may be used on a batch.  The
 * others talk to the kernel before a deadline (CLOCK_MONOTONIC, nanoseconds)
 * and return 0, or -1 with errno and a text in kat_nl_error().
 */
#ifndef KAT_RTNL_H
#define KAT_RTNL_H

#include <stdbool.h>
#include <net/if.h>
#include "plugins/lib/addr.h"
#include "plugins/lib/netlink.h"

/*
 * Who made a route or a rule (rtm_protocol, FRA_PROTOCOL).  Taken by nobody in
 * linux/rtnetlink.h nor in iproute2's rt_protos.
 */
#define KAT_RTPROT 107

/*
 * The dummy address of IPv4, RFC 7600 section 4.8.  With host scope no packet
 * ever has it, but a device that has it passes the loose reverse path filter:
 * without any address the kernel drops there (fib_frontend.c, no_addr).
 */
#define KAT_DUMMY_IPV4 0xc0000008u /* 192.0.0.8, host order */

/* What is known of a link. */
struct kat_link {
	int index;
	char name[IFNAMSIZ];
	char kind[IFNAMSIZ]; /* "" for a physical one */
	unsigned int flags;  /* IFF_ */
	uint32_t mtu;
	uint32_t txqlen; /* packets */
	uint32_t queues; /* that it may send on, IFLA_NUM_TX_QUEUES */
	int master;	 /* index of its bridge, 0: none */
	bool external;	 /* a tunnel in metadata mode */
	uint64_t rx_packets, rx_dropped, tx_packets, tx_errors, tx_dropped;
};

/* A route as we make them: one address, one device. */
struct kat_route {
	struct kat_addr to;
	uint32_t table;
	int oif;
	uint32_t mtu; /* bytes, 0: that of the device */
};

/* The outer header that the route gives to a packet. */
struct kat_encap {
	struct kat_addr to;
	struct kat_addr from; /* family 0: the kernel chooses */
	uint8_t ttl;
	uint16_t flags; /* TUNNEL_ of linux/if_tunnel.h, host order */
	uint64_t id;	/* GRE's key, host order */
};

/* How the kernel would send a packet. */
struct kat_way {
	int oif;
	bool gateway; /* through another router, not to a neighbour */
	struct kat_addr
		via;  /* that router; family 0: there is none, or of another kind */
	uint8_t type; /* RTN_ */
	uint32_t mtu; /* of the route, 0: that of the device */
};

/* An interface's entries of net.ipv4.conf. */
struct kat_netconf {
	int forwarding; /* 0, 1 */
	int rp_filter;	/* 0 off, 1 strict, 2 loose */
};

/* A neighbour table entry. */
struct kat_neigh {
	bool exists;
	uint16_t state; /* NUD_ */
	bool has_mac;
	uint8_t mac[6];
};

/*
 * Starts a message: the header of netlink and `size` zeroed bytes for that of
 * the family, which it returns.
 */
void *kat_msg_start(struct nlmsghdr *nlh, uint16_t type, uint16_t flags, size_t size);
/*
 * An attribute of a message whose family header has `header` bytes, or of a
 * nest; NULL if it is not there or its payload has less than `least` bytes.
 */
const struct nlattr *kat_attr(const struct nlmsghdr *nlh, size_t header, uint16_t type,
			      size_t least);
const struct nlattr *kat_attr_in(const struct nlattr *nest, uint16_t type, size_t least);

/*
 * A tunnel device in metadata mode.  `metadata` is the attribute that says so:
 * IFLA_IPTUN_COLLECT_METADATA, IFLA_GRE_COLLECT_METADATA.
 */
void kat_msg_tunnel_add(struct nlmsghdr *nlh, const char *kind, const char *name,
			uint16_t metadata);
/* Up, and with this mtu in bytes unless it is 0. */
void kat_msg_link_up(struct nlmsghdr *nlh, int index, uint32_t mtu);
/* txqueuelen in packets. */
void kat_msg_link_txqlen(struct nlmsghdr *nlh, int index, uint32_t packets);
/* net.ipv4.conf of one device; -1 leaves an entry alone. */
void kat_msg_link_netconf(struct nlmsghdr *nlh, int index, int forwarding, int rp_filter);
void kat_msg_link_delete(struct nlmsghdr *nlh, int index);
/* Asks for the link; the answer is read by kat_link_read(). */
void kat_msg_link_get(struct nlmsghdr *nlh, int index);
/* Adds or removes a second name of up to 127 bytes (type RTM_NEWLINKPROP,
 * RTM_DELLINKPROP). */
void kat_msg_altname(struct nlmsghdr *nlh, uint16_t type, int index, const char *altname);
/* The dummy address, by RTM_NEWADDR or RTM_DELADDR. */
void kat_msg_dummy_address(struct nlmsghdr *nlh, uint16_t type, int index);
/* A rule "to ADDRESS lookup TABLE" (RTM_NEWRULE fails with EEXIST if it is there;
 * RTM_DELRULE). */
void kat_msg_rule(struct nlmsghdr *nlh, uint16_t type, const struct kat_addr *to,
		  uint32_t priority, uint32_t table);
/* A host route (RTM_NEWROUTE replaces; RTM_DELROUTE); `encap` NULL: none. */
void kat_msg_route(struct nlmsghdr *nlh, uint16_t type, const struct kat_route *route,
		   const struct kat_encap *encap);
/* Fills `link` (type struct kat_link) from an RTM_NEWLINK; a mnl_cb_t. */
int kat_link_read(const struct nlmsghdr *nlh, void *link);
/* By name (or second name) or, for NULL, by index.  errno ENODEV: there is none. */
int kat_link_get(struct kat_nl *nl, const char *name, int index, struct kat_link *link,
		 int64_t deadline_ns);
/*
 * How many second names that start with `prefix` the link has; in `own` whether
 * the one named `except` is among them, which is not counted.
 */
int kat_link_altnames(struct kat_nl *nl, int index, const char *prefix,
		      const char *except, bool *own, unsigned int *count,
		      int64_t deadline_ns);
/* The first link of this kind in metadata mode; index 0 if there is none. */
int kat_link_external(struct kat_nl *nl, const char *kind, struct kat_link *link,
		      int64_t deadline_ns);
/* Whether the device has an IPv4 address. */
int kat_link_has_ipv4(struct kat_nl *nl, int index, bool *has, int64_t deadline_ns);
/* Whether any device has an address of the family (AF_) that is of global scope. */
int kat_address_global(struct kat_nl *nl, int family, bool *has, int64_t deadline_ns);
/*
 * The first second name of the link that starts with `prefix`, into `name`, which
 * has 128 bytes; "" if there is none.
 */
int kat_link_altname_find(struct kat_nl *nl, int index, const char *prefix, char *name,
			  int64_t deadline_ns);
/* Whether this node forwards packets of the family (AF_), by its conf/all. */
int kat_forwarding_get(struct kat_nl *nl, int family, bool *on, int64_t deadline_ns);
/* net.ipv4.conf of the device, or "all" for NETCONFA_IFINDEX_ALL. */
int kat_netconf_get(struct kat_nl *nl, int index, struct kat_netconf *conf,
		    int64_t deadline_ns);
/* Where a packet to the address would go now. */
int kat_way_get(struct kat_nl *nl, const struct kat_addr *to, struct kat_way *way,
		int64_t deadline_ns);
/* The same for a packet to some address of the family (AF_) far away. */
int kat_way_out(struct kat_nl *nl, int family, struct kat_way *way, int64_t deadline_ns);
/*
 * Calls `cb` with the RTM_NEWROUTE message of each route in `table` whose
 * destination is exactly this one address.
 */
int kat_route_hosts(struct kat_nl *nl, const struct kat_addr *to, uint32_t table,
		    mnl_cb_t cb, void *data, int64_t deadline_ns);

#endif /* KAT_RTNL_H */
