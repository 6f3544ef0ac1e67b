#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "plat/cgroup_priv.h"
#include "plat/fs.h"

#define TEXT_MAX (1 * MIB)

static const char *const controllers_v2[] = {"+memory", "+pids", "+cpu", "+io", "+dmem"};

/* What a controller's name stands for here. */
static unsigned served_by(const char *controller, size_t len)
{
	static const struct {
		const char *name;
		unsigned what;
	} known[] = {{"memory", CGROUP_MEMORY}, {"pids", CGROUP_PIDS}, {"cpu", CGROUP_CPU},
	        {"blkio", CGROUP_IO}, {"io", CGROUP_IO}, {"devices", CGROUP_DEVICES},
	        {"freezer", CGROUP_KILL}, {"dmem", CGROUP_GPU}};

	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (strlen(known[i].name) == len && memcmp(known[i].name, controller, len) == 0)
			return known[i].what;
	return 0;
}

/* Of a list with commas or blanks between, up to the end of its line. */
static unsigned served_by_list(const char *list)
{
	unsigned what = 0;

	for (size_t len; *list && *list != '\n' && *list != ':'; list += len) {
		list += strspn(list, ", ");
		len = strcspn(list, ", :\n");
		what |= served_by(list, len);
	}
	return what;
}

const char *cgroup_names(unsigned set, char room[96])
{
	static const char *const names[] = {
	        "memory", "processes", "CPU", "disk", "devices", "kill at once", "GPU memory"};
	size_t len = 0;

	room[0] = '\0';
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (set >> i & 1)
			len += (size_t)snprintf(
			        room + len, 96 - len, "%s%s", len ? ", " : "", names[i]);
	return room;
}

struct mount {
	bool is_v2;
	char *root, *point, *options;
};

struct finder {
	const char *parent, *name;
	unsigned only;
	const char *own; /* text of /proc/self/cgroup */
	struct cgroup_tree *t;
};

/* One line of /proc/self/mountinfo, cut up in place; false for what is no control group. */
static bool cut_mount(char *line, struct mount *m)
{
	char *fields[6], *rest = strstr(line, " - "), *save = NULL, *type;

	if (!rest || strncmp(rest + 3, "cgroup", 6) != 0)
		return false;
	*rest = '\0';
	for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
		fields[i] = strtok_r(i ? NULL : line, " ", &save);
		if (!fields[i])
			return false;
	}
	m->root = fields[3];
	m->point = fields[4];
	type = strtok_r(rest + 3, " ", &save);
	if (!type || !strtok_r(NULL, " ", &save))
		return false;
	m->is_v2 = strcmp(type, "cgroup2") == 0;
	m->options = strtok_r(NULL, " ", &save);
	return m->options != NULL;
}

/* The path of this process in a hierarchy, from its line "number:controllers:path"; version 2 names no controllers. */
static bool own_path(const char *text, const struct mount *m, char room[CGROUP_PATH])
{
	unsigned wanted = served_by_list(m->options);

	for (const char *line = text, *end; *line; line = *end ? end + 1 : end) {
		const char *list = strchr(line, ':');
		const char *path = list ? strchr(list + 1, ':') : NULL;

		end = line + strcspn(line, "\n");
		if (!path || path > end || end - path > CGROUP_PATH)
			continue;
		if (m->is_v2 ? path != list + 1 : !(served_by_list(list + 1) & wanted))
			continue;
		memcpy(room, path + 1, (size_t)(end - path - 1));
		room[end - path - 1] = '\0';
		return true;
	}
	return false;
}

/* Where a hierarchy is mounted in part, paths of /proc begin with that part. */
static const char *below_mount(const char *path, const char *root)
{
	size_t len = strlen(root);

	if (strcmp(root, "/") != 0 && strncmp(path, root, len) == 0 &&
	        (path[len] == '/' || path[len] == '\0'))
		path += len;
	return strcmp(path, "/") == 0 ? "" : path;
}

/* All groups but the root have a type. */
static bool has_processes_of_its_own(const char *path)
{
	char file[CGROUP_FILE], pids[16];

	snprintf(file, sizeof(file), "%s/cgroup.type", path);
	if (access(file, F_OK) < 0)
		return false;
	snprintf(file, sizeof(file), "%s/cgroup.procs", path);
	return cgroup_read_file(file, pids, sizeof(pids)) && pids[0];
}

/*
 * In version 2 a group hands its controllers down one by one; those that it has not, or may not, stay away. One that has processes
 * would be let hand down cpu and pids, but at the price that the groups below it take threads only, and no job.
 */
static void hand_down(const char *path)
{
	char file[CGROUP_FILE];

	if (has_processes_of_its_own(path))
		return;
	snprintf(file, sizeof(file), "%s/cgroup.subtree_control", path);
	for (size_t i = 0; i < ARRAY_LEN(controllers_v2); i++)
		if (!cgroup_write(file, controllers_v2[i]))
			errno = 0;
}

/* The groups on the way to the one that a setting names. */
static void make_way(const struct mount *m, const char *path)
{
	char way[CGROUP_PATH];

	snprintf(way, sizeof(way), "%s", path);
	for (char *slash = way + strlen(m->point); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(way, 0755) < 0 && errno != EEXIST)
			return;
		if (m->is_v2)
			hand_down(way);
		*slash = '/';
	}
}

/* A group of version 2 hands nothing down while processes are in it, unless it is the root of all. */
static bool hands_down(const struct mount *m, const char *group)
{
	char path[CGROUP_PATH], file[CGROUP_FILE], list[256];

	snprintf(path, sizeof(path), "%s%s", m->point, group);
	hand_down(path);
	snprintf(file, sizeof(file), "%s/cgroup.subtree_control", path);
	if (cgroup_read_file(file, list, sizeof(list)) && served_by_list(list))
		return true;
	/* Nothing to hand down: version 1 has it all. */
	snprintf(file, sizeof(file), "%s/cgroup.controllers", path);
	return cgroup_read_file(file, list, sizeof(list)) && !served_by_list(list);
}

