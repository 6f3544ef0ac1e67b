/* The tasks of one job, through the real program: ranks, all or none, whose end counts. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "plat/fs.h"
#include "rig.h"

/* Until all of them are there. */
#define TOGETHER                                                             \
	"touch $D/jobs/$RANK.up; for i in $(seq 0 $((WORLD_SIZE - 1))); do " \
	"while [ ! -e $D/jobs/$i.up ]; do sleep 0.01; done; done; "

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

static const struct spool_record *run_launch(const struct launch *l)
{
	rig_send(&r, l);
	return rig_wait(&r, l->epoch, SPOOL_ENDED);
}

static const struct spool_record *run(uint32_t ranks, const char *script)
{
	struct launch l = rig_launch(&r, 1, script);

	l.ranks = ranks;
	return run_launch(&l);
}

static void assert_nobody_left(void)
{
	char mark[96];

	snprintf(mark, sizeof(mark), "D=%s", r.dir);
	rig_wait_none_marked(mark);
}

static void test_each_has_a_rank(void **state)
{
	struct launch l = rig_launch(&r, 1,
	        "echo $BERTH_RANK $RANK $LOCAL_RANK of $BERTH_TASKS $WORLD_SIZE $LOCAL_WORLD_SIZE "
	        "at $MASTER_ADDR $BERTH_EPOCH >$D/jobs/$RANK; echo $MASTER_PORT >>$D/jobs/ports");
	static char foreign[] = "RANK=7", port[] = "MASTER_PORT=1";
	const struct spool_record *end;
	unsigned ports[3] = {0};

	l.env[3] = foreign;
	l.env[4] = port;
	l.env[5] = NULL;
	l.ranks = 3;
	end = run_launch(&l);
	assert_int_equal(end->wait_status, 0);
	assert_false(end->has_rank);
	assert_string_equal(rig_text(&r, "jobs/0"), "0 0 0 of 3 3 3 at 127.0.0.1 1\n");
	assert_string_equal(rig_text(&r, "jobs/1"), "1 1 1 of 3 3 3 at 127.0.0.1 1\n");
	assert_string_equal(rig_text(&r, "jobs/2"), "2 2 2 of 3 3 3 at 127.0.0.1 1\n");
	assert_int_equal(
	        sscanf(rig_text(&r, "jobs/ports"), "%u %u %u", &ports[0], &ports[1], &ports[2]), 3);
	assert_true(ports[0] > 1023 && ports[0] == ports[1] && ports[1] == ports[2]);
	assert_int_equal(rig_count(&r, 1, SPOOL_STARTED), 1);
	assert_int_equal(rig_count(&r, 1, SPOOL_ENDED), 1);
}

static void test_one_task_has_a_rank_and_a_plain_job_none(void **state)
{
	struct launch l = rig_launch(&r, 2, "echo ${RANK-none} ${MASTER_PORT-none}");

	run(1, "echo $RANK of $WORLD_SIZE");
	assert_string_equal(rig_text(&r, "logs/1.out"), "0 of 1\n");
	run_launch(&l);
	assert_string_equal(rig_text(&r, "logs/2.out"), "none none\n");
}

static int bind_port(uint16_t port, int reuse)
{
	struct sockaddr_in at = {.sin_family = AF_INET,
	        .sin_port = htons(port),
	        .sin_addr.s_addr = htonl(INADDR_ANY)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), rc;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof(reuse));
	rc = bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0 && listen(fd, 1) == 0 ? 0 : -errno;
	close(fd);
	return rc;
}

/* As torch's store listens: at every address, with SO_REUSEADDR. */
static void test_the_port_is_held_for_the_job(void **state)
{
	struct launch l = rig_launch(&r, 1,
	        "[ $RANK = 1 ] || echo $MASTER_PORT.; while [ ! -e $D/jobs/go ]; do sleep 0.01; done");
	uint16_t port;

	l.ranks = 2;
	rig_send(&r, &l);
	rig_wait_text(&r, "logs/1.out", ".\n");
	port = (uint16_t)atoi(rig_text(&r, "logs/1.out"));
	assert_int_equal(bind_port(port, 0), -EADDRINUSE);
	assert_int_equal(bind_port(port, 1), 0);
	rig_touch(&r, "jobs/go");
	rig_wait(&r, 1, SPOOL_ENDED);
}

