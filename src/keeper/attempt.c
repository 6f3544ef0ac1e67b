#include "keeper/attempt.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keeper/console.h"
#include "keeper/driver.h"
#include "keeper/execs.h"
#include "keeper/limits.h"
#include "keeper/output.h"
#include "keeper/ranks.h"
#include "keeper/report.h"
#include "keeper/rights.h"
#include "keeper/streams.h"
#include "keeper/sweep.h"
#include "keeper/tree.h"
#include "keeper/workdir.h"
#include "plat/proc.h"
#include "plat/pty.h"

/*
 * DESIGN. One loop until waitpid says that no process is left. Phases only go up: RUN, TERM (the tree was asked to end),
 * KILL (again and again). The end of the first process (of tasks: of one that failed, or of all), a stop and the time limit each
 * begin TERM or KILL; who came first is the cause. An exec is the same without spool and files, and ends with the attempt it belongs to.
 */
enum phase { PHASE_RUN, PHASE_TERM, PHASE_KILL };

enum { CHUNK = 1 << 16, DRAIN_MAX = 1 << 22, KILL_AGAIN_MS = 20, NOBODY_CAME_MS = 30000 };

enum { AT_SIGNAL, AT_OUT, AT_ERR, AT_TIMER, AT_WATCH, AT_IN, AT_CONSOLE };

struct attempt {
	const struct keeper_base *base;
	struct launch *l;
	struct attempt_id id;
	bool is_exec;
	struct streams io;
	int cwd_fd; /* of a working directory of its own, else -1 */
	int timer_fd;
	int watch_fd; /* of an exec: the attempt's keeper */
	struct console *console;
	struct output output;
	struct limits limits;
	struct driver driver;
	unsigned group; /* number of its control group, as the parent has it */

	enum phase phase;
	bool is_waiting; /* of an exec: for its client */
	enum spool_cause cause;
	int kill_again_ms;
	struct ranks ranks;
	bool is_empty; /* no process is left */
	uint64_t cpu_us;
	uint64_t peak_kib;
};

static uint8_t chunk[CHUNK];

/* On the clock that goes on while the machine sleeps. */
static void arm(struct attempt *a, uint64_t in_ms)
{
	struct itimerspec at = {.it_value = {.tv_sec = (time_t)(in_ms / 1000),
	                                .tv_nsec = (long)(in_ms % 1000) * 1000000}};

	if (a->timer_fd < 0)
		a->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	BUG_IF(a->timer_fd < 0);
	timerfd_settime(a->timer_fd, 0, &at, NULL);
}

static void begin_kill(struct attempt *a)
{
	a->phase = PHASE_KILL;
	a->kill_again_ms = KILL_AGAIN_MS;
	if (!limits_kill(&a->limits))
		tree_kill();
}

/* Shells on a terminal do not take TERM; they take what a closed terminal sends. */
static void begin_term(struct attempt *a)
{
	if (a->l->grace_ms == 0) {
		begin_kill(a);
		return;
	}
	a->phase = PHASE_TERM;
	tree_signal(SIGTERM);
	if (a->io.is_tty)
		tree_signal(SIGHUP);
	arm(a, a->l->grace_ms);
}

static void begin_end(struct attempt *a, enum spool_cause cause, bool force)
{
	a->is_waiting = false;
	if (a->phase == PHASE_KILL || a->is_empty)
		return;
	if (a->phase == PHASE_RUN && !a->ranks.is_over)
		a->cause = cause;
	if (force)
		begin_kill(a);
	else if (a->phase == PHASE_RUN)
		begin_term(a);
}

static void add_usage(struct attempt *a, const struct rusage *u)
{
	a->cpu_us += (uint64_t)(u->ru_utime.tv_sec + u->ru_stime.tv_sec) * 1000000 +
	             (uint64_t)(u->ru_utime.tv_usec + u->ru_stime.tv_usec);
	a->peak_kib = MAX(a->peak_kib, (uint64_t)u->ru_maxrss);
}

