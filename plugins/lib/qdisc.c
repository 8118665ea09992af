/* SPDX-License-Identifier: BSD-2-Clause */
#include "plugins/lib/qdisc.h"

#include <errno.h>
#include <string.h>
#include <linux/gen_stats.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>

static struct tcmsg *start(struct nlmsghdr *nlh, uint16_t type, uint16_t flags, int index,
			   uint32_t handle)
{
	struct tcmsg *tcm;

	mnl_nlmsg_put_header(nlh);
	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = NLM_F_REQUEST | flags;
	tcm = mnl_nlmsg_put_extra_header(nlh, sizeof(*tcm));
	tcm->tcm_family = AF_UNSPEC;
	tcm->tcm_ifindex = index;
	tcm->tcm_parent = TC_H_ROOT;
	tcm->tcm_handle = handle;
	return tcm;
}

static void plug(struct nlmsghdr *nlh, uint16_t flags, int index, int action,
		 uint32_t limit)
{
	struct tc_plug_qopt opt = {.action = action, .limit = limit};

	start(nlh, RTM_NEWQDISC, flags, index, KAT_PLUG_HANDLE);
	mnl_attr_put_strz(nlh, TCA_KIND, "plug");
	mnl_attr_put(nlh, TCA_OPTIONS, sizeof(opt), &opt);
}

void kat_msg_plug_add(struct nlmsghdr *nlh, int index, uint32_t limit)
{
	/* Creation reads the limit alone, and the plug is closed (plug_init()). */
	plug(nlh, NLM_F_CREATE | NLM_F_REPLACE, index, TCQ_PLUG_BUFFER, limit);
}

void kat_msg_plug_block(struct nlmsghdr *nlh, int index)
{
	plug(nlh, 0, index, TCQ_PLUG_BUFFER, 0);
}

void kat_msg_plug_release(struct nlmsghdr *nlh, int index)
{
	plug(nlh, 0, index, TCQ_PLUG_RELEASE_INDEFINITE, 0);
}

void kat_msg_plug_limit(struct nlmsghdr *nlh, int index, uint32_t limit)
{
	plug(nlh, 0, index, TCQ_PLUG_LIMIT, limit);
}

void kat_msg_plug_get(struct nlmsghdr *nlh, int index)
{
	/* Kernels before 6.4 answer the asker only if asked to echo (qdisc_notify()). */
	start(nlh, RTM_GETQDISC, NLM_F_ECHO, index, KAT_PLUG_HANDLE);
}

void kat_msg_qdisc_delete(struct nlmsghdr *nlh, int index)
{
	start(nlh, RTM_DELQDISC, 0, index, 0);
}

void kat_msg_qdisc_restore(struct nlmsghdr *nlh, int index, const struct kat_qdisc *qdisc)
{
	start(nlh, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, index, qdisc->handle);
	mnl_attr_put_strz(nlh, TCA_KIND, qdisc->kind);
	if (qdisc->options_length)
		mnl_attr_put(nlh, TCA_OPTIONS, qdisc->options_length, qdisc->options);
}

static void read_stats2(struct kat_qdisc_stats *stats, const struct nlattr *nest)
{
	struct gnet_stats_queue queue;
	struct gnet_stats_basic basic;
	const struct nlattr *attr;

	mnl_attr_for_each_nested (attr, nest) {
		uint16_t type = mnl_attr_get_type(attr);
		size_t length = mnl_attr_get_payload_len(attr);

		if (type == TCA_STATS_QUEUE && length >= sizeof(queue)) {
			memcpy(&queue, mnl_attr_get_payload(attr), sizeof(queue));
			stats->packets = queue.qlen;
			stats->bytes = queue.backlog;
			stats->drops = queue.drops;
			stats->seen = true;
		} else if (type == TCA_STATS_BASIC && length >= 12) {
			memset(&basic, 0, sizeof(basic));
			memcpy(&basic, mnl_attr_get_payload(attr), 12);
			stats->sent = basic.packets;
		} else if (type == TCA_STATS_PKT64 && length >= sizeof(uint64_t)) {
			stats->sent = mnl_attr_get_u64(attr);
		}
	}
}

int kat_qdisc_read_stats(const struct nlmsghdr *nlh, void *data)
{
	const struct tcmsg *tcm = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *attr;

	if (nlh->nlmsg_type != RTM_NEWQDISC || tcm->tcm_handle != KAT_PLUG_HANDLE)
		return MNL_CB_OK;
	mnl_attr_for_each (attr, nlh, sizeof(*tcm))
		if (mnl_attr_get_type(attr) == TCA_STATS2)
			read_stats2(data, attr);
	return MNL_CB_OK;
}

struct search {
	int index;
	struct kat_qdisc *found;
};

static int pick_root(const struct nlmsghdr *nlh, void *data)
{
	const struct tcmsg *tcm = mnl_nlmsg_get_payload(nlh);
	struct search *search = data;
	struct kat_qdisc *q = search->found;
	const struct nlattr *attr;

	if (nlh->nlmsg_type != RTM_NEWQDISC || tcm->tcm_ifindex != search->index)
		return MNL_CB_OK;
	if (tcm->tcm_parent != TC_H_ROOT) {
		/* Of the default "mq" too there are some below, with handle 0. */
		if (tcm->tcm_handle && tcm->tcm_parent != TC_H_INGRESS)
			q->parent = true;
		return MNL_CB_OK;
	}
	q->handle = tcm->tcm_handle;
	q->custom = tcm->tcm_handle != 0;
	mnl_attr_for_each (attr, nlh, sizeof(*tcm)) {
		size_t length = mnl_attr_get_payload_len(attr);

		if (mnl_attr_get_type(attr) == TCA_KIND && length < sizeof(q->kind))
			memcpy(q->kind, mnl_attr_get_payload(attr), length);
		if (mnl_attr_get_type(attr) != TCA_OPTIONS)
			continue;
		if (length > sizeof(q->options)) {
			errno = E2BIG;
			return MNL_CB_ERROR;
		}
		q->options_length = (uint16_t)length;
		memcpy(q->options, mnl_attr_get_payload(attr), length);
	}
	q->plug = q->handle == KAT_PLUG_HANDLE && !strcmp(q->kind, "plug");
	return MNL_CB_OK;
}

int kat_qdisc_root(struct kat_nl *nl, int index, struct kat_qdisc *qdisc,
		   int64_t deadline_ns)
{
	struct search search = {.index = index, .found = qdisc};
	union kat_nl_message m;

	memset(qdisc, 0, sizeof(*qdisc));
	start(&m.header, RTM_GETQDISC, 0, index, 0)->tcm_parent = 0;
	return kat_nl_dump(nl, &m.header, pick_root, &search, deadline_ns);
}

bool kat_qdisc_restorable(const struct kat_qdisc *qdisc)
{
	static const char *const kinds[] = {"pfifo", "bfifo",	 "pfifo_fast", "fq",
					    "codel", "fq_codel", "pie",	       "fq_pie",
					    "sfq",   "cake",	 "hhf",	       "noqueue"};

	if (!qdisc->custom)
		return true;
	if (qdisc->parent)
		return false;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (!strcmp(kinds[i], qdisc->kind))
			return true;
	return false;
}
