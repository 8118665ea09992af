/* SPDX-License-Identifier: BSD-2-Clause */
#include "plugins/lib/nft.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <libnftnl/chain.h>
#include <libnftnl/common.h>
#include <libnftnl/expr.h>
#include <libnftnl/object.h>
#include <libnftnl/rule.h>
#include <libnftnl/table.h>
#include <linux/if_ether.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

/* Room that one message may take; the largest, a rule, has less than 1 KiB. */
#define MESSAGE_BYTES 8192
/* An answer: an object, or an acknowledgement without its request. */
#define RECEIVE_BYTES 8192

/* Offsets in the headers of a packet: struct ethhdr, iphdr, ipv6hdr. */
#define ETHER_TO   0
#define ETHER_FROM 6
#define ETHER_TYPE 12
#define IPV4_TO	   16
#define IPV6_TO	   24

struct kat_nft {
	struct mnl_socket *socket;
	uint32_t seq;
	unsigned int portid;
	int failed; /* NFT_MSG_ */
	char error[128];
	char room[RECEIVE_BYTES] __attribute__((__aligned__(NLMSG_ALIGNTO)));
};

struct kat_nft *kat_nft_open(void)
{
	struct kat_nft *nft = calloc(1, sizeof(*nft));
	int on = 1, error;

	if (!nft)
		return NULL;
	nft->failed = -1;
	nft->socket = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (!nft->socket || mnl_socket_bind(nft->socket, 0, MNL_SOCKET_AUTOPID) < 0) {
		error = errno;
		kat_nft_close(nft);
		errno = error;
		return NULL;
	}
	nft->portid = mnl_socket_get_portid(nft->socket);
	nft->seq = (uint32_t)kat_now_ns();
	/* Answers would repeat the request otherwise, which may be long. */
	(void)mnl_socket_setsockopt(nft->socket, NETLINK_CAP_ACK, &on, sizeof(on));
	return nft;
}

void kat_nft_close(struct kat_nft *nft)
{
	if (!nft)
		return;
	if (nft->socket)
		mnl_socket_close(nft->socket);
	free(nft);
}

const char *kat_nft_error(const struct kat_nft *nft)
{
	return nft->error;
}

int kat_nft_failed(const struct kat_nft *nft)
{
	return nft->failed;
}

static const char *message_name(int type)
{
	switch (type) {
	case NFT_MSG_NEWTABLE:
		return "NFT_MSG_NEWTABLE";
	case NFT_MSG_DELTABLE:
		return "NFT_MSG_DELTABLE";
	case NFT_MSG_GETTABLE:
		return "NFT_MSG_GETTABLE";
	case NFT_MSG_NEWCHAIN:
		return "NFT_MSG_NEWCHAIN";
	case NFT_MSG_NEWRULE:
		return "NFT_MSG_NEWRULE";
	case NFT_MSG_DELRULE:
		return "NFT_MSG_DELRULE";
	case NFT_MSG_NEWOBJ:
		return "NFT_MSG_NEWOBJ";
	case NFT_MSG_GETOBJ:
		return "NFT_MSG_GETOBJ";
	default:
		return "nf_tables";
	}
}

/* Says it in nft->error, sets errno and returns -1. */
static int fail(struct kat_nft *nft, int type, int error)
{
	nft->failed = type;
	snprintf(nft->error, sizeof(nft->error), "%s: %s", message_name(type),
		 strerror(error));
	errno = error;
	return -1;
}

/* Where the next message may be built, or NULL, and then the batch says why. */
static struct nlmsghdr *next(struct kat_nft_batch *batch)
{
	char *room = batch->room + batch->used;

	if (!batch->error && batch->used + MESSAGE_BYTES > sizeof(batch->room))
		batch->error = ENOSPC;
	if (batch->error)
		return NULL;
	/* libmnl leaves what pads an attribute as it was. */
	memset(room, 0, MESSAGE_BYTES);
	return (struct nlmsghdr *)room;
}

