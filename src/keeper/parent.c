#include "keeper/parent.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "keeper/attempt.h"
#include "keeper/children.h"
#include "keeper/held.h"
#include "keeper/limits.h"
#include "keeper/report.h"
#include "keeper/rights.h"
#include "keeper/spawn.h"
#include "keeper/sweep.h"
#include "keeper/workdir.h"
#include "plat/log.h"
#include "plat/proc.h"
#include "plat/usock.h"

/*
 * DESIGN. This process stays small, because each keeper begins as a copy of it. It keeps nothing on disk: a successor
 * finds living keepers by their locks, and is told by the agent what to sweep. Room in the spool is set aside before
 * starts, so that on a full disk records of what runs already still have theirs.
 *
 * struct parent lies in memory that children do not get, and forks are bare ones (there are no threads whose locks a
 * child would have to put right): what is not touched is not copied, and costs neither side a fault.
 */
enum {
	CONNS = 16,
	READ_BYTES = 1 << 15,
	KEEP_BYTES = 1 << 16,    /* a connection's memory beyond this is given back */
	RECORDS_BYTES = 1 << 10, /* STARTED and ENDED of one attempt, at most */
	STARTS_AHEAD = 256,
	FORK_AGAIN_MS = 100,
};

#define NOBODY ((pid_t)-1)

struct conn {
	int fd;
	struct buf in;
};

struct parent {
	const struct keeper_base *base;
	const struct parent_options *o;
	struct children children;
	struct spool_name *spool;
	unsigned starts_left; /* for which there is room in the spool */
	struct conn conns[CONNS];
	size_t n_conns;
	size_t n_unforked; /* sweeps that found no room for a process; they stand in the table with pid NOBODY */
	bool is_over;
	uint8_t chunk[READ_BYTES];
};

/* In a forked process: nothing of the parent stays but what keeper.h names. */
static void leave_parent(void)
{
	close_range(FD_PRIVATE, ~0u, 0);
#ifndef __SANITIZE_ADDRESS__
	dup2(FD_NULL, 2);
#endif
}

static void set_room_aside(struct parent *p)
{
	struct stat st;

	if (p->starts_left-- > 0)
		return;
	p->starts_left = STARTS_AHEAD;
	if (fstat(FD_SPOOL, &st) == 0 &&
	        fallocate(FD_SPOOL, FALLOC_FL_KEEP_SIZE, st.st_size,
	                (off_t)(p->children.n + STARTS_AHEAD) * RECORDS_BYTES) < 0 &&
	        errno != EOPNOTSUPP)
		log_warn("keeper.spool", "path=\"%s\" error=\"%s\"", p->spool->path,
		        strerror(errno));
}

static void start_keeper(struct parent *p, struct launch *l)
{
	struct attempt_id id = {
	        .job = l->job, .task = l->task, .attempt = l->attempt, .epoch = l->epoch};
	const struct keeper_base *base = p->base;
	bool is_exec = l->kind == LAUNCH_EXEC;
	char mark[SPAWN_MARK];
	unsigned group = is_exec ? LIMITS_NONE : limits_pool_number(base->pool, l);
	struct err err;
	pid_t pid;

	set_room_aside(p);
	spawn_mark(base, l, mark);
	driver_look(base->driver, l);
	pid = _Fork();
	if (pid == 0) {
		leave_parent();
		attempt_run(base, l, group);
	}
	if (pid > 0) {
		children_add(&p->children, pid, is_exec ? CHILD_EXEC : CHILD_ATTEMPT, l, p->spool)
		        ->group = group;
		return;
	}
	limits_pool_free_number(base->pool, group);
	if (err_sys(&err, errno, "starting a keeper"))
		log_error("keeper.fork", "epoch=%ju error=\"%s\"", (uintmax_t)l->epoch, err.text);
	if (!is_exec)
		report_failure(&id, SPOOL_SETUP_FAILED, 125, &err);
}

