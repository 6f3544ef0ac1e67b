#include "bench/tenant_cuda.h"

#include "bench/kernels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIECE_US  2000 /* of work between two events */
#define AHEAD     4    /* pieces that the device may have before it */
#define REPORT_NS 20000000

static const struct fake_clock *simulated;
static struct cu_stream *stream;
static struct cu_func *k_10us, *k_100us, *k_1ms;
static double count_per_us = 100;

static uint64_t now_ns(void)
{
	return simulated ? simulated->now_ns() : tenant_machine_ns();
}

static void begin_kernels(void)
{
	const char *count = getenv("BENCH_COUNT");
	struct cu_module *module;

	tenant_begin_context();
	simulated = tenant_clock();
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

void tenant_calibrate(void)
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

void tenant_work(const char *kind, double seconds)
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

void tenant_launch(void)
{
	enum { ROUNDS = 200, LAUNCHES = 200 };
	uint64_t best_ns = UINT64_MAX;

	begin_kernels();
	count_per_us = 0;
	for (int i = 0; i < ROUNDS; i++) {
		uint64_t began_ns = tenant_machine_ns();

		for (int j = 0; j < LAUNCHES; j++)
			launch(k_10us, 0, 0);
		if (tenant_machine_ns() - began_ns < best_ns)
			best_ns = tenant_machine_ns() - began_ns;
		MUST(cuStreamSynchronize(stream));
	}
	printf("launch %.1f\n", (double)best_ns / LAUNCHES);
}

void tenant_stamp(double seconds)
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