static void add(struct kat_nft_batch *batch, const struct nlmsghdr *nlh)
{
	batch->used += NLMSG_ALIGN(nlh->nlmsg_len);
	batch->count++;
}

static struct nlmsghdr *start(struct kat_nft_batch *batch, uint16_t type, uint16_t flags)
{
	struct nlmsghdr *nlh = next(batch);

	/* The number is given when it is sent. */
	return nlh ? nftnl_nlmsg_build_hdr((char *)nlh, type, NFPROTO_NETDEV, flags, 0)
		   : NULL;
}

void kat_nft_begin(struct kat_nft_batch *batch)
{
	batch->used = batch->end = 0;
	batch->count = 0;
	batch->error = 0;
	add(batch, nftnl_batch_begin(batch->room, 0));
}

int kat_nft_end(struct kat_nft_batch *batch)
{
	struct nlmsghdr *nlh = next(batch);

	if (!nlh) {
		errno = batch->error;
		return -1;
	}
	batch->end = batch->used;
	nftnl_batch_end((char *)nlh, 0);
	add(batch, nlh);
	return 0;
}

/* For objects of libnftnl: NULL marks the batch, and is returned. */
static void *or_mark(struct kat_nft_batch *batch, void *object)
{
	if (!object && !batch->error)
		batch->error = ENOMEM;
	return object;
}

void kat_nft_add_table(struct kat_nft_batch *batch, const char *table)
{
	struct nlmsghdr *nlh = start(batch, NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL);
	struct nftnl_table *t = or_mark(batch, nftnl_table_alloc());

	if (nlh && t) {
		nftnl_table_set_str(t, NFTNL_TABLE_NAME, table);
		nftnl_table_set_u32(t, NFTNL_TABLE_FLAGS, NFT_TABLE_F_OWNER);
		nftnl_table_nlmsg_build_payload(nlh, t);
		add(batch, nlh);
	}
	if (t)
		nftnl_table_free(t);
}

void kat_nft_add_delete(struct kat_nft_batch *batch, const char *table)
{
	struct nlmsghdr *nlh = start(batch, NFT_MSG_DELTABLE, 0);

	if (!nlh)
		return;
	mnl_attr_put_strz(nlh, NFTA_TABLE_NAME, table);
	add(batch, nlh);
}

void kat_nft_add_counter(struct kat_nft_batch *batch, const char *table,
			 const char *counter)
{
	struct nlmsghdr *nlh = start(batch, NFT_MSG_NEWOBJ, NLM_F_CREATE | NLM_F_EXCL);
	struct nftnl_obj *obj = or_mark(batch, nftnl_obj_alloc());

	if (nlh && obj) {
		nftnl_obj_set_str(obj, NFTNL_OBJ_TABLE, table);
		nftnl_obj_set_str(obj, NFTNL_OBJ_NAME, counter);
		nftnl_obj_set_u32(obj, NFTNL_OBJ_TYPE, NFT_OBJECT_COUNTER);
		nftnl_obj_set_u64(obj, NFTNL_OBJ_CTR_PKTS, 0);
		nftnl_obj_set_u64(obj, NFTNL_OBJ_CTR_BYTES, 0);
		nftnl_obj_nlmsg_build_payload(nlh, obj);
		add(batch, nlh);
	}
	if (obj)
		nftnl_obj_free(obj);
}

