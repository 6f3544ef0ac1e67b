#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "link_kit.h"

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
	assert_int_equal(wire_next(w), -ERR_CORRUPT);
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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
