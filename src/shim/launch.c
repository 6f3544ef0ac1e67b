#include "shim/launch.h"
#include "shim/captures.h"
#include "shim/pools.h"

/* Of the current context's device. */
static struct pacing *paced(void)
{
	struct ledger *ledger = &shim.ledgers[0];
	int device;
	if (shim.n_ledgers > 1 &&
	        (real.cuCtxGetDevice == NULL || real.cuCtxGetDevice(&device) != CU_SUCCESS ||
	                charge_ledger(device, &ledger) != CU_SUCCESS))
		return NULL;
	return pacing_of(ledger);
}

static void *handle_of(struct cu_stream *stream, bool is_per_thread)
{
	return stream != NULL ? stream : is_per_thread ? CU_STREAM_PER_THREAD : CU_STREAM_LEGACY;
}

static uint64_t key_of(const void *what, uint64_t units)
{
	unsigned size = units > 1 ? 64 - (unsigned)__builtin_clzll(units - 1) : 0;
	return ((uint64_t)(uintptr_t)what << 6 ^ size) | UINT64_C(1) << 63;
}

void launch_wait(struct launch *l, const void *what, uint64_t units, struct cu_stream *stream,
        bool is_per_thread)
{
	struct pacing *on = paced();
	if (on == NULL || __atomic_load_n(&pacing_captures, __ATOMIC_RELAXED) != 0)
		return;
	l->one = (struct pace_launch){.key = key_of(what, units)};
	l->stream = handle_of(stream, is_per_thread);
	l->on = on;
	pacing_wait(on, &l->one, l->stream);
}

void launch_forget(const void *what)
{
	for (struct pacing *g = pacing_next(NULL); g != NULL; g = pacing_next(g))
		pace_forget(pacing_core(g), key_of(what, 1));
}

void launch_sync_begin(
        struct launch_rest *r, struct cu_stream *stream, bool is_per_thread, bool all)
{
	r->on = pacing_is_used() && __atomic_load_n(&pacing_captures, __ATOMIC_RELAXED) == 0
	                ? paced()
	                : NULL;
	if (r->on != NULL)
		pace_sync_begin(
		        pacing_core(r->on), handle_of(stream, is_per_thread), all, &r->sync);
}

void launch_sync_end(struct launch_rest *r, bool is_done)
{
	if (r->on != NULL)
		pace_sync_end(pacing_core(r->on), &r->sync, is_done);
}

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
		struct launch l;                                                                  \
		launch_gate(                                                                      \
		        &l, f, blocks(grid_dim_x, grid_dim_y, grid_dim_z), h_stream, per_thread); \
		return launch_end(&l, real.symbol(f, grid_dim_x, grid_dim_y, grid_dim_z,          \
		                              block_dim_x, block_dim_y, block_dim_z,              \
		                              shared_mem_bytes, h_stream, kernel_params, extra)); \
	}
LAUNCH_KERNEL(cuLaunchKernel, false)
LAUNCH_KERNEL(cuLaunchKernel_ptsz, true)

#define LAUNCH_EX(symbol, per_thread)                                                      \
	enum cu_result symbol(const struct cu_launch_config *config, struct cu_func *f,    \
	        void **kernel_params, void **extra)                                        \
	{                                                                                  \
		ENTER(symbol);                                                             \
		struct launch l = {0};                                                     \
		if (config != NULL)                                                        \
			launch_gate(&l, f,                                                 \
			        blocks(config->grid[0], config->grid[1], config->grid[2]), \
			        config->stream, per_thread);                               \
		return launch_end(&l, real.symbol(config, f, kernel_params, extra));       \
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
		struct launch l;                                                                  \
		launch_gate(                                                                      \
		        &l, f, blocks(grid_dim_x, grid_dim_y, grid_dim_z), h_stream, per_thread); \
		return launch_end(&l, real.symbol(f, grid_dim_x, grid_dim_y, grid_dim_z,          \
		                              block_dim_x, block_dim_y, block_dim_z,              \
		                              shared_mem_bytes, h_stream, kernel_params));        \
	}
LAUNCH_COOPERATIVE(cuLaunchCooperativeKernel, false)
LAUNCH_COOPERATIVE(cuLaunchCooperativeKernel_ptsz, true)

enum cu_result cuLaunchCooperativeKernelMultiDevice(
        struct cu_launch_params *launch_params_list, unsigned num_devices, unsigned flags)
{
	ENTER(cuLaunchCooperativeKernelMultiDevice);
	struct launch l = {0};
	if (launch_params_list != NULL && num_devices > 0)
		launch_gate(&l, launch_params_list->func,
		        blocks(launch_params_list->grid[0], launch_params_list->grid[1],
		                launch_params_list->grid[2]),
		        launch_params_list->stream, false);
	return launch_end(&l,
	        real.cuLaunchCooperativeKernelMultiDevice(launch_params_list, num_devices, flags));
}

enum cu_result cuLaunch(struct cu_func *f)
{
	ENTER(cuLaunch);
	struct launch l;
	launch_gate(&l, f, 1, NULL, false);
	return launch_end(&l, real.cuLaunch(f));
}

enum cu_result cuLaunchGrid(struct cu_func *f, int grid_width, int grid_height)
{
	ENTER(cuLaunchGrid);
	struct launch l;
	launch_gate(&l, f, blocks((unsigned)grid_width, (unsigned)grid_height, 1), NULL, false);
	return launch_end(&l, real.cuLaunchGrid(f, grid_width, grid_height));
}

