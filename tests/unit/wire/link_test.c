#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "wire/link.h"

#define WIRE_MAX (32 * MIB)

/* What went out, read back. */
struct wire {
	struct buf out;
	const uint8_t *p;
	void *ctx;
	struct link_message m;
	struct err err;
};

static struct wire *wire_new(void)
{
	struct wire *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	w->out = BUF_INIT(WIRE_MAX);
	w->ctx = talloc_new(NULL);
	return w;
}

static void wire_free(struct wire *w)
{
	buf_done(&w->out);
	talloc_free(w->ctx);
	free(w);
}

static int next(struct wire *w)
{
	if (!w->p)
		w->p = w->out.data;
	return link_next(&w->p, w->out.data + w->out.len, w->ctx, &w->m, &w->err);
}

static void expect(struct wire *w, enum link_type type)
{
	assert_int_equal(next(w), 1);
	assert_int_equal(w->m.type, type);
}

static void expect_end(struct wire *w)
{
	assert_int_equal(next(w), 0);
	wire_free(w);
}

static struct device_info a_device(uint32_t index)
{
	struct device_info d = {
	        .index = index,
	        .mem_bytes = 8 * GIB,
	        .cc = 80,
	        .cuda = 12040,
	        .numa_node = -1,
	        .simulated = true,
	        .health = DEVICE_DEGRADED,
	        .withheld_bytes = 12345,
	};

	strcpy(d.uuid, "GPU-0");
	strcpy(d.model, "Model X");
	strcpy(d.driver, "550.1");
	strcpy(d.health_text, "XID 79");
	cpu_set_add(&d.cpus, 0);
	cpu_set_add(&d.cpus, NODE_CPUS_MAX - 1);
	return d;
}

static void check_device(const struct device_info *d, uint32_t index)
{
	struct device_info want = a_device(index);

	assert_string_equal(d->uuid, want.uuid);
	assert_string_equal(d->model, want.model);
	assert_string_equal(d->driver, want.driver);
	assert_string_equal(d->health_text, want.health_text);
	assert_int_equal(d->index, index);
	assert_int_equal(d->mem_bytes, want.mem_bytes);
	assert_int_equal(d->cc, want.cc);
	assert_int_equal(d->cuda, want.cuda);
	assert_int_equal(d->numa_node, -1);
	assert_true(d->simulated);
	assert_int_equal(d->health, DEVICE_DEGRADED);
	assert_int_equal(d->withheld_bytes, want.withheld_bytes);
	assert_memory_equal(&d->cpus, &want.cpus, sizeof(want.cpus));
}

static void put_hello(struct buf *b, uint32_t n_devices, uint32_t n_attempts)
{
	struct device_info *devices = calloc(n_devices + 1, sizeof(*devices));
	struct link_attempt *attempts = calloc(n_attempts + 1, sizeof(*attempts));
	struct link_hello m = {
	        .version = LINK_VERSION,
	        .program = "0.1.0",
	        .name = "n1",
	        .boot_id = "b-1",
	        .mem_bytes = 4 * GIB,
	        .devices = devices,
	        .n_devices = n_devices,
	        .attempts = attempts,
	        .n_attempts = n_attempts,
	};

	for (uint32_t i = 0; i < n_devices; i++)
		devices[i] = a_device(i);
	for (uint32_t i = 0; i < n_attempts; i++)
		attempts[i] = (struct link_attempt){
		        .id = {.num = 1 + i, .task = i % 2 ? (int64_t)i : TASK_NONE},
		        .epoch = 100 + i,
		        .attempt = 1,
		        .phase = i % 2 ? LINK_LIVING : LINK_ENDED_UNACKED,
		};
	cpu_set_add(&m.cpus, 3);
	link_put_hello(b, &m);
	free(devices);
	free(attempts);
}

