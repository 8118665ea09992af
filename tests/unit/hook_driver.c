/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hook_driver - runs one plugin's functions, one at a time, without a guest.
 *
 *	hook_driver PLUGIN.so role=source id=a1 peer=192.0.2.2 \
 *		nic=TAP,NETNS,MAC,IP[,IP...] opt.NAME=VALUE reply.COMMAND=JSON
 *
 * Reads the functions to call from standard input, one a line: open, check, pre_copy,
 * on_stop, on_resume ROUND, cleanup done|failed|cancelled, and "running 0|1"
 * for katamaran_guest_running(), "wait MS".  "hold" calls on_resume until it
 * returns 0; "recover done|failed RECORD" undoes a "journal:" line of an
 * earlier run, without open.  Each is answered by "NAME: RESULT"; before it come "log:",
 * "doubt:", "count:", "qmp:", "finding" and "error:" lines.  It ends with the sum of the
 * counters.  Exit code 0 if nothing returned -1.
 */
#define KATAMARAN_API_VERSION 1
#include "katamaran-plugin.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NICS   4
#define IPS    8
#define COUNTS 8

struct nic {
	const char *tap, *netns, *ips[IPS];
	uint8_t mac[6];
	bool has_mac;
	size_t count;
};

struct katamaran_ctx {
	const struct katamaran_plugin *plugin;
	char **settings;
	struct nic nics[NICS];
	size_t nic_count;
	const char *list[IPS];
	char buffer[1024];
	int running;
	int64_t deadline;
	uint64_t counts[COUNTS];
};

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* The value of NAME=VALUE on the command line. */
static const char *setting(struct katamaran_ctx *ctx, const char *prefix,
			   const char *name)
{
	size_t before = strlen(prefix), length = strlen(name);

	for (char **s = ctx->settings; *s; s++)
		if (!strncmp(*s, prefix, before) && !strncmp(*s + before, name, length) &&
		    (*s)[before + length] == '=')
			return *s + before + length + 1;
	return NULL;
}

__attribute__((__format__(__printf__, 2, 0))) static void say(const char *what,
							      const char *fmt,
							      va_list args)
{
	printf("%s: ", what);
	vprintf(fmt, args);
	putchar('\n');
}

void katamaran_error(struct katamaran_ctx *ctx, const char *fmt, ...)
{
	int error = errno;
	va_list args;

	(void)ctx;
	va_start(args, fmt);
	errno = error;
	say("error", fmt, args);
	va_end(args);
	errno = error;
}

void katamaran_log(struct katamaran_ctx *ctx, int level, const char *fmt, ...)
{
	int error = errno;
	va_list args;

	(void)ctx;
	printf("%d ", level);
	va_start(args, fmt);
	errno = error;
	say("log", fmt, args);
	va_end(args);
}

void katamaran_doubt(struct katamaran_ctx *ctx, const char *fmt, ...)
{
	va_list args;

	(void)ctx;
	va_start(args, fmt);
	say("doubt", fmt, args);
	va_end(args);
}

void katamaran_learned(struct katamaran_ctx *ctx, size_t nic, int64_t ms)
{
	(void)ctx;
	printf("learned: nic %zu after %lld ms\n", nic, (long long)ms);
}

void katamaran_finding(struct katamaran_ctx *ctx, int level, const char *what,
		       const char *fmt, ...)
{
	int error = errno;
	va_list args;

	(void)ctx;
	printf("finding %d %s: ", level, what);
	va_start(args, fmt);
	errno = error;
	vprintf(fmt, args);
	va_end(args);
	putchar('\n');
}

uint32_t katamaran_role(struct katamaran_ctx *ctx)
{
	const char *role = setting(ctx, "", "role");

	return role && !strcmp(role, "source") ? KATAMARAN_SOURCE : KATAMARAN_DESTINATION;
}

const char *katamaran_migration_id(struct katamaran_ctx *ctx)
{
	const char *id = setting(ctx, "", "id");

	return id ? id : "test";
}

const char *katamaran_vm_name(struct katamaran_ctx *ctx)
{
	(void)ctx;
	return "guest";
}

const char *katamaran_vm_uuid(struct katamaran_ctx *ctx)
{
	(void)ctx;
	return "";
}

const char *katamaran_peer(struct katamaran_ctx *ctx)
{
	return setting(ctx, "", "peer");
}

int katamaran_qemu_pid(struct katamaran_ctx *ctx)
{
	const char *pid = setting(ctx, "", "pid");

	return pid ? atoi(pid) : (int)getpid();
}

int katamaran_qemu_pidfd(struct katamaran_ctx *ctx)
{
	(void)ctx;
	return -1;
}

int katamaran_guest_running(struct katamaran_ctx *ctx)
{
	return ctx->running;
}

size_t katamaran_nic_count(struct katamaran_ctx *ctx)
{
	return ctx->nic_count;
}

