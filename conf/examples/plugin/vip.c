/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cutover-vip: a load balancer sends a virtual address elsewhere when its guest moves.
 *
 * An example of a plugin that is built outside of katamaran's tree, and small enough to
 * start from.  The load balancer's agent listens on a UNIX socket and answers each line:
 *
 *	prepare VIP PEER ID	the guest will move to PEER; "ok" if that can be done
 *	move VIP PEER ID	now; "ok" when no packet comes here any more
 *	keep VIP PEER ID	the guest stays here
 *
 * katamaran-plugin(3) describes every function that is used here.
 */
#define KATAMARAN_API_VERSION 1
#include <katamaran-plugin.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

/* State lives here and not in static variables: the plugin may be listed twice. */
struct vip {
	int fd;
	int moved;
	char move[160]; /* made before the guest is stopped */
};

static const struct katamaran_option options[] = {
	{"vip", KATAMARAN_STRING, KATAMARAN_REQUIRED, NULL, "the virtual address", 0, 0},
	{"socket", KATAMARAN_STRING, KATAMARAN_REQUIRED, NULL,
	 "UNIX socket of the load balancer's agent", 0, 0},
	{NULL, 0, 0, NULL, NULL, 0, 0},
};

/* Sends the line and waits for "ok" until the deadline of the call. */
static int ask(struct katamaran_ctx *ctx, struct vip *vip, const char *line)
{
	struct pollfd pfd = {.fd = vip->fd, .events = POLLIN};
	char answer[128] = "";
	ssize_t n;

	if (send(vip->fd, line, strlen(line), MSG_NOSIGNAL) < 0) {
		katamaran_error(ctx, "load balancer: cannot send \"%.40s\": %m", line);
		return -1;
	}
	if (poll(&pfd, 1, katamaran_ms_left(ctx)) != 1) {
		katamaran_error(ctx, "load balancer: no answer to \"%.40s\" in time",
				line);
		return -1;
	}
	n = recv(vip->fd, answer, sizeof(answer) - 1, 0);
	if (n > 0 && !strcmp(answer, "ok\n"))
		return 0;
	katamaran_error(ctx, "load balancer: \"%.40s\" was answered by \"%s\"", line,
			answer);
	return -1;
}

static int connect_to(const char *path)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	int fd;

	if (strlen(path) >= sizeof(to.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	strcpy(to.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (const struct sockaddr *)&to, sizeof(to)) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

/* May block, and changes nothing: what cannot work is refused here. */
static int vip_open(struct katamaran_ctx *ctx, void **handle)
{
	const char *path = katamaran_conf_string(ctx, "socket");
	struct vip *vip = calloc(1, sizeof(*vip));

	if (!vip) {
		katamaran_error(ctx, "vip: %m");
		return -1;
	}
	vip->fd = connect_to(path);
	if (vip->fd < 0) {
		katamaran_error(ctx, "load balancer at %s: cannot connect: %m", path);
		free(vip);
		return -1;
	}
	*handle = vip;
	return 0;
}

static void make_line(struct katamaran_ctx *ctx, char *line, size_t size,
		      const char *word)
{
	const char *peer = katamaran_peer(ctx);

	snprintf(line, size, "%s %s %s %s\n", word, katamaran_conf_string(ctx, "vip"),
		 peer ? peer : "?", katamaran_migration_id(ctx));
}

/* The guest runs.  Everything that on_stop() will need is made here. */
static int vip_pre_copy(struct katamaran_ctx *ctx, void *handle)
{
	struct vip *vip = handle;
	char line[160];

	make_line(ctx, vip->move, sizeof(vip->move), "move");
	make_line(ctx, line, sizeof(line), "prepare");
	return ask(ctx, vip, line);
}

/* The switchover: one ready message and its answer.  May be called again. */
static int vip_on_stop(struct katamaran_ctx *ctx, void *handle)
{
	struct vip *vip = handle;

	if (vip->moved)
		return 0;
	vip->moved = 1; /* from here on it has to be taken back */
	return ask(ctx, vip, vip->move);
}

static int vip_on_resume(struct katamaran_ctx *ctx, void *handle, unsigned int round)
{
	(void)handle;
	(void)round;
	katamaran_log(ctx, LOG_INFO, "%s is at the destination",
		      katamaran_conf_string(ctx, "vip"));
	return 0; /* no other round */
}

/* Whatever happened, and the last that is called. */
static void vip_cleanup(struct katamaran_ctx *ctx, void *handle, int outcome)
{
	struct vip *vip = handle;
	char line[160];

	if (outcome != KATAMARAN_DONE && vip->moved) {
		make_line(ctx, line, sizeof(line), "keep");
		ask(ctx, vip, line); /* its error becomes a warning */
	}
	close(vip->fd);
	free(vip);
}

static struct katamaran_plugin plugin = {
	.name = "vip",
	.kind = KATAMARAN_CUTOVER,
	.roles = KATAMARAN_SOURCE,
	.version = "1",
	.description = "tell a load balancer to move a virtual address",
	.options = options,
	.open = vip_open,
	.pre_copy = vip_pre_copy,
	.on_stop = vip_on_stop,
	.on_resume = vip_on_resume,
	.cleanup = vip_cleanup,
};
KATAMARAN_REGISTER_PLUGIN(plugin)
