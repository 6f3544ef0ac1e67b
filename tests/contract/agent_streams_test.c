#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent_scene.h"
#include "plat/loop.h"

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

static struct link_stream_open log_of(uint64_t epoch)
{
	return (struct link_stream_open){
	        .kind = LINK_STREAM_LOG,
	        .id = {.num = epoch, .task = TASK_NONE},
	        .attempt = 1,
	        .epoch = epoch,
	        .want_stdout = true,
	        .want_stderr = true,
	};
}

static struct scene_stream *stream_of(uint64_t stream)
{
	return &s->streams[stream % SCENE_STREAMS];
}

static const char *stdout_of(uint64_t stream)
{
	return buf_str(&stream_of(stream)->bytes[0]);
}

static bool has_bytes(struct scene *sc, uint64_t stream)
{
	return sc->streams[stream % SCENE_STREAMS].bytes[0].len > 0;
}

static bool has_prompt(struct scene *sc, uint64_t stream)
{
	return strstr(buf_str(&sc->streams[stream % SCENE_STREAMS].bytes[0]), "READY") != NULL;
}

static void test_follow(void **state)
{
	struct link_stream_open m = log_of(1);
	uint64_t stream;

	scene_sh(s, 1, "echo one; echo err >&2; sleep 0.4; echo two; sleep 0.2; printf end");
	m.follow = true;
	stream = scene_open(s, &m);
	scene_until(s, has_bytes, stream);
	/* Live: the first line is here long before the last. */
	assert_false(has_ended(s, 1));
	scene_until(s, has_closed, stream);
	assert_string_equal(stdout_of(stream), "one\ntwo\nend");
	assert_string_equal(buf_str(&stream_of(stream)->bytes[1]), "err\n");
	assert_int_equal(stream_of(stream)->kind, ERR_NONE);
	/* All of the output came before the end was told. */
	scene_until(s, has_ended, 1);
}

static void test_offset_and_tail(void **state)
{
	struct link_stream_open m = log_of(1);
	uint64_t stream;

	scene_sh(s, 1, "for i in 1 2 3 4 5; do echo line $i; done; echo err >&2; echo last");
	scene_until(s, has_ended, 1);
	m.offset = 7;
	m.want_stderr = false;
	stream = scene_open(s, &m);
	scene_until(s, has_closed, stream);
	assert_string_equal(stdout_of(stream), "line 2\nline 3\nline 4\nline 5\nlast\n");
	m.offset = 0;
	m.tail_lines = 2;
	stream = scene_open(s, &m);
	scene_until(s, has_closed, stream);
	assert_string_equal(stdout_of(stream), "line 5\nlast\n");
	m.tail_lines = 100;
	stream = scene_open(s, &m);
	scene_until(s, has_closed, stream);
	assert_string_equal(stdout_of(stream), "line 1\nline 2\nline 3\nline 4\nline 5\nlast\n");
}

/* More than a window: it comes whole, and the agent waits for the window. */
static void test_large_output(void **state)
{
	struct link_stream_open m = log_of(1);
	uint64_t stream;

	scene_sh(s, 1, "head -c 5000000 /dev/zero | tr '\\0' x");
	scene_until(s, has_ended, 1);
	stream = scene_open(s, &m);
	scene_until(s, has_closed, stream);
	assert_int_equal(stream_of(stream)->bytes[0].len, 5000000);
	assert_int_equal(strspn(stdout_of(stream), "x"), 5000000);
}

/* Past its ceiling: head, a line that says how much is missing, tail. */
static void test_ceiling(void **state)
{
	struct link_stream_open m = log_of(1);
	const char *text;
	uint64_t stream;

	s->welcome.output_max = 64 * KIB;
	net_ws_close(s->ws, 1001, "again");
	scene_until(s, has_hello, 2);
	scene_run(s, 50);
	scene_sh(s, 1, "for i in $(seq 30000); do echo line $i; done");
	m.follow = true;
	stream = scene_open(s, &m);
	scene_until(s, has_closed, stream);
	text = stdout_of(stream);
	assert_memory_equal(text, "line 1\nline 2\n", 14);
	assert_non_null(strstr(text, "\nline 30000\n"));
	m.follow = false;
	stream = scene_open(s, &m);
	scene_until(s, has_closed, stream);
	text = stdout_of(stream);
	assert_memory_equal(text, "line 1\nline 2\n", 14);
	assert_string_equal(text + strlen(text) - 12, "\nline 30000\n");
	assert_true(strlen(text) <= 64 * KIB);
	assert_true(scene_record(s, 1, SPOOL_ENDED)->dropped_bytes > 0);
}

