#include "box.h"

#include <stdlib.h>
#include <string.h>

/* What an event does to a job in each state: the state after it, or that it does not fit. */
#define NO   (-1)
#define SAME (-2)

struct row {
	const char *what;
	enum event_kind kind;
	int to[JOB_STATE_MAX];
};

static const struct row table[] = {
        /*                        PENDING        STARTING        RUNNING         COMPLETING      then the final ones */
        {"start", EVENT_START, {JOB_STARTING, NO, NO, NO, NO, NO, NO, NO, NO, NO}},
        {"started", EVENT_STARTED,
                {SAME, JOB_RUNNING, SAME, SAME, SAME, SAME, SAME, SAME, SAME, SAME}},
        {"ended", EVENT_ENDED,
                {SAME, JOB_COMPLETED, JOB_COMPLETED, JOB_COMPLETED, SAME, SAME, SAME, SAME, SAME,
                        SAME}},
        {"lost", EVENT_LOST,
                {SAME, JOB_NODE_FAIL, JOB_NODE_FAIL, JOB_CANCELLED, SAME, SAME, SAME, SAME, SAME,
                        SAME}},
        {"cancel", EVENT_CANCEL,
                {JOB_CANCELLED, JOB_COMPLETING, JOB_COMPLETING, SAME, NO, NO, NO, NO, NO, NO}},
        {"hold", EVENT_HOLD, {SAME, NO, NO, NO, NO, NO, NO, NO, NO, NO}},
        {"release", EVENT_RELEASE, {SAME, NO, NO, NO, NO, NO, NO, NO, NO, NO}},
        {"retry", EVENT_RETRY,
                {NO, NO, NO, NO, JOB_PENDING, JOB_PENDING, JOB_PENDING, JOB_PENDING, JOB_PENDING,
                        JOB_PENDING}},
        {"edit", EVENT_EDIT, {SAME, NO, NO, NO, NO, NO, NO, NO, NO, NO}},
        {"tick", EVENT_TICK, {SAME, SAME, SAME, SAME, SAME, SAME, SAME, SAME, SAME, SAME}},
};

static void check_cell(const struct row *row, enum job_state from)
{
	struct attempt_end end = {.reason = REASON_EXITED, .has_code = true};
	struct placement p = {.node = 1};
	struct event e = {.kind = row->kind,
	        .reason = row->kind == EVENT_LOST ? REASON_NODE_LOST : REASON_CANCELLED,
	        .actor = "ada",
	        .set_priority = true};
	struct box b;
	struct job *j;
	int rc;

	box_init(&b);
	box_node(&b, "n1", 4, 0, 0);
	j = box_job_in(&b, from);
	e.id = p.id = j->id;
	e.epoch = j->epoch;
	e.placement = &p;
	e.end = row->kind == EVENT_ENDED ? &end : NULL;
	rc = box_try(&b, e);
	if (rc != (row->to[from] == NO ? -(int)ERR_CONFLICT : 0))
		fail_msg("%s of a %s job: %d %s", row->what, strtab_name(job_state_names, from), rc,
		        b.err.text);
	if (j->state != (row->to[from] < 0 ? from : (enum job_state)row->to[from]))
		fail_msg("%s of a %s job: now %s", row->what, strtab_name(job_state_names, from),
		        strtab_name(job_state_names, j->state));
	if (row->to[from] >= 0) {
		assert_non_null(box_effect(&b, EFFECT_CHANGED, j->id));
		assert_int_equal(j->transitions[j->n_transitions - 1].state, j->state);
	}
	box_done(&b);
}

static void test_every_event_in_every_state(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		for (int s = 0; s < JOB_STATE_MAX; s++)
			check_cell(&table[i], (enum job_state)s);
}

