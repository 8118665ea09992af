/* SPDX-License-Identifier: BSD-2-Clause */
#define KATAMARAN_API_VERSION 1
#include "plugins/lib/fabric.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <syslog.h>
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <linux/neighbour.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/tc_act/tc_mirred.h>
#include "plugins/lib/rtnl.h"

/* ---- by QEMU's descriptor ---- */

static int open_tap(struct katamaran_ctx *ctx, struct kat_fabric *f, const char *tap,
		    const char *netns)
{
	int pid = katamaran_qemu_pid(ctx), error;
	struct kat_tap_header header;

	if (pid <= 0) {
		errno = ESRCH;
		return -1;
	}
	if (kat_tap_duplicate(&f->tap, pid, katamaran_qemu_pidfd(ctx), tap, netns) < 0)
		return -1;
	if (kat_tap_header(f->tap.fds[0], &header) == 0)
		return 0;
	error = errno;
	kat_tap_close(&f->tap);
	errno = error;
	return -1;
}

/* Any queue will do that is not switched off; a guest may use fewer than it has. */
static int write_tap(const struct kat_fabric *f, const struct kat_frame *frame)
{
	static const uint8_t zeroes[KAT_TAP_HEADER];
	struct iovec iov[2] = {
		{.iov_base = (void *)(uintptr_t)zeroes},
		{.iov_base = (void *)(uintptr_t)frame->bytes, .iov_len = frame->length},
	};

	for (size_t i = 0; i < f->tap.count; i++) {
		struct kat_tap_header header;
		int ret = kat_tap_header(f->tap.fds[i], &header);

		iov[0].iov_len = ret < 0 ? 0 : header.before + header.virtio;
		if (ret == 0 && writev(f->tap.fds[i], iov, 2) >= 0)
			return 0;
		if (errno != EBADFD)
			return -1;
	}
	return -1;
}

/* ---- by a packet socket ---- */

/* Protocol 0: it only sends. */
static int open_packet(const char *netns)
{
	kat_cleanup_close int there = -1, here = -1;
	int sock, error;

	if (!netns)
		return socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	there = open(netns, O_RDONLY | O_CLOEXEC);
	if (there < 0)
		return -1;
	here = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (here < 0 || setns(there, CLONE_NEWNET) < 0)
		return -1;
	sock = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	error = errno;
	/* Staying there would put all that the program opens later into the wrong place.
	 */
	if (setns(here, CLONE_NEWNET) < 0)
		abort();
	errno = error;
	return sock;
}

static int send_packet(const struct kat_fabric *f, const struct kat_frame *frame,
		       const struct kat_fabric_device *device)
{
	struct sockaddr_ll to = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(kat_frame_type(frame)),
		.sll_ifindex = device->index,
		.sll_halen = 6,
	};

	memcpy(to.sll_addr, frame->bytes, 6);
	return sendto(f->sock, frame->bytes, frame->length, MSG_DONTWAIT | MSG_NOSIGNAL,
		      (const struct sockaddr *)&to, sizeof(to)) < 0
		       ? -1
		       : 0;
}

static int add_device(struct kat_fabric *f, const struct kat_link *link)
{
	struct kat_fabric_device *device = &f->devices[f->count];

	for (size_t i = 0; i < f->count; i++)
		if (f->devices[i].index == link->index)
			return 0;
	if (f->count == KAT_FABRIC_DEVICES) {
		errno = E2BIG;
		return -1;
	}
	device->index = link->index;
	memcpy(device->name, link->name, sizeof(device->name));
	f->count++;
	return 0;
}

/* ---- what is behind the tap ---- */

struct ports {
	struct kat_fabric *fabric;
	const struct kat_link *tap;
};

static int pick_port(const struct nlmsghdr *nlh, void *data)
{
	struct ports *ports = data;
	struct kat_link link = {0};

	kat_link_read(nlh, &link);
	if (link.master != ports->tap->master || link.index == ports->tap->index ||
	    !(link.flags & IFF_UP))
		return MNL_CB_OK;
	return add_device(ports->fabric, &link) < 0 ? MNL_CB_ERROR : MNL_CB_OK;
}

static int find_ports(struct kat_fabric *f, const struct kat_link *tap, int64_t deadline)
{
	struct ports ports = {f, tap};
	union kat_nl_message m;

	kat_msg_link_get(&m.header, 0);
	return kat_nl_dump(f->nl, &m.header, pick_port, &ports, deadline);
}

/* Where the actions of a filter are, by its kind. */
static uint16_t actions_of(const char *kind)
{
	static const struct {
		const char *kind;
		uint16_t actions;
	} kinds[] = {
		{"u32", TCA_U32_ACT},
		{"matchall", TCA_MATCHALL_ACT},
		{"flower", TCA_FLOWER_ACT},
		{"basic", TCA_BASIC_ACT},
	};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (!strcmp(kind, kinds[i].kind))
			return kinds[i].actions;
	return 0;
}

struct targets {
	int indices[KAT_FABRIC_DEVICES];
	size_t count;
};

