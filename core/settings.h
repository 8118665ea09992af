/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * struct kat_config from the inside: how its lists grow, what the defaults and
 * the flags make of it, and whether the whole makes sense.
 */
#ifndef KAT_SETTINGS_H
#define KAT_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "error.h"
#include "options.h"

struct kat_nic_config *kat_config_add_nic(struct kat_config *config);

/* The list stays in the order storage, cutover, announce.  Both take `where`. */
struct kat_plugin_config *kat_config_add_plugin(struct kat_config *config, uint32_t kind,
						const char *plugin, char *where);
struct kat_setting *kat_plugin_add_setting(struct kat_plugin_config *entry,
					   const char *name, char *where);
void kat_setting_add_item(struct kat_setting *setting, const char *item);

size_t kat_config_count(const struct kat_config *config, uint32_t kind);

/* Drops the plugins of `kind` that are not `plugin`; NULL: all of that kind. */
void kat_config_keep(struct kat_config *config, uint32_t kind, const char *plugin);

/* True for "ipip" and "cutover-ipip" if the entry is a cutover and `plugin` "ipip". */
bool kat_plugin_is(const struct kat_plugin_config *entry, const char *plugin);

void kat_config_defaults(struct kat_config *config);

/*
 * What the flags say, and the plugins that nobody chose.  `listed` is a bit
 * mask of the kinds for which the file has an entry, be it an empty one.
 */
int kat_config_apply(struct kat_config *config, const struct kat_options *options,
		     unsigned int listed, struct kat_error **err);

/* Whether this is enough for a migration, and free of contradictions. */
int kat_config_check(const struct kat_config *config, struct kat_error **err);

#endif /* KAT_SETTINGS_H */
