/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Makes a QEMU that is about to be started match the one that a guest comes
 * from, as a description of machine.h has it.
 */
#ifndef KAT_MATCHING_H
#define KAT_MATCHING_H

#include "machine.h"

/*
 * Rewrites the arguments: values of options that are there already, and the
 * names by which they refer to each other; then "-incoming defer".  What comes
 * from the description has been checked by kat_machine_parse().  No device,
 * chardev or memory is added or taken away: where the two differ in them, or a
 * file that is a memory has another size here, that is an error.
 */
int kat_matching_apply(struct kat_arguments *a, struct json_object *machine,
		       struct kat_error **err);

#endif /* KAT_MATCHING_H */
