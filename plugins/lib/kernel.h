/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * kernel.h - what the running kernel can do and what this process may, found
 * out without trying: to try would load a module, and that of ipip puts a
 * device into every network namespace.
 */
#ifndef KAT_KERNEL_H
#define KAT_KERNEL_H

#include <stdbool.h>

enum kat_kernel {
	KAT_KERNEL_HAS,	    /* built in, or loaded */
	KAT_KERNEL_LOADS,   /* its file is there: the kernel loads it when asked */
	KAT_KERNEL_LACKS,   /* neither */
	KAT_KERNEL_UNKNOWN, /* the modules' folder cannot be seen from here */
};

/*
 * Of a module, by its name with underscores.  `symbol` is one that its code has
 * in /proc/kallsyms wherever it is.  Reads files.
 */
enum kat_kernel kat_kernel_module(const char *module, const char *symbol);

/* The same from files below `root` ("" is this system), for `release`; for tests. */
enum kat_kernel kat_kernel_module_in(const char *root, const char *release,
				     const char *module, const char *symbol);

/* Whether the process has the capability (CAP_, number) in effect; yes on doubt. */
bool kat_kernel_may(int capability);

#endif /* KAT_KERNEL_H */
