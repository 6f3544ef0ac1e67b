/*
 * A unit test over a few fixed seeds; with arguments, a campaign:
 *   apply_sequence_test FIRST_SEED COUNT [STEPS]
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "sequence.h"

#define UNIT_SEEDS 10
#define UNIT_STEPS 800

static int run(uint64_t seed, uint32_t steps, struct sequence_stats *stats)
{
	struct err err = {0};
	uint32_t step = 0;
	int rc = sequence_run(seed, steps, stats, &step, &err);

	if (rc)
		fprintf(stderr, "seed %llu, step %u of %u: %s\n", (unsigned long long)seed, step,
		        steps, err.text);
	return rc;
}

static void test_fixed_seeds(void **state)
{
	struct sequence_stats stats = {0};

	for (uint64_t seed = 1; seed <= UNIT_SEEDS; seed++)
		assert_int_equal(run(seed, UNIT_STEPS, &stats), 0);
	/* A life in which nothing happens would pass too. */
	assert_true(stats.starts > 1000);
	assert_true(stats.finals > 1000);
	assert_true(stats.refused > 500);
	assert_true(stats.restarts > 5);
}

static int campaign(uint64_t first, uint64_t count, uint32_t steps)
{
	struct sequence_stats stats = {0};
	uint64_t faults = 0;

	for (uint64_t seed = first; seed < first + count; seed++)
		faults += run(seed, steps, &stats) != 0;
	printf("%llu seeds, %llu events (%llu refused), %llu jobs, %llu tasks, %llu starts, %llu ends, %llu restarts: %llu faults\n",
	        (unsigned long long)count, (unsigned long long)stats.events,
	        (unsigned long long)stats.refused, (unsigned long long)stats.jobs,
	        (unsigned long long)stats.tasks, (unsigned long long)stats.starts,
	        (unsigned long long)stats.finals, (unsigned long long)stats.restarts,
	        (unsigned long long)faults);
	return faults ? 1 : 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_fixed_seeds)};

	if (argc > 2)
		return campaign(strtoull(argv[1], NULL, 10), strtoull(argv[2], NULL, 10),
		        argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : UNIT_STEPS);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
