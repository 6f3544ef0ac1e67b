#include "box.h"
#include "base/num.h"
#include "sched/sched.h"

#include <stdio.h>
#include <string.h>

static struct sched_reason reasons[SCHED_REASONS_MAX];

static size_t ask_of(struct box *b, const struct job *j)
{
	struct sched *s = sched_new("pack");
	size_t n = sched_reasons(s, b->w, b->now.wall_ms, j, reasons);

	sched_free(s);
	return n;
}

static void expect_n(struct box *b, const struct job *j, size_t n)
{
	assert_int_equal(ask_of(b, j), n);
}

static void expect_reason(size_t i, enum reason code, const char *text)
{
	assert_string_equal(reason_code(reasons[i].code), reason_code(code));
	assert_string_equal(reasons[i].text, text);
}

static void expect(struct box *b, const struct job *j, enum reason code, const char *text)
{
	expect_n(b, j, 1);
	expect_reason(0, code, text);
}

static struct request with_gpu(struct gpu_ask ask);

/* Of a world that was bent by hand, and so is not checked. */
static void expect_text(struct box *b, struct gpu_ask ask, const char *text)
{
	struct request r = with_gpu(ask);
	struct event e = {.kind = EVENT_SUBMIT, .request = &r};

	assert_int_equal(core_apply(b->w, &e, b->now, &b->fx, &b->out, &b->err), 0);
	assert_true(ask_of(b, b->out.job) >= 1);
	expect_reason(0, REASON_NO_ROOM, text);
}

static struct request with_gpu(struct gpu_ask ask)
{
	struct request r = box_request();

	r.gpu = ask;
	return r;
}

#define ASK(...) ((struct gpu_ask){__VA_ARGS__})

static void test_not_before_its_time(void **state)
{
	struct box b;
	struct request r = box_request();
	struct dep deps[] = {{DEP_AFTER, {1, TASK_NONE}}, {DEP_AFTER_ANY, {1, TASK_NONE}},
	        {DEP_AFTER_OK, {2, 3}}};
	struct job *j;
	char text[120], when[32];

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 4, 0, 0);
	box_submit_plain(&b);
	box_submit_array(&b, 0, 9, 0);
	r.hold = true;
	j = box_submit(&b, r);
	expect(&b, j, REASON_HELD, "held; release it to let it run");
	r.hold = false;
	r.deps = deps;
	r.n_deps = 3;
	j = box_submit(&b, r);
	expect_n(&b, j, 3);
	expect_reason(0, REASON_DEPENDENCY, "waits until job 1 has started");
	expect_reason(1, REASON_DEPENDENCY, "waits until job 1 has ended");
	expect_reason(2, REASON_DEPENDENCY, "waits until job 2_3 has completed");
	box_run(&b, box_find(&b, 1, TASK_NONE));
	expect_n(&b, j, 2);
	expect_reason(0, REASON_DEPENDENCY, "waits until job 1 has ended");
	box_exit(&b, box_find(&b, 1, TASK_NONE), 0);
	expect(&b, j, REASON_DEPENDENCY, "waits until job 2_3 has completed");
	j = box_run(&b, box_submit_plain(&b));
	expect_n(&b, j, 0);
	box_lose(&b, j, REASON_NODE_LOST);
	snprintf(text, sizeof(text), "attempt 2 begins not before %s",
	        num_format_time(BOX_WALL_MS + 1000, when));
	expect(&b, j, REASON_BACKOFF, text);
	j = box_start(&b, box_submit_plain(&b));
	box_end(&b, j, REASON_NO_DISK);
	expect_n(&b, j, 2);
	expect_reason(0, REASON_NO_DISK, reason_text(REASON_NO_DISK));
	expect_reason(1, REASON_BACKOFF, text);
	box_cancel(&b, j->id);
	expect_n(&b, j, 0);
	box_done(&b);
}

static void test_tasks(void **state)
{
	struct box b;
	struct array_range range = {0, 3, 1};
	struct dep d = {DEP_AFTER_OK, {1, TASK_NONE}};
	struct request r = box_request();
	struct job *a, *t;

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 4, 0, 0);
	a = box_submit_array(&b, 0, 3, 1);
	t = box_run(&b, a);
	expect(&b, a, REASON_ARRAY_THROTTLE, "its array runs at most 1 tasks at once");
	box_exit(&b, t, 1);
	box_run(&b, a);
	box_apply(&b, (struct event){.kind = EVENT_RETRY, .id = t->id});
	expect(&b, t, REASON_ARRAY_THROTTLE, "its array runs at most 1 tasks at once");
	/* A task that waits with its array says what for. */
	r.ranges = &range;
	r.deps = &d;
	r.n_ranges = r.n_deps = 1;
	a = box_submit(&b, r);
	box_cancel(&b, (struct job_id){a->id.num, 1});
	box_apply(&b, (struct event){.kind = EVENT_RETRY, .id = {a->id.num, 1}});
	expect(&b, box_find(&b, a->id.num, 1), REASON_DEPENDENCY,
	        "waits until job 1 has completed");
	box_done(&b);
}

