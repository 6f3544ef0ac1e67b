#include "wire/job_json.h"
#include "wire/ask.h"
#include "wire/launch.h"
#include "base/num.h"
#include "base/strtab.h"
#include "base/text.h"

#include <ctype.h>
#include <string.h>
#include <talloc.h>

struct parse {
	void *ctx;
	struct job_spec *spec;
	const char *key;
	int n_amounts; /* of gpu, gpu_milli, fgpu */
};

typedef int key_fn(struct parse *p, json_t *v, struct err *err);

static int bad(struct parse *p, struct err *err, const char *want)
{
	return err_set(err, ERR_INVALID, "'%s' must be %s", p->key, want);
}

static bool has_nul(const json_t *v)
{
	return json_is_string(v) && strlen(json_string_value(v)) != json_string_length(v);
}

static int get_text(struct parse *p, json_t *v, char **out, struct err *err)
{
	if (!json_is_string(v) || !json_string_length(v))
		return bad(p, err, "a string that is not empty");
	*out = talloc_strdup(p->ctx, json_string_value(v));
	return 0;
}

static int get_bool(struct parse *p, json_t *v, bool *out, struct err *err)
{
	if (!json_is_boolean(v))
		return bad(p, err, "true or false");
	*out = json_is_true(v);
	return 0;
}

static int get_int(
        struct parse *p, json_t *v, int64_t min, int64_t max, int64_t *out, struct err *err)
{
	if (!json_is_integer(v) || json_integer_value(v) < min || json_integer_value(v) > max)
		return err_set(err, ERR_INVALID, "'%s' must be a whole number from %lld to %lld",
		        p->key, (long long)min, (long long)max);
	*out = json_integer_value(v);
	return 0;
}

static int wrap(struct parse *p, int rc, struct err *err)
{
	return rc ? err_wrap(err, "'%s'", p->key) : 0;
}

static int on_command(struct parse *p, json_t *v, struct err *err)
{
	struct request *r = &p->spec->request;
	size_t n = json_array_size(v), bytes = 0;

	if (!json_is_array(v) || n == 0 || n > JOB_JSON_ARGV_MAX)
		return bad(p, err, "an array of strings, the program first");
	r->argv = talloc_array(p->ctx, char *, (unsigned)n + 1);
	for (size_t i = 0; i < n; i++) {
		json_t *arg = json_array_get(v, i);
		if (!json_is_string(arg) || has_nul(arg))
			return bad(p, err, "an array of strings without NUL");
		bytes += json_string_length(arg) + 1;
		r->argv[i] = (char *)(uintptr_t)json_string_value(arg);
	}
	r->argv[n] = NULL;
	r->n_argv = (uint32_t)n;
	if (bytes > MIB)
		return bad(p, err, "at most 1 MiB of arguments");
	return r->argv[0][0] ? 0 : bad(p, err, "a command that is not empty");
}

static int on_gpu(struct parse *p, json_t *v, struct err *err)
{
	struct gpu_ask *ask = &p->spec->request.gpu;
	int64_t n;
	int rc;

	p->n_amounts++;
	if (json_is_string(v))
		return wrap(p, gpu_ask_parse(json_string_value(v), p->ctx, ask, err), err);
	rc = get_int(p, v, 1, ASK_GPUS_MAX, &n, err);
	if (rc == 0)
		ask->count = (uint32_t)n;
	return rc;
}

static int on_gpu_milli(struct parse *p, json_t *v, struct err *err)
{
	int64_t n;
	int rc = get_int(p, v, 1, 1000, &n, err);

	p->n_amounts++;
	if (rc == 0 && n == 1000)
		p->spec->request.gpu.count = 1;
	else if (rc == 0)
		p->spec->request.gpu.milli = (uint32_t)n;
	return rc;
}

static int on_fgpu(struct parse *p, json_t *v, struct err *err)
{
	uint64_t milli = 0;
	int64_t n;
	int rc;

	p->n_amounts++;
	if (json_is_string(v)) {
		rc = wrap(p, thousandths_parse(json_string_value(v), 10000, &milli, err), err);
	} else {
		rc = get_int(p, v, 1, 10000, &n, err);
		milli = rc ? 0 : (uint64_t)n * 1000;
	}
	p->spec->request.gpu.fgpu_milli = (uint32_t)milli;
	return rc;
}

