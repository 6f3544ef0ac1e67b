/* The judge of a device in its thread: two tenants' files as jobs have them, honest, lying, and of the dead. */
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "berth/pace.h"
#include "gpu/judge_thread.h"
#include "shim/pace_judge.h"

#define MS       UINT64_C(1000000)
#define LONG_NS  (5000 * MS) /* on a machine that does a lot besides */
#define LOAD(p)  __atomic_load_n(p, __ATOMIC_SEQ_CST)
#define TENANTS  2
#define SHORT_MS 200

struct scene {
	char dir[64];
	int dir_fd, page_fd;
	struct pace_page *page, *own[TENANTS]; /* page: as a job maps it */
	int own_fd[TENANTS], lock_fd[TENANTS];
	struct judge_thread *t;
};

static uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void nap(void)
{
	nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static void *map(int fd, int protection)
{
	void *at = mmap(NULL, sizeof(struct pace_page), protection, MAP_SHARED, fd, 0);

	assert_ptr_not_equal(at, MAP_FAILED);
	return at;
}

static int file(struct scene *sc, const char *what, unsigned place)
{
	char path[100];
	int fd;

	snprintf(path, sizeof(path), "%s/%s-%u", sc->dir, what, place);
	assert_int_equal(mknod(path, S_IFREG | 0600, 0), 0);
	fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, sizeof(struct pace_page)), 0);
	return fd;
}

/* From its first line on, a process that lives. */
static void come(struct scene *sc, unsigned i)
{
	char path[100];
	struct flock lock = {
	        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = PACE_LOCK_BYTE, .l_len = 1};

	/* Of its own: a mapping would keep it. */
	snprintf(path, sizeof(path), "%s/own-%u", sc->dir, i);
	sc->lock_fd[i] = open(path, O_RDWR | O_CLOEXEC);
	assert_int_equal(fcntl(sc->lock_fd[i], F_OFD_SETLK, &lock), 0);
	sc->own[i]->procs[0] = (struct pace_proc){.pid = 1 + i, .tenant = i};
	__atomic_store_n(&sc->own[i]->top, 1, __ATOMIC_SEQ_CST);
}

static void ask(struct scene *sc, unsigned i)
{
	(void)!pwrite(sc->own_fd[i], "", 1, PACE_ASK_AT);
}

static void want(struct scene *sc, unsigned i)
{
	__atomic_store_n(&sc->own[i]->procs[0].want_ns, now(), __ATOMIC_SEQ_CST);
	ask(sc, i);
}

static bool has_turn(struct scene *sc, unsigned i)
{
	uint64_t word = LOAD(&sc->page->word);

	return PACE_OWNER(word) == i && PACE_STATE(word) == PACE_OPEN;
}

/* Asks, as one who waits does, until it has the turn. */
static bool gets_turn(struct scene *sc, unsigned i)
{
	for (uint64_t end = now() + LONG_NS; !has_turn(sc, i) && now() < end; nap())
		want(sc, i);
	return has_turn(sc, i);
}

