/* The way of a program to the driver's functions: which it is given, by name, version and flags, and by whatever means it asks. */
#include "constructing.h"

#include <limits.h>

/* Nobody calls through these. */
static const struct row {
	const char *symbol, *name;
	int since;
	bool is_guarded, is_per_thread;
	size_t at;
} rows[] = {
#define GUARD      true
#define PLAIN      false
#define LEGACY     false
#define PER_THREAD true
#define CUDA(use, since, symbol, name, stream, params, args) \
	{#symbol, #name, since, use, stream, offsetof(struct cuda, symbol)},
#include "../../tables/cuda.def"
#undef CUDA
};
#define N_ROWS (sizeof rows / sizeof rows[0])

static void *symbol_in(const struct cuda *c, size_t i)
{
	return *(void *const *)((const char *)c + rows[i].at);
}

/* What a program must be given where the driver itself would give `function`. */
static void *expected(void *function)
{
	for (size_t i = 0; i < N_ROWS; i++)
		if (function != NULL && symbol_in(&driver, i) == function)
			return rows[i].is_guarded ? symbol_in(&cu, i) : function;
	return function;
}

PART(every_symbol, CARD)
{
	slices[0] = shim_slice(f, 0, UUID, LIMIT);
	shim_load(f);
	size_t n_guarded = 0;
	for (size_t i = 0; i < N_ROWS; i++) {
		assert_non_null(symbol_in(&driver, i));
		assert_non_null(symbol_in(&cu, i));
		if (rows[i].is_guarded)
			assert_ptr_not_equal(symbol_in(&cu, i), symbol_in(&driver, i));
		else
			assert_ptr_equal(symbol_in(&cu, i), symbol_in(&driver, i));
		n_guarded += rows[i].is_guarded;
	}
	assert_true(n_guarded > 100);
}

/* All versions at which anything changes, with and without per-thread streams, before cuInit and after it. */
static void ask_for_all(void)
{
	static const uint64_t flags[] = {0, 1, CU_PROC_PER_THREAD};
	for (size_t i = 0; i < N_ROWS; i++)
		for (size_t v = 0; v < N_ROWS; v++)
			for (size_t k = 0; k < 3; k++) {
				void *got = (void *)1, *want = (void *)1;
				int found = -1, wanted = -1;
				if (strcmp(rows[i].name, rows[v].name) != 0 && v % 37 != 0)
					continue;
				int version = rows[v].since + (v % 2 != 0);
				enum cu_result rc = driver.cuGetProcAddress_v2(
				        rows[i].name, &want, version, flags[k], &wanted);
				assert_int_equal(cu.cuGetProcAddress_v2(rows[i].name, &got, version,
				                         flags[k], &found),
				        rc);
				assert_ptr_equal(got, expected(want));
				assert_int_equal(found, wanted);
				got = want = (void *)1;
				rc = driver.cuGetProcAddress(
				        rows[i].name, &want, version, flags[k]);
				assert_int_equal(
				        cu.cuGetProcAddress(rows[i].name, &got, version, flags[k]),
				        rc);
				assert_ptr_equal(got, expected(want));
			}
}

PART(every_version_and_flag, "cuda 13.0\n" CARD)
{
	slices[0] = shim_slice(f, 0, UUID, LIMIT);
	shim_load(f);
	ask_for_all();
	ok(cuInit(0));
	ask_for_all();
	for (size_t i = 0; i < N_ROWS; i++) {
		void *got = NULL;
		ok(cuGetProcAddress_v2(rows[i].name, &got, rows[i].since,
		        rows[i].is_per_thread ? CU_PROC_PER_THREAD : 0, NULL));
		assert_ptr_equal(got, expected(symbol_in(&driver, i)));
	}
}

PART(the_asker_itself, "cuda 13.0\n" CARD)
{
	void *got = NULL;
	int found = -1;
	slices[0] = shim_slice(f, 0, UUID, LIMIT);
	shim_load(f);
	ok(cuGetProcAddress("cuGetProcAddress", &got, 11030, 0));
	assert_ptr_equal(got, cu.cuGetProcAddress);
	ok(cuGetProcAddress_v2("cuGetProcAddress", &got, 12000, 0, NULL));
	assert_ptr_equal(got, cu.cuGetProcAddress_v2);
	assert_int_equal(cu.cuGetProcAddress_v2("", &got, 12000, 0, &found),
	        driver.cuGetProcAddress_v2("", &got, 12000, 0, &found));
	fails(INVALID_VALUE, cuGetProcAddress_v2(NULL, &got, 12000, 0, NULL));
	fails(INVALID_VALUE, cuGetProcAddress_v2("cuInit", NULL, 12000, 0, NULL));
	ok(cuGetProcAddress_v2("cuGetExportTable", &got, 12000, 0, NULL));
	assert_ptr_equal(got, driver.cuGetExportTable);
}

/* Needs no slice: runtimes look everything up before they start. */
PART(before_any_slice, CARD)
{
	void *got = NULL;
	shim_load(f);
	ok(cuGetProcAddress_v2("cuMemAlloc", &got, 3020, 0, NULL));
	assert_ptr_equal(got, cu.cuMemAlloc_v2);
	fails(SYSTEM_NOT_READY, cuInit(0));
}

PART(symbol_that_a_driver_lacks, "missing cuMemAllocAsync\n" CARD)
{
	void *got = (void *)1;
	int found = -1;
	shim_init(f);
	ok(cuGetProcAddress_v2("cuMemAllocAsync", &got, 12000, 0, &found));
	assert_null(got);
	assert_int_equal(found, CU_PROC_UNKNOWN);
	fails(NOT_FOUND, cuGetProcAddress("cuMemAllocAsync", &got, 12000, 0));
}

/* CUDA 11.2: no cuGetProcAddress at all, and nothing that came after it. */
PART(old_driver, "cuda 11.2\n" CARD)
{
	void *got = (void *)1;
	int found = -1;
	cu_ptr p;
	struct cu_ctx *ctx;
	slices[0] = shim_slice(f, 0, UUID, LIMIT);
	shim_load_as(f, "shim/libcuda.so.1", "fake/libcuda-1102.so.1");
	assert_null(driver.cuGetProcAddress);
	fails(NOT_SUPPORTED, cuGetProcAddress("cuInit", &got, 11020, 0));
	ok(cuGetProcAddress_v2("cuMemAlloc", &got, 11020, 0, &found));
	assert_ptr_equal(got, cu.cuMemAlloc_v2);
	assert_int_equal(found, CU_PROC_FOUND);
	ok(cuGetProcAddress_v2("cuMemAlloc", &got, 2000, 0, &found));
	assert_ptr_equal(got, cu.cuMemAlloc);
	ok(cuGetProcAddress_v2("cuLaunchKernel", &got, 11020, CU_PROC_PER_THREAD, NULL));
	assert_ptr_equal(got, cu.cuLaunchKernel_ptsz);
	ok(cuGetProcAddress_v2("cuMemcpyHtoD", &got, 11020, 0, NULL));
	assert_ptr_equal(got, driver.cuMemcpyHtoD_v2);
	fails(NOT_FOUND, cuGetProcAddress_v2("cuLaunchKernelEx", &got, 13000, 0, &found));
	assert_null(got);
	assert_int_equal(found, CU_PROC_UNKNOWN);
	/* What a name means since then is not what it meant before. */
	fails(NOT_FOUND, cuGetProcAddress_v2("cuCtxCreate", &got, 12050, 0, &found));
	assert_null(got);
	fails(NOT_FOUND, cuGetProcAddress_v2("cuStreamWriteValue32", &got, 13000, 0, &found));
	assert_null(got);
	ok(cuGetProcAddress_v2("cuCtxCreate", &got, 11020, 0, &found));
	assert_ptr_equal(got, cu.cuCtxCreate_v2);
	fails(NOT_SUPPORTED, cuLaunchKernelEx(NULL, NULL, NULL, NULL));
	fails(NOT_SUPPORTED, cuGraphAddMemAllocNode(NULL, NULL, NULL, 0, NULL));
	ok(cuInit(0));
	ok(cuCtxCreate_v2(&ctx, 0, 0));
	ok(cuMemAlloc_v2(&p, 2 * MIB));
	check(CONTEXT + 2 * MIB);
}

/* CUDA 12.4: what came later is not there, though the driver knows an older function of the name. */
PART(driver_that_answers_with_what_is_older, "cuda 12.4\n" CARD)
{
	void *got = NULL;
	struct cu_ctx *ctx = NULL;
	slices[0] = shim_slice(f, 0, UUID, LIMIT);
	shim_load_as(f, "shim/libcuda.so.1", "fake/libcuda-1204.so.1");
	assert_null(driver.cuCtxCreate_v4);
	ok(cuInit(0));
	fails(NOT_SUPPORTED, cuCtxCreate_v4(&ctx, NULL, 0, 0));
	fails(NOT_SUPPORTED, cuCtxSynchronize_v2(NULL));
	assert_int_equal(used(), 0);
	ok(cuGetProcAddress_v2("cuCtxCreate", &got, 12040, 0, NULL));
	assert_ptr_equal(got, cu.cuCtxCreate_v3);
	assert_int_equal(cu.cuGetProcAddress_v2("cuCtxCreate", &got, 12050, 0, NULL),
	        driver.cuGetProcAddress_v2("cuCtxCreate", &got, 12050, 0, NULL));
	ok(cuCtxCreate_v3(&ctx, NULL, 0, 0, 0));
	check(CONTEXT);
}

/* -- the loader's lock -- */

static void first_init(void)
{
	if (cu.cuInit(0) != CU_SUCCESS)
		abort();
}

static void first_look_up(void)
{
	void *got = NULL;
	if (cu.cuGetProcAddress_v2("cuMemAlloc", &got, 12000, 0, NULL) != CU_SUCCESS ||
	        got != (void *)cu.cuMemAlloc_v2)
		abort();
}

PART(constructor_that_starts_us, CARD)
{
	slices[0] = shim_slice(f, 0, UUID, LIMIT);
	shim_load(f);
	call_while_constructing(first_init);
}

PART(constructor_that_looks_up, CARD)
{
	shim_init(f);
	call_while_constructing(first_look_up);
}

/* -- by whatever means -- */

/* Runs tests/shim/reach in the job's directory; its exit status, and what it printed. */
static int reach(const struct fixture *f, const char *how, char output[512])
{
	char program[512], directory[512];
	int pipes[2], status;
	fixture_built(strcmp(how, "linked") == 0 ? "tests/shim/shim_reach_linked"
	                                         : "tests/shim/shim_reach",
	        program);
	snprintf(directory, sizeof directory, "%s", f->dir);
	assert_int_equal(pipe(pipes), 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		dup2(pipes[1], 1);
		dup2(pipes[1], 2);
		close(pipes[0]);
		setenv("LD_LIBRARY_PATH", directory, 1);
		setenv(SLICE_VARIABLE, directory, 1);
		setenv("BERTH_SHIM_LOG", "1", 1);
		execl(program, program, how, (char *)NULL);
		_exit(126);
	}
	close(pipes[1]);
	size_t n = 0;
	for (ssize_t got; n < 511 && (got = read(pipes[0], output + n, 511 - n)) > 0;)
		n += (size_t)got;
	output[n] = 0;
	close(pipes[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static const char *const ways[] = {"linked", "opened", "default"};

PART(linked_opened_looked_up, CARD)
{
	char output[512];
	slices[0] = shim_slice(f, 0, UUID, LIMIT);
	shim_place(f, "shim/libcuda.so.1", "fake/libcuda.so.1");
	for (size_t i = 0; i < 3; i++) {
		int rc = reach(f, ways[i], output);
		if (rc != 0)
			fail_msg("%s: %d %s", ways[i], rc, output);
		assert_string_equal(output,
		        "cuMemAlloc_v2 libcuda.so.1\ncuMemcpyHtoD_v2 libcuda.real.so.1\n"
		        "cuInit 0\ntotal 268435456\n");
	}
}

PART(no_slices, CARD)
{
	char output[512];
	shim_place(f, "shim/libcuda.so.1", "fake/libcuda.so.1");
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(reach(f, ways[i], output), 0);
		assert_non_null(strstr(output, "cuInit 802\n"));
		assert_non_null(strstr(output, "berth: slice 0 in "));
	}
}

/* A driver that is not there, is none, or is the interposer: a refusal in words, not a crash. */
PART(no_driver, CARD)
{
	char output[512], link[256], path[512];
	slices[0] = shim_slice(f, 0, UUID, LIMIT);
	snprintf(link, sizeof link, "%s/libcuda.real.so.1", f->dir);
	shim_place(f, "shim/libcuda.so.1", "fake/libcuda.so.1");
	unlink(link);
	assert_int_equal(reach(f, "linked", output), 127);
	assert_non_null(strstr(output, "libcuda.real.so.1: cannot open"));
	assert_int_equal(reach(f, "opened", output), 3);
	assert_non_null(strstr(output, "libcuda.real.so.1: cannot open"));
	static const char *const wrong[] = {"shim/libcuda.so.1", "src/shim/libcuda.real.so.1"};
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(symlink(fixture_built(wrong[i], path), link), 0);
		assert_int_equal(reach(f, "opened", output), 0);
		assert_non_null(strstr(output, "cuInit 802\n"));
		assert_non_null(strstr(output, "berth: libcuda.real.so.1 is "));
		unlink(link);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_every_symbol),
	        cmocka_unit_test(test_every_version_and_flag),
	        cmocka_unit_test(test_the_asker_itself),
	        cmocka_unit_test(test_before_any_slice),
	        cmocka_unit_test(test_symbol_that_a_driver_lacks),
	        cmocka_unit_test(test_old_driver),
	        cmocka_unit_test(test_driver_that_answers_with_what_is_older),
	        cmocka_unit_test(test_constructor_that_starts_us),
	        cmocka_unit_test(test_constructor_that_looks_up),
	        cmocka_unit_test(test_linked_opened_looked_up),
	        cmocka_unit_test(test_no_slices),
	        cmocka_unit_test(test_no_driver),
	};
	return cmocka_run_group_tests_name("shim/route", tests, NULL, NULL);
}
