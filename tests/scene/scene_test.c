/* Plays the scenes that are named on its command line, each as a test of its own. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "runner.h"

static void play(void **state)
{
	scene_play(*state);
}

int main(int argc, char **argv)
{
	size_t n = (size_t)argc - 1;
	struct CMUnitTest *tests = calloc(n + 1, sizeof(*tests));
	int rc;

	for (size_t i = 0; tests && i < n; i++) {
		const char *slash = strrchr(argv[i + 1], '/');
		tests[i] = (struct CMUnitTest){.name = slash ? slash + 1 : argv[i + 1],
		        .test_func = play,
		        .initial_state = argv[i + 1]};
	}
	rc = _cmocka_run_group_tests("scenes", tests, n, NULL, NULL);
	free(tests);
	return n ? rc : 1;
}
