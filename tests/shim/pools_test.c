/* Memory that the driver keeps for a while: pools and the memory of graphs, charged as the driver has them from the card. */
#include "shim_box.h"

#include <pthread.h>
#include <time.h>

/* The default pool, a stream's order, and what comes back at the next rest. */
PART(default_pool, CARD)
{
	cu_ptr p[4];
	shim_start(f);
	for (int i = 0; i < 4; i++)
		ok(cuMemAllocAsync(&p[i], 5 * MIB, NULL));
	assert_int_equal(used(), physical());
	assert_true(used() >= CONTEXT + 20 * MIB);
	assert_int_equal(charged(SLICE_POOL), used() - CONTEXT);
	for (int i = 0; i < 4; i++)
		ok(cuMemFreeAsync(p[i], NULL));
	ok(cuStreamSynchronize(NULL));
	check(CONTEXT);
	ok(cuMemAllocAsync_ptsz(&p[0], 5 * MIB, NULL));
	assert_int_equal(used(), physical());
	ok(cuMemFreeAsync_ptsz(p[0], NULL));
	ok(cuCtxSynchronize());
	check(CONTEXT);
	/* Freed in the other way. */
	ok(cuMemAllocAsync(&p[0], 5 * MIB, NULL));
	ok(cuStreamSynchronize(NULL));
	ok(cuMemFree_v2(p[0]));
	ok(cuStreamSynchronize(NULL));
	check(CONTEXT);
}

/* To the last granule, though a pool would like to grow by more. */
PART(pool_to_the_byte, CARD)
{
	cu_ptr p[300], q;
	int n = 0;
	shim_start(f);
	while (n < 300 && cu.cuMemAllocAsync(&p[n], 2 * MIB, NULL) == CU_SUCCESS) {
		n++;
		assert_int_equal(used(), physical());
		assert_true(used() <= LIMIT);
	}
	assert_int_equal(n, (LIMIT - CONTEXT) / (2 * MIB));
	fails(OUT_OF_MEMORY, cuMemAllocAsync(&q, 1, NULL));
	check(LIMIT);
	for (int i = 0; i < n; i++)
		ok(cuMemFreeAsync(p[i], NULL));
	ok(cuStreamSynchronize(NULL));
	check(CONTEXT);
	fails(OUT_OF_MEMORY, cuMemAllocAsync(&q, LIMIT, NULL));
	ok(cuMemAllocAsync(&q, LIMIT - CONTEXT, NULL));
	check(LIMIT);
}

/* HAMi-core #93, #67, #217: from a pool of one's own nothing was counted, and its pointers could not be freed. */
PART(hami_core_93_pool_of_its_own, CARD)
{
	struct cu_pool_props props = {.type = 1, .location = {CU_LOCATION_DEVICE, 0}};
	struct cu_pool *pool;
	cu_ptr p, q;
	uint64_t keep = UINT64_MAX;
	shim_start(f);
	ok(cuMemPoolCreate(&pool, &props));
	ok(cuMemPoolSetAttribute(pool, CU_POOL_RELEASE_THRESHOLD, &keep));
	ok(cuMemAllocFromPoolAsync(&p, 40 * MIB, pool, NULL));
	ok(cuMemAllocFromPoolAsync_ptsz(&q, 3 * MIB, pool, NULL));
	assert_int_equal(used(), physical());
	assert_true(used() >= CONTEXT + 43 * MIB);
	ok(cuMemFreeAsync(p, NULL));
	ok(cuMemFreeAsync_ptsz(q, NULL));
	ok(cuStreamSynchronize(NULL));
	ok(cuStreamSynchronize_ptsz(NULL));
	/* It keeps what it has, and that is charged. */
	assert_int_equal(used(), physical());
	assert_true(used() >= CONTEXT + 40 * MIB);
	/* Somebody else of this process needs it: given up before the answer is no. */
	ok(cuMemAlloc_v2(&p, LIMIT - CONTEXT));
	check(LIMIT);
	ok(cuMemFree_v2(p));
	ok(cuMemAllocFromPoolAsync(&p, 40 * MIB, pool, NULL));
	ok(cuMemFreeAsync(p, NULL));
	ok(cuStreamSynchronize(NULL));
	ok(cuMemPoolTrimTo(pool, 0));
	check(CONTEXT);
	ok(cuMemAllocFromPoolAsync(&p, 40 * MIB, pool, NULL));
	ok(cuMemPoolDestroy(pool));
	assert_int_equal(used(), physical());
	ok(cuMemFreeAsync(p, NULL));
	ok(cuStreamSynchronize(NULL));
	check(CONTEXT);
}

