/* Each stored or sent format, field by field, against bytes of an earlier day: golden.h. Those of jobs are in record_test.c. */
#include "golden.h"
#include "link_again.h"

#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "core/world.h"
#include "wire/console.h"
#include "wire/launch.h"
#include "wire/link.h"
#include "wire/record.h"
#include "wire/spool.h"

static char w_train[] = "train", w_fast[] = "fast", w_ada[] = "ada", w_out[] = "/o/%j",
            w_err[] = "/e/%j", w_dir[] = "/data", w_grant[] = "00112233445566778899aabbccddeeff",
            w_node[] = "n1", w_boot[] = "6c1f0d1e-1111-2222-3333-444455556666",
            w_version[] = "0.1.0", w_python[] = "python", w_empty[] = "", w_env[] = "A=1",
            w_group[] = "/berth", w_key[] = "key of the node", w_text[] = "why";
static char *the_argv[] = {w_python, w_empty, NULL}, *the_env[] = {w_env, NULL};

static const struct slice_record the_slices[] = {
        {.device = "GPU-1", .mem_bytes = 2 * GIB, .share_milli = 250},
        {.device = "GPU-2", .mem_bytes = 7, .share_milli = 1000}};
static const struct link_attempt the_attempts[] = {
        {{17, 3}, 99, 2, LINK_LIVING}, {{18, TASK_NONE}, 100, 1, LINK_ENDED_UNACKED}};

static struct device_info device(void)
{
	return (struct device_info){.uuid = "GPU-1",
	        .model = "Acme A100",
	        .index = 1,
	        .mem_bytes = 80 * GIB,
	        .cc = 80,
	        .cuda = 12040,
	        .driver = "550.1",
	        .numa_node = 1,
	        .cpus = {{6}},
	        .simulated = true,
	        .health = DEVICE_DEGRADED,
	        .health_text = "XID 48",
	        .withheld_bytes = 5};
}

/* Bytes that were made then, read, and made again: nothing of them is passed over. */
typedef void again_fn(const uint8_t *data, size_t len, struct buf *b);

static void check(const char *name, const struct buf *made, again_fn *again)
{
	CLEANUP_BUF struct buf then = BUF_INIT(MIB), now = BUF_INIT(MIB);

	golden_made(name, made);
	golden_read(name, &then);
	again(then.data, then.len, &now);
	assert_int_equal(now.len, then.len);
	assert_memory_equal(now.data, then.data, now.len);
}

/* Link */

static void link_again(const uint8_t *data, size_t len, struct buf *b)
{
	const uint8_t *p = data;
	struct link_message m;
	struct err err;
	void *ctx = talloc_new(NULL);
	int rc;

	while ((rc = link_next(&p, data + len, ctx, &m, &err)) > 0)
		link_put_again(b, &m);
	assert_int_equal(rc, 0);
	talloc_free(ctx);
}

static void test_link_to_agent(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(MIB);

	link_put_welcome(&b, &(struct link_welcome){.node = 3,
	                             .heartbeat_ms = 3000,
	                             .grace_ms = 10000,
	                             .output_max = GIB,
	                             .start_burst = 4,
	                             .watchdog = LINK_WATCHDOG_END,
	                             .server_program = w_version,
	                             .max_processes = 4096,
	                             .cap_cpus = true,
	                             .io_weight = 50,
	                             .group_parent = w_group});
	link_put_blob(&b, &(struct link_blob){.num = 12, .data = "A=1\0B=2", .len = 7});
	link_put_start(&b, &(struct link_start){.id = {17, 3},
	                           .attempt = 2,
	                           .epoch = 99,
	                           .name = w_train,
	                           .queue = w_fast,
	                           .user = w_ada,
	                           .uid = 1000,
	                           .argv = the_argv,
	                           .env_blob = 12,
	                           .chdir = w_dir,
	                           .output = w_out,
	                           .error = w_err,
	                           .tty = true,
	                           .rows = 24,
	                           .columns = 80,
	                           .time_limit_ms = 90000,
	                           .mem_bytes = 8 * GIB,
	                           .n_cpus = 2,
	                           .cpus = {{6}},
	                           .slices = (struct slice_record *)(uintptr_t)the_slices,
	                           .n_slices = 2,
	                           .array_size = 10,
	                           .grant = w_grant});
	link_put_stop(&b, &(struct link_stop){{17, 3}, 99, SPOOL_GPU_MEMORY, true});
	link_put_stop(&b, &(struct link_stop){{18, TASK_NONE}, 100, SPOOL_SHUTDOWN, false});
	link_put_ack(&b, 99);
	link_put_remove(
	        &b, &(struct link_remove){5, (struct link_attempt *)(uintptr_t)the_attempts, 2});
	link_put_drop(&b, 12);
	link_put_empty(&b, LINK_BEAT);
	link_put_empty(&b, LINK_SHUTDOWN);
	check("link-to-agent", &b, link_again);
}

