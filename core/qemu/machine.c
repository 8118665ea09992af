/* SPDX-License-Identifier: BSD-2-Clause */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "json.h"
#include "machine.h"
#include "util.h"

#define DIGITS	"0123456789"
#define HEX	DIGITS "abcdefABCDEF"
#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

const struct kat_machine_list kat_machine_lists[] = {
	[KAT_MACHINE_DEVICES] = {"devices", "device", "driver"},
	[KAT_MACHINE_CHARDEVS] = {"chardevs", "chardev", "backend"},
	[KAT_MACHINE_MEMORIES] = {"memories", "object", "qom-type"},
};

const struct kat_machine_whole kat_machine_wholes[] = {
	{"cpu", "cpu", NULL},	{"smp", "smp", "cpus"}, {"memory", "m", "size"},
	{"uuid", "uuid", NULL}, {NULL, NULL, NULL},
};

/*
 * Shapes
 */

static bool is_made_of(const char *text, const char *letters)
{
	return *text && strspn(text, letters) == strlen(text);
}

/* As QEMU's id_wellformed() has it. */
static bool is_id(const char *text)
{
	return isalpha((unsigned char)*text) && strlen(text) < 128 &&
	       is_made_of(text, LETTERS DIGITS "-._");
}

/* A device's driver, a machine, a CPU model, or a word behind one of its settings. */
static bool is_name(const char *text)
{
	return isalnum((unsigned char)*text) && strlen(text) < 128 &&
	       is_made_of(text, LETTERS DIGITS "-._+");
}

static bool is_number(const char *text)
{
	if (text[0] == '0' && text[1] == 'x')
		return strlen(text) <= 18 && is_made_of(text + 2, HEX);
	return strlen(text) <= 20 && is_made_of(text, DIGITS);
}

/* A number with a unit, "2048M"; libvirt and people also write "1.5G". */
static bool is_size(const char *text)
{
	size_t digits = strspn(text, DIGITS ".");

	return isdigit((unsigned char)*text) && digits <= 20 &&
	       (!text[digits] ||
		(strchr("bkmgtBKMGT", text[digits]) && !text[digits + 1]));
}

static bool is_switch(const char *text)
{
	static const char *const words[] = {"on",  "off", "true", "false",
					    "yes", "no",  "auto"};

	for (size_t i = 0; i < KAT_ARRAY_SIZE(words); i++) {
		if (strcmp(text, words[i]) == 0)
			return true;
	}
	return false;
}

/* A slot and function on a bus, "2", "1f.3", "0x2". */
static bool is_slot(const char *text)
{
	text += text[0] == '0' && text[1] == 'x' ? 2 : 0;
	return strlen(text) <= 8 && isxdigit((unsigned char)*text) &&
	       is_made_of(text, HEX ".");
}

static bool is_mac(const char *text)
{
	return strlen(text) == 17 && is_made_of(text, HEX ":");
}

static bool is_uuid(const char *text)
{
	return strlen(text) == 36 && is_made_of(text, HEX "-");
}

/* What stands alone at the start, and in "name=" behind it. */
static bool is_cpu(const char *text)
{
	cleanup_pieces struct kat_pieces p = {.n = 0};

	kat_pieces_cut(&p, text);
	if (!is_name(p.piece[0]))
		return false;
	for (size_t i = 1; i < p.n; i++) {
		char *name = p.piece[i] + (*p.piece[i] == '+' || *p.piece[i] == '-');
		char *value = strchr(name, '=');

		if (value)
			*value++ = '\0';
		if (!is_name(name) || (value && !is_name(value)))
			return false;
	}
	return true;
}

/* "1,cores=1,maxcpus=8" with the names given, and numbers that `fits` is true for. */
static bool is_list_of(const char *text, const char *const *names,
		       bool (*fits)(const char *))
{
	cleanup_pieces struct kat_pieces p = {.n = 0};

	kat_pieces_cut(&p, text);
	for (size_t i = 0; i < p.n; i++) {
		char *value = strchr(p.piece[i], '=');
		size_t n = 0;

		if (!value && i == 0 && fits(p.piece[i]))
			continue;
		if (!value || !fits(value + 1))
			return false;
		*value = '\0';
		while (names[n] && strcmp(names[n], p.piece[i]) != 0)
			n++;
		if (!names[n])
			return false;
	}
	return true;
}

static bool is_smp(const char *text)
{
	static const char *const names[] = {"cpus",  "sockets", "dies",	   "clusters",
					    "cores", "threads", "maxcpus", NULL};

	return is_list_of(text, names, is_number);
}

static bool is_memory(const char *text)
{
	static const char *const names[] = {"size", "slots", "maxmem", NULL};

	return is_list_of(text, names, is_size);
}

/*
 * What may stand in a description
 */

struct property {
	const char *name;
	bool (*fits)(const char *text);
};

