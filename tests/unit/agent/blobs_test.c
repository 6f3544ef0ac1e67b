#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "agent/blobs.h"

static void test_put_and_find(void **state)
{
	struct blobs *b = blobs_new();

	assert_null(blobs_find(b, 1));
	blobs_put(b, 1, "abc", 3);
	blobs_put(b, 2, NULL, 0);
	assert_int_equal(blobs_find(b, 1)->len, 3);
	assert_memory_equal(blobs_find(b, 1)->data, "abc", 3);
	assert_int_equal(blobs_find(b, 2)->len, 0);
	blobs_put(b, 1, "other", 5);
	assert_int_equal(blobs_find(b, 1)->len, 5);
	blobs_clear(b);
	assert_null(blobs_find(b, 1));
	blobs_free(b);
}

/* The oldest go; the newest stays, however large. */
static void test_ceiling(void **state)
{
	struct blobs *b = blobs_new();
	char *bytes = calloc(1, BLOBS_MAX_BYTES + 1);

	assert_non_null(bytes);
	for (uint64_t i = 1; i <= 5; i++)
		blobs_put(b, i, bytes, BLOBS_MAX_BYTES / 4);
	assert_null(blobs_find(b, 1));
	for (uint64_t i = 2; i <= 5; i++)
		assert_non_null(blobs_find(b, i));
	blobs_put(b, 6, bytes, BLOBS_MAX_BYTES + 1);
	assert_null(blobs_find(b, 5));
	assert_non_null(blobs_find(b, 6));
	free(bytes);
	blobs_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_put_and_find),
	        cmocka_unit_test(test_ceiling),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