void kat_nft_add_hook(struct kat_nft_batch *batch, const char *table, const char *chain,
		      uint32_t hook, int32_t priority, const char *const *devices)
{
	struct nlmsghdr *nlh = start(batch, NFT_MSG_NEWCHAIN, NLM_F_CREATE | NLM_F_EXCL);
	struct nftnl_chain *c = or_mark(batch, nftnl_chain_alloc());

	if (nlh && c) {
		nftnl_chain_set_str(c, NFTNL_CHAIN_TABLE, table);
		nftnl_chain_set_str(c, NFTNL_CHAIN_NAME, chain);
		if (devices) {
			nftnl_chain_set_str(c, NFTNL_CHAIN_TYPE, "filter");
			nftnl_chain_set_u32(c, NFTNL_CHAIN_HOOKNUM, hook);
			nftnl_chain_set_s32(c, NFTNL_CHAIN_PRIO, priority);
			nftnl_chain_set_u32(c, NFTNL_CHAIN_POLICY, NF_ACCEPT);
			if (nftnl_chain_set_array(c, NFTNL_CHAIN_DEVICES,
						  (const char **)(uintptr_t)devices) < 0)
				batch->error = errno;
		}
		nftnl_chain_nlmsg_build_payload(nlh, c);
		add(batch, nlh);
	}
	if (c)
		nftnl_chain_free(c);
}

void kat_nft_add_chain(struct kat_nft_batch *batch, const char *table, const char *chain)
{
	kat_nft_add_hook(batch, table, chain, 0, 0, NULL);
}

static struct nftnl_rule *new_rule(struct kat_nft_batch *batch, const char *table,
				   const char *chain)
{
	struct nftnl_rule *rule = or_mark(batch, nftnl_rule_alloc());

	if (rule) {
		nftnl_rule_set_str(rule, NFTNL_RULE_TABLE, table);
		nftnl_rule_set_str(rule, NFTNL_RULE_CHAIN, chain);
	}
	return rule;
}

/* Takes the rule. */
static void add_rule(struct kat_nft_batch *batch, struct nftnl_rule *rule)
{
	struct nlmsghdr *nlh = start(batch, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND);

	if (nlh && rule) {
		nftnl_rule_nlmsg_build_payload(nlh, rule);
		add(batch, nlh);
	}
	if (rule)
		nftnl_rule_free(rule);
}

static struct nftnl_expr *add_expr(struct kat_nft_batch *batch, struct nftnl_rule *rule,
				   const char *name)
{
	struct nftnl_expr *expr = or_mark(batch, nftnl_expr_alloc(name));

	if (expr)
		nftnl_rule_add_expr(rule, expr);
	return expr;
}

/* Goes on only where bytes of the packet are (NFT_CMP_EQ), or are not (NEQ), these. */
static void add_match(struct kat_nft_batch *batch, struct nftnl_rule *rule,
		      enum nft_payload_bases base, uint32_t offset, enum nft_cmp_ops op,
		      const void *bytes, uint32_t size)
{
	struct nftnl_expr *payload = add_expr(batch, rule, "payload");
	struct nftnl_expr *cmp = add_expr(batch, rule, "cmp");

	if (!payload || !cmp)
		return;
	nftnl_expr_set_u32(payload, NFTNL_EXPR_PAYLOAD_BASE, base);
	nftnl_expr_set_u32(payload, NFTNL_EXPR_PAYLOAD_OFFSET, offset);
	nftnl_expr_set_u32(payload, NFTNL_EXPR_PAYLOAD_LEN, size);
	nftnl_expr_set_u32(payload, NFTNL_EXPR_PAYLOAD_DREG, NFT_REG_1);
	nftnl_expr_set_u32(cmp, NFTNL_EXPR_CMP_SREG, NFT_REG_1);
	nftnl_expr_set_u32(cmp, NFTNL_EXPR_CMP_OP, op);
	nftnl_expr_set(cmp, NFTNL_EXPR_CMP_DATA, bytes, size);
}

static void add_value(struct kat_nft_batch *batch, struct nftnl_rule *rule,
		      const void *bytes, uint32_t size)
{
	struct nftnl_expr *value = add_expr(batch, rule, "immediate");

	if (!value)
		return;
	nftnl_expr_set_u32(value, NFTNL_EXPR_IMM_DREG, NFT_REG_1);
	nftnl_expr_set(value, NFTNL_EXPR_IMM_DATA, bytes, size);
}

