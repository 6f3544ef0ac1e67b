/*
 * The fake libcuda as a program sees it: loaded by dlopen, from a description, with one pointer for each row of the table.
 * A driver has one life in a process, so each PART runs in a child. One thread, if a test makes no others. What goes wrong
 * fails the test.
 */
#pragma once

#include "fixture.h"

#include "../../../tables/cuda_abi.h"
#include "../../../tables/fake_clock.h"

#include <dlfcn.h>
#include <signal.h>
#include <time.h>

#define KIB          (UINT64_C(1) << 10)
#define MIB          (UINT64_C(1) << 20)
#define ONE_CARD     "device\nmemory 1GiB\nreserved 24MiB\n"
#define ONE_CARD_MIB 1000

struct cuda {
	void *handle;
	const struct fake_clock *(*berthFakeClock)(void);
#define CUDA(use, since, symbol, name, stream, params, args) enum cu_result(*symbol) params;
#include "../../../tables/cuda.def"
#undef CUDA
};

static struct cuda cu; /* of the process */

#define ok(call)          assert_int_equal(cu.call, CU_SUCCESS)
#define fails(code, call) assert_int_equal(cu.call, CU_ERROR_##code)

static inline void cuda_load(const char *file)
{
	char path[512];
	const struct {
		const char *name;
		size_t offset;
	} symbols[] = {
	        {"berthFakeClock", offsetof(struct cuda, berthFakeClock)},
#define CUDA(use, since, symbol, name, stream, params, args) \
	{#symbol, offsetof(struct cuda, symbol)},
#include "../../../tables/cuda.def"
#undef CUDA
	};

	cu.handle = dlopen(fixture_built(file, path), RTLD_NOW | RTLD_LOCAL);
	if (!cu.handle)
		fail_msg("%s", dlerror());
	for (size_t i = 0; i < sizeof(symbols) / sizeof(symbols[0]); i++) {
		void *symbol = dlsym(cu.handle, symbols[i].name);

		memcpy((char *)&cu + symbols[i].offset, &symbol, sizeof(symbol));
	}
}

/* Loads, starts, and makes a context on device 0. */
static inline struct cu_ctx *cuda_start(void)
{
	struct cu_ctx *ctx = NULL;

	cuda_load("fake/libcuda.so.1");
	ok(cuInit(0));
	ok(cuCtxCreate_v2(&ctx, 0, 0));
	return ctx;
}

static inline uint64_t cuda_free(void)
{
	size_t left, all;

	ok(cuMemGetInfo_v2(&left, &all));
	return left;
}

/* Runs a part of a test in a process of its own; a failed assertion ends that by a signal. */
static inline pid_t cuda_fork(void (*part)(struct fixture *f), struct fixture *f)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		setenv("CMOCKA_TEST_ABORT", "1", 1);
		setenv("BERTH_FAKE_GPUS", f->path, 1);
		part(f);
		exit(0);
	}
	return pid;
}

static inline void cuda_run(void (*part)(struct fixture *f), const char *description)
{
	struct fixture f;
	int code;

	fixture_new(&f, description);
	code = fixture_wait(cuda_fork(part, &f));
	fixture_free(&f);
	assert_int_equal(code, 0);
}

/* A test that is one such part over a description. */
#define PART(name, description)                     \
	static void part_##name(struct fixture *f); \
	static void test_##name(void **state)       \
	{                                           \
		cuda_run(part_##name, description); \
	}                                           \
	static void part_##name(struct fixture *f)
