/*
 * A program in a slice: the interposer in front of the fake driver, as a job finds them, with the slice's ledger in sight.
 * A driver has one life in a process, so each PART runs in a child, which shim_start puts into the slice.
 */
#pragma once

#include "../unit/fake/cuda_box.h"

#include "slice_file.h"

#define UUID     "GPU-00112233-4455-6677-8899-aabbccddeeff"
#define UUID_B   "GPU-00112233-4455-6677-8899-aabbccddee00"
#define GRANULE  SLICE_FILE_GRANULE
#define CONTEXT  (32 * MIB)
#define LIMIT    (256 * MIB)
#define CARD     "device\nmemory 1GiB\nuuid " UUID "\n"
#define TWO      CARD "device\nmemory 2GiB\nuuid " UUID_B "\n"
#define NO_SLICE UINT64_MAX

/* The sanitizers want to be in every program, and in its first world of libraries alone. */
#ifdef __SANITIZE_ADDRESS__
#define IS_SANITIZED true
#else
#define IS_SANITIZED false
#endif

static struct slice *slices[2]; /* as the file has them */
static struct cuda driver;      /* the real one: what the interposer says is compared with it */

/* One that is there already is left as it is. */
static inline struct slice *shim_slice(
        const struct fixture *f, unsigned number, const char *uuid, uint64_t limit_bytes)
{
	char path[256];
	snprintf(path, sizeof path, "%s/slice-%u", f->dir, number);
	if (access(path, F_OK) != 0)
		slice_file_write(f->dir, number, uuid, limit_bytes, CONTEXT, SLICE_HOLDS_MEMORY);
	return slice_file_map(f->dir, number);
}

/* A directory as a job has it: the interposer under the driver's name, the driver under its private one. */
static inline void shim_place(const struct fixture *f, const char *shim, const char *fake)
{
	char path[512], link[256];
	snprintf(link, sizeof link, "%s/libcuda.so.1", f->dir);
	assert_true(symlink(fixture_built(shim, path), link) == 0 || errno == EEXIST);
	snprintf(link, sizeof link, "%s/libcuda.real.so.1", f->dir);
	assert_true(symlink(fixture_built(fake, path), link) == 0 || errno == EEXIST);
}

static inline void cuda_fill(struct cuda *c, const char *path)
{
	c->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (c->handle == NULL)
		fail_msg("%s", dlerror());
#define CUDA(use, since, symbol, name, stream, params, args) \
	*(void **)&c->symbol = dlsym(c->handle, #symbol);
#include "../../tables/cuda.def"
#undef CUDA
}

static inline void shim_load_as(const struct fixture *f, const char *shim, const char *fake)
{
	char path[512];
	shim_place(f, shim, fake);
	setenv(SLICE_VARIABLE, f->dir, 1);
	snprintf(path, sizeof path, "%s/libcuda.so.1", f->dir);
	cuda_fill(&cu, path);
	snprintf(path, sizeof path, "%s/libcuda.real.so.1", f->dir);
	cuda_fill(&driver, path);
	assert_ptr_not_equal(cu.cuInit, driver.cuInit);
}

static inline void shim_load(const struct fixture *f)
{
	shim_load_as(f, "shim/libcuda.so.1", "fake/libcuda.so.1");
}

/* In a slice of 256 MiB of the first card, without a context. */
static inline void shim_init(const struct fixture *f)
{
	slices[0] = shim_slice(f, 0, UUID, LIMIT);
	shim_load(f);
	ok(cuInit(0));
}

static inline struct cu_ctx *shim_start(const struct fixture *f)
{
	struct cu_ctx *ctx = NULL;
	shim_init(f);
	ok(cuCtxCreate_v2(&ctx, 0, 0));
	return ctx;
}

/* What the card has lost to all who use it. */
static inline uint64_t physical(void)
{
	size_t left, all;
	assert_int_equal(driver.cuMemGetInfo_v2(&left, &all), CU_SUCCESS);
	return all - left;
}

static inline uint64_t used(void)
{
	return slices[0]->ledger.used_bytes;
}

/* The ledger is the truth, and what the program is shown is the ledger. */
static inline void check(uint64_t bytes)
{
	size_t left, all;
	ok(cuMemGetInfo_v2(&left, &all)); /* clears what the dead have left */
	assert_int_equal(used(), bytes);
	assert_int_equal(physical(), bytes);
	assert_int_equal(all, LIMIT);
	assert_int_equal(left, LIMIT - bytes);
}

static inline uint64_t charged(enum slice_kind kind)
{
	uint64_t bytes = 0;
	for (unsigned i = 0; i < SLICE_SLOTS; i++)
		bytes += slices[0]->slots[i].bytes[kind];
	return bytes;
}
