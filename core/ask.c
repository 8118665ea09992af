/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <json-c/json.h>

#include "ask.h"
#include "past.h"
#include "ram.h"
#include "sandbox.h"
#include "util.h"

#define KATAMARAN_API_VERSION 1
#include "katamaran-plugin.h"

/* QEMU answers a new client at once, unless another one is connected. */
#define GREETING_MS 5000
/* The other end looks at its journals, and asks its QEMU. */
#define ANSWER_MS 20000
/* It has nothing left to do when it has answered. */
#define END_MS	     2000
#define LETTERS_BOOT "0123456789abcdef-"

/* ---- which QEMU ---- */

/* "BOOT:NAMESPACE:" */
static bool put_node(char *text, size_t size)
{
	cleanup_fclose FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");
	uint64_t namespace = kat_pid_namespace();
	char boot[64];

	if (!f || fscanf(f, "%63s", boot) != 1 || !namespace)
		return false;
	snprintf(text, size, "%s:%" PRIu64 ":", boot, namespace);
	return true;
}

void kat_ask_identity(pid_t qemu, char text[KAT_IDENTITY_BYTES])
{
	uint64_t start = qemu > 0 ? kat_process_start(qemu) : 0;
	size_t used;

	*text = '\0';
	if (!start || !put_node(text, KAT_IDENTITY_BYTES))
		return;
	used = strlen(text);
	snprintf(text + used, KAT_IDENTITY_BYTES - used, "%d:%" PRIu64, (int)qemu, start);
}

bool kat_ask_is_identity(const char *text)
{
	return text && *text && strlen(text) < KAT_IDENTITY_BYTES &&
	       strspn(text, LETTERS_BOOT ":") == strlen(text);
}

/* Only what is certain: this process cannot be there any more. */
static bool has_ended(const char *identity)
{
	char node[KAT_IDENTITY_BYTES];
	size_t boot = strcspn(identity, ":");
	uint64_t start;
	int pid;

	if (!put_node(node, sizeof(node)))
		return false;
	if (strcspn(node, ":") != boot || strncmp(node, identity, boot) != 0)
		return true; /* the node was started anew */
	if (strncmp(node, identity, strlen(node)) != 0 ||
	    sscanf(identity + strlen(node), "%d:%" SCNu64, &pid, &start) != 2)
		return false;
	return kat_process_ended(pid, start);
}

/* ---- the destination ---- */

static void put(struct json_object *answer, const char *member, const char *text)
{
	if (text)
		json_object_object_add(answer, member, json_object_new_string(text));
}

struct journals {
	const struct kat_config *config;
	struct json_object *answer;
};

/*
 * A destination that lives has the monitor for itself: its journal has to do.  That
 * of a dead one may tell that the guest has run.
 */
static int see_journal(int dir, const char *name, void *data)
{
	struct journals *journals = data;
	const char *phase;
	struct kat_past past;

	if (kat_past_read(&past, dir, name, NULL) <= 0)
		return 0;
	phase = past.phase ? past.phase : "starting";
	if (past.config.role != KATAMARAN_DESTINATION ||
	    strcmp(past.config.qmp, journals->config->qmp) != 0)
		;
	else if (past.alive && !kat_process_ended(past.qemu_pid, past.qemu_start)) {
		put(journals->answer, "phase", phase);
		put(journals->answer, "id", past.id);
	} else if (!strcmp(phase, "running")) {
		put(journals->answer, "ran", past.id);
	}
	kat_past_free(&past);
	return 0;
}

static void look_at_journals(const struct kat_config *config, struct json_object *answer)
{
	struct journals journals = {config, answer};
	cleanup_close int dir = kat_journal_folder(config->run_dir, false);

	if (dir >= 0)
		kat_past_each(dir, see_journal, &journals);
}

