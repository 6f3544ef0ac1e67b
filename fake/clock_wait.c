/*
 * What threads do with the clock: pass time, wait for streams, for words in memory, for host functions.
 */
#include "clock.h"

#include "clock_turn.h"
#include "cuda.h"

#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NOW_NS     25 /* that it costs to ask the virtual clock: who only looks at it comes on too */
#define POLL_LEAST 20000 /* real clock: between two looks at what has no known end */
#define POLL_MOST  1000000
#define SPIN_NS    60000 /* a timer would be later than that */
#define WORD_BITS  0xfff

static pthread_key_t leaving;
static pthread_once_t leaving_once = PTHREAD_ONCE_INIT;

static bool is_virtual(void)
{
	return driver.sim->pace.is_virtual;
}

/* -- seats of this process -- */

/* A thread ends: the others go on without it. */
static void leave_seat(void *seat)
{
	struct share *sh = driver.share;
	uint32_t i = (uint32_t)(uintptr_t)seat;

	if (driver.phase == DRIVER_FORKED || driver.phase == DRIVER_ENDED)
		return;
	share_lock();
	if (sh->seats[i - 1].place == driver.place) {
		sh->seats[i - 1].state = SEAT_FREE;
		sh->seats[i - 1].place = 0;
		my_turn.seat = 0;
		if (sh->turn == i)
			turn_pass();
	}
	share_unlock();
}

static void make_key(void)
{
	pthread_key_create(&leaving, leave_seat);
}

/* Under the lock. Who comes later comes later in a tie, unless BERTH_FAKE_SEAT says which process is which. */
static void take_seat(void)
{
	static uint32_t n_threads;
	const char *order = getenv("BERTH_FAKE_SEAT");
	struct share *sh = driver.share;
	uint64_t rank = 0;
	uint32_t i = 0;

	while (i < SHARE_SEATS - 1 && sh->seats[i].place)
		i++;
	if (i >= sh->n_seats)
		sh->n_seats = i + 1;
	if (!order || !sim_parse_u64(order, 1000, &rank))
		rank = 1001 + i;
	sh->seats[i] = (struct seat){.state = SEAT_OUT,
	        .place = driver.place,
	        .tid = (uint32_t)syscall(SYS_gettid),
	        .rank = (uint32_t)rank * 1000 + n_threads++ % 1000,
	        .n_turns = sh->seats[i].n_turns};
	sh->n_came++;
	my_turn = (struct turn){.seat = i + 1};
}

/* From here on this thread runs alone. */
void clock_enter(sem_t *seated)
{
	struct share *sh = driver.share;
	struct seat *me;

	if (my_turn.seat && __atomic_load_n(&sh->turn, __ATOMIC_ACQUIRE) == my_turn.seat)
		return;
	pthread_once(&leaving_once, make_key);
	share_lock();
	if (!my_turn.seat) {
		take_seat();
		pthread_setspecific(leaving, (void *)(uintptr_t)my_turn.seat);
	}
	if (seated)
		sem_post(seated);
	if (!sh->turn) {
		turn_wait(SEAT_TIME, sh->now_ns, NULL, 0);
		return;
	}
	me = &sh->seats[my_turn.seat - 1];
	me->wait = SEAT_TIME;
	me->until_ns = sh->now_ns;
	me->state = SEAT_WAITS;
	share_unlock();
	turn_sleep(NULL, 0);
}

static void enter(void)
{
	clock_enter(NULL);
}

void clock_leave(void)
{
	share_lock();
	seats_free(driver.place);
	tl_drop_place(timeline_of(), driver.place);
	if (is_virtual() && !driver.share->turn)
		turn_pass();
	share_unlock();
}

void clock_after_fork(void)
{
	my_turn = (struct turn){0};
}

/* -- time -- */

uint64_t clock_now(void)
{
	if (!is_virtual())
		return machine_now();
	enter();
	return my_turn.now_ns;
}

void clock_spend(uint64_t ns)
{
	if (!is_virtual())
		return;
	enter();
	my_turn.now_ns += ns;
	if (my_turn.now_ns < my_turn.horizon_ns)
		return;
	share_lock();
	turn_wait(SEAT_TIME, my_turn.now_ns, NULL, 0);
}

static void machine_sleep(uint64_t until)
{
	struct timespec ts = {(time_t)(until / 1000000000), (long)(until % 1000000000)};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) != 0)
		;
}

void clock_sleep(uint64_t ns)
{
	if (is_virtual())
		clock_spend(ns);
	else
		machine_sleep(machine_now() + ns);
}

/* -- the timeline -- */

struct tl *timeline_begin(void)
{
	struct tl *t;
	uint64_t now = clock_now();

