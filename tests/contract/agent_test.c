#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent_scene.h"
#include "plat/proc.h"

static struct scene scene;
static struct scene *const s = &scene;

static int begin(void **state)
{
	scene_begin(s, NULL);
	scene_start_agent(s);
	return 0;
}

static int end(void **state)
{
	scene_end(s);
	return 0;
}

static void make_file(const char *name)
{
	FILE *f = fopen(scene_path(s, name), "w");

	assert_non_null(f);
	fclose(f);
}

/* A script that runs until the test makes the file "go". */
static const char *until_go(const char *before, const char *after)
{
	static char text[512];

	snprintf(text, sizeof(text), "%s; until [ -e %s ]; do sleep 0.05; done; %s", before,
	        scene_path(s, "go"), after);
	return text;
}

/* Not dead, and not only waiting to be reaped by whoever adopted it. */
static bool is_running(uint32_t pid)
{
	struct proc_list all = {0};
	const struct proc *p;
	bool is_alive;

	assert_true(proc_list_all(&all) >= 0);
	p = proc_list_find(&all, (pid_t)pid);
	is_alive = p && p->state != 'Z' && p->state != 'X';
	proc_list_done(&all);
	return is_alive;
}

static bool has_keepers_parent(struct scene *sc, uint64_t unused)
{
	return scene_keepers_parent(sc) > 1;
}

static pid_t wait_keepers_parent(void)
{
	scene_until(s, has_keepers_parent, 0);
	return scene_keepers_parent(s);
}

static void test_hello(void **state)
{
	assert_string_equal(s->hello.name, "n1");
	assert_int_equal(s->hello.version, LINK_VERSION);
	assert_int_equal(strlen(s->hello.boot_id), 36);
	assert_true(s->hello.mem_bytes > 0);
	assert_true(s->hello.cpus.bits[0] != 0);
	assert_int_equal(s->hello.n_devices, 0);
	assert_int_equal(s->hello.n_attempts, 0);
}

static void test_start_and_exit(void **state)
{
	scene_sh(s, 1, "echo out; echo err >&2; exit 7");
	scene_until(s, has_ended, 1);
	assert_int_equal(scene_count(s, 1, SPOOL_STARTED), 1);
	assert_int_equal(scene_count(s, 1, SPOOL_ENDED), 1);
	assert_int_equal(WEXITSTATUS(scene_record(s, 1, SPOOL_ENDED)->wait_status), 7);
	assert_int_equal(scene_record(s, 1, SPOOL_ENDED)->cause, SPOOL_EXIT);
	assert_string_equal(scene_output(s, 1, 1), "out\n");
	assert_string_equal(scene_output(s, 1, 2), "err\n");
	assert_string_equal(scene_output(s, 1, 0), "out\n");
}

static void test_no_such_command(void **state)
{
	struct link_start m = scene_start(1, "");
	char *argv[] = {"/nonexistent/command", NULL};

	m.argv = argv;
	scene_send_start(s, &m);
	scene_until(s, has_ended, 1);
	assert_int_equal(scene_record(s, 1, SPOOL_ENDED)->cause, SPOOL_EXEC_FAILED);
	assert_int_equal(WEXITSTATUS(scene_record(s, 1, SPOOL_ENDED)->wait_status), 127);
}

static void test_what_cannot_be_prepared(void **state)
{
	struct link_start m = scene_start(1, "true");

	m.user = "no-such-account-here";
	scene_send_start(s, &m);
	scene_until(s, has_ended, 1);
	assert_int_equal(scene_record(s, 1, SPOOL_ENDED)->cause, SPOOL_SETUP_FAILED);
	assert_int_equal(WEXITSTATUS(scene_record(s, 1, SPOOL_ENDED)->wait_status), 125);
	assert_non_null(strstr(scene_record(s, 1, SPOOL_ENDED)->text, "no-such-account-here"));
	m = scene_start(2, "true");
	m.argv = (char *[]){NULL};
	scene_send_start(s, &m);
	scene_until(s, has_ended, 2);
	assert_int_equal(scene_record(s, 2, SPOOL_ENDED)->cause, SPOOL_SETUP_FAILED);
}

