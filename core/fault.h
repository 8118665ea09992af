/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Faults at named steps, for the tests: nothing of it is in a build without
 * --enable-fault-injection.
 *
 * KATAMARAN_FAULT=ROLE.STEP=WHAT in the environment (source.redirected=kill)
 * makes this process, when it first comes to that step,
 *
 *	kill	 end as by SIGKILL
 *	int	 get SIGINT
 *	qemu	 kill the QEMU of its own end
 *	pause	 stop (SIGSTOP), so that somebody can cut a cable, and wait for SIGCONT
 *	fail	 fail there, where the step can fail
 *	overrun	 lose OVERRUN_MS, more than any budget of a hook in the blackout
 *
 * With -v every step says its name in the log, so that a clean run lists them.
 */
#ifndef KAT_FAULT_H
#define KAT_FAULT_H

#include "api.h"
#include "error.h"

#ifdef KAT_FAULTS
/* 0, or -1 with an error for "fail"; `err` NULL: the step cannot fail. */
int kat_fault(const struct kat_migration *m, const char *step, struct kat_error **err);
#else
static inline int kat_fault(const struct kat_migration *m, const char *step,
			    struct kat_error **err)
{
	(void)m;
	(void)step;
	(void)err;
	return 0;
}
#endif

#endif /* KAT_FAULT_H */
