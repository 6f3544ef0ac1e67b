#include "agent/attempts_priv.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "base/mem.h"
#include "plat/clock.h"
#include "plat/log.h"

#define QUIET_ROTATE \
	(256 * KIB) /* a spool of this size is left behind when nothing is in it any more */

/* Attempts */

void attempts_set_state(struct attempts *at, struct known_attempt *a, enum attempt_state state)
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

void attempts_hold_file(struct attempts *at, struct known_attempt *a, uint32_t file)
{
	uint32_t before = a->file;

	if (file == before)
		return;
	if (file)
		spools_hold(at->o.spools, file);
	a->file = file;
	if (before)
		spools_release(at->o.spools, before);
}

static void drop_launch(struct known_attempt *a)
{
	free(a->launch);
	a->launch = NULL;
	a->launch_len = 0;
}

static void free_attempt(struct attempts *at, struct known_attempt *a)
{
	TAILQ_REMOVE(&at->lists[a->state], a, link);
	at->counts[a->state]--;
	HASH_DEL(at->by_epoch, a);
	drop_launch(a);
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
	        .keeper_pid = a->keeper_pid,
	        .pid = a->pid,
	};

	link_put_record(outbox_buf(at->o.outbox), &r);
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

static void set_ended(struct attempts *at, struct known_attempt *a, const struct spool_record *r)
{
	struct buf b = BUF_INIT(SPOOL_RECORD_MAX);

	spool_encode(r, &b);
	free(a->ended);
	a->ended = b.data;
	a->ended_len = b.len;
	drop_launch(a);
	attempts_set_state(at, a, ATTEMPT_ENDED);
	log_debug("attempt.end", "epoch=%llu job=%llu task=%lld cause=%d status=0x%x text=\"%s\"",
	        (unsigned long long)a->epoch, (unsigned long long)a->id.num, (long long)a->id.task,
	        (int)r->cause, (unsigned)r->wait_status, r->text);
	if (at->o.on_ended)
		at->o.on_ended(at->o.data, a);
	else
		attempts_tell_end(at, a);
}

void attempts_end_without_keeper(
        struct attempts *at, struct known_attempt *a, enum spool_cause cause, const char *text)
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
	};

	snprintf(r.text, sizeof(r.text), "%s", text);
	set_ended(at, a, &r);
}

void attempts_tell_end(struct attempts *at, struct known_attempt *a)
{
	if (a->state != ATTEMPT_ENDED)
		return;
	attempts_set_state(at, a, ATTEMPT_TOLD);
	tell_ended(at, a);
}

/* What the spool says */

static void take_started(struct attempts *at, const struct spool_record *r, uint32_t file)
{
	struct known_attempt *a = attempts_find(at, r->epoch);

	if (!a)
		a = add_attempt(at, r->epoch, (struct job_id){.num = r->job, .task = r->task},
		        r->attempt, ATTEMPT_LIVING);
	attempts_hold_file(at, a, file);
	a->keeper_pid = r->keeper_pid;
	a->pid = r->pid;
	a->started_ms = r->wall_ms;
	if (a->state == ATTEMPT_ENDED || a->state == ATTEMPT_TOLD) {
		/* The server was told that it never began, or was told to forget it. */
		log_warn("attempt.late", "epoch=%llu", (unsigned long long)a->epoch);
		attempts_end(at, a, SPOOL_STOPPED, true);
		return;
	}
	if (a->state != ATTEMPT_LIVING)
		attempts_set_state(at, a, ATTEMPT_LIVING);
	a->since_ms = 0;
	tell_started(at, a);
}

static void take_ended(struct attempts *at, const struct spool_record *r, uint32_t file)
{
	struct known_attempt *a = attempts_find(at, r->epoch);

	if (!a)
		a = add_attempt(at, r->epoch, (struct job_id){.num = r->job, .task = r->task},
		        r->attempt, ATTEMPT_LIVING);
	attempts_hold_file(at, a, file);
	/* One end is enough; a second is that of an attempt that was given up too early, or was swept. */
	if (a->state != ATTEMPT_ENDED && a->state != ATTEMPT_TOLD)
		set_ended(at, a, r);
}

static void on_record(void *data, const struct spool_record *r, uint32_t file)
{
	if (r->kind == SPOOL_STARTED)
		take_started(data, r, file);
	else if (r->kind == SPOOL_ENDED)
		take_ended(data, r, file);
}

static void rotate(struct attempts *at)
{
	struct err err;

	if (spools_rotate(at->o.spools, &err) < 0) {
		log_error("spool.rotate", "error=\"%s\"", err.text);
		return;
	}
	log_info("spool.rotate", "file=\"%s\"",
	        spools_path(at->o.spools, spools_current(at->o.spools)));
	if (at->launcher && launcher_is_up(at->launcher))
		attempts_send_rotate(at);
}

void attempts_read(struct attempts *at)
{
	uint64_t damaged = spools_damaged_bytes(at->o.spools);
	struct err err;

	if (spools_read(at->o.spools, on_record, at, &err) < 0)
		log_error("spool.read", "error=\"%s\"", err.text);
	if (spools_damaged_bytes(at->o.spools) != damaged)
		log_warn("spool.damaged", "bytes=%llu",
		        (unsigned long long)(spools_damaged_bytes(at->o.spools) - damaged));
	if (spools_size(at->o.spools) >= SPOOLS_FILE_MAX)
		rotate(at);
	attempts_pump(at);
}

