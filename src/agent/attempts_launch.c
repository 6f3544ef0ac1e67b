#include "agent/attempts_priv.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "plat/clock.h"
#include "plat/log.h"

#define LOOK_MS     500
#define SILENCE_MS  10000 /* a START that nothing was heard of is sent again; so is a sweep */
#define STRANGER_MS 1000  /* an attempt to be stopped that nobody knows never began */

bool attempts_send(struct attempts *at, const struct known_attempt *a, struct launch *message)
{
	message->job = a->id.num;
	message->task = a->id.task;
	message->attempt = a->n;
	message->epoch = a->epoch;
	message->path = a->file ? (char *)(uintptr_t)spools_path(at->o.spools, a->file) : NULL;
	return at->launcher && launcher_send(at->launcher, message) != 0;
}

void attempts_send_stop(struct attempts *at, struct known_attempt *a)
{
	struct launch l = {
	        .kind = LAUNCH_STOP,
	        .force = a->stop_force,
	        .stop_cause = (uint32_t)a->stop_cause,
	};

	/* Not taken: said again when the launcher is there. */
	(void)!attempts_send(at, a, &l);
}

static void send_sweep(struct attempts *at, struct known_attempt *a, uint64_t now_ms)
{
	struct launch l = {.kind = LAUNCH_SWEEP};

	log_warn("attempt.sweep", "epoch=%llu keeper=%u", (unsigned long long)a->epoch,
	        a->keeper_pid);
	if (attempts_send(at, a, &l))
		a->since_ms = now_ms;
}

void attempts_send_rotate(struct attempts *at)
{
	uint32_t file = spools_current(at->o.spools);
	struct launch l = {
	        .kind = LAUNCH_ROTATE,
	        .path = (char *)(uintptr_t)spools_path(at->o.spools, file),
	};

	(void)!launcher_send(at->launcher, &l);
}

/* The same START, marked: it may have been carried out already. */
static bool mark_again(struct known_attempt *a)
{
	struct buf b = BUF_INIT(LAUNCH_MAX + 4);
	struct launch l;
	struct err err;

	if (launch_decode(a->launch + 4, a->launch_len - 4, &l, &err) < 0)
		return false;
	l.again = true;
	launch_encode(&l, &b);
	launch_done(&l);
	if (b.overflow) {
		buf_done(&b);
		return false;
	}
	free(a->launch);
	a->launch = b.data;
	a->launch_len = b.len;
	return true;
}

static bool send_start(struct attempts *at, struct known_attempt *a, uint64_t now_ms)
{
	a->place = launcher_send_bytes(at->launcher, a->launch, a->launch_len);
	if (!a->place)
		return false;
	a->since_ms = now_ms;
	a->in_doubt = false;
	attempts_hold_file(at, a, spools_current(at->o.spools));
	if (a->state == ATTEMPT_QUEUED)
		attempts_set_state(at, a, ATTEMPT_STARTING);
	return true;
}

void attempts_pump(struct attempts *at)
{
	struct known_attempt *a;

	if (!at->launcher || !launcher_is_up(at->launcher))
		return;
	while (at->counts[ATTEMPT_STARTING] < at->burst * at->o.cores &&
	        (a = TAILQ_FIRST(&at->lists[ATTEMPT_QUEUED])) != NULL) {
		if (!send_start(at, a, clock_mono_ms()))
			break;
	}
	if (at->counts[ATTEMPT_STARTING] + at->counts[ATTEMPT_LIVING] > 0) {
		if (!loop_timer_is_running(at->look))
			loop_timer_start(at->look, LOOK_MS, LOOK_MS);
	} else {
		loop_timer_stop(at->look);
	}
}

/* Those that nothing is heard of */

/* Epochs of a list whose byte nobody holds; freed by the caller. */
static uint64_t *find_silent(
        struct attempts *at, enum attempt_state state, uint64_t now_ms, size_t *ret_n)
{
	uint64_t *epochs = mem_realloc(NULL, at->counts[state] + 1, sizeof(*epochs));
	struct known_attempt *a;
	size_t n = 0;

