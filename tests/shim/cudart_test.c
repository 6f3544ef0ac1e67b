/*
 * The vendor's own runtime, static and shared, looks its functions up through the interposer; and programs of a runtime live in a
 * slice, with a small one of our own, since the vendor's refuses a driver that is not. What needs nvcc is skipped without it.
 */
#include "shim_box.h"

static bool find_nvcc(char path[512])
{
	const char *home = getenv("CUDA_HOME"), *list = getenv("PATH");
	if (home != NULL && *home != 0) {
		snprintf(path, 512, "%s/bin/nvcc", home);
		if (access(path, X_OK) == 0)
			return true;
	}
	while (list != NULL && *list != 0) {
		size_t n = strcspn(list, ":");
		snprintf(path, 512, "%.*s/nvcc", (int)n, list);
		if (n > 0 && access(path, X_OK) == 0)
			return true;
		list += n + (list[n] == ':');
	}
	return false;
}

static int run(char *const argv[])
{
	pid_t pid;
	int status;
	posix_spawn_file_actions_t actions;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
	posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
	assert_int_equal(posix_spawn(&pid, argv[0], &actions, NULL, argv, environ), 0);
	posix_spawn_file_actions_destroy(&actions);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

struct count {
	int n_asked, n_wrong, n_guarded, n_plain, n_per_thread, n_distinct_guarded;
};

static void read_log(const char *path, struct count *count)
{
	char word[16], kind[16], symbol[128];
	int version, flags;
	FILE *log = fopen(path, "re");
	assert_non_null(log);
	char line[256];
	while (fgets(line, sizeof line, log) != NULL) {
		count->n_asked++;
		/* The empty name is a probe. */
		if (sscanf(line, "%15s %15s %127s %d %d", word, kind, symbol, &version, &flags) !=
		        5)
			flags = 0;
		count->n_wrong += strcmp(word, "right") != 0;
		if (strcmp(word, "right") != 0)
			print_message("# %s", line);
		count->n_guarded += strcmp(kind, "guarded") == 0;
		count->n_plain += strcmp(kind, "plain") == 0;
		count->n_per_thread += flags == CU_PROC_PER_THREAD;
	}
	fclose(log);
}

static void look_up_all(struct fixture *f, char *kind)
{
	char nvcc[512], source[256], program[256], log[256], link[256], path[512];
	struct count count = {0};
	assert_true(find_nvcc(nvcc));
	snprintf(source, sizeof source, "%s/p.c", f->dir);
	snprintf(program, sizeof program, "%s/p", f->dir);
	snprintf(log, sizeof log, "%s/log", f->dir);
	FILE *out = fopen(source, "we");
	fputs("#include <cuda_runtime_api.h>\nint main(void){void *p=0;cudaMalloc(&p,1);return 0;}\n",
	        out);
	fclose(out);
	assert_int_equal(run((char *[]){nvcc, "-cudart", kind, source, "-o", program, NULL}), 0);
	slices[0] = shim_slice(f, 0, UUID, LIMIT);
	shim_place(f, "shim/libcuda.so.1", "fake/libcuda.so.1");
	snprintf(path, sizeof path, "%s/libcuda.so.1", f->dir);
	setenv("SPY_SHIM", path, 1);
	snprintf(path, sizeof path, "%s/libcuda.real.so.1", f->dir);
	setenv("SPY_REAL", path, 1);
	setenv("SPY_LOG", log, 1);
	setenv(SLICE_VARIABLE, f->dir, 1);
	snprintf(path, sizeof path, "%s/spy", f->dir);
	assert_int_equal(mkdir(path, 0755), 0);
	snprintf(link, sizeof link, "%s/spy/libcuda.so.1", f->dir);
	char spy[512];
	assert_int_equal(symlink(fixture_built("tests/shim/libshim_spy.so", spy), link), 0);
	/* The toolkit's own libraries stand beside its programs, in lib64. */
	*strrchr(nvcc, '/') = 0;
	char list[1100];
	snprintf(list, sizeof list, "%s:%s/../lib64", path, nvcc);
	setenv("LD_LIBRARY_PATH", list, 1);
	assert_int_equal(run((char *[]){program, NULL}), 0);
	read_log(log, &count);
	print_message("# %s: %d look-ups, %d guarded, %d plain, %d per thread\n", kind,
	        count.n_asked, count.n_guarded, count.n_plain, count.n_per_thread);
	assert_int_equal(count.n_wrong, 0);
	assert_true(count.n_asked >= 400);
	assert_true(count.n_guarded >= 50);
	assert_true(count.n_plain >= 50);
	assert_true(count.n_per_thread >= 50);
}

PART(static_runtime, "cuda 13.0\n" CARD)
{
	look_up_all(f, "static");
}

PART(shared_runtime, "cuda 13.0\n" CARD)
{
	look_up_all(f, "shared");
}

/* The program, in a directory that has the interposer and our own runtime under its name. */
static void live_in_slice(struct fixture *f, char *program)
{
	char path[512], link[256];
	slices[0] = shim_slice(f, 0, UUID, LIMIT);
	shim_place(f, "shim/libcuda.so.1", "fake/libcuda.so.1");
	snprintf(link, sizeof link, "%s/libcudart.so.13", f->dir);
	assert_int_equal(symlink(fixture_built("tests/shim/libcudart.so.13", path), link), 0);
	setenv(SLICE_VARIABLE, f->dir, 1);
	setenv("LD_LIBRARY_PATH", f->dir, 1);
	assert_int_equal(run((char *[]){program, NULL}), 0);
	/* All of it, and one byte more was refused by the ledger. */
	assert_int_equal(slices[0]->ledger.peak_bytes, LIMIT);
	assert_int_equal(slices[0]->ledger.n_refused, 1);
}

PART(own_runtime_in_c, CARD)
{
	char path[512];
	live_in_slice(f, (char *)(uintptr_t)fixture_built("tests/shim/shim_runtime_use", path));
}

PART(own_runtime_by_nvcc, CARD)
{
	char nvcc[512], source[600], program[256];
	assert_true(find_nvcc(nvcc));
	snprintf(source, sizeof source, "%s/tests/shim/runtime_use.c", getenv("BERTH_SOURCE"));
	snprintf(program, sizeof program, "%s/p", f->dir);
	assert_int_equal(
	        run((char *[]){nvcc, "-x", "cu", "-cudart", "shared", source, "-o", program, NULL}),
	        0);
	live_in_slice(f, program);
}

static bool has_nvcc(void)
{
	char path[512];
	bool has = find_nvcc(path);
	if (!has || IS_SANITIZED)
		print_message(has ? "# a program of nvcc's is not sanitized\n"
		                  : "# no nvcc by PATH or CUDA_HOME\n");
	return has && !IS_SANITIZED;
}

static void test_static(void **state)
{
	if (!has_nvcc())
		skip();
	test_static_runtime(state);
}

static void test_shared(void **state)
{
	if (!has_nvcc())
		skip();
	test_shared_runtime(state);
}

static void test_own_runtime(void **state)
{
	if (!has_nvcc())
		skip();
	test_own_runtime_by_nvcc(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_own_runtime_in_c),
	        cmocka_unit_test(test_own_runtime),
	        cmocka_unit_test(test_static),
	        cmocka_unit_test(test_shared),
	};
	return cmocka_run_group_tests_name("shim/cudart", tests, NULL, NULL);
}
