#include "server/batch.h"
#include "server/calibrator.h"
#include "server/kept.h"
#include "server/links.h"
#include "server/recorder.h"
#include "server/watch.h"
#include "base/mem.h"
#include "wire/record.h"

#include <stdlib.h>
#include <string.h>

#define BATCH_BYTES_FULL (64 * MIB)
#define PLAN_MAX         256
#define LEARN_AFTER      500 /* placements: a mix shifts slowly */
#define BLOB_AHEAD_MS    (60 * 60 * 1000)
#define RETRY_MS         500
#define PACE_MS          3 /* between commits, when there were many */
#define PACE_BURST       32

struct batch_row {
	enum row_kind kind;
	uint64_t key;
	int64_t sub;
	int64_t ended_ms;
	bool removed;
	size_t at, len; /* in bytes */
};

enum batch_patience { WAITS, READ, CHANGE };

struct batch_call {
	barrier_fn *fn; /* NULL: it was called early */
	void *data;
	enum batch_patience patience;
	uint64_t since_ms;
};

struct batch {
	struct server *s;
	struct effects fx;
	struct buf bytes;
	struct batch_row *rows;
	size_t n_rows, cap_rows;
	struct batch_row *events;
	size_t n_events, cap_events;
	struct batch_call *calls;
	size_t n_calls, cap_calls;
	/* of the world's dirty jobs while this batch gathers: what they will take, and how many were looked at */
	uint64_t dirty_bytes;
	uint32_t n_weighed;
	/* for the store thread */
	uint64_t seq;
	struct store_row *store_rows;
	struct store_event *store_events;
	struct err err;
	int rc;
};

static struct batch *batch_new(struct server *s)
{
	struct batch *b = mem_zalloc(sizeof(*b));

	b->s = s;
	/* Bounded by batch_is_full(), and by what lives in memory. */
	b->bytes = BUF_INIT(SIZE_MAX / 2);
	return b;
}

static void batch_free(struct batch *b)
{
	if (!b)
		return;
	effects_done(&b->fx);
	buf_done(&b->bytes);
	free(b->rows);
	free(b->events);
	free(b->calls);
	free(b->store_rows);
	free(b->store_events);
	free(b);
}

void batch_init(struct server *s)
{
	s->gathering = batch_new(s);
}

void batch_done(struct server *s)
{
	batch_free(s->gathering);
	batch_free(s->in_flight);
	s->gathering = s->in_flight = NULL;
}

struct effects *batch_effects(struct server *s)
{
	return &s->gathering->fx;
}

static bool has_changes(const struct server *s)
{
	return s->world->n_dirty || s->world->counters_dirty || s->gathering->n_rows ||
	       s->gathering->fx.n;
}

bool batch_is_idle(const struct server *s)
{
	return !has_changes(s) && !s->gathering->n_calls && !s->in_flight;
}

static void add_call(struct batch *b, struct batch_call call)
{
	MEM_GROW(b->calls, b->n_calls, b->cap_calls);
	b->calls[b->n_calls++] = call;
}

static void after(struct server *s, barrier_fn *fn, void *data, enum batch_patience patience)
{
	struct batch_call call = {
	        .fn = fn, .data = data, .patience = patience, .since_ms = loop_mono_ms(s->loop)};

	if (has_changes(s) || s->gathering->n_calls) {
		add_call(s->gathering, call);
		loop_wake(s->loop);
	} else if (s->in_flight) {
		add_call(s->in_flight, call);
	} else {
		call.fn(s, call.data);
	}
}

void batch_after(struct server *s, barrier_fn *fn, void *data)
{
	after(s, fn, data, WAITS);
}

void batch_after_change(struct server *s, barrier_fn *fn, void *data)
{
	after(s, fn, data, CHANGE);
}

void batch_after_read(struct server *s, barrier_fn *fn, void *data)
{
	struct err ignored;

	if (server_is_stuck(s, &ignored))
		fn(s, data);
	else
		after(s, fn, data, READ);
}

static void give_up_in(struct server *s, struct batch *b)
{
	uint64_t now_ms = loop_mono_ms(s->loop);

	for (size_t i = 0; b && i < b->n_calls; i++) {
		const struct batch_call *c = &b->calls[i];

		if (c->patience == READ ||
		        (c->patience == CHANGE && now_ms - c->since_ms >= s->answer_ms))
			if (c->fn)
				STEAL(b->calls[i].fn)(s, b->calls[i].data);
	}
}

/* Nothing becomes durable now: who has waited long enough is told. */
static void give_up(struct server *s)
{
	give_up_in(s, s->in_flight);
	give_up_in(s, s->gathering);
}

