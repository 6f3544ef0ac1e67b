#include "engine/host_launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "plat/usock.h"
#include "base/mem.h"

/*
 * DESIGN. One timer tries until somebody answers: at once, then every few milliseconds, slower and slower. A program that
 * was started and has not ended is not started again; one that dies young waits for the slow end of that.
 *
 * The place of a message is the count of bytes up to its end, over all connections. What was not written when a
 * connection breaks is dropped once on_down has seen it.
 */

#define UNSENT_MAX   (64 * MIB)
#define RETRY_MIN_MS 2
#define RETRY_MAX_MS 1000

struct launcher {
	struct loop *loop;
	struct launcher_options o;
	int fd; /* -1: not connected */
	struct loop_poll *poll;
	bool is_blocked; /* the poll waits for room, too */
	struct loop_timer *retry;
	struct loop_signal *sigchld;
	uint64_t retry_ms;
	pid_t child;    /* the parent, while it is our child */
	bool is_ending; /* the parent was asked to end: no other is started */
	struct buf unsent;
	uint64_t taken;   /* bytes of all messages so far */
	uint64_t written; /* of them, up to here */
};

PRINTF_LIKE(4, 5)
static void say(struct launcher *l, enum log_level level, const char *event, const char *fmt, ...)
{
	char text[512];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	l->o.on_news(l->o.data, level, event, text);
}

/* The process at the other end; 0: nobody. */
static pid_t peer_pid(const struct launcher *l)
{
	uid_t uid;
	pid_t pid;

	return l->fd >= 0 && usock_peer(l->fd, &uid, &pid) ? pid : 0;
}

static void go_down(struct launcher *l, const char *why)
{
	say(l, LOG_WARN, "launcher.down", "why=\"%s\"", why);
	loop_poll_free(l->poll);
	l->poll = NULL;
	close(l->fd);
	l->fd = -1;
	l->o.on_down(l->o.data);
	buf_reset(&l->unsent);
	l->written = l->taken;
	l->retry_ms = RETRY_MIN_MS;
	if (!l->is_ending)
		loop_timer_start(l->retry, 0, 0);
}

static void write_unsent(struct launcher *l)
{
	while (l->fd >= 0 && l->unsent.len) {
		ssize_t n = send(l->fd, l->unsent.data, l->unsent.len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) {
			go_down(l, strerror(errno));
			return;
		}
		buf_consume(&l->unsent, (size_t)n);
		l->written += (uint64_t)n;
	}
	if (l->poll && l->is_blocked != (l->unsent.len > 0)) {
		l->is_blocked = l->unsent.len > 0;
		loop_poll_set(l->poll, LOOP_READ | (l->is_blocked ? LOOP_WRITE : 0));
	}
}

/* Nothing is ever answered: what can be read is the end. */
static void on_ready(void *data, int events)
{
	struct launcher *l = data;
	char byte;

	if (events & (LOOP_READ | LOOP_ERROR)) {
		ssize_t n = recv(l->fd, &byte, 1, 0);

		if (n > 0 || (n < 0 && errno == EAGAIN))
			return;
		go_down(l, n < 0 ? strerror(errno) : "closed");
		return;
	}
	write_unsent(l);
}

static void on_turn_end(void *data)
{
	struct launcher *l = data;

	if (l->unsent.len)
		write_unsent(l);
}

static void start_parent(struct launcher *l)
{
	const char *argv[] = {"berth keeper", "--data", l->o.data_dir, "--spool",
	        l->o.spool_path(l->o.data), NULL};
	posix_spawnattr_t attr;
	posix_spawn_file_actions_t files;
	sigset_t none;
	int rc;

	posix_spawnattr_init(&attr);
	posix_spawn_file_actions_init(&files);
	sigemptyset(&none);
	/* A session of its own, so that nothing that is sent to us reaches it. */
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
	rc = posix_spawn(&l->child, l->o.program, &files, &attr, (char *const *)argv, environ);
	posix_spawn_file_actions_destroy(&files);
	posix_spawnattr_destroy(&attr);
	if (rc != 0) {
		l->child = 0;
		say(l, LOG_ERROR, "keepers.start", "program=\"%s\" error=\"%s\"", l->o.program,
		        strerror(rc));
		return;
	}
	say(l, LOG_INFO, "keepers.start", "pid=%d", (int)l->child);
}

