/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The batches that plugins/lib/nft.c builds, parsed again by libnftnl, and what
 * a kernel makes of them in a network namespace of the test's own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "plugins/lib/nft.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sched.h>
#include <libnftnl/chain.h>
#include <libnftnl/expr.h>
#include <libnftnl/object.h>
#include <libnftnl/rule.h>
#include <libnftnl/table.h>
#include <linux/if_ether.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#define SECOND_NS 1000000000
#define TABLE	  "katamaran_a1"

static struct kat_nft_batch batch;

static const struct nlmsghdr *message(unsigned int n)
{
	const struct nlmsghdr *nlh = (const void *)batch.room;
	int left = (int)batch.used;

	while (n--)
		nlh = mnl_nlmsg_next(nlh, &left);
	assert_true(mnl_nlmsg_ok(nlh, left));
	return nlh;
}

/* The message `n`, which is of nf_tables, of this type, and about family netdev. */
static const struct nlmsghdr *expect(unsigned int n, uint8_t type, uint16_t flags)
{
	const struct nlmsghdr *nlh = message(n);
	const struct nfgenmsg *nfg = mnl_nlmsg_get_payload(nlh);

	assert_int_equal(nlh->nlmsg_type, NFNL_SUBSYS_NFTABLES << 8 | type);
	assert_int_equal(nlh->nlmsg_flags, NLM_F_REQUEST | flags);
	assert_int_equal(nfg->nfgen_family, NFPROTO_NETDEV);
	return nlh;
}

static void test_frame(void **state)
{
	const struct nfgenmsg *nfg;

	(void)state;
	kat_nft_begin(&batch);
	kat_nft_add_table(&batch, TABLE);
	assert_int_equal(kat_nft_end(&batch), 0);
	assert_int_equal(batch.count, 3);
	assert_int_equal(message(0)->nlmsg_type, NFNL_MSG_BATCH_BEGIN);
	nfg = mnl_nlmsg_get_payload(message(0));
	assert_int_equal(ntohs(nfg->res_id), NFNL_SUBSYS_NFTABLES);
	assert_int_equal(message(2)->nlmsg_type, NFNL_MSG_BATCH_END);
	assert_ptr_equal(message(2), batch.room + batch.end);
}

static void test_table(void **state)
{
	struct nftnl_table *t = nftnl_table_alloc();

	(void)state;
	kat_nft_begin(&batch);
	kat_nft_add_table(&batch, TABLE);
	kat_nft_add_delete(&batch, TABLE);
	assert_int_equal(kat_nft_end(&batch), 0);
	nftnl_table_nlmsg_parse(expect(1, NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL),
				t);
	assert_string_equal(nftnl_table_get_str(t, NFTNL_TABLE_NAME), TABLE);
	assert_int_equal(nftnl_table_get_u32(t, NFTNL_TABLE_FLAGS), NFT_TABLE_F_OWNER);
	nftnl_table_free(t);
	t = nftnl_table_alloc();
	nftnl_table_nlmsg_parse(expect(2, NFT_MSG_DELTABLE, 0), t);
	assert_string_equal(nftnl_table_get_str(t, NFTNL_TABLE_NAME), TABLE);
	nftnl_table_free(t);
}

static void test_counter(void **state)
{
	struct nftnl_obj *obj = nftnl_obj_alloc();

	(void)state;
	kat_nft_begin(&batch);
	kat_nft_add_counter(&batch, TABLE, "nic1");
	assert_int_equal(kat_nft_end(&batch), 0);
	nftnl_obj_nlmsg_parse(expect(1, NFT_MSG_NEWOBJ, NLM_F_CREATE | NLM_F_EXCL), obj);
	assert_string_equal(nftnl_obj_get_str(obj, NFTNL_OBJ_TABLE), TABLE);
	assert_string_equal(nftnl_obj_get_str(obj, NFTNL_OBJ_NAME), "nic1");
	assert_int_equal(nftnl_obj_get_u32(obj, NFTNL_OBJ_TYPE), NFT_OBJECT_COUNTER);
	nftnl_obj_free(obj);
}

