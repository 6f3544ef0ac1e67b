#include "cuda_box.h"

#define ALL ((ONE_CARD_MIB - 32) * MIB)

static uint64_t attribute(struct cu_pool *p, int which)
{
	uint64_t v = 0;

	ok(cuMemPoolGetAttribute(p, which, &v));
	return v;
}

static struct cu_pool *first_pool(void)
{
	struct cu_pool *p;

	ok(cuDeviceGetDefaultMemPool(&p, 0));
	return p;
}

/* A pool takes chunks, gives out pieces, and gives chunks back when somebody synchronises. */
PART(chunks, ONE_CARD)
{
	struct cu_pool *p;
	cu_ptr a, b;

	cuda_start();
	p = first_pool();
	ok(cuMemAllocAsync(&a, 1000, NULL));
	assert_true(attribute(p, CU_POOL_RESERVED) == 32 * MIB);
	assert_true(attribute(p, CU_POOL_USED) == 1024);
	assert_true(cuda_free() == ALL - 32 * MIB);
	ok(cuMemAllocAsync(&b, 40 * MIB + 1, NULL));
	assert_true(attribute(p, CU_POOL_RESERVED) == 74 * MIB);
	ok(cuMemFreeAsync(b, NULL));
	ok(cuMemFreeAsync(a, NULL));
	assert_true(attribute(p, CU_POOL_USED) == 0);
	assert_true(attribute(p, CU_POOL_USED_HIGH) == 1024 + 40 * MIB + 512);
	assert_true(attribute(p, CU_POOL_RESERVED) == 74 * MIB);
	ok(cuStreamSynchronize(NULL));
	assert_true(attribute(p, CU_POOL_RESERVED) == 0);
	assert_true(attribute(p, CU_POOL_RESERVED_HIGH) == 74 * MIB);
	assert_true(cuda_free() == ALL);
}

PART(threshold, ONE_CARD)
{
	uint64_t keep = 64 * MIB;
	struct cu_pool *p;
	cu_ptr a;

	cuda_start();
	p = first_pool();
	ok(cuMemPoolSetAttribute(p, CU_POOL_RELEASE_THRESHOLD, &keep));
	ok(cuMemAllocAsync(&a, MIB, NULL));
	ok(cuMemFreeAsync(a, NULL));
	ok(cuCtxSynchronize());
	assert_true(attribute(p, CU_POOL_RESERVED) == 32 * MIB);
	ok(cuMemPoolTrimTo(p, 32 * MIB));
	assert_true(attribute(p, CU_POOL_RESERVED) == 32 * MIB);
	ok(cuMemPoolTrimTo(p, 0));
	assert_true(cuda_free() == ALL);
	fails(INVALID_VALUE, cuMemPoolDestroy(p));
}

/* Memory that a stream still works with is not given back, nor to another stream. */
PART(ordered, "clock virtual\n" ONE_CARD)
{
	struct cu_module *m;
	struct cu_func *fn;
	struct cu_stream *s, *o;
	struct cu_pool *p;
	cu_ptr a, b;

	cuda_start();
	p = first_pool();
	ok(cuModuleLoadData(&m, "image"));
	ok(cuModuleGetFunction(&fn, m, "k_10ms"));
	ok(cuStreamCreate(&s, 1));
	ok(cuStreamCreate(&o, 1));
	ok(cuMemAllocAsync(&a, 32 * MIB, s));
	ok(cuLaunchKernel(fn, 1, 1, 1, 1, 1, 1, 0, s, NULL, NULL));
	ok(cuMemFreeAsync(a, s));
	ok(cuStreamSynchronize(o));
	assert_true(attribute(p, CU_POOL_RESERVED) == 32 * MIB);
	ok(cuMemAllocAsync(&b, 32 * MIB, o));
	assert_true(a != b);
	ok(cuMemFreeAsync(b, o));
	ok(cuMemAllocAsync(&b, 32 * MIB, s));
	assert_true(a == b || attribute(p, CU_POOL_RESERVED) == 64 * MIB);
	ok(cuMemFreeAsync(b, s));
	ok(cuStreamSynchronize(s));
	assert_true(attribute(p, CU_POOL_RESERVED) == 0);
}