static void read_action(const struct nlattr *action, struct targets *targets)
{
	const struct nlattr *kind, *options, *params;
	struct tc_mirred mirred;

	kind = kat_attr_in(action, TCA_ACT_KIND, sizeof("mirred"));
	options = kat_attr_in(action, TCA_ACT_OPTIONS, 0);
	if (!kind || !options ||
	    memcmp(mnl_attr_get_payload(kind), "mirred", sizeof("mirred")) != 0)
		return;
	params = kat_attr_in(options, TCA_MIRRED_PARMS, sizeof(mirred));
	if (!params || targets->count == KAT_FABRIC_DEVICES)
		return;
	memcpy(&mirred, mnl_attr_get_payload(params), sizeof(mirred));
	if (mirred.eaction == TCA_EGRESS_REDIR || mirred.eaction == TCA_EGRESS_MIRROR)
		targets->indices[targets->count++] = (int)mirred.ifindex;
}

static int read_filter(const struct nlmsghdr *nlh, void *data)
{
	const struct nlattr *kind, *options, *actions, *action;
	uint16_t type;

	if (nlh->nlmsg_type != RTM_NEWTFILTER)
		return MNL_CB_OK;
	kind = kat_attr(nlh, sizeof(struct tcmsg), TCA_KIND, 1);
	options = kat_attr(nlh, sizeof(struct tcmsg), TCA_OPTIONS, 0);
	if (!kind || !options || mnl_attr_validate(kind, MNL_TYPE_NUL_STRING) < 0)
		return MNL_CB_OK;
	type = actions_of(mnl_attr_get_str(kind));
	actions = type ? kat_attr_in(options, type, 0) : NULL;
	if (!actions)
		return MNL_CB_OK;
	mnl_attr_for_each_nested (action, actions)
		read_action(action, data);
	return MNL_CB_OK;
}

/* Kata joins the tap to the pod's interface so, by an ingress or clsact queue. */
static int find_targets(struct kat_fabric *f, int tap, struct targets *targets,
			int64_t deadline)
{
	union kat_nl_message m;
	struct tcmsg *tcm = kat_msg_start(&m.header, RTM_GETTFILTER, 0, sizeof(*tcm));

	tcm->tcm_ifindex = tap;
	tcm->tcm_parent = TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS);
	return kat_nl_dump(f->nl, &m.header, read_filter, targets, deadline);
}

static int add_targets(struct kat_fabric *f, const struct targets *targets,
		       int64_t deadline)
{
	struct kat_link link;

	for (size_t i = 0; i < targets->count; i++)
		if (kat_link_get(f->nl, NULL, targets->indices[i], &link, deadline) < 0 ||
		    add_device(f, &link) < 0)
			return -1;
	return 0;
}

/* What one says of the tap's surroundings, and needs to know of them. */
struct surroundings {
	struct kat_link tap, master;
	struct targets targets;
	bool bridge;
};

static int look_around(struct kat_fabric *f, const char *tap, struct surroundings *s,
		       int64_t deadline)
{
	if (kat_link_get(f->nl, tap, 0, &s->tap, deadline) < 0)
		return -1;
	if (s->tap.master &&
	    kat_link_get(f->nl, NULL, s->tap.master, &s->master, deadline) < 0)
		return -1;
	s->bridge = s->tap.master && !strcmp(s->master.kind, "bridge");
	return find_targets(f, s->tap.index, &s->targets, deadline);
}

/* ---- the choice ---- */

static int add_named(struct katamaran_ctx *ctx, struct kat_fabric *f,
		     const char *const *names, size_t count, int64_t deadline)
{
	struct kat_link link;

	for (size_t i = 0; i < count; i++) {
		if (kat_link_get(f->nl, names[i], 0, &link, deadline) < 0) {
			katamaran_error(ctx, "interface %s: cannot be announced on: %s",
					names[i], kat_nl_error(f->nl));
			return -1;
		}
		if (add_device(f, &link) < 0) {
			katamaran_error(ctx, "more than %d interfaces to announce on",
					KAT_FABRIC_DEVICES);
			return -1;
		}
	}
	return 0;
}

static int add_found(struct katamaran_ctx *ctx, struct kat_fabric *f,
		     const struct surroundings *s, int64_t deadline)
{
	int ret = 0;

	if (!strcmp(s->tap.kind, "macvtap"))
		ret = add_device(f, &s->tap); /* its own sending side is the network */
	else if (s->bridge)
		ret = find_ports(f, &s->tap, deadline);
	else
		ret = add_targets(f, &s->targets, deadline);
	if (ret < 0) {
		katamaran_error(ctx, "tap %s: cannot find what is behind it: %m",
				s->tap.name);
		return -1;
	}
	if (f->count)
		return 0;
	if (s->tap.master && !s->bridge) {
		katamaran_error(
			ctx,
			"tap %s: is a port of %s, which is no bridge: only QEMU's "
			"own descriptor leads into it, or name an interface",
			s->tap.name, s->master.name);
		return -1;
	}
	katamaran_log(
		ctx, LOG_WARNING,
		"tap %s: nothing is behind it that could be told where the guest is",
		s->tap.name);
	return 0;
}

