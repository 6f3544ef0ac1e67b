/*
 * Writes first inputs for the harnesses whose formats are not text, by the encoders of today: run it again when a format
 * has got a field.
 *   fuzz_seeds tests/fuzz/corpus
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "box.h"
#include "dice.h"
#include "wire/launch.h"
#include "wire/link.h"
#include "wire/record.h"

static const char *corpus;

static void save(const char *harness, const char *name, struct buf *b)
{
	char path[4096];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", corpus, harness);
	mkdir(path, 0755);
	snprintf(path, sizeof(path), "%s/%s/%s", corpus, harness, name);
	f = fopen(path, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(b->data, 1, b->len, f), b->len);
	assert_int_equal(fclose(f), 0);
	buf_reset(b);
}

/* A piece as fuzz_piece() takes it: its length first. */
static void put_piece(struct buf *b, const void *data, size_t len)
{
	buf_add_byte(b, (uint8_t)len);
	buf_add_byte(b, (uint8_t)(len >> 8));
	buf_add(b, data, len);
}

static char word_true[] = "true", word_x[] = "x", word_a[] = "A=1";
static char *argv_x[] = {word_true, word_x, NULL}, *env_x[] = {word_a, NULL};

static struct spool_record ended(void)
{
	struct spool_record r = {.kind = SPOOL_ENDED,
	        .job = 17,
	        .task = 3,
	        .attempt = 2,
	        .epoch = 99,
	        .wall_ms = BOX_WALL_MS,
	        .cause = SPOOL_OOM,
	        .wait_status = 256,
	        .peak_mem_bytes = GIB,
	        .cpu_ms = 7,
	        .output_bytes = 12,
	        .dropped_bytes = 3,
	        .text = "why"};

	return r;
}

static void make_spool(struct buf *b)
{
	struct spool_record e = ended(), s = {.kind = SPOOL_STARTED, .task = -1, .pid = 7};

	buf_add_byte(b, 0);
	spool_encode(&s, b);
	spool_encode(&e, b);
	save("spool", "two", b);
	buf_add_byte(b, 0);
	buf_add_str(b, "noise\xb5\x01");
	spool_encode(&e, b);
	b->data[b->len - 1] ^= 1;
	spool_encode(&s, b);
	save("spool", "damaged", b);
	spool_encode(&e, b);
	/* The run alone, for the harness to put a head and a sum around. */
	buf_consume(b, 3);
	b->len -= 4;
	memmove(b->data + 1, b->data, b->len);
	b->data[0] = 1;
	save("spool", "run", b);
	buf_add_byte(b, 1);
	codec_add_bytes(b, 99, (char[SPOOL_RECORD_MAX]){0}, SPOOL_RECORD_MAX);
	save("spool", "too-long", b);
}

static void make_link_to_agent(struct buf *b)
{
	struct slice_record slice = {.device = "GPU-1", .mem_bytes = GIB, .share_milli = 500};
	struct link_attempt gone = {.id = {17, TASK_NONE}, .epoch = 99, .attempt = 1};

	link_put_welcome(b, &(struct link_welcome){.node = 1,
	                            .heartbeat_ms = 5000,
	                            .grace_ms = 30000,
	                            .output_max = GIB,
	                            .server_program = word_x});
	link_put_blob(b, &(struct link_blob){.num = 3, .data = "A=1", .len = 3});
	link_put_start(b, &(struct link_start){.id = {17, 3},
	                          .attempt = 1,
	                          .epoch = 99,
	                          .name = word_x,
	                          .queue = word_x,
	                          .user = word_x,
	                          .argv = argv_x,
	                          .env_blob = 3,
	                          .cpus = {{3}},
	                          .slices = &slice,
	                          .n_slices = 1,
	                          .array_size = 10});
	link_put_stop(b, &(struct link_stop){.id = {17, 3}, .epoch = 99, .cause = SPOOL_STOPPED});
	link_put_ack(b, 99);
	link_put_drop(b, 3);
	save("link", "to-agent", b);
	link_put_remove(b, &(struct link_remove){.number = 5, .attempts = &gone, .n_attempts = 1});
	link_put_stream_open(b, &(struct link_stream_open){.stream = 1,
	                                .kind = LINK_STREAM_EXEC,
	                                .id = {17, TASK_NONE},
	                                .argv = argv_x,
	                                .env = env_x,
	                                .user = word_x,
	                                .tty = true});
	link_put_stream_window(b, &(struct link_stream_window){.stream = 1, .bytes = 4096});
	link_put_empty(b, LINK_BEAT);
	link_put_empty(b, LINK_SHUTDOWN);
	save("link", "streams", b);
}

