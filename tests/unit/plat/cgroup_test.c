/* On the control groups of this machine, whatever they are: each version alone, and both. Needs root; others get no group. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "plat/cgroup.h"
#include "plat/clock.h"

enum { N_MEMOS = 8, NVIDIA = 195, CAPS = 237, WAIT_MS = 10000 };

static struct cgroup_tree tree;
static struct cgroup_memo memos[N_MEMOS];
static char name[64];

static void make(int version)
{
	snprintf(name, sizeof(name), "berth-test-%d", (int)getpid());
	memset(memos, 0, sizeof(memos));
	cgroup_tree_make(NULL, name, CGROUP_ALL, version, &tree);
}

/* Whose pipe is closed may not be gone yet. */
static int tear_down(void **state)
{
	uint64_t until = clock_mono_ms() + WAIT_MS;

	for (size_t i = 0; i < tree.n; i++) {
		while (access(tree.dirs[i].path, F_OK) == 0) {
			assert_true(clock_mono_ms() < until);
			cgroup_tree_remove(&tree);
		}
	}
	return 0;
}

static void take(unsigned number, struct cgroup *g)
{
	struct err err;

	assert_int_equal(cgroup_take(&tree, number, memos, N_MEMOS, g, &err), 0);
	assert_int_equal(cgroup_open(g, &err), 0);
}

/* A child in the group that runs `work` and ends with what that returns. */
static pid_t start(const struct cgroup *g, int (*work)(void *), void *data)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(cgroup_join(g, false) ? work(data) : 99);
	return pid;
}

static int end_of(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void leave(struct cgroup *g)
{
	struct cgroup_usage u;

	cgroup_read(g, &u);
	cgroup_leave(g, &u);
}

static int eat(void *data)
{
	size_t n = *(const size_t *)data;
	char *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return 98;
	for (size_t i = 0; i < n; i += 4096)
		p[i] = 1;
	return 0;
}

static void memory(int version)
{
	struct cgroup_limits l = {.mem_bytes = 32 * MIB};
	struct cgroup_usage u;
	struct cgroup g;
	size_t little = 8 * MIB, much = 64 * MIB;
	int status;

	make(version);
	take(0, &g);
	cgroup_limit(&g, &l);
	assert_true(g.held & CGROUP_MEMORY);
	assert_int_equal(end_of(start(&g, eat, &little)), 0);
	cgroup_read(&g, &u);
	assert_int_equal(u.oom_kills, 0);
	assert_true(u.peak_bytes >= little && u.peak_bytes <= 32 * MIB);
	status = end_of(start(&g, eat, &much));
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	cgroup_read(&g, &u);
	/* Version 2 counts the one that was chosen, and then all of its group. */
	assert_in_range(u.oom_kills, 1, 2);
	cgroup_leave(&g, &u);
	/* The next one begins anew, without a limit. */
	take(0, &g);
	assert_int_equal(g.number, 0);
	cgroup_limit(&g, &(struct cgroup_limits){0});
	assert_int_equal(end_of(start(&g, eat, &much)), 0);
	leave(&g);
}

static int count_forks(void *data)
{
	int n = 0;

	while (n < 100) {
		pid_t pid = fork();

		if (pid < 0)
			break;
		if (pid == 0) {
			pause();
			_exit(0);
		}
		n++;
	}
	return n;
}

static void processes(int version)
{
	struct cgroup_limits l = {.pids = 10};
	struct cgroup g;
	int status;

	make(version);
	take(0, &g);
	cgroup_limit(&g, &l);
	assert_true(g.held & CGROUP_PIDS);
	status = end_of(start(&g, count_forks, NULL));
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 9);
	assert_true(cgroup_kill(&g));
	leave(&g);
}

static int multiply(void *data)
{
	signal(SIGTERM, SIG_IGN);
	for (;;) {
		pid_t pid = fork();

		/* The one that ends says so with its end of the pipe. */
		if (pid > 0)
			_exit(0);
	}
}

/* What forks as fast as it can never outruns the kill; its pipe is closed when the last one is gone. */
static void kills_whatever_forks(int version)
{
	struct cgroup_limits l = {.pids = 100};
	struct cgroup g;
	uint64_t until = clock_mono_ms() + WAIT_MS;
	int fds[2];
	char byte;

	make(version);
	assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	take(0, &g);
	cgroup_limit(&g, &l);
	assert_int_equal(end_of(start(&g, multiply, &fds[1])), 0);
	close(fds[1]);
	while (read(fds[0], &byte, 1) < 0) {
		assert_int_equal(errno, EAGAIN);
		assert_true(clock_mono_ms() < until);
		cgroup_kill(&g);
	}
	close(fds[0]);
	leave(&g);
}

