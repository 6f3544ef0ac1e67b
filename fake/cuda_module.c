/*
 * Modules, libraries, functions. Any image is taken, and has every function and variable that it is asked for: what a
 * kernel does is to last as long as its name says, or the description.
 */
#include "cuda.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GLOBAL_BYTES 4096 /* of a variable of a module */

struct global {
	struct global *next;
	struct block *block;
	char name[128];
};

/* -- modules, under the driver's lock -- */

static void module_end(struct cu_module *m)
{
	struct cu_module **at = &m->ctx->modules;

	while (*at && *at != m)
		at = &(*at)->next;
	if (*at)
		*at = m->next;
	while (m->funcs) {
		struct cu_func *f = m->funcs;

		m->funcs = f->next;
		object_end(f);
	}
	while (m->globals) {
		struct global *g = m->globals;

		m->globals = g->next;
		block_end(g->block);
		free(g);
	}
	object_end(m);
}

void modules_end_of(struct cu_ctx *ctx)
{
	while (ctx->modules)
		module_end(ctx->modules);
}

static struct cu_module *module_new(struct cu_ctx *ctx)
{
	struct cu_module *m = object_new(KIND_MODULE, sizeof(*m));

	if (!m)
		return NULL;
	m->ctx = ctx;
	m->next = ctx->modules;
	ctx->modules = m;
	return m;
}

static enum cu_result load(const char *function, struct cu_module **module, const void *image)
{
	struct cu_ctx *ctx;
	enum cu_result code = call_context(function, &ctx);

	if (code)
		return code;
	if (!module || !image)
		return CU_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&driver.lock);
	*module = module_new(ctx);
	pthread_mutex_unlock(&driver.lock);
	return *module ? CU_SUCCESS : CU_ERROR_OUT_OF_MEMORY;
}

static enum cu_result load_file(const char *function, struct cu_module **module, const char *fname)
{
	enum cu_result code = load(function, module, fname);

	if (!code && access(fname, R_OK) < 0) {
		cuModuleUnload(*module);
		code = CU_ERROR_FILE_NOT_FOUND;
	}
	return code;
}

enum cu_result cuModuleLoad(struct cu_module **module, const char *fname)
{
	return load_file(__func__, module, fname);
}

enum cu_result cuModuleLoadData(struct cu_module **module, const void *image)
{
	return load(__func__, module, image);
}

enum cu_result cuModuleLoadDataEx(struct cu_module **module, const void *image,
        unsigned num_options, int *options, void **option_values)
{
	return load(__func__, module, image);
}

enum cu_result cuModuleLoadFatBinary(struct cu_module **module, const void *fat_cubin)
{
	return load(__func__, module, fat_cubin);
}

static enum cu_result unload(const char *function, struct cu_module *hmod)
{
	struct cu_ctx *ctx;
	enum cu_result code = call_context(function, &ctx);

	if (code)
		return code;
	pthread_mutex_lock(&driver.lock);
	if (!object_is(hmod, KIND_MODULE))
		code = CU_ERROR_INVALID_HANDLE;
	else
		module_end(hmod);
	pthread_mutex_unlock(&driver.lock);
	return code;
}

enum cu_result cuModuleUnload(struct cu_module *hmod)
{
	return unload(__func__, hmod);
}

enum cu_result cuModuleGetLoadingMode(int *mode)
{
	enum cu_result code = call_ready(__func__);

	if (code)
		return code;
	if (!mode)
		return CU_ERROR_INVALID_VALUE;
	*mode = 1; /* each function as the module is loaded */
	return CU_SUCCESS;
}

/* -- functions -- */

struct work func_work(struct cu_func *f)
{
	return (struct work){
	        .kind = WORK_KERNEL, .ns = f->ns[f->turn++ % f->n_ns], .key = f->key, .func = f};
}

