/* SPDX-License-Identifier: BSD-2-Clause */
#define KATAMARAN_API_VERSION 1
#include "plugins/lib/guest_check.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <linux/fib_rules.h>
#include <linux/neighbour.h>
#include <linux/netconf.h>
#include <linux/rtnetlink.h>
#include "plugins/lib/kernel.h"
#include "plugins/lib/pin.h"

/* rp_filter: who is not reached through this very device is dropped. */
#define STRICT 1

static bool is_source(struct katamaran_ctx *ctx)
{
	return katamaran_role(ctx) == KATAMARAN_SOURCE;
}

static void cannot(struct katamaran_ctx *ctx, const struct kat_nl *nl, const char *what,
		   const char *act)
{
	int error = errno;

	katamaran_finding(ctx, KATAMARAN_FAILURE, what, "cannot %s: %s%s", act,
			  kat_nl_error(nl), kat_hint(error));
}

/* ---- the guest's taps ---- */

static void check_plug(struct katamaran_ctx *ctx, const char *what,
		       const struct kat_link *tap, const struct kat_qdisc *root)
{
	const char *plug = katamaran_conf_string(ctx, "plug");
	bool required = !strcmp(plug, "require");
	enum kat_kernel has;

	if (!strcmp(plug, "off"))
		return;
	if (!kat_qdisc_restorable(root)) {
		katamaran_finding(ctx, KATAMARAN_FAILURE, what,
				  "its root queue \"%s\" could not be put back as it is; "
				  "remove it or set plug = \"off\"",
				  root->kind);
		return;
	}
	has = kat_kernel_module("sch_plug", "plug_enqueue");
	if (has == KAT_KERNEL_LACKS || has == KAT_KERNEL_UNKNOWN)
		katamaran_finding(
			ctx, required ? KATAMARAN_FAILURE : KATAMARAN_WARNING, what,
			"%s sch_plug; what arrives before the guest runs waits in "
			"the tap's ring alone (%u packets, and option ring): "
			"modprobe sch_plug",
			has == KAT_KERNEL_LACKS ? "this kernel has no"
						: "nothing tells of",
			tap->txqlen);
}

/* Whether QEMU has this tap open; a macvtap cannot be told. */
static bool is_qemus(struct katamaran_ctx *ctx, size_t nic, const char *what,
		     const struct kat_link *link)
{
	static struct kat_tap tap; /* too large for a stack; one thread */
	const char *name = katamaran_nic_tap(ctx, nic);

	if (katamaran_qemu_pid(ctx) <= 0 || strcmp(link->kind, "tun") != 0)
		return true;
	if (kat_tap_duplicate(&tap, katamaran_qemu_pid(ctx), katamaran_qemu_pidfd(ctx),
			      name, katamaran_nic_netns(ctx, nic)) == 0) {
		kat_tap_close(&tap);
		return true;
	}
	if (errno != ENOENT) {
		katamaran_finding(ctx, KATAMARAN_WARNING, what,
				  "QEMU's descriptor of it is out of reach: %m");
		return false;
	}
	katamaran_finding(ctx, KATAMARAN_FAILURE, what,
			  "this QEMU (process %d) has not opened it: correct nics.tap%s",
			  katamaran_qemu_pid(ctx),
			  katamaran_nic_netns(ctx, nic) ? " or nics.netns" : "");
	return false;
}

static void check_queue(struct katamaran_ctx *ctx, struct kat_nl *nl, const char *what,
			const struct kat_link *link)
{
	struct kat_qdisc root;

	if (kat_qdisc_root(nl, link->index, &root, katamaran_deadline_ns(ctx)) < 0)
		cannot(ctx, nl, what, "read its root queue");
	else if (root.plug)
		katamaran_finding(ctx, KATAMARAN_WARNING, what,
				  "has a plug, of another migration or of one that was "
				  "killed (then: tc qdisc del dev %s root)",
				  link->name);
	else if (!is_source(ctx))
		check_plug(ctx, what, link, &root);
}

static void check_link(struct katamaran_ctx *ctx, struct kat_nl *nl, size_t nic,
		       const char *what)
{
	const char *name = katamaran_nic_tap(ctx, nic);
	const char *netns = katamaran_nic_netns(ctx, nic);
	struct kat_link link;

	if (kat_link_get(nl, name, 0, &link, katamaran_deadline_ns(ctx)) < 0) {
		if (errno == ENODEV)
			katamaran_finding(ctx, KATAMARAN_FAILURE, what,
					  "does not exist in %s: correct nics.tap",
					  netns ? netns : "this network namespace");
		else
			cannot(ctx, nl, what, "find it");
		return;
	}
	if (!(link.flags & IFF_UP))
		katamaran_finding(
			ctx, KATAMARAN_FAILURE, what,
			"is down: nothing reaches the guest through it (ip link "
			"set %s up)",
			name);
	else if (is_qemus(ctx, nic, what, &link))
		katamaran_finding(
			ctx, KATAMARAN_OK, what,
			"is up, and QEMU has it open; mtu %u, ring of %u packets",
			link.mtu, link.txqlen);
	check_queue(ctx, nl, what, &link);
}

