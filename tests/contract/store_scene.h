/*
 * What the files of the store's contract suite share: a fresh store of the make under test, and short ways to write and to look.
 * The scene belongs to the test's setup and teardown; cases open as many handles as they like and close them.
 * One thread. Helpers fail the test themselves.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "store/store.h"

enum make { MAKE_MEMORY, MAKE_SQLITE, MAKE_MAX };

struct scene {
	enum make make;
	char dir[64];
	char url[128];
	char path[112];       /* of the database, or "" */
	struct store *anchor; /* keeps what a store in memory knows over a reopening; else NULL */
	struct store *s;
	uint64_t epoch;
	uint64_t seq; /* of the last batch */
	struct err err;
};

void scene_open(struct scene *sc); /* and leads */
void scene_close(struct scene *sc);

/* Setup and teardown of a case; state is the scene. */
int scene_setup_memory(void **state);
int scene_setup_sqlite(void **state);
int scene_teardown(void **state);

/* A row whose bytes follow from its key, sub and version; version < 0 removes. Borrowed until the next 16 calls. */
struct store_row row_of(
        enum row_kind kind, uint64_t key, int64_t sub, int64_t ended_ms, int version);

/* As the next batch. */
int commit_rows(struct scene *sc, const struct store_row *rows, size_t n);
void commit_ok(struct scene *sc, const struct store_row *rows, size_t n);
void put(struct scene *sc, enum row_kind kind, uint64_t key, int64_t sub, int64_t ended_ms,
        int version);

/* What the readers give, as text: "KEY.SUB@ENDED=VERSION " for each row; a wrong byte shows as "!". */
const char *list(struct scene *sc, enum row_kind kind, enum store_which which);
const char *list_of_key(
        struct scene *sc, enum row_kind kind, uint64_t key, int64_t from_sub, size_t limit);
const char *list_ended(struct scene *sc, enum row_kind kind, int64_t before_ms, uint64_t before_key,
        int64_t before_sub, size_t limit);
const char *list_oldest(struct scene *sc, enum row_kind kind, int64_t after_ms, uint64_t after_key,
        int64_t after_sub, int64_t before_ms, size_t limit);
const char *get(
        struct scene *sc, enum row_kind kind, uint64_t key, int64_t sub); /* "none" when absent */
/* "SEQ:KEY.SUB@TIME=DATA " */
const char *list_events(struct scene *sc, uint64_t after_seq, size_t limit);

/* True when there is a file of the store's path plus this suffix. */
bool has_file(struct scene *sc, const char *suffix);
/* A small tmpfs mounted on DIR/mnt, taken away by the teardown; false where this process may not mount. */
bool mount_small(struct scene *sc, unsigned mib);
/* Closes, and goes on with a store at DIR/NAME. */
void scene_move(struct scene *sc, const char *name);

/* The cases. */
#define CASE(name) void case_##name(void **state);
#include "store_cases.def"
#undef CASE
