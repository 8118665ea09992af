/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tunnel_check.h - whether a tunnel device could be made on this node, without
 * making one.
 */
#ifndef KAT_TUNNEL_CHECK_H
#define KAT_TUNNEL_CHECK_H

#include "plugins/lib/tunnel_kind.h"

struct katamaran_ctx;

/*
 * Reports by katamaran_finding(): what the kernel has, and what is in the way.
 * A kernel without such tunnels is a finding of level `missing`.  True if the
 * device could be made.
 */
bool kat_tunnel_check(struct katamaran_ctx *ctx, struct kat_nl *nl,
		      const struct kat_tunnel *tunnel, int missing);

#endif /* KAT_TUNNEL_CHECK_H */
