/*
 * Memory that the driver keeps in caches of its own: pools, and the memory of graphs on each device. A cache is charged by what
 * it has reserved from the device, as the driver says, not by what programs took out of it.
 * The driver owns the caches; here is a fixed number of records of them.
 * Any thread. The driver is never called under the mutex that guards them; while it is asked how much a pool has, or told to
 * trim it, that pool is not destroyed.
 * What does not fit is CU_ERROR_OUT_OF_MEMORY.
 */
#pragma once

#include "shim/charge.h"

struct pool;

/* The graphs' memory on that device. NULL: too many caches. */
struct pool *pools_of_graphs(int device);

/* The one of that handle, which is noted if need be, on that device when the driver does not say another. NULL: too many caches. */
struct pool *pools_of(struct cu_pool *handle, int device);
int pools_device(const struct pool *pool);
bool pools_are_free(const struct pool *pool);  /* of charge */
uint64_t pools_bytes(const struct pool *pool); /* charged */

/* Before a call that may let the cache grow by up to `bytes`: room for what it does not have idle. */
enum cu_result pools_begin(struct pool *pool, struct charge *ret_charge, uint64_t bytes);

/* After it. CU_ERROR_OUT_OF_MEMORY: it grew by more than there is room for; the charge is dropped all the same. */
enum cu_result pools_end(struct pool *pool, struct charge *charge);

/* The same after a pointer came out of a pool, of which pointer->size is known; before_bytes: charged before the call. */
enum cu_result pools_given(struct pool *pool, struct charge *charge, uint64_t before_bytes,
        struct table_entry *pointer);

/* A pointer out of a pool went back to the driver. */
void pools_freed(const struct table_entry *entry);

/* After what may have let caches shrink. One load when there are none. */
void pools_settle(void);

/* The caches of a device give back what they have idle. Whether that was anything. */
bool pools_trim(int device);

void pools_forked(void);
