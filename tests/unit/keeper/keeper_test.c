/* The life of an attempt, through the real program: how it starts, how it ends. */
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

static int set_up(void **state)
{
	r.fsize_limit = 0;
	rig_start(&r, RIG_USER);
	return 0;
}

static int tear_down(void **state)
{
	rig_stop(&r);
	return 0;
}

static const struct spool_record *run(uint64_t epoch, const char *script)
{
	struct launch l = rig_launch(&r, epoch, script);

	rig_send(&r, &l);
	return rig_wait(&r, epoch, SPOOL_ENDED);
}

static void test_exit_code(void **state)
{
	const struct spool_record *end = run(1, "exit 7"), *start;

	assert_int_equal(end->cause, SPOOL_EXIT);
	assert_true(WIFEXITED(end->wait_status));
	assert_int_equal(WEXITSTATUS(end->wait_status), 7);
	assert_int_equal(end->job, 1001);
	assert_int_equal(end->task, -1);
	assert_int_equal(end->attempt, 1);
	assert_true(
	        end->wall_ms > clock_wall_ms() - RIG_WAIT_MS && end->wall_ms <= clock_wall_ms());
	assert_true(end->peak_mem_bytes > 100 * KIB);
	start = rig_wait(&r, 1, SPOOL_STARTED);
	assert_true(start->pid > 1 && start->keeper_pid > 1 && start->pid != start->keeper_pid);
	assert_true(start < end);
	assert_int_equal(rig_count(&r, 1, SPOOL_STARTED), 1);
	assert_int_equal(rig_count(&r, 1, SPOOL_ENDED), 1);
}

static void test_signal(void **state)
{
	const struct spool_record *end = run(1, "kill -SEGV $$");

	assert_int_equal(end->cause, SPOOL_EXIT);
	assert_true(WIFSIGNALED(end->wait_status));
	assert_int_equal(WTERMSIG(end->wait_status), SIGSEGV);
}

static void test_lives_while_it_runs(void **state)
{
	struct launch l = rig_launch(&r, 1, "while [ ! -e $D/jobs/go ]; do sleep 0.01; done");
	const struct spool_record *start;

	rig_send(&r, &l);
	start = rig_wait(&r, 1, SPOOL_STARTED);
	assert_int_equal(start->keeper_pid, rig_keeper_pid(&r, 1));
	rig_touch(&r, "jobs/go");
	rig_wait(&r, 1, SPOOL_ENDED);
	while (rig_is_alive(&r, 1))
		usleep(1000);
}

static void test_cpu_time_of_all_processes(void **state)
{
	const struct spool_record *end = run(1,
	        "for i in 1 2; do sh -c 'i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done' & done; wait");

	assert_true(end->cpu_ms >= 20);
	assert_true(end->cpu_ms < 60000);
}

static void test_time_limit(void **state)
{
	struct launch l = rig_launch(&r, 1, "sleep 1000");
	const struct spool_record *end;
	uint64_t begin = clock_mono_ms();

	l.time_limit_ms = 150;
	rig_send(&r, &l);
	end = rig_wait(&r, 1, SPOOL_ENDED);
	assert_true(clock_mono_ms() - begin >= 150);
	assert_int_equal(end->cause, SPOOL_TIMEOUT);
	assert_int_equal(WTERMSIG(end->wait_status), SIGTERM);
}

static void test_stop(void **state)
{
	struct launch l = rig_launch(
	        &r, 1, "trap 'echo got; exit 9' TERM; echo ready; while :; do sleep 0.01; done");
	const struct spool_record *end;

	rig_send(&r, &l);
	rig_wait_text(&r, "logs/1.out", "ready");
	rig_send_stop(&r, 1, false, SPOOL_SHUTDOWN);
	end = rig_wait(&r, 1, SPOOL_ENDED);
	assert_int_equal(end->cause, SPOOL_SHUTDOWN);
	assert_int_equal(WEXITSTATUS(end->wait_status), 9);
	assert_non_null(strstr(rig_text(&r, "logs/1.out"), "got\n"));
}

static void test_stop_by_signal_to_the_keeper(void **state)
{
	struct launch l = rig_launch(&r, 1, "sleep 1000");
	const struct spool_record *start;

	rig_send(&r, &l);
	start = rig_wait(&r, 1, SPOOL_STARTED);
	kill((pid_t)start->keeper_pid, SIGTERM);
	assert_int_equal(rig_wait(&r, 1, SPOOL_ENDED)->cause, SPOOL_SHUTDOWN);
}

