#include "wire/job_json.h"
#include "wire/ask.h"
#include "wire/launch.h"
#include "base/num.h"
#include "base/strtab.h"
#include "base/text.h"
#include "wire/job_keys.h"

#include <ctype.h>
#include <string.h>
#include <talloc.h>

static bool has_nul(const json_t *v)
{
	return json_is_string(v) && strlen(json_string_value(v)) != json_string_length(v);
}

static int get_bool(struct job_parse *p, json_t *v, bool *out, struct err *err)
{
	if (!json_is_boolean(v))
		return key_bad(p, err, "true or false");
	*out = json_is_true(v);
	return 0;
}

static int on_command(struct job_parse *p, json_t *v, struct err *err)
{
	struct request *r = &p->spec->request;
	size_t n = json_array_size(v), bytes = 0;

	if (!json_is_array(v) || n == 0 || n > JOB_JSON_ARGV_MAX)
		return key_bad(p, err, "an array of strings, the program first");
	r->argv = talloc_array(p->ctx, char *, (unsigned)n + 1);
	for (size_t i = 0; i < n; i++) {
		json_t *arg = json_array_get(v, i);
		if (!json_is_string(arg) || has_nul(arg))
			return key_bad(p, err, "an array of strings without NUL");
		bytes += json_string_length(arg) + 1;
		r->argv[i] = (char *)(uintptr_t)json_string_value(arg);
	}
	r->argv[n] = NULL;
	r->n_argv = (uint32_t)n;
	if (bytes > MIB)
		return key_bad(p, err, "at most 1 MiB of arguments");
	return r->argv[0][0] ? 0 : key_bad(p, err, "a command that is not empty");
}

static int on_queue(struct job_parse *p, json_t *v, struct err *err)
{
	int rc = key_text(p, v, &p->spec->request.queue, err);

	return rc                                    ? rc
	       : strlen(p->spec->request.queue) < 64 ? 0
	                                             : key_bad(p, err, "shorter than 64 bytes");
}

static int on_name(struct job_parse *p, json_t *v, struct err *err)
{
	int rc = key_text(p, v, &p->spec->request.name, err);

	return rc                                     ? rc
	       : strlen(p->spec->request.name) <= 255 ? 0
	                                              : key_bad(p, err, "at most 255 bytes");
}

static int on_priority(struct job_parse *p, json_t *v, struct err *err)
{
	int64_t n;
	int rc = key_int(p, v, INT32_MIN, INT32_MAX, &n, err);

	if (rc == 0)
		p->spec->request.priority = (int32_t)n;
	return rc;
}

static int on_hold(struct job_parse *p, json_t *v, struct err *err)
{
	return get_bool(p, v, &p->spec->request.hold, err);
}

static int on_tty(struct job_parse *p, json_t *v, struct err *err)
{
	return get_bool(p, v, &p->spec->request.tty, err);
}

static int on_label(struct job_parse *p, json_t *v, struct err *err)
{
	return get_bool(p, v, &p->spec->request.label, err);
}

static int get_env(struct job_parse *p, json_t *v, json_t **out, struct err *err)
{
	char shown[TEXT_SHOW_SIZE];
	const char *name;
	json_t *value;
	size_t bytes = 0;

	if (!json_is_object(v))
		return key_bad(p, err, "an object of strings");
	json_object_foreach(v, name, value)
	{
		if (!json_is_string(value) || !name[0] || strchr(name, '=') || has_nul(value))
			return err_set(err, ERR_INVALID,
			        "'%s': '%s' must be a name without '=' with a string", p->key,
			        text_show(name, shown));
		bytes += strlen(name) + json_string_length(value) + 2;
	}
	*out = v;
	return bytes <= MIB ? 0 : key_bad(p, err, "at most 1 MiB in all");
}

static int on_env(struct job_parse *p, json_t *v, struct err *err)
{
	return get_env(p, v, &p->spec->env, err);
}

static int on_environment(struct job_parse *p, json_t *v, struct err *err)
{
	if (json_is_object(v))
		return get_env(p, v, &p->spec->taken_env, err);
	if (!json_string_length(v))
		return key_bad(p, err, "an object of strings, or the id of an environment");
	p->spec->environment = json_string_value(v);
	return 0;
}

static int on_user(struct job_parse *p, json_t *v, struct err *err)
{
	char *text;
	int rc = key_text(p, v, &text, err);

	p->spec->user = rc ? NULL : text;
	return rc;
}

