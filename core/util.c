/* SPDX-License-Identifier: BSD-2-Clause */
#include <string.h>
#include <sys/stat.h>

#include "util.h"

char *kat_strdup(const char *text)
{
	char *copy = strdup(text);

	if (!copy)
		abort(); /* a few bytes: nothing sensible is left to do */
	return copy;
}

char *kat_vformat(const char *fmt, va_list ap)
{
	char *text;

	if (vasprintf(&text, fmt, ap) < 0)
		abort();
	return text;
}

char *kat_format(const char *fmt, ...)
{
	char *text;
	va_list ap;

	va_start(ap, fmt);
	text = kat_vformat(fmt, ap);
	va_end(ap);
	return text;
}

void *kat_grow(void *array, size_t count, size_t size)
{
	array = reallocarray(array, count, size);
	if (!array)
		abort();
	memset((char *)array + (count - 1) * size, 0, size);
	return array;
}

uint64_t kat_pid_namespace(void)
{
	struct stat st;

	return stat("/proc/self/ns/pid", &st) < 0 ? 0 : st.st_ino;
}
