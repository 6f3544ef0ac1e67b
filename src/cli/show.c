#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/args.h"
#include "cli/client.h"
#include "cli/jobs.h"
#include "base/num.h"
#include "cli/output.h"
#include "cli/show_request.h"

struct show {
	char **ids;
	int n_ids;
};

static int parse(int key, char *arg, struct argp_state *state, void *input, struct err *err)
{
	struct show *s = input;

	return jobs_parse_ids(key, state, &s->ids, &s->n_ids, err);
}

static void add_cell(struct buf *b, const json_t *object, const char *key,
        void (*cell)(const json_t *value, bool plain, struct buf *out))
{
	cell(json_object_get(object, key), false, b);
}

static void print_plain(const json_t *job)
{
	static const struct {
		const char *key, *title;
		void (*cell)(const json_t *value, bool plain, struct buf *out);
	} fields[] = {{"id", "id", output_cell_string}, {"name", "name", output_cell_string},
	        {"state", "state", output_cell_string}, {"queue", "queue", output_cell_string},
	        {"user", "user", output_cell_string}, {"priority", "priority", output_cell_string},
	        {"node", "node", output_cell_string}, {"attempt", "attempt", output_cell_string},
	        {"exit_code", "exit code", output_cell_string},
	        {"submitted_at", "submitted", output_cell_time},
	        {"started_at", "started", output_cell_time},
	        {"ended_at", "ended", output_cell_time}};

	for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
		CLEANUP_BUF struct buf b = BUF_INIT(64 * KIB);
		const json_t *value = json_object_get(job, fields[i].key);
		bool is_attempt = strcmp(fields[i].key, "attempt") == 0;
		if (json_is_null(value) || (is_attempt && json_integer_value(value) == 0))
			continue;
		add_cell(&b, job, fields[i].key, fields[i].cell);
		output_field(fields[i].title, buf_str(&b));
	}
}

static void print_reasons(const json_t *job)
{
	CLEANUP_BUF struct buf b = BUF_INIT(64 * KIB);
	const json_t *reason;
	size_t i;

	json_array_foreach(json_object_get(job, "reasons"), i, reason)
	{
		add_cell(&b, reason, "text", output_cell_string);
		buf_add_byte(&b, '\n');
	}
	if (b.len)
		output_field("because", buf_str(&b));
}

/* What the driver says beyond the ledger is what nobody is charged for. */
static void add_use(struct buf *b, const json_t *slice)
{
	if (!json_is_integer(json_object_get(slice, "used_bytes")))
		return;
	buf_add_str(b, ", uses ");
	add_cell(b, slice, "used_bytes", output_cell_bytes);
	output_drift(slice, b);
}

static void print_slices(const json_t *job)
{
	CLEANUP_BUF struct buf b = BUF_INIT(64 * KIB);
	const json_t *slice;
	size_t i;

	json_array_foreach(json_object_get(job, "slices"), i, slice)
	{
		add_cell(&b, slice, "device", output_cell_string);
		buf_add_str(&b, ": ");
		add_cell(&b, slice, "mem_bytes", output_cell_bytes);
		buf_add_str(&b, ", ");
		add_cell(&b, slice, "share_milli", output_cell_milli);
		buf_add_str(&b, ", held by ");
		add_cell(&b, slice, "held_by_text", output_cell_string);
		add_use(&b, slice);
		buf_add_byte(&b, '\n');
	}
	if (b.len)
		output_field("slices", buf_str(&b));
}

static void print_array(const json_t *job)
{
	const json_t *array = json_object_get(job, "array");
	json_t *states = json_object_get(array, "states"), *n;
	long long throttle = json_integer_value(json_object_get(array, "throttle"));
	CLEANUP_BUF struct buf b = BUF_INIT(64 * KIB);
	const char *state;

	json_object_foreach(states, state, n)
	{
		buf_addf(&b, "%lld ", (long long)json_integer_value(n));
		cli_add_shown(&b, state);
		buf_add_byte(&b, '\n');
	}
	if (throttle)
		buf_addf(&b, "at most %lld at once\n", throttle);
	if (b.len)
		output_field("tasks", buf_str(&b));
}

