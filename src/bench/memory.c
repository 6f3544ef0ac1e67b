#include "bench/bench.h"

#include "bench/card.h"
#include "bench/ledgers.h"
#include "bench/tenants.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#define RACERS        8
#define RACE_S        20
#define RACE_QUICK_S  1.5
#define KILL_S        0.3 /* between two; a context of a real device takes about as long */
#define KILL_FAKE_S   0.02
#define LOOK_NS       2000000
#define OUT_OF_MEMORY 2 /* CUDA_ERROR_OUT_OF_MEMORY */
#define GRANULE_BYTES (2 << 20)

static const unsigned quarter[] = {250};

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* -- memory -- */

static void row_total(struct bench *b, const char *by, double bytes)
{
	bench_row(b,
	        (struct seen){bytes, "bytes", .bound = EXACTLY, .limit = (double)b->limit_bytes},
	        "total that %s shows", by);
}

static bool measure_shown(struct bench *b, const struct seat *seat)
{
	struct tenant holder;
	char *text;

	if (!tenant_run(b, seat, WORDS("info"), &text))
		return false;
	row_total(b, "cuMemGetInfo", tenant_number(text, "total"));
	row_total(b, "cuDeviceTotalMem", tenant_number(text, "device"));
	free(text);
	if (!tenant_begin(b, seat, WORDS("hold"), &holder))
		return false;
	bool ok = tenant_wait_line(b, &holder) && tenant_run(b, seat, WORDS("nvml"), &text);
	tenant_kill(&holder, NULL);
	if (!ok)
		return false;
	row_total(b, "NVML", tenant_number(text, "total"));
	bench_row(b, (struct seen){tenant_number(text, "used"), "bytes"},
	        "use that NVML shows, with one context");
	free(text);
	return true;
}

/* Twice: what the first one had must be there again. */
bool measure_memory(struct bench *b)
{
	unsigned n_refused = 0, n_beyond = 0;
	struct ledgers ledgers;
	char *text;

	if (!ledgers_make(b, b->uuid, quarter, 1, &ledgers))
		return false;
	struct seat seat = {.ledgers = ledgers.path[0]};
	for (int turn = 0; turn < 2; turn++) {
		if (!tenant_run(b, &seat, WORDS("exact"), &text))
			return false;
		n_refused += tenant_number(text, "all") != 0;
		n_beyond += tenant_number(text, "more") != OUT_OF_MEMORY;
		free(text);
	}
	bench_row(b, (struct seen){n_refused, "", .bound = EXACTLY},
	        "allocations of all that is free that failed, of 2");
	bench_row(b, (struct seen){n_beyond, "", .bound = EXACTLY},
	        "one byte more, not refused as out of memory, of 2");
	return measure_shown(b, &seat);
}

/* -- race -- */

struct race {
	struct seat seat;
	struct tenant racers[RACERS];
	unsigned n_killed, n_other; /* ends of racers; the others' are not what they should be */
	uint64_t before_bytes, most_bytes;
};

static void note_end(struct race *r, int status, const char *text)
{
	static const char no_context[] = "failed cuDevicePrimaryCtxRetain(&ctx, 0) 2\n";

	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		r->n_killed++;
	else if (!text || strcmp(text, no_context) != 0)
		r->n_other++;
}

/* The oldest is killed, and a new one begins. */
static bool replace(struct bench *b, struct race *r, struct tenant *t)
{
	char *text;
	int status = tenant_kill(t, &text);

	note_end(r, status, text);
	free(text);
	return tenant_begin(b, &r->seat, WORDS("race"), t);
}

static bool run_race(struct bench *b, struct race *r)
{
	const struct timespec look = {.tv_nsec = LOOK_NS};
	double kill_s = b->is_simulated ? KILL_FAKE_S : KILL_S, now = now_s();
	double end = now + (b->is_quick ? RACE_QUICK_S : RACE_S), next = now + kill_s;
	unsigned oldest = 0;

	for (unsigned i = 0; i < RACERS; i++)
		if (!tenant_begin(b, &r->seat, WORDS("race"), &r->racers[i]))
			return false;
	while ((now = now_s()) < end) {
		uint64_t used = card_used_bytes();

		if (used > r->before_bytes && used - r->before_bytes > r->most_bytes)
			r->most_bytes = used - r->before_bytes;
		if (now >= next) {
			next = now + kill_s;
			if (!replace(b, r, &r->racers[oldest]))
				return false;
			oldest = (oldest + 1) % RACERS;
		}
		nanosleep(&look, NULL);
	}
	return true;
}

static void row_after(struct bench *b, const char *text)
{
	double due = (double)(b->limit_bytes - b->context_bytes),
	       there = tenant_number(text, "all") == 0 ? tenant_number(text, "free") : 0;

	bench_row(b,
	        (struct seen){due > there ? due - there : 0, "bytes", .bound = AT_MOST,
	                .limit = GRANULE_BYTES},
	        "lost to those who follow them");
}

bool measure_race(struct bench *b)
{
	struct race r = {.before_bytes = card_used_bytes()};
	struct ledgers ledgers;
	char *text;

	if (!ledgers_make(b, b->uuid, quarter, 1, &ledgers))
		return false;
	r.seat.ledgers = ledgers.path[0];
	bool ok = run_race(b, &r);
	for (unsigned i = 0; i < RACERS; i++)
		tenant_kill(&r.racers[i], NULL);
	if (!ok || !tenant_run(b, &r.seat, WORDS("exact"), &text))
		return false;
	double most = (double)r.most_bytes, limit = (double)b->limit_bytes;
	bench_row(b, (struct seen){most > limit ? most - limit : 0, "bytes", .bound = EXACTLY},
	        "over the limit by NVML, %d processes racing, %u killed", RACERS, r.n_killed);
	/* Of nothing seen nothing follows. */
	bench_row(b, (struct seen){100 * most / limit, "%", .bound = AT_LEAST, .limit = 50},
	        "the most of the limit that NVML saw");
	bench_row(b, (struct seen){r.n_other, "", .bound = EXACTLY},
	        "answers other than success and out of memory");
	row_after(b, text);
	free(text);
	return true;
}
