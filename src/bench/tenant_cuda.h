/*
 * A tenant's calls of CUDA's driver API, as its libcuda.so.1 has them, whatever that is. Of tenant.c and tenant_work.c.
 * Process-wide, one thread. A call that fails ends the process with 1, and the text of it on stdout.
 */
#pragma once

#include "../../tables/cuda_abi.h"
#include "../../tables/fake_clock.h"

#include <stdint.h>

#define CUDA(use, since, symbol, name, stream, params, args) extern enum cu_result symbol params;
#include "../../tables/cuda.def"
#undef CUDA

#define TENANT_CALLS(CALL)                \
	CALL(cuInit)                      \
	CALL(cuDriverGetVersion)          \
	CALL(cuDeviceGetName)             \
	CALL(cuDeviceGetUuid)             \
	CALL(cuDeviceTotalMem_v2)         \
	CALL(cuDevicePrimaryCtxRetain)    \
	CALL(cuCtxSetCurrent)             \
	CALL(cuMemGetInfo_v2)             \
	CALL(cuMemAlloc_v2)               \
	CALL(cuMemFree_v2)                \
	CALL(cuMemHostAlloc)              \
	CALL(cuModuleLoadData)            \
	CALL(cuModuleGetFunction)         \
	CALL(cuStreamCreate)              \
	CALL(cuStreamSynchronize)         \
	CALL(cuLaunchKernel)              \
	CALL(cuEventCreate)               \
	CALL(cuEventRecord)               \
	CALL(cuEventSynchronize)          \
	CALL(cuStreamBeginCapture_v2)     \
	CALL(cuStreamEndCapture)          \
	CALL(cuGraphInstantiateWithFlags) \
	CALL(cuGraphLaunch)

struct cuda {
#define CALL(name) __typeof__(name) *name;
	TENANT_CALLS(CALL)
#undef CALL
};
extern struct cuda cu;

void tenant_must(enum cu_result rc, const char *what);
#define MUST(call) tenant_must(cu.call, #call)

void tenant_begin_context(void);             /* all calls are there, and a context is current */
const struct fake_clock *tenant_clock(void); /* that a simulated device lives by; else NULL */
uint64_t tenant_machine_ns(void);

/* -- with kernels: tenant_work.c -- */
/* BENCH_COUNT is what `calibrate` printed: how far a kernel counts in a microsecond. */
void tenant_calibrate(void);
void tenant_work(const char *kind, double seconds);
void tenant_launch(void);
void tenant_stamp(double seconds);

/* -- the interposer's own cost: tenant_overhead.c -- */
void tenant_overhead(void);
