/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fake_qmp - plays the QMP monitor of a QEMU by a script.
 *
 *	fake_qmp [-l TRANSCRIPT] [-s SCHEMA] [-t SECONDS] SOCKET [SCRIPT]
 *
 * Listens on the UNIX socket (which appears when it is ready) and follows the
 * script, standard input by default.  One client at a time, the next waits in
 * the backlog, as with QEMU.  What the real QEMU refuses is refused in its
 * words: unknown commands, arguments that are missing, unexpected or of a
 * wrong type, commands before qmp_capabilities.  fake_qmp_schema.txt says
 * what it knows; -s or FAKE_QMP_SCHEMA name another.
 *
 * Exits 0 when the script is through, 1 with a line on standard error when the
 * client broke it or sent what QEMU refuses, 2 if the script is wrong, 3 after
 * SECONDS (60).  SIGTERM while it serves is the end of the script.  The
 * transcript has one line a message: seconds, < for received or > for sent.
 *
 * A script is lines of steps; `;` separates steps on one line, `#` starts a
 * line of comment.  Words may not hold blanks; JSON is one value.
 *
 *	greet [PIECES MS]	accept a client; greet it, in PIECES, MS apart
 *	accept			accept a client and do not greet it
 *	closed			wait until the client has gone
 *	busy			accept; closed
 *	expect COMMAND [ARGS]	wait for it; its arguments include ARGS
 *	reply [JSON]		answer the last command with this "return" or {}
 *	error CLASS DESC	answer it with an error; DESC is the rest
 *	hold			do not answer it now
 *	late [JSON]		reply to the command that is held longest
 *	event NAME [DATA]	once the client has negotiated
 *	send STRING [TIMES]	bytes as they are, a JSON string ("\r\n")
 *	sleep MS		and go on reading and answering
 *	deaf MS			sleep without reading
 *	close			close the connection
 *	default COMMAND JSON	answer it so, from now on, where nothing else does
 *	refuse COMMAND CLASS	let QEMU not know it: an error of that class, and
 *				no fault of the client
 *	may-refuse		a client that is refused is not at fault
 *	touch FILE, await FILE	make it; wait until it is there
 *	serve [forever]		greet whoever comes and answer commands until the
 *				client has gone, or until SIGTERM
 *
 *	on COMMAND [ARGS] STEPS		whenever it comes (where no `expect`
 *	once COMMAND [ARGS] STEPS	waits for it), or the first time, do
 *		STEPS			STEPS beside the script.  Lines that
 *					follow with indent belong to it.
 *
 * The first reaction that fits is taken.  qmp_capabilities is answered unless
 * expected.  Only under `serve` is every known command answered, by what the
 * real QEMU said when the schema was made, or {}; before, a command that
 * nothing is said about breaks the script.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "fake_qmp.h"
#include "util.h"

#ifndef FAKE_QMP_SCHEMA
#define FAKE_QMP_SCHEMA "tests/fake_qmp_schema.txt"
#endif
#define AWAIT_MS 2 /* between two looks for a file */

static struct script script;
static struct flow main_flow, *reactions_running;
static struct json_object *defaults, *queue, *held, *refusals;
static struct json_tokener *tokener;
static FILE *transcript;
static int64_t start_ns;
static int listener, client = -1;
static bool negotiated, had_client, refused, may_refuse;
static volatile sig_atomic_t terminated;

static bool run_expect(struct flow *flow, const struct step *step);
static bool run_serve(struct flow *flow, const struct step *step);
static void run_flow(struct flow *flow);

/* --- the socket --- */

static void put_transcript(char direction, const char *text)
{
	if (!transcript)
		return;
	fprintf(transcript, "%.6f %c %s\n",
		(double)(kat_now_ns() - start_ns) / KAT_NS_PER_S, direction, text);
	fflush(transcript);
}

__attribute__((__format__(__printf__, 2, 3), __noreturn__)) static void violated(
	const struct step *step, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "fake_qmp: %s:%u: ", script.name, step ? step->line : 0);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(1);
}

static void drop_client(void)
{
	if (client >= 0)
		close(client);
	client = -1;
	negotiated = false;
}

