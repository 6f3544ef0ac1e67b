#include "rig.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "plat/cgroup.h"
#include "plat/clock.h"
#include "plat/fs.h"
#include "plat/proc.h"

static const char *active_dirs[4]; /* whose processes must not outlive a test that dies */

static bool is_of(pid_t pid, const char *dir)
{
	CLEANUP_BUF struct buf b = BUF_INIT(1 * MIB);
	char path[64], entry[96];
	struct err err;

	snprintf(entry, sizeof(entry), "D=%s", dir);
	if (proc_env_has(pid, entry))
		return true;
	snprintf(entry, sizeof(entry), "LEFT=%s", dir);
	if (proc_env_has(pid, entry))
		return true;
	snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
	return fs_read(path, &b, &err) == 0 && b.len && memmem(b.data, b.len, dir, strlen(dir));
}

/* Whatever a test left: keepers by their command line, jobs by what every script gets into its environment. */
static void kill_left(const char *dir)
{
	struct proc_list all = {0};
	size_t n = 1;

	for (size_t round = 0; n && round < 100 && proc_list_all(&all) == 0; round++) {
		n = 0;
		for (size_t i = 0; i < all.n; i++) {
			if (all.items[i].state == 'Z' || !is_of(all.items[i].pid, dir))
				continue;
			kill(all.items[i].pid, SIGKILL);
			n++;
		}
	}
	proc_list_done(&all);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

PRINTF_LIKE(1, 2) NORETURN static void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("rig: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	for (size_t i = 0; i < ARRAY_LEN(active_dirs); i++) {
		if (!active_dirs[i])
			continue;
		kill_left(active_dirs[i]);
		nftw(active_dirs[i], remove_one, 16, FTW_DEPTH | FTW_PHYS);
	}
	abort();
}

static void set_active(const char *old, const char *now)
{
	size_t i = 0;

	while (i < ARRAY_LEN(active_dirs) - 1 && active_dirs[i] != old)
		i++;
	active_dirs[i] = now;
}

static void pause_ms(long ms)
{
	struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	nanosleep(&ts, NULL);
}

static void own(const struct rig *r, const char *path)
{
	if (getuid() == 0 && chown(path, NOBODY_UID, NOBODY_UID) < 0)
		die("chown %s: %s", path, strerror(errno));
	(void)r;
}

const char *rig_path(const struct rig *r, const char *name)
{
	static char paths[8][192];
	static unsigned next;
	char *path = paths[next++ % ARRAY_LEN(paths)];

	snprintf(path, sizeof(paths[0]), "%s/%s", r->dir, name);
	return path;
}

/* Beside the data, because the account of the parent may not see the build. */
static void copy_program(const struct rig *r, const char *name, char to[128])
{
	CLEANUP_BUF struct buf b = BUF_INIT(64 * MIB);
	const char *build = getenv("BERTH_BUILD");
	char path[512];
	struct err err;
	int fd;

	if (!build)
		die("BERTH_BUILD does not say where the programs are");
	snprintf(path, sizeof(path), "%s/%s", build, name);
	snprintf(to, 128, "%s/%s", r->dir, name);
	if (fs_read(path, &b, &err) < 0)
		die("%s", err.text);
	fd = open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
	if (fd < 0 || fs_write_all(fd, b.data, b.len, &err) < 0)
		die("copying %s", path);
	close(fd);
}

static NORETURN void run_parent(const struct rig *r)
{
	const char *argv[24] = {"berth", "keeper", "--data", r->dir, "--spool", r->spool};
	struct rlimit limit = {r->fsize_limit, r->fsize_limit};
	struct rlimit files = {r->files_limit, r->files_limit};
	bool is_root = getuid() == 0 && r->mode != RIG_USER;
	char uid[16];
	size_t n = 6;

	snprintf(uid, sizeof(uid), "%d", NOBODY_UID);
	if (r->fsize_limit && setrlimit(RLIMIT_FSIZE, &limit) < 0)
		_exit(9);
	if (r->files_limit && setrlimit(RLIMIT_NOFILE, &files) < 0)
		_exit(9);
	if (getuid() == 0 && !is_root &&
	        (setgroups(0, NULL) < 0 || setgid(NOBODY_UID) < 0 || setuid(NOBODY_UID) < 0))
		_exit(9);
	/* A process that has changed its rights cannot be looked into, not by the leak checker either. */
	if (is_root)
		setenv("LSAN_OPTIONS", "detect_leaks=0", 1);
	/* As under nohup: no job may notice. */
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	/* A parent that outlives a broken test would stay for ever. */
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (r->mode == RIG_HELPER) {
		argv[1] = "helper";
		n = 4;
	}
	if (is_root) {
		const char *const more[] = {"--server-uid", uid, "--server-gid", uid};

		memcpy(argv + n, more, sizeof(more));
		n += ARRAY_LEN(more);
	}
	if (r->mode == RIG_HELPER)
		memcpy(argv + n, r->helper_options, sizeof(r->helper_options));
	execv(r->mode == RIG_HELPER ? r->helper : r->program, (char *const *)argv);
	_exit(9);
}

