#include "sched/limit.h"
#include "sched/sched_priv.h"
#include "base/mem.h"

#include <stdlib.h>

struct sched *sched_new(const char *policy)
{
	struct room *room = room_new(policy);
	struct sched *s;

	if (!room)
		return NULL;
	s = mem_zalloc(sizeof(*s));
	s->room = room;
	s->next_ms = INT64_MAX;
	return s;
}

void sched_free(struct sched *s)
{
	if (!s)
		return;
	room_free(s->room);
	sched_plan_done(&s->asked);
	limits_free(s->given);
	free(s->heads);
	free(s);
}

void sched_learn(struct sched *s, const struct world *w)
{
	s->is_asked = false;
	room_sync(s->room, w, 0);
	room_learn(s->room, w);
}

bool sched_fit_request(struct sched *s, const struct world *w, int64_t now_ms,
        const struct request *r, struct placement *ret)
{
	struct need need = need_of(r, world_find_queue(w, r->queue));

	s->is_asked = false;
	room_sync(s->room, w, now_ms);
	return room_fit(s->room, &need, ret);
}
