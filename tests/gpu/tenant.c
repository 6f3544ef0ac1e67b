/*
 * A program that uses one device by the driver API, as the word says, and prints what it saw; in a slice or not, it cannot tell.
 *   info              name, driver, UUID, free and total bytes, the device's total
 *   exact             takes all that is free, then one byte more: both answers
 *   hold              has a context, says so, and waits for its end
 *   race              takes and gives memory back at random until it is killed; another answer than "out of memory" ends it with 3
 *   calibrate         how far a kernel counts in a microsecond
 *   work KIND SECONDS 10us, 1ms, mixed, graph or idle: now and then the time and how many microseconds of kernels are done
 *   launch            nanoseconds that a launch takes the host, the best of many rounds
 *   stamp SECONDS     begin and end of each kernel by the device's clock
 * TENANT_COUNT is what `calibrate` printed. Ends with 1 and the call that failed.
 */
#include "kernels.h"

#include "../../tables/cuda_abi.h"
#include "../../tables/fake_clock.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CUDA(use, since, symbol, name, stream, params, args) extern enum cu_result symbol params;
#include "../../tables/cuda.def"
#undef CUDA

static struct {
	__typeof__(cuInit) *cuInit;
	__typeof__(cuDriverGetVersion) *cuDriverGetVersion;
	__typeof__(cuDeviceGetName) *cuDeviceGetName;
	__typeof__(cuDeviceGetUuid) *cuDeviceGetUuid;
	__typeof__(cuDeviceTotalMem_v2) *cuDeviceTotalMem_v2;
	__typeof__(cuDevicePrimaryCtxRetain) *cuDevicePrimaryCtxRetain;
	__typeof__(cuCtxSetCurrent) *cuCtxSetCurrent;
	__typeof__(cuMemGetInfo_v2) *cuMemGetInfo_v2;
	__typeof__(cuMemAlloc_v2) *cuMemAlloc_v2;
	__typeof__(cuMemFree_v2) *cuMemFree_v2;
	__typeof__(cuMemHostAlloc) *cuMemHostAlloc;
	__typeof__(cuModuleLoadData) *cuModuleLoadData;
	__typeof__(cuModuleGetFunction) *cuModuleGetFunction;
	__typeof__(cuStreamCreate) *cuStreamCreate;
	__typeof__(cuStreamSynchronize) *cuStreamSynchronize;
	__typeof__(cuLaunchKernel) *cuLaunchKernel;
	__typeof__(cuEventCreate) *cuEventCreate;
	__typeof__(cuEventRecord) *cuEventRecord;
	__typeof__(cuEventSynchronize) *cuEventSynchronize;
	__typeof__(cuStreamBeginCapture_v2) *cuStreamBeginCapture_v2;
	__typeof__(cuStreamEndCapture) *cuStreamEndCapture;
	__typeof__(cuGraphInstantiateWithFlags) *cuGraphInstantiateWithFlags;
	__typeof__(cuGraphLaunch) *cuGraphLaunch;
} cu;

static const struct {
	void **to;
	const char *name;
} calls[] = {
#define CALL(name)                       \
	{                                \
		(void **)&cu.name, #name \
	}
        CALL(cuInit),
        CALL(cuDriverGetVersion),
        CALL(cuDeviceGetName),
        CALL(cuDeviceGetUuid),
        CALL(cuDeviceTotalMem_v2),
        CALL(cuDevicePrimaryCtxRetain),
        CALL(cuCtxSetCurrent),
        CALL(cuMemGetInfo_v2),
        CALL(cuMemAlloc_v2),
        CALL(cuMemFree_v2),
        CALL(cuMemHostAlloc),
        CALL(cuModuleLoadData),
        CALL(cuModuleGetFunction),
        CALL(cuStreamCreate),
        CALL(cuStreamSynchronize),
        CALL(cuLaunchKernel),
        CALL(cuEventCreate),
        CALL(cuEventRecord),
        CALL(cuEventSynchronize),
        CALL(cuStreamBeginCapture_v2),
        CALL(cuStreamEndCapture),
        CALL(cuGraphInstantiateWithFlags),
        CALL(cuGraphLaunch),
#undef CALL
};

#define PIECE_US  2000 /* of work between two events */
#define AHEAD     4    /* pieces that the device may have before it */
#define REPORT_NS 20000000

static const struct fake_clock *simulated;
static struct cu_stream *stream;
static struct cu_func *k_10us, *k_100us, *k_1ms;
static double count_per_us = 100;

