/* What is left when keepers, their parent, or both are killed: nothing of the dead, everything of the living. */
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
#include "plat/proc.h"
#include "rig.h"

static struct rig r;
static char left[128]; /* in the environment of everything that a script of here starts */

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

/* Starts it and waits until it says that it is ready. */
static struct spool_record start(uint64_t epoch, const char *script)
{
	struct launch l = rig_launch(&r, epoch, script);
	char name[32];

	l.env[3] = left;
	l.env[4] = NULL;
	rig_send(&r, &l);
	snprintf(name, sizeof(name), "logs/%ju.out", (uintmax_t)epoch);
	rig_wait_text(&r, name, "ready");
	return *rig_wait(&r, epoch, SPOOL_STARTED);
}

/* Daemons in sessions of their own; one without any environment; all ignore TERM. */
#define FAMILY                                                                                                   \
	"trap '' TERM; (setsid sh -c 'trap \"\" TERM; (env -i LEFT=$LEFT setsid sleep 1000 &); sleep 1000' &); " \
	"(env -i LEFT=$LEFT sh -c 'sleep 1000 & sleep 1000' &); sleep 0.2; echo ready; sleep 1000"

/* Without setsid behind env -i: then nobody else remembers whose it is. */
#define FAMILY_TRACEABLE                                                                                  \
	"trap '' TERM; (setsid sh -c 'trap \"\" TERM; (env -i LEFT=$LEFT sleep 1000 &); sleep 1000' &); " \
	"(env -i LEFT=$LEFT sh -c 'sleep 1000 & sleep 1000' &); sleep 0.2; echo ready; sleep 1000"

static void check_swept(uint64_t epoch)
{
	const struct spool_record *end = rig_wait(&r, epoch, SPOOL_ENDED);

	assert_int_equal(end->cause, SPOOL_KEEPER_KILLED);
	assert_int_equal(end->job, epoch + 1000);
	assert_int_equal(end->attempt, 1);
	assert_int_equal(end->task, -1);
}

static void test_killed_keeper_is_swept(void **state)
{
	struct spool_record s = start(1, FAMILY);

	assert_true(rig_count_marked(left) >= 5);
	kill((pid_t)s.keeper_pid, SIGKILL);
	check_swept(1);
	assert_int_equal(rig_count_marked(left), 0);
	while (rig_is_alive(&r, 1))
		usleep(1000);
	assert_int_equal(rig_count(&r, 1, SPOOL_ENDED), 1);
}

/* Each sweep takes its own; the neighbour does not notice. */
static void test_neighbours_go_on(void **state)
{
	struct spool_record a = start(1, FAMILY),
	                    b = start(2,
	                            "trap 'exit 3' TERM; echo ready; while :; do sleep 0.01; done");
	struct spool_record c = start(3, FAMILY);

	kill((pid_t)a.keeper_pid, SIGKILL);
	kill((pid_t)c.keeper_pid, SIGKILL);
	check_swept(1);
	check_swept(3);
	assert_true(rig_is_alive(&r, 2));
	assert_int_equal(kill((pid_t)b.pid, 0), 0);
	rig_send_stop(&r, 2, false, SPOOL_STOPPED);
	assert_int_equal(WEXITSTATUS(rig_wait(&r, 2, SPOOL_ENDED)->wait_status), 3);
}

static void test_keeper_killed_again_and_again(void **state)
{
	for (uint64_t epoch = 1; epoch <= 20; epoch++) {
		struct launch l = rig_launch(&r, epoch, "sleep 1000");
		pid_t keeper;

		l.env[3] = left;
		l.env[4] = NULL;
		rig_send(&r, &l);
		/* At any moment from its first instruction on. */
		while ((keeper = rig_keeper_pid(&r, epoch)) <= 0)
			;
		usleep((useconds_t)(epoch * 137 % 1000));
		kill(keeper, SIGKILL);
		check_swept(epoch);
		assert_int_equal(rig_count_marked(left), 0);
	}
}

/* A storm of forks whose keeper is gone. */
static void test_storm_is_swept(void **state)
{
	struct spool_record s = start(1,
	        "i=0; while [ $i -lt 6 ]; do i=$((i+1)); (setsid sh -c 'trap \"\" TERM; while :; do (setsid sleep 1000 &); "
	        "sleep 0.05; done' &); done; echo ready; sleep 1000");

	kill((pid_t)s.keeper_pid, SIGKILL);
	check_swept(1);
	assert_int_equal(rig_count_marked(left), 0);
}

