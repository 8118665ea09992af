/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <json-c/json.h>

#include "json.h"
#include "matching.h"
#include "util.h"

/* What the options of one list are called here; on the source a name may differ. */
struct names {
	char **here;
	char **there;
	size_t n;
};

static void cleanup_names(struct names *names)
{
	for (size_t i = 0; i < names->n; i++) {
		free(names->here[i]);
		free(names->there[i]);
	}
	free(names->here);
	free(names->there);
}
#define cleanup_names __attribute__((__cleanup__(cleanup_names)))

static void add_name(struct names *names, const char *here, const char *there)
{
	names->here = kat_grow(names->here, names->n + 1, sizeof(*names->here));
	names->there = kat_grow(names->there, names->n + 1, sizeof(*names->there));
	names->here[names->n] = kat_strdup(here);
	names->there[names->n++] = kat_strdup(there);
}

static const char *name_there(const struct names *names, const char *here)
{
	for (size_t i = 0; i < names->n; i++) {
		if (strcmp(names->here[i], here) == 0)
			return names->there[i];
	}
	return NULL;
}

static void put_back(struct kat_arguments *a, size_t at, const struct kat_pieces *pieces)
{
	cleanup_free char *text = kat_pieces_join(pieces);

	kat_arguments_set(a, at, text);
}

/* Every "`property`=NAME" of the option that has one of the names. */
static void rename_in(struct kat_arguments *a, const char *option, const char *property,
		      const struct names *names)
{
	for (size_t at = kat_arguments_find(a, option, 0); at;
	     at = kat_arguments_find(a, option, at)) {
		cleanup_pieces struct kat_pieces pieces = {.n = 0};
		const char *here, *there;

		kat_pieces_cut(&pieces, a->word[at]);
		here = kat_pieces_get(&pieces, property);
		there = here ? name_there(names, here) : NULL;
		if (!there)
			continue;
		kat_pieces_set(&pieces, property, there);
		put_back(a, at, &pieces);
	}
}

/*
 * The lists
 */

/* The next option that belongs into the list, cut; 0: no more. */
static size_t next(const struct kat_arguments *a, enum kat_machine_lists list, size_t at,
		   struct kat_pieces *pieces)
{
	const char *option = kat_machine_lists[list].option;

	while ((at = kat_arguments_find(a, option, at))) {
		kat_pieces_free(pieces);
		kat_pieces_cut(pieces, a->word[at]);
		if (kat_machine_belongs(list, pieces))
			break;
	}
	return at;
}

static const char *kind_there(struct json_object *all, enum kat_machine_lists list,
			      size_t i)
{
	if (i >= json_object_array_length(all))
		return NULL;
	return kat_json_string(json_object_array_get_idx(all, i),
			       kat_machine_lists[list].kind);
}

/* The stream has the state of one after the other, and PCI slots are given in order. */
static int check_same(const struct kat_arguments *a, struct json_object *all,
		      enum kat_machine_lists list, struct kat_error **err)
{
	cleanup_pieces struct kat_pieces pieces = {.n = 0};
	const char *option = kat_machine_lists[list].option;
	size_t at = 0, i = 0;
	const char *here, *there;

	do {
		at = next(a, list, at, &pieces);
		here = at ? kat_pieces_first(&pieces, kat_machine_lists[list].kind)
			  : NULL;
		there = kind_there(all, list, i++);
		errno = 0;
		if (here != there && (!here || !there || strcmp(here, there) != 0))
			return kat_error_set(err, KAT_EXIT_FAILED,
					     "this QEMU does not match the source's: -%s "
					     "number %zu is "
					     "%.100s here, and %.100s there",
					     option, i, here ? here : "missing",
					     there ? there : "missing");
	} while (at);
	return 0;
}

