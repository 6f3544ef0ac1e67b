#include "agent/mps_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "plat/clock.h"
#include "plat/fs.h"
#include "plat/log.h"

#define FIND_MS 5000 /* in which somebody must be there to be asked */
#define END_MS  5000 /* from the word to SIGKILL, and between those */
#define KILLS   4    /* then nobody waits for its end any more */
#define LOOK_MS 250

static void on_event(void *daemon, int events);

void mps_place_at(const char *dir, struct mps_place *ret)
{
	snprintf(ret->pipes, sizeof(ret->pipes), "%s/pipe", dir);
	snprintf(ret->logs, sizeof(ret->logs), "%s/log", dir);
}

/* The table */

static struct daemon *find(const struct mps *m, const char *uuid)
{
	for (uint32_t i = 0; i < m->n; i++)
		if (strcmp(m->daemons[i].uuid, uuid) == 0)
			return (struct daemon *)(uintptr_t)&m->daemons[i];
	return NULL;
}

static struct daemon *next_free(struct mps *m)
{
	struct daemon *d = &m->daemons[m->n];

	*d = (struct daemon){.of = m, .number = m->n, .fd = -1};
	snprintf(d->dir, sizeof(d->dir), "%s/%u", m->root, m->n);
	return d;
}

/* Which device this number is, and whose daemon it has: for the next agent. A number is a device's for as long as the data directory is there. */
static int write_down(const struct daemon *d, struct err *err)
{
	char path[MPS_PATH], text[sizeof(d->uuid) + sizeof(d->account) + 2];
	int n = snprintf(text, sizeof(text), "%s\n%s", d->uuid, d->account), rc;

	/* Accounts pass through it to their own. */
	rc = fs_mkdir_p(d->dir, 0711, err);
	snprintf(path, sizeof(path), "%s/device", d->dir);
	return rc == 0 ? fs_write_atomic(path, text, (size_t)n, 0600, err) : rc;
}

static bool read_back(struct daemon *d)
{
	CLEANUP_BUF struct buf text = BUF_INIT(sizeof(d->uuid) + sizeof(d->account) + 2);
	char path[MPS_PATH];
	const char *at;
	struct err err;

	snprintf(path, sizeof(path), "%s/device", d->dir);
	if (fs_read(path, &text, &err) < 0)
		return false;
	at = buf_str(&text);
	snprintf(d->uuid, sizeof(d->uuid), "%.*s", (int)strcspn(at, "\n"), at);
	at += strcspn(at, "\n");
	snprintf(d->account, sizeof(d->account), "%s", *at ? at + 1 : "");
	return true;
}

/* States */

/* Of one that is waited for: the descriptor, -1: none yet, and how long. */
static void wait_for(struct daemon *d, enum daemon_state state, uint64_t patience_ms)
{
	d->state = state;
	d->until_ms = clock_mono_ms() + patience_ms;
	if (!loop_timer_is_running(d->of->timer))
		loop_timer_start(d->of->timer, LOOK_MS, LOOK_MS);
}

static void let_go(struct daemon *d)
{
	loop_poll_free(d->poll);
	d->poll = NULL;
	if (d->fd >= 0)
		close(d->fd);
	d->fd = -1;
}

/* The descriptor becomes the daemon's. */
static int watch(struct daemon *d, int take_fd, struct err *err)
{
	d->fd = take_fd;
	return loop_poll_new(d->of->o.loop, d->fd, LOOP_READ, on_event, d, &d->poll, err);
}

static void tell_outcome(struct daemon *d, const struct err *why)
{
	d->of->o.on_outcome(d->of->o.data, d->uuid, d->account, why);
}

static void set_down(struct daemon *d)
{
	let_go(d);
	d->state = DAEMON_DOWN;
}

static int set_up(struct daemon *d, int take_fd, struct err *err)
{
	int rc;

	let_go(d);
	rc = watch(d, take_fd, err);
	if (rc == 0)
		d->state = DAEMON_UP;
	return rc;
}

/* Of FINDING and STARTING. That nothing was found is no failure: it may be started. */
static void on_answer(struct daemon *d, bool is_late)
{
	bool is_start = d->state == DAEMON_STARTING;
	struct err err;
	int fd, rc = d->of->way->take(d, is_late, &fd, &err);

	if (rc == 0)
		rc = set_up(d, fd, &err);
	if (rc == 0)
		log_info(is_start ? "mps.start" : "mps.found",
		        "device=%s account=\"%s\" pipes=\"%s\"", d->uuid, d->account,
		        d->place.pipes);
	else
		set_down(d);
	tell_outcome(d, rc < 0 && is_start ? &err : NULL);
}

