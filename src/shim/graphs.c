#include "shim/graphs.h"
#include "shim/launch.h"
#include "shim/pools.h"

#include <sys/mman.h>

static bool has_memory; /* some graph of this process has a memory node */

void graphs_have_memory(void)
{
	__atomic_store_n(&has_memory, true, __ATOMIC_RELEASE);
}

void graphs_forked(void)
{
	has_memory = false;
}

static enum cu_result check_node(const struct cu_alloc_node *node)
{
	struct ledger *ledger;
	if (node == NULL || node->pool.location.type != CU_LOCATION_DEVICE)
		return CU_SUCCESS;
	return charge_ledger(node->pool.location.id, &ledger);
}

enum cu_result cuGraphAddMemAllocNode(struct cu_graph_node **ph_graph_node,
        struct cu_graph *h_graph, const struct cu_graph_node **dependencies,
        size_t num_dependencies, struct cu_alloc_node *node_params)
{
	ENTER(cuGraphAddMemAllocNode);
	enum cu_result rc = check_node(node_params);
	if (rc == CU_SUCCESS)
		rc = real.cuGraphAddMemAllocNode(
		        ph_graph_node, h_graph, dependencies, num_dependencies, node_params);
	if (rc == CU_SUCCESS)
		graphs_have_memory();
	return rc;
}

static bool is_memory(const struct cu_node_params *params)
{
	return params != NULL && params->type == CU_NODE_MEM_ALLOC;
}

enum cu_result cuGraphAddNode(struct cu_graph_node **ph_graph_node, struct cu_graph *h_graph,
        const struct cu_graph_node **dependencies, size_t num_dependencies,
        struct cu_node_params *node_params)
{
	ENTER(cuGraphAddNode);
	enum cu_result rc = is_memory(node_params) ? check_node(&node_params->alloc) : CU_SUCCESS;
	if (rc == CU_SUCCESS)
		rc = real.cuGraphAddNode(
		        ph_graph_node, h_graph, dependencies, num_dependencies, node_params);
	if (rc == CU_SUCCESS && is_memory(node_params))
		graphs_have_memory();
	return rc;
}

enum cu_result cuGraphAddNode_v2(struct cu_graph_node **ph_graph_node, struct cu_graph *h_graph,
        const struct cu_graph_node **dependencies, const struct cu_edge *dependency_data,
        size_t num_dependencies, struct cu_node_params *node_params)
{
	ENTER(cuGraphAddNode_v2);
	enum cu_result rc = is_memory(node_params) ? check_node(&node_params->alloc) : CU_SUCCESS;
	if (rc == CU_SUCCESS)
		rc = real.cuGraphAddNode_v2(ph_graph_node, h_graph, dependencies, dependency_data,
		        num_dependencies, node_params);
	if (rc == CU_SUCCESS && is_memory(node_params))
		graphs_have_memory();
	return rc;
}

static void add_nodes(struct cu_graph *graph, struct table_entry *entry);

static void add_node(struct cu_graph_node *node, struct table_entry *entry)
{
	int type;
	struct cu_alloc_node params;
	struct cu_graph *child = NULL;
	struct ledger *ledger;
	if (real.cuGraphNodeGetType(node, &type) != CU_SUCCESS)
		return;
	if (type == CU_NODE_GRAPH && real.cuGraphChildGraphNodeGetGraph != NULL &&
	        real.cuGraphChildGraphNodeGetGraph(node, &child) == CU_SUCCESS)
		add_nodes(child, entry);
	if (type != CU_NODE_MEM_ALLOC ||
	        real.cuGraphMemAllocNodeGetParams(node, &params) != CU_SUCCESS ||
	        params.pool.location.type != CU_LOCATION_DEVICE ||
	        charge_ledger(params.pool.location.id, &ledger) != CU_SUCCESS)
		return;
	entry->device = params.pool.location.id;
	if (__builtin_add_overflow(entry->extra, charge_round(ledger, params.bytes), &entry->extra))
		entry->extra = UINT64_MAX;
}

/*
 * How much the memory nodes of a graph can take together, those of the graphs in it too; entry->device is that of the last one.
 * What hangs on a condition has no memory nodes.
 */
