/*
 * kill -9 at any moment: what was acknowledged is there, and nothing that was half done.
 */
#include "store_scene.h"

#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define KEYS   40
#define ROUNDS 12

/* Shared with the child. */
struct board {
	_Atomic uint64_t acknowledged;
};

/* Batch n writes key n % KEYS, ends or removes the next one, and says so in the journal. */
static void batch_of(uint64_t n, struct store_row rows[2], struct store_event *event)
{
	rows[0] = row_of(ROW_JOB, n % KEYS, 0, 0, (int)n);
	rows[1] = row_of(ROW_JOB, (n + 1) % KEYS, 0, (int64_t)n, n % 3 ? (int)n : -1);
	*event =
	        (struct store_event){.time_ms = (int64_t)n, .key = n % KEYS, .data = "x", .len = 1};
}

static void child_main(struct scene *sc, struct board *board)
{
	scene_open(sc);
	for (uint64_t n = sc->seq + 1;; n++) {
		struct store_row rows[2];
		struct store_event event;

		batch_of(n, rows, &event);
		if (store_commit(sc->s, sc->epoch, n, &event, 1, rows, 2, &sc->err) < 0)
			_exit(1);
		atomic_store(&board->acknowledged, n);
	}
}

/* What the rows must be after batches 1 to last, as list() prints them. */
static void model(uint64_t last, char *out, size_t size)
{
	struct {
		int version; /* -1: none */
		int64_t ended_ms;
	} rows[KEYS];
	size_t len = 0;

	for (int i = 0; i < KEYS; i++)
		rows[i].version = -1;
	for (uint64_t n = 1; n <= last; n++) {
		rows[n % KEYS].version = (int)n;
		rows[n % KEYS].ended_ms = 0;
		rows[(n + 1) % KEYS].version = n % 3 ? (int)n : -1;
		rows[(n + 1) % KEYS].ended_ms = (int64_t)n;
	}
	out[0] = '\0';
	for (int i = 0; i < KEYS; i++)
		if (rows[i].version >= 0)
			len += (size_t)snprintf(out + len, size - len, "%d.0@%lld=%d ", i,
			        (long long)rows[i].ended_ms, rows[i].version);
}

static int count_event(void *data, uint64_t seq, const struct store_event *event, struct err *err)
{
	uint64_t *next = data;

	assert_int_equal(seq, (*next)++);
	assert_int_equal(event->time_ms, seq);
	return 0;
}

static void check(struct scene *sc, uint64_t acknowledged)
{
	char want[KEYS * 80];
	uint64_t next = 1;

	scene_open(sc);
	assert_true(sc->seq == acknowledged || sc->seq == acknowledged + 1);
	model(sc->seq, want, sizeof(want));
	assert_string_equal(list(sc, ROW_JOB, STORE_ALL), want);
	assert_int_equal(store_each_event(sc->s, 0, SIZE_MAX, count_event, &next, &sc->err), 0);
	assert_int_equal(next, sc->seq + 1);
	scene_close(sc);
}

void case_kill_while_writing(void **state)
{
	struct scene *sc = *state;
	struct board *board = mmap(
	        NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned seed = (unsigned)time(NULL);

	print_message("# seed %u\n", seed);
	scene_close(sc);
	for (int round = 0; round < ROUNDS; round++) {
		uint64_t until =
		        atomic_load(&board->acknowledged) + 1 + (uint64_t)rand_r(&seed) % 300;
		pid_t pid = fork();
		int status;

		assert_true(pid >= 0);
		if (pid == 0)
			child_main(sc, board);
		while (atomic_load(&board->acknowledged) < until) {
			assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
			sched_yield();
		}
		for (int spin = rand_r(&seed) % 20000; spin > 0; spin--)
			atomic_load(&board->acknowledged);
		assert_int_equal(kill(pid, SIGKILL), 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
		check(sc, atomic_load(&board->acknowledged));
	}
	munmap(board, sizeof(*board));
}

void case_kill_names_the_holder(void **state)
{
	struct scene *sc = *state;
	int fds[2], status;
	char byte, want[32];
	struct store *s;
	uint64_t epoch;
	pid_t pid;

	scene_close(sc);
	assert_int_equal(pipe(fds), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		scene_open(sc);
		if (write(fds[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	assert_int_equal(read(fds[0], &byte, 1), 1);
	assert_int_equal(store_open(sc->url, &s, &sc->err), 0);
	assert_int_equal(store_lead(s, &epoch, &sc->err), -ERR_CONFLICT);
	snprintf(want, sizeof(want), "process %d", (int)pid);
	assert_non_null(strstr(sc->err.text, want));
	assert_non_null(strstr(sc->err.hint, "one server"));
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(store_lead(s, &epoch, &sc->err), 0);
	assert_int_equal(epoch, sc->epoch + 2);
	store_close(s);
	close(fds[0]);
	close(fds[1]);
}
