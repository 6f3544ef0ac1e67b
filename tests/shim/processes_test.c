/* Many processes in one slice, through the interposer and the fake driver: racing, killed, forked; and a driver that fails. */
#include "shim_box.h"

#include <pthread.h>
#include <sys/syscall.h>
#include <sys/time.h>

/* -- racing to the last byte, with kills -- */
struct tally {
	uint64_t n_given, n_full, n_other;
	int n_ready, go;
};
static struct tally *tally;

static void tally_new(void)
{
	tally = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(tally, MAP_FAILED);
}

static void add(uint64_t *count)
{
	__atomic_fetch_add(count, 1, __ATOMIC_RELAXED);
}

static uint64_t dice(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	return *state ^= *state << 17;
}

/* Whatever happens to it ends it: SIGALRM has no handler. */
static void race(const struct fixture *f, uint64_t seed)
{
	struct itimerval timer = {.it_value.tv_usec = 3000 + (suseconds_t)(dice(&seed) % 40000)};
	cu_ptr held[6] = {0};
	struct cu_ctx *ctx;
	shim_load(f);
	if (seed % 4 != 0)
		setitimer(ITIMER_REAL, &timer, NULL);
	if (cu.cuInit(0) != CU_SUCCESS)
		return add(&tally->n_other);
	enum cu_result rc = cu.cuCtxCreate_v2(&ctx, 0, 0);
	if (rc == CU_ERROR_OUT_OF_MEMORY)
		return add(&tally->n_full);
	for (int turn = 0; rc == CU_SUCCESS && turn < 300; turn++) {
		cu_ptr *p = &held[dice(&seed) % 6];
		if (*p != 0) {
			if (cu.cuMemFree_v2(*p) != CU_SUCCESS)
				add(&tally->n_other);
			*p = 0;
			continue;
		}
		rc = cu.cuMemAlloc_v2(p, 1 + dice(&seed) % (40 * MIB));
		add(rc == CU_SUCCESS                   ? &tally->n_given
		        : rc == CU_ERROR_OUT_OF_MEMORY ? &tally->n_full
		                                       : &tally->n_other);
		rc = CU_SUCCESS;
	}
}

/* The card is exactly as large as the slice: whoever is given too much in the ledger is refused by the driver. */
PART(eight_race, "device\nmemory 256MiB\ncontext 8MiB\nuuid " UUID "\n")
{
	slices[0] = shim_slice(f, 0, UUID, LIMIT);
	slices[0]->grant.context_bytes = 8 * MIB;
	tally_new();
	pid_t pids[8] = {0};
	uint64_t n_killed = 0;
	for (uint64_t round = 0; round < 72; round++) {
		if (round >= 8)
			n_killed += fixture_wait(pids[round % 8]) != 0;
		if (round >= 64)
			continue;
		pids[round % 8] = fork();
		if (pids[round % 8] == 0) {
			race(f, 88172645463325252 + 7919 * round);
			_exit(0);
		}
	}
	assert_int_equal(tally->n_other, 0);
	assert_true(n_killed >= 16);
	assert_true(tally->n_given > 200);
	assert_true(tally->n_full > 20);
	/* Every refusal was the ledger's; of the killed, one each may not have been told. */
	assert_in_range(slices[0]->ledger.n_refused, tally->n_full, tally->n_full + n_killed);
	shim_load(f);
	struct cu_ctx *ctx;
	cu_ptr p;
	ok(cuInit(0));
	ok(cuCtxCreate_v2(&ctx, 0, 0));
	ok(cuMemAlloc_v2(&p, LIMIT - 8 * MIB));
	assert_int_equal(used(), LIMIT);
	assert_int_equal(physical(), LIMIT);
}

/* -- killed between any two steps -- */
static void live_and_die(const struct fixture *f, int step)
{
	struct cu_ctx *ctx;
	cu_ptr p, q;
	char text[16];
	snprintf(text, sizeof text, "%d", step);
	setenv("BERTH_TEST_DIE_AT", text, 1);
	shim_load_as(f, "tests/shim/libcuda.so.1", "fake/libcuda.so.1");
	ok(cuInit(0));
	ok(cuCtxCreate_v2(&ctx, 0, 0));
	ok(cuMemAlloc_v2(&p, 10 * MIB));
	ok(cuMemAllocAsync(&q, 10 * MIB, NULL));
	ok(cuMemFree_v2(p));
	ok(cuMemFreeAsync(q, NULL));
	ok(cuCtxDestroy_v2(ctx));
}