enum cu_result cuLaunchGridAsync(
        struct cu_func *f, int grid_width, int grid_height, struct cu_stream *h_stream)
{
	ENTER(cuLaunchGridAsync);
	struct launch l;
	launch_gate(&l, f, blocks((unsigned)grid_width, (unsigned)grid_height, 1), h_stream, false);
	return launch_end(&l, real.cuLaunchGridAsync(f, grid_width, grid_height, h_stream));
}

/* A place where streams come to rest: pools have given back what was freed on them. */
#define REST(symbol, params, args, stream, per_thread, all)                \
	enum cu_result symbol params                                       \
	{                                                                  \
		ENTER(symbol);                                             \
		struct launch_rest rest;                                   \
		launch_sync_begin(&rest, stream, per_thread, all);         \
		enum cu_result rc = real.symbol args;                      \
		launch_sync_end(&rest, rc == CU_SUCCESS && !(per_thread)); \
		pools_settle();                                            \
		return rc;                                                 \
	}
REST(cuStreamSynchronize, (struct cu_stream * h_stream), (h_stream), h_stream, false, false)
REST(cuStreamSynchronize_ptsz, (struct cu_stream * h_stream), (h_stream), h_stream,
        h_stream == NULL, false)
REST(cuCtxSynchronize, (void), (), NULL, false, true)
REST(cuCtxSynchronize_v2, (struct cu_ctx * ctx), (ctx), NULL, false, ctx == NULL)
/* No stream is this one: what was launched gets a mark. */
#define NO_STREAM ((struct cu_stream *)UINTPTR_MAX)
REST(cuEventSynchronize, (struct cu_event * h_event), (h_event), NO_STREAM, false, false)

#define PASS(symbol, params, args)       \
	enum cu_result symbol params     \
	{                                \
		ENTER(symbol);           \
		return real.symbol args; \
	}
PASS(cuStreamCreate, (struct cu_stream * *ph_stream, unsigned flags), (ph_stream, flags))
PASS(cuStreamCreateWithPriority, (struct cu_stream * *ph_stream, unsigned flags, int priority),
        (ph_stream, flags, priority))

/* Its last work is marked while there is a stream to do it in. */
static void mark_all(void)
{
	if (!pacing_is_used() || __atomic_load_n(&pacing_captures, __ATOMIC_RELAXED) != 0)
		return;
	for (struct pacing *g = pacing_next(NULL); g != NULL; g = pacing_next(g))
		pace_mark(pacing_core(g));
}

#define DESTROY(symbol)                                                               \
	enum cu_result symbol(struct cu_stream *h_stream)                             \
	{                                                                             \
		ENTER(symbol);                                                        \
		struct table_entry capture;                                           \
		mark_all();                                                           \
		bool is_capturing = captures_take(h_stream, &capture);                \
		return captures_taken(real.symbol(h_stream), is_capturing, &capture); \
	}
DESTROY(cuStreamDestroy)
DESTROY(cuStreamDestroy_v2)

/* What is recorded or asked while a stream captures may spoil that: work before it is marked, then nothing is until its end. */
#define BEGIN_CAPTURE(symbol, params, args, per_thread)                        \
	enum cu_result symbol params                                           \
	{                                                                      \
		ENTER(symbol);                                                 \
		mark_all();                                                    \
		captures_begin();                                              \
		return captures_begun(real.symbol args, h_stream, per_thread); \
	}
BEGIN_CAPTURE(cuStreamBeginCapture, (struct cu_stream * h_stream), (h_stream), false)
BEGIN_CAPTURE(cuStreamBeginCapture_ptsz, (struct cu_stream * h_stream), (h_stream), true)
BEGIN_CAPTURE(
        cuStreamBeginCapture_v2, (struct cu_stream * h_stream, int mode), (h_stream, mode), false)
BEGIN_CAPTURE(cuStreamBeginCapture_v2_ptsz, (struct cu_stream * h_stream, int mode),
        (h_stream, mode), true)
#define BEGIN_CAPTURE_TO_GRAPH(symbol, per_thread)                                                 \
	BEGIN_CAPTURE(symbol,                                                                      \
	        (struct cu_stream * h_stream, struct cu_graph * h_graph,                           \
	                const struct cu_graph_node **dependencies,                                 \
	                const struct cu_edge *dependency_data, size_t num_dependencies, int mode), \
	        (h_stream, h_graph, dependencies, dependency_data, num_dependencies, mode),        \
	        per_thread)
BEGIN_CAPTURE_TO_GRAPH(cuStreamBeginCaptureToGraph, false)
BEGIN_CAPTURE_TO_GRAPH(cuStreamBeginCaptureToGraph_ptsz, true)

#define END_CAPTURE(symbol, per_thread)                                                       \
	enum cu_result symbol(struct cu_stream *h_stream, struct cu_graph **ph_graph)         \
	{                                                                                     \
		ENTER(symbol);                                                                \
		return captures_ended(real.symbol(h_stream, ph_graph), h_stream, per_thread); \
	}
END_CAPTURE(cuStreamEndCapture, false)
END_CAPTURE(cuStreamEndCapture_ptsz, true)

/* Memory that a checkpoint moved to the host stays charged: so the restore always fits. */
PASS(cuCheckpointProcessCheckpoint, (int pid, struct cu_checkpoint *args), (pid, args))
PASS(cuCheckpointProcessRestore, (int pid, struct cu_restore *args), (pid, args))
