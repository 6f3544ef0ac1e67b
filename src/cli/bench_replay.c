#include <jansson.h>
#include <string.h>

#include "cli/args.h"
#include "cli/bench.h"
#include "cli/client.h"
#include "cli/output.h"
#include "cli/replay.h"

struct replay_bench {
	const char *file, *policy, *write;
};

enum { KEY_POLICY = 0x1000, KEY_WRITE };

static const struct argp_option options[] = {
        {"policy", KEY_POLICY, "NAME", 0,
                "let fragment, pack, spread or fgd plan instead; attempts take as long as they took",
                1},
        {"write", KEY_WRITE, "FILE", 0, "with --policy: record what comes of it in this new file",
                1},
        {0},
};

static int parse(int key, char *arg, struct argp_state *state, void *input, struct err *err)
{
	struct replay_bench *b = input;

	switch (key) {
	case KEY_POLICY:
		b->policy = arg;
		return 0;
	case KEY_WRITE:
		b->write = arg;
		return 0;
	case ARGP_KEY_ARG:
		if (state->arg_num)
			return ARGP_ERR_UNKNOWN;
		b->file = arg;
		return 0;
	case ARGP_KEY_END:
		if (!b->file)
			return err_set(err, ERR_INVALID, "a recording is needed");
		return b->write && !b->policy ? err_set(err, ERR_INVALID, "--write needs --policy")
		                              : 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* Answer */

static json_t *rows_of(const struct replay *r)
{
	json_t *rows = json_array();

	for (int i = 0; i < CLASSES; i++) {
		const struct replay_class *c = &r->classes[i];
		json_array_append_new(rows,
		        json_pack("{s:s, s:I, s:I, s:f, s:f, s:f, s:f}", "class",
		                task_class_names[i], "started", (json_int_t)c->started, "waiting",
		                (json_int_t)c->waiting, "mean_wait_s", replay_mean_wait(c) / 1000,
		                "p50_wait_s", (double)replay_wait_at(c, 0.5) / 1000, "p95_wait_s",
		                (double)replay_wait_at(c, 0.95) / 1000, "longest_wait_s",
		                (double)replay_wait_at(c, 1) / 1000));
	}
	return rows;
}

static json_t *difference_of(const struct replay *r)
{
	return r->differs_at ? json_pack("{s:I, s:s}", "line", (json_int_t)r->differs_at, "text",
	                               r->difference)
	                     : json_null();
}

static json_t *answer_of(const struct replay_bench *b, const struct replay *r)
{
	double all = r->all > 0 ? r->all : 1, unused = r->all - r->used;

	return json_pack("{s:i, s:s, s:b, s:f, s:I, s:I, s:I, s:f, s:f, s:o, s:o}", "schema", 1,
	        "policy", r->policy, "compared", b->policy == NULL, "duration_s",
	        (double)(r->until_ms - r->from_ms) / 1000, "submitted", (json_int_t)r->submitted,
	        "plans", (json_int_t)r->plans, "placements", (json_int_t)r->placements,
	        "allocated_share", r->used / all, "fragmented_share",
	        unused > 0 ? r->broken / unused : 0, "difference", difference_of(r), "rows",
	        rows_of(r));
}

static void cell_class(const json_t *row, bool plain, struct buf *out)
{
	output_cell_string(json_object_get(row, "class"), plain, out);
}

static void add_count(const json_t *row, const char *key, struct buf *out)
{
	buf_addf(out, "%lld", (long long)json_integer_value(json_object_get(row, key)));
}

static void cell_started(const json_t *row, bool plain, struct buf *out)
{
	(void)plain;
	add_count(row, "started", out);
}

static void cell_waiting(const json_t *row, bool plain, struct buf *out)
{
	(void)plain;
	add_count(row, "waiting", out);
}

static void add_wait(const json_t *row, const char *key, bool plain, struct buf *out)
{
	buf_addf(out, plain ? "%.3f" : "%.1f s", json_number_value(json_object_get(row, key)));
}

static void cell_mean(const json_t *row, bool plain, struct buf *out)
{
	add_wait(row, "mean_wait_s", plain, out);
}

static void cell_p50(const json_t *row, bool plain, struct buf *out)
{
	add_wait(row, "p50_wait_s", plain, out);
}

static void cell_p95(const json_t *row, bool plain, struct buf *out)
{
	add_wait(row, "p95_wait_s", plain, out);
}

static void cell_longest(const json_t *row, bool plain, struct buf *out)
{
	add_wait(row, "longest_wait_s", plain, out);
}

static const struct output_column columns[] = {
        {"CLASS", cell_class},
        {"STARTED", cell_started, .right = true},
        {"WAITING", cell_waiting, .right = true},
        {"MEAN WAIT", cell_mean, .right = true},
        {"P50", cell_p50, .right = true},
        {"P95", cell_p95, .right = true},
        {"LONGEST", cell_longest, .right = true},
};
static const struct output_listing listing = {.array_key = "rows",
        .name_key = "class",
        .columns = columns,
        .n_columns = ARRAY_LEN(columns)};

static void print_head(const struct cli *cli, const struct replay_bench *b, const json_t *answer)
{
	CLEANUP_BUF struct buf head = BUF_INIT(4 * KIB);

	if (cli->format != OUTPUT_TABLE && cli->format != OUTPUT_WIDE)
		return;
	buf_addf(&head, "%s: %.1f min, %lld submitted, %lld placed by %lld plans%s",
	        json_string_value(json_object_get(answer, "policy")),
	        json_number_value(json_object_get(answer, "duration_s")) / 60,
	        json_integer_value(json_object_get(answer, "submitted")),
	        json_integer_value(json_object_get(answer, "placements")),
	        json_integer_value(json_object_get(answer, "plans")),
	        b->policy                                             ? ""
	        : json_is_null(json_object_get(answer, "difference")) ? ", each as recorded"
	                                                              : ", not as recorded");
	output_line(buf_str(&head));
	buf_reset(&head);
	buf_addf(&head,
	        "%.2f %% of the GPUs given out; of the rest %.2f %% beside something on the same GPU",
	        100 * json_number_value(json_object_get(answer, "allocated_share")),
	        100 * json_number_value(json_object_get(answer, "fragmented_share")));
	output_line(buf_str(&head));
}

int bench_replay(struct cli *cli, int argc, char **argv)
{
	struct replay_bench b = {0};
	struct args args = {.options = options,
	        .parse = parse,
	        .input = &b,
	        .args_doc = "FILE",
	        .doc = "Runs the recording of a server (server.record) through the same code again: compares every plan with the one that was made, and says how long who waited, and how much of the GPUs was given out.",
	        .is_listing = true};
	struct replay r = {0};
	struct err err;
	int rc = args_parse(cli, &args, argc, argv, &err);

	if (rc == 0)
		rc = b.policy ? replay_by_policy(&r, b.file, b.policy, b.write, &err)
		              : replay_file(&r, b.file, &err);
	if (rc == 0) {
		CLEANUP_JSON json_t *answer = answer_of(&b, &r);
		print_head(cli, &b, answer);
		output_listing(cli, &listing, answer);
	}
	if (rc == 0 && r.differs_at)
		rc = err_set(&err, ERR_CONFLICT, "%s: line %llu: the plan differs: %s", b.file,
		        (unsigned long long)r.differs_at, r.difference);
	replay_done(&r);
	return rc ? cli_fail(cli, &err) : 0;
}
