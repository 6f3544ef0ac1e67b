/* The ledger of a slice among processes: to the byte, whoever dies when, and whatever is in the file. */
#include "ledger_scene.h"

#include <pthread.h>
#include <sched.h>
#include <sys/time.h>
#include <time.h>

static int die_at, n_steps; /* 0: lives on */

void shim_step(void)
{
	if (++n_steps == die_at)
		kill(getpid(), SIGKILL);
}

static void test_holds_to_the_byte(void **state)
{
	(void)state;
	struct ledger *ledger = opened();
	assert_non_null(ledger);
	assert_int_equal(ledger_left(ledger), 64 * MIB);
	assert_int_equal(ledger_reserve(ledger, 64 * MIB + 1), LEDGER_FULL);
	assert_int_equal(ledger_reserve(ledger, 60 * MIB), 0);
	assert_int_equal(ledger_reserve(ledger, 4 * MIB + 1), LEDGER_FULL);
	assert_int_equal(ledger_reserve(ledger, 4 * MIB), 0);
	assert_int_equal(ledger_reserve(ledger, 1), LEDGER_FULL);
	assert_int_equal(ledger_left(ledger), 0);
	assert_int_equal(ledger_settle(ledger, 60 * MIB, SLICE_POOL, 10 * MIB), 0);
	assert_int_equal(region.map->ledger.used_bytes, 14 * MIB);
	assert_int_equal(region.map->slots[0].bytes[SLICE_POOL], 10 * MIB);
	assert_int_equal(region.map->slots[0].reserved_bytes, 4 * MIB);
	assert_int_equal(ledger_settle(ledger, 4 * MIB, SLICE_MEMORY, 0), 0);
	assert_int_equal(ledger_return(ledger, SLICE_POOL, 10 * MIB), 0);
	assert_int_equal(region.map->ledger.used_bytes, 0);
	assert_int_equal(region.map->ledger.peak_bytes, 64 * MIB);
	assert_int_equal(region.map->ledger.n_refused, 3);
	assert_int_equal(ledger_reserve(ledger, UINT64_MAX), LEDGER_FULL);
	shut(ledger);
}

/* What the agent saw beyond the ledger denies, and never kills; more of it than there is does not wrap around. */
static void test_overhead_counts(void **state)
{
	(void)state;
	struct ledger *ledger = opened();
	region.map->watch.overhead_bytes = 10 * MIB;
	assert_int_equal(ledger_left(ledger), 54 * MIB);
	assert_int_equal(ledger_reserve(ledger, 54 * MIB + 1), LEDGER_FULL);
	assert_int_equal(ledger_reserve(ledger, 54 * MIB), 0);
	region.map->watch.overhead_bytes = UINT64_MAX;
	assert_int_equal(ledger_left(ledger), 0);
	assert_int_equal(ledger_reserve(ledger, 1), LEDGER_FULL);
	assert_int_equal(ledger_settle(ledger, 54 * MIB, SLICE_MEMORY, 0), 0);
	shut(ledger);
}

/* -- eight processes race to the last byte, and are killed at any instruction -- */
struct truth {
	int64_t bytes;
	int64_t n_over, n_granted, n_refused, n_broken;
};
static struct truth *truth;
static int64_t mine; /* of truth->bytes */

static void die_now(int signal)
{
	(void)signal;
	__atomic_fetch_sub(&truth->bytes, mine, __ATOMIC_SEQ_CST);
	kill(getpid(), SIGKILL);
}

/* The truth changes as a whole, or not at all. */
static void truly(int64_t bytes)
{
	sigset_t all, before;
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &before);
	mine += bytes;
	if (__atomic_add_fetch(&truth->bytes, bytes, __ATOMIC_SEQ_CST) > (int64_t)(64 * MIB))
		__atomic_fetch_add(&truth->n_over, 1, __ATOMIC_SEQ_CST);
	sigprocmask(SIG_SETMASK, &before, NULL);
}

static uint64_t dice(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	return *state ^= *state << 17;
}

