#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "cli/args.h"
#include "cli/bench.h"
#include "cli/bench_place_run.h"
#include "cli/client.h"
#include "cli/output.h"
#include "plat/clock.h"
#include "sched/calibrate.h"
#include "sched/sched.h"

#define DEMAND_USUAL      1300
#define DEMAND_MOST       10000
#define SEED_USUAL        42
#define SEEDS_MOST        1000
#define CALIBRATE_MOST_S  30
#define CALIBRATE_STREAMS 3
#define CALIBRATE_STEP    5000 /* requests between looks at the clock */

struct place_bench {
	const char *nodes, *tasks, *policy;
	struct place_run run;
	uint64_t first_seed, last_seed;
	uint64_t calibrate_s; /* at most */
};

enum {
	KEY_NODES = 0x1000,
	KEY_TASKS,
	KEY_DEMAND,
	KEY_SEED,
	KEY_POLICY,
	KEY_CALIBRATE,
	KEY_LOAD,
	KEY_AUDIT
};

static const struct argp_option options[] = {
        {"nodes", KEY_NODES, "FILE", 0, "CSV with sn, cpu_milli, memory_mib, gpu, model", 1},
        {"tasks", KEY_TASKS, "FILE", 0,
                "CSV with cpu_milli, memory_mib, num_gpu, gpu_milli, and gpu_spec if there", 1},
        {"demand", KEY_DEMAND, "TIMES", 0, "how much arrives, in all devices; 1.3", 1},
        {"seed", KEY_SEED, "N|N-M", 0, "of the order of arrivals; several are averaged; 42", 1},
        {"policy", KEY_POLICY, "NAME", 0, "fragment, pack, spread, fgd or random", 1},
        {"calibrate", KEY_CALIBRATE, "SECONDS", 0,
                "how long fragment may try its settings on made-up tasks, 0 to 30; 30", 1},
        {"load", KEY_LOAD, "TIMES", 0,
                "tasks end and others wait: so much is asked for at a time, in all devices", 1},
        {"audit", KEY_AUDIT, NULL, 0, "check each decision against an exhaustive search", 1},
        {0},
};

static int parse_seeds(char *text, struct place_bench *b, struct err *err)
{
	char *dash = strchr(text, '-');
	int rc;

	if (dash)
		*dash = '\0';
	rc = num_parse_u64(text, UINT32_MAX, &b->first_seed, err);
	b->last_seed = b->first_seed;
	if (rc == 0 && dash)
		rc = num_parse_u64(dash + 1, UINT32_MAX, &b->last_seed, err);
	if (rc)
		return err_wrap(err, "--seed");
	if (b->last_seed < b->first_seed || b->last_seed - b->first_seed >= SEEDS_MOST)
		return err_set(
		        err, ERR_INVALID, "--seed: N-M is a range of at most %d seeds", SEEDS_MOST);
	return 0;
}

static int parse_times(const char *option, const char *text, uint32_t *ret, struct err *err)
{
	char *end;
	double d = strtod(text, &end);

	if (end == text || *end || !(d >= 0.001) || d > DEMAND_MOST / 1000.0)
		return err_set(err, ERR_INVALID, "%s: '%s' is not from 0.001 to %d", option, text,
		        DEMAND_MOST / 1000);
	*ret = (uint32_t)lround(d * 1000);
	return 0;
}

