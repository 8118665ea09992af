/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * nbd_dest.h - the destination's part: an NBD server with an export a drive.
 */
#ifndef KAT_NBD_DEST_H
#define KAT_NBD_DEST_H

#include <stdbool.h>

struct katamaran_ctx;
struct kat_nbd;

/*
 * The address that the server will listen on: the option's, or that of the RAM
 * migration; "" where neither is set.
 */
const char *kat_nbd_own_address(struct katamaran_ctx *ctx);

/* Tells the source which drives there are, and how large. */
void kat_nbd_publish_drives(struct katamaran_ctx *ctx, const struct kat_nbd *nbd);

/* Starts the server, exports the drives, and tells the source.  0 or -1. */
int kat_nbd_serve(struct katamaran_ctx *ctx, struct kat_nbd *nbd);

/*
 * Takes the exports and the server away, so that the guest has its disks for
 * itself.  In the blackout.  A client that is still there is cut off: it has
 * nothing left to write, or with `failed` what it writes is of no use.  0 or -1.
 */
int kat_nbd_close(struct katamaran_ctx *ctx, struct kat_nbd *nbd, bool failed);

/*
 * Ends the server, whose exports are gone.  QEMU 7.2 hangs for ever in
 * nbd-server-stop where a client has not finished its handshake, so none is left
 * then, and none can come.  0, or -1 after katamaran_error(), with errno as
 * katamaran_qmp() sets it.
 */
int kat_nbd_stop_server(struct katamaran_ctx *ctx, int port);

#endif /* KAT_NBD_DEST_H */
