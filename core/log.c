/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "log.h"

#define LINE_MAX_BYTES 1024
#define HELD_BYTES     65536 /* some hundred lines: a blackout makes ten */

static enum kat_level threshold = KAT_INFO;
static bool held;
static char held_text[HELD_BYTES];
static size_t held_len;
static unsigned int held_lost;

void kat_log_level(enum kat_level level)
{
	threshold = level;
}

static void write_all(const char *text, size_t len)
{
	while (len) {
		ssize_t n = write(STDERR_FILENO, text, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return; /* nobody listens: the migration matters more */
		text += n;
		len -= (size_t)n;
	}
}

static void emit(const char *line, size_t len)
{
	if (!held) {
		write_all(line, len);
	} else if (len > sizeof(held_text) - held_len) {
		held_lost++;
	} else {
		memcpy(held_text + held_len, line, len);
		held_len += len;
	}
}

static size_t put_time(char *line, size_t size)
{
	struct timeval tv;
	struct tm tm;
	size_t len;

	gettimeofday(&tv, NULL);
	localtime_r(&tv.tv_sec, &tm);
	len = strftime(line, size, "%Y/%m/%d %H:%M:%S", &tm);
	return len +
	       (size_t)snprintf(line + len, size - len, ".%06ld ", (long)tv.tv_usec);
}

void kat_vlog(enum kat_level level, const char *prefix, const char *fmt, va_list ap)
{
	int saved = errno;
	char line[LINE_MAX_BYTES];
	size_t len;
	int n;

	if (level > threshold)
		return;
	len = put_time(line, sizeof(line));
	if (level <= KAT_WARNING)
		len += (size_t)sprintf(line + len, "%s",
				       level <= KAT_ERROR ? "error: " : "warning: ");
	if (prefix)
		len += (size_t)snprintf(line + len, 128, "%.64s: ", prefix);
	errno = saved; /* for %m */
	n = vsnprintf(line + len, sizeof(line) - len, fmt, ap);
	if (n > 0)
		len += (size_t)n;
	if (len > sizeof(line) - 1)
		len = sizeof(line) - 1; /* cut, but still one line */
	line[len++] = '\n';
	emit(line, len);
	errno = saved;
}

void kat_log(enum kat_level level, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	kat_vlog(level, NULL, fmt, ap);
	va_end(ap);
}

void kat_log_hold(void)
{
	held = true;
}

void kat_log_release(void)
{
	held = false;
	write_all(held_text, held_len);
	held_len = 0;
	if (held_lost)
		kat_log(KAT_WARNING,
			"%u log lines of the blackout did not fit and are lost",
			held_lost);
	held_lost = 0;
}
