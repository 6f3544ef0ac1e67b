/*
 * Turns end to end: real processes, each a job of its own with the interposer over the fake driver, under the driver's virtual
 * clock, so that what they get does not depend on the machine.
 */
#include "shim_box.h"

#include "berth/pace.h"
#include "shim/pace_judge.h"

#define MS    UINT64_C(1000000)
#define S     UINT64_C(1000000000)
#define UNTIL 4 /* seconds of the clock */
#define CARDS "clock virtual\nlate 50us\nkernel mixed 10us 10us 10us 100us 100us 1ms\n" CARD
#define JOBS  3

/* What the processes of a test share. */
struct board {
	uint64_t counts[JOBS][UNTIL + 1]; /* launches up to each second */
	bool has_no_graphs;               /* this driver does not simulate them */
};

/* How a capture ends without its own call. */
enum lost_capture { NOT_LOST, STREAM_DESTROYED, CONTEXT_DESTROYED };

enum load {
	PLAIN,
	GRAPHS,   /* of ten of that kernel */
	SYNCED,   /* waits after each launch */
	BURSTS,   /* fifty, a wait, and 10 ms in which the host is busy elsewhere */
	CAPTURES, /* a new graph of ten each time, recorded while others run */
};

struct job {
	unsigned weight_milli, cap_milli;
	enum lost_capture lost_capture; /* before it works */
	const char *kernel;             /* NULL: it only has a context */
	enum load load;
};

static struct board *board;
static struct job jobs[JOBS];

static uint64_t now(void)
{
	return driver.berthFakeClock()->now_ns();
}

static void page_new(const struct fixture *f)
{
	static struct pace_page page;
	char path[256];
	snprintf(path, sizeof path, "%s/page", f->dir);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	assert_true(fd >= 0);
	memset(&page, 0, sizeof page);
	page.head = (struct pace_head){.magic = PACE_MAGIC, .abi = PACE_ABI};
	pace_parameters(&page.head, 150000);
	page.word = PACE_WORD(PACE_NOBODY, PACE_FREE, 0, 0);
	for (unsigned i = 0; i < JOBS; i++)
		page.tenants[i] = (struct pace_tenant){.weight_milli = jobs[i].weight_milli,
		        .cap_milli = jobs[i].cap_milli ? jobs[i].cap_milli : 1000};
	assert_int_equal(write(fd, &page, sizeof page), sizeof page);
	close(fd);
}

/* The directory of a job: its ledger, and the page of all under its name. */
static struct fixture job_place(const struct fixture *f, unsigned i)
{
	struct fixture own = *f;
	char page[256], name[256];
	snprintf(own.dir, sizeof own.dir, "%.100s/%u", f->dir, i);
	assert_int_equal(mkdir(own.dir, 0700), 0);
	snprintf(page, sizeof page, "%s/page", f->dir);
	snprintf(name, sizeof name, "%s/pace-0", own.dir);
	assert_int_equal(link(page, name), 0);
	slices[0] = shim_slice(&own, 0, UUID, LIMIT);
	slices[0]->grant.flags |= SLICE_HOLDS_COMPUTE;
	slices[0]->grant.tenant = i;
	return own;
}

/* What one process works with. */
struct worker {
	enum load load;
	struct cu_func *fn;
	struct cu_stream *stream;
	struct cu_graph_exec *exec;
};

static void launch(const struct worker *w)
{
	ok(cuLaunchKernel(w->fn, 1, 1, 1, 1, 1, 1, 0, w->stream, NULL, NULL));
}

/* In the mode in which what another thread does can spoil it. */
static struct cu_graph_exec *graph_of(const struct worker *w)
{
	struct cu_graph *graph;
	struct cu_graph_exec *exec;
	board->has_no_graphs = cu.cuStreamBeginCapture_v2(w->stream, 0) == CU_ERROR_NOT_SUPPORTED;
	if (board->has_no_graphs)
		exit(0);
	for (int i = 0; i < 10; i++)
		launch(w);
	ok(cuStreamEndCapture(w->stream, &graph));
	ok(cuGraphInstantiateWithFlags(&exec, graph, 0));
	ok(cuGraphDestroy(graph));
	return exec;
}

static void wait_until(uint64_t ns)
{
	uint32_t never = 0;
	while (now() < ns)
		driver.berthFakeClock()->wait(&never, 0, ns);
}

