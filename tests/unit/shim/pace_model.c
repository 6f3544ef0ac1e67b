#include "pace_model_priv.h"

#include <stdlib.h>
#include <string.h>

#include "shim/pace_judge.h"

struct model_params model_defaults(uint64_t seed)
{
	return (struct model_params){.seed = seed,
	        .slice_ns = 2 * MS,
	        .switch_ns = 150 * US,
	        .wake_min_ns = 27 * US,
	        .wake_max_ns = 60 * US};
}

uint64_t model_draw(struct model *m, uint64_t low, uint64_t high)
{
	m->rng ^= m->rng << 13;
	m->rng ^= m->rng >> 7;
	m->rng ^= m->rng << 17;
	return high > low ? low + m->rng % (high - low + 1) : low;
}

static bool is_before(const struct event *a, const struct event *b)
{
	return a->at != b->at ? a->at < b->at : a->order < b->order;
}

void model_push(struct model *m, uint64_t at, enum kind kind, unsigned who, uint32_t gen)
{
	struct event e = {.at = at, .order = m->order++, .kind = kind, .who = who, .gen = gen};
	unsigned i = m->n_events++;

	if (i == EVENTS)
		abort();
	for (; i && is_before(&e, &m->heap[(i - 1) / 2]); i = (i - 1) / 2)
		m->heap[i] = m->heap[(i - 1) / 2];
	m->heap[i] = e;
}

static struct event pop(struct model *m)
{
	struct event first = m->heap[0], last = m->heap[--m->n_events];
	unsigned i = 0, child;

	while ((child = 2 * i + 1) < m->n_events) {
		if (child + 1 < m->n_events && is_before(&m->heap[child + 1], &m->heap[child]))
			child++;
		if (!is_before(&m->heap[child], &last))
			break;
		m->heap[i] = m->heap[child];
		i = child;
	}
	m->heap[i] = last;
	return first;
}

void model_schedule(struct model *m, struct proc *p, bool is_helper, uint64_t at)
{
	struct actor *a = is_helper ? &p->helper : &p->host;

	a->is_asleep = false;
	model_push(m, at, is_helper ? ON_HELPER : ON_HOST, p->id, ++a->gen);
}

static void rest(struct model *m, struct proc *p, bool is_helper, const struct pace_wait *w)
{
	struct actor *a = is_helper ? &p->helper : &p->host;
	uint64_t late =
	        is_helper ? model_draw(m, 40 * US, 140 * US) : model_draw(m, 55 * US, 160 * US);

	if (w->is_spin && !(m->params.is_futex_only && p->launch.is_waiting)) {
		model_schedule(m, p, is_helper, m->now + US);
		return;
	}
	if (__atomic_load_n(w->word, __ATOMIC_SEQ_CST) != w->value) {
		model_schedule(m, p, is_helper, m->now + US);
		return;
	}
	if (w->until_ns != PACE_NEVER)
		model_schedule(
		        m, p, is_helper, (w->until_ns > m->now ? w->until_ns : m->now) + late);
	a->is_asleep = true;
	a->word = w->word;
	a->value = w->value;
}

void model_wake(struct model *m, uint32_t *word)
{
	for (unsigned i = 0; i < m->n_procs; i++) {
		struct proc *p = m->procs[i];
		uint64_t after = model_draw(m, m->params.wake_min_ns, m->params.wake_max_ns);

		if (p->host.is_asleep && p->host.word == word)
			model_schedule(m, p, false, m->now + after);
		if (p->helper.is_asleep && p->helper.word == word)
			model_schedule(m, p, true, m->now + after);
	}
}

/* Which process a hook speaks for is in the low bits of arg's neighbour: each has a struct of its own. */
struct arg {
	struct model *m;
	struct proc *p;
};

static struct arg args[MODEL_PROCS];

static uint64_t on_now(void *arg)
{
	return ((struct arg *)arg)->m->now;
}

static void on_wake(void *arg, uint32_t *word)
{
	model_wake(((struct arg *)arg)->m, word);
}

