/*
 * The real driver as the interposer reaches it, and the wrappers as programs reach them: both from tables/cuda.def alone.
 * The driver is the library that the interposer depends on as libcuda.real.so.1; it stays loaded to the end.
 * Read by any thread after shim_start; a symbol that this driver does not have is NULL.
 * Nothing here fails: who calls a NULL symbol has not asked with ENTER.
 */
#pragma once

#include "../../tables/cuda_abi.h"
#include "../../tables/fake_clock.h"

/* What the interposer itself asks the driver, of the functions that it does not stand in front of. */
/* clang-format off */
#define REAL_USES(X) \
	X(cuArrayGetMemoryRequirements) \
	X(cuCtxGetCurrent) \
	X(cuCtxGetDevice) \
	X(cuCtxPopCurrent_v2) \
	X(cuCtxPushCurrent_v2) \
	X(cuDeviceGetDefaultMemPool) \
	X(cuDeviceGetGraphMemAttribute) \
	X(cuDeviceGetMemPool) \
	X(cuDeviceGetUuid) \
	X(cuDeviceGetUuid_v2) \
	X(cuDevicePrimaryCtxGetState) \
	X(cuEventCreate) \
	X(cuEventElapsedTime) \
	X(cuEventQuery) \
	X(cuEventRecord) \
	X(cuGraphChildGraphNodeGetGraph) \
	X(cuGraphGetNodes) \
	X(cuGraphMemAllocNodeGetParams) \
	X(cuGraphNodeGetType) \
	X(cuMemPoolGetAttribute) \
	X(cuMipmappedArrayGetMemoryRequirements) \
	X(cuStreamGetCtx) \
	X(cuStreamIsCapturing) \
	X(cuStreamIsCapturing_ptsz) \
	X(cuThreadExchangeStreamCaptureMode)
/* clang-format on */

#define EXPORT                                               __attribute__((visibility("default")))
#define CUDA_GUARD(symbol, params)                           EXPORT enum cu_result symbol params;
#define CUDA_PLAIN(symbol, params)                           enum cu_result symbol params; /* for its type alone */
#define CUDA(use, since, symbol, name, stream, params, args) CUDA_##use(symbol, params)
#include "../../tables/cuda.def"
#undef CUDA

#define CUDA_MEMBER(symbol)       __typeof__(symbol) *symbol;
#define CUDA_MEMBER_GUARD(symbol) CUDA_MEMBER(symbol)
#define CUDA_MEMBER_PLAIN(symbol)
#define CUDA(use, since, symbol, name, stream, params, args) CUDA_MEMBER_##use(symbol)
struct real {
	void *handle;
	const struct fake_clock *(*berthFakeClock)(void); /* of a simulated driver */
	REAL_USES(CUDA_MEMBER)
#include "../../tables/cuda.def"
};
#undef CUDA

extern struct real real;
