/*
 * fake-gpu: uses simulated GPUs, and breaks them, from a shell or a test. It changes the state that the fake drivers
 * of all processes share; doc/simulate.md tells the commands.
 */
#include "sim.h"

#include "../tables/nvml_abi.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LEN(a) (sizeof(a) / sizeof((a)[0]))

enum { EXIT_FAILED = 1, EXIT_USAGE = 2 };

struct run {
	struct sim sim;
	struct sim_state state; /* in hand, under its lock */
	char **args;            /* behind the command's name, NULL at the end */
	unsigned n_args;
	bool lasting;        /* the process stays in the state until it is taken away */
	enum sim_list lists; /* that it stands in */
};

__attribute__((format(printf, 1, 2), noreturn)) static void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("fake-gpu: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	exit(EXIT_FAILED);
}

static const char *arg(const struct run *r, unsigned i)
{
	return i < r->n_args ? r->args[i] : "";
}

static unsigned card_arg(const struct run *r, unsigned i)
{
	int card = sim_find_card(&r->sim, arg(r, i));

	if (card < 0)
		die("no simulated device '%s'; there are %u", arg(r, i), r->sim.n_gpus);
	return (unsigned)card;
}

static uint64_t number_arg(const struct run *r, unsigned i, uint64_t max)
{
	uint64_t v;

	if (!sim_parse_u64(arg(r, i), max, &v))
		die("'%s' is not a number from 0 to %" PRIu64, arg(r, i), max);
	return v;
}

static uint64_t size_arg(const struct run *r, unsigned i)
{
	uint64_t v;

	if (strcmp(arg(r, i), "unknown") == 0)
		return SIM_BYTES_UNKNOWN;
	if (!sim_parse_size(arg(r, i), &v))
		die("'%s' is not a size, such as 512MiB", arg(r, i));
	return v;
}

/* Takes memory for a process as a driver would: not on a lost device, and not more than there is. */
static void take_memory(struct run *r, int32_t pid, unsigned card, uint64_t bytes)
{
	const struct sim_card *c = &r->sim.cards[card];
	uint64_t started = r->lasting ? 0 : sim_started(pid);
	uint64_t used, usable = c->mem_bytes - c->reserved_bytes;

	if (!r->lasting && !started)
		die("no process %d", (int)pid);
	sim_drop_dead(&r->sim, &r->state);
	sim_use(&r->state, pid, card, 0, 0, SIM_COMPUTE);
	used = sim_used(&r->state, card);
	if (r->state.cards[sim_whole(&r->sim, card)].lost || sim_is_gone(&r->sim, &r->state, card))
		die("simulated device %u is lost", card);
	if (bytes != SIM_BYTES_UNKNOWN && (used > usable || bytes > usable - used))
		die("out of memory: simulated device %u has %" PRIu64 " bytes left", card,
		        used > usable ? 0 : usable - used);
	if (!sim_use(&r->state, pid, card, bytes, started, r->lists))
		die("more than %d processes", SIM_PROCESSES_MAX);
}

static void run_alloc(struct run *r)
{
	take_memory(r, (int32_t)number_arg(r, 0, INT32_MAX), card_arg(r, 1), size_arg(r, 2));
}

static void run_free(struct run *r)
{
	sim_use(&r->state, (int32_t)number_arg(r, 0, INT32_MAX), card_arg(r, 1), 0, 0, SIM_COMPUTE);
}

static void run_outside(struct run *r)
{
	if (!sim_parse_lists(arg(r, 3), &r->lists))
		die("'%s' is neither graphics nor both", arg(r, 3));
	r->lasting = true;
	take_memory(r, (int32_t)number_arg(r, 1, INT32_MAX), card_arg(r, 0), size_arg(r, 2));
}

static void run_use(struct run *r)
{
	if (strcmp(arg(r, 2), "--") != 0 || r->n_args < 4)
		die("use DEVICE BYTES -- COMMAND...");
	take_memory(r, getpid(), card_arg(r, 0), size_arg(r, 1));
}

static void run_lose(struct run *r)
{
	bool after = strcmp(arg(r, 1), "after") == 0;

	sim_lose(&r->state, card_arg(r, 0), after ? (uint32_t)number_arg(r, 2, UINT32_MAX) : 0);
}

static void run_restore(struct run *r)
{
	sim_restore(&r->state, card_arg(r, 0));
}

