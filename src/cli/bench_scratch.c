#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/bench.h"

int bench_scratch(const char *where, char **ret, struct err *err)
{
	const char *tmp = getenv("TMPDIR");
	char *path = NULL;

	BUG_IF(asprintf(&path, "%s/berth-bench-XXXXXX", tmp && tmp[0] ? tmp : where) < 0);
	if (mkdtemp(path)) {
		*ret = path;
		return 0;
	}
	int rc = err_sys(err, errno, "making %s", path);
	free(path);
	return rc;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
	return remove(path);
}

void bench_sweep(char *scratch)
{
	if (!scratch)
		return;
	nftw(scratch, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(scratch);
}

int bench_spawn(const char *path, const char *const argv[], const char *out, pid_t *ret_pid,
        struct err *err)
{
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t none;

	sigemptyset(&none);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(
	        &files, 1, out, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
	/* It does not write into the words. */
	int sys =
	        posix_spawn(ret_pid, path, &files, &attr, (char *const *)(uintptr_t)argv, environ);
	posix_spawn_file_actions_destroy(&files);
	posix_spawnattr_destroy(&attr);
	return sys ? err_sys(err, sys, "starting %s", path) : 0;
}
