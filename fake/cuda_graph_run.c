/*
 * Instances of graphs, their launches, and the memory that these take: at a launch, from what graphs of the card have had
 * already and else from the card; it stays theirs until it is trimmed.
 */
#include "cuda_graph.h"

#include "clock.h"

#include <stdlib.h>

/* A launch on its way, whose memory is used until it is done. */
struct flight {
	struct flight *next;
	struct cu_stream *stream;
	unsigned card; /* of the stream */
	uint32_t line;
	uint64_t number;
	unsigned memory_card;
	uint64_t bytes;
};

static struct {
	uint64_t values[CU_GRAPH_RESERVED_HIGH + 1]; /* enum cu_graph_memory */
} memory[SIM_CARDS_MAX];
static struct flight *flights;

/* -- memory, under the driver's lock -- */

static void used_less(unsigned card, uint64_t bytes)
{
	memory[card].values[CU_GRAPH_USED] -= bytes;
}

static void settle_flights(void)
{
	struct flight **at = &flights;

	while (*at) {
		struct flight *f = *at;
		struct tl *t = timeline_begin();
		bool done = t->cards[f->card].streams[f->line].head > f->number;

		timeline_end();
		if (!done) {
			at = &f->next;
			continue;
		}
		used_less(f->memory_card, f->bytes);
		*at = f->next;
		free(f);
	}
}

static enum cu_result use_more(unsigned card, uint64_t bytes)
{
	uint64_t *v = memory[card].values;

	if (v[CU_GRAPH_USED] + bytes > v[CU_GRAPH_RESERVED]) {
		uint64_t more = v[CU_GRAPH_USED] + bytes - v[CU_GRAPH_RESERVED];
		enum cu_result code = physical_take(card, more);

		if (code)
			return code;
		v[CU_GRAPH_RESERVED] += more;
	}
	v[CU_GRAPH_USED] += bytes;
	for (int i = CU_GRAPH_USED; i <= CU_GRAPH_RESERVED; i += 2)
		if (v[i] > v[i + 1])
			v[i + 1] = v[i];
	return CU_SUCCESS;
}

void graph_give(struct block *b)
{
	struct graph_memory *m = b->memory;

	if (m->live)
		used_less(m->card, m->bytes);
	m->live = false;
	if (m->n_users)
		return;
	block_end(b);
	free(m);
}

enum cu_result cuDeviceGraphMemTrim(int device)
{
	enum cu_result code = call_device(__func__, device);
	uint64_t *v, idle;

	if (code)
		return code;
	pthread_mutex_lock(&driver.lock);
	settle_flights();
	v = memory[driver.cards[device]].values;
	idle = v[CU_GRAPH_RESERVED] - v[CU_GRAPH_USED];
	v[CU_GRAPH_RESERVED] -= idle;
	physical_give(driver.cards[device], idle);
	pthread_mutex_unlock(&driver.lock);
	return CU_SUCCESS;
}

static enum cu_result attribute(const char *function, int device, int attr, const void *value)
{
	enum cu_result code = call_device(function, device);

	if (code)
		return code;
	return value && attr >= CU_GRAPH_USED && attr <= CU_GRAPH_RESERVED_HIGH
	               ? CU_SUCCESS
	               : CU_ERROR_INVALID_VALUE;
}

enum cu_result cuDeviceGetGraphMemAttribute(int device, int attr, void *value)
{
	enum cu_result code = attribute(__func__, device, attr, value);

	if (code)
		return code;
	pthread_mutex_lock(&driver.lock);
	settle_flights();
	*(uint64_t *)value = memory[driver.cards[device]].values[attr];
	pthread_mutex_unlock(&driver.lock);
	return CU_SUCCESS;
}

/* The peaks alone, and to 0: from now on. */
enum cu_result cuDeviceSetGraphMemAttribute(int device, int attr, void *value)
{
	enum cu_result code = attribute(__func__, device, attr, value);
	uint64_t *v;

	if (code)
		return code;
	if (attr % 2 == 0 || *(uint64_t *)value)
		return CU_ERROR_INVALID_VALUE;
	v = memory[driver.cards[device]].values;
	pthread_mutex_lock(&driver.lock);
	v[attr] = v[attr - 1];
	pthread_mutex_unlock(&driver.lock);
	return CU_SUCCESS;
}

/* -- instances -- */

/* Takes what a launch will, and leaves it to the graphs of the card. */
static enum cu_result upload_memory(const struct cu_graph_exec *e)
{
	enum cu_result code = CU_SUCCESS;
	uint64_t bytes[SIM_CARDS_MAX] = {0};

	settle_flights();
	for (const struct cu_graph_node *n = e->graph->nodes; n && !code; n = n->next) {
		if (n->type != CU_NODE_MEM_ALLOC || n->memory->live)
			continue;
		code = use_more(n->memory->card, n->memory->bytes);
		bytes[n->memory->card] += code ? 0 : n->memory->bytes;
	}
	for (unsigned card = 0; card < SIM_CARDS_MAX; card++)
		used_less(card, bytes[card]);
	return code;
}

