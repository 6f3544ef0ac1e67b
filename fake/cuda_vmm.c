/*
 * Physical memory without an address, and addresses without memory. It lives until its handles are released and its mappings
 * are gone, in every process that has it.
 */
#include "cuda.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define TAIL_BYTES \
	4096 /* behind the memory in its file: what it is, for whoever is given the file */
#define TAIL_MAGIC UINT64_C(0x4c49415450545242)

struct physical {
	struct object o;
	struct physical *next;
	unsigned card;
	int fd;
	unsigned n_handles, n_maps;
	uint64_t bytes;
	uint64_t shared; /* its number, once it was exported */
};

struct tail {
	uint64_t magic, shared, bytes;
};

struct range {
	struct range *next;
	cu_ptr at;
	uint64_t bytes;
};

static struct physical *physicals; /* all under the driver's lock */
static struct range *ranges;

static void drop_if_unused(struct physical *p)
{
	struct physical **at = &physicals;

	if (p->n_handles || p->n_maps)
		return;
	while (*at && *at != p)
		at = &(*at)->next;
	if (*at)
		*at = p->next;
	close(p->fd);
	if (p->shared)
		shared_leave(p->shared);
	else
		physical_give(p->card, p->bytes);
	object_end(p);
}

static struct physical *physical_new(unsigned card, int fd, uint64_t bytes)
{
	struct physical *p = object_new(KIND_PHYSICAL, sizeof(*p));

	if (!p)
		return NULL;
	p->card = card;
	p->fd = fd;
	p->bytes = bytes;
	p->n_handles = 1;
	p->next = physicals;
	physicals = p;
	return p;
}

static struct physical *of_handle(cu_handle handle)
{
	struct physical *p = (struct physical *)(uintptr_t)handle;

	return object_is(p, KIND_PHYSICAL) && p->n_handles ? p : NULL;
}

/* -- physical memory -- */

static enum cu_result check_prop(const struct cu_mem_prop *prop)
{
	if (!prop || prop->type != 1)
		return CU_ERROR_INVALID_VALUE;
	if (prop->location.type != CU_LOCATION_DEVICE)
		return CU_ERROR_NOT_SUPPORTED;
	if (prop->location.id < 0 || prop->location.id >= (int)driver.n_devs)
		return CU_ERROR_INVALID_DEVICE;
	return CU_SUCCESS;
}

static enum cu_result create(unsigned card, uint64_t bytes, cu_handle *handle)
{
	enum cu_result code = physical_take(card, bytes);
	struct physical *p = NULL;
	int fd;

	if (code)
		return code;
	fd = memfd_create("simulated physical memory", MFD_CLOEXEC);
	if (fd >= 0 && ftruncate(fd, (off_t)bytes + TAIL_BYTES) == 0)
		p = physical_new(card, fd, bytes);
	if (!p) {
		if (fd >= 0)
			close(fd);
		physical_give(card, bytes);
		return CU_ERROR_OUT_OF_MEMORY;
	}
	*handle = (uintptr_t)p;
	return CU_SUCCESS;
}

enum cu_result cuMemCreate(
        cu_handle *handle, size_t size, const struct cu_mem_prop *prop, unsigned long long flags)
{
	enum cu_result code = call_ready(__func__);

	if (!code)
		code = check_prop(prop);
	if (!code)
		code = call_device(__func__, prop->location.id);
	if (code)
		return code;
	if (!handle || !size || size % GRANULE || flags)
		return CU_ERROR_INVALID_VALUE;
	if (!granules(size))
		return CU_ERROR_OUT_OF_MEMORY;
	pthread_mutex_lock(&driver.lock);
	code = create(driver.cards[prop->location.id], size, handle);
	pthread_mutex_unlock(&driver.lock);
	return code;
}

enum cu_result cuMemRelease(cu_handle handle)
{
	enum cu_result code = call_ready(__func__);
	struct physical *p;

	if (code)
		return code;
	pthread_mutex_lock(&driver.lock);
	p = of_handle(handle);
	if (p) {
		p->n_handles--;
		drop_if_unused(p);
	} else {
		code = CU_ERROR_INVALID_VALUE;
	}
	pthread_mutex_unlock(&driver.lock);
	return code;
}

enum cu_result cuMemRetainAllocationHandle(cu_handle *handle, void *addr)
{
	enum cu_result code = call_ready(__func__);
	struct block *b;

	if (code)
		return code;
	pthread_mutex_lock(&driver.lock);
	b = block_at((uintptr_t)addr);
	if (handle && b && b->kind == BLOCK_MAPPED) {
		b->physical->n_handles++;
		*handle = (uintptr_t)b->physical;
	} else {
		code = CU_ERROR_INVALID_VALUE;
	}
	pthread_mutex_unlock(&driver.lock);
	return code;
}

