/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * guest_check.h - whether the guest's taps and addresses on this node are such
 * that a redirect can be built and held packets be delivered.
 */
#ifndef KAT_GUEST_CHECK_H
#define KAT_GUEST_CHECK_H

#include "plugins/lib/redirect.h"

/*
 * Reports by katamaran_finding(): each tap (there, up, QEMU's, its queue), and
 * each address (route, neighbour, an old redirect).  Raises *mtu to what the
 * ways to the guest carry, bytes.
 */
void kat_guest_check(struct katamaran_ctx *ctx, struct kat_redirect *r, uint32_t *mtu);

#endif /* KAT_GUEST_CHECK_H */
