/*
 * The simulation: one step after the other, each to the next moment at which something on a card ends.
 */
#include "timeline.h"

static struct tl_stream *stream_of(struct tl_card *c, uint32_t i)
{
	return &c->streams[i % TL_STREAMS];
}

static struct tl_op *head_of(struct tl_stream *s)
{
	return &s->ring[s->head % TL_QUEUE];
}

static bool is_empty(const struct tl_stream *s)
{
	return s->head >= s->tail;
}

/* Plain, and the same on every machine. */
static uint64_t next_random(struct tl_card *c)
{
	uint64_t x = c->random ? c->random : UINT64_C(0x9e3779b97f4a7c15);

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return c->random = x;
}

static uint64_t vary(struct tl_card *c, uint64_t ns, unsigned percent)
{
	uint64_t width = ns / 100 * percent;

	return width ? ns - width + next_random(c) % (2 * width + 1) : ns;
}

/* -- order in a context -- */

/* The legacy default stream and the blocking ones wait for each other's earlier work. */
static bool is_its_turn(struct tl_card *c, const struct tl_ctx *ctx, struct tl_stream *s)
{
	uint64_t order = head_of(s)->order;

	if (s->kind == TL_NON_BLOCKING)
		return true;
	for (uint32_t i = ctx->first; i != TL_NONE; i = stream_of(c, i)->next) {
		struct tl_stream *o = stream_of(c, i);

		if (o != s && o->kind != TL_NON_BLOCKING &&
		        (o->kind == TL_LEGACY || s->kind == TL_LEGACY) && !is_empty(o) &&
		        head_of(o)->order < order)
			return false;
	}
	return true;
}

static bool needs_the_card(const struct tl_op *op)
{
	return op->kind == TL_KERNEL || op->kind == TL_COLLECTIVE || op->kind == TL_EVENT;
}

static void free_stream(struct tl_card *c, uint32_t stream)
{
	struct tl_stream *s = stream_of(c, stream);
	uint32_t *link = &c->ctxs[s->ctx % TL_CONTEXTS].first;

	while (*link != TL_NONE && *link != stream)
		link = &stream_of(c, *link)->next;
	if (*link == stream)
		*link = s->next;
	s->used = 0;
}

/* The head is done. True: somebody waits for that. */
static bool pop(struct tl *t, struct tl_card *c, uint32_t stream)
{
	struct tl_stream *s = stream_of(c, stream);
	struct tl_ctx *ctx = &c->ctxs[s->ctx % TL_CONTEXTS];
	struct tl_op *op = head_of(s);

	if (op->kind == TL_EVENT) {
		struct tl_event *e = &c->events[op->event % TL_EVENTS];

		if (e->place == ctx->place && op->key > e->done) {
			e->done = op->key;
			e->at_ns = *t->at_ns;
		}
	}
	s->head++;
	s->started = 0;
	if (ctx->n_queued)
		ctx->n_queued--;
	if (s->closing && is_empty(s))
		free_stream(c, stream);
	if (s->head < s->wake_at)
		return false;
	s->wake_at = UINT64_MAX;
	return true;
}

/* -- what needs no turn on the card -- */

static bool has_passed(struct tl *t, const struct tl_op *op)
{
	const struct tl_event *e = &t->cards[op->card % t->n_cards].events[op->event % TL_EVENTS];

	return !e->place || e->done >= op->key;
}

/* True: the head was done, and the next may be looked at. */
static bool settle_head(struct tl *t, struct tl_card *c, uint32_t stream, bool *stop)
{
	struct tl_stream *s = stream_of(c, stream);
	struct tl_ctx *ctx = &c->ctxs[s->ctx % TL_CONTEXTS];
	struct tl_op *op = head_of(s);

	if (is_empty(s) || needs_the_card(op) || !is_its_turn(c, ctx, s))
		return false;
	if (op->kind == TL_WAIT && !has_passed(t, op))
		return false;
	if (op->kind == TL_HOST) {
		if (!s->started) {
			s->started = 1;
			t->host_ready[ctx->place % (SIM_PROCESSES_MAX + 1)]++;
			*stop = true;
		}
		return false;
	}
	if (op->kind == TL_COPY) {
		if (!s->started) {
			s->started = 1;
			s->left_ns = *t->at_ns + op->ns;
		}
		if (s->left_ns > *t->at_ns)
			return false;
	}
	*stop |= pop(t, c, stream);
	return true;
}

static bool settle(struct tl *t, struct tl_card *c, bool *stop)
{
	bool any = false;

	for (uint32_t i = 0; i < c->n_ctxs; i++) {
		struct tl_ctx *ctx = &c->ctxs[i];

		if (!ctx->place || !ctx->n_queued)
			continue;
		for (uint32_t s = ctx->first, next; s != TL_NONE; s = next) {
			next = stream_of(c, s)->next;
			while (settle_head(t, c, s, stop))
				any = true;
		}
	}
	return any;
}