/* What the server says */

static bool start_new(struct attempts *at, const struct link_start *m, const void *blob,
        size_t blob_len, bool again, struct known_attempt *a, struct err *err)
{
	void *ctx = talloc_new(NULL);
	struct buf b = BUF_INIT(LAUNCH_MAX + 4);
	struct launch l;
	int rc = prepare_launch(ctx, at->o.prepare, m, blob, blob_len, clock_mono_ms(), &l, err);

	if (rc == 0) {
		l.again = again;
		launch_encode(&l, &b);
		if (b.overflow)
			rc = err_set(err, ERR_TOO_LARGE,
			        "command and environment are larger than %llu MiB",
			        (unsigned long long)(LAUNCH_MAX / MIB));
		a->has_console = l.console;
	}
	talloc_free(ctx);
	if (rc < 0) {
		buf_done(&b);
		return false;
	}
	a->launch = b.data;
	a->launch_len = b.len;
	return true;
}

void attempts_start(struct attempts *at, const struct link_start *m, const void *blob,
        size_t blob_len, bool again)
{
	struct known_attempt *a = attempts_find(at, m->epoch);
	struct err err;

	if (a) {
		if (a->state == ATTEMPT_TOLD)
			tell_ended(at, a);
		return;
	}
	a = add_attempt(at, m->epoch, m->id, m->attempt, ATTEMPT_QUEUED);
	keep_slices(a, m);
	if (at->is_shutdown)
		attempts_end_without_keeper(
		        at, a, SPOOL_SHUTDOWN, "Berth is being taken down here");
	else if (!start_new(at, m, blob, blob_len, again, a, &err))
		attempts_end_without_keeper(at, a, SPOOL_SETUP_FAILED, err.text);
	attempts_pump(at);
}

void attempts_end(struct attempts *at, struct known_attempt *a, enum spool_cause cause, bool force)
{
	if (a->stop_wanted && (a->stop_force || !force))
		return;
	if (!a->stop_wanted)
		a->stop_cause = cause;
	a->stop_wanted = true;
	a->stop_force = force;
	if (a->state == ATTEMPT_QUEUED)
		attempts_end_without_keeper(at, a, cause, "it had not begun yet");
	else
		attempts_send_stop(at, a);
}

void attempts_stop(struct attempts *at, const struct link_stop *m)
{
	struct known_attempt *a = attempts_find(at, m->epoch);

	if (!a) {
		/* Its START may still stand in the line of a connection that an earlier agent left behind. */
		a = add_attempt(at, m->epoch, m->id, 0, ATTEMPT_STARTING);
		a->since_ms = clock_mono_ms();
	}
	if (a->state == ATTEMPT_TOLD)
		tell_ended(at, a);
	else if (a->state != ATTEMPT_ENDED)
		attempts_end(at, a, m->cause, m->force);
	attempts_pump(at);
}

void attempts_ack(struct attempts *at, uint64_t epoch)
{
	struct known_attempt *a = attempts_find(at, epoch);

	if (!a || a->state != ATTEMPT_TOLD)
		return;
	attempts_hold_file(at, a, 0);
	free_attempt(at, a);
	if (!at->by_epoch && spools_size(at->o.spools) >= QUIET_ROTATE)
		rotate(at);
}

void attempts_set_burst(struct attempts *at, uint32_t per_core)
{
	at->burst = per_core ? per_core : ATTEMPTS_BURST;
	attempts_pump(at);
}

void attempts_shutdown(struct attempts *at)
{
	struct known_attempt *a, *next;

	at->is_shutdown = true;
	TAILQ_FOREACH_SAFE (a, &at->lists[ATTEMPT_QUEUED], link, next)
		attempts_end(at, a, SPOOL_SHUTDOWN, false);
	TAILQ_FOREACH (a, &at->lists[ATTEMPT_STARTING], link)
		attempts_end(at, a, SPOOL_SHUTDOWN, false);
	TAILQ_FOREACH (a, &at->lists[ATTEMPT_LIVING], link)
		attempts_end(at, a, SPOOL_SHUTDOWN, false);
}

void attempts_rebooted(struct attempts *at)
{
	struct known_attempt *a, *next;

	TAILQ_FOREACH_SAFE (a, &at->lists[ATTEMPT_LIVING], link, next) {
		a->was_rebooted = true;
		attempts_end_without_keeper(
		        at, a, SPOOL_KEEPER_KILLED, "the machine was restarted");
	}
}

void attempts_note(struct known_attempt *a, const char *text)
{
	free(a->note);
	a->note = mem_strdup(text);
}

void attempts_resend(struct attempts *at)
{
	struct known_attempt *a;

	TAILQ_FOREACH (a, &at->lists[ATTEMPT_LIVING], link)
		if (a->started_ms)
			tell_started(at, a);
	TAILQ_FOREACH (a, &at->lists[ATTEMPT_TOLD], link)
		tell_ended(at, a);
}

/* Life and queries */

struct attempts *attempts_new(const struct attempts_options *o)
{
	struct attempts *at = mem_zalloc(sizeof(*at));

	at->o = *o;
	at->burst = ATTEMPTS_BURST;
	at->look = loop_timer_new(o->loop, attempts_on_look, at);
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
	loop_timer_free(at->look);
	free(at);
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
