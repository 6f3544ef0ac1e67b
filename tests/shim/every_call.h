/*
 * One call of each wrapper, on things that exist, for tests that ask what becomes of it when the driver does not do it.
 * The caller owns struct life (zeroed): life_begin makes what the calls need, try_SYMBOL makes one call, and life_end gives back
 * all that is left. One thread, with `base` current throughout. Calls may fail: their answers are handed on, and what they did not
 * give is not there. A row of tables/cuda.def without a call here does not compile.
 */
#pragma once

#include "shim_box.h"

/* What calls begin with, and what they may end. */
struct life {
	struct cu_ctx *base, *ctx;
	struct cu_green_ctx *green;
	bool has_primary, is_mapped;
	struct cu_stream *stream, *capture, *spare;
	struct cu_event *event;
	struct cu_module *module;
	struct cu_library *library;
	struct cu_func *fn;
	struct cu_pool *pool;
	struct cu_array *array;
	struct cu_mipmap *mipmap;
	struct cu_external *external;
	struct cu_graph *graph, *other;
	struct cu_graph_exec *exec;
	cu_ptr pointer, from_pool, reserved;
	cu_handle handle;
	struct cu_ipc_mem shared;
	int memory_file, handle_file;
	struct made { /* by the call itself */
		struct cu_ctx *ctx;
		struct cu_green_ctx *green;
		struct cu_stream *stream;
		struct cu_module *module;
		struct cu_library *library;
		struct cu_pool *pool;
		struct cu_array *array;
		struct cu_mipmap *mipmap;
		struct cu_external *external;
		struct cu_graph *graph;
		struct cu_graph_exec *exec;
		cu_ptr pointer, async, opened;
		unsigned narrow;
		cu_handle handle;
	} made;
	union { /* answers that nobody looks at */
		char text[64];
		int number;
		unsigned narrow[2];
		size_t wide[2];
		void *pointer;
		struct cu_ipc_mem ipc;
		struct cu_update_info update;
	} said;
};

#define PART_OF(type, ...) (&(const struct type){__VA_ARGS__})
#define CALL(symbol, ...)                                         \
	static inline enum cu_result try_##symbol(struct life *l) \
	{                                                         \
		(void)l;                                          \
		return cu.symbol(__VA_ARGS__);                    \
	}
