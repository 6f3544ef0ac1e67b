/*
 * Physical memory of cards, counted in granules in the state that all processes share, and host memory behind addresses.
 */
#include "cuda.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#define BACKING_BYTES \
	(INT64_C(1)   \
	        << 46) /* addresses of the file behind device memory; what is not touched takes nothing */

uint64_t granules(uint64_t bytes)
{
	return bytes > INT64_MAX ? 0 : (bytes + GRANULE - 1) & ~(GRANULE - 1);
}

enum cu_result physical_take(unsigned card, uint64_t bytes)
{
	struct sim_state st;
	bool ok;

	if (!bytes)
		return CU_SUCCESS;
	if (state_begin(&st))
		return CU_ERROR_UNKNOWN;
	ok = mps_allows(&st, card, bytes) && sim_take(driver.sim, &st, driver.place, card, bytes);
	if (state_end(&st))
		return CU_ERROR_UNKNOWN;
	return ok ? CU_SUCCESS : CU_ERROR_OUT_OF_MEMORY;
}

void physical_give(unsigned card, uint64_t bytes)
{
	struct sim_state st;

	if (!bytes || state_begin(&st))
		return;
	sim_give(&st, driver.place, card, bytes);
	state_end(&st);
}

void physical_look(unsigned card, uint64_t *ret_free, uint64_t *ret_total)
{
	const struct sim_card *c = &driver.sim->cards[card];
	uint64_t used = UINT64_MAX, usable = c->mem_bytes - c->reserved_bytes;
	struct sim_state st;

	if (state_begin(&st) == 0) {
		sim_drop_dead(driver.sim, &st);
		used = sim_used(&st, card);
		state_end(NULL);
	}
	*ret_free = used < usable ? (usable - used) & ~(GRANULE - 1) : 0;
	*ret_total = usable;
}

/* -- addresses -- */

int backing_fd(void)
{
	static int fd = -1;
	static bool tried;

	if (!tried) {
		tried = true;
		fd = memfd_create("simulated device memory", MFD_CLOEXEC);
		if (fd >= 0 && ftruncate(fd, BACKING_BYTES) <
		                       0) { /* a limit on files: plain memory will do */
			close(fd);
			fd = -1;
		}
	}
	return fd;
}

/* Whole granules of addresses, on a granule's boundary. */
void *address_space(uint64_t bytes)
{
	char *p = mmap(NULL, bytes + GRANULE, PROT_NONE,
	        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uintptr_t start;

	if (p == MAP_FAILED)
		return NULL;
	start = ((uintptr_t)p + GRANULE - 1) & ~(uintptr_t)(GRANULE - 1);
	if (start > (uintptr_t)p)
		munmap(p, start - (uintptr_t)p);
	munmap((char *)start + bytes, (uintptr_t)p + GRANULE - start);
	return (void *)start;
}

cu_ptr backing_new(uint64_t bytes, int64_t *ret_offset)
{
	static off_t next;
	void *at = address_space(bytes);
	int fd = backing_fd();
	void *p;

	if (!at)
		return 0;
	if (fd >= 0 && next + (off_t)bytes > BACKING_BYTES)
		fd = -1;
	p = mmap(at, bytes, PROT_READ | PROT_WRITE,
	        MAP_FIXED | MAP_NORESERVE | (fd >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS),
	        fd, fd >= 0 ? next : 0);
	if (p == MAP_FAILED) {
		munmap(at, bytes);
		return 0;
	}
	if (ret_offset)
		*ret_offset = fd >= 0 ? next : -1;
	if (fd >= 0)
		next += (off_t)bytes;
	madvise(p, bytes, MADV_DONTFORK);
	return (uintptr_t)p;
}

cu_ptr backing_map(int fd, int64_t offset, uint64_t bytes)
{
	void *at = address_space(bytes);

	if (!at)
		return 0;
	if (mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_SHARED | MAP_NORESERVE, fd,
	            offset) == MAP_FAILED) {
		munmap(at, bytes);
		return 0;
	}
	madvise(at, bytes, MADV_DONTFORK);
	return (uintptr_t)at;
}

/* -- memory that several processes hold -- */

bool shared_new(unsigned card, uint64_t bytes, uint64_t *ret_id)
{
	struct sim_state st;

	if (state_begin(&st))
		return false;
	*ret_id = sim_share(&st, driver.place, card, bytes);
	return state_end(&st) == 0 && *ret_id;
}

bool shared_join(uint64_t id, unsigned *ret_card)
{
	struct sim_state st;
	bool ok;

	if (state_begin(&st))
		return false;
	ok = sim_join(&st, driver.place, id, ret_card);
	return state_end(&st) == 0 && ok;
}

void shared_leave(uint64_t id)
{
	struct sim_state st;

	if (state_begin(&st))
		return;
	sim_leave(&st, driver.place, id);
	state_end(&st);
}

/* -- addresses come and go -- */

void backing_end(cu_ptr at, uint64_t bytes)
{
	madvise((void *)(uintptr_t)at, bytes,
	        MADV_REMOVE); /* the file's pages go, not only the addresses */
	munmap((void *)(uintptr_t)at, bytes);
}
