#include "kit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "plat/proc.h"

char kit_dir[64];

int kit_begin(void **state)
{
	snprintf(kit_dir, sizeof(kit_dir), "/tmp/berth-engine-unit.XXXXXX");
	return mkdtemp(kit_dir) ? 0 : -1;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

int kit_end(void **state)
{
	return nftw(kit_dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

const char *kit_path(const char *name)
{
	static char paths[8][256];
	static unsigned next;
	char *path = paths[next++ % 8];

	snprintf(path, sizeof(paths[0]), "%s/%s", kit_dir, name);
	return path;
}

struct spool_record kit_record(enum spool_kind kind, uint64_t epoch)
{
	return (struct spool_record){
	        .kind = kind,
	        .job = epoch,
	        .task = -1,
	        .attempt = 1,
	        .epoch = epoch,
	        .wall_ms = 1000,
	        .keeper_pid = kind == SPOOL_STARTED ? 1000 : 0,
	        .pid = kind == SPOOL_STARTED ? 1001 : 0,
	};
}

void kit_append_bytes(const char *path, const void *data, size_t len)
{
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), len);
	close(fd);
}

void kit_append(const char *path, const struct spool_record *r)
{
	CLEANUP_BUF struct buf b = BUF_INIT(SPOOL_RECORD_MAX);

	spool_encode(r, &b);
	kit_append_bytes(path, b.data, b.len);
}

pid_t kit_hold(const char *path, uint64_t epoch)
{
	int ready[2];
	char byte;
	pid_t pid;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct err err;
		int fd = open(path, O_RDWR | O_CREAT, 0600);

		prctl(PR_SET_PDEATHSIG, SIGKILL);

		if (fd < 0 || proc_byte_lock(fd, epoch, true, &err) < 0)
			_exit(1);
		(void)!write(ready[1], "x", 1);
		for (;;)
			pause();
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	return pid;
}

void kit_let_go(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}