static void test_unknown_jobs_and_stale_epochs(void **state)
{
	static const enum event_kind commands[] = {
	        EVENT_CANCEL, EVENT_HOLD, EVENT_RELEASE, EVENT_RETRY, EVENT_EDIT};
	static const enum event_kind reports[] = {EVENT_STARTED, EVENT_ENDED, EVENT_LOST};
	struct attempt_end end = {.reason = REASON_EXITED, .has_code = true, .exit_code = 9};
	struct box b;
	struct job *j;

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 4, 0, 0);
	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		box_refuse(&b, (struct event){.kind = commands[i], .id = {9, TASK_NONE}},
		        ERR_NOT_FOUND, "job 9 does not exist");
		box_refuse(&b, (struct event){.kind = commands[i], .id = {9, 3}}, ERR_NOT_FOUND,
		        "job 9_3 does not exist");
	}
	j = box_start(&b, box_submit_plain(&b));
	box_take_dirty(&b);
	for (size_t i = 0; i < ARRAY_LEN(reports); i++)
		for (uint64_t epoch = 0; epoch < 4; epoch++) {
			if (epoch == j->epoch)
				continue;
			box_apply(&b, (struct event){.kind = reports[i],
			                      .id = j->id,
			                      .epoch = epoch,
			                      .end = &end,
			                      .reason = REASON_NODE_LOST});
			box_apply(&b, (struct event){.kind = reports[i],
			                      .id = {77, TASK_NONE},
			                      .epoch = j->epoch,
			                      .end = &end});
		}
	assert_int_equal(j->state, JOB_STARTING);
	assert_int_equal(b.w->n_dirty, 0);
	box_done(&b);
}

static void test_submit(void **state)
{
	struct box b;
	struct request r = box_request();
	struct job *j;

	(void)state;
	box_init(&b);
	r.priority = 7;
	r.name = "train";
	j = box_submit(&b, r);
	assert_true(j->id.num == 1 && j->id.task == TASK_NONE);
	box_expect(j, JOB_PENDING, REASON_SUBMITTED);
	assert_int_equal(j->n_transitions, 1);
	assert_string_equal(j->transitions[0].text, "ada");
	assert_true(j->submitted_ms == BOX_WALL_MS && j->transitions[0].wall_ms == BOX_WALL_MS);
	assert_int_equal(j->priority, 7);
	assert_int_equal(j->wait, WAIT_READY);
	assert_true(b.w->counters_dirty && b.w->plan_wanted && b.w->n_living == 1);
	assert_int_equal(box_submit_plain(&b)->id.num, 2);
	r.n_argv = 0;
	box_refuse(&b, (struct event){.kind = EVENT_SUBMIT, .request = &r}, ERR_INVALID, "command");
	assert_int_equal(b.w->next_job, 3);
	box_done(&b);
}

static void test_start_takes_what_it_says(void **state)
{
	struct box b;
	struct node *n;
	struct job *j;
	struct request r = box_request();
	struct placement p = {.node = 1,
	        .n_slices = 1,
	        .slices = {{.device = 1, .mem_bytes = 2 * GIB, .share_milli = 250}},
	        .bind_cpus = true};

	(void)state;
	box_init(&b);
	n = box_node(&b, "n1", 4, 2, 8 * GIB);
	r.cpus = 2;
	r.mem_bytes = GIB;
	j = box_submit(&b, r);
	p.id = j->id;
	cpu_set_add(&p.cpus, 1);
	cpu_set_add(&p.cpus, 3);
	box_apply(&b, (struct event){.kind = EVENT_START, .placement = &p});
	box_expect(j, JOB_STARTING, REASON_PLACED);
	assert_string_equal(j->transitions[1].text, "n1");
	assert_true(n->devices[1].used_bytes == 2 * GIB && n->devices[1].used_milli == 250 &&
	            n->devices[1].n_slices == 1);
	assert_true(n->n_cpus_used == 2 && n->mem_used == GIB && cpu_set_has(&n->cpus_used, 3));
	assert_int_equal(j->n_attempts, 1);
	assert_int_equal(j->attempts[0].n, 1);
	assert_int_equal(j->attempts[0].epoch, 1);
	assert_string_equal(j->attempts[0].node_name, "n1");
	assert_string_equal(j->attempts[0].slices[0].device, "n1-1");
	assert_true(j->attempts[0].slices[0].mem_bytes == 2 * GIB &&
	            j->attempts[0].slices[0].share_milli == 250);
	assert_int_equal(box_effect(&b, EFFECT_START, j->id)->epoch, 1);
	assert_int_equal(box_effect(&b, EFFECT_START, j->id)->node, 1);
	assert_int_equal(world_find_queue(b.w, "default")->n_running, 1);
	box_exit(&b, j, 0);
	assert_true(n->devices[1].used_bytes == 0 && n->devices[1].used_milli == 0 &&
	            n->devices[1].n_slices == 0);
	assert_true(n->n_cpus_used == 0 && n->mem_used == 0 && cpu_set_count(&n->cpus_used) == 0);
	assert_int_equal(world_find_queue(b.w, "default")->n_running, 0);
	assert_int_equal(j->attempts[0].n_slices, 1); /* as granted, for the history */
	box_done(&b);
}

