/*
 * Captures: what a stream is told becomes a graph, and is not done. A capture spreads to streams that wait for its events.
 */
#include "cuda_graph.h"

#include <stdlib.h>

static struct capture *captures; /* under the driver's lock */
static _Thread_local int thread_mode;
static _Thread_local struct cu_graph_node *last_node; /* that a query has shown */

/* -- what streams are told -- */

static struct cu_graph_node *add(struct cu_stream *s, int type)
{
	return s->capture->spoilt ? NULL : node_new(s->capture->graph, type);
}

enum cu_result capture_work(struct cu_stream *s, const struct work *work)
{
	struct cu_graph_node *n;
	enum cu_result code = CU_SUCCESS;

	pthread_mutex_lock(&driver.lock);
	if (s->capture->spoilt) {
		code = CU_ERROR_STREAM_CAPTURE_INVALIDATED;
	} else if (work->kind == WORK_EVENT) {
		work->event->capture = s->capture;
	} else if (work->kind == WORK_KERNEL || work->kind == WORK_COPY) {
		n = add(s, work->func ? CU_NODE_KERNEL : NODE_MEMCPY);
		code = n ? CU_SUCCESS : CU_ERROR_OUT_OF_MEMORY;
		if (n) {
			n->func = work->func;
			n->work = *work;
		}
	}
	pthread_mutex_unlock(&driver.lock);
	return code;
}

enum cu_result capture_host(struct cu_stream *s, cu_host_fn fn, void *data)
{
	struct cu_graph_node *n;

	pthread_mutex_lock(&driver.lock);
	n = add(s, NODE_HOST);
	if (n) {
		n->fn = fn;
		n->data = data;
	}
	pthread_mutex_unlock(&driver.lock);
	return n ? CU_SUCCESS : CU_ERROR_STREAM_CAPTURE_INVALIDATED;
}

enum cu_result capture_alloc(struct cu_stream *s, unsigned card, uint64_t bytes, cu_ptr *ret_at)
{
	struct cu_graph_node *n;
	enum cu_result code = CU_ERROR_STREAM_CAPTURE_INVALIDATED;

	pthread_mutex_lock(&driver.lock);
	if (!s->capture->spoilt)
		code = node_alloc(s->capture->graph, card, bytes, &n);
	if (!code)
		*ret_at = n->alloc.pointer;
	pthread_mutex_unlock(&driver.lock);
	return code;
}

enum cu_result capture_free(struct cu_stream *s, cu_ptr at)
{
	struct cu_graph_node *n;
	enum cu_result code = CU_ERROR_STREAM_CAPTURE_INVALIDATED;

	pthread_mutex_lock(&driver.lock);
	if (!s->capture->spoilt)
		code = node_free(s->capture->graph, at, &n);
	pthread_mutex_unlock(&driver.lock);
	return code;
}

enum cu_result capture_forbids(struct cu_stream *s)
{
	if (!s->capture)
		return CU_SUCCESS;
	s->capture->spoilt = true;
	return CU_ERROR_STREAM_CAPTURE_UNSUPPORTED;
}

enum cu_result capture_unsafe(void)
{
	enum cu_result code = CU_SUCCESS;

	if (!__atomic_load_n(&captures, __ATOMIC_ACQUIRE) || thread_mode == 2)
		return CU_SUCCESS;
	pthread_mutex_lock(&driver.lock);
	for (struct capture *c = captures; c; c = c->next) {
		bool mine = pthread_equal(c->owner, pthread_self());

		if (c->mode == 2 || (!mine && (c->mode == 1 || thread_mode == 1)))
			continue;
		c->spoilt = true;
		code = CU_ERROR_STREAM_CAPTURE_UNSUPPORTED;
	}
	pthread_mutex_unlock(&driver.lock);
	return code;
}

void capture_join(struct cu_stream *s, const struct cu_event *e)
{
	if (!s->capture && e->capture)
		s->capture = e->capture;
}

/* -- begin and end -- */