static enum cu_result instantiate(const char *function, struct cu_graph_exec **ret_exec,
        struct cu_graph *g, unsigned long long flags)
{
	struct cu_ctx *ctx;
	enum cu_result code = call_context(function, &ctx);
	struct cu_graph_exec *e;

	if (code)
		return code;
	if (!ret_exec || !object_is(g, KIND_GRAPH) || g->is_child)
		return CU_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&driver.lock);
	e = object_new(KIND_EXEC, sizeof(*e));
	code = e ? graph_copy(g, &e->graph) : CU_ERROR_OUT_OF_MEMORY;
	if (e)
		e->flags = flags;
	if (e && !code && flags & CU_INSTANTIATE_UPLOADS) {
		code = upload_memory(e);
		if (code)
			graph_end(e->graph);
	}
	if (e && code)
		object_end(e);
	else
		*ret_exec = e;
	pthread_mutex_unlock(&driver.lock);
	return code;
}

enum cu_result cuGraphInstantiate(struct cu_graph_exec **ph_graph_exec, struct cu_graph *h_graph,
        struct cu_graph_node **ph_error_node, char *log_buffer, size_t buffer_size)
{
	return instantiate(__func__, ph_graph_exec, h_graph, 0);
}

enum cu_result cuGraphInstantiate_v2(struct cu_graph_exec **ph_graph_exec, struct cu_graph *h_graph,
        struct cu_graph_node **ph_error_node, char *log_buffer, size_t buffer_size)
{
	return instantiate(__func__, ph_graph_exec, h_graph, 0);
}

enum cu_result cuGraphInstantiateWithFlags(
        struct cu_graph_exec **ph_graph_exec, struct cu_graph *h_graph, unsigned long long flags)
{
	return instantiate(__func__, ph_graph_exec, h_graph, flags);
}

static enum cu_result with_params(const char *function, struct cu_graph_exec **exec,
        struct cu_graph *graph, struct cu_instantiate *params)
{
	enum cu_result code;

	if (!params)
		return CU_ERROR_INVALID_VALUE;
	code = instantiate(function, exec, graph, params->flags);
	params->error_node = NULL;
	params->result = code ? 1 : 0;
	return code;
}

enum cu_result cuGraphInstantiateWithParams(struct cu_graph_exec **ph_graph_exec,
        struct cu_graph *h_graph, struct cu_instantiate *instantiate_params)
{
	return with_params(__func__, ph_graph_exec, h_graph, instantiate_params);
}

enum cu_result cuGraphInstantiateWithParams_ptsz(struct cu_graph_exec **ph_graph_exec,
        struct cu_graph *h_graph, struct cu_instantiate *instantiate_params)
{
	return with_params(__func__, ph_graph_exec, h_graph, instantiate_params);
}

enum cu_result cuGraphExecDestroy(struct cu_graph_exec *h_graph_exec)
{
	enum cu_result code = call_ready(__func__);

	if (code)
		return code;
	if (!object_is(h_graph_exec, KIND_EXEC))
		return CU_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&driver.lock);
	graph_end(h_graph_exec->graph);
	object_end(h_graph_exec);
	pthread_mutex_unlock(&driver.lock);
	return CU_SUCCESS;
}

/* 0: it took the graph's nodes; else why not, as CUDA numbers it. */
static enum cu_result update(
        const char *function, struct cu_graph_exec *e, struct cu_graph *g, int *ret_result)
{
	enum { SUCCESS = 0, TOPOLOGY = 2, TYPE = 3 };
	enum cu_result code = call_ready(function);
	struct cu_graph_node *a, *b;
	struct cu_graph *copy;

	if (code)
		return code;
	if (!object_is(e, KIND_EXEC) || !object_is(g, KIND_GRAPH) || g->is_child)
		return CU_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&driver.lock);
	code = graph_copy(g, &copy);
	if (code) {
		pthread_mutex_unlock(&driver.lock);
		return code;
	}
	for (a = e->graph->nodes, b = copy->nodes; a && b && a->type == b->type; a = a->next)
		b = b->next;
	*ret_result = !a && !b ? SUCCESS : a && b ? TYPE : TOPOLOGY;
	graph_end(*ret_result ? copy : e->graph);
	if (*ret_result)
		code = CU_ERROR_GRAPH_EXEC_UPDATE_FAILURE;
	else
		e->graph = copy;
	pthread_mutex_unlock(&driver.lock);
	return code;
}

enum cu_result cuGraphExecUpdate(struct cu_graph_exec *h_graph_exec, struct cu_graph *h_graph,
        struct cu_graph_node **h_error_node_out, int *update_result_out)
{
	int result = 1;
	enum cu_result code = update(__func__, h_graph_exec, h_graph, &result);

	if (h_error_node_out)
		*h_error_node_out = NULL;
	if (update_result_out)
		*update_result_out = result;
	return code;
}