static void test_the_first_that_fails_ends_the_others(void **state)
{
	const struct spool_record *end =
	        run(3, TOGETHER "[ $RANK = 1 ] && exit 3; trap 'echo told $RANK; exit 9' TERM; "
	                        "touch $D/jobs/$RANK.set; while :; do sleep 0.01; done");

	assert_int_equal(end->cause, SPOOL_EXIT);
	assert_true(WIFEXITED(end->wait_status));
	assert_int_equal(WEXITSTATUS(end->wait_status), 3);
	assert_true(end->has_rank);
	assert_int_equal(end->rank, 1);
	assert_nobody_left();
}

/* What has its chance to clean up, and takes too long. */
static void test_others_have_the_grace_and_no_more(void **state)
{
	struct launch l = rig_launch(&r, 1,
	        "[ $RANK = 0 ] || trap '' TERM; " TOGETHER
	        "[ $RANK = 0 ] && kill -SEGV $$; while :; do sleep 0.01; done");
	const struct spool_record *end;

	l.ranks = 2;
	l.grace_ms = 100;
	end = run_launch(&l);
	assert_true(WIFSIGNALED(end->wait_status));
	assert_int_equal(WTERMSIG(end->wait_status), SIGSEGV);
	assert_true(end->has_rank);
	assert_int_equal(end->rank, 0);
}

static void test_all_must_end_well(void **state)
{
	const struct spool_record *end =
	        run(2, "[ $RANK = 0 ] || while [ ! -e $D/jobs/go ]; do sleep 0.01; "
	               "[ -e $D/logs/1.out ] && touch $D/jobs/go; done; echo done $RANK");

	assert_int_equal(end->wait_status, 0);
	assert_false(end->has_rank);
	assert_non_null(strstr(rig_text(&r, "logs/1.out"), "done 0\n"));
	assert_non_null(strstr(rig_text(&r, "logs/1.out"), "done 1\n"));
}

static void test_what_cannot_begin(void **state)
{
	struct launch l = rig_launch(&r, 1, "");
	static char nothing[] = "/nonexistent/program";
	const struct spool_record *end;

	l.argv[0] = nothing;
	l.ranks = 4;
	end = run_launch(&l);
	assert_int_equal(end->cause, SPOOL_EXEC_FAILED);
	assert_int_equal(WEXITSTATUS(end->wait_status), 127);
	assert_non_null(strstr(end->text, "starting rank 0: running"));
	assert_non_null(strstr(end->text, nothing));
	assert_int_equal(rig_count(&r, 1, SPOOL_STARTED), 0);
}

/* A shell of our own, which the first that runs takes away from those behind it. */
static void test_when_one_cannot_begin_none_goes_on(void **state)
{
	struct launch l = rig_launch(&r, 1,
	        "echo begun; rm -f $D/jobs/program; trap '' TERM; while :; do sleep 0.01; done");
	CLEANUP_BUF struct buf shell = BUF_INIT(4 * MIB);
	const struct spool_record *end;
	char path[160];
	struct err err;
	int fd;

	snprintf(path, sizeof(path), "%s/jobs/program", r.dir);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
	assert_int_equal(fs_read("/bin/sh", &shell, &err), 0);
	assert_int_equal(fs_write_all(fd, shell.data, shell.len, &err), 0);
	assert_int_equal(close(fd), 0);
	l.argv[0] = path;
	l.ranks = LAUNCH_RANKS;
	end = run_launch(&l);
	assert_int_equal(end->cause, SPOOL_EXEC_FAILED);
	assert_int_equal(WEXITSTATUS(end->wait_status), 127);
	assert_non_null(strstr(end->text, "starting rank "));
	assert_null(strstr(end->text, "starting rank 0"));
	assert_int_equal(rig_count(&r, 1, SPOOL_STARTED), 0);
	assert_non_null(strstr(rig_text(&r, "logs/1.out"), "begun"));
	assert_nobody_left();
}

