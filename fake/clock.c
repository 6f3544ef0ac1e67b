/*
 * The lock of the mapped file, and whose turn it is on the virtual clock.
 */
#include "clock.h"

#include "clock_turn.h"
#include "cuda.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define LOCK_LOOK_NS  1000000                /* a waiter looks whether the holder lives */
#define AHEAD_NS      UINT64_C(600000000000) /* of simulation at a stretch in which nobody becomes due */
#define BLOCKED_LOOKS 2 /* a thread seen asleep so often in its turn counts as gone */
#define RUNNING_NS    UINT64_C(2000000000) /* one that runs, after so much of the machine's time */

_Thread_local struct turn my_turn;

void futex_wait(uint32_t *word, uint32_t value, uint64_t ns)
{
	struct timespec ts = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};

	syscall(SYS_futex, word, FUTEX_WAIT, value, ns == UINT64_MAX ? NULL : &ts, NULL, 0);
}

void futex_wake(uint32_t *word, int n)
{
	syscall(SYS_futex, word, FUTEX_WAKE, n, NULL, NULL, 0);
}

uint64_t machine_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* -- the lock -- */

bool share_lives(uint32_t place)
{
	int32_t pid;

	return place == driver.place || share_holder(driver.sim, place, &pid);
}

/* Sleeps while somebody has it; true: it was taken over from the dead. */
static bool wait_for_lock(uint32_t *word, uint32_t seen)
{
	uint32_t waited = seen | SHARE_WAITED;

	if (seen != waited && !__atomic_compare_exchange_n(word, &seen, waited, false,
	                              __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		return false;
	futex_wait(word, waited, LOCK_LOOK_NS);
	seen = __atomic_load_n(word, __ATOMIC_RELAXED);
	return seen == waited && !share_lives(seen & ~SHARE_WAITED) &&
	       __atomic_compare_exchange_n(word, &seen, driver.place | SHARE_WAITED, false,
	               __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

void share_lock(void)
{
	uint32_t *word = &driver.share->lock;

	for (;;) {
		uint32_t seen = 0;

		if (__atomic_compare_exchange_n(
		            word, &seen, driver.place, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			return;
		if (wait_for_lock(word, seen))
			return;
	}
}

void share_unlock(void)
{
	uint32_t *word = &driver.share->lock;

	if (__atomic_exchange_n(word, 0, __ATOMIC_RELEASE) & SHARE_WAITED)
		futex_wake(word, 1);
}

/* -- the timeline -- */

struct tl *timeline_of(void)
{
	static struct tl t;

	t = (struct tl){.pace = &driver.sim->pace,
	        .cards = (struct tl_card *)((char *)driver.share + SHARE_CARDS_AT),
	        .n_cards = driver.sim->n_cards,
	        .at_ns = &driver.share->at_ns,
	        .host_ready = driver.share->host_ready,
	        .lives = share_lives};
	return &t;
}

/* -- seats -- */

static struct seat *mine(void)
{
	return &driver.share->seats[my_turn.seat - 1];
}

/* When a waiting thread is due, as things stand; UINT64_MAX: not yet known. */
static uint64_t due_at(const struct seat *s)
{
	struct tl *t = timeline_of();
	uint64_t now = *t->at_ns > driver.share->now_ns ? *t->at_ns : driver.share->now_ns;

	switch ((enum seat_wait)s->wait) {
	case SEAT_STREAM:
		return t->cards[s->card % t->n_cards].streams[s->stream % TL_STREAMS].head >
		                       s->number
		               ? now
		               : UINT64_MAX;
	case SEAT_HOST:
		return driver.share->host_ready[s->place % (SHARE_PLACES + 1)] ? now : UINT64_MAX;
	case SEAT_TIME:
	case SEAT_WORD:
		break;
	}
	return s->until_ns;
}

/* Who is due first; whether somebody waits for what only the timeline tells. */
static struct seat *first_due(uint64_t *ret_due, bool *ret_watch)
{
	struct share *sh = driver.share;
	struct seat *best = NULL;

	*ret_due = UINT64_MAX;
	*ret_watch = false;
	for (uint32_t i = 0; i < sh->n_seats && i < SHARE_SEATS; i++) {
		struct seat *s = &sh->seats[i];
		uint64_t due;

		if (s->state != SEAT_WAITS)
			continue;
		due = due_at(s);
		*ret_watch |= s->wait == SEAT_STREAM || s->wait == SEAT_HOST;
		if (due == UINT64_MAX ||
		        (best && (due > *ret_due || (due == *ret_due && s->rank >= best->rank))))
			continue;
		best = s;
		*ret_due = due;
	}
	return best;
}

static void give(struct seat *s, uint64_t due)
{
	struct share *sh = driver.share;

	if (due > sh->now_ns)
		sh->now_ns = due;
	sh->turn = (uint32_t)(s - sh->seats) + 1;
	s->state = SEAT_OUT;
	s->n_turns++;
	__atomic_store_n(&s->go, 1, __ATOMIC_RELEASE);
	if (!my_turn.seat || s != mine())
		futex_wake(&s->go, 1);
}

/* Gives the turn to who is due first, and lets the cards work until then. The lock is held. */
void turn_pass(void)
{
	struct share *sh = driver.share;
	struct tl *t = timeline_of();
	uint64_t limit = (*t->at_ns > sh->now_ns ? *t->at_ns : sh->now_ns) + AHEAD_NS;

	sh->turn = 0;
	if (sh->n_came < sh->players)
		return;
	for (;;) {
		uint64_t due, next;
		bool watch;
		struct seat *s = first_due(&due, &watch);

		next = UINT64_MAX;
		if (watch && (!s || due > *t->at_ns)) {
			next = tl_next(
			        t); /* what is due on the cards at this moment is done then */
			s = first_due(&due, &watch);
		}
		if (s && (!watch || due <= *t->at_ns)) {
			give(s, due);
			return;
		}
		if (!watch || *t->at_ns >= limit || (due == UINT64_MAX && next == UINT64_MAX))
			return;
		tl_advance(t, due < limit ? due : next < limit ? next : limit);
	}
}

/* Until when this thread may run on without asking whether another is due. */
static void look_ahead(void)
{
	struct share *sh = driver.share;

	my_turn.horizon_ns = UINT64_MAX;
	for (uint32_t i = 0; i < sh->n_seats && i < SHARE_SEATS; i++) {
		const struct seat *s = &sh->seats[i];

		if (s->state != SEAT_WAITS)
			continue;
		if (s->wait == SEAT_STREAM || s->wait == SEAT_HOST)
			my_turn.horizon_ns = 0;
		else if (s->until_ns < my_turn.horizon_ns)
			my_turn.horizon_ns = s->until_ns;
	}
}

/* -- those who do not go on -- */

/* The state letter of a thread, where this process sees it; 0 else. */
static char state_of(const struct seat *s)
{
	char path[64], line[512];
	const char *p;
	int32_t pid;
	ssize_t n;
	int fd;

	if (!share_holder(driver.sim, s->place, &pid) || pid <= 0)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/task/%u/stat", (int)pid, s->tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, line, sizeof(line) - 1);
	close(fd);
	line[n > 0 ? n : 0] = '\0';
	p = strrchr(line, ')');
	return p && p[1] ? p[2] : 0;
}

void seats_free(uint32_t place)
{
	struct share *sh = driver.share;

	for (uint32_t i = 0; i < sh->n_seats && i < SHARE_SEATS; i++) {
		if (sh->seats[i].place != place)
			continue;
		sh->seats[i].state = SEAT_FREE;
		sh->seats[i].place = 0;
		if (sh->turn == i + 1)
			sh->turn = 0;
	}
}

/* A waiting thread looks at who has the turn; what it saw before is in its own `look`. The lock is held. */
static void look_at_holder(void)
{
	struct share *sh = driver.share;
	struct look *l = &my_turn.look;
	uint32_t turn = sh->turn;
	struct seat *s;
	char state;

	if (!turn || turn > SHARE_SEATS) {
		turn_pass();
		return;
	}
	s = &sh->seats[turn - 1];
	if (!share_lives(s->place)) {
		tl_drop_place(timeline_of(), s->place);
		seats_free(s->place);
		turn_pass();
		return;
	}
	if (l->turn != turn || l->n_turns != s->n_turns) {
		*l = (struct look){.turn = turn, .n_turns = s->n_turns, .since_ns = machine_now()};
		return;
	}
	state = state_of(s);
	l->n_blocked = state == 'S' || state == 'T' || state == 't' ? l->n_blocked + 1 : 0;
	if (l->n_blocked >= BLOCKED_LOOKS || machine_now() - l->since_ns > RUNNING_NS)
		turn_pass();
}

/* -- taking part -- */

void turn_sleep(const uint32_t *word, uint32_t value)
{
	struct share *sh = driver.share;
	struct seat *me = mine();
	uint64_t since = machine_now();

	while (!__atomic_load_n(&me->go, __ATOMIC_ACQUIRE)) {
		futex_wait(&me->go, 0, LOOK_NS);
		if (__atomic_load_n(&me->go, __ATOMIC_ACQUIRE))
			break;
		share_lock();
		if (sh->n_came < sh->players && machine_now() - since > PLAYERS_NS)
			sh->players = sh->n_came;
		if (word && me->state == SEAT_WAITS &&
		        __atomic_load_n(word, __ATOMIC_ACQUIRE) != value)
			me->until_ns = sh->now_ns;
		look_at_holder();
		share_unlock();
	}
	share_lock();
	__atomic_store_n(&me->go, 0, __ATOMIC_RELAXED);
	my_turn.now_ns = sh->now_ns;
	look_ahead();
	share_unlock();
}

void turn_wait(enum seat_wait wait, uint64_t until_ns, const uint32_t *word, uint32_t value)
{
	struct share *sh = driver.share;
	struct seat *me = mine();
	bool again;

	me->wait = wait;
	me->until_ns = until_ns;
	me->state = SEAT_WAITS;
	turn_pass();
	again = sh->turn == my_turn.seat;
	if (again) {
		__atomic_store_n(&me->go, 0, __ATOMIC_RELAXED);
		my_turn.now_ns = sh->now_ns;
		look_ahead();
	}
	share_unlock();
	if (!again)
		turn_sleep(word, value);
}