/* -- turns -- */

/* The stream that is next to run in a context; TL_NONE: none can. */
static uint32_t ready_stream(struct tl_card *c, const struct tl_ctx *ctx)
{
	uint32_t first = TL_NONE;
	bool passed = false;

	if (!ctx->place || !ctx->n_queued)
		return TL_NONE;
	for (uint32_t i = ctx->first; i != TL_NONE; i = stream_of(c, i)->next) {
		struct tl_stream *s = stream_of(c, i);

		if (!is_empty(s) && needs_the_card(head_of(s)) && is_its_turn(c, ctx, s)) {
			if (s->started) /* what was begun goes on */
				return i;
			if (passed)
				return i;
			if (first == TL_NONE)
				first = i;
		}
		passed |= i == ctx->turn;
	}
	return first;
}

/* The context that is next after the one that ran, that one last. */
static uint32_t ready_ctx(struct tl *t, struct tl_card *c, unsigned card, uint32_t *ret_stream)
{
	for (uint32_t n = 1; n <= c->n_ctxs; n++) {
		uint32_t i = (c->ctx == TL_NONE ? n - 1 : c->ctx + n) % c->n_ctxs;
		struct tl_ctx *ctx = &c->ctxs[i];

		*ret_stream = ready_stream(c, ctx);
		if (*ret_stream == TL_NONE)
			continue;
		if (t->lives(ctx->place))
			return i;
		tl_drop_place(t, ctx->place);
	}
	return TL_NONE;
}

static uint64_t slice_of(struct tl *t, struct tl_card *c)
{
	return vary(c, t->pace->slice_ns, t->pace->jitter);
}

static void begin_op(struct tl *t, struct tl_card *c, uint32_t stream)
{
	struct tl_stream *s = stream_of(c, stream);

	c->phase = TL_RUN;
	c->stream = stream;
	c->ctxs[c->ctx % TL_CONTEXTS].turn = stream;
	if (s->started)
		return;
	s->started = 1;
	s->left_ns = head_of(s)->ns;
}

/* Who runs from here on. A slice goes on over kernels; it ends early only when its context has nothing to do. */
static void choose(struct tl *t, unsigned card)
{
	struct tl_card *c = &t->cards[card];
	uint64_t now = *t->at_ns;
	uint32_t stream, ctx;
	bool mine = c->ctx != TL_NONE && c->phase != TL_IDLE;

	if (mine && now < c->until_ns) {
		stream = ready_stream(c, &c->ctxs[c->ctx]);
		if (stream != TL_NONE) {
			begin_op(t, c, stream);
			return;
		}
	}
	ctx = ready_ctx(t, c, card, &stream);
	if (ctx == TL_NONE) {
		c->phase = TL_IDLE;
		return;
	}
	if (ctx == c->ctx && !c->owed_ns) {
		c->until_ns = now + slice_of(t, c);
		begin_op(t, c, stream);
		return;
	}
	c->ctx = ctx;
	c->stream = TL_NONE;
	c->phase = TL_SWITCH;
	c->until_ns = now + t->pace->switch_ns + c->owed_ns;
	c->owed_ns = 0;
}

