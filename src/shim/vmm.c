#include "shim/charge.h"

/*
 * DESIGN. Physical memory lives until its last handle is released and its last mapping removed, and the driver may use a handle's
 * number again while mappings of the old one live. So memory is an object with a number of ours, and how many hold it; handles and
 * mappings are ways to it. The device that pays is the one that the memory lies on, whatever context is current.
 */

static uint64_t last_object;

struct held {
	const struct table_entry *born; /* the object when it is made; NULL: it is there */
	int64_t by;                     /* how many more hold it */
	struct table_entry dead;        /* key != 0: nobody holds it any more */
};

static int64_t hold(struct table_entry *entry, void *context)
{
	struct held *held = context;
	if (held->born != NULL)
		*entry = *held->born;
	else if (entry->size != 0)
		entry->size = (uint64_t)((int64_t)entry->size + held->by);
	if (entry->size == 0 && entry->bytes != 0)
		held->dead = *entry;
	return 0;
}

static void object_hold(uint64_t object, int64_t by)
{
	struct held held = {.by = by};
	table_change(&have.objects, object, hold, &held);
	if (held.dead.key != 0)
		charge_return(held.dead.device, SLICE_PHYSICAL, held.dead.bytes);
}

enum cu_result cuMemCreate(
        cu_handle *handle, size_t size, const struct cu_mem_prop *prop, unsigned long long flags)
{
	ENTER(cuMemCreate);
	if (handle == NULL || prop == NULL || prop->location.type != CU_LOCATION_DEVICE ||
	        size == 0)
		return real.cuMemCreate(handle, size, prop, flags);
	struct charge charge;
	struct ledger *ledger;
	int device = prop->location.id;
	enum cu_result rc = charge_ledger(device, &ledger);
	uint64_t bytes = rc == CU_SUCCESS ? charge_round(ledger, size) : 0;
	if (rc == CU_SUCCESS)
		rc = charge_begin(&charge, device, bytes);
	if (rc != CU_SUCCESS)
		return rc;
	cu_handle made = 0;
	rc = real.cuMemCreate(&made, size, prop, flags);
	if (rc == CU_SUCCESS) {
		struct table_entry object = {
		        .key = __atomic_add_fetch(&last_object, 1, __ATOMIC_RELAXED),
		        .size = 1,
		        .bytes = bytes,
		        .device = device};
		struct table_entry way = {.key = made, .size = 1, .extra = object.key};
		struct held held = {.born = &object};
		if (table_change(&have.objects, object.key, hold, &held) != 0 ||
		        table_put(&have.handles, &way) != 0) {
			struct table_entry ignored;
			table_take(&have.objects, object.key, &ignored);
			if (real.cuMemRelease != NULL)
				real.cuMemRelease(made);
			rc = CU_ERROR_OUT_OF_MEMORY;
		}
	}
	charge_end(&charge, SLICE_PHYSICAL, rc == CU_SUCCESS ? bytes : 0);
	if (rc == CU_SUCCESS)
		*handle = made;
	return rc;
}

static int64_t hand_out(struct table_entry *entry, void *context)
{
	/* Only what is there: a handle that nobody knows is not ours to count. */
	if (entry->size != 0)
		entry->size++;
	*(struct table_entry *)context = *entry;
	return 0;
}

static int64_t hand_in(struct table_entry *entry, void *context)
{
	*(struct table_entry *)context = *entry;
	if (entry->size != 0)
		entry->size--;
	return 0;
}

/* A way is taken before the driver is asked, because its number may be another's right after; and put back when it refuses. */
enum cu_result cuMemRelease(cu_handle handle)
{
	ENTER(cuMemRelease);
	struct table_entry way = {0};
	if (handle != 0)
		table_change(&have.handles, handle, hand_in, &way);
	enum cu_result rc = real.cuMemRelease(handle);
	if (way.size == 0)
		return rc;
	if (rc == CU_SUCCESS) {
		object_hold(way.extra, -1);
		return rc;
	}
	struct table_entry now;
	table_change(&have.handles, handle, hand_out, &now);
	if (now.size == 0) {
		way.size = 1;
		table_put(&have.handles, &way);
	}
	return rc;
}

struct span {
	cu_ptr at;
	uint64_t size;
};

static bool holds_address(const struct table_entry *entry, void *context)
{
	const struct span *span = context;
	return span->at >= entry->key && span->at - entry->key < entry->size;
}

enum cu_result cuMemRetainAllocationHandle(cu_handle *handle, void *addr)
{
	ENTER(cuMemRetainAllocationHandle);
	enum cu_result rc = real.cuMemRetainAllocationHandle(handle, addr);
	struct span span = {.at = (uintptr_t)addr};
	struct table_entry way = {0}, mapping;
	if (rc != CU_SUCCESS || handle == NULL || *handle == 0)
		return rc;
	table_change(&have.handles, *handle, hand_out, &way);
	if (way.size == 0) {
		if (!table_find_if(&have.mappings, holds_address, &span, &mapping))
			return rc;
		way = (struct table_entry){.key = *handle, .size = 1, .extra = mapping.extra};
		if (table_put(&have.handles, &way) != 0) {
			if (real.cuMemRelease != NULL)
				real.cuMemRelease(*handle);
			return CU_ERROR_OUT_OF_MEMORY;
		}
	}
	object_hold(way.extra, 1);
	return rc;
}

enum cu_result cuMemMap(
        cu_ptr ptr, size_t size, size_t offset, cu_handle handle, unsigned long long flags)
{
	ENTER(cuMemMap);
	struct table_entry way;
	if (!table_find(&have.handles, handle, &way))
		return real.cuMemMap(ptr, size, offset, handle, flags);
	/* Before the driver: whoever releases the handle meanwhile does not end the charge. */
	object_hold(way.extra, 1);
	struct table_entry mapping = {.key = ptr, .size = size, .extra = way.extra};
	enum cu_result rc = real.cuMemMap(ptr, size, offset, handle, flags);
	if (rc == CU_SUCCESS && table_put(&have.mappings, &mapping) != 0) {
		if (real.cuMemUnmap != NULL)
			real.cuMemUnmap(ptr, size);
		rc = CU_ERROR_OUT_OF_MEMORY;
	}
	if (rc != CU_SUCCESS)
		object_hold(way.extra, -1);
	return rc;
}

/* One call may remove several mappings, each of them whole. */
static bool is_removed(const struct table_entry *entry, void *context)
{
	const struct span *span = context;
	if (entry->key < span->at || entry->key - span->at >= span->size)
		return false;
	object_hold(entry->extra, -1);
	return true;
}

enum cu_result cuMemUnmap(cu_ptr ptr, size_t size)
{
	ENTER(cuMemUnmap);
	struct table_entry mapping;
	bool is_one = table_take(&have.mappings, ptr, &mapping);
	enum cu_result rc = real.cuMemUnmap(ptr, size);
	if (is_one && rc != CU_SUCCESS)
		table_put(&have.mappings, &mapping);
	if (rc != CU_SUCCESS)
		return rc;
	if (is_one)
		object_hold(mapping.extra, -1);
	if (!is_one || mapping.size != size) {
		struct span span = {.at = ptr, .size = size};
		table_sweep(&have.mappings, is_removed, &span);
	}
	return rc;
}

/* Its bytes are the exporter's. */
enum cu_result cuMemImportFromShareableHandle(
        cu_handle *handle, void *os_handle, int sh_handle_type)
{
	ENTER(cuMemImportFromShareableHandle);
	return real.cuMemImportFromShareableHandle(handle, os_handle, sh_handle_type);
}
