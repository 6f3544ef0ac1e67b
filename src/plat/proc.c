#include "plat/proc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/mem.h"

#define FORKED_NO_EXEC \
	0x40 /* PF_FORKNOEXEC of the kernel, which calls it so since there is /proc */

void proc_list_done(struct proc_list *l)
{
	free(l->items);
	*l = (struct proc_list){0};
}

void proc_begin(const char *name)
{
	/* The kernel's own form: the C library keeps two real-time signals to itself, which a starter may have ignored as well. */
	static const struct {
		void (*handler)(int);
		unsigned long flags;
		void (*restorer)(void);
		uint64_t mask;
	} by_default = {.handler = SIG_DFL};

	prctl(PR_SET_NAME, name);
	for (int signo = 1; signo < NSIG; signo++)
		if (signo != SIGKILL && signo != SIGSTOP)
			syscall(SYS_rt_sigaction, signo, &by_default, NULL,
			        sizeof(by_default.mask));
}

/* Up to size - 1 bytes of a small file of /proc, terminated; -1 when it is gone. */
static ssize_t read_small(const char *path, char *out, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -1;
	n = read(fd, out, size - 1);
	close(fd);
	if (n >= 0)
		out[n] = '\0';
	return n;
}

/* "pid (name) state ppid pgid sid tty tpgid flags ...": the name may hold anything, so what counts is behind the last parenthesis. */
static bool parse_stat(const char *text, pid_t pid, struct proc *ret)
{
	const char *p = strrchr(text, ')');
	unsigned long words[6];
	char *end;

	if (!p || p[1] != ' ' || !p[2])
		return false;
	*ret = (struct proc){.pid = pid, .state = p[2]};
	p += 3;
	for (size_t i = 0; i < ARRAY_LEN(words); i++, p = end) {
		words[i] = strtoul(p, &end, 10);
		if (end == p)
			return false;
	}
	ret->ppid = (pid_t)words[0];
	ret->pgid = (pid_t)words[1];
	ret->sid = (pid_t)words[2];
	ret->is_unexeced = words[5] & FORKED_NO_EXEC;
	return true;
}

bool proc_read(pid_t pid, struct proc *ret)
{
	char path[64], text[512];

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	return read_small(path, text, sizeof(text)) > 0 && parse_stat(text, pid, ret);
}

static void add(struct proc_list *l, const struct proc *p)
{
	MEM_GROW(l->items, l->n, l->cap);
	l->items[l->n++] = *p;
}

/* The number that a name of /proc stands for, or 0. */
static pid_t pid_of_name(const char *name)
{
	char *end;
	long pid = strtol(name, &end, 10);

	return *name >= '1' && *name <= '9' && !*end ? (pid_t)pid : 0;
}

static int compare_pid(const void *a, const void *b)
{
	const struct proc *pa = a, *pb = b;

	return pa->pid < pb->pid ? -1 : pa->pid > pb->pid;
}

int proc_list_all(struct proc_list *l)
{
	DIR *dir = opendir("/proc");
	struct dirent *e;
	struct proc p;

	l->n = 0;
	if (!dir)
		return -1;
	while ((e = readdir(dir))) {
		pid_t pid = pid_of_name(e->d_name);

		if (pid && proc_read(pid, &p))
			add(l, &p);
	}
	closedir(dir);
	if (l->n)
		qsort(l->items, l->n, sizeof(*l->items), compare_pid);
	return 0;
}

struct proc *proc_list_find(const struct proc_list *l, pid_t pid)
{
	struct proc key = {.pid = pid};

	return l->n ? bsearch(&key, l->items, l->n, sizeof(key), compare_pid) : NULL;
}

/* Appends the children of one thread; false when the kernel has no such file. */
static bool add_children_of_thread(struct proc_list *l, pid_t pid, const char *tid)
{
	char path[96], chunk[4096], word[16];
	size_t n_word = 0;
	struct proc p;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/task/%s/children", (int)pid, tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	while ((n = read(fd, chunk, sizeof(chunk))) > 0) {
		for (ssize_t i = 0; i < n; i++) {
			if (chunk[i] != ' ') {
				n_word += n_word < sizeof(word) - 1;
				word[n_word - 1] = chunk[i];
				continue;
			}
			word[n_word] = '\0';
			n_word = 0;
			if (proc_read(pid_of_name(word), &p))
				add(l, &p);
		}
	}
	close(fd);
	return true;
}

