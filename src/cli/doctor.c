#include <dirent.h>
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/num.h"
#include "base/version.h"
#include "cli/args.h"
#include "cli/client.h"
#include "cli/http.h"
#include "cli/lock.h"
#include "cli/output.h"
#include "cli/parts.h"
#include "cli/procs.h"
#include "plat/cgroup.h"
#include "plat/fs.h"

#define SPACE_LOW_BYTES (1 * GIB)
#define FILES_LOW       10000

/* Findings: what is well, what deserves a look, what is wrong; each with the command that mends it. */
#define AWAY_TRIES 6
#define AWAY_MS    100
#define INDENT     19 /* level and about, with their spaces */

struct doctor {
	const struct cli *cli;
	json_t *findings;
	char *data_dir;
	unsigned n_bad;
};

enum level { OK, NOTE, WARN, BAD };
static const char *const level_names[] = {
        [OK] = "ok", [NOTE] = "note", [WARN] = "warn", [BAD] = "bad"};

PRINTF_LIKE(5, 6)
static void find(struct doctor *d, enum level level, const char *about, const char *mend,
        const char *fmt, ...)
{
	CLEANUP_BUF struct buf shown = BUF_INIT(4096), shown_mend = BUF_INIT(16 * KIB);
	char text[600];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	/* What is cut, or was no UTF-8, could not be said otherwise. */
	cli_add_shown(&shown, text);
	cli_add_shown(&shown_mend, mend ? mend : "");
	d->n_bad += level == BAD;
	json_array_append_new(d->findings,
	        json_pack("{s:s,s:s,s:s,s:s?}", "level", level_names[level], "about", about, "text",
	                buf_str(&shown), "mend", mend ? buf_str(&shown_mend) : NULL));
}

static void check_programs(struct doctor *d)
{
	static const char *const programs[] = {
	        "berth-server", "berth-agent", "berth-keeper", "berth-helper"};
	unsigned n = 0;

	for (size_t i = 0; i < ARRAY_LEN(programs); i++) {
		char *path = NULL;
		struct err err;
		if (parts_find(programs[i], &path, &err))
			find(d, BAD, "programs", "install Berth again, all of its files", "%s",
			        err.text);
		else
			n++;
		free(path);
	}
	if (n == ARRAY_LEN(programs))
		find(d, OK, "programs", NULL, "berth %s, all %zu parts beside it", berth_version,
		        ARRAY_LEN(programs));
}

/* Without it jobs wait (no_disk), and at last nothing is taken any more. */
static void check_space(struct doctor *d)
{
	uint64_t free_bytes, free_files;
	struct err err;
	char size[24];

	if (fs_free_bytes(d->data_dir, &free_bytes, &err) ||
	        fs_free_files(d->data_dir, &free_files, &err)) {
		find(d, WARN, "space", NULL, "%s", err.text);
		return;
	}
	find(d, free_bytes < SPACE_LOW_BYTES ? WARN : OK, "space",
	        free_bytes < SPACE_LOW_BYTES ? "free some space, or move the directory" : NULL,
	        "%s free", num_format_size(free_bytes, size));
	if (free_files < FILES_LOW)
		find(d, WARN, "space", "remove some files, or move the directory",
		        "only %ju more files can be made", (uintmax_t)free_files);
}

static void check_directory(struct doctor *d)
{
	struct stat st;
	char mend[4200];

	if (stat(d->data_dir, &st) < 0) {
		find(d, errno == ENOENT ? NOTE : BAD, "data", "berth up -d", "%s: %s", d->data_dir,
		        strerror(errno));
		return;
	}
	snprintf(mend, sizeof(mend), "chmod go-w %s", d->data_dir);
	if (st.st_uid != geteuid() && geteuid() != 0)
		find(d, NOTE, "data", NULL, "%s belongs to another account", d->data_dir);
	else if (st.st_mode & S_IWOTH || (st.st_mode & S_IWGRP && !(st.st_mode & S_ISVTX)))
		find(d, BAD, "data", mend, "others may write into %s", d->data_dir);
	else
		find(d, OK, "data", NULL, "%s", d->data_dir);
	check_space(d);
}

/* Of a Berth that root started: as whom the process that speaks to the network runs. */
static void check_server_account(struct doctor *d)
{
	struct procs p;
	struct stat st;
	char path[64];

	procs_find(d->data_dir, &p);
	for (size_t i = 0; i < p.n; i++) {
		snprintf(path, sizeof(path), "/proc/%d", (int)p.v[i].pid);
		if (p.v[i].role != PROCS_SERVER || stat(path, &st) < 0)
			continue;
		const struct passwd *pw = getpwuid(st.st_uid);
		if (st.st_uid == 0)
			find(d, NOTE, "account",
			        "berth down; take server.user: root out of the configuration; berth up -d",
			        "server and agent run as root, because server.user says so");
		else
			find(d, OK, "account", NULL, "server and agent run as %s",
			        pw ? pw->pw_name : "an account without a name");
	}
	procs_done(&p);
}

