/* SPDX-License-Identifier: BSD-2-Clause */
/* What is asked of QEMU about the migration of its RAM. */
#ifndef KAT_RAM_H
#define KAT_RAM_H

#include "end.h"
#include "gate.h"

/* One of migrate-set-parameters. */
int kat_ram_set(struct kat_end *end, const char *parameter, int64_t value,
		struct kat_error **err);

/*
 * Notes those that this end is going to change, as they are now, in
 * end->parameters and the journal.
 */
int kat_ram_save(struct kat_end *end, struct kat_error **err);

/* Puts end->parameters and end->capabilities back; a failure is a warning. */
void kat_ram_restore(struct kat_end *end);

/*
 * Capabilities, the gate shut (in the order `salvage` there is none), and
 * `migrate` to the destination's address.
 */
int kat_ram_start(struct kat_end *end, struct kat_error **err);

/* How the copy goes.  1: `sample` is filled; 0: QEMU is still setting up; -1: error. */
int kat_ram_sample(struct kat_end *end, struct kat_sample *sample,
		   struct kat_error **err);

/* What query-migrate has in these members: malloc'ed text or NULL; `fallback`. */
char *kat_ram_status(struct kat_end *end, struct kat_error **err);
char *kat_ram_error(struct kat_end *end);
int64_t kat_ram_downtime_ms(struct kat_end *end, int64_t fallback);

/* "tcp:192.0.2.1:4444", "tcp:[2001:db8::1]:4444"; `ip` NULL: every address. */
char *kat_ram_uri(const char *ip, int port);

#endif /* KAT_RAM_H */
