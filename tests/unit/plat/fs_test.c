#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "plat/fs.h"

static char dir[64];
static char path_text[256];

static const char *in_dir(const char *name)
{
	snprintf(path_text, sizeof(path_text), "%s/%s", dir, name);
	return path_text;
}

static int setup(void **state)
{
	strcpy(dir, "/tmp/berth-fs-XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	return system(command);
}

static mode_t mode_of(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return st.st_mode & 07777;
}

static void test_mkdir_p(void **state)
{
	mode_t before = umask(077);
	struct err err;

	assert_int_equal(fs_mkdir_p(in_dir("a//b/c/"), 0751, &err), 0);
	umask(before);
	assert_int_equal(mode_of(in_dir("a")), 0751);
	assert_int_equal(mode_of(in_dir("a/b/c")), 0751);
	/* What is there keeps its mode. */
	assert_int_equal(fs_mkdir_p(in_dir("a/b/c/d"), 0700, &err), 0);
	assert_int_equal(mode_of(in_dir("a/b/c")), 0751);
	assert_int_equal(mode_of(in_dir("a/b/c/d")), 0700);
	assert_int_equal(fs_mkdir_p("/", 0700, &err), 0);
}

static void test_mkdir_p_refused(void **state)
{
	struct err err;
	char *longest;

	assert_int_equal(fs_write_atomic(in_dir("file"), "x", 1, 0600, &err), 0);
	assert_int_equal(fs_mkdir_p(in_dir("file"), 0700, &err), -ERR_IO);
	assert_int_equal(err.sys, ENOTDIR);
	assert_non_null(strstr(err.text, "file"));
	assert_int_equal(fs_mkdir_p(in_dir("file/below"), 0700, &err), -ERR_IO);
	assert_int_equal(err.sys, ENOTDIR);
	assert_int_equal(fs_mkdir_p("", 0700, &err), -ERR_NOT_FOUND);
	longest = malloc(5001);
	memset(longest, 'x', 5000);
	longest[5000] = '\0';
	assert_int_equal(fs_mkdir_p(longest, 0700, &err), -ERR_IO);
	assert_int_equal(err.sys, ENAMETOOLONG);
	free(longest);
}

static void test_write_and_read(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(100000);
	struct err err;
	char *big = malloc(100000);

	assert_int_equal(fs_write_atomic(in_dir("f"), "one", 3, 0640, &err), 0);
	assert_int_equal(mode_of(in_dir("f")), 0640);
	assert_int_equal(fs_read(in_dir("f"), &b, &err), 0);
	assert_string_equal(buf_str(&b), "one");
	/* A leftover of a crash, even a link, is taken over and its target left alone. */
	assert_int_equal(symlink("f", in_dir("f.new")), 0);
	assert_int_equal(fs_write_atomic(in_dir("f"), "two", 3, 0600, &err), 0);
	assert_int_equal(mode_of(in_dir("f")), 0600);
	assert_int_equal(access(in_dir("f.new"), F_OK), -1);
	assert_int_equal(fs_read(in_dir("f"), &b, &err), 0);
	assert_string_equal(buf_str(&b), "onetwo");
	/* Exactly at the ceiling, and one past it. */
	memset(big, 'b', 100000);
	assert_int_equal(fs_write_atomic(in_dir("big"), big, 100000, 0600, &err), 0);
	buf_reset(&b);
	assert_int_equal(fs_read(in_dir("big"), &b, &err), 0);
	assert_int_equal(b.len, 100000);
	assert_memory_equal(b.data, big, 100000);
	b.len = 1;
	assert_int_equal(fs_read(in_dir("big"), &b, &err), -ERR_TOO_LARGE);
	assert_int_equal(b.len, 1);
	assert_false(b.overflow);
	free(big);
}

static void test_read_special(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(100000);
	struct err err;

	assert_int_equal(fs_read("/proc/self/status", &b, &err), 0);
	assert_true(b.len > 100);
	assert_int_equal(fs_read(in_dir("none"), &b, &err), -ERR_NOT_FOUND);
	assert_int_equal(fs_read(dir, &b, &err), -ERR_IO);
	assert_int_equal(err.sys, EISDIR);
	buf_reset(&b);
	assert_int_equal(fs_write_atomic(in_dir("empty"), "", 0, 0600, &err), 0);
	assert_int_equal(fs_read(in_dir("empty"), &b, &err), 0);
	assert_int_equal(b.len, 0);
}

/* A write that fails leaves the old file, and nothing else. */
static void test_write_fails(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(100);
	struct rlimit before, small = {.rlim_cur = 1000};
	char *big = calloc(1, 5000);
	struct err err;
	int rc;

	assert_int_equal(fs_write_atomic(in_dir("f"), "old", 3, 0600, &err), 0);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	small.rlim_max = before.rlim_max;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	rc = fs_write_atomic(in_dir("f"), big, 5000, 0600, &err);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_int_equal(rc, -ERR_IO);
	assert_int_equal(err.sys, EFBIG);
	assert_int_equal(fs_read(in_dir("f"), &b, &err), 0);
	assert_string_equal(buf_str(&b), "old");
	assert_int_equal(access(in_dir("f.new"), F_OK), -1);
	assert_int_equal(fs_write_atomic(in_dir("none/f"), "x", 1, 0600, &err), -ERR_NOT_FOUND);
	free(big);
}

static void test_sync(void **state)
{
	struct err err;

	assert_int_equal(fs_sync_dir(dir, &err), 0);
	assert_int_equal(fs_sync_parent("x", &err), 0);
	assert_int_equal(fs_sync_parent("/x", &err), 0);
	assert_int_equal(fs_sync_parent(in_dir("x"), &err), 0);
	assert_int_equal(fs_sync_dir(in_dir("none"), &err), -ERR_NOT_FOUND);
	assert_int_equal(fs_sync_parent(in_dir("none/x"), &err), -ERR_NOT_FOUND);
}

static void test_lock(void **state)
{
	struct err err;
	char want[64];
	int fd, other, status;
	pid_t pid;

	assert_int_equal(fs_lock(in_dir("lock"), &fd, &err), 0);
	assert_int_equal(mode_of(in_dir("lock")), 0600);
	assert_int_equal(fs_lock(in_dir("lock"), &other, &err), -ERR_CONFLICT);
	snprintf(want, sizeof(want), "locked by process %d", getpid());
	assert_non_null(strstr(err.text, want));
	/* Opening and closing the file elsewhere in the process does not let it go. */
	close(open(in_dir("lock"), O_RDONLY));
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(fs_lock(in_dir("lock"), &other, &err) == -ERR_CONFLICT ? 0 : 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	fs_unlock(fd);
	assert_int_equal(fs_lock(in_dir("lock"), &fd, &err), 0);
	fs_unlock(fd);
	fs_unlock(-1);
}

static void test_lock_goes_with_process(void **state)
{
	int pipe_fds[2], fd, status;
	struct err err;
	char byte;
	pid_t pid;

	assert_int_equal(pipe(pipe_fds), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (fs_lock(in_dir("lock"), &fd, &err) < 0 || write(pipe_fds[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	assert_int_equal(read(pipe_fds[0], &byte, 1), 1);
	assert_int_equal(fs_lock(in_dir("lock"), &fd, &err), -ERR_CONFLICT);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(fs_lock(in_dir("lock"), &fd, &err), 0);
	fs_unlock(fd);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}

static void test_dir_size(void **state)
{
	uint64_t empty_bytes, bytes;
	struct err err;
	char *big = malloc(64 * KIB);

	memset(big, 'x', 64 * KIB);
	assert_int_equal(fs_mkdir_p(in_dir("t/u"), 0700, &err), 0);
	assert_int_equal(symlink("/", in_dir("t/root")), 0);
	assert_int_equal(fs_dir_size(in_dir("t"), &empty_bytes, &err), 0);
	assert_true(empty_bytes < 64 * KIB);
	assert_int_equal(fs_write_atomic(in_dir("t/u/f"), big, 64 * KIB, 0600, &err), 0);
	assert_int_equal(fs_dir_size(in_dir("t"), &bytes, &err), 0);
	assert_true(bytes >= empty_bytes + 64 * KIB && bytes < empty_bytes + 96 * KIB);
	assert_int_equal(fs_dir_size(in_dir("t/u/f"), &bytes, &err), 0);
	assert_true(bytes >= 64 * KIB);
	assert_int_equal(fs_dir_size(in_dir("none"), &bytes, &err), -ERR_NOT_FOUND);
	free(big);
}

static void test_room(void **state)
{
	uint64_t bytes = 0;
	struct err err;

	assert_int_equal(fs_free_bytes(dir, &bytes, &err), 0);
	assert_true(bytes > 0);
	assert_int_equal(fs_free_bytes(in_dir("none"), &bytes, &err), -ERR_NOT_FOUND);
	assert_int_equal(fs_free_files(dir, &bytes, &err), 0);
	assert_true(bytes > 0);
	assert_int_equal(fs_free_files("/proc", &bytes, &err), 0);
	assert_true(bytes == UINT64_MAX);
	assert_int_equal(fs_free_files(in_dir("none"), &bytes, &err), -ERR_NOT_FOUND);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(test_mkdir_p, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_mkdir_p_refused, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_write_and_read, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_read_special, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_write_fails, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_sync, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_lock, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_lock_goes_with_process, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_dir_size, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_room, setup, teardown),
	};

	return cmocka_run_group_tests_name("fs", tests, NULL, NULL);
}
