#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/mem.h"
#include "sched/calibrate.h"
#include "sched/place.h"

#include <stdlib.h>
#include <string.h>

#define NODES 60
#define STEPS 4000

/* What stands where, so that it can go again. */
struct standing {
	uint32_t type;
	struct place_found at;
};

struct scene {
	struct place *p;
	unsigned short dice[3];
	uint32_t types[24];
	struct standing *standing;
	uint32_t n, cap;
};

static uint32_t throw_below(struct scene *s, uint32_t n)
{
	return (uint32_t)(nrand48(s->dice) % (long)n);
}

static uint32_t some_type(struct scene *s)
{
	struct gpu_ask gpu = {0};
	struct place_ask ask = {.gpu = &gpu};

	switch (throw_below(s, 5)) {
	case 0:
		break;
	case 1:
		gpu.count = 1 + throw_below(s, 8);
		break;
	case 2:
		gpu.mem_bytes = (1 + throw_below(s, 12)) * GIB;
		break;
	default:
		gpu.milli = 1 + throw_below(s, 999);
		break;
	}
	if (throw_below(s, 4) == 0)
		gpu.model = (char *)(uintptr_t)(throw_below(s, 2) ? "small" : "large|none");
	ask.cpu_milli = throw_below(s, 16) * 1000;
	ask.mem_bytes = throw_below(s, 64) * GIB;
	return place_type(s->p, &ask);
}

static void add_node(struct scene *s)
{
	struct place_device devices[8];
	struct place_room room = {.is_open = true,
	        .cpu_milli = 64000,
	        .free_cpu_milli = 64000,
	        .mem_bytes = 512 * GIB,
	        .free_mem_bytes = 512 * GIB,
	        .n_devices = throw_below(s, 9),
	        .devices = devices};
	struct device small = {
	        .info = {.model = "small", .mem_bytes = 8 * GIB}, .fgpu_per_device = 1};
	struct device large = {
	        .info = {.model = "large", .mem_bytes = 24 * GIB}, .fgpu_per_device = 2};

	for (uint32_t i = 0; i < room.n_devices; i++) {
		const struct device *d = throw_below(s, 3) ? &large : &small;
		devices[i] =
		        (struct place_device){place_kind(s->p, d), 1000, d->info.mem_bytes, true};
	}
	place_set_node(s->p, place_add_node(s->p), &room);
}

static void leave(struct scene *s)
{
	uint32_t i = throw_below(s, s->n);

	place_give(s->p, s->standing[i].type, &s->standing[i].at);
	s->standing[i] = s->standing[--s->n];
}

static void come(struct scene *s)
{
	struct standing v = {.type = s->types[throw_below(s, ARRAY_LEN(s->types))]};
	struct place_found slowly;
	bool found = place_find(s->p, v.type, NULL, NULL, &v.at);

	assert_int_equal(found, place_find_slowly(s->p, v.type, &slowly));
	if (!found)
		return;
	assert_int_equal(v.at.node, slowly.node);
	assert_int_equal(v.at.n_devices, slowly.n_devices);
	assert_memory_equal(
	        v.at.devices, slowly.devices, slowly.n_devices * sizeof(slowly.devices[0]));
	place_take(s->p, v.type, &v.at);
	MEM_GROW(s->standing, s->n, s->cap);
	s->standing[s->n++] = v;
}

static void live(const char *policy, unsigned short seed)
{
	struct scene s = {.p = place_new(policy), .dice = {seed, 1, 2}};

	for (int i = 0; i < NODES; i++)
		add_node(&s);
	for (size_t i = 0; i < ARRAY_LEN(s.types); i++) {
		s.types[i] = some_type(&s);
		place_count(s.p, s.types[i], 1 + throw_below(&s, 9));
	}
	for (int i = 0; i < STEPS; i++) {
		if (i % 500 == 100)
			place_learn(s.p);
		if (i % 1000 == 700)
			add_node(&s);
		if (s.n && throw_below(&s, 3) == 0)
			leave(&s);
		else
			come(&s);
	}
	assert_true(s.n > NODES);
	place_free(s.p);
	free(s.standing);
}

static void test_what_is_remembered_changes_no_answer(void **state)
{
	(void)state;
	for (uint32_t i = 0; place_policies(i); i++)
		live(place_policies(i), (unsigned short)(i + 1));
}

