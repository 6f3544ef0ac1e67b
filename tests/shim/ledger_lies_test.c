/* The ledger of a slice when what stands in its file is not true: an answer, in bounded time, and never a signal. */
#include "ledger_scene.h"

void shim_step(void)
{
}

static void test_lock_of_a_holder_that_is_not(void **state)
{
	(void)state;
	struct ledger *ledger = opened();
	assert_int_equal(ledger_reserve(ledger, 5 * MIB), 0);
	static const uint32_t words[] = {
	        UINT32_MAX, 0x80000000, 1025, 1024, 7, 0x7fffffff, 0x80000001, 1};
	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
		__atomic_store_n(&region.map->ledger.lock, words[i], __ATOMIC_SEQ_CST);
		assert_int_equal(ledger_reserve(ledger, MIB), 0);
		assert_int_equal(region.map->ledger.lock, 0);
	}
	assert_int_equal(region.map->ledger.used_bytes, 13 * MIB);
	shut(ledger);
}

static int hold_for_ever(void *data)
{
	int *pipes = data;
	struct ledger *ledger = opened();
	MUST(ledger_reserve(ledger, MIB) == 0);
	__atomic_store_n(&region.map->ledger.lock, (uint32_t)ledger->slot + 1, __ATOMIC_SEQ_CST);
	MUST(write(pipes[1], "x", 1) == 1);
	pause();
	return 0;
}

/* A living holder that never lets go: an error, after a bounded wait. */
static void test_lock_that_is_never_given_back(void **state)
{
	(void)state;
	int pipes[2];
	char byte;
	assert_int_equal(pipe(pipes), 0);
	struct ledger *ledger = opened();
	assert_int_equal(ledger_reserve(ledger, 2 * MIB), 0);
	pid_t pid = begin_child(hold_for_ever, pipes);
	assert_int_equal(read(pipes[0], &byte, 1), 1);
	assert_int_equal(ledger_reserve(ledger, MIB), LEDGER_BROKEN);
	/* Our own books go on, and reach the file when that is free again. */
	kill(pid, SIGKILL);
	end_child(pid);
	assert_int_equal(ledger_settle(ledger, 2 * MIB, SLICE_MEMORY, MIB), 0);
	assert_int_equal(ledger_left(ledger), 62 * MIB); /* 63 MiB, in granules */
	assert_int_equal(region.map->ledger.used_bytes, MIB);
	close(pipes[0]);
	close(pipes[1]);
	shut(ledger);
}

static void test_nonsense_in_sums_and_slots(void **state)
{
	(void)state;
	struct ledger *ledger = opened();
	assert_int_equal(ledger_reserve(ledger, 5 * MIB), 0);
	region.map->ledger.top = UINT32_MAX;
	region.map->ledger.used_bytes = UINT64_MAX;
	for (int i = 0; i < SLICE_SLOTS; i++) {
		struct slice_slot *slot = &region.map->slots[i];
		memset(slot, 0xff, sizeof *slot);
	}
	/* The dead have nothing, whatever they say; and we have what we know. */
	assert_int_equal(ledger_left(ledger), 58 * MIB);
	assert_int_equal(ledger_reserve(ledger, 59 * MIB), 0);
	assert_int_equal(region.map->ledger.used_bytes, 64 * MIB);
	region.map->ledger.used_bytes = 0;
	assert_int_equal(ledger_settle(ledger, 64 * MIB, SLICE_MEMORY, 3 * MIB), 0);
	assert_int_equal(ledger_left(ledger), 60 * MIB);
	shut(ledger);
}

static void test_file_cut_short(void **state)
{
	(void)state;
	struct ledger *ledger = opened();
	assert_int_equal(ledger_reserve(ledger, 5 * MIB), 0);
	for (off_t size = sizeof(struct slice) - 1; size >= 0;
	        size = size > 4096 ? size / 2 : size - 1024) {
		assert_int_equal(truncate(region.path, size), 0);
		assert_int_equal(ledger_reserve(ledger, MIB), LEDGER_BROKEN);
		assert_int_equal(ledger_left(ledger), 0);
		assert_int_equal(ledger_return(ledger, SLICE_MEMORY, 0), LEDGER_BROKEN);
		struct ledger fresh = {0};
		assert_int_equal(ledger_open(&fresh, region.path, NULL), LEDGER_BROKEN);
		if (size == 0)
			break;
	}
	assert_int_equal(truncate(region.path, sizeof(struct slice)), 0);
	assert_int_equal(ledger_left(ledger), 58 * MIB);
	unlink(region.path);
	struct ledger fresh = {0};
	assert_int_equal(ledger_open(&fresh, region.path, NULL), LEDGER_ABSENT);
	/* The process that has it goes on as long as its descriptor does. */
	assert_int_equal(ledger_reserve(ledger, MIB), 0);
	close(ledger->fd);
	assert_int_equal(ledger_reserve(ledger, MIB), LEDGER_BROKEN);
	ledger->fd = -1;
	shut(ledger);
}

static void test_grants_that_are_none(void **state)
{
	(void)state;
	struct slice_grant good = region.map->grant;
	struct ledger ledger = {0};
	struct slice_grant bad[9];
	for (size_t i = 0; i < 9; i++)
		bad[i] = good;
	bad[0].magic++;
	bad[1].abi++;
	bad[2].n_slots = 0;
	bad[3].n_slots = UINT32_MAX;
	bad[4].granule_bytes = 0;
	bad[5].granule_bytes = 3 * MIB;
	bad[6].limit_bytes = UINT64_MAX;
	bad[7].context_bytes = UINT64_MAX;
	memset(bad[8].uuid, 'x', sizeof bad[8].uuid);
	for (size_t i = 0; i < 9; i++) {
		region.map->grant = bad[i];
		assert_int_equal(ledger_open(&ledger, region.path, NULL), LEDGER_BROKEN);
		assert_null(ledger.map);
	}
	region.map->grant = good;
	assert_int_equal(ledger_open(&ledger, region.path, NULL), 0);
	/* What is written over it later is not looked at. */
	region.map->grant = bad[6];
	assert_int_equal(ledger_left(&ledger), 64 * MIB);
	shut(&ledger);
	region.map->grant = good;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        T(test_lock_of_a_holder_that_is_not),
	        T(test_lock_that_is_never_given_back),
	        T(test_nonsense_in_sums_and_slots),
	        T(test_file_cut_short),
	        T(test_grants_that_are_none),
	};
	return cmocka_run_group_tests_name("shim/ledger_lies", tests, NULL, NULL);
}
