#include "engine/paths.h"

#include <string.h>
#include <talloc.h>

#define JOBS_PER_DIR 1000

char *paths_log_dir(void *ctx, const char *data_dir, struct job_id id)
{
	return talloc_asprintf(
	        ctx, "%s/logs/%llu", data_dir, (unsigned long long)(id.num / JOBS_PER_DIR));
}

bool paths_share_log_dir(struct job_id a, struct job_id b)
{
	return a.num / JOBS_PER_DIR == b.num / JOBS_PER_DIR;
}

char *paths_log(
        void *ctx, const char *data_dir, struct job_id id, uint32_t attempt, const char *kind)
{
	char name[48];

	return talloc_asprintf(ctx, "%s/logs/%llu/%s.%u.%s", data_dir,
	        (unsigned long long)(id.num / JOBS_PER_DIR), job_id_format(id, name), attempt,
	        kind);
}

char *paths_work_dir(void *ctx, const char *data_dir, struct job_id id, uint32_t attempt)
{
	char name[48];

	return talloc_asprintf(ctx, "%s/work/%s.%u", data_dir, job_id_format(id, name), attempt);
}

/* A name must not lead into another directory. */
static char *add_name(char *path, const char *name)
{
	size_t at = strlen(path);

	path = talloc_asprintf_append(path, "%s", name ? name : "");
	for (char *p = path + at; *p; p++)
		if (*p == '/')
			*p = '_';
	return path;
}

static char *add_pattern(char *path, char pattern, const struct paths_names *n)
{
	char text[48];

	switch (pattern) {
	case 'j':
		return add_name(path, job_id_format(n->id, text));
	case 'A':
		return talloc_asprintf_append(path, "%llu", (unsigned long long)n->id.num);
	case 'a':
		/* Slurm's value where there is no task is a large number; a zero reads better. */
		return talloc_asprintf_append(path, "%lld", (long long)MAX(n->id.task, (int64_t)0));
	case 'x':
		return add_name(path, n->job);
	case 'u':
		return add_name(path, n->user);
	case 'N':
		return add_name(path, n->node);
	case '%':
		return talloc_strdup_append(path, "%");
	default:
		return talloc_asprintf_append(path, "%%%c", pattern);
	}
}

char *paths_output(void *ctx, const char *output, const char *cwd, const struct paths_names *n)
{
	char *path = output[0] == '/' ? talloc_strdup(ctx, "") : talloc_asprintf(ctx, "%s/", cwd);

	for (const char *p = output; *p;) {
		const char *percent = strchr(p, '%');
		size_t plain = percent && percent[1] ? (size_t)(percent - p) : strlen(p);

		path = talloc_strndup_append(path, p, plain);
		p += plain;
		if (*p) {
			path = add_pattern(path, p[1], n);
			p += 2;
		}
	}
	if (n->attempt > 1)
		path = talloc_asprintf_append(path, ".%u", n->attempt);
	BUG_IF(!path);
	return path;
}