/* Our directory in one hierarchy; false with errno. */
static bool make_dir(const struct finder *f, const struct mount *m, char path[CGROUP_PATH])
{
	char room[CGROUP_PATH];
	const char *base = f->parent;

	if (!*base) {
		if (!own_path(f->own, m, room)) {
			errno = ENOENT;
			return false;
		}
		base = below_mount(room, m->root);
		if (m->is_v2 && !hands_down(m, base))
			base = "";
	}
	base += *base == '/';
	if (snprintf(path, CGROUP_PATH, "%s/%s%s%s", m->point, base, *base ? "/" : "", f->name) >=
	        CGROUP_PATH - 32) {
		errno = ENAMETOOLONG;
		return false;
	}
	make_way(m, path);
	return mkdir(path, 0755) == 0 || errno == EEXIST;
}

static unsigned served_by_v2(const char *path)
{
	char file[CGROUP_FILE], list[256];
	unsigned what = 0;

	hand_down(path);
	snprintf(file, sizeof(file), "%s/cgroup.subtree_control", path);
	if (cgroup_read_file(file, list, sizeof(list)))
		what = served_by_list(list);
	snprintf(file, sizeof(file), "%s/cgroup.kill", path);
	if (access(file, W_OK) == 0)
		what |= CGROUP_KILL;
	if (cgroup_devices_work())
		what |= CGROUP_DEVICES;
	return what;
}

static bool has_file(const char *path, const char *name)
{
	char file[CGROUP_FILE];

	snprintf(file, sizeof(file), "%s/%s", path, name);
	return access(file, W_OK) == 0;
}

/* The controller may be there and its weights not: they belong to one way of ordering requests. */
static unsigned without_what_has_no_file(const struct cgroup_dir *d)
{
	unsigned what = d->serves;

	if (d->is_v2)
		return what;
	if (what & CGROUP_IO && !has_file(d->path, "blkio.weight") &&
	        !has_file(d->path, "blkio.bfq.weight"))
		what &= ~(unsigned)CGROUP_IO;
	return what;
}

/* Ours stands for everybody in it: it gets what so many groups get as there are CPUs. */
static void weigh(const struct cgroup_dir *d)
{
	long n = MAX(sysconf(_SC_NPROCESSORS_ONLN), 1);
	char file[CGROUP_FILE], value[32];

	snprintf(file, sizeof(file), "%s/%s", d->path, d->is_v2 ? "cpu.weight" : "cpu.shares");
	snprintf(value, sizeof(value), "%ld", d->is_v2 ? MIN(n * 100, 10000) : MIN(n, 256) * 1024);
	if (d->serves & CGROUP_CPU && !cgroup_write(file, value))
		errno = 0;
}

static void note(struct cgroup_tree *t, const char *point, int sys)
{
	if (!t->why_not[0])
		snprintf(t->why_not, sizeof(t->why_not), "%.120s: %s", point, strerror(sys));
}

static void take_mount(const struct finder *f, const struct mount *m)
{
	struct cgroup_tree *t = f->t;
	struct cgroup_dir *d = &t->dirs[t->n];
	unsigned wanted = f->only & ~t->can;

	if (t->n == CGROUP_DIRS || !wanted || (!m->is_v2 && !(served_by_list(m->options) & wanted)))
		return;
	if (!make_dir(f, m, d->path)) {
		note(t, m->point, errno);
		return;
	}
	d->is_v2 = m->is_v2;
	d->serves = m->is_v2 ? served_by_v2(d->path) : served_by_list(m->options);
	d->serves = without_what_has_no_file(d) & wanted;
	if (!d->serves) {
		rmdir(d->path);
		return;
	}
	weigh(d);
	t->can |= d->serves;
	t->has_v2_devices |= d->is_v2 && d->serves & CGROUP_DEVICES;
	t->n++;
}

static void take_mounts(const struct finder *f, char *text, bool is_v2)
{
	struct mount m;
	char *line;

	while ((line = strsep(&text, "\n")))
		if (cut_mount(line, &m) && m.is_v2 == is_v2)
			take_mount(f, &m);
}

void cgroup_tree_make(const char *parent, const char *name, unsigned only, int version,
        struct cgroup_tree *ret_tree)
{
	CLEANUP_BUF struct buf own = BUF_INIT(TEXT_MAX);
	struct finder f = {
	        .parent = parent ? parent : "", .name = name, .only = only, .t = ret_tree};
	struct err err;

	*ret_tree = (struct cgroup_tree){0};
	if (fs_read("/proc/self/cgroup", &own, &err) < 0) {
		snprintf(ret_tree->why_not, sizeof(ret_tree->why_not), "%.190s", err.text);
		return;
	}
	f.own = buf_str(&own);
	for (int v = 1; v <= 2; v++) {
		CLEANUP_BUF struct buf mounts = BUF_INIT(TEXT_MAX);

		if (version && v != version)
			continue;
		if (fs_read("/proc/self/mountinfo", &mounts, &err) == 0) {
			buf_add_byte(&mounts, '\0');
			take_mounts(&f, (char *)mounts.data, v == 2);
		}
	}
	if (ret_tree->can == only)
		ret_tree->why_not[0] = '\0';
	else if (!ret_tree->n && !ret_tree->why_not[0])
		snprintf(ret_tree->why_not, sizeof(ret_tree->why_not),
		        "no control groups are mounted");
}