static void test_chains(void **state)
{
	const char *const devices[] = {"eth0", "eth1", NULL};
	struct nftnl_chain *c = nftnl_chain_alloc();
	const char *const *found;

	(void)state;
	kat_nft_begin(&batch);
	kat_nft_add_chain(&batch, TABLE, "redirect");
	kat_nft_add_hook(&batch, TABLE, "egress", NF_NETDEV_EGRESS, -7, devices);
	assert_int_equal(kat_nft_end(&batch), 0);
	nftnl_chain_nlmsg_parse(expect(1, NFT_MSG_NEWCHAIN, NLM_F_CREATE | NLM_F_EXCL),
				c);
	assert_string_equal(nftnl_chain_get_str(c, NFTNL_CHAIN_NAME), "redirect");
	assert_false(nftnl_chain_is_set(c, NFTNL_CHAIN_HOOKNUM));
	nftnl_chain_free(c);
	c = nftnl_chain_alloc();
	nftnl_chain_nlmsg_parse(expect(2, NFT_MSG_NEWCHAIN, NLM_F_CREATE | NLM_F_EXCL),
				c);
	assert_string_equal(nftnl_chain_get_str(c, NFTNL_CHAIN_TABLE), TABLE);
	assert_string_equal(nftnl_chain_get_str(c, NFTNL_CHAIN_NAME), "egress");
	assert_string_equal(nftnl_chain_get_str(c, NFTNL_CHAIN_TYPE), "filter");
	assert_int_equal(nftnl_chain_get_u32(c, NFTNL_CHAIN_HOOKNUM), NF_NETDEV_EGRESS);
	assert_int_equal(nftnl_chain_get_s32(c, NFTNL_CHAIN_PRIO), -7);
	assert_int_equal(nftnl_chain_get_u32(c, NFTNL_CHAIN_POLICY), NF_ACCEPT);
	found = nftnl_chain_get_array(c, NFTNL_CHAIN_DEVICES);
	assert_non_null(found);
	assert_string_equal(found[0], "eth0");
	assert_string_equal(found[1], "eth1");
	assert_null(found[2]);
	nftnl_chain_free(c);
}

/* The rule of message `n`, with an iterator over its expressions. */
static struct nftnl_rule *parse_rule(unsigned int n, struct nftnl_expr_iter **iter)
{
	struct nftnl_rule *rule = nftnl_rule_alloc();

	nftnl_rule_nlmsg_parse(expect(n, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND),
			       rule);
	assert_string_equal(nftnl_rule_get_str(rule, NFTNL_RULE_TABLE), TABLE);
	*iter = nftnl_expr_iter_create(rule);
	return rule;
}

static struct nftnl_expr *next_expr(struct nftnl_expr_iter *iter, const char *name)
{
	struct nftnl_expr *expr = nftnl_expr_iter_next(iter);

	assert_non_null(expr);
	assert_string_equal(nftnl_expr_get_str(expr, NFTNL_EXPR_NAME), name);
	return expr;
}

static void expect_bytes(const struct nftnl_expr *expr, uint16_t type, const void *bytes,
			 uint32_t size)
{
	const void *data;
	uint32_t length;

	data = nftnl_expr_get(expr, type, &length);
	assert_int_equal(length, size);
	assert_memory_equal(data, bytes, size);
}

static void expect_payload(const struct nftnl_expr *expr, uint32_t base, uint32_t offset,
			   uint32_t size, uint16_t reg)
{
	assert_int_equal(nftnl_expr_get_u32(expr, NFTNL_EXPR_PAYLOAD_BASE), base);
	assert_int_equal(nftnl_expr_get_u32(expr, NFTNL_EXPR_PAYLOAD_OFFSET), offset);
	assert_int_equal(nftnl_expr_get_u32(expr, NFTNL_EXPR_PAYLOAD_LEN), size);
	assert_int_equal(nftnl_expr_get_u32(expr, reg), NFT_REG_1);
}