/* As at the end of a machine: whoever hears of it first. */
static void test_term_to_all(void **state)
{
	struct launch l = rig_launch(&r, 1, "sleep 1000");
	const struct spool_record *start;

	rig_send(&r, &l);
	start = rig_wait(&r, 1, SPOOL_STARTED);
	kill((pid_t)start->keeper_pid, SIGSTOP);
	kill((pid_t)start->pid, SIGTERM);
	kill((pid_t)start->keeper_pid, SIGTERM);
	kill((pid_t)start->keeper_pid, SIGCONT);
	assert_int_equal(rig_wait(&r, 1, SPOOL_ENDED)->cause, SPOOL_SHUTDOWN);
}

/* A TERM to the job alone is its own affair. */
static void test_term_to_the_job(void **state)
{
	struct launch l = rig_launch(&r, 1, "sleep 1000");
	const struct spool_record *start;

	rig_send(&r, &l);
	start = rig_wait(&r, 1, SPOOL_STARTED);
	kill((pid_t)start->pid, SIGTERM);
	assert_int_equal(rig_wait(&r, 1, SPOOL_ENDED)->cause, SPOOL_EXIT);
}

static void test_ignored_term(void **state)
{
	struct launch l =
	        rig_launch(&r, 1, "trap '' TERM; echo ready; while :; do sleep 0.01; done");
	const struct spool_record *end;
	uint64_t begin;

	l.grace_ms = 200;
	rig_send(&r, &l);
	rig_wait_text(&r, "logs/1.out", "ready");
	begin = clock_mono_ms();
	rig_send_stop(&r, 1, false, SPOOL_STOPPED);
	end = rig_wait(&r, 1, SPOOL_ENDED);
	assert_true(clock_mono_ms() - begin >= 200);
	assert_int_equal(end->cause, SPOOL_STOPPED);
	assert_int_equal(WTERMSIG(end->wait_status), SIGKILL);
}

/* A second, harder stop does not wait for the grace of the first. */
static void test_forced_stop(void **state)
{
	struct launch l =
	        rig_launch(&r, 1, "trap '' TERM; echo ready; while :; do sleep 0.01; done");
	const struct spool_record *end;

	l.grace_ms = 3600000;
	rig_send(&r, &l);
	rig_wait_text(&r, "logs/1.out", "ready");
	rig_send_stop(&r, 1, false, SPOOL_SHUTDOWN);
	rig_send_stop(&r, 1, true, SPOOL_STOPPED);
	end = rig_wait(&r, 1, SPOOL_ENDED);
	assert_int_equal(end->cause, SPOOL_SHUTDOWN);
	assert_int_equal(WTERMSIG(end->wait_status), SIGKILL);
}

static void test_stopped_process_takes_the_stop(void **state)
{
	struct launch l = rig_launch(&r, 1, "echo ready; kill -STOP $$; echo never");

	l.grace_ms = 3600000;
	rig_send(&r, &l);
	rig_wait_text(&r, "logs/1.out", "ready");
	rig_send_stop(&r, 1, false, SPOOL_STOPPED);
	assert_int_equal(WTERMSIG(rig_wait(&r, 1, SPOOL_ENDED)->wait_status), SIGTERM);
}

/* A daemon in a session of its own, without our mark, that ignores TERM, is still a descendant. */
static void test_nothing_is_left_behind(void **state)
{
	struct launch l = rig_launch(&r, 1,
	        "export LEFT=$D; (setsid sh -c 'trap \"\" TERM; (env -i LEFT=$LEFT sleep 1000 &); sleep 1000' &) ; sleep 1000 & "
	        "sleep 0.1; exit 5");
	const struct spool_record *end;
	char left[128];

	snprintf(left, sizeof(left), "LEFT=%s", r.dir);
	l.grace_ms = 100;
	rig_send(&r, &l);
	end = rig_wait(&r, 1, SPOOL_ENDED);
	assert_int_equal(rig_count_marked(left), 0);
	assert_int_equal(end->cause, SPOOL_EXIT);
	assert_int_equal(WEXITSTATUS(end->wait_status), 5);
}

/* Forks faster than anybody can list it, each child in a session of its own. */
static void test_forking_storm_is_ended(void **state)
{
	struct launch l = rig_launch(&r, 1,
	        "export LEFT=$D; i=0; while [ $i -lt 8 ]; do i=$((i+1)); (setsid sh -c 'trap \"\" TERM; while :; do (setsid sleep 1000 &); "
	        "sleep 0.02; done' &); done; echo ready; sleep 1000");
	char left[128];

	snprintf(left, sizeof(left), "LEFT=%s", r.dir);
	l.grace_ms = 300;
	rig_send(&r, &l);
	rig_wait_text(&r, "logs/1.out", "ready");
	rig_send_stop(&r, 1, false, SPOOL_STOPPED);
	rig_wait(&r, 1, SPOOL_ENDED);
	assert_int_equal(rig_count_marked(left), 0);
}

