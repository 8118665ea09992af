/* SPDX-License-Identifier: BSD-2-Clause */
/* What the checks make of the answers of two QEMUs, and how findings cross the link. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>
#include <json-c/json.h>

#define KATAMARAN_API_VERSION 1
#include "check_node.h"
#include "check_qemu.h"
#include "katamaran-plugin.h"

/* As QEMU 7.2 prints it, shortened; the guest of the second has set its BARs. */
#define MICROVM(address)                                                                 \
	"bus: main-system-bus\r\n"                                                       \
	"  type System\r\n"                                                              \
	"  dev: virtio-mmio, id \"\"\r\n"                                                \
	"    gpio-out \"sysbus-irq\" 1\r\n"                                              \
	"    mmio " address "/0000000000000200\r\n"                                      \
	"    bus: virtio-mmio-bus.23\r\n"                                                \
	"      type virtio-mmio-bus\r\n"                                                 \
	"      dev: virtio-net-device, id \"\"\r\n"                                      \
	"        mac = \"52:54:00:12:34:56\"\r\n"                                        \
	"  dev: kvmvapic, id \"\"\r\n"
#define Q35(id, slot, mapped)                                                            \
	"bus: main-system-bus\r\n"                                                       \
	"  dev: q35-pcihost, id \"\"\r\n"                                                \
	"    MCFG = 2952790016 (0xb0000000)\r\n"                                         \
	"    mmio " mapped "/0000000010000000\r\n"                                       \
	"    bus: pcie.0\r\n"                                                            \
	"      type PCIE\r\n"                                                            \
	"      dev: virtio-net-pci, id \"" id "\"\r\n"                                   \
	"        addr = " slot "\r\n"                                                    \
	"        class Ethernet controller, addr 00:02.0, pci id 1af4:1000\r\n"          \
	"        bus: virtio-bus\r\n"                                                    \
	"          type virtio-pci-bus\r\n"                                              \
	"          dev: virtio-net-device, id \"\"\r\n"                                  \
	"      dev: mch, id \"\"\r\n"                                                    \
	"        addr = 00.0\r\n"

static const char *device(struct json_object *devices, size_t i)
{
	return json_object_get_string(json_object_array_get_idx(devices, i));
}

static void test_devices(void **state)
{
	struct json_object *devices = kat_check_devices(MICROVM("00000000feb02e00"));

	(void)state;
	assert_int_equal(json_object_array_length(devices), 3);
	assert_string_equal(device(devices, 0), "/kvmvapic");
	assert_string_equal(device(devices, 1), "/virtio-mmio@00000000feb02e00");
	assert_string_equal(device(devices, 2),
			    "/virtio-mmio@00000000feb02e00/virtio-net-device");
	json_object_put(devices);
}

/* What the user called it, and where the guest's firmware has mapped it, is no matter. */
static void test_devices_are_normalised(void **state)
{
	struct json_object *a = kat_check_devices(Q35("net0", "02.0", "b0000000"));
	struct json_object *b = kat_check_devices(Q35("", "02.0", "ffffffffffffffff"));

	(void)state;
	assert_int_equal(json_object_array_length(a), 4);
	assert_string_equal(device(a, 2), "/q35-pcihost/virtio-net-pci@02.0");
	assert_string_equal(json_object_to_json_string(a), json_object_to_json_string(b));
	json_object_put(a);
	json_object_put(b);
}

/* No text is too much, nor too deep. */
static void test_devices_of_nonsense(void **state)
{
	static char text[200000];
	struct json_object *devices;
	size_t used = 0;

	(void)state;
	for (int i = 0; i < 100; i++)
		used += (size_t)snprintf(text + used, sizeof(text) - used,
					 "%*sdev: some-device-with-a-name, id \"\"\n", i,
					 "");
	for (int i = 0; used < sizeof(text) - 100; i++)
		used += (size_t)snprintf(text + used, sizeof(text) - used,
					 "dev: flat%d, id \"\"\naddr = %d\n", i, i);
	devices = kat_check_devices(text);
	assert_true(json_object_array_length(devices) > 1000);
	assert_true(strlen(json_object_to_json_string(devices)) < 60000);
	json_object_put(devices);
	devices = kat_check_devices("addr = 1\n  dev:\ndev: \n\n");
	json_object_put(devices);
}

static struct json_object *facts(const char *devices)
{
	struct json_object *it = json_tokener_parse(
		"{\"version\": 70222, \"machine\": \"pc-q35-7.2-machine\","
		" \"memory\": 1048576, \"processors\": 2, \"capabilities\": [],"
		" \"processor\": \"qemu64-x86_64-cpu\"}");

	json_object_object_add(it, "devices", kat_check_devices(devices));
	return it;
}

/*
 * The finding about `what` when the destination has `value` (JSON) as `member`;
 * NULL: not at all.
 */
static void compare(struct kat_findings *list, const char *member, const char *value)
{
	struct json_object *source = facts(Q35("", "02.0", "0"));
	struct json_object *destination = facts(Q35("", "02.0", "0"));

	if (member)
		json_object_object_del(destination, member);
	if (value)
		json_object_object_add(destination, member, json_tokener_parse(value));
	kat_check_compare(list, source, destination);
	json_object_put(source);
	json_object_put(destination);
}

static const struct kat_finding *about(const struct kat_findings *list, const char *what)
{
	for (const struct kat_finding *f = list->first; f; f = f->next)
		if (!strcmp(f->what, what))
			return f;
	fail_msg("nothing about %s", what);
	return NULL;
}

