#include "server/view.h"
#include "server/links.h"
#include "base/num.h"

#include <stdio.h>
#include <string.h>

#define TEXT_SIZE 256

json_t *view_time(int64_t wall_ms)
{
	char text[32];

	return wall_ms ? json_string(num_format_time(wall_ms, text)) : json_null();
}

static json_t *text_or_null(const char *s)
{
	json_t *t = s && *s ? json_string(s) : NULL;

	/* What is not UTF-8 cannot stand in JSON as it is. */
	if (s && *s && !t) {
		char shown[4096];
		size_t n = 0;
		for (; *s && n + 1 < sizeof(shown); s++)
			shown[n++] = (unsigned char)*s < 0x80 ? *s : '?';
		shown[n] = '\0';
		t = json_string(shown);
	}
	return t ? t : json_null();
}

/* The interposer's memory is exact on any device; nothing else was seen on any real one yet (doc/slice.md). */
static const char *held_by_text(const char *held_by, const struct device *d)
{
	static const char *const texts[][2] = {
	        {"interposer", "interposer (pacing not yet confirmed on this model)"},
	        {"kernel", "kernel (not yet run on hardware)"},
	        {"mps", "mps (not yet run on hardware)"},
	};

	if (strcmp(held_by, "mig") == 0)
		return "mig (not yet run on hardware)";
	for (size_t i = 0; d && !d->info.simulated && i < ARRAY_LEN(texts); i++)
		if (strcmp(held_by, texts[i][0]) == 0)
			return texts[i][1];
	return held_by;
}

static const struct device *find_device(const struct node *n, const char *uuid)
{
	for (uint32_t i = 0; n && i < n->n_devices; i++)
		if (strcmp(n->devices[i].info.uuid, uuid) == 0)
			return &n->devices[i];
	return NULL;
}

/* As its start said; until then, what its device has for it. */
static const char *slice_held_by(
        const struct attempt *a, const struct slice_record *r, const struct device *d)
{
	/* A MIG instance, also one that is not there any more: it is a part of a card. */
	if (strncmp(r->device, "MIG-", 4) == 0)
		return held_by_name(HELD_BY_MIG);
	if (r->share_milli == 1000 && (!d || r->mem_bytes >= d->info.mem_bytes))
		return "whole";
	if (!a->started_ms && d)
		return held_by_name(d->info.held_by);
	if (a->held & SPOOL_HOLD_BY_MPS)
		return "mps";
	if (a->held & SPOOL_HOLD_GPU_MEMORY)
		return "kernel";
	return a->held & SPOOL_HOLD_BY_INTERPOSER ? "interposer" : "none";
}

/* Of an attempt that runs, and whose agent has looked. */
static json_t *seen_bytes(const struct attempt *a, const struct slice_record *r, uint64_t bytes)
{
	return r->is_seen && !a->ended_ms
	               ? json_integer((json_int_t)MIN(bytes, (uint64_t)INT64_MAX))
	               : json_null();
}

static json_t *view_slices(const struct world *w, const struct attempt *a)
{
	const struct node *n = a->node_name ? world_find_node(w, a->node_name) : NULL;
	json_t *list = json_array();

	for (uint32_t i = 0; i < a->n_slices; i++) {
		const struct slice_record *r = &a->slices[i];
		const struct device *d = find_device(n, r->device);
		const char *by = slice_held_by(a, r, d);

		json_array_append_new(list,
		        json_pack("{s:s, s:s, s:I, s:i, s:s, s:s, s:o, s:o}", "node",
		                a->node_name ? a->node_name : "", "device", r->device, "mem_bytes",
		                (json_int_t)r->mem_bytes, "share_milli", (int)r->share_milli,
		                "held_by", by, "held_by_text", held_by_text(by, d), "used_bytes",
		                seen_bytes(a, r, r->used_bytes), "driver_bytes",
		                seen_bytes(a, r, r->driver_bytes)));
	}
	return list;
}

