#include "cuda_box.h"

#define ALL ((ONE_CARD_MIB - 32) * MIB)

static struct cu_func *kernel(const char *name)
{
	struct cu_module *m;
	struct cu_func *fn;

	ok(cuModuleLoadData(&m, "image"));
	ok(cuModuleGetFunction(&fn, m, name));
	return fn;
}

static uint64_t memory(int which)
{
	uint64_t v = 0;

	ok(cuDeviceGetGraphMemAttribute(0, which, &v));
	return v;
}

static struct cu_graph_node *add_kernel(struct cu_graph *g, struct cu_func *fn)
{
	struct cu_kernel_node p = {.func = fn, .grid = {1, 1, 1}, .block = {1, 1, 1}};
	struct cu_graph_node *n;

	ok(cuGraphAddKernelNode_v2(&n, g, NULL, 0, &p));
	return n;
}

/* A launch is one piece of work as long as its kernels together. */
PART(launch, "clock virtual\n" ONE_CARD)
{
	struct cu_graph *g, *other;
	struct cu_graph_exec *e;
	struct cu_event *a, *b;
	struct cu_update_info info;
	size_t n = 0;
	float ms;

	cuda_start();
	ok(cuGraphCreate(&g, 0));
	add_kernel(g, kernel("k_1ms"));
	add_kernel(g, kernel("k_2ms"));
	ok(cuGraphGetNodes(g, NULL, &n));
	assert_int_equal(n, 2);
	ok(cuGraphInstantiateWithFlags(&e, g, 0));
	ok(cuEventCreate(&a, 0));
	ok(cuEventCreate(&b, 0));
	ok(cuEventRecord(a, NULL));
	ok(cuGraphUpload(e, NULL));
	ok(cuGraphLaunch(e, NULL));
	ok(cuEventRecord(b, NULL));
	fails(NOT_READY, cuEventQuery(b));
	ok(cuEventSynchronize(b));
	ok(cuEventElapsedTime(&ms, a, b));
	assert_true(ms > 3.0005f && ms < 3.03f);
	ok(cuGraphCreate(&other, 0));
	add_kernel(other, kernel("k_5ms"));
	assert_int_equal(
	        cu.cuGraphExecUpdate_v2(e, other, &info), CU_ERROR_GRAPH_EXEC_UPDATE_FAILURE);
	assert_int_equal(info.result, 2);
	add_kernel(other, kernel("k_5ms"));
	ok(cuGraphExecUpdate_v2(e, other, &info));
	ok(cuGraphDestroy(g));
	ok(cuGraphDestroy(other));
	ok(cuGraphLaunch(e, NULL));
	ok(cuEventRecord(a, NULL));
	ok(cuStreamSynchronize(NULL));
	ok(cuEventElapsedTime(&ms, b, a));
	assert_true(ms > 10.0f && ms < 10.1f);
	ok(cuGraphExecDestroy(e));
	fails(INVALID_VALUE, cuGraphLaunch(e, NULL));
}

static struct cu_graph_exec *with_memory(
        uint64_t bytes, bool freed, unsigned long long flags, cu_ptr *ret_at)
{
	struct cu_alloc_node p = {
	        .pool = {.type = 1, .location = {CU_LOCATION_DEVICE, 0}}, .bytes = bytes};
	struct cu_graph_node *n;
	struct cu_graph_exec *e;
	struct cu_graph *g;

	ok(cuGraphCreate(&g, 0));
	ok(cuGraphAddMemAllocNode(&n, g, NULL, 0, &p));
	add_kernel(g, kernel("k_10ms"));
	if (freed)
		ok(cuGraphAddMemFreeNode(&n, g, NULL, 0, p.pointer));
	ok(cuGraphInstantiateWithFlags(&e, g, flags));
	ok(cuGraphDestroy(g));
	*ret_at = p.pointer;
	return e;
}