static int race(void *data)
{
	uint64_t seed = 88172645463325252 + 977 * (uintptr_t)data;
	struct ledger *ledger = opened();
	MUST(ledger != NULL);
	mine = 0;
	signal(SIGALRM, die_now);
	struct itimerval timer = {.it_value.tv_usec = 500 + (suseconds_t)(dice(&seed) % 20000)};
	setitimer(ITIMER_REAL, &timer, NULL);
	uint64_t held[8] = {0};
	for (int turn = 0; turn < 20000; turn++) {
		uint64_t *at = &held[dice(&seed) % 8];
		if (*at != 0) {
			truly(-(int64_t)*at);
			MUST(ledger_return(ledger, SLICE_MEMORY, *at) == 0);
			*at = 0;
			continue;
		}
		uint64_t bytes = 1 + dice(&seed) % (24 * MIB);
		int rc = ledger_reserve(ledger, bytes);
		__atomic_fetch_add(rc == 0             ? &truth->n_granted
		                   : rc == LEDGER_FULL ? &truth->n_refused
		                                       : &truth->n_broken,
		        1, __ATOMIC_RELAXED);
		if (rc != 0)
			continue;
		truly((int64_t)bytes);
		*at = bytes;
		MUST(ledger_settle(ledger, bytes, SLICE_MEMORY, bytes) == 0);
	}
	return 0;
}

static void test_race_with_kills_never_exceeds(void **state)
{
	(void)state;
	truth = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pids[8];
	int n_killed = 0;
	for (uintptr_t i = 0; i < 8; i++)
		pids[i] = begin_child(race, (void *)i);
	for (uintptr_t round = 8; round < 160; round++) {
		int result = end_child(pids[round % 8]);
		assert_true(result == 0 || result == 1000 + SIGKILL);
		n_killed += result != 0;
		pids[round % 8] = begin_child(race, (void *)round);
	}
	for (int i = 0; i < 8; i++)
		end_child(pids[i]);
	assert_true(n_killed > 50);
	assert_true(truth->n_granted > 1000);
	assert_int_equal(truth->n_over, 0);
	assert_int_equal(truth->n_broken, 0);
	assert_int_equal(truth->bytes, 0);
	/* Nothing of the dead is left. */
	struct ledger *ledger = opened();
	assert_int_equal(ledger_reserve(ledger, 64 * MIB), 0);
	assert_int_equal(ledger_reserve(ledger, 1), LEDGER_FULL);
	shut(ledger);
	munmap(truth, 4096);
}

static int die_in_the_middle(void *data)
{
	n_steps = 0;
	die_at = (int)(intptr_t)data;
	struct ledger *ledger = opened();
	if (ledger_reserve(ledger, 40 * MIB) != 0 ||
	        ledger_settle(ledger, 40 * MIB, SLICE_MEMORY, 30 * MIB) != 0 ||
	        ledger_return(ledger, SLICE_MEMORY, 10 * MIB) != 0)
		return 1;
	return 0;
}

/* Whatever the dead one had is there again: for one who comes, and for one who was there, whose slot is another one. */
static int die_at_step(int step, bool was_there)
{
	struct ledger *ledger = opened();
	if (was_there)
		assert_int_equal(ledger_reserve(ledger, 0), 0);
	int result = run_child(die_in_the_middle, (void *)(intptr_t)step);
	assert_int_equal(ledger_reserve(ledger, 64 * MIB), 0);
	assert_int_equal(ledger_reserve(ledger, 1), LEDGER_FULL);
	assert_int_equal(region.map->ledger.used_bytes, 64 * MIB);
	assert_int_equal(ledger_settle(ledger, 64 * MIB, SLICE_MEMORY, 0), 0);
	assert_int_equal(region.map->ledger.used_bytes, 0);
	shut(ledger);
	return result;
}

/* SIGKILL between any two stores of a registration, a reservation, its settlement and its return. */
static void test_death_at_each_step(void **state)
{
	(void)state;
	for (int was_there = 0; was_there < 2; was_there++) {
		int step = 0, result;
		do {
			result = die_at_step(++step, was_there);
			assert_true(result == 0 || result == 1000 + SIGKILL);
		} while (result != 0);
		assert_true(step > 20);
	}
}

/* -- three hundred at once -- */
struct crowd {
	int n_ready;
	int go;
};
static struct crowd *crowd;