static void take_all(const struct fixture *f)
{
	struct cu_ctx *ctx;
	cu_ptr p;
	char link[256];
	snprintf(link, sizeof link, "%s/libcuda.so.1", f->dir);
	unlink(link);
	shim_load(f);
	ok(cuInit(0));
	ok(cuCtxCreate_v2(&ctx, 0, 0));
	ok(cuMemAlloc_v2(&p, LIMIT - CONTEXT));
	fails(OUT_OF_MEMORY, cuMemAlloc_v2(&p, 1));
	check(LIMIT);
	unlink(link);
}

PART(death_at_each_step, CARD)
{
	int step = 0, result;
	slices[0] = shim_slice(f, 0, UUID, LIMIT);
	do {
		pid_t pid = fork();
		if (pid == 0) {
			live_and_die(f, ++step);
			_exit(0);
		}
		step++;
		result = fixture_wait(pid);
		pid = fork();
		if (pid == 0) {
			take_all(f);
			_exit(0);
		}
		assert_int_equal(fixture_wait(pid), 0);
	} while (result == 128 + SIGKILL);
	assert_int_equal(result, 0);
	assert_true(step > 50);
}

/* -- three hundred at once, every tenth with a context; what that costs is in `berth bench slice start` -- */
PART(three_hundred_start, "device\nmemory 64GiB\nuuid " UUID "\n")
{
	enum { N = 300 };
	static pid_t pids[N];
	char program[512];
	char *const argv[2][3] = {{program, "init", NULL}, {program, "context", NULL}};

	slices[0] = shim_slice(f, 0, UUID, 16384 * MIB);
	shim_place(f, "shim/libcuda.so.1", "fake/libcuda.so.1");
	fixture_built("tests/shim/shim_reach", program);
	setenv("LD_LIBRARY_PATH", f->dir, 1);
	setenv(SLICE_VARIABLE, f->dir, 1);
	for (int i = 0; i < N; i++)
		assert_int_equal(
		        posix_spawn(&pids[i], program, NULL, NULL, argv[i % 10 == 0], environ), 0);
	for (int i = 0; i < N; i++)
		assert_int_equal(fixture_wait(pids[i]), 0);
}

/* -- fork -- */
PART(child_of_an_initialised_parent, CARD)
{
	cu_ptr p;
	shim_start(f);
	ok(cuMemAlloc_v2(&p, 10 * MIB));
	pid_t pid = fork();
	if (pid == 0) {
		/* The driver does not go over a fork; what a child asks in vain is not charged, nor is what it frees. */
		cu_ptr q;
		int bad = cu.cuMemAlloc_v2(&q, MIB) == CU_SUCCESS;
		bad |= cu.cuMemFree_v2(p) == CU_SUCCESS;
		_exit(bad);
	}
	assert_int_equal(fixture_wait(pid), 0);
	/* Before a call of ours could put it right: */
	assert_int_equal(used(), CONTEXT + 10 * MIB);
	check(CONTEXT + 10 * MIB);
	ok(cuMemFree_v2(p));
	check(CONTEXT);
}

PART(children_that_begin_themselves, CARD)
{
	slices[0] = shim_slice(f, 0, UUID, LIMIT);
	shim_load(f);
	void *got;
	/* As a runtime does before its first call: the interposer is awake, the driver is not. */
	ok(cuGetProcAddress_v2("cuInit", &got, 12000, 0, NULL));
	for (int i = 0; i < 3; i++) {
		pid_t pid = fork();
		if (pid == 0) {
			struct cu_ctx *ctx;
			cu_ptr p;
			ok(cuInit(0));
			ok(cuCtxCreate_v2(&ctx, 0, 0));
			ok(cuMemAlloc_v2(&p, 10 * MIB));
			check(CONTEXT + 10 * MIB);
			_exit(0);
		}
		assert_int_equal(fixture_wait(pid), 0);
	}
	struct cu_ctx *ctx;
	ok(cuInit(0));
	ok(cuCtxCreate_v2(&ctx, 0, 0));
	check(CONTEXT);
}

/* How many descriptors of the ledger this process has. */
static int n_descriptors(void)
{
	struct stat st, of;
	int n = 0;
	char path[256];
	snprintf(path, sizeof path, "%s/slice-0", getenv(SLICE_VARIABLE));
	assert_int_equal(stat(path, &of), 0);
	for (int fd = 3; fd < 1024; fd++)
		n += fstat(fd, &st) == 0 && st.st_ino == of.st_ino && st.st_dev == of.st_dev;
	return n;
}

