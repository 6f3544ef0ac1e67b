/*
 * A directory of its own for each test, and spool records to write into it. The directory goes with kit_end.
 * One thread. What goes wrong fails the test.
 */
#pragma once

#include <sys/types.h>

#include "wire/spool.h"

extern char kit_dir[64];

int kit_begin(void **state); /* makes the directory */
int kit_end(void **state);
const char *kit_path(const char *name); /* in the directory; good until the 8th call from now */

struct spool_record kit_record(enum spool_kind kind, uint64_t epoch);
/* Appends it to a spool file, as a keeper does. */
void kit_append(const char *path, const struct spool_record *r);
void kit_append_bytes(const char *path, const void *data, size_t len);
/* A process that holds the byte of this epoch until it is killed by kit_let_go. */
pid_t kit_hold(const char *path, uint64_t epoch);
void kit_let_go(pid_t pid);