	share_lock();
	t = timeline_of();
	while (*t->at_ns < now)
		tl_advance(t, now);
	return t;
}

void timeline_end(void)
{
	share_unlock();
}

/* Sleeps until something may be done, looks again. */
static void machine_wait_stream(unsigned card, uint32_t stream, uint64_t number)
{
	uint64_t poll = POLL_LEAST;

	for (;;) {
		struct tl *t = timeline_begin();
		bool done = t->cards[card].streams[stream].head > number;
		uint64_t least = tl_least_ns(t, card, stream, number), now = *t->at_ns;

		timeline_end();
		if (done)
			return;
		if (least > SPIN_NS) {
			machine_sleep(now + least - SPIN_NS / 2);
			poll = POLL_LEAST;
		} else {
			machine_sleep(machine_now() + poll / 2);
			poll = least ? POLL_LEAST : poll * 2 < POLL_MOST ? poll * 2 : POLL_MOST;
		}
	}
}

void clock_wait_stream(unsigned card, uint32_t stream, uint64_t number)
{
	struct tl *t;
	struct tl_stream *s;
	struct seat *me;

	if (!is_virtual()) {
		machine_wait_stream(card, stream, number);
		return;
	}
	for (;;) {
		t = timeline_begin();
		s = &t->cards[card].streams[stream];
		if (s->head > number)
			break;
		if (number + 1 < s->wake_at)
			s->wake_at = number + 1;
		me = &driver.share->seats[my_turn.seat - 1];
		me->card = card;
		me->stream = stream;
		me->number = number;
		turn_wait(SEAT_STREAM, UINT64_MAX, NULL, 0);
	}
	timeline_end();
}

void clock_wait_host(void)
{
	uint32_t *ready = &driver.share->host_ready[driver.place];

	while (!is_virtual()) {
		uint64_t poll = POLL_LEAST * 5;

		timeline_begin();
		timeline_end();
		if (__atomic_load_n(ready, __ATOMIC_RELAXED))
			return;
		machine_sleep(machine_now() + poll);
	}
	timeline_begin();
	if (*ready)
		timeline_end();
	else
		turn_wait(SEAT_HOST, UINT64_MAX, NULL, 0);
}

/* -- words in memory: what the interposer shares -- */

static uint64_t clock_ask(void)
{
	if (!driver_attach())
		return machine_now();
	if (is_virtual())
		clock_spend(NOW_NS);
	return clock_now();
}

static void wait_virtual(uint32_t *word, uint32_t value, uint64_t until_ns)
{
	uint64_t due = until_ns == UINT64_MAX ? until_ns : until_ns + driver.sim->pace.late_ns;

	enter();
	while (__atomic_load_n(word, __ATOMIC_ACQUIRE) == value && my_turn.now_ns < until_ns) {
		share_lock();
		driver.share->seats[my_turn.seat - 1].word =
		        (uint32_t)((uintptr_t)word & WORD_BITS);
		turn_wait(SEAT_WORD, due, word, value);
	}
}

static void clock_wait(uint32_t *word, uint32_t value, uint64_t until_ns)
{
	if (driver_attach() && is_virtual()) {
		wait_virtual(word, value, until_ns);
	} else {
		uint64_t now = machine_now();

		if (until_ns > now)
			futex_wait(word, value, until_ns == UINT64_MAX ? until_ns : until_ns - now);
	}
}

static void clock_wake(uint32_t *word)
{
	uint32_t low = (uint32_t)((uintptr_t)word & WORD_BITS);
	struct share *sh = driver.share;

	futex_wake(word, INT32_MAX);
	if (!driver_attach() || !is_virtual())
		return;
	enter();
	share_lock();
	for (uint32_t i = 0; i < sh->n_seats && i < SHARE_SEATS; i++) {
		struct seat *s = &sh->seats[i];
		const uint64_t *wake = driver.sim->pace.wake_ns;
		uint64_t until;

		if (s->state != SEAT_WAITS || s->wait != SEAT_WORD || s->word != low)
			continue;
		sh->random = sh->random * UINT64_C(6364136223846793005) + 1442695040888963407;
		until = my_turn.now_ns + wake[0] + (sh->random >> 33) % (wake[1] - wake[0] + 1);
		if (until < s->until_ns)
			s->until_ns = until;
		if (until < my_turn.horizon_ns)
			my_turn.horizon_ns = until;
	}
	share_unlock();
}

static void clock_spin(uint64_t ns)
{
	if (driver_attach())
		clock_sleep(ns);
}

static const struct fake_clock the_clock = {
        .now_ns = clock_ask, .wait = clock_wait, .wake = clock_wake, .spin = clock_spin};

__attribute__((visibility("default"))) const struct fake_clock *berthFakeClock(void)
{
	return &the_clock;
}
