#include "shim/table.h"

#include <string.h>
#include <sys/mman.h>

#define FIRST_CAPACITY 64 /* of a shard: less than a page */

static uint64_t mix(uint64_t key)
{
	key ^= key >> 33;
	key *= UINT64_C(0xff51afd7ed558ccd);
	key ^= key >> 33;
	return key;
}

static struct table_shard *lock_shard(struct table *table, uint64_t key)
{
	struct table_shard *shard = &table->shards[mix(key) % TABLE_SHARDS];
	pthread_mutex_lock(&shard->mutex);
	return shard;
}

/* Where the key is, or belongs. */
static size_t place_of(const struct table_entry *entries, size_t capacity, uint64_t key)
{
	size_t at = (mix(key) / TABLE_SHARDS) & (capacity - 1);
	while (entries[at].key != 0 && entries[at].key != key)
		at = (at + 1) & (capacity - 1);
	return at;
}

static struct table_entry *entry_of(const struct table_shard *shard, uint64_t key)
{
	if (shard->capacity == 0 || key == 0)
		return NULL;
	struct table_entry *entry = &shard->entries[place_of(shard->entries, shard->capacity, key)];
	return entry->key == key ? entry : NULL;
}

static int grow(struct table_shard *shard)
{
	size_t capacity = shard->capacity != 0 ? 2 * shard->capacity : FIRST_CAPACITY;
	struct table_entry *entries = mmap(NULL, capacity * sizeof *entries, PROT_READ | PROT_WRITE,
	        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (entries == MAP_FAILED)
		return -1;
	for (size_t i = 0; i < shard->capacity; i++)
		if (shard->entries[i].key != 0)
			entries[place_of(entries, capacity, shard->entries[i].key)] =
			        shard->entries[i];
	if (shard->entries != NULL)
		munmap(shard->entries, shard->capacity * sizeof *entries);
	shard->entries = entries;
	shard->capacity = capacity;
	return 0;
}

static struct table_entry *put(struct table_shard *shard, const struct table_entry *entry)
{
	struct table_entry *old = entry_of(shard, entry->key);
	if (old == NULL) {
		if (4 * (shard->n_entries + 1) > 3 * shard->capacity && grow(shard) != 0)
			return NULL;
		old = &shard->entries[place_of(shard->entries, shard->capacity, entry->key)];
		shard->n_entries++;
	}
	*old = *entry;
	return old;
}

/* Closes the gap, so that no search ends in front of what it looks for. */
static void take_out(struct table_shard *shard, struct table_entry *entry)
{
	size_t mask = shard->capacity - 1, gap = (size_t)(entry - shard->entries);
	for (size_t at = (gap + 1) & mask; shard->entries[at].key != 0; at = (at + 1) & mask) {
		size_t home = (mix(shard->entries[at].key) / TABLE_SHARDS) & mask;
		if (((at - home) & mask) >= ((at - gap) & mask)) {
			shard->entries[gap] = shard->entries[at];
			gap = at;
		}
	}
	shard->entries[gap].key = 0;
	shard->n_entries--;
}

void table_forked(struct table *table)
{
	for (int i = 0; i < TABLE_SHARDS; i++) {
		struct table_shard *shard = &table->shards[i];
		/* The parent may have been growing it: what is there is left to the end of the process. */
		*shard = (struct table_shard){.mutex = PTHREAD_MUTEX_INITIALIZER};
	}
}

int table_put(struct table *table, const struct table_entry *entry)
{
	struct table_shard *shard = lock_shard(table, entry->key);
	int rc = put(shard, entry) != NULL ? 0 : -1;
	pthread_mutex_unlock(&shard->mutex);
	return rc;
}

bool table_take(struct table *table, uint64_t key, struct table_entry *ret_entry)
{
	struct table_shard *shard = lock_shard(table, key);
	struct table_entry *entry = entry_of(shard, key);
	if (entry != NULL) {
		*ret_entry = *entry;
		take_out(shard, entry);
	}
	pthread_mutex_unlock(&shard->mutex);
	return entry != NULL;
}

bool table_find(struct table *table, uint64_t key, struct table_entry *ret_entry)
{
	struct table_shard *shard = lock_shard(table, key);
	struct table_entry *entry = entry_of(shard, key);
	if (entry != NULL)
		*ret_entry = *entry;
	pthread_mutex_unlock(&shard->mutex);
	return entry != NULL;
}

bool table_find_if(struct table *table,
        bool (*is_one)(const struct table_entry *entry, void *context), void *context,
        struct table_entry *ret_entry)
{
	bool is_found = false;
	for (int i = 0; i < TABLE_SHARDS && !is_found; i++) {
		struct table_shard *shard = &table->shards[i];
		pthread_mutex_lock(&shard->mutex);
		for (size_t at = 0; at < shard->capacity && !is_found; at++) {
			struct table_entry *entry = &shard->entries[at];
			is_found = entry->key != 0 && is_one(entry, context);
			if (is_found)
				*ret_entry = *entry;
		}
		pthread_mutex_unlock(&shard->mutex);
	}
	return is_found;
}

void table_sweep(struct table *table,
        bool (*is_one)(const struct table_entry *entry, void *context), void *context)
{
	for (int i = 0; i < TABLE_SHARDS; i++) {
		struct table_shard *shard = &table->shards[i];
		pthread_mutex_lock(&shard->mutex);
		for (size_t at = 0; at < shard->capacity;)
			/* What comes after moves into the gap. */
			if (shard->entries[at].key != 0 && is_one(&shard->entries[at], context))
				take_out(shard, &shard->entries[at]);
			else
				at++;
		pthread_mutex_unlock(&shard->mutex);
	}
}

int64_t table_change(struct table *table, uint64_t key,
        int64_t (*change)(struct table_entry *entry, void *context), void *context)
{
	struct table_shard *shard = lock_shard(table, key);
	struct table_entry *entry = entry_of(shard, key);
	if (entry == NULL)
		entry = put(shard, &(struct table_entry){.key = key});
	int64_t result = entry == NULL ? -1 : change(entry, context);
	if (entry != NULL && entry->size == 0)
		take_out(shard, entry);
	pthread_mutex_unlock(&shard->mutex);
	return result;
}

size_t table_count(struct table *table)
{
	size_t n = 0;
	for (int i = 0; i < TABLE_SHARDS; i++) {
		pthread_mutex_lock(&table->shards[i].mutex);
		n += table->shards[i].n_entries;
		pthread_mutex_unlock(&table->shards[i].mutex);
	}
	return n;
}