/* Ranks of one group meet in a kernel of the same name, on different cards. */
static uint64_t key_of(const char *name)
{
	const char *group = getenv("BERTH_FAKE_GROUP");
	uint64_t key = UINT64_C(0xcbf29ce484222325);

	if (strncmp(name, "collective", strlen("collective")) != 0)
		return 0;
	for (; *name; name++)
		key = (key ^ (unsigned char)*name) * UINT64_C(0x100000001b3);
	for (; group && *group; group++)
		key = (key ^ (unsigned char)*group) * UINT64_C(0x100000001b3);
	return key | 1;
}

static struct cu_func *func_of(struct cu_module *m, const char *name)
{
	struct cu_func *f;

	for (f = m->funcs; f && strcmp(f->name, name) != 0;)
		f = f->next;
	if (f)
		return f;
	f = object_new(KIND_FUNC, sizeof(*f));
	if (!f)
		return NULL;
	snprintf(f->name, sizeof(f->name), "%s", name);
	sim_kernel(driver.sim, f->name, f->ns, &f->n_ns);
	f->key = key_of(f->name);
	f->module = m;
	f->next = m->funcs;
	m->funcs = f;
	return f;
}

enum cu_result cuModuleGetFunction(struct cu_func **hfunc, struct cu_module *hmod, const char *name)
{
	enum cu_result code = call_ready(__func__);

	if (code)
		return code;
	if (!hfunc || !name || !*name)
		return CU_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&driver.lock);
	if (!object_is(hmod, KIND_MODULE)) {
		code = CU_ERROR_INVALID_HANDLE;
	} else {
		*hfunc = func_of(hmod, name);
		code = *hfunc ? CU_SUCCESS : CU_ERROR_OUT_OF_MEMORY;
	}
	pthread_mutex_unlock(&driver.lock);
	return code;
}

static enum cu_result check(const char *function, const struct cu_func *f, const void *out)
{
	enum cu_result code = call_ready(function);

	if (code)
		return code;
	if (!object_is(f, KIND_FUNC))
		return CU_ERROR_INVALID_HANDLE;
	return out ? CU_SUCCESS : CU_ERROR_INVALID_VALUE;
}

enum cu_result cuFuncGetModule(struct cu_module **hmod, struct cu_func *hfunc)
{
	enum cu_result code = check(__func__, hfunc, hmod);

	if (!code)
		*hmod = hfunc->module;
	return code;
}

enum cu_result cuFuncGetName(const char **name, struct cu_func *hfunc)
{
	enum cu_result code = check(__func__, hfunc, name);

	if (!code)
		*name = hfunc->name;
	return code;
}

enum cu_result cuFuncLoad(struct cu_func *hfunc)
{
	return check(__func__, hfunc, hfunc);
}

enum cu_result cuFuncIsLoaded(int *state, struct cu_func *hfunc)
{
	enum cu_result code = check(__func__, hfunc, state);

	if (!code)
		*state = 1;
	return code;
}

enum cu_result cuFuncGetAttribute(int *pi, int attrib, struct cu_func *hfunc)
{
	static const int values[] = {
	        1024, 0, 0, 0, 32, 80, 80}; /* threads in a block; memory; registers; versions */
	enum cu_result code = check(__func__, hfunc, pi);

	if (code)
		return code;
	if (attrib < 0 || attrib > 15)
		return CU_ERROR_INVALID_VALUE;
	*pi = attrib < (int)(sizeof(values) / sizeof(values[0])) ? values[attrib] : 0;
	return CU_SUCCESS;
}

enum cu_result cuFuncSetAttribute(struct cu_func *hfunc, int attrib, int value)
{
	return check(__func__, hfunc, hfunc);
}

enum cu_result cuFuncSetBlockShape(struct cu_func *hfunc, int x, int y, int z)
{
	return check(__func__, hfunc, hfunc);
}

