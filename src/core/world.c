#include "core/world_priv.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int job_id_cmp(const struct job *a, const struct job *b)
{
	if (a->id.num != b->id.num)
		return a->id.num < b->id.num ? -1 : 1;
	return a->id.task < b->id.task ? -1 : a->id.task > b->id.task;
}

RB_GENERATE(job_ids, job, by_id, job_id_cmp)

struct world *world_new(const struct policy *p)
{
	struct world *w = mem_zalloc(sizeof(*w));

	w->policy = *p;
	w->next_job = w->next_epoch = w->next_order = w->next_blob = w->next_node = w->next_token =
	        1;
	RB_INIT(&w->by_id);
	RB_INIT(&w->backoff);
	TAILQ_INIT(&w->ended);
	LIST_INIT(&w->apart);
	TAILQ_INIT(&w->nodes);
	TAILQ_INIT(&w->tokens);
	return w;
}

static void free_all_jobs(struct world *w)
{
	struct job *j;

	while ((j = RB_ROOT(&w->by_id)) != NULL)
		world__free_job(w, j);
}

void world_free(struct world *w)
{
	struct node *n;
	struct token *t;
	struct queue *q, *q_next;
	struct blob *b, *b_next;

	if (!w)
		return;
	free_all_jobs(w);
	while ((n = TAILQ_FIRST(&w->nodes)) != NULL) {
		TAILQ_REMOVE(&w->nodes, n, link);
		free(n->labels);
		free(n->devices);
		free(n);
	}
	while ((t = TAILQ_FIRST(&w->tokens)) != NULL) {
		TAILQ_REMOVE(&w->tokens, t, link);
		free(t);
	}
	HASH_ITER (hh, w->queues, q, q_next) {
		world__free_queue(w, q);
	}
	HASH_CLEAR(hh_num, w->blobs_by_num);
	HASH_ITER (hh, w->blobs, b, b_next) {
		HASH_DEL(w->blobs, b);
		free(b);
	}
	free(w->dirty_jobs);
	free(w);
}

struct job *world_find_job(const struct world *w, struct job_id id)
{
	struct job key = {.id = id};

	return RB_FIND(job_ids, (struct job_ids *)(uintptr_t)&w->by_id, &key);
}

bool world_find_unstarted(const struct world *w, struct job_id id, struct unstarted_task *ret)
{
	struct job *array = world_find_job(w, (struct job_id){id.num, TASK_NONE});
	uint64_t pos =
	        array && array->is_array ? request_task_pos(array->req, id.task) : UINT64_MAX;
	bool waits, has_ended;

	if (id.task == TASK_NONE || pos == UINT64_MAX || array_is_apart(array->array, pos))
		return false;
	waits = array_is_unstarted(array->array, pos);
	has_ended = job_state_is_final(array->state);
	*ret = (struct unstarted_task){.job = {.id = id,
	                                       .req = array->req,
	                                       .parent = array,
	                                       .state = waits ? JOB_PENDING : JOB_CANCELLED,
	                                       .wait = waits ? array->wait : WAIT_NONE,
	                                       .class = array->class,
	                                       .held = array->held,
	                                       .priority = array->priority,
	                                       .order = array->order,
	                                       .submitted_ms = array->submitted_ms,
	                                       .transitions = &ret->last,
	                                       .n_transitions = 1}};
	ret->last = array->transitions[has_ended && !waits ? array->n_transitions - 1 : 0];
	if (!waits) {
		ret->job.ended_ms = has_ended ? array->ended_ms : 0;
		ret->last.reason = array->stop_reason ? array->stop_reason : array->reason;
	}
	ret->last.state = ret->job.state;
	ret->job.reason = ret->last.reason;
	return true;
}

struct job *world_prev_job(const struct world *w, const struct job *before)
{
	return before ? RB_PREV(job_ids, &w->by_id, (struct job *)(uintptr_t)before)
	              : w->last_by_id;
}

struct job *world_next_job(const struct world *w, const struct job *after)
{
	if (!after)
		return RB_MIN(job_ids, (struct job_ids *)(uintptr_t)&w->by_id);
	return RB_NEXT(job_ids, &w->by_id, (struct job *)(uintptr_t)after);
}

struct node *world_find_node(const struct world *w, const char *name)
{
	struct node *n;

	TAILQ_FOREACH (n, &w->nodes, link)
		if (strcmp(n->name, name) == 0)
			return n;
	return NULL;
}

struct node *world_find_node_num(const struct world *w, uint64_t num)
{
	struct node *n;

	TAILQ_FOREACH (n, &w->nodes, link)
		if (n->num == num)
			return n;
	return NULL;
}

