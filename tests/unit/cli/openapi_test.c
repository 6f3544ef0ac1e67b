#include "kit.h"

#include <string.h>

#include "cli/openapi.h"

/* Tables without gaps: a missing row is a bug that ends the program. */
static void test_document(void **state)
{
	json_t *d = openapi_document(), *paths = json_object_get(d, "paths");
	json_t *submit = json_object_get(json_object_get(paths, "/v1/jobs"), "post");
	json_t *schemas = json_object_get(json_object_get(d, "components"), "schemas");

	assert_string_equal(json_string_value(json_object_get(d, "openapi")), "3.0.3");
	assert_string_equal(
	        json_string_value(json_object_get(submit, "operationId")), "jobs_submit");
	assert_non_null(json_object_get(json_object_get(submit, "responses"), "201"));
	assert_true(json_is_false(
	        json_object_get(json_object_get(schemas, "JobRequest"), "additionalProperties")));
	assert_null(json_object_get(json_object_get(schemas, "Job"), "additionalProperties"));
	json_decref(d);
}

/* The short words of tables/shapes.def. */
static void test_types(void **state)
{
	static const struct {
		const char *shape, *key, *type;
	} cases[] = {
	        {"Job", "id", "{\"type\":\"string\"}"},
	        {"Job", "exit_code",
	                "{\"type\":\"integer\",\"format\":\"int64\",\"nullable\":true}"},
	        {"Job", "reasons",
	                "{\"type\":\"array\",\"items\":{\"$ref\":\"#/components/schemas/Reason\"}}"},
	        {"Job", "array",
	                "{\"allOf\":[{\"$ref\":\"#/components/schemas/ArrayCounts\"}],\"nullable\":true}"},
	        {"Node", "state", "{\"type\":\"string\",\"enum\":[\"up\",\"down\",\"drained\"]}"},
	        {"JobRequest", "after",
	                "{\"type\":\"array\",\"items\":{\"type\":\"string\"},\"nullable\":true}"},
	};
	json_t *d = openapi_document();
	json_t *schemas = json_object_get(json_object_get(d, "components"), "schemas");

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		json_t *shape = json_object_get(schemas, cases[i].shape);
		json_t *want = json_loads(cases[i].type, 0, NULL);
		assert_true(json_equal(
		        json_object_get(json_object_get(shape, "properties"), cases[i].key), want));
		json_decref(want);
	}
	json_decref(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_document),
	        cmocka_unit_test(test_types),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