/* HAMi-core #96: counted once, however often. #306: what failed late stayed counted. */
PART(hami_core_96_306_every_time, CARD)
{
	cu_ptr p;
	shim_start(f);
	for (int i = 0; i < 50; i++) {
		ok(cuMemAllocAsync(&p, 20 * MIB, NULL));
		assert_int_equal(used(), physical());
		fails(OUT_OF_MEMORY, cuMemAllocAsync(&p, LIMIT, NULL));
		assert_int_equal(used(), physical());
		ok(cuMemFreeAsync(p, NULL));
		ok(cuStreamSynchronize(NULL));
	}
	check(CONTEXT);
}

PART(pool_elsewhere, TWO)
{
	struct cu_pool_props props = {.type = 1, .location = {CU_LOCATION_DEVICE, 1}};
	struct cu_pool *pool;
	shim_start(f);
	fails(INVALID_DEVICE, cuMemPoolCreate(&pool, &props));
	check(CONTEXT);
}

/* -- threads -- */

static struct cu_ctx *shared_ctx;
static bool is_trimming, is_trimmed;

static void *take_all(void *data)
{
	cu_ptr p;
	if (cu.cuCtxSetCurrent(shared_ctx) != CU_SUCCESS)
		return data;
	__atomic_store_n(&is_trimming, true, __ATOMIC_RELEASE);
	enum cu_result rc = cu.cuMemAlloc_v2(&p, LIMIT - CONTEXT);
	__atomic_store_n(&is_trimmed, true, __ATOMIC_RELEASE);
	return rc == CU_SUCCESS ? NULL : data;
}

/* While the driver trims a pool for one thread, another one uses pools, and comes to rest. */
PART(slow_driver_stops_no_other, CARD)
{
	struct timespec while_it_trims = {.tv_nsec = 200000000};
	uint64_t keep = UINT64_MAX;
	struct cu_pool *pool;
	pthread_t thread;
	void *result;
	cu_ptr p;
	shared_ctx = shim_start(f);
	ok(cuDeviceGetDefaultMemPool(&pool, 0));
	ok(cuMemPoolSetAttribute(pool, CU_POOL_RELEASE_THRESHOLD, &keep));
	ok(cuMemAllocAsync(&p, 20 * MIB, NULL));
	ok(cuMemFreeAsync(p, NULL));
	ok(cuStreamSynchronize(NULL));
	fixture_do(f, "slow 3000 cuMemPoolTrimTo");
	assert_int_equal(pthread_create(&thread, NULL, take_all, f), 0);
	while (!__atomic_load_n(&is_trimming, __ATOMIC_ACQUIRE))
		sched_yield();
	nanosleep(&while_it_trims, NULL);
	ok(cuStreamSynchronize(NULL));
	assert_false(__atomic_load_n(&is_trimmed, __ATOMIC_ACQUIRE));
	pthread_join(thread, &result);
	fixture_do(f, "clear");
	assert_null(result);
	check(LIMIT);
}