static bool accept_client(void)
{
	if (client >= 0)
		return true;
	client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (client < 0)
		return false;
	had_client = true;
	json_tokener_reset(tokener);
	return true;
}

static void send_bytes(const char *text, size_t len)
{
	while (client >= 0 && len) {
		ssize_t n = send(client, text, len, MSG_NOSIGNAL);

		if (n < 0) {
			drop_client();
			return;
		}
		text += n;
		len -= (size_t)n;
	}
}

/* Takes the reference. */
static void send_message(struct json_object *message)
{
	const char *text = json_object_to_json_string_ext(
		message, JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE);

	put_transcript('>', text);
	send_bytes(text, strlen(text));
	send_bytes("\r\n", 2);
	json_object_put(message);
}

/* Takes the reference to `value`, borrows the id. */
static void send_reply(struct json_object *id, const char *member,
		       struct json_object *value)
{
	struct json_object *message = json_object_new_object();

	json_object_object_add(message, member, value);
	if (id)
		json_object_object_add(message, "id", json_object_get(id));
	send_message(message);
}

static void send_error(struct json_object *id, const char *class, const char *desc)
{
	struct json_object *error = json_object_new_object();

	json_object_object_add(error, "class", json_object_new_string(class));
	json_object_object_add(error, "desc", json_object_new_string(desc));
	send_reply(id, "error", error);
}

/* --- the steps --- */

static bool pause_ms(struct flow *flow, long ms)
{
	flow->phase++;
	flow->wake_ns = kat_deadline_ms(ms);
	return false;
}

static bool run_accept(struct flow *flow, const struct step *step)
{
	(void)flow;
	(void)step;
	return accept_client();
}

static bool run_closed(struct flow *flow, const struct step *step)
{
	(void)flow;
	(void)step;
	return had_client && client < 0;
}

static bool run_busy(struct flow *flow, const struct step *step)
{
	if (!flow->phase && !accept_client())
		return false;
	flow->phase = 1;
	return run_closed(flow, step);
}

static bool run_greet(struct flow *flow, const struct step *step)
{
	unsigned int pieces = step->number[0] > 1 ? (unsigned int)step->number[0] : 1;
	const char *text;
	size_t len, from, to;

	if (!accept_client())
		return false;
	text = json_object_to_json_string(schema_greeting());
	len = strlen(text);
	from = len * flow->phase / pieces;
	to = len * (flow->phase + 1) / pieces;
	send_bytes(text + from, to - from);
	if (flow->phase + 1 < pieces)
		return pause_ms(flow, step->number[1]);
	send_bytes("\r\n", 2);
	return true;
}

static struct json_object *json_or_empty(const struct step *step)
{
	return step->json ? json_object_get(step->json) : json_object_new_object();
}

static bool run_reply(struct flow *flow, const struct step *step)
{
	if (!flow->command)
		violated(step, "no command to reply to");
	if (!strcmp(flow->command, "qmp_capabilities"))
		negotiated = true;
	send_reply(flow->id, "return", json_or_empty(step));
	return true;
}

static bool run_error(struct flow *flow, const struct step *step)
{
	if (!flow->command)
		violated(step, "no command to refuse");
	send_error(flow->id, step->word, step->text);
	return true;
}

static bool run_hold(struct flow *flow, const struct step *step)
{
	if (!flow->id)
		violated(step, "no command with an id to hold");
	json_object_array_add(held, json_object_get(flow->id));
	return true;
}

static bool run_late(struct flow *flow, const struct step *step)
{
	(void)flow;
	if (!json_object_array_length(held))
		violated(step, "no command is held");
	send_reply(json_object_array_get_idx(held, 0), "return", json_or_empty(step));
	json_object_array_del_idx(held, 0, 1);
	return true;
}