/* Puts a MAC into the Ethernet header. */
static void add_mac(struct kat_nft_batch *batch, struct nftnl_rule *rule, uint32_t offset,
		    const uint8_t mac[6])
{
	struct nftnl_expr *payload;

	add_value(batch, rule, mac, ETH_ALEN);
	payload = add_expr(batch, rule, "payload");
	if (!payload)
		return;
	nftnl_expr_set_u32(payload, NFTNL_EXPR_PAYLOAD_SREG, NFT_REG_1);
	nftnl_expr_set_u32(payload, NFTNL_EXPR_PAYLOAD_BASE, NFT_PAYLOAD_LL_HEADER);
	nftnl_expr_set_u32(payload, NFTNL_EXPR_PAYLOAD_OFFSET, offset);
	nftnl_expr_set_u32(payload, NFTNL_EXPR_PAYLOAD_LEN, ETH_ALEN);
}

static void add_count(struct kat_nft_batch *batch, struct nftnl_rule *rule,
		      const char *counter)
{
	struct nftnl_expr *ref = add_expr(batch, rule, "objref");

	if (!ref)
		return;
	nftnl_expr_set_u32(ref, NFTNL_EXPR_OBJREF_IMM_TYPE, NFT_OBJECT_COUNTER);
	nftnl_expr_set_str(ref, NFTNL_EXPR_OBJREF_IMM_NAME, counter);
}

/* A rule for frames to the guest that have, or have not (`op`), this MAC at `offset`. */
static struct nftnl_rule *guest_rule(struct kat_nft_batch *batch, const char *table,
				     const char *chain,
				     const struct kat_nft_redirect *redirect,
				     uint32_t offset, enum nft_cmp_ops op,
				     const uint8_t mac[6])
{
	bool six = redirect->guest.family == AF_INET6;
	uint16_t type = htons(six ? ETH_P_IPV6 : ETH_P_IP);
	struct nftnl_rule *rule = new_rule(batch, table, chain);

	if (!rule)
		return NULL;
	add_match(batch, rule, NFT_PAYLOAD_LL_HEADER, ETHER_TYPE, NFT_CMP_EQ, &type,
		  sizeof(type));
	add_match(batch, rule, NFT_PAYLOAD_LL_HEADER, offset, op, mac, ETH_ALEN);
	add_match(batch, rule, NFT_PAYLOAD_NETWORK_HEADER, six ? IPV6_TO : IPV4_TO,
		  NFT_CMP_EQ, redirect->guest.bytes,
		  (uint32_t)kat_addr_bytes(&redirect->guest));
	add_count(batch, rule, redirect->counter);
	return rule;
}

void kat_nft_add_redirect(struct kat_nft_batch *batch, const char *table,
			  const char *chain, const struct kat_nft_redirect *redirect)
{
	struct nftnl_rule *rule = guest_rule(batch, table, chain, redirect, ETHER_TO,
					     NFT_CMP_NEQ, redirect->to);
	struct nftnl_expr *fwd;

	if (!rule)
		return;
	add_mac(batch, rule, ETHER_TO, redirect->to);
	add_mac(batch, rule, ETHER_FROM, redirect->from);
	add_value(batch, rule, &redirect->oif, sizeof(redirect->oif));
	fwd = add_expr(batch, rule, "fwd");
	if (fwd)
		nftnl_expr_set_u32(fwd, NFTNL_EXPR_FWD_SREG_DEV, NFT_REG_1);
	add_rule(batch, rule);
}

void kat_nft_add_arrival(struct kat_nft_batch *batch, const char *table,
			 const char *chain, const struct kat_nft_redirect *redirect)
{
	struct nftnl_rule *rule = guest_rule(batch, table, chain, redirect, ETHER_FROM,
					     NFT_CMP_EQ, redirect->from);

	if (rule)
		add_rule(batch, rule);
}

void kat_nft_add_jump(struct kat_nft_batch *batch, const char *table, const char *from,
		      const char *to)
{
	struct nftnl_rule *rule = new_rule(batch, table, from);
	struct nftnl_expr *jump;

	if (!rule)
		return;
	jump = add_expr(batch, rule, "immediate");
	if (jump) {
		nftnl_expr_set_u32(jump, NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT);
		nftnl_expr_set_u32(jump, NFTNL_EXPR_IMM_VERDICT, (uint32_t)NFT_JUMP);
		nftnl_expr_set_str(jump, NFTNL_EXPR_IMM_CHAIN, to);
	}
	add_rule(batch, rule);
}

