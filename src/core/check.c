#include "core/check.h"
#include "core/world_priv.h"

#include <string.h>

static int broken(struct err *err, const struct job *j, const char *what)
{
	char id[48];

	return err_set(err, ERR_INTERNAL, "job %s: %s", job_id_format(j->id, id), what);
}

static int contradicts(struct err *err, const struct job *j, const char *what)
{
	char id[48];

	return err_set(err, ERR_CORRUPT, "job %s: %s", job_id_format(j->id, id), what);
}

/* Ids, epochs and counters stay far from where they would wrap. */
#define COUNTER_MAX (UINT64_MAX / 2)

static int check_array_itself(const struct job *j, struct err *err)
{
	const struct array *a = j->array;
	uint64_t counted = 0, final = 0;

	if (!a || j->id.task != TASK_NONE || !j->req->n_ranges || a->n != request_n_tasks(j->req))
		return contradicts(err, j, "an array has the tasks that were asked for");
	if (a->next_pos > a->n || (a->cut != a->n && a->cut != a->next_pos))
		return contradicts(err, j, "an array is cut behind what started");
	for (uint32_t i = 0; i < a->n_skip; i++)
		if (a->skip[i] >= a->n || a->skip[i] <= (i ? a->skip[i - 1] : a->next_pos))
			return contradicts(
			        err, j, "positions out of turn rise behind the next one");
	for (int s = 0; s < JOB_STATE_MAX; s++) {
		if (a->by_state[s] > a->n)
			return contradicts(err, j, "an array has no more tasks than it has");
		counted += a->by_state[s];
		if (job_state_is_final((enum job_state)s))
			final += a->by_state[s];
	}
	if (counted + array_unstarted(a) != a->n)
		return contradicts(err, j, "every task of the array is counted once");
	if (a->by_state[JOB_CANCELLED] < array_cut(a))
		return contradicts(err, j, "what was cut is counted as cancelled");
	if (job_state_is_final(j->state) != (final == a->n) || j->state == JOB_STARTING ||
	        j->state == JOB_COMPLETING)
		return contradicts(err, j, "an array ends with its last task");
	return 0;
}

int job_check(const struct job *j, struct err *err)
{
	bool holds = job_state_holds(j->state) && !j->is_array;
	uint64_t before = 0;

	if (!j->req || !j->id.num || j->id.num > COUNTER_MAX || j->id.task < TASK_NONE ||
	        j->epoch > COUNTER_MAX || j->order > COUNTER_MAX)
		return contradicts(err, j, "its numbers are out of range");
	if (j->is_array ? j->n_attempts : j->id.task == TASK_NONE && j->req->n_ranges)
		return contradicts(err, j, "attempts are of jobs and tasks, tasks of arrays");
	for (uint32_t i = 0; i < j->n_attempts; i++) {
		if (j->attempts[i].epoch <= before)
			return contradicts(err, j, "epochs only grow");
		before = j->attempts[i].epoch;
	}
	if (before != j->epoch)
		return contradicts(err, j, "the epoch is the one of its last attempt");
	if (holds && !j->n_attempts)
		return contradicts(err, j, "an attempt that lives has a record");
	if (!holds && j->cpus)
		return contradicts(err, j, "CPUs are bound while an attempt lives");
	if (j->has_own_request && (j->id.task == TASK_NONE || j->state == JOB_PENDING))
		return contradicts(err, j, "a task that waits asks for what its array does");
	return j->is_array ? check_array_itself(j, err) : 0;
}

static bool is_linked(const struct world *w, const struct job *j)
{
	return j->dep_links != NULL || job_state_is_final(j->state) || job_deps_are_met(j);
}

static int check_wait(const struct job *j, struct err *err)
{
	const struct job *array = j->is_array ? j : j->parent;
	enum job_wait due = job_wait_due(j, (struct now){.wall_ms = INT64_MAX});

	if (job_state_is_final(j->state))
		return j->class || j->wait != WAIT_NONE
		               ? broken(err, j, "an ended job waits for nothing")
		               : 0;
	if (!j->class)
		return broken(err, j, "a living job has a class");
	if (j->class->shape.cpus != request_cpus(j->req) ||
	        j->class->shape.mem_bytes != j->req->mem_bytes ||
	        j->class->shape.time_limit_ms != j->req->time_limit_ms)
		return broken(err, j, "its class asks for what it asks for");
	/* Whether a back-off is over depends on the time, which is not known here. */
	if (due != j->wait &&
	        !(j->wait == WAIT_BACKOFF && (due == WAIT_READY || due == WAIT_THROTTLE)))
		return broken(err, j, "waits for something else than it should");
	if (array && array->req->throttle && !RB_EMPTY(&array->array->throttled) &&
	        array_places(array))
		return broken(err, array, "a task waits for a place, and there is one");
	return 0;
}

