#include <stddef.h>
#include <stdint.h>
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/target.h"

static int begin(void **state)
{
	unsetenv("BERTH_URL");
	unsetenv("BERTH_DATA");
	unsetenv("BERTH_TOKEN");
	unsetenv("BERTH_TOKEN_FILE");
	return 0;
}

static void test_absolute(void **state)
{
	static const char *const cases[][2] = {{"/a/b", "/a/b"}, {"/a//b/", "/a/b"},
	        {"/./a/.", "/a"}, {"/", "/"}, {"//", "/"}, {"/a/../b", "/a/../b"},
	        {"/.a/b.", "/.a/b."}};
	char cwd[4096], wanted[5000];

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char *got = target_absolute(cases[i][0]);
		assert_string_equal(got, cases[i][1]);
		free(got);
	}
	assert_int_equal(chdir("/tmp"), 0);
	assert_non_null(getcwd(cwd, sizeof(cwd)));
	snprintf(wanted, sizeof(wanted), "%s/x", cwd);
	char *got = target_absolute("./x");
	assert_string_equal(got, wanted);
	free(got);
}

/* The line is nearer than the environment, and a directory nearer than a URL is only on the line. */
static void test_order(void **state)
{
	struct cli cli = {0};
	struct target t;
	struct err err;

	setenv("BERTH_DATA", "/from/env", 1);
	assert_int_equal(target_find(&cli, &t, &err), 0);
	assert_string_equal(t.data_dir, "/from/env");
	assert_string_equal(t.socket, "/from/env/berth.sock");
	target_done(&t);
	setenv("BERTH_URL", "https://there:7311/", 1);
	assert_int_equal(target_find(&cli, &t, &err), 0);
	assert_null(t.socket);
	assert_string_equal(t.url, "https://there:7311");
	assert_string_equal(t.host, "there:7311");
	assert_string_equal(t.prefix, "");
	target_done(&t);
	cli.data_option = "/from/line/";
	assert_int_equal(target_find(&cli, &t, &err), 0);
	assert_string_equal(t.data_dir, "/from/line");
	assert_null(t.url);
	target_done(&t);
}

static void test_urls(void **state)
{
	static const char *const bad[] = {"there:7311", "ftp://there", "https://", "https:///x",
	        "https://user:secret@there:1", "unix:relative"};
	struct cli cli = {0};
	struct target t;
	struct err err;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		setenv("BERTH_URL", bad[i], 1);
		assert_int_equal(target_find(&cli, &t, &err), -ERR_INVALID);
		assert_non_null(strstr(err.text, "BERTH_URL"));
	}
	setenv("BERTH_URL", "http://[::1]:80/berth//", 1);
	assert_int_equal(target_find(&cli, &t, &err), 0);
	assert_string_equal(t.url, "http://[::1]:80");
	assert_string_equal(t.prefix, "/berth");
	target_done(&t);
	setenv("BERTH_URL", "unix:/run/b.sock", 1);
	assert_int_equal(target_find(&cli, &t, &err), 0);
	assert_string_equal(t.socket, "/run/b.sock");
	target_done(&t);
}

static void test_tokens(void **state)
{
	char path[] = "/tmp/berth-token-XXXXXX";
	int fd = mkstemp(path);
	struct cli cli = {0};
	struct target t;
	struct err err;

	assert_int_equal(write(fd, "from-file\n", 10), 10);
	close(fd);
	setenv("BERTH_URL", "https://there", 1);
	setenv("BERTH_TOKEN_FILE", path, 1);
	assert_int_equal(target_find(&cli, &t, &err), 0);
	assert_string_equal(t.token, "from-file");
	target_done(&t);
	setenv("BERTH_TOKEN", "direct\n", 1);
	assert_int_equal(target_find(&cli, &t, &err), 0);
	assert_string_equal(t.token, "direct");
	target_done(&t);
	/* It must not become a header of its own. */
	setenv("BERTH_TOKEN", "a\r\nX-Evil: 1", 1);
	assert_int_equal(target_find(&cli, &t, &err), -ERR_INVALID);
	unlink(path);
	unsetenv("BERTH_TOKEN");
	assert_int_equal(target_find(&cli, &t, &err), -ERR_NOT_FOUND);
	assert_non_null(strstr(err.text, "BERTH_TOKEN_FILE"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup(test_absolute, begin),
	        cmocka_unit_test_setup(test_order, begin),
	        cmocka_unit_test_setup(test_urls, begin),
	        cmocka_unit_test_setup(test_tokens, begin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
