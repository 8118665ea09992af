/* SPDX-License-Identifier: BSD-2-Clause */
#include "plugins/lib/tap.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include "plugins/lib/netlink.h"

/* A main loop with more descriptors than that is not looked at. */
#define POLLED_MOST 1024

/* Since kernel 5.6 and glibc 2.36; older libraries have no wrapper. */
static int own_pidfd_open(pid_t pid)
{
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

static int own_pidfd_getfd(int pidfd, int fd)
{
	return (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);
}

static void close_file(FILE **file)
{
	if (*file)
		fclose(*file);
}

static void close_folder(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

/* Whether /proc/PID/fdinfo/FD has the line "iff:\tNAME" of tun.c; NULL: any name. */
static bool is_tap(int folder, const char *fd, const char *name)
{
	__attribute__((__cleanup__(close_file))) FILE *file = NULL;
	char line[256];
	int in;

	in = openat(folder, fd, O_RDONLY | O_CLOEXEC);
	if (in < 0)
		return false;
	file = fdopen(in, "r");
	if (!file) {
		close(in);
		return false;
	}
	while (fgets(line, sizeof(line), file)) {
		if (strncmp(line, "iff:\t", 5) != 0)
			continue;
		line[strcspn(line, "\n")] = 0;
		return !name || !strcmp(line + 5, name);
	}
	return false;
}

/* Whether the tap is in the namespace; yes where the kernel cannot tell. */
static bool is_in(int fd, const struct stat *netns)
{
	kat_cleanup_close int ns = ioctl(fd, TUNGETDEVNETNS);
	struct stat st;

	if (ns < 0 || fstat(ns, &st) < 0)
		return true;
	return st.st_dev == netns->st_dev && st.st_ino == netns->st_ino;
}

static int duplicate_all(struct kat_tap *tap, DIR *dir, int pidfd, const char *name,
			 const struct stat *netns)
{
	const struct dirent *entry;
	int fd;

	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.' || !is_tap(dirfd(dir), entry->d_name, name))
			continue;
		if (tap->count == KAT_TAP_QUEUES) {
			errno = E2BIG;
			return -1;
		}
		/* The duplicate is close-on-exec by itself. */
		fd = own_pidfd_getfd(pidfd, atoi(entry->d_name));
		if (fd < 0)
			return -1;
		if (!is_in(fd, netns)) {
			close(fd);
			continue;
		}
		tap->watched[tap->count] = false;
		tap->numbers[tap->count] = atoi(entry->d_name);
		tap->fds[tap->count++] = fd;
	}
	if (tap->count)
		return 0;
	errno = ENOENT;
	return -1;
}

int kat_tap_duplicate(struct kat_tap *tap, pid_t pid, int pidfd, const char *name,
		      const char *netns)
{
	__attribute__((__cleanup__(close_folder))) DIR *dir = NULL;
	kat_cleanup_close int own = -1;
	struct stat st;
	char path[64];
	int error;

	tap->count = 0;
	if (stat(netns ? netns : "/proc/thread-self/ns/net", &st) < 0)
		return -1;
	if (pidfd < 0)
		pidfd = own = own_pidfd_open(pid);
	if (pidfd < 0)
		return -1;
	snprintf(path, sizeof(path), "/proc/%d/fdinfo", (int)pid);
	dir = opendir(path);
	if (!dir)
		return -1;
	if (duplicate_all(tap, dir, pidfd, name, &st) == 0)
		return 0;
	error = errno;
	kat_tap_close(tap);
	errno = error;
	return -1;
}

void kat_tap_close(struct kat_tap *tap)
{
	while (tap->count)
		close(tap->fds[--tap->count]);
}

int kat_tap_empty(const struct kat_tap *tap, int64_t quiet_ns)
{
	struct timespec wait = {.tv_sec = quiet_ns / 1000000000,
				.tv_nsec = quiet_ns % 1000000000};
	struct pollfd pfds[KAT_TAP_QUEUES];
	int n;

	for (size_t i = 0; i < tap->count; i++)
		pfds[i] = (struct pollfd){.fd = tap->fds[i], .events = POLLIN};
	n = ppoll(pfds, tap->count, &wait, NULL);
	if (n < 0)
		return errno == EINTR ? 0 : -1;
	for (size_t i = 0; i < tap->count; i++)
		if (pfds[i].revents & POLLIN)
			return 0;
	return 1;
}

/*
 * The descriptors that the process sleeps for in poll(2) or ppoll(2).  How many,
 * -1: it does something else.
 */
static ssize_t read_polled(pid_t pid, struct pollfd *set, size_t room)
{
	kat_cleanup_close int fd = -1;
	char path[64], text[256] = "";
	unsigned long at, n;
	struct iovec here, there;
	long call;

	snprintf(path, sizeof(path), "/proc/%d/syscall", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0 ||
	    sscanf(text, "%ld %lx %lx", &call, &at, &n) != 3 || n > room)
		return -1; /* "running" has no number */
#ifdef SYS_poll
	if (call != SYS_ppoll && call != SYS_poll)
#else
	if (call != SYS_ppoll)
#endif
		return -1;
	here = (struct iovec){.iov_base = set, .iov_len = n * sizeof(*set)};
	there = (struct iovec){.iov_base = (void *)at, .iov_len = here.iov_len};
	if (process_vm_readv(pid, &here, 1, &there, 1, 0) != (ssize_t)here.iov_len)
		return -1;
	return (ssize_t)n;
}

static bool is_polled(const struct pollfd *set, ssize_t n, int fd)
{
	for (ssize_t i = 0; i < n; i++)
		if (set[i].fd == fd && (set[i].events & POLLIN))
			return true;
	return false;
}

void kat_tap_watch(struct kat_tap *tap, pid_t pid)
{
	struct pollfd set[POLLED_MOST];
	ssize_t n = read_polled(pid, set, POLLED_MOST);

	for (size_t i = 0; i < tap->count; i++)
		tap->watched[i] |= is_polled(set, n, tap->numbers[i]);
}

int kat_tap_kept(const struct kat_tap *tap, pid_t pid)
{
	struct pollfd set[POLLED_MOST];
	ssize_t n = read_polled(pid, set, POLLED_MOST);
	int kept = 0;

	if (n < 0)
		return -1;
	for (size_t i = 0; i < tap->count; i++)
		kept += tap->watched[i] && !is_polled(set, n, tap->numbers[i]);
	return kept;
}

int kat_tap_header(int fd, struct kat_tap_header *header)
{
	struct ifreq ifr = {0};
	int virtio = 0, little = 0;

	memset(header, 0, sizeof(*header));
	if (ioctl(fd, TUNGETIFF, &ifr) < 0)
		return -1;
	if ((ifr.ifr_flags & IFF_VNET_HDR) && ioctl(fd, TUNGETVNETHDRSZ, &virtio) < 0)
		return -1;
	if (!(ifr.ifr_flags & IFF_NO_PI))
		header->before = sizeof(struct tun_pi);
	if ((ifr.ifr_flags & IFF_TUN) || virtio < 0 ||
	    header->before + (size_t)virtio > KAT_TAP_HEADER) {
		errno = EPROTOTYPE;
		return -1;
	}
	header->virtio = (size_t)virtio;
	header->little_endian = ioctl(fd, TUNGETVNETLE, &little) == 0 && little;
	return 0;
}

/* How many descriptors of the process are of taps, and of vhost-net. */
static int count_queues(pid_t pid, size_t *taps, size_t *vhosts)
{
	__attribute__((__cleanup__(close_folder))) DIR *dir = NULL;
	const struct dirent *entry;
	char path[64 + NAME_MAX], to[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/fdinfo", (int)pid);
	dir = opendir(path);
	if (!dir)
		return -1;
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		*taps += is_tap(dirfd(dir), entry->d_name, NULL);
		snprintf(path, sizeof(path), "/proc/%d/fd/%s", (int)pid, entry->d_name);
		n = readlink(path, to, sizeof(to) - 1);
		to[n > 0 ? n : 0] = 0;
		*vhosts += !strcmp(to, "/dev/vhost-net");
	}
	return 0;
}

bool kat_tap_all_vhost(pid_t pid)
{
	size_t taps = 0, vhosts = 0;

	return pid > 0 && count_queues(pid, &taps, &vhosts) == 0 && vhosts >= taps;
}