static void test_hello(void **state)
{
	struct wire *w = wire_new();

	put_hello(&w->out, 2, 5);
	expect(w, LINK_HELLO);
	assert_int_equal(w->m.hello.version, LINK_VERSION);
	assert_string_equal(w->m.hello.program, "0.1.0");
	assert_string_equal(w->m.hello.name, "n1");
	assert_string_equal(w->m.hello.boot_id, "b-1");
	assert_int_equal(w->m.hello.mem_bytes, 4 * GIB);
	assert_true(cpu_set_has(&w->m.hello.cpus, 3));
	assert_int_equal(w->m.hello.n_devices, 2);
	for (uint32_t i = 0; i < 2; i++)
		check_device(&w->m.hello.devices[i], i);
	assert_int_equal(w->m.hello.n_attempts, 5);
	for (uint32_t i = 0; i < 5; i++) {
		const struct link_attempt *a = &w->m.hello.attempts[i];

		assert_int_equal(a->id.num, 1 + i);
		assert_int_equal(a->id.task, i % 2 ? (int64_t)i : TASK_NONE);
		assert_int_equal(a->epoch, 100 + i);
		assert_int_equal(a->attempt, 1);
		assert_int_equal(a->phase, i % 2 ? LINK_LIVING : LINK_ENDED_UNACKED);
	}
	expect_end(w);
}

static void test_hello_of_an_empty_node(void **state)
{
	struct wire *w = wire_new();

	put_hello(&w->out, 0, 0);
	expect(w, LINK_HELLO);
	assert_int_equal(w->m.hello.n_devices, 0);
	assert_int_equal(w->m.hello.n_attempts, 0);
	expect_end(w);
}

static void put_start(struct buf *b)
{
	char *argv[] = {"python", "", "train.py", "--näme", NULL};
	struct slice_record slices[] = {
	        {.device = "GPU-0", .mem_bytes = 4 * GIB, .share_milli = 500},
	        {.device = "GPU-1", .mem_bytes = 1, .share_milli = 1000},
	};
	struct link_start m = {
	        .id = {.num = 17, .task = 3},
	        .attempt = 2,
	        .epoch = UINT64_MAX,
	        .name = "train",
	        .queue = "default",
	        .user = "ada",
	        .uid = 1000,
	        .argv = argv,
	        .env_blob = 4,
	        .chdir = "/data",
	        .output = "/data/o",
	        .tty = true,
	        .rows = 24,
	        .columns = 80,
	        .time_limit_ms = 60000,
	        .mem_bytes = GIB,
	        .n_cpus = 2,
	        .slices = slices,
	        .n_slices = 2,
	        .array_size = 100000,
	};

	cpu_set_add(&m.cpus, 65);
	link_put_start(b, &m);
}

static void test_start(void **state)
{
	struct wire *w = wire_new();
	const struct link_start *s = &w->m.start;

	put_start(&w->out);
	expect(w, LINK_START);
	assert_int_equal(s->id.num, 17);
	assert_int_equal(s->id.task, 3);
	assert_int_equal(s->attempt, 2);
	assert_true(s->epoch == UINT64_MAX);
	assert_string_equal(s->name, "train");
	assert_string_equal(s->queue, "default");
	assert_string_equal(s->user, "ada");
	assert_int_equal(s->uid, 1000);
	assert_string_equal(s->argv[0], "python");
	assert_string_equal(s->argv[1], "");
	assert_string_equal(s->argv[2], "train.py");
	assert_string_equal(s->argv[3], "--näme");
	assert_null(s->argv[4]);
	assert_int_equal(s->env_blob, 4);
	assert_string_equal(s->chdir, "/data");
	assert_string_equal(s->output, "/data/o");
	assert_null(s->error);
	assert_true(s->tty);
	assert_int_equal(s->rows, 24);
	assert_int_equal(s->columns, 80);
	assert_int_equal(s->time_limit_ms, 60000);
	assert_int_equal(s->mem_bytes, GIB);
	assert_int_equal(s->n_cpus, 2);
	assert_true(cpu_set_has(&s->cpus, 65));
	assert_int_equal(s->n_slices, 2);
	assert_string_equal(s->slices[0].device, "GPU-0");
	assert_int_equal(s->slices[0].share_milli, 500);
	assert_int_equal(s->slices[1].mem_bytes, 1);
	assert_int_equal(s->array_size, 100000);
	expect_end(w);
}

static struct spool_record a_record(enum spool_kind kind)
{
	struct spool_record r = {
	        .kind = kind,
	        .job = 17,
	        .task = TASK_NONE,
	        .attempt = 1,
	        .epoch = 9,
	        .wall_ms = 1700000000123,
	};

	if (kind == SPOOL_STARTED) {
		r.keeper_pid = 10;
		r.pid = 11;
		return r;
	}
	r.cause = SPOOL_TIMEOUT;
	r.wait_status = 0x100;
	r.peak_mem_bytes = GIB;
	r.output_bytes = 55;
	strcpy(r.text, "why");
	return r;
}

