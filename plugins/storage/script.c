/* SPDX-License-Identifier: BSD-2-Clause */
/* storage-script: a site's executable, see plugins/lib/script.h. */
#define KATAMARAN_API_VERSION 1
#include "plugins/lib/script.h"

static const struct katamaran_option options[] = {
	KAT_SCRIPT_OPTIONS,
	{.name = NULL},
};

static struct katamaran_plugin plugin = {
	.name = "script",
	.kind = KATAMARAN_STORAGE,
	.roles = KATAMARAN_SOURCE | KATAMARAN_DESTINATION,
	.version = "1",
	.description = "run an executable of the site's for each hook",
	.options = options,
	.open = kat_script_open,
	.pre_copy = kat_script_pre_copy,
	.on_stop = kat_script_on_stop,
	.on_resume = kat_script_on_resume,
	.cleanup = kat_script_cleanup,
	.recover = kat_script_recover,
};
KATAMARAN_REGISTER_PLUGIN(plugin)
