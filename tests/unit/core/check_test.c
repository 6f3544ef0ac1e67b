/* Each invariant is shown to be looked at: a world that is right, one thing in it made wrong, and the word for it. */
#include "box.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

struct scene {
	struct box b;
	struct node *node;
	struct job *ready, *running, *ended, *held, *waiter, *backoff;
	struct job *array, *task, *back; /* throttled: `task` runs, `back` came back and waits */
	void *kept;                      /* what a plant took out */
	struct sched_class other;
	struct node elsewhere;
};

#define TOP ((uint64_t)1 << 63)

static void set_up(struct scene *s)
{
	struct request r = box_request();
	struct placement p = {.node = 1,
	        .n_slices = 1,
	        .slices = {{.mem_bytes = GIB, .share_milli = 100}},
	        .bind_cpus = true};

	box_init(&s->b);
	s->node = box_node(&s->b, "n1", 16, 2, 8 * GIB);
	s->ready = box_submit_plain(&s->b);
	s->running = box_submit_plain(&s->b);
	p.id = s->running->id;
	cpu_set_add(&p.cpus, 5);
	box_apply(&s->b, (struct event){.kind = EVENT_START, .placement = &p});
	s->ended = box_job_in(&s->b, JOB_FAILED);
	r.hold = true;
	s->held = box_submit(&s->b, r);
	s->waiter = box_submit_after(&s->b, DEP_AFTER_OK, s->ready->id);
	s->backoff = box_run(&s->b, box_submit_plain(&s->b));
	box_lose(&s->b, s->backoff, REASON_NODE_LOST);
	s->array = box_submit_array(&s->b, 0, 9, 1);
	s->back = box_run(&s->b, s->array);
	box_exit(&s->b, s->back, 1);
	s->task = box_run(&s->b, s->array);
	box_apply(&s->b, (struct event){.kind = EVENT_RETRY, .id = s->back->id});
	assert_int_equal(s->back->wait, WAIT_THROTTLE);
}

typedef void plant_fn(struct scene *s);

static void check(plant_fn *plant, plant_fn *mend, const char *words)
{
	struct scene s;
	struct err err = {0};
	int rc;

	set_up(&s);
	assert_int_equal(world_check(s.b.w, &err), 0);
	plant(&s);
	rc = world_check(s.b.w, &err);
	if (rc == 0 || !strstr(err.text, words))
		fail_msg("wanted '%s', got %d '%s'", words, rc, rc ? err.text : "");
	mend(&s);
	box_done(&s.b);
}

