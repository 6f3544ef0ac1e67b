#include "ledger_file.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "berth/slice.h"

int ledger_file_open(const char *dir)
{
	struct flock lock = {.l_type = F_WRLCK, .l_start = SLICE_LOCK_BYTE, .l_len = 1};
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/slice-0", dir);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd >= 0 && fcntl(fd, F_OFD_SETLK, &lock) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

bool ledger_file_sign(const char *dir)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/who-0", dir);
	fd = open(path, O_RDWR | O_CLOEXEC);
	return fd >= 0 && fcntl(fd, F_SETLK, &lock) == 0;
}

bool ledger_file_use(int fd, uint64_t bytes)
{
	struct slice_ledger head = {.top = 1, .used_bytes = bytes};
	struct slice_slot slot = {.pid = (uint32_t)getpid(), .bytes[SLICE_MEMORY] = bytes};

	return pwrite(fd, &head, sizeof(head), SLICE_LEDGER_AT) == sizeof(head) &&
	       pwrite(fd, &slot, sizeof(slot), SLICE_SLOTS_AT) == sizeof(slot);
}

bool ledger_file_beyond(int fd, uint64_t *ret_bytes)
{
	struct slice_watch watch;
	bool is_read = pread(fd, &watch, sizeof(watch), SLICE_WATCH_AT) == sizeof(watch);

	if (is_read)
		*ret_bytes = watch.overhead_bytes;
	return is_read;
}
