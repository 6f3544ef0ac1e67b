#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/args.h"
#include "cli/client.h"
#include "cli/jobs.h"
#include "cli/ending.h"
#include "cli/output.h"

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
		if (json_is_null(json_object_get(job, fields[i].key)))
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
		output_field(ending_is_final(job) ? "because" : "waits for", buf_str(&b));
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
		add_cell(&b, slice, "held_by", output_cell_string);
		buf_add_byte(&b, '\n');
	}
	if (b.len)
		output_field("slices", buf_str(&b));
}

static void print_array(const json_t *job)
{
	json_t *states = json_object_get(json_object_get(job, "array"), "states"), *n;
	CLEANUP_BUF struct buf b = BUF_INIT(64 * KIB);
	const char *state;

	json_object_foreach(states, state, n)
	        buf_addf(&b, "%lld %s\n", (long long)json_integer_value(n), state);
	if (b.len)
		output_field("tasks", buf_str(&b));
}

/* A word as a shell would take it. */
static void add_quoted(struct buf *b, const char *word)
{
	static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	                           "@%+=:,./-_";

	if (*word && word[strspn(word, safe)] == '\0') {
		buf_add_str(b, word);
		return;
	}
	buf_add_byte(b, '\'');
	for (; *word; word++) {
		if (*word == '\'')
			buf_add_str(b, "'\\''");
		else
			buf_add_byte(b, (uint8_t)*word);
	}
	buf_add_byte(b, '\'');
}

/* A value of any shape: lists by commas, objects as their keys and values. */
static void add_value(struct buf *b, json_t *value)
{
	const char *key, *between = "";
	json_t *item;
	size_t i;

	if (json_is_array(value)) {
		json_array_foreach(value, i, item)
		{
			buf_add_str(b, i ? "; " : "");
			add_value(b, item);
		}
	} else if (json_is_object(value)) {
		json_object_foreach(value, key, item)
		{
			buf_addf(b, "%s%s ", between, key);
			add_value(b, item);
			between = ", ";
		}
	} else {
		output_cell_string(value, false, b);
	}
}

static void print_request(const json_t *job)
{
	json_t *request = json_object_get(job, "request"), *value;
	CLEANUP_BUF struct buf b = BUF_INIT(16 * MIB);
	const char *key;
	const json_t *word;
	size_t i;

	json_array_foreach(json_object_get(request, "command"), i, word)
	{
		if (i)
			buf_add_byte(&b, ' ');
		add_quoted(&b, json_is_string(word) ? json_string_value(word) : "?");
	}
	if (b.len)
		output_field("command", buf_str(&b));
	json_object_foreach(request, key, value)
	{
		if (strcmp(key, "command") == 0 || strcmp(key, "env") == 0 || json_is_null(value))
			continue;
		if (json_is_array(value) && json_array_size(value) == 0)
			continue;
		buf_reset(&b);
		add_value(&b, value);
		output_field(key, buf_str(&b));
	}
}

static void print_history(const json_t *job)
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
	buf_reset(&b);
	json_array_foreach(json_object_get(job, "attempts"), i, t)
	{
		add_cell(&b, t, "attempt", output_cell_string);
		buf_add_str(&b, " on ");
		add_cell(&b, t, "node", output_cell_string);
		buf_add_str(&b, ": ");
		add_cell(&b, t, "state", output_cell_string);
		buf_add_str(&b, ", code ");
		add_cell(&b, t, "exit_code", output_cell_string);
		buf_add_str(&b, ", peak memory ");
		add_cell(&b, t, "peak_mem_bytes", output_cell_bytes);
		buf_add_str(&b, ", CPU ");
		add_cell(&b, t, "cpu_seconds", output_cell_string);
		buf_add_str(&b, " s, output ");
		add_cell(&b, t, "output_bytes", output_cell_bytes);
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
	print_request(job);
	print_history(job);
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
