/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Errors are made once, where they happen, with object, act and %m; wrapped
 * with context on the way up; printed once, by main.
 *
 * A function that can fail takes `struct kat_error **err` last and returns a
 * negative value (or NULL) when it has stored one there.  `*err` is NULL
 * before.  `err` itself may be NULL for a caller who does not want to know.
 */
#ifndef KAT_ERROR_H
#define KAT_ERROR_H

/* The program's exit codes, see katamaran(8). */
enum kat_exit {
	KAT_EXIT_OK = 0,       /* the guest runs on the destination */
	KAT_EXIT_FAILED = 1,   /* it did not move, and runs where it ran */
	KAT_EXIT_USAGE = 2,    /* command line or configuration */
	KAT_EXIT_HUMAN = 3,    /* somebody must look */
	KAT_EXIT_SIGNAL = 130, /* stopped by a signal; the guest did not move */
};

struct kat_error {
	enum kat_exit exit_code;
	int sys_errno; /* errno where it happened; 0: none */
	char *message;
};

/* Makes an error; %m is the errno at the call.  Always -1; keeps errno. */
int kat_error_set(struct kat_error **err, enum kat_exit exit_code, const char *fmt, ...)
	__attribute__((__format__(__printf__, 3, 4)));

/* Puts "context: " in front of an error that exists.  Always -1. */
int kat_error_wrap(struct kat_error **err, const char *fmt, ...)
	__attribute__((__format__(__printf__, 2, 3)));

/* One line on standard error, "program: message", whatever is in the message. */
void kat_error_print(const struct kat_error *err, const char *program);

void kat_error_free(struct kat_error **err);

/* An error that its owner lets go when it leaves the scope. */
#define cleanup_error __attribute__((__cleanup__(kat_error_free)))

#endif /* KAT_ERROR_H */