/* PLANT(name, words, change, the same undone) */
#define PLANT(name, words, change, undo)                 \
	static void plant_##name(struct scene *s)        \
	{                                                \
		change;                                  \
	}                                                \
	static void mend_##name(struct scene *s)         \
	{                                                \
		undo;                                    \
	}                                                \
	static void test_##name(void **state)            \
	{                                                \
		(void)state;                             \
		check(plant_##name, mend_##name, words); \
	}

PLANT(number, "out of range", s->ready->epoch = UINT64_MAX, s->ready->epoch = 0)
PLANT(order, "out of range", s->ready->order |= TOP, s->ready->order &= ~TOP)
PLANT(epochs, "epochs only grow", s->running->attempts[0].epoch = 0,
        s->running->attempts[0].epoch = s->running->epoch)
PLANT(epoch, "its last attempt", s->running->epoch++, s->running->epoch--)
PLANT(record, "an attempt that lives has a record", s->running->n_attempts = 0;
        s->running->epoch = 0, s->running->n_attempts = 1;
        s->running->epoch = s->running->attempts[0].epoch)
PLANT(cpus, "CPUs are bound while", s->ready->cpus = mem_zalloc(sizeof(struct cpu_set)), (void)s)
PLANT(array_n, "an array has the tasks", s->array->array->n++, s->array->array->n--)
PLANT(array_next, "is cut behind what started", s->array->array->next_pos = 99,
        s->array->array->next_pos = 2)
PLANT(array_cut, "is cut behind what started", s->array->array->cut = 5, s->array->array->cut = 10)
PLANT(array_count, "counted once", s->array->array->by_state[JOB_FAILED]++,
        s->array->array->by_state[JOB_FAILED]--)
PLANT(array_tasks, "the counts of its tasks", s->array->array->by_state[JOB_RUNNING] = 0;
        s->array->array->by_state[JOB_STARTING] = 1, s->array->array->by_state[JOB_RUNNING] = 1;
        s->array->array->by_state[JOB_STARTING] = 0)
PLANT(array_state, "ends with its last task", s->array->state = JOB_COMPLETING,
        s->array->state = JOB_RUNNING)
PLANT(array_final, "ends with its last task", s->array->state = JOB_FAILED,
        s->array->state = JOB_RUNNING)
PLANT(holds, "holds a node exactly", s->ready->node = s->node, s->ready->node = NULL)
PLANT(holds_none, "holds a node exactly", s->running->node = NULL, s->running->node = s->node)
PLANT(parent, "a task knows its array", s->task->parent = NULL, s->task->parent = s->array)
PLANT(shares, "shares its array's request", s->task->req = s->ready->req,
        s->task->req = s->array->req)
PLANT(wait_of_ended, "waits for nothing", s->ended->wait = WAIT_HELD, s->ended->wait = WAIT_NONE)
PLANT(class, "has a class", s->kept = s->ready->class;
        s->ready->class = NULL, s->ready->class = s->kept)
PLANT(wait_held, "something else than it should", s->held->held = false, s->held->held = true)
PLANT(wait_ready, "something else than it should", s->ready->held = true, s->ready->held = false)
PLANT(wait_dep, "something else than it should", s->waiter->dep_met[0] = true,
        s->waiter->dep_met[0] = false)
PLANT(watched, "not met is watched", s->kept = s->waiter->dep_links;
        s->waiter->dep_links = NULL, s->waiter->dep_links = s->kept)
PLANT(place, "lost count of its places", s->array->array->n_ready++, s->array->array->n_ready--)
PLANT(living, "counts of living and ended", s->b.w->n_living++, s->b.w->n_living--)
PLANT(ended, "counts of living and ended", s->b.w->n_ended++, s->b.w->n_ended--)
PLANT(class_count, "lost count", s->ready->class->n_jobs++, s->ready->class->n_jobs--)
PLANT(class_other, "of its class stand", s->kept = s->ready->class; s->other = *s->ready->class;
        s->ready->class = &s->other, s->ready->class = s->kept)
PLANT(class_asks, "asks for what it asks for", s->ready->class->shape.time_limit_ms++,
        s->ready->class->shape.time_limit_ms--)
PLANT(queue, "lost count", s->ready->class->shape.queue->n_running++,
        s->ready->class->shape.queue->n_running--)
PLANT(ledger_bytes, "not the sum of its slices", s->node->devices[0].used_bytes++,
        s->node->devices[0].used_bytes--)
PLANT(ledger_milli, "not the sum of its slices", s->node->devices[0].used_milli++,
        s->node->devices[0].used_milli--)
PLANT(ledger_slices, "not the sum of its slices", s->node->devices[0].n_slices++,
        s->node->devices[0].n_slices--)
PLANT(beyond, "beyond what it has", s->node->devices[0].info.mem_bytes = 1,
        s->node->devices[0].info.mem_bytes = 8 * GIB)
PLANT(shrunk, "beyond what it has", s->node->devices[0].shrunk = true,
        s->node->devices[0].shrunk = false)
PLANT(beyond_share, "beyond what it has",
        s->running->slices[0].share_milli = s->node->devices[0].used_milli = 1001,
        s->running->slices[0].share_milli = s->node->devices[0].used_milli = 100)
PLANT(no_device, "a device that is none", s->running->slices[0].device = 7,
        s->running->slices[0].device = 0)
PLANT(cpus_used, "do not add up", s->node->n_cpus_used++, s->node->n_cpus_used--)
PLANT(mem_used, "do not add up", s->node->mem_used++, s->node->mem_used--)
PLANT(bound, "do not add up", s->node->cpus_used.bits[0] ^= 1, s->node->cpus_used.bits[0] ^= 1)
PLANT(bound_twice, "shares a CPU",
        s->task->cpus = mem_dup(s->running->cpus, sizeof(struct cpu_set)), (void)s)
PLANT(on_node, "the node that it holds", s->running->node = &s->elsewhere,
        s->running->node = s->node)

static void test_a_job_alone(void **state)
{
	struct request r = box_request();
	struct array_range range = {0, 3, 1};
	struct array a = {.n = 4, .cut = 4};
	struct job j = {.req = &r, .id = {1, TASK_NONE}};
	struct err err;

	(void)state;
	assert_int_equal(job_check(&j, &err), 0);
	j.id.num = 0;
	assert_int_equal(job_check(&j, &err), -(int)ERR_CORRUPT);
	j.id.num = 1;
	j.req = NULL;
	assert_int_equal(job_check(&j, &err), -(int)ERR_CORRUPT);
	j.req = &r;
	j.is_array = true;
	j.array = &a;
	assert_int_equal(job_check(&j, &err), -(int)ERR_CORRUPT);
	r.ranges = &range;
	r.n_ranges = 1;
	assert_int_equal(job_check(&j, &err), 0);
	uint64_t skip[] = {2, 2};
	a.skip = skip;
	a.n_skip = 2;
	a.by_state[JOB_CANCELLED] = 2;
	assert_int_equal(job_check(&j, &err), -(int)ERR_CORRUPT);
	skip[1] = 3;
	assert_int_equal(job_check(&j, &err), 0);
	skip[1] = 4;
	assert_int_equal(job_check(&j, &err), -(int)ERR_CORRUPT);
	skip[0] = 0;
	skip[1] = 3;
	assert_int_equal(job_check(&j, &err), -(int)ERR_CORRUPT);
	/* A task is no array, and a job with tasks is one. */
	j.is_array = false;
	assert_int_equal(job_check(&j, &err), -(int)ERR_CORRUPT);
	j.id.task = 2;
	assert_int_equal(job_check(&j, &err), 0);
	j.is_array = true;
	assert_int_equal(job_check(&j, &err), -(int)ERR_CORRUPT);
}

#define T(name) cmocka_unit_test(test_##name)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        T(number),
	        T(order),
	        T(epochs),
	        T(epoch),
	        T(record),
	        T(cpus),
	        T(array_n),
	        T(array_next),
	        T(array_cut),
	        T(array_count),
	        T(array_tasks),
	        T(array_state),
	        T(array_final),
	        T(holds),
	        T(holds_none),
	        T(parent),
	        T(shares),
	        T(wait_of_ended),
	        T(class),
	        T(wait_held),
	        T(wait_ready),
	        T(wait_dep),
	        T(watched),
	        T(place),
	        T(living),
	        T(ended),
	        T(class_count),
	        T(class_other),
	        T(class_asks),
	        T(queue),
	        T(ledger_bytes),
	        T(ledger_milli),
	        T(ledger_slices),
	        T(beyond),
	        T(shrunk),
	        T(beyond_share),
	        T(no_device),
	        T(cpus_used),
	        T(mem_used),
	        T(bound),
	        T(bound_twice),
	        T(on_node),
	        T(a_job_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