static const char *ask_qemu(struct kat_end *end, const char *identity,
			    struct json_object *answer)
{
	cleanup_json struct json_object *reply = NULL;
	cleanup_error struct kat_error *why = NULL;
	cleanup_free char *status = NULL;
	cleanup_free char *state = NULL;
	char own[KAT_IDENTITY_BYTES];

	if (kat_qmp_open(&end->migration.qmp, &end->loop, end->config->qmp,
			 kat_deadline_ms(GREETING_MS), &why) == 0)
		state = kat_end_run_state(end, &why);
	if (state)
		status = kat_ram_status(end, &why);
	if (!status) {
		put(answer, "reason", why->message);
		return "unknown";
	}
	put(answer, "guest", state);
	put(answer, "migration", status);
	if (kat_end_qmp(end, "query-uuid", NULL, &reply, NULL) == 0)
		put(answer, "uuid", kat_json_string(reply, "UUID"));
	kat_ask_identity(kat_qmp_pid(end->migration.qmp), own);
	if (!identity || !*own)
		return "unknown";
	return !strcmp(own, identity) ? "same" : "another";
}

static void look(struct kat_end *end, struct json_object *question,
		 struct json_object *answer)
{
	const char *identity = kat_json_string(question, "qemu");
	const char *qemu = "unknown";

	if (!kat_ask_is_identity(identity))
		identity = NULL;
	if (end->config->qmp) {
		look_at_journals(end->config, answer);
		if (!kat_json_string(answer, "phase"))
			qemu = ask_qemu(end, identity, answer);
	}
	put(answer, "qemu", identity && has_ended(identity) ? "ended" : qemu);
}

static int answer_one(struct kat_end *end, const struct kat_error *not_found,
		      struct kat_error **err)
{
	cleanup_json struct json_object *question = NULL;
	struct json_object *answer;

	if (kat_loop_open(&end->loop, err) < 0 ||
	    kat_peer_stdio(&end->peer, &end->loop, err) < 0 ||
	    kat_end_meet(end, err) < 0 ||
	    kat_peer_wait(end->peer, "ask", kat_deadline_ms(ANSWER_MS), &question, err) <
		    0)
		return -1;
	answer = json_object_new_object();
	if (not_found)
		put(answer, "reason", not_found->message);
	look(end, question, answer);
	kat_peer_send(end->peer, "state", answer);
	return 0;
}

int kat_ask_answer(struct kat_config *config, struct kat_error **err)
{
	cleanup_error struct kat_error *not_found = NULL;
	struct kat_end end = KAT_END_EMPTY(config);
	int ret;

	errno = 0;
	if (!config->peer_stdio || config->role != KATAMARAN_DESTINATION)
		return kat_error_set(err, KAT_EXIT_USAGE,
				     "-guest-state is for a destination that is started "
				     "by a source, with -peer-stdio");
	/* Its sandbox goes with a QEMU that has ended. */
	(void)kat_sandbox_find(config, &not_found);
	ret = answer_one(&end, not_found, err);
	if (ret < 0)
		kat_end_tell_failure(&end, *err);
	kat_end_release(&end, true);
	return ret;
}

/* ---- the source ---- */

/* The guest as query-status has it, of a QEMU that was to take it. */
static enum kat_other judge_state(const char *guest, const char *migration, bool over,
				  char **told)
{
	bool failed = migration && !strcmp(migration, "failed");

	if (!strcmp(guest, "inmigrate") && over && failed) {
		*told = kat_format("its QEMU could not load the guest");
		return KAT_OTHER_HAS_NOT;
	}
	if (!strcmp(guest, "inmigrate")) {
		*told = kat_format("its QEMU still waits for the guest, which may have "
				   "been sent; the migration there is \"%s\"",
				   migration ? migration : "?");
		return KAT_OTHER_UNKNOWN;
	}
	if (!strcmp(guest, "paused") || !strcmp(guest, "prelaunch")) {
		*told = kat_format("the guest is \"%s\" there, and may be continued "
				   "(katamaran --recover there tells more)",
				   guest);
		return KAT_OTHER_UNKNOWN;
	}
	*told = kat_format("the guest is \"%s\" there", guest);
	return KAT_OTHER_HAS_IT;
}