	TAILQ_FOREACH (a, &at->lists[state], link) {
		uint64_t patience = state == ATTEMPT_LIVING ? SILENCE_MS
		                    : a->launch             ? SILENCE_MS
		                                            : STRANGER_MS;
		bool is_due = a->in_doubt || (state == ATTEMPT_LIVING && a->since_ms == 0) ||
		              now_ms - a->since_ms >= patience;

		if (is_due && spools_holder(at->o.spools, a->epoch) == 0)
			epochs[n++] = a->epoch;
	}
	*ret_n = n;
	return epochs;
}

static void rescue_start(struct attempts *at, struct known_attempt *a, uint64_t now_ms)
{
	if (!a->launch) {
		attempts_end_without_keeper(at, a, a->stop_cause, "it never began here");
		return;
	}
	if (!mark_again(a)) {
		attempts_end_without_keeper(
		        at, a, SPOOL_SETUP_FAILED, "its start could not be repeated");
		return;
	}
	log_warn("attempt.again", "epoch=%llu", (unsigned long long)a->epoch);
	if (send_start(at, a, now_ms) && a->stop_wanted)
		attempts_send_stop(at, a);
}

void attempts_look(struct attempts *at, uint64_t now_ms)
{
	size_t n_starting, n_living;
	uint64_t *starting, *living;

	if (!at->launcher || !launcher_is_up(at->launcher))
		return;
	starting = find_silent(at, ATTEMPT_STARTING, now_ms, &n_starting);
	living = find_silent(at, ATTEMPT_LIVING, now_ms, &n_living);
	/* Whoever ended properly wrote that before the byte was free. */
	if (n_starting || n_living)
		attempts_read(at);
	for (size_t i = 0; i < n_starting; i++) {
		struct known_attempt *a = attempts_find(at, starting[i]);

		if (a && a->state == ATTEMPT_STARTING)
			rescue_start(at, a, now_ms);
	}
	for (size_t i = 0; i < n_living; i++) {
		struct known_attempt *a = attempts_find(at, living[i]);

		if (a && a->state == ATTEMPT_LIVING)
			send_sweep(at, a, now_ms);
	}
	free(starting);
	free(living);
	attempts_pump(at);
}

void attempts_on_look(void *data)
{
	attempts_look(data, clock_mono_ms());
}

/* The launcher */

void attempts_set_launcher(struct attempts *at, struct launcher *l)
{
	at->launcher = l;
}

void attempts_on_launcher_up(struct attempts *at)
{
	struct known_attempt *a;

	attempts_send_rotate(at);
	TAILQ_FOREACH (a, &at->lists[ATTEMPT_LIVING], link)
		if (a->stop_wanted)
			attempts_send_stop(at, a);
	TAILQ_FOREACH (a, &at->lists[ATTEMPT_STARTING], link)
		if (a->stop_wanted)
			attempts_send_stop(at, a);
	attempts_look(at, clock_mono_ms());
	attempts_pump(at);
}

void attempts_on_launcher_down(struct attempts *at)
{
	struct known_attempt *a, *next;

	/* Backwards, so that the queue keeps its order. */
	TAILQ_FOREACH_REVERSE_SAFE(a, &at->lists[ATTEMPT_STARTING], attempt_list, link, next)
	{
		a->in_doubt = true;
		if (!a->launch || launcher_is_sent(at->launcher, a->place))
			continue;
		a->in_doubt = false;
		attempts_hold_file(at, a, 0);
		attempts_set_state(at, a, ATTEMPT_QUEUED);
		TAILQ_REMOVE(&at->lists[ATTEMPT_QUEUED], a, link);
		TAILQ_INSERT_HEAD(&at->lists[ATTEMPT_QUEUED], a, link);
	}
	TAILQ_FOREACH (a, &at->lists[ATTEMPT_LIVING], link)
		a->since_ms = 0;
}