/* What stands before a text that is only a name; NULL: the text is a sentence. */
static const char *words_before_name(const struct job *j, const struct transition *t)
{
	switch (t->reason) {
	case REASON_SUBMITTED:
		return t == j->transitions ? "submitted by" : "released by";
	case REASON_PLACED:
		return "placed on";
	case REASON_HELD:
		return "held by";
	case REASON_CANCELLED:
		return "cancelled by";
	case REASON_RETRY_BY_USER:
		return "to be tried again, asked for by";
	default:
		return NULL;
	}
}

/* How the command of its attempt ended, with the figure that people ask for; false: not by itself. */
static bool format_exit(const struct job *j, const struct transition *t, char out[TEXT_SIZE])
{
	const struct attempt *a =
	        t->attempt && t->attempt <= j->n_attempts ? &j->attempts[t->attempt - 1] : NULL;

	int n = 0;

	if (!a || !a->has_code || !a->exit_code)
		return false;
	if (a->reason == REASON_EXITED)
		n = snprintf(out, TEXT_SIZE, "exit code %d", a->exit_code);
	else if (a->reason == REASON_SIGNALLED && a->exit_code > 128)
		n = snprintf(out, TEXT_SIZE, "ended by signal %d", a->exit_code - 128);
	if (n && a->has_rank)
		snprintf(out + n, TEXT_SIZE - (size_t)n, ", by rank %u", a->rank);
	return n > 0;
}

/* Why, in a sentence: its own text, or what the reason and the attempt tell. */
static json_t *transition_text(const struct job *j, const struct transition *t)
{
	const char *words = words_before_name(j, t), *text = t->text;
	char exit[TEXT_SIZE], out[TEXT_SIZE];

	/* The end of what was cancelled does not say by whom; its beginning did. */
	if (!text && t > j->transitions && t[-1].reason == REASON_CANCELLED &&
	        t->reason == REASON_CANCELLED)
		text = t[-1].text;
	if (text && !words)
		return text_or_null(text);
	if (text) {
		snprintf(out, sizeof(out), "%s %s", words, text);
		return text_or_null(out);
	}
	if (j->is_array && t->reason == REASON_EXEC)
		return json_string("a task was started");
	if (j->is_array && t->reason == REASON_EXITED)
		return json_string("all of its tasks have ended");
	if ((t->reason == REASON_EXITED || t->reason == REASON_SIGNALLED) &&
	        format_exit(j, t, exit))
		return text_or_null(exit);
	if (t->reason == REASON_RETRY && format_exit(j, t, exit)) {
		snprintf(out, sizeof(out), "%s, %s", exit, reason_text(t->reason));
		return text_or_null(out);
	}
	return text_or_null(reason_text(t->reason));
}

/* An ended job's last transition is why it ended; a running one's may be a note of its agent. */
static bool tells_why(const struct job *j)
{
	return job_state_is_final(j->state) ||
	       (j->state == JOB_RUNNING &&
	               (j->reason == REASON_GPU_MEMORY_LIMIT || j->reason == REASON_GPU_AROUND ||
	                       j->reason == REASON_MPS_DIED));
}

json_t *view_reasons(const struct server *s, const struct world *w, const struct job *j)
{
	struct sched_reason v[SCHED_REASONS_MAX];
	size_t n = sched_reasons(s->sched, w, server_now(s).wall_ms, j, v);
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(list,
		        json_pack("{s:s, s:s}", "code", reason_code(v[i].code), "text", v[i].text));
	if (j->n_transitions && tells_why(j)) {
		const struct transition *t = &j->transitions[j->n_transitions - 1];
		json_array_append_new(list, json_pack("{s:s, s:o}", "code", reason_code(t->reason),
		                                    "text", transition_text(j, t)));
	}
	return list;
}

static json_t *view_array(const struct job *j)
{
	json_t *states;
	uint64_t counts[JOB_STATE_MAX];

	if (!j->is_array)
		return json_null();
	memcpy(counts, j->array->by_state, sizeof(counts));
	counts[JOB_PENDING] += array_unstarted(j->array);
	states = json_object();
	for (unsigned i = 0; i < JOB_STATE_MAX; i++)
		if (counts[i])
			json_object_set_new(states, strtab_name(job_state_names, i),
			        json_integer((json_int_t)counts[i]));
	return json_pack("{s:I, s:o, s:i}", "tasks", (json_int_t)j->array->n, "states", states,
	        "throttle", (int)j->req->throttle);
}

