#include "agent/attempts.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <talloc.h>

#include "base/mem.h"
#include "plat/cgroup.h"
#include "plat/clock.h"
#include "plat/log.h"

#define BURST 4

TAILQ_HEAD(attempt_list, known_attempt);

struct attempts {
	struct attempts_options o;
	struct engine *engine;
	struct known_attempt *by_epoch;
	struct attempt_list lists[ATTEMPT_STATES];
	uint32_t counts[ATTEMPT_STATES];
	uint32_t burst;
	struct engine_holds holds; /* its string is ours */
	/* In engine_prepare, which reports of others: the last of the queue, and not to be started yet. */
	const struct known_attempt *preparing;
	bool is_shutdown;
	uint32_t said_not_held; /* enum spool_hold */
};

/* Attempts */

static void set_state(struct attempts *at, struct known_attempt *a, enum attempt_state state)
{
	TAILQ_REMOVE(&at->lists[a->state], a, link);
	at->counts[a->state]--;
	a->state = state;
	TAILQ_INSERT_TAIL(&at->lists[state], a, link);
	at->counts[state]++;
}

static struct known_attempt *add_attempt(
        struct attempts *at, uint64_t epoch, struct job_id id, uint32_t n, enum attempt_state state)
{
	struct known_attempt *a = mem_zalloc(sizeof(*a));

	a->epoch = epoch;
	a->id = id;
	a->n = n;
	a->state = state;
	HASH_ADD(hh, at->by_epoch, epoch, sizeof(a->epoch), a);
	TAILQ_INSERT_TAIL(&at->lists[state], a, link);
	at->counts[state]++;
	return a;
}

static void free_attempt(struct attempts *at, struct known_attempt *a)
{
	TAILQ_REMOVE(&at->lists[a->state], a, link);
	at->counts[a->state]--;
	HASH_DEL(at->by_epoch, a);
	free(a->slices);
	free(a->ended);
	free(a->note);
	free(a);
}

static void keep_slices(struct known_attempt *a, const struct link_start *m)
{
	a->slices_known = true;
	a->n_slices = m->n_slices;
	if (m->n_slices)
		a->slices = mem_dup(m->slices, m->n_slices * sizeof(*m->slices));
}

/* Its end */

static void tell_started(struct attempts *at, const struct known_attempt *a)
{
	struct spool_record r = {
	        .kind = SPOOL_STARTED,
	        .job = a->id.num,
	        .task = a->id.task,
	        .attempt = a->n,
	        .epoch = a->epoch,
	        .wall_ms = a->started_ms,
	        .keeper_pid = a->root_pid,
	        .pid = a->pid,
	        .held = a->held,
	        .not_held = a->not_held,
	};

	link_put_record(outbox_buf(at->o.outbox), &r);
}

static void tell_note(struct attempts *at, const struct known_attempt *a)
{
	struct link_note n = {
	        .id = a->id, .epoch = a->epoch, .text = a->note, .cause = a->note_cause};

	link_put_note(outbox_buf(at->o.outbox), &n);
}

static void tell_ended(struct attempts *at, const struct known_attempt *a)
{
	struct spool_record r;
	struct err err;

	BUG_IF(spool_decode(a->ended, a->ended_len, &r, &err) <= 0);
	if (!r.text[0] && a->note)
		snprintf(r.text, sizeof(r.text), "%s", a->note);
	link_put_record(outbox_buf(at->o.outbox), &r);
}

static bool is_over(const struct known_attempt *a)
{
	return a->state == ATTEMPT_ENDED || a->state == ATTEMPT_TOLD;
}

