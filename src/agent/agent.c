#include "agent/agent_priv.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/text.h"
#include "gpu/gpu.h"
#include "plat/clock.h"
#include "plat/fs.h"
#include "plat/library.h"
#include "plat/log.h"

#define GRACE_MS   10000 /* until the server says */
#define OUTPUT_MAX GIB
#define LOCK_TRIES \
	100 /* a process that was just killed may hold its locks a moment longer than its name */
#define LOCK_WAIT_MS 20

/* The engine */

static void on_engine_started(void *data, const struct spool_record *r)
{
	attempts_on_started(((struct agent *)data)->attempts, r);
}

static void on_engine_ended(void *data, const struct spool_record *r, bool with_machine)
{
	attempts_on_ended(((struct agent *)data)->attempts, r, with_machine);
}

static void on_engine_lost(void *data, uint64_t epoch)
{
	log_warn("attempt.lost", "epoch=%llu", (unsigned long long)epoch);
}

static void on_engine_news(void *data, enum log_level level, const char *event, const char *text)
{
	static void (*const say[])(const char *event, const char *fmt, ...) = {
	        [LOG_ERROR] = log_error,
	        [LOG_WARN] = log_warn,
	        [LOG_INFO] = log_info,
	        [LOG_DEBUG] = log_debug,
	};

	say[level](event, "%s", text);
}

static void on_ended(void *data, struct known_attempt *attempt)
{
	struct agent *a = data;

	/* What it wrote last goes before its end. */
	outputs_on_ended(a->outputs, attempt->epoch);
	slicing_end(a->slicing, attempt->epoch);
	releases_add(a->releases, attempt, clock_mono_ms());
}

static bool is_over(void *data, uint64_t epoch)
{
	struct agent *a = data;
	const struct known_attempt *attempt = attempts_find(a->attempts, epoch);

	return !attempt || attempt->state == ATTEMPT_ENDED || attempt->state == ATTEMPT_TOLD;
}

/* Devices */

static void before_scan(void *data)
{
	struct agent *a = data;

	procs_refresh(a->procs);
}

static uint64_t owner_of(void *data, int pid)
{
	struct agent *a = data;

	return procs_owner(a->procs, (pid_t)pid);
}

static void on_scan(void *data, const struct inventory_scan *s)
{
	struct agent *a = data;

	if (!a->is_swept && a->again_until_ms && clock_mono_ms() >= a->again_until_ms &&
	        (!a->mps || mps_is_settled(a->mps))) {
		a->is_swept = true;
		slicing_sweep(a->slicing);
	}
	watchdog_on_scan(a->watchdog, s, clock_mono_ms());
	releases_on_scan(a->releases, s, clock_mono_ms());
}

static enum held_by held_by_of(void *data, const struct device_info *d)
{
	struct agent *a = data;

	return slicing_held_by(a->slicing, d);
}

static int hold(void *data, const struct link_start *m, struct engine_request *r, struct err *err)
{
	struct agent *a = data;
	struct slicing_hold h = {0};
	int rc = slicing_begin(a->slicing, m, &h, err);

	r->slices = h.path;
	r->gpu_limits = h.gpu_limits;
	r->mps_pipes = h.mps ? h.mps->pipes : NULL;
	r->mps_logs = h.mps ? h.mps->logs : NULL;
	return rc;
}

static void on_mps_death(void *data, const char *uuid)
{
	struct agent *a = data;

	slicing_on_mps_death(a->slicing, uuid);
}

static void on_mps_outcome(void *data, const char *uuid, const char *account, const struct err *why)
{
	struct agent *a = data;

	slicing_on_mps_outcome(a->slicing, uuid, account, why);
}

static void on_ready(void *data)
{
	struct agent *a = data;

	waiting_retry(a->waiting);
}

static const char *slices_of(void *data, uint64_t epoch)
{
	struct agent *a = data;

	return slicing_path(a->slicing, epoch);
}

static void on_change(void *data, const struct device_info *v, uint32_t n)
{
	struct agent *a = data;

	link_put_devices(outbox_buf(&a->outbox),
	        &(struct link_devices){
	                .devices = (struct device_info *)(uintptr_t)v, .n_devices = n});
}

static void on_list(void *data)
{
	struct agent *a = data;
	uint32_t n;

	(void)inventory_devices(a->inventory, &n);
	log_info("devices.list", "n=%u", n);
	agent_connect(a);
}

static void on_signal(void *data, int signo)
{
	log_info("agent.signal", "number=%d", signo);
	agent_leave(data);
}

