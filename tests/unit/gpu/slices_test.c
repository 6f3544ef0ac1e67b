/* The files that hold attempts to their slices: made, read whatever is in them, removed. */
#include <errno.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "slices_box.h"

static void make(struct scene *sc, uint64_t epoch, uint32_t n, char path[SLICES_PATH])
{
	struct slices_grant grants[2] = {{.uuid = "GPU-a", .limit_bytes = 1 << 30},
	        {.uuid = "GPU-b", .limit_bytes = 2 << 20}};
	struct err err;
	int rc = slices_make(sc->s, epoch, grants, n, path, &err);

	if (rc < 0)
		fail_msg("%s", err.text);
}

static void test_made(void **state)
{
	struct scene *sc = *state;
	char path[SLICES_PATH], up[SLICES_PATH + 4];
	struct slices_state st;
	struct stat about;
	struct err err;
	int fd;

	/* Nothing is there before it is needed. */
	assert_int_equal(count_children(sc->memory), 0);
	make(sc, 7, 2, path);
	assert_int_equal(slices_count(sc->s, 7), 2);
	assert_int_equal(stat(path, &about), 0);
	assert_int_equal(about.st_mode & 0777, 0711);
	/* Who reads its name in the mounts of a job does not get there by it. */
	snprintf(up, sizeof(up), "%s/..", path);
	assert_int_equal(stat(up, &about), 0);
	assert_int_equal(about.st_mode & 0777, 0700);
	fd = open_slice(path, 1);
	assert_int_equal(fstat(fd, &about), 0);
	assert_int_equal(about.st_mode & 0777, 0666);
	assert_int_equal(about.st_size, sizeof(struct slice));
	/* All of it is there already. */
	assert_true((uint64_t)about.st_blocks * 512 >= sizeof(struct slice));
	close(fd);
	assert_int_equal(slices_read(sc->s, 7, 1, &st, &err), 0);
	assert_int_equal(st.grant.limit_bytes, 2 << 20);
	assert_int_equal(st.n_living, 0);
	assert_int_equal(slices_read(sc->s, 7, 2, &st, &err), -ERR_NOT_FOUND);
	assert_int_equal(slices_read(sc->s, 8, 0, &st, &err), -ERR_NOT_FOUND);
	slices_remove(sc->s, 7);
	slices_remove(sc->s, 7);
	assert_int_equal(access(path, F_OK), -1);
	open_again(sc);
	assert_int_equal(count_children(sc->memory), 0);
}

static bool is_nine(void *data, uint64_t epoch)
{
	return epoch == 9;
}

static void test_swept(void **state)
{
	struct scene *sc = *state;
	char path[SLICES_PATH], nine[SLICES_PATH];
	struct slices_state st;
	struct err err;

	make(sc, 8, 1, path);
	make(sc, 9, 2, nine);
	/* As by another agent: the first was killed. */
	open_again(sc);
	assert_int_equal(slices_count(sc->s, 8), 1);
	assert_int_equal(slices_count(sc->s, 9), 2);
	slices_sweep(sc->s, is_nine, NULL);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(access(nine, F_OK), 0);
	assert_int_equal(slices_read(sc->s, 9, 0, &st, &err), 0);
	assert_string_equal(st.grant.uuid, "GPU-a");
	slices_remove(sc->s, 9);
	open_again(sc);
	assert_int_equal(count_children(sc->memory), 0);
}

/* What the kernel then says of the byte of who-0. */
static bool sign(const char *dir, int slot)
{
	char path[SLICES_PATH + 16];
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = slot, .l_len = 1};
	int fd;

	snprintf(path, sizeof(path), "%s/who-0", dir);
	fd = open(path, O_RDWR | O_CLOEXEC);
	return fd >= 0 && fcntl(fd, F_SETLK, &lock) == 0;
}

