/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How mirrors are ended by force, and an NBD server with its clients: the QEMU is
 * played here, and crashes as a real one does.  Its sockets are our own.
 */
#define KATAMARAN_API_VERSION 1
#include "katamaran-plugin.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "plugins/lib/nbd.h"
#include "plugins/lib/nbd_socket.h"
#include "plugins/lib/nbd_undo.h"

/* ---- a QEMU, as far as an end of a mirror goes ---- */

static struct {
	const char *guest, *migration, *job; /* "" where there is none */
	int pidfd;
	int ms; /* that the plugin has left; each look at the jobs takes one */
	bool job_hangs, crashed, node, refuses_stop;
	char said[1024]; /* the commands that change something, and the journal */
} qemu;

static char error[512];

static void say(const char *word)
{
	size_t used = strlen(qemu.said);

	snprintf(qemu.said + used, sizeof(qemu.said) - used, "%s%s", used ? " " : "",
		 word);
}

static int answer(const char **reply, const char *before, const char *word,
		  const char *after)
{
	static char text[256];

	snprintf(text, sizeof(text), "%s%s%s", before, word, after);
	if (reply)
		*reply = text;
	return 0;
}

static void cancel_job(void)
{
	/* What frees the job's memory under the guest's writes. */
	if (!strcmp(qemu.guest, "running"))
		qemu.crashed = true;
	if (!qemu.job_hangs)
		qemu.job = "concluded";
}

static int answer_query(const char *command, const char **reply)
{
	if (!strcmp(command, "query-status"))
		return answer(reply, "{\"running\":true,\"status\":\"", qemu.guest,
			      "\"}");
	if (!strcmp(command, "query-migrate") && !*qemu.migration)
		return answer(reply, "{", "", "}");
	if (!strcmp(command, "query-migrate"))
		return answer(reply, "{\"status\":\"", qemu.migration,
			      "\",\"total-time\":1}");
	if (!strcmp(command, "query-named-block-nodes"))
		return answer(reply, "[{\"node-name\": \"",
			      qemu.node ? "kat-nbd-x-0" : "other",
			      "\", \"image\": {\"virtual-size\": 1}}]");
	assert_string_equal(command, "query-block-jobs");
	qemu.ms--;
	if (!*qemu.job)
		return answer(reply, "[", "", "]");
	return answer(reply, "[{\"device\": \"kat-nbd-x-0\", \"status\": \"", qemu.job,
		      "\"}]");
}

int katamaran_qmp(struct katamaran_ctx *ctx, const char *command, const char *arguments,
		  const char **reply)
{
	(void)ctx;
	if (!strncmp(command, "query-", 6))
		return answer_query(command, reply);
	say(command);
	if (!strcmp(command, "stop") && qemu.refuses_stop) {
		errno = EREMOTEIO;
		return -1;
	}
	if (!strcmp(command, "stop"))
		qemu.guest = "paused";
	if (!strcmp(command, "cont"))
		qemu.guest = "running";
	if (!strcmp(command, "block-job-cancel")) {
		assert_non_null(strstr(arguments, "\"force\":true"));
		cancel_job();
	}
	if (!strcmp(command, "job-dismiss"))
		qemu.job = "";
	if (!strcmp(command, "blockdev-del"))
		qemu.node = false;
	return 0;
}

int katamaran_journal(struct katamaran_ctx *ctx, const char *fmt, ...)
{
	(void)ctx;
	assert_string_equal(fmt, "held");
	say("(held)");
	return 0;
}

void katamaran_error(struct katamaran_ctx *ctx, const char *fmt, ...)
{
	va_list ap;

	(void)ctx;
	va_start(ap, fmt);
	vsnprintf(error, sizeof(error), fmt, ap);
	va_end(ap);
}

void katamaran_log(struct katamaran_ctx *ctx, int level, const char *fmt, ...)
{
	(void)ctx;
	(void)level;
	(void)fmt;
}

int katamaran_ms_left(struct katamaran_ctx *ctx)
{
	(void)ctx;
	return qemu.ms > 0 ? qemu.ms : 0;
}

