#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/num.h"
#include "cli/args.h"
#include "cli/bench.h"
#include "cli/client.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/parts.h"
#include "plat/clock.h"

#define ROUNDS       3
#define JOBS_DEFAULT 1000
#define JOBS_MOST    100000
#define SAMPLES      100 /* of a latency, in one round */
#define POLL_MS      2
#define LOOK_MS      200 /* how soon an interrupt is seen */

/*
 * DESIGN. Each figure is taken beside its bare counterpart, in turns, and the best of a few rounds counts: what else the
 * machine does meanwhile then meets both. Without --data the server is one of its own in a temporary directory, which is
 * gone at the end; with it, one that runs and has nothing to do.
 */
struct bench {
	struct cli *cli;
	struct client *c;
	uint64_t n_jobs;
	char *scratch; /* for the output of what runs bare; the private server is in it */
	char *self;    /* this program */
	const char *data_dir;
	json_t *rows;
};

enum { KEY_JOBS = 0x1000 };

static const struct argp_option options[] = {
        {"jobs", KEY_JOBS, "N", 0, "in each round; 1000", 1},
        {0},
};

static int parse(int key, char *arg, struct argp_state *state, void *input, struct err *err)
{
	struct bench *b = input;

	if (key == KEY_JOBS) {
		if (num_parse_u64(arg, JOBS_MOST, &b->n_jobs, err))
			return err_wrap(err, "--jobs");
		return b->n_jobs ? 0 : err_set(err, ERR_INVALID, "--jobs is at least 1");
	}
	return key == ARGP_KEY_END ? 0 : ARGP_ERR_UNKNOWN;
}

/* Processes */

static int run(const char *path, const char *const argv[], const char *out, struct err *err)
{
	int status, rc;
	pid_t pid;

	rc = bench_spawn(path, argv, out, &pid, err);
	if (rc)
		return rc;
	while (waitpid(pid, &status, 0) < 0)
		; /* a signal */
	if (interrupt_count())
		return err_set(err, ERR_UNAVAILABLE, "interrupted");
	return WIFEXITED(status) && WEXITSTATUS(status) == 0
	               ? 0
	               : err_set(err, ERR_UNAVAILABLE, "%s %s failed", argv[0],
	                         argv[1] ? argv[1] : "");
}

static int run_true(struct err *err)
{
	return run("/bin/true", (const char *[]){"true", NULL}, "/dev/null", err);
}

/* What Berth is measured against: n times /bin/true, each with its output in a file, so many at once. */
static int bare_loop(
        struct bench *b, uint64_t n, unsigned at_once, double *ret_rate, struct err *err)
{
	uint64_t begin_ns = clock_mono_ns(), started = 0, running = 0;
	pid_t pid;
	int rc = 0;

	while (rc == 0 && (started < n || running)) {
		if (started < n && running < at_once) {
			CLEANUP_BUF struct buf out = BUF_INIT(PATH_MAX);
			buf_addf(&out, "%s/%llu.out", b->scratch, (unsigned long long)started++);
			rc = bench_spawn("/bin/true", (const char *[]){"true", NULL}, buf_str(&out),
			        &pid, err);
			running += rc == 0;
		} else {
			running -= waitpid(-1, NULL, 0) > 0;
		}
		if (rc == 0 && interrupt_count())
			rc = err_set(err, ERR_UNAVAILABLE, "interrupted");
	}
	*ret_rate = (double)n * 1e9 / (double)(clock_mono_ns() - begin_ns);
	return rc;
}

/* Jobs */

static int check_interrupt(struct err *err)
{
	return interrupt_count() ? err_set(err, ERR_UNAVAILABLE, "interrupted") : 0;
}

/* Sends n lines on a connection of their own; the seconds from the first byte to the last answer. ids may be NULL. */
static int submit_lines(
        struct bench *b, const char *line, uint64_t n, double *ret_s, json_t *ids, struct err *err)
{
	CLEANUP_BUF struct buf body = BUF_INIT(GIB);
	struct http_request r = {
	        .method = "POST", .path = "/v1/jobs", .type = "application/x-ndjson"};
	struct http *h;
	int rc = client_connect(b->c, &h, err);