static void check_account(struct doctor *d)
{
	if (geteuid() != 0) {
		find(d, NOTE, "account", "start Berth as root, if others shall use it",
		        "uid %u, not root: jobs run as this account only", (unsigned)geteuid());
		return;
	}
	find(d, OK, "account", NULL, "root: jobs run as the accounts of their submitters");
	check_server_account(d);
}

static void check_cgroup(struct doctor *d)
{
	struct cgroup_tree t;
	char name[64], held[96], rest[96];

	/* As the keepers' parent does it, and away again. */
	snprintf(name, sizeof(name), "berth-doctor-%d", (int)getpid());
	cgroup_tree_make("", name, CGROUP_ALL, 0, &t);
	cgroup_tree_remove(&t);
	cgroup_names(t.can, held);
	cgroup_names(CGROUP_ALL & ~t.can, rest);
	if (t.can == CGROUP_ALL)
		find(d, OK, "cgroup", NULL, "jobs are held in: %s", held);
	else if (t.can)
		find(d, WARN, "cgroup",
		        "set cgroup.parent to a group that hands its controllers down",
		        "jobs are held in: %s; not in: %s (%s)", held, rest, t.why_not);
	else
		find(d, geteuid() == 0 ? WARN : NOTE, "cgroup",
		        "start Berth as root, where control groups are mounted",
		        "no control groups of our own (%s): each process is limited alone, and devices are not kept from jobs",
		        t.why_not);
}

static void check_clock(struct doctor *d)
{
	time_t now = time(NULL);

	if (now < 1700000000)
		find(d, BAD, "clock", "timedatectl set-ntp true",
		        "the clock stands in the past: %lld", (long long)now);
	else
		find(d, OK, "clock", NULL, "plausible");
}

static void check_driver(struct doctor *d, bool has_devices)
{
	bool node = access("/dev/nvidiactl", F_OK) == 0;
	bool module = access("/proc/driver/nvidia/version", F_OK) == 0;

	if (has_devices)
		return;
	if (!module)
		find(d, WARN, "GPUs",
		        "install the NVIDIA driver, or try: berth up --simulate 2x8GiB",
		        "no NVIDIA driver is loaded");
	else if (!node)
		find(d, BAD, "GPUs", "nvidia-modprobe -c 0",
		        "the driver is loaded, but /dev/nvidiactl is missing");
	else if (access("/dev/nvidiactl", R_OK | W_OK) < 0)
		find(d, BAD, "GPUs", "let this account into the group of /dev/nvidiactl",
		        "/dev/nvidiactl may not be opened by this account");
	else
		find(d, WARN, "GPUs", "see the agent's log: logs/agent.log",
		        "the driver is loaded, but no device was found");
}

/* Of devices whose fractions one mechanism holds. */
struct held {
	const char *by, *words;
	const char *unsure; /* what is to be said of it on real devices */
	unsigned n, n_real;
};

/* What holds a fraction of a device inside its job. */
static void find_slices(struct doctor *d, const struct held *v, size_t n_held)
{
	unsigned n = 0;

	for (size_t i = 0; i < n_held; i++)
		n += v[i].n;
	for (size_t i = 0; i < n_held; i++) {
		if (v[i].n && strcmp(v[i].by, "none") == 0)
			find(d, NOTE, "slices", "berth gpus -o wide; logs/agent.log says why",
			        "%u of %u: %s", v[i].n, n, v[i].words);
		else if (v[i].n)
			find(d, v[i].n_real ? NOTE : OK, "slices", NULL, "%u of %u: %s%s", v[i].n,
			        n, v[i].words, v[i].n_real ? v[i].unsure : "");
	}
}

static void count_held(struct held *v, size_t n_held, const json_t *device)
{
	const char *by = json_string_value(json_object_get(device, "held_by"));

	/* A card in MIG mode has nothing to hold. */
	if (!json_integer_value(json_object_get(device, "mem_bytes")))
		return;
	for (size_t i = 0; by && i < n_held; i++)
		if (strcmp(by, v[i].by) == 0) {
			v[i].n++;
			v[i].n_real += !json_is_true(json_object_get(device, "simulated"));
		}
}