enum cu_result cuGraphExecUpdate_v2(struct cu_graph_exec *h_graph_exec, struct cu_graph *h_graph,
        struct cu_update_info *result_info)
{
	int result = 1;
	enum cu_result code = update(__func__, h_graph_exec, h_graph, &result);

	if (result_info)
		*result_info = (struct cu_update_info){.result = result};
	return code;
}

/* -- launches -- */

/* Takes memory for all allocation nodes; what the graph does not free stays in use after it. */
static enum cu_result take_memory(struct cu_graph_exec *e, struct flight *f)
{
	enum cu_result code = CU_SUCCESS;
	struct cu_graph_node *n;

	settle_flights();
	for (n = e->graph->nodes; n && !code; n = n->next) {
		if (n->type != CU_NODE_MEM_ALLOC)
			continue;
		if (n->memory->live && !(e->flags & 1)) {
			code = CU_ERROR_INVALID_VALUE;
			break;
		}
		if (n->memory->live)
			used_less(n->memory->card, n->memory->bytes);
		n->memory->live = false;
		code = use_more(n->memory->card, n->memory->bytes);
		n->memory->live = !code;
	}
	if (code) /* nothing of it was launched */
		for (struct cu_graph_node *o = e->graph->nodes; o && o != n; o = o->next)
			if (o->type == CU_NODE_MEM_ALLOC && o->memory->live) {
				used_less(o->memory->card, o->memory->bytes);
				o->memory->live = false;
			}
	for (n = e->graph->nodes; n && !code; n = n->next) {
		if (n->type != CU_NODE_MEM_FREE || !n->memory->live)
			continue;
		n->memory->live = false; /* used until the launch is done */
		f->memory_card = n->memory->card;
		f->bytes += n->memory->bytes;
	}
	return code;
}

/* Kernels that follow each other are one piece of work. */
static enum cu_result put_nodes(struct cu_graph_exec *e, struct cu_stream *s, uint64_t *ret_number)
{
	struct work sum = {.kind = WORK_KERNEL};
	enum cu_result code = CU_SUCCESS;

	for (struct cu_graph_node *n = e->graph->nodes; n && !code; n = n->next) {
		struct work work = n->type == CU_NODE_KERNEL ? func_work(n->func) : n->work;

		if (n->type == CU_NODE_KERNEL && !work.key) {
			sum.ns += work.ns;
			continue;
		}
		if (n->type != CU_NODE_KERNEL && n->type != NODE_MEMCPY && n->type != NODE_HOST)
			continue;
		if (sum.ns)
			code = stream_put(s, &sum, NULL);
		sum.ns = 0;
		if (!code)
			code = n->type == NODE_HOST ? host_put(s, NULL, n->fn, n->data)
			                            : stream_put(s, &work, NULL);
	}
	return code ? code : stream_put(s, &sum, ret_number);
}

static enum cu_result launch(
        const char *function, struct cu_graph_exec *e, struct cu_stream *handle, bool per_thread)
{
	struct cu_stream *s;
	struct cu_ctx *ctx;
	struct flight *f;
	enum cu_result code = call_context(function, &ctx);

	if (!code)
		code = stream_find(ctx, handle, per_thread, &s);
	if (code)
		return code;
	if (!object_is(e, KIND_EXEC))
		return CU_ERROR_INVALID_VALUE;
	if (s->capture)
		return CU_ERROR_STREAM_CAPTURE_UNSUPPORTED;
	f = calloc(1, sizeof(*f));
	if (!f)
		return CU_ERROR_OUT_OF_MEMORY;
	pthread_mutex_lock(&driver.lock);
	code = take_memory(e, f);
	pthread_mutex_unlock(&driver.lock);
	if (!code)
		code = put_nodes(e, s, &f->number);
	f->card = s->ctx->card;
	f->line = s->line;
	pthread_mutex_lock(&driver.lock);
	if (!code && f->bytes) {
		f->next = flights;
		flights = f;
		f = NULL;
	}
	pthread_mutex_unlock(&driver.lock);
	free(f);
	return code;
}

enum cu_result cuGraphLaunch(struct cu_graph_exec *h_graph, struct cu_stream *h_stream)
{
	return launch(__func__, h_graph, h_stream, false);
}

enum cu_result cuGraphLaunch_ptsz(struct cu_graph_exec *h_graph_exec, struct cu_stream *h_stream)
{
	return launch(__func__, h_graph_exec, h_stream, true);
}

static enum cu_result upload(const char *function, struct cu_graph_exec *e)
{
	struct cu_ctx *ctx;
	enum cu_result code = call_context(function, &ctx);

	if (code)
		return code;
	if (!object_is(e, KIND_EXEC))
		return CU_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&driver.lock);
	code = upload_memory(e);
	pthread_mutex_unlock(&driver.lock);
	return code;
}

enum cu_result cuGraphUpload(struct cu_graph_exec *h_graph, struct cu_stream *h_stream)
{
	return upload(__func__, h_graph);
}

enum cu_result cuGraphUpload_ptsz(struct cu_graph_exec *h_graph_exec, struct cu_stream *h_stream)
{
	return upload(__func__, h_graph_exec);
}