static void on_sigchld(void *data, int signo)
{
	struct launcher *l = data;
	int status;

	if (!l->child || waitpid(l->child, &status, WNOHANG) != l->child)
		return;
	say(l, LOG_WARN, "keepers.end", "pid=%d status=0x%x", (int)l->child, (unsigned)status);
	l->child = 0;
}

static void on_retry(void *data)
{
	struct launcher *l = data;
	struct err err;

	if (usock_connect_now(l->o.socket_path, &l->fd, &err) < 0) {
		l->fd = -1;
		if (l->o.program && !l->child)
			start_parent(l);
		loop_timer_start(l->retry, l->retry_ms, 0);
		l->retry_ms = MIN(l->retry_ms * 2, RETRY_MAX_MS);
		return;
	}
	if (loop_poll_new(l->loop, l->fd, LOOP_READ, on_ready, l, &l->poll, &err) < 0) {
		say(l, LOG_ERROR, "launcher.watch", "error=\"%s\"", err.text);
		close(l->fd);
		l->fd = -1;
		loop_timer_start(l->retry, RETRY_MAX_MS, 0);
		return;
	}
	l->is_blocked = false;
	l->retry_ms = RETRY_MIN_MS;
	say(l, LOG_INFO, "launcher.up", "pid=%d", (int)peer_pid(l));
	l->o.on_up(l->o.data);
}

struct launcher *launcher_new(struct loop *loop, const struct launcher_options *o)
{
	struct launcher *l = mem_zalloc(sizeof(*l));
	struct err err;

	l->loop = loop;
	l->o = *o;
	l->fd = -1;
	l->unsent = BUF_INIT(UNSENT_MAX);
	l->retry_ms = RETRY_MIN_MS;
	l->retry = loop_timer_new(loop, on_retry, l);
	if (o->program && loop_signal_new(loop, SIGCHLD, on_sigchld, l, &l->sigchld, &err) < 0)
		say(l, LOG_ERROR, "launcher.signal", "error=\"%s\"", err.text);
	loop_on_turn_end(loop, on_turn_end, l);
	loop_timer_start(l->retry, 0, 0);
	return l;
}

void launcher_free(struct launcher *l)
{
	if (!l)
		return;
	loop_off_turn_end(l->loop, on_turn_end, l);
	loop_signal_free(l->sigchld);
	loop_timer_free(l->retry);
	loop_poll_free(l->poll);
	if (l->fd >= 0)
		close(l->fd);
	buf_done(&l->unsent);
	free(l);
}

uint64_t launcher_send_bytes(struct launcher *l, const void *data, size_t len)
{
	if (l->fd < 0)
		return 0;
	buf_add(&l->unsent, data, len);
	if (l->unsent.overflow) {
		l->unsent.overflow = false;
		return 0;
	}
	l->taken += len;
	return l->taken;
}

uint64_t launcher_send(struct launcher *l, const struct launch *message)
{
	CLEANUP_BUF struct buf b = BUF_INIT(LAUNCH_MAX + 4);

	launch_encode(message, &b);
	return b.overflow ? 0 : launcher_send_bytes(l, b.data, b.len);
}

void launcher_end_parent(struct launcher *l)
{
	pid_t pid = l->fd >= 0 ? peer_pid(l) : l->child;

	if (!l->o.program)
		return;
	l->is_ending = true;
	if (l->fd < 0)
		loop_timer_stop(l->retry);
	if (pid > 1 && kill(pid, SIGTERM) < 0)
		say(l, LOG_WARN, "keepers.stop", "pid=%d error=\"%s\"", (int)pid, strerror(errno));
}

bool launcher_is_up(const struct launcher *l)
{
	return l->fd >= 0;
}

bool launcher_is_sent(const struct launcher *l, uint64_t place)
{
	return place != 0 && place <= l->written;
}
