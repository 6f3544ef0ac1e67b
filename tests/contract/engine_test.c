/*
 * The contract of engine/engine.h, once for every engine that there is. engine_cases.def lists the cases.
 */
#include "engine_scene.h"

#define ENGINES_MAX 8

static const struct {
	const char *name;
	CMUnitTestFunction run;
} cases[] = {
#define CASE(id) {#id, case_##id},
#include "engine_cases.def"
#undef CASE
};

int main(void)
{
	static struct CMUnitTest all[ENGINES_MAX * ARRAY_LEN(cases)];
	static char names[ARRAY_LEN(all)][64];
	size_t n = 0;

	for (size_t e = 0; engine_all[e]; e++) {
		for (size_t i = 0; i < ARRAY_LEN(cases) && n < ARRAY_LEN(all); i++, n++) {
			snprintf(names[n], sizeof(names[n]), "%s: %s", engine_all[e]->name,
			        cases[i].name);
			all[n] = (struct CMUnitTest){
			        .name = names[n],
			        .test_func = cases[i].run,
			        .setup_func = scene_setup,
			        .teardown_func = scene_teardown,
			        .initial_state = (void *)(uintptr_t)engine_all[e],
			};
		}
	}
	return _cmocka_run_group_tests("engine", all, n, NULL, NULL);
}
