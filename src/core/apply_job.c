/* Jobs as their users move them: submit, start, cancel, hold, retry, edit; and the one place where a state changes. */
#include "core/world_priv.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

static void note_transition(struct job *j, int64_t wall_ms, enum reason reason, const char *text)
{
	struct transition *t;

	j->transitions = mem_realloc(j->transitions, j->n_transitions + 1, sizeof(*j->transitions));
	t = &j->transitions[j->n_transitions++];
	*t = (struct transition){.wall_ms = wall_ms,
	        .state = j->state,
	        .reason = reason,
	        .attempt = j->n_attempts,
	        .text = text && *text ? mem_strdup(text) : NULL};
}

static void enter_final(struct apply *a, struct job *j)
{
	struct world *w = a->w;

	j->ended_ms = a->now.wall_ms;
	j->stop_reason = REASON_NONE;
	world__leave_class(w, j);
	world__unwatch_deps(w, j);
	TAILQ_INSERT_TAIL(&w->ended, j, by_end);
	w->n_ended++;
	if (j->id.task == TASK_NONE)
		w->n_living--;
}

static void leave_final(struct apply *a, struct job *j)
{
	struct world *w = a->w;

	TAILQ_REMOVE(&w->ended, j, by_end);
	w->n_ended--;
	j->ended_ms = 0;
	if (j->id.task == TASK_NONE)
		w->n_living++;
	world__join_class(w, j);
	world__watch_deps(w, j);
}

/* While j has a class: before it leaves the living, after it is one of them again. */
static void count_queue(struct job *j, enum job_state old)
{
	struct queue *q = j->class->shape.queue;

	if (j->is_array)
		return;
	q->n_waiting += (uint64_t)(j->state == JOB_PENDING) - (uint64_t)(old == JOB_PENDING);
	if (job_state_holds(j->state) != job_state_holds(old))
		queue__count(q, j, job_state_holds(j->state));
}

/* It asks for this from now on: counted in that queue, and of that class. */
static void give_request(struct world *w, struct job *j, struct request *take_r)
{
	uint64_t waiting = j->class ? world__waiting_of(j) : 0;
	struct request *old = j->req;

	if (waiting)
		j->class->shape.queue->n_waiting -= waiting;
	j->req = take_r;
	request_unref(old);
	world__reclass(w, j);
	if (waiting)
		j->class->shape.queue->n_waiting += waiting;
}

/* What is to start again starts as its array asks now. */
static void join_array_again(struct world *w, struct job *j)
{
	j->has_own_request = false;
	give_request(w, j, request_ref(j->parent->req));
}

void apply__transition(
        struct apply *a, struct job *j, enum job_state state, enum reason reason, const char *text)
{
	enum job_state old = j->state;

	BUG_IF(job_state_holds(old) && !job_state_holds(state) && j->node);
	j->state = state;
	j->reason = reason;
	note_transition(j, a->now.wall_ms, reason, text);
	if (j->node)
		world__touch_node(a->w, j->node);
	if (j->parent) {
		j->parent->array->by_state[old]--;
		j->parent->array->by_state[state]++;
	}
	if (!job_state_is_final(state) && job_state_is_final(old))
		leave_final(a, j);
	count_queue(j, old);
	if (job_state_is_final(state) && !job_state_is_final(old))
		enter_final(a, j);
	if (j->has_own_request && state == JOB_PENDING)
		join_array_again(a->w, j);
	world__settle(a->w, j, a->now);
	world__mark_dirty(a->w, j);
	effects_add(a->fx, (struct effect){.kind = EFFECT_CHANGED, .id = j->id});
	if (state == JOB_RUNNING || job_state_is_final(state))
		apply__note_recheck(a, j->id);
	if (j->parent)
		array__follow(a, j->parent, j);
}

int apply__submit(struct apply *a, const struct event *e, struct applied *out, struct err *err)
{
	struct world *w = a->w;
	struct job *j;
	int rc = request_check(e->request, err);

	if (rc)
		return rc;
	j = world_job_new();
	j->req = request_pack(e->request);
	j->id.num = w->next_job++;
	j->order = w->next_order++;
	j->priority = j->req->priority;
	j->held = j->req->hold;
	j->submitted_ms = a->now.wall_ms;
	j->state = JOB_PENDING;
	if (j->req->n_ranges) {
		j->is_array = true;
		j->array = mem_zalloc(sizeof(*j->array));
		j->array->n = j->array->cut = request_n_tasks(j->req);
	}
	if (j->req->n_deps)
		j->dep_met = mem_zalloc(j->req->n_deps * sizeof(bool));
	world__add_job(w, j);
	w->counters_dirty = true;
	apply__transition(a, j, JOB_PENDING, REASON_SUBMITTED, e->actor);
	apply__recheck_own(a, j);
	*out = (struct applied){.job = j, .is_new = true};
	return 0;
}

