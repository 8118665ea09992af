/* SPDX-License-Identifier: BSD-2-Clause */
/* Finds, checks and opens plugins.  They are never closed: see katamaran-plugin(3). */
#ifndef KAT_LOADER_H
#define KAT_LOADER_H

#include <stdint.h>

#include "error.h"

#define KATAMARAN_API_VERSION 1
#include "katamaran-plugin.h"

/*
 * Loads the plugin of this kind (0: any, told by the name) that a
 * configuration calls `name`: "ipip" and "cutover-ipip" are
 * DIR/cutover-ipip.so; "self" and "announce-self" are DIR/announce-self.so; a
 * name with a slash is a path.  The result is the program's own copy, zeroed
 * where the plugin was built against a shorter struct; it lives for ever.
 * Errors are KAT_EXIT_USAGE: no such file, a file or folder that others may
 * write, no plugin, another API version, another kind.
 */
const struct katamaran_plugin *kat_loader_load(const char *dir, uint32_t kind,
					       const char *name, char **path,
					       struct kat_error **err);

/* Prints key=value lines on standard output. */
int kat_loader_dump(const char *dir, const char *name, struct kat_error **err);

/* Prints the plugins of the folder: name and description, a line each. */
int kat_loader_list(const char *dir, struct kat_error **err);

/* "storage", "cutover", "announce", or NULL. */
const char *kat_loader_kind_name(uint32_t kind);

#endif /* KAT_LOADER_H */
