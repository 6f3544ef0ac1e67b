#include "keeper/held.h"

#include "plat/proc.h"

pid_t held_child(pid_t keeper)
{
	struct proc_list below = {0};
	struct proc p;
	pid_t child = 0;

	/* 'S' is who has started its command long ago. Tasks that were started before have exec'ed. */
	if (proc_read(keeper, &p) && p.state == 'D' && proc_list_below(&below, keeper) == 0)
		for (size_t i = 0; i < below.n && !child; i++)
			if (below.items[i].ppid == keeper && below.items[i].is_unexeced)
				child = below.items[i].pid;
	proc_list_done(&below);
	return child;
}

bool held_alone(pid_t keeper)
{
	struct proc_list below = {0};
	struct proc p;
	bool is_alone = proc_read(keeper, &p) && (p.state == 'D' || p.state == 'S') &&
	                proc_list_below(&below, keeper) == 0 && below.n == 0;

	proc_list_done(&below);
	return is_alone;
}
