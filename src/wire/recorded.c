/* Lines of a recording, as values. What is not there is zero; what is of another type makes the line damaged. */
#include "wire/recording_priv.h"
#include "base/mem.h"
#include "wire/record.h"

#include <stdlib.h>
#include <string.h>

#define PLACEMENTS_MAX 65536
#define MODELS_MAX     1000
#define LABELS_MAX     1000 /* as many as a configuration has */

/* Members */

static bool get_integer(const json_t *v, json_int_t min, json_int_t max, json_int_t *ret)
{
	*ret = json_integer_value(v);
	return json_is_integer(v) && *ret >= min && *ret <= max;
}

static bool get_fixed(const json_t *v, char *out, size_t size)
{
	size_t n = json_string_length(v);

	if (!json_is_string(v) || n >= size || strlen(json_string_value(v)) != n)
		return false;
	memcpy(out, json_string_value(v), n + 1);
	return true;
}

static bool get_member(const struct member *m, const json_t *v, void *at)
{
	json_int_t n;

	switch ((enum member_form)m->form) {
	case MEMBER_U64:
		return get_integer(v, 0, INT64_MAX, &n) && (*(uint64_t *)at = (uint64_t)n, true);
	case MEMBER_I64:
		return get_integer(v, INT64_MIN, INT64_MAX, &n) && (*(int64_t *)at = n, true);
	case MEMBER_U32:
		return get_integer(v, 0, UINT32_MAX, &n) && (*(uint32_t *)at = (uint32_t)n, true);
	case MEMBER_I32:
		return get_integer(v, INT32_MIN, INT32_MAX, &n) &&
		       (*(int32_t *)at = (int32_t)n, true);
	case MEMBER_BOOL:
		*(bool *)at = json_is_true(v);
		return json_is_boolean(v);
	case MEMBER_TEXT:
		*(const char **)at = json_string_value(v);
		return json_is_string(v);
	case MEMBER_FIXED:
		return get_fixed(v, at, m->size);
	}
	return false;
}

static bool get_members(const json_t *o, const struct members *t, void *ret)
{
	for (size_t i = 0; i < t->n; i++) {
		const json_t *v = json_object_get(o, t->v[i].name);
		if (v && !get_member(&t->v[i], v, (uint8_t *)ret + t->v[i].at))
			return false;
	}
	return json_is_object(o);
}

/* A list of so many numbers. */
static bool get_numbers(const json_t *list, json_int_t *ret, size_t n)
{
	if (json_array_size(list) != n)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!get_integer(json_array_get(list, i), INT64_MIN, INT64_MAX, &ret[i]))
			return false;
	return true;
}

static bool is_u32(json_int_t n)
{
	return n >= 0 && n <= UINT32_MAX;
}

static bool get_cpus(const json_t *list, struct cpu_set *ret)
{
	const json_t *run;
	json_int_t v[2];
	size_t i;

	json_array_foreach(list, i, run)
	{
		if (!get_numbers(run, v, 2) || v[0] < 0 || v[1] >= NODE_CPUS_MAX)
			return false;
		for (json_int_t c = v[0]; c <= v[1]; c++)
			cpu_set_add(ret, (uint32_t)c);
	}
	return !list || json_is_array(list);
}

static bool get_id(const json_t *v, struct job_id *ret)
{
	struct err ignored;

	return json_is_string(v) && job_id_parse(json_string_value(v), ret, &ignored) == 0;
}

static bool get_reason(const json_t *v, enum reason *ret)
{
	int r = json_is_string(v) ? reason_find(json_string_value(v)) : -1;

	*ret = r < 0 ? REASON_NONE : (enum reason)r;
	return !v || r >= 0;
}

/* Requests */

static bool get_codes(const json_t *list, struct code_set *ret)
{
	const json_t *v;
	json_int_t code;
	size_t i;

	json_array_foreach(list, i, v)
	{
		if (!get_integer(v, 0, UINT8_MAX, &code))
			return false;
		code_set_add(ret, (uint8_t)code);
	}
	return true;
}

