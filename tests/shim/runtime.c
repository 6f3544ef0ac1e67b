/*
 * A small libcudart.so.13 of our own, over whatever libcuda.so.1 is found: what it needs it looks up by cuGetProcAddress_v2, as the
 * vendor's does; that one refuses a driver that is not the vendor's. One device is current for all threads, by its primary context.
 */
#include "runtime.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#define FUNCTIONS_MAX 64

/* Of the runtime alone. */
enum { INSUFFICIENT_DRIVER = 35, INVALID_FUNCTION = 98 };

/* NAME(what is asked for, the symbol whose type it has) */
#define DRIVER(NAME)                                                   \
	NAME(cuInit, cuInit)                                           \
	NAME(cuDriverGetVersion, cuDriverGetVersion)                   \
	NAME(cuDeviceGetCount, cuDeviceGetCount)                       \
	NAME(cuDeviceGetName, cuDeviceGetName)                         \
	NAME(cuDeviceGetAttribute, cuDeviceGetAttribute)               \
	NAME(cuDeviceTotalMem, cuDeviceTotalMem_v2)                    \
	NAME(cuDevicePrimaryCtxRetain, cuDevicePrimaryCtxRetain)       \
	NAME(cuDevicePrimaryCtxReset, cuDevicePrimaryCtxReset_v2)      \
	NAME(cuCtxSetCurrent, cuCtxSetCurrent)                         \
	NAME(cuCtxSynchronize, cuCtxSynchronize)                       \
	NAME(cuGetErrorString, cuGetErrorString)                       \
	NAME(cuModuleLoadData, cuModuleLoadData)                       \
	NAME(cuModuleGetFunction, cuModuleGetFunction)                 \
	NAME(cuMemAlloc, cuMemAlloc_v2)                                \
	NAME(cuMemAllocPitch, cuMemAllocPitch_v2)                      \
	NAME(cuMemAllocManaged, cuMemAllocManaged)                     \
	NAME(cuMemAllocAsync, cuMemAllocAsync)                         \
	NAME(cuMemHostAlloc, cuMemHostAlloc)                           \
	NAME(cuMemFree, cuMemFree_v2)                                  \
	NAME(cuMemFreeAsync, cuMemFreeAsync)                           \
	NAME(cuMemFreeHost, cuMemFreeHost)                             \
	NAME(cuMemGetInfo, cuMemGetInfo_v2)                            \
	NAME(cuMemcpy, cuMemcpy)                                       \
	NAME(cuMemcpyAsync, cuMemcpyAsync)                             \
	NAME(cuMemsetD8, cuMemsetD8_v2)                                \
	NAME(cuStreamCreate, cuStreamCreate)                           \
	NAME(cuStreamDestroy, cuStreamDestroy_v2)                      \
	NAME(cuStreamSynchronize, cuStreamSynchronize)                 \
	NAME(cuStreamBeginCapture, cuStreamBeginCapture_v2)            \
	NAME(cuStreamEndCapture, cuStreamEndCapture)                   \
	NAME(cuGraphInstantiateWithFlags, cuGraphInstantiateWithFlags) \
	NAME(cuGraphLaunch, cuGraphLaunch)                             \
	NAME(cuGraphExecDestroy, cuGraphExecDestroy)                   \
	NAME(cuGraphDestroy, cuGraphDestroy)                           \
	NAME(cuEventCreate, cuEventCreate)                             \
	NAME(cuEventRecord, cuEventRecord)                             \
	NAME(cuEventSynchronize, cuEventSynchronize)                   \
	NAME(cuEventElapsedTime, cuEventElapsedTime)                   \
	NAME(cuEventDestroy, cuEventDestroy_v2)                        \
	NAME(cuLaunchKernel, cuLaunchKernel)

/* For their types alone. */
#define CUDA(use, since, symbol, name, stream, params, args) enum cu_result symbol params;
#include "../../tables/cuda.def"
#undef CUDA