static void add_nodes(struct cu_graph *graph, struct table_entry *entry)
{
	size_t n = 0;
	if (real.cuGraphGetNodes == NULL || real.cuGraphNodeGetType == NULL ||
	        real.cuGraphMemAllocNodeGetParams == NULL ||
	        real.cuGraphGetNodes(graph, NULL, &n) != CU_SUCCESS || n == 0)
		return;
	size_t bytes = n * sizeof(struct cu_graph_node *);
	struct cu_graph_node **nodes =
	        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (nodes == MAP_FAILED)
		return;
	if (real.cuGraphGetNodes(graph, nodes, &n) == CU_SUCCESS)
		for (size_t i = 0; i < n && i < bytes / sizeof *nodes; i++)
			add_node(nodes[i], entry);
	munmap(nodes, bytes);
}

/* A graph on its way to be ready to run. */
struct making {
	struct table_entry entry; /* extra: what its nodes can take; 0: nothing */
	struct pool *pool;        /* NULL: none of it is taken yet */
	struct charge charge;
};

/* Before the driver's call; `uploads`: that takes the memory at once. */
static enum cu_result make(struct making *m, struct cu_graph *graph, bool uploads)
{
	*m = (struct making){.entry.size = 1};
	if (__builtin_expect(!__atomic_load_n(&has_memory, __ATOMIC_ACQUIRE), 1))
		return CU_SUCCESS;
	add_nodes(graph, &m->entry);
	if (m->entry.extra == 0 || !uploads)
		return CU_SUCCESS;
	m->pool = pools_of_graphs(m->entry.device);
	return m->pool == NULL ? CU_ERROR_OUT_OF_MEMORY
	                       : pools_begin(m->pool, &m->charge, m->entry.extra);
}

static enum cu_result made(struct making *m, enum cu_result rc, struct cu_graph_exec **ret_exec)
{
	if (m->pool != NULL)
		pools_end(m->pool, &m->charge);
	if (rc != CU_SUCCESS || ret_exec == NULL || m->entry.extra == 0)
		return rc;
	m->entry.key = (uintptr_t)*ret_exec;
	if (table_put(&have.execs, &m->entry) != 0) {
		if (real.cuGraphExecDestroy != NULL)
			real.cuGraphExecDestroy(*ret_exec);
		rc = CU_ERROR_OUT_OF_MEMORY;
	}
	pools_settle();
	return rc;
}

#define INSTANTIATE(symbol, params, uploads, ...)                                           \
	enum cu_result symbol params                                                        \
	{                                                                                   \
		ENTER(symbol);                                                              \
		struct making m;                                                            \
		enum cu_result rc = make(&m, h_graph, uploads);                             \
		return rc == CU_SUCCESS                                                     \
		               ? made(&m, real.symbol(ph_graph_exec, h_graph, __VA_ARGS__), \
		                         ph_graph_exec)                                     \
		               : rc;                                                        \
	}
#define INSTANTIATE_WITH_LOG(symbol)                                               \
	INSTANTIATE(symbol,                                                        \
	        (struct cu_graph_exec * *ph_graph_exec, struct cu_graph * h_graph, \
	                struct cu_graph_node * *ph_error_node, char *log_buffer,   \
	                size_t buffer_size),                                       \
	        false, ph_error_node, log_buffer, buffer_size)
#define INSTANTIATE_WITH_PARAMS(symbol)                                            \
	INSTANTIATE(symbol,                                                        \
	        (struct cu_graph_exec * *ph_graph_exec, struct cu_graph * h_graph, \
	                struct cu_instantiate * instantiate_params),               \
	        instantiate_params != NULL &&                                      \
	                (instantiate_params->flags & CU_INSTANTIATE_UPLOADS) != 0, \
	        instantiate_params)
INSTANTIATE_WITH_LOG(cuGraphInstantiate)
INSTANTIATE_WITH_LOG(cuGraphInstantiate_v2)
INSTANTIATE(cuGraphInstantiateWithFlags,
        (struct cu_graph_exec * *ph_graph_exec, struct cu_graph *h_graph, unsigned long long flags),
        false, flags)
