/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <json-c/json.h>

#define KATAMARAN_API_VERSION 1
#include "check.h"
#include "end.h"
#include "engine.h"
#include "guest.h"
#include "katamaran-plugin.h"
#include "recover.h"
#include "summary.h"

/* QEMU answers a new client within one turn of its main loop. */
#define GREETING_MS 5000
/* The other end starts: a command that may have to log in somewhere. */
#define HELLO_MS 30000
/* How long the other end may clean up after the last word. */
#define PEER_END_MS 30000

/* What the peer has said, or that it is gone; false: nothing new. */
static bool peer_happened(struct kat_end *end, enum kat_happening *what,
			  struct json_object **message)
{
	if (!end->peer)
		return false;
	*message = kat_peer_take(end->peer);
	if (*message) {
		*what = KAT_HAPPENED_PEER;
		return true;
	}
	if (!kat_peer_gone(end->peer) || end->peer_lost)
		return false;
	end->peer_lost = true;
	*what = KAT_HAPPENED_PEER_GONE;
	return true;
}

static enum kat_happening take_event(struct kat_end *end, struct kat_qmp_event **event)
{
	cleanup_error struct kat_error *why = NULL;

	*event = kat_qmp_take(end->migration.qmp);
	kat_log(KAT_DEBUG, "QEMU: %s", json_object_to_json_string((*event)->json));
	if (!strcmp((*event)->name, "STOP"))
		end->migration.guest_running = false;
	else if (!strcmp((*event)->name, "RESUME"))
		end->migration.guest_running = true;
	if (kat_hooks_event(&end->hooks, *event, &why) < 0)
		kat_end_fail(end, &why);
	return KAT_HAPPENED_EVENT;
}

enum kat_happening kat_end_next(struct kat_end *end, int64_t deadline_ns,
				struct kat_qmp_event **event,
				struct json_object **message)
{
	struct kat_qmp *qmp = end->migration.qmp;
	enum kat_happening what;

	*event = NULL;
	*message = NULL;
	for (;;) {
		cleanup_error struct kat_error *why = NULL;
		/* QEMU first: the guest's RESUME must not wait for a word. */
		int r = qmp ? kat_qmp_wait(qmp, kat_now_ns(), &why) : 0;

		if (r > 0)
			return take_event(end, event);
		if (r < 0 && why->sys_errno == EINTR)
			return KAT_HAPPENED_SIGNAL;
		if (r < 0) {
			kat_log(KAT_DEBUG, "%s", why->message);
			return KAT_HAPPENED_QMP_GONE;
		}
		if (peer_happened(end, &what, message))
			return what;
		switch (kat_loop_wait_any(&end->loop, qmp ? kat_qmp_fd(qmp) : -1, POLLIN,
					  deadline_ns)) {
		case KAT_WAKE_READY:
			continue;
		case KAT_WAKE_SIGNAL:
			return KAT_HAPPENED_SIGNAL;
		case KAT_WAKE_DEADLINE:
			return KAT_HAPPENED_TIME;
		}
	}
}

int kat_end_journal_full(struct kat_error **err)
{
	return kat_error_set(err, KAT_EXIT_FAILED,
			     "the migration's journal: cannot write to it: %m");
}

struct json_object *kat_end_facts(const struct kat_end *end)
{
	struct json_object *facts = json_object_new_array();

	for (struct kat_fact *f = end->migration.published; f; f = f->next) {
		struct json_object *fact = json_object_new_object();

		json_object_object_add(fact, "plugin", json_object_new_string(f->plugin));
		json_object_object_add(fact, "key", json_object_new_string(f->key));
		json_object_object_add(fact, "value", json_object_new_string(f->value));
		json_object_array_add(facts, fact);
	}
	return facts;
}

void kat_end_learn(struct kat_end *end, struct json_object *facts)
{
	if (!json_object_is_type(facts, json_type_array))
		return;
	/* The newest stands first on both ends. */
	for (size_t i = json_object_array_length(facts); i-- > 0;) {
		struct json_object *fact = json_object_array_get_idx(facts, i);
		const char *plugin = kat_json_string(fact, "plugin");
		const char *key = kat_json_string(fact, "key");
		const char *value = kat_json_string(fact, "value");

		if (plugin && key && value)
			kat_fact_add(&end->migration.learned, plugin, key, value);
	}
}

void kat_end_tell_failure(struct kat_end *end, const struct kat_error *why)
{
	struct json_object *members;

	if (!end->peer)
		return;
	members = json_object_new_object();
	json_object_object_add(members, "reason", json_object_new_string(why->message));
	kat_peer_send(end->peer, "failed", members);
}