static struct spool_record ended(enum spool_cause cause)
{
	return (struct spool_record){.kind = SPOOL_ENDED,
	        .job = 17,
	        .task = 3,
	        .attempt = 2,
	        .epoch = 99,
	        .wall_ms = 1700000000123,
	        .cause = cause,
	        .wait_status = 3 << 8,
	        .peak_mem_bytes = GIB,
	        .cpu_ms = 7,
	        .output_bytes = 12,
	        .dropped_bytes = 4,
	        .text = "why"};
}

static struct spool_record started(void)
{
	return (struct spool_record){.kind = SPOOL_STARTED,
	        .job = 18,
	        .task = TASK_NONE,
	        .attempt = 1,
	        .epoch = 100,
	        .wall_ms = 1700000000001,
	        .keeper_pid = 41,
	        .pid = 42};
}

static void test_link_to_server(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(MIB);
	struct spool_record e = ended(SPOOL_OOM), s = started();
	struct device_info d = device();

	link_put_hello(&b, &(struct link_hello){.version = 1,
	                           .program = w_version,
	                           .name = w_node,
	                           .boot_id = w_boot,
	                           .key = w_key,
	                           .cpus = {{15}},
	                           .mem_bytes = 64 * GIB,
	                           .devices = &d,
	                           .n_devices = 1,
	                           .attempts = (struct link_attempt *)(uintptr_t)the_attempts,
	                           .n_attempts = 2});
	link_put_record(&b, &s);
	link_put_record(&b, &e);
	link_put_devices(&b, &(struct link_devices){&d, 1});
	link_put_removed(&b, 5);
	link_put_note(&b, &(struct link_note){{17, 3}, 99, w_text});
	link_put_empty(&b, LINK_BEAT);
	link_put_empty(&b, LINK_BYE);
	check("link-to-server", &b, link_again);
}

static void test_link_streams(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(MIB);

	link_put_stream_open(&b, &(struct link_stream_open){.stream = 1,
	                                 .kind = LINK_STREAM_LOG,
	                                 .id = {17, 3},
	                                 .attempt = 2,
	                                 .epoch = 99,
	                                 .output = w_out,
	                                 .error = w_err,
	                                 .user = w_ada,
	                                 .want_stdout = true,
	                                 .want_stderr = true,
	                                 .follow = true,
	                                 .ended = true,
	                                 .offset = 100,
	                                 .tail_lines = 10});
	link_put_stream_open(&b, &(struct link_stream_open){.stream = 2,
	                                 .kind = LINK_STREAM_EXEC,
	                                 .id = {18, TASK_NONE},
	                                 .argv = the_argv,
	                                 .env = the_env,
	                                 .tty = true,
	                                 .rows = 24,
	                                 .columns = 80,
	                                 .grant = w_grant});
	link_put_stream_open(
	        &b, &(struct link_stream_open){
	                    .stream = 3, .kind = LINK_STREAM_ATTACH, .id = {18, TASK_NONE}});
	link_put_stream_data(&b, &(struct link_stream_data){1, CONSOLE_STDERR, "hello", 5});
	link_put_stream_window(&b, &(struct link_stream_window){1, 4096});
	link_put_stream_close(&b, &(struct link_stream_close){1, ERR_NOT_FOUND, w_text});
	check("link-streams", &b, link_again);
}

