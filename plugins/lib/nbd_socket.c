/* SPDX-License-Identifier: BSD-2-Clause */
#define KATAMARAN_API_VERSION 1
#include "katamaran-plugin.h"
#include "plugins/lib/nbd_socket.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <linux/filter.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Between the probes of an idle connection, and how many may be lost. */
#define KEEPALIVE_S	 5
#define KEEPALIVE_PROBES 3

static bool is_peer(const struct sockaddr_storage *peer, const struct addrinfo *wanted)
{
	if (peer->ss_family != wanted->ai_family)
		return false;
	if (peer->ss_family == AF_INET) {
		const struct sockaddr_in *a = (const struct sockaddr_in *)peer;
		const struct sockaddr_in *b = (const struct sockaddr_in *)wanted->ai_addr;

		return a->sin_port == b->sin_port &&
		       a->sin_addr.s_addr == b->sin_addr.s_addr;
	}
	if (peer->ss_family == AF_INET6) {
		const struct sockaddr_in6 *a = (const struct sockaddr_in6 *)peer;
		const struct sockaddr_in6 *b =
			(const struct sockaddr_in6 *)wanted->ai_addr;

		return a->sin6_port == b->sin6_port &&
		       !memcmp(&a->sin6_addr, &b->sin6_addr, sizeof(a->sin6_addr));
	}
	return false;
}

static bool is_socket(int pid, const char *number)
{
	char path[300], target[16];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/fd/%s", pid, number);
	n = readlink(path, target, sizeof(target));
	return n > 7 && !strncmp(target, "socket:", 7);
}

/*
 * Shows a duplicate of each of QEMU's sockets to see().  How many of them it was
 * true of, or -1 where QEMU's descriptors are out of reach.
 */
static int each_socket(struct katamaran_ctx *ctx, bool (*see)(int fd, const void *data),
		       const void *data)
{
	int pidfd = katamaran_qemu_pidfd(ctx), pid = katamaran_qemu_pid(ctx);
	struct dirent *entry;
	int found = 0;
	char path[32];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = pidfd < 0 ? NULL : opendir(path);
	if (!dir)
		return -1;
	while ((entry = readdir(dir))) {
		int fd;

		if (!is_socket(pid, entry->d_name))
			continue;
		fd = (int)syscall(SYS_pidfd_getfd, pidfd, atoi(entry->d_name), 0);
		if (fd < 0 && errno == EPERM) {
			found = -1;
			break;
		}
		if (fd < 0)
			continue;
		found += see(fd, data);
		close(fd);
	}
	closedir(dir);
	return found;
}

/* ---- on the source: QEMU is the client ---- */

struct to_server {
	const struct addrinfo *wanted;
	int seconds; /* < 0: cut */
};

static void limit(int fd, int seconds)
{
	int yes = 1, idle = KEEPALIVE_S, probes = KEEPALIVE_PROBES;
	unsigned int ms = (unsigned int)seconds * 1000;

	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof(yes));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &idle, sizeof(idle));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
}

static bool see_to_server(int fd, const void *data)
{
	const struct to_server *to = data;
	struct sockaddr_storage peer = {0};
	socklen_t len = sizeof(peer);

	if (getpeername(fd, (struct sockaddr *)&peer, &len) < 0 ||
	    !is_peer(&peer, to->wanted))
		return false;
	if (to->seconds < 0)
		shutdown(fd, SHUT_RDWR);
	else
		limit(fd, to->seconds);
	return true;
}

static int each_to_server(struct katamaran_ctx *ctx, const char *host, int port,
			  int seconds)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
	struct to_server to = {.seconds = seconds};
	struct addrinfo *list;
	char number[16];
	int found = 0;

	if (katamaran_qemu_pidfd(ctx) < 0)
		return 0;
	snprintf(number, sizeof(number), "%d", port);
	if (getaddrinfo(host, number, &hints, &list) != 0)
		return 0;
	for (to.wanted = list; to.wanted; to.wanted = to.wanted->ai_next) {
		int n = each_socket(ctx, see_to_server, &to);

		found += n > 0 ? n : 0;
	}
	freeaddrinfo(list);
	return found;
}

int kat_nbd_limit_silence(struct katamaran_ctx *ctx, const char *host, int port,
			  int seconds)
{
	return each_to_server(ctx, host, port, seconds);
}

int kat_nbd_cut(struct katamaran_ctx *ctx, const char *host, int port)
{
	return each_to_server(ctx, host, port, -1);
}

/* ---- on the destination: QEMU is the server ---- */

static bool is_at(int fd, int port)
{
	struct sockaddr_storage own = {0};
	socklen_t len = sizeof(own);

	if (getsockname(fd, (struct sockaddr *)&own, &len) < 0)
		return false;
	if (own.ss_family == AF_INET)
		return ntohs(((struct sockaddr_in *)&own)->sin_port) == port;
	if (own.ss_family == AF_INET6)
		return ntohs(((struct sockaddr_in6 *)&own)->sin6_port) == port;
	return false;
}

/*
 * Not shutdown(): QEMU's main loop would turn round and round until the server
 * is stopped, in the guest's blackout.
 */
static bool see_listener(int fd, const void *port)
{
	struct sock_filter none = BPF_STMT(BPF_RET | BPF_K, 0);
	struct sock_fprog program = {.len = 1, .filter = &none};
	int listens = 0;
	socklen_t len = sizeof(listens);

	return is_at(fd, *(const int *)port) &&
	       getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) == 0 &&
	       listens &&
	       setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) ==
		       0;
}

static bool see_client(int fd, const void *port)
{
	struct sockaddr_storage peer = {0};
	socklen_t len = sizeof(peer);

	if (!is_at(fd, *(const int *)port) ||
	    getpeername(fd, (struct sockaddr *)&peer, &len) < 0)
		return false;
	shutdown(fd, SHUT_RDWR);
	return true;
}

int kat_nbd_close_door(struct katamaran_ctx *ctx, int port)
{
	return each_socket(ctx, see_listener, &port);
}

int kat_nbd_cut_clients(struct katamaran_ctx *ctx, int port)
{
	return each_socket(ctx, see_client, &port);
}
