/* SPDX-License-Identifier: BSD-2-Clause */
#define KATAMARAN_API_VERSION 1
#include "katamaran-plugin.h"
#include "plugins/lib/drives.h"

#include <stdio.h>
#include <string.h>
#include <json-c/json.h>

/* Where QEMU keeps the devices that have an id. */
#define PERIPHERAL "/machine/peripheral/"

static void put_json(struct json_object **json)
{
	json_object_put(*json);
}

/* A member of an object that is a string, or "". */
static const char *text(struct json_object *object, const char *member)
{
	struct json_object *value;

	if (!json_object_object_get_ex(object, member, &value) ||
	    !json_object_is_type(value, json_type_string))
		return "";
	return json_object_get_string(value);
}

static bool truth(struct json_object *object, const char *member)
{
	struct json_object *value;

	return json_object_object_get_ex(object, member, &value) &&
	       json_object_get_boolean(value);
}

static uint64_t size_of(struct json_object *inserted)
{
	struct json_object *image, *size;

	if (!json_object_object_get_ex(inserted, "image", &image) ||
	    !json_object_object_get_ex(image, "virtual-size", &size) ||
	    json_object_get_int64(size) < 0)
		return 0;
	return (uint64_t)json_object_get_int64(size);
}

/* The id within a QOM path of a device that has one: its start and length. */
static size_t id_in(const char *qdev, const char **id)
{
	if (strncmp(qdev, PERIPHERAL, strlen(PERIPHERAL)) != 0)
		return 0;
	*id = qdev + strlen(PERIPHERAL);
	return strcspn(*id, "/");
}

bool kat_drive_is(const struct kat_drive *drive, const char *name)
{
	const char *id;
	size_t len = id_in(drive->qdev, &id);

	if (!*name)
		return false;
	return !strcmp(drive->device, name) || !strcmp(drive->node, name) ||
	       !strcmp(drive->qdev, name) ||
	       (len && len == strlen(name) && !strncmp(id, name, len));
}

const char *kat_drive_format(const struct kat_drive *drive)
{
	static const char *const formats[] = {
		"raw", "qcow2", "qcow",	     "qed",   "vmdk", "vdi",   "vhdx",
		"vpc", "luks",	"parallels", "bochs", "dmg",  "cloop",
	};
	static const char *const plain[] = {
		"file", "host_device", "nbd",	  "rbd",  "iscsi",
		"nfs",	"ssh",	       "gluster", "nvme", "host_cdrom",
	};

	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++)
		if (!strcmp(drive->driver, formats[i]))
			return formats[i];
	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
		if (!strcmp(drive->driver, plain[i]))
			return "raw";
	return NULL;
}

/* Names that QEMU made up ("#block123") differ from one process to the next. */
static void choose_name(struct kat_drive *drive, char *id, size_t size)
{
	const char *start;
	size_t len = id_in(drive->qdev, &start);

	if (*drive->device) {
		drive->name = drive->device;
	} else if (len) {
		snprintf(id, size, "%.*s", (int)len, start);
		drive->name = id;
	} else if (*drive->node && *drive->node != '#') {
		drive->name = drive->node;
	} else {
		drive->name = *drive->qdev ? drive->qdev : drive->node;
	}
}

/* False for a drive without a medium. */
static bool read_drive(struct json_object *json, struct kat_drive *drive)
{
	struct json_object *inserted, *cache;
	const char *part;

	if (!json_object_object_get_ex(json, "inserted", &inserted) ||
	    !json_object_is_type(inserted, json_type_object))
		return false;
	drive->device = text(json, "device");
	drive->qdev = text(json, "qdev");
	drive->node = text(inserted, "node-name");
	drive->file = text(inserted, "file");
	drive->driver = text(inserted, "drv");
	drive->size = size_of(inserted);
	drive->read_only = truth(inserted, "ro");
	drive->direct = json_object_object_get_ex(inserted, "cache", &cache) &&
			truth(cache, "direct");
	part = strrchr(drive->qdev, '/'); /* /machine/system.flash0, virt.flash1 */
	drive->firmware = part && strstr(part, ".flash");
	return true;
}

int kat_drives_each(struct katamaran_ctx *ctx,
		    int (*see)(struct katamaran_ctx *ctx, const struct kat_drive *drive,
			       void *data),
		    void *data)
{
	__attribute__((__cleanup__(put_json))) struct json_object *all = NULL;
	struct kat_drive drive;
	const char *reply;
	char id[128];
	int ret;

	if (katamaran_qmp(ctx, "query-block", NULL, &reply) < 0)
		return -1;
	all = json_tokener_parse(reply);
	if (!json_object_is_type(all, json_type_array)) {
		katamaran_error(ctx, "query-block: QEMU's answer is not a list");
		return -1;
	}
	for (size_t i = 0; i < json_object_array_length(all); i++) {
		if (!read_drive(json_object_array_get_idx(all, i), &drive))
			continue;
		choose_name(&drive, id, sizeof(id));
		ret = see(ctx, &drive, data);
		if (ret)
			return ret;
	}
	return 0;
}