static void run_xid(struct run *r)
{
	sim_xid(&r->state, card_arg(r, 0), (uint32_t)number_arg(r, 1, UINT32_MAX));
}

static void run_ecc(struct run *r)
{
	uint64_t n = number_arg(r, 1, INT32_MAX);
	bool corrected = strcmp(arg(r, 2), "corrected") == 0;

	sim_ecc(&r->state, card_arg(r, 0), corrected ? n : 0, corrected ? 0 : n);
}

static void run_rows(struct run *r)
{
	struct sim_card_state *c = &r->state.cards[card_arg(r, 0)];

	c->rows_pending = strcmp(arg(r, 1), "pending") == 0;
	c->rows_failed = strcmp(arg(r, 1), "failed") == 0;
	if (!c->rows_pending && !c->rows_failed && strcmp(arg(r, 1), "none") != 0)
		die("'%s' is not pending, failed or none", arg(r, 1));
}

static void run_recovery(struct run *r)
{
	if (!sim_parse_recovery(arg(r, 1), &r->state.cards[card_arg(r, 0)].recovery_action))
		die("'%s' is not none, reset, reboot, drain or drain-and-reset", arg(r, 1));
}

static unsigned instance_arg(const struct run *r, unsigned i)
{
	unsigned card = card_arg(r, i);

	if (r->sim.cards[card].parent < 0)
		die("'%s' is no MIG instance", arg(r, i));
	return card;
}

/* As the real driver: not while somebody uses a card or its instances. */
static void check_unused(struct run *r, unsigned card)
{
	sim_drop_dead(&r->sim, &r->state);
	for (unsigned i = 0; i < SIM_PROCESSES_MAX; i++) {
		const struct sim_process *p = &r->state.processes[i];

		if (p->pid && (p->card == card || sim_whole(&r->sim, p->card) == card))
			die("'%s' is in use by process %d", arg(r, 0), (int)p->pid);
	}
}

static void run_remove(struct run *r)
{
	unsigned card = instance_arg(r, 0);

	check_unused(r, card);
	r->state.cards[card].removed = 1;
}

static void run_mig(struct run *r)
{
	unsigned card = card_arg(r, 0);
	bool on = strcmp(arg(r, 1), "on") == 0;

	if (!r->sim.cards[card].mig)
		die("'%s' has no MIG mode in its description", arg(r, 0));
	if (!on && strcmp(arg(r, 1), "off") != 0)
		die("'%s' is neither on nor off", arg(r, 1));
	check_unused(r, card);
	r->state.cards[card].mig_off = !on;
}

static void run_make(struct run *r)
{
	r->state.cards[instance_arg(r, 0)].removed = 0;
}

static void run_util(struct run *r)
{
	r->state.cards[card_arg(r, 0)].util_percent = (uint32_t)number_arg(r, 1, 100);
}

static void add_rule(
        struct run *r, enum sim_rule_kind kind, const char *name, uint32_t nth, uint32_t value)
{
	if (!sim_is_function(name))
		die("'%s' is no function of the simulated drivers", name);
	if (!sim_rule(&r->state, kind, name, nth, value))
		die("more than %d faults", SIM_RULES_MAX);
}

static void run_slow(struct run *r)
{
	add_rule(r, SIM_RULE_SLOW, r->n_args > 1 ? arg(r, 1) : "*", 0,
	        (uint32_t)number_arg(r, 0, UINT32_MAX));
}

static void run_fail(struct run *r)
{
	uint32_t code;

	if (!sim_parse_code(arg(r, 0), arg(r, 2), &code))
		die("'%s' is no return code of that driver", arg(r, 2));
	add_rule(r, SIM_RULE_FAIL, arg(r, 0), (uint32_t)number_arg(r, 1, UINT32_MAX), code);
}

static void run_missing(struct run *r)
{
	add_rule(r, SIM_RULE_MISSING, arg(r, 0), 0, 0);
}

static void run_clear(struct run *r)
{
	memset(r->state.rules, 0, sizeof(r->state.rules));
}