static void must(enum cu_result rc, const char *what)
{
	if (rc == CU_SUCCESS)
		return;
	printf("failed %s %d\n", what, (int)rc);
	exit(1);
}
#define MUST(call) must(cu.call, #call)

static uint64_t machine_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static uint64_t now_ns(void)
{
	return simulated ? simulated->now_ns() : machine_ns();
}

static void begin(void)
{
	void *handle = dlopen("libcuda.so.1", RTLD_NOW), *driver;
	const struct fake_clock *(*clock_of)(void) = NULL;
	struct cu_ctx *ctx;

	if (!handle) {
		printf("failed %s\n", dlerror());
		exit(1);
	}
	for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
		*calls[i].to = dlsym(handle, calls[i].name);
		if (!*calls[i].to)
			must(CU_ERROR_NOT_FOUND, calls[i].name);
	}
	MUST(cuInit(0));
	driver = dlopen("libcuda.real.so.1", RTLD_NOW | RTLD_NOLOAD);
	*(void **)&clock_of = dlsym(driver ? driver : handle, "berthFakeClock");
	simulated = clock_of ? clock_of() : NULL;
	MUST(cuDevicePrimaryCtxRetain(&ctx, 0));
	MUST(cuCtxSetCurrent(ctx));
}

static void begin_kernels(void)
{
	const char *count = getenv("TENANT_COUNT");
	struct cu_module *module;

	begin();
	if (count)
		count_per_us = strtod(count, NULL);
	MUST(cuStreamCreate(&stream, 1));
	MUST(cuModuleLoadData(&module, KERNELS));
	MUST(cuModuleGetFunction(&k_10us, module, "k_10us"));
	MUST(cuModuleGetFunction(&k_100us, module, "k_100us"));
	MUST(cuModuleGetFunction(&k_1ms, module, "k_1ms"));
}

static void launch(struct cu_func *fn, double us, cu_ptr at)
{
	uint32_t n = (uint32_t)(us * count_per_us);
	void *params[] = {&at, &n};

	MUST(cuLaunchKernel(fn, at ? 1 : 64, 1, 1, at ? 1 : 128, 1, 1, 0, stream, params, NULL));
}

static void say_info(void)
{
	struct cu_uuid uuid;
	char name[96] = "";
	int version = 0;
	size_t left, total, device;

	begin();
	MUST(cuDeviceGetName(name, sizeof name, 0));
	MUST(cuDriverGetVersion(&version));
	MUST(cuDeviceGetUuid(&uuid, 0));
	MUST(cuMemGetInfo_v2(&left, &total));
	MUST(cuDeviceTotalMem_v2(&device, 0));
	printf("name %s\ncuda %d.%d\nuuid GPU-", name, version / 1000, version % 1000 / 10);
	for (int i = 0; i < 16; i++)
		printf("%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", uuid.bytes[i]);
	printf("\nfree %zu\ntotal %zu\ndevice %zu\n", left, total, device);
}

static void take_all(void)
{
	size_t left, total;
	cu_ptr ptr;

	begin();
	MUST(cuMemGetInfo_v2(&left, &total));
	printf("free %zu\n", left);
	printf("all %d\n", (int)cu.cuMemAlloc_v2(&ptr, left));
	printf("more %d\n", (int)cu.cuMemAlloc_v2(&ptr, 1));
}