/* A device is what it is there, but stays tied to what it is tied to here. */
static void apply_devices(struct kat_arguments *a, struct json_object *all)
{
	cleanup_pieces struct kat_pieces pieces = {.n = 0};
	size_t at = 0;

	for (size_t i = 0; (at = next(a, KAT_MACHINE_DEVICES, at, &pieces)); i++) {
		struct json_object *there = json_object_array_get_idx(all, i);

		for (size_t n = pieces.n; n-- > 0;) {
			cleanup_free char *name = kat_strdup(pieces.piece[n]);

			name[strcspn(name, "=")] = '\0';
			if (strchr(pieces.piece[n], '=') && strcmp(name, "driver") != 0 &&
			    kat_machine_takes(KAT_MACHINE_DEVICES, name) &&
			    !kat_json_string(there, name))
				kat_pieces_set(&pieces, name, NULL);
		}
		json_object_object_foreach (there, name, value) {
			if (strcmp(name, "driver") != 0)
				kat_pieces_set(&pieces, name,
					       json_object_get_string(value));
		}
		put_back(a, at, &pieces);
	}
}

/* The nth chardev there of the same backend and use. */
static struct json_object *chardev_there(struct json_object *all, const char *backend,
					 const char *file, size_t nth)
{
	for (size_t i = 0; i < json_object_array_length(all); i++) {
		struct json_object *one = json_object_array_get_idx(all, i);
		const char *other = kat_json_string(one, "file");

		if (strcmp(kat_json_string(one, "backend"), backend) == 0 && other &&
		    strcmp(other, file) == 0 && nth-- == 0)
			return one;
	}
	return NULL;
}

/* How many of the same backend and use stand before the one at `end`. */
static size_t chardevs_before(const struct kat_arguments *a, size_t end,
			      const char *backend, const char *file)
{
	cleanup_pieces struct kat_pieces pieces = {.n = 0};
	size_t n = 0, at = 0;

	while ((at = next(a, KAT_MACHINE_CHARDEVS, at, &pieces)) && at < end) {
		const char *other = kat_machine_file(&pieces);

		n += other && strcmp(other, file) == 0 &&
		     strcmp(kat_pieces_first(&pieces, "backend"), backend) == 0;
	}
	return n;
}

/* Chardevs are no part of the guest, but their names are how devices refer to them. */
static void apply_chardevs(struct kat_arguments *a, struct json_object *all)
{
	cleanup_names struct names names = {.n = 0};
	cleanup_pieces struct kat_pieces pieces = {.n = 0};
	size_t at = 0;

	while ((at = next(a, KAT_MACHINE_CHARDEVS, at, &pieces))) {
		const char *backend = kat_pieces_first(&pieces, "backend");
		const char *file = kat_machine_file(&pieces);
		const char *here = kat_pieces_get(&pieces, "id"), *there;

		if (!file || !here)
			continue;
		there = kat_json_string(
			chardev_there(all, backend, file,
				      chardevs_before(a, at, backend, file)),
			"id");
		if (there)
			add_name(&names, here, there);
	}
	rename_in(a, "chardev", "id", &names);
	rename_in(a, "device", "chardev", &names);
	rename_in(a, "mon", "chardev", &names);
}

/* In bytes; what QEMU takes for MiB without a unit is not meant here. */
static double bytes(const char *size)
{
	static const char units[] = "bkmgt";
	char *unit;
	double value = strtod(size, &unit);
	const char *found = *unit ? strchr(units, *unit | 0x20) : units;

	for (; found && found > units; found--)
		value *= 1024;
	return value;
}

/* The file here that is this memory's content, which must be the source's. */
static bool is_image(const struct kat_pieces *pieces)
{
	const char *path = kat_pieces_get(pieces, "mem-path");
	struct stat st;

	return path && (stat(path, &st) < 0 || !S_ISDIR(st.st_mode));
}

/*
 * Kata Containers maps the guest's root read-only, and QEMU dies of a guest that
 * arrives in such a mapping: it writes there what the source sends, which is the
 * same.  A private one takes it, and the file stays as it is.
 */
static void let_arrive(struct kat_pieces *pieces)
{
	const char *readonly = kat_pieces_get(pieces, "readonly");

	if (!readonly || (strcmp(readonly, "on") != 0 && strcmp(readonly, "yes") != 0 &&
			  strcmp(readonly, "true") != 0))
		return;
	kat_pieces_set(pieces, "readonly", "off");
	kat_pieces_set(pieces, "share", "off");
}

