#include "shim/launch.h"
#include "shim/pools.h"

static inline uint64_t blocks(unsigned x, unsigned y, unsigned z)
{
	return (uint64_t)x * y * z;
}

#define LAUNCH_KERNEL(symbol, per_thread)                                                         \
	enum cu_result symbol(struct cu_func *f, unsigned grid_dim_x, unsigned grid_dim_y,        \
	        unsigned grid_dim_z, unsigned block_dim_x, unsigned block_dim_y,                  \
	        unsigned block_dim_z, unsigned shared_mem_bytes, struct cu_stream *h_stream,      \
	        void **kernel_params, void **extra)                                               \
	{                                                                                         \
		ENTER(symbol);                                                                    \
		launch_gate(f, blocks(grid_dim_x, grid_dim_y, grid_dim_z), h_stream, per_thread); \
		return real.symbol(f, grid_dim_x, grid_dim_y, grid_dim_z, block_dim_x,            \
		        block_dim_y, block_dim_z, shared_mem_bytes, h_stream, kernel_params,      \
		        extra);                                                                   \
	}
LAUNCH_KERNEL(cuLaunchKernel, false)
LAUNCH_KERNEL(cuLaunchKernel_ptsz, true)

#define LAUNCH_EX(symbol, per_thread)                                                             \
	enum cu_result symbol(const struct cu_launch_config *config, struct cu_func *f,           \
	        void **kernel_params, void **extra)                                               \
	{                                                                                         \
		ENTER(symbol);                                                                    \
		if (config != NULL)                                                               \
			launch_gate(f, blocks(config->grid[0], config->grid[1], config->grid[2]), \
			        config->stream, per_thread);                                      \
		return real.symbol(config, f, kernel_params, extra);                              \
	}
LAUNCH_EX(cuLaunchKernelEx, false)
LAUNCH_EX(cuLaunchKernelEx_ptsz, true)

#define LAUNCH_COOPERATIVE(symbol, per_thread)                                                    \
	enum cu_result symbol(struct cu_func *f, unsigned grid_dim_x, unsigned grid_dim_y,        \
	        unsigned grid_dim_z, unsigned block_dim_x, unsigned block_dim_y,                  \
	        unsigned block_dim_z, unsigned shared_mem_bytes, struct cu_stream *h_stream,      \
	        void **kernel_params)                                                             \
	{                                                                                         \
		ENTER(symbol);                                                                    \
		launch_gate(f, blocks(grid_dim_x, grid_dim_y, grid_dim_z), h_stream, per_thread); \
		return real.symbol(f, grid_dim_x, grid_dim_y, grid_dim_z, block_dim_x,            \
		        block_dim_y, block_dim_z, shared_mem_bytes, h_stream, kernel_params);     \
	}
LAUNCH_COOPERATIVE(cuLaunchCooperativeKernel, false)
LAUNCH_COOPERATIVE(cuLaunchCooperativeKernel_ptsz, true)

enum cu_result cuLaunchCooperativeKernelMultiDevice(
        struct cu_launch_params *launch_params_list, unsigned num_devices, unsigned flags)
{
	ENTER(cuLaunchCooperativeKernelMultiDevice);
	if (launch_params_list != NULL && num_devices > 0)
		launch_gate(launch_params_list->func,
		        blocks(launch_params_list->grid[0], launch_params_list->grid[1],
		                launch_params_list->grid[2]),
		        launch_params_list->stream, false);
	return real.cuLaunchCooperativeKernelMultiDevice(launch_params_list, num_devices, flags);
}

enum cu_result cuLaunch(struct cu_func *f)
{
	ENTER(cuLaunch);
	launch_gate(f, 1, NULL, false);
	return real.cuLaunch(f);
}

