#include "leftovers.h"

#include <ftw.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "plat/cgroup.h"
#include "plat/clock.h"
#include "plat/fs.h"
#include "plat/proc.h"

static bool file_has(const char *what, pid_t pid, const char *text)
{
	CLEANUP_BUF struct buf b = BUF_INIT(MIB);
	char path[32];
	struct err err;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, what);
	return fs_read(path, &b, &err) == 0 && b.len && memmem(b.data, b.len, text, strlen(text));
}

/* Signal 0 only counts. */
static size_t each(const char *dir, int signo)
{
	struct proc_list all = {0};
	struct stat st;
	char mark[64];
	size_t n = 0;

	assert_int_equal(stat(dir, &st), 0);
	snprintf(mark, sizeof(mark), "BERTH_KEEPER=%jx.%jx-", (uintmax_t)st.st_dev,
	        (uintmax_t)st.st_ino);
	assert_true(proc_list_all(&all) >= 0);
	for (size_t i = 0; i < all.n; i++) {
		pid_t pid = all.items[i].pid;

		if (file_has("environ", pid, mark) ||
		        (file_has("cmdline", pid, "berth keeper") && file_has("cmdline", pid, dir)))
			n += kill(pid, signo) == 0;
	}
	proc_list_done(&all);
	return n;
}

size_t leftovers_kill(const char *dir)
{
	return each(dir, SIGKILL);
}

size_t leftovers_count(const char *dir)
{
	return each(dir, 0);
}

void leftovers_remove_groups(const char *dir)
{
	const struct timespec wait = {.tv_nsec = 5 * 1000 * 1000};
	uint64_t until = clock_mono_ms() + 5000;
	struct cgroup_tree tree;
	struct stat st;
	char name[64];

	assert_int_equal(stat(dir, &st), 0);
	snprintf(name, sizeof(name), "berth-%jx.%jx", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
	for (;;) {
		cgroup_tree_make("", name, CGROUP_ALL, 0, &tree);
		cgroup_tree_remove(&tree);
		if (tree.n == 0 || access(tree.dirs[0].path, F_OK) < 0)
			return;
		assert_true(clock_mono_ms() < until);
		nanosleep(&wait, NULL);
	}
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

void leftovers_remove_ledgers(const char *dir)
{
	char link[512], root[512];
	ssize_t n;

	snprintf(link, sizeof(link), "%s/run/slices", dir);
	n = readlink(link, root, sizeof(root) - 1);
	if (n <= 0)
		return;
	root[n] = '\0';
	nftw(root, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}
