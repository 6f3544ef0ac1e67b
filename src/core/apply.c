/* One switch from events to the nouns' own files. */
#include "core/world_priv.h"
#include "base/mem.h"

#include <stdlib.h>

void effects_done(struct effects *e)
{
	free(e->v);
	*e = (struct effects){0};
}

void effects_add(struct effects *e, struct effect x)
{
	MEM_GROW(e->v, e->n, e->cap);
	e->v[e->n++] = x;
}

/* The same bytes are kept once. */
static void keep_blob(struct apply *a, const struct event *e, struct applied *out)
{
	const struct blob *known = world_find_blob(a->w, e->hash);

	*out = (struct applied){.num = known ? known->num : a->w->next_blob, .is_new = !known};
	if (known)
		return;
	(void)world_adopt_blob(a->w, out->num, e->hash, a->now.wall_ms, e->data, e->len);
	a->w->counters_dirty = true;
}

static int dispatch(struct apply *a, const struct event *e, struct applied *out, struct err *err)
{
	switch (e->kind) {
	case EVENT_SUBMIT:
		return apply__submit(a, e, out, err);
	case EVENT_BLOB:
		keep_blob(a, e, out);
		return 0;
	case EVENT_START:
		return apply__start(a, e, out, err);
	case EVENT_STARTED:
		return apply__started(a, e, out, err);
	case EVENT_ENDED:
	case EVENT_LOST:
		return apply__ended(a, e, out, err);
	case EVENT_USE:
		apply__use(a, e);
		return 0;
	case EVENT_NOTE:
		return apply__note(a, e, out, err);
	case EVENT_CANCEL:
		return apply__cancel(a, e, out, err);
	case EVENT_HOLD:
	case EVENT_RELEASE:
		return apply__hold(a, e, out, err);
	case EVENT_RETRY:
		return apply__retry(a, e, out, err);
	case EVENT_EDIT:
		return apply__edit(a, e, out, err);
	case EVENT_NODE_UP:
	case EVENT_NODE_DOWN:
	case EVENT_NODE_DRAIN:
	case EVENT_NODE_RESUME:
		return apply__node(a, e, out, err);
	case EVENT_DEVICE:
		return apply__device(a, e, out, err);
	case EVENT_QUEUE_SET:
	case EVENT_QUEUE_REMOVE:
	case EVENT_QUEUE_PAUSE:
	case EVENT_QUEUE_RESUME:
		return apply__queue(a, e, out, err);
	case EVENT_TOKEN_ADD:
	case EVENT_TOKEN_REMOVE:
		return apply__token(a, e, out, err);
	case EVENT_TICK:
		apply__tick(a, e->shift_ms);
		return 0;
	}
	return err_set(err, ERR_INTERNAL, "unknown event %d", (int)e->kind);
}

int core_apply(struct world *w, const struct event *e, struct now now, struct effects *fx,
        struct applied *ret_applied, struct err *err)
{
	struct apply a = {.w = w, .now = now, .fx = fx};
	struct applied out = {0};
	int rc = dispatch(&a, e, &out, err);

	w->n_events++;
	if (rc == 0) {
		apply__recheck_dependents(&a);
		*ret_applied = out;
	}
	free(a.recheck);
	return rc;
}
