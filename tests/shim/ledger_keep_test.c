/* What a process keeps in a ledger while its program closes what it finds, and what calls on their way keep from others. */
#include "ledger_scene.h"

#include <time.h>

void shim_step(void)
{
}

/* -- descriptors -- */

static int takes_20(void *data)
{
	(void)data;
	struct ledger *ledger = opened();
	return ledger_reserve(ledger, 20 * MIB);
}

/* What a program has is its own also while its descriptor is closed, and it asks for nothing. */
static void test_closed_descriptor_keeps_the_slot(void **state)
{
	(void)state;
	struct ledger *ledger = opened();
	assert_int_equal(ledger_reserve(ledger, 50 * MIB), 0);
	close(ledger->fd);
	assert_int_equal(run_child(takes_20, NULL), LEDGER_FULL & 0xff);
	assert_int_equal(region.map->ledger.used_bytes, 50 * MIB);
	assert_int_equal(region.map->ledger.n_recovered, 0);
	/* It finds its slot again, and the neighbours' ends. */
	assert_int_equal(ledger_reserve(ledger, 14 * MIB), 0);
	assert_int_equal(ledger->slot, 0);
	assert_int_equal(region.map->ledger.used_bytes, 64 * MIB);
	shut(ledger);
}

static int closes_all_and_ends(void *data)
{
	struct ledger *ledger = opened();
	MUST(ledger_reserve(ledger, 50 * MIB) == 0);
	close(ledger->fd);
	/* Its child goes on, and has nothing of it. */
	pid_t pid = fork();
	if (pid == 0) {
		const int *pipes = data;
		char byte;
		close(pipes[1]);
		_exit(read(pipes[0], &byte, 1) == 0 ? 0 : 1);
	}
	return pid < 0;
}

static void test_kept_slot_ends_with_its_process(void **state)
{
	(void)state;
	int pipes[2];
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	assert_int_equal(run_child(closes_all_and_ends, pipes), 0);
	struct ledger *ledger = opened();
	assert_int_equal(ledger_reserve(ledger, 64 * MIB), 0);
	close(pipes[0]);
	close(pipes[1]);
	shut(ledger);
}

/* -- what is reserved for a call is handed back, as far as nothing came of it -- */
struct on_its_way {
	int asked[2], answered[2];
	uint64_t kept_bytes;
};

static int on_its_way(void *data)
{
	const struct on_its_way *w = data;
	struct ledger *ledger = opened();
	char byte = 0;
	MUST(ledger_reserve(ledger, 40 * MIB) == 0);
	MUST(write(w->answered[1], &byte, 1) == 1);
	MUST(read(w->asked[0], &byte, 1) == 1);
	usleep(20000); /* the other one is asking by now */
	MUST(ledger_settle(ledger, 40 * MIB, SLICE_MEMORY, w->kept_bytes) == 0);
	MUST(read(w->asked[0], &byte, 1) == 1);
	return 0;
}

static int ask_beside(uint64_t kept_bytes, uint64_t bytes)
{
	struct on_its_way w = {.kept_bytes = kept_bytes};
	char byte = 0;
	assert_int_equal(pipe(w.asked) + pipe(w.answered), 0);
	pid_t pid = begin_child(on_its_way, &w);
	assert_int_equal(read(w.answered[0], &byte, 1), 1);
	struct ledger *ledger = opened();
	assert_int_equal(ledger_reserve(ledger, bytes), LEDGER_FULL);
	assert_int_equal(write(w.asked[1], &byte, 1), 1);
	int rc = ledger_reserve_after_others(ledger, bytes);
	assert_int_equal(write(w.asked[1], &byte, 1), 1);
	assert_int_equal(end_child(pid), 0);
	for (int i = 0; i < 2; i++) {
		close(w.asked[i]);
		close(w.answered[i]);
	}
	shut(ledger);
	return rc;
}

static void test_waits_for_what_may_come_free(void **state)
{
	(void)state;
	assert_int_equal(ask_beside(10 * MIB, 54 * MIB), 0);
	assert_int_equal(ask_beside(10 * MIB, 54 * MIB + 1), LEDGER_FULL);
}

/* What cannot come free is refused at once, and counted once. */
static void test_does_not_wait_in_vain(void **state)
{
	(void)state;
	struct ledger *ledger = opened();
	assert_int_equal(ledger_reserve(ledger, 20 * MIB), 0);
	assert_int_equal(ledger_settle(ledger, 20 * MIB, SLICE_MEMORY, 20 * MIB), 0);
	assert_int_equal(ledger_reserve(ledger, 10 * MIB), 0);
	struct timespec before, after;
	clock_gettime(CLOCK_MONOTONIC, &before);
	for (int i = 0; i < 100; i++)
		assert_int_equal(ledger_reserve_after_others(ledger, 44 * MIB + 1), LEDGER_FULL);
	clock_gettime(CLOCK_MONOTONIC, &after);
	assert_true(after.tv_sec - before.tv_sec < 10); /* a wait for each were 200 */
	assert_int_equal(region.map->ledger.n_refused, 100);
	shut(ledger);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        T(test_closed_descriptor_keeps_the_slot),
	        T(test_kept_slot_ends_with_its_process),
	        T(test_waits_for_what_may_come_free),
	        T(test_does_not_wait_in_vain),
	};
	return cmocka_run_group_tests_name("shim/ledger_keep", tests, NULL, NULL);
}