static int get_path(struct job_parse *p, json_t *v, char **out, struct err *err)
{
	int rc = key_text(p, v, out, err);

	if (rc)
		return rc;
	return (*out)[0] == '/' && strlen(*out) < 4096 ? 0 : key_bad(p, err, "an absolute path");
}

static int on_chdir(struct job_parse *p, json_t *v, struct err *err)
{
	return get_path(p, v, &p->spec->request.chdir, err);
}

static int on_output(struct job_parse *p, json_t *v, struct err *err)
{
	return get_path(p, v, &p->spec->request.output, err);
}

static int on_error(struct job_parse *p, json_t *v, struct err *err)
{
	return get_path(p, v, &p->spec->request.error, err);
}

static int on_array(struct job_parse *p, json_t *v, struct err *err)
{
	struct request *r = &p->spec->request;

	if (!json_is_string(v))
		return key_bad(p, err, "a string like \"0-99%8\"");
	return key_wrap(p,
	        array_parse(
	                json_string_value(v), p->ctx, &r->ranges, &r->n_ranges, &r->throttle, err),
	        err);
}

/* "17", "17_3"; and "17_%a", as in names of output files: the task of the same index. */
static int get_dep_id(const char *text, struct job_id *ret_id, struct err *err)
{
	size_t len = strcspn(text, "_");
	char num[24];
	int rc;

	if (strcmp(text + len, "_%a") != 0 || len >= sizeof(num))
		return job_id_parse(text, ret_id, err);
	memcpy(num, text, len);
	num[len] = '\0';
	rc = job_id_parse(num, ret_id, err);
	if (rc == 0)
		ret_id->task = TASK_SAME;
	return rc;
}

static int add_deps(struct job_parse *p, json_t *v, enum dep_kind kind, struct err *err)
{
	struct request *r = &p->spec->request;
	size_t n = json_array_size(v);

	if (!json_is_array(v))
		return key_bad(p, err, "an array of job ids");
	if (r->n_deps + n > JOB_JSON_DEPS_MAX)
		return err_set(err, ERR_TOO_LARGE, "a job can depend on at most %d jobs",
		        JOB_JSON_DEPS_MAX);
	r->deps = talloc_realloc(p->ctx, r->deps, struct dep, (unsigned)(r->n_deps + n + 1));
	for (size_t i = 0; i < n; i++) {
		const char *text = json_string_value(json_array_get(v, i));
		struct dep *d = &r->deps[r->n_deps];
		int rc = text ? get_dep_id(text, &d->on, err)
		              : key_bad(p, err, "an array of job ids as strings");
		if (rc)
			return key_wrap(p, rc, err);
		d->kind = kind;
		r->n_deps++;
	}
	return 0;
}

static int on_after(struct job_parse *p, json_t *v, struct err *err)
{
	return add_deps(p, v, DEP_AFTER, err);
}

static int on_after_any(struct job_parse *p, json_t *v, struct err *err)
{
	return add_deps(p, v, DEP_AFTER_ANY, err);
}

static int on_after_ok(struct job_parse *p, json_t *v, struct err *err)
{
	return add_deps(p, v, DEP_AFTER_OK, err);
}

static int on_retry(struct job_parse *p, json_t *v, struct err *err)
{
	int64_t n;
	int rc = key_int(p, v, 0, 1000, &n, err);

	if (rc == 0) {
		p->spec->request.retry_max = (uint32_t)n;
		key_said(p, BY_QUEUE_RETRY);
	}
	return rc;
}

static int on_retry_on(struct job_parse *p, json_t *v, struct err *err)
{
	if (!json_is_string(v))
		return key_bad(p, err, "a string like \"75,SIGKILL\"");
	return key_wrap(
	        p, code_set_parse(json_string_value(v), &p->spec->request.retry_on, err), err);
}

/* What the queue gave is no contradiction. */
static int on_no_retry(struct job_parse *p, json_t *v, struct err *err)
{
	struct request *r = &p->spec->request;

	if (r->by_queue & BY_QUEUE_RETRY) {
		r->retry_max = 0;
		p->spec->from_queue |= BY_QUEUE_RETRY;
	}
	return get_bool(p, v, &r->no_retry, err);
}

static int on_key(struct job_parse *p, json_t *v, struct err *err)
{
	int rc = key_text(p, v, &p->spec->request.idempotency_key, err);

	return rc ? rc
	       : strlen(p->spec->request.idempotency_key) <= 255
	               ? 0
	               : key_bad(p, err, "at most 255 bytes");
}

