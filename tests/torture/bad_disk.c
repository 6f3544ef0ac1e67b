/*
 * Preloaded into Berth's programs by the torture: makes their disk slow, or lets it fail, while a control file says so.
 * TORTURE_DISK names the file: struct control below, mapped, written by tests/torture/disk.py. Only calls on regular
 * files of the file systems in it are touched. Without the variable nothing is.
 */
#undef _FILE_OFFSET_BITS /* else pwrite is another name of pwrite64 here */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct control {
	uint64_t devs[2];
	volatile uint32_t delay_ms;        /* of a sync, on average; of some writes half of it */
	volatile uint32_t fail_thousandth; /* of writes and syncs */
};

static const struct control *control;

__attribute__((constructor)) static void map_control(void)
{
	const char *path = getenv("TORTURE_DISK");
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	void *at = MAP_FAILED;

	if (fd >= 0) {
		at = mmap(NULL, sizeof(*control), PROT_READ, MAP_SHARED, fd, 0);
		close(fd);
	}
	if (at != MAP_FAILED)
		control = at;
}

static uint32_t dice(uint32_t n)
{
	static __thread uint64_t state;
	struct timespec now;

	if (!state) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		state = (uint64_t)now.tv_nsec * 2654435761u + (uint64_t)getpid() + 1;
	}
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state >> 33) % n;
}

static int is_bad(int fd)
{
	struct stat st;

	if (!control || (!control->delay_ms && !control->fail_thousandth))
		return 0;
	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
	       (st.st_dev == control->devs[0] || st.st_dev == control->devs[1]);
}

static void wait_ms(uint32_t ms)
{
	struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};

	nanosleep(&t, NULL);
}

/* Whether the call fails, with errno set. */
static int disturb(int fd, int is_sync)
{
	uint32_t delay_ms;
	int sys = errno;

	if (!is_bad(fd))
		return 0;
	delay_ms = control->delay_ms;
	if (delay_ms && is_sync)
		wait_ms(delay_ms / 2 + dice(delay_ms));
	else if (delay_ms && dice(16) == 0)
		wait_ms(delay_ms / 2);
	errno = sys;
	if (dice(1000) >= control->fail_thousandth)
		return 0;
	errno = EIO;
	return 1;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define DISTURBED(name, fd, is_sync, args) \
	static __typeof__(&name) next;     \
	if (!next)                         \
		next = NEXT(name);         \
	return disturb(fd, is_sync) ? -1 : next args

ssize_t write(int fd, const void *data, size_t len)
{
	DISTURBED(write, fd, 0, (fd, data, len));
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t at)
{
	DISTURBED(pwrite, fd, 0, (fd, data, len, at));
}

ssize_t pwrite64(int fd, const void *data, size_t len, off64_t at)
{
	DISTURBED(pwrite64, fd, 0, (fd, data, len, at));
}

int fsync(int fd)
{
	DISTURBED(fsync, fd, 1, (fd));
}

int fdatasync(int fd)
{
	DISTURBED(fdatasync, fd, 1, (fd));
}