static int get_size(struct parse *p, json_t *v, uint64_t *out, struct err *err)
{
	int64_t n;
	int rc;

	if (json_is_string(v))
		return wrap(p, num_parse_size(json_string_value(v), out, err), err);
	rc = get_int(p, v, 0, INT64_MAX, &n, err);
	if (rc == 0)
		*out = (uint64_t)n;
	return rc;
}

static int on_gpu_mem(struct parse *p, json_t *v, struct err *err)
{
	int rc = get_size(p, v, &p->spec->request.gpu.mem_bytes, err);

	return rc ? rc : p->spec->request.gpu.mem_bytes ? 0 : bad(p, err, "more than nothing");
}

static int on_gpu_share(struct parse *p, json_t *v, struct err *err)
{
	int64_t n;
	int rc;

	if (json_is_string(v))
		return wrap(p,
		        num_parse_milli(
		                json_string_value(v), &p->spec->request.gpu.share_milli, err),
		        err);
	rc = get_int(p, v, 1, 1000, &n, err);
	if (rc == 0)
		p->spec->request.gpu.share_milli = (uint32_t)n;
	return rc;
}

static int on_gpu_cc(struct parse *p, json_t *v, struct err *err)
{
	const char *s = json_string_value(v);

	if (!s || !isdigit((unsigned char)s[0]))
		return bad(p, err, "a compute capability like \"8.0+\"");
	uint32_t major = 0, minor = 0;
	for (; isdigit((unsigned char)*s) && major < 100; s++)
		major = major * 10 + (uint32_t)(*s - '0');
	if (*s == '.' && isdigit((unsigned char)s[1])) {
		minor = (uint32_t)(s[1] - '0');
		s += 2;
	}
	if (*s == '+')
		s++;
	if (*s || major >= 100)
		return bad(p, err, "a compute capability like \"8.0+\"");
	p->spec->request.gpu.cc_min = major * 10 + minor;
	return 0;
}

static int on_cpus(struct parse *p, json_t *v, struct err *err)
{
	int64_t n;
	int rc = get_int(p, v, 0, NODE_CPUS_MAX, &n, err);

	if (rc == 0) {
		p->spec->request.cpus = (uint32_t)n;
		p->spec->has_cpus = true;
	}
	return rc;
}

static int on_mem(struct parse *p, json_t *v, struct err *err)
{
	return get_size(p, v, &p->spec->request.mem_bytes, err);
}

static int on_time(struct parse *p, json_t *v, struct err *err)
{
	uint64_t seconds = 0;
	int64_t n;
	int rc;

	if (json_is_string(v)) {
		rc = wrap(p, num_parse_duration(json_string_value(v), &seconds, err), err);
	} else {
		rc = get_int(p, v, 0, 1000LL * 365 * 86400, &n, err);
		seconds = rc ? 0 : (uint64_t)n;
	}
	if (rc)
		return rc;
	if (seconds > 1000ULL * 365 * 86400)
		return bad(p, err, "at most a thousand years");
	p->spec->request.time_limit_ms = seconds * 1000;
	p->spec->has_time = true;
	return 0;
}

static int on_queue(struct parse *p, json_t *v, struct err *err)
{
	int rc = get_text(p, v, &p->spec->request.queue, err);

	return rc                                    ? rc
	       : strlen(p->spec->request.queue) < 64 ? 0
	                                             : bad(p, err, "shorter than 64 bytes");
}

static int on_name(struct parse *p, json_t *v, struct err *err)
{
	int rc = get_text(p, v, &p->spec->request.name, err);

	return rc                                     ? rc
	       : strlen(p->spec->request.name) <= 255 ? 0
	                                              : bad(p, err, "at most 255 bytes");
}

static int on_priority(struct parse *p, json_t *v, struct err *err)
{
	int64_t n;
	int rc = get_int(p, v, INT32_MIN, INT32_MAX, &n, err);

	if (rc == 0)
		p->spec->request.priority = (int32_t)n;
	return rc;
}

static int on_hold(struct parse *p, json_t *v, struct err *err)
{
	return get_bool(p, v, &p->spec->request.hold, err);
}

static int on_tty(struct parse *p, json_t *v, struct err *err)
{
	return get_bool(p, v, &p->spec->request.tty, err);
}