enum cu_result cuMemGetAllocationGranularity(
        size_t *granularity, const struct cu_mem_prop *prop, int option)
{
	enum cu_result code = call_ready(__func__);

	if (!code)
		code = check_prop(prop);
	if (code)
		return code;
	if (!granularity || option < 0 || option > 1)
		return CU_ERROR_INVALID_VALUE;
	*granularity = GRANULE;
	return CU_SUCCESS;
}

/* -- addresses -- */

static struct range *range_of(cu_ptr at, uint64_t bytes)
{
	struct range *r;

	for (r = ranges;
	        r && (at < r->at || at - r->at > r->bytes || bytes > r->bytes - (at - r->at));)
		r = r->next;
	return r;
}

enum cu_result cuMemAddressReserve(
        cu_ptr *ptr, size_t size, size_t alignment, cu_ptr addr, unsigned long long flags)
{
	enum cu_result code = call_ready(__func__);
	struct range *r;

	if (code)
		return code;
	if (!ptr || !size || size % GRANULE || flags || alignment & (alignment - 1))
		return CU_ERROR_INVALID_VALUE;
	r = alignment > GRANULE ? NULL : malloc(sizeof(*r));
	if (r)
		r->at = (uintptr_t)address_space(size);
	if (!r || !r->at) {
		free(r);
		return CU_ERROR_OUT_OF_MEMORY;
	}
	r->bytes = size;
	pthread_mutex_lock(&driver.lock);
	r->next = ranges;
	ranges = r;
	pthread_mutex_unlock(&driver.lock);
	*ptr = r->at;
	return CU_SUCCESS;
}

static bool is_mapped(cu_ptr at, uint64_t bytes)
{
	for (uint64_t i = 0; i < bytes; i += GRANULE)
		if (block_at(at + i))
			return true;
	return false;
}

enum cu_result cuMemAddressFree(cu_ptr ptr, size_t size)
{
	enum cu_result code = call_ready(__func__);
	struct range **at, *r;

	if (code)
		return code;
	pthread_mutex_lock(&driver.lock);
	for (at = &ranges; *at && (*at)->at != ptr;)
		at = &(*at)->next;
	r = *at;
	if (!r || r->bytes != size || is_mapped(ptr, size)) {
		code = CU_ERROR_INVALID_VALUE;
	} else {
		*at = r->next;
		munmap((void *)(uintptr_t)ptr, size);
		free(r);
	}
	pthread_mutex_unlock(&driver.lock);
	return code;
}

static enum cu_result map(cu_ptr at, uint64_t bytes, uint64_t offset, struct physical *p)
{
	struct block *b;

	if (!range_of(at, bytes) || offset > p->bytes || bytes > p->bytes - offset)
		return CU_ERROR_INVALID_VALUE;
	if (is_mapped(at, bytes))
		return CU_ERROR_ALREADY_MAPPED;
	b = object_new(KIND_BLOCK, sizeof(*b));
	if (!b || mmap((void *)(uintptr_t)at, bytes, PROT_NONE,
	                  MAP_FIXED | MAP_SHARED | MAP_NORESERVE, p->fd,
	                  (off_t)offset) == MAP_FAILED) {
		if (b)
			object_end(b);
		return CU_ERROR_OUT_OF_MEMORY;
	}
	b->at = at;
	b->bytes = bytes;
	b->kind = BLOCK_MAPPED;
	b->card = p->card;
	b->physical = p;
	p->n_maps++;
	return block_add(b);
}

enum cu_result cuMemMap(
        cu_ptr ptr, size_t size, size_t offset, cu_handle handle, unsigned long long flags)
{
	enum cu_result code = call_ready(__func__);
	struct physical *p;

	if (code)
		return code;
	if (!size || size % GRANULE || ptr % GRANULE || offset % GRANULE || flags)
		return CU_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&driver.lock);
	p = of_handle(handle);
	code = p ? map(ptr, size, offset, p) : CU_ERROR_INVALID_VALUE;
	pthread_mutex_unlock(&driver.lock);
	return code;
}

/* The blocks that fill the range exactly; false: there is a hole, or one reaches beyond it. */
static bool is_filled(cu_ptr at, uint64_t bytes)
{
	cu_ptr end = at + bytes;

	while (at < end) {
		struct block *b = block_at(at);

		if (!b || b->kind != BLOCK_MAPPED || b->at != at || b->bytes > end - at)
			return false;
		at += b->bytes;
	}
	return true;
}

