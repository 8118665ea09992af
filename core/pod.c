/* SPDX-License-Identifier: BSD-2-Clause */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <linux/if_tun.h>

#include "pod.h"
#include "util.h"

/* The line "iff:\tNAME" that the kernel's drivers/net/tun.c writes. */
static bool tap_name(int folder, const char *fd, char name[IFNAMSIZ])
{
	cleanup_fclose FILE *f = NULL;
	int in = openat(folder, fd, O_RDONLY | O_CLOEXEC);
	char line[256];

	if (in < 0)
		return false;
	f = fdopen(in, "r");
	if (!f)
		close(in);
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "iff: %15s", name) == 1)
			return true;
	}
	return false;
}

/* The namespace of a tap that another process holds, as a descriptor. */
static int namespace_of(int pidfd, int fd)
{
	cleanup_close int tap = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);

	return tap < 0 ? -1 : ioctl(tap, TUNGETDEVNETNS); /* both are close-on-exec */
}

static bool is_namespace(const char *path, const struct stat *netns)
{
	struct stat st;

	return stat(path, &st) == 0 && st.st_dev == netns->st_dev &&
	       st.st_ino == netns->st_ino;
}

/* The name that ip-netns(8) and the container runtimes give it; NULL: none. */
static char *named(const struct stat *netns)
{
	static const char dir[] = "/run/netns";
	cleanup_dir DIR *d = opendir(dir);
	const struct dirent *entry;

	while (d && (entry = readdir(d))) {
		char *path = kat_format("%s/%s", dir, entry->d_name);

		if (is_namespace(path, netns))
			return path;
		free(path);
	}
	return NULL;
}

/*
 * A path by which plugins can open the namespace.  One that has no name, and in
 * which QEMU is not, has a descriptor of ours, which stays open.
 */
static char *path_of(pid_t qemu, int netns, const struct stat *st)
{
	char *path = named(st);

	if (path)
		return path;
	path = kat_format("/proc/%d/ns/net", (int)qemu);
	if (is_namespace(path, st))
		return path;
	free(path);
	netns = fcntl(netns, F_DUPFD_CLOEXEC, 3);
	return netns < 0 ? NULL : kat_format("/proc/%d/fd/%d", (int)getpid(), netns);
}

/* Addresses that only mean something on one wire, or in one kernel, are no guest's. */
static bool is_global(const struct sockaddr *sa)
{
	const struct sockaddr_in6 *v6 = (const void *)sa;
	const struct sockaddr_in *v4 = (const void *)sa;
	uint32_t ip;

	if (sa->sa_family == AF_INET6)
		return !IN6_IS_ADDR_LINKLOCAL(&v6->sin6_addr) &&
		       !IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
	if (sa->sa_family != AF_INET)
		return false;
	ip = ntohl(v4->sin_addr.s_addr);
	return ip >> 24 != IN_LOOPBACKNET && ip >> 16 != 0xa9fe;
}

static void add_ip(struct kat_pod_tap *tap, const struct sockaddr *sa)
{
	const struct sockaddr_in6 *v6 = (const void *)sa;
	const struct sockaddr_in *v4 = (const void *)sa;
	char text[INET6_ADDRSTRLEN];

	if (sa->sa_family == AF_INET)
		inet_ntop(AF_INET, &v4->sin_addr, text, sizeof(text));
	else
		inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof(text));
	tap->ips = kat_grow(tap->ips, tap->n_ips + 1, sizeof(*tap->ips));
	tap->ips[tap->n_ips++] = kat_strdup(text);
}

/* Of the namespace that we are in now. */
static int read_ips(struct kat_pod_tap *tap)
{
	struct ifaddrs *all;
	char name[IFNAMSIZ];
	unsigned int n = 0;

	if (getifaddrs(&all) < 0)
		return -1;
	sscanf(tap->name, "tap%u_kata", &n);
	snprintf(name, sizeof(name), "eth%u", n);
	for (const struct ifaddrs *a = all; a; a = a->ifa_next) {
		if (a->ifa_addr && strcmp(a->ifa_name, name) == 0 &&
		    is_global(a->ifa_addr))
			add_ip(tap, a->ifa_addr);
	}
	freeifaddrs(all);
	return 0;
}

static int read_ips_inside(struct kat_pod_tap *tap, int netns)
{
	cleanup_close int own = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	int r, error;

	if (own < 0 || setns(netns, CLONE_NEWNET) < 0)
		return -1;
	r = read_ips(tap);
	error = errno;
	if (setns(own, CLONE_NEWNET) < 0)
		abort(); /* what follows would happen in the wrong network */
	errno = error;
	return r;
}

static bool is_known(const struct kat_pod *pod, const char *name,
		     const struct stat *netns)
{
	for (size_t i = 0; i < pod->n; i++) {
		const char *path = pod->taps[i].netns;

		if (strcmp(pod->taps[i].name, name) == 0 &&
		    is_namespace(path ? path : "/proc/thread-self/ns/net", netns))
			return true;
	}
	return false;
}

static int add_tap(struct kat_pod *pod, pid_t qemu, const char *name, int netns,
		   struct kat_error **err)
{
	struct kat_pod_tap *tap;
	struct stat st;

	if (fstat(netns, &st) < 0)
		return kat_error_set(err, KAT_EXIT_USAGE,
				     "the network namespace of %s: %m", name);
	if (is_known(pod, name, &st))
		return 0;
	pod->taps = kat_grow(pod->taps, pod->n + 1, sizeof(*pod->taps));
	tap = &pod->taps[pod->n++];
	strcpy(tap->name, name);
	if (is_namespace("/proc/thread-self/ns/net", &st))
		return 0;
	tap->netns = path_of(qemu, netns, &st);
	if (!tap->netns || read_ips_inside(tap, netns) < 0)
		return kat_error_set(err, KAT_EXIT_USAGE,
				     "cannot look into the network namespace of %s: %m",
				     name);
	return 0;
}

int kat_pod_look(struct kat_pod *pod, pid_t qemu, struct kat_error **err)
{
	cleanup_close int pidfd = (int)syscall(SYS_pidfd_open, qemu, 0);
	cleanup_free char *path = kat_format("/proc/%d/fdinfo", (int)qemu);
	cleanup_dir DIR *dir = opendir(path);
	const struct dirent *entry;
	char name[IFNAMSIZ];

	if (!dir || pidfd < 0)
		return kat_error_set(err, KAT_EXIT_USAGE,
				     "cannot see the descriptors of process %d: %m",
				     (int)qemu);
	while ((entry = readdir(dir))) {
		cleanup_close int netns = -1;

		if (entry->d_name[0] == '.' || !tap_name(dirfd(dir), entry->d_name, name))
			continue;
		netns = namespace_of(pidfd, atoi(entry->d_name));
		if (netns < 0)
			return kat_error_set(
				err, KAT_EXIT_USAGE,
				"cannot tell which network namespace %s of process %d is "
				"in: %m (-qmp, -tap and -netns say it instead)",
				name, (int)qemu);
		if (add_tap(pod, qemu, name, netns, err) < 0)
			return -1;
	}
	return 0;
}

void kat_pod_free(struct kat_pod *pod)
{
	for (size_t i = 0; i < pod->n; i++) {
		struct kat_pod_tap *tap = &pod->taps[i];

		for (size_t n = 0; n < tap->n_ips; n++)
			free(tap->ips[n]);
		free(tap->ips);
		free(tap->netns);
	}
	free(pod->taps);
	*pod = (struct kat_pod){.n = 0};
}
