#include "shim/shim.h"

#include <dlfcn.h>
#include <string.h>
#include <sys/mman.h>

/*
 * DESIGN. Programs ask the driver for its functions by name, version and flags, and what they get differs in meaning: so the
 * driver is asked first, and what it answers says which wrapper is meant. The map from its functions to our wrappers is filled
 * from what its library exports, and from what it answers for every row of the table; it never changes afterwards.
 * No lock is held meanwhile: the loader has one of its own, which is held while the constructors of a library run, and these may
 * ask us. Whoever comes first makes a map, and if several do, one is taken.
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
	void *wrapper;
	size_t at; /* of the driver's, in struct real */
} guards[] = {
#define WRAPPER_GUARD(symbol) {(void *)symbol, offsetof(struct real, symbol)},
#define WRAPPER_PLAIN(symbol)
#define CUDA(use, since, symbol, name, stream, params, args) WRAPPER_##use(symbol)
#include "../../tables/cuda.def"
#undef CUDA
};

static void **guarded_in(struct real *driver, const struct row *row)
{
	return (void **)((char *)driver + guards[row->guard].at);
}

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

struct route {
	void *function, *wrapper;
};
static struct route *routes; /* ROUTES of them; NULL: nobody has asked yet */

static struct route *route_of(struct route *map, void *function)
{
	size_t at = ((uintptr_t)function >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 54;
	while (map[at].function != NULL && map[at].function != function)
		at = (at + 1) % ROUTES;
	return &map[at];
}

/* The first word counts: a driver may export one function under two names. */
static void add(struct route *map, void *function, void *wrapper)
{
	struct route *route = function == NULL ? NULL : route_of(map, function);
	if (route != NULL && route->function == NULL)
		*route = (struct route){function, wrapper};
}

static void *ask(const struct real *driver, const struct row *row, int version)
{
	void *function = NULL;
	uint64_t flags = row->is_per_thread ? CU_PROC_PER_THREAD : 0;
	enum cu_result rc = CU_ERROR_NOT_FOUND;
	if (driver->cuGetProcAddress_v2 != NULL)
		rc = driver->cuGetProcAddress_v2(row->name, &function, version, flags, NULL);
	else if (driver->cuGetProcAddress != NULL)
		rc = driver->cuGetProcAddress(row->name, &function, version, flags);
	return rc == CU_SUCCESS ? function : NULL;
}

void shim_route_complete(struct real *driver)
{
	for (size_t i = 0; i < N_ROWS; i++) {
		if (!rows[i].is_guarded || *guarded_in(driver, &rows[i]) != NULL)
			continue;
		/* An older driver answers with the function that the name meant before: that is another one. */
		void *function = ask(driver, &rows[i], rows[i].since);
		if (function != ask(driver, &rows[i], rows[i].since - 10))
			*guarded_in(driver, &rows[i]) = function;
	}
}

/*
 * What the driver answers may be another function than the one that it exports; so all of them are asked for before the first
 * answer is handed on. What it exports and we do not stand in front of is known as that.
 */
static void fill(struct route *map)
{
	for (size_t i = 0; i < N_ROWS; i++)
		if (rows[i].is_guarded)
			add(map, *guarded_in(&real, &rows[i]), guards[rows[i].guard].wrapper);
	for (size_t i = 0; i < N_ROWS; i++)
		if (!rows[i].is_guarded)
			add(map, dlsym(real.handle, rows[i].symbol), NULL);
	for (size_t i = 0; i < N_ROWS; i++)
		if (rows[i].is_guarded && *guarded_in(&real, &rows[i]) != NULL)
			add(map, ask(&real, &rows[i], rows[i].since),
			        guards[rows[i].guard].wrapper);
}

static struct route *map(void)
{
	struct route *known = __atomic_load_n(&routes, __ATOMIC_ACQUIRE);
	if (known != NULL)
		return known;
	struct route *made = mmap(NULL, ROUTES * sizeof *made, PROT_READ | PROT_WRITE,
	        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (made == MAP_FAILED)
		return NULL;
	fill(made);
	if (__atomic_compare_exchange_n(
	            &routes, &known, made, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		return made;
	munmap(made, ROUTES * sizeof *made);
	return known;
}

/* In place of what the driver has answered. */
static enum cu_result route(void **pfn)
{
	struct route *known = map();
	if (known == NULL) {
		*pfn = NULL;
		return CU_ERROR_OUT_OF_MEMORY;
	}
	const struct route *route = route_of(known, *pfn);
	if (route->wrapper != NULL)
		*pfn = route->wrapper;
	return CU_SUCCESS;
}

/*
 * What a driver would answer that has no such function: what the name means in that version, and nothing when the driver is older
 * than that.
 */
static void *look_up(const char *name, int version, uint64_t flags)
{
	const struct row *best = NULL;
	for (size_t i = 0; i < N_ROWS; i++) {
		const struct row *row = &rows[i];
		if (strcmp(row->name, name) != 0 || row->since > version ||
		        (row->is_per_thread && !(flags & CU_PROC_PER_THREAD)))
			continue;
		if (best == NULL || row->is_per_thread > best->is_per_thread ||
		        (row->is_per_thread == best->is_per_thread && row->since > best->since))
			best = row;
	}
	void *function = best != NULL ? dlsym(real.handle, best->symbol) : NULL;
	return function != NULL && best->is_guarded ? guards[best->guard].wrapper : function;
}

enum cu_result cuGetProcAddress(const char *symbol, void **pfn, int driver_version, uint64_t flags)
{
	ENTER_AT(cuGetProcAddress, SHIM_HAS_DRIVER);
	enum cu_result rc = real.cuGetProcAddress(symbol, pfn, driver_version, flags);
	return rc == CU_SUCCESS && pfn != NULL && *pfn != NULL ? route(pfn) : rc;
}

enum cu_result cuGetProcAddress_v2(
        const char *symbol, void **pfn, int driver_version, uint64_t flags, int *symbol_found)
{
	ENTER_AT(cuInit, SHIM_HAS_DRIVER);
	if (real.cuGetProcAddress_v2 != NULL) {
		enum cu_result rc =
		        real.cuGetProcAddress_v2(symbol, pfn, driver_version, flags, symbol_found);
		return rc == CU_SUCCESS && pfn != NULL && *pfn != NULL ? route(pfn) : rc;
	}
	/* Our name for it is found in front of a driver that has no such thing: it works all the same. */
	if (symbol == NULL || pfn == NULL)
		return CU_ERROR_INVALID_VALUE;
	enum cu_result rc = CU_SUCCESS;
	*pfn = NULL;
	if (real.cuGetProcAddress != NULL)
		rc = cuGetProcAddress(symbol, pfn, driver_version, flags);
	else
		*pfn = look_up(symbol, driver_version, flags);
	if (symbol_found != NULL)
		*symbol_found = *pfn != NULL ? CU_PROC_FOUND : CU_PROC_UNKNOWN;
	return rc == CU_SUCCESS && *pfn == NULL ? CU_ERROR_NOT_FOUND : rc;
}
