/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "error.h"
#include "util.h"

int kat_error_set(struct kat_error **err, enum kat_exit exit_code, const char *fmt, ...)
{
	int saved = errno;
	va_list ap;

	struct kat_error *made;

	if (!err)
		return -1;
	made = calloc(1, sizeof(*made));
	if (!made)
		abort(); /* a small allocation: nothing sensible is left to do */
	made->exit_code = exit_code;
	made->sys_errno = saved;
	errno = saved; /* for %m */
	va_start(ap, fmt);
	made->message = kat_vformat(fmt, ap);
	va_end(ap);
	/* The newer one is true; its words may be made of the older one's. */
	kat_error_free(err);
	*err = made;
	errno = saved;
	return -1;
}

int kat_error_wrap(struct kat_error **err, const char *fmt, ...)
{
	cleanup_free char *context = NULL;
	char *message;
	va_list ap;

	if (!err || !*err)
		return -1;
	va_start(ap, fmt);
	context = kat_vformat(fmt, ap);
	va_end(ap);
	message = kat_format("%s: %s", context, (*err)->message);
	free((*err)->message);
	(*err)->message = message;
	return -1;
}

void kat_error_free(struct kat_error **err)
{
	if (!err || !*err)
		return;
	free((*err)->message);
	free(*err);
	*err = NULL;
}

/* A value from the command line may have newlines in it. */
void kat_error_print(const struct kat_error *err, const char *program)
{
	fprintf(stderr, "%s: ", program);
	for (const char *c = err->message; *c; c++)
		fputc((unsigned char)*c < ' ' || *c == 0x7f ? '?' : *c, stderr);
	fputc('\n', stderr);
}
