/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <json-c/json.h>

#include "json.h"
#include "log.h"
#include "peer.h"
#include "util.h"

#define LINE_BYTES 65536 /* a longer line is no message of ours */
#define SEND_MS	   1000
#define ALIVE_MS   3000
/* A plugin may block its end for 30 s, and for longer with katamaran_alive(). */
#define SILENCE_MS 45000

extern char **environ;

/* Bytes that come in, cut into lines. */
struct lines {
	int fd; /* -1: closed */
	size_t len;
	char text[LINE_BYTES];
};

struct queued {
	struct json_object *json;
	struct queued *next;
};

struct kat_peer {
	struct kat_loop *loop;
	struct lines in;
	struct lines log; /* the command's standard error */
	int out;
	pid_t pid; /* of the command; 0: we are the command */
	bool needed;
	bool gone;
	char why[256];
	int64_t heard_ns;
	struct queued *first, **last;
};

/* Where it is in the queue, or the queue's end. */
static struct queued **find_type(struct kat_peer *peer, const char *type)
{
	struct queued **at = &peer->first;

	while (*at && strcmp(kat_json_string((*at)->json, "type"), type) != 0)
		at = &(*at)->next;
	return at;
}

static void see_whether_in_vain(struct kat_peer *peer)
{
	peer->loop->in_vain = peer->needed && (peer->gone || *find_type(peer, "failed"));
}

static void set_gone(struct kat_peer *peer, const char *why)
{
	if (peer->gone)
		return;
	peer->gone = true;
	see_whether_in_vain(peer);
	snprintf(peer->why, sizeof(peer->why), "%s", why);
	kat_log(KAT_DEBUG, "peer: %s", why);
}

static void take_message(struct kat_peer *peer, const char *line)
{
	struct json_object *json = json_tokener_parse(line);
	const char *type = kat_json_string(json, "type");
	struct queued *entry;

	peer->heard_ns = kat_now_ns();
	if (!type) {
		kat_log(KAT_WARNING, "peer: not a message of katamaran: %.200s", line);
		json_object_put(json);
		return;
	}
	if (!strcmp(type, "alive")) {
		json_object_put(json);
		return;
	}
	if (strcmp(type, "back")) /* what the guest's clients have to say is theirs */
		kat_log(KAT_DEBUG, "peer: %s", line);
	entry = calloc(1, sizeof(*entry));
	if (!entry)
		abort();
	entry->json = json;
	*peer->last = entry;
	peer->last = &entry->next;
	see_whether_in_vain(peer);
}

static void log_line(struct kat_peer *peer, const char *line)
{
	(void)peer;
	kat_log(KAT_INFO, "destination| %s", line);
}

/* Reads what is there; false when the stream has ended. */
static bool read_lines(struct kat_peer *peer, struct lines *from,
		       void (*line_done)(struct kat_peer *peer, const char *line))
{
	ssize_t n = read(from->fd, from->text + from->len,
			 sizeof(from->text) - 1 - from->len);
	char *start = from->text, *end;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (n <= 0)
		return false;
	from->len += (size_t)n;
	from->text[from->len] = '\0';
	while ((end = strchr(start, '\n'))) {
		*end = '\0';
		line_done(peer, start);
		start = end + 1;
	}
	from->len -= (size_t)(start - from->text);
	memmove(from->text, start, from->len + 1);
	if (from->len == sizeof(from->text) - 1)
		from->len = 0; /* a line without an end is dropped */
	return true;
}

static void stop_reading(struct kat_peer *peer, struct lines *from)
{
	if (from->fd < 0)
		return;
	kat_loop_unwatch(peer->loop, from->fd);
	close(from->fd);
	from->fd = -1;
}

static void in_ready(void *data)
{
	struct kat_peer *peer = data;

	if (read_lines(peer, &peer->in, take_message))
		return;
	stop_reading(peer, &peer->in);
	set_gone(peer, "the other end has closed the link");
}

static void log_ready(void *data)
{
	struct kat_peer *peer = data;

	if (!read_lines(peer, &peer->log, log_line))
		stop_reading(peer, &peer->log);
}

static void tick(void *data)
{
	struct kat_peer *peer = data;

	if (peer->gone)
		return;
	kat_peer_send(peer, "alive", NULL);
	if (kat_now_ns() - peer->heard_ns > SILENCE_MS * KAT_NS_PER_MS)
		set_gone(peer, "nothing was heard from the other end for 45 s");
}

static struct kat_peer *new_peer(struct kat_loop *loop, int in, int out, int log)
{
	struct kat_peer *peer = calloc(1, sizeof(*peer));