static void on_gone(struct daemon *d)
{
	bool was_told = d->state == DAEMON_ENDING;

	set_down(d);
	if (was_told) {
		d->of->way->clean(d);
		log_info("mps.end", "device=%s account=\"%s\"", d->uuid, d->account);
		tell_outcome(d, NULL);
		return;
	}
	log_error("mps.died", "device=%s account=\"%s\" logs=\"%s\"", d->uuid, d->account,
	        d->place.logs);
	d->of->o.on_death(d->of->o.data, d->uuid);
}

static bool is_running(const struct daemon *d)
{
	return d->state == DAEMON_UP || d->state == DAEMON_ENDING;
}

static void on_event(void *daemon, int events)
{
	struct daemon *d = daemon;

	if (is_running(d))
		on_gone(d);
	else
		on_answer(d, false);
}

/* What an earlier agent left. Whoever is to be asked may not be there yet: then a moment later. */
static void look_for(struct daemon *d)
{
	struct err err;
	int fd, rc = d->of->way->find(d, &fd, &err);

	if (rc == 0)
		rc = set_up(d, fd, &err);
	else if (rc > 0)
		rc = watch(d, fd, &err);
	else if (rc == -(int)ERR_UNAVAILABLE)
		return;
	if (rc < 0)
		set_down(d);
	if (d->state == DAEMON_UP)
		log_info("mps.found", "device=%s account=\"%s\"", d->uuid, d->account);
}

static void be_patient(struct daemon *d)
{
	bool is_over = clock_mono_ms() >= d->until_ms;

	if (d->state == DAEMON_ENDING && is_over && d->n_kills == KILLS) {
		log_error("mps.stays", "device=%s account=\"%s\"", d->uuid, d->account);
		set_down(d);
		tell_outcome(d, NULL);
	} else if (d->state == DAEMON_ENDING && is_over) {
		d->until_ms += END_MS;
		d->n_kills++;
		d->of->way->kill(d);
	} else if (d->state != DAEMON_ENDING && is_over) {
		on_answer(d, true);
	} else if (d->state == DAEMON_FINDING && d->fd < 0) {
		look_for(d);
	}
}

static void on_timer(void *mps)
{
	struct mps *m = mps;
	bool is_any = false;

	for (uint32_t i = 0; i < m->n; i++) {
		struct daemon *d = &m->daemons[i];

		if (d->state != DAEMON_DOWN && d->state != DAEMON_UP)
			be_patient(d);
		is_any |= d->state != DAEMON_DOWN && d->state != DAEMON_UP;
	}
	if (!is_any)
		loop_timer_stop(m->timer);
}

/* Life */

/* Those that are numbered, up to the first that is not there. */
static void find_daemons(struct mps *m)
{
	while (m->n < ARRAY_LEN(m->daemons)) {
		struct daemon *d = next_free(m);

		if (!read_back(d))
			return;
		m->n++;
		wait_for(d, DAEMON_FINDING, FIND_MS);
		look_for(d);
	}
}

int mps_new(const struct mps_options *o, struct mps **ret_mps, struct err *err)
{
	struct mps *m;

	if (strlen(o->data_dir) + sizeof("/run/mps") > sizeof(m->root))
		return err_set(err, ERR_INVALID, "'%s' is too long", o->data_dir);
	m = mem_zalloc(sizeof(*m));
	m->o = *o;
	m->way = o->helper ? &mps_asked : &mps_own;
	m->program = o->program ? mem_strdup(o->program) : NULL;
	m->helper = o->helper ? mem_strdup(o->helper) : NULL;
	snprintf(m->root, sizeof(m->root), "%s/run/mps", o->data_dir);
	m->timer = loop_timer_new(o->loop, on_timer, m);
	find_daemons(m);
	*ret_mps = m;
	return 0;
}

/* One that is just being started, or found, is not waited for. */
static void end_all(struct mps *m)
{
	uint64_t until_ms = clock_mono_ms() + MPS_LEAVE_MS;

	for (uint32_t i = 0; i < m->n; i++)
		if (is_running(&m->daemons[i]))
			m->way->tell(&m->daemons[i]);
	for (uint32_t i = 0; i < m->n; i++) {
		struct daemon *d = &m->daemons[i];
		uint64_t now_ms = clock_mono_ms(), left_ms = until_ms - MIN(until_ms, now_ms);

		if (d->state == DAEMON_DOWN)
			continue;
		if (!is_running(d)) {
			let_go(d);
			m->way->kill(d);
		} else if (background_is_gone_within(d->fd, left_ms)) {
			m->way->clean(d);
		} else {
			m->way->kill(d);
			(void)!background_is_gone_within(d->fd, MPS_DEAD_MS);
		}
	}
}