static void test_environment(void **state)
{
	static const char blob[] = "A=1\0PATH=/bin:/usr/bin\0BERTH_JOB_ID=999\0LANG=de_DE";
	CLEANUP_BUF struct buf b = BUF_INIT(KIB);
	struct link_start m = scene_start(5,
	        "echo $A,$BERTH_JOB_ID,$BERTH_TASK_ID,$BERTH_ATTEMPT,$BERTH_EPOCH,$BERTH_CPUS,[$CUDA_VISIBLE_DEVICES],"
	        "${BERTH_GPU_MEM_BYTES-none},$PATH,$LANG,${HOME:+home},${USER:+user}");

	m.id = (struct job_id){.num = 17, .task = 3};
	m.attempt = 2;
	m.n_cpus = 4;
	m.env_blob = 8;
	link_put_blob(&b, &(struct link_blob){.num = 8, .data = blob, .len = sizeof(blob)});
	scene_send(s, &b);
	scene_send_start(s, &m);
	scene_until(s, has_ended, 5);
	struct link_stream_open o = {
	        .kind = LINK_STREAM_LOG, .id = m.id, .attempt = 2, .epoch = 5, .want_stdout = true};
	uint64_t stream = scene_open(s, &o);
	scene_until(s, has_closed, stream);
	assert_string_equal(buf_str(&s->streams[stream].bytes[0]),
	        "1,17,3,2,5,4,[],none,/bin:/usr/bin,de_DE,home,user\n");
}

static void test_own_directory(void **state)
{
	struct link_start m = scene_start(1, "pwd; ls -A | wc -l; touch x");

	m.chdir = NULL;
	scene_send_start(s, &m);
	scene_until(s, has_ended, 1);
	char want[300];
	snprintf(want, sizeof(want), "%s\n0\n", scene_path(s, "work/1.1"));
	assert_string_equal(scene_output(s, 1, 1), want);
	scene_run(s, 100);
	assert_int_not_equal(access(scene_path(s, "work/1.1"), F_OK), 0);
}

/* A START that comes twice runs once. */
static void test_start_again(void **state)
{
	char script[300];

	snprintf(script, sizeof(script), "echo x >>%s; sleep 0.2", scene_path(s, "ran"));
	scene_sh(s, 1, script);
	scene_sh(s, 1, script);
	scene_until(s, has_started, 1);
	scene_sh(s, 1, script);
	scene_until(s, has_ended, 1);
	scene_run(s, 300);
	struct stat st;
	assert_int_equal(stat(scene_path(s, "ran"), &st), 0);
	assert_int_equal(st.st_size, 2);
	assert_int_equal(scene_count(s, 1, SPOOL_STARTED), 1);
	assert_int_equal(scene_count(s, 1, SPOOL_ENDED), 1);
}

/* An unacknowledged end is named and said again with every link; an acknowledged one is forgotten. */
static void test_resend(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(KIB);

	s->no_ack = true;
	scene_sh(s, 1, "exit 3");
	scene_until(s, has_ended, 1);
	net_ws_close(s->ws, 1001, "again");
	scene_until(s, has_hello, 2);
	assert_non_null(scene_known(s, 1));
	assert_int_equal(scene_known(s, 1)->phase, LINK_ENDED_UNACKED);
	scene_run(s, 100);
	assert_int_equal(scene_count(s, 1, SPOOL_ENDED), 2);
	/* And a START of it is answered with its end. */
	scene_sh(s, 1, "exit 4");
	scene_run(s, 100);
	assert_int_equal(scene_count(s, 1, SPOOL_ENDED), 3);
	assert_int_equal(WEXITSTATUS(s->records[s->n_records - 1].wait_status), 3);
	link_put_ack(&b, 1);
	scene_send(s, &b);
	scene_run(s, 50);
	net_ws_close(s->ws, 1001, "again");
	scene_until(s, has_hello, 3);
	assert_null(scene_known(s, 1));
	scene_run(s, 100);
	assert_int_equal(scene_count(s, 1, SPOOL_ENDED), 3);
}

