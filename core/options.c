/* SPDX-License-Identifier: BSD-2-Clause */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "options.h"
#include "util.h"

#define KATAMARAN_API_VERSION 1
#include "katamaran-plugin.h"

#ifndef KAT_PLUGIN_DIR
#define KAT_PLUGIN_DIR "/usr/local/lib/katamaran/plugins"
#endif

#define KAT_RUN_DIR    "/run/katamaran"
#define WEEK_S	       604800
#define CONFIG(member) offsetof(struct kat_config, member)
#define NIC(member)    offsetof(struct kat_nic_config, member)

const struct kat_key kat_keys[] = {
	{"mode", "mode", KAT_KEY_MODE, CONFIG(role), 0, 0, NULL, "source|dest",
	 "which end of the migration this is"},
	{"qmp", "qmp", KAT_KEY_SOCKET, CONFIG(qmp), 0, 0, NULL, "SOCKET",
	 "the UNIX socket of a QMP monitor of this end's QEMU"},
	{"sandbox", "sandbox", KAT_KEY_SANDBOX, CONFIG(sandbox), 0, 0, NULL, "ID",
	 "find socket, tap, namespace and addresses by the sandbox's id or its "
	 "beginning"},
	{"pod_ip", "pod-ip", KAT_KEY_IP, CONFIG(pod_ip), 0, 0, NULL, "ADDRESS",
	 "the same of the sandbox whose pod has this address"},
	{"sandbox_dir", "sandbox-dir", KAT_KEY_PATH, CONFIG(sandbox_dir), 0, 0,
	 "/run/vc/vm", "DIR", "where the sandboxes are, a folder each"},
	{"destination.ip", "dest-ip", KAT_KEY_IP, CONFIG(dest_ip), 0, 0, NULL, "ADDRESS",
	 "the node to move to; on the destination: where to listen"},
	{"destination.port", "port", KAT_KEY_INT, CONFIG(port), 1, 65535, "4444", "PORT",
	 "TCP port of the RAM migration on the destination"},
	{"nics.tap", "tap", KAT_KEY_TAP, NIC(tap), 0, 0, NULL, "INTERFACE",
	 "the guest's tap on this node"},
	{"nics.netns", "netns", KAT_KEY_NETNS, NIC(netns), 0, 0, NULL, "NAME|PATH|PID",
	 "the network namespace that the tap is in, if not this one"},
	{"nics.mac", "mac", KAT_KEY_MAC, 0, 0, 0, NULL, "MAC",
	 "the guest's MAC address, if QEMU is not to be asked"},
	{"nics.ips", "vm-ip", KAT_KEY_IPS, 0, 0, 0, NULL, "ADDRESS[,ADDRESS...]",
	 "the guest's addresses, which keep their place in the network"},
	{"storage", NULL, KAT_KEY_PLUGINS, 0, KATAMARAN_STORAGE, 0, NULL, NULL, NULL},
	{NULL, "drive-id", KAT_KEY_SPECIAL, 0, 0, 0, NULL, "ID[,ID...]",
	 "copy these disks (storage plugin \"nbd\", unless the file names another)"},
	{NULL, "shared-storage", KAT_KEY_SPECIAL, 0, 0, 0, NULL, NULL,
	 "both nodes see the same disks (storage plugin \"shared\")"},
	{"cutover", NULL, KAT_KEY_PLUGINS, 0, KATAMARAN_CUTOVER, 0, NULL, NULL, NULL},
	{NULL, "tunnel-mode", KAT_KEY_SPECIAL, 0, 0, 0, NULL, "ipip|gre|nftables|none",
	 "cutover plugin that sends packets after the guest (default ipip)"},
	{"announce", NULL, KAT_KEY_PLUGINS, 0, KATAMARAN_ANNOUNCE, 0, NULL, NULL, NULL},
	{"order", "order", KAT_KEY_ORDER, CONFIG(order), 0, 0, "redirect-first",
	 "redirect-first|salvage", "how the switchover loses nothing"},
	{"ram.downtime_ms", "downtime-ms", KAT_KEY_INT64, CONFIG(downtime_ms), 1, 2000000,
	 "50", "MS", "the blackout to aim at"},
	{"ram.bandwidth", "bandwidth", KAT_KEY_INT64, CONFIG(bandwidth), 0, INT64_MAX,
	 "0", "BYTES", "bytes per second for RAM; 0: no limit"},
	{"ram.multifd", "multifd", KAT_KEY_INT, CONFIG(multifd), 0, 255, "0", "CHANNELS",
	 "parallel connections for RAM, the same on both ends; 0: one plain stream"},
	{"ram.auto_converge", "auto-converge", KAT_KEY_BOOL, CONFIG(auto_converge), 0, 0,
	 "true", "true|false", "slow a guest that writes faster than RAM can be copied"},
	{"timeouts.storage_sync_s", "storage-sync-timeout-s", KAT_KEY_INT64,
	 CONFIG(storage_sync_s), 1, WEEK_S, "7200", "S", "until the disks are in step"},
	{"timeouts.migration_s", "migration-timeout-s", KAT_KEY_INT64,
	 CONFIG(migration_s), 1, WEEK_S, "3600", "S", "until RAM is copied"},
	{"timeouts.event_s", "event-timeout-s", KAT_KEY_INT64, CONFIG(event_s), 1, WEEK_S,
	 NULL, "S",
	 "destination alone: until the source connects, and until the guest runs"},
	{"timeouts.cleanup_s", "cleanup-timeout-s", KAT_KEY_INT64, CONFIG(cleanup_s), 1,
	 3600, "10", "S", "for each plugin's cleanup"},
	{"timeouts.stop_ms", "stop-budget-ms", KAT_KEY_INT64, CONFIG(stop_ms), 1, 60000,
	 "50", "MS", "for all plugins together while the guest is stopped"},
	{"peer.command", NULL, KAT_KEY_WORDS, 0, 0, 0, NULL, NULL, NULL},
	{NULL, "peer-stdio", KAT_KEY_SPECIAL, 0, 0, 0, NULL, NULL,
	 "destination: be the source's peer command, on standard input and output"},
	{NULL, "guest-state", KAT_KEY_SPECIAL, 0, 0, 0, NULL, NULL,
	 "destination: only tell a source that recovers whether the guest runs here"},
	{"summary", "summary", KAT_KEY_PATH, CONFIG(summary), 0, 0, NULL, "FILE",
	 "write what became of it to this file, as JSON"},
	{NULL, "check", KAT_KEY_SPECIAL, 0, 0, 0, NULL, NULL,
	 "look on both ends for what would fail or lose packets, and change nothing"},
	{"plugin_dir", "plugin-dir", KAT_KEY_PATH, CONFIG(plugin_dir), 0, 0,
	 KAT_PLUGIN_DIR, "DIR", "where plugins are looked for"},
	{"run_dir", "run-dir", KAT_KEY_PATH, CONFIG(run_dir), 0, 0, KAT_RUN_DIR, "DIR",
	 "where the journals of migrations are kept"},
	{NULL, "c", KAT_KEY_SPECIAL, 0, 0, 0, NULL, "FILE",
	 "read this configuration file; without -c none is read"},
	{NULL, "v", KAT_KEY_SPECIAL, 0, 0, 0, NULL, NULL, "log more"},
	{NULL, "recover", KAT_KEY_ACTION, 0, KAT_ACTION_RECOVER, 0, NULL, "ID|all",
	 "put back what a killed migration left on this node"},
	{NULL, "confirm-other-stopped", KAT_KEY_SPECIAL, 0, 0, 0, NULL, NULL,
	 "recover: the guest does not run on the other node, so continue it here"},
	{NULL, "status", KAT_KEY_ACTION, 0, KAT_ACTION_STATUS, 0, NULL, NULL,
	 "print the migrations of this node, or the one whose ID follows"},
	{NULL, "json", KAT_KEY_SPECIAL, 0, 0, 0, NULL, NULL,
	 "status: as JSON, an object a line"},
	{NULL, "cancel", KAT_KEY_ACTION, 0, KAT_ACTION_CANCEL, 0, NULL, "ID",
	 "ask a running migration of this node to stop"},
	{NULL, "dump-plugin", KAT_KEY_ACTION, 0, KAT_ACTION_DUMP_PLUGIN, 0, NULL, "NAME",
	 "print what a plugin is and which settings it takes"},
	{NULL, "list-plugins", KAT_KEY_ACTION, 0, KAT_ACTION_LIST_PLUGINS, 0, NULL, NULL,
	 "print the plugins that are installed"},
	{NULL, "version", KAT_KEY_ACTION, 0, KAT_ACTION_VERSION, 0, NULL, NULL,
	 "print the version"},
	{NULL, "help", KAT_KEY_ACTION, 0, KAT_ACTION_HELP, 0, NULL, NULL,
	 "print this text; also -h"},
	{NULL, "h", KAT_KEY_ACTION, 0, KAT_ACTION_HELP, 0, NULL, NULL, NULL},
	{NULL, NULL, KAT_KEY_ACTION, 0, 0, 0, NULL, NULL, NULL},
};
_Static_assert(KAT_ARRAY_SIZE(kat_keys) <= KAT_KEYS_MAX, "kat_options.values is short");

