#include "shim/memory.h"
#include "shim/pools.h"

/* What the small pieces of a device leave free in the granules that they share, by their sizes alone. */
struct small {
	int64_t n_granules, n_bytes;
};
static struct small smalls[SHIM_DEVICES];

#define PLACE_BYTES 512 /* the driver's smallest */

void memory_forked(void)
{
	for (int i = 0; i < SHIM_DEVICES; i++)
		smalls[i] = (struct small){0};
}

static uint64_t in_places(uint64_t size)
{
	return (size + PLACE_BYTES - 1) & ~(uint64_t)(PLACE_BYTES - 1);
}

static bool is_small(uint64_t granule, cu_ptr pointer, uint64_t size)
{
	return size < granule || pointer % granule != 0;
}

static int64_t add_one(struct table_entry *entry, void *context)
{
	(void)context;
	return ++entry->size == 1;
}

static int64_t take_one(struct table_entry *entry, void *context)
{
	(void)context;
	return entry->size != 0 && --entry->size == 0;
}

static void note_small(int device, int64_t n_granules, int64_t n_bytes)
{
	__atomic_fetch_add(&smalls[device].n_granules, n_granules, __ATOMIC_RELAXED);
	__atomic_fetch_add(&smalls[device].n_bytes, n_bytes, __ATOMIC_RELAXED);
}

/* Granules from first to last that it is the last to leave, in bytes. */
static uint64_t leave_granules(int device, uint64_t granule, uint64_t first, uint64_t last)
{
	int64_t n_left = 0;
	for (uint64_t at = first; at < last; at++)
		n_left += table_change(&have.granules, at, take_one, NULL) == 1;
	note_small(device, -n_left, 0);
	return (uint64_t)n_left * granule;
}

/* Granules that it is the first to enter, in bytes; UINT64_MAX: no memory to note that in. */
static uint64_t enter_granules(int device, uint64_t granule, cu_ptr pointer, uint64_t size)
{
	uint64_t first = pointer / granule, last = (pointer + size - 1) / granule + 1;
	int64_t n_new = 0;
	for (uint64_t at = first; at < last; at++) {
		int64_t is_new = table_change(&have.granules, at, add_one, NULL);
		if (is_new < 0) {
			note_small(device, n_new, 0);
			leave_granules(device, granule, first, at);
			return UINT64_MAX;
		}
		n_new += is_new;
	}
	note_small(device, n_new, (int64_t)in_places(size));
	return (uint64_t)n_new * granule;
}

static uint64_t taken_bytes(int device, const struct ledger *ledger, cu_ptr pointer, uint64_t size)
{
	uint64_t granule = ledger->grant.granule_bytes;
	return is_small(granule, pointer, size) ? enter_granules(device, granule, pointer, size)
	                                        : charge_round(ledger, size);
}

/* What handing it back brings. */
static uint64_t left_bytes(const struct table_entry *entry)
{
	uint64_t granule = charge_granule(entry->device);
	if (!is_small(granule, entry->key, entry->size))
		return entry->bytes;
	note_small(entry->device, 0, -(int64_t)in_places(entry->size));
	return leave_granules(entry->device, granule, entry->key / granule,
	        (entry->key + entry->size - 1) / granule + 1);
}

enum cu_result memory_begin(struct charge *ret_charge, int device, uint64_t size)
{
	struct ledger *ledger;
	enum cu_result rc = charge_ledger(device, &ledger);
	if (rc != CU_SUCCESS)
		return rc;
	rc = charge_begin(ret_charge, device, charge_round(ledger, size));
	if (rc != CU_ERROR_OUT_OF_MEMORY || size >= ledger->grant.granule_bytes)
		return rc;
	const struct small *small = &smalls[device];
	int64_t room = __atomic_load_n(&small->n_granules, __ATOMIC_RELAXED) *
	                       (int64_t)ledger->grant.granule_bytes -
	               __atomic_load_n(&small->n_bytes, __ATOMIC_RELAXED);
	return room >= (int64_t)in_places(size) ? charge_begin(ret_charge, device, 0) : rc;
}