static int try_open(void *data)
{
	int fd = open(data, O_RDONLY | O_CLOEXEC);

	return fd >= 0 ? 0 : errno;
}

static int opening(const struct cgroup *g, const char *dir, unsigned minor)
{
	char path[128];
	int status;

	snprintf(path, sizeof(path), "%s/%u", dir, minor);
	status = end_of(start(g, try_open, path));
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void make_node(const char *dir, unsigned major, unsigned minor)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%u", dir, minor);
	assert_int_equal(mknod(path, S_IFCHR | 0600, makedev(major, minor)), 0);
}

/* No driver stands behind these nodes: ENXIO is what the kernel says to those whom it lets through. */
static void devices(int version)
{
	static const unsigned minors[] = {0, 1, 70, 253, 254, 255};
	struct cgroup_limits l = {.has_devices = true, .device_major = NVIDIA, .device_last = 253};
	char dir[] = "/tmp/berth-cgroup-XXXXXX", path[128];
	struct cgroup g;

	make(version);
	assert_non_null(mkdtemp(dir));
	for (size_t i = 0; i < ARRAY_LEN(minors); i++)
		make_node(dir, NVIDIA, minors[i]);
	take(0, &g);
	l.minors[0] = 1 << 1;
	l.minors[1] = 1 << (70 - 64);
	cgroup_limit(&g, &l);
	assert_true(g.held & CGROUP_DEVICES);
	assert_int_equal(opening(&g, dir, 0), EPERM);
	assert_int_equal(opening(&g, dir, 1), ENXIO);
	assert_int_equal(opening(&g, dir, 70), ENXIO);
	assert_int_equal(opening(&g, dir, 253), EPERM);
	/* Those of all GPUs, and what is no GPU. */
	assert_int_equal(opening(&g, dir, 254), ENXIO);
	assert_int_equal(opening(&g, dir, 255), ENXIO);
	assert_int_equal(end_of(start(&g, try_open, "/dev/null")), 0);
	leave(&g);
	/* The next one has another device, the one after none, the last one all. */
	take(0, &g);
	l.minors[0] = 1;
	l.minors[1] = 0;
	cgroup_limit(&g, &l);
	assert_int_equal(opening(&g, dir, 0), ENXIO);
	assert_int_equal(opening(&g, dir, 1), EPERM);
	leave(&g);
	take(0, &g);
	l.minors[0] = 0;
	cgroup_limit(&g, &l);
	assert_int_equal(opening(&g, dir, 0), EPERM);
	leave(&g);
	take(0, &g);
	cgroup_limit(&g, &(struct cgroup_limits){0});
	assert_int_equal(opening(&g, dir, 0), ENXIO);
	assert_int_equal(opening(&g, dir, 253), ENXIO);
	leave(&g);
	for (size_t i = 0; i < ARRAY_LEN(minors); i++) {
		snprintf(path, sizeof(path), "%s/%u", dir, minors[i]);
		unlink(path);
	}
	rmdir(dir);
}

/* Files of MIG instances have a major of their own. */
static void instances(int version)
{
	static const unsigned minors[] = {1, 12, 13, 21, CGROUP_CAPS - 1};
	struct cgroup_limits l = {.has_devices = true,
	        .device_major = NVIDIA,
	        .device_last = 253,
	        .caps_major = CAPS};
	char dir[] = "/tmp/berth-cgroup-XXXXXX", path[128];
	struct cgroup g;

	make(version);
	assert_non_null(mkdtemp(dir));
	for (size_t i = 0; i < ARRAY_LEN(minors); i++)
		make_node(dir, CAPS, minors[i]);
	make_node(dir, NVIDIA, 0);
	take(0, &g);
	l.minors[0] = 1;
	l.caps[0] = 1 << 12 | 1 << 13;
	cgroup_limit(&g, &l);
	assert_true(g.held & CGROUP_DEVICES);
	assert_int_equal(opening(&g, dir, 0), ENXIO);
	assert_int_equal(opening(&g, dir, 12), ENXIO);
	assert_int_equal(opening(&g, dir, 13), ENXIO);
	assert_int_equal(opening(&g, dir, 1), EPERM);
	assert_int_equal(opening(&g, dir, 21), EPERM);
	assert_int_equal(opening(&g, dir, CGROUP_CAPS - 1), EPERM);
	assert_int_equal(end_of(start(&g, try_open, "/dev/null")), 0);
	leave(&g);
	/* The next one has another, the one after all that is no card, the last one all. */
	take(0, &g);
	l.caps[0] = 1 << 21;
	cgroup_limit(&g, &l);
	assert_int_equal(opening(&g, dir, 12), EPERM);
	assert_int_equal(opening(&g, dir, 21), ENXIO);
	leave(&g);
	take(0, &g);
	l.caps_major = 0;
	l.minors[0] = 0;
	cgroup_limit(&g, &l);
	assert_int_equal(opening(&g, dir, 0), EPERM);
	assert_int_equal(opening(&g, dir, 12), ENXIO);
	assert_int_equal(opening(&g, dir, CGROUP_CAPS - 1), ENXIO);
	leave(&g);
	take(0, &g);
	l.caps_major = CAPS;
	l.caps[0] = 0;
	cgroup_limit(&g, &l);
	assert_int_equal(opening(&g, dir, 21), EPERM);
	leave(&g);
	take(0, &g);
	cgroup_limit(&g, &(struct cgroup_limits){0});
	assert_int_equal(opening(&g, dir, 0), ENXIO);
	assert_int_equal(opening(&g, dir, 1), ENXIO);
	leave(&g);
	for (size_t i = 0; i < ARRAY_LEN(minors); i++) {
		snprintf(path, sizeof(path), "%s/%u", dir, minors[i]);
		unlink(path);
	}
	snprintf(path, sizeof(path), "%s/0", dir);
	unlink(path);
	rmdir(dir);
}