static void print_transitions(const json_t *job)
{
	CLEANUP_BUF struct buf b = BUF_INIT(16 * MIB);
	const json_t *t;
	size_t i;

	json_array_foreach(json_object_get(job, "transitions"), i, t)
	{
		add_cell(&b, t, "at", output_cell_time);
		buf_add_byte(&b, ' ');
		add_cell(&b, t, "state", output_cell_string);
		buf_add_str(&b, ": ");
		add_cell(&b, t, "text", output_cell_string);
		buf_add_byte(&b, '\n');
	}
	if (b.len)
		output_field("history", buf_str(&b));
}

static void add_list(struct buf *b, const json_t *a, const char *key, const char *title)
{
	const json_t *name;
	size_t i;

	json_array_foreach(json_object_get(a, key), i, name)
	{
		buf_add_str(b, i ? ", " : title);
		output_cell_string(name, false, b);
	}
}

static void add_holds(struct buf *b, const json_t *a)
{
	add_list(b, a, "held", "\nheld: ");
	add_list(b, a, "not_held", "\nnot held here: ");
	buf_add_str(b, "\ndevices held by: ");
	add_cell(b, a, "devices_held_by", output_cell_string);
}

static void print_attempts(const json_t *job)
{
	CLEANUP_BUF struct buf b = BUF_INIT(16 * MIB);
	const json_t *a;
	size_t i;

	json_array_foreach(json_object_get(job, "attempts"), i, a)
	{
		add_cell(&b, a, "attempt", output_cell_string);
		buf_add_str(&b, " on ");
		add_cell(&b, a, "node", output_cell_string);
		buf_add_str(&b, ": ");
		add_cell(&b, a, "state", output_cell_string);
		if (json_is_integer(json_object_get(a, "exit_code"))) {
			buf_add_str(&b, ", exit code ");
			add_cell(&b, a, "exit_code", output_cell_string);
		}
		/* What it used is known when it has ended. */
		if (json_is_string(json_object_get(a, "ended_at"))) {
			buf_add_str(&b, ", peak memory ");
			add_cell(&b, a, "peak_mem_bytes", output_cell_bytes);
			buf_add_str(&b, ", CPU ");
			add_cell(&b, a, "cpu_seconds", output_cell_string);
			buf_add_str(&b, " s, output ");
			add_cell(&b, a, "output_bytes", output_cell_bytes);
			if (json_integer_value(json_object_get(a, "dropped_bytes"))) {
				buf_add_str(&b, ", of it not kept ");
				add_cell(&b, a, "dropped_bytes", output_cell_bytes);
			}
		}
		if (json_is_string(json_object_get(a, "started_at")))
			add_holds(&b, a);
		buf_add_byte(&b, '\n');
	}
	if (b.len)
		output_field("attempts", buf_str(&b));
}

static void print_job(const struct cli *cli, const json_t *job)
{
	if (cli->format == OUTPUT_JSON) {
		output_json(job);
		return;
	}
	if (cli->format == OUTPUT_NAME || cli->format == OUTPUT_CSV) {
		CLEANUP_JSON json_t *listing = json_pack("{s:[O]}", "jobs", job);
		jobs_print(cli, listing);
		return;
	}
	print_plain(job);
	print_reasons(job);
	print_array(job);
	print_slices(job);
	show_request(json_object_get(job, "request"));
	print_transitions(job);
	print_attempts(job);
}

int verb_show(struct cli *cli, int argc, char **argv)
{
	struct show s = {0};
	CLEANUP_CLIENT struct client *c = NULL;
	struct args args = {
	        .parse = parse,
	        .input = &s,
	        .args_doc = "ID...",
	        .doc = "Shows everything about a job: its request, its history, its attempts.",
	        .is_listing = true,
	};
	struct err err;

	int rc = args_parse(cli, &args, argc, argv, &err);
	if (rc == 0)
		rc = client_open(cli, &c, &err);
	for (int i = 0; rc == 0 && i < s.n_ids; i++) {
		CLEANUP_BUF struct buf path = BUF_INIT(4096);
		CLEANUP_JSON json_t *job = NULL;
		buf_add_str(&path, "/v1/jobs/");
		client_add_encoded(&path, s.ids[i]);
		rc = client_get(c, buf_str(&path), &job, &err);
		if (rc)
			break;
		if (i && cli->format == OUTPUT_TABLE)
			putchar('\n');
		print_job(cli, job);
	}
	return rc ? cli_fail(cli, &err) : 0;
}
