#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/doc.h"

static struct doc_node *parse(const char *text)
{
	struct doc_node *root = NULL;
	struct err err;

	if (doc_parse(text, strlen(text), &root, &err) < 0)
		fail_msg("refused: %s", err.text);
	return root;
}

static void refuse(const char *text, size_t len, const char *message, const char *hint)
{
	struct doc_node *root = NULL;
	struct err err = {0};
	int rc = doc_parse(text, len, &root, &err);

	if (rc == 0)
		fail_msg("accepted: %.60s", text);
	assert_null(root);
	assert_int_equal(rc, -(int)err.kind);
	if (!strstr(err.text, message))
		fail_msg("message is: %s", err.text);
	if (hint && !strstr(err.hint, hint))
		fail_msg("hint is: %s", err.hint);
}

static void test_tree(void **state)
{
	CLEANUP(doc_freep)
	struct doc_node *root = parse("# comment\n"
	                              "server:\n"
	                              "  listen: 127.0.0.1:7070\n"
	                              "  user: 'ber''th'\n"
	                              "list: [a, \"b\\u00e9\"]\n"
	                              "empty:\n"
	                              "block:\n"
	                              "  - x\n"
	                              "  - {k: v}\n");
	const struct doc_node *server, *list, *block;

	assert_int_equal(root->kind, DOC_MAP);
	assert_int_equal(root->n_children, 4);
	server = &root->children[0];
	assert_string_equal(server->key, "server");
	assert_int_equal(server->kind, DOC_MAP);
	assert_int_equal(server->line, 2);
	assert_int_equal(server->n_children, 2);
	assert_string_equal(server->children[0].text, "127.0.0.1:7070");
	assert_int_equal(server->children[0].line, 3);
	assert_true(server->children[0].is_plain);
	assert_string_equal(server->children[1].text, "ber'th");
	assert_false(server->children[1].is_plain);
	list = &root->children[1];
	assert_int_equal(list->kind, DOC_LIST);
	assert_int_equal(list->line, 5);
	assert_int_equal(list->n_children, 2);
	assert_null(list->children[0].key);
	assert_string_equal(list->children[1].text, "b\xc3\xa9");
	assert_true(doc_is_null(&root->children[2]));
	block = &root->children[3];
	assert_int_equal(block->children[1].kind, DOC_MAP);
	assert_int_equal(block->children[1].line, 9);
	assert_string_equal(block->children[1].children[0].key, "k");
}

static void test_empty(void **state)
{
	static const char *const texts[] = {"", "\n\n", "# only a comment\n", "   "};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		CLEANUP(doc_freep) struct doc_node *root = parse(texts[i]);
		assert_int_equal(root->kind, DOC_MAP);
		assert_int_equal(root->n_children, 0);
	}
	{
		CLEANUP(doc_freep) struct doc_node *root = NULL;
		struct err err;
		assert_int_equal(doc_parse(NULL, 0, &root, &err), 0);
	}
}

static void test_null(void **state)
{
	CLEANUP(doc_freep) struct doc_node *root;

	root = parse("- ~\n- null\n-\n- ''\n- '~'\n- \"null\"\n- nullable\n- {}\n");
	for (size_t i = 0; i < root->n_children; i++)
		assert_int_equal(doc_is_null(&root->children[i]), i < 3);
	assert_int_equal(root->n_children, 8);
}

static void test_byte_order_mark(void **state)
{
	CLEANUP(doc_freep)
	struct doc_node *root = parse("\xef\xbb\xbf"
	                              "a: b\n");

	assert_string_equal(root->children[0].key, "a");
}

