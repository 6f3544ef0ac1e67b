/* Programs under the simulated MPS: their own limit, what they are told of, and what they do without a daemon. */
#include "cuda_box.h"

#include <limits.h>

#define GIB       (UINT64_C(1) << 30)
#define TWO_CARDS "device\nmemory 8GiB\ndevice\nmemory 8GiB\n"

static char pipes[] = "/tmp/berth-mps-XXXXXX";

static int control(const char *words)
{
	char command[PATH_MAX + 64], program[512];

	fixture_built("fake/nvidia-cuda-mps-control", program);
	snprintf(command, sizeof(command), "%s%s %s", words, program,
	        *words ? ">/dev/null 2>&1" : "-d 2>/dev/null");
	return system(command);
}

static void set_up(void)
{
	setenv("CUDA_MPS_PIPE_DIRECTORY", pipes, 1);
	setenv("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT", "0=2G,1=96M", 1);
	setenv("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "25", 1);
}

static int multiprocessors(void)
{
	int n = 0;

	ok(cuDeviceGetAttribute(&n, 16, 0));
	return n;
}

static void use_with(bool has_daemon)
{
	struct cu_ctx *other;
	cu_ptr p;

	cuda_start();
	assert_int_equal(multiprocessors(), has_daemon ? 27 : 108);
	/* A context of 32 MiB counts. */
	if (has_daemon)
		fails(OUT_OF_MEMORY, cuMemAlloc_v2(&p, 2 * GIB - 30 * MIB));
	ok(cuMemAlloc_v2(&p, 2 * GIB - 32 * MIB));
	if (has_daemon)
		fails(OUT_OF_MEMORY, cuMemAlloc_v2(&p, 1));
	ok(cuCtxCreate_v2(&other, 0, 1));
	ok(cuMemAlloc_v2(&p, 64 * MIB));
	if (has_daemon)
		fails(OUT_OF_MEMORY, cuMemAlloc_v2(&p, 1));
}

static void with_daemon(struct fixture *f)
{
	use_with(true);
}

static void without_daemon(struct fixture *f)
{
	use_with(false);
}

/* The limit is of each process: two have twice as much, which is why it is no limit of a job. */
static void test_limit(void **state)
{
	struct fixture f;
	pid_t one, two;

	fixture_new(&f, TWO_CARDS);
	setenv("BERTH_FAKE_GPUS", f.path, 1);
	set_up();
	assert_int_not_equal(control("echo get_server_list | "), 0);
	assert_int_equal(control(""), 0);
	assert_int_not_equal(control(""), 0); /* there is one */
	assert_int_equal(control("echo get_server_list | "), 0);
	one = cuda_fork(with_daemon, &f);
	two = cuda_fork(with_daemon, &f);
	assert_int_equal(fixture_wait(one), 0);
	assert_int_equal(fixture_wait(two), 0);
	assert_int_equal(control("echo quit | "), 0);
	assert_int_equal(fixture_wait(cuda_fork(without_daemon, &f)), 0);
	unsetenv("BERTH_FAKE_GPUS");
	assert_int_not_equal(control(""), 0); /* of simulated devices only */
	fixture_free(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_limit)};
	int failed;

	if (!mkdtemp(pipes))
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rmdir(pipes);
	return failed;
}
