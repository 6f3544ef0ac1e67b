/*
 * What a caller of CUDA's driver API and the driver agree on: result codes, handles and the layout of what is passed.
 * For the interposer, the fake driver and their tests alike; names are ours, values and layouts the vendor's, 64-bit Linux.
 * Declarations only; any thread. A test compares layouts with the vendor's header where that is installed; here assertions
 * hold what a caller passes by size.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Whatever is not CU_SUCCESS and that Berth answers or looks for: CU_RESULT(NAME, value, text of cuGetErrorString) */
#define CU_RESULTS(CU_RESULT)                                                                   \
	CU_RESULT(INVALID_VALUE, 1, "invalid argument")                                         \
	CU_RESULT(OUT_OF_MEMORY, 2, "out of memory")                                            \
	CU_RESULT(NOT_INITIALIZED, 3, "initialization error")                                   \
	CU_RESULT(DEINITIALIZED, 4, "driver shutting down")                                     \
	CU_RESULT(STUB_LIBRARY, 34, "CUDA driver is a stub library")                            \
	CU_RESULT(NO_DEVICE, 100, "no CUDA-capable device is detected")                         \
	CU_RESULT(INVALID_DEVICE, 101, "invalid device ordinal")                                \
	CU_RESULT(INVALID_IMAGE, 200, "device kernel image is invalid")                         \
	CU_RESULT(INVALID_CONTEXT, 201, "invalid device context")                               \
	CU_RESULT(ALREADY_MAPPED, 208, "resource already mapped")                               \
	CU_RESULT(NOT_MAPPED, 211, "resource not mapped")                                       \
	CU_RESULT(UNSUPPORTED_LIMIT, 215, "limit is not supported on this device")              \
	CU_RESULT(INVALID_SOURCE, 300, "device kernel image is invalid")                        \
	CU_RESULT(FILE_NOT_FOUND, 301, "file not found")                                        \
	CU_RESULT(OPERATING_SYSTEM, 304, "OS call failed or operation not supported")           \
	CU_RESULT(INVALID_HANDLE, 400, "invalid resource handle")                               \
	CU_RESULT(NOT_FOUND, 500, "named symbol not found")                                     \
	CU_RESULT(NOT_READY, 600, "device not ready")                                           \
	CU_RESULT(LAUNCH_FAILED, 719, "unspecified launch failure")                             \
	CU_RESULT(NOT_PERMITTED, 800, "operation not permitted")                                \
	CU_RESULT(NOT_SUPPORTED, 801, "operation not supported")                                \
	CU_RESULT(SYSTEM_NOT_READY, 802, "system not yet initialized")                          \
	CU_RESULT(STREAM_CAPTURE_UNSUPPORTED, 900,                                              \
	        "operation not permitted when stream is capturing")                             \
	CU_RESULT(STREAM_CAPTURE_INVALIDATED, 901,                                              \
	        "operation failed due to a previous error during capture")                      \
	CU_RESULT(STREAM_CAPTURE_UNMATCHED, 903, "capture was not initiated in this stream")    \
	CU_RESULT(GRAPH_EXEC_UPDATE_FAILURE, 910,                                               \
	        "the graph update was not performed because it included changes which violated " \
	        "constraints specific to instantiated graph update")                            \
	CU_RESULT(ILLEGAL_STATE, 401, "the operation cannot be performed in the present state") \
	CU_RESULT(DEVICE_UNAVAILABLE, 46, "CUDA-capable device(s) is/are busy or unavailable")  \
	CU_RESULT(ECC_UNCORRECTABLE, 214, "uncorrectable ECC error encountered")                \
	CU_RESULT(UNKNOWN, 999, "unknown error")

enum cu_result {
	CU_SUCCESS = 0,
#define CU_RESULT(name, value, text) CU_ERROR_##name = (value),
	CU_RESULTS(CU_RESULT)
#undef CU_RESULT
};

/* Opaque: whose they are and how long they live is the driver's affair. Devices are ordinals. */
struct cu_ctx;
struct cu_green_ctx;
struct cu_stream;
struct cu_event;
struct cu_module;
struct cu_func;
struct cu_library;
struct cu_kernel;
struct cu_array;
struct cu_mipmap;
struct cu_pool;
struct cu_graph;
struct cu_graph_exec;
struct cu_graph_node;
struct cu_external;

typedef unsigned long long cu_ptr;    /* an address of device memory */
typedef unsigned long long cu_handle; /* physical memory without an address */
typedef void (*cu_host_fn)(void *data);

#define CU_STREAM_LEGACY     ((struct cu_stream *)0x1)
#define CU_STREAM_PER_THREAD ((struct cu_stream *)0x2)

#define CU_PROC_PER_THREAD \
	2 /* a flag of cuGetProcAddress: the variants of the per-thread default stream */

enum cu_proc_status { CU_PROC_FOUND = 0, CU_PROC_UNKNOWN = 1, CU_PROC_TOO_NEW = 2 };

