#include "shim/shim.h"

#include <dlfcn.h>
#include <string.h>

/*
 * DESIGN. Programs ask the driver for its functions by name, version and flags, and what they get differs in meaning: so the
 * driver is asked first, and what it answers says which wrapper is meant. The map from its functions to our wrappers is filled
 * from what its library exports, and from what it answers for every row of the table; it never changes afterwards.
 */

#define ROUTES 1024 /* a power of two, twice what the table and the answers to it can fill */

/* Without pointers: the loader of every program would have to fill them in. */
struct row {
	char symbol[48], name[48];
	int since;
	bool is_per_thread, is_guarded;
	unsigned short guard; /* which of the wrappers it is, where is_guarded */
};

enum guard {
#define NUMBER_GUARD(symbol) GUARD_##symbol,
#define NUMBER_PLAIN(symbol)
#define CUDA(use, since, symbol, name, stream, params, args) NUMBER_##use(symbol)
#include "../../tables/cuda.def"
#undef CUDA
	N_GUARDS
};

static const struct guarded {
	void *wrapper, **real;
} guards[] = {
#define WRAPPER_GUARD(symbol) {(void *)symbol, (void **)&real.symbol},
#define WRAPPER_PLAIN(symbol)
#define CUDA(use, since, symbol, name, stream, params, args) WRAPPER_##use(symbol)
#include "../../tables/cuda.def"
#undef CUDA
};

#define LEGACY            false
#define PER_THREAD        true
#define ROW_GUARD(symbol) true, GUARD_##symbol
#define ROW_PLAIN(symbol) false, 0
#define CUDA(use, since, symbol, name, stream, params, args) \
	{#symbol, #name, since, stream, ROW_##use(symbol)},
static const struct row rows[] = {
#include "../../tables/cuda.def"
};
#undef CUDA
#define N_ROWS (sizeof rows / sizeof rows[0])

static struct route {
	void *function, *wrapper;
} routes[ROUTES];

static struct route *route_of(void *function)
{
	size_t at = ((uintptr_t)function >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 54;
	while (routes[at].function != NULL && routes[at].function != function)
		at = (at + 1) % ROUTES;
	return &routes[at];
}

/* The first word counts: a driver may export one function under two names. */
static void add(void *function, void *wrapper)
{
	struct route *route = function == NULL ? NULL : route_of(function);
	if (route != NULL && route->function == NULL)
		*route = (struct route){function, wrapper};
}

static void *ask(const struct row *row)
{
	void *function = NULL;
	uint64_t flags = row->is_per_thread ? CU_PROC_PER_THREAD : 0;
	enum cu_result rc = CU_ERROR_NOT_FOUND;
	if (real.cuGetProcAddress_v2 != NULL)
		rc = real.cuGetProcAddress_v2(row->name, &function, row->since, flags, NULL);
	else if (real.cuGetProcAddress != NULL)
		rc = real.cuGetProcAddress(row->name, &function, row->since, flags);
	return rc == CU_SUCCESS ? function : NULL;
}

void shim_route_begin(void)
{
	for (size_t i = 0; i < N_GUARDS; i++)
		add(*guards[i].real, guards[i].wrapper);
	for (size_t i = 0; i < N_ROWS; i++) {
		/* Kept out of the driver's own list of symbols, or not there at all. */
		if (rows[i].is_guarded && *guards[rows[i].guard].real == NULL)
			*guards[rows[i].guard].real = ask(&rows[i]);
	}
}

/*
 * What the driver answers may be another function than the one that it exports; so all of them are asked for before the first
 * answer is handed on. What it exports and we do not stand in front of is known as that.
 */
static void fill(void)
{
	for (size_t i = 0; i < N_ROWS; i++)
		if (!rows[i].is_guarded)
			add(dlsym(real.handle, rows[i].symbol), NULL);
	for (size_t i = 0; i < N_ROWS; i++)
		if (rows[i].is_guarded)
			add(ask(&rows[i]), guards[rows[i].guard].wrapper);
}

static void *route(void *function)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, fill);
	const struct route *route = route_of(function);
	return route->wrapper != NULL ? route->wrapper : function;
}

/* What a driver that has no such function would answer: the newest row that is not newer than what is asked for. */
static void *look_up(const char *name, int version, uint64_t flags)
{
	const struct row *best = NULL;
	void *found = NULL;
	for (size_t i = 0; i < N_ROWS; i++) {
		const struct row *row = &rows[i];
		if (strcmp(row->name, name) != 0 || row->since > version ||
		        (row->is_per_thread && !(flags & CU_PROC_PER_THREAD)))
			continue;
		void *function = dlsym(real.handle, row->symbol);
		if (function != NULL && (best == NULL || row->is_per_thread > best->is_per_thread ||
		                                (row->is_per_thread == best->is_per_thread &&
		                                        row->since > best->since))) {
			best = row;
			found = row->is_guarded ? guards[row->guard].wrapper : function;
		}
	}
	return found;
}

enum cu_result cuGetProcAddress(const char *symbol, void **pfn, int driver_version, uint64_t flags)
{
	ENTER_AT(cuGetProcAddress, SHIM_HAS_DRIVER);
	enum cu_result rc = real.cuGetProcAddress(symbol, pfn, driver_version, flags);
	if (rc == CU_SUCCESS && pfn != NULL && *pfn != NULL)
		*pfn = route(*pfn);
	return rc;
}

enum cu_result cuGetProcAddress_v2(
        const char *symbol, void **pfn, int driver_version, uint64_t flags, int *symbol_found)
{
	ENTER_AT(cuInit, SHIM_HAS_DRIVER);
	if (real.cuGetProcAddress_v2 != NULL) {
		enum cu_result rc =
		        real.cuGetProcAddress_v2(symbol, pfn, driver_version, flags, symbol_found);
		if (rc == CU_SUCCESS && pfn != NULL && *pfn != NULL)
			*pfn = route(*pfn);
		return rc;
	}
	/* Our name for it is found in front of a driver that has no such thing: it works all the same. */
	if (symbol == NULL || pfn == NULL)
		return CU_ERROR_INVALID_VALUE;
	*pfn = NULL;
	if (real.cuGetProcAddress != NULL)
		cuGetProcAddress(symbol, pfn, driver_version, flags);
	else
		*pfn = look_up(symbol, driver_version, flags);
	if (symbol_found != NULL)
		*symbol_found = *pfn != NULL ? CU_PROC_FOUND : CU_PROC_UNKNOWN;
	return *pfn != NULL ? CU_SUCCESS : CU_ERROR_NOT_FOUND;
}
