/* SPDX-License-Identifier: BSD-2-Clause */
#define KATAMARAN_API_VERSION 1
#include "katamaran-plugin.h"
#include "plugins/lib/nbd_dest.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <syslog.h>
#include <json-c/json_object.h>
#include "plugins/lib/nbd.h"
#include "plugins/lib/nbd_socket.h"

/* Ports that IANA leaves to programs, and how many of them are tried. */
#define FIRST_PORT 49152
#define LAST_PORT  65535
#define PORT_TRIES 16
#define POLL_MS	   1

static int start_at(struct katamaran_ctx *ctx, struct kat_nbd *nbd, const char *host,
		    int port)
{
	if (katamaran_journal(ctx, "server %d", port) < 0)
		return -1;
	nbd->port = port;
	if (kat_nbd_qmp(ctx, "nbd-server-start",
			kat_nbd_args_server(host, port,
					    katamaran_conf_string(ctx, "tls_creds")),
			NULL) < 0) {
		nbd->serving = errno != EREMOTEIO; /* or it comes yet, unawaited */
		return -1;
	}
	nbd->serving = true;
	return 0;
}

/* QEMU does not tell which port it was given for 0: so it is given a number. */
static int start_anywhere(struct katamaran_ctx *ctx, struct kat_nbd *nbd,
			  const char *host)
{
	for (int i = 0; i < PORT_TRIES; i++) {
		uint16_t random = 0;
		int port;

		if (getrandom(&random, sizeof(random), 0) < 0)
			random = (uint16_t)(i * 997);
		port = FIRST_PORT + random % (LAST_PORT - FIRST_PORT + 1);
		if (start_at(ctx, nbd, host, port) == 0)
			return 0;
		if (errno != EREMOTEIO)
			return -1;
	}
	return -1;
}

static int start_server(struct katamaran_ctx *ctx, struct kat_nbd *nbd, const char *host)
{
	int port = (int)katamaran_conf_int(ctx, "port");
	kat_cleanup_text char *where = kat_nbd_where(*host ? host : "*", port);

	if (port ? start_at(ctx, nbd, host, port) == 0
		 : start_anywhere(ctx, nbd, host) == 0)
		return 0;
	if (errno == EREMOTEIO)
		katamaran_error(ctx,
				"NBD server start failed at %s (if the port is in use, "
				"`ss -tlnp | grep %d` tells by whom)",
				where, port);
	return -1;
}

const char *kat_nbd_own_address(struct katamaran_ctx *ctx)
{
	const char *address = katamaran_conf_string(ctx, "address");

	if (!*address && katamaran_listen_ip(ctx))
		address = katamaran_listen_ip(ctx);
	return address;
}

/* Where no address is set: all of them, with IPv6's if the node has IPv6. */
static int start(struct katamaran_ctx *ctx, struct kat_nbd *nbd)
{
	const char *address = kat_nbd_own_address(ctx);

	if (*address)
		return start_server(ctx, nbd, address);
	katamaran_log(ctx, LOG_WARNING,
		      "no `address`: the NBD server opens on every address of this node, "
		      "and whoever reaches it can write the guest's disks");
	return start_server(ctx, nbd, "");
}

void kat_nbd_publish_drives(struct katamaran_ctx *ctx, const struct kat_nbd *nbd)
{
	kat_cleanup_text char *drives = NULL;
	char number[32];

	for (size_t i = 0; i < nbd->n; i++) {
		kat_cleanup_text char *key = NULL;
		kat_cleanup_text char *before = drives;

		if (asprintf(&key, "size.%s", nbd->drives[i].name) < 0 ||
		    asprintf(&drives, "%s%s%s", before ? before : "", before ? ", " : "",
			     nbd->drives[i].name) < 0)
			abort();
		snprintf(number, sizeof(number), "%" PRIu64, nbd->drives[i].size);
		katamaran_publish(ctx, key, number);
	}
	katamaran_publish(ctx, "drives", drives ? drives : "none");
}