const char *katamaran_nic_tap(struct katamaran_ctx *ctx, size_t nic)
{
	return ctx->nics[nic].tap;
}

const char *katamaran_nic_netns(struct katamaran_ctx *ctx, size_t nic)
{
	return ctx->nics[nic].netns;
}

const uint8_t *katamaran_nic_mac(struct katamaran_ctx *ctx, size_t nic)
{
	return ctx->nics[nic].has_mac ? ctx->nics[nic].mac : NULL;
}

size_t katamaran_nic_ips(struct katamaran_ctx *ctx, size_t nic, const char *const **ips)
{
	*ips = ctx->nics[nic].ips;
	return ctx->nics[nic].count;
}

/* The text of an option: of the command line, or the table's default. */
static const char *option(struct katamaran_ctx *ctx, const char *name, uint32_t type)
{
	const struct katamaran_option *o = ctx->plugin->options;
	const char *text = setting(ctx, "opt.", name);

	for (; o && o->name; o++)
		if (!strcmp(o->name, name) && o->type == type)
			return text ? text : o->dflt;
	fprintf(stderr, "the plugin asked for option %s, which it does not have\n", name);
	abort();
}

const char *katamaran_conf_string(struct katamaran_ctx *ctx, const char *name)
{
	return option(ctx, name, KATAMARAN_STRING);
}

int64_t katamaran_conf_int(struct katamaran_ctx *ctx, const char *name)
{
	const char *text = option(ctx, name, KATAMARAN_INT);

	return text ? strtoll(text, NULL, 10) : 0;
}

int katamaran_conf_bool(struct katamaran_ctx *ctx, const char *name)
{
	const char *text = option(ctx, name, KATAMARAN_BOOL);

	return text && !strcmp(text, "true");
}

size_t katamaran_conf_list(struct katamaran_ctx *ctx, const char *name,
			   const char *const **items)
{
	const char *text = option(ctx, name, KATAMARAN_LIST);
	size_t count = 0;
	char *word;

	snprintf(ctx->buffer, sizeof(ctx->buffer), "%s", text ? text : "");
	for (word = strtok(ctx->buffer, ","); word && count < IPS;
	     word = strtok(NULL, ","))
		ctx->list[count++] = word;
	*items = ctx->list;
	return count;
}

int64_t katamaran_downtime_ms(struct katamaran_ctx *ctx)
{
	const char *ms = setting(ctx, "", "downtime_ms");

	return ms ? atoll(ms) : 50;
}

int64_t katamaran_deadline_ns(struct katamaran_ctx *ctx)
{
	return ctx->deadline;
}

int katamaran_ms_left(struct katamaran_ctx *ctx)
{
	int64_t left = (ctx->deadline - now_ns()) / 1000000;

	return left > 0 ? (int)left : 0;
}

int katamaran_alive(struct katamaran_ctx *ctx)
{
	(void)ctx;
	return 0;
}

int katamaran_qmp(struct katamaran_ctx *ctx, const char *command, const char *arguments,
		  const char **reply)
{
	const char *text = setting(ctx, "reply.", command);

	printf("qmp: %s %s\n", command, arguments ? arguments : "");
	if (!text) {
		printf("error: %s: refused\n", command);
		errno = EREMOTEIO;
		return -1;
	}
	if (reply)
		*reply = text;
	return 0;
}

int katamaran_qmp_event(struct katamaran_ctx *ctx, const char *event, const char *member,
			const char *value, const char **json)
{
	(void)ctx;
	(void)member;
	(void)value;
	(void)json;
	printf("error: %s: no such event came\n", event);
	errno = ETIMEDOUT;
	return -1;
}

void katamaran_publish(struct katamaran_ctx *ctx, const char *key, const char *value)
{
	(void)ctx;
	printf("publish: %s=%s\n", key, value);
}

const char *katamaran_listen_ip(struct katamaran_ctx *ctx)
{
	return setting(ctx, "", "listen_ip");
}

/* "learn.KEY=VALUE" among the settings is what the other end said. */
const char *katamaran_learn(struct katamaran_ctx *ctx, const char *key)
{
	return setting(ctx, "learn.", key);
}

int katamaran_connected(struct katamaran_ctx *ctx)
{
	return setting(ctx, "learn.", "connected") != NULL;
}

/* Its version and its length. */
int katamaran_give_back(struct katamaran_ctx *ctx, const void *packet, size_t length)
{
	errno = ENOTCONN;
	if (!katamaran_connected(ctx))
		return -1;
	printf("back: %d %zu\n", *(const unsigned char *)packet >> 4, length);
	return 0;
}

int katamaran_journal(struct katamaran_ctx *ctx, const char *fmt, ...)
{
	va_list args;

	(void)ctx;
	va_start(args, fmt);
	say("journal", fmt, args);
	va_end(args);
	return 0;
}

void katamaran_progress(struct katamaran_ctx *ctx, uint64_t done, uint64_t total,
			const char *unit)
{
	(void)ctx;
	printf("progress: %llu of %llu %s\n", (unsigned long long)done,
	       (unsigned long long)total, unit);
}

