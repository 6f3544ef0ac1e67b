/* What root granted, and what a server or agent that somebody else has taken over makes of it. Only root can run it. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "helper/grants.h"

#define KEY   "00112233445566778899aabbccddeeff"
#define OTHER "ffeeddccbbaa99887766554433221100"

static char data[64];

static char sh[] = "sh", dash_c[] = "-c", script[] = "make all", evil[] = "make evil";
static char var_a[] = "A=1", var_path[] = "PATH=/bin", var_home[] = "HOME=/home/root";
static char ours[] = "BERTH_JOB_ID=7", fake[] = "BERTH_FAKE_GPUS=/a b/sim",
            cuda[] = "CUDA_VISIBLE_DEVICES=GPU-1,GPU-2";
static char *argv_ok[] = {sh, dash_c, script, NULL}, *argv_evil[] = {sh, dash_c, evil, NULL};
static char *argv_less[] = {sh, dash_c, NULL}, *argv_more[] = {sh, dash_c, script, evil, NULL};
static char *env_granted[] = {var_a, var_path, NULL};
static char *env_ok[] = {var_path, var_a, var_home, ours, fake, cuda, NULL};

static struct launch granted(void)
{
	return (struct launch){
	        .kind = LAUNCH_START,
	        .argv = argv_ok,
	        .env = env_granted,
	        .cwd = "/srv",
	        .out_path = "/srv/out.%j",
	};
}

static struct launch started(void)
{
	return (struct launch){
	        .kind = LAUNCH_START,
	        .job = 7,
	        .task = -1,
	        .epoch = 3,
	        .user = "root",
	        .argv = argv_ok,
	        .env = env_ok,
	        .cwd = "/srv",
	        .out_path = "/srv/out.7",
	        .grant = KEY,
	};
}

/* Two at once. */
static char *path_of(const char *name)
{
	static char paths[2][160];
	static unsigned n;
	char *path = paths[n++ % 2];

	snprintf(path, sizeof(paths[0]), "%s/%s", data, name);
	return path;
}