static struct attempt *add_attempt(
        struct apply *a, struct job *j, const struct placement *p, const struct node *n)
{
	struct attempt *t;

	j->attempts = mem_realloc(j->attempts, j->n_attempts + 1, sizeof(*j->attempts));
	t = &j->attempts[j->n_attempts++];
	*t = (struct attempt){.n = j->n_attempts,
	        .epoch = a->w->next_epoch++,
	        .node = n->num,
	        .node_name = mem_strdup(n->name),
	        .placed_ms = a->now.wall_ms,
	        .state = JOB_RUNNING,
	        .n_slices = p->n_slices};
	if (p->n_slices)
		t->slices = mem_zalloc(p->n_slices * sizeof(*t->slices));
	for (uint32_t i = 0; i < p->n_slices; i++) {
		t->slices[i].mem_bytes = p->slices[i].mem_bytes;
		t->slices[i].share_milli = p->slices[i].share_milli;
		memcpy(t->slices[i].device, n->devices[p->slices[i].device].info.uuid,
		        sizeof(t->slices[i].device));
	}
	a->w->counters_dirty = true;
	return t;
}

static bool overlap(const struct cpu_set *a, const struct cpu_set *b)
{
	uint64_t both = 0;

	for (size_t i = 0; i < ARRAY_LEN(a->bits); i++)
		both |= a->bits[i] & b->bits[i];
	return both != 0;
}

static int check_host(
        const struct job *j, const struct placement *p, const struct node *n, struct err *err)
{
	const struct request *r = j->req;
	uint32_t cpus = request_cpus(r);

	if (!n || n->state != NODE_UP || n->drained)
		return err_set(err, ERR_CONFLICT, "the node of the placement takes no jobs");
	if (cpus && n->n_cpus_used + cpus > n->n_cpus)
		return err_set(err, ERR_CONFLICT, "node %s has no %u free CPUs", n->name, cpus);
	if (p->bind_cpus && overlap(&p->cpus, &n->cpus_used))
		return err_set(err, ERR_CONFLICT, "a CPU of node %s is bound already", n->name);
	if (r->mem_bytes && r->mem_bytes > n->mem_bytes - MIN(n->mem_used, n->mem_bytes))
		return err_set(err, ERR_CONFLICT, "node %s has not so much free memory", n->name);
	return 0;
}

static int check_placement(
        const struct job *j, const struct placement *p, const struct node *n, struct err *err)
{
	uint64_t seen = 0;
	int rc = check_host(j, p, n, err);

	if (rc)
		return rc;
	if (p->n_slices > NODE_DEVICES_MAX)
		return err_set(err, ERR_CONFLICT, "more slices than a node has devices");
	for (uint32_t i = 0; i < p->n_slices; i++) {
		const struct slice *x = &p->slices[i];
		const struct device *d = x->device < n->n_devices ? &n->devices[x->device] : NULL;
		if (!d || !device_is_usable(d) || (seen >> x->device & 1) ||
		        x->mem_bytes > device_free_bytes(d) ||
		        x->share_milli > device_free_milli(d))
			return err_set(err, ERR_CONFLICT,
			        "the slice does not fit on device %u of node %s", x->device,
			        n->name);
		seen |= (uint64_t)1 << x->device;
	}
	return 0;
}

int apply__start(struct apply *a, const struct event *e, struct applied *out, struct err *err)
{
	const struct placement *p = e->placement;
	struct job *j = world_find_job(a->w, p->id);
	struct node *n = world_find_node_num(a->w, p->node);
	int rc;

	if (!j || (j->wait != WAIT_READY))
		return err_set(err, ERR_CONFLICT, "the job of the placement is not ready to start");
	rc = check_placement(j, p, n, err);
	if (rc)
		return rc;
	if (j->is_array) {
		if (p->pos != array_next(j->array, 0) || p->pos >= j->array->n)
			return err_set(err, ERR_CONFLICT,
			        "task %llu of the array is not the next one",
			        (unsigned long long)p->pos);
		j = array__materialise(a, j, p->pos);
	}
	j->epoch = add_attempt(a, j, p, n)->epoch;
	j->node = n;
	j->n_slices = p->n_slices;
	j->slices = p->n_slices ? mem_dup(p->slices, p->n_slices * sizeof(*p->slices)) : NULL;
	j->cpus = p->bind_cpus ? mem_dup(&p->cpus, sizeof(p->cpus)) : NULL;
	world__hold_slices(a->w, j);
	apply__transition(a, j, JOB_STARTING, REASON_PLACED, n->name);
	effects_add(a->fx,
	        (struct effect){
	                .kind = EFFECT_START, .id = j->id, .node = n->num, .epoch = j->epoch});
	*out = (struct applied){.job = j};
	return 0;
}

