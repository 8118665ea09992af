/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * nbd_source.h - the source's part: mirrors to the destination's NBD exports.
 *
 *	start      a node for each export, a mirror to each node, until all are in step
 *	finish     the guest is stopped: let the mirrors end, close the connections
 *
 * nbd_undo.h has how they are taken back.
 */
#ifndef KAT_NBD_SOURCE_H
#define KAT_NBD_SOURCE_H

struct katamaran_ctx;
struct kat_nbd;
struct kat_nbd_drive;

/*
 * What the destination told about a drive, before anything is connected; 0
 * where it told nothing, or -1 after katamaran_error().
 */
int kat_nbd_check_offer(struct katamaran_ctx *ctx, const struct kat_nbd_drive *drive);

/* Blocks until all drives are in step, or the deadline.  0 or -1. */
int kat_nbd_start(struct katamaran_ctx *ctx, struct kat_nbd *nbd);

/*
 * In the blackout: at most a round trip of QEMU for each step and drive, and
 * what QEMU still has to send, which is little since the guest's writes waited
 * for the copy.  0 when both ends have the same contents, or -1.
 */
int kat_nbd_finish(struct katamaran_ctx *ctx, struct kat_nbd *nbd);

#endif /* KAT_NBD_SOURCE_H */