static int join_crowd(void *data)
{
	(void)data;
	while (!__atomic_load_n(&crowd->go, __ATOMIC_ACQUIRE))
		usleep(1000);
	struct ledger *ledger = opened();
	MUST(ledger != NULL);
	MUST(ledger_reserve(ledger, 4096) == 0);
	MUST(ledger_settle(ledger, 4096, SLICE_CONTEXT, 4096) == 0);
	__atomic_fetch_add(&crowd->n_ready, 1, __ATOMIC_ACQ_REL);
	while (__atomic_load_n(&crowd->go, __ATOMIC_ACQUIRE) == 1)
		usleep(5000);
	return 0;
}

static void test_300_processes_start_together(void **state)
{
	(void)state;
	enum { N = 300 };
	static pid_t pids[N];
	crowd = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < N; i++)
		pids[i] = begin_child(join_crowd, NULL);
	struct timespec began, now;
	clock_gettime(CLOCK_MONOTONIC, &began);
	__atomic_store_n(&crowd->go, 1, __ATOMIC_RELEASE);
	do {
		usleep(2000);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (__atomic_load_n(&crowd->n_ready, __ATOMIC_ACQUIRE) < N &&
	         now.tv_sec - began.tv_sec < 30);
	assert_int_equal(crowd->n_ready, N);
	assert_int_equal(region.map->ledger.used_bytes, N * 4096);
	int n_slots = 0;
	for (int i = 0; i < SLICE_SLOTS; i++)
		n_slots += region.map->slots[i].bytes[SLICE_CONTEXT] == 4096;
	assert_int_equal(n_slots, N);
	__atomic_store_n(&crowd->go, 2, __ATOMIC_RELEASE);
	for (int i = 0; i < N; i++)
		assert_int_equal(end_child(pids[i]), 0);
	munmap(crowd, 4096);
	struct ledger *ledger = opened();
	assert_int_equal(ledger_left(ledger), 64 * MIB);
	shut(ledger);
}

/* -- fork, exec, close -- */
static int child_of_fork(void *data)
{
	struct ledger *ledger = data;
	int old_slot = ledger->slot;
	ledger_forked(ledger);
	MUST(ledger_reserve(ledger, 2 * MIB) == 0);
	MUST(ledger->slot != old_slot);
	MUST(ledger_settle(ledger, 2 * MIB, SLICE_MEMORY, 2 * MIB) == 0);
	MUST(region.map->ledger.used_bytes == 12 * MIB);
	return 0;
}

static void test_forked_child_has_a_slot_of_its_own(void **state)
{
	(void)state;
	struct ledger *ledger = opened();
	assert_int_equal(ledger_reserve(ledger, 10 * MIB), 0);
	assert_int_equal(run_child(child_of_fork, ledger), 0);
	assert_int_equal(ledger_left(ledger), 54 * MIB);
	assert_int_equal(region.map->slots[0].reserved_bytes, 10 * MIB);
	shut(ledger);
}

static int outlive(void *data)
{
	int *pipes = data;
	struct ledger *ledger = opened();
	MUST(ledger_reserve(ledger, 10 * MIB) == 0);
	pid_t pid = fork();
	if (pid == 0) {
		char byte;
		close(pipes[1]);
		ledger_forked(ledger);
		ssize_t n = read(pipes[0], &byte, 1); /* until the test is over */
		_exit((int)n);
	}
	kill(getpid(), SIGKILL);
	return 0;
}

/* A child that lives on does not keep its dead parent's bytes. */
static void test_child_does_not_hold_its_parents_slot(void **state)
{
	(void)state;
	int pipes[2];
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(run_child(outlive, pipes), 1000 + SIGKILL);
	struct ledger *ledger = opened();
	/* The grandchild may not have run yet. */
	for (int i = 0; i < 500 && ledger_left(ledger) != 64 * MIB; i++)
		usleep(10000);
	assert_int_equal(ledger_left(ledger), 64 * MIB);
	close(pipes[0]);
	close(pipes[1]);
	shut(ledger);
}

static int become_another(void *data)
{
	int *pipes = data;
	struct ledger *ledger = opened();
	MUST(ledger_reserve(ledger, 10 * MIB) == 0);
	dup2(pipes[0], 0);
	dup2(pipes[3], 1);
	close(pipes[1]);
	execl("/bin/sh", "sh", "-c", "echo; read x", (char *)NULL);
	return 1;
}