static void test_no_node(void **state)
{
	struct box b;
	struct job *j;

	(void)state;
	box_init(&b);
	j = box_submit_plain(&b);
	expect(&b, j, REASON_NO_NODES, "no node is connected");
	box_node(&b, "n1", 4, 0, 0);
	expect(&b, j, REASON_STARTING, "about to start");
	box_apply(&b, (struct event){.kind = EVENT_NODE_DRAIN, .name = "n1"});
	expect(&b, j, REASON_NODE_DRAINED, "node n1 could take it and is drained");
	box_apply(&b, (struct event){.kind = EVENT_NODE_DOWN, .name = "n1"});
	expect(&b, j, REASON_NO_NODES, "no node is connected");
	box_done(&b);
}

static void test_paused_queue(void **state)
{
	struct box b;
	struct job *j, *big;

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 1, 0, 0);
	j = box_submit_plain(&b);
	big = box_submit_plain(&b);
	box_apply(&b, (struct event){.kind = EVENT_QUEUE_PAUSE, .name = "default"});
	expect(&b, j, REASON_QUEUE_PAUSED, "its queue is paused");
	box_start(&b, j);
	expect_n(&b, big, 2);
	expect_reason(0, REASON_QUEUE_PAUSED, "its queue is paused");
	expect_reason(1, REASON_NO_ROOM, "needs 1 CPU; n1 has 0 of 1 free");
	box_done(&b);
}

static void test_no_room(void **state)
{
	struct box b;
	struct node *n;
	struct request r = box_request();

	(void)state;
	box_init(&b);
	n = box_node(&b, "n1", 4, 2, 8 * GIB);
	r.mem_bytes = 60 * GIB;
	r.cpus = 2;
	box_start(&b, box_submit(&b, r));
	r.cpus = 3;
	expect(&b, box_submit(&b, r), REASON_NO_ROOM,
	        "needs 3 CPUs; n1 has 2 of 4 free; needs 60 GiB of memory; n1 has 4 GiB free");
	r.cpus = 0;
	expect(&b, box_submit(&b, r), REASON_NO_ROOM, "needs 60 GiB of memory; n1 has 4 GiB free");
	box_start_on(&b, box_submit_plain(&b), 6 * GIB, 100);
	n->devices[1].info.withheld_bytes = 5 * GIB;
	expect(&b, box_submit(&b, with_gpu(ASK(.count = 1))), REASON_NO_ROOM,
	        "needs 1 whole device; n1 has 0 of 2 free");
	expect_n(&b, box_submit(&b, with_gpu(ASK(.milli = 500))), 2);
	expect_reason(
	        0, REASON_NO_ROOM, "needs 4 GiB on one device; n1 has at most 3 GiB free on one");
	expect_reason(1, REASON_FRAGMENTED,
	        "n1 has 5 GiB and 1.9 of a device's compute free over 2 devices; a fraction lies on one");
	n->devices[1].info.withheld_bytes = 0;
	n->devices[1].used_milli = 950;
	expect_text(&b, ASK(.mem_bytes = 4 * GIB, .share_milli = 100),
	        "needs 4 GiB and 100/1000 of the compute of one device; none on n1 has both free");
	n->devices[0].used_milli = 920;
	expect_text(&b, ASK(.mem_bytes = GIB, .share_milli = 100),
	        "needs 100/1000 of the compute of one device; none on n1 has so much free");
	n->devices[0].used_milli = 100;
	n->devices[1].used_milli = 0;
	box_done(&b);
}

static void test_no_room_for_a_model(void **state)
{
	struct box b;
	struct node *n;

	(void)state;
	box_init(&b);
	n = box_node(&b, "n1", 4, 3, 8 * GIB);
	strcpy(n->devices[0].info.model, "Acme H100");
	box_start_on(&b, box_submit_plain(&b), GIB, 100);
	/* The free ones are of another model, and do not count. */
	expect(&b, box_submit(&b, with_gpu(ASK(.count = 1, .model = "h100"))), REASON_NO_ROOM,
	        "needs 1 whole device; n1 has 0 of 1 free");
	n->devices[0].info.health = DEVICE_LOST;
	expect(&b, box_submit(&b, with_gpu(ASK(.milli = 10, .model = "h100"))), REASON_NO_ROOM,
	        "no usable device on n1");
	n->devices[0].info.health = DEVICE_OK;
	box_done(&b);
}

