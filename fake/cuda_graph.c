/*
 * Graphs and their nodes.
 */
#include "cuda_graph.h"

#include <stdlib.h>
#include <string.h>

/* -- under the driver's lock -- */

struct cu_graph *graph_new(void)
{
	struct cu_graph *g = object_new(KIND_GRAPH, sizeof(*g));

	if (g)
		g->end = &g->nodes;
	return g;
}

static void memory_drop(struct graph_memory *m)
{
	if (!m || --m->n_users)
		return;
	if (!m->live) { /* else it ends when it is freed */
		block_end(m->block);
		free(m);
	}
}

void graph_end(struct cu_graph *g)
{
	while (g->nodes) {
		struct cu_graph_node *n = g->nodes;

		g->nodes = n->next;
		memory_drop(n->memory);
		if (n->child)
			graph_end(n->child);
		object_end(n);
	}
	object_end(g);
}

struct cu_graph_node *node_new(struct cu_graph *g, int type)
{
	struct cu_graph_node *n = object_new(KIND_NODE, sizeof(*n));

	if (!n)
		return NULL;
	n->graph = g;
	n->type = type;
	*g->end = n;
	g->end = &n->next;
	g->n_nodes++;
	return n;
}

static struct graph_memory *memory_new(unsigned card, uint64_t bytes)
{
	struct graph_memory *m = calloc(1, sizeof(*m));
	struct block *b = m ? object_new(KIND_BLOCK, sizeof(*b)) : NULL;

	if (!b || !(b->at = backing_new(granules(bytes), NULL))) {
		if (b)
			object_end(b);
		free(m);
		return NULL;
	}
	b->bytes = bytes;
	b->taken = granules(bytes);
	b->kind = BLOCK_GRAPH;
	b->card = card;
	b->offset = -1;
	b->memory = m;
	block_add(b);
	m->block = b;
	m->card = card;
	m->bytes = granules(bytes);
	return m;
}

enum cu_result node_alloc(
        struct cu_graph *g, unsigned card, uint64_t bytes, struct cu_graph_node **ret_node)
{
	struct graph_memory *m;
	struct cu_graph_node *n;

	if (!bytes)
		return CU_ERROR_INVALID_VALUE;
	m = granules(bytes) ? memory_new(card, bytes) : NULL;
	n = m ? node_new(g, CU_NODE_MEM_ALLOC) : NULL;
	if (!n)
		return CU_ERROR_OUT_OF_MEMORY;
	m->n_users = 1;
	n->memory = m;
	n->alloc = (struct cu_alloc_node){
	        .pool = {.type = 1, .location = {CU_LOCATION_DEVICE, card_ordinal(card)}},
	        .bytes = bytes,
	        .pointer = m->block->at};
	*ret_node = n;
	return CU_SUCCESS;
}

enum cu_result node_free(struct cu_graph *g, cu_ptr at, struct cu_graph_node **ret_node)
{
	struct block *b = block_at(at);
	struct cu_graph_node *n;

	if (!b || b->at != at || b->kind != BLOCK_GRAPH)
		return CU_ERROR_INVALID_VALUE;
	n = node_new(g, CU_NODE_MEM_FREE);
	if (!n)
		return CU_ERROR_OUT_OF_MEMORY;
	n->memory = b->memory;
	n->memory->n_users++;
	*ret_node = n;
	return CU_SUCCESS;
}

static bool copy_nodes(struct cu_graph *to, const struct cu_graph *from)
{
	for (const struct cu_graph_node *n = from->nodes; n; n = n->next) {
		struct cu_graph_node *copy = n->child ? NULL : node_new(to, n->type);

		if (n->child ? !copy_nodes(to, n->child) : !copy)
			return false;
		if (!copy)
			continue;
		copy->func = n->func;
		copy->work = n->work;
		copy->fn = n->fn;
		copy->data = n->data;
		copy->alloc = n->alloc;
		copy->memory = n->memory;
		if (copy->memory)
			copy->memory->n_users++;
	}
	return true;
}

enum cu_result graph_copy(const struct cu_graph *from, struct cu_graph **ret_graph)
{
	struct cu_graph *g = graph_new();

	if (!g)
		return CU_ERROR_OUT_OF_MEMORY;
	if (!copy_nodes(g, from)) {
		graph_end(g);
		return CU_ERROR_OUT_OF_MEMORY;
	}
	*ret_graph = g;
	return CU_SUCCESS;
}

static bool has_memory(const struct cu_graph *g)
{
	for (const struct cu_graph_node *n = g->nodes; n; n = n->next)
		if (n->memory || (n->child && has_memory(n->child)))
			return true;
	return false;
}

/* -- graphs -- */

enum cu_result cuGraphCreate(struct cu_graph **ph_graph, unsigned flags)
{
	enum cu_result code = call_ready(__func__);

