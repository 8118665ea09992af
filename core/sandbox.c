/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "log.h"
#include "pod.h"
#include "sandbox.h"
#include "settings.h"
#include "util.h"

#define KATAMARAN_API_VERSION 1
#include "katamaran-plugin.h"

#define LISTED	    8 /* names in a message; of the others only how many */
#define CMDLINE_MAX (1u << 20)

/* A list of words that grows. */
struct words {
	char **word;
	size_t n;
};

/* The sandbox that is meant, and its QEMU. */
struct sandbox {
	char *id;
	char *qmp;
	pid_t pid;
	struct kat_pod pod;
};

static void cleanup_words(struct words *words)
{
	for (size_t i = 0; i < words->n; i++)
		free(words->word[i]);
	free(words->word);
}

static void free_sandbox(struct sandbox *s)
{
	kat_pod_free(&s->pod);
	free(s->id);
	free(s->qmp);
	*s = (struct sandbox){.pid = 0};
}

#define cleanup_words	__attribute__((__cleanup__(cleanup_words)))
#define cleanup_sandbox __attribute__((__cleanup__(free_sandbox)))

/*
 * Lists
 */

/* Takes `word`. */
static void add(struct words *words, char *word)
{
	words->word = kat_grow(words->word, words->n + 1, sizeof(*words->word));
	words->word[words->n++] = word;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* "a, b and 3 more", or "none". */
static char *list(const struct words *words)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		abort();
	if (!words->n)
		fputs("none", out);
	for (size_t i = 0; i < words->n && i < LISTED; i++)
		fprintf(out, "%s%s", i ? ", " : "", words->word[i]);
	if (words->n > LISTED)
		fprintf(out, " and %zu more", words->n - LISTED);
	if (fclose(out))
		abort(); /* no memory for a line */
	return text;
}

/* The entries of a folder that are of the type (S_IFDIR, S_IFSOCK), in order. */
static int entries(const char *path, mode_t type, struct words *found,
		   struct kat_error **err)
{
	cleanup_dir DIR *dir = opendir(path);
	const struct dirent *entry;
	struct stat st;

	if (!dir)
		return kat_error_set(err, KAT_EXIT_USAGE,
				     "cannot look for sandboxes in %s: %m", path);
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] != '.' &&
		    fstatat(dirfd(dir), entry->d_name, &st, 0) == 0 &&
		    (st.st_mode & S_IFMT) == type)
			add(found, kat_strdup(entry->d_name));
	}
	if (found->n)
		qsort(found->word, found->n, sizeof(*found->word), by_name);
	return 0;
}

/*
 * The monitor
 */

/* That which Kata Containers has for others; then such as a site may have added. */
static size_t rank(const char *name)
{
	if (strcmp(name, "extra-monitor.sock") == 0)
		return 2;
	return strstr(name, "monitor") || strstr(name, "qmp");
}

static int find_monitor(const char *folder, char **qmp, struct kat_error **err)
{
	cleanup_words struct words all = {NULL, 0}, monitors = {NULL, 0};
	cleanup_free char *names = NULL;
	size_t best = 1;

	if (entries(folder, S_IFSOCK, &all, err) < 0)
		return -1;
	for (size_t i = 0; i < all.n; i++)
		best = rank(all.word[i]) > best ? rank(all.word[i]) : best;
	for (size_t i = 0; i < all.n; i++) {
		if (rank(all.word[i]) == best)
			add(&monitors, kat_strdup(all.word[i]));
	}
	errno = 0;
	names = list(monitors.n ? &monitors : &all);
	if (!monitors.n)
		return kat_error_set(err, KAT_EXIT_USAGE,
				     "%s has no monitor's socket (sockets: %s): enable "
				     "extra_monitor_socket in the configuration of Kata "
				     "Containers, or name it with -qmp",
				     folder, names);
	if (monitors.n > 1)
		return kat_error_set(
			err, KAT_EXIT_USAGE,
			"%s has more than one monitor (%s): name one with -qmp", folder,
			names);
	*qmp = kat_format("%s/%s", folder, monitors.word[0]);
	errno = 0;
	if (strlen(*qmp) < sizeof(((struct sockaddr_un *)NULL)->sun_path))
		return 0;
	return kat_error_set(err, KAT_EXIT_USAGE,
			     "the socket %s has too long a path: at most 107 bytes",
			     *qmp);
}

