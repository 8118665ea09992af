/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * storage-shared: both nodes see the guest's disks, and nothing is copied.
 * Compares what the two ends have open where they are connected, and says what
 * could make the two nodes see different contents.
 */
#define KATAMARAN_API_VERSION 1
#include "katamaran-plugin.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <syslog.h>
#include <unistd.h>
#include <linux/magic.h>
#include "plugins/lib/drives.h"

/* Of Ceph, GlusterFS and other FUSE file systems, and GFS2, OCFS2; magic.h lacks some. */
#define CEPH_MAGIC   0x00c36400
#define GFS2_MAGIC   0x01161970
#define LUSTRE_MAGIC 0x0bd00bd0
/* The bytes of an image on which QEMU holds its locks (block/file-posix.c). */
#define LOCKS_START 100
#define LOCKS_BYTES 200
/* A key for katamaran_publish(): "inode." and a drive's name. */
#define KEY_MAX 512

/* How many writable drives there are, and their names. */
struct seen {
	unsigned int writable;
	char names[512];
};

static const struct katamaran_option options[] = {
	{"compare", KATAMARAN_BOOL, 0, "true",
	 "refuse where the two ends have different files open; false: only warn", 0, 0},
	{.name = NULL},
};

/*
 * The file as QEMU sees it, which may have another root and working directory.
 * False where it is none that we can look at.
 */
static bool look_at(struct katamaran_ctx *ctx, const struct kat_drive *drive,
		    char path[PATH_MAX], struct stat *st)
{
	bool absolute = drive->file[0] == '/';

	if (katamaran_qemu_pid(ctx) <= 0)
		return false;
	snprintf(path, PATH_MAX, "/proc/%d/%s%s%s", katamaran_qemu_pid(ctx),
		 absolute ? "root" : "cwd", absolute ? "" : "/", drive->file);
	return stat(path, st) == 0;
}

/* Whether the file lies on a file system that other nodes can mount too. */
static bool is_shared_folder(const char *path)
{
	static const unsigned int magics[] = {
		NFS_SUPER_MAGIC,   SMB_SUPER_MAGIC,  CIFS_SUPER_MAGIC, SMB2_SUPER_MAGIC,
		OCFS2_SUPER_MAGIC, FUSE_SUPER_MAGIC, AFS_SUPER_MAGIC,  V9FS_MAGIC,
		CEPH_MAGIC,	   GFS2_MAGIC,	     LUSTRE_MAGIC};
	struct statfs fs;

	if (statfs(path, &fs) < 0)
		return true; /* nothing to say */
	for (size_t i = 0; i < sizeof(magics) / sizeof(magics[0]); i++)
		if ((unsigned int)fs.f_type == magics[i])
			return true;
	return false;
}

/* Whether anybody, which is the running guest's QEMU, has locked the image. */
static bool is_locked(const char *path)
{
	struct flock lock = {.l_type = F_WRLCK,
			     .l_whence = SEEK_SET,
			     .l_start = LOCKS_START,
			     .l_len = LOCKS_BYTES};
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int ret;

	if (fd < 0)
		return true; /* nothing to say */
	ret = fcntl(fd, F_OFD_GETLK, &lock);
	close(fd);
	return ret < 0 || lock.l_type != F_UNLCK;
}

static void look_at_file(struct katamaran_ctx *ctx, const struct kat_drive *drive)
{
	char path[PATH_MAX];
	struct stat st;

	if (!look_at(ctx, drive, path, &st))
		return;
	if (S_ISBLK(st.st_mode)) {
		katamaran_log(
			ctx, LOG_WARNING,
			"drive %s: %s is a block device; whether the other node has the "
			"same one cannot be seen from here",
			drive->name, drive->file);
		return;
	}
	if (!is_shared_folder(path))
		katamaran_log(ctx, LOG_WARNING,
			      "drive %s: %s is a file on a local file system; if the "
			      "other node has only a copy, the guest's data will be lost",
			      drive->name, drive->file);
	/* On the destination QEMU locks when the guest has arrived. */
	if (katamaran_role(ctx) == KATAMARAN_SOURCE && S_ISREG(st.st_mode) &&
	    !is_locked(path))
		katamaran_log(ctx, LOG_WARNING,
			      "drive %s: QEMU does not lock %s (file.locking=off, or a "
			      "file system without locks): nothing keeps a second guest "
			      "from writing it",
			      drive->name, drive->file);
}

static void publish(struct katamaran_ctx *ctx, const struct kat_drive *drive)
{
	const char *format = kat_drive_format(drive);
	char key[KEY_MAX], path[PATH_MAX], number[32];
	struct stat st;

	snprintf(key, sizeof(key), "file.%s", drive->name);
	katamaran_publish(ctx, key, drive->file);
	snprintf(key, sizeof(key), "size.%s", drive->name);
	snprintf(number, sizeof(number), "%" PRIu64, drive->size);
	katamaran_publish(ctx, key, number);
	if (format) {
		snprintf(key, sizeof(key), "format.%s", drive->name);
		katamaran_publish(ctx, key, format);
	}
	if (!look_at(ctx, drive, path, &st) || !S_ISREG(st.st_mode))
		return;
	snprintf(key, sizeof(key), "inode.%s", drive->name);
	snprintf(number, sizeof(number), "%ju", (uintmax_t)st.st_ino);
	katamaran_publish(ctx, key, number);
}

