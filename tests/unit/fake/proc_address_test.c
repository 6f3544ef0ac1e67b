#include "cuda_box.h"

static const struct row {
	const char *symbol, *name;
	int since;
	bool per_thread;
	size_t offset;
} rows[] = {
#define LEGACY     false
#define PER_THREAD true
#define CUDA(use, since, symbol, name, stream, params, args) \
	{#symbol, #name, since, stream, offsetof(struct cuda, symbol)},
#include "../../../tables/cuda.def"
#undef CUDA
};

#define N_ROWS (sizeof(rows) / sizeof(rows[0]))

static void *pointer(const struct row *r)
{
	void *p;

	memcpy(&p, (char *)&cu + r->offset, sizeof(p));
	return p;
}

static void *ask(const char *name, int version, uint64_t flags)
{
	void *found = NULL;
	int status;

	ok(cuGetProcAddress_v2(name, &found, version, flags, &status));
	assert_int_equal(found != NULL, status == CU_PROC_FOUND);
	return found;
}

/* Each row is found by its name and version, in the form of the default stream that was asked for. */
PART(rows, "cuda 13.0\n" ONE_CARD)
{
	cuda_load("fake/libcuda.so.1");
	ok(cuInit(0));
	for (size_t i = 0; i < N_ROWS; i++) {
		assert_non_null(pointer(&rows[i]));
		assert_ptr_equal(ask(rows[i].name, rows[i].since, rows[i].per_thread ? 2 : 0),
		        pointer(&rows[i]));
	}
	assert_ptr_equal(ask("cuMemAlloc", 13000, 0), cu.cuMemAlloc_v2);
	assert_ptr_equal(ask("cuMemAlloc", 3010, 0), cu.cuMemAlloc);
	assert_ptr_equal(ask("cuMemAlloc", 13000, 2), cu.cuMemAlloc_v2);
	assert_ptr_equal(ask("cuLaunchKernel", 13000, 1), cu.cuLaunchKernel);
	assert_ptr_equal(ask("cuLaunchKernel", 13000, 2), cu.cuLaunchKernel_ptsz);
	assert_ptr_equal(ask("cuLaunchKernel", 4000, 2), cu.cuLaunchKernel);
}

PART(unknown, "cuda 12.4\n" ONE_CARD)
{
	void *p = &p;
	int status;

	cuda_load("fake/libcuda.so.1");
	ok(cuInit(0));
	ok(cuGetProcAddress_v2("cuTensorMapEncodeTiled", &p, 12000, 0, &status));
	assert_null(p);
	assert_int_equal(status, CU_PROC_UNKNOWN);
	ok(cuGetProcAddress_v2("cuMemCreate", &p, 10010, 0, &status));
	assert_int_equal(status, CU_PROC_TOO_NEW);
	/* what a driver of 12.4 has not yet */
	ok(cuGetProcAddress_v2("cuCheckpointProcessRestore", &p, 12040, 0, &status));
	assert_int_equal(status, CU_PROC_UNKNOWN);
	fails(INVALID_VALUE, cuGetProcAddress_v2("cuMemAlloc", &p, 13000, 0, &status));
	fails(INVALID_VALUE, cuGetProcAddress_v2("cuMemAlloc", &p, 12000, 7, &status));
	fails(INVALID_VALUE, cuGetProcAddress_v2(NULL, &p, 12000, 0, &status));
	ok(cuGetProcAddress_v2("cuMemAlloc", &p, 12000, 0, NULL));
	fails(NOT_FOUND, cuGetProcAddress("cuNothing", &p, 12000, 0));
	ok(cuGetProcAddress("cuMemAlloc", &p, 12000, 0));
	fixture_do(f, "missing cuMemAlloc_v2");
	ok(cuGetProcAddress_v2("cuMemAlloc", &p, 12000, 0, &status));
	assert_int_equal(status, CU_PROC_UNKNOWN);
	fails(NOT_FOUND, cuGetExportTable((const void **)&p, (struct cu_uuid[]){{{1}}}));
}

/* An old driver exports what it had, and cuGetProcAddress is not among it. */
PART(old, ONE_CARD)
{
	int version;

	cuda_load("fake/libcuda-1102.so.1");
	for (size_t i = 0; i < N_ROWS; i++)
		assert_int_equal(pointer(&rows[i]) != NULL, rows[i].since <= 11020);
	assert_null(cu.cuGetProcAddress);
	ok(cuDriverGetVersion(&version));
	assert_int_equal(version, 11020);
	ok(cuInit(0));
	ok(cuDriverGetVersion(&version));
	assert_int_equal(version, 11020);
}

PART(errors, ONE_CARD)
{
	const char *text;

	cuda_load("fake/libcuda.so.1");
	ok(cuGetErrorName(CU_ERROR_OUT_OF_MEMORY, &text));
	assert_string_equal(text, "CUDA_ERROR_OUT_OF_MEMORY");
	ok(cuGetErrorString(CU_ERROR_OUT_OF_MEMORY, &text));
	assert_string_equal(text, "out of memory");
	fails(INVALID_VALUE, cuGetErrorName((enum cu_result)77777, &text));
	assert_null(dlsym(cu.handle, "sim_open"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_rows),
	        cmocka_unit_test(test_unknown),
	        cmocka_unit_test(test_old),
	        cmocka_unit_test(test_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
