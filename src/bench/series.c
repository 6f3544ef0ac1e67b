#include "bench/series.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool series_parse(const char *text, struct series *ret)
{
	size_t n_lines = 0;
	unsigned long long ns;

	*ret = (struct series){0};
	for (const char *p = text; (p = strchr(p, '\n')); p++)
		n_lines++;
	ret->v = calloc(n_lines + 1, sizeof *ret->v);
	for (const char *p = text; ret->v && ret->n < n_lines; p = strchr(p, '\n') + 1) {
		struct sample *to = &ret->v[ret->n];

		if (sscanf(p, "%llu %lf", &ns, &to->work_us) != 2)
			break;
		to->s = (double)ns / 1e9;
		ret->n++;
	}
	if (ret->n >= 2)
		return true;
	series_done(ret);
	return false;
}

void series_done(struct series *s)
{
	free(s->v);
	*s = (struct series){0};
}

/* Between two samples as if work were done evenly. */
static bool done_at(const struct series *all, double s, double *ret_us)
{
	for (size_t i = 1; i < all->n; i++) {
		const struct sample *from = &all->v[i - 1], *to = &all->v[i];

		if (s < from->s || s > to->s || to->s <= from->s)
			continue;
		*ret_us = from->work_us +
		          (to->work_us - from->work_us) * (s - from->s) / (to->s - from->s);
		return true;
	}
	return false;
}

bool series_rate(const struct series *s, double *ret)
{
	double begin_s = s->v[0].s + SERIES_SETTLE_S, end_s = s->v[s->n - 1].s, from_us, to_us;

	if (!done_at(s, begin_s, &from_us) || !done_at(s, end_s, &to_us) || end_s <= begin_s)
		return false;
	*ret = (to_us - from_us) / (end_s - begin_s) / 1e6;
	return true;
}

bool series_window(const struct series *all, size_t n, size_t k, double *ret_work_us)
{
	double begin_s = 0, from_us, to_us;

	for (size_t i = 0; i < n; i++)
		begin_s = all[i].v[0].s > begin_s ? all[i].v[0].s : begin_s;
	begin_s += SERIES_SETTLE_S + (double)k * SERIES_STEP_S;
	for (size_t i = 0; i < n; i++) {
		if (!done_at(&all[i], begin_s, &from_us) ||
		        !done_at(&all[i], begin_s + SERIES_WINDOW_S, &to_us))
			return false;
		ret_work_us[i] = to_us - from_us;
	}
	return true;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double series_median(double *v, size_t n)
{
	qsort(v, n, sizeof *v, compare);
	return v[n / 2];
}