enum cu_result memory_take(struct charge *charge, const struct place *place, enum slice_kind kind,
        cu_ptr pointer, uint64_t size)
{
	return memory_take_as(charge, place, kind, pointer, size, 0);
}

enum cu_result memory_take_as(struct charge *charge, const struct place *place,
        enum slice_kind kind, cu_ptr pointer, uint64_t size, uint64_t extra)
{
	struct table_entry entry = {.key = pointer,
	        .owner = place->owner,
	        .size = size,
	        .bytes = taken_bytes(charge->device, charge->ledger, pointer, size),
	        .extra = extra,
	        .device = charge->device,
	        .kind = kind};
	enum cu_result rc = CU_ERROR_OUT_OF_MEMORY;
	if (entry.bytes != UINT64_MAX) {
		rc = entry.bytes > charge->reserved_bytes
		             ? charge_more(charge, entry.bytes - charge->reserved_bytes)
		             : CU_SUCCESS;
		struct table_entry stale;
		/* Somebody gave it back to the driver behind our back. */
		if (rc == CU_SUCCESS && table_take(&have.pointers, pointer, &stale) &&
		        stale.kind != SLICE_POOL)
			charge_return(
			        stale.device, (enum slice_kind)stale.kind, left_bytes(&stale));
		if (rc == CU_SUCCESS && table_put(&have.pointers, &entry) != 0)
			rc = CU_ERROR_OUT_OF_MEMORY;
		if (rc != CU_SUCCESS)
			left_bytes(&entry);
	}
	charge_end(charge, kind, rc == CU_SUCCESS ? entry.bytes : 0);
	return rc;
}

struct sweep {
	uint64_t first, last; /* owners */
	uint64_t bytes[SHIM_DEVICES][SLICE_KINDS];
};

static bool is_owned(const struct table_entry *entry, const struct sweep *sweep)
{
	return entry->owner >= sweep->first && entry->owner <= sweep->last;
}

static bool sweep_pointer(const struct table_entry *entry, void *context)
{
	struct sweep *sweep = context;
	if (!is_owned(entry, sweep))
		return false;
	sweep->bytes[entry->device][entry->kind] += left_bytes(entry);
	return true;
}

static bool sweep_whole(const struct table_entry *entry, void *context)
{
	struct sweep *sweep = context;
	if (!is_owned(entry, sweep))
		return false;
	sweep->bytes[entry->device][entry->kind] += entry->bytes;
	return true;
}

void memory_owners_gone(uint64_t first, uint64_t last)
{
	struct sweep sweep = {.first = first, .last = last};
	table_sweep(&have.pointers, sweep_pointer, &sweep);
	table_sweep(&have.arrays, sweep_whole, &sweep);
	table_sweep(&have.externals, sweep_whole, &sweep);
	for (int device = 0; device < SHIM_DEVICES; device++)
		for (int kind = 0; kind < SLICE_KINDS; kind++)
			charge_return(device, (enum slice_kind)kind, sweep.bytes[device][kind]);
}

enum cu_result memory_here(struct place *ret_place, struct charge *ret_charge, uint64_t size)
{
	enum cu_result rc = charge_place(ret_place);
	return rc == CU_SUCCESS ? memory_begin(ret_charge, ret_place->device, size) : rc;
}

/* After the driver's answer: what it gave is charged, or goes back to it. */
static enum cu_result finish(enum cu_result rc, struct charge *charge, const struct place *place,
        enum slice_kind kind, cu_ptr pointer, uint64_t size)
{
	if (rc != CU_SUCCESS) {
		charge_end(charge, kind, 0);
		return rc;
	}
	rc = memory_take(charge, place, kind, pointer, size);
	if (rc != CU_SUCCESS)
		real.cuMemFree_v2(pointer);
	return rc;
}

