#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "base/version.h"
#include "cli/args.h"
#include "cli/openapi.h"
#include "cli/output.h"

enum { KEY_AS = 0x1000 };

struct help {
	const char *verb;
	bool as_openapi;
};

static int parse(int key, char *arg, struct argp_state *state, void *input, struct err *err)
{
	struct help *h = input;
	char shown[TEXT_SHOW_SIZE];

	if (key == KEY_AS) {
		h->as_openapi = strcmp(arg, "openapi") == 0;
		return h->as_openapi ? 0
		                     : err_set(err, ERR_INVALID,
		                               "--as: there is no '%s'; there is openapi",
		                               text_show(arg, shown));
	}
	if (key == ARGP_KEY_ARG && !h->verb) {
		h->verb = arg;
		return 0;
	}
	return key == ARGP_KEY_END ? 0 : ARGP_ERR_UNKNOWN;
}

static void print_list(void)
{
	const char *group = "";

	puts("berth VERB [OPTION...]: run work on the GPUs of this machine.\n");
	for (const struct verb *v = cli_verbs; v->name; v++) {
		char left[64];
		if (strcmp(group, v->group) != 0)
			printf("%s%s:\n", group[0] ? "\n" : "", v->group);
		group = v->group;
		snprintf(left, sizeof(left), "%s %s", v->name,
		        strlen(v->synopsis) < 28 ? v->synopsis : "...");
		printf("  %-38s %s\n", left, v->summary);
	}
	puts("\nEverywhere: --data DIR, --config FILE. In listings: -o table|wide|json|csv|name.\n"
	     "berth help VERB shows the options of a verb.");
}

int verb_help(struct cli *cli, int argc, char **argv)
{
	static const struct argp_option options[] = {
	        {"as", KEY_AS, "FORMAT", 0, "openapi: the HTTP interface as a document", 1}, {0}};
	struct help h = {0};
	struct args args = {.options = options,
	        .parse = parse,
	        .input = &h,
	        .args_doc = "[VERB]",
	        .doc = "Lists the verbs, or the options of one."};
	struct err err;
	char shown[TEXT_SHOW_SIZE];

	if (args_parse(cli, &args, argc, argv, &err))
		return cli_fail(cli, &err);
	const char *name = h.verb;
	if (h.as_openapi) {
		json_t *document = openapi_document();
		output_json(document);
		json_decref(document);
		return 0;
	}
	if (!name) {
		print_list();
		return 0;
	}
	const struct verb *v = cli_verb_find(name);
	if (!v) {
		const char *close = cli_verb_closest(name);
		int rc = err_set(
		        &err, ERR_UNKNOWN_KEY, "there is no verb '%s'", text_show(name, shown));
		if (rc && close)
			rc = err_hint(&err, "did you mean '%s'?", close);
		return rc ? cli_fail(cli, &err) : 0;
	}
	char help[] = "--help";
	char *words[] = {(char *)v->name, help, NULL};
	cli->verb = v->name;
	return v->run(cli, 2, words);
}

int verb_version(struct cli *cli, int argc, char **argv)
{
	struct args args = {.doc = "Prints the version."};
	struct err err;

	if (args_parse(cli, &args, argc, argv, &err))
		return cli_fail(cli, &err);
	printf("berth %s\n", berth_version);
	return 0;
}
