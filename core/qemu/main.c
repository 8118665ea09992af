/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * katamaran-qemu stands in front of the real QEMU.  Where a description waits
 * for the guest that is about to be started, it makes the arguments match; then
 * it becomes the real one, which this node names and nobody else.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"
#include "json.h"
#include "matching.h"
#include "util.h"

#ifndef KAT_QEMU
#define KAT_QEMU "/etc/katamaran/qemu"
#endif
#define KAT_DESCRIPTIONS "/run/katamaran/qemu"
#define CMDLINE_BYTES	 (1u << 20)

/* All of a regular file or of /proc's, with a NUL behind it. */
static char *slurp(const char *path, int flags, size_t max, size_t *n,
		   struct kat_error **err)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | flags);
	cleanup_free char *text = kat_grow(NULL, max + 2, 1);
	struct stat st;
	ssize_t got = 1;
	char *whole;

	*n = 0;
	if (fd >= 0 && fstat(fd, &st) == 0 && !S_ISREG(st.st_mode)) {
		errno = EINVAL;
		got = -1;
	}
	while (fd >= 0 && got > 0 && *n <= max) {
		got = read(fd, text + *n, max + 1 - *n);
		*n += got > 0 ? (size_t)got : 0;
	}
	if (*n > max)
		errno = EFBIG;
	if (fd < 0 || got < 0 || *n > max) {
		kat_error_set(err, KAT_EXIT_FAILED, "cannot read %s: %m", path);
		return NULL;
	}
	text[*n] = '\0';
	whole = text;
	text = NULL;
	return whole;
}

/*
 * --describe
 */

/* A number, or a file that has one in it, as -pidfile makes it. */
static pid_t read_pid(const char *text, struct kat_error **err)
{
	cleanup_free char *file = NULL;
	const char *number = text;
	size_t n;

	if (strspn(text, "0123456789") < strlen(text)) {
		file = slurp(text, 0, 32, &n, err);
		if (!file)
			return -1;
		number = file;
	}
	if (atoi(number) > 0)
		return atoi(number);
	errno = 0;
	return kat_error_set(err, KAT_EXIT_USAGE, "\"%s\" is no process", text);
}

static int describe(const char *who, struct kat_error **err)
{
	cleanup_arguments struct kat_arguments a = {.n = 0};
	cleanup_json struct json_object *machine = NULL;
	cleanup_free char *path = NULL, *text = NULL;
	pid_t pid = read_pid(who, err);
	size_t n;

	if (pid < 0)
		return -1;
	path = kat_format("/proc/%d/cmdline", (int)pid);
	text = slurp(path, 0, CMDLINE_BYTES, &n, err);
	if (!text)
		return -1;
	for (const char *word = text; word < text + n; word += strlen(word) + 1)
		kat_arguments_add(&a, word);
	machine = kat_machine_describe(&a, err);
	if (!machine)
		return -1;
	puts(json_object_to_json_string_ext(
		machine, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
	if (!fflush(stdout))
		return 0;
	return kat_error_set(err, KAT_EXIT_FAILED, "standard output: %m");
}

/*
 * In front of QEMU
 */

static int match(struct kat_arguments *a, const char *file, struct kat_error **err)
{
	cleanup_json struct json_object *machine = NULL;
	cleanup_free char *text = NULL;
	size_t n;

	text = slurp(file, O_NOFOLLOW, KAT_MACHINE_BYTES, &n, err);
	if (!text)
		return -1;
	machine = kat_machine_parse(text, err);
	if (!machine || kat_matching_apply(a, machine, err) < 0)
		return kat_error_wrap(err, "%s", file);
	return 0;
}

/* "abc" of "-name sandbox-abc,debug-threads=on"; NULL if it cannot be a file's name. */
static char *guest_of(const struct kat_arguments *a)
{
	cleanup_pieces struct kat_pieces pieces = {.n = 0};
	size_t at = kat_arguments_find(a, "name", 0);
	const char *name;

	if (!at)
		return NULL;
	kat_pieces_cut(&pieces, a->word[at]);
	name = kat_pieces_first(&pieces, "guest");
	if (!name)
		return NULL;
	name += strncmp(name, "sandbox-", 8) == 0 ? 8 : 0;
	return !*name || *name == '.' || strchr(name, '/') ? NULL : kat_strdup(name);
}

/*
 * The description that waits for the guest by its name; or, since nobody knows
 * what a sandbox will be called, the one that waits for the next that comes,
 * which from then on bears the name.  NULL: there is none.
 */
static char *claim(const char *dir, const char *guest)
{
	cleanup_free char *next = kat_format("%s/next.json", dir);
	char *own = kat_format("%s/%s.json", dir, guest);

	if (access(own, F_OK) == 0 || rename(next, own) == 0)
		return own;
	free(own);
	return NULL;
}

static bool is_us(const char *path)
{
	struct stat own, st;

	return stat("/proc/self/exe", &own) == 0 && stat(path, &st) == 0 &&
	       own.st_dev == st.st_dev && own.st_ino == st.st_ino;
}

static int become(char **argv, struct kat_error **err)
{
	const char *qemu = getenv("KATAMARAN_QEMU"), *dir = getenv("KATAMARAN_QEMU_DIR");
	cleanup_arguments struct kat_arguments a = {.n = 0};
	cleanup_free char *guest = NULL, *file = NULL;

	qemu = qemu ? qemu : KAT_QEMU;
	for (size_t i = 0; argv[i]; i++)
		kat_arguments_add(&a, i ? argv[i] : qemu);
	guest = guest_of(&a);
	file = guest ? claim(dir ? dir : KAT_DESCRIPTIONS, guest) : NULL;
	if (file && match(&a, file, err) < 0)
		return -1;
	if (file)
		fprintf(stderr, "katamaran-qemu: made to match %s\n", file);
	errno = ELOOP;
	if (!is_us(qemu))
		execv(qemu, a.word);
	return kat_error_set(err, KAT_EXIT_FAILED, "cannot run the real QEMU, %s: %m",
			     qemu);
}

/* What QEMU would be given, a line each. */
static int try(const char *file, char **argv, struct kat_error **err)
{
	cleanup_arguments struct kat_arguments a = {.n = 0};

	kat_arguments_add(&a, "qemu");
	for (; *argv; argv++)
		kat_arguments_add(&a, *argv);
	if (match(&a, file, err) < 0)
		return -1;
	for (size_t i = 1; i < a.n; i++)
		puts(a.word[i]);
	return 0;
}

int main(int argc, char **argv)
{
	cleanup_error struct kat_error *err = NULL;
	int ret;

	if (argc == 3 && strcmp(argv[1], "--describe") == 0)
		ret = describe(argv[2], &err);
	else if (argc > 2 && strcmp(argv[1], "--try") == 0)
		ret = try(argv[2], argv + 3, &err);
	else
		ret = become(argv, &err);
	if (ret == 0)
		return KAT_EXIT_OK;
	kat_error_print(err, "katamaran-qemu");
	return (int)err->exit_code;
}
