#include "kit.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/procs.h"
#include "cli/supervisor_part.h"
#include "plat/clock.h"
#include "plat/fs.h"

#define EXITED(code)   ((code) << 8)
#define SIGNALLED(sig) (sig)

static void test_rotation(void **state)
{
	struct kit k;
	struct rotlog l;
	struct err err;
	struct stat st;
	char path[128], old[140], line[1024];
	size_t len;

	kit_begin(&k);
	snprintf(path, sizeof(path), "%s/x.log", k.dir);
	snprintf(old, sizeof(old), "%s.1", path);
	assert_int_equal(rotlog_open(&l, path, &err), 0);
	memset(line, 'x', sizeof(line));
	line[sizeof(line) - 1] = '\n';
	for (size_t i = 0; i < 2 * ROTLOG_MAX / sizeof(line) + 10; i++)
		rotlog_write(&l, line, sizeof(line));
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 10 * sizeof(line));
	assert_int_equal(stat(old, &st), 0);
	assert_int_equal(st.st_size, ROTLOG_MAX);
	rotlog_say(&l, "info a n=%d", 1);
	rotlog_say(&l, "info b");
	rotlog_write(&l, "cut", 3);
	const char *last = rotlog_last_lines(&l, 2, &len);
	assert_int_equal(len, strlen("info b\ncut"));
	assert_memory_equal(last, "info b\ncut", len);
	last = rotlog_last_lines(&l, 1000, &len);
	assert_int_equal(len, ROTLOG_TAIL);
	assert_true(last == l.tail);
	rotlog_close(&l);
	kit_end(&k);
}

/* Another account may own the directory: a link there is not written through. */
static void test_log_is_no_link(void **state)
{
	struct kit k;
	struct rotlog l;
	struct err err;
	char path[128], target[128];

	kit_begin(&k);
	snprintf(path, sizeof(path), "%s/x.log", k.dir);
	snprintf(target, sizeof(target), "%s/target", k.dir);
	close(open(target, O_CREAT | O_WRONLY, 0600));
	assert_int_equal(symlink(target, path), 0);
	assert_true(rotlog_open(&l, path, &err) < 0);
	unlink(path);
	assert_int_equal(link(target, path), 0);
	assert_int_equal(rotlog_open(&l, path, &err), -ERR_FORBIDDEN);
	kit_end(&k);
}

static void open_part(struct kit *k, struct part *p)
{
	char path[128];
	struct err err;

	kit_begin(k);
	snprintf(path, sizeof(path), "%s/p.log", k->dir);
	*p = (struct part){.name = "p", .pipe = -1};
	assert_int_equal(rotlog_open(&p->log, path, &err), 0);
}

/* 50 ms, doubling to 2 s, without limit; who was well for long begins anew. */
static void test_backoff(void **state)
{
	static const unsigned waits[] = {50, 100, 200, 400, 800, 1600, 2000, 2000, 2000};
	struct part p;
	struct kit k;

	open_part(&k, &p);
	for (size_t i = 0; i < ARRAY_LEN(waits); i++) {
		uint64_t now = clock_mono_ms();
		p.started_ms = now;
		p.pid = 1;
		part_on_exit(&p, SIGNALLED(9), true);
		assert_int_equal(p.pid, 0);
		assert_in_range(p.restart_ms, now + waits[i], now + waits[i] + 50);
	}
	p.started_ms = clock_mono_ms() - PART_WELL_MS;
	part_on_exit(&p, EXITED(1), true);
	assert_in_range(p.restart_ms, clock_mono_ms(), clock_mono_ms() + 50);
	part_on_exit(&p, EXITED(0), true);
	assert_in_range(p.restart_ms, clock_mono_ms() + 1900, clock_mono_ms() + 2000);
	part_on_exit(&p, EXITED(1), false);
	assert_int_equal(p.restart_ms, 0);
	part_done(&p);
	kit_end(&k);
}

static void say(struct part *p, const char *text)
{
	int fds[2];

	assert_int_equal(pipe2(fds, O_NONBLOCK), 0);
	assert_int_equal(write(fds[1], text, strlen(text)), strlen(text));
	close(fds[1]);
	p->pipe = fds[0];
	p->started_ms = clock_mono_ms();
	p->pid = 1;
	part_on_exit(p, EXITED(1), true);
}

/* Who falls over again and again with the same words is said to do so once, and how often, when there is news. */
static void test_same_is_said_once(void **state)
{
	static const char *const said[] = {"error a\n", "error a\n", "error a\n", "error a b\n",
	        "error a\n", "", "", "error a\n"};
	static const char want[] =
	        "error a\nwarn up.restart part=p text=\"ended with code 1\" wait_ms=50\n"
	        "warn up.restart part=p text=\"the same, 2 times more\"\n"
	        "error a b\nwarn up.restart part=p text=\"ended with code 1\" wait_ms=400\n"
	        "error a\nwarn up.restart part=p text=\"ended with code 1\" wait_ms=800\n"
	        "warn up.restart part=p text=\"ended with code 1\" wait_ms=1600\n"
	        "warn up.restart part=p text=\"the same, 1 times more\"\n"
	        "error a\nwarn up.restart part=p text=\"ended with code 1\" wait_ms=2000\n";
	CLEANUP_BUF struct buf text = BUF_INIT(KIB * 64);
	struct part p;
	struct kit k;
	struct err err;

	open_part(&k, &p);
	for (size_t i = 0; i < ARRAY_LEN(said); i++)
		say(&p, said[i]);
	assert_int_equal(fs_read(p.log.path, &text, &err), 0);
	assert_string_equal(buf_str(&text), want);
	part_done(&p);
	kit_end(&k);
}

