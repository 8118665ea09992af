/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What stands behind the functions that plugins may call: api.c has every
 * katamaran_ function and nothing else.
 */
#ifndef KAT_API_H
#define KAT_API_H

#include <stdarg.h>
#include <stdbool.h>
#include <sys/types.h>

#include "config.h"
#include "findings.h"
#include "journal.h"
#include "ledger.h"
#include "loop.h"
#include "plan.h"
#include "qmp.h"

/* A NIC as plugins see it: the configuration's, its MAC filled in from QEMU. */
struct kat_nic {
	const struct kat_nic_config *config;
	bool has_mac;
	uint8_t mac[6];
};

struct kat_peer;

/* A fact that a plugin of one end published for its twin on the other. */
struct kat_fact {
	char *plugin, *key, *value; /* "storage-nbd", "port", "10809" */
	struct kat_fact *next;
};

void kat_fact_add(struct kat_fact **list, const char *plugin, const char *key,
		  const char *value);
void kat_fact_free(struct kat_fact **list);

/* One migration on one end: what all of its plugins share. */
struct kat_migration {
	const struct kat_config *config;
	struct kat_loop *loop;
	struct kat_qmp *qmp;	     /* NULL before it is open and after it has gone */
	struct kat_journal *journal; /* NULL: none is kept */
	struct kat_ledger ledger;
	struct kat_nic *nics; /* config->n_nics of them */
	char id[9];
	char *vm_name;
	char *vm_uuid;
	pid_t qemu_pid;		/* 0: unknown */
	int qemu_pidfd;		/* -1: none */
	bool guest_running;	/* on this end */
	struct kat_peer **peer; /* the link to the other end; NULL: there is none */
	unsigned int gave_back; /* packets over it, see back.h */
	struct kat_fact *published, *learned;
	struct kat_findings findings;
};

/* A finding of the end that this is. */
void kat_finding_add(struct kat_migration *migration, int level, const char *what,
		     const char *fmt, va_list ap)
	__attribute__((__format__(__printf__, 4, 0)));

/* One plugin in it. */
struct katamaran_ctx {
	struct kat_migration *migration;
	const struct kat_step *step;
	size_t index; /* of the step in the plan */
	void *handle;
	bool opened;
	int64_t deadline_ns;
	char error[512];    /* of the call under way; "": none.  No allocation in the
			       blackout. */
	bool error_is_qmps; /* QEMU said it: what the plugin adds goes in front */
	struct json_object *reply; /* whose text the plugin may still read */
	struct kat_qmp_event *event;
	bool check_again;  /* when the other end has checked */
	bool when_stopped; /* on_stop wants to be called once the guest has stopped */
	bool resume_done;  /* on_resume has returned 0, or has failed */
	unsigned int round;
	int64_t next_round_ns;
};

#endif /* KAT_API_H */
