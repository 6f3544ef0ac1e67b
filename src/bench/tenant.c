/*
 * A program that uses one device by the driver API, as the word says, and prints what it saw; in a slice or not, it cannot tell.
 *   info              CUDA's version, UUID, free and total bytes, the device's total
 *   exact             takes all that is free, then one byte more: both answers
 *   hold              has a context, says so, and waits for its end
 *   race              takes and gives memory back at random until it is killed; another answer than "out of memory" ends it with 3
 *   init, context     does that, and ends
 *   nvml              what NVML says of the device's total and use
 *   calibrate         how far a kernel counts in a microsecond
 *   work KIND SECONDS 10us, 1ms, mixed, graph or idle: now and then the time and how many microseconds of kernels are done
 *   launch            nanoseconds that a launch takes the host, the best of many rounds
 *   stamp SECONDS     begin and end of each kernel by the device's clock
 *   overhead          nanoseconds that the interposer adds, in front of a driver that does nothing
 * Ends with 1 and the call that failed.
 */
#include "bench/tenant_cuda.h"
#include "bench/tenants.h"

#include "../../tables/nvml_abi.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NVML(need, since, ret, name, params) extern ret name params;
#include "../../tables/nvml.def"
#undef NVML

struct cuda cu;
static void *libcuda;

static const struct {
	void **to;
	const char *name;
} calls[] = {
#define CALL(name) {(void **)&cu.name, #name},
        TENANT_CALLS(CALL)
#undef CALL
};

static void fail(const char *what)
{
	printf("failed %s\n", what);
	exit(1);
}

void tenant_must(enum cu_result rc, const char *what)
{
	if (rc == CU_SUCCESS)
		return;
	printf("failed %s %d\n", what, (int)rc);
	exit(1);
}

uint64_t tenant_machine_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void begin(void)
{
	libcuda = dlopen("libcuda.so.1", RTLD_NOW);
	if (!libcuda)
		fail(dlerror());
	for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
		*calls[i].to = dlsym(libcuda, calls[i].name);
		if (!*calls[i].to)
			tenant_must(CU_ERROR_NOT_FOUND, calls[i].name);
	}
	MUST(cuInit(0));
}

/* Of the library itself, or of what it stands in front of. */
const struct fake_clock *tenant_clock(void)
{
	const struct fake_clock *(*clock_of)(void) = NULL;

	*(void **)&clock_of = dlsym(libcuda, "berthFakeClock");
	return clock_of ? clock_of() : NULL;
}

void tenant_begin_context(void)
{
	struct cu_ctx *ctx;

	begin();
	MUST(cuDevicePrimaryCtxRetain(&ctx, 0));
	MUST(cuCtxSetCurrent(ctx));
}

static void say_info(void)
{
	struct cu_uuid uuid;
	int version = 0;
	size_t left, total, device;

	tenant_begin_context();
	MUST(cuDriverGetVersion(&version));
	MUST(cuDeviceGetUuid(&uuid, 0));
	MUST(cuMemGetInfo_v2(&left, &total));
	MUST(cuDeviceTotalMem_v2(&device, 0));
	printf("cuda %d.%d\nuuid GPU-", version / 1000, version % 1000 / 10);
	for (int i = 0; i < 16; i++)
		printf("%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", uuid.bytes[i]);
	printf("\nfree %zu\ntotal %zu\ndevice %zu\n", left, total, device);
}

static void take_all(void)
{
	size_t left, total;
	cu_ptr ptr;

	tenant_begin_context();
	MUST(cuMemGetInfo_v2(&left, &total));
	printf("free %zu\n", left);
	printf("all %d\n", (int)cu.cuMemAlloc_v2(&ptr, left));
	printf("more %d\n", (int)cu.cuMemAlloc_v2(&ptr, 1));
}

static void hold(void)
{
	tenant_begin_context();
	printf("held\n");
	fflush(stdout);
	for (;;)
		pause();
}

static void race(void)
{
	cu_ptr held[6] = {0};
	size_t left, total;

	srandom((unsigned)getpid());
	tenant_begin_context();
	MUST(cuMemGetInfo_v2(&left, &total));
	for (;;) {
		cu_ptr *p = &held[random() % 6];

		if (*p) {
			MUST(cuMemFree_v2(*p));
			*p = 0;
			continue;
		}
		enum cu_result rc = cu.cuMemAlloc_v2(p, 1 + (size_t)random() % (total / 6));
		if (rc == CU_ERROR_OUT_OF_MEMORY)
			*p = 0;
		else if (rc != CU_SUCCESS)
			exit(3);
	}
}

static void say_nvml(void)
{
	__typeof__(nvmlInit_v2) *init = NULL;
	__typeof__(nvmlDeviceGetHandleByIndex_v2) *by_index = NULL;
	__typeof__(nvmlDeviceGetMemoryInfo) *memory_of = NULL;
	void *handle = dlopen("libnvidia-ml.so.1", RTLD_NOW);
	struct nvml_memory memory;
	struct nvml_device *device;

	if (!handle)
		fail(dlerror());
	*(void **)&init = dlsym(handle, "nvmlInit_v2");
	*(void **)&by_index = dlsym(handle, "nvmlDeviceGetHandleByIndex_v2");
	*(void **)&memory_of = dlsym(handle, "nvmlDeviceGetMemoryInfo");
	if (!init || !by_index || !memory_of || init() != NVML_SUCCESS ||
	        by_index(0, &device) != NVML_SUCCESS || memory_of(device, &memory) != NVML_SUCCESS)
		fail("NVML");
	printf("total %llu\nused %llu\n", memory.total, memory.used);
}

static const struct {
	const char *name;
	void (*run)(void);
} words[] = {
        {"info", say_info},
        {"exact", take_all},
        {"hold", hold},
        {"race", race},
        {"init", begin},
        {"context", tenant_begin_context},
        {"nvml", say_nvml},
        {"calibrate", tenant_calibrate},
        {"launch", tenant_launch},
        {"overhead", tenant_overhead},
};

int tenant_main(int argc, char **argv)
{
	const char *word = argc > 0 ? argv[0] : "";

	setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	if (!strcmp(word, "work") && argc == 3) {
		tenant_work(argv[1], strtod(argv[2], NULL));
		return 0;
	}
	if (!strcmp(word, "stamp") && argc == 2) {
		tenant_stamp(strtod(argv[1], NULL));
		return 0;
	}
	for (size_t i = 0; argc == 1 && i < sizeof words / sizeof *words; i++) {
		if (strcmp(words[i].name, word) != 0)
			continue;
		words[i].run();
		return 0;
	}
	return 2;
}