/* A collective runs with one of its key on another card. */
static bool advances(struct tl *t, unsigned card)
{
	struct tl_card *c = &t->cards[card];
	const struct tl_op *op = head_of(stream_of(c, c->stream));

	if (op->kind != TL_COLLECTIVE)
		return true;
	for (unsigned i = 0; i < t->n_cards; i++) {
		struct tl_card *o = &t->cards[i];
		const struct tl_op *peer = head_of(stream_of(o, o->stream));

		if (i != card && o->phase == TL_RUN && peer->kind == TL_COLLECTIVE &&
		        peer->key == op->key)
			return true;
	}
	return false;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* When something on the card ends, as things stand. */
static uint64_t next_end(struct tl *t, unsigned card)
{
	struct tl_card *c = &t->cards[card];
	uint64_t next = UINT64_MAX;

	if (c->phase != TL_IDLE)
		next = c->until_ns;
	if (c->phase == TL_RUN && advances(t, card))
		next = earlier(next, *t->at_ns + stream_of(c, c->stream)->left_ns);
	for (uint32_t i = 0; i < c->n_ctxs; i++) {
		if (!c->ctxs[i].place || !c->ctxs[i].n_queued)
			continue;
		for (uint32_t k = c->ctxs[i].first; k != TL_NONE; k = stream_of(c, k)->next) {
			struct tl_stream *s = stream_of(c, k);

			if (s->started && !is_empty(s) && head_of(s)->kind == TL_COPY)
				next = earlier(next, s->left_ns);
		}
	}
	return next;
}

/* -- steps -- */

static void sample(struct tl_sample *samples, uint64_t at_ns, uint64_t busy_ns)
{
	samples[at_ns / TL_SAMPLE % TL_SAMPLES] = (struct tl_sample){at_ns, busy_ns};
}

static void sample_card(struct tl_card *c, uint64_t at_ns)
{
	sample(c->samples, at_ns, c->busy_ns);
	for (uint32_t i = 0; i < c->n_ctxs; i++)
		if (c->ctxs[i].place)
			sample(c->ctxs[i].samples, at_ns, c->ctxs[i].busy_ns);
}

/* Lets what runs on a card run for so long. */
static void run(struct tl_card *c, uint64_t ns)
{
	struct tl_ctx *ctx = &c->ctxs[c->ctx % TL_CONTEXTS];
	struct tl_stream *s = stream_of(c, c->stream);

	c->busy_ns += ns;
	ctx->busy_ns += ns;
	ctx->queued_ns -= ns < ctx->queued_ns ? ns : ctx->queued_ns;
	s->left_ns -= ns < s->left_ns ? ns : s->left_ns;
}

/* What ended at this moment. True: somebody waits for it. */
static bool end_now(struct tl *t, unsigned card)
{
	struct tl_card *c = &t->cards[card];
	bool stop = false;

	if (c->phase == TL_SWITCH && c->until_ns <= *t->at_ns) {
		c->until_ns = *t->at_ns + slice_of(t, c);
		c->phase = TL_RUN;
	}
	if (c->phase == TL_RUN && c->stream != TL_NONE) {
		struct tl_stream *s = stream_of(c, c->stream);

		if (!is_empty(s) && s->started && s->left_ns == 0)
			stop = pop(t, c, c->stream);
	}
	return stop;
}

/* Everything that is due at this moment, until nothing is. */
static bool turn_all(struct tl *t)
{
	bool stop = false, any = true;

	while (any) {
		any = false;
		for (unsigned i = 0; i < t->n_cards; i++)
			if (t->cards[i].n_ctxs)
				any |= settle(t, &t->cards[i], &stop);
	}
	for (unsigned i = 0; i < t->n_cards; i++)
		if (t->cards[i].n_ctxs && t->cards[i].phase != TL_SWITCH)
			choose(t, i);
	return stop;
}

uint64_t tl_next(struct tl *t)
{
	uint64_t next = UINT64_MAX;

	turn_all(t);
	for (unsigned i = 0; i < t->n_cards; i++)
		if (t->cards[i].n_ctxs)
			next = earlier(next, next_end(t, i));
	return next > *t->at_ns ? next : *t->at_ns + 1;
}

static void step(struct tl *t, uint64_t to)
{
	uint64_t ns = to - *t->at_ns;
	bool running[SIM_CARDS_MAX];

	for (unsigned i = 0; i < t->n_cards; i++)
		running[i] = t->cards[i].phase == TL_RUN && advances(t, i);
	for (unsigned i = 0; i < t->n_cards; i++)
		if (running[i])
			run(&t->cards[i], ns);
	*t->at_ns = to;
}

/* Nothing happens until then. */
static void jump(struct tl *t, uint64_t to)
{
	uint64_t edge = to / TL_SAMPLE * TL_SAMPLE;

	for (unsigned i = 0; i < t->n_cards && edge >= *t->at_ns; i++)
		sample_card(&t->cards[i], edge);
	*t->at_ns = to;
}

uint64_t tl_advance(struct tl *t, uint64_t to_ns)
{
	while (*t->at_ns < to_ns) {
		uint64_t next = to_ns, edge = (*t->at_ns / TL_SAMPLE + 1) * TL_SAMPLE;
		bool stop, idle = true;

		stop = turn_all(t);
		if (stop)
			return *t->at_ns;
		for (unsigned i = 0; i < t->n_cards; i++) {
			uint64_t end = t->cards[i].n_ctxs ? next_end(t, i) : UINT64_MAX;

			idle &= end == UINT64_MAX;
			next = earlier(next, end);
		}
		if (next > edge)
			next = edge;
		step(t, next);
		for (unsigned i = 0; i < t->n_cards; i++)
			stop |= t->cards[i].n_ctxs && end_now(t, i);
		if (next == edge)
			for (unsigned i = 0; i < t->n_cards; i++)
				sample_card(&t->cards[i], edge);
		if (stop) {
			turn_all(t);
			return *t->at_ns;
		}
		if (idle)
			jump(t, to_ns);
	}
	turn_all(t);
	return *t->at_ns;
}

/* -- contexts, streams, events -- */

uint32_t tl_ctx_new(struct tl *t, unsigned card, uint32_t place)
{
	struct tl_card *c = &t->cards[card];

	for (uint32_t i = 0; i < TL_CONTEXTS; i++) {
		if (c->ctxs[i].place && t->lives(c->ctxs[i].place))
			continue;
		if (c->ctxs[i].place)
			tl_drop_place(t, c->ctxs[i].place);
		if (!c->n_ctxs)
			c->ctx = TL_NONE;
		if (i >= c->n_ctxs)
			c->n_ctxs = i + 1;
		c->ctxs[i] = (struct tl_ctx){.place = place, .first = TL_NONE, .turn = TL_NONE};
		return i;
	}
	return TL_NONE;
}

void tl_ctx_end(struct tl *t, unsigned card, uint32_t ctx)
{
	struct tl_card *c = &t->cards[card];

	for (uint32_t i = c->ctxs[ctx].first; i != TL_NONE; i = stream_of(c, i)->next) {
		stream_of(c, i)->used = 0;
		stream_of(c, i)->head = stream_of(c, i)->tail;
	}
	c->ctxs[ctx].place = 0;
	if (c->ctx != ctx)
		return;
	c->phase = TL_IDLE;
	c->ctx = TL_NONE;
}

uint32_t tl_stream_new(struct tl *t, unsigned card, uint32_t ctx, enum tl_stream_kind kind)
{
	struct tl_card *c = &t->cards[card];
	uint32_t i = 0;

	while (i < TL_STREAMS && c->streams[i].used)
		i++;
	if (i == TL_STREAMS)
		return TL_NONE;
	c->streams[i].used = 1;
	c->streams[i].ctx = ctx;
	c->streams[i].kind = kind;
	c->streams[i].closing = c->streams[i].started = 0;
	c->streams[i].head = c->streams[i].tail;
	c->streams[i].wake_at = UINT64_MAX;
	c->streams[i].next = c->ctxs[ctx].first;
	c->ctxs[ctx].first = i;
	return i;
}

void tl_stream_end(struct tl *t, unsigned card, uint32_t stream)
{
	struct tl_stream *s = stream_of(&t->cards[card], stream);

	if (is_empty(s))
		free_stream(&t->cards[card], stream);
	else
		s->closing = 1;
}

uint32_t tl_event_new(struct tl *t, unsigned card, uint32_t place)
{
	struct tl_card *c = &t->cards[card];

	for (uint32_t i = 0; i < TL_EVENTS; i++) {
		if (c->events[i].place)
			continue;
		if (i >= c->n_events)
			c->n_events = i + 1;
		c->events[i].place = place;
		c->events[i].asked = c->events[i].done;
		return i;
	}
	return TL_NONE;
}

void tl_event_end(struct tl *t, unsigned card, uint32_t event)
{
	t->cards[card].events[event % TL_EVENTS].place = 0;
}

uint64_t tl_put(struct tl *t, unsigned card, uint32_t stream, struct tl_op op)
{
	struct tl_card *c = &t->cards[card];
	struct tl_stream *s = stream_of(c, stream);
	struct tl_ctx *ctx = &c->ctxs[s->ctx % TL_CONTEXTS];

	if (op.kind == TL_KERNEL)
		op.ns = vary(c, op.ns, t->pace->spread);
	if (op.kind == TL_EVENT)
		op.ns = t->pace->mark_ns;
	if (needs_the_card(&op))
		ctx->queued_ns += op.ns;
	op.order = ++ctx->orders;
	ctx->n_queued++;
	s->ring[s->tail % TL_QUEUE] = op;
	return s->tail++;
}

void tl_host_done(struct tl *t, unsigned card, uint32_t stream, uint64_t number)
{
	if (stream_of(&t->cards[card], stream)->head == number)
		pop(t, &t->cards[card], stream);
}

void tl_drop_place(struct tl *t, uint32_t place)
{
	for (unsigned k = 0; k < t->n_cards; k++) {
		struct tl_card *c = &t->cards[k];

		for (uint32_t i = 0; i < c->n_ctxs; i++) {
			if (c->ctxs[i].place != place)
				continue;
			c->owed_ns = t->pace->teardown_ns;
			tl_ctx_end(t, k, i);
		}
		for (uint32_t i = 0; i < c->n_events; i++)
			if (c->events[i].place == place)
				c->events[i].place = 0;
	}
	t->host_ready[place] = 0;
}

uint64_t tl_least_ns(const struct tl *t, unsigned card, uint32_t stream, uint64_t number)
{
	struct tl_stream *s = stream_of(&t->cards[card], stream);
	uint64_t ns = 0;

	for (uint64_t i = s->head; i < s->tail && i <= number; i++) {
		const struct tl_op *op = &s->ring[i % TL_QUEUE];

		if (i > s->head || !s->started || !needs_the_card(op))
			ns += op->kind == TL_COPY && s->started && i == s->head ? 0 : op->ns;
		else
			ns += s->left_ns;
	}
	return ns;
}
