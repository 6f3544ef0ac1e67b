#include "box.h"

#include <stdlib.h>
#include <string.h>

static void test_states(void **state)
{
	static const enum job_state holding[] = {JOB_STARTING, JOB_RUNNING, JOB_COMPLETING};

	(void)state;
	for (int s = 0; s < JOB_STATE_MAX; s++) {
		bool holds = false;
		for (size_t i = 0; i < ARRAY_LEN(holding); i++)
			holds = holds || (int)holding[i] == s;
		assert_int_equal(job_state_holds((enum job_state)s), holds);
		assert_int_equal(job_state_is_final((enum job_state)s), s >= JOB_COMPLETED);
		assert_int_equal(
		        strtab_find(job_state_names, strtab_name(job_state_names, (unsigned)s)), s);
	}
	assert_string_equal(strtab_name(job_state_names, JOB_OUT_OF_MEMORY), "OUT_OF_MEMORY");
}

static void test_reasons(void **state)
{
	(void)state;
	for (int r = 0; r < REASON_MAX; r++)
		assert_int_equal(reason_find(reason_code((enum reason)r)), r);
	assert_string_equal(reason_code(REASON_NO_ROOM), "no_room");
	assert_int_equal(reason_find("no_such_reason"), -1);
	assert_string_equal(reason_code(REASON_MAX), "?");
	assert_string_equal(reason_text(REASON_MAX), "?");
	assert_string_equal(reason_text(REASON_NO_ROOM), "no room now");
}

static void test_name(void **state)
{
	static char *argv[] = {"/usr/bin/python3", NULL}, *plain[] = {"python3", NULL},
	            *odd[] = {"dir/", NULL};
	struct request r = box_request();
	struct job j = {.req = &r};

	(void)state;
	r.argv = argv;
	assert_string_equal(job_name(&j), "python3");
	r.argv = plain;
	assert_string_equal(job_name(&j), "python3");
	r.argv = odd;
	assert_string_equal(job_name(&j), "dir/");
	r.name = "train";
	assert_string_equal(job_name(&j), "train");
}

static int32_t code_of(enum job_state s, bool has, int32_t code)
{
	struct job j = {.state = s, .has_code = has, .exit_code = code};

	return job_result_code(&j);
}

static void test_result_codes(void **state)
{
	(void)state;
	assert_int_equal(code_of(JOB_COMPLETED, true, 0), 0);
	assert_int_equal(code_of(JOB_FAILED, true, 3), 3);
	assert_int_equal(code_of(JOB_FAILED, true, 128 + 9), 137);
	assert_int_equal(code_of(JOB_FAILED, false, 0), 125);
	assert_int_equal(code_of(JOB_FAILED, true, 0), 125); /* what failed is never a success */
	assert_int_equal(code_of(JOB_CANCELLED, false, 0), 143);
	assert_int_equal(code_of(JOB_CANCELLED, true, 0), 143);
	assert_int_equal(code_of(JOB_TIMEOUT, true, 15), 124);
	assert_int_equal(code_of(JOB_OUT_OF_MEMORY, true, 137), 137);
	assert_int_equal(code_of(JOB_NODE_FAIL, false, 0), 125);
}

static void test_result_code_of_an_array(void **state)
{
	struct array a = {.worst_code = 7};
	struct job j = {.is_array = true, .array = &a, .state = JOB_FAILED};

	(void)state;
	assert_int_equal(job_result_code(&j), 7);
	j.state = JOB_COMPLETED;
	assert_int_equal(job_result_code(&j), 0);
	j.state = JOB_FAILED;
	a.worst_code = 0;
	assert_int_equal(job_result_code(&j), 1);
}

static void test_positions(void **state)
{
	uint64_t skip[] = {3, 4, 7};
	struct array a = {.n = 10, .next_pos = 2, .skip = skip, .n_skip = 3, .cut = 10};

	(void)state;
	assert_int_equal(array_next(&a, 0), 2);
	assert_int_equal(array_next(&a, 3), 5);
	assert_int_equal(array_next(&a, 4), 5);
	assert_int_equal(array_next(&a, 7), 8);
	assert_int_equal(array_next(&a, 9), 9);
	assert_int_equal(array_next(&a, 10), 10);
	assert_int_equal(array_next(&a, 99), 10);
	assert_int_equal(array_unstarted(&a), 5);
	assert_int_equal(array_cut(&a), 0);
	for (uint64_t pos = 0; pos < 12; pos++) {
		bool apart = pos < 2 || pos == 3 || pos == 4 || pos == 7;
		assert_int_equal(array_is_apart(&a, pos), apart);
		assert_int_equal(array_is_unstarted(&a, pos), !apart && pos < 10);
	}
	a.cut = 2;
	assert_int_equal(array_next(&a, 0), 10);
	assert_int_equal(array_unstarted(&a), 0);
	assert_int_equal(array_cut(&a), 5);
	assert_false(array_is_unstarted(&a, 2));
	assert_false(array_is_unstarted(&a, UINT64_MAX));
	assert_false(array_is_apart(&a, UINT64_MAX));
}

static void test_places(void **state)
{
	struct request r = {.throttle = 5};
	struct array a = {.n = 10, .cut = 10, .n_ready = 1};
	struct job j = {.req = &r, .array = &a, .is_array = true};

	(void)state;
	a.by_state[JOB_STARTING] = a.by_state[JOB_RUNNING] = a.by_state[JOB_COMPLETING] = 1;
	a.by_state[JOB_COMPLETED] = 2;
	assert_int_equal(array_running(&a), 3);
	assert_int_equal(array_places(&j), 1);
	a.n_ready = 2;
	assert_int_equal(array_places(&j), 0);
	a.n_ready = 3;
	assert_int_equal(array_places(&j), 0);
	r.throttle = 0;
	assert_true(array_places(&j) == UINT64_MAX);
}

static void test_current_attempt(void **state)
{
	struct attempt v[2] = {{.n = 1}, {.n = 2}};
	struct job j = {.attempts = v, .n_attempts = 2, .state = JOB_RUNNING};

	(void)state;
	assert_ptr_equal(job_attempt(&j), &v[1]);
	j.state = JOB_PENDING;
	assert_null(job_attempt(&j));
	j.state = JOB_FAILED;
	assert_null(job_attempt(&j));
	j.state = JOB_COMPLETING;
	assert_ptr_equal(job_attempt(&j), &v[1]);
	j.n_attempts = 0;
	assert_null(job_attempt(&j));
	j.n_attempts = 2;
	j.is_array = true;
	assert_null(job_attempt(&j));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_states),
	        cmocka_unit_test(test_reasons),
	        cmocka_unit_test(test_name),
	        cmocka_unit_test(test_result_codes),
	        cmocka_unit_test(test_result_code_of_an_array),
	        cmocka_unit_test(test_positions),
	        cmocka_unit_test(test_places),
	        cmocka_unit_test(test_current_attempt),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
