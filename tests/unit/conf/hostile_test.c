#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include <stdio.h>

#include "conf/conf.h"
#include "conf/doc.h"

/*
 * Whatever the bytes are, parsing ends with a configuration or an error that is readable; the sanitizers watch the rest.
 */
static int parse(const char *text, size_t len)
{
	CLEANUP_CONF struct conf *c = NULL;
	struct err err = {0};
	/* A copy of its own size, so that a read beyond the end is seen. */
	char *copy = malloc(len ? len : 1);
	int rc;

	memcpy(copy, text, len);
	rc = conf_parse(copy, len, &c, &err);
	free(copy);
	if (rc < 0) {
		assert_null(c);
		assert_true(err.kind != ERR_NONE);
		assert_true(*err.text);
	} else {
		assert_non_null(c);
	}
	return rc;
}

static const char sample[] = "# a site\n"
                             "socket: {mode: 0666, group: \"gpu\"}\n"
                             "server:\n"
                             "  listen: '[::1]:7070'\n"
                             "  keep_ended: 100\n"
                             "job:\n"
                             "  grace: 1m30s\n"
                             "  env_exclude: ['*TOKEN*', X]\n"
                             "gpu:\n"
                             "  fgpu_per_device: 2\n"
                             "  models:\n"
                             "    A100: {fgpu_per_device: 4}\n"
                             "queues:\n"
                             "  gold:\n"
                             "    time_limit: 1-00:00:00\n"
                             "    priority: -5\n"
                             "log: {level: debug}\n";

static void test_sample(void **state)
{
	assert_int_equal(parse(sample, sizeof(sample) - 1), 0);
}

static void test_every_truncation(void **state)
{
	for (size_t len = 0; len < sizeof(sample); len++)
		parse(sample, len);
}

static void test_every_byte_replaced(void **state)
{
	static const char bytes[] = {'\0', '\n', '\t', ' ', '*', '&', '!', '{', '[', '}', ']', ':',
	        '-', '?', '|', '>', '%', '"', '\'', '#', '\x1b', '\x80', '\xc3', '\xff', '9', 'a'};
	char text[sizeof(sample)];

	for (size_t i = 0; i < sizeof(sample) - 1; i++)
		for (size_t b = 0; b < sizeof(bytes); b++) {
			memcpy(text, sample, sizeof(sample));
			text[i] = bytes[b];
			parse(text, sizeof(sample) - 1);
		}
}

static void test_noise(void **state)
{
	static const char *const pieces[] = {"server", "queues", ": ", ":", "\n", "\n  ", "- ", "[",
	        "]", "{", "}", ",", "'", "\"", "\\", "&a ", "*a", "!!x ", "? ", "---\n", "...\n",
	        "%YAML 1.1\n", "|\n", ">\n", "#", "\xc3\xa9", "\xe2\x80\xa8", "1", "a", "<<"};
	uint32_t seed = 12345;
	char text[400];

	for (int round = 0; round < 5000; round++) {
		size_t len = 0;
		for (int i = 0; i < 40; i++) {
			seed = seed * 1664525 + 1013904223;
			const char *p = pieces[(seed >> 16) % ARRAY_LEN(pieces)];
			memcpy(text + len, p, strlen(p));
			len += strlen(p);
		}
		parse(text, len);
	}
}

/* 1 MiB of the same piece, up to the ceiling. */
static void test_a_mebibyte(void **state)
{
	static const char *const pieces[] = {"[", "{", "- ", "? ", "a: ", "a:\n", "\n", "#", "'",
	        "\"", "&a ", "*a ", "!a ", "|", "x", "[]\n", "- - \n", "\\", "%", "\t",
	        "{a: ", "? - ", "\xf0\x9f\x98\x80"};
	char *text = malloc(CONF_TEXT_MAX + 1);

	for (size_t p = 0; p < ARRAY_LEN(pieces); p++) {
		size_t len = 0, n = strlen(pieces[p]);
		for (; len + n <= CONF_TEXT_MAX; len += n)
			memcpy(text + len, pieces[p], n);
		parse(text, len);
	}
	free(text);
}

