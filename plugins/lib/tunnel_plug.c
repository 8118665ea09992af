/* SPDX-License-Identifier: BSD-2-Clause */
#define KATAMARAN_API_VERSION 1
#include "plugins/lib/tunnel_plug.h"

#include <errno.h>
#include "plugins/lib/tunnel_lock.h"

/* A gigabyte a second for 64 ms: the plug is closed for one or two. */
#define LIMIT_BYTES (64u << 20)
/* Another migration holds a device for so long at most, unless it has no CPU. */
#define LOCK_NS 10000000

/* What both batches need is known; the order of opening and closing does not matter. */
static int remember(struct kat_tunnel_plug *plug, const struct kat_tunnel_use *use)
{
	struct nlmsghdr *nlh = kat_nl_batch_next(&plug->shut);

	if (!nlh)
		return -1;
	kat_msg_plug_block(nlh, use->index);
	kat_nl_batch_add(&plug->shut);
	nlh = kat_nl_batch_next(&plug->open);
	if (!nlh)
		return -1;
	kat_msg_plug_release(nlh, use->index);
	kat_nl_batch_add(&plug->open);
	plug->use[plug->count++] = use;
	return 0;
}

int kat_tunnel_plug_add(struct kat_tunnel_plug *plug, struct kat_nl *nl,
			const struct kat_tunnel_use *use, int64_t deadline_ns)
{
	kat_cleanup_free struct kat_nl_batch *batch = calloc(1, sizeof(*batch));
	kat_cleanup_close int lock = kat_lock_take(use->device, deadline_ns);
	struct kat_qdisc root;

	if (!batch || lock < 0 || kat_qdisc_root(nl, use->index, &root, deadline_ns) < 0)
		return -1;
	if (!root.plug) {
		kat_msg_plug_add(kat_nl_batch_next(batch), use->index, LIMIT_BYTES);
		kat_nl_batch_add(batch);
	}
	/* Also where it was there: whoever closed it may have been killed. */
	kat_msg_plug_release(kat_nl_batch_next(batch), use->index);
	kat_nl_batch_add(batch);
	if (kat_nl_batch_send(nl, batch, NULL, NULL, deadline_ns) < 0)
		return -1;
	return remember(plug, use);
}

static void unlock(struct kat_tunnel_plug *plug)
{
	while (plug->locked)
		close(plug->locks[--plug->locked]);
}

int kat_tunnel_plug_shut(struct kat_tunnel_plug *plug, struct kat_nl *nl,
			 int64_t deadline_ns)
{
	int64_t until = kat_now_ns() + LOCK_NS;
	int error;

	for (size_t i = 0; i < plug->count; i++) {
		int lock = kat_lock_take(plug->use[i]->device, until);

		if (lock < 0) {
			error = errno;
			unlock(plug);
			errno = error;
			return -1;
		}
		plug->locks[plug->locked++] = lock;
	}
	if (kat_nl_batch_send(nl, &plug->shut, NULL, NULL, deadline_ns) == 0)
		return 0;
	error = errno;
	kat_tunnel_plug_open(plug, nl, deadline_ns);
	errno = error;
	return -1;
}

int kat_tunnel_plug_open(struct kat_tunnel_plug *plug, struct kat_nl *nl,
			 int64_t deadline_ns)
{
	int ret = kat_nl_batch_send(nl, &plug->open, NULL, NULL, deadline_ns);

	unlock(plug);
	return ret;
}