int kat_end_qmp(struct kat_end *end, const char *command, struct json_object *args,
		struct json_object **reply, struct kat_error **err)
{
	return kat_qmp_execute(end->migration.qmp, command, args,
			       kat_deadline_ms(KAT_QMP_MS), reply, err);
}

bool kat_end_qemu_ended(struct kat_end *end, int64_t ms)
{
	struct pollfd fd = {.fd = end->migration.qemu_pidfd, .events = POLLIN};
	int64_t deadline = kat_deadline_ms(ms);

	while (fd.fd >= 0 && poll(&fd, 1, 10) <= 0)
		if (kat_now_ns() > deadline)
			return false;
	return fd.fd >= 0;
}

void kat_end_fail(struct kat_end *end, struct kat_error **why)
{
	if (end->reason) {
		if (*why)
			kat_log(KAT_DEBUG, "also: %s", (*why)->message);
		kat_error_free(why);
		return;
	}
	end->reason = *why;
	*why = NULL;
}

const char *kat_end_migration_status(const struct kat_qmp_event *event)
{
	if (strcmp(event->name, "MIGRATION"))
		return NULL;
	return kat_json_string(event->data, "status");
}

char *kat_end_run_state(struct kat_end *end, struct kat_error **err)
{
	cleanup_json struct json_object *reply = NULL;
	const char *status;

	if (kat_end_qmp(end, "query-status", NULL, &reply, err) < 0)
		return NULL;
	status = kat_json_string(reply, "status");
	return strdup(status ? status : "unknown");
}

void kat_end_report(struct kat_end *end)
{
	const char *names[16] = {NULL};
	size_t n = end->config->n_nics;

	for (size_t i = 0; i < n && i < KAT_ARRAY_SIZE(names); i++)
		names[i] =
			end->config->nics[i].tap ? end->config->nics[i].tap : "the guest";
	if (n <= KAT_ARRAY_SIZE(names))
		kat_ledger_report(&end->migration.ledger, names);
}

/* A capability that we want on or off, and whether we can do without it. */
struct capability {
	const char *name;
	bool on, needed;
};

/* 1 on, 0 off, -1 QEMU has no such thing. */
static int has_capability(struct json_object *known, const char *name)
{
	for (size_t i = 0; i < json_object_array_length(known); i++) {
		struct json_object *entry = json_object_array_get_idx(known, i);
		const char *c = kat_json_string(entry, "capability");

		if (c && !strcmp(c, name))
			return kat_json_bool(entry, "state", false);
	}
	return -1;
}

/* What was otherwise before, for who puts it back. */
static int note_capabilities(struct kat_end *end, struct json_object *before,
			     struct kat_error **err)
{
	json_object_put(end->capabilities);
	end->capabilities = before;
	if (kat_journal_line(
		    &end->journal, "{\"qemu\":\"capabilities\",\"before\":%s}",
		    json_object_to_json_string_ext(before, JSON_C_TO_STRING_PLAIN)) < 0)
		return kat_end_journal_full(err);
	return 0;
}

int kat_end_set_capabilities(struct kat_end *end, struct kat_error **err)
{
	const bool salvages = end->config->role == KATAMARAN_SOURCE &&
			      end->config->order == KAT_ORDER_SALVAGE;
	const struct capability wanted[] = {
		/* Without return-path a destination that loaded nothing is "completed".
		 */
		{"return-path", true, true},
		{"events", true, true},
		/* Work is left when the guest has stopped: of the disks, or for packets.
		 */
		{"pause-before-switchover",
		 kat_hooks_has_on_stop(&end->hooks, KATAMARAN_STORAGE) || salvages,
		 false},
		{"multifd", end->config->multifd > 0, false},
		{"auto-converge", end->config->auto_converge, false},
	};
	cleanup_json struct json_object *known = NULL;
	struct json_object *list, *args, *before;

	if (kat_end_qmp(end, "query-migrate-capabilities", NULL, &known, err) < 0)
		return -1;
	list = json_object_new_array();
	before = json_object_new_object();
	for (size_t i = 0; i < KAT_ARRAY_SIZE(wanted); i++) {
		int state = has_capability(known, wanted[i].name);
		struct json_object *entry;

		if (state < 0) {
			if (!wanted[i].on)
				continue;
			if (!wanted[i].needed && strcmp(wanted[i].name, "multifd"))
				continue;
			json_object_put(list);
			json_object_put(before);
			return kat_error_set(
				err, KAT_EXIT_FAILED,
				"this QEMU lacks the migration capability %s",
				wanted[i].name);
		}
		if (state != wanted[i].on)
			json_object_object_add(before, wanted[i].name,
					       json_object_new_boolean(state));
		entry = json_object_new_object();
		json_object_object_add(entry, "capability",
				       json_object_new_string(wanted[i].name));
		json_object_object_add(entry, "state",
				       json_object_new_boolean(wanted[i].on));
		json_object_array_add(list, entry);
	}
	args = json_object_new_object();
	json_object_object_add(args, "capabilities", list);
	if (note_capabilities(end, before, err) < 0) {
		json_object_put(args);
		return -1;
	}
	if (kat_end_qmp(end, "migrate-set-capabilities", args, NULL, err) < 0)
		return -1;
	if (!end->config->multifd)
		return 0;
	args = json_object_new_object();
	json_object_object_add(args, "multifd-channels",
			       json_object_new_int(end->config->multifd));
	return kat_end_qmp(end, "migrate-set-parameters", args, NULL, err);
}