static void test_file_of_the_submitter(void **state)
{
	struct link_start m = scene_start(1, "echo mine; echo err >&2");
	struct link_stream_open o = log_of(2);
	char *dir = strdup(scene_path(s, "out"));
	struct stat st;
	uint64_t stream;

	assert_int_equal(mkdir(dir, 0777), 0);
	m.chdir = dir;
	m.id = (struct job_id){.num = 17, .task = 4};
	m.name = "a/b";
	m.output = "%x-%A_%a-%j-%N-%%-%z.txt";
	scene_send_start(s, &m);
	scene_until(s, has_ended, 1);
	assert_int_equal(WEXITSTATUS(scene_record(s, 1, SPOOL_ENDED)->wait_status), 0);
	assert_int_equal(stat(scene_path(s, "out/a_b-17_4-17_4-n1-%-%z.txt"), &st), 0);
	assert_int_equal(st.st_size, 9);
	/* Another attempt writes beside it. */
	m.attempt = 2;
	m.epoch = 2;
	m.error = "err.txt";
	scene_send_start(s, &m);
	scene_until(s, has_ended, 2);
	assert_int_equal(stat(scene_path(s, "out/a_b-17_4-17_4-n1-%-%z.txt.2"), &st), 0);
	assert_int_equal(st.st_size, 5);
	assert_int_equal(stat(scene_path(s, "out/err.txt.2"), &st), 0);
	assert_int_equal(st.st_size, 4);
	o.id = m.id;
	o.attempt = 2;
	stream = scene_open(s, &o);
	scene_until(s, has_closed, stream);
	assert_string_equal(stdout_of(stream), "mine\n");
	assert_string_equal(buf_str(&stream_of(stream)->bytes[1]), "err\n");
	/* What its submitter takes away is not Berth's fault, and is said. */
	unlink(scene_path(s, "out/a_b-17_4-17_4-n1-%-%z.txt.2"));
	o.ended = true;
	stream = scene_open(s, &o);
	scene_until(s, has_closed, stream);
	assert_int_equal(stream_of(stream)->kind, ERR_NOT_FOUND);
	free(dir);
}

static bool has_removed(struct scene *sc, uint64_t number)
{
	return sc->removed == number;
}

static void test_remove(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(KIB);
	struct link_attempt gone = {.id = {.num = 1, .task = TASK_NONE}, .attempt = 1};

	scene_sh(s, 1, "echo x");
	scene_sh(s, 2, "echo y");
	scene_until(s, has_ended, 1);
	scene_until(s, has_ended, 2);
	assert_int_equal(access(scene_path(s, "logs/0/1.1.out"), F_OK), 0);
	link_put_remove(&b, &(struct link_remove){.attempts = &gone, .n_attempts = 1});
	scene_send(s, &b);
	scene_run(s, 100);
	assert_int_not_equal(access(scene_path(s, "logs/0/1.1.out"), F_OK), 0);
	assert_int_not_equal(access(scene_path(s, "logs/0/1.1.idx"), F_OK), 0);
	assert_string_equal(scene_output(s, 2, 1), "y\n");
	/* With its last file the directory goes; whoever writes there next makes it again. */
	gone = (struct link_attempt){.id = {.num = 2, .task = TASK_NONE}, .attempt = 1};
	link_put_remove(&b, &(struct link_remove){.number = 9, .attempts = &gone, .n_attempts = 1});
	scene_send(s, &b);
	scene_until(s, has_removed, 9);
	assert_int_not_equal(access(scene_path(s, "logs/0"), F_OK), 0);
	scene_sh(s, 3, "echo z");
	scene_until(s, has_ended, 3);
	assert_string_equal(scene_output(s, 3, 1), "z\n");
}

