/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * storage-none: the guest has no disk that would have to follow it.  Says so
 * itself: a guest that has a writable one is refused.
 */
#define KATAMARAN_API_VERSION 1
#include "katamaran-plugin.h"

#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include "plugins/lib/drives.h"

/* The names of the drives found, for one message. */
struct found {
	size_t count;
	char names[512];
};

static const struct katamaran_option options[] = {
	{"allow_disks", KATAMARAN_BOOL, 0, "false",
	 "migrate although the guest has writable disks, which stay behind", 0, 0},
	{.name = NULL},
};

static int see_drive(struct katamaran_ctx *ctx, const struct kat_drive *drive, void *data)
{
	struct found *found = data;
	size_t used = strlen(found->names);

	(void)ctx;
	if (drive->read_only || drive->firmware)
		return 0;
	snprintf(found->names + used, sizeof(found->names) - used, "%s%s (%s)",
		 found->count ? ", " : "", drive->name, drive->file);
	found->count++;
	return 0;
}

static int check(struct katamaran_ctx *ctx)
{
	struct found found = {0};

	if (kat_drives_each(ctx, see_drive, &found) < 0)
		return -1;
	if (!found.count)
		return 0;
	if (katamaran_conf_bool(ctx, "allow_disks")) {
		katamaran_log(ctx, LOG_WARNING,
			      "writable disks do not follow the guest (allow_disks): %s",
			      found.names);
		return 0;
	}
	katamaran_error(
		ctx,
		"the guest has writable disks: %s; choose another storage plugin, or "
		"set allow_disks = true if the destination has their contents",
		found.names);
	return -1;
}

static int none_open(struct katamaran_ctx *ctx, void **handle)
{
	*handle = NULL;
	return check(ctx);
}

/* Once more: a disk may have been plugged in since. */
static int none_pre_copy(struct katamaran_ctx *ctx, void *handle)
{
	(void)handle;
	return check(ctx);
}

static struct katamaran_plugin plugin = {
	.name = "none",
	.kind = KATAMARAN_STORAGE,
	.roles = KATAMARAN_SOURCE,
	.version = "1",
	.description = "the guest has no disk to move",
	.options = options,
	.open = none_open,
	.pre_copy = none_pre_copy,
};
KATAMARAN_REGISTER_PLUGIN(plugin)
