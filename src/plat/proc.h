/*
 * Processes: what /proc says of them, who descends from whom, byte locks as signs of life, and the name in ps.
 * A struct proc_list belongs to the caller, until proc_list_done. One thread at a time per list. libc only.
 * A process that ends while it is looked at is simply not there; only what the kernel refuses is an error.
 */
#pragma once

#include <sys/types.h>

#include "base/err.h"

struct proc {
	pid_t pid;
	pid_t ppid;
	pid_t pgid;
	pid_t sid;
	char state;       /* as ps shows it: 'T' is stopped; 'Z' and 'X' are dead */
	bool is_unexeced; /* forked, and still the program of its parent */
	bool is_member;   /* for callers that choose among a list */
};

struct proc_list {
	struct proc *
	        items; /* by rising pid after proc_list_all, parents before children after proc_list_below */
	size_t n;
	size_t cap;
};

void proc_list_done(struct proc_list *l);

/* Sets the name that ps -o comm shows, and gives every signal its default action. */
void proc_begin(const char *name);

/* One process; false when it is gone. */
MUST_CHECK bool proc_read(pid_t pid, struct proc *ret);
/* Every process of the machine that can be seen. Replaces what the list holds; -1 with errno when /proc cannot be read. */
MUST_CHECK int proc_list_all(struct proc_list *l);
/* What descends from `root`, without it. What is forked or orphaned meanwhile may be missing: look again until nothing is left. */
MUST_CHECK int proc_list_below(struct proc_list *l, pid_t root);
struct proc *proc_list_find(
        const struct proc_list *l, pid_t pid); /* of proc_list_all; NULL when absent */

/* As it sees itself, in the PID namespace that it is in; 0 when it has ended. */
pid_t proc_own_pid(pid_t pid);

/* Whether its environment holds this entry ("K=V"), as far as we may read it. */
bool proc_env_has(pid_t pid, const char *entry);

/* For poll and pidfd_send_signal; whose it is can be asked for certain afterwards. -1 with errno: it is gone. */
MUST_CHECK int proc_open(pid_t pid);

/*
 * A byte of a file as a sign of life: POSIX locks, so the kernel drops them with the process, and with the first close of
 * any descriptor of that file in the process.
 */
/* CONFLICT when somebody else holds it against us. Locking again changes exclusive to shared and back. */
MUST_CHECK int proc_byte_lock(int fd, uint64_t byte, bool exclusive, struct err *err);
/* The process that holds it, exclusively or not; 0: nobody, or only we. */
pid_t proc_byte_owner(int fd, uint64_t byte);
/* A descriptor of the process that holds it, for poll and pidfd_send_signal, certain to be that one; -1: nobody. */
MUST_CHECK int proc_byte_owner_fd(int fd, uint64_t byte);
/* Queues a signal with a value to the process behind such a descriptor; false when it is gone or not ours to signal. */
bool proc_fd_signal(int pidfd, int signo, int value);