	if (!peer)
		abort();
	peer->loop = loop;
	peer->in.fd = in;
	peer->log.fd = log;
	peer->out = out;
	peer->last = &peer->first;
	peer->heard_ns = kat_now_ns();
	fcntl(in, F_SETFL, fcntl(in, F_GETFL) | O_NONBLOCK);
	fcntl(out, F_SETFL, fcntl(out, F_GETFL) | O_NONBLOCK);
	kat_loop_watch(loop, in, in_ready, peer);
	if (log >= 0) {
		fcntl(log, F_SETFL, fcntl(log, F_GETFL) | O_NONBLOCK);
		kat_loop_watch(loop, log, log_ready, peer);
	}
	kat_loop_tick(loop, ALIVE_MS * KAT_NS_PER_MS, tick, peer);
	return peer;
}

static void say_hello(struct kat_peer *peer)
{
	struct json_object *hello = json_object_new_object();

	json_object_object_add(hello, "protocol", json_object_new_int(KAT_PEER_PROTOCOL));
	json_object_object_add(hello, "version", json_object_new_string(PACKAGE_VERSION));
	kat_peer_send(peer, "hello", hello);
}

/*
 * Streams 0, 1 and 2 of the command; its own session and signal mask.  In a
 * group of our session, what asks for a password on the terminal would be
 * stopped by it (SIGTTIN), and say nothing; without a terminal it says so.
 */
static int spawn(char *const *argv, const int streams[3], pid_t *pid)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none, pipe;
	int r;

	sigemptyset(&none);
	sigemptyset(&pipe);
	sigaddset(&pipe, SIGPIPE);
	posix_spawn_file_actions_init(&actions);
	for (int i = 0; i < 3; i++)
		posix_spawn_file_actions_adddup2(&actions, streams[i], i);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK |
						      POSIX_SPAWN_SETSIGDEF |
						      POSIX_SPAWN_SETSID);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setsigdefault(&attributes, &pipe);
	r = posix_spawnp(pid, argv[0], &actions, &attributes, argv, environ);
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&actions);
	errno = r;
	return r ? -1 : 0;
}

int kat_peer_start(struct kat_peer **peer, struct kat_loop *loop, char *const *command,
		   struct kat_error **err)
{
	int in[2], out[2], log[2];
	const char **argv;
	size_t n = 0;
	pid_t pid;
	int r;

	while (command[n])
		n++;
	argv = calloc(n + 2, sizeof(*argv));
	if (!argv || pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0 ||
	    pipe2(log, O_CLOEXEC) < 0) {
		free(argv);
		return kat_error_set(err, KAT_EXIT_FAILED,
				     "cannot make the peer's pipes: %m");
	}
	memcpy(argv, command, n * sizeof(*argv));
	argv[n] = "-peer-stdio";
	r = spawn((char *const *)argv, (const int[]){in[0], out[1], log[1]}, &pid);
	free(argv);
	close(in[0]);
	close(out[1]);
	close(log[1]);
	if (r < 0) {
		kat_error_set(err, KAT_EXIT_FAILED,
			      "cannot run the peer command \"%s\": %m", command[0]);
		close(in[1]);
		close(out[0]);
		close(log[0]);
		return -1;
	}
	*peer = new_peer(loop, out[0], in[1], log[0]);
	(*peer)->pid = pid;
	say_hello(*peer);
	return 0;
}

int kat_peer_stdio(struct kat_peer **peer, struct kat_loop *loop, struct kat_error **err)
{
	int in = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
	int out = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);

	if (in < 0 || out < 0)
		return kat_error_set(err, KAT_EXIT_FAILED,
				     "cannot use standard streams: %m");
	*peer = new_peer(loop, in, out, -1);
	say_hello(*peer);
	return 0;
}

/* It no longer reads; what it said last is still worth hearing. */
static void set_deaf(struct kat_peer *peer)
{
	struct pollfd last = {.fd = peer->in.fd, .events = POLLIN};

	while (peer->in.fd >= 0 && poll(&last, 1, 0) > 0)
		in_ready(peer);
	set_gone(peer, "the other end no longer reads");
}

bool kat_peer_send(struct kat_peer *peer, const char *type, struct json_object *members)
{
	struct json_object *message = members ? members : json_object_new_object();
	cleanup_free char *line = NULL;
	int64_t deadline = kat_deadline_ms(SEND_MS);
	size_t done = 0;
	int len;

	json_object_object_add(message, "type", json_object_new_string(type));
	len = asprintf(&line, "%s\n",
		       json_object_to_json_string_ext(message, JSON_C_TO_STRING_PLAIN));
	json_object_put(message);
	if (len < 0)
		abort();
	while (!peer->gone && done < (size_t)len) {
		ssize_t n = write(peer->out, line + done, (size_t)len - done);
		struct pollfd wait = {.fd = peer->out, .events = POLLOUT};

		if (n > 0)
			done += (size_t)n;
		else if (errno != EAGAIN && errno != EINTR)
			set_deaf(peer);
		else if (poll(&wait, 1, 10) == 0 && kat_now_ns() > deadline)
			set_gone(peer, "the other end does not read what it is told");
	}
	return !peer->gone;
}