enum cu_result cuLaunchGrid(struct cu_func *f, int grid_width, int grid_height)
{
	ENTER(cuLaunchGrid);
	launch_gate(f, blocks((unsigned)grid_width, (unsigned)grid_height, 1), NULL, false);
	return real.cuLaunchGrid(f, grid_width, grid_height);
}

enum cu_result cuLaunchGridAsync(
        struct cu_func *f, int grid_width, int grid_height, struct cu_stream *h_stream)
{
	ENTER(cuLaunchGridAsync);
	launch_gate(f, blocks((unsigned)grid_width, (unsigned)grid_height, 1), h_stream, false);
	return real.cuLaunchGridAsync(f, grid_width, grid_height, h_stream);
}

/* A place where streams have come to rest: pools have given back what was freed on them. */
static enum cu_result rested(enum cu_result rc)
{
	launch_drained();
	pools_settle();
	return rc;
}

#define PASS(symbol, params, args, after)       \
	enum cu_result symbol params            \
	{                                       \
		ENTER(symbol);                  \
		return after(real.symbol args); \
	}
#define PLAINLY(rc) (rc)
PASS(cuStreamSynchronize, (struct cu_stream * h_stream), (h_stream), rested)
PASS(cuStreamSynchronize_ptsz, (struct cu_stream * h_stream), (h_stream), rested)
PASS(cuCtxSynchronize, (void), (), rested)
PASS(cuCtxSynchronize_v2, (struct cu_ctx * ctx), (ctx), rested)
PASS(cuEventSynchronize, (struct cu_event * h_event), (h_event), rested)

PASS(cuStreamCreate, (struct cu_stream * *ph_stream, unsigned flags), (ph_stream, flags), PLAINLY)
PASS(cuStreamCreateWithPriority, (struct cu_stream * *ph_stream, unsigned flags, int priority),
        (ph_stream, flags, priority), PLAINLY)
PASS(cuStreamDestroy, (struct cu_stream * h_stream), (h_stream), PLAINLY)
PASS(cuStreamDestroy_v2, (struct cu_stream * h_stream), (h_stream), PLAINLY)

PASS(cuStreamBeginCapture, (struct cu_stream * h_stream), (h_stream), PLAINLY)
PASS(cuStreamBeginCapture_v2, (struct cu_stream * h_stream, int mode), (h_stream, mode), PLAINLY)
PASS(cuStreamBeginCapture_ptsz, (struct cu_stream * h_stream), (h_stream), PLAINLY)
PASS(cuStreamBeginCapture_v2_ptsz, (struct cu_stream * h_stream, int mode), (h_stream, mode),
        PLAINLY)
PASS(cuStreamBeginCaptureToGraph,
        (struct cu_stream * h_stream, struct cu_graph *h_graph,
                const struct cu_graph_node **dependencies, const struct cu_edge *dependency_data,
                size_t num_dependencies, int mode),
        (h_stream, h_graph, dependencies, dependency_data, num_dependencies, mode), PLAINLY)
PASS(cuStreamBeginCaptureToGraph_ptsz,
        (struct cu_stream * h_stream, struct cu_graph *h_graph,
                const struct cu_graph_node **dependencies, const struct cu_edge *dependency_data,
                size_t num_dependencies, int mode),
        (h_stream, h_graph, dependencies, dependency_data, num_dependencies, mode), PLAINLY)
PASS(cuStreamEndCapture, (struct cu_stream * h_stream, struct cu_graph **ph_graph),
        (h_stream, ph_graph), PLAINLY)
PASS(cuStreamEndCapture_ptsz, (struct cu_stream * h_stream, struct cu_graph **ph_graph),
        (h_stream, ph_graph), PLAINLY)

/* Memory that a checkpoint moved to the host stays charged: so the restore always fits. */
PASS(cuCheckpointProcessCheckpoint, (int pid, struct cu_checkpoint *args), (pid, args), PLAINLY)
PASS(cuCheckpointProcessRestore, (int pid, struct cu_restore *args), (pid, args), PLAINLY)