static void test_exec_gives_the_slot_back(void **state)
{
	(void)state;
	int pipes[4];
	char byte;
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(pipe(pipes + 2), 0);
	pid_t pid = begin_child(become_another, pipes);
	assert_int_equal(read(pipes[2], &byte, 1), 1);
	struct ledger *ledger = opened();
	assert_int_equal(ledger_left(ledger), 64 * MIB);
	close(pipes[1]);
	end_child(pid);
	close(pipes[0]);
	close(pipes[2]);
	close(pipes[3]);
	shut(ledger);
}

/* closefrom, and daemons that close whatever they find. */
static void test_closed_descriptor_is_opened_again(void **state)
{
	(void)state;
	struct ledger *ledger = opened();
	assert_int_equal(ledger_reserve(ledger, 10 * MIB), 0);
	close(ledger->fd);
	assert_int_equal(ledger_reserve(ledger, 10 * MIB), 0);
	assert_int_equal(region.map->ledger.used_bytes, 20 * MIB);
	/* Another file under the number. */
	int fd = open("/dev/null", O_RDONLY);
	dup2(fd, ledger->fd);
	close(fd);
	fd = ledger->fd;
	assert_int_equal(ledger_settle(ledger, 20 * MIB, SLICE_MEMORY, 6 * MIB), 0);
	assert_int_equal(ledger_left(ledger), 58 * MIB);
	close(fd);
	shut(ledger);
}

/* -- threads -- */
static void *hammer(void *data)
{
	struct ledger *ledger = data;
	for (int i = 0; i < 2000; i++)
		if (ledger_reserve(ledger, 20 * MIB) == 0)
			ledger_settle(ledger, 20 * MIB, SLICE_MEMORY, 0);
	return NULL;
}

static void test_threads_and_forks(void **state)
{
	(void)state;
	struct ledger *ledger = opened();
	assert_int_equal(ledger_reserve(ledger, 10 * MIB), 0);
	pthread_t threads[4];
	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, hammer, ledger);
	for (int i = 0; i < 20; i++) {
		pid_t pid = fork();
		if (pid == 0) {
			alarm(20);
			ledger_forked(ledger);
			int rc = ledger_reserve(ledger, MIB);
			_exit(rc == 0 || rc == LEDGER_FULL ? 0 : 1);
		}
		assert_int_equal(end_child(pid), 0);
	}
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(ledger_left(ledger), 54 * MIB);
	assert_int_equal(region.map->ledger.used_bytes, 10 * MIB);
	shut(ledger);
}

/* -- other accounts, other namespaces -- */
static int as_nobody(void *data)
{
	(void)data;
	struct ledger *ledger = opened();
	MUST(ledger != NULL && ledger_reserve(ledger, MIB) == 0);
	MUST(setgid(65534) == 0 && setuid(65534) == 0);
	MUST(ledger_reserve(ledger, MIB) == 0);
	ledger_forked(ledger);
	MUST(ledger_reserve(ledger, MIB) == 0);
	chmod(region.path, 0);
	struct ledger *fresh = opened();
	MUST(fresh != NULL);
	return 0;
}

static int as_nobody_locked_out(void *data)
{
	(void)data;
	MUST(setgid(65534) == 0 && setuid(65534) == 0);
	static struct ledger ledger;
	const char *why = NULL;
	MUST(ledger_open(&ledger, region.path, &why) == LEDGER_BROKEN);
	MUST(why != NULL);
	MUST(ledger_reserve(&ledger, 1) == LEDGER_BROKEN);
	return 0;
}

static void test_other_account(void **state)
{
	(void)state;
	if (getuid() != 0)
		skip();
	assert_int_equal(run_child(as_nobody, NULL), 0);
	assert_int_equal(chmod(region.path, 0600), 0);
	assert_int_equal(run_child(as_nobody_locked_out, NULL), 0);
}

static int as_first_process(void *data)
{
	int *pipes = data;
	char byte = getpid() == 1;
	struct ledger *ledger = opened();
	byte = (char)(byte && ledger_reserve(ledger, 30 * MIB) == 0);
	MUST(write(pipes[1], &byte, 1) == 1);
	pause();
	return 0;
}