bool kat_peer_gone(const struct kat_peer *peer)
{
	return peer->gone;
}

const char *kat_peer_why_gone(const struct kat_peer *peer)
{
	return peer->why;
}

static struct json_object *take(struct kat_peer *peer, struct queued **at)
{
	struct queued *entry = *at;
	struct json_object *json;

	if (!entry)
		return NULL;
	*at = entry->next;
	if (peer->last == &entry->next)
		peer->last = at;
	json = entry->json;
	free(entry);
	return json;
}

struct json_object *kat_peer_take(struct kat_peer *peer)
{
	return take(peer, &peer->first);
}

struct json_object *kat_peer_take_type(struct kat_peer *peer, const char *type)
{
	return take(peer, find_type(peer, type));
}

void kat_peer_needed(struct kat_peer *peer, bool needed)
{
	peer->needed = needed;
	see_whether_in_vain(peer);
}

static int said_failed(struct json_object *message, struct kat_error **err)
{
	const char *reason = kat_json_string(message, "reason");

	errno = ECANCELED;
	kat_error_set(err, KAT_EXIT_FAILED, "the other end failed: %s",
		      reason ? reason : "it does not say why");
	json_object_put(message);
	return -1;
}

int kat_peer_wait(struct kat_peer *peer, const char *type, int64_t deadline_ns,
		  struct json_object **message, struct kat_error **err)
{
	for (;;) {
		struct json_object *found = kat_peer_take_type(peer, type);
		struct json_object *failed =
			found ? NULL : kat_peer_take_type(peer, "failed");
		enum kat_wake wake;

		if (failed)
			return said_failed(failed, err);
		if (found) {
			if (message)
				*message = found;
			else
				json_object_put(found);
			return 0;
		}
		if (peer->gone) {
			errno = EPIPE;
			return kat_error_set(err, KAT_EXIT_FAILED, "%s", peer->why);
		}
		wake = kat_loop_wait_any(peer->loop, -1, 0, deadline_ns);
		if (wake == KAT_WAKE_DEADLINE) {
			errno = ETIMEDOUT;
			return kat_error_set(err, KAT_EXIT_FAILED,
					     "the other end did not say \"%s\" in time",
					     type);
		}
		if (wake == KAT_WAKE_SIGNAL) {
			errno = EINTR;
			return kat_error_set(err, KAT_EXIT_FAILED,
					     "interrupted by a signal");
		}
	}
}

/* Waits for the command's end, then helps; its last words are still logged. */
static void reap(struct kat_peer *peer, int64_t deadline_ns)
{
	int pidfd = (int)syscall(SYS_pidfd_open, peer->pid, 0);
	int signal_number = 0;

	for (;;) {
		/* Without a pidfd (Linux before 5.3) one has to look now and then. */
		int64_t until = pidfd < 0 ? kat_deadline_ms(20) : deadline_ns;
		int status;

		if (waitpid(peer->pid, &status, WNOHANG) != 0)
			break;
		if (kat_now_ns() >= deadline_ns && signal_number == SIGKILL) {
			kat_log(KAT_WARNING,
				"the peer command (process %d) does not die: left alone",
				(int)peer->pid);
			break;
		}
		if (kat_now_ns() >= deadline_ns) {
			signal_number = signal_number ? SIGKILL : SIGTERM;
			kat_log(KAT_WARNING, "the peer command does not end: sending %s",
				strsignal(signal_number));
			kill(-peer->pid, signal_number);
			deadline_ns = kat_deadline_ms(2000);
		}
		kat_loop_wait_quiet(peer->loop, pidfd,
				    until < deadline_ns ? until : deadline_ns);
	}
	if (pidfd >= 0)
		close(pidfd);
	while (peer->log.fd >= 0 && read_lines(peer, &peer->log, log_line)) {
		struct pollfd more = {.fd = peer->log.fd, .events = POLLIN};

		if (poll(&more, 1, 0) <= 0)
			break;
	}
}

static void end_link(struct kat_peer **at)
{
	struct kat_peer *peer = *at;
	struct json_object *json;

	stop_reading(peer, &peer->in);
	stop_reading(peer, &peer->log);
	while ((json = kat_peer_take(peer)))
		json_object_put(json);
	free(peer);
	*at = NULL;
}

void kat_peer_close(struct kat_peer **at, int64_t deadline_ns)
{
	struct kat_peer *peer = *at;

	if (!peer)
		return;
	kat_loop_tick(peer->loop, 0, NULL, NULL);
	close(peer->out);
	if (peer->pid)
		reap(peer, deadline_ns);
	end_link(at);
}

void kat_peer_leave(struct kat_peer **at)
{
	if (!*at)
		return;
	kat_loop_tick((*at)->loop, 0, NULL, NULL);
	close((*at)->out);
	end_link(at);
}