bool batch_has_job(const struct server *s, const struct job *j)
{
	enum row_kind kind = j->id.task == TASK_NONE ? ROW_JOB : ROW_TASK;
	const struct batch *b = s->in_flight;

	for (size_t i = 0; b && i < b->n_rows; i++)
		if (b->rows[i].kind == kind && b->rows[i].key == j->id.num &&
		        b->rows[i].sub == j->id.task)
			return true;
	return j->dirty;
}

static uint64_t weight(const struct job *j)
{
	uint64_t request = j->id.task == TASK_NONE ? j->req->bytes : 0;

	return request + 512 + 64ULL * j->n_transitions + 256ULL * j->n_attempts;
}

bool batch_is_full(struct server *s)
{
	struct batch *b = s->gathering;

	while (b->n_weighed < s->world->n_dirty)
		b->dirty_bytes += weight(s->world->dirty_jobs[b->n_weighed++]);
	return b->bytes.len + b->dirty_bytes > BATCH_BYTES_FULL;
}

int batch_check_room(struct server *s, struct err *err)
{
	int rc;

	if (server_is_stuck(s, err))
		return -(int)err->kind;
	if (!batch_is_full(s))
		return 0;
	rc = err_set(err, ERR_UNAVAILABLE, "more waits for the disk than may wait");
	return rc ? err_hint(err, "try again in a moment") : rc;
}

static struct batch_row *add_row(struct batch *b, enum row_kind kind, uint64_t key, int64_t sub)
{
	struct batch_row *r;

	MEM_GROW(b->rows, b->n_rows, b->cap_rows);
	r = &b->rows[b->n_rows++];
	*r = (struct batch_row){.kind = kind, .key = key, .sub = sub, .at = b->bytes.len};
	return r;
}

void batch_add_node(struct server *s, uint64_t num)
{
	struct batch *b = s->gathering;
	const struct node *n = world_find_node_num(s->world, num);
	struct batch_row *r;

	if (!n)
		return;
	r = add_row(b, ROW_NODE, num, -1);
	record_put_node(&b->bytes, n);
	r->len = b->bytes.len - r->at;
}

void batch_add_queue(struct server *s, const char *name)
{
	struct batch *b = s->gathering;
	const struct queue *q = world_find_queue(s->world, name);
	uint64_t key = 14695981039346656037ULL;
	struct batch_row *r;

	if (!q)
		return;
	for (const char *c = name; *c; c++)
		key = (key ^ (uint8_t)*c) * 1099511628211ULL;
	r = add_row(b, ROW_QUEUE, key, -1);
	r->removed = !q->configured && !q->paused;
	record_put_queue(&b->bytes, q);
	r->len = b->bytes.len - r->at;
}

void batch_add_token(struct server *s, uint64_t num, bool removed)
{
	struct batch *b = s->gathering;
	const struct token *t;
	struct batch_row *r = add_row(b, ROW_TOKEN, num, -1);

	r->removed = removed;
	TAILQ_FOREACH (t, &s->world->tokens, link)
		if (t->num == num && !removed)
			record_put_token(&b->bytes, t);
	r->len = b->bytes.len - r->at;
}

static void add_blob(struct server *s, struct batch *b, uint64_t num)
{
	const struct blob *x = world_find_blob_num(s->world, num);
	struct batch_row *r;

	if (!x)
		return;
	r = add_row(b, ROW_BLOB, num, -1);
	record_put_blob(&b->bytes,
	        &(struct record_blob){
	                .hash = x->hash, .used_ms = x->used_ms, .data = x->data, .len = x->len});
	r->len = b->bytes.len - r->at;
}

void batch_add_blob(struct server *s, uint64_t num)
{
	add_blob(s, s->gathering, num);
}

/* Well ahead, so that a blob that many jobs name is not written with each of them. */
static bool use_blob(struct server *s, uint64_t num)
{
	int64_t ahead_ms = MIN(s->conf->server_retain_ms / 4, BLOB_AHEAD_MS);

	return world_use_blob(s->world, num, server_now(s).wall_ms, ahead_ms);
}

void batch_use_blob(struct server *s, uint64_t num)
{
	if (use_blob(s, num))
		add_blob(s, s->gathering, num);
}

void batch_add_bytes(struct server *s, enum row_kind kind, uint64_t key, int64_t sub,
        const void *data, size_t len)
{
	struct batch_row *r = add_row(s->gathering, kind, key, sub);

	buf_add(&s->gathering->bytes, data, len);
	r->len = len;
}

void batch_remove_row(struct server *s, enum row_kind kind, uint64_t key, int64_t sub)
{
	add_row(s->gathering, kind, key, sub)->removed = true;
}

