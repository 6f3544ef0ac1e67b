#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "plat/usock.h"

static char dir[256]; /* longer than the name of a socket may be */

static int set_up(void **state)
{
	char top[] = "/tmp/berth-usock-XXXXXX";

	assert_non_null(mkdtemp(top));
	snprintf(dir, sizeof(dir), "%s/%0150d", top, 7);
	return mkdir(dir, 0700);
}

static int tear_down(void **state)
{
	rmdir(dir);
	*strrchr(dir, '/') = '\0';
	return rmdir(dir);
}

static void test_long_path(void **state)
{
	int listener, fd, accepted;
	char path[300], byte;
	struct stat st;
	struct err err;
	uid_t uid = 12345;
	pid_t pid = 0;
	mode_t old = umask(0);

	snprintf(path, sizeof(path), "%s/s", dir);
	assert_int_equal(usock_connect(path, &fd, &err), -ERR_NOT_FOUND);
	assert_int_equal(usock_listen(path, &listener, &err), 0);
	umask(old);
	assert_int_equal(stat(path, &st), 0);
	assert_true(S_ISSOCK(st.st_mode));
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(usock_connect(path, &fd, &err), 0);
	accepted = accept(listener, NULL, NULL);
	assert_true(accepted >= 0);
	assert_int_equal(write(fd, "x", 1), 1);
	assert_int_equal(read(accepted, &byte, 1), 1);
	assert_true(usock_peer(accepted, &uid, &pid));
	assert_int_equal(uid, getuid());
	assert_int_equal(pid, getpid());
	close(accepted);
	close(fd);
	close(listener);
	/* Nobody is there any more, and the next one takes the place. */
	assert_int_equal(usock_connect(path, &fd, &err), -ERR_UNAVAILABLE);
	assert_int_equal(usock_listen(path, &listener, &err), 0);
	assert_int_equal(usock_connect(path, &fd, &err), 0);
	close(fd);
	close(listener);
	unlink(path);
}

static void test_no_place_for_a_socket(void **state)
{
	char path[400];
	struct err err;
	int fd;

	snprintf(path, sizeof(path), "%s/no-such/s", dir);
	assert_int_equal(usock_listen(path, &fd, &err), -ERR_NOT_FOUND);
	snprintf(path, sizeof(path), "%s/", dir);
	assert_int_equal(usock_listen(path, &fd, &err), -ERR_INVALID);
	snprintf(path, sizeof(path), "%s/%0120d", dir, 1);
	assert_int_equal(usock_listen(path, &fd, &err), -ERR_INVALID);
	assert_int_equal(usock_connect(path, &fd, &err), -ERR_INVALID);
}

/* A listener that takes nobody does not hold up who must not wait. */
static void test_full_line(void **state)
{
	int listener, fds[64], n = 0;
	char path[300], byte;
	struct err err;

	snprintf(path, sizeof(path), "%s/s", dir);
	assert_int_equal(usock_listen(path, &listener, &err), 0);
	assert_int_equal(listen(listener, 1), 0);
	while (n < 64 && usock_connect_now(path, &fds[n], &err) == 0)
		n++;
	assert_in_range(n, 1, 63);
	assert_int_equal(err.kind, ERR_UNAVAILABLE);
	assert_int_equal(read(fds[0], &byte, 1), -1);
	assert_int_equal(errno, EAGAIN);
	while (n > 0)
		close(fds[--n]);
	close(listener);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(test_long_path, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(test_no_place_for_a_socket, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(test_full_line, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
