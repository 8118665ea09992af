/* SPDX-License-Identifier: BSD-2-Clause */
/* The QMP client against tests/fake_qmp, and against a real QEMU where there is one. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <json-c/json.h>

#include "api.h"
#include "qmp.h"
#include "util.h"

#define KATAMARAN_API_VERSION 1
#include "katamaran-plugin.h"

#ifndef FAKE_QMP
#define FAKE_QMP "tests/fake_qmp"
#endif
#define QEMU	    "qemu-system-x86_64"
#define NO_DEADLINE 20000 /* ms; the test is wrong or hangs if it takes so long */
#define SOON	    10000 /* ms; far more than a slow machine needs, and no deadline */

static struct kat_loop loop;
static struct kat_qmp *qmp;
static struct kat_error *err;
static char dir[] = "/tmp/test_qmp.XXXXXX";
static char path[sizeof(dir) + 16], script_path[sizeof(dir) + 16],
	transcript_path[sizeof(dir) + 16];
/* What scripts `await`, and what they `touch`. */
static const char *const files[] = {"go", "more", "done"};
static pid_t server;
static int64_t started_ns;

/* --- the surroundings of a test --- */

static const char *in_dir(const char *file)
{
	static char name[sizeof(path)];

	snprintf(name, sizeof(name), "%s/%s", dir, file);
	return name;
}

static int setup(void **state)
{
	(void)state;
	strcpy(dir + strlen(dir) - 6, "XXXXXX");
	if (!mkdtemp(dir) || kat_loop_open(&loop, NULL) < 0)
		return -1;
	sprintf(path, "%s/qmp", dir);
	sprintf(script_path, "%s/script", dir);
	sprintf(transcript_path, "%s/transcript", dir);
	started_ns = kat_now_ns();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	kat_qmp_close(&qmp);
	kat_error_free(&err);
	kat_loop_close(&loop);
	if (server > 0) {
		kill(server, SIGKILL);
		waitpid(server, NULL, 0);
	}
	server = 0;
	unlink(path);
	unlink(script_path);
	unlink(transcript_path);
	for (size_t i = 0; i < KAT_ARRAY_SIZE(files); i++)
		unlink(in_dir(files[i]));
	return rmdir(dir);
}

static void spawn(const char *const argv[])
{
	server = fork();
	if (!server) {
		sigset_t none;

		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		if (chdir(dir) < 0) /* where a script's files are */
			_exit(127);
		execvp(argv[0], (char *const *)argv);
		_exit(127);
	}
	for (int i = 0; i < 5000 && access(path, F_OK) < 0; i++) {
		if (waitpid(server, NULL, WNOHANG) == server)
			server = 0;
		assert_true(server > 0);
		usleep(1000);
	}
}

static void start_fake(const char *script)
{
	FILE *file = fopen(script_path, "we");

	assert_non_null(file);
	fputs(script, file);
	fclose(file);
	spawn((const char *const[]){FAKE_QMP, "-l", transcript_path, path, script_path,
				    NULL});
}

/* The client did all that the script says. */
static void fake_is_content(void)
{
	int status = -1;

	assert_int_equal(waitpid(server, &status, 0), server);
	server = 0;
	assert_int_equal(status, 0);
}

/* The script may `await` this no longer. */
static void let(const char *file)
{
	int fd = open(in_dir(file), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	close(fd);
}

/* The script has come to `touch done`. */
static bool is_done(void)
{
	for (int i = 0; i < NO_DEADLINE; i++) {
		if (access(in_dir("done"), F_OK) == 0)
			return true;
		usleep(1000);
	}
	return false;
}

/* It reads nothing until it gets SIGCONT. */
static void stop_fake(void)
{
	int status = 0;

	kill(server, SIGSTOP);
	assert_int_equal(waitpid(server, &status, WUNTRACED), server);
	assert_true(WIFSTOPPED(status));
}

/* Our end of the fake's socket, of which there is one. */
static int find_socket(void)
{
	int found = -1;

	for (int fd = 3; fd < 256; fd++) {
		struct ucred peer = {0};
		socklen_t len = sizeof(peer);

		if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 ||
		    peer.pid != server)
			continue;
		assert_int_equal(found, -1);
		found = fd;
	}
	assert_true(found >= 0);
	return found;
}

/* How often the fake received this command. */
static unsigned int received(const char *command)
{
	cleanup_fclose FILE *file = fopen(transcript_path, "re");
	cleanup_free char *line = NULL;
	char part[64];
	size_t size = 0;
	unsigned int n = 0;

	sprintf(part, "\"execute\": \"%s\"", command);
	while (getline(&line, &size, file) > 0)
		n += strstr(line, " < ") && strstr(line, part);
	return n;
}

static int64_t elapsed_ms(void)
{
	return (kat_now_ns() - started_ns) / KAT_NS_PER_MS;
}

static int open_within(int64_t ms)
{
	started_ns = kat_now_ns();
	return kat_qmp_open(&qmp, &loop, path, kat_deadline_ms(ms), &err);
}

static void open_fake(const char *script)
{
	start_fake(script);
	if (open_within(NO_DEADLINE) < 0)
		fail_msg("%s", err->message);
}

static int execute_within(const char *command, int64_t ms, struct json_object **reply)
{
	started_ns = kat_now_ns();
	return kat_qmp_execute(qmp, command, NULL, kat_deadline_ms(ms), reply, &err);
}

static int execute(const char *command)
{
	return execute_within(command, NO_DEADLINE, NULL);
}

static void error_is(int why, const char *message)
{
	assert_non_null(err);
	assert_string_equal(err->message, message);
	assert_int_equal(err->sys_errno, why);
	kat_error_free(&err);
}

static void error_has(int why, const char *part)
{
	assert_non_null(err);
	if (!strstr(err->message, part))
		fail_msg("\"%s\" does not say \"%s\"", err->message, part);
	assert_int_equal(err->sys_errno, why);
	kat_error_free(&err);
}

static void next_event_is(const char *name)
{
	cleanup_event struct kat_qmp_event *event = kat_qmp_take(qmp);

	assert_non_null(event);
	assert_string_equal(event->name, name);
}

static bool is_named(const struct kat_qmp_event *event, void *name)
{
	return !strcmp(event->name, name);
}

/* A signal to ourselves in `ms`. */
static void signal_later(int number, useconds_t ms)
{
	pid_t parent = getpid();

	if (!fork()) {
		usleep(ms * 1000);
		kill(parent, number);
		_exit(0);
	}
}