static bool get_ranges(const json_t *list, struct request *r)
{
	const json_t *v;
	json_int_t n[3];
	size_t i;

	r->ranges = mem_zalloc(MAX(json_array_size(list), 1) * sizeof(*r->ranges));
	json_array_foreach(list, i, v)
	{
		if (!get_numbers(v, n, 3))
			return false;
		r->ranges[r->n_ranges++] = (struct array_range){n[0], n[1], n[2]};
	}
	return true;
}

static bool get_deps(const json_t *list, struct request *r)
{
	const json_t *v;
	json_int_t n[3];
	size_t i;

	if (json_array_size(list) > RECORD_DEPS_MAX)
		return false;
	r->deps = mem_zalloc(MAX(json_array_size(list), 1) * sizeof(*r->deps));
	json_array_foreach(list, i, v)
	{
		if (!get_numbers(v, n, 3) || n[0] < DEP_AFTER || n[0] > DEP_AFTER_OK || n[1] < 1)
			return false;
		r->deps[r->n_deps++] = (struct dep){(enum dep_kind)n[0], {(uint64_t)n[1], n[2]}};
	}
	return true;
}

static bool get_request(const json_t *o, struct recorded *r)
{
	static char *no_argv[] = {(char *)(uintptr_t) "-", NULL};

	if (!o)
		return true;
	r->request = (struct request){.refs = 1, .argv = no_argv, .n_argv = 1};
	r->event.request = &r->request;
	return get_members(o, &recording_request, &r->request) &&
	       get_codes(json_object_get(o, "retry_on"), &r->request.retry_on) &&
	       get_ranges(json_object_get(o, "ranges"), &r->request) &&
	       get_deps(json_object_get(o, "deps"), &r->request);
}

/* Events */

static bool get_devices(const json_t *list, struct recorded *r)
{
	const json_t *v;
	size_t i;

	if (json_array_size(list) > NODE_DEVICES_MAX)
		return false;
	r->devices = mem_zalloc(MAX(json_array_size(list), 1) * sizeof(*r->devices));
	r->event.devices = r->devices;
	json_array_foreach(list, i, v)
	{
		struct device_info *d = &r->devices[r->event.n_devices++];
		if (!get_members(v, &recording_device, d) ||
		        !get_cpus(json_object_get(v, "cpus"), &d->cpus) ||
		        d->health > DEVICE_LOST || d->held_by > HELD_BY_MIG)
			return false;
	}
	return true;
}

static bool get_node(const json_t *o, struct recorded *r)
{
	if (!o)
		return true;
	r->event.node = &r->node;
	return get_members(o, &recording_node, &r->node) && node_is_name(r->node.name) &&
	       r->node.num < INT64_MAX / 2 && get_cpus(json_object_get(o, "cpus"), &r->node.cpus);
}

static bool get_end(const json_t *o, struct recorded *r)
{
	if (!o)
		return true;
	r->event.end = &r->end;
	return get_members(o, &recording_end, &r->end) &&
	       get_reason(json_object_get(o, "reason"), &r->end.reason);
}

static bool get_queue(const json_t *o, struct recorded *r)
{
	if (!o)
		return true;
	r->event.queue = &r->queue;
	return get_members(o, &recording_queue, &r->queue) && r->queue.name[0];
}

/* What the core takes for granted of an event of this kind. */
static bool is_whole(const struct event *e)
{
	switch (e->kind) {
	case EVENT_SUBMIT:
		return e->request && e->id.num;
	case EVENT_NODE_UP:
		return e->node != NULL;
	case EVENT_QUEUE_SET:
		return e->queue != NULL;
	case EVENT_NODE_DOWN:
	case EVENT_NODE_DRAIN:
	case EVENT_NODE_RESUME:
	case EVENT_DEVICE:
	case EVENT_QUEUE_REMOVE:
	case EVENT_QUEUE_PAUSE:
	case EVENT_QUEUE_RESUME:
		return e->name != NULL;
	case EVENT_TICK:
		return true;
	default:
		return e->id.num != 0;
	}
}

