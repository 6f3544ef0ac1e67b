/* Lines of several tasks in one file, through the real program: each whole, and of somebody. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/cc.h"
#include "rig.h"

#define LINE_MAX_BYTES (16 * KIB)

static struct rig r;

static int set_up(void **state)
{
	rig_start(&r, RIG_USER);
	return 0;
}

static int tear_down(void **state)
{
	rig_stop(&r);
	return 0;
}

static const struct spool_record *run(uint32_t ranks, const char *script)
{
	struct launch l = rig_launch(&r, 1, script);

	l.ranks = ranks;
	l.label = true;
	rig_send(&r, &l);
	return rig_wait(&r, 1, SPOOL_ENDED);
}

/* How many lines are this one. */
static size_t count(const char *text, const char *line)
{
	size_t n = 0, len = strlen(line);

	for (const char *p = text; *p; p += strcspn(p, "\n") + 1)
		n += strcspn(p, "\n") == len && strncmp(p, line, len) == 0;
	return n;
}

static void test_lines_of_each(void **state)
{
	const char *text;

	assert_int_equal(run(3, "echo one; echo two; echo; echo err >&2")->wait_status, 0);
	text = rig_text(&r, "logs/1.out");
	assert_int_equal(count(text, "0: one"), 1);
	assert_int_equal(count(text, "1: two"), 1);
	assert_int_equal(count(text, "2: "), 1);
	assert_int_equal(count(text, "2: err"), 1);
	assert_int_equal(strlen(text), 3 * strlen("0: one\n0: two\n0: \n0: err\n"));
}

/* Written in pieces at the same time by all. */
static void test_pieces_become_lines(void **state)
{
	const char *text;

	run(4, "for i in 1 2 3 4 5 6 7 8; do printf a; printf b; printf '%s' $RANK; printf 'c\\nd'; done; echo");
	text = rig_text(&r, "logs/1.out");
	for (unsigned i = 0; i < 4; i++) {
		char first[16], next[16], last[16];

		snprintf(first, sizeof(first), "%u: ab%uc", i, i);
		snprintf(next, sizeof(next), "%u: dab%uc", i, i);
		snprintf(last, sizeof(last), "%u: d", i);
		assert_int_equal(count(text, first), 1);
		assert_int_equal(count(text, next), 7);
		assert_int_equal(count(text, last), 1);
	}
}

/* A line that has no end comes when its task has gone, not with the job. */
static void test_a_line_without_an_end(void **state)
{
	const char *text;

	run(2, "if [ $RANK = 0 ]; then printf half; else "
	       "while ! grep -qs '0: half' $D/logs/1.out; do sleep 0.01; done; printf more; kill -KILL $$; fi");
	text = rig_text(&r, "logs/1.out");
	assert_string_equal(text, "0: half\n1: more\n");
}

static void test_a_line_that_is_too_long(void **state)
{
	static char expect[8 + 3 * LINE_MAX_BYTES];
	const char *text;
	size_t n;

	/* One of just the length, and one that is longer by a byte. */
	run(1, "head -c 16384 /dev/zero | tr '\\0' x; echo; head -c 16385 /dev/zero | tr '\\0' y; echo");
	text = rig_text(&r, "logs/1.out");
	n = (size_t)snprintf(expect, sizeof(expect), "0: ");
	memset(expect + n, 'x', LINE_MAX_BYTES);
	assert_int_equal(count(text, expect), 1);
	memset(expect + n, 'y', LINE_MAX_BYTES);
	assert_int_equal(count(text, expect), 1);
	assert_int_equal(count(text, "0: y"), 1);
	assert_int_equal(strlen(text), 3 * strlen("0: \n") + 2 * LINE_MAX_BYTES + 1);
}

/* More than pipes hold, by all at once: none is torn, none is lost. */
static void test_much(void **state)
{
	const char *text;
	size_t n = 0;

	run(3, "i=0; while [ $i -lt 4000 ]; do echo $RANK-abcdefghijklmnopqrstuvwxyz; i=$((i+1)); done");
	text = rig_text(&r, "logs/1.out");
	for (const char *p = text; *p; p += strcspn(p, "\n") + 1, n++) {
		assert_int_equal(strcspn(p, "\n"), strlen("0: 0-abcdefghijklmnopqrstuvwxyz"));
		assert_true(p[0] >= '0' && p[0] <= '2' && p[0] == p[3]);
	}
	assert_int_equal(n, 12000);
}

/* Two files: each stream in its own. */
static void test_two_files(void **state)
{
	struct launch l = rig_launch(&r, 1, "echo out; echo err >&2");

	l.ranks = 2;
	l.label = true;
	l.err_path = rig_path(&r, "logs/1.err");
	rig_send(&r, &l);
	rig_wait(&r, 1, SPOOL_ENDED);
	assert_int_equal(count(rig_text(&r, "logs/1.out"), "0: out"), 1);
	assert_int_equal(count(rig_text(&r, "logs/1.out"), "1: out"), 1);
	assert_int_equal(strlen(rig_text(&r, "logs/1.out")), 14);
	assert_int_equal(count(rig_text(&r, "logs/1.err"), "1: err"), 1);
	assert_int_equal(strlen(rig_text(&r, "logs/1.err")), 14);
}

/* Two pipes for each: it is said before any of them begins. */
static void test_more_than_files_are_allowed(void **state)
{
	const struct spool_record *end;

	rig_kill_parent(&r, SIGKILL);
	r.files_limit = 90;
	rig_start_parent(&r);
	end = run(14, "touch $D/jobs/begun");
	r.files_limit = 0;
	assert_int_equal(end->cause, SPOOL_SETUP_FAILED);
	assert_non_null(strstr(end->text, "need 92 open files, 90 are allowed"));
	assert_false(rig_exists(&r, "jobs/begun"));
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	        CASE(test_lines_of_each),
	        CASE(test_pieces_become_lines),
	        CASE(test_a_line_without_an_end),
	        CASE(test_a_line_that_is_too_long),
	        CASE(test_much),
	        CASE(test_two_files),
	        CASE(test_more_than_files_are_allowed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