static void reap(struct attempt *a)
{
	struct rusage usage;
	int status;
	pid_t pid;

	while ((pid = wait4(-1, &status, WNOHANG, &usage)) > 0 || (pid < 0 && errno == EINTR)) {
		if (pid < 0)
			continue;
		add_usage(a, &usage);
		ranks_take_end(&a->ranks, pid, status);
	}
	a->is_empty = pid < 0 && errno == ECHILD;
	if (a->is_empty)
		return;
	/* What was left behind, and tasks beside one that failed; and in the last phase, what has become a child of ours by the death
	 * of its parent. */
	if (a->ranks.is_over && a->phase == PHASE_RUN)
		begin_term(a);
	else if (a->phase == PHASE_KILL && !limits_kill(&a->limits))
		tree_kill();
}

/* By itself, as far as is known. */
static bool has_ended_by(const struct attempt *a, int signo)
{
	return a->ranks.is_over && a->cause == SPOOL_EXIT && WIFSIGNALED(a->ranks.wait_status) &&
	       WTERMSIG(a->ranks.wait_status) == signo;
}

/*
 * From outside: the machine goes down, or the service manager ends what it had started. The job may have got the same and be gone
 * already; it is started again, as after `berth down`.
 */
static void on_term(struct attempt *a)
{
	if (has_ended_by(a, SIGTERM))
		a->cause = SPOOL_SHUTDOWN;
	begin_end(a, SPOOL_SHUTDOWN, false);
}

static void on_stop(struct attempt *a, uint32_t value)
{
	enum spool_cause cause = value & 0xff ? (enum spool_cause)(value & 0xff) : SPOOL_STOPPED;

	if (value & STOP_HELD && has_ended_by(a, SIGKILL))
		a->cause = cause;
	begin_end(a, cause, value & STOP_FORCE);
}

static void on_signals(struct attempt *a)
{
	struct signalfd_siginfo infos[8];
	ssize_t n = read(FD_SIGNAL, infos, sizeof(infos));

	/* An end that has come by itself comes first. */
	reap(a);
	for (size_t i = 0; n > 0 && i < (size_t)n / sizeof(*infos); i++) {
		uint32_t value = (uint32_t)infos[i].ssi_int;

		if (infos[i].ssi_signo == SIGTERM)
			on_term(a);
		else if (infos[i].ssi_signo == (uint32_t)STOP_SIGNAL)
			on_stop(a, value);
	}
}

static void on_timer(struct attempt *a)
{
	uint64_t count;

	if (read(a->timer_fd, &count, sizeof(count)) < 0)
		return;
	reap(a);
	if (a->phase == PHASE_RUN)
		begin_end(a, a->is_exec ? SPOOL_STOPPED : SPOOL_TIMEOUT, false);
	else if (a->phase == PHASE_TERM)
		begin_kill(a);
}

static void put_output(void *ctx, enum spool_stream stream, const void *data, size_t len)
{
	struct attempt *a = ctx;

	if (!a->is_exec)
		output_write(&a->output, stream, data, len);
	if (a->console)
		console_put_output(a->console,
		        stream == SPOOL_STDERR ? CONSOLE_STDERR : CONSOLE_STDOUT, data,
		        (uint32_t)len);
}

/* One read from the job; the number of bytes. */
static size_t take_output(struct attempt *a, int fd, enum spool_stream stream)
{
	ssize_t n;

	if (a->io.label)
		return label_take(a->io.label);
	n = read(fd, chunk, sizeof(chunk));
	if (n <= 0)
		return 0;
	put_output(a, stream, chunk, (size_t)n);
	return (size_t)n;
}

