/* SPDX-License-Identifier: BSD-2-Clause */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fault.h"
#include "log.h"
#include "util.h"

#define OVERRUN_MS 700

/* What KATAMARAN_FAULT says about this step, or NULL. */
static const char *wanted(const struct kat_migration *m, const char *step)
{
	const char *role = m->config->role == KATAMARAN_SOURCE ? "source." : "dest.";
	const char *text = getenv("KATAMARAN_FAULT");

	if (!text || strncmp(text, role, strlen(role)))
		return NULL;
	text += strlen(role);
	if (strncmp(text, step, strlen(step)) || text[strlen(step)] != '=')
		return NULL;
	return text + strlen(step) + 1;
}

int kat_fault(const struct kat_migration *m, const char *step, struct kat_error **err)
{
	const struct timespec overrun = {.tv_nsec = OVERRUN_MS * KAT_NS_PER_MS};
	static bool done; /* one fault a process */
	const char *what;

	kat_log(KAT_DEBUG, "step %s", step);
	what = wanted(m, step);
	if (!what || done)
		return 0;
	done = true;
	if (!strcmp(what, "kill"))
		raise(SIGKILL);
	else if (!strcmp(what, "int"))
		raise(SIGINT);
	else if (!strcmp(what, "qemu"))
		kill(m->qemu_pid, SIGKILL);
	else if (!strcmp(what, "pause"))
		raise(SIGSTOP);
	else if (!strcmp(what, "overrun"))
		nanosleep(&overrun, NULL);
	else if (!strcmp(what, "fail") && err)
		return kat_error_set(err, KAT_EXIT_FAILED, "a fault was injected at %s",
				     step);
	return 0;
}