static int check_job(const struct world *w, const struct job *j, struct err *err)
{
	bool holds = job_state_holds(j->state) && !j->is_array;
	int rc = job_check(j, err);

	if (rc)
		return rc;
	if (holds != (j->node != NULL))
		return broken(err, j, "holds a node exactly while an attempt lives");
	if (j->id.task != TASK_NONE &&
	        j->parent != world_find_job(w, (struct job_id){j->id.num, TASK_NONE}))
		return broken(err, j, "a task knows its array while that is in memory");
	if (j->parent &&
	        ((j->req != j->parent->req && !j->has_own_request) ||
	                array_is_unstarted(j->parent->array, request_task_pos(j->req, j->id.task))))
		return broken(
		        err, j, "a task shares its array's request, and its position is taken");
	if (!is_linked(w, j))
		return broken(err, j, "a dependency that is not met is watched");
	return check_wait(j, err);
}

int array_check_tasks(const struct world *w, const struct job *parent, struct err *err)
{
	const struct array *a = parent->array;
	uint64_t living[JOB_STATE_MAX] = {0};

	for (const struct job *t = world_next_job(w, parent); t && t->id.num == parent->id.num;
	        t = world_next_job(w, t))
		living[t->state]++;
	for (int s = 0; s < JOB_STATE_MAX; s++) {
		bool is_final = job_state_is_final((enum job_state)s);
		if (is_final ? living[s] > a->by_state[s] : living[s] != a->by_state[s])
			return contradicts(err, parent, "the counts of its tasks are theirs");
	}
	return 0;
}

/* The ledger: what jobs hold is what their node's sums say, and no sum is over what is there. */
static int check_devices(const struct node *n, struct err *err)
{
	uint64_t bytes[NODE_DEVICES_MAX] = {0};
	uint32_t milli[NODE_DEVICES_MAX] = {0}, slices[NODE_DEVICES_MAX] = {0};
	const struct job *j;

	if (n->n_devices > NODE_DEVICES_MAX)
		return err_set(err, ERR_INTERNAL, "node %s has too many devices", n->name);
	LIST_FOREACH (j, &n->jobs, on_node)
		for (uint32_t i = 0; i < j->n_slices; i++) {
			if (j->slices[i].device >= n->n_devices)
				return broken(err, j, "holds a device that is none");
			bytes[j->slices[i].device] += j->slices[i].mem_bytes;
			milli[j->slices[i].device] += j->slices[i].share_milli;
			slices[j->slices[i].device]++;
		}
	for (uint32_t i = 0; i < n->n_devices; i++) {
		const struct device *d = &n->devices[i];
		if (bytes[i] != d->used_bytes || milli[i] != d->used_milli ||
		        slices[i] != d->n_slices)
			return err_set(err, ERR_INTERNAL,
			        "the ledger of device %s is not the sum of its slices",
			        d->info.uuid);
		if (milli[i] > 1000 || (bytes[i] > d->info.mem_bytes) != d->shrunk)
			return err_set(err, ERR_INTERNAL, "device %s is granted beyond what it has",
			        d->info.uuid);
	}
	return 0;
}

static int check_node(const struct node *n, struct err *err)
{
	struct cpu_set bound = {0};
	uint64_t mem = 0;
	uint32_t cpus = 0;
	const struct job *j;

	LIST_FOREACH (j, &n->jobs, on_node) {
		if (j->node != n)
			return broken(err, j, "is in the list of the node that it holds");
		for (size_t i = 0; j->cpus && i < ARRAY_LEN(bound.bits); i++) {
			if (bound.bits[i] & j->cpus->bits[i])
				return broken(err, j, "shares a CPU that it is bound to");
			bound.bits[i] |= j->cpus->bits[i];
		}
		cpus += request_cpus(j->req);
		mem += j->req->mem_bytes;
	}
	if (cpus != n->n_cpus_used || mem != n->mem_used ||
	        memcmp(&bound, &n->cpus_used, sizeof(bound)) != 0)
		return err_set(
		        err, ERR_INTERNAL, "the CPUs or memory of node %s do not add up", n->name);
	return check_devices(n, err);
}

