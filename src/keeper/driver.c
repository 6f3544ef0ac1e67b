#include "keeper/driver.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "berth/slice.h"
#include "keeper/rights.h"
#include "plat/library.h"
#include "plat/log.h"
#include "plat/mounts.h"

enum { CUDA, NVML, LIBRARIES };

static const char top[] = "/run/berth";
static const struct {
	const char *name; /* as programs ask for it */
	const char *plain;
	const char *real;                    /* as the interposer asks for the driver behind it */
	const char *at, *plain_at, *real_at; /* the same in DRIVER_DIR */
} libraries[LIBRARIES] = {
        [CUDA] = {"libcuda.so.1", "libcuda.so", "libcuda.real.so.1", DRIVER_DIR "/libcuda.so.1",
                DRIVER_DIR "/libcuda.so", DRIVER_DIR "/libcuda.real.so.1"},
        [NVML] = {"libnvidia-ml.so.1", "libnvidia-ml.so", "libnvidia-ml.real.so.1",
                DRIVER_DIR "/libnvidia-ml.so.1", DRIVER_DIR "/libnvidia-ml.so",
                DRIVER_DIR "/libnvidia-ml.real.so.1"},
};

/* Real paths; "": there is none. */
struct driver_paths {
	const struct keeper_base *base;
	bool was_tried, has_mounts;
	char parts[LIBRARY_PATH]; /* where this program is */
	char links[LIBRARY_PATH]; /* DATA/run/driver */
	char shim[LIBRARIES][LIBRARY_PATH];
	char fake[LIBRARIES][LIBRARY_PATH];
	char system[LIBRARIES][LIBRARY_PATH];
};

/* The parent */

struct driver_paths *driver_paths_new(const struct keeper_base *base, const char *data)
{
	struct driver_paths *p = mem_zalloc(sizeof(*p));
	ssize_t n = readlink("/proc/self/exe", p->parts, sizeof(p->parts) - 1);
	char *slash;

	p->parts[MAX(n, 0)] = '\0';
	slash = strrchr(p->parts, '/');
	if (slash)
		*slash = '\0';
	p->base = base;
	snprintf(p->links, sizeof(p->links), "%s/run/driver", data);
	return p;
}

static void find_part(
        const struct driver_paths *p, const char *folder, int i, char path[LIBRARY_PATH])
{
	char named[2 * LIBRARY_PATH];

	snprintf(named, sizeof(named), "%s/%s/%s", p->parts, folder, libraries[i].name);
	if (!realpath(named, path))
		path[0] = '\0';
}

/* Everything that a driver could be reached by; one that was replaced meanwhile is found anew. */
static void find_libraries(struct driver_paths *p)
{
	for (int i = 0; i < LIBRARIES; i++) {
		find_part(p, "shim", i, p->shim[i]);
		find_part(p, "fake", i, p->fake[i]);
		if ((!p->system[i][0] || access(p->system[i], F_OK) < 0) &&
		        !library_find(libraries[i].name, "", p->system[i]))
			p->system[i][0] = '\0';
	}
}

static void put_link(const char *dir, const char *name, const char *target)
{
	char path[LIBRARY_PATH + 64], made[LIBRARY_PATH + 72], now[LIBRARY_PATH];
	ssize_t n;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	snprintf(made, sizeof(made), "%s.new", path);
	n = readlink(path, now, sizeof(now) - 1);
	now[MAX(n, 0)] = '\0';
	if (strcmp(now, target) == 0)
		return;
	unlink(made);
	if (symlink(target, made) < 0 || rename(made, path) < 0)
		log_warn("keeper.driver", "path=\"%s\" error=\"%s\"", path, strerror(errno));
}

static void make_links(const struct driver_paths *p, bool simulated)
{
	rights_as_server(p->base);
	if (mkdir(p->links, 0755) < 0 && errno != EEXIST)
		log_warn("keeper.driver", "path=\"%s\" error=\"%s\"", p->links, strerror(errno));
	for (int i = 0; i < LIBRARIES; i++) {
		const char *real = simulated ? p->fake[i] : p->system[i];

		if (!p->shim[i][0] || !*real)
			continue;
		put_link(p->links, libraries[i].name, p->shim[i]);
		put_link(p->links, libraries[i].plain, p->shim[i]);
		put_link(p->links, libraries[i].real, real);
	}
	rights_back(p->base);
}

void driver_look(struct driver_paths *p, const struct launch *l)
{
	if (!l->slices)
		return;
	find_libraries(p);
	if (!p->was_tried) {
		p->was_tried = true;
		p->has_mounts = p->base->is_root && mounts_work();
		log_info("keeper.driver", "slices_by=\"%s\"",
		        p->has_mounts ? "private mounts" : "environment");
	}
	/* Stays: attempts of another Berth on this machine may have mounts on it. */
	if (p->has_mounts && mkdir(top, 0755) < 0 && errno != EEXIST)
		log_warn("keeper.driver", "path=\"%s\" error=\"%s\"", top, strerror(errno));
	if (!p->has_mounts)
		make_links(p, l->simulated);
}

/* A keeper */

static bool is_variable(const char *entry, const char *name)
{
	size_t len = strlen(name);

	return strncmp(entry, name, len) == 0 && entry[len] == '=';
}

static char *join(const char *name, const char *first, const char *second)
{
	char *entry;

	BUG_IF(asprintf(&entry, "%s=%s%s%s", name, first, *second ? ":" : "", second) < 0);
	return entry;
}