/* Ends what runs, or what waits. */
void apply__stop_task(
        struct apply *a, struct job *j, enum reason reason, const char *text, bool force)
{
	if (!job_state_holds(j->state)) {
		apply__transition(a, j, JOB_CANCELLED, reason, text);
		return;
	}
	/* A user's word stands above Berth's own reasons; these do not replace one another. */
	if (j->stop_reason == REASON_NONE || reason == REASON_CANCELLED)
		j->stop_reason = reason;
	j->stop_force = j->stop_force || force;
	effects_add(a->fx, (struct effect){.kind = EFFECT_STOP,
	                           .id = j->id,
	                           .node = j->node->num,
	                           .epoch = j->epoch,
	                           .reason = j->stop_reason,
	                           .force = j->stop_force});
	if (j->state != JOB_COMPLETING)
		apply__transition(a, j, JOB_COMPLETING, reason, text);
	else
		world__mark_dirty(a->w, j);
}

/* A task that never was a job of its own becomes one in order to be cancelled. */
static struct job *find_to_cancel(struct apply *a, struct job_id id)
{
	struct job *j = world_find_job(a->w, id), *parent;
	uint64_t pos;

	if (j || id.task == TASK_NONE)
		return j;
	parent = world_find_job(a->w, (struct job_id){id.num, TASK_NONE});
	if (!parent || !parent->array)
		return NULL;
	pos = request_task_pos(parent->req, id.task);
	return array_is_unstarted(parent->array, pos) ? array__materialise(a, parent, pos) : NULL;
}

int apply__cancel(struct apply *a, const struct event *e, struct applied *out, struct err *err)
{
	struct job *j = find_to_cancel(a, e->id);
	char id[48];

	if (!j)
		return err_set(
		        err, ERR_NOT_FOUND, "job %s does not exist", job_id_format(e->id, id));
	if (job_state_is_final(j->state))
		return err_set(err, ERR_CONFLICT, "job %s has ended already (%s)",
		        job_id_format(e->id, id), strtab_name(job_state_names, j->state));
	if (e->reason == REASON_WITHDRAWN)
		world__forget_key(a->w, j);
	if (j->is_array)
		array__cancel(a, j, e->reason, e->actor, e->force);
	else
		apply__stop_task(a, j, e->reason, e->actor, e->force);
	*out = (struct applied){.job = j};
	return 0;
}

/* The job of that id; an array's task is one from its first start on. */
static int get_job(const struct world *w, struct job_id id, struct job **ret_job, struct err *err)
{
	struct unstarted_task unstarted;
	char text[48];

	*ret_job = world_find_job(w, id);
	if (*ret_job)
		return 0;
	if (id.task != TASK_NONE && world_find_unstarted(w, id, &unstarted))
		return err_set(err, ERR_CONFLICT,
		        "task %s has not started, and until then goes with its array: job %llu",
		        job_id_format(id, text), (unsigned long long)id.num);
	return err_set(err, ERR_NOT_FOUND, "job %s does not exist", job_id_format(id, text));
}

/* Whether something of it waits to be started: what may be held and edited. */
static bool is_waiting(const struct job *j)
{
	if (j->is_array)
		return array_unstarted(j->array) > 0 || j->array->by_state[JOB_PENDING] > 0;
	return j->state == JOB_PENDING;
}

int apply__hold(struct apply *a, const struct event *e, struct applied *out, struct err *err)
{
	bool hold = e->kind == EVENT_HOLD;
	struct job *j;
	char id[48];
	int rc = get_job(a->w, e->id, &j, err);

	if (rc)
		return rc;
	if (!is_waiting(j))
		return err_set(err, ERR_CONFLICT, "job %s does not wait any more (%s)",
		        job_id_format(e->id, id), strtab_name(job_state_names, j->state));
	if (j->held != hold) {
		j->held = hold;
		apply__transition(a, j, j->state, hold ? REASON_HELD : REASON_SUBMITTED, e->actor);
		if (j->is_array)
			array__settle_tasks(a, j);
	}
	*out = (struct applied){.job = j};
	return 0;
}

void apply__retry_one(struct apply *a, struct job *j, const char *actor)
{
	j->not_before_ms = 0;
	j->failures = 0;
	j->has_code = false;
	j->order = a->w->next_order++;
	a->w->counters_dirty = true;
	apply__transition(a, j, JOB_PENDING, REASON_RETRY_BY_USER, actor);
}

