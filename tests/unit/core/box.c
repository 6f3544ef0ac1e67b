#include "box.h"

#include <stdio.h>
#include <string.h>

static char *command[] = {"/bin/true", NULL};

void box_init(struct box *b)
{
	struct queue q = {.name = "default", .default_cpus = 1, .configured = true};

	*b = (struct box){.policy = {.fgpu_per_device = 1,
	                          .backoff_min_ms = 1000,
	                          .backoff_max_ms = 60000,
	                          .silence_ms = 15000,
	                          .keep_ended = 1000},
	        .now = {BOX_WALL_MS, 5000}};
	b->w = world_new(&b->policy);
	box_apply(b, (struct event){.kind = EVENT_QUEUE_SET, .queue = &q});
}

void box_done(struct box *b)
{
	world_free(b->w);
	effects_done(&b->fx);
}

int box_try(struct box *b, struct event e)
{
	struct err err;
	uint32_t n_dirty = b->w->n_dirty;
	int rc;

	b->fx.n = 0;
	rc = core_apply(b->w, &e, b->now, &b->fx, &b->out, &b->err);
	if (rc) {
		assert_int_equal(b->fx.n, 0);
		assert_int_equal(b->w->n_dirty, n_dirty);
	}
	if (world_check(b->w, &err))
		fail_msg("%s", err.text);
	return rc;
}

void box_apply(struct box *b, struct event e)
{
	if (box_try(b, e))
		fail_msg("refused: %s", b->err.text);
}

void box_refuse(struct box *b, struct event e, enum err_kind kind, const char *part_of_text)
{
	assert_int_equal(box_try(b, e), -(int)kind);
	if (!strstr(b->err.text, part_of_text))
		fail_msg("'%s' does not say '%s'", b->err.text, part_of_text);
}

void box_pass(struct box *b, int64_t ms)
{
	b->now.wall_ms += ms;
	b->now.mono_ms += ms;
	box_apply(b, (struct event){.kind = EVENT_TICK});
}

struct request box_request(void)
{
	return (struct request){
	        .user = "ada", .queue = "default", .argv = command, .n_argv = 1, .cpus = 1};
}

struct job *box_submit(struct box *b, struct request r)
{
	box_apply(b, (struct event){.kind = EVENT_SUBMIT, .request = &r, .actor = "ada"});
	assert_true(b->out.is_new);
	return b->out.job;
}

struct job *box_submit_plain(struct box *b)
{
	return box_submit(b, box_request());
}

struct job *box_submit_array(struct box *b, int64_t first, int64_t last, uint32_t throttle)
{
	struct request r = box_request();
	struct array_range range = {first, last, 1};

	r.ranges = &range;
	r.n_ranges = 1;
	r.throttle = throttle;
	return box_submit(b, r);
}

struct job *box_submit_after(struct box *b, enum dep_kind kind, struct job_id on)
{
	struct request r = box_request();
	struct dep d = {kind, on};

	r.deps = &d;
	r.n_deps = 1;
	return box_submit(b, r);
}

struct job *box_find(const struct box *b, uint64_t num, int64_t task)
{
	return world_find_job(b->w, (struct job_id){num, task});
}

struct node *box_node(
        struct box *b, const char *name, uint32_t cpus, uint32_t devices, uint64_t device_bytes)
{
	struct node n = {.is_local = true, .boot_id = "boot", .mem_bytes = 64 * GIB};
	struct device_info v[NODE_DEVICES_MAX];

	snprintf(n.name, sizeof(n.name), "%s", name);
	for (uint32_t i = 0; i < cpus; i++)
		cpu_set_add(&n.cpus, i);
	for (uint32_t i = 0; i < devices; i++) {
		v[i] = (struct device_info){.model = BOX_MODEL,
		        .index = i,
		        .mem_bytes = device_bytes,
		        .cc = 80,
		        .numa_node = -1};
		snprintf(v[i].uuid, sizeof(v[i].uuid), "%s-%u", name, i);
	}
	box_apply(
	        b, (struct event){
	                   .kind = EVENT_NODE_UP, .node = &n, .devices = v, .n_devices = devices});
	return world_find_node(b->w, name);
}

