/* What holds a fraction of a device: by the device, the machine, and the administrator's wish. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "gpu/mechanism.h"

#define NO_MPS    "no MPS here"
#define NO_KERNEL "no dmem here"

static void test_choice(void **state)
{
	static const struct {
		bool mig, is_instance;
		enum mechanism_wish wish;
		struct mechanism_parts parts;
		enum held_by by;
		const char *why;
	} rows[] = {
	        {false, false, MECHANISM_AUTO, {true, true, NO_MPS, NO_KERNEL}, HELD_BY_INTERPOSER,
	                ""},
	        {false, false, MECHANISM_INTERPOSER, {true, true, NULL, NULL}, HELD_BY_INTERPOSER,
	                ""},
	        {false, false, MECHANISM_NONE, {true, true, NULL, NULL}, HELD_BY_NONE,
	                "gpu.mechanism"},
	        {false, false, MECHANISM_AUTO, {false, true, NULL, NULL}, HELD_BY_NONE,
	                "not installed"},
	        {false, false, MECHANISM_INTERPOSER, {true, false, NULL, NULL}, HELD_BY_NONE,
	                "no libcuda.so.1"},
	        {true, false, MECHANISM_AUTO, {true, true, NULL, NULL}, HELD_BY_NONE, "MIG"},
	        {true, false, MECHANISM_INTERPOSER, {true, true, NULL, NULL}, HELD_BY_NONE, "MIG"},
	        /* The kernel's limit is taken where it is; MPS only where it is asked for. */
	        {false, false, MECHANISM_AUTO, {true, true, NULL, NULL}, HELD_BY_KERNEL, ""},
	        {false, false, MECHANISM_AUTO, {true, true, NULL, NO_KERNEL}, HELD_BY_INTERPOSER,
	                ""},
	        {false, false, MECHANISM_MPS, {true, true, NULL, NULL}, HELD_BY_MPS, ""},
	        {false, false, MECHANISM_KERNEL, {true, true, NO_MPS, NULL}, HELD_BY_KERNEL, ""},
	        /* What cannot be had is what auto takes, and that is said. */
	        {false, false, MECHANISM_MPS, {true, true, NO_MPS, NO_KERNEL}, HELD_BY_INTERPOSER,
	                NO_MPS},
	        {false, false, MECHANISM_MPS, {true, true, NO_MPS, NULL}, HELD_BY_KERNEL, NO_MPS},
	        {false, false, MECHANISM_KERNEL, {true, true, NULL, NO_KERNEL}, HELD_BY_INTERPOSER,
	                NO_KERNEL},
	        /* Neither is a job's limit without the ledger in front of it. */
	        {false, false, MECHANISM_MPS, {false, true, NULL, NULL}, HELD_BY_NONE,
	                "not installed"},
	        {false, false, MECHANISM_KERNEL, {false, true, NULL, NULL}, HELD_BY_NONE,
	                "not installed"},
	        {true, false, MECHANISM_MPS, {true, true, NULL, NULL}, HELD_BY_NONE, "MIG"},
	        {true, false, MECHANISM_KERNEL, {true, true, NULL, NULL}, HELD_BY_NONE, "MIG"},
	        /* An instance is itself, whatever is wanted of others. */
	        {false, true, MECHANISM_AUTO, {true, true, NULL, NULL}, HELD_BY_MIG, ""},
	        {false, true, MECHANISM_MPS, {true, true, NULL, NULL}, HELD_BY_MIG, ""},
	        {false, true, MECHANISM_INTERPOSER, {false, false, NULL, NULL}, HELD_BY_MIG, ""},
	        {false, true, MECHANISM_NONE, {true, true, NULL, NULL}, HELD_BY_MIG, ""},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct device_info d = {
		        .mig = rows[i].mig, .card_milli = rows[i].is_instance ? 125 : 0};
		const char *why = NULL;

		assert_int_equal(
		        mechanism_choose(&d, rows[i].wish, &rows[i].parts, &why), rows[i].by);
		assert_non_null(strstr(why, rows[i].why));
		assert_int_equal(!*why, !*rows[i].why);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_choice)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
