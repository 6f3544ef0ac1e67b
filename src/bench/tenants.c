#include "bench/tenants.h"

#include "berth/slice.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_S 120 /* of one that should have ended */

static const char *const libraries[] = {"libcuda", "libnvidia-ml"};

static bool failed(struct bench *b, const char *path)
{
	return bench_fail(b, "%.300s: %s", path, strerror(errno));
}

/* -- the stage -- */

static bool make_dir(struct bench *b, const char *name, char ret[BENCH_PATH])
{
	snprintf(ret, BENCH_PATH, "%.3900s/%s", b->dir, name);
	return mkdir(ret, 0700) == 0 || failed(b, ret);
}

static bool place(
        struct bench *b, const char *dir, const char *name, const char *suffix, const char *target)
{
	char path[BENCH_PATH + 64], real[PATH_MAX];

	snprintf(path, sizeof path, "%s/%s%s", dir, name, suffix);
	if (!realpath(target, real))
		return failed(b, target);
	return symlink(real, path) == 0 || failed(b, path);
}

/* The driver's own library: in driver_dir, or where the loader finds it. */
static bool find_real(
        struct bench *b, const char *driver_dir, const char *name, char ret[BENCH_PATH])
{
	char soname[64];
	struct link_map *map;
	void *handle;

	snprintf(soname, sizeof soname, "%s.so.1", name);
	snprintf(ret, BENCH_PATH, "%s%s%s", driver_dir ? driver_dir : "", driver_dir ? "/" : "",
	        soname);
	handle = dlopen(ret, RTLD_NOW | RTLD_LOCAL);
	if (!handle) {
		b->code = "not_found";
		b->hint = BENCH_HINT_SIMULATE;
		return bench_fail(b, "no NVIDIA driver: %s", dlerror());
	}
	/* Behind the interposer stands what it stands in front of. */
	snprintf(soname, sizeof soname, "%s.real.so.1", name);
	if (dlopen(soname, RTLD_NOW | RTLD_NOLOAD)) {
		b->code = "conflict";
		b->hint = "a whole device is none: berth run --gpu 1 -- berth bench slice";
		return bench_fail(b, "this is a slice already");
	}
	if (dlinfo(handle, RTLD_DI_LINKMAP, &map) != 0)
		return bench_fail(b, "%s", dlerror());
	snprintf(ret, BENCH_PATH, "%.4000s", map->l_name);
	b->is_simulated |= dlsym(handle, "berthFakeClock") != NULL;
	return true;
}

/* The same devices by a clock that jumps while all wait: a state of its own, and the UUIDs that they have. */
static bool describe_virtual(struct bench *b)
{
	const char *from = getenv("BERTH_FAKE_GPUS");
	char path[BENCH_PATH], text[65536 + 1];
	FILE *in = from ? fopen(from, "re") : NULL;
	size_t n = in ? fread(text, 1, sizeof text - 1, in) : 0;

	if (in)
		fclose(in);
	if (!n)
		return bench_fail(b, "BERTH_FAKE_GPUS names no description of simulated devices");
	text[n] = '\0';
	snprintf(path, sizeof path, "%.3900s/virtual.sim", b->dir);
	FILE *out = fopen(path, "we");
	if (!out)
		return failed(b, path);
	fprintf(out, "clock virtual\nlate 50us\nseed %s\n%s", from, text);
	return fclose(out) == 0 || failed(b, path);
}

bool tenants_stage(struct bench *b, const char *driver_dir)
{
	char bare[BENCH_PATH], sliced[BENCH_PATH], nulled[BENCH_PATH], real[BENCH_PATH],
	        shim[BENCH_PATH];

	if (!make_dir(b, "bare", bare) || !make_dir(b, "sliced", sliced) ||
	        !make_dir(b, "nulled", nulled))
		return false;
	for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++) {
		snprintf(shim, sizeof shim, "%.4000s/%s.so.1", b->shim_dir, libraries[i]);
		if (access(shim, R_OK) != 0) {
			b->code = "not_found";
			b->hint = "install Berth again, all of its files";
			return bench_fail(b, "no interposer: %.300s: %s", shim, strerror(errno));
		}
		if (!find_real(b, driver_dir, libraries[i], real) ||
		        !place(b, bare, libraries[i], ".so.1", real) ||
		        !place(b, sliced, libraries[i], ".so.1", shim) ||
		        !place(b, sliced, libraries[i], ".real.so.1", real) ||
		        !place(b, nulled, libraries[i], ".so.1", shim))
			return false;
	}
	return place(b, nulled, "libcuda", ".real.so.1", b->null_driver) &&
	       (!b->is_simulated || describe_virtual(b));
}

/* -- processes -- */

