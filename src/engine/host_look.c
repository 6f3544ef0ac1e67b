#include "engine/host_priv.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <talloc.h>
#include <unistd.h>

#include "base/mem.h"
#include "engine/paths.h"
#include "plat/clock.h"

#define LOOK_MS     500
#define SILENCE_MS  10000 /* a START that nothing was heard of is sent again; so is a sweep */
#define STRANGER_MS 1000  /* an attempt to be stopped that nobody knows is swept */

bool host_send(struct host *h, const struct host_attempt *a, struct launch *message)
{
	message->job = a->id.num;
	message->task = a->id.task;
	message->attempt = a->n;
	message->epoch = a->epoch;
	message->path = a->file ? (char *)(uintptr_t)spools_path(h->spools, a->file) : NULL;
	return launcher_send(h->launcher, message) != 0;
}

void host_send_stop(struct host *h, struct host_attempt *a)
{
	struct launch l = {
	        .kind = LAUNCH_STOP,
	        .force = a->stop_force,
	        .stop_cause = (uint32_t)a->stop_cause,
	};

	/* Not taken: said again when the launcher is there. */
	(void)!host_send(h, a, &l);
}

/* Its directory, where it had one of its own: its owner is the account, also when nobody here has started it. */
static void add_directory(
        struct host *h, const struct host_attempt *a, void *ctx, uint64_t now_ms, struct launch *l)
{
	char *dir = paths_work_dir(ctx, h->o.data_dir, a->id, a->n);
	const struct account *account;
	struct stat st;
	struct err err;

	if (lstat(dir, &st) < 0 || !S_ISDIR(st.st_mode))
		return;
	/* Not given away yet, and so empty. */
	if (h->prepare.has_accounts && st.st_uid == h->prepare.uid && rmdir(dir) == 0)
		return;
	if (prepare_account(ctx, &h->prepare, NULL, st.st_uid, now_ms, l, &account, &err) < 0) {
		host_news(h, LOG_WARN, "attempt.directory", "path=\"%s\" error=\"%s\"", dir,
		        err.text);
		return;
	}
	l->make_cwd = true;
	l->cwd = dir;
}

static bool send_sweep(
        struct host *h, struct host_attempt *a, enum spool_cause cause, uint64_t now_ms)
{
	struct launch l = {.kind = LAUNCH_SWEEP, .stop_cause = (uint32_t)cause};
	void *ctx = talloc_new(NULL);
	bool is_sent;

	add_directory(h, a, ctx, now_ms, &l);
	is_sent = host_send(h, a, &l);
	if (is_sent)
		a->since_ms = now_ms;
	talloc_free(ctx);
	return is_sent;
}

/*
 * Root's keepers have no right to it: their parent removes it; one that came after him does not know of it. Everybody
 * knows the end by now, so that the spool that is named, which never is, stops the sweep from telling one.
 */
static bool send_left(struct host *h, const struct host_left *left)
{
	struct host_attempt gone = {.id = left->id, .n = left->n, .epoch = left->epoch};
	struct launch l = {.kind = LAUNCH_SWEEP,
	        .job = left->id.num,
	        .task = left->id.task,
	        .attempt = left->n,
	        .epoch = left->epoch};
	void *ctx = talloc_new(NULL);
	bool is_done = true;

	l.path = talloc_asprintf(ctx, "%s/spool/none", h->o.data_dir);
	add_directory(h, &gone, ctx, clock_mono_ms(), &l);
	if (l.make_cwd)
		is_done = launcher_send(h->launcher, &l) != 0;
	talloc_free(ctx);
	return is_done;
}

void host_sweep_directory(struct host *h, const struct host_attempt *a)
{
	struct host_left left = {a->id, a->n, a->epoch};

	if (!h->prepare.has_accounts || send_left(h, &left))
		return;
	MEM_GROW(h->left, h->n_left, h->cap_left);
	h->left[h->n_left++] = left;
}

static void send_all_left(struct host *h)
{
	size_t kept = 0;

	for (size_t i = 0; i < h->n_left; i++)
		if (!send_left(h, &h->left[i]))
			h->left[kept++] = h->left[i];
	h->n_left = kept;
}

/* Of one whose keeper is gone without a word. */
static void sweep_lost(struct host *h, struct host_attempt *a, uint64_t now_ms)
{
	if (a->is_lost) {
		host_news(h, LOG_WARN, "attempt.sweep", "epoch=%llu", (unsigned long long)a->epoch);
	} else {
		a->is_lost = true;
		h->o.on_lost(h->o.data, a->epoch);
	}
	(void)send_sweep(h, a, SPOOL_KEEPER_KILLED, now_ms);
}

void host_send_rotate(struct host *h)
{
	uint32_t file = spools_current(h->spools);
	struct launch l = {
	        .kind = LAUNCH_ROTATE,
	        .path = (char *)(uintptr_t)spools_path(h->spools, file),
	};

	(void)!launcher_send(h->launcher, &l);
}

/* The same START, marked: it may have been carried out already. */
static bool mark_again(struct host_attempt *a)
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

