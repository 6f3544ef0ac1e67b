#include "box.h"

#include <stdio.h>
#include <string.h>

static struct device_info info_of(const struct node *n, uint32_t i)
{
	return n->devices[i].info;
}

static void tell(struct box *b, const char *node, struct device_info info)
{
	box_apply(b, (struct event){
	                     .kind = EVENT_DEVICE, .name = node, .devices = &info, .n_devices = 1});
}

static void test_inventory(void **state)
{
	struct box b;
	struct node *n;

	(void)state;
	box_init(&b);
	n = box_node(&b, "n1", 4, 2, 8 * GIB);
	assert_true(b.out.is_new && b.out.num == 1 && n->num == 1);
	assert_true(n->state == NODE_UP && n->n_cpus == 4 && n->n_devices == 2 && n->is_local);
	assert_true(n->seen_mono_ms == b.now.mono_ms && b.w->plan_wanted && b.w->n_nodes == 1);
	assert_string_equal(n->boot_id, "boot");
	assert_ptr_equal(box_node(&b, "n1", 8, 1, 8 * GIB), n);
	assert_true(!b.out.is_new && b.out.num == 1);
	assert_true(n->n_cpus == 8 && n->n_devices == 2 && n->devices[1].absent &&
	            !n->devices[0].absent);
	/* Who is told of is there. */
	tell(&b, "n1", info_of(n, 1));
	assert_false(n->devices[1].absent);
	box_node(&b, "n1", 8, 2, 16 * GIB);
	assert_true(!n->devices[1].absent && n->devices[1].info.mem_bytes == 16 * GIB);
	assert_int_equal(box_node(&b, "n2", 4, 0, 0)->num, 2);
	assert_ptr_equal(world_find_node_num(b.w, 2), world_find_node(b.w, "n2"));
	assert_null(world_find_node(b.w, "n3"));
	assert_null(world_find_node_num(b.w, 3));
	box_done(&b);
}

static void test_states(void **state)
{
	static const enum event_kind kinds[] = {
	        EVENT_NODE_DOWN, EVENT_NODE_DRAIN, EVENT_NODE_RESUME, EVENT_DEVICE};
	struct box b;
	struct node *n;
	struct job *j;

	(void)state;
	box_init(&b);
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		box_refuse(&b, (struct event){.kind = kinds[i], .name = "nowhere"}, ERR_NOT_FOUND,
		        "node 'nowhere' is not known");
	n = box_node(&b, "n1", 4, 0, 0);
	j = box_run(&b, box_submit_plain(&b));
	box_apply(&b, (struct event){.kind = EVENT_NODE_DRAIN, .name = "n1"});
	assert_true(n->drained && n->state == NODE_UP);
	box_apply(&b, (struct event){.kind = EVENT_NODE_DOWN, .name = "n1"});
	assert_true(n->state == NODE_DOWN);
	/* What runs goes on: its keeper lives. */
	assert_int_equal(j->state, JOB_RUNNING);
	box_node(&b, "n1", 4, 0, 0);
	assert_true(n->state == NODE_UP && n->drained);
	box_apply(&b, (struct event){.kind = EVENT_NODE_RESUME, .name = "n1"});
	assert_false(n->drained);
	box_exit(&b, j, 0);
	box_done(&b);
}

static void test_loaded_from_the_store(void **state)
{
	struct box b;
	struct node stored = {.num = 7, .name = "n7", .drained = true, .boot_id = "old"};
	struct node *n;

	(void)state;
	box_init(&b);
	box_apply(&b, (struct event){.kind = EVENT_NODE_UP, .node = &stored, .force = true});
	n = world_find_node(b.w, "n7");
	assert_true(n->num == 7 && n->drained && n->state == NODE_DOWN && b.w->next_node == 8);
	assert_string_equal(n->boot_id, "old");
	box_node(&b, "n7", 1, 0, 0);
	assert_true(n->state == NODE_UP && n->drained && n->num == 7);
	assert_int_equal(box_node(&b, "n8", 1, 0, 0)->num, 8);
	box_done(&b);
}

