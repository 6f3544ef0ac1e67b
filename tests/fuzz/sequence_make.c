/* What comes into the random life: requests and nodes; and its quiet end. */
#include "sequence_priv.h"

#include <stdio.h>
#include <string.h>

static void random_gpu(struct sequence *s, struct gpu_ask *g)
{
	struct dice *d = &s->dice;

	switch (dice_below(d, 9)) {
	case 0:
		g->count = 1 + dice_below(d, 3);
		break;
	case 1:
		g->milli = 1 + dice_below(d, 999);
		break;
	case 2:
		g->milli = 250 * (1 + dice_below(d, 3));
		g->mem_bytes = dice_one_in(d, 2) ? (1 + dice_below(d, 9)) * GIB : 0;
		break;
	case 3:
		g->fgpu_milli = 500 * (1 + dice_below(d, 5));
		break;
	case 4:
		g->mem_bytes = 1 + dice_u64(d) % (9 * GIB);
		break;
	case 5:
		g->share_milli = 1 + dice_below(d, 1000);
		break;
	default:
		return;
	}
	if (dice_one_in(d, 6))
		g->model = dice_one_in(d, 4) ? "none" : dice_one_in(d, 2) ? "SMALL" : "big";
	if (dice_one_in(d, 8))
		g->cc_min = 70 + 10 * dice_below(d, 3);
}

static uint32_t random_ranges(struct sequence *s, struct array_range ranges[2])
{
	ranges[0] = (struct array_range){
	        .first = dice_below(&s->dice, 3), .step = 1 + dice_below(&s->dice, 3)};
	ranges[0].last = ranges[0].first + dice_below(&s->dice, 14);
	if (dice_one_in(&s->dice, 40))
		ranges[0].last += 400;
	ranges[1] = (struct array_range){ranges[0].last + 5, ranges[0].last + 8, 2};
	return dice_one_in(&s->dice, 4) ? 2 : 1;
}

/* As the server: on what exists; what has left memory is brought back. */
static int random_deps(struct sequence *s, struct dep deps[3], uint32_t *ret_n)
{
	uint32_t n = 0;
	int rc = 0;

	for (uint32_t want = 1 + dice_below(&s->dice, 3); want && rc == 0; want--) {
		struct dep d = {
		        .kind = (enum dep_kind)dice_below(&s->dice, 3), .on = seq_any_id(s)};
		const struct job *parent =
		        world_find_job(s->w, (struct job_id){d.on.num, TASK_NONE});
		bool waits =
		        parent && parent->is_array && d.on.task != TASK_NONE &&
		        array_is_unstarted(parent->array, request_task_pos(parent->req, d.on.task));
		rc = shadow_fetch(&s->shadow, s->w, d.on, s->err);
		parent = world_find_job(s->w, (struct job_id){d.on.num, TASK_NONE});
		if (parent && d.on.task != TASK_NONE)
			waits = waits || (parent->is_array && request_task_pos(parent->req,
			                                              d.on.task) != UINT64_MAX);
		if (world_find_job(s->w, d.on) || waits)
			deps[n++] = d;
	}
	*ret_n = n;
	return rc;
}

int seq_submit(struct sequence *s)
{
	static const char *const queues[] = {"default", "default", "fast", "slow"};
	struct dice *d = &s->dice;
	char *argv[] = {"/bin/true", "x", NULL};
	char queue[16], user[8];
	struct array_range ranges[2];
	struct dep deps[3];
	struct request r = {.user = user,
	        .queue = queue,
	        .argv = argv,
	        .n_argv = 2,
	        .ranges = ranges,
	        .deps = deps};
	struct event e = {.kind = EVENT_SUBMIT, .request = &r, .actor = "ada"};
	int rc = 0;

	snprintf(queue, sizeof(queue), "%s", queues[dice_below(d, 4)]);
	snprintf(user, sizeof(user), "u%u", dice_below(d, 3));
	random_gpu(s, &r.gpu);
	r.cpus = dice_below(d, 4);
	r.ranks = dice_one_in(d, 4) ? 1 + dice_below(d, 3) : 0;
	r.mem_bytes = dice_one_in(d, 4) ? dice_below(d, 20) * GIB : 0;
	r.priority = dice_one_in(d, 3) ? (int32_t)dice_below(d, 3) - 1 : 0;
	r.time_limit_ms = dice_one_in(d, 2) ? 1000 * (1 + dice_below(d, 5)) : 0;
	r.retry_max = dice_one_in(d, 3) ? 1 + dice_below(d, 3) : 0;
	if (r.retry_max && dice_one_in(d, 3))
		for (int i = 0; i < 100; i++)
			code_set_add(&r.retry_on, (uint8_t)dice_below(d, 256));
	r.no_retry = dice_one_in(d, 6);
	r.hold = dice_one_in(d, 12);
	r.env_blob = dice_below(d, 4);
	r.idempotency_key = dice_one_in(d, 6) ? "key" : NULL;
	r.n_ranges = dice_one_in(d, 4) ? random_ranges(s, ranges) : 0;
	r.throttle = r.n_ranges && dice_one_in(d, 2) ? 1 + dice_below(d, 4) : 0;
	if (dice_one_in(d, 4))
		rc = random_deps(s, deps, &r.n_deps);
	if (dice_one_in(d, 60))
		argv[0] = "";
	if (rc)
		return rc;
	s->stats->jobs++;
	s->stats->tasks += request_n_tasks(&r);
	return seq_apply(s, &e, NULL);
}

