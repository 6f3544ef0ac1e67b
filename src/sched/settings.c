/* The settings of `fragment` as a list of numbers, and back: what comes from outside is held to bounds within which all of them make sense. */
#include "sched/place_priv.h"

/* As v[SCHED_SETTINGS]; behind them by_sale, 0 or 1. */
static const size_t members[SCHED_SETTINGS - 1] = {offsetof(struct place_params, offers),
        offsetof(struct place_params, cpu), offsetof(struct place_params, cpu_mean),
        offsetof(struct place_params, mem), offsetof(struct place_params, mem_mean),
        offsetof(struct place_params, deviation), offsetof(struct place_params, sets),
        offsetof(struct place_params, left), offsetof(struct place_params, scarce),
        offsetof(struct place_params, empty)};

#define MOST 1000 /* ten times what is usual of the largest; offers cost time */

struct sched_settings place__settings(const struct place_params *params)
{
	struct sched_settings s;

	for (size_t i = 0; i < ARRAY_LEN(members); i++)
		s.v[i] = *(const double *)(const void *)((const char *)params + members[i]);
	s.v[SCHED_SETTINGS - 1] = params->by_sale;
	return s;
}

bool place_adopt(struct place *p, const struct sched_settings *settings)
{
	struct place_params params = {.by_sale = settings->v[SCHED_SETTINGS - 1] > 0};

	for (size_t i = 0; i < SCHED_SETTINGS; i++)
		if (!(settings->v[i] >= 0 && settings->v[i] <= MOST))
			return false;
	if (p->policy != &place_fragment)
		return false;
	for (size_t i = 0; i < ARRAY_LEN(members); i++)
		*(double *)(void *)((char *)&params + members[i]) = settings->v[i];
	p->params = params;
	return true;
}
