#include "cli/jobs.h"

#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "cli/args.h"
#include "cli/client.h"
#include "cli/ending.h"
#include "cli/output.h"

enum { KEY_ALL = 'a', KEY_LIMIT = 0x1000, KEY_STATE, KEY_USER, KEY_ARRAY };

int jobs_parse_ids(int key, struct argp_state *state, char ***ret_ids, int *ret_n, struct err *err)
{
	switch (key) {
	case ARGP_KEY_ARG:
		args_take_rest(state, ret_ids, ret_n);
		return 0;
	case ARGP_KEY_END:
		if (*ret_n == 0)
			return err_set(err, ERR_INVALID, "no job was named")
			               ? err_hint(err, "berth ps lists the ids")
			               : 0;
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

#define STRING_CELL(name, key)                                             \
	static void name(const json_t *job, bool plain, struct buf *out)   \
	{                                                                  \
		output_cell_string(json_object_get(job, key), plain, out); \
	}
#define TIME_CELL(name, key)                                             \
	static void name(const json_t *job, bool plain, struct buf *out) \
	{                                                                \
		output_cell_time(json_object_get(job, key), plain, out); \
	}

STRING_CELL(cell_id, "id")
STRING_CELL(cell_name, "name")
STRING_CELL(cell_queue, "queue")
STRING_CELL(cell_user, "user")
STRING_CELL(cell_priority, "priority")
STRING_CELL(cell_attempt, "attempt")
STRING_CELL(cell_node, "node")
STRING_CELL(cell_code, "exit_code")
TIME_CELL(cell_submitted, "submitted_at")
TIME_CELL(cell_started, "started_at")
TIME_CELL(cell_ended, "ended_at")

/* An array that is spread over states shows how far it is: "RUNNING 8/100". */
static void cell_state(const json_t *job, bool plain, struct buf *out)
{
	const json_t *array = json_object_get(job, "array");

	output_cell_string(json_object_get(job, "state"), plain, out);
	if (plain || !json_is_object(array))
		return;
	json_t *done = json_object_get(json_object_get(array, "states"), "COMPLETED");
	buf_addf(out, " %lld/%lld", (long long)json_integer_value(done),
	        (long long)json_integer_value(json_object_get(array, "tasks")));
}

void jobs_cell_slices(const json_t *job, bool plain, struct buf *out)
{
	const json_t *slice;
	size_t i;

	json_array_foreach(json_object_get(job, "slices"), i, slice)
	{
		if (i)
			buf_add_str(out, plain ? ";" : ", ");
		if (plain) {
			output_cell_string(json_object_get(slice, "device"), true, out);
			buf_add_byte(out, ':');
		}
		output_cell_bytes(json_object_get(slice, "mem_bytes"), plain, out);
		buf_add_byte(out, plain ? ':' : ' ');
		output_cell_milli(json_object_get(slice, "share_milli"), plain, out);
	}
	if (out->len == 0 && !plain)
		buf_add_byte(out, '-');
}

static void add_place(const json_t *job, struct buf *out)
{
	buf_add_str(out, "on ");
	cli_add_shown(out, json_string_value(json_object_get(job, "node")));
}

/* Why it waits, else where it is, else how it ended; of an ended array, how its tasks did. */
static void cell_detail(const json_t *job, bool plain, struct buf *out)
{
	const json_t *code = json_object_get(job, "exit_code");
	const char *reason = ending_reason(job);

	if (ending_is_final(job) && json_is_object(json_object_get(job, "array")))
		ending_add_tasks(job, out);
	else if (reason)
		cli_add_shown(out, reason);
	else if (json_is_integer(code))
		buf_addf(out, "exit code %lld", (long long)json_integer_value(code));
	else if (!ending_is_final(job) && json_is_string(json_object_get(job, "node")))
		add_place(job, out);
	else if (!plain)
		buf_add_byte(out, '-');
}

static const struct output_column columns[] = {
        {"ID", cell_id},
        {"NAME", cell_name, .may_cut = true},
        {"QUEUE", cell_queue},
        {"USER", cell_user},
        {"STATE", cell_state, .is_state = true},
        {"GPU", jobs_cell_slices},
        {"PRIORITY", cell_priority, .wide_only = true, .right = true},
        {"ATTEMPT", cell_attempt, .wide_only = true, .right = true},
        {"NODE", cell_node, .wide_only = true},
        {"CODE", cell_code, .wide_only = true, .right = true},
        {"SUBMITTED", cell_submitted, .wide_only = true},
        {"STARTED", cell_started, .wide_only = true},
        {"ENDED", cell_ended, .wide_only = true},
        {"DETAIL", cell_detail, .may_cut = true},
};

static const struct output_listing listing = {
        .array_key = "jobs",
        .name_key = "id",
        .columns = columns,
        .n_columns = ARRAY_LEN(columns),
        .when_empty = "no jobs",
};

void jobs_print(const struct cli *cli, const json_t *answer)
{
	output_listing(cli, &listing, answer);
}

struct ps {
	bool all;
	struct buf query;
};

static const struct argp_option ps_options[] = {
        {"all", KEY_ALL, NULL, 0, "ended jobs too", 1},
        {"limit", KEY_LIMIT, "N|all", 0, "how many at most; 100", 1},
        {"queue", 'q', "QUEUE", 0, "only of this queue", 1},
        {"state", KEY_STATE, "STATE", 0, "only in this state", 1},
        {"user", KEY_USER, "NAME", 0, "only of this user", 1},
        {"array", KEY_ARRAY, "ID", 0, "the tasks of this array", 1},
        {0},
};

static int add_filter(struct ps *p, const char *key, const char *value)
{
	buf_addf(&p->query, "&%s=", key);
	client_add_encoded(&p->query, value);
	return 0;
}

static int ps_parse(int key, char *arg, struct argp_state *state, void *input, struct err *err)
{
	struct ps *p = input;
	uint64_t limit;

	switch (key) {
	case KEY_ALL:
		p->all = true;
		return 0;
	case KEY_LIMIT:
		if (strcmp(arg, "all") != 0 && num_parse_u64(arg, UINT32_MAX, &limit, err))
			return err_wrap(err, "--limit");
		return add_filter(p, "limit", arg);
	case 'q':
		return add_filter(p, "queue", arg);
	case KEY_STATE:
		return add_filter(p, "state", arg);
	case KEY_USER:
		return add_filter(p, "user", arg);
	case KEY_ARRAY:
		return add_filter(p, "array", arg);
	}
	return ARGP_ERR_UNKNOWN;
}

/* Nothing is cut off in silence. */
static void say_rest(const json_t *answer)
{
	long long total = json_integer_value(json_object_get(answer, "total"));
	long long shown = (long long)json_array_size(json_object_get(answer, "jobs"));

	if (json_is_string(json_object_get(answer, "next")) && total > shown)
		cli_say("%lld more follow; --limit all shows them", total - shown);
	else if (json_is_string(json_object_get(answer, "next")))
		cli_say("more follow; --limit all shows them");
}

int verb_ps(struct cli *cli, int argc, char **argv)
{
	struct ps p = {.query = BUF_INIT(64 * KIB)};
	CLEANUP_BUF struct buf path = BUF_INIT(64 * KIB);
	CLEANUP_CLIENT struct client *c = NULL;
	CLEANUP_JSON json_t *answer = NULL;
	struct args args = {
	        .options = ps_options,
	        .parse = ps_parse,
	        .input = &p,
	        .doc = "Lists living jobs in queue order.",
	        .is_listing = true,
	};
	struct err err;

	int rc = args_parse(cli, &args, argc, argv, &err);
	if (rc == 0) {
		buf_addf(&path, "/v1/jobs?all=%d%s", p.all, buf_str(&p.query));
		rc = client_open(cli, &c, &err);
	}
	buf_done(&p.query);
	if (rc == 0)
		rc = client_get(c, buf_str(&path), &answer, &err);
	if (rc)
		return cli_fail(cli, &err);
	jobs_print(cli, answer);
	say_rest(answer);
	return 0;
}
