/* SPDX-License-Identifier: BSD-2-Clause */
/* nbd_check.h - what can be known of a copy of the disks before it is begun. */
#ifndef KAT_NBD_CHECK_H
#define KAT_NBD_CHECK_H

struct katamaran_ctx;
struct kat_nbd;

/*
 * check() of either end: what an earlier run has left in QEMU; on the
 * destination whether the server's port is free, on the source whether the
 * destination's drives are there and large enough.  Reports by
 * katamaran_finding(); 0, or -1 after katamaran_error().
 */
int kat_nbd_check(struct katamaran_ctx *ctx, struct kat_nbd *nbd);

#endif /* KAT_NBD_CHECK_H */