int seq_node_up(struct sequence *s, uint32_t k, bool whole)
{
	struct node n = {.is_local = k == 0, .mem_bytes = 32 * GIB};
	struct device_info devices[SEQ_DEVICES];
	struct event e = {.kind = EVENT_NODE_UP, .node = &n, .devices = devices};

	snprintf(n.name, sizeof(n.name), "n%u", k);
	snprintf(n.boot_id, sizeof(n.boot_id), "boot-%u", dice_below(&s->dice, 2));
	for (uint32_t i = 0; i < 4 + k * 2 - (whole ? 0 : dice_below(&s->dice, 2)); i++)
		cpu_set_add(&n.cpus, i);
	for (uint32_t i = 0; i < k + 1; i++) {
		struct device_info *x = &devices[e.n_devices];
		if (!whole && dice_one_in(&s->dice, 8))
			continue;
		*x = (struct device_info){
		        .index = i, .mem_bytes = 8 * GIB, .cc = 70 + 10 * (i % 3), .numa_node = -1};
		snprintf(x->uuid, sizeof(x->uuid), "GPU-%u-%u", k, i);
		snprintf(x->model, sizeof(x->model), i % 2 ? "Small one" : "Big one");
		cpu_set_add(&x->cpus, i);
		if (!whole && dice_one_in(&s->dice, 10))
			x->health = DEVICE_LOST;
		e.n_devices++;
	}
	return seq_apply(s, &e, NULL);
}

/* Doors are opened: nothing is paused, limited, held, drained or broken any more. */
static int open_doors(struct sequence *s)
{
	int rc = 0;

	for (uint32_t k = 0; k < SEQ_NODES && rc == 0; k++) {
		char name[16];
		snprintf(name, sizeof(name), "n%u", k);
		rc = seq_node_up(s, k, true);
		if (rc == 0)
			rc = seq_apply(
			        s, &(struct event){.kind = EVENT_NODE_RESUME, .name = name}, NULL);
	}
	for (const struct queue *q = s->w->queues; q && rc == 0; q = q->hh.next) {
		struct queue open = {.default_cpus = 1, .configured = true};
		snprintf(open.name, sizeof(open.name), "%s", q->name);
		rc = seq_apply(s, &(struct event){.kind = EVENT_QUEUE_SET, .queue = &open}, NULL);
		if (rc == 0)
			rc = seq_apply(s,
			        &(struct event){.kind = EVENT_QUEUE_RESUME, .name = q->name}, NULL);
	}
	for (const struct job *j = world_next_job(s->w, NULL); j && rc == 0;
	        j = world_next_job(s->w, j))
		if (j->held && !job_state_is_final(j->state) &&
		        (!j->is_array || j->wait == WAIT_HELD || j->array->by_state[JOB_PENDING]))
			rc = seq_apply(s,
			        &(struct event){.kind = EVENT_RELEASE, .id = j->id, .actor = "ada"},
			        NULL);
	return rc;
}

/* Everything that runs ends well. */
static int end_all(struct sequence *s)
{
	struct attempt_end end = {.reason = REASON_EXITED, .has_code = true};
	struct job *j, *next;
	const struct node *n;
	int rc = 0;

	end.wall_ms = s->now.wall_ms;
	TAILQ_FOREACH (n, &s->w->nodes, link)
		for (j = LIST_FIRST(&n->jobs); j && rc == 0; j = next) {
			struct event e = {
			        .kind = EVENT_STARTED, .id = j->id, .epoch = j->epoch, .end = &end};
			next = LIST_NEXT(j, on_node);
			rc = seq_apply(s, &e, NULL);
			e.kind = EVENT_ENDED;
			if (rc == 0)
				rc = seq_apply(s, &e, NULL);
		}
	return rc;
}

/* A living job may only be left when no node could take it, or when it waits for such a one. */
static int check_left(struct sequence *s, const struct job *j)
{
	struct err why;
	char id[48];

	if (job_state_is_final(j->state))
		return 0;
	if (j->is_array && j->wait == WAIT_NONE) {
		for (const struct job *t = world_next_job(s->w, j); t && t->id.num == j->id.num;
		        t = world_next_job(s->w, t))
			if (!job_state_is_final(t->state))
				return 0;
		return seq_fault(
		        s, "array %s lives, and nothing of it does", job_id_format(j->id, id));
	}
	if (j->wait == WAIT_DEPENDENCY)
		for (uint32_t i = 0; i < j->req->n_deps; i++) {
			const struct job *on = world_find_job(
			        s->w, (struct job_id){j->req->deps[i].on.num, TASK_NONE});
			if (on && !job_state_is_final(on->state))
				return 0;
		}
	if (j->wait != WAIT_DEPENDENCY && sched_check_possible(s->w, j->req, &why))
		return 0;
	if (j->parent && j->parent->wait == WAIT_DEPENDENCY)
		return 0;
	return seq_fault(s, "job %s is left behind: state %d, wait %d", job_id_format(j->id, id),
	        (int)j->state, (int)j->wait);
}

int seq_quiet(struct sequence *s)
{
	uint32_t n = 1, rounds = 0;
	int rc = open_doors(s);

	while (rc == 0 && (n || world_next_tick(s->w) != INT64_MAX) && rounds++ < 5000) {
		s->now.wall_ms = MAX(s->now.wall_ms,
		        world_next_tick(s->w) == INT64_MAX ? 0 : world_next_tick(s->w));
		rc = seq_apply(s, &(struct event){.kind = EVENT_TICK}, NULL);
		if (rc == 0)
			rc = end_all(s);
		if (rc == 0)
			rc = seq_plan(s, 64, &n);
	}
	if (rc == 0 && rounds >= 5000)
		return seq_fault(s, "the world does not come to rest");
	for (const struct job *j = world_next_job(s->w, NULL); j && rc == 0;
	        j = world_next_job(s->w, j))
		rc = check_left(s, j);
	return rc ? rc : shadow_verify(&s->shadow, s->w, s->err);
}
