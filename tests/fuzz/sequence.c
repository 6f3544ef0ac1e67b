#include "sequence_priv.h"
#include "core/check.h"
#include "wire/record.h"
#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int seq_fault(struct sequence *s, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(s->err->text, sizeof(s->err->text), fmt, ap);
	va_end(ap);
	s->err->kind = ERR_INTERNAL;
	return -(int)ERR_INTERNAL;
}

/* What is no job's, as bytes: an event that is refused leaves it as it was. */
static void put_rest(const struct world *w, struct buf *b)
{
	const struct node *n;
	const struct token *t;

	record_put_meta(b, w);
	TAILQ_FOREACH (n, &w->nodes, link) {
		record_put_node(b, n);
		buf_addf(b, "%d%u", (int)n->state, n->n_cpus_used);
		for (uint32_t i = 0; i < n->n_devices; i++)
			buf_addf(b, "%d%u", n->devices[i].absent, n->devices[i].used_milli);
	}
	for (const struct queue *q = w->queues; q; q = q->hh.next)
		buf_add(b, q, offsetof(struct queue, hh));
	TAILQ_FOREACH (t, &w->tokens, link)
		record_put_token(b, t);
}

static int take_effects(struct sequence *s)
{
	for (size_t i = 0; i < s->fx.n; i++) {
		const struct effect *x = &s->fx.v[i];
		if (x->kind == EFFECT_START) {
			if (x->epoch <= s->last_epoch)
				return seq_fault(s, "epoch %llu is not a new one",
				        (unsigned long long)x->epoch);
			s->last_epoch = x->epoch;
			s->stats->starts++;
			MEM_GROW(s->launches, s->n_launches, s->cap_launches);
			s->launches[s->n_launches++] =
			        (struct launch){.id = x->id, .epoch = x->epoch};
		} else if (x->kind == EFFECT_STOP) {
			for (uint32_t k = 0; k < s->n_launches; k++)
				if (s->launches[k].epoch == x->epoch)
					s->launches[k].is_stopped = true;
		} else if (x->kind == EFFECT_CHANGED) {
			const struct job *j = world_find_job(s->w, x->id);
			s->stats->finals += j && job_state_is_final(j->state);
		}
	}
	s->fx.n = 0;
	return 0;
}

int seq_apply(struct sequence *s, const struct event *e, bool *ret_refused)
{
	CLEANUP_BUF struct buf before = BUF_INIT(MIB), after = BUF_INIT(MIB);
	struct applied out;
	struct err why;
	int rc;

	put_rest(s->w, &before);
	rc = core_apply(s->w, e, s->now, &s->fx, &out, &why);
	s->stats->events++;
	if (ret_refused)
		*ret_refused = rc != 0;
	if (rc) {
		s->stats->refused++;
		put_rest(s->w, &after);
		if (s->w->n_dirty || s->fx.n || before.len != after.len ||
		        memcmp(before.data, after.data, before.len) != 0)
			return seq_fault(s, "a refused event changed something: %s", why.text);
	}
	rc = take_effects(s);
	if (rc == 0)
		rc = shadow_take(&s->shadow, s->w, e->kind == EVENT_RETRY, s->err);
	return rc ? rc : world_check(s->w, s->err);
}

_Static_assert(sizeof(struct slice) == 16, "a slice has no padding, so its bytes can be compared");

static bool is_same_placement(const struct placement *a, const struct placement *b)
{
	return job_id_eq(a->id, b->id) && a->pos == b->pos && a->node == b->node &&
	       a->n_slices == b->n_slices &&
	       memcmp(a->slices, b->slices, a->n_slices * sizeof(a->slices[0])) == 0 &&
	       memcmp(&a->cpus, &b->cpus, sizeof(a->cpus)) == 0;
}

static bool are_same_heads(const struct sched *a, const struct sched *b)
{
	const struct sched_head *x, *y;
	size_t n = sched_heads(a, &x);

	if (sched_heads(b, &y) != n || sched_next_ms(a) != sched_next_ms(b))
		return false;
	for (size_t i = 0; i < n; i++)
		if (x[i].queue != y[i].queue || !job_id_eq(x[i].id, y[i].id) ||
		        x[i].pos != y[i].pos || x[i].node != y[i].node ||
		        x[i].at_ms != y[i].at_ms || x[i].is_kept != y[i].is_kept ||
		        x[i].patient_until_ms != y[i].patient_until_ms)
			return false;
	return true;
}