/* The server is away while a job ends. */
static void test_server_away(void **state)
{
	scene_sh(s, 1, until_go(":", "exit 5"));
	scene_until(s, has_started, 1);
	scene_hide(s);
	make_file("go");
	scene_run(s, 300);
	assert_false(has_ended(s, 1));
	scene_serve(s);
	scene_until(s, has_ended, 1);
	assert_int_equal(WEXITSTATUS(scene_record(s, 1, SPOOL_ENDED)->wait_status), 5);
}

static void test_agent_killed(void **state)
{
	scene_sh(s, 1, until_go("echo one", "echo two; exit 6"));
	scene_sh(s, 2, "sleep 0.2; exit 8");
	scene_until(s, has_started, 1);
	scene_until(s, has_started, 2);
	scene_kill_agent(s, SIGKILL);
	/* One ends while there is no agent. */
	usleep(400000);
	scene_start_agent(s);
	assert_int_equal(scene_known(s, 1)->phase, LINK_LIVING);
	assert_int_equal(scene_known(s, 2)->phase, LINK_ENDED_UNACKED);
	scene_until(s, has_ended, 2);
	assert_int_equal(WEXITSTATUS(scene_record(s, 2, SPOOL_ENDED)->wait_status), 8);
	assert_false(has_ended(s, 1));
	make_file("go");
	scene_until(s, has_ended, 1);
	assert_int_equal(WEXITSTATUS(scene_record(s, 1, SPOOL_ENDED)->wait_status), 6);
	assert_string_equal(scene_output(s, 1, 1), "one\ntwo\n");
}

static void test_keepers_parent_killed(void **state)
{
	pid_t parent = wait_keepers_parent();

	scene_sh(s, 1, until_go("echo one", "exit 6"));
	scene_until(s, has_started, 1);
	assert_true(parent > 1);
	kill(parent, SIGKILL);
	/* Others go on being started, by another parent. */
	for (uint64_t epoch = 2; epoch < 12; epoch++)
		scene_sh(s, epoch, "exit 9");
	for (uint64_t epoch = 2; epoch < 12; epoch++) {
		scene_until(s, has_ended, epoch);
		assert_int_equal(WEXITSTATUS(scene_record(s, epoch, SPOOL_ENDED)->wait_status), 9);
	}
	assert_true(scene_keepers_parent(s) != parent);
	assert_false(has_ended(s, 1));
	scene_stop(s, 1, SPOOL_STOPPED, false);
	scene_until(s, has_ended, 1);
	assert_int_equal(scene_record(s, 1, SPOOL_ENDED)->cause, SPOOL_STOPPED);
}

static void test_keeper_killed(void **state)
{
	scene_sh(s, 1, until_go(":", "exit 6"));
	scene_until(s, has_started, 1);
	kill((pid_t)scene_record(s, 1, SPOOL_STARTED)->keeper_pid, SIGKILL);
	scene_until(s, has_ended, 1);
	assert_int_equal(scene_record(s, 1, SPOOL_ENDED)->cause, SPOOL_KEEPER_KILLED);
	assert_false(is_running(scene_record(s, 1, SPOOL_STARTED)->pid));
}