static enum cu_result find(const char *function, struct cu_stream *handle, bool per_thread,
        struct cu_stream **ret_stream)
{
	struct cu_ctx *ctx;
	enum cu_result code = call_context(function, &ctx);

	return code ? code : stream_find(ctx, handle, per_thread, ret_stream);
}

static enum cu_result begin(const char *function, struct cu_stream *handle, bool per_thread,
        int mode, struct cu_graph *into)
{
	static uint64_t ids;
	struct cu_stream *s;
	struct capture *c;
	enum cu_result code = find(function, handle, per_thread, &s);

	if (code)
		return code;
	if (mode < 0 || mode > 2)
		return CU_ERROR_INVALID_VALUE;
	if (s->kind == STREAM_LEGACY)
		return CU_ERROR_STREAM_CAPTURE_UNSUPPORTED;
	if (s->capture)
		return CU_ERROR_ILLEGAL_STATE;
	c = calloc(1, sizeof(*c));
	if (!c)
		return CU_ERROR_OUT_OF_MEMORY;
	pthread_mutex_lock(&driver.lock);
	*c = (struct capture){.next = captures,
	        .graph = into ? into : graph_new(),
	        .origin = s,
	        .owner = pthread_self(),
	        .mode = mode,
	        .id = ++ids,
	        .keeps_graph = into};
	captures = c;
	s->capture = c;
	pthread_mutex_unlock(&driver.lock);
	return CU_SUCCESS;
}

/* Global is what it was before there were modes. */
enum cu_result cuStreamBeginCapture(struct cu_stream *h_stream)
{
	return begin(__func__, h_stream, false, 0, NULL);
}

enum cu_result cuStreamBeginCapture_ptsz(struct cu_stream *h_stream)
{
	return begin(__func__, h_stream, true, 0, NULL);
}

enum cu_result cuStreamBeginCapture_v2(struct cu_stream *h_stream, int mode)
{
	return begin(__func__, h_stream, false, mode, NULL);
}

enum cu_result cuStreamBeginCapture_v2_ptsz(struct cu_stream *h_stream, int mode)
{
	return begin(__func__, h_stream, true, mode, NULL);
}

enum cu_result cuStreamBeginCaptureToGraph(struct cu_stream *h_stream, struct cu_graph *h_graph,
        const struct cu_graph_node **dependencies, const struct cu_edge *dependency_data,
        size_t num_dependencies, int mode)
{
	return object_is(h_graph, KIND_GRAPH) ? begin(__func__, h_stream, false, mode, h_graph)
	                                      : CU_ERROR_INVALID_VALUE;
}

enum cu_result cuStreamBeginCaptureToGraph_ptsz(struct cu_stream *h_stream,
        struct cu_graph *h_graph, const struct cu_graph_node **dependencies,
        const struct cu_edge *dependency_data, size_t num_dependencies, int mode)
{
	return object_is(h_graph, KIND_GRAPH) ? begin(__func__, h_stream, true, mode, h_graph)
	                                      : CU_ERROR_INVALID_VALUE;
}

/* Under the driver's lock: no stream is in it any more. */
static void capture_end(struct capture *c)
{
	struct capture **at = &captures;

	while (*at && *at != c)
		at = &(*at)->next;
	if (*at)
		*at = c->next;
	for (struct cu_ctx *ctx = driver.ctxs; ctx; ctx = ctx->next)
		for (struct cu_stream *s = ctx->streams; s; s = s->next)
			if (s->capture == c)
				s->capture = NULL;
	free(c);
}

void capture_drop(const struct cu_stream *s)
{
	struct capture *c = s->capture;

	if (!c || c->origin != s)
		return;
	if (!c->keeps_graph)
		graph_end(c->graph);
	capture_end(c);
}