/* A signal to ourselves when the script has come to `touch done`. */
static void signal_when_done(int number)
{
	pid_t parent = getpid();

	if (!fork()) {
		if (is_done())
			kill(parent, number);
		_exit(0);
	}
}

/* A signal `ms` after a part of a command has filled the socket. */
static void signal_when_full(pid_t to, int number, useconds_t ms)
{
	struct pollfd room = {.fd = find_socket(), .events = POLLOUT};

	if (!fork()) {
		while (poll(&room, 1, 0) == 1 && room.revents == POLLOUT)
			usleep(1000);
		usleep(ms * 1000);
		kill(to, number);
		_exit(0);
	}
}

/* --- connecting --- */

static void test_open_negotiates(void **state)
{
	(void)state;
	open_fake("greet; expect qmp_capabilities; reply; expect query-status; reply");
	assert_int_equal(kat_qmp_version(qmp), 70222);
	assert_int_equal(kat_qmp_pid(qmp), server);
	assert_false(kat_qmp_closed(qmp));
	assert_int_equal(execute("query-status"), 0);
	fake_is_content();
}

/* What we spawn does not inherit the monitor. */
static void test_the_socket_is_close_on_exec(void **state)
{
	(void)state;
	open_fake("serve");
	assert_true(fcntl(find_socket(), F_GETFD) & FD_CLOEXEC);
}

static void test_no_socket(void **state)
{
	char message[128];

	(void)state;
	assert_int_equal(open_within(NO_DEADLINE), -1);
	assert_null(qmp);
	sprintf(message, "cannot connect to QMP socket %s: No such file or directory",
		path);
	error_is(ENOENT, message);
}

static void test_nobody_listens(void **state)
{
	char message[128];

	(void)state;
	start_fake("sleep 60000");
	kill(server, SIGKILL); /* leaves the socket behind, as a killed QEMU does */
	waitpid(server, NULL, 0);
	server = 0;
	assert_int_equal(open_within(NO_DEADLINE), -1);
	sprintf(message, "cannot connect to QMP socket %s: Connection refused", path);
	error_is(ECONNREFUSED, message);
	assert_in_range(elapsed_ms(), 0, SOON);
}

static void test_no_permission(void **state)
{
	bool root = geteuid() == 0;
	char message[128];
	int rc;

	(void)state;
	start_fake("sleep 60000");
	chmod(path, 0);
	if (root)
		assert_int_equal(chmod(dir, 0711) | seteuid(65534), 0);
	rc = open_within(NO_DEADLINE);
	if (root)
		assert_int_equal(seteuid(0), 0);
	assert_int_equal(rc, -1);
	sprintf(message, "cannot connect to QMP socket %s: Permission denied", path);
	error_is(EACCES, message);
}

static void test_path_too_long(void **state)
{
	char name[200];

	(void)state;
	memset(name, 'x', sizeof(name));
	name[0] = '/';
	name[108] = '\0';
	assert_int_equal(
		kat_qmp_open(&qmp, &loop, name, kat_deadline_ms(NO_DEADLINE), &err), -1);
	error_has(ENAMETOOLONG, "longer than 107 bytes");
	name[107] = '\0'; /* fits, and is not there */
	assert_int_equal(
		kat_qmp_open(&qmp, &loop, name, kat_deadline_ms(NO_DEADLINE), &err), -1);
	assert_true(err->sys_errno == ENOENT || err->sys_errno == ENAMETOOLONG);
	error_has(err->sys_errno, "cannot connect");
}

static void test_busy_monitor(void **state)
{
	struct kat_qmp *first;
	char message[160];

	(void)state;
	open_fake("serve");
	first = qmp;
	assert_int_equal(open_within(150), -1);
	assert_in_range(elapsed_ms(), 150, SOON);
	sprintf(message,
		"no greeting from QMP socket %s in time: the monitor may be busy with "
		"another client",
		path);
	error_is(ETIMEDOUT, message);
	qmp = first;
	assert_int_equal(execute("query-status"), 0); /* the first one is not hurt */
}

static void test_accepted_but_not_greeted(void **state)
{
	(void)state;
	start_fake("busy");
	assert_int_equal(open_within(100), -1);
	error_has(ETIMEDOUT, "busy with another client");
	fake_is_content();
}

/* As many in the backlog as it holds: connect() itself says no. */
static void test_full_backlog(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), fds[16];
	size_t n = 0;
	pid_t pid;

	(void)state;
	strcpy(address.sun_path, path);
	assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(listener, 1), 0);
	do {
		fds[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	} while (!connect(fds[n], (struct sockaddr *)&address, sizeof(address)) &&
		 n++ < KAT_ARRAY_SIZE(fds) - 2);
	assert_int_equal(open_within(100), -1);
	assert_in_range(elapsed_ms(), 100, SOON);
	error_has(EAGAIN, "cannot connect to QMP socket /tmp");
	signal_later(SIGTERM, 50);
	assert_int_equal(open_within(NO_DEADLINE), -1);
	error_has(EINTR, "interrupted by a signal");
	kat_loop_take_signal(&loop);
	wait(NULL);
	pid = fork();
	if (!pid) { /* those before us are served, and it is our turn */
		usleep(100000);
		for (size_t i = 0; i <= n; i++)
			fds[i] = accept(listener, NULL, NULL);
		_exit(write(fds[n], "SSH-2.0\n", 8) != 8);
	}
	assert_int_equal(open_within(NO_DEADLINE), -1);
	error_has(EPROTO, "is not a QMP socket");
	waitpid(pid, NULL, 0);
	while (n-- > 0)
		close(fds[n]);
	close(listener);
}

static void test_greeting_in_pieces(void **state)
{
	(void)state;
	open_fake("greet 7 10; expect qmp_capabilities; reply");
	assert_in_range(elapsed_ms(), 60, SOON);
	assert_int_equal(kat_qmp_version(qmp), 70222);
	fake_is_content();
}

static void test_greeting_comes_late(void **state)
{
	(void)state;
	open_fake("accept; sleep 150; greet; expect qmp_capabilities; reply");
	assert_in_range(elapsed_ms(), 150, SOON);
	fake_is_content();
}

/* By its shape it is no reply, whatever is awaited. */
static void test_greeting_is_no_reply(void **state)
{
	cleanup_json struct json_object *reply = NULL;

	(void)state;
	open_fake("greet; expect query-name\n"
		  "send \"{\\\"QMP\\\": {\\\"version\\\": {}}}\\r\\n\"\n"
		  "reply {\"name\": \"vm\"}");
	assert_int_equal(execute_within("query-name", NO_DEADLINE, &reply), 0);
	assert_string_equal(kat_json_string(reply, "name"), "vm");
	fake_is_content();
}

