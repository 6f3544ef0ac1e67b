#include <stddef.h>
#include <stdint.h>
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/args.h"
#include "cli/jobspec.h"

static int parse(struct jobspec *s, bool submit, struct err *err, int argc, char **argv)
{
	struct cli cli = {.verb = "submit"};
	struct args a = {.options = submit ? jobspec_submit_options : jobspec_run_options,
	        .parse = jobspec_parse,
	        .input = s,
	        .command_follows = true};

	jobspec_init(s);
	return args_parse(&cli, &a, argc, argv, err);
}

#define PARSE(...)                                                                 \
	parse(&s, true, &err, (int)ARRAY_LEN(((char *[]){"submit", __VA_ARGS__})), \
	        (char *[]){"submit", __VA_ARGS__, NULL})

static void assert_json(const json_t *got, const char *wanted)
{
	json_t *w = json_loads(wanted, 0, NULL);
	char *text = json_dumps(got, JSON_COMPACT);

	assert_non_null(w);
	if (!json_equal(got, w))
		fail_msg("got %s, wanted %s", text, wanted);
	free(text);
	json_decref(w);
}

static void test_every_flag(void **state)
{
	struct jobspec s;
	struct err err;

	setenv("TAKEN", "t", 1);
	assert_int_equal(
	        PARSE("-q", "night", "--gpu", "0.5:a100", "--gpu-cc", "8.0+", "-c", "2", "-n", "4",
	                "--label", "--mem", "8G", "-t", "90m", "--array", "0-9%2", "--after", "1,2",
	                "--after", "3", "--after-ok", "4", "--after-any", "5", "--retry", "3",
	                "--retry-on", "9,SIGTERM", "--priority", "-7", "--hold", "--name", "n",
	                "--output", "/o", "--error", "/e", "--chdir", "/w", "-e", "A=1=2", "-e",
	                "TAKEN", "--user", "ada", "--idempotency-key", "k", "--", "echo", "--x",
	                ""),
	        0);
	assert_json(s.job,
	        "{\"queue\":\"night\",\"gpu\":\"0.5:a100\",\"gpu_cc\":\"8.0+\",\"cpus\":2,\"tasks\":4,\"label\":true,"
	        "\"mem\":\"8G\",\"time\":\"90m\",\"array\":\"0-9%2\",\"after\":[\"1\",\"2\",\"3\"],"
	        "\"after_ok\":[\"4\"],\"after_any\":[\"5\"],\"retry\":3,\"retry_on\":\"9,SIGTERM\",\"priority\":-7,"
	        "\"hold\":true,\"name\":\"n\",\"output\":\"/o\",\"error\":\"/e\",\"chdir\":\"/w\","
	        "\"env\":{\"A\":\"1=2\",\"TAKEN\":\"t\"},\"user\":\"ada\",\"idempotency_key\":\"k\","
	        "\"command\":[\"echo\",\"--x\",\"\"]}");
	jobspec_done(&s);
	assert_int_equal(PARSE("--fgpu", "1", "--gpu-mem", "12GiB", "--gpu-share", "30%",
	                         "--no-retry", "--dry-run", "x"),
	        0);
	assert_true(s.dry_run);
	assert_json(s.job, "{\"fgpu\":\"1\",\"gpu_mem\":\"12GiB\",\"gpu_share\":\"30%\","
	                   "\"no_retry\":true,\"dry_run\":true,\"command\":[\"x\"]}");
	jobspec_done(&s);
}

/* Each wrong value names its option; nothing is guessed. */
static void test_refused(void **state)
{
	static const struct {
		char *option, *value;
		const char *names;
	} wrong[] = {
	        {"--mem", "8", "--mem"},
	        {"--mem", "8Q", "--mem"},
	        {"--gpu-mem", "-1G", "--gpu-mem"},
	        {"--gpu-share", "0.1234", "--gpu-share"},
	        {"--gpu-share", "101%", "--gpu-share"},
	        {"--time", "90", "--time"},
	        {"--cpus", "-1", "--cpus"},
	        {"--cpus", "two", "--cpus"},
	        {"--tasks", "0", "from 1 to 256"},
	        {"-n", "-1", "--tasks"},
	        {"-n", "257", "--tasks"},
	        {"-n", "two", "--tasks"},
	        {"--retry", "1.5", "--retry"},
	        {"--priority", "99999999999", "--priority"},
	        {"--after", ",", "--after"},
	        {"-e", "=x", "-e"},
	        {"-e", "NOT_SET_ANYWHERE", "NOT_SET_ANYWHERE"},
	        {"--name", "\xff", "--name"},
	        {"--image", "x", "--image"},
	        {"--count", "2", "--count"},
	};
	struct jobspec s;
	struct err err;

	unsetenv("NOT_SET_ANYWHERE");
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		assert_true(PARSE(wrong[i].option, wrong[i].value, "--", "x") < 0);
		if (!strstr(err.text, wrong[i].names))
			fail_msg("'%s' does not name %s", err.text, wrong[i].names);
		jobspec_done(&s);
	}
	assert_int_equal(PARSE("--hold"), -ERR_INVALID);
	assert_non_null(strstr(err.hint, "-- CMD"));
	jobspec_done(&s);
	assert_int_equal(PARSE("--", "a", "\xc3("), -ERR_INVALID);
	jobspec_done(&s);
}