static void run_show(struct run *r)
{
	sim_drop_dead(&r->sim, &r->state);
	for (unsigned i = 0; i < r->sim.n_cards; i++) {
		const struct sim_card *c = &r->sim.cards[i];
		const struct sim_card_state *live = &r->state.cards[i];

		printf("device %u %s memory %" PRIu64 " used %" PRIu64 " %s uncorrected %" PRIu64
		       " %s\n",
		        i, c->uuid, c->mem_bytes - c->reserved_bytes, sim_used(&r->state, i),
		        sim_is_gone(&r->sim, &r->state, i) ? "removed"
		        : live->lost                       ? "lost"
		                                           : "ok",
		        live->ecc_uncorrected, c->model);
	}
	for (unsigned i = 0; i < SIM_PROCESSES_MAX; i++) {
		const struct sim_process *p = &r->state.processes[i];

		if (p->pid && p->bytes == SIM_BYTES_UNKNOWN)
			printf("process %d device %u bytes unknown\n", (int)p->pid, p->card);
		else if (p->pid)
			printf("process %d device %u bytes %" PRIu64 "%s\n", (int)p->pid, p->card,
			        p->bytes, p->started ? "" : " outside");
	}
}

static const struct {
	const char *name;
	const char *args;
	unsigned min_args, max_args;
	void (*run)(struct run *r);
} commands[] = {
        {"show", "", 0, 0, run_show},
        {"use", "DEVICE BYTES -- COMMAND...", 4, UINT32_MAX, run_use},
        {"alloc", "PID DEVICE BYTES", 3, 3, run_alloc},
        {"free", "PID DEVICE", 2, 2, run_free},
        {"outside", "DEVICE PID BYTES|unknown [graphics|both]", 3, 4, run_outside},
        {"lose", "DEVICE [after CALLS]", 1, 3, run_lose},
        {"restore", "DEVICE", 1, 1, run_restore},
        {"xid", "DEVICE NUMBER", 2, 2, run_xid},
        {"ecc", "DEVICE ERRORS [corrected]", 2, 3, run_ecc},
        {"rows", "DEVICE pending|failed|none", 2, 2, run_rows},
        {"recovery", "DEVICE none|reset|reboot|drain|drain-and-reset", 2, 2, run_recovery},
        {"util", "DEVICE PERCENT", 2, 2, run_util},
        {"remove", "MIG-INSTANCE", 1, 1, run_remove},
        {"mig", "DEVICE on|off", 2, 2, run_mig},
        {"make", "MIG-INSTANCE", 1, 1, run_make},
        {"slow", "MILLISECONDS [FUNCTION]", 1, 2, run_slow},
        {"fail", "FUNCTION NTH CODE", 3, 3, run_fail},
        {"missing", "FUNCTION", 1, 1, run_missing},
        {"clear", "", 0, 0, run_clear},
};

static int usage(void)
{
	fputs("usage: fake-gpu DESCRIPTION COMMAND ...   (DESCRIPTION '-': the file that BERTH_FAKE_GPUS names)\n",
	        stderr);
	for (size_t i = 0; i < LEN(commands); i++)
		fprintf(stderr, "       %s %s\n", commands[i].name, commands[i].args);
	return EXIT_USAGE;
}

/* The memory belongs to this process, so it goes with the command that this process becomes. */
static int become(struct run *r)
{
	int error;

	execvp(r->args[3], &r->args[3]);
	error = errno;
	fprintf(stderr, "fake-gpu: %s: %s\n", r->args[3], strerror(error));
	return error == ENOENT ? 127 : 126;
}

int main(int argc, char **argv)
{
	static struct run r = {.lists = SIM_COMPUTE};
	char why[SIM_ERROR_SIZE];
	const char *path;
	size_t i;
	int error;

	if (argc < 3)
		return usage();
	path = strcmp(argv[1], "-") == 0 ? getenv("BERTH_FAKE_GPUS") : argv[1];
	r.args = argv + 3;
	r.n_args = (unsigned)argc - 3;
	for (i = 0; i < LEN(commands) && strcmp(commands[i].name, argv[2]) != 0; i++)
		;
	if (!path || i == LEN(commands) || r.n_args < commands[i].min_args ||
	        r.n_args > commands[i].max_args)
		return usage();
	if (!sim_open(&r.sim, path, why))
		die("%s", why);
	error = sim_begin(&r.sim, &r.state);
	if (error == 0) {
		commands[i].run(&r);
		error = r.sim.read_only && commands[i].run != run_show ? EACCES
		                                                       : sim_end(&r.sim, &r.state);
	}
	if (error)
		die("%s.state: %s", path, strerror(error));
	return commands[i].run == run_use ? become(&r) : EXIT_SUCCESS;
}
