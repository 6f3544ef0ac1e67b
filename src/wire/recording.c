#include "wire/recording_priv.h"
#include "base/mem.h"
#include "base/num.h"
#include "wire/record.h"

#include <stdlib.h>
#include <string.h>

/* clang-format off */
#define MEMBER(s, f, member)       {.name = #member, .form = MEMBER_##f, .at = offsetof(struct s, member)}
#define MEMBER_AS(s, f, member, n) {.name = (n), .form = MEMBER_##f, .at = offsetof(struct s, member)}
#define MEMBER_OF_FIXED(s, member) \
	{.name = #member, .form = MEMBER_FIXED, .at = offsetof(struct s, member), .size = sizeof(((struct s *)0)->member)}
#define MEMBERS(array)             {.v = (array), .n = ARRAY_LEN(array)}
/* clang-format on */

static const struct member event_members[] = {
        MEMBER(event, U64, epoch),
        MEMBER(event, TEXT, name),
        MEMBER(event, BOOL, force),
        MEMBER(event, I64, shift_ms),
        MEMBER(event, BOOL, set_priority),
        MEMBER(event, I32, priority),
};
const struct members recording_event = MEMBERS(event_members);

static const struct member end_members[] = {
        MEMBER(attempt_end, BOOL, has_code),
        MEMBER(attempt_end, I32, exit_code),
        MEMBER(attempt_end, I64, wall_ms),
};
const struct members recording_end = MEMBERS(end_members);

static const struct member request_members[] = {
        MEMBER(request, TEXT, user),
        MEMBER(request, TEXT, queue),
        MEMBER_AS(request, U32, gpu.count, "gpu_count"),
        MEMBER_AS(request, U32, gpu.milli, "gpu_milli"),
        MEMBER_AS(request, U32, gpu.fgpu_milli, "fgpu_milli"),
        MEMBER_AS(request, U64, gpu.mem_bytes, "gpu_mem_bytes"),
        MEMBER_AS(request, U32, gpu.share_milli, "gpu_share_milli"),
        MEMBER_AS(request, U32, gpu.cc_min, "gpu_cc_min"),
        MEMBER_AS(request, U32, gpu.cuda_min, "gpu_cuda_min"),
        MEMBER_AS(request, U32, gpu.driver_min, "gpu_driver_min"),
        MEMBER_AS(request, TEXT, gpu.model, "gpu_model"),
        MEMBER(request, TEXT, constraint),
        MEMBER(request, U32, ranks),
        MEMBER(request, U32, cpus),
        MEMBER(request, U64, mem_bytes),
        MEMBER(request, U64, time_limit_ms),
        MEMBER(request, U32, retry_max),
        MEMBER(request, BOOL, no_retry),
        MEMBER(request, BOOL, hold),
        MEMBER(request, I32, priority),
        MEMBER(request, U32, throttle),
};
const struct members recording_request = MEMBERS(request_members);

static const struct member node_members[] = {
        MEMBER(node, U64, num),
        MEMBER_OF_FIXED(node, name),
        MEMBER_OF_FIXED(node, boot_id),
        MEMBER(node, BOOL, drained),
        MEMBER(node, BOOL, is_local),
        MEMBER(node, U64, mem_bytes),
};
const struct members recording_node = MEMBERS(node_members);

static const struct member device_members[] = {
        MEMBER_OF_FIXED(device_info, uuid),
        MEMBER_OF_FIXED(device_info, model),
        MEMBER(device_info, U32, index),
        MEMBER(device_info, U64, mem_bytes),
        MEMBER(device_info, U32, cc),
        MEMBER(device_info, U32, cuda),
        MEMBER_OF_FIXED(device_info, driver),
        MEMBER(device_info, I32, numa_node),
        MEMBER(device_info, BOOL, simulated),
        MEMBER(device_info, U32, health),
        MEMBER(device_info, U64, withheld_bytes),
        MEMBER(device_info, U32, held_by),
        MEMBER(device_info, U32, card_milli),
};
const struct members recording_device = MEMBERS(device_members);

static const struct member queue_members[] = {
        MEMBER_OF_FIXED(queue, name),
        MEMBER(queue, BOOL, strict),
        MEMBER(queue, U64, patience_ms),
        MEMBER(queue, I32, priority),
        MEMBER(queue, U32, default_cpus),
        MEMBER(queue, U64, time_limit_ms),
        MEMBER(queue, U64, default_time_ms),
        MEMBER(queue, U32, default_retry),
        MEMBER(queue, U32, max_waiting),
        MEMBER(queue, U32, max_running),
        MEMBER(queue, U32, max_running_per_user),
        MEMBER(queue, U32, max_gpus),
        MEMBER(queue, TEXT, nodes),
        MEMBER(queue, BOOL, configured),
};
const struct members recording_queue = MEMBERS(queue_members);

static const struct member policy_members[] = {
        MEMBER(policy, U32, fgpu_per_device),
        MEMBER(policy, I64, backoff_min_ms),
        MEMBER(policy, I64, backoff_max_ms),
        MEMBER(policy, I64, silence_ms),
        MEMBER(policy, U32, keep_ended),
};
const struct members recording_policy = MEMBERS(policy_members);

static const struct member model_members[] = {
        MEMBER_OF_FIXED(policy_model, model),
        MEMBER(policy_model, U32, fgpu_per_device),
};
const struct members recording_model = MEMBERS(model_members);

static const struct member label_members[] = {
        MEMBER_OF_FIXED(policy_label, node),
        MEMBER_OF_FIXED(policy_label, label),
};
const struct members recording_label = MEMBERS(label_members);

static const struct member counters_members[] = {
        MEMBER(recorded, U64, next_job),
        MEMBER(recorded, U64, next_epoch),
        MEMBER(recorded, U64, next_order),
        MEMBER(recorded, U64, next_node),
};
const struct members recording_counters = MEMBERS(counters_members);

static const char *const event_names[] = {
        [EVENT_SUBMIT] = "submit",
        [EVENT_STARTED] = "started",
        [EVENT_ENDED] = "ended",
        [EVENT_LOST] = "lost",
        [EVENT_CANCEL] = "cancel",
        [EVENT_HOLD] = "hold",
        [EVENT_RELEASE] = "release",
        [EVENT_RETRY] = "retry",
        [EVENT_EDIT] = "edit",
        [EVENT_NODE_UP] = "node_up",
        [EVENT_NODE_DOWN] = "node_down",
        [EVENT_NODE_DRAIN] = "node_drain",
        [EVENT_NODE_RESUME] = "node_resume",
        [EVENT_DEVICE] = "device",
        [EVENT_QUEUE_SET] = "queue_set",
        [EVENT_QUEUE_REMOVE] = "queue_remove",
        [EVENT_QUEUE_PAUSE] = "queue_pause",
        [EVENT_QUEUE_RESUME] = "queue_resume",
        [EVENT_TICK] = "tick",
};
const struct strtab recording_event_names = STRTAB(event_names);

/* Members */

static json_t *number(uint64_t n)
{
	return n ? json_integer((json_int_t)n) : NULL;
}

static json_t *text(const char *s, size_t max)
{
	size_t n = s ? strnlen(s, max) : 0;

	return n ? json_stringn(s, n) : NULL;
}

static json_t *member_of(const struct member *m, const void *at)
{
	switch ((enum member_form)m->form) {
	case MEMBER_U64:
		return number(*(const uint64_t *)at);
	case MEMBER_I64:
		return number((uint64_t) * (const int64_t *)at);
	case MEMBER_U32:
		return number(*(const uint32_t *)at);
	case MEMBER_I32:
		return number((uint64_t)(int64_t) * (const int32_t *)at);
	case MEMBER_BOOL:
		return *(const bool *)at ? json_true() : NULL;
	case MEMBER_TEXT:
		return text(*(char *const *)at, PTRDIFF_MAX);
	case MEMBER_FIXED:
		return text(at, m->size);
	}
	return NULL;
}

static void put_members(json_t *o, const struct members *t, const void *v)
{
	for (size_t i = 0; i < t->n; i++) {
		json_t *x = member_of(&t->v[i], (const uint8_t *)v + t->v[i].at);
		if (x)
			json_object_set_new(o, t->v[i].name, x);
	}
}

static json_t *object_of(const struct members *t, const void *v)
{
	json_t *o = json_object();

	put_members(o, t, v);
	return o;
}

/* Lists */

/* Runs of CPUs: [first, last], ... */
static json_t *cpus_of(const struct cpu_set *s)
{
	json_t *list = json_array();

	for (uint32_t first = 0, last; first < NODE_CPUS_MAX; first = last + 1) {
		last = first;
		if (!cpu_set_has(s, first))
			continue;
		while (cpu_set_has(s, last + 1))
			last++;
		json_array_append_new(list, json_pack("[i,i]", (int)first, (int)last));
	}
	return list;
}

static json_t *devices_of(const struct device_info *v, uint32_t n)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < n; i++) {
		json_t *o = object_of(&recording_device, &v[i]);
		json_object_set_new(o, "cpus", cpus_of(&v[i].cpus));
		json_array_append_new(list, o);
	}
	return list;
}

