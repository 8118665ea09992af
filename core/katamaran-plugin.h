/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * katamaran-plugin.h - the contract between katamaran and its plugins.
 *
 * A plugin is a shared object KIND-NAME.so (cutover-ipip.so) that exports one
 * symbol, made by KATAMARAN_REGISTER_PLUGIN().  The program calls the
 * functions of struct katamaran_plugin in a fixed order and offers the
 * katamaran_ functions below.  katamaran-plugin(3) has the long form.
 *
 *	source                              destination
 *	open                                open
 *	check                               check
 *	pre_copy                            pre_copy
 *	   (RAM is copied)                     (RAM arrives)
 *	on_stop   cutover                   on_stop   cutover
 *	   (guest stops)
 *	on_stop   storage                   on_stop   storage
 *	                                       (guest runs)
 *	on_resume until it returns 0        on_resume until it returns 0
 *	cleanup                             cleanup
 *
 * Promise: a plugin built against any 1.x header loads and works in every
 * later 1.x, and compiles there unchanged.
 *
 * Everything runs on one thread.  A plugin starts none, and leaves signals,
 * umask, working directory, namespaces and standard streams as it found them;
 * each of its descriptors is close-on-exec.  The same plugin may be listed
 * twice: state belongs into the handle, not into statics.
 */
#ifndef KATAMARAN_PLUGIN_H
#define KATAMARAN_PLUGIN_H