static void test_time_limit_and_stop_hold_for_all(void **state)
{
	struct launch l = rig_launch(&r, 1, "sleep 1000");
	struct launch l2 = rig_launch(&r, 2, "echo ready; sleep 1000");
	const struct spool_record *end;

	l.ranks = l2.ranks = 2;
	l.time_limit_ms = 150;
	end = run_launch(&l);
	assert_int_equal(end->cause, SPOOL_TIMEOUT);
	assert_false(end->has_rank);
	rig_send(&r, &l2);
	rig_wait_text(&r, "logs/2.out", "ready\nready\n");
	rig_send_stop(&r, 2, false, SPOOL_STOPPED);
	end = rig_wait(&r, 2, SPOOL_ENDED);
	assert_int_equal(end->cause, SPOOL_STOPPED);
	assert_false(end->has_rank);
	assert_nobody_left();
}

static void test_a_killed_keeper_takes_all(void **state)
{
	struct launch l = rig_launch(&r, 1, "echo ready; setsid sleep 1000");
	const struct spool_record *end;

	l.ranks = 3;
	rig_send(&r, &l);
	rig_wait_text(&r, "logs/1.out", "ready\nready\nready\n");
	kill(rig_keeper_pid(&r, 1), SIGKILL);
	end = rig_wait(&r, 1, SPOOL_ENDED);
	assert_int_equal(end->cause, SPOOL_KEEPER_KILLED);
	assert_int_equal(rig_count(&r, 1, SPOOL_ENDED), 1);
	assert_nobody_left();
}

static void test_the_first_reads_the_input(void **state)
{
	struct launch l = rig_launch(
	        &r, 1, "if [ $RANK = 0 ]; then cat; else wc -c; fi >$D/jobs/$RANK; echo read");
	struct rig_client c;

	l.ranks = 2;
	l.console = true;
	rig_send(&r, &l);
	rig_attach(&c, l.console_path);
	rig_type(&c, CONSOLE_STDIN, "hello", 5);
	rig_type(&c, CONSOLE_STDIN_EOF, NULL, 0);
	rig_expect(&c, NULL);
	assert_int_equal(c.exit_code, 0);
	assert_string_equal(rig_text(&r, "jobs/0"), "hello");
	assert_string_equal(rig_text(&r, "jobs/1"), "0\n");
	rig_detach(&c);
}

static void test_cpus_are_divided(void **state)
{
	struct launch l = rig_launch(&r, 1, "taskset -pc $$ >$D/jobs/$RANK");
	size_t n = 0;
	cpu_set_t here;

	assert_int_equal(sched_getaffinity(0, sizeof(here), &here), 0);
	for (size_t i = 0; i < CPU_SETSIZE && n < 2; i++)
		if (CPU_ISSET(i, &here)) {
			l.cpus[i / 64] |= (uint64_t)1 << i % 64;
			n++;
		}
	if (n < 2)
		skip();
	l.ranks = 2;
	assert_int_equal(run_launch(&l)->wait_status, 0);
	assert_null(strpbrk(strrchr(rig_text(&r, "jobs/0"), ':'), ",-"));
	assert_null(strpbrk(strrchr(rig_text(&r, "jobs/1"), ':'), ",-"));
	assert_string_not_equal(
	        strrchr(rig_text(&r, "jobs/0"), ':'), strrchr(rig_text(&r, "jobs/1"), ':'));
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	        CASE(test_each_has_a_rank),
	        CASE(test_one_task_has_a_rank_and_a_plain_job_none),
	        CASE(test_the_port_is_held_for_the_job),
	        CASE(test_the_first_that_fails_ends_the_others),
	        CASE(test_others_have_the_grace_and_no_more),
	        CASE(test_all_must_end_well),
	        CASE(test_what_cannot_begin),
	        CASE(test_when_one_cannot_begin_none_goes_on),
	        CASE(test_time_limit_and_stop_hold_for_all),
	        CASE(test_a_killed_keeper_takes_all),
	        CASE(test_the_first_reads_the_input),
	        CASE(test_cpus_are_divided),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
