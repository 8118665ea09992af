/* SPDX-License-Identifier: BSD-2-Clause */
/* What a kernel has, told by the files that it would have. */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "plugins/lib/kernel.h"

#define MODULES "/lib/modules/6.1/"

static char root[] = "/tmp/kat-kernel-XXXXXX";

/* A file below the root with this text, and the folders that it is in. */
static void put(const char *path, const char *text)
{
	char whole[PATH_MAX];
	FILE *file;

	snprintf(whole, sizeof(whole), "%s%s", root, path);
	for (char *c = whole + strlen(root) + 1; (c = strchr(c, '/')); c++) {
		*c = '\0';
		mkdir(whole, 0700);
		*c = '/';
	}
	file = fopen(whole, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void drop(const char *path)
{
	char whole[PATH_MAX];

	snprintf(whole, sizeof(whole), "%s%s", root, path);
	assert_int_equal(unlink(whole), 0);
}

static enum kat_kernel ask(const char *module, const char *symbol)
{
	return kat_kernel_module_in(root, "6.1", module, symbol);
}

static int set_up(void **state)
{
	(void)state;
	strcpy(strrchr(root, '-') + 1, "XXXXXX");
	return mkdtemp(root) ? 0 : -1;
}

static int tear_down(void **state)
{
	static const char *const files[] = {
		"/proc/modules",       "/proc/kallsyms", MODULES "modules.builtin",
		MODULES "modules.dep", "/proc",		 MODULES,
		"/lib/modules",	       "/lib",		 "/sys/module/ipip",
		"/sys/module",	       "/sys",		 ""};

	(void)state;
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		char whole[PATH_MAX];

		snprintf(whole, sizeof(whole), "%s%s", root, files[i]);
		remove(whole);
	}
	return 0;
}

static void test_nothing_is_there(void **state)
{
	(void)state;
	assert_int_equal(ask("ipip", "ipip_newlink"), KAT_KERNEL_LACKS);
}

static void test_loaded(void **state)
{
	(void)state;
	put("/proc/modules", "ipip_more 1 0 - Live 0x0\nip_gre 16384 0 - Live 0x0\n");
	put(MODULES "modules.dep", "");
	assert_int_equal(ask("ip_gre", "x"), KAT_KERNEL_HAS);
	assert_int_equal(ask("ipip", "x"), KAT_KERNEL_LACKS);
	put("/sys/module/ipip/version", "");
	drop("/sys/module/ipip/version");
	assert_int_equal(ask("ipip", "x"), KAT_KERNEL_HAS);
}

/* Hyphens of file names, compression, and what only others depend on. */
static void test_can_be_loaded(void **state)
{
	(void)state;
	put("/proc/modules", "");
	put(MODULES "modules.builtin", "kernel/net/ipv4/ipip.ko\n");
	put(MODULES "modules.dep",
	    "kernel/net/ipv4/ip-gre.ko.xz: kernel/net/gre.ko.xz\n");
	assert_int_equal(ask("ipip", "x"), KAT_KERNEL_HAS);
	assert_int_equal(ask("ip_gre", "x"), KAT_KERNEL_LOADS);
	assert_int_equal(ask("gre", "x"), KAT_KERNEL_LACKS);
}

/* In a container the modules' folder may be another's, or none. */
static void test_cannot_be_told(void **state)
{
	(void)state;
	put("/proc/modules", "");
	assert_int_equal(ask("ipip", "x"), KAT_KERNEL_UNKNOWN);
}

static void test_built_in_without_a_trace(void **state)
{
	(void)state;
	put("/proc/kallsyms", "0000000000000000 t plug_enqueue_more\n"
			      "0000000000000000 t ipip_newlink.cold\n"
			      "0000000000000000 t ipgre_newlink\t[ip_gre]\n");
	assert_int_equal(ask("sch_plug", "plug_enqueue"), KAT_KERNEL_LACKS);
	assert_int_equal(ask("ipip", "ipip_newlink"), KAT_KERNEL_HAS);
	assert_int_equal(ask("ip_gre", "ipgre_newlink"), KAT_KERNEL_HAS);
}

int main(void)
{
#define IN_ROOT(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		IN_ROOT(test_nothing_is_there),
		IN_ROOT(test_loaded),
		IN_ROOT(test_can_be_loaded),
		IN_ROOT(test_cannot_be_told),
		IN_ROOT(test_built_in_without_a_trace),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