static void check_tap(struct katamaran_ctx *ctx, struct kat_redirect *r, size_t nic)
{
	const char *name = katamaran_nic_tap(ctx, nic);
	const char *netns = katamaran_nic_netns(ctx, nic);
	struct kat_nl *own;
	char what[64];

	snprintf(what, sizeof(what), "tap %s", name ? name : "(not told)");
	if (!name) {
		katamaran_finding(
			ctx, KATAMARAN_WARNING, what,
			"whether the guest has taken its packets cannot be seen: "
			"set nics.tap");
		return;
	}
	if (!netns) {
		check_link(ctx, r->nl, nic, what);
		return;
	}
	own = kat_nl_open(netns);
	if (!own) {
		katamaran_finding(ctx, KATAMARAN_FAILURE, what,
				  "cannot enter the namespace %s: %m", netns);
		return;
	}
	check_link(ctx, own, nic, what);
	kat_nl_close(own);
}

/* ---- the guest's addresses ---- */

struct rule {
	const struct kat_addr *to;
	uint32_t table;
	bool found;
};

static int see_rule(const struct nlmsghdr *nlh, void *data)
{
	struct rule *rule = data;
	size_t bytes = kat_addr_bytes(rule->to);
	const struct nlattr *to =
		kat_attr(nlh, sizeof(struct fib_rule_hdr), FRA_DST, bytes);
	const struct nlattr *table =
		kat_attr(nlh, sizeof(struct fib_rule_hdr), FRA_TABLE, sizeof(uint32_t));

	if (to && table && mnl_attr_get_u32(table) == rule->table &&
	    !memcmp(mnl_attr_get_payload(to), rule->to->bytes, bytes))
		rule->found = true;
	return MNL_CB_OK;
}

/* A redirect of this address: of another migration, or left by one that was killed. */
static void check_leftover(struct katamaran_ctx *ctx, struct kat_redirect *r,
			   const struct kat_guest_ip *ip, const char *what)
{
	uint32_t table = (uint32_t)katamaran_conf_int(ctx, "table");
	struct rule rule = {.to = &ip->addr, .table = table};
	union kat_nl_message m;
	struct fib_rule_hdr *header =
		kat_msg_start(&m.header, RTM_GETRULE, NLM_F_DUMP, sizeof(*header));

	header->family = (uint8_t)ip->addr.family;
	if (kat_nl_dump(r->nl, &m.header, see_rule, &rule, katamaran_deadline_ns(ctx)) <
	    0)
		cannot(ctx, r->nl, what, "read the routing rules");
	else if (rule.found)
		katamaran_finding(
			ctx, KATAMARAN_FAILURE, what,
			"is being redirected already, by another migration of the "
			"same guest or one that was killed (then: ip route flush "
			"table %u to %s; ip rule delete to %s table %u)",
			table, ip->text, ip->text, table);
}

/* Whether the device is the guest's tap, or a bridge that has it; yes on doubt. */
static bool leads_to_tap(struct katamaran_ctx *ctx, struct kat_redirect *r,
			 const struct kat_guest_ip *ip, int oif)
{
	const char *name = katamaran_nic_tap(ctx, ip->nic);
	struct kat_link tap;

	if (!name || katamaran_nic_netns(ctx, ip->nic) ||
	    kat_link_get(r->nl, name, 0, &tap, katamaran_deadline_ns(ctx)) < 0)
		return true;
	return tap.index == oif || tap.master == oif;
}

/* What this node knows of the guest as its neighbour. */
static bool check_neighbour(struct katamaran_ctx *ctx, struct kat_redirect *r,
			    const struct kat_guest_ip *ip, int oif, const char *what)
{
	const uint8_t *mac = katamaran_nic_mac(ctx, ip->nic);
	struct kat_neigh neigh;
	const uint8_t *n = neigh.mac;

	if (kat_neigh_get(r->nl, oif, &ip->addr, &neigh, katamaran_deadline_ns(ctx)) <
		    0 ||
	    !neigh.exists)
		return true;
	if (is_source(ctx) && (neigh.state & (NUD_FAILED | NUD_INCOMPLETE))) {
		katamaran_finding(ctx, KATAMARAN_WARNING, what,
				  "nobody answers there when this node asks for its MAC: "
				  "see that nics.ips is right, and that the guest runs");
		return false;
	}
	if (!neigh.has_mac || !mac || !memcmp(mac, n, 6))
		return true;
	katamaran_finding(
		ctx, KATAMARAN_WARNING, what,
		"this node has its MAC as %02x:%02x:%02x:%02x:%02x:%02x, the "
		"guest's card has %02x:%02x:%02x:%02x:%02x:%02x: correct "
		"nics.mac or nics.ips, or delete an old entry (ip neigh del %s)",
		n[0], n[1], n[2], n[3], n[4], n[5], mac[0], mac[1], mac[2], mac[3],
		mac[4], mac[5], ip->text);
	return false;
}