static void on_kick(void *arg)
{
	struct arg *a = arg;

	model_wake(a->m, &a->p->pace.me->kick);
}

static bool on_seize(void *arg, unsigned slot)
{
	struct model *m = ((struct arg *)arg)->m;

	return slot >= m->n_procs || m->procs[slot]->is_dead;
}

static void on_let_go(void *arg, unsigned slot)
{
}

static void on_ask(void *arg)
{
	struct arg *a = arg;

	model_judge_ask(a->m, &a->m->gpus[a->p->gpu]);
}

static void device_look(struct model *m, unsigned g);

static void enqueue(struct model *m, struct proc *p, unsigned stream, struct op op)
{
	struct queue *q = &p->queues[stream];

	if (p->is_gone)
		return;
	if (q->n == MODEL_QUEUE + 64)
		abort();
	q->ops[(q->head + q->n++) % (MODEL_QUEUE + 64)] = op;
	p->n_ops++;
	device_look(m, p->gpu);
}

static void on_record(void *arg, unsigned mark, void *const *streams, unsigned n)
{
	struct arg *a = arg;

	a->p->mark_left[mark] = n;
	a->p->mark_at[mark] = 0;
	a->p->n_marks += n;
	for (unsigned i = 0; i < n; i++) {
		a->p->late_host += 1500;
		enqueue(a->m, a->p, (unsigned)((uintptr_t)streams[i] - 1),
		        (struct op){.left_ns = US, .type = OP_MARK, .mark = mark});
	}
}

/* Kernel time that is queued before a mark. */
static uint64_t work_before(const struct proc *p, unsigned mark)
{
	uint64_t work = 0;

	for (unsigned s = 0; s < p->n_streams; s++)
		for (unsigned i = 0; i < p->queues[s].n; i++) {
			const struct op *op =
			        &p->queues[s].ops[(p->queues[s].head + i) % (MODEL_QUEUE + 64)];

			if (op->type == OP_MARK && op->mark == mark)
				break;
			work += op->left_ns;
		}
	return work;
}

static bool on_query(void *arg, unsigned mark, uint64_t *ret_ns)
{
	struct arg *a = arg;

	*ret_ns = a->p->mark_at[mark];
	if (a->m->params.early_ns && a->p->mark_left[mark] &&
	        work_before(a->p, mark) < a->m->params.early_ns) {
		*ret_ns = 0;
		return true;
	}
	return !a->p->mark_left[mark];
}

/* Kernel time that passed, into the bins. */
static void account(struct model *m, struct proc *p, uint64_t from, uint64_t to)
{
	uint32_t *bins = m->gpus[p->gpu].bins[p->tenant];

	while (from < to) {
		uint64_t end = (from / MS + 1) * MS;

		if (end > to)
			end = to;
		if (from / MS < BINS)
			bins[from / MS] += (uint32_t)(end - from);
		from = end;
	}
}

static struct queue *front(struct proc *p)
{
	for (unsigned i = 0; i < p->n_streams; i++) {
		unsigned s = (p->turn_stream + i) % p->n_streams;

		if (p->queues[s].n) {
			p->turn_stream = s;
			return &p->queues[s];
		}
	}
	return NULL;
}

static bool has_peer(struct model *m, struct proc *p)
{
	struct proc *o = m->procs[p->peer];
	struct gpu *g = &m->gpus[o->gpu];
	struct queue *q = front(o);

	return g->running == (int)o->id && !g->is_switching && q && q->ops[q->head].type == OP_PEER;
}

/* What ran since it was last looked at. */
static void progress(struct model *m, struct gpu *g)
{
	struct proc *p = g->running >= 0 ? m->procs[g->running] : NULL;
	struct queue *q = p && !g->is_switching ? front(p) : NULL;
	struct op *op = q ? &q->ops[q->head] : NULL;
	uint64_t passed = m->now - g->since;

	g->since = m->now;
	if (!op || !passed)
		return;
	if (op->type != OP_MARK)
		account(m, p, m->now - passed, m->now);
	if (op->type != OP_PEER || g->is_progressing)
		op->left_ns -= passed < op->left_ns ? passed : op->left_ns;
}