/* Returns how many launches that was. */
static unsigned work_once(struct worker *w)
{
	unsigned n = w->load == BURSTS ? 50 : 1;
	if (w->load == CAPTURES)
		w->exec = graph_of(w);
	if (w->exec != NULL)
		ok(cuGraphLaunch(w->exec, w->stream));
	for (unsigned i = 0; w->exec == NULL && i < n; i++)
		launch(w);
	if (w->load == SYNCED || w->load == BURSTS)
		ok(cuStreamSynchronize(w->stream));
	if (w->load == BURSTS)
		wait_until(now() + 10 * MS);
	if (w->load == CAPTURES)
		ok(cuGraphExecDestroy(w->exec));
	return n;
}

static void lose_capture(enum lost_capture how)
{
	struct cu_ctx *ctx;
	struct cu_stream *stream;
	if (how == NOT_LOST)
		return;
	ok(cuCtxCreate_v2(&ctx, 0, 0));
	ok(cuStreamCreate(&stream, 1));
	ok(cuStreamBeginCapture_v2(stream, 0));
	if (how == STREAM_DESTROYED)
		ok(cuStreamDestroy_v2(stream));
	ok(cuCtxDestroy_v2(ctx));
}

static void work(const struct fixture *f, unsigned i)
{
	struct fixture own = job_place(f, i);
	struct worker w = {.load = jobs[i].load};
	struct cu_module *module;
	struct cu_ctx *ctx;
	uint64_t n = 0;
	shim_load(&own);
	*(void **)&driver.berthFakeClock = dlsym(driver.handle, "berthFakeClock");
	ok(cuInit(0));
	lose_capture(jobs[i].lost_capture);
	ok(cuCtxCreate_v2(&ctx, 0, 0));
	ok(cuStreamCreate(&w.stream, 1));
	ok(cuModuleLoadData(&module, "image"));
	ok(cuModuleGetFunction(&w.fn, module, jobs[i].kernel ? jobs[i].kernel : "k_10us"));
	if (w.load == GRAPHS)
		w.exec = graph_of(&w);
	/* Without a launch nobody counts as there. */
	if (jobs[i].kernel == NULL) {
		launch(&w);
		ok(cuStreamSynchronize(w.stream));
	}
	for (unsigned second = 0; second <= UNTIL; second++) {
		if (jobs[i].kernel == NULL)
			wait_until((second + 1) * S);
		while (now() < (second + 1) * S)
			n += work_once(&w);
		board->counts[i][second] = n;
	}
}

static void work_0(struct fixture *f)
{
	work(f, 0);
}

static void work_1(struct fixture *f)
{
	work(f, 1);
}

static void work_2(struct fixture *f)
{
	work(f, 2);
}

