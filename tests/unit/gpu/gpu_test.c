#include "box.h"

#include <pthread.h>

static void test_scan(void **state)
{
	struct box *b = box_open(TWO_DEVICES);
	const struct gpu_device *d = &b->devs[0];

	assert_int_equal(b->n, 2);
	assert_string_equal(gpu_note(b->gpu), "");
	assert_true(gpu_is_simulated(b->gpu));
	assert_string_equal(d->uuid, UUID0);
	assert_string_equal(d->model, "NVIDIA A100 (simulated)");
	assert_int_equal(d->index, 0);
	assert_int_equal(d->minor, 0);
	assert_string_equal(d->pci, "00000000:3b:00.0");
	assert_true(d->mem_bytes == 8 * GIB - 256 * MIB);
	assert_int_equal(d->cc_major, 8);
	assert_int_equal(d->cc_minor, 6);
	assert_string_equal(d->driver, "550.54.15");
	assert_int_equal(d->cuda, 12040);
	assert_int_equal(d->numa_node, 1);
	assert_true(d->cpus[0] == 5 && d->cpus[1] == 64 && d->cpus[2] == 0);
	assert_false(d->mig);
	assert_false(d->exclusive);
	assert_true(d->simulated);
	assert_int_equal(d->health, GPU_OK);
	assert_string_equal(d->health_text, "");
	d = &b->devs[1];
	assert_string_equal(d->uuid, UUID1);
	assert_int_equal(d->index, 1);
	assert_true(d->mem_bytes == 4 * GIB);
	assert_int_equal(d->numa_node, -1);
	box_close(b);
}

static void test_modes(void **state)
{
	struct box *b =
	        box_open("device\nmemory 1G\nmig on\ndevice\nmemory 1G\ncompute_mode exclusive\n");

	assert_true(b->devs[0].mig && !b->devs[0].exclusive);
	assert_true(!b->devs[1].mig && b->devs[1].exclusive);
	box_close(b);
}

static void test_max(void **state)
{
	struct box *b = box_open(TWO_DEVICES);

	box_ok(b, gpu_scan(b->gpu, b->devs, 1, &b->n, &b->err));
	assert_int_equal(b->n, 1);
	box_ok(b, gpu_poll(b->gpu, 0, b->states, 1, &b->n, &b->err));
	assert_int_equal(b->n, 1);
	box_close(b);
}

