#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/num.h"
#include "cli/args.h"
#include "cli/bench.h"
#include "cli/client.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/parts.h"
#include "gpu/gpu.h"

#define MEMORY    "/dev/shm" /* where the agent has ledgers */
#define READ_SIZE (4 * KIB)
#define LOOK_MS   200 /* how soon an interrupt is seen */

/*
 * DESIGN. The program berth-bench measures, in a directory of this one; it says each figure as a line of JSON, which is shown
 * when it has ended. It kills what it has started, and dies with this process; the directory is swept here.
 */
struct slice_bench {
	const char *device, *simulate;
	bool is_quick, is_forced;
	struct parts_argv words; /* of berth-bench */
	char *program, *scratch;
	json_t *answer, *rows;
	char code[32], why[400], hint[200]; /* what it could not do, if why is not "" */
};

enum { KEY_DEVICE = 0x1000, KEY_SIMULATE, KEY_QUICK, KEY_FORCE };

static const struct argp_option options[] = {
        {"device", KEY_DEVICE, "UUID|INDEX", 0, "else the first that a program finds", 1},
        {"quick", KEY_QUICK, NULL, 0, "a few cases, in seconds", 1},
        {"force", KEY_FORCE, NULL, 0, "also while others use the device", 1},
        {"simulate", KEY_SIMULATE, "SPEC", 0, "a simulated device: 8GiB, or a file", 1},
        {0},
};

static int parse(int key, char *arg, struct argp_state *state, void *input, struct err *err)
{
	struct slice_bench *b = input;

	switch (key) {
	case KEY_DEVICE:
		b->device = arg;
		return 0;
	case KEY_SIMULATE:
		b->simulate = arg;
		return 0;
	case KEY_QUICK:
		b->is_quick = true;
		return 0;
	case KEY_FORCE:
		b->is_forced = true;
		return 0;
	case ARGP_KEY_ARG:
		parts_argv_add(&b->words, arg);
		return 0;
	default:
		return key == ARGP_KEY_END ? 0 : ARGP_ERR_UNKNOWN;
	}
}

/* What berth-bench says */

static void take_words(json_t *line, const char *key, char *ret, size_t size)
{
	const char *s = json_string_value(json_object_get(line, key));

	snprintf(ret, size, "%s", s ? s : "");
}

static void take_line(struct slice_bench *b, const char *text, size_t len)
{
	CLEANUP_JSON json_t *line = json_loadb(text, len, 0, NULL);
	const char *begins = json_string_value(json_object_get(line, "begins"));

	if (json_object_get(line, "section")) {
		json_array_append(b->rows, line);
	} else if (json_object_get(line, "device")) {
		json_object_update_missing(b->answer, line);
	} else if (begins && isatty(STDERR_FILENO)) {
		cli_say("measuring %s", begins);
	} else if (json_object_get(line, "error")) {
		take_words(line, "code", b->code, sizeof(b->code));
		take_words(line, "error", b->why, sizeof(b->why));
		take_words(line, "hint", b->hint, sizeof(b->hint));
	}
}

/* Whole lines; what is left of one comes first the next time. */
static void take_lines(struct slice_bench *b, struct buf *in)
{
	const char *at = buf_str(in), *end;
	size_t taken = 0;

	while ((end = memchr(at + taken, '\n', in->len - taken))) {
		size_t len = (size_t)(end - at) - taken;
		take_line(b, at + taken, len);
		taken += len + 1;
	}
	buf_consume(in, taken);
}

/* Until it has ended, or an interrupt. */
static int read_lines(struct slice_bench *b, int fd, struct err *err)
{
	CLEANUP_BUF struct buf in = BUF_INIT(MIB);
	struct pollfd p = {.fd = fd, .events = POLLIN};

	for (;;) {
		if (interrupt_count())
			return err_set(err, ERR_UNAVAILABLE, "interrupted");
		if (interrupt_poll(&p, 1, LOOK_MS) <= 0)
			continue;
		uint8_t *room = buf_reserve(&in, READ_SIZE);
		ssize_t n = room ? read(fd, room, READ_SIZE) : 0;
		if (n <= 0)
			return 0;
		buf_commit(&in, (size_t)n);
		take_lines(b, &in);
	}
}