static void make_link_to_server(struct buf *b)
{
	struct device_info device = {.uuid = "GPU-1", .model = "Acme", .mem_bytes = GIB, .cc = 80};
	struct link_attempt here = {{17, 3}, 99, 1, LINK_LIVING};
	struct spool_record e = ended();

	link_put_hello(b, &(struct link_hello){.version = LINK_VERSION,
	                          .program = word_x,
	                          .name = word_x,
	                          .boot_id = word_x,
	                          .cpus = {{15}},
	                          .mem_bytes = GIB,
	                          .devices = &device,
	                          .n_devices = 1,
	                          .attempts = &here,
	                          .n_attempts = 1});
	save("link", "hello", b);
	link_put_record(b, &e);
	e.kind = SPOOL_STARTED;
	link_put_record(b, &e);
	link_put_devices(b, &(struct link_devices){&device, 1});
	link_put_removed(b, 5);
	link_put_note(b, &(struct link_note){{17, 3}, 99, word_x});
	save("link", "reports", b);
	link_put_stream_data(
	        b, &(struct link_stream_data){
	                   .stream = 1, .frame = CONSOLE_STDOUT, .data = "hello", .len = 5});
	link_put_stream_close(b, &(struct link_stream_close){1, ERR_NOT_FOUND, word_x});
	link_put_empty(b, LINK_BYE);
	save("link", "output", b);
}

static void put_launch(struct buf *b, const struct launch *l)
{
	CLEANUP_BUF struct buf one = BUF_INIT(LAUNCH_MAX);

	launch_encode(l, &one);
	put_piece(b, one.data + 4, one.len - 4);
}

static void make_launch(struct buf *b)
{
	struct launch l = {.kind = LAUNCH_START,
	        .job = 17,
	        .task = -1,
	        .attempt = 1,
	        .epoch = 99,
	        .user = "1000",
	        .argv = argv_x,
	        .env = env_x,
	        .cwd = "/srv",
	        .out_path = "/srv/17.out",
	        .err_path = "/srv/17.err",
	        .index_path = "/nonexistent/berth/logs/0/17.1.idx",
	        .console_path = "/nonexistent/berth/run/99",
	        .path = "/nonexistent/berth/spool/1",
	        .cpus = {3},
	        .grace_ms = 1000};
	struct launch granted = l;

	granted.out_path = "/srv/%j.out";
	granted.err_path = "/srv/%x-%a.err";
	l.err_path = "/srv/x-3.err";
	for (int i = 0; i < 4; i++) {
		static const char *const names[] = {"start", "start-root", "exec", "open"};
		static const enum launch_kind kinds[] = {
		        LAUNCH_START, LAUNCH_START, LAUNCH_EXEC, LAUNCH_OPEN};
		buf_add_byte(b, (uint8_t)(i == 1));
		l.user = i == 1 ? "0" : "1000";
		l.kind = granted.kind = kinds[i];
		if (l.kind == LAUNCH_EXEC) {
			l.out_path = l.err_path = NULL;
			l.tty = granted.tty = true;
		}
		if (l.kind == LAUNCH_OPEN)
			l.out_path = "/srv/17.out";
		put_launch(b, &l);
		put_launch(b, &granted);
		save("launch", names[i], b);
	}
}

static void make_refused_launch(struct buf *b)
{
	struct launch l = {.kind = LAUNCH_START,
	        .epoch = 99,
	        .user = "1000",
	        .argv = argv_x,
	        .env = env_x,
	        .cwd = "/",
	        .out_internal = true,
	        .out_path = "/nonexistent/berth/logs/a/../../../x"};

	buf_add_byte(b, 0);
	put_launch(b, &l);
	save("launch", "step-back", b);
	l.user = "999";
	l.out_path = "/nonexistent/berth/logs/a/b";
	buf_add_byte(b, 0);
	put_launch(b, &l);
	save("launch", "small-uid", b);
	l = (struct launch){.kind = LAUNCH_SWEEP,
	        .epoch = 99,
	        .user = "1000",
	        .make_cwd = true,
	        .cwd = "/nonexistent/berth/work/17",
	        .stop_cause = SPOOL_STOPPED};
	buf_add_byte(b, 2);
	put_launch(b, &l);
	save("launch", "sweep", b);
}

static void put_job(struct buf *b, const struct job *j)
{
	CLEANUP_BUF struct buf one = BUF_INIT(RECORD_MAX);

	record_put_job(&one, j);
	buf_add_byte(b, 0);
	put_piece(b, one.data, one.len);
}