INSTANTIATE_WITH_PARAMS(cuGraphInstantiateWithParams)
INSTANTIATE_WITH_PARAMS(cuGraphInstantiateWithParams_ptsz)

enum cu_result cuGraphExecDestroy(struct cu_graph_exec *h_graph_exec)
{
	ENTER(cuGraphExecDestroy);
	struct table_entry entry;
	bool is_ours = __atomic_load_n(&has_memory, __ATOMIC_ACQUIRE) &&
	               table_take(&have.execs, (uintptr_t)h_graph_exec, &entry);
	enum cu_result rc = real.cuGraphExecDestroy(h_graph_exec);
	if (is_ours && rc != CU_SUCCESS)
		table_put(&have.execs, &entry);
	else if (is_ours)
		pools_settle();
	return rc;
}

/* A launch, or an upload, of a graph with memory nodes. */
static enum cu_result run(const struct table_entry *entry, struct cu_graph_exec *exec,
        struct cu_stream *stream,
        enum cu_result (*call)(struct cu_graph_exec *, struct cu_stream *))
{
	struct charge charge;
	struct pool *pool = pools_of_graphs(entry->device);
	enum cu_result rc =
	        pool == NULL ? CU_ERROR_OUT_OF_MEMORY : pools_begin(pool, &charge, entry->extra);
	if (rc != CU_SUCCESS)
		return rc;
	rc = call(exec, stream);
	/* What it took beyond the sum of its nodes cannot be taken back; the next to ask pays for it. */
	pools_end(pool, &charge);
	return rc;
}

static bool has_nodes(struct cu_graph_exec *exec, struct table_entry *ret_entry)
{
	return __builtin_expect(__atomic_load_n(&has_memory, __ATOMIC_RELAXED), 0) &&
	       table_find(&have.execs, (uintptr_t)exec, ret_entry);
}

#define LAUNCH(symbol, per_thread)                                                          \
	enum cu_result symbol(struct cu_graph_exec *h_graph, struct cu_stream *h_stream)    \
	{                                                                                   \
		ENTER(symbol);                                                              \
		struct table_entry entry;                                                   \
		struct launch l;                                                            \
		launch_gate(&l, h_graph, 1, h_stream, per_thread);                          \
		return launch_end(&l, has_nodes(h_graph, &entry)                            \
		                              ? run(&entry, h_graph, h_stream, real.symbol) \
		                              : real.symbol(h_graph, h_stream));            \
	}
LAUNCH(cuGraphLaunch, false)
LAUNCH(cuGraphLaunch_ptsz, true)

#define UPLOAD(symbol)                                                                   \
	enum cu_result symbol(struct cu_graph_exec *h_graph, struct cu_stream *h_stream) \
	{                                                                                \
		ENTER(symbol);                                                           \
		struct table_entry entry;                                                \
		if (has_nodes(h_graph, &entry))                                          \
			return run(&entry, h_graph, h_stream, real.symbol);              \
		return real.symbol(h_graph, h_stream);                                   \
	}
UPLOAD(cuGraphUpload)
UPLOAD(cuGraphUpload_ptsz)

enum cu_result cuDeviceGraphMemTrim(int device)
{
	ENTER(cuDeviceGraphMemTrim);
	enum cu_result rc = real.cuDeviceGraphMemTrim(device);
	pools_settle();
	return rc;
}

/* Memory nodes cannot be changed; pacing has to learn its cost anew. */
enum cu_result cuGraphExecUpdate(struct cu_graph_exec *h_graph_exec, struct cu_graph *h_graph,
        struct cu_graph_node **h_error_node_out, int *update_result_out)
{
	ENTER(cuGraphExecUpdate);
	launch_changed(h_graph_exec);
	return real.cuGraphExecUpdate(h_graph_exec, h_graph, h_error_node_out, update_result_out);
}

enum cu_result cuGraphExecUpdate_v2(struct cu_graph_exec *h_graph_exec, struct cu_graph *h_graph,
        struct cu_update_info *result_info)
{
	ENTER(cuGraphExecUpdate_v2);
	launch_changed(h_graph_exec);
	return real.cuGraphExecUpdate_v2(h_graph_exec, h_graph, result_info);
}