/* The first moment at which something that is kept must be free; INT64_MIN: nothing says when. */
static int64_t first_kept_ms(const struct sequence *s)
{
	const struct sched_head *heads;
	int64_t first = INT64_MAX;

	for (size_t i = sched_heads(s->sched, &heads); i-- > 0;) {
		if (heads[i].is_kept)
			first = MIN(
			        first, heads[i].at_ms == INT64_MAX ? INT64_MIN : heads[i].at_ms);
	}
	return first;
}

static bool is_behind_a_strict_head(const struct sequence *s, const struct job *j)
{
	const struct sched_head *heads;

	for (size_t i = sched_heads(s->sched, &heads); i-- > 0;)
		if (heads[i].queue == j->class->shape.queue && heads[i].queue->strict)
			return true;
	return false;
}

/* What is ready, in a queue that goes on, and ends before anything that is kept must be free, fits nowhere now. */
static int check_nothing_fits(struct sequence *s)
{
	int64_t kept_ms = first_kept_ms(s);
	struct placement p;
	char id[48];

	for (const struct job *j = world_next_job(s->w, NULL); j; j = world_next_job(s->w, j)) {
		uint64_t limit_ms = j->req->time_limit_ms;
		const struct queue *q = j->class ? j->class->shape.queue : NULL;
		if (j->wait != WAIT_READY || q->paused || q->max_running ||
		        q->max_running_per_user || q->max_gpus || is_behind_a_strict_head(s, j))
			continue;
		if (kept_ms != INT64_MAX &&
		        (!limit_ms || s->now.wall_ms + (int64_t)limit_ms > kept_ms))
			continue;
		if (sched_fit_request(s->sched, s->w, s->now.wall_ms, j->req, &p))
			return seq_fault(s, "job %s would fit, and the plan left it",
			        job_id_format(j->id, id));
	}
	return 0;
}

/* What is kept moves with the clock, and patience ends with it. */
static bool time_may_tell(const struct sequence *s)
{
	return first_kept_ms(s) != INT64_MAX || sched_next_ms(s->sched) <= s->now.wall_ms;
}

int seq_plan(struct sequence *s, size_t max, uint32_t *ret_n)
{
	struct sched *fresh = sched_new(SCHED_POLICY_USUAL);
	struct sched_plan p = {0}, same = {0};
	bool refused, is_same, wanted = s->w->plan_wanted || time_may_tell(s);
	int rc = 0;

	s->w->plan_wanted = false;
	sched_plan_make(s->sched, s->w, s->now.wall_ms, max, &p);
	sched_plan_make(fresh, s->w, s->now.wall_ms, max, &same);
	is_same = p.n == same.n && are_same_heads(s->sched, fresh);
	sched_free(fresh);
	if (p.n && !wanted)
		rc = seq_fault(s, "something may start, and nobody said that a plan is wanted");
	if (rc == 0 && !is_same)
		rc = seq_fault(s, "two plans of one world differ");
	for (size_t i = 0; i < p.n && rc == 0; i++) {
		struct event e = {.kind = EVENT_START, .id = p.v[i].id, .placement = &p.v[i]};
		if (!is_same_placement(&p.v[i], &same.v[i]))
			rc = seq_fault(s, "two plans of one world differ");
		if (rc == 0)
			rc = seq_apply(s, &e, &refused);
		if (rc == 0 && refused)
			rc = seq_fault(s, "a planned start was refused");
	}
	if (rc == 0 && p.n < max)
		rc = check_nothing_fits(s);
	/* As the server: a plan that is full wants another one. */
	s->w->plan_wanted = p.n == max;
	*ret_n = (uint32_t)p.n;
	sched_plan_done(&p);
	sched_plan_done(&same);
	return rc;
}

/* Mostly something that is there; sometimes a task that is not, or nothing that ever was. */
struct job_id seq_any_id(struct sequence *s)
{
	uint64_t n = s->w->next_job - 1;
	struct job_id id = {.num = 1 + dice_u64(&s->dice) % (n + 2), .task = TASK_NONE};
	const struct job *j;