static const struct property tops[] = {
	{"machine", is_name},  {"cpu", is_cpu},	  {"smp", is_smp},
	{"memory", is_memory}, {"uuid", is_uuid}, {NULL, NULL},
};

/*
 * What the guest, or the order and the form of the stream, sees of a device.
 * What ties it to this node (netdev, drive, path, vhostfd, romfile ...) is not
 * among them, and never may be.
 */
static const struct property devices[] = {
	{"driver", is_name},
	{"id", is_id},
	{"bus", is_id},
	{"addr", is_slot},
	{"mac", is_mac},
	{"guest-cid", is_number},
	{"name", is_id},
	{"tag", is_id},
	{"serial", is_id},
	{"mq", is_switch},
	{"vectors", is_number},
	{"queues", is_number},
	{"num-queues", is_number},
	{"num_queues", is_number},
	{"queue-size", is_number},
	{"rx_queue_size", is_number},
	{"tx_queue_size", is_number},
	{"disable-modern", is_switch},
	{"disable-legacy", is_switch},
	{"iommu_platform", is_switch},
	{"multifunction", is_switch},
	{"chassis", is_number},
	{"chassis_nr", is_number},
	{"slot", is_number},
	{"port", is_number},
	{"shpc", is_switch},
	{"io-reserve", is_size},
	{"mem-reserve", is_size},
	{"pref64-reserve", is_size},
	{"max_ports", is_number},
	{"nr", is_number},
	{"unarmed", is_switch},
	{NULL, NULL},
};

static const struct property chardevs[] = {
	{"backend", is_name},
	{"id", is_id},
	{"file", is_name},
	{NULL, NULL},
};

static const struct property memories[] = {
	{"qom-type", is_name},
	{"id", is_id},
	{"size", is_size},
	{NULL, NULL},
};

static const struct property *const properties[] = {
	[KAT_MACHINE_DEVICES] = devices,
	[KAT_MACHINE_CHARDEVS] = chardevs,
	[KAT_MACHINE_MEMORIES] = memories,
};

static const struct property *find(const struct property *p, const char *name)
{
	while (p->name && strcmp(p->name, name) != 0)
		p++;
	return p->name ? p : NULL;
}

bool kat_machine_takes(enum kat_machine_lists list, const char *property)
{
	return find(properties[list], property) != NULL;
}

bool kat_machine_belongs(enum kat_machine_lists list, const struct kat_pieces *pieces)
{
	const char *kind = kat_pieces_first(pieces, kat_machine_lists[list].kind);

	return kind && (list != KAT_MACHINE_MEMORIES ||
			strncmp(kind, "memory-backend-", 15) == 0);
}

const char *kat_machine_file(const struct kat_pieces *pieces)
{
	const char *path = kat_pieces_get(pieces, "path");
	const char *slash = path ? strrchr(path, '/') : NULL;

	return slash ? slash + 1 : path;
}

/*
 * From arguments
 */

static int put(struct json_object *object, const struct property *p, const char *value,
	       struct kat_error **err)
{
	errno = 0;
	if (!p->fits(value) || strlen(value) > KAT_MACHINE_LETTERS)
		return kat_error_set(err, KAT_EXIT_FAILED,
				     "cannot describe this QEMU: its %s is \"%.200s\"",
				     p->name, value);
	json_object_object_add(object, p->name, json_object_new_string(value));
	return 0;
}

static int describe_one(enum kat_machine_lists list, const struct kat_pieces *pieces,
			struct json_object *all, struct kat_error **err)
{
	const char *kind = kat_machine_lists[list].kind;
	struct json_object *one;

	if (!kat_machine_belongs(list, pieces))
		return 0;
	one = json_object_new_object();
	json_object_array_add(all, one);
	for (const struct property *p = properties[list]; p->name; p++) {
		const char *value =
			strcmp(p->name, kind) == 0     ? kat_pieces_first(pieces, kind)
			: strcmp(p->name, "file") == 0 ? kat_machine_file(pieces)
						       : kat_pieces_get(pieces, p->name);

		if (value && strcmp(p->name, "file") == 0 && !is_name(value))
			continue; /* one that no other node has */
		if (value && put(one, p, value, err) < 0)
			return -1;
	}
	return 0;
}

static int describe_list(const struct kat_arguments *a, enum kat_machine_lists list,
			 struct json_object *machine, struct kat_error **err)
{
	const char *option = kat_machine_lists[list].option;
	struct json_object *all = json_object_new_array();

	json_object_object_add(machine, kat_machine_lists[list].member, all);
	for (size_t at = kat_arguments_find(a, option, 0); at;
	     at = kat_arguments_find(a, option, at)) {
		cleanup_pieces struct kat_pieces pieces = {.n = 0};

		errno = 0;
		if (*a->word[at] == '{')
			return kat_error_set(err, KAT_EXIT_FAILED,
					     "cannot describe this QEMU: -%s in JSON",
					     option);
		kat_pieces_cut(&pieces, a->word[at]);
		if (describe_one(list, &pieces, all, err) < 0)
			return -1;
	}
	return 0;
}

