#include "kit.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/lock.h"

/* In a child: locks are by process. Returns its exit code. */
static int in_child(const char *dir, int (*fn)(const char *dir))
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(fn(dir));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int try_take(const char *dir)
{
	struct lock l;
	struct err err;

	if (lock_take(dir, "child", &l, &err))
		return (int)err.kind;
	lock_drop(&l);
	return 0;
}

static int holder_is_parent(const char *dir)
{
	struct lock_holder holder;

	return lock_find_holder(dir, &holder) && holder.pid == getppid() ? 0 : 1;
}

static int nobody_holds(const char *dir)
{
	struct lock_holder holder;

	return lock_find_holder(dir, &holder) ? 1 : 0;
}

static void test_one_holder(void **state)
{
	CLEANUP_BUF struct buf text = BUF_INIT(LOCK_TEXT_MAX);
	struct kit k;
	struct lock l;
	struct err err;

	kit_begin(&k);
	assert_int_equal(in_child(k.dir, nobody_holds), 0);
	assert_int_equal(lock_take(k.dir, "--simulate\n2x8GiB", &l, &err), 0);
	assert_int_equal(in_child(k.dir, try_take), ERR_CONFLICT);
	assert_int_equal(in_child(k.dir, holder_is_parent), 0);
	lock_drop(&l);
	assert_int_equal(access(k.dir, F_OK), 0);
	assert_int_equal(in_child(k.dir, nobody_holds), 0);
	assert_int_equal(lock_read_text(k.dir, &text, &err), -ERR_NOT_FOUND);
	assert_int_equal(in_child(k.dir, try_take), 0);
	kit_end(&k);
}

/* A holder that was killed leaves the file, not the lock; the next one's text replaces all of it. */
static void test_left_over(void **state)
{
	CLEANUP_BUF struct buf text = BUF_INIT(LOCK_TEXT_MAX);
	struct kit k;
	struct lock l;
	struct err err;
	int status;

	kit_begin(&k);
	pid_t pid = fork();
	if (pid == 0) {
		if (lock_take(k.dir, "a long line of the one that was killed", &l, &err))
			_exit(1);
		kill(getpid(), 9);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(in_child(k.dir, nobody_holds), 0);
	assert_int_equal(lock_take(k.dir, "short", &l, &err), 0);
	pid = fork();
	if (pid == 0) {
		int rc = lock_read_text(k.dir, &text, &err);
		_exit(rc || strcmp(buf_str(&text), "short") != 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	lock_drop(&l);
	kit_end(&k);
}

static void test_no_directory(void **state)
{
	struct lock l;
	struct err err;

	assert_int_equal(lock_take("/nowhere/at/all", "", &l, &err), -ERR_NOT_FOUND);
	assert_non_null(strstr(err.text, "/nowhere/at/all/up.lock"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_one_holder),
	        cmocka_unit_test(test_left_over),
	        cmocka_unit_test(test_no_directory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