/*
 * The process
 */

/* "unix:PATH", "unix:path=PATH,...", "socket,id=x,path=PATH,...". */
static bool has_monitor(const char *arg, const char *qmp)
{
	size_t len = strlen(qmp);

	for (const char *at = strstr(arg, qmp); at; at = strstr(at + 1, qmp)) {
		if (at > arg && strchr(":=", at[-1]) && strchr(",", at[len]))
			return true;
	}
	return false;
}

/*
 * Whether these are the arguments of the sandbox's QEMU.  Its virtiofsd and its
 * shim have the id in theirs, too, but neither this name nor a monitor.
 */
static bool is_qemu(const char *args, size_t size, const char *id, const char *qmp)
{
	cleanup_free char *name = kat_format("sandbox-%s", id);
	size_t len = strlen(name);
	bool is_name = false;

	for (const char *arg = args; arg < args + size; arg += strlen(arg) + 1) {
		if (is_name && strncmp(arg, name, len) == 0 && strchr(",", arg[len]))
			return true;
		is_name = strcmp(arg, "-name") == 0;
		if (has_monitor(arg, qmp))
			return true;
	}
	return false;
}

static bool names_sandbox(const char *pid, const char *id, const char *qmp)
{
	cleanup_free char *path = kat_format("/proc/%s/cmdline", pid);
	cleanup_fclose FILE *f = fopen(path, "re");
	cleanup_free char *args = NULL;
	size_t n;

	if (!f)
		return false;
	args = kat_grow(NULL, CMDLINE_MAX + 1, 1);
	n = fread(args, 1, CMDLINE_MAX, f);
	args[n] = '\0';
	return is_qemu(args, n, id, qmp);
}

/* Who listens at the socket; 0 where the kernel does not tell. */
static pid_t owner_of(const char *qmp)
{
	cleanup_close int fd =
		socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct ucred peer = {.pid = 0};
	socklen_t size = sizeof(peer);

	if (fd < 0 || strlen(qmp) >= sizeof(addr.sun_path))
		return 0;
	strcpy(addr.sun_path, qmp);
	if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		return 0;
	return peer.pid;
}

/*
 * The one process that names the sandbox as QEMU does.  Of more than one (a
 * wrapper that waits for its child) it is the one that owns the socket, and so it
 * is where none does.  Not the other way round: Kata Containers makes the socket
 * of its own monitor in the shim, and QEMU inherits it.
 */
static int find_qemu(const char *id, const char *qmp, pid_t *pid, struct kat_error **err)
{
	cleanup_dir DIR *proc = opendir("/proc");
	cleanup_words struct words pids = {NULL, 0};
	cleanup_free char *names = NULL;
	const struct dirent *entry;
	pid_t owner;

	while (proc && (entry = readdir(proc))) {
		if (strspn(entry->d_name, "0123456789") == strlen(entry->d_name) &&
		    names_sandbox(entry->d_name, id, qmp))
			add(&pids, kat_strdup(entry->d_name));
	}
	if (pids.n == 1) {
		*pid = atoi(pids.word[0]);
		return 0;
	}
	owner = owner_of(qmp);
	for (size_t i = 0; owner > 0 && i < pids.n; i++) {
		if (atoi(pids.word[i]) == owner)
			*pid = owner;
	}
	if (!pids.n)
		*pid = owner;
	if (*pid > 0)
		return 0;
	names = list(&pids);
	errno = 0;
	return kat_error_set(err, KAT_EXIT_USAGE,
			     "sandbox %s: cannot tell which process its QEMU is "
			     "(candidates: %s); is this the host's pid namespace?",
			     id, names);
}

/*
 * The sandbox
 */

/* `qmp` is that of the configuration, or NULL. */
static int look(struct sandbox *s, const char *dir, const char *id, const char *qmp,
		struct kat_error **err)
{
	cleanup_free char *folder = kat_format("%s/%s", dir, id);

