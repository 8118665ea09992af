/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is checked of the two QEMUs before a migration: each by itself, and,
 * where the two ends are connected, one against the other.
 */
#ifndef KAT_CHECK_QEMU_H
#define KAT_CHECK_QEMU_H

#include "end.h"
#include "findings.h"

/*
 * Asks this end's QEMU for whatever would keep a migration from succeeding:
 * blockers, capabilities, the MACs of the guest's NICs.  Changes nothing.
 */
void kat_check_qemu(struct kat_end *end);

/*
 * What has to be alike on both ends: version, machine, memory, processors,
 * devices, capabilities.  What QEMU does not tell is left out.
 */
struct json_object *kat_check_facts(struct kat_end *end);

/*
 * The text of QEMU's "info qtree" as a sorted array of paths of types with
 * their addresses: "/q35-pcihost/virtio-net-pci@02.0".  Names that the user
 * gave, and what a guest sets, are not part of them.
 */
struct json_object *kat_check_devices(const char *qtree);

/* Judges the facts of the source against those of the destination. */
void kat_check_compare(struct kat_findings *list, struct json_object *source,
		       struct json_object *destination);

#endif /* KAT_CHECK_QEMU_H */
