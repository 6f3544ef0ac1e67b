#include "engine/env.h"

#include <string.h>
#include <talloc.h>

#include "wire/launch.h"

struct list {
	void *ctx;
	char **v;
	size_t n;
};

static void add(struct list *l, char *entry)
{
	BUG_IF(!entry);
	l->v = talloc_realloc(l->ctx, l->v, char *, l->n + 2);
	BUG_IF(!l->v);
	l->v[l->n++] = entry;
	l->v[l->n] = NULL;
}

static bool has(const struct list *l, const char *key)
{
	size_t len = strlen(key);

	for (size_t i = 0; i < l->n; i++)
		if (strncmp(l->v[i], key, len) == 0 && l->v[i][len] == '=')
			return true;
	return false;
}

static bool is_of_task(const char *blob, size_t len)
{
	static const char tasks[] = "BERTH_TASKS=";

	return (len >= sizeof(tasks) && memcmp(blob, tasks, sizeof(tasks) - 1) == 0) ||
	       memmem(blob, len, "\0BERTH_TASKS=", sizeof(tasks));
}

/*
 * What Berth itself sets is not taken: of the submitter's own shell it would tell the job of somebody else's slice. Neither is the
 * rank of a task that submits.
 */
static void add_submitted(struct list *l, const char *blob, size_t len, bool keep_ours)
{
	const char *end = blob + len;
	bool drop_ranks = is_of_task(blob, len);

	for (const char *p = blob; p < end;) {
		size_t n = strnlen(p, (size_t)(end - p));
		const char *equals = memchr(p, '=', n);

		if (equals && equals > p &&
		        (keep_ours || !launch_sets_variable(p, (size_t)(equals - p))) &&
		        !(drop_ranks && launch_is_rank_variable(p, (size_t)(equals - p))))
			add(l, talloc_strndup(l->ctx, p, n));
		p += n + 1;
	}
}

static void add_account(struct list *l, const struct env_input *in)
{
	const struct env_account *a = in->account;

	if (!has(l, "PATH"))
		add(l, talloc_asprintf(l->ctx, "PATH=%s",
		               a && a->is_root
		                       ? "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
		                       : "/usr/local/bin:/usr/bin:/bin"));
	if (a && !has(l, "HOME"))
		add(l, talloc_asprintf(l->ctx, "HOME=%s", a->home));
	if (a && !has(l, "USER"))
		add(l, talloc_asprintf(l->ctx, "USER=%s", a->name));
	if (!has(l, "LANG"))
		add(l, talloc_asprintf(l->ctx, "LANG=%s", in->lang ? in->lang : "C.UTF-8"));
}

/* No slice: an empty list, so that no device is visible. */
static void add_devices(struct list *l, const struct link_start *s)
{
	char *uuids = talloc_strdup(l->ctx, "CUDA_VISIBLE_DEVICES=");
	uint64_t mem_bytes = UINT64_MAX;
	uint32_t share_milli = UINT32_MAX;

	for (uint32_t i = 0; i < s->n_slices; i++) {
		uuids = talloc_asprintf_append(uuids, "%s%s", i ? "," : "", s->slices[i].device);
		mem_bytes = MIN(mem_bytes, s->slices[i].mem_bytes);
		share_milli = MIN(share_milli, s->slices[i].share_milli);
	}
	add(l, uuids);
	if (!s->n_slices)
		return;
	/* Of each of its devices; where they differ, what all of them have. */
	add(l, talloc_asprintf(l->ctx, "BERTH_GPU_MEM_BYTES=%llu", (unsigned long long)mem_bytes));
	add(l, talloc_asprintf(l->ctx, "BERTH_GPU_SHARE_MILLI=%u", share_milli));
}

static bool is_of_mps(const char *entry)
{
	return strncmp(entry, "CUDA_MPS_", strlen("CUDA_MPS_")) == 0;
}

/* Its device is the only one that it sees, 0; MPS takes whole percents of the multiprocessors, and mebibytes of each process. */
static void add_mps(struct list *l, const struct env_input *in)
{
	const struct slice_record *r = in->start->slices;
	unsigned long long mebibytes = (r->mem_bytes + MIB - 1) / MIB;
	size_t n = 0;

	for (size_t i = 0; i < l->n; i++)
		if (!is_of_mps(l->v[i]))
			l->v[n++] = l->v[i];
	l->n = n;
	add(l, talloc_asprintf(l->ctx, "CUDA_MPS_PIPE_DIRECTORY=%s", in->mps_pipes));
	add(l, talloc_asprintf(l->ctx, "CUDA_MPS_LOG_DIRECTORY=%s", in->mps_logs));
	add(l, talloc_asprintf(l->ctx, "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE=%u",
	               MIN((r->share_milli + 9) / 10, 100U)));
	add(l, talloc_asprintf(l->ctx, "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT=0=%lluM", mebibytes));
}

char **env_compose(void *ctx, const struct env_input *in)
{
	const struct link_start *s = in->start;
	struct list l = {.ctx = ctx, .v = talloc_zero_array(ctx, char *, 1)};

	if (in->blob)
		add_submitted(&l, in->blob, in->blob_len, in->keep_ours);
	add_account(&l, in);
	if (in->blob && in->keep_ours)
		return l.v;
	add(&l, talloc_asprintf(ctx, "BERTH_JOB_ID=%llu", (unsigned long long)s->id.num));
	if (s->id.task != TASK_NONE)
		add(&l, talloc_asprintf(ctx, "BERTH_TASK_ID=%lld", (long long)s->id.task));
	add(&l, talloc_asprintf(ctx, "BERTH_ATTEMPT=%u", s->attempt));
	add(&l, talloc_asprintf(ctx, "BERTH_EPOCH=%llu", (unsigned long long)s->epoch));
	add(&l, talloc_asprintf(ctx, "BERTH_CPUS=%u", s->n_cpus / MAX(s->ranks, 1U)));
	add_devices(&l, s);
	if (in->mps_pipes && s->n_slices)
		add_mps(&l, in);
	if (in->fake_gpus)
		add(&l, talloc_asprintf(ctx, "BERTH_FAKE_GPUS=%s", in->fake_gpus));
	return l.v;
}
