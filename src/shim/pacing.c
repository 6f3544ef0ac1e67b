/*
 * DESIGN. One process has one page, one slot and one helper for each slice that holds compute. The clock is the counter of the
 * processor where the page says how fast that runs, so that jobs in time namespaces agree; else the machine's monotonic one; or
 * that of a simulated driver, which then also does the waiting. Who spins on a simulated clock waits a microsecond of it, since
 * it does not go on by itself.
 */
#include "shim/pacing.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { UNKNOWN, HELD, FREE_OF_IT };

#define DESCRIPTOR_FROM 400 /* as the ledger's */
#define SPIN_NS         5000
#define CAPTURE_NAP_NS  1000000

/* A file, as long as the program does not close what it did not open. */
struct opened {
	int fd;
	dev_t device;
	ino_t inode;
};

struct pacing {
	struct pace core;
	uint32_t state;
	unsigned slice;
	struct opened lines_file; /* of the page that our line is in */
	bool has_helper;
	struct pace_page *page, *lines;
	uint64_t tick; /* of the processor's counter, in ns / 2^32; 0: CLOCK_MONOTONIC */
	struct marks *marks;
};

uint32_t pacing_captures;

static struct pacing all[SLICE_MAX];
static pthread_mutex_t start_mutex = PTHREAD_MUTEX_INITIALIZER;
static const struct fake_clock *simulated;
static bool is_clock_known, is_used;

/* -- the clock -- */

static uint64_t monotonic_now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static uint64_t on_now(void *arg)
{
	const struct pacing *g = arg;
	if (simulated != NULL)
		return simulated->now_ns();
#if defined(__x86_64__)
	if (g->tick > 0)
		return (uint64_t)((unsigned __int128)__builtin_ia32_rdtsc() * g->tick >> 32);
#endif
	return monotonic_now();
}

static void find_clock(void)
{
	if (is_clock_known)
		return;
	simulated = real.berthFakeClock != NULL ? real.berthFakeClock() : NULL;
	is_clock_known = true;
}

