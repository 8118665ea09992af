/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * drives.h - which disks the guest has in use.
 */
#ifndef KAT_DRIVES_H
#define KAT_DRIVES_H

#include <stdbool.h>
#include <stdint.h>

struct katamaran_ctx;

/* A drive with a medium; the strings live as long as the callback runs. */
struct kat_drive {
	const char *name;   /* for people: see kat_drive_is() */
	const char *device; /* of -drive id=, "" where it has none */
	const char *qdev;   /* of the guest's device: its QOM path or id, or "" */
	const char *node;   /* node name, "" where unknown */
	const char *file;   /* as QEMU names it */
	const char *driver; /* of the format: "raw", "qcow2" */
	uint64_t size;	    /* in bytes, as the guest sees it; 0 where unknown */
	bool read_only;
	bool direct;   /* goes past this node's page cache */
	bool firmware; /* pflash, whose contents travel with the guest's RAM */
};

/*
 * Asks QEMU (query-block) and calls `see` for each drive that has a medium.
 * Stops with what `see` returns if that is not 0.  0, or -1 after
 * katamaran_error().
 */
int kat_drives_each(struct katamaran_ctx *ctx,
		    int (*see)(struct katamaran_ctx *ctx, const struct kat_drive *drive,
			       void *data),
		    void *data);

/*
 * Whether `name` means this drive: its id, its node's name, the QOM path of the
 * guest's device, or that device's id ("disk0" of /machine/peripheral/disk0/...).
 */
bool kat_drive_is(const struct kat_drive *drive, const char *name);

/*
 * How the contents of the drive are laid out: "qcow2", or "raw" also where no format is
 * in between ("host_device", "rbd"); NULL where a filter is on top and QEMU does not
 * tell.
 */
const char *kat_drive_format(const struct kat_drive *drive);

#endif /* KAT_DRIVES_H */