/* Memory is taken at the first launch, kept after it, shared by launches that follow each other, given back by a trim. */
PART(memory, "clock virtual\n" ONE_CARD)
{
	struct cu_graph_exec *a, *b;
	struct cu_stream *s;
	cu_ptr p, q;

	cuda_start();
	a = with_memory(3 * MIB, true, 0, &p);
	b = with_memory(4 * MIB, true, 0, &q);
	assert_true(cuda_free() == ALL);
	ok(cuGraphLaunch(a, NULL));
	assert_true(memory(CU_GRAPH_USED) == 4 * MIB && memory(CU_GRAPH_RESERVED) == 4 * MIB);
	ok(cuCtxSynchronize());
	assert_true(memory(CU_GRAPH_USED) == 0 && memory(CU_GRAPH_RESERVED) == 4 * MIB);
	ok(cuGraphLaunch(b, NULL));
	assert_true(memory(CU_GRAPH_RESERVED) == 4 * MIB);
	ok(cuStreamCreate(&s, 1));
	ok(cuGraphLaunch(a, s)); /* at the same time */
	assert_true(memory(CU_GRAPH_RESERVED) == 8 * MIB);
	ok(cuDeviceGraphMemTrim(0));
	assert_true(cuda_free() == ALL - 8 * MIB);
	ok(cuCtxSynchronize());
	ok(cuDeviceGraphMemTrim(0));
	assert_true(cuda_free() == ALL);
	assert_true(memory(CU_GRAPH_RESERVED_HIGH) == 8 * MIB);
	/* what it does not free stays until somebody does */
	a = with_memory(2 * MIB, false, 0, &p);
	ok(cuGraphLaunch(a, NULL));
	ok(cuCtxSynchronize());
	fails(INVALID_VALUE, cuGraphLaunch(a, NULL));
	assert_true(memory(CU_GRAPH_USED) == 2 * MIB);
	ok(cuMemFreeAsync(p, NULL));
	assert_true(memory(CU_GRAPH_USED) == 0);
	ok(cuGraphLaunch(a, NULL));
	a = with_memory(2 * MIB, false, 1, &p); /* frees at its next launch by itself */
	ok(cuGraphLaunch(a, NULL));
	ok(cuGraphLaunch(a, NULL));
	a = with_memory(ALL, true, 0, &p);
	fails(OUT_OF_MEMORY, cuGraphLaunch(a, NULL));
}

/* What a capturing stream is told becomes nodes, and is not done; what may wait for it spoils it. */
PART(capture, "clock virtual\n" ONE_CARD)
{
	struct cu_func *fn;
	struct cu_stream *s, *o;
	struct cu_graph_exec *e;
	struct cu_event *ev;
	struct cu_graph *g;
	int status, mode = 2;
	size_t n = 0;
	cu_ptr p;

	cuda_start();
	fn = kernel("k_1ms");
	ok(cuStreamCreate(&s, 1));
	ok(cuStreamCreate(&o, 1));
	ok(cuEventCreate(&ev, 0));
	fails(ILLEGAL_STATE, cuStreamEndCapture(s, &g));
	ok(cuStreamBeginCapture_v2(s, 0));
	ok(cuStreamIsCapturing(s, &status));
	assert_int_equal(status, CU_CAPTURE_ACTIVE);
	ok(cuLaunchKernel(fn, 1, 1, 1, 1, 1, 1, 0, s, NULL, NULL));
	ok(cuMemAllocAsync(&p, MIB, s));
	ok(cuEventRecord(ev, s));
	ok(cuStreamWaitEvent(o, ev, 0));
	ok(cuStreamIsCapturing(o, &status));
	assert_int_equal(status, CU_CAPTURE_ACTIVE);
	ok(cuLaunchKernel(fn, 1, 1, 1, 1, 1, 1, 0, o, NULL, NULL));
	ok(cuMemFreeAsync(p, s));
	fails(STREAM_CAPTURE_UNMATCHED, cuStreamEndCapture(o, &g));
	ok(cuStreamEndCapture(s, &g));
	ok(cuGraphGetNodes(g, NULL, &n));
	assert_int_equal(n, 4);
	ok(cuStreamQuery(s)); /* nothing was done */
	ok(cuGraphInstantiate_v2(&e, g, NULL, NULL, 0));
	ok(cuGraphLaunch(e, s));
	fails(NOT_READY, cuStreamQuery(s));
	/* spoilt by a wait, and by what another call may wait for */
	ok(cuStreamBeginCapture_v2(s, 2));
	fails(STREAM_CAPTURE_UNSUPPORTED, cuStreamSynchronize(s));
	fails(STREAM_CAPTURE_INVALIDATED, cuStreamEndCapture(s, &g));
	ok(cuStreamBeginCapture_v2(s, 0));
	fails(STREAM_CAPTURE_UNSUPPORTED, cuMemAlloc_v2(&p, 1));
	fails(STREAM_CAPTURE_INVALIDATED, cuStreamEndCapture(s, &g));
	ok(cuThreadExchangeStreamCaptureMode(&mode));
	ok(cuStreamBeginCapture_v2(s, 0));
	ok(cuMemAlloc_v2(&p, 1));
	ok(cuStreamEndCapture(s, &g));
	fails(STREAM_CAPTURE_UNSUPPORTED, cuStreamBeginCapture(NULL));
	ok(cuStreamBeginCapture_ptsz(NULL));
	ok(cuStreamIsCapturing_ptsz(NULL, &status));
	assert_int_equal(status, CU_CAPTURE_ACTIVE);
	ok(cuStreamEndCapture_ptsz(NULL, &g));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_launch),
	        cmocka_unit_test(test_memory),
	        cmocka_unit_test(test_capture),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