/* Out of memory is said by what cannot have it, after pools have given up what they only keep. */
PART(full, ONE_CARD)
{
	uint64_t keep = UINT64_MAX;
	struct cu_pool *p, *o;
	struct cu_pool_props props = {.type = 1, .location = {CU_LOCATION_DEVICE, 0}};
	cu_ptr a, b;

	cuda_start();
	p = first_pool();
	ok(cuMemPoolCreate(&o, &props));
	ok(cuMemPoolSetAttribute(p, CU_POOL_RELEASE_THRESHOLD, &keep));
	ok(cuMemAllocAsync(&a, ALL, NULL));
	fails(OUT_OF_MEMORY, cuMemAllocAsync(&b, 1, NULL));
	ok(cuMemFreeAsync(a, NULL));
	ok(cuStreamSynchronize(NULL));
	assert_true(cuda_free() == 0);
	ok(cuMemAllocFromPoolAsync(&a, ALL, o, NULL));
	assert_true(attribute(p, CU_POOL_RESERVED) == 0);
	ok(cuMemFree_v2(a));
	ok(cuMemPoolDestroy(o));
	assert_true(cuda_free() == ALL);
	props.max_size = 8 * MIB;
	ok(cuMemPoolCreate(&o, &props));
	ok(cuMemAllocFromPoolAsync(&a, 8 * MIB, o, NULL));
	fails(OUT_OF_MEMORY, cuMemAllocFromPoolAsync(&b, 1, o, NULL));
}

static int between[2];

static void import_pool(struct fixture *f)
{
	struct cu_pool *p;
	struct cu_pool_pointer share;
	char data[4];
	cu_ptr a;
	int fd = 100;

	cuda_start();
	ok(cuMemPoolImportFromShareableHandle(&p, (void *)(intptr_t)fd, 1, 0));
	assert_int_equal(read(between[0], &share, sizeof(share)), sizeof(share));
	ok(cuMemPoolImportPointer(&a, p, &share));
	ok(cuMemcpyDtoH_v2(data, a, 4));
	assert_memory_equal(data, "abc", 4);
	/* the maker's chunk and context alone */
	assert_true(cuda_free() == ALL - 64 * MIB);
	ok(cuMemFreeAsync(a, NULL));
}

/* Somebody else's pool costs the importer nothing, and shows the same memory. */
PART(imported, ONE_CARD)
{
	struct cu_pool_props props = {
	        .type = 1, .handle_types = 1, .location = {CU_LOCATION_DEVICE, 0}};
	struct cu_pool_pointer share;
	struct cu_pool *p;
	cu_ptr a;
	pid_t pid;
	int fd;

	assert_int_equal(pipe(between), 0);
	cuda_load("fake/libcuda.so.1");
	pid = fork(); /* before the driver starts; the file comes by its number */
	if (pid == 0) {
		char path[64];

		assert_int_equal(read(between[0], &fd, sizeof(fd)), sizeof(fd));
		snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)getppid(), fd);
		assert_int_equal(dup2(open(path, O_RDWR), 100), 100);
		import_pool(f);
		exit(0);
	}
	cuda_start();
	ok(cuMemPoolCreate(&p, &props));
	ok(cuMemAllocFromPoolAsync(&a, 4096, p, NULL));
	ok(cuMemcpyHtoD_v2(a, "abc", 4));
	ok(cuMemPoolExportToShareableHandle(&fd, p, 1, 0));
	ok(cuMemPoolExportPointer(&share, a));
	assert_int_equal(write(between[1], &fd, sizeof(fd)), sizeof(fd));
	assert_int_equal(write(between[1], &share, sizeof(share)), sizeof(share));
	assert_int_equal(fixture_wait(pid), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_chunks),
	        cmocka_unit_test(test_threshold),
	        cmocka_unit_test(test_ordered),
	        cmocka_unit_test(test_full),
	        cmocka_unit_test(test_imported),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
