#include "fixture.h"

#include "sim.h"

#include <sys/file.h>
#include <signal.h>

#define TWO_CARDS "seed s\ndevice\nmemory 8GiB\ndevice\nmemory 4GiB\n"
#define MIB       (UINT64_C(1) << 20)

struct box {
	struct fixture f;
	struct sim sim;
	struct sim_state st;
};

static int setup(void **state)
{
	struct box *b = calloc(1, sizeof(*b));
	char error[SIM_ERROR_SIZE] = "";

	assert_non_null(b);
	fixture_new(&b->f, TWO_CARDS);
	if (!sim_open(&b->sim, b->f.path, error))
		fail_msg("%s", error);
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct box *b = *state;

	sim_close(&b->sim);
	fixture_free(&b->f);
	free(b);
	return 0;
}

static void look(struct box *b)
{
	assert_int_equal(sim_begin(&b->sim, &b->st), 0);
	assert_int_equal(sim_end(&b->sim, NULL), 0);
	sim_drop_dead(&b->sim, &b->st);
}

static void test_use(void **state)
{
	struct box *b = *state;
	struct sim_state *st = &b->st;

	look(b);
	assert_true(sim_use(st, 100, 0, 5 * MIB, 0, SIM_COMPUTE));
	assert_true(sim_use(st, 101, 0, 6 * MIB, 0, SIM_COMPUTE));
	assert_true(sim_use(st, 100, 1, 7 * MIB, 0, SIM_COMPUTE));
	assert_true(sim_used(st, 0) == 11 * MIB);
	assert_true(sim_used(st, 1) == 7 * MIB);
	assert_true(sim_use(st, 100, 0, MIB, 0, SIM_COMPUTE));
	assert_true(sim_used(st, 0) == 7 * MIB);
	assert_true(sim_use(st, 101, 0, 0, 0, SIM_COMPUTE));
	assert_true(sim_use(st, 102, 0, SIM_BYTES_UNKNOWN, 0, SIM_COMPUTE));
	assert_true(sim_used(st, 0) == MIB);
	for (int i = 0; i < SIM_PROCESSES_MAX - 3; i++)
		assert_true(sim_use(st, 1000 + i, 1, MIB, 0, SIM_COMPUTE));
	assert_false(sim_use(st, 9999, 1, MIB, 0, SIM_COMPUTE));
	assert_true(sim_use(st, 9999, 1, 0, 0, SIM_COMPUTE));
}

/* What other processes change is seen here, and lasts. */
static void test_shared(void **state)
{
	struct box *b = *state;
	struct holder h;

	fixture_do(&b->f, "lose 1");
	fixture_do(&b->f, "ecc 0 3");
	fixture_do(&b->f, "outside 0 77 1GiB");
	h = fixture_hold(&b->f, "0", "512MiB");
	look(b);
	assert_int_equal(b->st.cards[1].lost, 1);
	assert_int_equal(b->st.cards[0].ecc_uncorrected, 3);
	assert_true(sim_used(&b->st, 0) == 1536 * MIB);
	fixture_let_go(&h);
	look(b);
	assert_true(sim_used(&b->st, 0) == 1024 * MIB);
	fixture_do(&b->f, "free 77 0");
	fixture_do(&b->f, "restore 1");
	look(b);
	assert_true(sim_used(&b->st, 0) == 0);
	assert_int_equal(b->st.cards[1].lost, 0);
}

/* A card gives no more than it has, nor anything when it is lost. */
static void test_full(void **state)
{
	struct box *b = *state;
	struct holder h = fixture_hold(&b->f, "1", "4GiB");

	assert_int_equal(fixture_run(&b->f, "use 1 1 -- true"), 1);
	assert_int_equal(fixture_run(&b->f, "use 0 8GiB -- true"), 0);
	assert_int_equal(fixture_run(&b->f, "use 0 8589934593 -- true"), 1);
	fixture_let_go(&h);
	assert_int_equal(fixture_run(&b->f, "use 1 4GiB -- true"), 0);
	fixture_do(&b->f, "lose 1");
	assert_int_equal(fixture_run(&b->f, "use 1 1 -- true"), 1);
}

static void test_tool_refusals(void **state)
{
	struct box *b = *state;
	static const struct {
		const char *line;
		int code;
	} cases[] = {
	        {"", 2},
	        {"fly", 2},
	        {"lose", 2},
	        {"lose 2", 1},
	        {"lose GPU-nobody", 1},
	        {"xid 0 many", 1},
	        {"use 0 1GiB true", 2},
	        {"use 0 lots -- true", 1},
	        {"use 0 1GiB -- /no/such/program", 127},
	        {"use 0 1GiB -- sh -c exit\t3", 3},
	        {"alloc 2147483647 0 1GiB", 1},
	        {"fail nvmlNothing 1 UNKNOWN", 1},
	        {"recovery 0 hope", 1},
	        {"rows 0 some", 1},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int code = fixture_run(&b->f, cases[i].line);

		if (code != cases[i].code)
			fail_msg("'%s' ends with %d, not %d", cases[i].line, code, cases[i].code);
	}
	look(b);
	assert_true(sim_used(&b->st, 0) == 0);
}

/* A process that took the pid of one that ended has not its memory. */
static void test_reused_pid(void **state)
{
	struct box *b = *state;
	uint64_t started = sim_started(getpid());

	look(b);
	assert_true(started > 0);
	assert_true(sim_use(&b->st, getpid(), 0, MIB, started, SIM_COMPUTE));
	sim_drop_dead(&b->sim, &b->st);
	assert_true(sim_used(&b->st, 0) == MIB);
	assert_true(sim_use(&b->st, getpid(), 0, MIB, started - 1, SIM_COMPUTE));
	sim_drop_dead(&b->sim, &b->st);
	assert_true(sim_used(&b->st, 0) == 0);
}

