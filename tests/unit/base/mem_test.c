#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

#include <stdlib.h>

#include "base/mem.h"

static void test_zalloc(void **state)
{
	uint8_t *p = mem_zalloc(100);

	for (int i = 0; i < 100; i++)
		assert_int_equal(p[i], 0);
	free(p);
	p = mem_zalloc(0);
	assert_non_null(p);
	free(p);
}

static void test_copies(void **state)
{
	char *s = mem_strdup("text"), *bytes = mem_dup("a\0b", 3), *nothing = mem_dup(NULL, 0);

	assert_string_equal(s, "text");
	assert_memory_equal(bytes, "a\0b", 3);
	assert_non_null(nothing);
	assert_null(mem_strdup(NULL));
	free(s);
	free(bytes);
	free(nothing);
}

static void test_grow(void **state)
{
	uint32_t *v = NULL;
	size_t n = 0, cap = 0;

	for (uint32_t i = 0; i < 1000; i++) {
		MEM_GROW(v, n, cap);
		assert_in_range(n, 0, cap - 1);
		v[n++] = i;
	}
	for (uint32_t i = 0; i < 1000; i++)
		assert_int_equal(v[i], i);
	free(v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_zalloc),
	        cmocka_unit_test(test_copies),
	        cmocka_unit_test(test_grow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
