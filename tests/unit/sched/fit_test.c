#include "box.h"
#include "sched/lack.h"

#include <stdio.h>
#include <string.h>

#define ASK(...) ((struct gpu_ask){__VA_ARGS__})

static bool fit(struct box *b, struct gpu_ask ask, uint32_t cpus, uint64_t mem, struct placement *p)
{
	struct need need = {.gpu = &ask, .cpus = cpus, .mem_bytes = mem};
	struct room *room = room_new("pack");
	bool fits;

	memset(p, 0xaa, sizeof(*p)); /* whatever it does not fill shows */
	room_sync(room, b->w, 0);
	fits = room_fit(room, &need, p);
	room_free(room);
	return fits;
}

static void set_cpus_near(struct node *n, uint32_t device, uint32_t first, uint32_t last)
{
	for (uint32_t c = first; c <= last; c++)
		cpu_set_add(&n->devices[device].info.cpus, c);
}

static void test_only_nodes_that_take_jobs(void **state)
{
	struct box b;
	struct placement p;

	(void)state;
	box_init(&b);
	assert_false(fit(&b, ASK(), 0, 0, &p));
	box_node(&b, "n1", 4, 1, 8 * GIB);
	box_node(&b, "n2", 4, 1, 8 * GIB);
	box_apply(&b, (struct event){.kind = EVENT_NODE_DRAIN, .name = "n1"});
	assert_true(fit(&b, ASK(.milli = 1), 1, 0, &p) && p.node == 2);
	box_apply(&b, (struct event){.kind = EVENT_NODE_DOWN, .name = "n2"});
	assert_false(fit(&b, ASK(.milli = 1), 1, 0, &p));
	assert_false(fit(&b, ASK(), 0, 0, &p));
	box_apply(&b, (struct event){.kind = EVENT_NODE_RESUME, .name = "n1"});
	assert_true(fit(&b, ASK(.milli = 1), 1, 0, &p) && p.node == 1);
	box_done(&b);
}

static void test_hosts(void **state)
{
	struct box b;
	struct placement p;
	struct request r = box_request();

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 4, 0, 0); /* 64 GiB */
	assert_true(fit(&b, ASK(), 4, 64 * GIB, &p));
	assert_true(p.n_slices == 0 && p.bind_cpus && cpu_set_count(&p.cpus) == 4);
	assert_false(fit(&b, ASK(), 5, 0, &p));
	assert_false(fit(&b, ASK(), 1, 64 * GIB + 1, &p));
	r.cpus = 3;
	r.mem_bytes = 60 * GIB;
	box_start(&b, box_submit(&b, r));
	assert_true(fit(&b, ASK(), 1, 4 * GIB, &p));
	assert_false(fit(&b, ASK(), 2, 0, &p));
	assert_false(fit(&b, ASK(), 1, 5 * GIB, &p));
	/* Without a reservation there is always room. */
	assert_true(fit(&b, ASK(), 0, 0, &p) && !p.bind_cpus && cpu_set_count(&p.cpus) == 0);
	box_done(&b);
}

