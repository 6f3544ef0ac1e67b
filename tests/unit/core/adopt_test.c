#include "box.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Jobs as a decoder fills them. */

static struct job *stored(uint64_t num, enum job_state state)
{
	struct request r = box_request();
	struct job *j = world_job_new();

	j->id.num = num;
	j->req = request_pack(&r);
	j->state = state;
	j->order = num;
	return j;
}

static struct job *stored_array(uint64_t num, enum job_state state, uint64_t n, uint64_t next)
{
	struct array_range range = {0, (int64_t)n - 1, 1};
	struct request r = box_request();
	struct job *j = stored(num, state);

	request_unref(j->req);
	r.ranges = &range;
	r.n_ranges = 1;
	j->req = request_pack(&r);
	j->is_array = true;
	j->array = mem_zalloc(sizeof(*j->array));
	j->array->n = j->array->cut = n;
	j->array->next_pos = next;
	return j;
}

static struct job *stored_task(const struct job *parent, int64_t task, enum job_state state)
{
	struct job *j = world_job_new();

	j->id = (struct job_id){parent->id.num, task};
	j->req = request_pack(parent->req);
	j->state = state;
	j->order = parent->order;
	return j;
}

static void add_attempt(struct job *j, uint64_t epoch, uint64_t node)
{
	struct attempt *a;

	j->attempts = mem_realloc(j->attempts, j->n_attempts + 1, sizeof(*j->attempts));
	a = &j->attempts[j->n_attempts++];
	*a = (struct attempt){.n = j->n_attempts,
	        .epoch = epoch,
	        .node = node,
	        .state = JOB_RUNNING,
	        .node_name = mem_strdup("n1")};
	j->epoch = epoch;
}

static void add_slice(struct job *j, const char *device, uint64_t bytes, uint32_t milli)
{
	struct attempt *a = &j->attempts[j->n_attempts - 1];

	a->slices = mem_realloc(a->slices, a->n_slices + 1, sizeof(*a->slices));
	a->slices[a->n_slices] = (struct slice_record){.mem_bytes = bytes, .share_milli = milli};
	snprintf(a->slices[a->n_slices++].device, sizeof(a->slices[0].device), "%s", device);
}

static struct job *stored_running(uint64_t num, const char *device, uint64_t bytes, uint32_t milli)
{
	struct job *j = stored(num, JOB_RUNNING);

	add_attempt(j, num + 100, 1);
	if (device)
		add_slice(j, device, bytes, milli);
	return j;
}

static void adopt(struct box *b, struct job *take_j)
{
	struct err err;

	if (world_adopt_job(b->w, take_j, &err) || world_check(b->w, &err))
		fail_msg("%s", err.text);
}

/* While its tasks are still to come. */
static void adopt_without_tasks(struct box *b, struct job *take_j)
{
	struct err err;

	if (world_adopt_job(b->w, take_j, &err))
		fail_msg("%s", err.text);
}

static void refuse(struct box *b, struct job *take_j, enum err_kind kind, const char *part)
{
	struct err err = {0};

	assert_int_equal(world_adopt_job(b->w, take_j, &err), -(int)kind);
	if (!strstr(err.text, part))
		fail_msg("'%s' does not say '%s'", err.text, part);
	if (world_check(b->w, &err))
		fail_msg("%s", err.text);
}

static void box_with_node(struct box *b)
{
	box_init(b);
	box_node(b, "n1", 8, 2, 8 * GIB);
}

static void test_places_and_counters(void **state)
{
	struct box b;
	struct node *n;
	struct job *j;

	(void)state;
	box_with_node(&b);
	n = world_find_node(b.w, "n1");
	adopt(&b, stored(4, JOB_PENDING));
	adopt(&b, stored(6, JOB_FAILED));
	adopt(&b, stored_running(5, "n1-1", 2 * GIB, 250));
	adopt(&b, stored_running(8, "n1-1", 2 * GIB, 250));
	assert_true(b.w->next_job == 9 && b.w->next_order == 9 && b.w->next_epoch == 109);
	assert_true(b.w->n_living == 3 && b.w->n_ended == 1);
	assert_int_equal(box_find(&b, 4, TASK_NONE)->wait, WAIT_READY);
	j = box_find(&b, 5, TASK_NONE);
	assert_true(j->node == n && j->slices[0].device == 1);
	assert_true(n->devices[1].used_bytes == 4 * GIB && n->devices[1].used_milli == 500 &&
	            n->n_cpus_used == 2);
	assert_int_equal(world_find_queue(b.w, "default")->n_running, 2);
	assert_int_equal(b.w->n_dirty, 0);
	box_exit(&b, j, 0);
	assert_int_equal(world_find_queue(b.w, "default")->n_running, 1);
	box_done(&b);
}