static int on_grant(struct job_parse *p, json_t *v, struct err *err)
{
	char **grant = &p->spec->request.grant;
	int rc = key_text(p, v, grant, err);

	if (rc)
		return rc;
	return strlen(*grant) == LAUNCH_GRANT_LEN &&
	                       strspn(*grant, "0123456789abcdef") == LAUNCH_GRANT_LEN
	               ? 0
	               : key_bad(p, err, "what the client of root made");
}

static int on_dry_run(struct job_parse *p, json_t *v, struct err *err)
{
	return get_bool(p, v, &p->spec->dry_run, err);
}

static const char *const key_names[] = {"command", "gpu", "gpu_milli", "fgpu", "gpu_mem",
        "gpu_share", "gpu_cc", "gpu_cuda", "gpu_driver", "constraint", "cpus", "tasks", "mem",
        "time", "queue", "name", "priority", "hold", "tty", "label", "env", "environment", "user",
        "chdir", "output", "error", "array", "after", "after_any", "after_ok", "retry", "retry_on",
        "no_retry", "idempotency_key", "grant", "dry_run"};
static key_fn *const key_fns[] = {on_command, key_on_gpu, key_on_gpu_milli, key_on_fgpu,
        key_on_gpu_mem, key_on_gpu_share, key_on_gpu_cc, key_on_gpu_cuda, key_on_gpu_driver,
        key_on_constraint, key_on_cpus, key_on_tasks, key_on_mem, key_on_time, on_queue, on_name,
        on_priority, on_hold, on_tty, on_label, on_env, on_environment, on_user, on_chdir,
        on_output, on_error, on_array, on_after, on_after_any, on_after_ok, on_retry, on_retry_on,
        on_no_retry, on_key, on_grant, on_dry_run};
_Static_assert(ARRAY_LEN(key_names) == ARRAY_LEN(key_fns), "a function for each key");

static int unknown_key(const char *key, struct err *err)
{
	char shown[TEXT_SHOW_SIZE];
	const char *near = strtab_closest(STRTAB(key_names), key);
	int rc = err_set(err, ERR_UNKNOWN_KEY, "unknown key '%s' in a job", text_show(key, shown));

	return near ? err_hint(err, "did you mean '%s'?", near) : rc;
}

/* Things that are right each, and wrong together. */
static int check_together(const struct job_parse *p, struct err *err)
{
	const struct job_spec *s = p->spec;
	const struct gpu_ask *g = &s->request.gpu;

	if (!s->request.argv)
		return err_set(err, ERR_INVALID, "'command' is missing");
	if (p->n_amounts > 1)
		return err_set(err, ERR_INVALID,
		        "'gpu', 'gpu_milli' and 'fgpu' say the same thing; give one of them");
	if (g->count && (g->mem_bytes || g->share_milli))
		return err_set(err, ERR_INVALID,
		        "'gpu_mem' and 'gpu_share' cut a slice from one device; a whole device is given whole");
	if ((g->model || g->cc_min || g->cuda_min || g->driver_min) && !gpu_ask_any(g))
		return err_set(err, ERR_INVALID, "'%s' says which GPU, but no GPU is asked for",
		        g->driver_min ? "gpu_driver"
		        : g->cuda_min ? "gpu_cuda"
		                      : "gpu_cc");
	if (s->request.no_retry && s->request.retry_max)
		return err_set(err, ERR_INVALID, "'retry' and 'no_retry' contradict each other");
	if (request_has_twins(&s->request) && !s->request.n_ranges)
		return err_set(err, ERR_INVALID,
		        "a dependency like 17_%%a is of each task of an array, and this is none");
	if (s->request.n_ranges && s->request.tty)
		return err_set(err, ERR_INVALID, "an array has no terminal");
	if (s->request.ranks > 1 && s->request.tty)
		return err_set(err, ERR_INVALID, "a terminal is of one task, and 'tasks' is %u",
		        s->request.ranks);
	if (s->request.label && !s->request.ranks)
		return err_set(err, ERR_INVALID,
		        "'label' tells tasks apart; 'tasks' must say how many there are");
	if (s->request.label && s->request.tty)
		return err_set(err, ERR_INVALID, "'label' is of lines, and a terminal has none");
	return 0;
}

static int read_value(struct job_parse *p, json_t *v, struct err *err)
{
	int k = strtab_find(STRTAB(key_names), p->key);

	if (k < 0)
		return unknown_key(p->key, err);
	if (json_is_null(v))
		return 0;
	return has_nul(v) ? key_bad(p, err, "a string without NUL") : key_fns[k](p, v, err);
}