static int in_namespace(void *data)
{
	if (unshare(CLONE_NEWPID) != 0)
		return 77;
	pid_t pid = begin_child(as_first_process, data);
	int result = end_child(pid);
	return result == 1000 + SIGKILL ? 0 : 1;
}

/* Two processes are number 1, each in its own namespace; both count, and the death of one is seen. */
static void test_pid_namespaces(void **state)
{
	(void)state;
	int pipes[2];
	char byte = 0;
	assert_int_equal(pipe(pipes), 0);
	pid_t outer[2];
	for (int i = 0; i < 2; i++)
		outer[i] = begin_child(in_namespace, pipes);
	for (int i = 0; i < 2; i++) {
		struct timespec slow = {.tv_nsec = 1000000};
		fcntl(pipes[0], F_SETFL, O_NONBLOCK);
		int status;
		while (read(pipes[0], &byte, 1) != 1) {
			if (i == 0 && waitpid(outer[0], &status, WNOHANG) == outer[0]) {
				assert_int_equal(WEXITSTATUS(status), 77);
				waitpid(outer[1], &status, 0);
				skip(); /* not allowed here */
			}
			nanosleep(&slow, NULL);
		}
		assert_int_equal(byte, 1);
	}
	struct ledger *ledger = opened();
	assert_int_equal(ledger_left(ledger), 4 * MIB);
	for (int i = 0; i < 2; i++) {
		char path[64], text[64] = {0};
		snprintf(path, sizeof path, "/proc/%d/task/%d/children", outer[i], outer[i]);
		int fd = open(path, O_RDONLY);
		assert_true(fd >= 0 && read(fd, text, sizeof text - 1) > 0);
		close(fd);
		kill((pid_t)strtol(text, NULL, 10), SIGKILL);
		assert_int_equal(end_child(outer[i]), 0);
		assert_int_equal(ledger_left(ledger), (uint64_t)(34 + 30 * i) * MIB);
	}
	close(pipes[0]);
	close(pipes[1]);
	shut(ledger);
}

static void test_counts_only(void **state)
{
	(void)state;
	region_write(&region, 0, "GPU-1", 64 * MIB, 0, 0);
	struct ledger *ledger = opened();
	assert_int_equal(ledger_reserve(ledger, 1000 * MIB), 0);
	assert_int_equal(ledger_left(ledger), 0);
	shut(ledger);
}

/* More processes than slots: an answer, and room again when one ends. */
static void test_all_slots_are_taken(void **state)
{
	(void)state;
	int fd = open(region.path, O_RDWR | O_CLOEXEC);
	struct flock all = {.l_type = F_WRLCK,
	        .l_whence = SEEK_SET,
	        .l_start = SLICE_LOCK_BYTE,
	        .l_len = SLICE_SLOTS};
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &all), 0);
	struct ledger *ledger = opened();
	assert_int_equal(ledger_reserve(ledger, MIB), LEDGER_BROKEN);
	struct flock last = all;
	last.l_type = F_UNLCK;
	last.l_start += SLICE_SLOTS - 1;
	last.l_len = 1;
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &last), 0);
	assert_int_equal(ledger_reserve(ledger, MIB), 0);
	assert_int_equal(ledger->slot, SLICE_SLOTS - 1);
	close(fd);
	assert_int_equal(ledger_left(ledger), 62 * MIB);
	shut(ledger);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        T(test_holds_to_the_byte),
	        T(test_overhead_counts),
	        T(test_race_with_kills_never_exceeds),
	        T(test_death_at_each_step),
	        T(test_300_processes_start_together),
	        T(test_forked_child_has_a_slot_of_its_own),
	        T(test_child_does_not_hold_its_parents_slot),
	        T(test_exec_gives_the_slot_back),
	        T(test_closed_descriptor_is_opened_again),
	        T(test_threads_and_forks),
	        T(test_other_account),
	        T(test_pid_namespaces),
	        T(test_counts_only),
	        T(test_all_slots_are_taken),
	};
	return cmocka_run_group_tests_name("shim/ledger", tests, NULL, NULL);
}
