/* SPDX-License-Identifier: BSD-2-Clause */
/* The arguments of two Kata Containers sandboxes, and descriptions by somebody who means
 * ill. */
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

#include "json.h"
#include "qemu/matching.h"
#include "util.h"

/* What differs from one sandbox to the next, and from one node to the next. */
struct kata {
	const char *id, *uuid, *cid, *chardev, *mac, *maxcpus, *maxmem, *vhostfd, *fds,
		*image, *mapped;
};

static const struct kata source = {
	.id = "7f3a9c01d5e2",
	.uuid = "9c8f0d5e-1c2d-4e3f-8a9b-0c1d2e3f4a5b",
	.cid = "2515424233",
	.chardev = "char-9a2d7f0e2b5a1c3f",
	.mac = "a6:1f:22:33:44:55",
	.maxcpus = "8",
	.maxmem = "32897M",
	.vhostfd = "4",
	.fds = "6",
	.image = "/opt/kata/share/kata-containers/kata-ubuntu-latest.image",
	.mapped = "readonly=on",
};

static const struct kata destination = {
	.id = "c0ffee00aa11",
	.uuid = "11111111-2222-4333-8444-555555555555",
	.cid = "77",
	.chardev = "char-0000111122223333",
	.mac = "02:00:00:00:00:02",
	.maxcpus = "16",
	.maxmem = "65665M",
	.vhostfd = "9",
	.fds = "11",
	.image = "/usr/share/kata/image,,2.img",
	.mapped = "readonly=on",
};

/* The destination's, as a guest can arrive in it: the image's mapping takes what comes.
 */
static const struct kata arrival = {
	.id = "c0ffee00aa11",
	.vhostfd = "9",
	.fds = "11",
	.image = "/usr/share/kata/image,,2.img",
	.mapped = "readonly=off,share=off",
};

static void add(struct kat_arguments *a, const char *fmt, ...)
	__attribute__((__format__(__printf__, 2, 3)));

static void add(struct kat_arguments *a, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	kat_arguments_add(a, text);
}

static void add_two(struct kat_arguments *a, const char *one, const char *two)
{
	kat_arguments_add(a, one);
	kat_arguments_add(a, two);
}

/* As Kata Containers 3 with QEMU: `who` is what the state has, `here` the node's own. */
static void kata(struct kat_arguments *a, const struct kata *who, const struct kata *here)
{
	kat_arguments_add(a, "/opt/kata/bin/qemu-system-x86_64");
	add_two(a, "-name", "");
	kat_arguments_set(a, a->n - 1, here->id);
	add_two(a, "-uuid", who->uuid);
	add_two(a, "-machine", "q35,accel=kvm,nvdimm=on");
	add_two(a, "-cpu", "host,pmu=off");
	kat_arguments_add(a, "-qmp");
	add(a, "unix:path=/run/vc/vm/%s/qmp.sock,server=on,wait=off", here->id);
	kat_arguments_add(a, "-m");
	add(a, "2048M,slots=10,maxmem=%s", who->maxmem);
	add_two(a, "-device",
		"pci-bridge,bus=pcie.0,id=pci-bridge-0,chassis_nr=1,shpc=off,"
		"addr=2,io-reserve=4k,mem-reserve=1m,pref64-reserve=1m");
	add_two(a, "-device", "virtio-serial-pci,disable-modern=false,id=serial0");
	add_two(a, "-device", "virtconsole,chardev=charconsole0,id=console0");
	kat_arguments_add(a, "-chardev");
	add(a,
	    "socket,id=charconsole0,path=/run/vc/vm/%s/console.sock,server=on,wait=off",
	    here->id);
	add_two(a, "-device", "nvdimm,id=nv0,memdev=mem0,unarmed=on");
	kat_arguments_add(a, "-object");
	add(a, "memory-backend-file,id=mem0,mem-path=%s,size=268435456,%s", here->image,
	    here->mapped);
	add_two(a, "-device", "virtio-scsi-pci,id=scsi0,disable-modern=false");
	add_two(a, "-object", "rng-random,id=rng0,filename=/dev/urandom");
	add_two(a, "-device", "virtio-rng-pci,rng=rng0");
	kat_arguments_add(a, "-device");
	add(a, "vhost-vsock-pci,disable-modern=false,vhostfd=%s,id=vsock-%s,guest-cid=%s",
	    here->vhostfd, who->cid, who->cid);
	kat_arguments_add(a, "-chardev");
	add(a, "socket,id=%s,path=/run/vc/vm/%s/vhost-fs.sock", who->chardev, here->id);
	kat_arguments_add(a, "-device");
	add(a, "vhost-user-fs-pci,chardev=%s,tag=kataShared,queue-size=1024",
	    who->chardev);
	kat_arguments_add(a, "-netdev");
	add(a, "tap,id=network-0,vhost=on,vhostfds=5,fds=%s", here->fds);
	kat_arguments_add(a, "-device");
	add(a,
	    "driver=virtio-net-pci,netdev=network-0,mac=%s,disable-modern=false,mq=on,"
	    "vectors=4",
	    who->mac);
	add_two(a, "-rtc", "base=utc,driftfix=slew,clock=host");
	kat_arguments_add(a, "-nographic");
	add_two(a, "-object",
		"memory-backend-file,id=dimm1,size=2048M,mem-path=/dev/shm,share=on");
	add_two(a, "-numa", "node,memdev=dimm1");
	add_two(a, "-append", "tsc=reliable -device agent.log=debug,id=x");
	kat_arguments_add(a, "-smp");
	add(a, "1,cores=1,threads=1,sockets=%s,maxcpus=%s", who->maxcpus, who->maxcpus);
}