static void test_a_lost_device_ends_its_jobs(void **state)
{
	struct box b;
	struct node *n;
	struct device_info info;
	struct job *on_it, *beside, *cancelled;
	struct request r = box_request();

	(void)state;
	box_init(&b);
	n = box_node(&b, "n1", 8, 2, 8 * GIB);
	on_it = box_start_on(&b, box_submit_plain(&b), 2 * GIB, 250);
	box_started(&b, on_it);
	cancelled = box_start_on(&b, box_submit(&b, r), 2 * GIB, 250);
	box_cancel(&b, cancelled->id);
	beside = box_run(&b, box_submit_plain(&b));
	info = info_of(n, 0);
	info.health = DEVICE_LOST;
	snprintf(info.health_text, sizeof(info.health_text), "XID 79: has fallen off the bus");
	tell(&b, "n1", info);
	box_expect(on_it, JOB_COMPLETING, REASON_DEVICE_LOST);
	assert_string_equal(on_it->transitions[on_it->n_transitions - 1].text, info.health_text);
	assert_int_equal(box_effect(&b, EFFECT_STOP, on_it->id)->reason, REASON_DEVICE_LOST);
	assert_int_equal(beside->state, JOB_RUNNING);
	assert_int_equal(cancelled->stop_reason, REASON_CANCELLED);
	/* Told again, nothing happens again. */
	tell(&b, "n1", info);
	assert_int_equal(b.fx.n, 0);
	/* It is started again elsewhere; what the user cancelled is not. */
	box_end(&b, on_it, REASON_CANCELLED);
	box_expect(on_it, JOB_PENDING, REASON_DEVICE_LOST);
	assert_int_equal(on_it->attempts[0].state, JOB_NODE_FAIL);
	box_end(&b, cancelled, REASON_CANCELLED);
	assert_int_equal(cancelled->state, JOB_CANCELLED);
	assert_false(device_is_usable(&n->devices[0]));
	info.health = DEVICE_OK;
	b.w->plan_wanted = false;
	tell(&b, "n1", info);
	assert_true(device_is_usable(&n->devices[0]) && b.w->plan_wanted);
	box_done(&b);
}

static void test_memory_of_strangers_is_withheld(void **state)
{
	struct box b;
	struct node *n;
	struct device_info info;

	(void)state;
	box_init(&b);
	n = box_node(&b, "n1", 8, 1, 8 * GIB);
	box_start_on(&b, box_submit_plain(&b), 2 * GIB, 250);
	info = info_of(n, 0);
	info.withheld_bytes = 5 * GIB;
	tell(&b, "n1", info);
	assert_true(device_free_bytes(&n->devices[0]) == GIB);
	info.withheld_bytes = 7 * GIB; /* more than is there: the ledger stays as it is */
	tell(&b, "n1", info);
	assert_true(device_free_bytes(&n->devices[0]) == 0 && n->devices[0].used_bytes == 2 * GIB);
	snprintf(info.uuid, sizeof(info.uuid), "unknown");
	tell(&b, "n1", info);
	assert_int_equal(n->n_devices, 1);
	box_done(&b);
}

static void test_a_device_that_shrinks(void **state)
{
	struct box b;
	struct node *n;
	struct device_info info;
	struct job *j;

	(void)state;
	box_init(&b);
	n = box_node(&b, "n1", 8, 1, 8 * GIB);
	j = box_start_on(&b, box_submit_plain(&b), 6 * GIB, 750);
	info = info_of(n, 0);
	info.mem_bytes = 4 * GIB;
	tell(&b, "n1", info);
	assert_true(n->devices[0].shrunk && device_free_bytes(&n->devices[0]) == 0);
	box_exit(&b, j, 0);
	assert_true(!n->devices[0].shrunk && device_free_bytes(&n->devices[0]) == 4 * GIB);
	box_done(&b);
}