static void check_failure(
        uint64_t epoch, struct launch *l, enum spool_cause cause, int code, const char *part)
{
	const struct spool_record *end;

	rig_send(&r, l);
	end = rig_wait(&r, epoch, SPOOL_ENDED);
	assert_int_equal(end->cause, cause);
	assert_int_equal(WEXITSTATUS(end->wait_status), code);
	if (!strstr(end->text, part))
		fail_msg("text is: %s", end->text);
	assert_int_equal(rig_count(&r, epoch, SPOOL_STARTED), 0);
}

static void test_what_cannot_begin(void **state)
{
	static char missing[] = "no-such-program", directory[] = "/tmp", *none[] = {NULL};
	struct launch l = rig_launch(&r, 1, "");

	l.argv[0] = missing;
	check_failure(1, &l, SPOOL_EXEC_FAILED, 127, "no-such-program");
	l = rig_launch(&r, 2, "");
	l.argv[0] = directory;
	check_failure(2, &l, SPOOL_EXEC_FAILED, 126, "/tmp");
	l = rig_launch(&r, 3, "");
	l.cwd = "/no/such/directory";
	check_failure(3, &l, SPOOL_SETUP_FAILED, 125, "/no/such/directory");
	l = rig_launch(&r, 4, "");
	l.argv = none;
	check_failure(4, &l, SPOOL_SETUP_FAILED, 125, "no command");
	l = rig_launch(&r, 5, "");
	l.out_path = "/no/such/file";
	l.out_internal = false;
	check_failure(5, &l, SPOOL_SETUP_FAILED, 125, "/no/such/file");
	l = rig_launch(&r, 6, "");
	l.refusal = "account 'x' is not allowed";
	check_failure(6, &l, SPOOL_SETUP_FAILED, 125, "account 'x' is not allowed");
	l = rig_launch(&r, 7, "");
	l.tty = true;
	l.console_path = "/no/such/dir/console";
	check_failure(7, &l, SPOOL_SETUP_FAILED, 125, "/no/such/dir/console");
}

static void test_path_of_the_job_is_searched(void **state)
{
	struct launch l = rig_launch(&r, 1, "");
	static char name[] = "hello";
	static char path[160];
	FILE *f = fopen(rig_path(&r, "jobs/hello"), "we");

	fputs("#!/bin/sh\necho hello from $0\n", f);
	fchmod(fileno(f), 0755);
	fclose(f);
	snprintf(path, sizeof(path), "PATH=/nowhere:%s/jobs:/bin", r.dir);
	l.argv[0] = name;
	l.env[0] = path;
	rig_send(&r, &l);
	assert_int_equal(rig_wait(&r, 1, SPOOL_ENDED)->cause, SPOOL_EXIT);
	assert_non_null(strstr(rig_text(&r, "logs/1.out"), "hello from"));
}

/* What a process starts with: signals, descriptors, session, umask, environment, input. */
static void test_clean_start(void **state)
{
	struct launch l = rig_launch(&r, 1,
	        "grep -E '^Sig(Blk|Ign)' /proc/self/status | tr -d '\\n\\t'; echo; ls /proc/self/fd | tr '\\n' ' '; echo; umask; "
	        "cat /dev/stdin; [ $(ps -o sid= -p $$) = $$ ] && echo leader; env | grep -c ^BERTH_KEEPER=");
	static char old_mark[] = "BERTH_KEEPER=of-an-outer-berth";

	l.env[3] = old_mark;
	l.env[4] = NULL;
	rig_send(&r, &l);
	rig_wait(&r, 1, SPOOL_ENDED);
	assert_string_equal(rig_text(&r, "logs/1.out"),
	        "SigBlk:0000000000000000SigIgn:0000000000000000\n0 1 2 3 \n0022\nleader\n1\n");
}

static void test_own_directory(void **state)
{
	struct launch l = rig_launch(&r, 1,
	        "pwd; echo $(ls -A | wc -l); mkdir -p a/b/c/d/e f; touch a/b/c/d/e/x f/y .hidden; ln -s / root; mkdir locked; touch locked/z; "
	        "chmod 0 locked; i=0; while [ $i -lt 300 ]; do mkdir d; cd d; i=$((i+1)); done");

	l.cwd = rig_path(&r, "jobs/own");
	l.make_cwd = true;
	rig_send(&r, &l);
	assert_int_equal(rig_wait(&r, 1, SPOOL_ENDED)->wait_status, 0);
	assert_non_null(strstr(rig_text(&r, "logs/1.out"), "/jobs/own\n0\n"));
	assert_false(rig_exists(&r, "jobs/own"));
	assert_true(rig_exists(&r, "jobs"));
}