static json_t *exit_code(const struct job *j)
{
	if (j->is_array)
		return job_state_is_final(j->state) ? json_integer(job_result_code(j))
		                                    : json_null();
	return j->has_code && job_state_is_final(j->state) ? json_integer(j->exit_code)
	                                                   : json_null();
}

json_t *view_job(const struct server *s, const struct world *w, const struct job *j)
{
	const struct attempt *last = j->n_attempts ? &j->attempts[j->n_attempts - 1] : NULL;
	const struct attempt *now = job_attempt(j);
	char id[48];
	json_t *o = json_object();

	json_object_set_new(o, "schema", json_integer(1));
	json_object_set_new(o, "id", json_string(job_id_format(j->id, id)));
	json_object_set_new(o, "name", text_or_null(job_name(j)));
	json_object_set_new(o, "queue", json_string(j->req->queue));
	json_object_set_new(o, "user", json_string(j->req->user));
	json_object_set_new(o, "state", json_string(strtab_name(job_state_names, j->state)));
	json_object_set_new(o, "reasons", view_reasons(s, w, j));
	json_object_set_new(o, "priority", json_integer(j->priority));
	json_object_set_new(o, "slices", now ? view_slices(w, now) : json_array());
	json_object_set_new(o, "attempt", json_integer(j->n_attempts));
	json_object_set_new(o, "exit_code", exit_code(j));
	json_object_set_new(o, "submitted_at", view_time(j->submitted_ms));
	json_object_set_new(o, "started_at", view_time(j->started_ms));
	json_object_set_new(o, "ended_at", view_time(j->ended_ms));
	json_object_set_new(o, "node", last ? text_or_null(last->node_name) : json_null());
	json_object_set_new(o, "array", view_array(j));
	return o;
}

static json_t *view_env(const struct world *w, const struct request *r)
{
	const struct blob *b = r->env_blob ? world_find_blob_num(w, r->env_blob) : NULL;
	json_t *o = json_object();
	const char *p, *end;

	if (!b)
		return o;
	p = (const char *)b->data;
	end = p + b->len;
	while (p < end) {
		size_t n = strnlen(p, (size_t)(end - p));
		const char *eq = memchr(p, '=', n);
		char name[256];
		if (eq && (size_t)(eq - p) < sizeof(name)) {
			memcpy(name, p, (size_t)(eq - p));
			name[eq - p] = '\0';
			json_object_set_new(o, name, text_or_null(eq + 1));
		}
		p += n + 1;
	}
	return o;
}

static json_t *view_gpu_ask(const struct gpu_ask *g)
{
	json_t *o;
	char text[32], driver[DRIVER_TEXT];

	if (!gpu_ask_any(g))
		return json_null();
	o = json_object();
	if (g->count)
		json_object_set_new(o, "count", json_integer(g->count));
	if (g->milli)
		json_object_set_new(o, "milli", json_integer(g->milli));
	if (g->fgpu_milli)
		json_object_set_new(o, "fgpu_milli", json_integer(g->fgpu_milli));
	if (g->mem_bytes)
		json_object_set_new(o, "mem_bytes", json_integer((json_int_t)g->mem_bytes));
	if (g->share_milli)
		json_object_set_new(o, "share_milli", json_integer(g->share_milli));
	if (g->model)
		json_object_set_new(o, "model", text_or_null(g->model));
	if (g->cc_min) {
		snprintf(text, sizeof(text), "%u.%u+", g->cc_min / 10, g->cc_min % 10);
		json_object_set_new(o, "compute_capability", json_string(text));
	}
	if (g->cuda_min) {
		snprintf(text, sizeof(text), "%u.%u+", g->cuda_min / 1000, g->cuda_min % 1000 / 10);
		json_object_set_new(o, "cuda", json_string(text));
	}
	if (g->driver_min) {
		snprintf(text, sizeof(text), "%s+", driver_format(g->driver_min, driver));
		json_object_set_new(o, "driver", json_string(text));
	}
	return o;
}