static void check_not_qmp(const char *bytes, const char *quoted)
{
	char script[256], message[256];

	sprintf(script, "accept; send %s; closed", bytes);
	start_fake(script);
	assert_int_equal(open_within(NO_DEADLINE), -1);
	sprintf(message, "%s is not a QMP socket, it greets with \"%s\"", path, quoted);
	error_is(EPROTO, message);
	assert_in_range(elapsed_ms(), 0, SOON);
	fake_is_content();
}

static void test_greeting_of_something_else(void **state)
{
	(void)state;
	check_not_qmp("\"QEMU 7.2.22 monitor\\r\\n(qemu) \"", "QEMU 7.2.22 monitor");
	check_not_qmp("\"login\"", "login"); /* and no line end ever */
	check_not_qmp("\"[1, 2]\\n\"", "[1, 2]");
	check_not_qmp("\"{\\\"hello\\\": {}\\n\"", "{\"hello\": {}");
	check_not_qmp("\"{\\\"hello\\\": {}}\\n\"", "{ \"hello\": { } }");
	check_not_qmp("\"{} {}\\n\"", "{} {}");
	check_not_qmp("\"\\u001b[2J\\u0007\\n\"", ".[2J."); /* no tricks on terminals */
	check_not_qmp("\"{\\\"QMP\\\": 1}\\n\"", "{ \"QMP\": 1 }");
}

static void test_closed_before_the_greeting(void **state)
{
	char message[128];

	(void)state;
	start_fake("accept; close");
	assert_int_equal(open_within(NO_DEADLINE), -1);
	sprintf(message, "QEMU closed the QMP connection (%s)", path);
	error_is(ECONNRESET, message);
}

static void test_capabilities_refused(void **state)
{
	(void)state;
	start_fake("greet; expect qmp_capabilities; error GenericError not today");
	assert_int_equal(open_within(NO_DEADLINE), -1);
	error_is(EREMOTEIO, "QMP qmp_capabilities: not today");
	fake_is_content();
}

/* --- commands --- */

static void test_replies_and_arguments(void **state)
{
	struct json_object *args = json_object_new_object(), *reply = NULL;

	(void)state;
	open_fake(
		"greet; expect migrate {\"uri\": \"tcp:[::1]:4444\", \"resume\": true}\n"
		"reply {\"a\": [1, 2]}");
	json_object_object_add(args, "uri", json_object_new_string("tcp:[::1]:4444"));
	json_object_object_add(args, "resume", json_object_new_boolean(true));
	assert_int_equal(kat_qmp_execute(qmp, "migrate", args,
					 kat_deadline_ms(NO_DEADLINE), &reply, &err),
			 0);
	assert_string_equal(json_object_to_json_string_ext(reply, JSON_C_TO_STRING_PLAIN),
			    "{\"a\":[1,2]}");
	assert_int_equal(json_object_put(reply), 1); /* ours alone */
	fake_is_content();
}

static void test_errors_carry_description_and_class(void **state)
{
	cleanup_json struct json_object *reply = json_object_new_object();
	struct json_object *before = reply, *untouched = reply;

	(void)state;
	open_fake("greet; expect query-name; error GenericError Port in use\n"
		  "expect query-name; error DeviceNotActive Device 'd' is idle\n"
		  "expect query-name; send \"{\\\"error\\\": {}}\\r\\n\"");
	assert_int_equal(execute_within("query-name", NO_DEADLINE, &untouched), -1);
	assert_null(untouched);
	assert_ptr_equal(before, reply);
	error_is(EREMOTEIO, "QMP query-name: Port in use");
	assert_int_equal(execute("query-name"), -1);
	error_is(EREMOTEIO, "QMP query-name: Device 'd' is idle (DeviceNotActive)");
	assert_int_equal(execute("query-name"), -1);
	error_is(EREMOTEIO, "QMP query-name: refused without a reason");
	assert_false(kat_qmp_closed(qmp)); /* a refusal is no end */
	fake_is_content();
}

/* The fake must refuse what QEMU refuses, or the tests above it prove nothing. */
static void test_the_fake_knows_qemu(void **state)
{
	struct json_object *args = json_object_new_object();

	(void)state;
	open_fake("may-refuse; serve");
	assert_int_equal(execute("migrate-cancel"), -1);
	error_is(EREMOTEIO, "QMP migrate-cancel: The command migrate-cancel has not been "
			    "found (CommandNotFound)");
	assert_int_equal(execute("migrate_cancel"), 0);
	assert_int_equal(execute("migrate"), -1);
	error_is(EREMOTEIO, "QMP migrate: Parameter 'uri' is missing");
	json_object_object_add(args, "x", json_object_new_int(1));
	assert_int_equal(kat_qmp_execute(qmp, "query-status", args,
					 kat_deadline_ms(NO_DEADLINE), NULL, &err),
			 -1);
	error_is(EREMOTEIO, "QMP query-status: Parameter 'x' is unexpected");
	args = json_tokener_parse("{\"capabilities\": [{\"capability\": \"speed\", "
				  "\"state\": true}]}");
	assert_int_equal(kat_qmp_execute(qmp, "migrate-set-capabilities", args,
					 kat_deadline_ms(NO_DEADLINE), NULL, &err),
			 -1);
	error_is(EREMOTEIO,
		 "QMP migrate-set-capabilities: Parameter 'capability' does not "
		 "accept value 'speed'");
	assert_int_equal(execute("qmp_capabilities"), -1);
	error_has(EREMOTEIO, "negotiation is already complete");
}

static void test_no_reply_in_time(void **state)
{
	unsigned int ms;

	(void)state;
	open_fake("greet; expect query-status; hold; sleep 20000");
	assert_int_equal(execute_within("query-status", 120, NULL), -1);
	assert_in_range(elapsed_ms(), 120, SOON);
	assert_int_equal(
		sscanf(err->message, "QMP query-status: no reply after %u ms", &ms), 1);
	assert_in_range(ms, 120, SOON);
	error_has(ETIMEDOUT, "ms");
	assert_false(kat_qmp_closed(qmp));
}

