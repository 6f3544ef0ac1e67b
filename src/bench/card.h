/*
 * The device as the driver's own NVML shows it, to whoever stands outside of all slices.
 * One for this process, opened once and never closed. False: `why` of the bench says it.
 */
#pragma once

#include "bench/bench.h"

#define CARD_PROCESSES 8 /* that are named */

struct card_users {
	unsigned n; /* perhaps more than are named */
	unsigned pids[CARD_PROCESSES];
};

bool card_open(struct bench *b);
/* The UUID of what was asked for: an index, or the beginning of a UUID. */
bool card_find(struct bench *b, const char *name, char *ret_uuid, size_t size);
/* From now on all below is of this one; its driver and model go into b. */
bool card_choose(struct bench *b, const char *uuid);

uint64_t card_used_bytes(void);
uint64_t card_free_bytes(void);
void card_users(struct card_users *ret);
bool card_is_exclusive(void); /* at most one process may use it */