/* A message that a later peer has added, and a field of one. */
static void test_link_passes_over_what_is_later(void **state)
{
	static const uint8_t later[] = {200, 0, 0, 0, 2, 2, 1};
	CLEANUP_BUF struct buf b = BUF_INIT(MIB), run = BUF_INIT(MIB);
	struct link_message m;
	struct err err;
	const uint8_t *p;

	buf_add(&b, later, sizeof(later));
	link_put_ack(&b, 99);
	codec_add_bytes(&b, 100, "later", 5);
	b.data[sizeof(later) + 4] = (uint8_t)(b.len - sizeof(later) - 5);
	p = b.data;
	assert_int_equal(link_next(&p, b.data + b.len, NULL, &m, &err), 1);
	assert_int_equal(m.type, LINK_ACK);
	assert_int_equal(m.ack_epoch, 99);
	assert_int_equal(link_next(&p, b.data + b.len, NULL, &m, &err), 0);
}

/* Launch, and what root grants: the same message in a file */

static void launch_again(const uint8_t *data, size_t len, struct buf *b)
{
	struct launch l;
	struct err err;

	for (size_t at = 0; at < len;) {
		size_t n = (size_t)data[at] << 24 | (size_t)data[at + 1] << 16 |
		           (size_t)data[at + 2] << 8 | data[at + 3];
		assert_int_equal(launch_decode(data + at + 4, n, &l, &err), 0);
		launch_encode(&l, b);
		launch_done(&l);
		at += 4 + n;
	}
}

static struct launch whole_launch(void)
{
	static uint32_t groups[] = {20, 1000};

	return (struct launch){.kind = LAUNCH_START,
	        .job = 17,
	        .task = 3,
	        .attempt = 2,
	        .epoch = 99,
	        .again = true,
	        .grant = w_grant,
	        .user = "ada",
	        .argv = the_argv,
	        .env = the_env,
	        .cwd = "/data",
	        .make_cwd = true,
	        .out_path = "/o",
	        .out_internal = true,
	        .err_path = "/e",
	        .index_path = "/i",
	        .output_max = GIB,
	        .tty = true,
	        .console = true,
	        .console_path = "/c",
	        .rows = 24,
	        .cols = 80,
	        .grace_ms = 10000,
	        .time_limit_ms = 90000,
	        .cpus = {6, [15] = 1},
	        .mem_bytes = 8 * GIB,
	        .max_processes = 4096,
	        .cpu_weight = 200,
	        .cpu_max_milli = 2500,
	        .io_weight = 50,
	        .hold_devices = true,
	        .minors = {5, [3] = 1},
	        .group_parent = "/berth",
	        .has_account = true,
	        .uid = 1000,
	        .gid = 1001,
	        .groups = groups,
	        .n_groups = 2,
	        .refusal = "why"};
}

/* What holds slices, which came later than the rest. */
static void test_slices(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(MIB), link = BUF_INIT(MIB), use = BUF_INIT(MIB);
	struct launch l = {.kind = LAUNCH_START, .epoch = 99, .task = -1, .argv = the_argv};
	static char w_model[] = "a100";
	struct link_model models[] = {{w_model, LINK_MECHANISM_NONE}, {w_node, 1}};
	struct link_welcome w = {.node = 3, .mechanism = 2, .models = models, .n_models = 2};
	struct device_info d = device();
	struct slice_record used[] = {{"GPU-1", .used_bytes = 2 * GIB, .driver_bytes = 3 * GIB},
	        {"GPU-2", .used_bytes = 1}};

	l.slices = "/dev/shm/berth-1.2-3/99-4";
	l.simulated = true;
	launch_encode(&l, &b);
	check("launch-slices", &b, launch_again);
	link_put_welcome(&link, &w);
	for (d.held_by = HELD_BY_INTERPOSER; d.held_by <= HELD_BY_MIG; d.held_by += 3)
		link_put_devices(&link, &(struct link_devices){&d, 1});
	check("link-slices", &link, link_again);
	link_put_use(&use, &(struct link_use){{17, 3}, 99, used, 2});
	check("link-use", &use, link_again);
	buf_reset(&use);
	link_put_note(&use, &(struct link_note){{17, 3}, 99, w_text, SPOOL_GPU_AROUND});
	link_put_empty(&use, LINK_BYE);
	check("link-note", &use, link_again);
}

static void spool_again(const uint8_t *data, size_t len, struct buf *b)
{
	struct spool_record r;
	struct err err;
	int n;

	for (size_t at = 0; at < len; at += (size_t)n) {
		n = spool_decode(data + at, len - at, &r, &err);
		assert_true(n > 0);
		spool_encode(&r, b);
	}
}

