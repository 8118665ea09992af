/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * redirect_check.h - what of a redirect can be looked at before it is built:
 * check() of every plugin that is built on redirect.h.
 */
#ifndef KAT_REDIRECT_CHECK_H
#define KAT_REDIRECT_CHECK_H

#include "plugins/lib/redirect.h"

/*
 * Either end.  Reports by katamaran_finding(), and changes nothing.  On a
 * destination that is connected 1: to be called again when the source has sent
 * its probe, see redirect_probe.h.
 */
int kat_redirect_check(struct katamaran_ctx *ctx, void *handle);

#endif /* KAT_REDIRECT_CHECK_H */