	s->id = kat_strdup(id);
	if (qmp)
		s->qmp = kat_strdup(qmp);
	else if (find_monitor(folder, &s->qmp, err) < 0)
		return -1;
	if (find_qemu(id, s->qmp, &s->pid, err) < 0)
		return -1;
	if (kat_pod_look(&s->pod, s->pid, err) < 0)
		return kat_error_wrap(err, "sandbox %s", id);
	return 0;
}

static int find_by_id(const struct kat_config *config, const struct words *all,
		      struct sandbox *s, struct kat_error **err)
{
	cleanup_words struct words matches = {NULL, 0};
	size_t len = strlen(config->sandbox);
	cleanup_free char *names = NULL;
	const char *id = NULL;

	for (size_t i = 0; i < all->n; i++) {
		if (strncmp(all->word[i], config->sandbox, len) != 0)
			continue;
		add(&matches, kat_strdup(all->word[i]));
		if (!all->word[i][len])
			id = all->word[i]; /* whole: it is meant, whatever goes on longer
					    */
	}
	if (matches.n == 1)
		id = matches.word[0];
	if (id)
		return look(s, config->sandbox_dir, id, config->qmp, err);
	names = list(matches.n ? &matches : all);
	errno = 0;
	if (matches.n)
		return kat_error_set(err, KAT_EXIT_USAGE,
				     "-sandbox \"%s\" fits more than one sandbox in %s: "
				     "%s",
				     config->sandbox, config->sandbox_dir, names);
	return kat_error_set(err, KAT_EXIT_USAGE,
			     "no sandbox \"%s\" in %s; there are: %s", config->sandbox,
			     config->sandbox_dir, names);
}

static bool pod_has(const struct sandbox *s, const char *ip)
{
	for (size_t i = 0; i < s->pod.n; i++) {
		for (size_t n = 0; n < s->pod.taps[i].n_ips; n++) {
			if (strcmp(s->pod.taps[i].ips[n], ip) == 0)
				return true;
		}
	}
	return false;
}

/* "abc123 (10.244.1.5)", or what kept us from looking. */
static char *describe(const struct sandbox *s, const struct kat_error *why)
{
	const char *ip = "no address";

	for (size_t i = 0; i < s->pod.n; i++) {
		if (s->pod.taps[i].n_ips)
			ip = s->pod.taps[i].ips[0];
	}
	return kat_format("%s (%s)", s->id, why ? why->message : ip);
}

static int find_by_ip(const struct kat_config *config, const struct words *all,
		      struct sandbox *s, struct kat_error **err)
{
	cleanup_words struct words matches = {NULL, 0}, others = {NULL, 0};
	cleanup_free char *names = NULL;

	for (size_t i = 0; i < all->n; i++) {
		cleanup_sandbox struct sandbox one = {.pid = 0};
		cleanup_error struct kat_error *why = NULL;

		look(&one, config->sandbox_dir, all->word[i], config->qmp, &why);
		if (!pod_has(&one, config->pod_ip)) {
			add(&others, describe(&one, why));
			continue;
		}
		add(&matches, kat_strdup(one.id));
		free_sandbox(s);
		*s = one;
		one = (struct sandbox){.pid = 0};
	}
	if (matches.n == 1)
		return 0;
	names = list(matches.n ? &matches : &others);
	errno = 0;
	if (matches.n)
		return kat_error_set(err, KAT_EXIT_USAGE,
				     "more than one sandbox in %s has a pod with the "
				     "address %s: %s",
				     config->sandbox_dir, config->pod_ip, names);
	return kat_error_set(err, KAT_EXIT_USAGE,
			     "no sandbox in %s has a pod with the address %s; there are: "
			     "%s",
			     config->sandbox_dir, config->pod_ip, names);
}

/*
 * Into the configuration
 */

