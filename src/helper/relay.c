#include "helper/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "helper/door.h"
#include "helper/grants.h"
#include "helper/mps.h"
#include "helper/opener.h"
#include "plat/clock.h"
#include "plat/log.h"
#include "plat/usock.h"
#include "wire/spool.h"

/*
 * DESIGN. The agent tells the spool first, by a ROTATE; with that the parent is started, unless one lives already.
 * What the agent sends is forgotten only with its connection: when the parent's breaks, or a message is lost for want
 * of room, the agent's are closed, and it finds out by itself what became of its attempts (wire/launch.h).
 */
enum {
	CONNS = 8,
	READ_BYTES = 1 << 16,
	UNSENT_ENOUGH = 16 << 20, /* from here on the agent is not read */
	RETRY_MIN_MS = 2,
	RETRY_MAX_MS = 1000,
	CHILDREN_MS = 3000, /* for those that are at work when we end */
};

struct conn {
	int fd;
	struct buf in;
};

struct relay {
	const struct relay_options *o;
	char *parent_sock;
	char *spool;   /* NULL: not told yet */
	int parent_fd; /* -1: not connected */
	pid_t parent;  /* while it is our child */
	struct buf unsent;
	uint64_t retry_at_ms; /* clock_mono_ms */
	uint64_t retry_ms;
	struct openers openers;
	struct conn conns[CONNS];
	size_t n_conns;
	bool is_over;
};

static void close_conn(struct relay *r, size_t i)
{
	close(r->conns[i].fd);
	buf_done(&r->conns[i].in);
	r->conns[i] = r->conns[--r->n_conns];
}

static void lose_parent(struct relay *r, const char *why)
{
	log_warn("helper.parent_lost", "why=\"%s\"", why);
	close(r->parent_fd);
	r->parent_fd = -1;
	buf_reset(&r->unsent);
	while (r->n_conns)
		close_conn(r, r->n_conns - 1);
}

static void start_parent(struct relay *r)
{
	char uid[16], gid[16];
	char path[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin", *env[] = {path, NULL};
	const char *argv[] = {"berth", "keeper", "--data", r->o->data, "--spool", r->spool,
	        "--server-uid", uid, "--server-gid", gid, NULL};
	posix_spawnattr_t attr;
	sigset_t none;
	int rc;

	snprintf(uid, sizeof(uid), "%u", (unsigned)r->o->policy->server_uid);
	snprintf(gid, sizeof(gid), "%u", (unsigned)r->o->policy->server_gid);
	posix_spawnattr_init(&attr);
	sigemptyset(&none);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK);
	posix_spawnattr_setsigmask(&attr, &none);
	rc = posix_spawn(&r->parent, r->o->keeper, NULL, &attr, (char *const *)argv, env);
	posix_spawnattr_destroy(&attr);
	if (rc != 0) {
		r->parent = 0;
		log_error(
		        "helper.start", "program=\"%s\" error=\"%s\"", r->o->keeper, strerror(rc));
		return;
	}
	log_info("helper.start", "program=\"%s\" pid=%d", r->o->keeper, (int)r->parent);
}

/* Tries once; a parent that another helper started is as good as ours. Only root may be behind that socket. */
static void connect_parent(struct relay *r)
{
	uid_t uid = (uid_t)-1;
	struct err err;
	pid_t pid;
	int fd;

	if (usock_connect(r->parent_sock, &fd, &err) == 0) {
		if (usock_peer(fd, &uid, &pid) && uid == getuid()) {
			fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK);
			r->parent_fd = fd;
			r->retry_ms = RETRY_MIN_MS;
			log_info("helper.parent", "pid=%d", (int)pid);
			return;
		}
		log_error("helper.stranger", "socket=\"%s\" uid=%u", r->parent_sock, (unsigned)uid);
		close(fd);
	} else if (!r->parent) {
		start_parent(r);
	}
	r->retry_at_ms = clock_mono_ms() + r->retry_ms;
	r->retry_ms = MIN(r->retry_ms * 2, (uint64_t)RETRY_MAX_MS);
}

static void send_unsent(struct relay *r)
{
	while (r->unsent.len) {
		ssize_t n = send(r->parent_fd, r->unsent.data, r->unsent.len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0) {
			lose_parent(r, strerror(errno));
			return;
		}
		buf_consume(&r->unsent, (size_t)n);
	}
}