/* Task by task it is met when no task is left that waits. */
static bool is_dep_met(const struct job *j, uint32_t i)
{
	if (j->array && j->req->deps[i].on.task == TASK_SAME)
		return array_unstarted(j->array) == 0;
	return !j->dep_met || j->dep_met[i];
}

static json_t *view_deps(const struct job *j)
{
	static const char *const kinds[] = {"after", "after_any", "after_ok"};
	json_t *list = json_array();
	char id[48];

	for (uint32_t i = 0; i < j->req->n_deps; i++)
		json_array_append_new(
		        list, json_pack("{s:s, s:s, s:b}", "kind", kinds[j->req->deps[i].kind],
		                      "job", job_id_format(j->req->deps[i].on, id), "met",
		                      (int)is_dep_met(j, i)));
	return list;
}

static json_t *view_codes(const struct code_set *codes)
{
	json_t *list = json_array();

	for (int code = 1; code <= UINT8_MAX; code++)
		if (code_set_has(codes, (uint8_t)code))
			json_array_append_new(list, json_integer(code));
	return list;
}

static json_t *view_request(const struct world *w, const struct job *j, bool with_env)
{
	const struct request *r = j->req;
	json_t *command = json_array(), *o = json_object();

	for (uint32_t i = 0; i < r->n_argv; i++)
		json_array_append_new(
		        command, r->argv[i][0] ? text_or_null(r->argv[i]) : json_string(""));
	json_object_set_new(o, "command", command);
	json_object_set_new(o, "gpu", view_gpu_ask(&r->gpu));
	json_object_set_new(o, "resolved", view_resolved(w, &r->gpu));
	json_object_set_new(o, "constraint", text_or_null(r->constraint));
	json_object_set_new(o, "cpus", json_integer(r->cpus));
	json_object_set_new(o, "tasks", r->ranks ? json_integer(r->ranks) : json_null());
	json_object_set_new(o, "label", json_boolean(r->label));
	json_object_set_new(o, "mem", json_integer((json_int_t)r->mem_bytes));
	json_object_set_new(o, "time",
	        r->time_limit_ms ? json_integer((json_int_t)(r->time_limit_ms / 1000))
	                         : json_null());
	json_object_set_new(o, "retry", json_integer(r->retry_max));
	json_object_set_new(o, "retry_on", view_codes(&r->retry_on));
	json_object_set_new(o, "no_retry", json_boolean(r->no_retry));
	json_object_set_new(o, "hold", json_boolean(j->held));
	json_object_set_new(o, "tty", json_boolean(r->tty));
	json_object_set_new(o, "chdir", text_or_null(r->chdir));
	json_object_set_new(o, "output", text_or_null(r->output));
	json_object_set_new(o, "error", text_or_null(r->error));
	json_object_set_new(o, "dependencies", view_deps(j));
	if (with_env)
		json_object_set_new(o, "env", view_env(w, r));
	return o;
}

static json_t *view_holds(uint32_t set)
{
	static const char *const names[] = {
	        "memory", "processes", "cpu", "disk", "devices", "kill", "gpu_memory"};
	json_t *list = json_array();

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (set >> i & 1)
			json_array_append_new(list, json_string(names[i]));
	return list;
}

static json_t *view_device_hold(uint32_t held)
{
	if (!(held & SPOOL_HOLD_DEVICES))
		return json_string("none");
	return json_string(held & SPOOL_HOLD_BY_FILTER  ? "cgroup v2 filter"
	                   : held & SPOOL_HOLD_BY_MOUNT ? "private /dev"
	                                                : "cgroup v1 list");
}

