#include "bench/tenant_cuda.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#define ROUNDS 5

struct driver {
	__typeof__(cuInit) *init;
	__typeof__(cuLaunchKernel) *launch;
	__typeof__(cuGraphLaunch) *graph;
	__typeof__(cuMemAlloc_v2) *alloc;
	__typeof__(cuMemFree_v2) *release;
};

static struct driver load(const char *name)
{
	void *handle = dlopen(name, RTLD_NOW | RTLD_LOCAL);
	struct driver d;

	if (!handle) {
		printf("failed %s\n", dlerror());
		exit(1);
	}
	*(void **)&d.init = dlsym(handle, "cuInit");
	*(void **)&d.launch = dlsym(handle, "cuLaunchKernel");
	*(void **)&d.graph = dlsym(handle, "cuGraphLaunch");
	*(void **)&d.alloc = dlsym(handle, "cuMemAlloc_v2");
	*(void **)&d.release = dlsym(handle, "cuMemFree_v2");
	return d;
}

static void launch(const struct driver *d)
{
	d->launch((struct cu_func *)16, 1, 1, 1, 32, 1, 1, 0, NULL, NULL, NULL);
}

static void launch_graph(const struct driver *d)
{
	d->graph((struct cu_graph_exec *)16, NULL);
}

static void take_and_give(const struct driver *d)
{
	cu_ptr p;

	if (d->alloc(&p, 4 << 20) == CU_SUCCESS)
		d->release(p);
}

static double once_ns(const struct driver *d, void (*call)(const struct driver *d), unsigned n)
{
	uint64_t began_ns = tenant_machine_ns();

	for (unsigned i = 0; i < n; i++)
		call(d);
	return (double)(tenant_machine_ns() - began_ns) / n;
}

/* What the interposer adds: the best of a few rounds, with and without in turns. */
void tenant_overhead(void)
{
	static const struct {
		const char *name;
		void (*call)(const struct driver *d);
		unsigned n;
	} kinds[] = {{"launch", launch, 3000000}, {"graph", launch_graph, 3000000},
	        {"memory", take_and_give, 30000}};
	struct driver with = load("libcuda.so.1"), without = load("libcuda.real.so.1");

	tenant_must(with.init(0), "cuInit");
	for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
		double least = 1e18, least_without = 1e18;

		for (int round = 0; round < ROUNDS; round++) {
			double ns = once_ns(&with, kinds[k].call, kinds[k].n);
			least = ns < least ? ns : least;
			ns = once_ns(&without, kinds[k].call, kinds[k].n);
			least_without = ns < least_without ? ns : least_without;
		}
		printf("%s %.2f\n", kinds[k].name, least - least_without);
	}
}
