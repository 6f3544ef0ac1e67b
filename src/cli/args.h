/*
 * The arguments of one verb: argp with the global options added, and every unknown option refused by name.
 * Nothing is owned: values point into argv. One thread. Options are matched whole: no abbreviations, so a new option
 * never changes what an old script means. --help prints and ends the process with 0.
 */
#pragma once

#include <argp.h>

#include "cli/cli.h"

struct args {
	const struct argp_option *options; /* ends with {0}; NULL: none of its own */
	/* Called for each option of the verb, for ARGP_KEY_ARG and ARGP_KEY_END. 0, ARGP_ERR_UNKNOWN, or a failure in err. */
	int (*parse)(int key, char *arg, struct argp_state *state, void *input, struct err *err);
	void *input;
	const char *args_doc; /* "ID...", "-- CMD..." */
	const char *doc;
	bool command_follows; /* options end at the first argument: the rest is a command */
	bool is_listing;      /* takes -o */
	const char *const (*rewrites)
	        [2]; /* words that stand for an option: {"-it", "--tty"}; ends with {NULL} */
};

/* Fills cli and the verb's own input. argv[0] is the verb. */
MUST_CHECK int args_parse(
        struct cli *cli, const struct args *a, int argc, char **argv, struct err *err);
/* The same, for a failure shown at once: 0, or the exit code. */
int args_parse_or_fail(struct cli *cli, const struct args *a, int argc, char **argv);

/* A verb with verbs of its own: `berth token create`. */
struct args_sub {
	const char *name; /* NULL ends the list */
	int (*run)(struct cli *cli, int argc, char **argv);
};
int args_run_sub(struct cli *cli, const struct args_sub *subs, int argc, char **argv);

/* "gpu-mem=2G" as "gpu_mem", cut to fit, and "2G". */
MUST_CHECK int args_split_setting(
        const char *word, char *key, size_t size, const char **ret_value, struct err *err);

/* For parse(): the rest of the line as a command; ends the parsing. */
void args_take_rest(struct argp_state *state, char ***ret_argv, int *ret_argc);

MUST_CHECK int output_format_parse(
        const char *text, enum output_format *ret_format, struct err *err);
