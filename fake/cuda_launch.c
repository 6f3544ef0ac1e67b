/*
 * Launches: a kernel does nothing but last.
 */
#include "cuda.h"

#include <string.h>

#define THREADS_MAX 1024 /* of a block */

static bool is_grid(const unsigned grid[3], const unsigned block[3])
{
	return grid[0] && grid[1] && grid[2] && block[0] && block[1] && block[2] &&
	       (uint64_t)block[0] * block[1] * block[2] <= THREADS_MAX;
}

static enum cu_result launch(const char *function, struct cu_func *f, const unsigned grid[3],
        const unsigned block[3], struct cu_stream *stream, bool per_thread)
{
	struct work work;
	struct cu_ctx *ctx;
	enum cu_result code = call_context(function, &ctx);

	if (code)
		return code;
	if (!object_is(f, KIND_FUNC))
		return CU_ERROR_INVALID_HANDLE;
	if (!is_grid(grid, block))
		return CU_ERROR_INVALID_VALUE;
	work = func_work(f);
	return stream_do(ctx, stream, per_thread, &work, false);
}

#define GRID                                                                                \
	struct cu_func *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, \
	        unsigned bz, unsigned shared, struct cu_stream *stream
#define LAUNCH(per_thread) \
	launch(__func__, f, (unsigned[]){gx, gy, gz}, (unsigned[]){bx, by, bz}, stream, per_thread)

enum cu_result cuLaunchKernel(GRID, void **params, void **extra)
{
	return LAUNCH(false);
}

enum cu_result cuLaunchKernel_ptsz(GRID, void **params, void **extra)
{
	return LAUNCH(true);
}

enum cu_result cuLaunchCooperativeKernel(GRID, void **params)
{
	return LAUNCH(false);
}

enum cu_result cuLaunchCooperativeKernel_ptsz(GRID, void **params)
{
	return LAUNCH(true);
}

static enum cu_result launch_ex(const char *function, const struct cu_launch_config *config,
        struct cu_func *f, bool per_thread)
{
	if (!config)
		return CU_ERROR_INVALID_VALUE;
	return launch(function, f, config->grid, config->block, config->stream, per_thread);
}

enum cu_result cuLaunchKernelEx(
        const struct cu_launch_config *config, struct cu_func *f, void **params, void **extra)
{
	return launch_ex(__func__, config, f, false);
}

enum cu_result cuLaunchKernelEx_ptsz(
        const struct cu_launch_config *config, struct cu_func *f, void **params, void **extra)
{
	return launch_ex(__func__, config, f, true);
}

enum cu_result cuLaunchCooperativeKernelMultiDevice(
        struct cu_launch_params *list, unsigned n, unsigned flags)
{
	if (!list || !n)
		return CU_ERROR_INVALID_VALUE;
	for (unsigned i = 0; i < n; i++) {
		enum cu_result code = object_is(list[i].stream, KIND_STREAM)
		                              ? CU_SUCCESS
		                              : CU_ERROR_INVALID_HANDLE;

		if (!code)
			code = launch(__func__, list[i].func, list[i].grid, list[i].block,
			        list[i].stream, false);
		if (code)
			return code;
	}
	return CU_SUCCESS;
}

/* -- as it was before CUDA 4 -- */

static enum cu_result launch_grid(
        const char *function, struct cu_func *f, int width, int height, struct cu_stream *stream)
{
	if (width <= 0 || height <= 0)
		return CU_ERROR_INVALID_VALUE;
	return launch(function, f, (unsigned[]){(unsigned)width, (unsigned)height, 1},
	        (unsigned[]){1, 1, 1}, stream, false);
}

enum cu_result cuLaunch(struct cu_func *f)
{
	return launch_grid(__func__, f, 1, 1, NULL);
}

enum cu_result cuLaunchGrid(struct cu_func *f, int grid_width, int grid_height)
{
	return launch_grid(__func__, f, grid_width, grid_height, NULL);
}

enum cu_result cuLaunchGridAsync(
        struct cu_func *f, int grid_width, int grid_height, struct cu_stream *h_stream)
{
	return launch_grid(__func__, f, grid_width, grid_height, h_stream);
}