static void test_start_that_does_not_fit(void **state)
{
	struct box b;
	struct node *n;
	struct job *j, *first;
	struct request r = box_request();
	struct placement good = {.node = 1,
	                         .n_slices = 1,
	                         .slices = {{.mem_bytes = 4 * GIB, .share_milli = 500}}},
	                 p;

	(void)state;
	box_init(&b);
	n = box_node(&b, "n1", 2, 2, 8 * GIB);
	first = box_start_on(&b, box_submit_plain(&b), 6 * GIB, 600);
	r.mem_bytes = 60 * GIB;
	j = box_submit(&b, r);
	good.id = j->id;
	good.slices[0].device = 1;
	cpu_set_add(&good.cpus, 1);
#define REFUSE(change, text) \
	p = good;            \
	change;              \
	box_refuse(&b, (struct event){.kind = EVENT_START, .placement = &p}, ERR_CONFLICT, text)
	REFUSE(p.id.num = 99, "not ready");
	REFUSE(p.id = first->id, "not ready");
	REFUSE(p.node = 7, "takes no jobs");
	REFUSE(p.slices[0].device = 2, "does not fit");
	REFUSE(p.slices[0].device = UINT32_MAX, "does not fit");
	REFUSE(p.slices[0].device = 0, "does not fit");
	REFUSE(p.slices[0].mem_bytes = 8 * GIB + 1, "does not fit");
	REFUSE(p.slices[0].share_milli = 1001, "does not fit");
	REFUSE(p.n_slices = 2; p.slices[1] = p.slices[0], "does not fit"); /* twice on one device */
	REFUSE(p.n_slices = NODE_DEVICES_MAX + 1, "more slices");
	n->devices[1].info.health = DEVICE_LOST;
	REFUSE((void)0, "does not fit");
	n->devices[1].info.health = DEVICE_OK;
	n->devices[1].absent = true;
	REFUSE((void)0, "does not fit");
	n->devices[1].absent = false;
	n->devices[1].info.withheld_bytes = 5 * GIB;
	REFUSE((void)0, "does not fit");
	n->devices[1].info.withheld_bytes = 0;
	box_apply(&b, (struct event){.kind = EVENT_NODE_DRAIN, .name = "n1"});
	REFUSE((void)0, "takes no jobs");
	box_apply(&b, (struct event){.kind = EVENT_NODE_RESUME, .name = "n1"});
	box_apply(&b, (struct event){.kind = EVENT_NODE_DOWN, .name = "n1"});
	REFUSE((void)0, "takes no jobs");
	n->state = NODE_UP;
	n->mem_bytes = 59 * GIB;
	REFUSE((void)0, "free memory");
	n->mem_bytes = 64 * GIB;
	n->n_cpus = 1;
	REFUSE((void)0, "free CPUs");
	n->n_cpus = 2;
	p = good;
	p.bind_cpus = true;
	box_apply(&b, (struct event){.kind = EVENT_START, .placement = &p});
	box_done(&b);
}

static void test_a_cpu_is_bound_once(void **state)
{
	struct box b;
	struct placement p = {.node = 1, .bind_cpus = true};

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 4, 0, 0);
	cpu_set_add(&p.cpus, 2);
	p.id = box_submit_plain(&b)->id;
	box_apply(&b, (struct event){.kind = EVENT_START, .placement = &p});
	p.id = box_submit_plain(&b)->id;
	box_refuse(&b, (struct event){.kind = EVENT_START, .placement = &p}, ERR_CONFLICT,
	        "bound already");
	box_done(&b);
}

