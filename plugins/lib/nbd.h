/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * nbd.h - the disks that go across by NBD: which they are, the QMP arguments
 * about them, and what QEMU says of their jobs.  nbd_source.h and nbd_dest.h
 * have what each end does with them.
 */
#ifndef KAT_NBD_H
#define KAT_NBD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct katamaran_ctx;
struct json_object;

/* A job in the answer to query-block-jobs. */
struct kat_nbd_job {
	bool found, ready, synced;
	bool failed;	      /* it stands, by an error that `error` has */
	uint64_t done, total; /* bytes; the total grows as the guest writes */
	char status[32];      /* "running", "ready", "concluded" */
	char error[256];      /* "" without */
};

/* One disk.  The strings are its own. */
struct kat_nbd_drive {
	char *name;   /* as the configuration or QEMU has it; the export's too */
	char *device; /* what QMP commands take: the drive's id, or its node */
	char *node;
	uint64_t size;
	char id[32]; /* of its job and its node here, or of its export there */
	/* On the source: */
	bool has_node, has_job; /* QEMU has it, and we are to take it away */
	bool mirrors;		/* the job runs, and nobody asked it to end */
	bool background;	/* a write of the guest does not wait for the copy */
	bool changed;		/* it did not at first */
	struct kat_nbd_job job;
	/* On the destination: */
	bool exported;
};

struct kat_nbd {
	size_t n;
	struct kat_nbd_drive *drives;
	/* On the source: */
	char *host; /* of the destination's server */
	int port;
	/* On the destination: */
	bool serving;
};

/*
 * Finds the drives that the option "drives" names, or without any all that are
 * writable.  -1 after katamaran_error() where one is missing, read-only, or
 * named twice.
 */
int kat_nbd_find(struct katamaran_ctx *ctx, struct kat_nbd *nbd);
void kat_nbd_free(struct kat_nbd *nbd);

/* "192.0.2.1:10809", "[2001:db8::1]:10809".  The caller frees it. */
char *kat_nbd_where(const char *host, int port);

/* Whether an address means every address of a node: "", "::", "0.0.0.0". */
bool kat_nbd_is_wildcard(const char *address);

/* Runs a QMP command; takes the reference to `args`. */
int kat_nbd_qmp(struct katamaran_ctx *ctx, const char *command, struct json_object *args,
		const char **reply);

/* True when QEMU's process has ended: there is nobody to take things back from. */
bool kat_nbd_qemu_gone(struct katamaran_ctx *ctx);

/* {"KEY": "VALUE"} */
struct json_object *kat_nbd_args(const char *key, const char *value);
/* Of nbd-server-start; `tls` may be NULL. */
struct json_object *kat_nbd_args_server(const char *host, int port, const char *tls);
/* Of block-export-add. */
struct json_object *kat_nbd_args_export(const struct kat_nbd_drive *drive);
/* Of blockdev-add, for the node that is the destination's drive. */
struct json_object *kat_nbd_args_node(const struct kat_nbd *nbd,
				      const struct kat_nbd_drive *drive, const char *tls);
/* Of blockdev-mirror to that node. */
struct json_object *kat_nbd_args_mirror(const struct kat_nbd_drive *drive);
/* Of block-job-change: from now on the guest's writes wait for the copy. */
struct json_object *kat_nbd_args_blocking(const struct kat_nbd_drive *drive);

/* The size in bytes of the node `name` in an answer to query-named-block-nodes. */
bool kat_nbd_node_size(const char *reply, const char *name, uint64_t *size);

/* Of yank: the node's connection breaks, and what waits for it fails. */
struct json_object *kat_nbd_args_yank(const struct kat_nbd_drive *drive);

/* Reads the job `id` out of an answer to query-block-jobs. */
void kat_nbd_read_job(const char *reply, const char *id, struct kat_nbd_job *job);
/* Asks QEMU, and fills drives[].job.  0, or -1 after katamaran_error(). */
int kat_nbd_read_jobs(struct katamaran_ctx *ctx, struct kat_nbd *nbd);

/*
 * What an event says about the job of one of the drives: 0 nothing, or -1 after
 * katamaran_error() where it has failed.
 */
int kat_nbd_judge_event(struct katamaran_ctx *ctx, const struct kat_nbd *nbd,
			const char *event, const char *json);

/* 0, or -1 after katamaran_error() if the destination's drive is too small. */
int kat_nbd_check_size(struct katamaran_ctx *ctx, const struct kat_nbd_drive *drive,
		       uint64_t there);

#define kat_cleanup_text __attribute__((__cleanup__(kat_nbd_free_text)))
void kat_nbd_free_text(char **text);

#endif /* KAT_NBD_H */
