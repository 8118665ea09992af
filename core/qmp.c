/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <json-c/json.h>

#include "log.h"
#include "qmp.h"
#include "util.h"

#define READ_BYTES     65536 /* room for one recv(2) */
#define JSON_DEPTH     1024  /* QEMU's own parser stops there too */
#define CONNECT_TRY_MS 20    /* between two tries at a full backlog */
#define QUOTE_BYTES    64    /* of a line that is quoted in a message */

struct kat_qmp {
	struct kat_loop *loop;
	char *path;
	int fd;
	struct json_tokener *tokener;

	char *in; /* received and not yet read: in[in_start] .. in[in_end - 1] */
	size_t in_size, in_start, in_end;
	size_t in_scanned; /* no newline before this index */
	int64_t received_ns;

	char *out; /* what is left of a command that was sent in part */
	size_t out_start, out_end;

	int64_t first_id, next_id; /* ours are from the first to before the next */
	int64_t awaited_id;	   /* 0: no reply is awaited */
	unsigned int unanswered;   /* commands sent, less replies seen */
	struct json_object *reply; /* to awaited_id: the whole message */

	bool greeted;
	int version;
	pid_t pid;

	char *failure; /* why the connection is of no more use; NULL: it is */
	int failure_errno;

	struct kat_qmp_event *events, **events_tail;
	unsigned int n_events;
};

/* The connection is over; the first reason is the true one. */
static void fail(struct kat_qmp *qmp, int why, const char *fmt, ...)
	__attribute__((__format__(__printf__, 3, 4)));

static void fail(struct kat_qmp *qmp, int why, const char *fmt, ...)
{
	va_list ap;

	if (qmp->failure)
		return;
	errno = why; /* for %m */
	va_start(ap, fmt);
	qmp->failure = kat_vformat(fmt, ap);
	va_end(ap);
	qmp->failure_errno = why;
}

static int report_failure(struct kat_qmp *qmp, struct kat_error **err)
{
	errno = qmp->failure_errno;
	return kat_error_set(err, KAT_EXIT_FAILED, "%s", qmp->failure);
}

/* Copies the start of what a peer sent, made fit for a message. */
static void quote(char *to, size_t size, const char *from, size_t len)
{
	size_t i;

	for (i = 0; i < len && i < size - 1; i++)
		to[i] = from[i] >= ' ' && from[i] <= '~' ? from[i] : '.';
	to[i] = '\0';
}

static void fail_closed(struct kat_qmp *qmp)
{
	fail(qmp, ECONNRESET, "QEMU closed the QMP connection (%s)", qmp->path);
}

static void fail_protocol(struct kat_qmp *qmp, const char *line, size_t len)
{
	char text[QUOTE_BYTES + 1];

	quote(text, sizeof(text), line, len);
	if (qmp->greeted)
		fail(qmp, EPROTO, "QMP socket %s: this is no QMP message: \"%s\"",
		     qmp->path, text);
	else
		fail(qmp, EPROTO, "%s is not a QMP socket, it greets with \"%s\"",
		     qmp->path, text);
}

/* --- messages --- */

static bool read_greeting(struct kat_qmp *qmp, struct json_object *message)
{
	struct json_object *greeting = kat_json_member(message, "QMP");
	struct json_object *qemu;

	if (!json_object_is_type(greeting, json_type_object))
		return false;
	qemu = kat_json_member(kat_json_member(greeting, "version"), "qemu");
	qmp->version = (int)(kat_json_int(qemu, "major", 0) * 10000 +
			     kat_json_int(qemu, "minor", 0) * 100 +
			     kat_json_int(qemu, "micro", 0));
	qmp->greeted = true;
	return true;
}

/*
 * A mirror that has lost its other end says so at each write of the guest, which
 * may be tens of thousands in a second, and so does a disk that has failed: once
 * is enough until it is read.
 */
static bool is_said_again(const struct kat_qmp *qmp, const char *name,
			  struct json_object *message)
{
	if (strcmp(name, "BLOCK_JOB_ERROR") && strcmp(name, "BLOCK_IO_ERROR"))
		return false;
	for (const struct kat_qmp_event *event = qmp->events; event; event = event->next)
		if (!strcmp(event->name, name) &&
		    json_object_equal(event->data, kat_json_member(message, "data")))
			return true;
	return false;
}