	if (code)
		return code;
	if (!ph_graph || flags)
		return CU_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&driver.lock);
	*ph_graph = graph_new();
	pthread_mutex_unlock(&driver.lock);
	return *ph_graph ? CU_SUCCESS : CU_ERROR_OUT_OF_MEMORY;
}

static enum cu_result check(const char *function, const struct cu_graph *g)
{
	enum cu_result code = call_ready(function);

	return code ? code : object_is(g, KIND_GRAPH) ? CU_SUCCESS : CU_ERROR_INVALID_VALUE;
}

enum cu_result cuGraphDestroy(struct cu_graph *h_graph)
{
	enum cu_result code = check(__func__, h_graph);

	if (code)
		return code;
	if (h_graph->is_child)
		return CU_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&driver.lock);
	graph_end(h_graph);
	pthread_mutex_unlock(&driver.lock);
	return CU_SUCCESS;
}

enum cu_result cuGraphClone(struct cu_graph **ph_graph_clone, struct cu_graph *original_graph)
{
	enum cu_result code = check(__func__, original_graph);

	if (code)
		return code;
	if (!ph_graph_clone)
		return CU_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&driver.lock);
	if (has_memory(original_graph)) /* as with the real one: such a graph is one of a kind */
		code = CU_ERROR_NOT_SUPPORTED;
	if (!code)
		code = graph_copy(original_graph, ph_graph_clone);
	pthread_mutex_unlock(&driver.lock);
	return code;
}

enum cu_result cuGraphGetNodes(
        struct cu_graph *h_graph, struct cu_graph_node **nodes, size_t *num_nodes)
{
	enum cu_result code = check(__func__, h_graph);
	size_t n = 0;

	if (code)
		return code;
	if (!num_nodes)
		return CU_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&driver.lock);
	for (struct cu_graph_node *at = h_graph->nodes; at; at = at->next, n++)
		if (nodes && n < *num_nodes)
			nodes[n] = at;
	if (nodes)
		for (size_t i = n; i < *num_nodes; i++)
			nodes[i] = NULL;
	if (!nodes || *num_nodes > n)
		*num_nodes = n;
	pthread_mutex_unlock(&driver.lock);
	return CU_SUCCESS;
}

enum cu_result cuGraphNodeGetType(struct cu_graph_node *h_node, int *type)
{
	enum cu_result code = call_ready(__func__);

	if (code)
		return code;
	if (!object_is(h_node, KIND_NODE) || !type)
		return CU_ERROR_INVALID_VALUE;
	*type = h_node->type;
	return CU_SUCCESS;
}

/* -- nodes: each runs after the one before, so that dependencies hold whatever they are -- */

static enum cu_result add_kernel(
        struct cu_graph *g, struct cu_func *f, struct cu_graph_node **ret_node)
{
	struct cu_graph_node *n;

	if (!object_is(f, KIND_FUNC))
		return CU_ERROR_INVALID_VALUE;
	n = node_new(g, CU_NODE_KERNEL);
	if (!n)
		return CU_ERROR_OUT_OF_MEMORY;
	n->func = f;
	*ret_node = n;
	return CU_SUCCESS;
}

static enum cu_result add_alloc(
        struct cu_graph *g, struct cu_alloc_node *params, struct cu_graph_node **ret_node)
{
	int dev = params->pool.location.id;
	enum cu_result code;

	if (params->pool.location.type != CU_LOCATION_DEVICE || dev < 0 ||
	        dev >= (int)driver.n_devs)
		return CU_ERROR_INVALID_VALUE;
	code = node_alloc(g, driver.cards[dev], params->bytes, ret_node);
	if (!code)
		params->pointer = (*ret_node)->alloc.pointer;
	return code;
}

/* A graph with memory nodes can only be moved into another one. */
static enum cu_result add_child(
        struct cu_graph *g, const struct cu_child_node *params, struct cu_graph_node **ret_node)
{
	struct cu_graph *child = params->graph;
	enum cu_result code = CU_SUCCESS;

	if (!object_is(child, KIND_GRAPH) || child == g || child->is_child)
		return CU_ERROR_INVALID_VALUE;
	if (params->ownership != CU_CHILD_MOVED)
		code = has_memory(child) ? CU_ERROR_NOT_SUPPORTED : graph_copy(child, &child);
	if (code)
		return code;
	*ret_node = node_new(g, CU_NODE_GRAPH);
	if (!*ret_node)
		return CU_ERROR_OUT_OF_MEMORY;
	(*ret_node)->child = child;
	child->is_child = true;
	return CU_SUCCESS;
}

/* One node of any type, by its parameters. */
static enum cu_result add(const char *function, struct cu_graph_node **ret_node, struct cu_graph *g,
        struct cu_node_params *params)
{
	enum cu_result code = check(function, g);