	if (rc)
		return rc;
	for (uint64_t i = 0; i < n; i++)
		buf_add_str(&body, line);
	r.body = body.data;
	r.len = body.len;
	uint64_t begin_ns = clock_mono_ns();
	http_send(h, &r);
	while (rc >= 0 && !http_ended(h)) {
		rc = http_step(h, LOOK_MS, err);
		if (rc >= 0)
			rc = check_interrupt(err);
	}
	*ret_s = (double)(clock_mono_ns() - begin_ns) / 1e9;
	rc = MIN(rc, 0);
	if (rc == 0 && http_status(h) >= 300)
		rc = client_refusal(h, err);
	char *at = rc ? NULL : (char *)(uintptr_t)buf_str(http_body(h)), *next;
	for (; rc == 0 && at && *at; at = next) {
		next = strchr(at, '\n');
		next = next ? next + 1 : at + strlen(at);
		json_t *answer = json_loadb(at, (size_t)(next - at), 0, NULL);
		const char *id = json_string_value(json_object_get(answer, "id"));
		if (!id)
			rc = err_set(err, ERR_UNAVAILABLE, "a job was refused: %.*s",
			        (int)MIN(next - at, 200), at);
		else if (ids)
			json_array_append_new(ids, json_string(id));
		json_decref(answer);
	}
	http_free(h);
	return rc;
}

static int is_idle(struct bench *b, bool *ret_idle, struct err *err)
{
	CLEANUP_JSON json_t *s = NULL;
	int rc = client_get(b->c, "/v1/server", &s, err);

	if (rc == 0)
		*ret_idle = json_integer_value(json_object_get(s, "jobs_waiting")) == 0 &&
		            json_integer_value(json_object_get(s, "jobs_running")) == 0;
	return rc;
}

static int wait_idle(struct bench *b, struct err *err)
{
	bool idle = false;
	int rc;

	while ((rc = is_idle(b, &idle, err)) == 0 && !idle) {
		rc = check_interrupt(err);
		if (rc)
			return rc;
		interrupt_poll(NULL, 0, POLL_MS);
	}
	return rc;
}

static int cancel_all(struct bench *b, const json_t *ids, struct err *err)
{
	const json_t *id;
	size_t i;
	int rc = 0;

	json_array_foreach(ids, i, id)
	{
		CLEANUP_BUF struct buf path = BUF_INIT(256);
		struct client_call call = {.method = "POST"};
		buf_addf(&path, "/v1/jobs/%s/cancel", json_string_value(id));
		call.path = buf_str(&path);
		rc = client_call(b->c, &call, NULL, err);
		if (rc == 0)
			rc = check_interrupt(err);
		if (rc)
			break;
	}
	return rc;
}

/* Figures */

/* Three digits behind the point: more would be noise. */
static double rounded(double value)
{
	return (double)(int64_t)(value * 1000 + 0.5) / 1000;
}

/* beside: NULL when nothing stands beside it. */
static void add_row(struct bench *b, const char *figure, const char *unit, double value,
        const char *beside, double beside_value)
{
	json_array_append_new(
	        b->rows, json_pack("{s:s, s:s, s:f, s:s?, s:o, s:o}", "figure", figure, "unit",
	                         unit, "value", rounded(value), "beside", beside, "beside_value",
	                         beside ? json_real(rounded(beside_value)) : json_null(), "ratio",
	                         beside ? json_real(rounded(value / beside_value)) : json_null()));
}

static int measure_jobs(struct bench *b, struct err *err)
{
	static const char held[] =
	        "{\"command\":[\"/bin/true\"],\"chdir\":\"/\",\"name\":\"bench\",\"hold\":true}\n";
	static const char noop[] =
	        "{\"command\":[\"/bin/true\"],\"cpus\":0,\"chdir\":\"/\",\"name\":\"bench\"}\n";
	double submits = 0, jobs = 0, bare = 0, seconds, rate;
	int rc = submit_lines(b, noop, MIN(b->n_jobs, SAMPLES), &seconds, NULL, err);

	if (rc == 0)
		rc = wait_idle(b, err);
	for (int i = 0; rc == 0 && i < ROUNDS; i++) {
		CLEANUP_JSON json_t *ids = json_array();
		rc = submit_lines(b, held, b->n_jobs, &seconds, ids, err);
		submits = MAX(submits, (double)b->n_jobs / seconds);
		if (rc == 0)
			rc = cancel_all(b, ids, err);
		uint64_t begin_ns = clock_mono_ns();
		if (rc == 0)
			rc = submit_lines(b, noop, b->n_jobs, &seconds, NULL, err);
		if (rc == 0)
			rc = wait_idle(b, err);
		rate = (double)b->n_jobs * 1e9 / (double)(clock_mono_ns() - begin_ns);
		jobs = MAX(jobs, rate);
		for (unsigned at_once = 2; rc == 0 && at_once <= 4; at_once += 2) {
			rc = bare_loop(b, b->n_jobs, at_once, &rate, err);
			bare = MAX(bare, rate);
		}
	}
	if (rc == 0) {
		add_row(b, "no-op jobs, end to end", "per second", jobs, "bare spawn-and-wait loop",
		        bare);
		add_row(b, "durable submits, one connection", "per second", submits, NULL, 0);
	}
	return rc;
}

