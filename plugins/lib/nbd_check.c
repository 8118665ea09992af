/* SPDX-License-Identifier: BSD-2-Clause */
#define KATAMARAN_API_VERSION 1
#include "katamaran-plugin.h"
#include "plugins/lib/nbd_check.h"

#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "plugins/lib/nbd.h"
#include "plugins/lib/nbd_dest.h"
#include "plugins/lib/nbd_probe.h"
#include "plugins/lib/nbd_source.h"

static int try_bind_at(const char *host, int port)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
				 .ai_flags =
					 AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE};
	struct addrinfo *list;
	int fd, ret = -1, one = 1, error;
	char number[16];

	snprintf(number, sizeof(number), "%d", port);
	/* A name is for QEMU to resolve. */
	if (getaddrinfo(host, number, &hints, &list) != 0)
		return 0;
	fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0) {
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		ret = bind(fd, list->ai_addr, list->ai_addrlen);
	}
	error = errno;
	if (fd >= 0)
		close(fd);
	freeaddrinfo(list);
	errno = error;
	return ret;
}

/* By bind(2), as the server would; 0, or -1 with errno. */
static int try_bind(const char *host, int port)
{
	int ret = try_bind_at(*host ? host : "::", port);

	/* A node without IPv6 (ipv6.disable=1) has every address, too. */
	return ret < 0 && !*host && errno == EAFNOSUPPORT ? try_bind_at("0.0.0.0", port)
							  : ret;
}

static void check_port(struct katamaran_ctx *ctx)
{
	const char *host = kat_nbd_own_address(ctx);
	int port = (int)katamaran_conf_int(ctx, "port");
	kat_cleanup_text char *where = kat_nbd_where(*host ? host : "*", port);

	if (!*host)
		katamaran_finding(
			ctx, KATAMARAN_WARNING, "address",
			"none is set: the NBD server opens on every address of this "
			"node, and whoever reaches it can write the guest's disks");
	if (!port) {
		katamaran_finding(ctx, KATAMARAN_OK, "port", "one that is free");
	} else if (!kat_nbd_same_network(ctx)) {
		katamaran_finding(
			ctx, KATAMARAN_WARNING, "port",
			"%s is not checked: QEMU is in another network namespace", where);
	} else if (try_bind(host, port) == 0) {
		katamaran_finding(ctx, KATAMARAN_OK, "port", "%s is free", where);
	} else if (errno == EADDRINUSE) {
		katamaran_finding(
			ctx, KATAMARAN_FAILURE, "port",
			"%s is taken (`ss -tlnp | grep %d` tells by whom; by QEMU "
			"itself, if an earlier run was killed: nbd-server-stop): end "
			"that, or set another `port`",
			where, port);
	} else {
		katamaran_finding(ctx, KATAMARAN_FAILURE, "port",
				  "%s cannot be listened on: %m; correct `address`",
				  where);
	}
}

/* What carries our name in QEMU, and cannot be of this migration. */
static void check_leftovers(struct katamaran_ctx *ctx, const char *command,
			    const char *remedy)
{
	static const char mark[] = "\"kat-nbd-";
	const char *reply, *at;

	if (katamaran_qmp(ctx, command, NULL, &reply) < 0)
		return;
	at = strstr(reply, mark);
	if (at)
		katamaran_finding(ctx, KATAMARAN_WARNING, "leftovers",
				  "QEMU has %.*s of an earlier run that was killed: %s",
				  (int)strcspn(at + 1, "\""), at + 1, remedy);
}

static int check_source(struct katamaran_ctx *ctx, struct kat_nbd *nbd)
{
	const char *drives = katamaran_learn(ctx, "drives");

	check_leftovers(ctx, "query-block-jobs",
			"end it by block-job-cancel with \"force\": true");
	check_leftovers(ctx, "query-named-block-nodes", "remove it by blockdev-del");
	for (size_t i = 0; i < nbd->n; i++) {
		if (kat_nbd_check_offer(ctx, &nbd->drives[i]) < 0)
			return -1;
		katamaran_finding(
			ctx, drives ? KATAMARAN_OK : KATAMARAN_WARNING, "drive",
			"%s, %" PRIu64 " bytes: %s", nbd->drives[i].name,
			nbd->drives[i].size,
			drives ? "the destination has it, and it is large enough"
			       : "not checked whether the destination has one as "
				 "large");
	}
	return 0;
}

int kat_nbd_check(struct katamaran_ctx *ctx, struct kat_nbd *nbd)
{
	if (katamaran_role(ctx) == KATAMARAN_SOURCE)
		return check_source(ctx, nbd);
	kat_nbd_publish_drives(ctx, nbd);
	if (!nbd->n)
		return 0;
	check_leftovers(ctx, "query-block-exports", "remove it by block-export-del");
	check_port(ctx);
	return 0;
}