/* Its katamaran lives and knows: only when the guest ran it has come that far. */
static enum kat_other judge_phase(const char *phase, const char *id, char **told)
{
	if (!strcmp(phase, "running")) {
		*told = kat_format("the guest runs there");
		return KAT_OTHER_HAS_IT;
	}
	*told = kat_format("a katamaran still waits for the guest there; to ask again "
			   "without it: katamaran --cancel %s on that node",
			   id ? id : "ID");
	return KAT_OTHER_UNKNOWN;
}

enum kat_other kat_ask_judge(struct json_object *answer, const char *uuid, bool over,
			     char **told)
{
	const char *migration = kat_json_string(answer, "migration");
	const char *reason = kat_json_string(answer, "reason");
	const char *guest = kat_json_string(answer, "guest");
	const char *phase = kat_json_string(answer, "phase");
	const char *there = kat_json_string(answer, "uuid");
	const char *qemu = kat_json_string(answer, "qemu");
	bool empty =
		guest && (!strcmp(guest, "inmigrate") || !strcmp(guest, "prelaunch"));

	if (qemu && !strcmp(qemu, "ended") && kat_json_string(answer, "ran")) {
		*told = kat_format("the guest has run there, and then its QEMU has "
				   "ended: what it did there is not known here");
		return KAT_OTHER_UNKNOWN;
	}
	if (qemu && !strcmp(qemu, "ended") && !phase && (!guest || empty)) {
		*told = kat_format("its QEMU has ended");
		return KAT_OTHER_HAS_NOT;
	}
	if (qemu && (!strcmp(qemu, "ended") || !strcmp(qemu, "another"))) {
		*told = kat_format("another QEMU has the socket there, and its guest is "
				   "\"%s\"",
				   guest ? guest : "not to be asked about");
		return KAT_OTHER_UNKNOWN;
	}
	if (qemu && phase)
		return judge_phase(phase, kat_json_string(answer, "id"), told);
	if (!qemu || !guest) {
		*told = kat_format("its QEMU does not answer: %s",
				   reason ? reason : "it does not say why");
		return KAT_OTHER_UNKNOWN;
	}
	if (uuid && there && strcmp(uuid, there) != 0) {
		*told = kat_format("the guest there is another one (%s)", there);
		return KAT_OTHER_UNKNOWN;
	}
	return judge_state(guest, migration, over, told);
}

static struct json_object *hear(struct kat_end *end, const char *identity,
				struct kat_error **err)
{
	struct json_object *question, *answer = NULL;

	if (kat_source_meet(end, err) < 0)
		return NULL;
	question = json_object_new_object();
	put(question, "qemu", identity);
	kat_peer_send(end->peer, "ask", question);
	if (kat_peer_wait(end->peer, "state", kat_deadline_ms(ANSWER_MS), &answer, err) <
	    0)
		return NULL;
	return answer;
}

enum kat_other kat_ask(struct kat_end *end, const char *identity, const char *uuid,
		       bool over, char **told)
{
	cleanup_json struct json_object *answer = NULL;
	cleanup_error struct kat_error *why = NULL;

	if (!end->config->peer_command) {
		*told = kat_format("there is no peer command to ask it by");
		return KAT_OTHER_UNKNOWN;
	}
	kat_log(KAT_INFO, "Asking the destination what became of the guest...");
	answer = hear(end, identity, &why);
	kat_peer_close(&end->peer, kat_deadline_ms(END_MS));
	if (answer)
		return kat_ask_judge(answer, uuid, over, told);
	*told = kat_format("it cannot be asked: %s", why->message);
	return KAT_OTHER_UNKNOWN;
}