	if (n > 20 && !dice_one_in(&s->dice, 4))
		id.num = n - dice_below(&s->dice, 20);
	j = world_find_job(s->w, id);
	if (j && j->is_array && !dice_one_in(&s->dice, 3))
		id.task = request_task_at(j->req, dice_u64(&s->dice) % j->array->n);
	else if (dice_one_in(&s->dice, 30))
		id.task = dice_below(&s->dice, 12);
	return id;
}

/* Of a job that is there, mostly: something else is asked for. */
static bool make_edit(struct sequence *s, struct job_id id, struct request *ret)
{
	static const char *const queues[] = {"default", "fast", "slow"};
	const struct job *j = world_find_job(s->w, id);

	if (!j || dice_one_in(&s->dice, 3))
		return false;
	*ret = *j->req;
	ret->name = "renamed";
	if (dice_one_in(&s->dice, 2))
		ret->time_limit_ms = dice_below(&s->dice, 100000);
	if (dice_one_in(&s->dice, 2))
		ret->cpus = (uint32_t)dice_below(&s->dice, 4);
	if (dice_one_in(&s->dice, 3))
		ret->queue = (char *)(uintptr_t)queues[dice_below(&s->dice, ARRAY_LEN(queues))];
	if (dice_one_in(&s->dice, 3))
		ret->gpu = (struct gpu_ask){.milli = (uint32_t)dice_below(&s->dice, 1000)};
	return true;
}

static int about_job(struct sequence *s, enum event_kind kind)
{
	struct request edited;
	struct event e = {
	        .kind = kind, .id = seq_any_id(s), .actor = "ada", .reason = REASON_CANCELLED};

	e.force = dice_one_in(&s->dice, 3);
	if (kind == EVENT_CANCEL && dice_one_in(&s->dice, 6))
		e.reason = dice_one_in(&s->dice, 2) ? REASON_SHUTDOWN : REASON_GPU_MEMORY_LIMIT;
	if (kind == EVENT_EDIT) {
		e.set_priority = dice_one_in(&s->dice, 2);
		e.priority = (int32_t)dice_below(&s->dice, 5) - 2;
		if (make_edit(s, e.id, &edited))
			e.request = &edited;
	}
	return seq_apply(s, &e, NULL);
}

/* As the server: what has left memory is brought back before somebody decides about it. */
static int retry(struct sequence *s)
{
	struct event e = {.kind = EVENT_RETRY, .id = seq_any_id(s), .actor = "bob"};
	const struct job *j;
	int rc = 0;

	if (!dice_one_in(&s->dice, 5))
		rc = shadow_fetch(&s->shadow, s->w, e.id, s->err);
	j = world_find_job(s->w, e.id);
	for (uint64_t pos = 0;
	        rc == 0 && j && j->is_array && pos < j->array->n && !dice_one_in(&s->dice, 50);
	        pos++)
		rc = shadow_fetch(&s->shadow, s->w,
		        (struct job_id){j->id.num, request_task_at(j->req, pos)}, s->err);
	for (uint32_t i = 0; rc == 0 && j && i < j->req->n_deps; i++)
		rc = shadow_fetch(&s->shadow, s->w, j->req->deps[i].on, s->err);
	return rc ? rc : seq_apply(s, &e, NULL);
}

static struct attempt_end random_end(struct sequence *s, bool is_stopped)
{
	static const enum reason reasons[] = {REASON_EXITED, REASON_EXITED, REASON_EXITED,
	        REASON_SIGNALLED, REASON_TIME_LIMIT, REASON_MEMORY_LIMIT, REASON_GPU_MEMORY_LIMIT,
	        REASON_GPU_AROUND, REASON_EXEC_FAILED, REASON_KEEPER_KILLED, REASON_SHUTDOWN,
	        REASON_DEVICE_LOST, REASON_NO_DISK, REASON_CANCELLED};
	struct attempt_end end = {.wall_ms = s->now.wall_ms, .peak_mem_bytes = 4096, .cpu_ms = 7};

	end.reason = reasons[dice_below(&s->dice, ARRAY_LEN(reasons))];
	if (is_stopped && !dice_one_in(&s->dice, 4))
		end.reason = REASON_CANCELLED;
	end.has_code = end.reason != REASON_KEEPER_KILLED;
	if (end.reason == REASON_EXITED)
		end.exit_code = dice_one_in(&s->dice, 3) ? (int32_t)dice_below(&s->dice, 256) : 0;
	else if (end.reason == REASON_SIGNALLED)
		end.exit_code = 128 + 1 + (int32_t)dice_below(&s->dice, 31);
	return end;
}

