#include "cuda_box.h"

#include "../../../tables/nvml_abi.h"

#include <pthread.h>
#include <sys/mman.h>

#define VIRTUAL "clock virtual\njitter 0\n" ONE_CARD
#define MS      UINT64_C(1000000)
#define US      UINT64_C(1000)

static uint64_t now(void)
{
	return cu.berthFakeClock()->now_ns();
}

/* What processes of a test share. */
struct board {
	uint64_t n[4], at[4];
	uint32_t word;
};

static struct board *board;

static void board_new(void)
{
	board = mmap(
	        NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(board, MAP_FAILED);
}

/* Runs parts side by side; the clock waits for all of them, and ties go to the first. */
static void run_together(
        const char *description, unsigned n, void (*const *parts)(struct fixture *f))
{
	struct fixture f;
	pid_t pids[8];
	char text[8];

	fixture_new(&f, description);
	snprintf(text, sizeof(text), "%u", n);
	setenv("BERTH_FAKE_PLAYERS", text, 1);
	for (unsigned i = 0; i < n; i++) {
		snprintf(text, sizeof(text), "%u", i);
		setenv("BERTH_FAKE_SEAT", text, 1);
		pids[i] = cuda_fork(parts[i], &f);
	}
	unsetenv("BERTH_FAKE_PLAYERS");
	unsetenv("BERTH_FAKE_SEAT");
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(fixture_wait(pids[i]), 0);
	fixture_free(&f);
}

static struct cu_func *kernel(const char *name)
{
	struct cu_module *m;
	struct cu_func *fn;

	ok(cuModuleLoadData(&m, "image"));
	ok(cuModuleGetFunction(&fn, m, name));
	return fn;
}

static void launch(struct cu_func *fn, struct cu_stream *s)
{
	ok(cuLaunchKernel(fn, 1, 1, 1, 1, 1, 1, 0, s, NULL, NULL));
}

/* What a call costs is what it costs; waiting jumps. */
PART(exact, VIRTUAL "call 0ns\nlaunch 4us\nsync 5us\n")
{
	uint64_t before;

	cuda_start();
	before = now();
	assert_true(now() - before == 25);
	launch(kernel("k_500ms"), NULL);
	before = now();
	ok(cuCtxSynchronize());
	/* the first switch, the kernel, the return */
	assert_true(now() - before == 500 * MS + 150 * US + 5 * US);
}

static void busy(unsigned who, const char *name, uint64_t until)
{
	struct cu_func *fn;

	cuda_start();
	fn = kernel(name);
	while (now() < until) {
		launch(fn, NULL);
		board->n[who]++;
	}
}

static void busy_0(struct fixture *f)
{
	busy(0, "k_100us", 20000 * MS);
}

static void busy_1(struct fixture *f)
{
	busy(1, "k_100us", 20000 * MS);
}

/* Two processes get half each, less what the switches take: 2 of every 2.15 ms. */
static void test_halves(void **state)
{
	static void (*const parts[])(struct fixture *) = {busy_0, busy_1};
	uint64_t both;

	board_new();
	run_together(VIRTUAL, 2, parts);
	both = board->n[0] + board->n[1];
	assert_in_range(board->n[0] * 1000 / both, 495, 505);
	assert_in_range(both, 200000 * 2000 / 2150, 200000 * 2000 / 2150 + 3000);
}

/* The same once more is the same to the last launch. */
static void test_repeats(void **state)
{
	static void (*const parts[])(struct fixture *) = {busy_0, busy_1};
	uint64_t first[2];

	board_new();
	run_together("clock virtual\nspread 5\n" ONE_CARD, 2, parts);
	memcpy(first, board->n, sizeof(first));
	board_new();
	run_together("clock virtual\nspread 5\n" ONE_CARD, 2, parts);
	assert_memory_equal(first, board->n, sizeof(first));
}

static void ping(struct fixture *f)
{
	const struct fake_clock *c;

	cuda_load("fake/libcuda.so.1");
	ok(cuInit(0));
	c = cu.berthFakeClock();
	c->wait(&board->word, 0, 50 * MS);
	board->at[0] = now();
	c->wait(&board->word, 0, UINT64_MAX);
	board->at[1] = now();
	assert_int_equal(board->word, 1);
}

static void pong(struct fixture *f)
{
	const struct fake_clock *c;
	uint32_t never = 0;

	cuda_load("fake/libcuda.so.1");
	ok(cuInit(0));
	c = cu.berthFakeClock();
	c->wait(&never, 0, 900 * MS);
	board->word = 1;
	board->at[2] = now();
	c->wake(&board->word);
}

/* A timer is late by what the description says, a wake takes what it says, between processes. */
static void test_words(void **state)
{
	static void (*const parts[])(struct fixture *) = {ping, pong};

	board_new();
	run_together("clock virtual\nlate 50us\nwake 27us 60us\n" ONE_CARD, 2, parts);
	assert_in_range(board->at[0], 50 * MS + 50 * US, 50 * MS + 51 * US);
	assert_in_range(board->at[2], 900 * MS + 50 * US, 900 * MS + 51 * US);
	assert_in_range(board->at[1] - board->at[2], 27 * US, 61 * US);
}

static void blocks_outside(struct fixture *f)
{
	char byte;
	int p[2];

	cuda_start();
	assert_int_equal(pipe(p), 0);
	board->n[0] = 1;
	if (fork() == 0) { /* no player: lets go once the other has done its work */
		while (!__atomic_load_n(&board->n[1], __ATOMIC_ACQUIRE))
			usleep(1000);
		assert_int_equal(write(p[1], "x", 1), 1);
		_exit(0);
	}
	assert_int_equal(read(p[0], &byte, 1), 1);
	ok(cuCtxSynchronize());
	assert_true(now() >= 1000 * MS);
}

static void works(struct fixture *f)
{
	uint64_t n = 0;

	(void)n;
	cuda_start();
	launch(kernel("k_1s"), NULL);
	ok(cuCtxSynchronize());
	__atomic_store_n(&board->n[1], 1, __ATOMIC_RELEASE);
}

/* Who blocks elsewhere while it is its turn holds nobody up for ever. */
static void test_blocked(void **state)
{
	static void (*const parts[])(struct fixture *) = {blocks_outside, works};

	board_new();
	run_together(VIRTUAL, 2, parts);
	assert_int_equal(board->n[1], 1);
}

static void dies(struct fixture *f)
{
	cuda_start();
	launch(kernel("k_1s"), NULL);
	board->n[0] = 1;
	if (fork() == 0)
		_exit(0);
	raise(SIGKILL);
}

/* One that is killed in its turn, its queue full of work, is gone: the other has the card. */
static void test_killed(void **state)
{
	struct fixture f;
	pid_t a, b;

	board_new();
	fixture_new(&f, VIRTUAL);
	setenv("BERTH_FAKE_PLAYERS", "2", 1);
	a = cuda_fork(dies, &f);
	b = cuda_fork(works, &f);
	unsetenv("BERTH_FAKE_PLAYERS");
	assert_int_equal(fixture_wait(a), 128 + SIGKILL);
	assert_int_equal(fixture_wait(b), 0);
	assert_int_equal(board->n[1], 1);
	fixture_free(&f);
}

static void *second_thread(void *ctx)
{
	ok(cuCtxSetCurrent(ctx));
	launch(kernel("k_10ms"), CU_STREAM_PER_THREAD);
	ok(cuStreamSynchronize(CU_STREAM_PER_THREAD));
	board->at[1] = now();
	return NULL;
}

/* Threads of one process take turns too, and a thread that ends is not waited for. */
PART(threads, VIRTUAL)
{
	struct cu_ctx *ctx = cuda_start();
	pthread_t t;

	board_new();
	assert_int_equal(pthread_create(&t, NULL, second_thread, ctx), 0);
	assert_int_equal(pthread_join(t, NULL), 0);
	ok(cuCtxSynchronize());
	assert_in_range(now() - board->at[1], 0, 100 * US);
}

typedef enum nvml_return nvml_call(void);

/* NVML sees half a second of work in the last one, and its coming and going in this process takes nothing away. */
PART(load, VIRTUAL)
{
	enum nvml_return (*by_index)(unsigned, struct nvml_device **);
	enum nvml_return (*rates)(struct nvml_device *, struct nvml_utilization *);
	struct nvml_utilization use;
	struct nvml_device *dev;
	uint32_t never = 0;
	char path[512];
	void *lib = dlopen(fixture_built("fake/libnvidia-ml.so.1", path), RTLD_NOW | RTLD_LOCAL);
	nvml_call *init, *end;

	*(void **)&init = dlsym(lib, "nvmlInit_v2");
	*(void **)&end = dlsym(lib, "nvmlShutdown");
	*(void **)&by_index = dlsym(lib, "nvmlDeviceGetHandleByIndex_v2");
	*(void **)&rates = dlsym(lib, "nvmlDeviceGetUtilizationRates");
	cuda_start();
	launch(kernel("k_500ms"), NULL);
	ok(cuCtxSynchronize());
	cu.berthFakeClock()->wait(&never, 0, 1050 * MS); /* 500 ms of work in the first 950 */
	assert_int_equal(init(), NVML_SUCCESS);
	assert_int_equal(by_index(0, &dev), NVML_SUCCESS);
	assert_int_equal(rates(dev, &use), NVML_SUCCESS);
	assert_int_equal(use.gpu, 50);
	cu.berthFakeClock()->wait(&never, 0, 1350 * MS); /* the first 250 are out of sight */
	assert_int_equal(rates(dev, &use), NVML_SUCCESS);
	assert_int_equal(use.gpu, 25);
	launch(kernel("k_1s"), NULL);
	ok(cuCtxSynchronize());
	cu.berthFakeClock()->wait(&never, 0, now() + 100 * MS);
	assert_int_equal(rates(dev, &use), NVML_SUCCESS);
	assert_int_equal(use.gpu, 100);
	assert_int_equal(end(), NVML_SUCCESS);
	fixture_do(f, "show");
	ok(cuCtxSynchronize());
	{
		size_t left, all;

		ok(cuMemGetInfo_v2(&left, &all));
		assert_true(left == (ONE_CARD_MIB - 32) * MIB);
	}
}

/* On the machine's clock a kernel lasts, and a queue that is full blocks. */
PART(real, ONE_CARD)
{
	struct cu_event *a, *b;
	struct cu_func *fn;
	uint64_t before;
	float ms;

	cuda_start();
	ok(cuEventCreate(&a, 0));
	ok(cuEventCreate(&b, 0));
	ok(cuEventRecord(a, NULL));
	before = now();
	launch(kernel("k_20ms"), NULL);
	ok(cuEventRecord(b, NULL));
	fails(NOT_READY, cuStreamQuery(NULL));
	ok(cuStreamSynchronize(NULL));
	assert_true(now() - before >= 20 * MS);
	ok(cuEventElapsedTime(&ms, a, b));
	assert_true(ms >= 20.0f && ms < 21.0f);
	fn = kernel("k_50us");
	before = now();
	for (int i = 0; i < 1500; i++)
		launch(fn, NULL);
	assert_true(now() - before >= (1500 - 1024) * 50 * US);
}

static void called(void *data)
{
	*(uint64_t *)data = now();
}

/* A function of the host is called in its turn, a value is written in its, and one that is waited for holds the stream. */
PART(host, VIRTUAL)
{
	struct cu_stream *s, *o;
	uint64_t at = 0;
	cu_ptr word;

	cuda_start();
	ok(cuStreamCreate(&s, 1));
	ok(cuStreamCreate(&o, 1));
	ok(cuMemAlloc_v2(&word, 4));
	launch(kernel("k_10ms"), s);
	ok(cuLaunchHostFunc(s, called, &at));
	assert_true(at == 0);
	ok(cuStreamSynchronize(s));
	assert_in_range(at, 10 * MS, 11 * MS);
	ok(cuMemsetD32_v2(word, 0, 1));
	ok(cuStreamWaitValue32_v2(o, word, 5, 1));
	launch(kernel("k_10ms"), s);
	ok(cuStreamWriteValue32_v2(s, word, 5, 0));
	fails(NOT_READY, cuStreamQuery(o));
	ok(cuStreamSynchronize(o));
	assert_true(now() >= 20 * MS);
}

/* Two forms of one call mean two streams. */
PART(default_streams, VIRTUAL)
{
	cuda_start();
	ok(cuLaunchKernel_ptsz(kernel("k_10ms"), 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
	fails(NOT_READY, cuStreamQuery_ptsz(NULL));
	fails(NOT_READY, cuStreamQuery(NULL)); /* it waits for the other, which blocks */
	ok(cuStreamSynchronize_ptsz(NULL));
	launch(kernel("k_10ms"), NULL);
	ok(cuStreamQuery_ptsz(NULL));
	fails(NOT_READY, cuStreamQuery(NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_exact),
	        cmocka_unit_test(test_halves),
	        cmocka_unit_test(test_repeats),
	        cmocka_unit_test(test_words),
	        cmocka_unit_test(test_blocked),
	        cmocka_unit_test(test_killed),
	        cmocka_unit_test(test_threads),
	        cmocka_unit_test(test_load),
	        cmocka_unit_test(test_real),
	        cmocka_unit_test(test_host),
	        cmocka_unit_test(test_default_streams),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
