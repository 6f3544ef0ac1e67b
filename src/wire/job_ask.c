/* The keys of a job as JSON that say what it asks of a node; and how the value of any key is read. */
#include "wire/job_keys.h"
#include "wire/ask.h"
#include "base/num.h"
#include "base/text.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <talloc.h>

int key_bad(struct job_parse *p, struct err *err, const char *want)
{
	return err_set(err, ERR_INVALID, "'%s' must be %s", p->key, want);
}

int key_text(struct job_parse *p, json_t *v, char **out, struct err *err)
{
	if (!json_is_string(v) || !json_string_length(v))
		return key_bad(p, err, "a string that is not empty");
	*out = talloc_strdup(p->ctx, json_string_value(v));
	return 0;
}

int key_int(struct job_parse *p, json_t *v, int64_t min, int64_t max, int64_t *out, struct err *err)
{
	if (!json_is_integer(v) || json_integer_value(v) < min || json_integer_value(v) > max)
		return err_set(err, ERR_INVALID, "'%s' must be a whole number from %lld to %lld",
		        p->key, (long long)min, (long long)max);
	*out = json_integer_value(v);
	return 0;
}

int key_wrap(struct job_parse *p, int rc, struct err *err)
{
	return rc ? err_wrap(err, "'%s'", p->key) : 0;
}

void key_said(struct job_parse *p, enum request_by_queue what)
{
	p->spec->request.by_queue &= ~(uint32_t)what;
	p->spec->from_queue &= ~(uint32_t)what;
}

/* An amount stands for itself, and not beside the one of before. */
static void begin_amount(struct job_parse *p)
{
	struct gpu_ask *g = &p->spec->request.gpu;

	if (p->n_amounts++)
		return;
	g->count = g->milli = g->fgpu_milli = 0;
	g->model = NULL;
}

int key_on_gpu(struct job_parse *p, json_t *v, struct err *err)
{
	struct gpu_ask *ask = &p->spec->request.gpu;
	int64_t n;
	int rc;

	begin_amount(p);
	if (json_is_string(v))
		return key_wrap(p, gpu_ask_parse(json_string_value(v), p->ctx, ask, err), err);
	rc = key_int(p, v, 1, ASK_GPUS_MAX, &n, err);
	if (rc == 0)
		ask->count = (uint32_t)n;
	return rc;
}

int key_on_gpu_milli(struct job_parse *p, json_t *v, struct err *err)
{
	int64_t n;
	int rc = key_int(p, v, 1, 1000, &n, err);

	begin_amount(p);
	if (rc == 0 && n == 1000)
		p->spec->request.gpu.count = 1;
	else if (rc == 0)
		p->spec->request.gpu.milli = (uint32_t)n;
	return rc;
}

int key_on_fgpu(struct job_parse *p, json_t *v, struct err *err)
{
	uint64_t milli = 0;
	int64_t n;
	int rc;

	begin_amount(p);
	if (json_is_string(v)) {
		rc = key_wrap(p, thousandths_parse(json_string_value(v), 10000, &milli, err), err);
	} else {
		rc = key_int(p, v, 1, 10000, &n, err);
		milli = rc ? 0 : (uint64_t)n * 1000;
	}
	p->spec->request.gpu.fgpu_milli = (uint32_t)milli;
	return rc;
}

static int get_size(struct job_parse *p, json_t *v, uint64_t *out, struct err *err)
{
	int64_t n;
	int rc;

	if (json_is_string(v))
		return key_wrap(p, num_parse_size(json_string_value(v), out, err), err);
	rc = key_int(p, v, 0, INT64_MAX, &n, err);
	if (rc == 0)
		*out = (uint64_t)n;
	return rc;
}

int key_on_gpu_mem(struct job_parse *p, json_t *v, struct err *err)
{
	int rc = get_size(p, v, &p->spec->request.gpu.mem_bytes, err);

	return rc ? rc : p->spec->request.gpu.mem_bytes ? 0 : key_bad(p, err, "more than nothing");
}

int key_on_gpu_share(struct job_parse *p, json_t *v, struct err *err)
{
	int64_t n;
	int rc;

	if (json_is_string(v))
		return key_wrap(p,
		        num_parse_milli(
		                json_string_value(v), &p->spec->request.gpu.share_milli, err),
		        err);
	rc = key_int(p, v, 1, 1000, &n, err);
	if (rc == 0)
		p->spec->request.gpu.share_milli = (uint32_t)n;
	return rc;
}

