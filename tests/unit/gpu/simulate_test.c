#include "box.h"

struct place {
	struct fixture f;
	struct err err;
	char path[GPU_PATH_SIZE];
	char text[8192]; /* of the description */
};

static int setup(void **state)
{
	struct place *p = calloc(1, sizeof(*p));

	assert_non_null(p);
	fixture_new(&p->f, "");
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	struct place *p = *state;

	fixture_free(&p->f);
	free(p);
	return 0;
}

static void write_spec(struct place *p, const char *spec)
{
	char expected[GPU_PATH_SIZE];
	FILE *f;

	if (gpu_simulate_write(spec, p->f.dir, p->path, &p->err) < 0)
		fail_msg("%s", p->err.text);
	snprintf(expected, sizeof(expected), "%s/gpus.sim", p->f.dir);
	assert_string_equal(p->path, expected);
	f = fopen(p->path, "re");
	assert_non_null(f);
	p->text[fread(p->text, 1, sizeof(p->text) - 1, f)] = '\0';
	fclose(f);
}

static size_t scan(struct place *p, struct gpu_device *devs)
{
	char library[512];
	struct gpu_options o = {
	        .library = fixture_built("fake/libnvidia-ml.so.1", library), .simulate = p->path};
	struct gpu *g;
	size_t n;

	if (gpu_open(&o, &g, &p->err) < 0 || gpu_scan(g, devs, GPU_DEVICES_MAX, &n, &p->err) < 0)
		fail_msg("%s", p->err.text);
	assert_string_equal(gpu_note(g), "");
	gpu_close(g);
	return n;
}

static void test_specs(void **state)
{
	static const struct {
		const char *spec;
		size_t n;
		uint64_t first, last;
		const char *model; /* of the last */
		int cc;
	} cases[] = {
	        {"2x8GiB", 2, 8 * GIB, 8 * GIB, "Simulated GPU 8 GiB", 80},
	        {"8G", 1, 8 * GIB, 8 * GIB, "Simulated GPU 8 GiB", 80},
	        {"2X8gib,1x24GiB", 3, 8 * GIB, 24 * GIB, "Simulated GPU 24 GiB", 80},
	        {"2x8GiB:a100", 2, 8 * GIB, 8 * GIB, "NVIDIA A100 (simulated)", 80},
	        {"1x1.5GiB,1x16GiB:V100", 2, GIB + 512 * MIB, 16 * GIB, "Tesla V100 (simulated)",
	                70},
	        {"1x80GiB:h100", 1, 80 * GIB, 80 * GIB, "NVIDIA H100 (simulated)", 90},
	        {"4x192GiB:b200", 4, 192 * GIB, 192 * GIB, "NVIDIA B200 (simulated)", 100},
	        {"1x4GiB:My Card 7", 1, 4 * GIB, 4 * GIB, "My Card 7 (simulated)", 80},
	        {"32x1GiB", 32, GIB, GIB, "Simulated GPU 1 GiB", 80},
	};
	struct place *p = *state;
	struct gpu_device devs[GPU_DEVICES_MAX];

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		size_t n;

		write_spec(p, cases[i].spec);
		n = scan(p, devs);
		assert_int_equal(n, cases[i].n);
		assert_true(devs[0].mem_bytes == cases[i].first);
		assert_true(devs[n - 1].mem_bytes == cases[i].last);
		assert_string_equal(devs[n - 1].model, cases[i].model);
		assert_int_equal(devs[n - 1].cc_major * 10 + devs[n - 1].cc_minor, cases[i].cc);
		for (size_t k = 0; k < n; k++) {
			assert_true(devs[k].simulated);
			assert_int_equal(strncmp(devs[k].uuid, "GPU-", 4), 0);
			assert_true(devs[k].cpus[0] & 1);
		}
	}
}

static void test_refused(void **state)
{
	static const struct {
		const char *spec;
		int code;
		const char *says;
	} cases[] = {
	        {"2x", -ERR_INVALID, "simulated devices '2x'"},
	        {"2x8", -ERR_INVALID, "has no unit"},
	        {"0x8GiB", -ERR_INVALID, "from 1 to 32"},
	        {"33x8GiB", -ERR_INVALID, "33"},
	        {"31x8GiB,2x8GiB", -ERR_INVALID, "from 1 to 32"},
	        {"2x8GiB;rm", -ERR_INVALID, "8GiB;rm"},
	        {"2x1KiB", -ERR_INVALID, "at least 1 MiB"},
	        {"1x8GiB:a\nb", -ERR_INVALID, "cannot be a model's name"},
	        {"1x8GiB:a#b", -ERR_INVALID, "cannot be a model's name"},
	        {"./no-such-file", -ERR_NOT_FOUND, "./no-such-file"},
	        {"no-such-file", -ERR_NOT_FOUND, "no-such-file"},
	        {"/dev/null", -ERR_INVALID, "is not a file"},
	        {"", -ERR_NOT_FOUND, ""},
	};
	struct place *p = *state;
	char path[GPU_PATH_SIZE];

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		int rc = gpu_simulate_write(cases[i].spec, p->f.dir, path, &p->err);

		if (rc != cases[i].code || !strstr(p->err.text, cases[i].says))
			fail_msg("'%s': %d '%s'", cases[i].spec, rc, p->err.text);
	}
	snprintf(path, sizeof(path), "%s/gpus.sim", p->f.dir);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(
	        gpu_simulate_write("1x8GiB", "/no/such/directory", path, &p->err), -ERR_NOT_FOUND);
}