static void test_alike(void **state)
{
	struct kat_findings list = {0};

	(void)state;
	compare(&list, NULL, NULL);
	assert_int_equal(list.failures + list.warnings, 0);
	assert_string_equal(about(&list, "machine types")->text, "pc-q35-7.2 on both");
	assert_string_equal(about(&list, "devices")->text, "the same 4 on both");
	kat_findings_free(&list);
}

static void test_unlike(void **state)
{
	static const struct {
		const char *member, *value, *what, *text;
		int level;
	} rows[] = {
		{"version", "70100", "QEMU versions", "7.1.0 on the destination",
		 KATAMARAN_WARNING},
		{"version", "100002", "QEMU versions", "10.0.2 on the destination",
		 KATAMARAN_OK},
		{"machine", "\"microvm-machine\"", "machine types",
		 "pc-q35-7.2 on the source, microvm on the destination",
		 KATAMARAN_FAILURE},
		{"memory", "2097152", "memory", "1024 KiB on the source, 2048 KiB",
		 KATAMARAN_FAILURE},
		{"processors", "1", "processors", "2 on the source, 1",
		 KATAMARAN_FAILURE},
		{"processor", "\"max-x86_64-cpu\"", "processors", "same -cpu",
		 KATAMARAN_FAILURE},
		{"processor", NULL, "processors", "2 on both", KATAMARAN_OK},
		{"devices", "[]", "devices", "4 of the source that", KATAMARAN_FAILURE},
		{"devices", NULL, "devices", "the destination's QEMU does not tell",
		 KATAMARAN_WARNING},
		{"capabilities", "[\"xbzrle\"]", "capabilities",
		 "at the destination only: xbzrle", KATAMARAN_WARNING},
	};

	(void)state;
	for (size_t i = 0; i < KAT_ARRAY_SIZE(rows); i++) {
		struct kat_findings list = {0};
		const struct kat_finding *f;

		compare(&list, rows[i].member, rows[i].value);
		f = about(&list, rows[i].what);
		assert_non_null(strstr(f->text, rows[i].text));
		assert_int_equal(f->level, rows[i].level);
		assert_int_equal(list.failures, rows[i].level == KATAMARAN_FAILURE);
		assert_int_equal(list.warnings, rows[i].level == KATAMARAN_WARNING);
		kat_findings_free(&list);
	}
}

/* One too many appears to the guest; one that has moved is missed as well. */
static void test_unlike_devices(void **state)
{
	struct json_object *source = facts(Q35("", "02.0", "0"));
	struct json_object *more =
		facts(Q35("", "02.0", "0") "  dev: ivshmem, id \"\"\r\n");
	struct json_object *moved = facts(Q35("", "03.0", "0"));
	struct kat_findings list = {0};

	(void)state;
	kat_check_compare(&list, source, more);
	assert_int_equal(list.failures, 0);
	assert_int_equal(list.warnings, 1);
	assert_non_null(strstr(about(&list, "devices")->text, "/ivshmem"));
	kat_findings_free(&list);
	kat_check_compare(&list, source, moved);
	assert_int_equal(list.failures, 2);
	assert_non_null(strstr(about(&list, "devices")->text, "virtio-net-pci@02.0"));
	kat_findings_free(&list);
	json_object_put(source);
	json_object_put(more);
	json_object_put(moved);
}

/* What an end does not know is left out, and no line can be broken. */
static void test_findings_cross_the_link(void **state)
{
	struct kat_findings here = {0}, there = {0};
	struct json_object *json;

	(void)state;
	kat_findings_add(&here, KATAMARAN_FAILURE, "destination", "tap",
			 strdup("is\ndown"));
	json = kat_findings_json(&here);
	json_object_array_add(json, json_tokener_parse("{\"level\": 9, \"what\": \"x\","
						       " \"text\": \"y\"}"));
	json_object_array_add(json, json_tokener_parse("{\"level\": 1, \"what\": 5}"));
	kat_findings_read(&there, "destination", json);
	assert_int_equal(there.failures, 1);
	assert_int_equal(there.warnings, 0);
	assert_string_equal(there.first->text, "is down");
	assert_null(there.first->next);
	json_object_put(json);
	kat_findings_free(&here);
	kat_findings_free(&there);
}

/* That of the C library, on a node that was started with ipv6.disable=1. */
int socket(int family, int type, int protocol)
{
	if (family != AF_INET6)
		return (int)syscall(SYS_socket, family, type, protocol);
	errno = EAFNOSUPPORT;
	return -1;
}

static void test_a_node_without_ipv6(void **state)
{
	static char six[] = "::1";
	struct kat_config config = {.role = KATAMARAN_DESTINATION};
	struct kat_end end = KAT_END_EMPTY(&config);

	(void)state;
	end.migration.config = &config; /* port 0: one that is free */
	kat_check_node(&end);
	assert_int_equal(end.migration.findings.failures, 0);
	config.dest_ip = six;
	kat_check_node(&end);
	assert_int_equal(end.migration.findings.failures, 1);
	kat_findings_free(&end.migration.findings);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_devices),
		cmocka_unit_test(test_devices_are_normalised),
		cmocka_unit_test(test_devices_of_nonsense),
		cmocka_unit_test(test_alike),
		cmocka_unit_test(test_unlike),
		cmocka_unit_test(test_unlike_devices),
		cmocka_unit_test(test_findings_cross_the_link),
		cmocka_unit_test(test_a_node_without_ipv6),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
