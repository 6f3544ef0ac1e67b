#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "plat/pty.h"

static void test_bytes_go_both_ways(void **state)
{
	int master, slave;
	char text[32] = "";
	struct err err;

	assert_int_equal(pty_open(0, 0, (uid_t)-1, &master, &slave, &err), 0);
	assert_true(isatty(slave));
	assert_int_equal(write(slave, "out\n", 4), 4);
	assert_int_equal(read(master, text, sizeof(text)), 5);
	assert_memory_equal(text, "out\r\n", 5);
	assert_int_equal(write(master, "in\n", 3), 3);
	assert_int_equal(read(slave, text, sizeof(text)), 3);
	assert_memory_equal(text, "in\n", 3);
	close(slave);
	close(master);
}

static void check_size(int slave, int rows, int cols)
{
	struct winsize size;

	assert_int_equal(ioctl(slave, TIOCGWINSZ, &size), 0);
	assert_int_equal(size.ws_row, rows);
	assert_int_equal(size.ws_col, cols);
}

static void test_size(void **state)
{
	int master, slave;
	struct err err;

	assert_int_equal(pty_open(0, 0, (uid_t)-1, &master, &slave, &err), 0);
	check_size(slave, 24, 80);
	pty_resize(master, 50, 132);
	check_size(slave, 50, 132);
	pty_resize(master, 1000000, 1);
	check_size(slave, 65535, 1);
	close(slave);
	close(master);
	assert_int_equal(pty_open(7, 9, (uid_t)-1, &master, &slave, &err), 0);
	check_size(slave, 7, 9);
	close(slave);
	close(master);
}

static void test_end_of_input(void **state)
{
	int master, slave;
	struct termios t;
	struct err err;
	char byte;

	assert_int_equal(pty_open(0, 0, (uid_t)-1, &master, &slave, &err), 0);
	assert_int_equal(pty_eof_char(master), 4);
	byte = pty_eof_char(master);
	assert_int_equal(write(master, &byte, 1), 1);
	assert_int_equal(read(slave, &byte, 1), 0);
	assert_int_equal(tcgetattr(slave, &t), 0);
	cfmakeraw(&t);
	assert_int_equal(tcsetattr(slave, TCSANOW, &t), 0);
	assert_int_equal(pty_eof_char(master), 0);
	close(slave);
	close(master);
}

/* Only root can give one away. */
static void test_owner(void **state)
{
	int master, slave;
	struct stat st;
	struct err err;
	int rc = pty_open(0, 0, 65534, &master, &slave, &err);

	if (geteuid() != 0) {
		assert_int_equal(rc, -ERR_FORBIDDEN);
		return;
	}
	assert_int_equal(rc, 0);
	assert_int_equal(fstat(slave, &st), 0);
	assert_int_equal(st.st_uid, 65534);
	assert_int_equal(st.st_mode & 0777, 0600);
	close(slave);
	close(master);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_bytes_go_both_ways),
	        cmocka_unit_test(test_size),
	        cmocka_unit_test(test_end_of_input),
	        cmocka_unit_test(test_owner),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