static int read_values(struct job_parse *p, json_t *json, struct err *err)
{
	json_t *value;

	json_object_foreach(json, p->key, value)
	{
		int rc = read_value(p, value, err);
		if (rc)
			return rc;
	}
	return check_together(p, err);
}

int job_spec_from_json(json_t *json, void *ctx, struct job_spec *ret_spec, struct err *err)
{
	struct job_spec spec = {.request = {.by_queue = BY_QUEUE_ALL}, .from_queue = BY_QUEUE_ALL};
	struct job_parse p = {.ctx = ctx, .spec = &spec};
	int rc;

	if (!json_is_object(json))
		return err_set(err, ERR_INVALID, "a job is a JSON object");
	rc = read_values(&p, json, err);
	if (rc == 0)
		*ret_spec = spec;
	return rc;
}

/* What of a job that waits can be changed, and what is taken back when nothing is said of it. */
#define EDIT(key, member)                                                                       \
	{                                                                                       \
		key, offsetof(struct request, member), sizeof(((struct request *)0)->member), 0 \
	}
#define EDIT_BY_QUEUE(key, member, what)                                                           \
	{                                                                                          \
		key, offsetof(struct request, member), sizeof(((struct request *)0)->member), what \
	}
static const struct {
	const char *key;
	size_t at, size;
	uint32_t by_queue;
} edits[] = {EDIT("priority", priority), EDIT("queue", queue), EDIT("name", name), EDIT("gpu", gpu),
        EDIT("gpu_milli", gpu), EDIT("fgpu", gpu), EDIT("gpu_mem", gpu.mem_bytes),
        EDIT("gpu_share", gpu.share_milli), EDIT("gpu_cc", gpu.cc_min),
        EDIT("gpu_cuda", gpu.cuda_min), EDIT("gpu_driver", gpu.driver_min),
        EDIT("constraint", constraint), EDIT_BY_QUEUE("cpus", cpus, BY_QUEUE_CPUS),
        EDIT("tasks", ranks), EDIT("mem", mem_bytes),
        EDIT_BY_QUEUE("time", time_limit_ms, BY_QUEUE_TIME),
        EDIT_BY_QUEUE("retry", retry_max, BY_QUEUE_RETRY), EDIT("retry_on", retry_on),
        EDIT("no_retry", no_retry)};

static int find_edit(const char *key)
{
	for (size_t i = 0; i < ARRAY_LEN(edits); i++)
		if (strcmp(edits[i].key, key) == 0)
			return (int)i;
	return -1;
}

static int refuse_edit(const char *key, struct err *err)
{
	const char *names[ARRAY_LEN(edits)], *near;
	char shown[TEXT_SHOW_SIZE];

	for (size_t i = 0; i < ARRAY_LEN(edits); i++)
		names[i] = edits[i].key;
	near = strtab_closest(STRTAB(names), key);
	if (!err_set(err, strtab_find(STRTAB(key_names), key) < 0 ? ERR_UNKNOWN_KEY : ERR_INVALID,
	            "'%s' cannot be edited", text_show(key, shown)))
		return 0;
	return near ? err_hint(err, "did you mean '%s'?", near)
	            : err_hint(err,
	                      "what can: priority, name, queue, gpu, fgpu, gpu_mem, gpu_share, gpu_cc, gpu_cuda, gpu_driver, constraint, cpus, tasks, mem, time, retry, retry_on, no_retry");
}

int job_spec_check_edit(json_t *json, struct err *err)
{
	const char *key;
	json_t *value;

	if (!json_is_object(json))
		return err_set(err, ERR_INVALID, "a change is a JSON object");
	json_object_foreach(json, key, value)
	{
		if (find_edit(key) < 0)
			return refuse_edit(key, err);
	}
	return 0;
}

static void take_back(struct job_parse *p)
{
	struct request *r = &p->spec->request;
	int i = find_edit(p->key);

	memset((char *)r + edits[i].at, 0, edits[i].size);
	r->by_queue |= edits[i].by_queue;
	p->spec->from_queue |= edits[i].by_queue;
}

int job_spec_edit(json_t *json, void *ctx, const struct request *was, struct job_spec *ret_spec,
        struct err *err)
{
	struct job_spec spec = {.request = *was};
	struct job_parse p = {.ctx = ctx, .spec = &spec};
	json_t *value;
	int rc = job_spec_check_edit(json, err);

	if (rc)
		return rc;
	json_object_foreach(json, p.key, value)
	{
		if (json_is_null(value))
			take_back(&p);
	}
	rc = read_values(&p, json, err);
	if (rc == 0)
		*ret_spec = spec;
	return rc;
}
