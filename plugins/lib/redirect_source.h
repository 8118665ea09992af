/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * redirect_source.h - the end of a redirect that packets are sent from.
 *
 * The functions of struct katamaran_plugin with struct kat_redirect as the
 * handle; called by redirect.c alone.
 */
#ifndef KAT_REDIRECT_SOURCE_H
#define KAT_REDIRECT_SOURCE_H

#include "plugins/lib/redirect.h"

int kat_redirect_source_open(struct katamaran_ctx *ctx, struct kat_redirect *r);
int kat_redirect_source_pre_copy(struct katamaran_ctx *ctx, struct kat_redirect *r);
int kat_redirect_source_on_stop(struct katamaran_ctx *ctx, struct kat_redirect *r);
int kat_redirect_source_on_resume(struct katamaran_ctx *ctx, struct kat_redirect *r);
void kat_redirect_source_cleanup(struct katamaran_ctx *ctx, struct kat_redirect *r,
				 int outcome);
/* Frees what open() allocated; NULL is allowed. */
void kat_redirect_source_free(struct kat_redirect_source *source);

#endif /* KAT_REDIRECT_SOURCE_H */