static int run_beside(struct slice_bench *b, const char *pipe_path, int fd, struct err *err)
{
	const char *const *words = (const char *const *)(uintptr_t)b->words.v;
	int status = 0, rc;
	pid_t pid;

	rc = bench_spawn(b->program, words, pipe_path, &pid, err);
	if (rc)
		return rc;
	rc = read_lines(b, fd, err);
	if (rc)
		kill(pid, SIGTERM);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (rc)
		return rc;
	if (*b->why) {
		enum err_kind kind = err_kind_find(b->code);
		err_fill(err, kind ? kind : ERR_UNAVAILABLE, "%s", b->why);
		return *b->hint ? err_hint(err, "%s", b->hint) : -(int)err->kind;
	}
	if (WIFSIGNALED(status))
		return err_set(err, ERR_UNAVAILABLE, "berth-bench was ended by signal %d",
		        WTERMSIG(status));
	return 0;
}

/* How it is begun */

static int add_simulated(struct slice_bench *b, struct parts_argv *words, struct err *err)
{
	char path[GPU_PATH_SIZE], *driver = NULL, *slash;
	int rc;

	if (!b->simulate)
		return 0;
	rc = gpu_simulate_write(b->simulate, b->scratch, path, err);
	if (rc == 0)
		rc = parts_find("fake/libcuda.so.1", &driver, err);
	if (rc)
		return rc;
	setenv("BERTH_FAKE_GPUS", path, 1);
	slash = strrchr(driver, '/');
	*slash = '\0';
	parts_argv_add_option(words, "--driver", driver);
	free(driver);
	return 0;
}

/* Options, the directory, and the sections that were named. */
static int make_words(struct slice_bench *b, const char *dir, struct err *err)
{
	struct parts_argv words = {0};

	parts_argv_add(&words, "berth-bench");
	int rc = add_simulated(b, &words, err);
	parts_argv_add_option(&words, "--device", b->device);
	if (b->is_quick)
		parts_argv_add(&words, "--quick");
	if (b->is_forced)
		parts_argv_add(&words, "--force");
	parts_argv_add(&words, "--");
	parts_argv_add(&words, dir);
	for (size_t i = 0; i < b->words.n; i++)
		parts_argv_add(&words, b->words.v[i]);
	parts_argv_done(&b->words);
	b->words = words;
	return rc;
}