int apply__retry(struct apply *a, const struct event *e, struct applied *out, struct err *err)
{
	struct job *j;
	char id[48];
	int rc = get_job(a->w, e->id, &j, err);

	if (rc)
		return rc;
	if (!job_state_is_final(j->state))
		return err_set(err, ERR_CONFLICT, "job %s has not ended (%s)",
		        job_id_format(e->id, id), strtab_name(job_state_names, j->state));
	if (j->id.task != TASK_NONE && !j->parent)
		return err_set(err, ERR_CONFLICT, "the array of task %s is not in memory",
		        job_id_format(e->id, id));
	rc = j->is_array ? 0 : task_check_twins(a->w, j, err);
	if (rc)
		return rc;
	if (j->is_array) {
		rc = array__retry(a, j, e->actor, err);
	} else {
		if (j->parent && job_state_is_final(j->parent->state))
			apply__transition(
			        a, j->parent, JOB_PENDING, REASON_RETRY_BY_USER, e->actor);
		apply__retry_one(a, j, e->actor);
	}
	if (rc)
		return rc;
	/* What its dependencies came to stands, and may cancel it again. */
	apply__recheck_own(a, j->parent ? j->parent : j);
	*out = (struct applied){.job = j};
	return 0;
}

/* The tasks of an array share its request; those that were started keep the one that they were started with. */
static void replace_request(struct apply *a, struct job *j, const struct request *r)
{
	give_request(a->w, j, request_pack(r));
	for (struct job *t = world_next_job(a->w, j); t && t->parent == j;
	        t = world_next_job(a->w, t)) {
		if (t->has_own_request)
			continue;
		if (!job_state_holds(t->state)) {
			give_request(a->w, t, request_ref(j->req));
			continue;
		}
		t->has_own_request = true;
		world__mark_dirty(a->w, t);
	}
}

static void set_priority(struct world *w, struct job *j, int32_t priority)
{
	enum job_wait wait = j->wait;

	world__set_wait(w, j, WAIT_NONE);
	j->priority = priority;
	world__set_wait(w, j, wait);
	world__mark_dirty(w, j);
}

static int check_edit(const struct job *j, const struct event *e, struct err *err)
{
	const struct request *r = e->request;
	char id[48];

	if (!is_waiting(j))
		return err_set(err, ERR_CONFLICT, "job %s does not wait any more (%s)",
		        job_id_format(j->id, id), strtab_name(job_state_names, j->state));
	if (!r)
		return 0;
	if (j->parent)
		return err_set(err, ERR_CONFLICT,
		        "of one task only the priority can be changed; the rest belongs to its array: job %llu",
		        (unsigned long long)j->id.num);
	if (request_n_tasks(r) != request_n_tasks(j->req) || r->n_deps != j->req->n_deps)
		return err_set(
		        err, ERR_INVALID, "an array and what is waited for stay as they are");
	return request_check(r, err);
}

int apply__edit(struct apply *a, const struct event *e, struct applied *out, struct err *err)
{
	struct job *j;
	int rc = get_job(a->w, e->id, &j, err);

	if (rc == 0)
		rc = check_edit(j, e, err);
	if (rc)
		return rc;
	if (e->set_priority)
		set_priority(a->w, j, e->priority);
	if (e->set_priority && j->is_array)
		for (struct job *t = world_next_job(a->w, j); t && t->parent == j;
		        t = world_next_job(a->w, t))
			if (t->state == JOB_PENDING)
				set_priority(a->w, t, e->priority);
	if (e->request)
		replace_request(a, j, e->request);
	world__mark_dirty(a->w, j);
	*out = (struct applied){.job = j};
	return 0;
}

void apply__tick(struct apply *a, int64_t shift_ms)
{
	const struct policy *p = &a->w->policy;
	struct job *j;

	/* All alike, so that their order in the tree stays. */
	if (shift_ms)
		RB_FOREACH (j, job_times, &a->w->backoff) {
			j->not_before_ms += shift_ms;
			world__mark_dirty(a->w, j);
		}
	/* A clock that was set while nobody looked: nobody waits longer than the longest wait. */
	RB_FOREACH_REVERSE(j, job_times, &a->w->backoff)
	{
		if (j->not_before_ms <= a->now.wall_ms + p->backoff_max_ms)
			break;
		j->not_before_ms = a->now.wall_ms + p->backoff_max_ms;
		world__mark_dirty(a->w, j);
	}
	while ((j = RB_MIN(job_times, &a->w->backoff)) != NULL &&
	        j->not_before_ms <= a->now.wall_ms)
		world__settle(a->w, j, a->now);
}
