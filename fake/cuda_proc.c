/*
 * The fake libcuda's table of its own symbols: cuGetProcAddress, and the tables that it has not.
 */
#include "cuda.h"

#include <string.h>

enum stream { LEGACY, PER_THREAD };

static const struct row {
	const char *symbol;
	const char *name;
	int since;
	enum stream stream;
	void (*function)(void);
} rows[] = {
#define CUDA(use, since, symbol, name, stream, params, args) \
	{#symbol, #name, since, stream, (void (*)(void))symbol},
#include "../tables/cuda.def"
#undef CUDA
};

#define N_ROWS (sizeof(rows) / sizeof(rows[0]))

/* The newest row of the name that is not newer than the version; NULL: none, or each is newer. */
static const struct row *find(const char *name, int version, enum stream stream, bool *ret_known)
{
	const struct row *best = NULL;

	for (size_t i = 0; i < N_ROWS; i++) {
		const struct row *r = &rows[i];

		if (strcmp(r->name, name) != 0 || r->since > cuda_version())
			continue;
		*ret_known = true;
		if (r->stream == stream && r->since <= version && (!best || r->since > best->since))
			best = r;
	}
	return best;
}

/* `missing NAME`: the symbol of an older driver. */
static bool is_missing(const char *symbol)
{
	struct sim_state st;
	bool missing = false;

	if (driver.phase != DRIVER_READY || !driver.share->faults || state_begin(&st))
		return false;
	for (unsigned i = 0; i < SIM_RULES_MAX; i++)
		missing |= st.rules[i].kind == SIM_RULE_MISSING &&
		           strcmp(st.rules[i].name, symbol) == 0;
	state_end(NULL);
	return missing;
}

static enum cu_result look_up(
        const char *symbol, void **pfn, int version, uint64_t flags, int *ret_status)
{
	const struct row *row;
	bool known = false;

	if (!symbol || !pfn || flags > CU_PROC_PER_THREAD || version > cuda_version())
		return CU_ERROR_INVALID_VALUE;
	row = flags == CU_PROC_PER_THREAD ? find(symbol, version, PER_THREAD, &known) : NULL;
	if (!row)
		row = find(symbol, version, LEGACY, &known);
	if (row && is_missing(row->symbol)) {
		row = NULL;
		known = false;
	}
	*pfn = NULL;
	if (row)
		memcpy(pfn, &row->function, sizeof(*pfn));
	*ret_status = row ? CU_PROC_FOUND : known ? CU_PROC_TOO_NEW : CU_PROC_UNKNOWN;
	return CU_SUCCESS;
}

enum cu_result cuGetProcAddress_v2(
        const char *symbol, void **pfn, int driver_version, uint64_t flags, int *symbol_found)
{
	enum cu_result code = call_begin(__func__);
	int status;

	if (!code)
		code = look_up(symbol, pfn, driver_version, flags, &status);
	if (!code && symbol_found)
		*symbol_found = status;
	return code;
}

enum cu_result cuGetProcAddress(const char *symbol, void **pfn, int driver_version, uint64_t flags)
{
	enum cu_result code = call_begin(__func__);
	int status;

	if (!code)
		code = look_up(symbol, pfn, driver_version, flags, &status);
	return !code && status != CU_PROC_FOUND ? CU_ERROR_NOT_FOUND : code;
}

/* The tables are the vendor's own affair; a runtime of the vendor's ends here. */
enum cu_result cuGetExportTable(
        const void **pp_export_table, const struct cu_uuid *p_export_table_id)
{
	enum cu_result code = call_begin(__func__);

	if (code)
		return code;
	if (!pp_export_table || !p_export_table_id)
		return CU_ERROR_INVALID_VALUE;
	*pp_export_table = NULL;
	return CU_ERROR_NOT_FOUND;
}