/* What QEMU makes of an option that is given several times; without pieces: of none. */
static void merge(const struct kat_arguments *a, const char *option, const char *first,
		  struct kat_pieces *pieces)
{
	for (size_t at = kat_arguments_find(a, option, 0); at;
	     at = kat_arguments_find(a, option, at)) {
		if (!first)
			kat_pieces_free(pieces);
		kat_pieces_merge(pieces, a->word[at], first);
	}
}

static int describe_tops(const struct kat_arguments *a, struct json_object *machine,
			 struct kat_error **err)
{
	cleanup_pieces struct kat_pieces pieces = {.n = 0};
	const char *type;

	merge(a, "machine", "type", &pieces);
	type = kat_pieces_first(&pieces, "type");
	if (type && put(machine, find(tops, "machine"), type, err) < 0)
		return -1;
	for (const struct kat_machine_whole *w = kat_machine_wholes; w->member; w++) {
		cleanup_pieces struct kat_pieces whole = {.n = 0};
		cleanup_free char *value = NULL;

		merge(a, w->option, w->first, &whole);
		value = kat_pieces_join(&whole);
		if (whole.n && put(machine, find(tops, w->member), value, err) < 0)
			return -1;
	}
	return 0;
}

struct json_object *kat_machine_describe(const struct kat_arguments *a,
					 struct kat_error **err)
{
	cleanup_json struct json_object *machine = json_object_new_object();

	json_object_object_add(machine, "version",
			       json_object_new_int(KAT_MACHINE_VERSION));
	if (describe_tops(a, machine, err) < 0)
		return NULL;
	for (int list = 0; list < KAT_MACHINE_LISTS; list++) {
		if (describe_list(a, list, machine, err) < 0)
			return NULL;
	}
	return json_object_get(machine);
}

/*
 * From somebody else
 */

static int refuse(struct kat_error **err, const char *where, const char *member,
		  struct json_object *value)
{
	errno = 0;
	return kat_error_set(
		err, KAT_EXIT_FAILED, "refusing a description whose %s%s%.100s is %.200s",
		where, *where ? " " : "", member, json_object_to_json_string(value));
}

/* A string with nothing behind a NUL in it, and of the member's shape. */
static bool is_sound(const struct property *p, struct json_object *value)
{
	const char *text;

	if (!p || !json_object_is_type(value, json_type_string))
		return false;
	text = json_object_get_string(value);
	return strlen(text) == (size_t)json_object_get_string_len(value) &&
	       strlen(text) <= KAT_MACHINE_LETTERS && p->fits(text);
}

static int check_list(struct json_object *all, enum kat_machine_lists list,
		      struct kat_error **err)
{
	const struct kat_machine_list *l = &kat_machine_lists[list];

	if (!json_object_is_type(all, json_type_array) ||
	    json_object_array_length(all) > KAT_MACHINE_MEMBERS)
		return refuse(err, "", l->member, all);
	for (size_t i = 0; i < json_object_array_length(all); i++) {
		struct json_object *one = json_object_array_get_idx(all, i);

		if (!json_object_is_type(one, json_type_object) ||
		    !kat_json_string(one, l->kind))
			return refuse(err, "", l->member, one);
		json_object_object_foreach (one, name, value) {
			if (!is_sound(find(properties[list], name), value))
				return refuse(err, l->option, name, value);
		}
	}
	return 0;
}

static int check_member(const char *name, struct json_object *value,
			struct kat_error **err)
{
	for (int list = 0; list < KAT_MACHINE_LISTS; list++) {
		if (strcmp(name, kat_machine_lists[list].member) == 0)
			return check_list(value, list, err);
	}
	if (strcmp(name, "version") == 0 && json_object_is_type(value, json_type_int) &&
	    json_object_get_int64(value) == KAT_MACHINE_VERSION)
		return 0;
	return is_sound(find(tops, name), value) ? 0 : refuse(err, "", name, value);
}

struct json_object *kat_machine_parse(const char *text, struct kat_error **err)
{
	cleanup_json struct json_object *machine = NULL;

	machine = strlen(text) < KAT_MACHINE_BYTES ? json_tokener_parse(text) : NULL;
	errno = 0;
	if (!json_object_is_type(machine, json_type_object) ||
	    !json_object_object_get_ex(machine, "version", NULL)) {
		kat_error_set(err, KAT_EXIT_FAILED,
			      "this is no description of a machine, version %d",
			      KAT_MACHINE_VERSION);
		return NULL;
	}
	json_object_object_foreach (machine, name, value) {
		if (check_member(name, value, err) < 0)
			return NULL;
	}
	return json_object_get(machine);
}