static void test_cpus(void **state)
{
	struct launch l = rig_launch(&r, 1, "grep Cpus_allowed_list /proc/self/status");

	l.cpus[0] = 1;
	rig_send(&r, &l);
	rig_wait(&r, 1, SPOOL_ENDED);
	assert_string_equal(rig_text(&r, "logs/1.out"), "Cpus_allowed_list:\t0\n");
	l = rig_launch(&r, 2, "true");
	l.cpus[LAUNCH_CPUS / 64 - 1] = 1ull << 63; /* no machine here has it */
	check_failure(2, &l, SPOOL_SETUP_FAILED, 125, "CPUs");
}

static void test_repeated_start(void **state)
{
	struct launch other,
	        l = rig_launch(&r, 1,
	                "echo once >>$D/jobs/count; echo ready; while [ ! -e $D/jobs/go ]; do sleep 0.01; done");

	rig_send(&r, &l);
	rig_wait_text(&r, "logs/1.out", "ready");
	/* It lives: whatever is sent. */
	rig_send(&r, &l);
	l.again = true;
	rig_send(&r, &l);
	other = rig_launch(&r, 4, "true");
	rig_send(&r, &other);
	rig_wait(&r, 4, SPOOL_ENDED);
	rig_touch(&r, "jobs/go");
	rig_wait(&r, 1, SPOOL_ENDED);
	/* It has ended: not when it is said that it may have been sent before. */
	rig_send(&r, &l);
	l = rig_launch(&r, 2, "true");
	rig_send(&r, &l);
	rig_wait(&r, 2, SPOOL_ENDED);
	l = rig_launch(&r, 3, "true");
	l.again = true;
	rig_send(&r, &l);
	rig_wait(&r, 3, SPOOL_ENDED);
	assert_string_equal(rig_text(&r, "jobs/count"), "once\n");
	assert_int_equal(rig_count(&r, 1, SPOOL_ENDED), 1);
	assert_int_equal(rig_count(&r, 1, SPOOL_STARTED), 1);
}

static void test_many_at_once(void **state)
{
	enum { N = 60 };

	for (uint64_t i = 1; i <= N; i++) {
		struct launch l = rig_launch(&r, i, "echo $BERTH_EPOCH; exit $((BERTH_EPOCH % 7))");

		rig_send(&r, &l);
	}
	for (uint64_t i = 1; i <= N; i++) {
		char name[32], want[32];

		assert_int_equal(WEXITSTATUS(rig_wait(&r, i, SPOOL_ENDED)->wait_status), i % 7);
		snprintf(name, sizeof(name), "logs/%ju.out", (uintmax_t)i);
		snprintf(want, sizeof(want), "%ju\n", (uintmax_t)i);
		assert_string_equal(rig_text(&r, name), want);
	}
}

static void test_large_message(void **state)
{
	struct launch l = rig_launch(&r, 1, "echo ${#BIG}");
	char *big = malloc(100001);

	memset(big, 'x', 100000);
	memcpy(big, "BIG=", 4);
	big[100000] = '\0';
	l.env[3] = big;
	l.env[4] = NULL;
	rig_send(&r, &l);
	rig_wait(&r, 1, SPOOL_ENDED);
	assert_string_equal(rig_text(&r, "logs/1.out"), "99996\n");
	free(big);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	        TEST(test_exit_code),
	        TEST(test_signal),
	        TEST(test_lives_while_it_runs),
	        TEST(test_cpu_time_of_all_processes),
	        TEST(test_time_limit),
	        TEST(test_stop),
	        TEST(test_stop_by_signal_to_the_keeper),
	        TEST(test_term_to_all),
	        TEST(test_term_to_the_job),
	        TEST(test_ignored_term),
	        TEST(test_forced_stop),
	        TEST(test_stopped_process_takes_the_stop),
	        TEST(test_nothing_is_left_behind),
	        TEST(test_forking_storm_is_ended),
	        TEST(test_what_cannot_begin),
	        TEST(test_path_of_the_job_is_searched),
	        TEST(test_clean_start),
	        TEST(test_own_directory),
	        TEST(test_cpus),
	        TEST(test_repeated_start),
	        TEST(test_many_at_once),
	        TEST(test_large_message),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
