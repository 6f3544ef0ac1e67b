/* A directory with a ledger, for tests; and processes that do one thing and say how it went. */
#pragma once

#include "slice_file.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB     (UINT64_C(1) << 20)
#define GRANULE SLICE_FILE_GRANULE

struct region {
	char dir[64];
	char path[96];
	struct slice *map;
};

static inline void region_write(const struct region *r, unsigned number, const char *uuid,
        uint64_t limit_bytes, uint64_t context_bytes, uint32_t flags)
{
	slice_file_write(r->dir, number, uuid, limit_bytes, context_bytes, flags);
}

static inline void region_make(
        struct region *r, const char *uuid, uint64_t limit_bytes, uint64_t context_bytes)
{
	snprintf(r->dir, sizeof r->dir, "/tmp/berth-shim-XXXXXX");
	assert_non_null(mkdtemp(r->dir));
	assert_int_equal(chmod(r->dir, 0755), 0);
	snprintf(r->path, sizeof r->path, "%s/slice-0", r->dir);
	region_write(r, 0, uuid, limit_bytes, context_bytes, SLICE_HOLDS_MEMORY);
	r->map = slice_file_map(r->dir, 0);
}

static inline void region_end(struct region *r)
{
	char path[128];
	munmap(r->map, sizeof(struct slice));
	for (unsigned i = 0; i < 4; i++) {
		snprintf(path, sizeof path, "%s/slice-%u", r->dir, i);
		unlink(path);
		snprintf(path, sizeof path, "%s/who-%u", r->dir, i);
		unlink(path);
	}
	assert_int_equal(rmdir(r->dir), 0);
}

/* In a process of its own, which does not outlive a test that fails: what it returns is its exit status. */
static inline pid_t begin_child(int (*body)(void *), void *data)
{
	fflush(NULL);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(body(data));
	}
	return pid;
}

/* Its exit status, or 1000 and the signal that ended it. */
static inline int end_child(pid_t pid)
{
	int status;
	while (waitpid(pid, &status, 0) < 0)
		assert_int_equal(errno, EINTR);
	return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}

static inline int run_child(int (*body)(void *), void *data)
{
	return end_child(begin_child(body, data));
}

/* In a child, where cmocka's own would unwind into the parent's run. */
#define MUST(condition)                                                                \
	do {                                                                           \
		if (!(condition)) {                                                    \
			fprintf(stderr, "# %s:%d: not true: %s\n", __FILE__, __LINE__, \
			        #condition);                                           \
			return 99;                                                     \
		}                                                                      \
	} while (0)
