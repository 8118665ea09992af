/* SPDX-License-Identifier: BSD-2-Clause */
/* A plugin whose struct ends before cleanup(): no release ever had such a one. */
#define KATAMARAN_API_VERSION 1
#include <katamaran-plugin.h>

KATAMARAN_PUBLIC const struct katamaran_plugin *katamaran_plugin_init(void);

const struct katamaran_plugin *katamaran_plugin_init(void)
{
	static struct katamaran_plugin plugin = {._struct_size = 24,
						 ._api_version = 1,
						 .name = "short",
						 .kind = KATAMARAN_CUTOVER,
						 .roles = KATAMARAN_SOURCE};

	return &plugin;
}
