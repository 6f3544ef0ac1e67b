#include "keeper/held.h"

#include "plat/proc.h"

pid_t held_child(pid_t keeper)
{
	struct proc_list below = {0};
	struct proc p;
	pid_t child = 0;

	/* 'S' is who has started its command long ago. */
	if (proc_read(keeper, &p) && p.state == 'D' && proc_list_below(&below, keeper) == 0 &&
	        below.n == 1 && below.items[0].is_unexeced)
		child = below.items[0].pid;
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