static pid_t fork_sweep(
        struct parent *p, const struct launch *l, enum sweep_what what, unsigned tries)
{
	const struct keeper_base *base = p->base;
	pid_t pid = _Fork();

	if (pid == 0) {
		leave_parent();
		sweep_run(base, l, what, tries);
	}
	if (pid < 0)
		log_error("keeper.fork", "epoch=%ju error=\"%s\"", (uintmax_t)l->epoch,
		        strerror(errno));
	return pid;
}

/* The sweep after a child of ours that was killed. */
static void sweep_after(struct parent *p, struct child *c)
{
	bool is_exec = c->role == CHILD_EXEC || c->role == CHILD_SWEEP_ORPHANS;
	struct launch l = c->workdir ? *c->workdir : (struct launch){0};
	pid_t pid;

	l.job = c->id.job;
	l.task = c->id.task;
	l.attempt = c->id.attempt;
	l.epoch = c->id.epoch;
	l.path = c->spool->path;
	l.stop_cause = c->cause;
	pid = fork_sweep(p, &l, is_exec ? SWEEP_ORPHANS : SWEEP_ATTEMPT, c->tries++);
	p->n_unforked += pid < 0;
	children_move(&p->children, c, pid, is_exec ? CHILD_SWEEP_ORPHANS : CHILD_SWEEP);
}

static void on_sweep(struct parent *p, const struct launch *l)
{
	struct spool_name *other = l->path ? spool_name_new(l->path) : NULL;

	/* Ours that live need none, and ours that died are swept already. */
	if (!children_find_epoch(&p->children, l->epoch))
		sweep_after(p, children_add(&p->children, NOBODY, CHILD_SWEEP, l,
		                       other ? other : p->spool));
	if (other)
		spool_name_drop(other);
}

static void sweep_again(struct parent *p)
{
	struct child *c;

	for (size_t n = p->n_unforked; n > 0 && (c = children_find(&p->children, NOBODY)); n--) {
		p->n_unforked--;
		sweep_after(p, c);
	}
}

/* What hangs before its command has begun does not hear the signal. c: of a keeper of ours, else NULL. */
static void end_held(struct child *c, const struct launch *l, pid_t keeper, pid_t child)
{
	if (child) {
		kill(child, SIGKILL);
	} else if (!report_has_begun(l->epoch) && held_alone(keeper)) {
		if (c)
			c->cause = l->stop_cause;
		kill(keeper, SIGKILL);
	}
}

/* The process behind the lock counts; a keeper of ours that is not yet so far takes the signal later. */
static void on_stop(struct parent *p, const struct launch *l)
{
	int value = (int)(l->stop_cause & 0xff) | (l->force ? STOP_FORCE : 0), spool = FD_SPOOL, fd;
	struct child *c = children_find_epoch(&p->children, l->epoch);
	const char *path = l->path ? l->path : c ? c->spool->path : NULL;
	pid_t keeper, child;

	if (path && strcmp(path, p->spool->path) != 0) {
		rights_as_server(p->base);
		spool = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
		rights_back(p->base);
	}
	fd = spool < 0 ? -1 : proc_byte_owner_fd(spool, l->epoch);
	keeper = fd < 0 ? 0 : proc_byte_owner(spool, l->epoch);
	child = keeper ? held_child(keeper) : 0;
	value |= child ? STOP_HELD : 0;
	if (fd >= 0)
		proc_fd_signal(fd, STOP_SIGNAL, value);
	else if (c && c->role == CHILD_ATTEMPT)
		sigqueue(c->pid, STOP_SIGNAL, (union sigval){.sival_int = value});
	if (keeper && (!c || c->role == CHILD_ATTEMPT))
		end_held(c, l, keeper, child);
	if (fd >= 0)
		close(fd);
	if (spool >= 0 && spool != FD_SPOOL)
		close(spool);
}

