#include <stddef.h>
#include <stdint.h>
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

#include "cli/args.h"

struct input {
	const char *name;
	bool flag;
	char **words;
	int n_words;
};

static const struct argp_option options[] = {
        {"name", 'n', "NAME", 0, "a name", 1},
        {"flag", 'f', NULL, 0, "a flag", 1},
        {"tty", 't', NULL, 0, "a terminal", 1},
        {0},
};

static int parse(int key, char *arg, struct argp_state *state, void *data, struct err *err)
{
	struct input *in = data;

	switch (key) {
	case 'n':
		in->name = arg;
		return 0;
	case 'f':
	case 't':
		in->flag = true;
		return 0;
	case ARGP_KEY_ARG:
		args_take_rest(state, &in->words, &in->n_words);
		return 0;
	case ARGP_KEY_END:
		return in->n_words > 3 ? err_set(err, ERR_LIMIT, "too many words") : 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static int run(
        struct cli *cli, struct input *in, bool command, struct err *err, int argc, char **argv)
{
	static const char *const rewrites[][2] = {{"-xt", "--tty"}, {NULL, NULL}};
	struct args a = {.options = options,
	        .parse = parse,
	        .input = in,
	        .command_follows = command,
	        .is_listing = true,
	        .rewrites = rewrites};

	*in = (struct input){0};
	*cli = (struct cli){.verb = "verb"};
	return args_parse(cli, &a, argc, argv, err);
}

#define RUN(command, ...)                                                                \
	run(&cli, &in, command, &err, (int)ARRAY_LEN(((char *[]){"verb", __VA_ARGS__})), \
	        (char *[]){"verb", __VA_ARGS__, NULL})

static void test_options_and_words(void **state)
{
	struct cli cli;
	struct input in;
	struct err err;

	assert_int_equal(RUN(false, "one", "--name", "x", "two", "-f"), 0);
	assert_string_equal(in.name, "x");
	assert_true(in.flag);
	assert_int_equal(in.n_words, 2);
	assert_string_equal(in.words[0], "one");
	assert_string_equal(in.words[1], "two");
	assert_int_equal(RUN(false, "--name=a=b", "--data", "/d", "--config=/c", "-ojson"), 0);
	assert_string_equal(in.name, "a=b");
	assert_string_equal(cli.data_option, "/d");
	assert_string_equal(cli.config_path, "/c");
	assert_int_equal(cli.format, OUTPUT_JSON);
	assert_true(cli.format_given);
}

/* The first word that is no option begins a command: what follows is not looked at. */
static void test_command_follows(void **state)
{
	struct cli cli;
	struct input in;
	struct err err;

	assert_int_equal(RUN(true, "-f", "cmd", "--unknown", "-o"), 0);
	assert_int_equal(in.n_words, 3);
	assert_string_equal(in.words[1], "--unknown");
	assert_int_equal(RUN(true, "--", "--name", "x"), 0);
	assert_null(in.name);
	assert_int_equal(in.n_words, 2);
	assert_int_equal(RUN(true, "-xt", "cmd", "-xt"), 0);
	assert_true(in.flag);
	assert_string_equal(in.words[1], "-xt");
}

static void test_refused_by_name(void **state)
{
	struct cli cli;
	struct input in;
	struct err err;

	assert_int_equal(RUN(false, "--nam", "x"), -ERR_UNKNOWN_KEY);
	assert_non_null(strstr(err.text, "'--nam'"));
	assert_non_null(strstr(err.hint, "'--name'"));
	assert_int_equal(RUN(false, "--nothing-like-it=3"), -ERR_UNKNOWN_KEY);
	assert_non_null(strstr(err.text, "'--nothing-like-it'"));
	assert_non_null(strstr(err.hint, "berth verb --help"));
	assert_int_equal(RUN(false, "-fz"), -ERR_UNKNOWN_KEY);
	assert_non_null(strstr(err.text, "'-z'"));
	assert_int_equal(RUN(false, "--name"), -ERR_INVALID);
	assert_string_equal(err.text, "--name needs a value");
	assert_int_equal(RUN(false, "-fn"), -ERR_INVALID);
	assert_string_equal(err.text, "-n needs a value");
	assert_int_equal(RUN(false, "--flag=yes"), -ERR_INVALID);
	assert_string_equal(err.text, "--flag takes no value");
	assert_int_equal(RUN(false, "-o", "xml"), -ERR_INVALID);
	assert_non_null(strstr(err.text, "'xml'"));
	assert_int_equal(RUN(false, "a", "b", "c", "d"), -ERR_LIMIT);
	/* A value may look like an option. */
	assert_int_equal(RUN(false, "--name", "--flag"), 0);
	assert_string_equal(in.name, "--flag");
}

static int sub(struct cli *cli, int argc, char **argv)
{
	assert_string_equal(cli->verb, "token create");
	assert_string_equal(argv[0], "create");
	return 40 + argc;
}

static void test_sub(void **state)
{
	static const struct args_sub subs[] = {{"create", sub}, {NULL, NULL}};
	struct cli cli = {.verb = "token"};

	assert_int_equal(args_run_sub(&cli, subs, 3, (char *[]){"token", "create", "x", NULL}), 42);
	assert_string_equal(cli.verb, "token");
	assert_int_equal(
	        args_run_sub(&cli, subs, 2, (char *[]){"token", "creat", NULL}), CLI_EXIT_USAGE);
	assert_int_equal(args_run_sub(&cli, subs, 1, (char *[]){"token", NULL}), CLI_EXIT_USAGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_options_and_words),
	        cmocka_unit_test(test_command_follows),
	        cmocka_unit_test(test_refused_by_name),
	        cmocka_unit_test(test_sub),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