static bool send_start(struct host *h, struct host_attempt *a, uint64_t now_ms)
{
	a->place = launcher_send_bytes(h->launcher, a->launch, a->launch_len);
	if (!a->place)
		return false;
	a->since_ms = now_ms;
	a->in_doubt = false;
	host_hold_file(h, a, spools_current(h->spools));
	if (a->state == HOST_WAITING)
		host_set_state(h, a, HOST_SENT);
	return true;
}

void host_pump(struct host *h)
{
	struct host_attempt *a;

	if (!launcher_is_up(h->launcher))
		return;
	while ((a = TAILQ_FIRST(&h->lists[HOST_WAITING])) != NULL) {
		if (!send_start(h, a, clock_mono_ms()))
			break;
	}
	if (h->counts[HOST_SENT] + h->counts[HOST_LIVING] > 0) {
		if (!loop_timer_is_running(h->look))
			loop_timer_start(h->look, LOOK_MS, LOOK_MS);
	} else {
		loop_timer_stop(h->look);
	}
}

/* Those that nothing is heard of */

/* Epochs of a list whose byte nobody holds; freed by the caller. */
static uint64_t *find_silent(struct host *h, enum host_state state, uint64_t now_ms, size_t *ret_n)
{
	uint64_t *epochs = mem_realloc(NULL, h->counts[state] + 1, sizeof(*epochs));
	struct host_attempt *a;
	size_t n = 0;

	TAILQ_FOREACH (a, &h->lists[state], link) {
		uint64_t patience =
		        state == HOST_SENT && !a->launch && !a->is_swept ? STRANGER_MS : SILENCE_MS;
		bool is_due = a->in_doubt || (state == HOST_LIVING && a->since_ms == 0) ||
		              now_ms - a->since_ms >= patience;

		if (is_due && spools_holder(h->spools, a->epoch) == 0)
			epochs[n++] = a->epoch;
	}
	*ret_n = n;
	return epochs;
}

static void rescue_start(struct host *h, struct host_attempt *a, uint64_t now_ms)
{
	/* What the spool has lost, or was cut off, may have left processes; a sweep writes the end that was asked for. */
	if (!a->launch && !a->is_swept && send_sweep(h, a, a->stop_cause, now_ms)) {
		a->is_swept = true;
		return;
	}
	if (!a->launch) {
		host_end_without_keeper(h, a, a->stop_cause, "it never began here");
		return;
	}
	if (!mark_again(a)) {
		host_end_without_keeper(
		        h, a, SPOOL_SETUP_FAILED, "its start could not be repeated");
		return;
	}
	host_news(h, LOG_WARN, "attempt.again", "epoch=%llu", (unsigned long long)a->epoch);
	if (send_start(h, a, now_ms) && a->stop_wanted)
		host_send_stop(h, a);
}

void host_look(struct host *h, uint64_t now_ms)
{
	size_t n_starting, n_living;
	uint64_t *starting, *living;

	if (!launcher_is_up(h->launcher))
		return;
	starting = find_silent(h, HOST_SENT, now_ms, &n_starting);
	living = find_silent(h, HOST_LIVING, now_ms, &n_living);
	/* Whoever ended properly wrote that before the byte was free. */
	if (n_starting || n_living)
		host_read(h);
	for (size_t i = 0; i < n_starting; i++) {
		struct host_attempt *a = host_find(h, starting[i]);

		if (a && a->state == HOST_SENT)
			rescue_start(h, a, now_ms);
	}
	for (size_t i = 0; i < n_living; i++) {
		struct host_attempt *a = host_find(h, living[i]);

		if (a && a->state == HOST_LIVING)
			sweep_lost(h, a, now_ms);
	}
	free(starting);
	free(living);
	host_pump(h);
}

void host_on_look(void *data)
{
	host_look(data, clock_mono_ms());
}

/* The launcher */

void host_on_launcher_up(void *data)
{
	struct host *h = data;
	struct host_attempt *a;

	host_send_rotate(h);
	TAILQ_FOREACH (a, &h->lists[HOST_LIVING], link)
		if (a->stop_wanted)
			host_send_stop(h, a);
	TAILQ_FOREACH (a, &h->lists[HOST_SENT], link)
		if (a->stop_wanted)
			host_send_stop(h, a);
	host_look(h, clock_mono_ms());
	send_all_left(h);
	host_pump(h);
}

void host_on_launcher_down(void *data)
{
	struct host *h = data;
	struct host_attempt *a, *next;

	/* Backwards, so that the queue keeps its order. */
	TAILQ_FOREACH_REVERSE_SAFE(a, &h->lists[HOST_SENT], host_list, link, next)
	{
		a->in_doubt = true;
		if (!a->launch || launcher_is_sent(h->launcher, a->place))
			continue;
		a->in_doubt = false;
		host_hold_file(h, a, 0);
		host_set_state(h, a, HOST_WAITING);
		TAILQ_REMOVE(&h->lists[HOST_WAITING], a, link);
		TAILQ_INSERT_HEAD(&h->lists[HOST_WAITING], a, link);
	}
	TAILQ_FOREACH (a, &h->lists[HOST_LIVING], link)
		a->since_ms = 0;
}