enum cu_result cuOccupancyMaxActiveBlocksPerMultiprocessor(
        int *num_blocks, struct cu_func *func, int block_size, size_t dynamic_smem_size)
{
	enum cu_result code = check(__func__, func, num_blocks);

	if (code)
		return code;
	if (block_size <= 0 || block_size > 1024)
		return CU_ERROR_INVALID_VALUE;
	*num_blocks = 2048 / block_size;
	return CU_SUCCESS;
}

/* -- variables: each takes memory of its own -- */

static enum cu_result global_of(struct cu_module *m, const char *name, struct global **ret_global)
{
	enum cu_result code;
	struct global *g;

	for (g = m->globals; g && strcmp(g->name, name) != 0;)
		g = g->next;
	*ret_global = g;
	if (g)
		return CU_SUCCESS;
	g = calloc(1, sizeof(*g));
	if (!g)
		return CU_ERROR_OUT_OF_MEMORY;
	snprintf(g->name, sizeof(g->name), "%s", name);
	code = block_new(m->ctx, BLOCK_DEVICE, GLOBAL_BYTES, &g->block);
	if (code) {
		free(g);
		return code;
	}
	g->next = m->globals;
	m->globals = g;
	*ret_global = g;
	return CU_SUCCESS;
}

enum cu_result cuModuleGetGlobal_v2(
        cu_ptr *dptr, size_t *bytes, struct cu_module *hmod, const char *name)
{
	enum cu_result code = call_ready(__func__);
	struct global *g;

	if (code)
		return code;
	if (!name || !*name)
		return CU_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&driver.lock);
	code = object_is(hmod, KIND_MODULE) ? global_of(hmod, name, &g) : CU_ERROR_INVALID_HANDLE;
	if (!code && dptr)
		*dptr = g->block->at;
	if (!code && bytes)
		*bytes = g->block->bytes;
	pthread_mutex_unlock(&driver.lock);
	return code;
}

/* -- libraries: a module that belongs to no context of the caller's; here to the one it is loaded in -- */

static struct cu_module *of_library(struct cu_library *library)
{
	return (struct cu_module *)library;
}

enum cu_result cuLibraryLoadData(struct cu_library **library, const void *code, int *jit_options,
        void **jit_options_values, unsigned num_jit_options, int *library_options,
        void **library_option_values, unsigned num_library_options)
{
	return load(__func__, (struct cu_module **)library, code);
}

enum cu_result cuLibraryLoadFromFile(struct cu_library **library, const char *file_name,
        int *jit_options, void **jit_options_values, unsigned num_jit_options, int *library_options,
        void **library_option_values, unsigned num_library_options)
{
	return load_file(__func__, (struct cu_module **)library, file_name);
}

enum cu_result cuLibraryUnload(struct cu_library *library)
{
	return unload(__func__, of_library(library));
}

enum cu_result cuLibraryGetModule(struct cu_module **p_mod, struct cu_library *library)
{
	enum cu_result code = call_ready(__func__);

	if (code)
		return code;
	if (!object_is(library, KIND_MODULE))
		return CU_ERROR_INVALID_HANDLE;
	if (!p_mod)
		return CU_ERROR_INVALID_VALUE;
	*p_mod = of_library(library);
	return CU_SUCCESS;
}

enum cu_result cuLibraryGetKernel(
        struct cu_kernel **p_kernel, struct cu_library *library, const char *name)
{
	return cuModuleGetFunction((struct cu_func **)p_kernel, of_library(library), name);
}

enum cu_result cuLibraryGetGlobal(
        cu_ptr *dptr, size_t *bytes, struct cu_library *library, const char *name)
{
	return cuModuleGetGlobal_v2(dptr, bytes, of_library(library), name);
}

enum cu_result cuKernelGetFunction(struct cu_func **p_func, struct cu_kernel *kernel)
{
	enum cu_result code = check(__func__, (struct cu_func *)kernel, p_func);

	if (!code)
		*p_func = (struct cu_func *)kernel;
	return code;
}