static void test_records(void **state)
{
	struct wire *w = wire_new();
	struct spool_record started = a_record(SPOOL_STARTED), ended = a_record(SPOOL_ENDED);

	link_put_record(&w->out, &started);
	link_put_record(&w->out, &ended);
	expect(w, LINK_STARTED);
	assert_int_equal(w->m.record.job, 17);
	assert_int_equal(w->m.record.task, TASK_NONE);
	assert_int_equal(w->m.record.epoch, 9);
	assert_int_equal(w->m.record.pid, 11);
	expect(w, LINK_ENDED);
	assert_int_equal(w->m.record.cause, SPOOL_TIMEOUT);
	assert_int_equal(w->m.record.wait_status, 0x100);
	assert_int_equal(w->m.record.peak_mem_bytes, GIB);
	assert_int_equal(w->m.record.wall_ms, 1700000000123);
	assert_string_equal(w->m.record.text, "why");
	expect_end(w);
}

/* A STARTED that carries the record of an end is a lie. */
static void test_record_of_another_kind(void **state)
{
	struct wire *w = wire_new();
	struct spool_record ended = a_record(SPOOL_ENDED);

	link_put_record(&w->out, &ended);
	w->out.data[0] = LINK_STARTED;
	assert_int_equal(next(w), -ERR_CORRUPT);
	wire_free(w);
}

static void test_small_messages(void **state)
{
	struct wire *w = wire_new();
	struct device_info d = a_device(1);
	struct link_attempt gone = {.id = {.num = 5, .task = 6}, .attempt = 7, .epoch = 8};

	link_put_welcome(&w->out, &(struct link_welcome){.node = 3,
	                                  .heartbeat_ms = 5000,
	                                  .grace_ms = 10000,
	                                  .output_max = GIB,
	                                  .start_burst = 4,
	                                  .watchdog = LINK_WATCHDOG_END,
	                                  .server_program = "0.1.0"});
	link_put_blob(&w->out, &(struct link_blob){.num = 4, .data = "A=1\0B=2", .len = 7});
	link_put_stop(&w->out, &(struct link_stop){.id = {.num = 1, .task = TASK_NONE},
	                               .epoch = 2,
	                               .cause = SPOOL_GPU_MEMORY,
	                               .force = true});
	link_put_ack(&w->out, 77);
	link_put_devices(&w->out, &(struct link_devices){.devices = &d, .n_devices = 1});
	link_put_remove(&w->out, &(struct link_remove){.attempts = &gone, .n_attempts = 1});
	link_put_empty(&w->out, LINK_BEAT);
	link_put_empty(&w->out, LINK_SHUTDOWN);
	link_put_empty(&w->out, LINK_BYE);

	expect(w, LINK_WELCOME);
	assert_int_equal(w->m.welcome.node, 3);
	assert_int_equal(w->m.welcome.heartbeat_ms, 5000);
	assert_int_equal(w->m.welcome.grace_ms, 10000);
	assert_int_equal(w->m.welcome.output_max, GIB);
	assert_int_equal(w->m.welcome.start_burst, 4);
	assert_int_equal(w->m.welcome.watchdog, LINK_WATCHDOG_END);
	assert_string_equal(w->m.welcome.server_program, "0.1.0");
	expect(w, LINK_BLOB);
	assert_int_equal(w->m.blob.num, 4);
	assert_int_equal(w->m.blob.len, 7);
	assert_memory_equal(w->m.blob.data, "A=1\0B=2", 7);
	expect(w, LINK_STOP);
	assert_int_equal(w->m.stop.id.num, 1);
	assert_int_equal(w->m.stop.epoch, 2);
	assert_int_equal(w->m.stop.cause, SPOOL_GPU_MEMORY);
	assert_true(w->m.stop.force);
	expect(w, LINK_ACK);
	assert_int_equal(w->m.ack_epoch, 77);
	expect(w, LINK_DEVICES);
	assert_int_equal(w->m.devices.n_devices, 1);
	check_device(&w->m.devices.devices[0], 1);
	expect(w, LINK_REMOVE);
	assert_int_equal(w->m.remove.n_attempts, 1);
	assert_int_equal(w->m.remove.attempts[0].id.task, 6);
	assert_int_equal(w->m.remove.attempts[0].attempt, 7);
	expect(w, LINK_BEAT);
	expect(w, LINK_SHUTDOWN);
	expect(w, LINK_BYE);
	expect_end(w);
}

