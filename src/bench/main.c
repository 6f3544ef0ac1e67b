/*
 * berth-bench: what slices hold and cost on this machine's device, one line of JSON for each figure. Started by `berth bench slice`
 * and by tests/gpu/run, in a directory that they make and remove; libc only, and it finds the rest of Berth beside itself.
 *   berth-bench [OPTION...] DIR [SECTION...]
 *   berth-bench ledgers DIR UUID LIMIT_BYTES CONTEXT_BYTES     one slice; prints where it is
 *   berth-bench tenant WORD...                                 a program that uses the device (tenant.c)
 * Ends with 0, with 1 when a figure is not what is wanted, or with 2 when nothing could be measured: then the line is an error.
 */
#include "bench/bench.h"

#include "bench/card.h"
#include "bench/ledgers.h"
#include "bench/tenants.h"

#include <argp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define GRANULE_BYTES (UINT64_C(2) << 20)
#define SECTIONS_MAX  16

enum { EXIT_MISSED = 1, EXIT_NOTHING = 2 };

static const struct section {
	const char *name;
	bool (*measure)(struct bench *b);
} sections[] = {
        {"memory", measure_memory},
        {"race", measure_race},
        {"shares", measure_shares},
        {"throughput", measure_throughput},
        {"launch", measure_launch},
        {"start", measure_start},
        {"switch", measure_switch},
};
#define N_SECTIONS (sizeof sections / sizeof *sections)

struct asked {
	struct bench bench;
	const char *driver_dir, *device;
	bool is_forced;
	const struct section *sections[SECTIONS_MAX];
	unsigned n_sections;
};

/* -- what was asked for -- */

enum { KEY_SHIM = 0x1000, KEY_NULL, KEY_DRIVER, KEY_DEVICE, KEY_QUICK, KEY_FORCE };

static const struct argp_option options[] = {
        {"shim", KEY_SHIM, "DIR", 0, "the interposer", 0},
        {"null", KEY_NULL, "FILE", 0, "a libcuda that does nothing", 0},
        {"driver", KEY_DRIVER, "DIR", 0, "the driver's libraries, else where the loader finds them",
                0},
        {"device", KEY_DEVICE, "UUID|INDEX", 0, "else the first", 0},
        {"quick", KEY_QUICK, NULL, 0, "a few cases", 0},
        {"force", KEY_FORCE, NULL, 0, "also while others use the device", 0},
        {0},
};