/* A report on some attempt, the current one or an old one, sometimes with an epoch that never was. */
static int report(struct sequence *s, enum event_kind kind)
{
	static const enum reason lost[] = {REASON_NODE_LOST, REASON_REBOOTED, REASON_KEEPER_KILLED};
	uint32_t k = s->n_launches ? dice_below(&s->dice, s->n_launches) : 0;
	struct event e = {.kind = kind, .pid = 4711};
	struct attempt_end end;
	int rc;

	if (!s->n_launches)
		return 0;
	e.id = s->launches[k].id;
	e.epoch = s->launches[k].epoch;
	if (dice_one_in(&s->dice, 20))
		e.epoch += dice_below(&s->dice, 3) - 1;
	end = random_end(s, s->launches[k].is_stopped);
	e.end = kind == EVENT_ENDED || dice_one_in(&s->dice, 2) ? &end : NULL;
	e.reason = kind == EVENT_NOTE ? REASON_GPU_MEMORY_LIMIT
	                              : lost[dice_below(&s->dice, ARRAY_LEN(lost))];
	e.text = "used more";
	rc = seq_apply(s, &e, NULL);
	/* Agents repeat what was not acknowledged. */
	if (rc == 0 && dice_one_in(&s->dice, 8))
		rc = seq_apply(s, &e, NULL);
	if (kind != EVENT_STARTED && kind != EVENT_NOTE && !dice_one_in(&s->dice, 10))
		s->launches[k] = s->launches[--s->n_launches];
	return rc;
}

/* A start that no plan would decide. */
static int wild_start(struct sequence *s)
{
	struct placement p = {.id = seq_any_id(s), .node = dice_below(&s->dice, SEQ_NODES + 2)};
	struct event e = {.kind = EVENT_START, .placement = &p};
	const struct job *j = world_find_job(s->w, p.id);

	p.pos = j && j->is_array ? array_next(j->array, 0) + dice_below(&s->dice, 2) : 0;
	p.n_slices = dice_below(&s->dice, 4);
	for (uint32_t i = 0; i < p.n_slices; i++)
		p.slices[i] = (struct slice){.device = dice_below(&s->dice, 3),
		        .mem_bytes = dice_below(&s->dice, 9) * GIB,
		        .share_milli = dice_below(&s->dice, 1100)};
	p.bind_cpus = dice_one_in(&s->dice, 2);
	cpu_set_add(&p.cpus, dice_below(&s->dice, 10));
	return seq_apply(s, &e, NULL);
}

static int restart(struct sequence *s)
{
	int rc = shadow_verify(&s->shadow, s->w, s->err);

	if (rc == 0)
		rc = shadow_reload(&s->shadow, &s->w, dice_below(&s->dice, 60), s->err);
	if (rc == 0)
		rc = shadow_verify(&s->shadow, s->w, s->err);
	s->stats->restarts++;
	sched_free(s->sched);
	s->sched = sched_new(SCHED_POLICY_USUAL);
	for (uint32_t k = 0; k < SEQ_NODES && rc == 0; k++)
		if (!dice_one_in(&s->dice, 6))
			rc = seq_node_up(s, k, false);
	return rc;
}

static int trim(struct sequence *s)
{
	struct sched_reason reasons[SCHED_REASONS_MAX];
	char id[48];

	world_trim(s->w, &s->fx);
	s->fx.n = 0;
	for (const struct job *j = world_next_job(s->w, NULL); j; j = world_next_job(s->w, j))
		if (j->state == JOB_PENDING && !(j->is_array && j->wait == WAIT_NONE) &&
		        sched_reasons(s->sched, s->w, s->now.wall_ms, j, reasons) == 0)
			return seq_fault(
			        s, "job %s waits without a reason", job_id_format(j->id, id));
	return shadow_verify(&s->shadow, s->w, s->err);
}

static int about_node(struct sequence *s)
{
	static const enum event_kind kinds[] = {
	        EVENT_NODE_DOWN, EVENT_NODE_DRAIN, EVENT_NODE_RESUME};
	struct event e = {.kind = kinds[dice_below(&s->dice, ARRAY_LEN(kinds))]};
	char name[16];

	snprintf(name, sizeof(name), "n%u", dice_below(&s->dice, SEQ_NODES + 1));
	e.name = name;
	return seq_apply(s, &e, NULL);
}