static void test_ledger_of_what_is_gone(void **state)
{
	struct box b;
	struct node *n;

	(void)state;
	box_with_node(&b);
	n = world_find_node(b.w, "n1");
	/* Of a device that is no longer there, twice; and of one that has less memory than it had. */
	adopt(&b, stored_running(1, "gone", 2 * GIB, 250));
	adopt(&b, stored_running(2, "gone", 3 * GIB, 250));
	adopt(&b, stored_running(3, "n1-0", 9 * GIB, 100));
	assert_int_equal(n->n_devices, 3);
	assert_true(n->devices[2].absent && n->devices[2].used_bytes == 5 * GIB &&
	            !device_is_usable(&n->devices[2]));
	assert_true(n->devices[0].shrunk && device_free_bytes(&n->devices[0]) == 0);
	for (uint64_t i = 1; i <= 3; i++)
		box_exit(&b, box_find(&b, i, TASK_NONE), 0);
	assert_true(!n->devices[0].shrunk && n->devices[2].n_slices == 0);
	box_done(&b);
}

static void test_what_the_world_contradicts(void **state)
{
	struct box b;
	struct job *j;
	char name[16];

	(void)state;
	box_with_node(&b);
	adopt(&b, stored_running(1, "n1-0", GIB, 600));
	refuse(&b, stored(1, JOB_PENDING), ERR_CONFLICT, "job 1 is there already");
	refuse(&b, stored_running(2, "n1-0", GIB, 401), ERR_CORRUPT,
	        "more of a device than there is");
	refuse(&b, stored_running(2, "n1-0", UINT64_MAX, 1), ERR_CORRUPT,
	        "more of a device than there is");
	j = stored_running(2, "n1-1", GIB, 1);
	add_slice(j, "n1-1", GIB, 1);
	refuse(&b, j, ERR_CORRUPT, "more of a device than there is");
	j = stored(2, JOB_RUNNING);
	add_attempt(j, 3, 77);
	refuse(&b, j, ERR_CORRUPT, "a node that is not known");
	j = stored_running(2, NULL, 0, 0);
	for (uint32_t i = 0; i < NODE_DEVICES_MAX - 1; i++) {
		snprintf(name, sizeof(name), "gone-%u", i);
		add_slice(j, name, 1, 1);
	}
	refuse(&b, j, ERR_CORRUPT, "one too many");
	box_done(&b);
}

static void test_a_cpu_is_bound_once(void **state)
{
	struct box b;
	struct job *j;

	(void)state;
	box_with_node(&b);
	for (uint64_t num = 1; num <= 2; num++) {
		j = stored_running(num, NULL, 0, 0);
		j->cpus = mem_zalloc(sizeof(*j->cpus));
		cpu_set_add(j->cpus, 3);
		if (num == 1)
			adopt(&b, j);
		else
			refuse(&b, j, ERR_CORRUPT, "bound to a CPU");
	}
	box_done(&b);
}

static void test_tasks_and_their_array(void **state)
{
	struct box b;
	struct job *a, *t;

	(void)state;
	box_with_node(&b);
	a = stored_array(3, JOB_RUNNING, 10, 2);
	a->array->by_state[JOB_RUNNING] = 1;
	a->array->by_state[JOB_FAILED] = 1;
	adopt_without_tasks(&b, a);
	t = stored_task(a, 1, JOB_RUNNING);
	add_attempt(t, 9, 1);
	adopt(&b, t);
	assert_true(t->parent == a && t->req == a->req);
	assert_int_equal(world_adopted(b.w, &b.err), 0);
	refuse(&b, stored_task(a, 2, JOB_PENDING), ERR_CORRUPT,
	        "its array does not know"); /* never started */
	refuse(&b, stored_task(a, 10, JOB_FAILED), ERR_CORRUPT, "its array does not know");
	adopt(&b, stored_task(a, 0, JOB_FAILED));
	box_done(&b);
}

static void test_tasks_without_a_right_array(void **state)
{
	struct box b;
	struct job *a, *plain, *t;

	(void)state;
	box_with_node(&b);
	a = stored_array(3, JOB_RUNNING, 10, 2);
	refuse(&b, stored_task(a, 1, JOB_PENDING), ERR_CORRUPT, "has no array");
	world_job_free(a);
	plain = stored(4, JOB_PENDING);
	adopt(&b, plain);
	refuse(&b, stored_task(plain, 1, JOB_FAILED), ERR_CORRUPT, "no array");
	a = stored_array(5, JOB_FAILED, 2, 2);
	a->array->by_state[JOB_FAILED] = 2;
	adopt(&b, a);
	t = stored_task(a, 1, JOB_PENDING);
	refuse(&b, t, ERR_CORRUPT, "outlived its array");
	box_done(&b);
}