static void put_open(struct buf *b)
{
	char *argv[] = {"sh", NULL};
	char *env[] = {"A=1", "B=", NULL};

	link_put_stream_open(b, &(struct link_stream_open){.stream = 1,
	                                .kind = LINK_STREAM_EXEC,
	                                .id = {.num = 17, .task = TASK_NONE},
	                                .attempt = 1,
	                                .epoch = 9,
	                                .output = "o",
	                                .error = "e",
	                                .want_stdout = true,
	                                .follow = true,
	                                .offset = 10,
	                                .tail_lines = 20,
	                                .argv = argv,
	                                .env = env,
	                                .tty = true,
	                                .rows = 1,
	                                .columns = 2});
}

static void test_streams(void **state)
{
	struct wire *w = wire_new();
	const struct link_stream_open *o = &w->m.stream_open;

	put_open(&w->out);
	link_put_stream_data(
	        &w->out, &(struct link_stream_data){
	                         .stream = 1, .frame = CONSOLE_STDERR, .data = "x", .len = 1});
	link_put_stream_data(
	        &w->out, &(struct link_stream_data){.stream = 1, .frame = CONSOLE_STDIN_EOF});
	link_put_stream_window(&w->out, &(struct link_stream_window){.stream = 1, .bytes = 9});
	link_put_stream_close(&w->out, &(struct link_stream_close){.stream = 1});
	link_put_stream_close(&w->out,
	        &(struct link_stream_close){.stream = 2, .kind = ERR_NOT_FOUND, .text = "gone"});
	expect(w, LINK_STREAM_OPEN);
	assert_int_equal(o->kind, LINK_STREAM_EXEC);
	assert_int_equal(o->id.task, TASK_NONE);
	assert_string_equal(o->output, "o");
	assert_string_equal(o->error, "e");
	assert_true(o->want_stdout && !o->want_stderr && o->follow && !o->ended && o->tty);
	assert_int_equal(o->offset, 10);
	assert_int_equal(o->tail_lines, 20);
	assert_string_equal(o->argv[0], "sh");
	assert_null(o->argv[1]);
	assert_string_equal(o->env[1], "B=");
	assert_null(o->env[2]);
	expect(w, LINK_STREAM_DATA);
	assert_int_equal(w->m.stream_data.frame, CONSOLE_STDERR);
	assert_int_equal(w->m.stream_data.len, 1);
	expect(w, LINK_STREAM_DATA);
	assert_int_equal(w->m.stream_data.frame, CONSOLE_STDIN_EOF);
	assert_int_equal(w->m.stream_data.len, 0);
	expect(w, LINK_STREAM_WINDOW);
	assert_int_equal(w->m.stream_window.bytes, 9);
	expect(w, LINK_STREAM_CLOSE);
	assert_int_equal(w->m.stream_close.kind, ERR_NONE);
	assert_null(w->m.stream_close.text);
	expect(w, LINK_STREAM_CLOSE);
	assert_int_equal(w->m.stream_close.kind, ERR_NOT_FOUND);
	assert_string_equal(w->m.stream_close.text, "gone");
	expect_end(w);
}

/* Lists that nobody sent can be walked all the same. */
static void test_absent_lists(void **state)
{
	struct wire *w = wire_new();

	link_put_stream_open(
	        &w->out, &(struct link_stream_open){.stream = 1, .kind = LINK_STREAM_LOG});
	expect(w, LINK_STREAM_OPEN);
	assert_non_null(w->m.stream_open.argv);
	assert_null(w->m.stream_open.argv[0]);
	assert_null(w->m.stream_open.env[0]);
	expect_end(w);
}

/* A message by hand: its type and the codec run behind it. */
static void put_raw(struct buf *b, uint8_t type, const struct buf *run)
{
	uint8_t head[5] = {type, (uint8_t)(run->len >> 24), (uint8_t)(run->len >> 16),
	        (uint8_t)(run->len >> 8), (uint8_t)run->len};

	buf_add(b, head, sizeof(head));
	buf_add(b, run->data, run->len);
}

