/* A data directory and a memory of its own, with slices in it. As slices.h says. */
#pragma once

#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "berth/slice.h"
#include "gpu/slices.h"

struct scene {
	char data[64], memory[64];
	bool is_judged;
	struct slices *s;
};

static inline int count_children(const char *dir)
{
	char command[200];
	int n = -1;
	FILE *f;

	snprintf(command, sizeof(command), "ls -A %s | wc -l", dir);
	f = popen(command, "r");
	assert_non_null(f);
	assert_int_equal(fscanf(f, "%d", &n), 1);
	pclose(f);
	return n;
}

static inline void open_again(struct scene *sc)
{
	struct err err;

	slices_close(sc->s);
	assert_int_equal(slices_open(sc->data, sc->memory, !sc->is_judged, &sc->s, &err), 0);
}

static inline int set_up(void **state)
{
	struct scene *sc = calloc(1, sizeof(*sc));
	char run[80];

	strcpy(sc->data, "/tmp/slices-data-XXXXXX");
	strcpy(sc->memory, "/dev/shm/slices-test-XXXXXX");
	if (!mkdtemp(sc->data) || !mkdtemp(sc->memory))
		return -1;
	snprintf(run, sizeof(run), "%s/run", sc->data);
	if (mkdir(run, 0700) < 0)
		return -1;
	open_again(sc);
	*state = sc;
	return 0;
}

static inline int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	return remove(path);
}

static inline int tear_down(void **state)
{
	struct scene *sc = *state;

	slices_close(sc->s);
	nftw(sc->memory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	nftw(sc->data, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	free(sc);
	return 0;
}

static inline int open_slice(const char *dir, int place)
{
	char path[SLICES_PATH + 32];
	int fd;

	snprintf(path, sizeof(path), "%s/slice-%d", dir, place);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}
