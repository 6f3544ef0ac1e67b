/*
 * A small CUDA program for flow tests, by the driver API alone: `cuda WORD...` does each word in turn and prints a line of it.
 *   info          free and total bytes, and the device's own total
 *   alloc BYTES   what cuMemAlloc answers
 *   exact         takes all that is free, then asks for one byte more, and prints both answers
 *   hold          waits until it is ended
 * Ends with 1 when there is no driver, or no context.
 */
#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../tables/cuda_abi.h"

static struct {
	enum cu_result (*init)(unsigned flags);
	enum cu_result (*retain)(struct cu_ctx **ctx, int device);
	enum cu_result (*set)(struct cu_ctx *ctx);
	enum cu_result (*total)(size_t *bytes, int device);
	enum cu_result (*info)(size_t *free_bytes, size_t *total_bytes);
	enum cu_result (*alloc)(cu_ptr *ptr, size_t bytes);
} cu;

static int fail(const char *what, enum cu_result rc)
{
	printf("%s: %d\n", what, (int)rc);
	return 1;
}

static bool load(const char *library)
{
	static const struct {
		void **to;
		const char *name;
	} symbols[] = {{(void **)&cu.init, "cuInit"},
	        {(void **)&cu.retain, "cuDevicePrimaryCtxRetain"},
	        {(void **)&cu.set, "cuCtxSetCurrent"}, {(void **)&cu.total, "cuDeviceTotalMem_v2"},
	        {(void **)&cu.info, "cuMemGetInfo_v2"}, {(void **)&cu.alloc, "cuMemAlloc_v2"}};
	void *handle = dlopen(library ? library : "libcuda.so.1", RTLD_NOW);

	for (size_t i = 0; handle && i < sizeof(symbols) / sizeof(*symbols); i++)
		*symbols[i].to = dlsym(handle, symbols[i].name);
	return cu.alloc != NULL;
}

static int begin(void)
{
	struct cu_ctx *ctx;
	enum cu_result rc = cu.init(0);

	if (rc)
		return fail("cuInit", rc);
	rc = cu.retain(&ctx, 0);
	if (rc)
		return fail("cuDevicePrimaryCtxRetain", rc);
	rc = cu.set(ctx);
	return rc ? fail("cuCtxSetCurrent", rc) : 0;
}

static void take_all(void)
{
	size_t left = 0, total = 0;
	cu_ptr ptr;

	cu.info(&left, &total);
	printf("all: %d\n", (int)cu.alloc(&ptr, left));
	printf("one more: %d\n", (int)cu.alloc(&ptr, 1));
}

static void say_info(void)
{
	size_t left = 0, total = 0, device = 0;
	enum cu_result rc = cu.info(&left, &total);

	cu.total(&device, 0);
	printf("info: %d %zu %zu %zu\n", (int)rc, left, total, device);
}

int main(int argc, char **argv)
{
	cu_ptr ptr;
	int rc;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!load(getenv("CUDA_PROBE_LIBRARY"))) {
		printf("no driver\n");
		return 1;
	}
	rc = begin();
	for (int i = 1; rc == 0 && i < argc; i++) {
		if (!strcmp(argv[i], "info"))
			say_info();
		else if (!strcmp(argv[i], "exact"))
			take_all();
		else if (!strcmp(argv[i], "alloc") && argv[i + 1])
			printf("alloc: %d\n", (int)cu.alloc(&ptr, strtoull(argv[++i], NULL, 10)));
		else if (!strcmp(argv[i], "hold"))
			for (;;)
				pause();
	}
	return rc;
}