static void assert_same(const struct kat_arguments *a, const struct kat_arguments *b)
{
	for (size_t i = 0; i < a->n && i < b->n; i++)
		assert_string_equal(a->word[i], b->word[i]);
	assert_int_equal(a->n, b->n);
	assert_null(a->word[a->n]);
}

static struct json_object *describe(const struct kat_arguments *a)
{
	cleanup_error struct kat_error *err = NULL;
	struct json_object *machine = kat_machine_describe(a, &err);

	if (!machine)
		fail_msg("%s", err->message);
	return machine;
}

/* The destination's becomes the source's, but for what is the node's own. */
static void test_two_sandboxes(void **state)
{
	cleanup_arguments struct kat_arguments there = {.n = 0}, here = {.n = 0};
	cleanup_arguments struct kat_arguments wanted = {.n = 0};
	cleanup_json struct json_object *described = NULL, *machine = NULL;
	cleanup_error struct kat_error *err = NULL;
	const char *text;

	(void)state;
	kata(&there, &source, &source);
	described = describe(&there);
	text = json_object_to_json_string(described);
	assert_null(strchr(text, '/'));
	assert_null(strstr(text, source.id));
	machine = kat_machine_parse(text, &err);
	assert_non_null(machine);

	kata(&here, &destination, &destination);
	assert_int_equal(kat_matching_apply(&here, machine, &err), 0);
	kata(&wanted, &source, &arrival);
	add_two(&wanted, "-incoming", "defer");
	assert_same(&here, &wanted);

	/* A second time there is nothing left to do. */
	assert_int_equal(kat_matching_apply(&here, machine, &err), 0);
	assert_same(&here, &wanted);
}

static void test_one_memory_is_longer(void **state)
{
	cleanup_arguments struct kat_arguments a = {.n = 0};
	cleanup_json struct json_object *machine = NULL;
	cleanup_error struct kat_error *err = NULL;

	(void)state;
	machine = kat_machine_parse(
		"{\"version\":1,\"memory\":\"4G\",\"machine\":\"pc-q35-7.2\","
		"\"memories\":["
		"{\"qom-type\":\"memory-backend-file\",\"id\":\"ram0\",\"size\":"
		"\"4096M\"}],"
		"\"devices\":[{\"driver\":\"virtio-blk-pci\",\"addr\":\"1f.3\"}]}",
		&err);
	assert_non_null(machine);
	kat_arguments_add(&a, "qemu");
	add_two(&a, "-M", "type=q35,accel=kvm,memory-backend=mem");
	add_two(&a, "-m", "2G");
	add_two(&a, "-object",
		"qom-type=memory-backend-file,size=2G,mem-path=/dev/shm,id=mem");
	add_two(&a, "-device", "virtio-blk-pci,drive=d0,id=blk,bus=pcie.0,romfile=");
	add_two(&a, "-incoming", "tcp:[::]:4444");
	assert_int_equal(kat_matching_apply(&a, machine, &err), 0);
	assert_string_equal(a.word[2], "type=pc-q35-7.2,accel=kvm,memory-backend=ram0");
	assert_string_equal(a.word[4], "4G");
	assert_string_equal(
		a.word[6],
		"qom-type=memory-backend-file,size=4096M,mem-path=/dev/shm,id=ram0");
	assert_string_equal(a.word[8], "virtio-blk-pci,drive=d0,romfile=,addr=1f.3");
	assert_string_equal(a.word[10], "tcp:[::]:4444");
	assert_int_equal(a.n, 11);
}

