#include "box.h"

#include <string.h>

static struct device device(uint64_t bytes, uint32_t fgpu)
{
	struct device d = {.info = {.model = "NVIDIA A100-SXM4-80GB", .mem_bytes = bytes, .cc = 80},
	        .fgpu_per_device = fgpu};

	return d;
}

static void gives(struct gpu_ask ask, struct device d, uint64_t bytes, uint32_t milli)
{
	struct slice s = {.device = 9};

	assert_true(slice_resolve(&ask, &d, &s));
	assert_true(s.mem_bytes == bytes);
	assert_int_equal(s.share_milli, milli);
}

static void refuses(struct gpu_ask ask, struct device d)
{
	struct slice s = {9, 9, 9};

	assert_false(slice_resolve(&ask, &d, &s));
	assert_true(s.device == 9 && s.mem_bytes == 9 && s.share_milli == 9);
}

#define ASK(...) ((struct gpu_ask){__VA_ARGS__})

static void test_fractions(void **state)
{
	(void)state;
	gives(ASK(.milli = 500), device(8 * GIB, 1), 4 * GIB, 500);
	/* floor(memory x thousandths / 1000) */
	gives(ASK(.milli = 333), device(8 * GIB, 1), 8 * GIB * 333 / 1000, 333);
	gives(ASK(.milli = 1), device(8 * GIB, 1), 8589934, 1);
	gives(ASK(.milli = 999), device(8 * GIB, 1), 8581344657, 999);
	gives(ASK(.milli = 999), device(1001, 1), 999, 999);
	gives(ASK(.milli = 1), device((uint64_t)INT64_MAX, 1), 9223372036854775, 1);
	refuses(ASK(.milli = 1), device(999, 1)); /* nothing is left of it */
	gives(ASK(.milli = 1), device(1000, 1), 1, 1);
}

static void test_fgpu(void **state)
{
	(void)state;
	/* fGPU N is floor(1000 N / fgpu_per_device) thousandths. */
	gives(ASK(.fgpu_milli = 1000), device(8 * GIB, 2), 4 * GIB, 500);
	gives(ASK(.fgpu_milli = 500), device(8 * GIB, 2), 2 * GIB, 250);
	gives(ASK(.fgpu_milli = 1000), device(8 * GIB, 3), 2860448219, 333);
	gives(ASK(.fgpu_milli = 1000), device(8 * GIB, 1), 8 * GIB, 1000);
	gives(ASK(.fgpu_milli = 2000), device(8 * GIB, 2), 8 * GIB, 1000);
	gives(ASK(.fgpu_milli = 7), device(8 * GIB, 4), 8589934, 1);
	refuses(ASK(.fgpu_milli = 3), device(8 * GIB, 4));
	refuses(ASK(.fgpu_milli = 2002), device(8 * GIB, 2)); /* above one device */
	refuses(ASK(.fgpu_milli = 3000), device(8 * GIB, 2));
	gives(ASK(.fgpu_milli = 1000), device(8 * GIB, 0), 8 * GIB, 1000);
}

static void test_memory_and_share(void **state)
{
	(void)state;
	/* Alone, the other follows in proportion, rounded down, but never to nothing. */
	gives(ASK(.mem_bytes = 2 * GIB), device(8 * GIB, 1), 2 * GIB, 250);
	gives(ASK(.mem_bytes = 8 * GIB), device(8 * GIB, 1), 8 * GIB, 1000);
	gives(ASK(.mem_bytes = 1), device(8 * GIB, 1), 1, 1);
	gives(ASK(.mem_bytes = 8 * GIB - 1), device(8 * GIB, 1), 8 * GIB - 1, 999);
	gives(ASK(.share_milli = 300), device(8 * GIB, 1), 2576980377, 300);
	gives(ASK(.share_milli = 1000), device(8 * GIB, 1), 8 * GIB, 1000);
	/* Together, and beside a fraction, each is as it was said. */
	gives(ASK(.mem_bytes = 6 * GIB, .share_milli = 100), device(8 * GIB, 1), 6 * GIB, 100);
	gives(ASK(.milli = 500, .mem_bytes = GIB), device(8 * GIB, 1), GIB, 500);
	gives(ASK(.milli = 500, .share_milli = 100), device(8 * GIB, 1), 4 * GIB, 100);
	gives(ASK(.fgpu_milli = 1000, .mem_bytes = GIB), device(8 * GIB, 2), GIB, 500);
	refuses(ASK(.mem_bytes = 8 * GIB + 1), device(8 * GIB, 1));
	refuses(ASK(.share_milli = 1001), device(8 * GIB, 1));
	refuses(ASK(.share_milli = 1), device(999, 1));
	refuses(ASK(.mem_bytes = 1), device(0, 1));
}