int katamaran_qemu_pid(struct katamaran_ctx *ctx)
{
	(void)ctx;
	return getpid();
}

int katamaran_qemu_pidfd(struct katamaran_ctx *ctx)
{
	(void)ctx;
	return qemu.pidfd;
}

const char *katamaran_migration_id(struct katamaran_ctx *ctx)
{
	(void)ctx;
	return "x";
}

size_t katamaran_conf_list(struct katamaran_ctx *ctx, const char *name,
			   const char *const **items)
{
	(void)ctx;
	(void)name;
	*items = NULL;
	return 0;
}

/* A mirror that QEMU has, and its end. */
static struct kat_nbd_drive undo(const char *guest, const char *migration,
				 const char *job)
{
	static char host[] = "127.0.0.1";
	struct kat_nbd_drive drive = {.name = host, .id = "kat-nbd-x-0"};
	struct kat_nbd nbd = {.n = 1, .drives = &drive, .host = host, .port = 1};

	drive.has_job = drive.has_node = drive.mirrors = true;
	qemu.node = *job != '\0';
	qemu.guest = guest;
	qemu.migration = migration;
	qemu.job = job;
	qemu.ms = 100;
	error[0] = '\0';
	kat_nbd_undo(NULL, &nbd);
	return drive;
}

static int setup(void **state)
{
	(void)state;
	memset(&qemu, 0, sizeof(qemu));
	qemu.pidfd = -1;
	return 0;
}

static void test_holds_the_guest(void **state)
{
	struct kat_nbd_drive drive = undo("running", "failed", "paused");

	(void)state;
	assert_string_equal(qemu.said,
			    "yank (held) stop block-job-cancel job-dismiss cont "
			    "blockdev-del");
	assert_false(qemu.crashed || qemu.node || drive.has_job || drive.has_node);
	assert_string_equal(qemu.guest, "running");
	assert_string_equal(error, "");
}

/* It was paused by somebody else, or for the switchover. */
static void test_leaves_a_paused_guest(void **state)
{
	(void)state;
	undo("finish-migrate", "pre-switchover", "ready");
	assert_string_equal(qemu.said, "yank block-job-cancel job-dismiss blockdev-del");
	assert_string_equal(qemu.guest, "finish-migrate");
}

static void test_needs_no_hold(void **state)
{
	(void)state;
	undo("running", "", "concluded");
	assert_string_equal(qemu.said, "job-dismiss blockdev-del");
}

/* The commands that were to make them were interrupted, and QEMU refused them. */
static void test_finds_nothing(void **state)
{
	struct kat_nbd_drive drive = undo("running", "", "");

	(void)state;
	assert_string_equal(qemu.said, "");
	assert_false(drive.has_job || drive.has_node);
	assert_string_equal(error, "");
}

/* A guest that is paused then would be moved as a paused one. */
static void test_not_while_it_may_move(void **state)
{
	struct kat_nbd_drive drive = undo("running", "active", "ready");

	(void)state;
	assert_string_equal(qemu.said, "yank");
	assert_true(drive.has_job && drive.has_node);
	assert_non_null(strstr(error, "does not end"));
}

/* Whatever the job does, there is time to let the guest go. */
static void test_lets_go_of_a_guest(void **state)
{
	struct kat_nbd_drive drive;

	(void)state;
	qemu.job_hangs = true;
	drive = undo("running", "", "running");
	assert_string_equal(qemu.said, "yank (held) stop block-job-cancel cont");
	assert_true(drive.has_job && qemu.ms > 40);
	assert_non_null(strstr(error, "does not end"));
}

/* No answer, or a no, to "stop" does not say that it has not stopped. */
static void test_stop_refused(void **state)
{
	(void)state;
	qemu.refuses_stop = true;
	undo("running", "", "running");
	assert_string_equal(qemu.said, "yank (held) stop cont");
	assert_false(qemu.crashed);
}

