/* SPDX-License-Identifier: BSD-2-Clause */
/* The state machines of the two ends: source.c and dest.c, over what they share. */
#ifndef KAT_ENGINE_H
#define KAT_ENGINE_H

#include "config.h"
#include "error.h"

/*
 * Does this end's part of one migration, from loading the plugins to their
 * cleanup.  0: the guest runs on the destination, and this end is clean.  -1
 * with an error whose exit code says what state things are in.
 */
int kat_engine_run(const struct kat_config *config, struct kat_error **err);

#endif /* KAT_ENGINE_H */
