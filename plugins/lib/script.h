/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * script.h - a site's executable as a plugin: all of it but the plugin's kind.
 *
 * The executable is run once for each hook, or once for all of them as a
 * coprocess that answers a line per hook.  katamaran-script(7) is its contract.
 * It has a process group, an environment and standard streams of its own, and
 * a deadline at which the group is killed; no function here waits longer than
 * that and half a second, and in the switchover some milliseconds.
 */
#ifndef KAT_SCRIPT_H
#define KAT_SCRIPT_H

#include "katamaran-plugin.h"

/* The options of every plugin that is built on this. */
/* clang-format off */
#define KAT_SCRIPT_OPTIONS                                                                 \
	{ "path", KATAMARAN_STRING, KATAMARAN_REQUIRED, NULL,                              \
	  "the executable, an absolute path", 0, 0 },                                      \
	{ "args", KATAMARAN_LIST, 0, NULL, "its arguments after the hook's name", 0, 0 },  \
	{ "settings", KATAMARAN_LIST, 0, NULL,                                             \
	  "NAME=VALUE each, for its environment as KATAMARAN_OPT_NAME", 0, 0 },            \
	{ "roles", KATAMARAN_LIST, 0, "source,destination",                                \
	  "the ends on which it is run", 0, 0 },                                           \
	{ "coprocess", KATAMARAN_BOOL, 0, "false",                                         \
	  "start it once, and let it answer a line per hook", 0, 0 },                      \
	{ "timeout_ms", KATAMARAN_INT, 0, "30000",                                         \
	  "how long it may take outside of the switchover, ms", 1, 3600000 },              \
	{ "on_stop_ms", KATAMARAN_INT, 0, "0",                                             \
	  "how long on_stop may take, ms; 0: what is left of the budget", 0, 60000 }
/* clang-format on */

/*
 * The functions of the plugin.  kat_script_open() checks path and settings and
 * starts a coprocess; the handle is freed by kat_script_cleanup().
 * kat_script_on_resume() does not wait for the executable: it asks to be called
 * again until that has ended.
 */
int kat_script_open(struct katamaran_ctx *ctx, void **handle);
int kat_script_pre_copy(struct katamaran_ctx *ctx, void *handle);
int kat_script_on_stop(struct katamaran_ctx *ctx, void *handle);
int kat_script_on_resume(struct katamaran_ctx *ctx, void *handle, unsigned int round);
void kat_script_cleanup(struct katamaran_ctx *ctx, void *handle, int outcome);
/* After a kill: cleanup alone, of an executable that is started anew for it. */
int kat_script_recover(struct katamaran_ctx *ctx, const char *record, int outcome);

#endif /* KAT_SCRIPT_H */