static void test_ceiling(void **state)
{
	char *text = malloc(CONF_TEXT_MAX + 1);
	struct conf *c = NULL;
	struct err err;

	memset(text, ' ', CONF_TEXT_MAX + 1);
	memcpy(text, "log: {}\n#", 9);
	assert_int_equal(conf_parse(text, CONF_TEXT_MAX, &c, &err), 0);
	conf_free(c);
	assert_int_equal(conf_parse(text, CONF_TEXT_MAX + 1, &c, &err), -ERR_TOO_LARGE);
	assert_string_equal(err.text, "1048577 bytes: the most is 1048576");
	free(text);
}

/* Each level names the one before nine times: what an alias would multiply. */
static void test_alias_bomb(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(1 << 20);
	struct conf *c = NULL;
	struct err err;

	buf_add_str(&b, "a0: &a0 [x]\n");
	for (int i = 1; i < 30; i++) {
		buf_addf(&b, "a%d: &a%d [", i, i);
		for (int j = 0; j < 9; j++)
			buf_addf(&b, "*a%d%s", i - 1, j < 8 ? ", " : "]\n");
	}
	assert_int_equal(conf_parse(buf_str(&b), b.len, &c, &err), -ERR_INVALID);
	assert_string_equal(err.text, "line 1: anchor 'a0' is not allowed here");
}

static void test_many_maps(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(CONF_TEXT_MAX);
	struct err err;
	struct conf *c = NULL;

	buf_add_str(&b, "queues:\n");
	for (int i = 0; i < 25; i++) {
		buf_addf(&b, "  q%d:\n", i);
		for (int j = 0; j < 900; j++)
			buf_addf(&b, "    k%d:\n", j);
	}
	assert_false(b.overflow);
	assert_int_equal(conf_parse(buf_str(&b), b.len, &c, &err), -ERR_INVALID);
	assert_non_null(strstr(err.text, "more than 20000 entries"));
}

static void test_hostile_values(void **state)
{
	CLEANUP_CONF struct conf *c = conf_defaults();
	char *value = malloc(CONF_TEXT_MAX + 2);
	struct err err;

	memset(value, ',', CONF_TEXT_MAX);
	value[CONF_TEXT_MAX] = '\0';
	assert_int_equal(conf_override(c, "BERTH_CONF_JOB_ENV_EXCLUDE", value, &err), -ERR_INVALID);
	assert_string_equal(err.text, "BERTH_CONF_JOB_ENV_EXCLUDE: more than 1000 entries");
	assert_int_equal(c->job_env_exclude.n, 5);
	value[999] = '\0';
	assert_int_equal(conf_override(c, "BERTH_CONF_JOB_ENV_EXCLUDE", value, &err), 0);
	assert_int_equal(c->job_env_exclude.n, 0);
	memset(value, '9', CONF_TEXT_MAX + 1);
	value[CONF_TEXT_MAX + 1] = '\0';
	assert_int_equal(
	        conf_override(c, "BERTH_CONF_SERVER_KEEP_ENDED", value, &err), -ERR_TOO_LARGE);
	value[CONF_TEXT_MAX] = '\0';
	assert_int_equal(
	        conf_override(c, "BERTH_CONF_SERVER_KEEP_ENDED", value, &err), -ERR_INVALID);
	assert_int_equal(conf_override(c, "BERTH_CONF_SERVER_TLS_CERT", value, &err), -ERR_INVALID);
	assert_int_equal(conf_override(c, "BERTH_CONF_SERVER_USER", "a\nb", &err), -ERR_INVALID);
	assert_int_equal(conf_override(c, "BERTH_CONF_SERVER_USER", "\xff", &err), -ERR_INVALID);
	assert_int_equal(
	        conf_override(c, "BERTH_CONF_SERVER_USER", "\xc2\x9b", &err), -ERR_INVALID);
	assert_string_equal(c->server_user, "berth");
	free(value);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_sample),
	        cmocka_unit_test(test_every_truncation),
	        cmocka_unit_test(test_every_byte_replaced),
	        cmocka_unit_test(test_noise),
	        cmocka_unit_test(test_a_mebibyte),
	        cmocka_unit_test(test_ceiling),
	        cmocka_unit_test(test_alias_bomb),
	        cmocka_unit_test(test_many_maps),
	        cmocka_unit_test(test_hostile_values),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
