#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "plat/log.h"

static int pipe_fds[2];
static int stderr_before;

static int begin(void **state)
{
	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK), 0);
	stderr_before = dup(STDERR_FILENO);
	assert_true(dup2(pipe_fds[1], STDERR_FILENO) >= 0);
	return 0;
}

static int end(void **state)
{
	log_init(LOG_INFO);
	dup2(stderr_before, STDERR_FILENO);
	close(stderr_before);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	return 0;
}

/* What arrived since the last call. */
static const char *said(void)
{
	static char text[4096];
	ssize_t n = read(pipe_fds[0], text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

static void test_line(void **state)
{
	log_info("link.open", "url=\"%s\" tries=%u", "unix:x", 3);
	assert_string_equal(said(), "info link.open url=\"unix:x\" tries=3\n");
	log_error("spool.read", "errno=%d", 5);
	assert_string_equal(said(), "error spool.read errno=5\n");
}

static void test_level(void **state)
{
	log_debug("a", "b=%d", 1);
	assert_string_equal(said(), "");
	log_init(LOG_DEBUG);
	assert_true(log_is_on(LOG_DEBUG));
	log_debug("a", "b=%d", 1);
	assert_string_equal(said(), "debug a b=1\n");
	log_init(LOG_ERROR);
	log_warn("a", "b=%d", 1);
	assert_string_equal(said(), "");
	assert_false(log_is_on(LOG_WARN));
}

static void test_one_line_only(void **state)
{
	log_info("a", "text=\"%s\"", "one\ninfo forged x=1\r\x1b[2J");
	assert_string_equal(said(), "info a text=\"one info forged x=1  [2J\"\n");
}

static void test_long_line_is_cut(void **state)
{
	char text[5000];
	const char *line;

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	log_info("a", "text=%s", text);
	line = said();
	assert_true(strlen(line) <= 1024);
	assert_int_equal(line[strlen(line) - 1], '\n');
	assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
	log_info(text, "text=%s", text);
	line = said();
	assert_true(strlen(line) <= 1024);
	assert_int_equal(line[strlen(line) - 1], '\n');
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(test_line, begin, end),
	        cmocka_unit_test_setup_teardown(test_level, begin, end),
	        cmocka_unit_test_setup_teardown(test_one_line_only, begin, end),
	        cmocka_unit_test_setup_teardown(test_long_line_is_cut, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
