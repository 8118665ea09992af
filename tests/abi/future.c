/* SPDX-License-Identifier: BSD-2-Clause */
/* A plugin of an API version that does not exist yet. */
#define KATAMARAN_API_VERSION 1
#include <katamaran-plugin.h>

KATAMARAN_PUBLIC const struct katamaran_plugin *katamaran_plugin_init(void);

const struct katamaran_plugin *katamaran_plugin_init(void)
{
	static struct katamaran_plugin plugin = {._struct_size = sizeof(plugin),
						 ._api_version = 2,
						 .name = "future",
						 .kind = KATAMARAN_CUTOVER,
						 .roles = KATAMARAN_SOURCE};

	return &plugin;
}