static void on_rotate(struct parent *p, const struct launch *l)
{
	int fd = -1;

	if (l->path && *l->path == '/') {
		rights_as_server(p->base);
		fd = open(l->path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		rights_back(p->base);
	}
	if (fd < 0) {
		log_error("keeper.rotate", "path=\"%s\" error=\"%s\"", l->path ? l->path : "",
		        strerror(errno));
		return;
	}
	dup3(fd, FD_SPOOL, O_CLOEXEC);
	close(fd);
	spool_name_drop(p->spool);
	p->spool = spool_name_new(l->path);
	p->starts_left = 0;
}

static void carry_out(struct parent *p, struct launch *l)
{
	if (l->kind != LAUNCH_ROTATE && (l->epoch == 0 || l->epoch > SPOOL_EPOCH_MAX)) {
		log_error("keeper.message", "job=%ju epoch=%ju error=\"no such epoch\"",
		        (uintmax_t)l->job, (uintmax_t)l->epoch);
		return;
	}
	switch (l->kind) {
	case LAUNCH_START:
	case LAUNCH_EXEC:
		start_keeper(p, l);
		break;
	case LAUNCH_STOP:
		on_stop(p, l);
		break;
	case LAUNCH_SWEEP:
		on_sweep(p, l);
		break;
	case LAUNCH_ROTATE:
		on_rotate(p, l);
		break;
	case LAUNCH_FORGET:
	case LAUNCH_OPEN:
	case LAUNCH_DOOR:
	case LAUNCH_MPS_START:
	case LAUNCH_MPS_FIND:
	case LAUNCH_MPS_END:
		break;
	}
}

static void forget(struct parent *p, struct child *c)
{
	limits_pool_free_number(p->base->pool, c->group);
	children_remove(&p->children, c);
}

/* What a keeper has no right to remove, where this process is root. */
static void remove_workdir(struct parent *p, struct child *c)
{
	const struct keeper_base *base = p->base;
	pid_t pid = _Fork();

	if (pid == 0) {
		leave_parent();
		workdir_remove(base, c->workdir);
		_exit(KEEPER_DONE);
	}
	if (pid > 0)
		children_move(&p->children, c, pid, CHILD_REMOVE);
	else
		forget(p, c);
}

static void on_gone(struct parent *p, struct child *c, int status)
{
	int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;

	if (code == KEEPER_DONE_WORKDIR && c->workdir) {
		remove_workdir(p, c);
	} else if (code == KEEPER_DONE || c->role == CHILD_REMOVE) {
		forget(p, c);
	} else {
		log_warn("keeper.killed", "job=%ju epoch=%ju pid=%d status=%d",
		        (uintmax_t)c->id.job, (uintmax_t)c->id.epoch, (int)c->pid, status);
		sweep_after(p, c);
	}
}

static void on_signals(struct parent *p)
{
	struct signalfd_siginfo infos[8];
	ssize_t n = read(FD_SIGNAL, infos, sizeof(infos));
	int status;
	pid_t pid;

	for (size_t i = 0; n > 0 && i < (size_t)n / sizeof(*infos); i++)
		p->is_over |= infos[i].ssi_signo == SIGTERM;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		struct child *c = children_find(&p->children, pid);

		/* Others are orphans of a keeper that was killed. */
		if (c)
			on_gone(p, c, status);
	}
}

