/*
 * How busy a card looks: the mean of a second, a tenth of a second old, as NVML has it. Read from the mapped file without
 * mapping it; nothing in it is believed further than as a number.
 */
#include "share.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define STALE_NS  UINT64_C(100000000)
#define WINDOW_NS UINT64_C(1000000000)

struct look {
	struct tl_sample points[TL_SAMPLES + 1]; /* the last: where the timeline stands */
	uint64_t queued_ns;
};

/* Busy time until a moment; between two points as much as lies between, after the last one what is still queued. */
static double busy_until(const struct look *l, uint64_t at_ns)
{
	const struct tl_sample *before = NULL, *after = NULL;
	uint64_t more;

	for (unsigned i = 0; i <= TL_SAMPLES; i++) {
		const struct tl_sample *p = &l->points[i];

		if (p->at_ns <= at_ns && (!before || p->at_ns >= before->at_ns))
			before = p;
		if (p->at_ns > at_ns && (!after || p->at_ns < after->at_ns))
			after = p;
	}
	if (!before)
		return after ? (double)after->busy_ns : 0;
	if (after)
		return (double)before->busy_ns +
		       ((double)after->busy_ns - (double)before->busy_ns) *
		               (double)(at_ns - before->at_ns) /
		               (double)(after->at_ns - before->at_ns);
	more = at_ns - before->at_ns;
	return (double)before->busy_ns + (double)(more < l->queued_ns ? more : l->queued_ns);
}

static uint64_t now_of(const struct sim *s, const struct share *head)
{
	struct timespec now;

	if (s->pace.is_virtual)
		return head->now_ns;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* The card without its events and queues. */
static struct tl_card *read_card(const struct sim *s, unsigned card)
{
	struct tl_card *c = malloc(sizeof(*c));
	off_t at = (off_t)(SHARE_CARDS_AT + card * sizeof(*c));

	if (c && pread(s->share_fd, c, offsetof(struct tl_card, events), at) ==
	                 (ssize_t)offsetof(struct tl_card, events))
		return c;
	free(c);
	return NULL;
}

/* Of the second that ended at end_ns: `samples` and, for now, what a context or the card has done and what it still has to do. */
static double part_of_second(const struct tl_sample samples[TL_SAMPLES], struct tl_sample now,
        uint64_t queued_ns, uint64_t end_ns)
{
	struct look l = {.queued_ns = queued_ns};

	for (unsigned i = 0; i < TL_SAMPLES; i++)
		l.points[i] = samples[i];
	l.points[TL_SAMPLES] = now;
	return (busy_until(&l, end_ns) - busy_until(&l, end_ns - WINDOW_NS)) / (double)WINDOW_NS;
}

/* The contexts of one place; place 0: the whole card. */
static double busy_part(const struct tl_card *c, uint32_t place, uint64_t at_ns, uint64_t end_ns)
{
	uint64_t queued_ns = 0;
	double part = 0;

	for (unsigned i = 0; i < c->n_ctxs && i < TL_CONTEXTS; i++) {
		const struct tl_ctx *ctx = &c->ctxs[i];

		queued_ns += ctx->place ? ctx->queued_ns : 0;
		if (place && ctx->place == place)
			part += part_of_second(ctx->samples,
			        (struct tl_sample){at_ns, ctx->busy_ns}, ctx->queued_ns, end_ns);
	}
	return place ? part
	             : part_of_second(c->samples, (struct tl_sample){at_ns, c->busy_ns}, queued_ns,
	                       end_ns);
}

int sim_busy_percent(const struct sim *s, unsigned card, uint32_t place)
{
	const size_t head_bytes = offsetof(struct share, host_ready);
	struct share *head = s->share_fd >= 0 ? malloc(sizeof(*head)) : NULL;
	struct tl_card *c = head ? read_card(s, card) : NULL;
	int percent = -1;

	if (c && c->n_ctxs && pread(s->share_fd, head, head_bytes, 0) == (ssize_t)head_bytes) {
		uint64_t end_ns = now_of(s, head) - STALE_NS;
		double part =
		        busy_part(c, place, head->at_ns, end_ns < WINDOW_NS ? WINDOW_NS : end_ns);

		percent = part <= 0 ? 0 : part >= 1 ? 100 : (int)(part * 100 + 0.5);
	}
	free(head);
	free(c);
	return percent;
}
