/* SPDX-License-Identifier: BSD-2-Clause */
#define KATAMARAN_API_VERSION 1
#include "katamaran-plugin.h"
#include "plugins/lib/tunnel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include "plugins/lib/qdisc.h"
#include "plugins/lib/qdisc.h"
#include "plugins/lib/rpfilter.h"
#include "plugins/lib/tunnel_lock.h"

int kat_tunnel_missing(struct katamaran_ctx *ctx, const struct kat_tunnel *tunnel)
{
	katamaran_error(ctx,
			"device %s: this kernel has no %s tunnels; load its module "
			"(modprobe %s), which carries %s packets over %s",
			tunnel->device, tunnel->kind, tunnel->module,
			tunnel->guest == AF_UNSPEC ? "IPv4 and IPv6"
						   : kat_family_name(tunnel->guest),
			kat_family_name(tunnel->underlay));
	return -1;
}

/* 1 where the kernel has no such kind. */
static int create_failed(struct katamaran_ctx *ctx, struct kat_nl *nl,
			 const struct kat_tunnel *tunnel, const char *device)
{
	int error = errno;
	struct kat_link other;

	if (error == EOPNOTSUPP)
		return 1;
	if (error == EEXIST && !tunnel->metadata) {
		katamaran_error(ctx,
				"device %s: cannot be made, for another %s device has "
				"the same ends (ip -d link show type %s)",
				device, tunnel->kind, tunnel->kind);
		return -1;
	}
	if (error == EEXIST &&
	    kat_link_external(nl, tunnel->kind, &other, katamaran_deadline_ns(ctx)) ==
		    0 &&
	    other.index) {
		katamaran_error(ctx,
				"device %s: cannot be made, for %s is an %s device in "
				"external mode already, and a namespace can have only "
				"one",
				device, other.name, tunnel->kind);
		return -1;
	}
	errno = error;
	katamaran_error(ctx, "device %s: cannot create the tunnel: %s%s", device,
			kat_nl_error(nl), kat_hint(error));
	return -1;
}

/* Finds the device, or creates it; 1 where the kernel cannot.  The lock is held. */
static int provide(struct katamaran_ctx *ctx, struct kat_nl *nl,
		   const struct kat_tunnel *tunnel, const struct kat_tunnel_need *need,
		   const char *device, struct kat_link *link)
{
	int64_t deadline = katamaran_deadline_ns(ctx);
	union kat_nl_message m;

	if (kat_link_get(nl, device, 0, link, deadline) < 0) {
		if (errno != ENODEV) {
			katamaran_error(ctx, "device %s: cannot look for it: %s%s",
					device, kat_nl_error(nl), kat_hint(errno));
			return -1;
		}
		if (tunnel->metadata)
			kat_msg_tunnel_add(&m.header, tunnel->kind, device,
					   tunnel->metadata);
		else
			kat_msg_sit_add(&m.header, device, need->from, need->to);
		if (kat_nl_talk(nl, &m.header, NULL, NULL, deadline) < 0)
			return create_failed(ctx, nl, tunnel, device);
		if (kat_link_get(nl, device, 0, link, deadline) < 0) {
			katamaran_error(
				ctx, "device %s: cannot find it after its creation: %s",
				device, kat_nl_error(nl));
			return -1;
		}
	}
	if (strcmp(link->kind, tunnel->kind) != 0 ||
	    (tunnel->metadata && !link->external)) {
		katamaran_error(ctx,
				"device %s: exists and is not an %s tunnel%s; rename or "
				"delete it",
				device, tunnel->kind,
				tunnel->metadata ? " in external mode" : "");
		return -1;
	}
	return 0;
}

static int add_share(struct katamaran_ctx *ctx, struct kat_nl *nl,
		     struct kat_tunnel_use *use, int index)
{
	union kat_nl_message m;

	snprintf(use->altname, sizeof(use->altname), "%s-%s", use->device,
		 katamaran_migration_id(ctx));
	kat_msg_altname(&m.header, RTM_NEWLINKPROP, index, use->altname);
	if (kat_nl_talk(nl, &m.header, NULL, NULL, katamaran_deadline_ns(ctx)) == 0) {
		use->index = index;
		return 0;
	}
	if (errno == EEXIST)
		katamaran_error(
			ctx,
			"device %s: has the name %s already: a migration of this "
			"identity is running, or was killed (then: ip link property "
			"del dev %s altname %s)",
			use->device, use->altname, use->device, use->altname);
	else
		katamaran_error(ctx, "device %s: cannot add the name %s: %s%s",
				use->device, use->altname, kat_nl_error(nl),
				kat_hint(errno));
	return -1;
}