static void test_a_fraction_goes_where_least_is_left(void **state)
{
	struct box b;
	struct node *n1, *n2;
	struct placement p;

	(void)state;
	box_init(&b);
	n1 = box_node(&b, "n1", 8, 2, 8 * GIB);
	n2 = box_node(&b, "n2", 8, 2, 8 * GIB);
	/* All alike: the first. */
	assert_true(fit(&b, ASK(.milli = 250), 0, 0, &p) && p.node == n1->num &&
	            p.slices[0].device == 0);
	assert_true(p.slices[0].mem_bytes == 2 * GIB && p.slices[0].share_milli == 250 &&
	            p.n_slices == 1);
	n2->devices[1].used_bytes = 5 * GIB;
	n2->devices[1].used_milli = 625;
	n1->devices[1].used_bytes = 4 * GIB;
	n1->devices[1].used_milli = 500;
	assert_true(fit(&b, ASK(.milli = 250), 0, 0, &p) && p.node == n2->num &&
	            p.slices[0].device == 1);
	/* It does not fit there any more: the next best. */
	assert_true(fit(&b, ASK(.milli = 400), 0, 0, &p) && p.node == n1->num &&
	            p.slices[0].device == 1);
	assert_true(fit(&b, ASK(.milli = 600), 0, 0, &p) && p.node == n2->num &&
	            p.slices[0].device == 0);
	/* Memory is there, compute is not. */
	n2->devices[1].used_milli = 900;
	assert_true(fit(&b, ASK(.milli = 250), 0, 0, &p) && p.node == n1->num &&
	            p.slices[0].device == 1);
	/* What strangers use counts as used. */
	n1->devices[0].info.withheld_bytes = 6 * GIB;
	n1->devices[1].info.withheld_bytes = 3 * GIB;
	assert_true(fit(&b, ASK(.milli = 250), 0, 0, &p) && p.node == n1->num &&
	            p.slices[0].device == 0);
	n1->devices[0].info.withheld_bytes = 9 * GIB;
	assert_true(fit(&b, ASK(.milli = 250), 0, 0, &p) && p.node == n2->num &&
	            p.slices[0].device == 0);
	box_done(&b);
}

static void test_exactly_full(void **state)
{
	struct box b;
	struct node *n;
	struct placement p;

	(void)state;
	box_init(&b);
	n = box_node(&b, "n1", 8, 1, 8 * GIB);
	n->devices[0].used_bytes = 6 * GIB;
	n->devices[0].used_milli = 750;
	assert_true(fit(&b, ASK(.milli = 250), 0, 0, &p));
	assert_false(fit(&b, ASK(.milli = 251), 0, 0, &p));
	assert_false(fit(&b, ASK(.mem_bytes = 2 * GIB + 1, .share_milli = 1), 0, 0, &p));
	assert_true(fit(&b, ASK(.mem_bytes = 2 * GIB, .share_milli = 1), 0, 0, &p));
	assert_false(fit(&b, ASK(.mem_bytes = 1, .share_milli = 251), 0, 0, &p));
	box_done(&b);
}

static void test_whole_devices(void **state)
{
	struct box b;
	struct node *n1, *n2;
	struct placement p;

	(void)state;
	box_init(&b);
	n1 = box_node(&b, "n1", 8, 4, 8 * GIB);
	n2 = box_node(&b, "n2", 8, 2, 8 * GIB);
	/* Where fewest whole ones stay behind. */
	assert_true(fit(&b, ASK(.count = 1), 0, 0, &p) && p.node == n2->num);
	assert_true(fit(&b, ASK(.count = 2), 0, 0, &p) && p.node == n2->num && p.n_slices == 2);
	assert_true(fit(&b, ASK(.count = 3), 0, 0, &p) && p.node == n1->num && p.n_slices == 3);
	for (uint32_t i = 0; i < 3; i++)
		assert_true(p.slices[i].device == i && p.slices[i].mem_bytes == 8 * GIB &&
		            p.slices[i].share_milli == 1000);
	assert_false(fit(&b, ASK(.count = 5), 0, 0, &p));
	/* Never over two nodes, never a device of which something is taken. */
	n1->devices[1].used_milli = 1;
	n1->devices[2].info.withheld_bytes = 1;
	assert_false(fit(&b, ASK(.count = 3), 0, 0, &p));
	n2->devices[0].info.health = DEVICE_LOST;
	assert_true(fit(&b, ASK(.count = 2, .cc_min = 80), 0, 0, &p) && p.node == n1->num);
	assert_true(p.slices[0].device == 0 && p.slices[1].device == 3);
	n1->devices[0].absent = true;
	assert_true(fit(&b, ASK(.count = 1), 0, 0, &p));
	assert_false(fit(&b, ASK(.count = 2), 0, 0, &p));
	box_done(&b);
}