static void test_whole(void **state)
{
	(void)state;
	gives(ASK(.count = 1), device(8 * GIB, 2), 8 * GIB, 1000);
	gives(ASK(.count = 4), device(8 * GIB, 1), 8 * GIB, 1000); /* of each device */
	refuses(ASK(.count = 1, .model = "h100"), device(8 * GIB, 1));
}

/* A MIG instance is granted whole: to a fraction of its card that it is enough for, to bytes that it has, to who names it. */
static void test_instances(void **state)
{
	struct device d = {.info = {.model = "NVIDIA H100 MIG 2g.20gb",
	                           .mem_bytes = 19 * GIB,
	                           .card_milli = 250},
	        .fgpu_per_device = 4};

	(void)state;
	gives(ASK(.milli = 250), d, 19 * GIB, 1000);
	gives(ASK(.milli = 1, .model = "h100"), d, 19 * GIB, 1000);
	gives(ASK(.fgpu_milli = 1000), d, 19 * GIB, 1000);
	gives(ASK(.mem_bytes = 19 * GIB), d, 19 * GIB, 1000);
	gives(ASK(.mem_bytes = 1), d, 19 * GIB, 1000);
	gives(ASK(.share_milli = 250), d, 19 * GIB, 1000);
	gives(ASK(.milli = 900, .mem_bytes = GIB, .share_milli = 100), d, 19 * GIB, 1000);
	refuses(ASK(.milli = 251), d);
	refuses(ASK(.fgpu_milli = 1004), d);
	refuses(ASK(.fgpu_milli = 3), d);
	refuses(ASK(.mem_bytes = 19 * GIB + 1), d);
	refuses(ASK(.share_milli = 251), d);
	refuses(ASK(.milli = 300, .mem_bytes = GIB), d);
	/* It is no whole device, but whole instances can be asked for. */
	refuses(ASK(.count = 1), d);
	refuses(ASK(.count = 1, .model = "h100"), d);
	refuses(ASK(.count = 1, .model = "NVIDIA"), d);
	gives(ASK(.count = 1, .model = "2G.20gb"), d, 19 * GIB, 1000);
	gives(ASK(.count = 2, .model = "mig"), d, 19 * GIB, 1000);
	gives(ASK(.count = 1, .model = "H100 MIG 2g"), d, 19 * GIB, 1000);
	refuses(ASK(.count = 1, .model = "1g.10gb"), d);
	/* What it has beyond what was asked for. */
	assert_true(slice_surplus_bytes(&ASK(.mem_bytes = 4 * GIB), &d) == 15 * GIB);
	assert_true(slice_surplus_bytes(&ASK(.milli = 125), &d) >= 19 * GIB / 2);
	assert_true(slice_surplus_bytes(&ASK(.milli = 250), &d) < 1000);
	assert_true(slice_surplus_bytes(&ASK(.count = 1), &d) == 0);
	/* A card in MIG mode has nothing. */
	d.info.card_milli = 0;
	d.info.mem_bytes = 0;
	refuses(ASK(.count = 1), d);
	refuses(ASK(.milli = 1), d);
	assert_true(slice_surplus_bytes(&ASK(.milli = 1), &d) == 0);
}

static void test_which_device(void **state)
{
	struct device d = device(8 * GIB, 1);

	(void)state;
	assert_true(device_matches(&ASK(.count = 1), &d));
	assert_true(device_matches(&ASK(.model = "a100"), &d));
	assert_true(device_matches(&ASK(.model = "nvidia a100-sxm4-80gb"), &d));
	assert_true(device_matches(&ASK(.model = ""), &d));
	assert_false(device_matches(&ASK(.model = "a1000"), &d));
	assert_false(device_matches(&ASK(.model = "nvidia a100-sxm4-80gb2"), &d));
	assert_true(device_matches(&ASK(.cc_min = 80), &d));
	assert_true(device_matches(&ASK(.cc_min = 75), &d));
	assert_false(device_matches(&ASK(.cc_min = 86), &d));
	refuses(ASK(.milli = 500, .cc_min = 90), d);
	refuses(ASK(.milli = 500, .model = "v100"), d);
}