/* Behind the counters and the node; jobs by their ids, so that arrays come before their tasks. */
static void save_world(struct box *x, const char *name, struct buf *b)
{
	CLEANUP_BUF struct buf one = BUF_INIT(RECORD_MAX);
	const struct node *n;

	TAILQ_FOREACH (n, &x->w->nodes, link) {
		record_put_node(&one, n);
		buf_add_byte(b, 2);
		put_piece(b, one.data, one.len);
		buf_reset(&one);
	}
	for (const struct job *j = world_next_job(x->w, NULL); j; j = world_next_job(x->w, j))
		put_job(b, j);
	record_put_meta(&one, x->w);
	buf_add_byte(b, 6);
	put_piece(b, one.data, one.len);
	save("record", name, b);
	box_done(x);
}

static void open_box(struct box *x)
{
	box_init(x);
	box_node(x, "n1", 16, 2, 8 * GIB);
}

static void make_records(struct buf *b)
{
	struct array_range range = {0, 9, 1};
	struct dep dep = {DEP_AFTER_OK, {1, TASK_NONE}};
	struct request r;
	struct box x;
	struct job *j;

	open_box(&x);
	box_run(&x, box_submit_plain(&x));
	r = box_request();
	r.deps = &dep;
	r.n_deps = 1;
	r.idempotency_key = "key";
	box_submit(&x, r);
	save_world(&x, "dependent", b);
	open_box(&x);
	r = box_request();
	r.retry_max = 2;
	box_exit(&x, box_run(&x, box_submit(&x, r)), 1);
	j = box_submit_array(&x, 0, 4, 0);
	box_run(&x, j);
	box_cancel(&x, j->id);
	save_world(&x, "retried-and-cut", b);
	open_box(&x);
	box_job_in(&x, JOB_FAILED);
	box_lose(&x, box_run(&x, box_submit_plain(&x)), REASON_NODE_LOST);
	save_world(&x, "ended", b);
	open_box(&x);
	r = box_request();
	r.ranges = &range;
	r.n_ranges = 1;
	r.throttle = 2;
	r.gpu.mem_bytes = GIB;
	r.gpu.model = "A100";
	j = box_submit(&x, r);
	box_cancel(&x, (struct job_id){j->id.num, 5});
	box_exit(&x, box_start_on(&x, j, GIB, 100), 3);
	box_start_on(&x, j, GIB, 100);
	save_world(&x, "array", b);
}

static void make_small_records(struct buf *b)
{
	CLEANUP_BUF struct buf one = BUF_INIT(RECORD_MAX);
	struct queue q = {.name = "fast", .paused = true, .overlay = "{retry: 2}"};
	struct token t = {.num = 3, .name = "t", .role = ROLE_AGENT, .user = "ada", .node = "n1"};
	struct record_blob blob = {
	        (const uint8_t *)"0123456789abcdef", 7, (const uint8_t *)"A=1", 3};

	record_put_queue(&one, &q);
	buf_add_byte(b, 3);
	put_piece(b, one.data, one.len);
	buf_reset(&one);
	record_put_token(&one, &t);
	buf_add_byte(b, 4);
	put_piece(b, one.data, one.len);
	buf_reset(&one);
	record_put_blob(&one, &blob);
	buf_add_byte(b, 5);
	put_piece(b, one.data, one.len);
	save("record", "small", b);
}

/* An attempt with a slice more than a node has devices. */
static void make_refused_record(struct buf *b)
{
	CLEANUP_BUF struct buf one = BUF_INIT(RECORD_MAX);
	size_t mark;

	codec_put_u64(&one, 1, 17);
	mark = codec_begin(&one, 17);
	for (int i = 0; i <= NODE_DEVICES_MAX; i++)
		codec_add_bytes(&one, 16, "", 0);
	codec_end(&one, mark);
	buf_add_byte(b, 1);
	put_piece(b, one.data, one.len);
	save("record", "too-many-slices", b);
}

static void make_worlds(struct buf *b)
{
	for (uint64_t seed = 1; seed <= 6; seed++) {
		struct dice d = {.state = seed};
		char name[16];
		for (uint64_t i = 0; i < 80 * seed; i++)
			buf_add_byte(b, (uint8_t)dice_u64(&d));
		snprintf(name, sizeof(name), "life-%d", (int)seed);
		save("world", name, b);
	}
}

static void test_make(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(MIB);

	make_spool(&b);
	make_link_to_agent(&b);
	make_link_to_server(&b);
	make_launch(&b);
	make_refused_launch(&b);
	make_records(&b);
	make_small_records(&b);
	make_refused_record(&b);
	make_worlds(&b);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_make)};

	if (argc != 2)
		return 2;
	corpus = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
