#include "link_kit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

struct wire *wire_new(void)
{
	struct wire *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	w->out = BUF_INIT(WIRE_MAX);
	w->ctx = talloc_new(NULL);
	return w;
}

void wire_free(struct wire *w)
{
	buf_done(&w->out);
	talloc_free(w->ctx);
	free(w);
}

int wire_next(struct wire *w)
{
	if (!w->p)
		w->p = w->out.data;
	return link_next(&w->p, w->out.data + w->out.len, w->ctx, &w->m, &w->err);
}

void expect(struct wire *w, enum link_type type)
{
	assert_int_equal(wire_next(w), 1);
	assert_int_equal(w->m.type, type);
}

void expect_end(struct wire *w)
{
	assert_int_equal(wire_next(w), 0);
	wire_free(w);
}

struct device_info a_device(uint32_t index)
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

	snprintf(d.uuid, sizeof(d.uuid), "%s", "GPU-0");
	snprintf(d.model, sizeof(d.model), "%s", "Model X");
	snprintf(d.driver, sizeof(d.driver), "%s", "550.1");
	snprintf(d.health_text, sizeof(d.health_text), "%s", "XID 79");
	cpu_set_add(&d.cpus, 0);
	cpu_set_add(&d.cpus, NODE_CPUS_MAX - 1);
	return d;
}

void put_hello(struct buf *b, uint32_t n_devices, uint32_t n_attempts)
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

void put_start(struct buf *b)
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

struct spool_record a_record(enum spool_kind kind)
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
	snprintf(r.text, sizeof(r.text), "%s", "why");
	return r;
}

void put_open(struct buf *b)
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