static json_t *view_attempt(const struct world *w, const struct attempt *a)
{
	json_t *o = json_object();

	json_object_set_new(o, "attempt", json_integer(a->n));
	json_object_set_new(o, "epoch", json_integer((json_int_t)a->epoch));
	json_object_set_new(o, "node", text_or_null(a->node_name));
	json_object_set_new(o, "state", json_string(strtab_name(job_state_names, a->state)));
	json_object_set_new(o, "reason", json_string(reason_code(a->reason)));
	json_object_set_new(o, "exit_code", a->has_code ? json_integer(a->exit_code) : json_null());
	json_object_set_new(o, "ended_by_task", a->has_rank ? json_integer(a->rank) : json_null());
	json_object_set_new(o, "pid", a->pid ? json_integer(a->pid) : json_null());
	json_object_set_new(o, "placed_at", view_time(a->placed_ms));
	json_object_set_new(o, "started_at", view_time(a->started_ms));
	json_object_set_new(o, "ended_at", view_time(a->ended_ms));
	json_object_set_new(o, "peak_mem_bytes", json_integer((json_int_t)a->peak_mem_bytes));
	json_object_set_new(o, "cpu_seconds", json_real((double)a->cpu_ms / 1000));
	json_object_set_new(o, "output_bytes", json_integer((json_int_t)a->output_bytes));
	json_object_set_new(o, "dropped_bytes", json_integer((json_int_t)a->dropped_bytes));
	json_object_set_new(o, "held", view_holds(a->held));
	json_object_set_new(o, "not_held", view_holds(a->not_held));
	json_object_set_new(o, "devices_held_by", view_device_hold(a->held));
	json_object_set_new(o, "slices", view_slices(w, a));
	return o;
}

json_t *view_job_whole(
        const struct server *s, const struct world *w, const struct job *j, bool with_env)
{
	json_t *o = view_job(s, w, j), *transitions = json_array(), *attempts = json_array();

	for (uint32_t i = 0; i < j->n_transitions; i++) {
		const struct transition *t = &j->transitions[i];
		json_array_append_new(transitions,
		        json_pack("{s:o, s:s, s:s, s:o, s:i}", "at", view_time(t->wall_ms), "state",
		                strtab_name(job_state_names, t->state), "reason",
		                reason_code(t->reason), "text", transition_text(j, t), "attempt",
		                (int)t->attempt));
	}
	for (uint32_t i = 0; i < j->n_attempts; i++)
		json_array_append_new(attempts, view_attempt(w, &j->attempts[i]));
	json_object_set_new(o, "request", view_request(w, j, with_env));
	json_object_set_new(o, "transitions", transitions);
	json_object_set_new(o, "attempts", attempts);
	return o;
}

static json_t *device_slice(const struct job *j, const struct slice *s, const struct device *d)
{
	static const struct slice_record none;
	const struct attempt *a = job_attempt(j);
	const struct slice_record *r = &none;
	char id[48];

	for (uint32_t i = 0; i < a->n_slices; i++)
		if (strcmp(a->slices[i].device, d->info.uuid) == 0)
			r = &a->slices[i];
	return json_pack("{s:s, s:I, s:i, s:o, s:o}", "job", job_id_format(j->id, id), "mem_bytes",
	        (json_int_t)s->mem_bytes, "share_milli", (int)s->share_milli, "used_bytes",
	        seen_bytes(a, r, r->used_bytes), "driver_bytes", seen_bytes(a, r, r->driver_bytes));
}

static json_t *device_slices(const struct node *n, const struct device *d, uint32_t place)
{
	json_t *list = json_array();
	const struct job *j;

	LIST_FOREACH (j, &n->jobs, on_node)
		for (uint32_t i = 0; i < j->n_slices; i++)
			if (j->slices[i].device == place)
				json_array_append_new(list, device_slice(j, &j->slices[i], d));
	return list;
}