static void test_impossible_now(void **state)
{
	struct box b;
	struct request r = with_gpu(ASK(.count = 1));
	struct job *j;

	(void)state;
	box_init(&b);
	j = box_submit(&b, r);
	box_node(&b, "n1", 4, 0, 0);
	expect(&b, j, REASON_IMPOSSIBLE, "no connected node could ever satisfy 1 device, 1 CPU");
	box_done(&b);
}

static void refuse(struct box *b, struct request r, const char *text)
{
	struct err err = {0};

	assert_int_equal(sched_check_possible(b->w, &r, &err), -(int)ERR_IMPOSSIBLE);
	assert_string_equal(err.text, text);
	assert_non_null(strstr(err.hint, "berth nodes"));
}

static void test_a_request_that_no_node_could_ever_satisfy(void **state)
{
	struct box b;
	struct request r = box_request();
	struct err err;

	(void)state;
	box_init(&b);
	r.gpu.count = 2;
	assert_int_equal(sched_check_possible(b.w, &r, &err), 0); /* nothing is known yet */
	box_node(&b, "n1", 4, 1, 8 * GIB);
	box_node(&b, "n2", 32, 0, 0);
	box_node(&b, "n3", 2, 1, 16 * GIB);
	refuse(&b, r,
	        "no node could ever satisfy 2 devices, 1 CPU; the largest is n3 with 1 device (Acme A100, 16 GiB), 2 CPUs and 64 GiB");
	/* The largest by what was asked for. */
	r.gpu = ASK(.mem_bytes = 20 * GIB);
	refuse(&b, r,
	        "no node could ever satisfy 20 GiB of device memory, 1 CPU; the largest is n3 with 1 device (Acme A100, 16 GiB), 2 CPUs and 64 GiB");
	r.gpu = ASK();
	r.cpus = 33;
	refuse(&b, r,
	        "no node could ever satisfy 33 CPUs; the largest is n2 with no device, 32 CPUs and 64 GiB");
	r.cpus = 0;
	r.mem_bytes = 65 * GIB;
	refuse(&b, r,
	        "no node could ever satisfy 0 CPUs, 65 GiB of memory; the largest is n2 with no device, 32 CPUs and 64 GiB");
	r.mem_bytes = 0;
	r.gpu = ASK(.milli = 500, .share_milli = 30, .cc_min = 90, .model = "h100");
	refuse(&b, r,
	        "no node could ever satisfy 0.5 of a device, 30/1000 of its compute, model 'h100', compute capability 9.0, 0 CPUs; the largest is n3 with 1 device (Acme A100, 16 GiB), 2 CPUs and 64 GiB");
	r.gpu = ASK(.fgpu_milli = 1500);
	refuse(&b, r,
	        "no node could ever satisfy 1.500 fGPU, 0 CPUs; the largest is n3 with 1 device (Acme A100, 16 GiB), 2 CPUs and 64 GiB");
	/* A device that is gone is not counted; a node that is away is: it may come back. */
	r.gpu = ASK(.count = 1);
	box_node(&b, "n1", 4, 0, 0);
	box_node(&b, "n3", 2, 0, 0);
	refuse(&b, r,
	        "no node could ever satisfy 1 device, 0 CPUs; the largest is n2 with no device, 32 CPUs and 64 GiB");
	box_node(&b, "n1", 4, 1, 8 * GIB);
	box_apply(&b, (struct event){.kind = EVENT_NODE_DOWN, .name = "n1"});
	assert_int_equal(sched_check_possible(b.w, &r, &err), 0);
	box_done(&b);
}

static void test_every_waiting_job_has_a_reason(void **state)
{
	struct box b;

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 2, 1, 8 * GIB);
	for (uint32_t i = 0; i < 8; i++) {
		struct request r = with_gpu(ASK(.milli = 100 * (i + 1)));
		r.cpus = i;
		r.hold = i % 3 == 0;
		box_submit(&b, r);
	}
	for (const struct job *j = world_next_job(b.w, NULL); j; j = world_next_job(b.w, j)) {
		assert_true(ask_of(&b, j) >= 1);
		assert_true(reasons[0].text[0] != '\0');
	}
	box_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_not_before_its_time),
	        cmocka_unit_test(test_tasks),
	        cmocka_unit_test(test_no_node),
	        cmocka_unit_test(test_paused_queue),
	        cmocka_unit_test(test_no_room),
	        cmocka_unit_test(test_no_room_for_a_model),
	        cmocka_unit_test(test_impossible_now),
	        cmocka_unit_test(test_a_request_that_no_node_could_ever_satisfy),
	        cmocka_unit_test(test_every_waiting_job_has_a_reason),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