#if !defined KATAMARAN_API_VERSION || KATAMARAN_API_VERSION != 1
#error "#define KATAMARAN_API_VERSION 1 before including katamaran-plugin.h"
#endif

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define KATAMARAN_C extern "C"
extern "C" {
#else
#define KATAMARAN_C
#endif

#define KATAMARAN_PUBLIC       __attribute__((__visibility__("default")))
#define KATAMARAN_PRINTF(f, a) __attribute__((__format__(__printf__, f, a)))

/* One configured plugin in one migration; opaque. */
struct katamaran_ctx;

/* katamaran_plugin.kind */
#define KATAMARAN_STORAGE  1 /* gets the disks across */
#define KATAMARAN_CUTOVER  2 /* sends packets after the guest */
#define KATAMARAN_ANNOUNCE 3 /* tells the network where the guest is */

/* katamaran_plugin.roles, a bit mask, and katamaran_role() */
#define KATAMARAN_SOURCE      1u
#define KATAMARAN_DESTINATION 2u

/* How a migration ended, told to cleanup() */
#define KATAMARAN_DONE	    0 /* the guest runs on the destination */
#define KATAMARAN_FAILED    1 /* the guest stays on the source: undo */
#define KATAMARAN_CANCELLED 2 /* as FAILED, and somebody asked for it */

/* What on_stop() of a cutover plugin on the source may return, see there */
#define KATAMARAN_WHEN_STOPPED 0x7fffffff

/* katamaran_option.type */
#define KATAMARAN_STRING 1
#define KATAMARAN_INT	 2
#define KATAMARAN_BOOL	 3
#define KATAMARAN_LIST	 4 /* of strings */

/* katamaran_option.flags */
#define KATAMARAN_REQUIRED 1u

/*
 * An option that the plugin takes from its group of the configuration.  The
 * program checks names, types, ranges and requirements before any code of the
 * plugin runs.  Frozen for API 1; a table ends with .name = NULL.
 */
struct katamaran_option {
	const char *name;
	uint32_t type;
	uint32_t flags;
	/*
	 * The default as the configuration would spell it ("5", "true",
	 * "text"); of a LIST: words separated by commas.  NULL: 0, false, an
	 * empty list, or no string at all.
	 */
	const char *dflt;
	/* One line with the unit: shown by --dump-plugin. */
	const char *help;
	/* INT only: allowed range, both ends included; both 0: any. */
	int64_t min, max;
};

struct katamaran_plugin {
	uint32_t _struct_size; /* both set by KATAMARAN_REGISTER_PLUGIN */
	uint32_t _api_version;

	const char *name; /* "ipip" in cutover-ipip.so: [a-z][a-z0-9-]* */
	uint32_t kind;	  /* KATAMARAN_STORAGE, _CUTOVER or _ANNOUNCE */
	uint32_t roles;	  /* on which ends the functions below are called */
	const char *version;
	const char *description;		/* one line */
	const struct katamaran_option *options; /* NULL: none */

	/*
	 * All of these may be NULL (nothing to do there) and return 0, or -1
	 * after katamaran_error().  `handle` is what open() stored.
	 */

	/* May block: files, connections, names.  Nothing is changed yet. */
	int (*open)(struct katamaran_ctx *ctx, void **handle);

	/*
	 * The guest runs and its RAM is not yet on the way.  May block.  Build
	 * here every message that on_stop() will send.
	 */
	int (*pre_copy)(struct katamaran_ctx *ctx, void *handle);

	/*
	 * The switchover.  No fork, no name lookup, no allocation that could
	 * be avoided, nothing that blocks for longer than one acknowledgement
	 * of the kernel or of QEMU; katamaran_ms_left() is the budget.
	 *
	 * Source, cutover: called when the switchover begins.  In the order
	 *   `redirect-first` the guest still runs for some milliseconds
	 *   (katamaran_guest_running() is 1); in the order `salvage`, and where
	 *   QEMU was faster, it has stopped, and what its taps hold is lost
	 *   unless the plugin sends it on.
	 * Source, storage: the guest is stopped, and QEMU waits.  Announce
	 *   plugins are not called.
	 * Destination, cutover: the guest does not run yet, and from now on
	 *   packets may be redirected here: hold them.
	 * Destination, storage: the source's on_stop has succeeded, the disks
	 *   are in step: give them free for the guest, who starts next.  Called
	 *   only where the two ends are connected (katamaran_learn()); without
	 *   that, on_resume is the first that this end hears of it.
	 *
	 * A cutover plugin may return > 0 while katamaran_guest_running():
	 * "call me again in that many milliseconds, I am not done", for which
	 * it is called at least three more times before the guest is stopped.
	 * If it still was not done, or had returned KATAMARAN_WHEN_STOPPED, it
	 * is called a last time when the guest has stopped.  A failure of that
	 * call is a doubt about the packets, and no longer the migration's.
	 */
	int (*on_stop)(struct katamaran_ctx *ctx, void *handle);

	/*
	 * The guest runs on the destination.  Called on both ends; `round`
	 * counts from 0, and the first round on the destination is still in
	 * the guest's blackout as its clients see it: be quick.  A value > 0
	 * asks for another round in that many milliseconds.
	 */
	int (*on_resume)(struct katamaran_ctx *ctx, void *handle, unsigned int round);

	/*
	 * Once for each successful open(), in reverse order, whatever
	 * happened.  May block.  Frees the handle.  Not of a cutover plugin
	 * that has recover(), on a source which has redirected packets and
	 * ends without knowing where the guest is: as after a kill, all
	 * stays as it is until that is called.
	 */
	void (*cleanup)(struct katamaran_ctx *ctx, void *handle, int outcome);

	/* Prints extra key=value lines for --dump-plugin; no ctx exists. */
	void (*dump)(void);

	/*
	 * An event of this end's QEMU, as JSON text {"event": …, "data": …},
	 * at any time between open() and cleanup() when no other function of
	 * the plugin is running.  -1 fails the migration where that is still
	 * possible.
	 */
	int (*on_event)(struct katamaran_ctx *ctx, void *handle, const char *event,
			const char *json);

	/*
	 * Called after open() of every plugin, where nothing has been changed
	 * yet and nothing may be: looks for whatever would keep the migration
	 * from succeeding, and says it by katamaran_finding().  May block, but
	 * every migration begins with it.  On a source that is connected to
	 * the other end, what that one published in open() and check() is
	 * known.  -1 is one more failure.  A destination that is connected may
	 * return > 0: "call me again when the source's check() has run".
	 */
	int (*check)(struct katamaran_ctx *ctx, void *handle);

	/*
	 * A migration of which this end was killed, or ended without knowing
	 * where the guest is, is being taken back, by another process: undoes what one
	 * katamaran_journal() announced.  No handle exists, since open() is not called;
	 * the newest record comes first.  May block.  The change may not have been made,
	 * or be undone already: neither is an error.  -1 keeps the journal for another
	 * try.
	 */
	int (*recover)(struct katamaran_ctx *ctx, const char *record, int outcome);

	/* API 1 grows here, at the end, and nowhere else. */
};

/*
 * Offered by the program.  To be called only inside a function of the plugin,
 * with the ctx that it was given.  Strings and arrays belong to the program
 * and stay valid until cleanup() returns, unless said otherwise.
 */

/* The reason of the -1 that is returned next.  Keeps errno; %m works. */
KATAMARAN_PUBLIC void katamaran_error(struct katamaran_ctx *ctx, const char *fmt, ...)
	KATAMARAN_PRINTF(2, 3);

/* Levels of syslog(3): 3 error, 4 warning, 6 information, 7 debug. */
KATAMARAN_PUBLIC void katamaran_log(struct katamaran_ctx *ctx, int level, const char *fmt,
				    ...) KATAMARAN_PRINTF(3, 4);

/*
 * Of check(): `what` was looked at, a few words ("tap tap0"), and the text says
 * how it is and, unless it is KATAMARAN_OK, what to do about it.  A failure
 * ends the migration before it begins; a warning is shown.
 */
#define KATAMARAN_OK	  0
#define KATAMARAN_WARNING 1
#define KATAMARAN_FAILURE 2
KATAMARAN_PUBLIC void katamaran_finding(struct katamaran_ctx *ctx, int level,
					const char *what, const char *fmt, ...)
	KATAMARAN_PRINTF(4, 5);

/* KATAMARAN_SOURCE or KATAMARAN_DESTINATION. */
KATAMARAN_PUBLIC uint32_t katamaran_role(struct katamaran_ctx *ctx);

/* [a-z0-9]{1,8}, unlike that of any other migration now running on this node. */
KATAMARAN_PUBLIC const char *katamaran_migration_id(struct katamaran_ctx *ctx);

/* The guest's name and UUID as QEMU tells them; "" where it has none. */
KATAMARAN_PUBLIC const char *katamaran_vm_name(struct katamaran_ctx *ctx);
KATAMARAN_PUBLIC const char *katamaran_vm_uuid(struct katamaran_ctx *ctx);

/* On the source the destination's address; on the destination NULL if unknown. */
KATAMARAN_PUBLIC const char *katamaran_peer(struct katamaran_ctx *ctx);

/*
 * On the destination the address that this end is to listen on, from the
 * configuration; NULL for every address, and on the source.
 */
KATAMARAN_PUBLIC const char *katamaran_listen_ip(struct katamaran_ctx *ctx);

/* QEMU's process; the pidfd is borrowed, and -1 where none could be had. */
KATAMARAN_PUBLIC int katamaran_qemu_pid(struct katamaran_ctx *ctx);
KATAMARAN_PUBLIC int katamaran_qemu_pidfd(struct katamaran_ctx *ctx);

/* 1 while this end's guest executes instructions, 0 when it is stopped. */
KATAMARAN_PUBLIC int katamaran_guest_running(struct katamaran_ctx *ctx);

/*
 * The guest's NICs, 0 .. count - 1.  tap: the interface's name.  netns: the
 * network namespace that it is in, a path, or NULL for the program's own.
 * mac: 6 bytes, or NULL if neither the configuration nor QEMU told.  ips:
 * addresses without prefix length, in the text form of inet_ntop(3).
 */
KATAMARAN_PUBLIC size_t katamaran_nic_count(struct katamaran_ctx *ctx);
KATAMARAN_PUBLIC const char *katamaran_nic_tap(struct katamaran_ctx *ctx, size_t nic);
KATAMARAN_PUBLIC const char *katamaran_nic_netns(struct katamaran_ctx *ctx, size_t nic);
KATAMARAN_PUBLIC const uint8_t *katamaran_nic_mac(struct katamaran_ctx *ctx, size_t nic);
KATAMARAN_PUBLIC size_t katamaran_nic_ips(struct katamaran_ctx *ctx, size_t nic,
					  const char *const **ips);

/*
 * The plugin's options.  A name that the option table has, asked for with its
 * type, never fails; any other is a fault of the plugin and ends the program.
 */
KATAMARAN_PUBLIC const char *katamaran_conf_string(struct katamaran_ctx *ctx,
						   const char *name);
KATAMARAN_PUBLIC int64_t katamaran_conf_int(struct katamaran_ctx *ctx, const char *name);
KATAMARAN_PUBLIC int katamaran_conf_bool(struct katamaran_ctx *ctx, const char *name);
KATAMARAN_PUBLIC size_t katamaran_conf_list(struct katamaran_ctx *ctx, const char *name,
					    const char *const **items);

/* The blackout that is aimed at on this end, milliseconds. */
KATAMARAN_PUBLIC int64_t katamaran_downtime_ms(struct katamaran_ctx *ctx);

/* CLOCK_MONOTONIC end of this call's budget, and what is left, for poll(2). */
KATAMARAN_PUBLIC int64_t katamaran_deadline_ns(struct katamaran_ctx *ctx);
KATAMARAN_PUBLIC int katamaran_ms_left(struct katamaran_ctx *ctx);

/*
 * To be called every few seconds by a hook that waits by itself, for longer
 * than half a minute, and not in katamaran_qmp(): the other end hears meanwhile
 * that this one lives, or it would give up.  0, or -1 with errno EINTR where
 * somebody wants to stop; a hook that takes long to finish returns -1 then.
 */
KATAMARAN_PUBLIC int katamaran_alive(struct katamaran_ctx *ctx);

/*
 * Runs a QMP command with `arguments`, JSON text of an object or NULL, on this
 * end's QEMU, and waits for the answer until the deadline.  The text of the
 * "return" member is stored through `reply` (which may be NULL) and is valid
 * until the plugin's next call of this function.  0, or -1 with
 * katamaran_error() already set: errno EREMOTEIO where QEMU refused.  What the
 * plugin says by katamaran_error() after that goes in front of QEMU's words; a
 * later command that succeeds takes them back.
 */
KATAMARAN_PUBLIC int katamaran_qmp(struct katamaran_ctx *ctx, const char *command,
				   const char *arguments, const char **reply);

/*
 * Waits until the deadline for an event whose "data" has the string `value` in
 * `member` (both NULL: any).  Other events are kept.  0 with the text of the
 * whole event in `json` (may be NULL), valid until the plugin's next QMP call;
 * -1 with katamaran_error() already set: errno ETIMEDOUT, EINTR for a signal.
 * There, too, what the plugin says by katamaran_error() goes in front.
 */
KATAMARAN_PUBLIC int katamaran_qmp_event(struct katamaran_ctx *ctx, const char *event,
					 const char *member, const char *value,
					 const char **json);

/*
 * Facts for the same plugin on the other end, where the ends are connected by
 * a peer command.  What a destination publishes in open() and check() is known
 * to the source's check() and later, what it does in pre_copy() to pre_copy(); what
 * a source publishes in open() and check(), to the destination's pre_copy().
 * katamaran_learn() is NULL where the other end said nothing of the kind, or where each
 * end runs alone.
 */
KATAMARAN_PUBLIC void katamaran_publish(struct katamaran_ctx *ctx, const char *key,
					const char *value);
KATAMARAN_PUBLIC const char *katamaran_learn(struct katamaran_ctx *ctx, const char *key);

/* 1 where the two ends are connected, 0 where each runs alone. */
KATAMARAN_PUBLIC int katamaran_connected(struct katamaran_ctx *ctx);

/*
 * Writes a line into the migration's journal, which recover() gets should this
 * process be killed: to be called before the change that it announces, with
 * all that undoing it needs.  To be called in open() and pre_copy(), also for
 * what on_stop() will change.  Less than 6000 bytes.  0, or -1 after
 * katamaran_error(); then leave the change.
 */
KATAMARAN_PUBLIC int katamaran_journal(struct katamaran_ctx *ctx, const char *fmt, ...)
	KATAMARAN_PRINTF(2, 3);

/* How far a long step is; `total` 0 where unknown.  Units of the plugin's own. */
KATAMARAN_PUBLIC void katamaran_progress(struct katamaran_ctx *ctx, uint64_t done,
					 uint64_t total, const char *unit);

/* The packets of the ledger, added per NIC. */
#define KATAMARAN_REDIRECTED	 0 /* source: sent on, those not salvaged */
#define KATAMARAN_SALVAGED	 1 /* source: taken from the stopped guest's tap */
#define KATAMARAN_HELD		 2 /* destination: held before the guest ran */
#define KATAMARAN_RELEASED	 3 /* destination: given to the guest's tap then */
#define KATAMARAN_DROPPED_PLUG	 4 /* lost: the hold was full */
#define KATAMARAN_DROPPED_RING	 5 /* lost: the tap's ring was full */
#define KATAMARAN_DROPPED_TUNNEL 6 /* lost: the redirect could not send, or take */
#define KATAMARAN_ARRIVED	 7 /* destination: came out of the redirect */
#define KATAMARAN_RETURNED	 8 /* source: given to the guest, which has stayed */
/* Who has looked into the taps counts KATAMARAN_SALVAGED, 0 packets as well. */
KATAMARAN_PUBLIC void katamaran_count(struct katamaran_ctx *ctx, size_t nic, int what,
				      uint64_t packets);

/*
 * Of a destination in cleanup(), where the guest has not come: an IP packet that was held
 * for it, `length` bytes from the IP header on, at most 16384, goes back to the other
 * end, which gives it to the guest if that runs there again, and counts
 * KATAMARAN_RETURNED. 4096 packets a migration at most.  Blocks for up to a second where
 * the other end does not listen.  0: it was sent; -1 with errno: ENOTCONN where the ends
 * are not connected, or no longer, EMSGSIZE, ENOBUFS.
 */
KATAMARAN_PUBLIC int katamaran_give_back(struct katamaran_ctx *ctx, const void *packet,
					 size_t length);

/*
 * When the network had learned where the guest is: the last packet for the NIC
 * needed the redirect `ms` after the guest's resume.  Told by a source at the
 * end of its on_resume() rounds.
 */
KATAMARAN_PUBLIC void katamaran_learned(struct katamaran_ctx *ctx, size_t nic,
					int64_t ms);

/*
 * The verdict on this migration cannot be more than "unknown": `reason` says
 * what the plugin could not see or had to let go.
 */
KATAMARAN_PUBLIC void katamaran_doubt(struct katamaran_ctx *ctx, const char *fmt, ...)
	KATAMARAN_PRINTF(2, 3);

#define KATAMARAN_REGISTER_PLUGIN(plugin)                                                \
	KATAMARAN_C KATAMARAN_PUBLIC const struct katamaran_plugin *                     \
	katamaran_plugin_init(void);                                                     \
	const struct katamaran_plugin *katamaran_plugin_init(void)                       \
	{                                                                                \
		(plugin)._struct_size = (uint32_t)sizeof(plugin);                        \
		(plugin)._api_version = KATAMARAN_API_VERSION;                           \
		return &(plugin);                                                        \
	}

#ifdef __cplusplus
}
#endif
#endif /* KATAMARAN_PLUGIN_H */