static void check_devices(struct doctor *d, struct client *c)
{
	CLEANUP_JSON json_t *answer = NULL;
	const json_t *one;
	struct held held[] = {
	        {"none",
	                "a fraction is kept in the books, but not held inside the process (held_by: none)",
	                ""},
	        {"interposer",
	                "a fraction is held by the interposer, its compute among jobs of one account",
	                ", which was not yet run on hardware; its pacing is not confirmed on these models"},
	        {"mig", "MIG instances, each granted whole to a fraction; not yet run on hardware",
	                ""},
	        {"kernel",
	                "a fraction is held by the kernel, and by the interposer in front of it, which alone holds compute",
	                "; not yet run on hardware"},
	        {"mps", "a fraction is held by MPS, its memory by the interposer; jobs of a device share their faults",
	                "; not yet run on hardware"},
	};
	unsigned n = 0, n_simulated = 0;
	struct err err;
	size_t i;

	if (client_get(c, "/v1/devices", &answer, &err)) {
		find(d, BAD, "GPUs", NULL, "%s", err.text);
		return;
	}
	json_array_foreach(json_object_get(answer, "devices"), i, one)
	{
		const char *health = json_string_value(json_object_get(one, "health"));
		const char *text = json_string_value(json_object_get(one, "health_text"));
		const char *device = json_string_value(json_object_get(one, "device"));
		n++;
		n_simulated += json_is_true(json_object_get(one, "simulated"));
		count_held(held, ARRAY_LEN(held), one);
		if (health && strcmp(health, "ok") != 0)
			find(d, WARN, "GPUs", NULL, "%s is %s: %s", device ? device : "?", health,
			        text ? text : "");
	}
	if (n)
		find(d, OK, "GPUs", NULL, "%u, of them %u simulated", n, n_simulated);
	find_slices(d, held, ARRAY_LEN(held));
	check_driver(d, n > 0);
}

static void check_agent(struct doctor *d, struct client *c)
{
	CLEANUP_JSON json_t *answer = NULL;
	const json_t *one;
	struct err err;
	size_t i, n_up = 0;

	if (client_get(c, "/v1/nodes", &answer, &err)) {
		find(d, BAD, "agent", NULL, "%s", err.text);
		return;
	}
	json_array_foreach(json_object_get(answer, "nodes"), i, one)
	{
		const char *state = json_string_value(json_object_get(one, "state"));
		const char *node = json_string_value(json_object_get(one, "node"));
		n_up += state && strcmp(state, "down") != 0;
		if (state && strcmp(state, "up") != 0)
			find(d, WARN, "agent",
			        strcmp(state, "drained") == 0 ? "berth resume NODE" : NULL,
			        "node %s is %s", node ? node : "?", state);
	}
	if (n_up)
		find(d, OK, "agent", NULL, "%zu connected", n_up);
	else
		find(d, BAD, "agent", "see its log: logs/agent.log", "no agent is connected");
}

/* 'T' of /proc/PID/stat: SIGSTOP, or a debugger. */
static bool is_stopped(pid_t pid)
{
	char path[64], text[512] = "";
	const char *behind_name;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return false;
	if (!fgets(text, sizeof(text), f))
		text[0] = '\0';
	fclose(f);
	behind_name = strrchr(text, ')');
	return behind_name && (behind_name[2] == 'T' || behind_name[2] == 't');
}

/* One that is stopped answers nobody, and nobody starts it again. True: the server is, so that asking it would take for ever. */
static bool check_stopped(struct doctor *d)
{
	bool is_server = false;
	struct procs p;
	char mend[64];

	procs_find(d->data_dir, &p);
	for (size_t i = 0; i < p.n; i++) {
		if (!is_stopped(p.v[i].pid))
			continue;
		is_server |= p.v[i].role == PROCS_SERVER;
		snprintf(mend, sizeof(mend), "kill -CONT %d", (int)p.v[i].pid);
		find(d, BAD, procs_role_names[p.v[i].role], mend,
		        "process %d is stopped, and does nothing", (int)p.v[i].pid);
	}
	procs_done(&p);
	return is_server;
}

/* Nobody answers: with a supervisor there, its server falls over again and again. */
static void explain_no_server(struct doctor *d, const struct err *err)
{
	struct lock_holder holder;

	if (err->kind == ERR_UNAVAILABLE && lock_find_holder(d->data_dir, &holder))
		find(d, BAD, "server", "see its log: logs/server.log",
		        "process %d (berth up) starts it again and again, and it does not come up",
		        (int)holder.pid);
	else
		find(d, BAD, "server", err->hint[0] ? err->hint : NULL, "%s", err->text);
	check_driver(d, false);
}