/* True: what the guest sends would be dropped on its way out of here. */
static bool check_reverse_path(struct katamaran_ctx *ctx, struct kat_redirect *r,
			       const struct kat_guest_ip *ip, const char *what)
{
	const char *name = katamaran_nic_tap(ctx, ip->nic);
	int64_t deadline = katamaran_deadline_ns(ctx);
	struct kat_netconf all, own;
	struct kat_link tap;

	if (ip->addr.family != AF_INET ||
	    kat_link_get(r->nl, name, 0, &tap, deadline) < 0 ||
	    kat_netconf_get(r->nl, NETCONFA_IFINDEX_ALL, &all, deadline) < 0 ||
	    kat_netconf_get(r->nl, tap.master ? tap.master : tap.index, &own, deadline) <
		    0)
		return false;
	if ((all.rp_filter > own.rp_filter ? all.rp_filter : own.rp_filter) != STRICT)
		return false;
	katamaran_finding(
		ctx, KATAMARAN_FAILURE, what,
		"rp_filter of %s is 1 (strict), and the route to the guest leads "
		"elsewhere: what the guest sends would be dropped; correct the "
		"route, or set net.ipv4.conf.%s.rp_filter to 2",
		name, name);
	return true;
}

/* What the guest sends has to be sent on from its tap, where no bridge does that. */
static bool check_forwarding(struct katamaran_ctx *ctx, struct kat_redirect *r,
			     const struct kat_guest_ip *ip, const struct kat_link *device,
			     const char *what)
{
	struct kat_netconf conf;

	if (ip->addr.family != AF_INET || !r->tunnels ||
	    kat_netconf_get(r->nl, device->index, &conf, katamaran_deadline_ns(ctx)) <
		    0 ||
	    conf.forwarding)
		return true;
	katamaran_finding(ctx, KATAMARAN_WARNING, what,
			  "net.ipv4.conf.%s.forwarding is 0: what the guest sends would "
			  "not be sent on by this node; set it to 1",
			  device->name);
	return false;
}

/* The greatest packet that the way to the guest carries here goes to *mtu. */
static void check_ip(struct katamaran_ctx *ctx, struct kat_redirect *r,
		     const struct kat_guest_ip *ip, uint32_t *mtu)
{
	int64_t deadline = katamaran_deadline_ns(ctx);
	struct kat_link device;
	struct kat_way way;
	char what[64];

	snprintf(what, sizeof(what), "guest address %s", ip->text);
	if (is_source(ctx) && r->tunnels)
		check_leftover(ctx, r, ip, what);
	if (kat_way_get(r->nl, &ip->addr, &way, deadline) < 0 ||
	    way.type != RTN_UNICAST ||
	    kat_link_get(r->nl, NULL, way.oif, &device, deadline) < 0) {
		katamaran_finding(
			ctx, KATAMARAN_FAILURE, what,
			"this node has no route to it: add one that leads to the "
			"guest's tap (ip route add %s dev ...)",
			ip->text);
		return;
	}
	if (device.mtu > *mtu)
		*mtu = device.mtu;
	if (!leads_to_tap(ctx, r, ip, way.oif)) {
		if (is_source(ctx) || !check_reverse_path(ctx, r, ip, what))
			katamaran_finding(
				ctx, KATAMARAN_WARNING, what,
				"its route leads through %s, not through the tap "
				"%s nor its bridge: correct nics.ips, nics.tap, or "
				"the route",
				device.name, katamaran_nic_tap(ctx, ip->nic));
		return;
	}
	if (!is_source(ctx) && !way.gateway && !katamaran_nic_mac(ctx, ip->nic)) {
		katamaran_finding(ctx, KATAMARAN_FAILURE, what,
				  "the MAC of its card is not known: set nics.mac");
		return;
	}
	if (!is_source(ctx) && !way.gateway &&
	    !check_forwarding(ctx, r, ip, &device, what))
		return;
	if (way.gateway || check_neighbour(ctx, r, ip, way.oif, what))
		katamaran_finding(ctx, KATAMARAN_OK, what, "is reached through %s",
				  device.name);
}

void kat_guest_check(struct katamaran_ctx *ctx, struct kat_redirect *r, uint32_t *mtu)
{
	for (size_t nic = 0; nic < katamaran_nic_count(ctx); nic++)
		check_tap(ctx, r, nic);
	for (size_t i = 0; i < r->count; i++)
		check_ip(ctx, r, &r->ips[i], mtu);
}
