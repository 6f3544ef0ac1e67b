/* By whom the kernel says that a slot is held: after fork and exec, from namespaces below, and where it cannot say. */
#include "ledger_scene.h"

#include <sched.h>

void shim_step(void)
{
}

static char who_path[96];

static int set_up_who(void **state)
{
	set_up(state);
	snprintf(who_path, sizeof who_path, "%s/who-0", region.dir);
	int fd = open(who_path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	return fd < 0 || fchmod(fd, 0666) < 0 || close(fd) < 0;
}

/* As the agent asks. 0: nobody. */
static pid_t holder_of(int slot)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = slot, .l_len = 1};
	int fd = open(who_path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_GETLK, &lock), 0);
	close(fd);
	return lock.l_type == F_UNLCK ? 0 : lock.l_pid;
}

/* What a child says when it is ready, and how it is told to go on. */
static int ready[2], go[2];

static void say_ready(void)
{
	char byte = 'r';
	(void)!write(ready[1], &byte, 1);
}

/* Also over when the test is. */
static bool may_go(void)
{
	char byte;
	close(go[1]);
	return read(go[0], &byte, 1) == 1;
}

static void wait_for(int fd)
{
	char byte;
	assert_int_equal(read(fd, &byte, 1), 1);
}

static void let_go(void)
{
	char byte = 'g';
	assert_int_equal(write(go[1], &byte, 1), 1);
}

static void make_pipes(void)
{
	assert_int_equal(pipe2(ready, O_CLOEXEC) + pipe2(go, O_CLOEXEC), 0);
}

static void close_pipes(void)
{
	for (int i = 0; i < 2; i++) {
		close(ready[i]);
		close(go[i]);
	}
}

static int uses_it(void *data)
{
	struct ledger *ledger = opened();
	(void)data;
	MUST(ledger_reserve(ledger, MIB) == 0);
	MUST(ledger->slot == 0);
	say_ready();
	MUST(may_go());
	return 0;
}

static void test_holder_until_its_end(void **state)
{
	(void)state;
	make_pipes();
	pid_t pid = begin_child(uses_it, NULL);
	wait_for(ready[0]);
	assert_int_equal(holder_of(0), pid);
	assert_int_equal(holder_of(1), 0);
	kill(pid, SIGKILL);
	assert_int_equal(end_child(pid), 1000 + SIGKILL);
	assert_int_equal(holder_of(0), 0);
	close_pipes();
}

static int forks(void *data)
{
	struct ledger *ledger = opened();
	(void)data;
	MUST(ledger_reserve(ledger, MIB) == 0);
	pid_t pid = fork();
	if (pid == 0) {
		ledger_forked(ledger);
		if (ledger_reserve(ledger, MIB) != 0)
			_exit(1);
	}
	say_ready();
	MUST(may_go());
	return pid == 0 ? 0 : end_child(pid);
}

/* A child has a slot of its own, and its parent keeps its. */
static void test_fork(void **state)
{
	(void)state;
	make_pipes();
	pid_t pid = begin_child(forks, NULL);
	wait_for(ready[0]);
	wait_for(ready[0]);
	assert_int_equal(holder_of(0), pid);
	assert_int_not_equal(holder_of(1), 0);
	assert_int_not_equal(holder_of(1), pid);
	let_go();
	let_go();
	assert_int_equal(end_child(pid), 0);
	assert_int_equal(holder_of(0) + holder_of(1), 0);
	close_pipes();
}

static int becomes_cat(void *data)
{
	(void)data;
	MUST(ledger_reserve(opened(), MIB) == 0);
	dup2(go[0], STDIN_FILENO);
	dup2(ready[1], STDOUT_FILENO);
	execlp("cat", "cat", (char *)NULL);
	return 99;
}

/* Another program has to use the slice itself. */
static void test_exec(void **state)
{
	(void)state;
	make_pipes();
	pid_t pid = begin_child(becomes_cat, NULL);
	let_go();
	wait_for(ready[0]);
	assert_int_equal(holder_of(0), 0);
	close(go[1]);
	assert_int_equal(end_child(pid), 0);
	close_pipes();
}