static void set_environment(const struct bench *b, const struct seat *seat)
{
	const char *old = getenv("LD_LIBRARY_PATH");
	char text[2 * BENCH_PATH];

	snprintf(text, sizeof text, "%.3900s/%s%s%s", b->dir,
	        seat->has_null_driver ? "nulled"
	        : seat->ledgers       ? "sliced"
	                              : "bare",
	        old ? ":" : "", old ? old : "");
	setenv("LD_LIBRARY_PATH", text, 1);
	if (seat->ledgers)
		setenv(SLICE_VARIABLE, seat->ledgers, 1);
	else
		unsetenv(SLICE_VARIABLE);
	if (!b->is_simulated || !seat->n_players)
		return;
	snprintf(text, sizeof text, "%.3900s/virtual.sim", b->dir);
	setenv("BERTH_FAKE_GPUS", text, 1);
	snprintf(text, sizeof text, "%u", seat->n_players);
	setenv("BERTH_FAKE_PLAYERS", text, 1);
	snprintf(text, sizeof text, "%u", seat->place);
	setenv("BERTH_FAKE_SEAT", text, 1);
}

static void become_tenant(
        const struct bench *b, const struct seat *seat, const char *const *words, pid_t parent)
{
	char self[] = "berth-bench", tenant[] = "tenant", *argv[8] = {self, tenant};

	for (size_t i = 0; words[i] && i + 3 < sizeof argv / sizeof *argv; i++)
		argv[i + 2] = (char *)(uintptr_t)words[i]; /* exec does not write into it */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	set_environment(b, seat);
	execv("/proc/self/exe", argv);
	_exit(127);
}

bool tenant_begin(
        struct bench *b, const struct seat *seat, const char *const *words, struct tenant *ret)
{
	pid_t parent = getpid();
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) != 0)
		return bench_fail(b, "pipe: %s", strerror(errno));
	fflush(stdout);
	ret->pid = fork();
	if (ret->pid == 0) {
		dup2(ends[1], STDOUT_FILENO);
		become_tenant(b, seat, words, parent);
	}
	close(ends[1]);
	ret->fd = ends[0];
	if (ret->pid > 0)
		return true;
	close(ends[0]);
	return bench_fail(b, "fork: %s", strerror(errno));
}

static time_t now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

/* What is there within so many seconds; false: it did not end by then. */
static bool read_all(struct tenant *t, time_t patience_s, char **ret_text)
{
	time_t until_s = now_s() + patience_s;
	struct pollfd p = {.fd = t->fd, .events = POLLIN};
	size_t n = 0, size = 4096;
	char *text = malloc(size);
	ssize_t got = -1;

	while (text && now_s() <= until_s) {
		if (poll(&p, 1, 1000) <= 0)
			continue;
		got = read(t->fd, text + n, size - n - 1);
		if (got <= 0)
			break;
		n += (size_t)got;
		if (n + 1 < size)
			continue;
		char *more = realloc(text, size *= 2);
		if (!more)
			break;
		text = more;
	}
	if (text)
		text[n] = '\0';
	*ret_text = text;
	return text && got == 0;
}

static int reap(struct tenant *t)
{
	int status = 0;

	while (waitpid(t->pid, &status, 0) < 0 && errno == EINTR)
		;
	close(t->fd);
	*t = (struct tenant){0};
	return status;
}

bool tenant_end(struct bench *b, struct tenant *t, char **ret_text)
{
	char *text;
	bool is_whole = read_all(t, PATIENCE_S, &text);

	if (!is_whole)
		kill(t->pid, SIGKILL);
	int status = reap(t);
	if (is_whole && WIFEXITED(status) && WEXITSTATUS(status) == 0) {
		*ret_text = text;
		return true;
	}
	if (!is_whole)
		bench_fail(b, "a tenant did not end within %d s", PATIENCE_S);
	else if (WIFSIGNALED(status))
		bench_fail(b, "a tenant was ended by signal %d", WTERMSIG(status));
	else
		bench_fail(b, "a tenant said: %.*s", (int)strcspn(text, "\n"), text);
	free(text);
	return false;
}

int tenant_kill(struct tenant *t, char **ret_text)
{
	char *text;

	if (t->pid <= 0)
		return 0;
	kill(t->pid, SIGKILL);
	read_all(t, PATIENCE_S, &text);
	if (ret_text)
		*ret_text = text;
	else
		free(text);
	return reap(t);
}

bool tenant_wait_line(struct bench *b, struct tenant *t)
{
	struct pollfd p = {.fd = t->fd, .events = POLLIN};

	if (poll(&p, 1, PATIENCE_S * 1000) == 1 && p.revents & POLLIN)
		return true;
	return bench_fail(b, "a tenant did not begin");
}

bool tenant_run(struct bench *b, const struct seat *seat, const char *const *words, char **ret_text)
{
	struct tenant t;

	return tenant_begin(b, seat, words, &t) && tenant_end(b, &t, ret_text);
}

void tenant_word(const char *text, const char *key, char *ret, size_t size)
{
	size_t len = strlen(key);

	*ret = '\0';
	for (const char *line = text; line; line = strchr(line, '\n'), line += line != NULL)
		if (!strncmp(line, key, len) && line[len] == ' ')
			snprintf(ret, size, "%.*s", (int)strcspn(line + len + 1, "\n"),
			        line + len + 1);
}

double tenant_number(const char *text, const char *key)
{
	char word[64];

	tenant_word(text, key, word, sizeof word);
	return strtod(word, NULL);
}
