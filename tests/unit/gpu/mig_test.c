/* Cards in MIG mode: what is a device, how well it is, and who uses it. */
#include "box.h"

#include <sys/stat.h>

#define MIG(n) "MIG-0000000" #n "-0000-0000-0000-000000000000"
#define A_CARD                                   \
	"device\nmodel NVIDIA H100\nuuid " UUID0 \
	"\nmemory 80GiB\nreserved 640MiB\ncc 9.0\npci 0000:3b:00.0\nmig on\n"
#define DIVIDED                                                                       \
	A_CARD "instance 1g.10gb 9856MiB " MIG(1) "\ninstance 2g.20gb 19968MiB " MIG( \
	        2) "\ninstance 3g.40gb 40448MiB " MIG(3) "\ndevice\nuuid " UUID1 "\nmemory 4GiB\n"

static const struct gpu_device *device(const struct box *b, const char *uuid)
{
	for (size_t i = 0; i < b->n; i++)
		if (strcmp(b->devs[i].uuid, uuid) == 0)
			return &b->devs[i];
	fail_msg("no device %s", uuid);
	return NULL;
}

static void expect(struct box *b, const char *uuid, enum gpu_health health, const char *says)
{
	box_expect(b, (size_t)(device(b, uuid) - b->devs), health, says);
}

/* In place of a card in MIG mode each of its instances is a device, with what its card has. */
static void test_instances(void **state)
{
	struct box *b = box_open(DIVIDED);
	const struct gpu_device *d = device(b, MIG(2));

	assert_int_equal(b->n, 4);
	assert_true(!d->mig && d->mem_bytes == 19968 * MIB);
	assert_string_equal(d->model, "NVIDIA H100 (simulated) MIG 2g.20gb");
	assert_string_equal(d->pci, "00000000:3b:00.0");
	assert_true(d->index == 0 && d->minor == 0 && d->cc_major == 9 && d->simulated);
	assert_int_equal(d->card_milli, 250);
	assert_int_equal(device(b, MIG(1))->card_milli, 125);
	/* half of the memory, and three sevenths of the compute */
	assert_int_equal(device(b, MIG(3))->card_milli, 428);
	assert_true(!device(b, UUID1)->mig && !device(b, UUID1)->card_milli);
	assert_int_equal(device(b, UUID1)->index, 1);
	assert_string_equal(gpu_note(b->gpu), "");
	box_close(b);
}

static void test_none(void **state)
{
	struct box *b = box_open(A_CARD);

	assert_int_equal(b->n, 1);
	assert_true(b->devs[0].mig && b->devs[0].mem_bytes == 0 && !b->devs[0].card_milli);
	expect(b, UUID0, GPU_DEGRADED, "in MIG mode, and nobody has made instances");
	box_close(b);
}

/* Memory that two compute instances have in common is nobody's alone. */
static void test_shared(void **state)
{
	struct box *b = box_open(A_CARD
	        "instance 1c.3g.40gb 40448MiB " MIG(1) "\n"
	                                               "instance 2c.3g.40gb 40448MiB shared\n"
	                                               "instance 1g.10gb 9856MiB " MIG(2) "\n");

	assert_int_equal(b->n, 3);
	assert_int_equal(device(b, MIG(1))->mem_bytes, 0);
	assert_int_equal(b->devs[1].mem_bytes, 0);
	assert_true(device(b, MIG(2))->mem_bytes == 9856 * MIB);
	expect(b, MIG(1), GPU_DEGRADED, "shares its memory");
	expect(b, MIG(2), GPU_OK, "");
	box_close(b);
}

/* As `nvidia-smi mig` does it, while we look: what is gone is lost, and what comes is found, without starting NVML anew. */
static void test_removed(void **state)
{
	struct box *b = box_open(DIVIDED);

	fixture_do(&b->f, "remove " MIG(1));
	expect(b, MIG(1), GPU_LOST, "this MIG instance was removed");
	expect(b, MIG(2), GPU_OK, "");
	/* NVML is not started again for it: that would fail. */
	fixture_do(&b->f, "fail nvmlInit_v2 0 UNKNOWN");
	box_scan(b);
	assert_int_equal(b->n, 4);
	assert_int_equal(device(b, MIG(1))->health, GPU_LOST);
	assert_string_equal(gpu_note(b->gpu), "");
	fixture_do(&b->f, "make " MIG(1));
	box_scan(b);
	assert_int_equal(device(b, MIG(1))->health, GPU_OK);
	expect(b, MIG(1), GPU_OK, "");
	/* A scan finds it out, too, and the last one. */
	fixture_do(&b->f, "remove " MIG(1));
	fixture_do(&b->f, "remove " MIG(2));
	fixture_do(&b->f, "remove " MIG(3));
	box_scan(b);
	assert_int_equal(device(b, MIG(3))->health, GPU_LOST);
	expect(b, UUID0, GPU_DEGRADED, "nobody has made instances");
	/* What was in the list stays there. */
	fixture_do(&b->f, "make " MIG(3));
	box_scan(b);
	expect(b, UUID0, GPU_OK, "in MIG mode: its instances are devices of their own");
	assert_true(device(b, UUID0)->mig && device(b, UUID0)->mem_bytes == 0);
	box_close(b);
}