static void set_file_limit(rlim_t bytes)
{
	struct rlimit r;

	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &r), 0);
	r.rlim_cur = MIN(bytes, r.rlim_max);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &r), 0);
}

/* What a full disk did not take is there later, and what was too much for that is counted. */
static void test_log_on_a_full_disk(void **state)
{
	CLEANUP_BUF struct buf text = BUF_INIT(KIB * 64);
	char big[ROTLOG_TAIL] = "";
	struct part p;
	struct kit k;
	struct err err;

	open_part(&k, &p);
	rotlog_say(&p.log, "info before");
	set_file_limit(15);
	rotlog_say(&p.log, "error cut in the middle");
	rotlog_say(&p.log, "error missing");
	set_file_limit(RLIM_INFINITY);
	rotlog_say(&p.log, "info after");
	set_file_limit(1);
	memset(big, 'x', sizeof(big));
	rotlog_write(&p.log, "0123456789", 10);
	rotlog_write(&p.log, big, sizeof(big));
	set_file_limit(RLIM_INFINITY);
	rotlog_say(&p.log, "info end");
	assert_int_equal(fs_read(p.log.path, &text, &err), 0);
	assert_memory_equal(buf_str(&text),
	        "info before\nerror cut in the middle\nerror missing\ninfo after\n\nwarn up.log lost_bytes=10\nxxx",
	        90);
	assert_string_equal(buf_str(&text) + text.len - 10, "xinfo end\n");
	part_done(&p);
	kit_end(&k);
}

static void test_start_and_log(void **state)
{
	struct part p;
	struct kit k;
	struct err err;
	char how[64];
	int status;
	size_t len;

	open_part(&k, &p);
	p.program = mem_strdup("/bin/sh");
	parts_argv_add(&p.argv, "berth p");
	parts_argv_add(&p.argv, "-c");
	parts_argv_add(&p.argv, "echo out; echo err >&2; exit 7");
	assert_int_equal(part_start(&p, &err), 0);
	assert_int_equal(waitpid(p.pid, &status, 0), p.pid);
	part_on_exit(&p, status, true);
	part_describe_exit(status, how);
	assert_string_equal(how, "ended with code 7");
	const char *said = rotlog_last_lines(&p.log, 100, &len);
	assert_int_equal(strncmp(said, "out\nerr\nwarn up.restart part=p", 30), 0);
	part_describe_exit(SIGNALLED(11), how);
	assert_string_equal(how, "was ended by signal 11");
	part_done(&p);
	kit_end(&k);
}

/* A part of another name, of another directory, or of one whose name only begins alike does not count. */
static void test_procs(void **state)
{
	static const char *const names[] = {
	        "berth server", "berth keeper", "berth serverless", "other"};
	struct kit k;
	struct procs found;
	char longer[80];
	pid_t pids[6];
	int hold[2], ready[2];
	char c;

	kit_begin(&k);
	snprintf(longer, sizeof(longer), "%s2", k.dir);
	assert_int_equal(pipe(hold), 0);
	assert_int_equal(pipe(ready), 0);
	for (int i = 0; i < 5; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			dup2(hold[0], 0);
			dup2(ready[1], 1);
			close(hold[1]);
			close(ready[0]);
			execl("/bin/sh", names[i % 4], "-c", "echo; read x", "--data",
			        i == 4 ? longer : k.dir, (char *)NULL);
			_exit(127);
		}
	}
	for (int i = 0; i < 5; i++)
		assert_int_equal(read(ready[0], &c, 1), 1);
	procs_find(k.dir, &found);
	assert_int_equal(found.n, 2);
	assert_int_equal(procs_count(&found, PROCS_SERVER), 1);
	assert_int_equal(procs_count(&found, PROCS_KEEPER), 1);
	procs_done(&found);
	close(hold[0]);
	close(hold[1]);
	close(ready[0]);
	close(ready[1]);
	for (int i = 0; i < 5; i++)
		assert_int_equal(waitpid(pids[i], NULL, 0), pids[i]);
	kit_end(&k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_rotation),
	        cmocka_unit_test(test_log_is_no_link),
	        cmocka_unit_test(test_backoff),
	        cmocka_unit_test(test_same_is_said_once),
	        cmocka_unit_test(test_log_on_a_full_disk),
	        cmocka_unit_test(test_start_and_log),
	        cmocka_unit_test(test_procs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
