/* SPDX-License-Identifier: BSD-2-Clause */
#include "plugins/lib/tunnel_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <sys/file.h>
#include <sys/stat.h>
#include "plugins/lib/netlink.h"

/* How long to sleep before the lock is tried again. */
#define LOCK_PAUSE_NS 2000000

int kat_lock_take(const char *what, int64_t deadline_ns)
{
	const struct timespec pause = {.tv_nsec = LOCK_PAUSE_NS};
	kat_cleanup_close int folder = -1;
	char name[64];
	struct stat st;
	int fd;

	if (mkdir(KAT_LOCK_FOLDER, 0700) < 0 && errno != EEXIST)
		return -1;
	folder = open(KAT_LOCK_FOLDER, O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (folder < 0 || fstat(folder, &st) < 0)
		return -1;
	if (st.st_uid != geteuid() || (st.st_mode & 022)) {
		errno = EPERM;
		return -1;
	}
	snprintf(name, sizeof(name), "%s.lock", what);
	fd = openat(folder, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -1;
	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EINTR &&
		    (errno != EWOULDBLOCK || kat_now_ns() > deadline_ns)) {
			int error = errno;

			close(fd);
			errno = error == EWOULDBLOCK ? ETIMEDOUT : error;
			return -1;
		}
		nanosleep(&pause, NULL);
	}
	return fd;
}