enum cu_result cuMemUnmap(cu_ptr ptr, size_t size)
{
	enum cu_result code = call_ready(__func__);

	if (code)
		return code;
	pthread_mutex_lock(&driver.lock);
	if (!size || !is_filled(ptr, size))
		code = CU_ERROR_INVALID_VALUE;
	for (cu_ptr at = ptr; !code && at < ptr + size;) {
		struct block *b = block_at(at);
		struct physical *p = b->physical;

		at += b->bytes;
		mmap((void *)(uintptr_t)b->at, b->bytes, PROT_NONE,
		        MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		block_remove(b);
		object_end(b);
		p->n_maps--;
		drop_if_unused(p);
	}
	pthread_mutex_unlock(&driver.lock);
	return code;
}

enum cu_result cuMemSetAccess(cu_ptr ptr, size_t size, const struct cu_access *desc, size_t count)
{
	enum cu_result code = call_ready(__func__);

	if (code)
		return code;
	pthread_mutex_lock(&driver.lock);
	if (!desc || !count || !is_filled(ptr, size))
		code = CU_ERROR_INVALID_VALUE;
	else
		mprotect((void *)(uintptr_t)ptr, size,
		        desc->flags == 3   ? PROT_READ | PROT_WRITE
		        : desc->flags == 1 ? PROT_READ
		                           : PROT_NONE);
	pthread_mutex_unlock(&driver.lock);
	return code;
}

/* -- between processes -- */

static enum cu_result export_physical(struct physical *p, int *ret_fd)
{
	struct tail tail = {.magic = TAIL_MAGIC, .bytes = p->bytes};

	if (!p->shared && !shared_new(p->card, p->bytes, &p->shared))
		return CU_ERROR_OUT_OF_MEMORY;
	tail.shared = p->shared;
	if (pwrite(p->fd, &tail, sizeof(tail), (off_t)p->bytes) != (ssize_t)sizeof(tail))
		return CU_ERROR_OPERATING_SYSTEM;
	*ret_fd = dup(p->fd);
	return *ret_fd >= 0 ? CU_SUCCESS : CU_ERROR_OPERATING_SYSTEM;
}

enum cu_result cuMemExportToShareableHandle(
        void *shareable_handle, cu_handle handle, int handle_type, unsigned long long flags)
{
	enum cu_result code = call_ready(__func__);
	struct physical *p;

	if (code)
		return code;
	if (!shareable_handle || flags)
		return CU_ERROR_INVALID_VALUE;
	if (handle_type != 1) /* files alone */
		return CU_ERROR_NOT_SUPPORTED;
	pthread_mutex_lock(&driver.lock);
	p = of_handle(handle);
	code = p ? export_physical(p, shareable_handle) : CU_ERROR_INVALID_VALUE;
	pthread_mutex_unlock(&driver.lock);
	return code;
}

/* One that this process has already is that one once more. */
static enum cu_result import_physical(int fd, cu_handle *handle)
{
	struct physical *p;
	struct tail tail;
	struct stat st;
	unsigned card;

	if (fstat(fd, &st) < 0 || st.st_size < TAIL_BYTES ||
	        pread(fd, &tail, sizeof(tail), st.st_size - TAIL_BYTES) != (ssize_t)sizeof(tail) ||
	        tail.magic != TAIL_MAGIC || (off_t)tail.bytes != st.st_size - TAIL_BYTES)
		return CU_ERROR_INVALID_VALUE;
	for (p = physicals; p && p->shared != tail.shared;)
		p = p->next;
	if (p) {
		p->n_handles++;
		*handle = (uintptr_t)p;
		return CU_SUCCESS;
	}
	if (!shared_join(tail.shared, &card))
		return CU_ERROR_INVALID_VALUE;
	p = physical_new(card, dup(fd), tail.bytes);
	if (!p) {
		shared_leave(tail.shared);
		return CU_ERROR_OUT_OF_MEMORY;
	}
	p->shared = tail.shared;
	*handle = (uintptr_t)p;
	return CU_SUCCESS;
}

enum cu_result cuMemImportFromShareableHandle(
        cu_handle *handle, void *os_handle, int sh_handle_type)
{
	enum cu_result code = call_ready(__func__);

	if (code)
		return code;
	if (!handle)
		return CU_ERROR_INVALID_VALUE;
	if (sh_handle_type != 1)
		return CU_ERROR_NOT_SUPPORTED;
	pthread_mutex_lock(&driver.lock);
	code = import_physical((int)(intptr_t)os_handle, handle);
	pthread_mutex_unlock(&driver.lock);
	return code;
}
