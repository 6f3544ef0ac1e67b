/* A driver that does nothing, at once: what is measured in front of it is the interposer alone. */
#include "../tables/cuda_abi.h"

#include <string.h>

#define CUDA(use, since, symbol, name, stream, params, args) enum cu_result symbol params;
#include "../tables/cuda.def"
#undef CUDA

enum cu_result cuInit(unsigned flags)
{
	return CU_SUCCESS;
}

enum cu_result cuDeviceGetUuid_v2(struct cu_uuid *uuid, int dev)
{
	memset(uuid, 0, sizeof *uuid);
	return CU_SUCCESS;
}

enum cu_result cuCtxGetDevice(int *device)
{
	*device = 0;
	return CU_SUCCESS;
}

enum cu_result cuCtxGetCurrent(struct cu_ctx **pctx)
{
	*pctx = (struct cu_ctx *)16;
	return CU_SUCCESS;
}

enum cu_result cuDevicePrimaryCtxGetState(int dev, unsigned *flags, int *active)
{
	*active = 1;
	return CU_SUCCESS;
}

enum cu_result cuMemAlloc_v2(cu_ptr *dptr, size_t bytesize)
{
	*dptr = UINT64_C(1) << 40;
	return CU_SUCCESS;
}

enum cu_result cuMemFree_v2(cu_ptr dptr)
{
	return CU_SUCCESS;
}

enum cu_result cuLaunchKernel(struct cu_func *f, unsigned grid_dim_x, unsigned grid_dim_y,
        unsigned grid_dim_z, unsigned block_dim_x, unsigned block_dim_y, unsigned block_dim_z,
        unsigned shared_mem_bytes, struct cu_stream *h_stream, void **kernel_params, void **extra)
{
	return CU_SUCCESS;
}

enum cu_result cuGraphLaunch(struct cu_graph_exec *h_graph, struct cu_stream *h_stream)
{
	return CU_SUCCESS;
}