struct job *box_start_on(struct box *b, const struct job *j, uint64_t bytes, uint32_t milli)
{
	struct placement p = {.id = j->id,
	        .node = 1,
	        .n_slices = bytes ? 1 : 0,
	        .slices = {{.mem_bytes = bytes, .share_milli = milli}}};

	if (j->is_array)
		p.pos = array_next(j->array, 0);
	box_apply(b, (struct event){.kind = EVENT_START, .placement = &p});
	return b->out.job;
}

struct job *box_start(struct box *b, const struct job *j)
{
	return box_start_on(b, j, 0, 0);
}

void box_started(struct box *b, const struct job *j)
{
	box_apply(b,
	        (struct event){.kind = EVENT_STARTED, .id = j->id, .epoch = j->epoch, .pid = 77});
}

struct job *box_run(struct box *b, const struct job *j)
{
	struct job *started = box_start(b, j);

	box_started(b, started);
	return started;
}

static void end_with(
        struct box *b, const struct job *j, enum reason reason, bool has_code, int32_t code)
{
	struct attempt_end end = {.reason = reason,
	        .has_code = has_code,
	        .exit_code = code,
	        .wall_ms = b->now.wall_ms};

	box_apply(b,
	        (struct event){.kind = EVENT_ENDED, .id = j->id, .epoch = j->epoch, .end = &end});
}

void box_exit(struct box *b, struct job *j, int32_t code)
{
	end_with(b, j, REASON_EXITED, true, code);
}

void box_end(struct box *b, const struct job *j, enum reason reason)
{
	end_with(b, j, reason, reason == REASON_SIGNALLED || reason == REASON_EXITED,
	        reason == REASON_SIGNALLED ? 128 + 9 : 0);
}

void box_lose(struct box *b, const struct job *j, enum reason reason)
{
	box_apply(b, (struct event){
	                     .kind = EVENT_LOST, .id = j->id, .epoch = j->epoch, .reason = reason});
}

void box_cancel(struct box *b, struct job_id id)
{
	box_apply(b, (struct event){.kind = EVENT_CANCEL,
	                     .id = id,
	                     .reason = REASON_CANCELLED,
	                     .actor = "ada"});
}

struct job *box_job_in(struct box *b, enum job_state state)
{
	struct request r = box_request();
	struct job *j;

	r.no_retry = true;
	j = box_submit(b, r);
	if (state == JOB_PENDING)
		return j;
	box_start(b, j);
	if (state == JOB_STARTING)
		return j;
	box_started(b, j);
	if (state == JOB_RUNNING)
		return j;
	if (state == JOB_COMPLETING || state == JOB_CANCELLED)
		box_cancel(b, j->id);
	if (state == JOB_CANCELLED)
		box_end(b, j, REASON_CANCELLED);
	else if (state == JOB_COMPLETED)
		box_exit(b, j, 0);
	else if (state == JOB_FAILED)
		box_exit(b, j, 3);
	else if (state == JOB_TIMEOUT)
		box_end(b, j, REASON_TIME_LIMIT);
	else if (state == JOB_OUT_OF_MEMORY)
		box_end(b, j, REASON_MEMORY_LIMIT);
	else if (state == JOB_NODE_FAIL)
		box_lose(b, j, REASON_NODE_LOST);
	assert_int_equal(j->state, state);
	return j;
}

const struct effect *box_effect(const struct box *b, enum effect_kind kind, struct job_id id)
{
	for (size_t i = 0; i < b->fx.n; i++)
		if (b->fx.v[i].kind == kind && job_id_eq(b->fx.v[i].id, id))
			return &b->fx.v[i];
	return NULL;
}

void box_take_dirty(struct box *b)
{
	struct job **jobs;

	(void)world_take_dirty(b->w, &jobs);
}

void box_expect(const struct job *j, enum job_state state, enum reason reason)
{
	const struct transition *t = &j->transitions[j->n_transitions - 1];

	assert_string_equal(
	        strtab_name(job_state_names, j->state), strtab_name(job_state_names, state));
	assert_string_equal(reason_code(j->reason), reason_code(reason));
	assert_int_equal(t->state, state);
	assert_int_equal(t->reason, reason);
}
