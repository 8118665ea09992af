/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * nbd_undo.h - the source's mirrors, taken back.
 *
 *	cancelled  QEMU takes the migration back: nothing may wait for the mirrors
 *	undo       whatever of them QEMU still has, taken away
 *	let_go     a guest that an undo was killed over runs again
 */
#ifndef KAT_NBD_UNDO_H
#define KAT_NBD_UNDO_H

struct katamaran_ctx;
struct kat_nbd;

/*
 * QEMU has said that the migration is cancelled or has failed.  It then waits
 * for requests under way, deaf to QMP; none of them is of use any more.
 */
void kat_nbd_cancelled(struct katamaran_ctx *ctx, struct kat_nbd *nbd);

/*
 * May be called at any time, and again; quiet where nothing is left.  A guest
 * that runs is held meanwhile, for some milliseconds.  While QEMU may still
 * switch over it is not, and the mirrors stay.
 */
void kat_nbd_undo(struct katamaran_ctx *ctx, struct kat_nbd *nbd);

/*
 * For the record "held" of the journal: the guest goes on if it is paused and
 * here.  0, 1 where QEMU still migrates it, or -1 after katamaran_error().
 */
int kat_nbd_let_go(struct katamaran_ctx *ctx);

#endif /* KAT_NBD_UNDO_H */