static void finish_op(struct model *m, struct proc *p, struct queue *q)
{
	struct op op = q->ops[q->head];

	q->head = (q->head + 1) % (MODEL_QUEUE + 64);
	q->n--;
	p->n_ops--;
	p->turn_stream = (p->turn_stream + 1) % p->n_streams;
	if (op.type == OP_MARK && --p->mark_left[op.mark] == 0)
		p->mark_at[op.mark] = m->now / 500 * 500;
	p->n_done += op.type != OP_MARK;
	p->n_peers += op.type == OP_PEER;
	if (p->stage == SYNCED && !p->n_ops)
		model_schedule(m, p, false, m->now + 5 * US);
	if (p->stage == FULL && q->n < MODEL_QUEUE)
		model_schedule(m, p, false, m->now + US);
}

/* The next context that has something to do, after the running one. */
static int next_context(struct model *m, unsigned g, int after)
{
	for (unsigned i = 1; i <= m->n_procs; i++) {
		unsigned id = ((unsigned)(after + 1) + i - 1) % m->n_procs;

		if (m->procs[id]->gpu == g && m->procs[id]->n_ops && (int)id != after)
			return (int)id;
	}
	return after >= 0 && m->procs[after]->n_ops ? after : -1;
}

static void begin_context(struct model *m, struct gpu *g, int id)
{
	g->running = id;
	g->is_switching = id >= 0 && g->last != id && g->last >= 0;
	if (id >= 0)
		g->last = id;
	g->slice_at = m->now + (g->is_switching ? m->params.switch_ns : 0);
	g->slice_ns = m->params.slice_ns * model_draw(m, 950, 1050) / 1000;
	g->since = m->now;
}

static void device_step(struct model *m, unsigned id)
{
	struct gpu *g = &m->gpus[id];
	struct queue *q;

	progress(m, g);
	if (g->is_switching && m->now >= g->slice_at)
		g->is_switching = false;
	while (g->running >= 0 && !g->is_switching && (q = front(m->procs[g->running])) &&
	        !q->ops[q->head].left_ns)
		finish_op(m, m->procs[g->running], q);
	if (g->is_switching)
		return;
	if (g->running < 0 || !m->procs[g->running]->n_ops) {
		begin_context(m, g, next_context(m, id, g->running < 0 ? g->last : g->running));
	} else if (m->now >= g->slice_at + g->slice_ns) {
		int next = next_context(m, id, g->running);

		if (next != g->running) {
			begin_context(m, g, next);
		} else {
			g->slice_at = m->now;
			g->slice_ns = m->params.slice_ns * model_draw(m, 950, 1050) / 1000;
		}
	}
}

static void device_plan(struct model *m, unsigned id)
{
	struct gpu *g = &m->gpus[id];
	struct proc *p = g->running >= 0 ? m->procs[g->running] : NULL;
	uint64_t at = PACE_NEVER, slice;
	struct queue *q;

	if (!p)
		return;
	if (g->is_switching) {
		at = g->slice_at;
	} else if ((q = front(p))) {
		struct op *op = &q->ops[q->head];

		g->is_progressing = op->type != OP_PEER || has_peer(m, p);
		if (g->is_progressing)
			at = m->now + op->left_ns;
		slice = g->slice_at + g->slice_ns;
		if (slice < at &&
		        (next_context(m, id, g->running) != g->running || !g->is_progressing))
			at = slice > m->now ? slice : m->now;
	}
	if (at != PACE_NEVER && (g->next_at != at || true))
		model_push(m, at, ON_DEVICE, id, ++g->gen);
}