/* Cards for whole devices, instances for fractions; of those the one of which least stays unused. */
static void test_instances(void **state)
{
	static const char *const models[] = {
	        "H100", "H100 MIG 3g.40gb", "H100 MIG 1g.10gb", "A100"};
	static const uint64_t gib[] = {0, 39, 9, 20};
	static const uint32_t milli[] = {0, 428, 125, 0};
	struct box b;
	struct node *n;
	struct placement p;

	(void)state;
	box_init(&b);
	n = box_node(&b, "n1", 8, 4, GIB);
	for (size_t i = 0; i < 4; i++) {
		struct device_info *d = &n->devices[i].info;

		snprintf(d->model, sizeof(d->model), "%s", models[i]);
		d->mem_bytes = gib[i] * GIB;
		d->card_milli = milli[i];
	}
	assert_true(fit(&b, ASK(.count = 1), 0, 0, &p) && p.slices[0].device == 3);
	assert_false(fit(&b, ASK(.count = 2), 0, 0, &p));
	assert_true(fit(&b, ASK(.count = 2, .model = "mig"), 0, 0, &p) && p.n_slices == 2);
	assert_true(fit(&b, ASK(.milli = 100), 0, 0, &p) && p.slices[0].device == 2);
	assert_true(p.slices[0].mem_bytes == 9 * GIB && p.slices[0].share_milli == 1000);
	/* As much of an instance would be wasted as would be left of the card. */
	assert_true(fit(&b, ASK(.mem_bytes = 12 * GIB), 0, 0, &p) && p.slices[0].device == 3);
	assert_true(fit(&b, ASK(.mem_bytes = 21 * GIB), 0, 0, &p) && p.slices[0].device == 1);
	assert_true(fit(&b, ASK(.milli = 500), 0, 0, &p) && p.slices[0].device == 3);
	/* One at a time, and nobody who came without asking. */
	n->devices[2].used_bytes = 9 * GIB;
	n->devices[2].used_milli = 1000;
	assert_true(
	        fit(&b, ASK(.milli = 100, .model = "h100"), 0, 0, &p) && p.slices[0].device == 1);
	n->devices[1].info.withheld_bytes = 1;
	assert_false(fit(&b, ASK(.milli = 100, .model = "h100"), 0, 0, &p));
	n->devices[2].used_bytes = n->devices[2].used_milli = 0;
	n->devices[1].info.withheld_bytes = 0;
	box_done(&b);
}

static void test_models(void **state)
{
	struct box b;
	struct node *n;
	struct placement p;

	(void)state;
	box_init(&b);
	n = box_node(&b, "n1", 8, 3, 8 * GIB);
	strcpy(n->devices[1].info.model, "Acme H100");
	n->devices[1].info.cc = 90;
	assert_true(fit(&b, ASK(.count = 1, .model = "h100"), 0, 0, &p) && p.slices[0].device == 1);
	assert_false(fit(&b, ASK(.count = 2, .model = "h100"), 0, 0, &p));
	assert_true(fit(&b, ASK(.count = 2, .model = "a100"), 0, 0, &p) && p.slices[1].device == 2);
	assert_true(fit(&b, ASK(.milli = 500, .cc_min = 90), 0, 0, &p) && p.slices[0].device == 1);
	assert_false(fit(&b, ASK(.milli = 500, .cc_min = 100), 0, 0, &p));
	box_done(&b);
}

