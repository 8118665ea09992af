/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Feeds descriptions to what makes a QEMU match: whatever they say, the options
 * stay the ones that they were, and with them every file that one of them names.
 */
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "qemu/matching.h"
#include "util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const before[] = {
	"/usr/bin/qemu",
	"-name",
	"sandbox-a",
	"-machine",
	"q35,kernel=/k",
	"-m",
	"1G",
	"-object",
	"memory-backend-file,id=ram,size=1G,mem-path=/dev/shm",
	"-chardev",
	"socket,id=c,path=/run/x.sock",
	"-device",
	"virtio-net-pci,id=n,netdev=t",
	"-device",
	"virtconsole,chardev=c,romfile=/rom",
	"-uuid",
	"u",
};

/* Which values the description may change; the others stay to the byte. */
static bool may_change(size_t at)
{
	static const char *const options[] = {"-machine", "-m",	     "-object",
					      "-chardev", "-device", "-uuid"};

	for (size_t i = 0; at && i < KAT_ARRAY_SIZE(options); i++) {
		if (strcmp(before[at - 1], options[i]) == 0)
			return true;
	}
	return false;
}

static size_t slashes(const char *text)
{
	size_t n = 0;

	for (; (text = strchr(text, '/')); text++)
		n++;
	return n;
}

static void check(const struct kat_arguments *a)
{
	static const char *const added[] = {"-cpu", "-smp", "-incoming"};

	for (size_t i = 0; i < KAT_ARRAY_SIZE(before); i++) {
		if (slashes(a->word[i]) != slashes(before[i]) ||
		    (!may_change(i) && strcmp(a->word[i], before[i]) != 0))
			abort();
	}
	for (size_t i = KAT_ARRAY_SIZE(before); i < a->n; i += 2) {
		bool known = false;

		for (size_t n = 0; n < KAT_ARRAY_SIZE(added); n++)
			known = known || strcmp(a->word[i], added[n]) == 0;
		if (!known || i + 1 == a->n || strchr(a->word[i + 1], '/') ||
		    *a->word[i + 1] == '-')
			abort();
	}
	if (!strstr(a->word[8], "mem-path=/dev/shm") ||
	    !strstr(a->word[10], "path=/run/x.sock") ||
	    !strstr(a->word[12], "netdev=t") || !strstr(a->word[14], "romfile=/rom"))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup_free char *text = calloc(size + 1, 1);
	cleanup_arguments struct kat_arguments a = {.n = 0};
	cleanup_json struct json_object *machine = NULL;

	if (!text)
		abort();
	memcpy(text, data, size);
	machine = kat_machine_parse(text, NULL);
	if (!machine)
		return 0;
	for (size_t i = 0; i < KAT_ARRAY_SIZE(before); i++)
		kat_arguments_add(&a, before[i]);
	if (kat_matching_apply(&a, machine, NULL) == 0)
		check(&a);
	return 0;
}