/* A child holds slot `slot` until it is killed, as the interposer does; or as who only writes that it is. */
static pid_t hold_slot(const char *dir, int slot, uint64_t bytes, bool is_signed)
{
	struct slice_slot said = {.started = 5};
	struct flock lock = {.l_type = F_WRLCK,
	        .l_whence = SEEK_SET,
	        .l_start = (off_t)SLICE_LOCK_BYTE + slot,
	        .l_len = 1};
	struct slice_ledger ledger = {.top = (uint32_t)slot + 1};
	int pipe_fds[2], fd;
	char byte = 0;
	pid_t pid;

	assert_int_equal(pipe(pipe_fds), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		fd = open_slice(dir, 0);
		said.pid = (uint32_t)getpid();
		said.bytes[SLICE_MEMORY] = bytes;
		said.reserved_bytes = 1;
		if ((is_signed && !sign(dir, slot)) || fcntl(fd, F_OFD_SETLK, &lock) < 0 ||
		        pwrite(fd, &said, sizeof(said),
		                SLICE_SLOTS_AT + slot * (off_t)sizeof(said)) < 0 ||
		        pwrite(fd, &ledger, sizeof(ledger), SLICE_LEDGER_AT) < 0 ||
		        write(pipe_fds[1], &byte, 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	assert_int_equal(read(pipe_fds[0], &byte, 1), 1);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void test_the_living_are_told(void **state)
{
	struct scene *sc = *state;
	char path[SLICES_PATH];
	struct slices_state st;
	struct err err;
	pid_t a, b;

	make(sc, 3, 1, path);
	a = hold_slot(path, 0, 100, true);
	b = hold_slot(path, 6, 1000, true);
	assert_int_equal(slices_read(sc->s, 3, 0, &st, &err), 0);
	assert_int_equal(st.n_living, 2);
	assert_int_equal(st.living_bytes, 1102);
	assert_int_equal(st.living[1].pid, b);
	assert_int_equal(st.living[1].slot, 6);
	assert_int_equal(st.living[1].started, 5);
	end(b);
	assert_int_equal(slices_read(sc->s, 3, 0, &st, &err), 0);
	assert_int_equal(st.n_living, 1);
	assert_int_equal(st.living_bytes, 101);
	assert_int_equal(st.living[0].pid, a);
	end(a);
	assert_int_equal(slices_read(sc->s, 3, 0, &st, &err), 0);
	assert_int_equal(st.n_living, 0);
}

/* Who has a slot is what the kernel says, and not what is written there: for who comes after us, too. */
static void test_holders(void **state)
{
	struct scene *sc = *state;
	char path[SLICES_PATH], who[SLICES_PATH + 16];
	struct slices_state st;
	struct stat about;
	struct err err;
	pid_t a, b;

	make(sc, 3, 1, path);
	snprintf(who, sizeof(who), "%s/who-0", path);
	assert_int_equal(stat(who, &about), 0);
	assert_int_equal(about.st_mode & 0777, 0666);
	assert_int_equal(about.st_size, 0);
	a = hold_slot(path, 2, 100, true);
	b = hold_slot(path, 3, 100, false);
	for (int turn = 0; turn < 2; turn++) {
		assert_int_equal(slices_read(sc->s, 3, 0, &st, &err), 0);
		assert_true(st.has_holders);
		assert_int_equal(st.n_living, 2);
		assert_int_equal(st.living[0].holder, a);
		assert_int_equal(st.living[1].holder, 0);
		assert_int_equal(st.living[1].pid, b);
		open_again(sc);
	}
	assert_int_equal(unlink(who), 0);
	assert_int_equal(slices_read(sc->s, 3, 0, &st, &err), -ERR_CORRUPT);
	assert_non_null(strstr(err.text, "the file of who has its slots is gone"));
	/* An agent that never saw one takes it for what was made before there were any. */
	open_again(sc);
	assert_int_equal(slices_read(sc->s, 3, 0, &st, &err), 0);
	assert_false(st.has_holders);
	assert_int_equal(st.n_living, 2);
	end(a);
	end(b);
}

/* Locks without end cost the job its slice, and us no time. */
static void test_too_many_locks(void **state)
{
	enum { LOCKS = 8000, SLOTS = 1024 };
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
	struct slice_ledger ledger = {.top = SLOTS};
	struct slice_slot slot = {.pid = 1};
	struct scene *sc = *state;
	char path[SLICES_PATH];
	struct slices_state st;
	struct err err;
	int fd;

	make(sc, 3, 1, path);
	fd = open_slice(path, 0);
	/* From the far end: each new one is the first in the kernel's list. */
	for (int i = LOCKS; i-- > 0;) {
		lock.l_start = SLICE_LOCK_BYTE - 2 * (off_t)i;
		assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
	}
	lock.l_start = SLICE_LOCK_BYTE;
	lock.l_len = SLOTS;
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
	assert_int_equal(pwrite(fd, &ledger, sizeof(ledger), SLICE_LEDGER_AT), sizeof(ledger));
	for (int i = 0; i < SLOTS; i++)
		assert_int_equal(
		        pwrite(fd, &slot, sizeof(slot), SLICE_SLOTS_AT + i * (off_t)sizeof(slot)),
		        sizeof(slot));
	assert_int_equal(slices_read(sc->s, 3, 0, &st, &err), -ERR_CORRUPT);
	assert_non_null(strstr(err.text, "too many locks"));
	close(fd);
}

static void test_watch_is_written(void **state)
{
	struct scene *sc = *state;
	char path[SLICES_PATH];
	struct slices_state st;
	struct err err;

	make(sc, 3, 1, path);
	assert_int_equal(slices_watch(sc->s, 3, 0, 77, 5, &err), 0);
	assert_int_equal(slices_read(sc->s, 3, 0, &st, &err), 0);
	assert_int_equal(st.overhead_bytes, 77);
	assert_int_equal(slices_watch(sc->s, 3, 1, 77, 5, &err), -ERR_NOT_FOUND);
}

static void test_spoilt(void **state)
{
	struct scene *sc = *state;
	char path[SLICES_PATH], name[SLICES_PATH + 16];
	struct slices_state st;
	struct slice whole;
	struct err err;
	int fd;

	make(sc, 4, 2, path);
	fd = open_slice(path, 0);
	/* Whatever is in slots and ledger: sums do not wrap, and nothing is read beyond the file. */
	memset(&whole, 0xff, sizeof(whole));
	assert_int_equal(pwrite(fd, &whole, sizeof(whole) - SLICE_LEDGER_AT, SLICE_LEDGER_AT),
	        sizeof(whole) - SLICE_LEDGER_AT);
	assert_int_equal(slices_read(sc->s, 4, 0, &st, &err), 0);
	assert_int_equal(st.n_living, 0);
	assert_int_equal(pwrite(fd, &whole, 100, 0), 100);
	assert_int_equal(slices_read(sc->s, 4, 0, &st, &err), -ERR_CORRUPT);
	assert_int_equal(ftruncate(fd, 2000), 0);
	assert_int_equal(slices_read(sc->s, 4, 0, &st, &err), -ERR_CORRUPT);
	close(fd);
	/* The other one keeps its place, in the eyes of another agent, too. */
	open_again(sc);
	assert_int_equal(slices_read(sc->s, 4, 0, &st, &err), -ERR_CORRUPT);
	assert_int_equal(slices_read(sc->s, 4, 1, &st, &err), 0);
	/* A job of our own account can do anything to its directory. */
	snprintf(name, sizeof(name), "%s/slice-1", path);
	assert_int_equal(unlink(name), 0);
	assert_int_equal(mkfifo(name, 0600), 0);
	assert_int_equal(slices_read(sc->s, 4, 1, &st, &err), -ERR_CORRUPT);
	assert_int_equal(unlink(name), 0);
	assert_int_equal(symlink("/etc/passwd", name), 0);
	assert_int_equal(slices_read(sc->s, 4, 1, &st, &err), -ERR_CORRUPT);
	assert_int_equal(slices_watch(sc->s, 4, 1, 0, 1, &err), -ERR_NOT_FOUND);
	slices_remove(sc->s, 4);
	assert_int_equal(access(path, F_OK), -1);
}

static void test_another_directory(void **state)
{
	struct scene *sc = *state;
	char path[SLICES_PATH], link[100], other_link[120], other[80], target[SLICES_PATH] = "";
	struct slices *s;
	struct err err;

	make(sc, 5, 1, path);
	/* A copy of the data directory is another one: it finds nothing of ours. */
	snprintf(other, sizeof(other), "%s/copy", sc->data);
	snprintf(link, sizeof(link), "%s/run/slices", sc->data);
	snprintf(other_link, sizeof(other_link), "%s/run/slices", other);
	assert_int_equal(mkdir(other, 0700), 0);
	snprintf(target, sizeof(target), "%s/run", other);
	assert_int_equal(mkdir(target, 0700), 0);
	memset(target, 0, sizeof(target));
	assert_true(readlink(link, target, sizeof(target) - 1) > 0);
	assert_int_equal(symlink(target, other_link), 0);
	assert_int_equal(slices_open(other, sc->memory, true, &s, &err), 0);
	assert_int_equal(slices_count(s, 5), 0);
	slices_close(s);
	assert_int_equal(access(path, F_OK), 0);
	slices_remove(sc->s, 5);
}

static void test_not_memory(void **state)
{
	struct scene *sc = *state;
	struct slices_grant g = {.limit_bytes = 1};
	char path[SLICES_PATH];
	struct slices *s;
	struct err err;

	assert_int_equal(slices_open(sc->data, "/proc", true, &s, &err), 0);
	assert_int_equal(slices_make(s, 1, &g, 1, path, &err), -ERR_UNSUPPORTED);
	assert_non_null(strstr(err.text, "'/proc' is not in memory"));
	slices_close(s);
}

/* A full memory is an error at the start, never a signal in the job. */
static void test_full(void **state)
{
	struct scene *sc = *state;
	struct slices_grant g = {.limit_bytes = 1};
	char small[64], path[SLICES_PATH], size[40];
	struct slices *s;
	struct err err;

	snprintf(small, sizeof(small), "%s/small", sc->data);
	snprintf(size, sizeof(size), "size=%zu", sizeof(struct slice) * 3 / 2);
	assert_int_equal(mkdir(small, 0700), 0);
	if (mount("small", small, "tmpfs", 0, size) < 0)
		skip();
	assert_int_equal(slices_open(sc->data, small, true, &s, &err), 0);
	assert_int_equal(slices_make(s, 1, &g, 1, path, &err), 0);
	/* There is room for one and a half. */
	assert_int_equal(slices_make(s, 3, &g, 1, path, &err), -ERR_NO_SPACE);
	assert_non_null(strstr(err.text, "the memory that holds its slice"));
	/* Nothing of the attempt that failed is left, and there is room again when another goes. */
	assert_int_equal(slices_count(s, 3), 0);
	slices_remove(s, 1);
	assert_int_equal(slices_make(s, 3, &g, 1, path, &err), 0);
	slices_remove(s, 3);
	slices_close(s);
	assert_int_equal(umount(small), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	        TEST(test_made),
	        TEST(test_swept),
	        TEST(test_the_living_are_told),
	        TEST(test_holders),
	        TEST(test_too_many_locks),
	        TEST(test_watch_is_written),
	        TEST(test_spoilt),
	        TEST(test_another_directory),
	        TEST(test_not_memory),
	        TEST(test_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
