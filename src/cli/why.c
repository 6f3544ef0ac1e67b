#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/args.h"
#include "cli/client.h"
#include "cli/jobs.h"
#include "cli/output.h"
#include "cli/why.h"

#define NODES_SHOWN 20 /* of those that lack something; JSON has all */

struct why {
	char **ids;
	int n_ids;
};

static int parse(int key, char *arg, struct argp_state *state, void *input, struct err *err)
{
	struct why *y = input;

	return jobs_parse_ids(key, state, &y->ids, &y->n_ids, err);
}

static void add_string(struct buf *b, const json_t *o, const char *key)
{
	output_cell_string(json_object_get(o, key), false, b);
}

static void print_reasons(const json_t *answer)
{
	CLEANUP_BUF struct buf b = BUF_INIT(64 * KIB);
	const json_t *reason;
	size_t i;

	json_array_foreach(json_object_get(answer, "reasons"), i, reason)
	{
		add_string(&b, reason, "text");
		buf_addf(&b, " (");
		add_string(&b, reason, "code");
		buf_addf(&b, ")\n");
	}
	if (b.len)
		output_field("because", buf_str(&b));
}

static void print_nodes(const json_t *answer)
{
	const json_t *nodes = json_object_get(answer, "nodes"), *node;
	CLEANUP_BUF struct buf b = BUF_INIT(64 * KIB);
	size_t i, n = json_array_size(nodes);

	json_array_foreach(nodes, i, node)
	{
		if (i == NODES_SHOWN) {
			buf_addf(&b, "and %zu more: -o json\n", n - i);
			break;
		}
		add_string(&b, node, "node");
		buf_add_str(&b, ": ");
		add_string(&b, node, "missing");
		buf_add_byte(&b, '\n');
	}
	if (b.len)
		output_field("missing", buf_str(&b));
}

void why_print_wait(const json_t *answer)
{
	const json_t *change = json_object_get(answer, "smallest_change");
	const json_t *earliest = json_object_get(answer, "earliest_start");
	CLEANUP_BUF struct buf b = BUF_INIT(4096);

	buf_addf(&b, "%lld in its queue; %lld ahead of it in all",
	        (long long)json_integer_value(json_object_get(answer, "position")),
	        (long long)json_integer_value(json_object_get(answer, "ahead")));
	output_field("position", buf_str(&b));
	print_reasons(answer);
	print_nodes(answer);
	buf_reset(&b);
	if (json_is_string(earliest))
		output_cell_time(earliest, false, &b);
	else
		buf_add_str(&b, "no time limit proves one");
	output_field("earliest start", buf_str(&b));
	buf_reset(&b);
	if (json_is_string(change)) {
		output_cell_string(change, false, &b);
		buf_add_str(&b, " (true at ");
		output_cell_time(json_object_get(answer, "computed_at"), false, &b);
		buf_add_byte(&b, ')');
		output_field("starts now with", buf_str(&b));
	}
}

static void print_job(const struct cli *cli, const json_t *answer)
{
	CLEANUP_BUF struct buf b = BUF_INIT(4096);

	if (cli->format != OUTPUT_TABLE && cli->format != OUTPUT_WIDE) {
		output_json(answer);
		return;
	}
	add_string(&b, answer, "id");
	output_field("id", buf_str(&b));
	buf_reset(&b);
	add_string(&b, answer, "state");
	output_field("state", buf_str(&b));
	if (json_integer_value(json_object_get(answer, "position")))
		why_print_wait(answer);
	else
		print_reasons(answer);
}

int verb_why(struct cli *cli, int argc, char **argv)
{
	struct why y = {0};
	CLEANUP_CLIENT struct client *c = NULL;
	struct args args = {.parse = parse,
	        .input = &y,
	        .args_doc = "ID...",
	        .doc = "Says why a job waits: its place in the queue, every reason, what each machine lacks, the earliest start that time limits prove, and the smallest change with which it would start now.",
	        .is_listing = true};
	struct err err;

	int rc = args_parse(cli, &args, argc, argv, &err);
	if (rc == 0)
		rc = client_open(cli, &c, &err);
	for (int i = 0; rc == 0 && i < y.n_ids; i++) {
		CLEANUP_BUF struct buf path = BUF_INIT(4096);
		CLEANUP_JSON json_t *answer = NULL;
		buf_add_str(&path, "/v1/jobs/");
		client_add_encoded(&path, y.ids[i]);
		buf_add_str(&path, "/why");
		rc = client_get(c, buf_str(&path), &answer, &err);
		if (rc)
			break;
		if (i && cli->format == OUTPUT_TABLE)
			putchar('\n');
		print_job(cli, answer);
	}
	return rc ? cli_fail(cli, &err) : 0;
}