#define BOTH(case)                                 \
	static void test_##case##_v1(void **state) \
	{                                          \
	        case(1);                       \
	}                                      \
	static void test_##case##_v2(void **state) \
	{                                      \
		case(2);                       \
	}
BOTH(memory)
BOTH(processes)
BOTH(kills_whatever_forks)
BOTH(devices)
BOTH(instances)

/* No process has to move, and none is asked to when the group has nothing of version 2. */
static void test_born_in_v2(void **state)
{
	struct cgroup g;
	unsigned number;
	pid_t pid;

	/* The kernel would find its argument wrong; valgrind has no such call. */
	if (syscall(SYS_clone3, NULL, 0) < 0 && errno == ENOSYS)
		skip();
	make(2);
	take(0, &g);
	pid = cgroup_fork(&g);
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(cgroup_of(&tree, getpid(), &number) && number == g.number &&
		                        cgroup_join(&g, true)
		                ? 0
		                : 1);
	assert_int_equal(end_of(pid), 0);
	cgroup_close(&g);
	assert_int_equal(cgroup_fork(&g), -1);
	assert_int_equal(errno, ENOSYS);
	leave(&g);
}

static int nothing(void *data)
{
	return 0;
}

/* Taken groups are passed over, also by somebody who knows nothing of them. */
static void test_numbers(void **state)
{
	struct cgroup a, b, c;
	struct err err;
	pid_t pid;
	int fds[2];

	make(0);
	take(0, &a);
	take(0, &b);
	assert_int_equal(a.number, 0);
	assert_int_equal(b.number, 1);
	leave(&a);
	take(0, &a);
	assert_int_equal(a.number, 0);
	/* Its lock is gone, and somebody runs in it still. */
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		/* As exec does it. */
		close(a.lock_fd);
		if (!cgroup_join(&a, false))
			_exit(1);
		(void)!write(fds[1], "x", 1);
		pause();
		_exit(0);
	}
	assert_int_equal(read(fds[0], fds, 1), 1);
	cgroup_leave(&a, NULL);
	assert_int_equal(cgroup_take(&tree, 0, NULL, 0, &c, &err), 0);
	assert_int_equal(c.number, 2);
	assert_true(cgroup_of(&tree, pid, &a.number));
	assert_int_equal(a.number, 0);
	assert_false(cgroup_of(&tree, getpid(), &a.number));
	assert_int_equal(end_of(start(&b, nothing, NULL)), 0);
	assert_int_equal(cgroup_kill_unheld(&tree), 1);
	assert_int_equal(WTERMSIG(end_of(pid)), SIGKILL);
	assert_int_equal(cgroup_kill_unheld(&tree), 0);
	leave(&b);
	cgroup_leave(&c, NULL);
	close(fds[0]);
	close(fds[1]);
}

static void test_weights(void **state)
{
	struct cgroup_limits l = {.cpu_weight = 300, .cpu_max_milli = 1500, .io_weight = 50};
	struct cgroup g;

	make(0);
	take(0, &g);
	cgroup_limit(&g, &l);
	assert_true(g.held & CGROUP_CPU);
	if (tree.can & CGROUP_IO)
		assert_true(g.held & CGROUP_IO);
	leave(&g);
	assert_true(memos[0].is_clean);
	assert_int_equal(memos[0].limits.cpu_weight, 300);
}

