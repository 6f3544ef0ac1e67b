#include <stdio.h>

#include "cli/args.h"
#include "cli/output.h"
#include "cli/submission.h"

static int submit_one(const struct cli *cli, struct client *c, struct jobspec *s)
{
	CLEANUP_JSON json_t *job = NULL;
	struct err err;

	if (submission_send(c, s, &job, &err))
		return cli_fail(cli, &err);
	submission_say_resolved(job);
	if (s->dry_run)
		submission_print_dry_run(cli, job);
	else if (cli->format == OUTPUT_JSON)
		output_json(job);
	else
		output_line(json_string_value(json_object_get(job, "id")));
	return 0;
}

int verb_submit(struct cli *cli, int argc, char **argv)
{
	CLEANUP_JOBSPEC struct jobspec s;
	CLEANUP_CLIENT struct client *c = NULL;
	struct args args = {
	        .options = jobspec_submit_options,
	        .parse = jobspec_parse,
	        .input = &s,
	        .args_doc = "-- CMD...\n--from FILE|-",
	        .doc = "Submits a job, or one for each line of a file, and prints the ids.",
	        .command_follows = true,
	        .is_listing = true,
	};
	struct err err;

	jobspec_init(&s);
	int rc = args_parse(cli, &args, argc, argv, &err);
	if (rc == 0)
		rc = client_open(cli, &c, &err);
	if (rc == 0)
		rc = jobspec_finish(&s, client_is_remote(c), &err);
	if (rc)
		return cli_fail(cli, &err);
	return s.from ? submission_from(cli, c, &s) : submit_one(cli, c, &s);
}
