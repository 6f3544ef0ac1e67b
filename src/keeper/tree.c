#include "keeper/tree.h"

#include <signal.h>
#include <unistd.h>

#include "plat/proc.h"

void tree_signal(int signo)
{
	struct proc_list below = {0};

	if (proc_list_below(&below, getpid()) < 0)
		return;
	for (size_t i = 0; i < below.n; i++) {
		kill(below.items[i].pid, signo);
		kill(below.items[i].pid, SIGCONT);
	}
	proc_list_done(&below);
}

/*
 * A group is hit at once, whatever it forks; and every group below is of sessions that began below, because the first
 * process began one. A group of ours would be that of a child that has not come that far: it is hit alone.
 */
void tree_kill(void)
{
	struct proc_list below = {0};
	pid_t ours = getpgrp();

	if (proc_list_below(&below, getpid()) < 0)
		return;
	for (size_t i = 0; i < below.n; i++) {
		const struct proc *p = &below.items[i];

		if (p->pgid > 1 && p->pgid != ours)
			kill(-p->pgid, SIGKILL);
		kill(p->pid, SIGKILL);
	}
	proc_list_done(&below);
}
