#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "plat/proc.h"

/* A child that does `work`, says so by a byte, and waits until it is killed. */
static pid_t start_child(void (*work)(void))
{
	int ready[2];
	char byte;
	pid_t pid;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (work)
			work();
		if (write(ready[1], "x", 1) == 1)
			for (;;)
				pause();
		_exit(1);
	}
	assert_true(pid > 0);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	close(ready[1]);
	return pid;
}

static void end_child(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void test_all_holds_us_and_our_child(void **state)
{
	struct proc_list l = {0};
	pid_t child = start_child(NULL);
	const struct proc *p;
	struct proc self;

	assert_int_equal(proc_list_all(&l), 0);
	p = proc_list_find(&l, child);
	assert_non_null(p);
	assert_int_equal(p->ppid, getpid());
	assert_int_equal(p->pgid, getpgrp());
	assert_int_equal(p->sid, getsid(0));
	assert_true(p->state == 'S' || p->state == 'R'); /* on its way to pause() */
	assert_false(p->is_member);
	assert_true(p->is_unexeced);
	assert_non_null(proc_list_find(&l, getpid()));
	assert_true(proc_read(getpid(), &self) && self.pid == getpid() && !self.is_unexeced);
	for (size_t i = 1; i < l.n; i++)
		assert_true(l.items[i - 1].pid < l.items[i].pid);
	end_child(child);
	assert_int_equal(proc_list_all(&l), 0);
	assert_null(proc_list_find(&l, child));
	assert_false(proc_read(child, &self));
	proc_list_done(&l);
}

/* A name that looks like the fields behind it. */
static void take_odd_name(void)
{
	prctl(PR_SET_NAME, "x) Z 1 1 (");
	setsid();
}

static void test_odd_name(void **state)
{
	struct proc_list l = {0};
	pid_t child = start_child(take_odd_name);
	const struct proc *p;

	assert_int_equal(proc_list_all(&l), 0);
	p = proc_list_find(&l, child);
	assert_non_null(p);
	assert_int_equal(p->ppid, getpid());
	assert_int_equal(p->sid, child);
	assert_true(p->state == 'S' || p->state == 'R'); /* on its way to pause() */
	proc_list_done(&l);
	end_child(child);
}

static void *fork_in_thread(void *data)
{
	pid_t *ret = data;

	*ret = fork();
	/* Both stay: a thread that ends would hand its child to another one of its process. */
	while (true)
		pause();
	return NULL;
}

static void grow_family(void)
{
	pthread_t thread;
	pid_t of_thread = -1;

	if (fork() == 0) {
		if (fork() == 0) {
			setsid();
			for (;;)
				pause();
		}
		for (;;)
			pause();
	}
	pthread_create(&thread, NULL, fork_in_thread, (void *)&of_thread);
	while (*(volatile pid_t *)&of_thread < 0)
		;
}

static void test_below_finds_children_of_children_and_of_threads(void **state)
{
	struct proc_list l = {0};
	pid_t child = start_child(grow_family);
	size_t n = 0;

	/* The grandchild is forked by somebody whom nobody waits for. */
	for (size_t i = 0; i < 1000 && n < 3; i++) {
		assert_int_equal(proc_list_below(&l, child), 0);
		n = l.n;
	}
	assert_int_equal(n, 3);
	for (size_t i = 0; i < l.n; i++)
		assert_int_not_equal(l.items[i].pid, child);
	assert_int_equal(proc_list_below(&l, getpid()), 0);
	assert_int_equal(l.n, 4);
	assert_int_equal(l.items[0].pid, child);
	for (size_t i = 1; i < l.n; i++)
		kill(l.items[i].pid, SIGKILL);
	end_child(child);
	assert_int_equal(proc_list_below(&l, getpid()), 0);
	assert_int_equal(l.n, 0);
	proc_list_done(&l);
}

/* An environment with entries longer than what is read at once, and ours behind them. */
static void test_env(void **state)
{
	char *big = malloc(30001), *env[6];
	char first[] = "FIRST=1", ours[] = "BERTH_X=17-4", last[] = "LAST=", empty[] = "";
	char sleep_name[] = "sleep", sleep_time[] = "1000";
	char *argv[] = {sleep_name, sleep_time, NULL};
	pid_t pid;

	memset(big, 'x', 30000);
	memcpy(big, "BIG=", 4);
	/* A long entry that ends as ours reads. */
	memcpy(big + 30000 - 12, "BERTH_X=17-5", 12);
	big[30000] = '\0';
	env[0] = first;
	env[1] = big;
	env[2] = ours;
	env[3] = empty;
	env[4] = last;
	env[5] = NULL;
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execve("/bin/sleep", argv, env);
		_exit(1);
	}
	while (!proc_env_has(pid, "FIRST=1"))
		;
	assert_true(proc_env_has(pid, "BERTH_X=17-4"));
	assert_true(proc_env_has(pid, "LAST="));
	assert_false(proc_env_has(pid, "BERTH_X=17-5"));
	assert_false(proc_env_has(pid, "BERTH_X=17"));
	assert_false(proc_env_has(pid, "BERTH_X=17-40"));
	assert_false(proc_env_has(pid, "ERTH_X=17-4"));
	end_child(pid);
	assert_false(proc_env_has(pid, "FIRST=1"));
	free(big);
}

