/*
 * The real driver as the interposer reaches it, and the wrappers as programs reach them: both from tables/cuda.def alone.
 * The driver is the library that the interposer depends on as libcuda.real.so.1; it stays loaded to the end.
 * Read by any thread after shim_start; a symbol that this driver does not have is NULL.
 * Nothing here fails: who calls a NULL symbol has not asked with ENTER.
 */
#pragma once

#include "../../tables/cuda_abi.h"

#define CUDA(use, since, symbol, name, stream, params, args) enum cu_result(*symbol) params;
struct real {
#include "../../tables/cuda.def"
};
#undef CUDA

extern struct real real;

#define EXPORT                     __attribute__((visibility("default")))
#define CUDA_GUARD(symbol, params) EXPORT enum cu_result symbol params;
#define CUDA_PLAIN(symbol, params)
#define CUDA(use, since, symbol, name, stream, params, args) CUDA_##use(symbol, params)
#include "../../tables/cuda.def"
#undef CUDA