static void test_run_has_no_from(void **state)
{
	struct jobspec s;
	struct err err;

	assert_int_equal(parse(&s, false, &err, 3, (char *[]){"run", "--from", "f", NULL}),
	        -ERR_UNKNOWN_KEY);
	jobspec_done(&s);
	assert_int_equal(parse(&s, false, &err, 3, (char *[]){"run", "--tty", "sh", NULL}), 0);
	assert_true(s.tty);
	assert_json(s.job, "{\"tty\":true,\"command\":[\"sh\"]}");
	jobspec_done(&s);
	assert_int_equal(PARSE("--from", "-"), 0);
	assert_string_equal(s.from, "-");
	jobspec_done(&s);
}

static void test_finish(void **state)
{
	struct jobspec s;
	struct err err;
	char cwd[4096], wanted[5000];

	assert_non_null(getcwd(cwd, sizeof(cwd)));
	assert_int_equal(PARSE("--output", "out/%j", "--", "x"), 0);
	assert_int_equal(jobspec_finish(&s, false, &err), 0);
	snprintf(wanted, sizeof(wanted), "%s%sout/%%j", cwd, strcmp(cwd, "/") ? "/" : "");
	assert_string_equal(json_string_value(json_object_get(s.job, "output")), wanted);
	assert_string_equal(json_string_value(json_object_get(s.job, "chdir")), cwd);
	jobspec_done(&s);
	/* Another machine: nothing of this one is meant. */
	assert_int_equal(PARSE("x"), 0);
	assert_int_equal(jobspec_finish(&s, true, &err), 0);
	assert_null(json_object_get(s.job, "chdir"));
	jobspec_done(&s);
	assert_int_equal(PARSE("--output", "rel", "--", "x"), 0);
	assert_int_equal(jobspec_finish(&s, true, &err), -ERR_INVALID);
	assert_non_null(strstr(err.text, "--output"));
	jobspec_done(&s);
}

static void test_environment(void **state)
{
	char *env[] = {"A=1", "EMPTY=", "_=/bin/berth", "MY_TOKEN=s", "my_token_2=s",
	        "DB_PASSWORD=s", "AWS_SECRET_ACCESS=s", "API_KEY=s", "KEYBOARD=de",
	        "SSH_AUTH_SOCK=/s", "PWD=/old", "BAD=\xff", "NOT_A_PAIR", NULL};
	json_t *e = jobspec_environment(env, "/new");

	assert_json(e, "{\"A\":\"1\",\"EMPTY\":\"\",\"KEYBOARD\":\"de\",\"PWD\":\"/new\"}");
	json_decref(e);
	assert_true(jobspec_excludes_env("GITHUB_TOKEN"));
	assert_true(jobspec_excludes_env("api_key"));
	assert_false(jobspec_excludes_env("PATH"));
	assert_false(jobspec_excludes_env("SSH_AUTH_SOCK_2"));
}

static void test_defaults(void **state)
{
	struct jobspec s;
	struct err err;
	json_t *line =
	        json_loads("{\"command\":[\"own\"],\"cpus\":4,\"env\":{\"A\":\"line\"}}", 0, NULL);

	assert_int_equal(
	        PARSE("--from", "-", "-c", "1", "-q", "gpu", "-e", "A=flag", "-e", "B=flag"), 0);
	jobspec_add_defaults(line, &s);
	assert_json(line, "{\"command\":[\"own\"],\"cpus\":4,\"queue\":\"gpu\","
	                  "\"env\":{\"A\":\"line\",\"B\":\"flag\"}}");
	json_decref(line);
	jobspec_done(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_every_flag),
	        cmocka_unit_test(test_refused),
	        cmocka_unit_test(test_run_has_no_from),
	        cmocka_unit_test(test_finish),
	        cmocka_unit_test(test_environment),
	        cmocka_unit_test(test_defaults),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
