/*
 * What this process has from the driver, by address or handle: pointers, arrays, contexts, pools and the like.
 * Owns its memory, which comes from the kernel in pages and never from the heap; entries are copied in and out.
 * Any thread. After a fork the child forgets everything with table_forked.
 * Only table_put can fail, when there is no memory; then nothing has changed.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TABLE_SHARDS 16

struct table_entry {
	uint64_t key; /* not 0 */
	uint64_t owner;
	uint64_t size;
	uint64_t bytes; /* charged */
	uint64_t extra;
	int32_t device;
	uint32_t kind;
};

struct table_shard {
	pthread_mutex_t mutex;
	struct table_entry *entries;
	size_t capacity; /* a power of two, or 0 */
	size_t n_entries;
};

/* Zeroed is empty. */
struct table {
	struct table_shard shards[TABLE_SHARDS];
};

void table_forked(struct table *table);

/* Replaces the entry of that key. 0, or -1. */
int table_put(struct table *table, const struct table_entry *entry);
bool table_take(struct table *table, uint64_t key, struct table_entry *ret_entry); /* removes it */
bool table_find(struct table *table, uint64_t key, struct table_entry *ret_entry);

/* One entry for which is_one says so; the order is not defined. is_one must not come back to this table. */
bool table_find_if(struct table *table,
        bool (*is_one)(const struct table_entry *entry, void *context), void *context,
        struct table_entry *ret_entry);

/* Removes every entry for which is_one says so; it may be asked twice about one that it keeps. */
void table_sweep(struct table *table,
        bool (*is_one)(const struct table_entry *entry, void *context), void *context);

/*
 * Changes one entry under its lock, made of zeros first if need be; what `change` returns is handed on, and an entry whose
 * `size` is then 0 is removed. -1 when there was no memory for it.
 */
int64_t table_change(struct table *table, uint64_t key,
        int64_t (*change)(struct table_entry *entry, void *context), void *context);

size_t table_count(struct table *table);