static void test_allowed(void **state)
{
	static const struct {
		const char *names[2];
		size_t n_names, n;
		const char *first, *note;
	} cases[] = {
	        {{"1"}, 1, 1, UUID1, ""},
	        {{"1", "0"}, 2, 2, UUID0, ""},
	        {{"GPU-1111"}, 1, 1, UUID1, ""},
	        {{UUID0}, 1, 1, UUID0, ""},
	        {{"0", "7"}, 2, 1, UUID0, "device 7 is not here (2 found)"},
	        {{"GPU-"}, 1, 0, "", "device GPU- is not here"},
	        {{"GPU-2222"}, 1, 0, "", "device GPU-2222 is not here"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct gpu_options o = {.allowed = cases[i].names, .n_allowed = cases[i].n_names};
		struct box *b = box_open_with(TWO_DEVICES, "fake/libnvidia-ml.so.1", o);

		box_scan(b);
		assert_int_equal(b->n, cases[i].n);
		if (b->n)
			assert_string_equal(b->devs[0].uuid, cases[i].first);
		if (*cases[i].note ? !strstr(gpu_note(b->gpu), cases[i].note) : *gpu_note(b->gpu))
			fail_msg("case %zu: note '%s'", i, gpu_note(b->gpu));
		box_close(b);
	}
}

/* An index means the device that it meant first, whatever drops out later. */
static void test_allowed_stays(void **state)
{
	const char *names[] = {"0"};
	struct gpu_options o = {.allowed = names, .n_allowed = 1};
	struct box *b = box_open_with(TWO_DEVICES, "fake/libnvidia-ml.so.1", o);

	box_scan(b);
	assert_string_equal(b->devs[0].uuid, UUID0);
	/* the driver starts anew without it, so that the other one has its index */
	fixture_describe(&b->f, "device\nuuid " UUID1 "\nmemory 4GiB\n");
	fixture_do(&b->f, "show");
	box_poll(b);
	box_scan(b);
	assert_int_equal(b->n, 1);
	assert_string_equal(b->devs[0].uuid, UUID0);
	assert_int_equal(b->devs[0].health, GPU_LOST);
	box_close(b);
}

static void test_no_driver(void **state)
{
	struct gpu_options o = {0};
	struct gpu *g;
	struct gpu_device devs[2];
	struct gpu_state states[2];
	struct err err;
	size_t n = 9;
	char path[512];

	/* the system's library: none where this test runs without a GPU; with one the list is not empty */
	assert_int_equal(gpu_open(&o, &g, &err), 0);
	assert_int_equal(gpu_scan(g, devs, 2, &n, &err), 0);
	if (n == 0)
		assert_string_not_equal(gpu_note(g), "");
	assert_int_equal(gpu_poll(g, 0, states, 2, &n, &err), 0);
	gpu_close(g);

	/* one that was asked for by name must be there, and be one */
	o.library = "/nowhere/libnvidia-ml.so.1";
	assert_int_equal(gpu_open(&o, &g, &err), -ERR_NOT_FOUND);
	assert_non_null(strstr(err.text, "/nowhere/libnvidia-ml.so.1"));
	o.library = "libm.so.6";
	assert_int_equal(gpu_open(&o, &g, &err), -ERR_UNSUPPORTED);
	assert_string_equal(err.text, "libm.so.6 has no nvmlInit_v2");
	o.library = NULL;
	o.simulate = "/nowhere/d.sim";
	assert_int_equal(gpu_open(&o, &g, &err), -ERR_INVALID);
	o.library = fixture_built("fake/libnvidia-ml.so.1", path);
	assert_int_equal(gpu_open(&o, &g, &err), -ERR_INVALID);
	assert_string_equal(
	        err.text, "simulated devices: /nowhere/d.sim: No such file or directory");
	gpu_close(NULL);
}

static void test_bad_description(void **state)
{
	struct fixture f;
	struct gpu_options o = {0};
	struct gpu *g;
	struct err err;
	char path[512];

	fixture_new(&f, "device\nmemory 1G\nwheels 4\n");
	o.library = fixture_built("fake/libnvidia-ml.so.1", path);
	o.simulate = f.path;
	assert_int_equal(gpu_open(&o, &g, &err), -ERR_INVALID);
	assert_non_null(strstr(err.text, "d.sim:3: unknown key 'wheels'"));
	fixture_free(&f);
}

static void test_driver_fails(void **state)
{
	struct box *b = box_open_with("fail nvmlInit_v2 1 DRIVER_NOT_LOADED\n" TWO_DEVICES,
	        "fake/libnvidia-ml.so.1", (struct gpu_options){0});

	box_scan(b);
	assert_int_equal(b->n, 0);
	assert_string_equal(
	        gpu_note(b->gpu), "the NVIDIA driver does not answer: Driver Not Loaded (NVML 9)");
	box_scan(b);
	assert_int_equal(b->n, 2);
	assert_string_equal(gpu_note(b->gpu), "");
	fixture_do(&b->f, "fail nvmlDeviceGetCount_v2 1 UNKNOWN");
	box_scan(b);
	assert_non_null(strstr(gpu_note(b->gpu), "does not count its devices"));
	box_scan(b);
	assert_int_equal(b->n, 2);
	assert_int_equal(b->devs[0].health, GPU_OK);
	box_close(b);

	b = box_open("driver 1\n");
	assert_int_equal(b->n, 0);
	assert_string_equal(gpu_note(b->gpu), "the NVIDIA driver has no devices");
	box_close(b);
}

/* One device that cannot be read does not hide the others. */
static void test_one_unreadable(void **state)
{
	struct box *b = box_open_with("fail nvmlDeviceGetUUID 1 UNKNOWN\n" TWO_DEVICES,
	        "fake/libnvidia-ml.so.1", (struct gpu_options){0});

	box_scan(b);
	assert_int_equal(b->n, 1);
	assert_string_equal(b->devs[0].uuid, UUID1);
	assert_string_equal(gpu_note(b->gpu), "device 0: Unknown Error (NVML 999)");
	box_scan(b);
	assert_int_equal(b->n, 2);
	box_close(b);
}

/* A driver from before most of the calls: less is known, and everything works. */
static void test_old_driver(void **state)
{
	struct box *b = box_open_with(TWO_DEVICES "outside 4242 1GiB\n",
	        "fake/libnvidia-ml-418.so.1", (struct gpu_options){0});
	struct gpu_process list[4];
	struct gpu_usage usage;
	size_t n;

	box_scan(b);
	assert_int_equal(b->n, 2);
	/* it cannot tell what it keeps for itself */
	assert_true(b->devs[0].mem_bytes == 8 * GIB);
	assert_int_equal(b->devs[0].numa_node, -1);
	assert_int_equal(b->devs[0].cuda, 12040);
	assert_true(b->devs[0].cpus[0] == 5);
	box_ok(b, gpu_usage(b->gpu, UUID1, &usage, list, 4, &n, &b->err));
	assert_int_equal(n, 1);
	assert_int_equal(list[0].pid, 4242);
	assert_true(list[0].known && list[0].bytes == GIB);
	assert_true(usage.used_bytes == GIB && usage.free_bytes == 3 * GIB);
	/* no events, but loss is seen */
	fixture_do(&b->f, "xid 0 48");
	box_expect(b, 0, GPU_LOST, "the driver asks for a reset");
	fixture_do(&b->f, "restore 0");
	box_expect(b, 0, GPU_OK, "");
	fixture_do(&b->f, "lose 0");
	box_expect(b, 0, GPU_LOST, "no longer answers");
	box_close(b);
}

/* Each optional call may be answered with "not found", as by a library newer than its driver. */
static void test_each_missing(void **state)
{
	static const char *const optional[] = {
#define REQUIRED                             0
#define OPTIONAL                             1
#define TOOLS                                0
#define FAKE                                 0
#define NVML(need, since, ret, name, params) need ? #name : NULL,
#include "../../../tables/nvml.def"
#undef NVML
	};
	struct gpu_process list[4];
	struct gpu_usage usage;
	size_t n, n_tried = 0;
	char line[100];

	for (size_t i = 0; i < ARRAY_LEN(optional); i++) {
		struct box *b;

		if (!optional[i])
			continue;
		n_tried++;
		b = box_open_with(TWO_DEVICES "outside 4242 1GiB\n", "fake/libnvidia-ml.so.1",
		        (struct gpu_options){0});
		snprintf(line, sizeof(line), "missing %s", optional[i]);
		fixture_do(&b->f, line);
		box_scan(b);
		assert_int_equal(b->n, 2);
		assert_string_equal(gpu_note(b->gpu), "");
		box_expect(b, 0, GPU_OK, "");
		box_ok(b, gpu_usage(b->gpu, UUID1, &usage, list, 4, &n, &b->err));
		assert_int_equal(n, 1);
		assert_true(list[0].bytes == GIB && usage.used_bytes == GIB);
		box_close(b);
	}
	assert_true(n_tried > 20);
}

static void test_usage(void **state)
{
	struct box *b = box_open(TWO_DEVICES);
	struct gpu_process list[8];
	struct gpu_usage usage;
	struct holder one, two;
	size_t n;

	box_ok(b, gpu_usage(b->gpu, UUID0, &usage, list, 8, &n, &b->err));
	assert_int_equal(n, 0);
	assert_true(usage.used_bytes == 0 && usage.free_bytes == b->devs[0].mem_bytes);
	assert_int_equal(usage.util_percent, 0);
	one = fixture_hold(&b->f, UUID0, "1GiB");
	two = fixture_hold(&b->f, "0", "512MiB");
	fixture_do(&b->f, "outside 0 4242 1MiB");
	fixture_do(&b->f, "outside 1 4242 3GiB");
	fixture_do(&b->f, "util 0 37");
	box_ok(b, gpu_usage(b->gpu, UUID0, &usage, list, 8, &n, &b->err));
	assert_int_equal(n, 3);
	assert_true(usage.used_bytes == GIB + 513 * MIB);
	assert_true(usage.free_bytes == b->devs[0].mem_bytes - usage.used_bytes);
	assert_int_equal(usage.util_percent, 37);
	assert_false(usage.truncated);
	assert_int_equal(list[0].pid, one.pid);
	assert_true(list[0].known && list[0].bytes == GIB);
	assert_int_equal(list[1].pid, two.pid);
	assert_true(list[1].bytes == 512 * MIB);
	assert_int_equal(list[2].pid, 4242);
	assert_true(list[2].bytes == MIB);
	box_ok(b, gpu_usage(b->gpu, UUID0, &usage, list, 2, &n, &b->err));
	assert_int_equal(n, 2);
	assert_true(usage.truncated);
	fixture_let_go(&one);
	fixture_let_go(&two);
	box_ok(b, gpu_usage(b->gpu, UUID0, &usage, list, 8, &n, &b->err));
	assert_int_equal(n, 1);
	assert_true(usage.used_bytes == MIB);
	assert_int_equal(gpu_usage(b->gpu, "GPU-2", &usage, list, 8, &n, &b->err), -ERR_NOT_FOUND);
	box_close(b);
}

/* Compute and graphics lists are one list with each process once, and what the driver does not tell is said. */
static void test_usage_kinds(void **state)
{
	struct box *b = box_open(TWO_DEVICES
	        "outside 10 1GiB\noutside 11 unknown\noutside 12 1MiB graphics\noutside 13 2GiB both\n");
	struct gpu_process list[8];
	struct gpu_usage usage;
	size_t n;

	box_ok(b, gpu_usage(b->gpu, UUID1, &usage, list, 8, &n, &b->err));
	assert_int_equal(n, 4);
	assert_int_equal(list[1].pid, 11);
	assert_false(list[1].known);
	assert_true(list[1].bytes == 0);
	assert_int_equal(list[2].pid, 13);
	assert_true(list[2].known && list[2].bytes == 2 * GIB);
	assert_int_equal(list[3].pid, 12);
	assert_true(list[3].known && list[3].bytes == MIB);
	box_close(b);
}

/* More processes than the first guess has room for. */
static void test_many_processes(void **state)
{
	struct box *b;
	struct gpu_process list[300];
	struct gpu_usage usage;
	char text[16384] = TWO_DEVICES;
	size_t n;

	for (int i = 1; i <= 250; i++)
		sprintf(text + strlen(text), "outside %d 1MiB\n", 1000 + i);
	b = box_open(text);
	box_ok(b, gpu_usage(b->gpu, UUID1, &usage, list, 300, &n, &b->err));
	assert_int_equal(n, 250);
	assert_false(usage.truncated);
	assert_true(usage.used_bytes == 250 * MIB);
	for (size_t i = 0; i < n; i++)
		assert_true(list[i].pid == 1001 + (int)i && list[i].bytes == MIB);
	box_close(b);

	/* and by the oldest of the calls, whose entries are shorter */
	b = box_open_with(text, "fake/libnvidia-ml-418.so.1", (struct gpu_options){0});
	box_scan(b);
	box_ok(b, gpu_usage(b->gpu, UUID1, &usage, list, 300, &n, &b->err));
	assert_int_equal(n, 250);
	for (size_t i = 0; i < n; i++)
		assert_true(list[i].pid == 1001 + (int)i && list[i].bytes == MIB);
	box_close(b);
}

static void test_usage_fails(void **state)
{
	struct box *b = box_open(TWO_DEVICES);
	struct gpu_usage usage;
	size_t n;

	fixture_do(&b->f, "fail nvmlDeviceGetComputeRunningProcesses_v3 1 NO_PERMISSION");
	assert_int_equal(gpu_usage(b->gpu, UUID0, &usage, NULL, 0, &n, &b->err), -ERR_FORBIDDEN);
	assert_string_equal(b->err.text, UUID0 ": Insufficient Permissions (NVML 4)");
	fixture_do(&b->f, "lose 0");
	assert_int_equal(gpu_usage(b->gpu, UUID0, &usage, NULL, 0, &n, &b->err), -ERR_UNAVAILABLE);
	assert_int_equal(gpu_usage(b->gpu, UUID0, &usage, NULL, 0, &n, &b->err), -ERR_UNAVAILABLE);
	assert_string_equal(b->err.text, "device " UUID0 " is lost");
	box_ok(b, gpu_usage(b->gpu, UUID1, &usage, NULL, 0, &n, &b->err));
	box_expect(b, 0, GPU_LOST, "no longer answers");
	box_close(b);
}

/* What NVML does not tell is looked up in sysfs. */
static void test_sysfs(void **state)
{
	struct box *b =
	        box_open_with(TWO_DEVICES, "fake/libnvidia-ml.so.1", (struct gpu_options){0});
	struct gpu_options o;
	char root[160], path[400], library[512];
	static const char *const parts[] = {
	        "", "/bus", "/bus/pci", "/bus/pci/devices", "/bus/pci/devices/0000:3b:00.0"};
	static const char *const files[][2] = {
	        {"numa_node", "3\n"}, {"local_cpulist", "1-2,64,2000\n"}};

	snprintf(root, sizeof(root), "%s/sys", b->f.dir);
	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		snprintf(path, sizeof(path), "%s%s", root, parts[i]);
		assert_int_equal(mkdir(path, 0755), 0);
	}
	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		FILE *f;

		snprintf(path, sizeof(path), "%s%s/%s", root, parts[4], files[i][0]);
		f = fopen(path, "we");
		assert_non_null(f);
		fputs(files[i][1], f);
		fclose(f);
	}
	gpu_close(b->gpu);
	o = (struct gpu_options){.library = fixture_built("fake/libnvidia-ml.so.1", library),
	        .simulate = b->f.path,
	        .sysfs = root};
	box_ok(b, gpu_open(&o, &b->gpu, &b->err));
	fixture_do(&b->f, "missing nvmlDeviceGetCpuAffinity");
	fixture_do(&b->f, "missing nvmlDeviceGetMemoryAffinity");
	box_scan(b);
	assert_int_equal(b->devs[0].numa_node, 3);
	assert_true(b->devs[0].cpus[0] == 6 && b->devs[0].cpus[1] == 1);
	assert_int_equal(b->devs[1].numa_node, -1);
	assert_true(b->devs[1].cpus[0] == 0);
	box_close(b);
}

