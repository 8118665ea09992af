/* SPDX-License-Identifier: BSD-2-Clause */
/* One dead migration being taken back: between recover.c and recover_states.c. */
#ifndef KAT_RECOVERY_H
#define KAT_RECOVERY_H

#include "end.h"
#include "past.h"

struct recovery {
	struct kat_past past;
	struct kat_end end;
	bool other_stopped; /* somebody has said so */
	char *state;	    /* query-status; "gone" */
	char *status;	    /* of query-migrate; "none" */
};

/*
 * Decide by what QEMU says, and undo.  0: nothing is left but the journal; -1 as
 * for kat_recover().
 */
int kat_recover_source(struct recovery *r, struct kat_error **err);
int kat_recover_dest(struct recovery *r, struct kat_error **err);

#endif /* KAT_RECOVERY_H */