static void *use_pools(void *data)
{
	const struct cu_pool_props props = {.type = 1, .location = {CU_LOCATION_DEVICE, 0}};
	struct cu_pool *pool;
	cu_ptr p[4];
	if (cu.cuCtxSetCurrent(shared_ctx) != CU_SUCCESS)
		return data;
	for (int i = 0; i < 60; i++) {
		int n = 0;
		if (cu.cuMemPoolCreate(&pool, &props) != CU_SUCCESS)
			return data;
		while (n < 4 && (n % 2 ? cu.cuMemAllocAsync(&p[n], (1 + (size_t)n) * MIB, NULL)
		                       : cu.cuMemAllocFromPoolAsync(&p[n], 5 * MIB, pool, NULL)) ==
		                        CU_SUCCESS)
			n++;
		while (n > 0)
			if (cu.cuMemFreeAsync(p[--n], NULL) != CU_SUCCESS)
				return data;
		if (cu.cuStreamSynchronize(NULL) != CU_SUCCESS ||
		        cu.cuMemPoolDestroy(pool) != CU_SUCCESS)
			return data;
	}
	return NULL;
}

/* Pools come and go in several threads, near the limit: at the end nothing is charged that is not there. */
PART(pools_in_threads, CARD)
{
	pthread_t threads[4];
	void *result;
	shared_ctx = shim_start(f);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, use_pools, f), 0);
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], &result);
		assert_null(result);
	}
	ok(cuCtxSynchronize());
	check(CONTEXT);
}

static uint64_t graph_memory(void)
{
	uint64_t bytes = 0;
	assert_int_equal(
	        driver.cuDeviceGetGraphMemAttribute(0, CU_GRAPH_RESERVED, &bytes), CU_SUCCESS);
	return bytes;
}

/* Nothing when a node is added, all of it when the graph runs. */
PART(graph_with_memory, CARD)
{
	struct cu_graph *g;
	struct cu_graph_exec *e;
	struct cu_graph_node *a, *b;
	struct cu_alloc_node node = {
	        .pool = {.type = 1, .location = {CU_LOCATION_DEVICE, 0}}, .bytes = 20 * MIB};
	shim_start(f);
	ok(cuGraphCreate(&g, 0));
	ok(cuGraphAddMemAllocNode(&a, g, NULL, 0, &node));
	ok(cuGraphAddMemFreeNode(&b, g, (const struct cu_graph_node *[]){a}, 1, node.pointer));
	check(CONTEXT);
	ok(cuGraphInstantiateWithFlags(&e, g, 0));
	for (int i = 0; i < 3; i++) {
		ok(cuGraphLaunch(e, NULL));
		ok(cuStreamSynchronize(NULL));
		assert_int_equal(graph_memory(), 20 * MIB);
		check(CONTEXT + 20 * MIB);
		assert_int_equal(charged(SLICE_GRAPH), 20 * MIB);
	}
	ok(cuDeviceGraphMemTrim(0));
	check(CONTEXT);
	/* Given up for others, and not had when there is no room. */
	cu_ptr p;
	ok(cuGraphLaunch(e, NULL));
	ok(cuStreamSynchronize(NULL));
	ok(cuMemAlloc_v2(&p, LIMIT - CONTEXT));
	check(LIMIT);
	fails(OUT_OF_MEMORY, cuGraphLaunch(e, NULL));
	check(LIMIT);
	ok(cuMemFree_v2(p));
	ok(cuGraphLaunch(e, NULL));
	ok(cuStreamSynchronize(NULL));
	check(CONTEXT + 20 * MIB);
	ok(cuGraphExecDestroy(e));
	ok(cuGraphDestroy(g));
	ok(cuDeviceGraphMemTrim(0));
	check(CONTEXT);
}