static void set_ended(struct attempts *at, struct known_attempt *a, const struct spool_record *r)
{
	struct buf b = BUF_INIT(SPOOL_RECORD_MAX);

	spool_encode(r, &b);
	free(a->ended);
	a->ended = b.data;
	a->ended_len = b.len;
	set_state(at, a, ATTEMPT_ENDED);
	log_debug("attempt.end", "epoch=%llu job=%llu task=%lld cause=%d status=0x%x text=\"%s\"",
	        (unsigned long long)a->epoch, (unsigned long long)a->id.num, (long long)a->id.task,
	        (int)r->cause, (unsigned)r->wait_status, r->text);
	if (at->o.on_ended)
		at->o.on_ended(at->o.data, a);
	else
		attempts_tell_end(at, a);
}

/* An end that no engine reports, because none ever had it. */
static void end_here(
        struct attempts *at, struct known_attempt *a, enum spool_cause cause, const struct err *why)
{
	struct spool_record r = {
	        .kind = SPOOL_ENDED,
	        .job = a->id.num,
	        .task = a->id.task,
	        .attempt = a->n,
	        .epoch = a->epoch,
	        .wall_ms = clock_wall_ms(),
	        .cause = cause,
	        .wait_status = cause == SPOOL_SETUP_FAILED ? 125 << 8 : SIGTERM,
	        .no_disk = cause == SPOOL_SETUP_FAILED && err_is_no_disk(why),
	};

	snprintf(r.text, sizeof(r.text), "%s", why->text);
	set_ended(at, a, &r);
}

void attempts_tell_end(struct attempts *at, struct known_attempt *a)
{
	if (a->state != ATTEMPT_ENDED)
		return;
	set_state(at, a, ATTEMPT_TOLD);
	tell_ended(at, a);
}

/* Starts as many as may start at the same moment; the rest a moment later, when one of them was heard of. */
static void pump(struct attempts *at)
{
	struct known_attempt *a;
	struct err err;

	while (!at->is_shutdown && at->counts[ATTEMPT_STARTING] < at->burst * at->o.cores &&
	        (a = TAILQ_FIRST(&at->lists[ATTEMPT_QUEUED])) != NULL && a != at->preparing) {
		set_state(at, a, ATTEMPT_STARTING);
		if (engine_start(at->engine, a->epoch, &err) < 0)
			end_here(at, a, SPOOL_SETUP_FAILED, &err);
	}
}

/* What the engine reports */

static struct known_attempt *attempt_of(struct attempts *at, const struct spool_record *r)
{
	struct known_attempt *a = attempts_find(at, r->epoch);

	return a ? a
	         : add_attempt(at, r->epoch, (struct job_id){.num = r->job, .task = r->task},
	                   r->attempt, ATTEMPT_LIVING);
}

static void signal_engine(
        struct attempts *at, const struct known_attempt *a, enum spool_cause cause, bool force)
{
	struct engine_signal s = {.id = a->id, .epoch = a->epoch, .cause = cause, .force = force};
	struct err err;

	if (engine_signal(at->engine, &s, &err) < 0)
		log_error("attempt.signal", "epoch=%llu error=\"%s\"", (unsigned long long)a->epoch,
		        err.text);
}

/* What this machine cannot hold, once. */
static void say_not_held(struct attempts *at, uint32_t not_held)
{
	char names[96];

	if (!(not_held & ~at->said_not_held))
		return;
	at->said_not_held |= not_held;
	log_warn("attempt.not_held", "what=\"%s\"", cgroup_names(not_held, names));
}

void attempts_on_started(struct attempts *at, const struct spool_record *r)
{
	struct known_attempt *a = attempt_of(at, r);

	a->root_pid = r->keeper_pid;
	a->pid = r->pid;
	a->started_ms = r->wall_ms;
	a->held = r->held;
	a->not_held = r->not_held;
	if (is_over(a)) {
		/* The server was told that it never began. */
		log_warn("attempt.late", "epoch=%llu", (unsigned long long)a->epoch);
		signal_engine(at, a, SPOOL_STOPPED, true);
		return;
	}
	say_not_held(at, r->not_held);
	if (a->state != ATTEMPT_LIVING)
		set_state(at, a, ATTEMPT_LIVING);
	tell_started(at, a);
	pump(at);
}