/* The ways to so many bytes; what is behind the size is the driver's alone. */
#define ALLOCATE(symbol, params, kind, ...)                                 \
	enum cu_result symbol params                                        \
	{                                                                   \
		ENTER(symbol);                                              \
		if (dptr == NULL || bytesize == 0)                          \
			return real.symbol(dptr, __VA_ARGS__);              \
		struct place place;                                         \
		struct charge charge;                                       \
		enum cu_result rc = memory_here(&place, &charge, bytesize); \
		if (rc != CU_SUCCESS)                                       \
			return rc;                                          \
		__typeof__(*dptr) pointer = 0;                              \
		rc = real.symbol(&pointer, __VA_ARGS__);                    \
		rc = finish(rc, &charge, &place, kind, pointer, bytesize);  \
		if (rc == CU_SUCCESS)                                       \
			*dptr = pointer;                                    \
		return rc;                                                  \
	}
ALLOCATE(cuMemAlloc, (unsigned *dptr, unsigned bytesize), SLICE_MEMORY, bytesize)
ALLOCATE(cuMemAlloc_v2, (cu_ptr * dptr, size_t bytesize), SLICE_MEMORY, bytesize)
ALLOCATE(cuMemAllocManaged, (cu_ptr * dptr, size_t bytesize, unsigned flags), SLICE_MANAGED,
        bytesize, flags)

/* The driver chooses the pitch; most rows end at the next place. */
static uint64_t likely_pitched(uint64_t width, uint64_t height)
{
	return width > UINT64_MAX - PLACE_BYTES ? UINT64_MAX
	                                        : charge_product(in_places(width), height);
}

#define ALLOCATE_PITCH(symbol, pointer_type, size_type)                                         \
	enum cu_result symbol(pointer_type *dptr, size_type *p_pitch, size_type width_in_bytes, \
	        size_type height, unsigned element_size_bytes)                                  \
	{                                                                                       \
		ENTER(symbol);                                                                  \
		if (dptr == NULL || p_pitch == NULL || width_in_bytes == 0 || height == 0)      \
			return real.symbol(                                                     \
			        dptr, p_pitch, width_in_bytes, height, element_size_bytes);     \
		struct place place;                                                             \
		struct charge charge;                                                           \
		enum cu_result rc =                                                             \
		        memory_here(&place, &charge, likely_pitched(width_in_bytes, height));   \
		if (rc != CU_SUCCESS)                                                           \
			return rc;                                                              \
		pointer_type pointer = 0;                                                       \
		size_type pitch = 0;                                                            \
		rc = real.symbol(&pointer, &pitch, width_in_bytes, height, element_size_bytes); \
		rc = finish(rc, &charge, &place, SLICE_MEMORY, pointer,                         \
		        charge_product(pitch, height));                                         \
		if (rc == CU_SUCCESS) {                                                         \
			*dptr = pointer;                                                        \
			*p_pitch = pitch;                                                       \
		}                                                                               \
		return rc;                                                                      \
	}
ALLOCATE_PITCH(cuMemAllocPitch, unsigned, unsigned)
ALLOCATE_PITCH(cuMemAllocPitch_v2, cu_ptr, size_t)

void memory_freed(enum cu_result rc, const struct table_entry *entry)
{
	if (rc != CU_SUCCESS)
		table_put(&have.pointers, entry);
	else if (entry->kind == SLICE_POOL)
		pools_freed(entry);
	else
		charge_return(entry->device, (enum slice_kind)entry->kind, left_bytes(entry));
}

#define FREE(symbol, pointer_type)                                       \
	enum cu_result symbol(pointer_type dptr)                         \
	{                                                                \
		ENTER(symbol);                                           \
		struct table_entry entry;                                \
		bool is_ours = table_take(&have.pointers, dptr, &entry); \
		enum cu_result rc = real.symbol(dptr);                   \
		if (is_ours)                                             \
			memory_freed(rc, &entry);                        \
		return rc;                                               \
	}
FREE(cuMemFree, unsigned)
FREE(cuMemFree_v2, cu_ptr)
