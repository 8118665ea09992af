/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * disk: what the guest's disks must hold, whatever happens to them.
 *
 *   disk fill IMAGE DISK MIB       a new image, every sector made of its place
 *   disk write DEVICE...           in the guest: write upon write, for ever
 *   disk check IMAGE DISK CONSOLE  every sector is there, and none is older than it may
 * be
 *
 * Write N goes to sector N * STEP modulo the number of sectors, on every disk, and N + 1
 * waits for the disk to acknowledge it.  So the line "acked N" on the guest's console
 * stands for all writes up to N, and there need not be a line for each.  The count is in
 * the guest's RAM: the first line after a migration speaks for the last write before it.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MAGIC	  0x6e616d6172617461ULL
#define STEP	  2654435761ULL /* a prime: it meets every sector in turn */
#define SECTOR	  512
#define MAX_DISKS 8
#define PAUSE_US  2000 /* between two writes: the machine has other things to do */
#define LINE_MS	  100  /* between two lines on the console */

struct sector {
	uint64_t magic, disk, index, number; /* number 0: never written by the guest */
	uint8_t rest[SECTOR - 4 * sizeof(uint64_t)];
};

static void make(struct sector *s, uint64_t disk, uint64_t index, uint64_t number)
{
	*s = (struct sector){MAGIC, disk, index, number, {0}};
	for (size_t i = 0; i < sizeof(s->rest); i++)
		s->rest[i] = (uint8_t)(number + index + i);
}

static uint64_t sectors_of(int fd, const char *name)
{
	off_t end = lseek(fd, 0, SEEK_END);

	if (end < SECTOR)
		err(1, "%s: no size", name);
	return (uint64_t)end / SECTOR;
}

static int fill(const char *name, uint64_t disk, uint64_t mib)
{
	FILE *file = fopen(name, "w");
	uint64_t sectors = (mib << 20) / SECTOR;
	struct sector s;

	if (!file)
		err(1, "%s", name);
	for (uint64_t i = 0; i < sectors; i++) {
		make(&s, disk, i, 0);
		if (fwrite(&s, SECTOR, 1, file) != 1)
			err(1, "%s", name);
	}
	if (fclose(file))
		err(1, "%s", name);
	return 0;
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

/* Which disk a device is stands on it: the order of the devices is QEMU's. */
static int write_for_ever(int n, char **names)
{
	struct {
		int fd;
		uint64_t disk, sectors;
	} d[MAX_DISKS];
	struct sector *s;
	int64_t said = 0;

	if (n > MAX_DISKS || posix_memalign((void **)&s, 4096, 4096))
		errx(1, "too many disks, or no memory");
	for (int i = 0; i < n; i++) {
		d[i].fd = open(names[i], O_RDWR | O_DIRECT | O_SYNC);
		if (d[i].fd < 0)
			err(1, "%s", names[i]);
		d[i].sectors = sectors_of(d[i].fd, names[i]);
		if (pread(d[i].fd, s, SECTOR, 0) != SECTOR || s->magic != MAGIC)
			errx(1, "%s: not filled", names[i]);
		d[i].disk = s->disk;
	}
	for (uint64_t number = 1;; number++) {
		for (int i = 0; i < n; i++) {
			uint64_t index = number * STEP % d[i].sectors;

			make(s, d[i].disk, index, number);
			if (pwrite(d[i].fd, s, SECTOR, (off_t)(index * SECTOR)) != SECTOR)
				err(1, "%s: write %" PRIu64, names[i], number);
		}
		if (now_ms() - said >= LINE_MS) {
			said = now_ms();
			printf("acked %" PRIu64 "\n", number);
			fflush(stdout);
		}
		usleep(PAUSE_US);
	}
}

/* The last number that the console has a whole line of. */
static uint64_t acked(const char *name)
{
	FILE *file = fopen(name, "r");
	uint64_t number, last = 0;
	char line[256];

	if (!file)
		err(1, "%s", name);
	while (fgets(line, sizeof(line), file)) {
		if (strchr(line, '\n') && sscanf(line, "acked %" SCNu64, &number) == 1)
			last = number;
	}
	fclose(file);
	return last;
}

static bool good(const struct sector *s, uint64_t disk, uint64_t index, uint64_t least,
		 uint64_t sectors)
{
	struct sector want;

	make(&want, disk, index, s->number);
	return !memcmp(s, &want, SECTOR) && s->number >= least &&
	       (!s->number || s->number * STEP % sectors == index);
}

static int check(const char *name, uint64_t disk, const char *console)
{
	uint64_t last = acked(console), sectors, bad = 0, *least;
	struct sector s;
	FILE *file = fopen(name, "r");

	if (!file)
		err(1, "%s", name);
	sectors = sectors_of(fileno(file), name);
	rewind(file);
	least = calloc(sectors, sizeof(*least));
	if (!least)
		err(1, "%s", name);
	for (uint64_t n = last > sectors ? last - sectors + 1 : 1; n <= last; n++)
		least[n * STEP % sectors] = n;
	for (uint64_t i = 0; i < sectors; i++) {
		if (fread(&s, SECTOR, 1, file) != 1)
			err(1, "%s", name);
		if (good(&s, disk, i, least[i], sectors))
			continue;
		if (!bad++)
			warnx("%s: sector %" PRIu64 " has write %" PRIu64
			      ", should have %" PRIu64,
			      name, i, s.magic == MAGIC ? s.number : 0, least[i]);
	}
	free(least);
	fclose(file);
	printf("%" PRIu64 " writes on %" PRIu64 " sectors, %" PRIu64 " wrong\n", last,
	       sectors, bad);
	return bad || !last;
}

int main(int argc, char **argv)
{
	if (argc == 5 && !strcmp(argv[1], "fill"))
		return fill(argv[2], strtoull(argv[3], NULL, 10),
			    strtoull(argv[4], NULL, 10));
	if (argc > 2 && !strcmp(argv[1], "write"))
		return write_for_ever(argc - 2, argv + 2);
	if (argc == 5 && !strcmp(argv[1], "check"))
		return check(argv[2], strtoull(argv[3], NULL, 10), argv[4]);
	fprintf(stderr, "usage: disk fill IMAGE DISK MIB | write DEVICE... |"
			" check IMAGE DISK CONSOLE\n");
	return 2;
}