static int about_device(struct sequence *s)
{
	const struct node *n = world_find_node_num(s->w, 1 + dice_below(&s->dice, SEQ_NODES));
	struct device_info info;
	struct event e = {.kind = EVENT_DEVICE, .devices = &info, .n_devices = 1};

	if (!n || !n->n_devices)
		return 0;
	e.name = n->name;
	info = n->devices[dice_below(&s->dice, n->n_devices)].info;
	info.health = dice_one_in(&s->dice, 3)   ? DEVICE_LOST
	              : dice_one_in(&s->dice, 4) ? DEVICE_DEGRADED
	                                         : DEVICE_OK;
	info.withheld_bytes = dice_one_in(&s->dice, 3) ? dice_below(&s->dice, 5) * GIB : 0;
	if (dice_one_in(&s->dice, 12))
		info.mem_bytes = dice_one_in(&s->dice, 2) ? 2 * GIB : 8 * GIB;
	if (dice_one_in(&s->dice, 12))
		snprintf(info.uuid, sizeof(info.uuid), "GPU-unknown");
	return seq_apply(s, &e, NULL);
}

static int about_queue(struct sequence *s)
{
	static const char *const names[] = {"default", "fast", "slow", "none"};
	struct queue q = {.strict = dice_one_in(&s->dice, 4),
	        .patience_ms = 3000 * dice_below(&s->dice, 3),
	        .priority = (int32_t)dice_below(&s->dice, 3),
	        .default_cpus = 1,
	        .configured = true};
	struct event e = {.name = names[dice_below(&s->dice, 4)], .queue = &q};

	q.max_running = dice_one_in(&s->dice, 3) ? 1 + dice_below(&s->dice, 6) : 0;
	q.max_running_per_user = dice_one_in(&s->dice, 4) ? 1 + dice_below(&s->dice, 3) : 0;
	q.max_gpus = dice_one_in(&s->dice, 4) ? 1 + dice_below(&s->dice, 4) : 0;
	e.kind = dice_one_in(&s->dice, 3)   ? EVENT_QUEUE_SET
	         : dice_one_in(&s->dice, 3) ? EVENT_QUEUE_PAUSE
	         : dice_one_in(&s->dice, 5) ? EVENT_QUEUE_REMOVE
	                                    : EVENT_QUEUE_RESUME;
	snprintf(q.name, sizeof(q.name), "%s", names[dice_below(&s->dice, 3)]);
	return seq_apply(s, &e, NULL);
}

static int about_token(struct sequence *s)
{
	struct token t = {.role = ROLE_USER};
	struct event e = {.kind = dice_one_in(&s->dice, 2) ? EVENT_TOKEN_ADD : EVENT_TOKEN_REMOVE,
	        .token = &t,
	        .name = t.name};

	snprintf(t.name, sizeof(t.name), "t%u", dice_below(&s->dice, 5));
	t.hash[0] = (uint8_t)dice_below(&s->dice, 256);
	return seq_apply(s, &e, NULL);
}

static int keep_blob(struct sequence *s)
{
	uint8_t value = (uint8_t)dice_below(&s->dice, 20);
	struct event e = {.kind = EVENT_BLOB, .data = &value, .len = 1, .hash = {value}};

	return seq_apply(s, &e, NULL);
}

static int pass_time(struct sequence *s)
{
	s->now.mono_ms += dice_below(&s->dice, 4000);
	s->now.wall_ms += dice_one_in(&s->dice, 15) ? -(int64_t)dice_below(&s->dice, 5000)
	                                            : (int64_t)dice_below(&s->dice, 4000);
	return seq_apply(s, &(struct event){.kind = EVENT_TICK}, NULL);
}

static int plan(struct sequence *s)
{
	uint32_t n;

	return seq_plan(s, dice_one_in(&s->dice, 4) ? 1 + dice_below(&s->dice, 4) : 64, &n);
}