static int measure_in(struct slice_bench *b, struct err *err)
{
	CLEANUP_BUF struct buf dir = BUF_INIT(GPU_PATH_SIZE), pipe = BUF_INIT(GPU_PATH_SIZE);
	int fd, rc;

	buf_addf(&dir, "%s/stage", b->scratch);
	buf_addf(&pipe, "%s/figures", b->scratch);
	rc = make_words(b, buf_str(&dir), err);
	if (rc)
		return rc;
	if (mkdir(buf_str(&dir), 0700) < 0 || mkfifo(buf_str(&pipe), 0600) < 0)
		return err_sys(err, errno, "%s", b->scratch);
	fd = open(buf_str(&pipe), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return err_sys(err, errno, "%s", buf_str(&pipe));
	rc = run_beside(b, buf_str(&pipe), fd, err);
	close(fd);
	return rc;
}

static int measure(struct slice_bench *b, struct err *err)
{
	int rc = parts_find("berth-bench", &b->program, err);

	interrupt_catch(false);
	if (rc == 0)
		rc = bench_scratch(access(MEMORY, W_OK) == 0 ? MEMORY : "/tmp", &b->scratch, err);
	if (rc == 0)
		rc = measure_in(b, err);
	bench_sweep(b->scratch);
	free(b->program);
	return rc;
}

/* Table */

static void cell_section(const json_t *row, bool plain, struct buf *out)
{
	output_cell_string(json_object_get(row, "section"), plain, out);
}

static void cell_figure(const json_t *row, bool plain, struct buf *out)
{
	output_cell_string(json_object_get(row, "figure"), plain, out);
}

/* What was seen, or why nothing was. */
static void cell_value(const json_t *row, bool plain, struct buf *out)
{
	const json_t *value = json_object_get(row, "value");
	const char *unit = json_string_value(json_object_get(row, "unit"));

	if (!json_is_number(value))
		output_cell_string(json_object_get(row, "note"), plain, out);
	else if (plain)
		buf_addf(out, "%.15g", json_number_value(value));
	else
		buf_addf(out, json_is_integer(value) ? "%.0f%s%s" : "%.2f%s%s",
		        json_number_value(value), unit && *unit ? " " : "", unit ? unit : "");
}

static void cell_unit(const json_t *row, bool plain, struct buf *out)
{
	output_cell_string(json_object_get(row, "unit"), plain, out);
}

static void cell_wanted(const json_t *row, bool plain, struct buf *out)
{
	output_cell_string(json_object_get(row, "wanted"), plain, out);
}

static void cell_met(const json_t *row, bool plain, struct buf *out)
{
	const json_t *met = json_object_get(row, "met");

	buf_addf(out, "%s", json_is_true(met) ? "met" : json_is_false(met) ? "MISSED" : "");
}

static const struct output_column columns[] = {
        {"SECTION", cell_section, .wide_only = true},
        {"FIGURE", cell_figure},
        {"UNIT", cell_unit, .wide_only = true},
        {"SEEN", cell_value},
        {"WANTED", cell_wanted},
        {"VERDICT", cell_met},
};

static const struct output_listing listing = {.array_key = "rows",
        .name_key = "figure",
        .columns = columns,
        .n_columns = ARRAY_LEN(columns)};

static const char *head_word(const json_t *answer, const char *key)
{
	const char *s = json_string_value(json_object_get(answer, key));

	return s ? s : "?";
}

static void print_head(const struct cli *cli, const json_t *answer)
{
	CLEANUP_BUF struct buf head = BUF_INIT(4 * KIB);
	char slice[24], context[24];

	if (cli->format != OUTPUT_TABLE && cli->format != OUTPUT_WIDE)
		return;
	num_format_size(
	        (uint64_t)json_integer_value(json_object_get(answer, "slice_bytes")), slice);
	num_format_size(
	        (uint64_t)json_integer_value(json_object_get(answer, "context_bytes")), context);
	buf_addf(&head, "%s, driver %s, CUDA %s, %s%s; slices of %s, contexts of %s",
	        head_word(answer, "model"), head_word(answer, "driver"), head_word(answer, "cuda"),
	        head_word(answer, "device"),
	        json_is_true(json_object_get(answer, "simulated"))
	                ? ": SIMULATED, which says nothing about a card"
	                : "",
	        slice, context);
	output_line(buf_str(&head));
}

static bool is_missed(const json_t *rows)
{
	const json_t *row;
	size_t i;

	json_array_foreach(rows, i, row)
	{
		if (json_is_false(json_object_get(row, "met")))
			return true;
	}
	return false;
}

int bench_slice(struct cli *cli, int argc, char **argv)
{
	struct slice_bench b = {0};
	struct args args = {.options = options,
	        .parse = parse,
	        .input = &b,
	        .args_doc = "[SECTION...]",
	        .doc = "Measures what slices hold and cost on a GPU that nobody else uses meanwhile: memory, race, shares, throughput, launch, start, switch. Ends with 1 when a figure is not what is wanted.",
	        .is_listing = true};
	struct err err;
	int rc = args_parse(cli, &args, argc, argv, &err);

	CLEANUP_JSON json_t *answer = json_pack("{s:i}", "schema", 1);
	CLEANUP_JSON json_t *rows = json_array();
	b.answer = answer;
	b.rows = rows;
	if (rc == 0)
		rc = measure(&b, &err);
	parts_argv_done(&b.words);
	if (rc)
		return cli_fail(cli, &err);
	json_object_set(answer, "rows", rows);
	print_head(cli, answer);
	output_listing(cli, &listing, answer);
	return is_missed(rows) ? 1 : 0;
}