/* An empty one is left out. */
static void add_list(json_t *o, const char *key, json_t *take_list)
{
	if (json_array_size(take_list))
		json_object_set(o, key, take_list);
	json_decref(take_list);
}

static json_t *request_of(const struct request *r)
{
	json_t *o = object_of(&recording_request, r), *list = json_array();

	for (uint32_t code = 0; code <= UINT8_MAX; code++)
		if (code_set_has(&r->retry_on, (uint8_t)code))
			json_array_append_new(list, json_integer(code));
	add_list(o, "retry_on", list);
	list = json_array();
	for (uint32_t i = 0; i < r->n_ranges; i++)
		json_array_append_new(list,
		        json_pack("[I,I,I]", (json_int_t)r->ranges[i].first,
		                (json_int_t)r->ranges[i].last, (json_int_t)r->ranges[i].step));
	add_list(o, "ranges", list);
	list = json_array();
	for (uint32_t i = 0; i < r->n_deps; i++)
		json_array_append_new(list,
		        json_pack("[i,I,I]", (int)r->deps[i].kind, (json_int_t)r->deps[i].on.num,
		                (json_int_t)r->deps[i].on.task));
	add_list(o, "deps", list);
	return o;
}

static json_t *placement_of(const struct placement *p)
{
	char id[48];
	json_t *slices = json_array();
	json_t *o = json_pack("{s:s, s:I, s:o}", "id", job_id_format(p->id, id), "node",
	        (json_int_t)p->node, "slices", slices);

	if (p->pos)
		json_object_set_new(o, "pos", json_integer((json_int_t)p->pos));
	for (uint32_t i = 0; i < p->n_slices; i++)
		json_array_append_new(slices,
		        json_pack("[i,I,i]", (int)p->slices[i].device,
		                (json_int_t)p->slices[i].mem_bytes, (int)p->slices[i].share_milli));
	if (p->bind_cpus)
		json_object_set_new(o, "cpus", cpus_of(&p->cpus));
	return o;
}

