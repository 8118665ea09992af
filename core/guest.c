/* SPDX-License-Identifier: BSD-2-Clause */
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json_object.h>

#include "guest.h"
#include "log.h"
#include "util.h"

#define ASK_MS 5000

static bool parse_mac(const char *text, uint8_t mac[6])
{
	return sscanf(text, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx", &mac[0], &mac[1],
		      &mac[2], &mac[3], &mac[4], &mac[5]) == 6;
}

/* The value of "key=value," in a line, cut at the comma; false if it is not there. */
static bool value_of(const char *line, const char *key, char *value, size_t size)
{
	size_t len = strlen(key);

	for (const char *at = strstr(line, key); at; at = strstr(at + 1, key)) {
		size_t n;

		if (at[len] != '=' || (at != line && at[-1] != ',' && at[-1] != ' '))
			continue;
		n = strcspn(at + len + 1, ",\r\n");
		if (n >= size)
			return false;
		memcpy(value, at + len + 1, n);
		value[n] = '\0';
		return true;
	}
	return false;
}

/* The interface behind a descriptor of QEMU's: the kernel's drivers/net/tun.c tells. */
static bool tap_of_fd(pid_t qemu, const char *fd, char *tap, size_t size)
{
	cleanup_fclose FILE *f = NULL;
	char path[64], line[128];

	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%.10s", (int)qemu, fd);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		char name[IFNAMSIZ];

		if (sscanf(line, "iff: %15s", name) != 1)
			continue;
		snprintf(tap, size, "%s", name);
		return true;
	}
	return false;
}

static void set_mac(struct kat_nic *nics, size_t n, const char *tap, const uint8_t mac[6])
{
	for (size_t i = 0; i < n; i++) {
		if (nics[i].has_mac || !nics[i].config->tap ||
		    strcmp(nics[i].config->tap, tap))
			continue;
		memcpy(nics[i].mac, mac, 6);
		nics[i].has_mac = true;
	}
}

void kat_guest_read_network(const char *text, pid_t qemu, struct kat_nic *nics, size_t n)
{
	cleanup_free char *copy = strdup(text);
	uint8_t mac[6] = {0};
	unsigned int macs = 0;
	char *rest = copy, *line;

	while (copy && (line = strsep(&rest, "\n"))) {
		char value[64], tap[IFNAMSIZ];

		if (value_of(line, "macaddr", value, sizeof(value)) &&
		    parse_mac(value, mac))
			macs++;
		if (!macs || !strstr(line, "type=tap"))
			continue;
		if (value_of(line, "ifname", tap, sizeof(tap)) ||
		    (value_of(line, "fd", value, sizeof(value)) &&
		     tap_of_fd(qemu, value, tap, sizeof(tap))))
			set_mac(nics, n, tap, mac);
	}
	if (macs == 1 && n == 1 && !nics[0].has_mac && !nics[0].config->tap) {
		memcpy(nics[0].mac, mac, 6);
		nics[0].has_mac = true;
	}
}

static struct json_object *ask(struct kat_migration *m, const char *command,
			       struct json_object *args)
{
	cleanup_error struct kat_error *why = NULL;
	struct json_object *reply = NULL;

	if (kat_qmp_execute(m->qmp, command, args, kat_deadline_ms(ASK_MS), &reply,
			    &why) < 0)
		kat_log(KAT_DEBUG, "QEMU does not answer %s: %s", command, why->message);
	return reply;
}

static char *ask_string(struct kat_migration *m, const char *command, const char *member)
{
	cleanup_json struct json_object *reply = ask(m, command, NULL);
	const char *text = kat_json_string(reply, member);

	return text ? strdup(text) : NULL;
}

static void ask_macs(struct kat_migration *m)
{
	cleanup_json struct json_object *reply = NULL;
	struct json_object *args;
	size_t n = m->config->n_nics, known = 0;

	for (size_t i = 0; i < n; i++)
		known += m->nics[i].has_mac;
	if (known == n)
		return;
	args = json_object_new_object();
	json_object_object_add(args, "command-line",
			       json_object_new_string("info network"));
	reply = ask(m, "human-monitor-command", args);
	if (json_object_is_type(reply, json_type_string))
		kat_guest_read_network(json_object_get_string(reply), m->qemu_pid,
				       m->nics, n);
}

void kat_guest_ask(struct kat_migration *m)
{
	m->vm_name = ask_string(m, "query-name", "name");
	m->vm_uuid = ask_string(m, "query-uuid", "UUID");
	ask_macs(m);
}

char *kat_guest_to_run(const char *state, const char *socket)
{
	static const struct {
		const char *state, *first, *command;
	} ways[] = {
		{"paused", "unless somebody wants that, ", "cont"},
		{"io-error", "mend its disk (query-block tells which), then ", "cont"},
		{"suspended", "it sleeps; to wake it, ", "system_wakeup"},
		/* QEMU refuses to go on with these; a panicked guest can do nothing. */
		{"guest-panicked", "", "system_reset\"} and {\"execute\": \"cont"},
		{"internal-error", "", "system_reset\"} and {\"execute\": \"cont"},
		{"shutdown", "to start it anew, ",
		 "system_reset\"} and {\"execute\": \"cont"},
	};

	for (size_t i = 0; i < KAT_ARRAY_SIZE(ways); i++)
		if (!strcmp(state, ways[i].state))
			return kat_format("%ssend {\"execute\": \"%s\"} to %s",
					  ways[i].first, ways[i].command, socket);
	return kat_format("send {\"execute\": \"cont\"} to %s", socket);
}