/* Life */

static char *beside_program(const char *name)
{
	char exe[PATH_MAX], *slash, *path;
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);

	exe[MAX(n, 0)] = '\0';
	slash = strrchr(exe, '/');
	BUG_IF(asprintf(&path, "%.*s/%s", slash ? (int)(slash - exe) : 0, exe, name) < 0);
	return path;
}

/* Which boot the last agent wrote down: this one, another, or none. */
enum boot { BOOT_SAME, BOOT_OTHER, BOOT_NONE };

static enum boot last_boot(const struct agent *a, const char *path)
{
	CLEANUP_BUF struct buf before = BUF_INIT(256);
	struct err err;

	if (fs_read(path, &before, &err) < 0)
		return BOOT_NONE;
	return strcmp(buf_str(&before), a->machine.boot_id) ? BOOT_OTHER : BOOT_SAME;
}

static int open_engine(struct agent *a, bool is_rebooted, struct err *err)
{
	struct engine_options o = {
	        .loop = a->loop,
	        .data_dir = a->o.data_dir,
	        .node_name = a->node_name,
	        .lang = getenv("LANG"),
	        .fake_gpus = a->fake_gpus,
	        .address = a->o.launcher,
	        .is_rebooted = is_rebooted,
	        .on_started = on_engine_started,
	        .on_ended = on_engine_ended,
	        .on_lost = on_engine_lost,
	        .on_news = on_engine_news,
	        .data = a,
	};

	if (!a->o.launcher)
		a->keeper_program =
		        a->o.keeper ? mem_strdup(a->o.keeper) : beside_program("berth-keeper");
	o.program = a->keeper_program;
	return engine_open(engine_all[0], &o, &a->engine, err);
}

static bool add_bit(uint64_t *bits, int n_bits, int i)
{
	if (i < 0 || i >= n_bits)
		return false;
	bits[i / 64] |= (uint64_t)1 << i % 64;
	return true;
}

static bool add_files(const struct device_info *d, struct engine_devices *e)
{
	if (!add_bit(e->minors, ENGINE_MINORS, d->minor))
		return false;
	return !d->caps_major || (add_bit(e->caps, ENGINE_CAPS, d->gi_minor) &&
	                                 add_bit(e->caps, ENGINE_CAPS, d->ci_minor));
}

static bool files_of(void *data, const struct link_start *m, struct engine_devices *ret)
{
	struct agent *a = data;
	struct engine_devices e = {.caps_major = 0};
	uint32_t n, n_found = 0;
	const struct device_info *v = inventory_devices(a->inventory, &n);

	for (uint32_t i = 0; i < n; i++) {
		e.caps_major = MAX(e.caps_major, v[i].caps_major);
		for (uint32_t k = 0; k < m->n_slices; k++) {
			if (strcmp(v[i].uuid, m->slices[k].device) != 0)
				continue;
			if (!add_files(&v[i], &e))
				return false;
			n_found++;
		}
	}
	*ret = e;
	return n_found == m->n_slices;
}

static const struct device_info *devices_of(void *data, uint32_t *ret_n)
{
	struct agent *a = data;

	*ret_n = 0;
	return a->inventory ? inventory_devices(a->inventory, ret_n) : NULL;
}

static bool has_part(const char *name)
{
	char *path = beside_program(name);
	bool is_there = access(path, R_OK) == 0;

	free(path);
	return is_there;
}

/* Of our own account, or by the helper, which looks for the program itself. */
static int make_mps(struct agent *a, const char **ret_no_mps, struct err *err)
{
	char *fake = a->fake_gpus ? beside_program("fake/" MPS_PROGRAM) : NULL, path[MPS_PATH];
	bool is_there = fake ? access(fake, X_OK) == 0 : mps_find_program(path);
	struct mps_options o = {
	        .loop = a->loop,
	        .data_dir = a->o.data_dir,
	        .program = fake ? fake : path,
	        .helper = a->o.launcher,
	        .is_root = geteuid() == 0,
	        .fake_gpus = a->fake_gpus,
	        .on_death = on_mps_death,
	        .on_outcome = on_mps_outcome,
	        .data = a,
	};
	int rc = is_there ? mps_new(&o, &a->mps, err) : 0;

	*ret_no_mps = is_there ? NULL : "there is no " MPS_PROGRAM " in its PATH";
	free(fake);
	return rc;
}