/* Followed through the death of the agent: the reader comes again, with the bytes that it has as offset. */
static void test_follow_over_a_restart(void **state)
{
	struct link_stream_open m = log_of(1);
	uint64_t stream;

	scene_sh(s, 1, "echo one; sleep 1; echo two");
	m.follow = true;
	stream = scene_open(s, &m);
	scene_until(s, has_bytes, stream);
	scene_kill_agent(s, 9);
	scene_start_agent(s);
	m.offset = 4;
	stream = scene_open(s, &m);
	scene_until(s, has_closed, stream);
	assert_string_equal(stdout_of(stream), "two\n");
}

static void test_attach(void **state)
{
	struct link_start m =
	        scene_start(1, "stty -echo; echo READY; read x; echo got $x; stty size; exit 3");
	struct link_stream_open o = {.kind = LINK_STREAM_ATTACH,
	        .id = {.num = 1, .task = TASK_NONE},
	        .attempt = 1,
	        .epoch = 1};
	uint16_t size[2] = {htons(33), htons(99)};
	uint64_t stream;

	m.tty = true;
	scene_send_start(s, &m);
	scene_until(s, has_started, 1);
	stream = scene_open(s, &o);
	scene_until(s, has_prompt, stream);
	scene_type(s, stream, CONSOLE_RESIZE, size, sizeof(size));
	scene_type(s, stream, CONSOLE_STDIN, "hello\n", 6);
	scene_until(s, has_closed, stream);
	assert_non_null(strstr(stdout_of(stream), "got hello\r\n"));
	assert_non_null(strstr(stdout_of(stream), "33 99"));
	assert_int_equal(stream_of(stream)->exit_code, 3);
	assert_int_equal(stream_of(stream)->kind, ERR_NONE);
	scene_until(s, has_ended, 1);
}

static void test_attach_without_terminal(void **state)
{
	struct link_stream_open o = {.kind = LINK_STREAM_ATTACH,
	        .id = {.num = 1, .task = TASK_NONE},
	        .attempt = 1,
	        .epoch = 1};
	uint64_t stream;

	scene_sh(s, 1, "sleep 1");
	scene_until(s, has_started, 1);
	stream = scene_open(s, &o);
	scene_until(s, has_closed, stream);
	assert_int_equal(stream_of(stream)->kind, ERR_CONFLICT);
	assert_non_null(strstr(stream_of(stream)->text, "terminal"));
}

static uint64_t open_exec(char **argv, char **env)
{
	struct link_stream_open o = {
	        .kind = LINK_STREAM_EXEC,
	        .id = {.num = 1, .task = TASK_NONE},
	        .attempt = 1,
	        .epoch = 1,
	        .argv = argv,
	        .env = env,
	};

	return scene_open(s, &o);
}

static void start_for_exec(void)
{
	static const char blob[] = "A=own\0PATH=/bin:/usr/bin";
	CLEANUP_BUF struct buf b = BUF_INIT(KIB);
	struct link_start m = scene_start(1, "sleep 100");

	m.env_blob = 3;
	m.chdir = "/usr";
	link_put_blob(&b, &(struct link_blob){.num = 3, .data = blob, .len = sizeof(blob)});
	scene_send(s, &b);
	scene_send_start(s, &m);
	scene_until(s, has_started, 1);
}

static void test_exec(void **state)
{
	char *argv[] = {
	        "sh", "-c", "echo $A $B $BERTH_EPOCH; pwd; cat; echo err >&2; exit 5", NULL};
	char *env[] = {"B=added", NULL};
	uint64_t stream;

	start_for_exec();
	stream = open_exec(argv, env);
	scene_type(s, stream, CONSOLE_STDIN, "typed\n", 6);
	scene_type(s, stream, CONSOLE_STDIN_EOF, NULL, 0);
	scene_until(s, has_closed, stream);
	assert_string_equal(stdout_of(stream), "own added 1\n/usr\ntyped\n");
	assert_string_equal(buf_str(&stream_of(stream)->bytes[1]), "err\n");
	assert_int_equal(stream_of(stream)->exit_code, 5);
	/* Nothing of it is the attempt's. */
	assert_string_equal(scene_output(s, 1, 1), "");
	assert_false(has_ended(s, 1));
}

