/* What came of it. */
#include "pace_model_priv.h"

#include <stdlib.h>

uint64_t model_now(const struct model *m)
{
	return m->now;
}

double model_busy_ms(
        const struct model *m, unsigned tenant, unsigned gpu, unsigned from_ms, unsigned to_ms)
{
	double sum = 0;

	for (unsigned i = from_ms; i < to_ms && i < BINS; i++)
		sum += m->gpus[gpu].bins[tenant][i];
	return sum / 1e6;
}

double model_error(const struct model *m, unsigned tenant, double part, unsigned window_ms,
        unsigned from_ms, double *ret_mean)
{
	unsigned end = (unsigned)(m->now / MS), n = 0;
	double max = 0, sum = 0, mine = 0, all = 0;

	for (unsigned i = from_ms; i < end && i < BINS; i++) {
		for (unsigned t = 0; t < m->n_tenants; t++) {
			double in = m->gpus[0].bins[t][i];
			double out =
			        i >= from_ms + window_ms ? m->gpus[0].bins[t][i - window_ms] : 0;

			all += in - out;
			mine += t == tenant ? in - out : 0;
		}
		if (i + 1 >= from_ms + window_ms && all > 0) {
			double e = mine / all - part;

			e = (e < 0 ? -e : e) * 100;
			max = e > max ? e : max;
			sum += e;
			n++;
		}
	}
	if (ret_mean)
		*ret_mean = n ? sum / n : 100;
	return n ? max : 100;
}

uint64_t model_owned_ns(const struct model *m, unsigned tenant)
{
	const struct pace_page *page = &m->gpus[0].page;

	return page->tables[PACE_NUMBER(page->word) & 1].accounts[tenant].owned_ns;
}

uint64_t model_collectives(const struct model *m, unsigned proc)
{
	return m->procs[proc]->n_peers;
}

uint64_t model_judge_looks(const struct model *m)
{
	return m->gpus[0].n_looks;
}

uint64_t model_marks(const struct model *m, unsigned proc)
{
	return m->procs[proc]->n_marks;
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

uint64_t model_latency_ns(const struct model *m, unsigned proc, unsigned percent)
{
	struct proc *p = m->procs[proc];

	if (!p->n_latencies)
		return PACE_NEVER;
	qsort(p->latencies, p->n_latencies, sizeof(*p->latencies), by_value);
	return p->latencies[(p->n_latencies - 1) * percent / 100];
}

unsigned model_gap_ms(
        const struct model *m, unsigned tenant, unsigned gpu, unsigned from_ms, unsigned to_ms)
{
	unsigned longest = 0, run = 0;

	for (unsigned i = from_ms; i < to_ms && i < BINS; i++) {
		run = m->gpus[gpu].bins[tenant][i] ? 0 : run + 1;
		longest = run > longest ? run : longest;
	}
	return longest;
}
