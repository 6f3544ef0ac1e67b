#include "shim/charge.h"

/*
 * Code and its variables lie in the context. How much it is, and when it gets there, only the driver knows: the agent sees it,
 * and counts it as overhead. Here the context that it comes into is noticed, so that it is paid for before it is filled.
 */

static enum cu_result come_in(void)
{
	struct place place;
	enum cu_result rc = charge_place(&place);
	/* Without a context the driver itself has the better answer. */
	return rc == CU_ERROR_OUT_OF_MEMORY || rc == CU_ERROR_INVALID_DEVICE ||
	                       rc == CU_ERROR_SYSTEM_NOT_READY
	               ? rc
	               : CU_SUCCESS;
}

#define LOAD(symbol, params, args)                               \
	enum cu_result symbol params                             \
	{                                                        \
		ENTER(symbol);                                   \
		enum cu_result rc = come_in();                   \
		return rc == CU_SUCCESS ? real.symbol args : rc; \
	}
LOAD(cuModuleLoad, (struct cu_module * *module, const char *fname), (module, fname))
LOAD(cuModuleLoadData, (struct cu_module * *module, const void *image), (module, image))
LOAD(cuModuleLoadDataEx,
        (struct cu_module * *module, const void *image, unsigned num_options, int *options,
                void **option_values),
        (module, image, num_options, options, option_values))
LOAD(cuModuleLoadFatBinary, (struct cu_module * *module, const void *fat_cubin),
        (module, fat_cubin))

/* A library needs no context yet. */
enum cu_result cuLibraryLoadData(struct cu_library **library, const void *code, int *jit_options,
        void **jit_options_values, unsigned num_jit_options, int *library_options,
        void **library_option_values, unsigned num_library_options)
{
	ENTER(cuLibraryLoadData);
	return real.cuLibraryLoadData(library, code, jit_options, jit_options_values,
	        num_jit_options, library_options, library_option_values, num_library_options);
}

enum cu_result cuLibraryLoadFromFile(struct cu_library **library, const char *file_name,
        int *jit_options, void **jit_options_values, unsigned num_jit_options, int *library_options,
        void **library_option_values, unsigned num_library_options)
{
	ENTER(cuLibraryLoadFromFile);
	return real.cuLibraryLoadFromFile(library, file_name, jit_options, jit_options_values,
	        num_jit_options, library_options, library_option_values, num_library_options);
}

enum cu_result cuModuleUnload(struct cu_module *hmod)
{
	ENTER(cuModuleUnload);
	return real.cuModuleUnload(hmod);
}

enum cu_result cuLibraryUnload(struct cu_library *library)
{
	ENTER(cuLibraryUnload);
	return real.cuLibraryUnload(library);
}