/* A machine that is another one cannot be made to match. */
static void test_others(void **state)
{
	static const struct {
		const char *option, *value, *message;
	} rows[] = {
		{"-device", "virtio-blk-pci,drive=x",
		 "-device number 10 is virtio-blk-pci here, and missing there"},
		{"-object", "memory-backend-ram,id=x,size=1M",
		 "-object number 3 is memory-backend-ram here, and missing there"},
	};
	cleanup_arguments struct kat_arguments there = {.n = 0};
	cleanup_json struct json_object *machine = NULL;

	(void)state;
	kata(&there, &source, &source);
	machine = describe(&there);
	for (size_t i = 0; i < KAT_ARRAY_SIZE(rows); i++) {
		cleanup_arguments struct kat_arguments a = {.n = 0};
		cleanup_error struct kat_error *err = NULL;

		kata(&a, &destination, &destination);
		add_two(&a, rows[i].option, rows[i].value);
		assert_int_equal(kat_matching_apply(&a, machine, &err), -1);
		assert_non_null(strstr(err->message, rows[i].message));
	}
}

static void test_another_image(void **state)
{
	cleanup_arguments struct kat_arguments there = {.n = 0}, here = {.n = 0};
	cleanup_json struct json_object *machine = NULL;
	cleanup_error struct kat_error *err = NULL;
	char *image;
	size_t at;

	(void)state;
	kata(&there, &source, &source);
	machine = describe(&there);
	kata(&here, &destination, &destination);
	at = kat_arguments_find(&here, "object", 0);
	image = strstr(here.word[at], "268435456");
	image[0] = '3';
	assert_int_equal(kat_matching_apply(&here, machine, &err), -1);
	assert_non_null(strstr(err->message, "has 368435456 bytes, and there 268435456"));
}

#define V "{\"version\":1,"

static void test_hostile(void **state)
{
	static const char *const rows[] = {
		"",
		"null",
		"[]",
		"{}",
		"{\"version\":2}",
		"{\"version\":\"1\"}",
		V "\"qemu\":\"/bin/sh\"}",
		V "\"machine\":\"q35,kernel=/etc/shadow\"}",
		V "\"machine\":\"../q35\"}",
		V "\"machine\":\"\"}",
		V "\"machine\":1}",
		V "\"machine\":[\"q35\"]}",
		V "\"cpu\":\"host,,x\"}",
		V "\"cpu\":\"host,a=/x\"}",
		V "\"cpu\":\"host,\"}",
		V "\"cpu\":\"\"}",
		V "\"smp\":\"1,cores=1,file=x\"}",
		V "\"smp\":\"1 -chardev file,id=x,path=/x\"}",
		V "\"smp\":\"cpus=\"}",
		V "\"memory\":\"1G,slots=2,mem-path=/x\"}",
		V "\"memory\":\"1G,,slots=2\"}",
		V "\"memory\":\"-1\"}",
		V "\"uuid\":\"9c8f0d5e-1c2d-4e3f-8a9b-0c1d2e3f4a5b,x\"}",
		V "\"uuid\":\"9c8f0d5e-1c2d-4e3f-8a9b-0c1d2e3f4a5b\\u0000,x=/y\"}",
		V "\"uuid\":\"9c8f0d5e-1c2d-4e3f-8a9b-0c1d2e3f4a5b\\n\"}",
		V "\"devices\":{}}",
		V "\"devices\":[1]}",
		V "\"devices\":[[]]}",
		V "\"devices\":[{\"id\":\"x\"}]}",
		V "\"devices\":[{\"driver\":\"virtio-net-pci\",\"romfile\":\"x\"}]}",
		V "\"devices\":[{\"driver\":\"virtio-net-pci\",\"netdev\":\"x\"}]}",
		V "\"devices\":[{\"driver\":\"virtio-net-pci\",\"vhostfd\":\"3\"}]}",
		V
		"\"devices\":[{\"driver\":\"virtio-net-pci\",\"id\":\"a,romfile=/x\"}]}",
		V "\"devices\":[{\"driver\":\"virtio-net-pci\",\"id\":\"a,,b\"}]}",
		V "\"devices\":[{\"driver\":\"virtio-net-pci\",\"id\":\"a=b\"}]}",
		V "\"devices\":[{\"driver\":\"virtio-net-pci\",\"id\":\"../../x\"}]}",
		V "\"devices\":[{\"driver\":\"virtio-net-pci\",\"id\":\"a\\nb\"}]}",
		V "\"devices\":[{\"driver\":\"virtio-net-pci\",\"addr\":\"2,x\"}]}",
		V "\"devices\":[{\"driver\":\"virtio-net-pci\",\"mac\":\"52:54:00:12:34:"
		  "5,\"}]}",
		V "\"devices\":[{\"driver\":\"virtio-net-pci\",\"mq\":\"on,x=y\"}]}",
		V "\"devices\":[{\"driver\":\"virtio-net-pci\",\"vectors\":\"4,x=y\"}]}",
		V "\"devices\":[{\"driver\":\"virtio-net-pci\",\"id=x,romfile\":\"y\"}]}",
		V "\"devices\":[{\"driver\":{\"a\":\"b\"}}]}",
		V "\"chardevs\":[{\"backend\":\"file\",\"path\":\"/x\"}]}",
		V "\"chardevs\":[{\"backend\":\"socket\",\"file\":\"../x\"}]}",
		V "\"chardevs\":[{\"backend\":\"socket\",\"id\":\"x,path=/y\"}]}",
		V "\"memories\":[{\"qom-type\":\"memory-backend-file\",\"mem-path\":\"/"
		  "x\"}]}",
		V "\"memories\":[{\"qom-type\":\"memory-backend-file\",\"size\":\"1G,"
		  "share=on\"}]}",
		V
		"\"memories\":[{\"qom-type\":\"memory-backend-file\",\"size\":\"1GG\"}]}",
	};

	(void)state;
	for (size_t i = 0; i < KAT_ARRAY_SIZE(rows); i++) {
		cleanup_error struct kat_error *err = NULL;
		cleanup_json struct json_object *machine =
			kat_machine_parse(rows[i], &err);

		if (machine)
			fail_msg("taken: %s", rows[i]);
		assert_non_null(err);
		assert_true(strlen(err->message) < 500);
	}
}