static bool run_event(struct flow *flow, const struct step *step)
{
	const char *wrong = schema_check("event", step->word, step->json);
	struct json_object *message, *stamp;
	struct timeval now;

	(void)flow;
	if (wrong)
		errx(2, "%s:%u: event %s: %s", script.name, step->line, step->word,
		     wrong);
	if (!negotiated)
		return had_client && client < 0; /* QEMU, too, throws it away then */
	gettimeofday(&now, NULL);
	stamp = json_object_new_object();
	json_object_object_add(stamp, "seconds", json_object_new_int64(now.tv_sec));
	json_object_object_add(stamp, "microseconds", json_object_new_int64(now.tv_usec));
	message = json_object_new_object();
	json_object_object_add(message, "timestamp", stamp);
	json_object_object_add(message, "event", json_object_new_string(step->word));
	if (step->json)
		json_object_object_add(message, "data", json_object_get(step->json));
	send_message(message);
	return true;
}

static bool run_send(struct flow *flow, const struct step *step)
{
	size_t len = (size_t)json_object_get_string_len(step->json);
	size_t times = step->number[0] > 0 ? (size_t)step->number[0] : 1;
	size_t at_once = 1 + 65536 / (len + 1);
	cleanup_free char *block = malloc(len * at_once + 1);

	(void)flow;
	if (!block)
		abort();
	for (size_t i = 0; i < at_once; i++)
		memcpy(block + i * len, json_object_get_string(step->json), len);
	for (; times; times -= at_once) {
		if (at_once > times)
			at_once = times;
		send_bytes(block, len * at_once);
	}
	return true;
}

static bool run_sleep(struct flow *flow, const struct step *step)
{
	return flow->phase || pause_ms(flow, step->number[0]);
}

static bool run_deaf(struct flow *flow, const struct step *step)
{
	(void)flow;
	usleep((useconds_t)step->number[0] * 1000);
	return true;
}

static bool run_close(struct flow *flow, const struct step *step)
{
	(void)flow;
	(void)step;
	drop_client();
	return true;
}

static bool run_default(struct flow *flow, const struct step *step)
{
	(void)flow;
	json_object_object_add(defaults, step->word, json_object_get(step->json));
	return true;
}

static bool run_refuse(struct flow *flow, const struct step *step)
{
	(void)flow;
	json_object_object_add(refusals, step->word, json_object_new_string(step->text));
	return true;
}

static bool run_may_refuse(struct flow *flow, const struct step *step)
{
	(void)flow;
	(void)step;
	may_refuse = true;
	return true;
}

