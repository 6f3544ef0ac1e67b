/*
 * What the fake libcuda has no better body for: each row of the table is there, and says that it cannot.
 */
#include "cuda.h"

static enum cu_result cannot(const char *function)
{
	enum cu_result code = call_ready(function);

	return code ? code : CU_ERROR_NOT_SUPPORTED;
}

#define CUDA(use, since, symbol, name, stream, params, args) \
	__attribute__((weak)) enum cu_result symbol params   \
	{                                                    \
		return cannot(#symbol);                      \
	}
#include "../tables/cuda.def"
#undef CUDA
