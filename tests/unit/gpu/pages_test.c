/*
 * The pages by which attempts take turns: whose row is whose, what is left of an earlier agent, and what jobs may do to them.
 */
#include <sys/wait.h>

#include "berth/pace.h"
#include "slices_box.h"

/* Of a device, with a share; its number among tenants, or -1. */
static int join_device(struct scene *sc, uint64_t epoch, const char *device, uint32_t share,
        bool is_capped, char path[SLICES_PATH])
{
	struct slices_grant g = {.limit_bytes = 1 << 30,
	        .share_milli = share,
	        .flags = SLICES_HOLDS_MEMORY | SLICES_HOLDS_COMPUTE |
	                 (is_capped ? SLICES_IS_CAPPED : 0)};
	struct slice_grant grant;
	struct err err;
	int fd;

	snprintf(g.uuid, sizeof(g.uuid), "%s", device);
	assert_int_equal(slices_make(sc->s, epoch, &g, 1, path, &err), 0);
	fd = open_slice(path, 0);
	assert_int_equal(pread(fd, &grant, sizeof(grant), 0), sizeof(grant));
	close(fd);
	assert_int_equal(
	        slices_holds_compute(sc->s, epoch, 0), !!(grant.flags & SLICE_HOLDS_COMPUTE));
	return grant.flags & SLICE_HOLDS_COMPUTE ? (int)grant.tenant : -1;
}

static int join(
        struct scene *sc, uint64_t epoch, uint32_t share, bool is_capped, char path[SLICES_PATH])
{
	return join_device(sc, epoch, "MIG-GPU-a/1/0", share, is_capped, path);
}

