/* The end of a process at the sequence point that BERTH_TEST_DIE_AT names by its number. For a library built with SHIM_STEPS. */
#include "shim/step.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

void shim_step(void)
{
	static int n_steps, die_at = -1;
	if (die_at < 0) {
		const char *text = getenv("BERTH_TEST_DIE_AT");
		die_at = text != NULL ? (int)strtol(text, NULL, 10) : 0;
	}
	if (__atomic_add_fetch(&n_steps, 1, __ATOMIC_RELAXED) == die_at)
		kill(getpid(), SIGKILL);
}