static int make_slicing(struct agent *a, struct err *err)
{
	char path[LIBRARY_PATH];
	struct slicing_options o = {
	        .data_dir = a->o.data_dir,
	        .attempts = a->attempts,
	        .is_one_account = !a->o.launcher,
	        .parts.has_interposer = has_part("shim/libcuda.so.1"),
	        .devices = devices_of,
	        .on_ready = on_ready,
	        .data = a,
	};

	int rc = make_mps(a, &o.parts.no_mps, err);

	o.parts.has_driver = a->fake_gpus ? has_part("fake/libcuda.so.1")
	                                  : library_find("libcuda.so.1", "", path);
	o.mps = a->mps;
	a->waiting = waiting_new(agent_on_start, a);
	return rc < 0 ? rc : slicing_new(&o, &a->slicing, err);
}

static int make_attempts(struct agent *a, struct err *err)
{
	char boot_path[PATH_MAX];
	struct attempts_options o = {
	        .outbox = &a->outbox,
	        .cores = a->machine.n_cpus,
	        .grace_ms = GRACE_MS,
	        .output_max = OUTPUT_MAX,
	        .files_of = files_of,
	        .hold = hold,
	        .on_ended = on_ended,
	        .data = a,
	};
	enum boot boot;
	int rc;

	snprintf(boot_path, sizeof(boot_path), "%s/run/boot_id", a->o.data_dir);
	boot = last_boot(a, boot_path);
	if (boot == BOOT_OTHER)
		log_warn("agent.rebooted", "boot=\"%s\"", a->machine.boot_id);
	rc = open_engine(a, boot == BOOT_OTHER, err);
	if (rc < 0)
		return rc;
	a->attempts = attempts_new(&o);
	rc = make_slicing(a, err);
	if (rc < 0)
		return rc;
	attempts_set_engine(a->attempts, a->engine);
	a->releases = releases_new(a->loop, a->attempts);
	engine_resume(a->engine);
	/* A full disk keeps no agent from its jobs. */
	if (boot == BOOT_SAME)
		return 0;
	return fs_write_atomic(
	        boot_path, a->machine.boot_id, strlen(a->machine.boot_id), 0600, err);
}

static void make_streams(struct agent *a)
{
	struct outputs_options out = {
	        .loop = a->loop,
	        .outbox = &a->outbox,
	        .data_dir = a->o.data_dir,
	        .check_owner = geteuid() == 0,
	        .helper = a->o.launcher,
	        .is_over = is_over,
	        .data = a,
	};

	a->outputs = outputs_new(&out);
}

static void make_consoles(struct agent *a)
{
	struct consoles_options o = {
	        .loop = a->loop,
	        .outbox = &a->outbox,
	        .attempts = a->attempts,
	        .engine = a->engine,
	        .slices_of = slices_of,
	        .data = a,
	};

	a->consoles = consoles_new(&o);
	a->procs = procs_new(a->attempts);
	a->watchdog = watchdog_new(a->attempts, slicing_ledgers(a->slicing));
	a->blobs = blobs_new();
}

static int make_simulation(struct agent *a, struct err *err)
{
	char dir[PATH_MAX], path[GPU_PATH_SIZE];
	int rc;

	if (a->o.nvml)
		a->nvml = mem_strdup(a->o.nvml);
	if (!a->o.simulate)
		return 0;
	if (!a->nvml)
		a->nvml = beside_program("fake/libnvidia-ml.so.1");
	snprintf(dir, sizeof(dir), "%s/sim", a->o.data_dir);
	/* Jobs of all accounts use the cards. */
	rc = fs_mkdir_p(dir, 0755, err);
	if (rc == 0)
		rc = gpu_simulate_write(a->o.simulate, dir, path, err);
	if (rc < 0)
		return err_wrap(err, "simulating '%s'", a->o.simulate);
	a->fake_gpus = mem_strdup(path);
	return 0;
}

static int make_inventory(struct agent *a, struct err *err)
{
	struct inventory_options o = {
	        .loop = a->loop,
	        .library = a->nvml,
	        .simulate = a->fake_gpus,
	        .allowed = a->o.allowed,
	        .n_allowed = a->o.n_allowed,
	        .before_scan = before_scan,
	        .owner_of = owner_of,
	        .held_by_of = held_by_of,
	        .on_list = on_list,
	        .on_scan = on_scan,
	        .on_change = on_change,
	        .data = a,
	};
	int rc = inventory_new(&o, &a->inventory, err);

	if (rc == 0)
		releases_set_inventory(a->releases, a->inventory);
	return rc;
}

