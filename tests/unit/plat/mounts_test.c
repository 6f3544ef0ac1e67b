/* A device file that is refused to a process and what it starts, and to nobody else. Needs root. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "plat/mounts.h"

/* No driver stands behind it: ENXIO is what the kernel says to those whom it lets through. */
enum { NVIDIA = 195 };

static int opening(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	return fd >= 0 ? 0 : errno;
}

static int status_of(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void open_both(pid_t pid, int *ret_ns_fd, int *ret_root_fd)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/mnt", (int)pid);
	*ret_ns_fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(*ret_ns_fd >= 0);
	snprintf(path, sizeof(path), "/proc/%d/root", (int)pid);
	*ret_root_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_true(*ret_root_fd >= 0);
}

static void test_refused_device(void **state)
{
	char dir[] = "/tmp/berth-mounts-XXXXXX", own[64], other[64], none[64];
	int fds[2], ns_fd, root_fd;
	pid_t pid;
	char byte;

	/* Where not even root may (and valgrind knows none of these calls), there is nothing to be seen. */
	if (!mounts_work())
		skip();
	assert_non_null(mkdtemp(dir));
	snprintf(own, sizeof(own), "%s/0", dir);
	snprintf(other, sizeof(other), "%s/1", dir);
	snprintf(none, sizeof(none), "%s/2", dir);
	assert_int_equal(mknod(own, S_IFCHR | 0666, makedev(NVIDIA, 0)), 0);
	assert_int_equal(mknod(other, S_IFCHR | 0666, makedev(NVIDIA, 1)), 0);
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		bool is_done =
		        mounts_begin() && mounts_refuse_device(other) && mounts_refuse_device(none);

		(void)!write(fds[1], "x", 1);
		pause();
		_exit(is_done);
	}
	assert_int_equal(read(fds[0], &byte, 1), 1);
	assert_int_equal(opening(other), ENXIO);
	open_both(pid, &ns_fd, &root_fd);
	for (size_t i = 0; i < 2; i++) {
		pid_t beside = fork();

		if (beside == 0)
			_exit(mounts_enter(ns_fd, root_fd) ? opening(i ? other : own) : 1);
		assert_int_equal(status_of(beside), i ? EACCES : ENXIO);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(ns_fd);
	close(root_fd);
	close(fds[0]);
	close(fds[1]);
	unlink(own);
	unlink(other);
	rmdir(dir);
}

/* A root that is not the one of its namespace, as after chroot. */
static void test_another_root(void **state)
{
	char dir[] = "/tmp/berth-mounts-XXXXXX", path[64];
	int fds[2], ns_fd, root_fd;
	pid_t pid, beside;
	char byte;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/berth-mounts", dir);
	assert_int_equal(mknod(path, S_IFCHR | 0666, makedev(NVIDIA, 0)), 0);
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		bool is_done = mounts_begin() && mount(dir, dir, NULL, MS_BIND, NULL) == 0 &&
		               chroot(dir) == 0 && mounts_begin();

		(void)!write(fds[1], is_done ? "x" : "-", 1);
		pause();
		_exit(0);
	}
	assert_int_equal(read(fds[0], &byte, 1), 1);
	assert_int_equal(byte, 'x');
	open_both(pid, &ns_fd, &root_fd);
	beside = fork();
	if (beside == 0)
		_exit(mounts_enter(ns_fd, root_fd) ? opening("berth-mounts") : 1);
	assert_int_equal(status_of(beside), ENXIO);
	beside = fork();
	if (beside == 0)
		_exit(mounts_enter(ns_fd, root_fd) ? opening("/berth-mounts") : 1);
	assert_int_equal(status_of(beside), ENXIO);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(ns_fd);
	close(root_fd);
	close(fds[0]);
	close(fds[1]);
	unlink(path);
	rmdir(dir);
}

static void test_not_allowed(void **state)
{
	pid_t pid;

	if (!mounts_work())
		skip();
	pid = fork();
	if (pid == 0)
		_exit(setuid(65534) == 0 && !mounts_work() && !mounts_begin() ? 0 : 1);
	assert_int_equal(status_of(pid), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_refused_device),
	        cmocka_unit_test(test_another_root),
	        cmocka_unit_test(test_not_allowed),
	};

	return cmocka_run_group_tests_name("plat/mounts", tests, NULL, NULL);
}
