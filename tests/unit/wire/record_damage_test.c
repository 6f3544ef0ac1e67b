/*
 * Bytes that are damaged are refused or do no harm: after any cut and any flipped bit a whole world is loaded from the
 * records, checked, and lived in.
 */
#include "box.h"
#include "base/mem.h"
#include "wire/record.h"

#include <stdlib.h>
#include <string.h>

#define ROWS_MAX 64

/* What a store would hold of the jobs of a world, parents before their tasks. */
struct image {
	struct buf bytes;
	struct {
		struct job_id id;
		size_t at, len;
	} rows[ROWS_MAX];
	size_t n;
};

static void image_take(struct image *m, const struct world *w)
{
	m->bytes = BUF_INIT(16 * MIB);
	m->n = 0;
	for (const struct job *j = world_next_job(w, NULL); j; j = world_next_job(w, j)) {
		assert_true(m->n < ROWS_MAX);
		m->rows[m->n].id = j->id;
		m->rows[m->n].at = m->bytes.len;
		record_put_job(&m->bytes, j);
		m->rows[m->n].len = m->bytes.len - m->rows[m->n].at;
		m->n++;
	}
}

/* Loads all rows, of row `k` the given bytes instead; 0, or how it was refused. */
static int image_load(
        const struct image *m, struct world *w, size_t k, const uint8_t *data, size_t len)
{
	struct err err;
	int rc = 0;

	for (size_t i = 0; i < m->n && rc == 0; i++) {
		const struct job *parent = NULL;
		struct job *j;
		if (m->rows[i].id.task != TASK_NONE)
			parent = world_find_job(w, (struct job_id){m->rows[i].id.num, TASK_NONE});
		rc = record_get_job(i == k ? data : m->bytes.data + m->rows[i].at,
		        i == k ? len : m->rows[i].len, parent, &j, &err);
		if (rc == 0)
			rc = world_adopt_job(w, j, &err);
	}
	return rc ? rc : world_adopted(w, &err);
}

/* A busy little world: jobs in every state, arrays in the middle, dependencies, back-off, throttle. */
static void make_world(struct box *b)
{
	struct request r = box_request();
	struct array_range range = {0, 9, 1};
	struct dep deps[] = {{DEP_AFTER_OK, {1, TASK_NONE}}, {DEP_AFTER, {2, TASK_NONE}}};
	struct placement p = {.node = 1,
	        .n_slices = 1,
	        .slices = {{.mem_bytes = GIB, .share_milli = 100}},
	        .bind_cpus = true};
	struct job *a, *t;

	box_init(b);
	box_node(b, "n1", 16, 2, 8 * GIB);
	box_submit_plain(b);
	p.id = box_submit_plain(b)->id;
	cpu_set_add(&p.cpus, 9);
	box_apply(b, (struct event){.kind = EVENT_START, .placement = &p});
	box_started(b, box_find(b, 2, TASK_NONE));
	r.deps = deps;
	r.n_deps = 2;
	r.hold = true;
	r.idempotency_key = "key";
	box_submit(b, r);
	box_job_in(b, JOB_FAILED);
	box_job_in(b, JOB_COMPLETING);
	box_lose(b, box_run(b, box_submit_plain(b)), REASON_NODE_LOST);
	r = box_request();
	r.ranges = &range;
	r.n_ranges = 1;
	r.throttle = 2;
	a = box_submit(b, r);
	box_cancel(b, (struct job_id){a->id.num, 5});
	t = box_run(b, a);
	box_exit(b, t, 3);
	box_run(b, a);
	box_apply(b, (struct event){.kind = EVENT_RETRY, .id = t->id});
	a = box_submit_array(b, 0, 4, 0);
	box_run(b, a);
	box_cancel(b, a->id);
	a = box_submit_array(b, 0, 2, 0);
	box_exit(b, box_run(b, a), 1);
	box_cancel(b, a->id);
}

static void make_empty(struct box *b)
{
	box_init(b);
	box_node(b, "n1", 16, 2, 8 * GIB);
}

static void test_a_world_comes_back(void **state)
{
	struct box from, to;
	struct image m, again;

	(void)state;
	make_world(&from);
	make_empty(&to);
	image_take(&m, from.w);
	assert_int_equal(image_load(&m, to.w, SIZE_MAX, NULL, 0), 0);
	assert_int_equal(world_check(to.w, &to.err), 0);
	image_take(&again, to.w);
	assert_int_equal(again.n, m.n);
	assert_int_equal(again.bytes.len, m.bytes.len);
	assert_memory_equal(again.bytes.data, m.bytes.data, m.bytes.len);
	assert_int_equal(world_find_idem(to.w, "ada", "key"), 3);
	for (const struct job *j = world_next_job(from.w, NULL); j; j = world_next_job(from.w, j)) {
		const struct job *k = world_find_job(to.w, j->id);
		if (k->wait != j->wait)
			fail_msg("job %llu_%lld waits for %d, not %d",
			        (unsigned long long)j->id.num, (long long)j->id.task, (int)k->wait,
			        (int)j->wait);
		assert_int_equal(k->n_slices, j->n_slices);
		assert_int_equal(k->cpus != NULL, j->cpus != NULL);
	}
	assert_memory_equal(&world_find_node(to.w, "n1")->cpus_used,
	        &world_find_node(from.w, "n1")->cpus_used, sizeof(struct cpu_set));
	buf_done(&m.bytes);
	buf_done(&again.bytes);
	box_done(&from);
	box_done(&to);
}