/* Lines */

static json_t *begin_line(int64_t at_ms, const char *is)
{
	return json_pack("{s:I, s:s}", "at", (json_int_t)at_ms, "is", is);
}

static int add_piece(const char *data, size_t n, void *b)
{
	buf_add(b, data, n);
	return 0;
}

static void end_line(struct buf *b, json_t *line)
{
	(void)!json_dump_callback(line, add_piece, b, JSON_COMPACT);
	buf_add_byte(b, '\n');
	json_decref(line);
}

void recording_put_begin(struct buf *b, int64_t at_ms, const struct world *w, const char *placement)
{
	const struct recorded counters = {.next_job = w->next_job,
	        .next_epoch = w->next_epoch,
	        .next_order = w->next_order,
	        .next_node = w->next_node};
	json_t *line = begin_line(at_ms, RECORDING_IS_BEGIN), *models = json_array(),
	       *labels = json_array();

	json_object_set_new(line, "format", json_integer(RECORDING_FORMAT));
	json_object_set_new(line, "placement", json_string(placement));
	put_members(line, &recording_counters, &counters);
	put_members(line, &recording_policy, &w->policy);
	for (uint32_t i = 0; i < w->policy.n_models; i++)
		json_array_append_new(models, object_of(&recording_model, &w->policy.models[i]));
	for (uint32_t i = 0; i < w->policy.n_labels; i++)
		json_array_append_new(labels, object_of(&recording_label, &w->policy.labels[i]));
	add_list(line, "models", models);
	add_list(line, "labels", labels);
	end_line(b, line);
}