static void *work(void *arg)
{
	struct box *b = arg;
	struct gpu_process list[4];
	struct gpu_usage usage;
	size_t n;

	for (int i = 0; i < 50; i++) {
		if (gpu_scan(b->gpu, b->devs, GPU_DEVICES_MAX, &b->n, &b->err) < 0 || b->n != 2 ||
		        gpu_poll(b->gpu, 0, b->states, GPU_DEVICES_MAX, &b->n, &b->err) < 0 ||
		        gpu_usage(b->gpu, UUID1, &usage, list, 4, &n, &b->err) < 0)
			return b;
	}
	return NULL;
}

/* Opened in one thread, used in another; and two of them at once share nothing of ours. */
static void test_threads(void **state)
{
	struct box *a = box_open(TWO_DEVICES), *b = calloc(1, sizeof(*b));
	struct gpu_options o = {.simulate = a->f.path};
	char library[512];
	pthread_t ta, tb;
	void *bad;

	assert_non_null(b);
	o.library = fixture_built("fake/libnvidia-ml.so.1", library);
	box_ok(b, gpu_open(&o, &b->gpu, &b->err));
	assert_int_equal(pthread_create(&ta, NULL, work, a), 0);
	assert_int_equal(pthread_create(&tb, NULL, work, b), 0);
	assert_int_equal(pthread_join(ta, &bad), 0);
	assert_null(bad);
	assert_int_equal(pthread_join(tb, &bad), 0);
	assert_null(bad);
	gpu_close(b->gpu);
	free(b);
	box_close(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_scan),
	        cmocka_unit_test(test_modes),
	        cmocka_unit_test(test_max),
	        cmocka_unit_test(test_allowed),
	        cmocka_unit_test(test_allowed_stays),
	        cmocka_unit_test(test_no_driver),
	        cmocka_unit_test(test_bad_description),
	        cmocka_unit_test(test_driver_fails),
	        cmocka_unit_test(test_one_unreadable),
	        cmocka_unit_test(test_old_driver),
	        cmocka_unit_test(test_each_missing),
	        cmocka_unit_test(test_usage),
	        cmocka_unit_test(test_usage_kinds),
	        cmocka_unit_test(test_many_processes),
	        cmocka_unit_test(test_usage_fails),
	        cmocka_unit_test(test_sysfs),
	        cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
