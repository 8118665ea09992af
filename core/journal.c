/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "journal.h"
#include "util.h"

#define PROGRESS_NS KAT_NS_PER_S

int kat_journal_folder(const char *dir, bool make)
{
	struct stat st;
	int fd;

	if (make && mkdir(dir, 0700) < 0 && errno != EEXIST)
		return -1;
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -1;
	if (st.st_uid == geteuid() && !(st.st_mode & (S_IWGRP | S_IWOTH)))
		return fd;
	close(fd);
	errno = EPERM;
	return -1;
}

/* Its state ("Z" of one that waits to be reaped) and start; false: not to be read. */
static bool read_process(pid_t pid, char *state, uint64_t *start)
{
	cleanup_fclose FILE *f = NULL;
	char path[32], line[1024];
	unsigned long long ticks;
	const char *at;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	if (!f || !fgets(line, sizeof(line), f))
		return false;
	at = strrchr(line, ')'); /* the name in front may have anything in it */
	if (!at || sscanf(at + 1,
			  " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u"
			  " %*d %*d %*d %*d %*d %*d %llu",
			  state, &ticks) != 2)
		return false;
	*start = ticks;
	return true;
}

uint64_t kat_process_start(pid_t pid)
{
	uint64_t start;
	char state;

	return read_process(pid, &state, &start) ? start : 0;
}

bool kat_process_ended(pid_t pid, uint64_t start)
{
	uint64_t now;
	char state;

	if (pid <= 0 || !start)
		return false;
	if (kill(pid, 0) < 0 && errno == ESRCH)
		return true;
	return read_process(pid, &state, &now) && (state == 'Z' || now != start);
}

/* One write, so that a reader or a kill sees all of a line or a torn last one. */
static int write_line(struct kat_journal *journal, char *line, size_t len)
{
	ssize_t n;

	line[len++] = '\n';
	do
		n = write(journal->fd, line, len);
	while (n < 0 && errno == EINTR);
	if (n == (ssize_t)len)
		return 0;
	if (n >= 0)
		errno = ENOSPC;
	return -1;
}

/*
 * A scanner may come at any moment, and takes a journal without a lock for that
 * of a dead process: it gets its name when it has its lock and first line.
 */
static int make_file(struct kat_journal *journal, const char *id,
		     struct json_object *first)
{
	const char *text = json_object_to_json_string_ext(first, JSON_C_TO_STRING_PLAIN);
	cleanup_free char *line = strdup(text);
	char before[32];

	snprintf(before, sizeof(before), ".%s.new", id);
	snprintf(journal->name, sizeof(journal->name), "%s" KAT_JOURNAL_SUFFIX, id);
	unlinkat(journal->dir, before, 0);
	journal->fd = openat(
		journal->dir, before,
		O_RDWR | O_CREAT | O_EXCL | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (!line || journal->fd < 0 || flock(journal->fd, LOCK_EX | LOCK_NB) < 0)
		return -1;
	/* The first line may be long, and its NUL becomes the newline. */
	if (write_line(journal, line, strlen(line)) < 0 ||
	    renameat(journal->dir, before, journal->dir, journal->name) < 0) {
		int error = errno;

		unlinkat(journal->dir, before, 0);
		errno = error;
		return -1;
	}
	return 0;
}

int kat_journal_start(struct kat_journal *journal, const char *dir, const char *id,
		      struct json_object *first, struct kat_error **err)
{
	int ret = -1;

	*journal = KAT_JOURNAL_NONE;
	journal->dir = kat_journal_folder(dir, true);
	if (journal->dir >= 0)
		ret = make_file(journal, id, first);
	if (ret < 0) {
		kat_error_set(err, KAT_EXIT_FAILED,
			      "cannot keep a journal in %s (-run-dir): %m%s", dir,
			      errno == EPERM ? "; it must be the user's own, and others "
					       "must not write to it"
					     : "");
		kat_journal_end(journal, false);
	}
	json_object_put(first);
	return ret;
}

/* Puts the text into a JSON string without quotes; false if it does not fit. */
static bool put_string(char *line, size_t *len, const char *text)
{
	for (const char *c = text; *c; c++) {
		int n = 1;

		if (*len + 8 > KAT_JOURNAL_LINE)
			return false;
		if (*c == '"' || *c == '\\')
			n = sprintf(line + *len, "\\%c", *c);
		else if ((unsigned char)*c < ' ')
			n = sprintf(line + *len, "\\u%04x", (unsigned char)*c);
		else
			line[*len] = *c;
		*len += (size_t)n;
	}
	return true;
}

static int finish(struct kat_journal *journal, char *line, size_t len, const char *end)
{
	size_t more = strlen(end);

	if (len + more + 2 > KAT_JOURNAL_LINE) {
		errno = E2BIG;
		return -1;
	}
	memcpy(line + len, end, more);
	return write_line(journal, line, len + more);
}

int kat_journal_record(struct kat_journal *journal, const char *plugin, size_t step,
		       const char *text)
{
	char line[KAT_JOURNAL_LINE];
	size_t len;

	if (!journal || journal->fd < 0)
		return 0;
	len = (size_t)snprintf(line, sizeof(line),
			       "{\"plugin\":\"%.64s\",\"step\":%zu,\"record\":\"", plugin,
			       step);
	if (!put_string(line, &len, text)) {
		errno = E2BIG;
		return -1;
	}
	return finish(journal, line, len, "\"}");
}

int kat_journal_line(struct kat_journal *journal, const char *fmt, ...)
{
	char line[KAT_JOURNAL_LINE];
	va_list ap;
	int len;

	if (!journal || journal->fd < 0)
		return 0;
	va_start(ap, fmt);
	len = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (len < 0 || (size_t)len >= sizeof(line)) {
		errno = E2BIG;
		return -1;
	}
	return finish(journal, line, (size_t)len, "");
}

int kat_journal_phase(struct kat_journal *journal, const char *phase)
{
	return kat_journal_line(journal, "{\"phase\":\"%s\"}", phase);
}

void kat_journal_progress(struct kat_journal *journal, uint64_t done, uint64_t total,
			  const char *unit, int64_t pass)
{
	int64_t now = kat_now_ns();

	if (!journal || now - journal->progress_ns < PROGRESS_NS)
		return;
	journal->progress_ns = now;
	kat_journal_line(journal,
			 "{\"progress\":[%" PRIu64 ",%" PRIu64 "],\"unit\":\"%.16s\","
			 "\"pass\":%" PRId64 "}",
			 done, total, unit, pass);
}

void kat_journal_end(struct kat_journal *journal, bool clean)
{
	if (clean && journal->fd >= 0)
		unlinkat(journal->dir, journal->name, 0);
	if (journal->fd >= 0)
		close(journal->fd);
	if (journal->dir >= 0)
		close(journal->dir);
	*journal = KAT_JOURNAL_NONE;
}