/* What no plan depends on is not there. */
static void put_bare_record(struct buf *b, const struct job *from)
{
	static char *no_argv[] = {(char *)(uintptr_t) "-", NULL};
	struct request r = *from->req;
	struct job j = *from;

	r.argv = no_argv;
	r.n_argv = 1;
	r.name = r.chdir = r.output = r.error = r.idempotency_key = r.grant = NULL;
	r.env_blob = r.fingerprint = 0;
	r.uid = r.gid = 0;
	j.req = &r;
	j.transitions = j.n_transitions
	                        ? mem_dup(j.transitions, j.n_transitions * sizeof(*j.transitions))
	                        : NULL;
	for (uint32_t i = 0; i < j.n_transitions; i++)
		j.transitions[i].text = NULL;
	record_put_job(b, &j);
	free(j.transitions);
}

void recording_put_job(struct buf *b, int64_t at_ms, const struct job *j)
{
	CLEANUP_BUF struct buf record = BUF_INIT(RECORD_MAX);
	json_t *line = begin_line(at_ms, RECORDING_IS_JOB);
	char id[48], *hex;

	put_bare_record(&record, j);
	hex = mem_zalloc(2 * record.len + 1);
	num_format_hex(record.data, record.len, hex);
	json_object_set_new(line, "id", json_string(job_id_format(j->id, id)));
	json_object_set_new(line, "record", json_string(hex));
	free(hex);
	end_line(b, line);
}

void recording_put_event(struct buf *b, int64_t at_ms, const struct event *e, const struct world *w)
{
	struct job_id id =
	        e->kind == EVENT_SUBMIT ? (struct job_id){w->next_job, TASK_NONE} : e->id;
	json_t *line;
	char text_of_id[48];

	if ((size_t)e->kind >= ARRAY_LEN(event_names) || !event_names[e->kind])
		return;
	line = begin_line(at_ms, event_names[e->kind]);
	put_members(line, &recording_event, e);
	if (id.num)
		json_object_set_new(line, "id", json_string(job_id_format(id, text_of_id)));
	if (e->reason)
		json_object_set_new(line, "reason", json_string(reason_code(e->reason)));
	if (e->request)
		json_object_set_new(line, "request", request_of(e->request));
	if (e->queue)
		json_object_set_new(line, "queue", object_of(&recording_queue, e->queue));
	if (e->end) {
		json_t *end = object_of(&recording_end, e->end);
		json_object_set_new(end, "reason", json_string(reason_code(e->end->reason)));
		json_object_set_new(line, "end", end);
	}
	if (e->node) {
		json_t *node = object_of(&recording_node, e->node);
		json_object_set_new(node, "cpus", cpus_of(&e->node->cpus));
		json_object_set_new(line, "node", node);
	}
	if (e->n_devices)
		json_object_set_new(line, "devices", devices_of(e->devices, e->n_devices));
	end_line(b, line);
}

void recording_put_plan(
        struct buf *b, int64_t at_ms, size_t max, const struct placement *v, size_t n)
{
	json_t *line = begin_line(at_ms, RECORDING_IS_PLAN), *list = json_array();

	json_object_set_new(line, "max", json_integer((json_int_t)max));
	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, placement_of(&v[i]));
	json_object_set_new(line, "placements", list);
	end_line(b, line);
}

void recording_put_learn(struct buf *b, int64_t at_ms)
{
	end_line(b, begin_line(at_ms, RECORDING_IS_LEARN));
}

void recording_put_adopt(struct buf *b, int64_t at_ms, const double *settings, size_t n)
{
	json_t *line = begin_line(at_ms, RECORDING_IS_ADOPT), *list = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, json_real(settings[i]));
	json_object_set_new(line, "settings", list);
	end_line(b, line);
}
