#include "gpu/judge_thread.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "gpu/judge.h"

enum {
	ASK_COST_NS = 200000, /* so often is a tenant heard, in the long run */
	ASK_BURST_NS = 20 * ASK_COST_NS,
	PROBE_LONG_NS = 300000,
	PROBES_LONG_MAX = 8,
	STACK_BYTES = 256 * KIB
};

struct seat {
	int own_fd, ask_fd; /* -1: nobody's */
	uint64_t heard_ns;  /* it is not listened to before */
	unsigned n_long;    /* looks at its locks that took long */
};

struct judge_thread {
	pthread_t thread;
	pthread_mutex_t lock; /* of all below; held for a look at most */
	struct judge judge;
	struct pace_page *page;
	struct seat seats[PACE_TENANTS];
	int bell; /* rings when something was changed from outside */
	bool is_over;
};

static uint64_t now_ns(void *arg)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* What the judge sees. Under the lock. */

static unsigned on_lines(void *arg, unsigned tenant, struct pace_proc *ret, unsigned max)
{
	const struct judge_thread *t = arg;
	int fd = t->seats[tenant].own_fd;
	uint32_t top;
	ssize_t n;

	if (pread(fd, &top, sizeof(top), offsetof(struct pace_page, top)) != sizeof(top))
		return 0;
	n = pread(fd, ret, MIN(top, max) * sizeof(*ret), PACE_PROCS_AT);
	return n > 0 ? (unsigned)n / sizeof(*ret) : 0;
}

static bool on_is_dead(void *arg, unsigned tenant, unsigned slot)
{
	struct judge_thread *t = arg;
	struct seat *seat = &t->seats[tenant];
	struct flock lock = {.l_type = F_WRLCK,
	        .l_whence = SEEK_SET,
	        .l_start = (off_t)PACE_LOCK_BYTE + slot,
	        .l_len = 1};
	uint64_t began = now_ns(NULL);
	bool is;

	if (seat->n_long >= PROBES_LONG_MAX)
		return false;
	is = fcntl(seat->own_fd, F_OFD_GETLK, &lock) == 0 && lock.l_type == F_UNLCK;
	seat->n_long += now_ns(NULL) - began > PROBE_LONG_NS;
	return is;
}