/* After a restart nobody remembers the START: the first process tells. */
static void test_exec_after_restart(void **state)
{
	char *argv[] = {"sh", "-c", "echo $A $B $BERTH_EPOCH; pwd", NULL};
	char *env[] = {"B=added", NULL};
	uint64_t stream;

	start_for_exec();
	scene_kill_agent(s, 9);
	scene_start_agent(s);
	stream = open_exec(argv, env);
	scene_until(s, has_closed, stream);
	assert_string_equal(stdout_of(stream), "own added 1\n/usr\n");
	assert_int_equal(stream_of(stream)->exit_code, 0);
}

static void test_exec_of_what_is_not_there(void **state)
{
	char *argv[] = {"/nonexistent", NULL};
	uint64_t stream;

	stream = open_exec(argv, NULL);
	scene_until(s, has_closed, stream);
	assert_int_equal(stream_of(stream)->kind, ERR_CONFLICT);
	start_for_exec();
	stream = open_exec(argv, NULL);
	scene_until(s, has_closed, stream);
	assert_non_null(strstr(stream_of(stream)->text, "/nonexistent"));
}

static uint64_t typed;

static bool is_all_taken(struct scene *sc, uint64_t stream)
{
	return sc->streams[stream % SCENE_STREAMS].taken % CONSOLE_FRAME_MAX == 0 &&
	       sc->streams[stream % SCENE_STREAMS].taken + LINK_WINDOW > typed;
}

/* Both ways more than a window. */
static void test_exec_carries_much(void **state)
{
	char *argv[] = {"cat", NULL};
	static char piece[CONSOLE_FRAME_MAX];
	uint64_t stream;

	memset(piece, 'y', sizeof(piece));
	start_for_exec();
	stream = open_exec(argv, NULL);
	for (typed = 0; typed < 2 * MIB; typed += sizeof(piece)) {
		scene_until(s, is_all_taken, stream);
		scene_type(s, stream, CONSOLE_STDIN, piece, sizeof(piece));
	}
	scene_type(s, stream, CONSOLE_STDIN_EOF, NULL, 0);
	scene_until(s, has_closed, stream);
	assert_int_equal(stream_of(stream)->bytes[0].len, 2 * MIB);
	assert_int_equal(stream_of(stream)->taken, 2 * MIB);
	assert_int_equal(stream_of(stream)->exit_code, 0);
}

/* Who does not mind the window loses the stream, and nothing else. */
static void test_exec_beyond_the_window(void **state)
{
	char *argv[] = {"sleep", "100", NULL};
	static char piece[CONSOLE_FRAME_MAX];
	uint64_t stream;

	start_for_exec();
	stream = open_exec(argv, NULL);
	for (int i = 0; i < 100; i++)
		scene_type(s, stream, CONSOLE_STDIN, piece, sizeof(piece));
	scene_until(s, has_closed, stream);
	assert_int_equal(stream_of(stream)->kind, ERR_LIMIT);
	assert_false(has_ended(s, 1));
	assert_int_equal(s->n_hellos, 1);
}

static void test_exec_ends_when_let_go(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(KIB);
	char *argv[] = {"sh", "-c", "echo READY; while :; do echo x; sleep 0.02; done", NULL};
	uint64_t stream;

	start_for_exec();
	stream = open_exec(argv, NULL);
	scene_until(s, has_prompt, stream);
	link_put_stream_close(&b, &(struct link_stream_close){.stream = stream});
	scene_send(s, &b);
	scene_run(s, 200);
	size_t len = stream_of(stream)->bytes[0].len;
	scene_run(s, 200);
	assert_int_equal(stream_of(stream)->bytes[0].len, len);
	assert_false(has_ended(s, 1));
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, begin, end)
	const struct CMUnitTest tests[] = {
	        CASE(test_follow),
	        CASE(test_offset_and_tail),
	        CASE(test_large_output),
	        CASE(test_ceiling),
	        CASE(test_file_of_the_submitter),
	        CASE(test_remove),
	        CASE(test_follow_over_a_restart),
	        CASE(test_attach),
	        CASE(test_attach_without_terminal),
	        CASE(test_exec),
	        CASE(test_exec_after_restart),
	        CASE(test_exec_of_what_is_not_there),
	        CASE(test_exec_carries_much),
	        CASE(test_exec_beyond_the_window),
	        CASE(test_exec_ends_when_let_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