static void test_absent_devices_keep_their_jobs_and_then_their_place(void **state)
{
	struct box b;
	struct node *n;
	struct job *j;
	struct node up = {.name = "n1", .boot_id = "b"};
	struct device_info v[NODE_DEVICES_MAX + 3] = {0};
	struct event e = {
	        .kind = EVENT_NODE_UP, .node = &up, .devices = v, .n_devices = NODE_DEVICES_MAX};

	(void)state;
	box_init(&b);
	for (uint32_t i = 0; i < 8; i++)
		cpu_set_add(&up.cpus, i);
	for (uint32_t i = 0; i < ARRAY_LEN(v); i++) {
		v[i].mem_bytes = 8 * GIB;
		snprintf(v[i].uuid, sizeof(v[i].uuid), "old-%u", i);
	}
	box_apply(&b, e);
	n = world_find_node(b.w, "n1");
	assert_int_equal(n->n_devices, NODE_DEVICES_MAX);
	j = box_start_on(&b, box_submit_plain(&b), GIB, 10);
	/* All devices are exchanged, and there are more than there is room for. */
	for (uint32_t i = 0; i < ARRAY_LEN(v); i++)
		snprintf(v[i].uuid, sizeof(v[i].uuid), "new-%u", i);
	e.n_devices = ARRAY_LEN(v);
	box_apply(&b, e);
	assert_int_equal(n->n_devices, NODE_DEVICES_MAX);
	assert_string_equal(n->devices[0].info.uuid, "old-0");
	assert_true(n->devices[0].absent && n->devices[0].used_bytes == GIB);
	assert_int_equal(j->state, JOB_STARTING);
	for (uint32_t i = 1; i < NODE_DEVICES_MAX; i++)
		assert_true(
		        strncmp(n->devices[i].info.uuid, "new-", 4) == 0 && !n->devices[i].absent);
	box_exit(&b, j, 0);
	box_apply(&b, e);
	assert_string_equal(n->devices[0].info.uuid, "new-63");
	box_done(&b);
}

static void test_fgpu_by_model(void **state)
{
	struct policy_model models[] = {{"h100", 7}, {"a100", 4}};
	struct policy p = {.fgpu_per_device = 2, .models = models, .n_models = 2};
	struct box b;
	struct node *n;

	(void)state;
	box_init(&b);
	world_free(b.w);
	b.w = world_new(&p);
	n = box_node(&b, "n1", 1, 1, 8 * GIB); /* BOX_MODEL */
	assert_int_equal(n->devices[0].fgpu_per_device, 4);
	struct device_info info = info_of(n, 0);
	snprintf(info.model, sizeof(info.model), "something else");
	tell(&b, "n1", info);
	assert_int_equal(n->devices[0].fgpu_per_device, 2);
	b.w->policy.fgpu_per_device = 0;
	tell(&b, "n1", info);
	assert_int_equal(n->devices[0].fgpu_per_device, 1);
	box_done(&b);
}

static void test_queues(void **state)
{
	struct box b;
	struct queue set = {.name = "fast",
	        .priority = 3,
	        .default_cpus = 2,
	        .time_limit_ms = 4,
	        .default_time_ms = 5,
	        .default_retry = 6,
	        .configured = true};
	struct queue *q;

	(void)state;
	box_init(&b);
	box_refuse(&b, (struct event){.kind = EVENT_QUEUE_PAUSE, .name = "fast"}, ERR_NOT_FOUND,
	        "queue 'fast' does not exist");
	box_refuse(&b, (struct event){.kind = EVENT_QUEUE_RESUME, .name = "fast"}, ERR_NOT_FOUND,
	        "queue 'fast' does not exist");
	box_apply(&b, (struct event){.kind = EVENT_QUEUE_SET, .queue = &set});
	q = world_find_queue(b.w, "fast");
	assert_true(q->priority == 3 && q->default_cpus == 2 && q->time_limit_ms == 4 &&
	            q->default_time_ms == 5 && q->default_retry == 6 && q->configured &&
	            !q->paused);
	box_apply(&b, (struct event){.kind = EVENT_QUEUE_PAUSE, .name = "fast"});
	assert_true(q->paused);
	/* Reading the configuration again does not undo a command. */
	set.priority = 1;
	box_apply(&b, (struct event){.kind = EVENT_QUEUE_SET, .queue = &set});
	assert_true(q->paused && q->priority == 1);
	box_apply(&b, (struct event){.kind = EVENT_QUEUE_RESUME, .name = "fast"});
	assert_false(q->paused);
	assert_ptr_equal(world_find_queue(b.w, "fast"), q);
	box_done(&b);
}

static void test_queue_set_over(void **state)
{
	struct box b;
	struct queue set = {.name = "night",
	        .default_cpus = 1,
	        .max_running = 2,
	        .configured = true,
	        .nodes = "n1",
	        .overlay = "{max_running: 2}"};
	struct queue *q;

	(void)state;
	box_init(&b);
	b.w->plan_wanted = false;
	box_apply(&b, (struct event){.kind = EVENT_QUEUE_SET, .queue = &set});
	q = world_find_queue(b.w, "night");
	assert_string_equal(q->overlay, "{max_running: 2}");
	assert_string_equal(q->nodes, "n1");
	assert_true(b.w->plan_wanted);
	set.overlay = NULL;
	set.max_running = 0;
	box_apply(&b, (struct event){.kind = EVENT_QUEUE_SET, .queue = &set});
	assert_true(!q->overlay && q->max_running == 0);
	box_done(&b);
}

