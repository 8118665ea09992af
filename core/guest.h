/* SPDX-License-Identifier: BSD-2-Clause */
/* What QEMU tells about its guest: name, UUID, the MACs of its NICs, its run state. */
#ifndef KAT_GUEST_H
#define KAT_GUEST_H

#include <sys/types.h>

#include "api.h"

/*
 * Fills vm_name, vm_uuid, and the MAC of each NIC whose configuration has
 * none.  What QEMU does not tell stays unknown; a plugin that needs it says so.
 */
void kat_guest_ask(struct kat_migration *migration);

/*
 * Reads the text of QEMU's "info network" and sets the MAC of the NICs whose
 * tap stands in it, by name or (taps that QEMU was given as descriptors) by
 * what /proc/PID/fdinfo says.  A single NIC without a tap gets the MAC of a
 * single NIC there.  The text is no interface of QEMU's, but only it has both.
 */
void kat_guest_read_network(const char *text, pid_t qemu, struct kat_nic *nics, size_t n);

/*
 * What to type for a guest that stands still in that state of query-status, for who
 * has to look: malloc'ed.
 */
char *kat_guest_to_run(const char *state, const char *socket);

#endif /* KAT_GUEST_H */