const struct kat_key *kat_key_find(const char *path)
{
	for (const struct kat_key *key = kat_keys; kat_key_exists(key); key++) {
		if (key->path && strcmp(key->path, path) == 0)
			return key;
	}
	return NULL;
}

char *kat_key_names(const char *prefix)
{
	size_t len = strlen(prefix);
	const char *last = "";
	char *names = kat_strdup("");

	for (const struct kat_key *key = kat_keys; kat_key_exists(key); key++) {
		const char *name;
		char *longer;
		size_t n;

		if (!key->path || strncmp(key->path, prefix, len) != 0)
			continue;
		name = key->path + len;
		n = strcspn(name, ".");
		if (strncmp(name, last, n + 1) == 0)
			continue; /* of the same group as the one before */
		last = name;
		longer = kat_format("%s%s%.*s", names, *names ? ", " : "", (int)n, name);
		free(names);
		names = longer;
	}
	return names;
}

/*
 * One function for each type: stores `text` at `field`, or says what is
 * allowed instead.
 */

static const char *parse_mode(const struct kat_key *key, void *field, const char *text)
{
	uint32_t *role = field;

	(void)key;
	if (strcmp(text, "source") == 0)
		*role = KATAMARAN_SOURCE;
	else if (strcmp(text, "dest") == 0)
		*role = KATAMARAN_DESTINATION;
	else
		return "\"source\" or \"dest\"";
	return NULL;
}