static void test_queue_removed(void **state)
{
	struct request r = box_request();
	struct box b;
	struct queue set = {.name = "night",
	        .default_cpus = 1,
	        .max_running = 2,
	        .configured = true,
	        .overlay = "{max_running: 2}"};
	struct queue *q;
	struct job *j;

	(void)state;
	box_init(&b);
	box_refuse(&b, (struct event){.kind = EVENT_QUEUE_REMOVE, .name = "night"}, ERR_NOT_FOUND,
	        "queue 'night' does not exist");
	box_apply(&b, (struct event){.kind = EVENT_QUEUE_SET, .queue = &set});
	box_apply(&b, (struct event){.kind = EVENT_QUEUE_PAUSE, .name = "night"});
	r.queue = "night";
	j = box_submit(&b, r);
	box_refuse(&b, (struct event){.kind = EVENT_QUEUE_REMOVE, .name = "night"}, ERR_CONFLICT,
	        "queue 'night' still has jobs that wait or run: 1");
	box_apply(&b, (struct event){.kind = EVENT_HOLD, .id = j->id});
	box_refuse(&b, (struct event){.kind = EVENT_QUEUE_REMOVE, .name = "night"}, ERR_CONFLICT,
	        "queue 'night' still has jobs that wait or run: 1");
	q = world_find_queue(b.w, "night");
	assert_true(q->configured && q->paused && q->max_running == 2);
	box_apply(
	        &b, (struct event){.kind = EVENT_CANCEL, .id = j->id, .reason = REASON_CANCELLED});
	box_apply(&b, (struct event){.kind = EVENT_QUEUE_REMOVE, .name = "night"});
	assert_false(q->configured || q->paused || q->max_running || q->overlay);
	box_done(&b);
}

static void test_tokens(void **state)
{
	struct box b;
	struct token t = {.name = "ci",
	        .hash = {1, 2, 3},
	        .role = ROLE_AGENT,
	        .user = "ada",
	        .made_ms = 5,
	        .expires_ms = 6};
	uint8_t other[32] = {1, 2, 4};

	(void)state;
	box_init(&b);
	box_apply(&b, (struct event){.kind = EVENT_TOKEN_ADD, .token = &t});
	assert_true(b.out.num == 1 && b.out.is_new);
	box_refuse(&b, (struct event){.kind = EVENT_TOKEN_ADD, .token = &t}, ERR_CONFLICT,
	        "'ci' exists already");
	const struct token *found = world_find_token(b.w, t.hash);
	assert_string_equal(found->name, "ci");
	assert_true(found->role == ROLE_AGENT && found->num == 1);
	assert_null(world_find_token(b.w, other));
	/* A stored one brings its number. */
	snprintf(t.name, sizeof(t.name), "stored");
	t.num = 9;
	box_apply(&b, (struct event){.kind = EVENT_TOKEN_ADD, .token = &t});
	assert_int_equal(b.w->next_token, 10);
	box_apply(&b, (struct event){.kind = EVENT_TOKEN_REMOVE, .name = "ci"});
	assert_int_equal(b.out.num, 1);
	box_refuse(&b, (struct event){.kind = EVENT_TOKEN_REMOVE, .name = "ci"}, ERR_NOT_FOUND,
	        "no token is named 'ci'");
	box_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_inventory),
	        cmocka_unit_test(test_states),
	        cmocka_unit_test(test_loaded_from_the_store),
	        cmocka_unit_test(test_a_lost_device_ends_its_jobs),
	        cmocka_unit_test(test_memory_of_strangers_is_withheld),
	        cmocka_unit_test(test_a_device_that_shrinks),
	        cmocka_unit_test(test_absent_devices_keep_their_jobs_and_then_their_place),
	        cmocka_unit_test(test_fgpu_by_model),
	        cmocka_unit_test(test_queues),
	        cmocka_unit_test(test_queue_set_over),
	        cmocka_unit_test(test_queue_removed),
	        cmocka_unit_test(test_tokens),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
