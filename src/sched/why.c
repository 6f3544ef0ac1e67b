/* Why a job waits, or can never run: the same questions as the plan's, answered in words. */
#include "sched/lack.h"
#include "sched/sched.h"
#include "base/num.h"

#include <stdio.h>
#include <string.h>

struct size {
	uint32_t devices, cpus;
	uint64_t device_bytes, mem_bytes;
	const struct device *big; /* the device with most memory */
};

static struct size size_of(const struct node *n)
{
	struct size s = {.cpus = n->n_cpus, .mem_bytes = n->mem_bytes};

	for (uint32_t i = 0; i < n->n_devices; i++) {
		const struct device *d = &n->devices[i];
		if (d->absent)
			continue;
		s.devices++;
		if (!s.big || d->info.mem_bytes > s.device_bytes) {
			s.big = d;
			s.device_bytes = d->info.mem_bytes;
		}
	}
	return s;
}

static int cmp_u64(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

/* By what was asked for: whole devices, a part of one, or neither. */
static bool is_larger(const struct need *need, const struct size *a, const struct size *b)
{
	int by_devices = cmp_u64(a->devices, b->devices);
	int by_device = cmp_u64(a->device_bytes, b->device_bytes);
	int by_cpus = cmp_u64(a->cpus, b->cpus), by_mem = cmp_u64(a->mem_bytes, b->mem_bytes);

	if (need->gpu->count && by_devices)
		return by_devices > 0;
	if (gpu_ask_any(need->gpu) && by_device)
		return by_device > 0;
	if (gpu_ask_any(need->gpu) && by_devices)
		return by_devices > 0;
	return by_cpus ? by_cpus > 0 : by_mem > 0;
}

static const struct node *largest_node(const struct world *w, const struct need *need)
{
	const struct node *n, *best = NULL;
	struct size best_size = {0};

	TAILQ_FOREACH (n, &w->nodes, link) {
		struct size s = size_of(n);
		if (best && !is_larger(need, &s, &best_size))
			continue;
		best = n;
		best_size = s;
	}
	return best;
}

static void describe_node(const struct node *n, char *out, size_t size)
{
	struct size s = size_of(n);
	char mem[24], host[24];

	if (!s.big)
		snprintf(out, size, "%s with no device, %u CPU%s and %s", n->name, n->n_cpus,
		        n->n_cpus == 1 ? "" : "s", num_format_size(n->mem_bytes, host));
	else
		snprintf(out, size, "%s with %u device%s (%s, %s), %u CPU%s and %s", n->name,
		        s.devices, s.devices == 1 ? "" : "s", s.big->info.model,
		        num_format_size(s.big->info.mem_bytes, mem), n->n_cpus,
		        n->n_cpus == 1 ? "" : "s", num_format_size(n->mem_bytes, host));
}

static void describe_ask(const struct need *need, char *out, size_t size)
{
	const struct gpu_ask *g = need->gpu;
	char a[24] = "", m[16];
	size_t n = 0;

#define SAY(...) (n += n < size ? (size_t)snprintf(out + n, size - n, __VA_ARGS__) : 0)
	out[0] = '\0';
	if (g->count)
		SAY("%u device%s", g->count, g->count == 1 ? "" : "s");
	else if (g->milli)
		SAY("%s of a device", num_format_milli(g->milli, m));
	else if (g->fgpu_milli)
		SAY("%u.%03u fGPU", g->fgpu_milli / 1000, g->fgpu_milli % 1000);
	if (g->mem_bytes)
		SAY("%s%s of device memory", n ? ", " : "", num_format_size(g->mem_bytes, a));
	if (g->share_milli)
		SAY("%s%u/1000 of its compute", n ? ", " : "", g->share_milli);
	if (g->model)
		SAY("%smodel '%s'", n ? ", " : "", g->model);
	if (g->cc_min)
		SAY("%scompute capability %u.%u", n ? ", " : "", g->cc_min / 10, g->cc_min % 10);
	SAY("%s%u CPU%s", n ? ", " : "", need->cpus, need->cpus == 1 ? "" : "s");
	if (need->mem_bytes)
		SAY(", %s of memory", num_format_size(need->mem_bytes, a));
#undef SAY
}

int sched_check_possible(const struct world *w, const struct request *r, struct err *err)
{
	struct need need = need_of(r);
	const struct node *n, *big = largest_node(w, &need);
	char ask[160], has[200];
	int rc;

	if (!big)
		return 0;
	TAILQ_FOREACH (n, &w->nodes, link)
		if (node_could(n, &need))
			return 0;
	describe_ask(&need, ask, sizeof(ask));
	describe_node(big, has, sizeof(has));
	rc = err_set(
	        err, ERR_IMPOSSIBLE, "no node could ever satisfy %s; the largest is %s", ask, has);
	return rc ? err_hint(err, "ask for less, or see what is there: berth nodes; berth gpus")
	          : rc;
}

static void say(struct sched_reason *out, enum reason code, const char *text)
{
	out->code = code;
	snprintf(out->text, sizeof(out->text), "%s", text ? text : reason_text(code));
}

static void say_dependency(const struct job *j, struct sched_reason *out)
{
	static const char *const until[] = {"has started", "has ended", "has completed"};
	char id[48], text[200];

	for (uint32_t i = 0; i < j->req->n_deps; i++) {
		if (j->dep_met[i])
			continue;
		snprintf(text, sizeof(text), "waits until job %s %s",
		        job_id_format(j->req->deps[i].on, id), until[j->req->deps[i].kind]);
		say(out, REASON_DEPENDENCY, text);
		return;
	}
}

/* Ready, but not started: no node, no room, or not its turn. */
static void say_room(struct sched *s, const struct world *w, int64_t now_ms, const struct job *j,
        struct sched_reason *out)
{
	const struct need need = need_of(j->req);
	const struct node *n, *able = NULL, *drained = NULL;
	struct placement p;
	bool any = false;
	char text[200];

	TAILQ_FOREACH (n, &w->nodes, link) {
		if (n->state != NODE_UP)
			continue;
		any = true;
		if (!node_could(n, &need))
			continue;
		if (n->drained)
			drained = n;
		else if (!able)
			able = n;
	}
	if (!any) {
		say(out, REASON_NO_NODES, NULL);
	} else if (!able && drained) {
		snprintf(text, sizeof(text), "node %s could take it and is drained", drained->name);
		say(out, REASON_NODE_DRAINED, text);
	} else if (!able) {
		describe_ask(&need, text, sizeof(text));
		say(out, REASON_IMPOSSIBLE, NULL);
		snprintf(out->text, sizeof(out->text), "no connected node could ever satisfy %s",
		        text);
	} else if (sched_fit_request(s, w, now_ms, j->req, &p)) {
		say(out, REASON_STARTING, NULL);
	} else {
		node_lack(able, &need, text, sizeof(text));
		say(out, REASON_NO_ROOM, text);
	}
}

size_t sched_reasons(struct sched *s, const struct world *w, int64_t now_ms, const struct job *j,
        struct sched_reason out[SCHED_REASONS_MAX])
{
	size_t n = 0;
	char text[160], when[32];

	if (job_state_is_final(j->state) || j->wait == WAIT_NONE)
		return 0;
	switch (j->wait) {
	case WAIT_HELD:
		say(&out[n++], REASON_HELD, NULL);
		break;
	case WAIT_DEPENDENCY:
		say_dependency(j->parent ? j->parent : j, &out[n++]);
		break;
	case WAIT_BACKOFF:
		snprintf(text, sizeof(text), "attempt %u begins not before %s", j->n_attempts + 1,
		        num_format_time(j->not_before_ms, when));
		if (j->reason == REASON_NO_DISK)
			say(&out[n++], REASON_NO_DISK, j->transitions[j->n_transitions - 1].text);
		say(&out[n++], REASON_BACKOFF, text);
		break;
	case WAIT_THROTTLE:
		snprintf(text, sizeof(text), "its array runs at most %u tasks at once",
		        (j->parent ? j->parent : j)->req->throttle);
		say(&out[n++], REASON_ARRAY_THROTTLE, text);
		break;
	default:
		if (j->class->shape.queue->paused)
			say(&out[n++], REASON_QUEUE_PAUSED, NULL);
		say_room(s, w, now_ms, j, &out[n]);
		/* Room alone does not start a job of a paused queue. */
		n += n == 0 || out[n].code != REASON_STARTING;
		break;
	}
	return n;
}