void kat_nft_add_flush(struct kat_nft_batch *batch, const char *table, const char *chain)
{
	struct nlmsghdr *nlh = start(batch, NFT_MSG_DELRULE, 0);

	if (!nlh)
		return;
	mnl_attr_put_strz(nlh, NFTA_RULE_TABLE, table);
	mnl_attr_put_strz(nlh, NFTA_RULE_CHAIN, chain);
	add(batch, nlh);
}

/* What an answer is waited for: messages first .. last, of which the last is told. */
struct wait {
	const struct nlmsghdr *requests;
	uint32_t first, last;
	mnl_cb_t cb; /* for an answer that is no acknowledgement; may be NULL */
	void *data;
};

/* The type of the request `seq`, -1 for what frames a batch. */
static int type_of(const struct wait *w, uint32_t seq)
{
	const struct nlmsghdr *nlh = w->requests;

	for (; seq != w->first; seq--)
		nlh = (const void *)((const char *)nlh + NLMSG_ALIGN(nlh->nlmsg_len));
	if (NFNL_SUBSYS_ID(nlh->nlmsg_type) != NFNL_SUBSYS_NFTABLES)
		return -1;
	return NFNL_MSG_TYPE(nlh->nlmsg_type);
}

/* 1 when everything was told, 0 when there is more, -1 with errno. */
static int take(struct kat_nft *nft, const struct wait *w, const struct nlmsghdr *nlh)
{
	const struct nlmsgerr *err = mnl_nlmsg_get_payload(nlh);

	/* Late answers to a request that ran out of time end here. */
	if (nlh->nlmsg_pid != nft->portid ||
	    nlh->nlmsg_seq - w->first > w->last - w->first)
		return 0;
	if (nlh->nlmsg_type == NLMSG_DONE)
		return 1;
	if (nlh->nlmsg_type != NLMSG_ERROR) {
		if (w->cb && w->cb(nlh, w->data) == MNL_CB_ERROR)
			return fail(nft, type_of(w, nlh->nlmsg_seq), errno);
		return 0;
	}
	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(*err))
		return fail(nft, type_of(w, nlh->nlmsg_seq), EPROTO);
	/* Answers come in the order of the requests: this is the first failure. */
	if (err->error)
		return fail(nft, type_of(w, nlh->nlmsg_seq), -err->error);
	return nlh->nlmsg_seq == w->last;
}

static int await_answer(struct kat_nft *nft, const struct wait *w, int64_t deadline_ns)
{
	for (;;) {
		ssize_t n = kat_nl_receive(nft->socket, nft->room, sizeof(nft->room),
					   deadline_ns);
		int left = (int)n, ret;

		if (n < 0)
			return fail(nft, type_of(w, w->last), errno);
		for (const struct nlmsghdr *nlh = (const void *)nft->room;
		     mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left)) {
			ret = take(nft, w, nlh);
			if (ret)
				return ret < 0 ? -1 : 0;
		}
	}
}

/*
 * The kernel reports every message that fails.  Of those that succeed only the
 * last one is acknowledged: what opens and what ends the batch is so on some
 * kernels alone, and many acknowledgements might not fit into the socket.
 */
static int transact(struct kat_nft *nft, struct kat_nft_batch *batch, size_t size,
		    int64_t deadline_ns)
{
	struct wait w = {
		.requests = (const void *)batch->room,
		.first = nft->seq + 1,
		.last = nft->seq + batch->count - 1,
	};
	int left = (int)batch->used;

	for (struct nlmsghdr *nlh = (void *)batch->room; mnl_nlmsg_ok(nlh, left);
	     nlh = mnl_nlmsg_next(nlh, &left)) {
		nlh->nlmsg_seq = ++nft->seq;
		nlh->nlmsg_pid = nft->portid;
		if (nlh->nlmsg_seq == w.last)
			nlh->nlmsg_flags |= NLM_F_ACK;
	}
	if (kat_nl_send(nft->socket, batch->room, size, deadline_ns) < 0)
		return fail(nft, -1, errno);
	return await_answer(nft, &w, deadline_ns);
}

