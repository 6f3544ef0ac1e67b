#include "keeper/sweep.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "keeper/limits.h"
#include "keeper/report.h"
#include "keeper/rights.h"
#include "keeper/workdir.h"
#include "plat/proc.h"

enum {
	STOP_ROUNDS = 64,
	LOCK_TRIES = 100,
	LOCK_WAIT_MS = 10,
	LOOK_AGAIN_MS = 5,
	TRY_AGAIN_MS = 100
};

struct sweep {
	const struct keeper_base *base;
	char mark[96]; /* empty: by descent only */
	pid_t session; /* ours: keepers and their parent */
};

static void pause_ms(long ms)
{
	struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	nanosleep(&ts, NULL);
}

static bool is_dead(const struct proc *p)
{
	return p->state == 'Z' || p->state == 'X';
}

/* A session without its leader counts by any member, one with a leader only by him. */
static bool is_in_session(const struct proc_list *all, const struct proc *p)
{
	const struct proc *leader = proc_list_find(all, p->sid);

	if (p->sid <= 0)
		return false;
	if (leader && !is_dead(leader))
		return leader->is_member && leader->sid == p->sid;
	for (size_t i = 0; i < all->n; i++)
		if (all->items[i].is_member && all->items[i].sid == p->sid)
			return true;
	return false;
}

static bool is_root_of(const struct sweep *s, const struct proc *p)
{
	return p->ppid == s->base->parent || (s->mark[0] && proc_env_has(p->pid, s->mark));
}

/* Marks the members; how many there are. */
static size_t choose(const struct sweep *s, struct proc_list *all)
{
	size_t n = 0;
	bool is_more = true;

	for (bool first = true; is_more; first = false) {
		is_more = false;
		for (size_t i = 0; i < all->n; i++) {
			struct proc *p = &all->items[i];
			const struct proc *parent = proc_list_find(all, p->ppid);

			if (p->is_member || is_dead(p) || p->sid == s->session || p->pid <= 1)
				continue;
			p->is_member = (first && is_root_of(s, p)) ||
			               (parent && parent->is_member) || is_in_session(all, p);
			is_more |= p->is_member;
			n += p->is_member;
		}
	}
	return n;
}

/* Stops members that were not members the last time; false when there was none. */
static bool stop_new(const struct proc_list *now, const struct proc_list *before)
{
	bool is_new = false;

	for (size_t i = 0; i < now->n; i++) {
		const struct proc *p = &now->items[i], *old;

		if (!p->is_member)
			continue;
		old = proc_list_find(before, p->pid);
		if (old && old->is_member)
			continue;
		is_new = true;
		kill(p->pid, SIGSTOP);
	}
	return is_new;
}

/* The number of processes that were killed; -1 when /proc cannot be read. */
static int stop_and_kill(const struct sweep *s)
{
	struct proc_list now = {0}, before = {0};
	bool is_new = true;
	int n = 0;

	for (size_t round = 0; is_new && round < STOP_ROUNDS; round++) {
		struct proc_list old = before;

		before = now;
		now = old;
		if (proc_list_all(&now) < 0) {
			n = -1;
			break;
		}
		n = (int)choose(s, &now);
		is_new = stop_new(&now, &before);
	}
	for (size_t i = 0; n > 0 && i < now.n; i++)
		if (now.items[i].is_member)
			kill(now.items[i].pid, SIGKILL);
	if (n >= 0)
		n += (int)limits_kill_orphans(s->base);
	proc_list_done(&now);
	proc_list_done(&before);
	return n;
}

/* A process in the middle of exec has no environment for a moment: so it must be quiet twice. */
static void kill_all(const struct sweep *s)
{
	for (unsigned quiet = 0, wait_ms = LOOK_AGAIN_MS; quiet < 2;) {
		int n = stop_and_kill(s);

		if (n < 0)
			_exit(1);
		quiet = n ? 0 : quiet + 1;
		wait_ms = n ? MIN(wait_ms * 2, 1000u) : LOOK_AGAIN_MS;
		pause_ms(wait_ms);
	}
}

/* The spool file of the attempt in place of the one in use. False: it is gone, as all of its attempts have their ENDED. */
static bool take_spool(const struct keeper_base *base, const char *path)
{
	int fd, sys;

	if (!path)
		return true;
	rights_as_server(base);
	fd = open(path, O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW);
	sys = errno;
	rights_back(base);
	if (fd < 0)
		return sys != ENOENT;
	dup2(fd, FD_SPOOL);
	close(fd);
	return true;
}

/* A start that is sent again may look into the spool under this lock for a moment; a keeper that lives keeps it. */
static bool lock(uint64_t epoch)
{
	struct err err;

	for (size_t i = 0; i < LOCK_TRIES; i++) {
		if (proc_byte_lock(FD_SPOOL, epoch, true, &err) == 0)
			return true;
		pause_ms(LOCK_WAIT_MS);
	}
	return false;
}

static void remove_directory(const struct keeper_base *base, const struct launch *l)
{
	if (l->make_cwd && l->cwd && (l->has_account || !base->is_root))
		workdir_remove(base, l);
}

NORETURN void sweep_locked(const struct keeper_base *base, const struct launch *l)
{
	struct attempt_id id = {
	        .job = l->job, .task = l->task, .attempt = l->attempt, .epoch = l->epoch};
	struct sweep s = {.base = base, .session = getsid(0)};
	bool is_started, is_ended;
	struct spool_record r;

	snprintf(s.mark, sizeof(s.mark), "%s%ju", base->mark, (uintmax_t)l->epoch);
	kill_all(&s);
	remove_directory(base, l);
	report_find(l->epoch, &is_started, &is_ended);
	if (!is_ended) {
		r = report_new(&id, SPOOL_ENDED);
		r.cause = l->stop_cause && l->stop_cause < SPOOL_CAUSE_MAX
		                  ? (enum spool_cause)l->stop_cause
		                  : SPOOL_KEEPER_KILLED;
		r.wait_status = SIGKILL;
		report_append(&r);
	}
	_exit(KEEPER_DONE);
}

NORETURN void sweep_run(const struct keeper_base *base, const struct launch *l,
        enum sweep_what what, unsigned tries)
{
	struct sweep orphans = {.base = base, .session = getsid(0)};

	pause_ms((long)MIN(tries, 50u) * TRY_AGAIN_MS);
	if (what == SWEEP_ORPHANS) {
		kill_all(&orphans);
		_exit(KEEPER_DONE);
	}
	if (!take_spool(base, l->path)) {
		remove_directory(base, l);
		_exit(KEEPER_DONE);
	}
	if (!lock(l->epoch))
		_exit(KEEPER_DONE);
	sweep_locked(base, l);
}