static void publish(struct katamaran_ctx *ctx, const struct kat_nbd *nbd)
{
	const char *address = kat_nbd_own_address(ctx);
	char number[16];

	snprintf(number, sizeof(number), "%d", nbd->port);
	katamaran_publish(ctx, "port", number);
	if (!kat_nbd_is_wildcard(address))
		katamaran_publish(ctx, "host", address);
	kat_nbd_publish_drives(ctx, nbd);
}

int kat_nbd_serve(struct katamaran_ctx *ctx, struct kat_nbd *nbd)
{
	kat_cleanup_text char *where = NULL;

	if (!nbd->n) {
		katamaran_log(ctx, LOG_INFO, "the guest has no writable drive");
		publish(ctx, nbd);
		return 0;
	}
	katamaran_log(ctx, LOG_INFO, "Starting NBD server for storage migration...");
	if (start(ctx, nbd) < 0)
		return -1;
	for (size_t i = 0; i < nbd->n; i++) {
		if (katamaran_journal(ctx, "export %s %s", nbd->drives[i].id,
				      nbd->drives[i].name) < 0)
			return -1;
		if (kat_nbd_qmp(ctx, "block-export-add",
				kat_nbd_args_export(&nbd->drives[i]), NULL) < 0) {
			nbd->drives[i].exported = errno != EREMOTEIO;
			return -1;
		}
		nbd->drives[i].exported = true;
	}
	where = kat_nbd_where(*kat_nbd_own_address(ctx) ? kat_nbd_own_address(ctx) : "*",
			      nbd->port);
	katamaran_log(ctx, LOG_INFO, "NBD server listening on %s", where);
	publish(ctx, nbd);
	return 0;
}

static int delete_export(struct katamaran_ctx *ctx, const struct kat_nbd_drive *drive,
			 const char *mode)
{
	struct json_object *args = kat_nbd_args("id", drive->id);

	json_object_object_add(args, "mode", json_object_new_string(mode));
	return kat_nbd_qmp(ctx, "block-export-del", args, NULL);
}

/* "safe" is refused while a client is connected: what a source does not leave. */
static int end_export(struct katamaran_ctx *ctx, const struct kat_nbd_drive *drive,
		      bool failed)
{
	if (failed)
		return delete_export(ctx, drive, "hard");
	if (delete_export(ctx, drive, "safe") == 0)
		return 0;
	if (errno != EREMOTEIO)
		return -1;
	katamaran_log(
		ctx, LOG_WARNING,
		"drive %s: a client of its export is still connected; cutting it off",
		drive->name);
	return delete_export(ctx, drive, "hard");
}

int kat_nbd_stop_server(struct katamaran_ctx *ctx, int port)
{
	kat_nbd_close_door(ctx, port);
	while (kat_nbd_cut_clients(ctx, port) > 0) {
		if (katamaran_ms_left(ctx) < 2 * POLL_MS) {
			katamaran_error(ctx,
					"QEMU does not close a connection to its NBD "
					"server at port %d",
					port);
			errno = ETIMEDOUT;
			return -1;
		}
		poll(NULL, 0, POLL_MS);
		/* When it answers, it has been at its sockets, too. */
		if (katamaran_qmp(ctx, "query-block-exports", NULL, NULL) < 0)
			return -1;
	}
	return katamaran_qmp(ctx, "nbd-server-stop", NULL, NULL);
}

int kat_nbd_close(struct katamaran_ctx *ctx, struct kat_nbd *nbd, bool failed)
{
	if (nbd->serving)
		kat_nbd_close_door(ctx, nbd->port);
	for (size_t i = 0; i < nbd->n; i++)
		if (nbd->drives[i].exported &&
		    end_export(ctx, &nbd->drives[i], failed) < 0)
			return -1;
	for (size_t i = 0; i < nbd->n; i++) {
		if (!nbd->drives[i].exported)
			continue;
		if (katamaran_qmp_event(ctx, "BLOCK_EXPORT_DELETED", "id",
					nbd->drives[i].id, NULL) < 0)
			return -1;
		nbd->drives[i].exported = false;
	}
	if (nbd->serving && kat_nbd_stop_server(ctx, nbd->port) < 0)
		return -1;
	nbd->serving = false;
	return 0;
}
