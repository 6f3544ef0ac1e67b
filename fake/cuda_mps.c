/*
 * A process under simulated MPS: it stays connected to the daemon that CUDA_MPS_PIPE_DIRECTORY names, and has its own limit of
 * memory and part of multiprocessors, as its environment says. Like the real driver it goes on without, where no daemon
 * answers. Kernels of several processes do not run at the same time here, as they would.
 */
#include "cuda.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int reach(const char *dir)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char line[32];
	int n = snprintf(line, sizeof(line), "client %d\n", (int)getpid());

	if (fd >= 0 &&
	        snprintf(a.sun_path, sizeof(a.sun_path), "%s/control", dir) <
	                (int)sizeof(a.sun_path) &&
	        connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0 &&
	        send(fd, line, (size_t)n, MSG_NOSIGNAL) == n)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

/* "4096M", "4G"; 0: it is none. */
static uint64_t size_of(const char *text)
{
	char *end;
	uint64_t n = strtoull(text, &end, 10);

	if (end == text || n > UINT64_MAX >> 30)
		return 0;
	return *end == 'G' ? n << 30 : *end == 'M' ? n << 20 : 0;
}

/* "0=4096M,1=2G": of devices by their number in this process. */
static void take_limits(const char *list)
{
	for (const char *at = list; at && *at;) {
		char *equals;
		unsigned long device = strtoul(at, &equals, 10);

		if (*equals != '=')
			return;
		if (device < driver.n_devs)
			driver.mps_limit[driver.cards[device]] = size_of(equals + 1);
		at = strchr(equals, ',');
		at += at != NULL;
	}
}

void mps_begin(void)
{
	const char *dir = getenv("CUDA_MPS_PIPE_DIRECTORY");
	const char *percent = getenv("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE");
	double part = percent ? strtod(percent, NULL) : 100;

	memset(driver.mps_limit, 0, sizeof(driver.mps_limit));
	driver.mps_percent = 100;
	driver.mps_fd = dir && *dir ? reach(dir) : -1;
	if (driver.mps_fd < 0)
		return;
	if (part > 0 && part <= 100)
		driver.mps_percent = part;
	take_limits(getenv("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"));
}

bool mps_allows(const struct sim_state *st, unsigned card, uint64_t bytes)
{
	uint64_t limit = driver.mps_limit[card], held;

	if (!limit)
		return true;
	held = sim_held(st, driver.place, card);
	return held <= limit && bytes <= limit - held;
}