static int get_env(struct parse *p, json_t *v, json_t **out, struct err *err)
{
	char shown[TEXT_SHOW_SIZE];
	const char *name;
	json_t *value;
	size_t bytes = 0;

	if (!json_is_object(v))
		return bad(p, err, "an object of strings");
	json_object_foreach(v, name, value)
	{
		if (!json_is_string(value) || !name[0] || strchr(name, '=') || has_nul(value))
			return err_set(err, ERR_INVALID,
			        "'%s': '%s' must be a name without '=' with a string", p->key,
			        text_show(name, shown));
		bytes += strlen(name) + json_string_length(value) + 2;
	}
	*out = v;
	return bytes <= MIB ? 0 : bad(p, err, "at most 1 MiB in all");
}

static int on_env(struct parse *p, json_t *v, struct err *err)
{
	return get_env(p, v, &p->spec->env, err);
}

static int on_environment(struct parse *p, json_t *v, struct err *err)
{
	if (json_is_object(v))
		return get_env(p, v, &p->spec->taken_env, err);
	if (!json_string_length(v))
		return bad(p, err, "an object of strings, or the id of an environment");
	p->spec->environment = json_string_value(v);
	return 0;
}

static int on_user(struct parse *p, json_t *v, struct err *err)
{
	char *text;
	int rc = get_text(p, v, &text, err);

	p->spec->user = rc ? NULL : text;
	return rc;
}

static int get_path(struct parse *p, json_t *v, char **out, struct err *err)
{
	int rc = get_text(p, v, out, err);

	if (rc)
		return rc;
	return (*out)[0] == '/' && strlen(*out) < 4096 ? 0 : bad(p, err, "an absolute path");
}

static int on_chdir(struct parse *p, json_t *v, struct err *err)
{
	return get_path(p, v, &p->spec->request.chdir, err);
}

static int on_output(struct parse *p, json_t *v, struct err *err)
{
	return get_path(p, v, &p->spec->request.output, err);
}

static int on_error(struct parse *p, json_t *v, struct err *err)
{
	return get_path(p, v, &p->spec->request.error, err);
}

