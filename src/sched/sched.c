#include "sched/calibrate.h"
#include "sched/limit.h"
#include "sched/sched_priv.h"
#include "base/mem.h"

#include <stdlib.h>

#define CALIBRATE_DEMAND  1.3 /* of all devices: who comes then decides */
#define CALIBRATE_STREAMS 3
#define CALIBRATE_DRIFT   0.1 /* part of the mix or of the devices: less changes little */

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

struct calibration *sched_calibrate(const struct sched *s, const struct calibration *last)
{
	const struct place *p = room_place(s->room);

	if (!calibration_is_of_use(p) || (last && calibration_drift(last, p) < CALIBRATE_DRIFT))
		return NULL;
	return calibration_new(p, CALIBRATE_DEMAND, CALIBRATE_STREAMS);
}

bool sched_adopt(struct sched *s, const struct world *w, const struct sched_settings *settings)
{
	if (!room_adopt(s->room, settings))
		return false;
	sched_learn(s, w);
	return true;
}

bool sched_fit_request(struct sched *s, const struct world *w, int64_t now_ms,
        const struct request *r, struct placement *ret)
{
	struct need need = need_of(r, world_find_queue(w, r->queue));

	s->is_asked = false;
	room_sync(s->room, w, now_ms);
	return room_fit(s->room, &need, ret);
}