static void test_an_array_finds_its_tasks_again(void **state)
{
	struct box b;
	struct job *a, *t;

	(void)state;
	box_with_node(&b);
	a = stored_array(3, JOB_FAILED, 1, 1);
	t = stored_task(a, 0, JOB_FAILED);
	a->array->by_state[JOB_FAILED] = 1;
	adopt(&b, t);
	assert_null(t->parent);
	adopt(&b, a);
	assert_true(t->parent == a && t->req == a->req);
	box_apply(&b, (struct event){.kind = EVENT_RETRY, .id = t->id});
	assert_int_equal(a->state, JOB_PENDING);
	box_done(&b);
}

static void test_the_whole_is_looked_at_last(void **state)
{
	struct box b;
	struct job *a;
	struct err err;

	(void)state;
	box_with_node(&b);
	a = stored_array(3, JOB_RUNNING, 10, 2);
	a->array->by_state[JOB_RUNNING] = 1;
	a->array->by_state[JOB_FAILED] = 1;
	adopt_without_tasks(&b, a);
	/* A task that runs was counted, and did not come. */
	assert_int_equal(world_adopted(b.w, &err), -(int)ERR_CORRUPT);
	assert_non_null(strstr(err.text, "job 3"));
	box_done(&b);
}

static void test_places_after_a_restart(void **state)
{
	struct box b;
	struct array_range range = {0, 9, 1};
	struct request r = box_request();
	struct job *a, *t[3];

	(void)state;
	box_with_node(&b);
	a = stored_array(3, JOB_RUNNING, 10, 3);
	request_unref(a->req);
	r.ranges = &range;
	r.n_ranges = 1;
	r.throttle = 2;
	a->req = request_pack(&r);
	a->array->by_state[JOB_PENDING] = 2;
	a->array->by_state[JOB_RUNNING] = 1;
	adopt_without_tasks(&b, a);
	for (int64_t i = 0; i < 3; i++) {
		t[i] = stored_task(a, i, i == 0 ? JOB_RUNNING : JOB_PENDING);
		if (i == 0)
			add_attempt(t[i], 9, 1);
		adopt_without_tasks(&b, t[i]);
	}
	assert_int_equal(world_check(b.w, &b.err), 0);
	assert_true(t[1]->wait == WAIT_READY && t[2]->wait == WAIT_THROTTLE &&
	            a->wait == WAIT_THROTTLE);
	box_exit(&b, t[0], 0);
	assert_int_equal(t[2]->wait, WAIT_READY);
	box_done(&b);
}

static void test_dependencies_go_on(void **state)
{
	struct box b;
	struct dep d = {DEP_AFTER_OK, {1, TASK_NONE}};
	struct request r = box_request();
	struct job *j;

	(void)state;
	box_with_node(&b);
	adopt(&b, stored(1, JOB_PENDING));
	j = stored(2, JOB_PENDING);
	request_unref(j->req);
	r.deps = &d;
	r.n_deps = 1;
	j->req = request_pack(&r);
	j->dep_met = mem_zalloc(sizeof(bool));
	adopt(&b, j);
	assert_int_equal(j->wait, WAIT_DEPENDENCY);
	box_exit(&b, box_run(&b, box_find(&b, 1, TASK_NONE)), 0);
	assert_int_equal(j->wait, WAIT_READY);
	box_done(&b);
}

static void test_backoff_goes_on(void **state)
{
	struct box b;
	struct job *j = stored(1, JOB_PENDING);

	(void)state;
	box_with_node(&b);
	j->not_before_ms = BOX_WALL_MS + 500;
	adopt(&b, j);
	assert_int_equal(j->wait, WAIT_BACKOFF);
	box_pass(&b, 500);
	assert_int_equal(j->wait, WAIT_READY);
	box_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_places_and_counters),
	        cmocka_unit_test(test_ledger_of_what_is_gone),
	        cmocka_unit_test(test_what_the_world_contradicts),
	        cmocka_unit_test(test_a_cpu_is_bound_once),
	        cmocka_unit_test(test_tasks_and_their_array),
	        cmocka_unit_test(test_tasks_without_a_right_array),
	        cmocka_unit_test(test_an_array_finds_its_tasks_again),
	        cmocka_unit_test(test_the_whole_is_looked_at_last),
	        cmocka_unit_test(test_places_after_a_restart),
	        cmocka_unit_test(test_dependencies_go_on),
	        cmocka_unit_test(test_backoff_goes_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
