#include "keeper/execs.h"

#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "keeper/held.h"
#include "keeper/keeper.h"
#include "plat/proc.h"
#include "wire/spool.h"

enum { FENCE_MS = 2 };

void execs_end(uint64_t epoch)
{
	struct timespec wait = {.tv_nsec = FENCE_MS * 1000 * 1000};
	uint64_t byte = SPOOL_EXEC_BYTE(epoch);
	struct err err;

	while (proc_byte_lock(FD_SPOOL, byte, true, &err) == -ERR_CONFLICT) {
		int fd = proc_byte_owner_fd(FD_SPOOL, byte);

		if (fd >= 0) {
			pid_t child = held_child(proc_byte_owner(FD_SPOOL, byte));

			proc_fd_signal(fd, STOP_SIGNAL, SPOOL_STOPPED | STOP_FORCE);
			if (child)
				kill(child, SIGKILL);
			close(fd);
		}
		nanosleep(&wait, NULL);
	}
}