static int open_page(const char *path, int flags)
{
	char name[SLICES_PATH + 32];
	int fd;

	snprintf(name, sizeof(name), "%s/pace-0", path);
	fd = open(name, flags | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

/* The page beside an attempt's ledger; its inode. */
static ino_t read_page(const char *path, struct pace_page *ret)
{
	int fd = open_page(path, O_RDWR);
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0666);
	assert_int_equal(read(fd, ret, sizeof(*ret)), sizeof(*ret));
	close(fd);
	return st.st_ino;
}

/* A job of our own account takes the link away by which its processes take turns: that is seen, after a restart too. */
static void check_link_taken(struct scene *sc, uint64_t epoch)
{
	static struct slices_state ledger;
	char path[SLICES_PATH], name[SLICES_PATH + 32];
	struct err err;

	assert_int_equal(slices_read(sc->s, epoch, 0, &ledger, &err), 0);
	assert_true(slices_path(sc->s, epoch, path));
	snprintf(name, sizeof(name), "%s/pace-0", path);
	assert_int_equal(unlink(name), 0);
	assert_int_equal(slices_read(sc->s, epoch, 0, &ledger, &err), -(int)ERR_CORRUPT);
	assert_non_null(strstr(err.text, "page of turns"));
	open_again(sc);
	assert_int_equal(slices_read(sc->s, epoch, 0, &ledger, &err), -(int)ERR_CORRUPT);
}

static void test_turns(void **state)
{
	static struct pace_page page;
	struct scene *sc = *state;
	char a[SLICES_PATH], b[SLICES_PATH], c[SLICES_PATH];
	ino_t inode;

	assert_int_equal(join(sc, 1, 300, false, a), 0);
	assert_int_equal(join(sc, 2, 700, true, b), 1);
	assert_int_equal(join_device(sc, 3, "GPU-b", 500, false, c), 0);
	inode = read_page(a, &page);
	assert_true(page.head.magic == PACE_MAGIC && page.head.abi == PACE_ABI);
	assert_string_equal(page.head.uuid, "MIG-GPU-a/1/0");
	assert_int_equal(page.head.quantum_ns, 6750000);
	assert_int_equal(page.head.flags, 0);
	assert_true(page.word == PACE_WORD(PACE_NOBODY, PACE_FREE, 0, 0));
	assert_int_equal(page.tenants[0].weight_milli, 300);
	assert_int_equal(page.tenants[0].cap_milli, 1000);
	assert_int_equal(page.tenants[1].weight_milli, 700);
	assert_int_equal(page.tenants[1].cap_milli, 700);
	/* One page of a device, and another one of the other device. */
	assert_true(read_page(b, &page) == inode);
	assert_true(read_page(c, &page) != inode);
	/* An agent that comes after: the same page, and the same lines are taken. */
	open_again(sc);
	assert_int_equal(join(sc, 4, 10, false, c), 2);
	assert_true(read_page(c, &page) == inode);
	check_link_taken(sc, 3);
	slices_remove(sc->s, 2);
	read_page(a, &page);
	assert_int_equal(page.tenants[0].weight_milli, 300);
	assert_int_equal(page.tenants[1].weight_milli, 0);
	assert_int_equal(page.tenants[2].weight_milli, 10);
	for (uint64_t epoch = 1; epoch <= 4; epoch++)
		slices_remove(sc->s, epoch);
	/* The last has taken the page with it. */
	slices_close(sc->s);
	assert_int_equal(count_children(sc->memory), 0);
	sc->s = NULL;
}

/* A job of several devices is one whose kernels may wait for each other: each of its rows says so. */
static void test_several_devices(void **state)
{
	static struct pace_page page;
	struct scene *sc = *state;
	struct slices_grant grants[2] = {
	        {.uuid = "GPU-a", .share_milli = 250, .flags = SLICES_HOLDS_COMPUTE},
	        {.uuid = "GPU-b", .share_milli = 500, .flags = SLICES_HOLDS_COMPUTE}};
	char path[SLICES_PATH], alone[SLICES_PATH];
	struct err err;

	assert_int_equal(slices_make(sc->s, 1, grants, 2, path, &err), 0);
	read_page(path, &page);
	assert_int_equal(page.tenants[0].weight_milli, 250);
	assert_int_equal(page.tenants[0].flags, PACE_MULTI);
	assert_int_equal(join_device(sc, 2, "GPU-b", 100, false, alone), 1);
	read_page(alone, &page);
	assert_int_equal(page.tenants[0].weight_milli, 500);
	assert_int_equal(page.tenants[0].flags, PACE_MULTI);
	assert_int_equal(page.tenants[0].place, 1);
	assert_int_equal(page.tenants[1].flags, 0);
	slices_remove(sc->s, 1);
	slices_remove(sc->s, 2);
}

static void test_more_than_lines(void **state)
{
	static struct pace_page page;
	struct scene *sc = *state;
	char path[SLICES_PATH], first[SLICES_PATH];
	ino_t inode;

	assert_int_equal(join(sc, 1, 10, false, first), 0);
	for (uint64_t i = 1; i < PACE_TENANTS; i++)
		assert_int_equal(join(sc, 1 + i, 10, false, path), i);
	assert_int_equal(join(sc, 99, 10, false, path), -1);
	/* The line of one who has ended is the next one's. */
	slices_remove(sc->s, 5);
	assert_int_equal(join(sc, 100, 20, false, path), 4);
	/* A page that a job has spoilt is nobody's who comes later. */
	inode = read_page(path, &page);
	strcat(first, "/pace-0");
	assert_int_equal(truncate(first, 100), 0);
	assert_int_equal(join(sc, 101, 20, false, path), 0);
	assert_true(read_page(path, &page) != inode);
	assert_int_equal(page.tenants[0].weight_milli, 20);
	for (uint64_t epoch = 1; epoch <= 101; epoch++)
		slices_remove(sc->s, epoch);
	slices_close(sc->s);
	assert_int_equal(count_children(sc->memory), 0);
	sc->s = NULL;
}

/* A page of nobody, and a line of an attempt that never began, are what a killed agent leaves. */
static void test_turns_left_over(void **state)
{
	static struct pace_page page;
	struct scene *sc = *state;
	char path[SLICES_PATH], name[SLICES_PATH + 32], stray[SLICES_PATH + 64];
	uint32_t weight = 77;
	int fd;

	assert_int_equal(join(sc, 1, 300, false, path), 0);
	snprintf(name, sizeof(name), "%s/pace-0", path);
	fd = open(name, O_RDWR | O_CLOEXEC);
	assert_int_equal(pwrite(fd, &weight, 4, PACE_TENANTS_AT + 7 * 64), 4);
	close(fd);
	*strrchr(path, '/') = '\0';
	snprintf(stray, sizeof(stray), "%s/page-%032d-GPU-b", path, 7);
	assert_int_equal(mknod(stray, S_IFREG | 0600, 0), 0);
	open_again(sc);
	assert_int_equal(access(stray, F_OK), -1);
	assert_true(slices_path(sc->s, 1, path));
	read_page(path, &page);
	assert_int_equal(page.tenants[0].weight_milli, 300);
	assert_int_equal(page.tenants[7].weight_milli, 0);
	slices_remove(sc->s, 1);
}

/* Files beside the ledger of slice 0, as they are. */
static struct stat stat_of(const char *path, const char *what)
{
	char name[SLICES_PATH + 32];
	struct stat st;

	snprintf(name, sizeof(name), "%s/%s-0", path, what);
	assert_int_equal(lstat(name, &st), 0);
	return st;
}

/* What an account that is nobody's may do with them. */
static void as_stranger(const char *path)
{
	char name[SLICES_PATH + 32];
	int status;
	pid_t pid;

	if (geteuid() != 0)
		return;
	pid = fork();
	if (pid == 0) {
		/* By the directory that its keeper opens to it. */
		if (chdir(path) < 0 || setresuid(4711, 4711, 4711) < 0)
			_exit(9);
		snprintf(name, sizeof(name), "%s/own-0", path);
		_exit(open("pace-0", O_RDONLY) < 0      ? 1
		        : open("pace-0", O_WRONLY) >= 0 ? 2
		        : truncate("pace-0", 0) == 0    ? 3
		        : chmod("pace-0", 0666) == 0    ? 4
		        : unlink("pace-0") == 0         ? 5
		        : open("own-0", O_RDWR) < 0     ? 6
		        : access(name, F_OK) == 0       ? 7
		                                        : 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* Jobs of several accounts: they read one page, and each writes its own. */
static void test_turns_of_several_accounts(void **state)
{
	static struct pace_page page;
	struct scene *sc = *state;
	char a[SLICES_PATH], b[SLICES_PATH], c[SLICES_PATH];
	uint32_t liar = 0;
	uint64_t judged;
	int fd;

	sc->is_judged = true;
	open_again(sc);
	assert_int_equal(join(sc, 1, 300, false, a), 0);
	assert_int_equal(join(sc, 2, 700, true, b), 1);
	assert_true(stat_of(a, "pace").st_ino == stat_of(b, "pace").st_ino);
	assert_int_equal(stat_of(a, "pace").st_mode, S_IFREG | 0644);
	assert_int_equal(stat_of(a, "own").st_mode, S_IFREG | 0666);
	assert_int_equal(stat_of(a, "own").st_size, sizeof(page));
	assert_true(stat_of(a, "own").st_ino != stat_of(b, "own").st_ino);
	as_stranger(a);
	fd = open_page(a, O_RDONLY);
	assert_int_equal(pread(fd, &page, sizeof(page), 0), sizeof(page));
	assert_int_equal(page.head.flags, PACE_JUDGED);
	/* A job says that it is another one: an agent that comes after knows better. */
	close(fd);
	fd = open_slice(b, 0);
	assert_int_equal(pwrite(fd, &liar, 4, offsetof(struct slice_grant, tenant)), 4);
	close(fd);
	judged = page.judged_ns;
	open_again(sc);
	fd = open_page(a, O_RDONLY);
	for (unsigned i = 0; page.judged_ns == judged && i < 5000; i++) {
		usleep(1000);
		assert_int_equal(pread(fd, &page, sizeof(page), 0), sizeof(page));
	}
	assert_true(page.judged_ns > judged);
	slices_remove(sc->s, 2);
	assert_int_equal(pread(fd, &page, sizeof(page), 0), sizeof(page));
	assert_int_equal(page.tenants[0].weight_milli, 300);
	assert_int_equal(page.tenants[1].weight_milli, 0);
	close(fd);
	assert_true(join(sc, 3, 10, false, c) > 0);
	assert_true(stat_of(a, "pace").st_ino == stat_of(c, "pace").st_ino);
	slices_remove(sc->s, 1);
	slices_remove(sc->s, 3);
	slices_close(sc->s);
	assert_int_equal(count_children(sc->memory), 0);
	sc->s = NULL;
}

/* What jobs may write is not mapped here, though it says that we judge it; and it is nobody's who comes later. */
static void test_a_page_that_says_it_is_judged(void **state)
{
	static struct pace_page page;
	struct scene *sc = *state;
	char a[SLICES_PATH], b[SLICES_PATH];
	uint32_t flags = PACE_JUDGED;
	int fd;

	assert_int_equal(join(sc, 1, 300, false, a), 0);
	fd = open_page(a, O_RDWR);
	assert_int_equal(pwrite(fd, &flags, 4, offsetof(struct pace_head, flags)), 4);
	sc->is_judged = true;
	open_again(sc);
	assert_int_equal(join(sc, 2, 700, false, b), 0);
	assert_true(stat_of(a, "pace").st_ino != stat_of(b, "pace").st_ino);
	assert_int_equal(pread(fd, &page, sizeof(page), 0), sizeof(page));
	assert_int_equal(page.judged_ns, 0);
	close(fd);
	slices_remove(sc->s, 1);
	slices_remove(sc->s, 2);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	        TEST(test_turns),
	        TEST(test_several_devices),
	        TEST(test_more_than_lines),
	        TEST(test_turns_left_over),
	        TEST(test_turns_of_several_accounts),
	        TEST(test_a_page_that_says_it_is_judged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
