/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a killed katamaran left on this node, put back: the journal says what
 * may have been changed, QEMU says what became of the guest.
 */
#ifndef KAT_RECOVER_H
#define KAT_RECOVER_H

#include "config.h"
#include "end.h"
#include "error.h"

/*
 * Recovers the migration `id` of this node, or with "all" each that is dead.
 * Of `config` it takes run_dir and other_stopped.  0: nothing is left, and it
 * was said where the guest is.  -1 with an error: KAT_EXIT_FAILED, something
 * could not be put back, and the journal stays for another try;
 * KAT_EXIT_HUMAN, where the guest runs is in doubt, and the message says what
 * to do; KAT_EXIT_USAGE, there is no such migration.
 */
int kat_recover(const struct kat_config *config, const char *id, struct kat_error **err);

/*
 * The same for dead migrations of the guest that is about to be migrated: they
 * have its QMP socket, one of its taps, or on the same end one of its addresses.
 */
int kat_recover_before(struct kat_end *end, struct kat_error **err);

/* Calls `tell` for each of them, and changes nothing. */
void kat_recover_look(const struct kat_config *config,
		      void (*tell)(const struct kat_past *past, void *data), void *data);

#endif /* KAT_RECOVER_H */