static void test_cpus_near_the_device(void **state)
{
	struct box b;
	struct node *n;
	struct placement p;

	(void)state;
	box_init(&b);
	n = box_node(&b, "n1", 8, 2, 8 * GIB);
	set_cpus_near(n, 0, 0, 3);
	set_cpus_near(n, 1, 4, 7);
	n->devices[0].info.health = DEVICE_LOST;
	assert_true(fit(&b, ASK(.milli = 500), 2, 0, &p));
	assert_true(
	        cpu_set_count(&p.cpus) == 2 && cpu_set_has(&p.cpus, 4) && cpu_set_has(&p.cpus, 5));
	/* Two of the near ones are taken: the rest comes from farther off. */
	cpu_set_add(&n->cpus_used, 4);
	cpu_set_add(&n->cpus_used, 6);
	n->n_cpus_used = 2;
	assert_true(fit(&b, ASK(.milli = 500), 3, 0, &p));
	assert_true(cpu_set_count(&p.cpus) == 3 && cpu_set_has(&p.cpus, 5) &&
	            cpu_set_has(&p.cpus, 7) && cpu_set_has(&p.cpus, 0));
	/* Of two devices: near either. */
	n->devices[0].info.health = DEVICE_OK;
	assert_true(fit(&b, ASK(.count = 2), 6, 0, &p) && cpu_set_count(&p.cpus) == 6);
	assert_false(cpu_set_has(&p.cpus, 4) || cpu_set_has(&p.cpus, 6));
	assert_false(fit(&b, ASK(.count = 2), 7, 0, &p));
	box_done(&b);
}

static void test_without_a_gpu(void **state)
{
	struct box b;
	struct node *few, *none, *busy;
	struct placement p;

	(void)state;
	box_init(&b);
	few = box_node(&b, "few", 4, 1, 8 * GIB);
	none = box_node(&b, "none", 16, 0, 0);
	busy = box_node(&b, "busy", 16, 0, 0);
	(void)few;
	/* Away from devices, and then where fewest CPUs are left. */
	assert_true(fit(&b, ASK(), 1, 0, &p) && p.node == none->num);
	busy->n_cpus_used = 10;
	assert_true(fit(&b, ASK(), 1, 0, &p) && p.node == busy->num);
	assert_true(fit(&b, ASK(), 7, 0, &p) && p.node == none->num);
	busy->n_cpus_used = 0;
	box_done(&b);
}

static void test_taking_makes_room_smaller(void **state)
{
	struct box b;
	struct gpu_ask ask = {.milli = 400};
	struct need need = {.gpu = &ask, .cpus = 1, .mem_bytes = GIB};
	struct placement p;
	struct room *room = room_new("pack");
	int n = 0;

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 8, 2, 8 * GIB);
	room_sync(room, b.w, 0);
	while (room_fit(room, &need, &p) && n < 100) {
		/* Two on each device, one device after the other, a CPU of its own for each. */
		assert_int_equal(p.slices[0].device, n / 2);
		assert_true(cpu_set_has(&p.cpus, (uint32_t)n));
		room_take(room, &need, &p);
		n++;
	}
	assert_int_equal(n, 4);
	assert_int_equal(
	        world_find_node(b.w, "n1")->devices[0].used_milli, 0); /* the world is as it was */
	room_sync(room, b.w, 0); /* and nothing of it was started */
	assert_true(room_fit(room, &need, &p) && p.slices[0].device == 0);
	room_free(room);
	box_done(&b);
}