enum cu_location_type { CU_LOCATION_DEVICE = 1, CU_LOCATION_HOST = 2 };
enum cu_limit { CU_LIMIT_STACK = 0, CU_LIMIT_PRINTF = 1, CU_LIMIT_HEAP = 2 };
enum cu_pool_attribute {
	CU_POOL_RELEASE_THRESHOLD = 4,
	CU_POOL_RESERVED = 5,
	CU_POOL_RESERVED_HIGH = 6,
	CU_POOL_USED = 7,
	CU_POOL_USED_HIGH = 8
};
enum cu_graph_memory {
	CU_GRAPH_USED = 0,
	CU_GRAPH_USED_HIGH = 1,
	CU_GRAPH_RESERVED = 2,
	CU_GRAPH_RESERVED_HIGH = 3
};
enum cu_capture { CU_CAPTURE_NONE = 0, CU_CAPTURE_ACTIVE = 1, CU_CAPTURE_INVALIDATED = 2 };
enum cu_node_type {
	CU_NODE_KERNEL = 0,
	CU_NODE_GRAPH = 4,
	CU_NODE_MEM_ALLOC = 10,
	CU_NODE_MEM_FREE = 11
};
enum cu_child_ownership { CU_CHILD_CLONED = 0, CU_CHILD_MOVED = 1 };
enum cu_instantiate_flag { CU_INSTANTIATE_FREES = 1, CU_INSTANTIATE_UPLOADS = 2 };
enum cu_event_flag { CU_EVENT_BLOCKING = 1, CU_EVENT_NO_TIMING = 2, CU_EVENT_IPC = 4 };

struct cu_uuid {
	unsigned char bytes[16];
};

struct cu_props {
	int max_threads_per_block, max_threads_dim[3], max_grid_size[3];
	int shared_mem_per_block, const_mem, simd_width, mem_pitch, regs_per_block, clock_rate,
	        texture_align;
};

struct cu_location {
	int type; /* enum cu_location_type */
	int id;
};

struct cu_access {
	struct cu_location location;
	int flags;
};

struct cu_mem_prop {
	int type;
	int handle_types;
	struct cu_location location;
	void *security;
	unsigned char compression, rdma;
	unsigned short usage;
	unsigned char reserved[4];
};

struct cu_pool_props {
	int type;
	int handle_types;
	struct cu_location location;
	void *security;
	size_t max_size;
	unsigned char reserved[56];
};

struct cu_pool_pointer {
	unsigned char bytes[64];
};

struct cu_ipc_mem {
	char bytes[64];
};

struct cu_array_desc {
	size_t width, height;
	int format;
	unsigned channels;
};

struct cu_array_desc_v1 {
	unsigned width, height;
	int format;
	unsigned channels;
};

struct cu_array3d_desc {
	size_t width, height, depth;
	int format;
	unsigned channels, flags;
};

struct cu_array3d_desc_v1 {
	unsigned width, height, depth;
	int format;
	unsigned channels, flags;
};

struct cu_array_need {
	size_t size, alignment;
	unsigned reserved[4];
};

struct cu_external_desc {
	int type;
	union {
		int fd;
		void *words[2];
	} handle;
	unsigned long long size;
	unsigned flags, reserved[16];
};

struct cu_external_buffer {
	unsigned long long offset, size;
	unsigned flags, reserved[16];
};

struct cu_alloc_node {
	struct cu_pool_props pool;
	const struct cu_access *access;
	size_t n_access;
	size_t bytes;
	cu_ptr pointer; /* filled in by the driver */
};

struct cu_kernel_node_v1 {
	struct cu_func *func;
	unsigned grid[3], block[3], shared_bytes;
	void **params, **extra;
};

struct cu_kernel_node {
	struct cu_func *func;
	unsigned grid[3], block[3], shared_bytes;
	void **params, **extra;
	struct cu_kernel *kernel;
	struct cu_ctx *ctx;
};

struct cu_child_node {
	struct cu_graph *graph;
	int ownership; /* enum cu_child_ownership */
};

struct cu_node_params {
	int type; /* enum cu_node_type */
	int reserved0[3];
	union {
		long long words[29];
		struct cu_kernel_node kernel;
		struct cu_alloc_node alloc;
		struct cu_child_node graph;
		cu_ptr free;
	};
	long long reserved2;
};

struct cu_instantiate {
	uint64_t flags;
	struct cu_stream *upload;
	struct cu_graph_node *error_node;
	int result;
};

struct cu_launch_params {
	struct cu_func *func;
	unsigned grid[3], block[3], shared_bytes;
	struct cu_stream *stream;
	void **params;
};

struct cu_launch_config {
	unsigned grid[3], block[3], shared_bytes;
	struct cu_stream *stream;
	void *attributes;
	unsigned n_attributes;
};

struct cu_update_info {
	int result;
	struct cu_graph_node *error_node, *error_from;
};

/* Only passed on. */
struct cu_edge;
struct cu_ctx_params;
struct cu_affinity;
struct cu_resource;
struct cu_checkpoint;
struct cu_restore;

_Static_assert(sizeof(struct cu_props) == 56, "CUdevprop");
_Static_assert(sizeof(struct cu_mem_prop) == 32, "CUmemAllocationProp");
_Static_assert(sizeof(struct cu_pool_props) == 88, "CUmemPoolProps");
_Static_assert(sizeof(struct cu_array3d_desc) == 40, "CUDA_ARRAY3D_DESCRIPTOR");
_Static_assert(sizeof(struct cu_external_desc) == 104, "CUDA_EXTERNAL_MEMORY_HANDLE_DESC");
_Static_assert(sizeof(struct cu_alloc_node) == 120, "CUDA_MEM_ALLOC_NODE_PARAMS");
_Static_assert(sizeof(struct cu_node_params) == 256, "CUgraphNodeParams");
_Static_assert(sizeof(struct cu_launch_config) == 56, "CUlaunchConfig");
