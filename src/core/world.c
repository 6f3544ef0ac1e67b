#include "core/world_priv.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int job_order_cmp(const struct job *a, const struct job *b)
{
	if (a->priority != b->priority)
		return a->priority > b->priority ? -1 : 1;
	return a->order < b->order ? -1 : a->order > b->order;
}

int job_id_cmp(const struct job *a, const struct job *b)
{
	if (a->id.num != b->id.num)
		return a->id.num < b->id.num ? -1 : 1;
	return a->id.task < b->id.task ? -1 : a->id.task > b->id.task;
}

int job_time_cmp(const struct job *a, const struct job *b)
{
	if (a->not_before_ms != b->not_before_ms)
		return a->not_before_ms < b->not_before_ms ? -1 : 1;
	return job_id_cmp(a, b);
}

RB_GENERATE(job_order, job, by_order, job_order_cmp)
RB_GENERATE(job_ids, job, by_id, job_id_cmp)
RB_GENERATE(job_times, job, by_time, job_time_cmp)

struct world *world_new(const struct policy *p)
{
	struct world *w = mem_zalloc(sizeof(*w));

	w->policy = *p;
	w->next_job = w->next_epoch = w->next_order = w->next_blob = w->next_node = w->next_token =
	        1;
	RB_INIT(&w->by_id);
	RB_INIT(&w->backoff);
	TAILQ_INIT(&w->ended);
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
		free(n->devices);
		free(n);
	}
	while ((t = TAILQ_FIRST(&w->tokens)) != NULL) {
		TAILQ_REMOVE(&w->tokens, t, link);
		free(t);
	}
	HASH_ITER (hh, w->queues, q, q_next) {
		HASH_DEL(w->queues, q);
		free(q);
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

struct job *world_next_job(const struct world *w, const struct job *after)
{
	if (!after)
		return RB_MIN(job_ids, (struct job_ids *)(uintptr_t)&w->by_id);
	return RB_NEXT(job_ids, &w->by_id, (struct job *)(uintptr_t)after);
}

struct queue *world_find_queue(const struct world *w, const char *name)
{
	struct queue *q;

	HASH_FIND_STR(w->queues, name, q);
	return q;
}

struct queue *world__get_queue(struct world *w, const char *name)
{
	struct queue *q = world_find_queue(w, name);

	if (q)
		return q;
	q = mem_zalloc(sizeof(*q));
	snprintf(q->name, sizeof(q->name), "%s", name);
	q->default_cpus = 1;
	HASH_ADD_STR(w->queues, name, q);
	return q;
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

struct blob *world_adopt_blob(struct world *w, uint64_t num, const uint8_t hash[16],
        int64_t used_ms, const void *data, size_t len)
{
	struct blob *b = mem_zalloc(sizeof(*b) + len);

	b->num = num;
	memcpy(b->hash, hash, sizeof(b->hash));
	b->used_ms = used_ms;
	b->len = len;
	memcpy(b->data, data, len);
	HASH_ADD(hh, w->blobs, hash, sizeof(b->hash), b);
	HASH_ADD(hh_num, w->blobs_by_num, num, sizeof(b->num), b);
	w->next_blob = MAX(w->next_blob, num + 1);
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

int64_t world_next_tick(const struct world *w)
{
	const struct job *j = RB_MIN(job_times, (struct job_times *)(uintptr_t)&w->backoff);

	return j ? j->not_before_ms : INT64_MAX;
}

uint64_t world_position(const struct world *w, const struct job *j)
{
	struct sched_class *c, *next;
	struct job *other;
	uint64_t before = 0;

	if (!j->class)
		return 1;
	HASH_ITER(hh, w->classes, c, next) {
		if (c->shape.queue != j->class->shape.queue)
			continue;
		RB_FOREACH(other, job_order, &c->ready) {
			if (job_order_cmp(other, j) >= 0)
				break;
			before++;
		}
	}
	return before + 1;
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

/* Classes: jobs that are alike to the scheduler. */

static void class_key(const struct request *r, char *out, size_t size)
{
	const struct gpu_ask *g = &r->gpu;

	snprintf(out, size, "%s\x1f%u\x1f%u\x1f%u\x1f%llu\x1f%u\x1f%u\x1f%s\x1f%u\x1f%llu",
	        r->queue, g->count, g->milli, g->fgpu_milli, (unsigned long long)g->mem_bytes,
	        g->share_milli, g->cc_min, g->model ? g->model : "", r->cpus,
	        (unsigned long long)r->mem_bytes);
}

void world__join_class(struct world *w, struct job *j)
{
	char key[512];
	struct sched_class *c;

	if (j->class)
		return;
	class_key(j->req, key, sizeof(key));
	HASH_FIND_STR(w->classes, key, c);
	if (!c) {
		c = mem_zalloc(sizeof(*c));
		c->key = mem_strdup(key);
		c->shape.queue = world__get_queue(w, j->req->queue);
		c->shape.gpu = j->req->gpu;
		c->shape.gpu.model = mem_strdup(j->req->gpu.model);
		c->shape.cpus = j->req->cpus;
		c->shape.mem_bytes = j->req->mem_bytes;
		RB_INIT(&c->ready);
		HASH_ADD_KEYPTR(hh, w->classes, c->key, strlen(c->key), c);
	}
	c->n_jobs++;
	j->class = c;
}

void world__leave_class(struct world *w, struct job *j)
{
	struct sched_class *c = j->class;

	if (!c)
		return;
	world__set_wait(w, j, WAIT_NONE);
	j->class = NULL;
	if (--c->n_jobs)
		return;
	HASH_DEL(w->classes, c);
	free(c->shape.gpu.model);
	free(c->key);
	free(c);
}

void world__set_wait(struct world *w, struct job *j, enum job_wait wait)
{
	if (j->wait == WAIT_READY)
		RB_REMOVE(job_order, &j->class->ready, j);
	else if (j->wait == WAIT_BACKOFF)
		RB_REMOVE(job_times, &w->backoff, j);
	j->wait = wait;
	if (wait == WAIT_READY) {
		RB_INSERT(job_order, &j->class->ready, j);
		w->plan_wanted = true;
	} else if (wait == WAIT_BACKOFF) {
		RB_INSERT(job_times, &w->backoff, j);
	}
}

static bool has_something_to_start(const struct job *j)
{
	if (job_state_is_final(j->state))
		return false;
	return j->is_array ? array_unstarted(j->array) > 0 : j->state == JOB_PENDING;
}

static bool is_throttled(const struct job *j)
{
	const struct job *parent = j->is_array ? j : j->parent;

	return parent && parent->req->throttle &&
	       array_running(parent->array) >= parent->req->throttle;
}

static bool deps_are_met(const struct job *j)
{
	/* A task stands behind its array's dependencies: it was made from it when they were met. */
	if (!j->dep_met)
		return true;
	for (uint32_t i = 0; i < j->req->n_deps; i++)
		if (!j->dep_met[i])
			return false;
	return true;
}

void world__settle(struct world *w, struct job *j, struct now now)
{
	enum job_wait wait = WAIT_NONE;

	if (has_something_to_start(j)) {
		if (j->held || (j->parent && j->parent->held))
			wait = WAIT_HELD;
		else if (!deps_are_met(j))
			wait = WAIT_DEPENDENCY;
		else if (j->not_before_ms > now.wall_ms)
			wait = WAIT_BACKOFF;
		else if (is_throttled(j))
			wait = WAIT_THROTTLE;
		else
			wait = WAIT_READY;
	}
	if (wait != j->wait)
		world__set_wait(w, j, wait);
}

/* Dependencies. */

enum dep_verdict world__dep_verdict(const struct world *w, const struct dep *d)
{
	const struct job *on = world_find_job(w, d->on);
	const struct job *parent;

	if (!on && d->on.task != TASK_NONE) {
		/* A task that is not a job of its own yet, or was cut with its array. */
		parent = world_find_job(w, (struct job_id){d->on.num, TASK_NONE});
		if (!parent || !parent->array)
			return DEP_NOT_YET;
		if (request_task_pos(parent->req, d->on.task) < parent->array->cut)
			return DEP_NOT_YET;
		return d->kind == DEP_AFTER_ANY ? DEP_MET : DEP_NEVER;
	}
	if (!on)
		return DEP_NOT_YET;
	switch (d->kind) {
	case DEP_AFTER:
		if (on->started_ms)
			return DEP_MET;
		break;
	case DEP_AFTER_ANY:
		if (job_state_is_final(on->state))
			return DEP_MET;
		break;
	case DEP_AFTER_OK:
		if (on->state == JOB_COMPLETED)
			return DEP_MET;
		break;
	}
	return job_state_is_final(on->state) ? DEP_NEVER : DEP_NOT_YET;
}

static void watch_deps(struct world *w, struct job *j)
{
	for (uint32_t i = 0; i < j->req->n_deps; i++) {
		uint64_t num = j->req->deps[i].on.num;
		struct dep_list *l;
		if (j->dep_met[i])
			continue;
		HASH_FIND(hh, w->deps, &num, sizeof(num), l);
		if (!l) {
			l = mem_zalloc(sizeof(*l));
			l->num = num;
			HASH_ADD(hh, w->deps, num, sizeof(l->num), l);
		}
		MEM_GROW(l->jobs, l->n, l->cap);
		l->jobs[l->n++] = j;
	}
}

static void unwatch_deps(struct world *w, const struct job *j)
{
	for (uint32_t i = 0; i < j->req->n_deps; i++) {
		uint64_t num = j->req->deps[i].on.num;
		struct dep_list *l;
		uint32_t kept = 0;
		HASH_FIND(hh, w->deps, &num, sizeof(num), l);
		if (!l)
			continue;
		for (uint32_t k = 0; k < l->n; k++)
			if (l->jobs[k] != j)
				l->jobs[kept++] = l->jobs[k];
		l->n = kept;
		if (kept == 0) {
			HASH_DEL(w->deps, l);
			free(l->jobs);
			free(l);
		}
	}
}

/* Idempotency keys. */

static void remember_key(struct world *w, const struct job *j)
{
	struct idem *i;
	char text[512];

	if (!j->req->idempotency_key || j->parent)
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

static void forget_key(struct world *w, const struct job *j)
{
	struct idem *i;
	char text[512];

	if (!j->req->idempotency_key || j->parent)
		return;
	snprintf(text, sizeof(text), "%s\x1f%s", j->req->user, j->req->idempotency_key);
	HASH_FIND_STR(w->idems, text, i);
	if (!i || i->num != j->id.num)
		return;
	HASH_DEL(w->idems, i);
	free(i->key);
	free(i);
}

/* Jobs. */

void world__add_job(struct world *w, struct job *j)
{
	struct blob *env = j->req->env_blob ? world_find_blob_num(w, j->req->env_blob) : NULL;

	BUG_IF(RB_INSERT(job_ids, &w->by_id, j) != NULL);
	if (env)
		env->refs++;
	remember_key(w, j);
	if (job_state_is_final(j->state)) {
		TAILQ_INSERT_TAIL(&w->ended, j, by_end);
		w->n_ended++;
		return;
	}
	world__join_class(w, j);
	if (!j->parent)
		w->n_living++;
	if (j->dep_met)
		watch_deps(w, j);
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
		if (j->dep_met)
			unwatch_deps(w, j);
	}
	RB_REMOVE(job_ids, &w->by_id, j);
	forget_key(w, j);
	if (env)
		env->refs--;
	world_job_free(j);
}

void world__hold_slices(struct world *w, struct job *j)
{
	struct node *n = j->node;

	for (uint32_t i = 0; i < j->n_slices; i++) {
		struct device *d = &n->devices[j->slices[i].device];
		d->used_bytes += j->slices[i].mem_bytes;
		d->used_milli += j->slices[i].share_milli;
		d->n_slices++;
	}
	n->n_cpus_used += j->req->cpus;
	n->mem_used += j->req->mem_bytes;
	if (j->cpus)
		for (size_t i = 0; i < ARRAY_LEN(n->cpus_used.bits); i++)
			n->cpus_used.bits[i] |= j->cpus->bits[i];
	LIST_INSERT_HEAD(&n->jobs, j, on_node);
}

void world__drop_slices(struct world *w, struct job *j)
{
	struct node *n = j->node;

	for (uint32_t i = 0; i < j->n_slices; i++) {
		struct device *d = &n->devices[j->slices[i].device];
		d->used_bytes -= j->slices[i].mem_bytes;
		d->used_milli -= j->slices[i].share_milli;
		d->n_slices--;
	}
	n->n_cpus_used -= j->req->cpus;
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

/* A stored job's slices name devices by UUID; here they find their places on the node again. */
static int adopt_slices(struct world *w, struct job *j, struct err *err)
{
	const struct attempt *a = &j->attempts[j->n_attempts - 1];
	struct node *n = world_find_node_num(w, a->node);

	if (!n)
		return err_set(err, ERR_CORRUPT, "job %llu runs on node %llu, which is not known",
		        (unsigned long long)j->id.num, (unsigned long long)a->node);
	j->node = n;
	j->n_slices = a->n_slices;
	j->slices = a->n_slices ? mem_zalloc(a->n_slices * sizeof(*j->slices)) : NULL;
	for (uint32_t i = 0; i < a->n_slices; i++) {
		struct device_info gone = {
		        .mem_bytes = a->slices[i].mem_bytes, .health = DEVICE_LOST};
		uint32_t k = 0;
		while (k < n->n_devices &&
		        strcmp(n->devices[k].info.uuid, a->slices[i].device) != 0)
			k++;
		if (k == n->n_devices) {
			snprintf(gone.uuid, sizeof(gone.uuid), "%s", a->slices[i].device);
			k = node__add_device(w, n, &gone);
			n->devices[k].absent = true;
		}
		j->slices[i] = (struct slice){k, a->slices[i].mem_bytes, a->slices[i].share_milli};
	}
	world__hold_slices(w, j);
	world__get_queue(w, j->req->queue)->n_running++;
	return 0;
}

int world_adopt_job(struct world *w, struct job *take_j, struct err *err)
{
	struct job *j = take_j;

	if (world_find_job(w, j->id)) {
		struct job_id id = j->id;
		world_job_free(j);
		return err_set(
		        err, ERR_CONFLICT, "job %llu is there already", (unsigned long long)id.num);
	}
	if (j->id.task != TASK_NONE)
		j->parent = world_find_job(w, (struct job_id){j->id.num, TASK_NONE});
	if (job_state_holds(j->state) && !j->is_array) {
		int rc = j->n_attempts
		                 ? adopt_slices(w, j, err)
		                 : err_set(err, ERR_CORRUPT, "a running job without an attempt");
		if (rc) {
			world_job_free(j);
			return rc;
		}
	}
	w->next_job = MAX(w->next_job, j->id.num + 1);
	w->next_epoch = MAX(w->next_epoch, j->epoch + 1);
	w->next_order = MAX(w->next_order, j->order + 1);
	world__add_job(w, j);
	world__settle(w, j, (struct now){0});
	return 0;
}
