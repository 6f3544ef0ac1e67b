/*
 * What every client verb shares: who was called with which global options, and how it speaks to people.
 * `struct cli` is made by main() and borrowed by everything below it; strings are borrowed from argv and environ.
 * One thread. Verbs return an exit code; what fails is a `struct err` that cli_fail() shows once.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

enum output_format { OUTPUT_TABLE, OUTPUT_WIDE, OUTPUT_JSON, OUTPUT_CSV, OUTPUT_NAME };

struct cli {
	const char *verb;        /* as messages name it: "run", "token create" */
	const char *data_option; /* --data, or NULL */
	const char *config_path; /* --config, or NULL */
	enum output_format format;
	bool format_given;
};

struct verb {
	const char *name;
	const char *group;
	const char *synopsis; /* after "berth NAME" */
	const char *summary;
	int (*run)(struct cli *cli, int argc, char **argv); /* argv[0] is the verb */
};

#define CLI_EXIT_USAGE 2
#define CLI_EXIT_FAILED \
	125 /* of `run`, `wait` and `exec`: Berth's own failure, not the job's code */
#define CLI_EXIT_INTERRUPTED 130

/* Every verb, in the order of tables/verbs.def; the last one has no name. */
extern const struct verb cli_verbs[];
const struct verb *cli_verb_find(const char *name);
/* The closest name, for "did you mean"; NULL when none is close. */
const char *cli_verb_closest(const char *name);

#define VERB(ident, name, group, synopsis, summary) \
	int verb_##ident(struct cli *cli, int argc, char **argv);
#include "../../tables/verbs.def"
#undef VERB

/* Appends s with '?' for whatever a terminal would act on, line breaks too. */
void cli_add_shown(struct buf *b, const char *s);
/* One line on stderr: "berth: ...". */
PRINTF_LIKE(1, 2) void cli_say(const char *fmt, ...);
/* Shows the error and its hint in one line; returns the exit code of its kind. */
int cli_fail(const struct cli *cli, const struct err *err);
/* Everything written to stdout has arrived, or the error is shown; returns the exit code to end with. */
int cli_flush(const struct cli *cli, int exit_code);