/* A line for people: on what the frames go out. */
static void tell_devices(struct katamaran_ctx *ctx, const struct kat_fabric *f,
			 const char *tap)
{
	char text[256] = "";
	size_t used = 0;

	for (size_t i = 0; i < f->count && used < sizeof(text); i++)
		used += (size_t)snprintf(text + used, sizeof(text) - used, " %s",
					 f->devices[i].name);
	if (f->count)
		katamaran_log(ctx, LOG_INFO, "the guest at %s is announced on:%s", tap,
			      text);
}

static void tell_tap(struct katamaran_ctx *ctx, const struct surroundings *s)
{
	if (s->tap.master)
		katamaran_log(
			ctx, LOG_INFO,
			"the guest is announced through its own tap %s, a port of %s",
			s->tap.name, s->master.name);
	else if (s->targets.count)
		katamaran_log(ctx, LOG_INFO,
			      "the guest is announced through its own tap %s",
			      s->tap.name);
	else
		katamaran_log(
			ctx, LOG_WARNING,
			"tap %s: is in no bridge and no filter redirects from it: this "
			"node alone will hear the announcement",
			s->tap.name);
}

static void prepare_fdb(struct kat_fabric *f, const uint8_t *mac, int tap)
{
	struct ndmsg *ndm;

	ndm = kat_msg_start(&f->fdb.header, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE,
			    sizeof(*ndm));
	ndm->ndm_family = AF_BRIDGE;
	ndm->ndm_ifindex = tap;
	ndm->ndm_flags = NTF_MASTER;
	ndm->ndm_state = NUD_REACHABLE; /* learnt: it ages, and it moves */
	mnl_attr_put(&f->fdb.header, NDA_LLADDR, 6, mac);
	f->learn = true;
}

static int open_nl(struct katamaran_ctx *ctx, struct kat_fabric *f, const char *netns)
{
	f->nl = kat_nl_open(netns);
	if (f->nl)
		return 0;
	katamaran_error(ctx, "network namespace %s: cannot open a netlink socket: %m",
			netns ? netns : "(own)");
	return -1;
}

int kat_fabric_open(struct katamaran_ctx *ctx, struct kat_fabric *f, size_t nic,
		    const char *const *names, size_t count)
{
	const char *tap = katamaran_nic_tap(ctx, nic);
	const char *netns = katamaran_nic_netns(ctx, nic);
	const uint8_t *mac = katamaran_nic_mac(ctx, nic);
	int64_t deadline = katamaran_deadline_ns(ctx);
	struct surroundings s = {0};

	if (!tap && !count) {
		katamaran_error(
			ctx, "NIC %zu has no tap: name an interface to announce on", nic);
		return -1;
	}
	if (open_nl(ctx, f, netns) < 0)
		return -1;
	if (tap && look_around(f, tap, &s, deadline) < 0) {
		katamaran_error(ctx, "tap %s: cannot look at it: %s", tap,
				kat_nl_error(f->nl));
		return -1;
	}
	if (!count && strcmp(s.tap.kind, "macvtap") != 0) {
		if (open_tap(ctx, f, tap, netns) == 0) {
			tell_tap(ctx, &s);
			return 0;
		}
		katamaran_log(ctx, LOG_WARNING,
			      "tap %s: cannot have QEMU's descriptor of it (process %d): "
			      "%m; the frames are sent on what is behind it",
			      tap, katamaran_qemu_pid(ctx));
	}
	if (count ? add_named(ctx, f, names, count, deadline) < 0
		  : add_found(ctx, f, &s, deadline) < 0)
		return -1;
	if (s.bridge && mac)
		prepare_fdb(f, mac, s.tap.index);
	tell_devices(ctx, f, tap ? tap : "(no tap)");
	f->sock = open_packet(netns);
	if (f->sock >= 0)
		return 0;
	katamaran_error(
		ctx, "announcing: cannot open a packet socket (CAP_NET_RAW is needed): "
		     "%m");
	return -1;
}

int kat_fabric_learn(struct kat_fabric *f, int64_t deadline_ns)
{
	if (!f->learn)
		return 0;
	f->learn = false;
	return kat_nl_talk(f->nl, &f->fdb.header, NULL, NULL, deadline_ns);
}

int kat_fabric_send(const struct kat_fabric *f, const struct kat_frame *frame,
		    const char **failed)
{
	int error = 0;

	*failed = NULL;
	if (f->tap.count)
		return write_tap(f, frame);
	for (size_t i = 0; i < f->count; i++) {
		if (send_packet(f, frame, &f->devices[i]) == 0 || error)
			continue;
		error = errno;
		*failed = f->devices[i].name;
	}
	errno = error;
	return error ? -1 : 0;
}

void kat_fabric_close(struct kat_fabric *f)
{
	kat_tap_close(&f->tap);
	if (f->sock >= 0)
		close(f->sock);
	f->sock = -1;
	kat_nl_close(f->nl);
	f->nl = NULL;
}