static int cmp_double(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *v, size_t n)
{
	qsort(v, n, sizeof(*v), cmp_double);
	return v[n / 2];
}

static double wall_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* From the answer to a submit until the command looks at the clock; the command is `date`, whose own start is in it. */
static int start_job(struct bench *b, double *ret_ms, struct err *err)
{
	CLEANUP_JSON json_t *body = json_pack("{s:[s,s], s:i, s:s, s:s}", "command", "/bin/date",
	        "+%s%N", "cpus", 0, "chdir", "/", "name", "bench");
	struct client_call call = {.method = "POST", .path = "/v1/jobs", .body = body};
	CLEANUP_BUF struct buf path = BUF_INIT(256);
	CLEANUP_JSON json_t *job = NULL;
	CLEANUP_JSON json_t *stamp = NULL;
	int rc = client_call(b->c, &call, &job, err);
	double acked_ms = wall_ms();

	if (rc)
		return rc;
	buf_addf(&path, "/v1/jobs/%s/wait", json_string_value(json_object_get(job, "id")));
	rc = client_get(b->c, buf_str(&path), NULL, err);
	buf_reset(&path);
	buf_addf(&path, "/v1/jobs/%s/logs", json_string_value(json_object_get(job, "id")));
	if (rc == 0)
		rc = client_get(b->c, buf_str(&path), &stamp, err);
	if (rc == 0 && !json_is_integer(stamp))
		rc = err_set(err, ERR_UNAVAILABLE, "a job of this measurement did not run");
	if (rc == 0)
		*ret_ms = (double)json_integer_value(stamp) / 1e6 - acked_ms;
	return rc;
}

static int start_bare(struct bench *b, double *ret_ms, struct err *err)
{
	CLEANUP_BUF struct buf out = BUF_INIT(PATH_MAX);

	buf_addf(&out, "%s/date", b->scratch);
	double begin_ms = wall_ms();
	int rc = run("/bin/date", (const char *[]){"date", "+%s%N", NULL}, buf_str(&out), err);
	FILE *f = rc ? NULL : fopen(buf_str(&out), "re");
	unsigned long long ns = 0;
	if (rc == 0 && (!f || fscanf(f, "%llu", &ns) != 1))
		rc = err_set(err, ERR_IO, "date printed no time");
	if (f)
		fclose(f);
	*ret_ms = (double)ns / 1e6 - begin_ms;
	return rc;
}

static int time_verb(struct bench *b, double *ret_ms, struct err *err)
{
	const char *argv[] = {"berth", "queues", "-o", "json", "--data", b->data_dir, NULL};
	uint64_t begin_ns = clock_mono_ns();
	int rc = run(b->self, argv, "/dev/null", err);

	*ret_ms = (double)(clock_mono_ns() - begin_ns) / 1e6;
	return rc;
}

static int time_true(struct bench *b, double *ret_ms, struct err *err)
{
	uint64_t begin_ns = clock_mono_ns();
	int rc = run_true(err);

	*ret_ms = (double)(clock_mono_ns() - begin_ns) / 1e6;
	return rc;
}

/* The best of the medians of ours and of what stands beside it, taken in turns. */
static int measure_latency(struct bench *b, const char *figure,
        int (*ours)(struct bench *b, double *ret_ms, struct err *err), const char *beside,
        int (*bare)(struct bench *b, double *ret_ms, struct err *err), struct err *err)
{
	double v[SAMPLES], w[SAMPLES], best = 0, best_bare = 0;
	size_t n = MIN(b->n_jobs, SAMPLES);
	int rc = 0;

	for (int i = 0; rc == 0 && i < ROUNDS; i++) {
		for (size_t k = 0; rc == 0 && k < n; k++) {
			rc = ours(b, &v[k], err);
			if (rc == 0)
				rc = bare(b, &w[k], err);
		}
		if (rc)
			return rc;
		double m = median(v, n), m_bare = median(w, n);
		best = i ? MIN(best, m) : m;
		best_bare = i ? MIN(best_bare, m_bare) : m_bare;
	}
	add_row(b, figure, "ms", best, beside, best_bare);
	return rc;
}

/* Table */

static void add_number(struct buf *out, const json_t *row, const char *key, bool plain)
{
	const char *unit = json_string_value(json_object_get(row, "unit"));
	double value = json_real_value(json_object_get(row, key));
	bool is_rate = unit && strcmp(unit, "ms") != 0;

	if (!json_is_real(json_object_get(row, key)))
		output_cell_string(NULL, plain, out);
	else if (plain)
		buf_addf(out, "%g", value);
	else
		buf_addf(out, is_rate ? "%.0f %s" : "%.2f %s", value, unit ? unit : "");
}