static void on_wake(void *arg, uint32_t *word)
{
	if (simulated != NULL)
		simulated->wake(word);
	else
		syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static void pause_for(const struct pacing *g, const struct pace_wait *w)
{
	uint64_t now = on_now((void *)g);
	if (simulated != NULL && w->is_spin) {
		simulated->spin(SPIN_NS);
		return;
	}
	if (simulated != NULL) {
		simulated->wait(w->word, w->value, w->until_ns);
		return;
	}
	if (w->is_spin) {
#if defined(__x86_64__)
		__builtin_ia32_pause();
#endif
		return;
	}
	uint64_t ns = w->until_ns > now ? w->until_ns - now : 0;
	struct timespec left = {
	        .tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};
	if (ns > 0)
		syscall(SYS_futex, w->word, FUTEX_WAIT, w->value,
		        w->until_ns == PACE_NEVER ? NULL : &left, NULL, 0);
}

/* -- the helper -- */

static void *help(void *arg)
{
	struct pacing *g = arg;
	int relaxed = 2; /* what this thread asks for disturbs no capture of another one */
	prctl(PR_SET_TIMERSLACK, 1);
	if (real.cuThreadExchangeStreamCaptureMode != NULL)
		real.cuThreadExchangeStreamCaptureMode(&relaxed);
	for (;;) {
		struct pace_wait w;
		if (__atomic_load_n(&pacing_captures, __ATOMIC_RELAXED) != 0)
			w = (struct pace_wait){.word = &pacing_captures,
			        .value = pacing_captures,
			        .until_ns = on_now(g) + CAPTURE_NAP_NS};
		else
			pace_serve(&g->core, &w);
		pause_for(g, &w);
	}
	return NULL;
}

static void on_kick(void *arg)
{
	struct pacing *g = arg;
	if (__atomic_exchange_n(&g->has_helper, true, __ATOMIC_SEQ_CST)) {
		on_wake(g, &g->core.me->kick);
		return;
	}
	sigset_t none, before;
	pthread_attr_t attr;
	pthread_t thread;
	sigfillset(&none);
	pthread_sigmask(SIG_SETMASK, &none, &before);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	if (pthread_create(&thread, &attr, help, g) != 0)
		__atomic_store_n(&g->has_helper, false, __ATOMIC_SEQ_CST); /* at the next kick */
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* -- the slot -- */

static int byte_lock(int fd, int command, unsigned slot, int type)
{
	struct flock lock = {.l_type = (short)type,
	        .l_whence = SEEK_SET,
	        .l_start = PACE_LOCK_BYTE + (off_t)slot,
	        .l_len = 1};
	int rc;
	do
		rc = fcntl(fd, command, &lock);
	while (rc < 0 && errno == EINTR);
	return rc;
}

/* That number may by now be of a file of the program's own. */
static bool is_open(const struct opened *o)
{
	struct stat st;
	return fstat(o->fd, &st) == 0 && st.st_dev == o->device && st.st_ino == o->inode;
}

static bool on_seize(void *arg, unsigned slot)
{
	const struct pacing *g = arg;
	return is_open(&g->lines_file) &&
	       byte_lock(g->lines_file.fd, F_OFD_SETLK, slot, F_WRLCK) == 0;
}

static void on_let_go(void *arg, unsigned slot)
{
	const struct pacing *g = arg;
	if (is_open(&g->lines_file))
		byte_lock(g->lines_file.fd, F_OFD_SETLK, slot, F_UNLCK);
}

/* Not by the mapping, which nobody would notice. */
static void on_ask(void *arg)
{
	const struct pacing *g = arg;
	if (is_open(&g->lines_file))
		(void)!pwrite(g->lines_file.fd, "", 1, PACE_ASK_AT);
}

/* -- marks -- */

static void on_record(void *arg, unsigned mark, void *const *streams, unsigned n)
{
	struct pacing *g = arg;
	marks_record(g->marks, mark, streams, n);
}

static bool on_query(void *arg, unsigned mark, uint64_t *ret_ns)
{
	struct pacing *g = arg;
	return marks_query(g->marks, mark, ret_ns);
}

/* -- life -- */

static void close_file(struct opened *o)
{
	if (is_open(o))
		close(o->fd);
	*o = (struct opened){.fd = -1};
}

/* What stands beside the ledger slice-N under the name WHAT-N. */
static bool open_file(struct opened *o, const struct ledger *ledger, const char *what, int flags)
{
	char path[LEDGER_PATH_MAX];
	const char *name = strrchr(ledger->path, '/');
	struct stat st;
	if (name == NULL || strncmp(name, "/slice-", 7) != 0 ||
	        snprintf(path, sizeof path, "%.*s/%s-%s", (int)(name - ledger->path), ledger->path,
	                what, name + 7) >= (int)sizeof path)
		return false;
	int low = open(path, flags | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
	if (low < 0 || fstat(low, &st) < 0)
		return false;
	int high = fcntl(low, F_DUPFD_CLOEXEC, DESCRIPTOR_FROM);
	if (high >= 0)
		close(low);
	*o = (struct opened){high >= 0 ? high : low, st.st_dev, st.st_ino};
	return true;
}

static struct pace_page *map_page(const struct opened *o, int protection)
{
	struct stat st;
	if (fstat(o->fd, &st) < 0 || st.st_size < (off_t)sizeof(struct pace_page))
		return NULL;
	struct pace_page *page = mmap(NULL, sizeof *page, protection, MAP_SHARED, o->fd, 0);
	if (page != MAP_FAILED && pace_is_valid(page, (uint64_t)st.st_size))
		return page;
	if (page != MAP_FAILED)
		munmap(page, sizeof *page);
	return NULL;
}

static void unmap(struct pacing *g)
{
	if (g->lines != NULL && g->lines != g->page)
		munmap(g->lines, sizeof *g->lines);
	if (g->page != NULL)
		munmap(g->page, sizeof *g->page);
	g->page = g->lines = NULL;
	close_file(&g->lines_file);
}

/* A page that the agent judges is never written here, also where we might. */
static bool map_all(struct pacing *g, const struct ledger *ledger)
{
	struct opened page;
	g->lines_file.fd = -1;
	if (!open_file(&page, ledger, "pace", O_RDONLY))
		return false;
	g->page = map_page(&page, PROT_READ);
	close(page.fd);
	if (g->page != NULL && (g->page->head.flags & PACE_JUDGED)) {
		if (open_file(&g->lines_file, ledger, "own", O_RDWR))
			g->lines = map_page(&g->lines_file, PROT_READ | PROT_WRITE);
	} else if (g->page != NULL) {
		munmap(g->page, sizeof *g->page);
		g->page = NULL;
		if (open_file(&g->lines_file, ledger, "pace", O_RDWR))
			g->page = g->lines = map_page(&g->lines_file, PROT_READ | PROT_WRITE);
	}
	if (g->lines == NULL)
		unmap(g);
	return g->lines != NULL;
}

static bool join(struct pacing *g, const struct ledger *ledger)
{
	struct pace_hooks hooks = {.now = on_now,
	        .wake = on_wake,
	        .kick = on_kick,
	        .seize = on_seize,
	        .let_go = on_let_go,
	        .record = on_record,
	        .query = on_query,
	        .arg = g};
	unsigned slot = 0;
	if (!(ledger->grant.flags & SLICE_HOLDS_COMPUTE) || ledger->grant.tenant >= PACE_TENANTS ||
	        real.cuEventCreate == NULL || real.cuEventRecord == NULL ||
	        real.cuEventQuery == NULL || real.cuCtxGetCurrent == NULL || !map_all(g, ledger))
		return false;
	while (slot < PACE_PROCS && byte_lock(g->lines_file.fd, F_OFD_SETLK, slot, F_WRLCK) != 0)
		slot++;
	if (slot == PACE_PROCS) {
		shim_log("%s: no room among those who take turns", ledger->path);
		unmap(g);
		return false;
	}
	find_clock();
	g->slice = (unsigned)(ledger - shim.ledgers);
	g->marks = marks_of(g->slice);
	uint64_t hz = g->page->head.tsc_hz;
	g->tick = hz > 1000000 ? (uint64_t)(((unsigned __int128)1000000000 << 32) / hz) : 0;
	hooks.ask = g->page->head.flags & PACE_JUDGED ? on_ask : NULL;
	pace_join(&g->core, g->page, g->lines, slot, ledger->grant.tenant, &hooks);
	__atomic_store_n(&is_used, true, __ATOMIC_RELEASE);
	return true;
}

static struct pacing *begin(struct pacing *g, const struct ledger *ledger)
{
	int cancel;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
	pthread_mutex_lock(&start_mutex);
	if (g->state == UNKNOWN)
		__atomic_store_n(&g->state, join(g, ledger) ? HELD : FREE_OF_IT, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&start_mutex);
	pthread_setcancelstate(cancel, NULL);
	return g->state == HELD ? g : NULL;
}

struct pacing *pacing_of(struct ledger *ledger)
{
	struct pacing *g = &all[ledger - shim.ledgers];
	uint32_t state = __atomic_load_n(&g->state, __ATOMIC_ACQUIRE);
	if (__builtin_expect(state == UNKNOWN, 0))
		return begin(g, ledger);
	return state == HELD ? g : NULL;
}

struct pacing *pacing_next(struct pacing *g)
{
	for (int i = g == NULL ? 0 : (int)(g - all) + 1; i < shim.n_ledgers; i++)
		if (__atomic_load_n(&all[i].state, __ATOMIC_ACQUIRE) == HELD)
			return &all[i];
	return NULL;
}

bool pacing_is_used(void)
{
	return __atomic_load_n(&is_used, __ATOMIC_RELAXED);
}

struct pace *pacing_core(struct pacing *g)
{
	return &g->core;
}

/* A child has no work on any device; its parent's slots and helpers are its parent's. */
void pacing_forked(void)
{
	pthread_mutex_init(&start_mutex, NULL);
	pacing_captures = 0;
	is_used = false;
	for (int i = 0; i < SLICE_MAX; i++) {
		struct pacing *g = &all[i];
		if (g->state == UNKNOWN)
			continue;
		if (g->state == HELD) {
			unmap(g);
			marks_forget(g->marks);
		}
		memset(g, 0, sizeof *g);
	}
}

/* -- launches -- */

static void note_context(struct pacing *g, void *stream)
{
	struct cu_ctx *ctx = NULL;
	if ((uintptr_t)stream > (uintptr_t)CU_STREAM_PER_THREAD ||
	        real.cuCtxGetCurrent(&ctx) != CU_SUCCESS || ctx == marks_last_context(g->marks))
		return;
	pace_mark(&g->core);
	marks_context(g->marks, ctx);
}

static void wait_long(struct pacing *g, struct pace_launch *l, struct pace_wait *w)
{
	int slack = prctl(PR_GET_TIMERSLACK), cancel;
	/* A thread that is cancelled here would stay among those who wait. */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
	prctl(PR_SET_TIMERSLACK, 1);
	do
		pause_for(g, w);
	while (!pace_try(&g->core, l, w));
	prctl(PR_SET_TIMERSLACK, slack > 0 ? slack : 50000);
	pthread_setcancelstate(cancel, NULL);
}

void pacing_wait(struct pacing *g, struct pace_launch *l, void *stream)
{
	struct pace_wait w;
	if (!pace_try(&g->core, l, &w))
		wait_long(g, l, &w);
	if (l->is_counted)
		note_context(g, stream);
}

void pacing_done(struct pacing *g, struct pace_launch *l, void *stream)
{
	if (!l->is_counted)
		return;
	pace_launched(&g->core, l, stream);
	/* Only the thread itself can put a mark into its own default stream. */
	if (stream == CU_STREAM_PER_THREAD)
		pace_mark(&g->core);
}