/* The card is put out of MIG mode, and into it. */
static void test_mode(void **state)
{
	struct box *b = box_open(DIVIDED);

	fixture_do(&b->f, "mig 0 off");
	expect(b, MIG(1), GPU_LOST, "this MIG instance was removed");
	box_scan(b);
	assert_int_equal(b->n, 5);
	assert_true(!device(b, UUID0)->mig);
	assert_true(device(b, UUID0)->mem_bytes == 80 * GIB - 640 * MIB);
	expect(b, UUID0, GPU_OK, "");
	expect(b, MIG(1), GPU_LOST, "this MIG instance was removed");
	fixture_do(&b->f, "mig 0 on");
	expect(b, UUID0, GPU_LOST, "its MIG mode was changed");
	box_scan(b);
	assert_int_equal(b->n, 5);
	assert_true(device(b, UUID0)->mig && !device(b, UUID0)->mem_bytes);
	expect(b, UUID0, GPU_OK, "in MIG mode: its instances are devices of their own");
	expect(b, MIG(1), GPU_OK, "");
	box_close(b);
}

/* An XID of an instance is its own; one of the card is of all. */
static void test_xids(void **state)
{
	struct box *b = box_open(DIVIDED);

	fixture_do(&b->f, "xid " MIG(2) " 63");
	expect(b, MIG(2), GPU_DEGRADED, "XID 63");
	expect(b, MIG(1), GPU_OK, "");
	box_ok(b, gpu_forget(b->gpu, MIG(2), &b->err));
	expect(b, MIG(2), GPU_OK, "");
	fixture_do(&b->f, "xid 0 79");
	expect(b, MIG(1), GPU_LOST, "XID 79");
	expect(b, MIG(3), GPU_LOST, "XID 79");
	expect(b, UUID1, GPU_OK, "");
	box_scan(b);
	expect(b, MIG(1), GPU_OK, "");
	box_close(b);
}

static void test_card_trouble(void **state)
{
	struct box *b = box_open(DIVIDED);

	fixture_do(&b->f, "ecc 0 1");
	expect(b, MIG(1), GPU_DEGRADED, "1 uncorrected memory error");
	fixture_do(&b->f, "lose 0");
	expect(b, MIG(1), GPU_LOST, "the GPU no longer answers");
	box_scan(b);
	assert_int_equal(b->n, 4);
	assert_int_equal(device(b, MIG(1))->health, GPU_LOST);
	assert_int_equal(device(b, UUID1)->health, GPU_OK);
	fixture_do(&b->f, "restore 0");
	box_scan(b);
	expect(b, MIG(1), GPU_OK, "");
	box_close(b);
}

/* Who uses an instance is in its own list, and in no other. */
static void test_usage(void **state)
{
	struct box *b = box_open(DIVIDED);
	struct gpu_process list[4];
	struct gpu_usage usage;
	size_t n;

	fixture_do(&b->f, "outside " MIG(2) " 4242 3GiB");
	box_ok(b, gpu_usage(b->gpu, MIG(2), &usage, list, 4, &n, &b->err));
	assert_int_equal(n, 1);
	assert_true(list[0].pid == 4242 && list[0].bytes == 3 * GIB);
	assert_true(usage.used_bytes == 3 * GIB && usage.free_bytes == 19968 * MIB - 3 * GIB);
	assert_int_equal(usage.util_percent, -1);
	box_ok(b, gpu_usage(b->gpu, MIG(1), &usage, list, 4, &n, &b->err));
	assert_true(n == 0 && usage.used_bytes == 0);
	box_ok(b, gpu_usage(b->gpu, UUID0, &usage, list, 4, &n, &b->err));
	assert_true(n == 0 && usage.used_bytes == 0);
	fixture_do(&b->f, "remove " MIG(1));
	box_poll(b);
	assert_int_equal(gpu_usage(b->gpu, MIG(1), &usage, list, 4, &n, &b->err), -ERR_UNAVAILABLE);
	box_close(b);
}