static void fill_nic(struct kat_nic_config *nic, struct kat_pod_tap *tap)
{
	if (!nic->tap)
		nic->tap = kat_strdup(tap->name);
	if (!nic->netns && tap->netns)
		nic->netns = kat_strdup(tap->netns);
	if (nic->n_ips)
		return;
	for (size_t n = 0; n < tap->n_ips; n++) {
		nic->ips = kat_grow(nic->ips, nic->n_ips + 2, sizeof(*nic->ips));
		nic->ips[nic->n_ips++] = kat_strdup(tap->ips[n]);
	}
}

/* Takes the taps that the configuration names out of the list, and keeps the rest. */
static void fill_named(struct kat_config *config, struct kat_pod *pod, size_t *rest)
{
	*rest = 0;
	for (size_t t = 0; t < pod->n; t++) {
		bool taken = false;

		for (size_t i = 0; i < config->n_nics; i++) {
			struct kat_nic_config *nic = &config->nics[i];

			if (!nic->tap || strcmp(nic->tap, pod->taps[t].name) != 0)
				continue;
			fill_nic(nic, &pod->taps[t]);
			taken = true;
		}
		if (!taken) {
			struct kat_pod_tap tap = pod->taps[*rest];

			pod->taps[*rest] = pod->taps[t];
			pod->taps[t] = tap;
			++*rest;
		}
	}
}

/* One NIC for each tap that the guest has; cards that name theirs keep it. */
static int fill_nics(struct kat_config *config, struct sandbox *s, struct kat_error **err)
{
	cleanup_words struct words taps = {NULL, 0};
	cleanup_free char *names = NULL;
	size_t without = 0, rest, t = 0;

	for (size_t i = 0; i < s->pod.n; i++)
		add(&taps, kat_strdup(s->pod.taps[i].name));
	names = list(&taps);
	fill_named(config, &s->pod, &rest);
	if (!config->n_nics) {
		for (size_t i = 0; i < rest; i++)
			kat_config_add_nic(config);
	}
	for (size_t i = 0; i < config->n_nics; i++)
		without += !config->nics[i].tap;
	errno = 0;
	if (!s->pod.n && (!config->n_nics || without))
		return kat_error_set(err, KAT_EXIT_USAGE,
				     "sandbox %s: its QEMU, process %d, has no tap; name "
				     "it with -tap",
				     s->id, (int)s->pid);
	if (without && without != rest)
		return kat_error_set(err, KAT_EXIT_USAGE,
				     "sandbox %s: cannot tell which tap is whose (its "
				     "QEMU has: %s); name it with -tap",
				     s->id, names);
	for (size_t i = 0; i < config->n_nics; i++) {
		if (!config->nics[i].tap)
			fill_nic(&config->nics[i], &s->pod.taps[t++]);
	}
	return 0;
}

static void tell(const struct kat_config *config, const struct sandbox *s)
{
	cleanup_words struct words cards = {NULL, 0};
	cleanup_free char *text = NULL;

	for (size_t i = 0; i < config->n_nics; i++) {
		const struct kat_nic_config *nic = &config->nics[i];
		struct words ips = {nic->ips, nic->n_ips};
		cleanup_free char *addresses = list(&ips);

		add(&cards,
		    kat_format("%s in %s (addresses: %s)", nic->tap,
			       nic->netns ? nic->netns : "this namespace", addresses));
	}
	text = list(&cards);
	kat_log(KAT_INFO, "Sandbox %s: QEMU is process %d, its monitor %s, its tap %s.",
		s->id, (int)s->pid, s->qmp, text);
}

int kat_sandbox_find(struct kat_config *config, struct kat_error **err)
{
	cleanup_sandbox struct sandbox s = {.pid = 0};
	cleanup_words struct words all = {NULL, 0};

	if (!config->sandbox && !config->pod_ip)
		return 0;
	if (entries(config->sandbox_dir, S_IFDIR, &all, err) < 0 ||
	    (config->sandbox ? find_by_id(config, &all, &s, err)
			     : find_by_ip(config, &all, &s, err)) < 0 ||
	    fill_nics(config, &s, err) < 0)
		return -1;
	config->qemu_pid = s.pid;
	if (!config->qmp)
		config->qmp = kat_strdup(s.qmp);
	if (kat_config_check(config, err) < 0)
		return -1;
	tell(config, &s);
	return 0;
}