/* A new device may have been born with IPv6 off (conf.default). */
static int enable_ipv6(struct katamaran_ctx *ctx, const char *device)
{
	kat_cleanup_close int fd = -1;
	char path[64 + IFNAMSIZ];
	char now = 0;

	snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/disable_ipv6", device);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0 && read(fd, &now, 1) == 1 && now == '0')
		return 0;
	if (fd >= 0)
		close(fd);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd >= 0 && write(fd, "0\n", 2) == 2)
		return 0;
	katamaran_error(ctx, "net.ipv6.conf.%s.disable_ipv6: cannot set it to 0: %m",
			device);
	return -1;
}

static int set_up_ipv4(struct katamaran_ctx *ctx, struct kat_nl *nl,
		       const struct kat_link *link)
{
	int64_t deadline = katamaran_deadline_ns(ctx);
	struct kat_rpfilter kept = {0}; /* goes with the device */
	union kat_nl_message m;

	kat_msg_link_netconf(&m.header, link->index, 1, -1);
	if (kat_nl_talk(nl, &m.header, NULL, NULL, deadline) == 0 &&
	    kat_rpfilter_relax(nl, link->index, &kept, deadline) == 0)
		return 0;
	katamaran_error(ctx,
			"device %s: cannot allow forwarding and asymmetric routing: %s%s",
			link->name, kat_nl_error(nl), kat_hint(errno));
	return -1;
}

static int set_up(struct katamaran_ctx *ctx, struct kat_nl *nl,
		  const struct kat_tunnel *tunnel, const struct kat_tunnel_need *need,
		  const struct kat_link *link)
{
	int64_t deadline = katamaran_deadline_ns(ctx);
	union kat_nl_message m;

	/* Before it goes up: nothing but what is redirected shall enter it. */
	kat_msg_link_addrgen(&m.header, link->index, IN6_ADDR_GEN_MODE_NONE);
	if (kat_nl_talk(nl, &m.header, NULL, NULL, deadline) < 0 &&
	    (need->ipv6 || (errno != EAFNOSUPPORT && errno != EOPNOTSUPP))) {
		katamaran_error(ctx,
				"device %s: cannot have it make no IPv6 address: %s%s",
				link->name, kat_nl_error(nl), kat_hint(errno));
		return -1;
	}
	if (need->ipv6 && enable_ipv6(ctx, link->name) < 0)
		return -1;
	kat_msg_link_up(&m.header, link->index, need->mtu > link->mtu ? need->mtu : 0);
	if (kat_nl_talk(nl, &m.header, NULL, NULL, deadline) < 0) {
		katamaran_error(
			ctx, "device %s: cannot set it up with an mtu of %u bytes: %s%s",
			link->name, need->mtu, kat_nl_error(nl), kat_hint(errno));
		return -1;
	}
	kat_msg_link_segments(&m.header, link->index);
	if (kat_nl_talk(nl, &m.header, NULL, NULL, deadline) < 0)
		katamaran_log(ctx, LOG_DEBUG, "device %s: counts segments together: %s",
			      link->name, kat_nl_error(nl));
	return tunnel->guest == AF_INET6 ? 0 : set_up_ipv4(ctx, nl, link);
}

/* The lock is held. */
static void drop_share(struct katamaran_ctx *ctx, struct kat_nl *nl,
		       const struct kat_tunnel_use *use, int index, const char *altname)
{
	int64_t deadline = katamaran_deadline_ns(ctx);
	union kat_nl_message m;
	unsigned int others;
	bool own;

	if (altname) {
		kat_msg_altname(&m.header, RTM_DELLINKPROP, index, altname);
		if (kat_nl_talk(nl, &m.header, NULL, NULL, deadline) < 0)
			katamaran_log(ctx, LOG_WARNING,
				      "device %s: cannot remove the name %s: %s",
				      use->device, altname, kat_nl_error(nl));
	}
	if (kat_link_altnames(nl, index, use->device, "", &own, &others, deadline) < 0) {
		katamaran_log(ctx, LOG_WARNING, "device %s: cannot see who uses it: %s",
			      use->device, kat_nl_error(nl));
		return;
	}
	if (others)
		return;
	kat_msg_link_delete(&m.header, index);
	if (kat_nl_talk(nl, &m.header, NULL, NULL, deadline) < 0)
		katamaran_log(ctx, LOG_WARNING, "device %s: cannot delete it: %s",
			      use->device, kat_nl_error(nl));
}

static void name_device(struct kat_tunnel_use *use, const struct kat_tunnel *tunnel,
			const struct kat_addr *to)
{
	const unsigned char *b = to ? to->bytes : NULL;

	use->tunnel = tunnel;
	if (b && !tunnel->metadata)
		snprintf(use->device, sizeof(use->device), "%.7s%02x%02x%02x%02x",
			 tunnel->device, b[0], b[1], b[2], b[3]);
	else
		snprintf(use->device, sizeof(use->device), "%s", tunnel->device);
}

