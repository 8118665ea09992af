/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The configuration file and the command line, read into plain structs.
 * config.c is the only file that sees libconfig.h; the table of settings and the
 * command line are in options.c, defaults and checks of the whole in settings.c.
 *
 * Everything here is checked for form: types, ranges, addresses, unknown keys.
 * What a plugin's group may hold is checked by the plan, against the plugin's
 * own table.
 */
#ifndef KAT_CONFIG_H
#define KAT_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "error.h"

/* One setting of a plugin's group, as it was written. */
struct kat_setting {
	char *name;
	char *where;   /* "/etc/katamaran.conf:12", "-drive-id" */
	uint32_t type; /* KATAMARAN_STRING, _INT, _BOOL, _LIST */
	char *string;
	int64_t integer; /* INT; BOOL: 0 or 1 */
	char **items;	 /* LIST of strings, NULL after the last */
	size_t n_items;
};

/* One plugin that the configuration lists. */
struct kat_plugin_config {
	uint32_t kind; /* KATAMARAN_STORAGE, _CUTOVER, _ANNOUNCE */
	char *plugin;  /* "ipip", "cutover-ipip" or a path with a slash */
	char *where;
	struct kat_setting *settings;
	size_t n_settings;
};

struct kat_nic_config {
	char *tap;
	char *netns;  /* a path ("/run/netns/pod", "/proc/123/ns/net"); NULL: ours */
	bool has_mac; /* else QEMU is asked */
	uint8_t mac[6];
	char **ips; /* text of inet_ntop(3), IPv4-mapped ones as IPv4; NULL-terminated */
	size_t n_ips;
};

/* Which lossless order the source follows, see katamaran.conf(5). */
enum kat_order {
	KAT_ORDER_REDIRECT_FIRST, /* packets are redirected, then the guest is stopped */
	KAT_ORDER_SALVAGE,	  /* QEMU stops it when it likes, and then */
};

struct kat_config {
	uint32_t role;		/* KATAMARAN_SOURCE or KATAMARAN_DESTINATION */
	char *qmp;		/* path of the QMP socket */
	char *sandbox, *pod_ip; /* what to look for it by, see sandbox.h; at most one */
	char *sandbox_dir;	/* where */
	pid_t qemu_pid;		/* found so; 0: not looked for */
	char *dest_ip; /* text of inet_ntop(3); NULL on a destination that listens on all
			*/
	int port;      /* of the RAM migration, 1..65535 */
	enum kat_order order;

	struct kat_nic_config *nics;
	size_t n_nics;

	int64_t downtime_ms; /* the blackout that is aimed at */
	int64_t bandwidth;   /* bytes/s for RAM; 0: no limit of ours */
	int multifd;	     /* channels; 0: off */
	bool auto_converge;

	struct kat_plugin_config *plugins; /* storage, then cutover, then announce */
	size_t n_plugins;

	int64_t migration_s;	/* RAM copy, until the guest is stopped */
	int64_t event_s;	/* destination alone: until the source connects, and again
				   until the guest runs here */
	int64_t cleanup_s;	/* each plugin's cleanup */
	int64_t storage_sync_s; /* a storage plugin's pre_copy: until the disks are in
				   step */
	int64_t stop_ms;	/* budget of all on_stop functions together */

	char **peer_command; /* words, NULL after the last; NULL: each end runs alone */
	size_t n_peer_words;
	bool peer_stdio;  /* we are the other end's peer command */
	bool guest_state; /* -guest-state, see ask.h; on the source: to ask by it */

	char *summary; /* where the machine-readable summary goes; NULL: nowhere */
	bool check;    /* -check: look, and change nothing */

	int verbose;	    /* -v: 1, debug lines */
	char *plugin_dir;   /* where plugins without a slash are looked for */
	char *run_dir;	    /* where journals are kept */
	bool json;	    /* status: for programs */
	bool other_stopped; /* recover: the guest does not run on the other node */
};

/* What the command line asked for besides a migration. */
enum kat_action {
	KAT_ACTION_MIGRATE,
	KAT_ACTION_HELP,
	KAT_ACTION_VERSION,
	KAT_ACTION_DUMP_PLUGIN,	 /* --dump-plugin NAME */
	KAT_ACTION_LIST_PLUGINS, /* --list-plugins */
	KAT_ACTION_RECOVER,	 /* --recover ID */
	KAT_ACTION_STATUS,	 /* --status [ID] */
	KAT_ACTION_CANCEL,	 /* --cancel ID */
};

/*
 * Reads the command line and the file that it names; flags win over the file.
 * `name` gets the NAME of --dump-plugin, or the ID that an action is about (owned
 * by the caller), else NULL.
 * Errors are KAT_EXIT_USAGE and name file:line or flag, key, value, and what
 * is allowed; `config` is empty after one, and `action` KAT_ACTION_HELP where
 * the usage text should follow.  For other actions than MIGRATE the caller may
 * look at nothing but the members from plugin_dir on, and `verbose`.
 */
int kat_config_load(int argc, char **argv, struct kat_config *config,
		    enum kat_action *action, char **name, struct kat_error **err);
void kat_config_free(struct kat_config *config);

/* The text of -help: every flag with a line.  Static. */
const char *kat_config_usage(void);

#endif /* KAT_CONFIG_H */
