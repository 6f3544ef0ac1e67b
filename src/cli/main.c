#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "cli/args.h"
#include "cli/cli.h"

/* A global option before the verb: 2 words, 1 word ("--data=DIR"), 0: it is none, -1: it lacks its value. */
static int take_global(struct cli *cli, char **argv, struct err *err)
{
	static const char *const names[] = {"--data", "--config", "-o"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		size_t len = strlen(names[i]);
		const char *value = NULL;
		int words = 2;

		if (strncmp(argv[0], names[i], len) != 0)
			continue;
		if (argv[0][len] == '=') {
			value = argv[0] + len + 1;
			words = 1;
		} else if (!argv[0][len]) {
			value = argv[1];
		} else {
			continue;
		}
		if (!value)
			return err_set(err, ERR_INVALID, "%s needs a value", names[i]);
		if (i == 0)
			cli->data_option = value;
		else if (i == 1)
			cli->config_path = value;
		else if (output_format_parse(value, &cli->format, err))
			return -1;
		cli->format_given |= i == 2;
		return words;
	}
	return 0;
}

static int unknown_verb(const struct cli *cli, const char *word)
{
	const char *close = cli_verb_closest(word);
	char shown[TEXT_SHOW_SIZE];
	struct err err;
	int rc;

	if (word[0] == '-')
		rc = err_set(&err, ERR_UNKNOWN_KEY, "there is no option '%s' before the verb",
		        text_show(word, shown));
	else
		rc = err_set(
		        &err, ERR_UNKNOWN_KEY, "there is no verb '%s'", text_show(word, shown));
	if (close && rc)
		rc = err_hint(&err, "did you mean '%s'?", close);
	else if (rc)
		rc = err_hint(&err, "berth help lists them");
	return rc ? cli_fail(cli, &err) : 0;
}

static int run_verb(struct cli *cli, const struct verb *v, int argc, char **argv)
{
	cli->verb = v->name;
	int rc = v->run(cli, argc, argv);
	return cli_flush(cli, rc);
}

int main(int argc, char **argv)
{
	struct cli cli = {.verb = NULL};
	struct err err;
	int i = 1;

	while (i < argc) {
		int words = take_global(&cli, argv + i, &err);
		if (words < 0)
			return cli_fail(&cli, &err);
		if (words == 0)
			break;
		i += words;
	}
	const char *word = i < argc ? argv[i] : "help";
	if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
		word = "help";
	else if (strcmp(word, "--version") == 0)
		word = "version";
	const struct verb *v = cli_verb_find(word);
	if (!v)
		return unknown_verb(&cli, word);
	if (i < argc)
		argv[i] = (char *)v->name;
	char *alone[] = {(char *)v->name, NULL};
	return i < argc ? run_verb(&cli, v, argc - i, argv + i) : run_verb(&cli, v, 1, alone);
}
