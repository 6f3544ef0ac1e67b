/* What holds attempts, by the device, what the kernel has, and what was refused; over a directory that looks like control groups. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/slicing.h"

#define UUID "GPU-12345678-1234-1234-1234-123456789abc"

static char dir[] = "/tmp/berth-slicing-XXXXXX";
static struct device_info device;
static struct known_attempt attempt;
static bool is_living;

struct known_attempt *attempts_first(const struct attempts *at, enum attempt_state state)
{
	return is_living && state == ATTEMPT_LIVING ? &attempt : NULL;
}

struct known_attempt *attempts_find(const struct attempts *at, uint64_t epoch)
{
	return is_living && epoch == attempt.epoch ? &attempt : NULL;
}

void attempts_note(
        struct attempts *at, struct known_attempt *a, enum spool_cause cause, const char *text)
{
	fail_msg("nobody died");
}

static const struct device_info *devices(void *data, uint32_t *ret_n)
{
	*ret_n = 1;
	return &device;
}

static struct slicing *begin(const char *driver, bool simulated)
{
	struct slicing_options o = {
	        .data_dir = dir,
	        .cgroups = dir,
	        .parts = {.has_interposer = true, .has_driver = true, .no_mps = "none"},
	        .devices = devices,
	};
	struct slicing *s;
	struct err err;

	device = (struct device_info){.uuid = UUID,
	        .pci = "00000000:3B:00.0",
	        .mem_bytes = 8 * GIB,
	        .simulated = simulated};
	snprintf(device.driver, sizeof(device.driver), "%s", driver);
	is_living = false;
	assert_int_equal(slicing_new(&o, &s, &err), 0);
	slicing_set_wish(s, LINK_MECHANISM_AUTO, NULL, 0, false);
	return s;
}

static struct slicing_hold start(struct slicing *s, uint64_t epoch, uint64_t bytes)
{
	struct slice_record r = {.device = UUID, .mem_bytes = bytes, .share_milli = 250};
	struct link_start m = {.epoch = epoch, .slices = &r, .n_slices = 1};
	struct slicing_hold hold = {0};
	struct err err;

	assert_int_equal(slicing_begin(s, &m, &hold, &err), 0);
	return hold;
}

static void capacity(const char *text)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/dmem.capacity", dir);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void test_kernel(void **state)
{
	static const struct {
		const char *driver, *capacity;
		bool simulated;
		enum held_by by;
	} rows[] = {
	        {"615.10", "nvidia/0000:3b:00.0/vidmem 8589934592\n", false, HELD_BY_KERNEL},
	        {"700.1.2", "nvidia/0000:3b:00.0/vidmem 8589934592\n", false, HELD_BY_KERNEL},
	        {"610.43.02", "nvidia/0000:3b:00.0/vidmem 8589934592\n", false, HELD_BY_INTERPOSER},
	        {"", "nvidia/0000:3b:00.0/vidmem 8589934592\n", false, HELD_BY_INTERPOSER},
	        {"615.10", "drm/0000:3b:00.0/vram0 8589934592\n", false, HELD_BY_INTERPOSER},
	        {"615.10", "nvidia/0000:3b:00.0/vidmem 8589934592\n", true, HELD_BY_INTERPOSER},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct slicing *s = begin(rows[i].driver, rows[i].simulated);
		struct slicing_hold h;

		capacity(rows[i].capacity);
		assert_int_equal(slicing_held_by(s, &device), rows[i].by);
		h = start(s, 7, 2 * GIB);
		assert_non_null(h.path);
		assert_null(h.mps);
		if (rows[i].by == HELD_BY_KERNEL)
			assert_string_equal(
			        h.gpu_limits, "nvidia/0000:3b:00.0/vidmem 2147483648\n");
		else
			assert_null(h.gpu_limits);
		slicing_free(s, true);
	}
}

/* What the kernel refused is the interposer's: of this attempt, of the device, and of the next one. */
static void test_refused(void **state)
{
	struct slicing *s = begin("615.10", false);
	uint32_t both;

	capacity("nvidia/0000:3b:00.0/vidmem 8589934592\n");
	assert_non_null(start(s, 7, 2 * GIB).gpu_limits);
	both = slices_flags(slicing_ledgers(s), 7, 0);
	assert_int_equal(both, SLICES_HOLDS_MEMORY | SLICES_HOLDS_COMPUTE | SLICES_BY_KERNEL);
	attempt = (struct known_attempt){.epoch = 7, .held = SPOOL_HOLD_GPU_MEMORY};
	is_living = true;
	assert_int_equal(slicing_held_by(s, &device), HELD_BY_KERNEL);
	assert_non_null(start(s, 8, GIB).gpu_limits);
	attempt.held = 0;
	attempt.not_held = SPOOL_HOLD_GPU_MEMORY;
	assert_int_equal(slicing_held_by(s, &device), HELD_BY_INTERPOSER);
	assert_null(start(s, 9, GIB).gpu_limits);
	/* Until the configuration comes anew; then it is tried again. */
	is_living = false;
	assert_int_equal(slicing_held_by(s, &device), HELD_BY_INTERPOSER);
	slicing_set_wish(s, LINK_MECHANISM_KERNEL, NULL, 0, false);
	assert_int_equal(slicing_held_by(s, &device), HELD_BY_KERNEL);
	slicing_free(s, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_kernel), cmocka_unit_test(test_refused)};
	char path[128];
	int failed;

	if (!mkdtemp(dir))
		return 1;
	snprintf(path, sizeof(path), "%s/run", dir);
	if (mkdir(path, 0755) < 0)
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rmdir(path);
	snprintf(path, sizeof(path), "%s/dmem.capacity", dir);
	unlink(path);
	rmdir(dir);
	return failed;
}
