#include "shim/shim.h"

#include <dlfcn.h>
#include <string.h>

/*
 * DESIGN. Programs ask the driver for its functions by name, version and flags, and what they get differs in meaning: so the
 * driver is asked first, and what it answers says which wrapper is meant. The map from its functions to our wrappers is filled
 * from what its library exports, and from what it answers for every row of the table; it never changes afterwards.
 */

#define ROUTES 1024 /* a power of two, twice what the table and the answers to it can fill */

struct row {
	const char *symbol, *name;
	int since;
	bool is_per_thread;
	void *wrapper; /* NULL: we do not stand in front of it */
	void **real;
};

static struct route {
	void *function, *wrapper;
} routes[ROUTES];

#define LEGACY                false
#define PER_THREAD            true
#define WRAPPER_GUARD(symbol) (void *)symbol
#define WRAPPER_PLAIN(symbol) NULL
#define CUDA(use, since, symbol, name, stream, params, args) \
	{#symbol, #name, since, stream, WRAPPER_##use(symbol), (void **)&real.symbol},
static const struct row rows[] = {
#include "../../tables/cuda.def"
};
#undef CUDA
#define N_ROWS (sizeof rows / sizeof rows[0])

static struct route *route_of(void *function)
{
	size_t at = ((uintptr_t)function >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 54;
	while (routes[at].function != NULL && routes[at].function != function)
		at = (at + 1) % ROUTES;
	return &routes[at];
}

void *shim_route(void *function)
{
	struct route *route = route_of(function);
	return route->wrapper != NULL ? route->wrapper : function;
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

void shim_route_fill(void)
{
	for (size_t i = 0; i < N_ROWS; i++)
		add(*rows[i].real, rows[i].wrapper);
	for (size_t i = 0; i < N_ROWS; i++) {
		if (rows[i].wrapper == NULL)
			continue;
		void *function = ask(&rows[i]);
		add(function, rows[i].wrapper);
		/* Kept out of the driver's own list of symbols. */
		if (*rows[i].real == NULL && function != NULL &&
		        route_of(function)->wrapper == rows[i].wrapper)
			*rows[i].real = function;
	}
}

/* What a driver that has no such function would answer: the newest row that is not newer than what is asked for. */
static void *look_up(const char *name, int version, uint64_t flags)
{
	const struct row *best = NULL;
	for (size_t i = 0; i < N_ROWS; i++) {
		const struct row *row = &rows[i];
		if (strcmp(row->name, name) != 0 || row->since > version || *row->real == NULL ||
		        (row->is_per_thread && !(flags & CU_PROC_PER_THREAD)))
			continue;
		if (best == NULL || row->is_per_thread > best->is_per_thread ||
		        (row->is_per_thread == best->is_per_thread && row->since > best->since))
			best = row;
	}
	if (best == NULL)
		return NULL;
	return best->wrapper != NULL ? best->wrapper : *best->real;
}

enum cu_result cuGetProcAddress(const char *symbol, void **pfn, int driver_version, uint64_t flags)
{
	ENTER_AT(cuGetProcAddress, SHIM_HAS_DRIVER);
	enum cu_result rc = real.cuGetProcAddress(symbol, pfn, driver_version, flags);
	if (rc == CU_SUCCESS && pfn != NULL && *pfn != NULL)
		*pfn = shim_route(*pfn);
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
			*pfn = shim_route(*pfn);
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