static void on_wake(void *arg, uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/* The thread */

/* Whom to listen to now, into ret; and when to listen to more. */
static uint64_t listen_to(
        const struct judge_thread *t, uint64_t now, struct pollfd ret[PACE_TENANTS + 1])
{
	uint64_t more = PACE_NEVER;

	for (unsigned i = 0; i < PACE_TENANTS; i++) {
		const struct seat *s = &t->seats[i];
		bool is_muted = s->ask_fd >= 0 && s->heard_ns > now;

		ret[i] = (struct pollfd){.fd = is_muted ? -1 : s->ask_fd, .events = POLLIN};
		if (is_muted)
			more = MIN(more, s->heard_ns);
	}
	ret[PACE_TENANTS] = (struct pollfd){.fd = t->bell, .events = POLLIN};
	return more;
}

/* True: somebody has asked. */
static bool hear(struct judge_thread *t, uint64_t now, const struct pollfd fds[PACE_TENANTS + 1])
{
	bool is_asked = false;
	char bytes[PIPE_BUF];

	for (unsigned i = 0; i < PACE_TENANTS; i++) {
		struct seat *s = &t->seats[i];

		if (!fds[i].revents || s->ask_fd < 0)
			continue;
		is_asked |= read(s->ask_fd, bytes, sizeof(bytes)) > 0;
		if (s->heard_ns + ASK_BURST_NS < now)
			s->heard_ns = now - ASK_BURST_NS;
		s->heard_ns += ASK_COST_NS;
	}
	if (fds[PACE_TENANTS].revents)
		is_asked |= read(t->bell, bytes, sizeof(uint64_t)) > 0;
	return is_asked;
}

static void wait_for(struct pollfd fds[PACE_TENANTS + 1], uint64_t now, uint64_t until)
{
	uint64_t ns = until > now ? until - now : 0;
	struct timespec left = {
	        .tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};

	(void)ppoll(fds, PACE_TENANTS + 1, until == PACE_NEVER ? NULL : &left, NULL);
}

static void *run(void *arg)
{
	struct judge_thread *t = arg;
	struct pollfd fds[PACE_TENANTS + 1];
	struct judge_wait w = {.is_spin = true};
	bool is_asked = true;

	prctl(PR_SET_NAME, "judge");
	prctl(PR_SET_TIMERSLACK, 1);
	pthread_mutex_lock(&t->lock);
	while (!t->is_over) {
		uint64_t now, more;

		now = now_ns(NULL);
		if (is_asked || w.is_spin || now >= w.until_ns)
			judge_look(&t->judge, is_asked, &w);
		more = listen_to(t, now, fds);
		pthread_mutex_unlock(&t->lock);
		wait_for(fds, now, w.is_spin ? 0 : MIN(w.until_ns, more));
		pthread_mutex_lock(&t->lock);
		is_asked = hear(t, now_ns(NULL), fds);
	}
	pthread_mutex_unlock(&t->lock);
	return NULL;
}

static void ring(struct judge_thread *t)
{
	(void)!write(t->bell, &(uint64_t){1}, sizeof(uint64_t));
}

/* Life */

static int start(struct judge_thread *t, struct err *err)
{
	sigset_t all, before;
	pthread_attr_t attr;
	int sys;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	sys = pthread_create(&t->thread, &attr, run, t);
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return sys ? err_sys(err, sys, "starting the judge of a device") : 0;
}

static void destroy(struct judge_thread *t)
{
	for (uint32_t i = 0; i < PACE_TENANTS; i++)
		judge_thread_unseat(t, i);
	judge_done(&t->judge);
	if (t->page)
		munmap(t->page, sizeof(*t->page));
	if (t->bell >= 0)
		close(t->bell);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

int judge_thread_new(int page_fd, struct judge_thread **ret, struct err *err)
{
	struct judge_thread *t = mem_zalloc(sizeof(*t));
	const struct judge_hooks hooks = {
	        .now = now_ns, .lines = on_lines, .is_dead = on_is_dead, .wake = on_wake, .arg = t};
	void *page = mmap(NULL, sizeof(*t->page), PROT_READ | PROT_WRITE, MAP_SHARED, page_fd, 0);
	int rc = 0;

	pthread_mutex_init(&t->lock, NULL);
	for (unsigned i = 0; i < PACE_TENANTS; i++)
		t->seats[i] = (struct seat){.own_fd = -1, .ask_fd = -1};
	t->page = page == MAP_FAILED ? NULL : page;
	t->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!t->page || t->bell < 0)
		rc = err_sys(err, errno, "mapping a page of turns");
	if (rc == 0) {
		judge_init(&t->judge, t->page, &hooks);
		rc = start(t, err);
	}
	if (rc == 0)
		*ret = t;
	else
		destroy(t);
	return rc;
}

void judge_thread_free(struct judge_thread *t)
{
	if (!t)
		return;
	pthread_mutex_lock(&t->lock);
	t->is_over = true;
	pthread_mutex_unlock(&t->lock);
	ring(t);
	pthread_join(t->thread, NULL);
	destroy(t);
}

/* Commands */

/* A name in a directory that only we may write. */
static int open_file(int dir_fd, const char *what, uint32_t place, int flags, mode_t type)
{
	char name[24];
	struct stat st;
	int fd;

	snprintf(name, sizeof(name), "%s-%u", what, place);
	fd = openat(dir_fd, name, flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd >= 0 && fstat(fd, &st) == 0 && (st.st_mode & S_IFMT) == type)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

int judge_thread_seat(
        struct judge_thread *t, uint32_t tenant, int dir_fd, uint32_t place, struct err *err)
{
	struct seat seat = {.own_fd = open_file(dir_fd, "own", place, O_RDONLY, S_IFREG),
	        .ask_fd = open_file(dir_fd, "ask", place, O_RDWR, S_IFIFO)};

	if (seat.own_fd < 0 || seat.ask_fd < 0) {
		if (seat.own_fd >= 0)
			close(seat.own_fd);
		if (seat.ask_fd >= 0)
			close(seat.ask_fd);
		return err_set(err, ERR_NOT_FOUND, "a job's own page of turns cannot be opened");
	}
	judge_thread_unseat(t, tenant);
	pthread_mutex_lock(&t->lock);
	t->seats[tenant] = seat;
	judge_seat(&t->judge, tenant);
	pthread_mutex_unlock(&t->lock);
	ring(t);
	return 0;
}

void judge_thread_unseat(struct judge_thread *t, uint32_t tenant)
{
	struct seat *s = &t->seats[tenant];

	pthread_mutex_lock(&t->lock);
	judge_unseat(&t->judge, tenant);
	if (s->own_fd >= 0)
		close(s->own_fd);
	if (s->ask_fd >= 0)
		close(s->ask_fd);
	*s = (struct seat){.own_fd = -1, .ask_fd = -1};
	pthread_mutex_unlock(&t->lock);
	ring(t);
}