static void add_job(struct batch *b, const struct job *j)
{
	bool is_task = j->id.task != TASK_NONE;
	struct batch_row *r = add_row(b, is_task ? ROW_TASK : ROW_JOB, j->id.num, j->id.task);

	r->ended_ms = job_state_is_final(j->state) ? MAX(j->ended_ms, 1) : 0;
	record_put_job(&b->bytes, j);
	r->len = b->bytes.len - r->at;
	MEM_GROW(b->events, b->n_events, b->cap_events);
	b->events[b->n_events] =
	        (struct batch_row){.key = j->id.num, .sub = j->id.task, .at = b->bytes.len};
	record_put_history(&b->bytes, j);
	b->events[b->n_events].len = b->bytes.len - b->events[b->n_events].at;
	b->n_events++;
}

/* Everything that changed, as bytes; the pointers are made when no byte moves any more. */
static void seal(struct server *s, struct batch *b)
{
	struct job **jobs;
	uint32_t n = world_take_dirty(s->world, &jobs);
	int64_t now_ms = server_now(s).wall_ms;

	for (uint32_t i = 0; i < n; i++) {
		const struct job *j = jobs[i];
		add_job(b, j);
		if (j->id.task == TASK_NONE && job_state_is_final(j->state) && j->req->env_blob &&
		        use_blob(s, j->req->env_blob))
			add_blob(s, b, j->req->env_blob);
	}
	if (s->world->counters_dirty) {
		struct batch_row *r = add_row(b, ROW_META, 0, -1);
		record_put_meta(&b->bytes, s->world);
		r->len = b->bytes.len - r->at;
		s->world->counters_dirty = false;
	}
	b->store_rows = mem_zalloc(b->n_rows * sizeof(*b->store_rows));
	for (size_t i = 0; i < b->n_rows; i++)
		b->store_rows[i] = (struct store_row){.kind = b->rows[i].kind,
		        .key = b->rows[i].key,
		        .sub = b->rows[i].sub,
		        .ended_ms = b->rows[i].ended_ms,
		        .data = b->rows[i].removed ? NULL : b->bytes.data + b->rows[i].at,
		        .len = b->rows[i].len};
	b->store_events = mem_zalloc(b->n_events * sizeof(*b->store_events));
	for (size_t i = 0; i < b->n_events; i++)
		b->store_events[i] = (struct store_event){.time_ms = now_ms,
		        .key = b->events[i].key,
		        .sub = b->events[i].sub,
		        .data = b->bytes.data + b->events[i].at,
		        .len = b->events[i].len};
}

static int commit(struct batch *b)
{
	return store_commit(b->s->store, b->s->store_epoch, b->seq, b->store_events, b->n_events,
	        b->store_rows, b->n_rows, &b->err);
}

/* Store thread. On a full disk the reserve is given up, so that the ends of jobs can be taken; with room it is made again. */
static void commit_run(void *data)
{
	struct batch *b = data;
	struct server *s = b->s;
	struct err ignored;

	b->rc = commit(b);
	if (b->rc == -(int)ERR_NO_SPACE && !s->reserve_is_out &&
	        store_reserve_release(s->store, &ignored) == 0) {
		s->reserve_is_out = true;
		b->rc = commit(b);
	} else if (b->rc == 0 && s->reserve_is_out) {
		s->reserve_is_out = store_reserve_make(s->store, &ignored) != 0;
	}
}

static void drop_effects(struct effects *fx, uint64_t epoch)
{
	for (size_t i = fx->n; i-- > 0;)
		if (fx->v[i].epoch == epoch && fx->v[i].kind != EFFECT_CHANGED)
			fx->v[i].kind = EFFECT_CHANGED;
}

void batch_drop_effects(struct server *s, uint64_t epoch)
{
	if (s->in_flight)
		drop_effects(&s->in_flight->fx, epoch);
	drop_effects(&s->gathering->fx, epoch);
}

static void release(struct server *s, struct batch *b)
{
	for (size_t i = 0; i < b->fx.n; i++)
		links_carry_out(s, &b->fx.v[i]);
	/* Who watches may open a stream of an attempt: its start has to be on the link before. */
	for (size_t i = 0; i < b->fx.n; i++)
		if (b->fx.v[i].kind == EFFECT_CHANGED)
			watch_notify(s, b->fx.v[i].id);
	for (size_t i = 0; i < b->n_calls; i++)
		if (b->calls[i].fn)
			b->calls[i].fn(s, b->calls[i].data);
}

static void on_committed(void *data);

static void hand_over(struct server *s)
{
	loop_timer_start(s->patience_timer, s->patience_ms, 0);
	if (!worker_submit(s->worker, commit_run, on_committed, s->in_flight))
		loop_timer_start(s->retry_timer, 50, 0);
}

void batch_is_late(void *server)
{
	struct server *s = server;

	if (!s->store_is_slow)
		log_error("store.late", "waited_ms=%llu", (unsigned long long)s->patience_ms);
	s->store_is_slow = true;
	give_up(s);
	loop_timer_start(s->patience_timer, MIN(s->patience_ms, RETRY_MS), 0);
}