/* The reply to what was given up is not the next command's. */
static void test_late_reply_is_dropped(void **state)
{
	cleanup_json struct json_object *reply = NULL;

	(void)state;
	open_fake("greet; expect query-uuid; hold\n"
		  "expect query-name; late {\"UUID\": \"u\"}; reply {\"name\": \"vm\"}");
	assert_int_equal(execute_within("query-uuid", 50, NULL), -1);
	error_has(ETIMEDOUT, "no reply");
	assert_int_equal(execute_within("query-name", NO_DEADLINE, &reply), 0);
	assert_string_equal(kat_json_string(reply, "name"), "vm");
	assert_null(kat_json_member(reply, "UUID"));
	fake_is_content();
}

static void test_late_reply_between_commands(void **state)
{
	cleanup_json struct json_object *reply = NULL;

	(void)state;
	open_fake("greet; expect query-uuid; hold; await go; late; event STOP\n"
		  "expect query-name; reply {\"name\": \"vm\"}");
	assert_int_equal(execute_within("query-uuid", 50, NULL), -1);
	error_has(ETIMEDOUT, "no reply");
	let("go");
	assert_int_equal(kat_qmp_wait(qmp, kat_deadline_ms(NO_DEADLINE), &err), 1);
	assert_int_equal(execute_within("query-name", NO_DEADLINE, &reply), 0);
	assert_string_equal(kat_json_string(reply, "name"), "vm");
	fake_is_content();
}

static void test_replies_with_unknown_ids_are_dropped(void **state)
{
	cleanup_json struct json_object *reply = NULL;

	(void)state;
	open_fake("greet; expect query-name\n"
		  "send \"{\\\"return\\\": 1, \\\"id\\\": 1}\\r\\n\"\n"
		  "send \"{\\\"return\\\": 2, \\\"id\\\": \\\"x\\\"}\\r\\n\"\n"
		  "send \"{\\\"return\\\": 3}\\r\\n{\\\"return\\\": 4, \\\"id\\\": "
		  "0}\\r\\n\"\n"
		  "send \"{\\\"error\\\": {\\\"desc\\\": \\\"no\\\"}, \\\"id\\\": "
		  "7}\\r\\n\"\n"
		  "reply {\"name\": \"vm\"}");
	assert_int_equal(execute_within("query-name", NO_DEADLINE, &reply), 0);
	assert_string_equal(kat_json_string(reply, "name"), "vm");
	fake_is_content();
}

/* QEMU's answer to what it could not parse has no id. */
static void test_error_without_id(void **state)
{
	static const char error[] = "send \"{\\\"error\\\": {\\\"class\\\": "
				    "\\\"GenericError\\\", \\\"desc\\\": \\\"stray\\\"}}"
				    "\\r\\n\"\n";
	cleanup_json struct json_object *reply = NULL;
	char script[1024];

	(void)state;
	sprintf(script,
		"greet; expect query-name; %sexpect query-uuid\n"
		"send \"{\\\"return\\\": {}, \\\"id\\\": 1}\\r\\n\"\n"
		"send \"{\\\"return\\\": {}, \\\"id\\\": 9000000000000000000}\\r\\n\"\n"
		"expect query-name; %sreply {\"name\": \"vm\"}",
		error, error);
	open_fake(script);
	assert_int_equal(execute("query-name"), -1);
	error_is(EREMOTEIO, "QMP query-name: stray");
	assert_int_equal(execute_within("query-uuid", 50, NULL), -1);
	error_has(ETIMEDOUT, "no reply");
	/* now it may be query-uuid's, and is nobody's */
	assert_int_equal(execute_within("query-name", NO_DEADLINE, &reply), 0);
	assert_string_equal(kat_json_string(reply, "name"), "vm");
	fake_is_content();
}

static void test_partial_line_survives_a_timeout(void **state)
{
	cleanup_json struct json_object *reply = NULL;

	(void)state;
	open_fake("greet; expect query-name; send \"{\\\"event\\\": \\\"ST\"\n"
		  "await go; send \"OP\\\"}\\r\"; touch done\n"
		  "await more; send \"\\n\"\n"
		  "reply {\"name\": \"old\"}\n"
		  "expect query-name; reply {\"name\": \"new\"}");
	assert_int_equal(execute_within("query-name", 50, NULL), -1);
	error_has(ETIMEDOUT, "no reply");
	let("go");
	assert_true(is_done());
	assert_int_equal(kat_qmp_wait(qmp, kat_deadline_ms(50), &err), 0);
	let("more");
	assert_int_equal(kat_qmp_wait(qmp, kat_deadline_ms(NO_DEADLINE), &err), 1);
	next_event_is("STOP");
	assert_int_equal(execute_within("query-name", NO_DEADLINE, &reply), 0);
	assert_string_equal(kat_json_string(reply, "name"), "new");
	fake_is_content();
}

static struct json_object *big_argument(size_t len)
{
	struct json_object *args = json_object_new_object();
	char *text = malloc(len + 1);

	memset(text, 'x', len);
	text[len] = '\0';
	json_object_object_add(args, "command-line", json_object_new_string(text));
	free(text);
	return args;
}

static int send_big(int64_t ms)
{
	started_ns = kat_now_ns();
	return kat_qmp_execute(qmp, "human-monitor-command", big_argument(4 << 20),
			       kat_deadline_ms(ms), NULL, &err);
}

static void test_a_write_that_blocks(void **state)
{
	(void)state;
	open_fake("greet; expect human-monitor-command; reply");
	stop_fake();
	signal_when_full(server, SIGCONT, 100);
	assert_int_equal(send_big(NO_DEADLINE), 0);
	assert_in_range(elapsed_ms(), 100, SOON);
	fake_is_content();
	wait(NULL);
}

/* Half a command went out: its rest goes before the next. */
static void test_a_write_past_the_deadline(void **state)
{
	cleanup_json struct json_object *reply = NULL;

	(void)state;
	open_fake("greet; expect human-monitor-command; reply {\"x\": 1}\n"
		  "expect query-uuid; reply {\"UUID\": \"u\"}");
	stop_fake();
	assert_int_equal(send_big(100), -1);
	assert_in_range(elapsed_ms(), 100, SOON);
	error_is(ETIMEDOUT, "QMP human-monitor-command: QEMU does not read its commands");
	assert_int_equal(execute_within("query-status", 50, NULL), -1); /* never sent */
	error_is(ETIMEDOUT, "QMP query-status: QEMU does not read its commands");
	kill(server, SIGCONT);
	assert_int_equal(execute_within("query-uuid", NO_DEADLINE, &reply), 0);
	assert_string_equal(kat_json_string(reply, "UUID"), "u");
	fake_is_content();
}