#define MEMBER(name, symbol) __typeof__(symbol) *name;
static struct {
	DRIVER(MEMBER)
} driver;

struct function {
	const void *host;
	const char *name;
	struct cu_func *kernel; /* NULL: not asked for yet */
};

static pthread_mutex_t mutex =
        PTHREAD_MUTEX_INITIALIZER; /* of what is below, up to the threads' own */
static struct function functions[FUNCTIONS_MAX];
static int n_functions, device;
static struct cu_ctx *ctx; /* of the device; NULL: it is not begun */
static bool is_sought;
static int start_error;

static _Thread_local int last_error;
static _Thread_local struct {
	struct runtime_dim grid, block;
	size_t shared_bytes;
	struct cu_stream *stream;
} configuration;

static int said(int rc)
{
	if (rc != CU_SUCCESS)
		last_error = rc;
	return rc;
}

static int find_driver(void)
{
	enum cu_result (*ask)(const char *, void **, int, uint64_t, int *) = NULL;
	void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
	if (library != NULL)
		*(void **)&ask = dlsym(library, "cuGetProcAddress_v2");
	if (ask == NULL)
		return INSUFFICIENT_DRIVER;
#define FIND(name, symbol)                                                   \
	if (ask(#name, (void **)&driver.name, 12000, 0, NULL) != CU_SUCCESS) \
		return CU_ERROR_NOT_FOUND;
	DRIVER(FIND)
#undef FIND
	return (int)driver.cuInit(0);
}

/* The driver alone. */
static int begin(void)
{
	pthread_mutex_lock(&mutex);
	if (!is_sought)
		start_error = find_driver();
	is_sought = true;
	pthread_mutex_unlock(&mutex);
	return start_error;
}

/* And the device's context, current in this thread. */
static int enter(void)
{
	int rc = begin();
	if (rc != CU_SUCCESS)
		return rc;
	pthread_mutex_lock(&mutex);
	if (ctx == NULL)
		rc = (int)driver.cuDevicePrimaryCtxRetain(&ctx, device);
	if (rc == CU_SUCCESS)
		rc = (int)driver.cuCtxSetCurrent(ctx);
	pthread_mutex_unlock(&mutex);
	return rc;
}

/* A call that is one of the driver's. */
#define WITHOUT(name, params, ...)                                            \
	int name params                                                       \
	{                                                                     \
		int rc = begin();                                             \
		return said(rc == CU_SUCCESS ? (int)driver.__VA_ARGS__ : rc); \
	}
#define WITH(name, params, ...)                                               \
	int name params                                                       \
	{                                                                     \
		int rc = enter();                                             \
		return said(rc == CU_SUCCESS ? (int)driver.__VA_ARGS__ : rc); \
	}

/* clang-format off */
WITHOUT(cudaDriverGetVersion, (int *version), cuDriverGetVersion(version))
WITHOUT(cudaGetDeviceCount, (int *count), cuDeviceGetCount(count))
WITHOUT(cudaDeviceGetAttribute, (int *value, int attribute, int of), cuDeviceGetAttribute(value, attribute, of))
WITH(cudaDeviceSynchronize, (void), cuCtxSynchronize())
WITH(cudaMalloc, (cu_ptr *pointer, size_t size), cuMemAlloc(pointer, size))
WITH(cudaMallocPitch, (cu_ptr *pointer, size_t *pitch, size_t width, size_t height), cuMemAllocPitch(pointer, pitch, width, height, 4))
WITH(cudaMallocManaged, (cu_ptr *pointer, size_t size, unsigned flags), cuMemAllocManaged(pointer, size, flags))
WITH(cudaMallocAsync, (cu_ptr *pointer, size_t size, struct cu_stream *stream), cuMemAllocAsync(pointer, size, stream))
WITH(cudaMallocHost, (void **pointer, size_t size), cuMemHostAlloc(pointer, size, 0))
WITH(cudaFree, (cu_ptr pointer), cuMemFree(pointer))
WITH(cudaFreeAsync, (cu_ptr pointer, struct cu_stream *stream), cuMemFreeAsync(pointer, stream))
WITH(cudaFreeHost, (void *pointer), cuMemFreeHost(pointer))
WITH(cudaMemGetInfo, (size_t *free, size_t *total), cuMemGetInfo(free, total))
WITH(cudaMemcpy, (cu_ptr to, cu_ptr from, size_t size, int kind), cuMemcpy(to, from, size))
WITH(cudaMemcpyAsync, (cu_ptr to, cu_ptr from, size_t size, int kind, struct cu_stream *stream), cuMemcpyAsync(to, from, size, stream))
WITH(cudaMemset, (cu_ptr pointer, int value, size_t size), cuMemsetD8(pointer, (unsigned char)value, size))
WITH(cudaStreamCreate, (struct cu_stream **stream), cuStreamCreate(stream, 0))
WITH(cudaStreamCreateWithFlags, (struct cu_stream **stream, unsigned flags), cuStreamCreate(stream, flags))
WITH(cudaStreamDestroy, (struct cu_stream *stream), cuStreamDestroy(stream))
WITH(cudaStreamSynchronize, (struct cu_stream *stream), cuStreamSynchronize(stream))
WITH(cudaStreamBeginCapture, (struct cu_stream *stream, int mode), cuStreamBeginCapture(stream, mode))
WITH(cudaStreamEndCapture, (struct cu_stream *stream, struct cu_graph **graph), cuStreamEndCapture(stream, graph))
WITH(cudaGraphInstantiate, (struct cu_graph_exec **exec, struct cu_graph *graph, unsigned long long flags), cuGraphInstantiateWithFlags(exec, graph, flags))
WITH(cudaGraphLaunch, (struct cu_graph_exec *exec, struct cu_stream *stream), cuGraphLaunch(exec, stream))
WITH(cudaGraphExecDestroy, (struct cu_graph_exec *exec), cuGraphExecDestroy(exec))
WITH(cudaGraphDestroy, (struct cu_graph *graph), cuGraphDestroy(graph))
WITH(cudaEventCreate, (struct cu_event **event), cuEventCreate(event, 0))
WITH(cudaEventRecord, (struct cu_event *event, struct cu_stream *stream), cuEventRecord(event, stream))
WITH(cudaEventSynchronize, (struct cu_event *event), cuEventSynchronize(event))
WITH(cudaEventElapsedTime, (float *ms, struct cu_event *from, struct cu_event *to), cuEventElapsedTime(ms, from, to))
WITH(cudaEventDestroy, (struct cu_event *event), cuEventDestroy(event))
WITH(__cudaLaunchKernel, (struct cu_func *kernel, struct runtime_dim grid, struct runtime_dim block, void **args, size_t shared_bytes, struct cu_stream *stream),
	cuLaunchKernel(kernel, grid.x, grid.y, grid.z, block.x, block.y, block.z, (unsigned)shared_bytes, stream, args, NULL))
/* clang-format on */

int cudaRuntimeGetVersion(int *version)
{
	*version = 13000;
	return CU_SUCCESS;
}

int cudaGetDevice(int *ret_device)
{
	*ret_device = device;
	return CU_SUCCESS;
}

int cudaSetDevice(int new_device)
{
	int n = 0, rc = cudaGetDeviceCount(&n);
	if (rc == CU_SUCCESS && (new_device < 0 || new_device >= n))
		rc = CU_ERROR_INVALID_DEVICE;
	if (rc != CU_SUCCESS)
		return said(rc);
	pthread_mutex_lock(&mutex);
	if (new_device != device)
		ctx = NULL;
	device = new_device;
	pthread_mutex_unlock(&mutex);
	return said(enter());
}

int cudaGetDeviceProperties(struct runtime_props *props, int of)
{
	int rc = begin();
	memset(props, 0, sizeof *props);
	if (rc == CU_SUCCESS)
		rc = (int)driver.cuDeviceGetName(props->name, sizeof props->name, of);
	if (rc == CU_SUCCESS)
		rc = (int)driver.cuDeviceTotalMem(&props->total_bytes, of);
	return said(rc);
}

/* Kernels are the driver's, and go with the context. */
int cudaDeviceReset(void)
{
	int rc = begin();
	if (rc != CU_SUCCESS)
		return said(rc);
	pthread_mutex_lock(&mutex);
	for (int i = 0; i < n_functions; i++)
		functions[i].kernel = NULL;
	ctx = NULL;
	rc = (int)driver.cuDevicePrimaryCtxReset(device);
	pthread_mutex_unlock(&mutex);
	return said(rc);
}

int cudaPeekAtLastError(void)
{
	return last_error;
}

int cudaGetLastError(void)
{
	int error = last_error;
	last_error = CU_SUCCESS;
	return error;
}

const char *cudaGetErrorString(int error)
{
	const char *text = "unknown error";
	if (begin() == CU_SUCCESS)
		driver.cuGetErrorString((enum cu_result)error, &text);
	return text;
}

/* -- kernels -- */
void **__cudaRegisterFatBinary(void *image)
{
	return image;
}

void __cudaRegisterFatBinaryEnd(void **handle)
{
	(void)handle;
}

void __cudaUnregisterFatBinary(void **handle)
{
	(void)handle; /* the process ends */
}

char __cudaInitModule(void **handle)
{
	(void)handle;
	return 1;
}

void __cudaRegisterFunction(void **handle, const char *function, char *device_function,
        const char *name, int thread_limit, void *thread_id, void *block_id, void *block,
        void *grid, int *warp_size)
{
	(void)handle;
	pthread_mutex_lock(&mutex);
	if (n_functions < FUNCTIONS_MAX)
		functions[n_functions++] = (struct function){.host = function, .name = name};
	pthread_mutex_unlock(&mutex);
}

/* The fake takes any image, and has every function in it. */
static int load(struct function *function)
{
	struct cu_module *module;
	int rc = (int)driver.cuModuleLoadData(&module, "image");
	return rc == CU_SUCCESS
	               ? (int)driver.cuModuleGetFunction(&function->kernel, module, function->name)
	               : rc;
}

int __cudaGetKernel(struct cu_func **kernel, const void *host)
{
	int rc = enter();
	if (rc != CU_SUCCESS)
		return said(rc);
	rc = INVALID_FUNCTION;
	pthread_mutex_lock(&mutex);
	for (int i = 0; i < n_functions && rc == INVALID_FUNCTION; i++) {
		if (functions[i].host != host)
			continue;
		rc = functions[i].kernel != NULL ? CU_SUCCESS : load(&functions[i]);
		if (rc == CU_SUCCESS)
			*kernel = functions[i].kernel;
	}
	pthread_mutex_unlock(&mutex);
	return said(rc);
}

int cudaLaunchKernel(const void *function, struct runtime_dim grid, struct runtime_dim block,
        void **args, size_t shared_bytes, struct cu_stream *stream)
{
	struct cu_func *kernel;
	int rc = __cudaGetKernel(&kernel, function);
	return rc == CU_SUCCESS
	               ? __cudaLaunchKernel(kernel, grid, block, args, shared_bytes, stream)
	               : rc;
}

unsigned __cudaPushCallConfiguration(struct runtime_dim grid, struct runtime_dim block,
        size_t shared_bytes, struct cu_stream *stream)
{
	configuration.grid = grid;
	configuration.block = block;
	configuration.shared_bytes = shared_bytes;
	configuration.stream = stream;
	return 0;
}

int __cudaPopCallConfiguration(struct runtime_dim *grid, struct runtime_dim *block,
        size_t *shared_bytes, struct cu_stream **stream)
{
	*grid = configuration.grid;
	*block = configuration.block;
	*shared_bytes = configuration.shared_bytes;
	*stream = configuration.stream;
	return CU_SUCCESS;
}