static void test_killed_sweep_is_swept_again(void **state)
{
	struct spool_record s = start(1, FAMILY);
	pid_t sweeper, keeper = (pid_t)s.keeper_pid;

	kill(keeper, SIGKILL);
	while ((sweeper = rig_keeper_pid(&r, 1)) <= 0 || sweeper == keeper)
		;
	kill(sweeper, SIGKILL);
	check_swept(1);
	assert_int_equal(rig_count_marked(left), 0);
	assert_int_equal(rig_count(&r, 1, SPOOL_ENDED), 1);
}

static void test_own_directory_is_removed_by_the_sweep(void **state)
{
	struct launch l = rig_launch(&r, 1, "mkdir -p a/b; touch a/b/c; echo ready; sleep 1000");

	l.cwd = rig_path(&r, "jobs/own");
	l.make_cwd = true;
	rig_send(&r, &l);
	rig_wait_text(&r, "logs/1.out", "ready");
	kill((pid_t)rig_wait(&r, 1, SPOOL_STARTED)->keeper_pid, SIGKILL);
	check_swept(1);
	assert_false(rig_exists(&r, "jobs/own"));
}

static void test_jobs_outlive_the_parent(void **state)
{
	start(1,
	        "trap 'echo got; exit 6' TERM; echo ready; while [ ! -e $D/jobs/go ]; do sleep 0.01; done; echo late; exit 5");
	rig_kill_parent(&r, SIGKILL);
	assert_true(rig_is_alive(&r, 1));
	rig_touch(&r, "jobs/go");
	assert_int_equal(WEXITSTATUS(rig_wait(&r, 1, SPOOL_ENDED)->wait_status), 5);
	assert_string_equal(rig_text(&r, "logs/1.out"), "ready\nlate\n");
	/* The next one takes the place, over the dead one's socket. */
	rig_start_parent(&r);
	start(2, "echo ready");
	rig_wait(&r, 2, SPOOL_ENDED);
}

static void test_parent_that_ends_leaves_nothing_but_jobs(void **state)
{
	start(1, "echo ready; while [ ! -e $D/jobs/go ]; do sleep 0.01; done");
	rig_kill_parent(&r, SIGTERM);
	assert_false(rig_exists(&r, "run/keeper.sock"));
	assert_true(rig_is_alive(&r, 1));
	rig_touch(&r, "jobs/go");
	assert_int_equal(rig_wait(&r, 1, SPOOL_ENDED)->wait_status, 0);
}

static void test_new_parent_stops_old_keepers(void **state)
{
	start(1, "trap 'exit 6' TERM; echo ready; while :; do sleep 0.01; done");
	start(2, "trap '' TERM; echo ready; while :; do sleep 0.01; done");
	rig_kill_parent(&r, SIGKILL);
	rig_start_parent(&r);
	rig_send_stop(&r, 1, false, SPOOL_SHUTDOWN);
	rig_send_stop(&r, 2, true, SPOOL_GPU_MEMORY);
	assert_int_equal(rig_wait(&r, 1, SPOOL_ENDED)->cause, SPOOL_SHUTDOWN);
	assert_int_equal(WEXITSTATUS(rig_wait(&r, 1, SPOOL_ENDED)->wait_status), 6);
	assert_int_equal(rig_wait(&r, 2, SPOOL_ENDED)->cause, SPOOL_GPU_MEMORY);
}

static void test_start_again_of_a_former_parents_attempt(void **state)
{
	struct launch l = rig_launch(&r, 1,
	        "echo once >>$D/jobs/count; echo ready; while [ ! -e $D/jobs/go ]; do sleep 0.01; done");

	rig_send(&r, &l);
	rig_wait_text(&r, "logs/1.out", "ready");
	rig_kill_parent(&r, SIGKILL);
	rig_start_parent(&r);
	l.again = true;
	rig_send(&r, &l);
	rig_touch(&r, "jobs/go");
	rig_wait(&r, 1, SPOOL_ENDED);
	rig_send(&r, &l);
	start(2, "echo ready");
	rig_wait(&r, 2, SPOOL_ENDED);
	assert_string_equal(rig_text(&r, "jobs/count"), "once\n");
	assert_int_equal(rig_count(&r, 1, SPOOL_ENDED), 1);
}