static bool run_touch(struct flow *flow, const struct step *step)
{
	int fd = open(step->word, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	(void)flow;
	if (fd < 0)
		err(2, "%s:%u: cannot make %s", script.name, step->line, step->word);
	close(fd);
	return true;
}

static bool run_await(struct flow *flow, const struct step *step)
{
	if (access(step->word, F_OK) == 0)
		return true;
	return pause_ms(flow, AWAIT_MS);
}

static const struct verb verbs[] = {
	{"greet", "NN", run_greet},
	{"accept", "", run_accept},
	{"closed", "", run_closed},
	{"busy", "", run_busy},
	{"expect", "wJ", run_expect},
	{"reply", "J", run_reply},
	{"error", "wt", run_error},
	{"hold", "", run_hold},
	{"late", "J", run_late},
	{"event", "wJ", run_event},
	{"send", "jN", run_send},
	{"sleep", "n", run_sleep},
	{"deaf", "n", run_deaf},
	{"close", "", run_close},
	{"default", "wj", run_default},
	{"refuse", "wt", run_refuse},
	{"may-refuse", "", run_may_refuse},
	{"touch", "w", run_touch},
	{"await", "w", run_await},
	{"serve", "W", run_serve},
	{NULL, NULL, NULL},
};

/* --- commands --- */

static const char *command_name(struct json_object *message)
{
	return json_object_get_string(json_object_object_get(message, "execute"));
}

static struct json_object *command_arguments(struct json_object *message)
{
	return json_object_object_get(message, "arguments");
}

static void take_command(struct flow *flow, struct json_object *message)
{
	free(flow->command);
	json_object_put(flow->id);
	flow->command = strdup(command_name(message));
	flow->id = json_object_get(json_object_object_get(message, "id"));
}

static struct json_object *pop_command(void)
{
	struct json_object *message = json_object_array_get_idx(queue, 0);

	json_object_get(message);
	json_object_array_del_idx(queue, 0, 1);
	return message;
}

static bool fits(struct json_object *message, const char *command,
		 struct json_object *subset)
{
	return !strcmp(command, command_name(message)) &&
	       (!subset || json_includes(command_arguments(message), subset));
}

static void react(struct reaction *reaction, struct json_object *message)
{
	struct flow *flow = calloc(1, sizeof(*flow)), **tail = &reactions_running;

	if (!flow)
		abort();
	reaction->used = true;
	flow->at = reaction->steps;
	take_command(flow, message);
	while (*tail)
		tail = &(*tail)->next;
	*tail = flow;
	run_flow(flow); /* its reply goes out before that of a later command */
}

static bool is_expected_later(const char *command)
{
	for (const struct step *step = main_flow.at; step; step = step->next)
		if (step->verb->run == run_expect && !strcmp(step->word, command))
			return true;
	return false;
}

/* What is answered whatever the script waits for.  False: nothing is said. */
static bool answer_unexpected(struct json_object *message)
{
	struct json_object *id = json_object_object_get(message, "id"), *value;

	for (struct reaction *r = script.reactions; r; r = r->next) {
		if (!(r->once && r->used) && fits(message, r->command, r->subset)) {
			react(r, message);
			return true;
		}
	}
	if (!strcmp(command_name(message), "qmp_capabilities")) {
		if (is_expected_later("qmp_capabilities"))
			return false;
		negotiated = true;
		send_reply(id, "return", json_object_new_object());
		return true;
	}
	if (json_object_object_get_ex(defaults, command_name(message), &value)) {
		send_reply(id, "return", json_object_get(value));
		return true;
	}
	return false;
}

static bool run_expect(struct flow *flow, const struct step *step)
{
	struct json_object *message;

	if (!json_object_array_length(queue)) {
		if (had_client && client < 0)
			violated(step, "the client went before it sent %s", step->word);
		return false;
	}
	message = pop_command();
	if (fits(message, step->word, step->json)) {
		take_command(flow, message);
		json_object_put(message);
		return true;
	}
	if (!answer_unexpected(message))
		violated(step, "expected %s %s, got %s", step->word,
			 step->json ? json_object_to_json_string(step->json) : "",
			 json_object_to_json_string(message));
	json_object_put(message);
	return run_expect(flow, step);
}

static void serve_command(struct json_object *message)
{
	struct json_object *id = json_object_object_get(message, "id");

	if (answer_unexpected(message))
		return;
	if (!strcmp(command_name(message), "query-commands"))
		send_reply(id, "return", schema_commands());
	else
		send_reply(id, "return",
			   json_object_get(schema_return(command_name(message))));
}

static bool run_serve(struct flow *flow, const struct step *step)
{
	while (json_object_array_length(queue)) {
		struct json_object *message = pop_command();

		serve_command(message);
		json_object_put(message);
	}
	if (client >= 0)
		return false;
	if (had_client && !step->word)
		return true;
	if (accept_client())
		send_message(json_object_get(schema_greeting()));
	(void)flow;
	return false;
}

/* --- what QEMU looks at before a command is run --- */

static const char *check_envelope(struct json_object *message)
{
	static char complaint[128];

	if (!json_object_is_type(message, json_type_object))
		return "QMP input must be a JSON object";
	json_object_object_foreach (message, name, value) {
		if (!strcmp(name, "execute") &&
		    !json_object_is_type(value, json_type_string))
			return "QMP input member 'execute' must be a string";
		if (!strcmp(name, "arguments") &&
		    !json_object_is_type(value, json_type_object))
			return "QMP input member 'arguments' must be an object";
		if (strcmp(name, "execute") != 0 && strcmp(name, "arguments") != 0 &&
		    strcmp(name, "id") != 0) {
			snprintf(complaint, sizeof(complaint),
				 "QMP input member '%.64s' is unexpected", name);
			return complaint;
		}
	}
	if (!json_object_object_get_ex(message, "execute", NULL))
		return "QMP input lacks member 'execute'";
	return NULL;
}

static void refuse(struct json_object *message, const char *class, const char *desc)
{
	struct json_object *id = NULL;

	if (json_object_is_type(message, json_type_object))
		id = json_object_object_get(message, "id");
	send_error(id, class, desc);
	if (may_refuse)
		return;
	refused = true;
	fprintf(stderr, "fake_qmp: %s: refused %s: %s\n", script.name,
		json_object_to_json_string(message), desc);
}

static void refuse_unknown(struct json_object *message, const char *class)
{
	char desc[256];

	snprintf(desc, sizeof(desc), "The command %s has not been found",
		 command_name(message));
	if (!class)
		refuse(message, "CommandNotFound", desc);
	else
		send_error(json_object_object_get(message, "id"), class, desc);
}

/* Takes the reference. */
static void receive_message(struct json_object *message)
{
	const char *wrong = check_envelope(message), *name;
	struct json_object *class;

	put_transcript('<', json_object_to_json_string(message));
	if (wrong) {
		refuse(message, "GenericError", wrong);
		json_object_put(message);
		return;
	}
	name = command_name(message);
	if (negotiated != !!strcmp(name, "qmp_capabilities"))
		refuse(message, "CommandNotFound",
		       negotiated ? "Capabilities negotiation is already complete, "
				    "command ignored"
				  : "Expecting capabilities negotiation with "
				    "'qmp_capabilities'");
	else if (json_object_object_get_ex(refusals, name, &class))
		refuse_unknown(message, json_object_get_string(class));
	else if (!schema_knows("command", name))
		refuse_unknown(message, NULL);
	else if ((wrong = schema_check("command", name, command_arguments(message))))
		refuse(message, "GenericError", wrong);
	else
		json_object_array_add(queue, json_object_get(message));
	json_object_put(message);
}

/* JSON values in a row, newlines or not, as QEMU reads them. */
static void receive_bytes(const char *text, size_t len)
{
	while (len) {
		struct json_object *message =
			json_tokener_parse_ex(tokener, text, (int)len);
		enum json_tokener_error error = json_tokener_get_error(tokener);
		size_t used = json_tokener_get_parse_end(tokener);

		if (error == json_tokener_continue)
			return;
		if (error != json_tokener_success) {
			refuse(NULL, "GenericError", "JSON parse error");
			json_tokener_reset(tokener);
			return;
		}
		receive_message(message);
		text += used;
		len -= used;
		while (len && strchr(" \t\r\n", *text)) {
			text++;
			len--;
		}
	}
}

static void read_client(void)
{
	char text[65536];
	ssize_t n = recv(client, text, sizeof(text), MSG_DONTWAIT);

	if (n > 0)
		receive_bytes(text, (size_t)n);
	else if (n == 0 || errno != EAGAIN)
		drop_client();
}

/* --- the loop --- */

/* Goes on until a step has to wait. */
static void run_flow(struct flow *flow)
{
	while (flow->at && kat_now_ns() >= flow->wake_ns) {
		if (!flow->at->verb->run(flow, flow->at))
			return;
		flow->at = flow->at->next;
		flow->phase = 0;
	}
}

static void run_reactions(void)
{
	for (struct flow **link = &reactions_running; *link;) {
		struct flow *flow = *link;

		run_flow(flow);
		if (flow->at) {
			link = &flow->next;
			continue;
		}
		*link = flow->next;
		free(flow->command);
		json_object_put(flow->id);
		free(flow);
	}
}

/* A command while the script sleeps: a reaction need not wait, the rest must. */
static void run_queue(void)
{
	bool expecting = main_flow.at && main_flow.at->verb->run == run_expect;

	while (!expecting && json_object_array_length(queue)) {
		struct json_object *message = json_object_array_get_idx(queue, 0);

		if (!answer_unexpected(message))
			return;
		json_object_array_del_idx(queue, 0, 1);
	}
}

static bool wants_client(const struct step *step)
{
	return step->verb->run == run_greet || step->verb->run == run_accept ||
	       step->verb->run == run_busy || step->verb->run == run_serve;
}

static void wait_for_something(void)
{
	struct pollfd fds[2] = {
		{.fd = client < 0 && wants_client(main_flow.at) ? listener : -1,
		 .events = POLLIN},
		{.fd = client, .events = POLLIN},
	};
	int64_t now = kat_now_ns(), wake = now + KAT_NS_PER_S;
	struct timespec ts;
	sigset_t none;

	for (struct flow *f = &main_flow; f;
	     f = f == &main_flow ? reactions_running : f->next)
		if (f->at && f->wake_ns > now && f->wake_ns < wake)
			wake = f->wake_ns;
	ts.tv_sec = (wake - now) / KAT_NS_PER_S;
	ts.tv_nsec = (wake - now) % KAT_NS_PER_S;
	sigemptyset(&none);
	if (ppoll(fds, 2, &ts, &none) > 0 && fds[1].revents)
		read_client();
}

static void check_script(void)
{
	for (const struct step *step = script.steps; step; step = step->next)
		if ((step->verb->run == run_expect || step->verb->run == run_default) &&
		    !schema_knows("command", step->word))
			errx(2, "%s:%u: QEMU has no command %s", script.name, step->line,
			     step->word);
}

static void run_script(void)
{
	main_flow.at = script.steps;
	for (;;) {
		run_flow(&main_flow);
		run_queue();
		run_reactions();
		run_flow(&main_flow); /* one of those may be what it waited for */
		if (!main_flow.at)
			break;
		if (terminated) {
			if (main_flow.at->verb->run != run_serve)
				violated(main_flow.at, "ended while it waited");
			break;
		}
		wait_for_something();
	}
	if (json_object_array_length(queue))
		violated(NULL, "nothing was said about %s",
			 json_object_to_json_string(json_object_array_get_idx(queue, 0)));
}

static void on_term(int number)
{
	(void)number;
	terminated = 1;
}

static void on_alarm(int number)
{
	static const char text[] = "fake_qmp: out of time\n";

	(void)number;
	if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
		_exit(4);
	_exit(3);
}

static void set_signals(unsigned int seconds)
{
	struct sigaction term = {.sa_handler = on_term}, timer = {.sa_handler = on_alarm};
	sigset_t set;

	sigaction(SIGTERM, &term, NULL);
	sigaction(SIGALRM, &timer, NULL);
	/* SIGTERM is let in by ppoll() only, whatever our parent had blocked */
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_SETMASK, &set, NULL);
	alarm(seconds);
}