/* The socket is full to the brim: what did not go out at all never will. */
static void test_a_write_that_never_began(void **state)
{
	unsigned int sent = 0;

	(void)state;
	open_fake("greet\n"
		  "on query-status reply\n"
		  "expect query-uuid; reply");
	stop_fake();
	while (execute_within("query-status", 0, NULL) < 0 &&
	       !strstr(err->message, "does not read")) {
		kat_error_free(&err);
		sent++;
	}
	error_is(ETIMEDOUT, "QMP query-status: QEMU does not read its commands");
	assert_true(sent > 50);
	assert_int_equal(execute_within("query-jobs", 0, NULL), -1);
	error_is(ETIMEDOUT, "QMP query-jobs: QEMU does not read its commands");
	kill(server, SIGCONT);
	assert_int_equal(execute("query-uuid"), 0);
	fake_is_content();
	assert_int_equal(received("query-status"), sent);
	assert_int_equal(received("query-jobs"), 0);
}

/* --- events --- */

static void test_events_between_replies_keep_their_order(void **state)
{
	cleanup_event struct kat_qmp_event *event = NULL;
	int64_t before = kat_now_ns();

	(void)state;
	open_fake(
		"greet; event STOP; expect query-name; event MIGRATION {\"status\": "
		"\"active\"}\nreply; event RESUME; sleep 20; event SHUTDOWN {\"guest\": "
		"true, \"reason\": \"guest-shutdown\"}; closed");
	assert_int_equal(execute("query-name"), 0);
	next_event_is("STOP");
	event = kat_qmp_take(qmp);
	assert_string_equal(event->name, "MIGRATION");
	assert_string_equal(kat_json_string(event->data, "status"), "active");
	assert_string_equal(kat_json_string(event->json, "event"), "MIGRATION");
	assert_in_range(event->received_ns, before, kat_now_ns());
	assert_int_equal(kat_qmp_wait(qmp, kat_deadline_ms(NO_DEADLINE), &err), 1);
	next_event_is("RESUME");
	assert_int_equal(kat_qmp_wait(qmp, kat_deadline_ms(NO_DEADLINE), &err), 1);
	next_event_is("SHUTDOWN");
	assert_null(kat_qmp_take(qmp));
	assert_int_equal(kat_qmp_wait(qmp, kat_deadline_ms(30), &err), 0);
	kat_qmp_close(&qmp);
	fake_is_content();
}

static void test_matching_leaves_the_others(void **state)
{
	char resume[] = "RESUME", stop[] = "STOP";
	struct kat_qmp_event *event;

	(void)state;
	open_fake(
		"greet; event STOP; event RESUME; event STOP; event RESUME\n"
		"expect query-name; reply; event SHUTDOWN {\"guest\": true, \"reason\": "
		"\"guest-shutdown\"}; expect query-name; reply; closed");
	assert_int_equal(execute("query-name"), 0);
	event = kat_qmp_take_match(qmp, is_named, resume);
	assert_string_equal(event->name, "RESUME");
	assert_null(event->next);
	kat_qmp_event_free(&event);
	assert_null(event);
	event = kat_qmp_take_match(qmp, is_named, resume); /* the last of the queue */
	kat_qmp_event_free(&event);
	assert_null(kat_qmp_take_match(qmp, is_named, resume));
	assert_int_equal(execute("query-name"), 0); /* one more behind the others */
	next_event_is("STOP");
	next_event_is("STOP");
	next_event_is("SHUTDOWN");
	assert_null(kat_qmp_take_match(qmp, is_named, stop));
	kat_qmp_close(&qmp);
	fake_is_content();
}

/* For the leak checkers. */
static void test_unread_events_go_with_the_connection(void **state)
{
	(void)state;
	open_fake("greet; event STOP; event RESUME; expect query-name; reply; closed");
	assert_int_equal(execute("query-name"), 0);
	kat_qmp_close(&qmp);
	assert_null(qmp);
	kat_qmp_close(&qmp);
	fake_is_content();
}

static void test_wait_match(void **state)
{
	cleanup_event struct kat_qmp_event *event = NULL;
	char resume[] = "RESUME", stop[] = "STOP";

	(void)state;
	open_fake("greet; event STOP; await go\n"
		  "event MIGRATION {\"status\": \"active\"}; event RESUME; closed");
	assert_int_equal(kat_qmp_wait_match(qmp, is_named, resume, kat_deadline_ms(30),
					    &event, &err),
			 0);
	assert_null(event);
	let("go");
	assert_int_equal(kat_qmp_wait_match(qmp, is_named, resume,
					    kat_deadline_ms(NO_DEADLINE), &event, &err),
			 1);
	assert_string_equal(event->name, "RESUME");
	kat_qmp_event_free(&event);
	assert_int_equal(kat_qmp_wait_match(qmp, is_named, stop, 0, &event, &err), 1);
	next_event_is("MIGRATION");
	kat_qmp_close(&qmp);
	fake_is_content();
}

static void test_a_passed_deadline_still_takes_what_is_there(void **state)
{
	(void)state;
	open_fake("greet; event STOP; touch done; closed");
	assert_true(is_done());
	assert_int_equal(kat_qmp_wait(qmp, 0, &err), 1);
	next_event_is("STOP");
	started_ns = kat_now_ns();
	assert_int_equal(kat_qmp_wait(qmp, 0, &err), 0);
	assert_in_range(elapsed_ms(), 0, SOON);
	kat_qmp_close(&qmp);
	fake_is_content();
}

/* --- the peer goes --- */

static void check_closed(void)
{
	struct kat_qmp_event *event;
	char message[128], never[] = "NEVER";

	sprintf(message, "QEMU closed the QMP connection (%s)", path);
	assert_int_equal(kat_qmp_wait(qmp, kat_deadline_ms(NO_DEADLINE), &err), 1);
	next_event_is("STOP");
	assert_int_equal(kat_qmp_wait(qmp, kat_deadline_ms(NO_DEADLINE), &err), 1);
	next_event_is("RESUME");
	started_ns = kat_now_ns();
	for (int i = 0; i < 2; i++) {
		assert_int_equal(kat_qmp_wait(qmp, kat_deadline_ms(NO_DEADLINE), &err),
				 -1);
		error_is(ECONNRESET, message);
	}
	assert_int_equal(kat_qmp_wait_match(qmp, is_named, never,
					    kat_deadline_ms(NO_DEADLINE), &event, &err),
			 -1);
	error_is(ECONNRESET, message);
	assert_null(event);
	assert_true(kat_qmp_closed(qmp));
	assert_int_equal(execute("query-status"), -1);
	sprintf(message, "QMP query-status: QEMU closed the QMP connection (%s)", path);
	error_is(ECONNRESET, message);
	assert_in_range(elapsed_ms(), 0, SOON);
}

