/* Who waits for a job, and the barrier, without a network. */
#include "rig.h"
#include "server/batch.h"
#include "server/watch.h"

#include <stdio.h>
#include <string.h>

struct seen {
	struct server *s;
	struct watch *other;
	unsigned n;
	bool keep, adds;
};

static const struct job_id one = {1, TASK_NONE}, two = {2, TASK_NONE};

static bool on_seen(struct server *s, void *data)
{
	struct seen *x = data;

	x->n++;
	if (x->other) {
		watch_remove(s, x->other);
		x->other = NULL;
	}
	if (x->adds)
		(void)watch_add(s, one, on_seen, x);
	return x->keep;
}

static void test_keep_and_end(void **state)
{
	struct server s = {0};
	struct seen kept = {.keep = true}, once = {0}, else_ = {0};
	struct watch *w;

	watch_init(&s);
	w = watch_add(&s, one, on_seen, &kept);
	(void)watch_add(&s, one, on_seen, &once);
	(void)watch_add(&s, two, on_seen, &else_);
	watch_notify(&s, one);
	watch_notify(&s, one);
	assert_int_equal(kept.n, 2);
	assert_int_equal(once.n, 1);
	assert_int_equal(else_.n, 0);
	watch_remove(&s, w);
	watch_notify(&s, one);
	assert_int_equal(kept.n, 2);
	watch_remove(&s, NULL);
	watch_done(&s);
}

static void test_changes_inside_a_callback(void **state)
{
	struct server s = {0};
	struct seen victim = {.keep = true}, killer = {0}, adder = {.adds = true};

	watch_init(&s);
	/* Called last first: the killer comes before its victim. */
	killer.other = watch_add(&s, one, on_seen, &victim);
	(void)watch_add(&s, one, on_seen, &killer);
	watch_notify(&s, one);
	assert_int_equal(killer.n, 1);
	assert_int_equal(victim.n, 0);
	/* One that is added waits for the next time. */
	(void)watch_add(&s, one, on_seen, &adder);
	watch_notify(&s, one);
	assert_int_equal(adder.n, 1);
	adder.adds = false;
	watch_notify(&s, one);
	assert_int_equal(adder.n, 2);
	watch_notify(&s, one);
	assert_int_equal(adder.n, 2);
	watch_done(&s);
}

struct order {
	char text[40];
	uint64_t committed[4]; /* seq of the store when it was called */
};
struct step {
	struct order *o;
	char name;
};

static void note(struct server *s, void *data)
{
	struct step *t = data;
	size_t n = strlen(t->o->text);

	t->o->text[n] = t->name;
	t->o->committed[n] = s->seq;
}

static bool has_all(struct rig *g, void *order)
{
	return strlen(((struct order *)order)->text) == 4;
}

static void submit(struct server *s)
{
	char *argv[] = {"x", NULL};
	struct request r = {
	        .user = "root", .queue = "default", .argv = argv, .n_argv = 1, .hold = true};
	struct applied out;
	struct err err;

	assert_int_equal(
	        server_apply(s, &(struct event){.kind = EVENT_SUBMIT, .request = &r}, &out, &err),
	        0);
}

static void test_barrier(void **state)
{
	struct rig g = {0};
	struct order o = {0};
	struct step a = {&o, 'a'}, b = {&o, 'b'}, c = {&o, 'c'}, d = {&o, 'd'};
	uint64_t seq;

	rig_begin(&g);
	rig_until(&g, is_idle, NULL);
	seq = g.s->seq;
	batch_after(g.s, note, &a); /* nothing to wait for */
	assert_string_equal(o.text, "a");
	submit(g.s);
	batch_after(g.s, note, &b);
	assert_string_equal(o.text, "a");
	batch_turn_end(g.s); /* it is on its way */
	assert_non_null(g.s->in_flight);
	assert_false(batch_is_idle(g.s));
	batch_after(g.s, note, &c); /* with what is on its way */
	submit(g.s);
	batch_after(g.s, note, &d); /* with the next */
	assert_string_equal(o.text, "a");
	rig_until(&g, has_all, &o);
	assert_string_equal(o.text, "abcd");
	assert_int_equal(o.committed[1], seq + 1);
	assert_int_equal(o.committed[2], seq + 1);
	assert_int_equal(o.committed[3], seq + 2);
	rig_end(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_keep_and_end),
	        cmocka_unit_test(test_changes_inside_a_callback),
	        cmocka_unit_test(test_barrier),
	};

	return cmocka_run_group_tests_name("server_watch", tests, NULL, NULL);
}
