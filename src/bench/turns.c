#include "bench/turns.h"

#include "bench/series.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct stamp {
	double begin_ns, end_ns;
	unsigned tenant;
};

static int compare(const void *a, const void *b)
{
	const struct stamp *x = a, *y = b;

	return (x->begin_ns > y->begin_ns) - (x->begin_ns < y->begin_ns);
}

static size_t count_lines(const char *text)
{
	size_t n = 0;

	for (; (text = strchr(text, '\n')); text++)
		n++;
	return n;
}

/* Whole lines, up to the first that is none. */
static size_t read_stamps(const char *text, unsigned tenant, struct stamp *to)
{
	size_t n_lines = count_lines(text), n = 0;

	for (; n < n_lines && sscanf(text, "%lf %lf", &to[n].begin_ns, &to[n].end_ns) == 2; n++) {
		to[n].tenant = tenant;
		text = strchr(text, '\n') + 1;
	}
	return n;
}

/* A turn ends where the other tenant's kernel is next. Where the first one began is not known: the other one was not there yet. */
static size_t find_turns(const struct stamp *v, size_t n, double *turns, double *gaps)
{
	size_t n_turns = 0, start = 0;

	for (size_t i = 1; i < n; i++) {
		if (v[i].tenant == v[i - 1].tenant)
			continue;
		if (start) {
			turns[n_turns] = v[i - 1].end_ns - v[start].begin_ns;
			gaps[n_turns++] = v[i].begin_ns - v[i - 1].end_ns;
		}
		start = i;
	}
	return n_turns;
}

bool turns_parse(const char *one, const char *other, struct turns *ret)
{
	size_t n = count_lines(one) + count_lines(other) + 1, n_turns = 0;
	struct stamp *v = calloc(n, sizeof *v);
	double *turns = calloc(n, sizeof *turns), *gaps = calloc(n, sizeof *gaps);

	if (v && turns && gaps) {
		n = read_stamps(one, 0, v);
		n += read_stamps(other, 1, v + n);
		qsort(v, n, sizeof *v, compare);
		n_turns = find_turns(v, n, turns, gaps);
	}
	if (n_turns)
		*ret = (struct turns){.n = n_turns,
		        .turn_ns = series_median(turns, n_turns),
		        .gap_ns = series_median(gaps, n_turns)};
	free(v);
	free(turns);
	free(gaps);
	return n_turns > 0;
}