static bool get_event(const json_t *o, struct recorded *r)
{
	const json_t *id = json_object_get(o, "id");
	struct event *e = &r->event;

	r->kind = RECORDED_EVENT;
	return (!id || get_id(id, &e->id)) && get_members(o, &recording_event, e) &&
	       get_reason(json_object_get(o, "reason"), &e->reason) &&
	       get_request(json_object_get(o, "request"), r) &&
	       get_node(json_object_get(o, "node"), r) &&
	       get_devices(json_object_get(o, "devices"), r) &&
	       get_queue(json_object_get(o, "queue"), r) && get_end(json_object_get(o, "end"), r) &&
	       is_whole(e);
}

/* Other lines */

static bool get_labels(const json_t *list, struct policy *p)
{
	const json_t *v;
	size_t i;

	if (json_array_size(list) > LABELS_MAX)
		return false;
	p->labels = mem_zalloc(MAX(json_array_size(list), 1) * sizeof(*p->labels));
	json_array_foreach(list, i, v)
	{
		if (!get_members(v, &recording_label, &p->labels[p->n_labels++]))
			return false;
	}
	return true;
}

static bool get_begin(const json_t *o, struct recorded *r)
{
	const json_t *models = json_object_get(o, "models"), *v;
	size_t i;

	r->kind = RECORDED_BEGIN;
	if (json_array_size(models) > MODELS_MAX ||
	        !get_labels(json_object_get(o, "labels"), &r->policy) ||
	        !get_fixed(json_object_get(o, "placement"), r->placement, sizeof(r->placement)))
		return false;
	r->policy.models = mem_zalloc(MAX(json_array_size(models), 1) * sizeof(*r->policy.models));
	json_array_foreach(models, i, v)
	{
		if (!get_members(v, &recording_model, &r->policy.models[r->policy.n_models++]))
			return false;
	}
	return get_members(o, &recording_counters, r) &&
	       get_members(o, &recording_policy, &r->policy) && r->next_job && r->next_epoch;
}

static int digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool get_job(const json_t *o, struct recorded *r)
{
	const json_t *hex = json_object_get(o, "record");
	const char *s = json_string_value(hex);
	size_t n = json_string_length(hex) / 2;

	r->kind = RECORDED_JOB;
	if (!s || json_string_length(hex) % 2 || n > RECORD_MAX ||
	        !get_id(json_object_get(o, "id"), &r->event.id))
		return false;
	r->record = mem_zalloc(n + 1);
	for (r->len = 0; r->len < n; r->len++) {
		int high = digit(s[2 * r->len]), low = digit(s[2 * r->len + 1]);
		if (high < 0 || low < 0)
			return false;
		r->record[r->len] = (uint8_t)(high * 16 + low);
	}
	return true;
}

static bool get_slices(const json_t *list, struct placement *p)
{
	const json_t *v;
	json_int_t n[3];
	size_t i;

	if (json_array_size(list) > NODE_DEVICES_MAX)
		return false;
	json_array_foreach(list, i, v)
	{
		if (!get_numbers(v, n, 3) || !is_u32(n[0]) || n[1] < 0 || !is_u32(n[2]))
			return false;
		p->slices[p->n_slices++] =
		        (struct slice){(uint64_t)n[1], (uint32_t)n[0], (uint32_t)n[2]};
	}
	return true;
}

static bool get_placement(const json_t *o, struct placement *p)
{
	const json_t *pos = json_object_get(o, "pos"), *cpus = json_object_get(o, "cpus");
	json_int_t node, n = 0;

	if (!get_id(json_object_get(o, "id"), &p->id) ||
	        !get_integer(json_object_get(o, "node"), 1, INT64_MAX, &node) ||
	        (pos && !get_integer(pos, 0, INT64_MAX, &n)))
		return false;
	p->node = (uint64_t)node;
	p->pos = (uint64_t)n;
	p->bind_cpus = cpus != NULL;
	return get_slices(json_object_get(o, "slices"), p) && get_cpus(cpus, &p->cpus);
}

static bool get_plan(const json_t *o, struct recorded *r)
{
	const json_t *list = json_object_get(o, "placements"), *v;
	json_int_t max;
	size_t i;

	r->kind = RECORDED_PLAN;
	if (!json_is_array(list) ||
	        !get_integer(json_object_get(o, "max"), 1, PLACEMENTS_MAX, &max) ||
	        (json_int_t)json_array_size(list) > max)
		return false;
	r->max = (size_t)max;
	r->placements = mem_zalloc(MAX(json_array_size(list), 1) * sizeof(*r->placements));
	json_array_foreach(list, i, v)
	{
		if (!get_placement(v, &r->placements[r->n_placements++]))
			return false;
	}
	return true;
}

