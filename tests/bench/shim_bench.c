/*
 * What the interposer adds to a call, in front of a driver that does nothing: nanoseconds of a launch, of a graph's launch, and of an
 * allocation with its release. Best of five.
 *   shim_bench SHIM_LIBRARY NULL_DRIVER
 */
#include "../../tables/cuda_abi.h"
#include "berth/slice.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CUDA(use, since, symbol, name, stream, params, args) enum cu_result symbol params;
#include "../../tables/cuda.def"
#undef CUDA

struct api {
	__typeof__(cuInit) *init;
	__typeof__(cuLaunchKernel) *launch;
	__typeof__(cuGraphLaunch) *graph;
	__typeof__(cuMemAlloc_v2) *alloc;
	__typeof__(cuMemFree_v2) *release;
};

static char directory[] = "/tmp/berth-shim-bench-XXXXXX";

static void place(const char *target, const char *name)
{
	char link[64], absolute[4096];
	snprintf(link, sizeof link, "%s/%s", directory, name);
	if (realpath(target, absolute) == NULL || symlink(absolute, link) != 0) {
		perror(target);
		exit(1);
	}
}

static void make_slice(void)
{
	char path[64];
	struct slice_grant grant = {.magic = SLICE_MAGIC,
	        .abi = SLICE_ABI,
	        .n_slots = SLICE_SLOTS,
	        .uuid = "GPU-00000000-0000-0000-0000-000000000000",
	        .limit_bytes = UINT64_C(1) << 33,
	        .granule_bytes = 2 << 20,
	        .flags = SLICE_HOLDS_MEMORY};
	snprintf(path, sizeof path, "%s/slice-0", directory);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, sizeof(struct slice)) != 0 ||
	        write(fd, &grant, sizeof grant) < 0) {
		perror(path);
		exit(1);
	}
	close(fd);
}

static struct api load(const char *name)
{
	char path[64];
	struct api api;
	snprintf(path, sizeof path, "%s/%s", directory, name);
	void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (handle == NULL) {
		fprintf(stderr, "%s\n", dlerror());
		exit(1);
	}
	*(void **)&api.init = dlsym(handle, "cuInit");
	*(void **)&api.launch = dlsym(handle, "cuLaunchKernel");
	*(void **)&api.graph = dlsym(handle, "cuGraphLaunch");
	*(void **)&api.alloc = dlsym(handle, "cuMemAlloc_v2");
	*(void **)&api.release = dlsym(handle, "cuMemFree_v2");
	return api;
}

static double now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

enum what { LAUNCH, GRAPH, MEMORY };

static double once(const struct api *api, enum what what, int n)
{
	cu_ptr p;
	double began = now_ns();
	for (int i = 0; i < n; i++) {
		switch (what) {
		case LAUNCH:
			api->launch((struct cu_func *)16, 1, 1, 1, 32, 1, 1, 0, NULL, NULL, NULL);
			break;
		case GRAPH:
			api->graph((struct cu_graph_exec *)16, NULL);
			break;
		case MEMORY:
			if (api->alloc(&p, 4 << 20) == CU_SUCCESS)
				api->release(p);
			break;
		}
	}
	return (now_ns() - began) / n;
}

static double best(const struct api *api, enum what what, int n)
{
	double least = 1e18;
	for (int round = 0; round < 5; round++) {
		double ns = once(api, what, n);
		least = ns < least ? ns : least;
	}
	return least;
}

int main(int argc, char **argv)
{
	static const char *const names[] = {"launch", "graph launch", "allocate and free"};
	char command[64];
	if (argc != 3) {
		fprintf(stderr, "usage: shim_bench SHIM_LIBRARY NULL_DRIVER\n");
		return 2;
	}
	if (mkdtemp(directory) == NULL)
		return 1;
	place(argv[1], "libcuda.so.1");
	place(argv[2], "libcuda.real.so.1");
	make_slice();
	setenv(SLICE_VARIABLE, directory, 1);
	struct api with = load("libcuda.so.1"), without = load("libcuda.real.so.1");
	int rc = with.init(0) != CU_SUCCESS;
	for (int what = LAUNCH; rc == 0 && what <= MEMORY; what++) {
		int n = what == MEMORY ? 100000 : 10000000;
		double plain = best(&without, (enum what)what, n),
		       guarded = best(&with, (enum what)what, n);
		printf("%-18s %8.1f ns without, %8.1f ns with: %8.1f ns\n", names[what], plain,
		        guarded, guarded - plain);
	}
	static const char *const files[] = {"libcuda.so.1", "libcuda.real.so.1", "slice-0"};
	for (size_t i = 0; i < 3; i++) {
		snprintf(command, sizeof command, "%s/%s", directory, files[i]);
		unlink(command);
	}
	rmdir(directory);
	return rc;
}
