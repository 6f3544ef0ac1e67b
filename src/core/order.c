/*
 * DESIGN. A tree of jobs in order, in which each knows how many stand at and below it: so those before somebody are counted in
 * as many steps as the tree is deep. The tree's macros count anew whom they rotate; from where a job came or went the way to
 * the root is gone here.
 */
#include "core/world_priv.h"

int job_order_cmp(const struct job *a, const struct job *b)
{
	if (a->priority != b->priority)
		return a->priority > b->priority ? -1 : 1;
	if (a->order != b->order)
		return a->order < b->order ? -1 : 1;
	if (a->id.num != b->id.num)
		return a->id.num < b->id.num ? -1 : 1;
	/* Tasks share the order of their array. As they come; the array itself (TASK_NONE) stands behind those that came back. */
	if (a->id.task != b->id.task)
		return (uint64_t)a->id.task < (uint64_t)b->id.task ? -1 : 1;
	return 0;
}

static uint32_t count_of(const struct job *j)
{
	return j ? j->n_ordered : 0;
}

static void count(struct job *j)
{
	j->n_ordered = 1 + count_of(RB_LEFT(j, by_order)) + count_of(RB_RIGHT(j, by_order));
}

#undef RB_AUGMENT
#define RB_AUGMENT(j) count(j)
RB_GENERATE(job_order, job, by_order, job_order_cmp)

static void count_up(struct job *from)
{
	for (struct job *j = from; j; j = RB_PARENT(j, by_order))
		count(j);
}

void world__order_insert(struct job_order *o, struct job *j)
{
	j->n_ordered = 1;
	BUG_IF(RB_INSERT(job_order, o, j) != NULL);
	count_up(j);
}

void world__order_append(struct job_order *o, struct job *last, struct job *j)
{
	if (!last) {
		world__order_insert(o, j);
		return;
	}
	j->n_ordered = 1;
	RB_SET(j, last, by_order);
	RB_RIGHT(last, by_order) = j;
	job_order_RB_INSERT_COLOR(o, j);
	count_up(j);
}

/* The lowest whose tree is another one without j. */
static struct job *lowest_changed(struct job *j)
{
	struct job *heir;

	if (!RB_LEFT(j, by_order) || !RB_RIGHT(j, by_order))
		return RB_PARENT(j, by_order);
	heir = RB_RIGHT(j, by_order);
	while (RB_LEFT(heir, by_order))
		heir = RB_LEFT(heir, by_order);
	return RB_PARENT(heir, by_order) == j ? heir : RB_PARENT(heir, by_order);
}

void world__order_remove(struct job_order *o, struct job *j)
{
	struct job *from = lowest_changed(j);

	RB_REMOVE(job_order, o, j);
	count_up(from);
}

uint64_t job_order_count(const struct job_order *o, const struct job *before)
{
	const struct job *j = RB_ROOT(o);
	uint64_t n = 0;

	if (!before)
		return count_of(j);
	while (j) {
		bool is_before = job_order_cmp(j, before) < 0;
		if (is_before)
			n += 1 + count_of(RB_LEFT(j, by_order));
		j = is_before ? RB_RIGHT(j, by_order) : RB_LEFT(j, by_order);
	}
	return n;
}