/* Takes the reference to `message`. */
static void read_event(struct kat_qmp *qmp, const char *name, struct json_object *message)
{
	struct kat_qmp_event *event;

	if (is_said_again(qmp, name, message)) {
		json_object_put(message);
		return;
	}
	if (qmp->n_events == KAT_QMP_EVENTS_MAX) {
		fail(qmp, EPROTO, "QMP socket %s: more than %u events wait to be read",
		     qmp->path, KAT_QMP_EVENTS_MAX);
		json_object_put(message);
		return;
	}
	event = calloc(1, sizeof(*event));
	if (!event || !(event->name = strdup(name)))
		abort(); /* a small allocation: nothing sensible is left to do */
	event->json = message;
	event->data = kat_json_member(message, "data");
	event->received_ns = qmp->received_ns;
	*qmp->events_tail = event;
	qmp->events_tail = &event->next;
	qmp->n_events++;
}

/* Takes the reference to `message`. */
static void read_reply(struct kat_qmp *qmp, struct json_object *message)
{
	int64_t id = kat_json_int(message, "id", 0);

	/*
	 * QEMU answers without an id what it could not parse.  That can only
	 * be meant for us where no older answer is still to come.
	 */
	if (kat_json_member(message, "error") && !kat_json_member(message, "id") &&
	    qmp->unanswered == 1)
		id = qmp->awaited_id;
	if (id >= qmp->first_id && id < qmp->next_id && qmp->unanswered)
		qmp->unanswered--;
	if (id && id == qmp->awaited_id && !qmp->reply) {
		qmp->reply = message;
		return;
	}
	kat_log(KAT_DEBUG, "QMP: dropped a reply that nobody awaits: %.200s",
		json_object_to_json_string(message));
	json_object_put(message);
}

/* Messages are told apart by their shape, whatever was expected. */
static void read_message(struct kat_qmp *qmp, struct json_object *message)
{
	const char *event = kat_json_string(message, "event");

	if (event) {
		read_event(qmp, event, message);
		return;
	}
	if (json_object_object_get_ex(message, "return", NULL) ||
	    kat_json_member(message, "error")) {
		read_reply(qmp, message);
		return;
	}
	if (!read_greeting(qmp, message)) {
		const char *text = json_object_to_json_string(message);

		fail_protocol(qmp, text, strlen(text));
	}
	json_object_put(message);
}

static void read_line(struct kat_qmp *qmp, const char *line, size_t len)
{
	struct json_object *message;

	while (len && strchr(" \t\r", line[len - 1]) && line[len - 1])
		len--;
	if (!len)
		return;
	message = json_tokener_parse_ex(qmp->tokener, line, (int)len);
	if (!json_object_is_type(message, json_type_object) ||
	    json_tokener_get_parse_end(qmp->tokener) != len) {
		json_object_put(message);
		fail_protocol(qmp, line, len);
		return;
	}
	read_message(qmp, message);
}

/* --- the socket; nothing here sleeps --- */

/* Room for one more recv(2).  The buffer's size is bounded by its reader. */
static void make_room(struct kat_qmp *qmp)
{
	size_t used = qmp->in_end - qmp->in_start;

	if (qmp->in_start) {
		memmove(qmp->in, qmp->in + qmp->in_start, used);
		qmp->in_scanned -= qmp->in_start;
		qmp->in_start = 0;
		qmp->in_end = used;
	}
	if (qmp->in_size - used >= READ_BYTES)
		return;
	qmp->in_size = 2 * (used + READ_BYTES);
	qmp->in = realloc(qmp->in, qmp->in_size);
	if (!qmp->in)
		abort();
}

static void read_lines(struct kat_qmp *qmp)
{
	char *newline;

	while (!qmp->failure && (newline = memchr(qmp->in + qmp->in_scanned, '\n',
						  qmp->in_end - qmp->in_scanned))) {
		char *line = qmp->in + qmp->in_start;

		qmp->in_start = qmp->in_scanned = (size_t)(newline + 1 - qmp->in);
		read_line(qmp, line, (size_t)(newline - line));
	}
	if (qmp->failure)
		return;
	qmp->in_scanned = qmp->in_end;
	if (qmp->in_end - qmp->in_start > KAT_QMP_LINE_MAX)
		fail(qmp, EPROTO, "QMP socket %s: a line is longer than %u bytes",
		     qmp->path, KAT_QMP_LINE_MAX);
	else if (!qmp->greeted && qmp->in_start < qmp->in_end &&
		 !strchr("{ \t\r", qmp->in[qmp->in_start]))
		fail_protocol(qmp, qmp->in + qmp->in_start, qmp->in_end - qmp->in_start);
}