static struct scene asked_about(const char *policy, bool has_strangers)
{
	struct scene s = {.p = place_new(policy), .dice = {7, 1, 2}}, other = s;

	/* Whoever was only asked about, in whatever order, is not in the mix. */
	other.dice[0] = 8;
	for (int i = 0; i < NODES; i++)
		add_node(&s);
	for (int i = 0; has_strangers && i < 50; i++)
		(void)some_type(&other);
	for (size_t i = 0; i < ARRAY_LEN(s.types); i++) {
		s.types[i] = some_type(&s);
		place_count(s.p, s.types[i], 1 + throw_below(&s, 9));
	}
	place_learn(s.p);
	return s;
}

/* Fills it up, and gives everything back. */
static void try_out(struct scene *s)
{
	struct standing tried[400];
	unsigned short dice[3] = {9, 9, 9};
	uint32_t n = 0;

	for (int i = 0; i < 400; i++) {
		tried[n].type = s->types[(size_t)nrand48(dice) % ARRAY_LEN(s->types)];
		if (!place_find(s->p, tried[n].type, NULL, NULL, &tried[n].at))
			continue;
		place_take(s->p, tried[n].type, &tried[n].at);
		n++;
	}
	while (n-- > 0)
		place_give(s->p, tried[n].type, &tried[n].at);
}

static void ask_between(const char *policy)
{
	struct scene a = asked_about(policy, false), b = asked_about(policy, true);
	uint32_t n = 0;

	for (int i = 0; i < 600; i++) {
		uint32_t k = throw_below(&a, ARRAY_LEN(a.types));
		struct place_found at, again;
		bool found = place_find(a.p, a.types[k], NULL, NULL, &at);
		if (i % 20 == 0)
			try_out(&b);
		assert_int_equal(found, place_find(b.p, b.types[k], NULL, NULL, &again));
		if (!found)
			continue;
		assert_int_equal(at.node, again.node);
		assert_memory_equal(
		        at.devices, again.devices, at.n_devices * sizeof(at.devices[0]));
		place_take(a.p, a.types[k], &at);
		place_take(b.p, b.types[k], &again);
		n++;
	}
	assert_true(n > NODES);
	place_free(a.p);
	place_free(b.p);
}

static void test_questions_change_no_answer(void **state)
{
	(void)state;
	for (uint32_t i = 0; place_policies(i); i++)
		ask_between(place_policies(i));
}

static struct scene counted(unsigned short seed)
{
	struct scene s = {.p = place_new("fragment"), .dice = {seed, 1, 2}};

	for (int i = 0; i < 5; i++)
		add_node(&s);
	for (size_t i = 0; i < ARRAY_LEN(s.types); i++) {
		s.types[i] = some_type(&s);
		place_count(s.p, s.types[i], 1 + throw_below(&s, 9));
	}
	return s;
}

static void test_calibration_ends_and_leaves_the_nodes_alone(void **state)
{
	struct scene s = counted(7);
	struct calibration *c = calibration_new(s.p, 1.3, 2);
	uint32_t steps = 0;

	(void)state;
	while (calibration_step(c, 100))
		assert_true(++steps < 10000);
	assert_true(steps > 0);
	calibration_adopt(c, s.p);
	calibration_free(c);
	for (int i = 0; i < 100; i++)
		come(&s);
	assert_true(s.n > 0);
	place_free(s.p);
	free(s.standing);
}

static void test_calibration_of_nothing_is_done(void **state)
{
	struct place *p = place_new("fragment");
	struct calibration *c = calibration_new(p, 1.3, 2);

	(void)state;
	assert_false(calibration_step(c, 100));
	calibration_adopt(c, p);
	calibration_free(c);
	place_free(p);
}

static void test_an_unknown_policy(void **state)
{
	(void)state;
	assert_null(place_new("best"));
	place_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_what_is_remembered_changes_no_answer),
	        cmocka_unit_test(test_calibration_ends_and_leaves_the_nodes_alone),
	        cmocka_unit_test(test_calibration_of_nothing_is_done),
	        cmocka_unit_test(test_questions_change_no_answer),
	        cmocka_unit_test(test_an_unknown_policy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