static int on_array(struct parse *p, json_t *v, struct err *err)
{
	struct request *r = &p->spec->request;

	if (!json_is_string(v))
		return bad(p, err, "a string like \"0-99%8\"");
	return wrap(p,
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

static int add_deps(struct parse *p, json_t *v, enum dep_kind kind, struct err *err)
{
	struct request *r = &p->spec->request;
	size_t n = json_array_size(v);

	if (!json_is_array(v))
		return bad(p, err, "an array of job ids");
	if (r->n_deps + n > JOB_JSON_DEPS_MAX)
		return err_set(err, ERR_TOO_LARGE, "a job can depend on at most %d jobs",
		        JOB_JSON_DEPS_MAX);
	r->deps = talloc_realloc(p->ctx, r->deps, struct dep, (unsigned)(r->n_deps + n + 1));
	for (size_t i = 0; i < n; i++) {
		const char *text = json_string_value(json_array_get(v, i));
		struct dep *d = &r->deps[r->n_deps];
		int rc = text ? get_dep_id(text, &d->on, err)
		              : bad(p, err, "an array of job ids as strings");
		if (rc)
			return wrap(p, rc, err);
		d->kind = kind;
		r->n_deps++;
	}
	return 0;
}

static int on_after(struct parse *p, json_t *v, struct err *err)
{
	return add_deps(p, v, DEP_AFTER, err);
}

static int on_after_any(struct parse *p, json_t *v, struct err *err)
{
	return add_deps(p, v, DEP_AFTER_ANY, err);
}

static int on_after_ok(struct parse *p, json_t *v, struct err *err)
{
	return add_deps(p, v, DEP_AFTER_OK, err);
}

static int on_retry(struct parse *p, json_t *v, struct err *err)
{
	int64_t n;
	int rc = get_int(p, v, 0, 1000, &n, err);

	if (rc == 0) {
		p->spec->request.retry_max = (uint32_t)n;
		p->spec->has_retry = true;
	}
	return rc;
}

static int on_retry_on(struct parse *p, json_t *v, struct err *err)
{
	if (!json_is_string(v))
		return bad(p, err, "a string like \"75,SIGKILL\"");
	return wrap(p, code_set_parse(json_string_value(v), &p->spec->request.retry_on, err), err);
}

static int on_no_retry(struct parse *p, json_t *v, struct err *err)
{
	return get_bool(p, v, &p->spec->request.no_retry, err);
}

static int on_key(struct parse *p, json_t *v, struct err *err)
{
	int rc = get_text(p, v, &p->spec->request.idempotency_key, err);

	return rc                                                ? rc
	       : strlen(p->spec->request.idempotency_key) <= 255 ? 0
	                                                         : bad(p, err, "at most 255 bytes");
}

static int on_grant(struct parse *p, json_t *v, struct err *err)
{
	char **grant = &p->spec->request.grant;
	int rc = get_text(p, v, grant, err);

	if (rc)
		return rc;
	return strlen(*grant) == LAUNCH_GRANT_LEN &&
	                       strspn(*grant, "0123456789abcdef") == LAUNCH_GRANT_LEN
	               ? 0
	               : bad(p, err, "what the client of root made");
}

static int on_dry_run(struct parse *p, json_t *v, struct err *err)
{
	return get_bool(p, v, &p->spec->dry_run, err);
}

static const char *const key_names[] = {"command", "gpu", "gpu_milli", "fgpu", "gpu_mem",
        "gpu_share", "gpu_cc", "cpus", "mem", "time", "queue", "name", "priority", "hold", "tty",
        "env", "environment", "user", "chdir", "output", "error", "array", "after", "after_any",
        "after_ok", "retry", "retry_on", "no_retry", "idempotency_key", "grant", "dry_run"};
static key_fn *const key_fns[] = {on_command, on_gpu, on_gpu_milli, on_fgpu, on_gpu_mem,
        on_gpu_share, on_gpu_cc, on_cpus, on_mem, on_time, on_queue, on_name, on_priority, on_hold,
        on_tty, on_env, on_environment, on_user, on_chdir, on_output, on_error, on_array, on_after,
        on_after_any, on_after_ok, on_retry, on_retry_on, on_no_retry, on_key, on_grant,
        on_dry_run};
_Static_assert(ARRAY_LEN(key_names) == ARRAY_LEN(key_fns), "a function for each key");

static int unknown_key(const char *key, struct err *err)
{
	char shown[TEXT_SHOW_SIZE];
	const char *near = strtab_closest(STRTAB(key_names), key);
	int rc = err_set(err, ERR_UNKNOWN_KEY, "unknown key '%s' in a job", text_show(key, shown));

	return near ? err_hint(err, "did you mean '%s'?", near) : rc;
}

/* Things that are right each, and wrong together. */
static int check_together(const struct parse *p, struct err *err)
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
	if ((g->model || g->cc_min) && !gpu_ask_any(g))
		return err_set(
		        err, ERR_INVALID, "'gpu_cc' says which GPU, but no GPU is asked for");
	if (s->request.no_retry && s->request.retry_max)
		return err_set(err, ERR_INVALID, "'retry' and 'no_retry' contradict each other");
	if (request_has_twins(&s->request) && !s->request.n_ranges)
		return err_set(err, ERR_INVALID,
		        "a dependency like 17_%%a is of each task of an array, and this is none");
	if (s->request.n_ranges && s->request.tty)
		return err_set(err, ERR_INVALID, "an array has no terminal");
	return 0;
}

int job_spec_from_json(json_t *json, void *ctx, struct job_spec *ret_spec, struct err *err)
{
	struct job_spec spec = {0};
	struct parse p = {.ctx = ctx, .spec = &spec};
	json_t *value;
	int rc;

	if (!json_is_object(json))
		return err_set(err, ERR_INVALID, "a job is a JSON object");
	json_object_foreach(json, p.key, value)
	{
		int k = strtab_find(STRTAB(key_names), p.key);
		if (k < 0)
			return unknown_key(p.key, err);
		if (json_is_null(value))
			continue;
		if (has_nul(value))
			return bad(&p, err, "a string without NUL");
		rc = key_fns[k](&p, value, err);
		if (rc)
			return rc;
	}
	rc = check_together(&p, err);
	if (rc)
		return rc;
	*ret_spec = spec;
	return 0;
}
