/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * nbd_socket.h - QEMU's ends of the NBD connections, got at from outside.
 *
 * A request to a destination that has fallen silent holds up the guest's write,
 * and a QEMU that waits for it before it goes on, as after migrate_cancel, does
 * not listen to QMP either.  The descriptor, duplicated from QEMU's, works then
 * too.  It is never kept: the connection would outlive QEMU's closing it.
 */
#ifndef KAT_NBD_SOCKET_H
#define KAT_NBD_SOCKET_H

struct katamaran_ctx;

/*
 * Lets the kernel break QEMU's connections to the server when what was sent
 * stays unacknowledged for `seconds`.  The number of connections; 0 where none
 * is found, or QEMU's descriptors are out of reach.
 */
int kat_nbd_limit_silence(struct katamaran_ctx *ctx, const char *host, int port,
			  int seconds);

/* Breaks them now; what waits for them fails.  Their number, as above. */
int kat_nbd_cut(struct katamaran_ctx *ctx, const char *host, int port);

/*
 * On the destination: nobody connects to the server at this port any more, until
 * QEMU opens it anew.  The number of sockets that listen, or -1 where QEMU's
 * descriptors are out of reach.
 */
int kat_nbd_close_door(struct katamaran_ctx *ctx, int port);

/*
 * Breaks all connections to the server.  How many QEMU still had, or -1 as above;
 * it closes them a moment later.
 */
int kat_nbd_cut_clients(struct katamaran_ctx *ctx, int port);

#endif /* KAT_NBD_SOCKET_H */