/* Where MPS holds fractions, a device is one account's at a time: now, within a plan, and where a place is kept. */
static void test_one_account_where_mps_holds(void **state)
{
	struct gpu_ask ask = {.milli = 250}, one = {.count = 1};
	struct need ada = {.gpu = &ask, .user = "ada"}, grace = {.gpu = &ask, .user = "grace"},
	            whole = {.gpu = &one, .user = "grace"};
	struct request r = box_request();
	struct room *room = room_new("pack");
	struct reservation kept;
	struct room_view v;
	struct placement p;
	struct job *j;
	struct node *n;
	struct box b;
	char text[200];

	(void)state;
	box_init(&b);
	n = box_node(&b, "n1", 8, 2, 8 * GIB);
	r.gpu = ask;
	r.user = (char *)(uintptr_t) "ada";
	j = box_submit(&b, r);
	box_start_on(&b, j, 2 * GIB, 250);
	room_sync(room, b.w, 0);
	assert_true(room_fit(room, &grace, &p) && p.slices[0].device == 0);
	n->devices[0].info.held_by = n->devices[1].info.held_by = HELD_BY_MPS;
	n->changed = ++b.w->node_changes;
	room_sync(room, b.w, 0);
	assert_true(room_fit(room, &ada, &p) && p.slices[0].device == 0);
	assert_true(room_fit(room, &whole, &p) && p.slices[0].device == 1);
	for (int i = 0; i < 4; i++) {
		assert_true(room_fit(room, &grace, &p) && p.slices[0].device == 1);
		room_take(room, &grace, &p);
	}
	assert_false(room_fit(room, &grace, &p));
	assert_true(room_fit(room, &ada, &p) && p.slices[0].device == 0);
	/* A plan later that is as it was. */
	room_sync(room, b.w, 0);
	assert_true(room_fit(room, &ada, &p) && p.slices[0].device == 0);
	n->devices[1].info.health = DEVICE_LOST;
	n->changed = ++b.w->node_changes;
	room_sync(room, b.w, 0);
	assert_false(room_fit(room, &grace, &p));
	assert_true(room_look(room, 0, &v) && node_lack(n, v.now, &grace, text, sizeof(text)));
	assert_string_equal(
	        text, "MPS serves one account on a device at a time; on n1 now jobs of ada");
	assert_false(node_is_fragmented(n, v.now, &grace, text, sizeof(text)));
	/* Kept for grace, it is ada's no more. */
	assert_true(room_reserve(room, &grace, 0, false, &kept));
	assert_false(room_fit(room, &ada, &p));
	box_end(&b, j, REASON_CANCELLED);
	room_sync(room, b.w, 0);
	assert_true(room_fit(room, &grace, &p) && p.slices[0].device == 0);
	room_free(room);
	box_done(&b);
}

static void could(struct node *n, struct gpu_ask ask, uint32_t cpus, uint64_t mem, bool expected)
{
	struct need need = {.gpu = &ask, .cpus = cpus, .mem_bytes = mem};

	assert_int_equal(node_could(n, &need), expected);
}

static void test_what_a_node_could_take_if_it_were_empty(void **state)
{
	struct box b;
	struct node *n;

	(void)state;
	box_init(&b);
	n = box_node(&b, "n1", 4, 2, 8 * GIB);
	n->devices[0].used_milli = 1000;
	n->devices[0].info.withheld_bytes = 8 * GIB;
	could(n, ASK(.count = 2), 4, 64 * GIB, true);
	could(n, ASK(.count = 3), 0, 0, false);
	could(n, ASK(), 5, 0, false);
	could(n, ASK(), 0, 65 * GIB, false);
	could(n, ASK(.mem_bytes = 8 * GIB), 0, 0, true);
	could(n, ASK(.mem_bytes = 8 * GIB + 1), 0, 0, false);
	could(n, ASK(.count = 1, .model = "h100"), 0, 0, false);
	could(n, ASK(.milli = 500, .cc_min = 80), 0, 0, true);
	n->devices[0].used_milli = 0;
	n->devices[1].absent = true;
	could(n, ASK(.count = 2), 0, 0, false);
	n->devices[1].absent = false;
	box_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_only_nodes_that_take_jobs),
	        cmocka_unit_test(test_hosts),
	        cmocka_unit_test(test_a_fraction_goes_where_least_is_left),
	        cmocka_unit_test(test_exactly_full),
	        cmocka_unit_test(test_whole_devices),
	        cmocka_unit_test(test_instances),
	        cmocka_unit_test(test_models),
	        cmocka_unit_test(test_cpus_near_the_device),
	        cmocka_unit_test(test_without_a_gpu),
	        cmocka_unit_test(test_taking_makes_room_smaller),
	        cmocka_unit_test(test_one_account_where_mps_holds),
	        cmocka_unit_test(test_what_a_node_could_take_if_it_were_empty),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
