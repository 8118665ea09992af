/* SPDX-License-Identifier: BSD-2-Clause */
#define KATAMARAN_API_VERSION 1
#include "katamaran-plugin.h"
#include "plugins/lib/nbd_probe.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>
#include "plugins/lib/nbd.h"

#define PATIENCE_MS 3000
/* What a server of the protocol says first. */
#define GREETING "NBDMAGIC"
/* The polite answer: the client's flags, and the option NBD_OPT_ABORT. */
#define GOODBYE "\0\0\0\1IHAVEOPT\0\0\0\2\0\0\0\0"

static void close_fd(const int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static void free_addresses(struct addrinfo **list)
{
	if (*list)
		freeaddrinfo(*list);
}

bool kat_nbd_same_network(struct katamaran_ctx *ctx)
{
	struct stat ours, qemus;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/net", katamaran_qemu_pid(ctx));
	return !stat("/proc/self/ns/net", &ours) && !stat(path, &qemus) &&
	       ours.st_ino == qemus.st_ino && ours.st_dev == qemus.st_dev;
}

/* 0, or -1 with errno. */
static int wait_for(int fd, short events)
{
	struct pollfd pollfd = {.fd = fd, .events = events};
	int n = poll(&pollfd, 1, PATIENCE_MS);

	if (n == 0)
		errno = ETIMEDOUT;
	return n > 0 ? 0 : -1;
}

static int knock(const struct addrinfo *address, char answer[9])
{
	__attribute__((__cleanup__(close_fd))) int fd =
		socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	socklen_t len = sizeof(int);
	char greeting[18] = "";
	int error = 0;

	if (fd < 0)
		return -1;
	if (connect(fd, address->ai_addr, address->ai_addrlen) < 0 &&
	    errno != EINPROGRESS)
		return -1;
	if (wait_for(fd, POLLOUT) < 0)
		return -1;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 || error) {
		errno = error;
		return -1;
	}
	if (wait_for(fd, POLLIN) < 0)
		return -1;
	if (recv(fd, greeting, sizeof(greeting), 0) < 0)
		return -1;
	memcpy(answer, greeting, strlen(GREETING));
	if (!strcmp(answer, GREETING))
		send(fd, GOODBYE, sizeof(GOODBYE) - 1, MSG_NOSIGNAL);
	return 0;
}

int kat_nbd_probe(struct katamaran_ctx *ctx, const char *host, int port)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
	__attribute__((__cleanup__(free_addresses))) struct addrinfo *list = NULL;
	kat_cleanup_text char *where = kat_nbd_where(host, port);
	char answer[9] = "";
	char number[16];
	int e;

	if (!kat_nbd_same_network(ctx)) {
		katamaran_log(ctx, LOG_DEBUG,
			      "QEMU is in another network namespace: %s "
			      "is not tried from this one",
			      where);
		return 0;
	}
	snprintf(number, sizeof(number), "%d", port);
	e = getaddrinfo(host, number, &hints, &list);
	if (e) {
		katamaran_error(ctx, "cannot resolve the destination's address %s: %s",
				host, gai_strerror(e));
		return -1;
	}
	if (knock(list, answer) < 0) {
		katamaran_error(ctx,
				"drive-mirror failed: no NBD server answers at %s: %m; "
				"start the destination first",
				where);
		return -1;
	}
	if (strcmp(answer, GREETING) != 0) {
		katamaran_error(
			ctx, "drive-mirror failed: what listens at %s is no NBD server",
			where);
		return -1;
	}
	return 0;
}
