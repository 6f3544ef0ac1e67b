/* What holds a fraction of a device: by the device, the machine, and the administrator's wish. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "gpu/mechanism.h"

static void test_choice(void **state)
{
	static const struct {
		bool mig, is_instance;
		enum mechanism_wish wish;
		struct mechanism_parts parts;
		enum held_by by;
		const char *why;
	} rows[] = {
	        {false, false, MECHANISM_AUTO, {true, true}, HELD_BY_INTERPOSER, ""},
	        {false, false, MECHANISM_INTERPOSER, {true, true}, HELD_BY_INTERPOSER, ""},
	        {false, false, MECHANISM_NONE, {true, true}, HELD_BY_NONE, "gpu.mechanism"},
	        {false, false, MECHANISM_AUTO, {false, true}, HELD_BY_NONE, "not installed"},
	        {false, false, MECHANISM_INTERPOSER, {true, false}, HELD_BY_NONE,
	                "no libcuda.so.1"},
	        {true, false, MECHANISM_AUTO, {true, true}, HELD_BY_NONE, "MIG"},
	        {true, false, MECHANISM_INTERPOSER, {true, true}, HELD_BY_NONE, "MIG"},
	        {false, true, MECHANISM_AUTO, {true, true}, HELD_BY_MIG, ""},
	        {false, true, MECHANISM_INTERPOSER, {false, false}, HELD_BY_MIG, ""},
	        {false, true, MECHANISM_NONE, {true, true}, HELD_BY_MIG, ""},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct device_info d = {
		        .mig = rows[i].mig, .card_milli = rows[i].is_instance ? 125 : 0};
		const char *why = NULL;

		assert_int_equal(
		        mechanism_choose(&d, rows[i].wish, &rows[i].parts, &why), rows[i].by);
		assert_non_null(strstr(why, rows[i].why));
		assert_int_equal(!*why, rows[i].by != HELD_BY_NONE);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_choice)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