static char lock_path[64];

static void hold_bytes(void)
{
	int fd = open(lock_path, O_RDWR | O_CLOEXEC);
	struct err err;

	if (proc_byte_lock(fd, 5, true, &err) < 0 || proc_byte_lock(fd, 6, false, &err) < 0)
		_exit(1);
}

static void test_bytes_are_a_sign_of_life(void **state)
{
	struct err err;
	pid_t child;
	int fd;

	snprintf(lock_path, sizeof(lock_path), "/tmp/berth-proc-XXXXXX");
	fd = mkostemp(lock_path, O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(proc_byte_owner(fd, 5), 0);
	child = start_child(hold_bytes);
	assert_int_equal(proc_byte_owner(fd, 5), child);
	assert_int_equal(proc_byte_owner(fd, 6), child);
	assert_int_equal(proc_byte_owner(fd, 4), 0);
	assert_int_equal(proc_byte_lock(fd, 5, true, &err), -ERR_CONFLICT);
	assert_int_equal(proc_byte_lock(fd, 5, false, &err), -ERR_CONFLICT);
	assert_int_equal(proc_byte_lock(fd, 6, true, &err), -ERR_CONFLICT);
	assert_int_equal(proc_byte_lock(fd, 6, false, &err), 0);
	assert_int_equal(proc_byte_lock(fd, (uint64_t)1 << 62, true, &err), 0);
	end_child(child);
	assert_int_equal(proc_byte_owner(fd, 5), 0);
	assert_int_equal(proc_byte_owner_fd(fd, 5), -1);
	assert_int_equal(proc_byte_lock(fd, 5, true, &err), 0);
	close(fd);
	unlink(lock_path);
}

static void hold_and_block(void)
{
	sigset_t set;

	hold_bytes();
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 3);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

/* The signals that wait for a process, as a mask. */
static uint64_t pending_of(pid_t pid)
{
	char text[256] = "", path[64];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "re");
	while (fgets(text, sizeof(text), f) && strncmp(text, "ShdPnd:", 7) != 0)
		;
	fclose(f);
	return strtoull(text + 7, NULL, 16);
}

static void test_signal_to_the_owner(void **state)
{
	pid_t child;
	int fd, pidfd;

	/* The kernel would find its argument wrong; valgrind has no such call. */
	if (syscall(SYS_pidfd_open, -1, 0) < 0 && errno == ENOSYS)
		skip();
	snprintf(lock_path, sizeof(lock_path), "/tmp/berth-proc-XXXXXX");
	fd = mkostemp(lock_path, O_CLOEXEC);
	child = start_child(hold_and_block);
	pidfd = proc_byte_owner_fd(fd, 5);
	assert_true(pidfd >= 0);
	assert_int_equal(pending_of(child), 0);
	assert_true(proc_fd_signal(pidfd, SIGRTMIN + 3, 77));
	assert_int_equal(pending_of(child), 1ull << (SIGRTMIN + 3 - 1));
	end_child(child);
	assert_false(proc_fd_signal(pidfd, SIGRTMIN + 3, 77));
	close(pidfd);
	close(fd);
	unlink(lock_path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_all_holds_us_and_our_child),
	        cmocka_unit_test(test_odd_name),
	        cmocka_unit_test(test_below_finds_children_of_children_and_of_threads),
	        cmocka_unit_test(test_env),
	        cmocka_unit_test(test_bytes_are_a_sign_of_life),
	        cmocka_unit_test(test_signal_to_the_owner),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
