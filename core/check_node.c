/* SPDX-License-Identifier: BSD-2-Clause */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define KATAMARAN_API_VERSION 1
#include "check.h"
#include "check_node.h"
#include "katamaran-plugin.h"

#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

/*
 * Whether we may do with QEMU what ptrace(2) may: by a descriptor of its, of
 * which the copy is closed at once.
 */
static void check_descriptors(struct kat_end *end)
{
	int fd;

	if (end->migration.qemu_pidfd < 0) {
		kat_check_add(
			end, KATAMARAN_WARNING, "privileges",
			"QEMU's process is not known here (another pid namespace?), "
			"so its tap cannot be looked at: run katamaran in QEMU's");
		return;
	}
	fd = (int)syscall(SYS_pidfd_getfd, end->migration.qemu_pidfd, 0, 0);
	if (fd >= 0)
		close(fd);
	if (fd >= 0 || errno == EBADF)
		kat_check_add(end, KATAMARAN_OK, "privileges",
			      "QEMU's descriptors are within reach");
	else
		kat_check_add(
			end, KATAMARAN_WARNING, "privileges",
			"QEMU's descriptors are out of reach (pidfd_getfd: %m), so "
			"nobody sees whether its tap is empty: run as root, or with "
			"CAP_SYS_PTRACE");
}

static bool same_network(pid_t qemu)
{
	struct stat ours, qemus;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)qemu);
	return !stat("/proc/self/ns/net", &ours) && !stat(path, &qemus) &&
	       ours.st_ino == qemus.st_ino && ours.st_dev == qemus.st_dev;
}

/* A socket address of the text.  Its length. */
static socklen_t make_address(const char *ip, int port, struct sockaddr_storage *to)
{
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)to;
	struct sockaddr_in *four = (struct sockaddr_in *)to;

	memset(to, 0, sizeof(*to));
	if (inet_pton(AF_INET, ip, &four->sin_addr) == 1) {
		four->sin_family = AF_INET;
		four->sin_port = htons((uint16_t)port);
		return sizeof(*four);
	}
	six->sin6_family = AF_INET6;
	six->sin6_port = htons((uint16_t)port);
	inet_pton(AF_INET6, ip, &six->sin6_addr);
	return sizeof(*six);
}

static int try_bind_at(const char *ip, int port)
{
	struct sockaddr_storage to;
	socklen_t length = make_address(ip, port, &to);
	cleanup_close int fd = socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int one = 1;

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	return bind(fd, (struct sockaddr *)&to, length);
}

/*
 * As QEMU does it, up to listen(2); for NULL on every address, which are IPv4's
 * alone on a node without IPv6 (ipv6.disable=1).  0, or -1 with errno.
 */
static int try_bind(const char *ip, int port)
{
	int ret = try_bind_at(ip ? ip : "::", port);

	return ret < 0 && !ip && errno == EAFNOSUPPORT ? try_bind_at("0.0.0.0", port)
						       : ret;
}

/* Where QEMU listens already (-incoming tcp:...), or NULL. */
static const char *listens(struct json_object *reply)
{
	struct json_object *sockets = kat_json_member(reply, "socket-address");

	if (!json_object_is_type(sockets, json_type_array) ||
	    !json_object_array_length(sockets))
		return NULL;
	return json_object_to_json_string_ext(json_object_array_get_idx(sockets, 0),
					      JSON_C_TO_STRING_PLAIN);
}

static void check_port(struct kat_end *end)
{
	const char *ip = end->config->dest_ip;
	cleanup_json struct json_object *reply = NULL;
	cleanup_error struct kat_error *why = NULL;
	int port = end->config->port;

	if (end->migration.qmp &&
	    kat_end_qmp(end, "query-migrate", NULL, &reply, &why) == 0 &&
	    listens(reply)) {
		kat_check_add(end, KATAMARAN_OK, "migration port",
			      "QEMU listens already: %s", listens(reply));
	} else if (end->migration.qemu_pid && !same_network(end->migration.qemu_pid)) {
		kat_check_add(end, KATAMARAN_WARNING, "migration port",
			      "not checked: QEMU is in another network namespace");
	} else if (try_bind(ip, port) == 0) {
		kat_check_add(end, KATAMARAN_OK, "migration port", "%d is free on %s",
			      port, ip ? ip : "every address of this node");
	} else if (errno == EADDRINUSE) {
		kat_check_add(
			end, KATAMARAN_FAILURE, "migration port",
			"%d is taken (`ss -tlnp | grep %d` tells by whom): end that "
			"process, or set another destination.port on both ends",
			port, port);
	} else if (errno == EADDRNOTAVAIL) {
		kat_check_add(end, KATAMARAN_FAILURE, "migration port",
			      "%s is no address of this node: correct destination.ip",
			      ip ? ip : "::");
	} else {
		kat_check_add(end, KATAMARAN_FAILURE, "migration port",
			      "cannot bind port %d of %s: %m", port, ip ? ip : "::");
	}
}

void kat_check_node(struct kat_end *end)
{
	check_descriptors(end);
	if (end->config->role == KATAMARAN_DESTINATION)
		check_port(end);
}