static void run(unsigned n, const struct job *with)
{
	static void (*const parts[JOBS])(struct fixture *) = {work_0, work_1, work_2};
	struct fixture f;
	pid_t pids[JOBS];
	char text[8];
	memset(jobs, 0, sizeof jobs);
	memcpy(jobs, with, n * sizeof *with);
	board = mmap(
	        NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(board, MAP_FAILED);
	fixture_new(&f, CARDS);
	page_new(&f);
	snprintf(text, sizeof text, "%u", n);
	setenv("BERTH_FAKE_PLAYERS", text, 1);
	for (unsigned i = 0; i < n; i++) {
		snprintf(text, sizeof text, "%u", i);
		setenv("BERTH_FAKE_SEAT", text, 1);
		pids[i] = cuda_fork(parts[i], &f);
	}
	unsetenv("BERTH_FAKE_PLAYERS");
	unsetenv("BERTH_FAKE_SEAT");
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(fixture_wait(pids[i]), 0);
	fixture_free(&f);
}

static double in_second(unsigned job, unsigned second)
{
	return (double)(board->counts[job][second] - board->counts[job][second - 1]);
}

/* valgrind runs one thread at a time, so one that begins comes late: there is no figure then, only what it says of memory. */
static bool is_measured(void)
{
	return getenv("BERTH_SLOW") == NULL;
}

/* Over each second but the first, each part of what all did is within 2 % of what it should be. */
static void check_parts(unsigned n)
{
	for (unsigned second = 1; is_measured() && second <= UNTIL; second++) {
		double all = 0, part;
		for (unsigned i = 0; i < n; i++)
			all += in_second(i, second);
		for (unsigned i = 0; i < n; i++) {
			part = in_second(i, second) / all * 1000;
			if (part < jobs[i].weight_milli - 20.0 ||
			        part > jobs[i].weight_milli + 20.0)
				fail_msg("job %u of weight %u had %.0f in second %u", i,
				        jobs[i].weight_milli, part, second);
		}
	}
	munmap(board, sizeof *board);
}

static double in_all(unsigned job)
{
	return (double)(board->counts[job][UNTIL] - board->counts[job][0]);
}

/* Together they use so much of the device after the first second, of which each launch takes so long. */
static void check_sum(unsigned n, double launch_us)
{
	double all = 0;
	for (unsigned i = 0; i < n; i++)
		all += in_all(i);
	all *= launch_us / (UNTIL * 1e6) * 100;
	if (is_measured() && all < 97)
		fail_msg("together they had %.2f %%", all);
}

/* What a job does in each second but the first. */
static void check_seconds(unsigned job, uint64_t least, uint64_t most)
{
	for (unsigned second = 1; is_measured() && second <= UNTIL; second++)
		assert_in_range((uint64_t)in_second(job, second), least, most);
}

/* launch_us: how long the device is busy with one of them, where that is to add up. */
static void pair(unsigned weight_milli, const char *kernel, enum load load, double launch_us)
{
	const struct job with[] = {
	        {.weight_milli = weight_milli, .kernel = kernel, .load = load},
	        {.weight_milli = 1000 - weight_milli, .kernel = kernel, .load = load},
	};
	run(2, with);
	if (board->has_no_graphs)
		skip();
	if (launch_us > 0)
		check_sum(2, launch_us);
	check_parts(2);
}

static void two(const char *kernel, enum load load, double launch_us)
{
	pair(500, kernel, load, launch_us);
	pair(300, kernel, load, 0);
	pair(100, kernel, load, 0);
}

static void test_10_us(void **state)
{
	two("k_10us", PLAIN, 10);
}

static void test_1_ms(void **state)
{
	two("k_1ms", PLAIN, 1000);
}

static void test_mixed(void **state)
{
	two("mixed", PLAIN, 1230.0 / 6);
}

static void test_graphs(void **state)
{
	two("k_50us", GRAPHS, 500);
}

static void test_a_wait_after_each(void **state)
{
	pair(300, "k_1ms", SYNCED, 0);
}

/* Nothing that is done for the turns may spoil a capture, nor is one counted as work. */
static void test_captures(void **state)
{
	pair(300, "k_50us", CAPTURES, 0);
}

/* Bursts of 5 ms with 10 ms between them, beside one who always has work: they wait for a turn, not for more, and nothing is lost. */
static void test_bursts(void **state)
{
	const struct job with[] = {{.weight_milli = 500, .kernel = "k_100us", .load = BURSTS},
	        {.weight_milli = 500, .kernel = "k_100us"}};
	run(2, with);
	if (is_measured()) {
		assert_true(in_all(0) > 0.86 * UNTIL * 5 / 15 * 10000); /* of what it does alone */
		assert_true(in_all(0) + in_all(1) > 0.96 * UNTIL * 10000);
	}
	munmap(board, sizeof *board);
}

/* Kernels of 500 ms cannot be stopped; their neighbour has half of each second all the same. */
static void test_500_ms(void **state)
{
	const struct job with[] = {{.weight_milli = 500, .kernel = "k_500ms"},
	        {.weight_milli = 500, .kernel = "k_1ms"}};
	run(2, with);
	check_seconds(1, 400, 600);
	assert_true(!is_measured() || in_all(0) >= 3);
	munmap(board, sizeof *board);
}

static void test_three(void **state)
{
	const struct job with[] = {
	        {.weight_milli = 200, .kernel = "k_100us"},
	        {.weight_milli = 300, .kernel = "k_100us"},
	        {.weight_milli = 500, .kernel = "k_100us"},
	};
	run(3, with);
	check_parts(3);
}

/* Beside one who is there and does nothing. */
static void test_nothing_is_wasted(void **state)
{
	const struct job with[] = {
	        {.weight_milli = 300, .kernel = "k_100us"}, {.weight_milli = 700}};
	run(2, with);
	check_seconds(0, 9800, 10020);
	munmap(board, sizeof *board);
}

static void hold_cap_after(enum lost_capture how)
{
	const struct job with[] = {
	        {.weight_milli = 300, .cap_milli = 300, .lost_capture = how, .kernel = "k_100us"}};
	run(1, with);
	check_seconds(0, 2850, 3050);
	munmap(board, sizeof *board);
}

static void test_a_cap_holds_alone(void **state)
{
	hold_cap_after(NOT_LOST);
}

/* Who destroys a stream, or its context, while it records, is held from then on. */
static void test_captures_that_never_end(void **state)
{
	hold_cap_after(STREAM_DESTROYED);
	hold_cap_after(CONTEXT_DESTROYED);
}

/* A call that was to end a capture and did not: what is launched meanwhile gets no marks, which would spoil it. */
static void work_capturing(struct fixture *f)
{
	struct fixture own = job_place(f, 0);
	struct cu_graph *graph;
	struct cu_graph_exec *exec;
	struct cu_stream *stream, *other;
	struct cu_module *module;
	struct cu_func *fn;
	struct cu_ctx *ctx;
	shim_load(&own);
	ok(cuInit(0));
	ok(cuCtxCreate_v2(&ctx, 0, 0));
	ok(cuModuleLoadData(&module, "image"));
	ok(cuModuleGetFunction(&fn, module, "k_1ms"));
	ok(cuStreamCreate(&stream, 1));
	ok(cuStreamCreate(&other, 1));
	ok(cuLaunchKernel(fn, 1, 1, 1, 1, 1, 1, 0, other, NULL, NULL));
	ok(cuStreamBeginCapture_v2(stream, 0));
	ok(cuLaunchKernel(fn, 1, 1, 1, 1, 1, 1, 0, stream, NULL, NULL));
	fails(INVALID_VALUE, cuStreamEndCapture(stream, NULL));
	fails(ILLEGAL_STATE, cuStreamEndCapture(other, &graph));
	fails(ILLEGAL_STATE, cuStreamBeginCapture_v2(stream, 0));
	for (int i = 0; i < 100; i++)
		ok(cuLaunchKernel(fn, 1, 1, 1, 1, 1, 1, 0, other, NULL, NULL));
	ok(cuStreamEndCapture(stream, &graph));
	ok(cuGraphInstantiateWithFlags(&exec, graph, 0));
}

/* The descriptor of the page was closed by the program, which then got its number for a file of its own. */
static void work_closed(struct fixture *f)
{
	struct fixture own = job_place(f, 0);
	struct cu_module *module;
	struct cu_func *fn;
	struct cu_ctx *ctx;
	struct stat page, st;
	char name[256];
	int at = 400;
	snprintf(name, sizeof name, "%s/pace-0", own.dir);
	assert_int_equal(stat(name, &page), 0);
	shim_load(&own);
	ok(cuInit(0));
	ok(cuCtxCreate_v2(&ctx, 0, 0));
	ok(cuModuleLoadData(&module, "image"));
	ok(cuModuleGetFunction(&fn, module, "k_10us"));
	ok(cuLaunchKernel(fn, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
	ok(cuCtxSynchronize());
	while (at < 500 &&
	        (fstat(at, &st) < 0 || st.st_ino != page.st_ino || st.st_dev != page.st_dev))
		at++;
	assert_true(at < 500);
	int own_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_int_equal(dup2(own_fd, at), at);
	pid_t pid = fork();
	if (pid == 0)
		_exit(fcntl(at, F_GETFD) >= 0 ? 0 : 1);
	assert_int_equal(fixture_wait(pid), 0);
}

/* The ways to launch something. */
enum {
	KERNEL,
	KERNEL_PTSZ,
	EX,
	EX_PTSZ,
	COOPERATIVE,
	COOPERATIVE_PTSZ,
	DEVICES,
	GRID,
	GRAPH,
	GRAPH_PTSZ,
	WAYS
};

static enum cu_result launch_by(int way, const struct worker *w)
{
	const struct cu_launch_config config = {.grid = {1, 1, 1}, .block = {1, 1, 1}};
	struct cu_launch_params devices = {
	        .func = w->fn, .grid = {1, 1, 1}, .block = {1, 1, 1}, .stream = w->stream};
	switch (way) {
	case KERNEL:
		return cu.cuLaunchKernel(w->fn, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL);
	case KERNEL_PTSZ:
		return cu.cuLaunchKernel_ptsz(w->fn, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL);
	case EX:
		return cu.cuLaunchKernelEx(&config, w->fn, NULL, NULL);
	case EX_PTSZ:
		return cu.cuLaunchKernelEx_ptsz(&config, w->fn, NULL, NULL);
	case COOPERATIVE:
		return cu.cuLaunchCooperativeKernel(w->fn, 1, 1, 1, 1, 1, 1, 0, NULL, NULL);
	case COOPERATIVE_PTSZ:
		return cu.cuLaunchCooperativeKernel_ptsz(w->fn, 1, 1, 1, 1, 1, 1, 0, NULL, NULL);
	case DEVICES:
		return cu.cuLaunchCooperativeKernelMultiDevice(&devices, 1, 0);
	case GRID:
		return cu.cuLaunchGridAsync(w->fn, 1, 1, w->stream);
	case GRAPH:
		return cu.cuGraphLaunch(w->exec, w->stream);
	default:
		return cu.cuGraphLaunch_ptsz(w->exec, NULL);
	}
}

/* HAMi-core's 143 and 278, HAMi's 1445: one of the ways was held, and others were not. Each has half a second at 30 %, and no more. */
static void work_each_way(struct fixture *f)
{
	struct fixture own = job_place(f, 0);
	struct worker w = {0};
	struct cu_module *module;
	struct cu_ctx *ctx;
	shim_load(&own);
	*(void **)&driver.berthFakeClock = dlsym(driver.handle, "berthFakeClock");
	ok(cuInit(0));
	ok(cuCtxCreate_v2(&ctx, 0, 0));
	ok(cuStreamCreate(&w.stream, 1));
	ok(cuModuleLoadData(&module, "image"));
	ok(cuModuleGetFunction(&w.fn, module, "k_100us"));
	w.exec = graph_of(&w);
	for (int way = 0; way < WAYS; way++) {
		uint64_t from = now(), us = way < GRAPH ? 100 : 1000, n = 0;
		for (; now() < from + S / 2; n++)
			assert_int_equal(launch_by(way, &w), CU_SUCCESS);
		ok(cuCtxSynchronize());
		if (is_measured() && (n * us < 100000 || n * us > 165000))
			fail_msg("way %d had %llu launches", way, (unsigned long long)n);
	}
}

/* A part of a test that is one job on its own, with a cap. */
static void run_alone(void (*part)(struct fixture *f), unsigned cap_milli)
{
	struct fixture f;
	memset(jobs, 0, sizeof jobs);
	jobs[0] = (struct job){.weight_milli = 1000, .cap_milli = cap_milli};
	fixture_new(&f, CARDS);
	page_new(&f);
	setenv("BERTH_FAKE_PLAYERS", "1", 1);
	setenv("BERTH_FAKE_SEAT", "0", 1);
	pid_t pid = cuda_fork(part, &f);
	unsetenv("BERTH_FAKE_PLAYERS");
	unsetenv("BERTH_FAKE_SEAT");
	assert_int_equal(fixture_wait(pid), 0);
	fixture_free(&f);
}

static void test_each_way_to_launch(void **state)
{
	board = mmap(
	        NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	run_alone(work_each_way, 300);
	munmap(board, sizeof *board);
}

static void test_its_descriptor_is_closed(void **state)
{
	run_alone(work_closed, 900);
}

static void test_no_marks_while_it_captures(void **state)
{
	run_alone(work_capturing, 900);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_10_us),
	        cmocka_unit_test(test_1_ms),
	        cmocka_unit_test(test_mixed),
	        cmocka_unit_test(test_graphs),
	        cmocka_unit_test(test_a_wait_after_each),
	        cmocka_unit_test(test_captures),
	        cmocka_unit_test(test_bursts),
	        cmocka_unit_test(test_500_ms),
	        cmocka_unit_test(test_three),
	        cmocka_unit_test(test_nothing_is_wasted),
	        cmocka_unit_test(test_a_cap_holds_alone),
	        cmocka_unit_test(test_each_way_to_launch),
	        cmocka_unit_test(test_captures_that_never_end),
	        cmocka_unit_test(test_no_marks_while_it_captures),
	        cmocka_unit_test(test_its_descriptor_is_closed),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests_name("shim/pacing", tests, NULL, NULL);
}