int kat_tunnel_acquire(struct katamaran_ctx *ctx, struct kat_nl *nl,
		       const struct kat_tunnel *tunnel,
		       const struct kat_tunnel_need *need, struct kat_tunnel_use *use)
{
	kat_cleanup_close int lock = -1;
	struct kat_link link;
	int ret;

	name_device(use, tunnel, need->to);
	if (katamaran_journal(ctx, "tunnel %s", use->device) < 0)
		return -1;
	lock = kat_lock_take(use->device, katamaran_deadline_ns(ctx));
	if (lock < 0) {
		katamaran_error(ctx, "%s/%s.lock: cannot lock it: %m", KAT_LOCK_FOLDER,
				use->device);
		return -1;
	}
	ret = provide(ctx, nl, tunnel, need, use->device, &link);
	if (ret)
		return ret;
	if (add_share(ctx, nl, use, link.index) < 0) {
		drop_share(ctx, nl, use, link.index, NULL);
		return -1;
	}
	use->mtu = need->mtu > link.mtu ? need->mtu : link.mtu;
	/* From here on kat_tunnel_release() undoes it. */
	return set_up(ctx, nl, tunnel, need, &link);
}

void kat_tunnel_release(struct katamaran_ctx *ctx, struct kat_nl *nl,
			struct kat_tunnel_use *use)
{
	kat_cleanup_close int lock = -1;

	if (!use->index)
		return;
	lock = kat_lock_take(use->device, katamaran_deadline_ns(ctx));
	if (lock < 0) {
		katamaran_log(ctx, LOG_WARNING,
			      "device %s: left behind, %s/%s.lock cannot be locked: %m",
			      use->device, KAT_LOCK_FOLDER, use->device);
		return;
	}
	drop_share(ctx, nl, use, use->index, use->altname);
	use->index = 0;
}

/* Killed while it held what others send through the device, too. */
static int open_plug(struct katamaran_ctx *ctx, struct kat_nl *nl,
		     const struct kat_link *link)
{
	int64_t deadline = katamaran_deadline_ns(ctx);
	struct kat_qdisc queue;
	union kat_nl_message m;

	if (kat_qdisc_root(nl, link->index, &queue, deadline) < 0 || !queue.plug)
		return 0;
	kat_msg_plug_release(&m.header, link->index);
	if (kat_nl_talk(nl, &m.header, NULL, NULL, deadline) == 0)
		return 0;
	katamaran_error(ctx, "device %s: cannot open its plug: %s", link->name,
			kat_nl_error(nl));
	return -1;
}

int kat_tunnel_recover(struct katamaran_ctx *ctx, struct kat_nl *nl, const char *device)
{
	int64_t deadline = katamaran_deadline_ns(ctx);
	struct kat_tunnel_use use = {.index = 0};
	kat_cleanup_close int lock = -1;
	union kat_nl_message m;
	struct kat_link link;
	unsigned int others;
	bool own;

	snprintf(use.device, sizeof(use.device), "%s", device);
	snprintf(use.altname, sizeof(use.altname), "%s-%s", use.device,
		 katamaran_migration_id(ctx));
	lock = kat_lock_take(use.device, deadline);
	if (lock < 0) {
		katamaran_error(ctx, "%s/%s.lock: cannot lock it: %m", KAT_LOCK_FOLDER,
				use.device);
		return -1;
	}
	if (kat_link_get(nl, use.device, 0, &link, deadline) < 0 && errno == ENODEV)
		return 0;
	if (kat_link_altnames(nl, link.index, use.device, use.altname, &own, &others,
			      deadline) < 0) {
		katamaran_error(ctx, "device %s: cannot see who uses it: %s", device,
				kat_nl_error(nl));
		return -1;
	}
	/* Others use it, and cannot know that it was killed while it held their packets.
	 */
	kat_msg_plug_release(&m.header, link.index);
	kat_nl_talk(nl, &m.header, NULL, NULL, deadline);
	/* Without a share of anybody it was made and not yet shared. */
	if (own || !others)
		drop_share(ctx, nl, &use, link.index, own ? use.altname : NULL);
	return others ? open_plug(ctx, nl, &link) : 0;
}

bool kat_tunnel_shared(struct katamaran_ctx *ctx, struct kat_nl *nl,
		       const struct kat_tunnel_use *use)
{
	unsigned int others;
	bool own;

	if (kat_link_altnames(nl, use->index, use->device, use->altname, &own, &others,
			      katamaran_deadline_ns(ctx)) < 0)
		return true;
	return others > 0;
}
