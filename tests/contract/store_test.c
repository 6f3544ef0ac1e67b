/*
 * The contract of store/store.h, once for every make of store. store_cases.def lists the cases.
 */
#include "store_scene.h"

#define TEST(make, id)                            \
	{.name = #make ": " #id,                  \
	        .test_func = case_##id,           \
	        .setup_func = scene_setup_##make, \
	        .teardown_func = scene_teardown},

static const struct CMUnitTest memory_tests[] = {
#define CASE(id) TEST(memory, id)
#define FILE_CASE(id)
#include "store_cases.def"
#undef CASE
};

static const struct CMUnitTest sqlite_tests[] = {
#define CASE(id) TEST(sqlite, id)
#include "store_cases.def"
#undef CASE
};

int main(void)
{
	struct CMUnitTest all[ARRAY_LEN(memory_tests) + ARRAY_LEN(sqlite_tests)];

	memcpy(all, memory_tests, sizeof(memory_tests));
	memcpy(all + ARRAY_LEN(memory_tests), sqlite_tests, sizeof(sqlite_tests));
	return cmocka_run_group_tests_name("store", all, NULL, NULL);
}
