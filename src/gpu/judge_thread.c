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
#include <sys/inotify.h>
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
	EVENTS_BYTES = 4 * KIB,
	STACK_BYTES = 256 * KIB
};

struct seat {
	int own_fd;        /* -1: nobody's */
	int watch;         /* of it, in `asks`; -1: it is not listened to */
	uint64_t heard_ns; /* nor before */
	unsigned n_long;   /* looks at its locks that took long */
};

struct judge_thread {
	pthread_t thread;
	pthread_mutex_t lock; /* of all below; held for a look at most */
	struct judge judge;
	struct pace_page *page;
	struct seat seats[PACE_TENANTS];
	int asks; /* inotify: own files that were written */
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

static int watch(const struct judge_thread *t, int own_fd)
{
	char path[40];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", own_fd);
	return inotify_add_watch(t->asks, path, IN_MODIFY);
}

/*
 * Listens to all whom it may listen to again, and says when to listen to more. True: to somebody new, who may have asked
 * meanwhile.
 */
static bool listen_again(struct judge_thread *t, uint64_t now, uint64_t *ret_more_ns)
{
	bool is_new = false;

	*ret_more_ns = PACE_NEVER;
	for (unsigned i = 0; i < PACE_TENANTS; i++) {
		struct seat *s = &t->seats[i];

		if (s->own_fd < 0 || s->watch >= 0)
			continue;
		if (s->heard_ns <= now)
			s->watch = watch(t, s->own_fd);
		is_new |= s->watch >= 0;
		if (s->watch < 0)
			*ret_more_ns = MIN(*ret_more_ns, MAX(s->heard_ns, now + ASK_BURST_NS));
	}
	return is_new;
}

/* Somebody has asked. Who does so too often is not listened to for a while. */
static void charge(struct judge_thread *t, struct seat *s, uint64_t now)
{
	if (s->heard_ns + ASK_BURST_NS < now)
		s->heard_ns = now - ASK_BURST_NS;
	s->heard_ns += ASK_COST_NS;
	if (s->heard_ns <= now)
		return;
	inotify_rm_watch(t->asks, s->watch);
	s->watch = -1;
}

/* True: somebody has asked. */
static bool hear_asks(struct judge_thread *t, uint64_t now)
{
	_Alignas(struct inotify_event) char events[EVENTS_BYTES];
	ssize_t n = read(t->asks, events, sizeof(events));
	bool is_asked = false, has_asked[PACE_TENANTS] = {false};

	for (ssize_t at = 0; at < n;) {
		const struct inotify_event *e = (const void *)(events + at);

		is_asked |= (e->mask & IN_Q_OVERFLOW) != 0;
		for (unsigned i = 0; i < PACE_TENANTS && e->wd >= 0; i++)
			has_asked[i] |= t->seats[i].watch == e->wd;
		at += (ssize_t)(sizeof(*e) + e->len);
	}
	for (unsigned i = 0; i < PACE_TENANTS; i++) {
		if (!has_asked[i])
			continue;
		is_asked = true;
		charge(t, &t->seats[i], now);
	}
	return is_asked;
}

static void wait_for(struct pollfd fds[2], uint64_t now, uint64_t until)
{
	uint64_t ns = until > now ? until - now : 0;
	struct timespec left = {
	        .tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};

	(void)ppoll(fds, 2, until == PACE_NEVER ? NULL : &left, NULL);
}

static void *run(void *arg)
{
	struct judge_thread *t = arg;
	struct pollfd fds[] = {
	        {.fd = t->asks, .events = POLLIN}, {.fd = t->bell, .events = POLLIN}};
	struct judge_wait w = {.is_spin = true};
	bool is_asked = true;
	uint64_t rings;

	prctl(PR_SET_NAME, "judge");
	prctl(PR_SET_TIMERSLACK, 1);
	pthread_mutex_lock(&t->lock);
	while (!t->is_over) {
		uint64_t now = now_ns(NULL), more;

		is_asked |= listen_again(t, now, &more);
		if (is_asked || w.is_spin || now >= w.until_ns)
			judge_look(&t->judge, is_asked, &w);
		pthread_mutex_unlock(&t->lock);
		wait_for(fds, now, w.is_spin ? 0 : MIN(w.until_ns, more));
		pthread_mutex_lock(&t->lock);
		is_asked = fds[0].revents && hear_asks(t, now_ns(NULL));
		is_asked |= fds[1].revents && read(t->bell, &rings, sizeof(rings)) > 0;
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
	if (t->asks >= 0)
		close(t->asks);
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
		t->seats[i] = (struct seat){.own_fd = -1, .watch = -1};
	t->page = page == MAP_FAILED ? NULL : page;
	t->asks = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	t->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!t->page || t->asks < 0 || t->bell < 0)
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

/* In a directory that only we may write. */
static int open_own(int dir_fd, uint32_t place)
{
	char name[24];
	struct stat st;
	int fd;

	snprintf(name, sizeof(name), "own-%u", place);
	fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

int judge_thread_seat(
        struct judge_thread *t, uint32_t tenant, int dir_fd, uint32_t place, struct err *err)
{
	int fd = open_own(dir_fd, place);

	if (fd < 0)
		return err_set(err, ERR_NOT_FOUND, "a job's own page of turns cannot be opened");
	judge_thread_unseat(t, tenant);
	pthread_mutex_lock(&t->lock);
	t->seats[tenant] = (struct seat){.own_fd = fd, .watch = -1};
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
	if (s->watch >= 0)
		inotify_rm_watch(t->asks, s->watch);
	if (s->own_fd >= 0)
		close(s->own_fd);
	*s = (struct seat){.own_fd = -1, .watch = -1};
	pthread_mutex_unlock(&t->lock);
	ring(t);
}