/* Unlike that of any other migration on this node, whatever pid namespace. */
static void make_id(char id[9])
{
	static const char letters[] = "0123456789abcdefghijklmnopqrstuvwxyz";
	uint8_t random[8];

	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		for (size_t i = 0; i < sizeof(random); i++)
			random[i] = (uint8_t)(kat_now_ns() >> (4 * i));
	for (size_t i = 0; i < sizeof(random); i++)
		id[i] = letters[random[i] % (sizeof(letters) - 1)];
	id[8] = '\0';
}

static int prepare_migration(struct kat_end *end, const char *id, struct kat_error **err)
{
	struct kat_migration *m = &end->migration;
	const struct kat_config *config = end->config;

	m->config = config;
	m->loop = &end->loop;
	m->journal = &end->journal;
	if (id)
		snprintf(m->id, sizeof(m->id), "%s", id);
	else
		make_id(m->id);
	m->nics = calloc(config->n_nics + 1, sizeof(*m->nics));
	if (!m->nics || kat_ledger_init(&m->ledger, config->n_nics) < 0 ||
	    kat_hooks_init(&end->hooks, &end->plan, m) < 0)
		return kat_error_set(err, KAT_EXIT_FAILED, "no memory for the migration");
	for (size_t i = 0; i < config->n_nics; i++) {
		m->nics[i].config = &config->nics[i];
		m->nics[i].has_mac = config->nics[i].has_mac;
		memcpy(m->nics[i].mac, config->nics[i].mac, sizeof(m->nics[i].mac));
	}
	return 0;
}

int kat_end_prepare(struct kat_end *end, const char *id, struct kat_error **err)
{
	if (kat_plan_make(&end->plan, end->config, kat_loader_load, err) < 0)
		return -1;
	return prepare_migration(end, id, err);
}

int kat_end_connect(struct kat_end *end, struct kat_error **err)
{
	struct kat_migration *m = &end->migration;
	int version;

	if (kat_qmp_open(&m->qmp, &end->loop, end->config->qmp,
			 kat_deadline_ms(GREETING_MS), err) < 0)
		return -1;
	m->qemu_pid = end->config->qemu_pid ? end->config->qemu_pid : kat_qmp_pid(m->qmp);
	if (m->qemu_pid > 0)
		m->qemu_pidfd = (int)syscall(SYS_pidfd_open, m->qemu_pid, 0);
	version = kat_qmp_version(m->qmp);
	kat_guest_ask(m);
	kat_log(KAT_INFO, "Connected to QEMU %d.%d.%d, process %d, guest %s.",
		version / 10000, version / 100 % 100, version % 100, (int)m->qemu_pid,
		m->vm_name   ? m->vm_name
		: m->vm_uuid ? m->vm_uuid
			     : "without a name");
	return 0;
}

void kat_end_release(struct kat_end *end, bool clean)
{
	struct kat_migration *m = &end->migration;

	clean = clean && !end->hooks.unclean;
	if (!clean && end->journal.fd >= 0)
		kat_log(KAT_WARNING,
			"what may be left is put back by: katamaran"
			" --recover %s",
			m->id);
	kat_journal_end(&end->journal, clean);
	json_object_put(end->parameters);
	json_object_put(end->capabilities);
	if (end->undecided)
		kat_peer_leave(&end->peer);
	kat_peer_close(&end->peer, kat_deadline_ms(PEER_END_MS));
	kat_hooks_free(&end->hooks);
	kat_plan_free(&end->plan);
	kat_ledger_free(&m->ledger);
	kat_qmp_close(&m->qmp);
	if (m->qemu_pidfd >= 0)
		close(m->qemu_pidfd);
	free(m->nics);
	free(m->vm_name);
	free(m->vm_uuid);
	kat_fact_free(&m->published);
	kat_fact_free(&m->learned);
	kat_findings_free(&m->findings);
	kat_error_free(&end->reason);
	kat_loop_close(&end->loop);
}

