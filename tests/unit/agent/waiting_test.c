/* STARTs that wait: whole, in their order, and not for longer than the link. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "agent/waiting.h"

static struct waiting *w;
static uint64_t seen[8];
static unsigned n_seen;
static uint64_t not_yet; /* epoch that waits on */

static void again(void *data, const struct link_start *m)
{
	assert_ptr_equal(data, &not_yet);
	assert_string_equal(m->user, "ada");
	assert_string_equal(m->argv[0], "sh");
	assert_null(m->argv[1]);
	assert_int_equal(m->n_slices, 1);
	assert_string_equal(m->slices[0].device, "GPU-1");
	seen[n_seen++] = m->epoch;
	if (m->epoch == not_yet)
		waiting_put(w, m);
}

static void put(uint64_t epoch)
{
	char sh[] = "sh", user[] = "ada", *argv[] = {sh, NULL};
	struct slice_record slice = {.device = "GPU-1", .mem_bytes = 5, .share_milli = 250};
	struct link_start m = {.id = {.num = 7, .task = -1},
	        .attempt = 1,
	        .epoch = epoch,
	        .user = user,
	        .argv = argv,
	        .slices = &slice,
	        .n_slices = 1};

	waiting_put(w, &m);
}

static void retry(const uint64_t *epochs, unsigned n)
{
	n_seen = 0;
	waiting_retry(w);
	assert_int_equal(n_seen, n);
	assert_memory_equal(seen, epochs, n * sizeof(*epochs));
}

static void test_in_their_order(void **state)
{
	w = waiting_new(again, &not_yet);
	put(11);
	put(12);
	put(13);
	not_yet = 12;
	retry((const uint64_t[]){11, 12, 13}, 3);
	put(14);
	retry((const uint64_t[]){12, 14}, 2);
	not_yet = 0;
	retry((const uint64_t[]){12}, 1);
	n_seen = 0;
	waiting_retry(w);
	assert_int_equal(n_seen, 0);
	waiting_free(w);
}

static void test_cleared(void **state)
{
	w = waiting_new(again, &not_yet);
	put(11);
	put(12);
	waiting_clear(w);
	n_seen = 0;
	waiting_retry(w);
	assert_int_equal(n_seen, 0);
	put(13);
	waiting_free(w);
	waiting_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_in_their_order), cmocka_unit_test(test_cleared)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