json_t *view_device(const struct node *n, const struct device *d, uint32_t place)
{
	static const char *const health[] = {"ok", "degraded", "lost"};
	char cc[16], cuda[16];
	json_t *o = json_object();

	snprintf(cc, sizeof(cc), "%u.%u", d->info.cc / 10, d->info.cc % 10);
	snprintf(cuda, sizeof(cuda), "%u.%u", d->info.cuda / 1000, d->info.cuda % 1000 / 10);
	json_object_set_new(o, "node", json_string(n->name));
	json_object_set_new(o, "device", text_or_null(d->info.uuid));
	json_object_set_new(o, "index", json_integer(d->info.index));
	json_object_set_new(o, "model", text_or_null(d->info.model));
	json_object_set_new(o, "mem_bytes", json_integer((json_int_t)d->info.mem_bytes));
	json_object_set_new(o, "free_bytes", json_integer((json_int_t)device_free_bytes(d)));
	json_object_set_new(o, "free_milli", json_integer(device_free_milli(d)));
	json_object_set_new(o, "withheld_bytes", json_integer((json_int_t)d->info.withheld_bytes));
	json_object_set_new(o, "simulated", json_boolean(d->info.simulated));
	json_object_set_new(o, "health", json_string(d->absent ? "lost" : health[d->info.health]));
	json_object_set_new(o, "health_text",
	        text_or_null(d->absent ? "no longer there" : d->info.health_text));
	json_object_set_new(o, "fgpu", json_integer(d->fgpu_per_device));
	json_object_set_new(o, "compute_capability", json_string(cc));
	json_object_set_new(o, "driver", text_or_null(d->info.driver));
	json_object_set_new(o, "cuda", json_string(cuda));
	json_object_set_new(o, "held_by", json_string(held_by_name(d->info.held_by)));
	json_object_set_new(
	        o, "held_by_text", json_string(held_by_text(held_by_name(d->info.held_by), d)));
	json_object_set_new(o, "slices", device_slices(n, d, place));
	return o;
}

json_t *view_list(const char *text)
{
	json_t *list = json_array();

	for (; text && *text; text += *text == ',') {
		size_t n = strcspn(text, ",");
		json_array_append_new(list, json_stringn(text, n));
		text += n;
	}
	return list;
}

json_t *view_node(const struct server *s, const struct node *n)
{
	const char *state = n->state == NODE_DOWN ? "down" : n->drained ? "drained" : "up";
	const struct job *j;
	uint32_t jobs = 0, devices = 0;
	struct now now = server_now(s);

	LIST_FOREACH (j, &n->jobs, on_node)
		jobs++;
	for (uint32_t i = 0; i < n->n_devices; i++)
		devices += !n->devices[i].absent;
	return json_pack("{s:s, s:s, s:o, s:i, s:i, s:I, s:I, s:i, s:i, s:o}", "node", n->name,
	        "state", state, "labels", view_list(n->labels), "cpus", (int)n->n_cpus, "cpus_used",
	        (int)n->n_cpus_used, "mem_bytes", (json_int_t)n->mem_bytes, "mem_used",
	        (json_int_t)n->mem_used, "devices", (int)devices, "jobs", (int)jobs, "seen_at",
	        view_time(now.wall_ms - (now.mono_ms - n->seen_mono_ms)));
}

json_t *view_token(const struct token *t)
{
	static const char *const roles[] = {"user", "admin", "agent"};

	return json_pack("{s:s, s:s, s:o, s:o, s:o, s:o}", "name", t->name, "role", roles[t->role],
	        "user", text_or_null(t->user), "node", text_or_null(t->node), "created_at",
	        view_time(t->made_ms), "expires_at", view_time(t->expires_ms));
}

json_t *view_resolved(const struct world *w, const struct gpu_ask *ask)
{
	json_t *list = json_array();
	const struct node *n;

	if (!gpu_ask_any(ask))
		return list;
	TAILQ_FOREACH (n, &w->nodes, link)
		for (uint32_t i = 0; i < n->n_devices; i++) {
			const struct device *d = &n->devices[i];
			struct slice x;
			bool said = false;
			size_t k;
			json_t *other;
			if (d->absent || !slice_resolve(ask, d, &x))
				continue;
			json_array_foreach(list, k, other) said =
			        said || (strcmp(json_string_value(json_object_get(other, "model")),
			                         d->info.model) == 0 &&
			                        json_integer_value(json_object_get(other,
			                                "mem_bytes")) == (json_int_t)x.mem_bytes);
			if (!said)
				json_array_append_new(
				        list, json_pack("{s:s, s:I, s:i}", "model", d->info.model,
				                      "mem_bytes", (json_int_t)x.mem_bytes,
				                      "share_milli", (int)x.share_milli));
		}
	return list;
}