static void write_grant(const char *name, const struct launch *l)
{
	CLEANUP_BUF struct buf b = BUF_INIT(LAUNCH_MAX + 4);
	int fd = open(path_of(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);

	launch_encode(l, &b);
	assert_int_equal(write(fd, b.data, b.len), b.len);
	close(fd);
}

static int set_up(void **state)
{
	struct launch l = granted();

	if (getuid() != 0)
		return 0;
	snprintf(data, sizeof(data), "/tmp/berth-grants-XXXXXX");
	assert_non_null(mkdtemp(data));
	assert_int_equal(mkdir(path_of("grants"), 0700), 0);
	write_grant("grants/" KEY, &l);
	return 0;
}

static int tear_down(void **state)
{
	static const char *const names[] = {"grants/" KEY, "grants/" OTHER, "grants/7/" KEY,
	        "grants/7", "grants/8", "grants", "away/" KEY, "away", ""};

	for (size_t i = 0; getuid() == 0 && i < ARRAY_LEN(names); i++)
		(void)remove(path_of(names[i]));
	return 0;
}

#define ONLY_ROOT()                \
	do {                       \
		if (getuid() != 0) \
			skip();    \
	} while (0)

static void check_granted(const struct launch *l)
{
	struct err err;

	if (grants_check(data, l, "/home/root", &err) < 0)
		fail_msg("it was refused: %s", err.text);
}

static void check_refused(const struct launch *l, const char *part)
{
	struct err err;

	if (grants_check(data, l, "/home/root", &err) == 0)
		fail_msg("it was granted, and should not be: %s", part);
	if (!strstr(err.text, part))
		fail_msg("text is: %s", err.text);
	assert_int_equal(err.kind, ERR_FORBIDDEN);
}

static void test_what_root_submitted_runs(void **state)
{
	struct launch l = started();

	ONLY_ROOT();
	check_granted(&l);
	/* Again, as a later attempt, and without a variable that the server left out. */
	l.epoch = 4;
	l.out_path = "/srv/out.7.2";
	l.env = env_granted + 1;
	check_granted(&l);
	/* It is that job's from now on. */
	l.job = 8;
	check_refused(&l, "but what root itself submits");
}

/* Root's client has heard the number of the job first. */
static void test_bound_before_the_start(void **state)
{
	struct launch l = started();

	ONLY_ROOT();
	assert_int_equal(mkdir(path_of("grants/7"), 0700), 0);
	assert_int_equal(rename(path_of("grants/" KEY), path_of("grants/7/" KEY)), 0);
	l.job = 8;
	check_refused(&l, "but what root itself submits");
	l.job = 7;
	check_granted(&l);
}

static void test_nothing_else_does(void **state)
{
	static char preload[] = "LD_PRELOAD=/tmp/x.so", other_a[] = "A=2",
	            word[] = "BERTH_JOB_ID=$(id)", path[] = "PATH=/tmp", home[] = "HOME=/tmp",
	            url[] = "BERTH_URL=http://x";
	static char *const more[] = {preload, other_a, word, path, home, url};
	struct launch l;

	ONLY_ROOT();
	for (size_t i = 0; i < ARRAY_LEN(more); i++) {
		char *env[] = {var_a, more[i], NULL};
		l = started();
		l.env = env;
		check_refused(&l, "another variable");
	}
	l = started();
	l.argv = argv_evil;
	check_refused(&l, "another command");
	l.argv = argv_less;
	check_refused(&l, "another command");
	l.argv = argv_more;
	check_refused(&l, "another command");
	l = started();
	l.cwd = "/tmp";
	check_refused(&l, "another directory");
	l = started();
	l.make_cwd = true;
	check_refused(&l, "another directory");
	l = started();
	l.tty = true;
	check_refused(&l, "another terminal");
	l = started();
	l.ranks = 2;
	check_refused(&l, "another number of tasks");
	l = started();
	l.console = true;
	check_refused(&l, "another terminal");
	l = started();
	l.out_path = "/etc/passwd";
	check_refused(&l, "another output");
	l.out_path = "/srv/logs/1.out";
	l.out_internal = true;
	check_refused(&l, "another output");
	l = started();
	l.err_path = "/etc/passwd";
	check_refused(&l, "another output");
	l = started();
	l.kind = LAUNCH_EXEC;
	l.out_path = NULL;
	check_refused(&l, "but what root itself submits");
}

static void test_no_grant(void **state)
{
	static const char *const keys[] = {
	        OTHER, "", "../x", "7/" KEY, "0011", "00112233445566778899AABBCCDDEEFF"};
	struct launch l = started();

	ONLY_ROOT();
	l.grant = NULL;
	check_refused(&l, "but what root itself submits");
	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		l.grant = keys[i];
		check_refused(&l, "but what root itself submits");
	}
}

/* The directory above is the server's: it can put there what it likes, but make nothing that is root's. */
static void test_grants_of_others(void **state)
{
	struct launch l = started(), own = granted();
	struct err err;

	ONLY_ROOT();
	assert_int_equal(rename(path_of("grants"), path_of("away")), 0);
	check_refused(&l, "no directory that root alone");
	assert_int_equal(mkdir(path_of("grants"), 0700), 0);
	write_grant("grants/" KEY, &own);
	assert_int_equal(chown(path_of("grants"), 4711, 4711), 0);
	check_refused(&l, "no directory that root alone");
	assert_int_equal(chown(path_of("grants"), 0, 0), 0);
	assert_int_equal(chmod(path_of("grants"), 0770), 0);
	check_refused(&l, "no directory that root alone");
	assert_int_equal(chmod(path_of("grants"), 0700), 0);
	assert_int_equal(chown(path_of("grants/" KEY), 4711, 0), 0);
	assert_int_equal(grants_check(data, &l, "/", &err), -ERR_CORRUPT);
	assert_int_equal(unlink(path_of("grants/" KEY)), 0);
	assert_int_equal(rmdir(path_of("grants")), 0);
	assert_int_equal(symlink("away", path_of("grants")), 0);
	check_refused(&l, "no directory that root alone");
}