void mps_free(struct mps *m, bool is_over)
{
	if (!m)
		return;
	if (is_over)
		end_all(m);
	for (uint32_t i = 0; i < m->n; i++)
		let_go(&m->daemons[i]);
	loop_timer_free(m->timer);
	free(m->program);
	free(m->helper);
	free(m);
}

/* Commands */

static const char *account_of(const struct mps *m, const struct mps_client *c)
{
	return m->helper ? c->user : "";
}

/* Of one that runs; where none does, or not for long, nobody has it. */
static int check_account(
        const struct mps *m, const struct daemon *d, const struct mps_client *c, struct err *err)
{
	if (!mps_serves(m, c->user))
		return err_set(err, ERR_FORBIDDEN,
		        "MPS holds it for another account, and can for none of '%s'", c->user);
	if (!d || d->state != DAEMON_UP || strcmp(d->account, account_of(m, c)) == 0)
		return 0;
	return err_set(err, ERR_CONFLICT,
	        "MPS serves one account on a device at a time, and now jobs of '%s'", d->account);
}

static int start(struct daemon *d, const struct mps_client *c, struct err *err)
{
	int fd, rc;

	snprintf(d->account, sizeof(d->account), "%s", account_of(d->of, c));
	rc = write_down(d, err);
	if (rc == 0)
		rc = d->of->way->start(d, &fd, err);
	if (rc < 0)
		return rc;
	rc = watch(d, fd, err);
	if (rc < 0) {
		let_go(d);
		return rc;
	}
	wait_for(d, DAEMON_STARTING, d->of->way->start_ms);
	return 1;
}

int mps_need(struct mps *m, const struct mps_client *c, struct err *err)
{
	struct daemon *d = find(m, c->uuid);
	int rc = check_account(m, d, c, err);

	if (rc < 0 || (d && d->state != DAEMON_DOWN))
		return rc < 0 ? rc : d->state != DAEMON_UP;
	if (!d && m->n == ARRAY_LEN(m->daemons))
		return err_set(err, ERR_LIMIT, "there are too many devices");
	if (!d) {
		d = next_free(m);
		snprintf(d->uuid, sizeof(d->uuid), "%s", c->uuid);
		m->n++;
	}
	return start(d, c, err);
}

static void end(struct daemon *d)
{
	if (d->state != DAEMON_UP)
		return;
	wait_for(d, DAEMON_ENDING, END_MS);
	d->n_kills = 0;
	d->of->way->tell(d);
}

void mps_end(struct mps *m, const char *uuid)
{
	struct daemon *d = find(m, uuid);

	if (d)
		end(d);
}

void mps_sweep(struct mps *m, bool (*is_wanted)(void *data, const char *uuid), void *data)
{
	for (uint32_t i = 0; i < m->n; i++)
		if (!is_wanted(data, m->daemons[i].uuid))
			end(&m->daemons[i]);
}

/* Queries */

int mps_find(const struct mps *m, const struct mps_client *c, struct mps_place *ret_place,
        struct err *err)
{
	const struct daemon *d = find(m, c->uuid);
	int rc = check_account(m, d, c, err);

	if (rc < 0)
		return rc;
	if (!d || d->state != DAEMON_UP)
		return err_set(err, ERR_UNAVAILABLE, "its MPS daemon does not run");
	*ret_place = d->place;
	return 0;
}

bool mps_is_alive(const struct mps *m, const char *uuid)
{
	const struct daemon *d = find(m, uuid);

	return d && d->state == DAEMON_UP;
}

bool mps_is_settled(const struct mps *m)
{
	for (uint32_t i = 0; i < m->n; i++)
		if (m->daemons[i].state == DAEMON_FINDING)
			return false;
	return true;
}

bool mps_serves(const struct mps *m, const char *user)
{
	bool is_roots = strcmp(user, "root") == 0 || strcmp(user, "0") == 0;

	return m->helper ? !is_roots : !m->o.is_root || is_roots;
}

bool mps_find_program(char ret_path[MPS_PATH])
{
	const char *at = getenv("PATH");

	for (size_t len; at && *at; at += len + (at[len] == ':')) {
		len = strcspn(at, ":");
		if (len &&
		        snprintf(ret_path, MPS_PATH, "%.*s/" MPS_PROGRAM, (int)MIN(len, MPS_PATH),
		                at) < MPS_PATH &&
		        access(ret_path, X_OK) == 0)
			return true;
	}
	return false;
}