void attempts_on_ended(struct attempts *at, const struct spool_record *r, bool with_machine)
{
	struct known_attempt *a = attempt_of(at, r);

	/* One end is enough. */
	if (is_over(a))
		return;
	a->was_rebooted = with_machine;
	set_ended(at, a, r);
	pump(at);
}

/* What the server says */

void attempts_start(struct attempts *at, const struct link_start *m, const void *blob,
        size_t blob_len, bool again)
{
	struct known_attempt *a = attempts_find(at, m->epoch);
	struct engine_request r = {
	        .start = m,
	        .env = blob,
	        .env_len = blob_len,
	        .grace_ms = at->o.grace_ms,
	        .output_max = at->o.output_max,
	        .holds = &at->holds,
	        .again = again,
	};
	struct engine_devices devices;
	struct err err;

	if (a) {
		if (a->state == ATTEMPT_TOLD)
			tell_ended(at, a);
		return;
	}
	if (at->o.files_of && at->o.files_of(at->o.data, m, &devices))
		r.devices = &devices;
	a = add_attempt(at, m->epoch, m->id, m->attempt, ATTEMPT_QUEUED);
	keep_slices(a, m);
	at->preparing = a;
	if (at->is_shutdown) {
		err_fill(&err, ERR_UNAVAILABLE, "Berth is being taken down here");
		end_here(at, a, SPOOL_SHUTDOWN, &err);
	} else if (m->n_slices && at->o.hold && at->o.hold(at->o.data, m, &r, &err) < 0) {
		end_here(at, a, SPOOL_SETUP_FAILED, &err);
	} else if (engine_prepare(at->engine, &r, &err) < 0 && a->state == ATTEMPT_QUEUED) {
		/* In another state: what is there already was reported meanwhile. */
		end_here(at, a, SPOOL_SETUP_FAILED, &err);
	}
	at->preparing = NULL;
	pump(at);
}

void attempts_look(struct attempts *at, uint64_t epoch)
{
	void *ctx = talloc_new(NULL);
	struct engine_state ignored;
	struct err err;

	(void)!engine_inspect(at->engine, ctx, epoch, &ignored, &err);
	talloc_free(ctx);
}

void attempts_end(struct attempts *at, struct known_attempt *a, enum spool_cause cause, bool force)
{
	if (!is_over(a))
		signal_engine(at, a, cause, force);
}

void attempts_stop(struct attempts *at, const struct link_stop *m)
{
	struct known_attempt *a = attempts_find(at, m->epoch);

	/* It may be on its way from an earlier agent: the engine knows, or will find out. */
	if (!a)
		a = add_attempt(at, m->epoch, m->id, 0, ATTEMPT_STARTING);
	if (a->state == ATTEMPT_TOLD)
		tell_ended(at, a);
	else
		attempts_end(at, a, m->cause, m->force);
	pump(at);
}

void attempts_ack(struct attempts *at, uint64_t epoch)
{
	struct known_attempt *a = attempts_find(at, epoch);
	struct err err;

	if (!a || a->state != ATTEMPT_TOLD)
		return;
	/* Where it never had it, or is ending what came too late, there is nothing to forget yet. */
	(void)!engine_clean(at->engine, epoch, &err);
	free_attempt(at, a);
}

void attempts_set_burst(struct attempts *at, uint32_t per_core)
{
	at->burst = per_core ? per_core : BURST;
	pump(at);
}

void attempts_set_limits(struct attempts *at, uint64_t grace_ms, uint64_t output_max)
{
	at->o.grace_ms = grace_ms;
	at->o.output_max = output_max;
}

void attempts_set_holds(struct attempts *at, const struct engine_holds *h)
{
	free(at->holds.group_parent);
	at->holds = *h;
	at->holds.group_parent =
	        h->group_parent && *h->group_parent ? mem_strdup(h->group_parent) : NULL;
}

