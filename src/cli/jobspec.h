/*
 * What `run` and `submit` ask for: options -> a job as JSON, in the keys of doc/http.md.
 * The caller owns a struct jobspec between jobspec_init() and jobspec_done(). One thread. A wrong value names its
 * option; what only the server can judge (a GPU request, a queue) is passed on as it was typed.
 */
#pragma once

#include <argp.h>
#include <jansson.h>

#include "cli/cli.h"

struct jobspec {
	json_t *job; /* keys as they will be sent */
	bool dry_run;
	bool tty;         /* run: a terminal, connected to the caller's */
	const char *from; /* submit: --from, or NULL */
};

/* For struct args: the options that both verbs share, then those of their own. */
extern const struct argp_option jobspec_run_options[];
extern const struct argp_option jobspec_submit_options[];

void jobspec_init(struct jobspec *s);
void jobspec_done(struct jobspec *s);
#define CLEANUP_JOBSPEC CLEANUP(jobspec_done)

/* The parse function of struct args; input is the struct jobspec. */
MUST_CHECK int jobspec_parse(
        int key, char *arg, struct argp_state *state, void *input, struct err *err);
/* Once all options are in: the directory and paths of this machine, when the job will run here. */
MUST_CHECK int jobspec_finish(struct jobspec *s, bool is_remote, struct err *err);

/*
 * The environment taken along: {"A":"1",...} without what the configuration's default patterns exclude (the server
 * applies the patterns in force). What is not UTF-8 stays behind, and is said. chdir becomes PWD; may be NULL.
 */
json_t *jobspec_environment(char *const *environ_, const char *chdir);
bool jobspec_excludes_env(const char *name);
/* Adds to line what it does not say itself and s does. `env` is joined, name by name. */
void jobspec_add_defaults(json_t *line, const struct jobspec *s);