static int parse(int key, char *arg, struct argp_state *state, void *input, struct err *err)
{
	struct place_bench *b = input;

	(void)state;
	switch (key) {
	case KEY_NODES:
		b->nodes = arg;
		return 0;
	case KEY_TASKS:
		b->tasks = arg;
		return 0;
	case KEY_DEMAND:
		return parse_times("--demand", arg, &b->run.demand, err);
	case KEY_SEED:
		return parse_seeds(arg, b, err);
	case KEY_POLICY:
		b->policy = arg;
		return 0;
	case KEY_LOAD:
		return parse_times("--load", arg, &b->run.load, err);
	case KEY_AUDIT:
		b->run.is_audited = true;
		return 0;
	case KEY_CALIBRATE:
		return num_parse_u64(arg, CALIBRATE_MOST_S, &b->calibrate_s, err)
		               ? err_wrap(err, "--calibrate")
		               : 0;
	case ARGP_KEY_END:
		return b->nodes && b->tasks
		               ? 0
		               : err_set(err, ERR_INVALID, "--nodes and --tasks are needed");
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* Only the types of tasks are seen, and how common they are: not their order. NULL: nothing to choose. */
static struct calibration *calibrate(const struct place_bench *b, const struct place *p)
{
	uint64_t end_ns = clock_mono_ns() + b->calibrate_s * 1000000000;
	struct calibration *c;

	if (b->calibrate_s == 0 || strcmp(b->policy, "fragment") != 0)
		return NULL;
	c = calibration_new(p, b->run.demand / 1000.0, CALIBRATE_STREAMS);
	while (calibration_step(c, CALIBRATE_STEP) && clock_mono_ns() < end_ns)
		;
	return c;
}

static int run_all(struct place_bench *b, struct trace *t, struct place_tally *sum, struct err *err)
{
	const char *policy = strcmp(b->policy, "random") == 0 ? "pack" : b->policy;
	struct place *p = trace_place(t, policy);
	struct calibration *c;

	if (!p)
		return err_set(err, ERR_INVALID,
		        "--policy: '%s' is not fragment, pack, spread, fgd or random", b->policy);
	b->run.is_random = strcmp(b->policy, "random") == 0;
	c = calibrate(b, p);
	for (uint64_t seed = b->first_seed; seed <= b->last_seed; seed++) {
		if (c)
			calibration_adopt(c, p);
		place_run(&b->run, p, t, seed, sum);
		place_free(p);
		p = trace_place(t, policy);
	}
	place_free(p);
	calibration_free(c);
	return 0;
}

/* Answer */

static json_t *by_class(const uint64_t counts[CLASSES])
{
	json_t *o = json_object();

	for (int i = 0; i < CLASSES; i++)
		json_object_set_new(o, task_class_names[i], json_integer((json_int_t)counts[i]));
	return o;
}

/* In mean durations. */
static double mean_wait(const struct place_tally *sum, int c)
{
	return sum->waited[c] / (double)MAX(sum->arrived[c], 1);
}

static json_t *rows_of(const struct place_tally *sum)
{
	json_t *rows = json_array();

	for (int i = 0; i < CLASSES; i++)
		json_array_append_new(rows,
		        json_pack("{s:s, s:I, s:I, s:f}", "class", task_class_names[i], "arrived",
		                (json_int_t)sum->arrived[i], "rejected",
		                (json_int_t)sum->rejected[i], "mean_wait", mean_wait(sum, i)));
	return rows;
}

static json_t *answer_of(const struct place_bench *b, const struct place_tally *sum)
{
	double n = (double)sum->runs, mean = sum->share / n;
	double spread = n > 1 ? sqrt(fmax(0, (sum->share_squared - n * mean * mean) / (n - 1))) : 0;

	return json_pack("{s:i, s:s, s:I, s:I, s:f, s:f, s:f, s:o, s:o, s:I, s:f, s:I, s:f, s:o}",
	        "schema", 1, "policy", b->policy, "seed", (json_int_t)b->first_seed, "runs",
	        (json_int_t)sum->runs, "demand", b->run.demand / 1000.0, "allocated_share", mean,
	        "allocated_share_deviation", spread, "arrived", by_class(sum->arrived), "rejected",
	        by_class(sum->rejected), "decisions", (json_int_t)sum->decisions, "decisions_per_s",
	        (double)sum->decisions * 1e9 / (double)MAX(sum->took_ns, 1), "audit_wrong",
	        (json_int_t)sum->wrong, "load", b->run.load / 1000.0, "rows", rows_of(sum));
}

static void cell_class(const json_t *row, bool plain, struct buf *out)
{
	output_cell_string(json_object_get(row, "class"), plain, out);
}

static void cell_arrived(const json_t *row, bool plain, struct buf *out)
{
	(void)plain;
	buf_addf(out, "%lld", (long long)json_integer_value(json_object_get(row, "arrived")));
}

static void cell_rejected(const json_t *row, bool plain, struct buf *out)
{
	json_int_t n = json_integer_value(json_object_get(row, "rejected"));
	json_int_t of = json_integer_value(json_object_get(row, "arrived"));

	if (plain)
		buf_addf(out, "%lld", (long long)n);
	else
		buf_addf(out, "%.2f %%", 100.0 * (double)n / (double)MAX(of, 1));
}

static void cell_wait(const json_t *row, bool plain, struct buf *out)
{
	(void)plain;
	buf_addf(out, "%.3f", json_number_value(json_object_get(row, "mean_wait")));
}

static const struct output_column columns[] = {
        {"CLASS", cell_class},
        {"ARRIVED", cell_arrived, .right = true},
        {"REJECTED", cell_rejected, .right = true},
        {"WAIT", cell_wait, .right = true},
};
static const struct output_listing listing = {.array_key = "rows",
        .name_key = "class",
        .columns = columns,
        .n_columns = ARRAY_LEN(columns)};

static void print_head(const struct cli *cli, const struct trace *t, const json_t *answer)
{
	CLEANUP_BUF struct buf head = BUF_INIT(4 * KIB);

	if (cli->format != OUTPUT_TABLE && cli->format != OUTPUT_WIDE)
		return;
	buf_addf(&head,
	        "%s: %.2f %% of %llu devices of %u nodes allocated (deviation %.2f, runs %lld), %.0f decisions a second",
	        json_string_value(json_object_get(answer, "policy")),
	        100 * json_number_value(json_object_get(answer, "allocated_share")),
	        (unsigned long long)t->n_devices, t->n_nodes,
	        100 * json_number_value(json_object_get(answer, "allocated_share_deviation")),
	        json_integer_value(json_object_get(answer, "runs")),
	        json_number_value(json_object_get(answer, "decisions_per_s")));
	output_line(buf_str(&head));
}

int bench_place(struct cli *cli, int argc, char **argv)
{
	struct place_bench b = {.policy = SCHED_POLICY_USUAL,
	        .run = {.demand = DEMAND_USUAL},
	        .first_seed = SEED_USUAL,
	        .last_seed = SEED_USUAL,
	        .calibrate_s = CALIBRATE_MOST_S};
	struct args args = {.options = options,
	        .parse = parse,
	        .input = &b,
	        .doc = "Places the tasks of a trace on its nodes as the server would, and says how much of the devices was given out, and whom it turned away.",
	        .is_listing = true};
	struct trace t = {0};
	struct place_tally sum = {0};
	struct err err;
	int rc = args_parse(cli, &args, argc, argv, &err);

	if (rc == 0)
		rc = trace_read_nodes(b.nodes, &t, &err);
	if (rc == 0)
		rc = trace_read_tasks(b.tasks, &t, &err);
	if (rc == 0)
		rc = run_all(&b, &t, &sum, &err);
	if (rc == 0 && sum.wrong)
		rc = err_set(&err, ERR_INTERNAL,
		        "%llu of %llu decisions are not those of an exhaustive search",
		        (unsigned long long)sum.wrong, (unsigned long long)sum.decisions);
	if (rc == 0) {
		CLEANUP_JSON json_t *answer = answer_of(&b, &sum);
		print_head(cli, &t, answer);
		output_listing(cli, &listing, answer);
	}
	trace_done(&t);
	return rc ? cli_fail(cli, &err) : 0;
}