/* A name that there is not is said when all is read. */
static void parse_section(struct asked *a, const char *name)
{
	char names[160] = "";

	for (size_t i = 0; i < N_SECTIONS; i++) {
		snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", i ? ", " : "",
		        sections[i].name);
		if (strcmp(sections[i].name, name) != 0)
			continue;
		if (a->n_sections < SECTIONS_MAX)
			a->sections[a->n_sections++] = &sections[i];
		return;
	}
	a->bench.code = "invalid";
	bench_fail(&a->bench, "there is no '%.40s' to measure; there are %s", name, names);
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct asked *a = state->input;

	switch (key) {
	case KEY_SHIM:
		a->bench.shim_dir = arg;
		return 0;
	case KEY_NULL:
		a->bench.null_driver = arg;
		return 0;
	case KEY_DRIVER:
		a->driver_dir = arg;
		return 0;
	case KEY_DEVICE:
		a->device = arg;
		return 0;
	case KEY_QUICK:
		a->bench.is_quick = true;
		return 0;
	case KEY_FORCE:
		a->is_forced = true;
		return 0;
	case ARGP_KEY_ARG:
		if (a->bench.dir)
			parse_section(a, arg);
		else
			a->bench.dir = arg;
		return 0;
	case ARGP_KEY_END:
		if (!a->bench.dir)
			argp_usage(state);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* -- before the first figure -- */

static bool look_for_users(struct bench *b)
{
	struct card_users users;
	char pids[CARD_PROCESSES * 12] = "";

	card_users(&users);
	if (!users.n)
		return true;
	for (unsigned i = 0; i < users.n && i < CARD_PROCESSES && users.pids[i]; i++)
		snprintf(pids + strlen(pids), sizeof pids - strlen(pids), " %u", users.pids[i]);
	b->code = "conflict";
	b->hint =
	        "a job waits for its turn: berth run --gpu 1 -- berth bench slice; --force measures all the same";
	return bench_fail(b, "%s is in use by %u process%s%s%s, whose work would be in the figures",
	        b->uuid, users.n, users.n == 1 ? "" : "es", *pids ? ":" : "", pids);
}

static bool no_device(struct bench *b)
{
	b->code = "not_found";
	b->hint = BENCH_HINT_SIMULATE;
	return bench_fail(b, "the driver finds no GPU");
}

/* One process in no slice says what a program finds here; the device is known by its UUID from then on. */
static bool look_at_device(struct asked *a)
{
	const struct seat bare = {0};
	struct bench *b = &a->bench;
	char *text, uuid[96];

	if (a->device) {
		if (!card_find(b, a->device, uuid, sizeof uuid))
			return false;
		setenv("CUDA_VISIBLE_DEVICES", uuid, 1);
	}
	if (!tenant_run(b, &bare, WORDS("info"), &text))
		return strstr(b->why, "cuInit(0) 100") ? no_device(b) : false;
	tenant_word(text, "uuid", b->uuid, sizeof b->uuid);
	tenant_word(text, "cuda", b->cuda, sizeof b->cuda);
	b->total_bytes = (uint64_t)tenant_number(text, "total");
	b->limit_bytes = (uint64_t)tenant_number(text, "free") / 4 / GRANULE_BYTES * GRANULE_BYTES;
	free(text);
	setenv("CUDA_VISIBLE_DEVICES", b->uuid, 1);
	if (!card_choose(b, b->uuid))
		return false;
	if (card_is_exclusive())
		return bench_fail(b,
		        "%s is in exclusive compute mode: it has one process at a time", b->uuid);
	return a->is_forced || look_for_users(b);
}

/* What a context takes, by what the driver has less; and how far a kernel counts in a microsecond. */
static bool look_at_tenants(struct bench *b)
{
	uint64_t before = card_used_bytes(), after;
	const struct seat bare = {0};
	struct tenant holder;
	char *text, count[32];

	if (!tenant_begin(b, &bare, WORDS("hold"), &holder))
		return false;
	bool ok = tenant_wait_line(b, &holder);
	after = card_used_bytes();
	tenant_kill(&holder, NULL);
	if (!ok || !tenant_run(b, &bare, WORDS("calibrate"), &text))
		return false;
	b->context_bytes = after > before + (1 << 20) ? after - before : 1 << 20;
	tenant_word(text, "count", count, sizeof count);
	setenv("BENCH_COUNT", count, 1);
	free(text);
	if (b->limit_bytes > 4 * b->context_bytes)
		return true;
	return bench_fail(b, "too little is free on %s for slices of a quarter of it", b->uuid);
}

static int measure(struct asked *a)
{
	struct bench *b = &a->bench;

	if (*b->why || !tenants_stage(b, a->driver_dir) || !card_open(b) || !look_at_device(a) ||
	        !look_at_tenants(b)) {
		bench_error(b);
		return EXIT_NOTHING;
	}
	bench_head(b);
	for (size_t i = 0; i < (a->n_sections ? a->n_sections : N_SECTIONS); i++) {
		const struct section *s = a->n_sections ? a->sections[i] : &sections[i];

		b->section = s->name;
		bench_begins(b);
		if (!s->measure(b))
			bench_failed(b);
	}
	return b->n_missed ? EXIT_MISSED : 0;
}

/* -- the other two -- */

static int make_ledgers(char **words)
{
	struct bench b = {.dir = words[0],
	        .limit_bytes = strtoull(words[2], NULL, 10),
	        .context_bytes = strtoull(words[3], NULL, 10),
	        .n_ledgers = (unsigned)getpid()};
	struct ledgers ledgers;

	if (!ledgers_make(&b, words[1], (const unsigned[]){1000}, 1, &ledgers)) {
		fprintf(stderr, "%s\n", b.why);
		return EXIT_NOTHING;
	}
	puts(ledgers.path[0]);
	return 0;
}

/* What lies beside this program, as it was built or installed. */
static void find_parts(struct bench *b)
{
	static char shim[BENCH_PATH + 64], null[BENCH_PATH + 64];
	char self[BENCH_PATH];
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);

	self[n > 0 ? n : 0] = '\0';
	char *slash = strrchr(self, '/');
	if (slash)
		*slash = '\0';
	snprintf(shim, sizeof shim, "%s/shim", self);
	snprintf(null, sizeof null, "%s/fake/libcuda-null.so", self);
	b->shim_dir = shim;
	b->null_driver = null;
}

int main(int argc, char **argv)
{
	static const struct argp argp = {
	        options, parse, "DIR [SECTION...]", "Measures slices.", NULL, NULL, NULL};
	static struct asked asked;

	if (argc > 1 && !strcmp(argv[1], "tenant"))
		return tenant_main(argc - 2, argv + 2);
	if (argc == 6 && !strcmp(argv[1], "ledgers"))
		return make_ledgers(argv + 2);
	find_parts(&asked.bench);
	argp_err_exit_status = EXIT_NOTHING;
	if (argp_parse(&argp, argc, argv, 0, NULL, &asked))
		return EXIT_NOTHING;
	/* Who started it and is gone reads nothing any more. */
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	return measure(&asked);
}