/* What must be told to whoever waits for it: an end for a start, a word on the console of an exec. */
static bool make_refusal(const struct policy *p, struct launch *l, const struct err *why)
{
	struct launch refusal = {
	        .kind = l->kind,
	        .job = l->job,
	        .task = l->task,
	        .attempt = l->attempt,
	        .epoch = l->epoch,
	        .again = l->again,
	        .console_id = l->console_id,
	        .refusal = why->text,
	};

	log_warn("helper.refused", "job=%ju epoch=%ju kind=%d user=\"%.64s\" why=\"%s\"",
	        (uintmax_t)l->job, (uintmax_t)l->epoch, (int)l->kind, l->user ? l->user : "",
	        why->text);
	if (l->epoch == 0 || l->epoch > SPOOL_EPOCH_MAX)
		return false;
	if (l->kind == LAUNCH_EXEC && policy_is_console(p, l->console_path))
		refusal.console_path = l->console_path;
	*l = refusal;
	return l->kind == LAUNCH_START || refusal.console_path;
}

/* By a child, with the rights of an account. */
static void answer_as_account(struct relay *r, int conn, struct launch *l)
{
	struct err err;

	if (policy_check(r->o->policy, l, clock_mono_ms(), &err) == 0) {
		if (l->kind == LAUNCH_OPEN)
			opener_begin(&r->openers, conn, l);
		else
			mps_begin(&r->openers, conn, r->o->policy, l);
		return;
	}
	log_warn("helper.refused", "job=%ju kind=%d user=\"%.64s\" why=\"%s\"", (uintmax_t)l->job,
	        (int)l->kind, l->user ? l->user : "", err.text);
	opener_refuse(conn, &err);
}

static void answer_door(const struct relay *r, int conn, gid_t gid)
{
	struct err err;

	if (door_give(r->o->data, r->o->policy->server_uid, gid, &err) == 0) {
		opener_accept(conn);
		return;
	}
	log_warn("helper.refused", "kind=%d gid=%u why=\"%s\"", (int)LAUNCH_DOOR, (unsigned)gid,
	        err.text);
	opener_refuse(conn, &err);
}

static void pass_on(struct relay *r, struct launch *l)
{
	struct launch out = *l;
	struct err err;

	if (policy_check(r->o->policy, &out, clock_mono_ms(), &err) < 0 &&
	        !make_refusal(r->o->policy, &out, &err))
		return;
	if (out.kind == LAUNCH_FORGET) {
		grants_forget(r->o->data, out.job);
		return;
	}
	if (out.kind == LAUNCH_ROTATE) {
		free(r->spool);
		r->spool = mem_strdup(out.path);
	}
	launch_encode(&out, &r->unsent);
}

static uint32_t get_u32(const uint8_t *b)
{
	return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

/* 1 when the connection has had its answer; negative when the peer speaks nonsense, or there is no room for what it says. */
static int take_messages(struct relay *r, struct conn *c, struct err *err)
{
	struct buf *in = &c->in;
	size_t used = 0, len;
	struct launch l;
	int rc = 0;

	while (in->len - used >= 4) {
		len = get_u32(in->data + used);
		if (len > LAUNCH_MAX)
			return err_set(err, ERR_TOO_LARGE, "a message of %zu bytes", len);
		if (in->len - used < 4 + len)
			break;
		rc = launch_decode(in->data + used + 4, len, &l, err);
		if (rc < 0)
			return rc;
		if (l.kind >= LAUNCH_OPEN) {
			if (l.kind == LAUNCH_DOOR)
				answer_door(r, c->fd, l.gid);
			else
				answer_as_account(r, c->fd, &l);
			launch_done(&l);
			return 1;
		}
		pass_on(r, &l);
		launch_done(&l);
		used += 4 + len;
		if (r->unsent.overflow)
			return err_set(err, ERR_LIMIT, "the keepers' parent takes nothing");
	}
	buf_consume(in, used);
	return rc;
}

static void on_readable(struct relay *r, size_t i)
{
	struct conn *c = &r->conns[i];
	uint8_t *room = buf_reserve(&c->in, READ_BYTES);
	ssize_t n = room ? recv(c->fd, room, READ_BYTES, MSG_DONTWAIT) : 0;
	struct err err;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0) {
		buf_commit(&c->in, (size_t)n);
		int rc = take_messages(r, c, &err);
		if (rc == 0)
			return;
		if (rc < 0)
			log_error("helper.message", "error=\"%s\"", err.text);
	}
	close_conn(r, i);
}