/* All that lives is cancelled and ended: what was loaded can be worked with. */
static void live_on(struct world *w)
{
	struct attempt_end end = {.reason = REASON_EXITED, .has_code = true, .exit_code = 1};
	struct now now = {BOX_WALL_MS + 100000, 1};
	struct effects fx = {0};
	struct applied out;
	struct err err;

	(void)!core_apply(w, &(struct event){.kind = EVENT_TICK}, now, &fx, &out, &err);
	for (struct job *j = world_next_job(w, NULL); j; j = world_next_job(w, j)) {
		struct event e = {.kind = EVENT_CANCEL,
		        .id = j->id,
		        .epoch = j->epoch,
		        .reason = REASON_CANCELLED,
		        .end = &end};
		(void)!core_apply(w, &e, now, &fx, &out, &err);
		e.kind = EVENT_ENDED;
		(void)!core_apply(w, &e, now, &fx, &out, &err);
	}
	if (world_check(w, &err))
		fail_msg("afterwards: %s", err.text);
	for (struct job *j = world_next_job(w, NULL); j; j = world_next_job(w, j)) {
		struct event e = {.kind = EVENT_RETRY, .id = j->id};
		(void)!core_apply(w, &e, now, &fx, &out, &err);
		(void)job_name(j);
		(void)job_result_code(j);
	}
	if (world_check(w, &err))
		fail_msg("afterwards: %s", err.text);
	effects_done(&fx);
}

/* Loads the image with row k damaged. True when it was refused. */
static bool load_damaged(const struct image *m, size_t k, const uint8_t *data, size_t len)
{
	struct box b;
	bool refused;

	make_empty(&b);
	refused = image_load(m, b.w, k, data, len) != 0;
	if (!refused) {
		if (world_check(b.w, &b.err))
			fail_msg("row %zu: %s", k, b.err.text);
		live_on(b.w);
	}
	box_done(&b);
	return refused;
}

static void test_every_cut(void **state)
{
	struct box b;
	struct image m;
	size_t refused = 0, all = 0;

	(void)state;
	make_world(&b);
	image_take(&m, b.w);
	for (size_t k = 0; k < m.n; k++)
		for (size_t len = 0; len < m.rows[k].len; len++) {
			uint8_t *cut = mem_dup(m.bytes.data + m.rows[k].at, len);
			refused += load_damaged(&m, k, cut, len);
			all++;
			free(cut);
		}
	/* A job ends with its request, a task with its last transition: most cuts are seen, none does harm. */
	assert_true(refused > all / 2);
	buf_done(&m.bytes);
	box_done(&b);
}

static void test_every_flipped_bit(void **state)
{
	struct box b;
	struct image m;
	size_t refused = 0;

	(void)state;
	make_world(&b);
	image_take(&m, b.w);
	for (size_t k = 0; k < m.n; k++) {
		uint8_t *copy = mem_dup(m.bytes.data + m.rows[k].at, m.rows[k].len);
		for (size_t bit = 0; bit < 8 * m.rows[k].len; bit++) {
			copy[bit / 8] ^= (uint8_t)(1 << (bit % 8));
			refused += load_damaged(&m, k, copy, m.rows[k].len);
			copy[bit / 8] ^= (uint8_t)(1 << (bit % 8));
		}
		free(copy);
	}
	assert_true(refused > 1000);
	buf_done(&m.bytes);
	box_done(&b);
}

/* Several bytes at once, by a fixed sequence. */
static void test_many_damages(void **state)
{
	uint64_t seed = 88172645463325252ULL;
	struct box b;
	struct image m;
	size_t refused = 0;

	(void)state;
	make_world(&b);
	image_take(&m, b.w);
	for (int round = 0; round < 3000; round++) {
		size_t k = (size_t)round % m.n;
		uint8_t *copy = mem_dup(m.bytes.data + m.rows[k].at, m.rows[k].len);
		for (int i = 0; i < 1 + round % 4; i++) {
			seed ^= seed << 13;
			seed ^= seed >> 7;
			seed ^= seed << 17;
			copy[seed % m.rows[k].len] = (uint8_t)(seed >> 40);
		}
		refused += load_damaged(&m, k, copy, m.rows[k].len);
		free(copy);
	}
	assert_true(refused > 100);
	buf_done(&m.bytes);
	box_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_a_world_comes_back),
	        cmocka_unit_test(test_every_cut),
	        cmocka_unit_test(test_every_flipped_bit),
	        cmocka_unit_test(test_many_damages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
