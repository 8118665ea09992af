/* SPDX-License-Identifier: BSD-2-Clause */
/* A plugin of a later 1.x, whose struct has grown at the end: it loads here. */
#define KATAMARAN_API_VERSION 1
#include <katamaran-plugin.h>

KATAMARAN_PUBLIC const struct katamaran_plugin *katamaran_plugin_init(void);

const struct katamaran_plugin *katamaran_plugin_init(void)
{
	static struct {
		struct katamaran_plugin plugin;
		void (*later[4])(void);
	} grown = {.plugin = {._struct_size = sizeof(grown),
			      ._api_version = 1,
			      .name = "long",
			      .kind = KATAMARAN_CUTOVER,
			      .roles = KATAMARAN_SOURCE}};

	return &grown.plugin;
}
