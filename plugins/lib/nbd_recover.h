/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * nbd_recover.h - what of a copy QEMU still has after katamaran was killed.
 *
 *	mirror PORT ID HOST NAME   source: a node and a job of this id
 *	held                       source: a guest that was paused to end its mirrors
 *	server PORT                destination: QEMU's NBD server
 *	export ID NAME             destination: an export of it
 */
#ifndef KAT_NBD_RECOVER_H
#define KAT_NBD_RECOVER_H

struct katamaran_ctx;

/* recover() of the plugin: undoes one record.  0, or -1 after katamaran_error(). */
int kat_nbd_recover(struct katamaran_ctx *ctx, const char *record, int outcome);

#endif /* KAT_NBD_RECOVER_H */