enum { CHILDREN = 4, ROUNDS = 200 };

/* Many processes change the state at once: no change is lost. */
static void test_race(void **state)
{
	struct box *b = *state;
	pid_t pids[CHILDREN];
	char error[SIM_ERROR_SIZE];

	for (int i = 0; i < CHILDREN; i++) {
		pids[i] = fork();
		assert_true(pids[i] >= 0);
		if (pids[i])
			continue;
		if (!sim_open(&b->sim, b->f.path, error))
			_exit(1);
		for (int k = 0; k < ROUNDS; k++) {
			if (sim_begin(&b->sim, &b->st))
				_exit(2);
			sim_ecc(&b->st, 0, 0, 1);
			if (sim_end(&b->sim, &b->st))
				_exit(3);
		}
		_exit(0);
	}
	for (int i = 0; i < CHILDREN; i++)
		assert_int_equal(fixture_wait(pids[i]), 0);
	look(b);
	assert_int_equal(b->st.cards[0].ecc_uncorrected, CHILDREN * ROUNDS);
	assert_int_equal(b->st.event_seq, CHILDREN * ROUNDS);
}

/* Who dies while holding the lock holds nobody up. */
static void test_holder_killed(void **state)
{
	struct box *b = *state;
	char error[SIM_ERROR_SIZE], byte;
	int ready[2];
	pid_t pid;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (!sim_open(&b->sim, b->f.path, error) || sim_begin(&b->sim, &b->st) ||
		        write(ready[1], "x", 1) != 1)
			_exit(1);
		pause();
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	assert_int_equal(sim_begin(&b->sim, &b->st), ETIMEDOUT);
	kill(pid, SIGKILL);
	fixture_wait(pid);
	look(b);
	close(ready[0]);
	close(ready[1]);
}

/* Whatever is done to the file: an odd file is said, and never more than that. */
static void test_spoilt(void **state)
{
	struct box *b = *state;
	struct sim again;
	char path[200], error[SIM_ERROR_SIZE];
	int fd;

	snprintf(path, sizeof(path), "%s.state", b->f.path);
	fixture_do(&b->f, "lose 0");
	assert_int_equal(truncate(path, 100), 0);
	assert_int_equal(sim_begin(&b->sim, &b->st), ESTALE);
	/* who opens it makes it new */
	assert_true(sim_open(&again, b->f.path, error));
	sim_close(&again);
	look(b);
	assert_int_equal(b->st.cards[0].lost, 0);

	/* odd numbers in it lead nowhere */
	b->st.processes[0] = (struct sim_process){.pid = 5, .card = 4000000000u, .bytes = 1};
	b->st.processes[1] = (struct sim_process){.pid = 6, .card = 0, .bytes = UINT64_MAX - 1};
	b->st.processes[2] = (struct sim_process){.pid = 7, .card = 0, .bytes = UINT64_MAX - 1};
	memset(b->st.rules, 'x', sizeof(b->st.rules));
	b->st.events_early = UINT64_MAX;
	fd = open(path, O_WRONLY);
	assert_int_equal(pwrite(fd, &b->st, sizeof(b->st), 0), sizeof(b->st));
	close(fd);
	look(b);
	assert_int_equal(b->st.processes[0].pid, 0);
	assert_true(sim_used(&b->st, 0) == UINT64_MAX);
	assert_int_equal(b->st.events_early, 0);
	assert_int_equal(fixture_run(&b->f, "show"), 0);
}

/* Another description begins from its own beginning; who has the old one is told. */
static void test_replaced(void **state)
{
	struct box *b = *state;

	fixture_do(&b->f, "lose 0");
	fixture_describe(&b->f, TWO_CARDS "uncorrected 9\n");
	fixture_do(&b->f, "show");
	assert_int_equal(sim_begin(&b->sim, &b->st), ESTALE);
	sim_close(&b->sim);
	assert_true(sim_open(&b->sim, b->f.path, (char[SIM_ERROR_SIZE]){0}));
	look(b);
	assert_int_equal(b->st.cards[0].lost, 0);
	assert_int_equal(b->st.cards[1].ecc_uncorrected, 9);
}

/* The same description again leaves everything as it is. */
static void test_kept(void **state)
{
	struct box *b = *state;

	fixture_do(&b->f, "lose 0");
	fixture_describe(&b->f, TWO_CARDS);
	fixture_do(&b->f, "show");
	look(b);
	assert_int_equal(b->st.cards[0].lost, 1);
}

static void test_everybody_may(void **state)
{
	struct box *b = *state;
	struct stat st;
	char path[200];

	snprintf(path, sizeof(path), "%s.state", b->f.path);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0666);
}

static void test_not_a_state(void **state)
{
	struct box *b = *state;
	struct sim again;
	char path[200], error[SIM_ERROR_SIZE] = "";

	snprintf(path, sizeof(path), "%s.state", b->f.path);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink("/dev/null", path), 0);
	assert_false(sim_open(&again, b->f.path, error));
	assert_true(*error);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_false(sim_open(&again, b->f.path, error));
	assert_non_null(strstr(error, "not a regular file"));
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(test_use),
	        TEST(test_shared),
	        TEST(test_full),
	        TEST(test_tool_refusals),
	        TEST(test_reused_pid),
	        TEST(test_race),
	        TEST(test_holder_killed),
	        TEST(test_spoilt),
	        TEST(test_replaced),
	        TEST(test_kept),
	        TEST(test_everybody_may),
	        TEST(test_not_a_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