/* Keeper and parent and agent at once: nothing is left that could have told. */
static void test_all_killed(void **state)
{
	scene_sh(s, 1, until_go(":", "exit 6"));
	scene_sh(s, 2, until_go(":", "exit 6"));
	scene_until(s, has_started, 1);
	scene_until(s, has_started, 2);
	kill(s->agent, SIGKILL);
	kill(scene_keepers_parent(s), SIGKILL);
	kill((pid_t)scene_record(s, 1, SPOOL_STARTED)->keeper_pid, SIGKILL);
	(void)scene_wait_agent(s);
	scene_start_agent(s);
	scene_until(s, has_ended, 1);
	assert_int_equal(scene_record(s, 1, SPOOL_ENDED)->cause, SPOOL_KEEPER_KILLED);
	assert_false(is_running(scene_record(s, 1, SPOOL_STARTED)->pid));
	assert_false(has_ended(s, 2));
	make_file("go");
	scene_until(s, has_ended, 2);
	assert_int_equal(WEXITSTATUS(scene_record(s, 2, SPOOL_ENDED)->wait_status), 6);
}

static void test_reboot(void **state)
{
	FILE *f;

	scene_sh(s, 1, until_go(":", "exit 6"));
	scene_until(s, has_started, 1);
	kill(s->agent, SIGKILL);
	(void)scene_wait_agent(s);
	kill(scene_keepers_parent(s), SIGKILL);
	kill((pid_t)scene_record(s, 1, SPOOL_STARTED)->keeper_pid, SIGKILL);
	kill((pid_t)scene_record(s, 1, SPOOL_STARTED)->pid, SIGKILL);
	f = fopen(scene_path(s, "run/boot_id"), "w");
	assert_non_null(f);
	fputs("00000000-0000-0000-0000-000000000000", f);
	fclose(f);
	scene_start_agent(s);
	/* As living: that it is not, the server sees by the other boot. */
	assert_int_equal(scene_known(s, 1)->phase, LINK_LIVING);
	scene_until(s, has_ended, 1);
	assert_int_equal(scene_record(s, 1, SPOOL_ENDED)->cause, SPOOL_KEEPER_KILLED);
	assert_non_null(strstr(scene_record(s, 1, SPOOL_ENDED)->text, "restarted"));
}

static void test_stop(void **state)
{
	scene_sh(s, 1, "trap 'echo term; exit 4' TERM; echo ready; while :; do sleep 0.05; done");
	scene_sh(s, 2, "trap '' TERM; while :; do sleep 0.05; done");
	scene_until(s, has_started, 1);
	scene_until(s, has_started, 2);
	scene_run(s, 200);
	scene_stop(s, 1, SPOOL_STOPPED, false);
	scene_stop(s, 2, SPOOL_SHUTDOWN, true);
	scene_until(s, has_ended, 1);
	assert_int_equal(scene_record(s, 1, SPOOL_ENDED)->cause, SPOOL_STOPPED);
	assert_non_null(strstr(scene_output(s, 1, 1), "term"));
	scene_until(s, has_ended, 2);
	assert_int_equal(scene_record(s, 2, SPOOL_ENDED)->cause, SPOOL_SHUTDOWN);
	assert_int_equal(WTERMSIG(scene_record(s, 2, SPOOL_ENDED)->wait_status), SIGKILL);
}

static void test_time_limit(void **state)
{
	struct link_start m = scene_start(1, "sleep 100");

	m.time_limit_ms = 200;
	scene_send_start(s, &m);
	scene_until(s, has_ended, 1);
	assert_int_equal(scene_record(s, 1, SPOOL_ENDED)->cause, SPOOL_TIMEOUT);
}

/* An attempt that nobody here ever heard of is told as ended, once. */
static void test_stop_of_a_stranger(void **state)
{
	scene_stop(s, 99, SPOOL_STOPPED, false);
	scene_until(s, has_ended, 99);
	assert_int_equal(scene_record(s, 99, SPOOL_ENDED)->cause, SPOOL_STOPPED);
	assert_int_equal(scene_count(s, 99, SPOOL_STARTED), 0);
}

