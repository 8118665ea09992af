/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From a sandbox, named by (the beginning of) its id or by an address of its
 * pod, to what a migration needs to know of its QEMU.
 */
#ifndef KAT_SANDBOX_H
#define KAT_SANDBOX_H

#include "config.h"
#include "error.h"

/*
 * Where `config` names a sandbox: fills in what it does not say itself, that is
 * the monitor's socket, QEMU's pid, and the taps with their network namespaces
 * and addresses; logs a line with all of that, and checks the whole again.
 * Does nothing where it names none.  Errors are KAT_EXIT_USAGE; those for no
 * sandbox, or more than one, list what there is.  May connect to the monitor,
 * but says nothing to QEMU.
 */
int kat_sandbox_find(struct kat_config *config, struct kat_error **err);

#endif /* KAT_SANDBOX_H */