/* Killed with its parent between exec and STARTED, it may have run: a note says so, and it is swept instead. */
static void test_start_again_of_what_may_have_run(void **state)
{
	struct launch l = rig_launch(&r, 1, "touch $D/jobs/ran");
	const uint64_t epoch = 1;
	int fd = open(rig_path(&r, "run/keeper.sock.begun"), O_WRONLY | O_CLOEXEC);

	assert_int_equal(pwrite(fd, &epoch, sizeof(epoch), sizeof(epoch)), sizeof(epoch));
	close(fd);
	l.again = true;
	rig_send(&r, &l);
	check_swept(1);
	assert_int_equal(rig_count(&r, 1, SPOOL_STARTED), 0);
	assert_false(rig_exists(&r, "jobs/ran"));
	/* The note is of that epoch, not of a later one in the same place. */
	l = rig_launch(&r, 1 + 65536, "exit 4");
	l.again = true;
	rig_send(&r, &l);
	assert_int_equal(WEXITSTATUS(rig_wait(&r, 1 + 65536, SPOOL_ENDED)->wait_status), 4);
	/* And each start leaves one. */
	rig_send(&r, &l);
	fd = open(rig_path(&r, "run/keeper.sock.begun"), O_RDONLY | O_CLOEXEC);
	l.epoch = 0;
	assert_int_equal(pread(fd, &l.epoch, sizeof(l.epoch), sizeof(epoch)), sizeof(epoch));
	close(fd);
	assert_int_equal(l.epoch, 1 + 65536);
}

static void test_everything_killed_then_swept(void **state)
{
	struct spool_record s = start(1, FAMILY_TRACEABLE);
	struct launch sweep = rig_launch_sweep(1);

	rig_kill_parent(&r, SIGKILL);
	kill((pid_t)s.keeper_pid, SIGKILL);
	while (rig_is_alive(&r, 1))
		usleep(1000);
	assert_true(rig_count_marked(left) >= 3);
	rig_start_parent(&r);
	rig_send(&r, &sweep);
	rig_send(&r, &sweep);
	check_swept(1);
	assert_int_equal(rig_count_marked(left), 0);
	rig_send(&r, &sweep);
	start(2, "echo ready");
	rig_wait(&r, 2, SPOOL_ENDED);
	while (rig_is_alive(&r, 1))
		usleep(1000);
	rig_read(&r, 0);
	assert_int_equal(rig_count(&r, 1, SPOOL_ENDED), 1);
}

static void test_sweep_leaves_the_living_and_the_ended(void **state)
{
	struct launch sweep = rig_launch_sweep(1);

	start(1, "echo ready; while [ ! -e $D/jobs/go ]; do sleep 0.01; done; exit 8");
	rig_send(&r, &sweep);
	rig_kill_parent(&r, SIGKILL);
	rig_start_parent(&r);
	rig_send(&r, &sweep);
	rig_touch(&r, "jobs/go");
	assert_int_equal(rig_wait(&r, 1, SPOOL_ENDED)->cause, SPOOL_EXIT);
	rig_send(&r, &sweep);
	/* An attempt that never was: its end is written all the same, so that nobody waits. */
	sweep = rig_launch_sweep(2);
	rig_send(&r, &sweep);
	check_swept(2);
	/* One that was to be stopped ends so. */
	sweep = rig_launch_sweep(3);
	sweep.stop_cause = SPOOL_STOPPED;
	rig_send(&r, &sweep);
	assert_int_equal(rig_wait(&r, 3, SPOOL_ENDED)->cause, SPOOL_STOPPED);
	while (rig_is_alive(&r, 1))
		usleep(1000);
	rig_read(&r, 0);
	assert_int_equal(rig_count(&r, 1, SPOOL_ENDED), 1);
}

/* The next parent knows nothing of it but what the sweep says. */
static void test_everything_killed_its_directory_goes(void **state)
{
	struct launch l = rig_launch(&r, 1, "mkdir -p a/b; touch a/b/c; echo ready; sleep 1000");
	struct launch sweep = rig_launch_sweep(1);
	char own[200];

	snprintf(own, sizeof(own), "%s", rig_path(&r, "jobs/own"));
	l.cwd = sweep.cwd = own;
	l.make_cwd = sweep.make_cwd = true;
	rig_send(&r, &l);
	rig_wait_text(&r, "logs/1.out", "ready");
	rig_kill_parent(&r, SIGKILL);
	kill((pid_t)rig_wait(&r, 1, SPOOL_STARTED)->keeper_pid, SIGKILL);
	while (rig_is_alive(&r, 1))
		usleep(1000);
	rig_start_parent(&r);
	rig_send(&r, &sweep);
	check_swept(1);
	assert_false(rig_exists(&r, "jobs/own"));
}

/* The same epoch of another directory is not ours to sweep. */
static void test_other_directories_are_left_alone(void **state)
{
	static struct rig other;
	struct launch sweep = rig_launch_sweep(1), l;

	rig_start(&other, RIG_USER);
	l = rig_launch(&other, 1, "echo ready; sleep 1000");
	rig_send(&other, &l);
	rig_wait_text(&other, "logs/1.out", "ready");
	rig_send(&r, &sweep);
	check_swept(1);
	assert_int_equal(kill((pid_t)rig_wait(&other, 1, SPOOL_STARTED)->pid, 0), 0);
	rig_send_stop(&other, 1, true, SPOOL_STOPPED);
	assert_int_equal(rig_wait(&other, 1, SPOOL_ENDED)->cause, SPOOL_STOPPED);
	rig_stop(&other);
}