static bool add_children(struct proc_list *l, pid_t pid)
{
	char path[64];
	struct dirent *e;
	bool found = false;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	if (!dir)
		return false;
	while ((e = readdir(dir)))
		if (pid_of_name(e->d_name))
			found |= add_children_of_thread(l, pid, e->d_name);
	closedir(dir);
	return found;
}

/* For kernels without the lists of children: everything, then what hangs below root, level by level. */
static int list_below_by_parent(struct proc_list *l, pid_t root)
{
	struct proc_list all = {0};

	if (proc_list_all(&all) < 0)
		return -1;
	for (size_t at = 0; at <= l->n; at++) {
		pid_t parent = at ? l->items[at - 1].pid : root;

		for (size_t i = 0; i < all.n; i++)
			if (all.items[i].ppid == parent)
				add(l, &all.items[i]);
	}
	proc_list_done(&all);
	return 0;
}

int proc_list_below(struct proc_list *l, pid_t root)
{
	l->n = 0;
	if (!add_children(l, root))
		return list_below_by_parent(l, root);
	for (size_t at = 0; at < l->n; at++)
		add_children(l, l->items[at].pid);
	return 0;
}

/* Entries end with NUL; what is read is kept from the last NUL on, so that no entry is cut by a chunk's end. */
bool proc_env_has(pid_t pid, const char *entry)
{
	size_t want = strlen(entry) + 1, have = 0;
	char path[64], chunk[8192];
	bool found = false, skip = false;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/environ", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	while (!found && (n = read(fd, chunk + have, sizeof(chunk) - have)) > 0) {
		char *at = chunk, *end;

		have += (size_t)n;
		for (; (end = memchr(at, '\0', have - (size_t)(at - chunk))); at = end + 1) {
			found |=
			        !skip && (size_t)(end + 1 - at) == want && !memcmp(at, entry, want);
			skip = false;
		}
		have -= (size_t)(at - chunk);
		memmove(chunk, at, have);
		/* An entry longer than the chunk is not ours: its rest is passed over. */
		if (have == sizeof(chunk)) {
			have = 0;
			skip = true;
		}
	}
	close(fd);
	return found;
}

int proc_byte_lock(int fd, uint64_t byte, bool exclusive, struct err *err)
{
	struct flock fl = {
	        .l_type = exclusive ? F_WRLCK : F_RDLCK, .l_start = (off_t)byte, .l_len = 1};

	if (fcntl(fd, F_SETLK, &fl) == 0)
		return 0;
	if (errno == EAGAIN || errno == EACCES)
		return err_set(err, ERR_CONFLICT, "byte %ju is locked", (uintmax_t)byte);
	return err_sys(err, errno, "locking byte %ju", (uintmax_t)byte);
}

pid_t proc_byte_owner(int fd, uint64_t byte)
{
	struct flock fl = {.l_type = F_WRLCK, .l_start = (off_t)byte, .l_len = 1};

	return fcntl(fd, F_GETLK, &fl) == 0 && fl.l_type != F_UNLCK ? fl.l_pid : 0;
}

int proc_open(pid_t pid)
{
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

/* Between the question and pidfd_open the pid may have been given to somebody else: so it is asked again. */
int proc_byte_owner_fd(int fd, uint64_t byte)
{
	for (pid_t pid = proc_byte_owner(fd, byte), again; pid > 0; pid = again) {
		int pidfd = proc_open(pid);

		again = proc_byte_owner(fd, byte);
		if (pidfd >= 0 && again == pid)
			return pidfd;
		if (pidfd >= 0)
			close(pidfd);
		else if (again == pid)
			return -1;
	}
	return -1;
}

bool proc_fd_signal(int pidfd, int signo, int value)
{
	siginfo_t info = {0};

	info.si_signo = signo;
	info.si_code = SI_QUEUE;
	info.si_pid = getpid();
	info.si_uid = getuid();
	info.si_value.sival_int = value;
	return syscall(SYS_pidfd_send_signal, pidfd, signo, &info, 0) == 0;
}

pid_t proc_own_pid(pid_t pid)
{
	char path[64], line[256], *at;
	long own = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return 0;
	/* NSpid: as it is seen from outside to inside; the last one is its own. */
	while (fgets(line, sizeof(line), f))
		if (strncmp(line, "NSpid:", 6) == 0) {
			line[strcspn(line, "\n")] = '\0';
			at = strrchr(line, '\t');
			own = strtol(at ? at + 1 : line + 6, NULL, 10);
		}
	fclose(f);
	return (pid_t)own;
}