/* In a graph in a graph; and taken when the graph is made ready, where it is asked for so early. */
PART(memory_of_child_graphs, CARD)
{
	struct cu_graph *inner, *middle, *outer;
	struct cu_graph_exec *e;
	struct cu_graph_node *a, *b;
	cu_ptr p;
	struct cu_alloc_node node = {
	        .pool = {.type = 1, .location = {CU_LOCATION_DEVICE, 0}}, .bytes = 20 * MIB};
	struct cu_node_params child = {.type = CU_NODE_GRAPH, .graph.ownership = CU_CHILD_MOVED};
	shim_start(f);
	ok(cuGraphCreate(&inner, 0));
	ok(cuGraphCreate(&middle, 0));
	ok(cuGraphCreate(&outer, 0));
	ok(cuGraphAddMemAllocNode(&a, inner, NULL, 0, &node));
	ok(cuGraphAddMemFreeNode(&b, inner, (const struct cu_graph_node *[]){a}, 1, node.pointer));
	fails(NOT_SUPPORTED, cuGraphAddChildGraphNode(&a, middle, NULL, 0, inner));
	child.graph.graph = inner;
	ok(cuGraphAddNode(&a, middle, NULL, 0, &child));
	child.graph.graph = middle;
	ok(cuGraphAddNode_v2(&a, outer, NULL, NULL, 0, &child));
	ok(cuGraphInstantiateWithFlags(&e, outer, 0));
	check(CONTEXT);
	ok(cuGraphLaunch(e, NULL));
	ok(cuStreamSynchronize(NULL));
	check(CONTEXT + 20 * MIB);
	assert_int_equal(charged(SLICE_GRAPH), 20 * MIB);
	ok(cuMemAlloc_v2(&p, LIMIT - CONTEXT));
	fails(OUT_OF_MEMORY, cuGraphLaunch(e, NULL));
	fails(OUT_OF_MEMORY, cuGraphUpload(e, NULL));
	ok(cuGraphExecDestroy(e));
	struct cu_instantiate early = {.flags = CU_INSTANTIATE_UPLOADS};
	fails(OUT_OF_MEMORY, cuGraphInstantiateWithParams(&e, outer, &early));
	check(LIMIT);
	ok(cuMemFree_v2(p));
	ok(cuGraphInstantiateWithParams(&e, outer, &early));
	check(CONTEXT + 20 * MIB);
	ok(cuGraphExecDestroy(e));
	ok(cuGraphDestroy(outer));
	ok(cuDeviceGraphMemTrim(0));
	check(CONTEXT);
}

/* An allocation on a stream that records is a node. */
PART(captured_allocation, CARD)
{
	struct cu_graph *g;
	struct cu_graph_exec *e;
	struct cu_stream *s;
	cu_ptr p;
	shim_start(f);
	ok(cuStreamCreate(&s, 1));
	ok(cuStreamBeginCapture_v2(s, 0));
	ok(cuMemAllocAsync(&p, 10 * MIB, s));
	ok(cuMemFreeAsync(p, s));
	ok(cuStreamEndCapture(s, &g));
	check(CONTEXT);
	ok(cuGraphInstantiateWithFlags(&e, g, 0));
	ok(cuGraphLaunch(e, s));
	ok(cuStreamSynchronize(s));
	check(CONTEXT + 10 * MIB);
	ok(cuGraphExecDestroy(e));
	ok(cuGraphDestroy(g));
	ok(cuDeviceGraphMemTrim(0));
	check(CONTEXT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_default_pool),
	        cmocka_unit_test(test_pool_to_the_byte),
	        cmocka_unit_test(test_hami_core_93_pool_of_its_own),
	        cmocka_unit_test(test_hami_core_96_306_every_time),
	        cmocka_unit_test(test_pool_elsewhere),
	        cmocka_unit_test(test_slow_driver_stops_no_other),
	        cmocka_unit_test(test_pools_in_threads),
	        cmocka_unit_test(test_graph_with_memory),
	        cmocka_unit_test(test_memory_of_child_graphs),
	        cmocka_unit_test(test_captured_allocation),
	};
	return cmocka_run_group_tests_name("shim/pools", tests, NULL, NULL);
}