struct token *world_find_token(const struct world *w, const uint8_t hash[32])
{
	struct token *t, *found = NULL;

	/* Every hash is looked at whole, so that the time says nothing about which bytes agree. */
	TAILQ_FOREACH (t, &w->tokens, link) {
		uint8_t differ = 0;
		for (size_t i = 0; i < sizeof(t->hash); i++)
			differ |= (uint8_t)(t->hash[i] ^ hash[i]);
		if (!differ)
			found = t;
	}
	return found;
}

struct blob *world_find_blob(const struct world *w, const uint8_t hash[16])
{
	struct blob *b;

	HASH_FIND(hh, w->blobs, hash, 16, b);
	return b;
}

struct blob *world_find_blob_num(const struct world *w, uint64_t num)
{
	struct blob *b;

	HASH_FIND(hh_num, w->blobs_by_num, &num, sizeof(num), b);
	return b;
}

uint64_t world_find_idem(const struct world *w, const char *user, const char *key)
{
	char text[512];
	struct idem *i;

	snprintf(text, sizeof(text), "%s\x1f%s", user, key);
	HASH_FIND_STR(w->idems, text, i);
	return i ? i->num : 0;
}

void world__mark_dirty(struct world *w, struct job *j)
{
	if (j->dirty)
		return;
	j->dirty = true;
	MEM_GROW(w->dirty_jobs, w->n_dirty, w->cap_dirty);
	w->dirty_jobs[w->n_dirty++] = j;
}

uint32_t world_take_dirty(struct world *w, struct job ***ret_jobs)
{
	uint32_t n = w->n_dirty;

	for (uint32_t i = 0; i < n; i++)
		w->dirty_jobs[i]->dirty = false;
	w->n_dirty = 0;
	*ret_jobs = w->dirty_jobs;
	return n;
}

/* Idempotency keys. */

static void remember_key(struct world *w, const struct job *j)
{
	struct idem *i;
	char text[512];

	if (!j->req->idempotency_key || j->parent || j->reason == REASON_WITHDRAWN)
		return;
	snprintf(text, sizeof(text), "%s\x1f%s", j->req->user, j->req->idempotency_key);
	HASH_FIND_STR(w->idems, text, i);
	if (i)
		return;
	i = mem_zalloc(sizeof(*i));
	i->key = mem_strdup(text);
	i->num = j->id.num;
	HASH_ADD_KEYPTR(hh, w->idems, i->key, strlen(i->key), i);
}

void world__forget_key(struct world *w, const struct job *j)
{
	struct idem *i;
	char text[512];

	if (!j->req->idempotency_key || j->parent)
		return;
	snprintf(text, sizeof(text), "%s\x1f%s", j->req->user, j->req->idempotency_key);
	HASH_FIND_STR(w->idems, text, i);
	if (!i || i->num != j->id.num)
		return;
	w->keys_are_away = true;
	HASH_DEL(w->idems, i);
	free(i->key);
	free(i);
}

/* Jobs. */

/* New jobs, and stored ones in their order, belong at the right end: no way down from the root is needed. */
static void insert_by_id(struct world *w, struct job *j)
{
	struct job *last = w->last_by_id;

	if (last && job_id_cmp(j, last) <= 0) {
		BUG_IF(RB_INSERT(job_ids, &w->by_id, j) != NULL);
		return;
	}
	w->last_by_id = j;
	if (!last) {
		BUG_IF(RB_INSERT(job_ids, &w->by_id, j) != NULL);
		return;
	}
	RB_SET(j, last, by_id);
	RB_RIGHT(last, by_id) = j;
	job_ids_RB_INSERT_COLOR(&w->by_id, j);
}

static void remove_by_id(struct world *w, struct job *j)
{
	if (w->last_by_id == j)
		w->last_by_id = RB_PREV(job_ids, &w->by_id, j);
	RB_REMOVE(job_ids, &w->by_id, j);
}

uint64_t world__waiting_of(const struct job *j)
{
	return j->is_array ? array_unstarted(j->array) : j->state == JOB_PENDING;
}

void world__add_job(struct world *w, struct job *j)
{
	struct blob *env = j->req->env_blob ? world_find_blob_num(w, j->req->env_blob) : NULL;

	insert_by_id(w, j);
	if (env)
		env->refs++;
	remember_key(w, j);
	if (job_state_is_final(j->state)) {
		TAILQ_INSERT_TAIL(&w->ended, j, by_end);
		w->n_ended++;
		return;
	}
	world__join_class(w, j);
	j->class->shape.queue->n_waiting += world__waiting_of(j);
	if (!j->parent)
		w->n_living++;
	world__watch_deps(w, j);
}

struct job *world_job_new(void)
{
	struct job *j = mem_zalloc(sizeof(*j));

