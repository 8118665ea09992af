/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From the configuration to the ordered list of plugins with their options:
 * every name, type and range is checked here, before plugin code runs.
 */
#ifndef KAT_PLAN_H
#define KAT_PLAN_H

#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "error.h"
#include "loader.h"

struct kat_value {
	const struct katamaran_option *option;
	const char *string; /* STRING; borrowed */
	int64_t integer;    /* INT, BOOL */
	const char **items; /* LIST; the array is owned, NULL-terminated */
	size_t n_items;
	char *split; /* what the items of a default list point into; owned */
};

struct kat_step {
	const struct katamaran_plugin *plugin;
	char name[64];		  /* "cutover-ipip", for messages */
	struct kat_value *values; /* one for each option, in the table's order */
	size_t n_values;
};

struct kat_plan {
	struct kat_step *steps; /* storage, cutover, announce: the order of the hooks */
	size_t n_steps;
};

/* How a plan gets its plugins: kat_loader_load(), or a test's own. */
typedef const struct katamaran_plugin *kat_plan_load(const char *dir, uint32_t kind,
						     const char *name, char **path,
						     struct kat_error **err);

/*
 * The plan borrows from `config`.  Plugins that have no part on this end
 * (roles) are left out.  Errors are KAT_EXIT_USAGE with file and line.
 */
int kat_plan_make(struct kat_plan *plan, const struct kat_config *config,
		  kat_plan_load *load, struct kat_error **err);
void kat_plan_free(struct kat_plan *plan);

/* The value of an option by name and type, or NULL. */
const struct kat_value *kat_plan_value(const struct kat_step *step, const char *name,
				       uint32_t type);

#endif /* KAT_PLAN_H */
