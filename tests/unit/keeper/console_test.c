/* Terminals, and commands run beside a job, through the real program and its sockets. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "plat/clock.h"
#include "rig.h"

static struct rig r;
static char left[128]; /* in the environment of everything that an exec of here starts */

static int set_up(void **state)
{
	r.fsize_limit = 0;
	rig_start(&r, RIG_USER);
	snprintf(left, sizeof(left), "LEFT=%s", r.dir);
	return 0;
}

static int tear_down(void **state)
{
	rig_stop(&r);
	return 0;
}

static struct launch terminal(uint64_t epoch, const char *script)
{
	struct launch l = rig_launch(&r, epoch, script);

	l.tty = l.console = true;
	l.rows = 40;
	l.cols = 100;
	return l;
}

static void type(struct rig_client *c, const char *text)
{
	rig_type(c, CONSOLE_STDIN, text, (uint32_t)strlen(text));
}

static void test_terminal(void **state)
{
	struct launch l = terminal(1,
	        "stty size; while read -r line; do [ \"$line\" = end ] && exit 9; echo \"got $line\"; stty size; done");
	static const uint8_t size[] = {0, 50, 0, 132};
	struct rig_client c;
	struct stat st;

	rig_send(&r, &l);
	rig_attach(&c, l.console_path);
	assert_int_equal(stat(l.console_path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	rig_expect(&c, "40 100\r\n");
	type(&c, "hello\n");
	rig_expect(&c, "hello\r\ngot hello\r\n40 100\r\n");
	rig_type(&c, CONSOLE_RESIZE, size, sizeof(size));
	type(&c, "more\n");
	rig_expect(&c, "got more\r\n50 132\r\n");
	type(&c, "end\n");
	rig_expect(&c, NULL);
	assert_int_equal(c.exit_code, 9);
	assert_int_equal(c.err.len, 0);
	rig_detach(&c);
	assert_int_equal(WEXITSTATUS(rig_wait(&r, 1, SPOOL_ENDED)->wait_status), 9);
	assert_false(rig_exists(&r, "run/1.sock"));
	assert_non_null(strstr(rig_text(&r, "logs/1.out"), "got more\r\n"));
}

static void test_several_clients_and_late_ones(void **state)
{
	struct launch l = terminal(1,
	        "echo early; while read -r line; do [ \"$line\" = end ] && exit; echo \"got $line\"; done");
	struct rig_client a, b, c;

	rig_send(&r, &l);
	rig_attach(&a, l.console_path);
	rig_attach(&b, l.console_path);
	rig_expect(&a, "early\r\n");
	rig_expect(&b, "early\r\n");
	type(&a, "from a\n");
	rig_expect(&b, "got from a\r\n");
	rig_detach(&a);
	rig_attach(&c, l.console_path);
	rig_expect(&c, "early\r\nfrom a\r\ngot from a\r\n");
	type(&c, "end\n");
	rig_expect(&b, NULL);
	rig_expect(&c, NULL);
	assert_int_equal(b.exit_code, 0);
	assert_int_equal(c.exit_code, 0);
	rig_detach(&b);
	rig_detach(&c);
}

/* A client that does not read is dropped; the job and the others go on. A late one is shown the last part. */
static void test_slow_client_is_dropped(void **state)
{
	struct launch l =
	        terminal(1, "stty -echo -opost; while read -r n; do [ $n = end ] && exit; "
	                    "head -c 200000 /dev/zero | tr '\\0' x; echo done$n.; done");
	struct rig_client slow, quick, late;
	char text[16];

	rig_send(&r, &l);
	rig_attach(&slow, l.console_path);
	rig_attach(&quick, l.console_path);
	/* One that has read everything before there is more is never slow, however busy the machine. */
	for (int i = 0; i < 20; i++) {
		snprintf(text, sizeof(text), "%d\n", i);
		type(&quick, text);
		snprintf(text, sizeof(text), "done%d.\n", i);
		rig_expect(&quick, text);
	}
	assert_true(quick.out.len >= 4000000);
	rig_attach(&late, l.console_path);
	rig_expect(&late, "done19.\n");
	assert_true(late.out.len <= 64 * KIB);
	type(&late, "end\n");
	rig_expect(&quick, NULL);
	rig_expect(&late, NULL);
	assert_int_equal(quick.exit_code, 0);
	rig_expect(&slow, NULL);
	assert_int_equal(slow.exit_code, -1);
	assert_true(slow.out.len < 4000000);
	rig_detach(&slow);
	rig_detach(&quick);
	rig_detach(&late);
	assert_true(rig_wait(&r, 1, SPOOL_ENDED)->output_bytes >= 4000000);
}

/* Interactive shells do not take TERM; a closed terminal ends them, without the grace. */
static void test_shell_takes_the_stop(void **state)
{
	struct launch l = terminal(1, "exec sh -i");
	struct rig_client c;

	l.grace_ms = 3600000;
	rig_send(&r, &l);
	rig_attach(&c, l.console_path);
	type(&c, "echo rea''dy\n");
	rig_expect(&c, "ready");
	rig_send_stop(&r, 1, false, SPOOL_STOPPED);
	assert_int_equal(rig_wait(&r, 1, SPOOL_ENDED)->cause, SPOOL_STOPPED);
	rig_detach(&c);
}

static void test_nonsense_ends_the_client_only(void **state)
{
	struct launch l = terminal(1, "read -r line; exit 3");
	struct rig_client bad, good;

	rig_send(&r, &l);
	rig_attach(&bad, l.console_path);
	rig_attach(&good, l.console_path);
	assert_int_equal(write(bad.fd, "\0\xff\xff\xff\xff", 5), 5);
	rig_expect(&bad, NULL);
	assert_int_equal(bad.exit_code, -1);
	type(&good, "go\n");
	rig_expect(&good, NULL);
	assert_int_equal(good.exit_code, 3);
	rig_detach(&bad);
	rig_detach(&good);
}

/* `run -i`: pipes, with input from the console. */
static void test_input_without_a_terminal(void **state)
{
	struct launch l = rig_launch(&r, 1, "wc -c; echo err >&2; exit 2");
	char *big = calloc(1, 60000);
	struct rig_client c;

	l.console = true;
	rig_send(&r, &l);
	rig_attach(&c, l.console_path);
	for (int i = 0; i < 20; i++)
		rig_type(&c, CONSOLE_STDIN, big, 60000);
	rig_type(&c, CONSOLE_STDIN_EOF, NULL, 0);
	rig_expect(&c, NULL);
	assert_int_equal(c.exit_code, 2);
	assert_string_equal(buf_str(&c.out), "1200000\n");
	assert_string_equal(buf_str(&c.err), "err\n");
	rig_detach(&c);
	rig_wait(&r, 1, SPOOL_ENDED);
	assert_non_null(strstr(rig_text(&r, "logs/1.out"), "1200000\n"));
	free(big);
}

static struct launch command(uint64_t epoch, const char *name, const char *script)
{
	struct launch l = rig_launch(&r, epoch, script);
	static char path[4][128];
	static unsigned next;
	char *mine = path[next++ % ARRAY_LEN(path)];

	snprintf(mine, sizeof(path[0]), "%s/run/%s.sock", r.dir, name);
	l.kind = LAUNCH_EXEC;
	l.out_path = l.index_path = NULL;
	l.console_path = mine;
	l.env[3] = left;
	l.env[4] = NULL;
	l.console = true;
	return l;
}

static void start_host(uint64_t epoch)
{
	struct launch l =
	        rig_launch(&r, epoch, "echo ready; while [ ! -e $D/jobs/go ]; do sleep 0.01; done");
	char name[32];

	rig_send(&r, &l);
	snprintf(name, sizeof(name), "logs/%ju.out", (uintmax_t)epoch);
	rig_wait_text(&r, name, "ready");
}

static void test_exec(void **state)
{
	struct launch l = command(
	        1, "a", "cat; echo err >&2; env | grep ^BERTH_KEEPER= | sed 's/.*-//'; exit 5");
	struct rig_client c;

	start_host(1);
	rig_send(&r, &l);
	rig_attach(&c, l.console_path);
	type(&c, "some text\n");
	rig_expect(&c, "some text\n");
	rig_type(&c, CONSOLE_STDIN_EOF, NULL, 0);
	rig_expect(&c, NULL);
	assert_int_equal(c.exit_code, 5);
	assert_string_equal(buf_str(&c.out), "some text\n1\n");
	assert_string_equal(buf_str(&c.err), "err\n");
	rig_detach(&c);
	assert_false(rig_exists(&r, "run/a.sock"));
	rig_touch(&r, "jobs/go");
	assert_int_equal(rig_wait(&r, 1, SPOOL_ENDED)->wait_status, 0);
	assert_int_equal(r.n_records, 2); /* STARTED, ENDED */
	assert_string_equal(rig_text(&r, "logs/1.out"), "ready\n");
}

static void test_exec_with_a_terminal(void **state)
{
	struct launch l = command(1, "a", "stty size; tty >/dev/null && echo terminal; kill -9 $$");
	struct rig_client c;

	start_host(1);
	l.tty = true;
	rig_send(&r, &l);
	rig_attach(&c, l.console_path);
	rig_expect(&c, NULL);
	assert_string_equal(buf_str(&c.out), "24 80\r\nterminal\r\n");
	assert_int_equal(c.exit_code, 137);
	rig_detach(&c);
}

/* All of it arrives, however slowly it is read. */
static void test_exec_waits_for_a_slow_client(void **state)
{
	struct launch l = command(1, "a", "head -c 5000000 /dev/zero; touch $D/jobs/written");
	struct rig_client c;

	start_host(1);
	rig_send(&r, &l);
	rig_attach(&c, l.console_path);
	usleep(300 * 1000);
	assert_false(rig_exists(&r, "jobs/written"));
	rig_expect(&c, NULL);
	assert_int_equal(c.exit_code, 0);
	assert_int_equal(c.out.len, 5000000);
	rig_detach(&c);
}

static void check_refused(struct launch *l, const char *part)
{
	struct rig_client c;

	rig_send(&r, l);
	rig_attach(&c, l->console_path);
	rig_expect(&c, NULL);
	assert_int_equal(c.exit_code, -1);
	if (!strstr(c.error, part))
		fail_msg("error is: %s", c.error);
	rig_detach(&c);
}

static void test_exec_that_cannot_be(void **state)
{
	static char missing[] = "no-such-program";
	struct launch l = command(77, "a", "true");

	check_refused(&l, "not running");
	start_host(1);
	l = command(1, "b", "true");
	l.argv[0] = missing;
	check_refused(&l, "no-such-program");
	l = command(1, "c", "true");
	l.refusal = "no such account";
	check_refused(&l, "no such account");
	rig_touch(&r, "jobs/go");
	rig_wait(&r, 1, SPOOL_ENDED);
	l = command(1, "d", "true");
	check_refused(&l, "not running");
}

/* The attempt's end is told only when its execs are gone, too, whatever they ignore. */
static void test_exec_ends_with_its_attempt(void **state)
{
	struct launch l = command(1, "a",
	        "trap '' TERM HUP; (setsid sleep 1000 &); echo ready; while :; do sleep 0.01; done");
	struct launch l2 = command(1, "b", "trap '' TERM HUP; echo ready; sleep 1000");
	struct rig_client c, c2;

	start_host(1);
	rig_send(&r, &l);
	rig_send(&r, &l2);
	rig_attach(&c, l.console_path);
	rig_attach(&c2, l2.console_path);
	rig_expect(&c, "ready");
	rig_expect(&c2, "ready");
	assert_true(rig_count_marked(left) >= 3);
	rig_touch(&r, "jobs/go");
	rig_wait(&r, 1, SPOOL_ENDED);
	assert_int_equal(rig_count_marked(left), 0);
	rig_expect(&c, NULL);
	assert_int_equal(c.exit_code, 137);
	rig_detach(&c);
	rig_detach(&c2);
}

static void test_exec_ends_when_its_keeper_or_the_attempts_is_killed(void **state)
{
	struct launch l = command(1, "a",
	        "trap '' TERM HUP; (env -i LEFT=$LEFT setsid sleep 1000 &); echo ready; sleep 1000");
	struct rig_client c;
	pid_t exec;

	start_host(1);
	rig_send(&r, &l);
	rig_attach(&c, l.console_path);
	rig_expect(&c, "ready");
	exec = rig_exec_pid(&r, 1);
	assert_true(exec > 0);
	kill(exec, SIGKILL);
	rig_wait_none_marked(left);
	rig_detach(&c);
	assert_true(rig_is_alive(&r, 1));
	rig_send(&r, &l);
	rig_attach(&c, l.console_path);
	rig_expect(&c, "ready");
	kill(rig_keeper_pid(&r, 1), SIGKILL);
	assert_int_equal(rig_wait(&r, 1, SPOOL_ENDED)->cause, SPOOL_KEEPER_KILLED);
	rig_wait_none_marked(left);
	rig_expect(&c, NULL);
	rig_detach(&c);
}

/* Nobody has come for it yet, and it has nothing left but to be asked how it ended. */
static void test_exec_without_a_client_does_not_hold_up_the_end(void **state)
{
	struct launch l = command(1, "a", "exit 3");
	uint64_t begin;

	start_host(1);
	rig_send(&r, &l);
	while (rig_exec_pid(&r, 1) <= 0)
		usleep(1000);
	begin = clock_mono_ms();
	rig_touch(&r, "jobs/go");
	rig_wait(&r, 1, SPOOL_ENDED);
	assert_true(clock_mono_ms() - begin < 15000);
}

/* Its output and its end wait for whoever comes. */
static void test_client_that_comes_late(void **state)
{
	struct launch l = command(1, "a", "echo early; touch $D/jobs/over; exit 3");
	struct rig_client c;

	start_host(1);
	rig_send(&r, &l);
	while (!rig_exists(&r, "jobs/over"))
		usleep(1000);
	usleep(50 * 1000);
	rig_attach(&c, l.console_path);
	rig_expect(&c, NULL);
	assert_string_equal(buf_str(&c.out), "early\n");
	assert_int_equal(c.exit_code, 3);
	rig_detach(&c);
}

static void test_exec_ends_with_its_client(void **state)
{
	struct launch l = command(1, "a", "echo ready; sleep 1000");
	struct rig_client c;

	start_host(1);
	rig_send(&r, &l);
	rig_attach(&c, l.console_path);
	rig_expect(&c, "ready");
	assert_true(rig_count_marked(left) >= 1);
	rig_detach(&c);
	rig_wait_none_marked(left);
	assert_true(rig_is_alive(&r, 1));
}

static void test_exec_in_an_old_keepers_attempt(void **state)
{
	struct launch l = command(1, "a", "echo hello");
	char second[128];
	struct launch rotate = {.kind = LAUNCH_ROTATE, .path = second};
	struct rig_client c;

	snprintf(second, sizeof(second), "%s/spool/2", r.dir);
	start_host(1);
	rig_kill_parent(&r, SIGKILL);
	rig_start_parent(&r);
	rig_send(&r, &rotate);
	l.path = r.spool;
	rig_send(&r, &l);
	rig_attach(&c, l.console_path);
	rig_expect(&c, NULL);
	assert_string_equal(buf_str(&c.out), "hello\n");
	assert_int_equal(c.exit_code, 0);
	rig_detach(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	        TEST(test_terminal),
	        TEST(test_several_clients_and_late_ones),
	        TEST(test_slow_client_is_dropped),
	        TEST(test_shell_takes_the_stop),
	        TEST(test_nonsense_ends_the_client_only),
	        TEST(test_input_without_a_terminal),
	        TEST(test_exec),
	        TEST(test_exec_with_a_terminal),
	        TEST(test_exec_waits_for_a_slow_client),
	        TEST(test_exec_that_cannot_be),
	        TEST(test_exec_ends_with_its_attempt),
	        TEST(test_exec_ends_when_its_keeper_or_the_attempts_is_killed),
	        TEST(test_exec_without_a_client_does_not_hold_up_the_end),
	        TEST(test_client_that_comes_late),
	        TEST(test_exec_ends_with_its_client),
	        TEST(test_exec_in_an_old_keepers_attempt),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