/* Several tasks of one job, which came later, too. */
static void test_tasks(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(MIB), link = BUF_INIT(MIB), spool = BUF_INIT(MIB);
	struct launch l = {.kind = LAUNCH_START, .epoch = 99, .task = -1, .argv = the_argv};
	struct spool_record r = ended(SPOOL_EXIT);

	l.ranks = 256;
	l.label = true;
	launch_encode(&l, &b);
	check("launch-tasks", &b, launch_again);
	link_put_start(&link, &(struct link_start){.id = {17, TASK_NONE},
	                              .epoch = 99,
	                              .argv = the_argv,
	                              .n_cpus = 8,
	                              .ranks = 4,
	                              .label = true});
	check("link-tasks", &link, link_again);
	r.has_rank = true;
	spool_encode(&r, &spool);
	r.rank = 255;
	spool_encode(&r, &spool);
	check("spool-tasks", &spool, spool_again);
}

static void test_launch(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(MIB);
	struct launch l = whole_launch();

	launch_encode(&l, &b);
	l = (struct launch){.kind = LAUNCH_EXEC,
	        .epoch = 99,
	        .task = -1,
	        .console_id = 5,
	        .argv = the_argv,
	        .path = "/spool/1"};
	launch_encode(&l, &b);
	l = (struct launch){
	        .kind = LAUNCH_STOP, .epoch = 99, .force = true, .stop_cause = SPOOL_TIMEOUT};
	launch_encode(&l, &b);
	l = (struct launch){.kind = LAUNCH_SWEEP,
	        .epoch = 99,
	        .cwd = "/w",
	        .make_cwd = true,
	        .stop_cause = SPOOL_KEEPER_KILLED};
	launch_encode(&l, &b);
	l = (struct launch){.kind = LAUNCH_ROTATE, .path = "/spool/2"};
	launch_encode(&l, &b);
	l = (struct launch){.kind = LAUNCH_FORGET, .job = 17};
	launch_encode(&l, &b);
	l = (struct launch){.kind = LAUNCH_OPEN, .job = 17, .user = "ada", .out_path = "/o"};
	launch_encode(&l, &b);
	l = (struct launch){.kind = LAUNCH_DOOR, .gid = 7};
	launch_encode(&l, &b);
	check("launch", &b, launch_again);
}

/* Spool, its index, the console */

static void test_spool(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(MIB);
	static const enum spool_cause causes[] = {SPOOL_EXIT, SPOOL_STOPPED, SPOOL_TIMEOUT,
	        SPOOL_SHUTDOWN, SPOOL_GPU_MEMORY, SPOOL_OOM, SPOOL_EXEC_FAILED, SPOOL_KEEPER_KILLED,
	        SPOOL_SETUP_FAILED};
	struct spool_record r = started();

	r.held = SPOOL_HOLD_MEMORY | SPOOL_HOLD_KILL;
	r.not_held = SPOOL_HOLD_IO;
	spool_encode(&r, &b);
	for (size_t i = 0; i < ARRAY_LEN(causes); i++) {
		r = ended(causes[i]);
		spool_encode(&r, &b);
	}
	check("spool", &b, spool_again);
	buf_reset(&b);
	r = ended(SPOOL_SETUP_FAILED);
	r.no_disk = true;
	spool_encode(&r, &b);
	check("spool-no-disk", &b, spool_again);
	buf_reset(&b);
	r = ended(SPOOL_GPU_AROUND);
	spool_encode(&r, &b);
	check("spool-gpu-around", &b, spool_again);
}

/* Host order: an index never leaves its machine, and the golden one is of a little-endian one. */
static void test_index(void **state)
{
	static const struct spool_chunk chunks[] = {
	        {.offset = 0, .wall_ms = 1700000000000, .len = 4, .stream = SPOOL_STDOUT},
	        {.offset = 4, .wall_ms = 1700000000010, .len = 4, .stream = SPOOL_STDERR},
	        {.offset = 1ULL << 40,
	                .wall_ms = 1700000000020,
	                .len = UINT32_MAX,
	                .stream = SPOOL_GAP},
	        {.offset = 9, .wall_ms = 1700000000030, .len = 1, .stream = SPOOL_GAP_STDERR}};
	static const struct spool_chunk turning = {
	        .offset = 10, .wall_ms = 1700000000040, .stream = SPOOL_TURNING};
	CLEANUP_BUF struct buf b = BUF_INIT(MIB);

	if (__BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__)
		skip();
	buf_add(&b, chunks, sizeof(chunks));
	golden_made("index", &b);
	buf_reset(&b);
	buf_add(&b, &turning, sizeof(turning));
	golden_made("index-turning", &b);
}