static void test_events_before_the_end_are_delivered(void **state)
{
	(void)state;
	open_fake("greet; event STOP; event RESUME; send \"{\\\"event\\\": \"; close");
	check_closed();
	fake_is_content();
}

static void test_the_end_while_a_reply_is_awaited(void **state)
{
	(void)state;
	open_fake("greet; expect query-name; event STOP; event RESUME; close");
	assert_int_equal(execute("query-name"), -1);
	error_has(ECONNRESET, "QMP query-name: QEMU closed");
	check_closed();
	fake_is_content();
}

/* The first thing to notice the end is the write. */
static void test_the_end_before_a_command(void **state)
{
	(void)state;
	open_fake("greet; expect query-uuid; reply; await go; event STOP; event RESUME\n"
		  "close");
	assert_int_equal(execute("query-uuid"), 0);
	let("go");
	fake_is_content();
	assert_int_equal(execute("query-name"), -1);
	error_has(ECONNRESET, "QMP query-name: QEMU closed");
	check_closed();
}

/* --- signals --- */

static void test_a_pending_signal_sends_nothing(void **state)
{
	(void)state;
	open_fake("greet; expect query-uuid; reply; closed");
	kill(getpid(), SIGTERM);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(execute("query-name"), -1); /* the fake would object */
		error_is(EINTR, "QMP query-name: interrupted by a signal");
		assert_int_equal(kat_qmp_wait(qmp, kat_deadline_ms(NO_DEADLINE), &err),
				 -1);
		error_is(EINTR, "interrupted by a signal");
	}
	assert_int_equal(kat_loop_take_signal(&loop), SIGTERM);
	assert_int_equal(execute("query-uuid"), 0);
	kat_qmp_close(&qmp);
	fake_is_content();
}

static void test_a_signal_ends_the_wait_for_a_reply(void **state)
{
	cleanup_json struct json_object *reply = NULL;

	(void)state;
	open_fake("greet; expect query-uuid; hold; touch done\n"
		  "expect query-name; late; reply {\"name\": \"vm\"}");
	signal_when_done(SIGINT);
	assert_int_equal(execute("query-uuid"), -1);
	error_is(EINTR, "QMP query-uuid: interrupted by a signal");
	assert_int_equal(kat_loop_take_signal(&loop), SIGINT);
	assert_int_equal(execute_within("query-name", NO_DEADLINE, &reply), 0);
	assert_string_equal(kat_json_string(reply, "name"), "vm");
	fake_is_content();
	wait(NULL);
}

static void test_a_signal_ends_the_wait_for_an_event(void **state)
{
	struct kat_qmp_event *event;
	char resume[] = "RESUME";

	(void)state;
	open_fake("greet; await go; event RESUME; closed");
	signal_later(SIGHUP, 50);
	assert_int_equal(kat_qmp_wait_match(qmp, is_named, resume,
					    kat_deadline_ms(NO_DEADLINE), &event, &err),
			 -1);
	error_has(EINTR, "interrupted by a signal");
	assert_null(event);
	assert_int_equal(kat_loop_take_signal(&loop), SIGHUP);
	let("go");
	/* it was taken, and the next wait is a whole one */
	assert_int_equal(kat_qmp_wait_match(qmp, is_named, resume,
					    kat_deadline_ms(NO_DEADLINE), &event, &err),
			 1);
	kat_qmp_event_free(&event);
	kat_qmp_close(&qmp);
	fake_is_content();
	wait(NULL);
}

static void test_a_signal_while_opening(void **state)
{
	char message[128];

	(void)state;
	start_fake("accept; touch done; closed");
	signal_when_done(SIGTERM);
	assert_int_equal(open_within(NO_DEADLINE), -1);
	sprintf(message, "QMP socket %s: interrupted by a signal", path);
	error_is(EINTR, message);
	assert_null(qmp);
	fake_is_content();
	wait(NULL);
}

static void test_a_signal_while_writing(void **state)
{
	(void)state;
	open_fake("greet; expect human-monitor-command; reply\n"
		  "expect query-uuid; reply");
	stop_fake();
	signal_when_full(getpid(), SIGTERM, 0);
	assert_int_equal(send_big(NO_DEADLINE), -1);
	error_is(EINTR, "QMP human-monitor-command: interrupted by a signal");
	kat_loop_take_signal(&loop);
	kill(server, SIGCONT);
	assert_int_equal(execute("query-uuid"), 0);
	fake_is_content();
	wait(NULL);
}

/* --- bounds --- */

static void test_a_talking_peer_does_not_hold_us(void **state)
{
	(void)state;
	open_fake("greet; expect query-name; reply\n"
		  "send \"{\\\"return\\\": {}, \\\"id\\\": 1}\\r\\n\" 100000000");
	assert_int_equal(execute("query-name"), 0);
	started_ns = kat_now_ns();
	assert_int_equal(kat_qmp_wait(qmp, kat_deadline_ms(100), &err), 0);
	assert_in_range(elapsed_ms(), 100, SOON);
	assert_int_equal(execute_within("query-uuid", 100, NULL), -1);
	error_has(ETIMEDOUT, "QMP query-uuid: ");
}

static void test_a_line_has_a_bound(void **state)
{
	cleanup_json struct json_object *reply = NULL;
	char script[512];

	(void)state;
	sprintf(script,
		"greet; expect query-name; send \"{\\\"event\\\": \\\"BIG\\\", "
		"\\\"x\\\": "
		"\\\"\"\nsend \"0123456789abcdef\" %u; send \"\\\"}\\r\\n\"; reply\n"
		"expect query-name; send \"{\\\"event\\\": \\\"BIG\\\", \\\"x\\\": "
		"\\\"\"\n"
		"send \"0123456789abcdef\" %u; send \"\\\"}\\r\\n\"; closed",
		KAT_QMP_LINE_MAX / 16 - 10, KAT_QMP_LINE_MAX / 16 + 10000);
	open_fake(script);
	assert_int_equal(execute_within("query-name", NO_DEADLINE, &reply), 0);
	next_event_is("BIG");
	assert_int_equal(execute("query-name"), -1);
	error_has(EPROTO, "a line is longer than 16777216 bytes");
	assert_true(kat_qmp_closed(qmp));
	assert_int_equal(kat_qmp_wait(qmp, kat_deadline_ms(NO_DEADLINE), &err), -1);
	error_has(EPROTO, "a line is longer");
	kat_qmp_close(&qmp);
	fake_is_content();
}