static void expect_match(struct nftnl_expr_iter *iter, uint32_t base, uint32_t offset,
			 uint32_t op, const void *bytes, uint32_t size)
{
	struct nftnl_expr *cmp;

	expect_payload(next_expr(iter, "payload"), base, offset, size,
		       NFTNL_EXPR_PAYLOAD_DREG);
	cmp = next_expr(iter, "cmp");
	assert_int_equal(nftnl_expr_get_u32(cmp, NFTNL_EXPR_CMP_OP), op);
	assert_int_equal(nftnl_expr_get_u32(cmp, NFTNL_EXPR_CMP_SREG), NFT_REG_1);
	expect_bytes(cmp, NFTNL_EXPR_CMP_DATA, bytes, size);
}

static void expect_mac(struct nftnl_expr_iter *iter, uint32_t offset, const uint8_t *mac)
{
	expect_bytes(next_expr(iter, "immediate"), NFTNL_EXPR_IMM_DATA, mac, ETH_ALEN);
	expect_payload(next_expr(iter, "payload"), NFT_PAYLOAD_LL_HEADER, offset,
		       ETH_ALEN, NFTNL_EXPR_PAYLOAD_SREG);
}

static struct kat_nft_redirect redirect_of(const char *guest)
{
	struct kat_nft_redirect redirect = {
		/* libnftnl sends it without a zero, and finds its end only in padding. */
		.counter = "nic10",
		.oif = 7,
		.to = {2, 0, 0, 0, 0, 12},
		.from = {2, 0, 0, 0, 0, 11},
	};

	assert_int_equal(kat_addr_parse(guest, &redirect.guest), 0);
	return redirect;
}

/* All of a rule, to the last expression; `offset` is that of the address. */
static void check_redirect(const char *guest, uint16_t ether_type, uint32_t offset)
{
	struct kat_nft_redirect redirect = redirect_of(guest);
	uint16_t type = htons(ether_type);
	struct nftnl_expr_iter *iter;
	struct nftnl_rule *rule;
	struct nftnl_expr *ref;

	kat_nft_begin(&batch);
	kat_nft_add_redirect(&batch, TABLE, "redirect", &redirect);
	assert_int_equal(kat_nft_end(&batch), 0);
	rule = parse_rule(1, &iter);
	assert_string_equal(nftnl_rule_get_str(rule, NFTNL_RULE_CHAIN), "redirect");
	expect_match(iter, NFT_PAYLOAD_LL_HEADER, 12, NFT_CMP_EQ, &type, sizeof(type));
	expect_match(iter, NFT_PAYLOAD_LL_HEADER, 0, NFT_CMP_NEQ, redirect.to, ETH_ALEN);
	expect_match(iter, NFT_PAYLOAD_NETWORK_HEADER, offset, NFT_CMP_EQ,
		     redirect.guest.bytes, (uint32_t)kat_addr_bytes(&redirect.guest));
	ref = next_expr(iter, "objref");
	assert_int_equal(nftnl_expr_get_u32(ref, NFTNL_EXPR_OBJREF_IMM_TYPE),
			 NFT_OBJECT_COUNTER);
	assert_string_equal(nftnl_expr_get_str(ref, NFTNL_EXPR_OBJREF_IMM_NAME), "nic10");
	expect_mac(iter, 0, redirect.to);
	expect_mac(iter, 6, redirect.from);
	expect_bytes(next_expr(iter, "immediate"), NFTNL_EXPR_IMM_DATA, &redirect.oif,
		     sizeof(redirect.oif));
	assert_int_equal(
		nftnl_expr_get_u32(next_expr(iter, "fwd"), NFTNL_EXPR_FWD_SREG_DEV),
		NFT_REG_1);
	assert_null(nftnl_expr_iter_next(iter));
	nftnl_expr_iter_destroy(iter);
	nftnl_rule_free(rule);
}