static int see_drive(struct katamaran_ctx *ctx, const struct kat_drive *drive, void *data)
{
	struct seen *seen = data;
	size_t used = strlen(seen->names);

	if (drive->read_only || drive->firmware)
		return 0;
	snprintf(seen->names + used, sizeof(seen->names) - used, "%s%s",
		 seen->writable ? ", " : "", drive->name);
	seen->writable++;
	katamaran_log(ctx, LOG_INFO, "drive %s: shared, node %s, %s, %s", drive->name,
		      *drive->node ? drive->node : "(none)", drive->driver, drive->file);
	if (!drive->direct)
		katamaran_log(
			ctx, LOG_WARNING,
			"drive %s: uses this node's page cache; with cache.direct=on "
			"(cache=none) both nodes are sure to see the same contents",
			drive->name);
	look_at_file(ctx, drive);
	if (katamaran_role(ctx) == KATAMARAN_DESTINATION)
		publish(ctx, drive);
	return 0;
}

static int shared_open(struct katamaran_ctx *ctx, void **handle)
{
	struct seen seen = {0};

	*handle = NULL;
	if (kat_drives_each(ctx, see_drive, &seen) < 0)
		return -1;
	if (!seen.writable)
		katamaran_log(ctx, LOG_INFO, "the guest has no writable drive");
	if (katamaran_role(ctx) == KATAMARAN_DESTINATION)
		katamaran_publish(ctx, "drives", seen.writable ? seen.names : "none");
	return 0;
}

/* ---- the source, once the destination has told ---- */

static const char *learn(struct katamaran_ctx *ctx, const char *what, const char *drive)
{
	char key[KEY_MAX];

	snprintf(key, sizeof(key), "%s.%s", what, drive);
	return katamaran_learn(ctx, key);
}

/* `text` is what is wrong; whether it ends the migration is the user's choice. */
static int differ(struct katamaran_ctx *ctx, const char *text)
{
	if (katamaran_conf_bool(ctx, "compare")) {
		katamaran_error(ctx,
				"%s; where it is the same storage all the same, set "
				"compare = false",
				text);
		return -1;
	}
	katamaran_log(ctx, LOG_WARNING, "%s (compare = false)", text);
	return 0;
}

/* Of one file, read in two ways, one of the guests makes rubbish. */
static int compare_format(struct katamaran_ctx *ctx, const struct kat_drive *drive)
{
	const char *there = learn(ctx, "format", drive->name);
	const char *here = kat_drive_format(drive);

	if (!there || !here || !strcmp(there, here))
		return 0;
	katamaran_error(ctx,
			"drive %s is %s here and %s on the destination: what the guest "
			"sees would not be the same; start the destination's QEMU with "
			"format=%s",
			drive->name, here, there, here);
	return -1;
}

static int compare_drive(struct katamaran_ctx *ctx, const struct kat_drive *drive,
			 const char *file)
{
	const char *inode = learn(ctx, "inode", drive->name);
	const char *size = learn(ctx, "size", drive->name);
	char text[384], path[PATH_MAX];
	struct stat st;
	bool known = inode && look_at(ctx, drive, path, &st) && S_ISREG(st.st_mode);
	bool same = known && strtoumax(inode, NULL, 10) == (uintmax_t)st.st_ino;

	if (size && strtoull(size, NULL, 10) != drive->size) {
		katamaran_error(
			ctx,
			"drive %s has %" PRIu64
			" bytes here and %s on the destination: not the same disk",
			drive->name, drive->size, size);
		return -1;
	}
	if (compare_format(ctx, drive) < 0)
		return -1;
	if (known && !same) {
		snprintf(text, sizeof(text),
			 "drive %s is another file on the destination: %s, inode %ju, "
			 "here, and %s, inode %s, there; a copy would lose the guest's "
			 "data",
			 drive->name, drive->file, (uintmax_t)st.st_ino, file, inode);
		return differ(ctx, text);
	}
	if (!same && strcmp(file, drive->file) != 0) {
		snprintf(text, sizeof(text),
			 "drive %s is %s here and %s on the destination", drive->name,
			 drive->file, file);
		return differ(ctx, text);
	}
	katamaran_finding(ctx, KATAMARAN_OK, "drive",
			  "%s: the destination has the same %s open", drive->name,
			  same ? "file" : "name");
	return 0;
}

static int compare(struct katamaran_ctx *ctx, const struct kat_drive *drive, void *data)
{
	const char *file;

	if (drive->read_only || drive->firmware)
		return 0;
	file = learn(ctx, "file", drive->name);
	if (file)
		return compare_drive(ctx, drive, file);
	katamaran_error(ctx, "the destination has no drive %s; it has: %s", drive->name,
			(const char *)data);
	return -1;
}

static int shared_check(struct katamaran_ctx *ctx, void *handle)
{
	const char *drives = katamaran_learn(ctx, "drives");
	char text[512];

	(void)handle;
	if (katamaran_role(ctx) == KATAMARAN_DESTINATION)
		return 0;
	if (!drives) {
		katamaran_log(ctx, LOG_WARNING,
			      "the two ends are not connected: that the other node opens "
			      "the very same disks is not checked");
		return 0;
	}
	snprintf(text, sizeof(text), "%s", drives);
	return kat_drives_each(ctx, compare, text);
}

static struct katamaran_plugin plugin = {
	.name = "shared",
	.kind = KATAMARAN_STORAGE,
	.roles = KATAMARAN_SOURCE | KATAMARAN_DESTINATION,
	.version = "1",
	.description = "both nodes see the same disks",
	.options = options,
	.open = shared_open,
	.check = shared_check,
};
KATAMARAN_REGISTER_PLUGIN(plugin)