/* For longer than a start takes: verbs wait for a server that is started again, who asks what is wrong does not. */
static int is_away(struct client *c, struct err *err)
{
	struct http *http;
	int rc = -1;

	for (int i = 0; rc && i < AWAY_TRIES; i++) {
		if (i)
			usleep(AWAY_MS * 1000);
		rc = client_connect_now(c, &http, err);
		if (rc == 0)
			http_free(http);
		else if (err->kind != ERR_UNAVAILABLE)
			return 0;
	}
	return rc;
}

static void check_server(struct doctor *d)
{
	CLEANUP_CLIENT struct client *c = NULL;
	CLEANUP_JSON json_t *answer = NULL;
	struct err err;

	if (client_open(d->cli, &c, &err) || is_away(c, &err) ||
	        client_get(c, "/v1/server", &answer, &err)) {
		explain_no_server(d, &err);
		return;
	}
	const char *version = json_string_value(json_object_get(answer, "version"));
	const char *pin = json_string_value(json_object_get(answer, "tls_pin"));
	const char *not_ready = json_string_value(json_object_get(answer, "not_ready"));
	const char *trouble = json_string_value(json_object_get(answer, "store_trouble"));
	long long pid = json_integer_value(json_object_get(answer, "pid"));
	if (version && strcmp(version, berth_version) != 0)
		find(d, WARN, "server", "berth down --keep && berth up -d",
		        "it is version %s, this program is %s", version, berth_version);
	if (not_ready)
		find(d, BAD, "server", "see its log: logs/server.log",
		        "process %lld is not ready: %s%s%s", pid, not_ready, trouble ? ": " : "",
		        trouble ? trouble : "");
	else
		find(d, OK, "server", NULL, "version %s, process %lld", version ? version : "?",
		        pid);
	if (pin)
		find(d, OK, "certificate", NULL, "BERTH_PIN=%s", pin);
	check_agent(d, c);
	check_devices(d, c);
}

static void cell_level(const json_t *row, bool plain, struct buf *out)
{
	output_cell_string(json_object_get(row, "level"), plain, out);
}

static void cell_about(const json_t *row, bool plain, struct buf *out)
{
	output_cell_string(json_object_get(row, "about"), plain, out);
}

static void cell_text(const json_t *row, bool plain, struct buf *out)
{
	output_cell_string(json_object_get(row, "text"), plain, out);
}

static void cell_mend(const json_t *row, bool plain, struct buf *out)
{
	output_cell_string(json_object_get(row, "mend"), plain, out);
}

/* Sentences do not fit into a table: each finding is a paragraph, and what mends it one below. */
static void print_findings(const json_t *findings)
{
	const json_t *f;
	size_t i;

	json_array_foreach(findings, i, f)
	{
		CLEANUP_BUF struct buf b = BUF_INIT(64 * KIB);
		cell_text(f, false, &b);
		printf("%-5s %-12s ", json_string_value(json_object_get(f, "level")),
		        json_string_value(json_object_get(f, "about")));
		output_paragraph(buf_str(&b), INDENT);
		if (!json_is_string(json_object_get(f, "mend")))
			continue;
		buf_reset(&b);
		cell_mend(f, false, &b);
		printf("%*s-> ", INDENT, "");
		output_paragraph(buf_str(&b), INDENT + 3);
	}
}

int verb_doctor(struct cli *cli, int argc, char **argv)
{
	static const struct output_column columns[] = {{"LEVEL", cell_level}, {"ABOUT", cell_about},
	        {"FINDING", cell_text}, {"WHAT MENDS IT", cell_mend}};
	static const struct output_listing l = {.array_key = "findings",
	        .name_key = "about",
	        .columns = columns,
	        .n_columns = ARRAY_LEN(columns)};
	CLEANUP_JSON json_t *answer = json_pack("{s:i,s:[]}", "schema", 1, "findings");
	struct doctor d = {.cli = cli, .findings = json_object_get(answer, "findings")};
	struct args args = {
	        .doc = "Looks for what is wrong, and says what mends it. Ends with 1 when something is bad.",
	        .is_listing = true};
	struct err err;

	int rc = args_parse(cli, &args, argc, argv, &err);
	if (rc == 0)
		rc = target_own_data(cli, &d.data_dir, &err);
	if (rc)
		return cli_fail(cli, &err);
	check_programs(&d);
	check_directory(&d);
	check_account(&d);
	check_cgroup(&d);
	check_clock(&d);
	if (!check_stopped(&d))
		check_server(&d);
	free(d.data_dir);
	if (cli->format == OUTPUT_TABLE)
		print_findings(json_object_get(answer, "findings"));
	else
		output_listing(cli, &l, answer);
	return d.n_bad ? 1 : 0;
}