static void device_look(struct model *m, unsigned id)
{
	device_step(m, id);
	device_plan(m, id);
	/* A rank that has come, or gone, changes what the other one's device does. */
	for (unsigned o = 0; o < MODEL_GPUS; o++) {
		struct gpu *other = &m->gpus[o];
		struct queue *q;

		if (o == id || other->running < 0 || other->is_switching ||
		        m->procs[other->running]->peer < 0)
			continue;
		q = front(m->procs[other->running]);
		if (q && q->ops[q->head].type == OP_PEER &&
		        has_peer(m, m->procs[other->running]) != other->is_progressing) {
			device_step(m, o);
			device_plan(m, o);
		}
	}
}

static void host_try(struct model *m, struct proc *p)
{
	struct pace_wait w;

	p->late_host = 0;
	if (!pace_try(&p->pace, &p->launch, &w)) {
		if (p->late_host)
			w.is_spin = true;
		rest(m, p, false, &w);
		return;
	}
	p->stage = CALL;
	model_schedule(m, p, false, m->now + p->late_host + model_draw(m, 3 * US, 5 * US));
}

static void host_call(struct model *m, struct proc *p)
{
	if (p->queues[p->stream].n >= MODEL_QUEUE) {
		p->stage = FULL;
		return;
	}
	enqueue(m, p, p->stream, (struct op){.left_ns = p->kernel_ns, .type = p->op_type});
	p->late_host = 0;
	pace_launched(&p->pace, &p->launch, (void *)(uintptr_t)(p->stream + 1));
	p->stage = ASK;
	model_schedule(m, p, false, m->now + p->late_host);
}

static void host_step(struct model *m, struct proc *p)
{
	if (p->stage == SYNCED && p->load != LOAD_IDLE) {
		pace_sync_end(&p->pace, &p->sync, true);
		p->stage = ASK;
	}
	if (p->stage == ASK)
		model_ask(m, p);
	if (p->stage == TRY)
		host_try(m, p);
	else if (p->stage == CALL || p->stage == FULL)
		host_call(m, p);
}

static void helper_step(struct model *m, struct proc *p)
{
	struct pace_wait w;

	pace_serve(&p->pace, &w);
	rest(m, p, true, &w);
}

static void die(struct model *m, struct proc *p)
{
	progress(m, &m->gpus[p->gpu]);
	for (unsigned s = 0; s < MODEL_STREAMS; s++)
		p->queues[s].n = 0;
	p->n_ops = 0;
	p->is_gone = true;
	device_look(m, p->gpu);
}

static void handle(struct model *m, const struct event *e)
{
	struct proc *p = e->kind < ON_DEVICE ? m->procs[e->who] : NULL;

	if (e->kind == ON_JUDGE) {
		if (e->gen == m->gpus[e->who].judge_gen)
			model_judge_step(m, &m->gpus[e->who]);
		return;
	}
	if (!p) {
		if (e->gen == m->gpus[e->who].gen)
			device_look(m, e->who);
		return;
	}
	if (p->is_dead) {
		if (e->kind == ON_HOST && !e->gen && !p->is_gone)
			die(m, p);
		return;
	}
	if (e->gen != (e->kind == ON_HOST ? p->host.gen : p->helper.gen))
		return;
	if (p->is_stopped) {
		model_schedule(m, p, e->kind == ON_HELPER, m->now + MS);
		return;
	}
	if (e->kind == ON_HOST) {
		p->host.is_asleep = false;
		host_step(m, p);
	} else {
		p->helper.is_asleep = false;
		helper_step(m, p);
	}
}

void model_run(struct model *m, uint64_t until_ns)
{
	while (m->n_events && m->heap[0].at <= until_ns) {
		struct event e = pop(m);

		m->now = e.at;
		handle(m, &e);
	}
	m->now = until_ns;
	for (unsigned g = 0; g < MODEL_GPUS; g++)
		progress(m, &m->gpus[g]);
}

void model_kill(struct model *m, unsigned id)
{
	m->procs[id]->is_dead = true;
	model_push(m, m->now + model_draw(m, 200 * US, MS), ON_HOST, id, 0);
}