void attempts_shutdown(struct attempts *at)
{
	at->is_shutdown = true;
	/* By the table: a report moves attempts between the lists, and frees none. */
	for (struct known_attempt *a = at->by_epoch; a; a = a->hh.next)
		attempts_end(at, a, SPOOL_SHUTDOWN, false);
}

void attempts_use(
        struct attempts *at, const struct known_attempt *a, struct slice_record *v, uint32_t n)
{
	struct link_use m = {.id = a->id, .epoch = a->epoch, .slices = v, .n_slices = n};

	link_put_use(outbox_buf(at->o.outbox), &m);
}

void attempts_note(
        struct attempts *at, struct known_attempt *a, enum spool_cause cause, const char *text)
{
	bool is_news = !a->note || a->note_cause != cause;

	if (a->note && a->note_cause == SPOOL_GPU_AROUND && is_news)
		return;
	free(a->note);
	a->note = mem_strdup(text);
	a->note_cause = cause;
	if (is_news)
		tell_note(at, a);
}

void attempts_find_slices(struct attempts *at, struct known_attempt *a)
{
	void *ctx;
	struct engine_state s;
	struct err err;

	if (a->slices_known)
		return;
	ctx = talloc_new(NULL);
	if (engine_inspect(at->engine, ctx, a->epoch, &s, &err) == 0 && s.slices_known &&
	        !a->slices_known) {
		a->slices_known = true;
		a->n_slices = s.n_slices;
		if (s.n_slices)
			a->slices = mem_dup(s.slices, s.n_slices * sizeof(*s.slices));
	}
	talloc_free(ctx);
}

void attempts_resend(struct attempts *at)
{
	struct known_attempt *a;

	TAILQ_FOREACH (a, &at->lists[ATTEMPT_LIVING], link) {
		if (a->started_ms)
			tell_started(at, a);
		if (a->note)
			tell_note(at, a);
	}
	TAILQ_FOREACH (a, &at->lists[ATTEMPT_TOLD], link)
		tell_ended(at, a);
}

/* Life and queries */

struct attempts *attempts_new(const struct attempts_options *o)
{
	struct attempts *at = mem_zalloc(sizeof(*at));

	at->o = *o;
	at->burst = BURST;
	for (size_t i = 0; i < ATTEMPT_STATES; i++)
		TAILQ_INIT(&at->lists[i]);
	return at;
}

void attempts_free(struct attempts *at)
{
	struct known_attempt *a, *next;

	if (!at)
		return;
	HASH_ITER (hh, at->by_epoch, a, next)
		free_attempt(at, a);
	free(at->holds.group_parent);
	free(at);
}

void attempts_set_engine(struct attempts *at, struct engine *e)
{
	at->engine = e;
}

struct known_attempt *attempts_find(const struct attempts *at, uint64_t epoch)
{
	struct known_attempt *a;

	HASH_FIND(hh, at->by_epoch, &epoch, sizeof(epoch), a);
	return a;
}

struct known_attempt *attempts_first(const struct attempts *at, enum attempt_state state)
{
	return TAILQ_FIRST(&at->lists[state]);
}

uint32_t attempts_count(const struct attempts *at, enum attempt_state state)
{
	return at->counts[state];
}

void attempts_list(const struct attempts *at, void *ctx, struct link_attempt **ret, uint32_t *ret_n)
{
	struct link_attempt *list =
	        talloc_array(ctx, struct link_attempt, HASH_COUNT(at->by_epoch) + 1);
	uint32_t n = 0;

	BUG_IF(!list);
	for (const struct known_attempt *a = at->by_epoch; a; a = a->hh.next)
		list[n++] = (struct link_attempt){
		        .id = a->id,
		        .epoch = a->epoch,
		        .attempt = a->n,
		        .phase = a->state == ATTEMPT_TOLD && !a->was_rebooted ? LINK_ENDED_UNACKED
		                                                              : LINK_LIVING,
		};
	*ret = list;
	*ret_n = n;
}
