/*
 * The keepers' end of the spool (wire/spool.h): append records to FD_SPOOL, and look for those of an attempt.
 * Nothing is owned. One thread. An ENDED waits, and its process with it, until the disk takes it.
 */
#pragma once

#include "keeper/keeper.h"
#include "wire/spool.h"

struct spool_record report_new(const struct attempt_id *id, enum spool_kind kind);
/* BEGUN and STARTED are tried once, ENDED until it is there. */
void report_append(const struct spool_record *r);
/* An attempt that never began: SPOOL_SETUP_FAILED with exit code 125, or SPOOL_EXEC_FAILED with 126 or 127. */
void report_failure(
        const struct attempt_id *id, enum spool_cause cause, int code, const char *text);

/* Reads the whole spool for what it says of an epoch; is_started: it may have been, by BEGUN or STARTED. */
void report_find(uint64_t epoch, bool *ret_is_started, bool *ret_is_ended);