static void test_unknown_type_and_tag(void **state)
{
	struct wire *w = wire_new();
	CLEANUP_BUF struct buf run = BUF_INIT(KIB);

	codec_add_u64(&run, 1, 42);
	codec_add_u64(&run, 900, 1);
	codec_add_bytes(&run, 901, "future", 6);
	put_raw(&w->out, LINK_TYPE_MAX, &run);
	put_raw(&w->out, 255, &run);
	put_raw(&w->out, LINK_ACK, &run);
	expect(w, LINK_ACK);
	assert_int_equal(w->m.ack_epoch, 42);
	put_raw(&w->out, 200, &run);
	w->p = w->out.data + w->out.len - (5 + run.len);
	expect_end(w);
}

static void expect_corrupt(enum link_type type, const struct buf *run)
{
	struct wire *w = wire_new();

	put_raw(&w->out, (uint8_t)type, run);
	assert_int_equal(next(w), -ERR_CORRUPT);
	assert_int_equal(w->err.kind, ERR_CORRUPT);
	/* Nothing was taken: the receiver may say where. */
	assert_ptr_equal(w->p, w->out.data);
	wire_free(w);
}

static void test_values_out_of_range(void **state)
{
	static const struct {
		enum link_type type;
		uint32_t tag;
		uint64_t value;
	} cases[] = {
	        {LINK_STOP, 4, SPOOL_CAUSE_MAX}, {LINK_STOP, 5, 2}, /* neither true nor false */
	        {LINK_STOP, 2, 3},                                  /* zigzag -2: no task */
	        {LINK_STREAM_OPEN, 2, 0},                           /* no kind of stream */
	        {LINK_STREAM_OPEN, 2, 4}, {LINK_STREAM_OPEN, 1, 1}, /* no kind at all */
	        {LINK_STREAM_CLOSE, 2, ERR_MAX}, {LINK_STREAM_DATA, 2, CONSOLE_ERROR + 1},
	        {LINK_START, 3, (uint64_t)UINT32_MAX + 1},
	        {LINK_START, 5, 7},   /* a number where a text belongs */
	        {LINK_START, 9, 7},   /* and where a list belongs */
	        {LINK_STARTED, 2, 1}, /* no record */
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEANUP_BUF struct buf run = BUF_INIT(KIB);

		codec_add_u64(&run, cases[i].tag, cases[i].value);
		expect_corrupt(cases[i].type, &run);
	}
}

static void test_bytes_out_of_form(void **state)
{
	static const struct {
		enum link_type type;
		uint32_t tag;
		size_t len;
	} cases[] = {
	        {LINK_ACK, 1, 3},   /* bytes where a number belongs */
	        {LINK_START, 5, 3}, /* a text with a NUL inside */
	        {LINK_START, 9, 3}, /* an argument with one */
	        {LINK_START, 20, NODE_CPUS_MAX / 8 + 1},
	        {LINK_ENDED, 1, 60}, /* no spool record */
	        {LINK_STREAM_DATA, 3, CONSOLE_FRAME_MAX + 1},
	};
	static const uint8_t zeros[CONSOLE_FRAME_MAX + 1];

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEANUP_BUF struct buf run = BUF_INIT(MIB);

		codec_add_bytes(&run, cases[i].tag, zeros, cases[i].len);
		expect_corrupt(cases[i].type, &run);
	}
}

static void test_field_twice(void **state)
{
	CLEANUP_BUF struct buf run = BUF_INIT(KIB);

	codec_add_bytes(&run, 5, "a", 1);
	codec_add_bytes(&run, 5, "b", 1);
	expect_corrupt(LINK_START, &run);
}

static void test_ceilings(void **state)
{
	static const struct {
		enum link_type type;
		uint32_t tag;
		uint32_t n;
	} cases[] = {
	        {LINK_HELLO, 7, NODE_DEVICES_MAX},
	        {LINK_DEVICES, 1, NODE_DEVICES_MAX},
	        {LINK_START, 21, NODE_DEVICES_MAX},
	        {LINK_START, 9, 262144},
	        {LINK_STREAM_OPEN, 16, 262144},
	        {LINK_HELLO, 8, 262144},
	        {LINK_REMOVE, 1, 262144},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEANUP_BUF struct buf run = BUF_INIT(MIB);
		struct wire *w = wire_new();

		if (cases[i].type == LINK_STREAM_OPEN)
			codec_add_u64(&run, 2, LINK_STREAM_EXEC);
		for (uint32_t k = 0; k < cases[i].n; k++)
			codec_add_bytes(&run, cases[i].tag, "", 0);
		put_raw(&w->out, (uint8_t)cases[i].type, &run);
		expect(w, cases[i].type);
		expect_end(w);
		codec_add_bytes(&run, cases[i].tag, "", 0);
		expect_corrupt(cases[i].type, &run);
	}
}