static unsigned int take_all(void)
{
	struct kat_qmp_event *event;
	unsigned int n = 0;

	for (; (event = kat_qmp_take(qmp)); n++)
		kat_qmp_event_free(&event);
	return n;
}

static void test_the_queue_has_a_bound(void **state)
{
	(void)state;
	open_fake("greet; expect query-name\n"
		  "send \"{\\\"event\\\": \\\"STOP\\\"}\\r\\n\" 4000; reply\n"
		  "expect query-name\n"
		  "send \"{\\\"event\\\": \\\"STOP\\\"}\\r\\n\" 4096; reply\n"
		  "expect query-name\n"
		  "send \"{\\\"event\\\": \\\"STOP\\\"}\\r\\n\"; closed");
	assert_int_equal(execute("query-name"), 0);
	assert_int_equal(take_all(), 4000); /* what was read does not count */
	assert_int_equal(execute("query-name"), 0);
	assert_int_equal(execute("query-name"), -1);
	error_has(EPROTO, "more than 4096 events wait to be read");
	assert_int_equal(take_all(), KAT_QMP_EVENTS_MAX);
	kat_qmp_close(&qmp);
	fake_is_content();
}

/* As a mirror or a disk does at each write; what two drives say is two things. */
static void test_what_is_said_again(void **state)
{
	(void)state;
	open_fake("greet; expect query-name\n"
		  "send \"{\\\"event\\\": \\\"BLOCK_JOB_ERROR\\\", \\\"data\\\": "
		  "{\\\"device\\\": \\\"a\\\"}}\\r\\n\" 9000\n"
		  "send \"{\\\"event\\\": \\\"BLOCK_JOB_ERROR\\\", \\\"data\\\": "
		  "{\\\"device\\\": \\\"b\\\"}}\\r\\n\"\n"
		  "send \"{\\\"event\\\": \\\"BLOCK_IO_ERROR\\\", \\\"data\\\": "
		  "{\\\"device\\\": \\\"b\\\"}}\\r\\n\" 9000; reply\n"
		  "expect query-name\n"
		  "send \"{\\\"event\\\": \\\"BLOCK_JOB_ERROR\\\", \\\"data\\\": "
		  "{\\\"device\\\": \\\"a\\\"}}\\r\\n\"; reply");
	assert_int_equal(execute("query-name"), 0);
	assert_int_equal(take_all(), 3);
	assert_int_equal(execute("query-name"), 0); /* it was read, and is new again */
	assert_int_equal(take_all(), 1);
	kat_qmp_close(&qmp);
	fake_is_content();
}

/* What a plugin knows of an event that did not come says more than that it did not. */
static void test_a_plugin_that_waits(void **state)
{
	struct kat_migration migration = {.loop = &loop};
	struct katamaran_ctx ctx = {.migration = &migration};
	const char *json;

	(void)state;
	open_fake("greet; expect query-name\n"
		  "event BLOCK_JOB_ERROR {\"device\": \"a\", \"operation\": \"write\", "
		  "\"action\": \"stop\"}; reply; closed");
	migration.qmp = qmp;
	ctx.deadline_ns = kat_deadline_ms(NO_DEADLINE);
	assert_int_equal(katamaran_qmp(&ctx, "query-name", NULL, NULL), 0);
	ctx.deadline_ns = kat_deadline_ms(10);
	assert_int_equal(
		katamaran_qmp_event(&ctx, "BLOCK_JOB_COMPLETED", "device", "a", NULL),
		-1);
	assert_int_equal(errno, ETIMEDOUT);
	assert_int_equal(
		katamaran_qmp_event(&ctx, "BLOCK_JOB_COMPLETED", "device", "b", NULL),
		-1);
	assert_string_equal(ctx.error, "QEMU did not send the event BLOCK_JOB_COMPLETED "
				       "in time"); /* the first is the reason */
	assert_int_equal(
		katamaran_qmp_event(&ctx, "BLOCK_JOB_ERROR", "device", "a", &json), 0);
	assert_non_null(strstr(json, "\"write\""));
	katamaran_error(&ctx, "its disk has failed");
	katamaran_error(&ctx, "and more");
	assert_string_equal(ctx.error, "its disk has failed: QEMU did not send the event "
				       "BLOCK_JOB_COMPLETED in time");
	kat_qmp_event_free(&ctx.event);
	json_object_put(ctx.reply);
	kat_qmp_close(&qmp);
	fake_is_content();
}

static void check_broken(const char *bytes, const char *part)
{
	char script[512];

	sprintf(script, "greet; expect query-name; event STOP; send %s; closed", bytes);
	open_fake(script);
	assert_int_equal(execute("query-name"), -1);
	error_has(EPROTO, part);
	assert_true(kat_qmp_closed(qmp));
	assert_int_equal(execute("query-uuid"), -1); /* nor is anything sent to it */
	error_has(EPROTO, part);
	next_event_is("STOP");
	kat_qmp_close(&qmp);
	fake_is_content();
}

static void test_garbage_is_an_error(void **state)
{
	(void)state;
	check_broken("\"hello\\r\\n\"", "this is no QMP message: \"hello\"");
	check_broken("\"{\\\"return\\\": {}\\r\\n\"", "no QMP message");
	check_broken("\"{} trailing\\r\\n\"", "no QMP message: \"{} trailing\"");
	check_broken("\"{}\\u0000{}\\r\\n\"", "no QMP message: \"{}.{}\"");
	check_broken("\"[]\\r\\n\"", "no QMP message");
	check_broken("\"{\\\"id\\\": 1}\\r\\n\"", "no QMP message");
	check_broken("\"{\\\"ev\\u0000ent\\\": 1}\\r\\n\"", "no QMP message");
	check_broken("\"\\u0000\\r\\n\"", "no QMP message");
	check_broken("\"{\\\"return\\\": \" 1; send \"[\" 100000; send \"\\r\\n\"",
		     "no QMP message: \"{\"return\": [[[[");
}

static void test_line_ends_and_blank_lines(void **state)
{
	(void)state;
	open_fake("greet; send \"\\r\\n\\n \\t\\r\\n\"; expect query-name\n"
		  "send \"  {\\\"event\\\": \\\"STOP\\\"} \\n\\r\\n\"; reply; closed");
	assert_int_equal(execute("query-name"), 0);
	next_event_is("STOP");
	kat_qmp_close(&qmp);
	fake_is_content();
}

/* --- members of replies --- */