static int set_up(void **state)
{
	struct scene *sc = calloc(1, sizeof(*sc));
	struct err err;

	strcpy(sc->dir, "/dev/shm/judge-test-XXXXXX");
	if (!mkdtemp(sc->dir))
		return -1;
	sc->dir_fd = open(sc->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	sc->page_fd = file(sc, "pace", 0);
	sc->page = map(sc->page_fd, PROT_READ | PROT_WRITE);
	sc->page->head =
	        (struct pace_head){.magic = PACE_MAGIC, .abi = PACE_ABI, .flags = PACE_JUDGED};
	pace_parameters(&sc->page->head, 0);
	sc->page->word = PACE_WORD(PACE_NOBODY, PACE_FREE, 0, 0);
	for (unsigned i = 0; i < TENANTS; i++) {
		sc->page->tenants[i] = (struct pace_tenant){.weight_milli = 500, .cap_milli = 1000};
		sc->own_fd[i] = file(sc, "own", i);
		sc->lock_fd[i] = -1;
		sc->own[i] = map(sc->own_fd[i], PROT_READ | PROT_WRITE);
	}
	assert_int_equal(judge_thread_new(sc->page_fd, &sc->t, &err), 0);
	for (unsigned i = 0; i < TENANTS; i++)
		assert_int_equal(judge_thread_seat(sc->t, i, sc->dir_fd, i, &err), 0);
	*state = sc;
	return 0;
}

static int tear_down(void **state)
{
	struct scene *sc = *state;
	char command[100];

	judge_thread_free(sc->t);
	for (unsigned i = 0; i < TENANTS; i++) {
		munmap(sc->own[i], sizeof(struct pace_page));
		close(sc->own_fd[i]);
		if (sc->lock_fd[i] >= 0)
			close(sc->lock_fd[i]);
	}
	munmap(sc->page, sizeof(struct pace_page));
	close(sc->page_fd);
	close(sc->dir_fd);
	snprintf(command, sizeof(command), "rm -r %s", sc->dir);
	assert_int_equal(system(command), 0);
	free(sc);
	return 0;
}

static void test_turns(void **state)
{
	struct scene *sc = *state;
	uint32_t turns;

	come(sc, 0);
	assert_true(gets_turn(sc, 0));
	assert_false(LOAD(&sc->page->is_shared));
	turns = LOAD(&sc->page->tenants[1].turn);
	/* It has the turn, and does nothing: the other one is let in, and woken. */
	sc->own[0]->procs[0].want_ns = 0;
	come(sc, 1);
	assert_true(gets_turn(sc, 1));
	assert_true(LOAD(&sc->page->is_shared));
	assert_true(LOAD(&sc->page->tenants[1].turn) != turns);
	/* The row's tenant ends: nobody is there to be held against. */
	judge_thread_unseat(sc->t, 0);
	for (uint64_t end = now() + LONG_NS; LOAD(&sc->page->is_shared) && now() < end;)
		nap();
	assert_false(LOAD(&sc->page->is_shared));
}

/* Times that the judge has gone to sleep; of the one thread of that name. */
static unsigned long sleeps(void)
{
	unsigned long n = 0;
	FILE *f = popen("grep -lx judge /proc/$PPID/task/*/comm | xargs dirname |"
	                " xargs -I% grep ^voluntary %/status | cut -f 2",
	        "r");

	assert_non_null(f);
	assert_int_equal(fscanf(f, "%lu", &n), 1);
	pclose(f);
	return n;
}

static void test_it_sleeps_while_nobody_wants(void **state)
{
	struct scene *sc = *state;
	unsigned long before;

	for (unsigned i = 0; i < TENANTS; i++) {
		come(sc, i);
		assert_true(gets_turn(sc, i));
		sc->own[i]->procs[0].want_ns = 0;
		ask(sc, i);
	}
	/* What was under way comes to rest. */
	for (unsigned i = 0; i < 50; i++)
		nap();
	before = sleeps();
	for (unsigned i = 0; i < SHORT_MS; i++)
		nap();
	assert_int_equal(sleeps(), before);
}

/* Who asks without end is heard some thousand times a second, and the other one none the less. */
static void test_a_flood(void **state)
{
	struct scene *sc = *state;
	uint64_t number, began;
	pid_t pid;

	come(sc, 1);
	pid = fork();
	if (pid == 0) {
		for (uint64_t end = now() + LONG_NS; now() < end;)
			ask(sc, 0);
		_exit(0);
	}
	began = now();
	number = PACE_NUMBER(LOAD(&sc->page->word));
	assert_true(gets_turn(sc, 1));
	while (now() < began + SHORT_MS * MS)
		nap();
	number = PACE_NUMBER(LOAD(&sc->page->word)) - number;
	assert_true(number < 100 + (now() - began) / MS * 6);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* Whatever stands in a tenant's page, and however long that is: the other one gets its turn. */
static void test_a_liar(void **state)
{
	static const off_t lengths[] = {0, 100, PACE_PROCS_AT + 32, sizeof(struct pace_page)};
	struct scene *sc = *state;
	unsigned char junk[4096];

	come(sc, 1);
	srand(3);
	for (unsigned n = 0; n < 40; n++) {
		for (unsigned i = 0; i < sizeof(junk); i++)
			junk[i] = (unsigned char)(n % 3 ? rand() : 0xff);
		assert_int_equal(ftruncate(sc->own_fd[0], lengths[n % 4]), 0);
		assert_int_equal(pwrite(sc->own_fd[0], junk, sizeof(junk), 0), sizeof(junk));
		assert_int_equal(
		        pwrite(sc->own_fd[0], junk, sizeof(junk), PACE_PROCS_AT), sizeof(junk));
		ask(sc, 0);
		assert_true(gets_turn(sc, 1));
	}
}

/* So many locks that a look at one takes long. */
static void test_many_locks(void **state)
{
	struct scene *sc = *state;

	come(sc, 1);
	for (unsigned i = 0; i < 8000; i++) {
		struct flock lock = {.l_type = F_WRLCK,
		        .l_whence = SEEK_SET,
		        .l_start = PACE_LOCK_BYTE - 2 - 2 * (off_t)i,
		        .l_len = 1};

		assert_int_equal(fcntl(sc->own_fd[0], F_OFD_SETLK, &lock), 0);
	}
	for (unsigned i = 0; i < PACE_PROCS; i++)
		sc->own[0]->procs[i] = (struct pace_proc){.pid = 7};
	sc->own[0]->top = PACE_PROCS;
	assert_true(gets_turn(sc, 1));
}

/* A page that never comes: who reads it in the kernel stays there until *ret_fd is closed. NULL: not allowed here. */
static void *page_that_never_comes(int *ret_fd)
{
	struct uffdio_api api = {.api = UFFD_API};
	size_t len = (size_t)sysconf(_SC_PAGESIZE);
	struct uffdio_register reg = {.range.len = len, .mode = UFFDIO_REGISTER_MODE_MISSING};
	void *at;

	*ret_fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	if (*ret_fd < 0)
		return NULL;
	at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(at, MAP_FAILED);
	reg.range.start = (uintptr_t)at;
	assert_int_equal(ioctl(*ret_fd, UFFDIO_API, &api), 0);
	assert_int_equal(ioctl(*ret_fd, UFFDIO_REGISTER, &reg), 0);
	return at;
}

struct writer {
	int fd;
	const void *from;
};

static void *write_for_ever(void *writer)
{
	const struct writer *w = writer;

	(void)!write(w->fd, w->from, 1);
	return NULL;
}

/* A job can keep what the kernel locks while it copies, for as long as it likes (a FIFO, too): nobody waits for that. */
static void test_a_write_that_does_not_end(void **state)
{
	struct scene *sc = *state;
	int faults;
	void *at = page_that_never_comes(&faults);
	struct writer w = {sc->own_fd[0], at};
	pthread_t thread;

	if (!at)
		skip();
	come(sc, 1);
	ask(sc, 0);
	assert_int_equal(pthread_create(&thread, NULL, write_for_ever, &w), 0);
	for (unsigned i = 0; i < 20; i++)
		nap();
	assert_true(gets_turn(sc, 1));
	judge_thread_unseat(sc->t, 0);
	close(faults);
	pthread_join(thread, NULL);
}

/* A process that has ended with the turn, and with work on the device. */
static void test_the_dead(void **state)
{
	struct scene *sc = *state;

	come(sc, 0);
	assert_true(gets_turn(sc, 0));
	sc->own[0]->procs[0].submitted_ns = 1000 * MS;
	come(sc, 1);
	want(sc, 1);
	close(sc->lock_fd[0]);
	sc->lock_fd[0] = -1;
	assert_true(gets_turn(sc, 1));
	/* It is not even one who runs on. */
	assert_int_equal(sc->page->tables[PACE_NUMBER(sc->page->word) & 1].accounts[0].holds, 0);
}

/* What its page was is what it is for the next judge. */
static void test_after_another(void **state)
{
	struct scene *sc = *state;
	struct err err;

	come(sc, 0);
	come(sc, 1);
	assert_true(gets_turn(sc, 0));
	judge_thread_free(sc->t);
	sc->t = NULL;
	assert_true(has_turn(sc, 0));
	sc->own[0]->procs[0].want_ns = 0;
	want(sc, 1);
	assert_int_equal(judge_thread_new(sc->page_fd, &sc->t, &err), 0);
	/* Files that are not there, or are of another kind, are said. */
	assert_true(judge_thread_seat(sc->t, 0, sc->dir_fd, 9, &err) < 0);
	for (unsigned i = 0; i < TENANTS; i++)
		assert_int_equal(judge_thread_seat(sc->t, i, sc->dir_fd, i, &err), 0);
	assert_true(gets_turn(sc, 1));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	        TEST(test_turns),
	        TEST(test_it_sleeps_while_nobody_wants),
	        TEST(test_a_flood),
	        TEST(test_a_liar),
	        TEST(test_many_locks),
	        TEST(test_a_write_that_does_not_end),
	        TEST(test_the_dead),
	        TEST(test_after_another),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