/* What leads programs to their driver; of the user's own values, his libraries come after ours, our programs after his. */
static char **compose(const struct driver *d, const struct launch *l, const char *ledgers)
{
	const struct driver_paths *p = d->paths;
	const char *libs = "", *path = "";
	char fake[LIBRARY_PATH + 16], **env;
	size_t n = 0;

	while (l->env[n])
		n++;
	env = mem_zalloc((n + 5) * sizeof(*env));
	n = 0;
	for (char *const *e = l->env; *e; e++) {
		if (is_variable(*e, "LD_LIBRARY_PATH"))
			libs = strchr(*e, '=') + 1;
		else if (l->simulated && is_variable(*e, "PATH"))
			path = strchr(*e, '=') + 1;
		else if (!ledgers || !is_variable(*e, SLICE_VARIABLE))
			env[n++] = *e;
	}
	snprintf(fake, sizeof(fake), "%s/fake", p->parts);
	if (ledgers)
		env[n++] = join(SLICE_VARIABLE, ledgers, "");
	if (ledgers)
		env[n++] = join("LD_LIBRARY_PATH", d->is_mounted ? DRIVER_DIR : p->links, libs);
	else if (l->simulated)
		env[n++] = join("LD_LIBRARY_PATH", fake, libs);
	else if (*libs)
		env[n++] = join("LD_LIBRARY_PATH", libs, "");
	if (l->simulated)
		env[n++] = *path ? join("PATH", path, fake) : join("PATH", fake, "");
	return env;
}

/* Without mounts the ledgers are reached by their own name, by a job of another account, too. Its names are dice. */
static void open_root(int slices_fd)
{
	int fd = openat(slices_fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0 && fchmod(fd, 0711) < 0)
		log_warn("keeper.driver", "error=\"opening the ledgers to a job: %s\"",
		        strerror(errno));
	if (fd >= 0)
		close(fd);
}

/* Only a directory that the server itself can reach, and owns, is shown to a job. */
static int look_at_slices(struct driver *d, const struct keeper_base *base, const struct launch *l,
        bool has_mounts, struct err *err)
{
	struct stat st;
	int fd, sys;

	rights_as_server(base);
	fd = open(l->slices, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	sys = errno;
	if (fd >= 0 && !has_mounts && base->is_root && l->uid != base->server_uid)
		open_root(fd);
	rights_back(base);
	if (fd < 0 || fstat(fd, &st) < 0) {
		if (fd >= 0)
			close(fd);
		return err_sys(err, sys, "opening the ledgers of its slices, '%s'", l->slices);
	}
	close(fd);
	if (st.st_uid != base->server_uid)
		return err_set(
		        err, ERR_FORBIDDEN, "the ledgers '%s' are of another account", l->slices);
	d->slices = l->slices;
	d->device = st.st_dev;
	d->inode = st.st_ino;
	return 0;
}

int driver_take(struct driver *d, const struct keeper_base *base, struct launch *l, bool is_exec,
        bool is_inside, struct err *err)
{
	const struct driver_paths *p = base->driver;
	/* Where links of the server's account led root, that account could become root. */
	bool is_trusted = !base->is_root || l->uid != 0 || base->server_uid == 0;
	bool has_mounts = p->has_mounts && (!is_exec || is_inside);
	const char *ledgers = NULL;
	int rc;

	*d = (struct driver){0};
	if (!l->slices && !l->simulated)
		return 0;
	d->paths = p;
	for (int i = 0; i < LIBRARIES; i++)
		d->real[i] = l->simulated ? p->fake[i] : p->system[i];
	if (l->slices && (has_mounts || is_trusted)) {
		if (!p->shim[CUDA][0] || !*d->real[CUDA])
			return err_set(err, ERR_NOT_FOUND,
			        "a fraction of a device needs %s/shim/libcuda.so.1 and a driver behind it",
			        p->parts);
		rc = look_at_slices(d, base, l, has_mounts, err);
		if (rc < 0)
			return rc;
		d->is_held = true;
		d->is_mounted = has_mounts;
		ledgers = has_mounts ? SLICE_DIR : l->slices;
	}
	d->env = compose(d, l, ledgers);
	l->env = d->env;
	/* An exec is in its attempt's namespace already. */
	if (is_exec)
		d->is_mounted = false;
	return 0;
}

/* A file for a mount to lie on. */
static bool make_file(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	return fd >= 0 && close(fd) == 0;
}

static bool show(const char *from, const char *to)
{
	return make_file(to) && mounts_bind_file(from, to);
}

/* The driver is put away first: afterwards its own name leads to the interposer. */
static bool replace(const struct driver *d, int i)
{
	const struct driver_paths *p = d->paths;

	if (!p->shim[i][0] || !*d->real[i])
		return true;
	return show(d->real[i], libraries[i].real_at) && show(p->shim[i], libraries[i].at) &&
	       symlink(libraries[i].name, libraries[i].plain_at) == 0 &&
	       (!p->system[i][0] || mounts_bind_file(p->shim[i], p->system[i])) &&
	       (!p->fake[i][0] || mounts_bind_file(p->shim[i], p->fake[i]));
}

/* What was found at the name may have been replaced since the look at it, but not what is mounted now. */
static bool show_slices(const struct driver *d)
{
	struct stat st;

	if (mkdir(SLICE_DIR, 0755) < 0 || !mounts_bind_data(d->slices, SLICE_DIR) ||
	        stat(SLICE_DIR, &st) < 0)
		return false;
	if (st.st_dev == d->device && st.st_ino == d->inode)
		return true;
	errno = ESTALE;
	return false;
}

bool driver_mount(const struct driver *d, bool has_begun)
{
	if (!d->is_mounted)
		return true;
	return (has_begun || mounts_begin()) && mounts_cover(top) && mkdir(DRIVER_DIR, 0755) == 0 &&
	       show_slices(d) && replace(d, CUDA) && replace(d, NVML) && mounts_seal(top);
}
