/*
 * A program that reaches the driver in one of the ways that there are, and prints which library each function is in, and what
 * the driver then says. Built twice: linked against the driver (REACH_LINKED), and without it.
 */
#include "../../tables/cuda_abi.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#define CUDA(use, since, symbol, name, stream, params, args) extern enum cu_result symbol params;
#include "../../tables/cuda.def"
#undef CUDA

struct api {
	enum cu_result (*alloc)(cu_ptr *, size_t), (*copy)(cu_ptr, const void *, size_t);
	enum cu_result (*init)(unsigned), (*total)(size_t *, int),
	        (*create)(struct cu_ctx **, unsigned, int);
};

static void print_owner(const char *name, void *function)
{
	Dl_info info;
	const char *file = function != NULL && dladdr(function, &info) ? info.dli_fname : "(none)";
	const char *slash = strrchr(file, '/');
	printf("%s %s\n", name, slash != NULL ? slash + 1 : file);
}

#ifdef REACH_LINKED
static int find(const char *how, struct api *ret_api)
{
	(void)how;
	*ret_api = (struct api){
	        cuMemAlloc_v2, cuMemcpyHtoD_v2, cuInit, cuDeviceTotalMem_v2, cuCtxCreate_v2};
	return 0;
}
#else
static int find(const char *how, struct api *ret_api)
{
	void *handle = dlopen(
	        "libcuda.so.1", strcmp(how, "default") == 0 ? RTLD_NOW | RTLD_GLOBAL : RTLD_NOW);
	if (handle == NULL) {
		printf("%s\n", dlerror());
		return 3;
	}
	if (strcmp(how, "default") == 0)
		handle = RTLD_DEFAULT;
	*(void **)&ret_api->alloc = dlsym(handle, "cuMemAlloc_v2");
	*(void **)&ret_api->copy = dlsym(handle, "cuMemcpyHtoD_v2");
	*(void **)&ret_api->init = dlsym(handle, "cuInit");
	*(void **)&ret_api->total = dlsym(handle, "cuDeviceTotalMem_v2");
	*(void **)&ret_api->create = dlsym(handle, "cuCtxCreate_v2");
	return ret_api->init != NULL && ret_api->total != NULL ? 0 : 4;
}
#endif

int main(int argc, char **argv)
{
	struct api api;
	size_t bytes = 0;
	setvbuf(stdout, NULL, _IONBF, 0);
	const char *how = argc > 1 ? argv[1] : "";
	int rc = find(how, &api);
	if (rc != 0)
		return rc;
	/* What any program does first, and what some do next. */
	if (strcmp(how, "init") == 0 || strcmp(how, "context") == 0) {
		struct cu_ctx *ctx;
		if (api.init(0) != CU_SUCCESS)
			return 1;
		return strcmp(how, "context") == 0 && api.create(&ctx, 0, 0) != CU_SUCCESS;
	}
	print_owner("cuMemAlloc_v2", (void *)api.alloc);
	print_owner("cuMemcpyHtoD_v2", (void *)api.copy);
	printf("cuInit %d\n", (int)api.init(0));
	if (api.total(&bytes, 0) == CU_SUCCESS)
		printf("total %zu\n", bytes);
	return 0;
}