static void test_console(void **state)
{
	static const enum console_frame types[] = {CONSOLE_STDIN, CONSOLE_STDOUT, CONSOLE_STDERR,
	        CONSOLE_STDIN_EOF, CONSOLE_RESIZE, CONSOLE_EXIT, CONSOLE_ERROR};
	CLEANUP_BUF struct buf b = BUF_INIT(MIB);

	for (size_t i = 0; i < ARRAY_LEN(types); i++)
		console_put(&b, types[i], "payload", (uint32_t)i);
	golden_made("console", &b);
}

/* Small rows of the store */

static void queue_again(const uint8_t *data, size_t len, struct buf *b)
{
	void *ctx = talloc_new(NULL);
	struct queue q;
	struct err err;

	assert_int_equal(record_get_queue(data, len, ctx, &q, &err), 0);
	record_put_queue(b, &q);
	talloc_free(ctx);
}

static void token_again(const uint8_t *data, size_t len, struct buf *b)
{
	struct token t;
	struct err err;

	assert_int_equal(record_get_token(data, len, &t, &err), 0);
	record_put_token(b, &t);
}

static void blob_again(const uint8_t *data, size_t len, struct buf *b)
{
	struct record_blob blob;
	struct err err;

	assert_int_equal(record_get_blob(data, len, &blob, &err), 0);
	record_put_blob(b, &blob);
}

static void node_again(const uint8_t *data, size_t len, struct buf *b)
{
	void *ctx = talloc_new(NULL);
	struct device_info *infos;
	struct device d[2] = {0};
	struct node n;
	struct err err;
	uint32_t count;

	assert_int_equal(record_get_node(data, len, ctx, &n, &infos, &count, &err), 0);
	assert_int_equal(count, 1);
	d[0].info = infos[0];
	n.devices = d;
	n.n_devices = 1;
	record_put_node(b, &n);
	talloc_free(ctx);
}

static void test_rows(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(MIB);
	struct queue q = {.name = "fast", .paused = true};
	struct token t = {.num = 3,
	        .name = "ci",
	        .hash = {1, 2, 3, [31] = 9},
	        .role = ROLE_AGENT,
	        .user = "ada",
	        .node = "n1",
	        .made_ms = 1700000000000,
	        .expires_ms = 1800000000000};
	struct record_blob blob = {
	        (const uint8_t *)"0123456789abcdef", 1700000000000, (const uint8_t *)"A=1", 3};
	struct device d = {.info = device()};
	struct node n = {.num = 3,
	        .name = "n1",
	        .boot_id = "6c1f0d1e-1111-2222-3333-444455556666",
	        .key_hash = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
	        .drained = true,
	        .is_local = true,
	        .cpus = {{15}},
	        .n_cpus = 4,
	        .mem_bytes = 64 * GIB,
	        .devices = &d,
	        .n_devices = 1};

	record_put_queue(&b, &q);
	check("row-queue", &b, queue_again);
	buf_reset(&b);
	q = (struct queue){.name = "night", .overlay = "{time_limit: 1h, nodes: [n1, '@a100']}"};
	record_put_queue(&b, &q);
	check("row-queue-overlay", &b, queue_again);
	buf_reset(&b);
	record_put_token(&b, &t);
	check("row-token", &b, token_again);
	buf_reset(&b);
	record_put_blob(&b, &blob);
	check("row-blob", &b, blob_again);
	buf_reset(&b);
	record_put_node(&b, &n);
	check("row-node", &b, node_again);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_link_to_agent),
	        cmocka_unit_test(test_link_to_server),
	        cmocka_unit_test(test_link_streams),
	        cmocka_unit_test(test_link_passes_over_what_is_later),
	        cmocka_unit_test(test_launch),
	        cmocka_unit_test(test_slices),
	        cmocka_unit_test(test_tasks),
	        cmocka_unit_test(test_spool),
	        cmocka_unit_test(test_index),
	        cmocka_unit_test(test_console),
	        cmocka_unit_test(test_rows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