static char *repeat(const char *before, const char *what, size_t times, const char *after)
{
	size_t len = strlen(what);
	char *text = malloc(strlen(before) + len * times + strlen(after) + 1);
	char *end = text + sprintf(text, "%s", before);

	for (size_t i = 0; i < times; i++)
		end += sprintf(end, "%s", what);
	sprintf(end, "%s", after);
	return text;
}

static void test_too_much(void **state)
{
	cleanup_free char *name = repeat(V "\"machine\":\"", "q", 200, "\"}");
	cleanup_free char *cpu = repeat(V "\"cpu\":\"host", ",a", 600, "\"}");
	cleanup_free char *list = repeat(V "\"chardevs\":[", "{\"backend\":\"x\"},", 256,
					 "{\"backend\":\"x\"}]}");
	cleanup_free char *deep = repeat("", "[", 100000, "");
	cleanup_free char *large = repeat(V "\"machine\":\"q\"", " ", 300000, "}");
	const char *const rows[] = {name, cpu, list, deep, large};

	(void)state;
	for (size_t i = 0; i < KAT_ARRAY_SIZE(rows); i++)
		assert_null(kat_machine_parse(rows[i], NULL));
}

/* What is odd in our own QEMU is not passed on. */
static void test_undescribable(void **state)
{
	static const char *const rows[][2] = {
		{"-device", "{\"driver\":\"virtio-net-pci\"}"},
		{"-device", "virtio-net-pci,id=a b"},
		{"-machine", "q35/x"},
		{"-smp", "all"},
	};

	(void)state;
	for (size_t i = 0; i < KAT_ARRAY_SIZE(rows); i++) {
		cleanup_arguments struct kat_arguments a = {.n = 0};
		cleanup_error struct kat_error *err = NULL;

		kat_arguments_add(&a, "qemu");
		add_two(&a, rows[i][0], rows[i][1]);
		assert_null(kat_machine_describe(&a, &err));
		assert_non_null(strstr(err->message, "cannot describe this QEMU"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_two_sandboxes),
		cmocka_unit_test(test_one_memory_is_longer),
		cmocka_unit_test(test_others),
		cmocka_unit_test(test_another_image),
		cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_too_much),
		cmocka_unit_test(test_undescribable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
