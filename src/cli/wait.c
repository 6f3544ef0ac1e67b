#include <string.h>

#include "cli/args.h"
#include "cli/ending.h"
#include "cli/jobs.h"

struct wait {
	char **ids;
	int n_ids;
};

static int parse(int key, char *arg, struct argp_state *state, void *input, struct err *err)
{
	struct wait *w = input;

	return jobs_parse_ids(key, state, &w->ids, &w->n_ids, err);
}

static int wait_one(struct client *c, const char *id, json_t *jobs, int *code, struct err *err)
{
	json_t *job;
	int rc = ending_await(c, id, &job, err);

	if (rc)
		return rc;
	json_array_append_new(jobs, job);
	ending_say(job);
	int own = ending_code(job);
	*code = MAX(*code, own);
	return 0;
}

int verb_wait(struct cli *cli, int argc, char **argv)
{
	struct wait w = {0};
	CLEANUP_CLIENT struct client *c = NULL;
	struct args args = {
	        .parse = parse,
	        .input = &w,
	        .args_doc = "ID...",
	        .doc = "Waits until every job has ended; ends with the code of the job, of several with the largest.",
	        .is_listing = true,
	};
	CLEANUP_JSON json_t *answer = json_pack("{s:i,s:[]}", "schema", 1, "jobs");
	struct err err;
	int code = 0;

	int rc = args_parse(cli, &args, argc, argv, &err);
	if (rc == 0)
		rc = client_open(cli, &c, &err);
	if (rc == 0)
		client_be_patient(c);
	for (int i = 0; rc == 0 && i < w.n_ids; i++)
		rc = wait_one(c, w.ids[i], json_object_get(answer, "jobs"), &code, &err);
	if (rc) {
		cli_fail(cli, &err);
		return CLI_EXIT_FAILED;
	}
	if (cli->format_given)
		jobs_print(cli, answer);
	return code;
}