	if (code)
		return code;
	if (!ret_node || !params)
		return CU_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&driver.lock);
	switch (params->type) {
	case CU_NODE_KERNEL:
		code = add_kernel(g,
		        params->kernel.func ? params->kernel.func
		                            : (struct cu_func *)params->kernel.kernel,
		        ret_node);
		break;
	case CU_NODE_MEM_ALLOC:
		code = add_alloc(g, &params->alloc, ret_node);
		break;
	case CU_NODE_GRAPH:
		code = add_child(g, &params->graph, ret_node);
		break;
	case CU_NODE_MEM_FREE:
		code = node_free(g, params->free, ret_node);
		break;
	case NODE_EMPTY:
		*ret_node = node_new(g, NODE_EMPTY);
		code = *ret_node ? CU_SUCCESS : CU_ERROR_OUT_OF_MEMORY;
		break;
	default:
		code = CU_ERROR_NOT_SUPPORTED;
	}
	pthread_mutex_unlock(&driver.lock);
	return code;
}

enum cu_result cuGraphAddNode(struct cu_graph_node **ph_graph_node, struct cu_graph *h_graph,
        const struct cu_graph_node **dependencies, size_t num_dependencies,
        struct cu_node_params *node_params)
{
	return add(__func__, ph_graph_node, h_graph, node_params);
}

enum cu_result cuGraphAddNode_v2(struct cu_graph_node **ph_graph_node, struct cu_graph *h_graph,
        const struct cu_graph_node **dependencies, const struct cu_edge *dependency_data,
        size_t num_dependencies, struct cu_node_params *node_params)
{
	return add(__func__, ph_graph_node, h_graph, node_params);
}

enum cu_result cuGraphAddKernelNode(struct cu_graph_node **ph_graph_node, struct cu_graph *h_graph,
        const struct cu_graph_node **dependencies, size_t num_dependencies,
        const struct cu_kernel_node_v1 *p)
{
	struct cu_node_params params = {.type = CU_NODE_KERNEL};

	if (!p)
		return CU_ERROR_INVALID_VALUE;
	params.kernel.func = p->func;
	return add(__func__, ph_graph_node, h_graph, &params);
}

enum cu_result cuGraphAddKernelNode_v2(struct cu_graph_node **ph_graph_node,
        struct cu_graph *h_graph, const struct cu_graph_node **dependencies,
        size_t num_dependencies, const struct cu_kernel_node *p)
{
	struct cu_node_params params = {.type = CU_NODE_KERNEL};

	if (!p)
		return CU_ERROR_INVALID_VALUE;
	params.kernel = *p;
	return add(__func__, ph_graph_node, h_graph, &params);
}

enum cu_result cuGraphAddMemAllocNode(struct cu_graph_node **ph_graph_node,
        struct cu_graph *h_graph, const struct cu_graph_node **dependencies,
        size_t num_dependencies, struct cu_alloc_node *p)
{
	struct cu_node_params params = {.type = CU_NODE_MEM_ALLOC};
	enum cu_result code;

	if (!p)
		return CU_ERROR_INVALID_VALUE;
	params.alloc = *p;
	code = add(__func__, ph_graph_node, h_graph, &params);
	if (!code)
		p->pointer = params.alloc.pointer;
	return code;
}

enum cu_result cuGraphAddChildGraphNode(struct cu_graph_node **ph_graph_node,
        struct cu_graph *h_graph, const struct cu_graph_node **dependencies,
        size_t num_dependencies, struct cu_graph *child_graph)
{
	struct cu_node_params params = {.type = CU_NODE_GRAPH, .graph.graph = child_graph};

	return add(__func__, ph_graph_node, h_graph, &params);
}

enum cu_result cuGraphChildGraphNodeGetGraph(
        struct cu_graph_node *h_node, struct cu_graph **ph_graph)
{
	enum cu_result code = call_ready(__func__);

	if (code)
		return code;
	if (!object_is(h_node, KIND_NODE) || !h_node->child || !ph_graph)
		return CU_ERROR_INVALID_VALUE;
	*ph_graph = h_node->child;
	return CU_SUCCESS;
}

enum cu_result cuGraphAddMemFreeNode(struct cu_graph_node **ph_graph_node, struct cu_graph *h_graph,
        const struct cu_graph_node **dependencies, size_t num_dependencies, cu_ptr dptr)
{
	struct cu_node_params params = {.type = CU_NODE_MEM_FREE};

	params.free = dptr;
	return add(__func__, ph_graph_node, h_graph, &params);
}

enum cu_result cuGraphMemAllocNodeGetParams(
        struct cu_graph_node *h_node, struct cu_alloc_node *params_out)
{
	enum cu_result code = call_ready(__func__);

	if (code)
		return code;
	if (!object_is(h_node, KIND_NODE) || h_node->type != CU_NODE_MEM_ALLOC || !params_out)
		return CU_ERROR_INVALID_VALUE;
	*params_out = h_node->alloc;
	return CU_SUCCESS;
}
