/*
 * A libcuda.so.1 in front of the interposer, for a runtime that asks for everything by cuGetProcAddress_v2: passes each question on
 * to the interposer ($SPY_SHIM) and to the driver behind it ($SPY_REAL), and writes to $SPY_LOG what was asked and whether the
 * answer is the right one. One thread asks, before anything else happens.
 */
#include "../../tables/cuda_abi.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

static const struct row {
	const char *symbol;
	int is_guarded;
} rows[] = {
#define GUARD                                                1
#define PLAIN                                                0
#define CUDA(use, since, symbol, name, stream, params, args) {#symbol, use},
#include "../../tables/cuda.def"
#undef CUDA
};

typedef enum cu_result asker(const char *, void **, int, uint64_t, int *);

enum cu_result cuGetProcAddress_v2(
        const char *symbol, void **pfn, int driver_version, uint64_t flags, int *symbol_found);

static void *library(const char *variable)
{
	const char *path = getenv(variable);
	return path != NULL ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
}

enum cu_result cuGetProcAddress_v2(
        const char *symbol, void **pfn, int driver_version, uint64_t flags, int *symbol_found)
{
	static void *shim, *real;
	static FILE *log;
	asker *ask_shim, *ask_real;
	if (shim == NULL) {
		shim = library("SPY_SHIM");
		real = library("SPY_REAL");
		log = fopen(getenv("SPY_LOG"), "ae");
	}
	if (shim == NULL || real == NULL || log == NULL)
		return CU_ERROR_UNKNOWN;
	*(void **)&ask_shim = dlsym(shim, "cuGetProcAddress_v2");
	*(void **)&ask_real = dlsym(real, "cuGetProcAddress_v2");
	void *want = NULL;
	int status = -1;
	enum cu_result real_rc = ask_real(symbol, &want, driver_version, flags, &status);
	enum cu_result rc = ask_shim(symbol, pfn, driver_version, flags, symbol_found);
	const char *kind = want == NULL ? "absent" : "unknown";
	for (size_t i = 0; want != NULL && i < sizeof rows / sizeof rows[0]; i++)
		if (dlsym(real, rows[i].symbol) == want) {
			kind = rows[i].is_guarded ? "guarded" : "plain";
			want = rows[i].is_guarded ? dlsym(shim, rows[i].symbol) : want;
			break;
		}
	int is_right = rc == real_rc && (pfn == NULL || *pfn == want) &&
	               (symbol_found == NULL || *symbol_found == status);
	fprintf(log, "%s %s %s %d %llu\n", is_right ? "right" : "wrong", kind, symbol,
	        driver_version, (unsigned long long)flags);
	fflush(log);
	/* The runtime goes on with what it is given here. */
	if (pfn != NULL && *pfn == (void *)ask_shim)
		*pfn = (void *)cuGetProcAddress_v2;
	return rc;
}
