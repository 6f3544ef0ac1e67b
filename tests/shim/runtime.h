/*
 * What a program of nvcc's calls of the vendor's runtime, as far as tests/shim/runtime.c has it: for C programs where there is no
 * nvcc. Owned are what the driver gives; any thread, but one current device for all. A call answers what the driver did, 0 for success;
 * cudaGetLastError repeats the last answer that was none, once.
 *
 * ROW(name, parameters); all return int.
 */
#pragma once

#include <stddef.h>

#include "../../tables/cuda_abi.h"

struct runtime_dim {
	unsigned x, y, z;
};

/* The beginning of the vendor's structure; what follows is left as it is. */
struct runtime_props {
	char name[256];
	struct cu_uuid uuid;
	char luid[8];
	unsigned luid_mask;
	size_t total_bytes;
};
_Static_assert(offsetof(struct runtime_props, total_bytes) == 288, "cudaDeviceProp");

/* clang-format off */
#define RUNTIME_ROWS(ROW) \
	ROW(cudaDriverGetVersion, (int *version)) \
	ROW(cudaRuntimeGetVersion, (int *version)) \
	ROW(cudaGetDeviceCount, (int *count)) \
	ROW(cudaSetDevice, (int device)) \
	ROW(cudaGetDevice, (int *device)) \
	ROW(cudaGetDeviceProperties, (struct runtime_props *props, int device)) \
	ROW(cudaDeviceGetAttribute, (int *value, int attribute, int device)) \
	ROW(cudaDeviceSynchronize, (void)) \
	ROW(cudaDeviceReset, (void)) \
	ROW(cudaGetLastError, (void)) \
	ROW(cudaPeekAtLastError, (void)) \
	ROW(cudaMalloc, (cu_ptr *pointer, size_t size)) \
	ROW(cudaMallocPitch, (cu_ptr *pointer, size_t *pitch, size_t width, size_t height)) \
	ROW(cudaMallocManaged, (cu_ptr *pointer, size_t size, unsigned flags)) \
	ROW(cudaMallocAsync, (cu_ptr *pointer, size_t size, struct cu_stream *stream)) \
	ROW(cudaMallocHost, (void **pointer, size_t size)) \
	ROW(cudaFree, (cu_ptr pointer)) \
	ROW(cudaFreeAsync, (cu_ptr pointer, struct cu_stream *stream)) \
	ROW(cudaFreeHost, (void *pointer)) \
	ROW(cudaMemGetInfo, (size_t *free, size_t *total)) \
	ROW(cudaMemcpy, (cu_ptr to, cu_ptr from, size_t size, int kind)) \
	ROW(cudaMemcpyAsync, (cu_ptr to, cu_ptr from, size_t size, int kind, struct cu_stream *stream)) \
	ROW(cudaMemset, (cu_ptr pointer, int value, size_t size)) \
	ROW(cudaStreamCreate, (struct cu_stream **stream)) \
	ROW(cudaStreamCreateWithFlags, (struct cu_stream **stream, unsigned flags)) \
	ROW(cudaStreamDestroy, (struct cu_stream *stream)) \
	ROW(cudaStreamSynchronize, (struct cu_stream *stream)) \
	ROW(cudaStreamBeginCapture, (struct cu_stream *stream, int mode)) \
	ROW(cudaStreamEndCapture, (struct cu_stream *stream, struct cu_graph **graph)) \
	ROW(cudaGraphInstantiate, (struct cu_graph_exec **exec, struct cu_graph *graph, unsigned long long flags)) \
	ROW(cudaGraphLaunch, (struct cu_graph_exec *exec, struct cu_stream *stream)) \
	ROW(cudaGraphExecDestroy, (struct cu_graph_exec *exec)) \
	ROW(cudaGraphDestroy, (struct cu_graph *graph)) \
	ROW(cudaEventCreate, (struct cu_event **event)) \
	ROW(cudaEventRecord, (struct cu_event *event, struct cu_stream *stream)) \
	ROW(cudaEventSynchronize, (struct cu_event *event)) \
	ROW(cudaEventElapsedTime, (float *ms, struct cu_event *from, struct cu_event *to)) \
	ROW(cudaEventDestroy, (struct cu_event *event)) \
	ROW(cudaLaunchKernel, (const void *function, struct runtime_dim grid, struct runtime_dim block, void **args, size_t shared_bytes, struct cu_stream *stream)) \
	ROW(__cudaGetKernel, (struct cu_func **kernel, const void *function)) \
	ROW(__cudaLaunchKernel, (struct cu_func *kernel, struct runtime_dim grid, struct runtime_dim block, void **args, size_t shared_bytes, struct cu_stream *stream)) \
	ROW(__cudaPopCallConfiguration, (struct runtime_dim *grid, struct runtime_dim *block, size_t *shared_bytes, struct cu_stream **stream))
/* clang-format on */
#define RUNTIME_DECLARE(name, params) int name params;
RUNTIME_ROWS(RUNTIME_DECLARE)

/* What stands around kernels in what nvcc makes. */
void **__cudaRegisterFatBinary(void *image);
void __cudaRegisterFatBinaryEnd(void **handle);
void __cudaUnregisterFatBinary(void **handle);
char __cudaInitModule(void **handle);
void __cudaRegisterFunction(void **handle, const char *function, char *device_function,
        const char *name, int thread_limit, void *thread_id, void *block_id, void *block,
        void *grid, int *warp_size);
unsigned __cudaPushCallConfiguration(struct runtime_dim grid, struct runtime_dim block,
        size_t shared_bytes, struct cu_stream *stream);
const char *cudaGetErrorString(int error);
