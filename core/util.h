/* SPDX-License-Identifier: BSD-2-Clause */
/* Cleanup attributes, small allocations and the monotonic clock: what every room needs.
 */
#ifndef KAT_UTIL_H
#define KAT_UTIL_H

#include <dirent.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define KAT_NS_PER_MS	  1000000LL
#define KAT_NS_PER_S	  1000000000LL

#define KAT_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

static inline void kat_cleanup_free(void *p)
{
	free(*(void **)p);
}

static inline void kat_cleanup_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void kat_cleanup_fclose(FILE **f)
{
	if (*f)
		fclose(*f);
}

static inline void kat_cleanup_closedir(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

#define cleanup_free   __attribute__((__cleanup__(kat_cleanup_free)))
#define cleanup_close  __attribute__((__cleanup__(kat_cleanup_close)))
#define cleanup_fclose __attribute__((__cleanup__(kat_cleanup_fclose)))
#define cleanup_dir    __attribute__((__cleanup__(kat_cleanup_closedir)))

/* Allocations of some bytes, which succeed or end the program. */
char *kat_strdup(const char *text);
char *kat_format(const char *fmt, ...) __attribute__((__format__(__printf__, 1, 2)));
char *kat_vformat(const char *fmt, va_list ap)
	__attribute__((__format__(__printf__, 1, 0)));
void *kat_grow(void *array, size_t count, size_t size); /* count: with the new one */

/* CLOCK_MONOTONIC in nanoseconds: the clock of every deadline. */
static inline int64_t kat_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * KAT_NS_PER_S + ts.tv_nsec;
}

static inline int64_t kat_deadline_ms(int64_t ms)
{
	return kat_now_ns() + ms * KAT_NS_PER_MS;
}

/* The inode of this process's pid namespace, which pids are told in; 0: not known. */
uint64_t kat_pid_namespace(void);

#endif /* KAT_UTIL_H */
