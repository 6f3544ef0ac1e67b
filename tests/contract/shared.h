/*
 * What the scenes of engines and of agents have in common: a directory of their own, programs, jobs and records.
 * Owns nothing; one thread. Paths are good until the 8th call from then. What goes wrong fails the test.
 */
#pragma once

#include "wire/link.h"
#include "wire/spool.h"

const char *shared_path(const char *dir, const char *name);
const char *shared_program(const char *name); /* of the build */
int shared_remove(const char *dir);           /* with all that is in it; 0: it is gone */

/* A job of `sh -c SCRIPT`; its argv is good until the next. */
struct link_start shared_job(uint64_t epoch, const char *script, const char *chdir);

/* The last of an epoch and kind, NULL; and how many. */
const struct spool_record *shared_record(
        const struct spool_record *v, size_t n, uint64_t epoch, enum spool_kind kind);
size_t shared_count(const struct spool_record *v, size_t n, uint64_t epoch, enum spool_kind kind);
