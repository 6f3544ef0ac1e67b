#include "cli/interrupt.h"

#include <errno.h>
#include <signal.h>
#include <time.h>

static volatile sig_atomic_t count, winch;
static sigset_t outside; /* the mask to wait with */
static bool catching;

static void on_signal(int sig)
{
	if (sig == SIGWINCH)
		winch = 1;
	else
		count++;
}

static void caught_set(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGWINCH);
}

void interrupt_catch(bool with_winch)
{
	struct sigaction action = {.sa_handler = on_signal};
	sigset_t set;

	caught_set(&set);
	if (!catching)
		sigprocmask(SIG_BLOCK, &set, &outside);
	catching = true;
	sigdelset(&outside, SIGINT);
	sigdelset(&outside, SIGTERM);
	sigdelset(&outside, SIGWINCH);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	if (with_winch)
		sigaction(SIGWINCH, &action, NULL);
}

void interrupt_release(void)
{
	if (!catching)
		return;
	catching = false;
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	signal(SIGWINCH, SIG_DFL);
	sigprocmask(SIG_SETMASK, &outside, NULL);
}

unsigned interrupt_count(void)
{
	return (unsigned)count;
}

bool interrupt_take_winch(void)
{
	bool was = winch;

	winch = 0;
	return was;
}

int interrupt_poll(struct pollfd *fds, nfds_t n, int timeout_ms)
{
	struct timespec ts = {.tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * 1000000L};
	int rc = ppoll(fds, n, timeout_ms < 0 ? NULL : &ts, catching ? &outside : NULL);

	if (rc < 0)
		for (nfds_t i = 0; i < n; i++)
			fds[i].revents = 0;
	return rc < 0 ? 0 : rc;
}