/* The record "held" of a process that was killed in between. */
static void test_recovers_the_guest(void **state)
{
	(void)state;
	qemu.guest = "paused";
	qemu.migration = "cancelled";
	assert_int_equal(kat_nbd_let_go(NULL), 0);
	assert_string_equal(qemu.guest, "running");
	assert_int_equal(kat_nbd_let_go(NULL), 0);
	assert_string_equal(qemu.said, "cont");
	qemu.guest = "paused";
	qemu.migration = "active";
	assert_int_equal(kat_nbd_let_go(NULL), 1);
	qemu.guest = "postmigrate";
	qemu.migration = "completed";
	assert_int_equal(kat_nbd_let_go(NULL), 0);
	assert_string_equal(qemu.said, "cont");
}

/* ---- the sockets of a server ---- */

static int make_socket(struct sockaddr_in *at, bool server)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(*at);

	assert_true(fd >= 0);
	if (!server)
		return fd;
	*at = (struct sockaddr_in){.sin_family = AF_INET};
	at->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(fd, (struct sockaddr *)at, len), 0);
	assert_int_equal(listen(fd, 4), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)at, &len), 0);
	return fd;
}

/* A connection, or -1 where none is made in `ms`. */
static int reach(const struct sockaddr_in *at, int ms)
{
	int fd = make_socket(NULL, false);
	struct pollfd made = {.fd = fd, .events = POLLOUT};

	fcntl(fd, F_SETFL, O_NONBLOCK);
	if (connect(fd, (const struct sockaddr *)at, sizeof(*at)) == 0 ||
	    (errno == EINPROGRESS && poll(&made, 1, ms) == 1 && made.revents == POLLOUT))
		return fd;
	close(fd);
	return -1;
}

static void test_ends_a_server(void **state)
{
	struct sockaddr_in at, other_at;
	int server = make_socket(&at, true), other = make_socket(&other_at, true);
	int port = ntohs(at.sin_port), client, accepted;
	char byte;

	(void)state;
	qemu.pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	if (qemu.pidfd < 0 && errno == ENOSYS) {
		print_message("valgrind 3.19 knows no pidfd_open\n");
		skip();
	}
	assert_true(qemu.pidfd >= 0);
	client = reach(&at, 5000);
	accepted = accept4(server, NULL, NULL, SOCK_CLOEXEC);
	assert_true(client >= 0 && accepted >= 0);

	assert_int_equal(kat_nbd_close_door(NULL, port), 1);
	assert_int_equal(reach(&at, 100), -1);
	assert_int_equal(kat_nbd_close_door(NULL, port), 1); /* again */
	assert_int_equal(kat_nbd_cut_clients(NULL, port), 1);
	assert_int_equal(read(accepted, &byte, 1), 0); /* as QEMU hears of it */
	assert_int_equal(kat_nbd_cut_clients(NULL, port), 1);
	close(accepted);
	assert_int_equal(kat_nbd_cut_clients(NULL, port), 0);

	close(client);
	client = reach(&other_at, 5000);
	assert_true(client >= 0); /* whose port is another one */
	close(client);
	close(other);
	close(server);
	close(qemu.pidfd);
}

static void test_out_of_reach(void **state)
{
	(void)state;
	assert_int_equal(kat_nbd_close_door(NULL, 1), -1);
	assert_int_equal(kat_nbd_cut_clients(NULL, 1), -1);
	assert_int_equal(kat_nbd_cut(NULL, "127.0.0.1", 1), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_holds_the_guest, setup),
		cmocka_unit_test_setup(test_leaves_a_paused_guest, setup),
		cmocka_unit_test_setup(test_needs_no_hold, setup),
		cmocka_unit_test_setup(test_finds_nothing, setup),
		cmocka_unit_test_setup(test_not_while_it_may_move, setup),
		cmocka_unit_test_setup(test_lets_go_of_a_guest, setup),
		cmocka_unit_test_setup(test_stop_refused, setup),
		cmocka_unit_test_setup(test_recovers_the_guest, setup),
		cmocka_unit_test_setup(test_ends_a_server, setup),
		cmocka_unit_test_setup(test_out_of_reach, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
