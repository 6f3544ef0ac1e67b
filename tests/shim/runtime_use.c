/*
 * A program of the runtime's, as nvcc would make it or as C calls it: takes what is free to the byte, asks for one more, launches, records a graph,
 * gives all back. Ends with the number of the first step that was not as it should be; prints what it saw.
 */
#ifdef __CUDACC__
#include <cstdio>
extern "C" __global__ void k_10us(int *p, int n)
{
	if (n > 0)
		p[0] = n;
}
#define LAUNCH(p)      k_10us<<<1, 32, 0, stream>>>((int *)(p), 5)
#define POINTER        void *
#define STREAM         cudaStream_t
#define GRAPH          cudaGraph_t
#define EXEC           cudaGraphExec_t
#define PROPS          cudaDeviceProp
#define TOTAL          totalGlobalMem
#define GLOBAL_CAPTURE cudaStreamCaptureModeGlobal
#else
#include "runtime.h"

#include <stdio.h>

static void k_10us(void)
{
}
static const struct runtime_dim one = {1, 1, 1};
#define LAUNCH(p)                              cudaLaunchKernel((const void *)k_10us, one, one, (void *[]){&(p)}, 0, stream)
struct room {
	struct runtime_props known;
	char rest[2048];
};
#define POINTER                                cu_ptr
#define STREAM                                 struct cu_stream *
#define GRAPH                                  struct cu_graph *
#define EXEC                                   struct cu_graph_exec *
#define PROPS                                  struct room
#define TOTAL                                  known.total_bytes
#define GLOBAL_CAPTURE                         0
#define cudaGetDeviceProperties(props, device) cudaGetDeviceProperties(&(props)->known, device)
#endif

#define STEP(number, condition) \
	if (!(condition))       \
	return number

int main(void)
{
	size_t left = 0, all = 0;
	static PROPS props;
	POINTER p = 0;
	POINTER q = 0;
	STREAM stream;
	GRAPH graph;
	EXEC exec;
#ifndef __CUDACC__
	__cudaRegisterFunction(
	        NULL, (const char *)k_10us, NULL, "k_10us", -1, NULL, NULL, NULL, NULL, NULL);
#endif
	STEP(1, cudaGetDeviceProperties(&props, 0) == 0);
	STEP(2, cudaMemGetInfo(&left, &all) == 0 && all == props.TOTAL && left < all);
	STEP(3, cudaMalloc(&p, left) == 0);
	STEP(4, cudaMalloc(&q, 1) == 2 && cudaGetLastError() == 2 && cudaGetLastError() == 0);
	STEP(5, cudaFree(p) == 0 && cudaMalloc(&p, 4096) == 0 && cudaMemset(p, 7, 4096) == 0);
	STEP(6, cudaStreamCreate(&stream) == 0);
	LAUNCH(p);
	STEP(7, cudaGetLastError() == 0 && cudaStreamSynchronize(stream) == 0);
	STEP(8, cudaStreamBeginCapture(stream, GLOBAL_CAPTURE) == 0);
	LAUNCH(p);
	STEP(9, cudaStreamEndCapture(stream, &graph) == 0);
	STEP(10, cudaGraphInstantiate(&exec, graph, 0) == 0 && cudaGraphLaunch(exec, stream) == 0);
	STEP(11, cudaDeviceSynchronize() == 0);
	STEP(12, cudaGraphExecDestroy(exec) == 0 && cudaGraphDestroy(graph) == 0);
	STEP(13, cudaMallocAsync(&q, 1 << 20, stream) == 0 && cudaFreeAsync(q, stream) == 0);
	STEP(14, cudaStreamSynchronize(stream) == 0 && cudaStreamDestroy(stream) == 0);
	STEP(15, cudaFree(p) == 0 && cudaDeviceReset() == 0);
	printf("%zu %zu\n", all, left);
	return 0;
}