	j->id.task = TASK_NONE;
	return j;
}

void world_job_free(struct job *j)
{
	if (!j)
		return;
	for (uint32_t i = 0; i < j->n_attempts; i++) {
		free(j->attempts[i].node_name);
		free(j->attempts[i].slices);
	}
	for (uint32_t i = 0; i < j->n_transitions; i++)
		free(j->transitions[i].text);
	free(j->attempts);
	free(j->transitions);
	if (j->array)
		free(j->array->skip);
	free(j->array);
	free(j->dep_met);
	free(j->dep_links);
	free(j->slices);
	free(j->cpus);
	request_unref(j->req);
	free(j);
}

static void orphan_tasks(struct world *w, const struct job *parent)
{
	struct job *t = world_next_job(w, parent);

	for (; t && t->id.num == parent->id.num; t = world_next_job(w, t))
		t->parent = NULL;
}

void world__free_job(struct world *w, struct job *j)
{
	struct blob *env = j->req->env_blob ? world_find_blob_num(w, j->req->env_blob) : NULL;

	if (j->is_array)
		orphan_tasks(w, j);
	if (j->node)
		world__drop_slices(w, j);
	if (job_state_is_final(j->state)) {
		TAILQ_REMOVE(&w->ended, j, by_end);
		w->n_ended--;
	} else {
		world__leave_class(w, j);
		if (j->id.task == TASK_NONE)
			w->n_living--;
		world__unwatch_deps(w, j);
	}
	remove_by_id(w, j);
	world__forget_key(w, j);
	if (env)
		env->refs--;
	world_job_free(j);
}

void world__touch_node(struct world *w, struct node *n)
{
	n->changed = ++w->node_changes;
}

void world__hold_slices(struct world *w, struct job *j)
{
	struct node *n = j->node;

	world__touch_node(w, n);
	for (uint32_t i = 0; i < j->n_slices; i++) {
		struct device *d = &n->devices[j->slices[i].device];
		d->used_bytes += j->slices[i].mem_bytes;
		d->used_milli += j->slices[i].share_milli;
		d->n_slices++;
	}
	n->n_cpus_used += request_cpus(j->req);
	n->mem_used += j->req->mem_bytes;
	if (j->cpus)
		for (size_t i = 0; i < ARRAY_LEN(n->cpus_used.bits); i++)
			n->cpus_used.bits[i] |= j->cpus->bits[i];
	LIST_INSERT_HEAD(&n->jobs, j, on_node);
}

void world__drop_slices(struct world *w, struct job *j)
{
	struct node *n = j->node;

	world__touch_node(w, n);
	for (uint32_t i = 0; i < j->n_slices; i++) {
		struct device *d = &n->devices[j->slices[i].device];
		d->used_bytes -= j->slices[i].mem_bytes;
		d->used_milli -= j->slices[i].share_milli;
		d->n_slices--;
		d->shrunk = d->shrunk && d->used_bytes > d->info.mem_bytes;
	}
	n->n_cpus_used -= request_cpus(j->req);
	n->mem_used -= j->req->mem_bytes;
	if (j->cpus)
		for (size_t i = 0; i < ARRAY_LEN(n->cpus_used.bits); i++)
			n->cpus_used.bits[i] &= ~j->cpus->bits[i];
	LIST_REMOVE(j, on_node);
	free(j->slices);
	free(j->cpus);
	j->slices = NULL;
	j->cpus = NULL;
	j->n_slices = 0;
	j->node = NULL;
	w->plan_wanted = true;
}

void world_trim(struct world *w, struct effects *fx)
{
	struct job *j = TAILQ_FIRST(&w->ended);

	while (j && w->n_ended > w->policy.keep_ended) {
		struct job *next = TAILQ_NEXT(j, by_end);
		if (!j->dirty) {
			effects_add(fx, (struct effect){.kind = EFFECT_FORGET, .id = j->id});
			world__free_job(w, j);
		}
		j = next;
	}
}

bool world_forget(struct world *w, struct job *j)
{
	if (!job_state_is_final(j->state) || j->dirty)
		return false;
	world__free_job(w, j);
	return true;
}

bool world_use_blob(struct world *w, uint64_t num, int64_t now_ms, int64_t ahead_ms)
{
	struct blob *b = world_find_blob_num(w, num);

	if (!b || b->used_ms > now_ms)
		return false;
	b->used_ms = now_ms + ahead_ms;
	return true;
}

void world_drop_blob(struct world *w, struct blob *b)
{
	BUG_IF(b->refs);
	HASH_DELETE(hh_num, w->blobs_by_num, b);
	HASH_DEL(w->blobs, b);
	free(b);
}