void katamaran_count(struct katamaran_ctx *ctx, size_t nic, int what, uint64_t packets)
{
	(void)nic;
	ctx->counts[what] += packets;
}

/* TAP,NETNS,MAC,IP,...  Empty words mean "not given". */
static void add_nic(struct katamaran_ctx *ctx, char *text)
{
	struct nic *nic = &ctx->nics[ctx->nic_count++];
	unsigned int m[6];
	char *word;

	for (int i = 0; (word = strsep(&text, ",")) && nic->count < IPS; i++) {
		if (!*word)
			continue;
		if (i == 0)
			nic->tap = word;
		else if (i == 1)
			nic->netns = word;
		else if (i > 2)
			nic->ips[nic->count++] = word;
		else if (sscanf(word, "%x:%x:%x:%x:%x:%x", &m[0], &m[1], &m[2], &m[3],
				&m[4], &m[5]) == 6) {
			for (int b = 0; b < 6; b++)
				nic->mac[b] = (uint8_t)m[b];
			nic->has_mac = true;
		}
	}
}

static int hold(struct katamaran_ctx *ctx, void *handle)
{
	int ret = 1;

	for (unsigned int round = 0; ret > 0; round++) {
		ctx->deadline = now_ns() + 1000000000;
		ret = ctx->plugin->on_resume(ctx, handle, round);
		if (ret > 0)
			usleep((useconds_t)ret * 1000);
	}
	return ret;
}

static int outcome(const char *word)
{
	if (!strcmp(word, "done"))
		return KATAMARAN_DONE;
	return strcmp(word, "failed") ? KATAMARAN_CANCELLED : KATAMARAN_FAILED;
}

static int call(struct katamaran_ctx *ctx, void **handle, const char *name,
		const char *word, const char *rest)
{
	const struct katamaran_plugin *p = ctx->plugin;
	int64_t begin = now_ns();
	int ret = 0;

	ctx->deadline = begin + (strcmp(name, "on_stop") ? 10000000000 : 50000000);
	if (!strcmp(name, "open"))
		ret = p->open ? p->open(ctx, handle) : 0;
	else if (!strcmp(name, "check"))
		ret = p->check ? p->check(ctx, *handle) : 0;
	else if (!strcmp(name, "pre_copy"))
		ret = p->pre_copy ? p->pre_copy(ctx, *handle) : 0;
	else if (!strcmp(name, "on_stop"))
		ret = p->on_stop ? p->on_stop(ctx, *handle) : 0;
	else if (!strcmp(name, "on_resume"))
		ret = p->on_resume ? p->on_resume(ctx, *handle, (unsigned int)atoi(word))
				   : 0;
	else if (!strcmp(name, "hold"))
		ret = p->on_resume ? hold(ctx, *handle) : 0;
	else if (!strcmp(name, "cleanup") && p->cleanup)
		p->cleanup(ctx, *handle, outcome(word));
	else if (!strcmp(name, "recover"))
		ret = p->recover ? p->recover(ctx, rest, outcome(word)) : -1;
	else if (!strcmp(name, "running"))
		ctx->running = atoi(word);
	else if (!strcmp(name, "wait"))
		usleep((useconds_t)atoi(word) * 1000);
	printf("%s: %d (%lld us)\n", name, ret, (long long)(now_ns() - begin) / 1000);
	return ret;
}

int main(int argc, char **argv)
{
	static const char *const names[COUNTS] = {
		"redirected",	"salvaged",	"held",		  "released",
		"dropped_plug", "dropped_ring", "dropped_tunnel", "arrived"};
	const struct katamaran_plugin *(*init)(void);
	struct katamaran_ctx ctx = {.running = 1};
	char line[8192], name[64], word[64], rest[8192];
	void *so, *handle = NULL;
	int failed = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	so = argc > 1 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
	if (!so) {
		fprintf(stderr, "hook_driver: %s\n",
			argc > 1 ? dlerror() : "which plugin?");
		return 2;
	}
	*(void **)&init = dlsym(so, "katamaran_plugin_init");
	if (!init)
		return 2;
	ctx.plugin = init();
	ctx.settings = argv + 2;
	for (char **s = ctx.settings; *s; s++)
		if (!strncmp(*s, "nic=", 4) && ctx.nic_count < NICS)
			add_nic(&ctx, *s + 4);
	while (fgets(line, sizeof(line), stdin)) {
		name[0] = word[0] = rest[0] = 0;
		if (sscanf(line, "%63s %63s %8191[^\n]", name, word, rest) >= 1 &&
		    call(&ctx, &handle, name, word, rest) < 0)
			failed = 1;
	}
	for (int i = 0; i < COUNTS; i++)
		printf("sum: %s %llu\n", names[i], (unsigned long long)ctx.counts[i]);
	return failed;
}