/* The first parameter is where it puts what it makes. */
#define MAKES(symbol, what, ...)                                    \
	static inline enum cu_result try_##symbol(struct life *l)   \
	{                                                           \
		__typeof__(l->made.what) got = 0;                   \
		enum cu_result rc = cu.symbol(&got, ##__VA_ARGS__); \
		if (rc == CU_SUCCESS)                               \
			l->made.what = got;                         \
		return rc;                                          \
	}
#define ENDS(symbol, what, ...)                                   \
	static inline enum cu_result try_##symbol(struct life *l) \
	{                                                         \
		enum cu_result rc = cu.symbol(__VA_ARGS__);       \
		if (rc == CU_SUCCESS)                             \
			l->what = 0;                              \
		return rc;                                        \
	}

static const struct cu_mem_prop life_prop = {
        .type = 1, .handle_types = 1, .location = {CU_LOCATION_DEVICE, 0}};
static const struct cu_pool_props life_pool = {.type = 1, .location = {CU_LOCATION_DEVICE, 0}};

/* clang-format off */
#define FLAT .width = 1024, .height = 512, .format = 0x20, .channels = 4
#define DEEP .width = 256, .height = 64, .depth = 32, .format = 0x20, .channels = 1
#define ONE  1, 1, 1, 1, 1, 1, 0
#define RESOURCE ((struct cu_resource *)l) /* what it is, is the driver's affair */
CALL(cuInit, 0)
CALL(cuGetProcAddress, "cuMemAlloc", &l->said.pointer, 12000, 0)
CALL(cuGetProcAddress_v2, "cuMemAlloc", &l->said.pointer, 12000, 0, NULL)
CALL(cuDeviceGetCount, &l->said.number)
CALL(cuDeviceGet, &l->said.number, 0)
CALL(cuDeviceGetName, l->said.text, sizeof l->said.text, 0)
CALL(cuDeviceTotalMem, l->said.narrow, 0)
CALL(cuDeviceTotalMem_v2, l->said.wide, 0)
CALL(cuDeviceGetByPCIBusId, &l->said.number, "0000:01:00.0")
MAKES(cuMemAlloc, narrow, 3 * MIB)
MAKES(cuMemAlloc_v2, pointer, 7 * MIB)
MAKES(cuMemAllocPitch, narrow, l->said.narrow, 1000, 1000, 4)
MAKES(cuMemAllocPitch_v2, pointer, l->said.wide, 1000, 5000, 4)
MAKES(cuMemAllocManaged, pointer, 5 * MIB, 1)
CALL(cuMemFree, (unsigned)l->pointer)
ENDS(cuMemFree_v2, pointer, l->pointer)
CALL(cuMemGetInfo, l->said.narrow, l->said.narrow + 1)
CALL(cuMemGetInfo_v2, l->said.wide, l->said.wide + 1)
MAKES(cuMemAllocAsync, async, 9 * MIB, l->stream)
MAKES(cuMemAllocAsync_ptsz, async, 9 * MIB, NULL)
MAKES(cuMemAllocFromPoolAsync, async, 9 * MIB, l->pool, l->stream)
MAKES(cuMemAllocFromPoolAsync_ptsz, async, 9 * MIB, l->pool, NULL)
ENDS(cuMemFreeAsync, from_pool, l->from_pool, l->stream)
ENDS(cuMemFreeAsync_ptsz, from_pool, l->from_pool, NULL)
MAKES(cuMemPoolCreate, pool, &life_pool)
ENDS(cuMemPoolDestroy, pool, l->pool)
CALL(cuMemPoolTrimTo, l->pool, 0)
MAKES(cuMemPoolImportFromShareableHandle, pool, (void *)(intptr_t)l->memory_file, 1, 0)
MAKES(cuMemPoolImportPointer, opened, l->pool, &(struct cu_pool_pointer){{0}})
MAKES(cuMemCreate, handle, 6 * MIB, &life_prop, 0)
ENDS(cuMemRelease, handle, l->handle)
CALL(cuMemMap, l->reserved + 4 * MIB, 4 * MIB, 0, l->handle, 0)
ENDS(cuMemUnmap, is_mapped, l->reserved, 4 * MIB)
MAKES(cuMemImportFromShareableHandle, handle, (void *)(intptr_t)l->handle_file, 1)
MAKES(cuMemRetainAllocationHandle, handle, (void *)(uintptr_t)l->reserved)
MAKES(cuArrayCreate, array, PART_OF(cu_array_desc_v1, FLAT))
MAKES(cuArrayCreate_v2, array, PART_OF(cu_array_desc, FLAT))
MAKES(cuArray3DCreate, array, PART_OF(cu_array3d_desc_v1, DEEP))
MAKES(cuArray3DCreate_v2, array, PART_OF(cu_array3d_desc, DEEP))
ENDS(cuArrayDestroy, array, l->array)
MAKES(cuMipmappedArrayCreate, mipmap, PART_OF(cu_array3d_desc, FLAT), 3)
ENDS(cuMipmappedArrayDestroy, mipmap, l->mipmap)
CALL(cuIpcGetMemHandle, &l->said.ipc, l->pointer)
MAKES(cuIpcOpenMemHandle, opened, l->shared, 1)
MAKES(cuIpcOpenMemHandle_v2, opened, l->shared, 1)
CALL(cuIpcCloseMemHandle, l->pointer)
MAKES(cuImportExternalMemory, external, PART_OF(cu_external_desc, .type = 1, .handle.fd = l->memory_file, .size = 5 * MIB))
ENDS(cuDestroyExternalMemory, external, l->external)
CALL(cuGraphAddMemAllocNode, &(struct cu_graph_node *){0}, l->other, NULL, 0, &(struct cu_alloc_node){.pool = life_pool, .bytes = MIB})
CALL(cuGraphAddNode, &(struct cu_graph_node *){0}, l->other, NULL, 0, &(struct cu_node_params){.type = CU_NODE_MEM_ALLOC, .alloc = {.pool = life_pool, .bytes = MIB}})
CALL(cuGraphAddNode_v2, &(struct cu_graph_node *){0}, l->other, NULL, NULL, 0, &(struct cu_node_params){.type = CU_NODE_MEM_ALLOC, .alloc = {.pool = life_pool, .bytes = MIB}})
MAKES(cuGraphInstantiate, exec, l->graph, NULL, NULL, 0)
MAKES(cuGraphInstantiate_v2, exec, l->graph, NULL, NULL, 0)
MAKES(cuGraphInstantiateWithFlags, exec, l->graph, 0)
MAKES(cuGraphInstantiateWithParams, exec, l->graph, &(struct cu_instantiate){.flags = 0})
MAKES(cuGraphInstantiateWithParams_ptsz, exec, l->graph, &(struct cu_instantiate){.flags = 0})
ENDS(cuGraphExecDestroy, exec, l->exec)
CALL(cuGraphLaunch, l->exec, l->stream)
CALL(cuGraphLaunch_ptsz, l->exec, NULL)
CALL(cuGraphUpload, l->exec, l->stream)
CALL(cuGraphUpload_ptsz, l->exec, NULL)
CALL(cuDeviceGraphMemTrim, 0)
CALL(cuGraphExecUpdate, l->exec, l->graph, &(struct cu_graph_node *){0}, &l->said.number)
CALL(cuGraphExecUpdate_v2, l->exec, l->graph, &l->said.update)
MAKES(cuCtxCreate, ctx, 0, 0)
MAKES(cuCtxCreate_v2, ctx, 0, 0)
MAKES(cuCtxCreate_v3, ctx, NULL, 0, 0, 0)
MAKES(cuCtxCreate_v4, ctx, NULL, 0, 0)
ENDS(cuCtxDestroy, ctx, l->ctx)
ENDS(cuCtxDestroy_v2, ctx, l->ctx)
CALL(cuDevicePrimaryCtxRetain, &(struct cu_ctx *){0}, 0)
ENDS(cuDevicePrimaryCtxRelease, has_primary, 0)
ENDS(cuDevicePrimaryCtxRelease_v2, has_primary, 0)
ENDS(cuDevicePrimaryCtxReset, has_primary, 0)
ENDS(cuDevicePrimaryCtxReset_v2, has_primary, 0)
MAKES(cuGreenCtxCreate, green, RESOURCE, 0, 1)
ENDS(cuGreenCtxDestroy, green, l->green)
CALL(cuCtxFromGreenCtx, &(struct cu_ctx *){0}, l->green)
CALL(cuCtxSetLimit, CU_LIMIT_STACK, 2048)
MAKES(cuModuleLoad, module, "/dev/null")
MAKES(cuModuleLoadData, module, "image")
MAKES(cuModuleLoadDataEx, module, "image", 0, NULL, NULL)
MAKES(cuModuleLoadFatBinary, module, "image")
ENDS(cuModuleUnload, module, l->module)
MAKES(cuLibraryLoadData, library, "image", NULL, NULL, 0, NULL, NULL, 0)
MAKES(cuLibraryLoadFromFile, library, "/dev/null", NULL, NULL, 0, NULL, NULL, 0)
ENDS(cuLibraryUnload, library, l->library)
CALL(cuLaunchKernel, l->fn, ONE, l->stream, NULL, NULL)
CALL(cuLaunchKernel_ptsz, l->fn, ONE, NULL, NULL, NULL)
CALL(cuLaunchKernelEx, PART_OF(cu_launch_config, .grid = {1, 1, 1}, .block = {1, 1, 1}), l->fn, NULL, NULL)
CALL(cuLaunchKernelEx_ptsz, PART_OF(cu_launch_config, .grid = {1, 1, 1}, .block = {1, 1, 1}), l->fn, NULL, NULL)
CALL(cuLaunchCooperativeKernel, l->fn, ONE, l->stream, NULL)
CALL(cuLaunchCooperativeKernel_ptsz, l->fn, ONE, NULL, NULL)
CALL(cuLaunchCooperativeKernelMultiDevice, &(struct cu_launch_params){.func = l->fn, .grid = {1, 1, 1}, .block = {1, 1, 1}, .stream = l->stream}, 1, 0)
CALL(cuLaunch, l->fn)
CALL(cuLaunchGrid, l->fn, 1, 1)
CALL(cuLaunchGridAsync, l->fn, 1, 1, l->stream)
CALL(cuStreamBeginCapture, l->stream)
CALL(cuStreamBeginCapture_v2, l->stream, 0)
CALL(cuStreamBeginCapture_ptsz, l->stream)
CALL(cuStreamBeginCapture_v2_ptsz, l->stream, 0)
CALL(cuStreamBeginCaptureToGraph, l->stream, l->other, NULL, NULL, 0, 0)
CALL(cuStreamBeginCaptureToGraph_ptsz, l->stream, l->other, NULL, NULL, 0, 0)
CALL(cuStreamEndCapture, l->capture, &l->made.graph)
CALL(cuStreamEndCapture_ptsz, l->capture, &l->made.graph)
CALL(cuStreamSynchronize, l->stream)
CALL(cuStreamSynchronize_ptsz, NULL)
CALL(cuCtxSynchronize)
CALL(cuCtxSynchronize_v2, l->base)
CALL(cuEventSynchronize, l->event)
ENDS(cuStreamDestroy, spare, l->spare)
ENDS(cuStreamDestroy_v2, spare, l->spare)
MAKES(cuStreamCreate, stream, 1)
MAKES(cuStreamCreateWithPriority, stream, 1, 0)
CALL(cuCheckpointProcessCheckpoint, 0, NULL)
CALL(cuCheckpointProcessRestore, 0, NULL)
/* clang-format on */

static const struct {
	const char *name;
	enum cu_result (*call)(struct life *l);
} every_call[] = {
#define EVERY_GUARD(symbol) {#symbol, try_##symbol},
#define EVERY_PLAIN(symbol)
#define CUDA(use, since, symbol, name, stream, params, args) EVERY_##use(symbol)
#include "../../tables/cuda.def"
#undef CUDA
};
#define N_CALLS (sizeof every_call / sizeof every_call[0])

static inline void life_memory(struct life *l)
{
	ok(cuMemAlloc_v2(&l->pointer, 10 * MIB));
	ok(cuIpcGetMemHandle(&l->shared, l->pointer));
	ok(cuMemPoolCreate(&l->pool, &life_pool));
	ok(cuMemAllocFromPoolAsync(&l->from_pool, 6 * MIB, l->pool, l->stream));
	ok(cuMemCreate(&l->handle, 4 * MIB, &life_prop, 0));
	ok(cuMemExportToShareableHandle(&l->handle_file, l->handle, 1, 0));
	ok(cuMemAddressReserve(&l->reserved, 8 * MIB, 0, 0, 0));
	ok(cuMemMap(l->reserved, 4 * MIB, 0, l->handle, 0));
	l->is_mapped = true;
	ok(cuArrayCreate_v2(&l->array, PART_OF(cu_array_desc, FLAT)));
	ok(cuMipmappedArrayCreate(&l->mipmap, PART_OF(cu_array3d_desc, DEEP), 3));
	l->memory_file = memfd_create("memory", MFD_CLOEXEC);
	assert_int_equal(ftruncate(l->memory_file, 5 * MIB), 0);
	ok(cuImportExternalMemory(
	        &l->external, PART_OF(cu_external_desc, .type = 1, .handle.fd = l->memory_file,
	                              .size = 5 * MIB)));
}

static inline void life_begin(struct life *l)
{
	struct cu_ctx *primary;
	struct cu_graph_node *node;
	struct cu_alloc_node alloc = {.pool = life_pool, .bytes = 4 * MIB};
	ok(cuCtxCreate_v2(&l->ctx, 0, 0));
	ok(cuDevicePrimaryCtxRetain(&primary, 0));
	l->has_primary = true;
	ok(cuGreenCtxCreate(&l->green, RESOURCE, 0, 1));
	ok(cuCtxCreate_v2(&l->base, 0, 0));
	ok(cuStreamCreate(&l->stream, 1));
	ok(cuStreamCreate(&l->spare, 1));
	ok(cuEventCreate(&l->event, 0));
	ok(cuModuleLoadData(&l->module, "image"));
	ok(cuLibraryLoadData(&l->library, "image", NULL, NULL, 0, NULL, NULL, 0));
	ok(cuModuleGetFunction(&l->fn, l->module, "k_10us"));
	life_memory(l);
	ok(cuGraphCreate(&l->other, 0));
	ok(cuGraphCreate(&l->graph, 0));
	ok(cuGraphAddMemAllocNode(&node, l->graph, NULL, 0, &alloc));
	ok(cuGraphAddMemFreeNode(
	        &node, l->graph, (const struct cu_graph_node *[]){node}, 1, alloc.pointer));
	ok(cuGraphInstantiateWithFlags(&l->exec, l->graph, 0));
	ok(cuStreamCreate(&l->capture, 1));
}

/* Whatever the call made goes first; what it ended is not there any more. */
static inline void life_end_made(struct made *m)
{
#define END(what, ...) \
	if (m->what)   \
	ok(__VA_ARGS__)
	END(stream, cuStreamDestroy_v2(m->stream));
	END(module, cuModuleUnload(m->module));
	END(library, cuLibraryUnload(m->library));
	END(async, cuMemFreeAsync(m->async, NULL));
	END(pool, cuMemPoolDestroy(m->pool));
	END(array, cuArrayDestroy(m->array));
	END(mipmap, cuMipmappedArrayDestroy(m->mipmap));
	END(external, cuDestroyExternalMemory(m->external));
	END(graph, cuGraphDestroy(m->graph));
	END(exec, cuGraphExecDestroy(m->exec));
	END(pointer, cuMemFree_v2(m->pointer));
	END(opened, cuIpcCloseMemHandle(m->opened));
	END(narrow, cuMemFree_v2(m->narrow));
	END(handle, cuMemRelease(m->handle));
	END(ctx, cuCtxDestroy_v2(m->ctx));
#undef END
}

/* All but contexts: what is then charged is theirs. */
static inline void life_end(struct life *l)
{
	struct life *m = l;
#define END(what, ...) \
	if (m->what)   \
	ok(__VA_ARGS__)
	cu.cuStreamEndCapture(l->capture, &l->made.graph);
	cu.cuStreamEndCapture(l->stream, &l->made.graph);
	life_end_made(&l->made);
	END(pointer, cuMemFree_v2(l->pointer));
	END(from_pool, cuMemFreeAsync(l->from_pool, l->stream));
	ok(cuCtxSynchronize());
	END(pool, cuMemPoolDestroy(l->pool));
	cu.cuMemUnmap(l->reserved + 4 * MIB, 4 * MIB); /* a row may have mapped it */
	END(is_mapped, cuMemUnmap(l->reserved, 4 * MIB));
	END(handle, cuMemRelease(l->handle));
	END(array, cuArrayDestroy(l->array));
	END(mipmap, cuMipmappedArrayDestroy(l->mipmap));
	END(external, cuDestroyExternalMemory(l->external));
	END(exec, cuGraphExecDestroy(l->exec));
	ok(cuGraphDestroy(l->graph));
	ok(cuGraphDestroy(l->other));
	ok(cuDeviceGraphMemTrim(0));
#undef END
	ok(cuMemAddressFree(l->reserved, 8 * MIB));
	close(l->handle_file);
	close(l->memory_file);
}

static inline void life_end_contexts(struct life *l)
{
	cu.cuGreenCtxDestroy(l->made.green);
	cu.cuGreenCtxDestroy(l->green);
	cu.cuDevicePrimaryCtxReset_v2(0);
	cu.cuDevicePrimaryCtxRelease_v2(0);
	cu.cuDevicePrimaryCtxRelease_v2(0);
	if (l->ctx != NULL)
		ok(cuCtxDestroy_v2(l->ctx));
	ok(cuCtxDestroy_v2(l->base));
}
