/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * nbd_probe.h - is there an NBD server?
 */
#ifndef KAT_NBD_PROBE_H
#define KAT_NBD_PROBE_H

#include <stdbool.h>

struct katamaran_ctx;

/* Whether QEMU is in the network namespace that this process is in. */
bool kat_nbd_same_network(struct katamaran_ctx *ctx);

/*
 * QEMU's main loop, and with it the guest, stands still while QEMU connects,
 * for two minutes if nobody answers.  So we knock first, with some seconds of
 * patience; where QEMU is in another network namespace this says nothing and
 * is left out.  0, or -1 after katamaran_error().
 */
int kat_nbd_probe(struct katamaran_ctx *ctx, const char *host, int port);

#endif /* KAT_NBD_PROBE_H */