/* "8", "8.0+", "550.54.15": up to n numbers, those behind the first of at most so many digits. */
static int get_version(struct job_parse *p, json_t *v, uint32_t parts[], int n, int digits,
        const char *want, struct err *err)
{
	const char *s = json_is_string(v) ? json_string_value(v) : "";

	for (int i = 0; i < n; i++) {
		int most = i ? digits : 3;
		if (!isdigit((unsigned char)*s))
			return key_bad(p, err, want);
		for (; isdigit((unsigned char)*s) && most-- > 0; s++)
			parts[i] = parts[i] * 10 + (uint32_t)(*s - '0');
		if (*s != '.' || i + 1 == n)
			break;
		s++;
	}
	s += *s == '+';
	return *s ? key_bad(p, err, want) : 0;
}

int key_on_gpu_cc(struct job_parse *p, json_t *v, struct err *err)
{
	static const char want[] = "a compute capability like \"8.0+\"";
	uint32_t parts[2] = {0};
	int rc = get_version(p, v, parts, 2, 1, want, err);

	if (rc == 0 && parts[0] >= 100)
		rc = key_bad(p, err, want);
	if (rc == 0)
		p->spec->request.gpu.cc_min = parts[0] * 10 + parts[1];
	return rc;
}

int key_on_gpu_cuda(struct job_parse *p, json_t *v, struct err *err)
{
	static const char want[] = "a version of CUDA like \"12.4+\"";
	uint32_t parts[2] = {0};
	int rc = get_version(p, v, parts, 2, 2, want, err);

	if (rc == 0)
		p->spec->request.gpu.cuda_min = parts[0] * 1000 + parts[1] * 10;
	return rc;
}

int key_on_gpu_driver(struct job_parse *p, json_t *v, struct err *err)
{
	uint32_t parts[3] = {0};
	int rc = get_version(p, v, parts, 3, 3, "a version of the driver like \"550.54+\"", err);

	if (rc == 0)
		p->spec->request.gpu.driver_min = parts[0] * 1000000 + parts[1] * 1000 + parts[2];
	return rc;
}

int key_on_constraint(struct job_parse *p, json_t *v, struct err *err)
{
	char **text = &p->spec->request.constraint, label[LABEL_MAX];
	int rc = key_text(p, v, text, err);

	for (const char *at = rc ? "" : *text; *at && rc == 0; at += *at == ',') {
		size_t n = strcspn(at, ",");
		snprintf(label, sizeof(label), "%.*s", (int)n, at);
		if (n >= sizeof(label) || !text_is_label(label) || (at[n] && !at[n + 1]))
			rc = key_bad(p, err, "labels like \"a100,zone=eu\"");
		at += n;
	}
	return rc;
}

int key_on_cpus(struct job_parse *p, json_t *v, struct err *err)
{
	int64_t n;
	int rc = key_int(p, v, 0, NODE_CPUS_MAX, &n, err);

	if (rc == 0) {
		p->spec->request.cpus = (uint32_t)n;
		key_said(p, BY_QUEUE_CPUS);
	}
	return rc;
}

int key_on_tasks(struct job_parse *p, json_t *v, struct err *err)
{
	int64_t n;
	int rc = key_int(p, v, 1, REQUEST_RANKS_MAX, &n, err);

	if (rc == 0)
		p->spec->request.ranks = (uint32_t)n;
	return rc;
}

int key_on_mem(struct job_parse *p, json_t *v, struct err *err)
{
	return get_size(p, v, &p->spec->request.mem_bytes, err);
}

int key_on_time(struct job_parse *p, json_t *v, struct err *err)
{
	uint64_t seconds = 0;
	int64_t n;
	int rc;

	if (json_is_string(v)) {
		rc = key_wrap(p, num_parse_duration(json_string_value(v), &seconds, err), err);
	} else {
		rc = key_int(p, v, 0, 1000LL * 365 * 86400, &n, err);
		seconds = rc ? 0 : (uint64_t)n;
	}
	if (rc)
		return rc;
	if (seconds > 1000ULL * 365 * 86400)
		return key_bad(p, err, "at most a thousand years");
	p->spec->request.time_limit_ms = seconds * 1000;
	key_said(p, BY_QUEUE_TIME);
	return 0;
}