static const char *parse_order(const struct kat_key *key, void *field, const char *text)
{
	enum kat_order *order = field;

	(void)key;
	if (strcmp(text, "redirect-first") == 0)
		*order = KAT_ORDER_REDIRECT_FIRST;
	else if (strcmp(text, "salvage") == 0)
		*order = KAT_ORDER_SALVAGE;
	else
		return "\"redirect-first\" or \"salvage\"";
	return NULL;
}

static void store(void *field, const char *text)
{
	char **string = field;

	free(*string);
	*string = text ? kat_strdup(text) : NULL;
}

static const char *parse_socket(const struct kat_key *key, void *field, const char *text)
{
	(void)key;
	if (!*text || strlen(text) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
		return "the path of a UNIX socket, 1 to 107 bytes long";
	store(field, text);
	return NULL;
}

static const char *parse_sandbox(const struct kat_key *key, void *field, const char *text)
{
	(void)key;
	if (!*text || *text == '.' || strchr(text, '/'))
		return "the id of a sandbox, or its beginning, without '/'";
	store(field, text);
	return NULL;
}

static const char *parse_path(const struct kat_key *key, void *field, const char *text)
{
	(void)key;
	if (!*text)
		return "a path that is not empty";
	store(field, text);
	return NULL;
}

/* A path, the name that ip-netns(8) knows, or the pid of somebody inside. */
static const char *parse_netns(const struct kat_key *key, void *field, const char *text)
{
	cleanup_free char *path = NULL;

	(void)key;
	if (*text == '/')
		path = kat_strdup(text);
	else if (*text && strspn(text, "0123456789") == strlen(text))
		path = kat_format("/proc/%s/ns/net", text);
	else if (*text && !strchr(text, '/'))
		path = kat_format("/run/netns/%s", text);
	else if (*text)
		return "an absolute path, a name below /run/netns, a pid, or nothing";
	store(field, path);
	return NULL;
}

/* As dev_valid_name() of the kernel has it. */
static const char *parse_tap(const struct kat_key *key, void *field, const char *text)
{
	bool bad = !*text || strlen(text) >= IFNAMSIZ || strcmp(text, ".") == 0 ||
		   strcmp(text, "..") == 0;

	(void)key;
	for (const char *c = text; *c; c++)
		bad = bad || *c == '/' || *c == ':' || isspace((unsigned char)*c);
	if (bad)
		return "the name of an interface, 1 to 15 bytes without '/', ':' and "
		       "space";
	store(field, text);
	return NULL;
}

static const char *check_ipv4(struct in_addr address)
{
	uint32_t ip = ntohl(address.s_addr);

	if (ip == INADDR_ANY)
		return "the address of one host, not the unspecified one";
	if (IN_MULTICAST(ip) || ip == INADDR_BROADCAST)
		return "the address of one host, neither multicast nor broadcast";
	return NULL;
}

/* Brings an address into the one form that comparisons rely on. */
static const char *parse_address(const char *text, char canonical[INET6_ADDRSTRLEN])
{
	const char *bad;
	struct in6_addr v6;
	struct in_addr v4;

	if (inet_pton(AF_INET, text, &v4) != 1) {
		if (inet_pton(AF_INET6, text, &v6) != 1)
			return "an IPv4 or IPv6 address, without prefix length and zone";
		if (IN6_IS_ADDR_UNSPECIFIED(&v6))
			return "the address of one host, not the unspecified one";
		if (IN6_IS_ADDR_MULTICAST(&v6))
			return "the address of one host, not multicast";
		if (!IN6_IS_ADDR_V4MAPPED(&v6)) {
			inet_ntop(AF_INET6, &v6, canonical, INET6_ADDRSTRLEN);
			return NULL;
		}
		memcpy(&v4, &v6.s6_addr[12], sizeof(v4));
	}
	bad = check_ipv4(v4);
	if (bad)
		return bad;
	inet_ntop(AF_INET, &v4, canonical, INET6_ADDRSTRLEN);
	return NULL;
}

static const char *parse_ip(const struct kat_key *key, void *field, const char *text)
{
	char canonical[INET6_ADDRSTRLEN];
	const char *bad = parse_address(text, canonical);

	(void)key;
	if (bad)
		return bad;
	store(field, canonical);
	return NULL;
}

static const char *parse_ips(const struct kat_key *key, void *field, const char *text)
{
	struct kat_nic_config *nic = field;
	char canonical[INET6_ADDRSTRLEN];
	const char *bad = parse_address(text, canonical);

	(void)key;
	if (bad)
		return bad;
	nic->ips = kat_grow(nic->ips, nic->n_ips + 2, sizeof(*nic->ips));
	nic->ips[nic->n_ips++] = kat_strdup(canonical);
	return NULL;
}

static const char *parse_words(const struct kat_key *key, void *field, const char *text)
{
	struct kat_config *config = field;

	(void)key;
	if (!*text && !config->n_peer_words)
		return "a program and its arguments, such as \"ssh\", \"node2\", "
		       "\"katamaran\"";
	config->peer_command = kat_grow(config->peer_command, config->n_peer_words + 2,
					sizeof(*config->peer_command));
	config->peer_command[config->n_peer_words++] = kat_strdup(text);
	return NULL;
}

static const char *parse_mac(const struct kat_key *key, void *field, const char *text)
{
	static const char allowed[] = "six bytes of one station, as 52:54:00:12:34:56";
	struct kat_nic_config *nic = field;
	static const uint8_t zero[6];
	uint8_t mac[6];

	(void)key;
	if (strlen(text) != 17)
		return allowed;
	for (size_t i = 0; i < 6; i++) {
		const char *pair = text + 3 * i;

		if (!isxdigit((unsigned char)pair[0]) ||
		    !isxdigit((unsigned char)pair[1]) || pair[2] != (i < 5 ? ':' : '\0'))
			return allowed;
		mac[i] = (uint8_t)strtoul(pair, NULL, 16);
	}
	if ((mac[0] & 1) || memcmp(mac, zero, sizeof(mac)) == 0)
		return allowed;
	memcpy(nic->mac, mac, sizeof(mac));
	nic->has_mac = true;
	return NULL;
}

static const char *parse_int64(const struct kat_key *key, void *field, const char *text)
{
	static char allowed[64];
	long long number;
	char *end;

	errno = 0;
	number = strtoll(text, &end, 10);
	if (!isspace((unsigned char)*text) && end != text && !*end && !errno &&
	    number >= key->min && number <= key->max) {
		*(int64_t *)field = number;
		return NULL;
	}
	if (key->max == INT64_MAX)
		snprintf(allowed, sizeof(allowed), "a whole number from %" PRId64 " on",
			 key->min);
	else
		snprintf(allowed, sizeof(allowed),
			 "a whole number from %" PRId64 " to %" PRId64, key->min,
			 key->max);
	return allowed;
}

static const char *parse_int(const struct kat_key *key, void *field, const char *text)
{
	int64_t number;
	const char *bad = parse_int64(key, &number, text);

	if (!bad)
		*(int *)field = (int)number;
	return bad;
}

static const char *parse_bool(const struct kat_key *key, void *field, const char *text)
{
	(void)key;
	if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
		return "true or false";
	*(bool *)field = text[0] == 't';
	return NULL;
}

int kat_key_set(const struct kat_key *key, void *base, const char *text, bool in_file,
		struct kat_error **err)
{
	static const char *(*const parse[])(const struct kat_key *, void *,
					    const char *) = {
		[KAT_KEY_MODE] = parse_mode,	 [KAT_KEY_ORDER] = parse_order,
		[KAT_KEY_SOCKET] = parse_socket, [KAT_KEY_SANDBOX] = parse_sandbox,
		[KAT_KEY_PATH] = parse_path,	 [KAT_KEY_NETNS] = parse_netns,
		[KAT_KEY_TAP] = parse_tap,	 [KAT_KEY_IP] = parse_ip,
		[KAT_KEY_INT] = parse_int,	 [KAT_KEY_INT64] = parse_int64,
		[KAT_KEY_BOOL] = parse_bool,	 [KAT_KEY_MAC] = parse_mac,
		[KAT_KEY_IPS] = parse_ips,	 [KAT_KEY_WORDS] = parse_words,
	};
	const char *allowed = parse[key->type](key, (char *)base + key->offset, text);
	bool mode = key->type == KAT_KEY_MODE;

	if (!allowed)
		return 0;
	errno = 0;
	return kat_error_set(err, KAT_EXIT_USAGE, "invalid %s%s \"%s\": allowed is %s",
			     in_file || mode ? "" : "-", in_file ? key->path : key->flag,
			     text, allowed);
}

const char *kat_options_value(const struct kat_options *options, const char *flag)
{
	for (size_t row = 0; kat_key_exists(&kat_keys[row]); row++) {
		if (kat_keys[row].flag && strcmp(kat_keys[row].flag, flag) == 0)
			return options->values[row];
	}
	return NULL;
}

/* getopt takes "-mod" for -mode: a script that relies on it breaks with the next flag. */
static bool is_spelled_out(const char *arg, const char *flag)
{
	size_t len = strlen(flag);

	arg += strspn(arg, "-");
	return strncmp(arg, flag, len) == 0 && (!arg[len] || arg[len] == '=');
}

static int refuse_flag(int c, const char *arg, struct kat_error **err)
{
	const struct kat_key *key = optopt >= 256 ? &kat_keys[optopt - 256] : NULL;

	errno = 0;
	if (key && is_spelled_out(arg, key->flag) && c == ':')
		return kat_error_set(err, KAT_EXIT_USAGE, "-%s needs a value: %s",
				     key->flag, key->arg);
	if (key && is_spelled_out(arg, key->flag))
		return kat_error_set(err, KAT_EXIT_USAGE, "-%s takes no value",
				     key->flag);
	return kat_error_set(err, KAT_EXIT_USAGE,
			     "unknown option \"%.*s\" (-help lists all)",
			     (int)strcspn(arg, "="), arg);
}

static int refuse_arguments(int argc, char **argv, const char *unexpected, int more,
			    struct kat_error **err)
{
	cleanup_free char *names = kat_strdup(unexpected ? unexpected : "");

	for (; more < argc; more++) {
		char *longer = kat_format("%s \"%s\"", names, argv[more]);

		free(names);
		names = longer;
	}
	if (!*names)
		return 0;
	errno = 0;
	return kat_error_set(err, KAT_EXIT_USAGE,
			     "unexpected arguments:%s (every setting has a flag)", names);
}

static void make_long_options(struct option flags[KAT_KEYS_MAX])
{
	size_t n = 0;

	for (size_t row = 0; kat_key_exists(&kat_keys[row]); row++) {
		if (!kat_keys[row].flag)
			continue;
		flags[n++] = (struct option){
			.name = kat_keys[row].flag,
			.has_arg = kat_keys[row].arg ? required_argument : no_argument,
			.val = 256 + (int)row,
		};
	}
	flags[n] = (struct option){.name = NULL};
}

int kat_options_parse(int argc, char **argv, struct kat_options *options,
		      struct kat_error **err)
{
	cleanup_free char *unexpected = NULL;
	struct option flags[KAT_KEYS_MAX];

	*options = (struct kat_options){.action = KAT_ACTION_MIGRATE};
	make_long_options(flags);
	opterr = 0;
	optind = 0; /* start afresh: the tests call this more than once */
	for (;;) {
		int at = optind ? optind : 1;
		int c = getopt_long_only(argc, argv, "-:", flags, NULL);
		const struct kat_key *key;

		if (c == -1)
			break;
		if (c == 1 && options->action == KAT_ACTION_STATUS && !options->id) {
			options->id = optarg;
			continue;
		}
		if (c == 1) { /* no option at all */
			char *more = kat_format("%s \"%s\"", unexpected ? unexpected : "",
						optarg);

			free(unexpected);
			unexpected = more;
			continue;
		}
		if (c < 256 || !is_spelled_out(argv[at], kat_keys[c - 256].flag))
			return refuse_flag(c, argv[at], err);
		key = &kat_keys[c - 256];
		options->values[c - 256] = key->arg ? optarg : "";
		if (key->type == KAT_KEY_ACTION)
			options->action = (enum kat_action)key->min;
		if (key->type == KAT_KEY_ACTION && key->arg)
			options->id = optarg;
		if (options->action == KAT_ACTION_HELP ||
		    options->action == KAT_ACTION_VERSION)
			return 0; /* whatever else is wrong, this was asked for */
	}
	return refuse_arguments(argc, argv, unexpected, optind, err);
}

static size_t describe_flag(const struct kat_key *key, char *text, size_t size)
{
	size_t len = (size_t)snprintf(text, size, "  -%s%s%s\n        %s", key->flag,
				      key->arg ? " " : "", key->arg ? key->arg : "",
				      key->help);

	if (key->path)
		len += (size_t)snprintf(text + len, size - len, " [%s%s%s]", key->path,
					key->dflt ? " = " : "",
					key->dflt ? key->dflt : "");
	return len + (size_t)snprintf(text + len, size - len, "\n");
}

const char *kat_config_usage(void)
{
	static char text[16384] =
		"Usage: katamaran -mode dest -qmp SOCKET -tap INTERFACE [OPTION...]\n"
		"       katamaran -mode source -qmp SOCKET -dest-ip ADDRESS\n"
		"                 -vm-ip ADDRESS [OPTION...]\n"
		"       katamaran -mode source|dest -sandbox ID [OPTION...]\n"
		"       katamaran -c FILE [OPTION...]\n"
		"       katamaran -check -c FILE [OPTION...]\n"
		"       katamaran --status [ID] | --cancel ID | --recover ID|all\n"
		"       katamaran --list-plugins\n"
		"       katamaran --dump-plugin NAME\n"
		"       katamaran -help | -version\n"
		"\n"
		"Moves a running QEMU guest to another node and loses no packet on\n"
		"the way.  Start it on the destination first, then on the source.\n"
		"\n"
		"Options begin with one dash or two, and win over the file's setting,\n"
		"which stands in [brackets] with its default:\n"
		"\n";
	static bool complete;
	size_t len = strlen(text);

	for (const struct kat_key *key = kat_keys; !complete && kat_key_exists(key);
	     key++) {
		if (key->help)
			len += describe_flag(key, text + len, sizeof(text) - len);
	}
	complete = true;
	return text;
}
