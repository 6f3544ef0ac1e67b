#include "kit.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/version.h"
#include "cli/takeover.h"

static void test_text_of_the_lock(void **state)
{
	char *text = takeover_text("--data\n/a\n--simulate\n2x8GiB");
	char version[TAKEOVER_VERSION_SIZE];

	assert_string_equal(takeover_flags(text, version), "--data\n/a\n--simulate\n2x8GiB");
	assert_string_equal(version, berth_version);
	free(text);
	text = takeover_text("");
	assert_string_equal(takeover_flags(text, version), "");
	assert_string_equal(version, berth_version);
	free(text);
}

static void test_text_of_no_version(void **state)
{
	char version[TAKEOVER_VERSION_SIZE] = "before", longest[200];

	assert_string_equal(takeover_flags("--data\n/a", version), "--data\n/a");
	assert_string_equal(version, "");
	assert_string_equal(takeover_flags("", version), "");
	assert_string_equal(takeover_flags("berth 1.0", version), "berth 1.0");
	memset(longest, 'v', sizeof(longest));
	memcpy(longest, "berth ", 6);
	memcpy(longest + sizeof(longest) - 4, "\n-x", 4);
	assert_string_equal(takeover_flags(longest, version), "-x");
	assert_int_equal(strlen(version), TAKEOVER_VERSION_SIZE - 1);
}

static void test_when_it_is_due(void **state)
{
	assert_false(takeover_is_due(getpid(), berth_version));
	assert_true(takeover_is_due(getpid(), "0.0.1"));
	assert_true(takeover_is_due(getpid(), ""));
	/* Of another pid namespace: nobody to speak to. */
	assert_false(takeover_is_due(0, "0.0.1"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_text_of_the_lock),
	        cmocka_unit_test(test_text_of_no_version),
	        cmocka_unit_test(test_when_it_is_due),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