/* UUIDs last as long as the directory, also when devices are added; another directory has others. */
static void test_uuids_last(void **state)
{
	struct place *p = *state, *other;
	struct gpu_device one[GPU_DEVICES_MAX], two[GPU_DEVICES_MAX];

	write_spec(p, "2x8GiB");
	assert_int_equal(scan(p, one), 2);
	write_spec(p, "2x8GiB");
	assert_int_equal(scan(p, two), 2);
	assert_string_equal(one[0].uuid, two[0].uuid);
	assert_string_equal(one[1].uuid, two[1].uuid);
	write_spec(p, "2x8GiB,1x24GiB:a100");
	assert_int_equal(scan(p, two), 3);
	assert_string_equal(one[0].uuid, two[0].uuid);
	assert_string_equal(one[1].uuid, two[1].uuid);
	assert_string_not_equal(one[0].uuid, two[2].uuid);

	setup((void **)&other);
	write_spec(other, "2x8GiB");
	assert_int_equal(scan(other, two), 2);
	assert_string_not_equal(one[0].uuid, two[0].uuid);
	teardown((void **)&other);
}

/* The same start again does not disturb what runs. */
static void test_again(void **state)
{
	struct place *p = *state;
	struct stat before, after;
	struct fixture tool;

	write_spec(p, "2x8GiB");
	assert_int_equal(stat(p->path, &before), 0);
	assert_int_equal(before.st_mode & 0777, 0644);
	tool = p->f;
	snprintf(tool.path, sizeof(tool.path), "%.150s", p->path);
	fixture_do(&tool, "outside 0 4242 1GiB");
	write_spec(p, "2x8GiB");
	assert_int_equal(stat(p->path, &after), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	/* the process is still there, so no more fits */
	assert_int_equal(fixture_run(&tool, "use 0 8GiB -- true"), 1);
	assert_int_equal(fixture_run(&tool, "use 0 7GiB -- true"), 0);
}

static void test_file(void **state)
{
	struct place *p = *state;
	struct gpu_device one[GPU_DEVICES_MAX], two[GPU_DEVICES_MAX];

	fixture_describe(&p->f, "device\nmodel NVIDIA L4\nmemory 24GiB\nuncorrected 2\n");
	write_spec(p, p->f.path);
	assert_int_equal(strncmp(p->text, "seed ", 5), 0);
	assert_int_equal(scan(p, one), 1);
	assert_string_equal(one[0].model, "NVIDIA L4 (simulated)");
	assert_int_equal(one[0].health, GPU_DEGRADED);
	/* edited: the same directory, the same UUID */
	fixture_describe(&p->f, "device\nmemory 12GiB\n");
	write_spec(p, p->f.path);
	assert_int_equal(scan(p, two), 1);
	assert_true(two[0].mem_bytes == 12 * GIB);
	assert_string_equal(one[0].uuid, two[0].uuid);
	/* a seed of its own is kept as it is */
	fixture_describe(&p->f, "# mine\nseed mine\ndevice\nmemory 12GiB\n");
	write_spec(p, p->f.path);
	assert_string_equal(p->text, "# mine\nseed mine\ndevice\nmemory 12GiB\n");
	assert_int_equal(scan(p, two), 1);
	assert_string_not_equal(one[0].uuid, two[0].uuid);
}

static void test_large_file(void **state)
{
	struct place *p = *state;
	char path[GPU_PATH_SIZE];

	assert_int_equal(truncate(p->f.path, 65537), 0);
	assert_int_equal(gpu_simulate_write(p->f.path, p->f.dir, path, &p->err), -ERR_INVALID);
	assert_non_null(strstr(p->err.text, "at most 65536 bytes"));
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(test_specs),
	        TEST(test_refused),
	        TEST(test_uuids_last),
	        TEST(test_again),
	        TEST(test_file),
	        TEST(test_large_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