static void test_cancel_sends_stops(void **state)
{
	struct box b;
	struct job *j;
	const struct effect *x;

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 4, 0, 0);
	j = box_run(&b, box_submit_plain(&b));
	box_cancel(&b, j->id);
	box_expect(j, JOB_COMPLETING, REASON_CANCELLED);
	x = box_effect(&b, EFFECT_STOP, j->id);
	assert_non_null(x);
	assert_true(
	        x->epoch == j->epoch && x->node == 1 && x->reason == REASON_CANCELLED && !x->force);
	/* A second one forces, and stays forced. */
	box_apply(&b, (struct event){.kind = EVENT_CANCEL,
	                      .id = j->id,
	                      .reason = REASON_CANCELLED,
	                      .force = true});
	assert_true(box_effect(&b, EFFECT_STOP, j->id)->force);
	box_cancel(&b, j->id);
	assert_true(box_effect(&b, EFFECT_STOP, j->id)->force);
	box_end(&b, j, REASON_CANCELLED);
	box_expect(j, JOB_CANCELLED, REASON_CANCELLED);
	assert_int_equal(job_result_code(j), 143);
	assert_int_equal(j->stop_reason, REASON_NONE);
	assert_false(j->stop_force);
	box_done(&b);
}

static void test_reasons_to_stop_have_an_order(void **state)
{
	struct box b;
	struct job *j;

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 4, 0, 0);
	j = box_run(&b, box_submit_plain(&b));
	box_apply(
	        &b, (struct event){
	                    .kind = EVENT_CANCEL, .id = j->id, .reason = REASON_GPU_MEMORY_LIMIT});
	assert_int_equal(j->stop_reason, REASON_GPU_MEMORY_LIMIT);
	box_apply(&b, (struct event){.kind = EVENT_CANCEL, .id = j->id, .reason = REASON_SHUTDOWN});
	assert_int_equal(j->stop_reason, REASON_GPU_MEMORY_LIMIT);
	/* A user's word stands above. */
	box_cancel(&b, j->id);
	assert_int_equal(j->stop_reason, REASON_CANCELLED);
	box_apply(&b, (struct event){.kind = EVENT_CANCEL, .id = j->id, .reason = REASON_SHUTDOWN});
	assert_int_equal(j->stop_reason, REASON_CANCELLED);
	box_done(&b);
}

static void test_hold_and_release(void **state)
{
	struct box b;
	struct request r = box_request();
	struct job *j;

	(void)state;
	box_init(&b);
	r.hold = true;
	j = box_submit(&b, r);
	assert_int_equal(j->wait, WAIT_HELD);
	b.w->plan_wanted = false;
	box_apply(&b, (struct event){.kind = EVENT_RELEASE, .id = j->id, .actor = "ada"});
	assert_int_equal(j->wait, WAIT_READY);
	assert_true(b.w->plan_wanted);
	box_apply(&b, (struct event){.kind = EVENT_HOLD, .id = j->id, .actor = "bob"});
	box_expect(j, JOB_PENDING, REASON_HELD);
	assert_string_equal(j->transitions[j->n_transitions - 1].text, "bob");
	assert_int_equal(j->wait, WAIT_HELD);
	uint32_t n = j->n_transitions;
	box_apply(&b, (struct event){.kind = EVENT_HOLD, .id = j->id, .actor = "bob"});
	assert_int_equal(j->n_transitions, n); /* nothing happened */
	box_cancel(&b, j->id);
	box_expect(j, JOB_CANCELLED, REASON_CANCELLED);
	box_done(&b);
}