struct census {
	uint64_t living, ended, holding, waiting, in_class, ready, apart, backoff;
};

static int check_indexes(const struct world *w, const struct census *c, struct err *err)
{
	uint64_t in_class = 0, ready = 0, backoff = 0, ended = 0, holding = 0;
	uint64_t waiting = 0, apart = 0, before;
	bool has_ends = w->last_by_id == RB_MAX(job_ids, (struct job_ids *)(uintptr_t)&w->by_id);
	struct job *j;

	for (const struct sched_class *k = w->classes; k; k = k->hh.next) {
		in_class += k->n_jobs;
		has_ends = has_ends &&
		           k->first_ready ==
		                   RB_MIN(job_order, (struct job_order *)(uintptr_t)&k->ready) &&
		           k->last_ready ==
		                   RB_MAX(job_order, (struct job_order *)(uintptr_t)&k->ready);
		before = 0;
		RB_FOREACH (j, job_order, (struct job_order *)(uintptr_t)&k->ready) {
			if (j->class != k || j->wait != WAIT_READY)
				return broken(
				        err, j, "stands where the ready ones of its class stand");
			if (job_order_count(&k->ready, j) != before++)
				return broken(err, j, "has as many before it as are counted");
			ready++;
		}
	}
	RB_FOREACH (j, job_times, (struct job_times *)(uintptr_t)&w->backoff)
		backoff++;
	TAILQ_FOREACH (j, &w->ended, by_end)
		ended++;
	LIST_FOREACH (j, &w->apart, apart)
		apart++;
	for (const struct queue *q = w->queues; q; q = q->hh.next) {
		holding += q->n_running;
		waiting += q->n_waiting;
	}
	if (!has_ends)
		return err_set(err, ERR_INTERNAL, "an order has lost its first or last job");
	if (c->living != w->n_living || c->ended != w->n_ended || c->ended != ended)
		return err_set(
		        err, ERR_INTERNAL, "the counts of living and ended jobs are not theirs");
	if (c->in_class != in_class || c->ready != ready || c->backoff != backoff ||
	        c->holding != holding || c->waiting != waiting || c->apart != apart)
		return err_set(err, ERR_INTERNAL,
		        "classes, back-offs or queues have lost count of their jobs");
	return 0;
}

/* Tasks that wait for a place, or have one, of a throttled array. */
static int check_places(const struct world *w, const struct job *parent, struct err *err)
{
	uint64_t ready = 0, throttled = 0, listed = 0;
	struct job *t;

	for (t = world_next_job(w, parent); t && t->id.num == parent->id.num;
	        t = world_next_job(w, t)) {
		ready += t->wait == WAIT_READY;
		throttled += t->wait == WAIT_THROTTLE;
	}
	RB_FOREACH (t, job_order, &parent->array->throttled)
		listed++;
	return ready == parent->array->n_ready && throttled == listed
	               ? 0
	               : broken(err, parent, "has lost count of its places");
}

int world_check(const struct world *w, struct err *err)
{
	const struct node *n;
	struct census c = {0};
	int rc = 0;

	for (const struct job *j = world_next_job(w, NULL); j; j = world_next_job(w, j)) {
		rc = check_job(w, j, err);
		if (rc == 0 && j->is_array)
			rc = array_check_tasks(w, j, err);
		if (rc == 0 && j->is_array)
			rc = check_places(w, j, err);
		if (rc)
			return rc;
		c.ended += job_state_is_final(j->state);
		c.living += !job_state_is_final(j->state) && j->id.task == TASK_NONE;
		c.holding += job_state_holds(j->state) && !j->is_array;
		if (!job_state_is_final(j->state))
			c.waiting += world__waiting_of(j);
		c.in_class += j->class != NULL;
		c.ready += j->wait == WAIT_READY;
		c.apart += j->class && j->id.task == TASK_NONE &&
		           (j->is_array || j->wait != WAIT_READY);
		c.backoff += j->wait == WAIT_BACKOFF;
	}
	rc = check_indexes(w, &c, err);
	TAILQ_FOREACH (n, &w->nodes, link)
		if (rc == 0)
			rc = check_node(n, err);
	return rc;
}
