/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * script_setup.h - what script.c keeps of one executable, and its preparation.
 */
#ifndef KAT_SCRIPT_SETUP_H
#define KAT_SCRIPT_SETUP_H

#include "katamaran-plugin.h"
#include "plugins/lib/job.h"

enum kat_script_hook {
	KAT_SCRIPT_PRE_COPY,
	KAT_SCRIPT_ON_STOP,
	KAT_SCRIPT_ON_RESUME,
	KAT_SCRIPT_CLEANUP,
	KAT_SCRIPT_HOOKS
};

/* How many variables a call adds to the environment. */
#define KAT_SCRIPT_CALL_ENV 3

struct kat_script {
	char *path; /* without symbolic links */
	bool here;  /* it has a part on this end */
	bool coprocess;
	bool stopped; /* on_stop has been called */
	bool unwanted[KAT_SCRIPT_HOOKS];
	char **argv; /* argv[1] is set by each call */
	char **env;  /* n_env of them, then those of the call, which are below */
	size_t n_env;
	char env_hook[64], env_deadline[64], env_more[64];
	struct kat_job job;
	/* on_resume, which is not waited for: */
	bool pending;
	int64_t deadline_ns;
	int look_ms;	     /* until it is looked at again */
	unsigned int rounds; /* that it was asked for */
};

/*
 * Whether it has a part on this end, and then whether it may be run: neither
 * the file nor a folder above it may be written, or belong to, others.  0, or
 * -1 after katamaran_error().
 */
int kat_script_check(struct katamaran_ctx *ctx, struct kat_script *s);

/* Makes argv and env.  0, or -1 after katamaran_error() or with errno ENOMEM. */
int kat_script_prepare(struct katamaran_ctx *ctx, struct kat_script *s);

void kat_script_free(struct kat_script *s);

#endif /* KAT_SCRIPT_SETUP_H */