static void cell_figure(const json_t *row, bool plain, struct buf *out)
{
	output_cell_string(json_object_get(row, "figure"), plain, out);
}

static void cell_unit(const json_t *row, bool plain, struct buf *out)
{
	output_cell_string(json_object_get(row, "unit"), plain, out);
}

static void cell_value(const json_t *row, bool plain, struct buf *out)
{
	add_number(out, row, "value", plain);
}

static void cell_beside(const json_t *row, bool plain, struct buf *out)
{
	output_cell_string(json_object_get(row, "beside"), plain, out);
}

static void cell_beside_value(const json_t *row, bool plain, struct buf *out)
{
	add_number(out, row, "beside_value", plain);
}

static void cell_ratio(const json_t *row, bool plain, struct buf *out)
{
	const json_t *ratio = json_object_get(row, "ratio");

	if (json_is_real(ratio))
		buf_addf(out, "%.2f", json_real_value(ratio));
	else
		output_cell_string(NULL, plain, out);
}

static const struct output_column columns[] = {
        {"FIGURE", cell_figure},
        {"UNIT", cell_unit, .wide_only = true},
        {"BERTH", cell_value, .right = true},
        {"BESIDE IT", cell_beside},
        {"BARE", cell_beside_value, .right = true},
        {"RATIO", cell_ratio, .right = true},
};

static const struct output_listing listing = {.array_key = "rows",
        .name_key = "figure",
        .columns = columns,
        .n_columns = ARRAY_LEN(columns)};

/* Life */

static int serve_alone(struct bench *b, struct err *err)
{
	const char *argv[] = {"berth", "up", "-d", "--data", b->data_dir, NULL};

	/* As the account that measures: root makes no account for this. */
	setenv("BERTH_CONF_SERVER_USER", "root", 0);
	return run(b->self, argv, "/dev/null", err);
}

static int measure(struct bench *b, struct err *err)
{
	bool idle = false;
	int rc = client_open(b->cli, &b->c, err);

	if (rc == 0)
		rc = is_idle(b, &idle, err);
	if (rc == 0 && !idle)
		rc = err_set(err, ERR_CONFLICT, "jobs wait or run in %s", b->data_dir)
		             ? err_hint(err, "without --data a server of its own is measured")
		             : 0;
	if (rc == 0)
		rc = measure_jobs(b, err);
	if (rc == 0)
		rc = measure_latency(b, "submit answered until the command runs, p50", start_job,
		        "spawn until it runs, p50", start_bare, err);
	if (rc == 0)
		rc = measure_latency(b, "a client verb on the socket, p50", time_verb,
		        "spawn of /bin/true, p50", time_true, err);
	client_close(b->c);
	return rc;
}

static int measure_somewhere(struct bench *b, struct err *err)
{
	const char *given = b->cli->data_option;
	char *dir = NULL;
	struct err ignored;

	if (bench_scratch("/tmp", &b->scratch, err))
		return -(int)err->kind;
	BUG_IF(asprintf(&dir, "%s/data", b->scratch) < 0);
	unsetenv("BERTH_URL");
	interrupt_catch(false);
	b->data_dir = b->cli->data_option = given ? given : dir;
	int rc = given ? 0 : serve_alone(b, err);
	if (rc == 0)
		rc = measure(b, err);
	if (!given)
		(void)!run(b->self, (const char *[]){"berth", "down", "--data", dir, NULL},
		        "/dev/null", &ignored);
	bench_sweep(b->scratch);
	free(dir);
	return rc;
}

int verb_bench(struct cli *cli, int argc, char **argv)
{
	struct bench b = {.cli = cli, .n_jobs = JOBS_DEFAULT};
	struct args args = {.options = options,
	        .parse = parse,
	        .input = &b,
	        .doc = "Measures Berth on this machine beside what is bare: a server of its own, or with --data one that runs and has nothing to do. `berth bench slice` measures slices of a GPU, `berth bench place` the placement on the nodes of a trace, `berth bench replay` runs the recording of a server again.",
	        .is_listing = true};
	static const struct args_sub subs[] = {
	        {"place", bench_place}, {"replay", bench_replay}, {"slice", bench_slice}, {0}};
	struct err err;

	if (argc > 1 && argv[1][0] != '-')
		return args_run_sub(cli, subs, argc, argv);
	int rc = args_parse(cli, &args, argc, argv, &err);
	if (rc)
		return cli_fail(cli, &err);
	CLEANUP_JSON json_t *answer = json_pack("{s:i, s:[]}", "schema", 1, "rows");
	b.rows = json_object_get(answer, "rows");
	b.self = parts_self();
	rc = measure_somewhere(&b, &err);
	free(b.self);
	if (rc)
		return cli_fail(cli, &err);
	output_listing(cli, &listing, answer);
	return 0;
}