static void test_sigterm_leaves_jobs(void **state)
{
	pid_t parent = wait_keepers_parent();

	scene_sh(s, 1, until_go(":", "exit 6"));
	scene_until(s, has_started, 1);
	kill(s->agent, SIGTERM);
	assert_int_equal(scene_wait_agent(s), 0);
	assert_int_equal(scene_keepers_parent(s), parent);
	assert_true(is_running(scene_record(s, 1, SPOOL_STARTED)->pid));
	scene_start_agent(s);
	assert_int_equal(wait_keepers_parent(), parent);
	make_file("go");
	scene_until(s, has_ended, 1);
}

static void test_shutdown(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(KIB);

	scene_sh(s, 1, "sleep 100");
	scene_sh(s, 2, "sleep 100");
	scene_until(s, has_started, 1);
	scene_until(s, has_started, 2);
	link_put_empty(&b, LINK_SHUTDOWN);
	scene_send(s, &b);
	/* What comes too late never begins. */
	scene_sh(s, 3, "sleep 100");
	scene_until(s, has_said_bye, 0);
	assert_int_equal(scene_wait_agent(s), 0);
	for (uint64_t epoch = 1; epoch <= 3; epoch++)
		assert_int_equal(scene_record(s, epoch, SPOOL_ENDED)->cause, SPOOL_SHUTDOWN);
	assert_int_equal(scene_count(s, 3, SPOOL_STARTED), 0);
	assert_int_equal(scene_keepers_parent(s), 0);
}

static void test_one_agent_per_directory(void **state)
{
	pid_t second = fork();
	int status;

	if (second == 0) {
		(void)!freopen("/dev/null", "w", stderr);
		execl(shared_program("berth-agent"), "berth agent", "--data", s->dir, "--server",
		        s->url, (char *)NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(second, &status, 0), second);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 1);
}

static void test_beats(void **state)
{
	s->welcome.heartbeat_ms = 50;
	net_ws_close(s->ws, 1001, "again");
	scene_until(s, has_hello, 2);
	scene_run(s, 300);
	assert_true(s->has_beat);
}

/* A START that names bytes which are not there makes a new link, where the server sends them again. */
static void test_missing_blob(void **state)
{
	struct link_start m = scene_start(1, "true");

	m.env_blob = 77;
	scene_send_start(s, &m);
	scene_until(s, has_hello, 2);
	assert_null(scene_known(s, 1));
	m.env_blob = 0;
	scene_send_start(s, &m);
	scene_until(s, has_ended, 1);
}

static void test_malformed_message(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(KIB);

	buf_add(&b, "\x04\xff\xff\xff\xff nonsense", 14);
	scene_send(s, &b);
	scene_until(s, has_hello, 2);
	scene_sh(s, 1, "true");
	scene_until(s, has_ended, 1);
}

static void test_many(void **state)
{
	for (uint64_t epoch = 1; epoch <= 60; epoch++)
		scene_sh(s, epoch, epoch % 2 ? "exit 1" : "sleep 0.05");
	for (uint64_t epoch = 1; epoch <= 60; epoch++)
		scene_until(s, has_ended, epoch);
	assert_int_equal(s->n_records, 120);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, begin, end)
	const struct CMUnitTest tests[] = {
	        CASE(test_hello),
	        CASE(test_start_and_exit),
	        CASE(test_no_such_command),
	        CASE(test_what_cannot_be_prepared),
	        CASE(test_environment),
	        CASE(test_own_directory),
	        CASE(test_start_again),
	        CASE(test_resend),
	        CASE(test_server_away),
	        CASE(test_agent_killed),
	        CASE(test_keepers_parent_killed),
	        CASE(test_keeper_killed),
	        CASE(test_all_killed),
	        CASE(test_reboot),
	        CASE(test_stop),
	        CASE(test_time_limit),
	        CASE(test_stop_of_a_stranger),
	        CASE(test_sigterm_leaves_jobs),
	        CASE(test_shutdown),
	        CASE(test_one_agent_per_directory),
	        CASE(test_beats),
	        CASE(test_missing_blob),
	        CASE(test_malformed_message),
	        CASE(test_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
