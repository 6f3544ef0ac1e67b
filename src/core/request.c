#include "core/node.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* Lays pieces one after the other; with block NULL it only counts. */
struct packer {
	char *block;
	size_t used;
};

static void *lay(struct packer *p, const void *data, size_t size, size_t align)
{
	void *at;

	if (!data || !size)
		return NULL;
	p->used = (p->used + align - 1) & ~(align - 1);
	at = p->block ? p->block + p->used : NULL;
	if (at)
		memcpy(at, data, size);
	p->used += size;
	return at;
}

static char *lay_str(struct packer *p, const char *s)
{
	return s ? lay(p, s, strlen(s) + 1, 1) : NULL;
}

static void lay_request(struct packer *p, const struct request *r)
{
	struct request *out = lay(p, r, sizeof(*r), 16);
	struct request unused;
	char **argv = lay(p, r->argv, (r->n_argv + 1) * sizeof(char *), 8);

	if (!out)
		out = &unused;
	out->argv = argv;
	out->ranges = lay(p, r->ranges, r->n_ranges * sizeof(*r->ranges), 8);
	out->deps = lay(p, r->deps, r->n_deps * sizeof(*r->deps), 8);
	out->user = lay_str(p, r->user);
	out->name = lay_str(p, r->name);
	out->queue = lay_str(p, r->queue);
	out->chdir = lay_str(p, r->chdir);
	out->output = lay_str(p, r->output);
	out->error = lay_str(p, r->error);
	out->idempotency_key = lay_str(p, r->idempotency_key);
	out->grant = lay_str(p, r->grant);
	out->gpu.model = lay_str(p, r->gpu.model);
	out->constraint = lay_str(p, r->constraint);
	for (uint32_t i = 0; i < r->n_argv; i++) {
		char *arg = lay_str(p, r->argv[i]);
		if (argv)
			argv[i] = arg;
	}
}

#define QUEUE_NAME_MAX 63
#define MODEL_MAX      95
#define CONSTRAINT_MAX 1000

/* Rising and apart, so that every task has one position. */
static bool are_ranges_sane(const struct request *r)
{
	int64_t before = -1;

	for (uint32_t i = 0; i < r->n_ranges; i++) {
		const struct array_range *g = &r->ranges[i];
		if (g->first <= before || g->last < g->first || g->last > UINT32_MAX || g->step < 1)
			return false;
		before = g->last;
	}
	return true;
}

bool request_has_twins(const struct request *r)
{
	for (uint32_t i = 0; i < r->n_deps; i++)
		if (r->deps[i].on.task == TASK_SAME)
			return true;
	return false;
}

int request_check(const struct request *r, struct err *err)
{
	if (!r->n_argv || !r->argv[0] || !r->argv[0][0])
		return err_set(err, ERR_INVALID, "the command is empty");
	if (!r->user || !r->user[0])
		return err_set(err, ERR_INVALID, "a job without an account");
	if (!r->queue || !r->queue[0] || strlen(r->queue) > QUEUE_NAME_MAX)
		return err_set(err, ERR_INVALID, "the name of the queue is empty or too long");
	if (r->gpu.model && strlen(r->gpu.model) > MODEL_MAX)
		return err_set(err, ERR_INVALID, "the name of the GPU model is too long");
	if (r->ranks > REQUEST_RANKS_MAX)
		return err_set(err, ERR_INVALID, "more than %d tasks", REQUEST_RANKS_MAX);
	if (r->ranks > 1 && r->tty)
		return err_set(err, ERR_INVALID, "several tasks have no terminal");
	if (r->constraint && strlen(r->constraint) > CONSTRAINT_MAX)
		return err_set(err, ERR_INVALID, "the constraint is too long");
	if (r->cpus > NODE_CPUS_MAX || r->mem_bytes > INT64_MAX || r->gpu.mem_bytes > INT64_MAX)
		return err_set(err, ERR_INVALID, "more CPUs or memory than can be counted");
	if (!are_ranges_sane(r))
		return err_set(err, ERR_INVALID, "the ranges of the array are not rising");
	for (uint32_t i = 0; i < r->n_deps; i++)
		if (!r->deps[i].on.num || r->deps[i].on.task < TASK_SAME)
			return err_set(err, ERR_INVALID, "a dependency on no job");
	if (request_has_twins(r) && !r->n_ranges)
		return err_set(err, ERR_INVALID, "only the tasks of an array depend task by task");
	return 0;
}

struct request *request_pack(const struct request *r)
{
	struct packer p = {0};
	struct request *out;

	lay_request(&p, r);
	p.block = mem_zalloc(p.used);
	out = (struct request *)(void *)p.block;
	p.used = 0;
	lay_request(&p, r);
	out->refs = 1;
	out->bytes = p.used;
	return out;
}

struct request *request_ref(struct request *r)
{
	r->refs++;
	return r;
}

void request_unref(struct request *r)
{
	if (r && --r->refs == 0)
		free(r);
}

static uint64_t range_count(const struct array_range *g)
{
	return (uint64_t)((g->last - g->first) / g->step) + 1;
}

uint64_t request_n_tasks(const struct request *r)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < r->n_ranges; i++)
		n += range_count(&r->ranges[i]);
	return n;
}

int64_t request_task_at(const struct request *r, uint64_t pos)
{
	for (uint32_t i = 0; i < r->n_ranges; i++) {
		uint64_t n = range_count(&r->ranges[i]);
		if (pos < n)
			return r->ranges[i].first + (int64_t)pos * r->ranges[i].step;
		pos -= n;
	}
	return TASK_NONE;
}

uint64_t request_task_pos(const struct request *r, int64_t task)
{
	uint64_t before = 0;

	for (uint32_t i = 0; i < r->n_ranges; i++) {
		const struct array_range *g = &r->ranges[i];
		if (task >= g->first && task <= g->last && (task - g->first) % g->step == 0)
			return before + (uint64_t)((task - g->first) / g->step);
		before += range_count(g);
	}
	return UINT64_MAX;
}