/*
 * A child made past the C library, so that no handler has run: at its first call it lets go of the parent's slot all the same.
 * The function that it calls is one that this driver does not have: the driver itself has not seen the fork either.
 */
PART(child_of_a_bare_clone, CARD)
{
	struct cu_ctx *ctx;
	cu_ptr p;
	slices[0] = shim_slice(f, 0, UUID, LIMIT);
	shim_load_as(f, "shim/libcuda.so.1", "fake/libcuda-1102.so.1");
	ok(cuInit(0));
	ok(cuCtxCreate_v2(&ctx, 0, 0));
	ok(cuMemAlloc_v2(&p, 10 * MIB));
	assert_int_equal(n_descriptors(), 1);
	pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	if (pid == 0) {
		int before = n_descriptors();
		int rc = cu.cuLaunchKernelEx(NULL, NULL, NULL, NULL);
		_exit(before == 1 && rc == CU_ERROR_NOT_SUPPORTED && n_descriptors() == 0 ? 0 : 1);
	}
	assert_int_equal(fixture_wait(pid), 0);
	check(CONTEXT + 10 * MIB);
}

/* vfork and exec, as subprocesses are started: the parent's slot stays its own. */
PART(vfork_and_exec, CARD)
{
	cu_ptr p;
	shim_start(f);
	ok(cuMemAlloc_v2(&p, 10 * MIB));
	for (int i = 0; i < 5; i++) {
		pid_t pid = vfork();
		if (pid == 0) {
			execl("/bin/true", "true", (char *)NULL);
			_exit(1);
		}
		assert_int_equal(fixture_wait(pid), 0);
	}
	check(CONTEXT + 10 * MIB);
	fails(OUT_OF_MEMORY, cuMemAlloc_v2(&p, LIMIT));
	check(CONTEXT + 10 * MIB);
}

static struct cu_ctx *shared_ctx;

static void *allocate_and_free(void *data)
{
	cu_ptr p;
	uint64_t seed = 1234567 + (uintptr_t)data;
	if (cu.cuCtxSetCurrent(shared_ctx) != CU_SUCCESS)
		return data;
	for (int i = 0; i < 300; i++)
		if (cu.cuMemAlloc_v2(&p, 1 + dice(&seed) % (8 * MIB)) == CU_SUCCESS)
			cu.cuMemFree_v2(p);
	return NULL;
}

PART(threads_and_forks, CARD)
{
	pthread_t threads[4];
	void *result;
	shared_ctx = shim_start(f);
	for (uintptr_t i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, allocate_and_free, (void *)(i + 1));
	for (int i = 0; i < 10; i++) {
		pid_t pid = fork();
		if (pid == 0) {
			cu_ptr q;
			alarm(20);
			cu.cuMemAlloc_v2(&q, MIB);
			/* To valgrind, what the stacks of the other threads pointed to would be lost at an exit. */
			execl("/bin/true", "true", (char *)NULL);
			_exit(1);
		}
		assert_int_equal(fixture_wait(pid), 0);
	}
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], &result);
		assert_null(result);
	}
	check(CONTEXT);
}

/* Programs that close whatever descriptors they find. */
PART(all_descriptors_closed, CARD)
{
	cu_ptr p;
	shim_start(f);
	ok(cuMemAlloc_v2(&p, 10 * MIB));
	for (int fd = 400; fd < 1024; fd++)
		close(fd);
	ok(cuMemAlloc_v2(&p, 10 * MIB));
	assert_int_equal(used(), CONTEXT + 20 * MIB);
	ok(cuMemFree_v2(p));
	size_t left;
	ok(cuMemGetInfo_v2(&left, NULL));
	assert_int_equal(left, LIMIT - CONTEXT - 10 * MIB);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_eight_race),
	        cmocka_unit_test(test_death_at_each_step),
	        cmocka_unit_test(test_three_hundred_start),
	        cmocka_unit_test(test_child_of_an_initialised_parent),
	        cmocka_unit_test(test_children_that_begin_themselves),
	        cmocka_unit_test(test_child_of_a_bare_clone),
	        cmocka_unit_test(test_vfork_and_exec),
	        cmocka_unit_test(test_threads_and_forks),
	        cmocka_unit_test(test_all_descriptors_closed),
	};
	return cmocka_run_group_tests_name("shim/processes", tests, NULL, NULL);
}