/* True if something came. */
static bool receive(struct kat_qmp *qmp)
{
	ssize_t n;

	make_room(qmp);
	n = recv(qmp->fd, qmp->in + qmp->in_end, READ_BYTES, 0);
	if (n > 0) {
		qmp->received_ns = kat_now_ns();
		qmp->in_end += (size_t)n;
		read_lines(qmp);
		return true;
	}
	if (n == 0 || errno == ECONNRESET)
		fail_closed(qmp);
	else if (errno != EAGAIN && errno != EINTR)
		fail(qmp, errno, "cannot read from QMP socket %s: %m", qmp->path);
	return false;
}

/* True if all is sent; else the socket is full, or the connection is over. */
static bool send_some(struct kat_qmp *qmp)
{
	while (qmp->out_start < qmp->out_end) {
		ssize_t n = send(qmp->fd, qmp->out + qmp->out_start,
				 qmp->out_end - qmp->out_start, MSG_NOSIGNAL);

		if (n >= 0) {
			qmp->out_start += (size_t)n;
			continue;
		}
		if (errno == EINTR)
			continue;
		if (errno == EAGAIN)
			return false;
		if (errno != EPIPE && errno != ECONNRESET)
			fail(qmp, errno, "cannot write to QMP socket %s: %m", qmp->path);
		while (!qmp->failure && receive(qmp)) /* what QEMU said last */
			;
		fail_closed(qmp);
		return false;
	}
	return true;
}

/* --- waiting --- */

static int interrupted(struct kat_error **err)
{
	errno = EINTR;
	return kat_error_set(err, KAT_EXIT_FAILED, "interrupted by a signal");
}

/*
 * Sleeps until done(): 1; or the deadline: 0.  Takes in what has arrived once
 * even if the deadline has passed, but not again: a peer that never stops
 * talking must not hold us here.
 */
static int wait_until(struct kat_qmp *qmp, bool (*done)(struct kat_qmp *qmp, void *data),
		      void *data, int64_t deadline_ns, struct kat_error **err)
{
	for (bool late = false; !done(qmp, data); receive(qmp)) {
		if (qmp->failure)
			return report_failure(qmp, err);
		if (late)
			return 0;
		late = kat_now_ns() >= deadline_ns;
		switch (kat_loop_wait(qmp->loop, qmp->fd, POLLIN, deadline_ns)) {
		case KAT_WAKE_READY:
			break;
		case KAT_WAKE_DEADLINE:
			return 0;
		case KAT_WAKE_SIGNAL:
			return interrupted(err);
		}
	}
	return 1;
}

/*
 * Sends what is in `out`.  Takes in events meanwhile: two ends that write and
 * do not read would wait for each other.
 */
static int flush_out(struct kat_qmp *qmp, int64_t deadline_ns, struct kat_error **err)
{
	while (!qmp->failure) {
		if (send_some(qmp))
			return 0;
		if (qmp->failure)
			break;
		if (kat_now_ns() >= deadline_ns) {
			errno = ETIMEDOUT;
			return kat_error_set(err, KAT_EXIT_FAILED,
					     "QEMU does not read its commands");
		}
		if (kat_loop_wait(qmp->loop, qmp->fd, POLLIN | POLLOUT, deadline_ns) ==
		    KAT_WAKE_SIGNAL)
			return interrupted(err);
		receive(qmp);
	}
	return report_failure(qmp, err);
}

/* --- opening and closing --- */

/*
 * A UNIX socket connects at once or not at all.  EAGAIN is a full backlog:
 * others wait for this monitor, and it may still be our turn in time.
 */
