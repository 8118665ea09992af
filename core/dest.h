/* SPDX-License-Identifier: BSD-2-Clause */
/* The destination's state machine: between dest.c, which runs it, and dest_states.c. */
#ifndef KAT_DEST_H
#define KAT_DEST_H

#include "end.h"

struct dest {
	struct kat_end *end;
	int64_t deadline_ns;
	int64_t resumed_ns;
	bool over;	/* the source has removed its redirect */
	bool held;	/* the cutover's on_stop has run */
	bool unloaded;	/* QEMU says that it cannot run the guest */
	bool arrived;	/* all of the guest, which the source has given away */
	bool shut_down; /* the guest, after it had arrived */
};

/* From a QEMU that listens to a guest that runs here; false: it does not, and will not.
 */
bool kat_dest_machine(struct dest *d);

#endif /* KAT_DEST_H */