static void test_refused(void **state)
{
	static const struct {
		const char *text, *message, *hint;
	} cases[] = {
	        {"a: b\na: c\n", "line 2: key 'a' stands twice, first on line 1", NULL},
	        {"x:\n  a: 1\n  'a': 2\n", "line 3: key 'a' stands twice, first on line 2", NULL},
	        {"a: &x b\n", "line 1: anchor 'x' is not allowed", "quotes"},
	        {"a: b\nc: *x\n", "line 2: alias 'x' is not allowed", "quotes"},
	        {"&x a: b\n", "anchor 'x'", NULL},
	        {"*x : b\n", "alias 'x'", NULL},
	        {"a: [*TOKEN*]\n", "line 1: ", "stands in quotes"},
	        {"a: !!str b\n", "line 1: tag 'tag:yaml.org,2002:str' is not allowed", NULL},
	        {"a: !x {}\n", "tag '!x'", NULL},
	        {"a: !x []\n", "tag '!x'", NULL},
	        {"a: &x {}\n", "anchor 'x'", NULL},
	        {"a: &x []\n", "anchor 'x'", NULL},
	        {"<<: *a\n", "alias", NULL},
	        {"a: b\n---\nc: d\n", "line 2: a second document begins", NULL},
	        {"{a: b}: c\n", "line 1: a key is a word", NULL},
	        {"? [a]\n: c\n", "line 1: a key is a word", NULL},
	        {"a: b: c\n", "line 1: mapping values are not allowed", NULL},
	        {"a: [b\n", "line 2: did not find expected ',' or ']'", "begins on line 1"},
	        {"a: 'b\n", "unexpected end of stream", "begins on line 1"},
	        {"a:\n\tb: c\n", "line 2: ", NULL},
	        {"a: \"b\\0c\"\n", "line 1: a control character or a line break in 'b'", NULL},
	        {"a: \"\\x1b[2J\"\n", "control character or a line break in '?[2J'", NULL},
	        {"a: |\n  b\n", "control character or a line break in 'b?'", NULL},
	        {"\"a\\nb\": c\n", "control character", NULL},
	        {"a: \x01\n", "line 1: control characters are not allowed", NULL},
	        {"a: b\nc: \x1b\n", "line 2: control characters are not allowed", NULL},
	        {"a: b\nc: \xff\n", "line 2: byte 0xff is not UTF-8", NULL},
	        {"a: \xed\xa0\x80\n", "line 1: byte 0xed is not UTF-8", NULL},
	        {"\xff\xfe"
	         "a",
	                "byte 0xff is not UTF-8", NULL},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		refuse(cases[i].text, strlen(cases[i].text), cases[i].message, cases[i].hint);
	refuse("a: b\nc\0: d\n", 11, "line 2: a NUL byte", NULL);
	refuse("\0", 1, "line 1: a NUL byte", NULL);
}

static void test_long_keys(void **state)
{
	char text[DOC_KEY_MAX + 10];

	memset(text, 'k', sizeof(text));
	memcpy(text + DOC_KEY_MAX, ": v", 4);
	doc_free(parse(text));
	memcpy(text + DOC_KEY_MAX, "k: v", 5);
	refuse(text, strlen(text), "is longer than 128 bytes", NULL);
}

static void test_depth(void **state)
{
	doc_free(parse("[[[[[[[[]]]]]]]]"));
	refuse("[[[[[[[[[]]]]]]]]]", 18, "line 1: nested deeper than 8 levels", NULL);
	refuse("{a: {a: {a: {a: {a: {a: {a: {a: {a: {}}}}}}}}}}", 47, "nested deeper", NULL);
	refuse("- - - - - - - - - x", 19, "nested deeper", NULL);
}

static void test_entries(void **state)
{
	static char text[DOC_ENTRIES_MAX * 8 + 100];
	size_t len = 0;

	for (int i = 0; i < DOC_ENTRIES_MAX; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "k%d:\n", i);
	doc_free(parse(text));
	snprintf(text + len, sizeof(text) - len, "one: more\n");
	refuse(text, strlen(text), "line 1001: more than 1000 entries", NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_tree),
	        cmocka_unit_test(test_empty),
	        cmocka_unit_test(test_null),
	        cmocka_unit_test(test_byte_order_mark),
	        cmocka_unit_test(test_refused),
	        cmocka_unit_test(test_long_keys),
	        cmocka_unit_test(test_depth),
	        cmocka_unit_test(test_entries),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