static int connect_socket(struct kat_qmp *qmp, int64_t deadline_ns,
			  struct kat_error **err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (strlen(qmp->path) >= sizeof(address.sun_path)) {
		errno = ENAMETOOLONG;
		return kat_error_set(err, KAT_EXIT_FAILED,
				     "path of QMP socket %s is longer than %zu bytes, "
				     "the limit of UNIX sockets",
				     qmp->path, sizeof(address.sun_path) - 1);
	}
	strcpy(address.sun_path, qmp->path);
	qmp->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (qmp->fd < 0)
		return kat_error_set(err, KAT_EXIT_FAILED, "cannot make a socket: %m");
	while (connect(qmp->fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		int64_t again_ns = kat_deadline_ms(CONNECT_TRY_MS);

		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return kat_error_set(err, KAT_EXIT_FAILED,
					     "cannot connect to QMP socket %s: %m",
					     qmp->path);
		if (kat_now_ns() >= deadline_ns) {
			errno = EAGAIN;
			return kat_error_set(err, KAT_EXIT_FAILED,
					     "cannot connect to QMP socket %s: %m: other "
					     "clients already wait for this monitor",
					     qmp->path);
		}
		if (kat_loop_wait(qmp->loop, -1, 0, again_ns) == KAT_WAKE_SIGNAL)
			return interrupted(err);
	}
	return 0;
}

static bool is_greeted(struct kat_qmp *qmp, void *data)
{
	(void)data;
	return qmp->greeted;
}

static int await_greeting(struct kat_qmp *qmp, int64_t deadline_ns,
			  struct kat_error **err)
{
	struct ucred peer = {0};
	socklen_t len = sizeof(peer);
	int rc;

	if (!getsockopt(qmp->fd, SOL_SOCKET, SO_PEERCRED, &peer, &len))
		qmp->pid = peer.pid;
	rc = wait_until(qmp, is_greeted, NULL, deadline_ns, err);
	if (rc < 0)
		return -1;
	if (rc == 0) {
		errno = ETIMEDOUT;
		return kat_error_set(
			err, KAT_EXIT_FAILED,
			"no greeting from QMP socket %s in time: the monitor "
			"may be busy with another client",
			qmp->path);
	}
	return kat_qmp_execute(qmp, "qmp_capabilities", NULL, deadline_ns, NULL, err);
}

int kat_qmp_open(struct kat_qmp **qmp, struct kat_loop *loop, const char *path,
		 int64_t deadline_ns, struct kat_error **err)
{
	struct kat_qmp *new = calloc(1, sizeof(*new));

	if (!new || !(new->path = strdup(path)) ||
	    !(new->tokener = json_tokener_new_ex(JSON_DEPTH)))
		abort();
	json_tokener_set_flags(new->tokener, JSON_TOKENER_STRICT);
	new->loop = loop;
	new->fd = -1;
	new->events_tail = &new->events;
	/*
	 * Not 1: a monitor may still hold the rest of what it wanted to tell
	 * the client before us, and that one's ids were not ours.
	 */
	new->first_id = new->next_id = kat_now_ns();
	*qmp = new;
	if (connect_socket(new, deadline_ns, err) < 0 ||
	    await_greeting(new, deadline_ns, err) < 0) {
		if (err && *err && (*err)->sys_errno == EINTR)
			kat_error_wrap(err, "QMP socket %s", path);
		kat_qmp_close(qmp);
		return -1;
	}
	return 0;
}

void kat_qmp_close(struct kat_qmp **qmp)
{
	struct kat_qmp *old = *qmp;

	if (!old)
		return;
	*qmp = NULL;
	for (struct kat_qmp_event *event; (event = kat_qmp_take(old));)
		kat_qmp_event_free(&event);
	if (old->fd >= 0)
		close(old->fd);
	json_tokener_free(old->tokener);
	json_object_put(old->reply);
	free(old->in);
	free(old->out);
	free(old->failure);
	free(old->path);
	free(old);
}

pid_t kat_qmp_pid(const struct kat_qmp *qmp)
{
	return qmp->pid;
}

int kat_qmp_version(const struct kat_qmp *qmp)
{
	return qmp->version;
}

int kat_qmp_fd(const struct kat_qmp *qmp)
{
	return qmp->fd;
}

bool kat_qmp_closed(const struct kat_qmp *qmp)
{
	return qmp->failure;
}

/* --- commands --- */

/* The line to send, and its length.  Takes the reference to `args`. */
static char *format_command(const char *command, struct json_object *args, int64_t id,
			    size_t *len)
{
	cleanup_json struct json_object *message = json_object_new_object();
	const char *text;
	char *line;

	json_object_object_add(message, "execute", json_object_new_string(command));
	if (args)
		json_object_object_add(message, "arguments", args);
	json_object_object_add(message, "id", json_object_new_int64(id));
	text = json_object_to_json_string_length(
		message, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, len);
	line = text ? malloc(*len + 1) : NULL;
	if (!line)
		abort();
	if (strncmp(command, "query-", 6) != 0) /* those are many and change nothing */
		kat_log(KAT_DEBUG, "QMP: %s", text);
	memcpy(line, text, *len);
	line[(*len)++] = '\n';
	return line;
}

/*
 * Sends the command.  After an error QEMU has seen nothing of it, or `out`
 * holds its rest, which the next command pushes out first: half a command
 * would garble that one.
 */
static int send_command(struct kat_qmp *qmp, const char *command,
			struct json_object *args, int64_t deadline_ns,
			struct kat_error **err)
{
	int64_t id = qmp->next_id++;
	size_t len;
	cleanup_free char *line = format_command(command, args, id, &len);

	if (kat_loop_wait(qmp->loop, -1, 0, 0) == KAT_WAKE_SIGNAL)
		return interrupted(err);
	if (flush_out(qmp, deadline_ns, err) < 0)
		return -1;
	free(qmp->out);
	qmp->out = line;
	line = NULL;
	qmp->out_start = 0;
	qmp->out_end = len;
	qmp->awaited_id = id;
	qmp->unanswered++;
	if (flush_out(qmp, deadline_ns, err) == 0)
		return 0;
	if (!qmp->out_start) { /* not a byte of it has gone out */
		qmp->out_end = 0;
		qmp->unanswered--;
	}
	return -1;
}

static bool is_answered(struct kat_qmp *qmp, void *data)
{
	(void)data;
	return qmp->reply;
}

static int read_result(struct json_object *message, struct json_object **reply,
		       struct kat_error **err)
{
	struct json_object *error = kat_json_member(message, "error");
	const char *class = kat_json_string(error, "class");
	const char *desc = kat_json_string(error, "desc");

	if (!error) {
		if (reply)
			*reply = json_object_get(kat_json_member(message, "return"));
		return 0;
	}
	errno = EREMOTEIO;
	if (!class || !strcmp(class, "GenericError"))
		return kat_error_set(err, KAT_EXIT_FAILED, "%s",
				     desc ? desc : "refused without a reason");
	return kat_error_set(err, KAT_EXIT_FAILED, "%s (%s)",
			     desc ? desc : "refused without a reason", class);
}

int kat_qmp_execute(struct kat_qmp *qmp, const char *command, struct json_object *args,
		    int64_t deadline_ns, struct json_object **reply,
		    struct kat_error **err)
{
	cleanup_json struct json_object *message = NULL;
	int64_t start_ns = kat_now_ns();
	int rc;

	if (reply)
		*reply = NULL;
	rc = send_command(qmp, command, args, deadline_ns, err);
	if (rc == 0)
		rc = wait_until(qmp, is_answered, NULL, deadline_ns, err);
	message = qmp->reply;
	qmp->reply = NULL;
	qmp->awaited_id = 0;
	if (rc < 0)
		return kat_error_wrap(err, "QMP %s", command);
	if (rc == 0) {
		errno = ETIMEDOUT;
		return kat_error_set(
			err, KAT_EXIT_FAILED, "QMP %s: no reply after %lld ms", command,
			(long long)((kat_now_ns() - start_ns) / KAT_NS_PER_MS));
	}
	if (read_result(message, reply, err) < 0)
		return kat_error_wrap(err, "QMP %s", command);
	return 0;
}

/* --- events --- */

static bool has_event(struct kat_qmp *qmp, void *data)
{
	(void)data;
	return qmp->events;
}

int kat_qmp_wait(struct kat_qmp *qmp, int64_t deadline_ns, struct kat_error **err)
{
	return wait_until(qmp, has_event, NULL, deadline_ns, err);
}

static bool match_any(const struct kat_qmp_event *event, void *data)
{
	(void)event;
	(void)data;
	return true;
}

struct kat_qmp_event *kat_qmp_take(struct kat_qmp *qmp)
{
	return kat_qmp_take_match(qmp, match_any, NULL);
}

struct kat_qmp_event *kat_qmp_take_match(struct kat_qmp *qmp,
					 bool (*match)(const struct kat_qmp_event *event,
						       void *data),
					 void *data)
{
	struct kat_qmp_event **link = &qmp->events, *event;

	while (*link && !match(*link, data))
		link = &(*link)->next;
	event = *link;
	if (!event)
		return NULL;
	*link = event->next;
	if (!*link)
		qmp->events_tail = link;
	event->next = NULL;
	qmp->n_events--;
	return event;
}

struct matching {
	bool (*match)(const struct kat_qmp_event *event, void *data);
	void *data;
	struct kat_qmp_event *event;
};

static bool has_match(struct kat_qmp *qmp, void *data)
{
	struct matching *m = data;

	m->event = kat_qmp_take_match(qmp, m->match, m->data);
	return m->event;
}

int kat_qmp_wait_match(struct kat_qmp *qmp,
		       bool (*match)(const struct kat_qmp_event *event, void *data),
		       void *data, int64_t deadline_ns, struct kat_qmp_event **event,
		       struct kat_error **err)
{
	struct matching m = {.match = match, .data = data};
	int rc = wait_until(qmp, has_match, &m, deadline_ns, err);

	*event = m.event;
	return rc;
}

void kat_qmp_event_free(struct kat_qmp_event **event)
{
	if (!*event)
		return;
	free((*event)->name);
	json_object_put((*event)->json);
	free(*event);
	*event = NULL;
}