int rig_connect(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	for (uint64_t until = clock_mono_ms() + RIG_WAIT_MS; clock_mono_ms() < until;) {
		if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
			return fd;
		pause_ms(2);
	}
	die("nobody listens at %s", path);
}

static const char *socket_path(const struct rig *r)
{
	return rig_path(r, r->mode == RIG_HELPER ? "run/helper.sock" : "run/keeper.sock");
}

void rig_reconnect(struct rig *r)
{
	struct launch rotate = {.kind = LAUNCH_ROTATE, .path = r->spool};

	if (r->conn >= 0)
		close(r->conn);
	r->conn = rig_connect(socket_path(r));
	if (r->mode == RIG_HELPER)
		rig_send(r, &rotate);
}

void rig_start_parent(struct rig *r)
{
	r->parent = fork();
	if (r->parent == 0)
		run_parent(r);
	r->conn = -1;
	rig_reconnect(r);
}

static void make_spool(struct rig *r)
{
	snprintf(r->spool, sizeof(r->spool), "%s/spool/1", r->dir);
	rig_touch(r, "spool/1");
	own(r, r->spool);
	r->spool_fd = open(r->spool, O_RDONLY | O_CLOEXEC);
	r->watch_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (r->spool_fd < 0 || inotify_add_watch(r->watch_fd, r->spool, IN_MODIFY) < 0)
		die("spool: %s", strerror(errno));
}

void rig_start(struct rig *r, enum rig_mode mode)
{
	static const char *const dirs[] = {"run", "logs", "spool", "jobs", "work"};

	r->mode = mode;
	r->n_records = 0;
	r->bytes = BUF_INIT(64 * MIB);
	snprintf(r->dir, sizeof(r->dir), "/tmp/berth-keeper-XXXXXX");
	if (!mkdtemp(r->dir) || chmod(r->dir, 0755) < 0)
		die("mkdtemp: %s", strerror(errno));
	set_active(NULL, r->dir);
	own(r, r->dir);
	for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
		if (mkdir(rig_path(r, dirs[i]), 0755) < 0)
			die("mkdir: %s", strerror(errno));
		own(r, rig_path(r, dirs[i]));
	}
	copy_program(r, "berth-keeper", r->program);
	if (mode == RIG_HELPER)
		copy_program(r, "berth-helper", r->helper);
	make_spool(r);
	rig_start_parent(r);
}

void rig_kill_parent(struct rig *r, int signo)
{
	kill(r->parent, signo);
	waitpid(r->parent, NULL, 0);
	close(r->conn);
	r->conn = -1;
	r->parent = 0;
}