static int apply_memories(struct kat_arguments *a, struct json_object *all,
			  struct kat_error **err)
{
	cleanup_names struct names names = {.n = 0};
	cleanup_pieces struct kat_pieces pieces = {.n = 0};
	size_t at = 0;

	for (size_t i = 0; (at = next(a, KAT_MACHINE_MEMORIES, at, &pieces)); i++) {
		struct json_object *there = json_object_array_get_idx(all, i);
		const char *size = kat_pieces_get(&pieces, "size");
		const char *here = kat_pieces_get(&pieces, "id");
		const char *wanted = kat_json_string(there, "size");
		const char *id = kat_json_string(there, "id");

		errno = 0;
		if (is_image(&pieces) && size && wanted && bytes(size) != bytes(wanted))
			return kat_error_set(err, KAT_EXIT_FAILED,
					     "this QEMU does not match the source's: the "
					     "image %.200s has %s bytes, and there %s",
					     kat_pieces_get(&pieces, "mem-path"), size,
					     wanted);
		if (here && id)
			add_name(&names, here, id);
		if (wanted)
			kat_pieces_set(&pieces, "size", wanted);
		let_arrive(&pieces);
		put_back(a, at, &pieces);
	}
	rename_in(a, "object", "id", &names);
	rename_in(a, "device", "memdev", &names);
	rename_in(a, "numa", "memdev", &names);
	rename_in(a, "machine", "memory-backend", &names);
	return 0;
}

/*
 * The whole
 */

/* QEMU merges what it is given several times: each gets the same, which stays that. */
static void apply_whole(struct kat_arguments *a, const char *option, const char *value)
{
	cleanup_free char *word = kat_format("-%s", option);
	size_t at = kat_arguments_find(a, option, 0);

	if (!at) {
		kat_arguments_add(a, word);
		kat_arguments_add(a, value);
	}
	for (; at; at = kat_arguments_find(a, option, at))
		kat_arguments_set(a, at, value);
}

/* The type's other settings are this node's; a later one with a type would win. */
static void apply_type(struct kat_arguments *a, const char *type)
{
	bool first = true;

	for (size_t at = kat_arguments_find(a, "machine", 0); at;
	     at = kat_arguments_find(a, "machine", at), first = false) {
		cleanup_pieces struct kat_pieces pieces = {.n = 0};

		kat_pieces_cut(&pieces, a->word[at]);
		if (!first && !kat_pieces_first(&pieces, "type"))
			continue;
		kat_pieces_set_first(&pieces, "type", type);
		put_back(a, at, &pieces);
	}
}

static void apply_tops(struct kat_arguments *a, struct json_object *machine)
{
	const char *type = kat_json_string(machine, "machine");

	if (type)
		apply_type(a, type);
	for (const struct kat_machine_whole *w = kat_machine_wholes; w->member; w++) {
		const char *value = kat_json_string(machine, w->member);

		if (value)
			apply_whole(a, w->option, value);
	}
}

int kat_matching_apply(struct kat_arguments *a, struct json_object *machine,
		       struct kat_error **err)
{
	struct json_object *all[KAT_MACHINE_LISTS];

	for (int list = 0; list < KAT_MACHINE_LISTS; list++)
		all[list] = kat_json_member(machine, kat_machine_lists[list].member);
	if (all[KAT_MACHINE_DEVICES] &&
	    check_same(a, all[KAT_MACHINE_DEVICES], KAT_MACHINE_DEVICES, err) < 0)
		return -1;
	if (all[KAT_MACHINE_MEMORIES] &&
	    (check_same(a, all[KAT_MACHINE_MEMORIES], KAT_MACHINE_MEMORIES, err) < 0 ||
	     apply_memories(a, all[KAT_MACHINE_MEMORIES], err) < 0))
		return -1;
	if (all[KAT_MACHINE_DEVICES])
		apply_devices(a, all[KAT_MACHINE_DEVICES]);
	if (all[KAT_MACHINE_CHARDEVS])
		apply_chardevs(a, all[KAT_MACHINE_CHARDEVS]);
	apply_tops(a, machine);
	if (!kat_arguments_find(a, "incoming", 0)) {
		kat_arguments_add(a, "-incoming");
		kat_arguments_add(a, "defer");
	}
	return 0;
}