static void test_what_is_free(void **state)
{
	struct device d = device(8 * GIB, 1);

	(void)state;
	assert_true(device_free_bytes(&d) == 8 * GIB);
	assert_int_equal(device_free_milli(&d), 1000);
	d.used_bytes = 3 * GIB;
	d.used_milli = 400;
	d.info.withheld_bytes = GIB;
	assert_true(device_free_bytes(&d) == 4 * GIB);
	assert_int_equal(device_free_milli(&d), 600);
	d.info.withheld_bytes = 7 * GIB;
	d.used_milli = 1000;
	assert_true(device_free_bytes(&d) == 0);
	assert_int_equal(device_free_milli(&d), 0);
	assert_true(device_is_usable(&d));
	d.info.health = DEVICE_DEGRADED;
	assert_true(device_is_usable(&d));
	d.info.health = DEVICE_LOST;
	assert_false(device_is_usable(&d));
	d.info.health = DEVICE_OK;
	d.absent = true;
	assert_false(device_is_usable(&d));
}

static void test_cpu_set(void **state)
{
	struct cpu_set s = {0};

	(void)state;
	assert_int_equal(cpu_set_count(&s), 0);
	cpu_set_add(&s, 0);
	cpu_set_add(&s, 63);
	cpu_set_add(&s, 64);
	cpu_set_add(&s, 64);
	cpu_set_add(&s, NODE_CPUS_MAX - 1);
	cpu_set_add(&s, NODE_CPUS_MAX); /* none of ours */
	assert_int_equal(cpu_set_count(&s), 4);
	assert_true(cpu_set_has(&s, 0) && cpu_set_has(&s, 63) && cpu_set_has(&s, 64));
	assert_true(cpu_set_has(&s, NODE_CPUS_MAX - 1));
	assert_false(cpu_set_has(&s, 1));
	assert_false(cpu_set_has(&s, NODE_CPUS_MAX));
}

static void test_lists_of_nodes(void **state)
{
	(void)state;
	assert_true(node_is_listed(NULL, "n1", "") && node_is_listed("", "n1", ""));
	assert_true(node_is_listed("a,n*", "n1", "") && !node_is_listed("a,n", "n1", ""));
	assert_true(
	        node_is_listed("@big", "n1", "small,big") && !node_is_listed("@big", "big", ""));
	assert_true(node_is_listed("x,@zone=e*", "n1", "zone=eu") &&
	            !node_is_listed("@zone", "n1", "zone=eu"));
	assert_true(labels_have("", NULL) && labels_have("a", ""));
	assert_true(labels_have("a,b=c", "b=c,a") && labels_have("a,b=c", "b"));
	assert_false(labels_have("a,b=c", "b=") || labels_have("a,b=c", "a,c") ||
	             labels_have("ab", "a") || labels_have("", "a") || labels_have("b=cd", "b=c"));
}

static void test_versions_of_drivers(void **state)
{
	char text[DRIVER_TEXT];

	(void)state;
	assert_int_equal(driver_number("550.54.15"), 550054015);
	assert_int_equal(driver_number("470.82.01"), 470082001);
	assert_true(driver_number("550") == 550000000 && driver_number("") == 0 &&
	            driver_number("x") == 0);
	assert_true(driver_number("99999.1") == 999001000 &&
	            driver_number("550.54.15-beta") == 550054015);
	assert_string_equal(driver_format(550054015, text), "550.54.15");
	assert_string_equal(driver_format(550054000, text), "550.54");
	assert_string_equal(driver_format(550000000, text), "550");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_lists_of_nodes),
	        cmocka_unit_test(test_versions_of_drivers),
	        cmocka_unit_test(test_fractions),
	        cmocka_unit_test(test_fgpu),
	        cmocka_unit_test(test_memory_and_share),
	        cmocka_unit_test(test_whole),
	        cmocka_unit_test(test_instances),
	        cmocka_unit_test(test_which_device),
	        cmocka_unit_test(test_what_is_free),
	        cmocka_unit_test(test_cpu_set),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