int kat_nft_send(struct kat_nft *nft, struct kat_nft_batch *batch, int64_t deadline_ns)
{
	return transact(nft, batch, batch->used, deadline_ns);
}

int kat_nft_check(struct kat_nft *nft, struct kat_nft_batch *batch, int64_t deadline_ns)
{
	/* Without the message that commits it the kernel undoes it all. */
	return transact(nft, batch, batch->end, deadline_ns);
}

struct tables {
	void (*see)(const char *name, uint32_t owner, void *data);
	void *data;
};

static int read_table(const struct nlmsghdr *nlh, void *data)
{
	struct nftnl_table *table = nftnl_table_alloc();
	const struct tables *tables = data;
	const char *name = NULL;

	if (table && nftnl_table_nlmsg_parse(nlh, table) == 0)
		name = nftnl_table_get_str(table, NFTNL_TABLE_NAME);
	if (name)
		tables->see(name, nftnl_table_get_u32(table, NFTNL_TABLE_OWNER),
			    tables->data);
	if (table)
		nftnl_table_free(table);
	return name ? MNL_CB_OK : MNL_CB_ERROR;
}

/* One request that is no batch. */
static int ask(struct kat_nft *nft, union kat_nl_message *m, int type, mnl_cb_t cb,
	       void *data, int64_t deadline_ns)
{
	struct wait w = {.requests = &m->header, .cb = cb, .data = data};

	m->header.nlmsg_pid = nft->portid;
	w.first = w.last = m->header.nlmsg_seq;
	if (kat_nl_send(nft->socket, m, m->header.nlmsg_len, deadline_ns) < 0)
		return fail(nft, type, errno);
	return await_answer(nft, &w, deadline_ns);
}

int kat_nft_tables(struct kat_nft *nft,
		   void (*see)(const char *name, uint32_t owner, void *data), void *data,
		   int64_t deadline_ns)
{
	struct tables tables = {see, data};
	union kat_nl_message m;

	nftnl_nlmsg_build_hdr(m.room, NFT_MSG_GETTABLE, NFPROTO_NETDEV, NLM_F_DUMP,
			      ++nft->seq);
	return ask(nft, &m, NFT_MSG_GETTABLE, read_table, &tables, deadline_ns);
}

static int read_counter(const struct nlmsghdr *nlh, void *packets)
{
	struct nftnl_obj *obj = nftnl_obj_alloc();
	int ret = MNL_CB_ERROR;

	if (obj && nftnl_obj_nlmsg_parse(nlh, obj) == 0) {
		*(uint64_t *)packets = nftnl_obj_get_u64(obj, NFTNL_OBJ_CTR_PKTS);
		ret = MNL_CB_OK;
	}
	if (obj)
		nftnl_obj_free(obj);
	return ret;
}

int kat_nft_counter(struct kat_nft *nft, const char *table, const char *counter,
		    uint64_t *packets, int64_t deadline_ns)
{
	union kat_nl_message m;

	nftnl_nlmsg_build_hdr(m.room, NFT_MSG_GETOBJ, NFPROTO_NETDEV, NLM_F_ACK,
			      ++nft->seq);
	mnl_attr_put_strz(&m.header, NFTA_OBJ_TABLE, table);
	mnl_attr_put_strz(&m.header, NFTA_OBJ_NAME, counter);
	mnl_attr_put_u32(&m.header, NFTA_OBJ_TYPE, htonl(NFT_OBJECT_COUNTER));
	*packets = 0;
	return ask(nft, &m, NFT_MSG_GETOBJ, read_counter, packets, deadline_ns);
}
