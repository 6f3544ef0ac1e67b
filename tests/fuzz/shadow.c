#include "shadow.h"
#include "core/check.h"
#include "wire/record.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <talloc.h>

void shadow_done(struct shadow *s)
{
	struct shadow_row *r, *next;

	HASH_ITER (hh, s->rows, r, next) {
		HASH_DEL(s->rows, r);
		free(r->data);
		free(r);
	}
	buf_done(&s->meta);
}

struct shadow_row *shadow_find(const struct shadow *s, struct job_id id)
{
	struct shadow_row *r;

	HASH_FIND(hh, s->rows, &id, sizeof(id), r);
	return r;
}

static int differs(struct err *err, struct job_id id, const char *what)
{
	char text[48];

	return err_set(err, ERR_INTERNAL, "job %s: %s", job_id_format(id, text), what);
}

static struct shadow_row *get_row(struct shadow *s, struct job_id id)
{
	struct shadow_row *r = shadow_find(s, id);

	if (r)
		return r;
	r = mem_zalloc(sizeof(*r));
	r->id = id;
	HASH_ADD(hh, s->rows, id, sizeof(r->id), r);
	return r;
}

int shadow_take(struct shadow *s, struct world *w, bool may_revive, struct err *err)
{
	CLEANUP_BUF struct buf b = BUF_INIT(RECORD_MAX);
	struct job **jobs;
	uint32_t n = world_take_dirty(w, &jobs);

	if (w->counters_dirty) {
		s->meta.max = RECORD_MAX;
		buf_reset(&s->meta);
		record_put_meta(&s->meta, w);
		w->counters_dirty = false;
	}
	for (uint32_t i = 0; i < n; i++) {
		const struct job *j = jobs[i];
		struct shadow_row *r = get_row(s, j->id);
		bool is_final = job_state_is_final(j->state);
		if (r->data && job_state_is_final(r->state) && !may_revive && r->state != j->state)
			return differs(
			        err, j->id, "left a final state that nobody asked it to leave");
		buf_reset(&b);
		record_put_job(&b, j);
		if (is_final && (!r->ended_seq || may_revive))
			r->ended_seq = ++s->seq;
		if (!is_final)
			r->ended_seq = 0;
		r->state = j->state;
		r->is_array = j->is_array;
		r->code = is_final ? job_result_code(j) : 0;
		free(r->data);
		r->data = mem_dup(b.data, b.len);
		r->len = b.len;
	}
	return 0;
}

/* The tasks of an array by the store's account: sums by state, and the largest code. */
struct tally {
	uint64_t by_state[JOB_STATE_MAX];
	int32_t worst;
};

static int check_tally(
        const struct job *j, const struct tally *t, bool all_in_memory, struct err *err)
{
	const struct array *a = j->array;
	int32_t worst = array_cut(a) ? MAX(t->worst, 143) : t->worst;

	for (int s = 0; s < JOB_STATE_MAX; s++) {
		uint64_t cut = s == JOB_CANCELLED ? array_cut(a) : 0;
		if (a->by_state[s] != t->by_state[s] + cut)
			return differs(err, j->id, "its counts are not those of the stored tasks");
	}
	if (j->state == JOB_COMPLETED && t->worst != 0)
		return differs(err, j->id, "completed with a task that did not");
	if (job_state_is_final(j->state) && job_result_code(j) < worst)
		return differs(err, j->id, "its code is smaller than that of a task");
	if (job_state_is_final(j->state) && all_in_memory && job_result_code(j) != worst)
		return differs(err, j->id, "its code is not the largest of its tasks");
	return 0;
}

static int verify_array(
        const struct shadow *s, const struct world *w, const struct job *j, struct err *err)
{
	struct tally t = {0};
	bool all_in_memory = true;

	for (uint64_t pos = 0; pos < j->array->n; pos++) {
		struct job_id id = {j->id.num, request_task_at(j->req, pos)};
		const struct shadow_row *r = shadow_find(s, id);
		if (!r)
			continue;
		t.by_state[r->state]++;
		t.worst = MAX(t.worst, r->code);
		all_in_memory = all_in_memory && world_find_job(w, id);
	}
	if (j->req->throttle && array_running(j->array) > j->req->throttle)
		return differs(err, j->id, "runs more tasks than its throttle allows");
	return check_tally(j, &t, all_in_memory, err);
}

int shadow_verify(const struct shadow *s, const struct world *w, struct err *err)
{
	CLEANUP_BUF struct buf b = BUF_INIT(RECORD_MAX);

	for (const struct job *j = world_next_job(w, NULL); j; j = world_next_job(w, j)) {
		const struct shadow_row *r = shadow_find(s, j->id);
		int rc = j->is_array ? verify_array(s, w, j, err) : 0;
		if (rc)
			return rc;
		buf_reset(&b);
		record_put_job(&b, j);
		if (!r || r->len != b.len || memcmp(r->data, b.data, b.len) != 0)
			return differs(err, j->id, "is not as it was stored");
	}
	return 0;
}

