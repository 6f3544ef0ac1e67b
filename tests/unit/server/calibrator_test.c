/* Settings tried beside the loop: taken over and recorded, and given up when the server ends. */
#include "rig.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "plat/fs.h"

#define LEARN    "\"is\":\"learn\""
#define ADOPT    "\"is\":\"adopt\""
#define FRACTION "{\"command\":[\"x\"],\"gpu\":\"0.001\"}"

static struct buf read_recording(const struct rig *g)
{
	struct buf text = BUF_INIT(16 * MIB);
	char path[128];
	struct err err;

	snprintf(path, sizeof(path), "%s/recording", g->dir);
	assert_int_equal(fs_read(path, &text, &err), 0);
	return text;
}

static bool is_recorded(const struct rig *g, const char *line)
{
	CLEANUP_BUF struct buf text = read_recording(g);

	return strstr(buf_str(&text), line);
}

static bool is_learned(struct rig *g, void *unused)
{
	return is_recorded(g, LEARN);
}

static bool is_adopted(struct rig *g, void *unused)
{
	return is_recorded(g, ADOPT);
}

static int count_adopted(const struct rig *g)
{
	CLEANUP_BUF struct buf text = read_recording(g);
	int n = 0;

	for (const char *p = buf_str(&text); (p = strstr(p, ADOPT)) != NULL; p++)
		n++;
	return n;
}

/* A server that is about to learn the mix for the first time, and has done so when this returns. */
static void begin(struct rig *g, const char *calibrate)
{
	rig_set("SERVER_RECORD", "recording");
	rig_set("SCHED_CALIBRATE", calibrate);
	rig_begin(g);
	agent_link(g);
	g->s->n_placed = 499;
	rig_submit(g, FRACTION);
	rig_until(g, is_learned, NULL);
}

static void test_its_result_is_taken_over_and_plans_go_on(void **state)
{
	struct rig g = {0};

	(void)state;
	begin(&g, "1h");
	rig_run(&g, "{\"command\":[\"x\"],\"gpu\":\"0.3\"}", 0);
	rig_until(&g, is_adopted, NULL);
	rig_run(&g, "{\"command\":[\"x\"],\"gpu\":\"0.3\"}", 0);
	/* Not again within the hour, whatever comes. */
	g.s->n_placed = 499;
	rig_run(&g, "{\"command\":[\"x\"],\"gpu\":\"0.7\"}", 0);
	assert_int_equal(g.s->n_placed, 0);
	rig_until(&g, is_idle, NULL);
	assert_int_equal(count_adopted(&g), 1);
	rig_end(&g);
}

static void test_the_server_ends_meanwhile(void **state)
{
	struct rig g = {0};

	(void)state;
	begin(&g, "1h");
	assert_non_null(g.s->calibrator);
	rig_close(&g);
	assert_false(is_adopted(&g, NULL));
	rig_open(&g);
	assert_null(g.s->calibrator);
	rig_end(&g);
}

static void test_off_is_off(void **state)
{
	struct rig g = {0};

	(void)state;
	begin(&g, "0");
	assert_null(g.s->calibrator);
	rig_end(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_its_result_is_taken_over_and_plans_go_on),
	        cmocka_unit_test(test_the_server_ends_meanwhile),
	        cmocka_unit_test(test_off_is_off),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