static int step(struct sequence *s, uint32_t what)
{
	switch (what) {
	case 0:
		return seq_submit(s);
	case 1:
		return plan(s);
	case 2:
		return report(s, dice_one_in(&s->dice, 4) ? EVENT_NOTE : EVENT_STARTED);
	case 3:
		return report(s, EVENT_ENDED);
	case 4:
		return report(s, EVENT_LOST);
	case 5:
		return about_job(s, EVENT_CANCEL);
	case 6:
		return about_job(s, dice_one_in(&s->dice, 2) ? EVENT_HOLD : EVENT_RELEASE);
	case 7:
		return retry(s);
	case 8:
		return about_job(s, EVENT_EDIT);
	case 9:
		return seq_node_up(s, dice_below(&s->dice, SEQ_NODES), false);
	case 10:
		return about_node(s);
	case 11:
		return about_device(s);
	case 12:
		return about_queue(s);
	case 13:
		return about_token(s);
	case 14:
		return pass_time(s);
	case 15:
		return wild_start(s);
	case 16:
		return trim(s);
	case 17:
		return shadow_fetch(&s->shadow, s->w, seq_any_id(s), s->err);
	case 18:
		return keep_blob(s);
	case 19:
		return seq_ask_why(s);
	default:
		return restart(s);
	}
}

/* How often each step comes; every life leaves some out, and does others more often. */
static void choose_weights(struct sequence *s, uint32_t n)
{
	static const uint8_t usual[] = {
	        60, 60, 60, 60, 8, 14, 10, 14, 6, 3, 3, 6, 5, 3, 30, 6, 6, 4, 2, 6, 2};

	for (uint32_t i = 0; i < n; i++) {
		s->weights[i] = usual[i];
		if (dice_one_in(&s->dice, 8))
			s->weights[i] = 0;
		else if (dice_one_in(&s->dice, 6))
			s->weights[i] *= 4;
	}
	s->weights[0] = MAX(s->weights[0], 20);
	s->weights[1] = MAX(s->weights[1], 20);
}

static uint32_t choose_step(struct sequence *s, uint32_t n)
{
	uint32_t sum = 0, at, i = 0;

	for (uint32_t k = 0; k < n; k++)
		sum += s->weights[k];
	for (at = dice_below(&s->dice, sum); at >= s->weights[i]; i++)
		at -= s->weights[i];
	return i;
}

/* dice: with bytes, a life is as long as they last, and leaves nothing out. */
static int live(struct dice dice, uint32_t steps, struct sequence_stats *stats, uint32_t *ret_step,
        struct err *err)
{
	struct policy_model small = {.model = "small", .fgpu_per_device = 4};
	struct policy policy = {.fgpu_per_device = 2,
	        .models = &small,
	        .n_models = 1,
	        .backoff_min_ms = 500,
	        .backoff_max_ms = 20000,
	        .silence_ms = 15000};
	struct sequence s = {
	        .dice = dice, .now = {1700000000000, 1000}, .stats = stats, .err = err};
	const uint32_t kinds = 21;
	bool has_bytes = dice_has_bytes(&dice);
	uint32_t i = 0;
	int rc = 0;

	policy.keep_ended =
	        dice_one_in(&s.dice, 3) ? dice_below(&s.dice, 4) : dice_below(&s.dice, 80);
	s.w = world_new(&policy);
	s.sched = sched_new(SCHED_POLICY_USUAL);
	if (!has_bytes)
		choose_weights(&s, kinds);
	for (uint32_t k = 0; k < SEQ_NODES && rc == 0; k++)
		rc = seq_node_up(&s, k, true);
	for (; i < steps && rc == 0 && (!has_bytes || dice_has_bytes(&s.dice)); i++)
		rc = step(&s, has_bytes ? dice_below(&s.dice, kinds) : choose_step(&s, kinds));
	if (rc == 0)
		rc = shadow_verify(&s.shadow, s.w, err);
	if (rc == 0)
		rc = seq_quiet(&s);
	*ret_step = i;
	sched_free(s.sched);
	world_free(s.w);
	shadow_done(&s.shadow);
	effects_done(&s.fx);
	free(s.launches);
	return rc;
}

int sequence_run(uint64_t seed, uint32_t steps, struct sequence_stats *stats, uint32_t *ret_step,
        struct err *err)
{
	return live((struct dice){.state = seed}, steps, stats, ret_step, err);
}

int sequence_run_bytes(const uint8_t *bytes, size_t size, struct sequence_stats *stats,
        uint32_t *ret_step, struct err *err)
{
	struct dice dice = {.state = 1, .bytes = bytes, .end = size ? bytes + size : bytes};

	return live(dice, SEQ_BYTES_STEPS, stats, ret_step, err);
}
