/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * redirect_dest.h - the end of a redirect that packets arrive at and wait.
 *
 * The functions of struct katamaran_plugin with struct kat_redirect as the
 * handle; called by redirect.c alone.
 */
#ifndef KAT_REDIRECT_DEST_H
#define KAT_REDIRECT_DEST_H

#include "plugins/lib/redirect.h"

int kat_redirect_dest_open(struct katamaran_ctx *ctx, struct kat_redirect *r);
int kat_redirect_dest_pre_copy(struct katamaran_ctx *ctx, struct kat_redirect *r);
int kat_redirect_dest_on_stop(struct katamaran_ctx *ctx, struct kat_redirect *r);
int kat_redirect_dest_on_resume(struct katamaran_ctx *ctx, struct kat_redirect *r,
				unsigned int round);
void kat_redirect_dest_cleanup(struct katamaran_ctx *ctx, struct kat_redirect *r,
			       int outcome);
/* Frees what open() allocated; NULL is allowed. */
void kat_redirect_dest_free(struct kat_redirect_dest *dest);

#endif /* KAT_REDIRECT_DEST_H */
