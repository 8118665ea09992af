/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Lines on standard error, each with local time and microseconds.
 *
 * A log that blocks (a full pipe, a slow journal) must not lengthen the
 * guest's blackout: between kat_log_hold() and kat_log_release() lines are
 * kept in a fixed buffer with the time at which they were made, without
 * allocation and without a write.
 */
#ifndef KAT_LOG_H
#define KAT_LOG_H

#include <stdarg.h>

/* The levels are those of syslog(3): LOG_ERR 3, LOG_WARNING 4, LOG_INFO 6, LOG_DEBUG 7.
 */
enum kat_level {
	KAT_ERROR = 3,
	KAT_WARNING = 4,
	KAT_INFO = 6,
	KAT_DEBUG = 7,
};

/* Lines above this level are dropped; KAT_INFO at the start. */
void kat_log_level(enum kat_level level);

/* One line; "error: " and "warning: " are put in front by level.  Keeps errno. */
void kat_log(enum kat_level level, const char *fmt, ...)
	__attribute__((__format__(__printf__, 2, 3)));
void kat_vlog(enum kat_level level, const char *prefix, const char *fmt, va_list ap)
	__attribute__((__format__(__printf__, 3, 0)));

void kat_log_hold(void);
void kat_log_release(void);

#endif /* KAT_LOG_H */
