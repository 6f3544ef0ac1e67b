/* A job as clients send it. What is taken can be packed, stored and read again. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "fuzz.h"
#include "core/world.h"
#include "core/apply.h"
#include "wire/ask.h"
#include "wire/job_json.h"
#include "wire/record.h"

static void check_limits(const struct job_spec *s)
{
	const struct request *r = &s->request;

	FUZZ_MUST(r->argv && r->argv[0][0] && r->n_argv <= JOB_JSON_ARGV_MAX);
	FUZZ_MUST(!r->argv[r->n_argv]);
	FUZZ_MUST((r->gpu.count != 0) + (r->gpu.milli != 0) + (r->gpu.fgpu_milli != 0) <= 1);
	FUZZ_MUST(r->gpu.count <= ASK_GPUS_MAX && r->gpu.milli < 1000);
	FUZZ_MUST(r->n_deps <= JOB_JSON_DEPS_MAX && r->n_ranges <= ASK_RANGES_MAX);
	FUZZ_MUST(request_n_tasks(r) <= ASK_TASKS_MAX);
	FUZZ_MUST(!(r->n_ranges && r->tty) && !(r->no_retry && r->retry_max));
	FUZZ_MUST(!s->env || json_is_object(s->env));
	FUZZ_MUST(!s->taken_env || json_is_object(s->taken_env));
}

/* As the server does with it: into a world, and from there into the store. */
static void check_life(struct request *r)
{
	struct policy policy = {.fgpu_per_device = 2};
	struct world *w = world_new(&policy);
	struct event set = {.kind = EVENT_QUEUE_SET};
	struct event e = {.kind = EVENT_SUBMIT, .request = r, .actor = "ada"};
	struct queue q = {.default_cpus = 1, .configured = true};
	CLEANUP_BUF struct buf first = BUF_INIT(RECORD_MAX), second = BUF_INIT(RECORD_MAX);
	struct effects fx = {0};
	struct applied out;
	struct job *j;
	struct err err;

	set.queue = &q;
	r->user = "ada";
	r->n_deps = 0; /* on jobs that are not there */
	r->queue = r->queue ? r->queue : "default";
	snprintf(q.name, sizeof(q.name), "%.63s", r->queue);
	if (core_apply(w, &set, (struct now){1, 1}, &fx, &out, &err) == 0 &&
	        core_apply(w, &e, (struct now){1, 1}, &fx, &out, &err) == 0) {
		record_put_job(&first, out.job);
		FUZZ_MUST(record_get_job(first.data, first.len, NULL, &j, &err) == 0);
		record_put_job(&second, j);
		FUZZ_MUST(fuzz_is_same(&first, &second));
		world_job_free(j);
	}
	effects_done(&fx);
	world_free(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	json_t *json = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, NULL);
	void *ctx = talloc_new(NULL);
	struct job_spec spec;
	struct err err;
	int rc;

	if (json) {
		fuzz_err_init(&err);
		rc = job_spec_from_json(json, ctx, &spec, &err);
		if (rc) {
			fuzz_err_check(rc, &err);
		} else {
			check_limits(&spec);
			check_life(&spec.request);
		}
	}
	json_decref(json);
	talloc_free(ctx);
	return 0;
}
