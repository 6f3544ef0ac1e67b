/*
 * A small CUDA program for flow tests, by the driver API alone: `cuda WORD...` does each word in turn and prints a line of it.
 *   info          free and total bytes, and the device's own total
 *   alloc BYTES   what cuMemAlloc answers
 *   exact         takes all that is free, then asks for one byte more, and prints both answers
 *   launch FILE   launches kernels of 1 ms until it is ended; in FILE stands how many were done
 *   stand BYTES   writes itself into the job's ledger with so much, as the interposer does, and does not sign
 *   hold          waits until it is ended
 * Ends with 1 when there is no driver, or no context.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../tables/cuda_abi.h"
#include "berth/slice.h"

static struct {
	enum cu_result (*init)(unsigned flags);
	enum cu_result (*retain)(struct cu_ctx **ctx, int device);
	enum cu_result (*set)(struct cu_ctx *ctx);
	enum cu_result (*total)(size_t *bytes, int device);
	enum cu_result (*info)(size_t *free_bytes, size_t *total_bytes);
	enum cu_result (*alloc)(cu_ptr *ptr, size_t bytes);
	enum cu_result (*module)(struct cu_module **module, const void *image);
	enum cu_result (*function)(
	        struct cu_func **func, struct cu_module *module, const char *name);
	enum cu_result (*launch)(struct cu_func *func, unsigned gx, unsigned gy, unsigned gz,
	        unsigned bx, unsigned by, unsigned bz, unsigned shared, struct cu_stream *stream,
	        void **params, void **extra);
	enum cu_result (*sync)(struct cu_stream *stream);
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
	        {(void **)&cu.info, "cuMemGetInfo_v2"}, {(void **)&cu.alloc, "cuMemAlloc_v2"},
	        {(void **)&cu.module, "cuModuleLoadData"},
	        {(void **)&cu.function, "cuModuleGetFunction"},
	        {(void **)&cu.launch, "cuLaunchKernel"},
	        {(void **)&cu.sync, "cuStreamSynchronize"}};
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

/* Never far ahead of the device, so that what was launched was done, or nearly. */
static int launch_on(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	struct cu_module *module;
	struct cu_func *func;
	enum cu_result rc = cu.module(&module, "image");
	char line[32];

	if (rc == 0)
		rc = cu.function(&func, module, "k_1ms");
	for (unsigned n = 0; rc == 0; n++) {
		if (n % 16 == 0)
			rc = cu.sync(NULL);
		if (rc == 0)
			rc = cu.launch(func, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL);
		if (pwrite(fd, line, (size_t)snprintf(line, sizeof(line), "%u\n", n), 0) < 0)
			break;
	}
	close(fd);
	return fail("launch", rc);
}

/* The descriptor, and the lock on the slot, are kept. */
static int stand_in(uint64_t bytes)
{
	enum { SLOT = 500 };
	struct slice_slot slot = {.pid = (uint32_t)getpid(), .bytes[SLICE_MEMORY] = bytes};
	struct flock lock = {.l_type = F_WRLCK, .l_start = SLICE_LOCK_BYTE + SLOT, .l_len = 1};
	const uint32_t top = SLOT + 1;
	const char *dir = getenv(SLICE_VARIABLE);
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/slice-0", dir ? dir : SLICE_DIR);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 || fcntl(fd, F_OFD_SETLK, &lock) < 0 ||
	        pwrite(fd, &slot, sizeof(slot), SLICE_SLOTS_AT + SLOT * (off_t)sizeof(slot)) < 0 ||
	        pwrite(fd, &top, sizeof(top),
	                SLICE_LEDGER_AT + (off_t)offsetof(struct slice_ledger, top)) < 0) {
		printf("stand: no ledger\n");
		return 1;
	}
	printf("stand: 0\n");
	return 0;
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
		else if (!strcmp(argv[i], "stand") && argv[i + 1])
			rc = stand_in(strtoull(argv[++i], NULL, 10));
		else if (!strcmp(argv[i], "launch") && argv[i + 1])
			rc = launch_on(argv[++i]);
		else if (!strcmp(argv[i], "hold"))
			for (;;)
				pause();
	}
	return rc;
}