static void test_redirect(void **state)
{
	(void)state;
	check_redirect("10.244.1.5", ETH_P_IP, 16);
	check_redirect("fd10::5", ETH_P_IPV6, 24);
}

/* By its sender, and nothing is done to the packet. */
static void test_arrival(void **state)
{
	struct kat_nft_redirect redirect = redirect_of("fd10::5");
	uint16_t type = htons(ETH_P_IPV6);
	struct nftnl_expr_iter *iter;
	struct nftnl_rule *rule;

	(void)state;
	kat_nft_begin(&batch);
	kat_nft_add_arrival(&batch, TABLE, "arrivals", &redirect);
	assert_int_equal(kat_nft_end(&batch), 0);
	rule = parse_rule(1, &iter);
	expect_match(iter, NFT_PAYLOAD_LL_HEADER, 12, NFT_CMP_EQ, &type, sizeof(type));
	expect_match(iter, NFT_PAYLOAD_LL_HEADER, 6, NFT_CMP_EQ, redirect.from, ETH_ALEN);
	expect_match(iter, NFT_PAYLOAD_NETWORK_HEADER, 24, NFT_CMP_EQ,
		     redirect.guest.bytes, 16);
	assert_string_equal(
		nftnl_expr_get_str(next_expr(iter, "objref"), NFTNL_EXPR_OBJREF_IMM_NAME),
		"nic10");
	assert_null(nftnl_expr_iter_next(iter));
	nftnl_expr_iter_destroy(iter);
	nftnl_rule_free(rule);
}

static void test_jump(void **state)
{
	struct nftnl_expr_iter *iter;
	struct nftnl_rule *rule;
	struct nftnl_expr *jump;

	(void)state;
	kat_nft_begin(&batch);
	kat_nft_add_jump(&batch, TABLE, "ingress", "redirect");
	kat_nft_add_flush(&batch, TABLE, "ingress");
	assert_int_equal(kat_nft_end(&batch), 0);
	rule = parse_rule(1, &iter);
	assert_string_equal(nftnl_rule_get_str(rule, NFTNL_RULE_CHAIN), "ingress");
	jump = next_expr(iter, "immediate");
	assert_int_equal(nftnl_expr_get_u32(jump, NFTNL_EXPR_IMM_DREG), NFT_REG_VERDICT);
	assert_int_equal((int)nftnl_expr_get_u32(jump, NFTNL_EXPR_IMM_VERDICT), NFT_JUMP);
	assert_string_equal(nftnl_expr_get_str(jump, NFTNL_EXPR_IMM_CHAIN), "redirect");
	assert_null(nftnl_expr_iter_next(iter));
	nftnl_expr_iter_destroy(iter);
	nftnl_rule_free(rule);
	rule = nftnl_rule_alloc();
	nftnl_rule_nlmsg_parse(expect(2, NFT_MSG_DELRULE, 0), rule);
	assert_string_equal(nftnl_rule_get_str(rule, NFTNL_RULE_TABLE), TABLE);
	assert_string_equal(nftnl_rule_get_str(rule, NFTNL_RULE_CHAIN), "ingress");
	assert_false(nftnl_rule_is_set(rule, NFTNL_RULE_HANDLE));
	nftnl_rule_free(rule);
}

/* A full batch is told at its end, and one that is begun anew is not full. */
static void test_room(void **state)
{
	struct kat_nft_redirect redirect = redirect_of("fd10::5");
	unsigned int rules = 0;

	(void)state;
	kat_nft_begin(&batch);
	for (; !batch.error; rules++)
		kat_nft_add_redirect(&batch, TABLE, "redirect", &redirect);
	assert_true(rules > 50);
	assert_true(batch.used <= sizeof(batch.room));
	assert_int_equal(kat_nft_end(&batch), -1);
	assert_int_equal(errno, ENOSPC);
	kat_nft_begin(&batch);
	assert_int_equal(kat_nft_end(&batch), 0);
}