int kat_end_meet(struct kat_end *end, struct kat_error **err)
{
	cleanup_json struct json_object *hello = NULL;
	int64_t protocol;

	if (kat_peer_wait(end->peer, "hello", kat_deadline_ms(HELLO_MS), &hello, err) < 0)
		return -1;
	end->migration.peer = &end->peer;
	protocol = kat_json_int(hello, "protocol", 0);
	if (protocol == KAT_PEER_PROTOCOL)
		return 0;
	return kat_error_set(err, KAT_EXIT_FAILED,
			     "the other end speaks protocol %" PRId64
			     ", this one speaks %d: install the same version",
			     protocol, KAT_PEER_PROTOCOL);
}

/* As somebody's peer command: meet first, so that any failure can be told. */
static int meet_source(struct kat_end *end, struct kat_error **err)
{
	if (!end->config->peer_stdio)
		return 0;
	if (kat_peer_stdio(&end->peer, &end->loop, err) < 0)
		return -1;
	return kat_end_meet(end, err);
}

static void list_plugins(struct kat_end *end)
{
	char names[512] = "";
	size_t used = 0;

	for (size_t i = 0; i < end->plan.n_steps && used < sizeof(names); i++)
		used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%s",
					 used ? ", " : "", end->plan.steps[i].name);
	kat_check_add(end, KATAMARAN_OK, "plugins", "%s", used ? names : "none");
}

static void tell_dead(const struct kat_past *past, void *data)
{
	kat_check_add(data, KATAMARAN_WARNING, "leftovers",
		      "migration %s of this guest was killed here while \"%s\"; the next"
		      " one puts back what it left, or: katamaran --recover %s",
		      past->id, past->phase ? past->phase : "starting", past->id);
}

/* Like the beginning of a migration, but that every failure is a finding. */
static int check(struct kat_end *end, struct kat_error **err)
{
	cleanup_error struct kat_error *why = NULL;
	bool usage = kat_plan_make(&end->plan, end->config, kat_loader_load, &why) < 0;

	end->migration.config = end->config;
	if (usage) {
		kat_plan_free(&end->plan);
		kat_check_failed(end, "plugins", &why);
	} else {
		list_plugins(end);
	}
	if (prepare_migration(end, NULL, err) < 0)
		return -1;
	kat_recover_look(end->config, tell_dead, end);
	if (kat_end_connect(end, &why) == 0) {
		kat_check_add(end, KATAMARAN_OK, "QEMU", "answers on %s",
			      end->config->qmp);
	} else if (why->sys_errno == EINTR) {
		*err = why;
		why = NULL;
		return -1;
	} else {
		kat_check_failed(end, "QEMU", &why);
	}
	return kat_check_run(end, usage, err);
}

/* From here on a kill leaves something to read. */
static int start_journal(struct kat_end *end, struct kat_error **err)
{
	return kat_journal_start(&end->journal, end->config->run_dir, end->migration.id,
				 kat_past_first_line(&end->migration), err);
}

static int run(struct kat_end *end, struct kat_error **err)
{
	if (kat_loop_open(&end->loop, err) < 0 || meet_source(end, err) < 0)
		return -1;
	if (end->config->check)
		return check(end, err);
	if (kat_end_prepare(end, NULL, err) < 0 || kat_recover_before(end, err) < 0 ||
	    kat_end_connect(end, err) < 0 || start_journal(end, err) < 0)
		return -1;
	if (end->config->role == KATAMARAN_SOURCE)
		return kat_source_run(end, err);
	return kat_dest_run(end, err);
}

int kat_engine_run(const struct kat_config *config, struct kat_error **err)
{
	struct kat_end end = KAT_END_EMPTY(config);
	int r;

	if (kat_summary_check(config->summary, err) < 0)
		return -1;
	end.times.start = kat_now_ns();
	end.times.downtime_ms = -1;
	r = run(&end, err);
	if (r < 0 && *err && (*err)->sys_errno == EINTR &&
	    (*err)->exit_code == KAT_EXIT_FAILED)
		(*err)->exit_code = KAT_EXIT_SIGNAL; /* before anything was begun */
	if (r < 0 && end.peer && !end.undecided)
		kat_end_tell_failure(&end, *err);
	if (!config->check)
		kat_summary_write(&end, r < 0 ? *err : NULL);
	/* Who has to look may find that there is more to undo. */
	kat_end_release(&end,
			r == 0 || end.settled || (*err)->exit_code != KAT_EXIT_HUMAN);
	return r;
}
