#include "engine/host_priv.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "plat/clock.h"

#define QUIET_ROTATE \
	(256 * KIB) /* a spool of this size is left behind when nothing is in it any more */

/* The table */

void host_set_state(struct host *h, struct host_attempt *a, enum host_state state)
{
	TAILQ_REMOVE(&h->lists[a->state], a, link);
	h->counts[a->state]--;
	a->state = state;
	TAILQ_INSERT_TAIL(&h->lists[state], a, link);
	h->counts[state]++;
}

struct host_attempt *host_add(
        struct host *h, uint64_t epoch, struct job_id id, uint32_t n, enum host_state state)
{
	struct host_attempt *a = mem_zalloc(sizeof(*a));

	a->epoch = epoch;
	a->id = id;
	a->n = n;
	a->state = state;
	HASH_ADD(hh, h->by_epoch, epoch, sizeof(a->epoch), a);
	TAILQ_INSERT_TAIL(&h->lists[state], a, link);
	h->counts[state]++;
	return a;
}

struct host_attempt *host_find(const struct host *h, uint64_t epoch)
{
	struct host_attempt *a;

	HASH_FIND(hh, h->by_epoch, &epoch, sizeof(epoch), a);
	return a;
}

void host_hold_file(struct host *h, struct host_attempt *a, uint32_t file)
{
	uint32_t before = a->file;

	if (file == before)
		return;
	if (file)
		spools_hold(h->spools, file);
	a->file = file;
	if (before)
		spools_release(h->spools, before);
}

static void drop_launch(struct host_attempt *a)
{
	free(a->launch);
	a->launch = NULL;
	a->launch_len = 0;
}

void host_forget(struct host *h, struct host_attempt *a)
{
	TAILQ_REMOVE(&h->lists[a->state], a, link);
	h->counts[a->state]--;
	HASH_DEL(h->by_epoch, a);
	drop_launch(a);
	free(a);
}

/* Its end */

/* The report may clean it: nobody looks at it afterwards. */
static void set_ended(
        struct host *h, struct host_attempt *a, const struct spool_record *r, bool with_machine)
{
	drop_launch(a);
	host_set_state(h, a, HOST_ENDED);
	h->o.on_ended(h->o.data, r, with_machine);
}

static struct spool_record unwritten_end(
        const struct host_attempt *a, enum spool_cause cause, const char *text)
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
	return r;
}

void host_end_without_keeper(
        struct host *h, struct host_attempt *a, enum spool_cause cause, const char *text)
{
	struct spool_record r = unwritten_end(a, cause, text);

	set_ended(h, a, &r, false);
}

void host_end_with_machine(struct host *h)
{
	struct host_attempt *a, *next;

	TAILQ_FOREACH_SAFE (a, &h->lists[HOST_LIVING], link, next) {
		struct spool_record r =
		        unwritten_end(a, SPOOL_KEEPER_KILLED, "the machine was restarted");

		set_ended(h, a, &r, true);
	}
}

void host_end(struct host *h, struct host_attempt *a, enum spool_cause cause, bool force)
{
	if (a->stop_wanted && (a->stop_force || !force))
		return;
	if (!a->stop_wanted)
		a->stop_cause = cause;
	a->stop_wanted = true;
	a->stop_force = force;
	if (a->state == HOST_PREPARED || a->state == HOST_WAITING)
		host_end_without_keeper(h, a, cause, "it had not begun yet");
	else
		host_send_stop(h, a);
}

/* What the spool says */

static struct host_attempt *attempt_of(struct host *h, const struct spool_record *r, uint32_t file)
{
	struct host_attempt *a = host_find(h, r->epoch);

	if (!a)
		a = host_add(h, r->epoch, (struct job_id){.num = r->job, .task = r->task},
		        r->attempt, HOST_LIVING);
	host_hold_file(h, a, file);
	return a;
}

static void take_started(struct host *h, const struct spool_record *r, uint32_t file)
{
	struct host_attempt *a = attempt_of(h, r, file);

	a->keeper_pid = r->keeper_pid;
	a->pid = r->pid;
	a->started_ms = r->wall_ms;
	if (a->state == HOST_ENDED) {
		/* It was reported that it never began, or whoever asked was told to forget it. */
		host_news(h, LOG_WARN, "attempt.late", "epoch=%llu", (unsigned long long)a->epoch);
		host_end(h, a, SPOOL_STOPPED, true);
		return;
	}
	if (a->state != HOST_LIVING)
		host_set_state(h, a, HOST_LIVING);
	a->since_ms = 0;
	h->o.on_started(h->o.data, r);
}

static void take_ended(struct host *h, const struct spool_record *r, uint32_t file)
{
	struct host_attempt *a = attempt_of(h, r, file);

	/* One end is enough; a second is that of an attempt that was given up too early, or was swept. */
	if (a->state != HOST_ENDED)
		set_ended(h, a, r, false);
}

static void on_record(void *data, const struct spool_record *r, uint32_t file)
{
	if (r->kind == SPOOL_STARTED)
		take_started(data, r, file);
	else if (r->kind == SPOOL_ENDED)
		take_ended(data, r, file);
}

static void rotate(struct host *h)
{
	struct err err;

	if (spools_rotate(h->spools, &err) < 0) {
		host_news(h, LOG_ERROR, "spool.rotate", "error=\"%s\"", err.text);
		return;
	}
	host_news(h, LOG_INFO, "spool.rotate", "file=\"%s\"",
	        spools_path(h->spools, spools_current(h->spools)));
	host_send_rotate(h);
}

void host_rotate_quiet(struct host *h)
{
	if (!h->by_epoch && spools_size(h->spools) >= QUIET_ROTATE)
		rotate(h);
}

void host_read(struct host *h)
{
	uint64_t damaged = spools_damaged_bytes(h->spools);
	struct err err;

	if (h->is_reading)
		return;
	h->is_reading = true;
	if (spools_read(h->spools, on_record, h, &err) < 0)
		host_news(h, LOG_ERROR, "spool.read", "error=\"%s\"", err.text);
	h->is_reading = false;
	if (spools_damaged_bytes(h->spools) != damaged)
		host_news(h, LOG_WARN, "spool.damaged", "bytes=%llu",
		        (unsigned long long)(spools_damaged_bytes(h->spools) - damaged));
	if (spools_size(h->spools) >= SPOOLS_FILE_MAX)
		rotate(h);
	host_pump(h);
}
