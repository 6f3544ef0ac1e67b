/*
 * Recordings: lines, each read and then carried out in one world, as a replay does: refused, or every invariant holds.
 */
#include <string.h>

#include "fuzz.h"
#include "core/check.h"
#include "wire/recording.h"

struct course {
	struct world *w;
	struct recorded *begin;
	struct effects fx;
};

static void end(struct course *c)
{
	world_free(STEAL(c->w));
	recorded_free(STEAL(c->begin));
}

static void apply(struct course *c, const struct event *e, int64_t at_ms)
{
	struct applied out;
	struct job **dirty;
	struct err err;

	(void)!core_apply(c->w, e, (struct now){at_ms, at_ms}, &c->fx, &out, &err);
	(void)world_take_dirty(c->w, &dirty);
	c->fx.n = 0;
}

/* True: it was a line, and is kept for as long as the world. */
static bool carry_out(struct course *c, struct recorded *v)
{
	struct err err;

	if (v->kind == RECORDED_BEGIN) {
		end(c);
		c->begin = v;
		c->w = recorded_world(v);
		return true;
	}
	if (!c->w)
		return false;
	if (v->kind == RECORDED_JOB)
		(void)!recorded_adopt(v, c->w, &err);
	if (v->kind == RECORDED_EVENT)
		apply(c, &v->event, v->at_ms);
	for (size_t i = 0; i < v->n_placements; i++)
		apply(c, &(struct event){.kind = EVENT_START, .placement = &v->placements[i]},
		        v->at_ms);
	return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *at = (const char *)data, *last = at + size, *next;
	struct course c = {0};

	for (; at < last; at = next) {
		struct recorded *v;
		struct err err;
		next = memchr(at, '\n', (size_t)(last - at));
		next = next ? next + 1 : last;
		if (recorded_parse(at, (size_t)(next - at), &v, &err))
			FUZZ_MUST(err.text[0]);
		else if (!carry_out(&c, v))
			recorded_free(v);
	}
	if (c.w) {
		struct err err = {0};
		FUZZ_MUST(world_check(c.w, &err) == 0);
	}
	end(&c);
	effects_done(&c.fx);
	return 0;
}