static int lives_below(void *data)
{
	pid_t *seen = data;
	if (unshare(CLONE_NEWPID) != 0)
		return 77;
	pid_t pid = fork();
	if (pid == 0)
		_exit(getpid() == 1 ? uses_it(NULL) : 1);
	*seen = pid;
	say_ready();
	close(go[1]);
	return end_child(pid);
}

/* It knows itself as number 1; the agent is told the number that it has here. */
static void test_namespace_below(void **state)
{
	(void)state;
	pid_t *seen = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(seen, MAP_FAILED);
	make_pipes();
	pid_t pid = begin_child(lives_below, seen);
	close(ready[1]);
	char byte;
	if (read(ready[0], &byte, 1) != 1) {
		assert_int_equal(end_child(pid), 77);
		print_message("# no PID namespaces are allowed here\n");
	} else {
		wait_for(ready[0]);
		assert_int_equal(region.map->slots[0].pid, 1);
		assert_true(*seen > 1);
		assert_int_equal(holder_of(0), *seen);
		let_go();
		assert_int_equal(end_child(pid), 0);
	}
	close_pipes();
	munmap(seen, 4096);
}

static int closes_all(void *data)
{
	struct ledger *ledger = opened();
	(void)data;
	MUST(ledger_reserve(ledger, MIB) == 0);
	for (int fd = ledger->fd > ledger->who_fd ? ledger->fd : ledger->who_fd; fd >= 400; fd--)
		close(fd);
	MUST(ledger_reserve(ledger, MIB) == 0);
	MUST(ledger->slot == 0);
	say_ready();
	MUST(may_go());
	return 0;
}

/* It signs again when it finds its descriptors closed. */
static void test_closed_descriptors(void **state)
{
	(void)state;
	make_pipes();
	pid_t pid = begin_child(closes_all, NULL);
	wait_for(ready[0]);
	assert_int_equal(holder_of(0), pid);
	let_go();
	assert_int_equal(end_child(pid), 0);
	close_pipes();
}

/* Somebody else of the job has its byte, with locks for ever; it waits for nothing, and signs when it can. */
static void test_byte_is_taken(void **state)
{
	(void)state;
	make_pipes();
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
	int fd = open(who_path, O_RDWR | O_CLOEXEC);
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
	pid_t pid = begin_child(uses_it, NULL);
	wait_for(ready[0]);
	assert_int_equal(holder_of(0), -1);
	let_go();
	assert_int_equal(end_child(pid), 0);
	struct ledger *ledger = opened();
	assert_int_equal(ledger_reserve(ledger, MIB), 0);
	assert_false(ledger->is_signed);
	close(fd);
	assert_int_equal(ledger_reserve(ledger, MIB), 0);
	assert_true(ledger->is_signed);
	shut(ledger);
	close_pipes();
}

/* Without the file, or with something else in its place, the job goes on. */
static void test_no_file(void **state)
{
	(void)state;
	assert_int_equal(unlink(who_path), 0);
	for (int kind = 0; kind < 4; kind++) {
		assert_int_equal(kind == 1   ? mkfifo(who_path, 0666)
		                 : kind == 2 ? mkdir(who_path, 0777)
		                 : kind == 3 ? symlink(region.path, who_path)
		                             : 0,
		        0);
		struct ledger *ledger = opened();
		assert_int_equal(ledger_reserve(ledger, MIB), 0);
		assert_int_equal(ledger->who_fd, -1);
		assert_false(ledger->is_signed);
		shut(ledger);
		if (kind > 0)
			assert_int_equal(remove(who_path), 0);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up_who, tear_down)
	const struct CMUnitTest tests[] = {
	        TEST(test_holder_until_its_end),
	        TEST(test_fork),
	        TEST(test_exec),
	        TEST(test_namespace_below),
	        TEST(test_closed_descriptors),
	        TEST(test_byte_is_taken),
	        TEST(test_no_file),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
