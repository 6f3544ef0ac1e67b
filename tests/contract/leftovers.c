#include "leftovers.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include <sys/stat.h>

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