static void test_allowed(void **state)
{
	static const struct {
		const char *names[2];
		size_t n;         /* devices */
		const char *last; /* of them */
	} cases[] = {
	        {{"0"}, 3, MIG(3)},
	        {{"1"}, 1, UUID1},
	        {{"MIG-00000002"}, 1, MIG(2)},
	        {{"1", MIG(3)}, 2, UUID1},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct box *b = box_open_with(DIVIDED, "fake/libnvidia-ml.so.1",
		        (struct gpu_options){
		                .allowed = cases[i].names, .n_allowed = cases[i].names[1] ? 2 : 1});

		for (int again = 0; again < 2; again++) {
			box_scan(b);
			assert_int_equal(b->n, cases[i].n);
			assert_string_equal(b->devs[b->n - 1].uuid, cases[i].last);
			assert_string_equal(gpu_note(b->gpu), "");
		}
		box_close(b);
	}
}

/* Drivers that know less. */
static void test_missing(void **state)
{
	struct box *b = box_open("missing nvmlDeviceGetAttributes_v2\n" DIVIDED);

	/* then the memory alone says it */
	assert_int_equal(device(b, MIG(3))->card_milli, 500);
	box_close(b);
	b = box_open("missing nvmlDeviceGetMigDeviceHandleByIndex\n" DIVIDED);
	assert_int_equal(b->n, 2);
	expect(b, UUID0, GPU_DEGRADED, "nobody has made instances");
	box_close(b);
	b = box_open("missing nvmlDeviceGetMaxMigDeviceCount\n" DIVIDED);
	assert_int_equal(b->n, 4);
	assert_int_equal(device(b, MIG(3))->card_milli, 500);
	box_close(b);
}

static void fputs_to(const char *path, const char *text)
{
	FILE *f = fopen(path, "we");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

/* The device files of an instance are the driver's affair to number. */
static void test_minors(void **state)
{
	struct box *b = box_open(DIVIDED);
	struct gpu_options o = {.simulate = b->f.path};
	char root[512], path[600], library[512];
	static const char *const parts[] = {"", "/driver", "/driver/nvidia-caps"};

	assert_true(device(b, MIG(1))->gi_minor == -1 && !device(b, MIG(1))->caps_major);
	snprintf(root, sizeof(root), "%s/proc", b->f.dir);
	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		snprintf(path, sizeof(path), "%s%s", root, parts[i]);
		assert_int_equal(mkdir(path, 0755), 0);
	}
	snprintf(path, sizeof(path), "%s/driver/nvidia-caps/mig-minors", root);
	fputs_to(path, "config 1\nmonitor 2\ngpu0/gi1/access 12\ngpu0/gi1/ci0/access 13\n"
	               "gpu0/gi2/access 21\nnonsense\ngpu1/gi3/access 7\n");
	snprintf(path, sizeof(path), "%s/devices", root);
	fputs_to(path, "Character devices:\n  1 mem\n195 nvidia\n237 nvidia-caps\n238 other\n");
	gpu_close(b->gpu);
	o.library = fixture_built("fake/libnvidia-ml.so.1", library);
	o.proc = root;
	box_ok(b, gpu_open(&o, &b->gpu, &b->err));
	box_scan(b);
	assert_true(device(b, MIG(1))->gi_minor == 12 && device(b, MIG(1))->ci_minor == 13);
	assert_true(device(b, MIG(2))->gi_minor == 21 && device(b, MIG(2))->ci_minor == -1);
	assert_true(device(b, MIG(3))->gi_minor == -1 && device(b, MIG(3))->ci_minor == -1);
	assert_int_equal(device(b, MIG(1))->caps_major, 237);
	assert_true(device(b, UUID1)->gi_minor == -1 && !device(b, UUID1)->caps_major);
	box_close(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_instances),
	        cmocka_unit_test(test_none),
	        cmocka_unit_test(test_shared),
	        cmocka_unit_test(test_removed),
	        cmocka_unit_test(test_mode),
	        cmocka_unit_test(test_xids),
	        cmocka_unit_test(test_card_trouble),
	        cmocka_unit_test(test_usage),
	        cmocka_unit_test(test_allowed),
	        cmocka_unit_test(test_missing),
	        cmocka_unit_test(test_minors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