static void on_trouble(struct server *s, struct batch *b)
{
	if (b->err.kind == ERR_CONFLICT) {
		log_error("store.fenced", "text=\"%s\"", b->err.text);
		s->stopped = true;
		s->fenced = true;
		loop_stop(s->loop);
		return;
	}
	if (s->store_trouble == ERR_NONE)
		log_error("store.commit", "text=\"%s\" retrying_ms=%d", b->err.text, RETRY_MS);
	s->store_trouble = b->err.kind;
	memcpy(s->store_trouble_text, b->err.text, sizeof(s->store_trouble_text) - 1);
	give_up(s);
	if (s->stop_asked) {
		s->stopped = true;
		loop_stop(s->loop);
	}
	if (!s->stopped) /* the timers are gone then */
		loop_timer_start(s->retry_timer, RETRY_MS, 0);
}

static void on_committed(void *data)
{
	struct batch *b = data;
	struct server *s = b->s;

	if (s->patience_timer)
		loop_timer_stop(s->patience_timer);
	if (s->store_is_slow && b->rc == 0)
		log_info("store.late", "text=\"answers again\"");
	s->store_is_slow = false;
	if (b->rc) {
		on_trouble(s, b);
		return;
	}
	if (s->store_trouble != ERR_NONE) {
		log_info("store.commit", "text=\"works again\"");
		s->store_trouble = ERR_NONE;
	}
	kept_forget(s);
	s->in_flight = NULL;
	release(s, b);
	batch_free(b);
	world_trim(s->world, batch_effects(s));
}

/* A failed batch goes again as it was: memory is never rolled back. */
void batch_retry(void *server)
{
	struct server *s = server;

	if (s->in_flight)
		hand_over(s);
}

static void plan(struct server *s)
{
	int64_t now_ms = server_now(s).wall_ms;
	const struct sched_head *heads;
	struct sched_plan p = {0};
	bool has_started = false;
	struct err err;

	if (s->shutting_down || s->store_trouble != ERR_NONE)
		return;
	s->world->plan_wanted = false;
	sched_plan_make(s->sched, s->world, now_ms, PLAN_MAX, &p);
	recorder_plan(s->recorder, now_ms, PLAN_MAX, p.v, p.n);
	for (size_t i = 0; i < p.n; i++) {
		struct event e = {.kind = EVENT_START, .id = p.v[i].id, .placement = &p.v[i]};
		struct applied out;
		if (server_apply(s, &e, &out, &err))
			log_error("plan.refused", "job=%llu text=\"%s\"",
			        (unsigned long long)p.v[i].id.num, err.text);
		else
			has_started = true;
	}
	/* Behind what has started, the place of who waits first may be another one, and free what was kept. */
	s->world->plan_wanted =
	        p.n == PLAN_MAX || (has_started && sched_heads(s->sched, &heads) > 0);
	s->n_placed += p.n;
	if (s->world->plan_wanted) {
		loop_wake(s->loop);
	} else if (s->n_placed >= LEARN_AFTER) {
		sched_learn(s->sched, s->world);
		recorder_learn(s->recorder, now_ms);
		calibrator_begin(s);
		s->n_placed = 0;
	}
	sched_plan_done(&p);
}

/* A commit costs as much as what is in it: a busy server gathers for a moment, one that is not does not wait. */
static bool is_paced(struct server *s)
{
	uint64_t now_ms = loop_mono_ms(s->loop);

	if (!has_changes(s) || s->shutting_down)
		return false;
	if (s->pace_ms > now_ms) {
		loop_timer_start(s->pace_timer, s->pace_ms - now_ms, 0);
		return true;
	}
	s->pace_ms = MAX(s->pace_ms + PACE_MS,
	        now_ms > PACE_BURST * PACE_MS ? now_ms - (PACE_BURST - 1) * PACE_MS : 0);
	return false;
}

void batch_pace(void *server)
{
	loop_wake(((struct server *)server)->loop);
}

void batch_turn_end(void *server)
{
	struct server *s = server;

	if (s->stopped)
		return;
	if (s->world->plan_wanted)
		plan(s);
	recorder_flush(s->recorder);
	links_flush(s);
	if (s->in_flight || (!has_changes(s) && !s->gathering->n_calls) || is_paced(s))
		return;
	s->in_flight = s->gathering;
	s->gathering = batch_new(s);
	seal(s, s->in_flight);
	if (s->in_flight->n_rows == 0) {
		/* Nothing to keep; what waits was only waiting for its turn. */
		struct batch *b = s->in_flight;
		s->in_flight = NULL;
		release(s, b);
		batch_free(b);
		links_flush(s);
		return;
	}
	s->in_flight->seq = ++s->seq;
	hand_over(s);
}