static uint32_t get_u32(const uint8_t *b)
{
	return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

/* Carries out what is whole; the bytes that were used, or negative when the peer speaks nonsense. */
static ssize_t take_messages(struct parent *p, const uint8_t *data, size_t n, struct err *err)
{
	size_t used = 0, len;
	struct launch l;
	int rc;

	while (n - used >= 4) {
		len = get_u32(data + used);
		if (len > LAUNCH_MAX)
			return err_set(err, ERR_TOO_LARGE, "a message of %zu bytes", len);
		if (n - used < 4 + len)
			break;
		rc = launch_decode(data + used + 4, len, &l, err);
		if (rc < 0)
			return rc;
		used += 4 + len;
		carry_out(p, &l);
		launch_done(&l);
	}
	return (ssize_t)used;
}

static void close_conn(struct parent *p, size_t i)
{
	close(p->conns[i].fd);
	buf_done(&p->conns[i].in);
	p->conns[i] = p->conns[--p->n_conns];
}

/* Messages that come whole are taken where they are read; only what is cut goes to the connection's own memory. */
static int take_bytes(struct parent *p, struct buf *in, size_t n, struct err *err)
{
	const uint8_t *data = p->chunk;
	ssize_t used;

	if (in->len) {
		buf_add(in, p->chunk, n);
		data = in->data;
		n = in->len;
	}
	used = take_messages(p, data, n, err);
	if (used < 0)
		return (int)used;
	if (in->len)
		buf_consume(in, (size_t)used);
	else
		buf_add(in, data + used, n - (size_t)used);
	if (in->len == 0 && in->cap > KEEP_BYTES)
		buf_done(in);
	return 0;
}

static void on_readable(struct parent *p, size_t i)
{
	struct conn *c = &p->conns[i];
	ssize_t n = recv(c->fd, p->chunk, sizeof(p->chunk), MSG_DONTWAIT);
	struct err err;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0 && take_bytes(p, &c->in, (size_t)n, &err) == 0)
		return;
	if (n > 0)
		log_error("keeper.message", "error=\"%s\"", err.text);
	close_conn(p, i);
}

static bool is_allowed(const struct parent *p, uid_t uid)
{
	for (size_t i = 0; i < p->o->n_allowed_uids; i++)
		if (uid == p->o->allowed_uids[i])
			return true;
	return uid == 0 || uid == getuid();
}

static void accept_one(struct parent *p)
{
	int fd = accept4(p->o->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	uid_t uid = (uid_t)-1;
	pid_t pid;

	if (fd < 0)
		return;
	if (!usock_peer(fd, &uid, &pid) || !is_allowed(p, uid)) {
		log_warn("keeper.stranger", "uid=%u", (unsigned)uid);
		close(fd);
		return;
	}
	p->conns[p->n_conns++] =
	        (struct conn){.fd = fd, .in = BUF_INIT(LAUNCH_MAX + 4 + READ_BYTES)};
}

static void turn(struct parent *p)
{
	struct pollfd fds[2 + CONNS];
	size_t n_conns = p->n_conns;

	fds[0] = (struct pollfd){.fd = FD_SIGNAL, .events = POLLIN};
	fds[1] = (struct pollfd){.fd = n_conns < CONNS ? p->o->listen_fd : -1, .events = POLLIN};
	for (size_t i = 0; i < n_conns; i++)
		fds[2 + i] = (struct pollfd){.fd = p->conns[i].fd, .events = POLLIN};
	if (poll(fds, 2 + n_conns, p->n_unforked ? FORK_AGAIN_MS : -1) < 0)
		return;
	sweep_again(p);
	/* From the last to the first: closing one moves the last into its place. */
	for (size_t i = n_conns; i-- > 0;)
		if (fds[2 + i].revents)
			on_readable(p, i);
	if (fds[1].revents)
		accept_one(p);
	if (fds[0].revents)
		on_signals(p);
}

void parent_run(const struct keeper_base *base, const struct parent_options *o)
{
	struct parent *p =
	        mmap(NULL, sizeof(*p), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	BUG_IF(p == MAP_FAILED || madvise(p, sizeof(*p), MADV_DONTFORK) < 0);
	p->base = base;
	p->o = o;
	p->spool = spool_name_new(o->spool_path);
	while (!p->is_over)
		turn(p);
	children_done(&p->children);
	spool_name_drop(p->spool);
	while (p->n_conns)
		close_conn(p, p->n_conns - 1);
	munmap(p, sizeof(*p));
}