/* The socket gets its name when it listens: whoever sees it can connect. */
static void listen_on(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (snprintf(address.sun_path, sizeof(address.sun_path), "%s~", path) >=
	    (int)sizeof(address.sun_path))
		errx(2, "%s is too long for a socket", path);
	unlink(address.sun_path);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (listener < 0 ||
	    bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(listener, 1) < 0 || rename(address.sun_path, path) < 0)
		err(2, "cannot listen on %s", path);
}

static void read_options(int argc, char **argv, const char **schema, int *seconds)
{
	int c;

	while ((c = getopt(argc, argv, "l:s:t:")) != -1) {
		if (c == 'l')
			transcript = fopen(optarg, "we");
		if (c == 'l' && !transcript)
			err(2, "cannot write %s", optarg);
		if (c == 's')
			*schema = optarg;
		if (c == 't')
			*seconds = atoi(optarg);
		if (c == '?')
			exit(2);
	}
	if (optind != argc - 1 && optind != argc - 2)
		errx(2, "usage: fake_qmp [-l TRANSCRIPT] [-s SCHEMA] [-t SECONDS] "
			"SOCKET [SCRIPT]");
}

int main(int argc, char **argv)
{
	const char *schema = getenv("FAKE_QMP_SCHEMA");
	int seconds = 60;

	if (!schema)
		schema = FAKE_QMP_SCHEMA;
	read_options(argc, argv, &schema, &seconds);
	start_ns = kat_now_ns();
	defaults = json_object_new_object();
	refusals = json_object_new_object();
	queue = json_object_new_array();
	held = json_object_new_array();
	tokener = json_tokener_new_ex(1024);
	schema_load(schema);
	script_load(&script, argv[optind + 1], verbs);
	check_script();
	set_signals((unsigned int)seconds);
	listen_on(argv[optind]);
	run_script();
	unlink(argv[optind]);
	return refused;
}