static int adopt_row(struct world *w, const struct shadow_row *r, struct err *err)
{
	const struct job *parent = world_find_job(w, (struct job_id){r->id.num, TASK_NONE});
	struct job *j;
	int rc = record_get_job(r->data, r->len, r->id.task == TASK_NONE ? NULL : parent, &j, err);

	return rc ? rc : world_adopt_job(w, j, err);
}

int shadow_fetch(const struct shadow *s, struct world *w, struct job_id id, struct err *err)
{
	struct job_id array = {id.num, TASK_NONE};
	const struct shadow_row *r = shadow_find(s, id);
	int rc = 0;

	if (id.task != TASK_NONE)
		rc = shadow_fetch(s, w, array, err);
	if (rc || !r || world_find_job(w, id) || !job_state_is_final(r->state))
		return rc;
	return adopt_row(w, r, err);
}

static int reload_nodes(
        const struct world *from, struct world *to, struct effects *fx, struct err *err)
{
	struct applied out;
	const struct node *n;
	int rc = 0;

	TAILQ_FOREACH (n, &from->nodes, link) {
		CLEANUP_BUF struct buf b = BUF_INIT(RECORD_MAX);
		void *ctx = talloc_new(NULL);
		struct node stored;
		struct device_info *devices = NULL;
		struct event e = {.kind = EVENT_NODE_UP, .node = &stored, .force = true};
		record_put_node(&b, n);
		if (rc == 0)
			rc = record_get_node(
			        b.data, b.len, ctx, &stored, &devices, &e.n_devices, err);
		e.devices = devices;
		if (rc == 0)
			rc = core_apply(to, &e, (struct now){0}, fx, &out, err);
		talloc_free(ctx);
	}
	return rc;
}

static int reload_small(
        const struct world *from, struct world *to, struct effects *fx, struct err *err)
{
	CLEANUP_BUF struct buf b = BUF_INIT(RECORD_MAX);
	struct applied out;
	const struct token *t;
	int rc = 0;

	for (const struct queue *q = from->queues; q && rc == 0; q = q->hh.next) {
		struct event e = {.kind = EVENT_QUEUE_SET, .queue = q};
		rc = core_apply(to, &e, (struct now){0}, fx, &out, err);
	}
	TAILQ_FOREACH (t, &from->tokens, link) {
		struct token stored;
		struct event e = {.kind = EVENT_TOKEN_ADD, .token = &stored};
		buf_reset(&b);
		record_put_token(&b, t);
		if (rc == 0)
			rc = record_get_token(b.data, b.len, &stored, err);
		if (rc == 0)
			rc = core_apply(to, &e, (struct now){0}, fx, &out, err);
	}
	return rc;
}

static int by_id(const void *a, const void *b)
{
	const struct shadow_row *const *x = a, *const *y = b;

	if ((*x)->id.num != (*y)->id.num)
		return (*x)->id.num < (*y)->id.num ? -1 : 1;
	return (*x)->id.task < (*y)->id.task ? -1 : (*x)->id.task > (*y)->id.task;
}

static int by_end(const void *a, const void *b)
{
	const struct shadow_row *const *x = a, *const *y = b;

	return (*x)->ended_seq < (*y)->ended_seq ? -1 : (*x)->ended_seq > (*y)->ended_seq;
}

/* As the server does: the living in the order of their ids, then the latest ended jobs (no tasks). */
static int reload_jobs(const struct shadow *s, struct world *w, uint32_t n_ended, struct err *err)
{
	size_t n = HASH_COUNT(s->rows), n_living = 0, n_final = 0;
	struct shadow_row **living = mem_zalloc(2 * n * sizeof(struct shadow_row *)),
	                  **ended = living + n;
	int rc = 0;

	for (struct shadow_row *r = s->rows; r; r = r->hh.next) {
		if (!job_state_is_final(r->state))
			living[n_living++] = r;
		else if (r->id.task == TASK_NONE)
			ended[n_final++] = r;
	}
	qsort(living, n_living, sizeof(*living), by_id);
	qsort(ended, n_final, sizeof(*ended), by_end);
	for (size_t i = 0; i < n_living && rc == 0; i++)
		rc = adopt_row(w, living[i], err);
	for (size_t i = n_final - MIN(n_final, n_ended); i < n_final && rc == 0; i++)
		rc = adopt_row(w, ended[i], err);
	free(living);
	return rc ? rc : world_adopted(w, err);
}

int shadow_reload(const struct shadow *s, struct world **w, uint32_t n_ended, struct err *err)
{
	struct world *old = *w, *fresh = world_new(&old->policy);
	struct effects fx = {0};
	int rc = reload_nodes(old, fresh, &fx, err);

	if (rc == 0)
		rc = reload_small(old, fresh, &fx, err);
	if (rc == 0)
		rc = record_get_meta(s->meta.data, s->meta.len, fresh, err);
	if (rc == 0)
		rc = reload_jobs(s, fresh, n_ended, err);
	if (rc == 0 &&
	        (fresh->next_job != old->next_job || fresh->next_epoch != old->next_epoch ||
	                fresh->next_order != old->next_order || fresh->next_blob < old->next_blob))
		rc = err_set(err, ERR_INTERNAL, "a counter is not what it was");
	if (rc == 0)
		rc = world_check(fresh, err);
	effects_done(&fx);
	world_free(old);
	*w = fresh;
	return rc;
}