static void test_exec(void **state)
{
	struct launch own = {.kind = LAUNCH_EXEC, .job = 7, .task = -1, .argv = argv_less};
	struct launch l = started();

	ONLY_ROOT();
	check_granted(&l);
	write_grant("grants/" OTHER, &own);
	l.kind = LAUNCH_EXEC;
	l.grant = OTHER;
	l.argv = argv_less;
	l.out_path = NULL;
	l.console = true;
	l.job = 8;
	check_refused(&l, "but what root itself submits");
	l.job = 7;
	l.argv = argv_ok;
	check_refused(&l, "another command");
	l.argv = argv_less;
	l.tty = true;
	check_refused(&l, "another terminal");
	l.tty = false;
	check_granted(&l);
	/* Once. */
	check_refused(&l, "but what root itself submits");
}

static void test_forgotten(void **state)
{
	struct launch l = started();

	ONLY_ROOT();
	grants_forget(data, 7);
	check_granted(&l);
	grants_forget(data, 8);
	check_granted(&l);
	grants_forget(data, 7);
	check_refused(&l, "but what root itself submits");
	assert_int_equal(rmdir(path_of("grants")), 0);
	grants_forget(data, 7);
}

static void test_output_patterns(void **state)
{
	static const struct {
		const char *pattern, *path;
		bool is;
	} cases[] = {
	        {"/a/b", "/a/b", true},
	        {"/a/b", "/a/b.2", true},
	        {"/a/b", "/a/b.", false},
	        {"/a/b", "/a/b.x", false},
	        {"/a/b", "/a/bc", false},
	        {"/a/%j", "/a/17_3", true},
	        {"/a/%j", "/a/17_3.12", true},
	        {"/a/%j", "/a/x/y", false},
	        {"/a/%x/out", "/a/name/out", true},
	        {"/a/%x/out", "/a/../out", false},
	        {"/a/%x/out", "/a/./out", false},
	        {"/a/%A-%a.log", "/a/17-3.log", true},
	        {"/a/%A-%a.log", "/a/17-3/log", false},
	        {"/a/100%%", "/a/100%", true},
	        {"/a/%q", "/a/%q", true},
	        {"/a/%q", "/a/x", false},
	        {"/a/%", "/a/%", true},
	        {"/a/../b", "/a/../b", true},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		if (grants_is_output(cases[i].pattern, cases[i].path) != cases[i].is)
			fail_msg("%s as %s", cases[i].path, cases[i].pattern);
}

/* A path that an agent chose costs little, whatever the pattern of root's is. */
static void test_pattern_of_many_names(void **state)
{
	static char path[100000] = "/d/";

	memset(path + 3, '-', sizeof(path) - 4);
	assert_false(grants_is_output("/d/%j-%a-%x-%u-%N-%j-%a-%x-%u-%N+", path));
	path[sizeof(path) - 2] = '+';
	assert_true(grants_is_output("/d/%j-%a-%x-%u-%N-%j-%a-%x-%u-%N+", path));
}

static void test_variable_without_a_value(void **state)
{
	static char bare[] = "BERTH_JOB_ID";
	static char *env[] = {bare, NULL};
	struct launch g = granted(), l = started();
	struct err err;

	l.env = env;
	assert_int_equal(grants_compare(&g, &l, "/home/root", &err), -ERR_FORBIDDEN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	        TEST(test_what_root_submitted_runs),
	        TEST(test_bound_before_the_start),
	        TEST(test_nothing_else_does),
	        TEST(test_no_grant),
	        TEST(test_grants_of_others),
	        TEST(test_exec),
	        TEST(test_forgotten),
	        cmocka_unit_test(test_output_patterns),
	        cmocka_unit_test(test_pattern_of_many_names),
	        cmocka_unit_test(test_variable_without_a_value),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