static int take_name(struct agent *a, struct err *err)
{
	const char *name = a->o.name ? a->o.name : a->machine.hostname;
	char shown[TEXT_SHOW_SIZE];

	if (!node_is_name(name))
		return err_set(err, ERR_INVALID,
		        "'%s' cannot be the name of a node: letters, digits, '.', '_' and '-'",
		        text_show(name, shown));
	a->node_name = name;
	return 0;
}

static int make_timers(struct agent *a, struct err *err)
{
	int rc;

	a->beat_ms = AGENT_BEAT_MS;
	a->beat = loop_timer_new(a->loop, agent_on_beat, a);
	a->ending = loop_timer_new(a->loop, agent_on_ending, a);
	rc = loop_signal_new(a->loop, SIGTERM, on_signal, a, &a->sigterm, err);
	if (rc == 0)
		rc = loop_signal_new(a->loop, SIGINT, on_signal, a, &a->sigint, err);
	return rc;
}

static int take_data_dir(struct agent *a, struct err *err)
{
	const struct timespec wait = {.tv_nsec = LOCK_WAIT_MS * 1000000};
	char path[PATH_MAX];
	int rc;

	snprintf(path, sizeof(path), "%s/run", a->o.data_dir);
	rc = fs_mkdir_p(path, 0711, err);
	if (rc < 0)
		return rc;
	snprintf(path, sizeof(path), "%s/run/agent.lock", a->o.data_dir);
	rc = fs_lock(path, &a->lock_fd, err);
	for (int i = 0; rc == -(int)ERR_CONFLICT && i < LOCK_TRIES; i++) {
		nanosleep(&wait, NULL);
		rc = fs_lock(path, &a->lock_fd, err);
	}
	return rc < 0 ? err_wrap(err, "another agent serves '%s'", a->o.data_dir) : 0;
}

static int make_parts(struct agent *a, struct err *err)
{
	int rc = take_data_dir(a, err);

	if (rc == 0)
		rc = loop_new(&a->loop, err);
	if (rc == 0)
		rc = machine_read(&a->machine, err);
	if (rc == 0)
		rc = make_simulation(a, err);
	if (rc == 0)
		rc = take_name(a, err);
	if (rc == 0 && a->o.token_file)
		rc = identity_read(a->o.data_dir, a->key, err);
	if (rc < 0)
		return rc;
	loop_on_turn_end(a->loop, agent_on_turn_end, a);
	make_streams(a);
	rc = make_attempts(a, err);
	if (rc < 0)
		return rc;
	make_consoles(a);
	rc = make_timers(a, err);
	if (rc < 0)
		return rc;
	return make_inventory(a, err);
}

int agent_new(const struct agent_options *o, struct agent **ret_agent, struct err *err)
{
	struct agent *a = mem_zalloc(sizeof(*a));
	int rc;

	a->o = *o;
	a->lock_fd = -1;
	a->outbox.buf = BUF_INIT(OUTBOX_MAX);
	rc = make_parts(a, err);
	if (rc < 0) {
		(void)!agent_free(a);
		return rc;
	}
	*ret_agent = a;
	return 0;
}

void agent_run(struct agent *a)
{
	loop_run(a->loop);
}

bool agent_free(struct agent *a)
{
	/* First: a driver that does not answer, or a peer that does not close, shall leave nothing in memory, and no daemon. */
	slicing_free(a->slicing, a->is_shutdown && a->is_leaving);
	a->slicing = NULL;
	mps_free(a->mps, a->is_shutdown && a->is_leaving);
	a->mps = NULL;
	if ((a->uplink && !uplink_is_gone(a->uplink)) || !inventory_free(a->inventory))
		return false;
	uplink_free(a->uplink);
	loop_timer_free(a->beat);
	loop_timer_free(a->ending);
	consoles_free(a->consoles);
	outputs_free(a->outputs);
	watchdog_free(a->watchdog);
	releases_free(a->releases);
	procs_free(a->procs);
	attempts_free(a->attempts);
	engine_close(a->engine);
	blobs_free(a->blobs);
	waiting_free(a->waiting);
	buf_done(&a->outbox.buf);
	/* Until here: the supervisor's SIGTERM often comes while we are leaving already. */
	loop_signal_free(a->sigterm);
	loop_signal_free(a->sigint);
	if (a->loop)
		loop_off_turn_end(a->loop, agent_on_turn_end, a);
	loop_free(a->loop);
	if (a->lock_fd >= 0)
		fs_unlock(a->lock_fd);
	free(a->keeper_program);
	free(a->fake_gpus);
	free(a->nvml);
	free(a);
	return true;
}