static void accept_one(struct relay *r)
{
	int fd = accept4(r->o->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	uid_t uid = (uid_t)-1;
	pid_t pid;

	if (fd < 0)
		return;
	if (!usock_peer(fd, &uid, &pid) || (uid != r->o->policy->server_uid && uid != 0)) {
		log_warn("helper.stranger", "uid=%u", (unsigned)uid);
		close(fd);
		return;
	}
	r->conns[r->n_conns++] =
	        (struct conn){.fd = fd, .in = BUF_INIT(LAUNCH_MAX + 4 + READ_BYTES)};
}

static void reap(struct relay *r)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (opener_reap(&r->openers, pid) || pid != r->parent)
			continue;
		log_warn("helper.parent_end", "pid=%d status=0x%x", (int)pid, (unsigned)status);
		r->parent = 0;
	}
}

static void on_signals(struct relay *r)
{
	struct signalfd_siginfo infos[8];
	ssize_t n = read(r->o->signal_fd, infos, sizeof(infos));

	for (size_t i = 0; n > 0 && i < (size_t)n / sizeof(*infos); i++)
		r->is_over |= infos[i].ssi_signo == SIGTERM;
	reap(r);
}

/* What the agent asked for last, to end a daemon, is done before Berth is down. */
static void wait_for_children(struct relay *r)
{
	struct pollfd p = {.fd = r->o->signal_fd, .events = POLLIN};
	uint64_t until_ms = clock_mono_ms() + CHILDREN_MS, now_ms;

	while (r->openers.n && (now_ms = clock_mono_ms()) < until_ms)
		if (poll(&p, 1, (int)(until_ms - now_ms)) > 0)
			on_signals(r);
}

/* The parent says nothing: what can be read is its end. */
static void on_parent(struct relay *r, short events)
{
	char byte;

	if (events & (POLLIN | POLLHUP | POLLERR) &&
	        recv(r->parent_fd, &byte, 1, MSG_DONTWAIT) == 0)
		lose_parent(r, "closed");
	else if (events & POLLERR)
		lose_parent(r, "broken");
	else
		send_unsent(r);
}

static int patience_ms(const struct relay *r)
{
	uint64_t now = clock_mono_ms();

	if (!r->spool || r->parent_fd >= 0)
		return -1;
	return now >= r->retry_at_ms ? 0 : (int)(r->retry_at_ms - now);
}

static void turn(struct relay *r)
{
	struct pollfd fds[3 + CONNS];
	size_t n_conns = r->n_conns;
	bool is_full = r->unsent.len >= UNSENT_ENOUGH;

	fds[0] = (struct pollfd){.fd = r->o->signal_fd, .events = POLLIN};
	fds[1] = (struct pollfd){.fd = n_conns < CONNS ? r->o->listen_fd : -1, .events = POLLIN};
	fds[2] = (struct pollfd){
	        .fd = r->parent_fd, .events = (short)(POLLIN | (r->unsent.len ? POLLOUT : 0))};
	for (size_t i = 0; i < n_conns; i++)
		fds[3 + i] = (struct pollfd){.fd = is_full ? -1 : r->conns[i].fd, .events = POLLIN};
	if (poll(fds, 3 + n_conns, patience_ms(r)) < 0)
		return;
	/* From the last to the first: closing one moves the last into its place. */
	for (size_t i = n_conns; i-- > 0;)
		if (fds[3 + i].revents)
			on_readable(r, i);
	if (fds[0].revents)
		on_signals(r);
	if (fds[1].revents)
		accept_one(r);
	if (fds[2].revents)
		on_parent(r, fds[2].revents);
	if (r->spool && r->parent_fd < 0 && !r->is_over && clock_mono_ms() >= r->retry_at_ms)
		connect_parent(r);
	if (r->parent_fd >= 0)
		send_unsent(r);
}

/* Its keepers live on; whoever ends Berth as a whole has ended them before. */
static void end_parent(struct relay *r)
{
	uid_t uid;
	pid_t pid = 0;

	if (r->parent_fd >= 0 && usock_peer(r->parent_fd, &uid, &pid) && pid > 1)
		kill(pid, SIGTERM);
	else if (r->parent)
		kill(r->parent, SIGTERM);
}

void relay_run(const struct relay_options *o)
{
	struct relay r = {
	        .o = o, .parent_fd = -1, .retry_ms = RETRY_MIN_MS, .unsent = BUF_INIT(64 * MIB)};

	BUG_IF(asprintf(&r.parent_sock, "%s/run/keeper.sock", o->data) < 0);
	while (!r.is_over)
		turn(&r);
	end_parent(&r);
	while (r.n_conns)
		close_conn(&r, r.n_conns - 1);
	wait_for_children(&r);
	if (r.parent_fd >= 0)
		close(r.parent_fd);
	buf_done(&r.unsent);
	free(r.parent_sock);
	free(r.spool);
}