static void race(void)
{
	cu_ptr held[6] = {0};
	size_t left, total;

	srandom((unsigned)getpid());
	begin();
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

static void calibrate(void)
{
	const uint32_t far = 1000000;
	uint64_t best_ns = UINT64_MAX;

	begin_kernels();
	count_per_us = 1;
	for (int i = 0; i < 5; i++) {
		uint64_t began_ns = now_ns();

		for (int j = 0; j < 5; j++)
			launch(k_1ms, far, 0);
		MUST(cuStreamSynchronize(stream));
		if (now_ns() - began_ns < best_ns)
			best_ns = now_ns() - began_ns;
	}
	printf("count %.3f\n", 5e3 * far / (double)best_ns);
}

/* -- work -- */

static struct cu_graph_exec *graph_of_ten(void)
{
	struct cu_graph *graph;
	struct cu_graph_exec *exec;

	MUST(cuStreamBeginCapture_v2(stream, 0));
	for (int i = 0; i < 10; i++)
		launch(k_10us, 10, 0);
	MUST(cuStreamEndCapture(stream, &graph));
	MUST(cuGraphInstantiateWithFlags(&exec, graph, 0));
	return exec;
}

/* The next of its kind; how many microseconds that is. */
static double one(const char *kind, struct cu_graph_exec *exec, uint64_t i)
{
	if (exec)
		return MUST(cuGraphLaunch(exec, stream)), 100;
	if (!strcmp(kind, "10us") || (!strcmp(kind, "mixed") && i % 10 < 6))
		return launch(k_10us, 10, 0), 10;
	if (!strcmp(kind, "mixed") && i % 10 < 9)
		return launch(k_100us, 100, 0), 100;
	return launch(k_1ms, 1000, 0), 1000;
}

static void idle(uint64_t end_ns)
{
	uint32_t never = 0;

	launch(k_10us, 10, 0);
	MUST(cuStreamSynchronize(stream));
	while (now_ns() < end_ns)
		if (simulated)
			simulated->wait(&never, 0, end_ns);
		else
			usleep(10000);
}

static void work(const char *kind, double seconds)
{
	struct cu_event *events[AHEAD];
	double pieces[AHEAD] = {0}, done = 0, piece = 0;
	unsigned at = 0;

	begin_kernels();
	struct cu_graph_exec *exec = strcmp(kind, "graph") ? NULL : graph_of_ten();
	uint64_t report_ns = 0, end_ns = now_ns() + (uint64_t)(seconds * 1e9);
	for (int i = 0; i < AHEAD; i++)
		MUST(cuEventCreate(&events[i], CU_EVENT_NO_TIMING));
	if (!strcmp(kind, "idle")) {
		idle(end_ns);
		return;
	}
	for (uint64_t i = 0; now_ns() < end_ns; i++) {
		piece += one(kind, exec, i);
		if (piece < PIECE_US)
			continue;
		MUST(cuEventRecord(events[at], stream));
		pieces[at] = piece;
		piece = 0;
		at = (at + 1) % AHEAD;
		if (pieces[at] > 0)
			MUST(cuEventSynchronize(events[at]));
		done += pieces[at];
		if (now_ns() >= report_ns) {
			printf("%llu %.0f\n", (unsigned long long)now_ns(), done);
			report_ns = now_ns() + REPORT_NS;
		}
	}
	MUST(cuStreamSynchronize(stream));
}

static void time_launches(void)
{
	enum { ROUNDS = 200, LAUNCHES = 200 };
	uint64_t best_ns = UINT64_MAX;

	begin_kernels();
	count_per_us = 0;
	for (int i = 0; i < ROUNDS; i++) {
		uint64_t began_ns = machine_ns();

		for (int j = 0; j < LAUNCHES; j++)
			launch(k_10us, 0, 0);
		if (machine_ns() - began_ns < best_ns)
			best_ns = machine_ns() - began_ns;
		MUST(cuStreamSynchronize(stream));
	}
	printf("launch %.1f\n", (double)best_ns / LAUNCHES);
}

static void stamp(double seconds)
{
	enum { STAMPS = 1 << 18 };
	uint64_t(*stamps)[3], end_ns;
	void *memory;
	unsigned n = 0;

	begin_kernels();
	MUST(cuMemHostAlloc(&memory, STAMPS * sizeof *stamps, 0));
	memset(memory, 0, STAMPS * sizeof *stamps);
	stamps = memory;
	end_ns = now_ns() + (uint64_t)(seconds * 1e9);
	for (; n < STAMPS && now_ns() < end_ns; n++)
		launch(k_10us, 10, (cu_ptr)(uintptr_t)stamps[n]);
	MUST(cuStreamSynchronize(stream));
	for (unsigned i = 0; i < n; i++)
		printf("%llu %llu\n", (unsigned long long)stamps[i][0],
		        (unsigned long long)stamps[i][1]);
}

int main(int argc, char **argv)
{
	const char *word = argc > 1 ? argv[1] : "";

	setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	if (!strcmp(word, "info"))
		say_info();
	else if (!strcmp(word, "exact"))
		take_all();
	else if (!strcmp(word, "race"))
		race();
	else if (!strcmp(word, "calibrate"))
		calibrate();
	else if (!strcmp(word, "work") && argc == 4)
		work(argv[2], strtod(argv[3], NULL));
	else if (!strcmp(word, "launch"))
		time_launches();
	else if (!strcmp(word, "stamp") && argc == 3)
		stamp(strtod(argv[2], NULL));
	else if (!strcmp(word, "hold")) {
		begin();
		printf("held\n");
		fflush(stdout);
		for (;;)
			pause();
	} else
		return 2;
	return 0;
}