static bool get_adopt(const json_t *o, struct recorded *r)
{
	const json_t *list = json_object_get(o, "settings"), *v;
	size_t i;

	r->kind = RECORDED_ADOPT;
	if (json_array_size(list) > RECORDING_SETTINGS_MAX)
		return false;
	json_array_foreach(list, i, v)
	{
		if (!json_is_number(v))
			return false;
		r->settings[r->n_settings++] = json_number_value(v);
	}
	return r->n_settings > 0;
}

static bool get_line(const char *is, const json_t *o, struct recorded *r)
{
	int kind = strtab_find(recording_event_names, is);

	if (kind >= 0) {
		r->event.kind = (enum event_kind)kind;
		return get_event(o, r);
	}
	if (strcmp(is, RECORDING_IS_PLAN) == 0)
		return get_plan(o, r);
	if (strcmp(is, RECORDING_IS_BEGIN) == 0)
		return get_begin(o, r);
	if (strcmp(is, RECORDING_IS_JOB) == 0)
		return get_job(o, r);
	if (strcmp(is, RECORDING_IS_ADOPT) == 0)
		return get_adopt(o, r);
	r->kind = RECORDED_LEARN;
	return strcmp(is, RECORDING_IS_LEARN) == 0;
}

int recorded_parse(const char *line, size_t len, struct recorded **ret_line, struct err *err)
{
	json_error_t why;
	json_t *o = json_loadb(line, len, JSON_REJECT_DUPLICATES, &why);
	const char *is = json_string_value(json_object_get(o, "is"));
	const json_t *format = json_object_get(o, "format");
	struct recorded *r;
	json_int_t at_ms;

	if (!o)
		return err_set(err, ERR_CORRUPT, "no line of a recording: %s", why.text);
	if (format && json_integer_value(format) != RECORDING_FORMAT) {
		json_int_t n = json_integer_value(format);
		json_decref(o);
		return err_set(err, ERR_VERSION,
		        "a recording of format %lld; this program knows %d", (long long)n,
		        RECORDING_FORMAT);
	}
	r = mem_zalloc(sizeof(*r));
	r->json = o;
	if (is && get_integer(json_object_get(o, "at"), 0, INT64_MAX / 2, &at_ms) &&
	        get_line(is, o, r)) {
		r->at_ms = at_ms;
		*ret_line = r;
		return 0;
	}
	(void)!err_set(
	        err, ERR_CORRUPT, "no line of a recording: '%.40s' is damaged", is ? is : "is");
	recorded_free(r);
	return -(int)ERR_CORRUPT;
}

void recorded_free(struct recorded *r)
{
	if (!r)
		return;
	free(r->policy.models);
	free(r->policy.labels);
	free(r->record);
	free(r->request.ranges);
	free(r->request.deps);
	free(r->devices);
	free(r->placements);
	json_decref(r->json);
	free(r);
}

/* Worlds */

struct world *recorded_world(const struct recorded *begin)
{
	struct world *w = world_new(&begin->policy);

	w->next_job = begin->next_job;
	w->next_epoch = begin->next_epoch;
	w->next_order = begin->next_order;
	w->next_node = MAX(begin->next_node, 1);
	return w;
}

int recorded_adopt(const struct recorded *job, struct world *w, struct err *err)
{
	struct job_id id = job->event.id, of = {id.num, TASK_NONE};
	const struct job *parent = id.task == TASK_NONE ? NULL : world_find_job(w, of);
	struct job *j;
	int rc;

	if (world_find_job(w, id))
		return 0;
	if (id.task != TASK_NONE && !parent)
		return err_set(err, ERR_CORRUPT, "a task of job %llu has no job",
		        (unsigned long long)id.num);
	rc = record_get_job(job->record, job->len, parent, &j, err);
	return rc ? rc : world_adopt_job(w, j, err);
}