static void test_length_beyond_the_ceiling(void **state)
{
	struct wire *w = wire_new();
	uint8_t head[5] = {LINK_BEAT, 0xff, 0xff, 0xff, 0xff};

	buf_add(&w->out, head, sizeof(head));
	assert_int_equal(next(w), -ERR_CORRUPT);
	wire_free(w);
}

static void put_one_of_each(struct buf *b)
{
	struct spool_record ended = a_record(SPOOL_ENDED);

	put_hello(b, 1, 2);
	put_start(b);
	put_open(b);
	link_put_record(b, &ended);
	link_put_blob(b, &(struct link_blob){.num = 4, .data = "A=1\0B=2", .len = 7});
	link_put_stream_close(b, &(struct link_stream_close){.stream = 2, .text = "gone"});
}

/* All messages, or CORRUPT; never anything else, and never a byte behind the end (the sanitizer watches a block of exact size). */
static int read_all(const uint8_t *data, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1);
	const uint8_t *p = copy;
	void *ctx = talloc_new(NULL);
	struct link_message m;
	struct err err;
	int rc;

	assert_non_null(copy);
	memcpy(copy, data, len);
	do
		rc = link_next(&p, copy + len, ctx, &m, &err);
	while (rc > 0);
	assert_true(rc == 0 || rc == -ERR_CORRUPT);
	talloc_free(ctx);
	free(copy);
	return rc;
}

static void test_truncated(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(MIB);
	int whole = 0;

	put_one_of_each(&b);
	for (size_t len = 0; len <= b.len; len++)
		whole += read_all(b.data, len) == 0;
	/* Whole only where a message ends: before each of the six, and behind the last. */
	assert_int_equal(whole, 7);
}

static void test_flipped(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(MIB);

	put_one_of_each(&b);
	for (size_t i = 0; i < b.len; i++) {
		static const uint8_t flips[] = {0x01, 0x80, 0xff, 0x7f};
		uint8_t was = b.data[i];

		for (size_t k = 0; k < ARRAY_LEN(flips); k++) {
			b.data[i] = was ^ flips[k];
			(void)read_all(b.data, b.len);
		}
		b.data[i] = was;
	}
	assert_int_equal(read_all(b.data, b.len), 0);
}

static void test_noise(void **state)
{
	uint64_t seed = 88172645463325252u;
	uint8_t bytes[256];

	for (int round = 0; round < 20000; round++) {
		size_t len = seed % (sizeof(bytes) - 5);

		for (size_t i = 0; i < sizeof(bytes); i++) {
			seed ^= seed << 13;
			seed ^= seed >> 7;
			seed ^= seed << 17;
			bytes[i] = (uint8_t)seed;
		}
		/* A right head, so that the noise gets to the fields. */
		bytes[0] = (uint8_t)(1 + bytes[0] % (LINK_TYPE_MAX - 1));
		bytes[1] = bytes[2] = bytes[3] = 0;
		bytes[4] = (uint8_t)len;
		(void)read_all(bytes, len + 5);
	}
}

/* A buffer that is full says so. */
static void test_overflow(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(16);

	link_put_ack(&b, 1);
	put_start(&b);
	assert_true(b.overflow);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_hello),
	        cmocka_unit_test(test_hello_of_an_empty_node),
	        cmocka_unit_test(test_start),
	        cmocka_unit_test(test_records),
	        cmocka_unit_test(test_record_of_another_kind),
	        cmocka_unit_test(test_small_messages),
	        cmocka_unit_test(test_streams),
	        cmocka_unit_test(test_absent_lists),
	        cmocka_unit_test(test_unknown_type_and_tag),
	        cmocka_unit_test(test_values_out_of_range),
	        cmocka_unit_test(test_bytes_out_of_form),
	        cmocka_unit_test(test_field_twice),
	        cmocka_unit_test(test_ceilings),
	        cmocka_unit_test(test_length_beyond_the_ceiling),
	        cmocka_unit_test(test_truncated),
	        cmocka_unit_test(test_flipped),
	        cmocka_unit_test(test_noise),
	        cmocka_unit_test(test_overflow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