void model_stop(struct model *m, unsigned id, bool is_stopped)
{
	m->procs[id]->is_stopped = is_stopped;
}

struct model *model_new(const struct model_params *params)
{
	struct model *m = calloc(1, sizeof(*m));

	m->params = *params;
	m->rng = params->seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
	m->now = S;
	for (unsigned i = 0; i < 16; i++)
		model_draw(m, 0, 1);
	for (unsigned g = 0; g < MODEL_GPUS; g++) {
		struct pace_head *head = &m->gpus[g].page.head;

		m->gpus[g].bins = calloc(PACE_TENANTS, sizeof(*m->gpus[g].bins));
		m->gpus[g].running = m->gpus[g].last = -1;
		m->gpus[g].since = m->now;
		*head = (struct pace_head){.magic = PACE_MAGIC, .abi = PACE_ABI};
		pace_parameters(head, (uint32_t)params->switch_ns);
		m->gpus[g].page.word = PACE_WORD(PACE_NOBODY, PACE_FREE, 0, 0);
		model_judge_new(m, &m->gpus[g]);
	}
	return m;
}

void model_free(struct model *m)
{
	for (unsigned i = 0; i < m->n_procs; i++) {
		free(m->procs[i]->latencies);
		free(m->procs[i]);
	}
	for (unsigned g = 0; g < MODEL_GPUS; g++) {
		model_judge_free(&m->gpus[g]);
		free(m->gpus[g].bins);
	}
	free(m);
}

unsigned model_tenant(struct model *m, uint32_t weight_milli, uint32_t cap_milli, uint32_t flags)
{
	for (unsigned g = 0; g < MODEL_GPUS; g++)
		m->gpus[g].page.tenants[m->n_tenants] =
		        (struct pace_tenant){.weight_milli = weight_milli,
		                .cap_milli = cap_milli,
		                .flags = flags,
		                .epoch = 1 + m->n_tenants};
	for (unsigned g = 0; m->params.is_judged && g < MODEL_GPUS; g++)
		judge_seat(&m->gpus[g].judge, m->n_tenants);
	return m->n_tenants++;
}

unsigned model_proc(
        struct model *m, unsigned tenant, unsigned gpu, enum model_load load, uint64_t ns)
{
	struct proc *p = calloc(1, sizeof(*p));
	unsigned id = m->n_procs;
	struct pace_hooks hooks = {.now = on_now,
	        .wake = on_wake,
	        .kick = on_kick,
	        .seize = on_seize,
	        .let_go = on_let_go,
	        .record = on_record,
	        .query = on_query,
	        .ask = m->params.is_judged ? on_ask : NULL,
	        .arg = &args[id]};
	struct gpu *g = &m->gpus[gpu];

	args[id] = (struct arg){m, p};
	*p = (struct proc){.id = id,
	        .tenant = tenant,
	        .gpu = gpu,
	        .load = load,
	        .ns = ns,
	        .n_streams = 1,
	        .peer = -1,
	        .cycle_at = m->now,
	        .key = 1000};
	p->latencies = calloc(LATENCIES, sizeof(*p->latencies));
	m->procs[m->n_procs++] = p;
	if (!m->params.is_unpaced)
		pace_join(&p->pace, &g->page, g->own ? &g->own[tenant] : &g->page, id, tenant,
		        &hooks);
	model_schedule(m, p, false, m->now + model_draw(m, 0, MS));
	if (!m->params.is_unpaced)
		model_schedule(m, p, true, m->now);
	return id;
}

void model_streams(struct model *m, unsigned proc, unsigned n)
{
	m->procs[proc]->n_streams = n;
}

void model_pair(struct model *m, unsigned a, unsigned b)
{
	m->procs[a]->peer = (int)b;
	m->procs[b]->peer = (int)a;
}

struct pace *model_pace(struct model *m, unsigned proc)
{
	return &m->procs[proc]->pace;
}

struct pace_page *model_page(struct model *m, unsigned gpu)
{
	return &m->gpus[gpu].page;
}