static void test_members_that_may_be_missing(void **state)
{
	cleanup_json struct json_object *object = json_tokener_parse(
		"{\"s\": \"text\", \"i\": 9223372036854775807, \"b\": true, "
		"\"n\": null, \"o\": {\"x\": 1}, \"d\": 1.5}");

	(void)state;
	assert_string_equal(kat_json_string(object, "s"), "text");
	assert_null(kat_json_string(object, "i"));
	assert_null(kat_json_string(object, "none"));
	assert_null(kat_json_string(NULL, "s"));
	assert_true(kat_json_int(object, "i", 0) == INT64_MAX);
	assert_int_equal(kat_json_int(object, "s", -3), -3);
	assert_int_equal(kat_json_int(object, "d", -3), -3);
	assert_int_equal(kat_json_int(NULL, "i", 4), 4);
	assert_true(kat_json_bool(object, "b", false));
	assert_true(kat_json_bool(object, "i", true));
	assert_false(kat_json_bool(object, "none", false));
	assert_int_equal(kat_json_int(kat_json_member(object, "o"), "x", 0), 1);
	assert_null(kat_json_member(object, "n"));
	assert_null(kat_json_member(kat_json_member(object, "s"), "x"));
}

/* --- the real one --- */

static bool in_path(const char *program)
{
	cleanup_free char *folders = strdup(getenv("PATH") ? getenv("PATH") : "");
	char name[PATH_MAX];

	for (char *p = strtok(folders, ":"); p; p = strtok(NULL, ":")) {
		snprintf(name, sizeof(name), "%s/%s", p, program);
		if (access(name, X_OK) == 0)
			return true;
	}
	return false;
}

static void test_real_qemu(void **state)
{
	char monitor[sizeof(path) + 32], stop[] = "STOP", resume[] = "RESUME";
	cleanup_json struct json_object *reply = NULL, *schema = NULL;
	cleanup_event struct kat_qmp_event *event = NULL;

	(void)state;
	if (!in_path(QEMU)) {
		print_message("no %s in PATH\n", QEMU);
		skip();
	}
	/*
	 * Not wait=off: QEMU 7.2 may accept twice if a client comes while it starts,
	 * and then hangs in accept(2) until another client comes.
	 */
	sprintf(monitor, "unix:%s,server=on,wait=on", path);
	spawn((const char *const[]){QEMU, "-M", "none", "-nodefaults", "-display", "none",
				    "-qmp", monitor, NULL});
	/* its socket is there before it listens */
	while (open_within(NO_DEADLINE) < 0 && err->sys_errno == ECONNREFUSED) {
		kat_error_free(&err);
		usleep(1000);
	}
	if (err)
		fail_msg("%s", err->message);
	assert_in_range(kat_qmp_version(qmp), 40000, 999999);
	assert_int_equal(kat_qmp_pid(qmp), server);
	assert_int_equal(execute("migrate-cancel"), -1);
	error_has(EREMOTEIO, "(CommandNotFound)");
	assert_int_equal(execute("query-status"), 0);
	assert_int_equal(execute_within("query-qmp-schema", NO_DEADLINE, &schema), 0);
	assert_true(json_object_array_length(schema) > 500);
	assert_int_equal(execute("stop"), 0);
	assert_int_equal(kat_qmp_wait_match(qmp, is_named, stop,
					    kat_deadline_ms(NO_DEADLINE), &event, &err),
			 1);
	kat_qmp_event_free(&event);
	assert_int_equal(execute_within("query-status", NO_DEADLINE, &reply), 0);
	assert_string_equal(kat_json_string(reply, "status"), "paused");
	assert_false(kat_json_bool(reply, "running", true));
	assert_int_equal(execute("cont"), 0);
	assert_int_equal(kat_qmp_wait_match(qmp, is_named, resume,
					    kat_deadline_ms(NO_DEADLINE), &event, &err),
			 1);
	assert_int_equal(execute("quit"), 0);
	while (kat_qmp_wait(qmp, kat_deadline_ms(NO_DEADLINE), &err) == 1)
		kat_qmp_event_free(&(struct kat_qmp_event *){kat_qmp_take(qmp)});
	error_has(ECONNRESET, "QEMU closed the QMP connection");
	fake_is_content();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_open_negotiates),
		TEST(test_the_socket_is_close_on_exec),
		TEST(test_no_socket),
		TEST(test_nobody_listens),
		TEST(test_no_permission),
		TEST(test_path_too_long),
		TEST(test_busy_monitor),
		TEST(test_accepted_but_not_greeted),
		TEST(test_full_backlog),
		TEST(test_greeting_in_pieces),
		TEST(test_greeting_comes_late),
		TEST(test_greeting_is_no_reply),
		TEST(test_greeting_of_something_else),
		TEST(test_closed_before_the_greeting),
		TEST(test_capabilities_refused),
		TEST(test_replies_and_arguments),
		TEST(test_errors_carry_description_and_class),
		TEST(test_the_fake_knows_qemu),
		TEST(test_no_reply_in_time),
		TEST(test_late_reply_is_dropped),
		TEST(test_late_reply_between_commands),
		TEST(test_replies_with_unknown_ids_are_dropped),
		TEST(test_error_without_id),
		TEST(test_partial_line_survives_a_timeout),
		TEST(test_a_write_that_blocks),
		TEST(test_a_write_past_the_deadline),
		TEST(test_a_write_that_never_began),
		TEST(test_events_between_replies_keep_their_order),
		TEST(test_matching_leaves_the_others),
		TEST(test_unread_events_go_with_the_connection),
		TEST(test_wait_match),
		TEST(test_a_passed_deadline_still_takes_what_is_there),
		TEST(test_events_before_the_end_are_delivered),
		TEST(test_the_end_while_a_reply_is_awaited),
		TEST(test_the_end_before_a_command),
		TEST(test_a_pending_signal_sends_nothing),
		TEST(test_a_signal_ends_the_wait_for_a_reply),
		TEST(test_a_signal_ends_the_wait_for_an_event),
		TEST(test_a_signal_while_opening),
		TEST(test_a_signal_while_writing),
		TEST(test_a_talking_peer_does_not_hold_us),
		TEST(test_a_line_has_a_bound),
		TEST(test_the_queue_has_a_bound),
		TEST(test_what_is_said_again),
		TEST(test_a_plugin_that_waits),
		TEST(test_garbage_is_an_error),
		TEST(test_line_ends_and_blank_lines),
		TEST(test_members_that_may_be_missing),
		TEST(test_real_qemu),
	};

	return cmocka_run_group_tests_name("qmp", tests, NULL, NULL);
}