static enum cu_result end(
        const char *function, struct cu_stream *handle, bool per_thread, struct cu_graph **ph_graph)
{
	struct cu_stream *s;
	struct capture *c;
	enum cu_result code = find(function, handle, per_thread, &s);

	if (code)
		return code;
	if (!ph_graph)
		return CU_ERROR_INVALID_VALUE;
	*ph_graph = NULL;
	c = s->capture;
	if (!c)
		return CU_ERROR_ILLEGAL_STATE;
	if (c->origin != s)
		return CU_ERROR_STREAM_CAPTURE_UNMATCHED;
	pthread_mutex_lock(&driver.lock);
	if (!c->spoilt) {
		*ph_graph = c->graph;
	} else {
		if (!c->keeps_graph)
			graph_end(c->graph);
		code = CU_ERROR_STREAM_CAPTURE_INVALIDATED;
	}
	capture_end(c);
	pthread_mutex_unlock(&driver.lock);
	return code;
}

enum cu_result cuStreamEndCapture(struct cu_stream *h_stream, struct cu_graph **ph_graph)
{
	return end(__func__, h_stream, false, ph_graph);
}

enum cu_result cuStreamEndCapture_ptsz(struct cu_stream *h_stream, struct cu_graph **ph_graph)
{
	return end(__func__, h_stream, true, ph_graph);
}

enum cu_result cuThreadExchangeStreamCaptureMode(int *mode)
{
	enum cu_result code = call_ready(__func__);
	int before = thread_mode;

	if (code)
		return code;
	if (!mode || *mode < 0 || *mode > 2)
		return CU_ERROR_INVALID_VALUE;
	thread_mode = *mode;
	*mode = before;
	return CU_SUCCESS;
}

/* -- queries -- */

struct answer {
	int *status;
	uint64_t *id;
	struct cu_graph **graph;
	const struct cu_graph_node ***dependencies;
	const struct cu_edge **edges;
	size_t *n_dependencies;
};

static enum cu_result query(
        const char *function, struct cu_stream *handle, bool per_thread, struct answer a)
{
	struct cu_stream *s;
	enum cu_result code = find(function, handle, per_thread, &s);
	struct capture *c;

	if (code)
		return code;
	if (!a.status)
		return CU_ERROR_INVALID_VALUE;
	c = s->capture;
	*a.status = !c ? CU_CAPTURE_NONE : c->spoilt ? CU_CAPTURE_INVALIDATED : CU_CAPTURE_ACTIVE;
	if (a.edges)
		*a.edges = NULL;
	if (!c)
		return CU_SUCCESS;
	if (a.id)
		*a.id = c->id;
	if (a.graph)
		*a.graph = c->graph;
	last_node = c->graph->nodes;
	while (last_node && last_node->next)
		last_node = last_node->next;
	if (a.dependencies)
		*a.dependencies = (const struct cu_graph_node **)&last_node;
	if (a.n_dependencies)
		*a.n_dependencies = last_node != NULL;
	return CU_SUCCESS;
}

#define QUERY(name, ptsz, params, ...)                                                 \
	enum cu_result name params                                                     \
	{                                                                              \
		return query(__func__, h_stream, false, (struct answer){__VA_ARGS__}); \
	}                                                                              \
	enum cu_result ptsz params                                                     \
	{                                                                              \
		return query(__func__, h_stream, true, (struct answer){__VA_ARGS__});  \
	}

QUERY(cuStreamIsCapturing, cuStreamIsCapturing_ptsz, (struct cu_stream * h_stream, int *status),
        status)
QUERY(cuStreamGetCaptureInfo, cuStreamGetCaptureInfo_ptsz,
        (struct cu_stream * h_stream, int *status, uint64_t *id), status, id)
QUERY(cuStreamGetCaptureInfo_v2, cuStreamGetCaptureInfo_v2_ptsz,
        (struct cu_stream * h_stream, int *status, uint64_t *id, struct cu_graph **graph,
                const struct cu_graph_node ***dependencies, size_t *n_dependencies),
        status, id, graph, dependencies, NULL, n_dependencies)
QUERY(cuStreamGetCaptureInfo_v3, cuStreamGetCaptureInfo_v3_ptsz,
        (struct cu_stream * h_stream, int *status, uint64_t *id, struct cu_graph **graph,
                const struct cu_graph_node ***dependencies, const struct cu_edge **edges,
                size_t *n_dependencies),
        status, id, graph, dependencies, edges, n_dependencies)