static void test_only_one_parent(void **state)
{
	int status;
	pid_t second = fork();

	if (second == 0) {
		close(2);
		if (getuid() == 0 && (setgid(NOBODY_UID) < 0 || setuid(NOBODY_UID) < 0))
			_exit(9);
		execl(r.program, "berth", "keeper", "--data", r.dir, "--spool", r.spool,
		        (char *)NULL);
		_exit(9);
	}
	assert_int_equal(waitpid(second, &status, 0), second);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 1);
	start(1, "echo ready");
	rig_wait(&r, 1, SPOOL_ENDED);
}

static void test_rotated_spool(void **state)
{
	char second[128];
	struct launch rotate = {.kind = LAUNCH_ROTATE, .path = second}, l;
	struct spool_record a =
	        start(1, "trap 'exit 6' TERM; echo ready; while :; do sleep 0.01; done");
	struct spool_record b =
	        start(2, "trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done");
	struct spool_record c = start(3, "echo ready; sleep 1000"), got;
	struct err err;
	const char *text;
	int fd;

	snprintf(second, sizeof(second), "%s/spool/2", r.dir);
	rig_send(&r, &rotate);
	l = rig_launch(&r, 4, "exit 4");
	rig_send(&r, &l);
	/* Ours by the table; one of a former parent by its file; a killed one is told of where it began. */
	rig_send_stop(&r, 1, false, SPOOL_STOPPED);
	assert_int_equal(WEXITSTATUS(rig_wait(&r, 1, SPOOL_ENDED)->wait_status), 6);
	kill((pid_t)c.keeper_pid, SIGKILL);
	check_swept(3);
	rig_kill_parent(&r, SIGKILL);
	fd = open(second, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	while (proc_byte_owner(fd, 4))
		usleep(1000);
	close(fd);
	text = rig_text(&r, "spool/2");
	assert_true(spool_decode(text, 200, &got, &err) > 0);
	assert_int_equal(got.epoch, 4);
	rig_start_parent(&r);
	rig_send(&r, &rotate);
	l = (struct launch){
	        .kind = LAUNCH_STOP, .epoch = 2, .stop_cause = SPOOL_STOPPED, .path = r.spool};
	rig_send(&r, &l);
	assert_int_equal(WEXITSTATUS(rig_wait(&r, 2, SPOOL_ENDED)->wait_status), 7);
	assert_int_not_equal(a.pid, b.pid);
}

/* Nonsense costs its sender the connection, and nobody else anything. */
static void test_nonsense(void **state)
{
	struct launch l = rig_launch(&r, 0, "true");
	char answer;

	rig_send(&r, &l);
	l.epoch = SPOOL_EPOCH_MAX + 1;
	rig_send(&r, &l);
	assert_int_equal(write(r.conn, "\0\0\0\5nonsense", 12), 12);
	assert_true(read(r.conn, &answer, 1) <= 0);
	rig_kill_parent(&r, SIGTERM);
	rig_start_parent(&r);
	assert_int_equal(write(r.conn, "\xff\xff\xff\xff", 4), 4);
	assert_true(read(r.conn, &answer, 1) <= 0);
	rig_kill_parent(&r, SIGTERM);
	rig_start_parent(&r);
	start(1, "echo ready");
	rig_wait(&r, 1, SPOOL_ENDED);
	assert_int_equal(r.n_records, 2); /* STARTED, ENDED */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	        TEST(test_killed_keeper_is_swept),
	        TEST(test_neighbours_go_on),
	        TEST(test_keeper_killed_again_and_again),
	        TEST(test_storm_is_swept),
	        TEST(test_killed_sweep_is_swept_again),
	        TEST(test_own_directory_is_removed_by_the_sweep),
	        TEST(test_jobs_outlive_the_parent),
	        TEST(test_parent_that_ends_leaves_nothing_but_jobs),
	        TEST(test_new_parent_stops_old_keepers),
	        TEST(test_start_again_of_a_former_parents_attempt),
	        TEST(test_start_again_of_what_may_have_run),
	        TEST(test_everything_killed_then_swept),
	        TEST(test_everything_killed_its_directory_goes),
	        TEST(test_sweep_leaves_the_living_and_the_ended),
	        TEST(test_other_directories_are_left_alone),
	        TEST(test_only_one_parent),
	        TEST(test_rotated_spool),
	        TEST(test_nonsense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
