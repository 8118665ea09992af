/* SPDX-License-Identifier: BSD-2-Clause */
/* The migrations of this node, as their journals tell: printed, or asked to stop. */
#ifndef KAT_STATUS_H
#define KAT_STATUS_H

#include "config.h"
#include "error.h"

/*
 * Prints a line for each migration in config->run_dir, or for `id` alone
 * (NULL: all), on standard output; with config->json an object a line.
 */
int kat_status(const struct kat_config *config, const char *id, struct kat_error **err);

/* Sends SIGTERM to the living katamaran whose journal it is, and to nobody else. */
int kat_cancel(const struct kat_config *config, const char *id, struct kat_error **err);

#endif /* KAT_STATUS_H */