/* What clients typed, as far as the job takes it. */
static void give_input(struct attempt *a)
{
	struct buf *in = console_input(a->console);
	ssize_t n = in->len && a->io.in_fd >= 0 ? write(a->io.in_fd, in->data, in->len) : 0;
	char eof;

	if (n > 0)
		buf_consume(in, (size_t)n);
	if (a->io.in_fd < 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		buf_reset(in);
	if (!console_take_eof(a->console) || a->io.in_fd < 0)
		return;
	if (!a->io.is_tty) {
		close(a->io.in_fd);
		a->io.in_fd = -1;
		return;
	}
	eof = pty_eof_char(a->io.in_fd);
	if (eof)
		buf_add(in, &eof, 1);
}

static void on_console(struct attempt *a, const struct pollfd *fds, size_t n)
{
	uint32_t rows, cols;

	console_on_polls(a->console, fds, n);
	if (console_take_size(a->console, &rows, &cols) && a->io.is_tty)
		pty_resize(a->io.in_fd, rows, cols);
	give_input(a);
	if (!a->is_exec)
		return;
	if (a->is_waiting && !console_is_full(a->console)) {
		a->is_waiting = false;
		arm(a, a->l->time_limit_ms);
	}
	if (console_is_deserted(a->console) && a->phase == PHASE_RUN)
		begin_end(a, SPOOL_STOPPED, false);
}

static size_t gather(struct attempt *a, struct pollfd *fds)
{
	bool is_full = a->console && a->phase == PHASE_RUN && console_is_full(a->console);
	size_t n = AT_TIMER;

	fds[AT_SIGNAL] = (struct pollfd){.fd = FD_SIGNAL, .events = POLLIN};
	fds[AT_OUT] = (struct pollfd){.fd = is_full ? -1 : a->io.out_fd, .events = POLLIN};
	fds[AT_ERR] = (struct pollfd){.fd = is_full ? -1 : a->io.err_fd, .events = POLLIN};
	if (a->timer_fd < 0 && !a->console)
		return n;
	fds[AT_TIMER] = (struct pollfd){.fd = a->timer_fd, .events = POLLIN};
	fds[AT_WATCH] = (struct pollfd){.fd = a->watch_fd, .events = POLLIN};
	fds[AT_IN] = (struct pollfd){.fd = -1};
	n = AT_CONSOLE;
	if (!a->console)
		return n;
	n += console_polls(a->console, fds + AT_CONSOLE);
	if (a->io.in_fd >= 0 && console_input(a->console)->len)
		fds[AT_IN] = (struct pollfd){.fd = a->io.in_fd, .events = POLLOUT};
	return n;
}

static int patience_ms(struct attempt *a)
{
	int flush_ms = a->is_exec ? -1 : output_flush_in(&a->output);

	if (a->phase != PHASE_KILL)
		return flush_ms;
	return flush_ms < 0 ? a->kill_again_ms : MIN(flush_ms, a->kill_again_ms);
}

static void turn(struct attempt *a)
{
	struct pollfd fds[AT_CONSOLE + CONSOLE_POLLS];
	size_t n = gather(a, fds);
	int ready = poll(fds, n, patience_ms(a));

	if (ready == 0 && a->phase == PHASE_KILL) {
		a->kill_again_ms = MIN(a->kill_again_ms * 2, 1000);
		tree_kill();
		reap(a);
	}
	if (ready == 0 && !a->is_exec)
		output_flush(&a->output);
	if (ready <= 0)
		return;
	/* Before any output: that may drop clients, and then their places are not those of fds. */
	if (n > AT_CONSOLE)
		on_console(a, fds + AT_CONSOLE, n - AT_CONSOLE);
	if (fds[AT_OUT].revents)
		take_output(a, a->io.out_fd, SPOOL_STDOUT);
	if (fds[AT_ERR].revents)
		take_output(a, a->io.err_fd, SPOOL_STDERR);
	if (fds[AT_SIGNAL].revents)
		on_signals(a);
	if (n > AT_TIMER && fds[AT_TIMER].revents)
		on_timer(a);
	if (n > AT_TIMER && fds[AT_WATCH].revents) {
		a->watch_fd = -1;
		begin_end(a, SPOOL_STOPPED, true);
	}
}

/* What is left in the pipes. Somebody outside the tree may hold one and go on: that has a ceiling. */
static void empty_pipes(struct attempt *a)
{
	size_t most = (size_t)DRAIN_MAX * (a->io.label ? a->ranks.n : 1);

	for (size_t total = 0; total < most;) {
		struct pollfd fds[2] = {{.fd = a->io.out_fd, .events = POLLIN},
		        {.fd = a->io.err_fd, .events = POLLIN}};

		if (poll(fds, ARRAY_LEN(fds), 0) <= 0)
			return;
		if (fds[0].revents)
			total += take_output(a, a->io.out_fd, SPOOL_STDOUT);
		if (fds[1].revents)
			total += take_output(a, a->io.err_fd, SPOOL_STDERR);
	}
}

/* No process is left. */
static void drain(struct attempt *a)
{
	empty_pipes(a);
	if (a->io.label)
		label_finish(a->io.label);
}

static enum keeper_exit leave_workdir(const struct attempt *a)
{
	if (a->cwd_fd < 0)
		return KEEPER_DONE;
	if (a->base->is_root)
		return KEEPER_DONE_WORKDIR;
	workdir_remove(a->base, a->l);
	return KEEPER_DONE;
}

static void tell_exit(struct attempt *a)
{
	int status = a->ranks.wait_status;
	uint32_t code =
	        (uint32_t)(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
	uint8_t payload[4] = {0, 0, (uint8_t)(code >> 8), (uint8_t)code};

	console_end(a->console, CONSOLE_EXIT, payload, sizeof(payload));
}

static NORETURN void finish(struct attempt *a)
{
	struct spool_record r;
	enum keeper_exit code;

	drain(a);
	if (a->is_exec) {
		/* The attempt may end now: it waits for this lock. */
		close(FD_SPOOL);
		tell_exit(a);
		_exit(KEEPER_DONE);
	}
	execs_end(a->id.epoch);
	code = leave_workdir(a);
	if (a->console)
		console_close_door(a->console);
	r = report_new(&a->id, SPOOL_ENDED);
	output_finish(&a->output, &r.output_bytes, &r.dropped_bytes);
	r.cause = a->cause;
	r.wait_status = a->ranks.wait_status;
	r.has_rank = a->l->ranks && a->ranks.has_failed && a->cause == SPOOL_EXIT;
	r.rank = a->ranks.failed;
	r.cpu_ms = a->cpu_us / 1000;
	r.peak_mem_bytes = a->peak_kib * KIB;
	limits_end(&a->limits, a->l, &r);
	report_append(&r);
	tell_exit(a);
	_exit(code);
}

/* It never began; of tasks, not all of them. */
static NORETURN void finish_failed(
        struct attempt *a, const struct spawn_failure *f, const struct err *why)
{
	enum keeper_exit code;
	uint64_t ignored;

	if (a->ranks.n_living) {
		begin_kill(a);
		while (!a->is_empty)
			turn(a);
		drain(a);
		output_finish(&a->output, &ignored, &ignored);
	}
	if (a->is_exec && a->console) {
		a->is_empty = a->is_waiting = true;
		arm(a, NOBODY_CAME_MS);
		while (a->is_waiting)
			turn(a);
	}
	code = leave_workdir(a);
	if (!a->is_exec)
		report_failure(&a->id, f->cause, f->code, why);
	console_end(a->console, CONSOLE_ERROR, why->text, (uint32_t)strlen(why->text));
	_exit(code);
}

static int check(const struct attempt *a, struct err *err)
{
	if (prctl(PR_SET_CHILD_SUBREAPER, 1L) < 0)
		return err_sys(err, errno, "becoming the parent of all its processes");
	if (a->l->refusal)
		return err_set(err, ERR_FORBIDDEN, "%s", a->l->refusal);
	if (!a->l->argv[0])
		return err_set(err, ERR_INVALID, "no command was given");
	if (a->base->is_root && !a->l->has_account)
		return err_set(err, ERR_FORBIDDEN, "no account was given");
	return 0;
}

static int begin_exec(struct attempt *a, struct err *err)
{
	const struct launch *l = a->l;
	int rc, fd;

	if (l->path) {
		rights_as_server(a->base);
		fd = open(l->path, O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW);
		rights_back(a->base);
		if (fd < 0)
			return err_sys(err, errno, "opening spool '%.200s'", l->path);
		dup2(fd, FD_SPOOL);
		close(fd);
	}
	rc = proc_byte_lock(FD_SPOOL, SPOOL_EXEC_BYTE(a->id.epoch), false, err);
	if (rc == 0)
		a->watch_fd = proc_byte_owner_fd(FD_SPOOL, a->id.epoch);
	if (rc == -ERR_CONFLICT || a->watch_fd < 0)
		return err_set(err, ERR_CONFLICT, "the job is not running here");
	limits_take_beside(&a->limits, a->base, proc_byte_owner(FD_SPOOL, a->id.epoch));
	a->is_waiting = true;
	arm(a, NOBODY_CAME_MS);
	return rc < 0 ? rc : check(a, err);
}

/* Ends the process when there is nothing to do: the epoch lives already, or the spool knows it. */
static int begin_attempt(struct attempt *a, struct err *err)
{
	bool is_started, is_ended;
	int rc = proc_byte_lock(FD_SPOOL, a->id.epoch, true, err);

	if (rc == -ERR_CONFLICT)
		_exit(KEEPER_DONE);
	if (rc < 0)
		return rc;
	if (a->l->again) {
		report_find(a->id.epoch, &is_started, &is_ended);
		if (is_ended)
			_exit(KEEPER_DONE);
		/* Its keeper is dead, or we would not have the lock. */
		if (is_started || report_has_begun(a->id.epoch))
			sweep_locked(a->base, a->l);
	}
	rc = check(a, err);
	return rc < 0 ? rc : output_open(&a->output, a->base, a->l, err);
}

static int open_console(struct attempt *a, struct err *err)
{
	const struct launch *l = a->l;

	if (!l->console_path)
		return err_set(err, ERR_INVALID, "no path for the console was given");
	return console_open(
	        a->base, l->console_path, a->is_exec, l->tty && !a->is_exec, &a->console, err);
}

/* An exec has no other way than its console to say what went wrong; an attempt's may still be in use, until it has its lock. */
static int set_up(struct attempt *a, struct err *err)
{
	const struct launch *l = a->l;
	int rc = 0;

	if (a->is_exec) {
		rc = open_console(a, err);
		if (rc == 0)
			rc = begin_exec(a, err);
	} else {
		rc = begin_attempt(a, err);
		if (rc == 0 && (l->console || l->tty))
			rc = open_console(a, err);
	}
	if (rc < 0)
		return rc;
	if (l->make_cwd && !a->is_exec)
		rc = workdir_make(a->base, l, &a->cwd_fd, err);
	if (rc == 0)
		rc = streams_open(&a->io, a->base, l, a->console, put_output, a, err);
	if (rc == 0 && !a->is_exec)
		limits_take(&a->limits, a->base, l, a->group);
	if (rc == 0)
		rc = driver_take(
		        &a->driver, a->base, a->l, a->is_exec, a->limits.mounts_fd >= 0, err);
	/* From here on it is never run again, whatever becomes of us. */
	if (rc == 0 && !a->is_exec && !report_note_begun(a->id.epoch))
		rc = err_sys(err, errno, "noting the start");
	return rc;
}

NORETURN void attempt_run(const struct keeper_base *base, struct launch *l, unsigned group)
{
	struct attempt a;
	struct spawn_failure failure = {.cause = SPOOL_SETUP_FAILED, .code = 125};
	struct spool_record started;
	struct err err;
	int rc;

	a = (struct attempt){
	        .base = base,
	        .l = l,
	        .id = {.job = l->job, .task = l->task, .attempt = l->attempt, .epoch = l->epoch},
	        .is_exec = l->kind == LAUNCH_EXEC,
	        .io = STREAMS_NONE,
	        .group = group,
	        .cwd_fd = -1,
	        .timer_fd = -1,
	        .watch_fd = -1,
	};
	rc = set_up(&a, &err);
	if (rc == 0) {
		struct spawn s = {.base = base,
		        .l = l,
		        .is_tty = l->tty,
		        .limits = &a.limits,
		        .driver = &a.driver,
		        .cwd_fd = a.cwd_fd};

		rc = ranks_start(&a.ranks, &s, l, &a.io, &failure, &err);
	}
	rights_drop_to_keeper(base);
	if (rc < 0)
		finish_failed(&a, &failure, &err);
	streams_let_go(&a.io);
	limits_let_go(&a.limits);
	if (!a.is_exec) {
		started = report_new(&a.id, SPOOL_STARTED);
		started.keeper_pid = (uint32_t)getpid();
		started.pid = (uint32_t)a.ranks.pids[0];
		started.held = a.limits.held | (a.driver.is_held ? SPOOL_HOLD_BY_INTERPOSER : 0) |
		               (l->by_mps ? SPOOL_HOLD_BY_MPS : 0);
		started.not_held = a.limits.not_held;
		report_append(&started);
		if (l->time_limit_ms)
			arm(&a, l->time_limit_ms);
	}
	while (!a.is_empty || a.is_waiting)
		turn(&a);
	finish(&a);
}