static void test_retry_by_a_user(void **state)
{
	struct box b;
	struct job *j, *later;
	uint64_t epoch;

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 4, 0, 0);
	j = box_run(&b, box_submit_plain(&b));
	later = box_submit_plain(&b);
	epoch = j->epoch;
	box_exit(&b, j, 5);
	box_expect(j, JOB_FAILED, REASON_EXITED);
	assert_int_equal(job_result_code(j), 5);
	assert_true(b.w->n_ended == 1 && b.w->n_living == 1);
	b.w->counters_dirty = false;
	box_apply(&b, (struct event){.kind = EVENT_RETRY, .id = j->id, .actor = "ada"});
	box_expect(j, JOB_PENDING, REASON_RETRY_BY_USER);
	assert_true(b.w->n_ended == 0 && b.w->n_living == 2);
	assert_true(!j->has_code && j->ended_ms == 0);
	assert_true(j->order > later->order && b.w->counters_dirty); /* at the end of the line */
	box_run(&b, j);
	assert_true(j->epoch > epoch);
	assert_int_equal(j->n_attempts, 2);
	assert_int_equal(j->attempts[1].n, 2);
	/* The old attempt can no longer finish the job. */
	box_apply(&b, (struct event){.kind = EVENT_LOST,
	                      .id = j->id,
	                      .epoch = epoch,
	                      .reason = REASON_NODE_LOST});
	assert_int_equal(j->state, JOB_RUNNING);
	box_exit(&b, j, 0);
	box_expect(j, JOB_COMPLETED, REASON_EXITED);
	box_done(&b);
}

static void test_edit(void **state)
{
	struct box b;
	struct job *first, *j;
	struct request r = box_request();

	(void)state;
	box_init(&b);
	first = box_submit_plain(&b);
	r.name = "old";
	r.gpu.milli = 500;
	j = box_submit(&b, r);
	box_take_dirty(&b);
	r.name = "new";
	r.time_limit_ms = 5000;
	box_apply(&b, (struct event){.kind = EVENT_EDIT,
	                      .id = j->id,
	                      .set_priority = true,
	                      .priority = 9,
	                      .request = &r});
	assert_int_equal(j->priority, 9);
	assert_string_equal(j->req->name, "new");
	assert_true(j->req->time_limit_ms == 5000 && j->req->gpu.milli == 500);
	assert_true(j->dirty && !first->dirty);
	r.time_limit_ms = 0;
	box_apply(&b, (struct event){.kind = EVENT_EDIT, .id = j->id, .request = &r});
	assert_string_equal(j->req->name, "new");
	assert_true(j->req->time_limit_ms == 0);
	/* In its class it has moved. */
	assert_int_equal(world_position(b.w, j), 1);
	assert_int_equal(world_position(b.w, first), 2);
	box_done(&b);
}

static void test_edit_into_another_queue(void **state)
{
	struct box b;
	struct job *j;
	struct request r = box_request();
	const struct queue *from, *to;
	struct dep dep = {DEP_AFTER, {1, TASK_NONE}};

	(void)state;
	box_init(&b);
	j = box_submit(&b, r);
	from = world_find_queue(b.w, "default");
	r.queue = "night";
	r.cpus = 3;
	r.mem_bytes = GIB;
	r.gpu.count = 2;
	r.gpu.model = "a100";
	box_apply(&b, (struct event){.kind = EVENT_EDIT, .id = j->id, .request = &r});
	to = world_find_queue(b.w, "night");
	assert_true(from->n_waiting == 0 && to->n_waiting == 1);
	assert_true(j->class->shape.queue == to && j->class->shape.cpus == 3 &&
	            j->class->shape.mem_bytes == GIB && j->class->shape.gpu.count == 2);
	assert_true(RB_MIN(job_order, &j->class->ready) == j);
	r.deps = &dep;
	r.n_deps = 1;
	box_refuse(&b, (struct event){.kind = EVENT_EDIT, .id = j->id, .request = &r}, ERR_INVALID,
	        "what is waited for");
	r.n_deps = 0;
	r.cpus = NODE_CPUS_MAX + 1;
	box_refuse(&b, (struct event){.kind = EVENT_EDIT, .id = j->id, .request = &r}, ERR_INVALID,
	        "more CPUs");
	box_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_every_event_in_every_state),
	        cmocka_unit_test(test_unknown_jobs_and_stale_epochs),
	        cmocka_unit_test(test_submit),
	        cmocka_unit_test(test_start_takes_what_it_says),
	        cmocka_unit_test(test_start_that_does_not_fit),
	        cmocka_unit_test(test_a_cpu_is_bound_once),
	        cmocka_unit_test(test_cancel_sends_stops),
	        cmocka_unit_test(test_reasons_to_stop_have_an_order),
	        cmocka_unit_test(test_hold_and_release),
	        cmocka_unit_test(test_retry_by_a_user),
	        cmocka_unit_test(test_edit),
	        cmocka_unit_test(test_edit_into_another_queue),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
