#include "fixture.h"

/* The vendor's header, where a toolkit is installed; else this test says so. */
#ifdef HAVE_CUDA_H
#define CUDA_ENABLE_DEPRECATED
#include <cuda.h>

/* Two names that both have, as macros of theirs. */
#undef CU_STREAM_LEGACY
#undef CU_STREAM_PER_THREAD
#include "../../../tables/cuda_abi.h"

#define SAME(ours, theirs) \
	_Static_assert(    \
	        sizeof(ours) == sizeof(theirs) && _Alignof(ours) == _Alignof(theirs), #theirs)
#define FIELD(ours, member, theirs, their_member)                                \
	_Static_assert(offsetof(ours, member) == offsetof(theirs, their_member), \
	        #theirs "." #their_member)

SAME(struct cu_uuid, CUuuid);
SAME(struct cu_props, CUdevprop);
FIELD(struct cu_props, clock_rate, CUdevprop, clockRate);
SAME(struct cu_location, CUmemLocation);
SAME(struct cu_access, CUmemAccessDesc);
SAME(struct cu_mem_prop, CUmemAllocationProp);
FIELD(struct cu_mem_prop, location, CUmemAllocationProp, location);
FIELD(struct cu_mem_prop, usage, CUmemAllocationProp, allocFlags.usage);
SAME(struct cu_pool_props, CUmemPoolProps);
FIELD(struct cu_pool_props, location, CUmemPoolProps, location);
FIELD(struct cu_pool_props, max_size, CUmemPoolProps, maxSize);
SAME(struct cu_pool_pointer, CUmemPoolPtrExportData);
SAME(struct cu_ipc_mem, CUipcMemHandle);
SAME(struct cu_array_desc, CUDA_ARRAY_DESCRIPTOR);
FIELD(struct cu_array_desc, channels, CUDA_ARRAY_DESCRIPTOR, NumChannels);
SAME(struct cu_array3d_desc, CUDA_ARRAY3D_DESCRIPTOR);
FIELD(struct cu_array3d_desc, flags, CUDA_ARRAY3D_DESCRIPTOR, Flags);
SAME(struct cu_array_need, CUDA_ARRAY_MEMORY_REQUIREMENTS);
SAME(struct cu_external_desc, CUDA_EXTERNAL_MEMORY_HANDLE_DESC);
FIELD(struct cu_external_desc, size, CUDA_EXTERNAL_MEMORY_HANDLE_DESC, size);
SAME(struct cu_external_buffer, CUDA_EXTERNAL_MEMORY_BUFFER_DESC);
SAME(struct cu_alloc_node, CUDA_MEM_ALLOC_NODE_PARAMS);
FIELD(struct cu_alloc_node, bytes, CUDA_MEM_ALLOC_NODE_PARAMS, bytesize);
FIELD(struct cu_alloc_node, pointer, CUDA_MEM_ALLOC_NODE_PARAMS, dptr);
SAME(struct cu_kernel_node_v1, CUDA_KERNEL_NODE_PARAMS_v1);
SAME(struct cu_kernel_node, CUDA_KERNEL_NODE_PARAMS_v2);
FIELD(struct cu_kernel_node, kernel, CUDA_KERNEL_NODE_PARAMS_v2, kern);
SAME(struct cu_node_params, CUgraphNodeParams);
FIELD(struct cu_node_params, kernel, CUgraphNodeParams, kernel);
SAME(struct cu_instantiate, CUDA_GRAPH_INSTANTIATE_PARAMS);
FIELD(struct cu_instantiate, result, CUDA_GRAPH_INSTANTIATE_PARAMS, result_out);
SAME(struct cu_launch_params, CUDA_LAUNCH_PARAMS);
SAME(struct cu_launch_config, CUlaunchConfig);
FIELD(struct cu_launch_config, stream, CUlaunchConfig, hStream);
SAME(struct cu_update_info, CUgraphExecUpdateResultInfo);
FIELD(struct cu_update_info, error_from, CUgraphExecUpdateResultInfo, errorFromNode);

static void test_values(void **state)
{
	static const struct {
		const char *name;
		int value;
	} results[] = {
#define CU_RESULT(name, value, text) {"CUDA_ERROR_" #name, CUDA_ERROR_##name},
	        CU_RESULTS(CU_RESULT)
#undef CU_RESULT
	};
	static const int ours[] = {
#define CU_RESULT(name, value, text) value,
	        CU_RESULTS(CU_RESULT)
#undef CU_RESULT
	};

	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		if (ours[i] != results[i].value)
			fail_msg("%s is %d, not %d", results[i].name, results[i].value, ours[i]);
	assert_int_equal(CU_LOCATION_DEVICE, CU_MEM_LOCATION_TYPE_DEVICE);
	assert_int_equal(CU_LOCATION_HOST, CU_MEM_LOCATION_TYPE_HOST);
	assert_int_equal(CU_LIMIT_STACK, CU_LIMIT_STACK_SIZE);
	assert_int_equal(CU_LIMIT_PRINTF, CU_LIMIT_PRINTF_FIFO_SIZE);
	assert_int_equal(CU_LIMIT_HEAP, CU_LIMIT_MALLOC_HEAP_SIZE);
	assert_int_equal(CU_POOL_RELEASE_THRESHOLD, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD);
	assert_int_equal(CU_POOL_RESERVED, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT);
	assert_int_equal(CU_POOL_USED_HIGH, CU_MEMPOOL_ATTR_USED_MEM_HIGH);
	assert_int_equal(CU_GRAPH_USED_HIGH, CU_GRAPH_MEM_ATTR_USED_MEM_HIGH);
	assert_int_equal(CU_GRAPH_RESERVED, CU_GRAPH_MEM_ATTR_RESERVED_MEM_CURRENT);
	assert_int_equal(CU_CAPTURE_INVALIDATED, CU_STREAM_CAPTURE_STATUS_INVALIDATED);
	assert_int_equal(CU_NODE_MEM_ALLOC, CU_GRAPH_NODE_TYPE_MEM_ALLOC);
	assert_int_equal(CU_NODE_MEM_FREE, CU_GRAPH_NODE_TYPE_MEM_FREE);
	assert_int_equal(CU_EVENT_NO_TIMING, CU_EVENT_DISABLE_TIMING);
	assert_int_equal(CU_PROC_PER_THREAD, CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM);
	assert_int_equal(CU_PROC_TOO_NEW, CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT);
}
#else
static void test_values(void **state)
{
	print_message("no toolkit: the vendor's cuda.h is not installed\n");
	skip();
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_values)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