static void test_a_parent_by_name(void **state)
{
	char parent[64], path[CGROUP_PATH];
	struct cgroup g;

	snprintf(parent, sizeof(parent), "/berth-test-parent-%d/below", (int)getpid());
	snprintf(name, sizeof(name), "berth-test-%d", (int)getpid());
	cgroup_tree_make(parent, name, CGROUP_ALL, 0, &tree);
	assert_non_null(strstr(tree.dirs[0].path, parent));
	take(0, &g);
	leave(&g);
	cgroup_tree_remove(&tree);
	/* What was made on the way is the administrator's from then on. */
	for (size_t i = 0; i < tree.n; i++) {
		snprintf(path, sizeof(path), "%s", tree.dirs[i].path);
		for (size_t depth = 0; depth < 2; depth++) {
			*strrchr(path, '/') = '\0';
			assert_int_equal(rmdir(path), 0);
		}
	}
}

static void test_no_groups(void **state)
{
	struct cgroup g;
	struct err err;

	cgroup_tree_make(NULL, "berth-test-none", 0, 0, &tree);
	assert_int_equal(tree.n, 0);
	assert_int_equal(tree.can, 0);
	assert_int_equal(cgroup_take(&tree, 0, NULL, 0, &g, &err), -ERR_UNAVAILABLE);
}

/* As who was killed in the middle of making it leaves it. */
static void test_a_part_of_a_group_is_removed(void **state)
{
	char path[CGROUP_PATH + 16];
	struct cgroup g;

	make(0);
	if (tree.n < 2)
		skip();
	take(3, &g);
	leave(&g);
	snprintf(path, sizeof(path), "%s/3", tree.dirs[0].path);
	assert_int_equal(rmdir(path), 0);
	snprintf(path, sizeof(path), "%s/3", tree.dirs[tree.n - 1].path);
	assert_int_equal(access(path, F_OK), 0);
	assert_true(cgroup_tree_remove(&tree));
	assert_int_not_equal(access(path, F_OK), 0);
}

static void test_names(void **state)
{
	char room[96];

	assert_string_equal(cgroup_names(0, room), "");
	assert_string_equal(cgroup_names(CGROUP_MEMORY | CGROUP_CPU, room), "memory, CPU");
	assert_string_equal(cgroup_names(CGROUP_ALL, room),
	        "memory, processes, CPU, disk, devices, kill at once");
}

/* Only what this machine has, and lets this account use: each version has its own. */
static unsigned probe(int version)
{
	struct cgroup_tree t;

	snprintf(name, sizeof(name), "berth-probe-%d", (int)getpid());
	cgroup_tree_make(NULL, name, CGROUP_ALL, version, &t);
	cgroup_tree_remove(&t);
	return t.can;
}

int main(void)
{
	static const struct {
		int version;
		unsigned needs;
		struct CMUnitTest test;
	} all[] = {
#define TEST(version, needs, case) \
	{version, needs, cmocka_unit_test_teardown(test_##case, tear_down)}
	        TEST(1, CGROUP_MEMORY, memory_v1),
	        TEST(2, CGROUP_MEMORY, memory_v2),
	        TEST(1, CGROUP_PIDS | CGROUP_KILL, processes_v1),
	        TEST(2, CGROUP_PIDS | CGROUP_KILL, processes_v2),
	        TEST(1, CGROUP_KILL, kills_whatever_forks_v1),
	        TEST(2, CGROUP_KILL, kills_whatever_forks_v2),
	        TEST(1, CGROUP_DEVICES, devices_v1),
	        TEST(1, CGROUP_DEVICES, instances_v1),
	        TEST(2, CGROUP_DEVICES, devices_v2),
	        TEST(2, CGROUP_DEVICES, instances_v2),
	        TEST(2, CGROUP_KILL, born_in_v2),
	        TEST(0, CGROUP_KILL, numbers),
	        TEST(0, CGROUP_KILL, a_part_of_a_group_is_removed),
	        TEST(0, CGROUP_CPU, weights),
	        TEST(0, CGROUP_KILL, a_parent_by_name),
	        TEST(0, 0, no_groups),
	        TEST(0, 0, names),
	};
	const unsigned can[] = {probe(0), probe(1), probe(2)};
	struct CMUnitTest tests[ARRAY_LEN(all)];
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		if ((can[all[i].version] & all[i].needs) == all[i].needs)
			tests[n++] = all[i].test;
	return _cmocka_run_group_tests("plat/cgroup", tests, n, NULL, NULL);
}