/* Of a parent that was killed, or of keepers that outlived theirs. */
static void remove_groups(const struct rig *r)
{
	struct cgroup_tree tree;
	struct stat st;
	char name[64];

	if (getuid() != 0 || stat(r->dir, &st) < 0)
		return;
	snprintf(name, sizeof(name), "berth-%jx.%jx", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
	cgroup_tree_make("", name, CGROUP_ALL, 0, &tree);
	cgroup_tree_remove(&tree);
	for (size_t i = 0; i < tree.n; i++)
		if (access(tree.dirs[i].path, F_OK) == 0)
			die("left behind: %s", tree.dirs[i].path);
}

void rig_stop(struct rig *r)
{
	if (r->parent)
		rig_kill_parent(r, SIGTERM);
	kill_left(r->dir);
	remove_groups(r);
	close(r->spool_fd);
	close(r->watch_fd);
	buf_done(&r->bytes);
	nftw(r->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	set_active(r->dir, NULL);
}

/* Good until the 64th call from now. */
static char *keep(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static char *keep(const char *fmt, ...)
{
	static char *kept[64];
	static unsigned next;
	char **slot = &kept[next++ % ARRAY_LEN(kept)];
	va_list ap;

	free(*slot);
	va_start(ap, fmt);
	if (vasprintf(slot, fmt, ap) < 0)
		die("out of memory");
	va_end(ap);
	return *slot;
}

struct launch rig_launch(struct rig *r, uint64_t epoch, const char *script)
{
	static char *lists[8][16];
	static unsigned next;
	char **list = lists[next++ % ARRAY_LEN(lists)];
	struct launch l = {
	        .kind = LAUNCH_START,
	        .job = epoch + 1000,
	        .task = -1,
	        .attempt = 1,
	        .epoch = epoch,
	        .cwd = "/",
	        .out_path = keep("%s/logs/%ju.out", r->dir, (uintmax_t)epoch),
	        .index_path = keep("%s/logs/%ju.idx", r->dir, (uintmax_t)epoch),
	        .console_path = keep("%s/run/%ju.sock", r->dir, (uintmax_t)epoch),
	        .out_internal = true,
	        .output_max = 1 * GIB,
	        .grace_ms = 10000,
	        .argv = list,
	        .env = list + 8,
	};

	list[0] = keep("sh");
	list[1] = keep("-c");
	list[2] = keep("%s", script);
	list[3] = NULL;
	list[8] = keep("PATH=/usr/bin:/bin");
	list[9] = keep("D=%s", r->dir);
	list[10] = keep("BERTH_EPOCH=%ju", (uintmax_t)epoch);
	list[11] = NULL;
	if (r->mode == RIG_HELPER)
		l.user = "54321";
	if (r->mode == RIG_ROOT) {
		static uint32_t groups[1] = {NOBODY_UID};

		l.user = "nobody";
		l.has_account = true;
		l.uid = l.gid = NOBODY_UID;
		l.groups = groups;
		l.n_groups = 1;
	}
	return l;
}

struct launch rig_launch_sweep(uint64_t epoch)
{
	return (struct launch){.kind = LAUNCH_SWEEP,
	        .job = epoch + 1000,
	        .task = -1,
	        .attempt = 1,
	        .epoch = epoch};
}

void rig_send(struct rig *r, const struct launch *l)
{
	CLEANUP_BUF struct buf b = BUF_INIT(LAUNCH_MAX + 4);
	struct err err;

	launch_encode(l, &b);
	if (b.overflow || fs_write_all(r->conn, b.data, b.len, &err) < 0)
		die("sending a message failed");
}

void rig_send_stop(struct rig *r, uint64_t epoch, bool force, enum spool_cause cause)
{
	struct launch l = {
	        .kind = LAUNCH_STOP, .epoch = epoch, .force = force, .stop_cause = cause};

	rig_send(r, &l);
}

bool rig_read(struct rig *r, int wait_ms)
{
	struct pollfd watch = {.fd = r->watch_fd, .events = POLLIN};
	char events[4096];
	struct err err;
	size_t used = 0, before = r->n_records;
	ssize_t n;

	if (poll(&watch, 1, wait_ms) > 0 && read(r->watch_fd, events, sizeof(events)) < 0)
		die("inotify: %s", strerror(errno));
	while ((n = read(r->spool_fd, buf_reserve(&r->bytes, 65536), 65536)) > 0)
		buf_commit(&r->bytes, (size_t)n);
	while (used < r->bytes.len) {
		int len;

		if (r->n_records == RIG_RECORDS)
			die("too many records");
		len = spool_decode(
		        r->bytes.data + used, r->bytes.len - used, &r->records[r->n_records], &err);
		if (len == 0)
			break;
		if (len < 0)
			len = (int)spool_skip(r->bytes.data + used, r->bytes.len - used);
		else
			r->n_records++;
		used += (size_t)len;
	}
	buf_consume(&r->bytes, used);
	return r->n_records > before;
}

static const struct spool_record *find(const struct rig *r, uint64_t epoch, enum spool_kind kind)
{
	for (size_t i = 0; i < r->n_records; i++)
		if (r->records[i].epoch == epoch && r->records[i].kind == kind)
			return &r->records[i];
	return NULL;
}

const struct spool_record *rig_wait(struct rig *r, uint64_t epoch, enum spool_kind kind)
{
	const struct spool_record *found;
	uint64_t until = clock_mono_ms() + RIG_WAIT_MS;

	while (!(found = find(r, epoch, kind))) {
		uint64_t now = clock_mono_ms();

		if (now >= until)
			die("epoch %ju: no record of kind %d came", (uintmax_t)epoch, (int)kind);
		rig_read(r, (int)(until - now));
	}
	return found;
}

size_t rig_count(const struct rig *r, uint64_t epoch, enum spool_kind kind)
{
	size_t n = 0;

	for (size_t i = 0; i < r->n_records; i++)
		n += r->records[i].epoch == epoch && r->records[i].kind == kind;
	return n;
}

pid_t rig_keeper_pid(const struct rig *r, uint64_t epoch)
{
	return proc_byte_owner(r->spool_fd, epoch);
}

pid_t rig_exec_pid(const struct rig *r, uint64_t epoch)
{
	return proc_byte_owner(r->spool_fd, SPOOL_EXEC_BYTE(epoch));
}

bool rig_is_alive(const struct rig *r, uint64_t epoch)
{
	return rig_keeper_pid(r, epoch) > 0;
}

bool rig_exists(const struct rig *r, const char *name)
{
	return access(rig_path(r, name), F_OK) == 0;
}

void rig_touch(const struct rig *r, const char *name)
{
	int fd = open(rig_path(r, name), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	if (fd < 0)
		die("touch %s: %s", name, strerror(errno));
	close(fd);
}

const char *rig_text(const struct rig *r, const char *name)
{
	static struct buf bufs[4];
	static unsigned next;
	struct buf *b = &bufs[next++ % ARRAY_LEN(bufs)];
	struct err err;

	b->max = 64 * MIB;
	buf_reset(b);
	if (fs_read(rig_path(r, name), b, &err) < 0)
		buf_reset(b);
	return buf_str(b);
}

void rig_wait_text(const struct rig *r, const char *name, const char *text)
{
	for (uint64_t until = clock_mono_ms() + RIG_WAIT_MS; clock_mono_ms() < until; pause_ms(2))
		if (strstr(rig_text(r, name), text))
			return;
	die("%s never held '%s'; it holds '%s'", name, text, rig_text(r, name));
}

size_t rig_count_marked(const char *entry)
{
	struct proc_list all = {0};
	size_t n = 0;

	if (proc_list_all(&all) < 0)
		die("/proc: %s", strerror(errno));
	for (size_t i = 0; i < all.n; i++)
		n += all.items[i].state != 'Z' && proc_env_has(all.items[i].pid, entry);
	proc_list_done(&all);
	return n;
}

void rig_wait_none_marked(const char *entry)
{
	for (uint64_t until = clock_mono_ms() + RIG_WAIT_MS; clock_mono_ms() < until; pause_ms(5))
		if (rig_count_marked(entry) == 0)
			return;
	die("processes with %s stay", entry);
}

void rig_attach(struct rig_client *c, const char *path)
{
	*c = (struct rig_client){.in = BUF_INIT(64 * MIB),
	        .out = BUF_INIT(64 * MIB),
	        .err = BUF_INIT(64 * MIB),
	        .exit_code = -1};
	c->fd = rig_connect(path);
}

void rig_type(struct rig_client *c, enum console_frame type, const void *data, uint32_t len)
{
	CLEANUP_BUF struct buf b = BUF_INIT(1 * MIB);
	struct err err;

	console_put(&b, type, data, len);
	if (fs_write_all(c->fd, b.data, b.len, &err) < 0)
		die("console: %s", err.text);
}

static void take_frame(struct rig_client *c, uint8_t type, const uint8_t *data, size_t len)
{
	if (type == CONSOLE_STDOUT)
		buf_add(&c->out, data, len);
	else if (type == CONSOLE_STDERR)
		buf_add(&c->err, data, len);
	else if (type == CONSOLE_EXIT && len == 4)
		c->exit_code = data[0] << 24 | data[1] << 16 | data[2] << 8 | data[3];
	else if (type == CONSOLE_ERROR)
		snprintf(c->error, sizeof(c->error), "%.*s", (int)len, (const char *)data);
	else
		die("console: a frame of type %u", type);
}

static bool receive(struct rig_client *c, int wait_ms)
{
	struct pollfd p = {.fd = c->fd, .events = POLLIN};
	ssize_t n;

	if (poll(&p, 1, wait_ms) <= 0)
		return false;
	n = recv(c->fd, buf_reserve(&c->in, 65536), 65536, 0);
	c->is_closed = n <= 0;
	if (n > 0)
		buf_commit(&c->in, (size_t)n);
	while (c->in.len >= 5) {
		const uint8_t *p5 = c->in.data;
		size_t len = (size_t)p5[1] << 24 | (size_t)p5[2] << 16 | (size_t)p5[3] << 8 | p5[4];

		if (c->in.len < 5 + len)
			break;
		take_frame(c, p5[0], p5 + 5, len);
		buf_consume(&c->in, 5 + len);
	}
	return true;
}

void rig_expect(struct rig_client *c, const char *text)
{
	uint64_t until = clock_mono_ms() + RIG_WAIT_MS;

	for (uint64_t now; (now = clock_mono_ms()) < until && !c->is_closed;) {
		if (text && strstr(buf_str(&c->out), text))
			return;
		receive(c, (int)(until - now));
	}
	if (text && !strstr(buf_str(&c->out), text))
		die("console: '%s' never came; there is '...%s'", text,
		        buf_str(&c->out) + (c->out.len > 300 ? c->out.len - 300 : 0));
	if (!text && !c->is_closed)
		die("console: it never ended");
}

void rig_detach(struct rig_client *c)
{
	close(c->fd);
	buf_done(&c->in);
	buf_done(&c->out);
	buf_done(&c->err);
}