/* A whole table as a migration makes it, on the loopback device. */
static void build_table(void)
{
	struct kat_nft_redirect redirect = redirect_of("10.244.1.5");
	const char *const devices[] = {"lo", NULL};

	redirect.oif = 1;
	kat_nft_begin(&batch);
	kat_nft_add_table(&batch, TABLE);
	kat_nft_add_counter(&batch, TABLE, "nic10");
	kat_nft_add_chain(&batch, TABLE, "redirect");
	kat_nft_add_redirect(&batch, TABLE, "redirect", &redirect);
	kat_nft_add_hook(&batch, TABLE, "ingress", NF_NETDEV_INGRESS, -500, devices);
	kat_nft_add_hook(&batch, TABLE, "egress", NF_NETDEV_EGRESS, 500, devices);
	kat_nft_add_jump(&batch, TABLE, "ingress", "redirect");
	kat_nft_add_jump(&batch, TABLE, "egress", "redirect");
	assert_int_equal(kat_nft_end(&batch), 0);
}

static void see_table(const char *name, uint32_t owner, void *data)
{
	if (!strcmp(name, TABLE))
		*(uint32_t *)data = owner;
}

static uint32_t owner_of_table(struct kat_nft *nft, int64_t deadline)
{
	uint32_t owner = UINT32_MAX; /* no such table */

	assert_int_equal(kat_nft_tables(nft, see_table, &owner, deadline), 0);
	return owner;
}

static void test_kernel(void **state)
{
	int64_t deadline = kat_now_ns() + 10ll * SECOND_NS;
	struct kat_nft *nft, *other;
	uint64_t packets = 1;

	(void)state;
	if (unshare(CLONE_NEWNET) < 0)
		skip();
	nft = kat_nft_open();
	other = kat_nft_open();
	if (!nft || !other)
		skip();
	build_table();
	if (kat_nft_check(nft, &batch, deadline) < 0) {
		print_message("this kernel: %s\n", kat_nft_error(nft));
		skip();
	}
	/* An examined table is not there, a sent one is, once and with one owner. */
	assert_int_equal(kat_nft_counter(nft, TABLE, "nic10", &packets, deadline), -1);
	assert_int_equal(errno, ENOENT);
	assert_int_equal(owner_of_table(other, deadline), UINT32_MAX);
	assert_int_equal(kat_nft_send(nft, &batch, deadline), 0);
	assert_int_not_equal(owner_of_table(other, deadline), UINT32_MAX);
	assert_int_not_equal(owner_of_table(other, deadline), 0);
	assert_int_equal(kat_nft_counter(nft, TABLE, "nic10", &packets, deadline), 0);
	assert_int_equal(packets, 0);
	assert_int_equal(kat_nft_send(nft, &batch, deadline), -1);
	assert_int_equal(errno, EEXIST);
	assert_int_equal(kat_nft_failed(nft), NFT_MSG_NEWTABLE);
	assert_string_equal(kat_nft_error(nft), "NFT_MSG_NEWTABLE: File exists");
	kat_nft_begin(&batch);
	kat_nft_add_delete(&batch, TABLE);
	assert_int_equal(kat_nft_end(&batch), 0);
	assert_int_equal(kat_nft_send(other, &batch, deadline), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(kat_nft_send(nft, &batch, deadline), 0);
	assert_int_equal(kat_nft_send(nft, &batch, deadline), -1);
	assert_int_equal(errno, ENOENT);
	kat_nft_close(other);
	kat_nft_close(nft);
	kat_nft_close(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_frame),	 cmocka_unit_test(test_table),
		cmocka_unit_test(test_counter),	 cmocka_unit_test(test_chains),
		cmocka_unit_test(test_redirect), cmocka_unit_test(test_arrival),
		cmocka_unit_test(test_jump),	 cmocka_unit_test(test_room),
		cmocka_unit_test(test_kernel),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
